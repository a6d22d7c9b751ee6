/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections that are no longer HTTP/1, see h1_duplex.h. */
#include <assert.h>
#include "base/list.h"
#include "proxy/wire/h1_duplex.h"

static struct h1_in *
in_of(const struct duplex *d)
{
	return (CONTAINER_OF(d, const struct h1_duplex, duplex)->in);
}

static enum pull
h1_duplex_read(struct duplex *d, struct chq *out, size_t want)
{
	struct h1_in *in = in_of(d);
	size_t n = chq_len(&in->bytes);

	if (n == 0)
		return (link_read(in->link, out, want));
	chq_move(out, &in->bytes, n < want ? n : want);
	return (PULL_MORE);
}

static size_t
h1_duplex_room(struct duplex *d)
{
	return (link_room(in_of(d)->link));
}

static void
h1_duplex_write(struct duplex *d, struct chq *q, size_t n)
{
	link_write_chq(in_of(d)->link, q, n);
}

static void
h1_duplex_end(struct duplex *d)
{
	link_shutdown(in_of(d)->link);
}

static bool
h1_duplex_lost(const struct duplex *d)
{
	return (link_broken(in_of(d)->link));
}

static bool
h1_duplex_gone(struct duplex *d)
{
	struct link *l = in_of(d)->link;

	link_look(l);
	return (link_peer_gone(l) || link_broken(l));
}

static const struct duplex_type h1_duplex_type = {
	.read = h1_duplex_read,
	.room = h1_duplex_room,
	.write = h1_duplex_write,
	.end = h1_duplex_end,
	.lost = h1_duplex_lost,
	.gone = h1_duplex_gone,
};

struct duplex *
h1_duplex_begin(struct h1_duplex *h, struct h1_in *in, struct task *wake)
{
	assert(!in->in_body && in->link != NULL && wake != NULL);
	*h = (struct h1_duplex){ .duplex = { .type = &h1_duplex_type,
				     .last = PULL_MORE },
		.in = in };
	link_set_owner(in->link, wake);
	return (&h->duplex);
}
