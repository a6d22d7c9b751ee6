/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A content coding that is taken off as it comes, see decode_live.h. */
#include <stdlib.h>
#include "scanners/codec.h"
#include "scanners/decode_live.h"

#define BLOCK 16384
#define HEAD 5
#define MAX_RATIO 64 /* text that is sent in pieces has one of 5 to 30 */
#define FREE_BYTES (1 << 20) /* no ratio asked below that */

struct decode_live {
	const struct codec *codec;
	struct account *account; /* counted */
	struct charge charge;
	void *state;
	unsigned char head[HEAD]; /* of it, until the codec is open */
	size_t head_n, head_full;
	uint64_t in, out; /* bytes so far */
	bool ended, bad;
};

struct decode_live *
decode_live_new(enum decode_coding c, struct account *a)
{
	struct decode_live *d;

	if (account_room(a, BUDGET_MEMORY) == 0)
		return (NULL);
	d = calloc(1, sizeof(*d));
	if (d == NULL)
		return (NULL);
	d->codec = &codecs[c];
	d->head_full = c == DECODE_DEFLATE ? HEAD : 2;
	d->account = account_ref(a);
	return (d);
}

void
decode_live_free(struct decode_live **dp)
{
	struct decode_live *d = *dp;

	if (d == NULL)
		return;
	*dp = NULL;
	if (d->state != NULL)
		d->codec->close(d->state);
	charge_set(&d->charge, NULL, 0, 0);
	account_unref(&d->account);
	free(d);
}

/* One step, what it made to whoever wants it; false: it ends here. */
static bool
step(struct decode_live *d, struct io *io, decode_live_fn to, void *arg)
{
	unsigned char block[BLOCK];
	size_t had = io->in_n, made;
	enum step s;

	io->out = block;
	io->out_n = BLOCK;
	s = d->codec->step(d->state, io);
	made = BLOCK - io->out_n;
	d->out += made;
	d->ended = s == STEP_END;
	return (s != STEP_BAD &&
	    (s == STEP_END || made > 0 || io->in_n < had || had == 0) &&
	    (d->out <= FREE_BYTES || d->out / MAX_RATIO <= d->in) &&
	    (made == 0 || to(arg, block, made)));
}

/* Another stream may follow the one that has ended. */
static bool
goes_on(struct decode_live *d, struct io *io)
{
	if (!d->ended)
		return (true);
	d->ended = false;
	return (d->codec->again != NULL && d->codec->again(d->state, io));
}

static bool
feed(struct decode_live *d, const unsigned char *p, size_t n, decode_live_fn to,
    void *arg)
{
	struct io io = { .in = p, .in_n = n };

	do {
		if ((io.in_n > 0 && !goes_on(d, &io)) || !step(d, &io, to, arg))
			return (false);
	} while (io.in_n > 0 || (io.out_n == 0 && !d->ended));
	return (true);
}

/*
 * Clients read deflate with a wrapper or without.  What may be both, a head of
 * RFC 1950 and a stored block of RFC 1951 3.2.4, is refused.
 */
static bool
is_of_two_minds(const struct decode_live *d)
{
	const unsigned char *p = d->head;

	return (d->head_full == HEAD && (p[0] & 15) == 8 &&
	    ((p[0] << 8 | p[1]) % 31 != 0 ||
		((p[1] ^ p[3]) == 0xff && (p[2] ^ p[4]) == 0xff)));
}

/* A codec wants to see how it begins. */
static bool
begin(struct decode_live *d, const unsigned char **p, size_t *n)
{
	for (; *n > 0 && d->head_n < d->head_full; (*n)--)
		d->head[d->head_n++] = *(*p)++;
	if (d->head_n < d->head_full)
		return (true);
	if (is_of_two_minds(d))
		return (false);
	d->state = d->codec->open(d->head, d->head_n);
	return (d->state != NULL);
}

bool
decode_live_feed(struct decode_live *d, const void *bytes, size_t n,
    decode_live_fn to, void *arg)
{
	const unsigned char *p = bytes;
	bool first = d->state == NULL;

	d->in += n;
	if (!d->bad && first)
		d->bad = !begin(d, &p, &n);
	if (d->bad || d->state == NULL)
		return (!d->bad);
	d->bad = (first && !feed(d, d->head, d->head_n, to, arg)) ||
	    (n > 0 && !feed(d, p, n, to, arg));
	charge_set(&d->charge, d->account, d->codec->bytes(d->state), 0);
	return (!d->bad);
}
