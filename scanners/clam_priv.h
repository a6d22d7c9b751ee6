/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between the files of the clamav scanner: clam.c calls libclamav (and is the
 * only one that does), clam_content.c says what there is to look at in a body,
 * clam_core.c has what a look needs, clam_engine.c is for whoever scans,
 * clam_scan.c is the scanner on a loop.
 * Room: scanners.  Units: bytes, monotonic ms.
 */
#ifndef SCANNERS_CLAM_PRIV_H
#define SCANNERS_CLAM_PRIV_H

#include <stdatomic.h>
#include "base/job.h"
#include "scanners/clam.h"
#include "scanners/clam_calls.h"
#include "scanners/clam_canary.h"
#include "scanners/clam_core.h"
#include "scanners/clam_map.h"
#include "scanners/clam_ride.h"
#include "scanners/clam_wire.h"
#include "scanners/decode.h"

/* clam.c */

/*
 * What libclamav loads from elsewhere for good: now, and not when there is no
 * right to do so any more.  clam_lib_load() does it else.
 */
void clam_lib_init(void);
/*
 * Load and compile db and, unless NULL, our own file beside it; one
 * reference.  NULL: f says why.  Fills signatures (those of db), version,
 * built_at and library of info.
 */
struct cl_engine *clam_lib_load(const char *db, const char *own,
    const char *temp_dir, const struct clam_limits *, struct clam_info *info,
    struct fault *f);
struct cl_engine *clam_lib_ref(struct cl_engine *);
void clam_lib_unref(struct cl_engine **);
/* Where its temporary files go from now on; nobody else uses it. */
void clam_lib_temp_dir(struct cl_engine *, const char *);

/* One look at one body, in a thread of the engine. */
struct clam_look {
	struct clam_core *core; /* borrowed */
	struct clam_source source;
	struct decode_list codings;
	char type[CLAM_TYPE];    /* Content-Type, "" for none */
	struct account *account; /* borrowed: whose body it is; or NULL */
	uint64_t deadline;       /* clam_now_ms() */
	/* bits 1 << enum scan_gap that policy does not let pass */
	unsigned blocks;
	atomic_bool begun; /* a thread is at it */
	atomic_bool stop;  /* set by the loop: nobody wants to know */
	/* How much of the limits is used. */
	uint64_t decoded;          /* bytes that codings gave */
	unsigned parts;            /* of multipart bodies, layers taken out */
	struct clam_layer *layers; /* owned; not looked at yet */
	unsigned depth;            /* of the layer that is looked at */
	/* What it found. */
	enum verdict verdict;
	enum scan_gap gap;
	char threat[CLAM_TEXT];
	char reason[CLAM_TEXT];
	char note[CLAM_TEXT];
};

/* Have libclamav look at these bytes as one file. */
void clam_look_map(struct clam_look *, struct cl_engine *,
    const struct clam_map *);
/*
 * Note what could not be looked at.  The first reason stays, unless policy
 * lets it pass and not this one; a threat is stronger.
 */
void clam_look_unscanned(struct clam_look *, enum scan_gap, const char *fmt,
    ...) __attribute__((format(printf, 3, 4)));
/* Is it time to give up?  arg is the clam_look. */
bool clam_look_stops(void *arg);
uint64_t clam_now_ms(void);

/* clam_content.c */

/* All of it: the body as it came, without its codings, its parts. */
void clam_look_run(struct clam_look *);

/* clam_layers.c */

/* What libclamav does not see in a file that it came upon. */
struct clam_layer {
	struct clam_layer *next;
	struct decode_store store;
	unsigned depth; /* in how many others it lies */
};

/* libclamav has come upon these bytes as one file; they stay until it returns. */
void clam_layer_seen(struct clam_look *, const unsigned char *p, size_t n);
/* The next one to look at, the caller's; NULL: none. */
struct clam_layer *clam_layer_next(struct clam_look *);
void clam_layer_free(struct clam_layer **);

/* clam_files.c */

/* Changes when a file of the database does, in any order of the folder. */
uint64_t clam_files_print(const char *db);

/* clam_engine.c */

/*
 * Never the same again for another database, another engine, or once it was
 * not fit.
 */
uint64_t clam_engine_state(struct clam_engine *);
/* What its looks need; NULL where scans run in processes. */
struct clam_core *clam_engine_core(struct clam_engine *);
enum clam_health {
	CLAM_FIT,
	CLAM_NO_CANARY,  /* libclamav does not find its test files */
	CLAM_NO_SCANNER, /* none can be made */
	CLAM_HEALTHS
};
/*
 * Does libclamav find the canary?  Asked anew from time to time; while it does
 * not nothing is scanned.
 */
bool clam_engine_fit(const struct clam_engine *);
/* Why it is not, for the record; a constant. */
const char *clam_engine_unfit(const struct clam_engine *);
const struct clam_limits *clam_engine_limits(const struct clam_engine *);
/* A body that is looked at.  The engine's until done(). */
struct clam_job {
	struct job job; /* done is called on the loop, exactly once */
	struct clam_look look;
	struct body_view *view; /* borrowed while it is looked at */
	struct clam_ride ride;  /* through a process */
	const char *down; /* nobody could look, for this reason; or NULL */
};

static inline struct clam_job *
clam_job_of_turn(struct turn *t)
{
	return (CONTAINER_OF(t, struct clam_job, ride.turn));
}

/*
 * Have it looked at: small bodies do not wait behind large ones, nor those of
 * one owner behind those of another.  False: too many of this owner wait
 * already, nothing was started.
 */
bool clam_engine_start(struct clam_engine *, struct clam_job *, struct loop *,
    uint64_t owner);
/* Nobody wants to know any more; it will be done soon. */
void clam_engine_stop(struct clam_engine *, struct clam_job *);

#endif
