/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A flow: one request and its answer, through policy, the chains and the
 * origin (doc/architecture.md 1).  It begins when there is a request, and
 * knows of its client's connection only the exchange.  Its states are in
 * flow.def.
 *
 * Room: proxy.  Thread: its worker's; it has a task of its own, which also
 * frees it when it is done.
 */
#ifndef PROXY_FLOW_H
#define PROXY_FLOW_H

#include "proxy/client.h"
#include "proxy/policy/policy.h"
#include "proxy/wire/exchange.h"
#include "scanners/chain.h"
#include "stream/pump.h"

enum flow_state {
#define S(name, due, next) FLOW_STATE_##name,
#include "proxy/flow.def"
#undef S
	FLOW_STATES
};

enum flow_step {
	FLOW_WAITS, /* its task will be woken */
	FLOW_NEXT   /* it is in another state, or has more to do in this one */
};

struct flow_grpc;
struct resolve_query;
struct flow_stream;
struct page_facts;
struct upgrade;

struct flow {
	struct list link;      /* of its client */
	struct client *client; /* borrowed: who it is, its tunnel */
	struct exchange *x;    /* lent by its server, until it is ended */
	struct task task;
	struct timer timer;     /* what is due first */
	struct worker *worker;  /* borrowed */
	struct worker_gen *gen; /* counted */
	struct arena *arena;    /* owned; holds this too */
	/* owned; of the head behind interim ones; or NULL */
	struct arena *heads;
	enum flow_state state;
	char reference[16];
	uint32_t slot; /* of the flight record; 0: none was left */
	struct plan plan;
	struct fault fault; /* the first cause */
	/* by a service in place of the origin, whose answer is scanned */
	struct fault answered;
	struct str answered_by;

	struct http_msg *req; /* as it goes on; NULL: none was read */
	struct str url;       /* absolute, as the client asked */
	struct str url_led; /* the same by where it was led from; or STR_NONE */
	struct str url_sent;   /* as a service changed it; STR_NONE: not */
	struct body *req_body; /* counted; NULL: none */
	struct http_msg *resp;
	struct body *resp_body; /* counted; NULL: none */

	struct scan_who who;
	struct scan_message scanned; /* of the running chain */
	struct scan_shared shared;   /* between its services */
	struct chain_run *chain;     /* owned; NULL: none runs */
	struct lease *lease;         /* owned; of an origin; NULL: none */
	struct pump up, down;
	/* keeps the request's body, should it be repeated */
	struct reader body_again;
	struct body *resumed; /* counted; RESUME: the adapted body */
	struct tunnel *grant; /* owned; a CONNECT has become that; or NULL */
	/* in the arena; NULL: it is HTTP and stays so */
	struct upgrade *upgrade;
	/* of the original while it is trickled; RESUME: of the adapted one */
	struct reader was, now;
	struct chq again; /* RESUME: read from now, not yet compared */

	struct str via;     /* of a CONNECT; absent: none */
	union address dest; /* where the client named an address */
	/* the chain of the request that ran */
	const struct policy_scan *scanned_by;
	unsigned interim; /* 1xx received */
	size_t hints;     /* what Link fields of 1xx may still come to */
	unsigned tries;   /* origin connections used */
	unsigned drops;   /* leases that had ended before they were used */
	bool owes_100;    /* the client waits for "100 Continue" from us */
	bool head_out;    /* the response head has been written */
	bool keep;        /* it wishes that its client's connection goes on */
	bool last;        /* ... which ends with the answer in any case */
	bool resp_from_origin;
	bool blocked;               /* by policy or a verdict */
	bool internal;              /* assay.internal */
	bool for_http1;             /* its client asks again over HTTP/1.1 */
	bool wanted_part;           /* the client asked for a part */
	bool asked_part;            /* the origin was asked for one */
	struct flow_stream *stream; /* the response may be endless; NULL: no */
	struct resolve_query *name; /* NAME; in the arena, or NULL */
	bool unproven;              /* its host is not */
	bool is_part;               /* the response is one, of more */
	struct flow_grpc *grpc;     /* it is a call of gRPC; NULL: no */
	enum err gives_up;          /* ERR_NONE: it does not */
	bool told; /* its client has had the reason behind the answer */
	uint64_t hold_until; /* trickling begins */

	/* for the record */
	uint64_t started_at, started_wall;
	uint64_t first_byte_at;
	int64_t scan_us;              /* -1: not scanned */
	struct lease_times times;     /* of the last lease */
	char server_ip[ADDRESS_TEXT]; /* "": none was reached */
	uint16_t server_port;
	const struct upstream_end *parent; /* of the generation; NULL: none */
	char parent_ip[ADDRESS_TEXT];
	bool around;            /* its parents */
	unsigned parent_status; /* that it has refused with; 0: none */
	struct str origin_version, origin_cipher, origin_protocol;
	char origin_ct[CT_WHY];      /* lease_lacks_ct() */
	uint64_t request_body_bytes; /* of a body that was given up */
	const struct audit_scan *scans;
	struct audit_scan *sums; /* the same, behind flow_chain_sum() */
	unsigned n_scans;
	bool has_verdict;
	enum verdict verdict;
	struct str service, threat, reason; /* for the page */
	const char *rule;
	const char *refused_by; /* the rule that refused an address */
};

/* A request of the client's has come, or its fault.  The flow runs later. */
void flow_new(struct client *, struct exchange *);
/*
 * The client's connection ends under it: it writes its record, and ends its
 * exchange.
 */
void flow_free(struct flow *);

/* Parts of flow.c; the flow is never freed inside. */

/* Change the state; checked against the table. */
void flow_go(struct flow *, enum flow_state);
/* Answer with a page for f->fault (set from fault unless set); or, if an answer is on its way, cut it. */
void flow_fail(struct flow *, const struct fault *);
void flow_fail_code(struct flow *, enum err, const char *detail);
/* What it holds is wanted back (pressure.h): it fails for that when it runs. */
void flow_give_up(struct flow *, enum err);
/*
 * Does it sign in a connection (http/auth.h) that HTTP/2 shares with other
 * requests?  Then its client shall ask again over HTTP/1.1, and the flow has
 * ended (RFC 9113 7; so do browsers and servers that know such sign-ins).
 */
bool flow_wants_http1(struct flow *, const struct http_msg *);
/*
 * A head that is not complete has grown, and its client has no more memory:
 * the flow has failed.
 */
bool flow_head_too_dear(struct flow *, const struct arena *head);
/* What a page says of f->fault. */
void flow_page_facts(const struct flow *, struct page_facts *);
/* flow_origin.c */
/* Get the request's lease of an origin (f->lease), or another one. */
void flow_get_lease(struct flow *);
enum flow_step flow_origin(struct flow *); /* ORIGIN */
enum flow_step flow_answer(struct flow *); /* ANSWER */
/*
 * The answer has begun; an origin may still want the rest of the request
 * before it goes on.  How that ends only counts for the connection's reuse.
 */
void flow_finish_upload(struct flow *);
/*
 * reach.c: true: f->lease is ready, and the rules allow it.  False: the
 * flow waits or has failed, as *step says.
 */
bool flow_reach_origin(struct flow *, enum flow_step *step);
/* May it be led to this address?  Asks the rules; fits struct origin_want. */
bool flow_may_reach(void *flow, const struct sockaddr *);
/* WHERE: the origin's address, if the choice of the chain needs it. */
enum flow_step flow_where(struct flow *);
/* flow_request.c: POLICY. */
void flow_request(struct flow *);
/* What the rules say, once it is known what its host is worth. */
void flow_request_decide(struct flow *);
/*
 * flow_name.c: is it to be found out whether the host leads to the address
 * that the connection is for?  Then the flow is in state NAME.
 */
bool flow_name_begin(struct flow *);
enum flow_step flow_name(struct flow *); /* NAME */
/* Does the answer so far have this address? */
bool flow_name_leads_to(const struct resolve_query *, const struct sockaddr *);
/* flow_connect.c: the same for a CONNECT. */
void flow_request_connect(struct flow *);
/* CONNECT: do services let it pass? */
enum flow_step flow_connect(struct flow *);
/* Of a chain the services that want it, in the flow's arena; maybe none. */
struct worker_chain flow_pick(struct flow *, const struct policy_scan *,
    bool (*wants)(const struct scanner *));
/*
 * flow_answered.c: a service has answered the request.  Its answer is what the
 * client gets, once those that scan answers (SCAN_RESP) let it pass.
 */
void flow_answered(struct flow *, struct chain_result *);
void flow_answer_passes(struct flow *); /* they do */
/* What policy may know of the request. */
void flow_facts(struct flow *, struct policy_facts *);
/* Its User-Agent; "" when there is none. */
struct str flow_agent(const struct http_msg *req);
/* The same of another message of the flow: its type. */
void flow_facts_type(const struct flow *, const struct http_fields *,
    struct policy_facts *);
/* Blocked by the rule that plan.rule names for access, or by another one. */
void flow_block(struct flow *, const char *rule, const char *detail);
/* A scanner has changed the request: do the rules still allow it? */
bool flow_still_allowed(struct flow *);
/* flow_again.c */
/* May the request be sent once more, with all of its body? */
bool flow_is_repeatable(const struct flow *);
/* The request is about to leave: keep its body if it may be repeated. */
void flow_keep_body(struct flow *);
/* The connection died before an answer; true: the request goes out again. */
bool flow_again(struct flow *);
/*
 * Behind a switch of protocols on its own connection: its client's end is one of
 * octets, which the other side is told first.
 */
bool flow_outlives_client(const struct flow *);
/* flow_clock.c: fail it if a peer is silent or slow beyond its limit. */
void flow_check_clocks(struct flow *);
/* It waits: set its timer to what is due first. */
void flow_set_timer(struct flow *);
/*
 * The rest of the request has left: the origin's clocks begin now, while it
 * was we who were waited for before.
 */
void flow_upload_ended(struct flow *);
/* flow_part.c */
/* What the pump sends is scanned: no trailer but small ones that are known. */
void flow_trim(struct flow *, struct pump *);
/* the request is about to leave: for the whole? */
void flow_ask(struct flow *);
/* The response head is there; false: a part that nobody wants, and the flow has failed. */
bool flow_part(struct flow *);
/* What is known to be missing of a message that is going to be scanned. */
void flow_gap(const struct flow *, struct scan_message *);
/* flow_stream.c */
/*
 * The response is going to be scanned.  True: go on with what m->body is now,
 * the whole or the begin of an endless one.  False: woken later, or it has failed.
 */
bool flow_stream_begin(struct flow *, struct scan_message *m);
/* The chain lets the begin pass; false: woken later, or the flow has failed. */
bool flow_stream_pass(struct flow *, struct chain_result *);
/* Is only the begin of the response in the chain, or is the rest passing? */
bool flow_stream_is_on(const struct flow *);
/* May its origin say little now and then, for ever? */
bool flow_stream_may_drip(const struct flow *);
/* Does it wait for time to pass, so that more may be known or released? */
bool flow_stream_is_paced(const struct flow *);
/* How much of it may have left by now. */
uint64_t flow_stream_mark(struct flow *);
void flow_stream_stop(struct flow *);
/* flow_grpc.c */
/* The request is decided: if it is a call, f->grpc is made. */
void flow_grpc_begin(struct flow *);
/*
 * The request is going to be scanned: of a call its head alone, before an
 * origin hears of it.  False: it has failed.
 */
bool flow_grpc_asks(struct flow *, struct scan_message *);
/* The head of a call may pass; its messages follow while it goes on.  It is in its next state. */
void flow_grpc_request(struct flow *);
/*
 * The answer is going to be scanned.  True: message by message, while it goes
 * on; it is in its next state, or has failed.
 */
bool flow_grpc_takes_response(struct flow *);
/* Look at what has come; it may fail by that. */
void flow_grpc_run(struct flow *);
/* Its pumps have run: may more be looked at? */
void flow_grpc_turn_ends(struct flow *);
/* How much of the body of p (up or down) may have left; BODY_ALL: of no call. */
uint64_t flow_grpc_mark(const struct flow *, const struct pump *p);
/*
 * The flow has failed, and its answer is under way.  True: its client was told
 * why, behind the last whole message.
 */
bool flow_grpc_tell(struct flow *);
/* f->grpc: when it has been silent for too long, both ways. */
uint64_t flow_grpc_due(const struct flow *);
void flow_grpc_stop(struct flow *);
/* flow_reply.c */
/* Send the response head while the chain still looks at the body. */
void flow_head_early(struct flow *);
void flow_response(struct flow *); /* the origin's head is there */
/* Its head is a switch of protocols that was asked for. */
void flow_switching(struct flow *, struct http_msg *);
void flow_scan_response(struct flow *);
enum flow_step flow_resume(struct flow *);
/* Join the result of the chain that is done. */
void flow_chain_note(struct flow *, const struct chain_result *);
/*
 * The same of one of many messages, whose arena goes: scans of a service with
 * the same outcome are one for the record.
 */
void flow_chain_sum(struct flow *, const struct chain_run *,
    const struct chain_result *);
/* ... which has no result and is cancelled: *run becomes NULL. */
void flow_chain_give_up(struct flow *, struct chain_run **run);
/* What follows passes unseen: where a chain saw heads, it is not clean. */
void flow_unseen(struct flow *);
/* Stop the chain that runs, if one does, and note what its services did. */
void flow_chain_stop(struct flow *);
enum flow_step flow_reply(struct flow *);
/* flow_audit.c */
void flow_record(struct flow *);
/* It is under way; whoever looks after a crash sees it (proxy/flight.h). */
void flow_flight_begin(struct flow *);
/* How far it is. */
void flow_flight_note(struct flow *);
void flow_note_origin(struct flow *);

#endif
