/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the supervisor has handed over, see inbox.h. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/handed.h"
#include "proxy/inbox.h"
#include "proxy/named.h"

#define LISTENERS_MAX 65536
#define LOGS_MAX 65536
#define LOST_MAX 64
#define SCANS_MAX 1024

void
inbox_init(struct inbox *b)
{
	*b = (struct inbox){ .admin = -1, .keys = -1, .setup = -1 };
}

static void
replace(int *where, int fd)
{
	if (*where >= 0)
		(void)close(*where);
	*where = fd;
}

static bool
take_listener(struct inbox *b, const struct message *m, int fd)
{
	struct inbox_listener *more;

	if (b->n_listeners == LISTENERS_MAX)
		return (false);
	more = realloc(b->listeners, (b->n_listeners + 1) * sizeof(*more));
	if (more == NULL)
		abort();
	b->listeners = more;
	b->listeners[b->n_listeners++] = (struct inbox_listener){ fd, m->number,
		m->index };
	return (true);
}

/* They come in order. */
static bool
take_log(struct inbox *b, const struct message *m, int fd)
{
	int *more;

	if (m->index != b->n_logs || b->n_logs == LOGS_MAX)
		return (false);
	more = realloc(b->logs, (b->n_logs + 1) * sizeof(*more));
	if (more == NULL)
		abort();
	b->logs = more;
	b->logs[b->n_logs++] = fd;
	return (true);
}

/* They come in order, some of them not at all. */
static bool
take_named(struct inbox *b, const struct message *m, int fd)
{
	struct inbox_named *more;

	if (m->index >= NAMED_MAX ||
	    (b->n_named > 0 && m->index <= b->named[b->n_named - 1].index))
		return (false);
	more = realloc(b->named, (b->n_named + 1) * sizeof(*more));
	if (more == NULL)
		abort();
	b->named = more;
	b->named[b->n_named++] = (struct inbox_named){ m->index, fd };
	return (true);
}

static bool
take_scans(struct inbox *b, const struct message *m, int fd)
{
	struct inbox_scans *more;

	if (b->n_scans == SCANS_MAX || m->number == 0)
		return (false);
	more = realloc(b->scans, (b->n_scans + 1) * sizeof(*more));
	if (more == NULL)
		abort();
	b->scans = more;
	b->scans[b->n_scans++] = (struct inbox_scans){ fd, m->number,
		m->index };
	return (true);
}

bool
inbox_take_scans(struct inbox *b, unsigned of, uint32_t *number, int *fd)
{
	unsigned i;

	for (i = 0; i < b->n_scans && b->scans[i].of != of; i++)
		;
	if (i == b->n_scans)
		return (false);
	*number = b->scans[i].number;
	*fd = b->scans[i].fd;
	b->scans[i].fd = -1;
	return (true);
}

void
inbox_drop_scans(struct inbox *b)
{
	while (b->n_scans > 0)
		replace(&b->scans[--b->n_scans].fd, -1);
}

static bool
take_lost(struct inbox *b, const struct message *m, int fd)
{
	struct inbox_lost *more;

	if (b->n_lost == LOST_MAX)
		return (false);
	more = realloc(b->lost, (b->n_lost + 1) * sizeof(*more));
	if (more == NULL)
		abort();
	b->lost = more;
	b->lost[b->n_lost++] = (struct inbox_lost){ fd,
		(uint64_t)m->number << 32 | m->index };
	return (true);
}

static bool
take_user(struct inbox *b, const struct message *m)
{
	if (m->text[0] == '\0' || strlen(m->text) >= sizeof(b->user.name))
		return (false);
	b->user = (struct sandbox_user){ .uid = m->number, .gid = m->index };
	strcpy(b->user.name, m->text);
	b->has_user = true;
	return (true);
}

static bool
take_setup(struct inbox *b, const struct message *m, int fd)
{
	b->number = m->number;
	b->workers = m->index;
	b->supervisor = m->pid;
	replace(&b->setup, fd);
	return (true);
}

bool
inbox_take(struct inbox *b, const struct message *m, int fd)
{
	switch (m->kind) {
	case MESSAGE_LISTENER:
		return (take_listener(b, m, fd));
	case MESSAGE_LOG:
		return (take_log(b, m, fd));
	case MESSAGE_SCANS:
	case MESSAGE_SAME_SCANS:
		return (take_scans(b, m, fd));
	case MESSAGE_NAMED:
		return (take_named(b, m, fd));
	case MESSAGE_LOST:
		return (take_lost(b, m, fd));
	case MESSAGE_USER:
		return (take_user(b, m));
	case MESSAGE_SETUP:
		return (take_setup(b, m, fd));
	case MESSAGE_ADMIN:
		replace(&b->admin, fd);
		return (true);
	case MESSAGE_KEYS:
		replace(&b->keys, fd);
		b->keys_number = m->number;
		b->keys_pid = m->pid;
		b->ca_made = m->index != 0;
		return (true);
	default:
		return (false);
	}
}

static void
give(void *arg, unsigned index, const char *path)
{
	struct inbox *b = arg;
	unsigned i;

	for (i = 0; i < b->n_named; i++)
		if (b->named[i].index == index && b->named[i].fd >= 0) {
			handed_add(path, b->named[i].fd);
			b->named[i].fd = -1;
		}
}

static void
drop_named(struct inbox *b)
{
	while (b->n_named > 0)
		if (b->named[--b->n_named].fd >= 0)
			(void)close(b->named[b->n_named].fd);
	free(b->named);
	b->named = NULL;
}

void
inbox_give_named(struct inbox *b, const struct conf *c)
{
	named_each(c, give, b);
	drop_named(b);
}

void
inbox_fini(struct inbox *b)
{
	unsigned i;

	for (i = 0; i < b->n_listeners; i++)
		(void)close(b->listeners[i].fd);
	for (i = 0; i < b->n_logs; i++)
		(void)close(b->logs[i]);
	free(b->listeners);
	free(b->logs);
	for (i = 0; i < b->n_lost; i++)
		(void)close(b->lost[i].flight);
	free(b->lost);
	inbox_drop_scans(b);
	free(b->scans);
	drop_named(b);
	replace(&b->admin, -1);
	replace(&b->keys, -1);
	replace(&b->setup, -1);
	inbox_init(b);
}
