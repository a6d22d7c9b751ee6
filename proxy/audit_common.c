/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the formats of the access log share, see audit_priv.h. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "proxy/audit_priv.h"

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static uint64_t hash_key[2];

void
audit_record_init(struct audit_record *r)
{
	*r = (struct audit_record){
		.ms = { -1, -1, -1, -1, -1, -1 },
	};
}

/* A key that nobody has after us: hashes link records of one run only. */
static void
make_key(void)
{
	while (getrandom(hash_key, sizeof(hash_key), 0) !=
	    (ssize_t)sizeof(hash_key))
		if (errno != EINTR)
			abort();
}

static inline uint64_t
rotl(uint64_t x, unsigned n)
{
	return (x << n | x >> (64 - n));
}

static void
sip_rounds(uint64_t v[4], unsigned n)
{
	while (n-- > 0) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotl(v[1], 13) ^ v[0];
		v[3] = rotl(v[3], 16) ^ v[2];
		v[0] = rotl(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = rotl(v[1], 17) ^ v[2];
		v[3] = rotl(v[3], 21) ^ v[0];
		v[2] = rotl(v[2], 32);
	}
}

/* Up to eight bytes as a little-endian number. */
static uint64_t
word_of(const unsigned char *p, size_t n)
{
	uint64_t w = 0;

	while (n-- > 0)
		w = w << 8 | p[n];
	return (w);
}

uint64_t
audit_siphash(const uint64_t key[2], const void *p, size_t n)
{
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575u,
		key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
		key[1] ^ 0x7465646279746573u };
	const unsigned char *in = p;
	uint64_t w;
	size_t left;

	for (left = n; left >= 8; left -= 8, in += 8) {
		w = word_of(in, 8);
		v[3] ^= w;
		sip_rounds(v, 2);
		v[0] ^= w;
	}
	w = word_of(in, left) | (uint64_t)n << 56;
	v[3] ^= w;
	sip_rounds(v, 2);
	v[0] ^= w;
	v[2] ^= 0xff;
	sip_rounds(v, 4);
	return (v[0] ^ v[1] ^ v[2] ^ v[3]);
}

struct str
audit_private(struct str v, enum audit_keep keep, char hex[AUDIT_HASH_HEX])
{
	static const char digits[] = "0123456789abcdef";
	uint64_t h;
	unsigned i;

	if (v.n == 0 || keep == AUDIT_KEEP_DROP)
		return (STR_NONE);
	if (keep == AUDIT_KEEP_ALL)
		return (v);
	(void)pthread_once(&key_once, make_key);
	h = audit_siphash(hash_key, v.p, v.n);
	for (i = 0; i < AUDIT_HASH_HEX; i++, h >>= 4)
		hex[i] = digits[h & 15];
	return ((struct str){ hex, AUDIT_HASH_HEX });
}

struct str
audit_cut(struct str s, size_t max)
{
	unsigned back;

	if (s.n <= max)
		return (s);
	s.n = max;
	for (back = 0; back < 3 && s.n > 0 &&
	    ((unsigned char)s.p[s.n] & 0xC0) == 0x80; back++)
		s.n--;
	return (s);
}

struct str
audit_mime(struct str mime)
{
	mime.n = str_index(mime, ';');
	return (str_trim(mime));
}

const char *
audit_action_name(enum audit_action a)
{
	static const char *const names[] = { [AUDIT_ALLOW] = "allow",
		[AUDIT_BLOCK] = "block", [AUDIT_SPLICE] = "splice",
		[AUDIT_ERROR] = "error" };

	return (names[a]);
}

const char *
audit_mode_name(enum audit_mode m)
{
	static const char *const names[] = { [AUDIT_PLAIN] = "plain",
		[AUDIT_CONNECT] = "connect",
		[AUDIT_INTERCEPTED] = "intercepted",
		[AUDIT_TUNNEL] = "tunnel", [AUDIT_INTERNAL] = "internal" };

	return (names[m]);
}
