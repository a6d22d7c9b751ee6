/* SPDX-License-Identifier: GPL-2.0-or-later */
/* WebSocket handshakes of HTTP/2 and HTTP/1, see ws_h2.h. */
#include <assert.h>
#include "http/ws_h2.h"
#include "http/ws_open.h"

static const struct str websocket = STR("websocket");

static void
put_switch(struct http_msg *m)
{
	m->length_is = LENGTH_NONE;
	m->length = 0;
	http_fields_set(m->arena, &m->fields, FIELD_UPGRADE, websocket);
	http_fields_set(m->arena, &m->fields, FIELD_CONNECTION, STR("Upgrade"));
}

/* Octets of no known number follow. */
static void
drop_switch(struct http_msg *m)
{
	m->length_is = LENGTH_UNKNOWN;
	m->length = 0;
	http_fields_remove(&m->fields, FIELD_UPGRADE);
	http_fields_remove(&m->fields, FIELD_CONNECTION);
	http_fields_remove(&m->fields, FIELD_SEC_WEBSOCKET_KEY);
	http_fields_remove(&m->fields, FIELD_SEC_WEBSOCKET_ACCEPT);
}

void
ws_h2_request_to_h1(struct http_msg *m)
{
	char key[WS_KEY_LEN + 1];

	assert(m->method_id == METHOD_CONNECT && m->protocol.n > 0);
	m->protocol = STR_NONE;
	m->method = STR("GET");
	m->method_id = METHOD_GET;
	ws_open_key(key);
	http_fields_set(m->arena, &m->fields, FIELD_SEC_WEBSOCKET_KEY,
	    arena_str(m->arena, str_of(key)));
	put_switch(m);
}

void
ws_h2_request_to_h2(struct http_msg *m)
{
	assert(m->method_id == METHOD_GET);
	m->protocol = websocket;
	m->method = STR("CONNECT");
	m->method_id = METHOD_CONNECT;
	drop_switch(m);
}

void
ws_h2_answer_to_h1(struct http_msg *m, struct str key)
{
	char accept[WS_ACCEPT_LEN + 1];

	assert(m->status / 100 == 2);
	m->status = 101;
	m->reason = str_of(http_reason(101));
	ws_open_accept(key, accept);
	http_fields_set(m->arena, &m->fields, FIELD_SEC_WEBSOCKET_ACCEPT,
	    arena_str(m->arena, str_of(accept)));
	put_switch(m);
}

void
ws_h2_answer_to_h2(struct http_msg *m)
{
	assert(m->status == 101);
	m->status = 200;
	m->reason = str_of(http_reason(200));
	drop_switch(m);
}
