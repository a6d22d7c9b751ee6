/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Heads that came back from a service: HTTP from a sender that makes
 * mistakes.  They are checked and framed anew before anybody uses them.
 * Room: icap.  Obeys RFC 3507 4.4.2, 4.8.2, 4.9.2; RFC 9112 6.3.
 */
#ifndef ICAP_ADAPT_H
#define ICAP_ADAPT_H

#include <stdbool.h>
#include <stdint.h>
#include "http/msg.h"
#include "scanners/scanner.h"

/*
 * Make m, the adapted request for msg->req, fit to go on: target, Host,
 * hop-by-hop fields, framing.  length: of its body, HTTP_LENGTH_UNKNOWN if
 * that is open; has_body false: none.  ERR_NONE, or ERR_SCAN_MESSAGE with the cause in f.
 */
enum err icap_adapt_request(const struct scan_message *msg, struct http_msg *m,
    bool has_body, uint64_t length, struct fault *f);
/* The same for a response: the adapted one, or the answer to a request (SCAN_REQ). */
enum err icap_adapt_response(const struct scan_message *msg, struct http_msg *m,
    bool has_body, uint64_t length, struct fault *f);
/* A response to HEAD, 1xx, 204, 304 has no body whatever the service says. */
bool icap_never_has_body(const struct scan_message *msg,
    const struct http_msg *resp);

#endif
