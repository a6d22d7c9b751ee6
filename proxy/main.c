/* SPDX-License-Identifier: GPL-2.0-or-later */
/* assayd: start, signals, reload, end. */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include "config.h"
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif
#include "base/budget.h"
#include "base/spawn.h"
#include "certs/keyholder.h"
#include "fetch/fetcher.h"
#include "certs/reap.h"
#include "proxy/admin.h"
#include "net/descriptors.h"
#include "proxy/gen.h"
#include "proxy/listen.h"
#include "proxy/audit/log.h"
#include "proxy/peers.h"
#include "proxy/pressure.h"
#include "proxy/reload.h"
#include "proxy/worker.h"
#include "scanners/clam_master.h"

#define SIGNALS_MAX 8
#define NAMES_MAX 8192 /* names looked up at once */
#define LINGER_MIN 256 /* connections that only end */
/* a disk that blocks four of them blocks the fifth as well */
#define FILE_THREADS 4

enum { EXIT_OK = 0, EXIT_PROBLEM = 1, EXIT_USAGE = 2 };

struct options {
	const char *file; /* NULL: none given */
	const char *listen;
	bool check;
};

struct proxy {
	struct options options;
	const char *file; /* that is read; NULL: built-in defaults */
	struct gen_pools pools;
	struct gen *gen; /* counted: the current one */
	struct proxy_shared shared;
	struct worker **workers;
	unsigned n_workers;
	struct reload reload;
	struct pressure pressure;
	bool reload_again; /* asked for while one is under way */
	struct loop *loop; /* of the main thread: signals, admin socket */
	uv_signal_t signals[SIGNALS_MAX];
	struct admin *admin;
	bool draining;
	uint64_t ended_by; /* monotonic ms at which draining is over */
	struct timer watch_end;
};

static void
usage(FILE *to)
{
	fputs("usage: assayd [-f FILE] [--check] [--listen ADDR] [--version] "
	      "[--help]\n"
	      "  -f FILE         read this configuration\n"
	      "  --check         read and check everything, print all "
	      "problems\n"
	      "  --listen ADDR   listen there instead (host:port, :port, "
	      "[v6]:port)\n",
	    to);
}

/* -1: go on, else the exit code. */
static int
read_options(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = { { "check", no_argument, NULL,
						   'c' },
		{ "listen", required_argument, NULL, 'l' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "f:h", longs, NULL)) != -1)
		switch (c) {
		case 'f':
			o->file = optarg;
			break;
		case 'c':
			o->check = true;
			break;
		case 'l':
			o->listen = optarg;
			break;
		case 'V':
			puts("assayd " PACKAGE_VERSION);
			return (EXIT_OK);
		case 'h':
			usage(stdout);
			return (EXIT_OK);
		default:
			usage(stderr);
			return (EXIT_USAGE);
		}
	if (optind == argc)
		return (-1);
	usage(stderr);
	return (EXIT_USAGE);
}

static const char *
shown_name(const struct proxy *p)
{
	return (p->file != NULL ? p->file : "built-in defaults");
}

/* The configuration as the options change it; NULL: problems are printed. */
static struct conf *
load_conf(struct proxy *p, struct conf_problems *problems)
{
	char why[NETS_WHY];
	struct conf *c = conf_load(p->file, problems);

	if (c != NULL && p->options.listen != NULL &&
	    !conf_set_listen(c, p->options.listen, why)) {
		fprintf(stderr, "assayd: --listen %s: %s\n", p->options.listen,
		    why);
		conf_unref(&c);
	}
	return (c);
}

/* fixed (may be NULL): the setting that cannot change while it runs. */
static struct gen *
load_gen(struct proxy *p, bool dry, const char **fixed)
{
	struct conf_problems problems = { 0 };
	struct conf *c = load_conf(p, &problems);
	struct gen *g = NULL;

	if (c != NULL && fixed != NULL && problems.errors == 0)
		*fixed = conf_needs_restart(p->gen->conf, c);
	if (c != NULL && (fixed == NULL || *fixed == NULL))
		g = gen_new(c, dry ? NULL : &p->pools, p->gen, dry, &problems);
	conf_problems_print(&problems, shown_name(p), stderr);
	conf_problems_fini(&problems);
	conf_unref(&c);
	return (g);
}

static int
check(struct proxy *p)
{
	struct gen *g = load_gen(p, true, NULL);

	if (g == NULL)
		return (EXIT_PROBLEM);
	printf("%s: ok\n", shown_name(p));
	gen_unref(&g);
	return (EXIT_OK);
}

static void
notify(const char *state)
{
#ifdef HAVE_SYSTEMD
	(void)sd_notify(0, state);
#else
	(void)state;
#endif
}

/* Workers. */

static unsigned
worker_count(const struct conf *c)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return (c->workers != CONF_AUTO ? (unsigned)c->workers
		: n > 0                 ? (unsigned)n
					: 1);
}

static void
announce(const struct listen_set *set)
{
	struct sockaddr_storage *self = calloc(set->n, sizeof(*self));
	char text[64];
	unsigned i;

	for (i = 0; i < set->n; i++) {
		memcpy(&self[i], &set->addr[i], sizeof(set->addr[i]));
		listen_text(&set->addr[i], text);
		log_line(LEVEL_NOTICE, "listen", "%s explicit%s%s", text,
		    strcmp(set->of[i]->name, set->of[i]->on) != 0 ? ", " : "",
		    strcmp(set->of[i]->name, set->of[i]->on) != 0
			? set->of[i]->name
			: "");
	}
	nets_self_set(self, set->n);
	free(self);
}

static bool
start_workers(struct proxy *p, struct fault *f)
{
	struct listen_set set;
	unsigned i, n = worker_count(p->gen->conf);

	p->shared.flight = flight_new(-1, n);
	if (p->shared.flight == NULL) {
		fault_set(f, ERR_SYSTEM, "no memory for the flight record");
		return (false);
	}
	if (!listen_open(&set, p->gen->conf, n, f))
		return (false);
	announce(&set);
	p->workers = calloc(n, sizeof(struct worker *));
	for (i = 0; i < n; i++) {
		p->workers[i] = worker_start(i, p->gen, &p->shared,
		    listen_of(&set, i), set.of, set.n, f);
		if (p->workers[i] == NULL)
			break;
		p->n_workers++;
	}
	listen_fini(&set);
	return (p->n_workers == n);
}

static void
stop_workers(struct proxy *p)
{
	unsigned i;

	for (i = 0; i < p->n_workers; i++)
		worker_join(p->workers[i]);
	loop_settle(p->loop); /* what a reload still waits for */
	pressure_fini(&p->pressure);
	gen_unref(&p->gen); /* ends scan threads and key holder */
	job_pool_free(&p->pools.crypto);
	job_pool_free(&p->pools.files);
	for (i = 0; i < p->n_workers; i++)
		worker_free(&p->workers[i]);
	free(p->workers);
}

/* What peers may take up, of all generations together. */
static void
set_budget(struct proxy *p)
{
	const struct conf_limits *l = &p->gen->conf->limits;
	struct budget *b = p->shared.budget;

	budget_set_limit(b, BUDGET_MEMORY, l->memory);
	budget_set_limit(b, BUDGET_TEMP, l->temp);
	budget_set_limit(b, BUDGET_LINGER, l->clients / 4 + LINGER_MIN);
	budget_set_limit(b, BUDGET_NAMES, NAMES_MAX);
	descriptors_share(b);
}

/* Signals. */

static void
reload(struct proxy *p)
{
	const char *fixed = NULL;
	struct gen *g;

	if (p->reload.gen != NULL) { /* one is under way */
		p->reload_again = true;
		return;
	}
	notify("RELOADING=1");
	g = load_gen(p, false, &fixed);
	if (g != NULL) {
		reload_start(&p->reload, g);
		return;
	}
	if (fixed != NULL)
		log_line(LEVEL_ERROR, "reload",
		    "'%s' cannot change while running; nothing was changed, "
		    "restart to apply",
		    fixed);
	else
		log_line(LEVEL_ERROR, "reload",
		    "%s has errors; nothing was changed", shown_name(p));
	notify("READY=1");
}

/* Every worker uses it, or none does. */
static void
reload_done(struct reload *r, struct gen *g, const struct fault *f)
{
	struct proxy *p = CONTAINER_OF(r, struct proxy, reload);

	if (f->code != ERR_NONE) {
		gen_unref(&g);
		log_line(LEVEL_ERROR, "reload", "%s%s%s; nothing was changed",
		    err_info(f->code)->text, f->detail[0] != '\0' ? ": " : "",
		    f->detail);
	} else {
		gen_unref(&p->gen);
		p->gen = g;
		set_budget(p);
		gen_report(g);
		log_line(LEVEL_NOTICE, "reload", "generation %u is in force",
		    g->number);
	}
	if (p->draining)
		return;
	notify("READY=1");
	if (p->reload_again) {
		p->reload_again = false;
		reload(p);
	}
}

/* All workers have ended when their connections have. */
static void
watch_end(struct timer *t)
{
	struct proxy *p = CONTAINER_OF(t, struct proxy, watch_end);

	if (atomic_load(&p->shared.clients) == 0 ||
	    loop_now(p->loop) >= p->ended_by)
		loop_stop(p->loop);
	else
		timer_set(t, 50);
}

static void
drain(struct proxy *p)
{
	uint64_t ms = p->draining ? 0 : p->gen->conf->limits.drain_ms;
	unsigned i;

	log_line(LEVEL_NOTICE, NULL,
	    p->draining ? "stopping now"
			: "draining: no new connections, flows have %llu s",
	    (unsigned long long)(ms / 1000));
	notify("STOPPING=1");
	p->draining = true;
	reload_cancel(&p->reload);
	pressure_stop(&p->pressure);
	p->ended_by = loop_now(p->loop) + ms;
	for (i = 0; i < p->n_workers; i++)
		worker_post_drain(p->workers[i], ms);
	timer_set(&p->watch_end, 1);
}

static void
on_signal(uv_signal_t *h, int number)
{
	struct proxy *p = h->data;

	if (number == SIGHUP && !p->draining)
		reload(p);
	else if (number == SIGUSR1)
		audit_reopen(p->gen->audit);
	else if (number == SIGCHLD)
		reap_all();
	else if (number == SIGTERM || number == SIGINT || number == SIGQUIT)
		drain(p);
}

/* What is acted on. */
static const int watched[] = { SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1,
	SIGCHLD };

_Static_assert(sizeof(watched) / sizeof(watched[0]) <= SIGNALS_MAX,
    "room for all");

/* SIGHUP and SIGUSR1 wait for the end of the start. */
static void
hold_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(how, &set, NULL);
}

static void
watch_signals(struct proxy *p)
{
	unsigned i;

	for (i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
		uv_signal_init(loop_uv(p->loop), &p->signals[i]);
		p->signals[i].data = p;
		uv_signal_start(&p->signals[i], on_signal, watched[i]);
	}
	hold_signals(SIG_UNBLOCK);
}

static void
unwatch_signals(struct proxy *p)
{
	unsigned i;

	for (i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
		uv_close((uv_handle_t *)&p->signals[i], NULL);
	signal(SIGTERM, SIG_IGN); /* it is ending already */
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
}

/*
 * What would end a process that knows nothing of it: a timer or limit of
 * whoever started us (SIGXFSZ: a file that may grow no more), a signal meant
 * for another version.  Those of faults in the program, SIGKILL and job
 * control keep their meaning.
 */
static void
ignore_signals(void)
{
	static const int ignored[] = { SIGPIPE, SIGUSR2, SIGALRM, SIGVTALRM,
		SIGPROF, SIGXCPU, SIGXFSZ, SIGPOLL, SIGPWR, SIGSTKFLT };
	unsigned i;
	int s;

	for (i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	for (s = SIGRTMIN; s <= SIGRTMAX; s++)
		signal(s, SIG_IGN);
}

static int
run(struct proxy *p)
{
	struct fault f = { 0 };

	p->pools.crypto = job_pool_new("crypto",
	    2 * (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
	p->pools.files = job_pool_new("files", FILE_THREADS);
	p->shared.peers = peers_new();
	p->shared.budget = budget_new();
	pressure_init(&p->pressure);
	p->loop = loop_new();
	timer_init(&p->watch_end, p->loop, watch_end);
	p->gen = load_gen(p, false, NULL);
	if (p->gen == NULL)
		return (EXIT_PROBLEM);
	set_budget(p);
	gen_report(p->gen);
	watch_signals(p);
	p->admin = admin_new(p->loop, &p->gen, &p->shared, &f);
	if (f.code != ERR_NONE || !start_workers(p, &f)) {
		log_line(LEVEL_ERROR, NULL, "%s", f.detail);
		return (EXIT_PROBLEM);
	}
	descriptors_count_own(p->n_workers);
	descriptors_share(p->shared.budget);
	log_line(LEVEL_NOTICE, "admin", "%s",
	    p->admin != NULL ? p->gen->conf->admin.socket : "none");
	p->reload = (struct reload){ .home = p->loop,
		.workers = p->workers,
		.n = p->n_workers,
		.done = reload_done };
	pressure_start(&p->pressure, p->loop, &p->shared, p->workers,
	    p->n_workers);
	log_line(LEVEL_NOTICE, "ready",
	    "assay " PACKAGE_VERSION ", %u workers, pid %ld", p->n_workers,
	    (long)getpid());
	notify("READY=1");
	loop_run(p->loop);
	timer_stop(&p->watch_end);
	admin_free(&p->admin);
	unwatch_signals(p);
	stop_workers(p);
	peers_free(&p->shared.peers);
	flight_free(&p->shared.flight);
	budget_free(&p->shared.budget);
	loop_free(&p->loop);
	log_line(LEVEL_NOTICE, NULL, "ended");
	return (EXIT_OK);
}

static const struct {
	const char *name;
	int (*main)(int argc, char **argv);
} roles[] = {
#define ROLE(name, main_fn) { name, main_fn },
#include "proxy/role.def"
#undef ROLE
};

int
main(int argc, char **argv)
{
	static struct proxy p;
	unsigned i;
	int code;

	spawn_init();
	for (i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (strcmp(argv[0], roles[i].name) == 0)
			return (roles[i].main(argc, argv));
	if ((code = read_options(&p.options, argc, argv)) >= 0)
		return (code);
	ignore_signals();
	hold_signals(SIG_BLOCK);
	descriptors_raise();
	p.file = p.options.file;
	if (p.file == NULL && access(conf_default_file(), F_OK) == 0)
		p.file = conf_default_file();
	return (p.options.check ? check(&p) : run(&p));
}
