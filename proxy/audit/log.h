/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The operational log: one line a message, "assayd: ca: text", on stderr or where
 * log_to() says.  Under systemd (that is the stream that $JOURNAL_STREAM names)
 * every line begins with its priority, "<3>".  Access records are audit.h's business.
 *
 * Room: proxy; only this room logs.  Any thread; a line is one write().
 */
#ifndef PROXY_LOG_H
#define PROXY_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The numbers are those of syslog (RFC 5424 6.2.1). */
enum log_level {
	LEVEL_ERROR = 3,   /* something does not work */
	LEVEL_WARNING = 4, /* works, but somebody should look */
	LEVEL_NOTICE = 5,  /* start, stop, reload */
	LEVEL_INFO = 6
};

/*
 * Write there instead, before there are other threads; borrowed.  In a process
 * whose stderr is read by somebody who only wants to know what libraries say.
 */
void log_to(int fd);

/*
 * Write one line; area is the part that speaks ("ca", "scan", "log"), NULL
 * for none.  Control characters are written as \xNN, lines longer than 2 KB
 * are cut: what a peer sent cannot forge a line.  Keeps errno.  Never waits: a
 * line that a pipe or socket has no room for is lost, and how many were is said
 * when there is room again.
 */
void log_line(enum log_level, const char *area, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* One kind of message that may come thousands of times a second. {0}. */
struct log_limit {
	atomic_uint_least64_t next_at; /* monotonic ms */
	atomic_uint_least64_t held;    /* messages not written since then */
};

#define LOG_LIMIT_MS 10000

/*
 * The same, but at most once in LOG_LIMIT_MS for this kind; the next line
 * says how many were left out.  True: it was written.
 */
bool log_limited(struct log_limit *, enum log_level, const char *area,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
