/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Media types of a message, see types.h. */
#include "http/types.h"

static bool
has_type(const struct str *v, unsigned n, struct str type)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (str_ieq(v[i], type))
			return (true);
	return (false);
}

unsigned
http_types(const struct http_fields *fields, struct str *v, unsigned max)
{
	const struct http_field *f;
	struct str rest, type;
	unsigned n = 0;

	for (f = http_fields_get(fields, FIELD_CONTENT_TYPE); f != NULL;
	     f = http_fields_next(fields, f)) {
		rest = f->value;
		while (str_next_element(&rest, &type)) {
			type.n = str_index(type, ';');
			type = str_trim(type);
			if (has_type(v, n, type))
				continue;
			if (n == max) {
				v[n - 1] = STR("");
				return (n);
			}
			v[n++] = type;
		}
	}
	return (n);
}
