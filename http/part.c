/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parts of a representation, see part.h. */
#include "http/chars.h"
#include "http/part.h"
#include "http/upload.h"

/* Fields that ask for less than the whole. */
static const enum http_field_id asking[] = {
	FIELD_RANGE,
	FIELD_REQUEST_RANGE,
	FIELD_A_IM,
};

#define N_ASKING (sizeof(asking) / sizeof(asking[0]))

/* A number of digits at the front of *s, and the octet behind it. */
static bool
take_number(struct str *s, char end, uint64_t *v)
{
	size_t n = http_span(*s, CHAR_DIGIT);

	if (n == s->n ? end != '\0' : s->p[n] != end)
		return (false);
	if (!str_to_u64((struct str){ s->p, n }, INT64_MAX, v))
		return (false);
	n += n < s->n;
	s->p += n;
	s->n -= n;
	return (true);
}

/* "bytes 0-9/10" or "bytes 0-9/..." (RFC 9110 14.4); *rest is behind "/". */
static bool
read_range(struct str v, uint64_t *first, uint64_t *last, struct str *rest)
{
	static const struct str unit = STR("bytes ");

	if (!str_istarts(v, unit))
		return (false);
	*rest = str_trim((struct str){ v.p + unit.n, v.n - unit.n });
	return (take_number(rest, '-', first) && take_number(rest, '/', last));
}

/* All octets of a known length? */
static bool
range_is_whole(struct str v, uint64_t *length)
{
	uint64_t first, last;
	struct str rest;

	return (read_range(v, &first, &last, &rest) &&
	    take_number(&rest, '\0', length) && first == 0 &&
	    last + 1 == *length);
}

enum http_part
http_part_of(const struct http_msg *m)
{
	const struct http_field *f = http_fields_get(&m->fields,
	    FIELD_CONTENT_RANGE);
	uint64_t length;

	if (m->is_request && http_upload_is_part(m))
		return (HTTP_PART_SOME);
	if (m->is_request ? f == NULL : m->status != 206 && m->status != 226)
		return (HTTP_PART_NONE);
	if (m->status == 226 || f == NULL ||
	    http_fields_next(&m->fields, f) != NULL ||
	    !range_is_whole(f->value, &length))
		return (HTTP_PART_SOME);
	return (m->length_is == LENGTH_KNOWN && m->length != length
		? HTTP_PART_SOME
		: HTTP_PART_WHOLE);
}

bool
http_part_fit(struct http_msg *m, uint64_t length)
{
	const struct http_field *f = http_fields_get(&m->fields,
	    FIELD_CONTENT_RANGE);
	uint64_t first, last, all;
	struct str rest;

	if (f == NULL || (!m->is_request && m->status != 206) ||
	    http_fields_next(&m->fields, f) != NULL ||
	    !read_range(f->value, &first, &last, &rest) || last < first ||
	    last - first + 1 == length)
		return (true);
	if (!range_is_whole(f->value, &all))
		return (length == HTTP_LENGTH_UNKNOWN);
	http_fields_remove(&m->fields, FIELD_CONTENT_RANGE);
	if (!m->is_request) {
		m->status = 200;
		m->reason = STR("OK");
	}
	return (true);
}

bool
http_asks_part(const struct http_msg *req)
{
	unsigned i;

	for (i = 0; i < N_ASKING; i++)
		if (http_fields_get(&req->fields, asking[i]) != NULL)
			return (true);
	return (false);
}

void
http_ask_whole(struct http_msg *req)
{
	unsigned i;

	for (i = 0; i < N_ASKING; i++)
		http_fields_remove(&req->fields, asking[i]);
	http_fields_remove(&req->fields, FIELD_IF_RANGE);
}
