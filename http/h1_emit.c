/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Canonical HTTP/1 heads, see h1_emit.h. */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include "http/h1_body.h"
#include "http/h1_emit.h"
#include "http/uri.h"

#define HEAD_ROOM 1024 /* the start of a buffer: most heads fit */

/* Fields that are never copied from the list: they are made from the model. */
static const bool is_made[FIELD_COUNT] = {
	[FIELD_CONNECTION] = true,
	[FIELD_PROXY_CONNECTION] = true,
	[FIELD_KEEP_ALIVE] = true,
	[FIELD_CONTENT_LENGTH] = true,
	[FIELD_TRANSFER_ENCODING] = true,
};

/* What the encapsulated head has not either (RFC 3507 4.4.2). */
static const bool is_ours[FIELD_COUNT] = {
	[FIELD_PROXY_AUTHORIZATION] = true,
	[FIELD_PROXY_AUTHENTICATE] = true,
	[FIELD_TE] = true,
	[FIELD_TRAILER] = true,
};

static char *
put(char *p, struct str s)
{
	memcpy(p, s.p, s.n);
	return (p + s.n);
}

static void
emit_field(struct buf *b, struct str name, struct str value)
{
	char *p = buf_room(b, name.n + value.n + 4);

	p = put(p, name);
	*p++ = ':';
	*p++ = ' ';
	if (value.n > 0)
		p = put(p, value);
	*p++ = '\r';
	*p++ = '\n';
	*p = '\0';
	b->n += name.n + value.n + 4;
}

static void
emit_number(struct buf *b, uint64_t v)
{
	char digits[20];
	unsigned at = sizeof(digits);

	do
		digits[--at] = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	buf_add(b, digits + at, sizeof(digits) - at);
}

/* The list without what is made from the model, and without `skip`. */
static void
emit_list(struct buf *b, const struct http_fields *l, enum http_field_id skip,
    bool encapsulated)
{
	unsigned i;

	for (i = 0; i < l->n; i++) {
		const struct http_field *f = &l->v[i];

		if (f->id != FIELD_OTHER &&
		    (is_made[f->id] || f->id == skip ||
			(encapsulated && is_ours[f->id])))
			continue;
		emit_field(b, f->name, f->value);
	}
}

static void
emit_framing(struct buf *b, const struct http_msg *m, enum h1_framing framing)
{
	const struct http_field *f;

	switch (framing) {
	case FRAMING_LENGTH:
		buf_str(b, STR("Content-Length: "));
		emit_number(b, m->length);
		buf_str(b, STR("\r\n"));
		break;
	case FRAMING_CHUNKED:
		buf_str(b, STR("Transfer-Encoding: chunked\r\n"));
		break;
	case FRAMING_NONE: /* RFC 9110 8.6: HEAD and 304 */
		f = http_fields_get(&m->fields, FIELD_CONTENT_LENGTH);
		if (f != NULL && !m->is_request && m->status >= 200 &&
		    m->status != 204)
			emit_field(b, f->name, f->value);
		break;
	case FRAMING_CLOSE:
		break;
	}
}

static void
emit_connection(struct buf *b, const struct http_msg *m, bool close,
    bool to_http10)
{
	const struct {
		bool on;
		struct str option;
	} options[] = {
		{ close, STR("close") },
		{ !close && to_http10, STR("keep-alive") },
		{ http_fields_get(&m->fields, FIELD_TE) != NULL, STR("TE") },
		{ http_fields_get(&m->fields, FIELD_UPGRADE) != NULL,
		    STR("Upgrade") },
		{ http_fields_get(&m->fields, FIELD_PROXY_SUPPORT) != NULL,
		    STR("Proxy-Support") },
	};
	struct str before = STR("Connection: ");
	unsigned i;

	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (options[i].on) {
			buf_str(b, before);
			buf_str(b, options[i].option);
			before = STR(", ");
		}
	if (before.n == 2)
		buf_str(b, STR("\r\n"));
}

static void
emit_target(struct buf *b, const struct http_msg *m, enum h1_target form)
{
	assert(form == H1_TARGET_AS_IS || m->uri.host.n > 0);
	if (form == H1_TARGET_AS_IS)
		buf_str(b, m->target);
	else if (m->method_id == METHOD_CONNECT)
		http_authority_print(b, &m->uri);
	else if (form == H1_TARGET_ORIGIN)
		buf_str(b, m->uri.path);
	else
		http_uri_print(b, &m->uri, true);
}

static void
emit_request_line(struct buf *b, const struct http_msg *m, enum h1_target form)
{
	(void)buf_room(b, HEAD_ROOM);
	buf_str(b, m->method);
	buf_str(b, STR(" "));
	emit_target(b, m, form);
	buf_str(b, STR(" HTTP/1.1\r\n"));
	if (m->uri.host.n > 0) {
		buf_str(b, STR("Host: "));
		http_host_print(b, &m->uri);
		buf_str(b, STR("\r\n"));
	} else if (http_fields_get(&m->fields, FIELD_HOST) != NULL)
		emit_field(b, STR("Host"),
		    http_fields_value(&m->fields, FIELD_HOST));
}

static void
emit_status_line(struct buf *b, const struct http_msg *m)
{
	(void)buf_room(b, HEAD_ROOM);
	buf_str(b, STR("HTTP/1.1 "));
	emit_number(b, m->status);
	buf_str(b, STR(" ")); /* RFC 9112 4: also without reason */
	buf_str(b, m->reason);
	buf_str(b, STR("\r\n"));
}

void
h1_emit_request(struct buf *b, const struct http_msg *m, enum h1_target form)
{
	assert(m->is_request);
	emit_request_line(b, m, form);
	emit_list(b, &m->fields, FIELD_HOST, false);
	emit_framing(b, m, h1_frame_out(m, false));
	emit_connection(b, m, false, false);
	buf_str(b, STR("\r\n"));
}

void
h1_emit_response(struct buf *b, const struct http_msg *m,
    const struct h1_frame *frame, bool to_http10)
{
	assert(!m->is_request);
	assert(frame->framing == h1_frame_out(m, to_http10));
	assert(frame->framing != FRAMING_CLOSE || !frame->keep_alive);
	emit_status_line(b, m);
	emit_list(b, &m->fields, FIELD_CONNECTION, false);
	emit_framing(b, m, frame->framing);
	emit_connection(b, m, m->status >= 200 && !frame->keep_alive,
	    to_http10);
	buf_str(b, STR("\r\n"));
}

void
h1_emit_encapsulated(struct buf *b, const struct http_msg *m)
{
	if (m->is_request)
		emit_request_line(b, m, H1_TARGET_ABSOLUTE);
	else
		emit_status_line(b, m);
	emit_list(b, &m->fields, m->is_request ? FIELD_HOST : FIELD_CONNECTION,
	    true);
	if (m->length_is != LENGTH_UNKNOWN)
		emit_framing(b, m, h1_frame_out(m, false));
	buf_str(b, STR("\r\n"));
}

void
h1_emit_trailer(struct buf *b, const struct http_fields *l)
{
	unsigned i;

	buf_str(b, STR("0\r\n"));
	for (i = 0; l != NULL && i < l->n; i++)
		if (!http_trailer_forbids(l->v[i].id))
			emit_field(b, l->v[i].name, l->v[i].value);
	buf_str(b, STR("\r\n"));
}
