/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is known when a process of ours has died: how, what it said last, its
 * own report (base/crash.h), and which flows were under way (proxy/flight.h).
 * All of that is text of a process that may have been taken over: it is
 * bounded and made printable, and nothing is done but to keep it.
 *
 * A file of the folder "crash" in the state folder for each death, 0600, the
 * newest 20 of them; and one line in the log, with the innermost frame of the
 * program and a signature: crashes at the same place have the same one.
 *
 * Room: proxy.  Thread: the supervisor's.
 */
#ifndef PROXY_POSTMORTEM_H
#define PROXY_POSTMORTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define POSTMORTEM_KEPT 20
#define POSTMORTEM_FLOWS 1000 /* whose references are in a file */
#define POSTMORTEM_CRASHES 3  /* of one client or host, then it is logged */

/* What a process leaves; one is made for each that is started. */
struct relics {
	int report; /* owned; it writes its report there; -1: none */
	int flight; /* owned; its flight record; -1: it has none */
};

#define RELICS_NONE ((struct relics){ .report = -1, .flight = -1 })

/* with_flows: it serves.  False with errno: *r is RELICS_NONE. */
bool relics_new(struct relics *r, bool with_flows);
void relics_free(struct relics *r);

struct postmortem; /* remembers clients and hosts of several crashes */

/* state: the state folder, copied. */
struct postmortem *postmortem_new(const char *state);
void postmortem_free(struct postmortem **);

struct death {
	const char *process; /* "serve"; a part of the file's name */
	pid_t pid;
	const char *fate; /* child_fate() of base/spawn.h */
	const char *said; /* the last lines on its stderr; NULL: none */
	size_t said_n;
};

/*
 * It has ended without being asked to: log it and keep a file.  The relics stay
 * the caller's.
 */
void postmortem(struct postmortem *, const struct death *,
    const struct relics *);
/* So many there were since the start. */
uint64_t postmortem_count(const struct postmortem *);

#endif
