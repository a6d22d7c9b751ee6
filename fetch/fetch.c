/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The asking side, see fetch.h.  A question is a ticket: on a link to the
 * process until that has answered, then mail to the loop that asked.  The wait
 * itself may go while its ticket is on the way.  Questions are sent from the
 * thread that has them, under the lock; only the home loop reads, opens and
 * closes links.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/channel.h"
#include "base/list.h"
#include "fetch/wire_priv.h"

#define DIED "it has died"
#define TICK_MS 1000
#define READ_MOST 32 /* messages a turn */

struct fetch_ticket {
	struct mail mail;
	struct list pending;     /* of its link */
	struct fetch *fetch;     /* borrowed: outlives it */
	struct fetch_link *link; /* NULL: not asked, or answered */
	struct loop *loop;
	struct fetch_wait *wait; /* NULL: cancelled; that thread's only */
	enum fetch_kind kind;
	uint32_t id;
	uint64_t max_bytes, due; /* due: of the home loop's clock */
	struct fetch_answer answer;
};

/* A process; it dies when this is closed. */
struct fetch_link {
	struct list links; /* of the client; the latest first */
	struct list pending;
	struct fetch *fetch;
	struct watch *watch;
	int fd; /* owned */
	bool works;
};

struct fetch {
	struct loop *home;
	struct fetch_events events;
	pthread_mutex_t lock; /* of everything below */
	struct list links;
	unsigned of_kind[FETCH_KINDS]; /* of those that are pending */
	struct fetch_link *current;    /* who is asked; NULL: nobody */
	uint32_t id;                   /* the last one given */
	struct timer tick;             /* home's */
	struct mail arm;               /* to home: let it tick */
	bool arming, closing;
	struct fetch_stats stats;
};

static void *
must(void *p)
{
	if (p == NULL)
		abort();
	return (p);
}

/* Answers: from any thread. */

static void
answer_fini(struct fetch_answer *a)
{
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
}

/* On the wait's thread. */
static void
ticket_deliver(struct mail *mail, struct loop *loop)
{
	struct fetch_ticket *t = CONTAINER_OF(mail, struct fetch_ticket, mail);

	assert(t->loop == loop && t->link == NULL);
	if (t->wait != NULL) {
		assert(t->wait->ticket == t);
		t->wait->ticket = NULL;
		t->wait->ready(t->wait, &t->answer);
	}
	answer_fini(&t->answer);
	free(t);
}

/* Under the lock; it is the loop's then. */
static void
ticket_end(struct fetch_ticket *t)
{
	struct fetch_stats *s = &t->fetch->stats;

	if (t->answer.outcome == FETCH_DONE)
		s->done++;
	else if (t->answer.outcome == FETCH_SAME)
		s->same++;
	else
		s->failed++;
	if (t->link != NULL) {
		list_remove(&t->pending);
		assert(s->pending > 0 && t->fetch->of_kind[t->kind] > 0);
		s->pending--;
		t->fetch->of_kind[t->kind]--;
	}
	t->link = NULL;
	mail_post(t->loop, &t->mail);
}

static void
ticket_fail(struct fetch_ticket *t, enum fetch_outcome o, const char *why)
{
	assert(o != FETCH_DONE && o != FETCH_SAME);
	t->answer = (struct fetch_answer){ .outcome = o,
		.fd = -1,
		.fresh_s = -1 };
	wire_text(t->answer.why, sizeof(t->answer.why), why);
	ticket_end(t);
}

/* Links: on the home loop's thread, under the lock. */

static void
link_close(struct fetch_link *l)
{
	assert(list_empty(&l->pending));
	if (l->fetch->current == l)
		l->fetch->current = NULL;
	list_remove(&l->links);
	watch_free(&l->watch);
	close(l->fd);
	free(l);
}

static void
link_fail(struct fetch_link *l, const char *why)
{
	struct fetch_ticket *t;

	while (!list_empty(&l->pending)) {
		t = CONTAINER_OF(l->pending.next, struct fetch_ticket, pending);
		ticket_fail(t, FETCH_LOST, why);
	}
	link_close(l);
}

/* Once the lock is given back: l may be gone, if it was the current one. */
static bool
link_lose(struct fetch_link *l, const char *why)
{
	bool current = l->fetch->current == l;

	link_fail(l, why);
	return (current);
}

static struct fetch_ticket *
ticket_of(struct fetch_link *l, uint32_t id)
{
	struct list *at;
	struct fetch_ticket *t;

	for (at = l->pending.next; at != &l->pending; at = at->next) {
		t = CONTAINER_OF(at, struct fetch_ticket, pending);
		if (t->id == id)
			return (t);
	}
	return (NULL);
}

static bool
is_sealed(int fd, size_t size)
{
	struct stat st;

	return (channel_is(fd, CHANNEL_SEALED) && fstat(fd, &st) == 0 &&
	    (uintmax_t)st.st_size == size);
}

/* Takes fds.  False: it is nonsense. */
static bool
take_result(struct fetch_link *l, const struct wire_say *s, int *fds,
    unsigned n_fds)
{
	struct fetch_ticket *t = ticket_of(l, s->id);

	if (t == NULL || n_fds != (s->outcome == FETCH_DONE) ||
	    s->size > t->max_bytes ||
	    (n_fds > 0 && !is_sealed(fds[0], s->size)))
		return (false);
	t->answer = (struct fetch_answer){
		.outcome = (enum fetch_outcome)s->outcome,
		.status = s->status,
		.fd = n_fds > 0 ? fds[0] : -1,
		.size = s->size,
		.fresh_s = s->fresh_s,
		.modified = s->modified,
	};
	memcpy(t->answer.etag, s->etag, sizeof(t->answer.etag));
	memcpy(t->answer.why, s->why, sizeof(t->answer.why));
	ticket_end(t);
	return (true);
}

enum heard { HEARD_NOTHING, HEARD_RESULT, HEARD_WORKS, HEARD_END };

/* One message.  HEARD_END: *why is to be told. */
static enum heard
hear(struct fetch_link *l, struct wire_say *s, const char **why)
{
	int fds[CHANNEL_FDS];
	unsigned n_fds;
	bool ok;

	switch (channel_recv(l->fd, s, sizeof(*s), fds, &n_fds, 0)) {
	case CHANNEL_LATE:
		return (HEARD_NOTHING);
	case CHANNEL_CLOSED:
		*why = DIED;
		return (HEARD_END);
	case CHANNEL_BROKEN:
		*why = "it broke its protocol";
		return (HEARD_END);
	case CHANNEL_DONE:
		break;
	}
	ok = wire_say_ok(s) &&
	    (s->op == WIRE_WORKS ? n_fds == 0 && !l->works
				 : take_result(l, s, fds, n_fds));
	if (!ok) {
		channel_close(fds, n_fds);
		*why = "it broke its protocol";
		return (HEARD_END);
	}
	l->works |= s->op == WIRE_WORKS;
	return (s->op == WIRE_WORKS ? HEARD_WORKS : HEARD_RESULT);
}

/* Nobody asks it any more, and all is answered. */
static bool
is_done(const struct fetch_link *l)
{
	return (l != l->fetch->current && list_empty(&l->pending));
}

/* False: l is no more. */
static bool
link_turn(struct fetch_link *l)
{
	struct fetch *f = l->fetch;
	const char *why = NULL;
	enum heard h;
	struct wire_say s;
	bool lost = false, gone;

	pthread_mutex_lock(&f->lock);
	h = hear(l, &s, &why);
	if (h == HEARD_END)
		lost = link_lose(l, why);
	gone = h == HEARD_END || is_done(l);
	if (h != HEARD_END && gone)
		link_close(l);
	pthread_mutex_unlock(&f->lock);
	if (h == HEARD_WORKS && f->events.works != NULL)
		f->events.works(f->events.arg, &s.report);
	if (lost && f->events.lost != NULL)
		f->events.lost(f->events.arg,
		    strcmp(why, DIED) == 0 ? NULL : why);
	return (!gone && h == HEARD_RESULT); /* works() may have closed it */
}

static void
on_readable(void *arg, unsigned events)
{
	struct fetch_link *l = arg;
	unsigned n = 0;

	(void)events;
	while (n++ < READ_MOST && link_turn(l))
		;
}

/* Questions that the process should have ended long ago. */

static bool
is_overdue(const struct fetch_link *l, uint64_t now)
{
	const struct list *at;

	for (at = l->pending.next; at != &l->pending; at = at->next)
		if (CONTAINER_OF(at, struct fetch_ticket, pending)->due <= now)
			return (true);
	return (false);
}

static void
on_tick(struct timer *timer)
{
	struct fetch *f = CONTAINER_OF(timer, struct fetch, tick);
	struct list *at, *next;
	struct fetch_link *l;
	bool lost = false;

	pthread_mutex_lock(&f->lock);
	for (at = f->links.next; at != &f->links; at = next) {
		next = at->next;
		l = CONTAINER_OF(at, struct fetch_link, links);
		if (is_overdue(l, loop_now(f->home)))
			lost |= link_lose(l, "it does not answer");
	}
	f->arming = f->stats.pending > 0;
	if (f->arming)
		timer_set(&f->tick, TICK_MS);
	pthread_mutex_unlock(&f->lock);
	if (lost && f->events.lost != NULL)
		f->events.lost(f->events.arg, "it does not answer");
}

static void
on_arm(struct mail *m, struct loop *loop)
{
	struct fetch *f = CONTAINER_OF(m, struct fetch, arm);

	(void)loop;
	if (f->closing)
		free(f);
	else
		timer_set(&f->tick, TICK_MS);
}

/* The client. */

struct fetch *
fetch_new(struct loop *home, const struct fetch_events *e)
{
	struct fetch *f = must(calloc(1, sizeof(*f)));

	f->home = home;
	f->events = *e;
	list_init(&f->links);
	pthread_mutex_init(&f->lock, NULL);
	timer_init(&f->tick, home, on_tick);
	f->arm.deliver = on_arm;
	return (f);
}

void
fetch_attach(struct fetch *f, int fd)
{
	struct fetch_link *l = must(calloc(1, sizeof(*l))), *was;

	l->fetch = f;
	l->fd = fd;
	list_init(&l->pending);
	l->watch = watch_new(f->home, fd, on_readable, l);
	watch_set(l->watch, WATCH_READ);
	pthread_mutex_lock(&f->lock);
	was = f->current;
	f->current = l;
	list_insert(&f->links, &l->links);
	if (was != NULL && is_done(was))
		link_close(was);
	pthread_mutex_unlock(&f->lock);
}

void
fetch_free(struct fetch **fp)
{
	struct fetch *f = *fp;
	bool armed;

	*fp = NULL;
	if (f == NULL)
		return;
	pthread_mutex_lock(&f->lock);
	while (!list_empty(&f->links))
		link_fail(CONTAINER_OF(f->links.next, struct fetch_link, links),
		    "assay ends");
	armed = f->arming && f->tick.at == 0; /* its mail is on the way */
	f->closing = true;
	pthread_mutex_unlock(&f->lock);
	timer_stop(&f->tick);
	pthread_mutex_destroy(&f->lock);
	if (!armed)
		free(f);
}

void
fetch_stats(struct fetch *f, struct fetch_stats *out)
{
	pthread_mutex_lock(&f->lock);
	*out = f->stats;
	out->attached = f->current != NULL;
	pthread_mutex_unlock(&f->lock);
}

/* Asking: from any loop's thread. */

/* False: there is more of it than a question has room for. */
static bool
put_word(char *to, size_t room, const char *from)
{
	size_t n = from != NULL ? strlen(from) : 0;

	if (n >= room)
		return (false);
	if (n > 0)
		memcpy(to, from, n);
	return (true);
}

static bool
ask_of(const struct fetch_request *r, struct wire_ask *a)
{
	const struct wire_kind *k = &wire_kinds[r->kind];

	assert(r->kind < FETCH_KINDS);
	*a = (struct wire_ask){ .op = WIRE_START,
		.id = 1,
		.kind = r->kind,
		.deadline_ms = r->deadline_ms,
		.max_bytes = r->max_bytes,
		.since = r->since };
	if (a->deadline_ms == 0 || a->deadline_ms > k->deadline_ms)
		a->deadline_ms = k->deadline_ms;
	if (a->max_bytes == 0 || a->max_bytes > k->max_bytes)
		a->max_bytes = k->max_bytes;
	if (r->body_n > sizeof(a->body) ||
	    !put_word(a->url, sizeof(a->url), r->url) ||
	    !put_word(a->etag, sizeof(a->etag), r->etag))
		return (false);
	a->body_n = (uint32_t)r->body_n;
	if (r->body_n > 0)
		memcpy(a->body, r->body, r->body_n);
	return (wire_ask_ok(a));
}

static uint32_t
next_id(struct fetch *f)
{
	do
		f->id++;
	while (f->id == 0 ||
	    (f->current != NULL && ticket_of(f->current, f->id) != NULL));
	return (f->id);
}

/* Under the lock: it is pending then, or has failed. */
static void
send_ask(struct fetch *f, struct fetch_ticket *t, struct wire_ask *a)
{
	if (f->current == NULL) {
		ticket_fail(t, FETCH_LOST, "there is none");
		return;
	}
	if (f->stats.pending >= FETCH_MOST ||
	    f->of_kind[t->kind] >= wire_share(t->kind, FETCH_MOST)) {
		ticket_fail(t, FETCH_BUSY, "");
		return;
	}
	t->id = a->id = next_id(f);
	switch (channel_send(f->current->fd, a, sizeof(*a), NULL, 0, 0)) {
	case CHANNEL_DONE:
		t->link = f->current;
		list_insert(&t->link->pending, &t->pending);
		f->stats.pending++;
		f->of_kind[t->kind]++;
		break;
	case CHANNEL_LATE:
		ticket_fail(t, FETCH_BUSY, "");
		break;
	case CHANNEL_CLOSED: /* the home loop will find out */
	case CHANNEL_BROKEN:
		ticket_fail(t, FETCH_LOST, DIED);
		break;
	}
}

void
fetch_start(struct fetch *f, struct loop *loop, struct fetch_wait *w,
    const struct fetch_request *r)
{
	struct fetch_ticket *t = must(calloc(1, sizeof(*t)));
	struct wire_ask a;
	bool arm;

	assert(w->ticket == NULL && w->ready != NULL);
	t->mail.deliver = ticket_deliver;
	t->fetch = f;
	t->loop = loop;
	t->wait = w;
	t->kind = r->kind;
	w->ticket = t;
	list_init(&t->pending);
	pthread_mutex_lock(&f->lock);
	f->stats.asked++;
	if (!ask_of(r, &a))
		ticket_fail(t, FETCH_URL, "");
	else {
		t->max_bytes = a.max_bytes;
		t->due = loop_now(loop) + a.deadline_ms + FETCH_GRACE_MS;
		send_ask(f, t, &a);
	}
	arm = f->stats.pending > 0 && !f->arming;
	f->arming |= arm;
	if (arm)
		mail_post(f->home, &f->arm);
	pthread_mutex_unlock(&f->lock);
}

/* The process answers nevertheless, by what the ticket ends. */
void
fetch_cancel(struct fetch_wait *w)
{
	struct fetch_ticket *t = w->ticket;
	struct wire_ask a = { .op = WIRE_CANCEL };
	struct fetch *f;

	w->ticket = NULL;
	if (t == NULL)
		return;
	assert(t->wait == w);
	t->wait = NULL;
	f = t->fetch;
	pthread_mutex_lock(&f->lock);
	if (t->link != NULL) {
		a.id = t->id;
		(void)channel_send(t->link->fd, &a, sizeof(a), NULL, 0, 0);
	}
	pthread_mutex_unlock(&f->lock);
}
