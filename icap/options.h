/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a service says about itself: the answer to OPTIONS.
 * Nonsense values count as absent and leave a warning.
 * Room: icap.  Units: bytes, ms.  Obeys RFC 3507 4.10.2.
 */
#ifndef ICAP_OPTIONS_H
#define ICAP_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "http/msg.h"

#define ICAP_TTL_DEFAULT_MS (3600 * 1000u)
#define ICAP_TTL_MAX_MS (7 * 86400 * 1000u)

/* How a message is to be sent, by the extension of its path; safest first. */
enum icap_transfer { ICAP_COMPLETE, ICAP_PREVIEW, ICAP_IGNORE };

#define ICAP_TRANSFERS 3

struct icap_caps {
	bool reqmod, respmod; /* Methods; both when the field is absent */
	bool allow_204, allow_206;
	int32_t preview; /* clamped to ICAP_MAX_PREVIEW; -1: not wanted */
	unsigned max_connections; /* 0: no limit given */
	uint64_t ttl_ms;
	bool wants_user, wants_username; /* X-Include: which form of a user */
	struct str istag;                /* without quotes; STR_NONE */
	struct str service;
	struct {
		struct str *v;
		unsigned n;
		bool star;
	} transfer[ICAP_TRANSFERS];
	struct str warning; /* first thing that was ignored; STR_NONE */
};

/* From the fields of a 200 answer; everything is copied into a. */
void icap_options_parse(struct arena *a, const struct http_fields *,
    struct icap_caps *);
/*
 * How to send a message for path ("/dir/file.ext?query"): the extension of the
 * last segment, never of the query.  What is not listed and has no "*" goes
 * with a preview.
 */
enum icap_transfer icap_options_transfer(const struct icap_caps *,
    struct str path);
/* An ISTag without its quotes (both forms occur). */
struct str icap_istag(struct str value);

#endif
