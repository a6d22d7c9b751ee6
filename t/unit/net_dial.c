/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Happy eyeballs among loopback addresses that work, refuse and hang. */
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/budget.h"
#include "base/loop.h"
#include "base/arena.h"
#include "net/dial.h"
#include "t/unit/dns_server.h"
#include "t/unit/unit.h"

static const struct dns_entry entries[] = {
	{ .name = "good.test", .v4 = "127.0.0.2", .ttl = 300 },
	{ .name = "mixed.test", .v4 = "127.0.0.3 127.0.0.2", .ttl = 300 },
	{ .name = "slow.test", .v4 = "127.0.0.4 127.0.0.2", .ttl = 300 },
	{ .name = "slow2.test", .v4 = "127.0.0.4", .ttl = 300 },
	{ .name = "refused.test", .v4 = "127.0.0.3 127.0.0.5", .ttl = 300 },
	{ .name = "six.test", .v4 = "127.0.0.2", .v6 = "::1", .ttl = 300 },
	{ .name = "sixlate.test",
	    .v4 = "127.0.0.2",
	    .v6 = "::1",
	    .v6_ms = 300,
	    .ttl = 300 },
	{ .name = "fourlate.test",
	    .v4 = "127.0.0.2",
	    .v6 = "::1",
	    .v4_ms = 100,
	    .ttl = 300 },
	{ .name = "none.test", .a = SAYS_NO_NAME, .aaaa = SAYS_NO_NAME },
	{ .name = "silent.test", .a = SAYS_NOTHING, .aaaa = SAYS_NOTHING },
	{ .name = "zero.test",
	    .v4 = "0.0.0.0 224.0.0.1",
	    .v6 = "::",
	    .ttl = 300 },
};

static struct loop *loop;
static struct dns_server *server;
static struct resolver *resolver;
static struct dialer *dialer;
static struct task woken;
static struct timer limit;
static unsigned wakes;
static uint16_t port;
static int good, hangs, plug[4]; /* 127.0.0.2, 127.0.0.4 */

static void
on_wake(struct task *t)
{
	(void)t;
	wakes++;
	loop_stop(loop);
}

static void
on_limit(struct timer *t)
{
	(void)t;
	loop_stop(loop);
}

static void
run_ms(unsigned ms)
{
	timer_set(&limit, ms);
	loop_run(loop);
	timer_stop(&limit);
}

/* Port 0: any, which is left in port. */
static int
listener(const char *ip, uint16_t *at, int backlog)
{
	union address a;
	socklen_t n;
	int one = 1, fd;

	CU_ASSERT_FATAL(address_parse(str_of(ip), &a));
	address_set_port(&a, *at);
	fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	n = address_size(&a.sa);
	if (bind(fd, &a.sa, n) != 0 || listen(fd, backlog) != 0) {
		close(fd);
		return (-1);
	}
	getsockname(fd, &a.sa, &n);
	*at = address_port(&a.sa);
	return (fd);
}

/* Connections that nobody accepts fill its backlog: the next one hangs. */
static void
plug_it(void)
{
	union address a;
	unsigned i;

	CU_ASSERT(address_parse(STR("127.0.0.4"), &a));
	address_set_port(&a, port);
	for (i = 0; i < 4; i++) {
		plug[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(plug[i], &a.sa, address_size(&a.sa));
	}
}

static void
set_up(void)
{
	struct resolver_options o = { .deadline_ms = 400 };

	wakes = 0;
	port = 0;
	good = listener("127.0.0.2", &port, 100);
	hangs = listener("127.0.0.4", &port, 0);
	CU_ASSERT_FATAL(good >= 0 && hangs >= 0);
	plug_it();
	loop = loop_new();
	server = dns_server_new(loop, entries,
	    sizeof(entries) / sizeof(entries[0]));
	o.servers = dns_server_address(server);
	resolver = resolver_new(loop, &o, NULL);
	dialer = dialer_new(loop, resolver);
	task_init(&woken, loop, on_wake);
	timer_init(&limit, loop, on_limit);
}

static void
tear_down(void)
{
	unsigned i;

	dialer_free(&dialer);
	resolver_free(&resolver);
	dns_server_free(&server);
	timer_stop(&limit);
	task_fini(&woken);
	loop_free(&loop);
	for (i = 0; i < 4; i++)
		close(plug[i]);
	close(good);
	close(hangs);
}

static void
dial(struct dial *d, const char *host, const struct dial_options *o)
{
	unsigned before = wakes;

	dial_start(dialer, d, str_of(host), port, o, &woken);
	CU_ASSERT(!d->done && d->fd == -1);
	run_ms(4000);
	CU_ASSERT(d->done && wakes == before + 1);
	CU_ASSERT((d->fd >= 0) == (d->fault.code == ERR_NONE));
}

static bool
peer_is(const struct dial *d, const char *ip)
{
	union address a;

	return (address_parse(str_of(ip), &a) &&
	    address_eq(&a.sa, &d->peer.sa) &&
	    address_port(&d->peer.sa) == port && strcmp(d->peer_ip, ip) == 0);
}

static void
test_good(void)
{
	struct dial d;
	int v = 0;
	socklen_t n = sizeof(v);

	set_up();
	dial(&d, "good.test", NULL);
	CU_ASSERT(peer_is(&d, "127.0.0.2") && d.attempts == 1);
	CU_ASSERT((fcntl(d.fd, F_GETFL) & O_NONBLOCK) != 0);
	CU_ASSERT((fcntl(d.fd, F_GETFD) & FD_CLOEXEC) != 0);
	getsockopt(d.fd, IPPROTO_TCP, TCP_NODELAY, &v, &n);
	CU_ASSERT(v != 0);
	CU_ASSERT(write(d.fd, "x", 1) == 1);
	dial_cancel(&d);
	CU_ASSERT(d.fd == -1);
	dial(&d, "127.0.0.2", NULL);
	/* nobody was asked */
	CU_ASSERT(peer_is(&d, "127.0.0.2") && d.dns_ms < 50);
	close(d.fd);
	tear_down();
}

/* One that refuses: the next at once, and first the next time. */
static void
test_next(void)
{
	struct dial d;

	set_up();
	dial(&d, "mixed.test", NULL);
	CU_ASSERT(peer_is(&d, "127.0.0.2") && d.attempts == 2);
	CU_ASSERT(d.connect_ms < 200);
	close(d.fd);
	dial(&d, "mixed.test", NULL);
	CU_ASSERT(peer_is(&d, "127.0.0.2") && d.attempts == 1);
	close(d.fd);
	tear_down();
}

/* Attempts are their client's; where the share is used up there is none. */
static void
test_share(void)
{
	struct budget *budget = budget_new();
	struct dial_options o = { .account = account_open(budget, 1) };
	struct dial d;

	set_up();
	dial_start(dialer, &d, str_of("slow.test"), port, &o, &woken);
	run_ms(100);
	CU_ASSERT_EQUAL(account_used(o.account, BUDGET_DESCRIPTORS), 1);
	dial_cancel(&d);
	CU_ASSERT_EQUAL(account_used(o.account, BUDGET_DESCRIPTORS), 0);
	dial(&d, "slow.test", &o);
	CU_ASSERT(d.fd >= 0);
	CU_ASSERT_EQUAL(account_used(o.account, BUDGET_DESCRIPTORS), 0);
	close(d.fd);
	budget_set_limit(budget, BUDGET_DESCRIPTORS, 3);
	account_add(o.account, BUDGET_DESCRIPTORS, 1);
	dial(&d, "good.test", &o);
	CU_ASSERT_EQUAL(d.fault.code, ERR_DESCRIPTORS);
	account_give(o.account, BUDGET_DESCRIPTORS, 1);
	dial(&d, "good.test", &o);
	CU_ASSERT(d.fd >= 0);
	close(d.fd);
	account_unref(&o.account);
	tear_down();
	budget_free(&budget);
}

static void
test_slow(void)
{
	struct dial d;

	set_up();
	dial(&d, "slow.test", NULL);
	CU_ASSERT(peer_is(&d, "127.0.0.2") && d.attempts == 2);
	CU_ASSERT(d.connect_ms >= 240 && d.connect_ms < 900);
	close(d.fd);
	dial(&d, "slow.test", NULL); /* it is remembered */
	CU_ASSERT(d.attempts == 1 && d.connect_ms < 200);
	close(d.fd);
	tear_down();
}

static bool
not_good(void *arg, const struct sockaddr *sa)
{
	union address a;

	(*(unsigned *)arg)++;
	CU_ASSERT(address_port(sa) == port);
	return (address_parse(STR("127.0.0.2"), &a) && !address_eq(sa, &a.sa));
}

static void
test_check(void)
{
	unsigned asked = 0;
	struct dial_options o = { .check = not_good, .arg = &asked };
	struct dial d;

	set_up();
	dial(&d, "good.test", &o);
	CU_ASSERT(d.fault.code == ERR_DEST_DENIED && d.attempts == 0);
	CU_ASSERT(asked == 1);
	dial(&d, "127.0.0.2", &o);
	CU_ASSERT(d.fault.code == ERR_DEST_DENIED && d.attempts == 0);
	asked = 0;
	dial(&d, "mixed.test", &o); /* the other one refuses */
	CU_ASSERT(d.fault.code == ERR_CONNECT_REFUSED && d.attempts == 1);
	CU_ASSERT(asked == 2);
	dial(&d, "zero.test", NULL);
	CU_ASSERT(d.fault.code == ERR_DEST_DENIED && d.attempts == 0);
	dial(&d, "[::]", NULL);
	CU_ASSERT(d.fault.code == ERR_DEST_DENIED && d.attempts == 0);
	tear_down();
}

static void
test_faults(void)
{
	struct dial_options o = { .connect_timeout_ms = 300 };
	struct dial d;

	set_up();
	dial(&d, "refused.test", NULL);
	CU_ASSERT(d.fault.code == ERR_CONNECT_REFUSED && d.attempts == 2);
	CU_ASSERT(strstr(d.fault.detail, "127.0.0.3:") != NULL);
	dial(&d, "slow2.test", &o);
	CU_ASSERT(d.fault.code == ERR_CONNECT_TIMEOUT);
	CU_ASSERT(d.connect_ms >= 290 && d.connect_ms < 1000);
	dial(&d, "none.test", NULL);
	CU_ASSERT(d.fault.code == ERR_DNS_NAME && d.attempts == 0);
	dial(&d, "silent.test", NULL);
	CU_ASSERT(d.fault.code == ERR_DNS_TIMEOUT && d.dns_ms >= 300);
	dial(&d, "not a name", NULL);
	CU_ASSERT(d.fault.code == ERR_DNS_NAME);
	tear_down();
}

static void
test_families(void)
{
	struct dial d;
	int six;

	set_up();
	six = listener("::1", &port, 100);
	if (six < 0) {
		printf("# no ::1 on this machine\n");
		tear_down();
		return;
	}
	dial(&d, "six.test", NULL);
	CU_ASSERT(peer_is(&d, "::1") && d.attempts == 1);
	close(d.fd);
	dial(&d, "fourlate.test", NULL); /* does not wait for A */
	CU_ASSERT(peer_is(&d, "::1") && d.dns_ms < 90);
	close(d.fd);
	dial(&d, "sixlate.test", NULL); /* waits 50 ms for AAAA */
	CU_ASSERT(peer_is(&d, "127.0.0.2"));
	CU_ASSERT(d.dns_ms >= 45 && d.dns_ms < 250);
	close(d.fd);
	close(six);
	tear_down();
}

/* IPv6 that never works here is not tried first for ever. */
static void
test_bad_family(void)
{
	struct dial d;
	int other[4];
	unsigned i;

	set_up();
	for (i = 0; i < 4; i++) {
		port = 0;
		other[i] = listener("127.0.0.2", &port, 10);
		dial(&d, "six.test", NULL);
		CU_ASSERT(peer_is(&d, "127.0.0.2"));
		CU_ASSERT(d.attempts == (i < 3 ? 2 : 1));
		close(d.fd);
	}
	for (i = 0; i < 4; i++)
		close(other[i]);
	tear_down();
}

/* From where, and what if that is nowhere. */
static void
test_source(void)
{
	struct egress from = { .dscp = 10 };
	struct dial_options o = { .from = &from };
	struct arena *a = arena_new();
	union address seen;
	char why[NETS_WHY];
	struct dial d;
	int fd, tos = 0;

	set_up();
	CU_ASSERT(nets_add(&from.addresses, a, "127.0.0.8/30", why));
	for (o.slot = 0; o.slot < 5; o.slot++) {
		dial(&d, "127.0.0.2", &o);
		CU_ASSERT_EQUAL_FATAL(d.fault.code, ERR_NONE);
		fd = accept(good, &seen.sa, &(socklen_t){ sizeof(seen) });
		CU_ASSERT_EQUAL(ntohl(seen.v4.sin_addr.s_addr),
		    0x7f000008 + o.slot % 4);
		CU_ASSERT(getsockopt(d.fd, IPPROTO_IP, IP_TOS, &tos,
			      &(socklen_t){ sizeof(tos) }) == 0);
		CU_ASSERT_EQUAL(tos, 10 << 2);
		close(fd);
		close(d.fd);
	}
	/* What is not ours is passed over; nothing else is taken instead. */
	memset(&from.addresses, 0, sizeof(from.addresses));
	CU_ASSERT(nets_add(&from.addresses, a, "192.0.2.1", why));
	o.slot = 0;
	dial(&d, "127.0.0.2", &o);
	CU_ASSERT_EQUAL(d.fault.code, ERR_NO_PORTS);
	CU_ASSERT(nets_add(&from.addresses, a, "127.0.0.7", why));
	dial(&d, "127.0.0.2", &o);
	CU_ASSERT_EQUAL(d.fault.code, ERR_NONE);
	close(d.fd);
	/* A family that has none is not used. */
	memset(&from.addresses, 0, sizeof(from.addresses));
	CU_ASSERT(nets_add(&from.addresses, a, "2001:db8::1", why));
	dial(&d, "127.0.0.2", &o);
	CU_ASSERT_EQUAL(d.fault.code, ERR_CONNECT_FAIL);
	memset(&from.addresses, 0, sizeof(from.addresses));
	from.device = "none-such";
	dial(&d, "127.0.0.2", &o);
	CU_ASSERT_EQUAL(d.fault.code, ERR_CONNECT_FAIL);
	tear_down();
	arena_free(&a);
}

static unsigned
count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return (n);
}

static void
test_cancel(void)
{
	static const char *const hosts[] = { "good.test", "slow.test",
		"silent.test", "sixlate.test", "mixed.test" };
	struct dial d, idle = { 0 };
	unsigned i, ms, before;

	set_up();
	dial_cancel(&idle);
	dial(&d, "good.test", NULL);
	dial_cancel(&d);
	run_ms(1);
	before = count_fds();
	wakes = 0;
	for (i = 0; i < 5; i++)
		for (ms = 0; ms < 90; ms += 15) {
			dial_start(dialer, &d, str_of(hosts[i]), port, NULL,
			    &woken);
			if (ms > 0)
				run_ms(ms);
			dial_cancel(&d);
			dial_cancel(&d);
		}
	run_ms(1);
	run_ms(500);
	CU_ASSERT(count_fds() <= before);
	tear_down();
}

UNIT_TESTS(proxy_dial, { "a name, a literal", test_good },
    { "refused: the next one at once", test_next },
    { "hanging: the next one after 250 ms", test_slow },
    { "a share of the descriptors", test_share },
    { "every candidate is checked", test_check }, { "faults", test_faults },
    { "families", test_families }, { "IPv6 that never works", test_bad_family },
    { "source address, connection to itself", test_source },
    { "cancelled at any moment", test_cancel })
