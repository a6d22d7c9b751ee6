/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Framing of HTTP/1 messages, see h1_frame.h. */
#include "http/chars.h"
#include "http/h1_frame.h"

enum coding {
	CODING_NONE,     /* no Transfer-Encoding */
	CODING_IDENTITY, /* of RFC 2616 3.6: none, for responses */
	CODING_CHUNKED,  /* exactly that */
	CODING_OTHER,    /* one we don't know, or chunked not alone */
	CODING_BAD       /* chunked twice, parameters, quotes, nothing */
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
	if (chunked > 1 || chunked + others + identity == 0)
		return (CODING_BAD);
	return (others + identity > 0 ? CODING_OTHER : CODING_CHUNKED);
}

bool
http_content_length(const struct http_fields *l, bool merge, uint64_t *length)
{
	const struct http_field *f = http_fields_get(l, FIELD_CONTENT_LENGTH);
	struct str rest;
	uint64_t v;
	size_t n;

	*length = HTTP_LENGTH_UNKNOWN;
	for (; f != NULL; f = http_fields_next(l, f)) {
		rest = f->value;
		do { /* RFC 9112 6.3: "5, 5" may be 5 */
			n = str_index(rest, ',');
			if (!str_to_u64(str_trim((struct str){ rest.p, n }),
				INT64_MAX, &v))
				return (false);
			if (*length != HTTP_LENGTH_UNKNOWN &&
			    (!merge || v != *length))
				return (false);
			*length = v;
			if (n == rest.n)
				break;
			rest.p += n + 1;
			rest.n -= n + 1;
		} while (true);
	}
	return (true);
}

static void
forget_framing(struct http_msg *m)
{
	if (http_fields_get(&m->fields, FIELD_CONTENT_LENGTH) != NULL)
		http_fields_remove(&m->fields, FIELD_CONTENT_LENGTH);
	if (http_fields_get(&m->fields, FIELD_TRANSFER_ENCODING) != NULL)
		http_fields_remove(&m->fields, FIELD_TRANSFER_ENCODING);
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
	return (m->version_minor > 0 || connection_has(m, STR("keep-alive")));
}

static void
set_length(struct http_msg *m, uint64_t length)
{
	m->framing = length == HTTP_LENGTH_UNKNOWN ? FRAMING_NONE
						   : FRAMING_LENGTH;
	m->length = length == HTTP_LENGTH_UNKNOWN ? 0 : length;
}

/* --- requests --- */

/* RFC 9110 10.1.1 */
enum err
h1_frame_expect(struct http_msg *m, struct fault *fault)
{
	const struct http_field *f = http_fields_get(&m->fields, FIELD_EXPECT);

	m->expect_continue = false;
	if (f == NULL)
		return (ERR_NONE);
	if (m->version_minor > 0 &&
	    (http_fields_next(&m->fields, f) != NULL ||
		!str_ieq(f->value, STR("100-continue"))))
		return (fault_set(fault, ERR_REQ_EXPECT,
		    "only 100-continue can be expected"));
	m->expect_continue = m->version_minor > 0 &&
	    (m->framing == FRAMING_CHUNKED || m->length > 0);
	if (!m->expect_continue)
		http_fields_remove(&m->fields, FIELD_EXPECT);
	return (ERR_NONE);
}

static enum err
bad_request(struct fault *f, enum err code, const char *why)
{
	return (fault_set(f, code, "%s", why));
}

static enum err
read_request_framing(struct http_msg *m, struct fault *f)
{
	enum coding coding = transfer_coding(&m->fields);
	uint64_t length;

	if (!http_content_length(&m->fields, false, &length))
		return (bad_request(f, ERR_REQ_FRAMING,
		    "invalid or repeated Content-Length"));
	if (coding != CODING_NONE && length != HTTP_LENGTH_UNKNOWN)
		return (bad_request(f, ERR_REQ_FRAMING,
		    "both Content-Length and Transfer-Encoding"));
	if (coding != CODING_NONE && m->version_minor == 0)
		return (bad_request(f, ERR_REQ_FRAMING,
		    "Transfer-Encoding in HTTP/1.0"));
	if (coding == CODING_BAD)
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
	set_length(m, length);
	if (coding == CODING_CHUNKED)
		m->framing = FRAMING_CHUNKED;
	return (ERR_NONE);
}

enum err
h1_frame_request(struct http_msg *m, struct fault *f)
{
	enum err e = read_request_framing(m, f);

	if (e != ERR_NONE)
		return (e);
	forget_framing(m);
	m->keep_alive = is_persistent(m);
	return (h1_frame_expect(m, f));
}

/* --- responses --- */

/* RFC 9112 6.3, 1. and 2.: no body whatever the fields say. */
static bool
is_bodyless(const struct http_msg *resp, const struct http_msg *req)
{
	return (http_status_is_bodyless(resp->status) ||
	    req->method_id == METHOD_HEAD ||
	    (req->method_id == METHOD_CONNECT && resp->status / 100 == 2));
}

/*
 * No body: a valid length stays as a description where RFC 9110 8.6 allows it
 * (HEAD, 304), in one field.
 */
static void
frame_bodyless(struct http_msg *resp, uint64_t length)
{
	struct str text = http_fields_value(&resp->fields,
	    FIELD_CONTENT_LENGTH);

	text.n = str_index(text, ',');
	forget_framing(resp);
	resp->framing = FRAMING_NONE;
	resp->length = 0;
	if (length != HTTP_LENGTH_UNKNOWN && resp->status >= 200 &&
	    resp->status != 204)
		http_fields_add(resp->arena, &resp->fields,
		    FIELD_CONTENT_LENGTH, str_trim(text));
}

/* A 2xx to CONNECT has no framing at all (RFC 9110 9.3.6). */
static uint64_t
described_length(const struct http_msg *req, uint64_t length)
{
	return (
	    req->method_id == METHOD_CONNECT ? HTTP_LENGTH_UNKNOWN : length);
}

enum err
h1_frame_response(struct http_msg *resp, const struct http_msg *req,
    struct fault *f)
{
	enum coding coding = transfer_coding(&resp->fields);
	uint64_t length;

	if (!http_content_length(&resp->fields, true, &length))
		return (fault_set(f, ERR_ORIGIN_FRAMING,
		    "invalid or differing Content-Length"));
	/* Where a head can be read in two ways nothing may follow it. */
	resp->keep_alive = is_persistent(resp) && !resp->odd &&
	    coding != CODING_IDENTITY;
	if (is_bodyless(resp, req)) {
		frame_bodyless(resp, described_length(req, length));
		return (ERR_NONE);
	}
	if (coding == CODING_OTHER || coding == CODING_BAD)
		return (fault_set(f, ERR_ORIGIN_FRAMING,
		    "a Transfer-Encoding other than chunked"));
	forget_framing(resp);
	set_length(resp, length);
	if (coding == CODING_CHUNKED) { /* RFC 9112 6.3, 3. */
		if (length != HTTP_LENGTH_UNKNOWN || resp->version_minor == 0)
			resp->keep_alive = false;
		resp->framing = FRAMING_CHUNKED;
		resp->length = 0;
	} else if (length == HTTP_LENGTH_UNKNOWN) {
		resp->framing = FRAMING_CLOSE;
		resp->keep_alive = false;
	}
	return (ERR_NONE);
}

/* --- messages whose body is known --- */

static bool
wants_length(const struct http_msg *m)
{
	return (!m->is_request || m->method_id == METHOD_POST ||
	    m->method_id == METHOD_PUT || m->method_id == METHOD_PATCH);
}

void
h1_frame_set(struct http_msg *m, const struct http_msg *req, bool has_body,
    uint64_t length)
{
	uint64_t described;

	if (!m->is_request && is_bodyless(m, req)) {
		if (!http_content_length(&m->fields, true, &described))
			described = HTTP_LENGTH_UNKNOWN;
		frame_bodyless(m, described_length(req, described));
		return;
	}
	forget_framing(m);
	if (has_body && length == HTTP_LENGTH_UNKNOWN) {
		set_length(m, 0);
		m->framing = FRAMING_CHUNKED;
		return;
	}
	/* An empty body is none. */
	if (!has_body || length == 0)
		length = wants_length(m) ? 0 : HTTP_LENGTH_UNKNOWN;
	set_length(m, length);
}
