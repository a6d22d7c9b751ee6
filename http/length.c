/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lengths of bodies, see length.h. */
#include <assert.h>
#include "http/length.h"

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

void
http_length_forget(struct http_msg *m)
{
	if (http_fields_get(&m->fields, FIELD_CONTENT_LENGTH) != NULL)
		http_fields_remove(&m->fields, FIELD_CONTENT_LENGTH);
	if (http_fields_get(&m->fields, FIELD_TRANSFER_ENCODING) != NULL)
		http_fields_remove(&m->fields, FIELD_TRANSFER_ENCODING);
}

bool
http_has_no_body(const struct http_msg *resp, const struct http_msg *req)
{
	return (http_status_is_bodyless(resp->status) ||
	    req->method_id == METHOD_HEAD ||
	    (req->method_id == METHOD_CONNECT && resp->status / 100 == 2));
}

/*
 * A valid length stays as a description where RFC 9110 8.6 allows it (HEAD,
 * 304), in one field.  A 2xx to CONNECT has none at all (RFC 9110 9.3.6).
 */
void
http_length_describe(struct http_msg *resp, const struct http_msg *req,
    uint64_t length)
{
	struct str text = http_fields_value(&resp->fields,
	    FIELD_CONTENT_LENGTH);

	assert(!resp->is_request && http_has_no_body(resp, req));
	text.n = str_index(text, ',');
	http_length_forget(resp);
	resp->length_is = LENGTH_NONE;
	resp->length = 0;
	if (length != HTTP_LENGTH_UNKNOWN && resp->status >= 200 &&
	    resp->status != 204 && req->method_id != METHOD_CONNECT)
		http_fields_add(resp->arena, &resp->fields,
		    FIELD_CONTENT_LENGTH, str_trim(text));
}

static bool
wants_length(const struct http_msg *m)
{
	return (!m->is_request || m->method_id == METHOD_POST ||
	    m->method_id == METHOD_PUT || m->method_id == METHOD_PATCH);
}

void
http_length_set(struct http_msg *m, const struct http_msg *req, bool has_body,
    uint64_t length)
{
	uint64_t described;

	if (!m->is_request && http_has_no_body(m, req)) {
		if (!http_content_length(&m->fields, true, &described))
			described = HTTP_LENGTH_UNKNOWN;
		http_length_describe(m, req, described);
		return;
	}
	http_length_forget(m);
	if (!has_body || length == 0) { /* an empty body is none */
		m->length_is = wants_length(m) ? LENGTH_KNOWN : LENGTH_NONE;
		m->length = 0;
	} else if (length == HTTP_LENGTH_UNKNOWN) {
		m->length_is = LENGTH_UNKNOWN;
		m->length = 0;
	} else {
		m->length_is = LENGTH_KNOWN;
		m->length = length;
	}
}

/* RFC 9110 10.1.1 */
enum err
http_expect_read(struct http_msg *m, struct fault *fault)
{
	const struct http_field *f = http_fields_get(&m->fields, FIELD_EXPECT);

	m->expect_continue = false;
	if (f == NULL)
		return (ERR_NONE);
	if (m->version != HTTP_1_0 &&
	    (http_fields_next(&m->fields, f) != NULL ||
		!str_ieq(f->value, STR("100-continue"))))
		return (fault_set(fault, ERR_REQ_EXPECT,
		    "only 100-continue can be expected"));
	m->expect_continue = m->version != HTTP_1_0 && http_has_body(m);
	if (!m->expect_continue)
		http_fields_remove(&m->fields, FIELD_EXPECT);
	return (ERR_NONE);
}
