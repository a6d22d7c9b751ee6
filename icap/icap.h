/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ICAP client: a configured service, on one or more servers, as a scanner.
 * One object per worker and service; what all workers must agree on (how many
 * connections are open) is in struct icap_shared.
 *
 * Room: icap.  Thread: its loop's.  Obeys RFC 3507 and its errata.
 */
#ifndef ICAP_ICAP_H
#define ICAP_ICAP_H

#include <stdbool.h>
#include <stdint.h>
#include "base/fault.h"
#include "base/loop.h"
#include "scanners/scanner.h"
#include "stream/body.h"

struct account;
struct dialer;
struct gnutls_session_int;

#define ICAP_MAX_URLS 16       /* servers of one service */
#define ICAP_CLIENTS 256       /* slots that clients are told apart by */
#define ICAP_MAX_PREVIEW 65536 /* what a service may make us hold back */

enum icap_balance { ICAP_FAILOVER, ICAP_ROUND_ROBIN, ICAP_LEAST_BUSY };
enum icap_on_busy { ICAP_BUSY_WAIT, ICAP_BUSY_BLOCK, ICAP_BUSY_BYPASS };
enum icap_identity {
	ICAP_IDENTITY_SQUID, /* X-Client-IP, X-Client-Username */
	ICAP_IDENTITY_RFC,   /* X-Client-IP, X-Authenticated-User (base64) */
	ICAP_IDENTITY_NONE
};

#define ICAP_PREVIEW_AUTO (-1) /* what OPTIONS says */
#define ICAP_PREVIEW_OFF (-2)

/* value: with variables (icap/vars.h). */
struct icap_header {
	const char *name, *value;
};

/* Something happened to a server; for the log. */
struct icap_notice {
	const char *service, *endpoint;
	bool up;
	const char *text; /* why it is down; a warning while up; never NULL */
};

/* A service as configured.  icap_new() copies it. */
struct icap_options {
	const char *name;
	const char *const *urls; /* icap:// or icaps:// */
	unsigned n_urls;         /* 1..ICAP_MAX_URLS */
	bool req, resp;          /* mode: REQMOD, RESPMOD */
	enum icap_balance balance;
	enum scan_policy on_error;
	enum icap_on_busy on_busy;
	int32_t preview;          /* bytes, or one of ICAP_PREVIEW_ */
	unsigned max_connections; /* per server, all workers; 0: auto */
	uint64_t connect_timeout_ms;
	uint64_t timeout_ms; /* silence inside one transaction */
	uint64_t probe_ms;   /* longest pause between probes while down */
	uint64_t max_body;   /* 0: none */
	/* SCAN_POLICY_BYPASS: the first max_body bytes are scanned, as a whole */
	enum scan_policy over_max;
	enum scan_policy on_unscanned[GAP_COUNT];
	enum icap_identity identity;
	const struct icap_header *headers;
	unsigned n_headers;
	/* Fields of its answers that later services are sent. */
	const char *const *share;
	unsigned n_share;
	bool replace_page;
	bool connect;       /* req: it is shown CONNECT, too */
	bool decode;        /* bodies are sent without content codings */
	bool obey_transfer; /* Transfer-Ignore, where all names agree */
	/*
	 * icaps: a fresh client session for host with credentials, priorities,
	 * name and chain verification set; NULL with cause in f.  NULL hook:
	 * icaps addresses fail.
	 */
	struct gnutls_session_int *(
	    *tls_new)(void *arg, const char *host, struct fault *f);
	void *tls_arg;
	/* NULL: nobody wants to know.  Called from the loop. */
	void (*notice)(void *arg, const struct icap_notice *);
	void *notice_arg;
	struct body_store *store; /* of adapted bodies; outlives the service */
	struct account *kept;     /* whose its idle connections are, the same */
};

/* Shared by the objects of one service on all workers; {0} at first. */
struct icap_shared {
	_Atomic unsigned open[ICAP_MAX_URLS]; /* connections, idle ones too */
	_Atomic unsigned busy[ICAP_MAX_URLS]; /* with a transaction on it */
	_Atomic unsigned waiting; /* scans that wait for a connection */
	_Atomic unsigned held[ICAP_CLIENTS]; /* by slow bodies of a client */
};

/*
 * A service on one loop.  shared and dialer (of the same loop) are borrowed
 * and outlive it.  NULL with cause in f: a bad URL or header.
 * Whoever scans keeps the message's body from its first byte on until the
 * scan is done (a chain does), so that it can be repeated.  The arena of the
 * message outlives an adapted body.
 */
struct scanner *icap_new(struct loop *, const struct icap_options *,
    struct icap_shared *, struct dialer *, struct fault *f);
/* No scan of it may be unfinished.  Adapted bodies still being read end cut. */
void icap_free(struct scanner **);

enum icap_state {
	ICAP_UNKNOWN, /* not asked yet, or being asked for the first time */
	ICAP_UP,
	ICAP_DOWN
};

/* One server as this worker sees it; strings are valid until the next turn. */
struct icap_stats {
	const char *endpoint; /* "host:port" */
	enum icap_state state;
	const char *down;         /* why, "" while up */
	const char *istag;        /* "" if none */
	const char *service;      /* what it calls itself, "" if unknown */
	int32_t preview;          /* agreed bytes, -1: none */
	unsigned max_connections; /* 0: no limit */
	unsigned idle, busy;      /* connections of this worker */
	uint64_t options;         /* OPTIONS exchanges */
	uint64_t transactions;    /* sent, retries included */
	uint64_t retries; /* repeated after a race on a kept connection */
	uint64_t failures;
	uint64_t connects;
};
/* False: there is no i-th server. */
bool icap_get_stats(const struct scanner *, unsigned i, struct icap_stats *);

#endif
