/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verdict cache and the name check, see verify.h.  A hit costs hashing
 * the chain (a microsecond) and comparing names.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/list.h"
#include "certs/check_priv.h"
#include "certs/name.h"

#define KEY_BYTES 32            /* SHA-256 */
#define CACHE_BYTES (16u << 20) /* names of certificates, mostly */
#define NAMES_SHOWN 3

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
struct copy {
	struct verify_chain chain;
	gnutls_datum_t certs[]; /* chain.n of them, then their bytes */
};

/* Names. */

static bool
ip_matches(struct str name, const unsigned char *ip, unsigned n)
{
	return (n > 0 && name.n == n && memcmp(name.p, ip, n) == 0);
}

/* The next name of v from *at; false: no more. */
static bool
name_next(const struct verdict *v, size_t *at, unsigned *kind, struct str *name)
{
	const unsigned char *p = (const unsigned char *)v->names.p + *at;

	if (*at == v->names.n)
		return (false);
	assert(*at + 3 <= v->names.n);
	*kind = p[0];
	*name = (struct str){ (const char *)p + 3, (size_t)p[1] << 8 | p[2] };
	*at += 3 + name->n;
	assert(*at <= v->names.n);
	assert(*kind == NAME_KIND_IP || *kind == NAME_KIND_DNS);
	return (true);
}

static void
name_print(struct buf *out, unsigned kind, struct str name)
{
	char ip[INET6_ADDRSTRLEN] = "";
	size_t i;

	if (kind == NAME_KIND_IP) {
		assert(name.n == 4 || name.n == 16);
		(void)inet_ntop(name.n == 4 ? AF_INET : AF_INET6, name.p, ip,
		    sizeof(ip));
		buf_cstr(out, ip);
		return;
	}
	for (i = 0; i < name.n && i < 50; i++)
		buf_add(out,
		    name.p[i] > ' ' && name.p[i] <= '~' ? &name.p[i] : "?", 1);
}

static bool
refuse_name(const struct verdict *v, struct fault *f)
{
	struct buf text = { NULL, 0, 0 };
	unsigned kind, shown = 0;
	struct str name;
	size_t at = 0;

	if (v->names_n == 0) {
		fault_set(f, ERR_ORIGIN_CERT,
		    "name does not match: "
		    "certificate has no subject alternative names (a common "
		    "name does not count)");
		return (false);
	}
	while (shown < NAMES_SHOWN && name_next(v, &at, &kind, &name)) {
		buf_cstr(&text, shown++ > 0 ? ", " : "");
		name_print(&text, kind, name);
	}
	if (v->names_n > shown)
		buf_printf(&text, " and %u more", v->names_n - shown);
	fault_set(f, ERR_ORIGIN_CERT,
	    "name does not match: certificate is "
	    "for %s",
	    text.p);
	buf_fini(&text);
	return (false);
}

bool
verdict_names(const struct verdict *v, const char *host, struct fault *f)
{
	unsigned char ip[16];
	unsigned kind, n = name_ip(host, ip);
	struct str name;
	size_t at = 0;

	if (n == 0 && !name_dns_ok(host)) {
		fault_set(f, ERR_ORIGIN_CERT, "host name is not valid");
		return (false);
	}
	while (name_next(v, &at, &kind, &name))
		if (kind == NAME_KIND_IP ? ip_matches(name, ip, n)
					 : n == 0 && name_matches(name, host))
			return (true);
	return (refuse_name(v, f));
}

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

static struct copy *
copy_new(const struct verify_chain *c)
{
	size_t bytes = c->staple.size + c->n * sizeof(gnutls_datum_t);
	struct copy *k;
	unsigned char *at;
	unsigned i;

	for (i = 0; i < c->n; i++)
		bytes += c->certs[i].size;
	k = malloc(sizeof(*k) + bytes);
	if (k == NULL)
		abort();
	at = (unsigned char *)&k->certs[c->n];
	for (i = 0; i < c->n; i++)
		at = copy_datum(&k->certs[i], &c->certs[i], at);
	at = copy_datum(&k->chain.staple, &c->staple, at);
	assert(at == (unsigned char *)k + sizeof(*k) + bytes);
	k->chain.certs = k->certs;
	k->chain.n = c->n;
	return (k);
}

static struct memo_value *
make(void *owner, const void *key, size_t n, void *arg)
{
	const struct verifier *v = owner;
	const struct copy *k = arg;

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
	free(v);
}

struct verifier *
verifier_new(const struct verify_options *o)
{
	static const struct memo_type type = { make, free, fini };
	struct verifier *v = calloc(1, sizeof(*v));

	if (v == NULL)
		abort();
	assert(o->trust != NULL);
	v->o = *o;
	(void)trust_ref(o->trust);
	if (o->own != NULL)
		(void)ca_ref(o->own);
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

static void
on_ready(struct memo_wait *m, struct memo_value *value)
{
	struct verify_wait *w = CONTAINER_OF(m, struct verify_wait, memo);

	assert(!w->done && w->host != NULL);
	w->ok = finish(CONTAINER_OF(value, struct verdict, value), w->host,
	    &w->fault);
	w->done = true;
	task_wake(w->wake);
}

bool
verify_start(struct verifier *v, struct loop *loop, const char *host,
    const struct verify_chain *chain, struct verify_wait *w)
{
	unsigned char key[KEY_BYTES];
	struct memo_value *value;

	*w = (struct verify_wait){ .wake = w->wake,
		.host = host,
		.memo.ready = on_ready };
	w->done = !chain_bounded(chain, &w->fault);
	if (w->done)
		return (true);
	key_of(chain, key);
	value = memo_get(v->memo, key, sizeof(key));
	if (value == NULL && is_short(chain)) {
		value = &check_chain(&v->o, chain)->value;
		memo_put(v->memo, key, sizeof(key), value);
	}
	if (value == NULL) {
		memo_start(v->memo, loop, &w->memo, key, sizeof(key),
		    copy_new(chain));
		return (false);
	}
	w->ok = finish(CONTAINER_OF(value, struct verdict, value), host,
	    &w->fault);
	w->done = true;
	return (true);
}

void
verify_cancel(struct verify_wait *w)
{
	memo_cancel(&w->memo);
}

bool
verify_now(struct verifier *v, const char *host,
    const struct verify_chain *chain, struct fault *f)
{
	return (chain_bounded(chain, f) &&
	    finish(check_chain(&v->o, chain), host, f));
}
