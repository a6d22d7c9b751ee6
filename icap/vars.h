/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Variables in the values of configured headers: "%{client.ip}".  Every "%{"
 * begins one; a "%" alone is itself.  The configuration and the writer of
 * requests read values by the same function.
 * Room: icap.  Any thread.
 */
#ifndef ICAP_VARS_H
#define ICAP_VARS_H

#include <stdbool.h>
#include "base/str.h"
#include "scanners/scanner.h"

/*
 * Are all variables in the value known?  Else *bad is the first that is not,
 * as it stands there.
 */
bool icap_vars_check(struct str value, struct str *bad);
/* Is there one? */
bool icap_vars_has(struct str value);
/*
 * Append the value (which icap_vars_check() takes) with what they stand for
 * now.  Octets of those that could break a header line, and "%", are
 * percent-encoded.  Not known: nothing.  who NULL: none is known.
 */
void icap_vars_print(struct buf *, struct str value,
    const struct scan_who *who);

#endif
