/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The access log: both formats to the byte, privacy, and the writer's thread:
 * whole lines from many threads, reopening, a full disk, an end with nothing
 * lost.  The operational log as well, since they share stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "proxy/audit/audit_priv.h"
#include "proxy/audit/log.h"
#include "t/unit/unit.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct logging_privacy usual = { LOGGING_DROP, LOGGING_KEEP,
	LOGGING_KEEP };
static const struct logging_privacy hidden = { LOGGING_DROP, LOGGING_DROP,
	LOGGING_DROP };
static const struct logging_privacy open_all = { LOGGING_KEEP, LOGGING_KEEP,
	LOGGING_KEEP };

static struct audit_record
usual_record(void)
{
	struct audit_record r;

	audit_record_init(&r);
	r.reference = STR("7K3Q-9D2M-5XTW");
	r.started_ms = 1795457115573;
	r.ms.total = 2;
	r.client_ip = STR("127.0.0.1");
	r.client_port = 40000;
	r.listener = STR("office");
	r.method = STR("GET");
	r.url = STR("http://127.0.0.1:18080/a");
	r.host = STR("127.0.0.1");
	r.port = 18080;
	r.http_minor = 1;
	r.server_ip = STR("127.0.0.1");
	r.server_port = 18080;
	r.status = 200;
	r.mime = STR("application/x-foo;v=1");
	r.response_bytes = 265;
	return (r);
}

/* --- json --- */

static json_t *
parse(const struct audit_record *r, const struct logging_privacy *p)
{
	struct buf b = { 0 };
	json_error_t e;
	json_t *o;

	audit_format_json(&b, r, p);
	CU_ASSERT(b.n > 2 && memchr(b.p, '\n', b.n) == b.p + b.n - 1);
	o = json_loadb(b.p, b.n, JSON_REJECT_DUPLICATES, &e);
	if (o == NULL)
		printf("# %s at %d: %.300s\n", e.text, e.position, b.p);
	buf_fini(&b);
	CU_ASSERT_PTR_NOT_NULL_FATAL(o);
	return (o);
}

static bool
is(const json_t *o, const char *key, const char *value)
{
	const char *s = json_string_value(json_object_get(o, key));

	return (value == NULL ? json_object_get(o, key) == NULL
			      : s != NULL && strcmp(s, value) == 0);
}

static bool
is_number(const json_t *o, const char *key, json_int_t value)
{
	const json_t *v = json_object_get(o, key);

	return (json_is_integer(v) && json_integer_value(v) == value);
}

/* Scans are measured in microseconds and shown with one decimal. */
static bool
is_tenths(const json_t *o, const char *key, double value)
{
	const json_t *v = json_object_get(o, key);

	return (json_is_real(v) && json_real_value(v) > value - 0.001 &&
	    json_real_value(v) < value + 0.001);
}

static void
test_json_line(void)
{
	static const char line
	    [] = "{\"@timestamp\":\"2026-11-23T18:05:15.573Z\","
		 "\"ecs.version\":\"8.11.0\",\"event.kind\":\"event\","
		 "\"event.id\":\"7K3Q-9D2M-5XTW\",\"event.action\":\"allow\","
		 "\"event.outcome\":\"success\",\"event.duration\":2000000,"
		 "\"client.ip\":\"127.0.0.1\",\"client.port\":40000,"
		 "\"assay.listener\":\"office\",\"assay.mode\":\"plain\","
		 "\"url.full\":\"http://127.0.0.1:18080/a\","
		 "\"url.scheme\":\"http\",\"url.domain\":\"127.0.0.1\","
		 "\"url.port\":18080,\"http.version\":\"1.1\","
		 "\"http.request.method\":\"GET\","
		 "\"http.response.status_code\":200,"
		 "\"http.response.bytes\":265,"
		 "\"http.response.mime_type\":\"application/x-foo\","
		 "\"server.ip\":\"127.0.0.1\",\"server.port\":18080,"
		 "\"assay.ms.total\":2}\n";
	struct audit_record r = usual_record();
	struct buf b = { 0 };

	audit_format_json(&b, &r, &usual);
	CU_ASSERT_STRING_EQUAL(b.p, line);
	buf_fini(&b);
}

static void
test_json_whole(void)
{
	const struct audit_scan scans[] = {
		{ STR("clam"), STR("inside"), SCAN_RESP, STR("blocked"),
		    STR("Eicar-Test"), STR_NONE, 3250, 68, STR_NONE, 0 },
		{ STR("dlp"), STR("dlp1:1344"), SCAN_REQ, STR("error"),
		    STR_NONE, STR("timeout"), 60000, 0, STR("time"), 7 },
	};
	struct fault fault = { ERR_ORIGIN_CERT, "expired \"yesterday\"" };
	struct audit_record r = usual_record();
	const json_t *s;
	json_t *o;

	r.action = AUDIT_BLOCK;
	r.mode = AUDIT_INTERCEPTED;
	r.websocket = (struct audit_websocket){ true, 3, 0, 10, 1ull << 40,
		1008 };
	r.user = STR("anna");
	r.agent = STR("curl/7.88");
	r.client_tls = (struct audit_tls){ STR("1.3"),
		STR("TLS_AES_256_GCM_SHA384"), STR("http/1.1"), STR("h") };
	r.origin_tls.version = STR("1.2");
	r.rules = (struct audit_rules){ STR("a"), STR("b"), STR("c"), STR("d"),
		STR("e") };
	r.parent = (struct audit_parent){ STR("up"), STR("http://p:3128"),
		STR("192.0.2.9"), false, true };
	r.ms = (struct audit_ms){ 0, 1, 2, 960049, 4, 5 };
	r.has_verdict = true;
	r.verdict = VERDICT_BLOCKED;
	r.scans = scans;
	r.n_scans = 2;
	r.fault = &fault;
	r.request_bytes = 1ull << 53;
	o = parse(&r, &usual);
	CU_ASSERT(is(o, "event.action", "block"));
	CU_ASSERT(is(o, "event.outcome", "failure"));
	CU_ASSERT(is(o, "user.name", "anna"));
	CU_ASSERT(is(o, "user_agent.original", "curl/7.88"));
	CU_ASSERT(is(o, "assay.mode", "intercepted"));
	CU_ASSERT(is(o, "tls.version", "1.3"));
	CU_ASSERT(is(o, "tls.cipher", "TLS_AES_256_GCM_SHA384"));
	CU_ASSERT(is(o, "tls.next_protocol", "http/1.1"));
	CU_ASSERT(is(o, "tls.client.server_name", "h"));
	CU_ASSERT(is(o, "assay.origin.tls.version", "1.2"));
	CU_ASSERT(is(o, "assay.rule.tls", "a"));
	CU_ASSERT(is(o, "assay.rule.access", "b"));
	CU_ASSERT(is(o, "assay.rule.scan", "c"));
	CU_ASSERT(is(o, "assay.rule.download", "d"));
	CU_ASSERT(is(o, "assay.rule.route", "e"));
	CU_ASSERT(is(o, "assay.upstream.name", "up"));
	CU_ASSERT(is(o, "assay.upstream.endpoint", "http://p:3128"));
	CU_ASSERT(is(o, "assay.upstream.ip", "192.0.2.9"));
	CU_ASSERT(json_is_true(json_object_get(o, "assay.upstream.direct")));
	CU_ASSERT(is(o, "assay.verdict", "blocked"));
	CU_ASSERT(is(o, "error.code", "ORIGIN_CERT"));
	CU_ASSERT(is(o, "error.type", "tls_certificate_error"));
	CU_ASSERT(is(o, "error.message",
	    "origin certificate is not "
	    "acceptable: expired \"yesterday\""));
	CU_ASSERT(is_number(o, "assay.ms.dns", 0));
	CU_ASSERT(is_tenths(o, "assay.ms.scan", 960.0));
	CU_ASSERT(is_number(o, "assay.ms.first_byte", 4));
	CU_ASSERT(is_number(o, "http.request.bytes", 1ll << 53));
	s = json_array_get(json_object_get(o, "assay.scan"), 0);
	CU_ASSERT(is(s, "service", "clam") && is(s, "endpoint", "inside") &&
	    is(s, "mode", "resp") && is(s, "outcome", "blocked") &&
	    is(s, "threat", "Eicar-Test") && is(s, "reason", NULL) &&
	    is_tenths(s, "ms", 3.3) && is_number(s, "bytes", 68));
	s = json_array_get(json_object_get(o, "assay.scan"), 1);
	CU_ASSERT(is(s, "mode", "req") && is(s, "reason", "timeout") &&
	    is(s, "gap", "time") && is_number(s, "messages", 7) &&
	    is_number(s, "bytes", 0));
	CU_ASSERT_PTR_NULL(
	    json_object_get(json_array_get(json_object_get(o, "assay.scan"), 0),
		"messages"));
	CU_ASSERT(is_number(o, "assay.websocket.request.messages", 3) &&
	    is_number(o, "assay.websocket.request.bytes", 10) &&
	    is_number(o, "assay.websocket.response.messages", 0) &&
	    is_number(o, "assay.websocket.response.bytes", 1ll << 40) &&
	    is_number(o, "assay.websocket.close.code", 1008));
	json_decref(o);
}

static void
test_json_empty(void)
{
	struct audit_record r;
	json_t *o;

	audit_record_init(&r);
	o = parse(&r, &usual);
	CU_ASSERT(is(o, "@timestamp", "1970-01-01T00:00:00.000Z"));
	CU_ASSERT_EQUAL(json_object_size(o), 6);
	json_decref(o);
}

static void
test_json_times(void)
{
	struct audit_record r = usual_record();
	char text[32];
	unsigned i;
	struct tm tm;
	json_t *o;
	time_t t;

	for (i = 0; i < 2000; i++) {
		t = (time_t)unit_random(0x7FFFFFFF) * 2 + 951782400;
		if (i < 800) /* days around two centuries' ends */
			t = 4107456000 + (time_t)i * 43200;
		r.started_ms = (uint64_t)t * 1000 + 7;
		(void)gmtime_r(&t, &tm);
		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.007Z",
		    &tm);
		o = parse(&r, &usual);
		CU_ASSERT(is(o, "@timestamp", text));
		json_decref(o);
	}
}

/* Whatever bytes come, every line is one valid object. */
static void
test_json_hostile(void)
{
	char noise[4096];
	struct audit_record r;
	struct audit_scan scan = { 0 };
	struct fault fault = { .code = ERR_THREAT };
	struct str v;
	unsigned i, k;

	for (i = 0; i < 500; i++) {
		for (k = 0; k < sizeof(noise); k++)
			noise[k] = (char)unit_random(i % 2 ? 256 : 128);
		v = (struct str){ noise, unit_random(sizeof(noise)) };
		r = usual_record();
		r.reference = r.client_ip = r.listener = r.user = r.agent = v;
		r.method = r.url = r.host = r.server_ip = r.mime = v;
		r.client_tls = (struct audit_tls){ v, v, v, v };
		r.rules = (struct audit_rules){ v, v, v, v, v };
		r.parent = (struct audit_parent){ v, v, v, false, true };
		scan = (struct audit_scan){ .service = v,
			.endpoint = v,
			.outcome = v,
			.threat = v,
			.reason = v,
			.us = -1,
			.bytes = UINT64_MAX };
		r.scans = &scan;
		r.n_scans = 1;
		memcpy(fault.detail, noise, sizeof(fault.detail) - 1);
		r.fault = &fault;
		json_decref(parse(&r, i % 3 ? &open_all : &usual));
	}
}

static void
test_json_long(void)
{
	struct audit_record r = usual_record();
	size_t n = 1 << 20;
	struct buf b = { 0 };
	char *p = malloc(n);

	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	memset(p, 'a', n);
	memcpy(p, "http://h/", 9);
	r.url = r.agent = r.host = (struct str){ p, n };
	audit_format_json(&b, &r, &usual);
	CU_ASSERT(b.n < 12000);
	b.n = 0;
	audit_format_squid(&b, &r, &usual);
	CU_ASSERT(b.n < 9000);
	json_decref(parse(&r, &usual));
	memset(p, 0xC3, n);
	for (n = 1; n < 1 << 20; n += 2)
		p[n] = (char)0xA4;
	json_decref(parse(&r, &usual)); /* cut between characters */
	buf_fini(&b);
	free(p);
}

/* --- privacy --- */

static void
test_privacy(void)
{
	static const struct {
		const char *url, *dropped, *kept;
	} cases[] = {
		{ "https://u:p@h.example/x?q=1#f", "https://h.example/x",
		    "https://h.example/x?q=1" },
		{ "https://h/?", "https://h/", "https://h/" },
		{ "https://h/a?b?c", "https://h/a", "https://h/a?b?c" },
		{ "https://a@b@h/p@q", "https://h/p@q", "https://h/p@q" },
		{ "https://u:p@h?x@y", "https://h", "https://h?x@y" },
		{ "h.example:443", "h.example:443", "h.example:443" },
	};
	struct audit_record r = usual_record();
	json_t *o;
	size_t i;

	for (i = 0; i < COUNT(cases); i++) {
		r.url = str_of(cases[i].url);
		o = parse(&r, &usual);
		CU_ASSERT(is(o, "url.full", cases[i].dropped));
		json_decref(o);
		o = parse(&r, &open_all);
		CU_ASSERT(is(o, "url.full", cases[i].kept));
		json_decref(o);
	}
	r.user = STR("anna");
	o = parse(&r, &hidden);
	CU_ASSERT(is(o, "user.name", NULL) && is(o, "client.ip", NULL) &&
	    json_object_get(o, "client.port") == NULL);
	json_decref(o);
}

/* --- squid --- */

static void
expect_squid(const struct audit_record *r, const char *line)
{
	struct buf b = { 0 };

	audit_format_squid(&b, r, &usual);
	CU_ASSERT_STRING_EQUAL(b.p, line);
	if (strcmp(b.p, line) != 0)
		printf("# got  %s# want %s", b.p, line);
	buf_fini(&b);
}

/* The right column was written by Squid 5.7 for these very exchanges. */
static void
test_squid(void)
{
	static const struct fault refused = { .code = ERR_CONNECT_REFUSED };
	static const struct fault no_name = { .code = ERR_DNS_NAME };
	static const struct fault syntax = { .code = ERR_REQ_SYNTAX };
	static const struct fault gone = { .code = ERR_CLIENT_GONE };
	static const struct {
		uint64_t end;
		int64_t ms;
		enum audit_action action;
		enum audit_mode mode;
		bool reply;
		unsigned status;
		uint64_t bytes;
		const char *method, *url, *user, *server, *mime;
		const struct fault *fault;
		const char *line;
	} cases[] = {
		{ 1795457115575, 2, AUDIT_ALLOW, AUDIT_PLAIN, false, 200, 265,
		    "GET", "http://127.0.0.1:18080/a", NULL, "127.0.0.1",
		    "application/x-foo;v=1", NULL,
		    "1795457115.575      2 127.0.0.1 TCP_MISS/200 265 GET "
		    "http://127.0.0.1:18080/a - HIER_DIRECT/127.0.0.1 "
		    "application/x-foo\n" },
		{ 1795457115583, 0, AUDIT_ALLOW, AUDIT_PLAIN, false, 204, 205,
		    "GET", "http://127.0.0.1:18080/204", NULL, "127.0.0.1",
		    NULL, NULL,
		    "1795457115.583      0 127.0.0.1 TCP_MISS/204 205 GET "
		    "http://127.0.0.1:18080/204 - HIER_DIRECT/127.0.0.1 -\n" },
		{ 1795457115602, 2, AUDIT_ALLOW, AUDIT_PLAIN, false, 200, 265,
		    "POST", "http://127.0.0.1:18080/p?q=1&r=2", NULL,
		    "127.0.0.1", "application/x-foo", NULL,
		    "1795457115.602      2 127.0.0.1 TCP_MISS/200 265 POST "
		    "http://127.0.0.1:18080/p? - HIER_DIRECT/127.0.0.1 "
		    "application/x-foo\n" },
		{ 1795457115612, 1, AUDIT_BLOCK, AUDIT_PLAIN, false, 403, 3425,
		    "GET", "http://127.0.0.1:18080/blocked", NULL, NULL,
		    "text/html", NULL,
		    "1795457115.612      1 127.0.0.1 TCP_DENIED/403 3425 GET "
		    "http://127.0.0.1:18080/blocked - HIER_NONE/- "
		    "text/html\n" },
		{ 1795457115672, 1, AUDIT_BLOCK, AUDIT_PLAIN, true, 403, 3417,
		    "GET", "http://127.0.0.1:1/refused", NULL, "127.0.0.1",
		    "text/html", NULL,
		    "1795457115.672      1 127.0.0.1 TCP_DENIED_REPLY/403 3417 "
		    "GET http://127.0.0.1:1/refused - HIER_DIRECT/127.0.0.1 "
		    "text/html\n" },
		{ 1795457115757, 43, AUDIT_ALLOW, AUDIT_PLAIN, false, 200, 265,
		    "GET", "http://127.0.0.1:18080/auth", "j\xc3\xb6\"[h]%n\\x",
		    "127.0.0.1", "application/x-foo", NULL,
		    "1795457115.757     43 127.0.0.1 TCP_MISS/200 265 GET "
		    "http://127.0.0.1:18080/auth j%c3%b6\"%5bh%5d%25n\\\\x "
		    "HIER_DIRECT/127.0.0.1 application/x-foo\n" },
		{ 1795457115769, 1, AUDIT_BLOCK, AUDIT_PLAIN, false, 407, 3520,
		    "GET", "http://127.0.0.1:18080/auth", NULL, NULL,
		    "text/html", NULL,
		    "1795457115.769      1 127.0.0.1 TCP_DENIED/407 3520 GET "
		    "http://127.0.0.1:18080/auth - HIER_NONE/- text/html\n" },
		{ 1795457115795, 17, AUDIT_ALLOW, AUDIT_CONNECT, false, 200, 0,
		    "CONNECT", "127.0.0.1:18443", NULL, "127.0.0.1", NULL, NULL,
		    "1795457115.795     17 127.0.0.1 NONE_NONE/200 0 CONNECT "
		    "127.0.0.1:18443 - HIER_DIRECT/127.0.0.1 -\n" },
		{ 1795457115837, 42, AUDIT_ALLOW, AUDIT_INTERCEPTED, false, 200,
		    265, "GET", "https://127.0.0.1:18443/tls?x=1", NULL,
		    "127.0.0.1", "application/x-foo", NULL,
		    "1795457115.837     42 127.0.0.1 TCP_MISS/200 265 GET "
		    "https://127.0.0.1:18443/tls? - HIER_DIRECT/127.0.0.1 "
		    "application/x-foo\n" },
		{ 1795457115895, 44, AUDIT_SPLICE, AUDIT_TUNNEL, false, 200,
		    2079, "CONNECT", "localhost:18443", NULL, "127.0.0.1", NULL,
		    NULL,
		    "1795457115.895     44 127.0.0.1 TCP_TUNNEL/200 2079 "
		    "CONNECT localhost:18443 - HIER_DIRECT/127.0.0.1 -\n" },
		{ 1795457116141, 0, AUDIT_ALLOW, AUDIT_PLAIN, false, 200, 260,
		    "GET", "http://127.0.0.1:18080/<>\"{}|\\^[]`~%41%zz", NULL,
		    "127.0.0.1", "application/x-foo", NULL,
		    "1795457116.141      0 127.0.0.1 TCP_MISS/200 260 GET "
		    "http://127.0.0.1:18080/<>\"{}|\\^[]`~%41%zz - "
		    "HIER_DIRECT/127.0.0.1 application/x-foo\n" },
		{ 1795457142253, 1, AUDIT_ERROR, AUDIT_PLAIN, false, 503, 3436,
		    "GET", "http://127.0.0.1:1/refused", NULL, "127.0.0.1",
		    "text/html", &refused,
		    "1795457142.253      1 127.0.0.1 TCP_MISS/503 3436 GET "
		    "http://127.0.0.1:1/refused - HIER_DIRECT/127.0.0.1 "
		    "text/html\n" },
		{ 1795457142261, 1, AUDIT_ERROR, AUDIT_PLAIN, false, 502, 3410,
		    "GET", "http://nonexistent.invalid/x", NULL, NULL,
		    "text/html", &no_name,
		    "1795457142.261      1 127.0.0.1 TCP_MISS/502 3410 GET "
		    "http://nonexistent.invalid/x - HIER_NONE/- text/html\n" },
		{ 1795457142705, 0, AUDIT_ERROR, AUDIT_PLAIN, false, 400, 4072,
		    "GET", NULL, NULL, NULL, "text/html", &syntax,
		    "1795457142.705      0 127.0.0.1 NONE_NONE/400 4072 GET "
		    "error:invalid-request - HIER_NONE/- text/html\n" },
		{ 1795457142795, 0, AUDIT_ERROR, AUDIT_PLAIN, false, 503, 3413,
		    "GET", "http://[::1]:18080/x", NULL, "::1", "text/html",
		    &refused,
		    "1795457142.795      0 127.0.0.1 TCP_MISS/503 3413 GET "
		    "http://[::1]:18080/x - HIER_DIRECT/::1 text/html\n" },
		/* what Squid's documents say of clients that left */
		{ 1795457142795, 123456789, AUDIT_ERROR, AUDIT_PLAIN, false,
		    200, 1, "GET", "http://h/", NULL, "192.0.2.1", "a/b", &gone,
		    "1795457142.795 123456789 127.0.0.1 TCP_MISS_ABORTED/200 1 "
		    "GET http://h/ - HIER_DIRECT/192.0.2.1 a/b\n" },
		{ 1795457142795, 0, AUDIT_ERROR, AUDIT_PLAIN, false, 0, 0, NULL,
		    NULL, NULL, NULL, NULL, &gone,
		    "1795457142.795      0 127.0.0.1 NONE_NONE_ABORTED/000 0 - "
		    "error:transaction-end-before-headers - HIER_NONE/- -\n" },
		/* nothing breaks the columns */
		{ 1795457142795, 0, AUDIT_ALLOW, AUDIT_PLAIN, false, 200, 1,
		    "GE T", "http://h/a b\n\x01\x7f", "jo hn\r\n", "192.0.2.1",
		    "a /b\n", NULL,
		    "1795457142.795      0 127.0.0.1 TCP_MISS/200 1 GE%20T "
		    "http://h/a%20b%0a%01%7f jo%20hn\\r\\n "
		    "HIER_DIRECT/192.0.2.1 a%20/b%0a\n" },
	};
	struct audit_record r;
	size_t i;

	for (i = 0; i < COUNT(cases); i++) {
		audit_record_init(&r);
		r.started_ms = cases[i].end - (uint64_t)cases[i].ms;
		r.ms.total = cases[i].ms;
		r.action = cases[i].action;
		r.mode = cases[i].mode;
		r.at_response = cases[i].reply;
		r.status = cases[i].status;
		r.response_bytes = cases[i].bytes;
		r.client_ip = STR("127.0.0.1");
		r.method = str_of(cases[i].method);
		r.url = str_of(cases[i].url);
		r.user = str_of(cases[i].user);
		r.server_ip = str_of(cases[i].server);
		r.mime = str_of(cases[i].mime);
		r.fault = cases[i].fault;
		expect_squid(&r, cases[i].line);
	}
}

/* --- the writer --- */

static char folder[] = "/tmp/proxy_audit.XXXXXX";
static char path[64], moved[64], err_path[64];
static int real_stderr;
static int log_fd; /* of the last one that was opened */

static struct audit *
open_log(const char *to, enum logging_format format)
{
	struct fault f = { 0 };
	const struct audit_target t = { to, format, audit_open(to, &f) };
	struct audit *a;

	CU_ASSERT_FATAL(t.fd >= 0);
	log_fd = t.fd;
	a = audit_new(&t, 1, &usual, &f);

	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	return (a);
}

/* The lines of a file; *whole: each is an object and the last one has ended. */
static unsigned
count_file(const char *name, bool *whole)
{
	char *line = NULL;
	size_t cap = 0;
	unsigned n = 0;
	FILE *f = fopen(name, "r");
	ssize_t len;
	json_t *o;

	*whole = true;
	if (f == NULL)
		return (0);
	while ((len = getline(&line, &cap, f)) > 0) {
		o = json_loadb(line, (size_t)len, 0, NULL);
		*whole = *whole && o != NULL && line[len - 1] == '\n';
		json_decref(o);
		n++;
	}
	free(line);
	(void)fclose(f);
	return (n);
}

static void
sleep_ms(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	(void)nanosleep(&t, NULL);
}

#define WRITERS 24 /* more than there are shards */
#define LINES 1000

static void *
write_many(void *arg)
{
	struct audit_record r = usual_record();
	char agent[300];
	unsigned i;

	memset(agent, 'x', sizeof(agent));
	for (i = 0; i < LINES; i++) {
		r.agent = (struct str){ agent, i % sizeof(agent) };
		audit_write(arg, &r);
	}
	return (NULL);
}

static void
test_threads(void)
{
	struct audit *a = open_log(path, LOGGING_JSON);
	pthread_t t[WRITERS];
	unsigned i, n;
	bool whole;

	for (i = 0; i < WRITERS; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&t[i], NULL, write_many,
					  a),
		    0);
	for (i = 0; i < WRITERS; i++)
		(void)pthread_join(t[i], NULL);
	CU_ASSERT_EQUAL(audit_lost(a), 0);
	audit_free(&a);
	CU_ASSERT_PTR_NULL(a);
	n = count_file(path, &whole);
	CU_ASSERT_EQUAL(n, WRITERS * LINES);
	CU_ASSERT(whole);
	(void)unlink(path);
}

/* One line alone is in the file soon, and so is the next. */
static void
test_latency(void)
{
	struct audit *a = open_log(path, LOGGING_JSON);
	struct audit_record r = usual_record();
	unsigned i, waited;
	bool whole;

	for (i = 1; i <= 3; i++) {
		audit_write(a, &r);
		for (waited = 0; waited < 2000 && count_file(path, &whole) < i;
		     waited += 10)
			sleep_ms(10);
		CU_ASSERT(waited < 1000); /* 60 ms on a quiet machine */
		sleep_ms(70);
	}
	audit_free(&a);
	(void)unlink(path);
}

static void
test_reopen(void)
{
	struct audit *a = open_log(path, LOGGING_JSON);
	struct audit_record r = usual_record();
	int fds[1] = { -1 };
	struct fault f = { 0 };
	unsigned waited;
	bool whole;

	audit_write(a, &r);
	CU_ASSERT_EQUAL(rename(path, moved), 0);
	audit_write(a, &r);
	audit_replace(a, fds,
	    1); /* it could not be opened: the old one stays */
	audit_write(a, &r);
	fds[0] = audit_open(path, &f);
	audit_replace(a, fds, 1);
	for (waited = 0; waited < 20000 && fcntl(log_fd, F_GETFD) >= 0;
	     waited += 10)
		sleep_ms(10);
	audit_write(a, &r);
	audit_free(&a);
	CU_ASSERT_EQUAL(fcntl(fds[0], F_GETFD), -1);
	CU_ASSERT_EQUAL(count_file(moved, &whole), 3);
	CU_ASSERT_EQUAL(count_file(path, &whole), 1);
	CU_ASSERT(whole);
	(void)unlink(path);
	(void)unlink(moved);
}

/* A new start appends; the mode keeps others out; audit_free() flushes. */
static void
test_append(void)
{
	struct audit_record r = usual_record();
	struct audit *a;
	struct stat st;
	unsigned i;
	bool whole;

	for (i = 1; i <= 3; i++) {
		a = open_log(path, LOGGING_JSON);
		audit_write(a, &r);
		audit_free(&a);
		CU_ASSERT_EQUAL(count_file(path, &whole), i);
	}
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07, 0);
	(void)unlink(path);
}

static void
test_no_target(void)
{
	struct audit_record r = usual_record();
	struct fault f = { 0 };
	struct audit *a = audit_new(NULL, 0, &usual, &f);

	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	audit_write(a, &r);
	audit_replace(a, NULL, 0);
	audit_free(&a);
	audit_free(&a);
	CU_ASSERT_EQUAL(audit_open("/nonexistent/x", &f), -1);
	CU_ASSERT_EQUAL(f.code, ERR_SYSTEM);
	CU_ASSERT_STRING_EQUAL(f.detail,
	    "/nonexistent/x: No such file or directory");
}

/* --- stderr, caught in a file --- */

static void
catch_stderr(void)
{
	int fd = open(err_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);

	(void)fflush(stderr);
	real_stderr = dup(STDERR_FILENO);
	(void)dup2(fd, STDERR_FILENO);
	(void)close(fd);
}

static void
release_stderr(char *text, size_t cap)
{
	FILE *f;
	size_t n;

	(void)dup2(real_stderr, STDERR_FILENO);
	(void)close(real_stderr);
	f = fopen(err_path, "r");
	n = f != NULL ? fread(text, 1, cap - 1, f) : 0;
	text[n] = '\0';
	if (f != NULL)
		(void)fclose(f);
	(void)unlink(err_path);
}

static unsigned
count_newlines(const char *s)
{
	unsigned n = 0;

	for (; (s = strchr(s, '\n')) != NULL; s++)
		n++;
	return (n);
}

/*
 * A disk that is full in the middle of a line: the file ends with a whole
 * line, what is lost is counted and said once, and later lines arrive.
 */
static void
test_full_disk(void)
{
	struct rlimit old, small;
	struct audit_record r = usual_record();
	struct audit *a;
	char text[4096];
	unsigned i, n;
	bool whole;

	(void)signal(SIGXFSZ, SIG_IGN);
	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 5000;
	catch_stderr();
	a = open_log(path, LOGGING_JSON);
	(void)setrlimit(RLIMIT_FSIZE, &small);
	for (i = 0; i < 100; i++)
		audit_write(a, &r);
	for (i = 0; i < 200 && audit_lost(a) == 0; i++)
		sleep_ms(10);
	n = count_file(path, &whole);
	CU_ASSERT(n > 0 && n < 100 && whole);
	CU_ASSERT_EQUAL(audit_lost(a), 100 - n);
	audit_write(a, &r);
	for (i = 0; i < 200 && audit_lost(a) == 100 - n; i++)
		sleep_ms(10);
	(void)setrlimit(RLIMIT_FSIZE, &old);
	audit_write(a, &r);
	audit_free(&a);
	release_stderr(text, sizeof(text));
	CU_ASSERT_EQUAL(count_file(path, &whole), n + 1);
	CU_ASSERT(whole);
	CU_ASSERT(strstr(text, ": File too large; ") != NULL);
	CU_ASSERT(strstr(text, "writing again; ") != NULL);
	CU_ASSERT_EQUAL(count_newlines(text), 2);
	(void)unlink(path);
}

static void *
read_all(void *arg)
{
	int fd = *(int *)arg, n;
	char chunk[512];
	size_t total = 0;

	while ((n = (int)read(fd, chunk, sizeof(chunk))) > 0) {
		total += (size_t)n;
		if (total < 20000)
			sleep_ms(1); /* a slow reader */
	}
	return ((void *)total);
}

/* A pipe on stdout whose reader is slow, then gone. */
static void
test_pipe(void)
{
	struct audit_record r = usual_record();
	struct buf line = { 0 };
	int p[2], saved;
	struct audit *a;
	pthread_t t;
	void *total;
	char text[4096];
	unsigned i;

	(void)signal(SIGPIPE, SIG_IGN);
	audit_format_json(&line, &r, &usual);
	(void)fflush(stdout);
	CU_ASSERT_EQUAL_FATAL(pipe(p), 0);
	saved = dup(STDOUT_FILENO);
	(void)dup2(p[1], STDOUT_FILENO);
	(void)close(p[1]);
	a = open_log("stdout", LOGGING_JSON);
	(void)dup2(saved, STDOUT_FILENO);
	(void)close(saved);
	CU_ASSERT_EQUAL_FATAL(pthread_create(&t, NULL, read_all, &p[0]), 0);
	for (i = 0; i < 500; i++)
		audit_write(a, &r);
	audit_free(&a);
	(void)pthread_join(t, &total);
	CU_ASSERT_EQUAL((size_t)total, 500 * line.n);
	(void)close(p[0]);
	buf_fini(&line);

	CU_ASSERT_EQUAL_FATAL(pipe(p), 0);
	(void)snprintf(text, sizeof(text), "/dev/fd/%d", p[1]);
	a = open_log(text, LOGGING_JSON);
	(void)close(p[0]);
	catch_stderr();
	audit_write(a, &r);
	for (i = 0; i < 200 && audit_lost(a) == 0; i++)
		sleep_ms(10);
	CU_ASSERT_EQUAL(audit_lost(a), 1);
	audit_free(&a);
	release_stderr(text, sizeof(text));
	CU_ASSERT(strstr(text, "Broken pipe; 1 records lost") != NULL);
	(void)close(p[1]);
}

static void
test_log_lines(void)
{
	char text[8192], longest[5000];
	struct log_limit limit = { 0 };
	unsigned i, wrote = 0;

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	catch_stderr();
	errno = ENOENT;
	log_line(LEVEL_NOTICE, "ca", "loaded %d of %s", 1, "two");
	CU_ASSERT_EQUAL(errno, ENOENT);
	log_line(LEVEL_INFO, NULL, "bare");
	log_line(LEVEL_ERROR, "peer", "a\nassayd: forged\x1b[31m\x7f");
	log_line(LEVEL_ERROR, "x", "%s", longest);
	for (i = 0; i < 1000; i++)
		wrote += log_limited(&limit, LEVEL_WARNING, "icap", "down %u",
		    i);
	atomic_store(&limit.next_at, 0); /* as if time had passed */
	wrote += log_limited(&limit, LEVEL_WARNING, "icap", "still down");
	release_stderr(text, sizeof(text));
	CU_ASSERT_EQUAL(wrote, 2);
	CU_ASSERT_EQUAL(count_newlines(text), 6);
	CU_ASSERT(str_starts(str_of(text),
	    STR("assayd: ca: loaded 1 of two\n"
		"assayd: bare\n"
		"assayd: peer: a\\x0aassayd: forged\\x1b[31m\\x7f\n"
		"assayd: x: xxxx")));
	CU_ASSERT(strstr(text, "assayd: icap: down 0\n") != NULL);
	CU_ASSERT(strstr(text,
		      "assayd: icap: still down (and 999 more of "
		      "the kind)\n") != NULL);
}

static ssize_t
recv_some(int fd, char *to, size_t n)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return (poll(&p, 1, 0) == 1 ? read(fd, to, n) : 0);
}

/* The log goes elsewhere, and stderr has only what others say. */
static void
test_log_elsewhere(void)
{
	char text[100] = "", err[100];
	int p[2];

	CU_ASSERT_EQUAL_FATAL(pipe(p), 0);
	catch_stderr();
	log_to(p[1]);
	log_line(LEVEL_NOTICE, "ca", "there");
	(void)!write(STDERR_FILENO, "others\n", 7);
	log_to(STDERR_FILENO);
	log_line(LEVEL_NOTICE, "ca", "here");
	release_stderr(err, sizeof(err));
	CU_ASSERT(read(p[0], text, sizeof(text) - 1) > 0);
	CU_ASSERT_STRING_EQUAL(text, "assayd: ca: there\n");
	CU_ASSERT_STRING_EQUAL(err, "others\nassayd: ca: here\n");
	(void)close(p[0]);
	(void)close(p[1]);
}

/* Nobody reads it, and nobody waits; later it says how many lines are lost. */
static void
test_log_unread(void)
{
	static const int kinds[] = { 0, SOCK_STREAM };
	static char text[1 << 20];
	char wanted[64];
	unsigned i, kind, sent = 3000;
	ssize_t n, all;
	int p[2];

	for (kind = 0; kind < COUNT(kinds); kind++) {
		if (kinds[kind] == 0)
			CU_ASSERT_EQUAL_FATAL(pipe(p), 0);
		if (kinds[kind] != 0)
			CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, kinds[kind],
						  0, p),
			    0);
		log_to(p[1]);
		for (i = 0; i < sent; i++) /* a test that waits never ends */
			log_line(LEVEL_NOTICE, "x", "line %u %200s", i, "");
		for (all = 0; (n = recv_some(p[0], text + all,
				   sizeof(text) - 1 - (size_t)all)) > 0;)
			all += n;
		text[all] = '\0';
		(void)snprintf(wanted, sizeof(wanted),
		    "assayd: log: %u lines were lost,",
		    sent - count_newlines(text));
		CU_ASSERT(count_newlines(text) < sent);
		log_line(LEVEL_NOTICE, NULL, "again");
		log_to(STDERR_FILENO);
		n = recv_some(p[0], text, sizeof(text) - 1);
		text[n > 0 ? n : 0] = '\0';
		CU_ASSERT(str_starts(str_of(text), str_of(wanted)));
		CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nassayd: again\n"));
		(void)close(p[0]);
		(void)close(p[1]);
	}
}

/* What a record costs the worker that writes it; printed, not judged. */
static void
test_cost(void)
{
	struct fault f = { 0 };
	const struct audit_target t = { "/dev/null", LOGGING_JSON,
		audit_open("/dev/null", &f) };
	struct audit_scan scan = { STR("clam"), STR("inside"), SCAN_RESP,
		STR("clean"), STR_NONE, STR_NONE, 3, 1024, STR_NONE, 0 };
	struct audit_record r = usual_record();
	struct timespec from, to;
	struct audit *a = audit_new(&t, 1, &usual, &f);
	unsigned i, n = 3000; /* what a shard holds */

	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	r.client_tls = (struct audit_tls){ STR("1.3"),
		STR("TLS_AES_256_GCM_SHA384"), STR("http/1.1"), STR("h.de") };
	r.origin_tls = r.client_tls;
	r.agent = STR("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36");
	r.scans = &scan;
	r.n_scans = 1;
	r.ms = (struct audit_ms){ 0, 1, 2, 3, 4, 5 };
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	for (i = 0; i < n; i++)
		audit_write(a, &r);
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
	printf("# %ld ns a record\n",
	    ((to.tv_sec - from.tv_sec) * 1000000000 +
		(to.tv_nsec - from.tv_nsec)) /
		(long)n);
	audit_free(&a);
}

static void
make_folder(void)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	(void)snprintf(path, sizeof(path), "%s/access.log", folder);
	(void)snprintf(moved, sizeof(moved), "%s/access.log.1", folder);
	(void)snprintf(err_path, sizeof(err_path), "%s/stderr", folder);
}

static void
remove_folder(void)
{
	CU_ASSERT_EQUAL(rmdir(folder), 0);
}

static void
test_issued(void)
{
	static const char
	    leaf[] = "{\"@timestamp\":\"2026-11-23T18:05:15.573Z\","
		     "\"ecs.version\":\"8.11.0\",\"event.kind\":\"event\","
		     "\"event.action\":\"issued\","
		     "\"event.outcome\":\"success\",\"event.sequence\":7,"
		     "\"process.pid\":42,\"assay.untold\":3,"
		     "\"tls.server.x509.alternative_names\":[\"a.example\"],"
		     "\"tls.server.x509.serial_number\":"
		     "\"400000000000000000000000000000FE\","
		     "\"tls.server.x509.not_before\":"
		     "\"2026-11-22T18:05:15.000Z\","
		     "\"tls.server.x509.not_after\":"
		     "\"2026-12-07T18:05:15.000Z\"}\n",
	    no[] = "{\"@timestamp\":\"2026-11-23T18:05:15.573Z\","
		   "\"ecs.version\":\"8.11.0\",\"event.kind\":\"alert\","
		   "\"event.action\":\"refused\","
		   "\"event.outcome\":\"failure\","
		   "\"event.reason\":\"not a leaf of ours: host\","
		   "\"event.sequence\":1,\"process.pid\":42}\n";
	struct audit_issued r = { .at_ms = 1795457115573,
		.holder = 42,
		.host = STR("a.example"),
		.serial = { 0x40, [15] = 0xfe },
		.from = 1795457115 - 86400,
		.to = 1795457115 + 14 * 86400,
		.n = 7,
		.untold = 3 };
	struct buf b = { 0 };

	audit_format_issued(&b, &r);
	CU_ASSERT_STRING_EQUAL(b.p, leaf);
	b.n = 0;
	r = (struct audit_issued){ .at_ms = r.at_ms,
		.holder = 42,
		.why = STR("not a leaf of ours: host"),
		.n = 1 };
	audit_format_issued(&b, &r);
	CU_ASSERT_EQUAL(b.n, sizeof(no) - 1);
	CU_ASSERT_NSTRING_EQUAL(b.p, no, sizeof(no) - 1);
	buf_fini(&b);
}

static void
test_line(void)
{
	struct audit_target t = { .to = path };
	struct fault f = { 0 };
	struct audit *a;
	char got[64] = "";
	int fd;

	t.fd = audit_open(path, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(a = audit_new(&t, 1, &usual, &f));
	audit_write_line(a, "one\n", 4);
	audit_write_line(a, "two\n", 4);
	audit_free(&a);
	CU_ASSERT((fd = open(path, O_RDONLY | O_CLOEXEC)) >= 0);
	CU_ASSERT_EQUAL(read(fd, got, sizeof(got) - 1), 8);
	CU_ASSERT_STRING_EQUAL(got, "one\ntwo\n");
	close(fd);
	CU_ASSERT_EQUAL(unlink(path), 0);
}

UNIT_TESTS(proxy_audit, { "json, to the byte", test_json_line },
    { "json, every key", test_json_whole },
    { "json, nothing known", test_json_empty },
    { "json, times", test_json_times },
    { "json, hostile bytes", test_json_hostile },
    { "long values", test_json_long }, { "privacy", test_privacy },
    { "squid, to the byte", test_squid },
    { "log.issued, to the byte", test_issued }, { "folder", make_folder },
    { "lines of others", test_line }, { "threads", test_threads },
    { "latency", test_latency }, { "reopen", test_reopen },
    { "append", test_append }, { "targets", test_no_target },
    { "full disk", test_full_disk }, { "pipes", test_pipe },
    { "operational log", test_log_lines },
    { "log elsewhere", test_log_elsewhere },
    { "log that nobody reads", test_log_unread }, { "cost", test_cost },
    { "folder is empty", remove_folder })
