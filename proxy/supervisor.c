/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The supervisor, see supervisor.h: start, signals, end. */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "config.h"
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif
#include "base/list.h"
#include "net/descriptors.h"
#include "proxy/admin.h"
#include "proxy/audit/log.h"
#include "proxy/folders.h"
#include "proxy/gen.h"
#include "proxy/logs.h"
#include "proxy/problem.h"
#include "proxy/supervisor_priv.h"

#define DEFAULT_USER "assay"

/* Options. */

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
read_options(struct supervisor_options *o, int argc, char **argv)
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

/* Whom children become; NULL: nobody else. */
static const struct sandbox_user *
find_user(const struct conf *c, struct sandbox_user *room,
    struct conf_problems *list)
{
	const char *name = c->user != NULL ? c->user : DEFAULT_USER;
	bool found = sandbox_user_find(name, room);

	if (!found && c->user != NULL)
		problem_add(list, false, "user: there is no user '%s'", name);
	return (found && geteuid() == 0 && room->uid != 0 ? room : NULL);
}

static struct conf *
load_conf(struct supervisor *p, struct conf_problems *list)
{
	struct conf *c = conf_load(p->file, list);
	char why[NETS_WHY];

	if (c != NULL && p->options.listen != NULL &&
	    !conf_set_listen(c, p->options.listen, why)) {
		fprintf(stderr, "assayd: --listen %s: %s\n", p->options.listen,
		    why);
		conf_unref(&c);
	}
	return (c);
}

static int
check(struct supervisor *p)
{
	struct conf_problems list = { 0 };
	struct conf *c = load_conf(p, &list);
	struct gen *g = NULL;
	bool ok = c != NULL;

	if (c != NULL) {
		sandbox_set_mode(c->sandbox);
		p->user = find_user(c, &p->user_room, &list);
		scans_find_user(p);
		g = gen_new(c, 1, NULL, &list);
		(void)gen_start(g, NULL, NULL, NULL, &list);
		scans_check(p, c, &list);
		logs_check(c, &list);
		if (c->admin.socket != NULL)
			admin_check(c->admin.socket, c->state, &list);
		if (!upgrade_format_ok())
			problem_add(&list, false,
			    "upgrade: this version takes a restart");
		ok = list.errors == 0;
	}
	conf_problems_print(&list, supervisor_shown_name(p), stderr);
	conf_problems_fini(&list);
	if (ok)
		printf("%s: ok\n", supervisor_shown_name(p));
	gen_unref(&g);
	conf_unref(&c);
	return (ok ? EXIT_OK : EXIT_PROBLEM);
}

void
supervisor_notify(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
#ifdef HAVE_SYSTEMD
	(void)sd_notify(0, text);
#endif
}

void
store_listeners(const struct supervisor *p)
{
#ifdef HAVE_SYSTEMD
	const struct listen_set *l = &p->edition->listeners;
	int *fds = calloc(l->copies * l->n + 1, sizeof(*fds));
	unsigned i, n = 0;

	if (fds == NULL)
		abort();
	(void)sd_notify(0, "FDSTOREREMOVE=1\nFDNAME=" GIVEN_STORED);
	for (i = 0; listen_is_open(l) && i < l->copies * l->n; i++)
		if (!given_has(&p->given, &l->addr[i % l->n]))
			fds[n++] = l->fd[i];
	if (n > 0)
		(void)sd_pid_notify_with_fds(0, 0,
		    "FDSTORE=1\nFDNAME=" GIVEN_STORED, fds, n);
	free(fds);
#else
	(void)p;
#endif
}

void
supervisor_notify_state(const struct supervisor *p, bool ready)
{
	const struct postmortem *dead = p->aftermath.postmortem;

	char alarm[80] = "";

	if (figure_get(p->figures, FIGURE_LEAVES_REFUSED) > 0)
		(void)snprintf(alarm, sizeof(alarm),
		    "; key holders refused %llu requests",
		    (unsigned long long)figure_get(p->figures,
			FIGURE_LEAVES_REFUSED));
	supervisor_notify("%sSTATUS=generation %u is in force%s; "
			  "%llu crashes since the start%s",
	    ready ? "READY=1\n" : "", p->edition->number,
	    p->refused ? ", the last reload was refused" : "",
	    (unsigned long long)(dead != NULL ? postmortem_count(dead) : 0),
	    alarm);
}

/* Signals. */

static void
drain(struct supervisor *p)
{
	uint64_t ms = p->phase == PHASE_DRAINS
	    ? 0
	    : p->edition->conf->limits.drain_ms;
	bool serves = p->served != NULL && p->served->ready;

	log_line(LEVEL_NOTICE, NULL,
	    p->phase == PHASE_DRAINS
		? "stopping now"
		: "draining: no new connections, flows have %llu s",
	    (unsigned long long)(ms / 1000));
	supervisor_notify("STOPPING=1");
	served_look(p); /* what they ended with is not how we end */
	listen_close(&p->edition->listeners);
	store_listeners(p);
	if (!serves && p->phase != PHASE_DRAINS && p->ending == NULL) {
		supervisor_end(p, EXIT_OK); /* it serves nobody */
		return;
	}
	p->phase = PHASE_DRAINS;
	served_drain(p, ms);
}

void
supervisor_reopen(struct supervisor *p)
{
	const struct conf_log *l = &p->edition->conf->log;

	logs_reopen(&l->access, p->edition->logs);
	logs_reopen(&l->issued, p->edition->issued);
	served_reopen(p);
	issued_reopen(p);
}

static void
reopen(struct supervisor *p)
{
	if (p->next != NULL) { /* its files were opened by their old names */
		p->reopen_again = true;
		return;
	}
	supervisor_reopen(p);
}

static void
on_signal(uv_signal_t *h, int number)
{
	struct supervisor *p = h->data;

	if (p->phase == PHASE_ENDS)
		return;
	if (number == SIGHUP && p->phase != PHASE_DRAINS)
		supervisor_reload(p);
	else if (number == SIGUSR1)
		reopen(p);
	else if (number == SIGUSR2)
		supervisor_upgrade(p);
	else if (number == SIGTERM || number == SIGINT || number == SIGQUIT)
		drain(p);
}

/* What is acted on. */
static const int watched[] = { SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1,
	SIGUSR2 };

_Static_assert(sizeof(watched) / sizeof(watched[0]) <= SUPERVISOR_SIGNALS,
    "room for all");

/* SIGHUP, SIGUSR1 and SIGUSR2 wait for the end of the start. */
static void
hold_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(how, &set, NULL);
}

static void
watch_signals(struct supervisor *p)
{
	unsigned i;

	for (i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
		uv_signal_init(loop_uv(p->loop), &p->signals[i]);
		p->signals[i].data = p;
		uv_signal_start(&p->signals[i], on_signal, watched[i]);
	}
}

static void
unwatch_signals(struct supervisor *p)
{
	unsigned i;

	for (i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
		uv_close((uv_handle_t *)&p->signals[i], NULL);
		signal(watched[i], SIG_IGN); /* it is ending already */
	}
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
	static const int ignored[] = { SIGPIPE, SIGALRM, SIGVTALRM, SIGPROF,
		SIGXCPU, SIGXFSZ, SIGPOLL, SIGPWR, SIGSTKFLT };
	unsigned i;
	int s;

	for (i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	for (s = SIGRTMIN; s <= SIGRTMAX; s++)
		signal(s, SIG_IGN);
}

/* Start and end. */

/*
 * Ours, but what is for us alone (systemd's sockets are ours to answer), and
 * with the state folder that we know: who is not root any more would look for
 * another.
 */
static char **
children_env(void)
{
	static const char *const ours[] = { "NOTIFY_SOCKET=", "LISTEN_",
		"WATCHDOG_", "ASSAY_UPGRADE", "STATE_DIRECTORY=" };
	char *state = conf_default_state_dir(), **env;
	unsigned i, k, n = 0;

	for (i = 0; environ[i] != NULL; i++)
		;
	env = calloc(i + 2, sizeof(*env));
	if (env == NULL)
		abort();
	for (i = 0; environ[i] != NULL; i++) {
		for (k = 0; k < sizeof(ours) / sizeof(ours[0]) &&
		     strncmp(environ[i], ours[k], strlen(ours[k])) != 0;
		     k++)
			;
		if (k == sizeof(ours) / sizeof(ours[0]))
			env[n++] = strdup(environ[i]);
	}
	if (state != NULL && asprintf(&env[n], "STATE_DIRECTORY=%s", state) < 0)
		abort();
	free(state);
	return (env);
}

void
supervisor_announce(const struct supervisor *p)
{
	const struct listen_set *set = &p->edition->listeners;
	const struct conf_listen *l;
	char text[64];
	unsigned i;

	for (i = 0; i < set->n; i++) {
		l = &p->edition->conf->listen.v[set->of[i]];
		listen_text(&set->addr[i], text);
		log_line(LEVEL_NOTICE, "listen", "%s %s%s%s", text,
		    conf_kind_name(l->kind),
		    strcmp(l->name, l->on) != 0 ? ", " : "",
		    strcmp(l->name, l->on) != 0 ? l->name : "");
	}
	log_line(LEVEL_NOTICE, "admin", "%s",
	    p->edition->admin >= 0 ? p->edition->conf->admin.socket : "none");
}

void
supervisor_ready(struct supervisor *p)
{
	p->phase = PHASE_SERVES;
	supervisor_announce(p);
	log_line(LEVEL_NOTICE, "ready",
	    "assay " PACKAGE_VERSION ", %u workers, pid %ld",
	    p->edition->workers, (long)getpid());
	supervisor_notify_state(p, true);
	store_listeners(p);
	hold_signals(SIG_UNBLOCK);
}

void
supervisor_end(struct supervisor *p, int code)
{
	p->phase = PHASE_ENDS;
	p->code = code;
	loop_stop(p->loop);
}

/* What the configuration does not say, and only a start can find. */
static bool
prepare(struct supervisor *p)
{
	struct conf_problems list = { 0 };
	const struct conf *c = p->edition->conf;
	bool ok;

	p->user = find_user(c, &p->user_room, &list);
	scans_find_user(p);
	if (list.errors == 0)
		folders_make(c->state, p->user, &list);
	ok = list.errors == 0;
	conf_problems_print(&list, supervisor_shown_name(p), stderr);
	conf_problems_fini(&list);
	return (ok);
}

static bool
begin(struct supervisor *p)
{
	struct fault f = { ERR_NONE, "" };
	struct buf none = { 0 };
	struct signer *s;

	if ((p->edition = edition_load(p, &none)) == NULL)
		return (false);
	sandbox_set_mode(p->edition->conf->sandbox);
	if (!prepare(p))
		return (false);
	if (!given_take(&p->given, &f) ||
	    !edition_listen(p, p->edition, NULL, &f) ||
	    (s = signer_open(p, p->edition->conf, &f)) == NULL ||
	    !scans_open(p, p->edition, &f)) {
		log_line(LEVEL_ERROR, NULL, "%s", f.detail);
		return (false);
	}
	given_drop_stored(&p->given);
	p->edition->signer = s->number;
	figure_set(p->figures, FIGURE_GENERATION, p->edition->number);
	tickets_begin(p, NULL);
	issued_begin(p);
	return (true);
}

/* Those that the program before has left blocked are taken now. */
static void
unblock_all(void)
{
	sigset_t none;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* As this program, what the one before was; then its own serving process. */
static bool
go_on(struct supervisor *p)
{
	struct conf_problems list = { 0 };

	if (!upgrade_take(p)) {
		log_line(LEVEL_ERROR, "upgrade",
		    "what the program before has left cannot be read");
		return (false);
	}
	sandbox_set_mode(p->edition->conf->sandbox);
	p->user = find_user(p->edition->conf, &p->user_room, &list);
	conf_problems_fini(&list);
	scans_find_user(p);
	p->phase = PHASE_SERVES;
	issued_begin(p);
	log_line(LEVEL_NOTICE, "upgrade", "assay " PACKAGE_VERSION ", pid %ld",
	    (long)getpid());
	unblock_all();
	supervisor_replace(p);
	return (true);
}

static void
finish(struct supervisor *p)
{
	unsigned i;

	unwatch_signals(p);
	upgrade_fini(p);
	served_free(p);
	aftermath_fini(p);
	fetching_free(p);
	scans_free(p);
	signers_free(p);
	issued_end(p);
	tickets_end(p);
	if (p->next != NULL && p->next->admin >= 0)
		(void)unlink(p->next->conf->admin.socket);
	if (p->edition != NULL && p->edition->admin >= 0)
		(void)unlink(p->edition->conf->admin.socket);
	edition_free(&p->next);
	edition_free(&p->edition);
	given_fini(&p->given);
	if (p->figures_fd >= 0)
		(void)close(p->figures_fd);
	figures_free((const struct figures **)&p->figures);
	loop_free(&p->loop);
	for (i = 0; p->env[i] != NULL; i++)
		free(p->env[i]);
	free(p->env);
}

static int
run(struct supervisor *p)
{
	p->loop = loop_new();
	p->figures = figures_new(&p->figures_fd);
	p->env = children_env();
	served_init(p);
	editions_init(p);
	aftermath_init(p);
	fetching_init(p);
	watch_signals(p);
	if (p->figures == NULL)
		log_line(LEVEL_ERROR, NULL, "memory for figures: %s",
		    strerror(errno));
	if (p->figures != NULL && (upgrade_is() ? go_on(p) : begin(p)))
		loop_run(p->loop);
	else
		p->code = EXIT_PROBLEM;
	finish(p);
	if (p->code == EXIT_OK)
		log_line(LEVEL_NOTICE, NULL, "ended");
	return (p->code);
}

int
supervisor_main(int argc, char **argv)
{
	static struct supervisor p;
	int code;

	if ((code = read_options(&p.options, argc, argv)) >= 0)
		return (code);
	ignore_signals();
	hold_signals(SIG_BLOCK);
	descriptors_raise();
	upgrade_init(&p, argv);
	p.file = p.options.file;
	if (p.file == NULL && access(conf_default_file(), F_OK) == 0)
		p.file = conf_default_file();
	return (p.options.check ? check(&p) : run(&p));
}
