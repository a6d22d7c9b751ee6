/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The content codings of a message that is scanned.
 * Room: scanners.  Thread: any.
 */
#ifndef SCANNERS_CODINGS_H
#define SCANNERS_CODINGS_H

#include "scanners/decode.h"
#include "scanners/scanner.h"

/*
 * What its head says of its body, added to the list.  Nothing of a part of a
 * coded body: that cannot be decoded.
 */
void codings_of_message(const struct scan_message *, struct decode_list *);

#endif
