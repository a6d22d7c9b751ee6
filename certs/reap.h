/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Children that have ended must not stay zombies: those that somebody still
 * has (several generations of a configuration have one each), and those that
 * are given up but could not be ended at once (a token that hangs).
 *
 * Room: certs.  Any thread.
 */
#ifndef CERTS_REAP_H
#define CERTS_REAP_H

#include <sys/types.h>

/* Who has a child; embedded. */
struct reap_listener {
	struct reap_listener *next;
	/* Some child has ended.  Must not wait, nor listen or unlisten. */
	void (*ended)(struct reap_listener *);
};

void reap_listen(struct reap_listener *);
void reap_unlisten(struct reap_listener *);
/* SIGCHLD has come: everybody who listens looks for his own. */
void reap_all(void);
/* Nobody waits for it any more. */
void reap_later(pid_t pid);
/* Take note of those that have ended, before a new one is started. */
void reap_dead(void);

#endif
