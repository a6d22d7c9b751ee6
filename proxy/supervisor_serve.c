/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The supervisor's serving processes, see supervisor_priv.h. */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/list.h"
#include "proxy/audit/log.h"
#include "proxy/serve.h"
#include "proxy/serve_box.h"
#include "proxy/supervisor_priv.h"

#define CLOSE_MS 5000  /* a longer wait is one without listening sockets */
#define START_MS 1000  /* before another try to start one */
#define END_MS 2000    /* so long one may take to end that is stuck */
#define GRACE_MS 10000 /* behind the end of draining, for what ends by itself */
#define HEARD_MAX 64   /* messages of one process in a turn */

/* One process less. */

static void
served_unref(struct served **vp)
{
	struct served *v = *vp;
	int how;

	*vp = NULL;
	scans_forget(v->of, v->who);
	timer_stop(&v->end);
	timer_stop(&v->answer);
	watch_free(&v->ended);
	watch_free(&v->says);
	if (v->child.pid != 0 && !child_reap(&v->child, &how, 0))
		child_end(&v->child);
	if (v->channel >= 0)
		channel_end(v->channel);
	remains_fini(v);
	conf_unref(&v->conf);
	conf_unref(&v->handed);
	serve_box_free(&v->box);
	free(v);
}

static void
on_end(struct timer *t)
{
	struct served *v = CONTAINER_OF(t, struct served, end);

	log_line(LEVEL_ERROR, "serve", "process %ld does not end; killed",
	    (long)v->child.pid);
	(void)child_signal(&v->child, SIGKILL);
}

/* Nobody's any more, it ends. */
static void
put_ending(struct supervisor *p, struct served *v)
{
	struct served **at;
	unsigned n = 0;

	timer_stop(&v->answer);
	v->next = p->ending;
	p->ending = v;
	for (at = &p->ending; *at != NULL; at = &(*at)->next)
		if (++n > SERVED_ENDING) /* tunnels would keep it for days */
			(void)child_signal(&(*at)->child, SIGKILL);
	figure_set(p->figures, FIGURE_SERVE_ENDING, n);
}

/* Its flows may finish. */
static void
retire(struct supervisor *p, struct served *v, uint64_t ms)
{
	served_say_drain(v, ms);
	timer_set(&v->end, ms + GRACE_MS);
	put_ending(p, v);
}

void
served_drain(struct supervisor *p, uint64_t ms)
{
	struct served *v;

	supervisor_drop_coming(p);
	timer_stop(&p->again); /* a dead one is not replaced any more */
	p->awaits_keys = false;
	if (p->served != NULL) {
		v = p->served;
		p->served = NULL;
		retire(p, v, ms);
	}
	for (v = p->ending; v != NULL; v = v->next)
		if (ms == 0) {
			served_say_drain(v, 0);
			timer_set(&v->end, GRACE_MS);
		}
}

struct served *
served_find(const struct supervisor *p, uint32_t who)
{
	struct served *v;

	if (p->served != NULL && p->served->who == who)
		return (p->served);
	if (p->coming != NULL && p->coming->who == who)
		return (p->coming);
	for (v = p->ending; v != NULL && v->who != who; v = v->next)
		;
	return (v);
}

bool
served_is_there(const struct supervisor *p)
{
	return (p->served != NULL || p->ending != NULL);
}

void
supervisor_promote(struct supervisor *p, uint64_t ms)
{
	struct served *old = p->served;

	assert(p->coming != NULL);
	p->served = p->coming;
	p->coming = NULL;
	p->died_at = 0;
	timer_stop(&p->again);
	p->awaits_keys = false;
	if (old != NULL)
		retire(p, old, ms);
}

void
supervisor_drop_coming(struct supervisor *p)
{
	if (p->coming != NULL)
		served_unref(&p->coming);
}

/* Hearing. */

/* It broke the rules, or hangs: it gets no second chance. */
static void
kill_it(struct served *v, const char *why)
{
	log_line(LEVEL_ERROR, "serve", "process %ld %s, and is ended",
	    (long)v->child.pid, why);
	(void)child_signal(&v->child, SIGKILL);
	watch_free(&v->says);
}

/* Is it the answer of that process to the edition that it was handed? */
static bool
is_answer(const struct served *v, const struct message *m)
{
	const struct edition *e = v->of->next;

	return (e != NULL && e->asked == v && m->number == e->number);
}

static void
on_ready(struct served *v, const struct message *m)
{
	struct supervisor *p = v->of;

	if (v == p->coming || (v->ready && v == p->served)) {
		if (is_answer(v, m)) {
			v->ready = true;
			served_has(v);
			supervisor_reloaded(p, true);
		}
		return;
	}
	v->ready = true;
	served_has(v);
	if (v != p->served)
		return;
	fetching_start(p);
	if (p->phase == PHASE_STARTS)
		supervisor_ready(p);
	else if (p->died_at != 0)
		log_line(LEVEL_NOTICE, "serve",
		    "process %ld serves, %llu ms after the one before ended",
		    (long)v->child.pid,
		    (unsigned long long)(loop_now(p->loop) - p->died_at));
	if (p->phase == PHASE_SERVES)
		supervisor_notify_state(p, false);
	supervisor_reload_waiting(p);
}

static void
heard(struct served *v, const struct message *m)
{
	struct supervisor *p = v->of;

	if (m->kind == MESSAGE_READY)
		on_ready(v, m);
	else if (m->kind == MESSAGE_REFUSED) {
		if (v == p->served && is_answer(v, m)) {
			timer_stop(&v->answer);
			supervisor_reloaded(p, false);
		}
	} else if (m->kind == MESSAGE_WANT_KEYS)
		signer_want(p, m->number, m->text);
	else if (m->kind == MESSAGE_WANT_SCANS)
		scans_want(v, m->number);
	else if (m->kind == MESSAGE_WANT_FETCHER && v == p->served)
		fetching_stuck(p, m->text);
}

static void
on_says(void *arg, unsigned events)
{
	struct served *v = arg;
	enum channel_end r = CHANNEL_DONE;
	struct message m;
	unsigned i;
	int fd;

	(void)events;
	for (i = 0; i < HEARD_MAX && v->says != NULL && r == CHANNEL_DONE;
	     i++) {
		r = message_receive(v->channel, MESSAGE_SERVE, &m, &fd, 0);
		if (r == CHANNEL_DONE)
			heard(v, &m);
	}
	if (r == CHANNEL_BROKEN)
		kill_it(v, "broke its protocol");
	else if (r == CHANNEL_CLOSED) /* its end is seen by on_ended() */
		watch_free(&v->says);
}

/* Ending. */

/*
 * What a start takes may be short for a moment (processes, descriptors): that is
 * waited for as for one that keeps dying.
 */
static void
not_started(struct supervisor *p, const struct fault *f)
{
	uint64_t wait = respawn_after(&p->respawn, loop_now(p->loop), 0);

	log_line(LEVEL_ERROR, "serve", "cannot be started: %s", f->detail);
	if (wait == RESPAWN_NEVER) {
		supervisor_end(p, EXIT_CRASHES);
		return;
	}
	timer_set(&p->again, wait > START_MS ? wait : START_MS);
}

void
supervisor_serve_again(struct supervisor *p)
{
	struct fault f = { ERR_NONE, "" };

	p->awaits_keys = false;
	if (!listen_is_open(&p->edition->listeners) &&
	    listen_again(&p->edition->listeners, &f))
		store_listeners(p);
	if (listen_is_open(&p->edition->listeners))
		p->served = served_start(p, p->edition, &f);
	if (f.code != ERR_NONE)
		not_started(p, &f);
	else
		p->awaits_keys = p->served == NULL;
}

static void
on_again(struct timer *t)
{
	supervisor_serve_again(CONTAINER_OF(t, struct supervisor, again));
}

void
served_init(struct supervisor *p)
{
	timer_init(&p->again, p->loop, on_again);
}

/*
 * It does not move in a reload: it does not even hear that it is to end.  Who is
 * connected to it may finish, while another one serves what is in force.
 */
static void
replace_stuck(struct supervisor *p, struct served *v)
{
	p->served = NULL;
	p->died_at = 0;
	fetching_leave(p);
	supervisor_serve_again(p);
	retire(p, v, p->edition->conf->limits.drain_ms);
	supervisor_reload_lost(p,
	    "the serving process did not answer in time, and is replaced");
}

/* The new one for a reload: it is not waited for, not even for its death. */
static void
drop_late(struct supervisor *p, struct served *v)
{
	p->coming = NULL;
	(void)child_signal(&v->child, SIGKILL);
	put_ending(p, v);
	supervisor_reload_lost(p,
	    "the new serving process was not ready in time");
	if (p->served == NULL && p->phase == PHASE_SERVES)
		supervisor_serve_again(p);
}

static void
on_late(struct timer *t)
{
	struct served *v = CONTAINER_OF(t, struct served, answer);
	struct supervisor *p = v->of;

	if (v == p->coming)
		drop_late(p, v);
	else if (v == p->served && !v->ready)
		kill_it(v, "was not ready in time");
	else if (v == p->served)
		replace_stuck(p, v);
}

void
served_await(struct served *v, struct conf *c)
{
	conf_unref(&v->handed);
	v->handed = conf_ref(c);
	timer_set(&v->answer, c->limits.start_ms);
}

void
served_has(struct served *v)
{
	timer_stop(&v->answer);
	conf_unref(&v->conf);
	v->conf = v->handed;
	v->handed = NULL;
}

/* How long until its successor is started; it has just died. */
static void
follow(struct supervisor *p, uint64_t life)
{
	uint64_t wait = respawn_after(&p->respawn, loop_now(p->loop), life);

	if (wait == RESPAWN_NEVER) {
		log_line(LEVEL_ERROR, "serve",
		    "it died %u times in a row: given up", RESPAWN_DEATHS);
		supervisor_end(p, EXIT_CRASHES);
		return;
	}
	if (wait == 0) {
		supervisor_serve_again(p);
		return;
	}
	log_line(LEVEL_ERROR, "serve", "it keeps dying: waiting %llu s%s",
	    (unsigned long long)(wait / 1000),
	    wait > CLOSE_MS ? ", nobody can connect" : "");
	if (wait > CLOSE_MS) { /* others can take what would wait in vain */
		listen_close(&p->edition->listeners);
		store_listeners(p);
	}
	timer_set(&p->again, wait);
}

/* One that was told to; its status matters when it is the last. */
static void
retired_ended(struct supervisor *p, struct served *v, int how, pid_t pid)
{
	struct served **at;
	char fate[96];

	for (at = &p->ending; *at != v; at = &(*at)->next)
		assert(*at != NULL);
	*at = v->next;
	figure_set(p->figures, FIGURE_SERVE_ENDING,
	    figure_get(p->figures, FIGURE_SERVE_ENDING) - 1);
	if (how != 0) {
		child_fate(how, fate, sizeof(fate));
		log_line(LEVEL_ERROR, "serve", "process %ld %s", (long)pid,
		    fate);
		remains_died(v, pid, fate);
	}
	served_unref(&v);
	if (p->phase == PHASE_DRAINS && !served_is_there(p))
		supervisor_end(p, how == 0 ? EXIT_OK : EXIT_PROBLEM);
}

/* The one for an edition that is not in force: that will not be. */
static void
coming_ended(struct supervisor *p, int how, pid_t pid)
{
	char why[160], fate[96];

	child_fate(how, fate, sizeof(fate));
	(void)snprintf(why, sizeof(why), "the new serving process %s", fate);
	if (!WIFEXITED(how) || WEXITSTATUS(how) != SERVE_EXIT_PROBLEM)
		remains_died(p->coming, pid, fate);
	served_unref(&p->coming);
	supervisor_reload_lost(p, why);
	if (p->served == NULL && p->phase == PHASE_SERVES)
		supervisor_serve_again(p);
}

static void
in_charge_ended(struct supervisor *p, int how, pid_t pid)
{
	bool was_ready = p->served->ready;
	uint64_t life = loop_now(p->loop) - p->served->born_at;
	char fate[96];

	p->died_at = loop_now(p->loop);
	/* It has said what is wrong, and that does not go away by itself. */
	if (!was_ready && WIFEXITED(how) &&
	    WEXITSTATUS(how) == SERVE_EXIT_PROBLEM) {
		served_unref(&p->served);
		supervisor_end(p, EXIT_PROBLEM);
		return;
	}
	child_fate(how, fate, sizeof(fate));
	remains_died(p->served, pid, fate);
	served_unref(&p->served);
	if (p->coming != NULL) /* that one will be in charge */
		return;
	supervisor_reload_lost(p, "the serving process has died");
	follow(p, life);
}

static void
on_ended(void *arg, unsigned events)
{
	struct served *v = arg;
	struct supervisor *p = v->of;
	pid_t pid = v->child.pid;
	int how;

	(void)events;
	if (!child_reap(&v->child, &how, 0))
		return;
	if (v == p->coming)
		coming_ended(p, how, pid);
	else if (v == p->served) {
		fetching_leave(p);
		in_charge_ended(p, how, pid);
	} else
		retired_ended(p, v, how, pid);
}

void
served_look(struct supervisor *p)
{
	struct served *v, *next;

	for (v = p->ending; v != NULL; v = next) {
		next = v->next;
		on_ended(v, 0);
	}
}

/* Beginning. */

static bool
spawn(struct served *v, struct fault *f)
{
	struct spawn s = { .role = SERVE_ROLE,
		.env = v->of->env,
		.n_fds = SERVE_FDS,
		.keep_output = true,
		.errors = -1 };
	int pair[2];
	bool ok;

	if (!channel_pair(pair)) {
		fault_set(f, ERR_SYSTEM, "%s: %s", SERVE_ROLE, strerror(errno));
		return (false);
	}
	s.fd[SERVE_CHANNEL - SPAWN_FD] = pair[1];
	ok = remains_begin(v, &s, f);
	if (ok) {
		ok = spawn_start(&s, &v->child, f);
		remains_started(v, ok);
	}
	(void)close(pair[1]);
	if (ok)
		v->channel = pair[0];
	else
		(void)close(pair[0]);
	return (ok);
}

static void
watch(struct served *v)
{
	struct loop *l = v->of->loop;

	v->born_at = loop_now(l);
	v->who = (uint32_t)v->child.pid;
	v->ended = watch_new(l, v->child.pidfd, on_ended, v);
	v->says = watch_new(l, v->channel, on_says, v);
	watch_set(v->ended, WATCH_READ);
	watch_set(v->says, WATCH_READ);
}

static struct served *
served_alloc(struct supervisor *p)
{
	struct served *v = calloc(1, sizeof(*v));

	if (v == NULL)
		abort();
	v->of = p;
	v->child = CHILD_NONE;
	v->channel = -1;
	timer_init(&v->end, p->loop, on_end);
	timer_init(&v->answer, p->loop, on_late);
	remains_init(v);
	return (v);
}

struct served *
served_start_with(struct supervisor *p, struct edition *e,
    const struct signer *s, int client, struct fault *f)
{
	struct served *v;

	if (!listen_mend(&e->listeners, f)) {
		(void)close(client);
		return (NULL);
	}
	v = served_alloc(p);
	v->box = serve_box_new(e->conf); /* before it looks, and sees newer */
	if (!spawn(v, f)) {
		(void)close(client);
		served_unref(&v);
		return (NULL);
	}
	figure_add(p->figures, FIGURE_SERVE_STARTED, 1);
	watch(v);
	/* One that is dead by now is seen by its end. */
	served_hand_over(v, e, s, client);
	return (v);
}

struct served *
served_start(struct supervisor *p, struct edition *e, struct fault *f)
{
	const struct signer *s = signer_find(p, e->signer);
	int client = s != NULL ? signer_client(s) : -1;

	if (client >= 0)
		return (served_start_with(p, e, s, client, f));
	if (s != NULL && s->state == SIGNER_SIGNS && errno != EPIPE)
		/* It is there, and no news will come of it. */
		fault_set(f, ERR_SYSTEM, "no way to the key holder: %s",
		    strerror(errno));
	return (NULL);
}

void
served_adopt(struct supervisor *p, struct child child, int channel,
    struct relics relics, int errors, bool in_charge)
{
	struct served *v = served_alloc(p);

	v->child = child;
	v->channel = channel;
	v->ready = true;
	v->conf = in_charge ? conf_ref(p->edition->conf) : NULL;
	watch(v);
	remains_adopt(v, relics, errors);
	if (in_charge && p->served == NULL)
		p->served = v;
	else
		retire(p, v, p->edition->conf->limits.drain_ms);
}

void
served_free(struct supervisor *p)
{
	struct served *v;
	int how;

	timer_stop(&p->again);
	supervisor_drop_coming(p);
	while ((v = p->served != NULL ? p->served : p->ending) != NULL) {
		if (v == p->served)
			p->served = NULL;
		else
			p->ending = v->next;
		watch_free(&v->says);
		if (v->channel >= 0)
			(void)close(v->channel); /* it ends by that */
		v->channel = -1;
		if (v->child.pid != 0)
			(void)child_reap(&v->child, &how, END_MS);
		served_unref(&v);
	}
}
