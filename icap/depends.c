/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * May an answer of the service be believed again (scanners/known.h)?
 *
 * A 204 to RESPMOD is as good for the next one who loads the same from the
 * same address, while every server that is up has the ISTag it had: that is
 * what an ISTag is for (RFC 3507 4.7), and what caches in front of which such
 * services are used rely on.  Who asks is part of it as far as the service is
 * told (identity), since it may have rules by user.  Fields of the request
 * (Cookie, User-Agent) are not: the body that they led to is.
 * Room: icap.  Thread: its loop's.
 */
#include "http/uri.h"
#include "icap/tx.h"
#include "icap/vars.h"

static void
add(struct buf *b, struct str s)
{
	buf_add(b, &s.n, sizeof(s.n)); /* no list of strings reads as another */
	buf_str(b, s);
}

static void
add_number(struct buf *b, uint64_t n)
{
	buf_add(b, &n, sizeof(n));
}

/* Every server that may be asked; false: none, or one does not say its state. */
static bool
add_servers(struct buf *b, const struct icap_service *svc)
{
	const struct icap_endpoint *ep;
	bool any = false;
	unsigned i;

	for (i = 0; i < svc->n; i++) {
		ep = &svc->eps[i];
		if (ep->state != ICAP_UP)
			continue;
		if (ep->istag[0] == '\0')
			return (false);
		add(b, str_of(ep->istag));
		add(b, ep->prefix[SCAN_RESP]);
		any = true;
	}
	return (any);
}

/* Those with variables are not in the prefix of the request. */
static void
add_headers(struct buf *b, const struct icap_service *svc)
{
	unsigned i;

	for (i = 0; i < svc->o.n_headers; i++) {
		add(b, str_of(svc->o.headers[i].name));
		add(b, str_of(svc->o.headers[i].value));
	}
}

static void
add_who(struct buf *b, const struct icap_service *svc,
    const struct scan_message *msg)
{
	add(b, http_fields_value(&msg->req->fields, FIELD_PROXY_AUTHORIZATION));
	if (svc->scanner.cache_shared ||
	    svc->o.identity == ICAP_IDENTITY_NONE || msg->who == NULL)
		return;
	add(b, msg->who->client_ip);
	add(b, msg->who->user);
}

/* A header of the configuration that says more of this flow than add_who(). */
static bool
has_variables(const struct icap_service *svc)
{
	unsigned i;

	for (i = 0; i < svc->o.n_headers; i++)
		if (icap_vars_has(str_of(svc->o.headers[i].value)))
			return (true);
	return (false);
}

struct str
icap_depends(const struct scanner *scanner, const struct scan_message *msg)
{
	const struct icap_service *svc = (const void *)scanner;
	struct buf b = { 0 };
	struct str s = STR_NONE;

	/*
	 * A service for requests looks at all of them.  Others are told what
	 * this one says, or it is told what they said.
	 */
	if (msg->mode != SCAN_RESP || svc->o.n_share > 0 ||
	    (msg->shared != NULL && msg->shared->n > 0) ||
	    (has_variables(svc) && !scanner->cache_shared))
		return (s);
	if (add_servers(&b, svc)) {
		add(&b, msg->req->method);
		http_uri_print(&b, &msg->req->uri, true);
		add_number(&b, (uint64_t)svc->o.preview);
		add_number(&b, svc->o.max_body);
		add_number(&b, svc->o.identity);
		add_number(&b, svc->o.decode);
		add_headers(&b, svc);
		add_who(&b, svc, msg);
		s = arena_str(msg->arena, buf_as_str(&b));
	}
	buf_fini(&b);
	return (s);
}

bool
icap_reusable(const struct icap_tx *tx)
{
	const struct http_fields *f = &tx->answer->fields;

	return (tx->answer->status == 204 && tx->ep->istag[0] != '\0' &&
	    http_fields_get(f, FIELD_CACHE_CONTROL) == NULL &&
	    http_fields_get(f, FIELD_PRAGMA) == NULL &&
	    http_fields_get(f, FIELD_EXPIRES) == NULL);
}
