/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SHA-256, see digest.h: GnuTLS has the one that uses the CPU's own. */
#include <gnutls/crypto.h>
#include <stdint.h>
#include <stdlib.h>
#include "scanners/digest.h"

struct digest {
	gnutls_hash_hd_t hash;
};

struct digest *
digest_new(void)
{
	struct digest *d = malloc(sizeof(*d));

	if (d == NULL || gnutls_hash_init(&d->hash, GNUTLS_DIG_SHA256) < 0)
		abort();
	return (d);
}

void
digest_add(struct digest *d, const void *p, size_t n)
{
	if (n > 0 && gnutls_hash(d->hash, p, n) < 0)
		abort();
}

void
digest_str(struct digest *d, struct str s)
{
	uint64_t n = s.n;

	digest_add(d, &n, sizeof(n));
	digest_add(d, s.p, s.n);
}

void
digest_end(struct digest **dp, unsigned char out[DIGEST_BYTES])
{
	struct digest *d = *dp;

	*dp = NULL;
	gnutls_hash_deinit(d->hash, out);
	free(d);
}

void
digest_free(struct digest **dp)
{
	unsigned char unused[DIGEST_BYTES];

	if (*dp != NULL)
		digest_end(dp, unused);
}
