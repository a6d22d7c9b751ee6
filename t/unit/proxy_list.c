/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists: what lines of each format cover, tables, files and folders. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "net/nets.h"
#include "proxy/policy/list_priv.h"
#include "t/unit/unit.h"

#define CHECK_ROW(i, what, is)                                         \
	do {                                                           \
		bool row_is = (is);                                    \
		if (!row_is)                                           \
			printf("# row %u: %s\n", (unsigned)(i), what); \
		CU_ASSERT(row_is);                                     \
	} while (0)

static char dir[] = "/tmp/assay-list-XXXXXX";
static struct list_report report;
static struct fault fault;

static const char *
path_of(const char *name)
{
	static char path[4][300];
	static unsigned turn;

	turn = (turn + 1) % 4;
	snprintf(path[turn], sizeof(path[0]), "%s/%s", dir, name);
	return (path[turn]);
}

static void
put(const char *name, const char *text, size_t n)
{
	FILE *f = fopen(path_of(name), "w");

	CU_ASSERT_FATAL(f != NULL && fwrite(text, 1, n, f) == n);
	fclose(f);
}

static struct list *
load_as(const struct list_options *as, struct list *old, const char *text)
{
	struct list_options o = *as;

	put("list", text, strlen(text));
	o.path = path_of("list");
	list_report_fini(&report);
	fault = (struct fault){ 0 };
	return (list_load(&o, old, &report, &fault));
}

static const struct list_options usual = { .name = "l",
	.max_bad = 1,
	.max_shrink = 20,
	.max_growth = 10,
	.max_size = 1 << 20 };

static bool
has_host(const struct list *l, unsigned category, const char *host)
{
	struct list_key k;

	list_key(&k, str_of(host), false);
	return (list_has_host(l, category, &k));
}

static bool
has_address(const struct list *l, const char *text)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct nets_addr a;

	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		nets_addr_of((struct sockaddr *)&in, &a);
	else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
		nets_addr_of((struct sockaddr *)&in6, &a);
	else
		return (false);
	return (list_has_address(l, 0, &a));
}

/* "a" host, "/" in it: URL, "@" in front: address. */
static bool
has(const struct list *l, const char *what)
{
	if (what[0] == '@')
		return (has_address(l, what + 1));
	if (strchr(what, '/') != NULL)
		return (list_has_url(l, 0, str_of(what)));
	return (has_host(l, 0, what));
}

static void
test_formats(void)
{
	static const struct {
		enum list_format format;
		const char *text;
		const char *in[8], *out[8];
		unsigned bad, skipped;
	} rows[] = {
		{ LIST_DOMAINS,
		    "a.example\n=b.example\n*.c.example\n.d.example",
		    { "a.example", "x.a.example", "b.example", "y.c.example",
			"d.example", "z.d.example" },
		    { "xa.example", "x.b.example", "c.example", "example" }, 0,
		    0 },
		{ LIST_SQUID, ".a.example\nb.example\n",
		    { "a.example", "x.a.example", "b.example" },
		    { "x.b.example" }, 0, 0 },
		{ LIST_HOSTS,
		    "127.0.0.1 localhost\n0.0.0.0 a.example b.example # c\n"
		    "::1 ip6-localhost\n255.255.255.255 broadcasthost\n",
		    { "a.example", "b.example" },
		    { "x.a.example", "localhost", "c", "ip6-localhost" }, 0,
		    0 },
		{ LIST_URLS,
		    "https://a.example/x/y\nb.example/p?q=1\nc.example\n"
		    "d.example/%7Eu/\n",
		    { "https://a.example/x/y", "http://a.example:8443/x/y/z",
			"https://a.example/x/y?k", "https://b.example/p?q=1",
			"c.example", "x.c.example", "http://d.example/~u/v",
			"http://A.example./x/y" },
		    { "https://a.example/x/yy", "https://a.example/x",
			"https://b.example/p", "https://b.example/p?q=12",
			"a.example", "https://x.a.example/x/y",
			"https://d.example/~u" },
		    0, 0 },
		{ LIST_CIDR,
		    "192.0.2.0/24\n198.51.100.7\n203.0.113.4-203.0.113.6\n"
		    "2001:db8::/32\n[2001:db9::1]\n0.0.0.0/33\n",
		    { "@192.0.2.255", "@198.51.100.7", "@203.0.113.5",
			"@2001:db8:ffff::1", "@2001:db9::1",
			"@::ffff:192.0.2.1" },
		    { "@192.0.3.0", "@203.0.113.7", "@2001:db9::2" }, 1, 0 },
		{ LIST_ADBLOCK,
		    "[Adblock Plus 2.0]\n! c\n||a.example^\n@@||ok.a.example^\n"
		    "||no.ok.a.example^$important\nplain.example\n##.ad\n"
		    "||b.example/path^\n||c.example^$third-party\n",
		    { "a.example", "x.a.example", "no.ok.a.example",
			"plain.example" },
		    { "ok.a.example", "x.ok.a.example", "b.example",
			"c.example" },
		    0, 3 },
		{ LIST_RPZ,
		    "$TTL 2h\n$ORIGIN rpz.test.\n@ IN SOA a. b. (1 2 3 4 5)\n"
		    "  IN NS x.\n@ NS x.\na.example CNAME .\n*.b.example 60 IN "
		    "CNAME *.\nok.b.example CNAME rpz-passthru.\n"
		    "c.example.rpz.test. A 192.0.2.1\n"
		    "24.0.2.0.192.rpz-ip CNAME .\n48.zz.1.db8.2001.rpz-ip "
		    "CNAME . ; c\n32.1.0.0.127.rpz-client-ip CNAME .\n",
		    { "a.example", "x.b.example", "c.example", "@192.0.2.9",
			"@2001:db8:1::5" },
		    { "x.a.example", "b.example", "ok.b.example",
			"c.example.rpz.test", "@192.0.3.1", "@127.0.0.1" },
		    0, 1 },
		{ LIST_URLS,
		    "a.example/a%2fb\nb.example/1/2/3/4/5/6/7/8/9/10/11\n",
		    { "https://a.example/a%2Fb", "https://a.example/a%2fb/c",
			"https://b.example/1/2/3/4/5/6/7/8/9/10/11?x",
			"https://b.example/1/2/3/4/5/6/7/8/9/10/11/12" },
		    { "https://a.example/a/b",
			"https://b.example/1/2/3/4/5/6/7/8/9/10/12" },
		    0, 0 },
		{ LIST_CIDR, "::/8\n::1\n::ffff:192.0.2.1\n100::/64\n",
		    { "@::1", "@192.0.2.1", "@100::1", "@::2:0:0:1" },
		    { "@203.0.113.1", "@192.0.2.2" }, 0, 0 },
		{ LIST_ADBLOCK, "||192.0.2.1^\n@@||192.0.2.2^\n",
		    { "@192.0.2.1" }, { "@192.0.2.2" }, 0, 1 },
		{ LIST_RPZ,
		    "$ORIGIN rpz.test.\n@ IN SOA a. b. 1 2 3 4 5\nok.b.example "
		    "1h CNAME rpz-passthru.\n*.b.example 30 CNAME .\n$ORIGIN "
		    "example.rpz.test.\nevil CNAME .\n$ORIGIN rpz.test.\n"
		    "last.example CNAME .\n",
		    { "evil.example", "x.b.example", "last.example" },
		    { "ok.b.example", "evil", "last.example.example" }, 0, 0 },
		{ LIST_URLS,
		    "b\xc3\xbc"
		    "cher.example/stra\xc3\x9f"
		    "e\n[2001:DB8:0::1]:8080/x\np.example/a?id=1\n",
		    { "https://xn--bcher-kva.example/stra%c3%9fe/1",
			"http://[2001:db8::1]/x", "https://p.example/a?id=1",
			"https://p.example/a?id=1&more=2" },
		    { "https://p.example/a?id=12", "https://p.example/a",
			"https://p.example/a?x&id=1" },
		    0, 0 },
		/* what imports bring along */
		{ LIST_DOMAINS, "# old\r\ra.example\r b.example \r",
		    { "a.example", "b.example" }, { "old" }, 0, 0 },
		{ LIST_HOSTS, "## Part 1\n####\n0.0.0.0 a.example\n",
		    { "a.example" }, { "x.a.example" }, 0, 0 },
		{ LIST_CIDR,
		    "; Last-Modified: now\n192.0.2.0/24 ; SBL1\n"
		    "198.51.100.0/24 # c\n",
		    { "@192.0.2.1", "@198.51.100.1" }, { "@192.0.3.1" }, 0, 0 },
		{ LIST_DOMAINS,
		    "\xef\xbb\xbf"
		    "A.Example\r\n\r\n  b.example  # c\n\tc.example.\t\n"
		    "d.example:443\nhttps://e.example/\nb\xc3\xbc"
		    "cher.example\n192.0.2.1\n[2001:db8::1]:8080\n# x\n"
		    "_sip.f.example",
		    { "a.example", "b.example", "c.example", "d.example",
			"e.example", "xn--bcher-kva.example", "@192.0.2.1",
			"@2001:db8::1" },
		    { "c", "x" }, 0, 0 },
		{ LIST_DOMAINS,
		    "good.example\na..b\n-\xff.example\nx y\nh/p\n1.2.3\n"
		    "\x01.example\nlabel-of-more-than-sixty-three-octets-is-no-"
		    "label-at-all-anywhere-in.example\n",
		    { "good.example" }, { "a..b", "p", "y" }, 7, 0 },
	};
	struct list_options o = usual;
	struct list *l;
	unsigned i, k;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		o.format = rows[i].format;
		for (o.opens = false;; o.opens = true) {
			l = load_as(&o, NULL, rows[i].text);
			CHECK_ROW(i, fault.detail, l != NULL);
			if (l == NULL)
				break;
			for (k = 0; k < 8 && rows[i].in[k] != NULL; k++)
				CHECK_ROW(i, rows[i].in[k],
				    has(l, rows[i].in[k]));
			for (k = 0; k < 8 && rows[i].out[k] != NULL; k++)
				CHECK_ROW(i, rows[i].out[k],
				    !has(l, rows[i].out[k]));
			CHECK_ROW(i, report.text != NULL ? report.text : "bad",
			    report.bad == rows[i].bad);
			CHECK_ROW(i, "skipped",
			    report.skipped == rows[i].skipped);
			list_unref(&l);
			if (o.opens)
				break;
		}
	}
}

/* Told from the first lines. */
static void
test_guess(void)
{
	static const struct {
		const char *text;
		enum list_format format;
	} rows[] = {
		{ "a.example\nb.example\n", LIST_DOMAINS },
		{ "# c\n.a.example\nb.example\n", LIST_SQUID },
		{ "# hosts\n0.0.0.0 a.example\n127.0.0.1 b.example\n",
		    LIST_HOSTS },
		{ "a.example/x\n", LIST_URLS },
		{ "http://a.example/\n", LIST_URLS },
		{ "10.0.0.0/8\n192.0.2.1\n", LIST_CIDR },
		{ "||a.example^\n", LIST_ADBLOCK },
		{ "[Adblock Plus]\na.example\n", LIST_ADBLOCK },
		{ "a.example##.banner\n##.x\n", LIST_ADBLOCK },
		{ "## Part 1\n####\n0.0.0.0 a.example\n", LIST_HOSTS },
		{ "a.example\n## Part 1\n", LIST_DOMAINS },
		{ "a.example\rb.example\r/x\r", LIST_URLS },
		{ ".a.example\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\n", LIST_DOMAINS },
		{ "$TTL 60\na.example CNAME .\n", LIST_RPZ },
		{ "", LIST_DOMAINS },
	};
	unsigned i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK_ROW(i, rows[i].text,
		    list_guess(rows[i].text, strlen(rows[i].text)) ==
			rows[i].format);
}

/* A file that is another thing than it says is refused. */
static void
test_refused(void)
{
	static const char page[] =
	    "<!DOCTYPE html>\n<html>\n<head>\n<title>404</title>\n</head>\n"
	    "<body>\n<h1>Not found</h1>\n<p>x</p>\n<p>y</p>\n<p>z</p>\n"
	    "</body>\n</html>\n";
	struct list_options o = usual;
	struct list *l, *again;
	char *many = malloc(200000);
	size_t n = 0;
	unsigned i;

	o.format = LIST_DOMAINS;
	CU_ASSERT(load_as(&o, NULL, page) == NULL && fault.code == ERR_CONFIG);
	CU_ASSERT(report.shown <= LIST_SHOWN && report.text != NULL);
	CU_ASSERT(load_as(&o, NULL, "") == NULL);
	CU_ASSERT(load_as(&o, NULL, "# only\n\n") == NULL);
	o.max_size = 10;
	CU_ASSERT(load_as(&o, NULL, "a.example\nb.example\n") == NULL);
	o.max_size = 1 << 20;
	o.sha256 = "0000000000000000000000000000000000000000000000000000000000"
		   "000000";
	CU_ASSERT(load_as(&o, NULL, "a.example\n") == NULL);
	o.sha256 = NULL;
	o.path = path_of("nowhere");
	CU_ASSERT(list_load(&o, NULL, &report, &fault) == NULL);
	/* A list that opens something has no public suffixes. */
	o.opens = true;
	l = load_as(&o, NULL, "com\nco.uk\nbank.example\n=org\n");
	CU_ASSERT_FATAL(l != NULL);
	CU_ASSERT(report.bad == 2 && !has(l, "x.com") && !has(l, "a.co.uk"));
	CU_ASSERT(has(l, "bank.example") && has(l, "org") && !has(l, "x.org"));
	list_unref(&l);
	o.opens = false;
	/* And one that closes something excepts none. */
	o.format = LIST_ADBLOCK;
	l = load_as(&o, NULL, "||a.example.com^\n@@||com^\n@@||ok.com^\n");
	CU_ASSERT_FATAL(l != NULL);
	CU_ASSERT(report.bad == 1 && has(l, "a.example.com"));
	list_unref(&l);
	o.format = LIST_RPZ;
	l = load_as(&o, NULL,
	    "a.example.co.uk CNAME .\n*.co.uk CNAME rpz-passthru.\n");
	CU_ASSERT_FATAL(l != NULL);
	CU_ASSERT(report.bad == 1 && has(l, "a.example.co.uk"));
	list_unref(&l);
	o.format = LIST_DOMAINS;
	for (i = 0; i < 1000; i++)
		n += (size_t)sprintf(many + n, "host-%u.example\n", i);
	l = load_as(&o, NULL, many);
	CU_ASSERT_FATAL(l != NULL && list_count(l) == 1000);
	CU_ASSERT(load_as(&o, l, "a.example\n") == NULL);
	CU_ASSERT(strstr(fault.detail, "max_shrink") != NULL);
	again = load_as(&o, NULL, "a.example\n");
	CU_ASSERT_FATAL(again != NULL);
	CU_ASSERT(load_as(&o, again, many) == NULL);
	CU_ASSERT(strstr(fault.detail, "max_growth") != NULL);
	list_unref(&again);
	list_unref(&l);
	/* What has not changed is not read again. */
	l = load_as(&o, NULL, "a.example\n");
	o.path = path_of("list");
	again = list_load(&o, l, &report, &fault);
	CU_ASSERT_PTR_EQUAL(again, l);
	list_unref(&again);
	list_unref(&l);
	free(many);
}

/* Lines without end, without text, and cut at every place of a block. */
static void
test_odd_files(void)
{
	struct list_options o = usual;
	size_t n = (1 << 20) + 20, i;
	char *text = malloc(n + 100);
	struct list *l;

	o.format = LIST_DOMAINS;
	o.max_size = 1 << 22;
	memset(text, 'x', n);
	memcpy(text, "a.example\n", 10);
	memcpy(text + n - 20, "\nb.example\n", 11);
	memset(text + n - 9, '\n', 9);
	put("list", text, n);
	o.path = path_of("list");
	l = list_load(&o, NULL, &report, &fault);
	CU_ASSERT_FATAL(l != NULL);
	CU_ASSERT(has(l, "a.example") && has(l, "b.example"));
	CU_ASSERT(list_count(l) == 2 && report.bad == 1);
	list_unref(&l);
	list_report_fini(&report);
	for (i = 0; i < 12; i++) {
		memset(text, '\n', n);
		memcpy(text + (1 << 20) - i, "abc.example", 11);
		put("list", text, n);
		l = list_load(&o, NULL, &report, &fault);
		CU_ASSERT_FATAL(l != NULL);
		CU_ASSERT(list_count(l) == 1 && has(l, "abc.example"));
		list_unref(&l);
		list_report_fini(&report);
	}
	put("list", "a.example\n\0b.example\nc.example\n", 31);
	l = list_load(&o, NULL, &report, &fault);
	CU_ASSERT_FATAL(l != NULL);
	CU_ASSERT(report.bad == 1 && list_count(l) == 2);
	list_unref(&l);
	list_report_fini(&report);
	free(text);
}

static void
test_folder(void)
{
	struct list_options o = usual;
	struct list *l;

	mkdir(path_of("ut1"), 0700);
	mkdir(path_of("ut1/bank"), 0700);
	mkdir(path_of("ut1/games"), 0700);
	mkdir(path_of("ut1/empty"), 0700);
	put("ut1/bank/domains", "bank.example\nboth.example\n", 26);
	put("ut1/games/domains", "games.example\nboth.example\n", 27);
	put("ut1/games/urls", "x.example/games\n", 16);
	o.path = path_of("ut1");
	o.format = LIST_UT1;
	o.opens = true;
	l = list_load(&o, NULL, &report, &fault);
	CU_ASSERT_FATAL(l != NULL);
	CU_ASSERT(list_category(l, "bank") == 1 &&
	    list_category(l, "games") == 2 && list_category(l, "empty") == 0);
	CU_ASSERT(has_host(l, 0, "www.bank.example"));
	CU_ASSERT(has_host(l, 1, "bank.example"));
	CU_ASSERT(!has_host(l, 2, "bank.example"));
	CU_ASSERT(
	    has_host(l, 1, "both.example") && has_host(l, 2, "both.example"));
	CU_ASSERT(list_has_url(l, 2, STR("http://x.example/games/1")));
	CU_ASSERT(!list_has_url(l, 1, STR("http://x.example/games/1")));
	list_unref(&l);
	list_report_fini(&report);
}

/* All that was put in is found, nothing else is, and it is small. */
static void
test_many(void)
{
	struct list_options o = usual;
	unsigned n = 200000, i, wrong = 0;
	FILE *f = fopen(path_of("list"), "w");
	char name[64];
	struct list *l;

	CU_ASSERT_FATAL(f != NULL);
	for (i = 0; i < n; i++)
		fprintf(f, "h%x.d%u.example\n", i * 2654435761u, i % 1000);
	fprintf(f, "h%x.d%u.example\n", 0, 0); /* twice */
	fclose(f);
	o.format = LIST_DOMAINS;
	o.max_size = 1 << 30;
	o.path = path_of("list");
	l = list_load(&o, NULL, &report, &fault);
	CU_ASSERT_FATAL(l != NULL);
	CU_ASSERT_EQUAL(list_count(l), n);
	CU_ASSERT(list_bytes(l) < n * 9);
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "www.h%x.d%u.example",
		    i * 2654435761u, i % 1000);
		wrong += !has_host(l, 0, name);
		snprintf(name, sizeof(name), "h%x.e%u.example", i * 2654435761u,
		    i % 1000);
		wrong += has_host(l, 0, name);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	list_unref(&l);
	list_report_fini(&report);
	o.opens = true; /* it would not be exact */
	CU_ASSERT(list_load(&o, NULL, &report, &fault) == NULL);
	list_report_fini(&report);
}

/* Random lines in every format: no crash, and the tables hold. */
static void
test_noise(void)
{
	static const char
	    alphabet[] = "ab.=*/|^@$#;! \t\r-_0129[]:%CNAMErpzi\n";
	struct list_options o = usual;
	char text[400];
	struct list *l;
	unsigned i, k, n;

	o.max_bad = 100;
	for (i = 0; i < 3000; i++) {
		n = unit_random(sizeof(text) - 1);
		for (k = 0; k < n; k++)
			text[k] = unit_random(40) == 0
			    ? (char)(1 + unit_random(255))
			    : alphabet[unit_random(sizeof(alphabet) - 1)];
		text[n] = '\0';
		o.format = (enum list_format)unit_random(LIST_UT1);
		o.opens = unit_random(2) == 0;
		l = load_as(&o, NULL, text);
		if (l != NULL)
			CU_ASSERT(list_count(l) > 0);
		list_unref(&l);
	}
	list_report_fini(&report);
}

static void
test_clean_up(void)
{
	char command[400];

	snprintf(command, sizeof(command), "rm -r '%s'", dir);
	CU_ASSERT_EQUAL(system(command), 0);
}

int
main(void)
{
	static const struct unit_test tests[] = { { "formats", test_formats },
		{ "guessed", test_guess }, { "refused", test_refused },
		{ "odd files", test_odd_files }, { "folder", test_folder },
		{ "many", test_many }, { "noise", test_noise },
		{ "clean up", test_clean_up } };

	if (mkdtemp(dir) == NULL)
		return (1);
	return (
	    unit_main("proxy_list", tests, sizeof(tests) / sizeof(tests[0])));
}
