/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers about revocation, see statuses.h.  A flight is one question,
 * whoever asked first; it goes on when nobody waits any more, for the next one
 * does.  Who waits has a ticket in the flight, then on its way as mail.
 */
#include <assert.h>
#include <gnutls/crypto.h>
#include <gnutls/ocsp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/list.h"
#include "base/sealed.h"
#include "base/str.h"
#include "certs/crl_priv.h"
#include "certs/crt_priv.h"
#include "certs/staple_priv.h"
#include "certs/statuses.h"
#include "certs/verify.h"

#define FRESH_MOST 86400 /* s */
#define FRESH_NONE 60    /* that there is none */
#define PAUSE_MOST 600   /* s */
#define PAUSE_KNOWN 3600 /* s behind it: how often it failed is known */
#define CACHE_BYTES (64u << 20)
#define GET_MOST 255 /* octets of a URL, RFC 5019 5 */

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
	struct loop *loop;            /* of who began it */
	uint64_t due;                 /* ms, of that loop; all questions */
	bool gets;                    /* OCSP by GET */
	bool reached;                 /* by GET; then it is POST */
	/* Of a list, while it is read: */
	struct job job;
	int fd; /* the flight's; else -1 */
	struct status_answer *answer;
};

struct statuses {
	_Atomic unsigned refs;
	struct fetch *fetch;   /* borrowed */
	struct job_pool *pool; /* borrowed; NULL: ended */
	struct memo *memo;     /* owned: by key, and failures by URL */
	pthread_mutex_t lock;  /* of flights and their tickets */
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
statuses_new(struct fetch *fetch, struct job_pool *pool, unsigned max_entries)
{
	static const struct memo_type type = { .fini = fini };
	struct statuses *s = must(calloc(1, sizeof(*s)));

	s->refs = 1;
	s->fetch = fetch;
	s->pool = pool;
	s->memo = memo_new(&type, s, NULL, max_entries, CACHE_BYTES);
	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->flights);
	return (s);
}

void
statuses_end(struct statuses *s)
{
	s->pool = NULL;
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

/* A list is the same for all of an issuer's certificates that name it. */
static void
list_key_of(const struct status_ask *a, gnutls_datum_t *out)
{
	size_t n = strlen(a->url);

	out->data = gnutls_malloc(n + 32);
	if (out->data == NULL ||
	    gnutls_hash_fast(GNUTLS_DIG_SHA256, a->issuer.data, a->issuer.size,
		out->data) < 0)
		abort();
	memcpy(out->data + 32, a->url, n);
	out->size = (unsigned)n + 32;
}

/* Takes a, which has a URL, unless *ap becomes NULL. */
static void
ask_fill(struct status_ask **ap, gnutls_x509_crt_t cert,
    gnutls_x509_crt_t issuer)
{
	struct status_ask *a = *ap;
	unsigned char hash[32];

	if (gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_DER, &a->cert) < 0 ||
	    gnutls_x509_crt_export2(issuer, GNUTLS_X509_FMT_DER, &a->issuer) <
		0) {
		status_ask_free(ap);
		return;
	}
	if (a->kind == STATUS_LIST)
		list_key_of(a, &a->key);
	if (gnutls_hash_fast(GNUTLS_DIG_SHA256, a->key.data, a->key.size,
		hash) < 0)
		abort();
	memcpy(&a->id, hash, sizeof(a->id));
	a->bytes = sizeof(*a) + a->key.size + a->cert.size + a->issuer.size;
}

struct status_ask *
status_ask_new(gnutls_x509_crt_t cert, gnutls_x509_crt_t issuer)
{
	struct status_ask *a = must(calloc(1, sizeof(*a)));

	a->kind = STATUS_OCSP;
	if (crt_ocsp_url(cert, a->url, sizeof(a->url)) &&
	    request_of(cert, issuer, &a->key))
		ask_fill(&a, cert, issuer);
	else
		status_ask_free(&a);
	return (a);
}

struct status_ask *
status_ask_list(gnutls_x509_crt_t cert, gnutls_x509_crt_t issuer, unsigned nth)
{
	struct status_ask *a = must(calloc(1, sizeof(*a)));

	a->kind = STATUS_LIST;
	if (crt_list_url(cert, nth, a->url, sizeof(a->url)))
		ask_fill(&a, cert, issuer);
	else
		status_ask_free(&a);
	return (a);
}

void
status_ask_free(struct status_ask **ap)
{
	struct status_ask *a = *ap;

	*ap = NULL;
	if (a == NULL)
		return;
	gnutls_free(a->key.data);
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
	crl_free(&a->list);
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

/* Something that is valid so long; half of its last half it is asked again. */
static void
answer_lasts(struct status_answer *a, time_t now, time_t until)
{
	a->value.fresh_until = until;
	a->refresh_at = now + (until - now) * 3 / 4;
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
		answer_lasts(a, now, until);
	}
	gnutls_x509_crt_deinit(cert);
	gnutls_x509_crt_deinit(issuer);
}

/* Signed first, then read (crl_priv.h). */
static bool
list_good(struct crl *c, gnutls_x509_crt_t issuer, time_t now, const char **why)
{
	if (!crl_is_by(c, issuer) || !crl_signed_by(c, issuer))
		*why = "its CRL is not signed by its issuer";
	else if (!crl_is_current(c, now))
		*why = "its CRL is not current";
	else
		return (crl_read_entries(c, why));
	return (false);
}

/* In a thread of the pool: keeps der, which is taken, if it is its issuer's. */
static void
answer_take_list(struct status_answer *a, const struct status_ask *ask,
    unsigned char *der, size_t n, time_t now)
{
	gnutls_x509_crt_t issuer = crt_of(&ask->issuer);
	const char *why = NULL;
	struct crl *c = crl_read(der, n, &why);
	time_t until = now + FRESH_MOST;

	if (c != NULL && list_good(c, issuer, now, &why)) {
		crl_forget_octets(c);
		if (crl_next(c) != 0 && crl_next(c) < until)
			until = crl_next(c);
		a->value.bytes += crl_bytes(c);
		a->list = c;
		answer_lasts(a, now, until);
	} else {
		crl_free(&c);
		(void)snprintf(a->why, sizeof(a->why), "%s", why);
	}
	gnutls_x509_crt_deinit(issuer);
}

/* Did it fail for a reason that is ours, and soon over? */
static bool
is_ours(enum fetch_outcome o)
{
	return (o == FETCH_BUSY || o == FETCH_LOST);
}

static struct status_answer *
answer_new(time_t now)
{
	struct status_answer *a = must(calloc(1, sizeof(*a)));

	a->value.refs = 1;
	a->value.free = answer_free;
	a->value.bytes = sizeof(*a);
	a->value.fresh_until = now + FRESH_NONE;
	return (a);
}

/* Of a fetch that failed, or of a responder. */
static struct status_answer *
answer_of(struct fetch_answer *f, const struct status_ask *ask)
{
	time_t now = time(NULL);
	struct status_answer *a = answer_new(now);
	struct buf octets = { 0 };

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

static struct status_answer *
failure_get(struct statuses *s, const char *url)
{
	struct memo_value *v = memo_get(s->memo, url, strlen(url));

	return (
	    v == NULL ? NULL : CONTAINER_OF(v, struct status_answer, value));
}

/* It could not be reached, once more; a is kept under its URL. */
static void
pause_for(struct statuses *s, const char *url, struct status_answer *a)
{
	struct status_answer *last = failure_get(s, url);
	struct memo_value *v;
	long pause = FRESH_NONE;
	unsigned i;

	if (last != NULL) {
		a->failures = last->failures;
		v = &last->value;
		memo_value_unref(&v);
	}
	for (i = 0; i < a->failures && pause < PAUSE_MOST; i++)
		pause *= 2;
	a->failures++;
	a->paused_until = time(NULL) +
	    (pause < PAUSE_MOST ? pause : PAUSE_MOST);
	a->value.fresh_until = a->paused_until + PAUSE_KNOWN;
	memo_renew(s->memo, url, strlen(url), &a->value);
}

/* It was reached: what failed before is forgotten. */
static void
pause_over(struct statuses *s, const char *url)
{
	struct status_answer *last = failure_get(s, url), *none;
	struct memo_value *v;

	if (last == NULL)
		return;
	v = &last->value;
	if (last->failures > 0) {
		none = answer_new(time(NULL));
		memo_renew(s->memo, url, strlen(url), &none->value);
		memo_value_unref(&v);
		v = &none->value;
	}
	memo_value_unref(&v);
}

/*
 * A server that cannot be reached is not asked for others either; one that
 * answers, whatever, is: else one certificate would decide for all of its CA.
 * What failed for a reason of ours says nothing of either.
 */
static void
keep(struct statuses *s, const struct status_ask *ask, bool reached, bool ours,
    struct status_answer *a)
{
	const gnutls_datum_t *k = &ask->key;

	if (ours)
		return;
	if (status_answers(a))
		memo_renew(s->memo, k->data, k->size, &a->value);
	else if (reached)
		memo_put(s->memo, k->data, k->size, &a->value);
	else
		pause_for(s, ask->url, a);
	if (reached)
		pause_over(s, ask->url);
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

/* Takes a. */
static void
flight_end(struct flight *f, struct status_answer *a)
{
	struct statuses *s = f->statuses;
	struct memo_value *v = &a->value;

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

/* In a thread of the pool. */
static void
list_run(struct job *j)
{
	struct flight *f = CONTAINER_OF(j, struct flight, job);
	struct status_answer *a = f->answer;
	struct buf octets = { 0 };

	if (!sealed_read(f->fd, &octets, STATUSES_LIST_MOST) || octets.n == 0) {
		buf_fini(&octets);
		(void)snprintf(a->why, sizeof(a->why), "no CRL came");
	} else
		answer_take_list(a, f->ask, (unsigned char *)octets.p, octets.n,
		    time(NULL));
}

static void
list_done(struct job *j)
{
	struct flight *f = CONTAINER_OF(j, struct flight, job);

	(void)close(f->fd);
	keep(f->statuses, f->ask, true, false, f->answer);
	flight_end(f, f->answer);
}

static void
list_start(struct flight *f, struct fetch_answer *fa)
{
	f->fd = fa->fd;
	fa->fd = -1; /* it is the flight's */
	f->answer = answer_new(time(NULL));
	f->job.run = list_run;
	f->job.done = list_done;
	job_start(f->statuses->pool, &f->job, f->loop);
}

static void flight_ask(struct flight *);

static bool
is_ended(const struct flight *f)
{
	return (f->statuses->pool == NULL);
}

static unsigned
time_left(const struct flight *f)
{
	uint64_t now = loop_now(f->loop);

	return (f->due > now ? (unsigned)(f->due - now) : 0);
}

/* On the loop of who began it. */
static void
landed(struct fetch_wait *w, struct fetch_answer *fa)
{
	struct flight *f = CONTAINER_OF(w, struct flight, wait);
	struct status_answer *a;

	if (is_ended(f)) /* nobody fetches, no thread reads */
		fa->outcome = FETCH_LOST;
	if (fa->outcome == FETCH_STATUS && f->gets && time_left(f) > 0) {
		f->gets = false; /* it may know POST alone */
		f->reached = true;
		flight_ask(f);
	} else if (fa->outcome == FETCH_DONE && f->ask->kind == STATUS_LIST)
		list_start(f, fa);
	else {
		a = answer_of(fa, f->ask);
		keep(f->statuses, f->ask, f->reached || fa->status != 0,
		    is_ours(fa->outcome), a);
		flight_end(f, a);
	}
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
		if (same(&f->ask->key, &ask->key))
			return (f);
	}
	return (NULL);
}

/*
 * RFC 6960 A.1.1: the request in base64, whose other characters are escaped,
 * behind the responder's URL.  False: RFC 5019 5 wants POST for so long a one.
 */
static bool
get_url(const struct status_ask *ask, char out[static GET_MOST + 1])
{
	size_t at = strlen(ask->url), i;
	gnutls_datum_t text;

	if (at >= GET_MOST || strchr(ask->url, '?') != NULL)
		return (false);
	memcpy(out, ask->url, at);
	if (out[at - 1] != '/')
		out[at++] = '/';
	if (gnutls_base64_encode2(&ask->key, &text) < 0)
		abort();
	for (i = 0; i < text.size && at + 3 <= GET_MOST; i++)
		switch (text.data[i]) {
		case '+':
		case '/':
		case '=':
			at += (size_t)sprintf(out + at, "%%%02X", text.data[i]);
			break;
		default:
			out[at++] = (char)text.data[i];
		}
	out[at] = '\0';
	gnutls_free(text.data);
	return (i == text.size);
}

/* There is time left. */
static void
flight_ask(struct flight *f)
{
	const struct status_ask *ask = f->ask;
	struct fetch_request r = { .kind = FETCH_CRL,
		.url = ask->url,
		.max_bytes = STATUSES_LIST_MOST,
		.deadline_ms = time_left(f) };
	char url[GET_MOST + 1];

	if (ask->kind == STATUS_OCSP) {
		r.kind = FETCH_OCSP;
		r.max_bytes = VERIFY_MAX_STAPLE;
		f->gets = f->gets && get_url(ask, url);
		if (f->gets)
			r.url = url;
		else {
			r.body = ask->key.data;
			r.body_n = ask->key.size;
		}
	}
	fetch_start(f->statuses->fetch, f->loop, &f->wait, &r);
}

/* Under the lock: the one under way, or one that begins. */
static struct flight *
flight_join(struct statuses *s, struct loop *loop, const struct status_ask *ask,
    struct memo_value *owner)
{
	struct flight *f = flight_for(s, ask);

	if (f != NULL)
		return (f);
	f = must(calloc(1, sizeof(*f)));
	f->wait.ready = landed;
	f->statuses = statuses_ref(s);
	f->ask = ask;
	f->owner = memo_value_ref(owner);
	f->loop = loop;
	f->due = loop_now(loop) +
	    (ask->kind == STATUS_OCSP ? STATUSES_DEADLINE
				      : STATUSES_LIST_DEADLINE);
	f->gets = ask->kind == STATUS_OCSP;
	f->fd = -1;
	list_init(&f->tickets);
	list_insert(&s->flights, &f->link);
	flight_ask(f); /* answered later */
	return (f);
}

static void
ask_again(struct statuses *s, struct loop *loop, const struct status_ask *ask,
    struct memo_value *owner)
{
	pthread_mutex_lock(&s->lock);
	(void)flight_join(s, loop, ask, owner);
	pthread_mutex_unlock(&s->lock);
}

struct status_answer *
statuses_known(struct statuses *s, struct loop *loop,
    const struct status_ask *ask, struct memo_value *owner)
{
	struct memo_value *v;
	struct status_answer *a;
	time_t now = time(NULL);

	v = memo_get(s->memo, ask->key.data, ask->key.size);
	if (v == NULL) {
		a = failure_get(s, ask->url);
		if (a != NULL && a->paused_until > now)
			return (a);
		v = a != NULL ? &a->value : NULL;
		memo_value_unref(&v);
		return (NULL);
	}
	a = CONTAINER_OF(v, struct status_answer, value);
	if (status_answers(a) && a->refresh_at <= now) {
		a->refresh_at = now + FRESH_NONE;
		ask_again(s, loop, ask, owner);
	}
	return (a);
}

void
statuses_prepare(struct statuses *s, struct loop *loop,
    const struct status_ask *ask, struct memo_value *owner)
{
	struct status_answer *a = statuses_known(s, loop, ask, owner);
	struct memo_value *v = a != NULL ? &a->value : NULL;

	if (a == NULL)
		ask_again(s, loop, ask, owner);
	memo_value_unref(&v);
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
