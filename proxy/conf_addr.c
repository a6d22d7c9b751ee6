/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Readers of addresses and of what belongs to one: where to listen, services
 * and their headers, where a log goes.
 * Room: proxy.  Thread: the one that loads.
 */
#include "config.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/list.h"
#include "proxy/conf_priv.h"

/* Names that our own transactions set (RFC 3507 4.3.1). */
static const char *const icap_own[] = { "host", "encapsulated", "preview",
	"allow", "connection", "transfer-encoding", "content-length",
	"x-client-ip", "x-client-username", "x-authenticated-user",
	"x-authenticated-groups", "x-server-ip", "upgrade", "te", "trailer" };

static bool
is_token(struct str s)
{
	static const char extra[] = "!#$%&'*+-.^_`|~";	/* RFC 9110 5.6.2 */
	size_t i;

	for (i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') ||
		    ((s.p[i] | 0x20) >= 'a' && (s.p[i] | 0x20) <= 'z') ||
		    (s.p[i] != '\0' && strchr(extra, s.p[i]) != NULL)))
			return (false);
	return (s.n > 0);
}

static const char *
header_fault(const struct node *n)
{
	unsigned i;
	size_t j;

	if (!is_token(n->key->text))
		return ("the name is no token");
	for (i = 0; i < sizeof(icap_own) / sizeof(icap_own[0]); i++)
		if (str_ieq(n->key->text, str_of(icap_own[i])))
			return ("assay sets this one itself");
	for (j = 0; j < n->text.n; j++)
		if ((unsigned char)n->text.p[j] < ' ' || n->text.p[j] == 127)
			return ("the value contains a control character");
	return (n->text.n > 1000 ? "the value is longer than 1000 bytes" :
	    NULL);
}

void
conf_read_headers(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct conf_headers *out = member;
	const struct node *it;
	const char *fault;

	if (n->kind != NODE_MAP) {
		conf_problem(r, n, "'%s' is a map from name to value, not %s",
		    o->key, conf_node_name(r, n));
		return;
	}
	out->v = arena_zalloc(r->keep, (n->n + 1) * sizeof(*out->v));
	NODE_EACH(it, n) {
		if (it->kind != NODE_SCALAR) {
			conf_scalar(r, it, "a header's value");
			continue;
		}
		if ((fault = header_fault(it)) != NULL) {
			conf_problem(r, it->key, "the header %s is not "
			    "possible: %s", conf_node_name(r, it->key),
			    fault);
			continue;
		}
		out->v[out->n].name = arena_str(r->keep,
		    it->key->text).p;
		out->v[out->n++].value = arena_str(r->keep,
		    str_trim(it->text)).p;
	}
}

bool
conf_listen_parse(const char *on, struct conf_listen *out,
    char why[NETS_WHY])
{
	struct conf_range port;

	out->naddr = 1;
	if (on[0] == ':') {			/* both families */
		if (conf_value_range(on + 1, 65535, &port) &&
		    strchr(on, '-') == NULL) {
			memset(out->addr, 0, sizeof(out->addr));
			out->addr[0].in.sin_family = AF_INET;
			out->addr[0].in.sin_port = htons((uint16_t)port.lo);
			out->addr[1].in6.sin6_family = AF_INET6;
			out->addr[1].in6.sin6_port = htons((uint16_t)port.lo);
			out->naddr = 2;
			return (true);
		}
	} else if (conf_value_addr(on, 0, &out->addr[0])) {
		return (true);
	}
	snprintf(why, NETS_WHY, "no address to listen on; write "
	    "'127.0.0.1:3128', '[::1]:3128' or ':3128'");
	return (false);
}

void
conf_read_on(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct conf_listen *out = CONTAINER_OF(member, struct conf_listen,
	    on);
	char why[NETS_WHY];

	(void)o;
	if (!conf_scalar(r, n, "an address such as '127.0.0.1:3128'"))
		return;
	out->on = arena_str(r->keep, n->text).p;
	if (!conf_listen_parse(out->on, out, why))
		conf_problem(r, n, "%s is %s", conf_node_name(r, n), why);
}

static bool
is_url_text(const char *p)
{
	for (; *p != '\0'; p++)
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 127 ||
		    strchr("\"<>\\^`{|}#", *p) != NULL)
			return (false);		/* RFC 3986 2 */
	return (true);
}

/* The authority of an ICAP URL: host, "[v6]", ":port". */
static bool
parse_authority(struct arena *a, struct str auth, struct conf_url *out)
{
	struct conf_range port;
	const char *text = arena_str(a, auth).p;
	char *colon;
	unsigned char raw[16];

	if (text[0] == '[') {
		if ((colon = strchr(text, ']')) == NULL)
			return (false);
		*colon++ = '\0';
		out->host = text + 1;
		if (inet_pton(AF_INET6, out->host, raw) != 1)
			return (false);
	} else {
		out->host = text;
		colon = strchr(text, ':');
		if (colon == NULL)
			colon = strchr(text, '\0');
	}
	if (*colon == ':') {
		if (!conf_value_range(colon + 1, 65535, &port) ||
		    strchr(colon + 1, '-') != NULL || port.lo == 0)
			return (false);
		out->port = (uint16_t)port.lo;
		*colon = '\0';
	} else if (*colon != '\0') {
		return (false);
	}
	return (out->host[0] != '\0' && strchr(out->host, '@') == NULL &&
	    strlen(out->host) <= 253);
}

static bool
url_parse(struct arena *a, const char *text, struct conf_url *out,
    char why[NETS_WHY])
{
	struct str rest = str_of(text), auth;
	size_t n;

	memset(out, 0, sizeof(*out));
	out->tls = str_starts(rest, STR("icaps://"));
	if (!out->tls && !str_starts(rest, STR("icap://"))) {
		snprintf(why, NETS_WHY, "no address of a service; write "
		    "'icap://host/path', 'icaps://host/path' or "
		    "'clamav:FOLDER'");
		return (false);
	}
	rest.p += out->tls ? 8 : 7;
	rest.n -= out->tls ? 8 : 7;
	n = strcspn(rest.p, "/?");
	auth = (struct str){ rest.p, n };
	out->text = arena_cstr(a, text);
	out->port = out->tls ? 11344 : 1344;
	out->path = rest.p[n] == '/' ? arena_cstr(a, rest.p + n) :
	    arena_printf(a, "/%s", rest.p + n).p;
	if (rest.n <= 4000 && is_url_text(text) &&
	    parse_authority(a, auth, out))
		return (true);
	snprintf(why, NETS_WHY, "no valid ICAP address; write "
	    "'icap://host:1344/path', IPv6 in brackets");
	return (false);
}

/* Is it clamav:?  The folder is checked, and NULL stands for the default. */
static void
read_clamav(struct conf_reader *r, const struct node *n,
    struct conf_service *s)
{
	const char *folder = n->text.p + strlen("clamav:");

	s->type = CONF_CLAMAV;
#ifndef HAVE_CLAMAV
	conf_problem(r, n, "this assayd was built without libclamav; use an "
	    "icap: service");
#endif
	if (folder[0] == '\0')
		return;
	s->database = conf_path(r, folder);
	if (access(s->database, R_OK | X_OK) != 0)
		conf_problem(r, n, "cannot read the signature database '%s': "
		    "%m", s->database);
}

void
conf_read_url(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct conf_service *s = CONTAINER_OF(member, struct conf_service,
	    url);
	char why[NETS_WHY];
	const struct node **item;
	unsigned i, count = conf_node_items(r, n, &item);

	if (count == 0)
		conf_problem(r, n, "'%s' is empty; write at least one address",
		    o->key);
	s->url.v = arena_zalloc(r->keep, (count + 1) * sizeof(*s->url.v));
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "the address of a service"))
			continue;
		if (str_starts(item[i]->text, STR("clamav:"))) {
			read_clamav(r, item[i], s);
			if (count > 1)
				conf_problem(r, item[i], "clamav: stands "
				    "alone; write a service of its own for "
				    "it");
			continue;
		}
		if (url_parse(r->keep, item[i]->text.p,
		    &s->url.v[s->url.n], why))
			s->url.n++;
		else
			conf_problem(r, item[i], "%s is %s",
			    conf_node_name(r, item[i]), why);
	}
}

void
conf_read_log_to(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	if (!conf_scalar(r, n, "stdout or a file"))
		return;
	if (strcmp(n->text.p, "journal") == 0 ||
	    str_starts(n->text, STR("syslog:")))
		conf_problem(r, n, "'%s: %s' is not supported in this "
		    "version; write stdout or a file", o->key, n->text.p);
	else if (strcmp(n->text.p, "stdout") != 0)
		*(const char **)member = conf_path(r, n->text.p);
}
