/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Faults: what went wrong with a peer or the environment, as a value.
 * The first cause is kept; what follows from it is not recorded.
 * Room: base.  Any thread.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

enum err {
#define E(name, scope, status, token, text) ERR_##name,
#include "base/err.def"
#undef E
	ERR_COUNT
};

enum err_scope { ERR_SCOPE_FLOW, ERR_SCOPE_CONN, ERR_SCOPE_WORKER };

struct err_info {
	const char *name; /* "REQ_SYNTAX" */
	enum err_scope scope;
	unsigned status;   /* HTTP status of the page it gives */
	const char *token; /* RFC 9209 2.3 error type, "" for none */
	const char *text;  /* one clause, no period */
};

struct fault {
	enum err code;    /* ERR_NONE: nothing went wrong */
	char detail[200]; /* what exactly, "" if there is no more to say */
};

/* The table entry; never NULL for a valid code. */
const struct err_info *err_info(enum err code);

/*
 * Record a cause unless one is recorded already; fmt may be NULL.
 * Returns the code now in *f, so that "return (fault_set(...))" works.
 * A NULL f records nothing and returns code.
 */
enum err fault_set(struct fault *f, enum err code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Record src as cause of dst unless dst has one already. */
enum err fault_copy(struct fault *dst, const struct fault *src);

#endif
