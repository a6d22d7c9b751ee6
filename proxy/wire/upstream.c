/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parent proxies: which is taken, which are down; see upstream.h. */
#include <assert.h>
#include <nettle/base64.h>
#include <stdlib.h>
#include <string.h>
#include "base/handed.h"
#include "proxy/audit/log.h"
#include "proxy/wire/upstream.h"
#include "tls/peer.h"

#define FAULTS_DOWN 3
#define FAULTS_MS 10000
#define TEXT_MAX 255 /* of a user, of a password (RFC 1929 2) */

/* Made and freed. */

static char *
copy(struct str s)
{
	char *p = calloc(1, s.n + 1);

	if (p == NULL)
		abort();
	memcpy(p, s.p, s.n);
	return (p);
}

static bool
has_controls(struct str s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ' || s.p[i] == 127)
			return (true);
	return (false);
}

/* RFC 7617 2: "Basic ", and both in base64. */
static char *
basic(struct str line)
{
	static const char scheme[] = "Basic ";
	char *p = calloc(1, sizeof(scheme) + BASE64_ENCODE_RAW_LENGTH(line.n));

	if (p == NULL)
		abort();
	memcpy(p, scheme, sizeof(scheme) - 1);
	base64_encode_raw(p + sizeof(scheme) - 1, line.n,
	    (const uint8_t *)line.p);
	return (p);
}

/* "name:password", and one line end behind it. */
static bool
take_user(struct upstream *u, struct str line, struct fault *f)
{
	size_t colon;

	if (line.n > 0 && line.p[line.n - 1] == '\n')
		line.n--;
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	colon = str_index(line, ':');
	if (colon == 0 || colon > TEXT_MAX || line.n < colon + 2 ||
	    line.n - colon - 1 > TEXT_MAX || has_controls(line)) {
		fault_set(f, ERR_CONFIG,
		    "%s: one line 'name:password' is wanted, each of at most "
		    "%d bytes",
		    u->conf->user, TEXT_MAX);
		return (false);
	}
	u->user = copy((struct str){ line.p, colon });
	u->password = copy(
	    (struct str){ line.p + colon + 1, line.n - colon - 1 });
	u->authorization = basic(line);
	return (true);
}

static bool
read_user(struct upstream *u, struct fault *f)
{
	unsigned char *text;
	size_t n;
	bool ok;

	if (u->conf->user == NULL)
		return (true);
	if ((text = handed_read(u->conf->user, &n)) == NULL) {
		fault_set(f, ERR_CONFIG, "cannot read %s", u->conf->user);
		return (false);
	}
	ok = take_user(u, (struct str){ (char *)text, n }, f);
	explicit_bzero(text, n);
	free(text);
	return (ok);
}

static bool
read_tls(struct upstream *u, struct fault *f)
{
	const struct conf_upstream *c = u->conf;
	const struct tls_peer_options o = { .system = c->tls.trust.system,
		.files = c->tls.trust.files.v,
		.n_files = c->tls.trust.files.n,
		.cert = c->tls.cert,
		.key = c->tls.key,
		.name = c->tls.name };
	unsigned i;

	for (i = 0; i < c->url.n; i++)
		if (c->url.v[i].type == CONF_PROXY_HTTPS)
			return ((u->tls = tls_peer_new(&o, f)) != NULL);
	return (true);
}

struct upstream *
upstream_new(const struct conf_upstream *conf, struct fault *f)
{
	struct upstream *u = calloc(1, sizeof(*u));
	unsigned i;

	if (u == NULL ||
	    (u->end = calloc(conf->url.n + 1, sizeof(*u->end))) == NULL)
		abort();
	u->conf = conf;
	for (i = 0; i < conf->url.n; i++) {
		u->end[i].conf = &conf->url.v[i];
		u->end[i].of = u;
	}
	if (!read_user(u, f) || !read_tls(u, f))
		upstream_free(&u);
	return (u);
}

static void
forget(char *s)
{
	if (s != NULL)
		explicit_bzero(s, strlen(s));
	free(s);
}

void
upstream_free(struct upstream **up)
{
	struct upstream *u = *up;

	*up = NULL;
	if (u == NULL)
		return;
	forget(u->user);
	forget(u->password);
	forget(u->authorization);
	tls_peer_free(&u->tls);
	free(u->end);
	free(u);
}

/* Which one. */

unsigned
upstream_number(const struct upstream_end *e)
{
	return ((unsigned)(e - e->of->end));
}

static bool
may_use(struct upstream_end *e, bool *trial)
{
	unsigned half = UPSTREAM_HALF;

	*trial = false;
	if (e->state == UPSTREAM_UP)
		return (true);
	*trial = atomic_compare_exchange_strong(&e->state, &half,
	    UPSTREAM_TRIAL);
	return (*trial);
}

/* Of those that are left the one with the fewest connections; -1: none is. */
static int
least_busy(const struct upstream *u, unsigned tried)
{
	unsigned i;
	int best = -1;

	for (i = 0; i < u->conf->url.n; i++)
		if ((tried & 1u << i) == 0 &&
		    (best < 0 || u->end[i].busy < u->end[best].busy))
			best = (int)i;
	return (best);
}

static int
next_of(struct upstream *u, unsigned tried, unsigned first)
{
	unsigned i, k, n = u->conf->url.n;

	if (u->conf->balance == CONF_BALANCE_LEAST_BUSY)
		return (least_busy(u, tried));
	for (i = 0; i < n; i++) {
		k = (first + i) % n;
		if ((tried & 1u << k) == 0)
			return ((int)k);
	}
	return (-1);
}

struct upstream_end *
upstream_pick(struct upstream *u, unsigned tried, bool *trial)
{
	unsigned first = u->conf->balance == CONF_BALANCE_ROUND_ROBIN
	    ? atomic_fetch_add(&u->turn, 1)
	    : 0;
	int k;

	while ((k = next_of(u, tried, first)) >= 0) {
		if (may_use(&u->end[k], trial)) {
			atomic_fetch_add(&u->end[k].busy, 1);
			return (&u->end[k]);
		}
		tried |= 1u << k;
	}
	return (NULL);
}

void
upstream_release(struct upstream_end *e)
{
	assert(e->busy > 0);
	atomic_fetch_sub(&e->busy, 1);
}

/* How they are. */

static void
say(const struct upstream_end *e, bool up, const char *why)
{
	log_line(up ? LEVEL_NOTICE : LEVEL_WARNING, "upstream",
	    "%s at %s is %s%s%s", e->of->conf->name, e->conf->text,
	    up ? "up" : "down", why[0] != '\0' ? ": " : "", why);
}

void
upstream_good(struct upstream_end *e)
{
	unsigned was = atomic_exchange(&e->state, UPSTREAM_UP);

	if (e->faults != 0)
		atomic_store(&e->faults, 0);
	if (was != UPSTREAM_UP)
		say(e, true, "");
}

/* One more; true: they are too many.  When the first was, and how many. */
static bool
count_fault(struct upstream_end *e, uint64_t now)
{
	uint64_t was = e->faults, is;

	do
		is = was == 0 || now - (was >> 8) > FAULTS_MS ? now << 8 | 1
							      : was + 1;
	while (!atomic_compare_exchange_weak(&e->faults, &was, is));
	return ((is & 255) >= FAULTS_DOWN);
}

void
upstream_bad(struct upstream_end *e, uint64_t now, const char *why)
{
	unsigned up = UPSTREAM_UP, trial = UPSTREAM_TRIAL;

	if (atomic_compare_exchange_strong(&e->state, &trial, UPSTREAM_DOWN))
		return; /* that was said already */
	if (!count_fault(e, now))
		return;
	atomic_store(&e->faults, 0);
	atomic_store(&e->probe_at, now + e->of->conf->probe_ms);
	if (atomic_compare_exchange_strong(&e->state, &up, UPSTREAM_DOWN))
		say(e, false, why);
}

void
upstream_undecided(struct upstream_end *e)
{
	unsigned trial = UPSTREAM_TRIAL;

	(void)atomic_compare_exchange_strong(&e->state, &trial, UPSTREAM_HALF);
}

bool
upstream_probe_due(struct upstream_end *e, uint64_t now)
{
	uint64_t due = e->probe_at;

	return (e->state == UPSTREAM_DOWN && now >= due &&
	    atomic_compare_exchange_strong(&e->probe_at, &due,
		now + e->of->conf->probe_ms));
}

void
upstream_probed(struct upstream_end *e, bool ok)
{
	unsigned down = UPSTREAM_DOWN;

	if (ok)
		(void)atomic_compare_exchange_strong(&e->state, &down,
		    UPSTREAM_HALF);
}

bool
upstream_has_down(const struct upstream *u)
{
	unsigned i;

	for (i = 0; i < u->conf->url.n; i++)
		if (u->end[i].state == UPSTREAM_DOWN)
			return (true);
	return (false);
}
