/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Octets both ways on a stream, behind an extended CONNECT that is granted
 * (RFC 8441), see h2_exchange_priv.h.
 */
#include "base/list.h"
#include "proxy/wire/h2_exchange_priv.h"

static struct h2_exchange *
of_raw(const struct duplex *d)
{
	return (CONTAINER_OF(d, struct h2_exchange, raw));
}

static enum pull
raw_read(struct duplex *d, struct chq *out, size_t want)
{
	struct h2_exchange *e = of_raw(d);
	size_t had = chq_len(out);
	enum pull p = h2_stream_pull(e->st, out, want, NULL);

	e->in += chq_len(out) - had;
	if (h2_session_wants_write(e->server->session))
		h2_exchange_to_send(e);         /* windows */
	return (p == PULL_CUT ? PULL_FAIL : p); /* RST_STREAM */
}

static size_t
raw_room(struct duplex *d)
{
	return (h2_stream_room(of_raw(d)->st));
}

static void
raw_write(struct duplex *d, struct chq *q, size_t n)
{
	struct h2_exchange *e = of_raw(d);

	e->written += n;
	e->out += n;
	h2_stream_write(e->st, q, n);
	h2_exchange_to_send(e);
}

static void
raw_end(struct duplex *d)
{
	h2_stream_end(of_raw(d)->st, NULL);
	h2_exchange_to_send(of_raw(d));
}

static bool
raw_lost(const struct duplex *d)
{
	return (h2_stream_is_reset(of_raw(d)->st, NULL));
}

static bool
raw_gone(struct duplex *d)
{
	return (raw_lost(d) || h2_stream_ended(of_raw(d)->st));
}

static const struct duplex_type raw_type = { .read = raw_read,
	.room = raw_room,
	.write = raw_write,
	.end = raw_end,
	.lost = raw_lost,
	.gone = raw_gone };

struct duplex *
h2_duplex_begin(struct h2_exchange *e)
{
	e->raw = (struct duplex){ .type = &raw_type, .last = PULL_MORE };
	return (&e->raw);
}
