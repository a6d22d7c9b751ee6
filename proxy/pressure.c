/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What happens when memory runs short, see pressure.h. */
#include <assert.h>
#include <inttypes.h>
#include <malloc.h>
#include "proxy/audit/log.h"
#include "proxy/client.h"
#include "proxy/flow.h"
#include "proxy/pressure.h"
#include "proxy/worker.h"

#define AT_NEW 90u /* percent */
#define AT_IDLE 93u
#define AT_BODY 96u
#define OVER 85u
#define PATIENCE_MS 5000
#define BODY_EVERY_MS 1000 /* after the one before has gone */
#define BODY_GOES_MS 10000 /* in which it goes */
#define LOOK_MS 2000
#define LOOK_CLOSELY_MS 250
#define CLOSELY 75u       /* percent */
#define BODY_LEAST 65536u /* what gives less is no help */

/* Which step. */

static enum pressure_step
step_at(unsigned percent)
{
	return (percent >= AT_BODY   ? PRESSURE_BODY
		: percent >= AT_IDLE ? PRESSURE_IDLE
		: percent >= AT_NEW  ? PRESSURE_NEW
				     : PRESSURE_NONE);
}

void
pressure_meter(struct pressure_meter *m, unsigned percent, uint64_t now)
{
	enum pressure_step was = m->step, least = step_at(percent);

	if (percent < OVER)
		m->step = PRESSURE_NONE;
	else if (least > m->step)
		m->step = least;
	else if (m->step > PRESSURE_NONE && m->step < PRESSURE_BODY &&
	    now - m->since >= PATIENCE_MS)
		m->step = (enum pressure_step)(m->step + 1);
	if (m->step != was)
		m->since = now;
}

static unsigned
percent_of(uint64_t used, uint64_t max)
{
	return (max < 100                   ? 0
		: used / (max / 100) < 1000 ? (unsigned)(used / (max / 100))
					    : 1000);
}

static unsigned
budget_percent(const struct budget *b, enum budget_kind k)
{
	uint64_t max = budget_limit(b, k);

	return (max == UINT64_MAX ? 0 : percent_of(budget_used(b, k), max));
}

/* The scarcer of what we may take and what our group may; *max: which. */
static unsigned
memory_percent(const struct pressure *p, uint64_t *max)
{
	unsigned own = budget_percent(p->shared->budget, BUDGET_MEMORY);
	unsigned group = 0;
	uint64_t used;

	if (cgroup_memory_used(&p->group, &used))
		group = percent_of(used, p->group.limit);
	*max = group > own ? p->group.limit
			   : budget_limit(p->shared->budget, BUDGET_MEMORY);
	return (own > group ? own : group);
}

/* In the workers. */

static bool
is_idle(const struct client *c)
{
	return (c->state == CLIENT_SERVED && list_empty(&c->flows));
}

static void
close_idle(struct worker *w)
{
	struct list *it, *save;
	struct client *c;

	origin_pool_purge(w->pool, NULL);
	LIST_EACH (it, save, &w->clients) {
		c = CONTAINER_OF(it, struct client, link);
		if (is_idle(c))
			client_let_go(c);
	}
}

static uint64_t
held_by(const struct flow *f, enum budget_kind k)
{
	return (body_held(f->req_body, k) + body_held(f->resp_body, k));
}

/* The flow of that client with the largest bodies; NULL: none is a help. */
static struct flow *
largest(struct worker *w, const struct pressure_round *r, uint64_t *bytes)
{
	struct list *it, *save, *fit, *fsave;
	struct flow *f, *best = NULL;
	struct client *c;

	*bytes = r->least;
	LIST_EACH (it, save, &w->clients) {
		c = CONTAINER_OF(it, struct client, link);
		if (c->account != r->account)
			continue;
		LIST_EACH (fit, fsave, &c->flows) {
			f = CONTAINER_OF(fit, struct flow, link);
			if (held_by(f, r->kind) < *bytes)
				continue;
			*bytes = held_by(f, r->kind);
			best = f;
		}
	}
	return (best);
}

static void
give_up(struct worker *w, struct pressure_round *r)
{
	static struct log_limit limit;
	struct flow *f;
	uint64_t bytes;

	f = largest(w, r, &bytes);
	r->used = account_used(r->account, r->kind);
	r->bytes = f != NULL ? bytes : 0;
	if (f == NULL)
		return;
	(void)log_limited(&limit, LEVEL_WARNING, "limits",
	    "%s runs short: the largest body (%" PRIu64 " KB) of the client "
	    "that holds most was given up, %s",
	    r->kind == BUDGET_TEMP ? "temporary storage" : "memory",
	    bytes / 1024, f->reference);
	flow_give_up(f, r->kind == BUDGET_TEMP ? ERR_TEMP_LIMIT : ERR_MEMORY);
}

/* A round: through all workers, home; of a body then to who has it, home. */

static void visit(struct mail *, struct loop *);
static void come_home(struct mail *, struct loop *);

static void
send_to(struct pressure *p, unsigned worker)
{
	p->round.at = worker;
	p->round.mail.deliver = visit;
	mail_post(p->workers[worker]->loop, &p->round.mail);
}

static void
visit(struct mail *m, struct loop *loop)
{
	struct pressure_round *r = CONTAINER_OF(m, struct pressure_round, mail);
	struct pressure *p = CONTAINER_OF(r, struct pressure, round);
	struct worker *w = p->workers[r->at];
	uint64_t bytes;

	(void)loop;
	if (w->draining)
		; /* all of it ends */
	else if (r->giving)
		give_up(w, r);
	else if (r->step == PRESSURE_IDLE)
		close_idle(w);
	else if (largest(w, r, &bytes) != NULL && bytes > r->bytes) {
		r->bytes = bytes;
		r->best = r->at;
	}
	if (!r->giving && r->at + 1 < r->n) {
		send_to(p, r->at + 1);
		return;
	}
	m->deliver = come_home;
	mail_post(p->timer.loop, m);
}

static void
come_home(struct mail *m, struct loop *loop)
{
	struct pressure_round *r = CONTAINER_OF(m, struct pressure_round, mail);
	struct pressure *p = CONTAINER_OF(r, struct pressure, round);

	(void)loop;
	if (r->bytes > 0 && !r->giving && p->n > 0) {
		r->giving = true;
		send_to(p, r->best);
		return;
	}
	r->step = PRESSURE_NONE;
	if (!r->giving || r->bytes == 0 || p->n == 0) {
		account_unref(&r->account);
		return;
	}
	assert(p->gave == NULL);
	p->gave = r->account;
	r->account = NULL;
	p->gave_kind = r->kind;
	/* Its client may have begun something else meanwhile. */
	p->gave_below = r->used - r->bytes / 4 * 3;
	p->gave_by = loop_now(p->timer.loop) + BODY_GOES_MS;
}

/* Has the last one gone?  Then what is left is measured before the next one. */
static void
see_it_go(struct pressure *p)
{
	uint64_t now = loop_now(p->timer.loop);

	if (p->gave == NULL ||
	    (account_used(p->gave, p->gave_kind) > p->gave_below &&
		now < p->gave_by))
		return;
	/* Free blocks between used ones are the process's until this is called. */
	if (p->gave_kind == BUDGET_MEMORY)
		(void)malloc_trim(0);
	account_unref(&p->gave);
	p->body_at = now + BODY_EVERY_MS;
}

static void
round_start(struct pressure *p, enum pressure_step step, enum budget_kind k,
    uint64_t max)
{
	struct pressure_round *r = &p->round;

	if (r->step != PRESSURE_NONE || p->n == 0)
		return;
	*r = (struct pressure_round){ .kind = k, .n = p->n };
	r->least = max / 1000 > BODY_LEAST ? max / 1000 : BODY_LEAST;
	if (step == PRESSURE_BODY) {
		if (p->gave != NULL || loop_now(p->timer.loop) < p->body_at)
			return;
		r->account = budget_largest(p->shared->budget, k);
		if (r->account == NULL)
			return;
	}
	r->step = step;
	send_to(p, 0);
}

/* Looking. */

static void
say(const struct pressure *p, enum pressure_step was, unsigned percent)
{
	static const char *const done[] = {
		[PRESSURE_NONE] = "there is enough again",
		[PRESSURE_NEW] = "new clients are refused",
		[PRESSURE_IDLE] = "idle connections close",
		[PRESSURE_BODY] = "the largest bodies are given up"
	};

	if (p->meter.step != was)
		log_line(p->meter.step > was ? LEVEL_WARNING : LEVEL_NOTICE,
		    "limits", "memory: %u%% in use, %s", percent,
		    done[p->meter.step]);
}

static void
look(struct timer *t)
{
	struct pressure *p = CONTAINER_OF(t, struct pressure, timer);
	uint64_t max, temp_max = budget_limit(p->shared->budget, BUDGET_TEMP);
	unsigned percent, temp;
	enum pressure_step was = p->meter.step;

	see_it_go(p);
	percent = memory_percent(p, &max);
	temp = budget_percent(p->shared->budget, BUDGET_TEMP);
	pressure_meter(&p->meter, percent, loop_now(t->loop));
	say(p, was, percent);
	atomic_store_explicit(&p->shared->refuse_new,
	    p->meter.step >= PRESSURE_NEW, memory_order_relaxed);
	if (p->meter.step >= PRESSURE_IDLE && was < PRESSURE_IDLE)
		round_start(p, PRESSURE_IDLE, BUDGET_MEMORY, max);
	else if (p->meter.step == PRESSURE_BODY)
		round_start(p, PRESSURE_BODY, BUDGET_MEMORY, max);
	else if (temp >= AT_BODY)
		round_start(p, PRESSURE_BODY, BUDGET_TEMP, temp_max);
	timer_set(t,
	    percent >= CLOSELY || temp >= CLOSELY ? LOOK_CLOSELY_MS : LOOK_MS);
}

void
pressure_init(struct pressure *p)
{
	*p = (struct pressure){ .n = 0 };
	cgroup_memory_find(&p->group, "");
}

void
pressure_start(struct pressure *p, struct loop *loop,
    struct proxy_shared *shared, struct worker *const *workers, unsigned n)
{
	p->shared = shared;
	p->workers = workers;
	p->n = n;
	timer_init(&p->timer, loop, look);
	timer_set(&p->timer, LOOK_MS);
}

void
pressure_stop(struct pressure *p)
{
	timer_stop(&p->timer);
	p->n = 0;
}

void
pressure_fini(struct pressure *p)
{
	assert(p->round.step == PRESSURE_NONE);
	account_unref(&p->gave);
	cgroup_memory_fini(&p->group);
}
