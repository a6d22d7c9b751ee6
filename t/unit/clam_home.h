/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scan masters for a program without a supervisor: a thread that keeps them. */
#ifndef UNIT_CLAM_HOME_H
#define UNIT_CLAM_HOME_H

#include "scanners/clam.h"

struct clam_home;

/*
 * Start one and wait for its database; door: for the options' engine.  NULL: why
 * is in f.
 */
struct clam_home *clam_home_new(const struct clam_options *,
    struct clam_door *door, struct fault *f);
/* When the engine is gone. */
void clam_home_free(struct clam_home **);

#endif
