/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is wrong with a configuration, or with what it names, beside what its
 * reader finds.
 * Room: proxy.
 */
#ifndef PROXY_PROBLEM_H
#define PROXY_PROBLEM_H

#include "base/fault.h"
#include "proxy/conf/conf.h"

/* Add one, of the file as a whole. */
void problem_add(struct conf_problems *, bool warning, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* "area: what the code means: detail" */
void problem_fault(struct conf_problems *, const char *area,
    const struct fault *);

#endif
