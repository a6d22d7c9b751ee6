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
#include "http/chars.h"
#include "icap/icap.h"
#include "icap/url.h"
#include "icap/vars.h"
#include "proxy/conf/conf_priv.h"

/* Names that our own transactions set (RFC 3507 4.3.1). */
static bool
is_icap_own(struct str name)
{
	static const struct str own[] = { STR("host"), STR("encapsulated"),
		STR("preview"), STR("allow"), STR("connection"),
		STR("transfer-encoding"), STR("content-length"),
		STR("x-client-ip"), STR("x-client-username"),
		STR("x-authenticated-user"), STR("x-authenticated-groups"),
		STR("x-server-ip"), STR("upgrade"), STR("te"), STR("trailer") };

	return (str_ione_of(name, own, sizeof(own) / sizeof(own[0])));
}

static const char *
header_fault(const struct node *n)
{
	if (!http_is_token(n->key->text))
		return ("the name is no token");
	if (is_icap_own(n->key->text))
		return ("assay sets this one itself");
	if (!http_is_value(n->text, false) ||
	    str_index(n->text, '\t') < n->text.n)
		return ("the value contains a control character");
	return (
	    n->text.n > 1000 ? "the value is longer than 1000 bytes" : NULL);
}

static bool
vars_are_known(struct conf_reader *r, const struct node *n)
{
	struct str bad;

	if (icap_vars_check(n->text, &bad))
		return (true);
	conf_problem(r, n,
	    "%.*s is no variable; there are %%{client.ip}, "
	    "%%{user}, %%{rule}, %%{reference}, %%{sni} and %%{listener}",
	    STR_ARG(bad));
	return (false);
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
	NODE_EACH(it, n)
	{
		if (it->kind != NODE_SCALAR) {
			conf_scalar(r, it, "a header's value");
			continue;
		}
		if ((fault = header_fault(it)) != NULL) {
			conf_problem(r, it->key,
			    "the header %s is not "
			    "possible: %s",
			    conf_node_name(r, it->key), fault);
			continue;
		}
		if (!vars_are_known(r, it))
			continue;
		out->v[out->n].name = arena_str(r->keep, it->key->text).p;
		out->v[out->n++].value = arena_str(r->keep, str_trim(it->text))
					     .p;
	}
}

static const char *
share_fault(struct str name)
{
	if (!http_is_token(name) || name.n < 3 || name.n > 64 ||
	    (name.p[0] | 0x20) != 'x' || name.p[1] != '-')
		return ("write the name of a header that begins with X-");
	return (is_icap_own(name) ? "assay sets this one itself" : NULL);
}

void
conf_read_share(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct policy_strings *out = member;
	const struct node **item;
	unsigned i, count = conf_node_items(r, n, &item);
	const char *fault;

	(void)o;
	out->v = arena_zalloc(r->keep, (count + 1) * sizeof(*out->v));
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "the name of a header"))
			continue;
		if ((fault = share_fault(item[i]->text)) != NULL)
			conf_problem(r, item[i], "%s cannot be shared: %s",
			    conf_node_name(r, item[i]), fault);
		else
			out->v[out->n++] = arena_str(r->keep, item[i]->text).p;
	}
}

bool
conf_listen_parse(const char *on, struct conf_listen *out, char why[NETS_WHY])
{
	struct policy_span port;

	out->naddr = 1;
	if (on[0] == ':') { /* both families */
		if (conf_value_range(on + 1, 65535, &port) &&
		    strchr(on, '-') == NULL) {
			memset(out->addr, 0, sizeof(out->addr));
			out->addr[0].v4.sin_family = AF_INET;
			out->addr[0].v4.sin_port = htons((uint16_t)port.lo);
			out->addr[1].v6.sin6_family = AF_INET6;
			out->addr[1].v6.sin6_port = htons((uint16_t)port.lo);
			out->naddr = 2;
			return (true);
		}
	} else if (conf_value_addr(on, 0, &out->addr[0])) {
		return (true);
	}
	snprintf(why, NETS_WHY,
	    "no address to listen on; write "
	    "'127.0.0.1:3128', '[::1]:3128' or ':3128'");
	return (false);
}

void
conf_read_on(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct conf_listen *out = CONTAINER_OF(member, struct conf_listen, on);
	char why[NETS_WHY];

	(void)o;
	if (!conf_scalar(r, n, "an address such as '127.0.0.1:3128'"))
		return;
	out->on = arena_str(r->keep, n->text).p;
	if (!conf_listen_parse(out->on, out, why))
		conf_problem(r, n, "%s is %s", conf_node_name(r, n), why);
}

/* By the ICAP client's own reader, so that it takes what is taken here. */
static bool
url_parse(struct arena *a, const char *text, struct conf_url *out,
    char why[NETS_WHY])
{
	struct icap_url u;
	const char *path;

	if (!icap_url_is_one(text)) {
		snprintf(why, NETS_WHY,
		    "no address of a service; write "
		    "'icap://host/path', 'icaps://host/path' or "
		    "'clamav:FOLDER'");
		return (false);
	}
	if (!icap_url_parse(text, &u, NULL)) {
		snprintf(why, NETS_WHY,
		    "no valid ICAP address; write "
		    "'icap://host:1344/path', IPv6 in brackets");
		return (false);
	}
	path = u.authority.p + u.authority.n;
	out->text = arena_cstr(a, text);
	out->tls = u.tls;
	out->host = arena_str(a, u.host).p;
	out->port = u.port;
	out->path = path[0] == '/' ? arena_cstr(a, path)
				   : arena_printf(a, "/%s", path).p;
	return (true);
}

/* Is it clamav:?  The folder is checked, and NULL stands for the default. */
static void
read_clamav(struct conf_reader *r, const struct node *n, struct conf_service *s)
{
	const char *folder = n->text.p + strlen("clamav:");

	s->type = CONF_CLAMAV;
#ifndef HAVE_CLAMAV
	conf_problem(r, n,
	    "this assayd was built without libclamav; use an "
	    "icap: service");
#endif
	if (folder[0] == '\0')
		return;
	s->database = conf_path(r, folder);
	if (!r->known && access(s->database, R_OK | X_OK) != 0)
		conf_problem(r, n,
		    "cannot read the signature database '%s': "
		    "%m",
		    s->database);
}

void
conf_read_url(struct conf_reader *r, const struct conf_option *o,
    const struct node *n, void *member)
{
	struct conf_service *s = CONTAINER_OF(member, struct conf_service, url);
	char why[NETS_WHY];
	const struct node **item;
	unsigned i, count = conf_node_items(r, n, &item);

	if (count == 0)
		conf_problem(r, n, "'%s' is empty; write at least one address",
		    o->key);
	if (count > ICAP_MAX_URLS)
		conf_problem(r, n,
		    "'%s' has %u addresses; at most %u are "
		    "possible",
		    o->key, count, ICAP_MAX_URLS);
	s->url.v = arena_zalloc(r->keep, (count + 1) * sizeof(*s->url.v));
	for (i = 0; i < count; i++) {
		if (!conf_scalar(r, item[i], "the address of a service"))
			continue;
		if (str_starts(item[i]->text, STR("clamav:"))) {
			read_clamav(r, item[i], s);
			if (count > 1)
				conf_problem(r, item[i],
				    "clamav: stands "
				    "alone; write a service of its own for "
				    "it");
			continue;
		}
		if (url_parse(r->keep, item[i]->text.p, &s->url.v[s->url.n],
			why))
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
	if (!conf_is_path(r, o, n, "stdout or a file"))
		return;
	if (strcmp(n->text.p, "journal") == 0 ||
	    str_starts(n->text, STR("syslog:")))
		conf_problem(r, n,
		    "'%s: %s' is not supported in this "
		    "version; write stdout or a file",
		    o->key, n->text.p);
	else if (strcmp(n->text.p, "stdout") != 0)
		*(const char **)member = conf_path(r, n->text.p);
}
