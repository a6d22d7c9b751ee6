/* SPDX-License-Identifier: GPL-2.0-or-later */
/* HTTP/2 for load.c and origin.c: windows as large as a browser's, and a session's frames gathered into full TLS records. */
#ifndef PERF_H2_H
#define PERF_H2_H
#include <nghttp2/nghttp2.h>

#define H2_OUT 65536u
struct h2out {
	unsigned char *b;
	size_t n, off;
};
#define NV(k, v)                                                      \
	{                                                             \
		(uint8_t *)(uintptr_t)(k), (uint8_t *)(uintptr_t)(v), \
		    strlen(k), strlen(v), NGHTTP2_NV_FLAG_NONE        \
	}

static inline void
h2_greet(nghttp2_session *s, uint32_t streams)
{
	nghttp2_settings_entry e[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 6u << 20 },
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 }
	};
	nghttp2_submit_settings(s, NGHTTP2_FLAG_NONE, e,
	    nghttp2_session_check_server_session(s) ? 2 : 3);
	nghttp2_session_set_local_window_size(s, NGHTTP2_FLAG_NONE, 0,
	    15 << 20);
}

/* 1 when all is out, 0 to wait, -1 on error; wr as cwrite() */
struct conn;
static inline int
h2_flush(nghttp2_session *s, struct h2out *o, struct conn *c,
    long (*wr)(struct conn *, const void *, size_t))
{
	for (;;) {
		while (o->n + 16384 + 64 < H2_OUT) {
			const uint8_t *p;
			ssize_t k = nghttp2_session_mem_send(s, &p);
			if (k < 0 || (size_t)k > H2_OUT - o->n)
				return -1;
			if (!k)
				break;
			memcpy(o->b + o->n, p, (size_t)k), o->n += (size_t)k;
		}
		if (!o->n)
			return 1;
		long r = wr(c, o->b + o->off, o->n - o->off);
		if (r < 0)
			return r == -1 ? 0 : -1;
		if ((o->off += (size_t)r) == o->n)
			o->n = o->off = 0;
	}
}
#endif
