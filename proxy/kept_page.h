/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers that a scanning service made by itself and that the client gets: its
 * block page (page: keep).  They carry the flow's reference, as assay's own
 * pages do, so that what somebody reads leads to the record.
 *
 * Room: proxy.  Thread: the flow's.
 */
#ifndef PROXY_KEPT_PAGE_H
#define PROXY_KEPT_PAGE_H

#include "proxy/flow.h"

/*
 * The service `by` has answered with head and body (a reference, NULL for
 * none): marks the head and the flow.  Gives back the body to send: with the
 * reference at its end where that is a whole HTML document.
 * While somebody still holds the beginning of body.
 */
struct body *kept_page(struct flow *, struct http_msg *head, struct str by,
    struct body *body);

#endif
