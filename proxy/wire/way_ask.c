/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a parent is asked for a way, and what its answer means; see way.h. */
#include <stdlib.h>
#include <string.h>
#include "proxy/wire/way_priv.h"

#define READ_BYTES 4096

/* What an answer of CONNECT means. */
static void
connect_refused(struct way_run *r)
{
	unsigned s = r->connect.status;
	struct fault f = { 0 };

	r->status = s;
	if (s == 407)
		fault_set(&f, ERR_PARENT_AUTH,
		    "it wants other credentials "
		    "than 'user' (407)");
	else
		fault_set(&f, ERR_PARENT_STATUS, "it answered %u", s);
	way_end_says_no(r, &f,
	    s == 502 || s == 503 || s == 504 ? WAY_NO_ORIGIN : WAY_NO_LAST);
}

/* RFC 1928 6: a general failure, network, host, connection, TTL. */
static enum way_no
what_no(const struct socks *s, const struct fault *f)
{
	switch (s->reply) {
	case 1:
	case 3:
	case 4:
	case 5:
	case 6:
		return (WAY_NO_ORIGIN);
	default:
		return (
		    f->code == ERR_PARENT_AUTH || f->code == ERR_PARENT_DENIED
			? WAY_NO_LAST
			: WAY_NO_HERE);
	}
}

/* What a SOCKS server has said that is no way. */
static void
socks_refused(struct way_run *r, const struct fault *f)
{
	if (!socks_has_greeted(&r->socks) && f->code != ERR_PARENT_AUTH)
		way_end_is_bad(r, f);
	else
		way_end_says_no(r, f, what_no(&r->socks, f));
}

/* What it was asked has not left yet. */
static void
answered_ahead(struct way_run *r)
{
	struct fault f = { 0 };

	fault_set(&f, ERR_PARENT_PROTOCOL, "it answers before it is asked");
	way_end_says_no(r, &f, WAY_NO_HERE);
}

/* True: it is decided, by whatever the parent has sent so far. */
static bool
take_answer(struct way_run *r)
{
	struct fault f = { 0 };
	struct buf out = { 0 };
	enum socks_step step;

	if (link_pending(r->link) > 0) {
		answered_ahead(r);
		return (true);
	}
	if (!way_is_socks(r))
		switch (http_connect_feed(&r->connect, &r->in, &f)) {
		case HTTP_CONNECT_MORE:
			return (false);
		case HTTP_CONNECT_OPEN:
			way_open(r);
			return (true);
		case HTTP_CONNECT_REFUSED:
			connect_refused(r);
			return (true);
		case HTTP_CONNECT_BAD:
			way_end_says_no(r, &f, WAY_NO_LAST);
			return (true);
		}
	step = socks_feed(&r->socks, &r->in, &out, &f);
	if (socks_has_greeted(&r->socks) && step != SOCKS_BAD)
		way_end_is_good(r);
	if (out.n > 0) {
		link_write(r->link, out.p, out.n);
		explicit_bzero(out.p, out.n);
	}
	if (out.n > 0 && step == SOCKS_OPEN) {
		buf_fini(&out);
		answered_ahead(r);
		return (true);
	}
	buf_fini(&out);
	if (step == SOCKS_OPEN)
		way_open(r);
	else if (step == SOCKS_BAD)
		socks_refused(r, &f);
	return (step != SOCKS_MORE);
}

/* It ended without an answer, which may be the origin's doing or its own. */
static void
no_answer(struct way_run *r)
{
	struct fault f = { 0 };

	fault_set(&f, ERR_PARENT_PROTOCOL,
	    "it ended the connection without an "
	    "answer");
	if (way_is_socks(r) && !socks_has_greeted(&r->socks))
		way_end_is_bad(r, &f);
	else
		way_end_says_no(r, &f, WAY_NO_HERE);
}

void
way_asked(struct way_run *r)
{
	enum pull p;

	for (;;) {
		p = link_read(r->link, &r->in, READ_BYTES);
		if (p == PULL_WAIT)
			return;
		if (p != PULL_MORE) {
			no_answer(r);
			return;
		}
		if (take_answer(r))
			return;
	}
}

/* RFC 9110 7.6.3: so that a loop is seen by whoever it comes back to. */
static struct str
via_of(const struct way_run *r)
{
	const char *self = r->gen->gen->pseudonym;

	return (r->want.via.n > 0 ? arena_printf(r->arena, "%.*s, 1.1 %s",
					STR_ARG(r->want.via), self)
				  : arena_printf(r->arena, "1.1 %s", self));
}

/* The address that the parent is told; NULL: it gets the name. */
static const union address *
told(const struct way_run *r)
{
	return (r->n_to > 0 ? &r->to[r->at_to] : NULL);
}

static void
send_connect(struct way_run *r, struct buf *out)
{
	const union address *a = told(r);
	struct http_connect_want w = { .to = { .host = r->want.host,
					   .port = r->want.port },
		.via = via_of(r),
		.authorization = str_of(r->up->authorization) };
	char text[ADDRESS_TEXT];

	if (a != NULL) {
		address_ip_text(&a->sa, text);
		w.to.host = str_of(text);
		w.to.host_is_v6 = a->sa.sa_family == AF_INET6;
	}
	r->connect = (struct http_connect){ .arena = r->arena,
		.limits = &r->gen->gen->origin_limits };
	http_connect_print(out, &w);
}

static void
send_greeting(struct way_run *r, struct buf *out)
{
	const union address *a = told(r);
	const struct socks_want w = { .address = a != NULL ? &a->sa : NULL,
		.host = r->want.host,
		.port = r->want.port,
		.user = str_of(r->up->user),
		.password = str_of(r->up->password) };

	socks_begin(&r->socks, &w, out);
}

void
way_ask(struct way_run *r)
{
	struct buf out = { 0 };

	if (way_is_socks(r))
		send_greeting(r, &out);
	else
		send_connect(r, &out);
	link_write(r->link, out.p, out.n);
	explicit_bzero(out.p, out.n);
	buf_fini(&out);
	way_asked(r);
}

void
way_ask_late(struct way_run *r)
{
	struct fault f = { 0 };

	fault_set(&f, ERR_PARENT_TIMEOUT, "no answer in %d s",
	    WAY_ANSWER_MS / 1000);
	if (way_is_socks(r) && !socks_has_greeted(&r->socks))
		way_end_is_bad(r, &f);
	else
		way_end_says_no(r, &f,
		    WAY_NO_LAST); /* it may wait for the origin */
}
