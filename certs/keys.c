/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The owner's side of a key holder, see keys.h. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/channel.h"
#include "certs/holder_priv.h"
#include "certs/keys.h"

bool
keys_start(struct keys *k, struct fault *f)
{
	struct spawn s = { .role = KEYHOLDER_ROLE, .n_fds = 1, .errors = -1 };
	int pair[2];
	bool ok;

	*k = (struct keys){ .child = CHILD_NONE, .fd = -1 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
		fault_set(f, ERR_SYSTEM, "key holder: %s", strerror(errno));
		return (false);
	}
	s.fd[0] = pair[1];
	ok = spawn_start(&s, &k->child, f);
	(void)close(pair[1]);
	if (ok)
		k->fd = pair[0];
	else
		(void)close(pair[0]);
	return (ok);
}

void
keys_leave(struct keys *k)
{
	if (k->fd >= 0)
		(void)close(k->fd);
	k->fd = -1;
}

static bool
ask(const struct keys *k, enum holder_op op, uint32_t which,
    const gnutls_datum_t *a, const gnutls_datum_t *b)
{
	struct holder_msg m = { .head = { op, 0, which, { a->size, b->size } },
		.field = { *a, *b } };

	return (holder_send(k->fd, &m));
}

static gnutls_datum_t
text(const char *s)
{
	return ((gnutls_datum_t){ (unsigned char *)(uintptr_t)s,
	    (unsigned)strlen(s) });
}

bool
keys_open(const struct keys *k, const char *cert, const char *key, bool make)
{
	gnutls_datum_t a = text(cert), b = text(key);

	return (ask(k, HOLDER_OPEN, make ? HOLDER_MAKE : 0, &a, &b));
}

bool
keys_load(const struct keys *k, const char *key, const gnutls_datum_t *ca,
    enum keyholder_key which)
{
	gnutls_datum_t a = text(key);

	return (ask(k, HOLDER_LOAD, which, &a, ca));
}

static void
take(struct keys_answer *a, const struct holder_msg *m)
{
	*a = (struct keys_answer){ .ok = m->head.op == 0 };
	if (!a->ok) {
		(void)snprintf(a->text, sizeof(a->text), "%.*s",
		    (int)m->field[0].size, (const char *)m->field[0].data);
		return;
	}
	a->made = (m->head.which & HOLDER_MADE) != 0;
	a->which = (m->head.which & ~(uint32_t)HOLDER_MADE) == KEYHOLDER_CA
	    ? KEYHOLDER_CA
	    : KEYHOLDER_ISSUER;
	a->ca.data = gnutls_malloc(m->field[0].size + 1);
	if (a->ca.data == NULL)
		abort();
	a->ca.size = m->field[0].size;
	memcpy(a->ca.data, m->field[0].data, a->ca.size);
}

/* Is there a message, or its end? */
static bool
has_word(const struct keys *k)
{
	char c;

	return (recv(k->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
	    (errno != EAGAIN && errno != EINTR));
}

int
keys_answered(const struct keys *k, struct keys_answer *a)
{
	static _Thread_local unsigned char buf[HOLDER_MAX];
	struct holder_msg m;
	int r;

	if (!has_word(k))
		return (0);
	r = holder_recv(k->fd, &m, buf, NULL);
	if (r <= 0 || m.head.id != 0)
		return (-1);
	take(a, &m);
	if (a->ok && !holder_report_of(&m, &a->box)) {
		gnutls_free(a->ca.data);
		return (-1);
	}
	return (1);
}

void
keys_tell(const struct keys *k, bool leaves)
{
	gnutls_datum_t none = { NULL, 0 };

	(void)ask(k, HOLDER_TELL, leaves ? 1 : 0, &none, &none);
}

/* Text of ours alone: names, addresses, and why one was refused. */
static bool
news_ok(const struct keys_news *n)
{
	const char *p;

	if (n->kind > KEYS_COUNT ||
	    memchr(n->text, '\0', sizeof(n->text)) == NULL)
		return (false);
	for (p = n->text; *p != '\0'; p++)
		if (*p < ' ' || *p > '~' || *p == '"' || *p == '\\')
			return (false);
	return (true);
}

int
keys_news(const struct keys *k, struct keys_news *n)
{
	static _Thread_local unsigned char buf[HOLDER_MAX];
	struct holder_msg m;

	if (!has_word(k))
		return (0);
	if (holder_recv(k->fd, &m, buf, NULL) <= 0 ||
	    m.head.op != HOLDER_NEWS || m.field[0].size != sizeof(*n))
		return (-1);
	memcpy(n, m.field[0].data, sizeof(*n));
	return (news_ok(n) ? 1 : -1);
}

int
keys_client(const struct keys *k)
{
	struct holder_head head = { .op = HOLDER_CLIENT };
	int pair[2];
	enum channel_end r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return (-1);
	r = channel_send(k->fd, &head, sizeof(head), &pair[1], 1, 0);
	(void)close(pair[1]);
	if (r == CHANNEL_DONE)
		return (pair[0]);
	(void)close(pair[0]);
	errno = EPIPE;
	return (-1);
}

void
keys_last(const struct keys *k)
{
	gnutls_datum_t none = { NULL, 0 };

	(void)ask(k, HOLDER_LAST, 0, &none, &none);
}
