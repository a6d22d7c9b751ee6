/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz what a server of HTTP/2 sends to our client, which has asked GET, HEAD
 * and POST.  The first octet says how it is cut, the second what is read and
 * what is freed before its answer is whole.  An answer that is whole is as
 * long as it said.
 */
#include <assert.h>
#include <string.h>
#include "base/chunk.h"
#include "http/h2.h"
#include "http/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define REQUESTS 3

struct call {
	struct h2_stream *st;
	struct http_msg *final;
	uint64_t got;
};

static struct http_msg *
request(struct arena *a, unsigned i)
{
	static const struct str methods[REQUESTS] = { STR("GET"), STR("HEAD"),
		STR("POST") };
	struct http_msg *m = http_msg_new(a, true);

	m->method = methods[i];
	m->method_id = http_method_of(m->method);
	m->uri = (struct http_uri){ .scheme = STR("https"),
		.host = STR("a"),
		.port = 443,
		.path = STR("/") };
	m->length_is = i == 2 ? LENGTH_UNKNOWN : LENGTH_NONE;
	return (m);
}

static void
look(struct call *c, unsigned news, bool read)
{
	struct chq q = { 0 };
	struct http_msg *m;
	enum pull r = PULL_WAIT;

	if ((news & H2_NEWS_HEAD) != 0)
		while ((m = h2_stream_head_take(c->st)) != NULL) {
			assert(c->final == NULL && m->status >= 100);
			if (m->status >= 200)
				c->final = m;
		}
	while (
	    read && (r = h2_stream_pull(c->st, &q, 1000, NULL)) == PULL_MORE) {
		c->got += chq_len(&q);
		chq_drop(&q, chq_len(&q));
	}
	if (r == PULL_END) {
		assert(c->final != NULL);
		assert(c->final->length_is != LENGTH_KNOWN ||
		    c->got == c->final->length);
		assert(c->final->length_is != LENGTH_NONE || c->got == 0);
	}
	chq_fini(&q);
}

static void
upload(struct h2_stream *st)
{
	struct chq q = { 0 };
	size_t n = h2_stream_room(st);

	if (n > 0) {
		chq_copy(&q, "0123456789", n < 10 ? n : 10);
		h2_stream_write(st, &q, chq_len(&q));
	}
	chq_fini(&q);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const struct h2_config cfg = { .server = false, .window = 65535 };
	struct call calls[REQUESTS] = { 0 };
	struct arena *a = arena_new();
	struct chq in = { 0 }, out = { 0 };
	struct h2_session *s;
	struct h2_stream *st;
	unsigned i, news;
	size_t part, cut;
	uint8_t way;

	if (n < 2) {
		arena_free(&a);
		return (0);
	}
	cut = p[0] == 0 ? n : p[0];
	way = p[1];
	s = h2_session_new(&cfg);
	for (i = 0; i < REQUESTS; i++)
		calls[i].st = h2_session_open(s, a, request(a, i), i < 2);
	for (p += 2, n -= 2; n > 0; p += part, n -= part) {
		(void)h2_session_give(s, &out, 3000);
		chq_drop(&out, chq_len(&out));
		part = cut < n ? cut : n;
		chq_copy(&in, p, part);
		(void)h2_session_take(s, &in, 1);
		while ((st = h2_session_next(s, &news)) != NULL)
			for (i = 0; i < REQUESTS; i++)
				if (calls[i].st == st)
					look(&calls[i], news,
					    (way >> i & 1) != 0);
		for (i = 0; i < REQUESTS; i++)
			if ((way >> i & 8) != 0 && calls[i].final != NULL)
				h2_stream_free(&calls[i].st);
		if (calls[2].st != NULL)
			upload(calls[2].st);
		if ((way & 64) != 0)
			h2_session_ping(s);
		assert(h2_session_bytes(s) < 1048576 + 1048576);
	}
	for (i = 0; i < REQUESTS; i++)
		h2_stream_free(&calls[i].st);
	while (h2_session_give(s, &out, 3000) > 0)
		chq_drop(&out, chq_len(&out));
	h2_session_free(&s);
	arena_free(&a);
	chq_fini(&in);
	chq_fini(&out);
	assert(chunk_bytes_live() == 0);
	return (0);
}
