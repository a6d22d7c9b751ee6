/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages between the supervisor and a serving process, see message.h. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/sealed.h"
#include "base/str.h"
#include "proxy/message.h"

#define SEND_MS 5000 /* who does not read for so long is stuck */

static const struct {
	enum message_sender sender;
	int type; /* enum channel_type of its descriptor, or MESSAGE_NO_FD */
} kinds[MESSAGE_KINDS] = {
#define M(name, sender, descriptor) { MESSAGE_##sender, descriptor },
#include "proxy/message.def"
#undef M
};

bool
message_send(int channel, const struct message *m, int fd)
{
	enum channel_end r;

	assert(m->kind < MESSAGE_KINDS);
	assert((fd >= 0) == (kinds[m->kind].type != MESSAGE_NO_FD));
	r = channel_send(channel, m, sizeof(*m), &fd, fd >= 0 ? 1 : 0, SEND_MS);
	if (r != CHANNEL_DONE)
		errno = r == CHANNEL_LATE ? EAGAIN : EPIPE;
	return (r == CHANNEL_DONE);
}

/* A text that ends, without control characters. */
static bool
text_ok(const char *text, size_t size)
{
	size_t i, n = strnlen(text, size);

	for (i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return (false);
	return (n < size);
}

static bool
message_ok(const struct message *m, enum message_sender from, const int *fds,
    unsigned n)
{
	if (m->kind >= MESSAGE_KINDS || kinds[m->kind].sender != from ||
	    !text_ok(m->text, sizeof(m->text)))
		return (false);
	if (kinds[m->kind].type == MESSAGE_NO_FD)
		return (n == 0);
	return (n == 1 &&
	    channel_is(fds[0], (enum channel_type)kinds[m->kind].type));
}

enum channel_end
message_receive(int channel, enum message_sender from, struct message *m,
    int *fd, int wait_ms)
{
	int fds[CHANNEL_FDS];
	unsigned n;
	enum channel_end r = channel_recv(channel, m, sizeof(*m), fds, &n,
	    wait_ms);

	*fd = -1;
	if (r != CHANNEL_DONE)
		return (r);
	if (!message_ok(m, from, fds, n)) {
		channel_close(fds, n);
		return (CHANNEL_BROKEN);
	}
	if (n == 1)
		*fd = fds[0];
	return (CHANNEL_DONE);
}

int
setup_pack(const struct setup *s)
{
	struct buf b = { 0 };
	int fd;

	buf_add(&b, s->file, strlen(s->file) + 1);
	buf_add(&b, s->listen, strlen(s->listen) + 1);
	buf_add(&b, s->text, s->n);
	fd = sealed_new("setup", b.p, b.n);
	buf_fini(&b);
	return (fd);
}

bool
setup_unpack(int fd, struct setup *s, struct buf *room)
{
	const char *end, *at;

	if (!sealed_read(fd, room, SETUP_MAX) || room->n < 2)
		return (false);
	end = room->p + room->n;
	s->file = room->p;
	if ((at = memchr(s->file, '\0', room->n)) == NULL || at + 1 == end)
		return (false);
	s->listen = at + 1;
	if ((at = memchr(s->listen, '\0', (size_t)(end - s->listen))) == NULL)
		return (false);
	s->text = at + 1;
	s->n = (size_t)(end - s->text);
	return (true);
}
