/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DIAL and SPLICE: the tunnel is connected, and nobody looks into it. */
#include <assert.h>
#include "proxy/tunnel_priv.h"
#include "proxy/wire/outer.h"

static bool
splice_check(void *arg, const struct sockaddr *candidate)
{
	struct tunnel *t = arg;

	return (
	    conf_dest_check(t->gen->gen->conf, candidate, NULL) == ERR_NONE &&
	    tunnel_may_reach(t, candidate));
}

void
tunnel_dial(struct tunnel *t)
{
	struct client *c = t->client;
	struct way_want want = { .route = t->plan.route,
		.slot = conf_out_slot(t->gen->gen->conf, t->plan.route,
		    &c->peer.sa),
		.host = t->dial_host,
		.port = t->uri.port,
		.via = t->via,
		.account = c->account,
		.check = splice_check,
		.arg = t,
		.connect_ms = (unsigned)t->gen->gen->conf->limits.connect_ms };

	assert(t->ahead == NULL && t->fault.code == ERR_NONE);
	tunnel_go(t, TUNNEL_DIAL);
	way_start(c->worker, t->gen, &t->way, &want, &c->task);
}

static void
start_splice(struct tunnel *t)
{
	struct client *c = t->client;
	struct splice_options o = { .account = c->account,
		.idle_ms = t->gen->gen->conf->limits.tunnel_ms,
		.cut = t->way.outer != NULL ? outer_cut(t->way.outer) : NULL };
	struct chq unsent = { 0 };
	struct chq left = { 0 };
	int fd, origin_fd = t->way.dial.fd;

	assert(origin_fd >= 0 && t->splice == NULL && t->leaf.leaf == NULL);
	t->way.dial.fd = -1;
	/* An answer to an earlier request may be on its way out yet. */
	fd = link_take_fd(&c->transport, &left, &unsent);
	chq_move(&t->input, &left, chq_len(&left));
	/* It may have spoken first, right behind its parent's answer. */
	chq_move(&unsent, &t->way.first, chq_len(&t->way.first));
	chq_fini(&left);
	tunnel_hello_fini(t);
	tunnel_go(t, TUNNEL_SPLICE);
	t->splice = splice_start(c->worker->splicer, fd, origin_fd, &t->input,
	    &unsent, &o, &c->task);
	chq_fini(&unsent);
}

static void
dial_failed(struct tunnel *t)
{
	if (t->way.dial.fault.code == ERR_DEST_DENIED && t->refused_by != NULL)
		tunnel_block(t, t->refused_by);
	fault_copy(&t->fault, &t->way.dial.fault);
}

/* The address is known, if it ever will be: the rules have their last word. */
void
tunnel_dialled(struct tunnel *t)
{
	assert(t->splice == NULL && t->fault.code == ERR_NONE);
	if (!t->way.dial.done)
		return;
	if (t->way.dial.fault.code != ERR_NONE)
		dial_failed(t);
	else if (tunnel_may_splice(t)) {
		start_splice(t);
		return;
	} else if (t->fault.code != ERR_NONE)
		way_end(&t->way);
	/* A page can be shown where it speaks TLS. */
	if (t->hello.step == HELLO_DONE) {
		tunnel_connect_ahead(t, &t->way);
		tunnel_go(t, TUNNEL_MINT);
	} else
		tunnel_not_tls(t);
}

void
tunnel_spliced(struct tunnel *t)
{
	assert(t->splice != NULL && t->client->transport == NULL);
	if (splice_ended(t->splice) != SPLICE_RUNNING)
		tunnel_go(t, TUNNEL_ENDED);
}
