/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between the calls of a key holder's client (keyholder.c) and what they know
 * of its process (keyholder_process.c): one of our own, or one that another
 * process starts and hands over.
 * Room: certs.  Under the lock, but for what says otherwise.
 */
#ifndef CERTS_KEYHOLDER_PRIV_H
#define CERTS_KEYHOLDER_PRIV_H

#include <pthread.h>
#include "certs/holder_priv.h"
#include "certs/keyholder.h"
#include "certs/reap.h"

#define RESTART_MS 1000 /* a life shorter than this is a short one */

struct keyholder {
	/* 0: no process; written under the lock, as is epoch */
	_Atomic pid_t pid;
	_Atomic unsigned epoch;
	pthread_mutex_t lock; /* of everything below; held during a call */
	int fd;               /* -1: no process */
	uint32_t id;          /* of the last request */
	bool owed;       /* the last request's answer, which nobody wants */
	int64_t late_ms; /* when one was owed last; 0: never */
	unsigned patience_us;
	int64_t born_ms;
	unsigned short_lives; /* in a row */
	char *key;            /* owned: what was loaded; NULL: nothing yet */
	gnutls_datum_t ca;    /* owned: its certificate */
	enum keyholder_key which;
	gnutls_datum_t issuer; /* owned: of this process, not given out yet */
	unsigned char buf[HOLDER_MAX];
	/* Of one that another process has started; want NULL: it is our own. */
	struct keyholder_door door;
	struct keyholder *next; /* of those */
	pthread_mutex_t hand;   /* of what follows; held for a moment */
	pthread_cond_t handed;
	int given; /* the next one's socket; -1: none */
	pid_t given_pid;
};

int64_t keyholder_now_ms(void);
/* Is it our own process? */
bool keyholder_is_ours(const struct keyholder *);
/* It has a process, that holds no key yet; or the one that was delivered. */
bool process_start(struct keyholder *, struct fault *f);
/* End its process, which holds nothing worth an orderly end. */
void process_end(struct keyholder *);
/* It has no process any more: nothing is done about that. */
void process_gone(struct keyholder *);
/* Its socket is closed: it ends, and leaves no zombie. */
void process_reap(pid_t pid);
/* Another one was delivered; any thread. */
bool process_was_given(struct keyholder *);
/* keyholder_deliver() finds it, or does no more.  Any thread. */
void process_join(struct keyholder *);
void process_leave(struct keyholder *);

#endif
