/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keeping scan masters, see clam_keeper.h. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/crash.h"
#include "scanners/clam_keeper.h"
#include "scanners/clam_priv.h"

#define LOAD_MS (15 * 60 * 1000) /* for another database */
#define AGAIN_MS 1000            /* between two starts, then doubling */
#define AGAIN_MOST_MS 60000
#define LEAVE_MS 60000 /* beyond the time of a scan, to leave */
#define QUIET_MS 60000 /* a master that lives so long was no failure */
#define TIRED_MS 10000 /* between two starts for crashes of scanners */
#define ASK_MS 2000    /* between an answer and the next question */
#define ANSWER_MS 15000
#define END_MS 2000 /* for one to end by itself */
#define CRASHES 32  /* of scanners, that one master tells */

enum { NOW, NEXT, OLD, MASTERS = CLAM_MASTERS };

struct awaiting {
	int fd; /* owned; the master's end */
	uint32_t who;
};

struct clam_keeper {
	struct clam_open open;
	char *const *env; /* borrowed */
	struct clam_keeper_news news;
	int polls;                          /* owned: epoll, of all sockets */
	struct clam_master master[MASTERS]; /* OLD and beyond: leaving */
	struct awaiting awaits[CLAM_TENANTS];
	unsigned n_awaits;
	bool was_ready;    /* one of them */
	bool wanted;       /* another is to be started */
	bool leaves;       /* none is started any more */
	uint64_t start_at; /* not before */
	unsigned pause;    /* ms; 0: the last one did well */
};

static bool
is_there(const struct clam_master *m)
{
	return (m->proc.pid != 0);
}

static void
poll_it(struct clam_keeper *k, const struct clam_master *m)
{
	struct epoll_event e = { .events = EPOLLIN };

	(void)epoll_ctl(k->polls, EPOLL_CTL_ADD, m->socket, &e);
}

static void
end_it(struct clam_keeper *k, struct clam_master *m, int wait_ms)
{
	if (m->socket >= 0)
		(void)epoll_ctl(k->polls, EPOLL_CTL_DEL, m->socket, NULL);
	clam_master_end(m, wait_ms);
}

/* ---- servers ---- */

static void
awaits_drop(struct clam_keeper *k, unsigned i)
{
	close(k->awaits[i].fd);
	k->n_awaits--;
	memmove(&k->awaits[i], &k->awaits[i + 1],
	    (k->n_awaits - i) * sizeof(k->awaits[0]));
}

static bool
attach(struct clam_keeper *k, uint32_t who, int fd)
{
	return (is_there(&k->master[NOW]) &&
	    clam_wire_word(k->master[NOW].socket, CLAM_ATTACH, who, &fd, 1));
}

int
clam_keeper_client(struct clam_keeper *k, uint32_t who)
{
	unsigned i;
	int pair[2];

	if (!channel_pair(pair))
		return (-1);
	for (i = k->n_awaits; i-- > 0;)
		if (k->awaits[i].who == who)
			awaits_drop(k, i);
	if (k->leaves || attach(k, who, pair[1])) {
		close(pair[1]);
		return (pair[0]);
	}
	if (k->n_awaits == CLAM_TENANTS)
		awaits_drop(k, 0);
	k->awaits[k->n_awaits++] = (struct awaiting){ pair[1], who };
	return (pair[0]);
}

bool
clam_keeper_awaits(const struct clam_keeper *k, uint32_t who)
{
	unsigned i;

	for (i = 0; i < k->n_awaits && k->awaits[i].who != who; i++)
		;
	return (i < k->n_awaits);
}

static void
attach_all(struct clam_keeper *k)
{
	while (k->n_awaits > 0) {
		(void)attach(k, k->awaits[0].who, k->awaits[0].fd);
		awaits_drop(k, 0); /* one that is not attached asks again */
	}
}

/* ---- starting ---- */

static void
pause_longer(struct clam_keeper *k)
{
	k->pause = k->pause == 0 ? AGAIN_MS : 2 * k->pause;
	if (k->pause > AGAIN_MOST_MS)
		k->pause = AGAIN_MOST_MS;
	k->start_at = clam_now_ms() + k->pause;
}

/* A place for one that leaves is needed for the next but one. */
static bool
may_start(const struct clam_keeper *k, uint64_t now)
{
	return (k->wanted && !k->leaves && now >= k->start_at &&
	    !is_there(&k->master[NEXT]) &&
	    (!is_there(&k->master[NOW]) || !is_there(&k->master[MASTERS - 1])));
}

static bool
start_next(struct clam_keeper *k, struct fault *f)
{
	k->wanted = false;
	if (!clam_master_start(&k->master[NEXT], &k->open, k->env,
		k->news.errors, f))
		return (false);
	poll_it(k, &k->master[NEXT]);
	return (true);
}

static void
start_again(struct clam_keeper *k)
{
	struct fault f = { .code = ERR_NONE };

	if (start_next(k, &f))
		return;
	k->news.say(k->news.arg, "no scan master: ", f.detail);
	k->wanted = true;
	pause_longer(k);
}

static void
put_old(struct clam_keeper *k, unsigned from, uint64_t by)
{
	unsigned i;

	for (i = OLD; i < MASTERS - 1 && is_there(&k->master[i]); i++)
		;
	if (is_there(&k->master[i])) /* may_start() has seen to a place */
		end_it(k, &k->master[i], 0);
	k->master[i] = k->master[from];
	k->master[i].leaves_by = by;
	k->master[from] = CLAM_MASTER_NONE;
}

/* The one that was there leaves, as soon as nobody uses it. */
static void
now_leaves(struct clam_keeper *k, uint64_t by)
{
	if (!is_there(&k->master[NOW]))
		return;
	(void)clam_wire_word(k->master[NOW].socket, CLAM_LEAVE, 0, NULL, 0);
	put_old(k, NOW, by);
}

static void
next_is_ready(struct clam_keeper *k)
{
	now_leaves(k, clam_now_ms() + k->open.limits.time_ms + LEAVE_MS);
	k->master[NOW] = k->master[NEXT];
	k->master[NEXT] = CLAM_MASTER_NONE;
	k->master[NOW].heard = clam_now_ms();
	k->was_ready = true;
	k->news.ready(k->news.arg);
	attach_all(k);
}

static void
next_failed(struct clam_keeper *k, const char *why)
{
	bool serves = is_there(&k->master[NOW]);
	char text[256];

	snprintf(text, sizeof(text), "%s", why);
	end_it(k, &k->master[NEXT], END_MS);
	if (!k->was_ready) {
		k->news.failed(k->news.arg, text);
		return;
	}
	k->news.say(k->news.arg,
	    serves ? "new database not loaded, the old one stays: "
		   : "no database loaded: ",
	    text);
	if (!serves) {
		k->wanted = true;
		pause_longer(k);
	}
}

/* ---- ends ---- */

static void
tell_crash(struct clam_keeper *k, const struct clam_crash *c)
{
	if (k->news.crashed != NULL)
		k->news.crashed(k->news.arg, c);
}

/* One that was to serve: another one, at once for the first time. */
static void
replace(struct clam_keeper *k, uint64_t started, bool loaded)
{
	k->wanted = true;
	if (clam_now_ms() - started > QUIET_MS)
		k->pause = 0;
	else if (!loaded || k->pause > 0)
		pause_longer(k);
	else
		k->pause = AGAIN_MS;
}

static void
ended(struct clam_keeper *k, unsigned i)
{
	struct clam_master *m = &k->master[i];
	struct clam_crash c = { "clam", m->proc.pid, 0, m->report };
	uint64_t started = m->started;
	char fate[80] = "it has closed its socket";

	if (child_reap(&m->proc, &c.how, 1000))
		child_fate(c.how, fate, sizeof(fate));
	if (WIFSIGNALED(c.how) && !m->killed)
		tell_crash(k, &c);
	if (i == NEXT && !k->was_ready) {
		end_it(k, m, 0);
		k->news.failed(k->news.arg, "the scan master has ended");
		return;
	}
	end_it(k, m, 0);
	if (i >= OLD)
		return;
	k->news.say(k->news.arg, "the scan master ", fate);
	replace(k, started, i == NOW);
}

/* ---- messages ---- */

#define ANY (CLAM_BIT(CLAM_PONG) | CLAM_BIT(CLAM_CRASHED))

static unsigned
expected(unsigned i)
{
	return (i == NEXT
		? CLAM_BIT(CLAM_READY) | CLAM_BIT(CLAM_FAILED)
		: CLAM_BIT(CLAM_CHANGED) | CLAM_BIT(CLAM_TIRED) | ANY);
}

static void
scanner_crashed(struct clam_keeper *k, unsigned i, struct clam_packet *p)
{
	struct clam_crash c = { "scanner", p->m.crashed.pid, p->m.crashed.how,
		p->fd[0] };

	if (crash_report_is(c.report) && WIFSIGNALED(c.how) &&
	    k->master[i].crashes++ < CRASHES)
		tell_crash(k, &c);
	clam_packet_drop(p);
}

/* Of NOW: another one is better. */
static void
another(struct clam_keeper *k, bool tired)
{
	uint64_t at = k->master[NOW].started + TIRED_MS;

	if (k->wanted || is_there(&k->master[NEXT]))
		return;
	if (tired)
		k->news.say(k->news.arg,
		    "scanners have crashed, or their folder is gone: "
		    "another scan master takes over",
		    "");
	if (tired && k->start_at < at)
		k->start_at = at;
	k->wanted = true;
}

static void
told(struct clam_keeper *k, unsigned i, struct clam_packet *p)
{
	switch (p->m.kind) {
	case CLAM_READY:
		next_is_ready(k);
		break;
	case CLAM_FAILED:
		next_failed(k, p->m.failed.text);
		break;
	case CLAM_PONG:
		k->master[i].asked = 0;
		k->master[i].heard = clam_now_ms();
		break;
	case CLAM_CRASHED:
		scanner_crashed(k, i, p);
		break;
	default:
		if (i == NOW)
			another(k, p->m.kind == CLAM_TIRED);
	}
}

static void
master_read(struct clam_keeper *k, unsigned i)
{
	struct clam_packet p;

	switch (clam_wire_recv(k->master[i].socket, expected(i), &p, 0)) {
	case CLAM_GOT:
		told(k, i, &p);
		break;
	case CLAM_NOTHING:
		break;
	case CLAM_BROKEN:
		(void)child_signal(&k->master[i].proc, SIGKILL);
		ended(k, i);
		break;
	case CLAM_ENDED:
	case CLAM_UNREAD:
		ended(k, i);
		break;
	}
}

/* ---- time ---- */

/* Does it answer?  One that stands still, or has no time, does not. */
static bool
is_stuck(const struct clam_keeper *k, unsigned i, uint64_t now)
{
	const struct clam_master *m = &k->master[i];

	if (i == NEXT)
		return (now - m->started > LOAD_MS);
	return (m->asked != 0 && now - m->asked > ANSWER_MS);
}

static void
ask(struct clam_master *m, uint64_t now)
{
	if (m->killed || m->asked != 0 || now - m->heard < ASK_MS)
		return;
	m->asked = now; /* whether there is room for it or not */
	(void)clam_wire_word(m->socket, CLAM_PING, 0, NULL, 0);
}

/* It is killed, and its end is not waited for: that may take what it takes. */
static void
discard(struct clam_keeper *k, unsigned i)
{
	uint64_t started = k->master[i].started;

	k->master[i].killed = true;
	k->master[i].asked = 0;
	(void)child_signal(&k->master[i].proc, SIGKILL);
	if (i >= OLD)
		return;
	if (!k->leaves)
		k->news.say(k->news.arg, "the scan master does not answer", "");
	put_old(k, i, UINT64_MAX);
	if (!k->leaves && !k->was_ready)
		k->news.failed(k->news.arg, "not loaded in time");
	else if (!k->leaves)
		replace(k, started, i == NOW);
}

static void
master_look(struct clam_keeper *k, unsigned i, uint64_t now)
{
	struct clam_master *m = &k->master[i];

	if (i >= OLD && now > m->leaves_by) {
		end_it(k, m, 0);
		return;
	}
	if (is_stuck(k, i, now))
		discard(k, i);
	else if (i != NEXT)
		ask(m, now);
}

void
clam_keeper_look(struct clam_keeper *k)
{
	unsigned i;

	for (i = MASTERS; i-- > 0;) {
		if (is_there(&k->master[i]))
			master_read(k, i);
		if (is_there(&k->master[i]))
			master_look(k, i, clam_now_ms());
	}
	if (may_start(k, clam_now_ms()))
		start_again(k);
}

int
clam_keeper_fd(const struct clam_keeper *k)
{
	return (k->polls);
}

/* ---- begin and end ---- */

static struct clam_keeper *
keeper_alloc(const struct clam_open *open, char *const *env,
    const struct clam_keeper_news *news)
{
	struct clam_keeper *k = calloc(1, sizeof(*k));
	unsigned i;

	if (k == NULL)
		abort();
	k->open = *open;
	k->env = env;
	k->news = *news;
	k->polls = epoll_create1(EPOLL_CLOEXEC);
	for (i = 0; i < MASTERS; i++)
		k->master[i] = CLAM_MASTER_NONE;
	return (k);
}

struct clam_keeper *
clam_keeper_new(const struct clam_open *open, char *const *env,
    const struct clam_keeper_news *news, struct fault *f)
{
	struct clam_keeper *k = keeper_alloc(open, env, news);

	if (k->polls < 0)
		fault_set(f, ERR_SYSTEM, "epoll: %s", strerror(errno));
	if (k->polls < 0 || !start_next(k, f))
		clam_keeper_free(&k);
	return (k);
}

void
clam_keeper_free(struct clam_keeper **pp)
{
	struct clam_keeper *k = *pp;
	unsigned i;

	*pp = NULL;
	if (k == NULL)
		return;
	while (k->n_awaits > 0)
		awaits_drop(k, 0);
	for (i = 0; i < MASTERS; i++)
		end_it(k, &k->master[i], END_MS);
	if (k->open.user.name[0] == '\0') /* what one that was killed left */
		clam_temp_clean(k->open.temp_dir);
	if (k->polls >= 0)
		close(k->polls);
	free(k);
}

void
clam_keeper_leave(struct clam_keeper *k)
{
	k->leaves = true;
	k->wanted = false;
	while (k->n_awaits > 0)
		awaits_drop(k, 0);
	if (is_there(&k->master[NEXT]))
		discard(k, NEXT);
	now_leaves(k, UINT64_MAX);
}

bool
clam_keeper_is_over(const struct clam_keeper *k)
{
	unsigned i;

	for (i = 0; i < MASTERS && !is_there(&k->master[i]); i++)
		;
	return (k->leaves && i == MASTERS);
}

/* ---- another program ---- */

void
clam_keeper_put(struct clam_keeper *k, struct clam_kept kept[CLAM_MASTERS])
{
	const struct clam_master *m;
	unsigned i;

	if (is_there(&k->master[NEXT])) {
		end_it(k, &k->master[NEXT], 0);
		k->wanted = true;
	}
	for (i = 0; i < MASTERS; i++) {
		m = &k->master[i];
		kept[i] = (struct clam_kept){ m->proc.pid, m->proc.pidfd,
			m->socket, m->report, m->started, m->leaves_by };
	}
}

struct clam_keeper *
clam_keeper_adopt(const struct clam_open *open, char *const *env,
    const struct clam_keeper_news *news,
    const struct clam_kept kept[CLAM_MASTERS], bool leaves)
{
	struct clam_keeper *k = keeper_alloc(open, env, news);
	unsigned i;

	k->was_ready = true;
	k->leaves = leaves;
	for (i = 0; i < MASTERS; i++)
		if (kept[i].pid > 0) {
			k->master[i] = (struct clam_master){
				.proc = { kept[i].pid, kept[i].pidfd },
				.socket = kept[i].socket,
				.report = kept[i].report,
				.started = kept[i].started,
				.heard = clam_now_ms(),
				.leaves_by = kept[i].leaves_by
			};
			poll_it(k, &k->master[i]);
		}
	k->wanted = !leaves && !is_there(&k->master[NOW]);
	return (k);
}

/* ---- a check ---- */

struct check {
	bool done, ok;
	struct fault *f;
};

static void
check_ready(void *arg)
{
	struct check *c = arg;

	c->done = c->ok = true;
}

static void
check_failed(void *arg, const char *why)
{
	struct check *c = arg;

	c->done = true;
	fault_set(c->f, ERR_CONFIG, "%s", why);
}

static void
check_say(void *arg, const char *what, const char *detail)
{
	(void)arg;
	(void)what;
	(void)detail;
}

bool
clam_keeper_check(const struct clam_open *open, struct fault *f)
{
	struct check c = { .f = f };
	const struct clam_keeper_news news = { check_ready, check_failed,
		check_say, NULL, &c, 0 };
	struct clam_keeper *k = clam_keeper_new(open, NULL, &news, f);
	struct pollfd p = { k != NULL ? clam_keeper_fd(k) : -1, POLLIN, 0 };

	while (k != NULL && !c.done) {
		(void)poll(&p, 1, CLAM_TICK_MS);
		clam_keeper_look(k);
	}
	clam_keeper_free(&k);
	return (c.ok);
}
