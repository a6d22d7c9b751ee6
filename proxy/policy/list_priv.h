/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside lists: list_line.c reads lines, list_zone.c those of zones, list_name.c names in them, list_hash.c hashes names and paths,
 * list_table.c holds what was found, list_load.c reads files, list_ask.c answers.
 * Room: proxy, list*.c only.
 */
#ifndef PROXY_POLICY_LIST_PRIV_H
#define PROXY_POLICY_LIST_PRIV_H

#include <stdatomic.h>
#include <stddef.h>
#include "proxy/policy/list.h"

/* ---- lines ---- */

#define LIST_DEPTH 60  /* "/" in the path of an entry */
#define LIST_DIGEST 64 /* characters */

/* Bits of what an entry means; the category is above them. */
#define LIST_IS_EXACT 1u  /* the name itself */
#define LIST_IS_BELOW 2u  /* what is below it */
#define LIST_IS_EXCEPT 4u /* not listed, whatever else says so */
#define LIST_IS_FIRM 8u   /* listed in spite of exceptions */
#define LIST_IS_BITS 4

/* A range of addresses of both families, IPv4 as ::ffff:a.b.c.d. */
struct list_range {
	uint64_t from[2], to[2]; /* host order, high half first; inclusive */
	unsigned category;
};

/* Who is told what a line says. */
struct list_sink {
	void (*name)(struct list_sink *, struct str name, unsigned how);
	void (*url)(struct list_sink *, struct str host_and_path);
	void (*range)(struct list_sink *, const struct list_range *);
	bool opens; /* public suffixes are refused */
};

enum list_said {
	LIST_SAID_NOTHING, /* empty, a comment */
	LIST_SAID,
	LIST_SAID_SKIPPED, /* sound, and not supported */
	LIST_SAID_BAD
};

/* What a reader keeps from line to line; {0} at the begin of a file. */
struct list_reading {
	char origin[256]; /* rpz: the zone, with a dot in front; "" */
	char below[256];  /* rpz: what $ORIGIN is below it, the same way */
	char name[512];   /* rpz: a name with that */
};

/*
 * Read a line, without its end; p[n] can be read.  BAD: *why is a clause.
 * The text is changed to lower case in place.
 */
enum list_said list_line(struct list_reading *, enum list_format, char *p,
    size_t n, struct list_sink *, const char **why);
/* One line of a zone, of which nothing is taken off yet; as list_line(). */
enum list_said list_rpz(struct list_reading *, struct list_sink *, struct str,
    const char **why);
/*
 * Tell the sink a name, or an address for its ranges; how: LIST_IS_EXACT ...
 * The text is changed to lower case in place.
 */
enum list_said list_say_name(struct list_sink *, struct str, unsigned how,
    const char **why);
/* An address, IPv4 as ::ffff:a.b.c.d; how many bits it has, 0: it is none. */
unsigned list_address(struct str, uint64_t out[2]);
/* A name becomes lower case in place; NULL, or what is wrong with it. */
const char *list_lower_name(char *p, size_t n);
/* Has it octets beyond ASCII? */
bool list_has_high(struct str);
/* The xn-- form of another script, in out (UTS 46); false: it has none. */
bool list_to_ascii(struct str, char out[256], struct str *name);
bool list_is_blank(char);
/* All but the first n octets. */
struct str list_cut(struct str, size_t n);
struct str list_trim(struct str);
/* The next word; rest is what follows it. */
struct str list_word(struct str *rest);
/* Up to a comment behind blanks. */
struct str list_without_comment(struct str, char mark);
/* What ends lines in a file that begins so: LF (behind a CR, too) or CR alone. */
char list_eol(const char *p, size_t n);
/* The format of a file that begins with these octets. */
enum list_format list_guess(const char *p, size_t n);
/* "10.0.0.0/8", "10.0.0.1-10.0.0.9", "[::1]"; false: none of these. */
bool list_range_parse(struct str text, struct list_range *);

/* ---- hashes ---- */

/* Keyed for this process: SipHash-1-3 of the octets before each cut. */
void list_hash(const void *p, size_t n, const uint16_t *cuts, unsigned n_cuts,
    bool urls, uint64_t *out);
uint64_t list_hash_name(struct str name);
uint64_t list_hash_url(struct str host_and_path);
/*
 * A URL as lists hold it: no scheme, lower case host without port, IPv6 in its
 * shortest form, percent-encoding of unreserved octets undone and that of
 * others done (RFC 3986 6.2.2).  The length; 0: it has no host.  What does not
 * fit is cut off; LIST_URL_ROOM has room for any URL of LIST_LINE octets.
 */
#define LIST_URL_ROOM (3 * LIST_LINE + 8)
size_t list_url_plain(struct str url, char *out, size_t room);

/* ---- the table ---- */

struct list_found; /* being collected */

struct list_found *list_found_new(bool exact);
void list_found_free(struct list_found **);
void list_found_name(struct list_found *, struct str, unsigned value);
void list_found_url(struct list_found *, struct str, unsigned value);
void list_found_range(struct list_found *, const struct list_range *);
uint64_t list_found_count(const struct list_found *);

struct list_table {
	unsigned bits;    /* 1 << bits buckets, by the first of a hash */
	uint32_t *bucket; /* where each begins; one more at the end */
	uint8_t *rest;    /* 5 octets each: the next 40 bits */
	uint16_t *value;
	uint32_t *at; /* exact: where in text; else NULL */
	uint32_t n;
	char *text; /* exact: each with its NUL */
	size_t n_text;
	struct list_range *range; /* sorted by category, then address */
	unsigned n_range;
	bool names, urls, excepts;
};

/* Takes what was found. */
void list_table_make(struct list_table *, struct list_found **);
void list_table_fini(struct list_table *);
size_t list_table_bytes(const struct list_table *);
/*
 * All values of a hash ORed that are of the category and have some of these
 * bits; 0: none.  exact: what its text has to be.
 */
unsigned list_table_find(const struct list_table *, uint64_t hash,
    struct str exact, unsigned category, unsigned bits);
bool list_table_range(const struct list_table *, unsigned category,
    const uint64_t a[2]);

/* ---- a list ---- */

struct list {
	atomic_uint refs;
	struct list_table table;
	char **category; /* owned; its number is one more */
	unsigned n_categories;
	char digest[LIST_DIGEST + 1]; /* SHA-256, hexadecimal */
	enum list_format format;
	uint64_t bad, skipped; /* lines */
	/* Of all its files: sizes, times, inodes. */
	uint64_t stamp;
	bool exact;
};

#endif
