/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The configuration: one frozen, counted generation of it.
 *
 * proxy/conf/option.def is the one table from which the parser, the defaults, the
 * checks, the sample file and assay.conf(5) are made.  After conf_load() every
 * member below has its value, default included; nothing changes any more, so
 * any thread may read while it holds a reference.  Flows keep the generation
 * they began with.
 *
 * Units: times in ms (uint64_t, names end in _ms), sizes in bytes.  Strings
 * are NUL-terminated, live as long as the conf, and are never NULL unless it
 * says so.
 *
 * Room: proxy.
 */
#ifndef PROXY_CONF_H
#define PROXY_CONF_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "base/fault.h"
#include "base/sandbox.h"
#include "certs/verify.h"
#include "http/hop.h"
#include "icap/icap.h"
#include "net/address.h"
#include "net/egress.h"
#include "net/nets.h"
#include "proxy/policy/list.h"
#include "proxy/policy/logging.h"
#include "proxy/policy/policy.h"
#include "scanners/scanner.h"

struct arena;
struct buf;
struct policy_match;

/* Values of numbers for the words "auto", "none" (no limit) and "off". */
#define CONF_AUTO UINT64_MAX
#define CONF_NONE UINT64_MAX
#define CONF_OFF (UINT64_MAX - 1)

enum conf_kind { CONF_EXPLICIT, CONF_REDIRECT, CONF_TPROXY };
enum conf_names { CONF_NAMES_RELAXED, CONF_NAMES_STRICT };

struct conf_listen {
	const char *on;   /* as written */
	const char *name; /* for rules and logs; default: on */
	enum conf_kind kind;
	/* ":3128" gives 0.0.0.0 and [::] (IPV6_V6ONLY) */
	union address addr[2];
	unsigned naddr; /* 1 or 2; port 0: the kernel chooses */
	enum conf_names names;
	struct nets proxy_protocol; /* balancers that send a PROXY header */
};

struct conf_listens {
	struct conf_listen *v;
	unsigned n;
};

struct conf_dest {
	struct nets deny; /* see conf_dest_check() */
	struct nets allow;
	struct {
		struct policy_spans connect; /* see conf_port_check() */
		struct policy_spans http;
	} ports;
};

struct conf_ca {
	/* PEM file; NULL: ca.pem in the state folder, made if missing */
	const char *cert;
	/* PEM file or "pkcs11:..." URL; NULL like cert (both or neither) */
	const char *key;
	uint64_t leaf_days;
};

enum conf_tls_min { CONF_TLS_1_2, CONF_TLS_1_3 };
enum conf_on_invalid { CONF_INVALID_BLOCK, CONF_INVALID_UNTRUSTED };

/* Which roots to trust: both parts together. */
/* Roots that vouch for nothing that was issued later, or are public. */
struct conf_dated {
	const char *file;  /* of files below, too */
	int64_t not_after; /* s since 1970: the end of that day; 0: no end */
	bool is_public;    /* certificates are in logs (ct) */
};

struct conf_trust {
	bool system;                 /* the system's bundle */
	struct policy_strings files; /* PEM */
	struct conf_dated *dated;    /* of tls.origin alone */
	unsigned dated_n;
};

enum conf_no_yes { CONF_FALSE, CONF_TRUE };

/* Origins that are treated otherwise; see conf_origin_legacy(), _http2(). */
struct conf_exception {
	struct policy_hosts host;
	enum conf_no_yes legacy;
	enum conf_no_yes http2;
};

struct conf_exceptions {
	struct conf_exception *v;
	unsigned n;
};

struct conf_tls {
	struct {
		enum conf_tls_min min;
		const char *priority; /* "default", "@SYSTEM", GnuTLS's */
		enum conf_no_yes http2;
	} client;
	struct {
		enum conf_tls_min min;
		const char *priority;
		struct conf_exceptions exceptions;
		struct conf_trust trust;
		struct policy_strings crl;          /* PEM files */
		struct policy_strings blocked_keys; /* files */
		enum ct_demand ct;
		const char *ct_logs; /* file; NULL: none */
		enum revocation revocation;
		enum conf_on_invalid on_invalid;
		enum conf_no_yes http2;
		enum conf_no_yes fetch_issuers;
	} origin;
};

struct conf_addrs {
	union address *v; /* port 53 filled in */
	unsigned n;
};

struct conf_resolver {
	const char *hosts; /* file; may be missing when it is the default */
	struct conf_addrs servers; /* empty: those of the system */
};

enum conf_service_type { CONF_ICAP, CONF_CLAMAV };
enum conf_mode { CONF_REQ, CONF_RESP, CONF_BOTH };
/* What each enum scan_gap of a service gets. */
struct conf_gaps {
	enum scan_policy of[GAP_COUNT];
};
enum conf_transfer { CONF_TRANSFER_SCAN, CONF_TRANSFER_OBEY };
enum conf_cache { CONF_CACHE_AUTO, CONF_CACHE_SHARED, CONF_CACHE_OFF };
enum conf_page { CONF_PAGE_KEEP, CONF_PAGE_REPLACE };
enum conf_isolation { CONF_ISOLATION_PROCESS, CONF_ISOLATION_THREAD };

/* One address of an ICAP service. */
struct conf_url {
	const char *text; /* as written, for the request line (RFC 3507 4.2) */
	bool tls;         /* icaps: */
	const char *host; /* without brackets */
	uint16_t port;    /* 1344, icaps 11344 when not given */
	const char *path; /* "/reqmod?x=y"; "/" when not given */
};

struct conf_urls {
	struct conf_url *v;
	unsigned n;
};

struct conf_header {
	const char *name;
	const char *value;
};

struct conf_headers {
	struct conf_header *v;
	unsigned n;
};

/* A service; the members below the line belong to one type only. */
/* See struct list_options. */
struct conf_list {
	const char *name;
	const char *file; /* NULL: a folder */
	const char *dir;
	enum list_format format;
	enum conf_no_yes required;
	uint64_t max_bad, max_shrink; /* percent */
	uint64_t max_growth;          /* times */
	uint64_t max_size;
	const char *sha256; /* NULL: any content */
	bool opens;         /* some rule opens something by it */
	bool used;
};

struct conf_lists {
	struct conf_list *v;
	unsigned n;
};

struct conf_service {
	const char *name;
	enum conf_service_type type;
	enum conf_mode mode;
	bool used; /* some rule, or the default, can choose it */
	/* no verdict: down, timeout, protocol error */
	enum scan_policy on_error;
	uint64_t max_body;         /* CONF_NONE: no limit */
	enum scan_policy over_max; /* what a larger body gets */
	struct conf_gaps on_unscanned;
	enum conf_no_yes scan_answers; /* responses that services made, too */
	enum conf_cache cache; /* is what it found clean known the next time? */
	/* CONF_ICAP */
	struct conf_urls url;
	enum icap_balance balance;
	enum icap_on_busy on_busy;
	uint64_t preview; /* bytes, CONF_AUTO or CONF_OFF */
	/* whole process; CONF_AUTO: what OPTIONS says */
	uint64_t max_connections;
	uint64_t connect_timeout_ms;
	uint64_t timeout_ms; /* silence of the service */
	uint64_t probe_ms;   /* between OPTIONS while it is down */
	enum conf_transfer transfer_ignore;
	enum conf_no_yes connect; /* CONF_REQ: it sees CONNECT, too */
	enum icap_identity identity;
	struct conf_headers headers;
	enum conf_no_yes decode; /* it gets bodies without codings */
	/* fields of its answers for later services */
	struct policy_strings share;
	struct {
		struct conf_trust trust;
		/* PEM file of a client certificate, or NULL */
		const char *cert;
		const char *key; /* with cert; file or "pkcs11:..." */
		/* expected instead of the URL's host, or NULL */
		const char *name;
	} tls;
	enum conf_page page;
	/* CONF_CLAMAV */
	/* folder; NULL: the default one, see the manual */
	const char *database;
	uint64_t threads; /* CONF_AUTO: one per core */
	enum conf_isolation isolation;
	struct {
		uint64_t scan_size; /* bytes */
		uint64_t files;
		uint64_t recursion;
		uint64_t time_ms;
	} limits;
};

struct conf_services {
	struct conf_service *v;
	unsigned n;
};

#define CONF_PROXIES_MAX 16u /* addresses of one upstream */

enum conf_proxy_type { CONF_PROXY_HTTP, CONF_PROXY_HTTPS, CONF_PROXY_SOCKS5 };

/* One address of an upstream. */
struct conf_proxy {
	const char *text; /* as written */
	enum conf_proxy_type type;
	const char *host; /* without brackets */
	uint16_t port;
};

struct conf_proxies {
	struct conf_proxy *v;
	unsigned n;
};

enum conf_balance {
	CONF_BALANCE_FAILOVER,
	CONF_BALANCE_ROUND_ROBIN,
	CONF_BALANCE_LEAST_BUSY
};
enum conf_resolve { CONF_RESOLVE_PARENT, CONF_RESOLVE_HERE };
enum conf_fallback { CONF_FALLBACK_BLOCK, CONF_FALLBACK_DIRECT };

/* Proxies that flows may be sent through. */
struct conf_upstream {
	const char *name;
	struct conf_proxies url;
	const char *user; /* file with "name:password", or NULL */
	enum conf_balance balance;
	uint64_t connect_timeout_ms;
	uint64_t probe_ms;         /* between connects while one is down */
	enum conf_resolve resolve; /* who looks names up */
	enum conf_fallback on_error;
	struct {
		struct conf_trust trust;
		const char *cert; /* PEM file, or NULL */
		const char *key;  /* with cert; file or "pkcs11:..." */
		const char *name; /* expected instead of the host, or NULL */
	} tls;
	bool used; /* some rule can choose it */
};

struct conf_upstreams {
	struct conf_upstream *v;
	unsigned n;
};

/* How connections leave. */
struct conf_out {
	const char *name;
	struct egress from;
	bool used; /* some rule can choose it */
};

struct conf_outs {
	struct conf_out *v;
	unsigned n;
};

struct conf_forwarded {
	enum http_said xff, forwarded;
};

struct conf_chain {
	const char *name;
	struct policy_scan steps;
	bool used;
};

struct conf_chains {
	struct conf_chain *v;
	unsigned n;
};

struct conf_download {
	/* bodies are held this long before trickling begins */
	uint64_t hold_ms;
	enum policy_download browser; /* for navigations; default: as other */
	enum policy_download other;
	uint64_t rate; /* bytes a second while trickling */
	/* endless answers, see option.def */
	uint64_t stream_wait_ms;
	uint64_t stream_rate; /* bytes a second */
	uint64_t stream_size; /* CONF_NONE: no limit */
};

struct conf_websocket {
	uint64_t message; /* octets that are read of one */
};

struct conf_pages {
	const char *org;  /* "" when not given */
	const char *help; /* "" when not given */
	const char *host; /* "assay.internal" */
};

struct conf_log_to {
	const char *file; /* NULL: standard output */
	enum logging_format format;
	unsigned line, col; /* where it is written */
};

struct conf_log_tos {
	struct conf_log_to *v;
	unsigned n;
};

struct conf_log {
	struct conf_log_tos access; /* may be empty */
	struct conf_log_tos issued; /* may be empty */
	struct logging_privacy privacy;
};

struct conf_admin {
	const char *socket; /* path; NULL: none */
};

/* See option.def for what each is for. */
struct conf_limits {
	uint64_t clients, per_client;
	uint64_t request_line, header, field, fields, origin_header;
	uint64_t interim;
	uint64_t memory, temp;  /* bytes; percent are resolved */
	uint64_t body_memory;   /* of one body before it spills */
	uint64_t leaf_cache;    /* certificates */
	uint64_t verdict_cache; /* bytes */
	uint64_t request_ms, read_ms, first_byte_ms, idle_ms, origin_idle_ms;
	uint64_t drain_ms;
	uint64_t start_ms;
	uint64_t min_rate; /* octets a second; 0: none */
	uint64_t connect_ms, resolve_ms, tunnel_ms;
};

struct conf {
	atomic_uint refs;
	struct arena *arena; /* owns everything below */
	const char *file;    /* as given; "" for built-in defaults */
	const char *state;   /* state folder */
	const char *user;    /* who serves; NULL: the default one */
	struct conf_listens listen;
	struct nets clients; /* who may connect */
	struct conf_dest destinations;
	struct conf_ca ca;
	struct conf_tls tls;
	struct conf_resolver resolver;
	struct conf_services services;
	struct conf_chains scan;
	struct conf_lists lists;
	struct conf_upstreams upstreams;
	struct conf_outs out;
	struct conf_forwarded forwarded;
	struct policy policy; /* rules, and what holds without them */
	struct conf_download download;
	struct conf_websocket websocket;
	struct conf_pages pages;
	struct conf_log log;
	struct conf_admin admin;
	struct conf_limits limits;
	uint64_t workers; /* CONF_AUTO: one per core */
	enum sandbox_mode sandbox;
	const char *start_only; /* for conf_needs_restart() */
};

struct conf_problem {
	unsigned line, col; /* 1-based; 0: about the file as a whole */
	bool warning;
	char *text; /* "what is wrong; hint" */
};

/* In the order of the file.  {0} is an empty list. */
struct conf_problems {
	struct conf_problem *v;
	unsigned n, cap;
	unsigned errors; /* those that are not warnings */
};

void conf_problems_fini(struct conf_problems *);
/* Lines "file:line:col: text", warnings as "file:line:col: warning: text". */
void conf_problems_print(const struct conf_problems *, const char *file,
    FILE *);

/*
 * Read and check a file; path NULL: built-in defaults.  All problems are
 * added to the list.  NULL if one of them is not a warning, else a conf with
 * one reference.
 */
struct conf *conf_load(const char *path, struct conf_problems *);
/*
 * The text of a file as it is.  False with a problem; the text is the
 * caller's in any case.
 */
bool conf_slurp(const char *path, struct buf *, struct conf_problems *);
/* The same for text in memory; name is its file name (relative paths in it count from that folder). */
struct conf *conf_parse(const char *name, const char *text, size_t n,
    struct conf_problems *);

/*
 * The same for a text that another process has found good, files that it names
 * included: they are not looked at, for that one has other rights.
 */
struct conf *conf_parse_known(const char *name, const char *text, size_t n,
    struct conf_problems *);

struct conf *conf_ref(struct conf *);
void conf_unref(struct conf **); /* *c may be NULL; becomes NULL */

/*
 * Replace the listeners by one explicit listener (--listen), before the conf
 * is shared.  False: not an address, and why[] says so.
 */
bool conf_set_listen(struct conf *, const char *on, char why[NETS_WHY]);

/*
 * Which settings differ between two generations that count at start only, and
 * which take a new serving process: their names are added, "'state', 'user'";
 * nothing: none.
 */
void conf_needs_restart(const struct conf *old, const struct conf *new,
    struct buf *out);
void conf_needs_process(const struct conf *old, const struct conf *new,
    struct buf *out);

/*
 * $STATE_DIRECTORY of systemd, /var/lib/assay for root, else
 * $XDG_STATE_HOME/assay or ~/.local/state/assay; NULL when there is no home.
 * The caller frees.
 */
char *conf_default_state_dir(void);
/* <sysconfdir>/assay/assay.conf */
const char *conf_default_file(void);

/*
 * May this address be connected to?  destinations.allow opens what
 * destinations.deny closes; unspecified, broadcast and multicast addresses
 * are closed too.  Where this process listens itself is opened by "self" only.
 * To be asked for the address actually used, every time.
 * ERR_NONE, or ERR_DEST_DENIED with the reason in f.
 */
enum err conf_dest_check(const struct conf *, const struct sockaddr *,
    struct fault *f);
/* ERR_NONE, or ERR_PORT_DENIED; connect: by the list for CONNECT. */
enum err conf_port_check(const struct conf *, bool connect, uint16_t port,
    struct fault *f);
/* Does this origin (lower case) get what browsers dropped of late? */
bool conf_origin_legacy(const struct conf *, struct str host, bool is_ip);
/* Is it offered HTTP/2? */
bool conf_origin_http2(const struct conf *, struct str host, bool is_ip);
/*
 * A plan's route is POLICY_DIRECT, or the number of an upstream or of a way out.
 * The one that it leads to; NULL: it is none of those.
 */
const struct conf_upstream *conf_route(const struct conf *, unsigned route);
const struct conf_out *conf_out(const struct conf *, unsigned route);
/* Of the way out for that client, see egress.h; 0 elsewhere. */
uint32_t conf_out_slot(const struct conf *, unsigned route,
    const struct sockaddr *client);
/* May this address use the proxy?  ERR_NONE or ERR_CLIENT_DENIED. */
enum err conf_client_check(const struct conf *, const struct sockaddr *,
    struct fault *f);
/* Does the service look at requests (responses)? */
bool conf_service_scans(const struct conf_service *, bool response);

/* "explicit", "redirect", "tproxy" */
const char *conf_kind_name(enum conf_kind);

/* The commented sample file, and assay.conf(5) in man(7). */
void conf_write_sample(FILE *);
void conf_write_man(FILE *);

#endif
