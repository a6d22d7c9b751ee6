/* SPDX-License-Identifier: GPL-2.0-or-later */
/* WebSocket frames, see ws_frame.h. */
#include <assert.h>
#include <string.h>
#include <sys/random.h>
#include "http/ws_frame.h"

#define FIN 0x80
#define RSV1 0x40
#define RSV23 0x30
#define MASKED 0x80
#define LENGTH_16 126
#define LENGTH_64 127

/* ---- reading ---- */

void
ws_frame_init(struct ws_frame *w, enum ws_side from, bool deflate)
{
	*w = (struct ws_frame){ .from = from, .deflate = deflate };
}

static bool
is_known(unsigned op)
{
	return (op <= WS_OP_BINARY || (op >= WS_OP_CLOSE && op <= WS_OP_PONG));
}

/* FIN, RSV1 to 3, opcode; what is wrong with them, or NULL. */
static const char *
first_octet(struct ws_frame *w, unsigned c)
{
	unsigned op = c & 15;

	if (!is_known(op))
		return ("a reserved opcode");
	w->op = (enum ws_op)op;
	w->fin = (c & FIN) != 0;
	w->compressed = (c & RSV1) != 0;
	if ((c & RSV23) != 0 ||
	    (w->compressed &&
		(!w->deflate ||
		    (op != WS_OP_TEXT && op != WS_OP_BINARY)))) /* RFC 7692 6 */
		return ("a reserved bit");
	if (ws_op_is_control(w->op))
		return (w->fin ? NULL : "a control frame in fragments");
	if (w->open != (op == WS_OP_CONTINUATION)) /* RFC 6455 5.4 */
		return (w->open ? "a message inside another"
				: "a continuation of nothing");
	return (NULL);
}

/* MASK and the length, or how long that is. */
static const char *
second_octet(struct ws_frame *w, unsigned c)
{
	bool masked = (c & MASKED) != 0;
	unsigned n = c & 127;

	if (masked != (w->from == WS_CLIENT)) /* RFC 6455 5.1 */
		return (masked ? "a masked frame" : "a frame without mask");
	if (ws_op_is_control(w->op) && n > WS_CONTROL_MAX)
		return ("a long control frame");
	if (w->op == WS_OP_CLOSE && n == 1)
		return ("half a close code");
	w->length = n;
	w->need = (unsigned char)(2 +
	    (n == LENGTH_16          ? 2
		    : n == LENGTH_64 ? 8
				     : 0) +
	    (masked ? 4 : 0));
	return (NULL);
}

/* All of it is there. */
static const char *
whole_head(struct ws_frame *w)
{
	bool large = w->length == LENGTH_64;
	unsigned i, end = w->length < LENGTH_16 ? 2 : large ? 10 : 4;

	if (end > 2)
		w->length = 0;
	for (i = 2; i < end; i++)
		w->length = w->length << 8 | w->head[i];
	if (end > 2 && w->length < (large ? 1 << 16 : LENGTH_16))
		return ("a length that is not the shortest");
	if (w->length >> 63 != 0)
		return ("a length of 2^63 or more");
	if (w->from == WS_CLIENT)
		memcpy(w->mask, w->head + end, sizeof(w->mask));
	if (!ws_op_is_control(w->op))
		w->open = !w->fin;
	w->head_n = w->need;
	w->n = 0;
	return (NULL);
}

static enum ws_frame_step
bad(struct ws_frame *w, const char *why, struct fault *f)
{
	w->bad = true;
	fault_set(f, ws_frame_err(w->from), "WebSocket: %s", why);
	return (WS_FRAME_BAD);
}

enum ws_frame_step
ws_frame_feed(struct ws_frame *w, const unsigned char *p, size_t n,
    size_t *used, struct fault *f)
{
	const char *why = NULL;
	size_t i = 0;

	*used = 0;
	if (w->bad)
		return (bad(w, "broken before", f));
	while (i < n) {
		w->head[w->n++] = p[i++];
		if (w->n == 1)
			why = first_octet(w, w->head[0]);
		else if (w->n == 2)
			why = second_octet(w, w->head[1]);
		*used = i;
		if (why == NULL && w->n >= 2 && w->n == w->need) {
			why = whole_head(w);
			if (why == NULL)
				return (WS_FRAME_HEAD);
		}
		if (why != NULL)
			return (bad(w, why, f));
	}
	return (WS_FRAME_MORE);
}

bool
ws_code_is_valid(unsigned c)
{
	return ((c >= 1000 && c <= 1003) || (c >= 1007 && c <= 1014) ||
	    (c >= 3000 && c <= 4999));
}

/* ---- masking ---- */

void
ws_frame_mask(unsigned char *to, const unsigned char *p, size_t n,
    const unsigned char mask[4], uint64_t at)
{
	unsigned char turned[8];
	uint64_t key, v;
	size_t i;

	for (i = 0; i < sizeof(turned); i++)
		turned[i] = mask[(at + i) & 3];
	memcpy(&key, turned, sizeof(key));
	for (i = 0; i + sizeof(v) <= n; i += sizeof(v)) {
		memcpy(&v, p + i, sizeof(v));
		v ^= key;
		memcpy(to + i, &v, sizeof(v));
	}
	for (; i < n; i++)
		to[i] = p[i] ^ turned[i & 3];
}

/* ---- writing ---- */

size_t
ws_frame_head(unsigned char out[static WS_HEAD_MAX], enum ws_op op, bool fin,
    uint64_t length, const unsigned char *mask)
{
	unsigned octets = length < LENGTH_16 ? 0 : length < 1 << 16 ? 2 : 8;
	size_t n = 2;

	assert(length >> 63 == 0);
	out[0] = (unsigned char)((fin ? FIN : 0) | op);
	out[1] = (unsigned char)((mask != NULL ? MASKED : 0) |
	    (octets == 0          ? length
		    : octets == 2 ? LENGTH_16
				  : LENGTH_64));
	while (octets > 0)
		out[n++] = (unsigned char)(length >> 8 * --octets);
	if (mask != NULL) {
		memcpy(out + n, mask, 4);
		n += 4;
	}
	return (n);
}

void
ws_frame_put(struct chq *to, enum ws_side from, enum ws_op op,
    const void *payload, size_t n)
{
	unsigned char head[WS_HEAD_MAX], mask[4] = { 0 };
	struct chunk *c = chunk_new_size(WS_HEAD_MAX + n);
	size_t head_n;
	ssize_t r;

	assert(!ws_op_is_control(op) || n <= WS_CONTROL_MAX);
	if (from == WS_CLIENT) {
		/* RFC 6455 10.3: a mask that nobody foresees */
		r = getrandom(mask, sizeof(mask), 0);
		assert(r == (ssize_t)sizeof(mask));
	}
	head_n = ws_frame_head(head, op, true, n,
	    from == WS_CLIENT ? mask : NULL);
	memcpy(c->data, head, head_n);
	if (n > 0)
		ws_frame_mask(c->data + head_n, payload, n, mask, 0);
	c->used = (uint32_t)(head_n + n);
	chq_add(to, c, c->data, c->used);
	chunk_unref(&c);
}

void
ws_frame_put_close(struct chq *to, enum ws_side from, unsigned code,
    struct str reason)
{
	unsigned char payload[WS_CONTROL_MAX];
	size_t n = reason.n;

	if (code == WS_CODE_NONE) {
		ws_frame_put(to, from, WS_OP_CLOSE, NULL, 0);
		return;
	}
	assert(ws_code_is_valid(code));
	if (n > WS_REASON_MAX)
		for (n = WS_REASON_MAX;
		     n > 0 && ((unsigned char)reason.p[n] & 0xC0) == 0x80; n--)
			;
	payload[0] = (unsigned char)(code >> 8);
	payload[1] = (unsigned char)code;
	if (n > 0)
		memcpy(payload + 2, reason.p, n);
	ws_frame_put(to, from, WS_OP_CLOSE, payload, n + 2);
}
