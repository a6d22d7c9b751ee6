/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * YAML text to a tree of nodes that know where they stand: the home of
 * libyaml.  Anchors, aliases and tags are refused: a setting is where it is
 * written, and nothing can multiply.
 * Room: proxy.  Thread: the one that loads.
 */
#include <stdio.h>
#include <string.h>
#include <yaml.h>
#include "proxy/conf/conf_priv.h"

#define DEPTH_MAX 16     /* the deepest setting is at 7 */
#define NODES_MAX 200000 /* a file that large is no configuration */

/* Building the tree: the open maps and lists, innermost last. */
struct build {
	struct conf_reader *r;
	struct node *root;
	struct node *open[DEPTH_MAX];
	struct node *key[DEPTH_MAX]; /* of a map: waiting for its value */
	unsigned depth, nodes;
	bool bad;
};

static struct conf_at
at_of(const yaml_mark_t *m)
{
	return (
	    (struct conf_at){ (unsigned)m->line + 1, (unsigned)m->column + 1 });
}

static void
refuse(struct build *b, const yaml_event_t *ev, const char *what)
{
	conf_problem_at(b->r, at_of(&ev->start_mark), "%s", what);
	b->bad = true;
}

/* Put a finished node where it belongs: root, item, key or value. */
static void
attach(struct build *b, const yaml_event_t *ev, struct node *n)
{
	struct node *in = b->depth == 0 ? NULL : b->open[b->depth - 1];
	struct node **key = b->depth == 0 ? NULL : &b->key[b->depth - 1];

	if (in == NULL) {
		b->root = n;
		return;
	}
	if (in->kind == NODE_MAP && *key == NULL) {
		if (n->kind != NODE_SCALAR)
			refuse(b, ev,
			    "a name is wanted here, not a map or "
			    "list");
		*key = n;
		return;
	}
	if (in->kind == NODE_MAP) {
		n->key = *key;
		*key = NULL;
	}
	if (in->last == NULL)
		in->first = n;
	else
		in->last->next = n;
	in->last = n;
	in->n++;
}

static struct node *
add_node(struct build *b, const yaml_event_t *ev, enum node_kind kind)
{
	struct node *n;

	if (++b->nodes > NODES_MAX)
		refuse(b, ev, "too many settings for one file");
	n = arena_zalloc(b->r->nodes, sizeof(*n));
	n->kind = kind;
	n->line = (unsigned)ev->start_mark.line + 1;
	n->col = (unsigned)ev->start_mark.column + 1;
	return (n);
}

static void
on_scalar(struct build *b, const yaml_event_t *ev)
{
	struct node *n = add_node(b, ev, NODE_SCALAR);

	if (ev->data.scalar.anchor != NULL || (ev->data.scalar.tag != NULL))
		refuse(b, ev,
		    "anchors and tags are not supported; write the "
		    "value itself");
	n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	n->text = arena_str(b->r->nodes,
	    (struct str){ (const char *)ev->data.scalar.value,
		ev->data.scalar.length });
	if (memchr(n->text.p, '\0', n->text.n) != NULL)
		refuse(b, ev, "a zero byte is possible nowhere");
	attach(b, ev, n);
}

static void
on_start(struct build *b, const yaml_event_t *ev, enum node_kind kind,
    const yaml_char_t *anchor, const yaml_char_t *tag)
{
	struct node *n = add_node(b, ev, kind);

	if (anchor != NULL || tag != NULL)
		refuse(b, ev,
		    "anchors and tags are not supported; write the "
		    "value itself");
	if (b->depth == DEPTH_MAX)
		refuse(b, ev, "too deep; no setting stands that far inside");
	if (b->bad)
		return;
	attach(b, ev, n);
	if (b->bad)
		return;
	b->key[b->depth] = NULL;
	b->open[b->depth++] = n;
}

/* One event; false: there is nothing more to come. */
static bool
on_event(struct build *b, const yaml_event_t *ev)
{
	switch (ev->type) {
	case YAML_SCALAR_EVENT:
		on_scalar(b, ev);
		break;
	case YAML_SEQUENCE_START_EVENT:
		on_start(b, ev, NODE_LIST, ev->data.sequence_start.anchor,
		    ev->data.sequence_start.tag);
		break;
	case YAML_MAPPING_START_EVENT:
		on_start(b, ev, NODE_MAP, ev->data.mapping_start.anchor,
		    ev->data.mapping_start.tag);
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		b->depth--;
		break;
	case YAML_ALIAS_EVENT:
		refuse(b, ev,
		    "aliases are not supported; write the value "
		    "itself");
		break;
	case YAML_DOCUMENT_START_EVENT:
		if (b->root != NULL)
			refuse(b, ev, "a second document; one file holds one");
		break;
	case YAML_STREAM_END_EVENT:
		return (false);
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_DOCUMENT_END_EVENT:
		break;
	}
	return (!b->bad);
}

/* What libyaml says, in its words. */
static void
syntax_problem(struct conf_reader *r, const yaml_parser_t *p)
{
	struct conf_at at = at_of(&p->problem_mark);
	const char *what = p->problem != NULL ? p->problem : "out of memory";

	if (p->error == YAML_READER_ERROR)
		conf_problem_at(r, (struct conf_at){ 0, 0 },
		    "not text in UTF-8 (%s, byte %zu)", what,
		    p->problem_offset);
	else if (p->context != NULL)
		conf_problem_at(r, at, "not YAML: %s %s from line %zu", what,
		    p->context, p->context_mark.line + 1);
	else
		conf_problem_at(r, at, "not YAML: %s", what);
}

static bool
run_parser(struct build *b, yaml_parser_t *p)
{
	yaml_event_t ev;
	bool more = true;

	while (more) {
		if (!yaml_parser_parse(p, &ev)) {
			syntax_problem(b->r, p);
			return (false);
		}
		more = on_event(b, &ev);
		yaml_event_delete(&ev);
	}
	return (!b->bad);
}

/* The four digits of "\uXXXX" at p[0..6), or -1. */
static long
escape_at(const char *p, const char *end)
{
	long v = 0;
	int i;

	if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return (-1);
	for (i = 2; i < 6; i++) {
		char c = p[i] | 0x20;

		if (p[i] >= '0' && p[i] <= '9')
			v = v * 16 + (p[i] - '0');
		else if (c >= 'a' && c <= 'f')
			v = v * 16 + (c - 'a' + 10);
		else
			return (-1);
	}
	return (v);
}

/*
 * JSON writes characters beyond U+FFFF as two escapes (RFC 8259 7), which
 * YAML does not know.  In a text that is one JSON object they become one.
 */
static struct str
join_surrogates(struct conf_reader *r, struct str text)
{
	const char *p = text.p, *end = text.p + text.n;
	struct buf out = { 0 };
	struct str joined;
	long hi, lo;

	while (p < end && strchr(" \t\r\n", *p) != NULL && *p != '\0')
		p++;
	if (p == end || *p != '{' || memmem(text.p, text.n, "\\u", 2) == NULL)
		return (text);
	for (p = text.p; p < end; p++) {
		if (*p != '\\' || p + 1 == end) {
			buf_add(&out, p, 1);
			continue;
		}
		hi = escape_at(p, end);
		lo = hi >= 0xd800 && hi < 0xdc00 ? escape_at(p + 6, end) : -1;
		if (lo >= 0xdc00 && lo < 0xe000) {
			buf_printf(&out, "\\U%08lX",
			    0x10000 + ((hi - 0xd800) << 10) + (lo - 0xdc00));
			p += 11;
		} else {
			buf_add(&out, p, 2); /* "\\" stays a pair */
			p++;
		}
	}
	joined = arena_str(r->nodes, buf_as_str(&out));
	buf_fini(&out);
	return (joined);
}

struct node *
conf_yaml_parse(struct conf_reader *r, struct str text)
{
	struct build b = { .r = r };
	yaml_parser_t p;
	bool fine;

	if (!yaml_parser_initialize(&p)) {
		conf_problem(r, NULL, "out of memory");
		return (NULL);
	}
	text = join_surrogates(r, text);
	yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&p, (const unsigned char *)text.p, text.n);
	fine = run_parser(&b, &p);
	yaml_parser_delete(&p);
	if (!fine)
		return (NULL);
	if (b.root == NULL || conf_node_is_void(b.root)) {
		b.root = arena_zalloc(r->nodes, sizeof(*b.root));
		b.root->kind = NODE_MAP;
		b.root->line = b.root->col = 1;
	}
	return (b.root);
}

struct node *
conf_node_get(const struct node *map, const char *key)
{
	struct node *it;

	if (map == NULL || map->kind != NODE_MAP)
		return (NULL);
	NODE_EACH(it, map)
	if (str_eq(it->key->text, str_of(key)))
		return (it);
	return (NULL);
}

bool
conf_node_is_void(const struct node *n)
{
	return (n->kind == NODE_SCALAR && n->plain && n->text.n == 0);
}

void
conf_node_print(const struct node *n, struct buf *out)
{
	const struct node *it;

	if (n->kind == NODE_SCALAR) {
		buf_printf(out, "%zu:", n->text.n);
		buf_str(out, n->text);
		return;
	}
	buf_cstr(out, n->kind == NODE_LIST ? "[" : "{");
	NODE_EACH(it, n)
	{
		if (it->key != NULL)
			conf_node_print(it->key, out);
		conf_node_print(it, out);
	}
	buf_cstr(out, n->kind == NODE_LIST ? "]" : "}");
}

const char *
conf_node_name(struct conf_reader *r, const struct node *n)
{
	size_t show = n->text.n > 40 ? 40 : n->text.n;

	if (n->kind != NODE_SCALAR)
		return (n->kind == NODE_LIST ? "a list" : "a map");
	if (conf_node_is_void(n))
		return ("nothing");
	while (show > 0 && show < n->text.n && (n->text.p[show] & 0xc0) == 0x80)
		show--; /* whole characters */
	return (arena_printf(r->nodes, "'%.*s%s'", (int)show, n->text.p,
	    n->text.n > show ? "..." : "")
		    .p);
}

unsigned
conf_node_items(struct conf_reader *r, const struct node *n,
    const struct node ***items)
{
	const struct node *it;
	unsigned i = 0;

	if (n->kind != NODE_LIST) {
		*items = arena_alloc(r->nodes, sizeof(**items));
		(*items)[0] = n;
		return (1);
	}
	*items = arena_alloc(r->nodes, (n->n + 1) * sizeof(**items));
	NODE_EACH(it, n)
	(*items)[i++] = it;
	return (i);
}
