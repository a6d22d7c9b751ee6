/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The head of a REQMOD or RESPMOD request.  On the path of every message:
 * appends only, into buffers that are kept.
 * Room: icap.  Obeys RFC 3507 4.3, 4.4, 4.8.1, 4.9.1.
 */
#include <nettle/base64.h>
#include "http/chars.h"
#include "http/h1_emit.h"
#include "icap/request.h"
#include "icap/vars.h"

static void
add_number(struct buf *b, size_t n)
{
	char text[20], *at = text + sizeof(text);

	do
		*--at = (char)('0' + n % 10);
	while ((n /= 10) > 0);
	buf_add(b, at, (size_t)(text + sizeof(text) - at));
}

#define ADD(b, lit) buf_add((b), (lit), sizeof(lit) - 1)

static void
add_base64(struct buf *b, struct str s)
{
	char *to = buf_room(b, BASE64_ENCODE_RAW_LENGTH(s.n));

	base64_encode_raw(to, s.n, (const uint8_t *)s.p);
	b->n += BASE64_ENCODE_RAW_LENGTH(s.n);
}

/* X-Authenticated-User: base64 of a path, as ProxySG and others read it. */
static void
add_rfc_user(struct buf *b, struct str user)
{
	struct buf path = { 0 };

	ADD(&path, "Local://");
	buf_str(&path, user);
	ADD(b, "X-Authenticated-User: ");
	add_base64(b, buf_as_str(&path));
	ADD(b, "\r\n");
	buf_fini(&path);
}

static void
add_user(struct buf *b, const struct icap_request *r, struct str user)
{
	bool squid = r->identity == ICAP_IDENTITY_SQUID;

	if (user.n == 0 || !http_is_value(user, false))
		return;
	if (!squid || r->wants_user)
		add_rfc_user(b, user);
	if (squid || r->wants_username) {
		ADD(b, "X-Client-Username: ");
		buf_str(b, user);
		ADD(b, "\r\n");
	}
}

/*
 * The configuration says who may be told of, and the form that services read
 * usually.  X-Include (draft-stecher-icap-subid) may ask for another form, too.
 * It takes nothing away: c-icap's own names only what its service reads, while
 * its log and access lists want the address as well.
 */
static void
add_identity(struct buf *b, const struct icap_request *r)
{
	const struct scan_who *who = r->msg->who;

	if (r->identity == ICAP_IDENTITY_NONE || who == NULL)
		return;
	if (who->client_ip.n > 0) {
		ADD(b, "X-Client-IP: ");
		buf_str(b, who->client_ip);
		ADD(b, "\r\n");
	}
	if (who->server_ip.n > 0) { /* known once there is a response */
		ADD(b, "X-Server-IP: ");
		buf_str(b, who->server_ip);
		ADD(b, "\r\n");
	}
	add_user(b, r, who->user);
}

/* Those with variables, unless nothing is left of their value. */
static void
add_headers(struct buf *b, const struct icap_request *r)
{
	struct buf value = { 0 };
	struct str text;
	unsigned i;

	for (i = 0; i < r->n_headers; i++) {
		text = str_of(r->headers[i].value);
		if (!icap_vars_has(text))
			continue;
		value.n = 0;
		icap_vars_print(&value, text, r->msg->who);
		text = str_trim(buf_as_str(&value));
		if (text.n == 0)
			continue;
		buf_str(b, str_of(r->headers[i].name));
		ADD(b, ": ");
		buf_str(b, text);
		ADD(b, "\r\n");
	}
	buf_fini(&value);
}

/* Does the configuration set this one for this service? */
static bool
is_set(const struct icap_request *r, struct str name)
{
	unsigned i;

	for (i = 0; i < r->n_headers; i++)
		if (str_ieq(name, str_of(r->headers[i].name)))
			return (true);
	return (false);
}

/* What services before it have said for it. */
static void
add_shared(struct buf *b, const struct icap_request *r)
{
	const struct scan_shared *s = r->msg->shared;
	unsigned i;

	for (i = 0; i < r->shared; i++) {
		if (!shared_counts(s, i, r->shared) || is_set(r, s->v[i].name))
			continue;
		buf_str(b, s->v[i].name);
		ADD(b, ": ");
		buf_str(b, s->v[i].value);
		ADD(b, "\r\n");
	}
}

/* RFC 3507 4.4.2: these belong into the ICAP head. */
static void
add_proxy_field(struct buf *b, const struct http_msg *m, enum http_field_id id)
{
	const struct http_field *f = http_fields_get(&m->fields, id);

	if (f == NULL)
		return;
	buf_str(b, http_field_name(id));
	ADD(b, ": ");
	buf_str(b, f->value);
	ADD(b, "\r\n");
}

/* RFC 3507 4.4.1 */
static void
add_encapsulated(struct buf *b, const struct icap_request *r, size_t first,
    size_t all)
{
	bool resp = r->msg->mode == SCAN_RESP;

	ADD(b, "Encapsulated: req-hdr=0, ");
	if (resp) {
		ADD(b, "res-hdr=");
		add_number(b, first);
		ADD(b, ", ");
	}
	if (!r->has_body)
		ADD(b, "null-body=");
	else if (resp)
		ADD(b, "res-body=");
	else
		ADD(b, "req-body=");
	add_number(b, all);
	ADD(b, "\r\n\r\n");
}

/* The head of a message of which only a part is given says so. */
static void
add_head(struct buf *http, const struct http_msg *m, uint64_t length)
{
	struct http_msg part;

	if (length == 0 || m->length_is != LENGTH_KNOWN) {
		h1_emit_encapsulated(http, m);
		return;
	}
	part = *m;
	part.length = length;
	h1_emit_encapsulated(http, &part);
}

void
icap_request_build(const struct icap_request *r, struct buf *icap,
    struct buf *http)
{
	const struct scan_message *m = r->msg;
	size_t first;

	icap->n = http->n = 0;
	add_head(http, m->req, m->mode == SCAN_REQ ? r->length : 0);
	first = http->n;
	if (m->mode == SCAN_RESP)
		add_head(http, m->resp, r->length);
	buf_str(icap, r->prefix);
	if (r->allow_206)
		ADD(icap, "Allow: 204, 206\r\n");
	else
		ADD(icap, "Allow: 204\r\n");
	if (r->preview >= 0) {
		ADD(icap, "Preview: ");
		add_number(icap, (size_t)r->preview);
		ADD(icap, "\r\n");
	}
	add_headers(icap, r);
	add_shared(icap, r);
	add_identity(icap, r);
	add_proxy_field(icap, m->req, FIELD_PROXY_AUTHORIZATION);
	if (m->mode == SCAN_RESP)
		add_proxy_field(icap, m->resp, FIELD_PROXY_AUTHENTICATE);
	add_encapsulated(icap, r, first, http->n);
}
