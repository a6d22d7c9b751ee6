/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One transaction: a message on its way through a service.  Sending and
 * receiving are two machines side by side (full duplex); both are tables.
 *
 * It belongs to its scan until that is cancelled, and to the adapted body
 * (whose source it is) until that is dropped; the later of both frees it.
 *
 * Room: icap.  Thread: its loop's.  Obeys RFC 3507 4.4, 4.5, 4.6, 4.8, 4.9.
 */
#ifndef ICAP_TX_H
#define ICAP_TX_H

#include "icap/icap_priv.h"
#include "icap/verdict.h"
#include "scanners/decode_body.h"
#include "stream/source.h"

#define TX_ON(state) (1u << TX_##state)

/* name, may be followed by */
#define TX_STATES(S)                                           \
	S(QUEUE, TX_ON(CONNECT) | TX_ON(ANSWER) | TX_ON(OVER)) \
	S(CONNECT, TX_ON(QUEUE) | TX_ON(ANSWER) | TX_ON(OVER)) \
	S(ANSWER, TX_ON(QUEUE) | TX_ON(HEADS) | TX_ON(OVER))   \
	S(HEADS, TX_ON(HEADS) | TX_ON(STREAM) | TX_ON(OVER))   \
	S(STREAM, TX_ON(OVER))                                 \
	S(OVER, 0)

enum tx_state {
#define S(name, next) TX_##name,
	TX_STATES(S)
#undef S
	    TX_STATE_COUNT
};

#define SEND_ON(state) (1u << SEND_##state)

/* What was sent so far: the heads before PREVIEW, REST or DONE. */
#define SEND_STATES(S)                                               \
	S(NOTHING, SEND_ON(PREVIEW) | SEND_ON(REST) | SEND_ON(DONE)) \
	S(PREVIEW, SEND_ON(NOTHING) | SEND_ON(HELD) | SEND_ON(DONE)) \
	S(HELD, SEND_ON(NOTHING) | SEND_ON(REST) | SEND_ON(DONE))    \
	S(REST, SEND_ON(NOTHING) | SEND_ON(DONE))                    \
	S(DONE, SEND_ON(NOTHING))

enum send_state {
#define S(name, next) SEND_##name,
	SEND_STATES(S)
#undef S
	    SEND_STATE_COUNT
};

struct icap_tx {
	struct scan *scan;              /* NULL: cancelled */
	const struct scan_message *msg; /* as the service gets it */
	struct arena *arena; /* of the flow, which outlives the adapted body */
	struct icap_service *svc;
	struct list all;   /* of the service */
	struct list queue; /* of the service, while it waits */
	struct task task;
	struct timer deadline;
	enum tx_state state;
	enum send_state send;
	uint64_t progress_at; /* last sign of life of the service */
	/* it waits for a server no longer; 0: for its body */
	uint64_t queue_until;

	/* getting a connection */
	unsigned tried;  /* servers that could not be reached */
	bool fresh;      /* no kept connection any more */
	unsigned client; /* the slot of its address */
	uint64_t started_at;
	uint64_t round; /* in the queue: its client's turn */
	bool is_queued;
	bool holds;          /* counted in its client's share */
	bool overloaded;     /* a server said so itself (503) */
	unsigned said_busy;  /* those that did, since the last pause */
	uint64_t not_before; /* then it pauses */
	uint64_t backoff;
	struct icap_endpoint *ep;
	struct icap_connect connect;
	struct icap_conn *conn;
	struct fault last; /* why the last server failed */

	/* sending */
	struct body *body; /* counted; NULL: null-body */
	/* counted; body is this one decoded; NULL: it is as it came */
	struct body *coded;
	struct decode_list codings;
	struct decode_how how; /* the decoded body ended */
	struct reader begin;   /* keeps its begin for a while */
	struct reader reader;
	struct chq out;  /* read, not yet written */
	uint64_t sent;   /* bytes of the body */
	uint64_t limit;  /* not more than these; BODY_ALL: no limit */
	bool cut_short;  /* there were more: it was told that this is all */
	int32_t preview; /* announced; -1: none */
	bool offered_206;
	unsigned shared; /* fields of others that were known at its start */
	bool body_waits; /* the sender of the message is slow */
	bool early_100;

	/* receiving */
	struct chq in; /* read, not yet parsed */
	uint64_t received;
	unsigned continues;
	struct h1_head *head;    /* parser at work */
	struct http_msg *answer; /* ICAP */
	struct icap_encap encap;
	unsigned part; /* of encap: the head that is being read */
	size_t part_bytes;
	size_t slack; /* blank bytes the offsets leave behind the heads */
	bool stray;   /* more comes than anybody wants */
	struct http_msg *req, *resp; /* adapted heads */
	enum icap_finding finding;   /* what its fields name */
	struct str threat;
	bool blocked; /* that was the verdict: the body is a page */
	/* the body, to see whether it is one, and its length */
	bool collecting;
	struct http_msg *kept; /* the old head, where none came back */

	/* the adapted body */
	struct source source;
	bool streams;      /* the body has us as its source */
	bool source_waits; /* for the service */
	struct h1_body coding;
	struct chq ready;   /* decoded before anybody asked */
	bool tail;          /* 206: what follows is the original's */
	uint64_t tail_from; /* from this offset on */
#define NO_OFFSET UINT64_MAX
	struct reader original; /* 206: keeps it all, later reads the tail */

	/* is what comes back what the service was sent? */
	struct {
		enum { COMPARE_NOT, COMPARE_ON, COMPARE_OTHER } state;
		struct body *with; /* counted; NULL: it is over */
		struct decode_how how;
		struct reader was; /* compares */
		/* keeps it, later reads what was the same */
		struct reader front;
		/* bytes that came, are the same and not in ready */
		uint64_t same;
		bool waits; /* for more of the original */
	} compare;
};

/* queue.c */

/*
 * Is there something to say: the preview, a small body, or the first bytes
 * after a while?  PULL_END: yes; PULL_WAIT: the task is woken; else the body
 * has ended like that.
 */
enum pull tx_gather(struct icap_tx *);
/* May it take a connection, as far as its client's share goes? */
bool tx_may_hold(const struct icap_tx *);
/* The same; else it goes on reading, so that a small body is slow no more. */
bool tx_gets_share(struct icap_tx *);
/* It has one: a slow body counts in the share until it is over. */
void tx_hold(struct icap_tx *);
void tx_unhold(struct icap_tx *);
/* Is no other one before it? */
bool tx_is_next(const struct icap_tx *);
/*
 * Wait; again: before all others.  In the queue already: nothing.  False: it is
 * full, and nobody waits longer.
 */
bool tx_queue_join(struct icap_tx *, bool again);
void tx_queue_leave(struct icap_tx *);
/* Leave it because its turn has come. */
void tx_queue_pass(struct icap_tx *);

/* admit.c */

/* QUEUE: go on towards a connection, or end. */
void tx_admit(struct icap_tx *);
/* CONNECT: is there one now? */
void tx_connected(struct icap_tx *);

/* send.c */

enum tx_sent {
	TX_SENT,      /* as far as it goes now */
	TX_BODY_CUT,  /* the message's own body ended early: see its fault */
	TX_TOO_LARGE, /* longer than max_body */
	/* not all of it can be decoded, and its answer is going on already */
	TX_BROKEN
};
/* Heads first, then what there is of the body. */
void tx_send_begin(struct icap_tx *);
enum tx_sent tx_send(struct icap_tx *);
/* 100 came. */
void tx_send_rest(struct icap_tx *);
void tx_send_enter(struct icap_tx *, enum send_state);
/* An answer came while it was held: the rest is not wanted. */
void tx_send_stop(struct icap_tx *);
/* Nothing of the request is outstanding: the connection may serve another. */
bool tx_send_complete(const struct icap_tx *);

/* receive.c */

/* Go on reading heads with what there is, until the state changes. */
void tx_receive(struct icap_tx *);
/* Drop the blank bytes between the heads and what follows. */
void tx_skip_slack(struct icap_tx *);

/* answer.c: an ICAP head has come, and all heads that it encapsulates. */

void tx_take_answer(struct icap_tx *, struct http_msg *);
void tx_take_heads(struct icap_tx *);

/* adapted.c */

/*
 * Begin the source of an adapted body with what has come already; once more
 * while tx->collecting.  m: its head, where it may be the message handed back,
 * else NULL.  PULL_END: all of it is here, *length is set if no original
 * follows, a threat named behind it is in tx->finding.  PULL_WAIT: some may
 * come, or has to be compared.  PULL_MORE: it is long.  PULL_CUT: the message's
 * own body is; PULL_FAIL: the coding is broken; cause in f.
 */
enum pull tx_source_begin(struct icap_tx *, const struct http_msg *m,
    uint64_t *length, struct fault *f);
/* So much of the body is here, compared or not. */
uint64_t tx_source_here(const struct icap_tx *);

/* compare.c: the body that comes, with what the service was sent. */

/*
 * Compare what is in tx->ready, where a threat is named as repaired, or may be
 * named behind it; m: its head.  PULL_MORE: that is done.  PULL_WAIT: the task
 * is woken when more can be done.  PULL_CUT: so has the original, cause in f.
 */
enum pull tx_compare(struct icap_tx *, const struct http_msg *m,
    struct fault *f);
/*
 * All of it is here: nothing but what the service was sent, or its begin (200,
 * 206), or that cannot be told.  has_body: one came.  Where neither has one
 * m, its head as it goes on, says all that the original's said.
 */
bool tx_is_handed_back(const struct icap_tx *, const struct http_msg *m,
    bool has_body);
/*
 * m has a body in a coding that the service chose, or left on: the same content
 * is not seen in it.
 */
bool tx_is_recoded(const struct icap_tx *, const struct http_msg *m,
    bool has_body);
/* What was the same goes before tx->ready.  PULL_END: all of that was read. */
enum pull tx_compare_pull(struct icap_tx *, struct chq *out, size_t want);
void tx_compare_fini(struct icap_tx *);

/* page.c: a message m that came along with a finding. */

/* It cannot be the scanned message: another status, or an answer to a request. */
bool tx_is_page(const struct icap_tx *, const struct http_msg *m);
/* It can be told once its whole body is here. */
bool tx_may_be_page(const struct icap_tx *, const struct http_msg *m);
/* It is here: neither begins nor ends as what the service was sent. */
bool tx_is_foreign(const struct icap_tx *);
/* What there is of it begins as what the service was sent. */
bool tx_begins_alike(const struct icap_tx *);

/* decoded.c */

/*
 * decode: from now on msg and body are what the service is to see.  False: the
 * body has a coding that cannot be opened.
 */
bool tx_decode_start(struct icap_tx *);
void tx_decode_again(struct icap_tx *); /* from its begin */
void tx_decode_sent(struct icap_tx *);  /* some of it was */
/* All was, and the answer is going on: nothing is decoded or held any more. */
void tx_decode_stop(struct icap_tx *);
void tx_decode_fini(struct icap_tx *);
/* What is missing of it, GAP_NONE if it is decoded as far as was read. */
enum scan_gap tx_decode_gap(const struct icap_tx *);
const char *tx_decode_text(const struct icap_tx *);

/* share.c */

/* The scan is over: remember what others are to be told. */
void tx_share(struct icap_tx *);

/* depends.c */

struct str icap_depends(const struct scanner *, const struct scan_message *);
/* A 204 that forbids nobody to believe it again. */
bool icap_reusable(const struct icap_tx *);

/* transaction.c */

void tx_enter(struct icap_tx *, enum tx_state);
/* Nothing was found in all that there was, or in all that it was given. */
void tx_clean(struct icap_tx *);
/* The scan is over without a fault: result is filled by the caller. */
void tx_finish(struct icap_tx *);
/* It names a threat, and nothing came with it that may go on. */
void tx_block(struct icap_tx *);
/*
 * It failed; the first cause counts. The service is blamed.  If it has named a
 * threat before, that is the result.
 */
void tx_fail(struct icap_tx *, enum err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with a fault that is there, and the service gets no blame. */
void tx_fail_as(struct icap_tx *, const struct fault *);
/* The message itself is at fault: its body ended early. */
void tx_body_cut(struct icap_tx *);
/* Something was not looked at; a finding wins.  why: a constant, or in its arena. */
void tx_unscanned(struct icap_tx *, enum scan_gap, const char *why);
/* Begin again: another server, or a fresh connection. */
void tx_again(struct icap_tx *);
/* May it begin again: is every byte of the body still there? */
bool tx_can_repeat(const struct icap_tx *);
/* The connection is not needed any more: back to the pool, if it is clean. */
void tx_release_conn(struct icap_tx *);
/* The adapted body does not pull any more; whole: it has seen its end. */
void tx_source_done(struct icap_tx *, bool whole);

#endif
