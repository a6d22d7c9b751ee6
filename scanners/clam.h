/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scanning with libclamav, in processes of its own or in threads of this one.
 *
 * A clam_engine is made once: signatures and limits, and what scans.
 * Every worker loop has a scanner of its own on it (clam_new).  A scan waits
 * for the end of the body, then a thread looks at a view of it, raw and with
 * its content codings (deflate, br, zstd; libclamav opens gzip) taken off.
 *
 * Clients have their turns at the threads one after another, and one thread
 * more than a single client can use, so that nobody waits behind another's
 * slow archives.  A client that has too many bodies waiting is told that the
 * service is busy, which never means bypass.
 *
 * What libclamav could not look at completely is never clean: exceeded
 * limits, encrypted contents, read errors, time-outs, codings that cannot be
 * opened give VERDICT_UNSCANNED with a reason.
 *
 * Built with --disable-clamav the functions are there, and
 * clam_engine_open() fails with ERR_CONFIG.
 *
 * Room: scanners.  Thread: an engine any, a scanner its loop's.
 * Units: bytes, ms.
 */
#ifndef SCANNERS_CLAM_H
#define SCANNERS_CLAM_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include "base/sandbox.h"
#include "scanners/scanner.h"

struct clam_engine;

/* The way to scan masters of a database, which somebody else starts and keeps. */
struct clam_door {
	uint32_t number; /* his, of all masters of the same options; not 0 */
	/* A socket of one, for this process; taken over; -1: ask for one. */
	int fd;
	/*
	 * That one is gone: another socket is wanted, for clam_deliver().  Asked
	 * again every second.  Called from the engine's own thread.
	 */
	void (*want)(void *arg, uint32_t number);
	void *arg;
};

/* Strings are copied.  {0} apart from db_dir and temp_dir gives the defaults. */
struct clam_options {
	const char *db_dir; /* folder with signature files, or one such file */
	const char *temp_dir; /* a private folder (0700) is made in it */
	/* that scan for one client at the same time; 0: one a core */
	unsigned threads;
	uint64_t scan_size; /* unpacked bytes of one body; 0: 400 MiB */
	uint32_t files;     /* in one body; 0: 10000 */
	uint32_t recursion; /* containers inside containers; 0: 17 */
	uint32_t time_ms;   /* for one body, waiting included; 0: 120 s */
	uint64_t temp;      /* temporary files of all scans; 0: 20 GiB */
	/* bodies of one client waiting for a thread; 0: 64 a thread */
	unsigned queue;
	unsigned watch_ms; /* how often db_dir is looked at; 0: 5 s */
	bool in_threads;   /* of this process; else scanners are processes: */
	const struct clam_door *door;
	enum sandbox_mode sandbox; /* of those */
	/*
	 * A line for the log: reloaded, or why not.  Called from the engine's
	 * own thread.  NULL: nobody wants to know.
	 */
	void (*report)(void *arg, const char *line);
	void *report_arg;
};

struct clam_info {
	unsigned signatures;
	unsigned version;    /* of the official daily database, 0: none there */
	time_t built_at;     /* its date, 0: unknown */
	unsigned reloads;    /* since clam_engine_open() */
	const char *library; /* version of libclamav; NULL: not known yet */
};

/*
 * In threads: load and compile the database (seconds, about 1 GB for the
 * official one).  Through a door: waits for the word of its master, for two
 * seconds at most; without that bodies wait for it.  One reference, the
 * caller's.  NULL: f says why.
 * Load what the library would load when it is first used (a module for RAR,
 * character sets): before a sandbox that lets nothing become code.
 */
void clam_prepare(void);

/*
 * Load and compile the database (seconds, about 1 GB for the official one).
 * One reference, the caller's.  NULL: f says why.
 *
 * libclamav proves itself then, after each load and every 1000 scans: it has
 * to find test files of ours (clam_canary.h).  While it does not, all scans
 * end in ERR_SCAN_DOWN; it is asked again every watch_ms, and report() tells.
 */
struct clam_engine *clam_engine_open(const struct clam_options *,
    struct fault *f);
/* A socket of another master of that number: taken over, if it is ours. */
bool clam_deliver(uint32_t number, int fd);
/* The number of its door; 0: it has none. */
uint32_t clam_engine_number(const struct clam_engine *);
struct clam_engine *clam_engine_ref(struct clam_engine *);
/* The last one ends the engine's threads and waits for them. */
void clam_engine_unref(struct clam_engine **);
void clam_engine_info(struct clam_engine *, struct clam_info *);
unsigned clam_engine_signatures(struct clam_engine *);

/* A service of the configuration; name is borrowed. */
struct clam_service {
	const char *name;
	bool scans_req, scans_resp;
	enum scan_policy on_error;
	enum scan_policy on_unscanned[GAP_COUNT];
	enum scan_policy over_max; /* for bodies longer than max_body */
	/* longer ones are unscanned; 0: no limit but scan_size */
	uint64_t max_body;
};

/* A scanner of the engine (counted) on a loop. */
struct scanner *clam_new(struct loop *, struct clam_engine *,
    const struct clam_service *);
/*
 * Bodies that threads of the engine still look at for this scanner, those of
 * cancelled scans included.  A loop must run until this is 0 before it ends.
 */
unsigned clam_busy(const struct scanner *);
/*
 * All its scans are cancelled or done.  While it is busy the rest is freed on
 * the loop later, the reference on the engine last.
 */
void clam_free(struct scanner **);

#endif
