/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Issuers that were not sent, see issuers.h.  A flight is one fetch, whoever
 * began it; it goes on when nobody waits any more, for the next one does.
 * Who waits has a ticket in the flight, then on its way as mail.
 */
#include <assert.h>
#include <gnutls/pkcs7.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/list.h"
#include "base/sealed.h"
#include "base/str.h"
#include "certs/issuers.h"

#define FRESH_LEAST 3600 /* s */
#define FRESH_MOST (7 * 86400)
#define FRESH_USUAL 86400
#define FRESH_NONE 300 /* that there is none */
#define BYTES_MOST 65536
#define CACHE_BYTES (8u << 20)

struct issuers_ticket {
	struct mail mail;
	struct list link; /* of the flight's, while that is under way */
	bool flies;       /* it is in one; under the lock */
	struct loop *loop;
	struct issuers_wait *wait; /* NULL: cancelled; that thread's only */
	struct issuer_set *set;    /* counted, once delivered */
};

struct flight {
	struct fetch_wait wait;
	struct list link; /* of the issuers' */
	struct list tickets;
	struct issuers *issuers; /* counted */
	char url[FETCH_URL_MAX];
};

struct issuers {
	_Atomic unsigned refs;
	struct fetch *fetch;  /* borrowed */
	struct memo *memo;    /* owned: by URL */
	pthread_mutex_t lock; /* of flights and their tickets */
	struct list flights;
};

static void *
must(void *p)
{
	if (p == NULL)
		abort();
	return (p);
}

static void
fini(void *owner)
{
	(void)owner;
}

struct issuers *
issuers_new(struct fetch *fetch, unsigned max_entries)
{
	static const struct memo_type type = { .fini = fini };
	struct issuers *i = must(calloc(1, sizeof(*i)));

	i->refs = 1;
	i->fetch = fetch;
	i->memo = memo_new(&type, i, NULL, max_entries, CACHE_BYTES);
	pthread_mutex_init(&i->lock, NULL);
	list_init(&i->flights);
	return (i);
}

struct issuers *
issuers_ref(struct issuers *i)
{
	i->refs++;
	return (i);
}

void
issuers_unref(struct issuers **ip)
{
	struct issuers *i = *ip;

	*ip = NULL;
	if (i == NULL || --i->refs > 0)
		return;
	assert(list_empty(&i->flights)); /* each has a reference */
	memo_free(&i->memo);
	pthread_mutex_destroy(&i->lock);
	free(i);
}

/* Sets. */

static void
set_free(struct memo_value *v)
{
	struct issuer_set *s = CONTAINER_OF(v, struct issuer_set, value);
	unsigned i;

	for (i = 0; i < s->n; i++)
		gnutls_free(s->certs[i].data);
	free(s);
}

static struct issuer_set *
set_new(void)
{
	struct issuer_set *s = must(calloc(1, sizeof(*s)));

	s->value.refs = 1;
	s->value.free = set_free;
	s->value.bytes = sizeof(*s);
	return (s);
}

static void
set_add(struct issuer_set *s, const gnutls_datum_t *der)
{
	gnutls_datum_t *to = &s->certs[s->n];

	to->data = must(gnutls_malloc(der->size));
	to->size = der->size;
	memcpy(to->data, der->data, der->size);
	s->value.bytes += der->size;
	s->n++;
}

/* Is it a certificate?  Whose, and whether it is good, is the verifier's. */
static bool
is_cert(const gnutls_datum_t *der)
{
	gnutls_x509_crt_t crt;
	bool ok;

	if (der->size == 0 || gnutls_x509_crt_init(&crt) < 0)
		return (false);
	ok = gnutls_x509_crt_import(crt, der, GNUTLS_X509_FMT_DER) >= 0;
	gnutls_x509_crt_deinit(crt);
	return (ok);
}

/* RFC 5280 4.2.2.1: or "a collection of certificates in a CMS message". */
static void
set_add_all(struct issuer_set *s, const gnutls_datum_t *der)
{
	gnutls_pkcs7_t p7;
	gnutls_datum_t one;
	int i;

	if (gnutls_pkcs7_init(&p7) < 0)
		abort();
	if (gnutls_pkcs7_import(p7, der, GNUTLS_X509_FMT_DER) >= 0)
		for (i = 0; s->n < ISSUERS_OF_ONE &&
		     gnutls_pkcs7_get_crt_raw2(p7, i, &one) >= 0;
		     i++) {
			if (is_cert(&one))
				set_add(s, &one);
			gnutls_free(one.data);
		}
	gnutls_pkcs7_deinit(p7);
}

static void
set_read(struct issuer_set *s, struct fetch_answer *a)
{
	struct buf octets = { 0 };
	gnutls_datum_t der;

	if (sealed_read(a->fd, &octets, BYTES_MOST)) {
		der = (gnutls_datum_t){ (unsigned char *)octets.p,
			(unsigned)octets.n };
		if (is_cert(&der))
			set_add(s, &der);
		else if (der.size > 0)
			set_add_all(s, &der);
	}
	buf_fini(&octets);
	if (s->n == 0)
		(void)snprintf(s->why, sizeof(s->why), "no certificate came");
}

static time_t
fresh_for(const struct issuer_set *s, const struct fetch_answer *a)
{
	if (s->n == 0)
		return (FRESH_NONE);
	if (a->fresh_s < 0)
		return (FRESH_USUAL);
	return (a->fresh_s < FRESH_LEAST  ? FRESH_LEAST
		: a->fresh_s > FRESH_MOST ? FRESH_MOST
					  : (time_t)a->fresh_s);
}

/* Did the fetch fail for a reason that is ours, and soon over? */
static bool
is_ours(enum fetch_outcome o)
{
	return (o == FETCH_BUSY || o == FETCH_LOST);
}

static struct issuer_set *
set_of(struct fetch_answer *a)
{
	struct issuer_set *s = set_new();

	if (a->outcome == FETCH_DONE)
		set_read(s, a);
	else
		(void)snprintf(s->why, sizeof(s->why), "%s",
		    a->why[0] != '\0' && !is_ours(a->outcome)
			? a->why
			: fetch_outcome_text(a->outcome));
	s->value.fresh_until = time(NULL) + fresh_for(s, a);
	return (s);
}

/* Flights. */

/* On the wait's thread. */
static void
ticket_deliver(struct mail *mail, struct loop *loop)
{
	struct issuers_ticket *t = CONTAINER_OF(mail, struct issuers_ticket,
	    mail);
	struct memo_value *v = &t->set->value;

	assert(t->loop == loop);
	if (t->wait != NULL) {
		assert(t->wait->ticket == t);
		t->wait->ticket = NULL;
		t->wait->ready(t->wait, t->set);
	} else
		memo_value_unref(&v);
	free(t);
}

/* Under the lock; it is its loop's then. */
static void
ticket_post(struct issuers_ticket *t, struct issuer_set *s)
{
	(void)memo_value_ref(&s->value);
	list_remove(&t->link);
	t->flies = false;
	t->set = s;
	mail_post(t->loop, &t->mail);
}

/* On the loop of who began it. */
static void
landed(struct fetch_wait *w, struct fetch_answer *a)
{
	struct flight *f = CONTAINER_OF(w, struct flight, wait);
	struct issuers *i = f->issuers;
	struct issuer_set *s = set_of(a);
	struct memo_value *v = &s->value;

	if (!is_ours(a->outcome))
		memo_put(i->memo, f->url, strlen(f->url), v);
	pthread_mutex_lock(&i->lock);
	list_remove(&f->link);
	while (!list_empty(&f->tickets))
		ticket_post(CONTAINER_OF(f->tickets.next, struct issuers_ticket,
				link),
		    s);
	pthread_mutex_unlock(&i->lock);
	memo_value_unref(&v);
	issuers_unref(&f->issuers);
	free(f);
}

static struct flight *
flight_to(struct issuers *i, const char *url)
{
	struct list *at;
	struct flight *f;

	for (at = i->flights.next; at != &i->flights; at = at->next) {
		f = CONTAINER_OF(at, struct flight, link);
		if (strcmp(f->url, url) == 0)
			return (f);
	}
	return (NULL);
}

static struct flight *
flight_new(struct issuers *i, const char *url)
{
	struct flight *f = must(calloc(1, sizeof(*f)));

	assert(strlen(url) < sizeof(f->url));
	f->wait.ready = landed;
	f->issuers = issuers_ref(i);
	strcpy(f->url, url);
	list_init(&f->tickets);
	list_insert(&i->flights, &f->link);
	return (f);
}

struct issuer_set *
issuers_known(struct issuers *i, const char *url)
{
	struct memo_value *v = memo_get(i->memo, url, strlen(url));

	return (v != NULL ? CONTAINER_OF(v, struct issuer_set, value) : NULL);
}

void
issuers_start(struct issuers *i, struct loop *loop, struct issuers_wait *w,
    const char *url)
{
	const struct fetch_request r = { .kind = FETCH_ISSUER,
		.url = url,
		.deadline_ms = ISSUERS_DEADLINE };
	struct issuers_ticket *t = must(calloc(1, sizeof(*t)));
	struct flight *f;
	bool begins;

	assert(w->ticket == NULL && w->ready != NULL);
	t->mail.deliver = ticket_deliver;
	t->flies = true;
	t->loop = loop;
	t->wait = w;
	w->ticket = t;
	w->issuers = i;
	pthread_mutex_lock(&i->lock);
	f = flight_to(i, url);
	begins = f == NULL;
	if (begins)
		f = flight_new(i, url);
	list_insert(&f->tickets, &t->link);
	/* Under the lock: it may be answered on this loop alone, later. */
	if (begins)
		fetch_start(i->fetch, loop, &f->wait, &r);
	pthread_mutex_unlock(&i->lock);
}

void
issuers_cancel(struct issuers_wait *w)
{
	struct issuers_ticket *t = w->ticket;

	w->ticket = NULL;
	if (t == NULL)
		return;
	assert(t->wait == w);
	t->wait = NULL;
	pthread_mutex_lock(&w->issuers->lock);
	if (t->flies) { /* else it is on its way to this thread */
		list_remove(&t->link);
		free(t);
	}
	pthread_mutex_unlock(&w->issuers->lock);
}
