/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fields of an ICAP answer say about the message.
 * Room: icap.
 */
#include "icap/verdict.h"

#define NOTE_MAX 240
#define NOTE_VALUE_MAX 80

/* Fields that say "found something". */
enum finding_field { INFECTION, VIOLATIONS, VIRUS_ID, REASON, FINDINGS };

static const struct str findings[FINDINGS] = {
	[INFECTION] = { "X-Infection-Found", 17 },
	[VIOLATIONS] = { "X-Violations-Found", 18 },
	[VIRUS_ID] = { "X-Virus-ID", 10 },
	[REASON] = { "X-Blocked-Reason", 16 },
};

/* Values by which all of them but the first say "nothing". */

static const struct str nothing[] = {
	{ "", 0 },
	{ "0", 1 },
	{ "none", 4 },
	{ "no threats", 10 },
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
		    str_istarts(part, name))
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
	return (str_ione_of(v, nothing, COUNT(nothing)));
}

/* FINDINGS: it is none of them, or says nothing. */
static enum finding_field
finding_of(const struct http_field *f)
{
	unsigned i;

	if ((f->name.p[0] | 0x20) != 'x')
		return (FINDINGS);
	for (i = 0; i < FINDINGS; i++)
		if (str_ieq(f->name, findings[i]))
			return (i != INFECTION && says_nothing(f->value)
				? FINDINGS
				: (enum finding_field)i);
	return (FINDINGS);
}

/* How often a list has this very field. */
static unsigned
count_of(const struct http_fields *fs, const struct http_field *f)
{
	unsigned i, n = 0;

	for (i = 0; i < fs->n; i++)
		n += str_ieq(fs->v[i].name, f->name) &&
		    str_eq(fs->v[i].value, f->value);
	return (n);
}

/* Was it there before?  A sender cannot hide one by having it already. */
static bool
is_known(const struct http_fields *known, const struct http_fields *fs,
    const struct http_field *f)
{
	return (known != NULL && count_of(fs, f) <= count_of(known, f));
}

/* What all fields together said so far. */
struct said {
	unsigned n; /* fields that found something */
	unsigned infections, repaired;
	bool other; /* found what is not known to be repaired */
	struct str threat, virus;
};

/*
 * X-Infection-Found: Type=0; Resolution=2; Threat=Eicar;
 * Resolution 0: not repaired, 1: repaired, 2: blocked.
 */
static void
hear_infection(struct said *said, struct str v)
{
	struct str threat = parameter(v, STR("Threat"));
	bool repaired = str_eq(parameter(v, STR("Resolution")), STR("1"));

	said->infections++;
	said->repaired += repaired;
	if (said->threat.n == 0 ||
	    (!repaired && threat.n > 0 &&
		said->repaired == said->infections - 1))
		said->threat = threat; /* the first that is not repaired */
}

/*
 * X-Violations-Found: a number, and for each violation file, threat, id and
 * resolution, the last of which is its end (lines are joined by blanks).
 */
static bool
violations_are_repaired(struct str v, unsigned infections)
{
	size_t i = 0;
	uint64_t n;

	while (i < v.n && v.p[i] >= '0' && v.p[i] <= '9')
		i++;
	if (!str_to_u64((struct str){ v.p, i }, infections, &n))
		return (false);
	return (i == v.n ||
	    (v.n - i >= 2 && v.p[v.n - 1] == '1' &&
		(v.p[v.n - 2] == ' ' || v.p[v.n - 2] == '\t')));
}

static enum icap_finding
conclude(const struct said *said, const struct http_fields *fs)
{
	const struct http_field *f;

	if (said->n == 0)
		return (ICAP_FOUND_NOTHING);
	if (said->infections == 0 || said->other ||
	    said->repaired < said->infections)
		return (ICAP_FOUND_THREAT);
	f = http_fields_find(fs, findings[VIOLATIONS]);
	return (f == NULL || says_nothing(f->value) ||
		    violations_are_repaired(f->value, said->infections)
		? ICAP_FOUND_REPAIRED
		: ICAP_FOUND_THREAT);
}

enum icap_finding
icap_find_threat(const struct http_fields *fs, const struct http_fields *known,
    struct str *threat)
{
	struct said said = { 0 };
	unsigned i, violations = 0;

	for (i = 0; i < fs->n; i++) {
		const struct http_field *f = &fs->v[i];
		enum finding_field k = finding_of(f);

		if (k == FINDINGS || is_known(known, fs, f))
			continue;
		said.n++;
		if (k == INFECTION)
			hear_infection(&said, f->value);
		else if (k == VIRUS_ID && said.virus.n == 0)
			said.virus = f->value;
		violations += k == VIOLATIONS;
		said.other = said.other || k == REASON || violations > 1;
	}
	*threat = said.threat.n > 0 ? said.threat : said.virus;
	return (conclude(&said, fs));
}

bool
icap_announces_threat(const struct http_fields *fs)
{
	unsigned i;

	for (i = 0; i < FINDINGS; i++)
		if (http_fields_has_token(fs, FIELD_TRAILER, findings[i]))
			return (true);
	return (false);
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
		     (m->fields.v[i].name.p[0] | 0x20) == 'x';
		     k++)
			if (str_ieq(m->fields.v[i].name, noted[k])) {
				if (b.n == 0)
					buf_printf(&b, "%u", m->status);
				note_field(&b, &m->fields.v[i]);
			}
	if (b.n == 0)
		return (m->status == 204 ? STR("204")
					 : arena_printf(a, "%u", m->status));
	s = arena_str(a, buf_as_str(&b));
	buf_fini(&b);
	return (s);
}
