/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Parts of a representation in front of scanners: what is asked of the
 * origin, and what an answer that is only a part counts as.  Two halves of a
 * file are clean each, so a part is never more than unscanned (part).
 * Obeys RFC 9110 14, 15.3.7.
 */
#include "http/endless.h"
#include "http/grpc.h"
#include "http/hop.h"
#include "http/offer.h"
#include "http/part.h"
#include "http/upload.h"
#include "proxy/flow.h"

/* Will a chain look at the response, or may one, once its type is known? */
static bool
is_scanned(const struct flow *f)
{
	return (f->plan.scan_resp->n > 0 || f->plan.may_scan_resp);
}

/* A trailer comes behind what a scanner has seen. */
static const void *
trim(void *arg, const void *trailer)
{
	struct arena *a = arg;
	struct http_fields *few = arena_zalloc(a, sizeof(*few));

	http_trailer_small(a, trailer, few);
	return (few);
}

void
flow_trim(struct flow *f, struct pump *p)
{
	p->trim = trim;
	p->trim_arg = f->arena;
}

void
flow_ask(struct flow *f)
{
	bool piece = f->plan.range == POLICY_RANGE_ALLOW &&
	    http_upload_asks_part(f->req);

	f->wanted_part = piece || http_asks_part(f->req);
	if (f->wanted_part && is_scanned(f) &&
	    (f->plan.range == POLICY_RANGE_STRIP ||
		remember_has(&f->worker->shared->blocked, f->url)))
		http_ask_whole(f->req);
	f->asked_part = piece || http_asks_part(f->req);
	if (!is_scanned(f))
		return;
	if (f->grpc != NULL)
		http_grpc_offer_known(f->req);
	if (http_endless_is_asked(f->req))
		http_offer_none(f->req);
	else
		http_offer_known(f->req);
}

bool
flow_part(struct flow *f)
{
	enum http_part part;

	if (f->internal || f->plan.scan_resp->n == 0)
		return (true);
	if (f->plan.range == POLICY_RANGE_STRIP)
		http_fields_remove(&f->resp->fields, FIELD_ACCEPT_RANGES);
	part = http_part_of(f->resp);
	if (part == HTTP_PART_NONE)
		return (true);
	if (!f->wanted_part || (part == HTTP_PART_SOME && !f->asked_part)) {
		flow_fail_code(f, ERR_ORIGIN_PART, NULL);
		return (false);
	}
	f->is_part = part == HTTP_PART_SOME && f->resp_body != NULL;
	return (true);
}

void
flow_gap(const struct flow *f, struct scan_message *m)
{
	if (m->mode == SCAN_REQ && m->body != NULL &&
	    http_part_of(m->req) == HTTP_PART_SOME) {
		m->gap = GAP_PART;
		m->gap_text = STR("part of an upload, the whole of which "
				  "is not seen");
	}
	if (m->mode == SCAN_RESP && f->is_part) {
		m->gap = GAP_PART;
		m->gap_text = STR("part of a range");
	}
}
