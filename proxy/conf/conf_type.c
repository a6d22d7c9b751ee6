/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One reader for each type of option.def: a node becomes a member.
 * Room: proxy.  Thread: the one that loads.
 */
#include <assert.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/cgroup.h"
#include "base/list.h"
#include "net/address.h"
#include "proxy/conf/conf_priv.h"

bool
conf_scalar(struct conf_reader *r, const struct node *n, const char *wanted)
{
	if (n->kind == NODE_SCALAR && n->text.n > 0)
		return (true);
	conf_problem(r, n, "%s is wanted here, not %s", wanted,
	    n->kind == NODE_SCALAR ? "nothing" : conf_node_name(r, n));
	return (false);
}

static const char *
keep(struct conf_reader *r, struct str s)
{
	return (arena_str(r->keep, s).p);
}

/* ---- text, files ---- */

static void
read_text(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	size_t i;

	if (n->kind != NODE_SCALAR) {
		conf_problem(r, n, "'%s' is a text, not %s", o->key,
		    conf_node_name(r, n));
		return;
	}
	if (n->text.n < o->min || n->text.n > o->max) {
		conf_problem(r, n,
		    "'%s' has %zu bytes; %" PRIu64 " to %" PRIu64
		    " are possible",
		    o->key, n->text.n, o->min, o->max);
		return;
	}
	for (i = 0; i < n->text.n; i++)
		if ((unsigned char)n->text.p[i] < ' ' || n->text.p[i] == 127) {
			conf_problem(r, n,
			    "'%s' contains a control "
			    "character; write it on one line",
			    o->key);
			return;
		}
	*(const char **)member = keep(r, n->text);
}

const char *
conf_path(struct conf_reader *r, const char *text)
{
	if (text[0] == '/' || r->dir.n == 0)
		return (arena_cstr(r->keep, text));
	return (arena_printf(r->keep, "%.*s/%s", STR_ARG(r->dir), text).p);
}

void
conf_file_check(struct conf_reader *r, const struct node *at, const char *path)
{
	struct stat st;

	if (r->known)
		return;
	if (stat(path, &st) != 0)
		conf_problem(r, at, "cannot open '%s': %m", path);
	else if (S_ISDIR(st.st_mode))
		conf_problem(r, at, "'%s' is a folder; a file is wanted here",
		    path);
	else if (!S_ISREG(st.st_mode)) /* might never end, or never begin */
		conf_problem(r, at, "'%s' is no ordinary file", path);
	else if (access(path, R_OK) != 0)
		conf_problem(r, at,
		    "cannot read '%s': %m; let the user that "
		    "assayd runs as read it",
		    path);
}

bool
conf_is_path(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, const char *wanted)
{
	size_t whole = n->text.n + r->dir.n + 1;

	if (!conf_scalar(r, n, wanted))
		return (false);
	if (n->text.n <= o->max && (n->text.p[0] == '/' || whole <= o->max))
		return (true);
	conf_problem(r, n,
	    "the path has %zu bytes; at most %" PRIu64 " are possible",
	    n->text.p[0] == '/' ? n->text.n : whole, o->max);
	return (false);
}

static void
read_file(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	const char *path;

	if (!conf_is_path(r, o, n, "a path"))
		return;
	path = conf_path(r, n->text.p);
	conf_file_check(r, n, path);
	*(const char **)member = path;
}

static void
read_path(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	if (!conf_is_path(r, o, n, "a path"))
		return;
	*(const char **)member = strcmp(n->text.p, "none") == 0
	    ? NULL
	    : conf_path(r, n->text.p);
}

/* "cred:name": a file in the folder that systemd made for it. */
static const char *
credential(struct conf_reader *r, const struct node *n)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	const char *name = n->text.p + strlen("cred:");

	if (name[0] == '\0' || strchr(name, '/') != NULL)
		conf_problem(r, n,
		    "'%s' names no credential; write "
		    "'cred:NAME'",
		    n->text.p);
	else if (dir == NULL)
		conf_problem(r, n,
		    "no systemd credentials here; set "
		    "LoadCredential=%s:PATH in the unit",
		    name);
	else
		return (arena_printf(r->keep, "%s/%s", dir, name).p);
	return (NULL);
}

static void
read_secret(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	const char *path;

	if (!conf_is_path(r, o, n, "a path"))
		return;
	if (str_starts(n->text, STR("pkcs11:"))) {
		*(const char **)member = keep(r, n->text);
		return;
	}
	if (str_starts(n->text, STR("cred:")))
		path = credential(r, n);
	else if (str_starts(n->text, STR("file:")))
		path = conf_path(r, n->text.p + strlen("file:"));
	else
		path = conf_path(r, n->text.p);
	if (path == NULL)
		return;
	conf_file_check(r, n, path);
	*(const char **)member = path;
}

/* ---- words and numbers ---- */

/* The words without marks, as "a, b or c"; reserved ones are left out. */
static const char *
list_words(struct conf_reader *r, const char *words)
{
	struct buf out = { 0 };
	const char *text, *p, *last = NULL;

	for (p = words; *p != '\0'; p += strcspn(p, " "), p += *p == ' ')
		if (*p != '!')
			last = p;
	for (p = words; *p != '\0'; p += strcspn(p, " "), p += *p == ' ')
		if (*p != '!') {
			if (out.n > 0)
				buf_cstr(&out, p == last ? " or " : ", ");
			buf_add(&out, p, strcspn(p, " "));
		}
	text = arena_str(r->nodes, buf_as_str(&out)).p;
	buf_fini(&out);
	return (text);
}

static void
guess_word(struct conf_guess *g, struct conf_reader *r, const char *words)
{
	const char *p;

	for (p = words; *p != '\0'; p += strcspn(p, " "), p += *p == ' ')
		if (*p != '!')
			conf_guess_offer(g,
			    arena_str(r->nodes,
				(struct str){ p, strcspn(p, " ") })
				.p);
}

static void
word_problem(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, int word)
{
	struct conf_guess g = { .text = n->text.p };

	if (word == -2) {
		conf_problem(r, n,
		    "'%s: %s' is not supported in this "
		    "version; write %s",
		    o->key, n->text.p, list_words(r, o->words));
		return;
	}
	if (n->text.p[0] > '9') /* numbers are not misspelt */
		guess_word(&g, r, o->words);
	if (g.best != NULL)
		conf_problem(r, n, "'%s' cannot be %s; did you mean '%s'?",
		    o->key, conf_node_name(r, n), g.best);
	else
		conf_problem(r, n, "'%s' cannot be %s; write %s", o->key,
		    conf_node_name(r, n), list_words(r, o->words));
}

static void
read_enum(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	int word;

	if (!conf_scalar(r, n, list_words(r, o->words)))
		return;
	word = conf_value_word(o->words, n->text.p);
	if (word < 0)
		word_problem(r, o, n, word);
	else
		memcpy(member, &word, sizeof(word));
}

/* "a size such as 64K or 20M" and how the limits are shown. */
struct number_form {
	const char *what;
	bool (*parse)(const char *, uint64_t *);
	const char *(*show)(uint64_t, char room[32]);
};

static bool
parse_count(const char *text, uint64_t *out)
{
	struct policy_span range;

	if (strchr(text, '-') != NULL ||
	    !conf_value_range(text, UINT64_MAX - 2, &range))
		return (false);
	*out = range.lo;
	return (true);
}

static const char *
show_count(uint64_t v, char room[32])
{
	snprintf(room, 32, "%" PRIu64, v);
	return (room);
}

static const struct number_form form_count = { "a whole number", parse_count,
	show_count };
static const struct number_form form_size = { "a size such as 512, 64K, 20M "
					      "or 2G",
	conf_value_size, conf_show_size };
static const struct number_form form_time = { "a duration such as 500ms, 5s, "
					      "10m, 2h or 14d",
	conf_value_time, conf_show_time };

static uint64_t
value_of_word(const char *word)
{
	return (strcmp(word, "off") == 0 ? CONF_OFF : UINT64_MAX);
}

static void
number_problem(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, const struct number_form *form)
{
	uint64_t v;

	if (form == &form_time && parse_count(n->text.p, &v))
		conf_problem(r, n,
		    "'%s' has no unit; write '%ss' for "
		    "seconds",
		    o->key, n->text.p);
	else
		conf_problem(r, n, "'%s' cannot be %s; write %s%s%s", o->key,
		    conf_node_name(r, n),
		    o->words != NULL ? list_words(r, o->words) : "",
		    o->words != NULL ? ", or " : "", form->what);
}

static void
read_number(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, uint64_t *member, const struct number_form *form)
{
	char lo[32], hi[32];
	uint64_t v;

	if (!conf_scalar(r, n, form->what))
		return;
	if (o->words != NULL && conf_value_word(o->words, n->text.p) >= 0) {
		*member = value_of_word(n->text.p);
		return;
	}
	if (!form->parse(n->text.p, &v)) {
		number_problem(r, o, n, form);
		return;
	}
	if (v < o->min || v > o->max) {
		conf_problem(r, n,
		    "'%s' is out of range; %s to %s is "
		    "possible",
		    o->key, form->show(o->min, lo), form->show(o->max, hi));
		return;
	}
	*member = v;
}

static void
read_count(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	read_number(r, o, n, member, &form_count);
}

static void
read_size(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	read_number(r, o, n, member, &form_size);
}

static void
read_time(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	read_number(r, o, n, member, &form_time);
}

/* Of the machine, or of the control group that we run in. */
static uint64_t
memory_there(void)
{
	uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) *
	    (uint64_t)sysconf(_SC_PAGESIZE);
	struct cgroup_memory group;

	cgroup_memory_find(&group, "");
	if (group.limit < all)
		all = group.limit;
	cgroup_memory_fini(&group);
	return (all);
}

static void
read_memory(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct policy_span range;
	char text[8];

	if (n->kind == NODE_SCALAR && n->text.n > 1 &&
	    n->text.n < sizeof(text) && n->text.p[n->text.n - 1] == '%') {
		memcpy(text, n->text.p, n->text.n - 1);
		text[n->text.n - 1] = '\0';
		if (!conf_value_range(text, 90, &range) || range.lo == 0 ||
		    range.lo != range.hi)
			conf_problem(r, n,
			    "'%s' is out of range; 1%% to 90%% "
			    "is possible",
			    o->key);
		else
			*(uint64_t *)member = memory_there() / 100 * range.lo;
		return;
	}
	read_size(r, o, n, member);
}

/* ---- lists of plain values ---- */

static void
read_nets(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	char why[NETS_WHY];
	const struct node **item;
	unsigned i, count = conf_node_items(r, n, &item);

	(void)o;
	for (i = 0; i < count; i++)
		if (conf_scalar(r, item[i], "a network") &&
		    !nets_add(member, r->keep, item[i]->text.p, why))
			conf_problem(r, item[i], "%s is %s",
			    conf_node_name(r, item[i]), why);
}

static void
read_ports(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct policy_spans *out = member;
	struct policy_span range;
	const struct node **item;
	unsigned i, count = conf_node_items(r, n, &item);

	out->v = arena_zalloc(r->keep, (count + 1) * sizeof(*out->v));
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "a port"))
			continue;
		if (!conf_value_range(item[i]->text.p, o->max, &range) ||
		    range.lo < o->min)
			conf_problem(r, item[i],
			    "%s is no port; write a "
			    "number from 1 to 65535 or a range such as "
			    "'1024-65535'",
			    conf_node_name(r, item[i]));
		else
			out->v[out->n++] = range;
	}
}

static void
add_file(struct conf_reader *r, const struct node *n, struct policy_strings *to)
{
	const char *path = conf_path(r, n->text.p);

	conf_file_check(r, n, path);
	to->v[to->n++] = path;
}

static void
read_files(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct policy_strings *out = member;
	const struct node **item;
	unsigned i, count = conf_node_items(r, n, &item);

	(void)o;
	out->v = arena_zalloc(r->keep, (count + 1) * sizeof(*out->v));
	for (i = 0; i < count; i++)
		if (conf_scalar(r, item[i], "a file"))
			add_file(r, item[i], out);
}

static void
read_trust(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct conf_trust *out = member;
	const struct node **item;
	unsigned i, count = conf_node_items(r, n, &item);

	out->files.v = arena_zalloc(r->keep,
	    (count + 1) * sizeof(*out->files.v));
	if (count == 0)
		conf_problem(r, n,
		    "'%s' is empty, so nothing could be "
		    "verified; write system or PEM files",
		    o->key);
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "system or a PEM file"))
			continue;
		if (strcmp(item[i]->text.p, "system") == 0)
			out->system = true;
		else
			add_file(r, item[i], &out->files);
	}
}

/* What is said of the roots of a file. */
static bool
read_said(struct conf_reader *r, const struct node *n, struct conf_dated *d)
{
	if (!conf_scalar(r, n, "a word"))
		return (false);
	if (strcmp(n->key->text.p, "public") == 0) {
		d->is_public = strcmp(n->text.p, "true") == 0;
		if (!d->is_public && strcmp(n->text.p, "false") != 0)
			conf_problem(r, n, "'public' is true or false");
	} else if (!conf_value_day(n->text.p, &d->not_after))
		conf_problem(r, n, "%s is no day; write it as 2024-11-30",
		    conf_node_name(r, n));
	return (true);
}

/* { file: old.pem, not_after: 2024-11-30, public: true } */
static void
add_dated(struct conf_reader *r, const struct node *n, struct conf_trust *out)
{
	static const struct str said[] = { STR("not_after"), STR("public") };
	const struct node *file = conf_node_get(n, "file"), *it;
	struct conf_dated *d = &out->dated[out->dated_n];

	NODE_EACH(it, n)
	if (str_ione_of(it->key->text, said, 2)) {
		if (!read_said(r, it, d))
			return;
	} else if (it != file)
		conf_problem(r, it->key,
		    "unknown setting %s; known here are file, not_after, "
		    "public",
		    conf_node_name(r, it->key));
	if (file == NULL)
		conf_problem(r, n, "'file' is missing");
	else if (conf_scalar(r, file, "a PEM file")) {
		add_file(r, file, &out->files);
		d->file = out->files.v[out->files.n - 1];
		out->dated_n++;
	}
}

static void
read_roots(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct conf_trust *out = member;
	const struct node **item;
	unsigned i, count = conf_node_items(r, n, &item);

	out->files.v = arena_zalloc(r->keep,
	    (count + 1) * sizeof(*out->files.v));
	out->dated = arena_zalloc(r->keep, (count + 1) * sizeof(*out->dated));
	if (count == 0)
		conf_problem(r, n,
		    "'%s' is empty, so nothing could be "
		    "verified; write system or PEM files",
		    o->key);
	for (i = 0; i < count; i++) {
		if (item[i]->kind == NODE_MAP)
			add_dated(r, item[i], out);
		else if (!conf_scalar(r, item[i], "system or a PEM file"))
			continue;
		else if (strcmp(item[i]->text.p, "system") == 0)
			out->system = true;
		else
			add_file(r, item[i], &out->files);
	}
}

static void
read_addrs(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct conf_addrs *out = member;
	const struct node **item;
	unsigned i, count = conf_node_items(r, n, &item);

	(void)o;
	out->v = arena_zalloc(r->keep, (count + 1) * sizeof(*out->v));
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "an address"))
			continue;
		if (conf_value_addr(item[i]->text.p, 53, &out->v[out->n]) &&
		    address_port(&out->v[out->n].sa) != 0)
			out->n++;
		else
			conf_problem(r, item[i],
			    "%s is no address; write "
			    "'192.0.2.53' or '[2001:db8::53]:53'",
			    conf_node_name(r, item[i]));
	}
}

/* ---- which function reads which type ---- */

typedef void read_fn(struct conf_reader *, const struct conf_option *,
    const struct node *, void *member);

static void
read_match(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	conf_read_match(r, o, n, member);
}

static void
read_chains(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	(void)o;
	conf_read_chains(r, n, member);
}

static void
read_scan(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	(void)o;
	conf_read_scan(r, n,
	    CONTAINER_OF(member, struct policy_rule, scan_req));
}

static void
read_reserved(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	(void)member;
	if (conf_reserved_default(o, n))
		return;
	if (o->dflt == NULL || strcmp(o->dflt, "{}") == 0)
		conf_problem(r, n->key,
		    "'%s' is not supported in this "
		    "version; leave it out",
		    o->key);
	else
		conf_problem(r, n->key,
		    "'%s' is not supported in this "
		    "version; leave it out or write %s",
		    o->key, o->dflt);
}

static read_fn *const readers[TYPE_COUNT_OF] = {
	[TYPE_TEXT] = read_text,
	[TYPE_FILE] = read_file,
	[TYPE_PATH] = read_path,
	[TYPE_SECRET] = read_secret,
	[TYPE_ENUM] = read_enum,
	[TYPE_COUNT] = read_count,
	[TYPE_SIZE] = read_size,
	[TYPE_MEMORY] = read_memory,
	[TYPE_TIME] = read_time,
	[TYPE_NETS] = read_nets,
	[TYPE_PORTS] = read_ports,
	[TYPE_TRUST] = read_trust,
	[TYPE_ROOTS] = read_roots,
	[TYPE_FILES] = read_files,
	[TYPE_ADDRS] = read_addrs,
	[TYPE_HEADERS] = conf_read_headers,
	[TYPE_SHARE] = conf_read_share,
	[TYPE_GAPS] = conf_read_gaps,
	[TYPE_ON] = conf_read_on,
	[TYPE_URL] = conf_read_url,
	[TYPE_LOG_TO] = conf_read_log_to,
	[TYPE_PROXIES] = conf_read_proxies,
	[TYPE_ROUTE] = conf_read_route,
	[TYPE_BLOCKS] = conf_read_blocks,
	[TYPE_MARK] = conf_read_mark,
	[TYPE_DSCP] = conf_read_dscp,
	[TYPE_HOSTS] = conf_read_hosts,
	[TYPE_METHODS] = conf_read_methods,
	[TYPE_PROTOCOLS] = conf_read_protocols,
	[TYPE_TYPES] = conf_read_types,
	[TYPE_SIZES] = conf_read_sizes,
	[TYPE_URLS] = conf_read_urls,
	[TYPE_LISTENERS] = conf_read_listeners,
	[TYPE_TIMES] = conf_read_times,
	[TYPE_IN] = conf_read_in,
	[TYPE_MATCH] = read_match,
	[TYPE_SCAN] = read_scan,
	[TYPE_CHAINS] = read_chains,
	[TYPE_RESERVED] = read_reserved,
};

void
conf_read_type(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	assert(readers[o->type] != NULL);
	readers[o->type](r, o, n, member);
}
