/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * http://assay.internal/ : what assay serves by itself, through the proxy or
 * on the listener directly.
 *
 *   /            what this is, the CA certificate, how to trust it
 *   /ca.pem      the CA certificate, PEM
 *   /ca.crt      the same, DER
 *   /proxy.pac   proxy auto-configuration
 *   /test/eicar  the EICAR test file, to be blocked
 *   /test/clean  a harmless file, to pass
 *   /problem/x   what the type x of problem+json means
 *
 * Room: proxy.  Any thread.
 */
#ifndef PROXY_INTERNAL_H
#define PROXY_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/str.h"
#include "http/msg.h"

/* Borrowed for the call; STR_NONE: not known, not shown. */
struct internal_facts {
	struct str host;      /* pages.host; STR_NONE: assay.internal */
	struct str ca_pem;    /* the certificate, and nothing else */
	struct str ca_name;   /* its subject's common name */
	struct str ca_sha256; /* "AB:CD:…" */
	struct str ca_sha1;   /* shown by some systems; may be STR_NONE */
	int64_t ca_not_after; /* seconds since 1970; 0: not known */
	struct str proxy;     /* "host:port" that clients use */
	struct str version;   /* of assay */
	struct str org, help; /* as in page.h */
	struct str reference; /* of the flow */
	bool direct; /* sent to the listener itself: any host will do */
};

/*
 * Is this request for the internal host?  (Of a CONNECT to it, which is to be
 * opened first, it is true as well; internal_answer() would say 405.)
 */
bool internal_is_for(const struct http_msg *req, const struct internal_facts *);

/*
 * Answer it.  False: the request is not for us (facts->direct false, other
 * host); nothing was done.  True: *resp and body as page_make() gives them,
 * also 404 and 405.  *scan: the body is to go through the download chain
 * like an origin's, and only then to the client.
 */
bool internal_answer(struct arena *, const struct http_msg *req,
    const struct internal_facts *, struct http_msg **resp, struct buf *body,
    bool *scan);

#endif
