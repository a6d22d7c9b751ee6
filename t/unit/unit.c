/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CUnit tables printed as TAP, see unit.h. */
#include <CUnit/TestRun.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "t/unit/unit.h"

uint64_t unit_seed;
static unsigned done;

unsigned
unit_random(unsigned n)
{
	unit_seed = unit_seed * 6364136223846793005u + 1442695040888963407u;
	return ((unsigned)(unit_seed >> 33) % n);
}

static void
on_complete(const CU_pTest test, const CU_pSuite suite,
    const CU_pFailureRecord first)
{
	CU_pFailureRecord f;

	(void)suite;
	printf("%sok %u - %s\n", first == NULL ? "" : "not ", ++done,
	    test->pName);
	for (f = first; f != NULL; f = f->pNext)
		printf("# %s:%u: %s\n", f->strFileName, f->uiLineNumber,
		    f->strCondition);
	fflush(stdout);
}

int
unit_main(const char *suite, const struct unit_test *tests, unsigned n)
{
	const char *seed = getenv("UNIT_SEED");
	CU_pSuite s;
	unsigned i;

	unit_seed = seed != NULL ? strtoull(seed, NULL, 10)
				 : (uint64_t)time(NULL);
	printf("# %s seed %" PRIu64 "\n1..%u\n", suite, unit_seed, n);
	fflush(stdout);
	if (CU_initialize_registry() != CUE_SUCCESS)
		return (1);
	s = CU_add_suite(suite, NULL, NULL);
	for (i = 0; i < n; i++)
		if (CU_add_test(s, tests[i].name, tests[i].run) == NULL)
			return (1);
	CU_set_test_complete_handler(on_complete);
	CU_run_all_tests();
	i = CU_get_number_of_tests_failed();
	CU_cleanup_registry();
	return (i != 0);
}
