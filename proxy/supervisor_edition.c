/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The supervisor's configurations, see supervisor_priv.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/list.h"
#include "base/str.h"
#include "proxy/admin.h"
#include "proxy/audit/log.h"
#include "proxy/logs.h"
#include "proxy/problem.h"
#include "proxy/serve_box.h"
#include "proxy/supervisor_priv.h"

const char *
supervisor_shown_name(const struct supervisor *p)
{
	return (p->file != NULL ? p->file : "built-in defaults");
}

void
edition_free(struct edition **pp)
{
	struct edition *edition = *pp;

	*pp = NULL;
	if (edition == NULL)
		return;
	if (edition->logs != NULL)
		logs_close(&edition->logs, edition->conf->log.access.n);
	if (edition->issued != NULL)
		logs_close(&edition->issued, edition->conf->log.issued.n);
	if (edition->setup >= 0)
		(void)close(edition->setup);
	if (edition->admin >= 0)
		(void)close(edition->admin);
	listen_fini(&edition->listeners);
	free(edition->scans);
	conf_unref(&edition->conf);
	free(edition);
}

/* Parsed as the serving process will do it, from the same text. */
static bool
parse(struct supervisor *p, struct edition *edition, struct conf_problems *list)
{
	struct setup s = { .file = p->file != NULL ? p->file : "",
		.listen = p->options.listen != NULL ? p->options.listen : "" };
	struct buf text = { 0 };
	char why[NETS_WHY];

	if (p->file == NULL || conf_slurp(p->file, &text, list)) {
		s.text = text.n > 0 ? text.p : "";
		s.n = text.n;
		edition->conf = conf_parse(s.file, s.text, s.n, list);
	}
	if (edition->conf != NULL && p->options.listen != NULL &&
	    !conf_set_listen(edition->conf, p->options.listen, why)) {
		fprintf(stderr, "assayd: --listen %s: %s\n", p->options.listen,
		    why);
		conf_unref(&edition->conf);
	}
	if (edition->conf != NULL && (edition->setup = setup_pack(&s)) < 0)
		problem_add(list, false, "memory for it: %s", strerror(errno));
	buf_fini(&text);
	return (edition->conf != NULL && edition->setup >= 0);
}

/* What differs from the edition in force, that not any reload takes. */
static void
compare(const struct conf *was, struct edition *edition, struct buf *fixed)
{
	struct buf others = { 0 };

	conf_needs_restart(was, edition->conf, fixed);
	conf_needs_process(was, edition->conf, &others);
	edition->in_process = others.n == 0;
	buf_fini(&others);
}

static unsigned
worker_count(const struct conf *c)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return (c->workers != CONF_AUTO ? (unsigned)c->workers
		: n > 0                 ? (unsigned)n
					: 1);
}

static bool
same_path(const char *a, const char *b)
{
	return (a != NULL && b != NULL && strcmp(a, b) == 0);
}

bool
edition_listen(struct supervisor *p, struct edition *e,
    const struct edition *was, struct fault *f)
{
	const char *admin = e->conf->admin.socket;

	e->workers = worker_count(e->conf);
	if (!listen_open(&e->listeners, e->conf, e->workers,
		was != NULL ? &was->listeners : NULL, &p->given, f) ||
	    (was == NULL && !given_check(&p->given, &e->listeners, e->conf, f)))
		return (false);
	if (admin == NULL)
		return (true);
	if (was != NULL && was->admin >= 0 &&
	    same_path(admin, was->conf->admin.socket))
		e->admin = fcntl(was->admin, F_DUPFD_CLOEXEC, 0);
	else
		e->admin = admin_open(admin, f);
	return (e->admin >= 0);
}

/* The name of a socket that another edition has not got. */
static void
forget_admin(const struct edition *e, const struct edition *other)
{
	if (e->admin >= 0 &&
	    (other == NULL ||
		!same_path(e->conf->admin.socket, other->conf->admin.socket)))
		(void)unlink(e->conf->admin.socket);
}

struct edition *
edition_load(struct supervisor *p, struct buf *fixed)
{
	struct conf_problems list = { 0 };
	struct edition *edition = calloc(1, sizeof(*edition));
	bool ok;

	if (edition == NULL)
		abort();
	edition->setup = edition->admin = -1;
	edition->number = p->edition != NULL ? p->edition->number + 1 : 1;
	ok = parse(p, edition, &list);
	if (ok && p->edition != NULL)
		compare(p->edition->conf, edition, fixed);
	ok = ok && fixed->n == 0;
	if (ok) {
		logs_check(edition->conf, &list);
		if (list.errors == 0)
			edition->logs = logs_open(&edition->conf->log.access,
			    "log.access", &list);
		if (edition->logs != NULL)
			edition->issued = logs_open(&edition->conf->log.issued,
			    "log.issued", &list);
		ok = edition->issued != NULL;
	}
	conf_problems_print(&list, supervisor_shown_name(p), stderr);
	conf_problems_fini(&list);
	if (!ok)
		edition_free(&edition);
	return (edition);
}

/* A service's database. */
static void
scans_problem(const struct supervisor *p, const char *why)
{
	struct conf_problems list = { 0 };

	problem_add(&list, false, "%s", why);
	conf_problems_print(&list, supervisor_shown_name(p), stderr);
	conf_problems_fini(&list);
}

void
edition_problem(const struct supervisor *p, const char *area, const char *text)
{
	struct conf_problems list = { 0 };
	struct fault f = { ERR_NONE, "" };

	(void)fault_set(&f, ERR_CONFIG, "%s", text);
	problem_fault(&list, area, &f);
	conf_problems_print(&list, supervisor_shown_name(p), stderr);
	conf_problems_fini(&list);
}

/* Reload: all or nothing. */

static void
over(struct supervisor *p)
{
	if (p->phase != PHASE_SERVES)
		return;
	if (p->fetcher == NULL) /* given up, or the end of an upgrade */
		fetching_start(p);
	supervisor_notify_state(p, true);
	if (p->reopen_again) {
		p->reopen_again = false;
		supervisor_reopen(p);
	}
	supervisor_reload_waiting(p);
}

static void
drop_next(struct supervisor *p)
{
	timer_stop(&p->next_end);
	if (p->next == NULL)
		return;
	supervisor_drop_coming(p);
	signers_last(p, p->next->signer);
	forget_admin(p->next, p->edition);
	edition_free(&p->next);
	scans_sweep(p);
}

static void
note_refusal(struct supervisor *p)
{
	p->refused = true;
	figure_set(p->figures, FIGURE_RELOAD_LAST_REFUSED, 1);
	figure_add(p->figures, FIGURE_RELOADS_REFUSED, 1);
}

static void
reload_refused(struct supervisor *p)
{
	note_refusal(p);
	drop_next(p);
	log_line(LEVEL_ERROR, "reload", "%s has errors; nothing was changed",
	    supervisor_shown_name(p));
	over(p);
}

/* Keys, or a database; a serving process that has been asked has its own time. */
static void
on_next_late(struct timer *t)
{
	struct supervisor *p = CONTAINER_OF(t, struct supervisor, next_end);

	if (p->next != NULL && !p->next->goes)
		supervisor_reload_lost(p,
		    "keys or databases were not ready in time");
}

void
editions_init(struct supervisor *p)
{
	timer_init(&p->next_end, p->loop, on_next_late);
}

/* Does the box of the process in charge hold all that the next edition takes? */
static bool
fits_box(const struct supervisor *p)
{
	struct serve_box *wanted;
	char why[256];
	bool fits;

	if (p->served == NULL || p->served->box == NULL)
		return (false);
	wanted = serve_box_new(p->next->conf);
	fits = serve_box_covers(p->served->box, wanted, why);
	serve_box_free(&wanted);
	if (!fits)
		log_line(LEVEL_NOTICE, "sandbox",
		    "out of reach of the process that serves, so another one "
		    "takes over: %s",
		    why);
	return (fits);
}

/* process: for another serving process, whatever differs. */
static void
load_next(struct supervisor *p, bool process)
{
	struct fault f = { ERR_NONE, "" };
	struct buf fixed = { 0 };
	struct signer *s;
	struct timespec t;

	figure_add(p->figures, FIGURE_RELOADS_BEGUN, 1);
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	supervisor_notify("RELOADING=1\nMONOTONIC_USEC=%lld",
	    (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000);
	p->next = edition_load(p, &fixed);
	if (p->next != NULL)
		timer_set(&p->next_end, p->next->conf->limits.start_ms);
	if (p->next != NULL && p->next->in_process)
		p->next->in_process = !process && fits_box(p);
	if (p->next == NULL && fixed.n > 0) {
		log_line(LEVEL_ERROR, "reload",
		    "%.*s cannot change while running; nothing was changed, "
		    "restart to apply",
		    (int)fixed.n, fixed.p);
		note_refusal(p);
		over(p);
	} else if (p->next == NULL)
		reload_refused(p);
	else if ((s = signer_open(p, p->next->conf, &f)) == NULL) {
		edition_problem(p, "ca", f.detail);
		reload_refused(p);
	} else {
		p->next->signer = s->number;
		if (!scans_open(p, p->next, &f))
			supervisor_reload_lost(p, f.detail);
	}
	buf_fini(&fixed);
}

void
supervisor_reload(struct supervisor *p)
{
	if (p->next != NULL || p->upgrades || p->served == NULL ||
	    !p->served->ready) {
		p->reload_again = true; /* one is under way, or it is down */
		return;
	}
	load_next(p, false);
}

void
supervisor_replace(struct supervisor *p)
{
	load_next(p, true);
}

void
supervisor_reload_waiting(struct supervisor *p)
{
	if (!p->reload_again || p->served == NULL || !p->served->ready)
		return;
	p->reload_again = false;
	supervisor_reload(p);
}

/* Its generation is in force, and what the one before had is let go. */
static void
take_over(struct supervisor *p)
{
	struct edition *was = p->edition;

	p->edition = p->next;
	p->next = NULL;
	issued_begin(p);
	store_listeners(p);
	if (p->coming != NULL) {
		supervisor_promote(p, was->conf->limits.drain_ms);
		supervisor_announce(p);
		log_line(LEVEL_NOTICE, "reload",
		    "generation %u is in force, in process %ld",
		    p->edition->number, (long)p->served->child.pid);
	}
	signers_last(p, was->signer);
	forget_admin(was, p->edition);
	edition_free(&was);
	scans_sweep(p);
}

void
supervisor_reloaded(struct supervisor *p, bool taken)
{
	if (taken) {
		p->refused = false;
		take_over(p);
		figure_set(p->figures, FIGURE_GENERATION, p->edition->number);
		figure_set(p->figures, FIGURE_RELOAD_LAST_REFUSED, 0);
		figure_add(p->figures, FIGURE_RELOADS_TAKEN, 1);
		fetching_start(p);
	} else {
		note_refusal(p);
		drop_next(p);
	}
	over(p);
}

void
supervisor_reload_lost(struct supervisor *p, const char *why)
{
	if (p->next == NULL)
		return;
	log_line(LEVEL_ERROR, "reload", "%s; nothing was changed", why);
	note_refusal(p);
	drop_next(p);
	over(p);
}

/*
 * Its key holder may have died since it had its key: the reload waits for the
 * one that follows then, see supervisor_keys_news().  False with a fault: there
 * is one that cannot be reached, or none will come.
 */
static bool
reach_keys(const struct supervisor *p, const struct signer **s, int *client,
    struct fault *f)
{
	*s = signer_find(p, p->next->signer);
	*client = *s != NULL ? signer_client(*s) : -1;
	if (*s == NULL)
		fault_set(f, ERR_SYSTEM, "its key holder has died");
	else if (*client < 0 && (*s)->state == SIGNER_SIGNS && errno != EPIPE)
		fault_set(f, ERR_SYSTEM, "no way to the key holder: %s",
		    strerror(errno));
	return (*client >= 0);
}

/* The serving process takes it beside the one that it has. */
static void
hand_over(struct supervisor *p, const struct signer *s, int client)
{
	if (p->served != NULL && served_setup(p->served, p->next, s, client))
		return;
	if (p->served == NULL)
		(void)close(client);
	supervisor_reload_lost(p, "the serving process does not answer");
}

/* Another serving process takes it, and the one that there is ends. */
static void
start_beside(struct supervisor *p, const struct signer *s, int client)
{
	struct fault f = { ERR_NONE, "" };

	p->coming = served_start_with(p, p->next, s, client, &f);
	if (p->coming == NULL)
		supervisor_reload_lost(p, f.detail);
}

/* Once it has its key and its databases. */
static void
next_goes(struct supervisor *p)
{
	struct fault f = { ERR_NONE, "" };
	char why[SCANS_WHY];
	const struct signer *s;
	int client;

	if (!p->next->has_keys || p->next->goes)
		return;
	switch (scans_state(p, p->next, why)) {
	case SCANS_LOAD:
		return;
	case SCANS_FAILED:
		scans_problem(p, why);
		reload_refused(p);
		return;
	case SCANS_READY:
		break;
	}
	if (!reach_keys(p, &s, &client, &f)) {
		if (f.code != ERR_NONE)
			supervisor_reload_lost(p, f.detail);
		return; /* else news will come, or next_end */
	}
	p->next->goes = true;
	timer_stop(&p->next_end);
	if (!edition_listen(p, p->next, p->edition, &f)) {
		(void)close(client);
		supervisor_reload_lost(p, f.detail);
	} else if (p->next->in_process)
		hand_over(p, s, client);
	else
		start_beside(p, s, client);
}

void
supervisor_keys_news(struct supervisor *p, const struct signer *s)
{
	if (p->phase == PHASE_SERVES && p->next != NULL &&
	    p->next->signer == s->number)
		next_goes(p);
}

static void
opened_next(struct supervisor *p, struct signer *s, const char *why)
{
	if (p->next == NULL)
		return;
	if (s == NULL) {
		p->next->signer = 0;
		edition_problem(p, "ca", why);
		reload_refused(p);
		return;
	}
	p->next->ca_made = s->made;
	p->next->has_keys = true;
	next_goes(p);
}

static void
first_goes(struct supervisor *p)
{
	struct edition *e = p->edition;
	char why[SCANS_WHY];

	if (!e->has_keys || e->goes)
		return;
	switch (scans_state(p, e, why)) {
	case SCANS_LOAD:
		return;
	case SCANS_FAILED:
		scans_problem(p, why);
		supervisor_end(p, EXIT_PROBLEM);
		return;
	case SCANS_READY:
		break;
	}
	e->goes = true;
	supervisor_serve_again(p);
}

void
supervisor_scans_news(struct supervisor *p)
{
	if (p->phase == PHASE_STARTS)
		first_goes(p);
	else if (p->phase == PHASE_SERVES && p->next != NULL)
		next_goes(p);
}

static void
opened_first(struct supervisor *p, struct signer *s, const char *why)
{
	if (s == NULL) {
		edition_problem(p, "ca", why);
		supervisor_end(p, EXIT_PROBLEM);
		return;
	}
	p->edition->ca_made = s->made;
	p->edition->has_keys = true;
	first_goes(p);
}

void
supervisor_opened(struct supervisor *p, struct signer *s, const char *why)
{
	if (p->phase == PHASE_STARTS)
		opened_first(p, s, why);
	else
		opened_next(p, s, why);
}
