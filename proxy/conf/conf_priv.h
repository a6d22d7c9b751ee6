/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside the configuration reader:
 *
 *   conf_yaml.c    text to a tree of nodes with positions (home of libyaml)
 *   conf_value.c   single scalars: sizes, durations, words, addresses
 *   conf_type.c    one function for each type of option.def
 *   conf_rule.c    conditions, chains and the scans of rules
 *   conf_upstream.c parent proxies, ways out, and rules that route to them
 *   conf_read.c    the table's engine: sections, defaults, unknown settings
 *   conf_check.c   what settings mean together
 *   conf_doc.c     sample file and manual page from the table
 *   conf.c         a generation: load, count, ask
 *
 * Room: proxy, conf*.c only.  Thread: the one that loads.
 */
#ifndef PROXY_CONF_PRIV_H
#define PROXY_CONF_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/str.h"
#include "proxy/conf/conf.h"
#include "proxy/policy/match.h"

/* ---- the tree ---- */

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
	enum node_kind kind;
	bool plain;                /* scalar without quotes */
	unsigned line, col;        /* 1-based; 0: a default, not in the file */
	struct str text;           /* scalar; NUL-terminated as well */
	struct node *key;          /* in a map: what it is the value of */
	struct node *first, *last; /* items of a list, values of a map */
	struct node *next;         /* its sibling */
	unsigned n;                /* how many items */
};

/* Walk the items of a list or the values of a map. */
#define NODE_EACH(it, of) \
	for ((it) = (of)->first; (it) != NULL; (it) = (it)->next)

/* A place in the text that is no node (a syntax error). */
struct conf_at {
	unsigned line, col;
};

/* Everything one run needs. */
/* The first character of a record of start_only. */
#define CONF_OF_START 's'
#define CONF_OF_PROCESS 'p'

struct conf_reader {
	struct conf *conf;
	struct arena *keep;  /* the conf's arena */
	struct arena *nodes; /* freed after the run */
	struct conf_problems *problems;
	bool known;            /* somebody else has looked at its files */
	struct str dir;        /* folder of the file, "" is the current one */
	struct buf start_only; /* what no running process takes, canonical */
	/* Where things of conf were written, same index. */
	const struct node **listen_at, **service_at, **chain_at, **rule_at;
	const struct node **list_at, **upstream_at, **out_at;
	const struct node **other_at;
};

/*
 * Parse; NULL with a problem for text that is no YAML, an empty map for an
 * empty file.
 */
struct node *conf_yaml_parse(struct conf_reader *, struct str text);
/* The value of key in a map, NULL if there is none. */
struct node *conf_node_get(const struct node *map, const char *key);
/* Plain and empty: "key:" says the same as leaving the key out. */
bool conf_node_is_void(const struct node *);
/* On one line, canonical. */
void conf_node_print(const struct node *, struct buf *out);
/* "a list", "a map", "'text'" (cut to 40 bytes), in the nodes arena. */
const char *conf_node_name(struct conf_reader *, const struct node *);
/* A key that stands twice in a map is a problem. */
void conf_check_duplicates(struct conf_reader *, const struct node *map);
/* Items of a list, or the node itself: a single value may stand for a list of one. */
unsigned conf_node_items(struct conf_reader *, const struct node *,
    const struct node ***items);

/* ---- problems ---- */

/* at NULL or a default: about the file as a whole. */
void conf_problem(struct conf_reader *, const struct node *at, const char *fmt,
    ...) __attribute__((format(printf, 3, 4)));
void conf_warn(struct conf_reader *, const struct node *at, const char *fmt,
    ...) __attribute__((format(printf, 3, 4)));
void conf_problem_at(struct conf_reader *, struct conf_at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void conf_problems_sort(struct conf_problems *);

/*
 * The candidate most like text, NULL if none is like it.  Candidates come
 * one by one: begin with {text}, offer each, take best.
 */
struct conf_guess {
	const char *text;
	const char *best;
	unsigned distance;
};
void conf_guess_offer(struct conf_guess *, const char *candidate);

/* ---- the table ---- */

enum conf_section {
#define SECTION(name, type, path, about) SECTION_##name,
#include "proxy/conf/option.def"
	SECTION_COUNT
};

enum conf_type {
	TYPE_TEXT,   /* any string */
	TYPE_FILE,   /* a file that can be read */
	TYPE_PATH,   /* a path, "none" is NULL */
	TYPE_SECRET, /* FILE, file:, cred:, pkcs11: */
	TYPE_ENUM,   /* one of words, which are in the order of the enum */
	TYPE_COUNT,  /* a number, or one of words */
	TYPE_SIZE,   /* bytes */
	TYPE_MEMORY, /* bytes or percent of the memory there is */
	TYPE_TIME,   /* ms */
	TYPE_NETS,
	TYPE_PORTS,
	TYPE_TRUST,
	TYPE_ROOTS,
	TYPE_FILES,
	TYPE_ADDRS,
	TYPE_HEADERS,
	TYPE_SHARE,
	TYPE_GAPS,
	TYPE_ON,
	TYPE_URL,
	TYPE_LOG_TO,
	TYPE_PROXIES, /* addresses of parent proxies */
	TYPE_ROUTE,   /* direct, or the name of an upstream or of a way out */
	TYPE_BLOCKS,  /* addresses of this machine */
	TYPE_MARK,
	TYPE_DSCP,
	TYPE_HOSTS,
	TYPE_METHODS,
	TYPE_TYPES,
	TYPE_SIZES,
	TYPE_URLS,
	TYPE_PROTOCOLS, /* names as in Upgrade */
	TYPE_LISTENERS, /* names of listeners */
	TYPE_TIMES,     /* times of the week */
	TYPE_IN,        /* names of lists, "LIST/CATEGORY" */
	TYPE_MATCH,     /* a section IF of its own */
	TYPE_SCAN,      /* chains and services of a rule */
	TYPE_CHAINS,    /* the map of chains */
	TYPE_MAP,       /* a section inside */
	TYPE_LIST,      /* a list of sections */
	TYPE_NAMED,     /* a map from name to section */
	TYPE_RESERVED,  /* known, and only its default is possible */
	TYPE_COUNT_OF
};

/* Bits of conf_option.flags. */
#define OPTION_START 1 /* counts when assayd starts, not at reload */
#define OPTION_ICAP 2  /* services of one type only */
#define OPTION_CLAM 4
#define OPTION_NEEDED 8
#define OPTION_PROCESS 16 /* a reload takes a new serving process */

struct conf_option {
	enum conf_section section; /* where it stands */
	const char *key;
	enum conf_type type;
	size_t at; /* of the member in the section's struct */
	/* TYPE_MAP, TYPE_LIST, TYPE_NAMED, TYPE_MATCH */
	enum conf_section inside;
	const char *words; /* separated by blanks; "!word" is reserved */
	const char *dflt;  /* YAML; NULL: none, the member stays zero */
	uint64_t min, max; /* of numbers, ms or bytes; of lengths for text */
	unsigned flags;
	const char *example; /* YAML lines for the sample; NULL: the default */
	const char *about;   /* one sentence without period */
};

struct conf_section_info {
	size_t size;       /* of its struct */
	const char *path;  /* "services.NAME", "" for the file itself */
	const char *about; /* heading in the manual; NULL: none */
};

extern const struct conf_option conf_options[];
extern const unsigned conf_noptions;
extern const struct conf_section_info conf_sections[SECTION_COUNT];

/* Read a map (NULL: nothing given) into a zeroed struct of that section. */
void conf_read_section(struct conf_reader *, enum conf_section,
    const struct node *map, void *into);
/* Read one value by its option; node is neither NULL nor void. */
void conf_read_type(struct conf_reader *, const struct conf_option *,
    const struct node *, void *member);
/* After a section was read, the file itself last: what its settings mean together. */
void conf_check_section(struct conf_reader *, enum conf_section,
    const struct node *map, void *section);

/* ---- single values ---- */

/* A node that has to be a scalar; false with a problem if it is not. */
bool conf_scalar(struct conf_reader *, const struct node *, const char *wanted);
/* "64K" and the like; false: no size.  Above UINT64_MAX is no size either. */
bool conf_value_size(const char *text, uint64_t *out);
/* "5s", "2h30m" is none; false: no duration. */
bool conf_value_time(const char *text, uint64_t *ms);
/* "2024-11-30": its last second, UTC, s since 1970. */
bool conf_value_day(const char *text, int64_t *end);
bool conf_value_range(const char *text, uint64_t max, struct policy_span *);
/* The index of a word in words; -1: none, -2: a reserved one. */
int conf_value_word(const char *words, const char *text);
/* "127.0.0.1:3128", "[::1]:53"; port_default 0: a port is needed. */
bool conf_value_addr(const char *text, uint16_t port_default, union address *);
/* Formats for humans: "64K", "2m". */
const char *conf_show_size(uint64_t, char room[32]);
const char *conf_show_time(uint64_t ms, char room[32]);

/* "FILE" relative to the configuration's folder, in the keep arena. */
const char *conf_path(struct conf_reader *, const char *text);

/* A path that fits into the option's limit, the folder before it included. */
bool conf_is_path(struct conf_reader *, const struct conf_option *,
    const struct node *, const char *wanted);
/* An ordinary file that can be read; else a problem. */
void conf_file_check(struct conf_reader *, const struct node *at,
    const char *path);

/* ---- readers of types, by conf_read_type() ---- */

void conf_read_on(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_url(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_headers(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_share(struct conf_reader *, const struct conf_option *,
    const struct node *, void *member);
void conf_read_gaps(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_log_to(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_proxies(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_route(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_blocks(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_mark(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_dscp(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_hosts(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_methods(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_protocols(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_types(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_sizes(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_urls(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_listeners(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_times(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_in(struct conf_reader *, const struct conf_option *,
    const struct node *, void *);
void conf_read_match(struct conf_reader *, const struct conf_option *,
    const struct node *, const struct policy_match **out);
void conf_read_chains(struct conf_reader *, const struct node *,
    struct conf_chains *out);
void conf_read_scan(struct conf_reader *, const struct node *,
    struct policy_rule *rule);
/* Does the node say what a reserved setting is anyway? */
bool conf_reserved_default(const struct conf_option *, const struct node *);

/* ---- parts with other users ---- */

bool conf_listen_parse(const char *on, struct conf_listen *,
    char why[NETS_WHY]);
/* All services by mode, and which services and chains are used at all. */
void conf_scan_finish(struct conf_reader *);
/* One list: where it is read from. */
void conf_list_check(struct conf_reader *, const struct node *map,
    struct conf_list *);
/* Which lists open something, and which are asked for at all. */
void conf_lists_finish(struct conf_reader *);
/* One upstream; what is known when a route is decided; all of them. */
void conf_upstream_check(struct conf_reader *, const struct node *map,
    const struct conf_upstream *);
void conf_out_check(struct conf_reader *, const struct node *map,
    const struct conf_out *);
void conf_route_check(struct conf_reader *, const struct node *when);
void conf_upstreams_finish(struct conf_reader *);
/* Does a rule open something by what its sender claims alone?  After scans. */
void conf_claims_finish(struct conf_reader *);
/* Frees what a match holds beside the arena; NULL is nothing. */
void conf_match_fini(const struct policy_match *);

#endif
