/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Access records in Squid's native format, as Squid 5.7 writes it:
 *
 *   end.ms elapsed client CODE/status bytes method URL user HIERARCHY/peer type
 *
 * One thing is done otherwise: a blank in a user's name is %20, where Squid
 * leaves it and breaks its own columns.
 */
#include <stdio.h>
#include "proxy/audit/audit_priv.h"
#include "base/text.h"

#define URL_MAX_BYTES 8192
#define USER_MAX_BYTES 256

/* A fault that was there before anybody thought of an origin. */
static bool
is_request_fault(const struct audit_record *r)
{
	return (r->url.n == 0 || (r->status >= 400 && r->status < 500) ||
	    r->status == 501 || r->status == 505);
}

/* What Squid calls what we did (its log tags). */
static const char *
code_of(const struct audit_record *r)
{
	switch (r->action) {
	case AUDIT_BLOCK:
		return (r->at_response ? "TCP_DENIED_REPLY" : "TCP_DENIED");
	case AUDIT_SPLICE:
		return ("TCP_TUNNEL");
	case AUDIT_ERROR:
		if (r->server_ip.n == 0 && r->parent.ip.n == 0 &&
		    is_request_fault(r))
			return ("NONE_NONE");
		break;
	case AUDIT_ALLOW:
		if (r->mode == AUDIT_CONNECT || r->mode == AUDIT_INTERNAL)
			return ("NONE_NONE");
		break;
	}
	return (r->mode == AUDIT_TUNNEL ? "TCP_TUNNEL" : "TCP_MISS");
}

/* Squid marks what the client did not wait for. */
static const char *
mark_of(const struct audit_record *r)
{
	return (r->fault != NULL && r->fault->code == ERR_CLIENT_GONE
		? "_ABORTED"
		: "");
}

static void
add_percent(struct buf *b, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	char out[3] = { '%', hex[c >> 4], hex[c & 15] };

	buf_add(b, out, sizeof(out));
}

/* Blanks and controls would break the line; all else stands as it came. */
static void
add_url(struct buf *b, struct str s)
{
	size_t i, from = 0;

	for (i = 0; i < s.n; i++) {
		if ((unsigned char)s.p[i] > ' ' && s.p[i] != 0x7F)
			continue;
		buf_add(b, s.p + from, i - from);
		add_percent(b, (unsigned char)s.p[i]);
		from = i + 1;
	}
	buf_add(b, s.p + from, s.n - from);
}

/* The quoting of Squid's %[un. */
static void
add_user(struct buf *b, struct str s)
{
	size_t i;
	unsigned char c;

	for (i = 0; i < s.n; i++) {
		c = (unsigned char)s.p[i];
		if (c == '\r' || c == '\n')
			buf_cstr(b, c == '\r' ? "\\r" : "\\n");
		else if (c <= ' ' || c >= 0x7F || c == '%' || c == '[' ||
		    c == ']')
			add_percent(b, c);
		else if (c == '\\')
			buf_cstr(b, "\\\\");
		else
			buf_add(b, &c, 1);
	}
}

/* Squid keeps the "?" when it strips the query. */
static void
put_url(struct buf *b, const struct audit_record *r,
    const struct logging_privacy *p)
{
	struct text_url u;

	if (r->url.n == 0) {
		buf_cstr(b,
		    r->method.n > 0 ? "error:invalid-request"
				    : "error:transaction-end-before-headers");
		return;
	}
	text_split_url(r->url, &u);
	add_url(b, u.scheme);
	add_url(b, audit_cut(u.rest, URL_MAX_BYTES));
	if (u.query.p == NULL)
		return;
	buf_add(b, "?", 1);
	add_url(b, audit_cut(audit_private(u.query, p->query), URL_MAX_BYTES));
}

static void
put_or_dash(struct buf *b, struct str s)
{
	add_url(b, s.n > 0 ? audit_cut(s, USER_MAX_BYTES) : STR("-"));
}

/* "1795457115.575      2 " */
static void
put_times(struct buf *b, const struct audit_record *r)
{
	uint64_t elapsed = r->ms.total > 0 ? (uint64_t)r->ms.total : 0;
	uint64_t end = r->started_ms + elapsed;

	buf_printf(b, "%9llu.%03u %6llu ", (unsigned long long)(end / 1000),
	    (unsigned)(end % 1000), (unsigned long long)elapsed);
}

void
audit_format_squid(struct buf *b, const struct audit_record *r,
    const struct logging_privacy *p)
{
	struct str user = audit_private(r->user, p->user);
	bool denied = r->action == AUDIT_BLOCK && !r->at_response;

	put_times(b, r);
	put_or_dash(b, audit_private(r->client_ip, p->client));
	buf_printf(b, " %s%s/%03u %llu ", code_of(r), mark_of(r), r->status,
	    (unsigned long long)r->response_bytes);
	put_or_dash(b, r->method);
	buf_add(b, " ", 1);
	put_url(b, r, p);
	buf_add(b, " ", 1);
	if (user.n > 0)
		add_user(b, audit_cut(user, USER_MAX_BYTES));
	else
		buf_add(b, "-", 1);
	if (r->parent.ip.n > 0 && !denied) {
		buf_cstr(b,
		    r->parent.by_turn ? " ROUNDROBIN_PARENT/"
				      : " FIRSTUP_PARENT/");
		add_url(b, r->parent.ip);
		buf_add(b, " ", 1);
	} else if (r->server_ip.n > 0 && !denied) {
		buf_cstr(b, " HIER_DIRECT/");
		add_url(b, r->server_ip);
		buf_add(b, " ", 1);
	} else
		buf_cstr(b, " HIER_NONE/- ");
	put_or_dash(b, audit_mime(r->mime));
	buf_add(b, "\n", 1);
}
