/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The only callers of an exchange's type, see exchange.h. */
#include <assert.h>
#include "proxy/wire/exchange.h"

struct arena *
exchange_take(struct exchange *x, struct task *wake)
{
	struct arena *a = x->arena;

	assert(a != NULL && x->wake == NULL && wake != NULL);
	assert(x->req != NULL || x->fault.code != ERR_NONE);
	x->arena = NULL;
	x->wake = wake;
	return (a);
}

struct body *
exchange_body(struct exchange *x, struct body_store *store)
{
	assert(x->req != NULL && x->fault.code == ERR_NONE);
	return (x->type->body(x, store));
}

void
exchange_interim(struct exchange *x, const struct http_msg *m)
{
	assert(m->status >= 100 && m->status < 200);
	x->type->interim(x, m);
}

bool
exchange_takes_interim(struct exchange *x)
{
	return (x->type->takes_interim(x));
}

void
exchange_continue(struct exchange *x)
{
	x->type->go_on(x);
}

struct sink *
exchange_respond(struct exchange *x, struct http_msg *m, bool has_body,
    bool keep)
{
	struct sink *s;

	assert(!m->is_request && m->status >= 200);
	s = x->type->respond(x, m, has_body, keep);
	assert((s != NULL) == has_body);
	return (s);
}

struct duplex *
exchange_switch(struct exchange *x, struct http_msg *m)
{
	assert(!m->is_request && m->status == 101);
	assert(x->req != NULL && x->wake != NULL);
	assert(x->type->switched != NULL);
	return (x->type->switched(x, m));
}

void
exchange_end(struct exchange **xp, enum exchange_end how)
{
	struct exchange *x = *xp;

	*xp = NULL;
	if (x == NULL)
		return;
	assert(x->wake != NULL && x->arena == NULL);
	x->wake = NULL;
	x->req = NULL; /* it was in the flow's arena */
	x->type->end(x, how);
}

enum pace_says
exchange_pace(struct exchange *x, uint64_t now, uint64_t silence, uint64_t rate)
{
	return (x->type->pace(x, now, silence, rate));
}

uint64_t
exchange_pace_due(const struct exchange *x, uint64_t now, uint64_t silence,
    uint64_t rate)
{
	return (x->type->pace_due(x, now, silence, rate));
}

void
exchange_count(struct exchange *x, uint64_t *in, uint64_t *out)
{
	x->type->count(x, in, out);
}
