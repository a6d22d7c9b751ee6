/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See clam_home.h. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "scanners/clam_keeper.h"
#include "t/unit/clam_home.h"

#define WHO 1

struct clam_home {
	struct clam_keeper *keeper;
	struct clam_options options; /* for report */
	uint32_t number;
	int wake;
	bool begun, failed;
	struct fault *f; /* of the begin */
	atomic_bool wanted, ends;
	pthread_t thread;
};

static void
give(struct clam_home *h)
{
	int fd = clam_keeper_client(h->keeper, WHO);

	if (fd >= 0 && !clam_deliver(h->number, fd))
		close(fd);
}

static void
on_ready(void *arg)
{
	struct clam_home *h = arg;

	if (h->begun && !clam_keeper_awaits(h->keeper, WHO))
		give(h);
	h->begun = true;
}

static void
on_failed(void *arg, const char *why)
{
	struct clam_home *h = arg;

	h->failed = true;
	fault_set(h->f, ERR_CONFIG, "%s", why);
}

static void
on_say(void *arg, const char *what, const char *detail)
{
	struct clam_home *h = arg;
	char line[700];

	snprintf(line, sizeof(line), "clamav: %s%s", what, detail);
	if (h->options.report != NULL)
		h->options.report(h->options.report_arg, line);
}

static void
want(void *arg, uint32_t number)
{
	struct clam_home *h = arg;
	uint64_t one = 1;

	(void)number;
	atomic_store(&h->wanted, true);
	(void)!write(h->wake, &one, sizeof(one));
}

static void
turn(struct clam_home *h)
{
	struct pollfd p[2] = { { clam_keeper_fd(h->keeper), POLLIN, 0 },
		{ h->wake, POLLIN, 0 } };
	uint64_t n;

	(void)poll(p, 2, 20);
	(void)!read(h->wake, &n, sizeof(n));
	if (atomic_exchange(&h->wanted, false))
		give(h);
	clam_keeper_look(h->keeper);
}

static void *
run(void *arg)
{
	struct clam_home *h = arg;

	while (!atomic_load(&h->ends))
		turn(h);
	return (NULL);
}

struct clam_home *
clam_home_new(const struct clam_options *o, struct clam_door *door,
    struct fault *f)
{
	static atomic_uint last;
	struct clam_home *h = calloc(1, sizeof(*h));
	const struct clam_keeper_news news = { on_ready, on_failed, on_say,
		NULL, h, 0 };
	struct clam_open open;

	h->options = *o;
	h->number = atomic_fetch_add(&last, 1) + 1;
	h->f = f;
	h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	clam_open_fill(&open, o, NULL);
	h->keeper = clam_keeper_new(&open, NULL, &news, f);
	while (h->keeper != NULL && !h->begun && !h->failed)
		turn(h);
	if (!h->begun) {
		clam_keeper_free(&h->keeper);
		close(h->wake);
		free(h);
		return (NULL);
	}
	*door = (struct clam_door){ h->number,
		clam_keeper_client(h->keeper, WHO), want, h };
	pthread_create(&h->thread, NULL, run, h);
	return (h);
}

void
clam_home_free(struct clam_home **hp)
{
	struct clam_home *h = *hp;

	*hp = NULL;
	if (h == NULL)
		return;
	atomic_store(&h->ends, true);
	pthread_join(h->thread, NULL);
	clam_keeper_free(&h->keeper);
	close(h->wake);
	free(h);
}
