# SPDX-License-Identifier: GPL-2.0-or-later
CFLAGS ?= -O2 -g -Wall -Wextra
all: load origin icapnull
load: load.c common.h h2.h
	$(CC) $(CFLAGS) -o $@ $< -lnghttp2 -lssl -lcrypto -lm
origin: origin.c common.h h2.h
	$(CC) $(CFLAGS) -o $@ $< -lnghttp2 -lssl -lcrypto
icapnull: icapnull.c common.h
	$(CC) $(CFLAGS) -o $@ $<
clean:
	rm -f load origin icapnull
