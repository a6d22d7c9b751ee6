/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HELLO: the ClientHello is read, and what is to come of the tunnel decided. */
#include <assert.h>
#include <string.h>
#include "http/chars.h"
#include "proxy/audit/log.h"
#include "proxy/tunnel_priv.h"

#define HELLO_READ 4096
#define LINE_MAX_BYTES 8192
#define METHOD_MAX 32    /* of a request that is taken for HTTP */
#define HELLO_FREE 16384 /* of a ClientHello that are not counted */

/* The SNI against what was asked for. */
static void
apply_sni(struct tunnel *t)
{
	struct str sni = str_of(t->hello.sni);

	if (t->hello.sni_state != HELLO_SNI_NAME || str_eq(sni, t->uri.host))
		return;
	if (!t->uri.host_is_ip) {
		t->plan.tls = POLICY_INSPECT;
		fault_set(&t->fault, ERR_REQ_MISDIRECTED,
		    "CONNECT named %.*s, TLS names %s", STR_ARG(t->uri.host),
		    t->hello.sni);
		return;
	}
	t->uri.host = arena_str(t->arena, sni);
	t->uri.host_is_ip = t->uri.host_is_v6 = false;
	(void)tunnel_decide(t, tunnel_dest(t));
}

/*
 * To splice, or because a rule splices by the address and that comes late.
 * The rules are asked again when it is connected.
 */
static bool
dials_itself(const struct tunnel *t)
{
	return (t->fault.code == ERR_NONE &&
	    (t->plan.tls == POLICY_SPLICE ||
		(t->plan.dest_open & 1u << POLICY_BY_TLS) != 0));
}

enum begins { BEGINS_OTHER, BEGINS_SO_FAR, BEGINS_HTTP };

/*
 * Led here: with a whole request line?  Others say a word and a blank, too
 * (SSH, IRC).  What is longer than any is the parser's to refuse.
 */
static enum begins
line_is_http(const struct tunnel *t)
{
	static const char version[] = " HTTP/";
	size_t n = chq_len(&t->input), i, most = LINE_MAX_BYTES, end = 0;
	char line[LINE_MAX_BYTES], *at;

	if (n > most)
		n = most;
	chq_read(&t->input, 0, line, n);
	if ((at = memchr(line, '\n', n)) == NULL)
		return (n < most ? BEGINS_SO_FAR : BEGINS_HTTP);
	end = (size_t)(at - line);
	if (end > 0 && line[end - 1] == '\r')
		end--;
	i = sizeof(version) - 1 + 3; /* "1.1" */
	return (end > i && memcmp(line + end - i, version, i - 3) == 0
		? BEGINS_HTTP
		: BEGINS_OTHER);
}

/* Does it begin with a method and a blank? */
static enum begins
begins_as_http(const struct tunnel *t)
{
	const struct chq *q = &t->input;
	unsigned char begin[METHOD_MAX];
	size_t i, n = chq_len(q) < sizeof(begin) ? chq_len(q) : sizeof(begin);

	chq_read(q, 0, begin, n);
	for (i = 0; i < n && http_char_is((char)begin[i], CHAR_TOKEN); i++)
		;
	if (i == n)
		return (n < sizeof(begin) ? BEGINS_SO_FAR : BEGINS_OTHER);
	if (i == 0 || begin[i] != ' ')
		return (BEGINS_OTHER);
	return (t->led ? line_is_http(t) : BEGINS_HTTP);
}

/* Requests are read from now on; a blocked tunnel shows its page to each. */
static void
open_plain(struct tunnel *t)
{
	assert(t->leaf.leaf == NULL && t->splice == NULL);
	t->plain = true;
	t->uri.scheme = t->named.scheme = STR("http");
	tunnel_connect_ahead(t,
	    t->way.dial.done && t->way.dial.fd >= 0 ? &t->way : NULL);
	link_unread(t->client->transport, &t->input);
	tunnel_hello_fini(t);
	tunnel_go(t, TUNNEL_OPEN);
}

void
tunnel_not_tls(struct tunnel *t)
{
	if (begins_as_http(t) == BEGINS_HTTP) {
		open_plain(t);
		return;
	}
	if (t->fault.code != ERR_NONE) {
		tunnel_go(t, TUNNEL_ENDED);
		return;
	}
	log_line(LEVEL_WARNING, "tunnel",
	    "%s: %s wanted a tunnel to %.*s:%u but does not speak TLS; "
	    "refused (a rule with 'tls: splice' would let it through)",
	    t->record.reference, t->client->ip, STR_ARG(t->dial_host),
	    t->uri.port);
	tunnel_end(t, ERR_CLIENT_NOT_TLS, NULL);
}

static void
hello_done(struct tunnel *t)
{
	if (t->led)
		tunnel_led_tls(t);
	else
		apply_sni(t);
	if (!t->led || !tunnel_led_prove(t))
		tunnel_hello_decided(t);
}

void
tunnel_hello_decided(struct tunnel *t)
{
	if (dials_itself(t) && !tunnel_is_internal(t)) {
		assert(t->ahead == NULL);
		tunnel_dial(t);
		return;
	}
	if (t->ahead == NULL)
		tunnel_connect_ahead(t, NULL);
	tunnel_go(t, TUNNEL_MINT);
}

void
tunnel_hello_fini(struct tunnel *t)
{
	hello_fini(&t->hello);
	chunk_unref(&t->hello_tail);
	charge_set(&t->hello_charge, NULL, 0, 0);
}

/*
 * More of the ClientHello, which is kept: what comes byte by byte takes no
 * block for each, and what is large is its client's memory.
 */
static enum pull
read_hello(struct tunnel *t)
{
	struct client *c = t->client;
	unsigned had = t->input.count;
	enum pull p = link_read(c->transport, &t->input, HELLO_READ);

	if (had > 0 && t->input.count > had)
		chq_pack(&t->input, had, &t->hello_tail);
	charge_set(&t->hello_charge, c->account,
	    chq_len(&t->input) + t->hello.message.n, HELLO_FREE);
	return (p);
}

static bool
hello_too_dear(const struct tunnel *t)
{
	return (t->hello_charge.held > 0 &&
	    account_room(t->client->account, BUDGET_MEMORY) == 0);
}

/* It is not TLS; with more of it, is it HTTP? */
static bool
may_be_http(const struct tunnel *t)
{
	return (t->hello.step == HELLO_NOT_TLS &&
	    t->plan.tls != POLICY_SPLICE && begins_as_http(t) == BEGINS_SO_FAR);
}

void
tunnel_hello(struct tunnel *t)
{
	enum hello_step step;
	enum pull p;

	assert(!t->way.dial.done && t->ahead == NULL && t->splice == NULL);
	for (;;) {
		step = hello_parse(&t->hello, &t->input);
		if (step != HELLO_MORE && !may_be_http(t))
			break;
		p = read_hello(t);
		if (hello_too_dear(t)) {
			tunnel_end(t, ERR_MEMORY, NULL);
			return;
		}
		if (t->led && chq_len(&t->input) > 0)
			timer_stop(&t->first);
		else if (t->is_silent && p == PULL_WAIT)
			tunnel_led_other(t, ERR_SERVER_FIRST);
		if (p == PULL_WAIT)
			return;
		if (p != PULL_MORE) {
			tunnel_end(t, ERR_CLIENT_GONE, "before its TLS hello");
			return;
		}
	}
	if (step == HELLO_DONE)
		hello_done(t);
	else if (step != HELLO_NOT_TLS)
		tunnel_end(t, ERR_CLIENT_TLS, t->hello.reason);
	else if (t->led && begins_as_http(t) != BEGINS_HTTP)
		tunnel_led_other(t, ERR_PROTOCOL_UNKNOWN);
	else if (dials_itself(t))
		tunnel_dial(t);
	else
		tunnel_not_tls(t);
}
