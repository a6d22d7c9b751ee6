/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is left of an HTTP/1 connection that has switched protocols.
 *
 * Room: proxy/wire.  Thread: its loop's.  Obeys RFC 9110 7.8.
 */
#ifndef PROXY_WIRE_H1_DUPLEX_H
#define PROXY_WIRE_H1_DUPLEX_H

#include "proxy/wire/duplex.h"
#include "proxy/wire/h1_in.h"

/* Embedded in the connection. */
struct h1_duplex {
	struct duplex duplex;
	struct h1_in *in; /* borrowed: what was read behind the head is here */
};

/* wake owns the link from now on: it is woken for all its news. */
struct duplex *h1_duplex_begin(struct h1_duplex *, struct h1_in *,
    struct task *wake);

#endif
