/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * URL patterns of rules: the home of PCRE2.
 * Patterns ignore case, since most servers do where it matters (".EXE"), and
 * match anywhere; "(?-i)", "^" and "$" say otherwise.  Match limits stop the
 * URL that makes a pattern run for ever.
 * Room: proxy.  Any thread; each has its own scratch memory.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "proxy/policy/match.h"

#define MATCH_LIMIT 100000 /* backtracking steps, about 1 ms */
#define DEPTH_LIMIT 1000
#define HEAP_LIMIT 4096 /* KiB */
#define STACK_FIRST (32 * 1024)
#define STACK_LAST (512 * 1024)

struct policy_pattern {
	pcre2_code *code; /* owned */
	bool jit;
};

/* What one thread needs to match. */
struct scratch {
	pcre2_match_data *data;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
};

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static _Thread_local struct scratch *scratch_mine;

static void
scratch_free(void *p)
{
	struct scratch *s = p;

	pcre2_match_data_free(s->data);
	pcre2_match_context_free(s->context);
	pcre2_jit_stack_free(s->stack);
	free(s);
}

static void
scratch_make_key(void)
{
	if (pthread_key_create(&scratch_key, scratch_free) != 0)
		abort();
}

static struct scratch *
scratch_get(void)
{
	struct scratch *s = scratch_mine;

	if (s != NULL)
		return (s);
	pthread_once(&scratch_once, scratch_make_key);
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		abort();
	s->data = pcre2_match_data_create(1, NULL);
	s->context = pcre2_match_context_create(NULL);
	s->stack = pcre2_jit_stack_create(STACK_FIRST, STACK_LAST, NULL);
	if (s->data == NULL || s->context == NULL)
		abort();
	pcre2_set_match_limit(s->context, MATCH_LIMIT);
	pcre2_set_depth_limit(s->context, DEPTH_LIMIT);
	pcre2_set_heap_limit(s->context, HEAP_LIMIT);
	if (s->stack != NULL)
		pcre2_jit_stack_assign(s->context, NULL, s->stack);
	pthread_setspecific(scratch_key, s);
	scratch_mine = s;
	return (s);
}

struct policy_pattern *
policy_pattern_new(const char *text, char why[POLICY_WHY], unsigned *at)
{
	struct policy_pattern *p;
	pcre2_code *code;
	PCRE2_SIZE where;
	int fault;

	code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
	    PCRE2_CASELESS | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY,
	    &fault, &where, NULL);
	if (code == NULL) {
		if (pcre2_get_error_message(fault, (PCRE2_UCHAR *)why,
			POLICY_WHY) < 0)
			snprintf(why, POLICY_WHY, "error %d", fault);
		*at = (unsigned)where;
		return (NULL);
	}
	p = malloc(sizeof(*p));
	if (p == NULL)
		abort();
	p->code = code;
	p->jit = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;
	return (p);
}

enum policy_answer
policy_pattern_match(const struct policy_pattern *p, struct str url)
{
	const struct scratch *s = scratch_get();
	int r;

	if (p->jit)
		r = pcre2_jit_match(p->code, (PCRE2_SPTR)url.p, url.n, 0, 0,
		    s->data, s->context);
	else
		r = pcre2_match(p->code, (PCRE2_SPTR)url.p, url.n, 0, 0,
		    s->data, s->context);
	if (r >= 0)
		return (POLICY_YES);
	return (r == PCRE2_ERROR_NOMATCH ? POLICY_NO : POLICY_UNKNOWN);
}

void
policy_pattern_free(struct policy_pattern **p)
{
	if (*p == NULL)
		return;
	pcre2_code_free((*p)->code);
	free(*p);
	*p = NULL;
}
