/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The serving process: everything that clients, origins, services and name
 * servers send.  It is started by the supervisor, which hands it what it needs
 * (message.def) over a channel that is its only descriptor; the end of the
 * channel is the end of the supervisor, and then it ends too, when its flows
 * have, in SERVE_ORPHAN_MS.
 *
 * Room: proxy.
 */
#ifndef PROXY_SERVE_H
#define PROXY_SERVE_H

#define SERVE_ROLE "assayd: serve"
#define SERVE_ORPHAN_MS 5000

/* Its exit statuses before it is ready, but 0: */
#define SERVE_EXIT_PROBLEM 1 /* what is wrong was said on stderr */
#define SERVE_EXIT_LOST 4    /* the supervisor did not say what to serve */

/* What main() does when argv[0] is SERVE_ROLE. */
int serve_main(int argc, char **argv);

#endif
