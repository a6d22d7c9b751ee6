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
 * Listen on admin.socket of *gen, which is the current generation at any
 * time.  NULL without fault: none is configured; with fault: it cannot be made.
 */
struct admin *admin_new(struct loop *, struct gen *const *gen,
    struct proxy_shared *, struct fault *f);
void admin_free(struct admin **); /* removes the socket */

#endif
