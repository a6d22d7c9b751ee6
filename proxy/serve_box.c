/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The box of a serving process, see serve_box.h. */
#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/asan.h"
#include "proxy/gen.h"
#include "proxy/named.h"
#include "proxy/serve_box.h"

#define PATHS_MAX 4096
#define TASKS \
	4096 /* of its user, for nothing but threads; workers come to it */
#define TASKS_A_WORKER 8

#if ASAN_ON || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* their reports read programs, and what describes them */
#else
#define SANITIZED 0
#endif

/* Something that it may open. */
struct reach {
	char *path; /* owned */
	unsigned may;
	bool asked; /* a later configuration may need another: it is compared */
	bool exists; /* and then: */
	dev_t dev;
	ino_t ino;
};

struct serve_box {
	enum sandbox_box box;
	enum sandbox_mode mode;
	uint64_t workers;
	bool marks; /* connections, for which it keeps CAP_NET_RAW */
	bool binds; /* them to addresses */
	struct reach v[PATHS_MAX];
	unsigned n;
};

/*
 * What libraries read: trust stores, policies, time zone, name servers; and
 * assay's own control group, of which a percentage of memory is reckoned.
 */
static const char *const system_files[] = { "/etc/ssl/certs",
	"/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem", "/etc/pki/ca-trust",
	"/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/ca-certificates",
	"/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
	"/usr/share/pki", "/etc/pkcs11", "/usr/share/p11-kit", "/etc/gnutls",
	"/etc/crypto-policies", "/usr/share/crypto-policies", "/etc/localtime",
	"/usr/share/zoneinfo", "/etc/nsswitch.conf", "/etc/host.conf",
	"/proc/self", "/proc/meminfo", "/proc/stat", "/proc/cpuinfo",
	"/proc/sys/crypto/fips_enabled", "/sys/devices/system/cpu",
	"/sys/fs/cgroup" };

static struct reach *
add(struct serve_box *b, const char *path, unsigned may)
{
	struct reach *r = &b->v[b->n];
	struct stat st;

	if (b->n == PATHS_MAX)
		return (NULL); /* what is not in reach is refused, and named */
	*r = (struct reach){ .path = strdup(path), .may = may };
	if (r->path == NULL)
		abort();
	if (stat(path, &st) == 0) {
		r->exists = true;
		r->dev = st.st_dev;
		r->ino = st.st_ino;
	}
	b->n++;
	return (r);
}

/*
 * The list of name servers, which is put in place of another now and then: in
 * /run, where nothing else is beside it, its folder.
 */
static void
add_resolv_conf(struct serve_box *b)
{
	char real[PATH_MAX], *slash;
	struct reach *r;

	if (realpath("/etc/resolv.conf", real) == NULL)
		return; /* libraries ask this machine then */
	slash = strrchr(real, '/');
	if (strncmp(real, "/run/", 5) == 0 && slash > real + 5)
		*slash = '\0';
	if ((r = add(b, real, SANDBOX_READ)) != NULL)
		r->asked = true;
}

/* Whether a rule uses it does not matter: those come and go by reloads. */
static bool
is_in_threads(const struct conf_service *s)
{
	return (
	    s->type == CONF_CLAMAV && s->isolation == CONF_ISOLATION_THREAD);
}

/* Does it scan itself? */
static bool
scans_in_threads(const struct conf *c)
{
	unsigned i;

	for (i = 0; i < c->services.n; i++)
		if (is_in_threads(&c->services.v[i]))
			return (true);
	return (false);
}

static void
add_scanning(struct serve_box *b, const struct conf *c, const char *temp)
{
	const char *folder = gen_scan_folder(temp);
	struct reach *r;
	char *database;
	unsigned i;

	for (i = 0; i < c->services.n; i++) {
		if (!is_in_threads(&c->services.v[i]))
			continue;
		database = gen_database(&c->services.v[i]);
		if ((r = add(b, database, SANDBOX_READ)) != NULL)
			r->asked = true;
		free(database);
	}
	if (scans_in_threads(c))
		(void)add(b, folder, SANDBOX_READ | SANDBOX_WRITE);
}

/* Lists in folders: what is in them is found by who reads them. */
static void
add_lists(struct serve_box *b, const struct conf *c)
{
	struct reach *r;
	unsigned i;

	for (i = 0; i < c->lists.n; i++)
		if (c->lists.v[i].dir != NULL &&
		    (r = add(b, c->lists.v[i].dir, SANDBOX_READ)) != NULL)
			r->asked = true;
}

/* What ways out take. */
static void
look_out(struct serve_box *b, const struct conf *c)
{
	const struct egress *e;
	unsigned i;

	for (i = 0; i < c->out.n; i++) {
		e = &c->out.v[i].from;
		b->marks = b->marks || e->mark != 0;
		b->binds = b->binds || e->addresses.n > 0;
	}
}

struct serve_box *
serve_box_new(const struct conf *c)
{
	struct serve_box *b = calloc(1, sizeof(*b));
	char temp[1024];
	unsigned i;

	if (b == NULL)
		abort();
	b->mode = c->sandbox;
	b->workers = c->workers != CONF_AUTO ? c->workers : 0;
	look_out(b, c);
	b->box = named_in_token(c) ? BOX_SERVE_TOKEN
	    : scans_in_threads(c)  ? BOX_SERVE_CLAM
				   : BOX_SERVE;
	(void)snprintf(temp, sizeof(temp), "%s/tmp", c->state);
	(void)add(b, temp, SANDBOX_READ | SANDBOX_WRITE);
	add_scanning(b, c, temp);
	add_lists(b, c);
	add_resolv_conf(b);
	for (i = 0; i < sizeof(system_files) / sizeof(system_files[0]); i++)
		(void)add(b, system_files[i], SANDBOX_READ);
	(void)add(b, "/dev/null", SANDBOX_READ | SANDBOX_WRITE);
	if (b->box == BOX_SERVE_TOKEN) /* its module opens what it likes */
		(void)add(b, "/", SANDBOX_READ | SANDBOX_WRITE);
	if (SANITIZED)
		(void)add(b, "/", SANDBOX_READ);
	return (b);
}

void
serve_box_free(struct serve_box **bp)
{
	struct serve_box *b = *bp;

	*bp = NULL;
	if (b == NULL)
		return;
	while (b->n > 0)
		free(b->v[--b->n].path);
	free(b);
}

static bool
reaches(const struct serve_box *b, const struct reach *wanted)
{
	unsigned i;

	for (i = 0; i < b->n; i++)
		if (b->v[i].exists && b->v[i].dev == wanted->dev &&
		    b->v[i].ino == wanted->ino &&
		    (wanted->may & ~b->v[i].may) == 0)
			return (true);
	return (false);
}

bool
serve_box_covers(const struct serve_box *b, const struct serve_box *wanted,
    char why[256])
{
	unsigned i;

	if (wanted->marks && !b->marks) {
		(void)snprintf(why, 256, "marks of connections");
		return (false);
	}
	if (b->mode == SANDBOX_OFF)
		return (true);
	if (wanted->binds && !b->binds) {
		(void)snprintf(why, 256, "source addresses");
		return (false);
	}
	if (b->box != wanted->box) {
		(void)snprintf(why, 256, "what it may do");
		return (false);
	}
	if (b->box == BOX_SERVE_TOKEN || sandbox_landlock_abi() == 0)
		return (true); /* all files are in its reach */
	for (i = 0; i < wanted->n; i++)
		if (wanted->v[i].asked && wanted->v[i].exists &&
		    !reaches(b, &wanted->v[i])) {
			(void)snprintf(why, 256, "%s", wanted->v[i].path);
			return (false);
		}
	return (true);
}

static unsigned
limits_of(const struct serve_box *b, const struct sandbox_user *user,
    struct sandbox_limit l[2])
{
	unsigned n = 0;

	l[n++] = (struct sandbox_limit){ RLIMIT_CORE, 0 };
	if (user != NULL && b->box != BOX_SERVE_TOKEN)
		l[n++] = (struct sandbox_limit){ RLIMIT_NPROC,
			TASKS + TASKS_A_WORKER * b->workers };
	return (n);
}

/* Linux 5.17 and later let CAP_NET_RAW do it. */
static bool
can_mark(struct fault *f)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), mark = 1;
	bool ok = fd >= 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0;

	if (!ok)
		fault_set(f, ERR_SYSTEM,
		    "out: 'mark' needs CAP_NET_RAW at the start: %m");
	if (fd >= 0)
		(void)close(fd);
	return (ok);
}

bool
serve_box_enter(const struct serve_box *b, const struct sandbox_user *user,
    struct sandbox_report *r, struct fault *f)
{
	struct sandbox_path *paths = calloc(b->n, sizeof(*paths));
	struct sandbox_limit limits[2];
	struct sandbox s = { .box = b->box,
		.mode = b->mode,
		.user = user,
		.binds = b->binds,
		.capabilities = b->marks ? UINT64_C(1) << CAP_NET_RAW : 0,
		.limits = limits,
		.n_limits = limits_of(b, user, limits),
		.paths = paths,
		.n_paths = b->n };
	unsigned i;
	bool ok;

	if (paths == NULL)
		abort();
	for (i = 0; i < b->n; i++)
		paths[i] = (struct sandbox_path){ b->v[i].path, b->v[i].may };
	if (b->box == BOX_SERVE_CLAM)
		clam_prepare();
	ok = sandbox_drop(&s, r, f);
	if (ok && user != NULL && !r->own_user) {
		fault_set(f, ERR_SYSTEM, "%s", strerror(r->user_errno));
		ok = false;
	}
	ok = ok && (!b->marks || can_mark(f)) && sandbox_close(&s, r, f);
	free(paths);
	return (ok);
}
