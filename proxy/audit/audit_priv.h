/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the formats of the access log share.  Room: proxy.  Any thread. */
#ifndef PROXY_AUDIT_PRIV_H
#define PROXY_AUDIT_PRIV_H

#include <stdint.h>
#include "base/str.h"
#include "proxy/audit/audit.h"

/* v as privacy lets it be written: v or STR_NONE. */
struct str audit_private(struct str v, enum logging_keep);
/* At most max bytes of s, cut between characters if it is UTF-8. */
struct str audit_cut(struct str s, size_t max);
/* A media type without its parameters. */
struct str audit_mime(struct str mime);
/* "allow", "plain" ... */
const char *audit_action_name(enum audit_action);
const char *audit_mode_name(enum audit_mode);

#endif
