/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a new generation comes into force: every worker builds what it needs
 * for it, beside what it uses; when all could, all switch.  When one could
 * not, all forget it and nothing has changed.
 *
 * Room: proxy.  Thread: the main one; the steps run on the workers' own.
 */
#ifndef PROXY_RELOAD_H
#define PROXY_RELOAD_H

#include "proxy/worker.h"

struct reload {
	struct loop *home;             /* borrowed: of the main thread */
	struct worker *const *workers; /* borrowed; n of them */
	unsigned n;
	struct gen *gen; /* counted; NULL: none is under way */
	bool switching;  /* else it is prepared */
	bool cancelled;
	unsigned waiting;   /* workers that have not answered */
	struct fault fault; /* the first */
	/*
	 * Called once for each reload_start(), later.  It was taken by all
	 * workers, or by none and the cause is in f.  The generation is the
	 * callee's.
	 */
	void (*done)(struct reload *, struct gen *, const struct fault *f);
};

/* None may be under way; the generation is taken. */
void reload_start(struct reload *, struct gen *);
/* The workers are about to end: what is only being prepared will fail. */
void reload_cancel(struct reload *);

#endif
