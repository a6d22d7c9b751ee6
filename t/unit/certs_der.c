/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DER: lengths of every form, and both kinds of time. */
#include <stdlib.h>
#include <string.h>
#include "certs/der.h"
#include "certs/der_read.h"
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

/* One element, whole or cut, and what DER forbids. */
static void
test_reading(void)
{
	static const struct {
		const char *bytes;
		size_t n;
		long content; /* -1: none */
	} rows[] = {
		{ "\x04\x00", 2, 0 }, { "\x04\x02xyz", 5, 2 },
		{ "\x04\x02x", 3, -1 }, { "\x04", 1, -1 }, { "", 0, -1 },
		{ "\x04\x80\0\0", 4, -1 },   /* no length */
		{ "\x04\x81\x02xy", 5, -1 }, /* longer than it has to be */
		{ "\x04\x82\0\x80", 4, -1 }, /* likewise */
		{ "\x04\x81", 2, -1 }, { "\x04\x82\x01", 3, -1 },
		{ "\x04\x84\xff\xff\xff\xff", 6, -1 },
		{ "\x04\x85\x01\0\0\0\0", 7, -1 }, { "\x04\xff", 2, -1 },
		{ "\x1f\x01\0", 3, -1 }, /* a long tag */
		{ "\x05\x00", 2, -1 },   /* another one */
	};
	struct der_in in, content, whole;
	unsigned i;
	bool ok;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		in = (struct der_in){ (const unsigned char *)rows[i].bytes,
			rows[i].n };
		ok = der_take(&in, DER_OCTET_STRING, &content);
		CU_ASSERT_EQUAL(ok, rows[i].content >= 0);
		CU_ASSERT(ok || in.n == rows[i].n);
		if (!ok)
			continue;
		CU_ASSERT_EQUAL((long)content.n, rows[i].content);
		CU_ASSERT_EQUAL(in.n, rows[i].n - content.n - 2);
		in = (struct der_in){ (const unsigned char *)rows[i].bytes,
			rows[i].n };
		CU_ASSERT(der_take_whole(&in, DER_OCTET_STRING, &whole));
		CU_ASSERT_EQUAL(whole.n, content.n + 2);
	}
}

static void
test_reading_times(void)
{
	static const struct {
		const char *text; /* with tag and length */
		time_t t;         /* -1: none */
	} rows[] = {
		{ "\027\015700101000000Z", 0 },
		{ "\027\015000229000000Z", 951782400 },
		{ "\027\015491231235959Z", 2524607999 },
		{ "\030\01720500101000000Z", 2524608000 },
		{ "\030\01719700101000000Z", 0 },
		{ "\027\015700101000000z", -1 },
		{ "\027\015701301000000Z", -1 },
		{ "\027\015700001000000Z", -1 },
		{ "\027\015700132000000Z", -1 },
		{ "\027\015700101240000Z", -1 },
		{ "\027\0157001010000-1Z", -1 },
		{ "\027\0137001010000Z", -1 },
		{ "\027\021700101000000+0100", -1 },
		{ "\030\01518700101000Z", -1 },
		{ "\030\01718700101000000Z", -1 },
		{ "\030\02320500101000000.123Z", -1 },
		{ "\004\015700101000000Z", -1 },
	};
	struct der_in in;
	unsigned i;
	time_t t;
	bool ok;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		in = (struct der_in){ (const unsigned char *)rows[i].text,
			strlen(rows[i].text) };
		ok = der_take_time(&in, &t);
		CU_ASSERT_EQUAL(ok, rows[i].t >= 0);
		CU_ASSERT(!ok || (t == rows[i].t && in.n == 0));
		if (ok != (rows[i].t >= 0))
			printf("# %s\n", rows[i].text + 2);
	}
}

static void
test_reading_oids(void)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *text;
	} rows[] = {
		{ "\x2a\x86\x48\xce\x3d\x04\x03\x02", 8,
		    "1.2.840.10045.4.3.2" },
		{ "\x55\x1d\x23", 3, "2.5.29.35" },
		{ "\x88\x37\x03", 3, "2.999.3" },
		{ "\x00", 1, "0.0" },
		{ "\x27", 1, "0.39" },
		{ "\x28", 1, "1.0" },
		{ "", 0, NULL },
		{ "\x2a\x80\x01", 3, NULL },
		{ "\x2a\x86", 2, NULL },
		{ "\x2a\xff\xff\xff\xff\xff\x01", 7, NULL },
		{ "\x2a\x8f\xff\xff\xff\x7f", 6, "1.2.4294967295" },
		{ "\x2a\x8f\xff\xff\xff\x7f\x8f\xff\xff\xff\x7f\x1", 12, NULL },
	};
	struct der_in in;
	char text[24];
	unsigned i;
	bool ok;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		in = (struct der_in){ (const unsigned char *)rows[i].bytes,
			rows[i].n };
		ok = der_oid_text(in, text, sizeof(text));
		CU_ASSERT_EQUAL(ok, rows[i].text != NULL);
		CU_ASSERT(!ok || strcmp(text, rows[i].text) == 0);
		if (ok != (rows[i].text != NULL))
			printf("# row %u: %s\n", i, ok ? text : "none");
	}
}

UNIT_TESTS(certs_der, { "reading", test_reading },
    { "reading times", test_reading_times },
    { "reading OIDs", test_reading_oids }, { "lengths", test_lengths },
    { "nesting", test_nesting }, { "times", test_times })
