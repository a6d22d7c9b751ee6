/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz what a client of HTTP/2 sends.  The first octet says how it is cut,
 * the second how its server behaves: it answers, with a body or without,
 * reads, lets be, resets.  What a peer can make it hold is bounded.
 */
#include <assert.h>
#include <string.h>
#include "base/chunk.h"
#include "http/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define ANSWER_OCTETS 5000
#define STREAMS 8 /* at once */

static void
answer(struct h2_stream *st, bool body)
{
	static const char zeros[ANSWER_OCTETS];
	struct arena *a = arena_new();
	struct http_msg *m = http_msg_new(a, false);
	struct chq q = { 0 };
	size_t n;

	m->status = 200;
	http_fields_add_named(a, &m->fields, STR("X-Own"), STR("1"));
	m->length_is = body ? LENGTH_UNKNOWN : LENGTH_NONE;
	h2_stream_answer(st, m, !body);
	if (body && (n = h2_stream_room(st)) > 0) {
		n = n < sizeof(zeros) ? n : sizeof(zeros);
		chq_copy(&q, zeros, n);
		h2_stream_write(st, &q, n);
		h2_stream_end(st, &m->fields);
	}
	chq_fini(&q);
	arena_free(&a);
}

/* A stream of ours: the session's are as many at once. */
static struct own {
	struct h2_stream *stream; /* NULL: free */
	unsigned number;          /* of the streams so far */
} own[STREAMS];

static struct own *
own_of(struct h2_stream *st, unsigned *last)
{
	struct own *o = h2_stream_owner(st);
	unsigned i;

	for (i = 0; o == NULL; i++) {
		assert(i < STREAMS);
		if (own[i].stream == NULL)
			o = &own[i];
	}
	if (o->stream == NULL) {
		*o = (struct own){ st, ++*last };
		h2_stream_set_owner(st, o);
	}
	assert(o->stream == st);
	return (o);
}

/* Streams are looked at by what way says of their numbers. */
static void
serve(struct h2_session *s, uint8_t way, unsigned *last)
{
	struct h2_stream *st;
	struct own *o;
	struct chq q = { 0 };
	struct http_msg *m;
	unsigned news;
	bool seldom;

	while ((st = h2_session_next(s, &news)) != NULL) {
		o = own_of(st, last);
		seldom = ((o->number + way) & 3) == 0;
		if ((news & H2_NEWS_HEAD) != 0) {
			m = h2_stream_head_take(st);
			assert(m != NULL && m->is_request);
			if (!seldom || (way & 4) != 0)
				answer(st, (way & 8) != 0);
		}
		while ((!seldom || (way & 16) != 0) &&
		    h2_stream_pull(st, &q, 1000, NULL) == PULL_MORE)
			chq_drop(&q, chq_len(&q));
		if ((news & H2_NEWS_RESET) != 0 || ((way & 32) != 0 && !seldom))
			h2_stream_free(&o->stream);
		else if ((way & 64) != 0 && seldom)
			h2_stream_reset(st, H2_CANCEL);
	}
	chq_fini(&q);
}

static void
end(struct h2_session *s)
{
	struct h2_stream *st;
	struct fault f = { .code = ERR_CLIENT_GONE };
	unsigned i, news;

	h2_session_gone(s, &f);
	for (i = 0; i < STREAMS; i++)
		h2_stream_free(&own[i].stream);
	while ((st = h2_session_next(s, &news)) != NULL)
		h2_stream_free(&st);
	assert(h2_session_streams(s) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const struct h2_config cfg = { .server = true,
		.connect = true,
		.streams = STREAMS,
		.window = 65535 };
	struct h2_session *s;
	struct chq in = { 0 }, out = { 0 };
	uint64_t now = 1;
	size_t part, cut;
	uint8_t way;
	unsigned last = 0;

	if (n < 2)
		return (0);
	cut = p[0] == 0 ? n : p[0];
	way = p[1];
	s = h2_session_new(&cfg);
	chq_copy(&in, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	for (p += 2, n -= 2; n > 0; p += part, n -= part) {
		part = cut < n ? cut : n;
		chq_copy(&in, p, part);
		(void)h2_session_take(s, &in, now++);
		assert(h2_session_streams(s) <= cfg.streams);
		serve(s, way, &last);
		(void)h2_session_give(s, &out, 3000);
		chq_drop(&out, chq_len(&out));
		assert(h2_session_bytes(s) < 1048576 + 1048576);
	}
	end(s);
	assert(h2_session_next(s, &(unsigned){ 0 }) == NULL);
	while (h2_session_give(s, &out, 3000) > 0)
		chq_drop(&out, chq_len(&out));
	h2_session_free(&s);
	chq_fini(&in);
	chq_fini(&out);
	assert(chunk_bytes_live() == 0);
	return (0);
}
