/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The head of a message, version-neutral: the model that parsers fill, policy
 * and scanners look at, and emitters write out again in canonical form.
 * Everything a message points to lives in its arena.
 * Room: http.  Obeys RFC 9110, 9112.
 */
#ifndef HTTP_MSG_H
#define HTTP_MSG_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/fault.h"
#include "base/str.h"

/* Fields that assay itself looks at; the names are in http/field.def. */
enum http_field_id {
	FIELD_OTHER = 0,
#define F(id, name) FIELD_##id,
#include "http/field.def"
#undef F
	FIELD_COUNT
};

struct http_field {
	struct str name;  /* as it was spelt */
	struct str value; /* trimmed */
	enum http_field_id id;
};

/* An ordered list; also used for trailers. {0} is an empty one. */
struct http_fields {
	struct http_field *v; /* in the arena */
	unsigned n, cap;
};

enum http_method {
	METHOD_OTHER,
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_PUT,
	METHOD_DELETE,
	METHOD_CONNECT,
	METHOD_OPTIONS,
	METHOD_TRACE,
	METHOD_PATCH
};

/* What a peer speaks (RFC 9110 2.5): said in Via and records. */
enum http_version {
	HTTP_1_0,
	HTTP_1_1, /* ours; a later HTTP/1.x is one */
	HTTP_2
};

/*
 * What is known of a body before it has come, whatever the protocol.  Trailer
 * fields come with its end (body_trailer(), sink_end()).
 */
enum http_length {
	LENGTH_NONE,   /* there is no body */
	LENGTH_KNOWN,  /* http_msg.length octets (0 possible) */
	LENGTH_UNKNOWN /* its end will be seen */
};

#define HTTP_LENGTH_UNKNOWN UINT64_MAX /* as a number of octets */

/* A request target, taken apart (RFC 3986, RFC 9112 3.2). */
struct http_uri {
	struct str scheme; /* "http" | "https", lower case */
	/* lower case, no trailing dot, IPv6 without brackets */
	struct str host;
	bool host_is_v6;
	bool host_is_ip;
	uint16_t port; /* default filled in */
	bool port_given;
	struct str path; /* with query, as received: "/..." or "*" */
};

struct http_msg {
	struct arena *arena; /* borrowed */
	bool is_request;
	enum http_version version; /* in which it came */

	struct str method; /* requests */
	enum http_method method_id;
	struct str target; /* as received */
	/* of an extended CONNECT (RFC 8441 4), else STR_NONE */
	struct str protocol;
	struct http_uri uri; /* of what the request is for, once known */

	unsigned status; /* responses */
	struct str reason;

	struct http_fields fields;

	enum http_length length_is;
	uint64_t length;      /* octets: LENGTH_KNOWN; else 0 */
	bool expect_continue; /* Expect: 100-continue */
};

/* A message whose strings will live in a.  All zero. */
struct http_msg *http_msg_new(struct arena *a, bool is_request);
/* A deep copy into another arena. */
struct http_msg *http_msg_copy(struct arena *a, const struct http_msg *);

/* Do octets of a body follow, as far as is known? */
static inline bool
http_has_body(const struct http_msg *m)
{
	return (m->length_is == LENGTH_UNKNOWN ||
	    (m->length_is == LENGTH_KNOWN && m->length > 0));
}

/* Octets of its body, 0 where it has none, or HTTP_LENGTH_UNKNOWN. */
static inline uint64_t
http_length(const struct http_msg *m)
{
	return (m->length_is == LENGTH_KNOWN     ? m->length
		: m->length_is == LENGTH_UNKNOWN ? HTTP_LENGTH_UNKNOWN
						 : 0);
}

enum http_method http_method_of(struct str method);
/* RFC 9110 9.2.2: may it be repeated when a connection died under it? */
bool http_method_is_idempotent(enum http_method);
/* The usual phrase, "" if there is none. */
const char *http_reason(unsigned status);
/* Responses that never have a body: 1xx, 204, 304 (RFC 9110 6.4.1). */
bool http_status_is_bodyless(unsigned status);

enum http_field_id http_field_id_of(struct str name);
struct str http_field_name(enum http_field_id); /* canonical spelling */

/* First field of that id, NULL if none. */
const struct http_field *http_fields_get(const struct http_fields *,
    enum http_field_id);
/* Next one behind f. */
const struct http_field *http_fields_next(const struct http_fields *,
    const struct http_field *f);
/* By name, for FIELD_OTHER. */
const struct http_field *http_fields_find(const struct http_fields *,
    struct str name);
/* The value of the first, STR_NONE if none. */
struct str http_fields_value(const struct http_fields *, enum http_field_id);
/* Append; strings are borrowed (constants, or of the same arena). */
void http_fields_add(struct arena *, struct http_fields *, enum http_field_id,
    struct str value);
void http_fields_add_named(struct arena *, struct http_fields *,
    struct str name, struct str value);
/* Remove every field of that id, or that name. */
void http_fields_remove(struct http_fields *, enum http_field_id);
void http_fields_remove_named(struct http_fields *, struct str name);
/* Replace all of that id by one. */
void http_fields_set(struct arena *, struct http_fields *, enum http_field_id,
    struct str value);
/* Is token an element of any field of that id (case-insensitive list)? */
bool http_fields_has_token(const struct http_fields *, enum http_field_id,
    struct str token);

#endif
