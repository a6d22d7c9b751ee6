/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bodies on their way out over HTTP/1, see h1_sink.h. */
#include <assert.h>
#include "base/list.h"
#include "http/h1_body.h"
#include "http/h1_emit.h"
#include "proxy/wire/h1_sink.h"

static struct h1_sink *
of_sink(struct sink *s)
{
	return (CONTAINER_OF(s, struct h1_sink, sink));
}

static size_t
h1_room(struct sink *s)
{
	return (link_room(of_sink(s)->link));
}

static bool
h1_write(struct sink *s, struct chq *q, size_t n)
{
	struct h1_sink *h = of_sink(s);
	char line[20];

	if (h->framing == FRAMING_NONE || /* there was to be none */
	    (h->framing == FRAMING_LENGTH && n > h->left))
		return (false);
	if (h->framing == FRAMING_LENGTH)
		h->left -= n;
	if (h->framing == FRAMING_CHUNKED)
		link_write(h->link, line, h1_chunk_line(line, n));
	link_write_chq(h->link, q, n);
	if (h->framing == FRAMING_CHUNKED)
		link_write(h->link, "\r\n", 2);
	return (true);
}

/* RFC 9112 8: less than its length is no whole message. */
static enum pull
h1_end(struct sink *s, const void *trailer)
{
	struct h1_sink *h = of_sink(s);
	struct buf tail = { 0 };

	if (h->framing == FRAMING_LENGTH && h->left > 0)
		return (PULL_CUT);
	if (h->framing == FRAMING_CHUNKED) {
		h1_emit_trailer(&tail, trailer);
		link_write(h->link, tail.p, tail.n);
		buf_fini(&tail);
	}
	return (PULL_END);
}

static uint64_t
h1_taken(struct sink *s)
{
	return (link_taken(of_sink(s)->link));
}

static const struct sink_type h1_sink_type = { .name = "http1",
	.room = h1_room,
	.write = h1_write,
	.end = h1_end,
	.taken = h1_taken };

struct sink *
h1_sink_begin(struct h1_sink *h, struct link *l, const struct http_msg *msg,
    enum h1_framing framing, struct task *wake)
{
	assert(!h1_sink_is_open(h));
	sink_init(&h->sink, &h1_sink_type, wake);
	h->link = l;
	h->framing = framing;
	h->left = msg->length;
	return (&h->sink);
}

void
h1_sink_wake(struct h1_sink *h)
{
	if (h->sink.waiting && link_room(h->link) > 0)
		sink_wake(&h->sink);
}

bool
h1_sink_is_open(const struct h1_sink *h)
{
	return (h->sink.type != NULL && h->sink.end != PULL_END);
}
