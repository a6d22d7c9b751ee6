/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Problems, see problem.h. */
#include <stdarg.h>
#include <stdlib.h>
#include "base/str.h"
#include "proxy/problem.h"

void
problem_add(struct conf_problems *list, bool warning, const char *fmt, ...)
{
	struct buf text = { 0 };
	char line[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	buf_cstr(&text, line);
	if (list->n == list->cap) {
		list->cap = list->cap > 0 ? 2 * list->cap : 8;
		list->v = realloc(list->v, list->cap * sizeof(*list->v));
		if (list->v == NULL)
			abort();
	}
	list->v[list->n++] = (struct conf_problem){ .warning = warning,
		.text = text.p };
	if (!warning)
		list->errors++;
}

void
problem_fault(struct conf_problems *list, const char *area,
    const struct fault *f)
{
	problem_add(list, false, "%s: %s%s%s", area, err_info(f->code)->text,
	    f->detail[0] != '\0' ? ": " : "", f->detail);
}
