/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CONNECT to a parent: the request, each answer, any split. */
#include <string.h>
#include "http/connect.h"
#include "t/unit/unit.h"

static void
test_request(void)
{
	static const struct {
		struct http_connect_want want;
		const char *text;
	} rows[] = {
		{ { .to = { .host = STR("www.test"), .port = 443 } },
		    "CONNECT www.test:443 HTTP/1.1\r\nHost: www.test:443\r\n"
		    "\r\n" },
		{ { .to = { .host = STR("2001:db8::7"),
			.host_is_v6 = true,
			.port = 8443 },
		      .via = STR("1.1 assay-12345678"),
		      .authorization = STR("Basic YTpi") },
		    "CONNECT [2001:db8::7]:8443 HTTP/1.1\r\n"
		    "Host: [2001:db8::7]:8443\r\n"
		    "Proxy-Authorization: Basic YTpi\r\n"
		    "Via: 1.1 assay-12345678\r\n\r\n" },
	};
	struct buf b = { 0 };
	unsigned i;

	for (i = 0; i < 2; i++) {
		http_connect_print(&b, &rows[i].want);
		CU_ASSERT_STRING_EQUAL(b.p, rows[i].text);
		buf_fini(&b);
	}
}

#define LONG "0123456789012345678901234567890123456789012345678901234567890123"
#define INTERIM "HTTP/1.1 102 P\r\n\r\n"

static const struct {
	const char *text;
	enum http_connect_step want;
	unsigned status;
} answers[] = {
	{ "HTTP/1.1 200 OK\r\n\r\n", HTTP_CONNECT_OPEN, 200 },
	{ "HTTP/1.0 200\r\n\r\n", HTTP_CONNECT_OPEN, 200 },
	{ "HTTP/1.1 299 X\r\nContent-Length: 7\r\n"
	  "Transfer-Encoding: chunked\r\n\r\n",
	    HTTP_CONNECT_OPEN, 299 },
	{ INTERIM INTERIM "HTTP/1.1 200 OK\r\n\r\n", HTTP_CONNECT_OPEN, 200 },
	{ INTERIM INTERIM INTERIM INTERIM INTERIM, HTTP_CONNECT_BAD, 102 },
	{ "HTTP/1.1 101 X\r\n\r\n", HTTP_CONNECT_BAD, 101 },
	{ "HTTP/1.1 407 X\r\nProxy-Authenticate: Basic\r\n\r\n",
	    HTTP_CONNECT_REFUSED, 407 },
	{ "HTTP/1.1 503 X\r\n\r\n", HTTP_CONNECT_REFUSED, 503 },
	{ "HTTP/1.1 300 X\r\n\r\n", HTTP_CONNECT_REFUSED, 300 },
	{ "HTTP/1.1 200 OK\r\nX: y", HTTP_CONNECT_MORE, 0 },
	{ "SSH-2.0-x\r\n\r\n", HTTP_CONNECT_BAD, 0 },
	{ "HTTP/1.1 20 OK\r\n\r\n", HTTP_CONNECT_BAD, 0 },
	{ "HTTP/1.1 200 OK\r\nX: " LONG LONG LONG LONG "\r\n\r\n",
	    HTTP_CONNECT_BAD, 0 },
};

static void
check(unsigned i, size_t piece)
{
	static const struct h1_limits tight = { 60, 200, 150, 6 };
	struct http_connect c = { .limits = &tight };
	enum http_connect_step step = HTTP_CONNECT_MORE;
	size_t n = strlen(answers[i].text), at, k;
	struct fault f = { 0 };
	struct chq q = { 0 };

	c.arena = arena_new();
	for (at = 0; at < n && step == HTTP_CONNECT_MORE; at += k) {
		k = n - at < piece ? n - at : piece;
		chq_copy(&q, answers[i].text + at, k);
		step = http_connect_feed(&c, &q, &f);
	}
	CU_ASSERT(step == answers[i].want);
	CU_ASSERT_EQUAL(c.status, answers[i].status);
	CU_ASSERT(f.code ==
	    (step == HTTP_CONNECT_BAD ? ERR_PARENT_PROTOCOL : ERR_NONE));
	CU_ASSERT(step != HTTP_CONNECT_OPEN || chq_len(&q) == 0);
	chq_fini(&q);
	arena_free(&c.arena);
}

static void
test_answers(void)
{
	size_t piece;
	unsigned i;

	for (i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
		for (piece = 1; piece <= strlen(answers[i].text); piece++)
			check(i, piece);
}

static void
test_behind(void)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"
				   "\r\n220 hello";
	struct http_connect c = { .limits = &h1_limits_origin };
	struct fault f = { 0 };
	struct chq q = { 0 };

	c.arena = arena_new();
	chq_copy(&q, text, sizeof(text) - 1);
	CU_ASSERT(http_connect_feed(&c, &q, &f) == HTTP_CONNECT_OPEN);
	CU_ASSERT_EQUAL(chq_len(&q), 9);
	chq_fini(&q);
	arena_free(&c.arena);
}

UNIT_TESTS(http_connect, { "request", test_request },
    { "answers", test_answers }, { "behind", test_behind })
