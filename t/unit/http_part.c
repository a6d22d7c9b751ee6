/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parts of a representation: RFC 9110 14, 15.3.7. */
#include "http/h1_frame.h"
#include "http/part.h"
#include "t/unit/http_help.h"

#define R206 "HTTP/1.1 206 Partial Content\r\n"

static const struct {
	const char *head;
	enum http_part part;
} parts[] = {
	{ "HTTP/1.1 200 OK\r\n\r\n", HTTP_PART_NONE },
	{ "HTTP/1.1 200 OK\r\nContent-Range: bytes 0-4/9\r\n\r\n",
	    HTTP_PART_NONE },
	{ "HTTP/1.1 416 No\r\nContent-Range: bytes */9\r\n\r\n",
	    HTTP_PART_NONE },
	{ R206 "Content-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\n",
	    HTTP_PART_WHOLE },
	{ R206 "content-range: Bytes  0-4/5 \r\n\r\n", HTTP_PART_WHOLE },
	{ R206 "Content-Range: bytes 0-4/5\r\nTransfer-Encoding: chunked\r\n"
	    "\r\n", HTTP_PART_WHOLE },
	/* less, more, or who knows */
	{ R206 "\r\n", HTTP_PART_SOME },
	{ R206 "Content-Type: multipart/byteranges; boundary=x\r\n\r\n",
	    HTTP_PART_SOME },
	{ R206 "Content-Range: bytes 0-3/5\r\n\r\n", HTTP_PART_SOME },
	{ R206 "Content-Range: bytes 1-4/5\r\n\r\n", HTTP_PART_SOME },
	{ R206 "Content-Range: bytes 0-5/5\r\n\r\n", HTTP_PART_SOME },
	{ R206 "Content-Range: bytes 0-4/*\r\n\r\n", HTTP_PART_SOME },
	{ R206 "Content-Range: bytes */5\r\n\r\n", HTTP_PART_SOME },
	{ R206 "Content-Range: items 0-4/5\r\n\r\n", HTTP_PART_SOME },
	{ R206 "Content-Range: bytes=0-4/5\r\n\r\n", HTTP_PART_SOME },
	{ R206 "Content-Range: bytes 0-4/5, bytes 0-4/5\r\n\r\n",
	    HTTP_PART_SOME },
	{ R206 "Content-Range: bytes 0-4/5x\r\n\r\n", HTTP_PART_SOME },
	{ R206 "Content-Range: bytes -4/5\r\n\r\n", HTTP_PART_SOME },
	{ R206 "Content-Range: bytes 0-4/\r\n\r\n", HTTP_PART_SOME },
	{ R206 "Content-Range: bytes 0-18446744073709551615/0\r\n\r\n",
	    HTTP_PART_SOME },
	{ R206 "Content-Range: bytes 0-4/5\r\nContent-Range: bytes 0-4/5\r\n"
	    "\r\n", HTTP_PART_SOME },
	{ R206 "Content-Range: bytes 0-4/5\r\nContent-Length: 4\r\n\r\n",
	    HTTP_PART_SOME },
	{ R206 "Content-Range: bytes 0-4/5\r\nContent-Length: 6\r\n\r\n",
	    HTTP_PART_SOME },
	{ "HTTP/1.1 226 IM Used\r\nIM: feed\r\n\r\n", HTTP_PART_SOME },
	{ "HTTP/1.1 226 IM Used\r\nContent-Range: bytes 0-4/5\r\n\r\n",
	    HTTP_PART_SOME },
};

static void
responses(void)
{
	struct arena *a = arena_new();
	struct http_msg *get = http_help_head(a, H1_REQUEST,
	    "GET / HTTP/1.1\r\n\r\n"), *m;
	struct fault f = { 0 };
	unsigned i;

	for (i = 0; i < COUNT(parts); i++) {
		m = http_help_head(a, H1_RESPONSE, parts[i].head);
		CU_ASSERT(h1_frame_response(m, get, &f) == ERR_NONE);
		CHECK_ROW(i, parts[i].head, http_part_of(m) == parts[i].part);
	}
	arena_free(&a);
}

static const struct {
	const char *fields;
	enum http_part part;
} uploads[] = {
	{ "Content-Length: 5\r\n", HTTP_PART_NONE },
	{ "Range: bytes=0-4\r\nContent-Length: 5\r\n", HTTP_PART_NONE },
	{ "Content-Range: bytes 0-4/5\r\nContent-Length: 5\r\n",
	    HTTP_PART_WHOLE },
	{ "Content-Range: bytes 5-9/10\r\nContent-Length: 5\r\n",
	    HTTP_PART_SOME },
	{ "Content-Range: bytes 0-4/*\r\nContent-Length: 5\r\n",
	    HTTP_PART_SOME },
	{ "Upload-Offset: 0\r\nContent-Length: 5\r\n", HTTP_PART_NONE },
	{ "Upload-Offset: 5\r\nContent-Length: 5\r\n", HTTP_PART_SOME },
	{ "Upload-Offset: 0x0\r\nContent-Length: 5\r\n", HTTP_PART_SOME },
	{ "Upload-Offset: 5\r\nContent-Range: bytes 0-4/5\r\n"
	    "Content-Length: 5\r\n", HTTP_PART_SOME },
	{ "Upload-Complete: ?1\r\nContent-Length: 5\r\n", HTTP_PART_NONE },
	{ "Upload-Complete: ?0\r\nContent-Length: 5\r\n", HTTP_PART_SOME },
	{ "Upload-Incomplete: ?1\r\nContent-Length: 5\r\n", HTTP_PART_SOME },
	{ "Upload-Length: 5\r\nContent-Length: 5\r\n", HTTP_PART_NONE },
	{ "Upload-Length: 6\r\nContent-Length: 5\r\n", HTTP_PART_SOME },
};

static void
requests(void)
{
	struct arena *a = arena_new();
	struct fault f = { 0 };
	struct http_msg *m;
	unsigned i;

	for (i = 0; i < COUNT(uploads); i++) {
		m = http_help_head(a, H1_REQUEST, arena_printf(a,
		    "PUT / HTTP/1.1\r\n%s\r\n", uploads[i].fields).p);
		CU_ASSERT(h1_frame_request(m, &f) == ERR_NONE);
		CHECK_ROW(i, uploads[i].fields,
		    http_part_of(m) == uploads[i].part);
	}
	arena_free(&a);
}

static void
asking(void)
{
	static const char *const less[] = { "Range: bytes=0-4",
		"Request-Range: bytes=0-4", "a-im: feed", "RANGE: x" };
	struct arena *a = arena_new();
	struct http_msg *m;
	unsigned i;

	for (i = 0; i < COUNT(less); i++) {
		m = http_help_head(a, H1_REQUEST, arena_printf(a,
		    "GET / HTTP/1.1\r\nIf-Range: \"x\"\r\n%s\r\nA: b\r\n"
		    "%s\r\n\r\n", less[i], less[i]).p);
		CHECK_ROW(i, less[i], http_asks_part(m));
		http_ask_whole(m);
		CHECK_ROW(i, less[i], !http_asks_part(m) && m->fields.n == 1 &&
		    str_eq(m->fields.v[0].name, STR("A")));
	}
	m = http_help_head(a, H1_REQUEST, "GET / HTTP/1.1\r\n"
	    "If-Range: x\r\nAccept-Ranges: bytes\r\n\r\n");
	CU_ASSERT(!http_asks_part(m));
	arena_free(&a);
}

UNIT_TESTS(http_part,
    { "responses that are parts", responses },
    { "requests that are parts", requests },
    { "asks for the whole", asking })
