/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MINT and HANDSHAKE: the tunnel is opened with a leaf of ours. */
#include <assert.h>
#include "proxy/audit/log.h"
#include "proxy/tunnel_priv.h"
#include "tls/oddname.h"

static const char *
leaf_host(const struct tunnel *t)
{
	return (t->fault.code == ERR_REQ_MISDIRECTED &&
		    t->hello.sni_state == HELLO_SNI_NAME
		? t->hello.sni
		: t->uri.host.p);
}

/*
 * What its TLS tickets are bound to.  Who resumes a session sees no leaf, so
 * one that was trusted does not open a tunnel that must warn.
 */
static const char *
ticket_name(const struct tunnel *t)
{
	return (t->untrusted
		? arena_printf(t->arena, "untrusted %s", leaf_host(t)).p
		: leaf_host(t));
}

static void
mint_done(struct tunnel *t)
{
	struct client *c = t->client;
	struct gnutls_session_int *s;

	assert(t->state == TUNNEL_MINT && c->transport != NULL);
	if (t->leaf.leaf == NULL) {
		assert(t->leaf.fault.code != ERR_NONE);
		log_line(LEVEL_ERROR, "ca", "%s: no certificate for %s: %s",
		    t->record.reference, leaf_host(t), t->leaf.fault.detail);
		tunnel_end(t, ERR_MINT, t->leaf.fault.detail);
		return;
	}
	s = tls_server_new(t->gen->gen->tls, t->leaf.leaf, ticket_name(t),
	    (t->gen->gen->conf->tls.client.http2 == CONF_TRUE ? TLS_H2 : 0) |
		TLS_HTTP1);
	if (s == NULL) {
		tunnel_end(t, ERR_MEMORY, NULL);
		return;
	}
	link_unread(c->transport, &t->input);
	link_start_tls(c->transport, s);
	if (oddname_is(t->hello.sni))
		link_odd_name(c->transport);
	tunnel_hello_fini(t);
	tunnel_go(t, TUNNEL_HANDSHAKE);
}

/* on_invalid: untrusted shows the client what kind of origin it is. */
static bool
origin_undecided(struct tunnel *t)
{
	return (t->gen->gen->conf->tls.origin.on_invalid ==
		CONF_INVALID_UNTRUSTED &&
	    t->ahead != NULL && lease_state(t->ahead) == LEASE_WAITING);
}

static unsigned
which_leaf(const struct tunnel *t)
{
	bool rsa = hello_wants_rsa(&t->hello,
	    tls_server_speaks_13(t->gen->gen->tls));

	return ((t->untrusted ? LEAF_UNTRUSTED : 0) | (rsa ? LEAF_RSA : 0));
}

void
tunnel_mint(struct tunnel *t)
{
	struct client *c = t->client;

	assert(t->hello.step == HELLO_DONE && t->splice == NULL);
	if (origin_undecided(t))
		return;
	if (t->leaf.wake == NULL) {
		t->untrusted = t->ahead != NULL && lease_is_invalid(t->ahead);
		t->leaf.wake = &c->task;
		if (!leaf_start(t->gen->gen->leaves, c->worker->loop,
			leaf_host(t), which_leaf(t), &t->leaf))
			return;
	}
	if (t->leaf.done)
		mint_done(t);
}

void
tunnel_handshake(struct tunnel *t)
{
	struct link *l = t->client->transport;
	struct fault f = { 0 };
	enum pull p;

	assert(t->leaf.leaf != NULL);
	p = link_handshake(l, ERR_CLIENT_TLS, &f);
	if (p == PULL_WAIT)
		return;
	if (p != PULL_END) {
		tunnel_end(t, ERR_CLIENT_TLS, f.detail);
		return;
	}
	link_ticket_due(l);
	tunnel_go(t, TUNNEL_OPEN);
}
