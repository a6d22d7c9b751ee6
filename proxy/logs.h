/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The files of a log (log.access, log.issued): one process opens them, another
 * may write.
 * Room: proxy.  Thread: main.
 */
#ifndef PROXY_LOGS_H
#define PROXY_LOGS_H

#include "proxy/conf/conf.h"

/* "stdout" or the path. */
const char *logs_name(const struct conf_log_to *);
/* Could they be opened?  Without making them; problems name the line. */
void logs_check(const struct conf *, struct conf_problems *);
/*
 * Open them: an array of as many descriptors, the caller's.  NULL with a
 * problem; area: the setting that it is of.
 */
int *logs_open(const struct conf_log_tos *, const char *area,
    struct conf_problems *);
void logs_close(int **, unsigned n); /* *logs may be NULL; becomes NULL */
/*
 * Open them again by name (after logrotate): where that fails the old file
 * stays, with a line in the log.
 */
void logs_reopen(const struct conf_log_tos *, int *logs);

#endif
