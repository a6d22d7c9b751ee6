/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known of a process that has died, see postmortem.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "base/crash.h"
#include "base/str.h"
#include "proxy/audit/log.h"
#include "proxy/flight.h"
#include "proxy/postmortem.h"

#define FOLDER "crash"
#define SAID_MAX 4096u /* octets of its last words */
#define FRAME_MAX 80
#define SIGNED_FRAMES 5 /* from the innermost one of ours on */
#define SUSPECTS 256
#define CROWD 16 /* more flows than that point at nobody */
#define NAME_TRIES 10

/* A client or host that had flows under way in crashes. */
struct suspect {
	char text[FLIGHT_HOST];
	bool is_host;
	unsigned crashes;
	uint64_t last; /* the crash that it was in */
};

struct postmortem {
	char *state;
	uint64_t crashes;
	struct suspect suspect[SUSPECTS];
};

/* What is found out about one death. */
struct finding {
	struct buf report;    /* its own words, printable */
	struct str assertion; /* in said; STR_NONE: none failed */
	char top[FRAME_MAX];  /* "assayd+0x41c3e"; "": not known */
	uint32_t signature;
	uint32_t slot; /* that the thread worked on; 0: not known */
	unsigned flows;
	char name[80]; /* of the file; "": none */
	int error;     /* why there is none */
};

/* Relics. */

bool
relics_new(struct relics *r, bool with_flows)
{
	*r = RELICS_NONE;
	r->report = crash_report_new();
	if (r->report >= 0 && with_flows)
		r->flight = flight_memory_new();
	if (r->report >= 0 && (r->flight >= 0 || !with_flows))
		return (true);
	relics_free(r);
	return (false);
}

void
relics_free(struct relics *r)
{
	if (r->report >= 0)
		close(r->report);
	if (r->flight >= 0)
		close(r->flight);
	*r = RELICS_NONE;
}

/* Reading the report. */

static void
make_printable(char *p, size_t n)
{
	for (; n > 0; n--, p++)
		if ((*p < 0x20 || *p > 0x7E) && *p != '\n')
			*p = '?';
}

static void
read_report(struct finding *f, int fd)
{
	char *p = buf_room(&f->report, CRASH_REPORT_MAX);
	ssize_t n = fd < 0 ? 0 : pread(fd, p, CRASH_REPORT_MAX, 0);

	if (n <= 0)
		return;
	n = (ssize_t)strnlen(p, (size_t)n);
	make_printable(p, (size_t)n);
	f->report.n += (size_t)n;
	if (n > 0 && p[n - 1] != '\n')
		buf_cstr(&f->report, "\n");
}

/* The next line, without its end; false: there is none. */
static bool
next_line(struct str *rest, struct str *line)
{
	if (rest->n == 0)
		return (false);
	*line = (struct str){ rest->p, str_index(*rest, '\n') };
	rest->p += line->n + (line->n < rest->n);
	rest->n -= line->n + (line->n < rest->n);
	return (true);
}

/* What follows the word that the line begins with; false: another one. */
static bool
after_word(struct str line, struct str word, struct str *out)
{
	if (!str_starts(line, word))
		return (false);
	*out = (struct str){ line.p + word.n, line.n - word.n };
	return (true);
}

/* Of the program, not of a library: those are called *.so.*. */
static bool
is_own(struct str frame)
{
	char text[FRAME_MAX];

	snprintf(text, sizeof(text), "%.*s", STR_ARG(frame));
	return (strchr(text, '+') != NULL && strstr(text, ".so") == NULL);
}

/* FNV-1a: the same frames, the same number. */
static uint32_t
hash_frame(uint32_t h, struct str frame)
{
	size_t i;

	for (i = 0; i < frame.n; i++)
		h = (h ^ (unsigned char)frame.p[i]) * 16777619u;
	return ((h ^ '\n') * 16777619u);
}

/*
 * Where it happened: the innermost frame of ours, for below it are only abort
 * and the like; of no frame of ours the innermost one.
 */
static void
find_place(struct finding *f)
{
	struct str rest = buf_as_str(&f->report), line, v;
	uint64_t slot;
	unsigned signed_n = 0;
	bool own = false;

	f->signature = 2166136261u;
	while (next_line(&rest, &line)) {
		if (after_word(line, STR("slot "), &v) &&
		    str_to_u64(v, FLIGHT_SLOTS, &slot))
			f->slot = (uint32_t)slot;
		if (!after_word(line, STR("frame "), &v))
			continue;
		if ((is_own(v) && !own) || f->top[0] == '\0') {
			snprintf(f->top, sizeof(f->top), "%.*s", STR_ARG(v));
			own = is_own(v);
		}
		if (own && signed_n++ < SIGNED_FRAMES)
			f->signature = hash_frame(f->signature, v);
	}
	if (!own)
		f->signature = hash_frame(f->signature, str_of(f->top));
}

/* "assayd: proxy/flow.c:57: flow_go: Assertion `x' failed." (assert(3)) */
static void
find_assertion(struct finding *f, struct str said)
{
	struct str line;
	char text[SAID_MAX + 1];

	while (next_line(&said, &line)) {
		snprintf(text, sizeof(text), "%.*s", STR_ARG(line));
		if (strstr(text, ": Assertion `") != NULL)
			f->assertion = line;
	}
}

/* Flows. */

static struct suspect *
suspect_get(struct postmortem *p, const char *text, bool is_host)
{
	struct suspect *s, *least = &p->suspect[0];

	for (s = p->suspect; s < p->suspect + SUSPECTS; s++) {
		if (s->crashes > 0 && s->is_host == is_host &&
		    strcmp(s->text, text) == 0)
			return (s);
		if (s->crashes < least->crashes ||
		    (s->crashes == least->crashes && s->last < least->last))
			least = s;
	}
	*least = (struct suspect){ .is_host = is_host };
	snprintf(least->text, sizeof(least->text), "%s", text);
	return (least);
}

/* A flow of it was under way, and few others were. */
static void
suspect(struct postmortem *p, const char *text, bool is_host)
{
	struct suspect *s;

	if (text[0] == '\0')
		return;
	s = suspect_get(p, text, is_host);
	if (s->crashes > 0 && s->last == p->crashes)
		return;
	s->last = p->crashes;
	if (++s->crashes >= POSTMORTEM_CRASHES)
		log_line(LEVEL_WARNING, "crash",
		    "%s %s was present in %u crashes",
		    is_host ? "host" : "client", s->text, s->crashes);
}

static void
find_flows(struct postmortem *p, struct finding *f, struct buf *out, int fd)
{
	struct flight_reader r = { .fd = fd };
	struct flight_seen seen;

	while (fd >= 0 && flight_next(&r, &seen))
		if (f->flows++ < POSTMORTEM_FLOWS)
			buf_printf(out, "flow %s%s\n", seen.reference,
			    seen.slot == f->slot ? " here" : "");
	if (f->flows > POSTMORTEM_FLOWS)
		buf_printf(out, "flows %u more\n", f->flows - POSTMORTEM_FLOWS);
	r = (struct flight_reader){ .fd = fd };
	while (fd >= 0 && flight_next(&r, &seen))
		if (f->slot != 0 ? seen.slot == f->slot : f->flows <= CROWD) {
			suspect(p, seen.client, false);
			suspect(p, seen.host, true);
		}
}

/* The file. */

static int
open_folder(const struct postmortem *p)
{
	int state = open(p->state, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;

	if (state < 0)
		return (-1);
	if (mkdirat(state, FOLDER, 0700) == 0 || errno == EEXIST)
		fd = openat(state, FOLDER,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	close(state);
	return (fd);
}

static int
open_new(int folder, const struct death *d, char *name, size_t room)
{
	time_t now = time(NULL);
	struct tm tm;
	char when[32] = "", again[16] = "";
	int fd = -1;
	unsigned i;

	if (gmtime_r(&now, &tm) != NULL)
		(void)strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &tm);
	/* The clock may have been set back to when another one had that number. */
	for (i = 0; i < NAME_TRIES && fd < 0; i++) {
		if (i > 0)
			snprintf(again, sizeof(again), "-%u", i);
		snprintf(name, room, "%s-%s-%ld%s", when, d->process,
		    (long)d->pid, again);
		fd = openat(folder, name,
		    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0 && errno != EEXIST)
			break;
	}
	return (fd);
}

static bool
write_all(int fd, const struct buf *b)
{
	size_t at = 0;
	ssize_t n;

	while (at < b->n) {
		n = write(fd, b->p + at, b->n - at);
		if (n > 0)
			at += (size_t)n;
		else if (n == 0 || errno != EINTR)
			return (false);
	}
	return (true);
}

static int
is_file(const struct dirent *e)
{
	return (e->d_name[0] != '.');
}

/* The oldest go; never the new one, whatever the clock says. */
static void
keep_few(int folder, const char *newest)
{
	struct dirent **list;
	int n = scandirat(folder, ".", &list, is_file, alphasort), i, over;

	if (n < 0)
		return;
	over = n - POSTMORTEM_KEPT;
	for (i = 0; i < n; i++) {
		if (over > 0 && strcmp(list[i]->d_name, newest) != 0) {
			(void)unlinkat(folder, list[i]->d_name, 0);
			over--;
		}
		free(list[i]);
	}
	free(list);
}

static void
keep_file(const struct postmortem *p, struct finding *f, const struct death *d,
    const struct buf *text)
{
	int folder = open_folder(p), fd = -1;
	char name[sizeof(f->name)];

	if (folder >= 0)
		fd = open_new(folder, d, name, sizeof(name));
	if (fd >= 0 && write_all(fd, text))
		memcpy(f->name, name, sizeof(f->name));
	else
		f->error = errno;
	if (fd >= 0 && f->name[0] == '\0')
		(void)unlinkat(folder, name, 0); /* half of it is none */
	if (fd >= 0)
		close(fd);
	if (folder >= 0) {
		keep_few(folder, f->name);
		close(folder);
	}
}

static void
write_text(struct postmortem *p, struct finding *f, struct buf *out,
    const struct death *d, struct str said, const struct relics *r)
{
	struct str line;

	if (f->assertion.n > 0)
		buf_printf(out, "assertion %.*s\n", STR_ARG(f->assertion));
	buf_printf(out, "process %s (%ld)\nfate %s\n", d->process, (long)d->pid,
	    d->fate);
	if (f->top[0] != '\0')
		buf_printf(out, "place %s\nsignature %08x\n", f->top,
		    f->signature);
	find_flows(p, f, out, r->flight);
	while (next_line(&said, &line))
		buf_printf(out, "said %.*s\n", STR_ARG(line));
	buf_str(out, buf_as_str(&f->report));
}

static void
say(const struct postmortem *p, const struct finding *f, const struct death *d)
{
	char flows[60] = "", place[FRAME_MAX + 40] = "";

	if (f->flows > 0)
		snprintf(flows, sizeof(flows), "; %u flow%s under way",
		    f->flows, f->flows == 1 ? " was" : "s were");
	if (f->top[0] != '\0')
		snprintf(place, sizeof(place), " at %s (signature %08x)",
		    f->top, f->signature);
	if (f->name[0] != '\0')
		log_line(LEVEL_ERROR, "crash",
		    "%s, process %ld, %s%s%s; report: %s/" FOLDER "/%s",
		    d->process, (long)d->pid, d->fate, place, flows, p->state,
		    f->name);
	else
		log_line(LEVEL_ERROR, "crash",
		    "%s, process %ld, %s%s%s; no report could be kept: %s",
		    d->process, (long)d->pid, d->fate, place, flows,
		    strerror(f->error));
}

void
postmortem(struct postmortem *p, const struct death *d, const struct relics *r)
{
	size_t cut = d->said_n > SAID_MAX ? d->said_n - SAID_MAX : 0;
	struct buf text = { 0 }, said = { 0 };
	struct finding f = { .slot = 0 };

	p->crashes++;
	if (d->said != NULL)
		buf_add(&said, d->said + cut, d->said_n - cut);
	make_printable(said.p, said.n);
	read_report(&f, r->report);
	find_place(&f);
	find_assertion(&f, buf_as_str(&said));
	write_text(p, &f, &text, d, buf_as_str(&said), r);
	keep_file(p, &f, d, &text);
	say(p, &f, d);
	buf_fini(&text);
	buf_fini(&said);
	buf_fini(&f.report);
}

uint64_t
postmortem_count(const struct postmortem *p)
{
	return (p->crashes);
}

struct postmortem *
postmortem_new(const char *state)
{
	struct postmortem *p = calloc(1, sizeof(*p));

	if (p == NULL || (p->state = strdup(state)) == NULL)
		abort();
	return (p);
}

void
postmortem_free(struct postmortem **pp)
{
	struct postmortem *p = *pp;

	*pp = NULL;
	if (p == NULL)
		return;
	free(p->state);
	free(p);
}
