/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The supervisor's serving process, see supervisor_priv.h. */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/list.h"
#include "proxy/audit/log.h"
#include "proxy/serve.h"
#include "proxy/supervisor_priv.h"

#define CLOSE_MS 5000 /* a longer wait is one without listening sockets */
#define START_MS 1000 /* before another try to start one */
#define END_MS 2000   /* so long one may take to end that is stuck */

/* Saying. */

static bool
say(const struct supervisor *p, enum message_kind kind, uint32_t number,
    uint32_t index, int fd)
{
	struct message m = { .kind = kind, .number = number, .index = index };

	return (message_send(p->served.channel, &m, fd));
}

static bool
say_listeners(const struct supervisor *p)
{
	const struct listen_set *l = &p->listeners;
	unsigned i;

	for (i = 0; i < p->workers * l->n; i++)
		if (!say(p, MESSAGE_LISTENER, i / l->n, l->of[i % l->n],
			l->fd[i]))
			return (false);
	return (p->admin < 0 || say(p, MESSAGE_ADMIN, 0, 0, p->admin));
}

static bool
say_user(const struct supervisor *p)
{
	struct message m = { .kind = MESSAGE_USER };

	if (p->user == NULL)
		return (true);
	m.number = p->user->uid;
	m.index = p->user->gid;
	(void)snprintf(m.text, sizeof(m.text), "%s", p->user->name);
	return (message_send(p->served.channel, &m, -1));
}

static bool
say_logs(const struct supervisor *p, const struct edition *edition)
{
	unsigned i;

	for (i = 0; i < edition->conf->log.access.n; i++)
		if (!say(p, MESSAGE_LOG, 0, i, edition->logs[i]))
			return (false);
	return (true);
}

/* fd is closed. */
static bool
say_keys(const struct supervisor *p, enum message_kind kind,
    const struct signer *s, bool made, int fd)
{
	struct message m = { .kind = kind,
		.number = s->number,
		.index = made,
		.pid = s->keys.child.pid };
	bool ok = message_send(p->served.channel, &m, fd);

	(void)close(fd);
	return (ok);
}

bool
served_setup(struct supervisor *p, struct edition *edition,
    const struct signer *s, int client)
{
	struct message m = { .kind = MESSAGE_SETUP,
		.number = edition->number,
		.index = p->workers,
		.pid = getpid() };
	bool made = edition->ca_made;

	edition->ca_made = false; /* news once */
	return (say_keys(p, MESSAGE_KEYS, s, made, client) &&
	    say_logs(p, edition) &&
	    message_send(p->served.channel, &m, edition->setup));
}

void
served_new_keys(struct supervisor *p, const struct signer *s)
{
	struct fault f = { ERR_NONE, "" };
	int client;

	if (p->served.awaits_keys && p->edition->signer == s->number) {
		if (!served_start(p, &f))
			log_line(LEVEL_ERROR, "serve", "%s", f.detail);
	} else if (p->served.channel >= 0 && (client = signer_client(s)) >= 0)
		(void)say_keys(p, MESSAGE_NEW_KEYS, s, false, client);
}

void
served_reopen(struct supervisor *p)
{
	if (p->served.channel >= 0 &&
	    say(p, MESSAGE_REOPEN, 0, (uint32_t)p->edition->conf->log.access.n,
		-1))
		(void)say_logs(p, p->edition);
}

void
served_drain(struct supervisor *p, uint64_t ms)
{
	struct message m = { .kind = MESSAGE_DRAIN,
		.number = ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX };

	if (p->served.channel >= 0)
		(void)message_send(p->served.channel, &m, -1);
}

/* Hearing. */

static void
unwatch(struct served *v)
{
	watch_free(&v->ended);
	watch_free(&v->says);
	if (v->channel >= 0)
		(void)close(v->channel);
	v->channel = -1;
}

/* It broke the rules, or hangs: it gets no second chance. */
static void
kill_it(struct supervisor *p, const char *why)
{
	log_line(LEVEL_ERROR, "serve", "process %ld %s, and is ended",
	    (long)p->served.child.pid, why);
	(void)child_signal(&p->served.child, SIGKILL);
	watch_free(&p->served.says);
}

static void
on_ready(struct supervisor *p, const struct message *m)
{
	struct served *v = &p->served;

	if (v->ready) {
		if (p->next != NULL && m->number == p->next->number)
			supervisor_reloaded(p, true);
		return;
	}
	v->ready = true;
	if (p->phase == PHASE_STARTS)
		supervisor_ready(p);
	else if (v->died_at != 0)
		log_line(LEVEL_NOTICE, "serve",
		    "process %ld serves, %llu ms after the one before ended",
		    (long)v->child.pid,
		    (unsigned long long)(loop_now(p->loop) - v->died_at));
	supervisor_reload_waiting(p);
}

static void
heard(struct supervisor *p, const struct message *m)
{
	if (m->kind == MESSAGE_READY)
		on_ready(p, m);
	else if (m->kind == MESSAGE_REFUSED) {
		if (p->next != NULL && m->number == p->next->number)
			supervisor_reloaded(p, false);
	} else if (m->kind == MESSAGE_WANT_KEYS)
		signer_want(p, m->number, m->text);
}

static void
on_says(void *arg, unsigned events)
{
	struct supervisor *p = arg;
	enum channel_end r = CHANNEL_DONE;
	struct message m;
	int fd;

	(void)events;
	while (p->served.says != NULL && r == CHANNEL_DONE) {
		r = message_receive(p->served.channel, MESSAGE_SERVE, &m, &fd,
		    0);
		if (r == CHANNEL_DONE)
			heard(p, &m);
	}
	if (r == CHANNEL_BROKEN)
		kill_it(p, "broke its protocol");
	else if (r == CHANNEL_CLOSED) /* its end is seen by on_ended() */
		watch_free(&p->served.says);
}

/* Ending. */

/*
 * What a start takes may be short for a moment (processes, descriptors): that is
 * waited for as for one that keeps dying.
 */
static void
not_started(struct supervisor *p, const struct fault *f)
{
	uint64_t wait = respawn_after(&p->served.respawn, loop_now(p->loop), 0);

	log_line(LEVEL_ERROR, "serve", "cannot be started: %s", f->detail);
	if (wait == RESPAWN_NEVER) {
		supervisor_end(p, EXIT_CRASHES);
		return;
	}
	timer_set(&p->served.again, wait > START_MS ? wait : START_MS);
}

static void
again(struct supervisor *p)
{
	struct fault f = { ERR_NONE, "" };

	if ((!listen_is_open(&p->listeners) &&
		!listen_again(&p->listeners, p->workers, &f)) ||
	    !served_start(p, &f))
		not_started(p, &f);
}

static void
on_again(struct timer *t)
{
	again(CONTAINER_OF(t, struct supervisor, served.again));
}

/* How long until its successor is started; it has just died. */
static void
follow(struct supervisor *p, uint64_t life)
{
	uint64_t wait = respawn_after(&p->served.respawn, loop_now(p->loop),
	    life);

	if (wait == RESPAWN_NEVER) {
		log_line(LEVEL_ERROR, "serve",
		    "it died %u times in a row: given up", RESPAWN_DEATHS);
		supervisor_end(p, EXIT_CRASHES);
		return;
	}
	if (wait == 0) {
		again(p);
		return;
	}
	log_line(LEVEL_ERROR, "serve", "it keeps dying: waiting %llu s%s",
	    (unsigned long long)(wait / 1000),
	    wait > CLOSE_MS ? ", nobody can connect" : "");
	if (wait > CLOSE_MS) /* others can take what would wait in vain */
		listen_close(&p->listeners, p->workers);
	timer_set(&p->served.again, wait);
}

static void
ended(struct supervisor *p, int how, pid_t pid, bool was_ready)
{
	uint64_t life = loop_now(p->loop) - p->served.born_at;
	char fate[96];

	if (p->phase >= PHASE_DRAINS) {
		child_fate(how, fate, sizeof(fate));
		if (how != 0) {
			log_line(LEVEL_ERROR, "serve", "process %ld %s",
			    (long)pid, fate);
			aftermath_died(p, pid, fate);
		}
		supervisor_end(p, how == 0 ? EXIT_OK : EXIT_PROBLEM);
		return;
	}
	/* It has said what is wrong, and that does not go away by itself. */
	if (!was_ready && WIFEXITED(how) &&
	    WEXITSTATUS(how) == SERVE_EXIT_PROBLEM) {
		supervisor_end(p, EXIT_PROBLEM);
		return;
	}
	child_fate(how, fate, sizeof(fate));
	aftermath_died(p, pid, fate);
	supervisor_reload_lost(p, "the serving process has died");
	follow(p, life);
}

static void
on_ended(void *arg, unsigned events)
{
	struct supervisor *p = arg;
	struct served *v = &p->served;
	pid_t pid = v->child.pid;
	bool was_ready = v->ready;
	int how;

	(void)events;
	if (!child_reap(&v->child, &how, 0))
		return;
	unwatch(v);
	v->ready = false;
	v->died_at = loop_now(p->loop);
	ended(p, how, pid, was_ready);
}

/* Beginning. */

static bool
spawn(struct supervisor *p, struct fault *f)
{
	struct spawn s = { .role = SERVE_ROLE,
		.env = p->env,
		.n_fds = SERVE_FDS,
		.keep_output = true,
		.errors = -1 };
	struct served *v = &p->served;
	int pair[2];
	bool ok;

	if (!channel_pair(pair)) {
		fault_set(f, ERR_SYSTEM, "%s: %s", SERVE_ROLE, strerror(errno));
		return (false);
	}
	s.fd[SERVE_CHANNEL - SPAWN_FD] = pair[1];
	ok = aftermath_begin(p, &s, f);
	if (ok) {
		ok = spawn_start(&s, &v->child, f);
		aftermath_started(p, ok);
	}
	(void)close(pair[1]);
	v->channel = pair[0];
	if (ok)
		return (true);
	(void)close(pair[0]);
	v->channel = -1;
	return (false);
}

void
served_init(struct supervisor *p)
{
	p->served.child = CHILD_NONE;
	p->served.channel = -1;
	timer_init(&p->served.again, p->loop, on_again);
}

bool
served_start(struct supervisor *p, struct fault *f)
{
	const struct signer *s = signer_find(p, p->edition->signer);
	struct served *v = &p->served;
	int client = s != NULL ? signer_client(s) : -1;

	assert(v->child.pid == 0);
	if (client < 0 && s != NULL && s->state == SIGNER_SIGNS &&
	    errno != EPIPE) { /* it is there, and no news will come of it */
		fault_set(f, ERR_SYSTEM, "no way to the key holder: %s",
		    strerror(errno));
		return (false);
	}
	v->awaits_keys = client < 0;
	if (v->awaits_keys)
		return (true);
	if (!spawn(p, f)) {
		(void)close(client);
		return (false);
	}
	v->born_at = loop_now(p->loop);
	v->ended = watch_new(p->loop, v->child.pidfd, on_ended, p);
	v->says = watch_new(p->loop, v->channel, on_says, p);
	watch_set(v->ended, WATCH_READ);
	watch_set(v->says, WATCH_READ);
	/* One that is dead by now is seen by its end. */
	if (say_user(p) && say_listeners(p) && aftermath_hand_over(p))
		(void)served_setup(p, p->edition, s, client);
	else
		(void)close(client);
	return (true);
}

void
served_free(struct supervisor *p)
{
	struct served *v = &p->served;
	int how;

	timer_stop(&v->again);
	unwatch(v);
	if (v->child.pid != 0 && !child_reap(&v->child, &how, END_MS))
		child_end(&v->child);
}
