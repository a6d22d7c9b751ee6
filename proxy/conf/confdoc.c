/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes etc/assay.conf and doc/assay.conf.5 from the table of settings:
 *   proxy/conf/confdoc sample >etc/assay.conf
 *   proxy/conf/confdoc man >doc/assay.conf.5
 */
#include <stdio.h>
#include <string.h>
#include "proxy/conf/conf.h"

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "sample") == 0)
		conf_write_sample(stdout);
	else if (argc == 2 && strcmp(argv[1], "man") == 0)
		conf_write_man(stdout);
	else {
		fputs("usage: confdoc sample|man\n", stderr);
		return (2);
	}
	return (fflush(stdout) == 0 ? 0 : 1);
}
