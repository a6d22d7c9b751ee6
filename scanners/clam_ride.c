/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A body goes to a scanner process, and its verdict comes back.
 *
 * What dies on the way is this body's alone.  It goes to another scanner once
 * only, and only if the first one had not begun with it.
 *
 * Room: scanners.  Thread: the body's loop, but where the lock is said to be
 * held.  Units: bytes, monotonic ms.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "scanners/clam_pool_priv.h"

#define TEMP_LUMP (64u << 20) /* octets of temporary files for any body */
#define HARD_MS 1000 /* beyond the deadline that the scanner holds itself */
#define LEFT_MS 250  /* for what nobody asks any more */
#define FATE_MS 2000 /* for a master to say what a scanner has died of */
#define SMALL CLAM_SLOT

/* A scanner is used up after: */
#define MOST_SCANS 200
#define MOST_GROWN (64u << 20)
#define MOST_BUSY_MS (600 * 1000)

#define ON(state) (1u << RIDE_##state)

static const unsigned next_of[RIDE_STATES] = {
#define STATE(name, next) [RIDE_##name] = next,
#include "scanners/clam_ride.def"
};

static void
set(struct clam_job *j, enum clam_ride_state s)
{
	assert((next_of[j->ride.state] & 1u << s) != 0);
	j->ride.state = s;
}

static struct clam_pool *
pool_of(const struct clam_job *j)
{
	return (j->ride.pool);
}

static void
grant_back(struct clam_job *j)
{
	account_give(j->look.account, BUDGET_TEMP, j->ride.granted);
	account_give(j->look.account, BUDGET_MEMORY, j->ride.copied);
	j->ride.granted = j->ride.copied = 0;
}

/* ---- the end ---- */

/* Away from the scanner; the job is its scan's again. */
static void
over(struct clam_job *j)
{
	watch_free(&j->ride.watch);
	timer_stop(&j->ride.timer);
	grant_back(j);
	loop_job_back(j->job.loop);
	j->job.done(&j->job);
}

static void
on_over(struct mail *m, struct loop *loop)
{
	(void)loop;
	over(CONTAINER_OF(m, struct clam_job, job.mail));
}

/* With the lock held: nobody has its place or turn any more. */
static void
leave_queue(struct clam_job *j)
{
	turns_end(&pool_of(j)->queue[j->ride.class].turns, &j->ride.turn);
	set(j, RIDE_OVER);
}

/* Later, from the loop: the caller may be inside of the scan. */
static void
over_later(struct clam_job *j)
{
	j->job.mail.deliver = on_over;
	mail_post(j->job.loop, &j->job.mail);
}

void
clam_ride_down(struct clam_job *j, const char *why)
{
	j->down = why;
	leave_queue(j);
	over_later(j);
}

/* ---- hashing ---- */

static void
hash_run(struct job *job)
{
	struct clam_job *j = CONTAINER_OF(job, struct clam_job, job);
	struct digest *d = digest_new();
	unsigned char piece[16384];
	uint64_t at = 0;
	ssize_t n;

	while ((n = body_view_read(j->view, piece, sizeof(piece), at)) > 0) {
		digest_add(d, piece, (size_t)n);
		at += (uint64_t)n;
	}
	digest_end(&d, j->ride.print.digest);
	j->ride.hashed = at == body_view_length(j->view);
}

static void
hash_begin(struct clam_job *j)
{
	unsigned char head[DEATHS_HEAD];
	ssize_t n = body_view_read(j->view, head, sizeof(head), 0);

	clam_print_begin(&j->ride.print, body_view_length(j->view), head,
	    n > 0 ? (size_t)n : 0);
}

/* then: called on the loop, in place of the job's done. */
static void
hash_start(struct clam_job *j, void (*then)(struct job *))
{
	j->ride.done = j->job.done;
	j->job.run = hash_run;
	j->job.done = then;
	job_start(pool_of(j)->digests, &j->job, j->job.loop);
}

static void
hashed_at_end(struct job *job)
{
	struct clam_job *j = CONTAINER_OF(job, struct clam_job, job);
	struct clam_pool *p = pool_of(j);

	j->job.done = j->ride.done;
	if (j->ride.hashed) {
		clam_pool_lock(p);
		clam_deaths_add(&p->deaths, &j->ride.print, clam_now_ms());
		clam_pool_unlock(p);
	}
	over(j);
}

/* A scanner died: was it the body? */
static void
over_of_death(struct clam_job *j)
{
	if (!j->ride.blamed) {
		over(j);
		return;
	}
	watch_free(&j->ride.watch);
	timer_stop(&j->ride.timer);
	hash_begin(j);
	hash_start(j, hashed_at_end);
}

/* ---- a scanner that has died ---- */

void
clam_death_text(enum clam_death how, int of, char *text, size_t n)
{
	const char *name = how == CLAM_SIGNALLED ? sigabbrev_np(of) : NULL;

	switch (how) {
	case CLAM_NOT_MADE:
		snprintf(text, n, "not made: %s", strerror(of));
		break;
	case CLAM_SIGNALLED:
		snprintf(text, n, "crashed: %s", name != NULL ? name : "?");
		break;
	case CLAM_EXITED:
		snprintf(text, n, "ended (%d)", of);
		break;
	case CLAM_KILLED:
	case CLAM_DEATHS:
		snprintf(text, n, "was killed");
		break;
	}
}

/* The scanner that had it is dead, or counts as such. */
static void
look_died(struct clam_job *j, const struct clam_proc *c)
{
	char text[100];

	/* That its master died says nothing of the body. */
	j->ride.blamed = !j->ride.stopped &&
	    (j->ride.killed || (c->died && c->how != CLAM_KILLED));
	if (j->ride.killed ||
	    (c->died && c->how == CLAM_SIGNALLED && c->of == SIGXCPU)) {
		clam_look_unscanned(&j->look, GAP_TIME, "time limit exceeded");
		return;
	}
	clam_death_text(c->how, c->of, text, sizeof(text));
	clam_look_unscanned(&j->look, GAP_ERROR, "scanner %s",
	    c->died ? text : "died");
	clam_engine_say(pool_of(j)->engine, j->look.reason,
	    ", its body is unscanned");
}

/* What of is known, or will not be.  The lock is held; true: it is over. */
static bool
child_gone(struct clam_job *j)
{
	struct clam_proc *c = j->ride.child;
	struct clam_pool *p = pool_of(j);
	bool again = j->ride.unread && !j->ride.again && !j->ride.stopped;

	j->ride.child = NULL;
	c->job = NULL;
	if (!again)
		look_died(j, c);
	if (c->died)
		clam_proc_free(p, c);
	if (again) {
		grant_back(j);
		j->ride.again = true;
		j->ride.told = j->ride.unread = false;
		set(j, RIDE_WAITS);
		atomic_store(&j->look.begun, false);
		turns_again(&p->queue[j->ride.class].turns, &j->ride.turn);
	} else
		leave_queue(j);
	clam_pool_share(p);
	return (!again);
}

static void
on_died(struct mail *m, struct loop *loop)
{
	struct clam_job *j = CONTAINER_OF(m, struct clam_job, job.mail);
	struct clam_pool *p = pool_of(j);
	bool ends;

	(void)loop;
	clam_pool_lock(p);
	ends = j->ride.state == RIDE_ENDS && child_gone(j);
	clam_pool_unlock(p);
	if (ends)
		over_of_death(j);
}

void
clam_ride_died(struct clam_job *j)
{
	assert(j->ride.state == RIDE_ENDS);
	if (j->ride.told)
		return;
	j->ride.told = true;
	j->job.mail.deliver = on_died;
	mail_post(j->job.loop, &j->job.mail);
}

/* Its socket has ended: its master says of what, soon. */
static void
child_ended(struct clam_job *j, bool unread)
{
	struct clam_pool *p = pool_of(j);
	struct clam_proc *c = j->ride.child;

	watch_free(&j->ride.watch);
	clam_pool_lock(p);
	j->ride.unread = unread;
	set(j, RIDE_ENDS);
	clam_proc_set(p, c, PROC_LOST);
	if (c->died)
		clam_ride_died(j);
	clam_pool_unlock(p);
	timer_set(&j->ride.timer, FATE_MS);
}

/* With the lock held. */
static void
child_kill(struct clam_job *j)
{
	struct clam_proc *c = j->ride.child;

	(void)clam_wire_word(c->link->fd, CLAM_KILL, c->id, NULL, 0);
	j->ride.killed = true;
}

/* ---- a verdict ---- */

/* Has it been through something that may have left it otherwise? */
static bool
is_used_up(const struct clam_proc *c, const struct clam_verdict *v)
{
	return (c->scans >= MOST_SCANS || c->busy_ms >= MOST_BUSY_MS ||
	    v->grown > MOST_GROWN || v->gap == GAP_LIMIT ||
	    v->gap == GAP_TIME || v->gap == GAP_DAMAGED || v->gap == GAP_ERROR);
}

static void
look_take(struct clam_look *look, const struct clam_verdict *v)
{
	look->verdict = (enum verdict)v->verdict;
	look->gap = (enum scan_gap)v->gap;
	memcpy(look->threat, v->threat, sizeof(look->threat));
	memcpy(look->reason, v->reason, sizeof(look->reason));
	memcpy(look->note, v->note, sizeof(look->note));
}

static void
answered(struct clam_job *j, const struct clam_verdict *v)
{
	struct clam_pool *p = pool_of(j);
	struct clam_proc *c = j->ride.child;

	look_take(&j->look, v);
	watch_free(&j->ride.watch);
	clam_pool_lock(p);
	j->ride.child = NULL;
	c->scans++;
	c->busy_ms += clam_now_ms() - c->since;
	leave_queue(j);
	clam_proc_back(p, c, is_used_up(c, v) || j->ride.killed);
	clam_pool_unlock(p);
	over(j);
}

/* It says what is no answer, so it is not ours any more. */
static void
answered_nonsense(struct clam_job *j)
{
	struct clam_pool *p = pool_of(j);
	struct clam_proc *c = j->ride.child;

	watch_free(&j->ride.watch);
	clam_look_unscanned(&j->look, GAP_ERROR, "scanner broke its protocol");
	clam_engine_say(p->engine, j->look.reason, ", its body is unscanned");
	clam_pool_lock(p);
	j->ride.child = NULL;
	leave_queue(j);
	clam_proc_back(p, c, true);
	clam_pool_unlock(p);
	over(j);
}

static void
on_ready(void *arg, unsigned events)
{
	struct clam_job *j = arg;
	struct clam_packet m;

	(void)events;
	switch (
	    clam_wire_recv(j->ride.child->fd, CLAM_BIT(CLAM_VERDICT), &m, 0)) {
	case CLAM_GOT:
		if (m.m.verdict.id == j->ride.child->id)
			answered(j, &m.m.verdict);
		else
			answered_nonsense(j);
		break;
	case CLAM_NOTHING:
		break;
	case CLAM_BROKEN:
		answered_nonsense(j);
		break;
	case CLAM_ENDED:
		child_ended(j, false);
		break;
	case CLAM_UNREAD:
		child_ended(j, true);
		break;
	}
}

/* ---- handing a body over ---- */

struct load {
	struct clam_scan_msg m;
	int fd[CLAM_FDS];
	unsigned n_fds;
};

static void
load_drop(struct load *l)
{
	while (l->n_fds > 0)
		close(l->fd[--l->n_fds]);
}

/* Sealed, for a descriptor that can only read can be opened anew to write. */
static int
memory_make(struct body_view *v, uint64_t from, uint64_t n)
{
	int fd = memfd_create("scan-body", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *p;
	bool ok;

	if (fd < 0)
		return (-1);
	ok = ftruncate(fd, (off_t)n) == 0;
	p = ok ? mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
	       : MAP_FAILED;
	if (p != MAP_FAILED) {
		ok = body_view_read(v, p, n, from) == (ssize_t)n;
		munmap(p, n);
		if (ok &&
		    fcntl(fd, F_ADD_SEALS,
			F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW |
			    F_SEAL_SEAL) == 0)
			return (fd);
	}
	close(fd);
	return (-1);
}

/*
 * What lies in a file goes as it is, the rest is copied: memory that is there
 * once more as long as it is looked at, by one scanner.  It is counted, so that
 * its client grows no further meanwhile, and not refused: a body that is in
 * memory was let in, and shall not be unscanned for that.
 */
static bool
load_body(struct load *l, struct clam_job *j, unsigned char *slot)
{
	uint64_t n = body_view_length(j->view), file, rest;

	if (body_view_file(j->view, &file) >= 0) {
		l->fd[0] = body_view_open(j->view);
		if (l->fd[0] < 0)
			return (false);
		l->n_fds = 1;
	}
	l->m.file_bytes = file;
	rest = n - file;
	if (rest <= CLAM_SLOT) {
		l->m.slot_bytes = rest;
		return (
		    body_view_read(j->view, slot, rest, file) == (ssize_t)rest);
	}
	l->m.memory_bytes = rest;
	l->fd[l->n_fds] = memory_make(j->view, file, rest);
	if (l->fd[l->n_fds] < 0)
		return (false);
	l->n_fds++;
	account_add(j->look.account, BUDGET_MEMORY, rest);
	j->ride.copied = rest;
	return (true);
}

/*
 * What its decoded form may take of its client's temporary space is taken
 * here, for the scanner knows no accounts: half of what there is, and no more
 * than a body of this size can become: decode.c has a limit of 2000, and bzip2
 * in an archive, which has none, is given a lump.
 */
static uint64_t
temp_grant(struct clam_job *j)
{
	const struct clam_limits *l = clam_engine_limits(pool_of(j)->engine);
	uint64_t n = body_view_length(j->view), room, most;

	room = account_room(j->look.account, BUDGET_TEMP) / 2;
	most = 2 * l->scan_size;
	if (n < most / 2048 && 2048 * n + TEMP_LUMP < most)
		most = 2048 * n + TEMP_LUMP;
	if (room > most)
		room = most;
	if (!account_take(j->look.account, BUDGET_TEMP, room))
		room = 0;
	j->ride.granted = room;
	return (room);
}

static bool
load_make(struct load *l, struct clam_job *j)
{
	const struct clam_look *look = &j->look;
	struct clam_proc *c = j->ride.child;

	*l = (struct load){ .m = {
				.kind = CLAM_SCAN,
				.id = c->id,
				.deadline = look->deadline,
				.temp_room = temp_grant(j),
				.blocks = look->blocks,
				.codings = look->codings,
			    } };
	memcpy(l->m.type, look->type, sizeof(l->m.type));
	if (load_body(l, j, c->slot))
		return (true);
	grant_back(j);
	load_drop(l);
	return (false);
}

/* Nothing was asked of the scanner: it is as good as before. */
static void
give_back(struct clam_job *j)
{
	struct clam_pool *p = pool_of(j);
	struct clam_proc *c = j->ride.child;

	clam_pool_lock(p);
	j->ride.child = NULL;
	leave_queue(j);
	clam_proc_back(p, c, false);
	clam_pool_unlock(p);
	over_later(j);
}

/* GIVEN, on its loop. */
static void
run(struct clam_job *j)
{
	struct clam_proc *c = j->ride.child;
	uint64_t now = clam_now_ms();
	struct load l;
	bool sent;

	if (j->ride.stopped || now >= j->look.deadline) {
		give_back(j);
		return;
	}
	if (!load_make(&l, j)) {
		atomic_store(&j->look.begun, true);
		clam_look_unscanned(&j->look, GAP_ERROR,
		    "temporary file or read error");
		give_back(j);
		return;
	}
	sent = clam_wire_send(c->fd, &l.m, l.fd, l.n_fds);
	load_drop(&l);
	atomic_store(&j->look.begun, true);
	clam_pool_lock(pool_of(j));
	set(j, RIDE_RUNS);
	clam_pool_unlock(pool_of(j));
	if (!sent) { /* whether it has ended or not */
		(void)clam_wire_word(c->link->fd, CLAM_KILL, c->id, NULL, 0);
		child_ended(j, true);
		return;
	}
	j->ride.watch = watch_new(j->job.loop, c->fd, on_ready, j);
	watch_set(j->ride.watch, WATCH_READ);
	timer_set(&j->ride.timer, j->look.deadline - now + HARD_MS);
}

static void
on_given(struct mail *m, struct loop *loop)
{
	(void)loop;
	run(CONTAINER_OF(m, struct clam_job, job.mail));
}

void
clam_ride_given(struct clam_job *j, struct clam_proc *c)
{
	set(j, RIDE_GIVEN);
	j->ride.child = c;
	c->job = j;
	if (j == pool_of(j)->starting)
		return; /* by its loop, which goes on with it */
	j->job.mail.deliver = on_given;
	mail_post(j->job.loop, &j->job.mail);
}

/* ---- time ---- */

static void
on_time(struct timer *t)
{
	struct clam_job *j = CONTAINER_OF(t, struct clam_job, ride.timer);
	struct clam_pool *p = pool_of(j);
	bool ends = false, waits = true;

	clam_pool_lock(p);
	if (j->ride.state == RIDE_RUNS) {
		child_kill(j);
		set(j, RIDE_KILLED);
	} else if (j->ride.state == RIDE_KILLED) {
		/* Not even its end has come: that is its master's to mend. */
		set(j, RIDE_ENDS);
		clam_proc_set(p, j->ride.child, PROC_LOST);
		ends = child_gone(j);
	} else if (j->ride.state == RIDE_ENDS && !j->ride.told)
		ends = child_gone(j);
	else
		waits = false;
	clam_pool_unlock(p);
	if (ends)
		over_of_death(j);
	else if (waits)
		timer_set(&j->ride.timer, FATE_MS);
}

/* ---- for clam_scan.c ---- */

/*
 * With the lock held: it waits from now on.  True: not at all, it has a scanner,
 * and its loop, which is here, goes on with it.  Without the lock nobody can
 * tell that from a scanner that has come a moment later, of which its loop is
 * told by mail.
 */
static bool
queue_up(struct clam_job *j)
{
	struct clam_pool *p = pool_of(j);
	struct clam_queue *q = &p->queue[j->ride.class];

	set(j, RIDE_WAITS);
	turns_add(&q->turns, &j->ride.turn, j->ride.owner);
	q->used = true;
	p->starting = j;
	clam_pool_share(p);
	p->starting = NULL;
	return (j->ride.state == RIDE_GIVEN);
}

static void
hashed_at_begin(struct job *job)
{
	struct clam_job *j = CONTAINER_OF(job, struct clam_job, job);
	struct clam_pool *p = pool_of(j);
	bool enough, over_now, given = false;

	j->job.done = j->ride.done;
	clam_pool_lock(p);
	enough = j->ride.hashed &&
	    clam_deaths_enough(&p->deaths, &j->ride.print, clam_now_ms());
	if (enough || j->ride.stopped)
		set(j, RIDE_OVER);
	else
		given = queue_up(j);
	over_now = j->ride.state == RIDE_OVER;
	clam_pool_unlock(p);
	if (enough) {
		atomic_store(&j->look.begun, true);
		clam_look_unscanned(&j->look, GAP_ERROR,
		    "scanners have died of it");
	}
	if (over_now)
		over(j);
	else if (given)
		run(j);
}

/*
 * True: it may be one that scanners have died of.  *given: it is not, and has a
 * scanner, as queue_up() says.
 */
static bool
hash_or_queue(struct clam_job *j, bool *given)
{
	struct clam_pool *p = pool_of(j);
	bool hash;

	hash_begin(j); /* reads a file, perhaps: not with the lock */
	clam_pool_lock(p);
	hash = clam_deaths_may_be(&p->deaths, &j->ride.print, clam_now_ms());
	if (hash)
		set(j, RIDE_HASHES);
	else
		*given = queue_up(j);
	clam_pool_unlock(p);
	return (hash);
}

bool
clam_pool_start(struct clam_pool *p, struct clam_job *j, struct loop *loop,
    uint64_t owner)
{
	struct clam_queue *q;
	bool ok, any, given = false;

	j->ride.class = body_view_length(j->view) <= SMALL ? CLASS_SMALL
							   : CLASS_LARGE;
	q = &p->queue[j->ride.class];
	clam_pool_lock(p);
	ok = turns_waiting_of(&q->turns, owner) < p->engine->queue;
	any = ok && clam_deaths_any(&p->deaths, clam_now_ms());
	if (ok) {
		loop_job_out(loop);
		j->job.loop = loop;
		j->ride.pool = p;
		j->ride.owner = owner;
		timer_init(&j->ride.timer, loop, on_time);
		if (!any)
			given = queue_up(j);
	}
	clam_pool_unlock(p);
	if (any)
		any = hash_or_queue(j, &given);
	if (any)
		hash_start(j, hashed_at_begin);
	else if (given)
		run(j);
	return (ok);
}

void
clam_pool_stop(struct clam_job *j)
{
	struct clam_pool *p = pool_of(j);
	uint64_t now = clam_now_ms();
	bool waits = false;

	clam_pool_lock(p);
	j->ride.stopped = true;
	switch (j->ride.state) {
	case RIDE_WAITS:
		leave_queue(j);
		waits = true;
		break;
	case RIDE_RUNS:
		/* A small one is done by then, and spares us a fork. */
		timer_set(&j->ride.timer,
		    now >= j->look.deadline ? 1 : LEFT_MS);
		break;
	case RIDE_GIVEN: /* seen when that is told */
	case RIDE_HASHES:
	case RIDE_KILLED:
	case RIDE_ENDS:
	case RIDE_NEW:
	case RIDE_OVER:
		break;
	case RIDE_STATES:
		assert(0);
		break;
	}
	clam_pool_unlock(p);
	if (waits)
		over_later(j);
}
