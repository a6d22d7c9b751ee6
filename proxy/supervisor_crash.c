/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the supervisor knows of serving processes that have died, or do not move
 * any more: what each leaves (proxy/postmortem.h), what it and its libraries
 * said on stderr, its watchdog.  See supervisor_priv.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "config.h"
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif
#include "base/list.h"
#include "proxy/audit/log.h"
#include "proxy/serve.h"
#include "proxy/supervisor_priv.h"

#define READ_MAX 4096  /* octets of stderr at once */
#define READ_ROUNDS 16 /* in one turn */
#define READ_SECOND \
	(256u << 10)      /* octets a second; the rest waits, or is lost */
#define LINE_EVERY_MS 100 /* lines that are logged, and so many at once */
#define LINE_BURST 50

/* Its stderr: lines for the log, and the last ones for a report. */

static void
keep_said(struct remains *a, const char *p, size_t n)
{
	size_t over = a->said_n + n > sizeof(a->said)
	    ? a->said_n + n - sizeof(a->said)
	    : 0;

	memmove(a->said, a->said + over, a->said_n - over);
	a->said_n -= over;
	memcpy(a->said + a->said_n, p, n);
	a->said_n += n;
}

static void
say_left_out(struct remains *a)
{
	if (a->left_out > 0)
		log_line(LEVEL_WARNING, "serve",
		    "(%llu more lines that it said are left out)",
		    (unsigned long long)a->left_out);
	a->left_out = 0;
}

/* Who was taken over, or is broken, does not fill the disk. */
static bool
may_log(struct remains *a, uint64_t now)
{
	if (a->line_at + LINE_BURST * LINE_EVERY_MS < now)
		a->line_at = now - LINE_BURST * LINE_EVERY_MS;
	if (a->line_at > now) {
		a->left_out++;
		return (false);
	}
	a->line_at += LINE_EVERY_MS;
	return (true);
}

static void
end_line(struct served *v)
{
	struct remains *a = &v->remains;

	a->line[a->line_n] = '\0';
	if (a->line_n > 0 && may_log(a, loop_now(v->of->loop))) {
		say_left_out(a);
		log_line(LEVEL_WARNING, "serve", "%s", a->line);
	}
	a->line_n = 0;
}

static void
note_lines(struct served *v, const char *p, size_t n)
{
	struct remains *a = &v->remains;

	for (; n > 0; n--, p++) {
		if (*p == '\n' || a->line_n == sizeof(a->line) - 1)
			end_line(v);
		if (*p != '\n' && *p != '\0')
			a->line[a->line_n++] = *p;
	}
}

/* What is there; the process may have written much. */
static void
read_errors(struct served *v)
{
	struct remains *a = &v->remains;
	char p[READ_MAX];
	ssize_t n = 1;
	unsigned i;

	for (i = 0; i < READ_ROUNDS && n > 0; i++) {
		n = a->errors < 0 ? 0 : read(a->errors, p, sizeof(p));
		if (n <= 0)
			break;
		keep_said(a, p, (size_t)n);
		note_lines(v, p, (size_t)n);
		a->heard_n += (size_t)n;
	}
	if (n == 0 && a->errors_say != NULL)
		watch_set(a->errors_say, 0); /* all of its writers are gone */
}

static void
on_errors(void *arg, unsigned events)
{
	struct served *v = arg;

	(void)events;
	read_errors(v);
	if (v->remains.heard_n == 0 || v->remains.errors_say == NULL)
		return;
	if (v->remains.heard_n >= READ_SECOND)
		watch_set(v->remains.errors_say, 0);
	if (v->remains.hear.at == 0)
		timer_set(&v->remains.hear, 1000);
}

/* Another second. */
static void
on_hear(struct timer *t)
{
	struct remains *a = CONTAINER_OF(t, struct remains, hear);

	if (a->heard_n >= READ_SECOND && a->errors_say != NULL)
		watch_set(a->errors_say, WATCH_READ);
	a->heard_n = 0;
	say_left_out(a);
}

static void
close_errors(struct remains *a)
{
	watch_free(&a->errors_say);
	timer_stop(&a->hear);
	if (a->errors >= 0)
		(void)close(a->errors);
	if (a->errors_to >= 0)
		(void)close(a->errors_to);
	a->errors = a->errors_to = -1;
	a->said_n = a->line_n = 0;
}

/* Records of the dead, for their successor. */

static bool
has_flows(int flight)
{
	struct flight_reader r = { .fd = flight };
	struct flight_seen seen;

	return (flight_next(&r, &seen));
}

static void
drop_lost(struct aftermath *a, unsigned i)
{
	(void)close(a->lost[i].flight);
	a->n_lost--;
	memmove(&a->lost[i], &a->lost[i + 1],
	    (a->n_lost - i) * sizeof(a->lost[0]));
}

static uint64_t
wall_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return ((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000);
}

/* Those of before that have been dealt with go; this one is kept. */
static void
keep_lost(struct aftermath *a, struct relics *r)
{
	unsigned i = 0;

	while (i < a->n_lost)
		if (has_flows(a->lost[i].flight))
			i++;
		else
			drop_lost(a, i);
	if (r->flight < 0 || !has_flows(r->flight))
		return;
	if (a->n_lost == AFTERMATH_LOST)
		drop_lost(a, 0);
	a->lost[a->n_lost++] = (struct lost){ r->flight, wall_ms() };
	r->flight = -1;
}

bool
aftermath_hand_over(struct served *v)
{
	const struct aftermath *a = &v->of->aftermath;
	struct message m = { .kind = MESSAGE_LOST };
	unsigned i;

	for (i = 0; i < a->n_lost; i++) {
		m.number = (uint32_t)(a->lost[i].died >> 32);
		m.index = (uint32_t)a->lost[i].died;
		if (!message_send(v->channel, &m, a->lost[i].flight))
			return (false);
	}
	return (true);
}

/* The watchdog. */

/* How long systemd waits for a word of us; 0: it does not. */
static uint64_t
systemd_ms(void)
{
	uint64_t us = 0;

#ifdef HAVE_SYSTEMD
	if (sd_watchdog_enabled(0, &us) <= 0)
		us = 0;
#endif
	return (us / 1000);
}

/*
 * To the thread that is stuck, so that the report says where: the process is not
 * reaped, so its number is its own.  One that was stopped has to go on for that.
 */
static void
abort_stuck(const struct served *v, pid_t thread)
{
	const struct child *c = &v->child;

	log_line(LEVEL_ERROR, "serve",
	    "process %ld, worker %u, has not moved for %u s: aborted",
	    (long)c->pid, v->remains.dog.stuck, WATCHDOG_SILENT_MS / 1000);
	if (thread <= 0 || syscall(SYS_tgkill, c->pid, thread, SIGABRT) != 0)
		(void)child_signal(c, SIGABRT);
	(void)child_signal(c, SIGCONT);
}

/*
 * Alive is who is moved by all workers of the process that serves: in half of
 * the time that systemd waits, but not oftener than they can say so.  Between
 * two processes there is none that could be stuck.
 */
static void
on_tell(struct timer *t)
{
	struct supervisor *p = CONTAINER_OF(t, struct supervisor,
	    aftermath.tell);
	uint64_t waits = systemd_ms(), within = waits / 2;

	if (within < 2 * FLIGHT_TICK_MS)
		within = 2 * FLIGHT_TICK_MS;
	if (p->served == NULL ||
	    watchdog_is_well(&p->served->remains.dog, within))
		supervisor_notify("WATCHDOG=1");
	timer_set(t, waits / 4 + 1);
}

static void
on_look(struct timer *t)
{
	struct served *v = CONTAINER_OF(t, struct served, remains.look);
	struct remains *a = &v->remains;
	pid_t thread = 0;

	if (v->child.pid > 0)
		switch (
		    watchdog_look(&a->dog, loop_now(v->of->loop), &thread)) {
		case WATCHDOG_WELL:
			break;
		case WATCHDOG_ABORT:
			abort_stuck(v, thread);
			break;
		case WATCHDOG_KILL:
			(void)child_signal(&v->child, SIGKILL);
			break;
		}
	timer_set(t, watchdog_due(&a->dog));
}

/* From a start to an end. */

bool
remains_begin(struct served *v, struct spawn *s, struct fault *f)
{
	struct remains *a = &v->remains;
	int pair[2] = { -1, -1 };

	if (!relics_new(&a->relics, true) || pipe2(pair, O_CLOEXEC) != 0 ||
	    fcntl(pair[0], F_SETFL, O_NONBLOCK) != 0 ||
	    fcntl(pair[1], F_SETFL, O_NONBLOCK) != 0) {
		fault_set(f, ERR_SYSTEM, "%s: %s", s->role, strerror(errno));
		channel_close(pair, pair[0] >= 0 ? 2 : 0);
		relics_free(&a->relics);
		return (false);
	}
	a->errors = pair[0];
	a->errors_say = watch_new(v->of->loop, a->errors, on_errors, v);
	watch_set(a->errors_say, WATCH_READ);
	s->errors = a->errors_to = pair[1];
	s->fd[SERVE_REPORT - SPAWN_FD] = a->relics.report;
	s->fd[SERVE_FLIGHT - SPAWN_FD] = a->relics.flight;
	s->fd[SERVE_LOG - SPAWN_FD] = STDERR_FILENO;
	s->fd[SERVE_FIGURES - SPAWN_FD] = v->of->figures_fd;
	return (true);
}

void
remains_started(struct served *v, bool ok)
{
	struct remains *a = &v->remains;

	if (!ok) {
		close_errors(a);
		relics_free(&a->relics);
		return;
	}
	(void)close(a->errors_to);
	a->errors_to = -1;
	if (!watchdog_begin(&a->dog, a->relics.flight, loop_now(v->of->loop)))
		log_line(LEVEL_ERROR, "serve", "no watchdog: %s",
		    strerror(errno));
	timer_set(&a->look, watchdog_due(&a->dog));
}

void
aftermath_note(struct supervisor *p, const struct death *d,
    const struct relics *r)
{
	struct aftermath *a = &p->aftermath;

	if (a->postmortem == NULL)
		a->postmortem = postmortem_new(p->edition->conf->state);
	postmortem(a->postmortem, d, r);
}

void
remains_died(struct served *v, pid_t pid, const char *fate)
{
	struct remains *a = &v->remains;
	struct aftermath *all = &v->of->aftermath;
	struct death d = { .process = "serve", .pid = pid, .fate = fate };

	figure_add(v->of->figures, FIGURE_SERVE_CRASHED, 1);
	read_errors(v);
	end_line(v);
	say_left_out(a);
	d.said = a->said;
	d.said_n = a->said_n;
	aftermath_note(v->of, &d, &a->relics);
	keep_lost(all, &a->relics);
}

void
remains_init(struct served *v)
{
	struct remains *a = &v->remains;

	a->relics = RELICS_NONE;
	a->errors = a->errors_to = -1;
	timer_init(&a->look, v->of->loop, on_look);
	timer_init(&a->hear, v->of->loop, on_hear);
}

void
remains_adopt(struct served *v, struct relics relics, int errors)
{
	struct remains *a = &v->remains;

	a->relics = relics;
	if ((a->errors = errors) >= 0) {
		a->errors_say = watch_new(v->of->loop, errors, on_errors, v);
		watch_set(a->errors_say, WATCH_READ);
	}
	if (watchdog_begin(&a->dog, a->relics.flight, loop_now(v->of->loop)))
		timer_set(&a->look, watchdog_due(&a->dog));
}

void
remains_fini(struct served *v)
{
	struct remains *a = &v->remains;

	read_errors(v);
	end_line(v);
	say_left_out(a);
	timer_stop(&a->look);
	watchdog_end(&a->dog);
	close_errors(a);
	relics_free(&a->relics);
}

void
aftermath_init(struct supervisor *p)
{
	timer_init(&p->aftermath.tell, p->loop, on_tell);
	if (systemd_ms() > 0)
		timer_set(&p->aftermath.tell, 1);
}

void
aftermath_fini(struct supervisor *p)
{
	struct aftermath *a = &p->aftermath;

	timer_stop(&a->tell);
	while (a->n_lost > 0)
		drop_lost(a, 0);
	postmortem_free(&a->postmortem);
}
