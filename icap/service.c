/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A service: its servers, their health, and who may use which one.
 * Room: icap.  Thread: its loop's.  Obeys RFC 3507 4.2, 4.10.
 */
#include <assert.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "http/chars.h"
#include "icap/icap_priv.h"
#include "icap/vars.h"

#define CACHE_S 600 /* an ISTag is seen again when somebody asks */
#define BACKOFF_MIN_MS 1000
#define BACKOFF_MAX_MS 15000
#define DOUBT_FAILURES 5 /* in DOUBT_MS: is it still there? */
#define DOUBT_MS 10000
#define ASK_MS 1000    /* not more often is it asked that */
#define BUSY_ANSWERS 3 /* 503 one after the other: it means all */
#define ISTAG_MS 30000 /* not more often are OPTIONS renewed for it */

static uint64_t
min64(uint64_t a, uint64_t b)
{
	return (a < b ? a : b);
}

static void
notice(struct icap_endpoint *ep, bool up, const char *text)
{
	const struct icap_options *o = &ep->svc->o;
	struct icap_notice n = { o->name, ep->name, up, text };

	if (o->notice != NULL)
		o->notice(o->notice_arg, &n);
}

/* Health. */

/* Cause: what it says about itself does not fit what it is used for. */
static void
warn_about(struct icap_endpoint *ep)
{
	const struct icap_service *svc = ep->svc;

	if ((svc->o.req && !ep->caps.reqmod) ||
	    (svc->o.resp && !ep->caps.respmod))
		notice(ep, true,
		    "its OPTIONS do not offer the configured mode");
	if (ep->caps.warning.p != NULL)
		notice(ep, true, ep->caps.warning.p);
}

void
icap_endpoint_up(struct icap_endpoint *ep)
{
	enum icap_state was = ep->state;
	struct str tag = ep->caps.istag;

	assert(tag.n < sizeof(ep->istag));
	ep->state = ICAP_UP;
	ep->down = (struct fault){ .code = ERR_NONE };
	ep->backoff = 0;
	ep->failed = 0;
	ep->expired = false;
	ep->used = ep->stats.transactions;
	memcpy(ep->istag, tag.p != NULL ? tag.p : "", tag.n);
	ep->istag[tag.n] = '\0';
	if (was != ICAP_UP) {
		notice(ep, true, "");
		warn_about(ep);
	}
	timer_set(&ep->next, ep->caps.ttl_ms / 10 * 9);
	icap_service_kick(ep->svc);
}

void
icap_endpoint_down(struct icap_endpoint *ep, const struct fault *f)
{
	enum icap_state was = ep->state;
	uint64_t most = ep->svc->o.probe_ms > 0 ? ep->svc->o.probe_ms
						: BACKOFF_MAX_MS;

	assert(f->code != ERR_NONE);
	if (f->code == ERR_SCAN_BUSY && was == ICAP_UP)
		return; /* it could not be asked at all */
	ep->state = ICAP_DOWN;
	ep->down = *f;
	ep->failed = 0;
	ep->backoff = ep->backoff == 0 ? BACKOFF_MIN_MS
				       : min64(ep->backoff * 2, BACKOFF_MAX_MS);
	icap_pool_empty(ep);
	if (!ep->probing.running)
		timer_set(&ep->next, min64(ep->backoff, most));
	if (was != ICAP_DOWN)
		notice(ep, false, f->detail);
	icap_service_kick(ep->svc);
}

/* Whether traffic stays away is decided by its answer, not by a message. */
static void
ask_whether_up(struct icap_endpoint *ep)
{
	uint64_t now = loop_now(ep->svc->loop);

	if (ep->state != ICAP_UP ||
	    (ep->asked_at > 0 && now < ep->asked_at + ASK_MS))
		return;
	ep->asked_at = now;
	icap_probing_start(ep);
}

void
icap_endpoint_unreachable(struct icap_endpoint *ep)
{
	ep->stats.failures++;
	ask_whether_up(ep);
}

void
icap_endpoint_hung_up(struct icap_endpoint *ep)
{
	uint64_t now = loop_now(ep->svc->loop);

	if (ep->failed == 0 || now - ep->failed_at > DOUBT_MS) {
		ep->failed = 0;
		ep->failed_at = now;
	}
	if (++ep->failed >= DOUBT_FAILURES)
		ask_whether_up(ep);
}

void
icap_endpoint_failed(struct icap_endpoint *ep)
{
	ep->stats.failures++;
}

void
icap_endpoint_worked(struct icap_endpoint *ep)
{
	ep->failed = 0;
	ep->busy_answers = 0;
	ep->busy_backoff = 0;
}

void
icap_endpoint_is_busy(struct icap_endpoint *ep)
{
	if (++ep->busy_answers < BUSY_ANSWERS)
		return;
	ep->busy_backoff = ep->busy_backoff == 0
	    ? BUSY_MIN_MS
	    : min64(ep->busy_backoff * 2, BUSY_MAX_MS);
	ep->busy_until = loop_now(ep->svc->loop) + ep->busy_backoff;
}

void
icap_endpoint_istag(struct icap_endpoint *ep, struct str v)
{
	struct str tag = icap_istag(v);

	if (tag.n >= sizeof(ep->istag))
		tag.n = sizeof(ep->istag) - 1;
	if (str_eq(tag, str_of(ep->istag)))
		return;
	memcpy(ep->istag, tag.p, tag.n);
	ep->istag[tag.n] = '\0';
	if (loop_now(ep->svc->loop) - ep->probing.ended_at > ISTAG_MS)
		ep->expired = true;
}

/* A while after the last OPTIONS: ask again, if anybody uses it. */
static void
on_next(struct timer *t)
{
	struct icap_endpoint *ep = CONTAINER_OF(t, struct icap_endpoint, next);

	if (ep->state == ICAP_UP && ep->used == ep->stats.transactions)
		ep->expired = true;
	else
		icap_probing_start(ep);
}

/* Admission. */

static void
on_look(struct timer *t)
{
	struct icap_service *svc = CONTAINER_OF(t, struct icap_service, look);

	if (svc->queued == 0)
		return;
	icap_service_kick(svc);
	timer_set(&svc->look, ICAP_LOOK_MS);
}

/* A connection, or the right to make one. */
static bool
get_connection(struct icap_endpoint *ep, bool fresh, struct icap_conn **conn)
{
	*conn = fresh ? NULL : icap_pool_take(ep);
	if (*conn != NULL || icap_pool_reserve(ep))
		return (true);
	if (ep->n_idle == 0)
		return (false);
	icap_pool_empty(ep);
	return (icap_pool_reserve(ep));
}

/* May traffic wake a server that was down?  A slow failure is not repeated soon. */
static bool
may_ask_again(const struct icap_endpoint *ep)
{
	const struct icap_probing *p = &ep->probing;
	uint64_t pause = 4 * (p->ended_at - p->started_at);

	if (pause < BACKOFF_MIN_MS)
		pause = BACKOFF_MIN_MS;
	return (loop_now(ep->svc->loop) >= p->ended_at + pause);
}

static enum icap_admit
try_endpoint(struct icap_endpoint *ep, bool fresh, struct icap_conn **conn)
{
	if (ep->state == ICAP_UNKNOWN ||
	    (ep->state == ICAP_DOWN && may_ask_again(ep)) || ep->expired)
		icap_probing_start(ep);
	if (ep->state == ICAP_UNKNOWN)
		return (ICAP_WAIT);
	if (ep->state == ICAP_DOWN)
		return (ep->probing.running ? ICAP_WAIT : ICAP_REFUSED);
	assert(ep->state == ICAP_UP);
	if (loop_now(ep->svc->loop) < ep->busy_until)
		return (ICAP_BUSY);
	return (get_connection(ep, fresh, conn) ? ICAP_GO : ICAP_BUSY);
}

static unsigned
busyness(const struct icap_endpoint *ep)
{
	return (atomic_load_explicit(&ep->svc->shared->busy[ep->index],
	    memory_order_relaxed));
}

/* The order in which servers are tried. */
static void
make_order(struct icap_service *svc, unsigned order[ICAP_MAX_URLS])
{
	unsigned i, j, k, first = 0;

	if (svc->o.balance != ICAP_FAILOVER)
		first = svc->turn++ % svc->n;
	for (i = 0; i < svc->n; i++) {
		k = (first + i) % svc->n;
		for (j = i; svc->o.balance == ICAP_LEAST_BUSY && j > 0 &&
		     busyness(&svc->eps[order[j - 1]]) > busyness(&svc->eps[k]);
		     j--)
			order[j] = order[j - 1];
		order[j] = k;
	}
}

enum icap_admit
icap_service_admit(struct icap_service *svc, unsigned tried, bool fresh,
    struct icap_endpoint **ep, struct icap_conn **conn, struct fault *f)
{
	enum icap_admit r, all = ICAP_REFUSED;
	unsigned order[ICAP_MAX_URLS], i;

	assert(svc->n > 0);
	make_order(svc, order);
	for (i = 0; i < svc->n; i++) {
		if ((tried & 1u << order[i]) != 0)
			continue;
		*ep = &svc->eps[order[i]];
		r = try_endpoint(*ep, fresh, conn);
		if (r == ICAP_GO)
			return (r);
		if (r == ICAP_WAIT && svc->o.balance == ICAP_FAILOVER &&
		    (*ep)->state == ICAP_UNKNOWN)
			return (r); /* it may be the one to use */
		if (r == ICAP_REFUSED)
			fault_copy(f, &(*ep)->down);
		else if (all != ICAP_BUSY)
			all = r;
	}
	return (all);
}

/* Making and ending. */

/* Fields that are the same in every request; options' own are checked by then. */
static struct str
make_prefix(struct icap_service *svc, const struct icap_url *u,
    const char *method)
{
	struct buf b = { 0 };
	struct str s;
	unsigned i;

	buf_printf(&b,
	    "%s %.*s ICAP/1.0\r\nHost: %.*s\r\nUser-Agent: assay\r\n", method,
	    STR_ARG(u->text), STR_ARG(u->authority));
	for (i = 0; i < svc->o.n_headers; i++)
		if (!icap_vars_has(str_of(svc->o.headers[i].value)))
			buf_printf(&b, "%s: %s\r\n", svc->o.headers[i].name,
			    svc->o.headers[i].value);
	s = arena_str(svc->arena, buf_as_str(&b));
	buf_fini(&b);
	return (s);
}

static bool
endpoint_init(struct icap_service *svc, unsigned i, const char *text,
    struct fault *f)
{
	struct icap_endpoint *ep = &svc->eps[i];
	struct icap_url *u = &ep->url;

	ep->svc = svc;
	ep->index = i;
	if (!icap_url_parse(arena_cstr(svc->arena, text), u, f))
		return (false);
	ep->host = arena_str(svc->arena, u->host).p;
	ep->name = arena_printf(svc->arena,
	    str_index(u->host, ':') < u->host.n ? "[%s]:%u" : "%s:%u", ep->host,
	    u->port)
		       .p;
	ep->prefix[SCAN_REQ] = make_prefix(svc, u, "REQMOD");
	ep->prefix[SCAN_RESP] = make_prefix(svc, u, "RESPMOD");
	ep->caps.preview = -1;
	icap_pool_init(ep);
	icap_probing_init(ep);
	timer_init(&ep->next, svc->loop, on_next);
	return (true);
}

static bool
copy_share(struct icap_service *svc, const struct icap_options *o,
    struct fault *f)
{
	const char **names;
	unsigned i;

	names = arena_alloc(svc->arena, (o->n_share + 1) * sizeof(*names));
	for (i = 0; i < o->n_share; i++) {
		names[i] = arena_cstr(svc->arena, o->share[i]);
		if (!http_is_token(str_of(names[i]))) {
			fault_set(f, ERR_CONFIG, "%s: share %.60s: illegal",
			    o->name, names[i]);
			return (false);
		}
	}
	svc->o.share = names;
	return (true);
}

static bool
copy_headers(struct icap_service *svc, const struct icap_options *o,
    struct fault *f)
{
	struct icap_header *h;
	struct str bad;
	unsigned i;

	h = arena_alloc(svc->arena, (o->n_headers + 1) * sizeof(*h));
	for (i = 0; i < o->n_headers; i++) {
		h[i].name = arena_cstr(svc->arena, o->headers[i].name);
		h[i].value = arena_cstr(svc->arena, o->headers[i].value);
		if (!http_is_token(str_of(h[i].name)) ||
		    !http_is_value(str_of(h[i].value), false) ||
		    !icap_vars_check(str_of(h[i].value), &bad)) {
			fault_set(f, ERR_CONFIG, "%s: header %.60s: illegal",
			    o->name, h[i].name);
			return (false);
		}
	}
	svc->o.headers = h;
	return (copy_share(svc, o, f));
}

static void
fill_scanner(struct icap_service *svc)
{
	const struct icap_options *o = &svc->o;

	svc->scanner = (struct scanner){
		.type = &icap_scanner_type,
		.loop = svc->loop,
		.name = o->name,
		.scans_req = o->req,
		.scans_resp = o->resp,
		.scans_connect = o->req && o->connect,
		.on_error = o->on_error,
		.on_busy = o->on_busy == ICAP_BUSY_BYPASS ? SCAN_POLICY_BYPASS
							  : SCAN_POLICY_BLOCK,
		.over_max = o->over_max,
		.cache_s = CACHE_S,
		.replace_page = o->replace_page,
	};
	memcpy(svc->scanner.on_unscanned, o->on_unscanned,
	    sizeof(o->on_unscanned));
}

static void
service_free(void *p)
{
	struct icap_service *svc = p;

	arena_free(&svc->arena);
	free(svc->eps);
	free(svc);
}

static struct icap_service *
service_new(struct loop *loop, const struct icap_options *o,
    struct icap_shared *shared, struct dialer *dialer)
{
	struct icap_service *svc = calloc(1, sizeof(*svc));

	if (svc == NULL ||
	    (svc->eps = calloc(ICAP_MAX_URLS, sizeof(*svc->eps))) == NULL)
		abort();
	svc->loop = loop;
	svc->arena = arena_new();
	svc->o = *o;
	svc->o.name = arena_cstr(svc->arena, o->name);
	svc->o.urls = NULL; /* each server has its own */
	svc->shared = shared;
	svc->dialer = dialer;
	list_init(&svc->queue);
	list_init(&svc->all);
	timer_init(&svc->look, loop, on_look);
	fill_scanner(svc);
	return (svc);
}

struct scanner *
icap_new(struct loop *loop, const struct icap_options *o,
    struct icap_shared *shared, struct dialer *dialer, struct fault *f)
{
	struct icap_service *svc = service_new(loop, o, shared, dialer);
	bool ok = copy_headers(svc, o, f);
	unsigned i;

	assert(o->n_urls > 0 && o->n_urls <= ICAP_MAX_URLS);
	for (i = 0; i < o->n_urls && ok; i++)
		ok = endpoint_init(svc, i, o->urls[i], f);
	if (!ok) {
		service_free(svc);
		return (NULL);
	}
	svc->n = o->n_urls;
	return (&svc->scanner);
}

void
icap_free(struct scanner **sp)
{
	struct icap_service *svc = (struct icap_service *)(void *)*sp;
	unsigned i;

	*sp = NULL;
	if (svc == NULL)
		return;
	while (!list_empty(&svc->all))
		icap_tx_abandon(icap_tx_of_all(svc->all.next));
	for (i = 0; i < svc->n; i++) {
		icap_probing_cancel(&svc->eps[i]);
		icap_pool_empty(&svc->eps[i]);
		timer_stop(&svc->eps[i].next);
		arena_free(&svc->eps[i].arena);
		assert(svc->eps[i].n_busy == 0 && svc->eps[i].n_idle == 0);
	}
	assert(svc->queued == 0 && list_empty(&svc->queue));
	timer_stop(&svc->look);
	buf_fini(&svc->icap_head);
	buf_fini(&svc->http_head);
	loop_defer_free(svc->loop, svc, service_free);
}

bool
icap_get_stats(const struct scanner *s, unsigned i, struct icap_stats *st)
{
	const struct icap_service *svc = (const void *)s;
	const struct icap_endpoint *ep = &svc->eps[i];
	unsigned limit;

	if (i >= svc->n)
		return (false);
	limit = icap_pool_limit(ep);
	*st = ep->stats;
	st->endpoint = ep->name;
	st->state = ep->state;
	st->down = ep->down.detail;
	st->istag = ep->istag;
	st->service = ep->caps.service.p != NULL ? ep->caps.service.p : "";
	st->preview = ep->caps.preview;
	st->max_connections = limit == UINT_MAX ? 0 : limit;
	st->idle = ep->n_idle;
	st->busy = ep->n_busy;
	return (true);
}
