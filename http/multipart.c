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

/* One parameter's value from s on, unquoted into room; n: of s it took. */
static bool
take_value(struct str s, char *room, size_t size, struct str *value, size_t *n)
{
	bool quoted = s.n > 0 && s.p[0] == '"';
	size_t i = quoted, len = 0;

	for (; i < s.n; i++) {
		if (quoted ? s.p[i] == '"' : s.p[i] == ';' ||
		    s.p[i] == ' ' || s.p[i] == '\t')
			break;
		if (quoted && s.p[i] == '\\' && i + 1 < s.n)
			i++;
		if (len == size)
			return (false);
		room[len++] = s.p[i];
	}
	*value = (struct str){ room, len };
	*n = i < s.n && quoted ? i + 1 : i;
	return (!quoted || i < s.n);
}

/*
 * The boundary among the parameters.  Names that continue another (RFC 2231)
 * and a second boundary are read differently by receivers.
 */
static void
take_boundary(struct str s, char room[MULTIPART_BOUNDARY_MAX + 1],
    struct str *boundary)
{
	char other[1024];
	struct str name, value;
	unsigned found = 0;
	bool ours;
	size_t n;

	while ((n = str_index(s, ';')) < s.n) {
		s = skip(s, n + 1);
		n = str_index(s, '=');
		if (str_index(s, ';') < n)
			continue;	/* a parameter without value */
		if (n == s.n)
			break;
		name = str_trim((struct str){ s.p, n });
		s = str_trim(skip(s, n + 1));
		ours = str_ieq(name, STR("boundary"));
		found += ours || (name.n > 8 && str_ieq((struct str){ name.p,
		    9 }, STR("boundary*")));
		if (!take_value(s, ours ? room : other, ours ?
		    MULTIPART_BOUNDARY_MAX : sizeof(other), &value, &n)) {
			*boundary = STR_NONE;
			return;
		}
		if (ours)
			*boundary = value;
		s = skip(s, n);
	}
	if (found != 1)
		*boundary = STR_NONE;
}

bool
multipart_type(struct str type, char room[MULTIPART_BOUNDARY_MAX + 1],
    struct str *boundary)
{
	static const struct str head = { "multipart/", 10 };

	type = str_trim(type);
	*boundary = STR_NONE;
	if (type.n < head.n || !str_ieq((struct str){ type.p, head.n }, head))
		return (false);
	take_boundary(type, room, boundary);
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
		{ { "7bit", 4 }, 0 }, { { "8bit", 4 }, 0 },
		{ { "binary", 6 }, 0 }, { { "", 0 }, 0 },
	};
	size_t i, n = 0;

	while (n < v.n && http_char_is(v.p[n], CHAR_TOKEN))
		n++;
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
		m->odd = true;		/* content begins here for some */
		return;
	}
	name = str_trim((struct str){ line.p, n });
	v = str_trim(skip(line, n + 1));
	if (str_ieq(name, STR("content-transfer-encoding")))
		m->part.transfer |= transfer_of(v);
	else if (str_ieq(name, STR("content-type"))) {
		m->odd |= m->part.type[0] != '\0' ||
		    v.n >= MULTIPART_VALUE_MAX;
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
	char *p = m->head.p, *end = p + m->head.n, *line = p, *to = p;

	for (; p < end; p++) {
		if (*p != '\n') {
			if (*p != '\r')
				*to++ = *p;
			continue;
		}
		if (p + 1 < end && (p[1] == ' ' || p[1] == '\t'))
			continue;	/* RFC 5322 2.2.3: folded */
		head_field(m, (struct str){ line, (size_t)(to - line) });
		line = to;
	}
	m->head.n = 0;
}

static void
head_add(struct multipart *m, const char *p, size_t n)
{
	if (m->head.n + n > MULTIPART_HEAD_MAX)
		m->odd = true;		/* some give up here, others go on */
	else
		buf_add(&m->head, p, n);
}

/* ---- lines ---- */

void
multipart_init(struct multipart *m, struct str boundary)
{
	assert(boundary.n > 0 && boundary.n <= MULTIPART_BOUNDARY_MAX);
	*m = (struct multipart){ .phase = PART_OUTSIDE, .line = LINE_BEGIN };
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
	bool there = m->phase == PART_CONTENT && end > m->part.at;

	if (m->phase == PART_HEAD) {
		m->odd |= m->head.n > 0;	/* content for some */
		m->head.n = 0;
	}
	if (there) {
		m->part.length = end - m->part.at;
		*part = m->part;
	}
	m->phase = PART_OUTSIDE;
	return (there);
}

/* A delimiter's line has ended: a part begins, or the last one was it. */
static void
part_open(struct multipart *m)
{
	m->line = LINE_BEGIN;
	m->matched = 0;
	if (m->n_after == 2 && m->after[0] == '-' && m->after[1] == '-')
		return;			/* RFC 2046 5.1.1: close-delimiter */
	m->phase = PART_HEAD;
	m->part = (struct multipart_part){ .at = m->at };
}

static void
line_next(struct multipart *m, bool crlf)
{
	m->line = LINE_BEGIN;
	m->matched = 0;
	m->line_end = m->at - 1 - crlf;
}

/* Behind the delimiter: "--", blanks, the end of the line. */
static void
delimiter_byte(struct multipart *m, char c)
{
	if (c == '\n') {
		part_open(m);
	} else if (c != ' ' && c != '\t' && c != '\r') {
		if (m->n_after < 2 && c == '-')
			m->after[m->n_after++] = c;
		else
			m->odd = true;	/* "--boundaryX": a delimiter for some */
	}
}

/* An empty line ends the head. */
static void
head_byte(struct multipart *m, char c)
{
	size_t n = m->head.n;

	if (c == '\n') {
		while (n > 0 && m->head.p[n - 1] == '\r')
			n--;
		if (n == 0 || m->head.p[n - 1] == '\n') {
			head_read(m);
			m->phase = PART_CONTENT;
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
	if (m->line == LINE_DELIMITER) {
		delimiter_byte(m, c);
	} else if (m->line == LINE_BEGIN && c == m->delimiter[m->matched]) {
		if (m->phase == PART_HEAD)
			head_add(m, &c, 1);
		if (++m->matched == m->length) {
			ended = part_close(m, m->line_end, part);
			m->line = LINE_DELIMITER;
			m->n_after = 0;
		}
	} else {
		if (m->phase == PART_HEAD)
			head_byte(m, c);
		m->line = LINE_INSIDE;
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
		if (m->line == LINE_INSIDE && m->phase != PART_HEAD)
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
		base64_decode_init(&d->base64);	/* what follows begins anew */
	else if (base64_decode_single(&d->base64, &byte, c == '-' ? '+' :
	    c == '_' ? '/' : c) == 1)
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
		return;			/* a soft line break begins */
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
