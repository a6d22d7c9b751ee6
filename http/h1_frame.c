/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Framing of HTTP/1 messages, see h1_frame.h. */
#include <assert.h>
#include "http/chars.h"
#include "http/h1_frame.h"
#include "http/length.h"

enum coding {
	CODING_NONE,     /* no Transfer-Encoding */
	CODING_IDENTITY, /* of RFC 2616 3.6: none, for responses */
	CODING_CHUNKED,  /* exactly that */
	CODING_REPEATED, /* chunked several times, nothing else */
	CODING_OTHER,    /* one we don't know, or chunked not alone */
	CODING_BAD       /* parameters, quotes, nothing */
};

/* All Transfer-Encoding fields as one list (RFC 9112 6.1). */
static enum coding
transfer_coding(const struct http_fields *l)
{
	const struct http_field *f = http_fields_get(l,
	    FIELD_TRANSFER_ENCODING);
	unsigned chunked = 0, others = 0, identity = 0;
	struct str rest, element;

	if (f == NULL)
		return (CODING_NONE);
	for (; f != NULL; f = http_fields_next(l, f)) {
		rest = f->value;
		while (str_next_element(&rest, &element)) {
			if (!http_is_token(element))
				return (CODING_BAD);
			if (str_ieq(element, STR("chunked")))
				chunked++;
			else if (str_ieq(element, STR("identity")))
				identity++;
			else
				others++;
		}
	}
	if (identity == 1 && chunked + others == 0)
		return (CODING_IDENTITY);
	if (chunked + others + identity == 0)
		return (CODING_BAD);
	if (chunked > 1 && others + identity == 0)
		return (CODING_REPEATED);
	return (others + identity > 0 ? CODING_OTHER : CODING_CHUNKED);
}

static bool
connection_has(const struct http_msg *m, struct str option)
{
	return (http_fields_has_token(&m->fields, FIELD_CONNECTION, option) ||
	    (m->is_request &&
		http_fields_has_token(&m->fields, FIELD_PROXY_CONNECTION,
		    option)));
}

/* RFC 9112 9.3; Proxy-Connection as old clients mean it. */
static bool
is_persistent(const struct http_msg *m)
{
	if (connection_has(m, STR("close")))
		return (false);
	return (m->version != HTTP_1_0 || connection_has(m, STR("keep-alive")));
}

/* A body as it is delimited, and what the model says of it. */
static void
put(struct http_msg *m, struct h1_frame *frame, enum h1_framing framing,
    uint64_t length)
{
	static const enum http_length is[] = { [FRAMING_NONE] = LENGTH_NONE,
		[FRAMING_LENGTH] = LENGTH_KNOWN,
		[FRAMING_CHUNKED] = LENGTH_UNKNOWN,
		[FRAMING_CLOSE] = LENGTH_UNKNOWN };

	frame->framing = framing;
	m->length_is = is[framing];
	m->length = framing == FRAMING_LENGTH ? length : 0;
}

/* --- requests --- */

static enum err
bad_request(struct fault *f, enum err code, const char *why)
{
	return (fault_set(f, code, "%s", why));
}

static enum err
read_request_framing(struct http_msg *m, struct h1_frame *frame,
    struct fault *f)
{
	enum coding coding = transfer_coding(&m->fields);
	uint64_t length;

	if (!http_content_length(&m->fields, false, &length))
		return (bad_request(f, ERR_REQ_FRAMING,
		    "invalid or repeated Content-Length"));
	if (coding != CODING_NONE && length != HTTP_LENGTH_UNKNOWN)
		return (bad_request(f, ERR_REQ_FRAMING,
		    "both Content-Length and Transfer-Encoding"));
	if (coding != CODING_NONE && m->version == HTTP_1_0)
		return (bad_request(f, ERR_REQ_FRAMING,
		    "Transfer-Encoding in HTTP/1.0"));
	if (coding == CODING_BAD || coding == CODING_REPEATED)
		return (bad_request(f, ERR_REQ_FRAMING,
		    "invalid Transfer-Encoding"));
	if (coding == CODING_OTHER || coding == CODING_IDENTITY)
		return (bad_request(f, ERR_REQ_CODING,
		    "a transfer coding other than chunked"));
	if (m->method_id == METHOD_CONNECT) { /* RFC 9110 9.3.6 */
		if (coding != CODING_NONE ||
		    (length != 0 && length != HTTP_LENGTH_UNKNOWN))
			return (bad_request(f, ERR_REQ_FRAMING,
			    "CONNECT with a body"));
		length = HTTP_LENGTH_UNKNOWN;
	}
	put(m, frame,
	    coding == CODING_CHUNKED            ? FRAMING_CHUNKED
		: length == HTTP_LENGTH_UNKNOWN ? FRAMING_NONE
						: FRAMING_LENGTH,
	    length);
	return (ERR_NONE);
}

enum err
h1_frame_request(struct http_msg *m, struct h1_frame *frame, struct fault *f)
{
	enum err e = read_request_framing(m, frame, f);

	if (e != ERR_NONE)
		return (e);
	http_length_forget(m);
	frame->keep_alive = is_persistent(m);
	return (http_expect_read(m, f));
}

/* --- responses --- */

enum err
h1_frame_response(struct http_msg *resp, const struct http_msg *req,
    struct h1_frame *frame, struct fault *f)
{
	enum coding coding = transfer_coding(&resp->fields);
	uint64_t length;

	if (!http_content_length(&resp->fields, true, &length))
		return (fault_set(f, ERR_ORIGIN_FRAMING,
		    "invalid or differing Content-Length"));
	frame->keep_alive = is_persistent(resp) && coding != CODING_IDENTITY &&
	    coding != CODING_REPEATED;
	if (http_has_no_body(resp, req)) {
		frame->framing = FRAMING_NONE;
		http_length_describe(resp, req, length);
		return (ERR_NONE);
	}
	if (coding == CODING_OTHER || coding == CODING_BAD)
		return (fault_set(f, ERR_ORIGIN_FRAMING,
		    "a Transfer-Encoding other than chunked"));
	http_length_forget(resp);
	/* Servers say it twice that pass on another's field; it is one coding. */
	if (coding == CODING_REPEATED)
		coding = CODING_CHUNKED;
	if (coding == CODING_CHUNKED) { /* RFC 9112 6.3, 3. */
		if (length != HTTP_LENGTH_UNKNOWN || resp->version == HTTP_1_0)
			frame->keep_alive = false;
		put(resp, frame, FRAMING_CHUNKED, length);
	} else if (length == HTTP_LENGTH_UNKNOWN) {
		frame->keep_alive = false;
		put(resp, frame, FRAMING_CLOSE, length);
	} else
		put(resp, frame, FRAMING_LENGTH, length);
	return (ERR_NONE);
}

/* --- what goes out --- */

enum h1_framing
h1_frame_out(const struct http_msg *m, bool to_http10)
{
	switch (m->length_is) {
	case LENGTH_NONE:
		break;
	case LENGTH_KNOWN:
		return (FRAMING_LENGTH);
	case LENGTH_UNKNOWN:
		assert(!to_http10 || !m->is_request);
		return (to_http10 ? FRAMING_CLOSE : FRAMING_CHUNKED);
	}
	assert(m->length == 0);
	return (FRAMING_NONE);
}
