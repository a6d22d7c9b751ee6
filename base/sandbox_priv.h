/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two layers of sandbox_close().
 * Room: base.
 */
#ifndef BASE_SANDBOX_PRIV_H
#define BASE_SANDBOX_PRIV_H

#include "base/sandbox.h"

/* 0, or why not (errno); *abi: whose rights are in force. */
int sandbox_landlock(const struct sandbox *, unsigned *abi);
/* 0, or why not (errno). */
int sandbox_seccomp(enum sandbox_box);
#endif
