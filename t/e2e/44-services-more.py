# SPDX-License-Identifier: GPL-2.0-or-later
"""What an ICAP service is told, asked and shown beyond the message itself."""
import contextlib
import ssl
import threading
import time

import wire
from lab import EICAR, TESTDB, field, needs, pattern
from wire import ok

BODY = pattern(5000)


def start(lab, script=None, services=None, options=(), reply=None, **conf):
    s = lab.icap(script, extra=options)
    o = lab.origin(reply or (lambda h, b: ok(BODY)))
    p = lab.assay(services={n: dict({"url": s.url()}, **v) for n, v in (services or {"s": {"mode": "resp"}}).items()}, workers=1, **conf)
    return s, o, p


# ---------------------------------------------------------------- headers:
def test_headers_with_variables(lab):
    """Each says what it means, in both modes and on both ways of a request;
    one without a value is left out."""
    headers = {"X-Who": "%{client.ip}", "X-Rule": "r=%{rule}", "X-Ref": "%{reference}", "X-Sni": "%{sni}", "X-Door": "%{listener}",
               "X-User": "%{user}", "X-Fixed": "100%"}
    port = lab.port()
    s, o, p = start(lab, services={"q": {"mode": "req", "headers": headers}, "r": {"mode": "resp", "headers": headers}},
                    port=port, listen=[{"on": f"127.0.0.1:{port}", "name": "office"}], rules=[{"name": "all", "scan": ["q", "r"]}])
    t = lab.tunnel(p, o.port)
    assert t.get("/in").body == BODY
    tunnelled = p.access(1)[0]
    c = wire.connect(p.addr)
    c.send(f"GET http://www.test:{lab.origin(lambda h, b: ok(BODY), tls=None).port}/ HTTP/1.1\r\nHost: x\r\nX-User: mallory\r\n\r\n")
    wire.Response(c)
    plain = p.access(2)[1]
    assert len(s.txs) >= 3, s.txs
    for tx in s.txs:
        inside = tx.request.start.split()[1].startswith("https:")
        record = tunnelled if inside else plain
        h = tx.head
        assert h.get("X-Who") == "127.0.0.1" and h.get("X-Rule") == "r=all" and h.get("X-Door") == "office", h
        assert h.get("X-Ref") == field(record, "event.id"), (h, record)
        assert h.get("X-Sni") == (t.host.rsplit(":", 1)[0] if inside else None), h
        assert not h.has("X-User") and h.get("X-Fixed") == "100%", h


def test_headers_with_unknown_variables(lab):
    for value, good in (("%{client.ip} 5%", True), ("%{client.port}", False), ("%{", False)):
        with lab.sub(value):
            code, text, _ = lab.check({"services": {"s": {"url": "icap://127.0.0.1/x", "mode": "req", "headers": {"X-A": value}}}})
            assert (code == 0) == good, text
            assert good or "is no variable" in text, text


# ---------------------------------------------------------------- connect:
def connects(s):
    return [tx for tx in s.txs if tx.request.start.startswith("CONNECT ")]


def with_connect(lab, script, service=None, **conf):
    s = lab.icap(script, connect=True)
    o = lab.origin(lambda h, b: ok(BODY))
    p = lab.assay(services={"q": dict({"url": s.url(), "mode": "req", "connect": True, "on_error": "block"}, **(service or {}))}, workers=1, **conf)
    return s, o, p


def ask(p, o, host="www.test", more=b""):
    """A bare CONNECT: the answer, and the connection."""
    c = wire.connect(p.addr)
    c.send(f"CONNECT {host}:{o.port} HTTP/1.1\r\nHost: {host}:{o.port}\r\nProxy-Connection: keep-alive\r\nUser-Agent: lab\r\n\r\n".encode() + more)
    return wire.Response(c, "CONNECT"), c


def adapted(head, body=None):
    return lambda tx: tx.modified(head, body)


CONNECT_ANSWERS = {
    # what the service says: (status for the client, with on_error bypass)
    "204": (lambda tx: tx.no_change(), 200, 200),
    "echo": (lambda tx: tx.modified(tx.raw["req-hdr"], None), 200, 200),
    "a field more": (lambda tx: tx.modified(tx.raw["req-hdr"].replace(b"\r\n\r\n", b"\r\nX-A: b\r\n\r\n"), None), 200, 200),
    "page": (lambda tx: tx.block("not this host"), 403, 403),
    "redirect": (adapted("HTTP/1.1 302 Found\r\nLocation: http://help.test/\r\n\r\n"), 302, 302),
    "finding": (lambda tx: tx.answer("204 No", fields=[("X-Virus-ID", "Bad.Host")]), 403, 403),
    "accepted": (adapted("HTTP/1.1 200 OK\r\n\r\n"), 502, 200),
    "accepted with a body": (adapted("HTTP/1.1 200 OK\r\n\r\n", b"hello"), 502, 200),
    "other host": (adapted("CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n"), 502, 200),
    "other port": (lambda tx: tx.modified("CONNECT www.test:1 HTTP/1.1\r\nHost: www.test:1\r\n\r\n", None), 502, 200),
    "GET": (adapted("GET http://www.test/ HTTP/1.1\r\nHost: www.test\r\n\r\n"), 502, 200),
    "with a body": (lambda tx: tx.modified(tx.raw["req-hdr"], b"body"), 502, 200),
    "garbage": (lambda tx: (tx.conn.send("what?\r\n\r\n"), "close")[1], 502, 200),
    "500": (lambda tx: tx.answer("500 Broken"), 502, 200),
}


def test_connect_answers(lab):
    """What a service says to a CONNECT, before anything is opened; a block is
    the answer to it, recorded in full, and no octet goes to the origin."""
    for name, (script, blocked, bypassed) in CONNECT_ANSWERS.items():
        for on_error, want in (("block", blocked), ("bypass", bypassed)):
            with lab.sub(f"{name}, {on_error}"):
                (lab.dir / "access.log").unlink(missing_ok=True)
                s, o, p = with_connect(lab, lambda tx: script(tx) if tx.request.start.startswith("CONNECT ") else tx.no_change(), {"on_error": on_error},
                                       rules=[{"name": "quiet", "log": "none"}])
                r, c = ask(p, o)
                assert r.status == want or (want == 502 and r.status in (502, 503)), r
                tx = connects(s)[0]
                assert tx.request.start == f"CONNECT www.test:{o.port} HTTP/1.1" and tx.encapsulated[-1][0] == "null-body", tx.raw
                assert tx.request.get("Host") == f"www.test:{o.port}" and not tx.request.has("Proxy-Connection"), tx.raw
                if want == 200:
                    ctx = wire.context(p.ca)
                    t = wire.Conn(ctx.wrap_socket(c.sock, server_hostname="www.test"))
                    t.send(f"GET / HTTP/1.1\r\nHost: www.test:{o.port}\r\n\r\n")
                    assert wire.Response(t).body == BODY
                else:
                    assert not o.accepted, "the origin was connected to"
                    assert not c.fill() and c.ended == "clean", "closed behind the answer"
                    record = p.access(1)[0]
                    assert field(record, "event.action") == ("block" if want < 500 else "error"), record
                    assert field(record, "http.request.method") == "CONNECT" and field(record, "http.response.status_code") == r.status, record
                    assert field(record, "assay.scan")[0]["service"] == "q", record
                    if name != "redirect":
                        ref = field(record, "event.id")
                        assert ref in r.text() or ref in (r.get("Proxy-Status") or ""), (ref, r.text(), r.head)
                p.stop()


def test_connect_is_recorded(lab):
    """One that passes: with the first request inside, or the tunnel itself."""
    s, o, p = with_connect(lab, None, rules=[{"name": "bank", "if": {"host": "b.test"}, "tls": "splice"}])
    t = lab.tunnel(p, o.port)
    for _ in range(2):
        t.get()
    one, two = p.access(2)
    assert [x["service"] for x in field(one, "assay.scan")] == ["q", "q"] and len(field(two, "assay.scan")) == 1
    assert len(connects(s)) == 1
    r, c = ask(p, o, "b.test")
    assert r.status == 200 and len(connects(s)) == 2
    c.send(b"\x16\x03\x01\x00\x00")
    c.close()
    assert [x["outcome"] for x in field(p.access(3)[2], "assay.scan")] == ["clean"]


def test_connect_where_it_is_not_shown(lab):
    """A service that is not told to see it; policy's block comes first; a rule
    that scans nothing; assay's own pages."""
    for name, service, rules, host, status in (
            ("false", {"connect": False}, [], "www.test", 200),
            ("policy", {}, [{"name": "no", "if": {"host": "www.test"}, "access": "block"}], "www.test", 200),
            ("none", {}, [{"name": "no", "if": {"host": "www.test"}, "scan": "none"}], "www.test", 200),
            ("method", {}, [{"name": "no", "if": {"method": ["CONNECT"]}, "scan": "none"}], "www.test", 200),
            ("own", {}, [], "assay.internal", 200)):
        with lab.sub(name):
            s, o, p = with_connect(lab, lambda tx: tx.block(), service, rules=rules)
            r, c = ask(p, o, host)
            assert r.status == status and not s.txs, (r, s.txs)
            if name == "policy":
                t = wire.Conn(wire.context(p.ca).wrap_socket(c.sock, server_hostname="www.test"))
                t.send(f"GET / HTTP/1.1\r\nHost: www.test:{o.port}\r\n\r\n")
                assert wire.Response(t).status == 403 and not s.txs
            p.stop()


def client_hello(host):
    """What a TLS client says first."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    o = ssl._create_unverified_context().wrap_bio(into, out, server_hostname=host)
    with contextlib.suppress(ssl.SSLWantReadError):
        o.do_handshake()
    return o, into, out.read()


def test_connect_while_it_thinks(lab):
    """The ClientHello in the same segment as its CONNECT while the service
    takes its time: opened, spliced and refused; the client goes away; a reload
    comes; the proxy is told to end."""
    go = threading.Event()

    def think(tx):
        if tx.request.start.startswith("CONNECT "):
            assert go.wait(30)
        return tx.block() if "evil.test" in tx.request.start else tx.no_change()
    rules = [{"name": "bank", "if": {"host": "b.test"}, "tls": "splice"}]
    s, o, p = with_connect(lab, think, rules=rules)

    def begin(host):
        n = len(s.txs)
        tls, into, hello = client_hello(host)
        c = wire.connect(p.addr)
        c.send(f"CONNECT {host}:{o.port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() + hello)
        assert wire.wait_for(lambda: len(s.txs) > n, 20)
        return c, tls, into

    for host, status in (("www.test", 200), ("b.test", 200), ("evil.test", 403)):
        with lab.sub(host):
            go.clear()
            c, tls, into = begin(host)
            assert not o.accepted or host != "www.test", "the origin was connected to"
            go.set()
            assert wire.Response(c, "CONNECT").status == status
            if status != 200:
                continue
            while b"\x16\x03" not in bytes(c.buf):      # its ServerHello
                assert c.fill()
            into.write(bytes(c.buf))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            c.close()
    for how in ("reset", "close"):
        with lab.sub(how):
            go.clear()
            c, _, _ = begin("www.test")
            c.reset() if how == "reset" else c.close()
            time.sleep(0.7)
            go.set()
            assert lab.tunnel(p, o.port).get().body == BODY
    with lab.sub("reload"):
        go.clear()
        c, tls, into = begin("www.test")
        p.reload()
        go.set()
        assert wire.Response(c, "CONNECT").status == 200
        c.close()
        assert lab.tunnel(p, o.port).get().body == BODY
    with lab.sub("end"):
        go.clear()
        c, _, _ = begin("www.test")
        p.signal(15)
        time.sleep(0.3)
        go.set()
        c.cut()
        p.stop()


# ---------------------------------------------------------------- share:
def test_share(lab):
    """What a service says in a shared field is told to the later ones of the
    flow, of the request and of the response, and to nobody else."""
    said = {"/q1": [("X-Cat", "one"), ("X-Cat", "two"), ("X-Other", "no"), ("X-Tag", "a")], "/q2": [("X-Cat", "three"), ("X-Evil", "x")], "/r1": [("X-Late", "r")]}

    def script(tx):
        tx.whole()
        path = "/" + tx.url.rsplit("/", 1)[1]
        if "/bad" in tx.request.start and path == "/q1":
            tx.answer("500 no", fields=said[path])
        else:
            tx.answer("204 No", fields=said.get(path, ()))
    s = lab.icap(script)
    o = lab.origin(lambda h, b: ok(BODY))
    share = {"q1": ["X-Cat", "X-Tag"], "q2": ["X-Cat"], "r1": ["X-Late"]}
    services = {n: {"url": s.url(n), "mode": "req" if n[0] == "q" else "resp", "share": share.get(n, []), "on_error": "bypass"} for n in ("q1", "q2", "q3", "r1", "r2")}
    services["r2"]["headers"] = {"X-Tag": "mine"}
    p = lab.assay(services=services, workers=1)
    t = lab.tunnel(p, o.port)
    mine = "X-Cat: forged\r\nX-Tag: forged\r\nX-Late: forged\r\n"
    for path, cat, tag in (("/a", ["one", "two"], ["a"]), ("/bad", [], []), ("/b", ["one", "two"], ["a"])):
        with lab.sub(path):
            s.txs.clear()
            assert t.get(path, fields=mine).body == BODY
            tx = {x.url.rsplit("/", 1)[1]: x.head for x in s.txs}
            assert len(tx) == len(s.txs) == 5
            got = {n: {f: h.all(f) for f in ("X-Cat", "X-Tag", "X-Late", "X-Other", "X-Evil") if h.all(f)} for n, h in tx.items()}

            def want(cat, **more):
                return dict({k: v for k, v in (("X-Cat", cat), ("X-Tag", tag)) if v}, **more)
            assert got == {"q1": {}, "q2": want(cat), "q3": want(["three"]), "r1": want(["three"]),
                           "r2": dict(want(["three"]), **{"X-Tag": ["mine"], "X-Late": ["r"]})}, got


def test_share_in_a_group(lab):
    """Those that work at the same time do not hear each other, and an answer
    that depends on what others said is not believed again."""
    s = lab.icap(lambda tx: (tx.whole(), tx.answer("204 No", fields=[("X-Cat", "c"), ("X-Many", "m" * 5000), ("X-Many", "n" * 5000)])))
    o = lab.origin(lambda h, b: ok(BODY))
    names = ("a", "b", "c")
    p = lab.assay(services={n: {"url": s.url(n), "mode": "resp", "share": ["X-Cat", "X-Many"]} for n in names}, scan={"down": [["a", "b"], "c"]},
                  rules=[{"name": "r", "scan": ["down"]}], workers=1)
    t = lab.tunnel(p, o.port)
    for _ in range(3):
        s.txs.clear()
        assert t.get().body == BODY
        heads = {x.url.rsplit("/", 1)[1]: x.head for x in s.txs}
        assert len(heads) == 3 and not heads["a"].has("X-Cat") and not heads["b"].has("X-Cat"), heads
        assert heads["c"].all("X-Cat") == ["c"], heads["c"]
        assert sum(map(len, heads["c"].all("X-Many"))) <= 8192


# ---------------------------------------------------------------- scan_answers:
HTML = b"<!doctype html><html><body>the service's page</body></html>\n"


def page(body=HTML, status="403 Forbidden", fields=()):
    return lambda tx: tx.modified(f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\n\r\n", body, "res", fields)


ANSWER_ROWS = {
    # (what the download service does, status, in the body, action, outcomes of resp)
    "passes": (lambda tx: (tx.whole(), tx.no_change()), 403, b"the service's page", "block", ["clean"]),
    "changes": (lambda tx: (tx.whole(), page(HTML.replace(b"page", b"PAGE"))(tx)), 403, b"service's PAGE", "block", ["modified"]),
    "blocks": (lambda tx: (tx.whole(), tx.answer("204 No", fields=[("X-Virus-ID", "Bad.Page")])), 403, b"Bad.Page", "block", ["blocked"]),
    "own page": (lambda tx: (tx.whole(), page(b"<html>another</html>", "451 No", [("X-Virus-ID", "Bad.Page")])(tx)), 451, b"another", "block", ["blocked"]),
    "fails": (lambda tx: (tx.whole(), "close")[1], 502, b"", "block", ["error"]),
}


def test_scan_answers(lab):
    """What a REQMOD service answers is shown to the services of the download
    chain that want it; the flow's reference stands in what the client gets."""
    for name, (script, status, inside, action, outcomes) in ANSWER_ROWS.items():
        for plain in (False, True):
            with lab.sub(f"{name}, {'plain' if plain else 'tunnel'}"):
                (lab.dir / "access.log").unlink(missing_ok=True)
                q = lab.icap(page())
                s = lab.icap(script)
                other = lab.icap()
                o = lab.origin(lambda h, b: ok(BODY))
                p = lab.assay(services={"q": {"url": q.url(), "mode": "req"}, "no": {"url": other.url(), "mode": "resp"},
                                        "r": {"url": s.url(), "mode": "resp", "scan_answers": True}}, workers=1)
                if plain:
                    c = wire.connect(p.addr)
                    c.send(f"GET http://www.test:{o.port}/x HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n")
                    r = wire.Response(c)
                else:
                    r = lab.tunnel(p, o.port).get("/x", fields="Accept: text/html\r\n")
                assert r.status in (status, 503 if status == 502 else 0) and inside in r.body, (r, r.body)
                assert len(s.txs) in (1, 1 + (name == "fails")) and not other.txs and not o.requests, (s.txs, other.txs, o.requests)
                assert s.txs[0].response.start.startswith("HTTP/1.1 403") and HTML[:-9] in s.txs[0].preview + s.txs[0].rest
                record = p.access(1)[0]
                assert field(record, "event.action") == action, record
                assert [x["outcome"] for x in field(record, "assay.scan") if x["mode"] == "resp"] == outcomes, record
                assert field(record, "event.id") in r.text(), (record, r.body)
                p.stop()


def test_scan_answers_of_other_kinds(lab):
    """HEAD, a redirect without a body, uploads whose rest was not read; and
    without scan_answers nobody sees them."""
    for told in (True, False):
        q = lab.icap(lambda tx: page()(tx) if "HEAD" in tx.request.start or "POST" in tx.request.start else
                     tx.modified("HTTP/1.1 302 Found\r\nLocation: http://x.test/\r\n\r\n", None))
        s = lab.icap(lambda tx: (tx.whole(), tx.no_change()))
        o = lab.origin(lambda h, b: ok(BODY))
        p = lab.assay(services={"q": {"url": q.url(), "mode": "req"}, "r": {"url": s.url(), "mode": "resp", "scan_answers": told}}, workers=1)
        for method, status in (("GET", 302), ("HEAD", 403), ("POST", 403)):
            with lab.sub(f"{method}, {told}"):
                s.txs.clear()
                t = lab.tunnel(p, o.port)
                more = b"x" * 200000 if method == "POST" else b""
                t.send(f"{method} /x HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {len(more)}\r\n\r\n".encode() + more)
                r = wire.Response(t, method)
                assert r.status == status and (method != "POST" or HTML[:-9] in r.body), r
                assert [x.response.start.split()[1] for x in s.txs] == ([str(status)] if told else [])
        p.stop()


@needs("clamav")
def test_scan_answers_that_are_parts(lab):
    """A 206 that a REQMOD service makes is shown as the part that it says it is."""
    for name, said, status in (("part", "bytes 0-4/10", 403), ("whole", "bytes 0-4/5", 206)):
        with lab.sub(name):
            q = lab.icap(lambda tx: tx.modified(f"HTTP/1.1 206 Partial Content\r\nContent-Range: {said}\r\n\r\n", b"01234"))
            o = lab.origin(lambda h, b: ok(BODY))
            p = lab.assay(services={"q": {"url": q.url(), "mode": "req"}, "clam": {"url": f"clamav:{TESTDB}", "scan_answers": True}}, workers=1)
            r = lab.tunnel(p, o.port).get("/x", fields="Range: bytes=0-4\r\n")
            assert r.status == status and (r.body == b"01234") == (status == 206), r
            p.stop()


@needs("clamav")
def test_scan_answers_by_clamav(lab):
    for told, status in ((True, 403), (False, 200)):
        with lab.sub(told):
            (lab.dir / "access.log").unlink(missing_ok=True)
            q = lab.icap(lambda tx: tx.modified("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", EICAR))
            o = lab.origin(lambda h, b: ok(BODY))
            p = lab.assay(services={"q": {"url": q.url(), "mode": "req"}, "clam": {"url": f"clamav:{TESTDB}", "scan_answers": told}}, workers=1)
            r = lab.tunnel(p, o.port).get("/x")
            assert r.status == status and (EICAR in r.body) != told, r
            record = p.access(1)[0]
            assert field(record, "event.action") == "block" and (field(record, "error.code") == "THREAT") == told, record
            p.stop()
