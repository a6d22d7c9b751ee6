/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Blocked keys, see blocked.h: a sorted table. */
#include <assert.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>
#include "base/handed.h"
#include "base/str.h"
#include "certs/blocked.h"

#define BASE64_DIGITS 44 /* of 32 octets, with one "=" */

struct blocked {
	unsigned char (*keys)[BLOCKED_BYTES]; /* owned; sorted when searched */
	size_t n, room;
};

struct blocked *
blocked_new(void)
{
	struct blocked *b = calloc(1, sizeof(*b));

	if (b == NULL)
		abort();
	return (b);
}

void
blocked_free(struct blocked **bp)
{
	struct blocked *b = *bp;

	*bp = NULL;
	if (b == NULL)
		return;
	free(b->keys);
	free(b);
}

static int
compare(const void *a, const void *b)
{
	return (memcmp(a, b, BLOCKED_BYTES));
}

static void
keep(struct blocked *b, const unsigned char key[static BLOCKED_BYTES])
{
	if (b->n == b->room) {
		b->room = b->room > 0 ? 2 * b->room : 64;
		b->keys = realloc(b->keys, b->room * sizeof(*b->keys));
		if (b->keys == NULL)
			abort();
	}
	memcpy(b->keys[b->n++], key, BLOCKED_BYTES);
}

/* By GnuTLS, which takes digits and nothing else. */
static bool
decode(struct str text, unsigned char key[static BLOCKED_BYTES])
{
	const gnutls_datum_t in = { (unsigned char *)(uintptr_t)text.p,
		(unsigned)text.n };
	gnutls_datum_t out = { NULL, 0 };
	bool ok = text.n == 2 * BLOCKED_BYTES
	    ? gnutls_hex_decode2(&in, &out) >= 0
	    : text.n == BASE64_DIGITS && gnutls_base64_decode2(&in, &out) >= 0;

	ok = ok && out.size == BLOCKED_BYTES;
	if (ok)
		memcpy(key, out.data, BLOCKED_BYTES);
	gnutls_free(out.data);
	return (ok);
}

/* False: it is neither a key nor empty. */
static bool
add_line(struct blocked *b, struct str line)
{
	unsigned char key[BLOCKED_BYTES];

	line.n = str_index(line, '#');
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	line = str_trim(line);
	line.n = str_index(line, ' ');
	line.n = str_index(line, '\t');
	if (str_starts(line, STR("sha256/"))) {
		line.p += sizeof("sha256/") - 1;
		line.n -= sizeof("sha256/") - 1;
	} else if (line.n == 0)
		return (true);
	if (!decode(line, key))
		return (false);
	keep(b, key);
	return (true);
}

static bool
add_lines(struct blocked *b, struct str text, const char *file, struct fault *f)
{
	struct str line;
	unsigned n;

	for (n = 1; text.n > 0; n++) {
		line = (struct str){ text.p, str_index(text, '\n') };
		text.p += line.n;
		text.n -= line.n;
		if (text.n > 0) {
			text.p++;
			text.n--;
		}
		if (!add_line(b, line)) {
			fault_set(f, ERR_CONFIG,
			    "%s:%u: not the SHA-256 of a key, in hexadecimal "
			    "digits or base64",
			    file, n);
			return (false);
		}
	}
	return (true);
}

bool
blocked_load(struct blocked *b, const char *file, struct fault *f)
{
	unsigned char *p;
	size_t n;
	bool ok;

	if ((p = handed_read(file, &n)) == NULL) {
		fault_set(f, ERR_CONFIG, "%s: %s", file, strerror(errno));
		return (false);
	}
	ok = add_lines(b, (struct str){ (const char *)p, n }, file, f);
	free(p);
	if (b->n > 0)
		qsort(b->keys, b->n, sizeof(*b->keys), compare);
	return (ok);
}

bool
blocked_has(const struct blocked *b, gnutls_x509_crt_t crt)
{
	unsigned char key[BLOCKED_BYTES];
	size_t n = sizeof(key);

	if (b->n == 0)
		return (false);
	/* Who cannot be told apart is not let through. */
	if (gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, key, &n) <
	    0)
		return (true);
	assert(n == sizeof(key));
	return (bsearch(key, b->keys, b->n, sizeof(*b->keys), compare) != NULL);
}
