# SPDX-License-Identifier: GPL-2.0-or-later
"""Slow peers: an origin that thinks (limits.first_byte), bodies that come or
are taken in drips (limits.min_rate), and those that only wait for us."""
import contextlib
import socket
import threading
import time

import lab as e2e
import wire
from lab import seconds, slow
from wire import Response, ok


def plain(lab, p, port):
    c = lab.connect(p, 150)
    c.host, c.start = f"www.test:{port}", f"http://www.test:{port}"
    return c


def opened(lab, p, port):
    t = lab.tunnel(p, port, timeout=150)
    t.start = ""
    return t


def get(c, path="/"):
    c.send(f"GET {c.start}{path} HTTP/1.1\r\nHost: {c.host}\r\n\r\n")
    return Response(c)


def pair(lab, reply):
    """The same origin plain and over TLS, with what opens a connection to it."""
    a, b = lab.origin(reply, tls=None, timeout=150), lab.origin(reply, timeout=150)
    return ((plain, a), (opened, b))


def test_origin_that_thinks(lab):
    """Before its answer an origin may be silent for limits.first_byte, not
    limits.read; an upload's time is not its own; a head comes whole."""
    def reply(head, body):
        if "/think" in head.start:
            time.sleep(2)
        if "/half" in head.start:
            return lambda conn: (conn.send(b"HTTP/1.1 200 OK\r\nContent-"), conn.silent(30), "close")[2]
        return ok(sha(body))
    sha = e2e.sha
    patient = lab.assay(limits={"read": "1s", "first_byte": "60s"})
    strict = lab.assay(limits={"read": "60s", "first_byte": "1s"})
    for connect, o in pair(lab, reply):
        with lab.sub(connect.__name__):
            assert get(connect(lab, patient, o.port), "/think").status == 200
            assert get(connect(lab, patient, o.port), "/half").status == 504
            assert get(connect(lab, strict, o.port), "/think").status == 504
            assert get(connect(lab, strict, o.port)).status == 200
            c = connect(lab, strict, o.port)
            c.send(f"POST {c.start}/ HTTP/1.1\r\nHost: {c.host}\r\nContent-Length: 12\r\n\r\n")
            for _ in range(12):
                c.send(b"x")
                time.sleep(0.2)
            assert Response(c).text() == sha(b"x" * 12)


# ------------------------------------------------------------- limits.min_rate
def drip(conn, piece, every, total):
    """So many pieces, one by one, until nobody wants them any more."""
    with contextlib.suppress(wire.Ended, OSError):
        for _ in range(total):
            conn.send(piece)
            time.sleep(every)
        return True
    return False


def answers(head, body):
    """What the origin of the rate tests does."""
    def dripping(piece, every, total, fields=b""):
        def run(conn):
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(piece) * total, fields))
            drip(conn, piece, every, total)
            return None
        return run

    def stream(conn):
        conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        drip(conn, b"9\r\ndata: x\n\n\r\n", 5, 15)
        conn.send(b"0\r\n\r\n")
        return None
    for word, what in (("/drip", dripping(b"z", 1, 200)), ("/calm", dripping(b"z" * 200, 1, 75)), ("/events", stream),
                       ("/large", ok(b"y" * (24 << 20)))):
        if word in head.start:
            return what
    return ok(str(len(body)).encode())


def upload(c, piece, every, total):
    c.send(f"POST {c.start}/ HTTP/1.1\r\nHost: {c.host}\r\nContent-Length: {len(piece) * total}\r\n\r\n")
    drip(c, piece, every, total)
    return c


def refused(c):
    """An error page, or a visible cut."""
    try:
        r = Response(c)
        assert r.status in (408, 504) or r.cut, r
    except wire.Ended:
        pass


def goes_on(c, piece, every, seconds_):
    """The answer is read piece by piece: is it still coming after so long?"""
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    c.send(f"GET {c.start}/large HTTP/1.1\r\nHost: {c.host}\r\n\r\n")
    c.head()
    end = time.monotonic() + seconds_
    with contextlib.suppress(OSError):
        while time.monotonic() < end and not c.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) and c.sock.recv(piece):
            time.sleep(every)
    return time.monotonic() >= end


@slow
@seconds(240)
def test_min_rate(lab):
    """A body in drips ends, on either leg and whoever holds it; one that is
    calm, waits for a service or may be endless does not."""
    s = lab.icap(lambda tx: (tx.whole(), time.sleep(40) if "/hold" in tx.request.start else None, tx.no_change())[2], timeout=150)
    services = {"up": {"url": s.url(), "mode": "req", "timeout": "100s"}, "down": {"url": s.url(), "mode": "resp", "timeout": "100s"}}
    if e2e.has_clamav():
        services["clam"] = {"url": f"clamav:{e2e.TESTDB}", "mode": "both"}
    bare = lab.assay()
    held = lab.assay(services=services, download={"hold": "1h"})
    free = lab.assay(limits={"min_rate": "0"})
    rows = []

    def row(name, what):
        rows.append((name, what))

    for connect, o in pair(lab, answers):
        for name, p in (("bare", bare), ("held", held)):
            label, port = f"{connect.__name__} {name} ", o.port

            def open_(p=p, port=port, connect=connect):
                return connect(lab, p, port)
            row(label + "upload drips", lambda c=open_: refused(upload(c(), b"z", 1, 200)))
            row(label + "origin drips", lambda c=open_: refused_get(c(), "/drip"))
            row(label + "upload is calm", lambda c=open_: served(upload(c(), b"z" * 200, 1, 75)))
            row(label + "origin is calm", lambda c=open_: whole(get(c(), "/calm")))
            row(label + "events", lambda c=open_: whole(get(c(), "/events")))
            row(label + "service holds it", lambda c=open_: whole(get(c(), "/hold")))
        row(f"{connect.__name__} no limit", lambda c=connect, port=o.port: whole(get(c(lab, free, port), "/calm")))
        row(f"{connect.__name__} no limit, drips", lambda c=connect, port=o.port: served(upload(c(lab, free, port), b"z", 1, 75)))

    def reader(piece, every, seconds_, want):
        assert goes_on(plain(lab, bare, large), piece, every, seconds_) == want

    large = lab.origin(answers, tls=None, timeout=150).port
    row("reader drips", lambda: reader(5, 1, 150, False))
    row("reader is calm", lambda: reader(20000, 1, 100, True))
    threads = []
    for name, what in rows:
        def run(name=name, what=what):
            with lab.sub(name):
                what()
        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
    for t in threads:
        t.join(200)
    assert not any(t.is_alive() for t in threads)


def refused_get(c, path):
    started = time.monotonic()
    c.send(f"GET {c.start}{path} HTTP/1.1\r\nHost: {c.host}\r\n\r\n")
    refused(c)
    assert 29 < time.monotonic() - started < 100, "not in time"


def served(c):
    r = Response(c)
    assert r.status == 200 and not r.cut and int(r.text()) in (15000, 75), r


def whole(r):
    assert r.status == 200 and not r.cut, r
