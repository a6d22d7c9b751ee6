/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which messages sign a connection in (RFC 4559). */
#include "http/auth.h"
#include "t/unit/http_help.h"

#define NONE HTTP_SIGN_NONE
#define CONN HTTP_SIGN_CONNECTION
#define HALF HTTP_SIGN_HALF

static const struct {
	const char *fields;
	enum http_sign_in is;
} requests[] = {
	{ "", NONE },
	{ "Authorization: Basic TlRMTQ==\r\n", NONE },
	{ "Authorization: Bearer NTLM\r\n", NONE },
	{ "Authorization: Digest username=\"a, NTLM x\", realm=\"b\"\r\n",
	    NONE },
	{ "Authorization: NTLM TlRMTVNTUAABAAAA\r\n", CONN },
	{ "authorization: ntlm TlRMTVNTUAADAAAA\r\n", CONN },
	{ "Authorization: Negotiate YII=\r\n", CONN },
	{ "Authorization: Kerberos YII=\r\n", CONN },
	{ "Authorization: NTLMX YII=\r\n", NONE },
	/* ours, and taken out before it goes on */
	{ "Proxy-Authorization: NTLM YII=\r\n", NONE },
	{ "X: NTLM\r\n", NONE },
};

static const struct {
	unsigned status;
	const char *fields;
	enum http_sign_in is;
} responses[] = {
	{ 200, "", NONE },
	{ 401, "WWW-Authenticate: Basic realm=\"NTLM\"\r\n", NONE },
	{ 401, "WWW-Authenticate: Basic realm=\"a, NTLM, b\"\r\n", NONE },
	{ 401, "WWW-Authenticate: Digest realm=NTLM, nonce=Negotiate\r\n",
	    NONE },
	{ 401, "WWW-Authenticate: NTLM\r\n", CONN },
	{ 401, "WWW-Authenticate: nTlM\r\n", CONN },
	{ 401,
	    "WWW-Authenticate: Basic realm=\"a\"\r\n"
	    "WWW-Authenticate: Negotiate\r\n",
	    CONN },
	{ 401, "WWW-Authenticate: Basic realm=\"a\", NTLM\r\n", CONN },
	{ 401, "WWW-Authenticate: Negotiate, Basic realm=\"a\"\r\n", CONN },
	{ 401, "WWW-Authenticate: NTLM TlRMTVNTUAACAAAA\r\n", HALF },
	{ 401, "WWW-Authenticate: Negotiate oYH=\r\n", HALF },
	{ 401,
	    "WWW-Authenticate: Negotiate\r\n"
	    "WWW-Authenticate: NTLM TlRMTVNTUAACAAAA\r\n",
	    HALF },
	/* mutual authentication: the last leg came before it */
	{ 200, "WWW-Authenticate: Negotiate oYH=\r\n", CONN },
	{ 407, "Proxy-Authenticate: NTLM\r\n", CONN },
	{ 407, "Proxy-Authenticate: NTLM TlRMTVNTUAACAAAA\r\n", HALF },
	{ 200, "Persistent-Auth: true\r\n", CONN },
	{ 200, "Persistent-Auth: false\r\n", NONE },
	{ 200, "Authentication-Info: nextnonce=\"NTLM\"\r\n", NONE },
};

static void
of_requests(void)
{
	struct arena *a = arena_new();
	struct http_msg *m;
	unsigned i;

	for (i = 0; i < COUNT(requests); i++) {
		m = http_help_head(a, H1_REQUEST,
		    arena_printf(a, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n",
			requests[i].fields)
			.p);
		CHECK_ROW(i, requests[i].fields,
		    http_sign_in_of(m) == requests[i].is);
	}
	arena_free(&a);
}

static void
of_responses(void)
{
	struct arena *a = arena_new();
	struct http_msg *m;
	unsigned i;

	for (i = 0; i < COUNT(responses); i++) {
		m = http_help_head(a, H1_RESPONSE,
		    arena_printf(a, "HTTP/1.1 %u x\r\n%s\r\n",
			responses[i].status, responses[i].fields)
			.p);
		CHECK_ROW(i, responses[i].fields,
		    http_sign_in_of(m) == responses[i].is);
	}
	arena_free(&a);
}

UNIT_TESTS(http_auth, { "credentials", of_requests },
    { "challenges", of_responses })
