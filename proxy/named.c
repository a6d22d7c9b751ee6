/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files that a configuration names, see named.h. */
#include <string.h>
#include "proxy/gen.h"
#include "proxy/named.h"

struct naming {
	named_fn *fn;
	void *arg;
	unsigned n;
	bool token; /* one is in a token */
};

static void
name(struct naming *x, const char *path)
{
	if (path == NULL)
		return;
	if (strncmp(path, "pkcs11:", 7) == 0)
		x->token = true;
	else if (x->n < NAMED_MAX)
		x->fn(x->arg, x->n++, path);
}

static void
name_all(struct naming *x, const struct policy_strings *files)
{
	unsigned i;

	for (i = 0; i < files->n; i++)
		name(x, files->v[i]);
}

static bool
name_what_is(const struct conf *c, named_fn *fn, void *arg)
{
	struct naming x = { .fn = fn, .arg = arg };
	char cert[1024], key[1024];
	unsigned i;

	name(&x, gen_ca_files(c, cert, key) ? cert : c->ca.cert);
	name(&x, c->resolver.hosts);
	name_all(&x, &c->tls.origin.trust.files);
	name_all(&x, &c->tls.origin.crl);
	name_all(&x, &c->tls.origin.blocked_keys);
	name(&x, c->tls.origin.ct_logs);
	for (i = 0; i < c->lists.n; i++)
		name(&x, c->lists.v[i].used ? c->lists.v[i].file : NULL);
	for (i = 0; i < c->services.n; i++) {
		name_all(&x, &c->services.v[i].tls.trust.files);
		name(&x, c->services.v[i].tls.cert);
		name(&x, c->services.v[i].tls.key);
	}
	for (i = 0; i < c->upstreams.n; i++) {
		name(&x, c->upstreams.v[i].user);
		name_all(&x, &c->upstreams.v[i].tls.trust.files);
		name(&x, c->upstreams.v[i].tls.cert);
		name(&x, c->upstreams.v[i].tls.key);
	}
	return (x.token);
}

void
named_each(const struct conf *c, named_fn *fn, void *arg)
{
	(void)name_what_is(c, fn, arg);
}

static void
no_file(void *arg, unsigned index, const char *path)
{
	(void)arg;
	(void)index;
	(void)path;
}

bool
named_in_token(const struct conf *c)
{
	return (name_what_is(c, no_file, NULL));
}
