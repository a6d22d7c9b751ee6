/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parts of a representation: RFC 9110 14, 15.3.7. */
#include "http/h1_frame.h"
#include "http/part.h"
#include "http/upload.h"
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
	       "\r\n",
	    HTTP_PART_WHOLE },
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
	       "\r\n",
	    HTTP_PART_SOME },
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
			    "GET / HTTP/1.1\r\n\r\n"),
			*m;
	struct fault f = { 0 };
	struct h1_frame frame;
	unsigned i;

	for (i = 0; i < COUNT(parts); i++) {
		m = http_help_head(a, H1_RESPONSE, parts[i].head);
		CU_ASSERT(h1_frame_response(m, get, &frame, &f) == ERR_NONE);
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
	  "Content-Length: 5\r\n",
	    HTTP_PART_SOME },
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
	struct h1_frame frame;
	struct http_msg *m;
	unsigned i;

	for (i = 0; i < COUNT(uploads); i++) {
		m = http_help_head(a, H1_REQUEST,
		    arena_printf(a, "PUT / HTTP/1.1\r\n%s\r\n",
			uploads[i].fields)
			.p);
		CU_ASSERT(h1_frame_request(m, &frame, &f) == ERR_NONE);
		CHECK_ROW(i, uploads[i].fields,
		    http_part_of(m) == uploads[i].part);
	}
	arena_free(&a);
}

/* Pieces by what the query and the fields say, and what only looks alike. */
static const struct {
	const char *line, *fields;
	bool part;
} pieces[] = {
	/* Amazon S3 */
	{ "PUT /k?partNumber=1&uploadId=x", "", true },
	{ "PUT /k?uploadId=x&a=b&partNumber=12", "", true },
	{ "PUT /k?part%4eumber=1&uploadId=x", "", true },
	{ "PUT /k?partNumber=a&partNumber=2&uploadId=x", "", true },
	{ "PUT http://a.example/k?partNumber=2&uploadId=x", "", true },
	{ "POST /k?uploadId=x", "", false },
	{ "PUT /k?partNumber=1", "", false },
	{ "PUT /k?partNumber=first&uploadId=x", "", false },
	{ "PUT /k?partNumber=1&uploadId=", "", false },
	{ "PUT /partNumber=1&uploadId=x", "", false },
	{ "GET /k?partNumber=1&uploadId=x", "", false },
	{ "DELETE /k?partNumber=1&uploadId=x", "", false },
	{ "PUT /k?xpartNumber=1&uploadId=x", "", false },
	/* Azure */
	{ "PUT /c/b?comp=block&blockid=AAA%3D", "", true },
	{ "PUT /c/b?blockid=AAAA&Comp=BLOCK&sig=x", "", true },
	{ "PUT /c/b?comp=block", "", false },
	{ "PUT /c/b?comp=blocklist", "", false },
	{ "PUT /c/b?comp=blocklist&blockid=A", "", false },
	{ "PUT /c/b?comp=x", "", false },
	{ "POST /c/b?comp=block&blockid=A", "", false },
	{ "PUT /c/b?comp=appendblock", "", true },
	{ "PUT /c/b?comp=page", "", false },
	{ "PUT /c/b?comp=page", "x-ms-page-write: update\r\n", true },
	{ "PUT /c/b?comp=range", "x-ms-write: update\r\n", true },
	{ "PUT /c/b", "x-ms-blob-type: BlockBlob\r\n", false },
	{ "PATCH /c/b?action=append&position=0", "", false },
	{ "PATCH /c/b?action=append&position=9", "", true },
	{ "PATCH /c/b?action=flush&position=9", "", false },
	/* Google */
	{ "POST /u", "X-Goog-Upload-Command: start\r\n", false },
	{ "POST /u",
	    "X-Goog-Upload-Command: upload\r\n"
	    "X-Goog-Upload-Offset: 0\r\n",
	    true },
	{ "POST /u",
	    "X-Goog-Upload-Command: upload, finalize\r\n"
	    "X-Goog-Upload-Offset: 0\r\n",
	    false },
	{ "POST /u",
	    "X-Goog-Upload-Command: upload, finalize\r\n"
	    "X-Goog-Upload-Offset: 5\r\n",
	    true },
	{ "POST /u", "X-Goog-Upload-Command: upload,finalize\r\n", true },
	{ "POST /u", "X-Goog-Upload-Command: finalize\r\n", false },
	/* Dropbox */
	{ "POST /2/files/upload", "Dropbox-API-Arg: {\"path\":\"/a\"}\r\n",
	    false },
	{ "POST /2/files/upload_session/start",
	    "Dropbox-API-Arg: {\"close\": true}\r\n", false },
	{ "POST /2/files/upload_session/start",
	    "Dropbox-API-Arg: {\"close\": false}\r\n", true },
	{ "POST /2/files/upload_session/start", "", true },
	/* remote procedures: the body says what to do with sessions */
	{ "POST /2/files/upload_session/start_batch", "", false },
	{ "POST /2/files/upload_session/finish_batch_v2", "", false },
	{ "POST /2/files/upload_session/finish_batch/check?x", "", false },
	{ "POST /2/files/upload_session/append_batch", "", true },
	{ "POST /2/files/upload_session/finish?arg=%7b%7d", "", true },
	{ "POST /2/files/upload_session/append_v2",
	    "Dropbox-API-Arg: "
	    "{\"cursor\":{\"session_id\":\"x\",\"offset\":0},"
	    "\"close\":true}\r\n",
	    false },
	{ "POST /2/files/upload_session/append_v2",
	    "Dropbox-API-Arg: "
	    "{\"cursor\":{\"session_id\":\"x\",\"offset\":5}}\r\n",
	    true },
	{ "POST /2/files/upload_session/finish",
	    "Dropbox-API-Arg: "
	    "{\"cursor\":{\"session_id\":\"x\",\"offset\": 0}}\r\n",
	    false },
	{ "POST /2/files/upload_session/finish",
	    "Dropbox-API-Arg: "
	    "{\"cursor\":{\"session_id\":\"x\",\"offset\": 05}}\r\n",
	    true },
	{ "POST /2/files/upload_session/finish",
	    "Dropbox-API-Arg: "
	    "{\"a\":{\"offset\":0},\"offset\":9}\r\n",
	    true },
	{ "POST /2/files/upload_session/finish",
	    "Dropbox-API-Arg: "
	    "{\"a\":{\"offset\":0},\"offse\\u0074\":9}\r\n",
	    true },
	/* others */
	{ "POST /b2", "X-Bz-Part-Number: 1\r\n", true },
	{ "PUT /remote.php/dav/uploads/u/web-1/0001", "", true },
	{ "PUT /remote.php/dav/files/u/a", "OC-Total-Length: 5\r\n", false },
	{ "PUT /remote.php/webdav/a", "OC-Chunked: 1\r\n", true },
	{ "PATCH /f", "X-Update-Range: append\r\n", true },
	{ "PATCH /f", "Upload-Offset: 0\r\nUpload-Offset: 5\r\n", true },
	{ "POST /u?resumableChunkNumber=1&resumableTotalChunks=2", "", true },
	{ "POST /u?resumableChunkNumber=1&resumableTotalChunks=1", "", false },
	{ "POST /u?chunk=0&chunks=2", "", true },
	{ "POST /u?chunk=0&chunks=1", "", false },
	{ "POST /u?chunk=vendor&chunks=all", "", false },
};

static void
uploads_in_pieces(void)
{
	struct arena *a = arena_new();
	struct fault f = { 0 };
	struct h1_frame frame;
	struct http_msg *m;
	unsigned i;

	for (i = 0; i < COUNT(pieces); i++) {
		m = http_help_head(a, H1_REQUEST,
		    arena_printf(a,
			"%s HTTP/1.1\r\nContent-Length: 5\r\n%s\r\n",
			pieces[i].line, pieces[i].fields)
			.p);
		CU_ASSERT(h1_frame_request(m, &frame, &f) == ERR_NONE);
		CHECK_ROW(i, pieces[i].line,
		    http_part_of(m) ==
			(pieces[i].part ? HTTP_PART_SOME : HTTP_PART_NONE));
		CHECK_ROW(i, pieces[i].line,
		    http_upload_asks_part(m) == (m->method_id == METHOD_GET));
	}
	arena_free(&a);
}

#define ANY HTTP_LENGTH_UNKNOWN
#define PUT "PUT / HTTP/1.1\r\n"

/* Another body under a head: does that fit, and is Content-Range still there? */
static const struct {
	const char *head;
	uint64_t length;
	bool fits, stays;
	unsigned status;
} others[] = {
	{ PUT "A: b\r\n\r\n", 7, true, false, 0 },
	{ PUT "Content-Range: bytes 0-4/5\r\n\r\n", 5, true, true, 0 },
	{ PUT "Content-Range: bytes 0-4/5\r\n\r\n", 6, true, false, 0 },
	{ PUT "Content-Range: bytes 0-4/5\r\n\r\n", 0, true, false, 0 },
	{ PUT "Content-Range: bytes 0-4/5\r\n\r\n", ANY, true, false, 0 },
	{ PUT "Content-Range: bytes 0-4/9\r\n\r\n", 5, true, true, 0 },
	{ PUT "Content-Range: bytes 0-4/9\r\n\r\n", 6, false, true, 0 },
	{ PUT "Content-Range: bytes 5-9/*\r\n\r\n", 5, true, true, 0 },
	{ PUT "Content-Range: bytes 5-9/*\r\n\r\n", 0, false, true, 0 },
	{ PUT "Content-Range: bytes 5-9/*\r\n\r\n", ANY, true, true, 0 },
	{ PUT "Content-Range: bytes */9\r\n\r\n", 0, true, true, 0 },
	{ PUT "Content-Range: bytes 9-5/9\r\n\r\n", 2, true, true, 0 },
	{ R206 "Content-Range: bytes 0-4/5\r\n\r\n", 5, true, true, 206 },
	{ R206 "Content-Range: bytes 0-4/5\r\n\r\n", 6, true, false, 200 },
	{ R206 "Content-Range: bytes 0-4/5\r\n\r\n", ANY, true, false, 200 },
	{ R206 "Content-Range: bytes 1-4/5\r\n\r\n", 6, false, true, 206 },
	{ "HTTP/1.1 416 No\r\nContent-Range: bytes 0-4/5\r\n\r\n", 6, true,
	    true, 416 },
};

static void
other_bodies(void)
{
	struct arena *a = arena_new();
	struct http_msg *m;
	unsigned i;

	for (i = 0; i < COUNT(others); i++) {
		m = http_help_head(a,
		    others[i].status == 0 ? H1_REQUEST : H1_RESPONSE,
		    others[i].head);
		CHECK_ROW(i, others[i].head,
		    http_part_fit(m, others[i].length) == others[i].fits);
		CHECK_ROW(i, others[i].head,
		    others[i].stays ==
			(http_fields_get(&m->fields, FIELD_CONTENT_RANGE) !=
			    NULL));
		CHECK_ROW(i, others[i].head, m->status == others[i].status);
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
		m = http_help_head(a, H1_REQUEST,
		    arena_printf(a,
			"GET / HTTP/1.1\r\nIf-Range: \"x\"\r\n%s\r\nA: b\r\n"
			"%s\r\n\r\n",
			less[i], less[i])
			.p);
		CHECK_ROW(i, less[i], http_asks_part(m));
		http_ask_whole(m);
		CHECK_ROW(i, less[i],
		    !http_asks_part(m) && m->fields.n == 1 &&
			str_eq(m->fields.v[0].name, STR("A")));
	}
	m = http_help_head(a, H1_REQUEST,
	    "GET / HTTP/1.1\r\n"
	    "If-Range: x\r\nAccept-Ranges: bytes\r\n\r\n");
	CU_ASSERT(!http_asks_part(m));
	arena_free(&a);
}

UNIT_TESTS(http_part, { "responses that are parts", responses },
    { "requests that are parts", requests },
    { "pieces of uploads", uploads_in_pieces },
    { "other bodies under a head", other_bodies },
    { "asks for the whole", asking })
