/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages between processes, see clam_wire.h. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "scanners/clam_wire.h"
#include "scanners/scanner.h"

static size_t
size_of(uint32_t kind)
{
	switch ((enum clam_kind)kind) {
	case CLAM_OPEN:
		return (sizeof(struct clam_open));
	case CLAM_ATTACH:
	case CLAM_LEAVE:
	case CLAM_CHANGED:
	case CLAM_TIRED:
	case CLAM_PING:
	case CLAM_PONG:
	case CLAM_NEW:
	case CLAM_KILL:
		return (sizeof(struct clam_word));
	case CLAM_CRASHED:
		return (sizeof(struct clam_crashed));
	case CLAM_READY:
		return (sizeof(struct clam_ready));
	case CLAM_FAILED:
		return (sizeof(struct clam_failed));
	case CLAM_DIED:
		return (sizeof(struct clam_died));
	case CLAM_BORN:
		return (sizeof(struct clam_born));
	case CLAM_SCAN:
		return (sizeof(struct clam_scan_msg));
	case CLAM_VERDICT:
		return (sizeof(struct clam_verdict));
	case CLAM_KINDS:
		break;
	}
	return (0);
}

/* Ended, and nothing that a log could not show. */
static bool
is_text(const char *s, size_t n)
{
	size_t i;

	for (i = 0; i < n && s[i] != '\0'; i++)
		if ((unsigned char)s[i] < ' ' || s[i] == 0x7f)
			return (false);
	return (i < n);
}

#define IS_TEXT(array) is_text(array, sizeof(array))
/* What comes from outside and is shown to nobody may hold any bytes. */
#define IS_ENDED(array) (memchr(array, '\0', sizeof(array)) != NULL)

static bool
is_codings(const struct decode_list *l)
{
	unsigned i;

	if (l->n > DECODE_MAX || !IS_ENDED(l->unknown) || !IS_ENDED(l->ignored))
		return (false);
	for (i = 0; i < l->n; i++)
		if ((unsigned)l->coding[i] >= DECODE_CODINGS)
			return (false);
	return (true);
}

static bool
is_scan(const struct clam_scan_msg *m, unsigned n_fds)
{
	return (m->slot_bytes <= CLAM_SLOT && m->file_bytes <= INT64_MAX / 4 &&
	    m->memory_bytes <= INT64_MAX / 4 &&
	    n_fds == (m->file_bytes > 0) + (unsigned)(m->memory_bytes > 0) &&
	    is_codings(&m->codings) && IS_ENDED(m->type));
}

static bool
is_verdict(const struct clam_verdict *m)
{
	return (
	    (m->verdict == VERDICT_CLEAN || m->verdict == VERDICT_UNSCANNED ||
		m->verdict == VERDICT_BLOCKED) &&
	    m->gap < GAP_COUNT &&
	    (m->verdict == VERDICT_UNSCANNED || m->gap == GAP_NONE) &&
	    (m->verdict != VERDICT_UNSCANNED || m->gap != GAP_NONE) &&
	    IS_TEXT(m->threat) && IS_TEXT(m->reason) && IS_TEXT(m->note));
}

static bool
is_open(const struct clam_open *m)
{
	return (IS_ENDED(m->db) && IS_ENDED(m->temp_dir) &&
	    IS_TEXT(m->user.name) && m->scanners > 0 &&
	    m->scanners <= CLAM_SCANNERS && m->sandbox <= SANDBOX_OFF &&
	    m->watch_ms > 0 && m->limits.scan_size <= INT64_MAX / 4);
}

/* Is all of it in range? */
static bool
is_sound(const struct clam_packet *p)
{
	static const unsigned char fds[CLAM_KINDS] = { [CLAM_ATTACH] = 1,
		[CLAM_NEW] = 2,
		[CLAM_CRASHED] = 1 };
	const union clam_msg *m = &p->m;

	if (m->kind != CLAM_SCAN && p->n_fds != fds[m->kind])
		return (false);
	switch ((enum clam_kind)m->kind) {
	case CLAM_OPEN:
		return (is_open(&m->open));
	case CLAM_READY:
		return (m->ready.fit <= 1 && IS_TEXT(m->ready.library) &&
		    sandbox_report_ok(&m->ready.box));
	case CLAM_FAILED:
		return (IS_TEXT(m->failed.text));
	case CLAM_CRASHED:
		return (m->crashed.pid > 0);
	case CLAM_DIED:
		return (m->died.how < CLAM_DEATHS);
	case CLAM_BORN:
		return (m->born.fit <= 1 && sandbox_report_ok(&m->born.box));
	case CLAM_SCAN:
		return (is_scan(&m->scan, p->n_fds));
	case CLAM_VERDICT:
		return (is_verdict(&m->verdict));
	case CLAM_ATTACH:
	case CLAM_LEAVE:
	case CLAM_CHANGED:
	case CLAM_TIRED:
	case CLAM_PING:
	case CLAM_PONG:
	case CLAM_NEW:
	case CLAM_KILL:
		return (true);
	case CLAM_KINDS:
		break;
	}
	return (false);
}

void
clam_packet_drop(struct clam_packet *p)
{
	unsigned i;

	for (i = 0; i < p->n_fds; i++)
		if (p->fd[i] >= 0)
			close(p->fd[i]);
	p->n_fds = 0;
}

int
clam_packet_take(struct clam_packet *p, unsigned i)
{
	int fd = i < p->n_fds ? p->fd[i] : -1;

	if (fd >= 0)
		p->fd[i] = -1;
	return (fd);
}

enum clam_got
clam_wire_recv(int fd, unsigned kinds, struct clam_packet *p, int wait_ms)
{
	size_t n;

	switch (channel_take(fd, &p->m, sizeof(p->m), &n, p->fd, &p->n_fds,
	    wait_ms)) {
	case CHANNEL_DONE:
		break;
	case CHANNEL_LATE:
		return (CLAM_NOTHING);
	case CHANNEL_CLOSED:
		return (errno == ECONNRESET ? CLAM_UNREAD : CLAM_ENDED);
	case CHANNEL_BROKEN:
		return (CLAM_BROKEN);
	}
	if (n >= sizeof(p->m.kind) && p->m.kind < CLAM_KINDS &&
	    (kinds & CLAM_BIT(p->m.kind)) != 0 && n == size_of(p->m.kind) &&
	    is_sound(p))
		return (CLAM_GOT);
	clam_packet_drop(p);
	return (CLAM_BROKEN);
}

bool
clam_wire_send(int fd, const void *msg, const int *fds, unsigned n_fds)
{
	size_t n = size_of(*(const uint32_t *)msg);

	assert(n > 0 && n_fds <= CLAM_FDS);
	return (channel_send(fd, msg, n, fds, n_fds, 0) == CHANNEL_DONE);
}

bool
clam_wire_word(int fd, enum clam_kind kind, uint32_t id, const int *fds,
    unsigned n_fds)
{
	struct clam_word w = { kind, id };

	return (clam_wire_send(fd, &w, fds, n_fds));
}

void
clam_wire_text(char *to, size_t cap, const char *from)
{
	size_t i;

	for (i = 0; i + 1 < cap && from[i] != '\0'; i++)
		to[i] = (unsigned char)from[i] < ' ' || from[i] == 0x7f
		    ? '?'
		    : from[i];
	memset(to + i, 0, cap - i);
}
