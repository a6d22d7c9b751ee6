/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The conditions of a rule, as the configuration reader builds them and
 * policy_decide() asks them.
 * Room: proxy, the closets policy and conf only.
 */
#ifndef PROXY_POLICY_MATCH_H
#define PROXY_POLICY_MATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include "base/str.h"
#include "net/nets.h"
#include "proxy/policy/list.h"
#include "proxy/policy/policy.h"

struct arena;
struct policy_pattern;

/* In rising certainty, so that AND is the minimum. */
enum policy_answer { POLICY_NO, POLICY_UNKNOWN, POLICY_YES };

#define POLICY_HOST_EXACT 1
#define POLICY_HOST_BELOW 2 /* its subdomains */

/* A host taken apart once for all rules. */
#define POLICY_LABELS 128 /* RFC 1035 2.3.4: 255 octets */
struct policy_host_key {
	unsigned n;
	bool is_ip;
	struct {
		struct str name; /* from this label to the end */
		uint32_t hash;
	} suffix[POLICY_LABELS]; /* [n-1] is the whole name */
	char text[256];          /* lower case */
};

struct policy_types {
	struct str *v; /* lower case "text/html"; "video/" means all below */
	unsigned n;
};

struct policy_urls {
	struct policy_pattern **v;
	unsigned n;
};

/* "LIST" or "LIST/CATEGORY" */
struct policy_in {
	unsigned list;        /* as the configuration counts them */
	const char *category; /* NULL: all of them */
	unsigned number;      /* of the category; by policy_lists_set() */
};

struct policy_ins {
	struct policy_in *v;
	unsigned n;
};

/* What is written under "if"; an empty member asks nothing. */
struct policy_match {
	struct nets client;
	struct policy_strings listener;
	struct policy_hosts host;
	struct nets dest;
	struct policy_spans port;
	struct policy_strings method;
	struct policy_types type;
	struct policy_spans size; /* ranges of bytes */
	struct policy_urls url;
	struct policy_urls agent; /* patterns too */
	struct policy_ins in;
	struct policy_spans time; /* minutes of the week */
	const struct policy_match * not ;
};

/* Room for what policy_*_add() say is wrong. */
#define POLICY_WHY 160

/* Add "example.com", "=example.com", "*.example.com" or an address. */
bool policy_hosts_add(struct policy_hosts *, struct arena *, const char *text,
    char why[POLICY_WHY]);
/* "::ffff:192.0.2.1" as "192.0.2.1", a part of it; all others as they are. */
struct str policy_unmapped(struct str ip);
void policy_host_key(struct policy_host_key *, struct str host, bool is_ip);
bool policy_hosts_match(const struct policy_hosts *,
    const struct policy_host_key *);

/*
 * Add "Mon-Fri 08:00-18:00", "Sat,Sun", "22:00-06:00": over midnight, where
 * the end is before the begin.
 */
bool policy_times_add(struct policy_spans *, struct arena *, const char *text,
    char why[POLICY_WHY]);
/* The minute of the week, from Monday 00:00, in the server's zone. */
unsigned policy_minute(time_t at);

/* What one call of policy_decide() keeps for all questions about lists. */
struct policy_in_query {
	const struct policy_lists *lists;
	const struct policy_facts *facts;
	bool has_key;
	struct list_key key;
	bool asks_dest;  /* the address counts */
	bool lacks_dest; /* ... and is not known */
	bool lacks_list; /* a list is not in force */
};

enum policy_answer policy_in_ask(const struct policy_ins *,
    struct policy_in_query *);

/* Compile a URL pattern; NULL: *at is the offset of the fault in text. */
struct policy_pattern *policy_pattern_new(const char *text,
    char why[POLICY_WHY], unsigned *at);
/* POLICY_UNKNOWN: a limit was hit. */
enum policy_answer policy_pattern_match(const struct policy_pattern *,
    struct str url);
void policy_pattern_free(struct policy_pattern **);

/*
 * The other ways in which an origin may read an absolute URL: normalised, the
 * same with doubled slashes kept, and with what only some origins take for
 * dot segments resolved.  Returns how many differ from it and each other; none
 * for nearly every URL.  They lie in room, POLICY_SPELLINGS times url.n bytes.
 */
#define POLICY_SPELLINGS 3
unsigned policy_url_spellings(struct str url, struct str out[POLICY_SPELLINGS],
    char *room);

#endif
