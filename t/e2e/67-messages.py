# SPDX-License-Identifier: GPL-2.0-or-later
"""WebSocket messages in front of scanners: what passes as it came, what is
blocked, each way and at each door."""
import asyncio
import threading
import time

import websockets

import lab as e2e
import wire
import wsock
from lab import EICAR, field, needs
from wsock import CLOSE, CONT, DEFLATE, PING, PONG, TEXT

DOORS = ["wss", "ws", "connect"]
CLAM = dict(services={"clam": {"url": "clamav:"}}, rules=[{"name": "look", "scan": ["clam"]}])


def both(icap, **more):
    """One ICAP server for both directions."""
    more["url"], more["cache"] = icap.url(), "off"
    return dict(services={"up": dict(more, mode="req"), "down": dict(more, mode="resp")},
                rules=[{"name": "look", "scan": ["up", "down"]}])


def is_message(tx):
    """Of a message, not of the handshake."""
    if tx.method == "REQMOD":
        return tx.request.start.startswith("POST ")
    return tx.response.start.split()[1] == "200"


def looks(bad=lambda data: False, seen=None, how=lambda tx: tx.block()):
    """An ICAP script: bodies of messages go to seen, bad ones are answered so."""
    def script(tx):
        if not is_message(tx):
            return tx.no_change()
        data = tx.whole()
        if seen is not None:
            seen.append((tx.method, data, tx))
        return how(tx) if bad(data) else tx.no_change()
    return script


def open_ws(lab, p, o, door="wss", target="/chat", **kw):
    authority = f"www.test:{o.port}"
    if door == "wss":
        c = lab.tunnel(p, o.port)
    elif door == "ws":
        c, target = lab.connect(p), f"http://{authority}{target}"
    else:
        c = wire.Tunnel(p.addr, authority, timeout=wire.TIMEOUT * e2e.lab_scale())
        lab.on_close(c.cut)
    return wsock.connect(c, authority, target, **kw)


def record(p, o):
    """The one of the connection to that origin."""
    return wire.wait_for(lambda: [r for r in p.access(1) if field(r, "url.port") == o.port], 8 * e2e.lab_scale())[-1]


def origin(lab, door, serve=wsock.echo, **kw):
    return lab.origin(wsock.served(serve, **kw), tls="www.test" if door == "wss" else None)


FORMS = {
    "text": dict(),
    "fragments": dict(frames=5, between=[(PING, b"")]),
    "deflated": dict(compress=True),
    "deflated fragments": dict(compress=True, frames=7),
}


@needs("clamav")
def test_eicar(lab):
    """Found in each form, each way; what is clean before it passes octet by octet."""
    p = lab.assay(**CLAM)
    n = 0
    for way in ("up", "down"):
        for name, form in FORMS.items():
            for data in (EICAR.decode(), EICAR):
                door = DOORS[n % 3]
                with lab.sub(f"{way}, {name}, {type(data).__name__}, {door}"):
                    got, ended = [], threading.Event()

                    def serve(sock, form=form, data=data, way=way, got=got, ended=ended):
                        try:
                            got.append(sock.message())
                            sock.send("fine")
                            if way == "down":
                                sock.send(data, **form)
                            while not got[-1][0] == "close":
                                got.append(sock.recv())
                        finally:
                            got.append(sock.heard)
                            ended.set()
                    o = origin(lab, door, serve, extensions=DEFLATE)
                    s, head = open_ws(lab, p, o, door, extensions=DEFLATE)
                    assert head.get("Sec-WebSocket-Extensions") == DEFLATE, head
                    s.send("clean" * 1000, **form)
                    while (r := s.recv()) in (("pong", b""), ("ping", b"")):
                        pass
                    assert r == "fine", r
                    if way == "up":
                        s.send(data, **form)
                    while isinstance(r := s.recv(), tuple) and r[0] in ("ping", "pong"):
                        pass
                    assert r[:2] == ("close", 1008) and "reference" in r[2], r
                    assert ended.wait(10)
                    assert got[0] == "clean" * 1000 and got[-2][:2] == ("close", 1008), got
                    assert EICAR not in s.heard and EICAR not in got[-1]
                    assert s.conn.is_closed(5)
                    n += 1
                    rec = record(p, o)
                    assert field(rec, "event.action") == "block" and field(rec, "assay.verdict") == "blocked", rec
                    assert field(rec, "error.code") == "THREAT" and field(rec, "event.id") in r[2], rec
                    assert field(rec, "assay.rule.scan") == "look" and field(rec, "assay.websocket.close.code") == 1008, rec
                    scans = field(rec, "assay.scan")
                    bad = [x for x in scans if x["outcome"] == "blocked"]
                    assert len(bad) == 1 and "eicar" in bad[0]["threat"].lower() and bad[0]["mode"] == ("req" if way == "up" else "resp"), rec
                    assert bad[0]["messages"] == 1 and sum(x.get("messages", 0) for x in scans) == 3, rec


def test_passes(lab):
    """Frames go out as they came, in order, and services see what they mean."""
    seen = []
    icap = lab.icap(looks(seen=seen))
    p = lab.assay(**both(icap))
    for door in DOORS:
        for terms in ("", DEFLATE, DEFLATE + "; server_no_context_takeover; client_no_context_takeover"):
            with lab.sub(f"{door} {terms}"):
                seen.clear()
                at_origin = []

                def serve(sock, at_origin=at_origin):
                    try:
                        wsock.echo(sock)
                    finally:
                        at_origin.append(sock.heard)
                o = origin(lab, door, serve, extensions=terms)
                s, head = open_ws(lab, p, o, door, extensions=(terms + ", " if terms else "") + "x-unknown")
                asked = o.requests[0][0].get("Sec-WebSocket-Extensions")
                assert asked == (terms or None), asked
                sent = []
                real = s.conn.send
                s.conn.send = lambda data, sent=sent, real=real: (sent.append(data), real(data))
                for data in ("hello", "", b"", "h\u00e9" * 3000, b"\0\xff" * 40000, "hello", "x" * 300000):
                    s.send(data, frames=3, between=[(PING, b"now")])
                    pongs = 0
                    while (got := s.recv()) == ("pong", b"now"):
                        pongs += 1
                    assert got == data and pongs == 2, (got[:50], pongs)
                s.close(4000, "bye")
                assert s.recv() == ("close", 4000, "")
                assert s.conn.is_closed(5)
                # The pings may have overtaken the frames around them.
                texts = [d for m, d, _ in seen if m == "REQMOD"]
                assert texts == [b"hello", "h\u00e9".encode() * 3000, b"\0\xff" * 40000, b"hello", b"x" * 300000], [t[:9] for t in texts]
                assert texts == [d for m, d, _ in seen if m == "RESPMOD"]
                assert sorted(b"".join(sent)) == sorted(at_origin[0])
    up = [tx for m, _, tx in seen if m == "REQMOD"][0]
    down = [tx for m, _, tx in seen if m == "RESPMOD"][0]
    url = f"http://www.test:{o.port}/chat"
    assert up.request.start == f"POST {url} HTTP/1.1" and up.request.get("Content-Type") == "text/plain; charset=utf-8", up.request
    assert up.request.get("Content-Length") == "5" and not up.request.has("Upgrade") and not up.request.has("Sec-WebSocket-Key"), up.request
    assert down.request.start == f"GET {url} HTTP/1.1" and down.response.get("Content-Type") == "text/plain; charset=utf-8", down.response
    r = record(p, o)
    assert field(r, "assay.websocket.request.messages") == 7 and field(r, "assay.websocket.response.messages") == 7, r
    assert field(r, "assay.verdict") == "clean" and field(r, "event.action") == "allow", r
    assert {(x["mode"], x["outcome"], x.get("messages")) for x in field(r, "assay.scan")} >= {("req", "clean", 5), ("resp", "clean", 5)}, r


def test_handshake_is_scanned(lab):
    """REQMOD and RESPMOD see both heads, and may end it; echoed heads change nothing."""
    shown = []

    def script(tx):
        if is_message(tx):
            return tx.echo()
        shown.append(tx)
        if "/no-req" in tx.request.start and tx.method == "REQMOD":
            return tx.block()
        if "/no-resp" in tx.request.start and tx.method == "RESPMOD":
            return tx.block()
        return tx.echo()
    icap = lab.icap(script)
    p = lab.assay(**both(icap))
    for door in DOORS:
        with lab.sub(door):
            o = origin(lab, door)
            shown.clear()
            s, _ = open_ws(lab, p, o, door)
            s.send("echoed by the service is the same")
            assert s.recv() == "echoed by the service is the same"
            assert [t.method for t in shown] == ["REQMOD", "RESPMOD"], shown
            assert shown[0].request.get("Upgrade") == "websocket" and shown[0].request.has("Sec-WebSocket-Key")
            assert " 101 " in shown[1].response.start and shown[1].response.has("Sec-WebSocket-Accept")
            for target in ("/no-req", "/no-resp"):
                s, head = open_ws(lab, p, o, door, target=target)
                assert s is None and " 403 " in head.start, head
            assert not any("/no-req" in h.start for h, _, _ in o.requests)


def test_changed_and_failed(lab):
    """A message that a service changes is blocked; no verdict is on_error."""
    def ends(conf, code, action, **kw):
        p = lab.assay(**conf)
        for way in ("up", "down"):
            with lab.sub(f"{code} {way}"):
                o = origin(lab, "wss", lambda sock, way=way: sock.send("bad") if way == "down" else wsock.echo(sock))
                s, _ = open_ws(lab, p, o)
                if way == "up":
                    s.send("bad")
                got = s.recv()
                if code:
                    assert got[:2] == ("close", code), got
                    rec = record(p, o)
                    assert field(rec, "event.action") == action, rec
                else:
                    assert got == "bad", got

    def change(tx):
        kind = "res" if tx.method == "RESPMOD" else "req"
        return tx.modified(tx.raw[f"{kind}-hdr"].replace(b"Content-Length: 3", b"Content-Length: 4"), b"good", kind)
    bad = looks(lambda d: d == b"bad", how=change)
    ends(both(lab.icap(bad)), 1008, "block")
    broken = looks(lambda d: d == b"bad", how=lambda tx: (tx.answer("500 No"), "close")[1])
    ends(both(lab.icap(broken)), 1011, "error")
    ends(both(lab.icap(broken), on_error="bypass"), None, None)


def test_large_and_endless(lab):
    """Larger than websocket.message, or without an end: unscanned (limit), by
    on_unscanned; what is in the begin is found, all of which is looked at:
    what a frame declares skips nothing."""
    big = b"0123456789abcdef" * 8192
    for policy in ("block", "bypass"):
        seen = []
        icap = lab.icap(looks(lambda d: b"EVIL" in d, seen))
        p = lab.assay(**both(icap, on_unscanned={"default": "block", "limit": policy}), websocket={"message": "64K"}, limits={"read": "2s"})
        for way in ("up", "down"):
            for terms in ("", DEFLATE):
                for what, data, frames in (("at the limit", big[:65536], 3), ("large", big, 3), ("evil", b"EVIL" + big, 3),
                                           ("large frame", big, 1), ("evil frame", big[:65500] + b"EVIL" + big, 1)):
                    with lab.sub(f"{policy} {way} {terms} {what}"):
                        seen.clear()
                        o = origin(lab, "wss", (lambda sock, data=data, frames=frames: (sock.send(data, frames=frames), wsock.echo(sock)))
                                   if way == "down" else wsock.echo,
                                   extensions=terms)
                        s, _ = open_ws(lab, p, o, extensions=terms)
                        if way == "up":
                            s.send(data, frames=frames)
                        got = s.recv()
                        if what == "at the limit" or (policy == "bypass" and what.startswith("large")):
                            assert got == data, got[:60]
                        else:
                            assert got[:2] == ("close", 1008), got
                        assert seen[0][1] == data[:65536] or (terms and frames == 3 and data.startswith(seen[0][1]) and seen[0][1]), len(seen[0][1])
        o = origin(lab, "wss", lambda sock: (sock.frame(TEXT, b"never", fin=False), sock.recv(), sock.conn.fill()))
        s, _ = open_ws(lab, p, o)
        got = s.next_frame()
        if policy == "block":
            assert got[0] == CLOSE, got
            r = record(p, o)
            assert field(r, "error.code") == "UNSCANNED" and field(r, "assay.scan")[-1]["gap"] == "limit", r
        else:
            assert got == (TEXT, False, 0, b"never"), got


def test_order_and_back_pressure(lab):
    """While one is looked at nothing overtakes it but control frames; a sender
    is held back, and memory stays bounded."""
    gate = threading.Event()

    def script(tx):
        if is_message(tx) and tx.whole() == b"slow":
            gate.wait(30)
        return tx.no_change()
    icap = lab.icap(script)
    p = lab.assay(**both(icap), workers=1)
    got = []

    def serve(sock):
        while True:
            got.append(sock.recv())
            if got[-1][0] == "ping":
                sock.frame(PONG, got[-1][1])
            if got[-1] == "last":
                return
    o = origin(lab, "wss", serve)
    s, _ = open_ws(lab, p, o)
    had = p.rss()
    s.send("slow")
    s.frame(PING, b"here")
    assert s.recv() == ("pong", b"here")
    assert got == [("ping", b"here")], got
    s.send("after")
    s.conn.sock.settimeout(1)
    sent = 0
    try:
        for _ in range(400):
            s.send(b"x" * 250000)
            sent += 1
    except wire.Ended:
        pass
    assert sent < 400, "nothing holds the sender back"
    assert e2e.SANITIZER or p.rss() - had < 96 << 20, p.rss() - had
    gate.set()
    assert wire.wait_for(lambda: len(got) > 2 + min(sent, 3), 20 * e2e.lab_scale()), got
    assert got[1:3] == ["slow", "after"], got[:4]


BROKEN = {
    "unmasked": (wsock.frame(TEXT, b"x"), 1002),
    "a reserved bit": (wsock.frame(TEXT, b"x", rsv=2, mask=b"abcd"), 1002),
    "a continuation of nothing": (wsock.frame(CONT, b"x", mask=b"abcd"), 1002),
    "no UTF-8": (wsock.frame(TEXT, b"\xff\xfe", mask=b"abcd"), 1007),
    "a large ping": (wsock.frame(PING, b"x" * 126, mask=b"abcd"), 1002),
}


def test_broken_frames(lab):
    """A Close frame to each side, nothing of it to the origin; the record says who."""
    icap = lab.icap()
    p = lab.assay(**both(icap))
    for name, (octets, code) in BROKEN.items():
        with lab.sub(name):
            got = []
            o = origin(lab, "wss", lambda sock, got=got: got.append(sock.recv()))
            s, _ = open_ws(lab, p, o)
            s.conn.send(octets)
            assert s.recv()[:2] == ("close", code)
            assert s.conn.is_closed(5)
            assert wire.wait_for(lambda: got, 5) and got[0][:2] == ("close", code), got
            assert field(record(p, o), "error.code") == "REQ_WEBSOCKET"


def test_flood(lab):
    """Control frames without an end are a flood; many with answers are not."""
    icap = lab.icap()
    p = lab.assay(**both(icap))
    o = origin(lab, "ws")
    s, _ = open_ws(lab, p, o, "ws")
    for i in range(500):
        s.frame(PING, b"%d" % i)
    for i in range(500):
        assert s.recv() == ("pong", b"%d" % i)
    try:
        for i in range(20000):
            s.frame(PONG, b"flood")
    except wire.Ended:
        pass
    try:
        while (got := s.recv())[0] != "close":
            pass
        assert got[1] == 1008, got
    except wire.Ended:
        pass
    assert field(p.access(1)[-1], "error.code") == "CLIENT_FLOOD"


def test_ends(lab):
    """Either side's end ends the other one; nothing stays open."""
    icap = lab.icap()
    p = lab.assay(**both(icap))
    before = None
    for door in DOORS:
        for how in ("client close", "client reset", "client half", "origin close", "origin reset", "inside"):
            with lab.sub(f"{door} {how}"):
                ends = threading.Event()

                def serve(sock, how=how, ends=ends):
                    sock.send("up")
                    if how.startswith("origin"):
                        getattr(sock.conn, how.split()[1])()
                        return
                    while sock.conn.fill():
                        pass
                    ends.set()
                    if how == "client half":
                        time.sleep(6)
                o = origin(lab, door, serve)
                s, _ = open_ws(lab, p, o, door)
                if how != "origin reset":       # which may come before the verdict
                    assert s.recv() == "up"
                began = time.monotonic()
                if how == "inside":
                    s.frame(TEXT, b"part", fin=False)
                    s.conn.close()
                elif how == "client half":
                    s.conn.sock.shutdown(1)
                elif how.startswith("client"):
                    getattr(s.conn, how.split()[1])()
                if not how.startswith("origin"):
                    assert ends.wait(3 * e2e.lab_scale()), "the origin's side stays open"
                if how in ("client half", "origin close", "origin reset"):
                    while s.conn.fill():
                        pass
                    assert time.monotonic() - began < 3 * e2e.lab_scale(), "the client's side stays open"
                s.conn.cut()
        if before is None:
            time.sleep(1)
            before = p.fds()
    assert wire.wait_for(lambda: p.fds() <= before + 2, 8 * e2e.lab_scale()), f"{p.fds()} descriptors, {before} before"


def test_reload_and_drain(lab):
    """A rule that denies it ends it with 1008, the end of the proxy with 1001."""
    icap = lab.icap()
    port = lab.port()
    conf = both(icap)
    p = lab.assay(port=port, **conf)
    o = origin(lab, "wss")
    s, _ = open_ws(lab, p, o)
    other, _ = open_ws(lab, p, origin(lab, "connect"), "connect")
    p.write_conf(lab.conf(port, **dict(conf, rules=[{"name": "now", "if": {"port": [o.port]}, "websocket": "block"}, *conf["rules"]])))
    p.reload()
    assert s.recv()[:2] == ("close", 1008)
    r = record(p, o)
    assert field(r, "event.action") == "block" and field(r, "assay.rule.access") == "now", r
    other.send("still")
    assert other.recv() == "still"
    p.signal(15)
    assert other.recv()[:2] == ("close", 1001)


def test_splits(lab):
    """However the octets are cut, either way."""
    icap = lab.icap(looks(lambda d: d == b"bad"))
    p = lab.assay(**both(icap))
    for size in (1, 2, 3, 7, 100):
        with lab.sub(size):
            def serve(sock, size=size):
                real = sock.conn.send
                sock.conn.send = lambda data: [real(data[i:i + size]) for i in range(0, len(data), size)]
                wsock.echo(sock)
            o = origin(lab, "ws", serve, extensions=DEFLATE)
            s, _ = open_ws(lab, p, o, "ws", extensions=DEFLATE)
            real = s.conn.send
            s.conn.send = lambda data, real=real, size=size: [real(data[i:i + size]) for i in range(0, len(data), size)]
            for data in ("hello", b"\0\1" * 200, "x" * 1000):
                s.send(data, frames=2, between=[(PING, b"p")])
                assert s.recv() == ("pong", b"p")
                assert s.message() == data
            s.send("bad")
            assert s.recv()[:2] == ("close", 1008)


def test_real_peers(lab):
    """python3-websockets on both ends, with its compression."""
    async def serve(ws):
        async for data in ws:
            await ws.send(data)

    async def talk():
        async with websockets.serve(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            c = wire.Tunnel(p.addr, f"www.test:{port}")
            c.sock.setblocking(False)
            async with websockets.connect(f"ws://www.test:{port}/", sock=c.sock) as ws:
                for data in ("hello", b"\0\xff" * 40000, "", "x" * 200000):
                    await ws.send(data)
                    assert await ws.recv() == data
                await (await ws.ping(b"there?"))
                await ws.send("bad")
                try:
                    raise AssertionError(await ws.recv())
                except websockets.ConnectionClosed as e:
                    assert e.rcvd.code == 1008, e

    p = lab.assay(**both(lab.icap(looks(lambda d: d == b"bad"))))
    asyncio.run(asyncio.wait_for(talk(), 30))


def test_leaves_while_scanned(lab):
    """Who leaves before the verdict does not keep the other side, and is recorded
    with what was under way; so is the end of the proxy."""
    gate = threading.Event()

    def script(tx):
        if is_message(tx):
            tx.whole()
            gate.wait(20)
        return tx.no_change()
    icap = lab.icap(script)
    p = lab.assay(**both(icap))
    for how in ("reset", "close", "drain"):
        with lab.sub(how):
            n = len(icap.txs)
            ended = threading.Event()

            def serve(sock, ended=ended):
                while sock.conn.fill():
                    pass
                ended.set()
            o = origin(lab, "ws", serve)
            s, _ = open_ws(lab, p, o, "ws")
            s.send("slow")
            assert wire.wait_for(lambda: any(is_message(t) for t in icap.txs[n:]), 10)
            s.send("next")
            if how == "drain":
                p.signal(15)
            else:
                getattr(s.conn, how)()
            assert ended.wait(8 * e2e.lab_scale()), "the origin's side stays open"
            r = record(p, o)
            assert [x["outcome"] for x in field(r, "assay.scan") if x.get("messages")] == ["cancelled"], r
    gate.set()


@e2e.seconds(120)
def test_big_and_bombs(lab):
    """30 MB messages pass as they came, out of files; a bomb is unscanned (limit) and takes no memory."""
    seen = []
    icap = lab.icap(looks(lambda d: b"EVIL" in d[-100:], seen))
    p = lab.assay(**both(icap), websocket={"message": "64M"}, limits={"body_memory": "64K"})
    big = bytes((i * 31 + (i >> 9)) & 255 for i in range(1 << 20)) * 30
    for way in ("up", "down"):
        for end in (b"fine", b"EVIL"):
            with lab.sub(f"{way} {end}"):
                got = []

                def serve(sock, way=way, end=end, got=got):
                    sock.send(big + end if way == "down" else "ready", frames=4)
                    got.append(sock.recv())
                o = origin(lab, "ws", serve)
                s, _ = open_ws(lab, p, o, "ws")
                if way == "up":
                    assert s.recv() == "ready"
                    s.send(big + end, frames=4)
                    assert wire.wait_for(lambda: got, 30 * e2e.lab_scale())
                else:
                    got.append(s.recv())
                if end == b"fine":
                    assert got[0] == big + end
                else:
                    assert got[0][:2] == ("close", 1008), got[0][:100]
                s.conn.cut()
    had = p.rss()
    bomb = bytes(200 << 20)
    for terms in (DEFLATE, DEFLATE + "; client_no_context_takeover"):
        with lab.sub(terms):
            o = origin(lab, "ws", extensions=terms)
            s, _ = open_ws(lab, p, o, "ws", extensions=terms)
            s.send(bomb)
            assert s.recv()[:2] == ("close", 1008)
            scans = [x for x in field(record(p, o), "assay.scan") if x.get("messages")]
            assert scans and scans[-1]["gap"] == "limit", scans
    assert e2e.SANITIZER or p.rss() - had < 64 << 20, p.rss() - had


def test_one_way(lab):
    """A chain of one direction: the other one passes, and its frames are read."""
    icap = lab.icap(looks(lambda d: d == b"bad"))
    for mode in ("req", "resp"):
        with lab.sub(mode):
            p = lab.assay(services={"one": {"url": icap.url(), "mode": mode}}, rules=[{"scan": ["one"]}])
            o = origin(lab, "wss", extensions=DEFLATE)
            s, _ = open_ws(lab, p, o, extensions=DEFLATE)
            for data in ("hello", b"\0\xff" * 50000, ""):
                s.send(data, frames=3, between=[(PING, b"x")])
                assert s.message() == data
            # The client's, or what comes back of it: the way without a chain ends with it.
            s.send("bad")
            assert s.recv()[:2] == ("close", 1008)


def test_little_memory(lab):
    """Who has used up the memory of clients is told so, and others go on."""
    icap = lab.icap(looks())
    p = lab.assay(**both(icap), limits={"memory": "16M", "temp": "1M"}, websocket={"message": "64M"})
    o = origin(lab, "ws")
    s, _ = open_ws(lab, p, o, "ws")
    try:
        s.conn.sock.settimeout(5)
        for i in range(40):
            s.frame(CONT if i else TEXT, b"x" * (1 << 20), fin=False)
    except wire.Ended:
        pass
    try:
        got = s.recv()
        assert got[0] == "close" and got[1] in (1011, 1013), got
    except wire.Ended as e:
        assert "reset" in str(e) or "ragged" in str(e), e
    r = record(p, o)
    assert field(r, "event.action") == "error" and field(r, "error.code") in ("MEMORY", "TEMP_LIMIT", "BODY_LIMIT"), r
    s, _ = open_ws(lab, p, o, "ws")
    s.send("hello")
    assert s.recv() == "hello"
