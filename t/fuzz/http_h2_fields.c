/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz heads of HTTP/2, as lines of "name: value" (the colon behind the first
 * octet ends a name).  A request that is let through must be one for HTTP/1,
 * too, and the same: with its target parsed and written out, it is read back
 * by h1_head.h.  The first octet: does the stream end with it?
 */
#include <assert.h>
#include <string.h>
#include "base/chunk.h"
#include "http/h1_emit.h"
#include "http/h1_frame.h"
#include "http/h2.h"
#include "http/uri.h"
#include "t/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* RFC 7541 5.1, 5.2: a string as it is. */
static void
put_string(struct buf *b, struct str s)
{
	uint8_t octet;
	size_t n = s.n;

	octet = n < 127 ? (uint8_t)n : 127;
	buf_add(b, &octet, 1);
	if (n >= 127) {
		for (n -= 127; n >= 128; n >>= 7) {
			octet = (uint8_t)(128 | (n & 127));
			buf_add(b, &octet, 1);
		}
		octet = (uint8_t)n;
		buf_add(b, &octet, 1);
	}
	buf_add(b, s.p, s.n);
}

/* Literals without indexing. */
static void
put_lines(struct buf *b, struct str text)
{
	struct str line, name, value;

	while (text.n > 0) {
		line = (struct str){ text.p, str_index(text, '\n') };
		text.p += line.n + (line.n < text.n);
		text.n -= line.n + (line.n < text.n);
		if (line.n == 0)
			continue;
		name = (struct str){ line.p,
			1 +
			    str_index((struct str){ line.p + 1, line.n - 1 },
				':') };
		value = (struct str){ line.p + name.n, line.n - name.n };
		if (value.n >= 2 && value.p[1] == ' ') {
			value.p++;
			value.n--;
		}
		if (value.n > 0) {
			value.p++;
			value.n--;
		}
		buf_add(b, "", 1);
		put_string(b, name);
		put_string(b, value);
	}
}

static void
put_frame(struct chq *q, uint8_t type, uint8_t flags, uint8_t id,
    struct str payload)
{
	uint8_t hd[9] = { (uint8_t)(payload.n >> 16), (uint8_t)(payload.n >> 8),
		(uint8_t)payload.n, type, flags, 0, 0, 0, id };

	chq_copy(q, hd, sizeof(hd));
	chq_copy(q, payload.p, payload.n);
}

static void
check_same(struct http_msg *m)
{
	struct buf b = { 0 }, once = { 0 }, twice = { 0 };
	struct http_msg *again;
	struct h1_frame frame;
	unsigned i;

	if (m->method_id == METHOD_CONNECT ||
	    http_target_parse(m, NULL, true, NULL) != ERR_NONE)
		return;
	h1_emit_request(&b, m, H1_TARGET_ORIGIN);
	again = head_read(m->arena, H1_REQUEST, buf_as_str(&b),
	    &h1_limits_origin, NULL);
	assert(again != NULL);
	assert(str_eq(again->method, m->method));
	assert(str_eq(again->target, m->uri.path));
	assert(h1_frame_request(again, &frame, NULL) == ERR_NONE);
	assert(again->length_is == m->length_is && again->length == m->length);
	for (i = 0; i < m->fields.n; i++)
		assert(!str_ieq(m->fields.v[i].name, STR("transfer-encoding")));
	http_fields_remove(&m->fields, FIELD_HOST);
	http_fields_remove(&again->fields, FIELD_HOST);
	http_fields_remove(&m->fields, FIELD_CONNECTION);
	http_fields_remove(&again->fields, FIELD_CONNECTION);
	head_fields(&once, &m->fields);
	head_fields(&twice, &again->fields);
	assert(str_eq(buf_as_str(&once), buf_as_str(&twice)));
	buf_fini(&b);
	buf_fini(&once);
	buf_fini(&twice);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const struct h2_config cfg = { .server = true };
	struct chq in = { 0 };
	struct buf block = { 0 };
	struct h2_session *s;
	struct h2_stream *st;
	struct http_msg *m;
	unsigned news;

	if (n < 1 || n > 8000)
		return (0);
	put_lines(&block, (struct str){ (const char *)p + 1, n - 1 });
	if (block.n > 16384) {
		buf_fini(&block);
		return (0);
	}
	s = h2_session_new(&cfg);
	chq_copy(&in, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	put_frame(&in, 4, 0, 0, STR(""));
	put_frame(&in, 1, (uint8_t)(4 | (p[0] & 1)), 1, buf_as_str(&block));
	assert(h2_session_take(s, &in, 1));
	st = h2_session_next(s, &news);
	assert(st != NULL);
	if ((news & H2_NEWS_HEAD) != 0) {
		m = h2_stream_head_take(st);
		if (h2_stream_fault(st, NULL) == ERR_NONE)
			check_same(m);
	} else
		assert(h2_stream_fault(st, NULL) != ERR_NONE &&
		    h2_stream_is_reset(st, NULL));
	h2_stream_free(&st);
	h2_session_free(&s);
	chq_fini(&in);
	buf_fini(&block);
	return (0);
}
