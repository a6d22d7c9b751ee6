/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One message to one scripted server, see icap_talk.h. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "t/unit/icap_talk.h"

/* What the server saw of the last request; read after peer_free(). */
struct saw saw;

void
note_body(struct peer_conn *c)
{
	saw.body_n = c->body_n;
	saw.good = try_is_body(c->body, c->body_n, 0);
}

/* The head, and the preview if there is one. */
bool
see(struct peer_conn *c)
{
	memcpy(saw.head, c->head, sizeof(saw.head));
	memcpy(saw.http, c->http, sizeof(saw.http));
	saw.preview_n = saw.body_n = 0;
	saw.ieof = saw.whole = false;
	saw.good = true;
	if (strstr(c->head, "null-body") != NULL)
		return (true);
	if (!peer_read_body(c))
		return (false);
	saw.ieof = c->ieof;
	saw.preview_n = c->body_n;
	saw.whole = strstr(c->head, "Preview:") == NULL || c->ieof;
	note_body(c);
	return (true);
}

bool
see_rest(struct peer_conn *c)
{
	if (!saw.whole &&
	    (!peer_write(c, "ICAP/1.0 100 Continue\r\n\r\n") ||
		!peer_read_body(c)))
		return (false);
	saw.whole = true;
	note_body(c);
	return (true);
}

const char *with_options;
const struct try_body *with_body;
bool as_resp;
void (*adjust)(struct rig *);

/* One message to one server; the caller looks at t and ends by finish(). */
struct peer *peer;
struct rig rig;
struct try t;

void
begin(peer_fn serve)
{
	peer = peer_new(with_options, serve);
	rig_init(&rig);
	if (adjust != NULL)
		adjust(&rig);
	rig_start(&rig, peer_port(peer), 0);
}

void
message(void)
{
	try_init(&t, &rig, as_resp || with_body == NULL ? GET : REQ,
	    as_resp ? RESP : NULL, with_body);
}

void
one(peer_fn serve)
{
	begin(serve);
	message();
	try_run(&t);
}

void
finish(void)
{
	try_fini(&t);
	rig_end(&rig, &peer, NULL);
	with_options = NULL;
	with_body = NULL;
	as_resp = false;
	adjust = NULL;
}

bool
serve_204(struct peer_conn *c)
{
	return (see(c) && peer_write(c, ICAP204));
}

bool
serve_204_whole(struct peer_conn *c)
{
	return (see(c) && see_rest(c) && peer_write(c, ICAP204));
}

void
preview_off(struct rig *r)
{
	r->options.preview = ICAP_PREVIEW_OFF;
}

bool
write_adapted(struct peer_conn *c, const char *status, const char *kind,
    const char *head, bool body)
{
	char line[80];

	snprintf(line, sizeof(line), "Encapsulated: %s-hdr=0, %s=%zu\r\n\r\n",
	    kind,
	    !body                ? "null-body"
		: kind[2] == 'q' ? "req-body"
				 : "res-body",
	    strlen(head));
	return (peer_write(c, status) && peer_write(c, line) &&
	    peer_write(c, head));
}

bool
serve_pipe(struct peer_conn *c)
{
	char line[64], block[65536];
	size_t n, got, i;

	if (!write_adapted(c, ICAP200, "req", c->http, true))
		return (false);
	for (;;) {
		for (i = 0; i < sizeof(line) - 1; i++) {
			if (c->raw_at == c->raw_n) {
				ssize_t r = recv(c->fd, c->raw, sizeof(c->raw),
				    0);

				if (r <= 0)
					return (false);
				c->raw_at = 0;
				c->raw_n = (size_t)r;
			}
			line[i] = (char)c->raw[c->raw_at++];
			line[i + 1] = '\0';
			if (line[i] == '\n' && i > 1)
				break;
		}
		n = strtoul(line, NULL, 16);
		if (n == 0)
			break;
		for (got = 0; got < n; got += i) {
			if (c->raw_at == c->raw_n) {
				ssize_t r = recv(c->fd, c->raw, sizeof(c->raw),
				    0);

				if (r <= 0)
					return (false);
				c->raw_at = 0;
				c->raw_n = (size_t)r;
			}
			i = c->raw_n - c->raw_at;
			if (i > n - got)
				i = n - got;
			memcpy(block, c->raw + c->raw_at, i);
			c->raw_at += i;
			if (!peer_write_chunk(c, block, i))
				return (false);
		}
	}
	return (peer_write(c, "0\r\n\r\n"));
}
