/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The supervisor: assayd itself.  It reads the configuration, makes the state
 * folder, opens listening sockets, access logs and the administration socket,
 * starts the key holder and the serving process and hands them what they need
 * by descriptor.  It reads no octet of the network and no other file, so what
 * befalls those two leaves it standing: a serving process that has died is
 * followed by another one with the same listening sockets, and who connects
 * meanwhile waits in their queues.
 *
 * Signals are its own: SIGHUP reloads, SIGUSR1 opens logs again, SIGTERM
 * drains, a second one stops at once.
 *
 * Room: proxy.  One thread.
 */
#ifndef PROXY_SUPERVISOR_H
#define PROXY_SUPERVISOR_H

enum supervisor_exit {
	EXIT_OK = 0,
	EXIT_PROBLEM = 1, /* the configuration, or what it names */
	EXIT_USAGE = 2,
	EXIT_CRASHES = 3 /* the serving process died again and again */
};

/* assayd(8).  The exit status. */
int supervisor_main(int argc, char **argv);

#endif
