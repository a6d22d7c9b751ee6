/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state folder, made by the supervisor for those who use it: "tmp" is the
 * serving process's, and nothing else is.
 * Room: proxy.  Thread: main.
 */
#ifndef PROXY_FOLDERS_H
#define PROXY_FOLDERS_H

#include "base/sandbox.h"
#include "proxy/conf/conf.h"

/*
 * Make what is missing, and see that user (NULL: ourselves) gets at his part:
 * a state folder of root's may be entered and listed by his group, also one
 * that was made before.  Problems are added to the list.
 */
void folders_make(const char *state, const struct sandbox_user *user,
    struct conf_problems *);

#endif
