/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keeping a scan master, see clam_keeper.h. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "scanners/clam_keeper.h"
#include "scanners/clam_priv.h"

#define FIRST_MS (15 * 60 * 1000) /* for the first database to load */
#define AGAIN_MS 1000             /* between two starts, then doubling */
#define AGAIN_MOST_MS 60000
#define LEAVE_MS 60000 /* beyond the time of a scan, to leave */
#define QUIET_MS 60000 /* a master that lives so long was no failure */

enum { NOW, NEXT, OLD, MASTERS = CLAM_KEEPER_FDS };

struct clam_keeper {
	struct clam_open open;
	struct clam_keeper_news news;
	struct clam_master master[MASTERS]; /* OLD and beyond: leaving */
	uint64_t leaves_by[MASTERS];        /* of those */
	struct clam_ready ready;            /* of NOW */
	bool wanted;                        /* another is to be started */
	uint64_t start_at;                  /* not before */
	uint64_t started;                   /* NEXT, or the last one */
	unsigned pause;                     /* ms; 0: the last one did well */
};

static bool
is_there(const struct clam_master *m)
{
	return (m->proc.pid != 0);
}

static void
give_socket(struct clam_keeper *k, bool again)
{
	int pair[2];

	if (!channel_pair(pair))
		return; /* it is asked for again */
	if (clam_wire_word(k->master[NOW].socket, CLAM_ATTACH, 0, &pair[1], 1))
		k->news.socket(k->news.arg, pair[0], &k->ready, again);
	else
		close(pair[0]);
	close(pair[1]);
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
	return (k->wanted && now >= k->start_at &&
	    !is_there(&k->master[NEXT]) &&
	    (!is_there(&k->master[NOW]) || !is_there(&k->master[MASTERS - 1])));
}

static void
start_next(struct clam_keeper *k)
{
	struct fault f = { .code = ERR_NONE };

	k->wanted = false;
	k->started = clam_now_ms();
	if (clam_master_start(&k->master[NEXT], &k->open, &f))
		return;
	k->news.say(k->news.arg, "no scan master: ", f.detail);
	k->wanted = true;
	pause_longer(k);
}

/* The one that was there leaves, as soon as nobody uses it. */
static void
now_leaves(struct clam_keeper *k)
{
	unsigned i;

	if (!is_there(&k->master[NOW]))
		return;
	(void)clam_wire_word(k->master[NOW].socket, CLAM_LEAVE, 0, NULL, 0);
	for (i = OLD; i < MASTERS - 1 && is_there(&k->master[i]); i++)
		;
	assert(!is_there(&k->master[i]));
	k->master[i] = k->master[NOW];
	k->leaves_by[i] = clam_now_ms() + k->open.limits.time_ms + LEAVE_MS;
	k->master[NOW] = (struct clam_master){ .proc = CHILD_NONE,
		.socket = -1 };
}

static void
next_is_ready(struct clam_keeper *k, const struct clam_ready *ready)
{
	now_leaves(k);
	k->master[NOW] = k->master[NEXT];
	k->master[NEXT] = (struct clam_master){ .proc = CHILD_NONE,
		.socket = -1 };
	k->ready = *ready;
	give_socket(k, false);
}

static void
next_failed(struct clam_keeper *k, const char *why)
{
	bool serves = is_there(&k->master[NOW]);

	clam_master_end(&k->master[NEXT]);
	k->news.say(k->news.arg,
	    serves ? "new database not loaded, the old one stays: "
		   : "no database loaded: ",
	    why);
	if (!serves) {
		k->wanted = true;
		pause_longer(k);
	}
}

/* ---- messages ---- */

static void
ended(struct clam_keeper *k, unsigned i)
{
	char fate[80] = "it has closed its socket";
	int how;

	if (child_reap(&k->master[i].proc, &how, 1000))
		child_fate(how, fate, sizeof(fate));
	clam_master_end(&k->master[i]);
	if (i >= OLD)
		return;
	k->news.say(k->news.arg, "the scan master ", fate);
	k->wanted = true;
	if (clam_now_ms() - k->started > QUIET_MS)
		k->pause = 0;
	else if (i == NEXT || k->pause > 0)
		pause_longer(k);
	else
		k->pause = AGAIN_MS; /* this once at once */
}

static unsigned
expected(unsigned i)
{
	return (i == NEXT ? CLAM_BIT(CLAM_READY) | CLAM_BIT(CLAM_FAILED)
			  : CLAM_BIT(CLAM_CHANGED) | CLAM_BIT(CLAM_TIRED));
}

static void
told(struct clam_keeper *k, unsigned i, const struct clam_packet *p)
{
	if (p->m.kind == CLAM_READY)
		next_is_ready(k, &p->m.ready);
	else if (p->m.kind == CLAM_FAILED)
		next_failed(k, p->m.failed.text);
	else if (i == NOW && !k->wanted && !is_there(&k->master[NEXT])) {
		if (p->m.kind == CLAM_TIRED)
			k->news.say(k->news.arg,
			    "scanners have crashed, or their folder is gone: "
			    "another scan master takes over",
			    "");
		k->wanted = true;
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
	case CLAM_ENDED:
	case CLAM_UNREAD:
	case CLAM_BROKEN:
		ended(k, i);
		break;
	}
}

unsigned
clam_keeper_fds(const struct clam_keeper *k,
    struct pollfd polls[CLAM_KEEPER_FDS])
{
	unsigned i;

	for (i = 0; i < MASTERS; i++) /* -1 is passed over */
		polls[i] = (struct pollfd){ k->master[i].socket, POLLIN, 0 };
	return (MASTERS);
}

void
clam_keeper_look(struct clam_keeper *k)
{
	unsigned i;

	for (i = MASTERS; i-- > 0;) {
		if (is_there(&k->master[i]))
			master_read(k, i);
		if (i >= OLD && is_there(&k->master[i]) &&
		    clam_now_ms() > k->leaves_by[i])
			clam_master_end(&k->master[i]);
	}
	if (may_start(k, clam_now_ms()))
		start_next(k);
}

void
clam_keeper_again(struct clam_keeper *k)
{
	if (is_there(&k->master[NOW]))
		give_socket(k, true);
}

void
clam_keeper_replace(struct clam_keeper *k)
{
	if (!is_there(&k->master[NOW]))
		return;
	k->news.say(k->news.arg, "the scan master does not answer", "");
	clam_master_end(&k->master[NOW]);
	k->wanted = true;
}

/* ---- begin and end ---- */

static bool
first_answer(struct clam_keeper *k, struct fault *f)
{
	struct clam_packet p;

	if (clam_wire_recv(k->master[NEXT].socket, expected(NEXT), &p,
		FIRST_MS) != CLAM_GOT)
		fault_set(f, ERR_SYSTEM, "the scan master has ended");
	else if (p.m.kind == CLAM_FAILED)
		fault_set(f, ERR_CONFIG, "%s", p.m.failed.text);
	else
		next_is_ready(k, &p.m.ready);
	return (is_there(&k->master[NOW]));
}

struct clam_keeper *
clam_keeper_new(const struct clam_open *open,
    const struct clam_keeper_news *news, struct fault *f)
{
	struct clam_keeper *k = calloc(1, sizeof(*k));
	unsigned i;

	if (k == NULL)
		abort();
	k->open = *open;
	k->news = *news;
	for (i = 0; i < MASTERS; i++)
		k->master[i] = (struct clam_master){ .proc = CHILD_NONE,
			.socket = -1 };
	k->started = clam_now_ms();
	if (!clam_master_start(&k->master[NEXT], open, f) ||
	    !first_answer(k, f))
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
	for (i = 0; i < MASTERS; i++)
		clam_master_end(&k->master[i]);
	free(k);
}
