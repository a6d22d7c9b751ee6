/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The head of a REQMOD or RESPMOD request with the HTTP heads it encapsulates.
 * Room: icap.  Obeys RFC 3507 4.3, 4.4, 4.8.1, 4.9.1.
 */
#ifndef ICAP_REQUEST_H
#define ICAP_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"
#include "icap/icap.h"

struct icap_request {
	const struct scan_message *msg;
	struct str prefix; /* request line and fields that never change */
	const struct icap_header *headers; /* those with variables are added */
	unsigned n_headers;
	unsigned shared; /* so many of the message's shared fields are added */
	enum icap_identity identity;
	bool wants_user, wants_username; /* by its OPTIONS */
	bool has_body;                   /* else null-body */
	bool allow_206;                  /* offered; 204 always is */
	int32_t preview;                 /* bytes announced; -1: no preview */
	uint64_t length;                 /* only so much of the body; 0: all */
};

/*
 * Write the ICAP head into icap and the encapsulated heads into http; both
 * are emptied first and are sent in this order.
 */
void icap_request_build(const struct icap_request *, struct buf *icap,
    struct buf *http);

#endif
