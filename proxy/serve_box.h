/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The box of a serving process (base/sandbox.h): which system calls it may
 * make, and which files it may open.  Both follow from the configuration with
 * which it starts, and hold until it ends.  A later configuration that needs
 * more is for another serving process: the supervisor asks serve_box_covers().
 *
 * Files that a configuration names are not in reach: the supervisor opens them,
 * and gives their descriptors (proxy/named.h).  In reach by name are what
 * libraries read, the temporary folder, folders of lists, and databases of
 * libclamav.
 * Room: proxy.
 */
#ifndef PROXY_SERVE_BOX_H
#define PROXY_SERVE_BOX_H

#include "base/sandbox.h"
#include "proxy/conf/conf.h"

struct serve_box;

/*
 * What a process that starts with this configuration needs.  It looks at what
 * is there now.  Never NULL; the caller frees.
 */
struct serve_box *serve_box_new(const struct conf *);
void serve_box_free(struct serve_box **);

/*
 * Has a process in the box all that wanted takes?  A file that it does not
 * reach is named in why.
 */
bool serve_box_covers(const struct serve_box *, const struct serve_box *wanted,
    char why[256]);

/*
 * Enter it, and become the user (NULL: nobody else); before the first thread.
 * False: ERR_SYSTEM in f, and the process must not go on.
 */
bool serve_box_enter(const struct serve_box *, const struct sandbox_user *user,
    struct sandbox_report *, struct fault *f);

#endif
