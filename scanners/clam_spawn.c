/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Start and end of a scan master, see clam_keeper.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "scanners/clam_keeper.h"
#include "scanners/clam_master.h"

#define END_MS 2000 /* for it to end by itself */

static bool
start(struct clam_master *m, const struct clam_open *open, int theirs,
    struct fault *f)
{
	struct spawn s = { .role = CLAM_MASTER_ROLE,
		.fd = { theirs },
		.n_fds = 1,
		.errors = -1 };
	struct clam_open mine = *open;

	if (!spawn_start(&s, &m->proc, f))
		return (false);
	snprintf(mine.temp_dir, sizeof(mine.temp_dir), "%s", m->folder);
	if (clam_wire_send(m->socket, &mine, NULL, 0))
		return (true);
	fault_set(f, ERR_SYSTEM, CLAM_MASTER_ROLE " ended");
	return (false);
}

bool
clam_master_start(struct clam_master *m, const struct clam_open *open,
    struct fault *f)
{
	int pair[2];
	bool ok;

	*m = (struct clam_master){ .proc = CHILD_NONE, .socket = -1 };
	m->folder = clam_temp_make(open->temp_dir, &m->lock);
	if (m->folder == NULL) {
		fault_set(f, ERR_CONFIG, "%.100s: %s", open->temp_dir,
		    strerror(errno));
		return (false);
	}
	if (!channel_pair(pair)) {
		fault_set(f, ERR_SYSTEM, "socketpair: %s", strerror(errno));
		clam_master_end(m);
		return (false);
	}
	m->socket = pair[0];
	ok = start(m, open, pair[1], f);
	close(pair[1]);
	if (!ok)
		clam_master_end(m);
	return (ok);
}

void
clam_master_end(struct clam_master *m)
{
	int how;

	if (m->socket >= 0)
		close(m->socket); /* it ends, and its scanners before it */
	if (m->proc.pid != 0 && !child_reap(&m->proc, &how, END_MS))
		child_end(&m->proc);
	if (m->folder != NULL) {
		clam_temp_remove(m->folder);
		close(m->lock);
		free(m->folder);
	}
	*m = (struct clam_master){ .proc = CHILD_NONE, .socket = -1 };
}
