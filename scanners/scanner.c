/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all scanners share, see scanner.h. */
#include <arpa/inet.h>
#include <assert.h>
#include <string.h>
#include <time.h>
#include "scanners/scanner.h"

const char *
verdict_name(enum verdict v)
{
	static const char *const name[] = {
		[VERDICT_CLEAN] = "clean",
		[VERDICT_MODIFIED] = "modified",
		[VERDICT_UNSCANNED] = "unscanned",
		[VERDICT_BLOCKED] = "blocked",
	};

	assert(v <= VERDICT_BLOCKED);
	return (name[v]);
}

const char *
scan_gap_name(enum scan_gap gap)
{
	static const char *const name[GAP_COUNT] = {
		[GAP_NONE] = "",
		[GAP_ENCRYPTED] = "encrypted",
		[GAP_CODING] = "coding",
		[GAP_LIMIT] = "limit",
		[GAP_PART] = "part",
		[GAP_STREAM] = "stream",
		[GAP_TIME] = "time",
		[GAP_DAMAGED] = "damaged",
		[GAP_ERROR] = "error",
	};

	assert(gap < GAP_COUNT);
	return (name[gap]);
}

uint64_t
scan_client_key(struct str ip)
{
	char text[INET6_ADDRSTRLEN];
	uint64_t key[2] = { 0, 0 };

	if (ip.n == 0 || ip.n >= sizeof(text))
		return (0);
	memcpy(text, ip.p, ip.n);
	text[ip.n] = '\0';
	(void)inet_pton(str_index(ip, ':') < ip.n ? AF_INET6 : AF_INET, text,
	    key);
	return (key[0]);
}

uint64_t
scan_who_key(const struct scan_who *who)
{
	if (who == NULL)
		return (0);
	return (who->client_key != 0 ? who->client_key
				     : scan_client_key(who->client_ip));
}

static uint64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return ((uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000);
}

static void
meter_begin(struct scan_meter *m, uint64_t now)
{
	if (m != NULL && m->working++ == 0)
		m->since = now;
}

static void
meter_end(struct scan_meter *m, uint64_t now)
{
	if (m != NULL && --m->working == 0)
		m->us += now - m->since;
}

void
scan_works(struct scan *scan)
{
	if (scan->works || scan->done)
		return;
	scan->works = true;
	scan->works_since = now_us();
	meter_begin(scan->meter, scan->works_since);
}

void
scan_waits(struct scan *scan)
{
	uint64_t now;

	if (!scan->works)
		return;
	now = now_us();
	scan->works = false;
	scan->result.us += now - scan->works_since;
	meter_end(scan->meter, now);
}

void
scan_metered(struct scan *scan, struct scan_meter *m)
{
	assert(scan->meter == NULL);
	scan->meter = m;
	if (scan->works)
		meter_begin(m, scan->works_since);
}

void
scan_start(struct scan *scan, struct scanner *scanner,
    const struct scan_message *msg, struct task *wake)
{
	*scan = (struct scan){
		.scanner = scanner,
		.msg = msg,
		.wake = wake,
	};
	scan_works(scan);
	scanner->type->start(scan);
}

void
scan_done(struct scan *scan)
{
	struct scan_result *r = &scan->result;

	assert(!scan->done);
	scan_waits(scan);
	scan->done = true;
	if (r->fault.code != ERR_NONE)
		r->verdict = VERDICT_UNSCANNED;
	assert(r->verdict != VERDICT_MODIFIED || r->has_message);
	assert(r->verdict != VERDICT_UNSCANNED || r->fault.code != ERR_NONE ||
	    r->gap != GAP_NONE);
	assert(r->body == NULL || r->has_message);
	task_wake(scan->wake);
}

void
scan_cancel(struct scan *scan)
{
	if (scan->scanner == NULL)
		return;
	scan_waits(scan);
	scan->scanner->type->cancel(scan);
	if (scan->result.body != NULL)
		body_unref(&scan->result.body);
	scan->scanner = NULL;
	scan->wake = NULL;
}
