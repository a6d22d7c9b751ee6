# SPDX-License-Identifier: GPL-2.0-or-later
"""WebSocket towards origins of HTTP/2 (RFC 8441): a stream where the origin
takes it, HTTP/1.1 where it does not; rules and services see one form."""
import contextlib
import signal
import struct
import threading
import time

import h2origin
import h2wire
import lab as e2e
import wire
import wsock
from h2origin import CONNECT
from lab import field, seconds
from wire import ok, wait_for
from wsock import DEFLATE, PING

TAKES = {CONNECT: 1}
ALICE, BOB = "127.0.0.7", "127.0.0.9"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def old(serve=None):
    """The same over HTTP/1.1."""
    return h2origin.h1_loop(lambda h, b: wsock.served(serve or wsock.echo)(h, b) if h.has("Upgrade") else ok(b"old"))


def start(lab, serve=None, settings=TAKES, h1=None, other=None, extensions="", protocol="", fields=(), script=None, **kw):
    """An origin that serves WebSocket connections over either protocol."""
    reply = h2origin.websocket(serve, extensions, protocol, fields, other)
    return h2origin.start(lab, script=script or h2origin.at_once(reply), settings=settings, timeout=30,
                          h1=None if "alpn" in kw else h1 or old(serve), **kw)


def open_h1(lab, p, o, path="/chat", source=None, **kw):
    t = lab.tunnel(p, o.port, source=source)
    return wsock.connect(t, t.host, path, **kw)


def open_h2(lab, p, o, path="/chat", **kw):
    return h2wire.open_ws(h2wire.peer(lab, p, o.port), path, **kw)


def sockets(o):
    return [st for st in o.requests if st.get(":protocol") == "websocket"]


def looks(lab, script=None):
    """Services both ways; EVIL is blocked."""
    icap = lab.icap(script or (lambda tx: tx.block() if b"EVIL" in tx.whole() else tx.no_change()))
    return dict(services={"up": {"url": icap.url(), "mode": "req"}, "down": {"url": icap.url(), "mode": "resp"}}, rules=[{"scan": ["up", "down"]}])


def record(p, path):
    return wait_for(lambda: next((r for r in p.access(1) if path in field(r, "url.full")), None), 8 * e2e.lab_scale())


@seconds(90)
def test_talk(lab):
    """From either protocol, unseen and inspected: the origin sees an extended CONNECT, the client what it speaks."""
    for name, conf in (("unseen", {}), ("inspected", looks(lab))):
        for leg, opened in (("h1", open_h1), ("h2", open_h2)):
            with lab.sub(f"{name} {leg}"):
                o = start(lab, extensions=DEFLATE, fields=[("sec-websocket-accept", "wrong"), ("x-own", "1")])
                p = lab.assay(workers=1, **conf)
                s, head = opened(lab, p, o, "/chat?a=b", extensions=DEFLATE)
                assert s is not None and head.get("x-own") == "1", head
                [st] = sockets(o)
                names = [n for n, _ in st.fields]
                assert st.fields[:5] == [(":method", "CONNECT"), (":scheme", "https"), (":path", "/chat?a=b"),
                                         (":authority", f"www.test:{o.port}"), (":protocol", "websocket")], st.fields
                assert st.get("sec-websocket-version") == "13" and st.get("sec-websocket-extensions") == DEFLATE, st.fields
                assert not {"sec-websocket-key", "upgrade", "connection", "content-length"} & set(names) and "via" in names, names
                for data in ("hello", b"\0\xff" * 200000, "", "h\u00e9" * 500):
                    s.send(data, frames=3, between=[(PING, b"p")])
                    assert s.message() == data
                if name == "inspected":
                    bad, _ = opened(lab, p, o, "/bad")
                    bad.send("EVIL")
                    assert bad.recv()[:2] == ("close", 1008)
                assert lab.tunnel(p, o.port).get("/").body == b"hello\n"
                s.send("on")
                assert s.recv() == "on"
                s.close(4001, "bye")
                assert s.recv() == ("close", 4001, "") and s.conn.is_closed()
                s.conn.close()
                assert len(o.peers) == 1 and o.olds == 0, (o.peers, o.olds)
                assert wait_for(lambda: st.ended) and st.reset is None, (st.ended, st.reset)
                rec = record(p, f":{o.port}/chat")
                assert field(rec, "http.request.method") == "GET" and field(rec, "event.action") == "allow", rec
                assert field(rec, "http.response.status_code") == (200 if leg == "h2" else 101), rec


def test_one_form_for_services(lab):
    """REQMOD and RESPMOD see the handshake of HTTP/1 whatever the origin speaks."""
    got = {}
    for how, of in (("h2", TAKES), ("h1", {})):
        seen = []

        def script(tx, seen=seen):
            seen.append((tx.method, tx.request and tx.request.raw, tx.response and sorted(tx.response.fields)))
            return tx.no_change()
        o = start(lab, settings=of)
        p = lab.assay(workers=1, **looks(lab, script))
        s, head = open_h1(lab, p, o, key=KEY)
        assert s is not None, head
        s.conn.cut()
        fields = sorted((n, v.replace("2 assay", "1.1 assay")) for n, v in head.fields)
        got[how] = [(m, req and req.replace(b"%d" % o.port, b"PORT"), resp) for m, req, resp in seen], fields
        assert bool(sockets(o)) == (how == "h2"), how
    assert got["h1"] == got["h2"], got


def test_only_http2(lab):
    """An origin that has nothing else; one that has not the setting either."""
    for of, status in ((TAKES, 101), ({}, 502)):
        with lab.sub(str(of)):
            o = start(lab, settings=of, alpn=["h2"])
            p = lab.assay(workers=1)
            s, head = open_h1(lab, p, o)
            assert f" {status} " in head.start, head
            if s:
                s.send("there?")
                assert s.message() == "there?"


def test_without_the_setting(lab):
    """HTTP/1.1 then, and nobody connects in vain once that is known."""
    o = start(lab, settings={})
    p = lab.assay(workers=1)
    for i in range(4):
        s, head = open_h1(lab, p, o)
        assert s is not None, head
        s.send("old?")
        assert s.message() == "old?"
        # the origin counts a moment after its peer is served
        assert wire.wait_for(lambda: len(o.peers) == 1 and o.olds == i + 1, 10 * e2e.lab_scale()), (i, o.peers, o.olds)
    assert lab.tunnel(p, o.port).get("/").body == b"hello\n" and len(o.peers) == 1 and not sockets(o)


def test_a_burst(lab):
    """Many at once, nothing known of the place: as streams of few connections, or over HTTP/1.1."""
    for of in (TAKES, {}):
        with lab.sub(str(of)):
            o = start(lab, settings=of)
            p = lab.assay(workers=1)
            tunnels = [lab.tunnel(p, o.port) for _ in range(20)]
            for t in tunnels:
                t.send(wsock.opening(t.host)[0])
            for t in tunnels:
                assert " 101 " in t.head().start
                s = wsock.Sock(t, "client")
                s.send("x")
                assert s.message() == "x"
            assert len(sockets(o)) == (20 if of else 0) and len(o.peers) <= 3 and o.olds == (0 if of else 20), (o.peers, o.olds)


def test_late_settings(lab):
    """Nothing is asked before the origin has said what it takes; one that says nothing is asked over HTTP/1.1."""
    over = threading.Event()
    lab.on_close(over.set)
    for wait in (0.4, None):
        with lab.sub(str(wait)):
            def script(peer, wait=wait):
                if wait is None:
                    over.wait(30)
                    return
                time.sleep(wait)
                peer.settings(TAKES)
                h2origin.at_once(h2origin.websocket())(peer)
            o = start(lab, script=script)
            o.of = None
            p = lab.assay(workers=1)
            s, head = open_h1(lab, p, o)
            assert s is not None, head
            s.send("x")
            assert s.message() == "x"
            assert (o.olds == 0) == (wait is not None), o.olds


def test_answers(lab):
    """What is no grant is an answer as any other."""
    def reply(st):
        path = st.get(":path")
        if path == "/204":
            st.head(204)
            wsock.echo(wsock.Sock(h2origin.Octets(st), "server"))
        elif path == "/ends":
            st.head(200, end=True)
        elif path == "/101":
            st.head(101)
        elif path == "/interim":
            st.head(103, [("link", "</a>")])
            st.head(200, [("content-length", "3")])
            wsock.echo(wsock.Sock(h2origin.Octets(st), "server"))
        elif path == "/protocol":
            st.head(200, [("sec-websocket-protocol", "x")])
        elif path == "/once" and len([x for x in sockets(o) if x.get(":path") == path]) == 1:
            st.rst(h2origin.REFUSED_STREAM)
        elif path == "/once":
            st.head(200)
            wsock.echo(wsock.Sock(h2origin.Octets(st), "server"))
        elif path == "/h1":
            st.rst(h2origin.HTTP_1_1_REQUIRED)
        elif path == "/rst":
            st.rst(h2origin.INTERNAL_ERROR)
        elif path == "/trailer":
            st.head(200)
            st.trailer([("x-t", "1")])
        else:
            st.answer(b"no socket here", status=int(path[1:]))
    o = h2origin.start(lab, script=h2origin.at_once(reply), settings=TAKES, h1=old(), timeout=30)
    p = lab.assay(workers=1)
    for path, status, more in (("/404", 404, b"no socket here"), ("/302", 302, b"no socket here"), ("/401", 401, b"no socket here"), ("/204", 101, None),
                               ("/ends", 101, "closed"), ("/101", 502, ""), ("/interim", 101, None), ("/protocol", 502, ""), ("/once", 101, None),
                               ("/rst", 502, ""), ("/trailer", 101, "closed"), ("/h1", 101, None)):
        with lab.sub(path):
            t = lab.tunnel(p, o.port)
            request, key = wsock.opening(t.host, path)
            t.send(request)
            r = t.head()
            if " 103 " in r.start:
                r = t.head()
            assert f" {status} " in r.start, r
            if status == 101:
                assert r.get("Sec-WebSocket-Accept") == wsock.accept(key) and not r.has("Content-Length"), r
                s = wsock.Sock(t, "client")
                if more == "closed":
                    assert t.is_closed(5 * e2e.lab_scale())
                else:
                    s.send("x")
                    assert s.message() == "x"
            elif more:
                assert t.exact(len(more)) == more
    assert o.olds == 1, o.olds


def ends(how, serve_ends):
    def serve(sock):
        sock.send("up")
        if how.startswith("origin"):
            time.sleep(0.2)
            if how == "origin cut":
                sock.conn.peer.c.cut()
            elif how == "origin goaway":
                sock.conn.peer.bye(sock.conn.st.id)
                wsock.echo(sock)
            else:
                getattr(sock.conn, how.split()[1])()
            return
        while sock.conn.fill():
            pass
        serve_ends.set()
    return serve


@seconds(120)
def test_ends(lab):
    """Either side's end, or a whole connection's, ends the other one; neighbours live on."""
    for name, conf in (("unseen", {}), ("inspected", looks(lab))):
        p = lab.assay(workers=1, **conf)
        for how in ("end", "cut", "origin close", "origin reset", "origin cut", "origin goaway"):
            with lab.sub(f"{name} {how}"):
                gone = threading.Event()
                o = start(lab, ends(how, gone))
                near, _ = open_h1(lab, p, o, "/near") if how not in ("origin cut", "origin goaway") else (None, None)
                s, head = open_h1(lab, p, o)
                assert s.recv() == "up", head
                if how == "end":
                    s.conn.close()
                elif how == "cut":
                    s.conn.cut()
                if not how.startswith("origin"):
                    assert gone.wait(4 * e2e.lab_scale()), "the origin's side stays open"
                elif how == "origin goaway":
                    time.sleep(0.3)
                    s.send("still")
                    assert s.message() == "still"
                    s.close()
                    assert s.recv()[0] == "close" and s.conn.is_closed()
                else:
                    assert s.conn.is_closed(5 * e2e.lab_scale()), "the client's side stays open"
                if near and not how.startswith("origin"):
                    assert near.recv() == "up"
                    near.conn.sock.settimeout(0.3)
                    try:
                        near.next_frame()
                        raise AssertionError("a neighbour was told something")
                    except wire.Ended as e:
                        assert "silence" in str(e), e


@seconds(60)
def test_not_read_by_the_origin(lab):
    """A connection that is not read fills a window: another client's has its own, and memory does not grow."""
    peers = []

    def loop(conn):
        peer = h2origin.Peer(conn, settings=TAKES, update=False)
        peers.append(peer)
        given = {}
        with contextlib.suppress(wire.Ended):
            while True:
                peer.read()
                for st in list(peer.seen):
                    if not st.taken:
                        st.taken = True
                        st.head(200)
                    n = len(st.body) - given.get(st.id, 0)
                    if n and st.get(":path") != "/stuck":
                        given[st.id] = len(st.body)
                        for sid in (0, st.id):
                            peer.send(h2origin.WINDOW, 0, sid, struct.pack(">I", n))
                    if st.get(":path") == "/count" and n:
                        st.data(wsock.frame(wsock.TEXT, b"%d" % len(st.body)), end=False)
    ctx = lab.server_context("www.test")
    ctx.set_alpn_protocols(["h2"])
    o = lab.server(loop, tls=ctx)
    p = lab.assay(workers=1)
    had = p.rss()
    a, _ = open_h1(lab, p, o, "/stuck", source=ALICE)
    a.conn.sock.settimeout(1)
    with contextlib.suppress(wire.Ended):
        for _ in range(200):
            a.send(b"x" * 250000)
        raise AssertionError("all of it was taken")
    assert e2e.SANITIZER or p.rss() - had < 48 << 20, p.rss() - had
    b, head = open_h1(lab, p, o, "/count", source=BOB)
    assert b, head
    b.send(b"y" * 100000)
    got = 0
    while got < 100000:
        got = int(b.recv())
    assert len(peers) == 2, [[(st.get(":path"), len(st.body)) for st in x.seen] for x in peers]


def test_not_read_by_the_client(lab):
    """The stream's window stays shut: the origin is held, its other streams are not."""
    sent = [0]

    def serve(sock):
        with contextlib.suppress(wire.Ended):
            for _ in range(400):
                sock.send(b"x" * 250000)
                sent[0] += 1
    o = start(lab, serve)
    p = lab.assay(workers=1)
    had = p.rss()
    s, _ = open_h1(lab, p, o)
    time.sleep(2)
    assert 0 < sent[0] < 100 or sent[0] == 0, sent
    assert e2e.SANITIZER or p.rss() - had < 48 << 20, p.rss() - had
    assert lab.tunnel(p, o.port).get("/").body == b"hello\n" and len(o.peers) == 1
    s.conn.cut()


def test_sign_in_and_others(lab):
    """A sign-in that is the connection's, and a switch to something unknown, ask for HTTP/1.1."""
    def h1(head, body):
        if head.get("Upgrade") == "own":
            return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: own\r\nConnection: Upgrade\r\n\r\n"
        return wsock.served()(head, body)
    o = start(lab, h1=h2origin.h1_loop(h1))
    p = lab.assay(workers=1, rules=[{"upgrade": ["own"], "scan": "none"}])
    s, head = open_h1(lab, p, o, fields="Authorization: Negotiate YII=\r\n")
    assert s is not None and o.olds == 1 and not sockets(o), head
    t = lab.tunnel(p, o.port)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n")
    assert " 101 " in t.head().start and o.olds == 2 and not sockets(o)
    assert open_h1(lab, p, o)[0] is not None and len(sockets(o)) == 1


def test_reload_and_drain(lab):
    """What a new configuration denies ends; a drain lets the connection end in order."""
    o = start(lab)
    conf = looks(lab)
    p = lab.assay(workers=1, **conf)
    s, _ = open_h1(lab, p, o)
    stays, _ = open_h1(lab, p, o, "/stays")
    p.write_conf(lab.conf(p.port, **dict(conf, workers=1, rules=[{"name": "no", "if": {"url": "/chat"}, "access": "block"}, *conf["rules"]])))
    p.reload()
    assert s.recv()[:2] == ("close", 1008)
    stays.send("x")
    assert stays.message() == "x"
    p.signal(signal.SIGTERM)
    assert stays.recv()[:2] == ("close", 1001)
    assert p.wait(10 * e2e.lab_scale()) == 0
