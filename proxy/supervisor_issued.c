/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the supervisor hears of key holders that sign: counted, and recorded in
 * log.issued.  See supervisor_priv.h.  A serving process that was taken over has
 * no way to this record.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "proxy/audit/audit.h"
#include "proxy/audit/log.h"
#include "proxy/logs.h"
#include "proxy/supervisor_priv.h"

/*
 * Copies of its descriptors, for the writer: the edition keeps its own, with
 * which another program goes on.  NULL: there is no room for them.
 */
static int *
copies(const struct edition *e)
{
	unsigned i, n = (unsigned)e->conf->log.issued.n;
	int *fds = calloc(n + 1, sizeof(*fds));

	if (fds == NULL)
		abort();
	for (i = 0; i < n; i++)
		if ((fds[i] = fcntl(e->issued[i], F_DUPFD_CLOEXEC, 0)) < 0) {
			log_line(LEVEL_ERROR, "log", "log.issued: %s",
			    strerror(errno));
			logs_close(&fds, i);
			break;
		}
	return (fds);
}

void
issued_begin(struct supervisor *p)
{
	const struct conf_log *l = &p->edition->conf->log;
	unsigned i, n = (unsigned)l->issued.n;
	struct audit_target *t;
	struct fault f = { ERR_NONE, "" };
	int *fds;

	issued_end(p);
	if (n == 0 || (fds = copies(p->edition)) == NULL)
		return;
	if ((t = calloc(n, sizeof(*t))) == NULL)
		abort();
	for (i = 0; i < n; i++)
		t[i] = (struct audit_target){ logs_name(&l->issued.v[i]),
			l->issued.v[i].format, fds[i] };
	if ((p->issued = audit_new(t, n, &l->privacy, &f)) == NULL)
		log_line(LEVEL_ERROR, "log", "log.issued: %s", f.detail);
	free(t);
	free(fds);
}

void
issued_end(struct supervisor *p)
{
	audit_free(&p->issued);
}

void
issued_reopen(struct supervisor *p)
{
	int *fds;

	if (p->issued == NULL) {
		issued_begin(p);
		return;
	}
	if ((fds = copies(p->edition)) == NULL)
		return;
	audit_replace(p->issued, fds, (unsigned)p->edition->conf->log.issued.n);
	free(fds);
}

static uint64_t
wall_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return ((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000);
}

static void
record(const struct signer *s, const struct keys_news *n)
{
	bool leaf = n->kind == KEYS_LEAF;
	struct audit_issued r = { .at_ms = wall_ms(),
		.holder = s->keys.child.pid,
		.host = leaf ? str_of(n->text) : STR_NONE,
		.why = leaf ? STR_NONE : str_of(n->text),
		.from = n->from,
		.to = n->to,
		.n = leaf ? n->leaves : n->refused,
		.untold = n->untold };
	struct buf line = { 0 };

	memcpy(r.serial, n->serial, sizeof(r.serial));
	audit_format_issued(&line, &r);
	audit_write_line(s->of->issued, line.p, line.n);
	buf_fini(&line);
}

void
issued_news(struct signer *s, const struct keys_news *n)
{
	struct supervisor *p = s->of;

	if (n->leaves > s->leaves) {
		figure_add(p->figures, FIGURE_LEAVES_SIGNED,
		    n->leaves - s->leaves);
		s->leaves = n->leaves;
	}
	if (n->refused > s->refused) {
		figure_add(p->figures, FIGURE_LEAVES_REFUSED,
		    n->refused - s->refused);
		s->refused = n->refused;
	}
	if (n->kind == KEYS_REFUSED) {
		log_line(LEVEL_ERROR, "ca",
		    "key holder: process %ld refused to sign: %s; who asked is "
		    "broken, or was taken over (%llu refused since the start)",
		    (long)s->keys.child.pid, n->text,
		    (unsigned long long)figure_get(p->figures,
			FIGURE_LEAVES_REFUSED));
		if (p->phase == PHASE_SERVES)
			supervisor_notify_state(p, false);
	}
	if (p->issued != NULL && n->kind != KEYS_COUNT)
		record(s, n);
}
