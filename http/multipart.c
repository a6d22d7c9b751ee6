/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Multipart bodies, see multipart.h. */
#include <assert.h>
#include <string.h>
#include "http/chars.h"
#include "http/multipart.h"

/* ---- the type ---- */

static struct str
skip(struct str s, size_t n)
{
	return ((struct str){ s.p + n, s.n - n });
}

/* Where word (lower case) stands in s, in any case; s.n: nowhere. */
static size_t
find_word(struct str s, struct str word)
{
	size_t i;

	for (i = 0; i + word.n <= s.n; i++)
		if (str_ieq((struct str){ s.p + i, word.n }, word))
			return (i);
	return (s.n);
}

/*
 * The boundary's value at the begin of s; false: receivers differ in where it
 * ends, or whether a blank, a quote or a backslash is of it.
 */
static bool
take_value(struct str s, struct str *value, struct str *rest)
{
	bool quoted = s.n > 0 && s.p[0] == '"';
	size_t n, i;

	if (quoted)
		s = skip(s, 1);
	n = str_index(s, quoted ? '"' : ';');
	if (n == s.n && quoted)
		return (false);
	*value = (struct str){ s.p, n };
	*rest = str_trim(skip(s, n + quoted));
	while (!quoted && value->n > 0 &&
	    (s.p[value->n - 1] == ' ' || s.p[value->n - 1] == '\t'))
		value->n--;
	for (i = 0; i < value->n; i++)
		if (s.p[i] == ',' || s.p[i] == '\\' || s.p[i] == '"' ||
		    (!quoted && (s.p[i] == ' ' || s.p[i] == '\t')))
			return (false);
	return (str_trim(*value).n == value->n &&
	    !str_starts(*value, STR("'")) && /* a quote for some */
	    (rest->n == 0 || rest->p[0] == ';'));
}

/* A parameter's name may stand behind it: no quoted string is open. */
static bool
is_before_name(struct str s)
{
	bool open = false;
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (s.p[i] == '\\')
			return (false);
		open ^= s.p[i] == '"';
	}
	s = str_trim(s);
	return (!open && s.n > 0 && s.p[s.n - 1] == ';');
}

/*
 * The boundary among the parameters.  Some receivers look for the word alone,
 * wherever it stands, some take the last of several, some know RFC 2231: it
 * must stand once, as a parameter's name, and a plain value behind it.
 */
static struct str
take_boundary(struct str s)
{
	static const struct str word = { "boundary", 8 };
	size_t n = find_word(s, word);
	struct str value, rest;

	if (n == s.n || !is_before_name((struct str){ s.p, n }))
		return (STR_NONE);
	s = skip(s, n + word.n);
	if (s.n == 0 || s.p[0] != '=' || !take_value(skip(s, 1), &value, &rest))
		return (STR_NONE);
	return (find_word(rest, word) == rest.n ? value : STR_NONE);
}

bool
multipart_type(struct str type, char room[MULTIPART_BOUNDARY_MAX + 1],
    struct str *boundary)
{
	struct str value;

	type = str_trim(type);
	*boundary = STR_NONE;
	/* some look for the word anywhere */
	if (!str_istarts(type, STR("multipart/")))
		return (find_word(type, STR("multipart")) < type.n &&
		    find_word(type, STR("boundary=")) < type.n);
	value = take_boundary(type);
	if (value.n > 0 && value.n <= MULTIPART_BOUNDARY_MAX) {
		memcpy(room, value.p, value.n);
		*boundary = (struct str){ room, value.n };
	}
	return (true);
}

/* ---- heads of parts ---- */

static void
keep_value(char to[MULTIPART_VALUE_MAX], struct str v)
{
	size_t n = v.n < MULTIPART_VALUE_MAX ? v.n : MULTIPART_VALUE_MAX - 1;

	memcpy(to, v.p, n);
	to[n] = '\0';
}

static unsigned
transfer_of(struct str v)
{
	static const struct {
		struct str name;
		unsigned bit;
	} known[] = {
		{ { "base64", 6 }, MULTIPART_BASE64 },
		{ { "quoted-printable", 16 }, MULTIPART_QUOTED },
		{ { "7bit", 4 }, 0 },
		{ { "8bit", 4 }, 0 },
		{ { "binary", 6 }, 0 },
	};
	size_t i, n = http_span(v, CHAR_TOKEN);

	if (v.n == 0)
		return (0);
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (str_ieq((struct str){ v.p, n }, known[i].name))
			return (known[i].bit);
	return (MULTIPART_UNKNOWN);
}

static void
head_field(struct multipart *m, struct str line)
{
	size_t n = str_index(line, ':');
	struct str name, v;

	if (n == line.n) {
		m->odd = true; /* content begins here for some */
		return;
	}
	name = str_trim((struct str){ line.p, n });
	v = str_trim(skip(line, n + 1));
	m->odd |= !http_is_token(name) || memchr(v.p, '\0', v.n) != NULL;
	if (str_ieq(name, STR("content-transfer-encoding")))
		m->part.transfer |= transfer_of(v);
	else if (str_ieq(name, STR("content-type"))) {
		m->odd |= m->part.type[0] != '\0' || v.n >= MULTIPART_VALUE_MAX;
		keep_value(m->part.type, v);
	} else if (str_ieq(name, STR("content-encoding"))) {
		m->odd |= m->part.coding[0] != '\0' ||
		    v.n >= MULTIPART_VALUE_MAX;
		keep_value(m->part.coding, v);
	}
}

/* The head is complete: unfold it and read its fields. */
static void
head_read(struct multipart *m)
{
	char *p = m->head.p, *end, *line = p, *to = p;

	if (m->head.n == 0)
		return;
	end = p + m->head.n;
	for (; p < end; p++) {
		if (*p != '\n') {
			if (*p != '\r')
				*to++ = *p;
			else if (p + 1 == end || p[1] != '\n')
				m->odd = true; /* ends a line for some */
			continue;
		}
		if (p + 1 < end && (p[1] == ' ' || p[1] == '\t'))
			continue; /* RFC 5322 2.2.3: folded */
		head_field(m, (struct str){ line, (size_t)(to - line) });
		line = to;
	}
	m->head.n = 0;
}

static void
head_add(struct multipart *m, const char *p, size_t n)
{
	if (m->head.n + n > MULTIPART_HEAD_MAX)
		m->odd = true; /* some give up here, others go on */
	else
		buf_add(&m->head, p, n);
}

/* ---- lines ---- */

void
multipart_init(struct multipart *m, struct str boundary)
{
	assert(boundary.n > 0 && boundary.n <= MULTIPART_BOUNDARY_MAX);
	*m = (struct multipart){ .phase = MULTIPART_OUTSIDE,
		.line = MULTIPART_LINE_BEGIN };
	memcpy(m->delimiter, "--", 2);
	memcpy(m->delimiter + 2, boundary.p, boundary.n);
	m->length = boundary.n + 2;
}

void
multipart_fini(struct multipart *m)
{
	buf_fini(&m->head);
}

bool
multipart_is_odd(const struct multipart *m)
{
	return (m->odd);
}

/* The part ends before the line end that stands before its delimiter. */
static bool
part_close(struct multipart *m, uint64_t end, struct multipart_part *part)
{
	bool there = m->phase == MULTIPART_CONTENT && end > m->part.at;

	if (m->phase == MULTIPART_HEAD) {
		m->odd |= m->head.n > 0; /* content for some */
		m->head.n = 0;
	}
	if (there) {
		m->part.length = end - m->part.at;
		*part = m->part;
	}
	m->phase = MULTIPART_OUTSIDE;
	return (there);
}

/* A line of the structure has ended: of a head, or of or before a delimiter. */
static void
structure_line(struct multipart *m, bool crlf)
{
	if (crlf)
		m->crlf = true;
	else
		m->lf = true;
}

/* A delimiter's line has ended: a part begins, or the last one was it. */
static void
part_open(struct multipart *m)
{
	m->line = MULTIPART_LINE_BEGIN;
	m->matched = 0;
	m->line_crlf = m->last == '\r';
	if (m->n_after == 2)
		return;           /* RFC 2046 5.1.1: close-delimiter */
	m->odd |= m->n_after > 0; /* "--b-": a delimiter for some */
	structure_line(m, m->line_crlf);
	m->phase = MULTIPART_HEAD;
	m->part = (struct multipart_part){ .at = m->at };
}

static void
line_next(struct multipart *m, bool crlf)
{
	m->line = MULTIPART_LINE_BEGIN;
	m->matched = 0;
	m->line_end = m->at - 1 - crlf;
	m->line_crlf = crlf;
}

/* Behind the delimiter: "--", blanks, the end of the line. */
static void
delimiter_byte(struct multipart *m, char c)
{
	if (c == '\n') {
		part_open(m);
	} else if (c != ' ' && c != '\t' && c != '\r') {
		if (m->n_after < 2 && c == '-' &&
		    m->last ==
			(m->n_after > 0 ? '-' : m->delimiter[m->length - 1]))
			m->n_after++;
		else
			m->odd = true; /* "--boundaryX": a delimiter for some */
	}
}

/* An empty line ends the head. */
static void
head_byte(struct multipart *m, char c)
{
	size_t n = m->head.n;

	if (c == '\n') {
		structure_line(m, m->last == '\r');
		while (n > 0 && m->head.p[n - 1] == '\r')
			n--;
		m->odd |= m->head.n - n > 1; /* no empty line for some */
		if (n == 0 || m->head.p[n - 1] == '\n') {
			m->head.n = n;
			head_read(m);
			m->phase = MULTIPART_CONTENT;
			m->part.at = m->at;
			return;
		}
	}
	head_add(m, &c, 1);
}

/* One byte at the begin of a line, or inside one that ends with it. */
static bool
line_byte(struct multipart *m, char c, struct multipart_part *part)
{
	bool ended = false;

	m->at++;
	if (m->line == MULTIPART_LINE_DELIMITER) {
		delimiter_byte(m, c);
	} else if (m->line == MULTIPART_LINE_BEGIN &&
	    c == m->delimiter[m->matched]) {
		if (m->phase == MULTIPART_HEAD)
			head_add(m, &c, 1);
		if (++m->matched == m->length) {
			m->delimiters++;
			if (m->at > m->length)
				structure_line(m, m->line_crlf);
			ended = part_close(m, m->line_end, part);
			m->line = MULTIPART_LINE_DELIMITER;
			m->n_after = 0;
		}
	} else {
		if (m->phase == MULTIPART_HEAD)
			head_byte(m, c);
		m->line = MULTIPART_LINE_INSIDE;
		if (c == '\n')
			line_next(m, m->last == '\r');
	}
	m->last = c;
	return (ended);
}

/* Content up to the next line end, which line_byte() takes. */
static size_t
skip_content(struct multipart *m, const char *p, size_t n)
{
	const char *end = memchr(p, '\n', n);
	size_t len = end != NULL ? (size_t)(end - p) : n;

	if (len > 0)
		m->last = p[len - 1];
	m->at += len;
	return (len);
}

enum multipart_got
multipart_feed(struct multipart *m, const char *p, size_t n, size_t *used,
    struct multipart_part *part)
{
	size_t i = 0;

	while (i < n) {
		if (m->line == MULTIPART_LINE_INSIDE &&
		    m->phase != MULTIPART_HEAD)
			i += skip_content(m, p + i, n - i);
		if (i < n && line_byte(m, p[i++], part)) {
			*used = i;
			return (MULTIPART_PART);
		}
	}
	*used = n;
	return (MULTIPART_MORE);
}

bool
multipart_end(struct multipart *m, struct multipart_part *part)
{
	return (part_close(m, m->at, part));
}

static size_t
count(const char *p, size_t n, const char *what, size_t length)
{
	const char *end = p + n;
	size_t found = 0;

	for (; (p = memmem(p, (size_t)(end - p), what, length)) != NULL;
	     p += length)
		found++;
	return (found);
}

void
multipart_compare(struct multipart *m, const char *p, size_t n)
{
	if (n == 0)
		return;
	m->odd |= count(p, n, m->delimiter, m->length) != m->delimiters;
	m->odd |= m->lf && (m->crlf || memmem(p, n, "\r\n\r\n", 4) != NULL);
}

/* ---- transfer codings ---- */

void
multipart_decoder_init(struct multipart_decoder *d, unsigned transfer)
{
	assert(transfer == MULTIPART_BASE64 || transfer == MULTIPART_QUOTED);
	*d = (struct multipart_decoder){ .transfer = transfer };
	base64_decode_init(&d->base64);
}

/* What is no digit is passed over; the letters of RFC 4648 5 are some, too. */
static void
base64_byte(struct multipart_decoder *d, char c, struct buf *out)
{
	uint8_t byte;

	if (c == '=')
		base64_decode_init(&d->base64); /* what follows begins anew */
	else if (base64_decode_single(&d->base64, &byte,
		     c == '-'       ? '+'
			 : c == '_' ? '/'
				    : c) == 1)
		buf_add(out, (const char *)&byte, 1);
}

/* d->held: 0 outside a code, else how much of "=XX" is there. */
static void
quoted_byte(struct multipart_decoder *d, char c, struct buf *out)
{
	char byte;

	if (d->held == 0) {
		if (c == '=')
			d->held = 1;
		else
			buf_add(out, &c, 1);
		return;
	}
	if (d->held == 1 && (c == '\r' || c == ' ' || c == '\t'))
		return; /* a soft line break begins */
	if (d->held == 1 && c == '\n') {
		d->held = 0;
		return;
	}
	d->pending[d->held - 1] = c;
	if (++d->held < 3 && http_hex(c) >= 0)
		return;
	if (d->held == 3 && http_hex(c) >= 0) {
		byte = (char)(http_hex(d->pending[0]) << 4 | http_hex(c));
		buf_add(out, &byte, 1);
	} else {
		buf_add(out, "=", 1);
		buf_add(out, d->pending, d->held - 1);
	}
	d->held = 0;
}

void
multipart_decode(struct multipart_decoder *d, const char *p, size_t n,
    struct buf *out)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (d->transfer == MULTIPART_BASE64)
			base64_byte(d, p[i], out);
		else
			quoted_byte(d, p[i], out);
}
