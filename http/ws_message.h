/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A message of a WebSocket connection as two bodies: its frames, which are
 * sent on as they came when the verdict is there, and its content, which
 * scanners read.  Both have their sources here; the owner feeds.
 *
 * From WS_BEGIN to WS_END: ws_message_out() says where ws_feed() puts things,
 * ws_message_fed() comes behind each call.  The owner reads both bodies: of
 * the frames only what a reader pulls lies in a body, where it is counted and
 * goes to a file, and what lies here is ws_message_bytes().
 *
 * Room: http.  Units: octets.  Thread: its loop's.
 */
#ifndef HTTP_WS_MESSAGE_H
#define HTTP_WS_MESSAGE_H

#include "base/loop.h"
#include "http/ws.h"
#include "stream/source.h"

/* Embedded; its address stays until ws_message_fini(). */
struct ws_message {
	struct source frames, content; /* for a body_new() each */
	/* the rest is private */
	struct chq frames_q, content_q;
	enum pull frames_end, content_end;
	struct fault fault;
	struct task *feed;
	enum ws_side from;
	bool frames_dropped, content_dropped;
};

/* feed, borrowed: woken when a body wants more than there is. */
void ws_message_init(struct ws_message *, enum ws_side from, struct task *feed);
/* The rest of out (control, want) is the caller's. */
void ws_message_out(struct ws_message *, struct ws_out *out);
/*
 * ws_feed() has said so.  WS_GAP: the content ends, what there is of it
 * is a begin; the frames go on.  WS_END: both end.  WS_CLOSE and WS_BAD:
 * both are cut (PULL_CUT), f says why; NULL: ERR_CLIENT_GONE, ERR_ORIGIN_CUT.
 */
void ws_message_fed(struct ws_message *, enum ws_got, const struct fault *f);
/* Octets that no body has taken yet. */
size_t ws_message_bytes(const struct ws_message *);
/* Bodies that still pull are cut, as by WS_CLOSE. */
void ws_message_fini(struct ws_message *);

#endif
