/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Workers, see worker.h. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "proxy/client.h"
#include "net/dns.h"
#include "proxy/audit/log.h"
#include "proxy/wire/origin.h"
#include "proxy/peers.h"
#include "proxy/worker.h"
#include "tls/peer.h"
#include "tls/resume.h"

#define ACCEPT_BATCH 64		/* connections taken in one turn */
#define RESUME_MAX 4096		/* origins whose tickets are kept ... */
#define RESUME_BYTES (8u << 20)	/* ... and what these take, or less: */
#define RESUME_SHARE 32		/* this part of limits.memory, by all workers */
#define PAUSE_MS 100		/* when descriptors have run out */

struct listener {
	struct worker *worker;
	const struct conf_listen *of;	/* of the first generation, which stays */
	int fd;
	struct watch *watch;
	struct timer pause;
};

/* Generations. */

static void
icap_notice(void *arg, const struct icap_notice *n)
{
	static struct log_limit limit;

	(void)arg;
	(void)log_limited(&limit, n->up ? LEVEL_NOTICE : LEVEL_WARNING,
	    "scan", "%s at %s is %s%s%s", n->service, n->endpoint,
	    n->up ? "up" : "down", n->text[0] != '\0' ? ": " : "", n->text);
}

static struct scanner *
make_clam(struct worker *w, struct gen *g, unsigned i)
{
	const struct conf_service *s = &g->conf->services.v[i];
	struct clam_service o = { .name = s->name,
	    .scans_req = conf_service_scans(s, false),
	    .scans_resp = conf_service_scans(s, true),
	    .on_error = s->on_error,
	    .over_max = s->over_max,
	    .max_body = s->max_body == CONF_NONE ? 0 : s->max_body };

	memcpy(o.on_unscanned, s->on_unscanned.of, sizeof(o.on_unscanned));
	return (clam_new(w->loop, g->services[i].clam, &o));
}

static int32_t
preview_of(uint64_t preview)
{
	if (preview == CONF_AUTO)
		return (ICAP_PREVIEW_AUTO);
	return (preview == CONF_OFF ? ICAP_PREVIEW_OFF : (int32_t)preview);
}

static struct scanner *
make_icap(struct worker *w, struct gen *g, unsigned i, struct fault *f)
{
	const struct conf_service *s = &g->conf->services.v[i];
	const char *urls[ICAP_MAX_URLS];
	struct icap_header *headers;
	struct scanner *made;
	unsigned k;
	struct icap_options o = { .name = s->name, .urls = urls,
	    .req = conf_service_scans(s, false),
	    .resp = conf_service_scans(s, true),
	    .balance = s->balance, .on_error = s->on_error,
	    .on_busy = s->on_busy, .preview = preview_of(s->preview),
	    .max_connections = s->max_connections == CONF_AUTO ? 0 :
		(unsigned)s->max_connections,
	    .connect_timeout_ms = s->connect_timeout_ms,
	    .timeout_ms = s->timeout_ms, .probe_ms = s->probe_ms,
	    .max_body = s->max_body == CONF_NONE ? 0 : s->max_body,
	    .over_max = s->over_max,
	    .obey_transfer = s->transfer_ignore == CONF_TRANSFER_OBEY,
	    .identity = s->identity, .n_headers = s->headers.n,
	    .share = (const char *const *)s->share.v,
	    .n_share = s->share.n,
	    .replace_page = s->page == CONF_PAGE_REPLACE,
	    .decode = s->decode == CONF_TRUE,
	    .connect = s->connect == CONF_TRUE,
	    .tls_new = g->services[i].icaps != NULL ? tls_peer_session : NULL,
	    .tls_arg = g->services[i].icaps, .notice = icap_notice,
	    .store = &g->store };

	memcpy(o.on_unscanned, s->on_unscanned.of, sizeof(o.on_unscanned));
	for (k = 0; k < s->url.n && k < ICAP_MAX_URLS; k++)
		urls[k] = s->url.v[k].text;
	o.n_urls = k;
	headers = calloc(s->headers.n + 1, sizeof(*headers));
	for (k = 0; k < s->headers.n; k++)
		headers[k] = (struct icap_header){ s->headers.v[k].name,
		    s->headers.v[k].value };
	o.headers = headers;
	made = icap_new(w->loop, &o, g->services[i].shared,
	    w->dialer, f);
	free(headers);
	return (made);
}

static int
chain_order(const void *a, const void *b)
{
	const struct worker_chain *x = a, *y = b;

	return (x->of < y->of ? -1 : x->of > y->of);
}

static void
chain_make(struct worker_gen *wg, const struct policy_scan *of)
{
	struct worker_chain *c = &wg->chains[wg->n_chains++];
	struct scanner **list;
	unsigned i, k;

	c->of = of;
	c->n = of->n;
	c->steps = calloc(of->n + 1, sizeof(*c->steps));
	for (i = 0; i < of->n; i++) {
		list = calloc(of->v[i].n, sizeof(*list));
		for (k = 0; k < of->v[i].n; k++)
			list[k] = wg->scanners[of->v[i].service[k]];
		c->steps[i] = (struct chain_step){ list, of->v[i].n };
	}
}

static void
worker_gen_free(void *p)
{
	struct worker_gen *wg = p;
	unsigned i, k;

	for (i = 0; i < wg->n_chains; i++) {
		for (k = 0; k < wg->chains[i].n; k++)
			free((void *)(uintptr_t)wg->chains[i].steps[k].scanners);
		free(wg->chains[i].steps);
	}
	for (i = 0; i < wg->gen->conf->services.n; i++)
		if (wg->scanners[i] == NULL)
			continue;
		else if (wg->gen->conf->services.v[i].type == CONF_CLAMAV)
			clam_free(&wg->scanners[i]);
		else
			icap_free(&wg->scanners[i]);
	free(wg->scanners);
	free(wg->chains);
	tls_resume_free(&wg->resume);
	gen_unref(&wg->gen);
	free(wg);
}

/* What the tickets of origins may take here. */
static size_t
resume_bytes(const struct conf *c)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t workers = c->workers != CONF_AUTO ? c->workers :
	    cores > 0 ? (uint64_t)cores : 1;
	uint64_t share = c->limits.memory / RESUME_SHARE / workers;

	return (share < RESUME_BYTES ? (size_t)share : RESUME_BYTES);
}

struct worker_gen *
worker_gen_new(struct worker *w, struct gen *g, struct fault *f)
{
	struct worker_gen *wg = calloc(1, sizeof(*wg));
	const struct conf *c = g->conf;
	unsigned i;

	wg->worker = w;
	wg->gen = gen_ref(g);
	wg->refs = 1;
	wg->resume = tls_resume_new(RESUME_MAX, resume_bytes(c));
	wg->scanners = calloc(c->services.n + 1, sizeof(struct scanner *));
	for (i = 0; i < c->services.n; i++) {
		if (!c->services.v[i].used)
			continue;
		wg->scanners[i] = c->services.v[i].type == CONF_CLAMAV ?
		    make_clam(w, g, i) : make_icap(w, g, i, f);
		if (wg->scanners[i] == NULL) {
			fault_set(f, ERR_CONFIG, "service %s",
			    c->services.v[i].name);
			worker_gen_unref(&wg);
			return (NULL);
		}
		if (c->services.v[i].cache != CONF_CACHE_OFF)
			wg->scanners[i]->cache = g->verdicts;
		wg->scanners[i]->scans_answers =
		    c->services.v[i].scan_answers == CONF_TRUE;
		wg->scanners[i]->cache_shared =
		    c->services.v[i].cache == CONF_CACHE_SHARED;
	}
	wg->chains = calloc(2 * c->policy.rules.n + 4, sizeof(*wg->chains));
	chain_make(wg, &c->policy.all_req);
	chain_make(wg, &c->policy.all_resp);
	chain_make(wg, &c->policy.used_req);
	chain_make(wg, &c->policy.used_resp);
	for (i = 0; i < c->policy.rules.n; i++) {
		chain_make(wg, &c->policy.rules.v[i].scan_req);
		chain_make(wg, &c->policy.rules.v[i].scan_resp);
	}
	qsort(wg->chains, wg->n_chains, sizeof(*wg->chains), chain_order);
	return (wg);
}

struct worker_gen *
worker_gen_ref(struct worker_gen *wg)
{
	wg->refs++;
	return (wg);
}

void
worker_gen_unref(struct worker_gen **wgp)
{
	struct worker_gen *wg = *wgp;

	*wgp = NULL;
	if (wg != NULL && --wg->refs == 0)
		loop_defer_free(wg->worker->loop, wg, worker_gen_free);
}

const struct worker_chain *
worker_gen_chain(const struct worker_gen *wg, const struct policy_scan *of)
{
	struct worker_chain key = { .of = of };

	return (bsearch(&key, wg->chains, wg->n_chains, sizeof(key),
	    chain_order));
}

void
worker_resolver(const struct gen *g, struct resolver_options *o)
{
	*o = (struct resolver_options){ .hosts = g->hosts,
	    .servers = g->servers,
	    .deadline_ms = (unsigned)g->conf->limits.resolve_ms };
}

/* Accepting. */

static void
listener_resume(struct timer *t)
{
	struct listener *l = CONTAINER_OF(t, struct listener, pause);

	watch_set(l->watch, WATCH_READ);
}

/* Out of descriptors: look again a little later instead of spinning. */
static void
listener_pause(struct listener *l)
{
	static struct log_limit limit;

	(void)log_limited(&limit, LEVEL_ERROR, "listen", "accept: %s",
	    strerror(errno));
	watch_set(l->watch, 0);
	timer_set(&l->pause, PAUSE_MS);
}

static void
listener_ready(void *arg, unsigned events)
{
	struct listener *l = arg;
	union address peer;
	socklen_t n;
	unsigned i;
	int fd;

	(void)events;
	for (i = 0; i < ACCEPT_BATCH; i++) {
		n = sizeof(peer);
		fd = accept4(l->fd, &peer.sa, &n, SOCK_NONBLOCK |
		    SOCK_CLOEXEC);
		if (fd >= 0)
			client_new(l->worker, fd, &peer, l->of);
		else if ((errno == EMFILE || errno == ENFILE) &&
		    refusals_make_room(&l->worker->refusals))
			continue;
		else if (errno == EMFILE || errno == ENFILE ||
		    errno == ENOBUFS || errno == ENOMEM) {
			listener_pause(l);
			return;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
	}
}

static void
listeners_close(struct worker *w)
{
	unsigned i;

	for (i = 0; i < w->n_listeners; i++) {
		timer_stop(&w->listeners[i].pause);
		watch_free(&w->listeners[i].watch);
		close(w->listeners[i].fd);
	}
	free(w->listeners);
	w->listeners = NULL;
	w->n_listeners = 0;
}

/* Ending. */

static void
drain_now(struct timer *t)
{
	struct worker *w = CONTAINER_OF(t, struct worker, drain);
	struct list *it, *save;

	LIST_EACH(it, save, &w->clients)
		client_abort(CONTAINER_OF(it, struct client, link));
	loop_stop(w->loop);
}

void
worker_client_gone(struct worker *w)
{
	if (w->draining && list_empty(&w->clients))
		loop_stop(w->loop);
}

static void
worker_drain(struct worker *w, uint64_t drain_ms)
{
	struct list *it, *save;

	if (!w->draining) {
		w->draining = true;
		listeners_close(w);
		origin_pool_purge(w->pool, NULL);
		LIST_EACH(it, save, &w->clients)
			client_drain(CONTAINER_OF(it, struct client, link));
	}
	if (list_empty(&w->clients))
		loop_stop(w->loop);
	else if (drain_ms == 0)
		drain_now(&w->drain);
	else
		timer_set(&w->drain, drain_ms);
}

/* Messages of the main thread. */

struct post {
	struct mail mail;
	struct worker *worker;
	uint64_t drain_ms;
};

static void
drain_deliver(struct mail *m, struct loop *loop)
{
	struct post *p = CONTAINER_OF(m, struct post, mail);

	(void)loop;
	worker_drain(p->worker, p->drain_ms);
	free(p);
}

void
worker_post_drain(struct worker *w, uint64_t drain_ms)
{
	struct post *p = calloc(1, sizeof(*p));

	if (p == NULL)
		abort();
	p->mail.deliver = drain_deliver;
	p->worker = w;
	p->drain_ms = drain_ms;
	mail_post(w->loop, &p->mail);
}

/* The thread. */

struct thread {
	pthread_t id;
};

static void
worker_fini(struct worker *w)
{
	listeners_close(w);
	timer_stop(&w->drain);
	refusals_fini(&w->refusals);
	origin_pool_free(&w->pool);
	worker_gen_unref(&w->next);
	dns_free(&w->next_dns);
	worker_gen_unref(&w->current);
	loop_settle(w->loop);	/* its services let go of the dialer */
	splicer_free(&w->splicer);
	dialer_free(&w->dialer);
	resolver_free(&w->resolver);
	conf_unref(&w->first);
}

static void *
worker_main(void *arg)
{
	struct worker *w = arg;
	char name[16];

	snprintf(name, sizeof(name), "worker/%u", w->index);
	pthread_setname_np(pthread_self(), name);
	loop_run(w->loop);
	link_thread_fini();
	return (NULL);
}

static void
worker_listen(struct worker *w, const int *fds,
    const struct conf_listen *const *of, unsigned n)
{
	struct listener *l;
	unsigned i;

	w->listeners = calloc(n, sizeof(*w->listeners));
	w->n_listeners = n;
	for (i = 0; i < n; i++) {
		l = &w->listeners[i];
		l->worker = w;
		l->fd = fds[i];
		l->of = of[i];
		timer_init(&l->pause, w->loop, listener_resume);
		l->watch = watch_new(w->loop, l->fd, listener_ready, l);
		watch_behind(l->watch);
		watch_set(l->watch, WATCH_READ);
	}
}

struct worker *
worker_start(unsigned index, struct gen *g, struct proxy_shared *shared,
    const int *fds, const struct conf_listen *const *of, unsigned n_fds,
    struct fault *f)
{
	struct worker *w = calloc(1, sizeof(*w));
	struct thread *t = calloc(1, sizeof(*t));
	struct resolver_options o;
	sigset_t all, before;

	w->index = index;
	w->shared = shared;
	w->thread = t;
	w->first = conf_ref(g->conf);
	w->loop = loop_new();
	list_init(&w->clients);
	timer_init(&w->drain, w->loop, drain_now);
	refusals_init(&w->refusals, w->loop);
	worker_resolver(g, &o);
	w->resolver = resolver_new(w->loop, &o, f);
	if (w->resolver == NULL)
		return (NULL);
	w->dialer = dialer_new(w->loop, w->resolver);
	w->splicer = splicer_new(w->loop);
	w->pool = origin_pool_new(w);
	w->current = worker_gen_new(w, g, f);
	if (w->current == NULL)
		return (NULL);
	worker_listen(w, fds, of, n_fds);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	if (pthread_create(&t->id, NULL, worker_main, w) != 0)
		fault_set(f, ERR_SYSTEM, "no thread");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return (f->code == ERR_NONE ? w : NULL);
}

void
worker_join(struct worker *w)
{
	struct thread *t = w->thread;

	pthread_join(t->id, NULL);
	worker_fini(w);
	loop_settle(w->loop);
}

void
worker_free(struct worker **wp)
{
	struct worker *w = *wp;

	loop_free(&w->loop);
	free(w->thread);
	free(w);
	*wp = NULL;
}
