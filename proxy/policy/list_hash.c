/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hashes of names and paths, see list_priv.h.  SipHash-1-3 with a key of this
 * process: nobody outside can look for two names of one hash.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <endian.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "proxy/policy/list_priv.h"

static uint64_t key[2];
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void
key_make(void)
{
	if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
		abort(); /* no secret, no service */
}

struct sip {
	uint64_t v[4];
};

static inline uint64_t
rotl(uint64_t x, unsigned n)
{
	return (x << n | x >> (64 - n));
}

static inline void
sip_round(struct sip *s)
{
	uint64_t *v = s->v;

	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

static inline void
sip_word(struct sip *s, uint64_t word)
{
	s->v[3] ^= word;
	sip_round(s);
	s->v[0] ^= word;
}

static struct sip
sip_begin(bool urls)
{
	uint64_t k0 = key[0], k1 = urls ? ~key[1] : key[1];

	return (
	    (struct sip){ { k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du,
		k0 ^ 0x6c7967656e657261u, k1 ^ 0x7465646279746573u } });
}

/* As if the octets ended here: at of them, the last ones in tail. */
static uint64_t
sip_end(struct sip s, size_t at, const unsigned char *tail)
{
	uint64_t last = (uint64_t)at << 56;
	unsigned i;

	for (i = 0; i < at % 8; i++)
		last |= (uint64_t)tail[i] << (8 * i);
	sip_word(&s, last);
	s.v[2] ^= 0xff;
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	return (s.v[0] ^ s.v[1] ^ s.v[2] ^ s.v[3]);
}

void
list_hash(const void *data, size_t n, const uint16_t *cuts, unsigned n_cuts,
    bool urls, uint64_t *out)
{
	const unsigned char *p = data;
	struct sip s;
	uint64_t word;
	size_t at = 0;
	unsigned i;

	(void)pthread_once(&key_once, key_make);
	s = sip_begin(urls);
	for (i = 0; i < n_cuts; i++) {
		assert(cuts[i] <= n && (i == 0 || cuts[i] > cuts[i - 1]));
		for (; at + 8 <= cuts[i]; at += 8) {
			memcpy(&word, p + at, 8);
			sip_word(&s, le64toh(word));
		}
		out[i] = sip_end(s, cuts[i], p + at);
	}
}

/* From the end, so that all suffixes share the work. */
static void
reverse(struct str s, char *out)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		out[i] = s.p[s.n - 1 - i];
}

uint64_t
list_hash_name(struct str name)
{
	char reversed[256];
	uint16_t cut = (uint16_t)name.n;
	uint64_t hash;

	assert(name.n > 0 && name.n < sizeof(reversed));
	reverse(name, reversed);
	list_hash(reversed, name.n, &cut, 1, false, &hash);
	return (hash);
}

uint64_t
list_hash_url(struct str url)
{
	uint16_t cut = (uint16_t)url.n;
	uint64_t hash;

	assert(url.n > 0 && url.n <= LIST_LINE);
	list_hash(url.p, url.n, &cut, 1, true, &hash);
	return (hash);
}

void
list_key(struct list_key *k, struct str host, bool is_ip)
{
	char reversed[256];
	uint16_t cut[LIST_LABELS];
	uint64_t hash[LIST_LABELS];
	unsigned n = 0;
	size_t i;

	k->n = 0;
	if (host.n == 0 || host.n >= sizeof(k->text))
		return;
	memcpy(k->text, host.p, host.n);
	k->text[host.n] = '\0';
	reverse(host, reversed);
	for (i = 1; i <= host.n && n < LIST_LABELS; i++)
		if (i == host.n || (!is_ip && reversed[i] == '.'))
			cut[n++] = (uint16_t)i;
	list_hash(reversed, host.n, cut, n, false, hash);
	for (i = 0; i < n; i++) {
		k->suffix[i].hash = hash[i];
		k->suffix[i].name = (struct str){ k->text + host.n - cut[i],
			cut[i] };
	}
	k->n = n;
}

/* --- URLs --- */

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return (c - '0');
	c = (char)(c | 0x20);
	return (c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1);
}

/* RFC 3986 2.3 */
static bool
is_unreserved(int c)
{
	return ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	    (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
	    c == '~');
}

/*
 * One octet of a path, in the form that RFC 3986 6.2.2 calls normal: n octets, out
 * of how many of the text.
 */
static size_t
plain_octet(struct str s, char out[3], size_t *n)
{
	static const char digits[] = "0123456789ABCDEF";
	int high, low;

	out[0] = s.p[0];
	*n = 1;
	if ((unsigned char)s.p[0] >= 0x80) { /* as browsers send it */
		out[0] = '%';
		out[1] = digits[(unsigned char)s.p[0] >> 4];
		out[2] = digits[s.p[0] & 15];
		*n = 3;
		return (1);
	}
	if (s.p[0] != '%' || s.n < 3)
		return (1);
	high = hex(s.p[1]);
	low = hex(s.p[2]);
	if (high < 0 || low < 0)
		return (1);
	if (is_unreserved(high * 16 + low))
		out[0] = (char)(high * 16 + low);
	else {
		out[1] = digits[high];
		out[2] = digits[low];
		*n = 3;
	}
	return (3);
}

/* "user@host:80" is "host". */
static struct str
host_of(struct str authority)
{
	size_t at = authority.n, end;

	while (at > 0 && authority.p[at - 1] != '@')
		at--;
	authority = (struct str){ authority.p + at, authority.n - at };
	if (authority.n > 0 && authority.p[0] == '[') {
		end = str_index(authority, ']');
		return (end == authority.n
			? STR_NONE
			: (struct str){ authority.p + 1, end - 1 });
	}
	authority.n = str_index(authority, ':');
	if (authority.n > 0 && authority.p[authority.n - 1] == '.')
		authority.n--;
	return (authority);
}

/* Its length; there is room for it, and for any address. */
static size_t
plain_host(struct str host, char *out)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr a;
	size_t i;

	if (host.n < sizeof(text) && str_index(host, ':') < host.n) {
		memcpy(text, host.p, host.n);
		text[host.n] = '\0';
		if (inet_pton(AF_INET6, text, &a) == 1 &&
		    inet_ntop(AF_INET6, &a, out, INET6_ADDRSTRLEN) != NULL)
			return (strlen(out));
	}
	for (i = 0; i < host.n; i++)
		out[i] = host.p[i] >= 'A' && host.p[i] <= 'Z'
		    ? (char)(host.p[i] | 0x20)
		    : host.p[i];
	return (host.n);
}

size_t
list_url_plain(struct str url, char *out, size_t room)
{
	struct str host, rest = url;
	size_t i, n = 0, end, one;

	for (i = 0; i + 3 <= url.n && url.p[i] != '/'; i++)
		if (memcmp(url.p + i, "://", 3) == 0) {
			rest = (struct str){ url.p + i + 3, url.n - i - 3 };
			break;
		}
	for (end = 0; end < rest.n && strchr("/?#", rest.p[end]) == NULL;)
		end++;
	host = host_of((struct str){ rest.p, end });
	rest = (struct str){ rest.p + end, rest.n - end };
	rest.n = str_index(rest, '#');
	if (host.n == 0 || host.n + INET6_ADDRSTRLEN > room)
		return (0);
	n = plain_host(host, out);
	if (rest.n == 0 || rest.p[0] != '/')
		out[n++] = '/';
	while (rest.n > 0 && n + 3 <= room) {
		end = plain_octet(rest, &out[n], &one);
		n += one;
		rest = (struct str){ rest.p + end, rest.n - end };
	}
	return (n);
}
