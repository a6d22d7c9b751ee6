/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A table of CUnit tests becomes a program that prints TAP:
 *   UNIT_TESTS(base_chunk, { "moves", test_moves }, { "shares", test_shares })
 * unit_seed is printed and settable by UNIT_SEED, for random splits.
 */
#ifndef UNIT_H
#define UNIT_H

#include <CUnit/CUnit.h>
#include <stdint.h>

struct unit_test {
	const char *name;
	void (*run)(void);
};

extern uint64_t unit_seed;
/* A number in 0..n-1 from the seeded generator. */
unsigned unit_random(unsigned n);
int unit_main(const char *suite, const struct unit_test *, unsigned n);

#define UNIT_TESTS(suite, ...)                                                \
	int main(void)                                                        \
	{                                                                     \
		static const struct unit_test unit_tests[] = { __VA_ARGS__ }; \
		return (unit_main(#suite, unit_tests,                         \
		    sizeof(unit_tests) / sizeof(unit_tests[0])));             \
	}

#endif
