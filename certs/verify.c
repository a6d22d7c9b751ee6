/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verdict cache and the name check, see verify.h.  A hit costs hashing
 * the chain (a microsecond) and comparing names.
 */
#include <assert.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/list.h"
#include "certs/check_priv.h"
#include "certs/crl_priv.h"

#define KEY_BYTES 32            /* SHA-256 */
#define CACHE_BYTES (16u << 20) /* names of certificates, mostly */

/*
 * A chain of no more is verified where it is needed: to hand it to another
 * thread and back costs a tenth of that, and the handshake before it took as
 * long.  (The costliest that fits, four keys on P-521, takes some 3 ms: 0.7
 * each.  GnuTLS begins at the anchor, so who has no issuer's key gets one.)
 */
#define SHORT_CERTS 4
#define SHORT_BYTES 8192

struct verifier {
	struct verify_options o;
	struct memo *memo;
};

/* A chain of its own, in one piece. */
struct verify_copy {
	struct verify_chain chain;
	struct status_answer *lists[VERIFY_MAX_LISTS]; /* counted */
	/* chain.n of them and chain.answers_n, then their bytes */
	gnutls_datum_t certs[];
};

/* The cached part. */

static bool
chain_bounded(const struct verify_chain *c, struct fault *f)
{
	size_t bytes = 0;
	unsigned i;

	for (i = 0; i < c->n && bytes <= VERIFY_MAX_BYTES; i++)
		bytes += c->certs[i].size;
	if (c->n == 0)
		fault_set(f, ERR_ORIGIN_CERT, "origin sent no certificate");
	else if (bytes > VERIFY_MAX_BYTES)
		fault_set(f, ERR_ORIGIN_CERT, "certificate chain is too long");
	else if (c->staple.size > VERIFY_MAX_STAPLE)
		fault_set(f, ERR_ORIGIN_CERT, "OCSP response is too large");
	else
		return (true);
	return (false);
}

static bool
is_short(const struct verify_chain *c)
{
	size_t bytes = c->staple.size;
	unsigned i;

	for (i = 0; i < c->n; i++)
		bytes += c->certs[i].size;
	for (i = 0; i < c->answers_n; i++)
		bytes += c->answers[i].size;
	return (c->n <= SHORT_CERTS && bytes <= SHORT_BYTES);
}

static void
hash_datum(gnutls_hash_hd_t h, const gnutls_datum_t *d)
{
	const uint32_t n = d->size;

	(void)gnutls_hash(h, &n, sizeof(n));
	(void)gnutls_hash(h, d->data, d->size);
}

static void
key_of(const struct verify_chain *c, unsigned char key[static KEY_BYTES])
{
	gnutls_hash_hd_t h;
	unsigned i;

	if (gnutls_hash_init(&h, GNUTLS_DIG_SHA256) < 0)
		abort();
	assert(c->n > 0);
	for (i = 0; i < c->n; i++)
		hash_datum(h, &c->certs[i]);
	hash_datum(h, &c->staple);
	for (i = 0; i < c->answers_n; i++)
		hash_datum(h, &c->answers[i]);
	for (i = 0; i < c->lists_n; i++)
		(void)gnutls_hash(h, crl_digest(c->lists[i]->list), KEY_BYTES);
	gnutls_hash_deinit(h, key);
}

static unsigned char *
copy_datum(gnutls_datum_t *to, const gnutls_datum_t *from, unsigned char *at)
{
	*to = (gnutls_datum_t){ at, from->size };
	if (from->size > 0)
		memcpy(at, from->data, from->size);
	return (at + from->size);
}

/* Those of c, and that of the answer, where it is one. */
static void
copy_lists(struct verify_copy *k, const struct verify_chain *c,
    struct status_answer *a)
{
	unsigned i, n = c->lists_n;

	for (i = 0; i < n; i++)
		k->lists[i] = c->lists[i];
	if (a != NULL && a->list != NULL) {
		assert(n < VERIFY_MAX_LISTS);
		k->lists[n++] = a;
	}
	for (i = 0; i < n; i++)
		(void)memo_value_ref(&k->lists[i]->value);
	k->chain.lists = k->lists;
	k->chain.lists_n = n;
}

/* With so many more certificates behind it, and the answer (NULL: none). */
static struct verify_copy *
copy_more(const struct verify_chain *c, const gnutls_datum_t *more, unsigned n,
    struct status_answer *a)
{
	const gnutls_datum_t *answer = a != NULL && a->der.size > 0 ? &a->der
								    : NULL;
	unsigned data = c->n + n + c->answers_n + (answer != NULL), i;
	size_t bytes = c->staple.size + data * sizeof(gnutls_datum_t);
	struct verify_copy *k;
	gnutls_datum_t *answers;
	unsigned char *at;

	for (i = 0; i < c->n; i++)
		bytes += c->certs[i].size;
	for (i = 0; i < n; i++)
		bytes += more[i].size;
	for (i = 0; i < c->answers_n; i++)
		bytes += c->answers[i].size;
	bytes += answer != NULL ? answer->size : 0;
	k = malloc(sizeof(*k) + bytes);
	if (k == NULL)
		abort();
	answers = &k->certs[c->n + n];
	at = (unsigned char *)&k->certs[data];
	for (i = 0; i < c->n; i++)
		at = copy_datum(&k->certs[i], &c->certs[i], at);
	for (i = 0; i < n; i++)
		at = copy_datum(&k->certs[c->n + i], &more[i], at);
	at = copy_datum(&k->chain.staple, &c->staple, at);
	for (i = 0; i < c->answers_n; i++)
		at = copy_datum(&answers[i], &c->answers[i], at);
	if (answer != NULL)
		at = copy_datum(&answers[i], answer, at);
	assert(at == (unsigned char *)k + sizeof(*k) + bytes);
	k->chain.certs = k->certs;
	k->chain.n = c->n + n;
	k->chain.answers = answers;
	k->chain.answers_n = c->answers_n + (answer != NULL);
	copy_lists(k, c, a);
	return (k);
}

static void
copy_free(struct verify_copy **kp)
{
	struct verify_copy *k = *kp;
	struct memo_value *v;

	*kp = NULL;
	if (k == NULL)
		return;
	while (k->chain.lists_n > 0) {
		v = &k->lists[--k->chain.lists_n]->value;
		memo_value_unref(&v);
	}
	free(k);
}

static void
free_arg(void *arg)
{
	struct verify_copy *k = arg;

	copy_free(&k);
}

static struct verify_copy *
copy_new(const struct verify_chain *c)
{
	return (copy_more(c, NULL, 0, NULL));
}

static struct memo_value *
make(void *owner, const void *key, size_t n, void *arg)
{
	const struct verifier *v = owner;
	const struct verify_copy *k = arg;

	(void)key;
	assert(n == KEY_BYTES && k->chain.n > 0);
	return (&check_chain(&v->o, &k->chain)->value);
}

static void
fini(void *owner)
{
	struct verifier *v = owner;

	trust_unref(&v->o.trust);
	ca_unref(&v->o.own);
	issuers_unref(&v->o.issuers);
	statuses_unref(&v->o.statuses);
	free(v);
}

struct verifier *
verifier_new(const struct verify_options *o)
{
	static const struct memo_type type = { make, free_arg, fini };
	struct verifier *v = calloc(1, sizeof(*v));

	if (v == NULL)
		abort();
	assert(o->trust != NULL);
	v->o = *o;
	(void)trust_ref(o->trust);
	if (o->own != NULL)
		(void)ca_ref(o->own);
	if (o->issuers != NULL)
		(void)issuers_ref(o->issuers);
	if (o->statuses != NULL)
		(void)statuses_ref(o->statuses);
	v->memo = memo_new(&type, v, o->pool, o->max_entries, CACHE_BYTES);
	return (v);
}

void
verifier_free(struct verifier **vp)
{
	struct verifier *v = *vp;
	struct memo *m;

	*vp = NULL;
	if (v == NULL)
		return;
	m = v->memo; /* the last reference frees v */
	assert(m != NULL);
	memo_free(&m);
}

void
verifier_stats(struct verifier *v, struct verify_stats *out)
{
	struct memo_stats m;

	memo_stats(v->memo, &m);
	*out = (struct verify_stats){ m.hits, m.misses, m.joined, m.entries };
}

/* Waiting. */

/* The verdict is known; what is left is the name.  Takes v. */
static bool
finish(struct verdict *v, const char *host, struct fault *f)
{
	struct memo_value *value = &v->value;
	bool ok = v->fault.code == ERR_NONE && verdict_names(v, host, f);

	assert(value->refs > 0);
	fault_copy(f, &v->fault);
	memo_value_unref(&value);
	return (ok);
}

static bool advance(struct verify_wait *, const struct verify_chain *,
    struct verdict *);

/* It is known; from here on nothing is held for it. */
static void
conclude(struct verify_wait *w, struct verdict *v, const char *why)
{
	struct fault f = { ERR_NONE, "" };

	assert(!w->done);
	timer_stop(&w->late);
	w->until = v->ends;
	w->is_final = v->is_final;
	memcpy(w->lacks_ct, v->lacks_ct, sizeof(w->lacks_ct));
	w->ok = finish(v, w->host, &f);
	if (why != NULL && !w->ok)
		(void)fault_set(&w->fault, f.code, "%s; fetching it: %s",
		    f.detail, why);
	else
		fault_copy(&w->fault, &f);
	w->done = true;
	copy_free(&w->chain);
}

#define TOO_LONG "it took too long"

static bool
is_late(const struct verify_wait *w)
{
	return (w->ends > 0 && loop_now(w->loop) >= w->ends);
}

/* The first that is asked: from here on it waits so long and no longer. */
static void
be_patient(struct verify_wait *w)
{
	uint64_t end = loop_now(w->loop) + VERIFY_PATIENCE;

	w->asks = true;
	if (w->ends == 0 || end < w->ends)
		w->ends = end;
}

/* Takes v, which is what there is if nothing comes before it is late. */
static void
await(struct verify_wait *w, struct verdict *v)
{
	assert(w->refused == NULL);
	w->refused = &v->value;
	if (w->ends > 0)
		timer_set_at(&w->late, w->ends);
}

/* What was awaited has come, or will not. */
static struct verdict *
awaited(struct verify_wait *w)
{
	struct memo_value *v = w->refused;

	assert(!w->done && v != NULL);
	w->refused = NULL;
	timer_stop(&w->late);
	return (CONTAINER_OF(v, struct verdict, value));
}

static void
on_late(struct timer *t)
{
	struct verify_wait *w = CONTAINER_OF(t, struct verify_wait, late);

	issuers_cancel(&w->issuer);
	statuses_cancel(&w->status);
	if (advance(w, &w->chain->chain, awaited(w)))
		task_wake(w->wake);
}

/* Could be finished by an issuer that it says where to find? */
static bool
lacks_issuer(const struct verify_wait *w, const struct verdict *v)
{
	return (w->verifier->o.issuers != NULL && v->missing != NULL);
}

/* False: they are no help. */
static bool
extend(struct verify_wait *w, const struct issuer_set *s)
{
	struct verify_copy *k;
	struct fault f = { ERR_NONE, "" };

	assert(w->chain != NULL);
	if (s->n == 0 || w->fetched++ == VERIFY_MAX_FETCHED)
		return (false);
	k = copy_more(&w->chain->chain, s->certs, s->n, NULL);
	copy_free(&w->chain);
	w->chain = k;
	return (chain_bounded(&k->chain, &f));
}

/* With what came, or without; takes v and s.  True: done. */
static bool
got_issuer(struct verify_wait *w, struct verdict *v, struct issuer_set *s)
{
	struct memo_value *set = &s->value, *value = &v->value;
	bool more = extend(w, s);

	if (more) {
		memo_value_unref(&value);
		more = !advance(w, &w->chain->chain, NULL);
	} else
		conclude(w, v, s->n == 0 ? s->why : "nothing came that helps");
	memo_value_unref(&set);
	return (!more);
}

static void
on_issuer(struct issuers_wait *i, struct issuer_set *s)
{
	struct verify_wait *w = CONTAINER_OF(i, struct verify_wait, issuer);

	if (got_issuer(w, awaited(w), s))
		task_wake(w->wake);
}

/* Takes v.  True: done. */
static bool
get_issuer(struct verify_wait *w, const struct verify_chain *chain,
    struct verdict *v)
{
	struct issuers *i = w->verifier->o.issuers;
	struct issuer_set *s = issuers_known(i, v->missing);

	if (w->chain == NULL)
		w->chain = copy_new(chain);
	if (s != NULL)
		return (got_issuer(w, v, s));
	if (is_late(w)) {
		conclude(w, v, TOO_LONG);
		return (true);
	}
	await(w, v);
	w->issuer = (struct issuers_wait){ .ready = on_issuer };
	issuers_start(i, w->loop, &w->issuer, v->missing);
	return (false);
}

/* Who is still to be asked of it; NULL: nobody. */
static const struct status_ask *
next_ask(const struct verify_wait *w, const struct verdict *v)
{
	unsigned i, k;

	if (w->asked_n == VERIFY_MAX_ASKED)
		return (NULL);
	for (i = 0; i < v->asks_n; i++) {
		for (k = 0; k < w->asked_n; k++)
			if (w->asked[k] == v->asks[i]->id)
				break;
		if (k == w->asked_n)
			return (v->asks[i]);
	}
	return (NULL);
}

static bool
has_room(const struct verify_chain *c, const struct status_answer *a)
{
	return (a->list != NULL ? c->lists_n < VERIFY_MAX_LISTS
				: c->answers_n < VERIFY_MAX_ANSWERS);
}

/*
 * With what was said; without, the next one is asked, and at last the verdict
 * is what it was.  Takes v and a.  True: done.
 */
static bool
got_status(struct verify_wait *w, struct verdict *v, struct status_answer *a)
{
	struct memo_value *answer = &a->value, *value = &v->value;
	const struct verify_chain *c = &w->chain->chain;
	bool done = true;
	struct verify_copy *k;

	if (status_answers(a) && has_room(c, a)) {
		k = copy_more(c, NULL, 0, a);
		copy_free(&w->chain);
		w->chain = k;
		memo_value_unref(&value);
		done = advance(w, &k->chain, NULL);
	} else if (!status_answers(a) && next_ask(w, v) != NULL)
		done = advance(w, c, v);
	else
		conclude(w, v, status_answers(a) ? "nothing helps" : a->why);
	memo_value_unref(&answer);
	return (done);
}

static void
on_status(struct statuses_wait *s, struct status_answer *a)
{
	struct verify_wait *w = CONTAINER_OF(s, struct verify_wait, status);

	if (got_status(w, awaited(w), a))
		task_wake(w->wake);
}

static bool
same_cert(const struct status_ask *a, const struct status_ask *b)
{
	return (a->cert.size == b->cert.size &&
	    memcmp(a->cert.data, b->cert.data, a->cert.size) == 0);
}

/*
 * Those of other certificates of the chain, that are first asked for them, at
 * the same time: they are waited for one after another.
 */
static void
prepare_others(const struct verify_wait *w, struct verdict *v,
    const struct status_ask *ask)
{
	unsigned i;

	for (i = 0; i < v->asks_n; i++)
		if (v->asks[i] != ask &&
		    (i == 0 || !same_cert(v->asks[i - 1], v->asks[i])))
			statuses_prepare(w->verifier->o.statuses, w->loop,
			    v->asks[i], &v->value);
}

/* Late, it goes by what is known.  Takes v.  True: done. */
static bool
get_status(struct verify_wait *w, const struct verify_chain *chain,
    struct verdict *v, const struct status_ask *ask)
{
	struct statuses *s = w->verifier->o.statuses;
	struct status_answer *a = statuses_known(s, w->loop, ask, &v->value);

	assert(w->asked_n < VERIFY_MAX_ASKED);
	w->asked[w->asked_n++] = ask->id;
	if (w->chain == NULL)
		w->chain = copy_new(chain);
	if (a != NULL)
		return (got_status(w, v, a));
	if (is_late(w))
		return (advance(w, &w->chain->chain, v));
	if (!w->asks)
		be_patient(w);
	prepare_others(w, v, ask);
	await(w, v);
	w->status = (struct statuses_wait){ .ready = on_status };
	statuses_start(s, w->loop, &w->status, ask, &v->value);
	return (false);
}

static void
on_ready(struct memo_wait *m, struct memo_value *value)
{
	struct verify_wait *w = CONTAINER_OF(m, struct verify_wait, memo);

	assert(!w->done && w->host != NULL);
	if (advance(w, w->chain != NULL ? &w->chain->chain : NULL,
		CONTAINER_OF(value, struct verdict, value)))
		task_wake(w->wake);
}

/* The verdict on chain; NULL: it is on its way to on_ready(). */
static struct verdict *
look(struct verify_wait *w, const struct verify_chain *chain)
{
	struct verifier *v = w->verifier;
	unsigned char key[KEY_BYTES];
	struct memo_value *value;

	key_of(chain, key);
	value = memo_get(v->memo, key, sizeof(key));
	if (value == NULL && is_short(chain)) {
		value = &check_chain(&v->o, chain)->value;
		memo_put(v->memo, key, sizeof(key), value);
	}
	if (value != NULL)
		return (CONTAINER_OF(value, struct verdict, value));
	if ((v->o.issuers != NULL || v->o.statuses != NULL) &&
	    w->chain == NULL) {
		w->chain = copy_new(chain);
		chain = &w->chain->chain;
	}
	w->memo.ready = on_ready;
	memo_start(v->memo, w->loop, &w->memo, key, sizeof(key),
	    copy_new(chain));
	return (NULL);
}

/* Takes v, the verdict on chain, if it is known already.  True: done. */
static bool
advance(struct verify_wait *w, const struct verify_chain *chain,
    struct verdict *v)
{
	const struct status_ask *ask;

	if (v == NULL && (v = look(w, chain)) == NULL)
		return (false);
	if (lacks_issuer(w, v))
		return (get_issuer(w, chain, v));
	if ((ask = next_ask(w, v)) != NULL)
		return (get_status(w, chain, v, ask));
	/* Some are left that were not waited for. */
	conclude(w, v, v->asks_n > 0 && is_late(w) ? TOO_LONG : NULL);
	return (true);
}

bool
verify_start(struct verifier *v, struct loop *loop, const char *host,
    const struct verify_chain *chain, struct verify_wait *w)
{
	*w = (struct verify_wait){ .wake = w->wake,
		.due = w->due,
		.ends = w->due,
		.host = host,
		.verifier = v,
		.loop = loop };
	timer_init(&w->late, loop, on_late);
	w->done = !chain_bounded(chain, &w->fault);
	return (w->done || advance(w, chain, NULL));
}

void
verify_cancel(struct verify_wait *w)
{
	timer_stop(&w->late);
	memo_cancel(&w->memo);
	issuers_cancel(&w->issuer);
	statuses_cancel(&w->status);
	memo_value_unref(&w->refused);
	copy_free(&w->chain);
}

bool
verify_now(struct verifier *v, const char *host,
    const struct verify_chain *chain, struct fault *f)
{
	return (chain_bounded(chain, f) &&
	    finish(check_chain(&v->o, chain), host, f));
}
