/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What confines a process of ours: limits, a user of its own, no capability,
 * no new privilege, no files but those named (Landlock), no system calls but
 * those of its list (seccomp).  One list a kind of process: sandbox.def.
 *
 * A process enters in two steps, because between them it may read what it
 * has no right to read later:
 *	sandbox_drop()	limits, groups, user, capabilities, not dumpable,
 *			no new privileges
 *	sandbox_close()	Landlock, then seccomp
 * Both come before the first thread: Landlock binds the calling thread and
 * what that one starts.
 *
 * What a kernel lacks is in the report, never silent; with SANDBOX_REQUIRE it
 * is a fault.
 * Room: base.
 */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>
#include "base/fault.h"

enum sandbox_box {
	BOX_SERVE,       /* reads clients, origins, services, DNS */
	BOX_SERVE_CLAM,  /* the same, and it scans in its own threads */
	BOX_SERVE_TOKEN, /* either, and a PKCS #11 module that it must trust */
	BOX_FETCH,       /* gets what assay itself needs, by HTTP */
	BOX_HOLDER,      /* has the CA's key, which was in a file */
	BOX_TOKEN,   /* the same, and a PKCS #11 module that it must trust */
	BOX_MASTER,  /* has the signature database, forks scanners */
	BOX_SCANNER, /* reads one hostile body at a time */
	BOX_COUNT
};

enum sandbox_mode {
	SANDBOX_PREFER,  /* what the kernel has; the rest is in the report */
	SANDBOX_REQUIRE, /* a layer that is missing is a fault */
	SANDBOX_OFF      /* neither Landlock nor seccomp: for debugging */
};

/* What may be done with a path, and with all that is below a folder. */
enum sandbox_right {
	SANDBOX_READ = 1,
	SANDBOX_WRITE =
	    2,          /* write, make, rename and remove files and folders */
	SANDBOX_RUN = 4 /* execute; the list must have execve too */
};

struct sandbox_path {
	const char *path; /* an absent one is passed over */
	unsigned may;     /* enum sandbox_right, ored */
};

struct sandbox_limit {
	int what;    /* RLIMIT_NOFILE ... */
	rlim_t most; /* soft and hard; one that is lower stays */
};

#define SANDBOX_NAME 32

struct sandbox_user {
	uid_t uid;
	gid_t gid;
	char name[SANDBOX_NAME];
};

struct sandbox {
	enum sandbox_box box;
	enum sandbox_mode mode;
	const struct sandbox_user *user; /* NULL: it stays who it is */
	uint64_t capabilities;           /* that it keeps, one bit each */
	/* it may choose addresses of its own, but not ports (BOX_SERVE) */
	bool binds;
	const struct sandbox_limit *limits;
	unsigned n_limits;
	const struct sandbox_path *paths;
	unsigned n_paths;
};

/* Which list of calls is in force. */
enum sandbox_list {
	SANDBOX_LIST_NONE,
	SANDBOX_LIST_OWN,
	SANDBOX_LIST_TOKEN, /* of a box with a PKCS #11 module */
	SANDBOX_LIST_CLAM,  /* of BOX_SERVE_CLAM */
	SANDBOX_LISTS
};

/*
 * What is in force.  Fixed size, no pointers: one process sends it to another
 * (sandbox_report_ok() there).
 */
struct sandbox_report {
	uint8_t off;      /* SANDBOX_OFF */
	uint8_t seccomp;  /* enum sandbox_list */
	uint8_t landlock; /* the ABI whose rights are in force; 0: none */
	uint8_t own_user; /* 1: it has become the user of this name */
	int32_t seccomp_errno, landlock_errno, user_errno; /* why not; 0: - */
	char user[SANDBOX_NAME];
};

#define SANDBOX_TEXT 256

/* How strict this process and those that it starts are; SANDBOX_PREFER at first. */
enum sandbox_mode sandbox_mode(void);
void sandbox_set_mode(enum sandbox_mode); /* before there are threads */
/* "prefer" ... and back; false: no such word. */
const char *sandbox_mode_word(enum sandbox_mode);
bool sandbox_mode_of(const char *word, enum sandbox_mode *);

/* Limits alone, for what comes before the first step.  False: ERR_SYSTEM in f. */
bool sandbox_limits(const struct sandbox_limit *, unsigned n, struct fault *f);

/* Who a name is (it asks the name service: before any filter).  False: nobody. */
bool sandbox_user_find(const char *name, struct sandbox_user *);

/* The first step; *r is written anew.  False: ERR_SYSTEM in f, do not go on. */
bool sandbox_drop(const struct sandbox *, struct sandbox_report *r,
    struct fault *f);
/* The second; *r is that of the first.  False: ERR_SYSTEM in f, do not go on. */
bool sandbox_close(const struct sandbox *, struct sandbox_report *r,
    struct fault *f);

/*
 * Make a box's filter beforehand (160 us; then sandbox_close() takes 43): for
 * a process that forks children which enter that box.  False: ERR_SYSTEM in f.
 */
bool sandbox_prepare(enum sandbox_box, struct fault *f);

/* Landlock's ABI here; 0: the kernel has none, or it is switched off. */
unsigned sandbox_landlock_abi(void);

/* Is this a report, or something else that a process has sent? */
bool sandbox_report_ok(const struct sandbox_report *);
/* "seccomp, landlock 2 (no truncate, network, signal rules), user shared" */
void sandbox_text(const struct sandbox_report *, char out[SANDBOX_TEXT]);
/* "scanner" */
const char *sandbox_box_name(enum sandbox_box);

#endif
