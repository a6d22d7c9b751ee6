/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The access log's files and their thread, see audit.h.
 *
 * Every file has a few shards; a worker formats into its own under a lock
 * that nobody but the writer ever contends for.  The first line after a
 * silence wakes the writer, which waits 50 ms for company, takes all shards'
 * bytes and appends them.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/thread.h"
#include "proxy/audit/audit.h"
#include "proxy/audit/log.h"

#define SHARDS 16
#define SHARD_MAX_BYTES (4u << 20)    /* a hung disk costs at most 64 MB */
#define SHARD_KEEP_BYTES (256u << 10) /* larger buffers go back */
#define GATHER_MS 50
#define PIPE_WRITE_MAX 4096 /* PIPE_BUF: never blocks after POLLOUT */
#define STOP_WAIT_MS 1000   /* for a reader of stdout that hangs */

struct shard {
	_Alignas(64) pthread_mutex_t lock; /* guards lines */
	struct buf lines;
};

struct file {
	char *to; /* owned; its name */
	int fd;   /* owned; the writer's */
	int next; /* owned; instead of it, under the audit's lock; -1: none */
	bool is_regular;
	bool fails; /* the last write did */
	enum logging_format format;
	struct shard shard[SHARDS];
	struct log_limit complaint, relief;
	uint64_t lost; /* since it began to fail */
};

struct audit {
	struct logging_privacy privacy;
	struct file *file; /* owned array */
	unsigned n;
	atomic_bool pending;        /* somebody wrote since the writer looked */
	atomic_uint_least64_t lost; /* records, on the way to a file */
	/* records that found no room in memory */
	atomic_uint_least64_t crowded;
	struct log_limit complaint; /* about them; the writer's */

	pthread_t writer;
	pthread_mutex_t lock; /* guards the two wishes below */
	pthread_cond_t wake;
	bool stop;
	bool reopen;
	atomic_bool stopping; /* stop, without the lock */
};

/* Every thread gets a number of its own; it names the shard. */
static unsigned
own_shard(void)
{
	static atomic_uint next;
	static _Thread_local unsigned own; /* 0: none yet */

	if (own == 0)
		own = 1 + atomic_fetch_add(&next, 1) % SHARDS;
	return (own - 1);
}

static unsigned
count_lines(const char *p, size_t n)
{
	const char *end = p + n;
	unsigned lines = 0;

	while (p < end && (p = memchr(p, '\n', (size_t)(end - p))) != NULL) {
		lines++;
		p++;
	}
	return (lines);
}

/* --- the files; the writer's thread, and audit_new() before it starts --- */

int
audit_open(const char *to, struct fault *f)
{
	int fd;

	if (strcmp(to, "stdout") == 0)
		fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	else if ((fd = open(to,
		      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY |
			  O_NONBLOCK,
		      0640)) >= 0)
		(void)fcntl(fd, F_SETFL, O_APPEND);
	if (fd < 0)
		(void)fault_set(f, ERR_SYSTEM, "%s: %s", to, strerror(errno));
	return (fd);
}

static void
file_take(struct file *f, int fd)
{
	struct stat st;

	if (f->fd >= 0)
		(void)close(f->fd);
	f->fd = fd;
	f->is_regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* May bytes be written without blocking for ever?  Pipes and terminals only. */
static bool
wait_writable(const struct audit *a, const struct file *f)
{
	struct pollfd p = { .fd = f->fd, .events = POLLOUT };
	int waited = 0, r;

	for (;;) {
		r = poll(&p, 1, 100);
		if (r > 0)
			return (true);
		if (r < 0 && errno != EINTR)
			return (false);
		if (atomic_load(&a->stopping) &&
		    (waited += 100) > STOP_WAIT_MS) {
			errno = ETIMEDOUT;
			return (false);
		}
	}
}

/*
 * Take the fragment of a line that did fit out of the file again, so that the
 * log holds whole lines only.  Not if somebody else has written behind it.
 */
static void
undo_fragment(const struct file *f, size_t fragment)
{
	off_t at = f->is_regular ? lseek(f->fd, 0, SEEK_CUR) : -1;
	struct stat st;

	if (fragment == 0 || at < (off_t)fragment)
		return;
	if (fstat(f->fd, &st) != 0 || st.st_size != at ||
	    ftruncate(f->fd, at - (off_t)fragment) != 0)
		(void)!write(f->fd, "\n", 1);
}

static void
note_failure(struct audit *a, struct file *f, unsigned lines)
{
	int cause = errno;

	f->fails = true;
	f->lost += lines;
	atomic_fetch_add(&a->lost, lines);
	(void)log_limited(&f->complaint, LEVEL_ERROR, "log",
	    "%s: %s; %llu records lost so far", f->to, strerror(cause),
	    (unsigned long long)f->lost);
}

static void
note_success(struct file *f)
{
	if (!f->fails)
		return;
	(void)log_limited(&f->relief, LEVEL_NOTICE, "log",
	    "%s: writing again; %llu records were lost", f->to,
	    (unsigned long long)f->lost);
	f->fails = false;
	f->lost = 0;
}

/* How many bytes to hand to write(): whole lines where that is possible. */
static size_t
portion(const struct file *f, const char *p, size_t left)
{
	size_t n;

	if (f->is_regular || left <= PIPE_WRITE_MAX)
		return (left);
	for (n = PIPE_WRITE_MAX; n > 0 && p[n - 1] != '\n'; n--)
		;
	return (n > 0 ? n : PIPE_WRITE_MAX);
}

/* Append lines; what cannot be written is lost and counted. */
static void
file_append(struct audit *a, struct file *f, const char *p, size_t n)
{
	size_t done = 0, line;
	ssize_t r;

	while (done < n) {
		if (!f->is_regular && !wait_writable(a, f))
			break;
		r = write(f->fd, p + done, portion(f, p + done, n - done));
		if (r > 0)
			done += (size_t)r;
		else if (r < 0 && errno != EINTR && errno != EAGAIN)
			break;
	}
	if (done == n) {
		note_success(f);
		return;
	}
	for (line = done; line > 0 && p[line - 1] != '\n'; line--)
		;
	note_failure(a, f, count_lines(p + line, n - line));
	undo_fragment(f, done - line);
}

/* Take what a shard holds and give it an empty buffer. */
static void
drain_shard(struct audit *a, struct file *f, struct shard *s, struct buf *spare)
{
	struct buf lines;

	pthread_mutex_lock(&s->lock);
	lines = s->lines;
	if (lines.n > 0) {
		s->lines = *spare;
		*spare = lines;
	}
	pthread_mutex_unlock(&s->lock);
	if (lines.n == 0)
		return;
	file_append(a, f, lines.p, lines.n);
	spare->n = 0;
	if (spare->cap > SHARD_KEEP_BYTES)
		buf_fini(spare);
}

static void
drain(struct audit *a, struct buf *spare)
{
	unsigned i, k;

	/* before the shards are looked at: who writes later sets it again */
	atomic_store(&a->pending, false);
	for (i = 0; i < a->n; i++)
		for (k = 0; k < SHARDS; k++)
			drain_shard(a, &a->file[i], &a->file[i].shard[k],
			    spare);
}

static void
take_next(struct audit *a)
{
	unsigned i;
	int fd;

	for (i = 0; i < a->n; i++) {
		pthread_mutex_lock(&a->lock);
		fd = a->file[i].next;
		a->file[i].next = -1;
		pthread_mutex_unlock(&a->lock);
		if (fd >= 0)
			file_take(&a->file[i], fd);
	}
}

/* Sleep until there is something to do, then let lines gather. */
static void
writer_wait(struct audit *a, bool *stop, bool *reopen)
{
	struct timespec until;

	pthread_mutex_lock(&a->lock);
	while (!a->stop && !a->reopen && !atomic_load(&a->pending))
		pthread_cond_wait(&a->wake, &a->lock);
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += GATHER_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	while (!a->stop && !a->reopen &&
	    pthread_cond_timedwait(&a->wake, &a->lock, &until) == 0)
		;
	*stop = a->stop;
	*reopen = a->reopen;
	a->reopen = false;
	pthread_mutex_unlock(&a->lock);
}

/* Workers met full buffers: the disk, or who reads the pipe, is too slow. */
static void
note_crowd(struct audit *a, uint64_t *known)
{
	uint64_t now = atomic_load(&a->crowded);

	if (now == *known)
		return;
	*known = now;
	(void)log_limited(&a->complaint, LEVEL_ERROR, "log",
	    "the log cannot be written as fast as it grows; %llu records "
	    "lost so far",
	    (unsigned long long)now);
}

static void *
writer_run(void *arg)
{
	struct audit *a = arg;
	struct buf spare = { 0 };
	uint64_t crowded = 0;
	bool stop, reopen;

	do {
		writer_wait(a, &stop, &reopen);
		drain(a, &spare); /* to the old file what was its own */
		note_crowd(a, &crowded);
		if (reopen)
			take_next(a);
	} while (!stop);
	buf_fini(&spare);
	return (NULL);
}

/* --- what workers call --- */

/* The writer has something to do. */
static void
wake_writer(struct audit *a)
{
	if (a->n == 0 ||
	    atomic_load_explicit(&a->pending, memory_order_relaxed) ||
	    atomic_exchange(&a->pending, true))
		return;
	pthread_mutex_lock(&a->lock);
	pthread_cond_signal(&a->wake);
	pthread_mutex_unlock(&a->lock);
}

void
audit_write(struct audit *a, const struct audit_record *r)
{
	unsigned own = own_shard(), i;
	struct shard *s;

	for (i = 0; i < a->n; i++) {
		s = &a->file[i].shard[own];
		pthread_mutex_lock(&s->lock);
		if (s->lines.n > SHARD_MAX_BYTES)
			atomic_fetch_add(&a->crowded, 1);
		else if (a->file[i].format == LOGGING_JSON)
			audit_format_json(&s->lines, r, &a->privacy);
		else
			audit_format_squid(&s->lines, r, &a->privacy);
		pthread_mutex_unlock(&s->lock);
	}
	wake_writer(a);
}

void
audit_write_line(struct audit *a, const char *line, size_t n)
{
	unsigned own = own_shard(), i;
	struct shard *s;

	for (i = 0; i < a->n; i++) {
		s = &a->file[i].shard[own];
		pthread_mutex_lock(&s->lock);
		if (s->lines.n > SHARD_MAX_BYTES)
			atomic_fetch_add(&a->crowded, 1);
		else
			buf_add(&s->lines, line, n);
		pthread_mutex_unlock(&s->lock);
	}
	wake_writer(a);
}

void
audit_replace(struct audit *a, const int *fds, unsigned n)
{
	unsigned i;

	assert(n == a->n);
	pthread_mutex_lock(&a->lock);
	for (i = 0; i < n; i++) {
		if (fds[i] < 0)
			continue;
		if (a->file[i].next >= 0)
			(void)close(a->file[i].next);
		a->file[i].next = fds[i];
	}
	a->reopen = true;
	pthread_cond_signal(&a->wake);
	pthread_mutex_unlock(&a->lock);
}

uint64_t
audit_lost(const struct audit *a)
{
	return (atomic_load(&a->lost) + atomic_load(&a->crowded));
}

/* --- life and death --- */

static void
file_init(struct file *f, const struct audit_target *t)
{
	unsigned k;

	f->fd = f->next = -1;
	f->format = t->format;
	for (k = 0; k < SHARDS; k++)
		pthread_mutex_init(&f->shard[k].lock, NULL);
	if ((f->to = strdup(t->to)) == NULL)
		abort();
	file_take(f, t->fd);
}

static void
file_fini(struct file *f)
{
	unsigned k;

	for (k = 0; k < SHARDS; k++) {
		buf_fini(&f->shard[k].lines);
		pthread_mutex_destroy(&f->shard[k].lock);
	}
	if (f->fd >= 0)
		(void)close(f->fd);
	if (f->next >= 0)
		(void)close(f->next);
	free(f->to);
}

static void
release(struct audit *a)
{
	unsigned i;

	for (i = 0; i < a->n; i++)
		file_fini(&a->file[i]);
	pthread_cond_destroy(&a->wake);
	pthread_mutex_destroy(&a->lock);
	free(a->file);
	free(a);
}

static struct audit *
allocate(unsigned n, const struct logging_privacy *privacy)
{
	struct audit *a = calloc(1, sizeof(*a));
	size_t size = n * sizeof(*a->file);
	pthread_condattr_t attr;

	if (a == NULL)
		abort();
	if (n > 0) {
		a->file = aligned_alloc(_Alignof(struct file), size);
		if (a->file == NULL)
			abort();
		memset(a->file, 0, size);
	}
	a->privacy = *privacy;
	pthread_mutex_init(&a->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&a->wake, &attr);
	pthread_condattr_destroy(&attr);
	return (a);
}

struct audit *
audit_new(const struct audit_target *t, unsigned n,
    const struct logging_privacy *privacy, struct fault *f)
{
	struct audit *a = allocate(n, privacy);
	int e;

	for (; a->n < n; a->n++)
		file_init(&a->file[a->n], &t[a->n]);
	e = thread_start(&a->writer, "assay-log", writer_run, a);
	if (e != 0) {
		(void)fault_set(f, ERR_SYSTEM, "thread of the access log: %s",
		    strerror(e));
		release(a);
		return (NULL);
	}
	return (a);
}

void
audit_free(struct audit **ap)
{
	struct audit *a = *ap;

	if (a == NULL)
		return;
	atomic_store(&a->stopping, true);
	pthread_mutex_lock(&a->lock);
	a->stop = true;
	pthread_cond_signal(&a->wake);
	pthread_mutex_unlock(&a->lock);
	(void)pthread_join(a->writer, NULL);
	release(a);
	*ap = NULL;
}
