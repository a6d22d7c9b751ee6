/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hosts, authorities and request targets: what a request is for.
 * One spelling comes out of every accepted one, so that policy, pooling and
 * certificate checks compare plain strings.
 * Room: http.  Any thread.  Obeys RFC 3986 3.2, RFC 9112 3.2.
 */
#ifndef HTTP_URI_H
#define HTTP_URI_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/fault.h"
#include "base/str.h"
#include "http/msg.h"

/*
 * A uri-host alone: a name of letters, digits, "-", "_" in labels of 1..63
 * and 253 octets in all, an IPv4 address of four decimal octets, or [IPv6].
 * Fills host (lower case, one trailing dot removed, IPv6 without brackets in
 * the form of RFC 5952), host_is_v6, host_is_ip; nothing else is touched.
 * False for whatever a resolver might take for another address (0x7f.1,
 * 017.0.0.1, 2130706433, 1.2.3, zone ids, "%"), empty labels, userinfo.
 */
bool http_host_parse(struct arena *, struct str text, struct http_uri *out);

/*
 * uri-host [":" port].  Fills host..port_given; scheme and path are left
 * alone.  default_port 0: a port must be given (CONNECT).  Ports are
 * 1..65535, at most five digits; "host:" counts as no port.
 */
bool http_authority_parse(struct arena *, struct str text,
    uint16_t default_port, struct http_uri *out);

/* 80 for "http", 443 for "https", 0 for others. */
uint16_t http_default_port(struct str scheme);

/* Same host and port (scheme and path do not count). */
bool http_same_authority(const struct http_uri *, const struct http_uri *);

/*
 * Fill req->uri from target and Host, and rewrite the Host field from it
 * (RFC 9112 3.2.2).  The head must come from h1_head.h (or obey its rules).
 *
 * Octets above 0x7F in the target are percent-encoded first, in req->target
 * too.
 *
 * tunnel NULL, the plain port: absolute-form with scheme http or https,
 * authority-form for CONNECT (uri: host and port; scheme and path empty), and
 * origin-form or "*" only where allow_origin says that the listener serves
 * pages of its own (uri from Host, scheme http).
 *
 * tunnel set (scheme, host and port of the intercepted connection):
 * origin-form, "*" for OPTIONS, or absolute-form; another scheme, host or port
 * in target or Host is ERR_REQ_MISDIRECTED (RFC 9110 7.4), CONNECT is
 * ERR_REQ_METHOD.
 *
 * Else ERR_NONE, ERR_REQ_TARGET or ERR_REQ_HOST, cause in *f (may be NULL).
 * Host is needed once for HTTP/1.1, at most once for HTTP/1.0.
 */
enum err http_target_parse(struct http_msg *req, const struct http_uri *tunnel,
    bool allow_origin, struct fault *f);

/*
 * The same on a connection that was led here on its way to an address: to has
 * the scheme and that address with its port.  Origin-form, "*" for OPTIONS, or
 * absolute-form that says what Host says, else ERR_REQ_HOST.  Host may be any
 * name; it has the port of the connection or none, which is the same.  Without
 * Host (HTTP/1.0) the authority is the address.
 */
enum err http_target_parse_led(struct http_msg *req, const struct http_uri *to,
    struct fault *f);

/*
 * A Host value: "host", with ":port" if it was given or is not the scheme's;
 * IPv6 in brackets.
 */
void http_host_print(struct buf *, const struct http_uri *);
/* "host:port" always: for CONNECT, logs, keys. */
void http_authority_print(struct buf *, const struct http_uri *);
/*
 * "scheme://host[:port]/path": the port where it is not the scheme's own, path
 * "*" as nothing, and the path up to "?" unless query.
 */
void http_uri_print(struct buf *, const struct http_uri *, bool query);

#endif
