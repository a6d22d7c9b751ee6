/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The names of a verdict, see check_priv.h: taken, compared, said. */
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "certs/check_priv.h"
#include "certs/name.h"

#define NAMES_SHOWN 3

static void
name_add(struct verdict *v, unsigned kind, const unsigned char *p, size_t n)
{
	const unsigned char head[3] = { (unsigned char)kind,
		(unsigned char)(n >> 8), (unsigned char)n };

	assert(n <= 0xffff);
	buf_add(&v->names, head, sizeof(head));
	buf_add(&v->names, p, n);
	v->names_n++;
}

void
verdict_take_names(struct verdict *v, gnutls_x509_crt_t leaf)
{
	unsigned char name[256]; /* no host is longer */
	unsigned i, type;
	size_t n;
	int r;

	for (i = 0;; i++) {
		n = sizeof(name);
		r = gnutls_x509_crt_get_subject_alt_name2(leaf, i, name, &n,
		    &type, NULL);
		if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return;
		if (r == GNUTLS_SAN_DNSNAME)
			name_add(v, NAME_KIND_DNS, name, n);
		else if (r == GNUTLS_SAN_IPADDRESS && (n == 4 || n == 16))
			name_add(v, NAME_KIND_IP, name, n);
		else if (r < 0 && r != GNUTLS_E_SHORT_MEMORY_BUFFER)
			return;
	}
}

static bool
ip_matches(struct str name, const unsigned char *ip, unsigned n)
{
	return (n > 0 && name.n == n && memcmp(name.p, ip, n) == 0);
}

/* The next name of v from *at; false: no more. */
static bool
name_next(const struct verdict *v, size_t *at, unsigned *kind, struct str *name)
{
	const unsigned char *p = (const unsigned char *)v->names.p + *at;

	if (*at == v->names.n)
		return (false);
	assert(*at + 3 <= v->names.n);
	*kind = p[0];
	*name = (struct str){ (const char *)p + 3, (size_t)p[1] << 8 | p[2] };
	*at += 3 + name->n;
	assert(*at <= v->names.n);
	assert(*kind == NAME_KIND_IP || *kind == NAME_KIND_DNS);
	return (true);
}

static void
name_print(struct buf *out, unsigned kind, struct str name)
{
	char ip[INET6_ADDRSTRLEN] = "";
	size_t i;

	if (kind == NAME_KIND_IP) {
		assert(name.n == 4 || name.n == 16);
		(void)inet_ntop(name.n == 4 ? AF_INET : AF_INET6, name.p, ip,
		    sizeof(ip));
		buf_cstr(out, ip);
		return;
	}
	for (i = 0; i < name.n && i < 50; i++)
		buf_add(out,
		    name.p[i] > ' ' && name.p[i] <= '~' ? &name.p[i] : "?", 1);
}

static bool
refuse_name(const struct verdict *v, struct fault *f)
{
	struct buf text = { NULL, 0, 0 };
	unsigned kind, shown = 0;
	struct str name;
	size_t at = 0;

	if (v->names_n == 0) {
		fault_set(f, ERR_ORIGIN_CERT,
		    "name does not match: "
		    "certificate has no subject alternative names (a common "
		    "name does not count)");
		return (false);
	}
	while (shown < NAMES_SHOWN && name_next(v, &at, &kind, &name)) {
		buf_cstr(&text, shown++ > 0 ? ", " : "");
		name_print(&text, kind, name);
	}
	if (v->names_n > shown)
		buf_printf(&text, " and %u more", v->names_n - shown);
	fault_set(f, ERR_ORIGIN_CERT,
	    "name does not match: certificate is "
	    "for %s",
	    text.p);
	buf_fini(&text);
	return (false);
}

bool
verdict_names(const struct verdict *v, const char *host, struct fault *f)
{
	unsigned char ip[16];
	unsigned kind, n = name_ip(host, ip);
	struct str name;
	size_t at = 0;

	if (n == 0 && !name_dns_ok(host)) {
		fault_set(f, ERR_ORIGIN_CERT, "host name is not valid");
		return (false);
	}
	while (name_next(v, &at, &kind, &name))
		if (kind == NAME_KIND_IP ? ip_matches(name, ip, n)
					 : n == 0 && name_matches(name, host))
			return (true);
	return (refuse_name(v, f));
}
