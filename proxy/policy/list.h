/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lists of names, URLs and addresses that conditions ask for ("in").
 *
 * A list is read from a file, or from a folder of categories as squidGuard
 * and UT1 lay them out, and is frozen then: counted, for any thread.  What
 * a line covers is its format's business:
 *
 *   domains   "a.example" the name and all below, "=a.example" the name,
 *             "*.a.example" all below, ".a.example" like the first
 *   squid     "a.example" the name, ".a.example" the name and all below
 *   hosts     "0.0.0.0 a.example b.example": the names
 *   urls      "a.example/path": what begins so, at a "/", "?" or "&"
 *   cidr      networks, ranges "a-b", addresses
 *   adblock   "||a.example^" the name and all below, "@@||..." an exception
 *   rpz       "a.example CNAME ." the name, "*.a.example" all below,
 *             "CNAME rpz-passthru." an exception
 *   ut1       a folder: each folder in it is a category with the files
 *             "domains" and "urls"
 *
 * Millions of names take 7 octets each: 40 bits and more of a keyed hash.
 * Two names are the same by accident once in 2^40; nobody who does not know
 * this process' key can look for such a pair.  A list that opens something
 * is exact: it keeps its text, of up to LIST_EXACT names.
 *
 * Room: proxy.
 */
#ifndef PROXY_POLICY_LIST_H
#define PROXY_POLICY_LIST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "base/fault.h"
#include "base/str.h"

struct list;
struct nets_addr;

/* In the order of the words of option.def. */
enum list_format {
	LIST_AUTO, /* told from the first lines */
	LIST_DOMAINS,
	LIST_SQUID,
	LIST_HOSTS,
	LIST_URLS,
	LIST_CIDR,
	LIST_ADBLOCK,
	LIST_RPZ,
	LIST_UT1
};

#define LIST_EXACT 100000 /* names of a list that opens something */
#define LIST_LINE 4096    /* octets of a line */
#define LIST_SHOWN 20     /* bad lines that are shown */
#define LIST_CATEGORIES 4095

struct list_options {
	const char *name;
	const char *path; /* a file; a folder for LIST_UT1 */
	enum list_format format;
	/*
	 * Some rule opens something by it: exact, and without public suffixes
	 * ("com", "co.uk"), which are bad lines then.
	 */
	bool opens;
	unsigned max_bad;    /* percent of lines; ten are always allowed */
	unsigned max_shrink; /* percent of the names of the list before */
	unsigned max_growth; /* times as many as that one; 0: any number */
	uint64_t max_size;   /* octets of a file */
	const char *sha256;  /* 64 hexadecimal digits; NULL: any content */
};

/* What there is to tell of one that was read, or refused. */
struct list_report {
	enum list_format format;
	uint64_t lines;   /* but comments and empty ones */
	uint64_t bad;     /* not what its format allows */
	uint64_t skipped; /* allowed, and not supported */
	unsigned shown;
	char *text; /* owned: "FILE:12: no host name: 'x y'" a line */
};

void list_report_fini(struct list_report *);

/*
 * Read it.  old: the list of that name before, or NULL; the same one comes
 * back when its files have not changed.  Blocks; 5 million names take less
 * than a second.  NULL with ERR_CONFIG or ERR_SYSTEM in f: it cannot be read,
 * is larger than max_size, has more bad lines than max_bad, nothing at all,
 * another digest, or is too unlike the old one.  The report is filled either
 * way but for the old list.
 */
struct list *list_load(const struct list_options *, struct list *old,
    struct list_report *, struct fault *f);
struct list *list_ref(struct list *);
void list_unref(struct list **);

/* Names, URLs and ranges of addresses in it. */
uint64_t list_count(const struct list *);
/* Octets of memory that it takes. */
size_t list_bytes(const struct list *);
/* SHA-256 of what was read, 64 hexadecimal digits. */
const char *list_digest(const struct list *);
enum list_format list_format(const struct list *);
/* As a configuration has it. */
const char *list_format_name(enum list_format);
/* Lines that were bad; that were sound and are not supported. */
uint64_t list_bad(const struct list *);
uint64_t list_skipped(const struct list *);
bool list_has_names(const struct list *);
bool list_has_urls(const struct list *);
bool list_has_ranges(const struct list *);
/* The number of a category, from 1; 0: there is none of that name. */
unsigned list_category(const struct list *, const char *name);

/* A host taken apart once for all lists. */
#define LIST_LABELS 128
struct list_key {
	unsigned n;
	struct {
		uint64_t hash;
		struct str name; /* from this label to the end */
	} suffix[LIST_LABELS];   /* [n-1] is the whole name */
	char text[256];
};

/* host: lower case, no trailing dot; an address has one suffix. */
void list_key(struct list_key *, struct str host, bool is_ip);

/* category 0: any of them. */
bool list_has_host(const struct list *, unsigned category,
    const struct list_key *);
/* url: absolute, as flows have it. */
bool list_has_url(const struct list *, unsigned category, struct str url);
bool list_has_address(const struct list *, unsigned category,
    const struct nets_addr *);

#endif
