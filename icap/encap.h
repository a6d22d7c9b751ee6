/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Encapsulated field: which heads and which body follow an ICAP head.
 * Room: icap.  Units: bytes.  Obeys RFC 3507 4.4.1.
 */
#ifndef ICAP_ENCAP_H
#define ICAP_ENCAP_H

#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"

enum icap_part {
	ICAP_REQ_HDR,
	ICAP_RES_HDR,
	ICAP_REQ_BODY,
	ICAP_RES_BODY,
	ICAP_OPT_BODY,
	ICAP_NULL_BODY,
	ICAP_PARTS
};

#define ICAP_ENCAP_MAX (1u << 20) /* no offset is larger: heads are bounded */

/* {0} is an empty list: the field was absent. */
struct icap_encap {
	unsigned n; /* 0..3: at most two heads and the body */
	struct {
		enum icap_part part;
		uint32_t offset;
	} v[3];
};

/*
 * Parse a value.  resp_mode: what a head without a name is, where a list names
 * only a body behind it ("res-body=137").  False: not a legal list: an unknown
 * or repeated part, no body part at its end, offsets that do not rise from 0.
 */
bool icap_encap_parse(struct str value, bool resp_mode, struct icap_encap *);
/* The part that ends the list; ICAP_NULL_BODY if it is empty. */
enum icap_part icap_encap_body(const struct icap_encap *);

#endif
