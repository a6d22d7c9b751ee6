/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A way that is being made through a parent: way.c (which parent, connecting,
 * the end) and way_ask.c (what the parent is asked, and answers).
 *
 * Room: proxy/wire, way*.c only.  Thread: its worker's.
 */
#ifndef PROXY_WIRE_WAY_PRIV_H
#define PROXY_WIRE_WAY_PRIV_H

#include "http/connect.h"
#include "net/socks.h"
#include "proxy/wire/upstream.h"
#include "proxy/wire/way.h"
#include "proxy/worker.h"
#include "tls/link.h"

#define WAY_ADDRESSES 4 /* of an origin that a parent is told one by one */

enum way_state {
#define S(name, next) WAY_##name,
#include "proxy/wire/way.def"
#undef S
	WAY_STATES
};

struct way_run {
	struct way *way;        /* borrowed: its owner's */
	struct worker *worker;  /* borrowed */
	struct worker_gen *gen; /* counted, but for a probe */
	struct task *wake;      /* borrowed */
	struct task task;
	struct timer timer;
	struct arena *arena;     /* owned */
	struct account *account; /* counted; NULL: nobody's */
	enum way_state state;
	struct way_want want; /* strings in the arena */
	struct upstream *up;
	struct upstream_end *end; /* busy with this; NULL: none */
	bool trial;
	bool probe;
	bool refused;   /* one has answered what forbids a way around them */
	unsigned tried; /* addresses of the upstream, by number */
	struct dial dial;
	struct link *link;
	struct resolve_query query;
	union address
	    to[WAY_ADDRESSES]; /* of the origin: what a parent is told */
	unsigned n_to, at_to;  /* n_to = 0: its name */
	struct socks socks;
	struct http_connect connect;
	struct chq in;
	struct fault fault; /* of the last parent that was tried */
	unsigned status;
	uint64_t started_at;
	uint32_t dns_ms;
};

static inline const struct conf_proxy *
way_proxy(const struct way_run *r)
{
	return (r->end->conf);
}

static inline bool
way_is_socks(const struct way_run *r)
{
	return (way_proxy(r)->type == CONF_PROXY_SOCKS5);
}

/* way.c */

/* The parent takes connections. */
void way_end_is_good(struct way_run *);
/*
 * It could not be connected to, or is no proxy: that counts, and another one is
 * tried.
 */
void way_end_is_bad(struct way_run *, const struct fault *why);
enum way_no {
	WAY_NO_LAST,  /* for good */
	WAY_NO_HERE,  /* another one may, but around them is no way */
	WAY_NO_ORIGIN /* it cannot reach the origin: whoever can may */
};
/*
 * It is well, and has said no: that, or another one is tried, or another
 * address of the origin with it.
 */
void way_end_says_no(struct way_run *, const struct fault *why, enum way_no);
/* It has opened the way: what stands on r->link from now on is the origin. */
void way_open(struct way_run *);

/* way_ask.c */

/* ASK: it is asked over r->link, and has this long for its answer. */
#define WAY_ANSWER_MS 10000
void way_ask(struct way_run *);
void way_asked(struct way_run *);    /* there may be an answer */
void way_ask_late(struct way_run *); /* there is none in time */

#endif
