/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Faults, see fault.h. */
#include <stdarg.h>
#include <stdio.h>
#include "base/fault.h"

static const struct err_info infos[ERR_COUNT] = {
#define E(name, scope, status, token, text) \
	[ERR_##name] = { #name, ERR_SCOPE_##scope, status, token, text },
#include "base/err.def"
#undef E
};

const struct err_info *
err_info(enum err code)
{
	return (&infos[code]);
}

enum err
fault_set(struct fault *f, enum err code, const char *fmt, ...)
{
	va_list ap;

	if (f == NULL)
		return (code);
	if (f->code != ERR_NONE)
		return (f->code);
	f->code = code;
	f->detail[0] = '\0';
	if (fmt != NULL) {
		va_start(ap, fmt);
		(void)vsnprintf(f->detail, sizeof(f->detail), fmt, ap);
		va_end(ap);
	}
	return (code);
}

enum err
fault_copy(struct fault *dst, const struct fault *src)
{
	if (dst->code == ERR_NONE)
		*dst = *src;
	return (dst->code);
}
