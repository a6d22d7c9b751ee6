/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages of scan masters and scanners: what is not exactly one, of a kind
 * that may come and with values in range, is none.  And bodies that scanners
 * have died of.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "scanners/clam_priv.h"
#include "t/unit/unit.h"

static int pair[2];

static void
pair_open(void)
{
	CU_ASSERT_TRUE_FATAL(channel_pair(pair));
}

static void
pair_close(void)
{
	channel_close(pair, 2);
}

static enum clam_got
take(unsigned kinds, struct clam_packet *p)
{
	return (clam_wire_recv(pair[1], kinds, p, 0));
}

static unsigned
open_fds(void)
{
	unsigned i, n = 0;

	for (i = 0; i < 200; i++)
		n += fcntl((int)i, F_GETFD) >= 0;
	return (n);
}

static struct clam_verdict
verdict(void)
{
	struct clam_verdict v = { .kind = CLAM_VERDICT,
		.id = 7,
		.verdict = VERDICT_BLOCKED };

	strcpy(v.threat, "A.Threat");
	return (v);
}

static struct clam_scan_msg
scan(void)
{
	struct clam_scan_msg m = { .kind = CLAM_SCAN, .id = 1 };

	m.slot_bytes = 10;
	m.codings.n = 1;
	m.codings.coding[0] = DECODE_BR;
	return (m);
}

static void
test_whole(void)
{
	struct clam_verdict v = verdict();
	struct clam_scan_msg m = scan();
	struct clam_packet p;
	int fds[2];

	pair_open();
	CU_ASSERT_EQUAL(take(~0U, &p), CLAM_NOTHING);
	CU_ASSERT_TRUE(clam_wire_send(pair[0], &v, NULL, 0));
	CU_ASSERT_EQUAL(take(CLAM_BIT(CLAM_VERDICT), &p), CLAM_GOT);
	CU_ASSERT(
	    p.m.verdict.id == 7 && strcmp(p.m.verdict.threat, "A.Threat") == 0);
	CU_ASSERT_TRUE(clam_wire_send(pair[0], &m, NULL, 0));
	CU_ASSERT_EQUAL(take(CLAM_BIT(CLAM_SCAN), &p), CLAM_GOT);
	fds[0] = open("/dev/null", O_RDONLY);
	fds[1] = open("/dev/null", O_RDONLY);
	m.file_bytes = m.memory_bytes = 5;
	CU_ASSERT_TRUE(clam_wire_send(pair[0], &m, fds, 2));
	CU_ASSERT_EQUAL(take(CLAM_BIT(CLAM_SCAN), &p), CLAM_GOT);
	CU_ASSERT_EQUAL(p.n_fds, 2);
	close(clam_packet_take(&p, 1));
	CU_ASSERT_EQUAL(clam_packet_take(&p, 1), -1);
	clam_packet_drop(&p);
	CU_ASSERT_TRUE(clam_wire_word(pair[0], CLAM_NEW, 3, fds, 2));
	CU_ASSERT_EQUAL(take(CLAM_BIT(CLAM_NEW), &p), CLAM_GOT);
	clam_packet_drop(&p);
	channel_close(fds, 2);
	close(pair[1]);
	CU_ASSERT_FALSE(clam_wire_send(pair[0], &v, NULL, 0));
	close(pair[0]);
}

/* Sent as it is; nothing of it stays open. */
static void
is_broken(const void *m, size_t n, unsigned kinds, unsigned n_fds)
{
	int fd = open("/dev/null", O_RDONLY), fds[3] = { fd, fd, fd };
	struct clam_packet p;
	unsigned before;

	pair_open();
	before = open_fds();
	CU_ASSERT_EQUAL(channel_send(pair[0], m, n, fds, n_fds, 0),
	    CHANNEL_DONE);
	CU_ASSERT_EQUAL(take(kinds, &p), CLAM_BROKEN);
	CU_ASSERT_EQUAL(open_fds(), before);
	pair_close();
	close(fd);
}

static void
test_sizes(void)
{
	struct clam_verdict v = verdict();
	struct clam_word w = { CLAM_NEW, 1 };
	char long_one[sizeof(union clam_msg) + 1] = { 0 };
	uint32_t kind;

	is_broken(&v, sizeof(v) - 1, CLAM_BIT(CLAM_VERDICT), 0);
	memcpy(long_one, &v, sizeof(v));
	is_broken(long_one, sizeof(v) + 1, CLAM_BIT(CLAM_VERDICT), 0);
	is_broken(long_one, sizeof(long_one), CLAM_BIT(CLAM_VERDICT), 0);
	is_broken(&v, sizeof(v), CLAM_BIT(CLAM_BORN), 0);
	is_broken(&v, sizeof(v), CLAM_BIT(CLAM_VERDICT), 1);
	is_broken("abc", 3, ~0U, 0);
	for (kind = 0; kind < 40; kind++)
		is_broken(&kind, sizeof(kind), ~0U, 0);
	is_broken(&w, sizeof(w), ~0U, 0);
	is_broken(&w, sizeof(w), ~0U, 1);
	is_broken(&w, sizeof(w), ~0U, 3);
}

static void
test_verdicts(void)
{
	struct clam_verdict v;
	unsigned i;

	for (i = 0; i < 6; i++) {
		if (i == VERDICT_CLEAN || i == VERDICT_BLOCKED)
			continue;
		v = verdict();
		v.verdict = i; /* unscanned needs a gap */
		is_broken(&v, sizeof(v), ~0U, 0);
	}
	v = verdict();
	v.verdict = UINT32_MAX;
	is_broken(&v, sizeof(v), ~0U, 0);
	v = verdict();
	v.verdict = VERDICT_UNSCANNED;
	v.gap = GAP_COUNT;
	is_broken(&v, sizeof(v), ~0U, 0);
	v = verdict();
	v.gap = GAP_LIMIT; /* with a threat */
	is_broken(&v, sizeof(v), ~0U, 0);
	v = verdict();
	memset(v.threat, 'x', sizeof(v.threat));
	is_broken(&v, sizeof(v), ~0U, 0);
	v = verdict();
	strcpy(v.reason, "two\nlines");
	is_broken(&v, sizeof(v), ~0U, 0);
	v = verdict();
	strcpy(v.note, "\033[2J");
	is_broken(&v, sizeof(v), ~0U, 0);
}

static void
test_scans(void)
{
	struct clam_scan_msg m = scan();

	m.slot_bytes = CLAM_SLOT + 1;
	is_broken(&m, sizeof(m), ~0U, 0);
	m = scan();
	m.codings.n = DECODE_MAX + 1;
	is_broken(&m, sizeof(m), ~0U, 0);
	m = scan();
	m.codings.coding[0] = DECODE_CODINGS;
	is_broken(&m, sizeof(m), ~0U, 0);
	m = scan();
	memset(m.type, 'x', sizeof(m.type));
	is_broken(&m, sizeof(m), ~0U, 0);
	m = scan();
	m.file_bytes = 1; /* without a file */
	is_broken(&m, sizeof(m), ~0U, 0);
	is_broken(&m, sizeof(m), ~0U, 2);
	m.file_bytes = UINT64_MAX;
	is_broken(&m, sizeof(m), ~0U, 1);
}

/* Whatever the octets, a message that is taken is one. */
static void
test_random(void)
{
	struct clam_verdict v;
	struct clam_packet p;
	unsigned i, k, taken = 0;

	for (i = 0; i < 20000; i++) {
		v = verdict();
		for (k = unit_random(4); k > 0; k--)
			((unsigned char *)&v)[unit_random(
			    sizeof(v))] = (unsigned char)unit_random(256);
		v.kind = CLAM_VERDICT;
		pair_open();
		CU_ASSERT_TRUE(clam_wire_send(pair[0], &v, NULL, 0));
		if (take(CLAM_BIT(CLAM_VERDICT), &p) == CLAM_GOT) {
			taken++;
			CU_ASSERT(p.m.verdict.verdict <= VERDICT_BLOCKED &&
			    p.m.verdict.verdict != VERDICT_MODIFIED);
			CU_ASSERT(memchr(p.m.verdict.threat, '\0', CLAM_TEXT) !=
			    NULL);
		}
		pair_close();
	}
	CU_ASSERT(taken > 0);
}

static void
test_text(void)
{
	char to[8];

	memset(to, 'x', sizeof(to));
	clam_wire_text(to, sizeof(to), "a\tb\n\x7f");
	CU_ASSERT(memcmp(to, "a?b??\0\0\0", 8) == 0);
	clam_wire_text(to, sizeof(to), "longer than that");
	CU_ASSERT_STRING_EQUAL(to, "longer ");
}

/* ---- bodies that scanners have died of ---- */

static struct clam_body_print
print_of(const char *text, unsigned char digest)
{
	struct clam_body_print b;

	clam_print_begin(&b, strlen(text), text, strlen(text));
	memset(b.digest, digest, sizeof(b.digest));
	return (b);
}

static void
test_deaths(void)
{
	struct clam_body_print bad = print_of("bad", 1),
			       like = print_of("bad", 2),
			       other = print_of("other", 1);
	struct clam_deaths d = { .n = 0 };
	uint64_t now = 1000;
	unsigned i;

	CU_ASSERT_FALSE(clam_deaths_any(&d, now));
	for (i = 1; i <= DEATHS_ENOUGH; i++) {
		clam_deaths_add(&d, &bad, now + i);
		CU_ASSERT_EQUAL(clam_deaths_enough(&d, &bad, now + i),
		    i == DEATHS_ENOUGH);
	}
	CU_ASSERT_TRUE(clam_deaths_any(&d, now + i));
	CU_ASSERT_TRUE(clam_deaths_may_be(&d, &like, now + i));
	CU_ASSERT_FALSE(clam_deaths_enough(&d, &like, now + i));
	CU_ASSERT_FALSE(clam_deaths_may_be(&d, &other, now + i));
	now += DEATHS_MS + i;
	CU_ASSERT_FALSE(clam_deaths_any(&d, now));
	CU_ASSERT_FALSE(clam_deaths_enough(&d, &bad, now));
	clam_deaths_add(&d, &bad, now); /* it begins anew */
	CU_ASSERT_FALSE(clam_deaths_enough(&d, &bad, now));
}

/* The oldest makes room. */
static void
test_many_deaths(void)
{
	struct clam_deaths d = { .n = 0 };
	struct clam_body_print b;
	char text[20];
	unsigned i, k;

	for (i = 0; i < 3 * DEATHS_MOST; i++) {
		sprintf(text, "body %u", i);
		b = print_of(text, 0);
		for (k = 0; k < DEATHS_ENOUGH; k++)
			clam_deaths_add(&d, &b, 10 + i);
	}
	for (i = 0; i < 3 * DEATHS_MOST; i++) {
		sprintf(text, "body %u", i);
		b = print_of(text, 0);
		CU_ASSERT_EQUAL(clam_deaths_enough(&d, &b, 1000),
		    i >= 2 * DEATHS_MOST);
	}
}

UNIT_TESTS(scanners_clam_wire, { "whole ones", test_whole },
    { "sizes and kinds", test_sizes }, { "verdicts", test_verdicts },
    { "scans", test_scans }, { "random octets", test_random },
    { "texts", test_text }, { "deaths of a body", test_deaths },
    { "deaths of many", test_many_deaths })
