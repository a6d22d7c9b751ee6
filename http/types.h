/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which media types may receivers take a message for?  One, if all goes well.
 * Of several Content-Type fields some take the first and some the last, and
 * browsers take the last that they know of a list in one (Fetch 2.2.2).
 *
 * Room: http.  Any thread.  Obeys RFC 9110 8.3.
 */
#ifndef HTTP_TYPES_H
#define HTTP_TYPES_H

#include "http/msg.h"

/*
 * Types without their parameters, each once, in their order, as parts of the
 * fields.  The number; max, the last one being empty, if there are more.
 */
unsigned http_types(const struct http_fields *, struct str *v, unsigned max);

#endif
