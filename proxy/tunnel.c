/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tunnels, see tunnel.h: the states (tunnel.def), the begin and the end.
 * Nothing in GnuTLS 3.7 lets a handshake wait, so everything is decided before
 * it begins.
 *
 * One authority per tunnel: the CONNECT name, or the SNI where CONNECT named
 * an address.  When both are names and differ, the client gets a certificate
 * for its SNI and 421 to every request (RFC 9110 15.5.20; this is also what
 * makes a client with ECH come back without, RFC 9849).
 */
#include <assert.h>
#include <stddef.h>
#include <string.h>
#include "proxy/tunnel_priv.h"

/* Itself, names, what its ClientHello said of the usual kind. */
#define ARENA_BYTES 2560

struct deadline {
	bool some;
	size_t limit; /* where in the limits */
};

static const struct deadline deadlines[TUNNEL_STATES] = {
#define NO_LIMIT         \
	{                \
		false, 0 \
	}
#define LIMIT(name)                                      \
	{                                                \
		true, offsetof(struct conf_limits, name) \
	}
#define S(name, deadline, next) [TUNNEL_##name] = deadline,
#include "proxy/tunnel.def"
#undef S
#undef LIMIT
#undef NO_LIMIT
};

static const unsigned follows[TUNNEL_STATES] = {
#define ON(name) (1u << TUNNEL_##name)
#define S(name, deadline, next) [TUNNEL_##name] = (next),
#include "proxy/tunnel.def"
#undef S
#undef ON
};

/* The one deadline begins anew with each state. */
static void
set_deadline(struct tunnel *t)
{
	const struct deadline *d = &deadlines[t->state];
	const char *limits = (const void *)&t->gen->gen->conf->limits;
	uint64_t ms = 0;

	if (d->some)
		memcpy(&ms, limits + d->limit, sizeof(ms));
	if (ms > 0)
		timer_set(&t->deadline, ms);
	else
		timer_stop(&t->deadline);
}

void
tunnel_go(struct tunnel *t, enum tunnel_state s)
{
	assert((follows[t->state] & (1u << s)) != 0);
	t->state = s;
	tunnel_flight_note(t);
	set_deadline(t);
}

void
tunnel_end(struct tunnel *t, enum err code, const char *detail)
{
	assert(code != ERR_NONE);
	fault_set(&t->fault, code, "%s", detail != NULL ? detail : "");
	tunnel_go(t, TUNNEL_ENDED);
}

static void
expired(struct timer *timer)
{
	struct tunnel *t = CONTAINER_OF(timer, struct tunnel, deadline);

	assert(deadlines[t->state].some);
	tunnel_end(t, ERR_REQ_TIMEOUT,
	    t->state == TUNNEL_HELLO ? "no TLS hello in time"
				     : "TLS handshake took too long");
	task_wake(&t->client->task);
}

static struct http_uri
copy_uri(struct arena *a, const struct http_uri *u)
{
	return ((struct http_uri){ .scheme = STR("https"),
	    .host = arena_str(a, u->host),
	    .host_is_ip = u->host_is_ip,
	    .host_is_v6 = u->host_is_v6,
	    .port = u->port,
	    .port_given = u->port_given });
}

static struct str
copy_str(struct arena *a, struct str s)
{
	return (s.n > 0 ? arena_str(a, s) : STR_NONE);
}

static struct tunnel_scans
copy_scans(struct arena *a, const struct tunnel_scans *said)
{
	struct audit_scan *v = NULL;
	unsigned i;

	if (said->n > 0)
		v = arena_alloc(a, said->n * sizeof(*v));
	for (i = 0; i < said->n; i++) {
		v[i] = said->scans[i];
		v[i].service = copy_str(a, v[i].service);
		v[i].endpoint = copy_str(a, v[i].endpoint);
		v[i].outcome = copy_str(a, v[i].outcome);
		v[i].threat = copy_str(a, v[i].threat);
		v[i].reason = copy_str(a, v[i].reason);
		v[i].gap = copy_str(a, v[i].gap);
	}
	return ((struct tunnel_scans){ v, said->n, said->us });
}

static void
set_record(struct tunnel *t, const struct tunnel_facts *facts)
{
	struct tunnel_record *r = &t->record;

	assert(strlen(facts->reference) < sizeof(r->reference));
	strcpy(r->reference, facts->reference);
	r->started_at = facts->started_at;
	r->started_wall = facts->started_wall;
	r->method = copy_str(t->arena, facts->method);
	r->http_minor = facts->http_minor;
	r->said = copy_scans(t->arena, &facts->said);
}

struct tunnel *
tunnel_new(struct client *c, struct worker_gen *gen,
    const struct http_uri *authority, struct str dial_host,
    const struct plan *plan, const struct tunnel_facts *facts)
{
	struct arena *a = arena_new_sized(ARENA_BYTES);
	struct tunnel *t = arena_zalloc(a, sizeof(*t));

	assert(authority->host.n > 0 && dial_host.n > 0);
	assert(c->tunnel == NULL);
	arena_charge_to(a, c->account);
	t->arena = a;
	t->client = c;
	t->gen = worker_gen_ref(gen);
	t->named = t->uri = copy_uri(a, authority);
	t->dial_host = arena_str(a, dial_host);
	t->way.dial.fd = -1;
	if (facts->via.n > 0)
		t->via = arena_str(a, facts->via);
	if (facts->agent.p != NULL)
		t->agent = arena_str(a, facts->agent);
	t->dest_known = address_parse(t->dial_host, &t->dest);
	t->plan = *plan;
	t->led = facts->led;
	set_record(t, facts);
	tunnel_flight_begin(t);
	if (plan->access == POLICY_BLOCK)
		tunnel_block(t, plan->rule[POLICY_BY_ACCESS]);
	timer_init(&t->deadline, c->worker->loop, expired);
	timer_init(&t->first, c->worker->loop, tunnel_led_silent);
	set_deadline(t);
	if (t->led)
		tunnel_led_begin(t);
	return (t);
}

bool
tunnel_is_internal(const struct tunnel *t)
{
	return (str_eq(t->uri.host, str_of(t->gen->gen->conf->pages.host)));
}

/* Asked for the connection ahead, while no request has it. */
static bool
may_reach(void *t, const struct sockaddr *dest)
{
	return (tunnel_may_reach(t, dest));
}

void
tunnel_connect_ahead(struct tunnel *t, struct way *dialled)
{
	struct client *c = t->client;
	struct lease_want want;

	assert(t->ahead == NULL && t->splice == NULL);
	if (t->fault.code != ERR_NONE || tunnel_is_internal(t))
		return;
	tunnel_want(t, t->gen, &want);
	want.own = &c->own;
	want.account = c->account;
	want.may_reach = t->plan.asks_dest ? may_reach : NULL;
	want.arg = t;
	want.dialled = dialled;
	t->ahead = lease_get(c->worker, t->gen, &want, &c->task);
}

static void
run(struct tunnel *t)
{
	switch (t->state) {
	case TUNNEL_HELLO:
		tunnel_hello(t);
		break;
	case TUNNEL_NAME:
		tunnel_led_name(t);
		break;
	case TUNNEL_DIAL:
		tunnel_dialled(t);
		break;
	case TUNNEL_MINT:
		tunnel_mint(t);
		break;
	case TUNNEL_HANDSHAKE:
		tunnel_handshake(t);
		break;
	case TUNNEL_SPLICE:
		tunnel_spliced(t);
		break;
	case TUNNEL_OPEN:
	case TUNNEL_ENDED:
	case TUNNEL_STATES:
		break;
	}
}

enum tunnel_step
tunnel_run(struct tunnel *t)
{
	enum tunnel_state was;

	assert(t->state != TUNNEL_OPEN && t->client->tunnel == t);
	do {
		was = t->state;
		run(t);
	} while (t->state != was);
	if (t->state == TUNNEL_OPEN)
		return (TUNNEL_OPENED);
	return (t->state == TUNNEL_ENDED ? TUNNEL_CLOSE : TUNNEL_WAITS);
}

void
tunnel_free(struct tunnel **tp)
{
	struct tunnel *t = *tp;
	struct arena *a;

	if (t == NULL)
		return;
	*tp = NULL;
	tunnel_record(t);
	tunnel_flight_end(t);
	timer_stop(&t->deadline);
	timer_stop(&t->first);
	if (t->query != NULL)
		resolve_cancel(t->query);
	tunnel_hello_fini(t);
	chq_fini(&t->input);
	leaf_cancel(&t->leaf);
	lease_release(&t->ahead);
	if (t->splice != NULL)
		splice_free(&t->splice);
	way_end(&t->way);
	worker_gen_unref(&t->gen);
	a = t->arena;
	arena_free(&a);
}

/* What a request inside may ask. */

const struct tunnel_scans *
tunnel_count(struct tunnel *t)
{
	assert(t->state == TUNNEL_OPEN);
	tunnel_flight_end(t);
	return (t->record.flows++ == 0 ? &t->record.said : NULL);
}

const struct http_uri *
tunnel_authority(const struct tunnel *t)
{
	return (&t->uri);
}

const struct fault *
tunnel_fault(const struct tunnel *t)
{
	return (&t->fault);
}

unsigned
tunnel_parent_status(const struct tunnel *t)
{
	return (t->way.status);
}

const struct plan *
tunnel_plan(const struct tunnel *t)
{
	return (&t->plan);
}

struct str
tunnel_sni(const struct tunnel *t)
{
	return (str_of(t->hello.sni));
}

const struct sockaddr *
tunnel_dest(const struct tunnel *t)
{
	return (t->dest_known ? &t->dest.sa : NULL);
}

bool
tunnel_is_plain(const struct tunnel *t)
{
	return (t->plain);
}

bool
tunnel_is_led(const struct tunnel *t)
{
	return (t->led);
}

bool
tunnel_is_in_doubt(const struct tunnel *t)
{
	return (t->in_doubt);
}

const struct http_uri *
tunnel_unproven(const struct tunnel *t)
{
	return (t->led && (t->plain || t->untrusted) ? &t->named : NULL);
}

bool
tunnel_is_open(const struct tunnel *t)
{
	return (t->state == TUNNEL_OPEN);
}

struct lease *
tunnel_take_ahead(struct tunnel *t)
{
	struct lease *l = t->ahead;

	assert(t->state == TUNNEL_OPEN);
	t->ahead = NULL;
	return (l);
}

/*
 * May its origin be invalid?  While no leaf was shown, which then depends on
 * what comes; afterwards only if the leaf warned.
 */
static bool
may_be_invalid(const struct tunnel *t, const struct worker_gen *g)
{
	return (g->gen->conf->tls.origin.on_invalid == CONF_INVALID_UNTRUSTED &&
	    (t->leaf.wake == NULL || t->untrusted));
}

void
tunnel_want(const struct tunnel *t, const struct worker_gen *g,
    struct lease_want *want)
{
	*want = (struct lease_want){ .tls = !t->plain,
		.protocols = t->plain ? TLS_HTTP1 : TLS_HTTP1 | TLS_H2,
		.host = t->uri.host,
		.host_is_ip = t->uri.host_is_ip,
		.port = t->uri.port,
		.dial_host = t->dial_host,
		.route = t->plan.route,
		.slot = conf_out_slot(t->gen->gen->conf, t->plan.route,
		    &t->client->peer.sa),
		.via = t->via,
		.allow_invalid = may_be_invalid(t, g) };
}
