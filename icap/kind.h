/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Of which kind is the file in a message?  All that says so must agree.
 * Room: icap.  Obeys RFC 3986 3.3, RFC 6266 4.3, RFC 9110 8.3.
 */
#ifndef ICAP_KIND_H
#define ICAP_KIND_H

#include <stdbool.h>
#include "scanners/scanner.h"

/*
 * Behind the last dot of the last segment of a path ("/dir/file.ext?query");
 * empty if there is none.
 */
struct str icap_extension(struct str path);
/*
 * Do the URL, each name in Content-Disposition and each Content-Type speak of
 * the same kind?  False as well for a kind that is not known here, and if no
 * type is given.
 */
bool icap_kind_agrees(const struct scan_message *);

#endif
