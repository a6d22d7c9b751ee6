/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A finding is never overruled: whatever the status, the place of the field or
 * what goes wrong behind it.  Every table has its clean controls.
 */
#include <string.h>
#include "icap/verdict.h"
#include "t/head.h"
#include "t/unit/icap_talk.h"

/* What fields say. */

static const struct {
	const char *fields;
	enum icap_finding found;
	const char *threat;
} said[] = {
	{ "A: b\r\n", ICAP_FOUND_NOTHING, "" },
	{ "X-Virus-ID: no threats\r\nX-Violations-Found: 0\r\n"
	  "X-Blocked-Reason:\r\n",
	    ICAP_FOUND_NOTHING, "" },
	{ "X-Infection-Found: Type=0; Resolution=2; Threat=Eicar;\r\n",
	    ICAP_FOUND_THREAT, "Eicar" },
	{ "x-infection-found: Type=0;Resolution=0;Threat=Eicar\r\n",
	    ICAP_FOUND_THREAT, "Eicar" },
	{ "X-Infection-Found:\r\n", ICAP_FOUND_THREAT, "" },
	{ "X-Infection-Found: Type=0; Resolution=1; Threat=A;\r\n",
	    ICAP_FOUND_REPAIRED, "A" },
	{ "X-Infection-Found: Type=0;\r\n Resolution=1;\r\n\tThreat=A;\r\n",
	    ICAP_FOUND_REPAIRED, "A" },
	{ "X-Infection-Found: Type=0; Resolution=12; Threat=A;\r\n",
	    ICAP_FOUND_THREAT, "A" },
	{ "X-Infection-Found: Resolution=1; Threat=A;\r\n"
	  "X-Infection-Found: Resolution=2; Threat=B;\r\n",
	    ICAP_FOUND_THREAT, "B" },
	{ "X-Infection-Found: Resolution=2; Threat=B;\r\n"
	  "X-Infection-Found: Resolution=1; Threat=A;\r\n",
	    ICAP_FOUND_THREAT, "B" },
	{ "X-Infection-Found: Resolution=1; Threat=A;\r\n"
	  "X-Blocked-Reason: policy\r\n",
	    ICAP_FOUND_THREAT, "A" },
	{ "X-Infection-Found: Resolution=1; Threat=A;\r\nX-Virus-ID: A\r\n",
	    ICAP_FOUND_REPAIRED, "A" },
	{ "X-Infection-Found: Resolution=1; Threat=A;\r\n"
	  "X-Violations-Found: 1\r\n f.exe\r\n A\r\n 7\r\n 1\r\n",
	    ICAP_FOUND_REPAIRED, "A" },
	{ "X-Infection-Found: Resolution=1; Threat=A;\r\n"
	  "X-Violations-Found: 1\r\n f.exe\r\n A\r\n 7\r\n 0\r\n",
	    ICAP_FOUND_THREAT, "A" },
	{ "X-Infection-Found: Resolution=1; Threat=A;\r\n"
	  "X-Violations-Found: 2\r\n f\r\n A\r\n 7\r\n 2\r\n g\r\n B\r\n"
	  " 8\r\n 1\r\n",
	    ICAP_FOUND_THREAT, "A" },
	{ "X-Violations-Found: 1\r\n f\r\n A\r\n 7\r\n 1\r\n",
	    ICAP_FOUND_THREAT, "" },
	{ "X-Virus-ID: Worm\r\n", ICAP_FOUND_THREAT, "Worm" },
	{ "X-Virus-ID: none\r\nX-Virus-ID: Worm\r\n", ICAP_FOUND_THREAT,
	    "Worm" },
	{ "X-Blocked-Reason: Content\r\n", ICAP_FOUND_THREAT, "" },
};

static struct http_msg *
head_of(struct arena *a, const char *fields)
{
	char text[1024];
	struct http_msg *m;

	snprintf(text, sizeof(text), "ICAP/1.0 200 OK\r\n%s\r\n", fields);
	m = head_read(a, H1_ICAP_RESPONSE, str_of(text), &h1_limits_origin,
	    NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	return (m);
}

static void
test_fields(void)
{
	struct arena *a = arena_new();
	struct http_msg *m;
	struct str threat;
	size_t i;

	for (i = 0; i < sizeof(said) / sizeof(said[0]); i++) {
		m = head_of(a, said[i].fields);
		CU_ASSERT_EQUAL(icap_find_threat(&m->fields, NULL, &threat),
		    said[i].found);
		CU_ASSERT(str_eq(threat, str_of(said[i].threat)));
		if (!str_eq(threat, str_of(said[i].threat)))
			printf("# case %zu: %.*s\n", i, STR_ARG(threat));
		/* the message had them before: not the service's */
		CU_ASSERT_EQUAL(icap_find_threat(&m->fields, &m->fields,
				    &threat),
		    ICAP_FOUND_NOTHING);
	}
	/* and the service's own is not hidden behind the same one */
	m = head_of(a, "X-Virus-ID: Worm\r\nx-virus-id: Worm\r\n");
	CU_ASSERT_EQUAL(icap_find_threat(&m->fields,
			    &head_of(a, "X-Virus-ID: Worm\r\n")->fields,
			    &threat),
	    ICAP_FOUND_THREAT);
	arena_free(&a);
}

/* Whole answers to the preview, in both directions. */

#define FOUND "X-Infection-Found: Type=0; Resolution=2; Threat=Eicar;\r\n"
#define REPAIRED "X-Infection-Found: Type=0; Resolution=1; Threat=Eicar;\r\n"
#define NOBODY "Encapsulated: null-body=0\r\n\r\n"
#define LINE(status, fields) "ICAP/1.0 " status "\r\nISTag: \"t\"\r\n" fields

enum shape {
	NOTHING,
	/* the message as it was */
	BACK,
	BACK_BROKEN,
	BACK_TRAILER,
	BACK_FIELD,
	BACK_206,
	BACK_BEGUN,
	/* its head, another body */
	CHANGED,
	CHANGED_206,
	/* other heads */
	PAGE,
	PAGE_BROKEN,
	PAGE_200
};

static const struct row {
	const char *head;
	enum shape shape;
	enum verdict verdict;
	bool page; /* the service's own */
} rows[] = {
	{ LINE("204 No", "") NOBODY, NOTHING, VERDICT_CLEAN, false },
	{ LINE("204 No", "X-Virus-ID: none\r\n") NOBODY, NOTHING, VERDICT_CLEAN,
	    false },
	{ LINE("204 No", FOUND) NOBODY, NOTHING, VERDICT_BLOCKED, false },
	{ LINE("204 No", REPAIRED) NOBODY, NOTHING, VERDICT_BLOCKED, false },
	{ LINE("204 No", "X-Virus-ID: Eicar\r\n") "\r\n", NOTHING,
	    VERDICT_BLOCKED, false },
	{ LINE("204 No",
	      "X-Violations-Found: 1\r\n\tf\r\n\tE\r\n\t1\r\n\t2"
	      "\r\n") NOBODY,
	    NOTHING, VERDICT_BLOCKED, false },
	{ LINE("200 OK", FOUND) NOBODY, NOTHING, VERDICT_BLOCKED, false },
	{ LINE("200 OK", REPAIRED) NOBODY, NOTHING, VERDICT_BLOCKED, false },
	{ LINE("200 OK", FOUND) "\r\n", NOTHING, VERDICT_BLOCKED, false },
	{ LINE("200 OK", FOUND) "Encapsulated: what=0\r\n\r\n", NOTHING,
	    VERDICT_BLOCKED, false },
	{ LINE("206 OK", FOUND) NOBODY, NOTHING, VERDICT_BLOCKED, false },
	{ LINE("302 Found", FOUND) "\r\n", NOTHING, VERDICT_BLOCKED, false },
	{ LINE("403 No", "X-Blocked-Reason: dlp\r\n") NOBODY, NOTHING,
	    VERDICT_BLOCKED, false },
	{ LINE("408 Late", FOUND) NOBODY, NOTHING, VERDICT_BLOCKED, false },
	{ LINE("500 Error", "X-Virus-ID: E\r\n") "\r\n", NOTHING,
	    VERDICT_BLOCKED, false },
	{ LINE("503 Busy", FOUND) NOBODY, NOTHING, VERDICT_BLOCKED, false },
	{ LINE("200 OK", ""), BACK, VERDICT_MODIFIED, false },
	{ LINE("200 OK", FOUND), BACK, VERDICT_BLOCKED, false },
	{ LINE("200 OK", REPAIRED), CHANGED, VERDICT_MODIFIED, false },
	{ LINE("201 OK", FOUND), BACK, VERDICT_BLOCKED, false },
	{ LINE("200 OK", REPAIRED), BACK, VERDICT_BLOCKED, false },
	{ LINE("200 OK", FOUND), BACK_BEGUN, VERDICT_BLOCKED, false },
	{ LINE("206 OK", REPAIRED), CHANGED_206, VERDICT_MODIFIED, false },
	{ LINE("206 OK", REPAIRED), BACK_206, VERDICT_BLOCKED, false },
	{ LINE("200 OK", FOUND), BACK_BROKEN, VERDICT_BLOCKED, false },
	{ LINE("200 OK", REPAIRED), BACK_BROKEN, VERDICT_BLOCKED, false },
	{ LINE("200 OK", ""), BACK_TRAILER, VERDICT_BLOCKED, false },
	{ LINE("200 OK", ""), BACK_FIELD, VERDICT_BLOCKED, false },
	{ LINE("206 OK", ""), BACK_206, VERDICT_MODIFIED, false },
	{ LINE("206 OK", FOUND), BACK_206, VERDICT_BLOCKED, false },
	{ LINE("200 OK", FOUND), PAGE_200, VERDICT_BLOCKED, true },
	{ LINE("200 OK", FOUND), PAGE, VERDICT_BLOCKED, true },
	{ LINE("200 OK", REPAIRED), PAGE, VERDICT_BLOCKED, true },
	{ LINE("200 OK", ""), PAGE, VERDICT_BLOCKED, true },
	{ LINE("200 OK", FOUND), PAGE_BROKEN, VERDICT_BLOCKED, false },
};

static const struct row *row;

static const char *
last_of(enum shape shape)
{
	if (shape == BACK_TRAILER)
		return ("0\r\n" FOUND "\r\n");
	if (shape == BACK_206 || shape == CHANGED_206)
		return ("0; use-original-body=1024\r\n\r\n");
	return (shape == BACK_BROKEN || shape == PAGE_BROKEN ? "-1\r\n\r\n"
							     : "0\r\n\r\n");
}

static bool
serve_row(struct peer_conn *c)
{
	const char *resp = strstr(c->http, "HTTP/1.1 200");
	const char *kind = resp != NULL || row->shape >= PAGE ? "res" : "req";
	char head[1024];

	if (!see(c))
		return (false);
	if (row->shape == NOTHING)
		return (peer_write(c, row->head));
	snprintf(head, sizeof(head), "%.900s",
	    row->shape == PAGE_200   ? "HTTP/1.1 200 No\r\nA: b\r\n\r\n"
		: row->shape >= PAGE ? "HTTP/1.1 403 No\r\nA: b\r\n\r\n"
		: resp != NULL       ? resp
				     : c->http);
	if (row->shape == BACK_FIELD)
		snprintf(head + strlen(head) - 2, 64,
		    "X-Virus-ID: Eicar\r\n"
		    "\r\n");
	return (write_adapted(c, row->head, kind, head, true) &&
	    (row->shape < CHANGED ? peer_write_chunk(c, c->body, c->body_n)
				  : peer_write_chunk(c, "other text", 10)) &&
	    (row->shape != BACK_BEGUN || peer_write_chunk(c, "more", 4)) &&
	    peer_write(c, last_of(row->shape)));
}

static void
check_row(void)
{
	const struct scan_result *r = &t.scan.result;

	/* it came in pieces, and the last one too late for the verdict */
	if ((row->shape == BACK_TRAILER || row->shape == PAGE_BROKEN) &&
	    r->has_message) {
		CU_ASSERT_EQUAL(t.end, PULL_CUT);
		return;
	}
	CU_ASSERT_EQUAL(r->fault.code, ERR_NONE);
	CU_ASSERT_EQUAL(r->verdict, row->verdict);
	CU_ASSERT_EQUAL(r->has_message,
	    row->page || row->verdict == VERDICT_MODIFIED);
	CU_ASSERT_EQUAL(t.body != NULL, r->has_message);
	if (r->fault.code != ERR_NONE || r->verdict != row->verdict)
		printf("# row %zu, %s\n", (size_t)(row - rows),
		    as_resp ? "RESPMOD" : "REQMOD");
}

static void
test_answers(void)
{
	static const struct try_body body = { .size = 50000 };
	unsigned i;

	for (i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		row = &rows[i / 2];
		as_resp = i % 2 == 0;
		with_body = &body;
		with_options = OPTIONS("Preview: 1024\r\nAllow: 204, 206\r\n");
		one(serve_row);
		check_row();
		finish();
	}
}

/* It breaks off, or goes silent, behind a head that names a threat. */

static bool
serve_begun(struct peer_conn *c)
{
	return (see(c) &&
	    peer_write(c,
		LINE("200 OK", FOUND) "Encapsulated: res-hdr=0, "
				      "res-body=99\r\n\r\nHTTP/1.1 4") &&
	    false);
}

static bool
serve_silence(struct peer_conn *c)
{
	(void)(see(c) &&
	    peer_write(c,
		LINE("200 OK", REPAIRED) "Encapsulated: res-hdr=0, "
					 "res-body=99\r\n\r\nHTTP/1.1 4"));
	peer_pause(1500);
	return (false);
}

static void
shortly(struct rig *r)
{
	r->options.timeout_ms = 300;
}

static void
test_early_finding(void)
{
	static const struct try_body body = { .size = 50000 };
	unsigned i;

	for (i = 0; i < 2; i++) {
		as_resp = true;
		with_body = &body;
		adjust = i == 0 ? NULL : shortly;
		one(i == 0 ? serve_begun : serve_silence);
		CU_ASSERT_EQUAL(t.scan.result.fault.code, ERR_NONE);
		CU_ASSERT_EQUAL(t.scan.result.verdict, VERDICT_BLOCKED);
		CU_ASSERT(str_eq(t.scan.result.threat, STR("Eicar")));
		CU_ASSERT_FALSE(t.scan.result.has_message);
		finish();
	}
}

/* Said behind a body that is on its way already: it never becomes whole. */

static bool
serve_late_trailer(struct peer_conn *c)
{
	static char block[200000];

	return (see(c) && write_adapted(c, ICAP200, "res", RESP, true) &&
	    peer_write_chunk(c, block, sizeof(block)) &&
	    peer_write(c, "0\r\n" FOUND "\r\n"));
}

static void
test_late_trailer(void)
{
	static const struct try_body body = { .size = 50000 };

	as_resp = true;
	with_body = &body;
	one(serve_late_trailer);
	CU_ASSERT_EQUAL(t.scan.result.verdict, VERDICT_MODIFIED);
	CU_ASSERT_EQUAL(t.end, PULL_CUT);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t.body);
	CU_ASSERT_EQUAL(body_fault(t.body)->code, ERR_THREAT);
	CU_ASSERT_STRING_EQUAL(body_fault(t.body)->detail, "Eicar");
	finish();
}

UNIT_TESTS(icap_finding, { "what fields say", test_fields },
    { "a finding counts on every answer", test_answers },
    { "a finding outlives what follows it", test_early_finding },
    { "a finding in a trailer cuts the body", test_late_trailer })
