/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ways to origins, see way.h. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/budget.h"
#include "net/nets.h"
#include "proxy/audit/log.h"
#include "proxy/wire/outer.h"
#include "proxy/wire/upstream_probe.h"
#include "proxy/wire/way_priv.h"
#include "tls/peer.h"

#define TRIES_MS 30000 /* then no other parent is tried */

static const unsigned follows[WAY_STATES] = {
#define ON(name) (1u << WAY_##name)
#define S(name, next) [WAY_##name] = (next),
#include "proxy/wire/way.def"
#undef S
#undef ON
};

static void next_end(struct way_run *);

static void
run_go(struct way_run *r, enum way_state s)
{
	assert((follows[r->state] & (1u << s)) != 0);
	r->state = s;
}

/* The end. */

static void
free_now(void *p)
{
	free(p);
}

/* It is done with the parent that it tried. */
static void
leave_end(struct way_run *r)
{
	timer_stop(&r->timer);
	dial_cancel(&r->dial);
	r->dial = (struct dial){ .fd = -1 };
	link_close(&r->link, LINK_ABORT);
	chq_drop(&r->in, chq_len(&r->in));
	if (r->end == NULL)
		return;
	if (r->trial)
		upstream_undecided(r->end);
	r->trial = false;
	if (!r->probe)
		upstream_release(r->end);
	r->end = NULL;
}

static void
run_free(struct way_run *r)
{
	assert(r->way->run == r);
	leave_end(r);
	resolve_cancel(&r->query);
	task_fini(&r->task);
	chq_fini(&r->in);
	account_unref(&r->account);
	r->way->run = NULL;
	if (!r->probe)
		worker_gen_unref(&r->gen);
	arena_free(&r->arena);
	loop_defer_free(r->worker->loop, r, free_now);
}

static void
run_end(struct way_run *r)
{
	struct dial *d = &r->way->dial;
	uint64_t ms = loop_now(r->worker->loop) - r->started_at;

	d->dns_ms = r->dns_ms;
	d->connect_ms = (uint32_t)(ms - r->dns_ms);
	d->done = true;
	task_wake(r->wake);
	run_free(r);
}

static void
run_fail(struct way_run *r, const struct fault *f)
{
	assert(f->code != ERR_NONE);
	fault_copy(&r->way->dial.fault, f);
	r->way->status = r->status;
	run_end(r);
}

/* No parent is left. */
static void
run_around(struct way_run *r)
{
	struct dial_options o = { .check = r->want.check,
		.arg = r->want.arg,
		.account = r->account,
		.connect_timeout_ms = r->want.connect_ms };

	if (r->probe || r->refused ||
	    r->up->conf->on_error != CONF_FALLBACK_DIRECT) {
		fault_set(&r->fault, ERR_PARENT_DOWN, "%s", r->up->conf->name);
		run_fail(r, &r->fault);
		return;
	}
	atomic_fetch_add(&r->up->direct, 1);
	run_go(r, WAY_AROUND);
	dial_start(r->worker->dialer, &r->dial, r->want.host, r->want.port, &o,
	    &r->task);
}

static void
set_fault(struct way_run *r, const struct fault *why)
{
	r->fault = (struct fault){ 0 };
	fault_set(&r->fault, why->code, "%s: %s", way_proxy(r)->text,
	    why->detail);
}

/* A parent could not be connected to, or is none. */
void
way_end_is_bad(struct way_run *r, const struct fault *why)
{
	if (!r->refused)
		set_fault(r, why);
	upstream_bad(r->end, loop_now(r->worker->loop), why->detail);
	if (r->end->state == UPSTREAM_DOWN && !r->probe)
		upstream_probes_wake(r->gen->probes);
	r->trial = false;
	leave_end(r);
	next_end(r);
}

/* It is well, and has said no: with it is the last word, or another's. */
void
way_end_says_no(struct way_run *r, const struct fault *why, enum way_no no)
{
	/* Where none does better, it is a refusal that is said. */
	if (no != WAY_NO_ORIGIN || !r->refused)
		set_fault(r, why);
	r->refused = r->refused || no != WAY_NO_ORIGIN;
	if (why->code == ERR_PARENT_AUTH) {
		static struct log_limit limit;

		(void)log_limited(&limit, LEVEL_ERROR, "upstream",
		    "%s at %s: "
		    "%s",
		    r->up->conf->name, way_proxy(r)->text, why->detail);
	}
	if (no == WAY_NO_LAST) {
		run_fail(r, &r->fault);
		return;
	}
	/* The same one may reach another address of the origin. */
	if (++r->at_to < r->n_to)
		r->tried &= ~(1u << upstream_number(r->end));
	else
		r->at_to = 0;
	leave_end(r);
	next_end(r);
}

/* Made. */

static void
give_parent(struct way_run *r)
{
	struct way *w = r->way;

	w->end = r->end;
	r->end = NULL;
	w->dial.peer = r->dial.peer;
	memcpy(w->dial.peer_ip, r->dial.peer_ip, sizeof(w->dial.peer_ip));
	w->dial.attempts = r->dial.attempts;
	if (r->n_to > 0) {
		w->dest = r->to[r->at_to];
		address_ip_text(&w->dest.sa, w->dest_ip);
		w->dest_known = true;
	}
}

/* Requests with whole URLs go to the parent itself. */
static void
run_absolute(struct way_run *r)
{
	struct way *w = r->way;

	w->absolute = true;
	if (r->link != NULL) {
		w->link = r->link;
		r->link = NULL;
		link_set_owner(w->link, r->wake);
	} else {
		w->dial.fd = r->dial.fd;
		r->dial.fd = -1;
	}
	give_parent(r);
	run_end(r);
}

void
way_open(struct way_run *r)
{
	struct chq left = { 0 }, unsent = { 0 };
	struct fault f = { 0 };
	struct way *w = r->way;

	if (link_tls(r->link) == NULL) {
		w->dial.fd = link_take_fd(&r->link, &left, &unsent);
		assert(chq_len(&unsent) == 0);
		chq_move(&w->first, &r->in, chq_len(&r->in));
		chq_move(&w->first, &left, chq_len(&left));
		chq_fini(&left);
	} else if ((w->outer = outer_start(r->worker, r->gen, &r->link, &r->in,
			r->account, &w->dial.fd, &f)) == NULL) {
		run_fail(r, &f);
		return;
	}
	give_parent(r);
	run_end(r);
}

/* Connecting to the parent. */

void
way_end_is_good(struct way_run *r)
{
	upstream_good(r->end);
	r->trial = false;
}

/* The connection to the parent stands, with TLS where it has that. */
static void
run_connected(struct way_run *r)
{
	if (r->probe) { /* which lets a flow try it, no more */
		run_end(r);
		return;
	}
	if (!way_is_socks(r))
		way_end_is_good(r);
	if (r->want.absolute && !way_is_socks(r)) {
		run_absolute(r);
		return;
	}
	if (r->link == NULL) {
		r->link = link_new(r->worker->loop, r->dial.fd, &r->task);
		link_charge_to(r->link, r->account);
		r->dial.fd = -1;
	}
	run_go(r, WAY_ASK);
	timer_set(&r->timer, WAY_ANSWER_MS);
	way_ask(r);
}

static void
run_shake(struct way_run *r)
{
	struct fault f = { 0 };
	enum pull p = link_handshake(r->link, ERR_PARENT_TLS, &f);

	if (p == PULL_WAIT)
		return;
	timer_stop(&r->timer);
	if (p == PULL_END)
		run_connected(r);
	else
		way_end_is_bad(r, &f);
}

static void
begin_tls(struct way_run *r)
{
	struct fault f = { 0 };
	struct gnutls_session_int *s = tls_peer_session(r->up->tls,
	    way_proxy(r)->host, &f);

	if (s == NULL) {
		run_fail(r, &(struct fault){ .code = ERR_PARENT_TLS });
		return;
	}
	r->link = link_new(r->worker->loop, r->dial.fd, &r->task);
	link_charge_to(r->link, r->account);
	r->dial.fd = -1;
	link_start_tls(r->link, s);
	run_go(r, WAY_SHAKE);
	timer_set(&r->timer, r->up->conf->connect_timeout_ms);
	run_shake(r);
}

static void
run_dialled(struct way_run *r)
{
	struct fault f = { 0 };

	if (!r->dial.done)
		return;
	if (dial_is_own_want(r->dial.fault.code)) {
		run_fail(r, &r->dial.fault);
		return;
	}
	switch ((int)r->dial.fault.code) {
	case ERR_NONE:
		if (way_proxy(r)->type == CONF_PROXY_HTTPS)
			begin_tls(r);
		else
			run_connected(r);
		return;
	case ERR_DEST_DENIED:
		fault_set(&f, ERR_PARENT_LOOP, "it is this proxy, or nobody");
		break;
	default:
		fault_set(&f, ERR_PARENT_CONNECT, "%s",
		    r->dial.fault.detail[0] != '\0'
			? r->dial.fault.detail
			: err_info(r->dial.fault.code)->text);
		break;
	}
	way_end_is_bad(r, &f);
}

/* A parent may be anywhere but here. */
static bool
is_elsewhere(void *arg, const struct sockaddr *candidate)
{
	struct nets_addr a;

	(void)arg;
	return (nets_addr_of(candidate, &a) && !nets_is_self(&a));
}

static void
dial_end(struct way_run *r)
{
	struct dial_options o = {
		.check = is_elsewhere,
		.account = r->account,
		.connect_timeout_ms = (unsigned)r->up->conf->connect_timeout_ms
	};

	run_go(r, WAY_DIAL);
	dial_start(r->worker->dialer, &r->dial, str_of(way_proxy(r)->host),
	    way_proxy(r)->port, &o, &r->task);
}

static void
next_end(struct way_run *r)
{
	if (r->fault.code != ERR_NONE &&
	    loop_now(r->worker->loop) - r->started_at > TRIES_MS) {
		run_fail(r, &r->fault);
		return;
	}
	if (!r->probe)
		r->end = upstream_pick(r->up, r->tried, &r->trial);
	if (!r->probe && upstream_has_down(r->up))
		upstream_probes_wake(r->gen->probes);
	if (r->end == NULL) {
		run_around(r);
		return;
	}
	r->tried |= 1u << upstream_number(r->end);
	dial_end(r);
}

/* The origin's addresses. */

static void
add_allowed(struct way_run *r, const union address *v, unsigned n)
{
	union address a;
	unsigned i;

	for (i = 0; i < n && r->n_to < WAY_ADDRESSES; i++) {
		a = v[i];
		address_set_port(&a, r->want.port);
		if (address_is_host(&a.sa) &&
		    (r->want.check == NULL ||
			r->want.check(r->want.arg, &a.sa)))
			r->to[r->n_to++] = a;
	}
}

static void
run_resolved(struct way_run *r)
{
	const struct resolve_query *q = &r->query;

	if (!q->done)
		return;
	r->dns_ms = (uint32_t)(loop_now(r->worker->loop) - r->started_at);
	add_allowed(r, q->v4, q->n_v4);
	add_allowed(r, q->v6, q->n_v6);
	if (r->n_to > 0) {
		next_end(r);
		return;
	}
	fault_copy(&r->fault, &q->fault);
	fault_set(&r->fault, ERR_DEST_DENIED, NULL);
	run_fail(r, &r->fault);
}

/*
 * Only literals and names for this machine are judged where the parent looks
 * names up; the others are asked for here with 'resolve: here'.
 */
static bool
is_local_name(struct str s)
{
	return (
	    str_ieq(s, STR("localhost")) || str_iends(s, STR(".localhost")));
}

static void
run_begin(struct way_run *r)
{
	union address a;

	if (address_parse(r->want.host, &a)) {
		add_allowed(r, &a, 1);
		if (r->n_to > 0)
			next_end(r);
		else
			run_fail(r, &(struct fault){ .code = ERR_DEST_DENIED });
		return;
	}
	if (r->up->conf->resolve == CONF_RESOLVE_HERE ||
	    is_local_name(r->want.host))
		resolve_start(r->worker->resolver, &r->query, r->want.host,
		    r->account, &r->task);
	else
		next_end(r);
}

/* Running. */

static void
run_dialled_around(struct way_run *r)
{
	struct way *w = r->way;

	if (!r->dial.done)
		return;
	w->around = true;
	w->dial = r->dial;
	w->dial.done = false;
	r->dial = (struct dial){ .fd = -1 };
	run_end(r);
}

static void
run(struct task *t)
{
	struct way_run *r = CONTAINER_OF(t, struct way_run, task);

	switch (r->state) {
	case WAY_RESOLVE:
		run_resolved(r);
		break;
	case WAY_DIAL:
		run_dialled(r);
		break;
	case WAY_SHAKE:
		run_shake(r);
		break;
	case WAY_ASK:
		way_asked(r);
		break;
	case WAY_AROUND:
		run_dialled_around(r);
		break;
	case WAY_STATES:
		break;
	}
}

static void
expire(struct timer *t)
{
	struct way_run *r = CONTAINER_OF(t, struct way_run, timer);
	struct fault f = { 0 };

	if (r->state == WAY_SHAKE) {
		fault_set(&f, ERR_PARENT_TLS, "TLS took too long");
		way_end_is_bad(r, &f);
		return;
	}
	assert(r->state == WAY_ASK);
	way_ask_late(r);
}

static struct way_run *
run_new(struct worker *w, struct worker_gen *g, struct way *way,
    struct task *wake)
{
	struct way_run *r = calloc(1, sizeof(*r));

	if (r == NULL)
		abort();
	*way = (struct way){ .dial = { .fd = -1 }, .run = r };
	r->way = way;
	r->worker = w;
	r->gen = g;
	r->wake = wake;
	r->arena = arena_new_sized(1024);
	r->dial.fd = -1;
	r->started_at = loop_now(w->loop);
	task_init(&r->task, w->loop, run);
	timer_init(&r->timer, w->loop, expire);
	return (r);
}

void
way_start(struct worker *w, struct worker_gen *g, struct way *way,
    const struct way_want *want, struct task *wake)
{
	struct dial_options o = { .check = want->check,
		.arg = want->arg,
		.account = want->account,
		.connect_timeout_ms = want->connect_ms };
	const struct conf *c = g->gen->conf;
	const struct conf_out *out = conf_out(c, want->route);
	struct way_run *r;

	if (out != NULL) {
		o.from = &out->from;
		o.slot = want->slot;
	}
	if (conf_route(c, want->route) == NULL) {
		*way = (struct way){ .dial = { .fd = -1 } };
		dial_start(w->dialer, &way->dial, want->host, want->port, &o,
		    wake);
		return;
	}
	r = run_new(w, worker_gen_ref(g), way, wake);
	r->account = account_ref(want->account);
	arena_charge_to(r->arena, want->account);
	r->want = *want;
	r->want.host = arena_str(r->arena, want->host);
	if (want->via.n > 0)
		r->want.via = arena_str(r->arena, want->via);
	r->up = g->gen->upstreams[want->route - 1];
	run_begin(r);
}

void
way_probe(struct worker *w, struct worker_gen *g, struct way *way,
    struct upstream_end *end, struct task *wake)
{
	struct way_run *r = run_new(w, g, way, wake);

	r->probe = true;
	r->account = account_ref(w->kept);
	r->up = end->of;
	r->end = end;
	dial_end(r);
}

void
way_end(struct way *w)
{
	if (w->run != NULL)
		run_free(w->run);
	dial_cancel(&w->dial);
	link_close(&w->link, LINK_ABORT);
	chq_fini(&w->first);
	outer_release(&w->outer);
	if (w->end != NULL)
		upstream_release(w->end);
	*w = (struct way){ .dial = { .fd = -1 } };
}

const struct sockaddr *
way_dest(const struct way *w)
{
	if (w->end == NULL)
		return (&w->dial.peer.sa);
	return (w->dest_known ? &w->dest.sa : NULL);
}

const char *
way_dest_ip(const struct way *w)
{
	return (w->end == NULL ? w->dial.peer_ip : w->dest_ip);
}

struct str
way_authorization(const struct way *w)
{
	return (w->absolute ? str_of(w->end->of->authorization) : STR_NONE);
}

void
way_charge_to(struct way *w, struct account *a)
{
	if (w->outer != NULL)
		outer_charge_to(w->outer, a);
}
