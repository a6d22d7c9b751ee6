/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sets of networks: spellings of addresses, named sets, ourselves. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include "base/arena.h"
#include "proxy/conf/conf.h"
#include "net/nets.h"
#include "t/unit/unit.h"

static struct sockaddr_storage
addr(const char *text, uint16_t port)
{
	struct sockaddr_storage ss;
	struct sockaddr_in *in = (struct sockaddr_in *)&ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;

	memset(&ss, 0, sizeof(ss));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
	} else {
		CU_ASSERT_FATAL(
		    inet_pton(AF_INET6, text, &in6->sin6_addr) == 1);
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
	}
	return (ss);
}

static bool
matches(const char *block, const char *text)
{
	struct arena *a = arena_new();
	struct nets s = { 0 };
	struct sockaddr_storage ss = addr(text, 80);
	char why[NETS_WHY];
	bool is;

	CU_ASSERT(nets_add(&s, a, block, why));
	is = nets_match(&s, (const struct sockaddr *)&ss);
	arena_free(&a);
	return (is);
}

static void
test_match(void)
{
	static const struct {
		const char *block, *addr;
		bool is;
	} t[] = {
		{ "10.0.0.0/8", "10.255.0.1", true },
		{ "10.0.0.0/8", "11.0.0.1", false },
		{ "10.1.2.3", "10.1.2.3", true },
		{ "10.1.2.3", "10.1.2.4", false },
		{ "10.1.2.2/31", "10.1.2.3", true },
		{ "0.0.0.0/0", "8.8.8.8", true },
		{ "0.0.0.0/0", "2001:db8::1", false },
		{ "::/0", "8.8.8.8", true },
		{ "any", "8.8.8.8", true },
		{ "any", "2001:db8::1", true },
		{ "2001:db8::/32", "2001:db8:1::1", true },
		{ "2001:db8::/32", "2001:db9::1", false },
		{ "2001:db8::/65", "2001:db8::7fff:0:0:1", true },
		{ "2001:db8::/65", "2001:db8::8000:0:0:1", false },
		{ "::1", "::1", true },
		{ "::1", "::2", false },
		{ "loopback", "127.8.9.10", true },
		{ "loopback", "::1", true },
		{ "loopback", "128.0.0.1", false },
		/* IPv4 inside IPv6 */
		{ "loopback", "::ffff:127.0.0.1", true },
		{ "loopback", "::127.0.0.1", true },
		{ "loopback", "64:ff9b::127.0.0.1", true },
		{ "loopback", "64:ff9b::7f00:1", true },
		{ "loopback", "2002:7f00:1::", true },
		{ "loopback", "2002:7f00:1::dead:beef", true },
		{ "loopback", "2003:7f00:1::", false },
		{ "loopback", "64:ff9b:1::7f00:1", false },
		{ "link_local", "169.254.169.254", true },
		{ "link_local", "::ffff:169.254.169.254", true },
		{ "link_local", "64:ff9b::a9fe:a9fe", true },
		{ "link_local", "fe80::1", true },
		{ "link_local", "febf::1", true },
		{ "link_local", "fec0::1", false },
		{ "link_local", "fd00:ec2::254", true },
		{ "link_local", "fd00:ec2::253", false },
		{ "private", "127.0.0.1", true },
		{ "private", "10.1.1.1", true },
		{ "private", "172.16.0.1", true },
		{ "private", "172.31.255.255", true },
		{ "private", "172.32.0.1", false },
		{ "private", "192.168.1.1", true },
		{ "private", "192.169.1.1", false },
		{ "private", "fd12::1", true },
		{ "private", "fe80::1", true },
		{ "private", "169.254.1.1", true },
		{ "private", "2001:db8::1", false },
		{ "2002::/16", "2002:7f00:1::", true },
		{ "64:ff9b::/96", "64:ff9b::1.2.3.4", true },
		{ "1.2.3.4", "64:ff9b::1.2.3.4", true },
		{ "::ffff:1.2.3.0/120", "1.2.3.4", true },
	};
	unsigned i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		if (matches(t[i].block, t[i].addr) != t[i].is)
			printf("# %s %s\n", t[i].block, t[i].addr);
		CU_ASSERT(matches(t[i].block, t[i].addr) == t[i].is);
	}
}

static void
test_refused(void)
{
	static const struct {
		const char *text, *why;
	} t[] = {
		{ "", "no network; write " },
		{ "/8", "no network; write " },
		{ "10.0.0.0/",
		    "no network, as its prefix is out of range; "
		    "0 to 32 is possible" },
		{ "10.0.0.0/33",
		    "no network, as its prefix is out of range; "
		    "0 to 32 is possible" },
		{ "10.0.0.0/08",
		    "no network, as its prefix is out of range; "
		    "0 to 32 is possible" },
		{ "10.0.0.0/-1",
		    "no network, as its prefix is out of range; "
		    "0 to 32 is possible" },
		{ "::/129",
		    "no network, as its prefix is out of range; "
		    "0 to 128 is possible" },
		{ "::/99999",
		    "no network, as its prefix is out of range; "
		    "0 to 128 is possible" },
		{ "10.0.0.1/8",
		    "no network, as bits beyond the prefix are "
		    "set; write '10.0.0.0/8'" },
		{ "2001:db8::1/64",
		    "no network, as bits beyond the prefix "
		    "are set; write '2001:db8::/64'" },
		{ "10.0.0", "no network; write " },
		{ "010.0.0.1", "no network; write " },
		{ "0x7f.0.0.1", "no network; write " },
		{ "2130706433", "no network; write " },
		{ "fe80::1%eth0", "no network; write " },
		{ "localhost", "no network; write " },
		{ "Private", "no network; write " },
		{ "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:"
		  "cccc:dddd:eeee:ffff",
		    "no network; write " },
	};
	struct arena *a = arena_new();
	struct nets s = { 0 };
	char why[NETS_WHY];
	unsigned i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		CU_ASSERT(!nets_add(&s, a, t[i].text, why));
		CU_ASSERT(strncmp(why, t[i].why, strlen(t[i].why)) == 0);
	}
	CU_ASSERT(s.n == 0);
	arena_free(&a);
}

static void
test_many(void)
{
	struct arena *a = arena_new();
	struct nets s = { 0 };
	char why[NETS_WHY], text[32];
	struct sockaddr_storage ss;
	struct nets_addr at;
	unsigned i;

	for (i = 0; i < 1000; i++) {
		snprintf(text, sizeof(text), "10.%u.%u.0/24", i / 250, i % 250);
		CU_ASSERT(nets_add(&s, a, text, why));
	}
	CU_ASSERT(s.n == 1000);
	ss = addr("10.3.249.9", 1);
	CU_ASSERT(nets_addr_of((struct sockaddr *)&ss, &at));
	CU_ASSERT_PTR_NOT_NULL_FATAL(nets_find(&s, &at, NETS_PLAIN));
	CU_ASSERT_STRING_EQUAL(nets_find(&s, &at, NETS_PLAIN)->name,
	    "10.3.249.0/24");
	ss = addr("10.3.250.9", 1);
	CU_ASSERT(!nets_match(&s, (struct sockaddr *)&ss));
	ss.ss_family = AF_UNIX;
	CU_ASSERT(!nets_match(&s, (struct sockaddr *)&ss));
	arena_free(&a);
}

static void
test_special(void)
{
	static const struct {
		const char *addr, *is;
	} t[] = {
		{ "0.0.0.0", "unspecified" },
		{ "0.1.2.3", "unspecified" },
		{ "::", "unspecified" },
		{ "::ffff:0.0.0.0", "unspecified" },
		{ "64:ff9b::", "unspecified" },
		{ "2002::", "unspecified" },
		{ "224.0.0.1", "multicast" },
		{ "239.9.9.9", "multicast" },
		{ "240.0.0.1", NULL },
		{ "255.255.255.255", "broadcast" },
		{ "ff02::1", "multicast" },
		{ "64:ff9b::e000:1", "multicast" },
		{ "::1", NULL },
		{ "127.0.0.1", NULL },
		{ "8.8.8.8", NULL },
		{ "2001:db8::1", NULL },
	};
	struct sockaddr_storage ss;
	struct nets_addr a;
	const char *is;
	unsigned i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		ss = addr(t[i].addr, 1);
		CU_ASSERT(nets_addr_of((struct sockaddr *)&ss, &a));
		is = nets_special(&a);
		CU_ASSERT((is == NULL) == (t[i].is == NULL));
		if (is != NULL && t[i].is != NULL)
			CU_ASSERT_STRING_EQUAL(is, t[i].is);
	}
}

static void
test_self(void)
{
	static const struct {
		const char *addr;
		uint16_t port;
		bool is;
	} t[] = {
		{ "192.0.2.7", 3128, true },
		{ "::ffff:192.0.2.7", 3128, true },
		{ "64:ff9b::192.0.2.7", 3128, true },
		{ "2002:c000:207::", 3128, true },
		{ "192.0.2.7", 3129, false },
		{ "192.0.2.8", 3128, false },
		/* all of this machine, by the wildcard */
		{ "0.0.0.0", 8080, true },
		{ "127.0.0.1", 8080, true },
		{ "127.9.9.9", 8080, true },
		{ "127.0.0.1", 3128, false },
		{ "198.51.100.1", 8080, false },
	};
	struct sockaddr_storage ss[2] = { addr("192.0.2.7", 3128),
		addr("0.0.0.0", 8080) };
	struct nets_addr a;
	unsigned i;

	nets_self_set(ss, 2);
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		ss[0] = addr(t[i].addr, t[i].port);
		CU_ASSERT(nets_addr_of((struct sockaddr *)&ss[0], &a));
		CU_ASSERT(nets_is_self(&a) == t[i].is);
	}
	ss[0] = addr("192.0.2.99", 1);
	nets_self_set(ss, 1); /* replaced */
	CU_ASSERT(!nets_is_self(&a));
	nets_addr_of((struct sockaddr *)&ss[0], &a);
	CU_ASSERT(nets_is_self(&a));
}

/* Whatever the port: loopback, and what the interfaces have. */
static void
test_machine(void)
{
	static const struct {
		const char *addr;
		bool is;
	} t[] = {
		{ "127.0.0.1", true },
		{ "127.9.9.9", true },
		{ "::1", true },
		{ "::ffff:127.0.0.1", true },
		{ "::", false },
		{ "0.0.0.0", false },
		{ "192.0.2.99", false },
		{ "2001:db8::1", false },
	};
	struct sockaddr_storage ss = addr("192.0.2.99", 1);
	struct ifaddrs *all, *it;
	struct nets_addr a;
	unsigned i;

	nets_self_set(&ss, 1);
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		ss = addr(t[i].addr, (uint16_t)(80 + i));
		CU_ASSERT(nets_addr_of((struct sockaddr *)&ss, &a));
		CU_ASSERT(nets_is_machine(&a) == t[i].is);
		CU_ASSERT(nets_is_loopback(&a) == t[i].is);
	}
	CU_ASSERT_FATAL(getifaddrs(&all) == 0);
	for (it = all; it != NULL; it = it->ifa_next)
		if (it->ifa_addr != NULL && nets_addr_of(it->ifa_addr, &a))
			CU_ASSERT(nets_is_machine(&a));
	freeifaddrs(all);
}

/* The destination rules of a configuration. */
static enum err
dest(const char *text, const char *to, uint16_t port, struct fault *f)
{
	struct conf_problems p = { 0 };
	struct conf *conf = conf_parse("t", text, strlen(text), &p);
	struct sockaddr_storage ss = addr(to, port);
	enum err r;

	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	*f = (struct fault){ 0 };
	r = conf_dest_check(conf, (struct sockaddr *)&ss, f);
	conf_unref(&conf);
	conf_problems_fini(&p);
	return (r);
}

static void
test_dest(void)
{
	static const struct {
		const char *conf, *to;
		uint16_t port;
		const char *why; /* NULL: allowed */
	} t[] = {
		{ "", "8.8.8.8", 443, NULL },
		{ "", "10.0.0.1", 443, NULL },
		{ "", "127.0.0.1", 443, "127.0.0.1 is in loopback" },
		{ "", "::ffff:127.0.0.1", 443, "127.0.0.1 is in loopback" },
		{ "", "64:ff9b::7f00:1", 443,
		    "64:ff9b::7f00:1 is in "
		    "loopback" },
		{ "", "169.254.169.254", 80,
		    "169.254.169.254 is in "
		    "link_local" },
		{ "", "0.0.0.0", 80, "0.0.0.0 is an unspecified address" },
		{ "", "::", 80, ":: is an unspecified address" },
		{ "", "ff02::1", 80, "ff02::1 is a multicast address" },
		{ "", "192.0.2.77", 3128, "192.0.2.77 is this proxy itself" },
		{ "", "192.0.2.77", 443, NULL },
		{ "destinations: {allow: [127.0.0.0/8]}", "127.0.0.1", 1,
		    NULL },
		{ "destinations: {allow: [127.0.0.0/8]}", "::1", 1,
		    "::1 is in loopback" },
		{ "destinations: {allow: ['64:ff9b::/96']}", "64:ff9b::7f00:1",
		    1, "64:ff9b::7f00:1 is in loopback" },
		{ "destinations: {allow: [any]}", "ff02::1", 1, NULL },
		{ "destinations: {allow: [any]}", "192.0.2.77", 3128,
		    "192.0.2.77 is this proxy itself" },
		{ "destinations: {allow: [any, self]}", "192.0.2.77", 3128,
		    NULL },
		{ "destinations: {allow: [self]}", "192.0.2.77", 3128, NULL },
		{ "destinations: {deny: []}", "127.0.0.1", 1, NULL },
		{ "destinations: {deny: []}", "192.0.2.77", 3128, NULL },
		{ "destinations: {deny: []}", "224.0.0.1", 1,
		    "224.0.0.1 is a multicast address" },
		{ "destinations: {deny: [private], allow: [10.1.0.0/16]}",
		    "10.1.2.3", 1, NULL },
		{ "destinations: {deny: [private], allow: [10.1.0.0/16]}",
		    "10.2.2.3", 1, "10.2.2.3 is in private" },
		{ "destinations: {deny: [10.2.0.0/16]}", "10.2.2.3", 1,
		    "10.2.2.3 is in 10.2.0.0/16" },
	};
	struct sockaddr_storage self = addr("192.0.2.77", 3128);
	struct fault f;
	unsigned i;

	nets_self_set(&self, 1);
	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		CU_ASSERT(dest(t[i].conf, t[i].to, t[i].port, &f) ==
		    (t[i].why == NULL ? ERR_NONE : ERR_DEST_DENIED));
		CU_ASSERT_STRING_EQUAL(f.detail,
		    t[i].why == NULL ? "" : t[i].why);
	}
}

static void
test_ports_and_clients(void)
{
	struct conf_problems p = { 0 };
	struct conf *conf = conf_load(NULL, &p);
	struct fault f = { 0 };
	struct sockaddr_storage ss;

	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	CU_ASSERT(conf_port_check(conf, true, 443, NULL) == ERR_NONE);
	CU_ASSERT(conf_port_check(conf, true, 1024, NULL) == ERR_NONE);
	CU_ASSERT(conf_port_check(conf, true, 65535, NULL) == ERR_NONE);
	CU_ASSERT(conf_port_check(conf, true, 80, NULL) == ERR_PORT_DENIED);
	CU_ASSERT(conf_port_check(conf, false, 80, NULL) == ERR_NONE);
	CU_ASSERT(conf_port_check(conf, false, 25, &f) == ERR_PORT_DENIED);
	CU_ASSERT_STRING_EQUAL(f.detail,
	    "port 25 is not among "
	    "destinations.ports.http");
	ss = addr("10.0.0.1", 5);
	CU_ASSERT(conf_client_check(conf, (void *)&ss, NULL) == ERR_NONE);
	ss = addr("::ffff:10.0.0.1", 5);
	CU_ASSERT(conf_client_check(conf, (void *)&ss, NULL) == ERR_NONE);
	/* a wrapped address is who it is, not what it wraps */
	ss = addr("2002:a00:1::", 5);
	CU_ASSERT(
	    conf_client_check(conf, (void *)&ss, NULL) == ERR_CLIENT_DENIED);
	ss = addr("8.8.8.8", 5);
	f = (struct fault){ 0 };
	CU_ASSERT(
	    conf_client_check(conf, (void *)&ss, &f) == ERR_CLIENT_DENIED);
	CU_ASSERT_STRING_EQUAL(f.detail, "8.8.8.8 is not among clients");
	conf_unref(&conf);
	conf_problems_fini(&p);
}

UNIT_TESTS(proxy_nets, { "blocks, names and embedded IPv4 match", test_match },
    { "texts that are no network are refused", test_refused },
    { "a thousand blocks", test_many }, { "special addresses", test_special },
    { "our own addresses", test_self },
    { "addresses of this machine", test_machine },
    { "destination rules", test_dest },
    { "ports and clients", test_ports_and_clients })
