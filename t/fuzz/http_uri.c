/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz authorities and request targets: what is accepted and written must be
 * read back as the same, and a host holds nothing but what a host may.
 */
#include <assert.h>
#include <string.h>
#include "http/chars.h"
#include "http/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
authority(struct arena *a, struct str s)
{
	struct http_uri u = { 0 }, again = { 0 };
	struct buf b = { 0 };

	if (!http_authority_parse(a, s, 443, &u))
		return;
	assert(u.host.n > 0 && u.host.n <= 253 && u.port > 0);
	assert(u.host_is_v6 || http_span(u.host, CHAR_HOST) == u.host.n);
	http_authority_print(&b, &u);
	assert(http_authority_parse(a, buf_as_str(&b), 0, &again));
	assert(http_same_authority(&u, &again));
	assert(u.host_is_ip == again.host_is_ip);
	buf_fini(&b);
}

static void
target(struct arena *a, struct str s)
{
	struct http_msg *m = http_msg_new(a, true);
	struct buf b = { 0 }, again = { 0 };

	m->version = HTTP_1_0;
	m->method_id = METHOD_OPTIONS;
	m->target = s;
	http_fields_add(a, &m->fields, FIELD_HOST, STR("host.example"));
	if (http_target_parse(m, NULL, true, NULL) == ERR_NONE) {
		http_uri_print(&b, &m->uri, true);
		m->target = buf_as_str(&b);
		assert(http_target_parse(m, NULL, true, NULL) == ERR_NONE);
		http_uri_print(&again, &m->uri, true);
		assert(str_eq(buf_as_str(&b), buf_as_str(&again)));
	}
	buf_fini(&b);
	buf_fini(&again);
}

/* On a connection that was led here, in the target and in Host. */
static void
led(struct arena *a, struct str s, bool as_host)
{
	static const struct http_uri to = { .scheme = STR("http"),
		.host = STR("203.0.113.80"),
		.host_is_ip = true,
		.port = 8080,
		.port_given = true };
	struct http_msg *m = http_msg_new(a, true);

	m->method_id = METHOD_GET;
	m->target = as_host ? STR("/") : s;
	http_fields_add(a, &m->fields, FIELD_HOST,
	    as_host ? s : STR("host.example"));
	if (http_target_parse_led(m, &to, NULL) != ERR_NONE)
		return;
	assert(m->uri.port == to.port && str_eq(m->uri.scheme, to.scheme));
	assert(as_host || str_eq(m->uri.host, STR("host.example")));
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena *a = arena_new();
	struct str s = { (const char *)p, n };

	authority(a, s);
	target(a, s);
	led(a, s, false);
	led(a, s, true);
	arena_free(&a);
	return (0);
}
