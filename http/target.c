/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Request targets: the four forms of RFC 9112 3.2 and the Host field become
 * req->uri, see uri.h.
 */
#include "http/chars.h"
#include "http/uri.h"

struct target {
	struct http_msg *req;
	const struct http_uri *tunnel;
	bool led; /* the tunnel has an address; names are the client's word */
	struct fault *fault;
	struct http_uri host; /* of the Host field */
	bool has_host;
};

/*
 * RFC 9112 3.2: one valid Host in every HTTP/1.1 request, whatever the form
 * of the target; HTTP/1.0 may go without, but never has two.
 */
static enum err
read_host(struct target *t, struct str scheme)
{
	const struct http_fields *l = &t->req->fields;
	const struct http_field *f = http_fields_get(l, FIELD_HOST);
	uint16_t port = t->led ? t->tunnel->port : http_default_port(scheme);

	t->has_host = f != NULL;
	if (f == NULL)
		return (t->req->version == HTTP_1_0
			? ERR_NONE
			: fault_set(t->fault, ERR_REQ_HOST, "Host is missing"));
	if (http_fields_next(l, f) != NULL)
		return (fault_set(t->fault, ERR_REQ_HOST, "Host is repeated"));
	t->host.scheme = scheme;
	if (!http_authority_parse(t->req->arena, f->value,
		port != 0 ? port : 443, &t->host))
		return (fault_set(t->fault, ERR_REQ_HOST, "Host is invalid"));
	return (ERR_NONE);
}

/* RFC 9112 3.2.2: Host is what the target says. */
static void
write_host(struct target *t)
{
	struct http_msg *req = t->req;
	struct str is = http_fields_value(&req->fields, FIELD_HOST);
	struct buf b = { 0 };

	if (!req->uri.port_given && !req->uri.host_is_v6 &&
	    str_eq(is, req->uri.host) &&
	    req->uri.port == http_default_port(req->uri.scheme))
		return; /* nearly always */
	http_host_print(&b, &req->uri);
	if (!str_eq(is, buf_as_str(&b)))
		http_fields_set(req->arena, &req->fields, FIELD_HOST,
		    arena_str(req->arena, buf_as_str(&b)));
	buf_fini(&b);
}

static enum err
bad_target(struct target *t, const char *why)
{
	return (fault_set(t->fault, ERR_REQ_TARGET, "%s", why));
}

/* Of a connection that was led here: the port is what it goes to. */
static enum err
check_led(struct target *t, const struct http_uri *u)
{
	if (str_eq(u->scheme, t->tunnel->scheme) &&
	    u->port == t->tunnel->port &&
	    (!t->has_host || http_same_authority(u, &t->host)))
		return (ERR_NONE);
	return (fault_set(t->fault, ERR_REQ_HOST,
	    "%.*s:%u in a connection to port %u", STR_ARG(u->host), u->port,
	    t->tunnel->port));
}

/* RFC 9110 7.4: a tunnel has one authority. */
static enum err
check_tunnel(struct target *t, const struct http_uri *u)
{
	if (t->led)
		return (check_led(t, u));
	if (t->tunnel == NULL ||
	    (str_eq(u->scheme, t->tunnel->scheme) &&
		http_same_authority(u, t->tunnel)))
		return (ERR_NONE);
	return (fault_set(t->fault, ERR_REQ_MISDIRECTED,
	    "%.*s:%u in a connection to %.*s:%u", STR_ARG(u->host), u->port,
	    STR_ARG(t->tunnel->host), t->tunnel->port));
}

/* "host:port", and nothing else routes a CONNECT (RFC 9112 3.2.3). */
static enum err
authority_form(struct target *t)
{
	struct http_uri *u = &t->req->uri;
	enum err e;

	if (t->tunnel != NULL)
		return (fault_set(t->fault, ERR_REQ_METHOD,
		    "CONNECT inside a tunnel"));
	if (!http_authority_parse(t->req->arena, t->req->target, 0, u))
		return (bad_target(t, "CONNECT wants host:port"));
	if ((e = read_host(t, STR_NONE)) == ERR_NONE)
		write_host(t);
	return (e);
}

/* "/path" or "*": the authority comes from the tunnel or from Host. */
static enum err
origin_form(struct target *t, bool allow_origin)
{
	struct http_uri *u = &t->req->uri;
	struct str scheme = STR("http");
	enum err e;

	if (t->tunnel != NULL)
		scheme = t->tunnel->scheme;
	else if (!allow_origin)
		return (bad_target(t, "a proxy needs the absolute form"));
	if ((e = read_host(t, scheme)) != ERR_NONE)
		return (e);
	if (t->has_host)
		*u = t->host;
	else if (t->tunnel == NULL)
		return (fault_set(t->fault, ERR_REQ_HOST, "Host is missing"));
	else {
		*u = *t->tunnel;
		u->port_given = u->port != http_default_port(scheme);
	}
	u->path = t->req->target;
	if ((e = check_tunnel(t, u)) == ERR_NONE)
		write_host(t);
	return (e);
}

/* Path and query pass octet for octet; only an empty path gets a name. */
static struct str
absolute_path(struct target *t, struct str rest)
{
	if (rest.n == 0) /* RFC 9112 3.2.1, 3.2.4 */
		return (
		    t->req->method_id == METHOD_OPTIONS ? STR("*") : STR("/"));
	if (rest.p[0] == '/')
		return (rest);
	return (arena_printf(t->req->arena, "/%.*s", STR_ARG(rest)));
}

/* Splits off "http://" or "https://". */
static bool
take_scheme(struct str *rest, struct str *scheme)
{
	size_t n = str_index(*rest, ':');

	if (rest->n < n + 3 || rest->p[n + 1] != '/' || rest->p[n + 2] != '/')
		return (false);
	*scheme = (struct str){ rest->p, n };
	if (str_ieq(*scheme, STR("http")))
		*scheme = STR("http");
	else if (str_ieq(*scheme, STR("https")))
		*scheme = STR("https");
	else
		return (false);
	rest->p += n + 3;
	rest->n -= n + 3;
	return (true);
}

static enum err
absolute_form(struct target *t)
{
	struct str rest = t->req->target, authority;
	struct http_uri *u = &t->req->uri;
	enum err e;

	if (!take_scheme(&rest, &u->scheme))
		return (bad_target(t, "neither http:// nor https://"));
	authority = rest;
	authority.n = str_index(authority, '/');
	authority.n = str_index(authority, '?');
	if (!http_authority_parse(t->req->arena, authority,
		t->led ? t->tunnel->port : http_default_port(u->scheme), u))
		return (bad_target(t, "invalid host or port"));
	rest.p += authority.n;
	rest.n -= authority.n;
	u->path = absolute_path(t, rest);
	if ((e = read_host(t, u->scheme)) != ERR_NONE ||
	    (e = check_tunnel(t, u)) != ERR_NONE)
		return (e);
	if (t->has_host && (e = check_tunnel(t, &t->host)) != ERR_NONE)
		return (e);
	write_host(t);
	return (ERR_NONE);
}

/* An encoded target is not longer than the longest plain one. */
#define TARGET_MAX 65536

/*
 * Octets above 0x7F, as old programs send them, are percent-encoded at once
 * (RFC 3986 2.5), so that rules, services, logs and the origin see one
 * spelling.  False: too long.
 */
static bool
encode_target(struct http_msg *req)
{
	static const char hex[16] = "0123456789ABCDEF";
	struct str s = req->target;
	size_t i, raw = 0;
	char *p;

	for (i = 0; i < s.n; i++)
		raw += (unsigned char)s.p[i] > 0x7f;
	if (raw == 0)
		return (true);
	if (s.n + 2 * raw > TARGET_MAX)
		return (false);
	req->target.n = s.n + 2 * raw;
	req->target.p = p = arena_alloc(req->arena, req->target.n);
	for (i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] > 0x7f) {
			*p++ = '%';
			*p++ = hex[(unsigned char)s.p[i] >> 4];
			*p++ = hex[(unsigned char)s.p[i] & 15];
		} else
			*p++ = s.p[i];
	return (true);
}

static enum err
parse(struct target *t, bool allow_origin)
{
	struct http_msg *req = t->req;
	struct str target;

	req->uri = (struct http_uri){ 0 };
	if (!encode_target(req))
		return (bad_target(t, "too long once it is encoded"));
	target = req->target;
	if (target.n == 0 || http_span(target, CHAR_TARGET) != target.n)
		return (bad_target(t, "octets that no target may hold"));
	if (req->method_id == METHOD_CONNECT && req->protocol.n == 0)
		return (authority_form(t));
	if (target.p[0] == '/')
		return (origin_form(t, allow_origin));
	if (!str_eq(target, STR("*")))
		return (absolute_form(t));
	if (req->method_id != METHOD_OPTIONS)
		return (bad_target(t, "only OPTIONS may have *"));
	return (origin_form(t, allow_origin));
}

enum err
http_target_parse(struct http_msg *req, const struct http_uri *tunnel,
    bool allow_origin, struct fault *f)
{
	struct target t = { .req = req, .tunnel = tunnel, .fault = f };

	return (parse(&t, allow_origin));
}

enum err
http_target_parse_led(struct http_msg *req, const struct http_uri *to,
    struct fault *f)
{
	struct target t = { .req = req, .tunnel = to, .led = true, .fault = f };

	return (parse(&t, false));
}
