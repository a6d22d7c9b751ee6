/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SOCKS5: what is sent, each answer, any split, and nothing taken beyond. */
#include <string.h>
#include "net/address.h"
#include "net/socks.h"
#include "t/unit/unit.h"

#define T(what, signs, text, want, err)                                      \
	{                                                                    \
		what, signs, text, sizeof(text) - 1, SOCKS_##want, ERR_##err \
	}
#define REPLY(r) "\5\0\5" r "\0\1\1\2\3\4\0\7"

static const struct {
	const char *name;
	bool signs_in;
	const char *p;
	size_t n;
	enum socks_step want;
	enum err err;
} rows[] = {
	T("IPv4", false, REPLY("\0"), OPEN, NONE),
	T("IPv6", false,
	    "\5\0\5\0\0\4"
	    "0123456789abcdef"
	    "\0\7",
	    OPEN, NONE),
	T("name", false, "\5\0\5\0\0\3\3abc\0\7", OPEN, NONE),
	T("empty name", false, "\5\0\5\0\0\3\0\0\7", OPEN, NONE),
	T("with a user", true, "\5\2\1\0\5\0\0\1\1\2\3\4\0\7", OPEN, NONE),
	T("without asking", true, REPLY("\0"), OPEN, NONE),
	T("refused user", true, "\5\2\1\1", BAD, PARENT_AUTH),
	T("user not offered", false, "\5\2", BAD, PARENT_PROTOCOL),
	T("GSSAPI", true, "\5\1", BAD, PARENT_PROTOCOL),
	T("no method", false, "\5\xff", BAD, PARENT_AUTH),
	T("no method for it", true, "\5\xff", BAD, PARENT_AUTH),
	T("version 4", false, "\0\x5a", BAD, PARENT_PROTOCOL),
	T("HTTP", false, "HTTP/1.1 400", BAD, PARENT_PROTOCOL),
	T("version of the answer", false, "\5\0\4\0\0\1\1\2\3\4\0\7", BAD,
	    PARENT_PROTOCOL),
	T("kind of address", false, "\5\0\5\0\0\2\1\2\3\4\0\7", BAD,
	    PARENT_PROTOCOL),
	T("1", false, REPLY("\1"), BAD, PARENT_STATUS),
	T("2", false, REPLY("\2"), BAD, PARENT_DENIED),
	T("3", false, REPLY("\3"), BAD, CONNECT_FAIL),
	T("4", false, REPLY("\4"), BAD, CONNECT_FAIL),
	T("5", false, REPLY("\5"), BAD, CONNECT_REFUSED),
	T("6", false, REPLY("\6"), BAD, CONNECT_TIMEOUT),
	T("7", false, REPLY("\7"), BAD, PARENT_STATUS),
	T("8", false, REPLY("\x8"), BAD, PARENT_STATUS),
	T("9", false, REPLY("\x9"), BAD, PARENT_STATUS),
	T("255", false, REPLY("\xff"), BAD, PARENT_STATUS),
	T("so far", false, "\5\0\5\0\0\3\4abc", MORE, NONE),
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static const struct socks_want plain = { .host = STR("www.test"), .port = 443 };

static struct socks_want
want_of(bool signs_in)
{
	struct socks_want w = plain;

	if (signs_in) {
		w.user = STR("amy");
		w.password = STR("pw");
	}
	return (w);
}

/* The answer in pieces; tail stands behind it. */
static enum socks_step
feed(const char *p, size_t n, size_t piece, bool signs_in, struct buf *sent,
    struct chq *in, struct fault *f)
{
	struct socks_want w = want_of(signs_in);
	enum socks_step step = SOCKS_MORE;
	struct socks s;
	size_t at, k;

	socks_begin(&s, &w, sent);
	CU_ASSERT_FALSE(socks_has_greeted(&s));
	for (at = 0; at < n && step == SOCKS_MORE; at += k) {
		k = n - at < piece ? n - at : piece;
		chq_copy(in, p + at, k);
		step = socks_feed(&s, in, sent, f);
		CU_ASSERT(step != SOCKS_MORE || chq_len(in) == 0);
		CU_ASSERT(socks_has_greeted(&s) == (at + k >= 2 && p[0] == 5));
	}
	return (step);
}

static void
test_answers(void)
{
	struct buf sent = { 0 };
	struct chq in = { 0 };
	struct fault f;
	size_t i, piece;
	enum socks_step step;

	for (i = 0; i < ROWS; i++)
		for (piece = 1; piece <= rows[i].n; piece++) {
			f = (struct fault){ 0 };
			step = feed(rows[i].p, rows[i].n, piece,
			    rows[i].signs_in, &sent, &in, &f);
			if (step != rows[i].want || f.code != rows[i].err)
				printf("# %s, %zu: %d %s\n", rows[i].name,
				    piece, step, err_info(f.code)->name);
			CU_ASSERT(step == rows[i].want);
			CU_ASSERT(f.code == rows[i].err);
			buf_fini(&sent);
			chq_fini(&in);
		}
}

/* Behind the answer everything is the tunnel's. */
static void
test_behind(void)
{
	static const char p[] = REPLY("\0") "220 hello";
	struct buf sent = { 0 };
	struct chq in = { 0 };
	struct fault f = { 0 };
	char left[9];

	CU_ASSERT(
	    feed(p, sizeof(p) - 1, 100, false, &sent, &in, &f) == SOCKS_OPEN);
	CU_ASSERT_EQUAL_FATAL(chq_len(&in), 9);
	chq_read(&in, 0, left, 9);
	CU_ASSERT(memcmp(left, "220 hello", 9) == 0);
	buf_fini(&sent);
	chq_fini(&in);
}

static bool
is_sent(const struct buf *b, const char *p, size_t n)
{
	return (b->n == n && memcmp(b->p, p, n) == 0);
}

#define IS_SENT(b, text) is_sent(b, text, sizeof(text) - 1)

static void
test_requests(void)
{
	static const char *const to[] = { "192.0.2.7", "2001:db8::7" };
	struct socks_want w = plain;
	struct buf sent = { 0 };
	struct chq in = { 0 };
	struct fault f = { 0 };
	union address a;
	struct socks s;
	unsigned i;

	(void)feed("\5\0", 2, 2, false, &sent, &in, &f);
	CU_ASSERT(IS_SENT(&sent,
	    "\5\1\0"
	    "\5\1\0\3\10www.test\1\xbb"));
	buf_fini(&sent);
	(void)feed("\5\2\1\0", 4, 2, true, &sent, &in, &f);
	CU_ASSERT(IS_SENT(&sent,
	    "\5\2\0\2"
	    "\1\3amy\2pw"
	    "\5\1\0\3\10www.test\1\xbb"));
	buf_fini(&sent);
	for (i = 0; i < 2; i++) {
		CU_ASSERT_FATAL(address_parse(str_of(to[i]), &a));
		w.address = &a.sa;
		socks_begin(&s, &w, &sent);
		chq_copy(&in, "\5\0", 2);
		CU_ASSERT(socks_feed(&s, &in, &sent, &f) == SOCKS_MORE);
		if (i == 0) {
			CU_ASSERT(IS_SENT(&sent,
			    "\5\1\0"
			    "\5\1\0\1\300\0\2\7\1\xbb"));
		} else {
			CU_ASSERT(IS_SENT(&sent,
			    "\5\1\0"
			    "\5\1\0\4\x20\1\xd\xb8\0\0\0\0"
			    "\0\0\0\0\0\0\0\7\1\xbb"));
		}
		buf_fini(&sent);
	}
	chq_fini(&in);
}

UNIT_TESTS(net_socks, { "answers", test_answers }, { "behind", test_behind },
    { "requests", test_requests })
