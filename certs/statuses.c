/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers of OCSP responders, see statuses.h.  A flight is one question,
 * whoever asked first; it goes on when nobody waits any more, for the next one
 * does.  Who waits has a ticket in the flight, then on its way as mail.
 */
#include <assert.h>
#include <gnutls/ocsp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/list.h"
#include "base/sealed.h"
#include "base/str.h"
#include "certs/crt_priv.h"
#include "certs/staple_priv.h"
#include "certs/statuses.h"
#include "certs/verify.h"

#define FRESH_MOST 86400 /* s */
#define FRESH_NONE 60    /* that there is none */
#define CACHE_BYTES (16u << 20)

struct statuses_ticket {
	struct mail mail;
	struct list link; /* of the flight's, while that is under way */
	bool flies;       /* it is in one; under the lock */
	struct loop *loop;
	struct statuses_wait *wait;   /* NULL: cancelled; that thread's only */
	struct status_answer *answer; /* counted, once delivered */
};

struct flight {
	struct fetch_wait wait;
	struct list link; /* of the statuses' */
	struct list tickets;
	struct statuses *statuses;    /* counted */
	const struct status_ask *ask; /* borrowed from owner */
	struct memo_value *owner;     /* counted */
};

struct statuses {
	_Atomic unsigned refs;
	struct fetch *fetch;  /* borrowed */
	struct memo *memo;    /* owned: by request, and failures by URL */
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

struct statuses *
statuses_new(struct fetch *fetch, unsigned max_entries)
{
	static const struct memo_type type = { .fini = fini };
	struct statuses *s = must(calloc(1, sizeof(*s)));

	s->refs = 1;
	s->fetch = fetch;
	s->memo = memo_new(&type, s, NULL, max_entries, CACHE_BYTES);
	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->flights);
	return (s);
}

struct statuses *
statuses_ref(struct statuses *s)
{
	s->refs++;
	return (s);
}

void
statuses_unref(struct statuses **sp)
{
	struct statuses *s = *sp;

	*sp = NULL;
	if (s == NULL || --s->refs > 0)
		return;
	assert(list_empty(&s->flights)); /* each has a reference */
	memo_free(&s->memo);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* Questions. */

/* Without a nonce: responders that sign in advance have no answer to one. */
static bool
request_of(gnutls_x509_crt_t cert, gnutls_x509_crt_t issuer,
    gnutls_datum_t *out)
{
	gnutls_ocsp_req_t r;
	bool ok;

	if (gnutls_ocsp_req_init(&r) < 0)
		abort();
	/* RFC 5019 2.1.1: SHA-1 is what every responder knows. */
	ok = gnutls_ocsp_req_add_cert(r, GNUTLS_DIG_SHA1, issuer, cert) >= 0 &&
	    gnutls_ocsp_req_export(r, out) >= 0;
	gnutls_ocsp_req_deinit(r);
	return (ok && out->size > 0 && out->size <= FETCH_BODY_MAX);
}

struct status_ask *
status_ask_new(gnutls_x509_crt_t cert, gnutls_x509_crt_t issuer)
{
	struct status_ask *a = must(calloc(1, sizeof(*a)));

	if (!crt_ocsp_url(cert, a->url, sizeof(a->url)) ||
	    !request_of(cert, issuer, &a->request) ||
	    gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_DER, &a->cert) < 0 ||
	    gnutls_x509_crt_export2(issuer, GNUTLS_X509_FMT_DER, &a->issuer) <
		0)
		status_ask_free(&a);
	else
		a->bytes = sizeof(*a) + a->request.size + a->cert.size +
		    a->issuer.size;
	return (a);
}

void
status_ask_free(struct status_ask **ap)
{
	struct status_ask *a = *ap;

	*ap = NULL;
	if (a == NULL)
		return;
	gnutls_free(a->request.data);
	gnutls_free(a->cert.data);
	gnutls_free(a->issuer.data);
	free(a);
}

/* Answers. */

static void
answer_free(struct memo_value *v)
{
	struct status_answer *a = CONTAINER_OF(v, struct status_answer, value);

	free(a->der.data);
	free(a);
}

static gnutls_x509_crt_t
crt_of(const gnutls_datum_t *der)
{
	gnutls_x509_crt_t crt;

	if (gnutls_x509_crt_init(&crt) < 0 ||
	    gnutls_x509_crt_import(crt, der, GNUTLS_X509_FMT_DER) < 0)
		abort(); /* it was exported by us */
	return (crt);
}

/* Keeps der if it may be believed. */
static void
answer_take(struct status_answer *a, const struct status_ask *ask,
    const gnutls_datum_t *der, time_t now)
{
	gnutls_x509_crt_t cert = crt_of(&ask->cert);
	gnutls_x509_crt_t issuer = crt_of(&ask->issuer);
	time_t until = now + FRESH_MOST, at = 0;
	const char *why = NULL;

	if (staple_check(der, cert, issuer, now, &until, &at, &why) ==
	    STAPLE_NONE)
		(void)snprintf(a->why, sizeof(a->why), "%s", why);
	else {
		a->der.data = must(malloc(der->size));
		memcpy(a->der.data, der->data, der->size);
		a->der.size = der->size;
		a->value.bytes += der->size;
		a->value.fresh_until = until;
		a->refresh_at = now + (until - now) * 3 / 4;
	}
	gnutls_x509_crt_deinit(cert);
	gnutls_x509_crt_deinit(issuer);
}

/* Did it fail for a reason that is ours, and soon over? */
static bool
is_ours(enum fetch_outcome o)
{
	return (o == FETCH_BUSY || o == FETCH_LOST);
}

static struct status_answer *
answer_of(struct fetch_answer *f, const struct status_ask *ask)
{
	struct status_answer *a = must(calloc(1, sizeof(*a)));
	struct buf octets = { 0 };
	time_t now = time(NULL);

	a->value.refs = 1;
	a->value.free = answer_free;
	a->value.bytes = sizeof(*a);
	a->value.fresh_until = now + FRESH_NONE;
	if (f->outcome != FETCH_DONE)
		(void)snprintf(a->why, sizeof(a->why), "%s",
		    f->why[0] != '\0' && !is_ours(f->outcome)
			? f->why
			: fetch_outcome_text(f->outcome));
	else if (!sealed_read(f->fd, &octets, VERIFY_MAX_STAPLE) ||
	    octets.n == 0)
		(void)snprintf(a->why, sizeof(a->why), "no OCSP response came");
	else
		answer_take(a, ask,
		    &(gnutls_datum_t){ (unsigned char *)octets.p,
			(unsigned)octets.n },
		    now);
	buf_fini(&octets);
	return (a);
}

/*
 * A responder that cannot be reached is not asked for others either; one that
 * answers, whatever, is: else one certificate would decide for all of its CA.
 */
static void
keep(struct statuses *s, const struct status_ask *ask,
    const struct fetch_answer *f, struct status_answer *a)
{
	const gnutls_datum_t *r = &ask->request;

	if (a->der.size > 0)
		memo_renew(s->memo, r->data, r->size, &a->value);
	else if (f->status != 0)
		memo_put(s->memo, r->data, r->size, &a->value);
	else if (!is_ours(f->outcome))
		memo_put(s->memo, ask->url, strlen(ask->url), &a->value);
}

/* Flights. */

/* On the wait's thread. */
static void
ticket_deliver(struct mail *mail, struct loop *loop)
{
	struct statuses_ticket *t = CONTAINER_OF(mail, struct statuses_ticket,
	    mail);
	struct memo_value *v = &t->answer->value;

	assert(t->loop == loop);
	if (t->wait != NULL) {
		assert(t->wait->ticket == t);
		t->wait->ticket = NULL;
		t->wait->ready(t->wait, t->answer);
	} else
		memo_value_unref(&v);
	free(t);
}

/* Under the lock; it is its loop's then. */
static void
ticket_post(struct statuses_ticket *t, struct status_answer *a)
{
	(void)memo_value_ref(&a->value);
	list_remove(&t->link);
	t->flies = false;
	t->answer = a;
	mail_post(t->loop, &t->mail);
}

/* On the loop of who began it. */
static void
landed(struct fetch_wait *w, struct fetch_answer *fa)
{
	struct flight *f = CONTAINER_OF(w, struct flight, wait);
	struct statuses *s = f->statuses;
	struct status_answer *a = answer_of(fa, f->ask);
	struct memo_value *v = &a->value;

	keep(s, f->ask, fa, a);
	pthread_mutex_lock(&s->lock);
	list_remove(&f->link);
	while (!list_empty(&f->tickets))
		ticket_post(CONTAINER_OF(f->tickets.next,
				struct statuses_ticket, link),
		    a);
	pthread_mutex_unlock(&s->lock);
	memo_value_unref(&v);
	memo_value_unref(&f->owner);
	statuses_unref(&f->statuses);
	free(f);
}

static bool
same(const gnutls_datum_t *a, const gnutls_datum_t *b)
{
	return (a->size == b->size && memcmp(a->data, b->data, a->size) == 0);
}

static struct flight *
flight_for(struct statuses *s, const struct status_ask *ask)
{
	struct list *at;
	struct flight *f;

	for (at = s->flights.next; at != &s->flights; at = at->next) {
		f = CONTAINER_OF(at, struct flight, link);
		if (same(&f->ask->request, &ask->request))
			return (f);
	}
	return (NULL);
}

/* Under the lock: the one under way, or one that begins. */
static struct flight *
flight_join(struct statuses *s, struct loop *loop, const struct status_ask *ask,
    struct memo_value *owner)
{
	const struct fetch_request r = { .kind = FETCH_OCSP,
		.url = ask->url,
		.max_bytes = VERIFY_MAX_STAPLE,
		.deadline_ms = STATUSES_DEADLINE,
		.body = ask->request.data,
		.body_n = ask->request.size };
	struct flight *f = flight_for(s, ask);

	if (f != NULL)
		return (f);
	f = must(calloc(1, sizeof(*f)));
	f->wait.ready = landed;
	f->statuses = statuses_ref(s);
	f->ask = ask;
	f->owner = memo_value_ref(owner);
	list_init(&f->tickets);
	list_insert(&s->flights, &f->link);
	fetch_start(s->fetch, loop, &f->wait, &r); /* answered later */
	return (f);
}

struct status_answer *
statuses_known(struct statuses *s, struct loop *loop,
    const struct status_ask *ask, struct memo_value *owner)
{
	struct memo_value *v;
	struct status_answer *a;
	time_t now = time(NULL);

	v = memo_get(s->memo, ask->request.data, ask->request.size);
	if (v == NULL)
		v = memo_get(s->memo, ask->url, strlen(ask->url));
	if (v == NULL)
		return (NULL);
	a = CONTAINER_OF(v, struct status_answer, value);
	if (a->der.size > 0 && a->refresh_at <= now) {
		a->refresh_at = now + FRESH_NONE;
		pthread_mutex_lock(&s->lock);
		(void)flight_join(s, loop, ask, owner);
		pthread_mutex_unlock(&s->lock);
	}
	return (a);
}

void
statuses_start(struct statuses *s, struct loop *loop, struct statuses_wait *w,
    const struct status_ask *ask, struct memo_value *owner)
{
	struct statuses_ticket *t = must(calloc(1, sizeof(*t)));

	assert(w->ticket == NULL && w->ready != NULL);
	t->mail.deliver = ticket_deliver;
	t->flies = true;
	t->loop = loop;
	t->wait = w;
	w->ticket = t;
	w->statuses = s;
	pthread_mutex_lock(&s->lock);
	list_insert(&flight_join(s, loop, ask, owner)->tickets, &t->link);
	pthread_mutex_unlock(&s->lock);
}

void
statuses_cancel(struct statuses_wait *w)
{
	struct statuses_ticket *t = w->ticket;

	w->ticket = NULL;
	if (t == NULL)
		return;
	assert(t->wait == w);
	t->wait = NULL;
	pthread_mutex_lock(&w->statuses->lock);
	if (t->flies) { /* else it is on its way to this thread */
		list_remove(&t->link);
		free(t);
	}
	pthread_mutex_unlock(&w->statuses->lock);
}
