/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the formats of the access log share, see audit_priv.h. */
#include <errno.h>
#include <nettle/base16.h>
#include <nettle/hmac.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "proxy/audit/audit_priv.h"

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static uint8_t hash_key[32];

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

struct str
audit_private(struct str v, enum logging_keep keep, char hex[AUDIT_HASH_HEX])
{
	uint8_t mac[AUDIT_HASH_HEX / 2];
	struct hmac_sha256_ctx ctx;

	if (v.n == 0 || keep == LOGGING_DROP)
		return (STR_NONE);
	if (keep == LOGGING_KEEP)
		return (v);
	(void)pthread_once(&key_once, make_key);
	hmac_sha256_set_key(&ctx, sizeof(hash_key), hash_key);
	hmac_sha256_update(&ctx, v.n, (const uint8_t *)v.p);
	hmac_sha256_digest(&ctx, sizeof(mac), mac);
	base16_encode_update(hex, sizeof(mac), mac);
	return ((struct str){ hex, AUDIT_HASH_HEX });
}

struct str
audit_cut(struct str s, size_t max)
{
	unsigned back;

	if (s.n <= max)
		return (s);
	s.n = max;
	for (back = 0;
	     back < 3 && s.n > 0 && ((unsigned char)s.p[s.n] & 0xC0) == 0x80;
	     back++)
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
		[AUDIT_BLOCK] = "block",
		[AUDIT_SPLICE] = "splice",
		[AUDIT_ERROR] = "error" };

	return (names[a]);
}

const char *
audit_mode_name(enum audit_mode m)
{
	static const char *const names[] = { [AUDIT_PLAIN] = "plain",
		[AUDIT_CONNECT] = "connect",
		[AUDIT_INTERCEPTED] = "intercepted",
		[AUDIT_TUNNEL] = "tunnel",
		[AUDIT_INTERNAL] = "internal" };

	return (names[m]);
}
