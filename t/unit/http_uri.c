/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hosts, authorities, request targets. */
#include "http/uri.h"
#include "t/unit/http_help.h"

#define L63 "abcdefghijklmnopqrstuvwxyz-0123456789_ABCDEFGHIJKLMNOPQRSTUVWXY"
#define L63_LOW \
	"abcdefghijklmnopqrstuvwxyz-0123456789_abcdefghijklmnopqrstuvwxy"
#define L60 "abcdefghijklmnopqrstuvwxyz-0123456789_abcdefghijklmnopqrstuv"

static const struct {
	struct str text;
	const char *host; /* NULL: refused */
	bool ip, v6;
} hosts[] = {
	{ LIT("example.com"), "example.com", false, false },
	{ LIT("EXAMPLE.Com"), "example.com", false, false },
	{ LIT("example.com."), "example.com", false, false },
	{ LIT("localhost"), "localhost", false, false },
	{ LIT("x_y.-z.example"), "x_y.-z.example", false, false },
	{ LIT("1e100.net"), "1e100.net", false, false },
	{ LIT("0xdead.beef"), "0xdead.beef", false, false },
	{ LIT("3com"), "3com", false, false },
	{ LIT("1.2.3.4.com"), "1.2.3.4.com", false, false },
	{ LIT("0xg"), "0xg", false, false },
	{ LIT(L63 ".de"), L63_LOW ".de", false, false },
	{ LIT("127.0.0.1"), "127.0.0.1", true, false },
	{ LIT("255.255.255.255"), "255.255.255.255", true, false },
	{ LIT("0.0.0.0"), "0.0.0.0", true, false },
	{ LIT("127.0.0.1."), NULL, false, false },
	{ LIT("[::1]"), "::1", true, true },
	{ LIT("[0:0::0001]"), "::1", true, true },
	{ LIT("[2001:DB8::A]"), "2001:db8::a", true, true },
	{ LIT("[::ffff:127.0.0.1]"), "::ffff:127.0.0.1", true, true },
	{ LIT("[::]"), "::", true, true },
	/* other spellings of addresses */
	{ LIT("0x7f.0.0.1"), NULL, false, false },
	{ LIT("127.0.0.0x1"), NULL, false, false },
	{ LIT("127.1"), NULL, false, false },
	{ LIT("1.2.3"), NULL, false, false },
	{ LIT("2130706433"), NULL, false, false },
	{ LIT("0"), NULL, false, false },
	{ LIT("0x7f000001"), NULL, false, false },
	{ LIT("0X7F000001"), NULL, false, false },
	{ LIT("0x"), NULL, false, false },
	{ LIT("0177.0.0.1"), NULL, false, false },
	{ LIT("127.0.0.01"), NULL, false, false },
	{ LIT("00.0.0.0"), NULL, false, false },
	{ LIT("256.0.0.1"), NULL, false, false },
	{ LIT("1.2.3.4.5"), NULL, false, false },
	{ LIT("1.2.3.1000"), NULL, false, false },
	{ LIT("example.123"), NULL, false, false },
	{ LIT("example.0x10"), NULL, false, false },
	/* names that are none */
	{ LIT(""), NULL, false, false },
	{ LIT("."), NULL, false, false },
	{ LIT(".."), NULL, false, false },
	{ LIT(".com"), NULL, false, false },
	{ LIT("a..b"), NULL, false, false },
	{ LIT("a.b.."), NULL, false, false },
	{ LIT("a b"), NULL, false, false },
	{ LIT(" a"), NULL, false, false },
	{ LIT("a%2eb"), NULL, false, false },
	{ LIT("user@host"), NULL, false, false },
	{ LIT("host/path"), NULL, false, false },
	{ LIT("host:80"), NULL, false, false },
	{ LIT("host\\x"), NULL, false, false },
	{ LIT("h\0st"), NULL, false, false },
	{ LIT("h\xc3\xa4st"), NULL, false, false },
	{ LIT("a,b"), NULL, false, false },
	{ LIT("*"), NULL, false, false },
	{ LIT("a" L63 ".de"), NULL, false, false },
	{ LIT(L63 "." L63 "." L63 "." L63), NULL, false, false },
	/* literals that are none */
	{ LIT("::1"), NULL, false, false },
	{ LIT("[]"), NULL, false, false },
	{ LIT("[:]"), NULL, false, false },
	{ LIT("[::1"), NULL, false, false },
	{ LIT("[::1]x"), NULL, false, false },
	{ LIT("[::1%lo]"), NULL, false, false },
	{ LIT("[::1%25lo]"), NULL, false, false },
	{ LIT("[v1.a]"), NULL, false, false },
	{ LIT("[127.0.0.1]"), NULL, false, false },
	{ LIT("[::1\0]"), NULL, false, false },
	{ LIT("[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]"), NULL,
	    false, false },
};

static void
host(void)
{
	struct arena *a = arena_new();
	struct http_uri u;
	unsigned i;
	bool ok;

	for (i = 0; i < COUNT(hosts); i++) {
		u = (struct http_uri){ 0 };
		ok = http_host_parse(a, hosts[i].text, &u);
		CHECK_ROW(i, hosts[i].text.p, ok == (hosts[i].host != NULL));
		if (!ok)
			continue;
		CHECK_ROW(i, u.host.p, str_eq(u.host, str_of(hosts[i].host)));
		CU_ASSERT(u.host_is_ip == hosts[i].ip);
		CU_ASSERT(u.host_is_v6 == hosts[i].v6);
	}
	/* 253 octets are a name, 254 are not, a dot at the end is free */
	CU_ASSERT(
	    http_host_parse(a, STR(L63 "." L63 "." L63 "." L60 "a."), &u));
	CU_ASSERT(u.host.n == 253);
	CU_ASSERT(
	    !http_host_parse(a, STR(L63 "." L63 "." L63 "." L60 "ab"), &u));
	arena_free(&a);
}

static const struct {
	const char *text;
	uint16_t def;
	const char *host; /* NULL: refused */
	uint16_t port;
	bool given;
} authorities[] = {
	{ "a.example", 80, "a.example", 80, false },
	{ "a.example:", 80, "a.example", 80, false },
	{ "a.example:80", 80, "a.example", 80, true },
	{ "A.example:8080", 80, "a.example", 8080, true },
	{ "a:65535", 0, "a", 65535, true },
	{ "a:00443", 0, "a", 443, true },
	{ "[::1]", 443, "::1", 443, false },
	{ "[::1]:1", 443, "::1", 1, true },
	{ "1.2.3.4:443", 0, "1.2.3.4", 443, true },
	{ "", 80, NULL, 0, false },
	{ ":80", 80, NULL, 0, false },
	{ "a", 0, NULL, 0, false },
	{ "a:", 0, NULL, 0, false },
	{ "a:0", 80, NULL, 0, false },
	{ "a:65536", 80, NULL, 0, false },
	{ "a:000443", 80, NULL, 0, false },
	{ "a:+80", 80, NULL, 0, false },
	{ "a:-1", 80, NULL, 0, false },
	{ "a: 80", 80, NULL, 0, false },
	{ "a:80 ", 80, NULL, 0, false },
	{ "a:0x50", 80, NULL, 0, false },
	{ "a:80:80", 80, NULL, 0, false },
	{ "a:80/", 80, NULL, 0, false },
	{ "::1:80", 80, NULL, 0, false },
	{ "[::1]80", 80, NULL, 0, false },
	{ "[::1", 80, NULL, 0, false },
	{ "u@a:80", 80, NULL, 0, false },
	{ "u:p@a:80", 80, NULL, 0, false },
};

static void
authority(void)
{
	struct arena *a = arena_new();
	struct http_uri u;
	unsigned i;
	bool ok;

	for (i = 0; i < COUNT(authorities); i++) {
		u = (struct http_uri){ 0 };
		ok = http_authority_parse(a, str_of(authorities[i].text),
		    authorities[i].def, &u);
		CHECK_ROW(i, authorities[i].text,
		    ok == (authorities[i].host != NULL));
		if (!ok)
			continue;
		CHECK_ROW(i, u.host.p,
		    str_eq(u.host, str_of(authorities[i].host)));
		CHECK_ROW(i, "port",
		    u.port == authorities[i].port &&
			u.port_given == authorities[i].given);
	}
	CU_ASSERT(!http_authority_parse(a, STR_NONE, 80, &u));
	arena_free(&a);
}

#define PLAIN 0   /* the explicit port */
#define PAGES 1   /* the same, serving pages of its own */
#define TUNNEL 2  /* inside CONNECT a.example:443 */
#define TUNNEL8 3 /* inside CONNECT [::1]:8443 */
#define LED 4     /* led here on its way to 203.0.113.80:8080 */

static const struct {
	unsigned where;
	const char *line; /* method, target, version's digit, Host lines */
	enum err err;
	const char *uri;  /* as printed */
	const char *host; /* the field afterwards */
} targets[] = {
	/* absolute-form */
	{ PLAIN, "GET http://a.example/p?q HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_NONE, "http://a.example/p?q", "a.example" },
	{ PLAIN, "GET HTTP://A.Example:8080/%7e/../x HTTP/1.1\r\nHost: b\r\n",
	    ERR_NONE, "http://a.example:8080/%7e/../x", "a.example:8080" },
	{ PLAIN, "GET http://a.example:80/ HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_NONE, "http://a.example/", "a.example:80" },
	{ PLAIN, "GET https://a.example HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_NONE, "https://a.example/", "a.example" },
	{ PLAIN, "GET http://a.example?x=/y HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_NONE, "http://a.example/?x=/y", "a.example" },
	{ PLAIN, "OPTIONS http://a.example HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_NONE, "http://a.example", "a.example" },
	{ PLAIN, "OPTIONS http://a.example?q HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_NONE, "http://a.example/?q", "a.example" },
	{ PLAIN, "GET http://[::1]:81//x HTTP/1.1\r\nHost: [::1]\r\n", ERR_NONE,
	    "http://[::1]:81//x", "[::1]:81" },
	{ PLAIN, "GET http://a.example/ HTTP/1.0\r\n", ERR_NONE,
	    "http://a.example/", "a.example" },
	{ PLAIN, "GET http://a.example./ HTTP/1.1\r\nHost: a.example.\r\n",
	    ERR_NONE, "http://a.example/", "a.example" },
	{ PLAIN, "GET http://a.example/ HTTP/1.1\r\n", ERR_REQ_HOST, NULL,
	    NULL },
	{ PLAIN,
	    "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n"
	    "Host: a.example\r\n",
	    ERR_REQ_HOST, NULL, NULL },
	{ PLAIN,
	    "GET http://a.example/ HTTP/1.0\r\nHost: a.example\r\n"
	    "Host: b.example\r\n",
	    ERR_REQ_HOST, NULL, NULL },
	{ PLAIN, "GET http://a.example/ HTTP/1.1\r\nHost:\r\n", ERR_REQ_HOST,
	    NULL, NULL },
	{ PLAIN, "GET http://a.example/ HTTP/1.1\r\nHost: a, b\r\n",
	    ERR_REQ_HOST, NULL, NULL },
	{ PLAIN, "GET http://a.example/ HTTP/1.1\r\nHost: http://a/\r\n",
	    ERR_REQ_HOST, NULL, NULL },
	{ PLAIN, "GET http://u@a.example/ HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN, "GET http://u:p@a.example/ HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN, "GET http://a.example\\@b/ HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN, "GET http://a.example/x#f HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN, "GET http://a.example#f HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN,
	    "GET http://a.example/\xc3\xa4?\xff=%41 HTTP/1.1\r\n"
	    "Host: a.example\r\n",
	    ERR_NONE, "http://a.example/%C3%A4?%FF=%41", "a.example" },
	{ TUNNEL, "GET /\x80 HTTP/1.1\r\nHost: a.example\r\n", ERR_NONE,
	    "https://a.example/%80", "a.example" },
	{ PLAIN, "GET http://\xc3\xa4.example/ HTTP/1.1\r\nHost: a\r\n",
	    ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN, "GET \xc3\xa4 HTTP/1.1\r\nHost: a\r\n", ERR_REQ_TARGET, NULL,
	    NULL },
	{ PLAIN, "CONNECT \xc3\xa4:443 HTTP/1.1\r\nHost: a\r\n", ERR_REQ_TARGET,
	    NULL, NULL },
	{ PLAIN, "GET http:///p HTTP/1.1\r\nHost: a\r\n", ERR_REQ_TARGET, NULL,
	    NULL },
	{ PLAIN, "GET http:/a/p HTTP/1.1\r\nHost: a\r\n", ERR_REQ_TARGET, NULL,
	    NULL },
	{ PLAIN, "GET http:// HTTP/1.1\r\nHost: a\r\n", ERR_REQ_TARGET, NULL,
	    NULL },
	{ PLAIN, "GET http: HTTP/1.1\r\nHost: a\r\n", ERR_REQ_TARGET, NULL,
	    NULL },
	{ PLAIN, "GET ftp://a/p HTTP/1.1\r\nHost: a\r\n", ERR_REQ_TARGET, NULL,
	    NULL },
	{ PLAIN, "GET gopher://a/p HTTP/1.1\r\nHost: a\r\n", ERR_REQ_TARGET,
	    NULL, NULL },
	{ PLAIN, "GET cache_object://a/p HTTP/1.1\r\nHost: a\r\n",
	    ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN, "GET urn:x:y HTTP/1.1\r\nHost: a\r\n", ERR_REQ_TARGET, NULL,
	    NULL },
	{ PLAIN, "GET a.example:80 HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN, "GET http://0x7f.1/ HTTP/1.1\r\nHost: a\r\n", ERR_REQ_TARGET,
	    NULL, NULL },
	{ PLAIN, "GET http://a:99999/ HTTP/1.1\r\nHost: a\r\n", ERR_REQ_TARGET,
	    NULL, NULL },
	/* authority-form */
	{ PLAIN, "CONNECT A.example:443 HTTP/1.1\r\nHost: b.example\r\n",
	    ERR_NONE, "a.example:443", "a.example:443" },
	{ PLAIN, "CONNECT [::1]:8443 HTTP/1.0\r\n", ERR_NONE, "[::1]:8443",
	    "[::1]:8443" },
	{ PLAIN, "CONNECT a.example HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN, "CONNECT a.example: HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN, "CONNECT a.example:0 HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN, "CONNECT a.example:443/ HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN, "CONNECT u@a.example:443 HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN, "CONNECT https://a.example:443 HTTP/1.1\r\nHost: a\r\n",
	    ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN, "CONNECT /p HTTP/1.1\r\nHost: a\r\n", ERR_REQ_TARGET, NULL,
	    NULL },
	{ PLAIN, "CONNECT a.example:443 HTTP/1.1\r\n", ERR_REQ_HOST, NULL,
	    NULL },
	/* origin-form on the plain port */
	{ PLAIN, "GET /p HTTP/1.1\r\nHost: a\r\n", ERR_REQ_TARGET, NULL, NULL },
	{ PLAIN, "OPTIONS * HTTP/1.1\r\nHost: a\r\n", ERR_REQ_TARGET, NULL,
	    NULL },
	{ PAGES, "GET /p?q HTTP/1.1\r\nHost: proxy:3128\r\n", ERR_NONE,
	    "http://proxy:3128/p?q", "proxy:3128" },
	{ PAGES, "GET /p HTTP/1.0\r\n", ERR_REQ_HOST, NULL, NULL },
	{ PAGES, "GET http://a/ HTTP/1.1\r\nHost: a\r\n", ERR_NONE, "http://a/",
	    "a" },
	/* inside a tunnel */
	{ LED, "GET /p HTTP/1.1\r\nHost: B.example:8080\r\n", ERR_NONE,
	    "http://b.example:8080/p", "b.example:8080" },
	{ LED, "GET /p HTTP/1.1\r\nHost: b.example\r\n", ERR_NONE,
	    "http://b.example:8080/p", "b.example:8080" },
	{ LED, "GET /p HTTP/1.1\r\nHost: b.example:80\r\n", ERR_REQ_HOST, NULL,
	    NULL },
	{ LED, "GET /p HTTP/1.1\r\n", ERR_REQ_HOST, NULL, NULL },
	{ LED, "GET /p HTTP/1.0\r\n", ERR_NONE, "http://203.0.113.80:8080/p",
	    "203.0.113.80:8080" },
	{ LED, "GET http://b.example/p HTTP/1.1\r\nHost: b.example\r\n",
	    ERR_NONE, "http://b.example:8080/p", "b.example:8080" },
	{ LED, "GET http://b.example/p HTTP/1.1\r\nHost: c.example\r\n",
	    ERR_REQ_HOST, NULL, NULL },
	{ LED, "GET https://b.example/p HTTP/1.1\r\nHost: b.example\r\n",
	    ERR_REQ_HOST, NULL, NULL },
	{ LED, "CONNECT b.example:8080 HTTP/1.1\r\nHost: b.example\r\n",
	    ERR_REQ_METHOD, NULL, NULL },
	{ LED, "OPTIONS * HTTP/1.1\r\nHost: b.example\r\n", ERR_NONE,
	    "http://b.example:8080", "b.example:8080" },
	{ TUNNEL, "GET /p HTTP/1.1\r\nHost: a.example\r\n", ERR_NONE,
	    "https://a.example/p", "a.example" },
	{ TUNNEL, "GET /p HTTP/1.1\r\nHost: A.EXAMPLE.\r\n", ERR_NONE,
	    "https://a.example/p", "a.example" },
	{ TUNNEL, "GET /p HTTP/1.1\r\nHost: a.example:443\r\n", ERR_NONE,
	    "https://a.example/p", "a.example:443" },
	{ TUNNEL, "GET /p HTTP/1.0\r\n", ERR_NONE, "https://a.example/p",
	    "a.example" },
	{ TUNNEL, "OPTIONS * HTTP/1.1\r\nHost: a.example\r\n", ERR_NONE,
	    "https://a.example", "a.example" },
	{ TUNNEL, "GET https://a.example/p HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_NONE, "https://a.example/p", "a.example" },
	{ TUNNEL, "GET * HTTP/1.1\r\nHost: a.example\r\n", ERR_REQ_TARGET, NULL,
	    NULL },
	{ TUNNEL, "GET p HTTP/1.1\r\nHost: a.example\r\n", ERR_REQ_TARGET, NULL,
	    NULL },
	{ TUNNEL, "GET /p HTTP/1.1\r\nHost: b.example\r\n", ERR_REQ_MISDIRECTED,
	    NULL, NULL },
	{ TUNNEL, "GET /p HTTP/1.1\r\nHost: a.example:80\r\n",
	    ERR_REQ_MISDIRECTED, NULL, NULL },
	{ TUNNEL, "GET /p HTTP/1.1\r\nHost: a.example.b\r\n",
	    ERR_REQ_MISDIRECTED, NULL, NULL },
	{ TUNNEL, "GET https://b.example/ HTTP/1.1\r\nHost: b.example\r\n",
	    ERR_REQ_MISDIRECTED, NULL, NULL },
	{ TUNNEL, "GET https://b.example/ HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_REQ_MISDIRECTED, NULL, NULL },
	{ TUNNEL, "GET https://a.example/ HTTP/1.1\r\nHost: b.example\r\n",
	    ERR_REQ_MISDIRECTED, NULL, NULL },
	{ TUNNEL, "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_REQ_MISDIRECTED, NULL, NULL },
	{ TUNNEL, "GET /p HTTP/1.1\r\n", ERR_REQ_HOST, NULL, NULL },
	{ TUNNEL, "GET /p#f HTTP/1.1\r\nHost: a.example\r\n", ERR_REQ_TARGET,
	    NULL, NULL },
	{ TUNNEL, "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\n",
	    ERR_REQ_METHOD, NULL, NULL },
	{ TUNNEL8, "GET /p HTTP/1.1\r\nHost: [0::1]:8443\r\n", ERR_NONE,
	    "https://[::1]:8443/p", "[::1]:8443" },
	{ TUNNEL8, "GET /p HTTP/1.0\r\n", ERR_NONE, "https://[::1]:8443/p",
	    "[::1]:8443" },
	{ TUNNEL8, "GET /p HTTP/1.1\r\nHost: [::1]\r\n", ERR_REQ_MISDIRECTED,
	    NULL, NULL },
};

static void
check_target(unsigned i)
{
	static const struct http_uri a443 = { .scheme = LIT("https"),
		.host = LIT("a.example"),
		.port = 443,
		.port_given = true };
	static const struct http_uri v8443 = { .scheme = LIT("https"),
		.host = LIT("::1"),
		.host_is_v6 = true,
		.host_is_ip = true,
		.port = 8443,
		.port_given = true };
	static const struct http_uri led = { .scheme = LIT("http"),
		.host = LIT("203.0.113.80"),
		.host_is_ip = true,
		.port = 8080,
		.port_given = true };
	const struct http_uri *tunnel = targets[i].where == TUNNEL ? &a443
	    : targets[i].where == TUNNEL8                          ? &v8443
								   : NULL;
	struct arena *a = arena_new();
	struct fault f = { 0 };
	struct http_msg *m;
	struct buf b = { 0 };
	enum err e;

	m = http_help_head(a, H1_REQUEST,
	    arena_printf(a, "%s\r\n", targets[i].line).p);
	e = targets[i].where == LED
	    ? http_target_parse_led(m, &led, &f)
	    : http_target_parse(m, tunnel, targets[i].where == PAGES, &f);
	CHECK_ROW(i, targets[i].line, e == targets[i].err && f.code == e);
	if (e == ERR_NONE && targets[i].err == e) {
		http_uri_print(&b, &m->uri, true);
		CHECK_ROW(i, targets[i].line, http_help_is(&b, targets[i].uri));
		CHECK_ROW(i, targets[i].line,
		    str_eq(http_fields_value(&m->fields, FIELD_HOST),
			str_of(targets[i].host)));
	}
	arena_free(&a);
}

static void
target(void)
{
	unsigned i;

	for (i = 0; i < COUNT(targets); i++)
		check_target(i);
}

static void
print(void)
{
	struct http_uri u = { .scheme = STR("https"),
		.host = STR("::1"),
		.host_is_v6 = true,
		.port = 443,
		.path = STR("/a?b") };
	struct buf b = { 0 };

	http_uri_print(&b, &u, false);
	CU_ASSERT(http_help_is(&b, "https://[::1]/a"));
	http_host_print(&b, &u);
	CU_ASSERT(http_help_is(&b, "[::1]"));
	http_authority_print(&b, &u);
	CU_ASSERT(http_help_is(&b, "[::1]:443"));
	u.port = 65535;
	http_uri_print(&b, &u, true);
	CU_ASSERT(http_help_is(&b, "https://[::1]:65535/a?b"));
}

UNIT_TESTS(http_uri, { "hosts", host }, { "authorities", authority },
    { "targets", target }, { "printing", print })
