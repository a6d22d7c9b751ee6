/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SOCKS5, see socks.h. */
#include <assert.h>
#include <netinet/in.h>
#include <string.h>
#include "net/address.h"
#include "net/socks.h"

#define VERSION 5
#define USER_VERSION 1 /* RFC 1929 2 */
#define METHOD_NONE 0
#define METHOD_USER 2
#define CONNECT 1
#define ADDRESS_V4 1
#define ADDRESS_NAME 3
#define ADDRESS_V6 4

static void
add_byte(struct buf *b, unsigned v)
{
	char c = (char)v;

	buf_add(b, &c, 1);
}

/* RFC 1929 2, RFC 1928 5: a length and so many octets. */
static void
add_text(struct buf *b, struct str s)
{
	assert(s.n >= 1 && s.n <= SOCKS_TEXT);
	add_byte(b, (unsigned)s.n);
	buf_str(b, s);
}

/* RFC 1928 3 */
void
socks_begin(struct socks *s, const struct socks_want *want, struct buf *out)
{
	memset(s, 0, sizeof(*s));
	s->want = *want;
	add_byte(out, VERSION);
	add_byte(out, want->user.n > 0 ? 2 : 1);
	add_byte(out, METHOD_NONE);
	if (want->user.n > 0)
		add_byte(out, METHOD_USER);
}

static void
add_user(const struct socks *s, struct buf *out)
{
	add_byte(out, USER_VERSION);
	add_text(out, s->want.user);
	add_text(out, s->want.password);
}

static void
add_address(const struct sockaddr *sa, struct buf *out)
{
	union address a;

	memcpy(&a, sa, address_size(sa));
	if (sa->sa_family == AF_INET) {
		add_byte(out, ADDRESS_V4);
		buf_add(out, &a.v4.sin_addr, 4);
	} else {
		add_byte(out, ADDRESS_V6);
		buf_add(out, &a.v6.sin6_addr, 16);
	}
}

/* RFC 1928 4 */
static void
add_request(const struct socks *s, struct buf *out)
{
	add_byte(out, VERSION);
	add_byte(out, CONNECT);
	add_byte(out, 0);
	if (s->want.address != NULL)
		add_address(s->want.address, out);
	else {
		add_byte(out, ADDRESS_NAME);
		add_text(out, s->want.host);
	}
	add_byte(out, s->want.port >> 8);
	add_byte(out, s->want.port & 255u);
}

/* How many octets the answer has, as far as it is known; it only grows. */
static unsigned
answer_size(const struct socks *s)
{
	if (s->at != SOCKS_AT_REPLY)
		return (2);
	if (s->n < 5)
		return (5);
	switch (s->in[3]) {
	case ADDRESS_V4:
		return (4 + 4 + 2);
	case ADDRESS_V6:
		return (4 + 16 + 2);
	case ADDRESS_NAME:
		return (4 + 1u + s->in[4] + 2);
	default:
		return (5); /* enough to refuse it */
	}
}

static enum socks_step
fail(struct fault *f, enum err code, const char *why)
{
	(void)fault_set(f, code, "%s", why);
	return (SOCKS_BAD);
}

static enum socks_step
take_method(struct socks *s, struct buf *out, struct fault *f)
{
	if (s->in[0] != VERSION)
		return (fail(f, ERR_PARENT_PROTOCOL, "no SOCKS5 server"));
	s->greeted = true;
	if (s->in[1] == METHOD_USER && s->want.user.n > 0) {
		add_user(s, out);
		s->at = SOCKS_AT_USER;
		return (SOCKS_MORE);
	}
	if (s->in[1] == 0xFF)
		return (fail(f, ERR_PARENT_AUTH,
		    s->want.user.n > 0 ? "no way to sign in that both know"
				       : "it wants a user and a password"));
	if (s->in[1] != METHOD_NONE)
		return (fail(f, ERR_PARENT_PROTOCOL,
		    "a method of signing in that was not offered"));
	add_request(s, out);
	s->at = SOCKS_AT_REPLY;
	return (SOCKS_MORE);
}

/* RFC 1929 2: any status but 0 is a refusal. */
static enum socks_step
take_user(struct socks *s, struct buf *out, struct fault *f)
{
	if (s->in[1] != 0)
		return (fail(f, ERR_PARENT_AUTH,
		    "it refuses the user or the password"));
	add_request(s, out);
	s->at = SOCKS_AT_REPLY;
	return (SOCKS_MORE);
}

/* RFC 1928 6 */
static const struct {
	enum err code;
	const char *why;
} replies[] = {
	{ ERR_NONE, "" },
	{ ERR_PARENT_STATUS, "reply 1 (general failure)" },
	{ ERR_PARENT_DENIED, "reply 2 (not allowed by its rules)" },
	{ ERR_CONNECT_FAIL, "reply 3 (network unreachable)" },
	{ ERR_CONNECT_FAIL, "reply 4 (host unreachable)" },
	{ ERR_CONNECT_REFUSED, "reply 5 (connection refused)" },
	{ ERR_CONNECT_TIMEOUT, "reply 6 (TTL expired)" },
	{ ERR_PARENT_STATUS, "reply 7 (command not supported)" },
	{ ERR_PARENT_STATUS, "reply 8 (address type not supported)" },
};

static enum socks_step
take_reply(struct socks *s, struct fault *f)
{
	unsigned char r = s->in[1];

	if (s->in[0] != VERSION)
		return (fail(f, ERR_PARENT_PROTOCOL, "no SOCKS5 answer"));
	s->reply = r;
	if (r >= sizeof(replies) / sizeof(replies[0]))
		return (fail(f, ERR_PARENT_STATUS, "an unknown reply"));
	if (r != 0)
		return (fail(f, replies[r].code, replies[r].why));
	if (s->in[3] != ADDRESS_V4 && s->in[3] != ADDRESS_V6 &&
	    s->in[3] != ADDRESS_NAME)
		return (fail(f, ERR_PARENT_PROTOCOL,
		    "an address of an unknown kind"));
	return (s->n < answer_size(s) ? SOCKS_MORE : SOCKS_OPEN);
}

/* As many octets of this answer as are known to be in it. */
static bool
take_octets(struct socks *s, struct chq *in)
{
	unsigned size = answer_size(s);
	size_t n = chq_len(in) < size - s->n ? chq_len(in) : size - s->n;

	assert(size <= sizeof(s->in) && s->n < size);
	chq_read(in, 0, s->in + s->n, n);
	chq_drop(in, n);
	s->n += (unsigned)n;
	return (s->n == size);
}

enum socks_step
socks_feed(struct socks *s, struct chq *in, struct buf *out, struct fault *f)
{
	enum socks_step step = SOCKS_MORE;

	while (step == SOCKS_MORE && chq_len(in) > 0) {
		if (!take_octets(s, in))
			return (SOCKS_MORE);
		switch (s->at) {
		case SOCKS_AT_METHOD:
			step = take_method(s, out, f);
			s->n = 0;
			break;
		case SOCKS_AT_USER:
			step = take_user(s, out, f);
			s->n = 0;
			break;
		case SOCKS_AT_REPLY:
			step = take_reply(s, f);
			break;
		case SOCKS_AT_END:
			assert(false);
		}
	}
	if (step != SOCKS_MORE)
		s->at = SOCKS_AT_END;
	return (step);
}

bool
socks_has_greeted(const struct socks *s)
{
	return (s->greeted);
}
