/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads, see thread.h. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "base/crash.h"
#include "base/thread.h"

struct begin {
	void *(*run)(void *);
	void *arg;
	char name[THREAD_NAME_MAX];
};

static void *
thread_main(void *arg)
{
	struct begin b = *(struct begin *)arg;
	void *result;

	free(arg);
	(void)pthread_setname_np(pthread_self(), b.name);
	(void)crash_stack_new(
	    b.name); /* without one most faults are reported */
	result = b.run(b.arg);
	crash_stack_free();
	return (result);
}

int
thread_start(pthread_t *id, const char *name, void *(*run)(void *), void *arg)
{
	struct begin *b = calloc(1, sizeof(*b));
	sigset_t set, before;
	int e;

	if (b == NULL)
		return (ENOMEM);
	b->run = run;
	b->arg = arg;
	strncpy(b->name, name, sizeof(b->name) - 1);
	sigfillset(&set);
	crash_unblock(&set);
	(void)pthread_sigmask(SIG_SETMASK, &set, &before);
	e = pthread_create(id, NULL, thread_main, b);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (e != 0)
		free(b);
	return (e);
}
