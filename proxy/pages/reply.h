/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Responses that assay gives by itself: what is the same in all of them.
 * Room: proxy.  Any thread.
 */
#ifndef PROXY_REPLY_H
#define PROXY_REPLY_H

#include "base/arena.h"
#include "base/str.h"
#include "http/msg.h"

/*
 * A response head with Date, Content-Type, Cache-Control: no-store and what
 * keeps a browser from doing anything but show it.  type is a constant or of
 * the arena.
 */
struct http_msg *reply_new(struct arena *, unsigned status, struct str type);
/*
 * Set the length for the bytes that body holds.  For HEAD they are taken
 * out of it, and Content-Length says what GET would give (RFC 9110 9.3.2).
 * req NULL: not HEAD.
 */
void reply_finish(struct arena *, struct http_msg *resp,
    const struct http_msg *req, struct buf *body);

#endif
