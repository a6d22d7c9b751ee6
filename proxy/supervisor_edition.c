/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The supervisor's configurations, see supervisor_priv.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/str.h"
#include "proxy/audit/log.h"
#include "proxy/logs.h"
#include "proxy/problem.h"
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
	if (edition->setup >= 0)
		(void)close(edition->setup);
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

struct edition *
edition_load(struct supervisor *p, struct buf *fixed)
{
	struct conf_problems list = { 0 };
	struct edition *edition = calloc(1, sizeof(*edition));
	bool ok;

	if (edition == NULL)
		abort();
	edition->setup = -1;
	edition->number = p->edition != NULL ? p->edition->number + 1 : 1;
	ok = parse(p, edition, &list);
	if (ok && p->edition != NULL)
		conf_needs_restart(p->edition->conf, edition->conf, fixed);
	ok = ok && fixed->n == 0;
	if (ok) {
		logs_check(edition->conf, &list);
		if (list.errors == 0)
			edition->logs = logs_open(edition->conf, &list);
		ok = edition->logs != NULL;
	}
	conf_problems_print(&list, supervisor_shown_name(p), stderr);
	conf_problems_fini(&list);
	if (!ok)
		edition_free(&edition);
	return (edition);
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
	supervisor_notify("READY=1");
	if (p->reopen_again) {
		p->reopen_again = false;
		logs_reopen(p->edition->conf, p->edition->logs);
		served_reopen(p);
	}
	supervisor_reload_waiting(p);
}

static void
drop_next(struct supervisor *p)
{
	if (p->next == NULL)
		return;
	signers_last(p, p->next->signer);
	edition_free(&p->next);
}

static void
refuse(struct supervisor *p)
{
	drop_next(p);
	log_line(LEVEL_ERROR, "reload", "%s has errors; nothing was changed",
	    supervisor_shown_name(p));
	over(p);
}

void
supervisor_reload(struct supervisor *p)
{
	struct fault f = { ERR_NONE, "" };
	struct buf fixed = { 0 };
	struct signer *s;
	struct timespec t;

	if (p->next != NULL || !p->served.ready) {
		p->reload_again = true; /* one is under way, or it is down */
		return;
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	supervisor_notify("RELOADING=1\nMONOTONIC_USEC=%lld",
	    (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000);
	p->next = edition_load(p, &fixed);
	if (p->next == NULL && fixed.n > 0) {
		log_line(LEVEL_ERROR, "reload",
		    "%.*s cannot change while running; nothing was changed, "
		    "restart to apply",
		    (int)fixed.n, fixed.p);
		over(p);
	} else if (p->next == NULL)
		refuse(p);
	else if ((s = signer_open(p, p->next->conf, &f)) == NULL) {
		edition_problem(p, "ca", f.detail);
		refuse(p);
	} else
		p->next->signer = s->number;
	buf_fini(&fixed);
}

void
supervisor_reload_waiting(struct supervisor *p)
{
	if (!p->reload_again || !p->served.ready)
		return;
	p->reload_again = false;
	supervisor_reload(p);
}

void
supervisor_reloaded(struct supervisor *p, bool taken)
{
	if (taken) {
		signers_last(p, p->edition->signer);
		edition_free(&p->edition);
		p->edition = p->next;
		p->next = NULL;
	} else
		drop_next(p);
	over(p);
}

void
supervisor_reload_lost(struct supervisor *p, const char *why)
{
	if (p->next == NULL)
		return;
	log_line(LEVEL_ERROR, "reload", "%s; nothing was changed", why);
	drop_next(p);
	over(p);
}

static void
opened_next(struct supervisor *p, struct signer *s, const char *why)
{
	int client;

	if (p->next == NULL)
		return;
	if (s == NULL) {
		p->next->signer = 0;
		edition_problem(p, "ca", why);
		refuse(p);
		return;
	}
	p->next->ca_made = s->made;
	if ((client = signer_client(s)) < 0)
		supervisor_reload_lost(p, "its key holder has died");
	else if (!served_setup(p, p->next, s, client))
		supervisor_reload_lost(p,
		    "the serving process does not answer");
}

static void
opened_first(struct supervisor *p, struct signer *s, const char *why)
{
	struct fault f = { ERR_NONE, "" };

	if (s == NULL) {
		edition_problem(p, "ca", why);
		supervisor_end(p, EXIT_PROBLEM);
		return;
	}
	p->edition->ca_made = s->made;
	if (!served_start(p, &f)) {
		log_line(LEVEL_ERROR, "serve", "%s", f.detail);
		supervisor_end(p, EXIT_PROBLEM);
	}
}

void
supervisor_opened(struct supervisor *p, struct signer *s, const char *why)
{
	if (p->phase == PHASE_STARTS)
		opened_first(p, s, why);
	else
		opened_next(p, s, why);
}
