/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flight record: what was under way is read after the death of who wrote
 * it, and only that; whatever a process writes there, what is read is bounded
 * and printable; its size is sealed; slots run out without harm.  The
 * watchdog: who is silent is found, and time that nobody had does not count.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "proxy/audit/audit.h"
#include "proxy/flight.h"
#include "proxy/lost.h"
#include "proxy/watchdog.h"
#include "t/unit/unit.h"

static int fd;
static struct flight *flight;
static struct flight_part part;

static void
begin(unsigned workers, unsigned worker)
{
	fd = flight_memory_new();
	CU_ASSERT_FATAL(fd >= 0);
	flight = flight_new(fd, workers);
	CU_ASSERT_PTR_NOT_NULL_FATAL(flight);
	flight_part_begin(&part, flight, worker);
}

static void
end(void)
{
	flight_part_end(&part);
	flight_free(&flight);
	CU_ASSERT_PTR_NULL(flight);
	close(fd);
}

static uint32_t
take(const char *reference, const char *client, const char *host)
{
	struct flight_facts of = { .reference = reference,
		.client = client,
		.client_port = 4000,
		.host = str_of(host),
		.host_port = 443,
		.mode = FLIGHT_OPENED,
		.started = 1700000000123 };

	return (flight_begin(&part, &of));
}

static unsigned
count(void)
{
	struct flight_reader r = { .fd = fd };
	struct flight_seen s;
	unsigned n = 0;

	while (flight_next(&r, &s))
		n++;
	return (n);
}

/* As after a crash: the process that wrote is gone. */
static void
test_read_after_death(void)
{
	struct flight_reader r;
	struct flight_seen s;
	uint32_t slot;
	pid_t pid;

	begin(2, 1);
	fflush(stdout);
	if ((pid = fork()) == 0) {
		slot = take("7K3Q-9D2M-5XTW", "192.0.2.7", "a.test");
		flight_end(&part, slot);
		slot = take("0000-AAAA-ZZZZ", "2001:db8::7",
		    "www.example.test");
		flight_state(&part, slot, 5);
		flight_record_as(&part, slot, FLIGHT_LOG_MINIMAL);
		flight_count(&part, slot, 77, 1234567);
		abort();
	}
	CU_ASSERT_EQUAL(waitpid(pid, NULL, 0), pid);
	r = (struct flight_reader){ .fd = fd };
	CU_ASSERT_FATAL(flight_next(&r, &s));
	CU_ASSERT_STRING_EQUAL(s.reference, "0000-AAAA-ZZZZ");
	CU_ASSERT_STRING_EQUAL(s.client, "2001:db8::7");
	CU_ASSERT_STRING_EQUAL(s.host, "www.example.test");
	CU_ASSERT_EQUAL(s.client_port, 4000);
	CU_ASSERT_EQUAL(s.host_port, 443);
	CU_ASSERT_EQUAL(s.mode, FLIGHT_OPENED);
	CU_ASSERT_EQUAL(s.log, FLIGHT_LOG_MINIMAL);
	CU_ASSERT_EQUAL(s.started, 1700000000123);
	CU_ASSERT_EQUAL(s.up, 77);
	CU_ASSERT_EQUAL(s.down, 1234567);
	CU_ASSERT_EQUAL(s.slot, FLIGHT_SLOTS / 2 + 1);
	CU_ASSERT_FALSE(flight_next(&r, &s));
	CU_ASSERT_FALSE(flight_next(&r, &s));
	flight_forget(fd, s.slot);
	CU_ASSERT_EQUAL(count(), 0);
	end();
}

/* Each is a number of its own; when none is left there is none, and no harm. */
static void
test_slots_run_out(void)
{
	static unsigned char seen[FLIGHT_SLOTS + 1];
	uint32_t slot, share = FLIGHT_SLOTS / 256, n = 0, kept = 0;

	memset(seen, 0, sizeof(seen));
	begin(256, 255);
	while ((slot = take("7K3Q-9D2M-5XTW", "192.0.2.7", "x")) != 0) {
		CU_ASSERT_FATAL(slot <= FLIGHT_SLOTS && seen[slot] == 0);
		seen[slot] = 1;
		kept = slot;
		n++;
	}
	CU_ASSERT_EQUAL(n, share);
	CU_ASSERT_EQUAL(count(), share);
	flight_state(&part, 0, 1);
	flight_record_as(&part, 0, FLIGHT_LOG_FULL);
	flight_count(&part, 0, 1, 1);
	flight_end(&part, 0);
	flight_end(&part, kept);
	CU_ASSERT_EQUAL(take("7K3Q-9D2M-5XTW", "192.0.2.7", "x"), kept);
	CU_ASSERT_EQUAL(take("7K3Q-9D2M-5XTW", "192.0.2.7", "x"), 0);
	end();
}

/* A name longer than the room is cut. */
static void
test_long_names(void)
{
	struct flight_reader r;
	struct flight_seen s;
	char host[400];

	begin(1, 0);
	memset(host, 'h', sizeof(host) - 1);
	host[sizeof(host) - 1] = '\0';
	(void)take("7K3Q-9D2M-5XTW", "192.0.2.7", host);
	(void)take("7K3Q-9D2M-5XTW", "192.0.2.7", "");
	r = (struct flight_reader){ .fd = fd };
	CU_ASSERT_FATAL(flight_next(&r, &s));
	CU_ASSERT_EQUAL(strlen(s.host), FLIGHT_HOST - 1);
	CU_ASSERT_FATAL(flight_next(&r, &s));
	CU_ASSERT_STRING_EQUAL(s.host, "");
	end();
}

/* Is it what a text of ours may be? */
static bool
is_fit(const char *text, size_t room)
{
	size_t i, n = strnlen(text, room);

	for (i = 0; i < n; i++)
		if (text[i] <= 0x20 || text[i] >= 0x7F)
			return (false);
	return (n < room);
}

/* A process that was taken over writes what it likes. */
static void
test_nothing_is_believed(void)
{
	struct flight_reader r;
	struct flight_seen s;
	struct flight_memory *m;
	unsigned char *p;
	unsigned i, k, n = 0;

	begin(1, 0);
	m = mmap(NULL, sizeof(*m), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CU_ASSERT_FATAL(m != MAP_FAILED);
	for (i = 0; i < 3000; i++) {
		(void)take("7K3Q-9D2M-5XTW", "192.0.2.7", "host");
		p = (unsigned char *)&m->slot[i];
		for (k = 0; k < 1 + i % 40; k++)
			p[unit_random(sizeof(m->slot[i]))] = (unsigned char)
			    unit_random(256);
		if (i % 3 == 0)
			memset(m->slot[i].host, (int)(i % 256), FLIGHT_HOST);
		if (i % 7 == 0)
			memset(m->slot[i].client, '1', FLIGHT_CLIENT);
		if (i % 11 == 0)
			memset(m->slot[i].reference, 'A', FLIGHT_REFERENCE);
	}
	r = (struct flight_reader){ .fd = fd };
	while (flight_next(&r, &s)) {
		n++;
		CU_ASSERT_FATAL(strlen(s.reference) == 14);
		CU_ASSERT_FATAL(is_fit(s.reference, sizeof(s.reference)));
		CU_ASSERT_FATAL(is_fit(s.client, sizeof(s.client)));
		CU_ASSERT_FATAL(is_fit(s.host, sizeof(s.host)));
		CU_ASSERT_FATAL(s.slot >= 1 && s.slot <= FLIGHT_SLOTS);
		CU_ASSERT_FATAL(s.mode < FLIGHT_MODES && s.log < FLIGHT_LOGS);
		CU_ASSERT_FATAL(s.up <= INT64_MAX && s.down <= INT64_MAX);
	}
	CU_ASSERT(n > 100 && n < 3000);
	(void)munmap(m, sizeof(*m));
	end();
}

/* Nobody makes it shorter under who reads it; other memory is refused. */
static void
test_only_this_memory(void)
{
	int other = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	begin(1, 0);
	CU_ASSERT_EQUAL(ftruncate(fd, 4096), -1);
	CU_ASSERT_EQUAL(ftruncate(fd, 1 << 30), -1);
	CU_ASSERT_PTR_NULL(flight_new(other, 1));
	CU_ASSERT_EQUAL(ftruncate(other, sizeof(struct flight_memory)), 0);
	CU_ASSERT_PTR_NULL(flight_new(other, 1));
	CU_ASSERT_PTR_NULL(flight_new(0, 1));
	close(other);
	end();
	/* Without a supervisor it is memory like any other. */
	flight = flight_new(-1, 4);
	CU_ASSERT_PTR_NOT_NULL_FATAL(flight);
	flight_part_begin(&part, flight, 3);
	CU_ASSERT(take("7K3Q-9D2M-5XTW", "192.0.2.7", "host") > 0);
	flight_part_end(&part);
	flight_free(&flight);
}

/*
 * The successor's records: one for each that wants one, none twice; a clock
 * that was set back makes no negative time.
 */
static void
test_records_of_the_lost(void)
{
	static const struct logging_privacy privacy = { LOGGING_DROP,
		LOGGING_KEEP, LOGGING_DROP };
	char path[] = "/tmp/assay-flight-XXXXXX", text[8192];
	struct audit_target to = { path, LOGGING_JSON, -1 };
	struct fault f = { 0 };
	struct audit *a;
	int file = mkstemp(path);
	uint32_t slot;
	ssize_t n;

	CU_ASSERT_FATAL(file >= 0);
	begin(1, 0);
	slot = take("7K3Q-9D2M-5XTW", "192.0.2.7", "a.test");
	flight_count(&part, slot, 5, 1234567);
	slot = take("AAAA-AAAA-AAAA", "192.0.2.8", "secret.test");
	flight_record_as(&part, slot, FLIGHT_LOG_NONE);
	(void)take("BBBB-BBBB-BBBB", "192.0.2.9", "");
	to.fd = audit_open(path, &f);
	a = audit_new(&to, 1, &privacy, &f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	CU_ASSERT_EQUAL(lost_flows(fd, 1700000001123, a), 3);
	CU_ASSERT_EQUAL(lost_flows(fd, 1700000001123, a), 0);
	(void)take("CCCC-CCCC-CCCC", "192.0.2.9", "back.test");
	CU_ASSERT_EQUAL(lost_flows(fd, 1, a), 1);
	audit_free(&a);
	n = read(file, text, sizeof(text) - 1);
	CU_ASSERT_FATAL(n > 0);
	text[n] = '\0';
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"event.id\":\"7K3Q-9D2M-5XTW\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"event.action\":\"error\""));
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(text, "\"error.code\":\"PROXY_CRASHED\""));
	CU_ASSERT_PTR_NOT_NULL(strstr(text,
	    "\"url.full\":\"a.test:443\",\"url.domain\":\"a.test\""));
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(text, "\"http.response.body.bytes\":1234567"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"assay.ms.total\":1000"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"assay.ms.total\":0"));
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "BBBB-BBBB-BBBB"));
	CU_ASSERT_PTR_NULL(strstr(text, "AAAA-AAAA-AAAA"));
	CU_ASSERT_PTR_NULL(strstr(text, "192.0.2")); /* log.privacy */
	close(file);
	(void)unlink(path);
	end();
}

/* The watchdog. */

static struct watchdog dog;

static void
dog_begin(void)
{
	begin(3, 2);
	CU_ASSERT_FATAL(watchdog_begin(&dog, fd, 1000));
}

static void
dog_end(void)
{
	watchdog_end(&dog);
	end();
}

static void
test_who_ticks_is_well(void)
{
	uint64_t now = 1000;
	pid_t thread = 0;
	unsigned i;

	dog_begin();
	for (i = 0; i < 100; i++) {
		now += FLIGHT_TICK_MS;
		flight_tick(&part);
		CU_ASSERT_EQUAL(watchdog_look(&dog, now, &thread),
		    WATCHDOG_WELL);
		CU_ASSERT(watchdog_is_well(&dog, 15000));
	}
	/* A worker that has ended is not missed. */
	atomic_store(&part.words->ticks, 0);
	for (i = 0; i < 100; i++) {
		now += FLIGHT_TICK_MS;
		CU_ASSERT_EQUAL(watchdog_look(&dog, now, &thread),
		    WATCHDOG_WELL);
	}
	dog_end();
}

static void
test_who_is_silent_is_stuck(void)
{
	uint64_t now = 1000;
	pid_t thread = 0;
	unsigned looks = 0;

	dog_begin();
	(void)watchdog_look(&dog, now, &thread);
	while (watchdog_look(&dog, now += 1000, &thread) == WATCHDOG_WELL)
		looks++;
	CU_ASSERT_EQUAL(looks, WATCHDOG_SILENT_MS / 1000 - 1);
	CU_ASSERT_EQUAL(thread, gettid());
	CU_ASSERT_EQUAL(dog.stuck, 2);
	CU_ASSERT_FALSE(watchdog_is_well(&dog, 15000));
	CU_ASSERT_EQUAL(watchdog_due(&dog), WATCHDOG_KILL_MS);
	CU_ASSERT_EQUAL(watchdog_look(&dog, now + 1999, &thread),
	    WATCHDOG_WELL);
	CU_ASSERT_FALSE(watchdog_is_well(&dog, 15000));
	CU_ASSERT_EQUAL(watchdog_look(&dog, now + 2000, &thread),
	    WATCHDOG_KILL);
	CU_ASSERT_EQUAL(watchdog_look(&dog, now + 3000, &thread),
	    WATCHDOG_KILL);
	dog_end();
}

/* It is said in time that it is not well, before it is stuck. */
static void
test_half_the_time(void)
{
	uint64_t now = 1000;
	pid_t thread = 0;
	unsigned i;

	dog_begin();
	(void)watchdog_look(&dog, now, &thread);
	for (i = 1; i <= 3; i++) {
		CU_ASSERT(watchdog_is_well(&dog, 15000));
		CU_ASSERT_EQUAL(watchdog_look(&dog, now += 5000, &thread),
		    WATCHDOG_WELL);
	}
	CU_ASSERT_FALSE(watchdog_is_well(&dog, 15000));
	flight_tick(&part);
	CU_ASSERT_EQUAL(watchdog_look(&dog, now += 5000, &thread),
	    WATCHDOG_WELL);
	CU_ASSERT(watchdog_is_well(&dog, 15000));
	dog_end();
}

/* The machine slept, or the clock went back: workers had no time to tick. */
static void
test_time_that_nobody_had(void)
{
	uint64_t now = 1000;
	pid_t thread = 0;

	dog_begin();
	(void)watchdog_look(&dog, now, &thread);
	CU_ASSERT_EQUAL(watchdog_look(&dog, now += 86400000, &thread),
	    WATCHDOG_WELL);
	flight_tick(&part);
	CU_ASSERT_EQUAL(watchdog_look(&dog, now += 5000, &thread),
	    WATCHDOG_WELL);
	CU_ASSERT_EQUAL(watchdog_look(&dog, now -= 80000000, &thread),
	    WATCHDOG_WELL);
	CU_ASSERT_EQUAL(watchdog_look(&dog, now += 5000, &thread),
	    WATCHDOG_WELL);
	CU_ASSERT(watchdog_is_well(&dog, 15000));
	dog_end();
}

UNIT_TESTS(proxy_flight, { "read after death", test_read_after_death },
    { "slots run out", test_slots_run_out },
    { "long names are cut", test_long_names },
    { "nothing is believed", test_nothing_is_believed },
    { "only this memory", test_only_this_memory },
    { "records of the lost", test_records_of_the_lost },
    { "who ticks is well", test_who_ticks_is_well },
    { "who is silent is stuck", test_who_is_silent_is_stuck },
    { "half the time", test_half_the_time },
    { "time that nobody had", test_time_that_nobody_had })
