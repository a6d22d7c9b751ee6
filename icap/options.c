/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a service says about itself.
 * Room: icap.  Obeys RFC 3507 4.10.2.
 */
#include "icap/icap.h"
#include "icap/kind.h"
#include "icap/options.h"

#define MAX_EXTENSIONS 1024 /* of one list: a peer may not make it grow */

static void
warn(struct arena *a, struct icap_caps *c, const char *field, struct str v)
{
	if (c->warning.p == NULL)
		c->warning = arena_printf(a, "%s: %.*s ignored", field,
		    (int)(v.n < 60 ? v.n : 60), v.p);
}

/* Every field of that name, in order: *f is the last one seen or NULL. */
static bool
next_field(const struct http_fields *fs, struct str name, unsigned *i,
    struct str *value)
{
	while (*i < fs->n) {
		const struct http_field *f = &fs->v[(*i)++];

		if (str_ieq(f->name, name)) {
			*value = f->value;
			return (true);
		}
	}
	return (false);
}

static struct str
first_field(const struct http_fields *fs, struct str name)
{
	struct str v = STR_NONE;
	unsigned i = 0;

	next_field(fs, name, &i, &v);
	return (v);
}

static bool
lists_token(const struct http_fields *fs, struct str name, struct str token)
{
	struct str v, e;
	unsigned i = 0;

	while (next_field(fs, name, &i, &v))
		while (str_next_element(&v, &e))
			if (str_ieq(e, token))
				return (true);
	return (false);
}

/* A number of 1*DIGIT; larger ones than max are max.  False: absent, nonsense. */
static bool
number(struct arena *a, struct icap_caps *c, const struct http_fields *fs,
    const char *name, uint64_t max, uint64_t *out)
{
	struct str v = first_field(fs, str_of(name));

	if (v.p == NULL)
		return (false);
	if (!str_to_u64(v, UINT64_MAX, out)) {
		warn(a, c, name, v);
		return (false);
	}
	if (*out > max)
		*out = max;
	return (true);
}

static void
parse_numbers(struct arena *a, const struct http_fields *fs,
    struct icap_caps *c)
{
	uint64_t n;

	c->preview = -1;
	if (number(a, c, fs, "Preview", ICAP_MAX_PREVIEW, &n))
		c->preview = (int32_t)n;
	c->ttl_ms = ICAP_TTL_DEFAULT_MS;
	if (number(a, c, fs, "Options-TTL", ICAP_TTL_MAX_MS / 1000, &n))
		c->ttl_ms = n > 0 ? n * 1000 : 1000;
	if (number(a, c, fs, "Max-Connections", 1u << 20, &n)) {
		if (n == 0) /* not "wait for ever" */
			warn(a, c, "Max-Connections", STR("0"));
		c->max_connections = (unsigned)n;
	}
}

static void
parse_methods(const struct http_fields *fs, struct icap_caps *c)
{
	c->reqmod = lists_token(fs, STR("Methods"), STR("REQMOD"));
	c->respmod = lists_token(fs, STR("Methods"), STR("RESPMOD"));
	if (first_field(fs, STR("Methods")).p == NULL)
		c->reqmod = c->respmod = true;
}

static void
parse_transfer(struct arena *a, const struct http_fields *fs, const char *name,
    struct icap_caps *c, enum icap_transfer t)
{
	struct str v, e;
	unsigned i = 0;

	while (next_field(fs, str_of(name), &i, &v))
		while (str_next_element(&v, &e)) {
			if (str_eq(e, STR("*"))) {
				c->transfer[t].star = true;
				continue;
			}
			if (e.p[0] == '.' && e.n > 1)
				e = (struct str){ e.p + 1, e.n - 1 };
			if (c->transfer[t].n == MAX_EXTENSIONS) {
				warn(a, c, name, STR("rest"));
				return;
			}
			if (c->transfer[t].v == NULL)
				c->transfer[t].v = arena_alloc(a,
				    MAX_EXTENSIONS * sizeof(struct str));
			c->transfer[t].v[c->transfer[t].n++] = arena_str(a, e);
		}
}

struct str
icap_istag(struct str v)
{
	if (v.n >= 2 && v.p[0] == '"' && v.p[v.n - 1] == '"')
		return ((struct str){ v.p + 1, v.n - 2 });
	return (v);
}

static struct str
copy_short(struct arena *a, struct str v)
{
	if (v.n > 100)
		v.n = 100;
	return (v.p != NULL ? arena_str(a, v) : STR_NONE);
}

void
icap_options_parse(struct arena *a, const struct http_fields *fs,
    struct icap_caps *c)
{
	*c = (struct icap_caps){ 0 };
	parse_methods(fs, c);
	parse_numbers(a, fs, c);
	c->allow_204 = lists_token(fs, STR("Allow"), STR("204"));
	c->allow_206 = lists_token(fs, STR("Allow"), STR("206"));
	c->wants_user = lists_token(fs, STR("X-Include"),
	    STR("X-Authenticated-User"));
	c->wants_username = lists_token(fs, STR("X-Include"),
	    STR("X-Client-Username"));
	c->istag = copy_short(a, icap_istag(first_field(fs, STR("ISTag"))));
	c->service = copy_short(a, first_field(fs, STR("Service")));
	parse_transfer(a, fs, "Transfer-Complete", c, ICAP_COMPLETE);
	parse_transfer(a, fs, "Transfer-Preview", c, ICAP_PREVIEW);
	parse_transfer(a, fs, "Transfer-Ignore", c, ICAP_IGNORE);
}

enum icap_transfer
icap_options_transfer(const struct icap_caps *c, struct str path)
{
	struct str ext = icap_extension(path);
	unsigned t, i;

	for (t = 0; t < ICAP_TRANSFERS && ext.n > 0; t++)
		for (i = 0; i < c->transfer[t].n; i++)
			if (str_ieq(ext, c->transfer[t].v[i]))
				return ((enum icap_transfer)t);
	for (t = 0; t < ICAP_TRANSFERS; t++)
		if (c->transfer[t].star)
			return ((enum icap_transfer)t);
	return (ICAP_PREVIEW);
}
