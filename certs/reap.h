/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Children that were given up but could not be ended at once (a token that
 * hangs) must not stay zombies.
 *
 * Room: certs.  Any thread.
 */
#ifndef CERTS_REAP_H
#define CERTS_REAP_H

#include <sys/types.h>

/* Nobody waits for it any more. */
void reap_later(pid_t pid);
/* Take note of those that have ended, before a new one is started. */
void reap_dead(void);

#endif
