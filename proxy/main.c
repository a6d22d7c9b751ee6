/* SPDX-License-Identifier: GPL-2.0-or-later */
/* assayd: one program, and what it is by the name that it is started under. */
#include <string.h>
#include "config.h"
#include "base/spawn.h"
#include "certs/keyholder.h"
#include "fetch/fetcher.h"
#include "proxy/serve.h"
#include "proxy/supervisor.h"
#include "scanners/clam_master.h"

static const struct {
	const char *name;
	int (*main)(int argc, char **argv);
} roles[] = {
#define ROLE(name, main_fn) { name, main_fn },
#include "proxy/role.def"
#undef ROLE
};

int
main(int argc, char **argv)
{
	unsigned i;

	spawn_init();
	for (i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (strcmp(argv[0], roles[i].name) == 0)
			return (roles[i].main(argc, argv));
	return (supervisor_main(argc, argv));
}
