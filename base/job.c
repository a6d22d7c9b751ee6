/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pool of threads, see job.h: the owners' turns are under one lock. */
#include <assert.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/job.h"
#include "base/thread.h"

struct job_pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct turns turns;
	bool closing;
	char name[16];
	unsigned threads;
	unsigned wanted;
	pthread_t thread[];
};

static void
job_deliver(struct mail *m, struct loop *loop)
{
	struct job *j = CONTAINER_OF(m, struct job, mail);

	loop_job_back(loop);
	j->done(j);
}

/* NULL: the pool is closing and nothing is queued. */
static struct job *
job_take(struct job_pool *p)
{
	struct turn *t;

	pthread_mutex_lock(&p->lock);
	while ((t = turns_next(&p->turns)) == NULL && !p->closing)
		pthread_cond_wait(&p->work, &p->lock);
	pthread_mutex_unlock(&p->lock);
	return (t != NULL ? CONTAINER_OF(t, struct job, turn) : NULL);
}

static void
job_ended(struct job_pool *p, struct job *j)
{
	pthread_mutex_lock(&p->lock);
	turns_end(&p->turns, &j->turn);
	pthread_mutex_unlock(&p->lock);
}

static void *
job_thread(void *arg)
{
	struct job_pool *p = arg;
	struct job *j;

	while ((j = job_take(p)) != NULL) {
		j->run(j);
		job_ended(p, j);
		mail_post(j->loop, &j->mail);
	}
	return (NULL);
}

static struct job_pool *
pool_alloc(const char *name, unsigned threads, unsigned most)
{
	struct job_pool *p = calloc(1,
	    sizeof(*p) + threads * sizeof(p->thread[0]));

	if (p == NULL)
		abort();
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	turns_init(&p->turns, most);
	strncpy(p->name, name, sizeof(p->name) - 1);
	p->wanted = threads;
	return (p);
}

bool
job_pool_begin(struct job_pool *p)
{
	while (p->threads < p->wanted &&
	    thread_start(&p->thread[p->threads], p->name, job_thread, p) == 0)
		p->threads++;
	return (p->threads > 0);
}

static struct job_pool *
pool_new(const char *name, unsigned threads, unsigned most)
{
	struct job_pool *p = pool_alloc(name, threads, most);

	if (!job_pool_begin(p))
		job_pool_free(&p);
	return (p);
}

struct job_pool *
job_pool_prepare(const char *name, unsigned threads)
{
	return (pool_alloc(name, threads, threads));
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
	assert(j->run != NULL && j->done != NULL);
	loop_job_out(loop);
	j->loop = loop;
	j->mail.deliver = job_deliver;
	pthread_mutex_lock(&p->lock);
	turns_add(&p->turns, &j->turn, owner);
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
	unsigned n;

	pthread_mutex_lock(&p->lock);
	n = turns_waiting_of(&p->turns, owner);
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
	p->turns.most = UINT_MAX;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (i = 0; i < p->threads; i++)
		pthread_join(p->thread[i], NULL);
	assert(p->threads == 0 || list_empty(&p->turns.ready));
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	free(p);
	*pp = NULL;
}
