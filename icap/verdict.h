/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the fields of an ICAP answer say about the message.
 * Room: icap.  Obeys draft-stecher-icap-subid-00 and the usage of servers.
 */
#ifndef ICAP_VERDICT_H
#define ICAP_VERDICT_H

#include <stdbool.h>
#include "base/arena.h"
#include "http/msg.h"

enum icap_finding {
	ICAP_FOUND_NOTHING,
	ICAP_FOUND_REPAIRED, /* good only along with the repaired message */
	ICAP_FOUND_THREAT
};

/*
 * Do these fields name an infection or a violation?  Fields that stand in
 * known as well (of the message as it was; NULL: none) are not the service's.
 * *threat is its name, STR_NONE if it has none; borrowed from the fields.
 */
enum icap_finding icap_find_threat(const struct http_fields *,
    const struct http_fields *known, struct str *threat);
/* Is a trailer announced in which a threat may be named (RFC 9110 6.6.2)? */
bool icap_announces_threat(const struct http_fields *);
/* For the log: the status and the fields that matter, shortened. */
struct str icap_note(struct arena *, const struct http_msg *answer);

#endif
