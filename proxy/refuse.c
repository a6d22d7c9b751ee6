/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Refused connections, see refuse.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/budget.h"
#include "base/list.h"
#include "proxy/refuse.h"

#define TICK_MS 50
#define KEPT_MS 2000
#define READ_ROUNDS 16 /* of 16 KB, in one turn */

static void
spare_open(struct refusals *r)
{
	if (r->spare < 0)
		r->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* What it has sent; false: it has ended. */
static bool
drop_input(int fd)
{
	char dump[16384];
	ssize_t n = 1;
	unsigned i;

	for (i = 0; i < READ_ROUNDS && n > 0; i++)
		n = recv(fd, dump, sizeof(dump), MSG_DONTWAIT);
	return (n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)));
}

static void
let_go(struct refusals *r, unsigned i)
{
	(void)drop_input(r->kept[i].fd);
	close(r->kept[i].fd);
	account_give(r->account, BUDGET_DESCRIPTORS, 1);
	r->n--;
	memmove(&r->kept[i], &r->kept[i + 1], (r->n - i) * sizeof(r->kept[0]));
}

static void
on_tick(struct timer *t)
{
	struct refusals *r = CONTAINER_OF(t, struct refusals, timer);
	uint64_t now = loop_now(t->loop);
	unsigned i = 0;

	while (i < r->n)
		if (!drop_input(r->kept[i].fd) ||
		    now - r->kept[i].since >= KEPT_MS)
			let_go(r, i);
		else
			i++;
	spare_open(r);
	if (r->n > 0 || r->spare < 0)
		timer_set(t, TICK_MS);
}

void
refusals_init(struct refusals *r, struct loop *l, struct account *a)
{
	memset(r, 0, sizeof(*r));
	r->account = a;
	timer_init(&r->timer, l, on_tick);
	r->spare = -1;
	spare_open(r);
}

void
refusals_fini(struct refusals *r)
{
	timer_stop(&r->timer);
	while (r->n > 0)
		let_go(r, 0);
	if (r->spare >= 0)
		close(r->spare);
	r->spare = -1;
}

void
refuse(struct refusals *r, int fd, const char *status, const char *why)
{
	unsigned most = account_spare(r->account, BUDGET_DESCRIPTORS) > 0
	    ? REFUSED_MAX
	    : REFUSED_FEW;
	char text[400];
	int n = snprintf(text, sizeof(text),
	    "HTTP/1.1 %s\r\n"
	    "Content-Type: text/plain\r\nContent-Length: %zu\r\n"
	    "Retry-After: 10\r\nCache-Control: no-store\r\n"
	    "Proxy-Status: assay; error=connection_limit_reached\r\n"
	    "Connection: close\r\n\r\n%s",
	    status, strlen(why), why);

	(void)drop_input(fd);
	/* A new socket takes so much at once. */
	(void)send(fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)shutdown(fd, SHUT_WR);
	while (r->n >= most)
		let_go(r, 0);
	account_add(r->account, BUDGET_DESCRIPTORS, 1);
	r->kept[r->n++] = (struct refused){ fd, loop_now(r->timer.loop) };
	if (r->timer.at == 0)
		timer_set(&r->timer, TICK_MS);
}

bool
refusals_make_room(struct refusals *r)
{
	if (r->n > 0) {
		let_go(r, 0);
		return (true);
	}
	if (r->spare < 0)
		return (false);
	close(r->spare);
	r->spare = -1;
	if (r->timer.at == 0)
		timer_set(&r->timer, TICK_MS);
	return (true);
}
