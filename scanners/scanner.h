/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one interface of every scanner, local or remote.
 * A scan looks at one message and ends in one result; a chain (chain.h) runs
 * scans in steps and joins their results.
 * Room: scanners.  Thread: its loop's.
 */
#ifndef SCANNERS_SCANNER_H
#define SCANNERS_SCANNER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/fault.h"
#include "base/loop.h"
#include "http/msg.h"
#include "scanners/shared.h"
#include "stream/body.h"

/* In rising strength; the strongest answer of a group counts. */
enum verdict {
	VERDICT_CLEAN,
	VERDICT_MODIFIED,  /* there is an adapted message */
	VERDICT_UNSCANNED, /* with a reason; the scanner's policy decides */
	VERDICT_BLOCKED
};
const char *verdict_name(enum verdict); /* "clean" ... */

/*
 * Why a body counts as unscanned.  on_unscanned has a policy for each, so
 * that unlike things can be told apart.
 */
enum scan_gap {
	GAP_NONE,
	GAP_ENCRYPTED, /* the key is missing: archive, document */
	GAP_CODING,    /* a content coding that cannot be taken off */
	GAP_LIMIT,     /* larger, deeper or more than the limits allow */
	GAP_PART,      /* a part of something that was not seen whole */
	GAP_STREAM,    /* it has no end to wait for */
	GAP_TIME,      /* the scan took too long */
	GAP_DAMAGED,   /* the file is broken */
	GAP_ERROR,     /* the scanner could not do its work */
	GAP_COUNT
};
/* The word in the configuration and the record: "encrypted" ...; "" for none. */
const char *scan_gap_name(enum scan_gap);

enum scan_mode { SCAN_REQ, SCAN_RESP }; /* what is scanned: REQMOD, RESPMOD */

/* What a failure (no verdict) or a partial answer does. */
enum scan_policy { SCAN_POLICY_BLOCK, SCAN_POLICY_BYPASS };

struct account;

/* Whose message it is; all borrowed from the flow. */
struct scan_who {
	struct str client_ip;
	uint64_t client_key;  /* scan_client_key(), if known; 0: not */
	struct str server_ip; /* STR_NONE while unknown */
	struct str user;      /* STR_NONE without sign-in */
	struct str reference; /* of the flow, as in page and log */
	struct str rule;      /* that chose the scan; STR_NONE: no rule did */
	struct str sni; /* what the client's ClientHello named, if a name */
	struct str listener;
	/* whose memory and files it takes; NULL: nobody's */
	struct account *account;
};

/*
 * Who takes turns with others: an IPv4 address, or the network half of an IPv6
 * one, for a host may use any address below it.  0: that is none.
 */
uint64_t scan_client_key(struct str client_ip);
/* Of whose message it is; who may be NULL: 0. */
uint64_t scan_who_key(const struct scan_who *);

/* Borrowed by a scan until it is done or cancelled. */
struct scan_message {
	enum scan_mode mode;
	const struct http_msg *req;  /* always; req->uri is set, absolute */
	const struct http_msg *resp; /* SCAN_RESP */
	struct body *body;           /* NULL: the message has none */
	const struct scan_who *who;  /* NULL: nobody's */
	/* of the flow; NULL: nothing is carried on */
	struct scan_shared *shared;
	/*
	 * What is known beforehand: no scanner can see the whole of what the
	 * receiver gets (GAP_PART, GAP_STREAM).  Its clean is unscanned then;
	 * a finding counts as ever.
	 */
	enum scan_gap gap;
	struct str gap_text; /* for the record: "a part of a file" */
	struct arena *arena; /* of the flow: adapted heads go there */
};

/* How one scan ended.  Strings live in the message's arena or are constants. */
struct scan_result {
	enum verdict verdict;
	/*
	 * ERR_NONE: the scanner did its work.  Else it gave no verdict (down,
	 * timeout, protocol error; verdict is VERDICT_UNSCANNED), or the message
	 * itself ended early (ERR_REQ_BODY_CUT, ERR_ORIGIN_CUT ...).
	 */
	struct fault fault;
	/*
	 * VERDICT_UNSCANNED because of the service's max_body; with a gap other
	 * than GAP_LIMIT that was in what was scanned, and both policies count.
	 */
	bool too_large;
	/* VERDICT_UNSCANNED: the service's wish, which its settings obey */
	bool unwanted;
	/* VERDICT_UNSCANNED without a fault: never GAP_NONE */
	enum scan_gap gap;
	/* VERDICT_UNSCANNED: "limit exceeded", "encrypted archive" ... */
	struct str reason;
	/*
	 * VERDICT_BLOCKED, VERDICT_MODIFIED (repaired): name given by the
	 * scanner, may be empty
	 */
	struct str threat;
	struct str endpoint; /* "host:port" or "inside" */
	/* further facts for the log: ICAP status, headers; may be empty */
	struct str note;
	/*
	 * VERDICT_MODIFIED, and VERDICT_BLOCKED with a page of the scanner's
	 * own: the message to go on with.  resp set in SCAN_REQ: the request
	 * is answered by it.  req/resp NULL: the head is unchanged.
	 * body: one reference for the taker; NULL: no body.
	 */
	bool has_message;
	struct http_msg *req;
	struct http_msg *resp;
	struct body *body;
	/*
	 * VERDICT_CLEAN: what scanner_type.depends was when the answer was
	 * made, for which it may be believed again.  STR_NONE: it may not.
	 */
	struct str depends;
	uint64_t us;    /* that the scanner has worked, or was waited for */
	uint64_t bytes; /* of the body that it was given */
};

/* Time in which at least one of several scans worked. {0} at first. */
struct scan_meter {
	unsigned working;
	uint64_t since, us; /* since: monotonic us, while working > 0 */
};

struct scanner;
struct scan;
struct verdict_cache;

struct scanner_type {
	const char *name; /* "icap", "clamav" */
	/* Begin; completes exactly once, later, by scan_done(), also on failure. */
	void (*start)(struct scan *);
	/* Stop it: no completion afterwards, its readers closed.  After completion: frees what it holds. */
	void (*cancel)(struct scan *);
	/*
	 * All that an answer to msg depends on but for the body and the fields
	 * about its content (those with "content-" in their names), in msg->arena: settings, state of the
	 * signatures, who asks.  STR_NONE: no answer may be believed again now.
	 * NULL: never.
	 */
	struct str (
	    *depends)(const struct scanner *, const struct scan_message *msg);
	bool needs_end; /* it does nothing before the body's end */
};

/* A configured service on one loop. First member of its implementations. */
struct scanner {
	const struct scanner_type *type;
	struct loop *loop;
	const char *name; /* of the service in the configuration */
	bool scans_req, scans_resp;
	bool scans_connect; /* scans_req: CONNECT, too */
	bool scans_answers; /* scans_resp: those that services made, too */
	enum scan_policy on_error;
	/* what ERR_SCAN_BUSY does, instead of on_error */
	enum scan_policy on_busy;
	/* what result.too_large does, instead of on_unscanned[GAP_LIMIT] */
	enum scan_policy over_max;
	enum scan_policy on_unscanned[GAP_COUNT];
	bool replace_page;           /* page: replace */
	struct verdict_cache *cache; /* borrowed; NULL: asks always */
	bool cache_shared;           /* the same answer for whoever asks */
	uint64_t cache_max;          /* longer bodies are not known */
	unsigned cache_s;            /* how long an answer is believed */
};

/* One scan of one message by one scanner. Embedded in the chain. */
struct scan {
	struct scanner *scanner;        /* borrowed */
	const struct scan_message *msg; /* borrowed */
	struct task *wake;              /* woken when done */
	bool done;
	/* complete when done; body is taken by setting it NULL */
	struct scan_result result;
	bool works;
	uint64_t works_since;     /* us */
	struct scan_meter *meter; /* borrowed; NULL: none */
	void *priv;               /* the scanner's */
};

void scan_start(struct scan *, struct scanner *, const struct scan_message *,
    struct task *wake);
/* Count its time there, too, as soon as it is started. */
void scan_metered(struct scan *, struct scan_meter *);
/*
 * Called by the scanner: from now on it waits for the message's own sender, or
 * works again.  It works from its start to its end otherwise.  Again: nothing.
 */
void scan_waits(struct scan *);
void scan_works(struct scan *);
/* Called by the scanner, from its own task; fills times, wakes. */
void scan_done(struct scan *);
/* Ends it in any state, result.body included; idempotent; a scan never started is nothing. */
void scan_cancel(struct scan *);

#endif
