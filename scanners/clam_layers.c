/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files that libclamav comes upon, the body itself and whatever lies in its
 * archives: does it see all of what programs see?  What it does not is taken
 * out here and looked at once libclamav is through, as a file of its own.
 *
 * Room: scanners.  Thread: one of the engine's.
 */
#include <stdlib.h>
#include "scanners/clam_priv.h"
#include "scanners/members.h"

static void
take_out(struct clam_look *look, enum members what, const unsigned char *p,
    size_t n)
{
	uint64_t most = look->core->limits.scan_size;
	struct decode_limits limits = { .max_bytes = most - look->decoded,
		.coded_bytes = n,
		.stop = clam_look_stops,
		.stop_arg = look };
	struct clam_layer *l = malloc(sizeof(*l));
	enum decode_end end;
	bool more;

	if (l == NULL) {
		clam_look_unscanned(look, GAP_ERROR, "scan error (no memory)");
		return;
	}
	l->depth = look->depth + 1;
	decode_store_init(&l->store, look->core->temp_dir);
	decode_store_charge_to(&l->store, look->account);
	end = members_open(what, p, n, &l->store, &limits, &more);
	if (end == DECODE_LARGE)
		clam_look_unscanned(look, GAP_LIMIT, "decoded size limit");
	else if (end == DECODE_STOPPED)
		clam_look_unscanned(look, GAP_TIME, "time limit exceeded");
	else if (end == DECODE_IO)
		clam_look_unscanned(look, GAP_ERROR,
		    "temporary file or read error");
	else if (more) {
		look->decoded += l->store.length;
		l->next = look->layers;
		look->layers = l;
		return;
	}
	decode_store_fini(&l->store);
	free(l);
}

void
clam_layer_seen(struct clam_look *look, const unsigned char *p, size_t n)
{
	const struct clam_limits *limits = &look->core->limits;
	enum members what = members_of(p, n);

	if (what == MEMBERS_NONE || clam_look_stops(look))
		return;
	if (look->depth >= limits->recursion || ++look->parts > limits->files)
		clam_look_unscanned(look, GAP_LIMIT,
		    "limit exceeded (streams in streams)");
	else
		take_out(look, what, p, n);
}

struct clam_layer *
clam_layer_next(struct clam_look *look)
{
	struct clam_layer *l = look->layers;

	if (l != NULL) {
		look->layers = l->next;
		look->depth = l->depth;
	}
	return (l);
}

void
clam_layer_free(struct clam_layer **l)
{
	decode_store_fini(&(*l)->store);
	free(*l);
	*l = NULL;
}
