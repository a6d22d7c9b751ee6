/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Upgrade (SIGUSR2): the supervisor becomes the program that lies where its own
 * did, in the same process, and knows all that it had: sockets, logs, children.
 * What serves notices nothing of that.  Then it loads the configuration as a
 * reload does that takes a new serving process, which is of the new program,
 * and the old one drains.  Whatever fails leaves the old one in charge.
 *
 * The state goes over as sealed memory, whose descriptor is named in the
 * environment; the descriptors in it stay open across exec.  Another program
 * must have the same format of it: that is asked first, by --check.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "config.h"
#include "base/list.h"
#include "base/sealed.h"
#include "base/str.h"
#include "proxy/audit/log.h"
#include "proxy/supervisor_priv.h"

#define STATE_ENV "ASSAY_UPGRADE"         /* the descriptor of the state */
#define FORMAT_ENV "ASSAY_UPGRADE_FORMAT" /* of --check: can it take that? */
#define FORMAT 5u
#define STATE_MAX (8u << 20)
#ifdef HAVE_CLAMAV
#define WITH_MASTERS ""
#else
#define WITH_MASTERS "-" /* it could not keep any */
#endif

/* In the state: this, and then its arrays in the order of their counts. */
struct state {
	uint32_t format, size, message_size;
	uint32_t number, workers, signer, last_signer, last_house;
	int32_t setup, admin;
	uint32_t n_given, n_addresses, copies, n_logs, n_issued, n_served,
	    n_signers;
	uint32_t n_figures; /* another version may have more */
	unsigned char tickets[TLS_TICKET_SECRET];
	uint32_t n_services, n_houses;
};

struct state_address {
	uint32_t of;
	union address asked, addr;
};

struct state_given {
	int32_t fd;
	char name[GIVEN_NAME];
};

struct state_served {
	int32_t pid, pidfd, channel, report, flight, errors;
	uint32_t in_charge;
};

struct state_signer {
	uint32_t number, state, which, ca_size;
	int32_t pid, pidfd, fd;
	uint32_t tells_leaves;
	uint64_t leaves, refused;
	char cert[1024], key[4096];
	unsigned char ca[8192];
};

static const char *
format_text(char out[64])
{
	(void)snprintf(out, 64, "%u" WITH_MASTERS ".%d.%zu.%zu.%zu.%zu", FORMAT,
	    (int)MESSAGE_KINDS, sizeof(struct message),
	    sizeof(struct state_signer), sizeof(struct state_house),
	    sizeof(struct state));
	return (out);
}

bool
upgrade_format_ok(void)
{
	const char *asked = getenv(FORMAT_ENV);
	char own[64];

	return (asked == NULL || strcmp(asked, format_text(own)) == 0);
}

/* Writing. */

static void
keep(int fd, bool across)
{
	if (fd >= 0)
		(void)fcntl(fd, F_SETFD, across ? 0 : FD_CLOEXEC);
}

static void
keep_house(struct scanhouse *h, bool across)
{
	struct clam_kept kept[CLAM_MASTERS];
	unsigned i;

	keep(h->errors[0], across);
	keep(h->errors[1], across);
	clam_keeper_put(h->keeper, kept);
	for (i = 0; i < CLAM_MASTERS; i++) {
		keep(kept[i].pidfd, across);
		keep(kept[i].socket, across);
		keep(kept[i].report, across);
	}
}

/* All that the next program gets: across exec, or not after all. */
static void
keep_all(const struct supervisor *p, bool across)
{
	const struct edition *e = p->edition;
	const struct served *v;
	const struct signer *s;
	struct scanhouse *h;
	unsigned i;

	keep(e->setup, across);
	keep(e->admin, across);
	for (i = 0; i < p->given.n; i++)
		keep(p->given.v[i].fd, across);
	for (i = 0; i < e->conf->log.access.n; i++)
		keep(e->logs[i], across);
	for (i = 0; i < e->conf->log.issued.n; i++)
		keep(e->issued[i], across);
	for (i = 0; i < e->listeners.copies * e->listeners.n; i++)
		keep(e->listeners.fd[i], across);
	for (v = p->served; v != NULL;
	     v = v == p->served ? p->ending : v->next) {
		keep(v->child.pidfd, across);
		keep(v->channel, across);
		keep(v->remains.relics.report, across);
		keep(v->remains.relics.flight, across);
		keep(v->remains.errors, across);
	}
	for (s = p->signers; s != NULL; s = s->next) {
		keep(s->keys.child.pidfd, across);
		keep(s->keys.fd, across);
	}
	for (h = p->houses; h != NULL; h = h->next)
		keep_house(h, across);
}

static void
put_served(struct buf *b, const struct served *v, bool in_charge)
{
	struct state_served x = { v->child.pid, v->child.pidfd, v->channel,
		v->remains.relics.report, v->remains.relics.flight,
		v->remains.errors, in_charge };

	buf_add(b, &x, sizeof(x));
}

static void
put_signer(struct buf *b, const struct signer *s)
{
	static struct state_signer x;

	memset(&x, 0, sizeof(x));
	x.number = s->number;
	x.state = s->state;
	x.which = s->which;
	x.pid = s->keys.child.pid;
	x.pidfd = s->keys.child.pidfd;
	x.fd = s->keys.fd;
	x.tells_leaves = s->tells_leaves;
	x.leaves = s->leaves;
	x.refused = s->refused;
	memcpy(x.cert, s->cert, sizeof(x.cert));
	memcpy(x.key, s->key, sizeof(x.key));
	x.ca_size = s->ca.size <= sizeof(x.ca) ? s->ca.size : 0;
	memcpy(x.ca, s->ca.data, x.ca_size);
	buf_add(b, &x, sizeof(x));
}

/* Only such as live: what is about to be replaced is opened anew. */
static bool
lives(const struct signer *s)
{
	return (s->state == SIGNER_SIGNS || s->state == SIGNER_ENDS);
}

static void
put_all(const struct supervisor *p, struct buf *b)
{
	const struct edition *e = p->edition;
	const struct listen_set *l = &e->listeners;
	struct state x = { .format = FORMAT,
		.size = sizeof(x),
		.message_size = sizeof(struct message),
		.number = e->number,
		.workers = e->workers,
		.signer = e->signer,
		.last_signer = p->last_signer,
		.last_house = p->last_house,
		.setup = e->setup,
		.admin = e->admin,
		.n_addresses = l->n,
		.copies = l->copies,
		.n_logs = (uint32_t)e->conf->log.access.n,
		.n_issued = (uint32_t)e->conf->log.issued.n,
		.n_served = 1,
		.n_services = (uint32_t)e->conf->services.n,
		.n_given = p->given.n,
		.n_figures = FIGURES };
	struct state_given given;
	uint64_t figure;
	const struct served *v;
	const struct signer *s;
	struct scanhouse *h;
	struct state_address a;
	unsigned i;

	for (v = p->ending; v != NULL; v = v->next)
		x.n_served++;
	for (s = p->signers; s != NULL; s = s->next)
		x.n_signers += lives(s);
	memcpy(x.tickets, p->tickets.secret, sizeof(x.tickets));
	for (h = p->houses; h != NULL; h = h->next)
		x.n_houses++;
	buf_add(b, &x, sizeof(x));
	gnutls_memset(x.tickets, 0, sizeof(x.tickets));
	for (i = 0; i < FIGURES; i++) {
		figure = figure_get(p->figures, (enum figure)i);
		buf_add(b, &figure, sizeof(figure));
	}
	for (i = 0; i < p->given.n; i++) {
		memset(&given, 0, sizeof(given));
		given.fd = p->given.v[i].fd;
		memcpy(given.name, p->given.v[i].name, sizeof(given.name));
		buf_add(b, &given, sizeof(given));
	}
	for (i = 0; i < l->n; i++) {
		memset(&a, 0, sizeof(a));
		a.of = l->of[i];
		a.asked = l->asked[i];
		a.addr = l->addr[i];
		buf_add(b, &a, sizeof(a));
	}
	buf_add(b, l->fd, l->copies * l->n * sizeof(*l->fd));
	buf_add(b, e->logs, x.n_logs * sizeof(*e->logs));
	buf_add(b, e->issued, x.n_issued * sizeof(*e->issued));
	buf_add(b, e->scans, x.n_services * sizeof(*e->scans));
	put_served(b, p->served, true);
	for (v = p->ending; v != NULL; v = v->next)
		put_served(b, v, false);
	for (s = p->signers; s != NULL; s = s->next)
		if (lives(s))
			put_signer(b, s);
	for (h = p->houses; h != NULL; h = h->next)
		scans_put(h, b);
}

/* The next program. */

static void
failed(struct supervisor *p, const char *what, const char *why)
{
	log_line(LEVEL_ERROR, "upgrade", "%s: %s; nothing was changed", what,
	    why);
	supervisor_notify_state(p, true);
	p->upgrades = false;
	supervisor_reload_waiting(p);
}

/* Returns only when it could not be done. */
static void
become(struct supervisor *p)
{
	struct buf b = { 0 };
	char number[16];
	sigset_t all, before;
	int fd;

	put_all(p, &b);
	fd = sealed_new("state", b.p, b.n);
	gnutls_memset(b.p, 0, b.n);
	buf_fini(&b);
	if (fd < 0) {
		failed(p, "state", strerror(errno));
		return;
	}
	(void)snprintf(number, sizeof(number), "%d", fd);
	(void)setenv(STATE_ENV, number, 1);
	keep(fd, true);
	keep_all(p, true);
	fetching_kill(p);
	issued_end(p);
	/* One that comes now is for the next program. */
	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	(void)execv(p->program, p->argv);
	failed(p, p->program, strerror(errno));
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	keep_all(p, false);
	issued_begin(p);
	fetching_start(p);
	(void)unsetenv(STATE_ENV);
	(void)close(fd);
}

static void
on_checked(void *arg, unsigned events)
{
	struct supervisor *p = arg;
	char fate[96];
	int how;

	(void)events;
	if (!child_reap(&p->checks, &how, 0))
		return;
	watch_free(&p->checked);
	timer_stop(&p->check_end);
	child_fate(how, fate, sizeof(fate));
	if (p->check_late)
		(void)snprintf(fate, sizeof(fate), "took too long");
	if (how != 0)
		failed(p, "its --check", fate);
	else if (p->phase != PHASE_SERVES || p->served == NULL ||
	    !p->served->ready)
		failed(p, "now", "nobody serves");
	else
		become(p);
}

static void
on_check_late(struct timer *t)
{
	struct supervisor *p = CONTAINER_OF(t, struct supervisor, check_end);

	p->check_late = true;
	(void)child_signal(&p->checks, SIGKILL);
}

/* --check by the program that lies there now. */
static int
start_check(struct supervisor *p)
{
	char *argv[] = { p->argv[0], (char *)(uintptr_t) "--check", NULL, NULL,
		NULL, NULL, NULL },
	     format[64];
	unsigned n = 2;
	int r;

	if (p->options.file != NULL) {
		argv[n++] = (char *)(uintptr_t) "-f";
		argv[n++] = (char *)(uintptr_t)p->options.file;
	}
	if (p->options.listen != NULL) {
		argv[n++] = (char *)(uintptr_t) "--listen";
		argv[n++] = (char *)(uintptr_t)p->options.listen;
	}
	(void)setenv(FORMAT_ENV, format_text(format), 1);
	r = posix_spawn(&p->checks.pid, p->program, NULL, NULL, argv, environ);
	(void)unsetenv(FORMAT_ENV);
	if (r == 0 && (p->checks.pidfd = pidfd_open(p->checks.pid, 0)) < 0) {
		r = errno;
		(void)kill(p->checks.pid, SIGKILL);
		(void)waitpid(p->checks.pid, NULL, 0);
	}
	if (r != 0)
		p->checks = CHILD_NONE;
	return (r);
}

void
supervisor_upgrade(struct supervisor *p)
{
	int r;

	if (p->upgrades || p->phase != PHASE_SERVES)
		return;
	timer_init(&p->check_end, p->loop, on_check_late);
	if (p->next != NULL || p->served == NULL || !p->served->ready) {
		log_line(LEVEL_ERROR, "upgrade",
		    "a reload or a start is under way; nothing was changed");
		return;
	}
	p->upgrades = true;
	log_line(LEVEL_NOTICE, "upgrade", "to %s", p->program);
	if ((r = start_check(p)) != 0) {
		failed(p, p->program, strerror(r));
		return;
	}
	p->check_late = false;
	timer_set(&p->check_end, p->edition->conf->limits.start_ms);
	p->checked = watch_new(p->loop, p->checks.pidfd, on_checked, p);
	watch_set(p->checked, WATCH_READ);
}

void
upgrade_init(struct supervisor *p, char **argv)
{
	ssize_t n = readlink("/proc/self/exe", p->program,
	    sizeof(p->program) - 1);

	p->program[n > 0 ? n : 0] = '\0';
	p->argv = argv;
	p->checks = CHILD_NONE;
}

void
upgrade_fini(struct supervisor *p)
{
	watch_free(&p->checked);
	timer_stop(&p->check_end);
	child_end(&p->checks);
}

/* Here: the state of the program before. */

struct reading {
	struct buf b;
	size_t at;
};

/* The next n octets; NULL: there are not so many. */
static const void *
take(struct reading *r, size_t n)
{
	const void *p = r->b.p + r->at;

	if (n > r->b.n - r->at)
		return (NULL);
	r->at += n;
	return (p);
}

static bool
take_figures(struct supervisor *p, struct reading *r, uint32_t n)
{
	const unsigned char *from = take(r, n * sizeof(uint64_t));
	uint64_t figure;
	unsigned i;

	for (i = 0; from != NULL && i < n && i < FIGURES; i++) {
		memcpy(&figure, from + i * sizeof(figure), sizeof(figure));
		figure_set(p->figures, (enum figure)i, figure);
	}
	return (from != NULL);
}

static bool
take_given(struct supervisor *p, struct reading *r, uint32_t n)
{
	const void *from = NULL;
	struct state_given x;
	unsigned i;

	for (i = 0; i < n && (from = take(r, sizeof(x))) != NULL; i++) {
		memcpy(&x, from, sizeof(x));
		x.name[sizeof(x.name) - 1] = '\0';
		given_keep(&p->given, x.fd, x.name);
	}
	return (i == n);
}

static bool
take_edition(struct supervisor *p, struct reading *r, const struct state *x)
{
	struct conf_problems list = { 0 };
	struct edition *e = calloc(1, sizeof(*e));
	struct listen_set *l = &e->listeners;
	struct buf room = { 0 };
	const struct state_address *a;
	const int *fds, *logs, *issued;
	const uint32_t *scans;
	struct setup s;
	char why[NETS_WHY];
	unsigned i;

	p->edition = e;
	*e = (struct edition){ .number = x->number,
		.setup = x->setup,
		.admin = x->admin,
		.signer = x->signer,
		.workers = x->workers };
	if (setup_unpack(e->setup, &s, &room)) {
		e->conf = conf_parse_known(s.file, s.text, s.n, &list);
		if (e->conf != NULL && s.listen[0] != '\0')
			(void)conf_set_listen(e->conf, s.listen, why);
	}
	conf_problems_fini(&list);
	buf_fini(&room);
	l->of = calloc(x->n_addresses + 1, sizeof(*l->of));
	l->kind = calloc(x->n_addresses + 1, sizeof(*l->kind));
	l->asked = calloc(x->n_addresses + 1, sizeof(*l->asked));
	l->addr = calloc(x->n_addresses + 1, sizeof(*l->addr));
	l->fd = calloc(x->n_addresses * x->copies + 1, sizeof(*l->fd));
	e->logs = calloc(x->n_logs + 1, sizeof(*e->logs));
	e->issued = calloc(x->n_issued + 1, sizeof(*e->issued));
	e->scans = calloc(x->n_services + 1, sizeof(*e->scans));
	for (i = 0; i < x->n_addresses; i++) {
		if ((a = take(r, sizeof(*a))) == NULL)
			return (false);
		l->of[i] = a->of;
		if (e->conf != NULL && a->of < e->conf->listen.n)
			l->kind[i] = e->conf->listen.v[a->of].kind;
		l->asked[i] = a->asked;
		l->addr[i] = a->addr;
	}
	l->n = x->n_addresses;
	l->given = &p->given;
	l->copies = x->copies;
	fds = take(r, l->n * l->copies * sizeof(*l->fd));
	logs = take(r, x->n_logs * sizeof(*e->logs));
	issued = take(r, x->n_issued * sizeof(*e->issued));
	scans = take(r, x->n_services * sizeof(*e->scans));
	if (fds == NULL || logs == NULL || issued == NULL || scans == NULL ||
	    e->conf == NULL || e->conf->services.n != x->n_services ||
	    e->conf->log.access.n != x->n_logs ||
	    e->conf->log.issued.n != x->n_issued)
		return (false);
	memcpy(l->fd, fds, l->n * l->copies * sizeof(*l->fd));
	memcpy(e->logs, logs, x->n_logs * sizeof(*e->logs));
	memcpy(e->issued, issued, x->n_issued * sizeof(*e->issued));
	memcpy(e->scans, scans, x->n_services * sizeof(*e->scans));
	return (true);
}

static bool
take_served(struct supervisor *p, struct reading *r)
{
	struct state_served x;
	const void *from = take(r, sizeof(x));

	if (from == NULL)
		return (false);
	memcpy(&x, from, sizeof(x));
	served_adopt(p, (struct child){ x.pid, x.pidfd }, x.channel,
	    (struct relics){ x.report, x.flight }, x.errors, x.in_charge != 0);
	return (true);
}

static bool
take_signer(struct supervisor *p, struct reading *r)
{
	static struct state_signer x;
	const void *from = take(r, sizeof(x));
	gnutls_datum_t ca;

	if (from == NULL)
		return (false);
	memcpy(&x, from, sizeof(x));
	if (x.ca_size > sizeof(x.ca))
		return (false);
	x.cert[sizeof(x.cert) - 1] = x.key[sizeof(x.key) - 1] = '\0';
	ca = (gnutls_datum_t){ x.ca, x.ca_size };
	signer_adopt(p, x.number,
	    x.state == SIGNER_SIGNS ? SIGNER_SIGNS : SIGNER_ENDS,
	    &(struct keys){ .child = { x.pid, x.pidfd }, .fd = x.fd }, x.cert,
	    x.key, &ca,
	    x.which == KEYHOLDER_CA ? KEYHOLDER_CA : KEYHOLDER_ISSUER);
	p->signers->tells_leaves = x.tells_leaves != 0;
	p->signers->leaves = x.leaves;
	p->signers->refused = x.refused;
	gnutls_memset(&x, 0, sizeof(x));
	return (true);
}

static bool
take_house(struct supervisor *p, struct reading *r)
{
	const void *from = take(r, sizeof(struct state_house));

	if (from != NULL)
		scans_adopt(p, from);
	return (from != NULL);
}

static bool
take_all(struct supervisor *p, struct reading *r)
{
	struct state x;
	const void *from = take(r, sizeof(x));
	unsigned i;

	if (from == NULL)
		return (false);
	memcpy(&x, from, sizeof(x));
	if (x.format != FORMAT || x.size != sizeof(x) ||
	    x.message_size != sizeof(struct message) || x.workers == 0 ||
	    !take_figures(p, r, x.n_figures) || !take_given(p, r, x.n_given) ||
	    !take_edition(p, r, &x))
		return (false);
	p->last_signer = x.last_signer;
	tickets_begin(p, x.tickets);
	gnutls_memset(x.tickets, 0, sizeof(x.tickets));
	p->last_house = x.last_house;
	for (i = 0; i < x.n_served; i++)
		if (!take_served(p, r))
			return (false);
	for (i = 0; i < x.n_signers; i++)
		if (!take_signer(p, r))
			return (false);
	for (i = 0; i < x.n_houses; i++)
		if (!take_house(p, r))
			return (false);
	keep_all(p, false);
	return (p->served != NULL);
}

bool
upgrade_is(void)
{
	return (getenv(STATE_ENV) != NULL);
}

bool
upgrade_take(struct supervisor *p)
{
	struct reading r = { 0 };
	int fd = atoi(getenv(STATE_ENV));
	bool ok;

	(void)unsetenv(STATE_ENV);
	ok = sealed_read(fd, &r.b, STATE_MAX) && take_all(p, &r);
	(void)close(fd);
	if (r.b.p != NULL)
		gnutls_memset(r.b.p, 0, r.b.n);
	buf_fini(&r.b);
	return (ok);
}
