/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The serving process, see serve.h: start, reload, end.  Its main thread hears
 * the supervisor and answers the administration socket; workers do the rest.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/asan.h"
#include "base/budget.h"
#include "base/crash.h"
#include "base/handed.h"
#include "base/list.h"
#include "base/spawn.h"
#include "certs/issuers.h"
#include "certs/keyholder.h"
#include "certs/statuses.h"
#include "fetch/fetch.h"
#include "net/descriptors.h"
#include "proxy/admin.h"
#include "proxy/audit/log.h"
#include "proxy/figures.h"
#include "proxy/gen.h"
#include "proxy/inbox.h"
#include "proxy/lost.h"
#include "proxy/peers.h"
#include "proxy/pressure.h"
#include "proxy/problem.h"
#include "proxy/reload.h"
#include "proxy/serve.h"
#include "proxy/serve_box.h"
#include "proxy/worker.h"

#define CHANNEL SERVE_CHANNEL
#define NAMES_MAX 8192 /* looked up at once */
#define LINGER_MIN 256 /* connections that only end */
/* a disk that blocks four of them blocks the fifth as well */
#define FILE_THREADS 4
#define ISSUERS_MAX 1024  /* URLs of issuers that are remembered */
#define STATUSES_MAX 8192 /* answers of OCSP responders, likewise */
#define SETUP_MS 60000    /* the supervisor has said all by then */

struct serve {
	struct inbox inbox;
	struct gen_pools pools;
	struct gen *gen; /* counted: the current one */
	struct proxy_shared shared;
	struct worker **workers;
	unsigned n_workers;
	struct reload reload;
	struct pressure pressure;
	struct fetch *fetch;
	struct issuers *issuers;   /* counted */
	struct statuses *statuses; /* counted */
	struct loop *loop;         /* of the main thread */
	struct watch *says;        /* the supervisor */
	struct admin *admin;
	const struct figures *figures; /* NULL: nobody counts */
	int *logs; /* owned: n_logs of log_count, to replace those in use */
	unsigned n_logs, log_count;
	bool draining;
	uint64_t ended_by; /* monotonic ms at which draining is over */
	struct timer watch_end;
};

static void
say(enum message_kind kind, uint32_t number)
{
	struct message m = { .kind = kind, .number = number };

	(void)message_send(CHANNEL, &m, -1); /* its end is seen by reading */
}

/* From any thread. */
static void
want_keys(void *arg, uint32_t number, const char *why)
{
	struct message m = { .kind = MESSAGE_WANT_KEYS, .number = number };

	(void)arg;
	(void)snprintf(m.text, sizeof(m.text), "%s", why != NULL ? why : "");
	(void)message_send(CHANNEL, &m, -1);
}

/* From a thread that looks after scanners. */
static void
want_scans(void *arg, uint32_t number)
{
	(void)arg;
	say(MESSAGE_WANT_SCANS, number);
}

/* The process that fetches. */

static void
fetcher_works(void *arg, const struct sandbox_report *r)
{
	char text[SANDBOX_TEXT];

	(void)arg;
	sandbox_text(r, text);
	log_line(LEVEL_NOTICE, "sandbox", "fetch: %s", text);
}

static void
fetcher_lost(void *arg, const char *why)
{
	struct message m = { .kind = MESSAGE_WANT_FETCHER };

	(void)arg;
	if (why == NULL)
		return; /* the supervisor sees its end */
	(void)snprintf(m.text, sizeof(m.text), "%s", why);
	(void)message_send(CHANNEL, &m, -1);
}

/* Generations. */

/* The configuration, as the supervisor has read it: it has said its problems. */
static struct conf *
read_setup(struct inbox *b)
{
	struct conf_problems list = { 0 };
	struct buf room = { 0 };
	char why[NETS_WHY] = "";
	struct conf *c = NULL;
	struct setup s;

	if (setup_unpack(b->setup, &s, &room)) {
		c = conf_parse_known(s.file, s.text, s.n, &list);
		if (c == NULL)
			conf_problems_print(&list, s.file, stderr);
		else if (s.listen[0] != '\0' &&
		    !conf_set_listen(c, s.listen, why))
			conf_unref(&c);
	}
	conf_problems_fini(&list);
	buf_fini(&room);
	(void)close(b->setup);
	b->setup = -1;
	return (c);
}

/*
 * Before anything is served: the key holder died as this process began, and
 * there will be another.  False: the supervisor has something else to say.
 */
static bool
await_keys(struct inbox *b)
{
	struct message m;
	int fd;

	if (message_receive(CHANNEL, MESSAGE_SUPERVISOR, &m, &fd, SETUP_MS) !=
	    CHANNEL_DONE)
		return (false);
	if (m.kind == MESSAGE_NEW_KEYS && m.number == b->keys_number) {
		b->keys = fd;
		b->keys_pid = m.pid;
		return (true);
	}
	if (fd >= 0)
		(void)close(fd);
	return (false);
}

static struct keyholder *
join_keys(struct inbox *b, bool first, struct conf_problems *list)
{
	struct keyholder_door d = { .number = b->keys_number,
		.want = want_keys };
	struct fault f = { ERR_NONE, "" };
	struct keyholder *k = NULL;

	while (k == NULL && (b->keys >= 0 || (first && await_keys(b)))) {
		f = (struct fault){ ERR_NONE, "" };
		d.fd = b->keys;
		d.pid = b->keys_pid;
		b->keys = -1;
		k = keyholder_join(&d, &f);
	}
	if (k != NULL)
		return (k);
	(void)fault_set(&f, ERR_MINT, "key holder died");
	problem_fault(list, "ca", &f);
	return (NULL);
}

/* Its descriptors; the caller's. */
static int *
take_logs(struct inbox *b, const struct conf *c, struct conf_problems *list)
{
	int *logs = b->logs;

	if (b->n_logs != c->log.access.n) {
		problem_add(list, false, "log.access: %u files came, not %u",
		    b->n_logs, c->log.access.n);
		return (NULL);
	}
	b->logs = NULL;
	b->n_logs = 0;
	return (logs != NULL ? logs : calloc(1, sizeof(*logs)));
}

/*
 * Once: from here on it is who it will be, without rights that he does not
 * have, and in its box.  Started by root, and nobody is there to become, it is
 * root without capabilities.
 */
static void
confine(const struct serve *p, const struct conf *c)
{
	const struct sandbox_user *user = p->inbox.has_user ? &p->inbox.user
							    : NULL;
	struct serve_box *box = serve_box_new(c);
	struct fault f = { ERR_NONE, "" };
	struct sandbox_report r;
	char text[SANDBOX_TEXT];

	if (!serve_box_enter(box, user, &r, &f)) {
		log_line(LEVEL_ERROR, "serve", "as user %s: %s",
		    user != NULL ? user->name : "that started it", f.detail);
		exit(SERVE_EXIT_PROBLEM);
	}
	serve_box_free(&box);
	if (ASAN_ON) /* its search for leaks looks at itself by ptrace(2) */
		(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	if (user == NULL && geteuid() == 0)
		log_line(LEVEL_WARNING, "serve",
		    "process %ld, as root: there is no user assay (setting "
		    "'user')",
		    (long)getpid());
	else
		log_line(LEVEL_NOTICE, "serve", "process %ld, as user %s",
		    (long)getpid(),
		    user != NULL ? user->name : "who started it");
	sandbox_text(&r, text);
	log_line(LEVEL_NOTICE, "sandbox", "serve: %s", text);
}

/* NULL: problems were printed.  old NULL: the first. */
static struct gen *
load_gen(struct serve *p, struct gen *old)
{
	struct conf_problems list = { 0 };
	struct inbox *b = &p->inbox;
	struct conf *c = read_setup(b);
	struct gen_given given = { .pools = &p->pools,
		.issuers = p->issuers,
		.statuses = p->statuses,
		.ca_created = b->ca_made,
		.inbox = b,
		.want_scans = want_scans };
	struct gen *g = NULL;
	int *logs;

	if (c == NULL)
		return (NULL);
	inbox_give_named(b, c);
	logs = take_logs(b, c, &list);
	given.holder = join_keys(b, old == NULL, &list);
	g = gen_new(c, b->number, &given, &list);
	if (old == NULL) {
		confine(p, c);
		(void)job_pool_begin(p->pools.crypto);
		(void)job_pool_begin(p->pools.files);
	}
	if (!gen_start(g, &given, logs, old, &list))
		gen_unref(&g);
	inbox_drop_scans(b);
	handed_clear();
	conf_problems_print(&list,
	    c->file[0] != '\0' ? c->file : "built-in defaults", stderr);
	conf_problems_fini(&list);
	conf_unref(&c);
	free(logs);
	return (g);
}

/* What peers may take up, of all generations together. */
static void
set_budget(struct serve *p)
{
	const struct conf_limits *l = &p->gen->conf->limits;
	struct budget *b = p->shared.budget;

	budget_set_limit(b, BUDGET_MEMORY, l->memory);
	budget_set_limit(b, BUDGET_TEMP, l->temp);
	budget_set_limit(b, BUDGET_LINGER, l->clients / 4 + LINGER_MIN);
	budget_set_limit(b, BUDGET_NAMES, NAMES_MAX);
	descriptors_share(b);
}

/* Reload. */

static void
reload(struct serve *p)
{
	struct gen *g;

	if (p->reload.gen != NULL || p->draining) { /* it should not ask */
		say(MESSAGE_REFUSED, p->inbox.number);
		(void)close(p->inbox.setup);
		p->inbox.setup = -1;
		return;
	}
	if ((g = load_gen(p, p->gen)) != NULL) {
		reload_start(&p->reload, g);
		return;
	}
	log_line(LEVEL_ERROR, "reload", "%s has errors; nothing was changed",
	    p->gen->conf->file[0] != '\0' ? p->gen->conf->file
					  : "built-in defaults");
	say(MESSAGE_REFUSED, p->inbox.number);
}

/* Every worker uses it, or none does. */
static void
reload_done(struct reload *r, struct gen *g, const struct fault *f)
{
	struct serve *p = CONTAINER_OF(r, struct serve, reload);
	unsigned number = g->number;

	if (f->code != ERR_NONE) {
		gen_unref(&g);
		log_line(LEVEL_ERROR, "reload", "%s%s%s; nothing was changed",
		    err_info(f->code)->text, f->detail[0] != '\0' ? ": " : "",
		    f->detail);
		say(MESSAGE_REFUSED, number);
		return;
	}
	gen_unref(&p->gen);
	p->gen = g;
	set_budget(p);
	gen_report(g);
	log_line(LEVEL_NOTICE, "reload", "generation %u is in force", number);
	say(MESSAGE_READY, number);
}

/* Logs that are opened again. */

static void
drop_logs(struct serve *p)
{
	while (p->n_logs > 0)
		(void)close(p->logs[--p->n_logs]);
	free(p->logs);
	p->logs = NULL;
}

static void
logs_begin(struct serve *p, uint32_t n)
{
	drop_logs(p);
	if (n != p->gen->conf->log.access.n)
		n = 0;
	p->log_count = n;
	if (n > 0 && (p->logs = calloc(n, sizeof(*p->logs))) == NULL)
		abort();
}

/* False: it is not one of these. */
static bool
logs_take(struct serve *p, const struct message *m, int fd)
{
	if (p->logs == NULL || m->index != p->n_logs)
		return (false);
	p->logs[p->n_logs++] = fd;
	if (p->n_logs < p->log_count)
		return (true);
	audit_replace(p->gen->audit, p->logs, p->n_logs);
	p->n_logs = 0;
	drop_logs(p);
	return (true);
}

/* Ending. */

/* All workers have ended when their connections have. */
static void
watch_end(struct timer *t)
{
	struct serve *p = CONTAINER_OF(t, struct serve, watch_end);

	if (atomic_load(&p->shared.clients) == 0 ||
	    loop_now(p->loop) >= p->ended_by)
		loop_stop(p->loop);
	else
		timer_set(t, 50);
}

static void
drain(struct serve *p, uint64_t ms)
{
	unsigned i;

	p->draining = true;
	reload_cancel(&p->reload);
	pressure_stop(&p->pressure);
	p->ended_by = loop_now(p->loop) + ms;
	for (i = 0; i < p->n_workers; i++)
		worker_post_drain(p->workers[i], ms);
	timer_set(&p->watch_end, 1);
}

/* The supervisor. */

/* False: it is not 64 hexadecimal digits, and nothing has changed. */
static bool
take_tickets(const struct message *m)
{
	unsigned char secret[TLS_TICKET_SECRET];
	unsigned i;
	int n = 0;

	for (i = 0; i < sizeof(secret); i++)
		if (sscanf(m->text + 2 * i, "%2hhx%n", &secret[i], &n) != 1 ||
		    n != 2)
			return (false);
	tls_ticket_secret(secret);
	gnutls_memset(secret, 0, sizeof(secret));
	return (true);
}

static void
hear(struct serve *p, const struct message *m, int fd)
{
	bool taken = fd < 0;

	switch (m->kind) {
	case MESSAGE_NEW_KEYS:
		taken = keyholder_deliver(m->number, fd, m->pid);
		break;
	case MESSAGE_NEW_SCANS:
		taken = clam_deliver(m->number, fd);
		break;
	case MESSAGE_FETCHER:
		fetch_attach(p->fetch, fd);
		taken = true;
		break;
	case MESSAGE_TICKETS:
		(void)take_tickets(m);
		break;
	case MESSAGE_REOPEN:
		logs_begin(p, m->index);
		break;
	case MESSAGE_DRAIN:
		if (m->index != 0)
			admin_free(&p->admin);
		drain(p, m->number);
		break;
	default:
		taken = (m->kind == MESSAGE_LOG && logs_take(p, m, fd)) ||
		    inbox_take(&p->inbox, m, fd);
	}
	if (!taken && fd >= 0)
		(void)close(fd);
	if (m->kind == MESSAGE_SETUP)
		reload(p);
}

static void
on_says(void *arg, unsigned events)
{
	struct serve *p = arg;
	enum channel_end r = CHANNEL_DONE;
	struct message m;
	int fd;

	(void)events;
	while (r == CHANNEL_DONE) {
		r = message_receive(CHANNEL, MESSAGE_SUPERVISOR, &m, &fd, 0);
		if (r == CHANNEL_DONE)
			hear(p, &m, fd);
	}
	if (r == CHANNEL_LATE)
		return;
	watch_set(p->says, 0);
	if (!p->draining) {
		log_line(LEVEL_ERROR, "serve", "the supervisor is gone");
		drain(p, SERVE_ORPHAN_MS);
	}
}

/* Everything up to the first SETUP. */
static bool
first_setup(struct serve *p)
{
	struct message m;
	int fd;

	while (p->inbox.setup < 0) {
		if (message_receive(CHANNEL, MESSAGE_SUPERVISOR, &m, &fd,
			SETUP_MS) != CHANNEL_DONE)
			return (false);
		if (!(m.kind == MESSAGE_TICKETS
			    ? take_tickets(&m)
			    : inbox_take(&p->inbox, &m, fd))) {
			if (fd >= 0)
				(void)close(fd);
			return (false);
		}
	}
	return (p->inbox.workers > 0);
}

/* Workers. */

/* A worker takes its sockets over. */
static struct worker *
start_worker(struct serve *p, unsigned number, struct fault *f)
{
	const struct conf_listens *l = &p->gen->conf->listen;
	const struct conf_listen **of;
	struct inbox *b = &p->inbox;
	struct worker *w;
	unsigned i, n = 0;
	int *fds;

	of = calloc(b->n_listeners + 1, sizeof(*of));
	fds = calloc(b->n_listeners + 1, sizeof(*fds));
	for (i = 0; i < b->n_listeners; i++)
		if (b->listeners[i].worker == number &&
		    b->listeners[i].of < l->n) {
			of[n] = &l->v[b->listeners[i].of];
			fds[n++] = b->listeners[i].fd;
		}
	w = worker_start(number, p->gen, &p->shared, fds, of, n, f);
	free(of);
	free(fds);
	return (w);
}

static bool
start_workers(struct serve *p, struct fault *f)
{
	struct inbox *b = &p->inbox;
	unsigned i;

	p->workers = calloc(b->workers, sizeof(struct worker *));
	for (i = 0; i < b->workers; i++) {
		if ((p->workers[i] = start_worker(p, i, f)) == NULL)
			return (false);
		p->n_workers++;
	}
	b->n_listeners = 0; /* they are the workers' */
	return (true);
}

static void
stop_workers(struct serve *p)
{
	unsigned i;

	for (i = 0; i < p->n_workers; i++)
		worker_join(p->workers[i]);
	loop_settle(p->loop); /* what a reload still waits for */
	pressure_fini(&p->pressure);
	gen_unref(&p->gen); /* ends scan threads */
	statuses_end(p->statuses);
	job_pool_free(&p->pools.crypto);
	job_pool_free(&p->pools.files);
	fetch_free(&p->fetch); /* what it was asked fails on their loops */
	for (i = 0; i < p->n_workers; i++)
		worker_free(&p->workers[i]);
	free(p->workers);
}

/* Flows that were lost with those before: nobody waits for their records. */
static void
record_lost(struct serve *p)
{
	struct inbox *b = &p->inbox;
	unsigned n = 0;

	while (b->n_lost > 0) {
		b->n_lost--;
		n += lost_flows(b->lost[b->n_lost].flight,
		    b->lost[b->n_lost].died, p->gen->audit);
		(void)close(b->lost[b->n_lost].flight);
	}
	if (n > 0)
		log_line(LEVEL_WARNING, "serve",
		    "%u flow%s lost with the process before: access records "
		    "with PROXY_CRASHED say which",
		    n, n == 1 ? " was" : "s were");
}

/* Start and end. */

/*
 * Where we listen ourselves, for destinations.deny: before the box, for the
 * kernel is asked for the addresses of the machine.
 */
static void
note_self(const struct inbox *b)
{
	struct sockaddr_storage *self = calloc(b->n_listeners + 1,
	    sizeof(*self));
	unsigned i, n = 0;
	socklen_t size;

	for (i = 0; i < b->n_listeners; i++) {
		size = sizeof(*self);
		if (b->listeners[i].worker == 0 &&
		    getsockname(b->listeners[i].fd, (struct sockaddr *)&self[n],
			&size) == 0)
			n++;
	}
	nets_self_set(self, n);
	free(self);
}

static void
prepare(struct serve *p)
{
	inbox_init(&p->inbox);
	p->figures = figures_join(SERVE_FIGURES);
	(void)close(SERVE_FIGURES);
	p->pools.crypto = job_pool_prepare("crypto",
	    2 * (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
	p->pools.files = job_pool_prepare("files", FILE_THREADS);
	p->shared.peers = peers_new();
	p->shared.budget = budget_new();
	pressure_init(&p->pressure);
	p->loop = loop_new();
	p->fetch = fetch_new(p->loop,
	    &(struct fetch_events){ fetcher_works, fetcher_lost, NULL });
	p->issuers = issuers_new(p->fetch, ISSUERS_MAX);
	p->statuses = statuses_new(p->fetch, p->pools.crypto, STATUSES_MAX);
	timer_init(&p->watch_end, p->loop, watch_end);
}

/* False: why was said. */
static bool
begin(struct serve *p)
{
	struct fault f = { ERR_NONE, "" };

	p->shared.flight = flight_new(SERVE_FLIGHT, p->inbox.workers);
	if (p->shared.flight == NULL) {
		log_line(LEVEL_ERROR, "serve", "no flight record: %s",
		    strerror(errno));
		return (false);
	}
	note_self(&p->inbox);
	if ((p->gen = load_gen(p, NULL)) == NULL)
		return (false);
	set_budget(p);
	gen_report(p->gen);
	if (!start_workers(p, &f)) {
		log_line(LEVEL_ERROR, NULL, "%s", f.detail);
		return (false);
	}
	descriptors_count_own(p->n_workers);
	descriptors_share(p->shared.budget);
	if (p->inbox.admin >= 0)
		p->admin = admin_new(p->loop, p->inbox.admin,
		    &(struct admin_of){ .pid = p->inbox.supervisor,
			.gen = &p->gen,
			.shared = &p->shared,
			.workers = p->workers,
			.n = p->n_workers,
			.fetch = p->fetch,
			.figures = p->figures });
	p->inbox.admin = -1;
	p->reload = (struct reload){ .home = p->loop,
		.workers = p->workers,
		.n = p->n_workers,
		.done = reload_done };
	pressure_start(&p->pressure, p->loop, &p->shared, p->workers,
	    p->n_workers);
	p->says = watch_new(p->loop, CHANNEL, on_says, p);
	watch_set(p->says, WATCH_READ);
	say(MESSAGE_READY, p->gen->number);
	record_lost(p);
	return (true);
}

static void
finish(struct serve *p)
{
	timer_stop(&p->watch_end);
	watch_free(&p->says);
	admin_free(&p->admin);
	stop_workers(p);
	drop_logs(p);
	inbox_fini(&p->inbox);
	peers_free(&p->shared.peers);
	flight_free(&p->shared.flight);
	budget_free(&p->shared.budget);
	figures_free(&p->figures);
	loop_free(&p->loop);
	issuers_unref(&p->issuers);
	statuses_unref(&p->statuses);
}

/* Those of faults in the program, SIGKILL and job control keep their meaning. */
static void
ignore_signals(void)
{
	static const int ignored[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM,
		SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU,
		SIGXFSZ, SIGPOLL, SIGPWR, SIGSTKFLT };
	sigset_t none;
	unsigned i;
	int s;

	for (i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	for (s = SIGRTMIN; s <= SIGRTMAX; s++)
		signal(s, SIG_IGN);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

int
serve_main(int argc, char **argv)
{
	static struct serve p;
	int i;

	spawn_born(argc, argv);
	(void)prctl(PR_SET_NAME, argv[0]);
	ignore_signals();
	for (i = 0; i < SERVE_FDS; i++)
		(void)fcntl(SPAWN_FD + i, F_SETFD, FD_CLOEXEC);
	if (fcntl(SERVE_LOG, F_GETFD) >= 0)
		log_to(SERVE_LOG);
	crash_init(fcntl(SERVE_REPORT, F_GET_SEALS) > 0 ? SERVE_REPORT : -1);
	descriptors_raise();
	prepare(&p);
	if (!first_setup(&p)) {
		fprintf(stderr, "%s: only assayd starts this\n", argv[0]);
		return (SERVE_EXIT_LOST);
	}
	if (!begin(&p))
		return (SERVE_EXIT_PROBLEM);
	loop_run(p.loop);
	finish(&p);
	return (0);
}
