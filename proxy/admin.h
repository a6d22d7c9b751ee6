/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The admin socket: whoever may connect to it (0600) gets one line of JSON
 * with the state of the proxy, and the end.
 * Room: proxy.  Thread: main.
 */
#ifndef PROXY_ADMIN_H
#define PROXY_ADMIN_H

#include "base/fault.h"
#include "base/loop.h"
#include "proxy/gen.h"
#include "proxy/worker.h"

struct admin;
struct fetch;
struct figures;

/*
 * For --check, which makes nothing: could it be made there?  Its folder may be
 * the state folder, which is made at the start.  Problems are added to the list.
 */
void admin_check(const char *path, const char *state, struct conf_problems *);
/* Listen there; one that nobody listens on any more is removed.  -1: f. */
int admin_open(const char *path, struct fault *f);
/* What there is to tell about; all is borrowed. */
struct admin_of {
	pid_t pid;              /* of the supervisor */
	struct gen *const *gen; /* the current generation at any time */
	struct proxy_shared *shared;
	struct worker *const *workers;
	unsigned n;
	struct fetch *fetch;
	const struct figures *figures; /* NULL: nobody counts */
};

/*
 * Answer there, until workers are about to end; fd is taken over.  Each gets the
 * state as JSON on one line; ADMIN_ASKERS at once, ADMIN_MS at most.
 */
struct admin *admin_new(struct loop *, int fd, const struct admin_of *);
void admin_free(struct admin **);

#define ADMIN_ASKERS 16
#define ADMIN_MS 5000

struct numbers;
/* The answer, with its newline; the caller's, by free(). */
char *admin_status(const struct admin_of *, const struct gen *,
    const struct numbers *);

#endif
