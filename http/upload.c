/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Uploads in parts, see upload.h. */
#include "http/chars.h"
#include "http/upload.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NAME_MAX_BYTES 128 /* longer names and values are none of ours */

/* Fields that say by any other value that there is more than this body. */
static const struct {
	struct str name, whole;
} fields[] = {
	{ { "Upload-Offset", 13 }, { "0", 1 } },
	{ { "Upload-Complete", 15 }, { "?1", 2 } },
	{ { "Upload-Incomplete", 17 }, { "?0", 2 } },
	{ { "X-Bz-Part-Number", 16 }, { NULL, 0 } },
	{ { "X-Update-Range", 14 }, { NULL, 0 } },
	{ { "OC-Chunked", 10 }, { "0", 1 } },
};

/* What the value of a parameter has to be. */
enum want {
	WANT_NOTHING, /* there is no second parameter */
	WANT_SOME,    /* not empty */
	WANT_NUMBER,  /* with a digit: some receivers take "+1" */
	WANT_NOT_0,   /* any other number */
	WANT_NOT_1
};

#define ON(m) (1u << METHOD_##m)

/*
 * Parameters of a query: the first has that value (or is as `first` wants it),
 * the second is there as wanted, and the field is.
 */
static const struct {
	unsigned methods;
	struct str name, value;
	enum want first;
	struct str name2;
	enum want second;
	struct str field;
} queries[] = {
	{ ON(PUT) | ON(POST), { "partNumber", 10 }, { NULL, 0 }, WANT_NUMBER,
	    { "uploadId", 8 }, WANT_SOME, { NULL, 0 } },
	{ ON(PUT), { "comp", 4 }, { "block", 5 }, WANT_SOME, { "blockid", 7 },
	    WANT_SOME, { NULL, 0 } },
	{ ON(PUT), { "comp", 4 }, { "appendblock", 11 }, WANT_SOME, { NULL, 0 },
	    WANT_NOTHING, { NULL, 0 } },
	{ ON(PUT), { "comp", 4 }, { "page", 4 }, WANT_SOME, { NULL, 0 },
	    WANT_NOTHING, { "X-Ms-Page-Write", 15 } },
	{ ON(PUT), { "comp", 4 }, { "range", 5 }, WANT_SOME, { NULL, 0 },
	    WANT_NOTHING, { "X-Ms-Write", 10 } },
	{ ON(PATCH) | ON(PUT), { "action", 6 }, { "append", 6 }, WANT_SOME,
	    { "position", 8 }, WANT_NOT_0, { NULL, 0 } },
	{ ON(POST) | ON(PUT), { "resumableChunkNumber", 20 }, { NULL, 0 },
	    WANT_NUMBER, { "resumableTotalChunks", 20 }, WANT_NOT_1,
	    { NULL, 0 } },
	{ ON(POST) | ON(PUT), { "flowChunkNumber", 15 }, { NULL, 0 },
	    WANT_NUMBER, { "flowTotalChunks", 15 }, WANT_NOT_1, { NULL, 0 } },
	{ ON(POST) | ON(PUT), { "chunk", 5 }, { NULL, 0 }, WANT_NUMBER,
	    { "chunks", 6 }, WANT_NOT_1, { NULL, 0 } },
};

static const struct str *
path_of(const struct http_msg *m)
{
	return (m->uri.path.n > 0 ? &m->uri.path : &m->target);
}

/* Percent-encoding off; false: too long for a name or value that is known. */
static bool
plain(struct str s, char out[static NAME_MAX_BYTES], struct str *to)
{
	size_t i, n = 0;

	for (i = 0; i < s.n && n < NAME_MAX_BYTES; i++, n++) {
		out[n] = s.p[i];
		if (s.p[i] != '%' || s.n - i < 3 || http_hex(s.p[i + 1]) < 0 ||
		    http_hex(s.p[i + 2]) < 0)
			continue;
		out[n] = (char)(http_hex(s.p[i + 1]) << 4 |
		    http_hex(s.p[i + 2]));
		i += 2;
	}
	*to = (struct str){ out, n };
	return (i == s.n);
}

static bool
has_digit(struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if (http_char_is(s.p[i], CHAR_DIGIT))
			return (true);
	return (false);
}

static bool
fits(struct str v, enum want want)
{
	uint64_t n;

	switch (want) {
	case WANT_NOTHING:
	case WANT_SOME:
		break;
	case WANT_NUMBER:
		return (has_digit(v));
	case WANT_NOT_0:
	case WANT_NOT_1:
		return (has_digit(v) &&
		    (!str_to_u64(v, INT64_MAX, &n) ||
			n != (want == WANT_NOT_1)));
	}
	return (v.n > 0);
}

/*
 * Is the parameter there at least once with such a value?  Longer values are
 * some value.
 */
static bool
query_has(struct str q, struct str name, struct str value, enum want want)
{
	char a[NAME_MAX_BYTES], b[NAME_MAX_BYTES];
	struct str part, n, v;
	size_t end, eq;
	bool all;

	while (q.n > 0) {
		end = str_index(q, '&');
		part = (struct str){ q.p, end };
		end += end < q.n;
		q = (struct str){ q.p + end, q.n - end };
		eq = str_index(part, '=');
		if (eq == part.n || !plain((struct str){ part.p, eq }, a, &n) ||
		    !str_ieq(n, name))
			continue;
		all = plain((struct str){ part.p + eq + 1, part.n - eq - 1 }, b,
		    &v);
		if (value.n > 0 ? all && str_ieq(v, value) : fits(v, want))
			return (true);
	}
	return (false);
}

static struct str
query_of(const struct http_msg *m)
{
	const struct str *path = path_of(m);
	size_t at = str_index(*path, '?');

	at += at < path->n;
	return ((struct str){ path->p + at, path->n - at });
}

static bool
query_says(const struct http_msg *m)
{
	struct str q = query_of(m);
	unsigned i;

	for (i = 0; i < COUNT(queries); i++)
		if ((queries[i].methods & 1u << m->method_id) != 0 &&
		    query_has(q, queries[i].name, queries[i].value,
			queries[i].first) &&
		    (queries[i].second == WANT_NOTHING ||
			query_has(q, queries[i].name2, STR_NONE,
			    queries[i].second)) &&
		    (queries[i].field.n == 0 ||
			http_fields_find(&m->fields, queries[i].field) != NULL))
			return (true);
	return (false);
}

/* "upload, finalize" from offset 0 is the whole, any other upload is not. */
static bool
google_says(const struct http_msg *m)
{
	const struct http_field *f = http_fields_find(&m->fields,
	    STR("X-Goog-Upload-Command"));
	bool upload = false, last = false;
	struct str rest, word;

	if (f == NULL)
		return (false);
	rest = f->value;
	while (str_next_element(&rest, &word)) {
		upload = upload || str_ieq(word, STR("upload"));
		last = last || str_ieq(word, STR("finalize"));
	}
	f = http_fields_find(&m->fields, STR("X-Goog-Upload-Offset"));
	return (upload && (!last || f == NULL || !str_eq(f->value, STR("0"))));
}

/* s behind a name in quotes, its colon and blanks; STR_NONE: none, or several. */
static struct str
json_after(struct str s, struct str name)
{
	struct str found = STR_NONE;
	size_t i;

	for (i = 0; i + name.n <= s.n; i++) {
		struct str v = { s.p + i + name.n, s.n - i - name.n };

		if (!str_starts((struct str){ s.p + i, s.n - i }, name))
			continue;
		if (found.p != NULL)
			return (STR_NONE);
		v = str_trim(v);
		if (v.n == 0 || v.p[0] != ':')
			return (STR_NONE);
		found = str_trim((struct str){ v.p + 1, v.n - 1 });
	}
	return (found);
}

/* No file is in the body: it says what becomes of several sessions. */
static bool
dropbox_procedure(struct str what)
{
	return (str_istarts(what, STR("start_batch")) ||
	    str_istarts(what, STR("finish_batch")));
}

/*
 * Dropbox: {"cursor": {"session_id": "...", "offset": 0}, ...} behind which
 * nothing comes, or a session that begins and is closed at once: the whole.
 */
static bool
dropbox_says(const struct http_msg *m)
{
	static const struct str where = { "/files/upload_session/", 22 };
	const struct http_field *f = http_fields_find(&m->fields,
	    STR("Dropbox-API-Arg"));
	struct str p = *path_of(m), s;
	size_t i;

	p.n = str_index(p, '?');
	for (i = 0;
	     i < p.n && !str_istarts((struct str){ p.p + i, p.n - i }, where);
	     i++)
		;
	if (i == p.n)
		return (false);
	p = (struct str){ p.p + i + where.n, p.n - i - where.n };
	if (f == NULL && dropbox_procedure(p))
		return (false);
	if (f == NULL || str_index(f->value, '\\') < f->value.n)
		return (true);
	if (!str_istarts(p, STR("start"))) {
		s = json_after(f->value, STR("\"offset\""));
		if (http_span(s, CHAR_DIGIT) != 1 || s.p[0] != '0')
			return (true);
	}
	return (!str_istarts(p, STR("finish")) &&
	    !str_starts(json_after(f->value, STR("\"close\"")), STR("true")));
}

/* Nextcloud: PUT of a chunk into a folder for an upload. */
static bool
chunk_folder_says(const struct http_msg *m)
{
	static const struct str where = { "/remote.php/dav/uploads/", 24 };
	struct str p = *path_of(m);

	if (m->method_id != METHOD_PUT)
		return (false);
	for (; p.n >= where.n; p.p++, p.n--)
		if (str_starts(p, where))
			return (true);
	return (false);
}

static bool
fields_say(const struct http_msg *m)
{
	const struct http_field *f;
	uint64_t length;
	unsigned i, k;

	for (k = 0; k < m->fields.n; k++)
		for (i = 0; i < COUNT(fields); i++)
			if (str_ieq(m->fields.v[k].name, fields[i].name) &&
			    !str_eq(m->fields.v[k].value, fields[i].whole))
				return (true);
	f = http_fields_find(&m->fields, STR("Upload-Length"));
	return (f != NULL && m->length_is == LENGTH_KNOWN &&
	    str_to_u64(f->value, INT64_MAX, &length) && length != m->length);
}

bool
http_upload_is_part(const struct http_msg *req)
{
	return (fields_say(req) || query_says(req) || google_says(req) ||
	    dropbox_says(req) || chunk_folder_says(req));
}

bool
http_upload_asks_part(const struct http_msg *req)
{
	return (
	    (req->method_id == METHOD_GET || req->method_id == METHOD_HEAD) &&
	    query_has(query_of(req), STR("partNumber"), STR_NONE, WANT_NUMBER));
}
