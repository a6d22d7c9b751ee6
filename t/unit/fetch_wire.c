/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is a message between who asks and the process that fetches. */
#include <string.h>
#include "fetch/wire_priv.h"
#include "t/unit/unit.h"

static struct wire_ask
question(void)
{
	return ((struct wire_ask){ .op = WIRE_START,
	    .id = 7,
	    .kind = FETCH_CRL,
	    .deadline_ms = 1000,
	    .max_bytes = 4096,
	    .url = "http://crl.test/a.crl",
	    .etag = "\"a\"" });
}

static void
test_asks(void)
{
	const struct wire_ask good = question();
	struct wire_ask a = good;

	CU_ASSERT_TRUE(wire_ask_ok(&a));
#define BAD(change)                               \
	do {                                      \
		a = good;                         \
		change;                           \
		CU_ASSERT_FALSE(wire_ask_ok(&a)); \
	} while (0)
	BAD(a.op = 0);
	BAD(a.op = 3);
	BAD(a.id = 0);
	BAD(a.kind = FETCH_KINDS);
	BAD(a.deadline_ms = 0);
	BAD(a.deadline_ms = wire_kinds[FETCH_CRL].deadline_ms + 1);
	BAD(a.max_bytes = 0);
	BAD(a.max_bytes = wire_kinds[FETCH_CRL].max_bytes + 1);
	BAD(a.since = -1);
	BAD(a.spare = 1);
	BAD(a.url[0] = '\0');
	BAD(memset(a.url, 'a', sizeof(a.url)));
	BAD(memset(a.etag, 'a', sizeof(a.etag)));
	BAD(a.url[8] = ' ');
	BAD(a.url[8] = '\n');
	BAD(a.url[8] = '\x80');
	BAD(a.etag[1] = '\r');
	BAD(a.body_n = 1);
	BAD(a.body[0] = 1);
	BAD((a.kind = FETCH_OCSP, a.body_n = FETCH_BODY_MAX + 1));
	BAD(a.op = WIRE_CANCEL);
#undef BAD
	a = good;
	a.kind = FETCH_OCSP; /* by GET */
	CU_ASSERT_TRUE(wire_ask_ok(&a));
	a.body_n = 3;
	memcpy(a.body, "abc", 3);
	CU_ASSERT_TRUE(wire_ask_ok(&a));
	a = (struct wire_ask){ .op = WIRE_CANCEL, .id = 7 };
	CU_ASSERT_TRUE(wire_ask_ok(&a));
}

static void
test_says(void)
{
	const struct wire_say good = { .op = WIRE_RESULT,
		.id = 7,
		.outcome = FETCH_DONE,
		.status = 200,
		.size = 10,
		.fresh_s = 60,
		.modified = 1,
		.etag = "\"a\"",
		.why = "with a blank" };
	struct wire_say s = good;

	CU_ASSERT_TRUE(wire_say_ok(&s));
#define BAD(change)                               \
	do {                                      \
		s = good;                         \
		change;                           \
		CU_ASSERT_FALSE(wire_say_ok(&s)); \
	} while (0)
	BAD(s.op = 0);
	BAD(s.op = 3);
	BAD(s.id = 0);
	BAD(s.outcome = FETCH_OUTCOMES);
	BAD(s.status = 1000);
	BAD(s.outcome = FETCH_CUT); /* with octets */
	BAD(s.fresh_s = -2);
	BAD(s.fresh_s = WIRE_FRESH_MOST + 1);
	BAD(s.modified = -1);
	BAD(memset(s.etag, 'a', sizeof(s.etag)));
	BAD(memset(s.why, 'a', sizeof(s.why)));
	BAD(s.etag[1] = ' ');
	BAD(s.why[1] = '\n');
	BAD(s.why[1] = '\x1b');
	BAD((s.op = WIRE_WORKS, s.report.seccomp = SANDBOX_LISTS));
	BAD((s.op = WIRE_WORKS,
	    memset(s.report.user, 'a', sizeof(s.report.user))));
#undef BAD
	s = (struct wire_say){ .op = WIRE_WORKS };
	CU_ASSERT_TRUE(wire_say_ok(&s));
}

static void
test_text(void)
{
	char out[6];

	wire_text(out, sizeof(out), "a\nb\x80");
	CU_ASSERT_STRING_EQUAL(out, "a?b?");
	wire_text(out, sizeof(out), "longer than that");
	CU_ASSERT_STRING_EQUAL(out, "longe");
}

UNIT_TESTS(fetch_wire, { "questions", test_asks }, { "results", test_says },
    { "text", test_text })
