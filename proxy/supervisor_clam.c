/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The supervisor's scan masters, see supervisor_priv.h.  There is one house for
 * all services that load the same database in the same way, whoever serves: the
 * database outlives the serving process, and two of them share it.
 *
 * What a serving process can have of it is a socket, one at a time.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/list.h"
#include "proxy/audit/log.h"
#include "proxy/gen.h"
#include "proxy/problem.h"
#include "proxy/supervisor_priv.h"

#define SCAN_USER "assay-scan"
#define GIVE_MS 500       /* between two sockets for one process */
#define SAID_SECOND 65536 /* octets on stderr */

static void on_look(struct timer *t);

/* Who scans, and where. */

void
scans_find_user(struct supervisor *p)
{
	bool found = sandbox_user_find(SCAN_USER, &p->scan_room);

	p->scan_user = p->user;
	if (geteuid() == 0 && found && p->scan_room.uid != 0)
		p->scan_user = &p->scan_room;
}

static void
say_user(const struct supervisor *p)
{
	if (geteuid() == 0 && p->scan_user == p->user)
		log_line(LEVEL_WARNING, "scan",
		    "there is no user " SCAN_USER
		    ": scan masters run as user %s",
		    p->user != NULL ? p->user->name : "root");
}

/*
 * libclamav makes a folder for each scan: in memory that costs a third.  A user
 * of its own has no part of the state folder.
 */
static void
temp_place(const struct supervisor *p, const struct conf *c, char out[1024])
{
	if (access("/dev/shm", W_OK | X_OK) == 0)
		(void)snprintf(out, 1024, "/dev/shm");
	else if (p->scan_user != p->user)
		(void)snprintf(out, 1024, "/var/tmp");
	else
		(void)snprintf(out, 1024, "%s/tmp", c->state);
}

static void
open_of(const struct supervisor *p, const struct conf *c, unsigned i,
    struct clam_open *open)
{
	char *db, temp[1024];
	struct clam_options o = gen_clam_options(c, i, &db);

	temp_place(p, c, temp);
	o.temp_dir = temp;
	clam_open_fill(open, &o, p->scan_user);
	free(db);
}

void
scans_check(const struct supervisor *p, const struct conf *c,
    struct conf_problems *list)
{
	static struct clam_open open;
	struct fault f;
	unsigned i;

	for (i = 0; i < c->services.n; i++) {
		if (!gen_clam_in_processes(c, i))
			continue;
		f = (struct fault){ ERR_NONE, "" };
		open_of(p, c, i, &open);
		if (!clam_keeper_check(&open, &f))
			problem_add(list, false, "service %s: %s: %s",
			    c->services.v[i].name, open.db, f.detail);
	}
}

/* Tenants: serving processes that have a socket. */

static struct tenant *
tenant_find(struct scanhouse *h, uint32_t who)
{
	unsigned i;

	for (i = 0; i < h->n_tenants; i++)
		if (h->tenants[i].who == who)
			return (&h->tenants[i]);
	return (NULL);
}

static bool
tenant_add(struct scanhouse *h, uint32_t who)
{
	if (h->n_tenants == CLAM_TENANTS)
		return (false);
	h->tenants[h->n_tenants++] = (struct tenant){ who,
		loop_now(h->of->loop) };
	return (true);
}

void
scans_forget(struct supervisor *p, uint32_t who)
{
	struct scanhouse *h;
	struct tenant *t;

	for (h = p->houses; h != NULL; h = h->next)
		if ((t = tenant_find(h, who)) != NULL)
			*t = h->tenants[--h->n_tenants];
}

static void
give(struct scanhouse *h, struct tenant *t)
{
	struct served *v = served_find(h->of, t->who);
	int fd;

	t->given_at = loop_now(h->of->loop);
	if (v == NULL || (fd = clam_keeper_client(h->keeper, t->who)) < 0)
		return;
	served_say_scans(v, MESSAGE_NEW_SCANS, h->number, 0, fd);
	(void)close(fd);
}

/* Its own fault is its own loss: it is given no more than it can have lost. */
void
scans_want(struct served *v, uint32_t number)
{
	struct scanhouse *h;
	struct tenant *t;

	for (h = v->of->houses; h != NULL && h->number != number; h = h->next)
		;
	if (h == NULL || h->leaves || (t = tenant_find(h, v->who)) == NULL ||
	    loop_now(h->of->loop) - t->given_at < GIVE_MS)
		return;
	give(h, t);
}

/* What a keeper tells. */

static void
house_ready(void *arg)
{
	struct scanhouse *h = arg;
	unsigned i;

	h->ready = true;
	for (i = 0; i < h->n_tenants; i++)
		if (!clam_keeper_awaits(h->keeper, h->tenants[i].who))
			give(h, &h->tenants[i]);
	supervisor_scans_news(h->of);
}

static void
house_failed(void *arg, const char *why)
{
	struct scanhouse *h = arg;

	(void)snprintf(h->failed, sizeof(h->failed), "%s", why);
	supervisor_scans_news(h->of);
}

static void
house_say(void *arg, const char *what, const char *detail)
{
	(void)arg;
	log_line(LEVEL_NOTICE, "scan", "clamav: %s%s", what, detail);
}

static void
house_crashed(void *arg, const struct clam_crash *c)
{
	const struct scanhouse *h = arg;
	struct relics r = { .report = c->report, .flight = -1 };
	struct death d = { .process = c->process, .pid = c->pid };
	char fate[96];

	child_fate(c->how, fate, sizeof(fate));
	d.fate = fate;
	aftermath_note(h->of, &d, &r);
}

/* What masters and scanners say on stderr: lines, so many a second. */

static void
end_line(struct scanhouse *h)
{
	static struct log_limit limit;

	if (h->line_n > 0)
		(void)log_limited(&limit, LEVEL_WARNING, "scan", "%.*s",
		    (int)h->line_n, h->line);
	h->line_n = 0;
}

static void
on_errors(void *arg, unsigned events)
{
	struct scanhouse *h = arg;
	char p[1024];
	ssize_t i, n = read(h->errors[0], p, sizeof(p));

	(void)events;
	for (i = 0; i < n; i++) {
		if (p[i] == '\n' || h->line_n == sizeof(h->line))
			end_line(h);
		if (p[i] != '\n' && p[i] != '\0')
			h->line[h->line_n++] = p[i];
	}
	h->heard += n > 0 ? (size_t)n : 0;
	if (h->heard >= SAID_SECOND) /* the rest waits, or is lost */
		watch_set(h->errs, 0);
}

/* Another second. */
static void
hear_again(struct scanhouse *h)
{
	h->heard = 0;
	watch_set(h->errs, WATCH_READ);
}

static bool
errors_open(struct scanhouse *h)
{
	return (pipe2(h->errors, O_CLOEXEC | O_NONBLOCK) == 0);
}

static void
errors_close(struct scanhouse *h)
{
	watch_free(&h->errs);
	end_line(h);
	if (h->errors[0] >= 0)
		channel_close(h->errors, 2);
}

/* Houses. */

static const struct clam_keeper_news no_news = { house_ready, house_failed,
	house_say, house_crashed, NULL, 0 };

static struct scanhouse *
house_alloc(struct supervisor *p, uint32_t number, const struct clam_open *open)
{
	struct scanhouse *h = calloc(1, sizeof(*h));

	if (h == NULL)
		abort();
	h->of = p;
	h->number = number;
	memcpy(&h->open, open, sizeof(h->open));
	h->errors[0] = h->errors[1] = -1;
	timer_init(&h->look, p->loop, on_look);
	return (h);
}

static void
look(struct scanhouse *h)
{
	clam_keeper_look(h->keeper);
	if (!h->ready && h->failed[0] == '\0' &&
	    loop_now(h->of->loop) > h->load_by)
		house_failed(h, "not loaded within limits.start");
	timer_set(&h->look, clam_keeper_is_over(h->keeper) ? 1 : CLAM_TICK_MS);
}

static void
on_says(void *arg, unsigned events)
{
	(void)events;
	look(arg);
}

static void
house_begin(struct scanhouse *h)
{
	struct supervisor *p = h->of;

	h->says = watch_new(p->loop, clam_keeper_fd(h->keeper), on_says, h);
	watch_set(h->says, WATCH_READ);
	h->errs = watch_new(p->loop, h->errors[0], on_errors, h);
	watch_set(h->errs, WATCH_READ);
	timer_set(&h->look, CLAM_TICK_MS);
	h->next = p->houses;
	p->houses = h;
}

static void
house_free(struct scanhouse *h)
{
	struct scanhouse **at;

	for (at = &h->of->houses; *at != h; at = &(*at)->next)
		assert(*at != NULL);
	*at = h->next;
	timer_stop(&h->look);
	watch_free(&h->says);
	clam_keeper_free(&h->keeper);
	errors_close(h);
	free(h);
}

static void
on_look(struct timer *t)
{
	struct scanhouse *h = CONTAINER_OF(t, struct scanhouse, look);

	if (clam_keeper_is_over(h->keeper)) {
		house_free(h);
		return;
	}
	look(h);
	hear_again(h);
}

static struct scanhouse *
house_open(struct supervisor *p, const struct clam_open *open, uint64_t load_ms,
    struct fault *f)
{
	struct clam_keeper_news news = no_news;
	struct scanhouse *h;

	for (h = p->houses; h != NULL; h = h->next)
		if (!h->leaves && h->failed[0] == '\0' &&
		    memcmp(&h->open, open, sizeof(*open)) == 0)
			return (h);
	if (p->last_house == 0)
		say_user(p);
	h = house_alloc(p, ++p->last_house, open);
	h->load_by = loop_now(p->loop) + load_ms;
	news.arg = h;
	if (errors_open(h)) {
		news.errors = h->errors[1];
		h->keeper = clam_keeper_new(open, p->env, &news, f);
	} else
		fault_set(f, ERR_SYSTEM, "scan master: %s", strerror(errno));
	if (h->keeper == NULL) {
		errors_close(h);
		free(h);
		return (NULL);
	}
	house_begin(h);
	return (h);
}

static struct scanhouse *
house_find(const struct supervisor *p, uint32_t number)
{
	struct scanhouse *h;

	for (h = p->houses; h->number != number; h = h->next)
		assert(h->next != NULL);
	return (h);
}

/* Those of an edition. */

bool
scans_open(struct supervisor *p, struct edition *e, struct fault *f)
{
	static struct clam_open open;
	const struct scanhouse *h;
	unsigned i;

	e->scans = calloc(e->conf->services.n + 1, sizeof(*e->scans));
	if (e->scans == NULL)
		abort();
	for (i = 0; i < e->conf->services.n; i++) {
		if (!gen_clam_in_processes(e->conf, i))
			continue;
		open_of(p, e->conf, i, &open);
		if ((h = house_open(p, &open, e->conf->limits.start_ms, f)) ==
		    NULL)
			return (false);
		e->scans[i] = h->number;
	}
	return (true);
}

enum scans_state
scans_state(const struct supervisor *p, const struct edition *e,
    char why[SCANS_WHY])
{
	enum scans_state state = SCANS_READY;
	const struct scanhouse *h;
	unsigned i;

	for (i = 0; i < e->conf->services.n; i++) {
		if (e->scans[i] == 0)
			continue;
		h = house_find(p, e->scans[i]);
		if (h->failed[0] != '\0') {
			(void)snprintf(why, SCANS_WHY, "service %s: %.200s: %s",
			    e->conf->services.v[i].name, h->open.db, h->failed);
			return (SCANS_FAILED);
		}
		if (!h->ready)
			state = SCANS_LOAD;
	}
	return (state);
}

static bool
has_house(const struct edition *e, uint32_t number)
{
	unsigned i;

	for (i = 0; e != NULL && e->scans != NULL && i < e->conf->services.n;
	     i++)
		if (e->scans[i] == number)
			return (true);
	return (false);
}

void
scans_sweep(struct supervisor *p)
{
	struct scanhouse *h;

	for (h = p->houses; h != NULL; h = h->next)
		if (!h->leaves && !has_house(p->edition, h->number) &&
		    !has_house(p->next, h->number)) {
			h->leaves = true;
			clam_keeper_leave(h->keeper);
			timer_set(&h->look, 1);
		}
}

bool
scans_hand_over(struct served *v, const struct edition *e)
{
	struct scanhouse *h;
	unsigned i;
	bool ok = true;
	int fd;

	for (i = 0; ok && i < e->conf->services.n; i++) {
		if (e->scans[i] == 0)
			continue;
		h = house_find(v->of, e->scans[i]);
		fd = -1;
		if (tenant_find(h, v->who) == NULL && tenant_add(h, v->who))
			fd = clam_keeper_client(h->keeper, v->who);
		ok = served_say_scans(v,
		    fd >= 0 ? MESSAGE_SCANS : MESSAGE_SAME_SCANS, h->number, i,
		    fd);
		if (fd >= 0)
			(void)close(fd);
	}
	return (ok);
}

/* Another program takes them over. */

void
scans_put(struct scanhouse *h, struct buf *b)
{
	static struct state_house room, *x = &room;

	memset(x, 0, sizeof(*x));
	x->number = h->number;
	x->leaves = h->leaves;
	memcpy(x->errors, h->errors, sizeof(x->errors));
	memcpy(&x->open, &h->open, sizeof(x->open));
	x->n_tenants = h->n_tenants;
	memcpy(x->tenants, h->tenants, sizeof(x->tenants));
	clam_keeper_put(h->keeper, x->kept);
	buf_add(b, x, sizeof(*x));
}

void
scans_adopt(struct supervisor *p, const void *from)
{
	static struct state_house room;
	const struct state_house *x = memcpy(&room, from, sizeof(room));
	struct scanhouse *h = house_alloc(p, x->number, &x->open);
	struct clam_keeper_news news = no_news;

	news.arg = h;
	h->ready = true;
	h->leaves = x->leaves != 0;
	memcpy(h->errors, x->errors, sizeof(h->errors));
	news.errors = h->errors[1];
	h->n_tenants = x->n_tenants <= CLAM_TENANTS ? x->n_tenants : 0;
	memcpy(h->tenants, x->tenants, sizeof(h->tenants));
	h->keeper = clam_keeper_adopt(&h->open, p->env, &news, x->kept,
	    h->leaves);
	house_begin(h);
	timer_set(&h->look, 1);
}

void
scans_free(struct supervisor *p)
{
	while (p->houses != NULL)
		house_free(p->houses);
}
