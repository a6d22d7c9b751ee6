/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages that are known to be clean, see known.h. */
#include <assert.h>
#include "scanners/known.h"

#define TURN_BYTES (1 << 20) /* hashed before others have their turn */
#define STEP_BYTES 65536
/* What a scanner that could begin with the first byte waits for at most. */
#define WAIT_BYTES (2 << 20)
#define WAIT_MS 100

static void known_work(struct task *);
static void known_late(struct timer *);

void
known_init(struct known *k, struct loop *loop, struct task *wake)
{
	*k = (struct known){ .wake = wake };
	task_init(&k->task, loop, known_work);
	timer_init(&k->late, loop, known_late);
}

bool
known_applies(const struct known *k, const struct scanner *s,
    const struct scan_message *msg)
{
	uint64_t n, most;

	if (s->cache == NULL || s->type->depends == NULL || msg->body == NULL ||
	    msg->gap != GAP_NONE || k->state == KNOWN_NEVER)
		return (false);
	n = body_length(msg->body);
	most = s->type->needs_end ? s->cache_max : WAIT_BYTES;
	return (n != 0 && (n == BODY_UNKNOWN || n <= most));
}

void
known_begin(struct known *k, struct body *body)
{
	if (k->state != KNOWN_NOTHING) {
		task_wake(k->wake);
		return;
	}
	assert(k->digest == NULL && k->reader.body == NULL);
	k->state = KNOWN_READING;
	k->digest = digest_new();
	reader_open(&k->reader, body, 0, &k->task);
	timer_set(&k->late, WAIT_MS);
	task_wake(&k->task);
}

static void
known_end(struct known *k, enum known_state how)
{
	assert(k->state == KNOWN_READING);
	k->state = how;
	reader_close(&k->reader);
	timer_stop(&k->late);
	if (how == KNOWN_WHOLE)
		digest_end(&k->digest, k->of);
	else
		digest_free(&k->digest);
	task_wake(k->wake);
}

static void
known_late(struct timer *t)
{
	struct known *k = CONTAINER_OF(t, struct known, late);

	assert(k->state == KNOWN_READING);
	k->is_late = true;
	task_wake(k->wake);
}

static void
hash_out(struct known *k, struct chq *q)
{
	const unsigned char *p;
	size_t n;

	assert(k->digest != NULL);
	while ((p = chq_peek(q, &n)) != NULL && n > 0) {
		digest_add(k->digest, p, n);
		chq_drop(q, n);
	}
}

static void
known_work(struct task *t)
{
	struct known *k = CONTAINER_OF(t, struct known, task);
	uint64_t until = k->reader.offset + TURN_BYTES;
	struct chq q = { 0 };
	enum pull p = PULL_MORE;

	if (k->state != KNOWN_READING)
		return;
	while (p == PULL_MORE && k->reader.offset < until) {
		p = reader_pull(&k->reader, &q, STEP_BYTES);
		hash_out(k, &q);
	}
	chq_fini(&q);
	if (p == PULL_END)
		known_end(k, KNOWN_WHOLE);
	else if (pull_is_last(p))
		known_end(k, KNOWN_NEVER);
	else if (k->reader.offset > WAIT_BYTES)
		task_wake(k->wake);
	if (p == PULL_MORE)
		task_wake(t);
}

/* "Content-Type", "x-amz-content-sha256" ... */
static bool
is_about_content(struct str name)
{
	size_t i;

	for (i = 0; i < name.n; i++)
		if (str_istarts((struct str){ name.p + i, name.n - i },
			STR("content-")))
			return (true);
	return (false);
}

/* The fields that say what the body is, and whose answer it is. */
static void
add_content(struct digest *d, const struct scan_message *msg)
{
	const struct http_msg *m = msg->mode == SCAN_RESP ? msg->resp
							  : msg->req;
	unsigned status = m->status, i;

	digest_add(d, &status, sizeof(status));
	for (i = 0; i < m->fields.n; i++) {
		if (!is_about_content(m->fields.v[i].name))
			continue;
		digest_str(d, m->fields.v[i].name);
		digest_str(d, m->fields.v[i].value);
	}
}

/* False: nothing may be believed now. */
static bool
known_key(const struct known *k, const struct scanner *s,
    const struct scan_message *msg, struct str depends,
    unsigned char key[DIGEST_BYTES])
{
	char mode = msg->mode == SCAN_RESP ? 'r' : 'q';
	struct digest *d;

	if (depends.n == 0)
		return (false);
	d = digest_new();
	digest_add(d, k->of, sizeof(k->of));
	digest_add(d, &mode, 1);
	digest_str(d, str_of(s->type->name));
	digest_str(d, depends);
	add_content(d, msg);
	digest_end(&d, key);
	return (true);
}

static uint64_t
now_s(const struct scanner *s)
{
	return (loop_now(s->loop) / 1000 + 1);
}

static enum known_answer
ask_reading(const struct known *k, const struct scanner *s)
{
	uint64_t most = s->type->needs_end ? s->cache_max : WAIT_BYTES;

	if (k->reader.offset > most || (k->is_late && !s->type->needs_end))
		return (KNOWN_UNKNOWN);
	return (KNOWN_WAIT);
}

enum known_answer
known_ask(const struct known *k, const struct scanner *s,
    const struct scan_message *msg)
{
	unsigned char key[DIGEST_BYTES];

	if (k->state == KNOWN_READING)
		return (ask_reading(k, s));
	if (k->state != KNOWN_WHOLE ||
	    !known_key(k, s, msg, s->type->depends(s, msg), key) ||
	    !verdict_cache_has(s->cache, key, now_s(s)))
		return (KNOWN_UNKNOWN);
	return (KNOWN_CLEAN);
}

void
known_learn(const struct known *k, const struct scan *scan,
    const struct scan_message *msg)
{
	const struct scanner *s = scan->scanner;
	unsigned char key[DIGEST_BYTES];

	if (k->state == KNOWN_WHOLE && s->cache != NULL &&
	    known_key(k, s, msg, scan->result.depends, key))
		verdict_cache_add(s->cache, key, now_s(s),
		    now_s(s) + s->cache_s);
}

void
known_stop(struct known *k)
{
	if (k->state == KNOWN_READING)
		known_end(k, KNOWN_NOTHING);
	k->is_late = false;
}

void
known_fini(struct known *k)
{
	reader_close(&k->reader);
	digest_free(&k->digest);
	timer_stop(&k->late);
	task_fini(&k->task);
}
