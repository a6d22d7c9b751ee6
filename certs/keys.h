/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The owner's side of a key holder: what the process says that starts it and
 * watches it, and never asks it for a leaf.  Nothing here waits.  The owner's
 * end of the socket is the holder's life.
 *
 * Room: certs.  Any thread; one at a time for one holder.
 */
#ifndef CERTS_KEYS_H
#define CERTS_KEYS_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include "base/sandbox.h"
#include "base/spawn.h"
#include "certs/keyholder.h"

struct keys {
	struct child child; /* owned; CHILD_NONE: it has been reaped */
	int fd;             /* owned; its socket */
};

/* What it said to the first request. */
struct keys_answer {
	bool ok;
	char text[512];            /* why not */
	gnutls_datum_t ca;         /* of keys_open(): the caller's */
	enum keyholder_key which;  /* of keys_open() */
	bool made;                 /* of keys_open(): the CA is a new one */
	struct sandbox_report box; /* what confines it now */
};

enum keys_news_kind {
	KEYS_REFUSED, /* who asks has been taken over, or is broken */
	KEYS_LEAF,    /* one was signed: the rest of the struct says which */
	KEYS_COUNT    /* nothing but the counts */
};

struct keys_news {
	uint32_t kind;            /* enum keys_news_kind */
	uint32_t untold;          /* of the first two kinds, lost before this */
	uint64_t leaves, refused; /* since it has the key */
	int64_t from, to;         /* validity: s since 1970 */
	unsigned char serial[16];
	char text[256]; /* the host; of a refusal: why */
};

/* Start one; it holds no key yet.  False: ERR_SYSTEM in f. */
bool keys_start(struct keys *, struct fault *f);
/* Its socket is closed: it ends.  The child is the caller's to reap. */
void keys_leave(struct keys *);
/*
 * Ask for one of these, once: to open a CA's files (keyholder_open()), or to
 * load the key of a CA that was opened before.  False: it is dead.
 */
bool keys_open(const struct keys *, const char *cert, const char *key,
    bool make);
bool keys_load(const struct keys *, const char *key, const gnutls_datum_t *ca,
    enum keyholder_key which);
/* 1: it has answered; 0: not yet; -1: it is dead, or no key holder. */
int keys_answered(const struct keys *, struct keys_answer *);
/*
 * From now on it says what befalls it: each refusal (one a second), each leaf
 * if so wanted, and within a second how many there were.  What its owner does
 * not read in time is lost, and counted as untold.
 */
void keys_tell(const struct keys *, bool leaves);
/* 1: *n is new; 0: there is none; -1: it is dead, or no key holder. */
int keys_news(const struct keys *, struct keys_news *n);
/* A new socket for who asks for leaves; -1 with errno.  It has its key. */
int keys_client(const struct keys *);
/* It ends when those that have such sockets have closed them. */
void keys_last(const struct keys *);

#endif
