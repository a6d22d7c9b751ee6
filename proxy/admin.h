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

/*
 * For --check, which makes nothing: could it be made there?  Its folder may be
 * the state folder, which is made at the start.  Problems are added to the list.
 */
void admin_check(const char *path, const char *state, struct conf_problems *);
/* Listen there; one that nobody listens on any more is removed.  -1: f. */
int admin_open(const char *path, struct fault *f);
/*
 * Answer there; fd is taken over.  pid: of the supervisor.  *gen is the current
 * generation at any time.
 */
struct admin *admin_new(struct loop *, int fd, pid_t pid,
    struct gen *const *gen, struct proxy_shared *);
void admin_free(struct admin **);

#endif
