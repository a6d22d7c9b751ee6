/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Times of the week, see match.h: minutes since Monday 00:00 by the clock on the
 * wall, so that summer time needs no thought.
 * Room: proxy.  Any thread.
 */
#include <stdio.h>
#include <string.h>
#include "base/arena.h"
#include "proxy/policy/match.h"

#define DAY 1440u
#define WEEK (7 * DAY)

static const char days[7][4] = { "Mon", "Tue", "Wed", "Thu", "Fri", "Sat",
	"Sun" };

/* "Mon": 0 and so on; -1: none. */
static int
day_of(struct str s)
{
	int i;

	for (i = 0; i < 7; i++)
		if (str_ieq(s, str_of(days[i])))
			return (i);
	return (-1);
}

/* "Mon-Fri,Sun" as bits; "Fri-Mon" goes over the week's end. */
static bool
days_of(struct str s, unsigned *bits)
{
	size_t end, dash;
	struct str one;
	int from, to;

	for (*bits = 0; s.n > 0;) {
		end = str_index(s, ',');
		one = (struct str){ s.p, end };
		dash = str_index(one, '-');
		from = day_of((struct str){ one.p, dash });
		to = dash == one.n ? from
				   : day_of((struct str){ one.p + dash + 1,
					 one.n - dash - 1 });
		if (from < 0 || to < 0)
			return (false);
		for (;; from = (from + 1) % 7) {
			*bits |= 1u << from;
			if (from == to)
				break;
		}
		if (end + 1 == s.n)
			return (false);
		end += end < s.n;
		s = (struct str){ s.p + end, s.n - end };
	}
	return (*bits != 0);
}

/* "08:00" as minutes; "24:00" is the end of a day. */
static bool
minute_of(struct str s, unsigned *out)
{
	uint64_t hour, minute;
	size_t colon = str_index(s, ':');

	if (colon == 0 || colon > 2 || s.n != colon + 3 ||
	    !str_to_u64((struct str){ s.p, colon }, 24, &hour) ||
	    !str_to_u64((struct str){ s.p + colon + 1, 2 }, 59, &minute) ||
	    (hour == 24 && minute != 0))
		return (false);
	*out = (unsigned)(hour * 60 + minute);
	return (true);
}

static void
add(struct policy_spans *out, unsigned from, unsigned to)
{
	out->v[out->n++] = (struct policy_span){ from, to };
}

/* Of each day; what ends before it begins goes on after midnight. */
static void
add_days(struct policy_spans *out, unsigned bits, unsigned from, unsigned to)
{
	unsigned day, begin, end;

	for (day = 0; day < 7; day++) {
		if ((bits & 1u << day) == 0)
			continue;
		begin = day * DAY + from;
		end = day * DAY + to + (to <= from ? DAY : 0) - 1;
		if (end < WEEK)
			add(out, begin, end);
		else {
			add(out, begin, WEEK - 1);
			add(out, 0, end - WEEK);
		}
	}
}

bool
policy_times_add(struct policy_spans *out, struct arena *a, const char *text,
    char why[POLICY_WHY])
{
	struct str s = str_trim(str_of(text)), rest = { s.p, 0 };
	struct policy_spans more = { 0 };
	unsigned bits = 0x7f, from = 0, to = DAY;
	size_t dash, space = str_index(s, ' ');

	if (s.n > 0 && s.p[0] >= '0' && s.p[0] <= '9')
		rest = s;
	else if (days_of((struct str){ s.p, space }, &bits))
		rest = str_trim((struct str){ s.p + space, s.n - space });
	else
		bits = 0;
	dash = str_index(rest, '-');
	if (bits == 0 ||
	    (rest.n > 0 &&
		(dash == rest.n ||
		    !minute_of((struct str){ rest.p, dash }, &from) ||
		    !minute_of((struct str){ rest.p + dash + 1,
				   rest.n - dash - 1 },
			&to)))) {
		snprintf(why, POLICY_WHY,
		    "no time of the week; write 'Mon-Fri 08:00-18:00', "
		    "'Sat,Sun' "
		    "or '22:00-06:00'");
		return (false);
	}
	if (from == to || from == DAY || to == 0) {
		snprintf(why, POLICY_WHY,
		    "no time: it ends where it begins; the end of a day is "
		    "24:00, its begin 00:00");
		return (false);
	}
	(void)policy_minute(0); /* the zone is read before files are closed */
	more.v = arena_zalloc(a, (out->n + 14) * sizeof(*more.v));
	if (out->n > 0)
		memcpy(more.v, out->v, out->n * sizeof(*more.v));
	more.n = out->n;
	add_days(&more, bits, from, to);
	*out = more;
	return (true);
}

unsigned
policy_minute(time_t at)
{
	static _Thread_local time_t of = -1; /* in minutes */
	static _Thread_local unsigned minute;
	struct tm tm;

	if (at / 60 == of)
		return (minute);
	if (localtime_r(&at, &tm) == NULL)
		return (0);
	of = at / 60;
	minute = (unsigned)(tm.tm_wday + 6) % 7 * DAY +
	    (unsigned)(tm.tm_hour * 60 + tm.tm_min);
	return (minute);
}
