/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the formats of the access log share, see audit_priv.h. */
#include "proxy/audit/audit_priv.h"

void
audit_record_init(struct audit_record *r)
{
	*r = (struct audit_record){
		.ms = { -1, -1, -1, -1, -1, -1 },
	};
}

struct str
audit_private(struct str v, enum logging_keep keep)
{
	return (keep == LOGGING_DROP ? STR_NONE : v);
}

struct str
audit_cut(struct str s, size_t max)
{
	unsigned back;

	if (s.n <= max)
		return (s);
	s.n = max;
	for (back = 0;
	     back < 3 && s.n > 0 && ((unsigned char)s.p[s.n] & 0xC0) == 0x80;
	     back++)
		s.n--;
	return (s);
}

struct str
audit_mime(struct str mime)
{
	mime.n = str_index(mime, ';');
	return (str_trim(mime));
}

const char *
audit_action_name(enum audit_action a)
{
	static const char *const names[] = { [AUDIT_ALLOW] = "allow",
		[AUDIT_BLOCK] = "block",
		[AUDIT_SPLICE] = "splice",
		[AUDIT_ERROR] = "error" };

	return (names[a]);
}

const char *
audit_mode_name(enum audit_mode m)
{
	static const char *const names[] = { [AUDIT_PLAIN] = "plain",
		[AUDIT_CONNECT] = "connect",
		[AUDIT_INTERCEPTED] = "intercepted",
		[AUDIT_LED] = "transparent",
		[AUDIT_TUNNEL] = "tunnel",
		[AUDIT_INTERNAL] = "internal" };

	return (names[m]);
}
