# SPDX-License-Identifier: GPL-2.0-or-later
"""Odd values of every type of setting, made from the table of settings
(proxy/conf/option.def): what --check accepts is taken by a reload, what it refuses
changes nothing, and assayd lives and answers after each.

E2E_VALUES=all gives every value to every setting; else the values of a type
are dealt out to its settings."""
import functools
import json
import multiprocessing.pool
import os
import re
import signal
import threading

import certs
import wire
import lab as e2e
from wire import ok

SCALE = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "MS": 1, "SEC": 1000, "MINUTE": 60000, "HOUR": 3600000}
# Types without numbers whose members are settings again: shapes alone.
SHAPES = ["MAP", "LIST", "NAMED", "MATCH", "CHAINS", "SCAN"]

ANY = ["", "none", "~", "true", "off", "0", "-1", "1", "1.5", "1e3", "0x10", " 5 ", "18446744073709551615",
       "18446744073709551616", "9" * 40, "%s%n", "$1", "ä", "\u202e", "\x01", "a\nb", "x" * 5000, "/", "/dev/zero",
       [], {}, [[]], ["1", "1"], [None], {"a": "b"}, [{"a": "b"}], {"": ""}, None, True, 7, -7, 1.5, 1 << 64]
NUMBERS = ["00", "01", "1 ", "+1", "1_000", "١"]
OF_TYPE = {
    "TEXT": ["a", "<script>", "a\r\nb", "\x7f", "\t", "\ud7ff", "''", "a: b", "example.com", "Example.COM.", "[::1]", "1.2.3"],
    "ENUM": ["block bypass", "!page", "BLOCK", "block ", "Block", ["block"], {"block": "bypass"}, {"default": "block"}],
    "GAPS": ["block", "bypass", "Block", ["block"], {"default": "block"}, {"stream": "bypass", "limit": "block"}, {"default": "x"},
             {"nothing": "block"}, {"part": {}}, {"part": None}],
    "COUNT": NUMBERS + ["auto", "1-2", "4294967296"],
    "SIZE": NUMBERS + ["1K", "1k", "64KB", "1 K", "K", "16777215T", "17179869184G", "1.5M", "-1K", "auto"],
    "MEMORY": NUMBERS + ["1%", "0%", "90%", "91%", "%", "1.5%", "50%%", "16M", "15M"],
    "TIME": NUMBERS + ["1ms", "1s", "1 s", "5", "1w", "1h30m", "213503982334601d", "106751991167d", "s", "-5s"],
    "NETS": ["0.0.0.0/0", "::/0", "10.0.0.0/33", "10.0.0.1/8", "::/129", "::ffff:1.2.3.4/96", "::ffff:0:0/95", "self", "any",
             "private", "Private", "fe80::1%lo", "1.2.3", "0x7f.1", "300.1.1.1", "1.2.3.4/", "/8", "127.0.0.1", "1.2.3.4/08",
             [f"10.{i}.0.0/16" for i in range(250)]],
    "PORTS": ["65535", "65536", "1-65535", "9-1", "1-2-3", "-", "443-", "-443", ["1", "2-3"], "0-1"],
    "TRUST": ["system", ["system", "@pem"], "@dir", "@fifo", "@empty", "@garbage", "@pem", ["@pem"] * 100, "@none"],
    "ROOTS": ["system", ["system", "@pem"], "@dir", "@garbage", "@pem", ["@pem"] * 100, "@none", {"file": "@pem"}, {"not_after": "2024-01-01"},
              [{"file": "@pem", "not_after": "2024-02-29"}], [{"file": "@pem", "not_after": "2023-02-29"}],
              ["system", {"file": "@garbage", "not_after": "2024-01-01"}], [{"file": "@pem", "not_after": "9999-12-31"}],
              [{"file": "@pem", "not_after": "24-1-1"}], [{"file": [], "not_after": {}}], [{"file": "@pem", "not_after": "2024-01-01", "x": 1}],
              [{"file": "@pem", "public": "true"}], [{"file": "@pem", "public": "yes"}], [{"file": "@pem", "public": []}]],
    "FILES": ["@dir", "@fifo", "@empty", "@garbage", "@pem", "@none", ["@empty"] * 70],
    "FILE": ["@dir", "@fifo", "@empty", "@garbage", "@pem", "@none"],
    "PATH": ["@dir", "@fifo", "@empty", "@garbage", "@none", "relative/path"],
    "SECRET": ["@dir", "@fifo", "@empty", "@garbage", "@pem", "file:", "file:@pem", "cred:x", "cred:", "cred:../x", "pkcs11:",
               "pkcs11:object=nothing", "@none"],
    "ADDRS": ["1.2.3.4", "1.2.3.4:0", "[::1]:53", "::1", "[::1]", "[::1", "localhost", "1.2.3.4:53:53", "1.2.3.4:65536",
              "::ffff:1.2.3.4", "fe80::1%lo", "0.0.0.0", "::", [f"10.0.{i}.1:5353" for i in range(120)],
              [f"[2001:db8::{i:x}]:5353" for i in range(120)]],
    "HEADERS": [{"X-A": "b"}, {"Host": "x"}, {"A b": "c"}, {"X": "a\tb"}, {"X": "a\r\nY: z"}, {"X": "\x7f"}, {"Xä": "y"},
                {"X": "ä"}, {"X": ""}, {"X": "%{client.ip}"}, {"X": "%{"}, {"X": "y" * 2000}, {"X": []}, {"x": "1", "X": "2"}],
    "SHARE": ["X-A", ["X-A", "X-B"], "x a", "X:", ["X-A", "x-a"], "Host", "Set-Cookie", "ä", "x" * 300, [f"X-{i}" for i in range(100)]],
    "ON": [":0", "1.2.3.4", "[::1]", "127.0.0.1:65536", "localhost:3128", ":1-2", "[::1]:-1"],
    "URL": ["icap://av$1.example/x", "icap://a..b/x", "icap://-/", "icap://0x7f.1/x", "icap://1.2.3/x", "icap://2130706433/",
            "icap://a:0/", "icap://a:00001/", "icap://a/`", "icap://a/^{|}", "icap://a/" + "x" * 2000, "icap://[::1]",
            "icap://[::ffff:1.2.3.4]/x", "icap://[fe80::1%25lo]/", "icap://a_b/x", "ICAP://a/x", "icap://a@b/x", "icap://a?b",
            "icap://a:1344?b", "icap://a./x", "icap://.a/x", "icap://" + "a" * 64 + "/x", "icap://" + "a." * 130 + "a/x", "icap://",
            "icap:///x", "icap:a", "icap://a/%00", "icap://a/\u00e4", "icap://ä/x", "icap://a/#b", "icap://a/x y", "icaps://a/x",
            "icaps://[::1]:1/x", "http://a/", ["icap://a/1", "icaps://b/2"], ["icap://a/"] * 16, ["icap://a/"] * 17,
            ["icap://a/", "clamav:"], "clamav:/nonexistent", "clamav:@dir", "clamav:@pem", "clamav:relative"],
    "PROXIES": ["http://a:1", "https://a:1", "socks5://a:1", "socks5h://a:1", "socks4://a:1", "http://a", "http://a:0", "http://a:65536", "http://a:1/",
                "http://a:1/x", "http://a:1?x", "http://u:p@a:1", "http://[::1]:1", "http://[::1", "http://0x7f.1:1", "http://a b:1", "http://",
                "HTTP://a:1", "//a:1", "http://a:1#x", "http://a..b:1", "http://" + "a" * 64 + ":1", "http://a:1\r\nX: y",
                ["http://a:1", "socks5://b:2"], ["http://a:1"] * 16, ["http://a:1"] * 17],
    "BLOCKS": ["198.51.100.7", "198.51.100.128/28", "2001:db8::/64", "2001:db8::/0", "0.0.0.0", "::", "224.0.0.1", "self", "private", "[::1]", "::1",
               "198.51.100.129/28", "198.51.100.0/33", "1.2.3", "::ffff:192.0.2.1", "fe80::1%lo", [f"10.{i}.0.0/16" for i in range(250)]],
    "MARK": NUMBERS + ["0x10", "0x", "0xg", "0X10", "-0x1", "4294967295", "4294967296", "0xffffffff", "0x100000000", "1"],
    "DSCP": NUMBERS + ["af21", "AF21", "af14", "cs8", "ef", "63", "64", "le", "0x2"],
    "ROUTE": ["direct", "Direct", "u", "nobody", "none", ["u"], "u/", "ä"],
    "LOG_TO": ["stdout", "@dir", "@fifo", "@empty", "/dev/null", "/dev/full", "/nonexistent/x", "@file/x", "journal", "syslog:x",
               "/" + "x" * 300, "/" + "x/" * 600],
    "HOSTS": ["example.com", "=1.2.3.4", "*.1.2.3.4", "::1", "[::1]", "[::1", "0x7f.1", "017.0.0.1", "1.2", "a..b", "*", "*.", "=",
              "=*.a", ".a", "a.", "a_b", "xn--a", "münchen.de", "a" * 64, "a." * 130, "a:443", "a/b", "ExAmple.com",
              [f"h{i}.example" for i in range(500)]],
    "METHODS": ["GET", "get", "*", "GE T", "M-SEARCH", "X" * 33, ["GET", "POST"]],
    "PROTOCOLS": ["tls/1.0", "websocket", "h2c", "HTTP/2.0", "a b", "a/b/c", "/", "a,b", "x" * 300, ["a", "A"], "irc/6.9",
                  [f"p{i}" for i in range(100)]],
    "TYPES": ["text/html", "*/*", "video/*", "a", "/", "a/", "*", "a/b/c", "a/b;c=d", "*/a", "TEXT/HTML", "a/*b"],
    "SIZES": [">1", "<0", "<=0", ">=18446744073709551615", ">18446744073709551613", ">18446744073709551615", "1-2", "2-1", "1K-1M",
              "> 5", ">", "-", "1-", "<1T", ">=0", "<18446744073709551616"],
    "URLS": ["(", "[", "a{99999}", "(a+)+$", "(?R)", "\\C", "(*LIMIT_MATCH=1)a", "(*NOTEMPTY)", "(?{1})", "\\p{L}", "(*UTF)\\x{e4}",
             "(?C1)a", "^", ".*", "(((((((((((a)*)*)*)*)*)*)*)*)*)*)*", "\\", "(?<=a+)b", "x" * 3000, "(" * 300 + ")" * 300],
    "TIMES": ["Mon-Fri 08:00-18:00", "Sat,Sun", "22:00-06:00", "Fri-Mon", "mon 0:00-24:00", "08:00", "24:00-08:00", "25:00-26:00", "Mon-",
              "Mon,,Tue", "Mon 8-18", "08:00-08:00", "00:00-00:00", "daily", ["Mon", "Tue 10:00-11:00"], "Mon  08:00-09:00"],
    "IN": ["l", "nobody", "l/x", "l/", "/", ["l", "l"], ["l", "nobody"]],
    "LISTENERS": ["office", "127.0.0.1:3128", ["office", "nobody"]],
    "SCAN": ["s", ["s", "s"], ["down"], ["down", "s"], "clam", [["s"]]],
    "CHAINS": [{"a": []}, {"a": "s"}, {"a": [["s"], "s"]}, {"a": [["s", "nobody"]]}, {"a": [[["s"]]]}, {"none": ["s"]}, {"s": ["s"]},
               {"a": ["a"]}, {"a": {"s": "s"}}],
    "MATCH": [{"host": "a.test", "not": {"host": "b.test"}}, {"not": {}}, {"not": {"not": {"not": {"port": 1}}}},
              functools.reduce(lambda x, _: {"not": x}, range(40), {"port": 1})],
    "NAMED": [{"x": {"url": "icap://127.0.0.1:1/", "mode": "resp"}}, {"x": {}}, {"x": None}, {"none": {"url": "icap://a", "mode": "req"}}],
    "LIST": [[{}], [None], [[]], [{"name": "x"}], {"0": {}}],
    "RESERVED": ["x", ["x"], {"x": "y"}, "no", "off", "direct", "thread", "keep", "drop"],
}


def number(text):
    text = text.strip()
    m = re.fullmatch(r"(\d+)(?:\s+(\w+))?", text)
    return int(m[1]) * SCALE[m[2]] if m and m[2] else int(m[1]) if m else 0


@functools.cache
def table():
    """Every setting: (section, key, type, words, min, max, flags)."""
    text = (e2e.SRC / "proxy" / "conf" / "option.def").read_text()
    text = text[text.index("/* ---- the file ---- */"):]
    string = r'(?:"(?:[^"\\]|\\.)*"\s*)+'
    part = rf"\s*({string}|[^,()]*(?:\([^)]*\))?[^,()]*)\s*"
    out = []
    for m in re.finditer(r"^(OPTION|INSIDE|RESERVED)\(", text, re.M):
        args, at = [], m.end()
        while len(args) < 20:
            a = re.compile(part, re.S).match(text, at)
            args.append(a[1].strip())
            at = a.end()
            if text[at] == ")":
                break
            at += 1
        if m[1] == "OPTION":
            words = re.findall(r"[!\w.%]+", args[4]) if args[4].startswith('"') else []
            out.append((args[0], args[1], args[2], words, number(args[6]), number(args[7]), args[8]))
        elif m[1] == "INSIDE":
            out.append((args[0], args[1], args[2], [], 0, 0, args[6]))
        else:
            out.append((args[0], args[1], "RESERVED", [], 0, 0, args[3]))
    return out


def values_of(kind, words, low, high):
    own = list(OF_TYPE.get(kind, []))
    if words:
        own += [w.lstrip("!") for w in words] + words
    return own, [str(x) for x in (low - 1, low, high, high + 1) if kind in ("COUNT", "SIZE", "MEMORY")] + \
        [f"{x}ms" for x in (low - 1, low, high, high + 1) if kind == "TIME"]


def deal(types):
    """(section, key, flags, value): all values of a type over its settings."""
    every = os.environ.get("E2E_VALUES") == "all"
    for kind in sorted({t[2] for t in table()}):
        if kind not in types:
            continue
        settings = [t for t in table() if t[2] == kind]
        shared = [v for v in ANY if kind not in ("RESERVED",)] + OF_TYPE.get(kind, [])
        each = max(3, -(-len(shared) // len(settings)))
        at = 0
        for section, key, _, words, low, high, flags in settings:
            own, edges = values_of(kind, words, low, high)
            mine = shared + own + edges if every else [shared[(at + i) % len(shared)] for i in range(min(each, len(shared)))] + edges + \
                own[len(OF_TYPE.get(kind, [])):]
            at += each
            seen = set()
            for v in mine:
                if repr(v) not in seen:
                    seen.add(repr(v))
                    yield section, key, flags, v


class Place:
    """Where a setting of a section stands in a whole configuration."""

    def __init__(self, lab, port, services, files):
        self.lab, self.port, self.services, self.files = lab, port, services, files

    def base(self):
        c = self.lab.conf(self.port, services=json.loads(json.dumps(self.services)), rules=[{"name": "default", "scan": ["s"]}])
        c["listen"][0]["name"] = "office"
        c["lists"] = {"l": {"file": self.files["file"], "max_bad": 100}}
        c["upstreams"] = {"u": {"url": "http://127.0.0.1:1"}}
        c["out"] = {"o": {"dscp": "cs1"}}
        c["rules"].append({"name": "out", "if": {"host": "out.test"}, "route": "o"})
        c["rules"].append({"name": "parent", "if": {"host": "parent.test"}, "route": "u"})
        return c

    def fill(self, v):
        """@name stands for a file of the test."""
        if isinstance(v, str):
            return re.sub(r"@(dir|fifo|empty|garbage|pem|none|file)", lambda m: self.files[m[1]], v)
        if isinstance(v, list):
            return [self.fill(x) for x in v]
        return {k: self.fill(x) for k, x in v.items()} if isinstance(v, dict) else v

    def conf(self, section, key, flags, value):
        c, v = self.base(), self.fill(value)
        rule = {"name": "odd", "if": {"host": "www.test"}, "log": "minimal"}
        if needs_clamav(section, key, flags, value):
            c["services"]["c"] = {"url": f"clamav:{e2e.TESTDB}"}
            c["rules"][0]["scan"] = ["s", "c"]
        inner = {"ROOT": lambda: c, "LISTEN": lambda: c["listen"][0], "RULE": lambda: rule, "IF": lambda: rule["if"],
                 "SERVICE": lambda: c["services"]["c" if "OPTION_CLAM" in flags else "s"],
                 "SERVICE_TLS": lambda: c["services"]["s"].setdefault("tls", {}),
                 "SERVICE_LIMITS": lambda: c["services"]["c"].setdefault("limits", {}),
                 "LISTS": lambda: c["lists"]["l"],
                 "OUT": lambda: c["out"]["o"],
                 "UPSTREAM": lambda: c["upstreams"]["u"],
                 "UPSTREAM_TLS": lambda: c["upstreams"]["u"].setdefault("tls", {}),
                 "TLS_EXCEPTION": lambda: c["tls"]["origin"].setdefault("exceptions", [{"host": "old.test", "legacy": "true"}])[0],
                 "LOG_ACCESS": lambda: c["log"]["access"][0],
                 "LOG_ISSUED": lambda: c["log"].setdefault("issued", [{"to": "stdout"}])[0]}.get(section)
        if inner:
            here = inner()
        else:
            here = c
            for name in section.lower().split("_"):
                here = here.setdefault({"dest": "destinations"}.get(name, name), {})
        if section == "SERVICE_TLS":
            c["services"]["s"]["url"] = "icaps://127.0.0.1:1/x"
            if key in ("cert", "key"):
                here.update(cert=self.files["pem"], key=self.files["pem"])
        if section == "UPSTREAM_TLS":
            c["upstreams"]["u"]["url"] = "https://127.0.0.1:1"
            if key in ("cert", "key"):
                here.update(cert=self.files["pem"], key=self.files["pem"])
        if section in ("RULE", "IF"):
            if section == "IF" and key != "host":
                del rule["if"]["host"]
            c["rules"].insert(0, rule)
        here[key] = v
        return c


def answered(p, url_host, port):
    """The status of one request through assayd; 0: closed without one."""
    try:
        conn = wire.connect(p.addr, 20 * e2e.lab_scale())
        try:
            conn.send(f"GET http://{url_host}:{port}/ HTTP/1.1\r\nHost: {url_host}:{port}\r\nConnection: close\r\n\r\n".encode())
            return wire.Response(conn).status
        finally:
            conn.cut()
    except (wire.Ended, OSError):
        return 0


def shown(v):
    text = json.dumps(v)
    return text if len(text) < 80 else text[:77] + "..."


def needs_clamav(section, key, flags, value):
    return section == "SERVICE_LIMITS" or "OPTION_CLAM" in flags


class Try:
    """One value of one setting, and what --check says of it."""

    def __init__(self, place, section, key, flags, value):
        self.section, self.flags = section, flags
        self.label = f"{section}.{key}: {shown(value)}"
        self.text = json.dumps(place.conf(section, key, flags, value))

    def check(self, lab):
        self.code, self.out, path = lab.check(self.text, name=f"check.{threading.get_ident()}.conf")

    def is_fixed(self):
        """May a reload say that it cannot change while assayd runs?"""
        return "OPTION_START" in self.flags or self.section in ("LISTEN", "CA", "ROOT")


def try_values(lab, types):
    s = lab.icap()
    o = lab.origin(lambda h, b: ok(b"x"), tls=None)
    key = certs.make_ca("Odd values")
    files = {n: str(lab.dir / f"odd.{n}") for n in ("dir", "fifo", "empty", "garbage", "pem", "none", "file")}
    os.mkdir(files["dir"])
    os.mkfifo(files["fifo"])
    for name, data in (("empty", b""), ("garbage", bytes(range(256))), ("file", b"x"), ("pem", certs.pem(key[1]) + certs.pem(key[0]))):
        with open(files[name], "wb") as f:
            f.write(data)
    os.chmod(files["pem"], 0o600)
    services = {"s": {"url": s.url(), "mode": "resp"}, "down": {"url": "icap://127.0.0.1:1/x", "mode": "resp", "on_error": "bypass"}}
    port = lab.port()
    place = Place(lab, port, services, files)
    p = lab.assay(raw=json.dumps(place.base()), port=port)
    base = json.dumps(place.base())
    tries = [Try(place, *v) for v in deal(types) if e2e.has_clamav() or not needs_clamav(*v)]
    with multiprocessing.pool.ThreadPool(3) as pool:
        pool.map(lambda t: t.check(lab), tries)
    assert answered(p, "www.test", o.port) == 200

    def swap(conf):
        had = len(p.log())
        p.write_conf(conf)
        p.signal(signal.SIGHUP)
        said = wire.wait_for(lambda: re.search("in force|nothing was changed", p.log()[had:]) and p.log()[had:],
                             60 * e2e.lab_scale(), step=0.003)
        assert p.alive(), f"assayd has ended: {p.log()[-1500:]}"
        assert said, "no word about the reload"
        return said

    def back():
        swap(base)
        assert answered(p, "www.test", o.port) == 200, "not as before"

    there = set(os.listdir(lab.dir))

    def sweep():
        """What a log of an earlier row has made is in the way of a socket of this name, which --check has not seen."""
        for name in set(os.listdir(lab.dir)) - there:
            if (lab.dir / name).is_file():
                (lab.dir / name).unlink()

    # What may change nothing is given to the ordinary configuration, so that it shows; the others to each other.
    for n, t in enumerate(sorted(tries, key=lambda t: t.code == 0 and not t.is_fixed())):
        with lab.sub(t.label):
            assert t.code in (0, 1), f"--check ended with {t.code}: {t.out[-500:]}"
            sweep()
            said = swap(t.text)
            fixed = "cannot change while running" in said
            if t.code == 0 and not fixed:
                assert "in force" in said, f"--check takes it, the reload does not: {said[-600:]}"
            else:
                assert "nothing was changed" in said and "in force" not in said, f"--check says {t.out[-300:]}, the reload {said[-600:]}"
            assert not fixed or t.is_fixed(), said
            status = answered(p, "www.test", o.port)
            assert p.alive(), f"assayd has ended: {p.log()[-1500:]}"
            if "nothing was changed" in said:
                assert status == 200, f"a refused file changed something: {status}"
            elif t.is_fixed() or n % 16 == 0:
                back()
        if not p.alive():
            break
    with lab.sub("at the end"):
        back()
    count = [sum(t.code == code for t in tries) for code in (0, 1)]
    assert min(count) > 0, count
    print(f"# {count[0]} values accepted, {count[1]} refused")


@e2e.slow
@e2e.seconds(300)
def test_odd_numbers_words_and_texts(lab):
    try_values(lab, ["TEXT", "ENUM", "GAPS", "COUNT", "SIZE", "MEMORY", "TIME", "RESERVED"])


@e2e.slow
@e2e.seconds(300)
def test_odd_addresses_and_files(lab):
    try_values(lab, ["URL", "ADDRS", "ON", "NETS", "PORTS", "HEADERS", "SHARE", "TRUST", "ROOTS", "FILES", "FILE", "PATH", "SECRET", "LOG_TO"])


@e2e.slow
@e2e.seconds(300)
def test_odd_conditions_and_shapes(lab):
    try_values(lab, [*SHAPES, "HOSTS", "METHODS", "TYPES", "SIZES", "URLS", "LISTENERS", "IN", "TIMES"])


def test_every_type_has_odd_values(lab):
    """A new type of setting brings its own."""
    types = {t[2] for t in table()}
    assert len(table()) > 100 and not types - set(OF_TYPE) - {"MAP"}, types - set(OF_TYPE)
