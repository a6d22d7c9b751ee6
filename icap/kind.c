/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kind of a file by its names and its type.
 * Room: icap.  Obeys RFC 3986 3.3, RFC 6266 4.3, RFC 9110 8.3.
 */
#include "http/types.h"
#include "icap/kind.h"

/* What services ask to be spared; what is not here is scanned. */
static const struct {
	const char *ext, *type; /* "x/": every type of that family */
} kinds[] = {
	{ "gif", "image/gif" },
	{ "jpg", "image/jpeg" },
	{ "jpeg", "image/jpeg" },
	{ "jpe", "image/jpeg" },
	{ "png", "image/png" },
	{ "webp", "image/webp" },
	{ "avif", "image/avif" },
	{ "bmp", "image/bmp" },
	{ "bmp", "image/x-ms-bmp" },
	{ "ico", "image/x-icon" },
	{ "ico", "image/vnd.microsoft.icon" },
	{ "tif", "image/tiff" },
	{ "tiff", "image/tiff" },
	{ "svg", "image/svg+xml" },
	{ "css", "text/css" },
	{ "txt", "text/plain" },
	{ "js", "text/javascript" },
	{ "js", "application/javascript" },
	{ "js", "application/x-javascript" },
	{ "json", "application/json" },
	{ "htm", "text/html" },
	{ "html", "text/html" },
	{ "xml", "text/xml" },
	{ "xml", "application/xml" },
	{ "woff", "font/" },
	{ "woff", "application/font-woff" },
	{ "woff2", "font/" },
	{ "ttf", "font/" },
	{ "otf", "font/" },
	{ "mp3", "audio/" },
	{ "m4a", "audio/" },
	{ "aac", "audio/" },
	{ "ogg", "audio/" },
	{ "oga", "audio/" },
	{ "wav", "audio/" },
	{ "flac", "audio/" },
	{ "weba", "audio/" },
	{ "mp4", "video/" },
	{ "m4v", "video/" },
	{ "webm", "video/" },
	{ "mov", "video/" },
	{ "avi", "video/" },
	{ "mpg", "video/" },
	{ "mpeg", "video/" },
	{ "mkv", "video/" },
	{ "ogv", "video/" },
	{ "flv", "video/" },
	{ "wmv", "video/" },
	{ "ts", "video/" },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Behind the last dot behind the last slash. */
static struct str
last_extension(struct str name)
{
	size_t i, dot;

	for (i = name.n; i > 0 && name.p[i - 1] != '/'; i--)
		;
	for (dot = name.n; dot > i && name.p[dot - 1] != '.'; dot--)
		;
	if (dot == i)
		return (STR(""));
	return ((struct str){ name.p + dot, name.n - dot });
}

struct str
icap_extension(struct str path)
{
	path.n = str_index(path, '?');
	return (last_extension(path));
}

static bool
type_fits(struct str ext, struct str type)
{
	struct str want;
	size_t i;

	for (i = 0; i < COUNT(kinds); i++) {
		want = str_of(kinds[i].type);
		if (!str_ieq(ext, str_of(kinds[i].ext)))
			continue;
		if (want.p[want.n - 1] != '/'
			? str_ieq(type, want)
			: type.n > want.n && str_istarts(type, want))
			return (true);
	}
	return (false);
}

/*
 * Up to the next semicolon outside quotes; *s begins behind it.  False: there
 * is nothing more.
 */
static bool
next_parameter(struct str *s, struct str *part)
{
	bool quoted = false;
	size_t i;

	if (s->n == 0)
		return (false);
	for (i = 0; i < s->n && (quoted || s->p[i] != ';'); i++) {
		if (quoted && s->p[i] == '\\')
			i++;
		else if (s->p[i] == '"')
			quoted = !quoted;
	}
	i = i < s->n ? i : s->n;
	*part = str_trim((struct str){ s->p, i });
	i += i < s->n;
	*s = (struct str){ s->p + i, s->n - i };
	return (true);
}

/* filename=x.gif, filename="x.gif", filename*=UTF-8''x.gif */
static bool
name_fits(struct str ext, struct str value)
{
	if (value.n >= 2 && value.p[0] == '"' && value.p[value.n - 1] == '"')
		value = (struct str){ value.p + 1, value.n - 2 };
	return (str_ieq(last_extension(value), ext));
}

static bool
disposition_fits(struct str ext, struct str v)
{
	static const struct str name = STR("filename"), star = STR("filename*");
	struct str part, key;
	size_t eq;

	while (next_parameter(&v, &part)) {
		eq = str_index(part, '=');
		key = str_trim((struct str){ part.p, eq });
		if (key.n > star.n &&
		    str_ieq((struct str){ key.p, star.n }, star))
			return (false); /* RFC 2231 3: in pieces */
		if (eq < part.n && (str_ieq(key, name) || str_ieq(key, star)) &&
		    !name_fits(ext,
			str_trim(
			    (struct str){ part.p + eq + 1, part.n - eq - 1 })))
			return (false);
	}
	return (true);
}

bool
icap_kind_agrees(const struct scan_message *msg)
{
	const struct http_msg *m = msg->mode == SCAN_RESP ? msg->resp
							  : msg->req;
	struct str ext = icap_extension(msg->req->uri.path), types[4];
	const struct http_field *f;
	unsigned i, n = http_types(&m->fields, types, 4);

	for (i = 0; i < n; i++)
		if (!type_fits(ext, types[i]))
			return (false);
	for (f = http_fields_get(&m->fields, FIELD_CONTENT_DISPOSITION);
	     f != NULL; f = http_fields_next(&m->fields, f))
		if (!disposition_fits(ext, f->value))
			return (false);
	return (n > 0);
}
