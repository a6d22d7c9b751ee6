/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What there is to look at in one body: its bytes as they came, what its
 * content codings hide (RFC 9110 8.4), the parts of multipart bodies
 * (RFC 2046 5.1) and the messages of gRPC, each as a file of its own beside
 * the whole, decoded and split in turn.  libclamav knows files by how they begin, so that a file
 * inside a form is none to it.
 *
 * Room: scanners.  Thread: one of the engine's.
 */
#include <stdio.h>
#include <string.h>
#include "http/grpc.h"
#include "http/multipart.h"
#include "scanners/clam_priv.h"

/* bytes split or decoded between two looks at the clock */
#define TURN (1 << 20)
#define PIECE 65536 /* bytes of a transfer coding undone at once */

/* Something to look at. */
struct content {
	struct clam_source source;
	const struct decode_list *codings;
	struct str type; /* Content-Type */
	unsigned depth;  /* in how many multipart bodies it lies */
};

struct walk {
	struct clam_look *look;
	struct cl_engine *cl;
};

static void content_look(const struct walk *, const struct content *);

static const struct clam_limits *
limits_of(const struct walk *w)
{
	return (&w->look->core->limits);
}

/* Nothing more can come of it. */
static bool
is_over(const struct walk *w)
{
	return (
	    w->look->verdict == VERDICT_BLOCKED || clam_look_stops(w->look));
}

static struct clam_source
source_of(struct decode_store *store)
{
	return ((struct clam_source){
	    .in = { decode_store_read, store, store->length },
	    .memory = store->p,
	    .fd = store->fd,
	    .fd_bytes = store->fd >= 0 ? store->length : 0 });
}

/* ---- parts ---- */

static ssize_t
piece_read(void *arg, void *p, size_t n, uint64_t at)
{
	const struct str *piece = arg;

	if (at >= piece->n)
		return (0);
	if (n > piece->n - at)
		n = piece->n - (size_t)at;
	memcpy(p, piece->p + at, n);
	return ((ssize_t)n);
}

static void
store_failed(const struct walk *w)
{
	clam_look_unscanned(w->look, GAP_ERROR, "temporary file or read error");
}

/* What is made of a body is its client's. */
static void
store_init(const struct walk *w, struct decode_store *s)
{
	decode_store_init(s, w->look->core->temp_dir);
	decode_store_charge_to(s, w->look->account);
}

/* Undo a transfer coding into store; false: that failed. */
static bool
transfer_undo(const struct walk *w, struct str in, unsigned transfer,
    struct decode_store *store)
{
	struct multipart_decoder d;
	struct buf out = { 0 };
	bool good = true;
	size_t at, n;

	multipart_decoder_init(&d, transfer);
	for (at = 0; at < in.n && good && !is_over(w); at += n) {
		n = in.n - at < PIECE ? in.n - at : PIECE;
		multipart_decode(&d, in.p + at, n, &out);
		good = decode_store_add(store, out.p, out.n);
		out.n = 0;
	}
	buf_fini(&out);
	return (good);
}

static void
transfer_look(const struct walk *w, struct str in, unsigned transfer,
    struct content c)
{
	struct decode_store store;

	store_init(w, &store);
	if (transfer_undo(w, in, transfer, &store)) {
		c.source = source_of(&store);
		content_look(w, &c);
	} else
		store_failed(w);
	decode_store_fini(&store);
}

/*
 * Not all receivers know transfer codings in forms (RFC 7578 4.7): a part
 * that has one is looked at as it is as well.
 */
static void
part_look(const struct walk *w, struct str in,
    const struct multipart_part *part, unsigned depth)
{
	struct decode_list codings = { .n = 0 };
	struct content c = { .codings = &codings,
		.type = str_of(part->type),
		.depth = depth };

	if (++w->look->parts > limits_of(w)->files) {
		clam_look_unscanned(w->look, GAP_LIMIT,
		    "limit exceeded (parts)");
		return;
	}
	decode_list_add(&codings, str_of(part->coding));
	c.source = (struct clam_source){ .in = { piece_read, &in, in.n },
		.memory = in.p };
	content_look(w, &c);
	if ((part->transfer & MULTIPART_BASE64) != 0)
		transfer_look(w, in, MULTIPART_BASE64, c);
	if ((part->transfer & MULTIPART_QUOTED) != 0)
		transfer_look(w, in, MULTIPART_QUOTED, c);
	if ((part->transfer & MULTIPART_UNKNOWN) != 0)
		clam_look_unscanned(w->look, GAP_CODING,
		    "transfer coding of a part cannot be opened");
}

static void
parts_split(const struct walk *w, const struct clam_map *map,
    struct multipart *m, unsigned depth)
{
	const char *p = map->p;
	struct multipart_part part;
	size_t at, used, n;

	for (at = 0; at < map->n && !is_over(w); at += used) {
		n = map->n - at < TURN ? map->n - at : TURN;
		if (multipart_feed(m, p + at, n, &used, &part) ==
		    MULTIPART_PART)
			part_look(w,
			    (struct str){ p + part.at, (size_t)part.length },
			    &part, depth);
	}
	if (at == map->n && multipart_end(m, &part))
		part_look(w, (struct str){ p + part.at, (size_t)part.length },
		    &part, depth);
}

/* Is it a multipart body? Then look at its parts. */
static void
parts_look(const struct walk *w, const struct clam_map *map, struct str type,
    unsigned depth)
{
	char room[MULTIPART_BOUNDARY_MAX + 1];
	struct multipart m;
	struct str boundary;

	if (!multipart_type(type, room, &boundary) || is_over(w))
		return;
	if (boundary.n == 0) {
		clam_look_unscanned(w->look, GAP_DAMAGED,
		    "multipart body without a boundary");
		return;
	}
	if (depth >= limits_of(w)->recursion) {
		clam_look_unscanned(w->look, GAP_LIMIT,
		    "limit exceeded (multipart in multipart)");
		return;
	}
	multipart_init(&m, boundary);
	parts_split(w, map, &m, depth + 1);
	if (!is_over(w))
		multipart_compare(&m, map->p, map->n);
	if (multipart_is_odd(&m))
		clam_look_unscanned(w->look, GAP_DAMAGED,
		    "multipart body that can be split in several ways");
	multipart_fini(&m);
}

/* ---- messages of gRPC ---- */

/*
 * A message is what its receiver gets, so it is a file of its own.  Which
 * coding a compressed one has is said in a field; gzip is seen.
 */
static void
message_look(const struct walk *w, struct str in, bool compressed,
    unsigned depth)
{
	struct decode_list codings = { .n = 0 };
	struct content c = { .codings = &codings, .depth = depth };

	if (++w->look->parts > limits_of(w)->files) {
		clam_look_unscanned(w->look, GAP_LIMIT,
		    "limit exceeded (messages)");
		return;
	}
	if (compressed && !str_starts(in, STR("\x1f\x8b")))
		clam_look_unscanned(w->look, GAP_CODING,
		    "coding of a gRPC message cannot be opened");
	c.source = (struct clam_source){ .in = { piece_read, &in, in.n },
		.memory = in.p };
	content_look(w, &c);
}

/* Frames, those of trailers among them (0x80), up to the first that is none. */
static void
messages_split(const struct walk *w, struct str in, unsigned depth)
{
	uint32_t length;
	size_t at, left;
	bool compressed;

	for (at = 0; in.n - at >= HTTP_GRPC_HEAD && !is_over(w); at += length) {
		const unsigned char head[HTTP_GRPC_HEAD] = {
			(unsigned char)in.p[at] & 0x7f,
			(unsigned char)in.p[at + 1],
			(unsigned char)in.p[at + 2],
			(unsigned char)in.p[at + 3], (unsigned char)in.p[at + 4]
		};

		if (!http_grpc_head(head, &compressed, &length))
			return;
		at += HTTP_GRPC_HEAD;
		left = in.n - at;
		length = length < left ? length : (uint32_t)left;
		message_look(w, (struct str){ in.p + at, length }, compressed,
		    depth);
	}
}

/* Is it a body of gRPC, or of gRPC-Web?  Then look at its messages. */
static void
messages_look(const struct walk *w, const struct clam_map *map, struct str type,
    unsigned depth)
{
	enum http_grpc_form form = http_grpc_form(type);
	struct decode_list codings = { .n = 0 };
	struct content frames = { .codings = &codings,
		.depth = depth + 1,
		.type = STR("application/grpc-web") };
	struct str in = { map->p, map->n };

	if (form == GRPC_FORM_NONE || is_over(w))
		return;
	if (depth >= limits_of(w)->recursion)
		clam_look_unscanned(w->look, GAP_LIMIT,
		    "limit exceeded (messages in parts)");
	else if (form == GRPC_FORM_TEXT)
		transfer_look(w, in, MULTIPART_BASE64, frames);
	else
		messages_split(w, in, depth + 1);
}

/* ---- bytes ---- */

/* Look at the bytes as they are, and at parts where type says that it has some. */
static void
bytes_look(const struct walk *w, const struct clam_source *source,
    struct str type, unsigned depth)
{
	struct clam_map map;

	if (source->in.length == 0)
		return;
	switch (clam_map_open(&map, source, clam_look_stops, w->look)) {
	case CLAM_MAPPED:
		clam_look_map(w->look, w->cl, &map);
		parts_look(w, &map, type, depth);
		messages_look(w, &map, type, depth);
		clam_map_close(&map);
		break;
	case CLAM_MAP_STOPPED:
		clam_look_unscanned(w->look, GAP_TIME, "time limit exceeded");
		break;
	case CLAM_MAP_UNREAD:
		clam_look_unscanned(w->look, GAP_ERROR, "read error");
		break;
	case CLAM_MAP_MEMORY:
		clam_look_unscanned(w->look, GAP_ERROR,
		    "scan error (no memory)");
		break;
	}
}

/* ---- content codings ---- */

/*
 * libclamav opens what begins like gzip itself, however long, and the rest is
 * done in clam_layers.c.  A head whose checksum is wrong, or with flags that
 * are reserved (RFC 1952 2.3.1), clients of a coding read in several ways.
 */
static bool
is_plain_gzip(const struct decode_input *in)
{
	unsigned char head[4];

	return (in->read(in->arg, head, 4, 0) == 4 && head[0] == 0x1f &&
	    head[1] == 0x8b && head[2] == 8 && (head[3] & 0xe2) == 0);
}

static bool
is_multipart(struct str type)
{
	char room[MULTIPART_BOUNDARY_MAX + 1];
	struct str boundary;

	return (multipart_type(type, room, &boundary));
}

/* Is there a coding that libclamav does not see through, or not as we want? */
static bool
is_coded(const struct content *c)
{
	const struct decode_list *list = c->codings;

	if (list->n == 1 && list->coding[0] == DECODE_GZIP &&
	    !is_multipart(c->type))
		return (!is_plain_gzip(&c->source.in));
	return (list->n > 0);
}

static void
coded_end(struct clam_look *look, enum decode_end end,
    enum decode_coding coding)
{
	switch (end) {
	case DECODE_DONE:
	case DECODE_CUT: /* clients get no more of it either */
		break;
	case DECODE_BAD:
		clam_look_unscanned(look, GAP_CODING,
		    "content coding %s cannot be opened", decode_name(coding));
		break;
	case DECODE_LARGE:
		clam_look_unscanned(look, GAP_LIMIT, "decoded size limit");
		break;
	case DECODE_STOPPED:
		clam_look_unscanned(look, GAP_TIME, "time limit exceeded");
		break;
	case DECODE_IO:
		clam_look_unscanned(look, GAP_ERROR,
		    "temporary file or read error");
		break;
	}
}

/* May deflate be read in two ways, with and without a wrapper, RFC 1950? */
static bool
is_wrapped(const struct decode_input *in)
{
	unsigned char head[1];

	return (in->read(in->arg, head, 1, 0) == 1 && (head[0] & 15) == 8);
}

/* Answers name aws-chunked that is in them no more: they are what they are. */
static bool
is_left(const struct decode_list *list)
{
	return (
	    list->is_answer && list->n == 1 && list->coding[0] == DECODE_AWS);
}

/*
 * Take the codings off, the last one applied first, and look at what is in.
 * raw: as clients do that know deflate without a wrapper only; the others see
 * what is broken.  True: that may be something else.
 */
static bool
coded_pass(const struct walk *w, const struct content *c, bool raw)
{
	uint64_t most = limits_of(w)->scan_size;
	struct decode_limits limits = {
		.coded_bytes = c->source.in.length,
		.stop = clam_look_stops,
		.stop_arg = w->look,
	};
	struct decode_store store[2];
	struct clam_source source = c->source;
	enum decode_end end = DECODE_DONE;
	enum decode_coding coding = DECODE_GZIP;
	unsigned i, to = 0;
	bool other = false;

	store_init(w, &store[0]);
	store_init(w, &store[1]);
	for (i = c->codings->n;
	     i-- > 0 && (end == DECODE_DONE || end == DECODE_CUT); to ^= 1) {
		coding = c->codings->coding[i];
		if (coding == DECODE_DEFLATE && is_wrapped(&source.in)) {
			other = true;
			coding = raw ? DECODE_RAW : coding;
		}
		decode_store_fini(&store[to]);
		limits.max_bytes = most - w->look->decoded;
		end = decode_run(coding, &source.in, &store[to], &limits);
		source = source_of(&store[to]);
		w->look->decoded += source.in.length;
		if (w->look->decoded > most)
			w->look->decoded = most;
	}
	if ((!raw && !is_left(c->codings)) || end != DECODE_BAD)
		coded_end(w->look, end, coding);
	/* Of a broken coding clients use what comes before the break. */
	if (end == DECODE_DONE || end == DECODE_CUT || end == DECODE_BAD)
		bytes_look(w, &source, c->type, c->depth);
	decode_store_fini(&store[0]);
	decode_store_fini(&store[1]);
	return (other);
}

static void
coded_look(const struct walk *w, const struct content *c)
{
	if (coded_pass(w, c, false) && !is_over(w))
		(void)coded_pass(w, c, true);
}

/*
 * Not all receivers take a coding off, least of all from requests, and one may
 * end before the body does: the parts are looked at in the coded bytes as well.
 */
static void
content_look(const struct walk *w, const struct content *c)
{
	bool coded = is_coded(c);

	bytes_look(w, &c->source, c->type, c->depth);
	if (c->codings->unknown[0] != '\0')
		clam_look_unscanned(w->look, GAP_CODING,
		    "content coding %s cannot be opened", c->codings->unknown);
	else if (coded && !is_over(w))
		coded_look(w, c);
}

/* What libclamav came upon and does not see itself, in such ones in turn. */
static void
layers_look(const struct walk *w)
{
	struct clam_source source;
	struct clam_layer *l;

	while ((l = clam_layer_next(w->look)) != NULL) {
		source = source_of(&l->store);
		if (!is_over(w))
			bytes_look(w, &source, STR_NONE, 0);
		clam_layer_free(&l);
	}
}

void
clam_look_run(struct clam_look *look)
{
	struct content c = { .source = look->source,
		.codings = &look->codings,
		.type = str_of(look->type) };
	struct walk w = { look, NULL };

	if (clam_look_stops(look)) {
		clam_look_unscanned(look, GAP_TIME,
		    "no scanning thread was free in time");
		return;
	}
	atomic_store(&look->begun, true);
	if (!clam_core_temp_stands(look->core))
		clam_look_unscanned(look, GAP_ERROR, "temporary space");
	w.cl = clam_core_take(look->core);
	content_look(&w, &c);
	layers_look(&w);
	if (look->verdict != VERDICT_BLOCKED && clam_look_stops(look))
		clam_look_unscanned(look, GAP_TIME, "time limit exceeded");
	clam_lib_unref(&w.cl);
}
