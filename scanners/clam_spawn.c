/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Start and end of a scan master, see clam_keeper.h. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/crash.h"
#include "scanners/clam_keeper.h"
#include "scanners/clam_master.h"
#include "scanners/clam_priv.h"

static bool
start(struct clam_master *m, const struct clam_open *open, char *const *env,
    int errors, int theirs, struct fault *f)
{
	struct spawn s = { .role = CLAM_MASTER_ROLE,
		.env = env,
		.fd = { theirs, m->report },
		.n_fds = CLAM_MASTER_FDS,
		.errors = errors > 0 ? errors : -1 };

	if (!spawn_start(&s, &m->proc, f))
		return (false);
	if (clam_wire_send(m->socket, open, NULL, 0))
		return (true);
	fault_set(f, ERR_SYSTEM, CLAM_MASTER_ROLE " ended");
	return (false);
}

bool
clam_master_start(struct clam_master *m, const struct clam_open *open,
    char *const *env, int errors, struct fault *f)
{
	int pair[2];
	bool ok;

	*m = CLAM_MASTER_NONE;
	m->started = m->heard = clam_now_ms();
	if ((m->report = crash_report_new()) < 0 || !channel_pair(pair)) {
		fault_set(f, ERR_SYSTEM, CLAM_MASTER_ROLE ": %s",
		    strerror(errno));
		clam_master_end(m, 0);
		return (false);
	}
	m->socket = pair[0];
	ok = start(m, open, env, errors, pair[1], f);
	close(pair[1]);
	if (!ok)
		clam_master_end(m, 0);
	return (ok);
}

void
clam_master_end(struct clam_master *m, int wait_ms)
{
	int how;

	if (m->socket >= 0)
		channel_end(m->socket);
	if (m->proc.pid != 0 &&
	    (wait_ms == 0 || !child_reap(&m->proc, &how, wait_ms)))
		child_end(&m->proc);
	if (m->report >= 0)
		close(m->report);
	*m = CLAM_MASTER_NONE;
}
