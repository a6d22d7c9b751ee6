/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parts of a generation that have files of their own.
 * Room: proxy, gen*.c only.
 */
#ifndef PROXY_GEN_PRIV_H
#define PROXY_GEN_PRIV_H

#include "proxy/gen.h"

/* Read the lists that its rules ask for; what has not changed is old's. */
void gen_lists(struct gen *, const struct gen *old, struct conf_problems *);
/* The lines of start-up about them. */
void gen_lists_report(const struct gen *);

/* The same of parent proxies: what they are shown is read. */
void gen_upstreams(struct gen *, struct conf_problems *);
void gen_upstreams_free(struct gen *);
void gen_upstreams_report(const struct gen *);

#endif
