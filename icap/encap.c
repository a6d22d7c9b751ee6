/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Encapsulated field.
 * Room: icap.  Obeys RFC 3507 4.4.1.
 */
#include <assert.h>
#include "icap/encap.h"

static const struct str part_names[ICAP_PARTS] = {
	[ICAP_REQ_HDR] = { "req-hdr", 7 },
	[ICAP_RES_HDR] = { "res-hdr", 7 },
	[ICAP_REQ_BODY] = { "req-body", 8 },
	[ICAP_RES_BODY] = { "res-body", 8 },
	[ICAP_OPT_BODY] = { "opt-body", 8 },
	[ICAP_NULL_BODY] = { "null-body", 9 },
};

static bool
is_body(enum icap_part part)
{
	return (part >= ICAP_REQ_BODY);
}

static bool
part_of(struct str name, enum icap_part *part)
{
	unsigned i;

	for (i = 0; i < ICAP_PARTS; i++)
		if (str_ieq(name, part_names[i])) {
			*part = (enum icap_part)i;
			return (true);
		}
	return (false);
}

/* name "=" 1*DIGIT, blanks around "=" tolerated */
static bool
parse_element(struct str element, enum icap_part *part, uint64_t *offset)
{
	size_t eq = str_index(element, '=');
	struct str name = { element.p, eq };
	struct str number;

	if (eq == element.n)
		return (false);
	number = (struct str){ element.p + eq + 1, element.n - eq - 1 };
	return (part_of(str_trim(name), part) &&
	    str_to_u64(str_trim(number), ICAP_ENCAP_MAX, offset));
}

/* May part at offset follow what is in the list? */
static bool
fits(const struct icap_encap *e, enum icap_part part, uint64_t offset)
{
	unsigned last = e->n - 1;

	if (e->n == 0)
		return (offset == 0 || is_body(part));
	if (e->n == 3 || is_body(e->v[last].part))
		return (false);
	if (!is_body(part) && part <= e->v[last].part)
		return (false); /* res-hdr stands behind req-hdr */
	if (part == ICAP_NULL_BODY && offset == 0)
		return (last == 0); /* c-icap: "res-hdr=0, null-body=0" */
	return (offset > e->v[last].offset);
}

static void
add(struct icap_encap *e, enum icap_part part, uint32_t offset)
{
	assert(e->n < sizeof(e->v) / sizeof(e->v[0]));
	e->v[e->n].part = part;
	e->v[e->n++].offset = offset;
}

/* A body that begins behind an unnamed head (seen in bitz-server). */
static void
add_unnamed_head(struct icap_encap *e, enum icap_part body, bool resp_mode)
{
	if (body == ICAP_RES_BODY || (body == ICAP_NULL_BODY && resp_mode))
		add(e, ICAP_RES_HDR, 0);
	else
		add(e, ICAP_REQ_HDR, 0);
}

bool
icap_encap_parse(struct str value, bool resp_mode, struct icap_encap *e)
{
	struct str element;
	enum icap_part part;
	uint64_t offset;

	*e = (struct icap_encap){ 0 };
	while (str_next_element(&value, &element)) {
		if (!parse_element(element, &part, &offset) ||
		    !fits(e, part, offset))
			return (false);
		if (e->n == 1 && offset == 0)
			e->n = 0; /* an empty head is none */
		if (e->n == 0 && offset > 0 && part != ICAP_OPT_BODY)
			add_unnamed_head(e, part, resp_mode);
		add(e, part, (uint32_t)offset);
	}
	return (e->n > 0 && is_body(e->v[e->n - 1].part));
}

enum icap_part
icap_encap_body(const struct icap_encap *e)
{
	return (e->n == 0 ? ICAP_NULL_BODY : e->v[e->n - 1].part);
}
