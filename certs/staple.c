/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stapled OCSP responses, see staple_priv.h. */
#include <assert.h>
#include <gnutls/ocsp.h>
#include <stdbool.h>
#include <stddef.h>
#include "certs/staple_priv.h"

#define MAX_ANSWERS 16       /* certificates in one response */
#define SKEW 300             /* s: clocks of responders */
#define MAX_AGE (15 * 86400) /* s: of a response that names no end */

/* The answer for cert, or -1. */
static int
answer_for(gnutls_ocsp_resp_t resp, gnutls_x509_crt_t cert)
{
	unsigned i;

	for (i = 0; i < MAX_ANSWERS; i++)
		if (gnutls_ocsp_resp_check_crt(resp, i, cert) >= 0)
			return ((int)i);
	return (-1);
}

static enum staple
judge(unsigned status, time_t from, time_t to, time_t now, time_t *until,
    const char **why)
{
	assert(*why == NULL);
	if (status == GNUTLS_OCSP_CERT_REVOKED)
		return (STAPLE_REVOKED);
	if (to == (time_t)-1)
		to = from + MAX_AGE;
	if (status != GNUTLS_OCSP_CERT_GOOD)
		*why = "the OCSP responder does not know the certificate";
	else if (from == (time_t)-1 || from > now + SKEW)
		*why = "its OCSP response is not valid yet";
	else if (to <= now)
		*why = "its OCSP response has expired";
	if (*why != NULL)
		return (STAPLE_NONE);
	if (to < *until)
		*until = to;
	return (STAPLE_GOOD);
}

static enum staple
check(gnutls_ocsp_resp_t resp, gnutls_x509_crt_t cert, gnutls_x509_crt_t issuer,
    time_t now, time_t *until, time_t *at, const char **why)
{
	unsigned status = 0, failed = 0;
	time_t from, to;
	int i;

	*why = NULL;
	if (gnutls_ocsp_resp_get_status(resp) != GNUTLS_OCSP_RESP_SUCCESSFUL)
		*why = "its OCSP response reports an error";
	else if ((i = answer_for(resp, cert)) < 0)
		*why = "its OCSP response is for another certificate";
	else if (gnutls_ocsp_resp_verify_direct(resp, issuer, &failed, 0) < 0 ||
	    failed != 0)
		*why = "its OCSP response is not signed by its issuer";
	else if (gnutls_ocsp_resp_get_single(resp, (unsigned)i, NULL, NULL,
		     NULL, NULL, &status, &from, &to, at, NULL) < 0)
		*why = "its OCSP response is unreadable";
	else
		return (judge(status, from, to, now, until, why));
	return (STAPLE_NONE);
}

enum staple
staple_check(const gnutls_datum_t *der, gnutls_x509_crt_t cert,
    gnutls_x509_crt_t issuer, time_t now, time_t *until, time_t *at,
    const char **why)
{
	enum staple s = STAPLE_NONE;
	gnutls_ocsp_resp_t resp;

	*why = "it came without one";
	if (der->size == 0 || gnutls_ocsp_resp_init(&resp) < 0)
		return (STAPLE_NONE);
	if (gnutls_ocsp_resp_import(resp, der) < 0)
		*why = "its OCSP response is unreadable";
	else
		s = check(resp, cert, issuer, now, until, at, why);
	assert((s == STAPLE_NONE) == (*why != NULL));
	gnutls_ocsp_resp_deinit(resp);
	return (s);
}
