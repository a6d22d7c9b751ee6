/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which messages sign a connection in, see auth.h. */
#include "http/auth.h"

/* The schemes that authenticate a connection; all others do each request. */
static const struct str schemes[] = {
	{ "NTLM", 4 },
	{ "Negotiate", 9 },
	{ "Kerberos", 8 },
	{ "Nego2", 5 },
	{ "PKU2U", 5 },
	{ "CredSSP", 7 },
};

/* One challenge, or a parameter of one: "NTLM", "NTLM TlRM...", "realm=x". */
static enum http_sign_in
of_element(struct str e)
{
	struct str name = { e.p, 0 };

	while (name.n < e.n && e.p[name.n] != ' ' && e.p[name.n] != '\t')
		name.n++;
	if (!str_ione_of(name, schemes, sizeof(schemes) / sizeof(schemes[0])))
		return (HTTP_SIGN_NONE);
	return (name.n < e.n ? HTTP_SIGN_HALF : HTTP_SIGN_CONNECTION);
}

static enum http_sign_in
of_field(const struct http_msg *m, enum http_field_id id)
{
	const struct http_field *f = http_fields_get(&m->fields, id);
	enum http_sign_in is, most = HTTP_SIGN_NONE;
	struct str rest, e;

	for (; f != NULL; f = http_fields_next(&m->fields, f)) {
		rest = f->value;
		while (str_next_element(&rest, &e))
			if ((is = of_element(e)) > most)
				most = is;
	}
	return (most);
}

static enum http_sign_in
of_response(const struct http_msg *m)
{
	enum http_sign_in a = of_field(m, FIELD_WWW_AUTHENTICATE);
	enum http_sign_in b = of_field(m, FIELD_PROXY_AUTHENTICATE);
	enum http_sign_in most = a > b ? a : b;

	/* Behind the last leg the token is the server's own proof. */
	if (most == HTTP_SIGN_HALF && m->status != 401 && m->status != 407)
		most = HTTP_SIGN_CONNECTION;
	if (most == HTTP_SIGN_NONE &&
	    http_fields_has_token(&m->fields, FIELD_PERSISTENT_AUTH,
		STR("true")))
		most = HTTP_SIGN_CONNECTION;
	return (most);
}

enum http_sign_in
http_sign_in_of(const struct http_msg *m)
{
	if (!m->is_request)
		return (of_response(m));
	return (of_field(m, FIELD_AUTHORIZATION) != HTTP_SIGN_NONE
		? HTTP_SIGN_CONNECTION
		: HTTP_SIGN_NONE);
}
