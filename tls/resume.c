/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tickets of servers, see resume.h: one slot per host and port, by hash. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/list.h"
#include "tls/resume.h"

struct ticket {
	gnutls_datum_t data; /* owned; size 0: none */
	uint64_t until;
};

struct kept {
	struct list age; /* of the table; alone when it is empty */
	char host[256];
	uint16_t port;
	struct ticket ticket[TLS_RESUME_PER_HOST]; /* newest first */
};

struct tls_resume {
	unsigned max;
	struct kept *kept;
	struct list age; /* of slots with tickets, oldest first */
	size_t bytes, max_bytes;
};

struct tls_resume *
tls_resume_new(unsigned max_hosts, size_t max_bytes)
{
	struct tls_resume *t = calloc(1, sizeof(*t));
	unsigned i;

	assert(max_hosts > 0);
	if (t == NULL ||
	    (t->kept = calloc(max_hosts, sizeof(*t->kept))) == NULL)
		abort();
	t->max = max_hosts;
	t->max_bytes = max_bytes;
	list_init(&t->age);
	for (i = 0; i < max_hosts; i++)
		list_init(&t->kept[i].age);
	return (t);
}

static void
ticket_drop(struct tls_resume *t, struct ticket *k)
{
	assert(t->bytes >= k->data.size);
	t->bytes -= k->data.size;
	gnutls_free(k->data.data);
	*k = (struct ticket){ { NULL, 0 }, 0 };
}

static void
kept_clear(struct tls_resume *t, struct kept *k)
{
	unsigned i;

	for (i = 0; i < TLS_RESUME_PER_HOST; i++)
		ticket_drop(t, &k->ticket[i]);
	list_remove(&k->age);
}

void
tls_resume_free(struct tls_resume **tp)
{
	struct tls_resume *t = *tp;
	unsigned i;

	*tp = NULL;
	if (t == NULL)
		return;
	for (i = 0; i < t->max; i++)
		kept_clear(t, &t->kept[i]);
	assert(t->bytes == 0 && list_empty(&t->age));
	free(t->kept);
	free(t);
}

static struct kept *
slot_of(struct tls_resume *t, const char *host, uint16_t port)
{
	uint32_t h = 2166136261u ^ port;
	const char *p;

	for (p = host; *p != '\0'; p++)
		h = (h ^ (unsigned char)*p) * 16777619u;
	return (&t->kept[h % t->max]);
}

static bool
kept_is_for(const struct kept *k, const char *host, uint16_t port)
{
	return (k->port == port && strcmp(k->host, host) == 0);
}

bool
tls_resume_take(struct tls_resume *t, const char *host, uint16_t port,
    uint64_t now, gnutls_datum_t *data, uint64_t *until)
{
	struct kept *k = slot_of(t, host, port);
	unsigned i;

	if (!kept_is_for(k, host, port) || k->ticket[0].data.size == 0)
		return (false);
	if (k->ticket[0].until <= now) {
		kept_clear(t, k); /* the others are hardly younger */
		return (false);
	}
	*data = k->ticket[0].data;
	*until = k->ticket[0].until;
	assert(t->bytes >= data->size);
	t->bytes -= data->size;
	for (i = 1; i < TLS_RESUME_PER_HOST; i++)
		k->ticket[i - 1] = k->ticket[i];
	k->ticket[TLS_RESUME_PER_HOST - 1] = (struct ticket){ { NULL, 0 }, 0 };
	if (k->ticket[0].data.size == 0)
		list_remove(&k->age);
	return (true);
}

static void
make_room(struct tls_resume *t)
{
	while (t->bytes > t->max_bytes) {
		assert(!list_empty(&t->age));
		kept_clear(t, CONTAINER_OF(t->age.next, struct kept, age));
	}
}

void
tls_resume_keep(struct tls_resume *t, const char *host, uint16_t port,
    const gnutls_datum_t *data, uint64_t until)
{
	struct kept *k = slot_of(t, host, port);
	unsigned i;

	if (data->size == 0 || data->size > TLS_RESUME_TICKET_MAX ||
	    data->size > t->max_bytes || strlen(host) >= sizeof(k->host)) {
		gnutls_free(data->data);
		return;
	}
	if (!kept_is_for(k, host, port)) {
		kept_clear(t, k);
		k->port = port;
		strcpy(k->host, host);
	}
	ticket_drop(t, &k->ticket[TLS_RESUME_PER_HOST - 1]);
	for (i = TLS_RESUME_PER_HOST - 1; i > 0; i--)
		k->ticket[i] = k->ticket[i - 1];
	k->ticket[0] = (struct ticket){ *data, until };
	t->bytes += data->size;
	assert(k->ticket[TLS_RESUME_PER_HOST - 1].data.size <=
	    TLS_RESUME_TICKET_MAX);
	list_remove(&k->age);
	list_append(&t->age, &k->age);
	make_room(t);
}

size_t
tls_resume_bytes(const struct tls_resume *t)
{
	return (t->bytes);
}
