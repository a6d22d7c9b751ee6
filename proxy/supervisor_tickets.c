/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The secret behind TLS tickets for clients, see supervisor_priv.h: all serving
 * processes have the same, so that a client resumes with the next one, after a
 * reload, an upgrade or a crash.  Another twice a day: what a process knew is of
 * no use for longer, and each client has a full handshake then.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/list.h"
#include "proxy/supervisor_priv.h"

#define ROTATE_MS (12 * 3600 * 1000)

static void
make(struct tickets *t)
{
	ssize_t n;

	do
		n = getrandom(t->secret, sizeof(t->secret), 0);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(t->secret))
		abort();
}

void
tickets_message(const struct supervisor *p, struct message *m)
{
	unsigned i;

	*m = (struct message){ .kind = MESSAGE_TICKETS };
	for (i = 0; i < sizeof(p->tickets.secret); i++)
		(void)snprintf(m->text + 2 * i, 3, "%02x",
		    p->tickets.secret[i]);
}

static void
on_rotate(struct timer *t)
{
	struct supervisor *p = CONTAINER_OF(t, struct supervisor,
	    tickets.rotate);

	make(&p->tickets);
	served_new_tickets(p);
	timer_set(t, ROTATE_MS);
}

void
tickets_begin(struct supervisor *p, const unsigned char *secret)
{
	timer_init(&p->tickets.rotate, p->loop, on_rotate);
	timer_set(&p->tickets.rotate, ROTATE_MS);
	if (secret != NULL)
		memcpy(p->tickets.secret, secret, sizeof(p->tickets.secret));
	else
		make(&p->tickets);
}

void
tickets_end(struct supervisor *p)
{
	timer_stop(&p->tickets.rotate);
	gnutls_memset(p->tickets.secret, 0, sizeof(p->tickets.secret));
}
