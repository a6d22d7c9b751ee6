/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages: what a client is told when assay answers in place of the origin.
 *
 * One set of facts becomes a complete response in the form that the client
 * wants: HTML for somebody who navigates, problem+json (RFC 9457) for a
 * client that accepts JSON, a code with one line for calls of gRPC, three plain
 * lines for all others.  The texts are
 * in etc/pages/en.def, the look in etc/pages/page.html; both are compiled in.
 * Values from outside are cleaned and escaped here, for the place where they
 * go; callers pass them raw.
 *
 * Room: proxy.  Any thread.
 */
#ifndef PROXY_PAGE_H
#define PROXY_PAGE_H

#include <stdbool.h>
#include "base/arena.h"
#include "base/fault.h"
#include "base/str.h"
#include "http/msg.h"

/* Everything borrowed for the call; STR_NONE: not known, not shown. */
struct page_facts {
	const struct fault *fault;  /* the cause, not ERR_NONE */
	unsigned status;            /* 0: the fault's own */
	const struct http_msg *req; /* NULL: none could be read */
	struct str url; /* STR_NONE: from req; the query is never shown */
	struct str rule;
	struct str service;
	struct str threat;
	struct str reason; /* why unscanned, what a service said */
	struct str reference;
	struct str org;  /* pages.org */
	struct str help; /* pages.help: a text, or an http(s) or mailto URL */
	struct str host; /* pages.host; STR_NONE: assay.internal */
	struct str pseudonym;     /* in Proxy-Status; STR_NONE: assay */
	unsigned received_status; /* of a parent proxy; 0: none */
	unsigned retry_after_s;   /* with 429 and 503; 0: 30 */
	/* with 405 (RFC 9110 15.5.6); STR_NONE: all but CONNECT and TRACE */
	struct str allow;
};

/*
 * Build the response: *resp is in the arena, its strings too; body was empty
 * and gets the bytes to send.  Its length is set in *resp, so it has no
 * Content-Length field; for HEAD it has one, LENGTH_NONE, and no body.
 */
void page_make(struct arena *, const struct page_facts *,
    struct http_msg **resp, struct buf *body);

/*
 * The same for a call of gRPC (http/grpc.h) whose answer is under way: the
 * fields that end it are added.
 */
void page_grpc_end(struct arena *, const struct page_facts *,
    struct http_fields *);

/*
 * The page that explains a problem type of problem+json to people, by its
 * last part ("origin-certificate").  False: there is no such type, nothing
 * was done.  Of the facts, req, org and help count.
 */
bool page_explain(struct arena *, struct str slug, const struct page_facts *,
    struct http_msg **resp, struct buf *body);

/* The forms of an answer. */
enum page_form {
	PAGE_HTML,
	PAGE_JSON,
	PAGE_TEXT,
	PAGE_GRPC /* no page: 200 with the outcome of a call, "trailers only" */
};
/* What req asks for; NULL: PAGE_TEXT. */
enum page_form page_form_of(const struct http_msg *req);

#endif
