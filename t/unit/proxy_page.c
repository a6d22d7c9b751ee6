/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pages: forms, heads, texts, and what hostile values do to them. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/pages/page.h"
#include "proxy/pages/page_text.h"
#include "proxy/audit/reference.h"
#include "proxy/pages/template.h"
#include "base/text.h"
#include "t/unit/unit.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct arena *arena;
static struct buf body;
static struct http_msg *resp;

static void
begin(void)
{
	arena_free(&arena);
	arena = arena_new();
	buf_fini(&body);
}

static void
end(void)
{
	arena_free(&arena);
	buf_fini(&body);
}

static struct http_msg *
request(const char *mode, const char *accept)
{
	struct http_msg *m = http_msg_new(arena, true);

	m->method = STR("GET");
	m->method_id = METHOD_GET;
	m->uri.scheme = STR("https");
	m->uri.host = STR("www.example.com");
	m->uri.port = 443;
	m->uri.path = STR("/a/b?token=s3cr3t");
	if (mode != NULL)
		http_fields_add(arena, &m->fields, FIELD_SEC_FETCH_MODE,
		    str_of(mode));
	if (accept != NULL)
		http_fields_add(arena, &m->fields, FIELD_ACCEPT,
		    str_of(accept));
	return (m);
}

static struct str
field(const char *name)
{
	const struct http_field *f = http_fields_find(&resp->fields,
	    str_of(name));

	return (f != NULL ? f->value : STR_NONE);
}

static bool
field_is(const char *name, const char *value)
{
	return (str_eq(field(name), str_of(value)));
}

static bool
holds(const char *what)
{
	return (body.p != NULL && strstr(body.p, what) != NULL);
}

static unsigned
count(char c)
{
	unsigned n = 0;
	size_t i;

	for (i = 0; i < body.n; i++)
		n += body.p[i] == c;
	return (n);
}

/* A call of gRPC gets no page but a code (http/grpc.h). */
static void
test_grpc(void)
{
	static const struct {
		const char *type, *te;
		bool call;
	} cases[] = {
		{ "application/grpc", "trailers", true },
		{ "application/grpc+proto", "trailers", true },
		{ "Application/GRPC; x=y", "trailers", true },
		{ "application/grpc", NULL, false },
		{ "application/grpc-web", "trailers", false },
		{ "application/grpcx", "trailers", false },
		{ "application/grpc, text/html", "trailers", false },
	};
	struct fault fault = { 0 };
	struct page_facts f = { .fault = &fault,
		.threat = STR("A%B\xc3\xac"),
		.reference = STR("7K3Q-9D2M-5XTW") };
	struct http_msg *m;
	size_t i;

	fault_set(&fault, ERR_THREAT, NULL);
	for (i = 0; i < COUNT(cases); i++) {
		begin();
		m = request(NULL, NULL);
		m->method = STR("POST");
		m->method_id = METHOD_POST;
		http_fields_add(arena, &m->fields, FIELD_CONTENT_TYPE,
		    str_of(cases[i].type));
		if (cases[i].te != NULL)
			http_fields_add(arena, &m->fields, FIELD_TE,
			    str_of(cases[i].te));
		f.req = m;
		page_make(arena, &f, &resp, &body);
		CU_ASSERT_EQUAL(page_form_of(m) == PAGE_GRPC, cases[i].call);
		CU_ASSERT_EQUAL(resp->status, cases[i].call ? 200u : 403u);
		CU_ASSERT_EQUAL(body.n == 0, cases[i].call);
		CU_ASSERT(!cases[i].call ||
		    (str_eq(field("grpc-status"), STR("7")) &&
			resp->length_is == LENGTH_NONE &&
			str_iends(field("grpc-message"),
			    STR("; threat: A%25B%C3%AC; reference: "
				"7K3Q-9D2M-5XTW"))));
	}
	end();
}

static void
test_forms(void)
{
	static const struct {
		const char *mode, *accept;
		enum page_form form;
	} cases[] = {
		{ "navigate", NULL, PAGE_HTML },
		{ "navigate", "application/json", PAGE_HTML },
		{ NULL, "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
		    PAGE_HTML },
		{ NULL, "application/xhtml+xml", PAGE_HTML },
		{ NULL, "TEXT/HTML; charset=utf-8", PAGE_HTML },
		{ NULL, "text/html;q=0, application/json", PAGE_JSON },
		{ NULL, "image/png, text/html", PAGE_TEXT },
		{ NULL, "application/json", PAGE_JSON },
		{ NULL, "application/json, text/plain, */*", PAGE_JSON },
		{ NULL, "text/plain, application/problem+json;q=0.5",
		    PAGE_JSON },
		{ NULL, "application/*", PAGE_JSON },
		{ NULL, "application/ld+json", PAGE_JSON },
		{ NULL, "application/json;q=0", PAGE_TEXT },
		{ NULL, "application/json; q=0.000, */*", PAGE_TEXT },
		{ "cors", "*/*", PAGE_TEXT },
		{ NULL, "*/*", PAGE_TEXT },
		{ NULL, "", PAGE_TEXT },
		{ NULL, ";;q=,,\"", PAGE_TEXT },
		{ NULL, NULL, PAGE_TEXT },
	};
	struct http_msg *two;
	size_t i;

	CU_ASSERT_EQUAL(page_form_of(NULL), PAGE_TEXT);
	for (i = 0; i < COUNT(cases); i++) {
		begin();
		CU_ASSERT_EQUAL(page_form_of(
				    request(cases[i].mode, cases[i].accept)),
		    cases[i].form);
	}
	two = request(NULL, "text/plain");
	http_fields_add(arena, &two->fields, FIELD_ACCEPT,
	    STR("application/json"));
	CU_ASSERT_EQUAL(page_form_of(two), PAGE_JSON);
	end();
}

/* Every fault has its status, its token and a whole page in every form. */
static void
test_every_fault(void)
{
	static const char *const accepts[] = { "text/html", "application/json",
		"*/*" };
	const struct err_info *e;
	struct fault fault = { 0 };
	unsigned code, i;
	json_t *o;

	for (code = ERR_NONE + 1; code < ERR_COUNT; code++)
		for (i = 0; i < COUNT(accepts); i++) {
			begin();
			fault.code = (enum err)code;
			e = err_info(fault.code);
			page_make(arena,
			    &(struct page_facts){ .fault = &fault,
				.req = request(NULL, accepts[i]),
				.reference = STR("7K3Q-9D2M-5XTW") },
			    &resp, &body);
			CU_ASSERT_EQUAL(resp->status, e->status);
			CU_ASSERT_EQUAL(resp->length_is, LENGTH_KNOWN);
			CU_ASSERT_EQUAL(resp->length, body.n);
			CU_ASSERT(field_is("Cache-Control", "no-store"));
			CU_ASSERT(
			    field_is("X-Content-Type-Options", "nosniff"));
			CU_ASSERT(field_is("Content-Language", "en"));
			CU_ASSERT(str_starts(field("Content-Security-Policy"),
			    STR("default-src 'none'; "
				"style-src 'unsafe-inline'")));
			CU_ASSERT(str_eq(field("Proxy-Status"),
			    arena_printf(arena,
				"assay; error=%s; "
				"details=\"%s\"",
				e->token, e->text)));
			CU_ASSERT_EQUAL(field("Retry-After").n > 0,
			    e->status == 429 || e->status == 503);
			CU_ASSERT_EQUAL(field("Allow").n > 0, e->status == 405);
			CU_ASSERT_EQUAL(field("Date").n, 29);
			CU_ASSERT(holds("7K3Q-9D2M-5XTW"));
			CU_ASSERT(!holds("s3cr3t") && !holds("{host}") &&
			    !holds("{{") && !holds("{retry}"));
			if (i == 1) {
				o = json_loadb(body.p, body.n, 0, NULL);
				CU_ASSERT_PTR_NOT_NULL(o);
				CU_ASSERT_EQUAL(json_integer_value(
						    json_object_get(o,
							"status")),
				    e->status);
				json_decref(o);
			} else if (i == 2)
				CU_ASSERT_EQUAL(count('\n'), 3);
		}
	end();
}

static void
make_threat(struct http_msg *req)
{
	static struct fault fault = { .code = ERR_THREAT };

	page_make(arena,
	    &(struct page_facts){
		.fault = &fault,
		.req = req,
		.threat = STR("Eicar-Test"),
		.service = STR("clam"),
		.rule = STR("all"),
		.reference = STR("7K3Q-9D2M-5XTW"),
		.org = STR("ACME"),
		.help = STR("https://help.example/?a=1&b=2"),
	    },
	    &resp, &body);
}

static void
test_text(void)
{
	begin();
	make_threat(request(NULL, "*/*"));
	CU_ASSERT_STRING_EQUAL(body.p,
	    "assay: Dangerous content was stopped\n"
	    "a threat was found; threat: Eicar-Test; service: clam; "
	    "rule: all; url: https://www.example.com/a/b\n"
	    "reference: 7K3Q-9D2M-5XTW\n");
	CU_ASSERT(field_is("Content-Type", "text/plain; charset=utf-8"));
	end();
}

static void
test_json(void)
{
	const char *type, *title, *instance, *threat, *url;
	int status;
	json_t *o;

	begin();
	make_threat(request(NULL, "application/json"));
	CU_ASSERT(field_is("Content-Type", "application/problem+json"));
	o = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(o);
	CU_ASSERT_EQUAL_FATAL(json_unpack(o, "{s:s,s:s,s:i,s:s,s:s,s:s}",
				  "type", &type, "title", &title, "status",
				  &status, "instance", &instance, "threat",
				  &threat, "url", &url),
	    0);
	CU_ASSERT_STRING_EQUAL(type, "http://assay.internal/problem/threat");
	CU_ASSERT_STRING_EQUAL(title, "Dangerous content was stopped");
	CU_ASSERT_EQUAL(status, 403);
	CU_ASSERT_STRING_EQUAL(instance, "7K3Q-9D2M-5XTW");
	CU_ASSERT_STRING_EQUAL(threat, "Eicar-Test");
	CU_ASSERT_STRING_EQUAL(url, "https://www.example.com/a/b");
	json_decref(o);
	end();
}

static void
test_html(void)
{
	begin();
	make_threat(request("navigate", NULL));
	CU_ASSERT(field_is("Content-Type", "text/html; charset=utf-8"));
	CU_ASSERT(str_starts(buf_as_str(&body), STR("<!DOCTYPE html>\n")));
	CU_ASSERT(holds("<html lang=\"en\">"));
	CU_ASSERT(holds("<title>Dangerous content was stopped</title>"));
	CU_ASSERT(holds("<dd>https://www.example.com/a/b</dd>"));
	CU_ASSERT(holds("<a href=\"https://help.example/?a=1&amp;b=2\">"));
	CU_ASSERT(!holds("<script") && !holds("src=") && !holds("@import") &&
	    !holds("url("));
	CU_ASSERT(!holds("<!--"));
	end();
}

static void
test_head(void)
{
	struct http_msg *req;
	uint64_t n;
	char cl[24];

	begin();
	req = request("navigate", NULL);
	make_threat(req);
	n = resp->length;
	(void)snprintf(cl, sizeof(cl), "%llu", (unsigned long long)n);
	buf_fini(&body);
	req->method = STR("HEAD");
	req->method_id = METHOD_HEAD;
	make_threat(req);
	CU_ASSERT_EQUAL(body.n, 0);
	CU_ASSERT_EQUAL(resp->length_is, LENGTH_NONE);
	CU_ASSERT(field_is("Content-Length", cl));
	end();
}

static void
test_proxy_status(void)
{
	struct fault fault = { .code = ERR_ORIGIN_CERT };
	struct page_facts f = { .fault = &fault };

	begin();
	strcpy(fault.detail, "CN=\"a\\b\" \xc3\xa4\r\nX: y");
	page_make(arena, &f, &resp, &body);
	CU_ASSERT(field_is("Proxy-Status",
	    "assay; "
	    "error=tls_certificate_error; details=\"origin certificate is "
	    "not acceptable: CN=\\\"a\\\\b\\\" \?\?\?\?\?\?\?\?X: y\""));
	f.pseudonym = STR("gate 1\"");
	page_make(arena, &f, &resp, &body);
	CU_ASSERT(
	    str_starts(field("Proxy-Status"), STR("\"gate 1\\\"\"; error=")));
	f.pseudonym = STR("proxy.example:3128");
	page_make(arena, &f, &resp, &body);
	CU_ASSERT(str_starts(field("Proxy-Status"),
	    STR("proxy.example:3128; error=")));
	end();
}

static void
test_settings(void)
{
	struct fault fault = { .code = ERR_SCAN_DOWN };
	struct page_facts f = { .fault = &fault,
		.retry_after_s = 7,
		.host = STR("gate.example") };

	begin();
	f.req = request(NULL, "application/json");
	page_make(arena, &f, &resp, &body);
	CU_ASSERT(field_is("Retry-After", "7"));
	CU_ASSERT(holds("http://gate.example/problem/scanner-unavailable"));
	fault.code = ERR_POLICY_BLOCK;
	f.status = 451;
	page_make(arena, &f, &resp, &body);
	CU_ASSERT_EQUAL(resp->status, 451);
	fault.code = ERR_REQ_METHOD;
	f.status = 0;
	f.allow = STR("GET");
	page_make(arena, &f, &resp, &body);
	CU_ASSERT(field_is("Allow", "GET"));
	end();
}

/* What pages say of where it happened. */
static void
test_urls(void)
{
	static const struct {
		const char *given, *shown;
	} cases[] = {
		{ "http://u:p@h.example/x?q#f", "http://h.example/x" },
		{ "http://u@v@h.example", "http://h.example" },
		{ "http://h.example/a@b", "http://h.example/a@b" },
		{ "http://u:p@h.example?x@y", "http://h.example" },
		{ "h.example:443", "h.example:443" },
		{ "/only/path?x", "/only/path" },
		{ "*", "*" },
	};
	struct fault fault = { .code = ERR_DNS_NAME };
	struct page_facts f = { .fault = &fault };
	struct http_msg *req;
	size_t i;

	for (i = 0; i < COUNT(cases); i++) {
		begin();
		f.url = str_of(cases[i].given);
		page_make(arena, &f, &resp, &body);
		CU_ASSERT(holds(
		    arena_printf(arena, "; url: %s\n", cases[i].shown).p));
	}
	begin();
	f.url = STR_NONE;
	f.req = req = request("navigate", NULL);
	page_make(arena, &f, &resp, &body);
	CU_ASSERT(holds("www.example.com does not exist"));
	begin();
	f.req = req = request("navigate", NULL);
	req->uri.host = STR("2001:db8::1");
	req->uri.host_is_v6 = true;
	req->uri.port = 8443;
	page_make(arena, &f, &resp, &body);
	CU_ASSERT(holds("<dd>https://[2001:db8::1]:8443/a/b</dd>"));
	CU_ASSERT(holds("[2001:db8::1] does not exist"));
	begin();
	f.req = NULL;
	page_make(arena, &f, &resp, &body);
	CU_ASSERT(!holds("url:"));
	end();
}

/* Hostile values in every place change no structure, in no form. */
static void
make_hostile(struct str v, const char *accept)
{
	struct fault fault = { .code = ERR_ORIGIN_CERT };
	struct http_msg *req;

	begin();
	req = request(NULL, accept);
	(void)snprintf(fault.detail, sizeof(fault.detail), "x%.*s", STR_ARG(v));
	page_make(arena,
	    &(struct page_facts){ .fault = &fault,
		.req = req,
		.url = v,
		.rule = v,
		.service = v,
		.threat = v,
		.reason = v,
		.reference = v,
		.org = v,
		.help = v,
		.host = v,
		.pseudonym = v },
	    &resp, &body);
}

static bool
field_is_clean(struct str v)
{
	size_t i;

	for (i = 0; i < v.n; i++)
		if (v.p[i] < 0x20 || v.p[i] > 0x7E)
			return (false);
	return (true);
}

static void
check_hostile(struct str v, unsigned tags)
{
	json_t *o;

	make_hostile(v, "text/html");
	CU_ASSERT_EQUAL(count('<'), tags);
	CU_ASSERT(field_is_clean(field("Proxy-Status")));
	o = json_stringn(body.p, body.n); /* is it UTF-8? */
	CU_ASSERT_PTR_NOT_NULL(o);
	json_decref(o);
	make_hostile(v, "application/json");
	o = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
	CU_ASSERT_PTR_NOT_NULL(o);
	json_decref(o);
	make_hostile(v, "*/*");
	CU_ASSERT_EQUAL(count('\n'), 3);
	CU_ASSERT_EQUAL(count('\r') + count('\033'), 0);
}

static void
test_hostile(void)
{
	static const char *const values[] = {
		"<script>alert(1)</script>",
		"\"><img src=x onerror=y>",
		"' onmouseover='x",
		"</title></style></textarea><h1>",
		"&lt;b&gt;&#60;",
		"{{style}}{{#url}}{host}{retry}%s%n%x",
		"a\r\nSet-Cookie: x=y\r\n\r\n<html>",
		"\\\"\\u0000\b\f",
		"\033[31m\033]0;t\007",
		"\xE2\x80\xAE"
		"exe.gpj",
		"\xC0\xBC"
		"script\xC0\xBE",
		"\xED\xA0\x80\xF5\x80\x80\x80",
		"javascript:alert(1)",
		"data:text/html,<b>",
		"\xFF\xFE",
	};
	char noise[400];
	unsigned tags, i, k;

	make_hostile(STR("benign"), "text/html");
	tags = count('<');
	for (i = 0; i < COUNT(values); i++) {
		check_hostile(str_of(values[i]), tags);
		make_hostile(str_of(values[i]), "text/html");
		CU_ASSERT(!holds("<script") && !holds("href=\"javascript") &&
		    !holds("href=\"data") && !holds("\xE2\x80\xAE"));
	}
	for (i = 0; i < 300; i++) {
		for (k = 0; k < sizeof(noise) - 1; k++)
			noise[k] = (char)(1 + unit_random(255));
		noise[k] = '\0';
		noise[0] = 'x'; /* a URL like this is not a path */
		check_hostile((struct str){ noise, unit_random(399) + 1 },
		    tags);
	}
	end();
}

/* A megabyte of URL makes a page of a few kilobytes. */
static void
test_long(void)
{
	struct fault fault = { .code = ERR_REQ_LINE_LONG };
	size_t n = 1 << 20;
	char *p = malloc(n);

	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	memset(p, 'a', n);
	memcpy(p, "http://h/", 9);
	begin();
	page_make(arena,
	    &(struct page_facts){ .fault = &fault,
		.url = { p, n },
		.threat = { p, n },
		.reason = { p, n } },
	    &resp, &body);
	CU_ASSERT(body.n < 4096);
	CU_ASSERT(arena_bytes(arena) < 64 * 1024);
	CU_ASSERT(holds("aaa\xE2\x80\xA6"));
	free(p);
	end();
}

static void
test_explain(void)
{
	const struct page_facts f = { .org = STR("ACME") };

	begin();
	CU_ASSERT(
	    page_explain(arena, STR("origin-certificate"), &f, &resp, &body));
	CU_ASSERT_EQUAL(resp->status, 200);
	CU_ASSERT(holds("The site could not prove who it is"));
	CU_ASSERT(holds("The site showed a certificate"));
	CU_ASSERT(!holds("<dl>") && !holds("class=\"reference\""));
	CU_ASSERT(!page_explain(arena, STR("nonsense"), &f, &resp, &body));
	CU_ASSERT(!page_explain(arena, STR_NONE, &f, &resp, &body));
	end();
}

/* No case is without text, no slug is there twice. */
static void
test_catalogue(void)
{
	const struct page_text *t;
	enum page_case found;
	unsigned i;

	for (i = 0; i < PAGE_CASE_COUNT; i++) {
		t = &page_english.text[i];
		CU_ASSERT_PTR_NOT_NULL_FATAL(t->title);
		CU_ASSERT(strchr(t->title, '{') == NULL);
		CU_ASSERT(
		    page_case_find(str_of(
				       page_case_info((enum page_case)i)->slug),
			&found));
		CU_ASSERT_EQUAL((unsigned)found, i);
	}
	for (i = 0; i < PAGE_WORD_COUNT; i++)
		CU_ASSERT_PTR_NOT_NULL(page_english.word[i].text);
	for (i = 1; i < ERR_COUNT; i++)
		CU_ASSERT(page_case_of((enum err)i) < PAGE_CASE_COUNT);
}

static void
test_template(void)
{
	static const struct {
		const char *text, *out;
	} cases[] = {
		{ "", "" },
		{ "plain", "plain" },
		{ "{{a}}", "1&lt;2" },
		{ "<{{a}}>", "<1&lt;2>" },
		{ "{{raw}}", "<r>" },
		{ "{{nobody}}x", "x" },
		{ "{{#a}}yes{{/a}}", "yes" },
		{ "{{#none}}no{{/none}}", "" },
		{ "{{#a}}{{#none}}no{{/none}}{{a}}{{/a}}!", "1&lt;2!" },
		{ "{{#none}}{{#a}}{{/a}}{{a}}{{/none}}.", "." },
	};
	const struct template_value v[] = { { "a", STR("1<2") },
		{ "none", STR_NONE } };
	const struct template_values t = { v, 2, text_add_html,
		{ "raw", STR("<r>") } };
	size_t i;

	for (i = 0; i < COUNT(cases); i++) {
		begin();
		template_add(&body, cases[i].text, &t);
		CU_ASSERT(str_eq(buf_as_str(&body), str_of(cases[i].out)));
	}
	end();
}

static void
test_utf8(void)
{
	static const struct {
		const char *bytes;
		unsigned n;
		uint32_t cp;
	} cases[] = {
		{ "a", 1, 'a' },
		{ "\xC3\xA4", 2, 0xE4 },
		{ "\xE2\x82\xAC", 3, 0x20AC },
		{ "\xF0\x9F\x98\x80", 4, 0x1F600 },
		{ "\xF4\x8F\xBF\xBF", 4, 0x10FFFF },
		{ "\xF4\x90\x80\x80", 0, 0 },
		{ "\xC0\x80", 0, 0 },
		{ "\xC1\xBF", 0, 0 },
		{ "\xE0\x9F\xBF", 0, 0 },
		{ "\xED\xA0\x80", 0, 0 },
		{ "\xED\xBF\xBF", 0, 0 },
		{ "\xF0\x8F\xBF\xBF", 0, 0 },
		{ "\x80", 0, 0 },
		{ "\xC3", 0, 0 },
		{ "\xE2\x82", 0, 0 },
		{ "\xC3\x28", 0, 0 },
		{ "\xF8\x88\x80\x80\x80", 0, 0 },
		{ "", 0, 0 },
	};
	uint32_t cp;
	size_t i;

	for (i = 0; i < COUNT(cases); i++) {
		CU_ASSERT_EQUAL(text_utf8(str_of(cases[i].bytes), &cp),
		    cases[i].n);
		if (cases[i].n > 0)
			CU_ASSERT_EQUAL(cp, cases[i].cp);
	}
}

static void
test_reference(void)
{
	char a[REFERENCE_LEN + 1], last[REFERENCE_LEN + 1] = "";
	unsigned i, k;

	for (i = 0; i < 1000; i++) {
		reference_make(a);
		CU_ASSERT_EQUAL(strlen(a), REFERENCE_LEN);
		for (k = 0; k < REFERENCE_LEN; k++)
			CU_ASSERT(k == 4 || k == 9
				? a[k] == '-'
				: strchr("0123456789ABCDEFGHJKMNPQRSTVWXYZ",
				      a[k]) != NULL);
		CU_ASSERT(strcmp(a, last) != 0);
		strcpy(last, a);
	}
}

UNIT_TESTS(proxy_page, { "forms", test_forms },
    { "every fault has a page", test_every_fault }, { "text", test_text },
    { "problem+json", test_json }, { "html", test_html }, { "gRPC", test_grpc },
    { "HEAD", test_head }, { "Proxy-Status", test_proxy_status },
    { "settings", test_settings }, { "addresses", test_urls },
    { "hostile values", test_hostile }, { "long values", test_long },
    { "problem types explained", test_explain },
    { "catalogue is whole", test_catalogue }, { "templates", test_template },
    { "utf-8", test_utf8 }, { "references", test_reference })
