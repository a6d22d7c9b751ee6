/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A name server for tests, see dns_server.h. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/list.h"
#include "t/unit/dns_server.h"
#include "t/unit/unit.h"

#define TYPE_A 1
#define TYPE_CNAME 5
#define TYPE_AAAA 28

struct dns_server {
	struct loop *loop;
	int udp, tcp, peer;
	struct watch *udp_watch, *tcp_watch, *peer_watch;
	struct sockaddr_in at;
	char text[32];
	const struct dns_entry *entries;
	unsigned n, questions, strangers;
	struct list late;
};

struct late {
	struct list link;
	struct timer timer;
	struct dns_server *server;
	struct sockaddr_in to;
	unsigned char p[1500];
	size_t n;
};

struct packet {
	unsigned char p[1500];
	size_t n;
};

static void
put16(struct packet *k, unsigned v)
{
	k->p[k->n++] = (unsigned char)(v >> 8);
	k->p[k->n++] = (unsigned char)v;
}

static void
put_name(struct packet *k, const char *name)
{
	size_t n;

	for (; *name != '\0'; name += n + (name[n] == '.')) {
		n = strcspn(name, ".");
		k->p[k->n++] = (unsigned char)n;
		memcpy(k->p + k->n, name, n);
		k->n += n;
	}
	k->p[k->n++] = 0;
}

/* A record about the question's name, or about owner. */
static void
put_record(struct packet *k, const char *owner, unsigned type, uint32_t ttl)
{
	if (owner != NULL)
		put_name(k, owner);
	else
		put16(k, 0xc00c);
	put16(k, type);
	put16(k, 1);
	put16(k, ttl >> 16);
	put16(k, ttl & 0xffff);
}

static void
put_addresses(struct packet *k, const struct dns_entry *e, unsigned type)
{
	char list[1000], *word, *save;
	const char *from = type == TYPE_A ? e->v4 : e->v6;
	int family = type == TYPE_A ? AF_INET : AF_INET6;
	unsigned size = type == TYPE_A ? 4 : 16;

	snprintf(list, sizeof(list), "%s", from != NULL ? from : "");
	for (word = strtok_r(list, " ", &save); word != NULL;
	     word = strtok_r(NULL, " ", &save)) {
		put_record(k, e->cname, type, e->ttl);
		put16(k, size);
		inet_pton(family, word, k->p + k->n);
		k->n += size;
		k->p[7]++;
	}
}

static void
put_cname(struct packet *k, const struct dns_entry *e)
{
	size_t at;

	put_record(k, NULL, TYPE_CNAME, e->ttl);
	at = k->n;
	put16(k, 0);
	put_name(k, e->cname);
	k->p[at + 1] = (unsigned char)(k->n - at - 2);
	k->p[7]++;
}

static bool
read_question(const struct packet *q, char name[256], unsigned *type,
    size_t *end)
{
	size_t i = 12, n, out = 0;

	while (i < q->n && (n = q->p[i]) != 0 && i + n + 1 < q->n) {
		memcpy(name + out, q->p + i + 1, n);
		out += n;
		name[out++] = '.';
		i += n + 1;
	}
	if (out == 0 || i + 5 > q->n)
		return (false);
	name[out - 1] = '\0';
	*type = (unsigned)q->p[i + 1] << 8 | q->p[i + 2];
	*end = i + 5;
	return (true);
}

/* False: say nothing. */
static bool
answer(struct dns_server *s, const struct packet *q, bool tcp, struct packet *k,
    unsigned *late_ms)
{
	const struct dns_entry *e = NULL;
	enum dns_says says;
	unsigned i, type;
	size_t end;
	char name[256];

	s->questions++;
	if (!read_question(q, name, &type, &end))
		return (false);
	for (i = 0; i < s->n; i++)
		if (strcasecmp(s->entries[i].name, name) == 0)
			e = &s->entries[i];
	if (e == NULL)
		s->strangers++;
	says = e == NULL ? SAYS_NO_NAME : type == TYPE_A ? e->a : e->aaaa;
	*late_ms = e == NULL ? 0 : type == TYPE_A ? e->v4_ms : e->v6_ms;
	memcpy(k->p, q->p, end);
	k->n = end;
	k->p[2] = 0x81;
	k->p[3] = 0x80;
	memset(k->p + 4, 0, 8);
	k->p[5] = 1;
	if (says == SAYS_NOTHING)
		return (false);
	if (says == SAYS_NO_NAME)
		k->p[3] |= 3;
	else if (says == SAYS_FAILURE)
		k->p[3] |= 2;
	else if (says == SAYS_JUNK)
		for (k->n = 40, i = 2; i < 40; i++)
			k->p[i] = (unsigned char)unit_random(256);
	else if (says == SAYS_TRUNCATED && !tcp)
		k->p[2] |= 2;
	else {
		if (e->cname != NULL)
			put_cname(k, e);
		put_addresses(k, e, type);
	}
	return (true);
}

static void
late_free(struct late *l)
{
	list_remove(&l->link);
	timer_stop(&l->timer);
	free(l);
}

static void
on_late(struct timer *t)
{
	struct late *l = CONTAINER_OF(t, struct late, timer);

	(void)!sendto(l->server->udp, l->p, l->n, 0, (struct sockaddr *)&l->to,
	    sizeof(l->to));
	late_free(l);
}

static void
on_udp(void *arg, unsigned events)
{
	struct dns_server *s = arg;
	struct packet q, k;
	struct late *l;
	struct sockaddr_in from;
	socklen_t size = sizeof(from);
	ssize_t n = recvfrom(s->udp, q.p, sizeof(q.p), 0,
	    (struct sockaddr *)&from, &size);
	unsigned late_ms;

	(void)events;
	q.n = n > 0 ? (size_t)n : 0;
	if (q.n < 17 || !answer(s, &q, false, &k, &late_ms))
		return;
	l = calloc(1, sizeof(*l));
	l->server = s;
	l->to = from;
	memcpy(l->p, k.p, k.n);
	l->n = k.n;
	list_append(&s->late, &l->link);
	timer_init(&l->timer, s->loop, on_late);
	if (late_ms > 0)
		timer_set(&l->timer, late_ms);
	else
		on_late(&l->timer);
}

static void
peer_close(struct dns_server *s)
{
	if (s->peer_watch == NULL)
		return;
	watch_free(&s->peer_watch);
	close(s->peer);
}

static void
on_peer(void *arg, unsigned events)
{
	struct dns_server *s = arg;
	struct packet q, k, out = { .n = 0 };
	unsigned char in[1500];
	ssize_t n = read(s->peer, in, sizeof(in));
	unsigned late_ms;

	(void)events;
	if (n <= 19) {
		peer_close(s);
		return;
	}
	q.n = (size_t)n - 2;
	memcpy(q.p, in + 2, q.n);
	if (!answer(s, &q, true, &k, &late_ms))
		return;
	put16(&out, (unsigned)k.n);
	memcpy(out.p + 2, k.p, k.n);
	(void)!write(s->peer, out.p, k.n + 2);
}

static void
on_tcp(void *arg, unsigned events)
{
	struct dns_server *s = arg;

	(void)events;
	peer_close(s);
	s->peer = accept(s->tcp, NULL, NULL);
	fcntl(s->peer, F_SETFL, O_NONBLOCK);
	s->peer_watch = watch_new(s->loop, s->peer, on_peer, s);
	watch_set(s->peer_watch, WATCH_READ);
}

/*
 * One port of the kernel's for both protocols: what is free for UDP can be
 * taken for TCP, by an outgoing connection for example.
 */
static bool
one_port(struct dns_server *s)
{
	socklen_t size = sizeof(s->at);
	int on = 1;

	s->at = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	s->tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(s->tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(s->udp, (struct sockaddr *)&s->at, size) == 0 &&
	    getsockname(s->udp, (struct sockaddr *)&s->at, &size) == 0 &&
	    bind(s->tcp, (struct sockaddr *)&s->at, size) == 0 &&
	    listen(s->tcp, 10) == 0)
		return (true);
	close(s->udp);
	close(s->tcp);
	return (false);
}

struct dns_server *
dns_server_new(struct loop *l, const struct dns_entry *entries, unsigned n)
{
	struct dns_server *s = calloc(1, sizeof(*s));
	unsigned tries;

	s->loop = l;
	s->entries = entries;
	s->n = n;
	list_init(&s->late);
	for (tries = 0; !one_port(s); tries++)
		if (tries == 1000)
			abort();
	snprintf(s->text, sizeof(s->text), "127.0.0.1:%u",
	    ntohs(s->at.sin_port));
	s->udp_watch = watch_new(l, s->udp, on_udp, s);
	s->tcp_watch = watch_new(l, s->tcp, on_tcp, s);
	watch_set(s->udp_watch, WATCH_READ);
	watch_set(s->tcp_watch, WATCH_READ);
	return (s);
}

const char *
dns_server_address(const struct dns_server *s)
{
	return (s->text);
}

unsigned
dns_server_questions(const struct dns_server *s)
{
	return (s->questions);
}

unsigned
dns_server_strangers(const struct dns_server *s)
{
	return (s->strangers);
}

void
dns_server_free(struct dns_server **sp)
{
	struct dns_server *s = *sp;
	struct list *it, *save;

	LIST_EACH (it, save, &s->late)
		late_free(CONTAINER_OF(it, struct late, link));
	peer_close(s);
	watch_free(&s->udp_watch);
	watch_free(&s->tcp_watch);
	close(s->udp);
	close(s->tcp);
	free(s);
	*sp = NULL;
}
