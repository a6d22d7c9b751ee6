/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cache of leaves, see leaf.h: a memo whose keys are a byte (which leaf)
 * and the host.
 */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "base/list.h"
#include "certs/ca_priv.h"
#include "certs/name.h"

#define KEY_MAX 256
#define LEAF_BYTES_MAX 4096 /* of one, on average, as a bound of the table */

struct leaf_cache {
	struct ca *ca; /* counted */
	struct memo *memo;
	_Atomic unsigned long minted, failed;
};

void
leaf_unref(struct leaf **lp)
{
	struct memo_value *v = *lp == NULL ? NULL : &(*lp)->value;

	*lp = NULL;
	memo_value_unref(&v);
}

bool
leaf_host_ok(const char *host)
{
	unsigned char ip[16];

	return (name_dns_ok(host) || name_ip(host, ip) > 0);
}

/* The key of host in out; its length, 0 when there can be no leaf. */
static size_t
key_of(const char *host, unsigned which, char out[static KEY_MAX])
{
	size_t n = strlen(host);

	if (n + 1 > KEY_MAX || !leaf_host_ok(host))
		return (0);
	assert(which <= (LEAF_UNTRUSTED | LEAF_RSA));
	out[0] = (char)which;
	memcpy(out + 1, host, n);
	return (n + 1);
}

/* Making one. */

static void
failure_free(struct memo_value *v)
{
	free(CONTAINER_OF(v, struct leaf, value));
}

/* A failure travels to who waits as a leaf without chain, and is not kept. */
static struct leaf *
failure_new(const struct fault *f)
{
	struct leaf *l = calloc(1, sizeof(*l));

	assert(f->code != ERR_NONE);
	if (l == NULL)
		abort();
	atomic_init(&l->value.refs, 1);
	l->value.free = failure_free;
	l->fault = *f;
	return (l);
}

static struct leaf *
mint_once(struct leaf_cache *c, const char *host, unsigned which,
    struct fault *f)
{
	struct issuer *i = (which & LEAF_UNTRUSTED) != 0 ? mint_untrusted()
							 : ca_issuer(c->ca, f);
	struct leaf *l = NULL;

	if (i != NULL)
		l = mint_leaf(i, ca_keyholder(c->ca), host,
		    (which & LEAF_RSA) != 0, ca_leaf_days(c->ca), f);
	issuer_unref(&i);
	return (l);
}

struct leaf *
leaf_mint(struct leaf_cache *c, const char *host, unsigned which,
    struct fault *f)
{
	struct fault first = { ERR_NONE, "" };
	struct leaf *l;

	if (!leaf_host_ok(host)) {
		fault_set(f, ERR_MINT, "not a valid host name");
		return (NULL);
	}
	l = mint_once(c, host, which, &first);
	if (l == NULL) /* a key holder that died costs nobody his page */
		l = mint_once(c, host, which, f);
	atomic_fetch_add_explicit(l != NULL ? &c->minted : &c->failed, 1,
	    memory_order_relaxed);
	return (l);
}

/* On the loop, by a key holder that is idle and quick; NULL: not now. */
static struct leaf *
mint_now(struct leaf_cache *c, const char *host, unsigned which)
{
	struct issuer *i = (which & LEAF_UNTRUSTED) != 0 ? mint_untrusted()
							 : ca_issuer_now(c->ca);
	struct leaf *l = NULL;

	if (i != NULL)
		l = mint_leaf_now(i, ca_keyholder(c->ca), host,
		    (which & LEAF_RSA) != 0, ca_leaf_days(c->ca));
	issuer_unref(&i);
	if (l != NULL)
		atomic_fetch_add_explicit(&c->minted, 1, memory_order_relaxed);
	return (l);
}

static struct memo_value *
make(void *owner, const void *key, size_t n, void *arg)
{
	const char *k = key;
	struct fault f = { ERR_NONE, "" };
	char host[KEY_MAX];
	struct leaf *l;

	(void)arg;
	assert(n > 1 && n <= KEY_MAX);
	memcpy(host, k + 1, n - 1);
	host[n - 1] = '\0';
	l = leaf_mint(owner, host, (unsigned char)k[0], &f);
	assert(l != NULL ? l->n > 0 : f.code != ERR_NONE);
	return (l != NULL ? &l->value : &failure_new(&f)->value);
}

static void
fini(void *owner)
{
	struct leaf_cache *c = owner;

	ca_unref(&c->ca);
	free(c);
}

/* The cache. */

struct leaf_cache *
leaf_cache_new(struct ca *ca, unsigned max_entries, struct job_pool *signers)
{
	static const struct memo_type type = { make, NULL, fini };
	struct leaf_cache *c = calloc(1, sizeof(*c));

	if (c == NULL)
		abort();
	c->ca = ca_ref(ca);
	c->memo = memo_new(&type, c, signers, max_entries,
	    (size_t)max_entries * LEAF_BYTES_MAX);
	return (c);
}

void
leaf_cache_free(struct leaf_cache **cp)
{
	struct leaf_cache *c = *cp;
	struct memo *m;

	*cp = NULL;
	if (c == NULL)
		return;
	m = c->memo; /* the last reference frees c */
	assert(m != NULL && c->ca != NULL);
	memo_free(&m);
}

void
leaf_cache_stats(struct leaf_cache *c, struct leaf_stats *out)
{
	struct memo_stats m;

	memo_stats(c->memo, &m);
	*out = (struct leaf_stats){ m.hits, m.misses, m.joined, c->minted,
		c->failed, m.entries };
}

static struct leaf *
get(struct leaf_cache *c, const char *key, size_t n)
{
	struct memo_value *v = memo_get(c->memo, key, n);

	return (v == NULL ? NULL : CONTAINER_OF(v, struct leaf, value));
}

static void
on_ready(struct memo_wait *m, struct memo_value *v)
{
	struct leaf_wait *w = CONTAINER_OF(m, struct leaf_wait, memo);
	struct leaf *l = CONTAINER_OF(v, struct leaf, value);

	assert(!w->done && w->leaf == NULL);
	w->done = true;
	if (l->n > 0)
		w->leaf = l;
	else {
		w->fault = l->fault;
		leaf_unref(&l);
	}
	task_wake(w->wake);
}

bool
leaf_start(struct leaf_cache *c, struct loop *loop, const char *host,
    unsigned which, struct leaf_wait *w)
{
	char key[KEY_MAX];
	size_t n = key_of(host, which, key);

	*w = (struct leaf_wait){ .wake = w->wake, .memo.ready = on_ready };
	if (n == 0)
		fault_set(&w->fault, ERR_MINT, "not a valid host name");
	else if ((w->leaf = get(c, key, n)) == NULL) {
		w->leaf = mint_now(c, host, which);
		if (w->leaf == NULL) {
			memo_start(c->memo, loop, &w->memo, key, n, NULL);
			return (false);
		}
		memo_put(c->memo, key, n, &w->leaf->value);
	}
	assert((w->leaf != NULL) == (w->fault.code == ERR_NONE));
	w->done = true;
	return (true);
}

void
leaf_cancel(struct leaf_wait *w)
{
	memo_cancel(&w->memo);
	leaf_unref(&w->leaf);
}
