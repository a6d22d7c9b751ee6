/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz multipart bodies: parts lie in the body, one after another, and do not
 * depend on how the body was cut.
 */
#include <assert.h>
#include <string.h>
#include "http/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define PARTS 64

static unsigned
split(const char *p, size_t n, size_t step, struct multipart_part *part)
{
	struct multipart_part spare;
	struct multipart m;
	unsigned count = 0;
	size_t at, used;

	multipart_init(&m, STR("b"));
	for (at = 0; at < n; at += used) {
		if (multipart_feed(&m, p + at, n - at < step ? n - at : step,
			&used, count < PARTS ? &part[count] : &spare) ==
		    MULTIPART_PART)
			count++;
		assert(used > 0);
	}
	if (multipart_end(&m, count < PARTS ? &part[count] : &spare))
		count++;
	multipart_fini(&m);
	return (count < PARTS ? count : PARTS);
}

static void
transfer(const char *p, size_t n, unsigned how)
{
	struct multipart_decoder d;
	struct buf out = { 0 };

	multipart_decoder_init(&d, how);
	multipart_decode(&d, p, n, &out);
	assert(out.n <= n + 1);
	buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct multipart_part whole[PARTS], bytes[PARTS];
	char room[MULTIPART_BOUNDARY_MAX + 1];
	struct str text = { (const char *)p, n }, boundary;
	unsigned count = split(text.p, n, n, whole), i;
	uint64_t end = 0;

	assert(split(text.p, n, 1, bytes) == count);
	for (i = 0; i < count; i++) {
		assert(whole[i].at >= end && whole[i].length > 0);
		end = whole[i].at + whole[i].length;
		assert(end <= n && bytes[i].at == whole[i].at &&
		    bytes[i].length == whole[i].length);
		assert(strcmp(whole[i].type, bytes[i].type) == 0);
	}
	if (multipart_type(text, room, &boundary))
		assert(boundary.n <= MULTIPART_BOUNDARY_MAX);
	transfer(text.p, n, MULTIPART_BASE64);
	transfer(text.p, n, MULTIPART_QUOTED);
	return (0);
}
