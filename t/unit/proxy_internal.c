/* SPDX-License-Identifier: GPL-2.0-or-later */
/* http://assay.internal/: every path, every method, and no other host. */
#include <string.h>
#include "proxy/pages/internal.h"
#include "t/unit/unit.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct arena *arena;
static struct buf body;
static struct http_msg *resp;
static bool scan;

static const struct internal_facts facts = {
	.ca_pem = STR(
	    "junk\n-----BEGIN CERTIFICATE-----\nMAMCAQUA/+8=\n"
	    "-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nAAAA\n"
	    "-----END CERTIFICATE-----\n"),
	.ca_name = STR("CA <1> & \"2\""),
	.ca_sha256 = STR("AA:BB:CC"),
	.ca_not_after = 2111111111,
	.proxy = STR("192.0.2.1:3128"),
	.version = STR("1.2.3"),
	.org = STR("ACME"),
	.help = STR("mailto:help@example.org"),
	.reference = STR("7K3Q-9D2M-5XTW"),
};

static bool
ask(const char *method, const char *host, const char *path, const char *accept,
    const struct internal_facts *f)
{
	struct http_msg *m;

	arena_free(&arena);
	arena = arena_new();
	buf_fini(&body);
	m = http_msg_new(arena, true);
	m->method = str_of(method);
	m->method_id = http_method_of(m->method);
	m->uri.scheme = STR("http");
	m->uri.host = str_of(host);
	m->uri.port = 80;
	m->uri.path = str_of(path);
	if (accept != NULL)
		http_fields_add(arena, &m->fields, FIELD_ACCEPT,
		    str_of(accept));
	return (internal_answer(arena, m, f, &resp, &body, &scan));
}

static void
end(void)
{
	arena_free(&arena);
	buf_fini(&body);
}

static bool
holds(const char *what)
{
	return (body.p != NULL && strstr(body.p, what) != NULL);
}

static void
test_paths(void)
{
	static const struct {
		const char *path, *accept;
		unsigned status;
		const char *type;
		bool scan;
	} cases[] = {
		{ "/", "text/html", 200, "text/html; charset=utf-8", false },
		{ "/", "*/*", 200, "text/plain; charset=utf-8", false },
		{ "/?x=y", NULL, 200, "text/plain; charset=utf-8", false },
		{ "/ca.pem", NULL, 200, "application/x-pem-file", false },
		{ "/ca.crt", NULL, 200, "application/x-x509-ca-cert", false },
		{ "/proxy.pac?1", NULL, 200,
		    "application/x-ns-proxy-autoconfig", false },
		{ "/test/eicar", NULL, 200, "application/octet-stream", true },
		{ "/test/clean", NULL, 200, "text/plain; charset=utf-8", true },
		{ "/problem/threat", NULL, 200, "text/html; charset=utf-8",
		    false },
		{ "/problem/", NULL, 404, "text/plain; charset=utf-8", false },
		{ "/ca.key", NULL, 404, "text/plain; charset=utf-8", false },
		{ "/test/eicar/", "text/html", 404, "text/html; charset=utf-8",
		    false },
		{ "", NULL, 404, "text/plain; charset=utf-8", false },
		{ "*", NULL, 404, "text/plain; charset=utf-8", false },
		{ "/../etc/passwd", "application/json", 404,
		    "application/problem+json", false },
	};
	char length[24];
	size_t i, n;

	for (i = 0; i < COUNT(cases); i++) {
		CU_ASSERT(ask("GET", "assay.internal", cases[i].path,
		    cases[i].accept, &facts));
		CU_ASSERT_EQUAL(resp->status, cases[i].status);
		CU_ASSERT_EQUAL(scan, cases[i].scan);
		CU_ASSERT(
		    str_eq(http_fields_value(&resp->fields, FIELD_CONTENT_TYPE),
			str_of(cases[i].type)));
		CU_ASSERT_EQUAL(resp->length_is, LENGTH_KNOWN);
		CU_ASSERT_EQUAL(resp->length, body.n);
		CU_ASSERT(body.n > 0 && !holds("{{"));
		n = body.n;
		CU_ASSERT(ask("HEAD", "assay.internal", cases[i].path,
		    cases[i].accept, &facts));
		CU_ASSERT_EQUAL(body.n, 0);
		CU_ASSERT(!scan);
		(void)snprintf(length, sizeof(length), "%zu", n);
		CU_ASSERT(str_eq(http_fields_value(&resp->fields,
				     FIELD_CONTENT_LENGTH),
		    str_of(length)));
	}
	end();
}

static void
test_hosts(void)
{
	struct internal_facts f = facts;

	CU_ASSERT(!ask("GET", "example.com", "/", NULL, &f));
	CU_ASSERT(!ask("GET", "x.assay.internal", "/", NULL, &f));
	CU_ASSERT(!ask("GET", "", "/", NULL, &f));
	f.direct = true;
	CU_ASSERT(ask("GET", "127.0.0.1", "/", NULL, &f));
	CU_ASSERT(holds("http://assay.internal/ca.pem"));
	f.direct = false;
	f.host = STR("gate.example");
	CU_ASSERT(!ask("GET", "assay.internal", "/", NULL, &f));
	CU_ASSERT(ask("GET", "gate.example", "/", NULL, &f));
	CU_ASSERT(holds("http://gate.example/ca.pem"));
	end();
}

static void
test_methods(void)
{
	static const char *const refused[] = { "POST", "PUT", "DELETE",
		"CONNECT", "OPTIONS", "TRACE", "get", "X" };
	size_t i;

	for (i = 0; i < COUNT(refused); i++) {
		CU_ASSERT(ask(refused[i], "assay.internal", "/test/eicar", NULL,
		    &facts));
		CU_ASSERT_EQUAL(resp->status, 405);
		CU_ASSERT(!scan);
		CU_ASSERT(str_eq(http_fields_value(&resp->fields, FIELD_ALLOW),
		    STR("GET, HEAD")));
		CU_ASSERT(holds("7K3Q-9D2M-5XTW"));
	}
	end();
}

static void
test_certificate(void)
{
	struct internal_facts f = facts;

	CU_ASSERT(ask("GET", "assay.internal", "/ca.crt", NULL, &facts));
	CU_ASSERT_EQUAL_FATAL(body.n, 8);
	CU_ASSERT_EQUAL(memcmp(body.p, "\x30\x03\x02\x01\x05\x00\xff\xef", 8),
	    0);
	CU_ASSERT(ask("GET", "assay.internal", "/ca.pem", NULL, &facts));
	CU_ASSERT(str_eq(buf_as_str(&body), facts.ca_pem));
	f.ca_pem = STR("-----BEGIN CERTIFICATE-----");
	CU_ASSERT(ask("GET", "assay.internal", "/ca.crt", NULL, &f));
	CU_ASSERT_EQUAL(body.n, 0);
	end();
}

static void
test_home(void)
{
	struct internal_facts f = facts;

	CU_ASSERT(ask("GET", "assay.internal", "/", "text/html", &facts));
	CU_ASSERT(holds("CA &lt;1&gt; &amp; &quot;2&quot;"));
	CU_ASSERT(holds("AA:BB:CC") && holds("2036-11-24"));
	CU_ASSERT(holds("http://assay.internal/proxy.pac"));
	CU_ASSERT(holds("<a href=\"mailto:help@example.org\">"));
	CU_ASSERT(!holds("<script") && !holds("src=") && !holds("url("));
	f.help = STR("javascript:alert(1)");
	f.proxy = STR_NONE;
	CU_ASSERT(ask("GET", "assay.internal", "/", "text/html", &f));
	CU_ASSERT(!holds("href=\"javascript") && !holds("proxy.pac"));
	CU_ASSERT(ask("GET", "assay.internal", "/proxy.pac", NULL, &f));
	CU_ASSERT_EQUAL(resp->status, 404);
	end();
}

static void
test_pac(void)
{
	struct internal_facts f = facts;

	f.proxy = STR("h\";evil();//\n:1");
	CU_ASSERT(ask("GET", "assay.internal", "/proxy.pac", NULL, &f));
	CU_ASSERT(holds("return \"PROXY hevil:1\";\n}\n"));
	CU_ASSERT(str_starts(buf_as_str(&body),
	    STR("function FindProxyForURL(url, host) {\n")));
	end();
}

/* The test file by its length and a sum, so that it does not stand here. */
static void
test_eicar(void)
{
	uint64_t sum = 14695981039346656037u;
	size_t i;

	CU_ASSERT(ask("GET", "assay.internal", "/test/eicar", NULL, &facts));
	CU_ASSERT_EQUAL(body.n, 68);
	for (i = 0; i < body.n; i++) /* FNV-1a */
		sum = (sum ^ (unsigned char)body.p[i]) * 1099511628211u;
	CU_ASSERT_EQUAL(sum, 0x4c4b83eef5c7ac63u);
	end();
}

UNIT_TESTS(proxy_internal, { "paths", test_paths }, { "hosts", test_hosts },
    { "methods", test_methods }, { "certificate", test_certificate },
    { "first page", test_home }, { "proxy.pac", test_pac },
    { "eicar", test_eicar })
