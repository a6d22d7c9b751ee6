/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The opening of a WebSocket connection, see ws_open.h. */
#include <assert.h>
#include <nettle/base64.h>
#include <nettle/sha1.h>
#include <string.h>
#include <sys/random.h>
#include "http/chars.h"
#include "http/hop.h"
#include "http/ws_open.h"

#define KEY_OCTETS 16
#define EXTENSIONS_MAX 8 /* taken; each is looked for among the offers */

static const struct str websocket = STR("websocket");
static const struct str deflate = STR("permessage-deflate");

/* ---- keys ---- */

void
ws_open_key(char out[static WS_KEY_LEN + 1])
{
	uint8_t key[KEY_OCTETS];
	ssize_t n = getrandom(key, sizeof(key), 0);

	assert(n == (ssize_t)sizeof(key)); /* getrandom(2): to 256 */
	base64_encode_raw(out, sizeof(key), key);
	out[WS_KEY_LEN] = '\0';
}

void
ws_open_accept(struct str key, char out[static WS_ACCEPT_LEN + 1])
{
	static const struct str guid = STR(
	    "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
	uint8_t digest[SHA1_DIGEST_SIZE];
	struct sha1_ctx sha;

	sha1_init(&sha);
	sha1_update(&sha, key.n, (const uint8_t *)key.p);
	sha1_update(&sha, guid.n, (const uint8_t *)guid.p);
	sha1_digest(&sha, sizeof(digest), digest);
	base64_encode_raw(out, sizeof(digest), digest);
	out[WS_ACCEPT_LEN] = '\0';
}

/* RFC 6455 4.1: 16 octets in base64. */
static bool
is_key(struct str s)
{
	struct base64_decode_ctx ctx;
	uint8_t key[BASE64_DECODE_LENGTH(WS_KEY_LEN)];
	size_t n = sizeof(key);

	base64_decode_init(&ctx);
	return (s.n == WS_KEY_LEN &&
	    base64_decode_update(&ctx, &n, key, s.n, s.p) &&
	    base64_decode_final(&ctx) && n == KEY_OCTETS);
}

/* ---- fields ---- */

/* The value of a field that stands exactly once; else STR_NONE. */
static struct str
only(const struct http_msg *m, enum http_field_id id)
{
	const struct http_field *f = http_fields_get(&m->fields, id);

	if (f == NULL || http_fields_next(&m->fields, f) != NULL)
		return (STR_NONE);
	return (f->value);
}

/* Elements of all fields of an id, in their order. */
struct walk {
	const struct http_fields *l;
	const struct http_field *f;
	struct str rest;
};

static struct walk
walk(const struct http_msg *m, enum http_field_id id)
{
	struct walk w = { .l = &m->fields };

	w.f = http_fields_get(w.l, id);
	if (w.f != NULL)
		w.rest = w.f->value;
	return (w);
}

static bool
walk_next(struct walk *w, struct str *element)
{
	while (w->f != NULL) {
		if (str_next_element(&w->rest, element))
			return (true);
		w->f = http_fields_next(w->l, w->f);
		if (w->f != NULL)
			w->rest = w->f->value;
	}
	return (false);
}

/* ---- permessage-deflate ---- */

enum param {
	SERVER_NO_TAKEOVER,
	CLIENT_NO_TAKEOVER,
	SERVER_BITS,
	CLIENT_BITS,
	PARAM_COUNT
};

static const struct {
	struct str name;
	bool bits; /* takes a number */
	bool bare; /* of an offer: it may be left out */
} params[PARAM_COUNT] = {
	/* RFC 7692 7.1 */
	[SERVER_NO_TAKEOVER] = { STR("server_no_context_takeover"), false,
	    true },
	[CLIENT_NO_TAKEOVER] = { STR("client_no_context_takeover"), false,
	    true },
	[SERVER_BITS] = { STR("server_max_window_bits"), true, false },
	[CLIENT_BITS] = { STR("client_max_window_bits"), true, true },
};

/* Cut s at the first c; what is behind it goes to *rest, STR_NONE: no c. */
static struct str
cut(struct str s, char c, struct str *rest)
{
	size_t n = str_index(s, c);

	*rest = n < s.n ? (struct str){ s.p + n + 1, s.n - n - 1 } : STR_NONE;
	return (str_trim((struct str){ s.p, n }));
}

/* RFC 7692 7.1.2: 8 to 15, no leading zero; RFC 6455 9.1: quotes may stand. */
static bool
is_bits(struct str v)
{
	uint64_t n;

	if (v.n > 2 && v.p[0] == '"' && v.p[v.n - 1] == '"')
		v = (struct str){ v.p + 1, v.n - 2 };
	return (str_to_u64(v, 15, &n) && n >= 8 && v.p[0] != '0');
}

/* One parameter "name[=value]" that was not there before. */
static bool
read_param(struct str s, bool offered, bool has[PARAM_COUNT])
{
	struct str value, name = cut(s, '=', &value);
	unsigned i;

	for (i = 0; i < PARAM_COUNT && !str_eq(name, params[i].name); i++)
		;
	if (i == PARAM_COUNT || has[i])
		return (false);
	has[i] = true;
	if (value.p == NULL)
		return (params[i].bare && (offered || !params[i].bits));
	return (params[i].bits && is_bits(str_trim(value)));
}

/* Is it permessage-deflate with parameters as they may be? */
static bool
read_deflate(struct str element, bool offered, bool has[PARAM_COUNT])
{
	struct str rest;

	memset(has, 0, PARAM_COUNT * sizeof(*has));
	if (!str_eq(cut(element, ';', &rest), deflate))
		return (false);
	while (rest.p != NULL)
		if (!read_param(cut(rest, ';', &rest), offered, has))
			return (false);
	return (true);
}

void
ws_open_reduce(struct http_msg *req)
{
	struct walk w = walk(req, FIELD_SEC_WEBSOCKET_EXTENSIONS);
	bool has[PARAM_COUNT];
	struct buf list = { 0 };
	struct str element;

	if (w.f == NULL)
		return;
	while (walk_next(&w, &element)) {
		if (!read_deflate(element, true, has))
			continue;
		if (list.n > 0)
			buf_cstr(&list, ", ");
		buf_str(&list, element);
	}
	if (list.n > 0)
		http_fields_set(req->arena, &req->fields,
		    FIELD_SEC_WEBSOCKET_EXTENSIONS,
		    arena_str(req->arena, buf_as_str(&list)));
	else
		http_fields_remove(&req->fields,
		    FIELD_SEC_WEBSOCKET_EXTENSIONS);
	buf_fini(&list);
}

/* ---- the request ---- */

static enum ws_asks
wrong(struct fault *f, const char *why)
{
	fault_set(f, ERR_REQ_WEBSOCKET, "%s", why);
	return (WS_ASKS_WRONG);
}

static bool
are_tokens(const struct http_msg *m, enum http_field_id id)
{
	struct walk w = walk(m, id);
	struct str element;

	while (walk_next(&w, &element))
		if (!http_is_token(element))
			return (false);
	return (true);
}

enum ws_asks
ws_open_asks(const struct http_msg *req, struct fault *f)
{
	if (req->method_id != METHOD_GET || req->version == HTTP_1_0 ||
	    !http_wants_upgrade(req, websocket))
		return (WS_ASKS_NOT);
	if (http_has_body(req))
		return (wrong(f, "a WebSocket handshake with a body"));
	if (!str_eq(only(req, FIELD_SEC_WEBSOCKET_VERSION), STR("13")))
		return (wrong(f, "Sec-WebSocket-Version is not 13"));
	if (!is_key(only(req, FIELD_SEC_WEBSOCKET_KEY)))
		return (wrong(f, "Sec-WebSocket-Key is not one key"));
	if (!are_tokens(req, FIELD_SEC_WEBSOCKET_PROTOCOL))
		return (wrong(f, "Sec-WebSocket-Protocol is no list of names"));
	return (WS_ASKS);
}

/* ---- the answer ---- */

/* What is wrong with it as a switch of protocols; NULL: nothing. */
static const char *
check_switch(const struct http_msg *req, const struct http_msg *resp)
{
	char accept[WS_ACCEPT_LEN + 1];
	struct str key = only(req, FIELD_SEC_WEBSOCKET_KEY);

	if (resp->status != 101 || resp->version == HTTP_1_0)
		return ("no switch of protocols");
	if (!str_ieq(only(resp, FIELD_UPGRADE), websocket) ||
	    !http_fields_has_token(&resp->fields, FIELD_CONNECTION,
		STR("upgrade")))
		return ("a switch to something else than WebSocket");
	ws_open_accept(key, accept);
	if (key.p == NULL ||
	    !str_eq(only(resp, FIELD_SEC_WEBSOCKET_ACCEPT), str_of(accept)))
		return ("Sec-WebSocket-Accept is not for the key");
	return (NULL);
}

/* RFC 6455 4.1: one, and one of those that were offered. */
static const char *
check_subprotocol(const struct http_msg *req, const struct http_msg *resp,
    struct ws_terms *t)
{
	struct walk w = walk(req, FIELD_SEC_WEBSOCKET_PROTOCOL);
	struct str element;

	if (http_fields_get(&resp->fields, FIELD_SEC_WEBSOCKET_PROTOCOL) ==
	    NULL)
		return (NULL);
	t->subprotocol = only(resp, FIELD_SEC_WEBSOCKET_PROTOCOL);
	while (walk_next(&w, &element))
		if (str_eq(element, t->subprotocol))
			return (NULL);
	return ("a subprotocol that was not offered");
}

/* Was it offered?  For permessage-deflate has[] says what some offer has. */
static bool
was_offered(const struct http_msg *req, struct str name, bool has[PARAM_COUNT])
{
	struct walk w = walk(req, FIELD_SEC_WEBSOCKET_EXTENSIONS);
	struct str element, rest;
	bool found = false, one[PARAM_COUNT];
	unsigned i;

	memset(has, 0, PARAM_COUNT * sizeof(*has));
	while (walk_next(&w, &element)) {
		found |= str_eq(cut(element, ';', &rest), name);
		if (!read_deflate(element, true, one))
			continue;
		for (i = 0; i < PARAM_COUNT; i++)
			has[i] |= one[i];
	}
	return (found);
}

static const char *
take_extension(const struct http_msg *req, struct str element,
    struct ws_terms *t)
{
	bool offered[PARAM_COUNT], has[PARAM_COUNT];
	struct str rest, name = cut(element, ';', &rest);

	if (!was_offered(req, name, offered))
		return ("an extension that was not offered");
	if (!str_eq(name, deflate)) {
		t->unknown = true;
		return (NULL);
	}
	if (t->deflate)
		return ("permessage-deflate twice");
	if (!read_deflate(element, false, has))
		return ("parameters of permessage-deflate");
	if (has[CLIENT_BITS] && !offered[CLIENT_BITS]) /* RFC 7692 7.1.2.2 */
		return ("client_max_window_bits was not offered");
	t->deflate = true;
	t->no_takeover[WS_CLIENT] = has[CLIENT_NO_TAKEOVER];
	t->no_takeover[WS_SERVER] = has[SERVER_NO_TAKEOVER];
	return (NULL);
}

static const char *
check_extensions(const struct http_msg *req, const struct http_msg *resp,
    struct ws_terms *t)
{
	struct walk w = walk(resp, FIELD_SEC_WEBSOCKET_EXTENSIONS);
	const char *why = NULL;
	struct str element;
	unsigned n = 0;

	while (why == NULL && walk_next(&w, &element))
		why = n++ < EXTENSIONS_MAX ? take_extension(req, element, t)
					   : "too many extensions";
	return (why);
}

enum err
ws_open_answer(const struct http_msg *req, const struct http_msg *resp,
    struct ws_terms *t, struct fault *f)
{
	const char *why = check_switch(req, resp);

	*t = (struct ws_terms){ .deflate = false };
	if (why == NULL)
		why = check_subprotocol(req, resp, t);
	if (why == NULL)
		why = check_extensions(req, resp, t);
	if (why == NULL)
		return (ERR_NONE);
	return (fault_set(f, ERR_ORIGIN_WEBSOCKET, "%s", why));
}
