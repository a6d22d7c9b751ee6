/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Priorities of both legs, see priority.h. */
#include "config.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "tls/priority.h"

#define WISH_MAX 2000
#define WORD_MAX 40 /* of a wish, in a message */
#define NOTHING_LEFT "leaves nothing above the minimum and with forward secrecy"

/* X25519 first saves browsers a retry. */
#define AEAD ":-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305"
#define ECDHE ":-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA"
#define GROUPS ":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1"
#define NO_SHA1 ":-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1"
#define NEW "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
#define CBC ":+AES-128-CBC:+AES-256-CBC:-MAC-ALL:+AEAD:+SHA1"

/* Appended to any wish: what is written last wins. */
#define FLOOR                                                                \
	":-VERS-SSL3.0:-VERS-TLS1.0:-VERS-TLS1.1:-VERS-DTLS-ALL"             \
	":-RSA:-PSK:-RSA-PSK:-DHE-PSK:-ECDHE-PSK:-SRP:-SRP-RSA:-SRP-DSS"     \
	":-ANON-DH:-ANON-ECDH:-DHE-DSS:-NULL:-ARCFOUR-128:-3DES-CBC" NO_SHA1 \
	":-SIGN-DSA-SHA1:-SIGN-RSA-MD5"

static const struct {
	const char *name; /* of the setting */
	const char *built_in;
	const char *wished; /* behind what is wished for */
} legs[] = {
	[TLS_TO_CLIENT] = { "tls.client.priority",
	    NEW AEAD ECDHE GROUPS NO_SHA1 ":%SERVER_PRECEDENCE",
	    FLOOR ":%SERVER_PRECEDENCE" },
	[TLS_TO_SERVER] = { "tls.origin.priority",
	    NEW AEAD CBC ECDHE GROUPS NO_SHA1
	    ":%PROFILE_MEDIUM:%SAFE_RENEGOTIATION",
	    FLOOR ":%SAFE_RENEGOTIATION" },
	[TLS_TO_OLD_SERVER] = { "tls.origin.exceptions",
	    NEW ":+VERS-TLS1.1:+VERS-TLS1.0" AEAD CBC ":+SHA256:+SHA384" ECDHE
		":+DHE-RSA:+RSA" GROUPS ":+GROUP-SECP521R1:+GROUP-FFDHE2048"
		":+SIGN-RSA-SHA1:+SIGN-ECDSA-SHA1:%PROFILE_MEDIUM"
		":%VERIFY_ALLOW_SIGN_WITH_SHA1",
	    "" },
};

static bool
refuse(struct fault *f, enum tls_leg leg, const char *why)
{
	fault_set(f, ERR_CONFIG, "%s: %s", legs[leg].name, why);
	return (false);
}

bool
tls_priority_has(gnutls_priority_t p, gnutls_protocol_t version)
{
	const unsigned *v;
	int i, n = gnutls_priority_protocol_list(p, &v);

	for (i = 0; i < n; i++)
		if (v[i] == version)
			return (true);
	return (false);
}

/* The floor once more, by what GnuTLS made of it. */
static bool
is_above_floor(gnutls_priority_t p, bool min_13)
{
	const unsigned *v;
	int i, n = gnutls_priority_protocol_list(p, &v);

	for (i = 0; i < n; i++)
		if (v[i] != GNUTLS_TLS1_3 && (min_13 || v[i] != GNUTLS_TLS1_2))
			return (false);
	n = gnutls_priority_kx_list(p, &v);
	for (i = 0; i < n; i++)
		if (v[i] != GNUTLS_KX_ECDHE_RSA &&
		    v[i] != GNUTLS_KX_ECDHE_ECDSA && v[i] != GNUTLS_KX_DHE_RSA)
			return (false);
	n = gnutls_priority_cipher_list(p, &v);
	for (i = 0; i < n; i++)
		if (v[i] == GNUTLS_CIPHER_NULL ||
		    v[i] == GNUTLS_CIPHER_ARCFOUR_128 ||
		    v[i] == GNUTLS_CIPHER_3DES_CBC)
			return (false);
	return (true);
}

/* Nothing is left that a handshake needs. */
static bool
is_empty(gnutls_priority_t p)
{
	const unsigned *v;

	return (!(tls_priority_has(p, GNUTLS_TLS1_3) ||
		    (tls_priority_has(p, GNUTLS_TLS1_2) &&
			gnutls_priority_kx_list(p, &v) > 0)) ||
	    gnutls_priority_cipher_list(p, &v) <= 0 ||
	    gnutls_priority_group_list(p, &v) <= 0);
}

static bool
init(gnutls_priority_t *out, enum tls_leg leg, const char *text, bool min_13,
    struct fault *f)
{
	const char *at = text;
	char why[160];
	size_t n;
	int r = gnutls_priority_init(out, text, &at);

	if (r == GNUTLS_E_NO_PRIORITIES_WERE_SET) {
		*out = NULL;
		return (refuse(f, leg, NOTHING_LEFT));
	}
	if (r < 0) {
		*out = NULL;
		n = strcspn(at, ":");
		snprintf(why, sizeof(why), "GnuTLS does not know '%.*s'; %s",
		    (int)(n < WORD_MAX ? n : WORD_MAX), at,
		    at[0] == '@' ? "its configuration has no such policy"
				 : "\"gnutls-cli --list\" shows what there is");
		return (refuse(f, leg, why));
	}
	if (leg == TLS_TO_OLD_SERVER ||
	    (is_above_floor(*out, min_13) && !is_empty(*out)))
		return (true);
	snprintf(why, sizeof(why),
	    is_empty(*out) ? NOTHING_LEFT
			   : "allows what is below the minimum or without "
			     "forward secrecy");
	gnutls_priority_deinit(*out);
	*out = NULL;
	return (refuse(f, leg, why));
}

static bool
init_built_in(gnutls_priority_t *out, enum tls_leg leg, bool min_13,
    struct fault *f)
{
	char text[WISH_MAX];
	int n = snprintf(text, sizeof(text), "%s%s", legs[leg].built_in,
	    min_13 && leg != TLS_TO_OLD_SERVER ? ":-VERS-TLS1.2" : "");

	assert(n > 0 && (size_t)n < sizeof(text));
	return (init(out, leg, text, min_13, f));
}

static bool
init_wish(gnutls_priority_t *out, enum tls_leg leg, const char *wish,
    bool min_13, struct fault *f)
{
	char text[WISH_MAX];
	int n = snprintf(text, sizeof(text), "%s%s%s%s", wish, legs[leg].wished,
	    min_13 ? ":-VERS-TLS1.2" : "",
	    strstr(wish, "%PROFILE_") == NULL && wish[0] != '@'
		? ":%PROFILE_MEDIUM"
		: "");

	if (n < 0 || (size_t)n >= sizeof(text))
		return (refuse(f, leg, "too long"));
	return (init(out, leg, text, min_13, f));
}

/* The distribution's policy, where it has one. */
static bool
init_system(gnutls_priority_t *out, enum tls_leg leg, bool min_13,
    struct fault *f)
{
	struct fault none = { 0 };

	if (init_wish(out, leg, "@SYSTEM", min_13, &none))
		return (true);
	return (init_built_in(out, leg, min_13, f));
}

bool
tls_priority_new(gnutls_priority_t *out, enum tls_leg leg, const char *wish,
    bool min_13, struct fault *f)
{
	if (leg == TLS_TO_OLD_SERVER)
		return (init_built_in(out, leg, min_13, f));
	if (wish == NULL || strcmp(wish, "default") == 0)
		return (TLS_SYSTEM_PRIORITY
			? init_system(out, leg, min_13, f)
			: init_built_in(out, leg, min_13, f));
	return (init_wish(out, leg, wish, min_13, f));
}

bool
tls_priority_check(enum tls_leg leg, const char *wish, bool min_13,
    struct fault *f)
{
	gnutls_priority_t p = NULL;

	if (!tls_priority_new(&p, leg, wish, min_13, f))
		return (false);
	assert(p != NULL);
	gnutls_priority_deinit(p);
	return (true);
}
