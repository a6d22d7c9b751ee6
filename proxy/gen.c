/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Generations, see gen.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "config.h"
#include "base/handed.h"
#include "proxy/gen_priv.h"
#include "proxy/inbox.h"
#include "proxy/logs.h"
#include "proxy/problem.h"
#include "proxy/audit/log.h"
#include "tls/peer.h"

#define VERDICTS_MAX 8192 /* origin chains remembered */

/* The CA and what hangs on it. */

static void
gen_ca(struct gen *g, const struct gen_given *given, bool dry,
    struct conf_problems *list)
{
	char cert[1024], key[1024];
	struct fault f = { 0 };
	struct ca_options o = { .leaf_days = (unsigned)g->conf->ca.leaf_days };

	o.create = gen_ca_files(g->conf, cert, key);
	o.cert = o.create ? cert : g->conf->ca.cert;
	o.key = o.create ? key : g->conf->ca.key;
	if (given != NULL) {
		o.holder = given->holder;
		o.created = given->ca_created;
	}
	if (dry && o.create && access(cert, F_OK) != 0)
		return; /* would be made at the start */
	g->ca = ca_open(&o, &f);
	if (g->ca == NULL)
		problem_fault(list, "ca", &f);
	else if (given != NULL)
		g->leaves = leaf_cache_new(g->ca,
		    (unsigned)g->conf->limits.leaf_cache, given->pools->crypto);
}

bool
gen_ca_files(const struct conf *c, char cert[1024], char key[1024])
{
	(void)snprintf(cert, 1024, "%s/ca.pem", c->state);
	(void)snprintf(key, 1024, "%s/ca.key", c->state);
	return (c->ca.cert == NULL);
}

/* "system" first if it is wanted; the caller frees the list. */
static const char **
file_list(bool system, const struct policy_strings *files)
{
	const char **out = calloc(files->n + 2, sizeof(*out));
	unsigned i, n = 0;

	if (out == NULL)
		abort();
	if (system)
		out[n++] = "system";
	for (i = 0; i < files->n; i++)
		out[n++] = files->v[i];
	return (out);
}

static bool
ask_ct(struct trust *trust, const struct conf_trust *t, const char *logs,
    struct fault *f)
{
	const char **files = calloc(t->dated_n + 1, sizeof(*files));
	unsigned i, n = 0;
	bool ok;

	if (files == NULL)
		abort();
	for (i = 0; i < t->dated_n; i++)
		if (t->dated[i].is_public)
			files[n++] = t->dated[i].file;
	ok = trust_ask_ct(trust, logs, files, t->system, f);
	free(files);
	return (ok);
}

/* NULL: f says why. */
static struct trust *
trust_of(const struct conf_tls *t, struct ca *own, struct fault *f)
{
	const char **files = file_list(t->origin.trust.system,
	    &t->origin.trust.files);
	const char **crls = file_list(false, &t->origin.crl);
	struct trust *trust = trust_open(files, crls, own, f);
	unsigned i;

	for (i = 0; trust != NULL && i < t->origin.blocked_keys.n; i++)
		if (!trust_block_keys(trust, t->origin.blocked_keys.v[i], f))
			trust_unref(&trust);
	for (i = 0; trust != NULL && i < t->origin.trust.dated_n; i++)
		if (t->origin.trust.dated[i].not_after != 0 &&
		    !trust_until(trust, t->origin.trust.dated[i].file,
			(time_t)t->origin.trust.dated[i].not_after, f))
			trust_unref(&trust);
	if (trust != NULL && t->origin.ct != CT_OFF &&
	    !ask_ct(trust, &t->origin.trust, t->origin.ct_logs, f))
		trust_unref(&trust);
	free(files);
	free(crls);
	return (trust);
}

static void
gen_trust(struct gen *g, const struct gen_given *given,
    struct conf_problems *list)
{
	const struct conf_tls *t = &g->conf->tls;
	struct fault f = { 0 };
	struct verify_options v = { .own = g->ca,
		.max_entries = VERDICTS_MAX,
		.pool = given != NULL ? given->pools->crypto : NULL };

	g->trust = trust_of(t, g->ca, &f);
	if (g->trust == NULL) {
		problem_fault(list, "tls.origin", &f);
		return;
	}
	v.trust = g->trust;
	v.revocation = t->origin.revocation;
	v.ct = t->origin.ct;
	if (given != NULL && t->origin.fetch_issuers == CONF_TRUE)
		v.issuers = given->issuers;
	if (given != NULL && v.revocation != REVOCATION_OFF)
		v.statuses = given->statuses;
	g->verifier = verifier_new(&v);
}

static void
gen_tls(struct gen *g, struct conf_problems *list)
{
	char epoch[384];
	struct fault f = { 0 };
	struct tls_options o = { .epoch = epoch,
		.client_min_13 = g->conf->tls.client.min == CONF_TLS_1_3,
		.origin_min_13 = g->conf->tls.origin.min == CONF_TLS_1_3,
		.client_priority = g->conf->tls.client.priority,
		.origin_priority = g->conf->tls.origin.priority };

	/*
	 * What a session once agreed on holds until this is another.  Rules and
	 * origins are asked for each connection and request, resumed or not.
	 */
	snprintf(epoch, sizeof(epoch), "%s %d %s",
	    g->ca != NULL ? ca_fingerprint(g->ca) : "", o.client_min_13,
	    o.client_priority != NULL ? o.client_priority : "");
	g->tls = tls_context_new(&o, &f);
	if (g->tls == NULL)
		problem_fault(list, "tls", &f);
}

static void
gen_names(struct gen *g, struct conf_problems *list)
{
	const struct conf_resolver *r = &g->conf->resolver;
	struct fault f = { 0 };
	struct buf text = { 0 }; /* the generation's */
	char one[ADDRESS_TEXT];
	unsigned i;

	for (i = 0; i < r->servers.n; i++) {
		address_text(&r->servers.v[i].sa, one);
		buf_printf(&text, "%s%s", i > 0 ? "," : "", one);
	}
	g->servers = text.p;
	g->hosts = hosts_load(r->hosts != NULL &&
		    (handed_has(r->hosts) || access(r->hosts, F_OK) == 0)
		? r->hosts
		: NULL,
	    &f);
	if (g->hosts == NULL)
		problem_fault(list, "resolver.hosts", &f);
}

/* Services. */

static bool
has_database(const char *dir)
{
	static const char *const ends[] = { "main.cvd", "main.cld", "daily.cvd",
		"daily.cld", "bytecode.cvd", "local.ndb" };
	char path[1200];
	unsigned i;

	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, ends[i]);
		if (access(path, R_OK) == 0)
			return (true);
	}
	return (false);
}

/* Beside the program: a build tree, or a folder in the source tree. */
static bool
beside_program(const char *rest, char *out, size_t n)
{
	char exe[1024];
	ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (len <= 0)
		return (false);
	exe[len] = '\0';
	snprintf(out, n, "%s/%s", dirname(exe), rest);
	return (access(out, R_OK) == 0);
}

/* interface 2: the system's database, else the small one we ship. */
static char *
default_database(void)
{
	char path[1200];

	if (has_database("/var/lib/clamav"))
		return (strdup("/var/lib/clamav"));
	if (access(PKGDATADIR "/testdb", R_OK) == 0)
		return (strdup(PKGDATADIR "/testdb"));
	if (beside_program("etc/testdb", path, sizeof(path)) ||
	    beside_program("../etc/testdb", path, sizeof(path)))
		return (strdup(path));
	return (strdup("/var/lib/clamav"));
}

char *
gen_database(const struct conf_service *s)
{
	return (s->database != NULL ? strdup(s->database) : default_database());
}

/* It makes a folder for each scan: in memory that costs a third. */
const char *
gen_scan_folder(const char *temp_dir)
{
	return (access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : temp_dir);
}

static bool
is_clam(const struct conf *c, unsigned i)
{
	return (c->services.v[i].used && c->services.v[i].type == CONF_CLAMAV);
}

bool
gen_clam_in_processes(const struct conf *c, unsigned i)
{
	return (is_clam(c, i) &&
	    c->services.v[i].isolation != CONF_ISOLATION_THREAD);
}

struct clam_options
gen_clam_options(const struct conf *c, unsigned i, char **db)
{
	const struct conf_service *s = &c->services.v[i];

	*db = gen_database(s);
	return ((struct clam_options){ .db_dir = *db,
	    .threads = s->threads == CONF_AUTO ? 0 : (unsigned)s->threads,
	    .scan_size = s->limits.scan_size,
	    .files = (uint32_t)s->limits.files,
	    .recursion = (uint32_t)s->limits.recursion,
	    .time_ms = (uint32_t)s->limits.time_ms,
	    .temp = c->limits.temp > 0 ? c->limits.temp : 1,
	    .in_threads = s->isolation == CONF_ISOLATION_THREAD,
	    .sandbox = c->sandbox });
}

/* The engine of the same masters, of this generation or the one before. */
static struct clam_engine *
same_masters(const struct gen *g, uint32_t number)
{
	unsigned i;

	for (i = 0; g != NULL && i < g->conf->services.n; i++)
		if (g->services[i].clam != NULL &&
		    clam_engine_number(g->services[i].clam) == number)
			return (clam_engine_ref(g->services[i].clam));
	return (NULL);
}

static struct clam_engine *
same_threads(const struct gen *old, unsigned i, const struct conf *c,
    const char *database)
{
	const struct conf_service *was, *s = &c->services.v[i];

	if (old == NULL || i >= old->conf->services.n ||
	    old->services[i].clam == NULL)
		return (NULL);
	was = &old->conf->services.v[i];
	if (strcmp(old->services[i].database, database) == 0 &&
	    was->threads == s->threads && was->isolation == s->isolation &&
	    old->conf->limits.temp == c->limits.temp &&
	    memcmp(&was->limits, &s->limits, sizeof(s->limits)) == 0)
		return (clam_engine_ref(old->services[i].clam));
	return (NULL);
}

static void
clam_report(void *arg, const char *line)
{
	(void)arg;
	log_line(LEVEL_NOTICE, "scan", "%s", line);
}

/* The supervisor has the masters; here is a socket to them. */
static struct clam_engine *
clam_by_door(struct gen *g, unsigned i, const struct gen_given *given,
    const struct gen *old, struct clam_options *o, struct fault *f)
{
	struct clam_door door = { .want = given->want_scans };
	struct clam_engine *e;

	if (!inbox_take_scans(given->inbox, i, &door.number, &door.fd)) {
		fault_set(f, ERR_SYSTEM, "no scan master");
		return (NULL);
	}
	if ((e = same_masters(g, door.number)) != NULL ||
	    (e = same_masters(old, door.number)) != NULL) {
		if (door.fd >= 0 && !clam_deliver(door.number, door.fd))
			(void)close(door.fd);
		return (e);
	}
	o->door = &door;
	return (clam_engine_open(o, f));
}

static void
gen_clam(struct gen *g, unsigned i, const struct gen_given *given,
    struct gen *old, struct conf_problems *list)
{
	struct gen_service *out = &g->services[i];
	struct fault f = { 0 };
	struct clam_options o = gen_clam_options(g->conf, i, &out->database);

	o.report = clam_report;
	o.temp_dir = gen_scan_folder(g->temp_dir);
	if (!o.in_threads)
		out->clam = clam_by_door(g, i, given, old, &o, &f);
	else if ((out->clam = same_threads(old, i, g->conf, out->database)) ==
	    NULL)
		out->clam = clam_engine_open(&o, &f);
	if (out->clam == NULL)
		problem_add(list, false, "service %s: %s%s%s",
		    g->conf->services.v[i].name, out->database,
		    f.detail[0] != '\0' ? ": " : "", f.detail);
}

static void
gen_icap(struct gen *g, unsigned i, struct conf_problems *list)
{
	const struct conf_service *s = &g->conf->services.v[i];
	struct gen_service *out = &g->services[i];
	struct tls_peer_options o = { .system = s->tls.trust.system,
		.files = s->tls.trust.files.v,
		.n_files = s->tls.trust.files.n,
		.cert = s->tls.cert,
		.key = s->tls.key,
		.name = s->tls.name };
	struct fault f = { 0 };
	bool tls = false;
	unsigned k;

	out->shared = calloc(1, sizeof(*out->shared));
	for (k = 0; k < s->url.n; k++)
		tls |= s->url.v[k].tls;
	if (tls && (out->icaps = tls_peer_new(&o, &f)) == NULL)
		problem_add(list, false, "service %s: tls: %s", s->name,
		    f.detail);
}

static void
gen_services(struct gen *g, struct conf_problems *list)
{
	unsigned i;

	g->services = calloc(g->conf->services.n + 1, sizeof(*g->services));
	for (i = 0; i < g->conf->services.n; i++)
		if (g->conf->services.v[i].used &&
		    g->conf->services.v[i].type == CONF_ICAP)
			gen_icap(g, i, list);
}

static void
gen_scanners(struct gen *g, const struct gen_given *given, struct gen *old,
    struct conf_problems *list)
{
	unsigned i;

	for (i = 0; i < g->conf->services.n; i++)
		if (is_clam(g->conf, i) &&
		    (given != NULL || !gen_clam_in_processes(g->conf, i)))
			gen_clam(g, i, given, old, list);
}

/* Logs, limits, texts. */

static void
gen_audit(struct gen *g, const int *logs, struct conf_problems *list)
{
	const struct conf_log *l = &g->conf->log;
	struct audit_target *t = calloc(l->access.n + 1, sizeof(*t));
	struct fault f = { 0 };
	unsigned i;

	for (i = 0; i < l->access.n; i++)
		t[i] = (struct audit_target){ logs_name(&l->access.v[i]),
			l->access.v[i].format, logs[i] };
	g->audit = audit_new(t, l->access.n, &l->privacy, &f);
	if (g->audit == NULL)
		problem_fault(list, "log.access", &f);
	free(t);
}

static void
gen_limits(struct gen *g)
{
	const struct conf_limits *l = &g->conf->limits;

	g->store = (struct body_store){ .temp_dir = g->temp_dir,
		.window = l->body_memory };
	g->client_limits = (struct h1_limits){ l->request_line, l->header,
		l->field, (unsigned)l->fields };
	g->origin_limits = (struct h1_limits){ l->request_line,
		l->origin_header, l->origin_header, (unsigned)(2 * l->fields) };
}

static void
fingerprint_text(const char *hex, char *out, size_t n)
{
	size_t i, at = 0;

	for (i = 0; hex[i] != '\0' && at + 3 < n; i++) {
		if (i > 0 && i % 2 == 0)
			out[at++] = ':';
		out[at++] = hex[i] >= 'a' ? (char)(hex[i] - 32) : hex[i];
	}
	out[at] = '\0';
}

static void
gen_texts(struct gen *g)
{
	const struct conf *c = g->conf;
	const struct conf_listen *l = &c->listen.v[0];
	char host[200];

	if (gethostname(host, sizeof(host)) != 0)
		snprintf(host, sizeof(host), "localhost");
	host[sizeof(host) - 1] = '\0';
	/* A name of its own for each proxy, so that loops are seen (RFC 9110 7.6.3). */
	snprintf(g->pseudonym, sizeof(g->pseudonym), "assay-%.8s",
	    g->ca != NULL ? ca_fingerprint(g->ca) : "00000000");
	snprintf(g->proxy_name, sizeof(g->proxy_name), "%s",
	    l->on[0] == ':' ? host : "");
	snprintf(g->proxy_name + strlen(g->proxy_name),
	    sizeof(g->proxy_name) - strlen(g->proxy_name), "%s", l->on);
	g->internal = (struct internal_facts){ .host = str_of(c->pages.host),
		.proxy = str_of(g->proxy_name),
		.version = STR(PACKAGE_VERSION),
		.org = str_of(c->pages.org),
		.help = str_of(c->pages.help) };
	if (g->ca == NULL)
		return;
	fingerprint_text(ca_fingerprint(g->ca), g->fingerprint,
	    sizeof(g->fingerprint));
	g->internal.ca_pem = ca_pem(g->ca);
	g->internal.ca_name = str_of(ca_name(g->ca));
	g->internal.ca_sha256 = str_of(g->fingerprint);
	g->internal.ca_not_after = (int64_t)ca_not_after(g->ca);
}

/* Its keys name settings and signatures: what is still true stays. */
static void
gen_verdicts(struct gen *g, struct gen *old)
{
	uint64_t n = g->conf->limits.verdict_cache;

	if (old != NULL && old->verdicts != NULL &&
	    verdict_cache_bytes(old->verdicts) == n)
		g->verdicts = verdict_cache_ref(old->verdicts);
	else
		g->verdicts = verdict_cache_new(n);
}

static void
gen_read(struct gen *g, const struct gen_given *given, bool dry,
    struct conf_problems *list)
{
	gen_limits(g);
	if (given != NULL)
		g->store.io = given->pools->files;
	gen_ca(g, given, dry, list);
	gen_trust(g, given, list);
	gen_tls(g, list);
	gen_names(g, list);
	gen_services(g, list);
	gen_upstreams(g, list);
	gen_texts(g);
}

struct gen *
gen_new(struct conf *conf, unsigned number, const struct gen_given *given,
    struct conf_problems *list)
{
	struct gen *g = calloc(1, sizeof(*g));
	bool dry = given == NULL;

	if (g == NULL)
		abort();
	atomic_init(&g->refs, 1);
	g->number = number;
	g->conf = conf_ref(conf);
	/* A check writes nothing into the state folder. */
	snprintf(g->temp_dir, sizeof(g->temp_dir), dry ? "%.0s/tmp" : "%s/tmp",
	    conf->state);
	gen_read(g, given, dry, list);
	return (g);
}

bool
gen_start(struct gen *g, const struct gen_given *given, const int *logs,
    struct gen *old, struct conf_problems *list)
{
	unsigned i;

	gen_lists(g, old, list);
	gen_scanners(g, given, old, list);
	if (logs != NULL && list->errors == 0) {
		gen_audit(g, logs, list);
		gen_verdicts(g, old);
	} else if (logs != NULL)
		for (i = 0; i < g->conf->log.access.n; i++)
			(void)close(logs[i]);
	return (list->errors == 0);
}

struct gen *
gen_ref(struct gen *g)
{
	atomic_fetch_add(&g->refs, 1);
	return (g);
}

static void
gen_services_free(struct gen *g)
{
	unsigned i;

	for (i = 0; g->services != NULL && i < g->conf->services.n; i++) {
		clam_engine_unref(&g->services[i].clam);
		tls_peer_free(&g->services[i].icaps);
		free(g->services[i].shared);
		free(g->services[i].database);
	}
	free(g->services);
}

void
gen_unref(struct gen **gp)
{
	struct gen *g = *gp;

	*gp = NULL;
	if (g == NULL || atomic_fetch_sub(&g->refs, 1) > 1)
		return;
	gen_services_free(g);
	gen_upstreams_free(g);
	audit_free(&g->audit);
	verdict_cache_unref(&g->verdicts);
	verifier_free(&g->verifier);
	trust_unref(&g->trust);
	leaf_cache_free(&g->leaves);
	ca_unref(&g->ca);
	tls_context_free(&g->tls);
	hosts_unref(&g->hosts);
	free(g->servers);
	conf_unref(&g->conf);
	free(g);
}

static void
report_service(const struct gen *g, unsigned i)
{
	const struct conf_service *s = &g->conf->services.v[i];
	const struct gen_service *x = &g->services[i];
	struct clam_info info;

	if (s->type == CONF_ICAP) {
		log_line(LEVEL_NOTICE, "scan", "%s: %s%s", s->name,
		    s->url.v[0].text, s->url.n > 1 ? " and more" : "");
		return;
	}
	if (x->clam == NULL)
		return;
	clam_engine_info(x->clam, &info);
	if (info.library == NULL) {
		log_line(LEVEL_WARNING, "scan", "%s: %s, no scan master yet",
		    s->name, x->database);
		return;
	}
	log_line(LEVEL_NOTICE, "scan",
	    "%s: libclamav %s, %u signatures from %s%s%s", s->name,
	    info.library, info.signatures, x->database,
	    s->isolation == CONF_ISOLATION_THREAD
		? ", inside this process (isolation: thread)"
		: "",
	    strstr(x->database, "testdb") != NULL
		? " (test database: run freshclam for real protection)"
		: "");
}

void
gen_report(const struct gen *g)
{
	unsigned i;

	log_line(LEVEL_NOTICE, "ca", "%s%s, SHA-256 %s",
	    ca_was_created(g->ca) ? "created " : "",
	    g->conf->ca.cert != NULL ? g->conf->ca.cert : g->conf->state,
	    g->fingerprint);
	gen_lists_report(g);
	gen_upstreams_report(g);
	for (i = 0; i < g->conf->services.n; i++)
		if (g->conf->services.v[i].used)
			report_service(g, i);
	if (g->conf->services.n == 0)
		log_line(LEVEL_WARNING, "scan", "nothing is scanned");
}
