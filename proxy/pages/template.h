/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Templates of pages:
 *   {{name}}		the value, escaped
 *   {{#name}}..{{/name}}	left out when the value is absent or empty
 * A name that is not in the table is absent.  Templates are ours and
 * compiled in; what they hold is trusted, what values hold is not.
 *
 * Room: proxy.  Any thread.
 */
#ifndef PROXY_TEMPLATE_H
#define PROXY_TEMPLATE_H

#include "base/str.h"

struct template_value {
	const char *name;
	struct str value;
};

/* How a value gets into the output; text_add_html() for one. */
typedef void template_escape_fn(struct buf *, struct str);

struct template_values {
	const struct template_value *v;
	unsigned n;
	template_escape_fn *escape;
	struct template_value raw; /* one value that is not escaped: ours */
};

/* Append the template with its values.  Sections may be nested. */
void template_add(struct buf *, const char *text,
    const struct template_values *);

#endif
