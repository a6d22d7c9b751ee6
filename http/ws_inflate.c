/* SPDX-License-Identifier: GPL-2.0-or-later */
/* permessage-deflate undone, see ws_inflate.h. */
#define ZLIB_CONST
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "http/ws_inflate.h"

/* zlib says so where it stands between two blocks, with no bit left over. */
#define BETWEEN_BLOCKS 128

static const unsigned char tail[] = { 0x00, 0x00, 0xff, 0xff };

struct ws_inflate {
	z_stream z;
	/* of the message */
	bool final;           /* a final block has ended */
	bool after;           /* and the octet 00 behind it */
	unsigned char tail_n; /* octets of the tail that were taken */
};

struct ws_inflate *
ws_inflate_new(void)
{
	struct ws_inflate *w = calloc(1, sizeof(*w));

	if (w != NULL && inflateInit2(&w->z, -MAX_WBITS) != Z_OK) {
		free(w);
		return (NULL);
	}
	return (w);
}

void
ws_inflate_free(struct ws_inflate **wp)
{
	struct ws_inflate *w = *wp;

	if (w == NULL)
		return;
	*wp = NULL;
	inflateEnd(&w->z);
	free(w);
}

static enum ws_inflate_got
step(struct ws_inflate *w, struct ws_inflate_io *io)
{
	int r;

	assert(io->out_n > 0);
	w->z.next_in = io->in;
	w->z.avail_in = (uInt)io->in_n;
	w->z.next_out = io->out;
	w->z.avail_out = (uInt)io->out_n;
	r = inflate(&w->z, Z_SYNC_FLUSH);
	io->in = w->z.next_in;
	io->in_n = w->z.avail_in;
	io->out = w->z.next_out;
	io->out_n = w->z.avail_out;
	w->final = r == Z_STREAM_END;
	if (r == Z_MEM_ERROR)
		return (WS_INFLATE_MEMORY);
	return (r == Z_OK || r == Z_BUF_ERROR || w->final ? WS_INFLATE_GO
							  : WS_INFLATE_BAD);
}

enum ws_inflate_got
ws_inflate_feed(struct ws_inflate *w, struct ws_inflate_io *io)
{
	enum ws_inflate_got got = WS_INFLATE_GO;

	if (!w->final)
		got = step(w, io);
	if (got != WS_INFLATE_GO || !w->final || io->in_n == 0)
		return (got);
	if (w->after || io->in_n > 1 || *io->in != 0)
		return (WS_INFLATE_BAD);
	w->after = true;
	io->in++;
	io->in_n = 0;
	return (WS_INFLATE_GO);
}

static enum ws_inflate_got
ended(struct ws_inflate *w)
{
	bool final = w->final;

	w->final = w->after = false;
	w->tail_n = 0;
	if (final && inflateReset(&w->z) != Z_OK)
		return (WS_INFLATE_BAD);
	return (WS_INFLATE_END);
}

enum ws_inflate_got
ws_inflate_end(struct ws_inflate *w, struct ws_inflate_io *io)
{
	enum ws_inflate_got got;

	if (w->final)
		return (ended(w));
	io->in = tail + w->tail_n;
	io->in_n = sizeof(tail) - w->tail_n;
	got = step(w, io);
	w->tail_n = (unsigned char)(sizeof(tail) - io->in_n);
	if (got != WS_INFLATE_GO || w->final)
		return (got != WS_INFLATE_GO ? got : WS_INFLATE_BAD);
	/* RFC 7692 7.2.3.6: an empty one is 00; of no octets, the tail is cut */
	if (io->in_n == 0 && w->z.data_type == BETWEEN_BLOCKS)
		return (ended(w));
	return (io->out_n == 0 ? WS_INFLATE_GO : WS_INFLATE_BAD);
}

size_t
ws_inflate_bytes(const struct ws_inflate *w)
{
	/* zlib(3): a window of 32 KB and about 10 KB beside it. */
	return (w != NULL ? sizeof(*w) + (43 << 10) : 0);
}
