/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The configuration: what is said about wrong files, to the letter; what
 * right ones become; the documents made from the table.
 */
#include "config.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "proxy/conf/conf.h"
#include "proxy/conf/conf_priv.h"
#include "t/unit/unit.h"

/* All problems as lines; the caller frees. */
static char *
problems_of(const char *text, size_t n)
{
	struct conf_problems p = { 0 };
	struct conf *conf = conf_parse("c", text, n, &p);
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	CU_ASSERT((conf == NULL) == (p.errors > 0));
	conf_problems_print(&p, "c", f);
	fclose(f);
	conf_unref(&conf);
	conf_problems_fini(&p);
	return (out);
}

struct wrong {
	const char *text, *lines;
};

static void
check_table(const struct wrong *t, unsigned n)
{
	unsigned i;
	char *got;

	for (i = 0; i < n; i++) {
		got = problems_of(t[i].text, strlen(t[i].text));
		if (strcmp(got, t[i].lines) != 0)
			printf("# %s\n# got  %s# want %s", t[i].text, got,
			    t[i].lines);
		CU_ASSERT_STRING_EQUAL(got, t[i].lines);
		free(got);
	}
}

#define CHECK_TABLE(t) check_table(t, sizeof(t) / sizeof((t)[0]))

static void
test_syntax(void)
{
	static const struct wrong t[] = {
		{ "", "" },
		{ "# nothing\n", "" },
		{ "{}", "" },
		{ "---\nworkers: 2\n...\n", "" },
		{ "workers:\n", "" },
		{ "\xef\xbb\xbfworkers: 2\n", "" },
		{ "workers: [1\nlisten: 2\n",
		    "c:2:7: not YAML: did not find "
		    "expected ',' or ']' while parsing a flow sequence from "
		    "line 1\n" },
		{ "a: b: c\n",
		    "c:1:5: not YAML: mapping values are not "
		    "allowed in this context\n" },
		{ "workers: \"2\n",
		    "c:2:1: not YAML: found unexpected end of "
		    "stream while scanning a quoted scalar from line 1\n" },
		{ "a: &x 1\n",
		    "c:1:4: anchors and tags are not supported; "
		    "write the value itself\n" },
		{ "workers: !!int 1\n",
		    "c:1:10: anchors and tags are not "
		    "supported; write the value itself\n" },
		{ "listen: &l []\n",
		    "c:1:9: anchors and tags are not "
		    "supported; write the value itself\n" },
		{ "a: *x\n",
		    "c:1:4: aliases are not supported; write the "
		    "value itself\n" },
		{ "workers: 1\n---\nworkers: 2\n",
		    "c:2:1: a second document; "
		    "one file holds one\n" },
		{ "[a]: 1\n",
		    "c:1:1: a name is wanted here, not a map or "
		    "list\n" },
		{ "- a\n",
		    "c:1:1: settings are wanted here ('key: value'), "
		    "not a list\n" },
		{ "just text\n",
		    "c:1:1: settings are wanted here ('key: "
		    "value'), not 'just text'\n" },
		{ "a: \"x\\0y\"\n",
		    "c:1:4: a zero byte is possible "
		    "nowhere\n" },
		{ "workers: \xff\n",
		    "c: not text in UTF-8 (invalid leading "
		    "UTF-8 octet, byte 9)\n" },
		{ "a: [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]\n",
		    "c:1:19: too deep; "
		    "no setting stands that far inside\n" },
	};

	CHECK_TABLE(t);
}

static void
test_keys(void)
{
	static const struct wrong t[] = {
		{ "\n\n      servces: {}\n",
		    "c:3:7: unknown setting "
		    "'servces'; did you mean 'services'?\n" },
		{ "zzz: 1\n",
		    "c:1:1: unknown setting 'zzz'; known here are "
		    "state, listen, clients, destinations, ca, tls, resolver, "
		    "services, scan, lists, upstreams, out, forwarded, rules, "
		    "download, websocket, pages, "
		    "log, "
		    "admin, "
		    "limits, workers, user, sandbox\n" },
		{ "worker: 1\n",
		    "c:1:1: unknown setting 'worker'; did you "
		    "mean 'workers'?\n" },
		{ "wrokers: 1\n",
		    "c:1:1: unknown setting 'wrokers'; did you "
		    "mean 'workers'?\n" },
		{ "\"\": 1\n",
		    "c:1:1: unknown setting ''; known here are "
		    "state, listen, clients, destinations, ca, tls, resolver, "
		    "services, scan, lists, upstreams, out, forwarded, rules, "
		    "download, websocket, pages, "
		    "log, "
		    "admin, "
		    "limits, workers, user, sandbox\n" },
		{ "tls: {origin: {trsut: [system]}}\n",
		    "c:1:16: unknown "
		    "setting 'trsut'; did you mean 'trust'?\n" },
		{ "workers: 1\nworkers: 2\n",
		    "c:2:1: 'workers' is set twice; "
		    "the first is in line 1\n" },
		{ "workers: 1\n'workers': 1\nworkers: 1\n",
		    "c:2:1: "
		    "'workers' is set twice; the first is in line 1\nc:3:1: "
		    "'workers' is set twice; the first is in line 1\n" },
		{ "services:\n  a: {url: 'icap://h/', mode: req}\n"
		  "  a: {url: 'icap://h/', mode: req}\n",
		    "c:3:3: 'a' is "
		    "set twice; the first is in line 2\n" },
		/* all of them, in the order of the file */
		{ "workers: x\nadmni: {}\nlimits: {idle: 5, foo: 1}\n",
		    "c:1:10: 'workers' cannot be 'x'; write auto, or a whole "
		    "number\n"
		    "c:2:1: unknown setting 'admni'; did you mean 'admin'?\n"
		    "c:3:16: 'idle' has no unit; write '5s' for seconds\n"
		    "c:3:19: unknown setting 'foo'; known here are clients, "
		    "per_client, request_line, header, origin_header, field, "
		    "fields, interim, body_memory, memory, temp, leaf_cache, "
		    "verdict_cache, request, read, first_byte, min_rate, idle, "
		    "origin_idle, resolve, connect, tunnel, start, drain\n" },
	};

	CHECK_TABLE(t);
}

static void
test_values(void)
{
	static const struct wrong t[] = {
		{ "workers: 0\n",
		    "c:1:10: 'workers' is out of range; 1 to "
		    "1024 is possible\n" },
		{ "workers: 1025\n",
		    "c:1:10: 'workers' is out of range; 1 to "
		    "1024 is possible\n" },
		{ "workers: -1\n",
		    "c:1:10: 'workers' cannot be '-1'; write "
		    "auto, or a whole number\n" },
		{ "workers: 1.5\n",
		    "c:1:10: 'workers' cannot be '1.5'; write "
		    "auto, or a whole number\n" },
		{ "workers: 99999999999999999999\n",
		    "c:1:10: 'workers' "
		    "cannot be '99999999999999999999'; write auto, or a whole "
		    "number\n" },
		{ "workers: [1]\n",
		    "c:1:10: a whole number is wanted here, "
		    "not a list\n" },
		{ "workers: \"\"\n",
		    "c:1:10: a whole number is wanted here, "
		    "not nothing\n" },
		{ "limits: {header: 7K}\n",
		    "c:1:18: 'header' is out of "
		    "range; 8K to 1M is possible\n" },
		{ "limits: {header: 64KB}\n",
		    "c:1:18: 'header' cannot be "
		    "'64KB'; write a size such as 512, 64K, 20M or 2G\n" },
		{ "limits: {temp: 99999999999999999T}\n",
		    "c:1:16: 'temp' "
		    "cannot be '99999999999999999T'; write a size such as "
		    "512, 64K, 20M or 2G\n" },
		{ "services: {a: {url: 'icap://h/', mode: req}}\nlimits: "
		  "{memory: 25%, temp: 0}\n",
		    "" },
		{ "limits: {memory: 512m}\n", "" },
		{ "limits: {memory: 0%}\n",
		    "c:1:18: 'memory' is out of "
		    "range; 1% to 90% is possible\n" },
		{ "limits: {memory: 91%}\n",
		    "c:1:18: 'memory' is out of "
		    "range; 1% to 90% is possible\n" },
		{ "limits: {memory: 1-2%}\n",
		    "c:1:18: 'memory' is out of "
		    "range; 1% to 90% is possible\n" },
		{ "limits: {idle: 5y}\n",
		    "c:1:16: 'idle' cannot be '5y'; "
		    "write a duration such as 500ms, 5s, 10m, 2h or 14d\n" },
		{ "limits: {idle: 0}\n",
		    "c:1:16: 'idle' is out of range; "
		    "10ms to 1d is possible\n" },
		{ "limits: {idle: 2m, drain: 0, request: 500ms}\n", "" },
		{ "limits: {clients: 10, per_client: 11}\n",
		    "c:1:23: "
		    "'per_client' (11) is more than 'clients' (10); one of "
		    "them has no effect\n" },
		{ "limits: {clients: 10}\n", "" },
		{ "limits: {header: 8K, field: 9K}\n",
		    "c:1:22: 'field' is "
		    "more than 'header', of which it is a part; lower 'field' "
		    "or raise 'header'\n" },
		{ "limits: {memory: 16M, body_memory: 17M}\n",
		    "c:1:10: "
		    "'body_memory' of one body is more than 'memory' of "
		    "all\n" },
		{ "limits: 5\n",
		    "c:1:9: settings are wanted here ('key: "
		    "value'), not '5'\n" },
		{ "pages: {org: no, help: \"\"}\n", "" },
		{ "pages: {org: [x]}\n",
		    "c:1:14: 'org' is a text, not a "
		    "list\n" },
		{ "pages: {org: \"a\\nb\"}\n",
		    "c:1:14: 'org' contains a "
		    "control character; write it on one line\n" },
		{ "listen: [{on: ':1', name: \"\"}]\n",
		    "c:1:27: 'name' has 0 "
		    "bytes; 1 to 64 are possible\n" },
		{ "tls: {client: {min: 1.1}}\n",
		    "c:1:21: 'min' cannot be "
		    "'1.1'; write 1.2 or 1.3\n" },
		{ "tls: {client: {min: 1.3}, origin: {min: '1.2'}}\n", "" },
		{ "tls: {origin: {on_invalid: blok}}\n",
		    "c:1:28: "
		    "'on_invalid' cannot be 'blok'; did you mean 'block'?\n" },
		{ "clients: [10.0.0.1/8, privat]\n",
		    "c:1:11: '10.0.0.1/8' is "
		    "no network, as bits beyond the prefix are set; write "
		    "'10.0.0.0/8'\nc:1:23: 'privat' is no network; write "
		    "'10.0.0.0/8', '2001:db8::/32', private, loopback, "
		    "link_local, self or any\n" },
		{ "clients: []\n",
		    "c: warning: 'clients' is empty; nobody may "
		    "connect\n" },
		{ "clients: {a: b}\n",
		    "c:1:10: a network is wanted here, not "
		    "a map\n" },
		{ "destinations: {ports: {connect: [0, '9-1', 65536, x], "
		  "http: 80-}}\n",
		    "c:1:34: '0' is no port; write a number from 1 to 65535 "
		    "or a range such as '1024-65535'\n"
		    "c:1:37: '9-1' is no port; write a number from 1 to 65535 "
		    "or a range such as '1024-65535'\n"
		    "c:1:44: '65536' is no port; write a number from 1 to "
		    "65535 or a range such as '1024-65535'\n"
		    "c:1:51: 'x' is no port; write a number from 1 to 65535 "
		    "or a range such as '1024-65535'\n"
		    "c:1:61: '80-' is no port; write a number from 1 to 65535 "
		    "or a range such as '1024-65535'\n" },
		{ "resolver: {servers: [ns1, 192.0.2.1, '2001:db8::1', "
		  "'[2001:db8::1]:5353', '192.0.2.1:54']}\n",
		    "c:1:22: "
		    "'ns1' is no address; write '192.0.2.53' or "
		    "'[2001:db8::53]:53'\n" },
	};

	CHECK_TABLE(t);
}

static void
test_listen(void)
{
	static const struct wrong t[] = {
		{ "listen: [{on: ':3128'}, {on: '[::1]:0'}, {on: '1.2.3.4:1'}]"
		  "\n",
		    "" },
		{ "listen: {on: ':1'}\n",
		    "c:1:9: 'listen' is a list, not a "
		    "map; begin each item with '- '\n" },
		{ "listen: [x]\nrules: [{if: {listener: y}, log: none}]\n"
		  "services: {z: 1}\n",
		    "c:1:10: settings are wanted here "
		    "('key: value'), not 'x'\nc:2:25: no listener has the "
		    "name 'y'; give it one under 'listen'\nc:3:15: settings "
		    "are wanted here ('key: value'), not '1'\n" },
		{ "listen: []\n",
		    "c: 'listen' is empty; nobody could "
		    "connect\n" },
		{ "listen: [{name: a}]\n",
		    "c:1:10: 'on' is missing; write "
		    "'on: \"127.0.0.1:3128\"'\n" },
		{ "listen: [{on: '127.0.0.1'}]\n",
		    "c:1:15: '127.0.0.1' is no "
		    "address to listen on; write '127.0.0.1:3128', "
		    "'[::1]:3128' or ':3128'\n" },
		{ "listen: [{on: '::1:3128'}]\n",
		    "c:1:15: '::1:3128' is no "
		    "address to listen on; write '127.0.0.1:3128', "
		    "'[::1]:3128' or ':3128'\n" },
		{ "listen: [{on: ':70000'}, {on: ':1-2'}]\n",
		    "c:1:15: "
		    "':70000' is no address to listen on; write "
		    "'127.0.0.1:3128', '[::1]:3128' or ':3128'\nc:1:31: "
		    "':1-2' is no address to listen on; write "
		    "'127.0.0.1:3128', '[::1]:3128' or ':3128'\n" },
		{ "listen:\n  - {on: ':5'}\n  - {on: '0.0.0.0:5'}\n",
		    "c:3:6: '0.0.0.0:5' is listened on already by line 2\n" },
		{ "listen:\n  - {on: ':5', name: a}\n"
		  "  - {on: ':6', name: a}\n",
		    "c:3:16: two listeners have "
		    "the name 'a'; rules could not tell them apart\n" },
		{ "listen: [{on: ':5', kind: redirect}]\n", "" },
		{ "listen: [{on: ':5', kind: tproxy, names: strict}]\n", "" },
		{ "listen: [{on: ':5', names: relaxed}]\n", "" },
		{ "listen: [{on: ':5', names: strict}]\n",
		    "c:1:21: 'names: strict' is for 'kind: redirect' and "
		    "'tproxy'; explicit clients ask for names, leave it "
		    "out\n" },
		{ "listen: [{on: '127.0.0.1:5', kind: tproxy}]\n",
		    "c:1:11: warning: packets are led to an address of the "
		    "interface that they come in by, which this is not; write "
		    "':5'\n" },
		{ "listen: [{on: ':5', kind: explicit, auth: no, "
		  "proxy_protocol: [], tls: {}}]\n",
		    "" },
		{ "listen: [{on: ':5', auth: true, proxy_protocol: [self], "
		  "tls: {cert: x}}]\n",
		    "c:1:21: 'auth' is not supported in "
		    "this version; leave it out or write false\nc:1:33: "
		    "'self' is no balancer; write its address or "
		    "network\nc:1:57: 'tls' is not supported in "
		    "this version; leave it out\n" },
	};

	CHECK_TABLE(t);
}

static void
test_files(void)
{
	static const struct wrong t[] = {
		{ "ca: {cert: /etc/hosts, key: /etc/hosts}\n", "" },
		{ "ca: {cert: /etc/hosts, key: 'file:/etc/hosts'}\n", "" },
		{ "ca: {cert: /etc/hosts, key: 'pkcs11:token=x'}\n", "" },
		{ "ca: {cert: /etc/hosts}\n",
		    "c:1:6: 'cert' without 'key'; "
		    "write both or neither\n" },
		{ "ca: {key: /nonexistent/k}\n",
		    "c:1:6: 'key' without "
		    "'cert'; write both or neither\nc:1:11: cannot open "
		    "'/nonexistent/k': No such file or directory\n" },
		{ "ca: {cert: /etc, key: /etc/hosts}\n",
		    "c:1:12: '/etc' is a "
		    "folder; a file is wanted here\n" },
		{ "ca: {cert: /etc/hosts, key: 'cred:a/b'}\n",
		    "c:1:29: "
		    "'cred:a/b' names no credential; write 'cred:NAME'\n" },
		{ "ca: {cert: /etc/hosts, key: 'cred:ca'}\n",
		    "c:1:29: no "
		    "systemd credentials here; set LoadCredential=ca:PATH in "
		    "the unit\n" },
		{ "tls: {origin: {trust: [system, /etc/hosts], crl: "
		  "/etc/hosts}}\n",
		    "" },
		{ "tls: {origin: {trust: [], crl: [/nonexistent]}}\n",
		    "c:1:23: 'trust' is empty, so nothing could be verified; "
		    "write system or PEM files\nc:1:33: cannot open "
		    "'/nonexistent': No such file or directory\n" },
		{ "tls: {origin: {crl: [/etc/hosts], revocation: off}}\n",
		    "c:1:16: 'crl' has no effect with 'revocation: off'; take "
		    "one of them out\n" },
		{ "log: {access: [{to: /x/y}, {to: stdout, format: squid}]}\n",
		    "" },
		{ "log: {access: [{format: json}]}\n",
		    "c:1:16: 'to' is "
		    "missing; write 'to: /var/log/assay/access.log'\n" },
		{ "log: {access: [{to: journal}, {to: 'syslog:x'}, {to: a, "
		  "format: combined}]}\n",
		    "c:1:21: 'to: journal' is not "
		    "supported in this version; write stdout or a file\n"
		    "c:1:36: 'to: syslog:x' is not supported in this version; "
		    "write stdout or a file\nc:1:65: 'format: combined' is "
		    "not supported in this version; write json or squid\n" },
		{ "admin: {socket: none, http: none}\n", "" },
		{ "admin: {http: '127.0.0.1:9128'}\n",
		    "c:1:9: 'http' is not "
		    "supported in this version; leave it out or write "
		    "none\n" },
	};

	unsetenv("CREDENTIALS_DIRECTORY");
	CHECK_TABLE(t);
}

static void
test_services(void)
{
	static const struct wrong t[] = {
		{ "services: { av: { url: \"icap://av.example.net/avscan\", "
		  "mode: resp } }\n",
		    "" },
		{ "services: []\n",
		    "c:1:11: 'services' is a map from name to "
		    "settings, not a list\n" },
		{ "services: {a: {mode: req}}\n",
		    "c:1:12: 'url' is missing; "
		    "write 'url: \"icap://av.example.net:1344/avscan\"'\n" },
		{ "services: {a: {url: []}}\n",
		    "c:1:12: 'mode' is missing; "
		    "write 'mode: resp'\nc:1:21: 'url' is empty; write at "
		    "least one address\n" },
		{ "services: {a: {url: 'icap://h/'}}\n",
		    "c:1:12: 'mode' is "
		    "missing; write 'mode: resp'\n" },
		{ "services: {a: {url: 'icap://h/', mode: both}}\n",
		    "c:1:40: "
		    "'mode' cannot be 'both'; write req or resp\n" },
		{ "services: {a: {url: 'http://h/', mode: req}}\n",
		    "c:1:21: "
		    "'http://h/' is no address of a service; write "
		    "'icap://host/path', 'icaps://host/path' or "
		    "'clamav:FOLDER'\n" },
		{ "services: {a: {url: ['icap://h:0/', 'icap://', "
		  "'icap://a b/', 'icap://[::1/', 'icap://[::1]x/', "
		  "'icap://u@h/', 'icap://h:1-2/'], mode: req}}\n",
		    "c:1:22: 'icap://h:0/' is no valid ICAP address; write "
		    "'icap://host:1344/path', IPv6 in brackets\n"
		    "c:1:37: 'icap://' is no valid ICAP address; write "
		    "'icap://host:1344/path', IPv6 in brackets\n"
		    "c:1:48: 'icap://a b/' is no valid ICAP address; write "
		    "'icap://host:1344/path', IPv6 in brackets\n"
		    "c:1:63: 'icap://[::1/' is no valid ICAP address; write "
		    "'icap://host:1344/path', IPv6 in brackets\n"
		    "c:1:79: 'icap://[::1]x/' is no valid ICAP address; write "
		    "'icap://host:1344/path', IPv6 in brackets\n"
		    "c:1:97: 'icap://u@h/' is no valid ICAP address; write "
		    "'icap://host:1344/path', IPv6 in brackets\n"
		    "c:1:112: 'icap://h:1-2/' is no valid ICAP address; write "
		    "'icap://host:1344/path', IPv6 in brackets\n" },
		{ "services: {a: {url: 'icap://h/', mode: req, threads: 4, "
		  "isolation: thread}}\n",
		    "c:1:45: 'threads' is for "
		    "clamav: services only; leave it out\nc:1:57: 'isolation' "
		    "is for clamav: services only; leave it out\n" },
		{ "services: {a: {url: 'icap://h/', mode: req, decode: true}, "
		  "b: {url: 'clamav:', decode: true}}\n",
		    "c:1:80: 'decode' "
		    "is for icap: services only; leave it out\n" },
		{ "services: {a: {url: 'icap://h/', mode: req, preview: off, "
		  "max_body: none, over_max: bypass, max_connections: 5, "
		  "decode: false}}\n",
		    "" },
		{ "services: {a: {url: 'icap://h/', mode: req, preview: none}}"
		  "\n",
		    "c:1:54: 'preview' cannot be 'none'; write auto or "
		    "off, or a size such as 512, 64K, 20M or 2G\n" },
		{ "services: {a: {url: 'icap://h/', mode: req, headers: "
		  "{Host: x, 'a b': c, X-A: \"d\\te\", X-B: [], X-C: "
		  "fine}}}\n",
		    "c:1:55: the header 'Host' is not possible: "
		    "assay sets this one itself\nc:1:64: the header 'a b' is "
		    "not possible: the name is no token\nc:1:74: the header "
		    "'X-A' is not possible: the value contains a control "
		    "character\nc:1:92: a header's value is wanted here, not "
		    "a list\n" },
		{ "services: {a: {url: 'icap://h/', mode: req, connect: true}, "
		  "b: {url: 'icap://h/', mode: resp, connect: true}, c: {url: "
		  "'icap://h/', mode: resp, connect: false}}\n",
		    "c:1:95: "
		    "'connect' is for services of requests; write mode: req or "
		    "leave it out\n" },
		{ "services: {a: {url: 'icap://h/', mode: resp, scan_answers: "
		  "true}, b: {url: 'icap://h/', mode: req, scan_answers: "
		  "true}}\n",
		    "c:1:100: 'scan_answers' is for services of "
		    "responses; write mode: resp or leave it out\n" },
		{ "services: {a: {url: 'icap://h/', mode: req, share: [X-A, "
		  "Cookie, x-client-ip, 'X-B C', [], 'X-']}, b: {url: "
		  "'icap://h/', mode: resp, share: X-Category}}\n",
		    "c:1:58: "
		    "'Cookie' cannot be shared: write the name of a header "
		    "that begins with X-\nc:1:66: 'x-client-ip' cannot be "
		    "shared: assay sets this one itself\nc:1:79: 'X-B C' "
		    "cannot be shared: write the name of a header that begins "
		    "with X-\nc:1:88: the name of a header is wanted here, not "
		    "a list\nc:1:92: 'X-' cannot be shared: write the name of "
		    "a header that begins with X-\n" },
		{ "services: {a: {url: 'icap://h/', mode: req, headers: "
		  "{X-A: '%{sni}=%', X-B: 'a%{usr}', X-C: '%{'}}}\n",
		    "c:1:77: %{usr} is no variable; there are %{client.ip}, "
		    "%{user}, %{rule}, %{reference}, %{sni} and %{listener}\n"
		    "c:1:93: %{ is no variable; there are %{client.ip}, "
		    "%{user}, %{rule}, %{reference}, %{sni} and "
		    "%{listener}\n" },
		{ "services: {a: {url: 'icap://h/', mode: req, tls: {name: x}}}"
		  "\n",
		    "c:1:45: 'tls' has no effect on icap: addresses; "
		    "write icaps: or leave it out\n" },
		{ "services: {a: {url: 'icaps://h/', mode: req, tls: {cert: "
		  "/etc/hosts, trust: [/etc/hosts]}}}\n",
		    "c:1:52: 'cert' "
		    "without 'key'; write both or neither\n" },
		{ "services: {a: {url: ['icaps://h/', 'icaps://i/'], mode: "
		  "req, tls: {name: x}}}\n",
		    "c:1:68: one 'name' for "
		    "several addresses; leave it out, so that each is "
		    "verified by its own host\n" },
		{ "services: {none: {url: 'icap://h/', mode: req}}\n",
		    "c:1:12: 'none' is no name for a service; take another\n" },
		{ "services: {a: {url: 'icap://h/', mode: req, on_unscanned: "
		  "{default: block, default: bypass}}}\n",
		    "c:1:76: "
		    "'default' is set twice; the first is in line 1\n" },
		{ "tls:\n  client: {priority: 'NORMAL:+FOO:-RSA'}\n"
		  "  origin: {min: '1.3', priority: NONE}\n",
		    "c:2:12: "
		    "tls.client.priority: GnuTLS does not know '+FOO'; "
		    "\"gnutls-cli --list\" shows what there is\nc:3:24: "
		    "tls.origin.priority: leaves nothing above the minimum "
		    "and with forward secrecy\n" },
#ifdef HAVE_CLAMAV
		{ "services: {a: {url: 'clamav:'}}\n", "" },
		{ "services: {a: {url: 'clamav:/etc', mode: req, limits: "
		  "{files: 5}}}\n",
		    "" },
		{ "services: {a: {url: 'clamav:/nonexistent'}}\n",
		    "c:1:21: "
		    "cannot read the signature database '/nonexistent': No "
		    "such file or directory\n" },
		{ "services: {a: {url: ['clamav:', 'icap://h/']}}\n",
		    "c:1:22: clamav: stands alone; write a service of its own "
		    "for it\n" },
		{ "services: {a: {url: 'clamav:', preview: auto, isolation: "
		  "process}}\n",
		    "c:1:32: 'preview' is for icap: services "
		    "only; leave it out\n" },
#endif
	};

	CHECK_TABLE(t);
}

#define AB                                                \
	"services:\n  a: {url: 'icap://h/', mode: req}\n" \
	"  b: {url: 'icap://h/', mode: resp}\n"

static void
test_chains_and_rules(void)
{
	static const struct wrong t[] = {
		{ AB "scan: {x: [a, [b]]}\nrules: [{scan: x}]\n", "" },
		{ AB "scan: [a]\n",
		    "c:4:7: 'scan' is a map from name to "
		    "chain, not a list\n" },
		{ AB "scan: {x: [a, c, [[b]]], a: [a], none: a, y: []}\n",
		    "c:4:15: no service has the name 'c'\n"
		    "c:4:19: the name of a service is wanted here, not a "
		    "list\n"
		    "c:4:26: 'a' is the name of a service; give the chain "
		    "another\n"
		    "c:4:34: 'none' means no scan; give the chain another "
		    "name\n"
		    "c:4:46: the chain 'y' is empty; a rule that scans nothing "
		    "says 'scan: none'\n" },
		{ AB "scan: {x: [a, [b, a]]}\n",
		    "c:4:19: 'a' is in this chain "
		    "already; name a service once\n" },
		{ AB "scan: {x: a, y: b}\nrules: [{scan: x}]\n",
		    "c:3:3: "
		    "warning: no rule scans with the service 'b'\nc:4:14: "
		    "warning: no rule scans with the chain 'y'\n" },
		{ AB "scan: {upload: a}\nrules: [{scan: [uplaod, b]}]\n",
		    "c:5:17: no chain or service has the name 'uplaod'; did "
		    "you mean 'upload'?\n" },
		{ "rules: [{scan: []}]\n",
		    "c:1:16: 'scan' is empty; write "
		    "none to scan nothing\n" },
		{ "rules: [{scan: none}]\n", "" },
		{ "rules: [{name: x}, y]\n",
		    "c:1:9: this rule decides "
		    "nothing; add tls, access, scan, download, range, stream, "
		    "websocket, upgrade, log or route\n"
		    "c:1:20: settings are wanted here ('key: value'), not "
		    "'y'\n" },
		{ "rules: [{upgrade: [a/1, b c, websocket, "
		  "h2c]}]\n",
		    "c:1:25: 'b c' is no protocol; write it as in the field "
		    "Upgrade, such as example/1.0\n"
		    "c:1:30: 'websocket' has a decision of its own; write "
		    "'websocket: tunnel'\n"
		    "c:1:41: 'h2c' would hide requests from the rules; it is "
		    "never switched to\n" },
		{ "rules: [{if: {type: a/b}, websocket: block}]\n",
		    "c:1:15: 'websocket' cannot be decided by 'type', which "
		    "is known only when the response is there; decide by "
		    "url, host or client\n" },
		{ "rules: [{access: coach}, {tls: splcie}]\n",
		    "c:1:18: "
		    "'access: coach' is not supported in this version; write "
		    "allow or block\nc:1:32: 'tls' cannot be 'splcie'; did "
		    "you mean 'splice'?\n" },
		{ "rules: [{access: block, page: policy, route: direct}]\n",
		    "" },
		{ "rules: [{access: block, page: other, route: up}]\n",
		    "c:1:25: 'page' is not supported in this version; leave "
		    "it out or write policy\nc:1:45: no upstream or way out "
		    "has the name 'up'; write direct, or give it one under "
		    "'upstreams' or 'out'\n" },
		{ "rules: [{log: none, page: policy}]\n",
		    "c:1:21: 'page' "
		    "without 'access: block'; no page would be shown\n" },
		{ "rules: [{access: allow, if: []}]\n",
		    "c:1:29: 'if' is a "
		    "map of conditions, not a list\n" },
		{ "rules: [{access: block, if: {}}]\n", "" },
		{ "rules: [{access: block, if: {not: {}}}]\n",
		    "c:1:35: 'not' "
		    "is empty, so that the rule would never match; write a "
		    "condition\n" },
		{ "rules: [{access: block, if: {host: [], user: x, in: [l], "
		  "group: g, time: t, cert: c, agent: a}}]\n",
		    "c:1:36: 'host' is empty and would never match; leave it "
		    "out to match always\n"
		    "c:1:40: 'user' is not supported in this version; leave "
		    "it out\n"
		    "c:1:54: no list has the name 'l'; it is missing under "
		    "'lists'\n"
		    "c:1:58: 'group' is not supported in this version; leave "
		    "it out\n"
		    "c:1:74: 't' is no time of the week; write 'Mon-Fri "
		    "08:00-18:00', 'Sat,Sun' or '22:00-06:00'\n"
		    "c:1:77: 'cert' is not supported in this version; leave "
		    "it out\n" },
		{ "rules: [{tls: splice, if: {agent: curl}}, {scan: none, if: "
		  "{not: {agent: curl, method: GET}}}, {scan: none, if: "
		  "{agent: curl, host: a.example}}]\n",
		    "c:1:28: 'tls: splice' cannot rest on 'agent' alone, which "
		    "its sender chooses; add host, in, dest or client\n"
		    "c:1:67: 'scan: none' cannot rest on 'agent' alone, which "
		    "its sender chooses; add host, in, dest or client\n" },
		{ "rules: [{tls: splice, if: {agent: curl, not: {host: "
		  "a.example}}}]\n",
		    "c:1:28: 'tls: splice' cannot rest on 'agent' alone, which "
		    "its sender chooses; add host, in, dest or client\n" },
		{ "services: {u: {url: 'icap://h/u', mode: req}, d: {url: "
		  "'icap://h/d', mode: resp}}\nscan: {up: [u], down: "
		  "[d]}\nrules:\n- {if: {agent: x}, scan: [up]}\n- {if: "
		  "{agent: x}, scan: [down]}\n- {if: {agent: x}, scan: [up, "
		  "down]}\n- {scan: [up, down]}\n",
		    "c:4:9: that downloads are not scanned cannot rest on "
		    "'agent' alone, which its sender chooses; add host, in, "
		    "dest or client\n"
		    "c:5:9: that uploads are not scanned cannot rest on "
		    "'agent' alone, which its sender chooses; add host, in, "
		    "dest or client\n" },
		{ "services: {u: {url: 'icap://h/u', mode: req}}\nscan: {up: "
		  "[u]}\nrules:\n- {if: {type: 'a/*'}, scan: none}\n- {if: "
		  "{type: 'a/*'}, scan: [up]}\n- {if: {type: 'a/*', host: "
		  "a.example}, scan: none}\n- {scan: [up]}\n",
		    "c:4:9: that uploads are not scanned cannot rest on 'type' "
		    "alone, which its sender chooses; add host, in, dest or "
		    "client, or name a chain for uploads in 'scan'\n" },
		{ "rules: [{access: block, if: {hots: x}}]\n",
		    "c:1:30: "
		    "unknown setting 'hots'; did you mean 'host'?\n" },
		{ "rules: [{access: block, if: {host: ['*.1.2.3', .x, a/b, "
		  "'10.0.0', 'ex ample', '*', 'a..b', 'h:80', "
		  "'m\xc3\xbcller.de']}}]\n",
		    "c:1:37: '*.1.2.3' is no host name; addresses have no "
		    "subdomains\n"
		    "c:1:48: '.x' is no host name; 'example.com' covers "
		    "subdomains, '*.example.com' means them alone\n"
		    "c:1:52: 'a/b' is no host name; networks are for 'dest', "
		    "paths for 'url'\n"
		    "c:1:57: '10.0.0' is not an IPv4 address; write four "
		    "decimal numbers, networks are for 'dest'\n"
		    "c:1:67: 'ex ample' is no host name; write letters, "
		    "digits, '-' and dots, other scripts in their xn-- form, "
		    "no port\n"
		    "c:1:79: '*' is no host name; leave 'host' out to mean "
		    "all\n"
		    "c:1:84: 'a..b' is no host name; write letters, digits, "
		    "'-' and dots, other scripts in their xn-- form, no port\n"
		    "c:1:92: 'h:80' is no host name; write letters, digits, "
		    "'-' and dots, other scripts in their xn-- form, no port\n"
		    "c:1:100: 'm\xc3\xbcller.de' is no host name; write "
		    "letters, digits, '-' and dots, other scripts in their "
		    "xn-- form, no port\n" },
		{ "rules: [{access: block, if: {size: [10M, '>x', '<0', "
		  "2M-1M], type: [html, 'a/b/c', '*/b', 'a*/b', text/]}}]\n",
		    "c:1:37: '10M' is no range of sizes; write '>10M', "
		    "'<=64K' or '1K-10M'\n"
		    "c:1:42: '>x' is no range of sizes; write '>10M', "
		    "'<=64K' or '1K-10M'\n"
		    "c:1:48: '<0' is no range of sizes; write '>10M', "
		    "'<=64K' or '1K-10M'\n"
		    "c:1:54: '2M-1M' is no range of sizes; write '>10M', "
		    "'<=64K' or '1K-10M'\n"
		    "c:1:69: 'html' is no media type; write 'text/html' or "
		    "'video/*'\n"
		    "c:1:75: 'a/b/c' is no media type; write 'text/html' or "
		    "'video/*'\n"
		    "c:1:84: '*/b' is no media type; write 'text/html' or "
		    "'video/*'\n"
		    "c:1:91: 'a*/b' is no media type; write 'text/html' or "
		    "'video/*'\n"
		    "c:1:99: 'text/' is no media type; write 'text/html' or "
		    "'video/*'\n" },
		{ "rules: [{access: block, if: {method: [get, POST], listener: "
		  "[offic, x]}}]\nlisten: [{on: ':1', name: office}]\n",
		    "c:1:39: 'get' is no method; write it in capitals, such "
		    "as POST\n"
		    "c:1:62: no listener has the name 'offic'; did you mean "
		    "'office'?\n"
		    "c:1:69: no listener has the name 'x'; give it one under "
		    "'listen'\n" },
		{ "rules: [{access: block, if: {url: ['ab(c', 'x']}}]\n",
		    "c:1:41: 'ab(c' is no regular expression: missing closing "
		    "parenthesis\n" },
		{ "rules: [{tls: splice, if: {url: x, method: GET, type: a/b, "
		  "not: {size: '>1'}}}]\n",
		    "c:1:28: 'tls' cannot be decided by 'url', which is known "
		    "only inside the connection; decide by host, port, client "
		    "or listener\n"
		    "c:1:36: 'tls' cannot be decided by 'method', which is "
		    "known only inside the connection; decide by host, port, "
		    "client or listener\n"
		    "c:1:49: 'tls' cannot be decided by 'type', which is known "
		    "only inside the connection; decide by host, port, client "
		    "or listener\n"
		    "c:1:66: 'tls' cannot be decided by 'size', which is known "
		    "only inside the connection; decide by host, port, client "
		    "or listener\n" },
		{ "rules:\n- {name: all, access: allow, log: none}\n"
		  "- {name: bad, if: {host: x}, access: block, tls: splice}"
		  "\n- {name: bad, log: full}\n",
		    "c:3:30: 'access' never applies: the rule 'all' before it "
		    "has no condition and decides it; move this rule up\n"
		    "c:4:4: two rules have the name 'bad'; the first is in "
		    "line 3\n"
		    "c:4:15: 'log' never applies: the rule 'all' before it has "
		    "no condition and decides it; move this rule up\n" },
		{ "rules: [{name: a, if: {dest: [127.1.0.0/16, '::1']}, "
		  "access: block}]\n",
		    "c:1:24: 'dest' never applies: "
		    "'destinations.deny' has these addresses already; put "
		    "them under 'destinations.allow' or take this rule out\n" },
		{ "download: {browser: page}\n",
		    "c:1:21: 'browser: page' is "
		    "not supported in this version; write hold, trickle or "
		    "stream\n" },
		{ "auth: {x: y}\nlists: {a: {url: b}}\npages: {dir: /x}\n"
		  "log: {privacy: {host: drop}}\n",
		    "c:1:1: 'auth' is not supported in this version; leave it "
		    "out\n"
		    "c:2:9: a list is read from a 'file' or from a 'dir'; "
		    "write one of them\n"
		    "c:2:13: 'url' is not supported in this version; leave "
		    "it out\n"
		    "c:3:9: 'dir' is not supported in this version; leave it "
		    "out\n"
		    "c:4:17: 'host' is not supported in this version; "
		    "leave it out or write keep\n" },
	};

	CHECK_TABLE(t);
}

/* ---- right files ---- */

static struct conf *
load(const char *text)
{
	struct conf_problems p = { 0 };
	struct conf *conf = conf_parse("/etc/assay/x.conf", text, strlen(text),
	    &p);

	conf_problems_print(&p, "# x", stdout);
	CU_ASSERT_PTR_NOT_NULL_FATAL(conf);
	conf_problems_fini(&p);
	return (conf);
}

#define UP "upstreams: {up: {url: 'http://p.test:3128'}}\n"

static void
test_upstreams(void)
{
	static const struct wrong t[] = {
		{ UP,
		    "c:1:13: warning: no rule routes to the upstream 'up'\n" },
		{ "upstreams: {up: {url: 'http://p.test:3128', resolve: "
		  "here}}\n"
		  "rules: [{route: up}]\n",
		    "" },
		{ UP "rules: [{route: other}]\n",
		    "c:2:17: no upstream or way out has the name 'other'; "
		    "write direct, or give it one under 'upstreams' or "
		    "'out'\n" },
		{ UP "rules: [{route: up, if: {method: GET, not: {url: x}}}]\n",
		    "c:2:26: 'route' cannot be decided by 'method', which is "
		    "known only when the connection is there; decide by host, "
		    "port, client or listener\n"
		    "c:2:45: 'route' cannot be decided by 'url', which is "
		    "known only when the connection is there; decide by host, "
		    "port, client or listener\n" },
		{ "upstreams: {direct: {url: 'http://p:1'}, '': {}}\n",
		    "c:1:13: 'direct' is no name for an upstream; take "
		    "another\n"
		    "c:1:42: 'url' is missing; write 'url: "
		    "http://parent.example.net:3128'\n"
		    "c:1:42: '' is no name for an upstream; take another\n" },
		{ "upstreams: {up: {url: []}}\n",
		    "c:1:23: 'url' is empty; write at least one address\n" },
		{ "upstreams: {up: {url: 'http://u:p@h:1', tls: {cert: "
		  "/dev/null}}}\n",
		    "c:1:23: 'http://u:p@h:1' is written with a user; write "
		    "'user: file:...' beside the url\n"
		    "c:1:47: 'cert' without 'key'; write both or neither\n"
		    "c:1:53: '/dev/null' is no ordinary file\n" },
		{ "listen: [{on: ':3128'}]\nupstreams: {up: {url: "
		  "['http://127.0.0.2:3128', 'socks5://localhost:1080']}}\n"
		  "rules: [{route: up}]\n",
		    "c:2:18: 'http://127.0.0.2:3128' is where assay listens "
		    "itself\n" },
	};

	CHECK_TABLE(t);
}

static void
test_out(void)
{
	static const struct wrong t[] = {
		{ "out: {a: {dscp: le}}\n",
		    "c:1:7: warning: no rule routes to the way out 'a'\n" },
		{ "out: {a: {addresses: [198.51.100.128/28, "
		  "'2001:db8::/64'], mark: 0x10, dscp: 46, device: wan0}}\n"
		  "rules: [{route: a}]\n",
		    "" },
		{ "upstreams: {a: {url: 'http://h:1'}}\n"
		  "out: {a: {mark: 1}, direct: {mark: 2}, b: {}}\n",
		    "c:2:7: 'a' is the name of an upstream already; 'route' "
		    "could mean either\n"
		    "c:2:21: 'direct' is no name for a way out; take another\n"
		    "c:2:40: 'b' says nothing; add addresses, mark, dscp or "
		    "device\n" },
		{ "out: {a: {addresses: [private, 198.51.100.129/28, "
		  "224.0.0.1], mark: 0, dscp: af14, device: a/b}}\n",
		    "c:1:23: 'private' is no address of this machine; write "
		    "'198.51.100.7' or a block such as '198.51.100.128/28' or "
		    "'2001:db8:9::/64'\n"
		    "c:1:32: '198.51.100.129/28' is no address of this "
		    "machine; write '198.51.100.7' or a block such as "
		    "'198.51.100.128/28' or '2001:db8:9::/64'\n"
		    "c:1:51: '224.0.0.1' can be no host's address\n"
		    "c:1:69: '0' is no 'mark'; write a number from 1 to "
		    "4294967295, or 0x1 to 0xffffffff\n"
		    "c:1:78: 'af14' is no 'dscp'; write a name such as af21, "
		    "cs1, ef or le, or a number from 0 to 63\n"
		    "c:1:84: 'device' is no name of an interface; write one "
		    "such as wan0\n" },
		{ "out: {a: {addresses: []}}\n",
		    "c:1:22: 'addresses' is empty; leave it out, or write at "
		    "least one address\n" },
	};
	struct conf_problems p = { 0 };
	static const char text[] =
	    "upstreams: {u: {url: 'http://h:1', resolve: here}}\n"
	    "out: {a: {mark: 0x10, dscp: af21}, b: {device: lo}}\n"
	    "forwarded: {xff: add, forwarded: keep}\n"
	    "rules: [{if: {port: 1}, route: u}, {if: {port: 2}, route: a}, "
	    "{route: b}]\n";
	struct conf *c;

	CHECK_TABLE(t);
	c = conf_parse("c", text, strlen(text), &p);
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_EQUAL(c->out.v[0].from.mark, 16);
	CU_ASSERT_EQUAL(c->out.v[0].from.dscp, 18);
	CU_ASSERT_EQUAL(c->forwarded.xff, HTTP_SAID_ADD);
	CU_ASSERT_EQUAL(c->forwarded.forwarded, HTTP_SAID_KEEP);
	CU_ASSERT_PTR_EQUAL(conf_route(c, c->policy.rules.v[0].route),
	    &c->upstreams.v[0]);
	CU_ASSERT_PTR_NULL(conf_out(c, c->policy.rules.v[0].route));
	CU_ASSERT_PTR_EQUAL(conf_out(c, c->policy.rules.v[1].route),
	    &c->out.v[0]);
	CU_ASSERT_PTR_EQUAL(conf_out(c, c->policy.rules.v[2].route),
	    &c->out.v[1]);
	CU_ASSERT_PTR_NULL(conf_route(c, c->policy.rules.v[2].route));
	CU_ASSERT_PTR_NULL(conf_out(c, POLICY_DIRECT));
	CU_ASSERT_PTR_NULL(conf_route(c, POLICY_DIRECT));
	conf_problems_fini(&p);
	conf_unref(&c);
}

static void
test_defaults(void)
{
	struct conf_problems p = { 0 };
	struct conf *c = conf_load(NULL, &p);

	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT(p.n == 0);
	CU_ASSERT_STRING_EQUAL(c->file, "");
	CU_ASSERT(c->listen.n == 2 && c->listen.v[0].naddr == 1);
	CU_ASSERT(c->listen.v[0].addr[0].v4.sin_port == htons(3128));
	CU_ASSERT(c->listen.v[1].addr[0].sa.sa_family == AF_INET6);
	CU_ASSERT_STRING_EQUAL(c->listen.v[1].name, "[::1]:3128");
	CU_ASSERT(c->clients.n > 0 && c->destinations.deny.self);
	CU_ASSERT(c->destinations.allow.n == 0);
	CU_ASSERT(c->ca.cert == NULL && c->ca.key == NULL);
	CU_ASSERT(c->ca.leaf_days == 14);
	CU_ASSERT(c->tls.client.min == CONF_TLS_1_2);
	CU_ASSERT(c->tls.origin.trust.system);
	CU_ASSERT(c->tls.origin.revocation == REVOCATION_SOFT);
	CU_ASSERT_STRING_EQUAL(c->resolver.hosts, "/etc/hosts");
#ifdef HAVE_CLAMAV
	CU_ASSERT(c->services.n == 1 && c->services.v[0].used);
	CU_ASSERT_STRING_EQUAL(c->services.v[0].name, "clam");
	CU_ASSERT(c->services.v[0].type == CONF_CLAMAV);
	CU_ASSERT(c->services.v[0].mode == CONF_BOTH);
	CU_ASSERT(c->services.v[0].database == NULL);
	CU_ASSERT(c->services.v[0].max_body == 100 << 20);
	CU_ASSERT(c->services.v[0].limits.scan_size == 400 << 20);
	CU_ASSERT(c->services.v[0].limits.time_ms == 120000);
	CU_ASSERT(c->policy.all_req.n == 1 && c->policy.all_resp.n == 1);
#endif
	CU_ASSERT(c->download.hold_ms == 5000 && c->download.rate == 64);
	CU_ASSERT(c->download.browser == POLICY_TRICKLE);
	CU_ASSERT_STRING_EQUAL(c->pages.host, "assay.internal");
	CU_ASSERT_STRING_EQUAL(c->pages.org, "");
	CU_ASSERT(c->log.access.n == 1 && c->log.access.v[0].file == NULL);
	CU_ASSERT(c->log.privacy.query == LOGGING_DROP);
	CU_ASSERT(c->log.privacy.client == LOGGING_KEEP);
	CU_ASSERT(c->limits.clients == 20000 && c->limits.header == 65536);
	CU_ASSERT(c->services.n == 0 ||
	    (c->services.v[0].on_unscanned.of[GAP_STREAM] ==
		    SCAN_POLICY_BYPASS &&
		c->services.v[0].on_unscanned.of[GAP_PART] ==
		    SCAN_POLICY_BLOCK));
	CU_ASSERT(c->limits.idle_ms == 120000 && c->limits.memory > 0);
	CU_ASSERT(c->limits.temp == 20ull << 30);
	CU_ASSERT(c->workers == CONF_AUTO);
	conf_unref(&c);
	CU_ASSERT_PTR_NULL(c);
	conf_unref(&c);
}

/* One file with something of everything; name is not shared by two urls. */
static const char everything[] =
    "listen: [{on: ':3128', name: office}, {on: '[::1]:80'}]\n"
    "state: state\n"
    "services:\n"
    "  dlp:\n"
    "    url: ['icap://dlp1/reqmod?a=b', 'icaps://[::1]']\n"
    "    mode: req\n"
    "    on_error: bypass\n"
    "    on_busy: block\n"
    "    on_unscanned: { part: bypass }\n"
    "    preview: 0\n"
    "    timeout: 1m\n"
    "    headers: { X-Site: ' berlin ' }\n"
    "    tls: { trust: [/etc/hosts] }\n"
    "    balance: least_busy\n"
    "  av: { url: 'icap://h:99?x', mode: resp, preview: off, max_connections: "
    "7,\n"
    "    max_body: 5M, over_max: block, on_unscanned: bypass, page: replace, "
    "identity: none }\n"
    "  av2: { url: 'icap://h', mode: resp,\n"
    "    on_unscanned: {default: bypass, part: block} }\n"
    "scan: { up: [dlp], down: [[av, av2]] }\n"
    "rules:\n"
    "- { if: { host: a.test }, scan: [down, up, av] }\n"
    "- { if: { host: b.test }, scan: av2, download: stream }\n"
    "- { if: { host: c.test }, scan: none, tls: splice, log: minimal }\n"
    "download: { other: hold }\n"
    "pages: { org: no }\n"
    "admin: { socket: none }\n"
    "log: { access: [{to: a.log, format: squid}], privacy: {client: drop} }\n"
    "limits: { drain: 0, header: 100k, interim: 1 }\n"
    "workers: 3\n";

static void
check_dlp(const struct conf_service *s)
{
	CU_ASSERT(s->type == CONF_ICAP && s->mode == CONF_REQ);
	CU_ASSERT_FATAL(s->url.n == 2);
	CU_ASSERT_STRING_EQUAL(s->url.v[0].text, "icap://dlp1/reqmod?a=b");
	CU_ASSERT_STRING_EQUAL(s->url.v[0].host, "dlp1");
	CU_ASSERT_STRING_EQUAL(s->url.v[0].path, "/reqmod?a=b");
	CU_ASSERT(s->url.v[0].port == 1344 && !s->url.v[0].tls);
	CU_ASSERT_STRING_EQUAL(s->url.v[1].host, "::1");
	CU_ASSERT_STRING_EQUAL(s->url.v[1].path, "/");
	CU_ASSERT(s->url.v[1].port == 11344 && s->url.v[1].tls);
	CU_ASSERT(
	    s->on_error == SCAN_POLICY_BYPASS && s->on_busy == ICAP_BUSY_BLOCK);
	CU_ASSERT(s->preview == 0 && s->timeout_ms == 60000);
	CU_ASSERT(s->connect_timeout_ms == 3000 && s->probe_ms == 5000);
	CU_ASSERT(s->balance == ICAP_LEAST_BUSY);
	CU_ASSERT(s->max_body == CONF_NONE && s->over_max == SCAN_POLICY_BLOCK);
	CU_ASSERT_FATAL(s->headers.n == 1);
	CU_ASSERT_STRING_EQUAL(s->headers.v[0].name, "X-Site");
	CU_ASSERT_STRING_EQUAL(s->headers.v[0].value, "berlin");
	CU_ASSERT(!s->tls.trust.system && s->tls.trust.files.n == 1);
	CU_ASSERT(s->tls.cert == NULL && s->tls.name == NULL);
}

/* on_unscanned: a map that changes one, a word, a whole map. */
static void
check_gaps(const struct conf_service *s)
{
	unsigned g;

	for (g = GAP_NONE + 1; g < GAP_COUNT; g++) {
		CU_ASSERT_EQUAL(s[0].on_unscanned.of[g],
		    g == GAP_STREAM || g == GAP_PART ? SCAN_POLICY_BYPASS
						     : SCAN_POLICY_BLOCK);
		CU_ASSERT_EQUAL(s[1].on_unscanned.of[g], SCAN_POLICY_BYPASS);
		CU_ASSERT_EQUAL(s[2].on_unscanned.of[g],
		    g == GAP_PART ? SCAN_POLICY_BLOCK : SCAN_POLICY_BYPASS);
	}
}

static void
check_scans(const struct conf *c)
{
	const struct policy_rule *r = c->policy.rules.v;

	CU_ASSERT_FATAL(c->policy.rules.n == 3);
	CU_ASSERT_STRING_EQUAL(r[0].name, "rule 1");
	CU_ASSERT(r[0].decides == 1u << POLICY_BY_SCAN);
	CU_ASSERT(r[0].scan_req.n == 1 && r[0].scan_req.v[0].n == 1);
	CU_ASSERT(r[0].scan_req.v[0].service[0] == 0);
	/* av is there already, in the group */
	CU_ASSERT(r[0].scan_resp.n == 1 && r[0].scan_resp.v[0].n == 2);
	CU_ASSERT(r[0].scan_resp.v[0].service[1] == 2);
	CU_ASSERT(r[1].scan_req.n == 0 && r[1].scan_resp.n == 1);
	CU_ASSERT(r[1].download == POLICY_STREAM);
	CU_ASSERT(r[2].scan_req.n == 0 && r[2].scan_resp.n == 0);
	CU_ASSERT(r[2].tls == POLICY_SPLICE && r[2].log == POLICY_LOG_MINIMAL);
	CU_ASSERT(r[2].decides ==
	    (1u << POLICY_BY_SCAN | 1u << POLICY_BY_TLS | 1u << POLICY_BY_LOG));
	/* without a rule: all, one after another */
	CU_ASSERT(c->policy.all_req.n == 1 && c->policy.all_resp.n == 2);
	CU_ASSERT(
	    c->policy.all_resp.v[0].n == 1 && c->policy.all_resp.v[1].n == 1);
}

static void
test_values_read(void)
{
	struct conf *c = load(everything), *second;
	const struct conf_service *av;

	CU_ASSERT(c->listen.v[0].naddr == 2);
	CU_ASSERT(c->listen.v[0].addr[0].sa.sa_family == AF_INET);
	CU_ASSERT(c->listen.v[0].addr[1].sa.sa_family == AF_INET6);
	CU_ASSERT_STRING_EQUAL(c->listen.v[0].name, "office");
	CU_ASSERT_STRING_EQUAL(c->state, "/etc/assay/state");
	CU_ASSERT_FATAL(c->services.n == 3);
	check_dlp(&c->services.v[0]);
	av = &c->services.v[1];
	CU_ASSERT_STRING_EQUAL(av->url.v[0].path, "/?x");
	CU_ASSERT(av->url.v[0].port == 99 && av->preview == CONF_OFF);
	CU_ASSERT(av->max_body == 5 << 20 && av->over_max == SCAN_POLICY_BLOCK);
	CU_ASSERT(av->max_connections == 7 && av->page == CONF_PAGE_REPLACE);
	CU_ASSERT(av->identity == ICAP_IDENTITY_NONE && av->used);
	CU_ASSERT(
	    !conf_service_scans(av, false) && conf_service_scans(av, true));
	check_gaps(c->services.v);
	check_scans(c);
	CU_ASSERT(c->download.browser == POLICY_HOLD);
	CU_ASSERT_STRING_EQUAL(c->pages.org, "no");
	CU_ASSERT_PTR_NULL(c->admin.socket);
	CU_ASSERT_STRING_EQUAL(c->log.access.v[0].file, "/etc/assay/a.log");
	CU_ASSERT(c->log.access.v[0].format == LOGGING_SQUID);
	CU_ASSERT(c->log.privacy.client == LOGGING_DROP);
	CU_ASSERT(c->limits.drain_ms == 0 && c->limits.header == 102400);
	CU_ASSERT(c->workers == 3);
	second = conf_ref(c);
	conf_unref(&c);
	CU_ASSERT(second->workers == 3);
	conf_unref(&second);
}

static void
test_set_listen(void)
{
	struct conf *c = load("");
	char why[NETS_WHY];

	CU_ASSERT(!conf_set_listen(c, "nowhere", why));
	CU_ASSERT(c->listen.n == 2);
	CU_ASSERT(conf_set_listen(c, "127.0.0.1:0", why));
	CU_ASSERT(c->listen.n == 1 && c->listen.v[0].naddr == 1);
	CU_ASSERT_STRING_EQUAL(c->listen.v[0].name, "127.0.0.1:0");
	conf_unref(&c);
}

static void
test_admin_default(void)
{
	struct conf *c = load("state: /run/x\n");

	CU_ASSERT_STRING_EQUAL(c->admin.socket, "/run/x/admin.sock");
	conf_unref(&c);
}

static void
test_services_none(void)
{
	struct conf *c = load("services: {}\nrules: [{scan: none}]\n");

	CU_ASSERT(c->services.n == 0 && c->policy.all_req.n == 0);
	conf_unref(&c);
}

static void
test_restart(void)
{
	static const struct {
		const char *old, *new, *restart, *process;
	} t[] = {
		{ "", "", "", "" },
		{ "workers: 2", "workers: 2", "", "" },
		{ "workers: 2", "workers: 3", "", "'workers'" },
		{ "", "workers: 3", "", "'workers'" },
		{ "workers: 2", "", "", "'workers'" },
		{ "", "limits: {idle: 5s}", "", "" },
		{ "listen: [{on: ':1'}]", "listen: [{on: ':2'}]", "",
		    "'listen'" },
		{ "listen: [{on: ':1'}]", "{\"listen\": [{\"on\": \":1\"}]}",
		    "", "" },
		{ "", "ca: {cert: /etc/hosts, key: /etc/hosts}", "", "'ca'" },
		{ "ca: {leaf_days: 3}", "ca: {leaf_days: 4}", "", "" },
		{ "admin: {socket: a}", "admin: {socket: b}", "", "'admin'" },
		/* All of them, each once. */
		{ "workers: 2\nuser: a\nlisten: [{on: ':1'}]",
		    "state: /x\nworkers: 3\nlisten: [{on: ':2'}, {on: ':3'}]",
		    "'user', 'state'", "'listen', 'workers'" },
	};
	struct buf restart = { 0 }, process = { 0 };
	struct conf *old, *new;
	unsigned i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		old = load(t[i].old);
		new = load(t[i].new);
		conf_needs_restart(old, new, &restart);
		conf_needs_process(old, new, &process);
		buf_add(&restart, "", 1);
		buf_add(&process, "", 1);
		CU_ASSERT_STRING_EQUAL(restart.p, t[i].restart);
		CU_ASSERT_STRING_EQUAL(process.p, t[i].process);
		buf_fini(&restart);
		buf_fini(&process);
		conf_unref(&old);
		conf_unref(&new);
	}
}

static void
test_json(void)
{
	struct conf *c = load(
	    "{\"workers\": 2,\n\t\"pages\": {\"org\": "
	    "\"a\\/b \\ud83d\\ude00 \\\\ud83d\\\\ude00 \\u00e9\", \"help\": "
	    "\"\\\"q\\\"\"}}");

	CU_ASSERT(c->workers == 2);
	CU_ASSERT_STRING_EQUAL(c->pages.org,
	    "a/b \xf0\x9f\x98\x80 "
	    "\\ud83d\\ude00 \xc3\xa9");
	CU_ASSERT_STRING_EQUAL(c->pages.help, "\"q\"");
	conf_unref(&c);
}

/* What a load generator writes: strict JSON, every kind of service. */
static void
test_json_bench(void)
{
	struct conf *c = load(
	    "{\n \"listen\": [{\"on\": \"127.0.0.1:3128\", \"kind\": "
	    "\"explicit\"}],\n \"ca\": {\"cert\": \"/etc/hosts\", \"key\": "
	    "\"/etc/hosts\"},\n \"resolver\": {\"hosts\": \"/etc/hosts\"},\n"
	    " \"admin\": {\"socket\": \"/tmp/admin.sock\", \"http\": "
	    "\"none\"},\n \"log\": {\"access\": []},\n \"workers\": 1,\n"
	    " \"destinations\": {\"allow\": [\"127.0.0.0/8\", \"::1/128\"], "
	    "\"ports\": {\"connect\": [\"1-65535\"], \"http\": "
	    "[\"1-65535\"]}},\n \"tls\": {\"origin\": {\"trust\": "
	    "[\"/etc/hosts\"], \"crl\": [\"/etc/hosts\"]}},\n \"limits\": "
	    "{\"request\": \"3s\", \"idle\": \"5s\", \"read\": \"4s\"},\n"
	    " \"services\": {\"req0\": {\"url\": \"icap://127.0.0.1:1/e\", "
	    "\"mode\": \"req\", \"on_error\": \"block\", \"preview\": \"off\", "
	    "\"connect_timeout\": \"3s\", \"timeout\": \"10s\", \"identity\": "
	    "\"none\"}, \"resp0\": {\"url\": \"icaps://127.0.0.1:1/e\", "
	    "\"mode\": \"resp\", \"tls\": {\"trust\": [\"/etc/hosts\"]}}},\n"
	    " \"scan\": {\"upload\": [\"req0\"], \"download\": [\"resp0\"]},\n"
	    " \"rules\": [{\"name\": \"splice\", \"if\": {\"host\": "
	    "[\"=a.test\"]}, \"tls\": \"splice\"}, {\"name\": \"default\", "
	    "\"scan\": [\"upload\", \"download\"]}]\n}\n\n");

	CU_ASSERT(c->policy.rules.v[1].scan_req.n == 1);
	CU_ASSERT(c->policy.rules.v[1].scan_resp.v[0].service[0] == 1);
	CU_ASSERT(c->limits.request_ms == 3000 && c->log.access.n == 0);
	CU_ASSERT_STRING_EQUAL(c->admin.socket, "/tmp/admin.sock");
	conf_unref(&c);
}

static void
test_load_file(void)
{
	struct conf_problems p = { 0 };
	char path[] = "/tmp/assay-conf-XXXXXX";
	int fd = mkstemp(path);
	struct conf *c;

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT(write(fd, "workers: 2\n", 11) == 11);
	close(fd);
	c = conf_load(path, &p);
	CU_ASSERT_FATAL(c != NULL);
	CU_ASSERT_STRING_EQUAL(c->file, path);
	conf_unref(&c);
	unlink(path);
	CU_ASSERT_PTR_NULL(conf_load(path, &p));
	CU_ASSERT(p.n == 1 && p.v[0].line == 0);
	CU_ASSERT_STRING_EQUAL(p.v[0].text, "No such file or directory");
	CU_ASSERT_PTR_NULL(conf_load("/etc", &p));
	CU_ASSERT(p.errors == 2);
	conf_problems_fini(&p);
}

/* ---- the table ---- */

static bool
starts_with_any(const char *s, const char *const *names)
{
	for (; *names != NULL; names++)
		if (strncmp(s, *names, strlen(*names)) == 0)
			return (true);
	return (false);
}

/* A section's map around one setting: "tls: {origin: {%s}}". */
static const char *const around[SECTION_COUNT] = {
	[SECTION_ROOT] = "{%s}",
	[SECTION_LISTEN] = "listen: [{%s}]",
	[SECTION_DEST] = "destinations: {%s}",
	[SECTION_DEST_PORTS] = "destinations: {ports: {%s}}",
	[SECTION_CA] = "ca: {%s}",
	[SECTION_TLS] = "tls: {%s}",
	[SECTION_TLS_CLIENT] = "tls: {client: {%s}}",
	[SECTION_TLS_ORIGIN] = "tls: {origin: {%s}}",
	[SECTION_TLS_EXCEPTION] = "tls: {origin: {exceptions: [{%s}]}}",
	[SECTION_RESOLVER] = "resolver: {%s}",
	[SECTION_SERVICE] = "services: {a: {url: 'icap://h', %s}}",
	[SECTION_SERVICE_TLS] = "services: {a: {url: 'icaps://h', mode: req, "
				"tls: {%s}}}",
	[SECTION_SERVICE_LIMITS] = "services: {a: {url: 'clamav:', limits: "
				   "{%s}}}",
	[SECTION_LISTS] = "lists: {a: {file: b, %s}}",
	[SECTION_UPSTREAM] = "upstreams: {a: {%s}}",
	[SECTION_UPSTREAM_TLS] = "upstreams: {a: {url: 'https://h:1', tls: "
				 "{%s}}}",
	[SECTION_OUT] = "out: {a: {%s}}",
	[SECTION_FORWARDED] = "forwarded: {%s}",
	[SECTION_RULE] = "rules: [{%s}]",
	[SECTION_IF] = "rules: [{access: block, if: {%s}}]",
	[SECTION_DOWNLOAD] = "download: {%s}",
	[SECTION_PAGES] = "pages: {%s}",
	[SECTION_LOG] = "log: {%s}",
	[SECTION_LOG_ACCESS] = "log: {access: [{%s}]}",
	[SECTION_LOG_ISSUED] = "log: {issued: [{%s}]}",
	[SECTION_LOG_PRIVACY] = "log: {privacy: {%s}}",
	[SECTION_ADMIN] = "admin: {%s}",
	[SECTION_LIMITS] = "limits: {%s}",
	[SECTION_WEBSOCKET] = "websocket: {%s}",
};

/* Every name of the table is known where it stands, with a nonsense value too. */
static void
test_every_name(void)
{
	const struct conf_option *o;
	char setting[128], *got;
	struct buf text = { 0 };
	unsigned i;
	const char *in, *at;

	for (i = 0; i < conf_noptions; i++) {
		o = &conf_options[i];
		in = (o->flags & OPTION_CLAM) != 0
		    ? "services: {a: {url: 'clamav:', %s}}"
		    : around[o->section];
		CU_ASSERT_PTR_NOT_NULL_FATAL(in);
		at = strstr(in, "%s");
		snprintf(setting, sizeof(setting), "%s: {nonsense: 1}", o->key);
		text.n = 0;
		buf_add(&text, in, (size_t)(at - in));
		buf_cstr(&text, setting);
		buf_cstr(&text, at + 2);
		got = problems_of(text.p, text.n);
		snprintf(setting, sizeof(setting), "unknown setting '%s'",
		    o->key);
		CU_ASSERT_PTR_NULL(strstr(got, setting));
		if (o->type == TYPE_RESERVED) {
			snprintf(setting, sizeof(setting),
			    "'%s' is not "
			    "supported in this version",
			    o->key);
			CU_ASSERT_PTR_NOT_NULL(strstr(got, setting));
		}
		free(got);
	}
	buf_fini(&text);
}

/* ... and so is every word, "!%" among them. */
static void
test_every_word(void)
{
	const struct conf_option *o;
	const char *p, *in;
	char want[128], *got;
	struct buf text = { 0 };
	unsigned i, seen = 0;
	size_t n;

	for (i = 0; i < conf_noptions; i++) {
		o = &conf_options[i];
		for (p = o->words; p != NULL && (p = strchr(p, '!')) != NULL;
		     p += n) {
			n = strcspn(++p, " ");
			in = strstr(around[o->section], "%s");
			text.n = 0;
			buf_add(&text, around[o->section],
			    (size_t)(in - around[o->section]));
			buf_printf(&text, "%s: '%.*s'%s", o->key, (int)n, p,
			    in + 2);
			got = problems_of(text.p, text.n);
			snprintf(want, sizeof(want),
			    "'%s: %.*s' is not "
			    "supported in this version",
			    o->key, (int)n, p);
			CU_ASSERT_PTR_NOT_NULL(strstr(got, want));
			free(got);
			seen++;
		}
	}
	CU_ASSERT(seen >= 8);
	buf_fini(&text);
}

/* The names that others rely on. */
static void
test_contract(void)
{
	static const char *const names[] = { "listen", "clients",
		"destinations", "ca", "tls", "resolver", "services", "scan",
		"lists", "rules", "download", "auth", "pages", "log", "admin",
		"limits", "workers", "listen[].on", "listen[].kind",
		"listen[].name", "listen[].auth", "listen[].proxy_protocol",
		"listen[].tls", "destinations.deny", "destinations.allow",
		"destinations.ports", "destinations.ports.connect",
		"destinations.ports.http", "ca.cert", "ca.key", "ca.leaf_days",
		"tls.client", "tls.client.min", "tls.origin", "tls.origin.min",
		"tls.origin.trust", "tls.origin.crl", "tls.origin.revocation",
		"tls.origin.fetch_issuers", "tls.origin.on_invalid",
		"resolver.hosts", "resolver.servers", "services.NAME.url",
		"services.NAME.mode", "services.NAME.balance",
		"services.NAME.on_error", "services.NAME.on_busy",
		"services.NAME.preview", "services.NAME.max_connections",
		"services.NAME.connect_timeout", "services.NAME.timeout",
		"services.NAME.max_body", "services.NAME.over_max",
		"services.NAME.transfer_ignore", "services.NAME.probe",
		"services.NAME.identity", "services.NAME.headers",
		"services.NAME.decode", "services.NAME.tls",
		"services.NAME.tls.trust", "services.NAME.tls.cert",
		"services.NAME.tls.key", "services.NAME.tls.name",
		"services.NAME.page", "services.NAME.threads",
		"services.NAME.isolation", "services.NAME.on_unscanned",
		"services.NAME.limits", "services.NAME.limits.scan_size",
		"services.NAME.limits.files", "services.NAME.limits.recursion",
		"services.NAME.limits.time", "rules[].name", "rules[].if",
		"rules[].tls", "rules[].access", "rules[].scan",
		"rules[].download", "rules[].log", "rules[].route",
		"rules[].page", "rules[].if.client", "rules[].if.listener",
		"rules[].if.user", "rules[].if.group", "rules[].if.host",
		"rules[].if.port", "rules[].if.dest", "rules[].if.in",
		"rules[].if.url", "rules[].if.method", "rules[].if.type",
		"rules[].if.size", "rules[].if.time", "rules[].if.cert",
		"rules[].if.agent", "rules[].if.not", "download.hold",
		"download.browser", "download.other", "download.rate",
		"pages.org", "pages.help", "pages.dir", "pages.host",
		"log.access", "log.access[].to", "log.access[].format",
		"log.privacy", "log.privacy.query", "log.privacy.user",
		"log.privacy.client", "admin.socket", "admin.http",
		"limits.clients", "limits.per_client", "limits.header",
		"limits.memory", "limits.temp", "limits.request", "limits.read",
		"limits.first_byte", "limits.min_rate", "limits.idle",
		"limits.drain", "user", "upstreams", "out", "forwarded",
		"include", "cluster", "listen[].spoof", "listen[].names",
		"tls.pinning", "tls.origin.client_certs", "tls.origin.ct",
		"tls.origin.blocked_keys", "rules[].for", "rules[].before",
		"rules[].decline", "rules[].range", "rules[].websocket",
		"rules[].upgrade", "pages.detail", "log.icap", "log.audit",
		"log.errors", "log.privacy.host", "admin.view" };
	char path[128];
	unsigned i, j;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		for (j = 0; j < conf_noptions; j++) {
			const char *in = conf_sections[conf_options[j].section]
					     .path;

			snprintf(path, sizeof(path), "%s%s%s", in,
			    in[0] != '\0' ? "." : "", conf_options[j].key);
			if (strcmp(path, names[i]) == 0)
				break;
		}
		CU_ASSERT(j < conf_noptions);
	}
}

/* ---- the documents ---- */

static char *
written(void (*write_fn)(FILE *))
{
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	write_fn(f);
	fclose(f);
	return (out);
}

static void
check_document(void (*write_fn)(FILE *), const char *path)
{
	char *want = written(write_fn), *got;
	FILE *f = fopen(path, "r");
	size_t n = strlen(want);

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	got = calloc(1, n + 2);
	CU_ASSERT(fread(got, 1, n + 1, f) == n);
	CU_ASSERT(strcmp(got, want) == 0); /* make conf-docs */
	fclose(f);
	free(got);
	free(want);
}

static void
test_documents(void)
{
	check_document(conf_write_sample, SRCDIR "/etc/assay.conf");
	check_document(conf_write_man, SRCDIR "/doc/assay.conf.5");
}

/* The sample does nothing; with one '#' less it is right but for its files. */
static void
test_sample(void)
{
	static const char *const fine[] = { "cannot open '/etc/assay/", NULL };
	struct conf_problems p = { 0 };
	char *sample = written(conf_write_sample), *from, *to;
	struct conf *conf;
	unsigned i;

	conf = conf_parse("s", sample, strlen(sample), &p);
	CU_ASSERT(conf != NULL && p.n == 0);
	conf_unref(&conf);
	for (from = to = sample; *from != '\0'; from++)
		if (*from != '#' || (from != sample && from[-1] != '\n'))
			*to++ = *from;
	*to = '\0';
	conf = conf_parse("s", sample, strlen(sample), &p);
	conf_unref(&conf);
	for (i = 0; i < p.n; i++) {
		if (!starts_with_any(p.v[i].text, fine))
			printf("# %u:%s\n", p.v[i].line, p.v[i].text);
#ifdef HAVE_CLAMAV
		CU_ASSERT(starts_with_any(p.v[i].text, fine));
#endif
	}
	CU_ASSERT(p.n > 0);
	conf_problems_fini(&p);
	free(sample);
}

/* A file cut anywhere gives a configuration or a problem. */
static void
test_cut(void)
{
	size_t n;
	char *got;

	for (n = 0; n < sizeof(everything); n += 1 + unit_random(3)) {
		got = problems_of(everything, n);
		free(got);
	}
	CU_PASS("no crash");
}

UNIT_TESTS(proxy_conf, { "what is no YAML", test_syntax },
    { "unknown and repeated settings", test_keys },
    { "wrong values", test_values }, { "listeners", test_listen },
    { "files", test_files }, { "services", test_services },
    { "chains and rules", test_chains_and_rules },
    { "upstreams", test_upstreams }, { "ways out", test_out },
    { "defaults", test_defaults }, { "values are read", test_values_read },
    { "--listen", test_set_listen },
    { "administration socket", test_admin_default },
    { "no services", test_services_none },
    { "what needs a restart", test_restart }, { "JSON", test_json },
    { "JSON as the bench writes it", test_json_bench },
    { "files are loaded", test_load_file },
    { "every name of the table is known", test_every_name },
    { "every reserved word is known", test_every_word },
    { "every name of the contract is in the table", test_contract },
    { "the documents are those of the table", test_documents },
    { "the sample", test_sample }, { "cut anywhere", test_cut })
