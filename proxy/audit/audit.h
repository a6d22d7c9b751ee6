/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The access log: one record a flow, written when the flow has ended; and
 * log.issued, one record a signature.
 *
 * A worker fills a struct audit_record and calls audit_write(); that formats
 * the line into a bounded buffer in memory (about 1 us) and returns.  One
 * thread of the log's own appends whole lines to the files within 50 ms, so
 * a slow or full disk stops no worker; lines that found no room are counted.
 *
 * Bodies, credentials and cookies never come here: there is no field for
 * them.  userinfo is cut from URLs, queries and more by struct logging_privacy.
 *
 * Room: proxy.  Thread: audit_write() any, the rest one at a time.
 */
#ifndef PROXY_AUDIT_H
#define PROXY_AUDIT_H

#include <stdbool.h>
#include <stdint.h>
#include "base/fault.h"
#include "base/str.h"
#include "proxy/policy/logging.h"
#include "scanners/scanner.h"

enum audit_action {
	AUDIT_ALLOW,  /* "allow" */
	AUDIT_BLOCK,  /* "block": by a rule or a verdict */
	AUDIT_SPLICE, /* "splice": passed on unopened */
	AUDIT_ERROR   /* "error": a fault of a peer or of ours */
};

/* What kind of flow it was. */
enum audit_mode {
	AUDIT_PLAIN,       /* "plain": http in absolute form */
	AUDIT_CONNECT,     /* "connect": the CONNECT of an opened tunnel */
	AUDIT_INTERCEPTED, /* "intercepted": a request inside it */
	AUDIT_LED, /* "transparent": a connection led here, without a request */
	AUDIT_TUNNEL,  /* "tunnel": a tunnel that stayed closed */
	AUDIT_INTERNAL /* "internal": assay answered by itself */
};

/* One side's TLS, as negotiated; STR_NONE: not known. */
struct audit_tls {
	struct str version; /* "1.3" */
	struct str cipher;  /* "TLS_AES_256_GCM_SHA384" */
	struct str alpn;    /* "http/1.1" */
	struct str sni;
};

/* What one service said, in the order of the chain. */
struct audit_scan {
	struct str service;  /* name in the configuration */
	struct str endpoint; /* "host:port" or "inside" */
	enum scan_mode mode; /* "req", "resp" */
	struct str outcome;  /* chain_outcome_name() */
	struct str threat;   /* STR_NONE: none */
	struct str reason;   /* why it was not scanned, or failed */
	int64_t us;          /* without waiting for the message's sender */
	uint64_t bytes;
	/* the reason's word, as in on_unscanned; may be empty */
	struct str gap;
	uint64_t messages; /* that are summed in this one; 0: it is of one */
};

/* An inspected WebSocket connection; up: from the client. */
struct audit_websocket {
	bool is;
	uint64_t messages_up, messages_down;
	uint64_t bytes_up, bytes_down; /* of their payloads */
	unsigned code; /* of the Close frame; 0, 1005: there was none */
};

/* Milliseconds; negative: did not happen. */
struct audit_ms {
	int64_t dns;
	int64_t connect;
	int64_t tls;        /* handshake with the origin */
	int64_t scan_us;    /* microseconds in which a scanner worked */
	int64_t first_byte; /* of the answer, from the start of the flow */
	int64_t total;
};

/* Names of the rules that decided; STR_NONE: no rule did. */
struct audit_rules {
	struct str tls;
	struct str access;
	struct str scan;
	struct str download;
	struct str route;
};

/* The parent proxy that it went through, or was to go through. */
struct audit_parent {
	struct str upstream; /* its name; STR_NONE: none */
	struct str endpoint; /* the address, as configured */
	struct str ip;       /* ... and as it was connected to */
	bool by_turn;        /* balance: round_robin */
	bool around;         /* none of them could; on_error: direct */
};

/* Everything is borrowed for the call.  STR_NONE, 0: unknown, left out. */
struct audit_record {
	struct str reference;
	uint64_t started_ms; /* wall clock, ms since 1970 */
	struct audit_ms ms;
	enum audit_action action;
	enum audit_mode mode;
	bool at_response; /* AUDIT_BLOCK: the origin had answered */

	struct str client_ip;
	uint16_t client_port;
	struct str listener;
	/* what rules would give to the name was not given to who said it */
	bool name_unproven;
	/* what a balancer said of the connection, as it came */
	struct str
	    destination; /* "ip:port" that it was going to, if led here */
	struct str balancer_ip, balancer_id, balancer_authority, balancer_alpn;
	struct str user;
	struct str agent; /* User-Agent */

	struct str method;
	struct str url;  /* absolute; "host:port" for CONNECT */
	struct str host; /* lower case, IPv6 without brackets */
	uint16_t port;
	unsigned http_minor;    /* HTTP/1.x of the client */
	bool http2;             /* HTTP/2, http_minor means nothing */
	uint64_t request_bytes; /* head and body, from the client */
	uint64_t request_body_bytes;

	struct audit_parent parent;
	struct str out;       /* the way out; STR_NONE: none was chosen */
	struct str server_ip; /* STR_NONE: no origin was reached for */
	uint16_t server_port;
	unsigned status;         /* sent to the client; 0: nothing was sent */
	struct str mime;         /* Content-Type; parameters are cut off */
	uint64_t response_bytes; /* head and body, to the client */
	uint64_t response_body_bytes;

	struct audit_tls client_tls;
	struct audit_tls origin_tls;
	struct str
	    origin_ct; /* "1 of 2 SCTs"; STR_NONE: enough, or not asked */

	struct audit_websocket websocket;
	struct audit_rules rules;
	enum verdict verdict;
	bool has_verdict; /* false: nothing was scanned */
	const struct audit_scan *scans;
	unsigned n_scans;
	const struct fault *fault; /* NULL or ERR_NONE: none */
};

/* Zero and "did not happen" everywhere. */
void audit_record_init(struct audit_record *);

/*
 * Append one line with its newline.  JSON: one object, ECS names spelt with
 * dots at the top level ("client.ip": …), which Elastic takes as nested;
 * invalid UTF-8 becomes U+FFFD.  Squid: the native format of access.log.
 */
void audit_format_json(struct buf *, const struct audit_record *,
    const struct logging_privacy *);
void audit_format_squid(struct buf *, const struct audit_record *,
    const struct logging_privacy *);

/* What the key holder did: one record of log.issued. */
struct audit_issued {
	uint64_t at_ms;  /* wall clock, ms since 1970 */
	int64_t holder;  /* its process id */
	struct str host; /* of the leaf; STR_NONE: it was refused ... */
	struct str why;  /* ... because of this */
	unsigned char serial[16];
	int64_t from, to; /* validity: s since 1970 */
	uint64_t n;       /* the how-many-eth of its kind, of that process */
	uint64_t untold;  /* records before this one that were lost */
};

/* Append one line of JSON with its newline, with names as above. */
void audit_format_issued(struct buf *, const struct audit_issued *);

/*
 * Open a file to append to ("stdout": a copy of standard output).  A pipe that
 * nobody reads is a fault, not a place to wait.  -1: ERR_SYSTEM in f.
 */
int audit_open(const char *to, struct fault *f);

/* One element of log.access. */
struct audit_target {
	const char *to; /* "stdout" or a path, for messages; copied */
	enum logging_format format;
	int fd; /* of audit_open(), here or in another process; taken over */
};

struct audit;

/*
 * Start the thread.  n may be 0: records go nowhere.  NULL with f set: no
 * thread can be had; the descriptors are closed.
 */
struct audit *audit_new(const struct audit_target *, unsigned n,
    const struct logging_privacy *, struct fault *f);
void audit_write(struct audit *, const struct audit_record *);
/* The same with a line, and its newline, that was formatted elsewhere. */
void audit_write_line(struct audit *, const char *line, size_t n);
/*
 * Other descriptors for the same targets (after logrotate), taken over; -1: the
 * old one stays.  Happens within 50 ms.
 */
void audit_replace(struct audit *, const int *fds, unsigned n);
/* Lines that found no room, in memory or on disk. */
uint64_t audit_lost(const struct audit *);
/* Write what is there, stop the thread, close.  Nobody writes any more. */
void audit_free(struct audit **);

#endif
