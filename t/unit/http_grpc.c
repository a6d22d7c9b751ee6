/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gRPC: which messages are calls, heads of frames, codes, text, encodings. */
#include "http/grpc.h"
#include "t/unit/http_help.h"

static const struct {
	const char *in; /* fields of a POST */
	bool call;
} calls[] = {
	{ "Content-Type: application/grpc\r\nTE: trailers\r\n", true },
	{ "content-type: Application/gRPC+proto; a=b\r\nTE: trailers\r\n",
	    true },
	{ "Content-Type: application/grpc\r\n", false },
	{ "Content-Type: application/grpc-web+proto\r\nTE: trailers\r\n",
	    false },
	{ "Content-Type: application/grpc\r\nContent-Type: text/html\r\n"
	  "TE: trailers\r\n",
	    false },
	{ "Content-Type: application/grpc\r\nTE: trailers\r\n"
	  "Sec-Fetch-Mode: cors\r\n",
	    false },
	{ "Content-Type: application/grpc\r\nTE: trailers\r\n"
	  "Expect: 100-continue\r\n",
	    false },
	{ "TE: trailers\r\n", false },
};

static void
test_calls(void)
{
	struct arena *a = arena_new();
	struct http_msg *m;
	struct str head;
	unsigned i;

	for (i = 0; i < COUNT(calls); i++) {
		head = arena_printf(a, "POST /a HTTP/1.1\r\nHost: h\r\n%s\r\n",
		    calls[i].in);
		m = http_help_head(a, H1_REQUEST,
		    arena_printf(a, "%.*s", STR_ARG(head)).p);
		CHECK_ROW(i, "call", http_grpc_is_call(m) == calls[i].call);
		m->method_id = METHOD_GET;
		CHECK_ROW(i, "GET", !http_grpc_is_call(m));
	}
	arena_free(&a);
}

static const struct {
	const char *in;
	bool answer, json;
} answers[] = {
	{ "200 OK\r\nContent-Type: application/grpc\r\n", true, false },
	{ "200 OK\r\nContent-Type: application/grpc+json\r\n", true, true },
	{ "404 No\r\nContent-Type: application/grpc\r\n", false, false },
	{ "200 OK\r\nContent-Type: text/html\r\n", false, false },
	{ "200 OK\r\nContent-Type: application/grpc\r\n"
	  "Content-Encoding: gzip\r\n",
	    false, false },
	{ "200 OK\r\nContent-Type: application/grpc\r\n"
	  "Content-Disposition: attachment\r\n",
	    false, false },
};

static void
test_answers(void)
{
	struct arena *a = arena_new();
	struct http_msg *m;
	unsigned i;

	for (i = 0; i < COUNT(answers); i++) {
		m = http_help_head(a, H1_RESPONSE,
		    arena_printf(a, "HTTP/1.1 %s\r\n", answers[i].in).p);
		CHECK_ROW(i, "answer",
		    http_grpc_is_answer(m) == answers[i].answer);
		CHECK_ROW(i, "json", http_grpc_is_json(m) == answers[i].json);
	}
	arena_free(&a);
}

static void
test_heads(void)
{
	static const unsigned char good[] = { 1, 0x12, 0x34, 0x56, 0x78 };
	unsigned char p[HTTP_GRPC_HEAD];
	bool compressed;
	uint32_t n;
	unsigned i;

	CU_ASSERT(http_grpc_head(good, &compressed, &n) && compressed &&
	    n == 0x12345678);
	for (i = 0; i < 256; i++) {
		memset(p, 0xff, sizeof(p));
		p[0] = (unsigned char)i;
		CU_ASSERT_EQUAL(http_grpc_head(p, &compressed, &n), i <= 1);
		CU_ASSERT(i > 1 || (n == UINT32_MAX && compressed == (i == 1)));
	}
}

static void
test_codes(void)
{
	static const struct {
		unsigned status, code;
	} codes[] = {
		{ 400, 13 },
		{ 401, 16 },
		{ 407, 16 },
		{ 403, 7 },
		{ 413, 8 },
		{ 429, 14 },
		{ 502, 14 },
		{ 503, 14 },
		{ 504, 14 },
		{ 405, 2 },
		{ 500, 2 },
	};
	struct arena *a = arena_new();
	unsigned i;

	for (i = 0; i < COUNT(codes); i++)
		CHECK_ROW(i, "code",
		    (unsigned)http_grpc_code_of(codes[i].status) ==
			codes[i].code);
	CU_ASSERT(str_eq(http_grpc_text(a, STR("a b~%\r\n\x7f\xc3\xa4")),
	    STR("a b~%25%0D%0A%7F%C3%A4")));
	CU_ASSERT_EQUAL(http_grpc_text(a, STR("")).n, 0);
	arena_free(&a);
}

static const struct {
	const char *in, *out;
} offers[] = {
	{ "", "" },
	{ "gzip", "gzip" },
	{ "identity,snappy, gzip ,zstd,deflate", "identity,gzip,deflate" },
	{ "snappy", "identity" },
};

static void
test_offers(void)
{
	static const struct str name = STR("grpc-accept-encoding");
	struct arena *a = arena_new();
	const struct http_field *f;
	struct http_msg *m;
	unsigned i;

	for (i = 0; i < COUNT(offers); i++) {
		m = http_msg_new(a, true);
		if (offers[i].in[0] != '\0')
			http_fields_add_named(a, &m->fields, name,
			    str_of(offers[i].in));
		http_grpc_offer_known(m);
		f = http_fields_find(&m->fields, name);
		CHECK_ROW(i, "offer",
		    str_eq(f != NULL ? f->value : STR(""),
			str_of(offers[i].out)));
	}
	arena_free(&a);
}

static void
test_forms(void)
{
	static const struct {
		const char *type;
		enum http_grpc_form form;
	} forms[] = {
		{ "application/grpc", GRPC_FORM_FRAMES },
		{ "application/grpc+proto", GRPC_FORM_FRAMES },
		{ "Application/gRPC-Web", GRPC_FORM_FRAMES },
		{ "application/grpc-web+thrift; charset=x", GRPC_FORM_FRAMES },
		{ "application/grpc-web-text", GRPC_FORM_TEXT },
		{ " application/grpc-web-text+proto ;a=b", GRPC_FORM_TEXT },
		{ "application/grpc-webbing", GRPC_FORM_NONE },
		{ "application/grpc-web-texts", GRPC_FORM_NONE },
		{ "application/grpcs", GRPC_FORM_NONE },
		{ "text/plain", GRPC_FORM_NONE },
		{ "", GRPC_FORM_NONE },
	};
	size_t i;

	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		CHECK_ROW(i, "form",
		    http_grpc_form(str_of(forms[i].type)) == forms[i].form);
}

UNIT_TESTS(http_grpc, { "calls", test_calls }, { "answers", test_answers },
    { "heads of frames", test_heads }, { "codes and text", test_codes },
    { "encodings", test_offers }, { "forms", test_forms })
