# SPDX-License-Identifier: GPL-2.0-or-later
"""HTTP/2 towards origins: one connection for many, whatever the origin does on it."""
import os
import threading
import time

import h2origin
import lab as e2e
import wire
from h2origin import start
from wire import ok


def many(n, do):
    """do(i) in n threads at once; what they returned, or raised."""
    out = [None] * n

    def one(i):
        try:
            out[i] = do(i)
        except Exception as e:
            out[i] = e
    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    return out


@e2e.needs("nginx")
def test_real_server(lab):
    """nginx speaks HTTP/2 to assay: bodies of any size, both ways, unchanged."""
    data = os.urandom(3_000_000)
    n = lab.nginx({"a.bin": data, "b.txt": b"b\n", "e": b""}, h2=True)
    p = lab.assay()
    t = lab.tunnel(p, n.port)
    for path, body in (("/b.txt", b"b\n"), ("/a.bin", data), ("/e", b""), ("/b.txt", b"b\n")):
        r = t.get(path)
        assert r.status == 200 and r.body == body and not r.cut, (path, r)
    assert t.get("/none").status == 404
    assert t.get("/b.txt", method="HEAD").status == 200
    lines = wire.wait_for(lambda: n.access_log.read_text().count("\n") >= 6 and n.access_log.read_text().splitlines())
    assert all(' HTTP/2.0" ' in x for x in lines), lines


def test_shared_by_a_burst(lab):
    """50 clients at once, one connection, made while they wait."""
    o = start(lab)
    p = lab.assay(workers=1)
    tunnels = [lab.tunnel(p, o.port) for _ in range(10)]
    got = many(10, lambda i: tunnels[i].get(f"/{i}"))
    assert all(getattr(r, "status", 0) == 200 and r.body == b"hello\n" for r in got), got
    got = many(50, lambda i: lab.tunnel(p, o.port).get(f"/{i}"))
    assert all(getattr(r, "status", 0) == 200 and r.body == b"hello\n" for r in got), got
    assert len(o.requests) == 60
    assert o.accepted <= 3, o.accepted


def test_what_a_request_looks_like(lab):
    o = start(lab)
    p = lab.assay()
    t = lab.tunnel(p, o.port)
    t.send(f"POST /a?b=%41 HTTP/1.1\r\nHost: {t.host}\r\nConnection: keep-alive, X-Drop\r\nX-Drop: 1\r\nKeep-Alive: 5\r\n"
           "TE: trailers, gzip\r\nCookie: a=1; b=2\r\nX-Keep: Yes\r\nContent-Length: 5\r\n\r\nhello")
    r = wire.Response(t)
    assert r.status == 200, r
    st = o.requests[0]
    assert bytes(st.body) == b"hello"
    assert st.fields[:4] == [(":method", "POST"), (":scheme", "https"), (":path", "/a?b=%41"), (":authority", t.host)], st.fields
    names = [n for n, _ in st.fields]
    assert "host" not in names and "connection" not in names and "x-drop" not in names and "keep-alive" not in names, names
    assert st.get("te") == "trailers" and st.get("cookie") == "a=1; b=2" and st.get("x-keep") == "Yes"
    assert st.get("content-length") == "5" and st.get("via").startswith("1.1 ") and r.get("Via").startswith("2 "), (names, r.head)
    t.send(f"POST /c HTTP/1.1\r\nHost: {t.host}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert wire.Response(t).status == 200
    st = o.requests[1]
    assert bytes(st.body) == b"abc" and st.get("content-length") is None and st.get("transfer-encoding") is None
    t.send(f"OPTIONS * HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    assert wire.Response(t).status == 200
    assert o.requests[2].get(":path") == "*"


def test_old_server_stays_old(lab):
    """Without HTTP/2 at the origin all is as ever; a name that is not offered is refused."""
    for alpn in (["http/1.1"], []):
        ctx = lab.server_context("www.test", sans=[*e2e.NAMES])
        if alpn:
            ctx.set_alpn_protocols(alpn)
        o = lab.origin(tls=ctx)
        p = lab.assay()
        got = many(20, lambda i: lab.tunnel(p, o.port).get(f"/{i}"))
        assert all(getattr(r, "status", 0) == 200 for r in got), got
        assert len(o.requests) == 20


def test_no_coalescing(lab):
    """One certificate, one address, two names: two connections."""
    o = start(lab)
    p = lab.assay(workers=1)
    for host in ("www.test", "other.test", "www.test"):
        t = lab.tunnel(p, o.port, host)
        assert t.get().status == 200
    assert len(o.peers) == 2, len(o.peers)
    assert [s.get(":authority") for s in o.peers[0].seen] == [f"www.test:{o.port}"] * 2


def test_stream_limit(lab):
    """The origin's limit is kept; more requests have more connections, or wait."""
    for limit in (1, 3):
        worst, lock = [0], threading.Lock()

        def script(peer):
            open_now = []
            while True:
                peer.c.sock.settimeout(0.2 if open_now else 30)
                try:
                    open_now.append(peer.request())
                    with lock:
                        worst[0] = max(worst[0], len(open_now))
                    if len(open_now) < limit:
                        continue
                except wire.Ended:
                    if not open_now:
                        raise
                time.sleep(0.05)
                for st in open_now:
                    st.answer()
                open_now = []
        o = start(lab, script=script, settings={h2origin.MAX_STREAMS: limit})
        p = lab.assay(workers=1)
        got = many(24, lambda i: lab.tunnel(p, o.port).get(f"/{i}"))
        assert all(getattr(r, "status", 0) == 200 for r in got), got
        assert worst[0] <= limit, (limit, worst)


def test_refused_is_repeated(lab):
    """REFUSED_STREAM and what is beyond GOAWAY goes elsewhere, whatever the method."""
    def refuse(peer, st):
        st.rst(h2origin.REFUSED_STREAM)

    def goaway(peer, st):
        peer.bye(max(0, st.id - 2))

    for name, do in (("REFUSED_STREAM", refuse), ("GOAWAY", goaway)):
        for method in ("GET", "POST"):
            with lab.sub(f"{name} {method}"):
                def script(peer, do=do):
                    st = peer.request()
                    if peer.number == 0:
                        do(peer, st)
                    else:
                        st.answer(bytes(st.body))
                    while True:
                        peer.request().answer(b"other")
                o = start(lab, script=script)
                p = lab.assay(workers=1)
                t = lab.tunnel(p, o.port)
                t.send(f"{method} / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 3\r\n\r\nabc")
                r = wire.Response(t)
                assert r.status == 200 and r.body == b"abc", r
                assert len(o.peers) == 2, len(o.peers)


def test_goaway_lets_others_end(lab):
    """What the origin has begun goes on; new requests go to a new connection."""
    def script(peer):
        if peer.number > 0:
            while True:
                peer.request().answer(b"new")
        st = peer.request()
        st.head(200, [("content-length", "10")])
        st.data(b"01234", end=False)
        peer.bye(st.id)
        go.wait(20)
        st.data(b"56789")
        peer.until(lambda: False)
    go = threading.Event()
    o = start(lab, script=script)
    p = lab.assay(workers=1)
    t = lab.tunnel(p, o.port)
    t.send(f"GET /a HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    assert wire.wait_for(lambda: o.requests)
    time.sleep(0.2)
    assert lab.tunnel(p, o.port).get("/b").body == b"new"
    go.set()
    r = wire.Response(t)
    assert r.body == b"0123456789" and not r.cut, r
    assert wire.wait_for(lambda: o.peers[0].c.ended)


def test_cut_is_a_cut(lab):
    """Broken answers: a 502 before the head, a visible cut behind it; never a clean end."""
    def body(st, *more):
        st.head(200, [("content-type", "application/octet-stream"), *more])
        st.data(b"x" * 1000, end=False)

    def reset(st):
        body(st)
        st.rst(h2origin.INTERNAL_ERROR)

    def short(st):
        body(st, ("content-length", "2000"))
        st.data(b"")

    def long(st):
        body(st, ("content-length", "1001"))
        st.data(b"yy")

    def gone(st):
        body(st)
        st.peer.c.cut()

    def goaway(st):
        body(st)
        st.peer.bye(0, h2origin.INTERNAL_ERROR)
        st.peer.c.cut()
    for name, do in (("reset", reset), ("short", short), ("long", long), ("gone", gone), ("goaway", goaway)):
        with lab.sub(name):
            o = start(lab, do)
            r = lab.tunnel(lab.assay(), o.port).get()
            assert r.cut or r.status == 502, (name, r)


def test_early_errors(lab):
    def reset(code):
        return lambda st: st.rst(code)

    def malformed(fields):
        return lambda st: st.peer.head(st.id, fields, True)
    rows = {
        "reset": reset(h2origin.INTERNAL_ERROR), "cancel": reset(h2origin.CANCEL), "calm": reset(h2origin.ENHANCE_YOUR_CALM),
        "gone": lambda st: st.peer.c.cut(),
        "no status": malformed([("a", "b")]),
        "bad status": malformed([(":status", "20")]),
        "101": malformed([(":status", "101")]),
        "capital": lambda st: st.peer.send(h2origin.HEADERS, 5, st.id, b"\x88\x00\x01A\x01b"),
        "NUL": malformed([(":status", "200"), ("a", "b\0c")]),
        "CR LF": malformed([(":status", "200"), ("a", "b\r\nc: d")]),
        "coding": malformed([(":status", "200"), ("transfer-encoding", "chunked")]),
        "two lengths": malformed([(":status", "200"), ("content-length", "1"), ("content-length", "2")]),
        "length without body": malformed([(":status", "200"), ("content-length", "1")]),
        "push": lambda st: st.peer.send(h2origin.PUSH, 4, st.id, b"\0\0\0\2\x88"),
        "on stream 0": lambda st: st.peer.send(h2origin.HEADERS, 5, 0, b"\x88"),
        "broken HPACK": lambda st: st.peer.send(h2origin.HEADERS, 5, st.id, b"\xff\xff\xff\xff\xff\xff"),
        "data first": lambda st: st.data(b"x"),
    }
    p = lab.assay()
    for name, do in rows.items():
        with lab.sub(name):
            o = start(lab, do)
            r = lab.tunnel(p, o.port).get(method="GET")
            assert r.status == 502 and "error=" in (r.get("Proxy-Status") or ""), r
    o = start(lab)
    assert lab.tunnel(p, o.port).get().status == 200


def test_early_answer(lab):
    """An answer before the upload has come, and NO_ERROR for the rest of it."""
    def script(peer):
        st = peer.request(whole=False)
        st.answer(b"too large", status=413)
        st.rst(h2origin.NO_ERROR)
        while True:
            peer.request().answer()
    o = start(lab, script=script)
    p = lab.assay()
    t = lab.tunnel(p, o.port)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 1000000\r\n\r\n")
    t.send(b"x" * 1000)
    r = wire.Response(t)
    assert r.status == 413 and r.body == b"too large", r


def test_interim_and_trailers(lab):
    def reply(st):
        st.head(103, [("link", "</a>; rel=preload")])
        st.head(200, [("content-type", "text/plain"), ("trailer", "grpc-status")])
        st.data(b"abc", end=False)
        st.trailer([("grpc-status", "0"), ("x-other", "1")])
    o = start(lab, reply)
    t = lab.tunnel(lab.assay(), o.port)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\nTE: trailers\r\n\r\n")
    r = wire.Response(t)
    assert [h.start.split()[1] for h in r.interim] == ["103"], r.interim
    assert r.body == b"abc" and any(x.lower().startswith("grpc-status: 0") for x in r.trailers), r.trailers


def test_expectation(lab):
    """The origin's 100 releases the body; its final answer spares it."""
    def script(peer):
        st = peer.request(whole=False)
        assert st.get("expect") == "100-continue" and not st.body
        st.head(100)
        peer.until(lambda: st.ended)
        st.answer(bytes(st.body))
        st = peer.request(whole=False)
        st.answer(b"no", status=417)
        peer.until(lambda: False)
    o = start(lab, script=script)
    t = lab.tunnel(lab.assay(), o.port)
    head = f"POST / HTTP/1.1\r\nHost: {t.host}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    t.send(head)
    assert t.head().start.split()[1] == "100"
    t.send(b"hello")
    r = wire.Response(t)
    assert r.status == 200 and r.body == b"hello", r
    t.send(head)
    r = wire.Response(t)
    assert r.status == 417 and r.body == b"no", r


def test_trailers_of_a_request(lab):
    """Behind a body that nobody scans they pass, those that may."""
    o = start(lab, lambda st: st.answer(repr(st.trailers).encode()))
    t = lab.tunnel(lab.assay(), o.port)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 9\r\nContent-Length: 4\r\n\r\n")
    r = wire.Response(t)
    assert r.status == 200 and r.body == b"[('x-sum', '9')]", r.body


@e2e.needs("clamav")
def test_eicar_is_blocked(lab):
    """What is found over HTTP/2 is what is found."""
    o = start(lab, lambda st: st.answer(e2e.EICAR if st.get(":path") == "/eicar" else b"fine"))
    p = lab.assay(services={"clam": {"url": f"clamav:{e2e.TESTDB}", "mode": "both"}})
    t = lab.tunnel(p, o.port)
    assert t.get("/fine").body == b"fine"
    assert t.get("/eicar").status == 403
