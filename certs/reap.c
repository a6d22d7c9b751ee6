/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Children that have ended, see reap.h. */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include "certs/reap.h"

struct grave {
	struct grave *next;
	pid_t pid;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct grave *graves;

void
reap_later(pid_t pid)
{
	struct grave *g = malloc(sizeof(*g));

	assert(pid > 0);
	if (g == NULL)
		abort();
	pthread_mutex_lock(&lock);
	*g = (struct grave){ graves, pid };
	graves = g;
	pthread_mutex_unlock(&lock);
}

void
reap_dead(void)
{
	struct grave **at = &graves, *g;

	pthread_mutex_lock(&lock);
	while ((g = *at) != NULL)
		if (waitpid(g->pid, NULL, WNOHANG) != 0) {
			*at = g->next;
			free(g);
		} else
			at = &g->next;
	pthread_mutex_unlock(&lock);
}
