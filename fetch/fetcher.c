/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process that fetches, see fetcher.h.  A getting is a question under way:
 *
 *	WAITING -> NAMING -> MOVING -> OVER
 *	   ^         |          |
 *	   +---------+----------+	a redirection: another host, all anew
 *
 * It waits while too many are under way, of all, of its kind, or with its
 * host.  Its deadline runs from the question on, whatever it does; late because
 * it waited, it is FETCH_BUSY.  OVER, it is a result that is not sent yet.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/channel.h"
#include "base/list.h"
#include "base/sandbox.h"
#include "base/sealed.h"
#include "fetch/hop_priv.h"
#include "net/resolve.h"

#define ADDRESSES_MOST 4 /* tried for one host */
#define READ_MOST 32     /* messages a turn */
#define NAME_MS 5000
#define OWN_USER "assay-fetch" /* where it is started by root */

enum phase { WAITING, NAMING, MOVING, OVER };

struct getting {
	struct list all; /* in the order of their questions */
	struct fetcher *fetcher;
	enum phase phase;
	struct wire_ask ask;
	struct wire_say say; /* OVER */
	struct hop_url url;  /* of this hop */
	unsigned redirects;
	struct task task;
	struct timer deadline;
	uint64_t due;
	uint64_t since, waited; /* WAITING: since when, and all before */
	struct resolve_query names;
	union address to[ADDRESSES_MOST]; /* allowed ones of this host */
	unsigned n_to, at;
	struct hop hop;
	int fd; /* owned; -1: none yet */
};

struct fetcher {
	struct loop *loop;
	struct watch *watch;
	struct rules rules;
	struct resolver *resolver;
	struct hops *hops;
	struct list all;
	unsigned n;
	uint64_t held; /* octets in the files of all */
	struct task send;
	int code; /* of the exit */
};

/* Ends. */

static void
set_phase(struct getting *g, enum phase p)
{
	assert(g->phase != OVER);
	assert(p == WAITING || p == OVER || p == g->phase + 1u);
	if (g->phase == WAITING)
		g->waited += loop_now(g->fetcher->loop) - g->since;
	g->since = loop_now(g->fetcher->loop);
	g->phase = p;
}

static void
drop_file(struct getting *g)
{
	if (g->fd < 0)
		return;
	assert(g->fetcher->held >= g->hop.size);
	g->fetcher->held -= g->hop.size;
	g->hop.size = 0;
	close(g->fd);
	g->fd = -1;
}

/* OVER and late: had its server less than half of the time? */
static bool
waited_mostly(const struct getting *g)
{
	return (g->waited > g->ask.deadline_ms / 2);
}

static void
end(struct getting *g, enum fetch_outcome o, const char *why)
{
	const struct hop *h = &g->hop;

	set_phase(g, OVER);
	if (o == FETCH_LATE && waited_mostly(g))
		o = FETCH_BUSY;
	resolve_cancel(&g->names);
	hop_cancel(&g->hop);
	timer_stop(&g->deadline);
	if (o == FETCH_DONE && !sealed_end(g->fd)) {
		o = FETCH_BUSY;
		why = "its memory cannot be sealed";
	}
	g->say = (struct wire_say){ .op = WIRE_RESULT,
		.id = g->ask.id,
		.outcome = o,
		.status = h->status,
		.fresh_s = -1 };
	if (o == FETCH_DONE || o == FETCH_SAME) {
		g->say.size = o == FETCH_DONE ? h->size : 0;
		g->say.fresh_s = h->fresh_s;
		g->say.modified = h->modified;
		memcpy(g->say.etag, h->etag, sizeof(g->say.etag));
	}
	wire_text(g->say.why, sizeof(g->say.why), why);
	if (o != FETCH_DONE)
		drop_file(g);
	task_wake(&g->fetcher->send);
}

static void
getting_free(struct getting *g)
{
	struct fetcher *f = g->fetcher;

	if (g->phase != OVER) {
		resolve_cancel(&g->names);
		hop_cancel(&g->hop);
	}
	timer_stop(&g->deadline);
	task_fini(&g->task);
	drop_file(g);
	list_remove(&g->all);
	assert(f->n > 0);
	f->n--;
	free(g);
}

/* False: it is not sent, and stays. */
static bool
send_result(struct getting *g)
{
	switch (channel_send(SPAWN_FD, &g->say, sizeof(g->say), &g->fd,
	    g->say.outcome == FETCH_DONE, 0)) {
	case CHANNEL_DONE:
		getting_free(g);
		return (true);
	case CHANNEL_LATE:
		return (false);
	case CHANNEL_CLOSED:
	case CHANNEL_BROKEN:
		loop_stop(g->fetcher->loop);
		return (false);
	}
	return (false);
}

static void start_waiting(struct fetcher *);

static void
send_results(struct task *t)
{
	struct fetcher *f = CONTAINER_OF(t, struct fetcher, send);
	struct list *at, *save;
	struct getting *g;
	bool room = true;

	LIST_EACH (at, save, &f->all) {
		g = CONTAINER_OF(at, struct getting, all);
		if (room && g->phase == OVER)
			room = send_result(g);
	}
	watch_set(f->watch, WATCH_READ | (room ? 0u : WATCH_WRITE));
	start_waiting(f);
}

/* Hops. */

static void
move(struct getting *g)
{
	uint64_t now = loop_now(g->fetcher->loop);
	struct hop *h = &g->hop;

	if (g->fd < 0 && (g->fd = sealed_begin("fetched")) < 0) {
		end(g, FETCH_BUSY, "no memory");
		return;
	}
	h->wake = &g->task;
	h->url = &g->url;
	h->address = g->to[g->at++];
	h->ask = &g->ask;
	h->timeout_ms = g->due > now ? (unsigned)(g->due - now) : 1;
	h->fd = g->fd;
	h->held = &g->fetcher->held;
	hop_start(g->fetcher->hops, h);
}

static void
take_address(struct getting *g, union address a, struct fault *f)
{
	address_set_port(&a, g->url.port);
	if (rules_judge(&g->fetcher->rules, &a.sa, f) == ERR_NONE &&
	    g->n_to < ADDRESSES_MOST)
		g->to[g->n_to++] = a;
}

/* Names are known: which addresses may it go to?  Families by turns. */
static void
named(struct getting *g)
{
	const struct resolve_query *q = &g->names;
	struct fault denied = { 0 };
	unsigned i;

	g->n_to = g->at = 0;
	for (i = 0; i < q->n_v6 || i < q->n_v4; i++) {
		if (i < q->n_v6)
			take_address(g, q->v6[i], &denied);
		if (i < q->n_v4)
			take_address(g, q->v4[i], &denied);
	}
	if (q->n_v6 + q->n_v4 == 0) {
		end(g, FETCH_NAME, q->fault.detail);
		return;
	}
	if (g->n_to == 0) {
		end(g, FETCH_DENIED, denied.detail);
		return;
	}
	set_phase(g, MOVING);
	move(g);
}

static void
redirected(struct getting *g)
{
	struct hop_url to;

	/* RFC 9110 15.4: a question with content is not asked elsewhere */
	if (g->ask.body_n > 0 || ++g->redirects > FETCHER_REDIRECTS ||
	    !hop_url_read(g->hop.location, &g->url, &to) ||
	    (g->url.tls && !to.tls)) {
		end(g, FETCH_REDIRECT, g->hop.location);
		return;
	}
	g->url = to;
	set_phase(g, WAITING);
	start_waiting(g->fetcher);
}

/* This address did not work, another may, in the time that is left. */
static bool
unreached(const struct getting *g)
{
	return (g->hop.outcome == FETCH_CONNECT ||
	    (g->hop.outcome == FETCH_LATE && g->hop.status == 0 &&
		loop_now(g->fetcher->loop) < g->due));
}

static void
moved(struct getting *g)
{
	const struct hop *h = &g->hop;

	if (h->outcome == FETCH_REDIRECT)
		redirected(g);
	else if (unreached(g) && g->at < g->n_to)
		move(g); /* its next address */
	else
		end(g, h->outcome, h->why);
}

static void
run(struct task *t)
{
	struct getting *g = CONTAINER_OF(t, struct getting, task);

	if (g->phase == NAMING && g->names.done)
		named(g);
	else if (g->phase == MOVING && g->hop.over)
		moved(g);
}

static void
name(struct getting *g)
{
	set_phase(g, NAMING);
	resolve_start(g->fetcher->resolver, &g->names, str_of(g->url.host),
	    NULL, &g->task);
}

static bool
goes_first(const struct getting *g)
{
	return (wire_kinds[g->ask.kind].first);
}

/* How many are under way, of its kind, and with its host? */
static bool
may_start(const struct getting *g)
{
	const struct fetcher *f = g->fetcher;
	unsigned all = 0, kind = 0, same = 0;
	const struct getting *o;
	const struct list *at;

	for (at = f->all.next; at != &f->all; at = at->next) {
		o = CONTAINER_OF(at, struct getting, all);
		if (o->phase != NAMING && o->phase != MOVING)
			continue;
		all++;
		kind += o->ask.kind == g->ask.kind;
		same += goes_first(o) == goes_first(g) &&
		    strcmp(o->url.host, g->url.host) == 0;
	}
	return (all < FETCHER_AT_ONCE && same < FETCHER_OF_HOST &&
	    kind < wire_share(g->ask.kind, FETCHER_AT_ONCE));
}

static void
start_those(struct fetcher *f, bool first)
{
	struct list *at, *save;
	struct getting *g;

	LIST_EACH (at, save, &f->all) {
		g = CONTAINER_OF(at, struct getting, all);
		if (g->phase == WAITING && goes_first(g) == first &&
		    may_start(g))
			name(g);
	}
}

static void
start_waiting(struct fetcher *f)
{
	start_those(f, true);
	start_those(f, false);
}

static void
on_deadline(struct timer *t)
{
	end(CONTAINER_OF(t, struct getting, deadline), FETCH_LATE, "");
}

/* Questions. */

static struct getting *
getting_of(struct fetcher *f, uint32_t id)
{
	struct getting *g;
	struct list *at;

	for (at = f->all.next; at != &f->all; at = at->next) {
		g = CONTAINER_OF(at, struct getting, all);
		if (g->ask.id == id)
			return (g);
	}
	return (NULL);
}

static void
start(struct fetcher *f, const struct wire_ask *a)
{
	struct getting *g = calloc(1, sizeof(*g));

	if (g == NULL)
		abort();
	g->fetcher = f;
	g->ask = *a;
	g->fd = -1;
	g->since = loop_now(f->loop);
	g->due = g->since + a->deadline_ms;
	list_append(&f->all, &g->all);
	f->n++;
	task_init(&g->task, f->loop, run);
	timer_init(&g->deadline, f->loop, on_deadline);
	timer_set(&g->deadline, a->deadline_ms);
	if (!hop_url_read(a->url, NULL, &g->url))
		end(g, FETCH_URL, "");
	else
		start_waiting(f);
}

/* False: whoever asks is not the client that we know. */
static bool
take(struct fetcher *f, const struct wire_ask *a)
{
	struct getting *g;

	if (!wire_ask_ok(a))
		return (false);
	g = getting_of(f, a->id);
	if (a->op == WIRE_START) {
		if (g != NULL || f->n >= FETCH_MOST)
			return (false);
		start(f, a);
	} else if (g != NULL && g->phase != OVER)
		end(g, FETCH_CANCELLED, "");
	return (true);
}

/* False: no more now. */
static bool
hear(struct fetcher *f)
{
	int fds[CHANNEL_FDS];
	unsigned n_fds;
	struct wire_ask a;
	enum channel_end e;

	e = channel_recv(SPAWN_FD, &a, sizeof(a), fds, &n_fds, 0);
	if (e == CHANNEL_LATE)
		return (false);
	if (e == CHANNEL_DONE && n_fds == 0 && take(f, &a))
		return (true);
	if (e == CHANNEL_DONE)
		channel_close(fds, n_fds);
	if (e != CHANNEL_CLOSED) {
		fprintf(stderr, "not a question\n");
		f->code = 1;
	}
	loop_stop(f->loop);
	return (false);
}

static void
on_channel(void *arg, unsigned events)
{
	struct fetcher *f = arg;
	unsigned n = 0;

	if ((events & WATCH_WRITE) != 0)
		task_wake(&f->send);
	while (n++ < READ_MOST && hear(f))
		;
}

/* The process. */

static const struct sandbox_limit limits[] = { { RLIMIT_NOFILE, 1024 },
	{ RLIMIT_CORE, 0 }, { RLIMIT_FSIZE, FETCHER_BYTES },
	{ RLIMIT_NPROC, 0 } };

static const struct sandbox_path paths[] = { { "/etc/ssl", SANDBOX_READ },
	{ "/etc/pki", SANDBOX_READ }, { "/etc/ca-certificates", SANDBOX_READ },
	{ "/usr/share/ca-certificates", SANDBOX_READ },
	{ "/usr/local/share/ca-certificates", SANDBOX_READ } };

#define PATHS (sizeof(paths) / sizeof(paths[0]))

static const char *
text_or_null(const char *p)
{
	return (p[0] != '\0' ? p : NULL);
}

static const struct sandbox_user *
own_user(struct sandbox_user *u)
{
	if (geteuid() != 0)
		return (NULL);
	if (!sandbox_user_find(OWN_USER, u) && !sandbox_user_find("nobody", u))
		*u = (struct sandbox_user){ .uid = 65534,
			.gid = 65534,
			.name = "65534" };
	return (u);
}

/* Files that were named are read before, or may be read after. */
static bool
confine(const struct rules_wire *w, struct sandbox_report *r, struct fault *f)
{
	struct sandbox_path may[PATHS + 2];
	struct sandbox_user user;
	struct sandbox s = { .box = BOX_FETCH,
		.mode = sandbox_mode(),
		.user = own_user(&user),
		.limits = limits,
		.n_limits = sizeof(limits) / sizeof(limits[0]),
		.paths = may,
		.n_paths = PATHS };
	const char *more[] = { hops_system_roots(), text_or_null(w->roots) };
	unsigned i;

	memcpy(may, paths, sizeof(paths));
	for (i = 0; i < 2; i++)
		if (more[i] != NULL)
			may[s.n_paths++] = (struct sandbox_path){ more[i],
				SANDBOX_READ };
	return (sandbox_drop(&s, r, f) && sandbox_close(&s, r, f));
}

static bool
prepare(struct fetcher *f, struct fault *fault)
{
	const struct rules_wire *w = f->rules.wire;
	struct resolver_options o = { .servers = text_or_null(w->servers),
		.deadline_ms = NAME_MS,
		.max_names = 256 };

	o.hosts = hosts_load(text_or_null(w->hosts), fault);
	if (o.hosts == NULL)
		return (false);
	f->loop = loop_new();
	f->resolver = resolver_new(f->loop, &o, fault);
	hosts_unref(&o.hosts);
	if (f->resolver == NULL)
		return (false);
	f->hops = hops_new(f->loop, &f->rules, text_or_null(w->roots));
	list_init(&f->all);
	task_init(&f->send, f->loop, send_results);
	return (true);
}

static void
finish(struct fetcher *f)
{
	watch_free(&f->watch);
	while (!list_empty(&f->all))
		getting_free(CONTAINER_OF(f->all.next, struct getting, all));
	task_fini(&f->send);
	hops_free(&f->hops);
	resolver_free(&f->resolver);
	rules_fini(&f->rules);
	loop_settle(f->loop);
	loop_free(&f->loop);
}

int
fetcher_main(int argc, char **argv)
{
	static struct fetcher f;
	struct wire_say hello = { .op = WIRE_WORKS };
	struct fault fault = { 0 };

	spawn_born(argc, argv);
	if (!channel_is(SPAWN_FD, CHANNEL_PAIR) ||
	    !rules_read(SPAWN_FD + 1, &f.rules)) {
		fprintf(stderr, "started without its rules\n");
		return (1);
	}
	close(SPAWN_FD + 1);
	if (!prepare(&f, &fault) ||
	    !confine(f.rules.wire, &hello.report, &fault)) {
		fprintf(stderr, "%s\n", fault.detail);
		return (1);
	}
	f.watch = watch_new(f.loop, SPAWN_FD, on_channel, &f);
	watch_set(f.watch, WATCH_READ);
	if (channel_send(SPAWN_FD, &hello, sizeof(hello), NULL, 0, 0) ==
	    CHANNEL_DONE)
		loop_run(f.loop);
	finish(&f);
	_exit(f.code); /* checks at the exit need rights that it gave up */
}

/* Here it is started. */

bool
fetcher_start(const struct fetcher_rules *r, int errors, struct child *c,
    int *fd, struct fault *f)
{
	struct spawn s = { .role = FETCHER_ROLE,
		.env = r->env,
		.n_fds = 2,
		.errors = errors };
	struct rules_wire *w = calloc(1, sizeof(*w));
	int pair[2], memory = -1;
	bool ok;

	if (w == NULL)
		abort();
	*c = CHILD_NONE;
	if ((ok = rules_write(r, w, f)) &&
	    (memory = sealed_new("rules", w, sizeof(*w))) < 0)
		ok = fault_set(f, ERR_SYSTEM, "%s: memory", FETCHER_ROLE) ==
		    ERR_NONE;
	free(w);
	if (ok && !channel_pair(pair))
		ok = fault_set(f, ERR_SYSTEM, "%s: socket", FETCHER_ROLE) ==
		    ERR_NONE;
	else if (ok) {
		s.fd[0] = pair[1];
		s.fd[1] = memory;
		ok = spawn_start(&s, c, f);
		close(pair[1]);
		*fd = pair[0];
		if (!ok)
			close(pair[0]);
	}
	if (memory >= 0)
		close(memory);
	return (ok);
}
