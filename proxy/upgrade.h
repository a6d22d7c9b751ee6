/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Switches of protocols (RFC 9110 7.8): what a request asks for, what the rules
 * let go on of it, the origin's 101, and the connection behind that until its
 * end.  The opening of a WebSocket connection is checked (http/ws_open.h);
 * protocols that a rule names are not known here.
 *
 * A request whose Upgrade is refused goes on as HTTP without it, and so does
 * the connection that an origin did not switch.
 *
 * Room: proxy.  Thread: its worker's.
 */
#ifndef PROXY_UPGRADE_H
#define PROXY_UPGRADE_H

#include "http/ws_open.h"
#include "proxy/relay.h"
#include "proxy/ws_inspect.h"

struct conf;
struct flow;
struct http_msg;

/* Of a flow that asked for one; lives in its arena. */
struct upgrade {
	bool websocket;        /* else what a rule names */
	struct str asked;      /* all of the field Upgrade */
	struct str protocol;   /* what goes on; STR_NONE: nothing */
	struct ws_terms terms; /* websocket, behind the 101 */
	bool switched;         /* UPGRADED, or was */
	bool cut;              /* it has ended visibly */
	bool inspects;         /* its messages are looked at */
	struct relay relay;
	struct ws_inspect *inspect; /* owned; NULL: the relay has it */
};

/*
 * What does the request ask for?  Before http_hop_strip().  False: it means
 * to open a WebSocket connection and does it wrongly; the flow has failed.
 */
bool upgrade_ask(struct flow *);
/*
 * The rules have decided, maybe once more: what goes on stands in the head.
 * False: they block it, and the flow has failed.
 */
bool upgrade_decide(struct flow *);
/*
 * A service has changed the request, which asks again for what it did.  False:
 * it cannot any more, and the flow has failed.
 */
bool upgrade_adapted(struct flow *);
/*
 * The origin switches protocols: msg is its 101.  False: it was not asked to,
 * or not so; the flow has failed.
 */
bool upgrade_answer(struct flow *, struct http_msg *msg);
/*
 * The head that goes to the client, which scanners may have replaced, is a
 * 101: both sides are switched.  False: it is no such answer any more, and
 * the flow has failed.
 */
bool upgrade_begin(struct flow *);
/* UPGRADED; true: it has ended. */
bool upgrade_run(struct flow *);
uint64_t upgrade_due(const struct flow *);
/* The flow ends: what still looks at messages stops, and is noted for the record. */
void upgrade_settle(struct flow *);
/* The flow ends, in any state: let go of what works for it. */
void upgrade_stop(struct flow *);
/* The worker ends: ends are said where they can be. */
void upgrade_drain(struct flow *);
/* A new configuration: false: it denies what the flow does; it is to be freed. */
bool upgrade_reload(struct flow *, const struct conf *);
/* Octets each way; false: nothing was switched. */
bool upgrade_count(const struct flow *, uint64_t *up, uint64_t *down);

#endif
