/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The canary, see clam_canary.h. */
#define ZLIB_CONST
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <zlib.h>
#include "scanners/clam_canary.h"

#define LOCAL 31 /* bytes of a local header with a name of one letter */
#define CENTRAL 47
#define END 22

void
clam_canary_make(struct clam_canary *c)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz012345";
	unsigned char random[32];
	size_t i;

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		abort();
	memcpy(c->text, "assaycanary", 11);
	for (i = 0; i < sizeof(random); i++)
		c->text[11 + i] = letters[random[i] % 32];
	c->text[11 + i] = '\0';
}

/* One signature for any file, one for HTML as libclamav normalises it. */
bool
clam_canary_write(const struct clam_canary *c, const char *path)
{
	FILE *f = fopen(path, "we");
	unsigned target;
	size_t i;
	bool ok;

	if (f == NULL)
		return (false);
	for (target = 0; target <= 3; target += 3) {
		fprintf(f, CANARY_NAME ":%u:*:", target);
		for (i = 0; c->text[i] != '\0'; i++)
			fprintf(f, "%02x", (unsigned char)c->text[i]);
		fputs("\n", f);
	}
	ok = !ferror(f);
	if (fclose(f) != 0)
		ok = false;
	if (!ok)
		unlink(path);
	return (ok);
}

static unsigned char *
put(unsigned char *to, uint32_t v, unsigned bytes)
{
	for (; bytes > 0; bytes--, v >>= 8)
		*to++ = (unsigned char)v;
	return (to);
}

/* What local and central header have in common (APPNOTE 4.3.7, 4.3.12). */
static unsigned char *
put_member(unsigned char *to, uint32_t crc, uint32_t coded, uint32_t plain)
{
	to = put(to, 20, 2);         /* version needed */
	to = put(to, 0, 2);          /* flags */
	to = put(to, 8, 2);          /* deflate */
	to = put(to, 0x21 << 16, 4); /* 1980-01-01 */
	to = put(to, crc, 4);
	to = put(to, coded, 4);
	to = put(to, plain, 4);
	to = put(to, 1, 2);     /* length of the name */
	return (put(to, 0, 2)); /* of the extra field */
}

/* Deflated with codes of its own, so that the text is not there to be seen. */
static uint32_t
deflated(const char *text, unsigned char *to, size_t cap)
{
	z_stream z = { .next_in = (const unsigned char *)text,
		.avail_in = (uInt)strlen(text),
		.next_out = to,
		.avail_out = (uInt)cap };

	if (deflateInit2(&z, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_FIXED) != Z_OK)
		abort();
	deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return ((uint32_t)z.total_out);
}

struct clam_sample
clam_canary_zip(const struct clam_canary *c)
{
	unsigned char packed[200], *p, *to;
	uint32_t plain = (uint32_t)strlen(c->text);
	uint32_t coded = deflated(c->text, packed, sizeof(packed));
	uint32_t crc = (uint32_t)crc32(0, (const void *)c->text, plain);

	p = to = calloc(1, LOCAL + coded + CENTRAL + END);
	if (p == NULL)
		abort();
	to = put_member(put(to, 0x04034b50, 4), crc, coded, plain);
	to = put(to, 'c', 1);
	memcpy(to, packed, coded);
	to = put(to + coded, 0x02014b50, 4);
	to = put_member(put(to, 20, 2), crc, coded, plain);
	to = put(to + 14, 'c', 1); /* no comment, disk 0, offset 0 */
	to = put(put(to, 0x06054b50, 4), 0, 4);
	to = put(put(to, 1, 2), 1, 2);
	to = put(to, CENTRAL, 4);
	to = put(to, LOCAL + coded, 4);
	to = put(to, 0, 2);
	return ((struct clam_sample){ p, (size_t)(to - p) });
}

struct clam_sample
clam_canary_html(const struct clam_canary *c)
{
	char html[160];
	unsigned char *p;
	size_t i, n;

	n = (size_t)snprintf(html, sizeof(html),
	    "<!DOCTYPE html>\r\n<html>"
	    "<head><title>x</title></head><body><p>%s</p></body></html>\r\n",
	    c->text);
	p = malloc(2 + 2 * n);
	if (p == NULL)
		abort();
	p[0] = 0xff; /* little endian */
	p[1] = 0xfe;
	for (i = 0; i < n; i++) {
		p[2 + 2 * i] = (unsigned char)html[i];
		p[3 + 2 * i] = 0;
	}
	return ((struct clam_sample){ p, 2 + 2 * n });
}
