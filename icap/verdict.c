/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fields of an ICAP answer say about the message.
 * Room: icap.
 */
#include "icap/verdict.h"

#define NOTE_MAX 240
#define NOTE_VALUE_MAX 80

/* Fields that say "found something" unless their value is one of nothing[]. */
static const struct str findings[] = {
	{ "X-Violations-Found", 18 },
	{ "X-Virus-ID", 10 },
	{ "X-Blocked-Reason", 16 },
};

static const struct str nothing[] = {
	{ "", 0 }, { "0", 1 }, { "none", 4 }, { "no threats", 10 },
};

/* Worth a place in the log. */
static const struct str noted[] = {
	{ "X-Infection-Found", 17 },
	{ "X-Violations-Found", 18 },
	{ "X-Virus-ID", 10 },
	{ "X-Blocked-Reason", 16 },
	{ "X-Response-Info", 15 },
	{ "X-Response-Desc", 15 },
	{ "X-ICAP-Profile", 14 },
	{ "X-Attribute", 11 },
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The value of name=value among parameters parted by semicolons. */
static struct str
parameter(struct str s, struct str name)
{
	struct str part;
	size_t n;

	while (s.n > 0) {
		n = str_index(s, ';');
		part = str_trim((struct str){ s.p, n });
		if (part.n > name.n && part.p[name.n] == '=' &&
		    str_ieq((struct str){ part.p, name.n }, name))
			return (str_trim((struct str){ part.p + name.n + 1,
			    part.n - name.n - 1 }));
		n += n < s.n;
		s.p += n;
		s.n -= n;
	}
	return (STR_NONE);
}

static bool
says_nothing(struct str v)
{
	size_t i;

	for (i = 0; i < COUNT(nothing); i++)
		if (str_ieq(v, nothing[i]))
			return (true);
	return (false);
}

bool
icap_names_threat(const struct http_fields *fs, struct str *threat)
{
	const struct http_field *f;
	bool found = false;
	size_t i;

	*threat = STR_NONE;
	f = http_fields_find(fs, STR("X-Infection-Found"));
	if (f != NULL) {
		*threat = parameter(f->value, STR("Threat"));
		if (str_eq(parameter(f->value, STR("Resolution")), STR("1"))) {
			*threat = STR_NONE;	/* repaired */
			return (false);
		}
		found = true;
	}
	for (i = 0; i < COUNT(findings); i++) {
		f = http_fields_find(fs, findings[i]);
		if (f == NULL || says_nothing(f->value))
			continue;
		found = true;
		if (threat->n == 0 && str_eq(findings[i], STR("X-Virus-ID")))
			*threat = f->value;
	}
	return (found);
}

static void
note_field(struct buf *b, const struct http_field *f)
{
	struct str v = f->value;

	if (v.n > NOTE_VALUE_MAX)
		v.n = NOTE_VALUE_MAX;
	if (b->n + f->name.n + v.n + 2 > NOTE_MAX)
		return;
	buf_cstr(b, " ");
	buf_str(b, f->name);
	buf_cstr(b, "=");
	buf_str(b, v);
}

struct str
icap_note(struct arena *a, const struct http_msg *m)
{
	struct buf b = { 0 };
	struct str s;
	unsigned i;
	size_t k;

	for (i = 0; i < m->fields.n; i++)
		for (k = 0; k < COUNT(noted) &&
		    (m->fields.v[i].name.p[0] | 0x20) == 'x'; k++)
			if (str_ieq(m->fields.v[i].name, noted[k])) {
				if (b.n == 0)
					buf_printf(&b, "%u", m->status);
				note_field(&b, &m->fields.v[i]);
			}
	if (b.n == 0)
		return (m->status == 204 ? STR("204") :
		    arena_printf(a, "%u", m->status));
	s = arena_str(a, buf_as_str(&b));
	buf_fini(&b);
	return (s);
}
