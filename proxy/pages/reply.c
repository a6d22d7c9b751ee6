/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Responses that assay gives by itself, see reply.h. */
#include <time.h>
#include "proxy/pages/reply.h"

/* IMF-fixdate (RFC 9110 5.6.7), whatever the locale. */
static struct str
date_now(struct arena *a)
{
	static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu",
		"Fri", "Sat" };
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May",
		"Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t now = time(NULL);
	struct tm tm;

	(void)gmtime_r(&now, &tm);
	return (arena_printf(a, "%s, %02d %s %d %02d:%02d:%02d GMT",
	    days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900,
	    tm.tm_hour, tm.tm_min, tm.tm_sec));
}

struct http_msg *
reply_new(struct arena *a, unsigned status, struct str type)
{
	struct http_msg *m = http_msg_new(a, false);

	m->status = status;
	m->reason = str_of(http_reason(status));
	http_fields_add(a, &m->fields, FIELD_DATE, date_now(a));
	http_fields_add(a, &m->fields, FIELD_CONTENT_TYPE, type);
	http_fields_add(a, &m->fields, FIELD_CACHE_CONTROL, STR("no-store"));
	http_fields_add_named(a, &m->fields, STR("X-Content-Type-Options"),
	    STR("nosniff"));
	http_fields_add_named(a, &m->fields, STR("Content-Security-Policy"),
	    STR("default-src 'none'; style-src 'unsafe-inline'; "
		"base-uri 'none'; form-action 'none'"));
	return (m);
}

void
reply_finish(struct arena *a, struct http_msg *m, const struct http_msg *req,
    struct buf *body)
{
	m->length = body->n;
	m->length_is = LENGTH_KNOWN;
	if (req == NULL || req->method_id != METHOD_HEAD)
		return;
	http_fields_add(a, &m->fields, FIELD_CONTENT_LENGTH,
	    arena_printf(a, "%zu", body->n));
	m->length_is = LENGTH_NONE;
	m->length = 0;
	body->n = 0;
}
