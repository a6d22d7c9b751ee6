/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What OPTIONS say, nonsense included; Transfer-* by extension; verdicts. */
#include <stdio.h>
#include "icap/icap.h"
#include "icap/options.h"
#include "icap/verdict.h"
#include "t/head.h"
#include "t/unit/unit.h"

static struct arena *arena;

static struct http_msg *
answer(const char *fields)
{
	struct http_msg *m = head_read(arena, H1_ICAP_RESPONSE,
	    arena_printf(arena, "ICAP/1.0 200 OK\r\n%s\r\n", fields),
	    &h1_limits_origin, NULL);

	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	return (m);
}

static const struct {
	const char *fields;
	int32_t preview;
	unsigned max;
	uint64_t ttl_ms;
	bool warns;
} numbers[] = {
	{ "", -1, 0, 3600000, false },
	{ "Preview: 0\r\nMax-Connections: 5\r\nOptions-TTL: 7\r\n", 0, 5, 7000,
	    false },
	{ "preview:1024\r\n", 1024, 0, 3600000, false },
	{ "Preview: 65536\r\n", 65536, 0, 3600000, false },
	{ "Preview: 65537\r\n", 65536, 0, 3600000, false },
	{ "Preview: 10485760\r\n", 65536, 0, 3600000, false },
	{ "Preview: abc\r\n", -1, 0, 3600000, true },
	{ "Preview: -1\r\n", -1, 0, 3600000, true },
	{ "Preview: 1 2\r\n", -1, 0, 3600000, true },
	{ "Max-Connections: 0\r\n", -1, 0, 3600000, true },
	{ "Max-Connections: -7\r\n", -1, 0, 3600000, true },
	{ "Max-Connections: 4294967297\r\n", -1, 1048576, 3600000, false },
	{ "Options-TTL: -1\r\n", -1, 0, 3600000, true },
	{ "Options-TTL: 0\r\n", -1, 0, 1000, false },
	{ "Options-TTL: 99999999999\r\n", -1, 0, 604800000, false },
};

static void
test_numbers(void)
{
	struct icap_caps c;
	size_t i;

	arena = arena_new();
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		icap_options_parse(arena, &answer(numbers[i].fields)->fields,
		    &c);
		CU_ASSERT_EQUAL(c.preview, numbers[i].preview);
		CU_ASSERT_EQUAL(c.max_connections, numbers[i].max);
		CU_ASSERT_EQUAL(c.ttl_ms, numbers[i].ttl_ms);
		CU_ASSERT_EQUAL(c.warning.p != NULL, numbers[i].warns);
	}
	arena_free(&arena);
}

static void
test_words(void)
{
	struct icap_caps c;

	arena = arena_new();
	icap_options_parse(arena,
	    &answer("Methods: RESPMOD , x\r\n"
		    "ISTag: \"W3E4R7U9-L2E4-2\"\r\nService:  FOO 1.0 \r\n"
		    "Allow: 204\r\nallow: trailers,206\r\n")
		 ->fields,
	    &c);
	CU_ASSERT(c.respmod && !c.reqmod && c.allow_204 && c.allow_206);
	CU_ASSERT(str_eq(c.istag, STR("W3E4R7U9-L2E4-2")));
	CU_ASSERT(str_eq(c.service, STR("FOO 1.0")));
	icap_options_parse(arena, &answer("ISTag: bare\r\n")->fields, &c);
	CU_ASSERT(c.respmod && c.reqmod && !c.allow_204 && !c.allow_206);
	CU_ASSERT(str_eq(c.istag, STR("bare")));
	arena_free(&arena);
}

static const struct {
	const char *fields, *path;
	enum icap_transfer how;
} transfers[] = {
	{ "", "/x.gif", ICAP_PREVIEW },
	{ "Transfer-Ignore: gif, html\r\n", "/x.gif", ICAP_IGNORE },
	{ "Transfer-Ignore: .gif\r\n", "/a.b/x.GIF", ICAP_IGNORE },
	{ "Transfer-Ignore: gif\r\n", "/x.exe?.gif", ICAP_PREVIEW },
	{ "Transfer-Ignore: gif\r\n", "/x.exe?a=/b.gif", ICAP_PREVIEW },
	{ "Transfer-Ignore: gif\r\n", "/x.gif/", ICAP_PREVIEW },
	{ "Transfer-Ignore: gif\r\n", "/gif", ICAP_PREVIEW },
	{ "Transfer-Ignore: gif\r\n", "/x.gif?y", ICAP_IGNORE },
	{ "Transfer-Ignore: gif\r\nTransfer-Complete: *\r\n", "/x.gif",
	    ICAP_IGNORE },
	{ "Transfer-Ignore: gif\r\nTransfer-Complete: *\r\n", "/x",
	    ICAP_COMPLETE },
	{ "Transfer-Ignore: gif\r\nTransfer-Preview: gif\r\n", "/x.gif",
	    ICAP_PREVIEW },
	{ "Transfer-Complete: gif\r\nTransfer-Preview: gif\r\n", "/x.gif",
	    ICAP_COMPLETE },
	{ "Transfer-Ignore: *\r\nTransfer-Preview: *\r\n", "/x.gif",
	    ICAP_PREVIEW },
	{ "Transfer-Ignore: *\r\nTransfer-Preview: exe\r\n", "/", ICAP_IGNORE },
	{ "Transfer-Preview: asp, bat\r\nTransfer-Preview: exe\r\n"
	  "Transfer-Ignore: *\r\n",
	    "/a.exe", ICAP_PREVIEW },
	{ "Transfer-Ignore: *\r\n", "*", ICAP_IGNORE },
};

static void
test_transfer(void)
{
	struct icap_caps c;
	size_t i;

	arena = arena_new();
	for (i = 0; i < sizeof(transfers) / sizeof(transfers[0]); i++) {
		icap_options_parse(arena, &answer(transfers[i].fields)->fields,
		    &c);
		CU_ASSERT_EQUAL(icap_options_transfer(&c,
				    str_of(transfers[i].path)),
		    transfers[i].how);
	}
	arena_free(&arena);
}

static const struct {
	const char *fields;
	enum icap_finding found;
	const char *threat;
} verdicts[] = {
	{ "", ICAP_FOUND_NOTHING, "" },
	{ "X-Infection-Found: Type=0; Resolution=2; Threat=Eicar-Test;\r\n",
	    ICAP_FOUND_THREAT, "Eicar-Test" },
	{ "x-infection-found: type=0;resolution=0;threat= A B \r\n",
	    ICAP_FOUND_THREAT, "A B" },
	{ "X-Infection-Found: Type=0; Resolution=1; Threat=X;\r\n",
	    ICAP_FOUND_REPAIRED, "X" },
	{ "X-Infection-Found: garbage\r\n", ICAP_FOUND_THREAT, "" },
	{ "X-Virus-ID: W32.Foo\r\n", ICAP_FOUND_THREAT, "W32.Foo" },
	{ "X-Virus-ID: no threats\r\n", ICAP_FOUND_NOTHING, "" },
	{ "X-Violations-Found: 1\r\n file.exe\r\n Foo\r\n 12\r\n 2\r\n",
	    ICAP_FOUND_THREAT, "" },
	{ "X-Violations-Found: 0\r\n", ICAP_FOUND_NOTHING, "" },
	{ "X-Blocked-Reason: policy\r\n", ICAP_FOUND_THREAT, "" },
	{ "X-Other: yes\r\n", ICAP_FOUND_NOTHING, "" },
};

static void
test_verdicts(void)
{
	struct http_msg *m;
	struct str threat, note;
	size_t i;

	arena = arena_new();
	for (i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
		m = answer(verdicts[i].fields);
		CU_ASSERT_EQUAL(icap_find_threat(&m->fields, NULL, &threat),
		    verdicts[i].found);
		CU_ASSERT(str_eq(threat, str_of(verdicts[i].threat)));
		note = icap_note(arena, m);
		CU_ASSERT(note.n >= 3 && note.n <= 240);
	}
	note = icap_note(arena, answer("X-Virus-ID: V\r\nServer: z\r\n"));
	CU_ASSERT(str_eq(note, STR("200 X-Virus-ID=V")));
	arena_free(&arena);
}

UNIT_TESTS(icap_options, { "numbers", test_numbers }, { "words", test_words },
    { "transfer", test_transfer }, { "verdicts", test_verdicts })
