/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses, see address.h. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include "net/address.h"

static const struct sockaddr_in *
as_v4(const struct sockaddr *sa)
{
	return ((const struct sockaddr_in *)(const void *)sa);
}

static const struct sockaddr_in6 *
as_v6(const struct sockaddr *sa)
{
	return ((const struct sockaddr_in6 *)(const void *)sa);
}

socklen_t
address_size(const struct sockaddr *sa)
{
	return (sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					  : sizeof(struct sockaddr_in));
}

uint16_t
address_port(const struct sockaddr *sa)
{
	return (ntohs(sa->sa_family == AF_INET6 ? as_v6(sa)->sin6_port
						: as_v4(sa)->sin_port));
}

void
address_set_port(union address *a, uint16_t port)
{
	if (a->sa.sa_family == AF_INET6)
		a->v6.sin6_port = htons(port);
	else
		a->v4.sin_port = htons(port);
}

bool
address_eq(const struct sockaddr *a, const struct sockaddr *b)
{
	if (a->sa_family != b->sa_family)
		return (false);
	if (a->sa_family == AF_INET6)
		return (memcmp(&as_v6(a)->sin6_addr, &as_v6(b)->sin6_addr,
			    sizeof(struct in6_addr)) == 0);
	return (as_v4(a)->sin_addr.s_addr == as_v4(b)->sin_addr.s_addr);
}

bool
address_is_host(const struct sockaddr *sa)
{
	uint32_t v4;

	if (sa->sa_family == AF_INET6)
		return (!IN6_IS_ADDR_UNSPECIFIED(&as_v6(sa)->sin6_addr) &&
		    !IN6_IS_ADDR_MULTICAST(&as_v6(sa)->sin6_addr));
	/* 0.0.0.0/8 (this host, to Linux), 224/4, 255.255.255.255. */
	v4 = ntohl(as_v4(sa)->sin_addr.s_addr);
	return (v4 >> 24 != 0 && v4 >> 28 != 14 && v4 != 0xffffffff);
}

void
address_ip_text(const struct sockaddr *sa, char out[ADDRESS_TEXT])
{
	const void *p = sa->sa_family == AF_INET6
	    ? (const void *)&as_v6(sa)->sin6_addr
	    : (const void *)&as_v4(sa)->sin_addr;

	out[0] = '\0';
	(void)inet_ntop(sa->sa_family, p, out, ADDRESS_TEXT);
}

void
address_text(const struct sockaddr *sa, char out[ADDRESS_TEXT])
{
	char host[INET6_ADDRSTRLEN + 1];

	address_ip_text(sa, out);
	if (address_port(sa) == 0)
		return;
	(void)snprintf(host, sizeof(host), "%s", out);
	(void)snprintf(out, ADDRESS_TEXT,
	    sa->sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u", host,
	    address_port(sa));
}

static void
address_of_v4(union address *out, const void *bytes)
{
	memset(out, 0, sizeof(*out));
	out->v4.sin_family = AF_INET;
	memcpy(&out->v4.sin_addr, bytes, sizeof(out->v4.sin_addr));
}

bool
address_parse(struct str text, union address *out)
{
	char host[INET6_ADDRSTRLEN];
	struct in6_addr v6;
	struct in_addr v4;

	if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
		text = (struct str){ text.p + 1, text.n - 2 };
	/* Most names are told from literals by their first or last byte. */
	if (text.n < 2 || text.n >= sizeof(host) ||
	    (str_index(text, ':') == text.n &&
		(text.p[text.n - 1] < '0' || text.p[text.n - 1] > '9')))
		return (false);
	memcpy(host, text.p, text.n);
	host[text.n] = '\0';
	if (strlen(host) != text.n)
		return (false);
	if (inet_pton(AF_INET, host, &v4) == 1) {
		address_of_v4(out, &v4);
		return (true);
	}
	if (inet_pton(AF_INET6, host, &v6) != 1)
		return (false);
	if (IN6_IS_ADDR_V4MAPPED(&v6)) {
		address_of_v4(out, &v6.s6_addr[12]);
		return (true);
	}
	memset(out, 0, sizeof(*out));
	out->v6.sin6_family = AF_INET6;
	out->v6.sin6_addr = v6;
	return (true);
}
