# SPDX-License-Identifier: GPL-2.0-or-later
"""WebSocket over HTTP/2 (RFC 8441): a stream is as good as a connection, and its
neighbours live on."""
import threading
import time

import h2wire
import lab as e2e
import wire
import wsock
from lab import field
from wire import ok
from wsock import DEFLATE, PING, TEXT


def reply(head, body):
    if not head.has("Upgrade"):
        return ok(head.start.encode())
    return wsock.served(extensions=DEFLATE, protocol="b" if "b" in head.get("Sec-WebSocket-Protocol", "") else "")(head, body)


def test_talk(lab):
    """Unseen and inspected: the origin sees an upgrade of HTTP/1.1, the client a 200."""
    icap = lab.icap(lambda tx: tx.block() if b"EVIL" in tx.whole() else tx.no_change())
    look = dict(services={"up": {"url": icap.url(), "mode": "req"}, "down": {"url": icap.url(), "mode": "resp"}}, rules=[{"scan": ["up", "down"]}])
    for name, conf in (("unseen", {}), ("inspected", look)):
        with lab.sub(name):
            o = lab.origin(reply)
            p = lab.assay(**conf)
            h = h2wire.peer(lab, p, o.port)
            h.get("/before")
            assert h.peer.get(8) == 1, h.peer
            s, st = h2wire.open_ws(h, extensions=DEFLATE, early=wsock.frame(TEXT, b"early", mask=b"abcd"), fields=[("sec-websocket-protocol", "a, b")])
            assert st.get("sec-websocket-protocol") == "b" and not any(st.get(n) for n in ("upgrade", "connection", "sec-websocket-accept")), st.fields
            head = o.requests[-1][0]
            assert head.start == "GET /chat HTTP/1.1" and head.get("Upgrade") == "websocket" and len(head.get("Sec-WebSocket-Key")) == 24, head
            assert s.recv() == "early"
            other, _ = h2wire.open_ws(h, "/other")
            for data in ("hello", b"\0\xff" * 200000, "", "h\u00e9" * 500):
                s.send(data, frames=3, between=[(PING, b"p")])
                assert s.message() == data
                other.send("meanwhile")
                assert other.recv() == "meanwhile"
                assert h.get("/between").text() == "GET /between HTTP/1.1"
            if name == "inspected":
                other.send("EVIL")
                assert other.recv()[:2] == ("close", 1008)
                assert other.conn.is_closed()
            s.send("on")
            assert s.recv() == "on"
            s.close(4001, "bye")
            assert s.recv() == ("close", 4001, "") and s.conn.is_closed() and s.conn.st.reset is None
            assert h.is_alive()
            recs = wire.wait_for(lambda: [r for r in p.access(1) if field(r, "url.full").endswith("/chat")], 8 * e2e.lab_scale())
            assert recs and field(recs[0], "http.version") == "2" and field(recs[0], "http.response.status_code") == 200, recs
            assert field(recs[0], "http.request.method") == "GET" and field(recs[0], "http.request.body.bytes") > 100, recs
            assert field(recs[0], "event.action") == "allow", recs


def test_refused(lab):
    """Never a 2xx to what was not switched; the connection goes on."""
    p = lab.assay(rules=[{"name": "no", "if": {"url": "/no"}, "websocket": "block"}, {"scan": "none"}])
    o = lab.origin(lambda h, b: ok(b"no socket here", status="200 OK" if "/200" in h.start else "404 Not Found"))
    h = h2wire.peer(lab, p, o.port)
    for what, sid, status in (("a 200", h2wire.ask_ws(h, "/200"), 502), ("a 404", h2wire.ask_ws(h, "/404"), 404), ("a rule", h2wire.ask_ws(h, "/no"), 403),
                              ("version 12", h2wire.ask_ws(h, version="12"), 400), ("no version", h2wire.ask_ws(h, version=None), 400),
                              ("another protocol", h2wire.ask_ws(h, protocol="connect-udp"), 405), ("ended at once", h2wire.ask_ws(h, "/404", end=True), 404)):
        with lab.sub(what):
            st = h.wait(sid)
            assert st.status == status, st
    assert h.get("/404").status == 404
    assert all(x.start.split()[1] in ("/200", "/404") for x, _, _ in o.requests)


def test_ends(lab):
    """Either side's end, or the whole connection's, ends the other one."""
    icap = lab.icap()
    look = dict(services={"up": {"url": icap.url(), "mode": "req"}}, rules=[{"scan": ["up"]}])
    for name, conf in (("unseen", {}), ("inspected", look)):
        p = lab.assay(**conf)
        for how in ("end", "reset", "cut", "origin close", "origin reset"):
            with lab.sub(f"{name} {how}"):
                ends = threading.Event()

                def serve(sock, how=how, ends=ends):
                    sock.send("up")
                    if how.startswith("origin"):
                        time.sleep(0.2)
                        getattr(sock.conn, how.split()[1])()
                        return
                    while sock.conn.fill():
                        pass
                    ends.set()
                o = lab.origin(wsock.served(serve))
                h = h2wire.peer(lab, p, o.port)
                s, _ = h2wire.open_ws(h)
                assert s.recv() == "up"
                if how == "end":
                    s.conn.close()
                elif how == "reset":
                    h.reset(s.conn.sid)
                elif how == "cut":
                    h.cut()
                if not how.startswith("origin"):
                    assert ends.wait(4 * e2e.lab_scale()), "the origin's side stays open"
                if how != "cut":
                    assert how == "reset" or s.conn.is_closed(), "the client's side stays open"
                    assert h.is_alive()


def test_back_pressure(lab):
    """A stream that is not read holds its origin, not memory, and no neighbour."""
    sent = [0]

    def serve(sock):
        sock.conn.sock.settimeout(2)
        try:
            for _ in range(400):
                sock.send(b"x" * 250000)
                sent[0] += 1
        except wire.Ended:
            pass
    o = lab.origin(lambda h, b: wsock.served(serve)(h, b) if h.has("Upgrade") else ok(b"neighbour"))
    p = lab.assay()
    h = h2wire.peer(lab, p, o.port, window=65535, gives=False)
    had = p.rss()
    s, st = h2wire.open_ws(h)
    h.until(lambda: False, 4)
    assert sent[0] < 400 and len(st.body) <= 65535, (sent, st)
    assert e2e.SANITIZER or p.rss() - had < 48 << 20, p.rss() - had
    h.update(0, 1 << 20)
    assert h.get("/n").text() == "neighbour"
