/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between who asks (fetch.c) and the process that fetches (fetcher.c): structs
 * of fixed size over a channel (base/channel.h).  For each question comes
 * exactly one result, also if it is cancelled.  Texts end inside their field
 * and are printable ASCII; octets that are not used are zero.
 * Room: fetch.
 */
#ifndef FETCH_WIRE_PRIV_H
#define FETCH_WIRE_PRIV_H

#include "base/sandbox.h"
#include "fetch/fetch.h"

enum wire_ask_op { WIRE_START = 1, WIRE_CANCEL };
enum wire_say_op { WIRE_WORKS = 1, WIRE_RESULT };

struct wire_ask {
	uint32_t op;
	uint32_t id; /* not 0, and not one that is under way */
	/* The rest: zero in WIRE_CANCEL. */
	uint32_t kind;
	uint32_t deadline_ms; /* 1 .. that of the kind */
	uint64_t max_bytes;   /* 1 .. that of the kind */
	int64_t since;        /* >= 0 */
	uint32_t body_n;      /* > 0: FETCH_OCSP, by POST */
	uint32_t spare;
	char url[FETCH_URL_MAX];
	char etag[FETCH_ETAG_MAX];
	unsigned char body[FETCH_BODY_MAX];
};

struct wire_say {
	uint32_t op;
	uint32_t id;      /* WIRE_WORKS: 0 */
	uint32_t outcome; /* one descriptor comes with FETCH_DONE, else none */
	uint32_t status;  /* 0 .. 999 */
	uint64_t size;
	int64_t fresh_s;
	int64_t modified;
	char etag[FETCH_ETAG_MAX];
	char why[FETCH_WHY_MAX];
	struct sandbox_report report; /* WIRE_WORKS */
};

struct wire_kind {
	uint64_t max_bytes;
	uint32_t deadline_ms;
	bool first; /* else it has a share only */
};
extern const struct wire_kind wire_kinds[FETCH_KINDS];

#define WIRE_FRESH_MOST (366 * 86400) /* s */

/* How many of n may be of this kind. */
unsigned wire_share(enum fetch_kind, unsigned n);
/* Is this a question, a message of the process?  Not: whether it fits. */
bool wire_ask_ok(const struct wire_ask *);
bool wire_say_ok(const struct wire_say *);
/* Does it end within room, with nothing but what a URL and an ETag may have? */
bool wire_word_ok(const char *p, size_t room);
/* Copy of text, what is not printable as "?", cut where room ends. */
void wire_text(char *to, size_t room, const char *text);

#endif
