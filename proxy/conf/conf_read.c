/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine of the table: walks a section of option.def beside a map of the
 * file, fills members, defaults included, and names what it does not know.
 * Room: proxy.  Thread: the one that loads.
 */
#include "config.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "proxy/conf/conf_priv.h"

#ifdef HAVE_CLAMAV
#define SERVICES_DEFAULT "{clam: {url: 'clamav:'}}"
#else
#define SERVICES_DEFAULT NULL
#endif

#define SECTION(name, type, path, about) typedef type section_##name;
#include "proxy/conf/option.def"

const struct conf_option conf_options[] = {
#define OPTION(section, key, type, member, words, dflt, min, max, flags,       \
    example, about)                                                            \
	{ SECTION_##section, #key, TYPE_##type,                                \
		offsetof(section_##section, member), 0, words, dflt, min, max, \
		flags, example, about },
#define INSIDE(section, key, type, member, inside, dflt, flags, example,     \
    about)                                                                   \
	{ SECTION_##section, #key, TYPE_##type,                              \
		offsetof(section_##section, member), SECTION_##inside, NULL, \
		dflt, 0, 0, flags, example, about },
#define RESERVED(section, key, dflt, flags, about)                        \
	{ SECTION_##section, #key, TYPE_RESERVED, 0, 0, NULL, dflt, 0, 0, \
		flags, NULL, about },
#include "proxy/conf/option.def"
};

const unsigned conf_noptions = sizeof(conf_options) / sizeof(conf_options[0]);

const struct conf_section_info conf_sections[SECTION_COUNT] = {
#define SECTION(name, type, path, about) \
	[SECTION_##name] = { sizeof(section_##name), path, about },
#include "proxy/conf/option.def"
};

/* ---- defaults ---- */

/* A default stands nowhere in the file. */
static void
clear_place(struct node *n)
{
	struct node *it;

	n->line = n->col = 0;
	if (n->key != NULL)
		n->key->line = n->key->col = 0;
	NODE_EACH(it, n)
	clear_place(it);
}

/* The default of an option as a node; NULL: it has none. */
static const struct node *
default_node(struct conf_reader *r, const struct conf_option *o)
{
	struct node *n;
	struct str text;

	if (o->dflt == NULL)
		return (NULL);
	text = arena_printf(r->nodes, "v: %s", o->dflt);
	n = conf_yaml_parse(r, text);
	assert(n != NULL && n->first != NULL); /* our own table */
	clear_place(n->first);
	return (n->first);
}

bool
conf_reserved_default(const struct conf_option *o, const struct node *n)
{
	static const char no[] = "false no off";

	if (o->dflt == NULL)
		return (false);
	if (n->kind == NODE_LIST)
		return (n->n == 0 && strcmp(o->dflt, "[]") == 0);
	if (n->kind == NODE_MAP)
		return (n->n == 0 && strcmp(o->dflt, "{}") == 0);
	if (strcmp(o->dflt, "false") == 0)
		return (conf_value_word(no, n->text.p) >= 0);
	return (strcmp(o->dflt, n->text.p) == 0);
}

/* ---- which option ---- */

/* Flags that an option must not have here: those of the other service type. */
static unsigned
flags_excluded(enum conf_section s, const void *section)
{
	const struct conf_service *service = section;

	if (s != SECTION_SERVICE)
		return (0);
	return (service->type == CONF_CLAMAV ? OPTION_ICAP : OPTION_CLAM);
}

/* Without a good url nothing is said about what belongs to which type. */
static bool
service_has_type(const struct conf_service *s)
{
	return (s->type == CONF_CLAMAV || s->url.n > 0);
}

static const struct conf_option *
find_option(enum conf_section s, struct str key, unsigned excluded)
{
	unsigned i;

	for (i = 0; i < conf_noptions; i++)
		if (conf_options[i].section == s &&
		    (conf_options[i].flags & excluded) == 0 &&
		    str_eq(str_of(conf_options[i].key), key))
			return (&conf_options[i]);
	return (NULL);
}

/* "a, b, c": all keys of a section, for a name that is like none of them. */
static const char *
known_keys(struct conf_reader *r, enum conf_section s, unsigned excluded)
{
	struct buf out = { 0 };
	const char *text;
	unsigned i;

	for (i = 0; i < conf_noptions; i++)
		if (conf_options[i].section == s &&
		    conf_options[i].type != TYPE_RESERVED &&
		    (conf_options[i].flags & excluded) == 0)
			buf_printf(&out, "%s%s", out.n > 0 ? ", " : "",
			    conf_options[i].key);
	text = arena_str(r->nodes, buf_as_str(&out)).p;
	buf_fini(&out);
	return (text);
}

static void
unknown_key(struct conf_reader *r, enum conf_section s, const struct node *key,
    unsigned excluded)
{
	struct conf_guess guess = { .text = key->text.p };
	unsigned i;

	if (find_option(s, key->text, 0) != NULL) {
		conf_problem(r, key,
		    "'%s' is for %s services only; leave it "
		    "out",
		    key->text.p,
		    (excluded & OPTION_CLAM) != 0 ? "clamav:" : "icap:");
		return;
	}
	for (i = 0; i < conf_noptions; i++)
		if (conf_options[i].section == s)
			conf_guess_offer(&guess, conf_options[i].key);
	if (guess.best != NULL)
		conf_problem(r, key, "unknown setting %s; did you mean '%s'?",
		    conf_node_name(r, key), guess.best);
	else
		conf_problem(r, key, "unknown setting %s; known here are %s",
		    conf_node_name(r, key), known_keys(r, s, excluded));
}

void
conf_check_duplicates(struct conf_reader *r, const struct node *map)
{
	const struct node *it, *before;

	NODE_EACH(it, map)
	{
		for (before = map->first; before != it; before = before->next)
			if (str_eq(before->key->text, it->key->text))
				break;
		if (before != it)
			conf_problem(r, it->key,
			    "'%s' is set twice; the "
			    "first is in line %u",
			    it->key->text.p, before->key->line);
	}
}

static void
check_keys(struct conf_reader *r, enum conf_section s, const struct node *map,
    unsigned excluded)
{
	const struct node *it;

	NODE_EACH(it, map)
	if (find_option(s, it->key->text, excluded) == NULL)
		unknown_key(r, s, it->key, excluded);
}

/* ---- sections in sections ---- */

/* What lists of sections look like, whatever is in them. */
struct any_list {
	void *v;
	unsigned n;
};

static void
list_store(void *member, void *v, unsigned n)
{
	memcpy((char *)member + offsetof(struct any_list, v), &v, sizeof(v));
	memcpy((char *)member + offsetof(struct any_list, n), &n, sizeof(n));
}

/* Where conf_check needs to find the places of items again. */
static const struct node ***
places_of(struct conf_reader *r, enum conf_section inside)
{
	if (inside == SECTION_LISTEN)
		return (&r->listen_at);
	if (inside == SECTION_SERVICE)
		return (&r->service_at);
	if (inside == SECTION_RULE)
		return (&r->rule_at);
	if (inside == SECTION_LISTS)
		return (&r->list_at);
	if (inside == SECTION_UPSTREAM)
		return (&r->upstream_at);
	if (inside == SECTION_OUT)
		return (&r->out_at);
	return (&r->other_at);
}

/* A list of maps, or a map of maps, whose structs begin with their name. */
static void
read_sections(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	size_t size = conf_sections[o->inside].size;
	bool named = o->type == TYPE_NAMED;
	const struct node **at, *it;
	const char *name;
	char *v, *item;

	if (n->kind != (named ? NODE_MAP : NODE_LIST)) {
		conf_problem(r, n,
		    named ? "'%s' is a map from name to "
			    "settings, not %s"
			  : "'%s' is a list, not %s; begin "
			    "each item with '- '",
		    o->key, conf_node_name(r, n));
		return;
	}
	if (named)
		conf_check_duplicates(r, n);
	v = item = arena_zalloc(r->keep, (n->n + 1) * size);
	at = arena_zalloc(r->nodes, (n->n + 1) * sizeof(struct node *));
	*places_of(r, o->inside) = at;
	list_store(member, v, n->n);
	NODE_EACH(it, n)
	{
		*at++ = it;
		if (named) {
			name = arena_str(r->keep, it->key->text).p;
			memcpy(item, &name, sizeof(name));
		}
		conf_read_section(r, o->inside, it, item);
		item += size;
	}
}

static void
remember_start_only(struct conf_reader *r, const struct conf_option *o,
    const struct node *n)
{
	const char *path = conf_sections[o->section].path;

	if ((o->flags & (OPTION_START | OPTION_PROCESS)) == 0)
		return;
	buf_printf(&r->start_only, "%c%s%s%s\n",
	    (o->flags & OPTION_START) != 0 ? CONF_OF_START : CONF_OF_PROCESS,
	    path, path[0] != '\0' ? "." : "", o->key);
	conf_node_print(n, &r->start_only);
	buf_add(&r->start_only, "", 1);
}

/* One value; after a fault the default, so that nothing follows from it. */
static void
read_value(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	unsigned before = r->problems->errors;

	conf_read_type(r, o, n, member);
	if (r->problems->errors > before && o->dflt != NULL &&
	    (o->type == TYPE_ENUM || o->type == TYPE_COUNT ||
		o->type == TYPE_SIZE || o->type == TYPE_MEMORY ||
		o->type == TYPE_TIME || o->type == TYPE_GAPS))
		conf_read_type(r, o, default_node(r, o), member);
}

static void
read_option(struct conf_reader *r, const struct conf_option *o,
    const struct node *map, void *into)
{
	const struct node *n = conf_node_get(map, o->key);
	char *member = (char *)into + o->at;

	if (n != NULL && conf_node_is_void(n))
		n = NULL;
	if (n == NULL && (o->flags & OPTION_NEEDED) != 0 && map != NULL) {
		conf_problem(r, map->key != NULL ? map->key : map,
		    "'%s' is "
		    "missing; write '%s: %s'",
		    o->key, o->key, o->example);
		return;
	}
	if (n != NULL)
		remember_start_only(r, o, n);
	if (n == NULL && o->type != TYPE_RESERVED)
		n = default_node(r, o);
	if (o->type == TYPE_MAP)
		conf_read_section(r, o->inside, n, member);
	else if (n == NULL)
		return;
	else if (o->type == TYPE_LIST || o->type == TYPE_NAMED)
		read_sections(r, o, n, member);
	else
		read_value(r, o, n, member);
}

/* Does the table have this row for this kind of service? */
static bool
row_is_here(const struct conf_option *o, enum conf_section s,
    const void *section)
{
	return (
	    o->section == s && (o->flags & flags_excluded(s, section)) == 0);
}

void
conf_read_section(struct conf_reader *r, enum conf_section s,
    const struct node *map, void *into)
{
	unsigned i;

	if (map != NULL && map->kind != NODE_MAP) {
		conf_problem(r, map,
		    "settings are wanted here ('key: "
		    "value'), not %s",
		    conf_node_name(r, map));
		map = NULL; /* the defaults, for what follows */
	}
	if (map != NULL)
		conf_check_duplicates(r, map);
	for (i = 0; i < conf_noptions; i++)
		if (row_is_here(&conf_options[i], s, into))
			read_option(r, &conf_options[i], map, into);
	if (map != NULL) /* a service knows its type by now */
		check_keys(r, s, map,
		    s == SECTION_SERVICE && !service_has_type(into)
			? 0
			: flags_excluded(s, into));
	conf_check_section(r, s, map, into);
}
