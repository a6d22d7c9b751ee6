/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The scan master: assayd started anew in this role.  It loads the signature
 * database once, and forks a scanner from itself whenever a server asks for
 * one.  It reads messages of fixed size (clam_wire.h) and the database, never
 * a byte of a body.
 *
 * Room: scanners.
 */
#ifndef SCANNERS_CLAM_MASTER_H
#define SCANNERS_CLAM_MASTER_H

#include "base/spawn.h"

#define CLAM_MASTER_ROLE "assayd: clam"

/* Its descriptors: the owner's socket, and memory for its crash report. */
#define CLAM_MASTER_OWNER SPAWN_FD
#define CLAM_MASTER_REPORT (SPAWN_FD + 1)
#define CLAM_MASTER_FDS 2

/* The process.  Returns the exit status. */
int clam_master_main(int argc, char **argv);

#endif
