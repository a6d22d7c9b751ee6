/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What comes in over HTTP/1 on a link: heads, and one body at a time as the
 * source of a struct body.
 *
 * Room: proxy.  Thread: its loop's.  Obeys RFC 9112.
 */
#ifndef PROXY_WIRE_H1_IN_H
#define PROXY_WIRE_H1_IN_H

#include "http/h1_body.h"
#include "http/h1_frame.h"
#include "http/h1_head.h"
#include "http/msg.h"
#include "stream/pace.h"
#include "stream/body.h"
#include "tls/link.h"

/* Where bytes of a connection come in.  Embedded in the connection. */
struct h1_in {
	struct link *link;     /* borrowed; NULL once the connection is gone */
	struct chq bytes;      /* read, not yet used */
	struct h1_head *head;  /* in the flow's arena; NULL: none under way */
	struct h1_frame frame; /* of the last head; its reader fills it */
	bool odd; /* the last head can be read in two ways (h1_head.h) */
	struct source src; /* of the body under way */
	struct h1_body deframer;
	struct task *wake; /* borrowed: woken when the body lets go */
	enum err cut;      /* what a body that stops short is called */
	bool in_body;      /* the body has not ended yet */
	bool starved;      /* its source waits for the link */
	bool poisoned; /* nothing more can be read: cut, failed, or left over */
	uint64_t silent_since; /* ms; 0: nobody waits for bytes */
	struct pace pace;      /* of the peer, inside a body */
};

enum h1_got {
	H1_GOT_HEAD,
	H1_GOT_WAIT, /* the link's owner will be woken */
	H1_GOT_END,  /* the peer ended before the first octet */
	H1_GOT_CUT,  /* ... or inside the head */
	H1_GOT_BAD   /* cause in the fault */
};

void h1_in_init(struct h1_in *, struct link *, struct task *wake);
/* Read a head into arena a. limits borrowed until it is done. */
enum h1_got h1_in_head(struct h1_in *, struct arena *a, enum h1_kind,
    const struct h1_limits *, struct http_msg **, struct fault *);
/* Has a byte of the head (other than empty lines) come? */
bool h1_in_begun(const struct h1_in *);
/*
 * The body that msg announces, delimited as `frame` says, as a new struct body (one reference); NULL for
 * none.  bad and cut name broken coding and a short end.
 */
struct body *h1_in_body(struct h1_in *, struct loop *, struct body_store *,
    const struct http_msg *msg, enum err bad, enum err cut);
/*
 * Called whenever the link's owner runs: if the link has what the body waited
 * for, its readers go on.  (They may share the owner's task: it is woken once
 * for each news, never by itself.)
 */
void h1_in_wake(struct h1_in *);
/* Silent for ms while bytes are waited for? */
bool h1_in_stalled(const struct h1_in *, uint64_t now, uint64_t ms);
/* Has it sent less than rate octets a second while bytes were waited for? */
bool h1_in_is_slow(struct h1_in *, uint64_t now, uint64_t rate);
/* When one of both may come true, at the earliest; UINT64_MAX: there is no body. */
uint64_t h1_in_due(const struct h1_in *, uint64_t now, uint64_t ms,
    uint64_t rate);
/* It was not it that we waited for: silence and pace begin anew. */
void h1_in_forgive(struct h1_in *, uint64_t now);
/*
 * Nobody is there for the body any more: if it has not ended, it ends as cut for
 * all who read it, cause f (or its own), and nothing more can be read.
 */
void h1_in_abandon(struct h1_in *, const struct fault *f);
/* The connection goes away: a body under way ends as cut, cause f (or its own). */
void h1_in_fini(struct h1_in *, const struct fault *f);

#endif
