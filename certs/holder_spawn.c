/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The key holder's process is started: this program anew, with nothing but
 * its socket; and what both sides of that know.  See keyholder.h.
 * Room: certs.  Any thread.
 */
#include <string.h>
#include <unistd.h>
#include "base/spawn.h"
#include "certs/holder_priv.h"
#include "certs/keyholder.h"

_Static_assert(HOLDER_FD == SPAWN_FD, "its socket is the first that it has");

bool
holder_report_of(const struct holder_msg *m, struct sandbox_report *out)
{
	if (m->field[1].size != sizeof(*out))
		return (false);
	memcpy(out, m->field[1].data, sizeof(*out));
	return (sandbox_report_ok(out));
}

bool
holder_spawn(pid_t *pid, int fd, struct fault *f)
{
	struct spawn s = { .role = KEYHOLDER_ROLE,
		.fd = { fd },
		.n_fds = 1,
		.errors = -1 };
	struct child c;

	if (!spawn_start(&s, &c, f))
		return (false);
	*pid = c.pid; /* its number stays its own until it is reaped */
	(void)close(c.pidfd);
	return (true);
}
