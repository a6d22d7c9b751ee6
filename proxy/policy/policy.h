/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Policy: rules, applied to what is known of a flow.
 *
 * For each decision separately the first rule that matches and makes it wins.
 * A condition has three answers: yes, no, and not known yet (the type of a
 * response before its head is there); "not" of not known is not known.  A
 * rule matches only when the answer is yes.  One exception keeps "allow these,
 * block the rest" possible: a block is put off to the next stage while an
 * earlier rule that allows is not known yet.  It is not put off when there
 * will be no further stage: the tunnel is spliced, and the destination's
 * address, if a rule asks for it, is known.
 *
 * A URL that an origin may read in another way (dot segments, doubled slashes,
 * encoded letters) is asked about in each: for each decision the stricter
 * answer holds, so that a block needs one of them, and what exempts (allow,
 * a smaller scan, a faster download, a shorter log) all of them.
 *
 * Room: proxy.  Any thread; no allocation but the first time in a thread.
 */
#ifndef PROXY_POLICY_H
#define PROXY_POLICY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>
#include "base/str.h"

struct conf;
struct list;
struct policy_match;

struct policy_strings {
	const char **v;
	unsigned n;
};

struct policy_span {
	uint64_t lo, hi; /* inclusive */
};

struct policy_spans {
	struct policy_span *v;
	unsigned n;
};

struct policy_host {
	struct str name; /* lower case; {NULL, 0}: free slot */
	uint32_t hash;
	unsigned how;
};

/* A hash set of names; {0} is empty. */
struct policy_hosts {
	struct policy_host *slot; /* cap of them, a power of two */
	unsigned n, cap;
};

enum policy_stage {
	POLICY_TLS, /* CONNECT or ClientHello: decides tls, access, log, route */
	/*
	 * request head: access, scan, download, range, websocket, upgrade, log,
	 * route
	 */
	POLICY_REQUEST,
	/* response head: access, scan of the response, download, stream, log */
	POLICY_RESPONSE
};

/* Of each the stricter stands first, but for access, stream and websocket. */
enum policy_tls { POLICY_INSPECT, POLICY_SPLICE };
enum policy_access { POLICY_ALLOW, POLICY_BLOCK };
enum policy_download { POLICY_HOLD, POLICY_TRICKLE, POLICY_STREAM };
/* Ranges of a representation that a chain looks at. */
enum policy_range { POLICY_RANGE_STRIP, POLICY_RANGE_ALLOW };
/* Endless answers that a chain would look at. */
enum policy_stream {
	POLICY_STREAM_DEFER,
	POLICY_STREAM_SCAN,
	POLICY_STREAM_BLOCK
};
/* Open WebSocket connections. */
enum policy_websocket {
	POLICY_WEBSOCKET_TUNNEL,
	POLICY_WEBSOCKET_INSPECT,
	POLICY_WEBSOCKET_BLOCK
};
enum policy_log { POLICY_LOG_FULL, POLICY_LOG_MINIMAL, POLICY_LOG_NONE };

/* How origins are reached: this, or what the configuration numbers. */
#define POLICY_DIRECT 0u

enum policy_decision {
	POLICY_BY_TLS,
	POLICY_BY_ACCESS,
	POLICY_BY_SCAN,
	POLICY_BY_DOWNLOAD,
	POLICY_BY_LOG,
	POLICY_BY_RANGE,
	POLICY_BY_STREAM,
	POLICY_BY_WEBSOCKET,
	POLICY_BY_UPGRADE,
	POLICY_BY_ROUTE,
	POLICY_DECISIONS
};

/* Services that work at the same time on one pass of the bytes. */
struct policy_step {
	/* numbers of services, as the configuration counts them */
	unsigned *service;
	unsigned n; /* at least one */
};

/* Steps in order; what a plan executes. */
struct policy_scan {
	struct policy_step *v;
	unsigned n; /* 0: no scan */
};

struct policy_rule {
	const char *name;                /* default "rule 3" */
	const struct policy_match *when; /* NULL: always */
	unsigned decides;                /* bits 1 << enum policy_decision */
	enum policy_tls tls;
	enum policy_access access;
	enum policy_download download;
	enum policy_range range;
	enum policy_stream stream;
	enum policy_websocket websocket;
	enum policy_log log;
	unsigned route;
	struct policy_strings upgrade; /* protocols, as they are written */
	/* Its chains one after another, by the mode of their services, each service once. */
	struct policy_scan scan_req;
	struct policy_scan scan_resp;
};

struct policy_rules {
	struct policy_rule *v;
	unsigned n;
};

/*
 * Lists, in the order of the configuration; NULL: there is none in force, so
 * that no rule that asks for it matches.
 */
struct policy_lists {
	struct list **v; /* owned, counted */
	unsigned n;
};

/* The rules and what holds without them; frozen, like the configuration it is in. */
struct policy {
	struct policy_rules rules;
	struct policy_lists lists; /* by policy_lists_set() */
	bool ask_url;              /* some rule looks at it */
	bool ask_type;
	/* where no rule decides download */
	enum policy_download browser, other;
	struct policy_scan all_req;   /* all services by mode, in file order, */
	struct policy_scan all_resp;  /* for when no rule decides scan */
	struct policy_scan used_req;  /* every service that some rule, or the */
	struct policy_scan used_resp; /* lack of one, scans with */
};

/* Is the service in some step of it? */
bool policy_scan_has(const struct policy_scan *, unsigned service);

#define POLICY_SIZE_UNKNOWN UINT64_MAX
#define POLICY_TYPES 8

/*
 * What is known; everything borrowed for the time of the call.  Absent is
 * STR_NONE, NULL or POLICY_SIZE_UNKNOWN.
 */
struct policy_facts {
	const struct sockaddr *client;
	struct str listener; /* the listener's name */
	/* normalised: lower case, no trailing dot, no brackets */
	struct str host;
	bool host_is_ip;
	uint16_t port;
	struct str scheme;           /* "http", "https" */
	const struct sockaddr *dest; /* NULL while not resolved */
	struct str method;           /* at POLICY_TLS: "CONNECT" or absent */
	/* User-Agent, "" where the request has none; absent: no request yet */
	struct str agent;
	struct str url; /* absolute, with query; absent at POLICY_TLS */
	/* the same after a service changed it; absent: it did not */
	struct str url_sent;
	/*
	 * The host is only its client's word: it is also asked as if it were
	 * this address, and the URL this one.  The stricter holds.  STR_NONE:
	 * the host is known.
	 */
	struct str led_host, led_url;
	/*
	 * Of the message in question: Content-Type (parameters are ignored)
	 * and size of the body.  A request without them says nothing about
	 * the flow (not known yet); for a response absent type is a plain no.
	 */
	struct str type;
	struct str types[POLICY_TYPES]; /* if receivers may take several */
	unsigned n_types;
	uint64_t size;
	time_t at; /* when it is; 0: now */
	/* there is a connection: the route of the plan stays */
	bool connected;
	bool navigation; /* a browser shows it to a person (download.browser) */
};

/* Filled stage by stage: what a stage does not decide stays as it was. */
struct plan {
	enum policy_tls tls;
	enum policy_access access;
	enum policy_download download;
	enum policy_range range;
	enum policy_stream stream;
	enum policy_websocket websocket;
	enum policy_log log;
	unsigned route;
	const struct policy_strings *upgrade; /* in the policy; NULL: none */
	const struct policy_scan *scan_req; /* in the policy; n = 0: no scan */
	const struct policy_scan *scan_resp;
	/* The rule that made each decision; NULL: no rule did.  In the policy. */
	const char *rule[POLICY_DECISIONS];
	/*
	 * Some rule that is not known yet would have the response scanned,
	 * should it match.
	 */
	bool may_scan_resp;
	/*
	 * A rule looks at the destination's address: decide again for each
	 * address that is about to be connected to, and for each connection that
	 * is about to be used.
	 */
	bool asks_dest;
	/* The address was not known, and could yet decide these (bits 1 << decision). */
	unsigned dest_open;
	/*
	 * A pattern ran into its limits on this URL: access is POLICY_BLOCK,
	 * the rule is the pattern's (nobody buys his way past with a nasty URL).
	 */
	bool overrun;
};

/*
 * The lists that its rules ask for, one for each of the configuration; taken
 * over.  Before the policy is shared.  NULL, or the name of a category that a
 * list does not have: the rule will not match, and *list is the list's number.
 */
const char *policy_lists_set(struct policy *, struct list **v, unsigned n,
    unsigned *list);
void policy_lists_fini(struct policy *);

/* Everything as without rules. */
void policy_plan_init(const struct policy *, struct plan *);

/*
 * Decide what the stage decides.  The plan was made by policy_plan_init(),
 * and for later stages is the one of the stage before; it points into the policy,
 * of which the caller holds a reference.
 */
void policy_decide(const struct policy *, enum policy_stage,
    const struct policy_facts *, struct plan *);

#endif
