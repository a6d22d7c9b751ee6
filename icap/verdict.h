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

/*
 * Does the answer name an infection or violation that was not repaired?
 * *threat is its name, STR_NONE if it has none; borrowed from the fields.
 */
bool icap_names_threat(const struct http_fields *, struct str *threat);
/* For the log: the status and the fields that matter, shortened. */
struct str icap_note(struct arena *, const struct http_msg *answer);

#endif
