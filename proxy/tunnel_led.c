/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tunnels that nobody asked for: connections that the packet filter led to a
 * transparent listener.  They go to the address that the client has chosen,
 * always.  What they are is told by their first octets; the name in them is
 * the client's word (tunnel_rules.c).
 */
#include <assert.h>
#include <time.h>
#include "proxy/audit/log.h"
#include "proxy/audit/reference.h"
#include "proxy/flow.h"
#include "proxy/proofs.h"
#include "proxy/tunnel_priv.h"

/* Of SMTP, SSH and their like the server speaks first. */
#define FIRST_MS 3000

static uint64_t
wall_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return ((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000);
}

struct tunnel *
tunnel_new_led(struct client *c)
{
	struct worker_gen *g = c->worker->current;
	struct tunnel_facts facts = { .started_at = loop_now(c->worker->loop),
		.started_wall = wall_ms(),
		.said = { NULL, 0, -1 },
		.led = true };
	char ip[ADDRESS_TEXT], reference[16];
	struct http_uri to = { .host_is_ip = true,
		.host_is_v6 = c->dest.sa.sa_family == AF_INET6,
		.port = address_port(&c->dest.sa),
		.port_given = true };
	struct plan plan;

	assert(c->dest.sa.sa_family != AF_UNSPEC);
	address_ip_text(&c->dest.sa, ip);
	to.host = str_of(ip);
	reference_make(reference);
	facts.reference = reference;
	policy_plan_init(&g->gen->conf->policy, &plan);
	return (tunnel_new(c, g, &to, to.host, &plan, &facts));
}

void
tunnel_led_begin(struct tunnel *t)
{
	uint64_t most = t->gen->gen->conf->limits.request_ms;

	timer_set(&t->first, most > 0 && most < FIRST_MS ? most : FIRST_MS);
}

void
tunnel_led_silent(struct timer *timer)
{
	struct tunnel *t = CONTAINER_OF(timer, struct tunnel, first);

	t->is_silent = true;
	task_wake(&t->client->task);
}

/* What is neither: spliced where a rule says so, else closed. */
void
tunnel_led_other(struct tunnel *t, enum err what)
{
	assert(t->state == TUNNEL_HELLO);
	if (!tunnel_decide(t, tunnel_dest(t))) {
		tunnel_go(t, TUNNEL_ENDED); /* to whom would a page be shown? */
		return;
	}
	if (t->plan.tls == POLICY_SPLICE &&
	    conf_port_check(t->gen->gen->conf, true, t->uri.port, &t->fault) ==
		ERR_NONE) {
		tunnel_dial(t);
		return;
	}
	tunnel_end(t, what, NULL);
}

/* TLS: by the name that it has, if it has one. */
void
tunnel_led_tls(struct tunnel *t)
{
	if (t->hello.sni_state == HELLO_SNI_NAME) {
		t->uri.host = arena_str(t->arena, str_of(t->hello.sni));
		t->uri.host_is_ip = t->uri.host_is_v6 = false;
	}
	if (conf_port_check(t->gen->gen->conf, true, t->uri.port, &t->fault) ==
	    ERR_NONE)
		(void)tunnel_decide(t, tunnel_dest(t));
}

/* It belongs to the address, or that is not to be had. */
static void
known(struct tunnel *t, bool proven)
{
	resolve_cancel(t->query);
	t->proven = proven;
	t->in_doubt = !proven;
	if (proven) {
		lease_release(&t->ahead); /* it has served */
		(void)tunnel_decide(t, tunnel_dest(t));
	}
	tunnel_hello_decided(t);
}

bool
tunnel_led_prove(struct tunnel *t)
{
	struct client *c = t->client;

	if (tunnel_is_internal(t) || !tunnel_asks_proof(t))
		return (false);
	t->query = arena_zalloc(t->arena, sizeof(*t->query));
	tunnel_go(t, TUNNEL_NAME);
	resolve_start(c->worker->resolver, t->query, t->uri.host, c->account,
	    &c->task);
	return (true);
}

/* The server at the address has the name's certificate, or had it of late. */
static void
ask_server(struct tunnel *t)
{
	struct client *c = t->client;
	uint64_t now = loop_now(c->worker->loop);
	unsigned by = t->gen->gen->number;
	enum lease_state s;

	if (t->ahead == NULL &&
	    proofs_has(c->worker->proofs, &c->dest.sa, t->uri.host, by, now)) {
		known(t, true);
		return;
	}
	if (t->ahead == NULL)
		tunnel_connect_ahead(t, NULL);
	s = lease_state(t->ahead);
	if (s == LEASE_WAITING)
		return;
	if (s == LEASE_READY && !lease_is_invalid(t->ahead)) {
		proofs_add(c->worker->proofs, &c->dest.sa, t->uri.host, by,
		    now);
		known(t, true);
	} else
		known(t, false);
}

void
tunnel_led_name(struct tunnel *t)
{
	const struct client *c = t->client;

	assert(t->query != NULL && t->fault.code == ERR_NONE);
	if (flow_name_leads_to(t->query, &c->dest.sa))
		known(t, true);
	else if (!t->query->done)
		return;
	else if (c->listen->names == CONF_NAMES_STRICT)
		known(t, false);
	else
		ask_server(t);
}
