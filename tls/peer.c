/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS towards configured servers, see peer.h. */
#include <arpa/inet.h>
#include <assert.h>
#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>
#include "base/handed.h"
#include "tls/peer.h"
#include "tls/priority.h"

struct tls_peer {
	gnutls_certificate_credentials_t cred;
	gnutls_priority_t priority;
	const char *name; /* borrowed; NULL: the host asked for */
};

/* Not below 0: how many certificates. */
static int
add_trust(struct tls_peer *t, const char *file)
{
	gnutls_datum_t pem;
	size_t size;
	int r;

	if ((pem.data = handed_read(file, &size)) == NULL)
		return (GNUTLS_E_FILE_ERROR);
	pem.size = (unsigned)size;
	r = gnutls_certificate_set_x509_trust_mem(t->cred, &pem,
	    GNUTLS_X509_FMT_PEM);
	free(pem.data);
	return (r == 0 ? GNUTLS_E_NO_CERTIFICATE_FOUND : r);
}

static int
set_own(struct tls_peer *t, const struct tls_peer_options *o)
{
	gnutls_datum_t cert = { NULL, 0 }, key = { NULL, 0 };
	size_t cert_n = 0, key_n = 0;
	int r = GNUTLS_E_FILE_ERROR;

	if (strncmp(o->key, "pkcs11:", 7) == 0)
		return (gnutls_certificate_set_x509_key_file(t->cred, o->cert,
		    o->key, GNUTLS_X509_FMT_PEM));
	cert.data = handed_read(o->cert, &cert_n);
	key.data = handed_read(o->key, &key_n);
	cert.size = (unsigned)cert_n;
	key.size = (unsigned)key_n;
	if (cert.data != NULL && key.data != NULL)
		r = gnutls_certificate_set_x509_key_mem(t->cred, &cert, &key,
		    GNUTLS_X509_FMT_PEM);
	if (key.data != NULL)
		explicit_bzero(key.data, key_n);
	free(key.data);
	free(cert.data);
	return (r);
}

static int
load_trust(struct tls_peer *t, const struct tls_peer_options *o,
    const char **what)
{
	unsigned i;
	int r = 0;

	*what = "system trust";
	if (o->system)
		r = gnutls_certificate_set_x509_system_trust(t->cred);
	for (i = 0; r >= 0 && i < o->n_files; i++) {
		*what = o->files[i];
		r = add_trust(t, *what);
	}
	if (r >= 0 && o->cert != NULL) {
		*what = o->cert;
		r = set_own(t, o);
	}
	return (r);
}

struct tls_peer *
tls_peer_new(const struct tls_peer_options *o, struct fault *f)
{
	struct tls_peer *t = calloc(1, sizeof(*t));
	const char *what = "GnuTLS";
	int r;

	if (t == NULL)
		abort();
	if (!tls_priority_new(&t->priority, TLS_TO_SERVER, NULL, false, f)) {
		free(t);
		return (NULL);
	}
	r = gnutls_certificate_allocate_credentials(&t->cred);
	if (r >= 0)
		r = load_trust(t, o, &what);
	if (r < 0) {
		fault_set(f, ERR_CONFIG, "%s: %s", what, gnutls_strerror(r));
		tls_peer_free(&t);
	} else if (o->name != NULL)
		t->name = o->name;
	return (t);
}

void
tls_peer_free(struct tls_peer **tp)
{
	struct tls_peer *t = *tp;

	*tp = NULL;
	if (t == NULL)
		return;
	if (t->cred != NULL)
		gnutls_certificate_free_credentials(t->cred);
	if (t->priority != NULL)
		gnutls_priority_deinit(t->priority);
	free(t);
}

static bool
is_address(const char *host)
{
	unsigned char b[16];

	return (inet_pton(AF_INET, host, b) == 1 ||
	    inet_pton(AF_INET6, host, b) == 1);
}

gnutls_session_t
tls_peer_session(void *arg, const char *host, struct fault *f)
{
	struct tls_peer *t = arg;
	const char *name = t->name != NULL ? t->name : host;
	gnutls_session_t s;

	assert(name != NULL && t->cred != NULL && t->priority != NULL);
	if (gnutls_init(&s,
		GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0) {
		fault_set(f, ERR_SCAN_DOWN, "no TLS session");
		return (NULL);
	}
	if (gnutls_priority_set(s, t->priority) < 0 ||
	    gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, t->cred) < 0 ||
	    (!is_address(name) &&
		gnutls_server_name_set(s, GNUTLS_NAME_DNS, name, strlen(name)) <
		    0)) {
		fault_set(f, ERR_SCAN_DOWN, "TLS session refused");
		gnutls_deinit(s);
		return (NULL);
	}
	/* The name lives as long as the configuration does. */
	gnutls_session_set_verify_cert(s, name, 0);
	return (s);
}
