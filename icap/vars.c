/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Variables in the values of headers, see vars.h. */
#include <stddef.h>
#include "http/chars.h"
#include "icap/vars.h"

#define WHO(member) offsetof(struct scan_who, member)

static const struct {
	struct str name;
	size_t at; /* a struct str of struct scan_who */
} vars[] = {
	{ STR("client.ip"), WHO(client_ip) },
	{ STR("user"), WHO(user) },
	{ STR("rule"), WHO(rule) },
	{ STR("reference"), WHO(reference) },
	{ STR("sni"), WHO(sni) },
	{ STR("listener"), WHO(listener) },
};

#define VARS (sizeof(vars) / sizeof(vars[0]))

static size_t
index_of(struct str name)
{
	size_t i;

	for (i = 0; i < VARS && !str_eq(name, vars[i].name); i++)
		;
	return (i);
}

/* A piece of a value: text, or a variable. */
struct piece {
	struct str text; /* as it stands there */
	bool is_var;
	size_t var; /* VARS: not known */
};

/* Take the first piece off; false: there is none. */
static bool
next_piece(struct str *s, struct piece *p)
{
	size_t i = 0;

	if (s->n == 0)
		return (false);
	p->is_var = s->n >= 2 && s->p[0] == '%' && s->p[1] == '{';
	if (p->is_var) {
		i = str_index(*s, '}');
		p->var = i < s->n ? index_of((struct str){ s->p + 2, i - 2 })
				  : VARS;
		i += i < s->n;
	} else {
		while (i < s->n &&
		    !(i + 1 < s->n && s->p[i] == '%' && s->p[i + 1] == '{'))
			i++;
	}
	p->text = (struct str){ s->p, i };
	*s = (struct str){ s->p + i, s->n - i };
	return (true);
}

bool
icap_vars_check(struct str value, struct str *bad)
{
	struct piece p;

	while (next_piece(&value, &p))
		if (p.is_var && p.var == VARS) {
			*bad = p.text;
			return (false);
		}
	return (true);
}

bool
icap_vars_has(struct str value)
{
	struct piece p;

	while (next_piece(&value, &p))
		if (p.is_var)
			return (true);
	return (false);
}

static void
print_safe(struct buf *b, struct str s)
{
	static const char hex[] = "0123456789ABCDEF";
	char coded[3] = { '%' };
	size_t i;

	for (i = 0; i < s.n; i++) {
		if (http_char_is(s.p[i], CHAR_VALUE) && s.p[i] != '%' &&
		    s.p[i] != '\t') {
			buf_add(b, s.p + i, 1);
			continue;
		}
		coded[1] = hex[(unsigned char)s.p[i] >> 4];
		coded[2] = hex[(unsigned char)s.p[i] & 15];
		buf_add(b, coded, 3);
	}
}

void
icap_vars_print(struct buf *b, struct str value, const struct scan_who *who)
{
	struct piece p;

	while (next_piece(&value, &p)) {
		if (!p.is_var)
			buf_str(b, p.text);
		else if (who != NULL && p.var < VARS)
			print_safe(b,
			    *(const struct str *)(const void *)((const char *)
								    who +
				vars[p.var].at));
	}
}
