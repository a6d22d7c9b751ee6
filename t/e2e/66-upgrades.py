# SPDX-License-Identifier: GPL-2.0-or-later
"""Switches of protocols through assay, at each door: what goes on, what is
refused, and octets that pass unseen behind a 101."""
import asyncio
import hashlib
import threading
import time

import websockets

import lab as e2e
import wire
import wsock
from lab import field
from wire import Response, ok
from wsock import BINARY, DEFLATE, PING

DOORS = ["wss", "ws", "connect"]


def record(p, o):
    """The last one of that origin."""
    return wire.wait_for(lambda: [r for r in p.access(1) if field(r, "url.port") == o.port], 8 * e2e.lab_scale())[-1]


def origin(lab, door, reply, **kw):
    return lab.origin(reply, tls="www.test" if door == "wss" else None, **kw)


def opened(lab, p, o, door):
    """A connection to the origin by that door, and what a target begins with."""
    authority = f"www.test:{o.port}"
    if door == "wss":
        return lab.tunnel(p, o.port), authority, ""
    if door == "ws":
        return lab.connect(p), authority, f"http://{authority}"
    c = wire.Tunnel(p.addr, authority, timeout=wire.TIMEOUT * e2e.lab_scale())
    lab.on_close(c.cut)
    assert c.connect.status == 200
    return c, authority, ""


def websocket(lab, p, o, door, target="/chat", **kw):
    c, authority, base = opened(lab, p, o, door)
    return wsock.connect(c, authority, base + target, **kw)


def doors(lab):
    for door in DOORS:
        with lab.sub(door):
            yield door


def test_handshake(lab):
    """It goes on as it is but for Via; the messages pass, the record counts them."""
    p = lab.assay()
    for door in DOORS:
        with lab.sub(door):
            o = origin(lab, door, wsock.served(extensions=DEFLATE, protocol="b", fields="X-Mine: 1\r\n"))
            s, head = websocket(lab, p, o, door, extensions=DEFLATE + "; client_max_window_bits, x-odd; a=1", protocols="a, b",
                                fields="Origin: http://www.test\r\nKeep-Alive: 3\r\n")
            assert head.get("Upgrade") == "websocket" and head.get("Connection") == "Upgrade", head
            assert head.get("Sec-WebSocket-Protocol") == "b" and head.get("X-Mine") == "1" and head.has("Via"), head
            assert not head.has("Content-Length") and not head.has("Transfer-Encoding") and not head.has("Date"), head
            asked = o.requests[0][0]
            assert asked.start == "GET /chat HTTP/1.1" and asked.get("Host") == f"www.test:{o.port}", asked
            assert asked.get("Upgrade") == "websocket" and asked.get("Connection") == "Upgrade", asked
            assert asked.get("Sec-WebSocket-Extensions") == DEFLATE + "; client_max_window_bits, x-odd; a=1", asked
            assert asked.has("Via") and not asked.has("Keep-Alive") and asked.get("Origin") == "http://www.test", asked
            for data in ("hello", b"\0\xff" * 40000, "", "h\u00e9" * 500):
                s.send(data, frames=2, between=[(PING, b"p")] if data else ())
                if data:
                    assert s.recv() == ("pong", b"p")
                assert s.message() == data
            s.close(4001, "bye")
            assert s.recv() == ("close", 4001, "")
            assert s.conn.is_closed(5)
            r = record(p, o)
            assert field(r, "http.response.status_code") == 101 and field(r, "event.action") == "allow", r
            assert field(r, "assay.mode") == ("intercepted" if door == "wss" else "plain"), r
            assert field(r, "http.request.body.bytes") > 100 and field(r, "http.response.body.bytes") > 100, r
            assert field(r, "url.full") == f"http{'s' if door == 'wss' else ''}://www.test:{o.port}/chat", r


def test_early_octets(lab):
    """Frames that come with the handshake wait for the 101, those of the
    origin come behind it; refused, they are read as the next request."""
    hello = wsock.frame(BINARY, b"early", mask=b"abcd")
    p = lab.assay()
    for door in doors(lab):
        got = []

        def serve(sock, got=got):
            got.append(sock.recv())
            wsock.echo(sock)
        o = origin(lab, door, wsock.served(serve, early=wsock.frame(BINARY, b"first")))
        s, _ = websocket(lab, p, o, door, early=hello)
        assert s.recv() == b"first"
        s.send("on")
        assert s.recv() == "on" and got == [b"early"]
        s.close()
        no = origin(lab, door, lambda h, b: ok(h.start.encode(), status="403 No" if "/ws" in h.start else "200 OK"))
        c, authority, base = opened(lab, p, no, door)
        request, _ = wsock.opening(authority, base + "/ws")
        c.send(request + f"GET {base}/next HTTP/1.1\r\nHost: {authority}\r\n\r\n")
        r = Response(c)
        assert r.status == 403 and r.body == b"GET /ws HTTP/1.1", r
        assert Response(c).body == b"GET /next HTTP/1.1"
        c.send(hello)
        assert Response(c).status == 400
        assert len(no.requests) == 2, no.requests


ANSWERS = {
    "unasked protocol": ("Upgrade: evil", None),
    "no Upgrade": ("X: y", None),
    "two": ("Upgrade: websocket, evil", None),
    "no Connection": ("Upgrade: websocket", "X: y"),
    "wrong accept": ("Upgrade: websocket", "Connection: Upgrade\r\nSec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
}


def test_wrong_answers(lab):
    """A 101 to anything else is a 502, and not an octet behind it gets out."""
    p = lab.assay(rules=[{"upgrade": ["lab/1"], "scan": "none"}])
    for name, (upgrade, more) in ANSWERS.items():
        for door in doors(lab):
            with lab.sub(name):
                def reply(head, body, upgrade=upgrade, more=more):
                    accept = wsock.accept(head.get("Sec-WebSocket-Key", ""))
                    more = more or f"Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}"
                    return f"HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\n{more}\r\n\r\nraw octets".encode()
                o = origin(lab, door, reply)
                for asks in ("Upgrade: websocket", "Upgrade: lab/1", "X: y"):
                    c, authority, base = opened(lab, p, o, door)
                    c.send(f"GET {base}/ HTTP/1.1\r\nHost: {authority}\r\nConnection: upgrade\r\n{asks}\r\nSec-WebSocket-Version: 13\r\n"
                           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
                    r = Response(c)
                    assert r.status == 502 and b"raw octets" not in r.body, (asks, r)
                    assert c.silent(0.1) or c.ended, c.buf


SMUGGLING = {
    "version 12": {"Sec-WebSocket-Version": "12"},
    "two versions": {"Sec-WebSocket-Version": "13\r\nSec-WebSocket-Version: 13"},
    "no key": {"Sec-WebSocket-Key": None},
    "bad key": {"Sec-WebSocket-Key": "c2hvcnQ="},
    "a body": {"Content-Length": "5"},
    "a body in chunks": {"Transfer-Encoding": "chunked"},
}


def test_wrong_handshakes(lab):
    """What means to be a handshake and is none is refused, and nothing behind it is read."""
    p = lab.assay()
    for name, change in SMUGGLING.items():
        for door in doors(lab):
            with lab.sub(name):
                o = origin(lab, door, wsock.served())
                c, authority, base = opened(lab, p, o, door)
                fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                          "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **change}
                c.send(f"GET {base}/ws HTTP/1.1\r\nHost: {authority}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items() if v) +
                       f"\r\nGET {base}/smuggled HTTP/1.1\r\nHost: {authority}\r\n\r\n")
                assert Response(c).status == 400
                assert c.is_closed(5)
                assert not o.requests, o.requests


def test_dropped(lab):
    """Other upgrades go on as plain requests, also behind an HTTP/1.0 line or with a body."""
    p = lab.assay(rules=[{"upgrade": ["lab/1"], "scan": "none"}])
    o = lab.origin(tls=None)
    base, authority = f"http://www.test:{o.port}", f"www.test:{o.port}"
    for version, fields in [("1.1", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"),
                            ("1.1", "Upgrade: lab/1\r\n"), ("1.1", "Connection: Upgrade\r\nUpgrade: lab/2, lab\r\n"),
                            ("1.0", "Connection: Upgrade\r\nUpgrade: lab/1\r\n"), ("1.0", "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
                            ("1.1", "Connection: Upgrade\r\nUpgrade: lab/1\r\nContent-Length: 1\r\n")]:
        with lab.sub(fields):
            c = lab.connect(p)
            c.send(f"GET {base}/ HTTP/{version}\r\nHost: {authority}\r\n{fields}\r\nx")
            assert Response(c).status == 200
            head = o.requests[-1][0]
            assert not head.has("Upgrade") and "pgrade" not in head.get("Connection", "") and not head.has("HTTP2-Settings"), head


def test_named_protocol(lab):
    """`upgrade` of a rule: the first that is asked for and allowed, octets either way."""
    data = bytes(range(256)) * 400

    def switch(head, body):
        def run(conn):
            conn.send(f"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: {head.get('Upgrade')}\r\n\r\n".encode() + b"hi")
            conn.send(conn.exact(len(data)))
            return "close"
        return run
    p = lab.assay(rules=[{"if": {"url": "/none"}, "upgrade": []}, {"upgrade": ["Lab/1", "other"], "scan": "none"}])
    for door in doors(lab):
        o = origin(lab, door, lambda h, b: switch(h, b) if h.has("Upgrade") else ok(b"plain"))
        for method in ("GET", "POST"):
            c, authority, base = opened(lab, p, o, door)
            c.send(f"{method} {base}/ HTTP/1.1\r\nHost: {authority}\r\nConnection: x, Upgrade\r\nUpgrade: h2c, lab/1\r\nUpgrade: other\r\n\r\n".encode() + data)
            head = c.head()
            assert " 101 " in head.start and head.get("Upgrade") == "lab/1", head
            assert o.requests[-1][0].all("Upgrade") == ["lab/1"], o.requests[-1][0]
            assert c.exact(2 + len(data)) == b"hi" + data
            assert c.is_closed(5)
        c, authority, base = opened(lab, p, o, door)
        c.send(f"GET {base}/none HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: lab/1\r\n\r\n")
        assert Response(c).body == b"plain"


def test_block(lab):
    """By rule: a page, a record in full, and the connection goes on."""
    p = lab.assay(rules=[{"name": "no-ws", "if": {"host": "www.test"}, "websocket": "block", "log": "none", "scan": "none"}])
    for door in DOORS:
        with lab.sub(door):
            o = origin(lab, door, wsock.served())
            c, authority, base = opened(lab, p, o, door)
            request, _ = wsock.opening(authority, base + "/ws")
            c.send(request)
            r = Response(c)
            assert r.status == 403, r
            rec = record(p, o)
            assert field(rec, "event.action") == "block" and field(rec, "assay.rule.access") == "no-ws", rec
            assert field(rec, "event.id").encode() in r.body, r
            assert "/ws" in field(rec, "url.full"), rec
            assert not o.requests
            c.send(f"GET {base}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n")
            c.head()
            assert o.requests[-1][0].start == "GET / HTTP/1.1"


def test_ends(lab):
    """Either side's end, in order or not, ends the other one within a second
    or so; nothing stays open."""
    p = lab.assay()
    before = None
    for door in doors(lab):
        for how in ("client close", "client reset", "client half", "origin close", "origin reset"):
            with lab.sub(how):
                ends = threading.Event()
                after = []

                def serve(sock, how=how, ends=ends, after=after):
                    sock.send("up")
                    if how.startswith("origin"):
                        getattr(sock.conn, how.split()[1])()
                        return
                    began = time.monotonic()
                    while sock.conn.fill():
                        pass
                    after.append(time.monotonic() - began)
                    ends.set()
                    if how == "client half":
                        time.sleep(8)
                o = origin(lab, door, wsock.served(serve))
                s, _ = websocket(lab, p, o, door)
                assert s.recv() == "up"
                began = time.monotonic()
                if how == "client half":
                    s.conn.sock.shutdown(1)
                elif how.startswith("client"):
                    getattr(s.conn, how.split()[1])()
                if how.startswith("client"):
                    assert ends.wait(3 * e2e.lab_scale()), "the origin's side stays open"
                if not how.startswith("client") or how == "client half":
                    while s.conn.fill():
                        pass
                    assert time.monotonic() - began < 3 * e2e.lab_scale(), "the client's side stays open"
                s.conn.cut()
        if before is None:
            time.sleep(1)
            before = p.fds()
    assert wire.wait_for(lambda: p.fds() <= before + 2, 8 * e2e.lab_scale()), f"{p.fds()} descriptors, {before} before"


@e2e.seconds(120)
def test_bulk(lab):
    """50 MB each way, cut anyhow, and a reader that is slow: octet by octet the same."""
    size = 50 << 20
    block = bytes((i * 7 + (i >> 8)) & 255 for i in range(1 << 20))
    digest = hashlib.sha256(block * (size >> 20)).hexdigest()

    def switch(head, body):
        def run(conn):
            conn.send(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: lab\r\n\r\n")
            got, n = hashlib.sha256(), 0
            while n < size:
                conn.fill()
                got.update(conn.buf)
                n += len(conn.buf)
                conn.buf = b""
            conn.send(got.hexdigest())
            for _ in range(size >> 20):
                conn.send(block)
            return "close"
        return run
    p = lab.assay(rules=[{"upgrade": ["lab"], "scan": "none"}])
    had = p.rss()
    for door in doors(lab):
        o = origin(lab, door, switch)
        c, authority, base = opened(lab, p, o, door)
        c.send(f"GET {base}/ HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: lab\r\n\r\n")
        assert " 101 " in c.head().start
        for _ in range(size >> 20):
            c.send(block)
        assert c.exact(64).decode() == digest
        time.sleep(0.5)
        got, n = hashlib.sha256(c.buf), len(c.buf)
        c.buf = b""
        while n < size and c.fill():
            got.update(c.buf)
            n += len(c.buf)
            c.buf = b""
        assert n == size and got.hexdigest() == digest
        assert c.is_closed(5)
    assert e2e.SANITIZER or p.rss() - had < 48 << 20, p.rss() - had


def test_idle(lab):
    """limits.tunnel ends a connection that says nothing; one that speaks lives."""
    p = lab.assay(limits={"tunnel": "1s"})
    for door in doors(lab):
        o = origin(lab, door, wsock.served())
        s, _ = websocket(lab, p, o, door)
        for _ in range(4):
            time.sleep(0.5)
            s.send("still here")
            assert s.recv() == "still here"
        assert s.conn.is_closed(4 * e2e.lab_scale()), "still open"


def test_reload_and_drain(lab):
    """A reload lets it live, unless it denies it; a drain ends it in its time."""
    rules = [{"scan": "none"}]
    port = lab.port()
    p = lab.assay(port=port, rules=rules)
    for door in doors(lab):
        o = origin(lab, door, wsock.served())
        s, _ = websocket(lab, p, o, door)
        p.write_conf(lab.conf(port, rules=[{"log": "minimal"}, *rules]))
        p.reload()
        s.send("on")
        assert s.recv() == "on"
        for denies in ({"access": "block"}, {"websocket": "block"}):
            s, _ = websocket(lab, p, o, door)
            p.write_conf(lab.conf(port, rules=[{"name": "now", **denies}, *rules]))
            p.reload()
            assert s.conn.is_closed(4 * e2e.lab_scale()), f"{denies}: still open"
            p.write_conf(lab.conf(port, rules=rules))
            p.reload()
    o = lab.origin(wsock.served(), tls=None)
    s, _ = websocket(lab, p, o, "ws")
    p.signal(15)
    assert s.conn.is_closed(6 * e2e.lab_scale()), "still open"


def test_real_peers(lab):
    """python3-websockets on both ends, with its compression."""
    async def serve(ws):
        async for data in ws:
            await ws.send(data)

    async def talk():
        async with websockets.serve(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            c = wire.Tunnel(p.addr, f"www.test:{port}")
            assert c.connect.status == 200
            c.sock.setblocking(False)
            async with websockets.connect(f"ws://www.test:{port}/", sock=c.sock) as ws:
                for data in ("hello", b"\0\xff" * 40000, "", "x" * 200000):
                    await ws.send(data)
                    assert await ws.recv() == data
                await (await ws.ping(b"there?"))

    p = lab.assay()
    asyncio.run(asyncio.wait_for(talk(), 30))


def test_plain_in_a_tunnel(lab):
    """CONNECT and plain HTTP: the tunnel's authority, the rules, one record a request."""
    p = lab.assay(rules=[{"name": "no", "if": {"url": "^http://www.test:[0-9]+/no"}, "access": "block"}, {"scan": "none"}])
    o = lab.origin(lambda h, b: ok(h.start.encode()), tls=None)
    c, authority, _ = opened(lab, p, o, "connect")
    for part in ("G", "E", "T", " /one HTTP/1.1\r\n", f"Host: {authority}\r\n\r\n"):
        c.send(part)
        time.sleep(0.05)
    assert Response(c).body == b"GET /one HTTP/1.1"
    for target, host, status in (("/no", authority, 403), (f"http://{authority}/two", authority, 200),
                                 ("/x", f"other.test:{o.port}", 421), ("/y", "www.test", 421), (f"https://{authority}/", authority, 421)):
        with lab.sub(target):
            c, _, _ = opened(lab, p, o, "connect")
            c.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
            assert Response(c).status == status
    c, _, _ = opened(lab, p, o, "connect")
    c.send(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")
    assert Response(c).status in (400, 405)
    assert [h.start for h, _, _ in o.requests] == ["GET /one HTTP/1.1", "GET /two HTTP/1.1"]
    r = p.access(1)[0]
    assert field(r, "url.full") == f"http://{authority}/one" and field(r, "assay.mode") == "plain", r


def test_ports(lab):
    """Plain HTTP in a tunnel is held to both lists of ports."""
    o = lab.origin(tls=None)
    for connect, http, granted, status in ((1, 1, False, 403), ("o", 1, True, 403), ("o", "o", True, 200)):
        ports = {"connect": [o.port if connect == "o" else connect], "http": [o.port if http == "o" else http]}
        p = lab.assay(destinations={"allow": ["127.0.0.0/8"], "ports": ports}, rules=[{"scan": "none"}])
        with lab.sub(str(ports)):
            c = lab.connect(p)
            authority = f"www.test:{o.port}"
            c.send(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n")
            assert (Response(c, "CONNECT").status == 200) == granted
            if granted:
                c.send(f"GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n")
                assert Response(c).status == status


@e2e.needs("clamav")
def test_unseen_is_not_clean(lab):
    """Where a chain applies the record of what passes unseen says so; messages
    that are looked at are clean, and without a chain there is no verdict."""
    look = dict(services={"clam": {"url": "clamav:"}})
    rows = [("websocket", "tunnel", ["clam"], "unscanned"), ("lab/1", "tunnel", ["clam"], "unscanned"),
            ("websocket", "inspect", ["clam"], "clean"), ("websocket", "tunnel", "none", None)]
    for protocol, how, scan, want in rows:
        p = lab.assay(**look, rules=[{"scan": scan, "websocket": how, "upgrade": ["lab/1"]}])
        for door in doors(lab):
            with lab.sub(f"{protocol} {how} {scan}"):
                if protocol == "websocket":
                    o = origin(lab, door, wsock.served())
                    s, _ = websocket(lab, p, o, door)
                    s.send("hello")
                    assert s.recv() == "hello"
                    s.close()
                else:
                    o = origin(lab, door, lambda h, b: lambda c: (c.send(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: lab/1\r\n\r\nhi"), "close")[1])
                    c, authority, base = opened(lab, p, o, door)
                    c.send(f"GET {base}/ HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: lab/1\r\n\r\n")
                    assert " 101 " in c.head().start and c.exact(2) == b"hi"
                    c.is_closed(5)
                assert field(record(p, o), "assay.verdict") == want, record(p, o)
        p.stop()
