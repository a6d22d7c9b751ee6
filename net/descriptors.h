/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many descriptors there are, and who may still have one when they run
 * short.  What is open for clients is counted in their accounts, and each
 * client has a share (base/budget.h): half of all is for their connections
 * (BUDGET_CLIENTS), the rest for what these want (BUDGET_DESCRIPTORS).  A few
 * are for ourselves (reload, logs, the key holder).
 *
 * Room: net.  Any thread; the limit is set at the start.
 */
#ifndef NET_DESCRIPTORS_H
#define NET_DESCRIPTORS_H

#include <stdbool.h>

struct budget;

/* Raise the process's limit as far as it goes, and learn it. */
void descriptors_raise(void);
/* Everything is open that is there without clients: they have the rest. */
void descriptors_count_own(unsigned workers);
/* The limits of both kinds, by what is left for clients. */
void descriptors_share(struct budget *);
/*
 * Is fd, just made (so that all below it are in use), one of those that are
 * kept for ourselves?  Only where the shares are not enough: what nobody's
 * account has, two threads at once.
 */
bool descriptors_short(int fd);

#endif
