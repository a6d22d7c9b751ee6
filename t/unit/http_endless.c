/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which answers may be endless, and that they are what they say. */
#include "http/endless.h"
#include "http/h1_frame.h"
#include "t/unit/http_help.h"

#define R "HTTP/1.1 200 OK\r\n"
#define SSE "Content-Type: text/event-stream; charset=utf-8\r\n"
#define NAVIGATE "Sec-Fetch-Mode: navigate\r\n"

static const struct {
	const char *req, *resp;
	enum http_endless kind;
} heads[] = {
	{ "", R SSE "\r\n", ENDLESS_EVENTS },
	{ "", R SSE "Transfer-Encoding: chunked\r\n\r\n", ENDLESS_EVENTS },
	{ "", R SSE "Content-Disposition: inline; filename=a\r\n\r\n",
	    ENDLESS_EVENTS },
	{ "", R SSE "Content-Encoding: identity\r\n\r\n", ENDLESS_EVENTS },
	{ "", R SSE "Content-Encoding: gzip\r\n\r\n", ENDLESS_EVENTS },
	{ "", R "Content-Type: application/x-ndjson\r\n\r\n", ENDLESS_LINES },
	{ "", R "Content-Type: application/connect+proto\r\n\r\n",
	    ENDLESS_CONNECT },
	{ "", R "Content-Type: application/vnd.amazon.eventstream\r\n\r\n",
	    ENDLESS_AWS },
	{ "", R "Content-Type: application/grpc-web+proto\r\n\r\n",
	    ENDLESS_GRPC },
	{ "", R "Content-Type: application/grpc-web-text\r\n\r\n",
	    ENDLESS_GRPC_TEXT },
	{ "", R "Content-Type: Multipart/X-Mixed-Replace; boundary=a\r\n\r\n",
	    ENDLESS_PICTURES },
	{ NAVIGATE, R "Content-Type: audio/mpeg\r\n\r\n", ENDLESS_MEDIA },
	{ "", R "Content-Type: video/mp2t\r\n\r\n", ENDLESS_MEDIA },
	/* none */
	{ "", R "\r\n", ENDLESS_NOT },
	{ "", R "Content-Type: text/plain\r\n\r\n", ENDLESS_NOT },
	{ "", R "Content-Type: text/event-streams\r\n\r\n", ENDLESS_NOT },
	{ "", R "Content-Type: application/octet-stream\r\n\r\n", ENDLESS_NOT },
	{ "", R SSE "Content-Length: 5\r\n\r\n", ENDLESS_NOT },
	{ "", R SSE "Content-Disposition: attachment\r\n\r\n", ENDLESS_NOT },
	{ "", R SSE "Content-Disposition: x; filename=a.exe\r\n\r\n",
	    ENDLESS_NOT },
	{ "",
	    R SSE "Content-Disposition: inline\r\n"
		  "Content-Disposition: attachment\r\n\r\n",
	    ENDLESS_NOT },
	{ NAVIGATE, R SSE "\r\n", ENDLESS_NOT },
	/* of another type for some */
	{ "", R SSE "Content-Type: application/zip\r\n\r\n", ENDLESS_NOT },
	{ "", R "Content-Type: application/zip\r\n" SSE "\r\n", ENDLESS_NOT },
	{ "", R "Content-Type: audio/mpeg, application/zip\r\n\r\n",
	    ENDLESS_NOT },
	{ "", R SSE SSE "\r\n", ENDLESS_EVENTS },
	{ "", "HTTP/1.1 206 P\r\n" SSE "\r\n", ENDLESS_NOT },
	{ "", "HTTP/1.1 404 N\r\n" SSE "\r\n", ENDLESS_NOT },
};

static void
which(void)
{
	struct arena *a = arena_new();
	struct http_msg *req, *resp;
	struct fault f = { 0 };
	struct h1_frame frame;
	unsigned i;

	for (i = 0; i < COUNT(heads); i++) {
		req = http_help_head(a, H1_REQUEST,
		    arena_printf(a, "GET / HTTP/1.1\r\n%s\r\n", heads[i].req)
			.p);
		resp = http_help_head(a, H1_RESPONSE, heads[i].resp);
		CU_ASSERT(h1_frame_response(resp, req, &frame, &f) == ERR_NONE);
		CHECK_ROW(i, heads[i].resp,
		    http_endless_of(resp, req) == heads[i].kind);
	}
	arena_free(&a);
}

#define TS                                                                     \
	"G"                                                                    \
	"\x40"                                                                 \
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"                   \
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"     \
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" \
	"xxxx"
#define FRAME                                              \
	"\000\000\000\023\000\000\000\000\102\142\062\073" \
	"abcCRC!"
#define EXE "MZ\x90\0\3\0\0\0\4\0\0\0\xff\xff\0\0"
#define PIC "Content-Type: image/jpeg\r\n\r\n\xff\xd8\xff"

static const struct {
	enum http_endless kind;
	struct str text;
	bool ok;
} bodies[] = {
	{ ENDLESS_EVENTS,
	    LIT("data: \xc3\xa4\tx\n\nevent: y\r\nid\rretry: 1\n"
		": ping\n:\n\n"),
	    true },
	{ ENDLESS_EVENTS, LIT("x-own: 1\ndata:no blank"), true },
	{ ENDLESS_EVENTS,
	    LIT("\xef\xbb\xbf"
		"data: x\n\n"),
	    true },
	{ ENDLESS_EVENTS,
	    LIT("\xef\xbb"
		"data: x\n\n"),
	    false },
	{ ENDLESS_EVENTS,
	    LIT("data: x\n\xef\xbb\xbf"
		"data: x\n"),
	    false },
	{ ENDLESS_EVENTS, LIT("data: \0\n"), false },
	{ ENDLESS_EVENTS, LIT("data: \x1b[0m\n"), false },
	{ ENDLESS_EVENTS, LIT("exit\n"), false },
	{ ENDLESS_EVENTS, LIT("rm -rf /\n"), false },
	{ ENDLESS_EVENTS, LIT("data: x\n#!/bin/sh\n"), false },
	{ ENDLESS_EVENTS, LIT("<html>"), false },
	{ ENDLESS_EVENTS, LIT("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: x\n"),
	    false },
	{ ENDLESS_EVENTS, LIT(EXE), false },
	{ ENDLESS_LINES, LIT("{\"a\":1}\n\r\n [2]\n{}"), true },
	{ ENDLESS_LINES, LIT("{\"a\":1}\nrm -rf /\n"), false },
	{ ENDLESS_LINES, LIT("{\"a\":\0}\n"), false },
	{ ENDLESS_LINES, LIT(EXE), false },
	{ ENDLESS_GRPC, LIT("\0\0\0\0\3abc\1\0\0\0\1x\x80\0\0\0\0"), true },
	{ ENDLESS_GRPC, LIT("\0\0\0\0\3abcMZ"), false },
	{ ENDLESS_GRPC, LIT(EXE), false },
	{ ENDLESS_CONNECT, LIT("\0\0\0\0\3abc\2\0\0\0\2{}"), true },
	{ ENDLESS_CONNECT, LIT("\x80\0\0\0\3abc"), false },
	{ ENDLESS_CONNECT, LIT(EXE), false },
	{ ENDLESS_AWS, LIT(FRAME FRAME), true },
	{ ENDLESS_AWS, LIT(FRAME "MZ\x90\0\3\0\0\0\4\0\0\0"), false },
	{ ENDLESS_AWS, LIT("\0\0\0\x13\0\0\0\0abcd"), false },
	{ ENDLESS_AWS, LIT(EXE), false },
	{ ENDLESS_GRPC_TEXT, LIT("AAAAAAA=\r\nabc/+"), true },
	{ ENDLESS_GRPC_TEXT, LIT("AAAA-"), false },
	{ ENDLESS_GRPC_TEXT, LIT(EXE), false },
	{ ENDLESS_PICTURES, LIT("\r\n--b\r\n" PIC EXE), true },
	{ ENDLESS_PICTURES, LIT("--b\nX: y\ncontent-type:image/png\n\n\0"),
	    true },
	{ ENDLESS_PICTURES, LIT("--b\r\nContent-Type: text/html\r\n\r\n"),
	    false },
	{ ENDLESS_PICTURES, LIT("--b\r\nX: y\r\n\r\n" PIC), false },
	{ ENDLESS_PICTURES, LIT("--c\r\n" PIC), false },
	{ ENDLESS_PICTURES, LIT("x--b\r\n" PIC), false },
	{ ENDLESS_MEDIA, LIT("ID3\4\0\0\0\0" EXE), true },
	{ ENDLESS_MEDIA, LIT("\xff\xfb\x90\0\0\0\0\0\0"), true },
	{ ENDLESS_MEDIA,
	    LIT("\0\0\0\x18"
		"ftypmp42"),
	    true },
	{ ENDLESS_MEDIA, LIT(TS "G"), true },
	{ ENDLESS_MEDIA, LIT(TS "H"), false },
	{ ENDLESS_MEDIA, LIT("GIF89a.."), true }, /* not known yet */
	{ ENDLESS_MEDIA, LIT(EXE), false },
	{ ENDLESS_MEDIA, LIT("PK\3\4\0\0\0\0"), false },
	{ ENDLESS_MEDIA,
	    LIT("\x7f"
		"ELF\2\1\1\0"),
	    false },
	{ ENDLESS_MEDIA, LIT("#!/bin/sh\n"), false },
	{ ENDLESS_MEDIA, LIT("<!DOCTYPE html>"), false },
	{ ENDLESS_NOT, LIT("x"), false },
};

static const struct {
	const char *fields;
	bool asked;
} accepts[] = {
	{ "Accept: text/event-stream\r\n", true },
	{ "Accept: application/json, Text/Event-Stream;q=0.5\r\n", true },
	{ "Accept: application/json\r\nAccept: application/x-ndjson\r\n",
	    true },
	{ "Accept: application/grpc-web-text\r\n", true },
	{ "", false },
	{ "Accept: */*\r\n", false },
	{ "Accept: text/html, image/*, video/mp4, audio/*\r\n", false },
	{ "Accept: text/event-streams\r\n", false },
};

static void
asked(void)
{
	struct arena *a = arena_new();
	struct http_msg *req;
	unsigned i;

	for (i = 0; i < COUNT(accepts); i++) {
		req = http_help_head(a, H1_REQUEST,
		    arena_printf(a, "GET / HTTP/1.1\r\n%s\r\n",
			accepts[i].fields)
			.p);
		CHECK_ROW(i, accepts[i].fields,
		    http_endless_is_asked(req) == accepts[i].asked);
	}
	arena_free(&a);
}

static void
checks(void)
{
	struct arena *a = arena_new();
	struct http_msg *resp = http_help_head(a, H1_RESPONSE,
	    R "Content-Type: multipart/x-mixed-replace; x=y; boundary=\"b\""
	      "\r\n\r\n");
	struct http_endless_check k;
	unsigned i, split;
	struct str t;
	bool ok;

	for (i = 0; i < COUNT(bodies); i++) {
		t = bodies[i].text;
		for (split = 0; split < 20; split++) {
			http_endless_begin(&k, bodies[i].kind, resp);
			size_t n = split < t.n ? split : t.n;
			ok = http_endless_feed(&k, t.p, n);
			ok = http_endless_feed(&k, t.p + n, t.n - n);
			CHECK_ROW(i, t.p, ok == bodies[i].ok);
		}
		/* once wrong it stays so */
		if (!bodies[i].ok)
			CHECK_ROW(i, t.p,
			    !http_endless_feed(&k, "data: x\n", 8));
	}
	/* the head of a part that does not end */
	http_endless_begin(&k, ENDLESS_PICTURES, resp);
	CU_ASSERT(http_endless_feed(&k, "--b\r\n", 5));
	for (i = 0, ok = true; i < ENDLESS_BEGIN && ok; i++)
		ok = http_endless_feed(&k, "x", 1);
	CU_ASSERT(!ok);
	arena_free(&a);
}

UNIT_TESTS(http_endless, { "which answers", which },
    { "which requests", asked }, { "what comes", checks })
