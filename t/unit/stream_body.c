/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bodies: every reader gets every byte, whatever the speeds, the splits, the
 * marks and the window; every wait ends; every end is said once and kept.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include "base/budget.h"
#include "base/job.h"
#include "stream/pump.h"
#include "stream/slice.h"
#include "t/unit/unit.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static struct body_store store;
static struct job_pool *io; /* NULL: files are written by the loop itself */
static struct budget *budget;
static struct account *account;
static struct loop *loop;
static size_t live_before;
static unsigned fds_before;

/*
 * A system that has little of its files in memory: one of so many reads that
 * must not wait finds nothing; 0: as it is.  In place of the C library's.
 */
static unsigned cold, colds;

ssize_t
preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	if (flags == RWF_NOWAIT && cold > 0 && unit_random(cold) == 0) {
		colds++;
		errno = EAGAIN;
		return (-1);
	}
	return (syscall(SYS_preadv2, fd, iov, n, (long)offset,
	    (long)((uint64_t)offset >> 32), flags));
}

static unsigned
count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return (n);
}

static void
begin(uint64_t window)
{
	store = (struct body_store){ .temp_dir = "/tmp",
		.window = window,
		.io = io };
	budget = budget_new();
	account = account_open(budget, 1);
	loop = loop_new(); /* libuv keeps a descriptor of its first loop */
	loop_free(&loop);
	fds_before = count_fds();
	live_before = chunk_bytes_live();
	loop = loop_new();
}

/* Nothing may be left: no memory, no descriptor, no byte charged. */
static void
end(void)
{
	loop_free(&loop);
	CU_ASSERT_EQUAL(budget_used(budget, BUDGET_MEMORY), 0);
	CU_ASSERT_EQUAL(budget_used(budget, BUDGET_TEMP), 0);
	CU_ASSERT_EQUAL(budget_used(budget, BUDGET_DESCRIPTORS), 0);
	account_unref(&account);
	budget_free(&budget);
	CU_ASSERT_EQUAL(chunk_bytes_live(), live_before);
	CU_ASSERT_EQUAL(count_fds(), fds_before);
}

/* The byte at an offset of every body here. */
static unsigned char
byte_at(uint64_t i)
{
	return ((unsigned char)(i * 2654435761u >> 13 ^ i));
}

static bool
bytes_ok(const struct chq *q, uint64_t offset)
{
	unsigned char p[4096];
	size_t i, n, done;

	for (done = 0; done < chq_len(q); done += n) {
		n = chq_len(q) - done < sizeof(p) ? chq_len(q) - done
						  : sizeof(p);
		chq_read(q, done, p, n);
		for (i = 0; i < n; i++)
			if (p[i] != byte_at(offset + done + i))
				return (false);
	}
	return (true);
}

/* A source that follows a plan. */
struct feed {
	struct source src;
	uint64_t len, at;
	enum pull last;
	unsigned step;  /* most bytes at once */
	unsigned pause; /* it waits in one of so many pulls; 0: never */
	bool waiting, paused;
	unsigned pulls, drops;
	enum pull dropped;
};

static enum pull
feed_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	struct feed *d = (struct feed *)s;
	unsigned char p[8192];
	size_t n = 1 + unit_random(d->step), i;

	d->pulls++;
	if (!d->paused && d->pause > 0 && unit_random(d->pause) == 0) {
		d->paused = d->waiting = true;
		return (PULL_WAIT);
	}
	d->paused = false;
	if (d->at == d->len) {
		if (d->last == PULL_CUT || d->last == PULL_FAIL)
			fault_set(f, ERR_ORIGIN_CUT, "planned");
		return (d->last);
	}
	n = n > want ? want : n;
	n = n > sizeof(p) ? sizeof(p) : n;
	n = n > d->len - d->at ? (size_t)(d->len - d->at) : n;
	for (i = 0; i < n; i++)
		p[i] = byte_at(d->at + i);
	chq_copy(out, p, n);
	d->at += n;
	return (PULL_MORE);
}

static void
feed_drop(struct source *s, enum pull last)
{
	struct feed *d = (struct feed *)s;

	CU_ASSERT_PTR_NULL(s->body);
	d->drops++;
	d->dropped = last;
	d->waiting = false;
}

/* One byte, and it holds a whole chunk. */
static enum pull
drip_pull(struct source *s, struct chq *out, size_t want, struct fault *f)
{
	struct feed *d = (struct feed *)s;
	struct chunk *c;

	(void)want;
	(void)f;
	if (d->at == d->len)
		return (PULL_END);
	c = chunk_new();
	c->data[0] = byte_at(d->at++);
	chq_add(out, c, c->data, 1);
	chunk_unref(&c);
	return (PULL_MORE);
}

static const struct source_type drip_type = { "drip", drip_pull, feed_drop };
static const struct source_type feed_type = { "feed", feed_pull, feed_drop };

static struct body *
feed_body(struct feed *d, uint64_t len, enum pull last)
{
	struct body *b;

	*d = (struct feed){ .len = len, .last = last, .step = 4096 };
	source_init(&d->src, &feed_type);
	b = body_new(loop, &store, &d->src, BODY_UNKNOWN);
	body_charge_to(b, account);
	return (b);
}

/* A reader with a temper. */
struct eater {
	struct reader r;
	struct task task;
	struct body *body;
	size_t want;   /* most bytes at once */
	unsigned rest; /* it rests after one of so many; 0: never */
	unsigned skip; /* it skips instead of one of so many */
	bool resting, wrong;
	enum pull end;
	uint64_t first;
};

static void
eat_once(struct eater *e)
{
	struct chq q = { 0 };
	uint64_t at = e->r.offset;
	size_t want = 1 + unit_random((unsigned)e->want);
	enum pull p;

	if (e->skip > 0 && unit_random(e->skip) == 0)
		p = reader_skip(&e->r, at + want);
	else {
		p = reader_pull(&e->r, &q, want);
		e->wrong |= (p == PULL_MORE) != (chq_len(&q) > 0) ||
		    chq_len(&q) > want || !bytes_ok(&q, at) ||
		    at + chq_len(&q) != e->r.offset;
	}
	e->wrong |= e->r.offset > e->r.mark;
	chq_fini(&q);
	if (pull_is_last(p))
		e->end = p;
	else if (p == PULL_MORE && e->rest > 0 && unit_random(e->rest) == 0)
		e->resting = true;
	else if (p == PULL_MORE)
		task_wake(&e->task);
}

static void
eat(struct task *t)
{
	struct eater *e = CONTAINER_OF(t, struct eater, task);

	if (e->end == PULL_MORE && !e->resting)
		eat_once(e);
}

static void
eater_open(struct eater *e, struct body *b, uint64_t offset, uint64_t mark)
{
	e->body = b;
	e->end = PULL_MORE;
	e->first = offset;
	task_init(&e->task, loop, eat);
	reader_open(&e->r, b, offset, &e->task);
	e->r.mark = mark;
	task_wake(&e->task);
}

static void
eater_close(struct eater *e)
{
	reader_close(&e->r);
	task_fini(&e->task);
	CU_ASSERT_FALSE(e->wrong);
}

/* --- many readers --- */

#define EATERS 6

struct crowd {
	struct feed feed;
	struct body *body;
	struct eater e[EATERS];
	unsigned n, held;
};

/* Wake somebody who only waits for the test; false: there is none. */
static bool
crowd_poke(struct crowd *c)
{
	unsigned k, i = unit_random(EATERS + 1);

	for (k = 0; k <= EATERS; k++, i = (i + 1) % (EATERS + 1)) {
		if (i == EATERS && c->feed.waiting) {
			c->feed.waiting = false;
			source_wake(&c->feed.src);
			return (true);
		}
		if (i < c->n && c->e[i].resting) {
			c->e[i].resting = false;
			task_wake(&c->e[i].task);
			return (true);
		}
	}
	return (false);
}

/* Everybody who is free to run has had all; then a held one may go on. */
static bool
crowd_release(struct crowd *c)
{
	struct eater *e, *held = NULL;
	bool stuck = false;
	unsigned i;

	for (i = 0; i < c->n; i++) {
		e = &c->e[i];
		if (e->end != PULL_MORE)
			continue;
		if (e->r.mark > e->r.offset)
			stuck = true; /* a wake-up that nobody gave */
		else if (held == NULL || unit_random(2) == 0)
			held = e;
	}
	CU_ASSERT_FALSE(stuck);
	if (held == NULL || stuck)
		return (false);
	reader_release(&held->r,
	    unit_random(4) == 0 ? BODY_ALL
				: held->r.offset + 1 + unit_random(20000));
	return (true);
}

static void
crowd_join(struct crowd *c, uint64_t offset)
{
	struct eater *e = &c->e[c->n++];

	*e = (struct eater){ .want = 1 +
		    unit_random(unit_random(2) == 0 ? 200000 : 3000),
		.rest = unit_random(4),
		.skip = unit_random(3) == 0 ? 3 : 0 };
	eater_open(e, c->body, offset,
	    unit_random(3) == 0 ? offset + unit_random(2) * unit_random(5000)
				: BODY_ALL);
}

static void
crowd_run(struct crowd *c)
{
	unsigned i, turns, late = 2 + unit_random(2);
	static const enum pull ends[] = { PULL_END, PULL_CUT, PULL_FAIL };
	uint64_t len = unit_random(2) == 0 ? unit_random(400000)
					   : unit_random(5000);

	c->body = feed_body(&c->feed, len, ends[unit_random(3)]);
	c->feed.step = 1 + unit_random(8192);
	c->feed.pause = unit_random(5);
	for (i = 1 + unit_random(3); i > 0; i--)
		crowd_join(c, 0);
	for (turns = 0; turns < 2000000; turns++) {
		loop_settle(loop);
		if (c->n < late + 2 && unit_random(20) == 0)
			crowd_join(c,
			    body_kept_from(c->body) +
				unit_random(2) *
				    (body_received(c->body) -
					body_kept_from(c->body)));
		else if (!crowd_poke(c) && !crowd_release(c))
			break;
	}
	for (i = 0; i < c->n; i++) {
		CU_ASSERT_EQUAL(c->e[i].end, c->feed.last);
		CU_ASSERT(c->e[i].r.offset == len);
		eater_close(&c->e[i]);
	}
	CU_ASSERT_EQUAL(c->feed.drops, 1);
	CU_ASSERT_EQUAL(c->feed.dropped, c->feed.last);
	body_unref(&c->body);
}

static void
test_crowd(void)
{
	static const uint64_t windows[] = { 0, 1, 17, 1000, 20000, 65536,
		300000, 1 << 20 };
	struct crowd c;
	unsigned i, k;

	for (i = 0; i < COUNT(windows); i++)
		for (k = 0; k < 25; k++) {
			uint64_t seed = unit_seed;
			unsigned bad = CU_get_number_of_failures();

			memset(&c, 0, sizeof(c));
			begin(windows[i]);
			crowd_run(&c);
			end();
			if (CU_get_number_of_failures() > bad) {
				printf("# window %llu seed %llu\n",
				    (unsigned long long)windows[i],
				    (unsigned long long)seed);
				return;
			}
		}
}

/* Memory is short: windows shrink, nothing is lost. */
static void
test_tight(void)
{
	struct crowd c;
	unsigned k;

	for (k = 0; k < 20; k++) {
		memset(&c, 0, sizeof(c));
		begin(1 << 20);
		budget_set_limit(budget, BUDGET_MEMORY,
		    k % 2 == 0 ? 0 : 150000);
		crowd_run(&c);
		end();
	}
}

/* A scanner runs on while one reader is held where another one is slow. */
static void
test_held_beside_slow(void)
{
	struct feed f;
	struct body *b;
	struct eater held = { .want = 1 }, slow = { .want = 500, .rest = 1 },
		     scan = { .want = 65536 };
	unsigned i;

	begin(10000);
	b = feed_body(&f, 300000, PULL_END);
	eater_open(&held, b, 0, 100);
	eater_open(&slow, b, 0, BODY_ALL);
	eater_open(&scan, b, 0, BODY_ALL);
	loop_settle(loop);
	for (i = 0; i < 1000 && held.r.offset < 100; i++)
		eat_once(&held);
	while (slow.r.offset < 100) {
		slow.want = (size_t)(100 - slow.r.offset);
		slow.resting = false;
		eat_once(&slow);
	}
	loop_settle(loop);
	slow.resting = false;
	slow.want = 1;
	eat_once(&slow); /* now only the held one is at 100 */
	loop_settle(loop);
	CU_ASSERT_EQUAL(scan.end, PULL_END);
	eater_close(&held);
	eater_close(&slow);
	eater_close(&scan);
	body_unref(&b);
	end();
}

/* The slow reader that others wait for is closed instead of going on. */
static void
test_slow_closes(void)
{
	struct feed f;
	struct body *b;
	struct eater held = { .want = 100 }, slow = { .want = 100, .rest = 1 },
		     scan = { .want = 65536 };

	begin(10000);
	b = feed_body(&f, 300000, PULL_END);
	eater_open(&slow, b, 0, 100);
	eater_open(&held, b, 0, 100);
	eater_open(&scan, b, 0, 50);
	loop_settle(loop);
	while (slow.r.offset < 100)
		slow.resting = false, eat_once(&slow);
	while (held.r.offset < 100)
		eat_once(&held);
	reader_release(&slow.r, BODY_ALL);
	reader_release(&scan.r, BODY_ALL);
	loop_settle(loop);
	eater_close(&slow);
	loop_settle(loop);
	CU_ASSERT_EQUAL(scan.end, PULL_END);
	eater_close(&held);
	eater_close(&scan);
	body_unref(&b);
	end();
}

/* Bytes that come singly are kept in little memory, and found quickly. */
static void
test_drip(void)
{
	struct feed f;
	struct body *b;
	struct eater held = { .want = 1 }, scan = { .want = 1 },
		     late = { .want = 1 };

	begin(1 << 20);
	b = feed_body(&f, 300000, PULL_END);
	f.src.type = &drip_type;
	eater_open(&held, b, 0, 0);
	eater_open(&scan, b, 0, 200000);
	loop_settle(loop);
	CU_ASSERT(chunk_bytes_live() - live_before < 200000 + 3 * CHUNK_BYTES);
	eater_open(&late, b, 100000, BODY_ALL);
	reader_release(&scan.r, BODY_ALL);
	loop_settle(loop);
	CU_ASSERT(chunk_bytes_live() - live_before < 300000 + 3 * CHUNK_BYTES);
	reader_release(&held.r, BODY_ALL);
	loop_settle(loop);
	CU_ASSERT(held.end == PULL_END && scan.end == PULL_END &&
	    late.end == PULL_END);
	eater_close(&held);
	eater_close(&scan);
	eater_close(&late);
	body_unref(&b);
	end();
}

/* --- ends --- */

static void
end_at(uint64_t len, enum pull last, unsigned pause, uint64_t window)
{
	struct feed f;
	struct body *b;
	struct eater one = { .want = 7 }, held = { .want = 3 };
	struct chq q = { 0 };

	begin(window);
	b = feed_body(&f, len, last);
	f.step = 5;
	f.pause = pause;
	eater_open(&one, b, 0, BODY_ALL);
	eater_open(&held, b, 0, 0);
	do
		loop_settle(loop);
	while (f.waiting && (f.waiting = false, source_wake(&f.src), true));
	CU_ASSERT_EQUAL(one.end, last);
	CU_ASSERT(one.r.offset == len);
	CU_ASSERT_EQUAL(body_end(b), last);
	CU_ASSERT(body_received(b) == len);
	CU_ASSERT(body_length(b) == (last == PULL_END ? len : BODY_UNKNOWN));
	CU_ASSERT_EQUAL(body_fault(b)->code,
	    last == PULL_END ? ERR_NONE : ERR_ORIGIN_CUT);
	CU_ASSERT_EQUAL(f.drops, 1);
	CU_ASSERT_EQUAL(f.dropped, last);
	CU_ASSERT_EQUAL(reader_pull(&one.r, &q, 1), last);
	CU_ASSERT_EQUAL(held.end, len == 0 ? last : PULL_MORE);
	reader_release(&held.r, BODY_ALL);
	loop_settle(loop);
	CU_ASSERT_EQUAL(held.end, last);
	CU_ASSERT(held.r.offset == len);
	eater_close(&one);
	eater_close(&held);
	body_unref(&b);
	CU_ASSERT_EQUAL(f.drops, 1);
	end();
}

static void
test_ends(void)
{
	static const enum pull ends[] = { PULL_END, PULL_CUT, PULL_FAIL };
	unsigned len, e, pause;

	for (len = 0; len < 40; len++)
		for (e = 0; e < 3; e++)
			for (pause = 0; pause < 3; pause++)
				end_at(len, ends[e], pause, len % 3 * 8);
}

/* The owner of the source dies with the body at every offset. */
static void
test_gone(void)
{
	struct fault why = { ERR_CLIENT_GONE, "left" };
	struct feed f;
	struct body *b;
	struct eater one = { .want = 1 }, late = { .want = 9 };
	unsigned at;

	for (at = 0; at <= 30; at++) {
		begin(at % 2 == 0 ? 4 : 1000);
		b = feed_body(&f, at, PULL_WAIT);
		f.step = 3;
		eater_open(&one, b, 0, BODY_ALL);
		eater_open(&late, b, 0, at / 2);
		loop_settle(loop);
		CU_ASSERT(one.r.offset == at && one.end == PULL_MORE);
		source_gone(&f.src, at % 2 == 0 ? PULL_CUT : PULL_FAIL, &why);
		source_gone(&f.src, PULL_CUT, &why);
		source_wake(&f.src);
		loop_settle(loop);
		CU_ASSERT_EQUAL(one.end, at % 2 == 0 ? PULL_CUT : PULL_FAIL);
		reader_release(&late.r, BODY_ALL);
		loop_settle(loop);
		CU_ASSERT(late.end == one.end && late.r.offset == at);
		CU_ASSERT_EQUAL(body_fault(b)->code, ERR_CLIENT_GONE);
		CU_ASSERT_STRING_EQUAL(body_fault(b)->detail, "left");
		eater_close(&one);
		eater_close(&late);
		body_unref(&b);
		CU_ASSERT_EQUAL(f.drops, 0);
		end();
	}
}

/* Ended by us; unfinished and let go. */
static void
test_fail_and_unref(void)
{
	struct fault why = { ERR_THREAT, "" }, other = { ERR_MEMORY, "" };
	struct feed f;
	struct body *b;
	struct eater e = { .want = 10 };

	begin(100);
	b = feed_body(&f, 5, PULL_WAIT);
	eater_open(&e, b, 0, BODY_ALL);
	loop_settle(loop);
	body_fail(b, &why);
	body_fail(b, &other);
	loop_settle(loop);
	CU_ASSERT(e.end == PULL_FAIL && e.r.offset == 5);
	CU_ASSERT_EQUAL(body_fault(b)->code, ERR_THREAT);
	CU_ASSERT(f.drops == 1 && f.dropped == PULL_FAIL);
	eater_close(&e);
	body_unref(&b);
	CU_ASSERT_EQUAL(f.drops, 1);

	b = feed_body(&f, 500, PULL_END);
	f.step = 1;
	f.pause = 1;
	eater_open(&e, b, 0, 20);
	loop_settle(loop);
	eater_close(&e);
	reader_close(&e.r);
	CU_ASSERT_EQUAL(f.drops, 0);
	CU_ASSERT_PTR_EQUAL(body_ref(b), b);
	body_unref(&(struct body *){ b });
	CU_ASSERT_EQUAL(f.drops, 0);
	body_unref(&b);
	CU_ASSERT(f.drops == 1 && f.dropped == PULL_MORE);
	CU_ASSERT_PTR_NULL(b);
	body_unref(&b);
	end();
}

/* --- limits --- */

/* The file may not grow: the body fails, what is in it stays readable. */
static void
fill_up(uint64_t len, enum err code)
{
	struct feed f;
	struct body *b;
	struct eater keeper = { .want = 9000 }, scan = { .want = 65536 };

	if (io != NULL) /* what is being written stays in memory */
		len += 4 << 20;
	b = feed_body(&f, len, PULL_END);
	eater_open(&keeper, b, 0, 0);
	eater_open(&scan, b, 0, BODY_ALL);
	loop_settle(loop);
	CU_ASSERT_EQUAL(scan.end, PULL_FAIL);
	CU_ASSERT_EQUAL(body_fault(b)->code, code);
	CU_ASSERT(f.drops == 1 && f.dropped == PULL_FAIL);
	reader_release(&keeper.r, BODY_ALL);
	loop_settle(loop);
	CU_ASSERT_EQUAL(keeper.end, PULL_FAIL);
	CU_ASSERT(keeper.r.offset == body_received(b));
	eater_close(&keeper);
	eater_close(&scan);
	body_unref(&b);
}

static void
test_temp_limit(void)
{
	unsigned max;

	for (max = 0; max < 60000; max += 7001) {
		begin(5000);
		budget_set_limit(budget, BUDGET_TEMP, max);
		fill_up(100000, ERR_TEMP_LIMIT);
		end();
	}
	begin(5000);
	store.temp_dir = "/nonexistent";
	fill_up(100000, ERR_TEMP_FULL);
	end();
	begin(5000);
	budget_set_limit(budget, BUDGET_DESCRIPTORS, 1);
	fill_up(100000, ERR_DESCRIPTORS);
	end();
}

/* One client's held body takes half of what all may, another one's passes. */
static void
test_temp_share(void)
{
	struct eater keeper = { .want = 9000 }, scan = { .want = 65536 };
	unsigned k = io != NULL ? 40 : 1; /* a part waits in memory */
	struct account *hog;
	struct feed f, g;
	struct body *b, *small;

	begin(5000);
	hog = account_open(budget, 2);
	budget_set_limit(budget, BUDGET_TEMP, 400000 * k);
	b = feed_body(&f, 190000 * k, PULL_END);
	body_charge_to(b, hog);
	eater_open(&keeper, b, 0, 0);
	eater_open(&scan, b, 0, BODY_ALL);
	loop_settle(loop);
	CU_ASSERT_EQUAL(scan.end, PULL_END);
	/* His next one, the newest, fails ... */
	small = feed_body(&g, 90000 * k, PULL_END);
	body_charge_to(small, hog);
	eater_close(&scan);
	eater_open(&scan, small, 0, 0);
	{
		struct eater more = { .want = 65536 };

		eater_open(&more, small, 0, BODY_ALL);
		loop_settle(loop);
		CU_ASSERT_EQUAL(more.end, PULL_FAIL);
		CU_ASSERT_EQUAL(body_fault(small)->code, ERR_TEMP_LIMIT);
		eater_close(&more);
		eater_close(&scan);
		body_unref(&small);
		/* ... and that of another client is held as usual. */
		small = feed_body(&g, 90000 * k, PULL_END);
		more = (struct eater){ .want = 65536 };
		eater_open(&scan, small, 0, 0);
		eater_open(&more, small, 0, BODY_ALL);
		loop_settle(loop);
		CU_ASSERT_EQUAL(more.end, PULL_END);
		eater_close(&more);
		eater_close(&scan);
		body_unref(&small);
	}
	CU_ASSERT(account_used(hog, BUDGET_TEMP) >= 150000 * k);
	reader_release(&keeper.r, BODY_ALL);
	loop_settle(loop);
	CU_ASSERT_EQUAL(keeper.end, PULL_END);
	eater_close(&keeper);
	body_unref(&b);
	account_unref(&hog);
	end();
}

/* Many held bodies of one client: memory stays in his share, files take it. */
static void
test_memory_share(void)
{
	enum { BODIES = 40 };
	struct eater keep[BODIES] = { { .want = 1 } }, scan = { .want = 65536 };
	struct body *b[BODIES];
	struct feed f[BODIES];
	unsigned i;

	begin(1 << 18);
	budget_set_limit(budget, BUDGET_MEMORY, 2000000);
	for (i = 0; i < BODIES; i++) {
		b[i] = feed_body(&f[i], 200000, PULL_END);
		keep[i].want = 65536;
		eater_open(&keep[i], b[i], 0, 0);
		eater_open(&scan, b[i], 0, BODY_ALL);
		loop_settle(loop);
		CU_ASSERT_EQUAL(scan.end, PULL_END);
		eater_close(&scan);
	}
	CU_ASSERT(chunk_bytes_live() - live_before < 2000000);
	CU_ASSERT(account_room(account, BUDGET_MEMORY) > 100000);
	CU_ASSERT(budget_used(budget, BUDGET_TEMP) > 5000000);
	for (i = 0; i < BODIES; i++) {
		reader_release(&keep[i].r, BODY_ALL);
		loop_settle(loop);
		CU_ASSERT_EQUAL(keep[i].end, PULL_END);
		CU_ASSERT_EQUAL(keep[i].r.offset, 200000);
		eater_close(&keep[i]);
		body_unref(&b[i]);
	}
	end();
}

/* A view's memory and file are its client's, whatever became of the body. */
static void
test_view_share(void)
{
	struct eater keep = { .want = 65536 }, scan = { .want = 65536 };
	struct body_view *v;
	struct body *b;
	struct feed f;
	char p[100];

	begin(50000);
	b = feed_body(&f, 200000, PULL_END);
	eater_open(&keep, b, 0, 0);
	eater_open(&scan, b, 0, BODY_ALL);
	loop_settle(loop);
	v = body_view_new(b);
	CU_ASSERT_PTR_NOT_NULL_FATAL(v);
	CU_ASSERT_PTR_EQUAL(body_view_account(v), account);
	eater_close(&keep);
	eater_close(&scan);
	body_unref(&b);
	CU_ASSERT(account_used(account, BUDGET_MEMORY) +
		account_used(account, BUDGET_TEMP) >=
	    200000 - 16384);
	CU_ASSERT_EQUAL(body_view_read(v, p, 100, 199950), 50);
	body_view_free(&v);
	end();
}

static void
test_file_size(void)
{
	struct rlimit old, small;
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);

	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 30000;
	begin(5000);
	setrlimit(RLIMIT_FSIZE, &small);
	fill_up(100000, ERR_TEMP_FULL);
	setrlimit(RLIMIT_FSIZE, &old);
	end();
	signal(SIGXFSZ, handler);
}

/* A disk of 64 KiB; needs root. */
static void
test_disk_full(void)
{
	char dir[] = "/tmp/assay-unit-XXXXXX";

	if (mkdtemp(dir) == NULL)
		return;
	if (mount("tmpfs", dir, "tmpfs", 0, "size=64k") == 0) {
		begin(5000);
		store.temp_dir = dir;
		fill_up(300000, ERR_TEMP_FULL);
		end();
		CU_ASSERT_EQUAL(umount(dir), 0);
	} else
		printf("# no disk full: %s\n", strerror(errno));
	rmdir(dir);
}

/* --- keeping --- */

static void
test_late(void)
{
	struct feed f;
	struct body *b;
	struct eater first = { .want = 700 }, keeper = { .want = 5000 },
		     late = { .want = 3000 };

	begin(2000);
	b = feed_body(&f, 50000, PULL_END);
	eater_open(&keeper, b, 0, 0);
	eater_open(&first, b, 0, 20000);
	loop_settle(loop);
	CU_ASSERT(body_kept_from(b) == 0 && first.r.offset == 20000);
	CU_ASSERT(reader_behind(&keeper.r) == body_received(b));
	eater_open(&late, b, 12345, BODY_ALL);
	loop_settle(loop);
	CU_ASSERT(late.end == PULL_END && late.r.offset == 50000);
	eater_close(&late);
	eater_close(&keeper);
	CU_ASSERT(body_kept_from(b) == 20000);
	reader_release(&first.r, BODY_ALL);
	loop_settle(loop);
	CU_ASSERT(first.end == PULL_END);
	eater_close(&first);
	CU_ASSERT(body_kept_from(b) == 50000);
	body_unref(&b);
	end();
}

/* A reader that skips in file and memory, over the end, up to its mark. */
static void
test_skip(void)
{
	struct feed f;
	struct body *b;
	struct reader k, r;
	struct chq q = { 0 };

	begin(3000);
	b = feed_body(&f, 40000, PULL_END);
	reader_open(&k, b, 0, NULL);
	reader_open(&r, b, 0, NULL);
	CU_ASSERT_EQUAL(reader_skip(&r, 30000), PULL_MORE);
	CU_ASSERT(r.offset == 30000);
	CU_ASSERT_EQUAL(reader_skip(&r, 30000), PULL_MORE);
	CU_ASSERT_EQUAL(reader_pull(&r, &q, 5), PULL_MORE);
	CU_ASSERT(bytes_ok(&q, 30000));
	CU_ASSERT_EQUAL(reader_skip(&r, 40000), PULL_MORE);
	CU_ASSERT_EQUAL(reader_skip(&r, 40001), PULL_END);
	CU_ASSERT_EQUAL(body_end(b), PULL_END);
	k.mark = 1000;
	CU_ASSERT_EQUAL(reader_skip(&k, 35000), PULL_WAIT);
	CU_ASSERT(k.offset == 1000);
	reader_release(&k, BODY_ALL);
	CU_ASSERT_EQUAL(reader_skip(&k, 35000), PULL_MORE);
	chq_fini(&q);
	CU_ASSERT_EQUAL(reader_pull(&k, &q, 9999), PULL_MORE);
	CU_ASSERT(bytes_ok(&q, 35000));
	chq_fini(&q);
	reader_close(&k);
	reader_close(&r);
	body_unref(&b);
	end();
}

/* What of a queue a reader has next, what is not, and where that begins. */
static void
test_match(void)
{
	static const size_t at[] = { 0, 1, 4095, 4096, 4097, 12345, 39999 };
	unsigned char all[40001];
	struct chq q = { 0 };
	struct reader k, r;
	struct feed f;
	struct body *b;
	size_t i, n, n_at = sizeof(at) / sizeof(at[0]);

	begin(3000);
	b = feed_body(&f, 40000, PULL_END);
	reader_open(&k, b, 0, NULL);
	for (i = 0; i < sizeof(all); i++)
		all[i] = byte_at(i);
	for (i = 0; i <= n_at; i++) {
		reader_open(&r, b, 0, NULL);
		if (i < n_at)
			all[at[i]] ^= 1;
		chq_copy(&q, all, i < n_at ? 40000 : 40001);
		CU_ASSERT_EQUAL(reader_match(&r, &q), PULL_END);
		n = 40000 - chq_len(&q);
		CU_ASSERT(i < n_at || chq_len(&q) == 1);
		if (i < n_at) {
			CU_ASSERT(n <= at[i] && at[i] - n < 4096);
			all[at[i]] ^= 1;
		}
		chq_fini(&q);
		reader_close(&r);
	}
	reader_open(&r, b, 0, NULL);
	for (i = 0; i < 40000; i += n) {
		n = 1 + i % 7000 < 40000 - i ? 1 + i % 7000 : 40000 - i;
		chq_copy(&q, all + i, n);
		CU_ASSERT_EQUAL(reader_match(&r, &q), PULL_MORE);
		CU_ASSERT(chq_len(&q) == 0 && r.offset == i + n);
	}
	chq_fini(&q);
	reader_close(&r);
	reader_close(&k);
	body_unref(&b);
	end();
}

/* The whole of another body: the same, shorter, longer, another, broken off. */
static void
test_match_all(void)
{
	static const struct {
		size_t n, other; /* octets; the one that differs, or n */
		enum pull end, want;
	} row[] = {
		{ 20000, 20000, PULL_END, PULL_END },
		{ 19999, 19999, PULL_END, PULL_FAIL },
		{ 20001, 20001, PULL_END, PULL_FAIL },
		{ 20000, 0, PULL_END, PULL_FAIL },
		{ 20000, 19999, PULL_END, PULL_FAIL },
		{ 20000, 20000, PULL_CUT, PULL_FAIL },
		{ 0, 0, PULL_END, PULL_FAIL },
	};
	struct body *was, *now;
	struct chq q = { 0 };
	struct reader a, b;
	char all[20001];
	struct feed f, g;
	size_t i, k;

	for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		begin(3000);
		for (k = 0; k < sizeof(all); k++)
			all[k] = (char)byte_at(k);
		if (row[i].other < row[i].n)
			all[row[i].other] ^= 1;
		was = feed_body(&f, 20000, PULL_END);
		now = row[i].other < row[i].n
		    ? body_of_bytes(loop, &store, all, row[i].n)
		    : feed_body(&g, row[i].n, row[i].end);
		reader_open(&a, was, 0, NULL);
		reader_open(&b, now, 0, NULL);
		CU_ASSERT_EQUAL(reader_match_all(&a, &b, &q, 20000),
		    row[i].want);
		chq_fini(&q);
		reader_close(&a);
		reader_close(&b);
		body_unref(&was);
		body_unref(&now);
		end();
	}
}

static void
on_first(struct task *t)
{
	t->loop = NULL; /* a mark */
}

static void
test_small_things(void)
{
	struct task first;
	struct feed f;
	struct body *b;
	struct reader r;
	struct chq q = { 0 };
	int trailer;

	begin(100);
	b = body_new(loop, &store, NULL, 99);
	CU_ASSERT(body_end(b) == PULL_END && body_length(b) == 0);
	reader_open(&r, b, 0, NULL);
	CU_ASSERT_EQUAL(reader_pull(&r, &q, 1), PULL_END);
	reader_close(&r);
	body_unref(&b);

	b = body_of_bytes(loop, &store, "hello", 5);
	reader_open(&r, b, 0, NULL);
	CU_ASSERT(body_length(b) == 5 && body_end(b) == PULL_END);
	CU_ASSERT_EQUAL(reader_pull(&r, &q, 9), PULL_MORE);
	CU_ASSERT_EQUAL(chq_len(&q), 5);
	CU_ASSERT_EQUAL(reader_pull(&r, &q, 9), PULL_END);
	chq_fini(&q);
	reader_close(&r);
	body_unref(&b);

	b = feed_body(&f, 3, PULL_END);
	task_init(&first, loop, on_first);
	body_on_first_pull(b, &first);
	loop_settle(loop);
	CU_ASSERT(!body_was_pulled(b) && first.loop != NULL);
	reader_open(&r, b, 0, NULL);
	CU_ASSERT_EQUAL(reader_pull(&r, &q, 9), PULL_MORE);
	loop_settle(loop);
	CU_ASSERT(body_was_pulled(b) && first.loop == NULL);
	task_init(&first, loop, on_first);
	body_on_first_pull(b, &first);
	loop_settle(loop);
	CU_ASSERT_PTR_NULL(first.loop);
	body_set_trailer(b, &trailer);
	CU_ASSERT_PTR_EQUAL(body_trailer(b), &trailer);
	chq_fini(&q);
	reader_close(&r);
	body_unref(&b);
	end();
}

/* --- views --- */

struct look {
	struct body_view *view;
	uint64_t seed, len;
	bool wrong;
};

static void *
look_around(void *arg)
{
	struct look *l = arg;
	unsigned char p[9000];
	uint64_t off;
	size_t want;
	ssize_t n, k;
	unsigned i;

	for (i = 0; i < 300; i++) {
		l->seed = l->seed * 6364136223846793005u + 1;
		off = (l->seed >> 33) % (l->len + 10);
		want = (l->seed >> 20) % sizeof(p);
		n = body_view_read(l->view, p, want, off);
		l->wrong |= n !=
		    (ssize_t)(off >= l->len       ? 0
			    : want < l->len - off ? want
						  : l->len - off);
		for (k = 0; k < n; k++)
			l->wrong |= p[k] != byte_at(off + (uint64_t)k);
	}
	return (NULL);
}

static void
view_of(uint64_t len, uint64_t window, bool pass)
{
	struct feed f;
	struct body *b;
	struct eater keeper = { .want = 4000 }, scan = { .want = 65536 };
	struct look look = { .seed = unit_seed, .len = len };
	pthread_t t;

	begin(window);
	b = feed_body(&f, len, PULL_END);
	CU_ASSERT_PTR_NULL(body_view_new(b));
	eater_open(&keeper, b, 0, 0);
	eater_open(&scan, b, 0, BODY_ALL);
	loop_settle(loop);
	look.view = body_view_new(b);
	CU_ASSERT_PTR_NOT_NULL_FATAL(look.view);
	CU_ASSERT(body_view_length(look.view) == len);
	CU_ASSERT((body_view_memory(look.view) != NULL) <= (len > 0));
	CU_ASSERT_EQUAL_FATAL(pthread_create(&t, NULL, look_around, &look), 0);
	if (pass) {
		reader_release(&keeper.r, BODY_ALL);
		loop_settle(loop);
		CU_ASSERT_EQUAL(keeper.end, PULL_END);
		CU_ASSERT(len == 0 || body_view_new(b) == NULL ||
		    body_kept_from(b) == 0);
	}
	eater_close(&keeper);
	eater_close(&scan);
	body_unref(&b);
	pthread_join(t, NULL);
	CU_ASSERT_FALSE(look.wrong);
	body_view_free(&look.view);
	body_view_free(&look.view);
	end();
}

static void
test_views(void)
{
	static const struct {
		uint64_t len, window;
	} rows[] = { { 0, 10 }, { 1, 10 }, { 100, 1000 }, { 100, 10 },
		{ 90000, 200000 }, { 90000, 1 }, { 90000, 40000 },
		{ 700000, 300000 }, { 700000, 100 } };
	struct body *b;
	struct body_view *v;
	unsigned i;

	for (i = 0; i < COUNT(rows); i++) {
		view_of(rows[i].len, rows[i].window, false);
		view_of(rows[i].len, rows[i].window, true);
	}
	begin(10);
	b = body_of_bytes(loop, &store, "abc", 3);
	v = body_view_new(b);
	body_unref(&b);
	CU_ASSERT(memcmp(body_view_memory(v), "abc", 3) == 0);
	body_view_free(&v);
	end();
}

/* A body of 300000 whose first bytes are in the file, and nobody has read. */
static struct body *
cold_body(struct feed *f, struct eater *e)
{
	struct body *b;
	struct reader all;
	uint64_t to;

	begin(5000);
	b = feed_body(f, 300000, PULL_END);
	*e = (struct eater){ .want = 70000 };
	eater_open(e, b, 0, 0);
	reader_open(&all, b, 0, NULL);
	for (to = 10000; reader_skip(&all, to) != PULL_END; to += 10000)
		loop_settle(loop); /* until it is written */
	loop_settle(loop);
	reader_close(&all);
	CU_ASSERT_EQUAL(e->r.offset, 0);
	return (b);
}

/* A reader that goes away, or elsewhere, while its bytes are fetched. */
static void
test_fetch(void)
{
	struct chq q = { 0 };
	struct eater e;
	struct feed f;
	struct body *b = cold_body(&f, &e);

	reader_release(&e.r, BODY_ALL);
	CU_ASSERT_EQUAL(reader_pull(&e.r, &q, 100), PULL_WAIT);
	CU_ASSERT_EQUAL(reader_pull(&e.r, &q, 100), PULL_WAIT);
	CU_ASSERT_EQUAL(reader_skip(&e.r, 200000), PULL_MORE);
	CU_ASSERT_EQUAL(reader_pull(&e.r, &q, 100), PULL_WAIT);
	loop_settle(loop);
	CU_ASSERT_EQUAL(e.end, PULL_END);
	eater_close(&e);
	body_unref(&b);
	end();
	b = cold_body(&f, &e);
	reader_release(&e.r, BODY_ALL);
	CU_ASSERT_EQUAL(reader_pull(&e.r, &q, 100), PULL_WAIT);
	eater_close(&e);
	body_unref(&b);
	loop_settle(loop);
	end();
	chq_fini(&q);
}

/* The one file here without a name. */
static int
find_spill(void)
{
	char path[64], to[256];
	ssize_t n;
	int fd;

	for (fd = 3; fd < 100; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, to, sizeof(to) - 1);
		if (n > 0 && strncmp(to, "/tmp/", 5) == 0 &&
		    memmem(to, (size_t)n, "(deleted)", 9) != NULL)
			return (fd);
	}
	return (-1);
}

/* The disk loses them: the body is no longer complete, for nobody. */
static void
test_fetch_fails(void)
{
	struct eater e;
	struct feed f;
	struct body *b = cold_body(&f, &e);

	CU_ASSERT_EQUAL(body_end(b), PULL_END);
	CU_ASSERT_EQUAL(ftruncate(find_spill(), 100000), 0);
	reader_release(&e.r, BODY_ALL);
	loop_settle(loop);
	CU_ASSERT_EQUAL(e.end, PULL_FAIL);
	CU_ASSERT(e.r.offset <= 100000);
	CU_ASSERT_EQUAL(body_end(b), PULL_FAIL);
	CU_ASSERT_EQUAL(body_fault(b)->code, ERR_TEMP_FULL);
	eater_close(&e);
	body_unref(&b);
	end();
}

/* A held body that is just as long as the window needs no file. */
static void
test_fits(void)
{
	struct eater one = { .want = 1000 }, held = { .want = 3 };
	struct body *b;
	struct feed f;
	unsigned more;

	for (more = 0; more < 2; more++) {
		begin(100000);
		b = feed_body(&f, 100000 + more, PULL_END);
		f.step = 1000;
		eater_open(&one, b, 0, BODY_ALL);
		eater_open(&held, b, 0, 0);
		loop_settle(loop);
		CU_ASSERT_EQUAL(one.end, PULL_END);
		CU_ASSERT((find_spill() >= 0) == (more > 0));
		/* All of it is held, the one way or the other. */
		CU_ASSERT((body_held(b, BUDGET_TEMP) > 0) == (more > 0));
		CU_ASSERT(
		    body_held(b, BUDGET_TEMP) + body_held(b, BUDGET_MEMORY) >=
		    100000 + more);
		CU_ASSERT_EQUAL(body_held(b, BUDGET_NAMES), 0);
		CU_ASSERT_EQUAL(body_held(NULL, BUDGET_MEMORY), 0);
		eater_close(&one);
		eater_close(&held);
		body_unref(&b);
		end();
	}
}

/* Files read by other threads where the system would have to wait. */
static void
test_cold(void)
{
	io = job_pool_new("files", 2);
	for (cold = 1; cold < 4; cold++) {
		colds = 0;
		test_crowd();
		test_tight();
		test_held_beside_slow();
		test_slow_closes();
		test_late();
		CU_ASSERT(colds > 100);
	}
	cold = 1;
	test_fetch();
	test_fetch_fails();
	cold = 0;
	job_pool_free(&io);
}

/* The same with spill files written by other threads. */
static void
test_with_threads(void)
{
	io = job_pool_new("files", 2);
	test_crowd();
	test_tight();
	test_held_beside_slow();
	test_slow_closes();
	test_fail_and_unref();
	test_temp_limit();
	test_temp_share();
	test_memory_share();
	test_file_size();
	test_disk_full();
	test_skip();
	job_pool_free(&io);
}

/* Slices have their octets, from memory and from a file, and what they need is kept. */
static void
test_slices(void)
{
	struct chq q = { 0 }, all = { 0 };
	struct reader hold, r;
	struct body *b, *part;
	struct feed f = { 0 };
	uint64_t from, n;
	enum pull p;
	unsigned i;

	for (i = 0; i < 40; i++) {
		begin(i % 2 == 0 ? 1 << 20 : 8192);
		b = feed_body(&f, 100000, PULL_END);
		body_charge_to(b, account);
		reader_open(&hold, b, 0, NULL);
		reader_open(&r, b, 0, NULL);
		while ((p = reader_skip(&r, BODY_ALL)) == PULL_WAIT)
			loop_settle(loop);
		CU_ASSERT_EQUAL(p, PULL_END);
		reader_close(&r);
		from = unit_random(100000);
		n = unit_random((unsigned)(100001 - from));
		part = slice_new(loop, &store, b, from, n);
		reader_close(&hold);
		body_unref(&b);
		CU_ASSERT_EQUAL(body_length(part), n);
		reader_open(&r, part, 0, NULL);
		while ((p = reader_pull(&r, &q, 1 + unit_random(30000))) ==
			PULL_MORE ||
		    p == PULL_WAIT) {
			loop_settle(loop);
			chq_move(&all, &q, chq_len(&q));
		}
		CU_ASSERT(p == PULL_END && chq_len(&all) == n &&
		    bytes_ok(&all, from));
		chq_fini(&all);
		chq_fini(&q);
		reader_close(&r);
		body_unref(&part);
		end();
	}
}

UNIT_TESTS(stream_body, { "files written by threads", test_with_threads },
    { "files not in memory", test_cold },
    { "just as much as memory takes", test_fits },
    { "many readers at random speeds", test_crowd },
    { "memory is short", test_tight },
    { "a held reader beside a slow one", test_held_beside_slow },
    { "the slow reader closes", test_slow_closes },
    { "bytes one by one", test_drip }, { "each end at each offset", test_ends },
    { "the source's owner dies", test_gone },
    { "failed, or let go unfinished", test_fail_and_unref },
    { "limit of temporary files", test_temp_limit },
    { "shares of temporary files", test_temp_share },
    { "shares of memory", test_memory_share },
    { "views are counted", test_view_share },
    { "limit of the file's size", test_file_size },
    { "disk full", test_disk_full }, { "late readers", test_late },
    { "slices", test_slices }, { "skipping", test_skip },
    { "is it the same", test_match },
    { "the whole of another body", test_match_all },
    { "empty, ready-made, first pull, trailer", test_small_things },
    { "views from another thread", test_views })
