/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The parser of heads, see h1_head.h.
 *
 * Octets are copied once, into blocks of the arena, and parsed there line by
 * line; the strings of the message point into the blocks.  A block never
 * moves: when one is full, the line that is not complete yet begins the
 * next.  A head that comes in one piece gets one block of exactly its size.
 */
#include <assert.h>
#include <string.h>
#include "http/chars.h"
#include "http/h1_head.h"

#define EMPTY_LINES_MAX 4 /* before a request line (RFC 9112 2.2) */
#define BLOCK_MIN 512

const struct h1_limits h1_limits_client = { 16384, 65536, 32768, 200 };
const struct h1_limits h1_limits_origin = { 16384, 131072, 65536, 400 };
const struct h1_limits h1_limits_trailer = { 0, 16384, 16384, 100 };

struct h1_head {
	struct arena *arena;
	const struct h1_limits *limits;
	const struct kind *kind;
	struct http_msg *msg;
	char *block;
	size_t used, cap;
	size_t line_at; /* of the first line not parsed yet */
	size_t section; /* octets of field lines so far */
	char *fold;     /* the last field's value, growing; or NULL */
	size_t fold_cap;
	unsigned empty_lines;
	enum err failed;
	const char *why;
	bool bare;        /* the line at work ended in LF alone */
	bool bare_before; /* ... the one before it */
	bool framed;      /* there is a framing field */
	bool dropped;     /* the last line was left out */
	bool odd;         /* ... or some line was, or ended in LF alone */
	bool started;     /* past the start line */
	bool done;
};

/* One row a kind of head. */
struct kind {
	bool (*start_line)(struct h1_head *, struct str line);
	bool is_request;
	bool lax; /* repair folds, blanks before colons */
	/*
	 * away from framing: bare LF ends a line, and what is no field line is
	 * left out
	 */
	bool wild;
	enum err syntax, version, line, large;
};

static bool request_line(struct h1_head *, struct str line);
static bool status_line(struct h1_head *, struct str line);
static bool icap_status_line(struct h1_head *, struct str line);

static const struct kind kinds[] = {
	[H1_REQUEST] = { request_line, true, false, false, ERR_REQ_SYNTAX,
	    ERR_REQ_VERSION, ERR_REQ_LINE_LONG, ERR_REQ_HEAD_LARGE },
	[H1_RESPONSE] = { status_line, false, true, true, ERR_ORIGIN_SYNTAX,
	    ERR_ORIGIN_SYNTAX, ERR_ORIGIN_HEAD_LARGE, ERR_ORIGIN_HEAD_LARGE },
	[H1_ICAP_RESPONSE] = { icap_status_line, false, true, false,
	    ERR_SCAN_PROTOCOL, ERR_SCAN_PROTOCOL, ERR_SCAN_PROTOCOL,
	    ERR_SCAN_PROTOCOL },
	[H1_FIELDS] = { NULL, true, false, false, ERR_REQ_SYNTAX,
	    ERR_REQ_SYNTAX, ERR_REQ_HEAD_LARGE, ERR_REQ_HEAD_LARGE },
};

static bool
bad(struct h1_head *h, enum err code, const char *why)
{
	h->failed = code;
	h->why = why;
	return (false);
}

static bool
bad_syntax(struct h1_head *h, const char *why)
{
	return (bad(h, h->kind->syntax, why));
}

static struct str
str_from(struct str s, size_t at)
{
	return ((struct str){ s.p + at, s.n - at });
}

/* --- start lines --- */

/*
 * "HTTP/1." DIGIT at the front of s (RFC 9112 2.3); 1.2 and later are read as
 * 1.1.  Returns its length, 0 for other versions of HTTP and for anything else.
 */
static size_t
take_version(struct http_msg *msg, struct str s, struct str prefix)
{
	if (s.n <= prefix.n || !str_starts(s, prefix) ||
	    !http_char_is(s.p[prefix.n], CHAR_DIGIT))
		return (0);
	msg->version = s.p[prefix.n] == '0' ? HTTP_1_0 : HTTP_1_1;
	return (prefix.n + 1);
}

/* token SP target SP HTTP-version (RFC 9112 3); the target waits for uri.h. */
static bool
request_line(struct h1_head *h, struct str line)
{
	struct http_msg *msg = h->msg;
	size_t method = http_span(line, CHAR_TOKEN), target;
	struct str rest;

	if (method == 0 || method == line.n || line.p[method] != ' ')
		return (bad_syntax(h, "request line without a method"));
	rest = str_from(line, method + 1);
	target = str_index(rest, ' ');
	if (target == 0 || target == rest.n)
		return (bad_syntax(h, "request line without target, version"));
	msg->method = (struct str){ line.p, method };
	msg->method_id = http_method_of(msg->method);
	msg->target = (struct str){ rest.p, target };
	rest = str_from(rest, target + 1);
	if (take_version(msg, rest, STR("HTTP/1.")) == rest.n)
		return (true);
	if (rest.n == 8 && str_starts(rest, STR("HTTP/")) &&
	    http_char_is(rest.p[5], CHAR_DIGIT) && rest.p[5] != '1' &&
	    rest.p[6] == '.' && http_char_is(rest.p[7], CHAR_DIGIT))
		return (bad(h, h->kind->version, "neither HTTP/1.0 nor 1.1"));
	return (bad_syntax(h, "request line ends in no HTTP version"));
}

/* Three digits at the front of s, then its end or SP. */
static bool
take_status(struct http_msg *msg, struct str s, unsigned max)
{
	unsigned i, v = 0;

	if (s.n < 3 || (s.n > 3 && s.p[3] != ' '))
		return (false);
	for (i = 0; i < 3; i++) {
		if (!http_char_is(s.p[i], CHAR_DIGIT))
			return (false);
		v = v * 10 + (unsigned)(s.p[i] - '0');
	}
	msg->status = v;
	msg->reason = s.n > 4 ? str_from(s, 4) : STR("");
	return (v >= 100 && v <= max);
}

/* HTTP-version SP status-code [SP reason] (RFC 9112 4). */
static bool
status_line(struct h1_head *h, struct str line)
{
	size_t n = take_version(h->msg, line, STR("HTTP/1."));

	if (n == 0 || n == line.n || line.p[n] != ' ')
		return (bad_syntax(h, "not an HTTP/1 status line"));
	if (!take_status(h->msg, str_from(line, n + 1), 999))
		return (bad_syntax(h, "not a status code of HTTP"));
	return (true);
}

/* RFC 3507 4.3.3, with whatever blanks its servers put around the code. */
static bool
icap_status_line(struct h1_head *h, struct str line)
{
	size_t n;

	line = str_trim(line);
	n = take_version(h->msg, line, STR("ICAP/1."));
	if (n == 0 || n == line.n || line.p[n] != ' ')
		return (bad_syntax(h, "not an ICAP/1 status line"));
	if (!take_status(h->msg, str_trim(str_from(line, n)), 999))
		return (bad_syntax(h, "not a status code of ICAP"));
	h->msg->reason = str_trim(h->msg->reason);
	return (true);
}

/* --- field lines --- */

static struct http_field *
last_field(struct h1_head *h)
{
	return (h->msg->fields.n > 0 ? &h->msg->fields.v[h->msg->fields.n - 1]
				     : NULL);
}

/* Its line, or a part of it, may have been meant as the end of another one. */
static bool
check_framing(struct h1_head *h, const struct http_field *f)
{
	if (f->id != FIELD_CONTENT_LENGTH && f->id != FIELD_TRANSFER_ENCODING)
		return (true);
	h->framed = true;
	if (h->bare || h->bare_before)
		return (bad_syntax(h, "bare LF beside a framing field"));
	return (true);
}

static bool
has_word(struct str line, struct str word)
{
	size_t i;

	for (i = 0; i + word.n <= line.n; i++)
		if (str_ieq((struct str){ line.p + i, word.n }, word))
			return (true);
	return (false);
}

/*
 * No name, or no colon: where browsers leave such a line out we do, too,
 * unless somebody could read framing in it.
 */
static bool
no_field_line(struct h1_head *h, struct str line)
{
	if (!h->kind->wild || line.p[0] == ':' ||
	    has_word(line, STR("length")) || has_word(line, STR("encoding")))
		return (bad_syntax(h, "field line without name and colon"));
	if (!http_is_value(line, true))
		return (bad_syntax(h, "NUL or CR in a field"));
	h->dropped = h->odd = true;
	return (true);
}

/* obs-fold becomes one space (RFC 9112 5.2); linear however many there are. */
static bool
folded_line(struct h1_head *h, struct str line)
{
	struct http_field *f = last_field(h);
	size_t need;
	char *p;

	if (f == NULL && !h->dropped)
		return (bad_syntax(h, "white space before the first field"));
	if (!h->kind->lax)
		return (bad_syntax(h, "folded field line"));
	if (!http_is_value(line, true))
		return (bad_syntax(h, "NUL or CR in a field"));
	if (h->dropped) /* and all that belongs to it */
		return (no_field_line(h, line));
	line = str_trim(line);
	need = f->value.n + 1 + line.n;
	if (need > h->limits->field)
		return (bad(h, h->kind->large, "field too long"));
	if (h->fold == NULL || need > h->fold_cap) {
		h->fold_cap = need * 2;
		p = arena_alloc(h->arena, h->fold_cap);
		memcpy(p, f->value.p, f->value.n);
		h->fold = p;
	}
	p = h->fold + f->value.n;
	*p++ = ' ';
	memcpy(p, line.p, line.n);
	f->value = (struct str){ h->fold, need };
	return (check_framing(h, f));
}

/* The joined value is trimmed only when nothing can join it any more. */
static void
end_fold(struct h1_head *h)
{
	struct http_field *f;

	if (h->fold == NULL)
		return;
	f = last_field(h);
	f->value = str_trim(f->value);
	h->fold = NULL;
}

/* field-name ":" OWS field-value OWS (RFC 9112 5). */
static bool
field_line(struct h1_head *h, struct str line)
{
	struct str name = { line.p, http_span(line, CHAR_TOKEN) }, value;
	size_t colon = name.n;

	if (h->kind->lax) /* RFC 9112 5.1: not in requests */
		while (colon < line.n &&
		    (line.p[colon] == ' ' || line.p[colon] == '\t'))
			colon++;
	if (colon == line.n || line.p[colon] != ':' || name.n == 0)
		return (no_field_line(h, line));
	h->dropped = false;
	value = str_trim(str_from(line, colon + 1));
	if (!http_is_value(value, h->kind->lax))
		return (bad_syntax(h, "control character in a field"));
	if (h->msg->fields.n >= h->limits->count)
		return (bad(h, h->kind->large, "too many fields"));
	http_fields_add_named(h->arena, &h->msg->fields, name, value);
	return (check_framing(h, last_field(h)));
}

/* --- lines --- */

static bool
empty_line(struct h1_head *h)
{
	if (h->started) {
		if (h->bare && h->framed)
			return (bad_syntax(h, "bare LF behind framing fields"));
		end_fold(h);
		h->done = true;
		return (true);
	}
	if (!h->kind->is_request)
		return (bad_syntax(h, "empty line instead of a status line"));
	if (++h->empty_lines > EMPTY_LINES_MAX)
		return (bad_syntax(h, "nothing but empty lines"));
	return (true);
}

/* n: octets of a line so far, without CRLF. */
static bool
check_line_size(struct h1_head *h, size_t n)
{
	if (!h->started && n > h->limits->line)
		return (bad(h, h->kind->line, "start line too long"));
	if (h->started && n > h->limits->field)
		return (bad(h, h->kind->large, "field too long"));
	if (h->started && h->section + n + 2 > h->limits->section)
		return (bad(h, h->kind->large, "field section too large"));
	return (true);
}

/* A line without its LF. */
static bool
parse_line(struct h1_head *h, struct str line)
{
	h->bare_before = h->bare;
	h->bare = line.n == 0 || line.p[line.n - 1] != '\r';
	if (h->bare && !h->kind->wild)
		return (bad_syntax(h, "line ends without CR"));
	if (h->bare)
		h->odd = true;
	else
		line.n--;
	if (line.n == 0)
		return (empty_line(h));
	if (!check_line_size(h, line.n))
		return (false);
	if (!h->started) {
		h->started = true;
		if (!http_is_value(line, false))
			return (bad_syntax(h,
			    "control character in the start line"));
		return (h->kind->start_line(h, line));
	}
	h->section += line.n + 2;
	if (line.p[0] == ' ' || line.p[0] == '\t')
		return (folded_line(h, line));
	end_fold(h);
	return (field_line(h, line));
}

/*
 * The tail of the block is no line yet: refuse early what can't become one,
 * such as a TLS or SOCKS greeting, which may have no LF at all.
 */
static bool
check_partial(struct h1_head *h, size_t from)
{
	size_t n = h->used - h->line_at;

	if (n > 1 && !check_line_size(h, n - 1))
		return (false);
	if (from < h->line_at)
		from = h->line_at;
	for (; from < h->used; from++)
		if (h->block[from] != '\r' &&
		    !(h->kind->lax && h->started
			    ? h->block[from] != '\0'
			    : http_char_is(h->block[from], CHAR_VALUE)))
			return (bad_syntax(h, "control character in a line"));
	return (true);
}

/* Parse what the block holds from `from` on (before it there is no LF). */
static bool
parse_block(struct h1_head *h, size_t from)
{
	size_t scan = from;
	const char *lf;
	struct str line;

	while (!h->done && scan < h->used &&
	    (lf = memchr(h->block + scan, '\n', h->used - scan)) != NULL) {
		line.p = h->block + h->line_at;
		line.n = (size_t)(lf - line.p);
		h->line_at = scan = (size_t)(lf - h->block) + 1;
		if (!parse_line(h, line))
			return (false);
	}
	return (h->done || check_partial(h, from));
}

/* --- input --- */

/*
 * How many of these n octets belong to the head; *whole: it ends with them.
 * Looks at nothing but line ends.
 */
static size_t
head_extent(const struct h1_head *h, const char *p, size_t n, bool *whole)
{
	const char *at = p, *lf, *end = p + n;
	size_t held = h->used - h->line_at;
	bool started = h->started, empty;

	*whole = false;
	while (
	    at < end && (lf = memchr(at, '\n', (size_t)(end - at))) != NULL) {
		empty = lf - at == 0
		    ? held == 0 || (held == 1 && h->block[h->line_at] == '\r')
		    : lf - at == 1 && held == 0 && *at == '\r';
		at = lf + 1;
		held = 0;
		if (empty && started) {
			*whole = true;
			return ((size_t)(at - p));
		}
		if (!empty)
			started = true;
	}
	return (n);
}

/* Room for n more octets behind the incomplete line. */
static void
reserve(struct h1_head *h, size_t n, bool whole)
{
	size_t held = h->used - h->line_at, cap = held + n;
	char *p;

	if (h->cap - h->used >= n)
		return;
	if (!whole)
		cap = cap * 2 < BLOCK_MIN ? BLOCK_MIN : cap * 2;
	p = arena_alloc(h->arena, cap);
	if (held > 0)
		memcpy(p, h->block + h->line_at, held);
	h->block = p;
	h->cap = cap;
	h->used = held;
	h->line_at = 0;
}

/* Take the octets of the head out of these; returns how many those were. */
static size_t
take(struct h1_head *h, const char *p, size_t n)
{
	bool whole;
	size_t from;

	n = head_extent(h, p, n, &whole);
	reserve(h, n, whole);
	from = h->used;
	memcpy(h->block + h->used, p, n);
	h->used += n;
	(void)parse_block(h, from);
	return (n);
}

struct h1_head *
h1_head_new(struct arena *a, enum h1_kind kind, const struct h1_limits *limits)
{
	struct h1_head *h = arena_zalloc(a, sizeof(*h));

	h->arena = a;
	h->kind = &kinds[kind];
	h->limits = limits;
	h->msg = http_msg_new(a, h->kind->is_request);
	h->started = h->kind->start_line == NULL;
	return (h);
}

static enum h1_step
step(struct h1_head *h, struct http_msg **msg, struct fault *f)
{
	if (h->failed != ERR_NONE) {
		(void)fault_set(f, h->failed, "%s", h->why);
		return (H1_BAD);
	}
	if (!h->done)
		return (H1_MORE);
	*msg = h->msg;
	return (H1_DONE);
}

enum h1_step
h1_head_feed(struct h1_head *h, struct chq *in, struct http_msg **msg,
    struct fault *f)
{
	const unsigned char *p;
	size_t n;

	while (!h->done && h->failed == ERR_NONE) {
		p = chq_peek(in, &n);
		if (n == 0)
			break;
		chq_drop(in, take(h, (const char *)p, n));
	}
	return (step(h, msg, f));
}

bool
h1_head_is_odd(const struct h1_head *h)
{
	assert(h->done);
	return (h->odd);
}

bool
h1_head_begun(const struct h1_head *h)
{
	size_t held = h->used - h->line_at;

	return (h->started ||
	    (held > 0 && (held > 1 || h->block[h->line_at] != '\r')));
}
