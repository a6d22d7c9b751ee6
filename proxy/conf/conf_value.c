/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Single values of the configuration: sizes, durations, ranges, words,
 * addresses.
 * Room: proxy.  Any thread.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "proxy/conf/conf_priv.h"

/* Decimal digits from *p on; false: none, or more than 64 bits. */
static bool
take_number(const char **p, uint64_t *out)
{
	uint64_t v = 0;
	const char *start = *p;
	unsigned digit;

	for (; **p >= '0' && **p <= '9'; ++*p) {
		digit = (unsigned)(**p - '0');
		if (v > (UINT64_MAX - digit) / 10)
			return (false);
		v = v * 10 + digit;
	}
	*out = v;
	return (*p > start);
}

/* A number and a unit of the table, the empty one included if it is there. */
struct unit {
	const char *name;
	uint64_t factor;
};

static bool
take_united(const char *text, const struct unit *units, uint64_t *out)
{
	uint64_t v;

	if (!take_number(&text, &v))
		return (false);
	for (; units->name != NULL; units++)
		if (strcmp(units->name, text) == 0) {
			if (v > (UINT64_MAX - 2) / units->factor)
				return (false);
			*out = v * units->factor;
			return (true);
		}
	return (false);
}

static const struct unit size_units[] = { { "", 1 }, { "K", 1024 },
	{ "k", 1024 }, { "M", 1024 * 1024 }, { "m", 1024 * 1024 },
	{ "G", 1024ull * 1024 * 1024 }, { "g", 1024ull * 1024 * 1024 },
	{ "T", 1024ull * 1024 * 1024 * 1024 },
	{ "t", 1024ull * 1024 * 1024 * 1024 }, { NULL, 0 } };

static const struct unit time_units[] = { { "ms", 1 }, { "s", 1000 },
	{ "m", 60000 }, { "h", 3600000 }, { "d", 86400000 }, { NULL, 0 } };

bool
conf_value_size(const char *text, uint64_t *out)
{
	return (take_united(text, size_units, out));
}

bool
conf_value_time(const char *text, uint64_t *ms)
{
	if (strcmp(text, "0") == 0) {
		*ms = 0; /* of any unit */
		return (true);
	}
	return (take_united(text, time_units, ms));
}

bool
conf_value_range(const char *text, uint64_t max, struct policy_span *out)
{
	if (!take_number(&text, &out->lo))
		return (false);
	out->hi = out->lo;
	if (*text == '-') {
		text++;
		if (!take_number(&text, &out->hi))
			return (false);
	}
	return (*text == '\0' && out->lo <= out->hi && out->hi <= max);
}

int
conf_value_word(const char *words, const char *text)
{
	size_t n = strlen(text), len;
	bool reserved;
	int i;

	for (i = 0; *words != '\0' && n > 0; i++) {
		reserved = *words == '!';
		words += reserved;
		len = strcspn(words, " ");
		if ((len == n && memcmp(words, text, n) == 0) ||
		    (reserved && len == 1 && words[0] == '%' &&
			strchr(text, '%') != NULL))
			return (reserved ? -2 : i);
		words += len;
		words += strspn(words, " ");
	}
	return (-1);
}

/* Split "host:port" and "[host]:port"; false: it does not fit into host. */
static bool
split_port(const char *text, char *host, size_t room, const char **port,
    bool *bracket)
{
	const char *end;

	*bracket = text[0] == '[';
	if (*bracket) {
		end = strchr(++text, ']');
		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return (false);
		*port = end[1] == ':' ? end + 2 : NULL;
	} else {
		end = strchr(text, ':');
		*port = end != NULL ? end + 1 : NULL;
		if (end == NULL)
			end = text + strlen(text);
	}
	if ((size_t)(end - text) >= room)
		return (false);
	memcpy(host, text, (size_t)(end - text));
	host[end - text] = '\0';
	return (true);
}

bool
conf_value_day(const char *text, int64_t *end)
{
	struct tm tm = { 0 }, same;
	time_t t;
	char back[16];
	int n = 0;

	if (sscanf(text, "%4d-%2d-%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
		&n) != 3 ||
	    n != 10 || text[n] != '\0')
		return (false);
	tm.tm_year -= 1900;
	tm.tm_mon--;
	t = timegm(&tm);
	/* No 30th of February. */
	if (gmtime_r(&t, &same) == NULL ||
	    strftime(back, sizeof(back), "%Y-%m-%d", &same) != 10 ||
	    strcmp(back, text) != 0)
		return (false);
	*end = (int64_t)t + 86399;
	return (true);
}

bool
conf_value_addr(const char *text, uint16_t port_default, union address *out)
{
	char host[INET6_ADDRSTRLEN];
	struct policy_span range = { port_default, 0 };
	const char *port;
	bool bracket;

	memset(out, 0, sizeof(*out));
	if (port_default != 0 &&
	    inet_pton(AF_INET6, text, &out->v6.sin6_addr) ==
		1) { /* no port, no brackets */
		out->v6.sin6_family = AF_INET6;
		out->v6.sin6_port = htons(port_default);
		return (true);
	}
	if (!split_port(text, host, sizeof(host), &port, &bracket) ||
	    (port == NULL && port_default == 0) ||
	    (port != NULL &&
		(!conf_value_range(port, 65535, &range) ||
		    strchr(port, '-') != NULL)))
		return (false);
	if (bracket) {
		out->v6.sin6_family = AF_INET6;
		out->v6.sin6_port = htons((uint16_t)range.lo);
		return (inet_pton(AF_INET6, host, &out->v6.sin6_addr) == 1);
	}
	out->v4.sin_family = AF_INET;
	out->v4.sin_port = htons((uint16_t)range.lo);
	return (inet_pton(AF_INET, host, &out->v4.sin_addr) == 1);
}

static const char *
show_united(uint64_t v, const struct unit *units, char room[32])
{
	const struct unit *best = NULL;

	for (; units->name != NULL; units++)
		if (v % units->factor == 0 &&
		    (best == NULL || units->factor > best->factor) &&
		    v >= units->factor)
			best = units;
	snprintf(room, 32, "%llu%s",
	    (unsigned long long)(best == NULL ? v : v / best->factor),
	    best == NULL ? "" : best->name);
	return (room);
}

const char *
conf_show_size(uint64_t v, char room[32])
{
	return (show_united(v, size_units, room));
}

const char *
conf_show_time(uint64_t ms, char room[32])
{
	return (show_united(ms, time_units, room));
}
