/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A CONNECT tunnel: its ClientHello decides, then it is opened, spliced or
 * refused (architecture 4: nothing in GnuTLS 3.7 lets a handshake wait, so
 * everything is decided before it begins).
 *
 * One authority per tunnel: the CONNECT name, or the SNI where CONNECT named
 * an address.  When both are names and differ, the client gets a certificate
 * for its SNI and 421 to every request (RFC 9110 15.5.20; this is also what
 * makes a client with ECH come back without, RFC 9849).
 */
#include <assert.h>
#include <string.h>
#include <unistd.h>
#include "proxy/audit/log.h"
#include "proxy/tunnel_priv.h"
#include "tls/oddname.h"

#define HELLO_READ 4096
#define HELLO_FREE 16384	/* of a ClientHello that are not counted */

static struct worker_gen *
gen_of(const struct client *c)
{
	return (c->tunnel->gen);
}

static const struct conf *
conf_of(const struct client *c)
{
	return (c->tunnel->gen->gen->conf);
}

/*
 * May its origin be invalid?  While no leaf was shown, which then depends on
 * what comes; afterwards only if the leaf warned.
 */
static bool
may_be_invalid(const struct tunnel *t, const struct worker_gen *g)
{
	return (g->gen->conf->tls.origin.on_invalid ==
	    CONF_INVALID_UNTRUSTED && (t->leaf.wake == NULL || t->untrusted));
}

void
tunnel_want(const struct tunnel *t, const struct worker_gen *g,
    struct origin_want *want)
{
	*want = (struct origin_want){ .tls = true, .protocols = TLS_HTTP1,
	    .host = t->uri.host,
	    .host_is_ip = t->uri.host_is_ip, .port = t->uri.port,
	    .dial_host = t->dial_host, .allow_invalid = may_be_invalid(t, g) };
}

static bool
is_internal(const struct tunnel *t)
{
	return (str_eq(t->uri.host, str_of(t->gen->gen->conf->pages.host)));
}

/* dialled: connected already, taken over; or NULL. */
static void
connect_ahead(struct client *c, struct dial *dialled)
{
	struct tunnel *t = c->tunnel;
	struct origin_want want;

	if (t->fault.code != ERR_NONE || t->ahead != NULL || is_internal(t))
		return;
	tunnel_want(t, t->gen, &want);
	want.holder = &c->own;
	want.account = c->account;
	want.may_reach = t->plan.asks_dest ? client_may_reach : NULL;
	want.arg = c;
	want.dialled = dialled;
	t->ahead = origin_get(c->worker, t->gen, &want, &c->task);
}

static struct http_uri
copy_uri(struct arena *a, const struct http_uri *u)
{
	return ((struct http_uri){ .scheme = STR("https"),
	    .host = arena_str(a, u->host), .host_is_ip = u->host_is_ip,
	    .host_is_v6 = u->host_is_v6, .port = u->port,
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
	struct arena *a = arena_new();
	struct tunnel *t = arena_zalloc(a, sizeof(*t));

	assert(authority->host.n > 0 && dial_host.n > 0);
	arena_charge_to(a, c->account);
	t->arena = a;
	t->client = c;
	t->gen = worker_gen_ref(gen);
	t->named = t->uri = copy_uri(a, authority);
	t->dial_host = arena_str(a, dial_host);
	t->dest_known = address_parse(t->dial_host, &t->dest);
	t->plan = *plan;
	set_record(t, facts);
	if (plan->access == POLICY_BLOCK)
		tunnel_block(t, plan->rule[POLICY_BY_ACCESS]);
	return (t);
}

void
tunnel_start(struct client *c)
{
	client_set_state(c, CLIENT_HELLO, conf_of(c)->limits.request_ms);
}

static void
tunnel_end(struct client *c, enum err code, const char *detail,
    enum link_end how)
{
	fault_set(&c->tunnel->fault, code, "%s", detail != NULL ? detail : "");
	client_close(c, how);
}

/* The SNI against what CONNECT named. */
static void
apply_sni(struct client *c)
{
	struct tunnel *t = c->tunnel;
	struct str sni = str_of(t->hello.sni);

	if (t->hello.sni_state != HELLO_SNI_NAME || str_eq(sni, t->uri.host))
		return;
	if (!t->uri.host_is_ip) {
		origin_release(&t->ahead, true);
		t->plan.tls = POLICY_INSPECT;
		fault_set(&t->fault, ERR_REQ_MISDIRECTED,
		    "CONNECT named %.*s, TLS names %s",
		    STR_ARG(t->uri.host), t->hello.sni);
		return;
	}
	t->uri.host = arena_str(t->arena, sni);
	t->uri.host_is_ip = t->uri.host_is_v6 = false;
	(void)tunnel_decide(t, t->dest_known ? &t->dest.sa : NULL);
}

static bool
splice_check(void *arg, const struct sockaddr *candidate)
{
	struct client *c = arg;

	return (conf_dest_check(conf_of(c), candidate, NULL) == ERR_NONE &&
	    client_may_reach(c, candidate));
}

/*
 * To splice, or because a rule splices by the address and that comes late.
 * The rules are asked again when it is connected.
 */
static bool
dials_itself(const struct tunnel *t)
{
	return (t->fault.code == ERR_NONE && (t->plan.tls == POLICY_SPLICE ||
	    (t->plan.dest_open & 1u << POLICY_BY_TLS) != 0));
}

static void
dial_for_splice(struct client *c)
{
	struct tunnel *t = c->tunnel;
	struct dial_options o = { .account = c->account,
	    .check = splice_check, .arg = c,
	    .connect_timeout_ms = (unsigned)conf_of(c)->limits.connect_ms };

	origin_release(&t->ahead, true);
	client_set_state(c, CLIENT_DIAL, 0);
	dial_start(c->worker->dialer, &t->dial, t->dial_host, t->uri.port, &o,
	    &c->task);
}

static void mint_next(struct client *c);

static void
not_tls(struct client *c)
{
	struct tunnel *t = c->tunnel;

	if (dials_itself(t) && !t->dial.done) {
		dial_for_splice(c);
		return;
	}
	log_line(LEVEL_WARNING, "tunnel",
	    "%s: %s wanted a tunnel to %.*s:%u but does not speak TLS; "
	    "refused (a rule with 'tls: splice' would let it through)",
	    t->record.reference, c->ip, STR_ARG(t->dial_host), t->uri.port);
	tunnel_end(c, ERR_CLIENT_NOT_TLS, NULL, LINK_CLOSE);
}

static void
hello_done(struct client *c)
{
	struct tunnel *t = c->tunnel;

	apply_sni(c);
	if (dials_itself(t) && !is_internal(t)) {
		dial_for_splice(c);
		return;
	}
	connect_ahead(c, NULL);
	client_set_state(c, CLIENT_MINT, conf_of(c)->limits.request_ms);
	mint_next(c);
}

static void
hello_let_go(struct tunnel *t)
{
	hello_fini(&t->hello);
	chunk_unref(&t->hello_tail);
	charge_set(&t->hello_charge, NULL, 0, 0);
}

/*
 * More of the ClientHello, which is kept: what comes byte by byte takes no
 * block for each, and what is large is its client's memory.
 */
static enum pull
read_hello(struct client *c)
{
	struct tunnel *t = c->tunnel;
	unsigned had = c->in.bytes.count;
	enum pull p = link_read(c->transport, &c->in.bytes, HELLO_READ);

	if (had > 0 && c->in.bytes.count > had)
		chq_pack(&c->in.bytes, had, &t->hello_tail);
	charge_set(&t->hello_charge, c->account, chq_len(&c->in.bytes) +
	    t->hello.message.n, HELLO_FREE);
	return (p);
}

static bool
hello_too_dear(const struct client *c)
{
	return (c->tunnel->hello_charge.held > 0 &&
	    account_room(c->account, BUDGET_MEMORY) == 0);
}

static void
run_hello(struct client *c)
{
	struct tunnel *t = c->tunnel;
	enum hello_step step;
	enum pull p;

	for (;;) {
		step = hello_parse(&t->hello, &c->in.bytes);
		if (step != HELLO_MORE)
			break;
		p = read_hello(c);
		if (hello_too_dear(c)) {
			tunnel_end(c, ERR_MEMORY, NULL, LINK_CLOSE);
			return;
		}
		if (p == PULL_WAIT)
			return;
		if (p != PULL_MORE) {
			tunnel_end(c, ERR_CLIENT_GONE, "before its TLS hello",
			    LINK_CLOSE);
			return;
		}
	}
	if (step == HELLO_DONE)
		hello_done(c);
	else if (step == HELLO_NOT_TLS)
		not_tls(c);
	else
		tunnel_end(c, ERR_CLIENT_TLS, t->hello.reason, LINK_CLOSE);
}

/* The leaf. */

static const char *
leaf_host(const struct tunnel *t)
{
	return (t->fault.code == ERR_REQ_MISDIRECTED &&
	    t->hello.sni_state == HELLO_SNI_NAME ? t->hello.sni :
	    t->uri.host.p);
}

/*
 * What its TLS tickets are bound to.  Who resumes a session sees no leaf, so
 * one that was trusted does not open a tunnel that must warn.
 */
static const char *
ticket_name(const struct tunnel *t)
{
	return (t->untrusted ? arena_printf(t->arena, "untrusted %s",
	    leaf_host(t)).p : leaf_host(t));
}

static void run_handshake(struct client *c);

static void
mint_done(struct client *c)
{
	struct tunnel *t = c->tunnel;
	struct gnutls_session_int *s;

	if (t->leaf.leaf == NULL) {
		log_line(LEVEL_ERROR, "ca", "%s: no certificate for %s: %s",
		    t->record.reference, leaf_host(t), t->leaf.fault.detail);
		tunnel_end(c, ERR_MINT, t->leaf.fault.detail, LINK_CLOSE);
		return;
	}
	s = tls_server_new(gen_of(c)->gen->tls, t->leaf.leaf, ticket_name(t),
	    TLS_HTTP1);
	if (s == NULL) {
		tunnel_end(c, ERR_MEMORY, NULL, LINK_CLOSE);
		return;
	}
	link_unread(c->transport, &c->in.bytes);
	link_start_tls(c->transport, s);
	if (oddname_is(t->hello.sni))
		link_odd_name(c->transport);
	hello_let_go(t);
	client_set_state(c, CLIENT_HANDSHAKE,
	    conf_of(c)->limits.request_ms);
	run_handshake(c);
}

/* on_invalid: untrusted shows the client what kind of origin it is. */
static bool
origin_undecided(struct client *c)
{
	struct tunnel *t = c->tunnel;

	return (conf_of(c)->tls.origin.on_invalid ==
	    CONF_INVALID_UNTRUSTED && t->ahead != NULL &&
	    origin_settle(&t->ahead) != ORIGIN_READY &&
	    t->ahead->state != ORIGIN_FAILED);
}

static unsigned
which_leaf(const struct client *c)
{
	const struct tunnel *t = c->tunnel;
	bool rsa = hello_wants_rsa(&t->hello,
	    tls_server_speaks_13(t->gen->gen->tls));

	return ((t->untrusted ? LEAF_UNTRUSTED : 0) | (rsa ? LEAF_RSA : 0));
}

static void
mint_next(struct client *c)
{
	struct tunnel *t = c->tunnel;
	struct leaf_cache *leaves = gen_of(c)->gen->leaves;

	if (origin_undecided(c))
		return;
	if (t->leaf.wake == NULL) {
		t->untrusted = t->ahead != NULL && t->ahead->invalid;
		t->leaf.wake = &c->task;
		if (!leaf_start(leaves, c->worker->loop, leaf_host(t),
		    which_leaf(c), &t->leaf))
			return;
	}
	if (t->leaf.done)
		mint_done(c);
}

static void
run_handshake(struct client *c)
{
	struct tunnel *t = c->tunnel;
	struct fault f = { 0 };
	enum pull p = link_handshake(c->transport, ERR_CLIENT_TLS, &f);

	if (p == PULL_WAIT)
		return;
	if (p != PULL_END) {
		tunnel_end(c, ERR_CLIENT_TLS, f.detail, LINK_CLOSE);
		return;
	}
	t->opened = true;
	link_ticket_due(c->transport);
	client_set_state(c, CLIENT_IDLE, conf_of(c)->limits.request_ms);
}

/* Splicing. */

static void
spliced(struct client *c, int origin_fd)
{
	struct tunnel *t = c->tunnel;
	struct splice_options o = { .idle_ms = conf_of(c)->limits.tunnel_ms,
	    .account = c->account };
	struct chq unsent = { 0 };
	struct chq left = { 0 };
	int fd;

	/* An answer to an earlier request may be on its way out yet. */
	fd = link_take_fd(&c->transport, &left, &unsent);
	chq_move(&c->in.bytes, &left, chq_len(&left));
	chq_fini(&left);
	hello_let_go(t);
	client_set_state(c, CLIENT_SPLICE, 0);
	t->splice = splice_start(c->worker->splicer, fd, origin_fd,
	    &c->in.bytes, &unsent, &o, &c->task);
	chq_fini(&unsent);
}

static void
dial_failed(struct client *c)
{
	struct tunnel *t = c->tunnel;

	if (t->dial.fault.code == ERR_DEST_DENIED && t->refused_by != NULL)
		tunnel_block(t, t->refused_by);
	fault_copy(&t->fault, &t->dial.fault);
}

/* The address is known: the rules have their last word. */
static void
run_dial(struct client *c)
{
	struct tunnel *t = c->tunnel;
	int fd = t->dial.fd;

	if (!t->dial.done)
		return;
	if (t->dial.fault.code != ERR_NONE)
		dial_failed(c);
	else if (tunnel_may_splice(t)) {
		t->dial.fd = -1;
		spliced(c, fd);
		return;
	}
	if (t->fault.code != ERR_NONE)
		dial_cancel(&t->dial);
	/* A page can be shown where it speaks TLS. */
	if (t->hello.step != HELLO_DONE && t->fault.code == ERR_NONE) {
		not_tls(c);
		return;
	}
	if (t->hello.step != HELLO_DONE) {
		client_close(c, LINK_CLOSE);
		return;
	}
	connect_ahead(c, &t->dial);
	client_set_state(c, CLIENT_MINT, conf_of(c)->limits.request_ms);
	mint_next(c);
}

static void
run_splice(struct client *c)
{
	if (splice_ended(c->tunnel->splice) != SPLICE_RUNNING)
		client_close(c, LINK_CLOSE);
}

void
tunnel_run(struct client *c)
{
	switch (c->state) {
	case CLIENT_HELLO:
		run_hello(c);
		break;
	case CLIENT_MINT:
		mint_next(c);
		break;
	case CLIENT_HANDSHAKE:
		run_handshake(c);
		break;
	case CLIENT_DIAL:
		run_dial(c);
		break;
	case CLIENT_SPLICE:
		run_splice(c);
		break;
	case CLIENT_IDLE:
	case CLIENT_FLOW:
	case CLIENT_ENDED:
		break;
	}
}

void
tunnel_expired(struct client *c)
{
	tunnel_end(c, ERR_REQ_TIMEOUT, c->state == CLIENT_HELLO ?
	    "no TLS hello in time" : "TLS handshake took too long",
	    LINK_CLOSE);
}

void
tunnel_free(struct client *c)
{
	struct tunnel *t = c->tunnel;
	struct arena *arena;

	if (t == NULL)
		return;
	tunnel_record(t);
	c->tunnel = NULL;
	hello_let_go(t);
	leaf_cancel(&t->leaf);
	origin_release(&t->ahead, true);
	dial_cancel(&t->dial);
	if (t->splice != NULL)
		splice_free(&t->splice);
	worker_gen_unref(&t->gen);
	arena = t->arena;
	arena_free(&arena);
}

/* What a request inside may ask. */

const struct tunnel_scans *
tunnel_count(struct tunnel *t)
{
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
tunnel_is_open(const struct tunnel *t)
{
	return (t->opened);
}

struct origin *
tunnel_take_ahead(struct tunnel *t)
{
	struct origin *o = t->ahead;

	t->ahead = NULL;
	return (o);
}
