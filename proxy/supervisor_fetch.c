/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The supervisor's processes that fetch, see supervisor_priv.h.  One is asked:
 * that of the edition in force, by the serving process that runs.  Those before
 * it end by themselves, when they have answered and their socket closes.
 */
#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/list.h"
#include "fetch/fetcher.h"
#include "proxy/audit/log.h"
#include "proxy/supervisor_priv.h"

#define END_MS 1000 /* so long one may take to end */

struct fetcher {
	struct fetcher *next;
	struct supervisor *of;
	struct child child;
	struct watch *ended; /* owned */
	uint64_t born_at;
};

/* What it may reach, of the configuration. */

static bool
is_wanted(const struct supervisor *p)
{
	return (p->edition->conf->tls.origin.fetch_issuers == CONF_TRUE ||
	    p->edition->conf->tls.origin.revocation != REVOCATION_OFF);
}

static struct fetcher_ports *
ports_of(const struct policy_spans *s)
{
	struct fetcher_ports *v = calloc(s->n + 1, sizeof(*v));
	unsigned i;

	if (v == NULL)
		abort();
	for (i = 0; i < s->n; i++)
		v[i] = (struct fetcher_ports){ s->v[i].lo, s->v[i].hi };
	return (v);
}

static struct sockaddr_storage *
self_of(const struct listen_set *l)
{
	struct sockaddr_storage *v = calloc(l->n + 1, sizeof(*v));
	unsigned i;

	if (v == NULL)
		abort();
	for (i = 0; i < l->n; i++)
		memcpy(&v[i], &l->addr[i], sizeof(l->addr[i]));
	return (v);
}

/* One file; of several, or beside the system's, libcurl takes none. */
static const char *
roots_of(const struct conf_trust *t)
{
	return (!t->system && t->files.n == 1 ? t->files.v[0] : NULL);
}

static bool
spawn(struct supervisor *p, struct child *c, int *fd, struct fault *f)
{
	const struct conf *conf = p->edition->conf;
	struct fetcher_ports *ports = ports_of(&conf->destinations.ports.http);
	struct sockaddr_storage *self = self_of(&p->edition->listeners);
	const struct conf_resolver *names = &conf->resolver;
	struct buf servers = { 0 };
	char one[ADDRESS_TEXT];
	struct fetcher_rules r = { .deny = &conf->destinations.deny,
		.allow = &conf->destinations.allow,
		.self = self,
		.n_self = p->edition->listeners.n,
		.ports = ports,
		.n_ports = conf->destinations.ports.http.n,
		.roots = roots_of(&conf->tls.origin.trust),
		.env = p->env };
	unsigned i;
	bool ok;

	for (i = 0; i < names->servers.n; i++) {
		address_text(&names->servers.v[i].sa, one);
		buf_printf(&servers, "%s%s", i > 0 ? "," : "", one);
	}
	r.servers = servers.p;
	if (names->hosts != NULL && access(names->hosts, F_OK) == 0)
		r.hosts = names->hosts;
	ok = fetcher_start(&r, -1, c, fd, f);
	buf_fini(&servers);
	free(ports);
	free(self);
	return (ok);
}

/* One that ends. */

static void
fetcher_free(struct fetcher *h)
{
	struct fetcher **at;

	for (at = &h->of->fetchers; *at != h; at = &(*at)->next)
		assert(*at != NULL);
	*at = h->next;
	if (h->of->fetcher == h)
		h->of->fetcher = NULL;
	watch_free(&h->ended);
	child_end(&h->child);
	free(h);
}

/* The one that is asked has died: another one, later each time. */
static void
follow(struct supervisor *p, uint64_t life)
{
	uint64_t wait = respawn_after(&p->fetch_respawn, loop_now(p->loop),
	    life);

	if (wait == RESPAWN_NEVER)
		log_line(LEVEL_ERROR, "fetch",
		    "it died %u times in a row: given up until the next reload",
		    RESPAWN_DEATHS);
	else
		timer_set(&p->fetch_again, wait > 0 ? wait : 1);
}

static void
on_ended(void *arg, unsigned events)
{
	static struct log_limit limit;
	struct fetcher *h = arg;
	struct supervisor *p = h->of;
	bool current = p->fetcher == h;
	uint64_t life = loop_now(p->loop) - h->born_at;
	pid_t pid = h->child.pid;
	char fate[96];
	int how;

	(void)events;
	if (!child_reap(&h->child, &how, 0))
		return;
	fetcher_free(h);
	if (how == 0 && (!current || p->phase >= PHASE_DRAINS))
		return; /* nobody asks it any more */
	child_fate(how, fate, sizeof(fate));
	figure_add(p->figures, FIGURE_FETCH_DIED, 1);
	(void)log_limited(&limit, LEVEL_ERROR, "fetch", "process %ld %s",
	    (long)pid, fate);
	if (current && p->phase == PHASE_SERVES)
		follow(p, life);
}

static void
start(struct supervisor *p)
{
	struct fetcher *h = calloc(1, sizeof(*h));
	struct fault f = { ERR_NONE, "" };
	int fd = -1;

	if (h == NULL)
		abort();
	h->of = p;
	h->next = p->fetchers;
	p->fetchers = h;
	h->born_at = loop_now(p->loop);
	if (!spawn(p, &h->child, &fd, &f)) {
		log_line(LEVEL_ERROR, "fetch", "%s", f.detail);
		fetcher_free(h);
		if (f.code != ERR_CONFIG) /* that stays so */
			follow(p, 0);
		return;
	}
	h->ended = watch_new(p->loop, h->child.pidfd, on_ended, h);
	watch_set(h->ended, WATCH_READ);
	figure_add(p->figures, FIGURE_FETCH_STARTED, 1);
	p->fetcher = h;
	served_fetcher(p, fd);
	(void)close(fd);
}

static void
on_again(struct timer *t)
{
	start(CONTAINER_OF(t, struct supervisor, fetch_again));
}

void
fetching_init(struct supervisor *p)
{
	timer_init(&p->fetch_again, p->loop, on_again);
}

void
fetching_leave(struct supervisor *p)
{
	timer_stop(&p->fetch_again);
	p->fetcher = NULL;
}

void
fetching_start(struct supervisor *p)
{
	fetching_leave(p);
	p->fetch_respawn = (struct respawn){ 0 };
	if (is_wanted(p) && p->served != NULL && p->served->ready)
		start(p);
}

void
fetching_stuck(struct supervisor *p, const char *why)
{
	if (p->fetcher == NULL)
		return; /* it is known to be gone */
	log_line(LEVEL_ERROR, "fetch", "process %ld: %s; it is ended",
	    (long)p->fetcher->child.pid, why);
	(void)child_signal(&p->fetcher->child, SIGKILL);
}

void
fetching_kill(struct supervisor *p)
{
	fetching_leave(p);
	while (p->fetchers != NULL)
		fetcher_free(p->fetchers);
}

void
fetching_free(struct supervisor *p)
{
	struct fetcher *h;
	int how;

	timer_stop(&p->fetch_again);
	while ((h = p->fetchers) != NULL) {
		(void)child_reap(&h->child, &how, END_MS);
		fetcher_free(h);
	}
}
