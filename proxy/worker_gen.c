/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A worker's part of a generation: its scanners and chains, see worker.h.
 * Room: proxy.  Thread: the worker's, or before it runs.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "proxy/audit/log.h"
#include "proxy/wire/upstream_probe.h"
#include "proxy/worker.h"
#include "tls/peer.h"
#include "tls/resume.h"

#define RESUME_MAX 4096         /* origins whose tickets are kept ... */
#define RESUME_BYTES (8u << 20) /* ... and what these take, or less: */
#define RESUME_SHARE 32         /* this part of limits.memory, by all workers */

static void
icap_notice(void *arg, const struct icap_notice *n)
{
	static struct log_limit limit;

	(void)arg;
	(void)log_limited(&limit, n->up ? LEVEL_NOTICE : LEVEL_WARNING, "scan",
	    "%s at %s is %s%s%s", n->service, n->endpoint,
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
	struct icap_options o = { .name = s->name,
		.urls = urls,
		.req = conf_service_scans(s, false),
		.resp = conf_service_scans(s, true),
		.balance = s->balance,
		.on_error = s->on_error,
		.on_busy = s->on_busy,
		.preview = preview_of(s->preview),
		.max_connections = s->max_connections == CONF_AUTO
		    ? 0
		    : (unsigned)s->max_connections,
		.connect_timeout_ms = s->connect_timeout_ms,
		.timeout_ms = s->timeout_ms,
		.probe_ms = s->probe_ms,
		.max_body = s->max_body == CONF_NONE ? 0 : s->max_body,
		.over_max = s->over_max,
		.obey_transfer = s->transfer_ignore == CONF_TRANSFER_OBEY,
		.identity = s->identity,
		.n_headers = s->headers.n,
		.share = (const char *const *)s->share.v,
		.n_share = s->share.n,
		.replace_page = s->page == CONF_PAGE_REPLACE,
		.decode = s->decode == CONF_TRUE,
		.connect = s->connect == CONF_TRUE,
		.tls_new = g->services[i].icaps != NULL ? tls_peer_session
							: NULL,
		.tls_arg = g->services[i].icaps,
		.notice = icap_notice,
		.store = &g->store,
		.kept = w->kept };

	memcpy(o.on_unscanned, s->on_unscanned.of, sizeof(o.on_unscanned));
	for (k = 0; k < s->url.n && k < ICAP_MAX_URLS; k++)
		urls[k] = s->url.v[k].text;
	o.n_urls = k;
	headers = calloc(s->headers.n + 1, sizeof(*headers));
	for (k = 0; k < s->headers.n; k++)
		headers[k] = (struct icap_header){ s->headers.v[k].name,
			s->headers.v[k].value };
	o.headers = headers;
	made = icap_new(w->loop, &o, g->services[i].shared, w->dialer, f);
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
			free(
			    (void *)(uintptr_t)wg->chains[i].steps[k].scanners);
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
	upstream_probes_free(&wg->probes);
	tls_resume_free(&wg->resume);
	gen_unref(&wg->gen);
	free(wg);
}

/* What the tickets of origins may take here. */
static size_t
resume_bytes(const struct conf *c)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t workers = c->workers != CONF_AUTO ? c->workers
	    : cores > 0                            ? (uint64_t)cores
						   : 1;
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
	wg->probes = upstream_probes_new(w, wg);
	wg->scanners = calloc(c->services.n + 1, sizeof(struct scanner *));
	for (i = 0; i < c->services.n; i++) {
		if (!c->services.v[i].used)
			continue;
		wg->scanners[i] = c->services.v[i].type == CONF_CLAMAV
		    ? make_clam(w, g, i)
		    : make_icap(w, g, i, f);
		if (wg->scanners[i] == NULL) {
			fault_set(f, ERR_CONFIG, "service %s",
			    c->services.v[i].name);
			worker_gen_unref(&wg);
			return (NULL);
		}
		if (c->services.v[i].cache != CONF_CACHE_OFF)
			wg->scanners[i]->cache = g->verdicts;
		wg->scanners[i]->scans_answers = c->services.v[i]
						     .scan_answers == CONF_TRUE;
		wg->scanners[i]->cache_shared = c->services.v[i].cache ==
		    CONF_CACHE_SHARED;
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

	return (
	    bsearch(&key, wg->chains, wg->n_chains, sizeof(key), chain_order));
}

void
worker_resolver(const struct gen *g, struct resolver_options *o)
{
	*o = (struct resolver_options){ .hosts = g->hosts,
		.servers = g->servers,
		.deadline_ms = (unsigned)g->conf->limits.resolve_ms };
}
