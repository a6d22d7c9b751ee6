/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The supervisor's key holders, see supervisor_priv.h. */
#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "base/list.h"
#include "proxy/audit/log.h"
#include "proxy/gen.h"
#include "proxy/supervisor_priv.h"

#define SHORT_LIFE_MS 1000
#define SHORT_LIVES 3 /* are followed at once, and then ... */
#define REST_MS 500   /* ... after this, which calls still wait for */
#define END_MS 1000   /* so long one may take to end */
#define OPEN_MS 20000 /* and to answer: tokens are slow */
#define NEWS_MAX 256  /* of one in a turn */

static void on_ended(void *arg, unsigned events);
static void on_says(void *arg, unsigned events);

static void
unwatch(struct signer *s)
{
	timer_stop(&s->again);
	watch_free(&s->ended);
	watch_free(&s->says);
}

static bool
start(struct signer *s, struct fault *f)
{
	bool asked;

	if (!keys_start(&s->keys, f))
		return (false);
	s->born_at = loop_now(s->of->loop);
	s->leaves = s->refused = 0;
	figure_add(s->of->figures, FIGURE_KEYS_STARTED, 1);
	s->why[0] = '\0';
	s->ended = watch_new(s->of->loop, s->keys.child.pidfd, on_ended, s);
	s->says = watch_new(s->of->loop, s->keys.fd, on_says, s);
	watch_set(s->ended, WATCH_READ);
	watch_set(s->says, WATCH_READ);
	timer_set(&s->again, OPEN_MS);
	if (s->state == SIGNER_OPENS)
		asked = keys_open(&s->keys, s->cert, s->key, s->made);
	else
		asked = keys_load(&s->keys, s->key, &s->ca, s->which);
	(void)asked; /* one that is dead already is seen by its end */
	return (true);
}

/* Out of the list, and freed. */
static void
signer_free(struct signer *s)
{
	struct signer **at;

	for (at = &s->of->signers; *at != s; at = &(*at)->next)
		assert(*at != NULL);
	*at = s->next;
	unwatch(s);
	keys_leave(&s->keys);
	child_end(&s->keys.child);
	gnutls_free(s->ca.data);
	gnutls_memset(s->key, 0, sizeof(s->key)); /* a URL may have a PIN */
	free(s);
}

static void
rest(struct signer *s)
{
	uint64_t life = loop_now(s->of->loop) - s->born_at;

	s->state = SIGNER_RESTS;
	s->short_lives = life < SHORT_LIFE_MS ? s->short_lives + 1 : 0;
	timer_set(&s->again, s->short_lives >= SHORT_LIVES ? REST_MS : 1);
}

/* It rested, or took too long. */
static void
on_timer(struct timer *t)
{
	struct signer *s = CONTAINER_OF(t, struct signer, again);
	struct fault f = { ERR_NONE, "" };

	if (s->state != SIGNER_RESTS) {
		(void)snprintf(s->why, sizeof(s->why),
		    "did not answer in time");
		(void)child_signal(&s->keys.child, SIGKILL);
		return;
	}
	s->state = SIGNER_LOADS;
	if (start(s, &f))
		return;
	log_line(LEVEL_ERROR, "ca", "key holder: %s", f.detail);
	s->born_at = loop_now(s->of->loop);
	rest(s);
}

static struct signer *
alloc(struct supervisor *p, uint32_t number, enum signer_state state)
{
	struct signer *s = calloc(1, sizeof(*s));

	if (s == NULL)
		abort();
	s->of = p;
	s->number = number;
	s->state = state;
	s->keys = (struct keys){ .child = CHILD_NONE, .fd = -1 };
	timer_init(&s->again, p->loop, on_timer);
	s->next = p->signers;
	p->signers = s;
	return (s);
}

struct signer *
signer_open(struct supervisor *p, const struct conf *c, struct fault *f)
{
	struct signer *s = alloc(p, ++p->last_signer, SIGNER_OPENS);
	char key[1024];

	s->made = gen_ca_files(c, s->cert, key);
	s->tells_leaves = c->log.issued.n > 0;
	(void)snprintf(s->key, sizeof(s->key), "%s", s->made ? key : c->ca.key);
	if (!s->made)
		(void)snprintf(s->cert, sizeof(s->cert), "%s", c->ca.cert);
	if (start(s, f))
		return (s);
	signer_free(s);
	return (NULL);
}

static void
last(struct signer *s)
{
	if (s->state == SIGNER_RESTS) {
		signer_free(s);
		return;
	}
	s->state = SIGNER_ENDS;
	timer_stop(&s->again);
	keys_last(&s->keys);
}

void
signer_adopt(struct supervisor *p, uint32_t number, enum signer_state state,
    const struct keys *keys, const char *cert, const char *key,
    const gnutls_datum_t *ca, enum keyholder_key which)
{
	struct signer *s = alloc(p, number, state);

	s->keys = *keys;
	s->which = which;
	s->born_at = loop_now(p->loop);
	(void)snprintf(s->cert, sizeof(s->cert), "%s", cert);
	(void)snprintf(s->key, sizeof(s->key), "%s", key);
	s->ca = (gnutls_datum_t){ gnutls_malloc(ca->size + 1), ca->size };
	if (s->ca.data == NULL)
		abort();
	memcpy(s->ca.data, ca->data, ca->size);
	s->ended = watch_new(p->loop, s->keys.child.pidfd, on_ended, s);
	s->says = watch_new(p->loop, s->keys.fd, on_says, s);
	watch_set(s->ended, WATCH_READ);
	watch_set(s->says, WATCH_READ);
}

/* It has its key: now there is no need of the one before. */
static void
signs(struct signer *s)
{
	bool follows = s->state == SIGNER_LOADS;
	struct signer *o, *next;

	s->state = SIGNER_SIGNS;
	timer_stop(&s->again);
	keys_tell(&s->keys, s->tells_leaves);
	if (s->died)
		log_line(LEVEL_NOTICE, "ca",
		    "key holder: process %ld has the key now",
		    (long)s->keys.child.pid);
	s->died = false;
	if (follows)
		served_new_keys(s->of, s);
	for (o = s->of->signers; o != NULL; o = next) {
		next = o->next;
		if (o != s && o->number == s->number)
			last(o);
	}
}

static void
failed(struct signer *s, const char *why)
{
	struct supervisor *p = s->of;
	char text[512];

	(void)snprintf(text, sizeof(text), "%s", why);
	if (s->state == SIGNER_OPENS) {
		signer_free(s);
		supervisor_opened(p, NULL, text);
		return;
	}
	log_line(LEVEL_ERROR, "ca", "key holder: %s", text);
	(void)snprintf(s->why, sizeof(s->why), "has no key");
	(void)child_signal(&s->keys.child, SIGKILL);
}

/* From one that has its key.  False: it is none any more. */
static bool
hear_news(struct signer *s)
{
	struct keys_news n;
	unsigned i;
	int r = 1;

	for (i = 0; i < NEWS_MAX && r > 0; i++)
		if ((r = keys_news(&s->keys, &n)) > 0)
			issued_news(s, &n);
	return (r >= 0);
}

static void
on_says(void *arg, unsigned events)
{
	struct signer *s = arg;
	struct keys_answer a;
	char text[SANDBOX_TEXT];
	int r;

	(void)events;
	if (s->state == SIGNER_SIGNS || s->state == SIGNER_ENDS) {
		if (!hear_news(s)) /* its end is seen by on_ended() */
			watch_free(&s->says);
		return;
	}
	if ((r = keys_answered(&s->keys, &a)) == 0)
		return;
	if (r < 0) {
		watch_free(&s->says);
		return;
	}
	if (!a.ok) {
		failed(s, a.text);
		return;
	}
	if (s->state == SIGNER_LOADS) {
		gnutls_free(a.ca.data);
		signs(s);
		return;
	}
	s->ca = a.ca;
	s->which = a.which;
	s->made = a.made;
	sandbox_text(&a.box, text);
	log_line(LEVEL_NOTICE, "sandbox", "keys: %s", text);
	signs(s);
	supervisor_opened(s->of, s, NULL);
}

static void
fate_of(const struct signer *s, int how, char *out, size_t n)
{
	if (s->why[0] != '\0')
		(void)snprintf(out, n, "%.70s, and was ended", s->why);
	else
		child_fate(how, out, n);
}

static void
say_death(struct signer *s, pid_t pid, const char *fate)
{
	static struct log_limit limit;

	(void)log_limited(&limit, LEVEL_ERROR, "ca",
	    "key holder: process %ld %s; another one is started", (long)pid,
	    fate);
	figure_add(s->of->figures, FIGURE_KEYS_DIED, 1);
	s->died = true;
}

static void
on_ended(void *arg, unsigned events)
{
	struct signer *s = arg;
	struct supervisor *p = s->of;
	pid_t pid = s->keys.child.pid;
	char fate[96];
	int how;

	(void)events;
	if (!child_reap(&s->keys.child, &how, 0))
		return;
	if (s->state == SIGNER_SIGNS || s->state == SIGNER_ENDS)
		(void)hear_news(s); /* its last words */
	unwatch(s);
	keys_leave(&s->keys);
	if (s->state == SIGNER_ENDS) {
		signer_free(s);
		return;
	}
	fate_of(s, how, fate, sizeof(fate));
	if (s->state == SIGNER_OPENS) {
		signer_free(s);
		supervisor_opened(p, NULL, fate);
		return;
	}
	say_death(s, pid, fate);
	rest(s);
}

struct signer *
signer_find(const struct supervisor *p, uint32_t number)
{
	struct signer *s, *found = NULL;

	for (s = p->signers; s != NULL; s = s->next)
		if (s->number == number && s->state != SIGNER_ENDS &&
		    (found == NULL || s->state == SIGNER_SIGNS))
			found = s;
	return (found);
}

int
signer_client(const struct signer *s)
{
	return (s->state == SIGNER_SIGNS ? keys_client(&s->keys) : -1);
}

void
signers_last(struct supervisor *p, uint32_t number)
{
	struct signer *s, *next;

	for (s = p->signers; s != NULL; s = next) {
		next = s->next;
		if (s->number == number && s->state != SIGNER_ENDS)
			last(s);
	}
}

/* Has one been started that takes the place of o, which signs until then? */
static bool
successor_of(const struct supervisor *p, const struct signer *o)
{
	const struct signer *s;

	for (s = p->signers; s != NULL; s = s->next)
		if (s != o && s->number == o->number && s->state != SIGNER_ENDS)
			return (true);
	return (false);
}

void
signer_want(struct supervisor *p, uint32_t number, const char *why)
{
	struct fault f = { ERR_NONE, "" };
	struct signer *s, *o = signer_find(p, number);

	if (o == NULL || o->state != SIGNER_SIGNS || successor_of(p, o))
		return; /* another is on its way */
	if (why[0] != '\0') {
		(void)snprintf(o->why, sizeof(o->why), "%.90s", why);
		(void)child_signal(&o->keys.child, SIGKILL);
		return;
	}
	if (loop_now(p->loop) - o->born_at < SHORT_LIFE_MS)
		return; /* what it has cannot be old */
	s = alloc(p, number, SIGNER_LOADS);
	memcpy(s->cert, o->cert, sizeof(s->cert));
	memcpy(s->key, o->key, sizeof(s->key));
	s->which = o->which;
	s->tells_leaves = o->tells_leaves;
	s->ca = (gnutls_datum_t){ gnutls_malloc(o->ca.size), o->ca.size };
	if (s->ca.data == NULL)
		abort();
	memcpy(s->ca.data, o->ca.data, o->ca.size);
	if (start(s, &f))
		return;
	log_line(LEVEL_ERROR, "ca", "key holder: %s", f.detail);
	signer_free(s);
}

void
signers_free(struct supervisor *p)
{
	struct signer *s;
	int how;

	for (s = p->signers; s != NULL; s = s->next)
		keys_leave(&s->keys);
	while ((s = p->signers) != NULL) {
		if (s->keys.child.pid != 0)
			(void)child_reap(&s->keys.child, &how, END_MS);
		signer_free(s);
	}
}
