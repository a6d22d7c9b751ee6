/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CONNECT to another proxy, see connect.h. */
#include "http/connect.h"
#include "http/uri.h"

#define INTERIM_MAX 4

static void
put_field(struct buf *b, struct str name, struct str value)
{
	if (value.n == 0)
		return;
	buf_str(b, name);
	buf_str(b, value);
	buf_str(b, STR("\r\n"));
}

void
http_connect_print(struct buf *b, const struct http_connect_want *want)
{
	struct buf to = { 0 };

	http_authority_print(&to, &want->to);
	buf_str(b, STR("CONNECT "));
	buf_str(b, buf_as_str(&to));
	buf_str(b, STR(" HTTP/1.1\r\n"));
	put_field(b, STR("Host: "), buf_as_str(&to)); /* RFC 9112 3.2.3 */
	put_field(b, STR("Proxy-Authorization: "), want->authorization);
	put_field(b, STR("Via: "), want->via);
	buf_str(b, STR("\r\n"));
	buf_fini(&to);
}

static enum http_connect_step
bad(struct fault *f, const char *why)
{
	(void)fault_set(f, ERR_PARENT_PROTOCOL, "%s", why);
	return (HTTP_CONNECT_BAD);
}

static enum http_connect_step
take_head(struct http_connect *c, const struct http_msg *m, struct fault *f)
{
	c->status = m->status;
	c->head = NULL;
	if (m->status >= 200 && m->status <= 299)
		return (HTTP_CONNECT_OPEN);
	if (m->status >= 200)
		return (HTTP_CONNECT_REFUSED);
	if (m->status == 101)
		return (bad(f, "it switches protocols unasked"));
	return (++c->interim > INTERIM_MAX ? bad(f, "too many interim answers")
					   : HTTP_CONNECT_MORE);
}

enum http_connect_step
http_connect_feed(struct http_connect *c, struct chq *in, struct fault *f)
{
	enum http_connect_step step = HTTP_CONNECT_MORE;
	struct http_msg *m;
	struct fault inner = { 0 };

	while (step == HTTP_CONNECT_MORE && chq_len(in) > 0) {
		if (c->head == NULL)
			c->head = h1_head_new(c->arena, H1_RESPONSE, c->limits);
		switch (h1_head_feed(c->head, in, &m, &inner)) {
		case H1_MORE:
			return (HTTP_CONNECT_MORE);
		case H1_DONE:
			step = take_head(c, m, f);
			break;
		case H1_BAD:
			return (bad(f, inner.detail));
		}
	}
	return (step);
}
