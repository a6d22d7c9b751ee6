/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The operational log, see log.h. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/crash.h"
#include "proxy/audit/log.h"

#define TEXT_MAX 2000

static int to = STDERR_FILENO;
static pthread_mutex_t pipe_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint_least64_t lost; /* lines, since one was written */
static pthread_once_t journal_once = PTHREAD_ONCE_INIT;
static bool to_journal;

void
log_to(int fd)
{
	to = fd;
}

/* Is it the very stream that systemd reads?  sd-daemon(3), systemd.exec(5) */
static void
find_journal(void)
{
	const char *s = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (s == NULL || sscanf(s, "%llu:%llu", &dev, &ino) != 2 ||
	    fstat(to, &st) != 0)
		return;
	to_journal = st.st_dev == (dev_t)dev && st.st_ino == (ino_t)ino;
}

/* Write text with every control character as \xNN; returns the length. */
static size_t
escape(char *out, size_t cap, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;
	unsigned char c;

	for (; (c = (unsigned char)*text) != '\0' && n + 4 < cap; text++) {
		if (c >= 0x20 && c != 0x7F) {
			out[n++] = (char)c;
			continue;
		}
		out[n++] = '\\';
		out[n++] = 'x';
		out[n++] = hex[c >> 4];
		out[n++] = hex[c & 15];
	}
	return (n);
}

/*
 * Who reads the log may have stopped: a line is then lost, and nobody waits.  A
 * pipe that is ready takes PIPE_BUF octets, of one thread at a time.
 */
static bool
now_or_never(const char *line, size_t n)
{
	struct pollfd p = { .fd = to, .events = POLLOUT };
	struct stat st = { 0 };
	bool ok;

	if (fstat(to, &st) == 0 && S_ISSOCK(st.st_mode))
		return (send(to, line, n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0);
	if (S_ISREG(st.st_mode))
		return (write(to, line, n) >= 0);
	(void)pthread_mutex_lock(&pipe_lock);
	ok = poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0 &&
	    write(to, line, n) >= 0;
	(void)pthread_mutex_unlock(&pipe_lock);
	return (ok);
}

static void
put_line(const char *line, size_t n)
{
	uint64_t before = atomic_exchange(&lost, 0);
	char note[128];
	int k;

	if (before > 0) {
		k = snprintf(note, sizeof(note),
		    "%sassayd: log: %llu lines were lost, nobody read them\n",
		    to_journal ? "<4>" : "", (unsigned long long)before);
		if (!now_or_never(note, (size_t)k)) {
			(void)atomic_fetch_add(&lost, before + 1);
			return;
		}
	}
	if (!now_or_never(line, n))
		(void)atomic_fetch_add(&lost, 1);
}

static void
write_line(enum log_level level, const char *area, const char *text)
{
	char line[TEXT_MAX + 100];
	size_t n;
	int k;

	(void)pthread_once(&journal_once, find_journal);
	k = to_journal ? snprintf(line, 8, "<%d>", (int)level) : 0;
	n = k > 0 ? (size_t)k : 0;
	k = snprintf(line + n, 64, "assayd: %.40s%s", area != NULL ? area : "",
	    area != NULL ? ": " : "");
	n += k > 0 ? (size_t)k : 0;
	n += escape(line + n, sizeof(line) - n - 1, text);
	crash_note(line, n);
	line[n++] = '\n';
	put_line(line, n);
}

void
log_line(enum log_level level, const char *area, const char *fmt, ...)
{
	char text[TEXT_MAX];
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	write_line(level, area, text);
	errno = saved;
}

static uint64_t
monotonic_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000);
}

/* Is it this caller's turn to write?  *held: how many were left out. */
static bool
limit_passes(struct log_limit *l, uint64_t *held)
{
	uint64_t now = monotonic_ms() + 1; /* 0 is "never" */
	uint64_t next = atomic_load(&l->next_at);

	if (now < next ||
	    !atomic_compare_exchange_strong(&l->next_at, &next,
		now + LOG_LIMIT_MS)) {
		(void)atomic_fetch_add(&l->held, 1);
		return (false);
	}
	*held = atomic_exchange(&l->held, 0);
	return (true);
}

bool
log_limited(struct log_limit *l, enum log_level level, const char *area,
    const char *fmt, ...)
{
	char text[TEXT_MAX];
	int saved = errno, n;
	uint64_t held;
	va_list ap;

	if (!limit_passes(l, &held)) {
		errno = saved;
		return (false);
	}
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text) - 64, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(text) - 65)
		n = (int)sizeof(text) - 65;
	if (held > 0 && n >= 0)
		(void)snprintf(text + n, 64, " (and %llu more of the kind)",
		    (unsigned long long)held);
	write_line(level, area, text);
	errno = saved;
	return (true);
}
