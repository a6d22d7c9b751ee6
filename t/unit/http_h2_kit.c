/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sessions in memory and a raw peer, see http_h2_kit.h. */
#include <stdlib.h>
#include "http/h1_frame.h"
#include "http/length.h"
#include "http/uri.h"
#include "t/unit/http_h2_kit.h"

/* --- a pair --- */

void
kit_init(struct kit *k, const struct h2_config *client,
    const struct h2_config *server, enum kit_cut cut)
{
	struct h2_config c = { .server = false }, s = { .server = true };

	*k = (struct kit){ .cut = cut, .now_ms = 1000 };
	k->client = h2_session_new(client != NULL ? client : &c);
	k->server = h2_session_new(server != NULL ? server : &s);
	k->a = arena_new();
}

void
kit_fini(struct kit *k)
{
	h2_session_free(&k->client);
	h2_session_free(&k->server);
	arena_free(&k->a);
}

static size_t
piece(enum kit_cut cut, size_t n)
{
	size_t m = cut == CUT_WHOLE ? n
	    : cut == CUT_OCTETS     ? 1
				: 1 + unit_random(n < 300 ? (unsigned)n : 300);

	return (m < n ? m : n);
}

static bool
feed(struct h2_session *s, struct chq *q, enum kit_cut cut, uint64_t now_ms)
{
	struct chq part = { 0 };
	bool good = true;

	while (chq_len(q) > 0) {
		chq_move(&part, q, piece(cut, chq_len(q)));
		good = h2_session_take(s, &part, now_ms);
		CU_ASSERT(chq_len(&part) == 0);
	}
	chq_fini(&part);
	return (good);
}

bool
kit_pump(struct kit *k)
{
	struct chq q = { 0 };
	bool good = true;
	size_t n;

	do {
		n = h2_session_give(k->client, &q,
		    k->cut == CUT_WHOLE ? 100000 : 1 + unit_random(5000));
		good &= feed(k->server, &q, k->cut, k->now_ms);
		n += h2_session_give(k->server, &q,
		    k->cut == CUT_WHOLE ? 100000 : 1 + unit_random(5000));
		good &= feed(k->client, &q, k->cut, k->now_ms);
	} while (n > 0);
	chq_fini(&q);
	return (good);
}

struct http_msg *
kit_request(struct arena *a, const char *head)
{
	struct http_msg *m = http_help_head(a, H1_REQUEST, head);
	struct h1_frame frame;

	CU_ASSERT(h1_frame_request(m, &frame, NULL) == ERR_NONE);
	CU_ASSERT(http_target_parse(m, NULL, true, NULL) == ERR_NONE);
	return (m);
}

struct http_msg *
kit_answer(struct arena *a, const struct http_msg *req, const char *head,
    uint64_t length)
{
	struct http_msg *m = http_help_head(a, H1_RESPONSE, head);

	http_length_set(m, req, length > 0, length);
	return (m);
}

struct h2_stream *
kit_next(struct h2_session *s, unsigned news)
{
	struct h2_stream *st;
	unsigned is;

	while ((st = h2_session_next(s, &is)) != NULL)
		if ((is & news) != 0)
			return (st);
	return (NULL);
}

void
kit_write(struct h2_stream *st, const char *text, size_t n)
{
	struct chq q = { 0 };

	CU_ASSERT(h2_stream_room(st) >= n);
	chq_copy(&q, text, n);
	h2_stream_write(st, &q, n);
	CU_ASSERT(chq_len(&q) == 0);
	chq_fini(&q);
}

struct str
kit_pull(struct arena *a, struct h2_stream *st, enum pull *end)
{
	struct chq q = { 0 };
	struct str s;
	char *p;

	while ((*end = h2_stream_pull(st, &q, 1 + unit_random(5000), NULL)) ==
	    PULL_MORE)
		;
	s.n = chq_len(&q);
	s.p = p = arena_alloc(a, s.n + 1);
	chq_read(&q, 0, p, s.n);
	chq_fini(&q);
	return (s);
}

/* --- a raw peer --- */

void
raw_init(struct raw *r, const struct h2_config *cfg)
{
	unsigned i;

	*r = (struct raw){ .now_ms = 1000, .s = h2_session_new(cfg) };
	if (nghttp2_hd_deflate_new(&r->hd, 4096) != 0)
		abort();
	if (cfg->server)
		buf_add(&r->out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	raw_frame(r, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
	raw_frame(r, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
	if (!cfg->server) {
		r->a = arena_new();
		for (i = 0; i < COUNT(r->own); i++)
			r->own[i] = h2_session_open(r->s, r->a,
			    kit_request(r->a,
				i == 3 ? "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
				       : "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
			    true);
	}
	raw_read(r);
	CU_ASSERT(raw_send(r, CUT_WHOLE));
	raw_read(r);
	chq_drop(&r->in, chq_len(&r->in));
}

void
raw_fini(struct raw *r)
{
	unsigned i;

	for (i = 0; i < COUNT(r->own); i++)
		h2_stream_free(&r->own[i]);
	raw_free_streams(r->s);
	h2_session_free(&r->s);
	nghttp2_hd_deflate_del(r->hd);
	buf_fini(&r->out);
	chq_fini(&r->in);
	arena_free(&r->a);
}

void
raw_frame(struct raw *r, uint8_t type, uint8_t flags, uint32_t id,
    const void *p, size_t n)
{
	const uint8_t hd[9] = { (uint8_t)(n >> 16), (uint8_t)(n >> 8),
		(uint8_t)n, type, flags, (uint8_t)(id >> 24),
		(uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id };

	buf_add(&r->out, hd, sizeof(hd));
	if (n > 0)
		buf_add(&r->out, p, n);
}

struct buf
raw_block(struct raw *r, struct str text)
{
	nghttp2_nv nv[512];
	struct buf b = { 0 };
	size_t n = 0, line, colon;
	ssize_t len;

	while (text.n > 0 && n < COUNT(nv)) {
		line = str_index(text, '\n');
		colon = 1 +
		    str_index((struct str){ text.p + 1,
				  line > 1 ? line - 1 : 0 },
			':');
		if (colon + 2 <= line)
			nv[n++] = (nghttp2_nv){ (uint8_t *)(uintptr_t)text.p,
				(uint8_t *)(uintptr_t)(text.p + colon + 2),
				text.p[0] == '=' ? 0 : colon, line - colon - 2,
				NGHTTP2_NV_FLAG_NONE };
		line += line < text.n;
		text.p += line;
		text.n -= line;
	}
	(void)buf_room(&b, nghttp2_hd_deflate_bound(r->hd, nv, n));
	len = nghttp2_hd_deflate_hd(r->hd, (uint8_t *)b.p, b.cap, nv, n);
	if (len < 0)
		abort();
	b.n = (size_t)len;
	return (b);
}

void
raw_head_n(struct raw *r, uint8_t flags, uint32_t id, struct str text)
{
	struct buf b = raw_block(r, text);
	size_t at = 0, part;
	uint8_t end;

	do {
		part = b.n - at < 16384 ? b.n - at : 16384;
		end = at + part == b.n ? flags & EH : 0;
		raw_frame(r, at == 0 ? NGHTTP2_HEADERS : NGHTTP2_CONTINUATION,
		    (uint8_t)(end | (at == 0 ? flags & ~EH : 0)), id, b.p + at,
		    part);
		at += part;
	} while (at < b.n);
	buf_fini(&b);
}

void
raw_head(struct raw *r, uint8_t flags, uint32_t id, const char *text)
{
	raw_head_n(r, flags, id, str_of(text));
}

bool
raw_send(struct raw *r, enum kit_cut cut)
{
	struct chq q = { 0 };
	bool good;

	chq_copy(&q, r->out.p, r->out.n);
	r->out.n = 0;
	good = feed(r->s, &q, cut, r->now_ms);
	chq_fini(&q);
	return (good);
}

void
raw_read(struct raw *r)
{
	while (h2_session_give(r->s, &r->in, 100000) > 0)
		;
}

static uint32_t
four(const uint8_t *p)
{
	return ((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	    (uint32_t)p[2] << 8 | p[3]);
}

int
raw_next(struct raw *r, uint32_t *id, uint32_t *code, uint8_t *flags)
{
	uint8_t hd[9], p[8] = { 0 };
	size_t n;

	if (chq_len(&r->in) > 3) { /* a client's preface */
		chq_read(&r->in, 0, hd, 4);
		if (memcmp(hd, "PRI ", 4) == 0)
			chq_drop(&r->in, 24);
	}
	if (chq_len(&r->in) < sizeof(hd))
		return (-1);
	chq_read(&r->in, 0, hd, sizeof(hd));
	n = (size_t)hd[0] << 16 | (size_t)hd[1] << 8 | hd[2];
	CU_ASSERT_FATAL(chq_len(&r->in) >= sizeof(hd) + n);
	chq_read(&r->in, sizeof(hd), p, n < 8 ? n : 8);
	chq_drop(&r->in, sizeof(hd) + n);
	*id = four(hd + 5);
	*flags = hd[4];
	*code = hd[3] == NGHTTP2_RST_STREAM ? four(p)
	    : hd[3] == NGHTTP2_GOAWAY       ? four(p + 4)
					    : (uint32_t)n;
	return (hd[3]);
}

bool
raw_find(struct raw *r, int type, uint32_t *id, uint32_t *code)
{
	uint8_t flags;
	int is;

	while ((is = raw_next(r, id, code, &flags)) >= 0)
		if (is == type)
			return (true);
	return (false);
}

void
raw_free_streams(struct h2_session *s)
{
	struct h2_stream *st;
	struct arena *a;
	unsigned news;

	while ((st = h2_session_next(s, &news)) != NULL) {
		if (h2_stream_owner(st) != NULL)
			continue;
		a = NULL;
		if ((news & H2_NEWS_HEAD) != 0 &&
		    h2_stream_head_take(st) != NULL)
			a = h2_stream_arena_take(st);
		h2_stream_free(&st);
		arena_free(&a);
	}
}
