/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The resolver, see resolve.h.  A name is one object from its first question
 * to its eviction: while families are pending it has waiters, afterwards it
 * is a cache entry.  After a reload it still answers its waiters, but nobody
 * finds it any more.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/budget.h"
#include "net/dns.h"
#include "net/resolve.h"
#include "net/hostname.h"

#define DEADLINE_MS 5000
#define MAX_NAMES 8192
#define BUCKETS 4096 /* power of two */
#define TTL_MIN_MS 1000
#define TTL_HALF_MS (10 * 1000) /* one family could not be found out */
#define TTL_NO_NAME_MS (5 * 1000)
#define TTL_FAILED_MS 1000

_Static_assert(DNS_ADDRESSES <= RESOLVE_ADDRESSES, "an answer must fit");

enum { V6, V4, FAMILIES };

struct name;

/* What was asked and answered for one family. */
struct family {
	struct dns_question question;
	struct name *name;
	bool in; /* the answer is there: */
	enum dns_result result;
	const char *text; /* static */
	unsigned n;
	union address *addresses; /* owned */
};

struct name {
	struct name *next; /* of the bucket */
	struct list lru;   /* of the resolver, when not pending */
	struct list waiters;
	struct resolver *resolver; /* borrowed */
	bool forgotten;            /* not in the table: dies with its answer */
	uint64_t hash;
	uint64_t expires;        /* ms */
	uint64_t ttl_ms;         /* smallest seen */
	unsigned pending;        /* families not in */
	struct account *account; /* counted: for whom, while pending; or NULL */
	struct family family[FAMILIES];
	size_t length;
	char text[]; /* with room for ".\0" */
};

struct resolver {
	struct loop *loop;
	struct hosts *hosts; /* counted; NULL: none */
	struct dns *dns;
	unsigned deadline_ms, max_names;
	struct list age; /* waiting queries, earliest due first */
	struct timer deadline;
	struct list lru; /* idle names, latest used first */
	struct name **buckets;
	uint64_t seed;
	struct resolver_counts counts;
};

/* Queries. */

static void
query_reset(struct resolve_query *q)
{
	q->done = q->has_v6 = q->has_v4 = false;
	q->n_v6 = q->n_v4 = 0;
	q->fault.code = ERR_NONE;
	q->fault.detail[0] = '\0';
	q->due = 0;
}

static void
query_end(struct resolver *r, struct resolve_query *q)
{
	assert(!q->done);
	if (q->due != 0) {
		list_remove(&q->link);
		list_remove(&q->age);
		q->due = 0;
	}
	q->done = true;
	if (q->fault.code != ERR_NONE)
		r->counts.failed++;
	task_wake(q->wake);
}

static void
query_both(struct resolve_query *q)
{
	q->has_v6 = q->has_v4 = true;
}

static unsigned
take(const struct family *f, union address *to)
{
	if (f->n > 0)
		memcpy(to, f->addresses, f->n * sizeof(*to));
	return (f->n);
}

/* Take over what is known of a name. */
static void
query_fill(struct resolve_query *q, const struct name *n)
{
	if (n->family[V6].in && !q->has_v6) {
		q->has_v6 = true;
		q->n_v6 = take(&n->family[V6], q->v6);
	}
	if (n->family[V4].in && !q->has_v4) {
		q->has_v4 = true;
		q->n_v4 = take(&n->family[V4], q->v4);
	}
}

/* Neither family has an address: the more telling of the two reasons. */
static void
query_fault(struct resolve_query *q, const struct name *n)
{
	const struct family *f = &n->family[V4];
	struct str s = { n->text, n->length };

	assert(q->n_v6 + q->n_v4 == 0);
	if (n->family[V6].result > f->result)
		f = &n->family[V6];
	switch (f->result) {
	case DNS_FAILED:
		fault_set(&q->fault, ERR_DNS_FAIL, "%.*s: %s", STR_ARG(s),
		    f->text);
		break;
	case DNS_TIMEOUT:
		fault_set(&q->fault, ERR_DNS_TIMEOUT, "%.*s", STR_ARG(s));
		break;
	case DNS_NO_DATA:
		fault_set(&q->fault, ERR_DNS_NAME, "%.*s has no address",
		    STR_ARG(s));
		break;
	case DNS_NO_NAME:
	case DNS_FOUND:
		fault_set(&q->fault, ERR_DNS_NAME, "%.*s", STR_ARG(s));
		break;
	}
}

static void
query_answer(struct resolver *r, struct resolve_query *q, const struct name *n)
{
	query_fill(q, n);
	if (q->n_v6 + q->n_v4 == 0)
		query_fault(q, n);
	query_end(r, q);
}

static void
deadline_arm(struct resolver *r)
{
	if (list_empty(&r->age))
		timer_stop(&r->deadline);
	else
		timer_set_at(&r->deadline,
		    CONTAINER_OF(r->age.next, struct resolve_query, age)->due);
}

static void
on_deadline(struct timer *t)
{
	struct resolver *r = CONTAINER_OF(t, struct resolver, deadline);
	uint64_t now = loop_now(r->loop);
	struct list *it, *save;
	struct resolve_query *q;

	LIST_EACH (it, save, &r->age) {
		q = CONTAINER_OF(it, struct resolve_query, age);
		if (q->due > now)
			break;
		if (q->n_v6 + q->n_v4 == 0)
			fault_set(&q->fault, ERR_DNS_TIMEOUT, NULL);
		query_end(r, q);
	}
	deadline_arm(r);
}

static void
query_wait(struct resolver *r, struct resolve_query *q, struct name *n)
{
	struct list *at = r->age.prev;

	assert(!q->done && q->due == 0);
	q->due = loop_now(r->loop) + r->deadline_ms;
	list_append(&n->waiters, &q->link);
	/* In order also when a reload has shortened the deadline. */
	while (at != &r->age &&
	    CONTAINER_OF(at, struct resolve_query, age)->due > q->due)
		at = at->prev;
	list_insert(at, &q->age);
	if (r->age.next == &q->age)
		deadline_arm(r);
}

/* Names. */

static void
name_free(struct name *n)
{
	assert(n->pending == 0 && list_empty(&n->waiters));
	free(n->family[V6].addresses);
	free(n->family[V4].addresses);
	free(n);
}

static struct name **
name_find(struct resolver *r, struct str text, uint64_t hash)
{
	struct name **at = &r->buckets[hash & (BUCKETS - 1)];

	while (*at != NULL &&
	    ((*at)->hash != hash ||
		!str_eq((struct str){ (*at)->text, (*at)->length }, text)))
		at = &(*at)->next;
	return (at);
}

/* Out of the table; freed now, or with its last answer. */
static void
name_forget(struct resolver *r, struct name *n)
{
	struct name **at = name_find(r, (struct str){ n->text, n->length },
	    n->hash);

	assert(*at == n);
	assert(!n->forgotten && r->counts.cached > 0);
	*at = n->next;
	list_remove(&n->lru);
	r->counts.cached--;
	n->forgotten = true;
	if (n->pending == 0)
		name_free(n);
}

static struct name *
name_new(struct resolver *r, struct str text, uint64_t hash, struct name **at)
{
	struct name *n = calloc(1, sizeof(*n) + text.n + 2);

	if (n == NULL)
		abort();
	memcpy(n->text, text.p, text.n);
	n->length = text.n;
	n->hash = hash;
	n->resolver = r;
	list_init(&n->lru);
	list_init(&n->waiters);
	n->family[V6].name = n->family[V4].name = n;
	*at = n;
	r->counts.cached++;
	return (n);
}

static uint64_t
name_ttl(const struct name *n)
{
	const struct family *v6 = &n->family[V6], *v4 = &n->family[V4];
	bool known = v6->result < DNS_TIMEOUT && v4->result < DNS_TIMEOUT;
	uint64_t ttl = n->ttl_ms;

	if (v6->n + v4->n == 0)
		return (known ? TTL_NO_NAME_MS : TTL_FAILED_MS);
	if (!known && ttl > TTL_HALF_MS)
		ttl = TTL_HALF_MS;
	return (ttl < TTL_MIN_MS ? TTL_MIN_MS : ttl);
}

/* A family has come in: tell the waiters. */
static void
name_grown(struct name *n)
{
	struct resolver *r = n->resolver;
	struct list *it, *save;
	struct resolve_query *q;

	assert(n->pending < FAMILIES);
	if (n->pending == 0) {
		account_give(n->account, BUDGET_NAMES, 1);
		account_unref(&n->account);
	}
	if (n->pending == 0 && !n->forgotten) {
		n->expires = loop_now(r->loop) + name_ttl(n);
		list_insert(&r->lru, &n->lru);
	}
	LIST_EACH (it, save, &n->waiters) {
		q = CONTAINER_OF(it, struct resolve_query, link);
		if (n->pending == 0)
			query_answer(r, q, n);
		else {
			query_fill(q, n);
			task_wake(q->wake);
		}
	}
	if (n->pending > 0)
		return;
	deadline_arm(r);
	if (n->forgotten)
		name_free(n);
}

/* Asking. */

static void
on_family(struct dns_question *dq, const struct dns_answer *a)
{
	struct family *f = CONTAINER_OF(dq, struct family, question);
	struct name *n = f->name;

	assert(!f->in && n->pending > 0);
	assert(a->n <= RESOLVE_ADDRESSES);
	f->in = true;
	f->result = a->result;
	f->text = a->text;
	f->n = a->n;
	if (a->n > 0) {
		f->addresses = malloc(a->n * sizeof(*f->addresses));
		if (f->addresses == NULL)
			abort();
		memcpy(f->addresses, a->addresses,
		    a->n * sizeof(*f->addresses));
		if (a->ttl_ms < n->ttl_ms)
			n->ttl_ms = a->ttl_ms;
	}
	n->pending--;
	name_grown(n);
}

/*
 * A name with a dot is absolute, whatever the search list says: "a.example"
 * must never become "a.example.corp.example".
 */
static void
name_ask(struct resolver *r, struct name *n)
{
	static const int families[FAMILIES] = { AF_INET6, AF_INET };
	unsigned i;

	assert(n->pending == 0 && !n->forgotten);
	list_remove(&n->lru);
	n->ttl_ms = UINT64_MAX;
	n->pending = FAMILIES;
	for (i = 0; i < FAMILIES; i++) {
		free(n->family[i].addresses);
		n->family[i] = (struct family){ .name = n,
			.question = { .answered = on_family } };
	}
	n->text[n->length] = memchr(n->text, '.', n->length) != NULL ? '.'
								     : '\0';
	for (i = 0; i < FAMILIES; i++)
		dns_ask(r->dns, &n->family[i].question, n->text, families[i]);
}

/* Room for one more name: the longest unused one goes. */
static bool
make_room(struct resolver *r)
{
	if (r->counts.cached < r->max_names)
		return (true);
	if (list_empty(&r->lru))
		return (false);
	name_forget(r, CONTAINER_OF(r->lru.prev, struct name, lru));
	return (true);
}

/* From the cache, from a question under way, or from name servers. */
static void
ask(struct resolver *r, struct resolve_query *q, struct str text,
    struct account *a)
{
	uint64_t hash = hostname_hash(text, r->seed);
	struct name *n = *name_find(r, text, hash);

	if (n != NULL && n->pending == 0 && n->expires > loop_now(r->loop)) {
		r->counts.hits++;
		list_remove(&n->lru);
		list_insert(&r->lru, &n->lru);
		query_answer(r, q, n);
		return;
	}
	if (n != NULL && n->pending > 0) {
		r->counts.joined++;
		query_fill(q, n);
		query_wait(r, q, n);
		return;
	}
	if (!account_take(a, BUDGET_NAMES, 1)) {
		fault_set(&q->fault, ERR_DNS_FAIL,
		    "too many names are being looked up for this client");
		query_end(r, q);
		return;
	}
	if (n == NULL) {
		if (!make_room(r)) {
			account_give(a, BUDGET_NAMES, 1);
			fault_set(&q->fault, ERR_DNS_FAIL,
			    "too many names are being looked up");
			query_end(r, q);
			return;
		}
		n = name_new(r, text, hash, name_find(r, text, hash));
	}
	n->account = account_ref(a);
	query_wait(r, q, n);
	name_ask(r, n);
}

/* RFC 6761 6.3 */
static bool
is_localhost(struct str name)
{
	return (str_eq(name, STR("localhost")) ||
	    str_iends(name, STR(".localhost")));
}

static void
answer_localhost(struct resolve_query *q)
{
	q->n_v6 = q->n_v4 = 1;
	memset(&q->v6[0], 0, sizeof(q->v6[0]));
	memset(&q->v4[0], 0, sizeof(q->v4[0]));
	q->v6[0].v6.sin6_family = AF_INET6;
	q->v6[0].v6.sin6_addr = in6addr_loopback;
	q->v4[0].v4.sin_family = AF_INET;
	q->v4[0].v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

/* Without asking anybody.  False: name servers must say. */
static bool
answer_at_once(struct resolver *r, struct resolve_query *q, struct str host,
    char name[HOSTNAME_BYTES])
{
	union address a;

	if (address_parse(host, &a)) {
		if (a.sa.sa_family == AF_INET6)
			q->v6[q->n_v6++] = a;
		else
			q->v4[q->n_v4++] = a;
	} else if (!hostname_normalise(host, name))
		fault_set(&q->fault, ERR_DNS_NAME, "not a host name");
	else if (is_localhost(str_of(name)))
		answer_localhost(q);
	else if (r->hosts == NULL ||
	    !hosts_find(r->hosts, str_of(name), RESOLVE_ADDRESSES, q->v6,
		&q->n_v6, q->v4, &q->n_v4))
		return (false);
	return (true);
}

void
resolve_start(struct resolver *r, struct resolve_query *q, struct str host,
    struct account *a, struct task *wake)
{
	char name[HOSTNAME_BYTES];

	query_reset(q);
	q->resolver = r;
	q->wake = wake;
	r->counts.queries++;
	if (answer_at_once(r, q, host, name)) {
		r->counts.hits++;
		query_both(q);
		query_end(r, q);
	} else
		ask(r, q, str_of(name), a);
}

void
resolve_cancel(struct resolve_query *q)
{
	if (q->resolver == NULL || q->done)
		return;
	q->done = true;
	q->due = 0;
	list_remove(&q->link);
	list_remove(&q->age);
	deadline_arm(q->resolver);
}

/* The resolver. */

static void
set_hosts(struct resolver *r, struct hosts *h)
{
	struct hosts *new = h != NULL ? hosts_ref(h) : NULL;

	hosts_unref(&r->hosts);
	r->hosts = new;
}

static void
forget_all(struct resolver *r)
{
	unsigned i;

	for (i = 0; i < BUCKETS; i++)
		while (r->buckets[i] != NULL)
			name_forget(r, r->buckets[i]);
}

static unsigned
deadline_of(const struct resolver_options *o)
{
	return (o->deadline_ms > 0 ? o->deadline_ms : DEADLINE_MS);
}

struct dns *
resolver_prepare(struct resolver *r, const struct resolver_options *o,
    struct fault *f)
{
	return (dns_new(r->loop, o->servers, deadline_of(o), f));
}

void
resolver_switch(struct resolver *r, const struct resolver_options *o,
    struct dns *d)
{
	dns_retire(&r->dns, d);
	r->dns = d;
	r->deadline_ms = deadline_of(o);
	r->max_names = o->max_names > 0 ? o->max_names : MAX_NAMES;
	set_hosts(r, o->hosts);
	forget_all(r);
}

bool
resolver_reload(struct resolver *r, const struct resolver_options *o,
    struct fault *f)
{
	struct dns *d = resolver_prepare(r, o, f);

	if (d != NULL)
		resolver_switch(r, o, d);
	return (d != NULL);
}

struct resolver *
resolver_new(struct loop *l, const struct resolver_options *o, struct fault *f)
{
	struct resolver *r = calloc(1, sizeof(*r));

	if (r == NULL)
		abort();
	r->loop = l;
	r->buckets = calloc(BUCKETS, sizeof(*r->buckets));
	if (r->buckets == NULL ||
	    getrandom(&r->seed, sizeof(r->seed), 0) != sizeof(r->seed))
		abort();
	list_init(&r->age);
	list_init(&r->lru);
	timer_init(&r->deadline, l, on_deadline);
	if (!resolver_reload(r, o, f))
		resolver_free(&r);
	return (r);
}

void
resolver_free(struct resolver **rp)
{
	struct resolver *r = *rp;
	struct resolve_query *q;

	*rp = NULL;
	if (r == NULL)
		return;
	while (!list_empty(&r->age)) {
		q = CONTAINER_OF(r->age.next, struct resolve_query, age);
		fault_set(&q->fault, ERR_SHUTDOWN, NULL);
		query_end(r, q);
	}
	timer_stop(&r->deadline);
	forget_all(r);
	dns_free(&r->dns);
	hosts_unref(&r->hosts);
	free(r->buckets);
	free(r);
}

struct resolver_counts
resolver_counts(const struct resolver *r)
{
	return (r->counts);
}
