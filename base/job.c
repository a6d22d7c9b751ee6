/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pool of threads, see job.h: a queue for each owner, all under one lock. */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/job.h"
#include "base/list.h"

#define BUCKETS 64

/* Whose jobs they are; there while one waits or runs. */
struct job_owner {
	struct list turn;       /* of the pool, while one waits */
	struct job_owner *next; /* in the bucket */
	uint64_t key;
	struct job *first, **last;
	unsigned waiting, running;
};

struct job_pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct list turns; /* of struct job_owner; the next first */
	struct job_owner *owners[BUCKETS];
	unsigned most; /* running for one owner */
	bool closing;
	char name[16];
	unsigned threads;
	pthread_t thread[];
};

static struct job_owner **
owner_slot(struct job_pool *p, uint64_t key)
{
	struct job_owner **at = &p->owners[(key * 0x9e3779b97f4a7c15u) >> 58];

	while (*at != NULL && (*at)->key != key)
		at = &(*at)->next;
	return (at);
}

static struct job_owner *
owner_get(struct job_pool *p, uint64_t key)
{
	struct job_owner **at = owner_slot(p, key), *o = *at;

	if (o != NULL)
		return (o);
	o = *at = calloc(1, sizeof(*o));
	if (o == NULL)
		abort();
	o->key = key;
	o->last = &o->first;
	return (o);
}

/* It goes when it has nothing left. */
static void
owner_put(struct job_pool *p, struct job_owner *o)
{
	struct job_owner **at;

	if (o->waiting > 0 || o->running > 0)
		return;
	at = owner_slot(p, o->key);
	*at = o->next;
	free(o);
}

/* Whose turn it is; NULL: nobody's who may have another thread. */
static struct job_owner *
owner_next(struct job_pool *p)
{
	struct job_owner *o;
	struct list *it;

	for (it = p->turns.next; it != &p->turns; it = it->next) {
		o = CONTAINER_OF(it, struct job_owner, turn);
		if (o->running < p->most || p->closing)
			return (o);
	}
	return (NULL);
}

static void
job_deliver(struct mail *m, struct loop *loop)
{
	struct job *j = CONTAINER_OF(m, struct job, mail);

	loop_job_back(loop);
	j->done(j);
}

/* The next job of o, which then stands behind the others. */
static struct job *
owner_take(struct job_pool *p, struct job_owner *o)
{
	struct job *j = o->first;

	list_remove(&o->turn);
	o->first = j->next;
	if (o->first == NULL)
		o->last = &o->first;
	else
		list_append(&p->turns, &o->turn);
	o->waiting--;
	o->running++;
	return (j);
}

/* A job and its owner; NULL: the pool is closing and nothing is queued. */
static struct job *
job_take(struct job_pool *p, struct job_owner **of)
{
	struct job *j = NULL;

	pthread_mutex_lock(&p->lock);
	while ((*of = owner_next(p)) == NULL && !p->closing)
		pthread_cond_wait(&p->work, &p->lock);
	if (*of != NULL)
		j = owner_take(p, *of);
	pthread_mutex_unlock(&p->lock);
	return (j);
}

static void
job_ended(struct job_pool *p, struct job_owner *o)
{
	pthread_mutex_lock(&p->lock);
	o->running--;
	owner_put(p, o);
	pthread_mutex_unlock(&p->lock);
}

static void *
job_thread(void *arg)
{
	struct job_pool *p = arg;
	struct job_owner *o;
	struct job *j;

	pthread_setname_np(pthread_self(), p->name);
	while ((j = job_take(p, &o)) != NULL) {
		j->run(j);
		job_ended(p, o);
		mail_post(j->loop, &j->mail);
	}
	return (NULL);
}

static struct job_pool *
pool_new(const char *name, unsigned threads, unsigned most)
{
	struct job_pool *p = calloc(1,
	    sizeof(*p) + threads * sizeof(p->thread[0]));
	sigset_t all, old;

	if (p == NULL)
		abort();
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	list_init(&p->turns);
	p->most = most;
	strncpy(p->name, name, sizeof(p->name) - 1);
	sigfillset(&all); /* signals are the main thread's */
	pthread_sigmask(SIG_BLOCK, &all, &old);
	while (p->threads < threads &&
	    pthread_create(&p->thread[p->threads], NULL, job_thread, p) == 0)
		p->threads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (p->threads == 0)
		job_pool_free(&p);
	return (p);
}

struct job_pool *
job_pool_new(const char *name, unsigned threads)
{
	return (pool_new(name, threads, threads));
}

struct job_pool *
job_pool_new_fair(const char *name, unsigned threads)
{
	return (pool_new(name, threads + 1, threads));
}

void
job_start_for(struct job_pool *p, struct job *j, struct loop *loop,
    uint64_t owner)
{
	struct job_owner *o;

	loop_job_out(loop);
	j->loop = loop;
	j->next = NULL;
	j->mail.deliver = job_deliver;
	pthread_mutex_lock(&p->lock);
	o = owner_get(p, owner);
	if (o->waiting++ == 0)
		list_append(&p->turns, &o->turn);
	*o->last = j;
	o->last = &j->next;
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

void
job_start(struct job_pool *p, struct job *j, struct loop *loop)
{
	job_start_for(p, j, loop, JOB_NOBODY);
}

unsigned
job_pool_waiting_of(struct job_pool *p, uint64_t owner)
{
	struct job_owner *o;
	unsigned n;

	pthread_mutex_lock(&p->lock);
	o = *owner_slot(p, owner);
	n = o != NULL ? o->waiting : 0;
	pthread_mutex_unlock(&p->lock);
	return (n);
}

void
job_pool_free(struct job_pool **pp)
{
	struct job_pool *p = *pp;
	unsigned i;

	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->closing = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (i = 0; i < p->threads; i++)
		pthread_join(p->thread[i], NULL);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	free(p);
	*pp = NULL;
}
