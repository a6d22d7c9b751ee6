/* SPDX-License-Identifier: GPL-2.0-or-later */
/* calloc() of assayd: zeroed, bounded, out of the thread's cache. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "t/unit/unit.h"

static const size_t sizes[] = { 1, 24, 25, 100, 1000, 5000, 200000 };

static void
test_zeroed(void)
{
	unsigned char *p;
	size_t n;
	unsigned i, k;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		p = malloc(sizes[i]);
		memset(p, 0xa5, sizes[i]);
		free(p);
		for (k = 0; k < 3; k++) {
			p = calloc(k + 1, sizes[i]);
			CU_ASSERT_PTR_NOT_NULL_FATAL(p);
			for (n = 0; n < sizes[i] * (k + 1); n++)
				if (p[n] != 0)
					CU_FAIL_FATAL("not zero");
			memset(p, 0x5a, n);
			free(p);
		}
	}
	p = calloc(0, 8);
	free(p);
}

#if defined(__SANITIZE_ADDRESS__)
const char *__asan_default_options(void);

const char *
__asan_default_options(void)
{
	return ("allocator_may_return_null=1");
}
#elif defined(__SANITIZE_THREAD__)
const char *__tsan_default_options(void);

const char *
__tsan_default_options(void)
{
	return ("allocator_may_return_null=1");
}
#endif

static void
test_too_much(void)
{
	static const size_t pairs[][2] = { { SIZE_MAX, 2 }, { 2, SIZE_MAX },
	    { SIZE_MAX / 8, 9 }, { (size_t)1 << 40, (size_t)1 << 40 } };
	volatile size_t n, size;
	unsigned i;

	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		n = pairs[i][0];
		size = pairs[i][1];
		errno = 0;
		CU_ASSERT_PTR_NULL(calloc(n, size));
		CU_ASSERT_EQUAL(errno, ENOMEM);
	}
}

/* What it is there for. */
static void
test_cached(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && \
    defined(__GLIBC__)
	void *volatile p = malloc(100), *volatile q;
	uintptr_t was = (uintptr_t)p;

	free(p);
	q = calloc(1, 100);
	CU_ASSERT_EQUAL((uintptr_t)q, was);
	free(q);
#endif
}

UNIT_TESTS(proxy_calloc,
    { "zeroed", test_zeroed },
    { "more than there can be", test_too_much },
    { "from the thread's cache", test_cached })
