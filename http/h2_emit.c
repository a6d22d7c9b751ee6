/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages become fields of HTTP/2: small names, pseudo fields first, nothing
 * of the connection (RFC 9113 8.2, 8.3).  nghttp2 copies what it is given.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "http/chars.h"
#include "http/h1_body.h"
#include "http/h2_priv.h"
#include "http/uri.h"

#define COOKIE_SHORT 20u /* RFC 7541 7.1.3: can be guessed */
#define NAME_LONGEST 32u

/* Names as they are in HTTP/2, filled before main(). */
static char small[FIELD_COUNT][NAME_LONGEST];

__attribute__((constructor)) static void
make_names(void)
{
	struct str name;
	unsigned id;
	size_t i;

	for (id = FIELD_OTHER + 1; id < FIELD_COUNT; id++) {
		name = http_field_name((enum http_field_id)id);
		assert(name.n < NAME_LONGEST);
		for (i = 0; i < name.n; i++)
			small[id][i] = (char)
			    http_lower[(unsigned char)name.p[i]];
	}
}

/* Made from the model, or of a connection. */
static const bool is_made[FIELD_COUNT] = {
	[FIELD_CONNECTION] = true,
	[FIELD_PROXY_CONNECTION] = true,
	[FIELD_KEEP_ALIVE] = true,
	[FIELD_TRANSFER_ENCODING] = true,
	[FIELD_UPGRADE] = true,
	[FIELD_HTTP2_SETTINGS] = true,
	[FIELD_CONTENT_LENGTH] = true,
	[FIELD_HOST] = true,
};

static void
add(struct h2_session *s, struct str name, struct str value, uint8_t flags)
{
	if (s->nv_n == s->nv_cap) {
		s->nv_cap = s->nv_cap == 0 ? 32 : 2 * s->nv_cap;
		s->nv = realloc(s->nv, s->nv_cap * sizeof(*s->nv));
		if (s->nv == NULL)
			abort();
	}
	s->nv[s->nv_n++] = (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name.p,
		.namelen = name.n,
		.value = (uint8_t *)(uintptr_t)(value.n > 0 ? value.p : ""),
		.valuelen = value.n,
		.flags = flags };
}

static void
add_made(struct h2_session *s, struct str name, struct str value)
{
	add(s, name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME);
}

/* What must not be found out by guessing at it (RFC 7541 7.1.3). */
static bool
is_secret(const struct http_field *f)
{
	switch ((int)f->id) {
	case FIELD_AUTHORIZATION:
	case FIELD_PROXY_AUTHORIZATION:
	case FIELD_SET_COOKIE:
		return (true);
	case FIELD_COOKIE:
		return (f->value.n < COOKIE_SHORT);
	default:
		return (false);
	}
}

static void
add_list(struct h2_session *s, const struct http_fields *l)
{
	const struct http_field *f;
	uint8_t secret;
	unsigned i;

	for (i = 0; i < l->n; i++) {
		f = &l->v[i];
		if (f->id == FIELD_OTHER) { /* nghttp2 copies it, small */
			add(s, f->name, f->value, NGHTTP2_NV_FLAG_NONE);
			continue;
		}
		if (is_made[f->id] ||
		    (f->id == FIELD_TE && !str_ieq(f->value, STR("trailers"))))
			continue;
		secret = is_secret(f) ? NGHTTP2_NV_FLAG_NO_INDEX
				      : NGHTTP2_NV_FLAG_NONE;
		add(s, (struct str){ small[f->id], f->name.n }, f->value,
		    secret | NGHTTP2_NV_FLAG_NO_COPY_NAME);
	}
}

static struct str
number(char out[static 20], uint64_t v)
{
	unsigned at = 20;

	do
		out[--at] = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	return ((struct str){ out + at, 20 - at });
}

static void
add_length(struct h2_session *s, const struct http_msg *m)
{
	const struct http_field *f;

	if (m->length_is == LENGTH_KNOWN) {
		add_made(s, STR("content-length"),
		    number(s->digits, m->length));
		return;
	}
	if (m->length_is != LENGTH_NONE || m->is_request || m->status < 200 ||
	    m->status == 204)
		return;
	/* RFC 9110 8.6: HEAD and 304 */
	f = http_fields_get(&m->fields, FIELD_CONTENT_LENGTH);
	if (f != NULL)
		add_made(s, STR("content-length"), f->value);
}

static struct str
authority(struct h2_session *s, const struct http_msg *m)
{
	if (m->uri.host.n == 0)
		return (http_fields_value(&m->fields, FIELD_HOST));
	s->text.n = 0;
	if (m->method_id == METHOD_CONNECT && m->protocol.n == 0)
		http_authority_print(&s->text, &m->uri);
	else
		http_host_print(&s->text, &m->uri);
	return (buf_as_str(&s->text));
}

void
h2_emit_request(struct h2_session *s, const struct http_msg *m)
{
	s->nv_n = 0;
	add_made(s, STR(":method"), m->method);
	if (m->method_id != METHOD_CONNECT || m->protocol.n > 0) {
		add_made(s, STR(":scheme"),
		    m->uri.scheme.n > 0 ? m->uri.scheme : STR("https"));
		add_made(s, STR(":path"),
		    m->uri.path.n > 0 ? m->uri.path : m->target);
	}
	add_made(s, STR(":authority"), authority(s, m));
	if (m->protocol.n > 0)
		add_made(s, STR(":protocol"), m->protocol);
	add_list(s, &m->fields);
	add_length(s, m);
}

void
h2_emit_answer(struct h2_session *s, const struct http_msg *m)
{
	assert(m->status >= 100 && m->status <= 999 && m->status != 101);
	s->nv_n = 0;
	add_made(s, STR(":status"), number(s->status, m->status));
	add_list(s, &m->fields);
	add_length(s, m);
}

void
h2_emit_trailer(struct h2_session *s, const struct http_fields *l)
{
	unsigned i;

	s->nv_n = 0;
	for (i = 0; i < l->n; i++)
		if (!http_trailer_forbids(l->v[i].id))
			add(s, l->v[i].name, l->v[i].value,
			    NGHTTP2_NV_FLAG_NONE);
}
