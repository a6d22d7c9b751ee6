/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pool of threads, see job.h: one queue under one lock. */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/job.h"
#include "base/list.h"

struct job_pool {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct job *first, **last;
	unsigned waiting;
	bool closing;
	char name[16];
	unsigned threads;
	pthread_t thread[];
};

static void
job_deliver(struct mail *m, struct loop *loop)
{
	struct job *j = CONTAINER_OF(m, struct job, mail);

	loop_job_back(loop);
	j->done(j);
}

/* The next job; NULL: the pool is closing and nothing is queued. */
static struct job *
job_take(struct job_pool *p)
{
	struct job *j;

	pthread_mutex_lock(&p->lock);
	while (p->first == NULL && !p->closing)
		pthread_cond_wait(&p->work, &p->lock);
	j = p->first;
	if (j != NULL) {
		p->first = j->next;
		if (p->first == NULL)
			p->last = &p->first;
		p->waiting--;
	}
	pthread_mutex_unlock(&p->lock);
	return (j);
}

static void *
job_thread(void *arg)
{
	struct job_pool *p = arg;
	struct job *j;

	pthread_setname_np(pthread_self(), p->name);
	while ((j = job_take(p)) != NULL) {
		j->run(j);
		mail_post(j->loop, &j->mail);
	}
	return (NULL);
}

struct job_pool *
job_pool_new(const char *name, unsigned threads)
{
	struct job_pool *p = calloc(1, sizeof(*p) +
	    threads * sizeof(p->thread[0]));
	sigset_t all, old;

	if (p == NULL)
		abort();
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	p->last = &p->first;
	strncpy(p->name, name, sizeof(p->name) - 1);
	sigfillset(&all);		/* signals are the main thread's */
	pthread_sigmask(SIG_BLOCK, &all, &old);
	while (p->threads < threads && pthread_create(&p->thread[p->threads],
	    NULL, job_thread, p) == 0)
		p->threads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (p->threads == 0)
		job_pool_free(&p);
	return (p);
}

void
job_start(struct job_pool *p, struct job *j, struct loop *loop)
{
	loop_job_out(loop);
	j->loop = loop;
	j->next = NULL;
	j->mail.deliver = job_deliver;
	pthread_mutex_lock(&p->lock);
	*p->last = j;
	p->last = &j->next;
	p->waiting++;
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

unsigned
job_pool_waiting(struct job_pool *p)
{
	unsigned n;

	pthread_mutex_lock(&p->lock);
	n = p->waiting;
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
