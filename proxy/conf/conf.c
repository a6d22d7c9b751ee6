/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A generation of the configuration: load, count, and what is asked of it on
 * every connection.  See conf.h; conf_priv.h names the parts.
 * Room: proxy.
 */
#include "config.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "proxy/conf/conf_priv.h"

#define FILE_MAX (8 * 1024 * 1024) /* bytes of a configuration */

_Static_assert(sizeof(enum conf_mode) == sizeof(int),
    "enums are written as int by conf_type.c");

/* ---- loading ---- */

char *
conf_default_state_dir(void)
{
	const char *systemd = getenv("STATE_DIRECTORY");
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char *dir = NULL;
	int r = 0;

	if (systemd != NULL && systemd[0] == '/')
		r = asprintf(&dir, "%.*s", (int)strcspn(systemd, ":"), systemd);
	else if (geteuid() == 0)
		r = asprintf(&dir, "/var/lib/assay");
	else if (xdg != NULL && xdg[0] == '/')
		r = asprintf(&dir, "%s/assay", xdg);
	else if (home != NULL && home[0] == '/')
		r = asprintf(&dir, "%s/.local/state/assay", home);
	if (r < 0)
		abort();
	return (dir);
}

const char *
conf_default_file(void)
{
	return (SYSCONFDIR "/assay/assay.conf");
}

static struct conf *
conf_new(const char *name)
{
	struct arena *a = arena_new();
	struct conf *conf = arena_zalloc(a, sizeof(*conf));
	char *state = conf_default_state_dir();

	atomic_init(&conf->refs, 1);
	conf->arena = a;
	conf->file = arena_cstr(a, name);
	if (state != NULL)
		conf->state = arena_cstr(a, state);
	free(state);
	return (conf);
}

static void
reader_init(struct conf_reader *r, struct conf *conf,
    struct conf_problems *problems)
{
	const char *slash = strrchr(conf->file, '/');

	memset(r, 0, sizeof(*r));
	r->conf = conf;
	r->keep = conf->arena;
	r->nodes = arena_new();
	r->problems = problems;
	if (slash != NULL)
		r->dir = (struct str){ conf->file,
			slash == conf->file ? 1
					    : (size_t)(slash - conf->file) };
}

static struct conf *
parse(const char *name, const char *text, size_t n, bool known,
    struct conf_problems *problems)
{
	struct conf *conf = conf_new(name);
	struct conf_reader r;
	struct node *root;
	unsigned before = problems->errors;

	reader_init(&r, conf, problems);
	r.known = known;
	root = conf_yaml_parse(&r, (struct str){ text, n });
	if (root != NULL)
		conf_read_section(&r, SECTION_ROOT, root, conf);
	conf->start_only = arena_str(r.keep, buf_as_str(&r.start_only)).p;
	buf_fini(&r.start_only);
	arena_free(&r.nodes);
	conf_problems_sort(problems);
	if (problems->errors > before)
		conf_unref(&conf);
	return (conf);
}

struct conf *
conf_parse(const char *name, const char *text, size_t n,
    struct conf_problems *problems)
{
	return (parse(name, text, n, false, problems));
}

struct conf *
conf_parse_known(const char *name, const char *text, size_t n,
    struct conf_problems *problems)
{
	return (parse(name, text, n, true, problems));
}

static void
file_problem(struct conf_problems *problems, const char *what)
{
	struct conf_reader r = { .problems = problems };

	conf_problem(&r, NULL, "%s", what);
}

bool
conf_slurp(const char *path, struct buf *out, struct conf_problems *problems)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0 || S_ISDIR(st.st_mode)) {
		file_problem(problems,
		    fd < 0 ? strerror(errno) : "is a folder; a file is wanted");
		if (fd >= 0)
			close(fd);
		return (false);
	}
	while (out->n <= FILE_MAX &&
	    (n = read(fd, buf_room(out, 65536), 65536)) > 0)
		out->n += (size_t)n;
	close(fd);
	if (n < 0)
		file_problem(problems, strerror(errno));
	else if (out->n > FILE_MAX)
		file_problem(problems,
		    "is larger than 8 MB; this is no "
		    "configuration");
	return (n >= 0 && out->n <= FILE_MAX);
}

struct conf *
conf_load(const char *path, struct conf_problems *problems)
{
	struct buf text = { 0 };
	struct conf *conf = NULL;

	if (path == NULL)
		return (conf_parse("", "", 0, problems));
	if (conf_slurp(path, &text, problems))
		conf = conf_parse(path, text.n > 0 ? text.p : "", text.n,
		    problems);
	buf_fini(&text);
	return (conf);
}

bool
conf_set_listen(struct conf *conf, const char *on, char why[NETS_WHY])
{
	struct conf_listen *l = arena_zalloc(conf->arena, sizeof(*l));

	assert(atomic_load(&conf->refs) == 1);
	if (!conf_listen_parse(on, l, why))
		return (false);
	l->on = l->name = arena_cstr(conf->arena, on);
	conf->listen = (struct conf_listens){ l, 1 };
	return (true);
}

struct conf *
conf_ref(struct conf *conf)
{
	atomic_fetch_add_explicit(&conf->refs, 1, memory_order_relaxed);
	return (conf);
}

void
conf_unref(struct conf **c)
{
	struct conf *conf = *c;
	struct arena *a;
	unsigned i;

	*c = NULL;
	if (conf == NULL ||
	    atomic_fetch_sub_explicit(&conf->refs, 1, memory_order_acq_rel) !=
		1)
		return;
	for (i = 0; i < conf->policy.rules.n; i++)
		conf_match_fini(conf->policy.rules.v[i].when);
	policy_lists_fini(&conf->policy);
	a = conf->arena;
	arena_free(&a);
}

/*
 * The records of start_only, kind and "path\nvalue", end with an empty one.
 */
static bool
has_record(const char *records, const char *record)
{
	for (; *records != '\0'; records += strlen(records) + 1)
		if (strcmp(records, record) == 0)
			return (true);
	return (false);
}

/* The setting of the file itself that a record belongs to. */
static const char *
setting_of(const char *record)
{
	size_t n = strcspn(record, ".[\n");
	unsigned i;

	for (i = 0; i < conf_noptions; i++)
		if (conf_options[i].section == SECTION_ROOT &&
		    strlen(conf_options[i].key) == n &&
		    memcmp(conf_options[i].key, record, n) == 0)
			return (conf_options[i].key);
	return (NULL);
}

/* Add a name, once. */
static void
name_setting(struct buf *out, const char *record)
{
	const char *name = setting_of(record + 1);
	char quoted[80];

	if (name == NULL)
		return;
	(void)snprintf(quoted, sizeof(quoted), "'%s'", name);
	if (out->n > 0 &&
	    memmem(out->p, out->n, quoted, strlen(quoted)) != NULL)
		return;
	buf_printf(out, "%s%s", out->n > 0 ? ", " : "", quoted);
}

/* The names of those of a kind that have another record, or none. */
static void
name_others(const struct conf *a, const struct conf *b, char kind,
    struct buf *out)
{
	const char *r;

	for (r = a->start_only; *r != '\0'; r += strlen(r) + 1)
		if (*r == kind && !has_record(b->start_only, r))
			name_setting(out, r);
}

void
conf_needs_restart(const struct conf *old, const struct conf *new,
    struct buf *out)
{
	name_others(old, new, CONF_OF_START, out);
	name_others(new, old, CONF_OF_START, out);
}

void
conf_needs_process(const struct conf *old, const struct conf *new,
    struct buf *out)
{
	name_others(old, new, CONF_OF_PROCESS, out);
	name_others(new, old, CONF_OF_PROCESS, out);
}

/* ---- asking ---- */

enum err
conf_dest_check(const struct conf *conf, const struct sockaddr *sa,
    struct fault *f)
{
	const struct conf_dest *d = &conf->destinations;

	return (nets_judge(&d->deny, &d->allow, sa, f));
}

enum err
conf_port_check(const struct conf *conf, bool connect, uint16_t port,
    struct fault *f)
{
	const struct policy_spans *p = connect
	    ? &conf->destinations.ports.connect
	    : &conf->destinations.ports.http;
	unsigned i;

	for (i = 0; i < p->n; i++)
		if (port >= p->v[i].lo && port <= p->v[i].hi)
			return (ERR_NONE);
	return (fault_set(f, ERR_PORT_DENIED,
	    "port %u is not among "
	    "destinations.ports.%s",
	    port, connect ? "connect" : "http"));
}

const struct conf_upstream *
conf_route(const struct conf *conf, unsigned route)
{
	assert(route <= conf->upstreams.n + conf->out.n);
	return (route != POLICY_DIRECT && route <= conf->upstreams.n
		? &conf->upstreams.v[route - 1]
		: NULL);
}

const struct conf_out *
conf_out(const struct conf *conf, unsigned route)
{
	assert(route <= conf->upstreams.n + conf->out.n);
	return (route > conf->upstreams.n
		? &conf->out.v[route - conf->upstreams.n - 1]
		: NULL);
}

uint32_t
conf_out_slot(const struct conf *conf, unsigned route,
    const struct sockaddr *client)
{
	const struct conf_out *out = conf_out(conf, route);

	return (out != NULL ? egress_slot(&out->from, client) : 0);
}

/* The first exception that the host is of; NULL: none. */
static const struct conf_exception *
exception_of(const struct conf *conf, struct str host, bool is_ip)
{
	const struct conf_exceptions *e = &conf->tls.origin.exceptions;
	struct policy_host_key key;
	unsigned i;

	if (e->n == 0)
		return (NULL);
	policy_host_key(&key, host, is_ip);
	for (i = 0; i < e->n; i++)
		if (policy_hosts_match(&e->v[i].host, &key))
			return (&e->v[i]);
	return (NULL);
}

bool
conf_origin_legacy(const struct conf *conf, struct str host, bool is_ip)
{
	const struct conf_exception *e = exception_of(conf, host, is_ip);

	return (e != NULL && e->legacy == CONF_TRUE);
}

bool
conf_origin_http2(const struct conf *conf, struct str host, bool is_ip)
{
	const struct conf_exception *e = exception_of(conf, host, is_ip);

	return (conf->tls.origin.http2 == CONF_TRUE &&
	    (e == NULL || e->http2 == CONF_TRUE));
}

enum err
conf_client_check(const struct conf *conf, const struct sockaddr *sa,
    struct fault *f)
{
	char room[INET6_ADDRSTRLEN];
	struct nets_addr a;

	if (!nets_addr_of(sa, &a))
		return (fault_set(f, ERR_CLIENT_DENIED, "no IP address"));
	if (nets_find(&conf->clients, &a, NETS_PLAIN) != NULL)
		return (ERR_NONE);
	return (fault_set(f, ERR_CLIENT_DENIED, "%s is not among clients",
	    nets_addr_text(&a, room)));
}

const char *
conf_kind_name(enum conf_kind kind)
{
	static const char *const names[] = { [CONF_EXPLICIT] = "explicit",
		[CONF_REDIRECT] = "redirect",
		[CONF_TPROXY] = "tproxy" };

	return (names[kind]);
}
