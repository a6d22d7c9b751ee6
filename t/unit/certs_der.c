/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DER: lengths of every form, and both kinds of time. */
#include <stdlib.h>
#include <string.h>
#include "certs/der.h"
#include "t/unit/unit.h"

static void
test_lengths(void)
{
	static const struct {
		size_t n;
		unsigned head;
		unsigned char bytes[5];
	} cases[] = {
		{ 0, 2, { 0x04, 0 } },
		{ 127, 2, { 0x04, 127 } },
		{ 128, 3, { 0x04, 0x81, 128 } },
		{ 255, 3, { 0x04, 0x81, 255 } },
		{ 256, 4, { 0x04, 0x82, 1, 0 } },
		{ 65535, 4, { 0x04, 0x82, 255, 255 } },
		{ 65536, 5, { 0x04, 0x83, 1, 0, 0 } },
	};
	unsigned char *buf = malloc(70000), *data = calloc(1, 66000);
	struct der d;
	unsigned i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		d = der_begin(buf, 70000);
		der_put(&d, DER_OCTET_STRING, data, cases[i].n);
		CU_ASSERT_EQUAL(buf + 70000 - d.at,
		    (long)(cases[i].n + cases[i].head));
		CU_ASSERT(memcmp(d.at, cases[i].bytes, cases[i].head) == 0);
	}
	free(buf);
	free(data);
}

static void
test_nesting(void)
{
	static const unsigned char want[] = { 0x30, 8, 2, 1, 5, 0x31, 3, 12, 1,
		'x' };
	unsigned char buf[16];
	struct der d = der_begin(buf, sizeof(buf));
	const unsigned char *end = d.at;

	der_put(&d, DER_UTF8, "x", 1);
	der_wrap(&d, DER_SET, end);
	der_put(&d, DER_INTEGER, "\005", 1);
	der_wrap(&d, DER_SEQUENCE, end);
	CU_ASSERT_EQUAL(end - d.at, (long)sizeof(want));
	CU_ASSERT(memcmp(d.at, want, sizeof(want)) == 0);
}

static void
test_times(void)
{
	static const struct {
		time_t t;
		const char *want;
	} cases[] = {
		{ 0, "\027\015700101000000Z" },
		{ 951782400, "\027\015000229000000Z" },
		{ 2524607999, "\027\015491231235959Z" },
		{ 2524608000, "\030\01720500101000000Z" },
	};
	unsigned char buf[32];
	struct der d;
	unsigned i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		d = der_begin(buf, sizeof(buf));
		der_time(&d, cases[i].t);
		CU_ASSERT_EQUAL(buf + sizeof(buf) - d.at,
		    (long)strlen(cases[i].want));
		CU_ASSERT(
		    memcmp(d.at, cases[i].want, strlen(cases[i].want)) == 0);
	}
}

UNIT_TESTS(certs_der, { "lengths", test_lengths }, { "nesting", test_nesting },
    { "times", test_times })
