# SPDX-License-Identifier: GPL-2.0-or-later
"""ICAP services under clients and messages that mean no good: nobody buys a
bypass, and nobody takes a service away from the others."""
import threading
import time

import wire
from lab import pattern
from wire import ok

BODY = pattern(5000)
EVIL = b"evil " * 1000


def dripping(stop, begin):
    """/slow sends some octets of a body of unknown length, and then one now and
    then."""
    def drip(c):
        c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (begin, bytes(begin)))
        while not stop.wait(0.2):
            c.send(b"1\r\nx\r\n")
    return lambda h, b: drip if h.start.split()[1] == "/slow" else ok(EVIL)


def test_slow_bodies_buy_no_bypass(lab):
    """All connections of a service, on_error: bypass, on_busy: wait: with slow
    downloads by one client the next one is scanned all the same."""
    for preview, begin in (("auto", 1), ("off", 1), ("auto", 2000)):
        with lab.sub(f"preview {preview}, {begin} octets"):
            stop = threading.Event()
            s = lab.icap(lambda tx: tx.block() if EVIL in tx.whole() else tx.no_change(), drop=("Max-Connections",), extra=[("Max-Connections", "2")])
            o = lab.origin(dripping(stop, begin))
            p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "on_error": "bypass", "timeout": "20s", "preview": preview}}, workers=1)
            slow = [lab.tunnel(p, o.port) for _ in range(6)]
            for t in slow:
                t.send(f"GET /slow HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
            assert wire.wait_for(lambda: len(o.requests) == 6, 20)
            if preview == "off" or begin > 1024:
                assert wire.wait_for(lambda: s.conns, 20)
                time.sleep(1.5)         # now they have taken what they can
            for _ in range(3):
                r = lab.tunnel(p, o.port).get("/evil")
                assert r.status == 403 and EVIL[:50] not in r.body, r
            stop.set()
            for t in slow:
                t.cut()
            p.stop()


def test_busy_is_no_error(lab):
    """on_busy: wait ends in 503 when all connections stay taken, whatever
    on_error says; on_busy: bypass passes."""
    for busy, want in (("wait", 503), ("block", 503), ("bypass", 200)):
        with lab.sub(busy):
            go = threading.Event()
            s = lab.icap(lambda tx: (tx.whole(), [tx.conn.send("") or go.wait(0.2) for _ in range(200) if not go.is_set()], tx.no_change()),
                         drop=("Max-Connections",), extra=[("Max-Connections", "1")])

            def reply(h, b):
                return ok(BODY)
            o = lab.origin(reply)
            p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "on_error": "bypass", "on_busy": busy, "timeout": "60s" if busy != "wait" else "4s"}}, workers=1)
            first = lab.tunnel(p, o.port)
            first.send(f"GET /1 HTTP/1.1\r\nHost: {first.host}\r\n\r\n")
            assert wire.wait_for(lambda: s.txs, 20)
            others = [lab.tunnel(p, o.port) for _ in range(4)]
            for t in others:
                t.send(f"GET /2 HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
            got = [wire.Response(t) for t in others]
            # one may reach the silent service itself: that is an error
            assert sum(r.status == want for r in got) >= 3, got
            go.set()
            p.stop()


POISON = {
    "500": lambda tx: tx.answer("500 Locked"),
    "503": lambda tx: tx.answer("503 Too deep"),
    "garbage": lambda tx: (tx.conn.send("what?\r\n\r\n"), "close")[1],
    "hang-up": lambda tx: "close",
    "reset": lambda tx: tx.conn.reset(),
}


def test_messages_take_no_service_down(lab):
    """Twenty messages that a scanner fails on: each gets on_error (or on_busy),
    all others are scanned as ever, and the service stays up."""
    for name, act in POISON.items():
        with lab.sub(name):
            s = lab.icap(lambda tx: (tx.whole(), act(tx))[1] if "/locked" in tx.request.start else tx.block() if "/evil" in tx.request.start else tx.no_change())
            o = lab.origin(lambda h, b: ok(BODY))
            p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "on_error": "bypass", "on_busy": "block", "timeout": "5s"}}, workers=1)
            t = lab.tunnel(p, o.port)
            for i in range(20):
                r = lab.tunnel(p, o.port).get(f"/locked{i}")
                assert (r.status == 503) if name == "503" else r.body == BODY, r
                assert t.get("/evil").status == 403
                assert t.get("/fine").body == BODY
            assert "is down" not in p.log(), p.log()
            p.stop()


def test_lost_options_is_asked_once_more(lab):
    """The process that was to answer OPTIONS ended: that is no outage yet, two
    in a row are."""
    lost = [0]
    asked = []

    def options(tx):
        asked.append(1)
        if lost[0] > 0:
            lost[0] -= 1
            return "close"
        tx.answer("200 OK", fields=wire.OPTIONS)
    s = lab.icap(lambda tx: "close" if "/bad" in tx.request.start else tx.no_change(), on_options=options)
    o = lab.origin(lambda h, b: ok(BODY))
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "on_error": "bypass", "cache": "off"}}, workers=1)
    t = lab.tunnel(p, o.port)
    assert t.get().body == BODY and len(asked) == 1
    for times, down in ((1, False), (2, True)):
        n = len(asked)
        lost[0] = times
        assert wire.wait_for(lambda: lab.tunnel(p, o.port).get("/bad").body == BODY and len(asked) >= n + 2, 30, 0.05)
        seen = len(s.txs)
        if down:        # asked again without traffic
            assert wire.wait_for(lambda: len(asked) >= n + 3, 20), p.log()
        else:
            assert t.get().body == BODY and len(s.txs) > seen, "scanned as before"
