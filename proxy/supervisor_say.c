/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the supervisor says to serving processes, see supervisor_priv.h. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/handed.h"
#include "proxy/audit/log.h"
#include "proxy/logs.h"
#include "proxy/named.h"
#include "proxy/supervisor_priv.h"

struct saying {
	const struct served *to;
	bool ok;
};

/*
 * It is waited for once: who has not read for so long would have us wait again,
 * and all others with us.
 */
static bool
tell(const struct served *v, const struct message *m, int fd)
{
	if (v->channel < 0)
		return (false);
	if (message_send(v->channel, m, fd))
		return (true);
	if (errno == EAGAIN) {
		log_line(LEVEL_ERROR, "serve",
		    "process %ld does not hear, and is ended",
		    (long)v->child.pid);
		(void)child_signal(&v->child, SIGKILL);
		(void)shutdown(v->channel, SHUT_WR); /* it is not asked again */
	}
	return (false);
}

static bool
say(const struct served *v, enum message_kind kind, uint32_t number,
    uint32_t index, int fd)
{
	struct message m = { .kind = kind, .number = number, .index = index };

	return (tell(v, &m, fd));
}

/* There may be more sockets than workers: each has some, and none is left. */
static bool
say_listeners(const struct served *v, const struct edition *e)
{
	const struct listen_set *l = &e->listeners;
	unsigned i;

	for (i = 0; i < l->copies * l->n; i++)
		if (!say(v, MESSAGE_LISTENER, i / l->n % e->workers,
			l->of[i % l->n], l->fd[i]))
			return (false);
	return (e->admin < 0 || say(v, MESSAGE_ADMIN, 0, 0, e->admin));
}

static bool
say_user(const struct served *v)
{
	const struct sandbox_user *u = v->of->user;
	struct message m = { .kind = MESSAGE_USER };

	if (u == NULL)
		return (true);
	m.number = u->uid;
	m.index = u->gid;
	(void)snprintf(m.text, sizeof(m.text), "%s", u->name);
	return (tell(v, &m, -1));
}

static bool
say_logs(const struct served *v, const struct edition *e)
{
	unsigned i;

	for (i = 0; i < e->conf->log.access.n; i++)
		if (!say(v, MESSAGE_LOG, 0, i, e->logs[i]))
			return (false);
	return (true);
}

/* What it cannot open, the other side will say by its name. */
static void
say_named(void *arg, unsigned index, const char *path)
{
	struct saying *s = arg;
	int fd = s->ok ? handed_open(path) : -1;

	if (fd < 0)
		return;
	s->ok = say(s->to, MESSAGE_NAMED, 0, index, fd);
	(void)close(fd);
}

static bool
say_all_named(const struct served *v, const struct edition *e)
{
	struct saying s = { v, true };

	named_each(e->conf, say_named, &s);
	return (s.ok);
}

/* fd is closed. */
static bool
say_keys(const struct served *v, enum message_kind kind, const struct signer *s,
    bool made, int fd)
{
	struct message m = { .kind = kind,
		.number = s->number,
		.index = made,
		.pid = s->keys.child.pid };
	bool ok = tell(v, &m, fd);

	(void)close(fd);
	return (ok);
}

bool
served_say_scans(struct served *v, enum message_kind kind, uint32_t number,
    unsigned service, int fd)
{
	return (say(v, kind, number, service, fd));
}

bool
served_setup(struct served *v, struct edition *e, const struct signer *s,
    int client)
{
	struct message m = { .kind = MESSAGE_SETUP,
		.number = e->number,
		.index = e->workers,
		.pid = getpid() };
	bool made = e->ca_made;

	e->ca_made = false; /* news once */
	e->asked = v;
	served_await(v, e->conf);
	return (say_keys(v, MESSAGE_KEYS, s, made, client) && say_logs(v, e) &&
	    scans_hand_over(v, e) && say_all_named(v, e) &&
	    tell(v, &m, e->setup));
}

static void
say_new_keys(const struct served *v, const struct signer *s)
{
	int client;

	if (v != NULL && v->channel >= 0 && (client = signer_client(s)) >= 0)
		(void)say_keys(v, MESSAGE_NEW_KEYS, s, false, client);
}

void
served_new_keys(struct supervisor *p, const struct signer *s)
{
	struct served *v;

	if (p->awaits_keys && p->edition->signer == s->number) {
		supervisor_serve_again(p);
		return;
	}
	say_new_keys(p->served, s);
	say_new_keys(p->coming, s);
	for (v = p->ending; v != NULL; v = v->next)
		say_new_keys(v, s);
	supervisor_keys_news(p, s);
}

static bool
say_tickets(const struct served *v)
{
	struct message m;
	bool ok;

	tickets_message(v->of, &m);
	ok = tell(v, &m, -1);
	gnutls_memset(&m, 0, sizeof(m));
	return (ok);
}

void
served_new_tickets(struct supervisor *p)
{
	struct served *v;

	if (p->served != NULL)
		(void)say_tickets(p->served);
	if (p->coming != NULL)
		(void)say_tickets(p->coming);
	for (v = p->ending; v != NULL; v = v->next)
		(void)say_tickets(v);
}

void
served_fetcher(struct supervisor *p, int fd)
{
	if (p->served != NULL)
		(void)say(p->served, MESSAGE_FETCHER, 0, 0, fd);
}

/*
 * One that ends has logs of its own configuration: they are opened by name for
 * it, so that no record goes into a file that is put away already.
 */
static void
reopen_ending(const struct served *v)
{
	struct conf_problems list = { 0 };
	const struct conf_log_tos *to;
	int *logs = NULL;
	unsigned i;

	if (v->conf == NULL)
		return;
	to = &v->conf->log.access;
	if ((logs = logs_open(to, "log.access", &list)) == NULL)
		log_line(LEVEL_ERROR, "log",
		    "process %ld, which ends, keeps its log files",
		    (long)v->child.pid);
	else if (say(v, MESSAGE_REOPEN, 0, (uint32_t)to->n, -1))
		for (i = 0; i < to->n && say(v, MESSAGE_LOG, 0, i, logs[i]);
		     i++)
			;
	logs_close(&logs, to->n);
	conf_problems_fini(&list);
}

void
served_reopen(struct supervisor *p)
{
	const struct served *v;

	if (p->served != NULL &&
	    say(p->served, MESSAGE_REOPEN, 0,
		(uint32_t)p->edition->conf->log.access.n, -1))
		(void)say_logs(p->served, p->edition);
	for (v = p->ending; v != NULL; v = v->next)
		reopen_ending(v);
}

void
served_say_drain(const struct served *v, uint64_t ms)
{
	bool another = v->of->phase == PHASE_SERVES;

	(void)say(v, MESSAGE_DRAIN, ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX,
	    another, -1);
}

void
served_hand_over(struct served *v, struct edition *e, const struct signer *s,
    int client)
{
	if (say_user(v) && say_tickets(v) && say_listeners(v, e) &&
	    aftermath_hand_over(v))
		(void)served_setup(v, e, s, client);
	else
		(void)close(client);
}
