/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counted strings, growing buffers, arenas, faults. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/fault.h"
#include "base/str.h"
#include "t/unit/unit.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* A copy with no byte behind it, so that a read too far is seen. */
static struct str
exact(const char *text)
{
	size_t n = strlen(text);
	char *p = malloc(n > 0 ? n : 1);

	memcpy(p, text, n);
	return ((struct str){ p, n });
}

static void
drop(struct str s)
{
	free((void *)(uintptr_t)s.p);
}

static void
test_compare(void)
{
	static const struct {
		const char *a, *b;
		bool eq, ieq, starts, iends;
	} rows[] = {
		{ "", "", true, true, true, true },
		{ "a", "", false, false, true, true },
		{ "", "a", false, false, false, false },
		{ "abc", "abc", true, true, true, true },
		{ "aBc", "AbC", false, true, false, true },
		{ "abc", "ab", false, false, true, false },
		{ "abc", "bC", false, false, false, true },
		{ "ab", "abc", false, false, false, false },
		{ "a[", "a{", false, false, false, false },
		{ "a@", "a`", false, false, false, false },
		{ "\xc4", "\xe4", false, false, false, false },
	};
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		struct str a = exact(rows[i].a), b = exact(rows[i].b);

		CU_ASSERT_EQUAL(str_eq(a, b), rows[i].eq);
		CU_ASSERT_EQUAL(str_ieq(a, b), rows[i].ieq);
		CU_ASSERT_EQUAL(str_starts(a, b), rows[i].starts);
		CU_ASSERT_EQUAL(str_iends(a, b), rows[i].iends);
		CU_ASSERT(!rows[i].starts || str_istarts(a, b));
		drop(a);
		drop(b);
	}
}

/* The absent string is an empty one everywhere. */
static void
test_absent(void)
{
	struct str rest = STR_NONE, e;
	struct buf b = { 0 };
	uint64_t v;

	CU_ASSERT(str_of(NULL).p == NULL && str_of(NULL).n == 0);
	CU_ASSERT(str_eq(STR_NONE, STR("")) && str_ieq(STR_NONE, STR_NONE));
	CU_ASSERT(str_starts(STR_NONE, STR_NONE));
	CU_ASSERT(str_starts(STR("x"), STR_NONE));
	CU_ASSERT(str_istarts(STR("Image/gif"), STR("imaGe/")));
	CU_ASSERT(str_istarts(STR_NONE, STR_NONE));
	CU_ASSERT(str_ione_of(STR("Br"),
	    (struct str[]){ STR("gzip"), STR("br") }, 2));
	CU_ASSERT_FALSE(str_ione_of(STR("br"),
	    (struct str[]){ STR("gzip"), STR("br") }, 1));
	CU_ASSERT_FALSE(str_ione_of(STR("b"), NULL, 0));
	CU_ASSERT_FALSE(str_istarts(STR("image"), STR("image/")));
	CU_ASSERT_FALSE(str_istarts(STR("x-image/"), STR("image/")));
	CU_ASSERT(str_iends(STR_NONE, STR_NONE));
	CU_ASSERT(str_iends(STR("x"), STR_NONE));
	CU_ASSERT_FALSE(str_starts(STR_NONE, STR("x")));
	CU_ASSERT_FALSE(str_iends(STR_NONE, STR("x")));
	CU_ASSERT_EQUAL(str_trim(STR_NONE).n, 0);
	CU_ASSERT_EQUAL(str_index(STR_NONE, 'x'), 0);
	CU_ASSERT_FALSE(str_next_element(&rest, &e));
	CU_ASSERT_FALSE(str_to_u64(STR_NONE, 9, &v));
	buf_str(&b, STR_NONE);
	CU_ASSERT_STRING_EQUAL(b.p, "");
	buf_fini(&b);
}

static void
test_trim_index(void)
{
	static const struct {
		const char *in, *out;
	} rows[] = { { "", "" }, { " ", "" }, { "\t \t", "" }, { "a", "a" },
		{ " a b\t", "a b" }, { "\ra\n", "\ra\n" }, { " \v ", "\v" } };
	struct str s = { "a\0b,", 4 };
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		struct str in = exact(rows[i].in);

		CU_ASSERT(str_eq(str_trim(in), str_of(rows[i].out)));
		drop(in);
	}
	CU_ASSERT_EQUAL(str_index(s, ','), 3);
	CU_ASSERT_EQUAL(str_index(s, '\0'), 1);
	CU_ASSERT_EQUAL(str_index(s, 'x'), 4);
}

static void
test_elements(void)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "", "" },
		{ ",", "" },
		{ " , ,\t,", "" },
		{ "a", "<a>" },
		{ "a,b", "<a><b>" },
		{ " a ,, b c ,", "<a><b c>" },
		{ "\"a,b\",c", "<\"a,b\"><c>" },
		{ "\"a\\\",b\",c", "<\"a\\\",b\"><c>" },
		{ "x=\"a,b", "<x=\"a,b>" },
		{ "\"a\\", "<\"a\\>" },
		{ "a\\,b", "<a\\><b>" },
	};
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		struct str in = exact(rows[i].in), rest = in, e;
		struct buf b = { 0 };

		while (str_next_element(&rest, &e))
			buf_printf(&b, "<%.*s>", STR_ARG(e));
		CU_ASSERT(str_eq(buf_as_str(&b), str_of(rows[i].out)));
		buf_fini(&b);
		drop(in);
	}
}

static void
test_numbers(void)
{
	static const struct {
		const char *in;
		uint64_t max;
		bool ok;
		uint64_t v;
	} rows[] = {
		{ "0", 0, true, 0 },
		{ "1", 0, false, 0 },
		{ "9", 5, false, 0 },
		{ "5", 5, true, 5 },
		{ "6", 5, false, 0 },
		{ "10", 9, false, 0 },
		{ "10", 10, true, 10 },
		{ "11", 10, false, 0 },
		{ "0000000000000000000000007", 7, true, 7 },
		{ "18446744073709551615", UINT64_MAX, true, UINT64_MAX },
		{ "18446744073709551616", UINT64_MAX, false, 0 },
		{ "18446744073709551620", UINT64_MAX, false, 0 },
		{ "99999999999999999999", UINT64_MAX, false, 0 },
		{ "65535", 65535, true, 65535 },
		{ "65536", 65535, false, 0 },
		{ "", 9, false, 0 },
		{ "+1", 9, false, 0 },
		{ "-1", 9, false, 0 },
		{ " 1", 9, false, 0 },
		{ "1 ", 9, false, 0 },
		{ "0x1", 99, false, 0 },
		{ "1,0", 99, false, 0 },
		{ "\xb1", 99, false, 0 },
	};
	unsigned i, max, v;
	char text[8];
	uint64_t out;

	for (i = 0; i < COUNT(rows); i++) {
		struct str s = exact(rows[i].in);

		out = 12345;
		CU_ASSERT_EQUAL(str_to_u64(s, rows[i].max, &out), rows[i].ok);
		CU_ASSERT(out == (rows[i].ok ? rows[i].v : 12345));
		drop(s);
	}
	for (max = 0; max < 120; max++)
		for (v = 0; v < 130; v++) {
			snprintf(text, sizeof(text), "%u", v);
			CU_ASSERT_EQUAL(str_to_u64(str_of(text), max, &out),
			    v <= max);
		}
}

static void
test_buf(void)
{
	struct buf b = { 0 };
	struct buf copy = { 0 };
	unsigned i, k;
	bool wrong = false;

	buf_printf(&b, "%s", "");
	CU_ASSERT_EQUAL(b.n, 0);
	CU_ASSERT_EQUAL(*buf_room(&b, 0), '\0');
	buf_add(&b, NULL, 0);
	CU_ASSERT_STRING_EQUAL(b.p, "");
	for (i = 0; i < 3000; i++) {
		k = unit_random(40);
		if (i % 3 == 0)
			buf_printf(&b, "%0*u", (int)k, i);
		else if (i % 3 == 1)
			buf_cstr(&b, "text");
		else {
			memset(buf_room(&b, k), 'x', k);
			b.n += k;
			buf_add(&b, "", 0);
		}
		wrong |= b.p[b.n] != '\0' || b.n >= b.cap;
	}
	CU_ASSERT_FALSE(wrong);
	CU_ASSERT_EQUAL(strlen(b.p), b.n);
	buf_str(&copy, buf_as_str(&b));
	CU_ASSERT(str_eq(buf_as_str(&copy), buf_as_str(&b)));
	buf_fini(&b);
	buf_fini(&copy);
	CU_ASSERT(b.p == NULL && b.n == 0 && b.cap == 0);
	buf_fini(&b);
}

static void
test_arena(void)
{
	struct arena *a;
	struct {
		unsigned char *p;
		size_t n;
		unsigned char c;
	} piece[400];
	bool wrong = false;
	unsigned i, k, round;
	size_t total;

	for (round = 0; round < 20; round++) {
		a = arena_new();
		total = 0;
		for (i = 0; i < COUNT(piece); i++) {
			k = unit_random(10) == 0 ? unit_random(30000)
						 : unit_random(200);
			piece[i].n = k;
			piece[i].c = (unsigned char)unit_random(256);
			piece[i].p = i % 2 == 0 ? arena_alloc(a, k)
						: arena_zalloc(a, k);
			wrong |= ((uintptr_t)piece[i].p & 15) != 0;
			if (i % 2 == 1 && k > 0)
				wrong |= piece[i].p[0] != 0 ||
				    piece[i].p[k - 1] != 0;
			memset(piece[i].p, piece[i].c, k);
			total += k;
		}
		for (i = 0; i < COUNT(piece); i++)
			for (k = 0; k < piece[i].n; k++)
				wrong |= piece[i].p[k] != piece[i].c;
		CU_ASSERT(arena_bytes(a) >= total);
		arena_free(&a);
		CU_ASSERT_PTR_NULL(a);
		arena_free(&a);
	}
	CU_ASSERT_FALSE(wrong);
}

static void
test_arena_text(void)
{
	struct arena *a = arena_new();
	struct str s = arena_str(a, (struct str){ "ab\0c", 4 });

	CU_ASSERT(s.n == 4 && memcmp(s.p, "ab\0c", 5) == 0);
	s = arena_str(a, STR_NONE);
	CU_ASSERT(s.p != NULL && s.n == 0 && s.p[0] == '\0');
	CU_ASSERT_STRING_EQUAL(arena_cstr(a, "text"), "text");
	s = arena_printf(a, "%s-%u", "n", 7u);
	CU_ASSERT(str_eq(s, STR("n-7")) && s.p[3] == '\0');
	s = arena_printf(a, "%9000d", 1);
	CU_ASSERT(s.n == 9000 && s.p[9000] == '\0');
	arena_free(&a);
}

static void
test_faults(void)
{
	struct fault f = { 0 }, g = { 0 };
	char longer[400];
	unsigned i;

	for (i = 0; i < ERR_COUNT; i++) {
		const struct err_info *e = err_info((enum err)i);

		CU_ASSERT(e->name != NULL && e->text[0] != '\0' &&
		    e->token != NULL && e->status >= 200 && e->status < 600);
	}
	CU_ASSERT_EQUAL(fault_set(NULL, ERR_MEMORY, "%s", "x"), ERR_MEMORY);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	CU_ASSERT_EQUAL(fault_set(&f, ERR_DNS_FAIL, "%s", longer),
	    ERR_DNS_FAIL);
	CU_ASSERT_EQUAL(strlen(f.detail), sizeof(f.detail) - 1);
	CU_ASSERT_EQUAL(fault_set(&f, ERR_MEMORY, "later"), ERR_DNS_FAIL);
	CU_ASSERT_EQUAL(f.detail[0], 'x');
	CU_ASSERT_EQUAL(fault_copy(&g, &f), ERR_DNS_FAIL);
	CU_ASSERT_STRING_EQUAL(g.detail, f.detail);
	f = (struct fault){ 0 };
	CU_ASSERT_EQUAL(fault_set(&f, ERR_MEMORY, NULL), ERR_MEMORY);
	CU_ASSERT_EQUAL(fault_copy(&g, &f), ERR_DNS_FAIL);
}

UNIT_TESTS(base_str, { "comparing", test_compare },
    { "the absent string", test_absent },
    { "trimming and finding", test_trim_index },
    { "list elements", test_elements }, { "numbers", test_numbers },
    { "buffers", test_buf }, { "arenas", test_arena },
    { "text in arenas", test_arena_text }, { "faults", test_faults })
