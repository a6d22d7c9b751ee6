/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Heads that came back from a service.
 * Room: icap.  Obeys RFC 3507 4.4.2, 4.8.2, 4.9.2; RFC 9112 6.3.
 */
#include "http/hop.h"
#include "http/length.h"
#include "http/part.h"
#include "http/uri.h"
#include "icap/adapt.h"

/* One readable length, or none: what else it may be is refused. */
static enum err
check_length(const struct http_msg *m, uint64_t *length, struct fault *f)
{
	if (!http_content_length(&m->fields, true, length))
		return (fault_set(f, ERR_SCAN_MESSAGE,
		    "adapted head has an ambiguous Content-Length"));
	return (ERR_NONE);
}

/* Is it the same kind of message as before, judged by its start line? */
static bool
same_kind(const struct scan_message *msg, const struct http_msg *m)
{
	if (m->is_request)
		return (str_eq(m->method, msg->req->method));
	return (msg->resp != NULL && m->status == msg->resp->status);
}

/*
 * No body came back under a head of the same kind that does not say so: the
 * service lost it, and an empty page would hide that.  A head of another kind
 * means it (a redirect, a POST made a GET).
 */
static enum err
check_lost_body(const struct scan_message *msg, const struct http_msg *m,
    bool has_body, uint64_t said, struct fault *f)
{
	if (has_body || said == 0 || msg->body == NULL ||
	    body_length(msg->body) == 0 || !same_kind(msg, m))
		return (ERR_NONE);
	return (
	    fault_set(f, ERR_SCAN_MESSAGE, "adapted message lost its body"));
}

/* Is a part, or what is said to be the whole, of the length it is said to be? */
static enum err
fit_range(struct http_msg *m, bool has_body, uint64_t length, struct fault *f)
{
	return (http_part_fit(m, has_body ? length : 0)
		? ERR_NONE
		: fault_set(f, ERR_SCAN_MESSAGE,
		      "adapted part has another length than its "
		      "Content-Range"));
}

/* A service may leave out Host: it means the original's. */
static void
add_host(const struct scan_message *msg, struct http_msg *m)
{
	struct buf b = { 0 };

	if (http_fields_get(&m->fields, FIELD_HOST) != NULL)
		return;
	http_host_print(&b, &msg->req->uri);
	http_fields_set(m->arena, &m->fields, FIELD_HOST,
	    arena_str(m->arena, buf_as_str(&b)));
	buf_fini(&b);
}

/* Origin-form: made absolute, so that one parser judges all of them. */
static void
make_absolute(const struct scan_message *msg, struct http_msg *m)
{
	struct buf b = { 0 };

	buf_str(&b, msg->req->uri.scheme);
	buf_cstr(&b, "://");
	buf_str(&b, http_fields_value(&m->fields, FIELD_HOST));
	if (m->target.p[0] == '/')
		buf_str(&b, m->target);
	m->target = arena_str(m->arena, buf_as_str(&b));
	buf_fini(&b);
}

static enum err
adapt_target(const struct scan_message *msg, struct http_msg *m,
    struct fault *f)
{
	struct fault why = { .code = ERR_NONE };

	add_host(msg, m);
	if (m->method_id != METHOD_CONNECT && m->target.n > 0 &&
	    (m->target.p[0] == '/' || str_eq(m->target, STR("*"))))
		make_absolute(msg, m);
	if (http_target_parse(m, NULL, false, &why) != ERR_NONE)
		return (
		    fault_set(f, ERR_SCAN_MESSAGE, "adapted request: %.120s",
			why.detail[0] != '\0' ? why.detail
					      : err_info(why.code)->text));
	return (ERR_NONE);
}

/* Nothing of a CONNECT goes on: a service can let it pass, or answer. */
static bool
fits_connect(const struct scan_message *msg, const struct http_msg *m,
    bool has_body)
{
	return (msg->req->method_id != METHOD_CONNECT ||
	    (m->method_id == METHOD_CONNECT && !has_body &&
		http_same_authority(&m->uri, &msg->req->uri)));
}

enum err
icap_adapt_request(const struct scan_message *msg, struct http_msg *m,
    bool has_body, uint64_t length, struct fault *f)
{
	uint64_t said;

	if (check_length(m, &said, f) != ERR_NONE ||
	    check_lost_body(msg, m, has_body, said, f) != ERR_NONE ||
	    adapt_target(msg, m, f) != ERR_NONE)
		return (f->code);
	if (!fits_connect(msg, m, has_body))
		return (fault_set(f, ERR_SCAN_MESSAGE,
		    "a CONNECT was made another request"));
	if (fit_range(m, has_body, length, f) != ERR_NONE)
		return (f->code);
	http_length_set(m, NULL, has_body, length);
	http_hop_strip(m);
	m->expect_continue = false;
	http_fields_remove_named(&m->fields, STR("Expect"));
	return (ERR_NONE);
}

bool
icap_never_has_body(const struct scan_message *msg, const struct http_msg *m)
{
	return (http_status_is_bodyless(m->status) ||
	    msg->req->method_id == METHOD_HEAD);
}

/* A head that came back the same but for its body's end. */
static bool
is_unchanged(const struct scan_message *msg, const struct http_msg *m)
{
	return (msg->mode == SCAN_RESP && m->status == msg->resp->status);
}

/* The switch of protocols that it was shown (RFC 9110 15.2.2). */
static bool
is_switch(const struct scan_message *msg, const struct http_msg *m)
{
	return (m->status == 101 && is_unchanged(msg, m));
}

enum err
icap_adapt_response(const struct scan_message *msg, struct http_msg *m,
    bool has_body, uint64_t length, struct fault *f)
{
	uint64_t said;

	if ((m->status < 200 && !is_switch(msg, m)) || m->status > 999)
		return (fault_set(f, ERR_SCAN_MESSAGE,
		    "adapted response has status %u", m->status));
	if (msg->req->method_id == METHOD_CONNECT && m->status < 300)
		return (fault_set(f, ERR_SCAN_MESSAGE,
		    "a service accepted CONNECT itself"));
	if (check_length(m, &said, f) != ERR_NONE)
		return (f->code);
	if (!icap_never_has_body(msg, m) && is_unchanged(msg, m) &&
	    check_lost_body(msg, m, has_body, said, f) != ERR_NONE)
		return (f->code);
	if (!icap_never_has_body(msg, m) &&
	    fit_range(m, has_body, length, f) != ERR_NONE)
		return (f->code);
	http_length_set(m, msg->req, has_body, length);
	http_hop_strip(m);
	return (ERR_NONE);
}
