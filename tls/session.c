/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sessions, see session.h. */
#include <assert.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "certs/leaf.h"
#include "certs/rsa.h"
#include "certs/verify.h"
#include "tls/priority.h"
#include "tls/resume.h"
#include "tls/session.h"

#define TICKET_KEY_BYTES 64 /* what GnuTLS wants, HMAC-SHA-512 gives */
#define RESUME_LIFE_S 3600  /* after the verification that it spares */

struct tls_context {
	gnutls_priority_t server, client, old;
	gnutls_certificate_credentials_t server_cred, client_cred;
	char epoch[385];
};

static pthread_mutex_t secret_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned char secret[TLS_TICKET_SECRET];
static bool secret_is_there;

void
tls_ticket_secret(const unsigned char from[static TLS_TICKET_SECRET])
{
	(void)pthread_mutex_lock(&secret_lock);
	memcpy(secret, from, sizeof(secret));
	secret_is_there = true;
	(void)pthread_mutex_unlock(&secret_lock);
}

/* Of this process alone, if nobody has given it one. */
static void
secret_copy(unsigned char to[static TLS_TICKET_SECRET])
{
	(void)pthread_mutex_lock(&secret_lock);
	if (!secret_is_there &&
	    gnutls_rnd(GNUTLS_RND_KEY, secret, sizeof(secret)) < 0)
		abort();
	secret_is_there = true;
	memcpy(to, secret, sizeof(secret));
	(void)pthread_mutex_unlock(&secret_lock);
}

/* Certificate selection: the leaf was minted before the handshake began. */
static int
retrieve(gnutls_session_t s, const struct gnutls_cert_retr_st *info,
    gnutls_pcert_st **certs, unsigned *certs_n, gnutls_ocsp_data_st **ocsp,
    unsigned *ocsp_n, gnutls_privkey_t *key, unsigned *flags)
{
	struct leaf *leaf = gnutls_session_get_ptr(s);

	(void)info;
	assert(leaf != NULL && leaf->n > 0 && leaf->n <= LEAF_MAX_CHAIN);
	*certs = leaf->chain;
	*certs_n = leaf->n;
	*ocsp = NULL;
	*ocsp_n = 0;
	*key = leaf->key;
	*flags = 0; /* GnuTLS frees nothing of it */
	return (0);
}

static int
context_fill(struct tls_context *c, const struct tls_options *o)
{
	int r;

	if ((r = gnutls_certificate_allocate_credentials(&c->server_cred)) <
		0 ||
	    (r = gnutls_certificate_allocate_credentials(&c->client_cred)) < 0)
		return (r);
	gnutls_certificate_set_retrieve_function3(c->server_cred, retrieve);
	if (o->cert != NULL)
		r = gnutls_certificate_set_x509_key_file(c->client_cred,
		    o->cert, o->key, GNUTLS_X509_FMT_PEM);
	return (r);
}

static bool
context_priorities(struct tls_context *c, const struct tls_options *o,
    struct fault *f)
{
	return (tls_priority_new(&c->server, TLS_TO_CLIENT, o->client_priority,
		    o->client_min_13, f) &&
	    tls_priority_new(&c->client, TLS_TO_SERVER, o->origin_priority,
		o->origin_min_13, f) &&
	    tls_priority_new(&c->old, TLS_TO_OLD_SERVER, NULL, false, f));
}

struct tls_context *
tls_context_new(const struct tls_options *o, struct fault *f)
{
	struct tls_context *c = calloc(1, sizeof(*c));
	int r;

	if (c == NULL)
		abort();
	snprintf(c->epoch, sizeof(c->epoch), "%s", o->epoch);
	if (!context_priorities(c, o, f))
		tls_context_free(&c);
	else if ((r = context_fill(c, o)) < 0) {
		fault_set(f, ERR_CONFIG, "GnuTLS: %s%s%s", gnutls_strerror(r),
		    o->cert != NULL ? ": " : "",
		    o->cert != NULL ? o->cert : "");
		tls_context_free(&c);
	}
	return (c);
}

void
tls_context_free(struct tls_context **cp)
{
	struct tls_context *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	if (c->server != NULL)
		gnutls_priority_deinit(c->server);
	if (c->client != NULL)
		gnutls_priority_deinit(c->client);
	if (c->old != NULL)
		gnutls_priority_deinit(c->old);
	if (c->server_cred != NULL)
		gnutls_certificate_free_credentials(c->server_cred);
	if (c->client_cred != NULL)
		gnutls_certificate_free_credentials(c->client_cred);
	free(c);
}

/* Our clients. */

static void
ticket_key(const struct tls_context *c, const char *name,
    unsigned char key[TICKET_KEY_BYTES])
{
	unsigned char own[TLS_TICKET_SECRET];
	char text[768];
	int n = snprintf(text, sizeof(text), "%s\n%s", c->epoch, name);

	assert(n > 0 && (size_t)n < sizeof(text)); /* names are short */
	secret_copy(own);
	if (gnutls_hmac_fast(GNUTLS_MAC_SHA512, own, sizeof(own), text,
		(size_t)n, key) < 0)
		abort();
	gnutls_memset(own, 0, sizeof(own));
}

/* What is preferred comes first. */
static const struct {
	enum tls_protocol protocol;
	gnutls_datum_t name;
} alpn[] = { { TLS_H2, { (unsigned char *)(uintptr_t) "h2", 2 } },
	{ TLS_HTTP1, { (unsigned char *)(uintptr_t) "http/1.1", 8 } } };

#define ALPN_NAMES (sizeof(alpn) / sizeof(alpn[0]))

/* False: out of memory. */
static bool
alpn_offer(gnutls_session_t s, unsigned protocols)
{
	gnutls_datum_t names[ALPN_NAMES];
	unsigned i, n = 0;

	assert((protocols & ~(unsigned)(TLS_H2 | TLS_HTTP1)) == 0);
	for (i = 0; i < ALPN_NAMES; i++)
		if ((protocols & alpn[i].protocol) != 0)
			names[n++] = alpn[i].name;
	return (n == 0 || gnutls_alpn_set_protocols(s, names, n, 0) >= 0);
}

/* 0: a name that is none of ours. */
static enum tls_protocol
alpn_of(const gnutls_datum_t *name)
{
	unsigned i;

	for (i = 0; i < ALPN_NAMES; i++)
		if (name->size == alpn[i].name.size &&
		    memcmp(name->data, alpn[i].name.data, name->size) == 0)
			return (alpn[i].protocol);
	return (0);
}

enum tls_protocol
tls_agreed(gnutls_session_t s)
{
	gnutls_datum_t name;

	return (gnutls_alpn_get_selected_protocol(s, &name) == 0
		? alpn_of(&name)
		: 0);
}

gnutls_session_t
tls_server_new(struct tls_context *c, struct leaf *leaf, const char *name,
    unsigned protocols)
{
	unsigned char key[TICKET_KEY_BYTES];
	gnutls_datum_t ticket = { key, sizeof(key) };
	gnutls_session_t s;

	if (gnutls_init(&s,
		GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
		    GNUTLS_NO_AUTO_SEND_TICKET) < 0)
		return (NULL);
	ticket_key(c, name, key);
	gnutls_session_set_ptr(s, leaf);
	if (gnutls_priority_set(s, c->server) < 0 ||
	    gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, c->server_cred) <
		0 ||
	    gnutls_session_ticket_enable_server(s, &ticket) < 0 ||
	    !alpn_offer(s, protocols)) {
		gnutls_deinit(s);
		s = NULL;
	} else
		gnutls_certificate_server_set_request(s, GNUTLS_CERT_IGNORE);
	gnutls_memset(key, 0, sizeof(key));
	return (s);
}

bool
tls_server_speaks_13(const struct tls_context *c)
{
	return (tls_priority_has(c->server, GNUTLS_TLS1_3));
}

void
tls_server_ticket(gnutls_session_t s)
{
	if (gnutls_protocol_get_version(s) == GNUTLS_TLS1_3)
		(void)gnutls_session_ticket_send(s, 1, 0);
}

/* Servers. */

static void
resume_keep(const struct tls_client *c, gnutls_session_t s)
{
	gnutls_datum_t data;

	assert(c->resume != NULL && c->verified);
	if (gnutls_session_get_data2(s, &data) >= 0)
		tls_resume_keep(c->resume, c->host, c->port, &data, c->until);
}

/* A server's message was taken in. */
static int
on_message(gnutls_session_t s, unsigned type, unsigned when, unsigned incoming,
    const gnutls_datum_t *msg)
{
	struct tls_client *c = gnutls_session_get_ptr(s);

	(void)when;
	assert(c != NULL);
	if (!incoming)
		return (0);
	/* Before a signature by one of its keys is looked at. */
	if (type == GNUTLS_HANDSHAKE_CERTIFICATE_PKT &&
	    !rsa_exponents_ok(msg->data, msg->size))
		return (GNUTLS_E_PK_INVALID_PUBKEY);
	if (type == GNUTLS_HANDSHAKE_NEW_SESSION_TICKET && c->resume != NULL &&
	    c->verified)
		resume_keep(c, s);
	return (0);
}

gnutls_session_t
tls_client_new(struct tls_context *ctx, struct tls_client *c, bool host_is_ip)
{
	gnutls_datum_t ticket;
	gnutls_session_t s;

	if (gnutls_init(&s,
		GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
		    GNUTLS_KEY_SHARE_TOP) < 0)
		return (NULL);
	gnutls_session_set_ptr(s, c);
	if (gnutls_priority_set(s, c->legacy ? ctx->old : ctx->client) < 0 ||
	    gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE,
		ctx->client_cred) < 0 ||
	    !alpn_offer(s, c->protocols) ||
	    (!host_is_ip &&
		gnutls_server_name_set(s, GNUTLS_NAME_DNS, c->host,
		    strlen(c->host)) < 0)) { /* RFC 6066 3 */
		gnutls_deinit(s);
		return (NULL);
	}
	gnutls_handshake_set_hook_function(s, GNUTLS_HANDSHAKE_ANY,
	    GNUTLS_HOOK_POST, on_message);
	if (c->resume != NULL &&
	    tls_resume_take(c->resume, c->host, c->port, (uint64_t)time(NULL),
		&ticket, &c->until)) {
		(void)gnutls_session_set_data(s, ticket.data, ticket.size);
		gnutls_free(ticket.data);
	}
	return (s);
}

void
tls_client_verified(struct tls_client *c, gnutls_session_t s, time_t until)
{
	bool resumed = gnutls_session_is_resumed(s);
	time_t most = time(NULL) + RESUME_LIFE_S;

	c->verified = true;
	/* What a resumed session brings is as old as its verification. */
	if (!resumed)
		c->until = (uint64_t)(until < most ? until : most);
	assert(c->until > 0);
	/* TLS 1.2 gives its ticket inside the handshake; it may be used again (RFC 5077 3.3). */
	if (c->resume != NULL &&
	    gnutls_protocol_get_version(s) == GNUTLS_TLS1_2)
		resume_keep(c, s);
}

/* RFC 8446 4.1.3: the last 8 octets of the random of a downgraded server. */
static bool
has_sentinel(gnutls_session_t s)
{
	gnutls_datum_t client, server;

	gnutls_session_get_random(s, &client, &server);
	return (server.size == 32 &&
	    memcmp(server.data + 24, "DOWNGRD", 7) == 0 &&
	    server.data[31] <= 1);
}

bool
tls_client_acceptable(gnutls_session_t s, struct fault *f)
{
	const struct tls_client *c = gnutls_session_get_ptr(s);
	gnutls_datum_t name;

	if (gnutls_protocol_get_version(s) != GNUTLS_TLS1_3 &&
	    has_sentinel(s)) {
		fault_set(f, ERR_ORIGIN_TLS, "downgrade detected");
		return (false);
	}
	if (gnutls_alpn_get_selected_protocol(s, &name) == 0 &&
	    (alpn_of(&name) & c->protocols) == 0) {
		fault_set(f, ERR_ORIGIN_TLS, "protocol chosen was not offered");
		return (false);
	}
	return (true);
}

bool
tls_client_chain(gnutls_session_t s, struct verify_chain *chain)
{
	memset(chain, 0, sizeof(*chain));
	if (gnutls_session_is_resumed(s))
		return (false);
	chain->certs = gnutls_certificate_get_peers(s, &chain->n);
	if (gnutls_ocsp_status_request_get(s, &chain->staple) < 0)
		chain->staple.size = 0;
	return (true);
}

struct str
tls_version_text(gnutls_session_t s)
{
	if (s == NULL)
		return (STR_NONE);
	switch ((int)gnutls_protocol_get_version(s)) {
	case GNUTLS_TLS1_3:
		return (STR("1.3"));
	case GNUTLS_TLS1_2:
		return (STR("1.2"));
	case GNUTLS_TLS1_1:
		return (STR("1.1"));
	default:
		return (STR("1.0"));
	}
}

struct str
tls_cipher_text(gnutls_session_t s)
{
	return (s == NULL
		? STR_NONE
		: str_of(gnutls_cipher_get_name(gnutls_cipher_get(s))));
}

struct str
tls_protocol_text(gnutls_session_t s)
{
	enum tls_protocol agreed = s != NULL ? tls_agreed(s) : 0;
	unsigned i;

	for (i = 0; i < ALPN_NAMES; i++)
		if (alpn[i].protocol == agreed)
			return ((struct str){ (const char *)alpn[i].name.data,
			    alpn[i].name.size });
	return (STR_NONE);
}
