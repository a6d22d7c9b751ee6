/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The only callers of a sink's type, see sink.h. */
#include <assert.h>
#include "stream/sink.h"

void
sink_init(struct sink *s, const struct sink_type *type, struct task *wake)
{
	assert(type->room != NULL && type->write != NULL && type->end != NULL &&
	    type->taken != NULL);
	*s = (struct sink){ .type = type, .wake = wake, .end = PULL_MORE };
}

void
sink_wake(struct sink *s)
{
	if (!s->waiting)
		return;
	s->waiting = false;
	task_wake(s->wake);
}

size_t
sink_room(struct sink *s)
{
	size_t n;

	assert(s->type != NULL && s->end == PULL_MORE);
	n = s->type->room(s);
	s->waiting = n == 0;
	return (n);
}

bool
sink_write(struct sink *s, struct chq *q, size_t n)
{
	size_t had = chq_len(q);

	assert(s->type != NULL && s->end == PULL_MORE);
	assert(n > 0 && n <= had);
	if (!s->type->write(s, q, n)) {
		assert(chq_len(q) == had);
		sink_abort(s);
		return (false);
	}
	assert(chq_len(q) == had - n);
	return (true);
}

enum pull
sink_end(struct sink *s, const void *trailer)
{
	enum pull p;

	assert(s->type != NULL && s->end == PULL_MORE);
	p = s->type->end(s, trailer);
	assert(p == PULL_END || p == PULL_CUT);
	s->waiting = false;
	if (p == PULL_END)
		s->end = p;
	else
		sink_abort(s);
	return (p);
}

void
sink_abort(struct sink *s)
{
	if (s->type == NULL || s->end != PULL_MORE)
		return;
	s->end = PULL_CUT;
	s->waiting = false;
	if (s->type->abort != NULL)
		s->type->abort(s);
}

uint64_t
sink_taken(struct sink *s)
{
	assert(s->type != NULL);
	return (s->type->taken(s));
}
