/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Templates of pages, see template.h. */
#include <assert.h>
#include <string.h>
#include "proxy/pages/template.h"

static bool
is_named(struct str name, const char *other)
{
	return (other != NULL && str_eq(name, str_of(other)));
}

static struct str
value_of(const struct template_values *t, struct str name)
{
	unsigned i;

	for (i = 0; i < t->n; i++)
		if (is_named(name, t->v[i].name))
			return (t->v[i].value);
	return (STR_NONE);
}

static void
add_value(struct buf *b, struct str name, const struct template_values *t)
{
	if (is_named(name, t->raw.name))
		buf_str(b, t->raw.value);
	else
		t->escape(b, value_of(t, name));
}

/* What follows the end of the section that begins at text. */
static const char *
skip_section(const char *text, struct str name)
{
	const char *end;

	for (; (text = strstr(text, "{{/")) != NULL; text += 3) {
		end = strstr(text, "}}");
		assert(end != NULL);
		if (str_eq(name,
			(struct str){ text + 3, (size_t)(end - text) - 3 }))
			return (end + 2);
	}
	assert(!"a section of a template has no end");
	return (NULL);
}

void
template_add(struct buf *b, const char *text, const struct template_values *t)
{
	const char *tag, *end;
	struct str name;

	while ((tag = strstr(text, "{{")) != NULL) {
		buf_add(b, text, (size_t)(tag - text));
		end = strstr(tag, "}}");
		assert(end != NULL);
		name = (struct str){ tag + 2, (size_t)(end - tag) - 2 };
		text = end + 2;
		if (name.n > 0 && name.p[0] == '/')
			continue;
		if (name.n == 0 || name.p[0] != '#') {
			add_value(b, name, t);
			continue;
		}
		name = (struct str){ name.p + 1, name.n - 1 };
		if (value_of(t, name).n == 0)
			text = skip_section(text, name);
	}
	buf_cstr(b, text);
}
