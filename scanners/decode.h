/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Taking content codings off (RFC 9110 8.4), for scanners that want to see
 * what the client will see.  Works on complete bodies in a thread of the
 * scanner: reads by a callback, writes into a store that lies in memory while
 * small and in an unlinked file beyond.
 *
 * Limits: a total, and a ratio to the coded length, which stops bombs of
 * codings without a ratio of their own (deflate cannot exceed 1032).
 *
 * Room: scanners.  Thread: any.  Units: bytes.
 */
#ifndef SCANNERS_DECODE_H
#define SCANNERS_DECODE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/budget.h"
#include "base/str.h"

enum decode_coding {
	DECODE_GZIP,    /* RFC 1952 */
	DECODE_DEFLATE, /* RFC 1950; without its wrapper too, as browsers do */
	DECODE_BR,      /* RFC 7932 */
	DECODE_ZSTD,    /* RFC 8878, window of RFC 9659 */
	DECODE_AWS, /* aws-chunked: chunks of object stores, signed or not */
	DECODE_RAW, /* RFC 1951: what some clients call deflate; in no list */
	DECODE_CODINGS
};

#define DECODE_MAX 4 /* codings upon each other; more is an attack */

/*
 * Content-Encoding: the codings in the order in which they were applied,
 * aws-chunked always last, wherever it is named.
 */
struct decode_list {
	enum decode_coding coding[DECODE_MAX];
	unsigned n;
	char unknown[32]; /* name of one that cannot be opened, "" if all can */
	char ignored[32]; /* name of one that is none, "" without */
	/* Of an answer: aws-chunked in it was taken off by its store, or never is. */
	bool is_answer;
};

/*
 * Add the elements of one field value; identity and empty ones are nothing.
 * A registered coding that cannot be opened (or one too many) goes to
 * list->unknown.  A name that is no registered coding ("none", "utf-8",
 * "snappy") says nothing to receivers, who use the bytes as they are: it goes
 * to list->ignored.
 */
void decode_list_add(struct decode_list *, struct str value);
/*
 * Do all receivers take the same off?  Where a name beside codings is none,
 * some take off the others and some nothing.
 */
bool decode_list_is_clear(const struct decode_list *);
const char *decode_name(enum decode_coding);

/* Like pread(2) on something. */
typedef ssize_t (*decode_read_fn)(void *arg, void *p, size_t n, uint64_t at);

struct decode_input {
	decode_read_fn read;
	void *arg;
	uint64_t length;
};

/* Bytes written once, then read. */
struct decode_store {
	unsigned char *p; /* owned; the bytes, while fd < 0 */
	int fd;           /* owned; -1: in memory */
	uint64_t length;
	const char *dir;         /* borrowed: where a file may be made */
	struct account *account; /* borrowed: whose; NULL: nobody's */
	struct charge charge;    /* of p */
	uint64_t charged;        /* of the file */
};

/* Empty. */
void decode_store_init(struct decode_store *, const char *dir);
/*
 * Its bytes are counted for that account (base/budget.h), which outlives it;
 * where that has no room for a file, decode_run() ends in DECODE_IO.
 */
void decode_store_charge_to(struct decode_store *, struct account *);
void decode_store_fini(struct decode_store *);
/* Append; false: no memory, or the temporary file failed. */
bool decode_store_add(struct decode_store *, const void *p, size_t n);
/* arg is a struct decode_store. */
ssize_t decode_store_read(void *arg, void *p, size_t n, uint64_t at);

struct decode_limits {
	uint64_t max_bytes;   /* of output */
	uint64_t coded_bytes; /* what the ratio refers to: the body's length */
	/* Asked now and then: stop?  NULL: never. */
	bool (*stop)(void *arg);
	void *stop_arg;
};

enum decode_end {
	DECODE_DONE,
	DECODE_CUT,   /* it ends early; out has all that a client would get */
	DECODE_BAD,   /* corrupt; out has what came before */
	DECODE_LARGE, /* over a limit */
	DECODE_STOPPED,
	DECODE_IO /* reading, memory or the temporary file failed */
};

/* Take one coding off in and append to out (empty). */
enum decode_end decode_run(enum decode_coding, const struct decode_input *in,
    struct decode_store *out, const struct decode_limits *);

#endif
