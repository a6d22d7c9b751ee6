/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Content codings that an origin is offered.
 * Room: http.  Any thread.  Obeys RFC 9110 12.5.3; RFC 9842.
 */
#ifndef HTTP_OFFER_H
#define HTTP_OFFER_H

#include "http/msg.h"

/*
 * Leave in Accept-Encoding only what can be taken off again: gzip, x-gzip,
 * deflate, br, zstd, identity, with the weights that the client gave them.
 * "*" stands for them where nothing else is left; a list that becomes empty is
 * "identity"; without the field there is none.  Available-Dictionary goes: a
 * coding that needs it is not offered.
 */
void http_offer_known(struct http_msg *req);

/* Only identity: for answers that are to be seen as they come. */
void http_offer_none(struct http_msg *req);

#endif
