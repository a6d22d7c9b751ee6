/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Generations, see gen.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "config.h"
#include "certs/keyholder.h"
#include "proxy/gen.h"
#include "proxy/audit/log.h"
#include "tls/peer.h"

#define VERDICTS_MAX 8192 /* origin chains remembered */

static void problem(struct conf_problems *, bool warning, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void
problem(struct conf_problems *list, bool warning, const char *fmt, ...)
{
	struct buf text = { 0 };
	char line[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	buf_cstr(&text, line);
	if (list->n == list->cap) {
		list->cap = list->cap > 0 ? 2 * list->cap : 8;
		list->v = realloc(list->v, list->cap * sizeof(*list->v));
		if (list->v == NULL)
			abort();
	}
	list->v[list->n++] = (struct conf_problem){ .warning = warning,
		.text = text.p };
	if (!warning)
		list->errors++;
}

static void
problem_fault(struct conf_problems *list, const char *area,
    const struct fault *f)
{
	problem(list, false, "%s: %s%s%s", area, err_info(f->code)->text,
	    f->detail[0] != '\0' ? ": " : "", f->detail);
}

/* Folders. */

static bool
make_folder(const char *path, struct conf_problems *list)
{
	struct stat st;

	if (mkdir(path, 0700) != 0 && errno != EEXIST) {
		problem(list, false, "state folder %s: %s", path,
		    strerror(errno));
		return (false);
	}
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode) ||
	    access(path, W_OK | X_OK) != 0) {
		problem(list, false, "state folder %s: not a writable folder",
		    path);
		return (false);
	}
	return (true);
}

static bool
make_parents(const char *path)
{
	char part[1024];
	char *p;

	snprintf(part, sizeof(part), "%s", path);
	for (p = part + 1; *p != '\0'; p++)
		if (*p == '/') {
			*p = '\0';
			if (mkdir(part, 0755) != 0 && errno != EEXIST)
				return (false);
			*p = '/';
		}
	return (true);
}

static void
gen_folders(struct gen *g, struct conf_problems *list)
{
	if (!make_parents(g->conf->state))
		problem(list, false, "state folder %s: %s", g->conf->state,
		    strerror(errno));
	else if (make_folder(g->conf->state, list))
		(void)make_folder(g->temp_dir, list);
}

/* The CA and what hangs on it. */

static void
holder_news(const struct keyholder_news *n)
{
	static struct log_limit limit;

	if (n->up)
		log_line(LEVEL_NOTICE, "ca", "key holder: process %ld %s",
		    (long)n->pid, n->text);
	else
		(void)log_limited(&limit, LEVEL_ERROR, "ca",
		    "key holder: "
		    "process %ld %s; the next leaf starts another",
		    (long)n->pid, n->text);
}

static void
gen_ca(struct gen *g, const struct gen_pools *pools, struct gen *old, bool dry,
    struct conf_problems *list)
{
	const struct conf *c = g->conf;
	char cert[1024], key[1024];
	struct fault f = { 0 };
	struct ca_options o = { .cert = c->ca.cert,
		.key = c->ca.key,
		.leaf_days = (unsigned)c->ca.leaf_days,
		.news = holder_news };

	if (old == NULL)
		sandbox_set_mode(c->sandbox);
	snprintf(cert, sizeof(cert), "%s/ca.pem", c->state);
	snprintf(key, sizeof(key), "%s/ca.key", c->state);
	if (o.cert == NULL) {
		o.cert = cert;
		o.key = key;
		o.create = true;
		if (dry && access(cert, F_OK) != 0)
			return; /* would be made at the start */
	}
	g->ca = ca_open(&o, &f);
	if (g->ca == NULL)
		problem_fault(list, "ca", &f);
	else if (pools != NULL)
		g->leaves = leaf_cache_new(g->ca,
		    (unsigned)c->limits.leaf_cache, pools->crypto);
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

static void
gen_trust(struct gen *g, const struct gen_pools *pools,
    struct conf_problems *list)
{
	const struct conf_tls *t = &g->conf->tls;
	const char **files = file_list(t->origin.trust.system,
	    &t->origin.trust.files);
	const char **crls = file_list(false, &t->origin.crl);
	struct fault f = { 0 };
	struct verify_options v = { .own = g->ca,
		.max_entries = VERDICTS_MAX,
		.pool = pools != NULL ? pools->crypto : NULL };

	g->trust = trust_open(files, crls, g->ca, &f);
	free(files);
	free(crls);
	if (g->trust == NULL) {
		problem_fault(list, "tls.origin", &f);
		return;
	}
	v.trust = g->trust;
	v.revocation = t->origin.revocation;
	g->verifier = verifier_new(&v);
}

static void
gen_tls(struct gen *g, struct conf_problems *list)
{
	char epoch[160];
	struct fault f = { 0 };
	struct tls_options o = { .epoch = epoch,
		.client_min_13 = g->conf->tls.client.min == CONF_TLS_1_3,
		.origin_min_13 = g->conf->tls.origin.min == CONF_TLS_1_3,
		.client_priority = g->conf->tls.client.priority,
		.origin_priority = g->conf->tls.origin.priority };

	snprintf(epoch, sizeof(epoch), "%u %s", g->number,
	    g->ca != NULL ? ca_fingerprint(g->ca) : "");
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
	g->hosts = hosts_load(r->hosts != NULL && access(r->hosts, F_OK) == 0
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

static bool
same_clam(const struct gen *old, unsigned i, const struct conf_service *s,
    const char *database, uint64_t temp)
{
	const struct conf_service *was;

	if (old == NULL || i >= old->conf->services.n)
		return (false);
	was = &old->conf->services.v[i];
	return (old->services[i].clam != NULL &&
	    strcmp(old->services[i].database, database) == 0 &&
	    was->threads == s->threads && was->isolation == s->isolation &&
	    old->conf->limits.temp == temp &&
	    memcmp(&was->limits, &s->limits, sizeof(s->limits)) == 0);
}

static void
clam_report(void *arg, const char *line)
{
	(void)arg;
	log_line(LEVEL_NOTICE, "scan", "%s", line);
}

static void
gen_clam(struct gen *g, unsigned i, struct gen *old, struct conf_problems *list)
{
	const struct conf_service *s = &g->conf->services.v[i];
	struct gen_service *out = &g->services[i];
	struct fault f = { 0 };
	struct clam_options o = { .temp_dir = g->temp_dir,
		.threads = s->threads == CONF_AUTO ? 0 : (unsigned)s->threads,
		.scan_size = s->limits.scan_size,
		.files = (uint32_t)s->limits.files,
		.recursion = (uint32_t)s->limits.recursion,
		.time_ms = (uint32_t)s->limits.time_ms,
		.temp = g->conf->limits.temp > 0 ? g->conf->limits.temp : 1,
		.in_threads = s->isolation == CONF_ISOLATION_THREAD,
		.report = clam_report };

	/* libclamav makes a folder for each scan: in memory that costs a third. */
	if (access("/dev/shm", W_OK | X_OK) == 0)
		o.temp_dir = "/dev/shm";

	out->database = s->database != NULL ? strdup(s->database)
					    : default_database();
	o.db_dir = out->database;
	if (same_clam(old, i, s, out->database, g->conf->limits.temp))
		out->clam = clam_engine_ref(old->services[i].clam);
	else
		out->clam = clam_engine_open(&o, &f);
	if (out->clam == NULL)
		problem(list, false, "service %s: %s%s%s", s->name,
		    out->database, f.detail[0] != '\0' ? ": " : "", f.detail);
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
		problem(list, false, "service %s: tls: %s", s->name, f.detail);
}

static void
gen_services(struct gen *g, struct gen *old, struct conf_problems *list)
{
	unsigned i;

	g->services = calloc(g->conf->services.n + 1, sizeof(*g->services));
	for (i = 0; i < g->conf->services.n; i++)
		if (!g->conf->services.v[i].used)
			continue;
		else if (g->conf->services.v[i].type == CONF_CLAMAV)
			gen_clam(g, i, old, list);
		else
			gen_icap(g, i, list);
}

/* Logs, limits, texts. */

static void
gen_audit(struct gen *g, struct conf_problems *list)
{
	const struct conf_log *l = &g->conf->log;
	struct audit_target *t = calloc(l->access.n + 1, sizeof(*t));
	struct audit_privacy p = { .query = l->privacy.query == CONF_KEEP
		    ? AUDIT_KEEP_ALL
		    : AUDIT_KEEP_DROP,
		.user = l->privacy.user == CONF_KEEP ? AUDIT_KEEP_ALL
						     : AUDIT_KEEP_DROP,
		.client = l->privacy.client == CONF_KEEP ? AUDIT_KEEP_ALL
							 : AUDIT_KEEP_DROP };
	struct fault f = { 0 };
	unsigned i;

	for (i = 0; i < l->access.n; i++)
		t[i] = (struct audit_target){ l->access.v[i].file != NULL
			    ? l->access.v[i].file
			    : "stdout",
			l->access.v[i].format == CONF_SQUID ? AUDIT_SQUID
							    : AUDIT_JSON };
	g->audit = audit_new(t, l->access.n, &p, &f);
	if (g->audit == NULL)
		problem_fault(list, "log.access", &f);
	free(t);
}

/* Could it be opened?  Without making it. */
static void
check_log(const struct conf_log_to *to, struct conf_problems *list)
{
	const char *file = to->file;
	char folder[PATH_MAX];
	struct stat st;
	bool is_there = stat(file, &st) == 0, ok;
	int fd;

	snprintf(folder, sizeof(folder), "%s", file);
	if (!is_there)
		ok = errno == ENOENT &&
		    access(dirname(folder), W_OK | X_OK) == 0;
	else if (S_ISREG(st.st_mode))
		ok = access(file, W_OK) == 0;
	else { /* a device, a pipe that somebody must read */
		fd = open(file, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
		ok = fd >= 0;
		if (ok)
			close(fd);
	}
	if (ok)
		return;
	problem(list, false, "cannot write '%s': %s%s", file, strerror(errno),
	    errno == ENOENT ? "; make its folder, for the user that assayd "
			      "runs as"
			    : "");
	list->v[list->n - 1].line = to->line;
	list->v[list->n - 1].col = to->col;
}

static void
gen_check_logs(const struct gen *g, struct conf_problems *list)
{
	const struct conf_log_tos *to = &g->conf->log.access;
	unsigned i;

	for (i = 0; i < to->n; i++)
		if (to->v[i].file != NULL)
			check_log(&to->v[i], list);
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

struct gen *
gen_new(struct conf *conf, const struct gen_pools *pools, struct gen *old,
    bool dry, struct conf_problems *list)
{
	unsigned before = list->errors;
	struct gen *g = calloc(1, sizeof(*g));

	if (g == NULL)
		abort();
	atomic_init(&g->refs, 1);
	g->number = old != NULL ? old->number + 1 : 1;
	g->conf = conf_ref(conf);
	/* A check writes nothing into the state folder. */
	snprintf(g->temp_dir, sizeof(g->temp_dir), dry ? "%.0s/tmp" : "%s/tmp",
	    conf->state);
	if (!dry)
		gen_folders(g, list);
	gen_limits(g);
	if (pools != NULL)
		g->store.io = pools->files;
	if (list->errors == before)
		gen_ca(g, pools, old, dry, list);
	gen_trust(g, pools, list);
	gen_tls(g, list);
	gen_names(g, list);
	gen_services(g, old, list);
	gen_check_logs(g, list);
	if (!dry && list->errors == before) /* it makes files */
		gen_audit(g, list);
	gen_texts(g);
	if (!dry)
		gen_verdicts(g, old);
	if (list->errors > before)
		gen_unref(&g);
	return (g);
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
	audit_free(&g->audit);
	verdict_cache_unref(&g->verdicts);
	verifier_free(&g->verifier);
	trust_unref(&g->trust);
	leaf_cache_free(&g->leaves);
	ca_unref(&g->ca);
	tls_context_unref(&g->tls);
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

static void
report_sandbox(const struct gen *g)
{
	const struct sandbox_report *r = keyholder_box(ca_keyholder(g->ca));
	char text[SANDBOX_TEXT];

	if (r == NULL)
		return;
	sandbox_text(r, text);
	log_line(LEVEL_NOTICE, "sandbox", "keys: %s", text);
}

void
gen_report(const struct gen *g)
{
	unsigned i;

	report_sandbox(g);
	log_line(LEVEL_NOTICE, "ca", "%s%s, SHA-256 %s",
	    ca_was_created(g->ca) ? "created " : "",
	    g->conf->ca.cert != NULL ? g->conf->ca.cert : g->conf->state,
	    g->fingerprint);
	for (i = 0; i < g->conf->services.n; i++)
		if (g->conf->services.v[i].used)
			report_service(g, i);
	if (g->conf->services.n == 0)
		log_line(LEVEL_WARNING, "scan", "nothing is scanned");
}
