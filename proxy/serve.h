/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The serving process: everything that clients, origins, services and name
 * servers send.  It is started by the supervisor, which hands it what it needs
 * (message.def) over a channel; the end of the
 * channel is the end of the supervisor, and then it ends too, when its flows
 * have, in SERVE_ORPHAN_MS.
 *
 * Room: proxy.
 */
#ifndef PROXY_SERVE_H
#define PROXY_SERVE_H

#include "base/spawn.h"

#define SERVE_ROLE "assayd: serve"

/* Its descriptors, in the order of struct spawn. */
#define SERVE_CHANNEL SPAWN_FD       /* to the supervisor */
#define SERVE_REPORT (SPAWN_FD + 1)  /* for its crash report (base/crash.h) */
#define SERVE_FLIGHT (SPAWN_FD + 2)  /* its flight record (proxy/flight.h) */
#define SERVE_LOG (SPAWN_FD + 3)     /* the log; stderr is for libraries */
#define SERVE_FIGURES (SPAWN_FD + 4) /* proxy/figures.h, to read */
#define SERVE_FDS 5

#define SERVE_ORPHAN_MS 5000

/* Its exit statuses before it is ready, but 0: */
#define SERVE_EXIT_PROBLEM 1 /* what is wrong was said on stderr */
#define SERVE_EXIT_LOST 4    /* the supervisor did not say what to serve */

/* What main() does when argv[0] is SERVE_ROLE. */
int serve_main(int argc, char **argv);

#endif
