/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Name servers, see dns.h. */
#include <ares.h>
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/list.h"
#include "net/dns.h"

#define TRIES 3
#define TTL_MAX_MS (3600 * 1000)

/* A descriptor of c-ares. */
struct socket {
	struct socket *next;
	struct dns *dns;
	struct watch *watch;
	int fd;
};

struct dns {
	ares_channel ares;
	struct loop *loop;
	struct timer timer;
	struct socket *sockets;
	unsigned pending; /* answers that c-ares owes */
	bool retired;
	struct list peers; /* all that dns_free() must end */
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void
library_init(void)
{
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		abort();
}

/* After every call of c-ares: when does it want to be called next? */
static void
arm(struct dns *d)
{
	struct timeval tv;

	if (ares_timeout(d->ares, NULL, &tv) == NULL)
		timer_stop(&d->timer);
	else
		timer_set(&d->timer,
		    (uint64_t)tv.tv_sec * 1000 + (uint64_t)tv.tv_usec / 1000 +
			1);
}

static void
on_timer(struct timer *t)
{
	struct dns *d = CONTAINER_OF(t, struct dns, timer);

	ares_process_fd(d->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	arm(d);
}

static void
on_socket(void *arg, unsigned events)
{
	struct socket *s = arg;
	struct dns *d = s->dns;
	int fd = s->fd;

	/* s may be gone after this. */
	ares_process_fd(d->ares,
	    (events & WATCH_READ) != 0 ? fd : ARES_SOCKET_BAD,
	    (events & WATCH_WRITE) != 0 ? fd : ARES_SOCKET_BAD);
	arm(d);
}

static struct socket *
socket_new(struct dns *d, int fd)
{
	struct socket *s = calloc(1, sizeof(*s));

	if (s == NULL)
		abort();
	s->dns = d;
	s->fd = fd;
	s->watch = watch_new(d->loop, fd, on_socket, s);
	return (s);
}

/* c-ares says what it waits for; nothing: the descriptor is about to close. */
static void
on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct dns *d = arg;
	struct socket **at = &d->sockets, *s;

	while (*at != NULL && (*at)->fd != fd)
		at = &(*at)->next;
	s = *at;
	if (readable != 0 || writable != 0) {
		if (s == NULL)
			s = *at = socket_new(d, fd);
		watch_set(s->watch,
		    (readable != 0 ? WATCH_READ : 0u) |
			(writable != 0 ? WATCH_WRITE : 0u));
	} else if (s != NULL) {
		*at = s->next;
		watch_free(&s->watch);
		free(s);
	}
}

static int
open_channel(struct dns *d, const char *servers, unsigned deadline_ms)
{
	char lookups[] = "b"; /* never c-ares' own hosts file */
	struct ares_options o = {
		.flags = ARES_FLAG_NOALIASES,
		.timeout = (int)(deadline_ms / 4 + 1), /* doubles each try */
		.tries = TRIES,
		.lookups = lookups,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = d,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
	    ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB;
	int e;

#ifdef ARES_OPT_UDP_MAX_QUERIES
	/* A new source port a question: harder to answer in another's name. */
	o.udp_max_queries = 1;
	mask |= ARES_OPT_UDP_MAX_QUERIES;
#endif
	e = ares_init_options(&d->ares, &o, mask);
	if (e != ARES_SUCCESS || servers == NULL || servers[0] == '\0')
		return (e);
	e = ares_set_servers_ports_csv(d->ares, servers);
	if (e != ARES_SUCCESS)
		ares_destroy(d->ares);
	return (e);
}

struct dns *
dns_new(struct loop *l, const char *servers, unsigned deadline_ms,
    struct fault *f)
{
	struct dns *d = calloc(1, sizeof(*d));
	int e;

	if (d == NULL)
		abort();
	pthread_once(&library_once, library_init);
	d->loop = l;
	list_init(&d->peers);
	timer_init(&d->timer, l, on_timer);
	e = open_channel(d, servers, deadline_ms);
	if (e != ARES_SUCCESS) {
		fault_set(f, ERR_CONFIG, "name servers '%s': %s",
		    servers != NULL ? servers : "", ares_strerror(e));
		free(d);
		d = NULL;
	}
	return (d);
}

static void
destroy(void *arg)
{
	struct dns *d = arg;

	list_remove(&d->peers);
	d->retired = false;
	ares_destroy(d->ares);
	timer_stop(&d->timer);
	assert(d->sockets == NULL && d->pending == 0);
	free(d);
}

void
dns_retire(struct dns **dp, struct dns *successor)
{
	struct dns *d = *dp;

	*dp = NULL;
	if (d == NULL)
		return;
	list_append(&d->peers, &successor->peers);
	if (d->pending > 0)
		d->retired = true;
	else
		destroy(d);
}

void
dns_free(struct dns **dp)
{
	struct dns *d = *dp;

	*dp = NULL;
	if (d == NULL)
		return;
	while (!list_empty(&d->peers))
		destroy(CONTAINER_OF(d->peers.next, struct dns, peers));
	destroy(d);
}

static void
take_node(struct dns_answer *a, const struct ares_addrinfo_node *x, int family)
{
	union address *to = &a->addresses[a->n];
	uint64_t ttl = (uint64_t)(x->ai_ttl > 0 ? x->ai_ttl : 0) * 1000;

	if (x->ai_family != family || a->n == DNS_ADDRESSES)
		return;
	memset(to, 0, sizeof(*to));
	memcpy(to, x->ai_addr, address_size(x->ai_addr));
	address_set_port(to, 0);
	/* IPv4 in an AAAA record is for nobody's good. */
	if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&to->v6.sin6_addr))
		return;
	a->n++;
	if (ttl < a->ttl_ms)
		a->ttl_ms = ttl;
}

static void
take_all(struct dns_answer *a, const struct ares_addrinfo *ai, int family)
{
	const struct ares_addrinfo_node *x;
	const struct ares_addrinfo_cname *c;
	uint64_t ttl;

	for (c = ai->cnames; c != NULL; c = c->next) {
		ttl = (uint64_t)(c->ttl > 0 ? c->ttl : 0) * 1000;
		if (ttl < a->ttl_ms)
			a->ttl_ms = ttl;
	}
	for (x = ai->nodes; x != NULL; x = x->ai_next)
		take_node(a, x, family);
}

static enum dns_result
result_of(int status, unsigned n)
{
	switch (status) {
	case ARES_SUCCESS:
		return (n > 0 ? DNS_FOUND : DNS_NO_DATA);
	case ARES_ENODATA:
		return (DNS_NO_DATA);
	case ARES_ENOTFOUND:
		return (DNS_NO_NAME);
	case ARES_ETIMEOUT:
		return (DNS_TIMEOUT);
	default:
		return (DNS_FAILED);
	}
}

static void
on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *ai)
{
	struct dns_question *q = arg;
	struct dns *d = q->dns;
	struct dns_answer a;

	assert(d->pending > 0);
	(void)timeouts;
	a.n = 0;
	a.ttl_ms = TTL_MAX_MS;
	a.text = ares_strerror(status);
	if (ai != NULL) {
		if (status == ARES_SUCCESS)
			take_all(&a, ai, q->family);
		ares_freeaddrinfo(ai);
	}
	a.result = result_of(status, a.n);
	q->answered(q, &a);
	if (--d->pending == 0 && d->retired) {
		list_remove(&d->peers);
		loop_defer_free(d->loop, d, destroy);
	}
}

void
dns_ask(struct dns *d, struct dns_question *q, const char *name, int family)
{
	struct ares_addrinfo_hints hints = { .ai_flags = ARES_AI_NOSORT,
		.ai_family = family,
		.ai_socktype = SOCK_STREAM };

	assert(!d->retired);
	q->dns = d;
	q->family = family;
	d->pending++;
	ares_getaddrinfo(d->ares, name, NULL, &hints, on_answer, q);
	arm(d);
}
