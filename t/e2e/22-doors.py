# SPDX-License-Identifier: GPL-2.0-or-later
"""Every check at every door: one row per (check, way, when).  The ways are a
plain request, one in an opened tunnel, and a spliced tunnel; when is the first
request of a connection, a later one, and one after a reload.  What is refused
has not reached the origin; each row has its control, which passes."""
import socket
import ssl

import wire
from wire import Response, ok

WAYS = ("plain", "opened", "spliced")
SPLICE = {"name": "sp", "tls": "splice"}
SCAN = {"name": "default", "scan": "none"}
OPEN = {"deny": [], "allow": ["127.0.0.0/8"]}


def unverified():
    c = ssl.create_default_context()
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    return c


class Visit:
    """A client's connection by one way: ask() says "pass" or "block"."""

    def __init__(self, p, o, way, host="www.test", source=None, sni=None):
        self.way, self.host, self.o, self.p = way, host, o, p
        self.own = o.tls.leaf if o.tls else None
        self.source, self.sni = source, sni
        self.conn = None

    def open(self):
        raw = socket.create_connection(self.p.addr, wire.TIMEOUT, source_address=(self.source, 0) if self.source else None)
        self.conn = wire.Conn(raw)
        if self.way == "plain":
            return
        self.conn.send(f"CONNECT {self.host}:{self.o.port} HTTP/1.1\r\nHost: x\r\n\r\n")
        r = Response(self.conn, "CONNECT")
        if r.status != 200:
            self.refused = r.status
            return
        sock = unverified().wrap_socket(raw, server_hostname=self.sni or self.host, suppress_ragged_eofs=False)
        self.conn = wire.Conn(sock)

    def ask(self, path="/", host=None, method="GET", body=b""):
        try:
            if self.conn is None:
                self.open()
            if getattr(self, "refused", None):
                return f"block {self.refused}"
            h = host or f"{self.sni or self.host}:{self.o.port}"
            target = f"http://{h}{path}" if self.way == "plain" else path
            length = f"Content-Length: {len(body)}\r\n" if body else ""
            self.conn.send(f"{method} {target} HTTP/1.1\r\nHost: {h}\r\n{length}\r\n".encode() + body)
            r = Response(self.conn, method)
        except (wire.Ended, OSError, ssl.SSLError):
            return "block ended"
        self.last = r
        if r.status != 200:
            return f"block {r.status}"
        return "pass"

    def is_spliced(self):
        return ssl.DER_cert_to_PEM_cert(self.conn.sock.getpeercert(True)).split() == \
            ssl.DER_cert_to_PEM_cert(self.own if isinstance(self.own, bytes) else der(self.own)).split()


def der(leaf):
    from cryptography.hazmat.primitives.serialization import Encoding
    return leaf.public_bytes(Encoding.DER)


def start(lab, way, **conf):
    o = lab.origin(lambda h, b: ok(b"hello"), tls=None if way == "plain" else "www.test")
    return o, lab.assay(**settings(way, o, **conf))


def settings(way, o, rules=(), **conf):
    conf.setdefault("workers", 1)
    conf.setdefault("destinations", OPEN)
    tail = [SPLICE] if way == "spliced" else []
    conf["rules"] = [r(o) if callable(r) else r for r in rules] + tail + [SCAN]
    return conf


def rule(**when):
    return {"name": "no", "if": when, "access": "block"}


# name, host asked for, what is added for "denied", what for "allowed"
CHECKS = [
    ("clients", "www.test", {"clients": ["192.0.2.0/24"]}, {"clients": ["127.0.0.0/8"]}),
    ("ports", "www.test", lambda o: {"destinations": dict(OPEN, ports={"connect": [1], "http": [1]})},
     lambda o: {"destinations": dict(OPEN, ports={"connect": [o.port], "http": [o.port]})}),
    ("destinations", "www.test", {"destinations": {"deny": ["127.0.0.0/8"]}}, {"destinations": {"deny": ["127.0.0.2/32"]}}),
    ("destinations, literal", "127.0.0.1", {"destinations": {"deny": ["127.0.0.0/8"]}}, {"destinations": {"deny": ["127.0.0.2/32"]}}),
    ("access by host", "www.test", {"rules": [rule(host="www.test")]}, {"rules": [rule(host="other.test")]}),
    ("access by port", "www.test", lambda o: {"rules": [rule(port=[o.port])]}, {"rules": [rule(port=[1])]}),
    ("access by client", "www.test", {"rules": [rule(client="127.0.0.1")]}, {"rules": [rule(client="127.0.0.2")]}),
    ("access by dest", "www.test", {"rules": [rule(dest="127.0.0.1")]}, {"rules": [rule(dest="127.0.0.2")]}),
    ("access by dest, literal", "127.0.0.1", {"rules": [rule(dest="127.0.0.0/8")]}, {"rules": [rule(dest="10.0.0.0/8")]}),
    ("access by not dest", "www.test", {"rules": [rule(**{"not": {"dest": "10.0.0.0/8"}})]},
     {"rules": [rule(**{"not": {"dest": "127.0.0.0/8"}})]}),
    ("allow by dest, block the rest", "www.test",
     {"rules": [{"name": "in", "if": {"dest": "10.0.0.0/8"}, "access": "allow"}, {"name": "no", "access": "block"}]},
     {"rules": [{"name": "in", "if": {"dest": "127.0.0.0/8"}, "access": "allow"}, {"name": "no", "access": "block"}]}),
]


def of(o, what):
    return what(o) if callable(what) else what


def test_checks_on_a_first_request(lab):
    for name, host, denied, allowed in CHECKS:
        for way in WAYS:
            with lab.sub(f"{name}, {way}"):
                o = lab.origin(lambda h, b: ok(b"hello"), tls=None if way == "plain" else "www.test")
                p = lab.assay(**settings(way, o, **of(o, denied)))
                got = Visit(p, o, way, host).ask()
                assert got.startswith("block"), got
                assert o.accepted == 0, "the origin was connected to"
                p = lab.assay(**settings(way, o, **of(o, allowed)))
                v = Visit(p, o, way, host)
                assert v.ask() == "pass"
                assert v.ask() == "pass"
                assert way == "plain" or v.is_spliced() == (way == "spliced")


def test_checks_after_a_reload(lab):
    """A connection that is there already: its next request is judged by the
    rules of now; a spliced one, which has no requests, ends."""
    for name, host, denied, allowed in CHECKS:
        for way in WAYS:
            with lab.sub(f"{name}, {way}"):
                o = lab.origin(lambda h, b: ok(b"hello"), tls=None if way == "plain" else "www.test")
                p = lab.assay(**settings(way, o, **of(o, allowed)))
                v = Visit(p, o, way, host)
                assert v.ask() == "pass"
                p.write_conf(lab.conf(p.port, **settings(way, o, **of(o, allowed))))
                p.reload()
                assert v.ask() == "pass", "a reload without a change ended it"
                n = len(o.requests)
                p.write_conf(lab.conf(p.port, **settings(way, o, **of(o, denied))))
                p.reload()
                got = v.ask()
                assert got.startswith("block"), got
                assert len(o.requests) == n, "the request reached the origin"


def test_reload_between_connect_and_hello(lab):
    """A tunnel that is not spliced yet when the rules change is so by those of
    now alone: it is refused, or opened."""
    o = lab.origin(lambda h, b: ok(b"hello"))
    new = {"same": ([SPLICE], "pass spliced"), "host": ([rule(host="www.test"), SPLICE], "block 403"),
           "dest": ([rule(dest="127.0.0.1"), SPLICE], "block 403"), "inspect": ([], "pass opened")}
    for name, (rules, want) in new.items():
        with lab.sub(name):
            p = lab.assay(rules=[SPLICE, SCAN], workers=1, destinations=OPEN)
            raw = lab.connect(p)
            raw.send(f"CONNECT www.test:{o.port} HTTP/1.1\r\nHost: x\r\n\r\n")
            assert Response(raw, "CONNECT").status == 200
            p.write_conf(lab.conf(p.port, rules=[*rules, SCAN], workers=1, destinations=OPEN))
            p.reload()
            v = Visit(p, o, "spliced")
            v.conn = wire.Conn(unverified().wrap_socket(raw.sock, server_hostname="www.test", suppress_ragged_eofs=False))
            got = v.ask()
            if got == "pass":
                got += " spliced" if v.is_spliced() else " opened"
            assert got == want, got


def test_dest_on_pooled_connections(lab):
    """A connection that was made for one client is used by another: his rules
    are asked with its address."""
    rules = [{"name": "no", "if": {"client": "127.0.0.2", "dest": "127.0.0.0/8"}, "access": "block"}]
    for way in ("plain", "opened"):
        with lab.sub(way):
            o, p = start(lab, way, rules=rules)
            a = Visit(p, o, way)
            assert a.ask() == "pass"
            assert wire.wait_for(lambda: o.requests)
            b = Visit(p, o, way, source="127.0.0.2")
            assert b.ask() == "block 403"
            assert b.ask() == "block 403"
            assert a.ask() == "pass" and len(o.requests) == 2
            c = Visit(p, o, way, source="127.0.0.3")
            assert c.ask() == "pass"


def test_dest_on_a_later_connection(lab):
    """The origin closes each connection: the address of each new one counts,
    and where the first address is forbidden the other one is used."""
    lab.hosts["two.test"] = ["127.0.0.2", "127.0.0.1"]
    for way in ("plain", "opened"):
        with lab.sub(way):
            ctx = lab.server_context("two.test") if way == "opened" else None
            o = lab.origin(lambda h, b: ok(b"hello", [("Connection", "close")]), tls=ctx)
            p = lab.assay(workers=1, destinations=OPEN, rules=[rule(dest="127.0.0.2"), SCAN])
            v = Visit(p, o, way, "two.test")
            for _ in range(4):
                assert v.ask() == "pass"
            p = lab.assay(workers=1, destinations=OPEN, rules=[rule(dest=["127.0.0.2", "127.0.0.1"]), SCAN])
            assert Visit(p, o, way, "two.test").ask() == "block 403"


def test_dest_with_url(lab):
    """What only a request tells is asked with the address as well."""
    rules = [{"name": "ok", "if": {"url": "/ok", "dest": "127.0.0.0/8"}, "access": "allow"},
             {"name": "no", "if": {"dest": "127.0.0.0/8"}, "access": "block"}]
    for way in ("plain", "opened"):
        with lab.sub(way):
            o, p = start(lab, way, rules=rules)
            v = Visit(p, o, way)
            assert [v.ask(x) for x in ("/ok", "/no", "/ok/2", "/no2")] == ["pass", "block 403", "pass", "block 403"]
            assert [h.start.split()[1] for h, _, _ in o.requests] == ["/ok", "/ok/2"]


def test_tls_by_dest(lab):
    """Splice and inspect may be decided by the address, by name or literal."""
    splice = [{"name": "s", "if": {"dest": "127.0.0.1"}, "tls": "splice"}, SCAN]
    inspect = [{"name": "i", "if": {"dest": "127.0.0.1"}, "tls": "inspect"}, SPLICE, SCAN]
    other = [{"name": "s", "if": {"dest": "127.0.0.2"}, "tls": "splice"}, SCAN]
    o = lab.origin(lambda h, b: ok(b"hello"))
    for host in ("www.test", "127.0.0.1"):
        for name, rules, spliced in (("splice", splice, True), ("inspect", inspect, False), ("other", other, False)):
            with lab.sub(f"{name} {host}"):
                had = o.accepted
                p = lab.assay(workers=1, destinations=OPEN, rules=rules)
                v = Visit(p, o, "opened", host)
                assert v.ask() == "pass" and v.ask() == "pass"
                assert v.is_spliced() == spliced
                assert o.accepted == had + 1, "a second connection was made"
                w = Visit(p, o, "opened", host)
                assert w.ask() == "pass" and w.is_spliced() == spliced


def test_tls_by_dest_and_block_by_dest(lab):
    rules = [{"name": "no", "if": {"dest": "127.0.0.2"}, "access": "block"},
             {"name": "s", "if": {"dest": "127.0.0.0/8"}, "tls": "splice"}, SCAN]
    lab.hosts["second.test"] = "127.0.0.2"
    o = lab.origin(lambda h, b: ok(b"hello"))
    p = lab.assay(workers=1, destinations=OPEN, rules=rules)
    assert Visit(p, o, "opened", "second.test").ask() == "block 403"
    v = Visit(p, o, "opened", "www.test")
    assert v.ask() == "pass" and v.is_spliced()


def test_scan_by_dest(lab):
    """Who scans may depend on the address: of requests and of responses."""
    for way in ("plain", "opened"):
        for dest, scanned in (("127.0.0.1", True), ("127.0.0.2", False)):
            with lab.sub(f"{way} {dest}"):
                s = lab.icap(lambda tx: (tx.whole(), tx.no_change()))
                o = lab.origin(lambda h, b: ok(b"hello"), tls=None if way == "plain" else "www.test")
                p = lab.assay(workers=1, destinations=OPEN,
                              services={"up": {"url": s.url(), "mode": "req"}, "down": {"url": s.url(), "mode": "resp"}},
                              rules=[{"name": "s", "if": {"dest": dest}, "scan": ["up", "down"]}, SCAN])
                v = Visit(p, o, way)
                for i in range(2):
                    assert v.ask(f"/{i}", method="POST", body=b"abc") == "pass"
                    assert o.requests[-1][1] == b"abc"
                assert [t.method for t in s.txs] == (["REQMOD", "RESPMOD"] * 2 if scanned else []), s.txs


def test_addresses_in_other_clothes(lab):
    """An IPv4 address written as an IPv6 one (RFC 4291 2.5.5.2) meets the
    rules for it, by host, URL and dest."""
    for way, sni in (("plain", None), ("spliced", "www.test")):
        for when in ({"host": "127.0.0.1"}, {"host": "::ffff:127.0.0.1"}, {"dest": "127.0.0.1"}, {"url": "^http://127[.]0[.]0[.]1[:/]"}):
            if way == "spliced" and "url" in when:
                continue
            for host in ("[::ffff:127.0.0.1]", "[::FFFF:7f00:1]", "127.0.0.1"):
                with lab.sub(f"{way} {when} {host}"):
                    o, p = start(lab, way, rules=[rule(**when)])
                    got = Visit(p, o, way, host, sni=sni).ask()
                    assert got.startswith("block") and o.accepted == 0, got
            with lab.sub(f"{way} {when} control"):
                o, p = start(lab, way, rules=[rule(**{k: v.replace("0.1", "0.2").replace("]1", "]2") for k, v in when.items()})])
                assert Visit(p, o, way, "[::ffff:127.0.0.1]", sni=sni).ask() == "pass"


def test_authority_of_a_tunnel(lab):
    """Another name inside is 421, on the first request and on later ones."""
    o, p = start(lab, "opened")
    first = Visit(p, o, "opened")
    assert first.ask(host=f"other.test:{o.port}") == "block 421"
    later = Visit(p, o, "opened")
    assert later.ask() == "pass"
    assert later.ask(host=f"other.test:{o.port}") == "block 421"
    port = Visit(p, o, "opened")
    assert port.ask(host="www.test:1") == "block 421"
    assert len(o.requests) == 1


def test_sni_and_connect_disagree(lab):
    o, p = start(lab, "opened")
    v = Visit(p, o, "opened", "www.test", sni="other.test")
    assert v.ask() == "block 421"
    assert not o.requests
    o, p = start(lab, "spliced", rules=[])
    v = Visit(p, o, "spliced", "www.test", sni="other.test")
    assert v.ask() == "block 421" and not v.is_spliced() and o.accepted == 0


def test_rules_for_a_rewritten_request(lab):
    """A service that changes the request does not lead past the rules."""
    def rewrite(tx):
        body = tx.whole() if tx.has_body else None
        head = tx.raw["req-hdr"].replace(b"/old", b"/new").replace(b"/fine", b"/good").replace(b"/late", b"/type")
        tx.modified(head, body, "req")
    s = lab.icap(rewrite)
    for way in ("plain", "opened"):
        with lab.sub(way):
            o = lab.origin(lambda h, b: ok(b"hello"), tls=None if way == "plain" else "www.test")
            p = lab.assay(workers=1, services={"s": {"url": s.url(), "mode": "req"}},
                          rules=[{"name": "no", "if": {"url": "/new"}, "access": "block"},
                                 {"name": "late", "if": {"url": "/type", "type": "text/x-late"}, "access": "block"},
                                 {"name": "asked", "if": {"url": "/fine", "type": "text/x-asked"}, "access": "block"},
                                 {"name": "d", "scan": ["s"]}])
            v = Visit(p, o, way)
            assert v.ask("/old") == "block 403"
            assert v.ask("/fine") == "pass"
            assert [h.start.split()[1] for h, _, _ in o.requests] == ["/good"]
            # the response is judged by what was asked for and by what was sent
            for path, kind, how in (("/late", "text/plain", "pass"), ("/late", "text/x-late", "block 403"),
                                    ("/fine", "text/x-late", "pass"), ("/fine", "text/x-asked", "block 403")):
                o.reply = lambda h, b, k=kind: ok(b"hello", [("Content-Type", k)])
                assert v.ask(path) == how, (path, kind)


def test_check_refuses_a_dest_that_never_applies(lab):
    """What destinations.deny has already; and what it has only in part."""
    def rules(*dest):
        return {"rules": [{"name": "a", "if": {"dest": list(dest)}, "access": "block"}]}
    for dest in (["127.0.0.1"], ["127.0.0.0/8", "169.254.169.254"], ["::1"]):
        with lab.sub(dest):
            code, out, _ = lab.check(rules(*dest))
            assert code == 1 and "'dest' never applies" in out, out
    for conf in (rules("127.0.0.1", "10.0.0.0/8"), rules("0.0.0.0/0"), dict(rules("127.0.0.0/8"), destinations={"allow": ["127.0.0.3"]}),
                 dict(rules("127.0.0.1"), destinations={"deny": []})):
        with lab.sub(conf):
            code, out, _ = lab.check(conf)
            assert code == 0, out


def test_block_by_dest_is_recorded(lab):
    """Rule and action are in the record, whichever door closed."""
    lab.hosts["second.test"] = "127.0.0.2"
    for way in WAYS:
        with lab.sub(way):
            o, p = start(lab, way, rules=[rule(dest="127.0.0.2")])
            v = Visit(p, o, way, "second.test")
            assert v.ask() == "block 403"
            v.conn.close()
            assert wire.wait_for(lambda: any(r.get("event.action") == "block" and r.get("assay.rule.access") == "no"
                                             for r in p.access(1))), p.access(1)
            (lab.dir / "access.log").write_text("")
