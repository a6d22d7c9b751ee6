/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scanner processes and who waits for one, see clam_pool_priv.h.
 *
 * Room: scanners.  Thread: any, under the lock.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/thread.h"
#include "scanners/clam_pool_priv.h"

void
clam_pool_lock(struct clam_pool *p)
{
	pthread_mutex_lock(&p->lock);
}

void
clam_pool_unlock(struct clam_pool *p)
{
	pthread_mutex_unlock(&p->lock);
}

void
clam_pool_wake(struct clam_pool *p)
{
	uint64_t one = 1;

	(void)!write(p->wake, &one, sizeof(one));
}

/* ---- states ---- */

#define ON(state) (1u << PROC_##state)

static const unsigned next_of[PROC_STATES] = {
#define STATE(name, next) [PROC_##name] = next,
#include "scanners/clam_proc.def"
};

static bool
counts(enum clam_proc_state s)
{
	return (s != PROC_NONE && s != PROC_LOST);
}

void
clam_proc_set(struct clam_pool *p, struct clam_proc *c, enum clam_proc_state s)
{
	struct clam_queue *q = &p->queue[c->class];

	assert((next_of[c->state] & 1u << s) != 0);
	if (counts(c->state) && !counts(s))
		q->children--;
	if (!counts(c->state) && counts(s))
		q->children++;
	c->state = s;
	c->since = clam_now_ms();
}

/* ---- the end of one ---- */

static void
child_close(struct clam_proc *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	if (c->slot != NULL)
		munmap(c->slot, CLAM_SLOT);
	c->slot = NULL;
}

static void
link_put(struct clam_pool *p, struct clam_link *l)
{
	assert(l->children > 0);
	if (--l->children == 0 && l->old)
		clam_pool_wake(
		    p); /* it is closed by the thread that polls it */
}

void
clam_proc_free(struct clam_pool *p, struct clam_proc *c)
{
	assert(c->job == NULL);
	child_close(c);
	clam_proc_set(p, c, PROC_NONE);
	link_put(p, c->link);
	c->link = NULL;
}

/* It ends by itself when its socket does; what it is worth is not known. */
void
clam_proc_retire(struct clam_pool *p, struct clam_proc *c)
{
	assert(c->job == NULL);
	if (c->died) {
		clam_proc_free(p, c);
		return;
	}
	(void)clam_wire_word(c->link->fd, CLAM_KILL, c->id, NULL, 0);
	child_close(c);
	clam_proc_set(p, c, PROC_LOST);
}

void
clam_proc_back(struct clam_pool *p, struct clam_proc *c, bool retires)
{
	c->job = NULL;
	if (retires || c->died || c->link->old)
		clam_proc_retire(p, c);
	else
		clam_proc_set(p, c, PROC_IDLE);
	clam_pool_share(p);
}

/* ---- the begin of one ---- */

/* Never to be shortened: who reads or writes it would get SIGBUS. */
static int
slot_make(struct clam_proc *c)
{
	int fd = memfd_create("scan-slot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *at;

	if (fd < 0)
		return (-1);
	if (ftruncate(fd, CLAM_SLOT) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) ==
		0) {
		at = mmap(NULL, CLAM_SLOT, PROT_READ | PROT_WRITE, MAP_SHARED,
		    fd, 0);
		if (at != MAP_FAILED) {
			c->slot = at;
			return (fd);
		}
	}
	close(fd);
	return (-1);
}

static bool
child_ask(struct clam_pool *p, struct clam_proc *c)
{
	int pair[2], fds[2];
	bool ok;

	if (!channel_pair(pair))
		return (false);
	c->fd = pair[0];
	fds[0] = pair[1];
	fds[1] = slot_make(c);
	ok = fds[1] >= 0 &&
	    clam_wire_word(p->link->fd, CLAM_NEW, c->id, fds, 2);
	close(fds[0]);
	if (fds[1] >= 0)
		close(fds[1]);
	return (ok);
}

static struct clam_proc *
child_place(struct clam_pool *p)
{
	unsigned i;

	for (i = 0; i < p->n_children; i++)
		if (p->child[i].state == PROC_NONE)
			return (&p->child[i]);
	return (NULL);
}

/* One second later, if there is no descriptor, or no answer yet of the dead. */
static void
child_make(struct clam_pool *p, enum clam_class class)
{
	struct clam_proc *c = child_place(p);

	if (c == NULL)
		return;
	*c = (struct clam_proc){ .class = class,
		.id = ++p->last_id,
		.link = p->link,
		.fd = -1 };
	if (!child_ask(p, c)) {
		child_close(c);
		p->make_after = clam_now_ms() + 1000;
		return;
	}
	p->link->children++;
	clam_proc_set(p, c, PROC_STARTING);
	clam_pool_wake(p);
}

/* ---- sharing ---- */

/* The one that was used last: its memory is warm. */
static struct clam_proc *
child_idle(struct clam_pool *p, enum clam_class class)
{
	struct clam_proc *best = NULL, *c;
	unsigned i;

	for (i = 0; i < p->n_children; i++) {
		c = &p->child[i];
		if (c->state == PROC_IDLE && c->class == class && !c->died &&
		    c->link == p->link &&
		    (best == NULL || c->since > best->since))
			best = c;
	}
	return (best);
}

static void
class_share(struct clam_pool *p, enum clam_class class)
{
	struct clam_queue *q = &p->queue[class];
	struct clam_proc *c;
	struct turn *t;

	while ((c = child_idle(p, class)) != NULL &&
	    (t = turns_next(&q->turns)) != NULL) {
		clam_proc_set(p, c, PROC_BUSY);
		clam_ride_given(clam_job_of_turn(t), c);
	}
	/* One idle is kept, so that the next body need not wait for a fork. */
	if (c == NULL && q->used && p->link != NULL &&
	    q->children < p->engine->for_one + 1 &&
	    clam_now_ms() >= p->make_after)
		child_make(p, class);
}

void
clam_pool_share(struct clam_pool *p)
{
	class_share(p, CLASS_SMALL);
	class_share(p, CLASS_LARGE);
}

/* ---- begin and end ---- */

/* All pools of this process, for sockets that come for them. */
static pthread_mutex_t pools_lock = PTHREAD_MUTEX_INITIALIZER;
static struct clam_pool *pools;

static void
pools_add(struct clam_pool *p)
{
	pthread_mutex_lock(&pools_lock);
	p->next = pools;
	pools = p;
	pthread_mutex_unlock(&pools_lock);
}

static void
pools_remove(const struct clam_pool *p)
{
	struct clam_pool **at;

	pthread_mutex_lock(&pools_lock);
	for (at = &pools; *at != NULL && *at != p; at = &(*at)->next)
		;
	if (*at != NULL)
		*at = p->next;
	pthread_mutex_unlock(&pools_lock);
}

static void
socket_comes(struct clam_pool *p, int fd)
{
	clam_pool_lock(p);
	if (p->coming >= 0)
		close(p->coming);
	p->coming = fd;
	clam_pool_wake(p);
	clam_pool_unlock(p);
}

bool
clam_deliver(uint32_t number, int fd)
{
	struct clam_pool *p;

	pthread_mutex_lock(&pools_lock);
	for (p = pools; p != NULL && p->door.number != number; p = p->next)
		;
	if (p != NULL)
		socket_comes(p, fd);
	pthread_mutex_unlock(&pools_lock);
	return (p != NULL);
}

uint32_t
clam_pool_number(const struct clam_pool *p)
{
	return (p->door.number);
}

static struct clam_pool *
pool_alloc(struct clam_engine *e, const char *temp_dir)
{
	unsigned i, n = clam_scanners(e->for_one);
	struct clam_pool *p = calloc(1, sizeof(*p) + n * sizeof(p->child[0]));

	if (p == NULL)
		abort();
	p->engine = e;
	p->n_children = n;
	p->coming = -1;
	p->queue[CLASS_SMALL].used = true;
	p->temp_dir = strdup(temp_dir);
	p->digests = job_pool_new("clam-digest", 1);
	p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	for (i = 0; i < n; i++)
		p->child[i].fd = -1;
	for (i = 0; i < CLAM_LINKS; i++)
		p->links[i].fd = -1;
	for (i = 0; i < CLASSES; i++)
		turns_init(&p->queue[i].turns, e->for_one);
	pthread_mutex_init(&p->lock, NULL);
	return (p);
}

struct clam_pool *
clam_pool_new(struct clam_engine *e, const struct clam_options *o,
    struct fault *f)
{
	struct clam_pool *p = pool_alloc(e, o->temp_dir);
	struct pollfd first = { o->door->fd, POLLIN, 0 };

	p->door = *o->door;
	p->coming = o->door->fd;
	p->lost_at = clam_now_ms();
	if (p->wake >= 0 && p->digests != NULL) {
		if (p->coming >= 0)
			(void)poll(&first, 1, CLAM_READY_MS);
		clam_pool_lock(p);
		clam_pool_come(p);
		clam_pool_unlock(p);
		p->running = thread_start(&p->thread, "clam-watch",
				 clam_pool_run, p) == 0;
	}
	if (p->running) {
		pools_add(p);
		return (p);
	}
	fault_set(f, ERR_SYSTEM, "no thread or descriptor for scanning");
	clam_pool_free(&p);
	return (NULL);
}

/* Nobody scans any more: the engine's last reference is gone. */
void
clam_pool_free(struct clam_pool **pp)
{
	struct clam_pool *p = *pp;
	unsigned i;

	*pp = NULL;
	if (p == NULL)
		return;
	pools_remove(p);
	clam_pool_lock(p);
	p->closing = true;
	clam_pool_wake(p);
	clam_pool_unlock(p);
	if (p->running)
		pthread_join(p->thread, NULL);
	for (i = 0; i < p->n_children; i++) {
		assert(p->child[i].job == NULL);
		child_close(&p->child[i]);
	}
	for (i = 0; i < CLAM_LINKS; i++)
		if (p->links[i].fd >= 0)
			close(p->links[i].fd);
	if (p->coming >= 0)
		close(p->coming);
	if (p->wake >= 0)
		close(p->wake);
	job_pool_free(&p->digests);
	pthread_mutex_destroy(&p->lock);
	free(p->temp_dir);
	free(p);
}
