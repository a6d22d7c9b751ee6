/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is kept of a death: one file with mode 0600, twenty at most, the
 * assertion first; the same place has the same signature, another has another;
 * hostile text stays text; without a disk there is still a line in the log; who
 * was present in three crashes is named.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/crash.h"
#include "proxy/flight.h"
#include "proxy/postmortem.h"
#include "t/unit/unit.h"

static char state[64];
static struct postmortem *pm;
static pid_t pid = 812;
static char said[65536];                /* in the log */
static char kept[CRASH_REPORT_MAX * 2]; /* of the last file */

static const char report[] = "assay crash report 1\n"
			     "signal SIGSEGV code 1\n"
			     "slot 3\n"
			     "frame libc.so.6+0x8ce3c\n"
			     "frame assayd+0x41c3e\n"
			     "frame assayd+0x41d00\n"
			     "frame libuv.so.1+0x1111\n"
			     "module assayd 0x55d0c0fa0000 8e5f\n"
			     "end\n";

static void
begin(void)
{
	snprintf(state, sizeof(state), "/tmp/assay-postmortem-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(state));
	pm = postmortem_new(state);
}

static int
files(char names[64][256])
{
	char folder[100];
	struct dirent *e;
	int n = 0;
	DIR *d;

	snprintf(folder, sizeof(folder), "%s/crash", state);
	if ((d = opendir(folder)) == NULL)
		return (0);
	while ((e = readdir(d)) != NULL && n < 64)
		if (e->d_name[0] != '.')
			snprintf(names[n++], 256, "%s", e->d_name);
	closedir(d);
	return (n);
}

static void
end(void)
{
	char names[64][256], path[400];
	int n = files(names);

	while (n-- > 0) {
		snprintf(path, sizeof(path), "%s/crash/%s", state, names[n]);
		(void)unlink(path);
	}
	snprintf(path, sizeof(path), "%s/crash", state);
	(void)rmdir(path);
	(void)rmdir(state);
	postmortem_free(&pm);
	CU_ASSERT_PTR_NULL(pm);
}

/* Its path, of the line in the log; reads it. */
static void
read_kept(void)
{
	char path[300] = "", *at = strstr(said, "report: /");
	struct stat st;
	ssize_t n;
	int fd;

	kept[0] = '\0';
	if (at == NULL)
		return;
	(void)sscanf(at, "report: %299s", path);
	fd = open(path, O_RDONLY);
	CU_ASSERT_FATAL(fd >= 0 && fstat(fd, &st) == 0);
	CU_ASSERT_EQUAL(st.st_mode & 07777, 0600);
	n = read(fd, kept, sizeof(kept) - 1);
	kept[n > 0 ? n : 0] = '\0';
	close(fd);
}

/* The log of one death, in said. */
static void
die(const struct death *d, const struct relics *r)
{
	FILE *log = tmpfile();
	int old = dup(STDERR_FILENO);
	size_t n;

	CU_ASSERT_PTR_NOT_NULL_FATAL(log);
	(void)dup2(fileno(log), STDERR_FILENO);
	postmortem(pm, d, r);
	(void)dup2(old, STDERR_FILENO);
	close(old);
	rewind(log);
	n = fread(said, 1, sizeof(said) - 1, log);
	said[n] = '\0';
	fclose(log);
	read_kept();
}

static void
die_with(const char *text, const struct relics *r, const char *words)
{
	struct death d = { .process = "serve",
		.pid = pid,
		.fate = "was killed by signal 11 (Segmentation fault)",
		.said = words,
		.said_n = words != NULL ? strlen(words) : 0 };

	CU_ASSERT_EQUAL(pwrite(r->report, text, strlen(text) + 1, 0),
	    (ssize_t)strlen(text) + 1);
	die(&d, r);
}

static unsigned
signature(void)
{
	char *at = strstr(said, "(signature ");
	unsigned v = 0;

	if (at != NULL)
		(void)sscanf(at, "(signature %x)", &v);
	return (v);
}

static void
test_kept(void)
{
	struct relics r;

	begin();
	CU_ASSERT_FATAL(relics_new(&r, false));
	CU_ASSERT_EQUAL(r.flight, -1);
	die_with(report, &r,
	    "assayd: ready: x\n"
	    "assayd: ../proxy/flow.c:57: flow_go: Assertion `a == b' "
	    "failed.\n");
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(said, "crash: serve, process 812, was killed by signal 11"));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, " at assayd+0x41c3e (signature "));
	CU_ASSERT_PTR_EQUAL(strstr(kept,
				"assertion assayd: ../proxy/flow.c:57: "
				"flow_go: Assertion `a == b'"),
	    kept);
	CU_ASSERT_PTR_NOT_NULL(strstr(kept, "\nplace assayd+0x41c3e\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(kept, "\nsaid assayd: ready: x\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(kept, "\nframe libc.so.6+0x8ce3c\n"));
	CU_ASSERT_EQUAL(strcmp(kept + strlen(kept) - 5, "\nend\n"), 0);
	relics_free(&r);
	end();
}

static void
test_signatures(void)
{
	char other[sizeof(report)];
	unsigned first;
	struct relics r;

	begin();
	CU_ASSERT_FATAL(relics_new(&r, false));
	die_with(report, &r, NULL);
	first = signature();
	CU_ASSERT_NOT_EQUAL(first, 0);
	/* Where libraries lie, and what is below our frames, is no matter. */
	strcpy(other, report);
	*strstr(other, "8ce3c") = '9';
	*strstr(other, "0x55d0") = '1';
	die_with(other, &r, NULL);
	CU_ASSERT_EQUAL(signature(), first);
	*strstr(other, "41d00") = '5';
	die_with(other, &r, NULL);
	CU_ASSERT_NOT_EQUAL(signature(), first);
	relics_free(&r);
	end();
}

static void
test_few_are_kept(void)
{
	char names[64][256], last[300];
	struct relics r;
	int i, n;

	begin();
	CU_ASSERT_FATAL(relics_new(&r, false));
	for (i = 0; i < 5;
	     i++) /* the clock stands still, the number is used anew */
		die_with(report, &r, NULL);
	n = files(names);
	CU_ASSERT_EQUAL(n, 5);
	for (i = 0; i < 45; i++, pid++)
		die_with(report, &r, NULL);
	CU_ASSERT_EQUAL(files(names), POSTMORTEM_KEPT);
	/* Files of the future stand there: the new one is kept. */
	for (i = 0; i < 30; i++) {
		snprintf(last, sizeof(last), "%s/crash/9999-%02d", state, i);
		close(open(last, O_WRONLY | O_CREAT, 0600));
	}
	die_with(report, &r, NULL);
	pid = 812;
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "report: /"));
	CU_ASSERT(strlen(kept) > 100);
	CU_ASSERT_EQUAL(files(names), POSTMORTEM_KEPT);
	relics_free(&r);
	end();
}

/* A process that was taken over: text stays text, and it has an end. */
static void
test_nothing_is_believed(void)
{
	static char wild[CRASH_REPORT_MAX];
	char names[64][256];
	struct relics r;
	size_t i;
	char *c;

	begin();
	CU_ASSERT_FATAL(relics_new(&r, false));
	/* Its size is sealed. */
	CU_ASSERT_EQUAL(ftruncate(r.report, 1 << 30), -1);
	CU_ASSERT_EQUAL(pwrite(r.report, "x", 1, CRASH_REPORT_MAX), -1);
	for (i = 0; i < sizeof(wild) - 1; i++)
		wild[i] = (char)(1 + unit_random(255));
	memcpy(wild, "frame ../../../../etc/x%n%s+\033[2J\n", 33);
	memcpy(wild + 40, "\nslot 4294967295\nslot -1\nslot 99999999999\n", 42);
	CU_ASSERT_EQUAL(pwrite(r.report, wild, sizeof(wild), 0),
	    (ssize_t)sizeof(wild));
	die(&(struct death){ .process = "serve",
		.pid = 1,
		.fate = "x",
		.said = wild,
		.said_n = sizeof(wild) },
	    &r);
	for (c = said; *c != '\0'; c++)
		CU_ASSERT_FATAL(*c == '\n' || (*c >= 0x20 && *c < 0x7F));
	for (c = kept; *c != '\0'; c++)
		CU_ASSERT_FATAL(*c == '\n' || (*c >= 0x20 && *c < 0x7F));
	CU_ASSERT(strlen(kept) > 1000);
	CU_ASSERT(strlen(said) < 1000);
	CU_ASSERT_EQUAL(files(names), 1);
	relics_free(&r);
	end();
}

/* No folder, a link in its place, no room: a line in the log all the same. */
static void
test_no_disk(void)
{
	char path[128];
	struct relics r;

	begin();
	CU_ASSERT_FATAL(relics_new(&r, false));
	snprintf(path, sizeof(path), "%s/crash", state);
	CU_ASSERT_EQUAL(symlink("/tmp", path), 0);
	die_with(report, &r, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, " at assayd+0x41c3e (signature "));
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "no report could be kept: "));
	(void)unlink(path);
	postmortem_free(&pm);
	pm = postmortem_new("/nonexistent/state");
	die_with(report, &r, NULL);
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(said, "no report could be kept: No such"));
	postmortem_free(&pm);
	pm = postmortem_new("/proc/self"); /* nothing can be made there */
	die_with(report, &r, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "no report could be kept: "));
	relics_free(&r);
	end();
}

/* Flows. */

static void
crash_with(unsigned flows, const char *client, uint32_t at)
{
	struct flight_facts of = { .reference = "7K3Q-9D2M-5XTW",
		.host = STR("poison.test"),
		.client = client };
	struct flight_part part;
	struct flight *f;
	struct relics r;
	char text[200];
	unsigned i;

	CU_ASSERT_FATAL(relics_new(&r, true));
	f = flight_new(r.flight, 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	flight_part_begin(&part, f, 0);
	for (i = 0; i < flows; i++) {
		if (i > 0) {
			of.client = "192.0.2.99";
			of.host = STR("other.test");
		}
		(void)flight_begin(&part, &of);
	}
	flight_part_end(&part);
	flight_free(&f);
	snprintf(text, sizeof(text), at > 0 ? "slot %u\n" : "time %u\n", at);
	die_with(text, &r, NULL);
	relics_free(&r);
}

static void
test_flows(void)
{
	char many[60];

	begin();
	crash_with(3, "192.0.2.1", 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "; 3 flows were under way"));
	CU_ASSERT_PTR_NOT_NULL(strstr(kept,
	    "\nflow 7K3Q-9D2M-5XTW here\n"
	    "flow 7K3Q-9D2M-5XTW\nflow 7K3Q-9D2M-5XTW\n"));
	/* Who they were is the access log's: it has its own rules. */
	CU_ASSERT_PTR_NULL(strstr(kept, "192.0.2"));
	CU_ASSERT_PTR_NULL(strstr(kept, "poison"));
	crash_with(POSTMORTEM_FLOWS + 5, "192.0.2.1", 1);
	snprintf(many, sizeof(many), "\nflows 5 more\n");
	CU_ASSERT_PTR_NOT_NULL(strstr(kept, many));
	crash_with(1, "192.0.2.1", 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(said, "; 1 flow was under way"));
	end();
}

/* The flow that the thread worked on, three times. */
static void
test_suspects(void)
{
	unsigned i;

	begin();
	for (i = 0; i < 2; i++) {
		crash_with(40, "192.0.2.1", 1);
		CU_ASSERT_PTR_NULL(strstr(said, "was present"));
	}
	crash_with(40, "192.0.2.2", 1);
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(said, "host poison.test was present in 3 crashes"));
	CU_ASSERT_PTR_NULL(strstr(said, "client "));
	crash_with(40, "192.0.2.1", 1);
	CU_ASSERT_PTR_NOT_NULL(
	    strstr(said, "client 192.0.2.1 was present in 3 crashes"));
	/* Nobody knows which of many it was. */
	crash_with(40, "192.0.2.1", 0);
	CU_ASSERT_PTR_NULL(strstr(said, "was present"));
	end();
}

UNIT_TESTS(proxy_postmortem, { "a report is kept", test_kept },
    { "signatures", test_signatures }, { "few are kept", test_few_are_kept },
    { "nothing is believed", test_nothing_is_believed },
    { "no disk", test_no_disk }, { "flows that were under way", test_flows },
    { "present in three crashes", test_suspects })
