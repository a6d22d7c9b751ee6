/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What may be reached, see rules_priv.h. */
#include <stdlib.h>
#include <string.h>
#include "base/sealed.h"
#include "base/str.h"
#include "fetch/rules_priv.h"
#include "net/address.h"

static bool
too_many(struct fault *f, const char *what)
{
	fault_set(f, ERR_CONFIG, "%s: more %s than it can be told",
	    FETCHER_ROLE, what);
	return (false);
}

static bool
put_text(char to[RULES_TEXT], const char *from, const char *what,
    struct fault *f)
{
	size_t n = from != NULL ? strlen(from) : 0;

	if (n >= RULES_TEXT)
		return (too_many(f, what));
	if (n > 0)
		memcpy(to, from, n);
	return (true);
}

bool
rules_write(const struct fetcher_rules *r, struct rules_wire *w,
    struct fault *f)
{
	unsigned i;

	memset(w, 0, sizeof(*w));
	if (r->deny->n > RULES_NETS || r->allow->n > RULES_NETS)
		return (too_many(f, "networks in 'destinations'"));
	if (r->n_self > RULES_SELF)
		return (too_many(f, "listeners"));
	if (r->n_ports > RULES_PORTS)
		return (too_many(f, "spans in 'destinations.ports'"));
	w->n_deny = r->deny->n;
	w->n_allow = r->allow->n;
	w->n_self = r->n_self;
	w->n_ports = r->n_ports;
	w->deny_self = r->deny->self;
	w->allow_self = r->allow->self;
	for (i = 0; i < w->n_deny; i++) {
		memcpy(w->deny[i].addr, r->deny->v[i].addr, 16);
		memcpy(w->deny[i].mask, r->deny->v[i].mask, 16);
	}
	for (i = 0; i < w->n_allow; i++) {
		memcpy(w->allow[i].addr, r->allow->v[i].addr, 16);
		memcpy(w->allow[i].mask, r->allow->v[i].mask, 16);
	}
	for (i = 0; i < w->n_self; i++)
		w->self[i] = r->self[i];
	for (i = 0; i < w->n_ports; i++)
		w->ports[i] = r->ports[i];
	return (put_text(w->servers, r->servers, "name servers", f) &&
	    put_text(w->hosts, r->hosts, "letters in 'resolver.hosts'", f) &&
	    put_text(w->roots, r->roots, "letters in 'tls.origin.trust'", f));
}

static bool
ends(const char text[RULES_TEXT])
{
	return (memchr(text, '\0', RULES_TEXT) != NULL);
}

static bool
is_whole(const struct rules_wire *w)
{
	return (w->n_deny <= RULES_NETS && w->n_allow <= RULES_NETS &&
	    w->n_self <= RULES_SELF && w->n_ports <= RULES_PORTS &&
	    w->deny_self <= 1 && w->allow_self <= 1 && ends(w->servers) &&
	    ends(w->hosts) && ends(w->roots));
}

static void
take_nets(struct nets *s, struct arena *a, const void *wire, unsigned n,
    bool self, const char *name)
{
	const struct {
		uint64_t addr[2], mask[2];
	} *w = wire;
	unsigned i;

	*s = (struct nets){ .n = n,
		.self = self,
		.v = arena_alloc(a, (n > 0 ? n : 1) * sizeof(*s->v)) };
	for (i = 0; i < n; i++) {
		memcpy(s->v[i].addr, w[i].addr, 16);
		memcpy(s->v[i].mask, w[i].mask, 16);
		s->v[i].name = name;
	}
}

bool
rules_read(int fd, struct rules *r)
{
	struct buf text = { 0 };
	bool ok = sealed_read(fd, &text, sizeof(*r->wire)) &&
	    text.n == sizeof(*r->wire);

	*r = (struct rules){ 0 };
	if (ok) {
		if ((r->wire = malloc(sizeof(*r->wire))) == NULL)
			abort();
		memcpy(r->wire, text.p, sizeof(*r->wire));
		ok = is_whole(r->wire);
	}
	buf_fini(&text);
	if (!ok) {
		free(r->wire);
		r->wire = NULL;
		return (false);
	}
	r->arena = arena_new();
	take_nets(&r->deny, r->arena, r->wire->deny, r->wire->n_deny,
	    r->wire->deny_self, "destinations.deny");
	take_nets(&r->allow, r->arena, r->wire->allow, r->wire->n_allow,
	    r->wire->allow_self, "destinations.allow");
	nets_self_set(r->wire->self, r->wire->n_self);
	return (true);
}

void
rules_fini(struct rules *r)
{
	arena_free(&r->arena);
	free(r->wire);
	r->wire = NULL;
}

enum err
rules_judge(const struct rules *r, const struct sockaddr *sa, struct fault *f)
{
	uint16_t port = address_port(sa);
	unsigned i;

	for (i = 0; i < r->wire->n_ports; i++)
		if (port >= r->wire->ports[i].lo &&
		    port <= r->wire->ports[i].hi)
			return (nets_judge(&r->deny, &r->allow, sa, f));
	return (fault_set(f, ERR_PORT_DENIED, "port %u", port));
}
