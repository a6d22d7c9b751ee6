/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many descriptors there are, and who may still have one when they run
 * short: what is under way before what is new, and a few for ourselves
 * (reload, logs, the key holder).
 *
 * Room: net.  Any thread; the limit is set at the start.
 */
#ifndef NET_DESCRIPTORS_H
#define NET_DESCRIPTORS_H

#include <stdbool.h>

enum descriptor_use {
	DESCRIPTOR_CLIENT,	/* a new client; half is kept for what they want */
	DESCRIPTOR_WORK		/* a connection for a client that is served */
};

/* Raise the process's limit as far as it goes, and learn it. */
void descriptors_raise(void);
/*
 * Is fd, just made (so that all below it are in use), one of those that are
 * kept for something more important?
 */
bool descriptors_short(int fd, enum descriptor_use);

#endif
