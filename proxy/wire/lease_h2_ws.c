/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A WebSocket connection on HTTP/2: the handshake goes out as an extended
 * CONNECT, and behind the 2xx the stream is a connection.
 *
 * Room: proxy/wire.  Thread: its worker's.  Units: octets.
 * Obeys RFC 8441 4, 5; RFC 9113 8.5.
 */
#include <assert.h>
#include "http/ws_h2.h"
#include "proxy/wire/lease_priv.h"

const struct http_msg *
lease_h2_connect(struct lease *l)
{
	struct http_msg *m = http_msg_copy(l->req->arena, l->req);

	assert(l->want.websocket && !l->h2.has_body);
	ws_h2_request_to_h2(m);
	return (m);
}

void
lease_h2_granted(struct lease *l, struct http_msg *m)
{
	ws_h2_answer_to_h1(m,
	    http_fields_value(&l->req->fields, FIELD_SEC_WEBSOCKET_KEY));
}

/* Its octets. */

static struct lease *
of_raw(const struct duplex *d)
{
	return (CONTAINER_OF(d, struct lease, h2.raw));
}

static void
moved(struct lease *l)
{
	lease_h2_recharge(l);
	origin_h2_flush(l->origin);
}

static enum pull
raw_read(struct duplex *d, struct chq *out, size_t want)
{
	struct lease *l = of_raw(d);
	enum pull p = h2_stream_pull(l->h2.stream, out, want, NULL);

	moved(l);                               /* its window */
	return (p == PULL_CUT ? PULL_FAIL : p); /* RST_STREAM */
}

static size_t
raw_room(struct duplex *d)
{
	return (h2_stream_room(of_raw(d)->h2.stream));
}

static void
raw_write(struct duplex *d, struct chq *q, size_t n)
{
	struct lease *l = of_raw(d);

	h2_stream_write(l->h2.stream, q, n);
	moved(l);
}

static void
raw_end(struct duplex *d)
{
	struct lease *l = of_raw(d);

	h2_stream_end(l->h2.stream, NULL);
	moved(l);
}

static bool
raw_lost(const struct duplex *d)
{
	return (h2_stream_is_reset(of_raw(d)->h2.stream, NULL));
}

static bool
raw_gone(struct duplex *d)
{
	return (raw_lost(d) || h2_stream_ended(of_raw(d)->h2.stream));
}

static const struct duplex_type raw_type = { .read = raw_read,
	.room = raw_room,
	.write = raw_write,
	.end = raw_end,
	.lost = raw_lost,
	.gone = raw_gone };

struct duplex *
lease_h2_switched(struct lease *l)
{
	assert(l->h2.stream != NULL && !l->h2.in_body);
	l->h2.raw = (struct duplex){ .type = &raw_type, .last = PULL_MORE };
	return (&l->h2.raw);
}
