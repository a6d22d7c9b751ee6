/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The flight record, see flight.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/crash.h"
#include "proxy/audit/reference.h"
#include "proxy/flight.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* The supervisor's side. */

int
flight_memory_new(void)
{
	int fd = memfd_create("assay-flight", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return (-1);
	if (ftruncate(fd, sizeof(struct flight_memory)) == 0 &&
	    fcntl(fd, F_ADD_SEALS, SEALS) == 0)
		return (fd);
	close(fd);
	return (-1);
}

const struct flight_worker *
flight_words(int fd)
{
	void *p = mmap(NULL, sizeof(struct flight_worker) * FLIGHT_WORKERS,
	    PROT_READ, MAP_SHARED, fd, 0);

	return (p != MAP_FAILED ? p : NULL);
}

void
flight_words_end(const struct flight_worker **words)
{
	if (*words != NULL)
		(void)munmap((void *)(uintptr_t)*words,
		    sizeof(struct flight_worker) * FLIGHT_WORKERS);
	*words = NULL;
}

static off_t
offset_of(uint32_t slot)
{
	return ((off_t)(offsetof(struct flight_memory, slot) +
	    slot * sizeof(struct flight_slot)));
}

/* XXXX-XXXX-XXXX, of the digits that reference.h has. */
static bool
is_reference(const char *s)
{
	static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
	unsigned i;

	for (i = 0; i < REFERENCE_LEN; i++)
		if (i % 5 == 4 ? s[i] != '-'
			       : s[i] == '\0' || strchr(digits, s[i]) == NULL)
			return (false);
	return (s[i] == '\0');
}

/* An address as we write it ourselves. */
static bool
copy_address(char out[FLIGHT_CLIENT], const char *in)
{
	unsigned char a[16];
	int family = strchr(in, ':') != NULL ? AF_INET6 : AF_INET;

	return (inet_pton(family, in, a) == 1 &&
	    inet_ntop(family, a, out, FLIGHT_CLIENT) != NULL);
}

static void
copy_host(char out[FLIGHT_HOST], const char *in)
{
	for (; *in != '\0'; in++)
		*out++ = *in > 0x20 && *in < 0x7F ? *in : '?';
	*out = '\0';
}

static uint64_t
within(uint64_t v)
{
	return (v < INT64_MAX ? v : INT64_MAX);
}

/* s is a copy of our own by now. */
static bool
seen_of(struct flight_seen *out, struct flight_slot *s, uint32_t slot)
{
	if (s->used == 0 || s->mode >= FLIGHT_MODES || s->log >= FLIGHT_LOGS)
		return (false);
	s->reference[FLIGHT_REFERENCE - 1] = '\0';
	s->client[FLIGHT_CLIENT - 1] = '\0';
	s->host[FLIGHT_HOST - 1] = '\0';
	if (!is_reference(s->reference) ||
	    !copy_address(out->client, s->client))
		return (false);
	memcpy(out->reference, s->reference, sizeof(out->reference));
	copy_host(out->host, s->host);
	out->slot = slot + 1;
	out->mode = (enum flight_mode)s->mode;
	out->log = (enum flight_log)s->log;
	out->client_port = s->client_port;
	out->host_port = s->host_port;
	out->started = within(s->started);
	out->up = within(s->up);
	out->down = within(s->down);
	return (true);
}

/* Where memory was never written there is nothing to read. */
static uint32_t
next_written(int fd, uint32_t slot)
{
	off_t at = lseek(fd, offset_of(slot), SEEK_DATA);

	if (at < 0)
		return (FLIGHT_SLOTS);
	at -= offset_of(0);
	return (at > (off_t)slot * (off_t)sizeof(struct flight_slot)
		? (uint32_t)((size_t)at / sizeof(struct flight_slot))
		: slot);
}

bool
flight_next(struct flight_reader *r, struct flight_seen *out)
{
	struct flight_slot copy;
	uint32_t slot;

	while (r->next < FLIGHT_SLOTS) {
		r->next = next_written(r->fd, r->next);
		if (r->next >= FLIGHT_SLOTS)
			break;
		slot = r->next++;
		if (pread(r->fd, &copy, sizeof(copy), offset_of(slot)) !=
		    (ssize_t)sizeof(copy))
			break;
		if (seen_of(out, &copy, slot))
			return (true);
	}
	r->next = FLIGHT_SLOTS;
	return (false);
}

void
flight_forget(int fd, uint32_t slot)
{
	uint32_t none = 0;

	if (slot > 0 && slot <= FLIGHT_SLOTS)
		(void)!pwrite(fd, &none, sizeof(none),
		    offset_of(slot - 1) +
			(off_t)offsetof(struct flight_slot, used));
}

/* The serving process's side. */

struct flight {
	struct flight_memory *memory; /* mapped */
	unsigned workers;
};

static bool
is_flight_memory(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	return (seals >= 0 && (seals & SEALS) == SEALS && fstat(fd, &st) == 0 &&
	    st.st_size == (off_t)sizeof(struct flight_memory));
}

struct flight *
flight_new(int fd, unsigned workers)
{
	struct flight *f;
	void *p;

	if (fd >= 0 && !is_flight_memory(fd)) {
		errno = EINVAL;
		return (NULL);
	}
	p = mmap(NULL, sizeof(struct flight_memory), PROT_READ | PROT_WRITE,
	    fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
	    fd, 0);
	if (p == MAP_FAILED)
		return (NULL);
	f = calloc(1, sizeof(*f));
	if (f == NULL)
		abort();
	f->memory = p;
	f->workers = workers < FLIGHT_WORKERS ? workers : FLIGHT_WORKERS;
	return (f);
}

void
flight_free(struct flight **fp)
{
	struct flight *f = *fp;

	*fp = NULL;
	if (f == NULL)
		return;
	(void)munmap(f->memory, sizeof(*f->memory));
	free(f);
}

void
flight_part_begin(struct flight_part *p, struct flight *f, unsigned worker)
{
	uint32_t share = FLIGHT_SLOTS / f->workers;
	unsigned nth = worker % f->workers;

	*p = (struct flight_part){ .first = f->memory->slot,
		.words = &f->memory->worker[nth],
		.from = nth * share + 1,
		.to = nth * share + share };
	p->unused = p->from;
	p->spare = calloc(share, sizeof(*p->spare));
	if (p->spare == NULL)
		abort();
	atomic_store(&p->words->thread, (uint32_t)gettid());
	crash_place(&p->words->at);
	flight_tick(p);
}

void
flight_part_end(struct flight_part *p)
{
	crash_place(NULL);
	atomic_store(&p->words->ticks, 0);
	free(p->spare);
	p->spare = NULL;
}

static uint32_t
slot_take(struct flight_part *p)
{
	if (p->n_spare > 0)
		return (p->spare[--p->n_spare]);
	return (p->unused <= p->to ? p->unused++ : 0);
}

static void
set_text(char *out, size_t room, struct str s)
{
	if (s.n > room - 1)
		s.n = room - 1;
	if (s.n > 0)
		memcpy(out, s.p, s.n);
	out[s.n] = '\0';
}

uint32_t
flight_begin(struct flight_part *p, const struct flight_facts *of)
{
	uint32_t slot = slot_take(p);
	struct flight_slot *s;

	if (slot == 0)
		return (0);
	s = &p->first[slot - 1];
	set_text(s->reference, sizeof(s->reference), str_of(of->reference));
	set_text(s->client, sizeof(s->client), str_of(of->client));
	set_text(s->host, sizeof(s->host), of->host);
	s->client_port = of->client_port;
	s->host_port = of->host_port;
	s->mode = (uint8_t)of->mode;
	s->log = FLIGHT_LOG_FULL;
	s->state = 0;
	s->started = of->started;
	s->up = s->down = 0;
	/* Nobody reads it but after our death: all is in order then. */
	atomic_store_explicit(&s->used, 1, memory_order_release);
	return (slot);
}

void
flight_end(struct flight_part *p, uint32_t slot)
{
	if (slot == 0)
		return;
	atomic_store_explicit(&p->first[slot - 1].used, 0,
	    memory_order_relaxed);
	p->spare[p->n_spare++] = slot;
}
