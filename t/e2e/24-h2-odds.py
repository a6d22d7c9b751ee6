# SPDX-License-Identifier: GPL-2.0-or-later
"""HTTP/2 towards origins that are hostile, slow, silent, leaving or signed in to."""
import hashlib
import importlib.util
import os
import random
import pathlib
import signal
import struct
import threading
import time

import h2origin
import h2wire
import lab as e2e
import wire
from h2origin import CONTINUATION, DATA, HEADERS, PING, SETTINGS, WINDOW, start
from wire import ok

spec = importlib.util.spec_from_file_location("signin", pathlib.Path(__file__).with_name("32-signin.py"))
signin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(signin)


def keep_reading(peer):
    peer.until(lambda: False)


# ---------------------------------------------------------------- hostile ones
def flood(kind, flags=0, payload=b"", sid=None, times=20000):
    """That frame so often, before the answer."""
    def reply(st):
        many = h2origin.frame(kind, flags, st.id if sid is None else sid, payload)
        for _ in range(times // 100):
            st.peer.c.send(many * 100)
        st.answer()
    return reply


def head_without_end(st):
    st.peer.send(HEADERS, 0, st.id, b"\x88")
    for i in range(20000):
        st.peer.send(CONTINUATION, 0, st.id, b"\x00\x01a\x01b")


def bomb(st):
    """HPACK: one entry of 4000 octets, then a reference of one octet, a hundred thousand times."""
    block = b"\x88" + b"\x40\x01a\x7f" + b"\x81\x1e" + b"x" * 4000 + b"\xbe" * 16000
    st.peer.send(HEADERS, 4, st.id, block[:16384])


def test_floods(lab):
    """Each ends in an error of its own requests, bounded; the next origin is served."""
    rows = {
        "PING": flood(PING, 0, b"12345678", 0),
        "SETTINGS": flood(SETTINGS, 0, b"", 0),
        "WINDOW_UPDATE": flood(WINDOW, 0, struct.pack(">I", 1), 0),
        "empty DATA": lambda st: (st.head(), flood(DATA)(st)),
        "unknown": flood(99, 0, b"x", 0),
        "head without end": head_without_end,
        "HPACK bomb": bomb,
        "interim": lambda st: [st.head(103, [("link", f"</{i}>")]) for i in range(2000)],
        "large interim": lambda st: [st.head(103, [(f"x{i}", "y" * 8000) for i in range(14)]) for _ in range(90)],
        "large head": lambda st: st.head(200, [(f"x{i}", "y" * 8000) for i in range(40)]),
    }
    p = lab.assay(workers=1)
    good = start(lab)
    assert lab.tunnel(p, good.port).get().status == 200
    had = p.rss()
    for name, do in rows.items():
        with lab.sub(name):
            o = start(lab, do)
            r = lab.tunnel(p, o.port).get()
            assert r.status == 502 or r.cut, (name, r)
            assert lab.tunnel(p, good.port).get().status == 200
    assert e2e.SANITIZER or p.rss() < had + (32 << 20), (had, p.rss())


def test_reset_of_all(lab):
    """An origin that resets each stream costs its own requests."""
    o = start(lab, lambda st: st.rst(h2origin.CANCEL))
    p = lab.assay(workers=1)
    t = lab.tunnel(p, o.port)
    for _ in range(30):
        r = t.get()
        assert r.status == 502, r
    assert wire.wait_for(lambda: p.fds() < 60)


# --------------------------------------------------------------------- windows
def test_windows_of_the_origin(lab):
    """An upload goes as the origin's windows let it, whatever they do."""
    data = os.urandom(200_000)

    def reply(st):
        st.answer(hashlib.sha256(st.body).hexdigest().encode())

    def script(peer):
        """No window at first, then in steps of a prime; some may be owed from before."""
        st = peer.request(whole=False)
        for _ in range(40):
            for sid in (0, st.id):
                peer.send(WINDOW, 0, sid, struct.pack(">I", 7919))
            time.sleep(0.005)
        peer.until(lambda: st.ended)
        reply(st)
        keep_reading(peer)

    def later(peer):
        """The first window is taken back when octets may be under way."""
        st = peer.request(whole=False)
        peer.until(lambda: len(st.body) > 30000)
        peer.settings({h2origin.INITIAL_WINDOW: 10})
        time.sleep(0.1)
        peer.settings({h2origin.INITIAL_WINDOW: 1 << 20})
        peer.send(WINDOW, 0, 0, struct.pack(">I", 1 << 20))
        peer.until(lambda: st.ended)
        reply(st)
        keep_reading(peer)

    for name, of, do in (("usual", {}, None), ("small", {h2origin.INITIAL_WINDOW: 1000}, None),
                         ("none at first", {h2origin.INITIAL_WINDOW: 0}, script), ("taken back", {}, later)):
        with lab.sub(name):
            def run(peer, do=do):
                if do is None:
                    while True:
                        reply(peer.request())
                peer.update = False
                do(peer)
            o = start(lab, script=run, settings=of)
            p = lab.assay(workers=1)
            for framing in (f"Content-Length: {len(data)}", "Transfer-Encoding: chunked"):
                t = lab.tunnel(p, o.port)
                t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\n{framing}\r\n\r\n")
                t.send(data if "Length" in framing else b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
                r = wire.Response(t)
                assert r.status == 200 and r.text() == hashlib.sha256(data).hexdigest(), (name, framing, r)
                if do:
                    break


def test_held_download_starves_nobody(lab):
    """One client that does not read stops its own stream only."""
    big = os.urandom(8_000_000)
    served = threading.Event()

    def script(peer):
        st = peer.request()
        st.head(200, [("content-length", str(len(big)))])
        sent = 0
        while not served.is_set() or sent < len(big):
            n = min(peer.window(st.id), 16384, len(big) - sent)
            if n > 0:
                peer.send(DATA, h2origin.END_STREAM if sent + n == len(big) else 0, st.id, big[sent:sent + n])
                peer.room[0] -= n
                peer.room[st.id] -= n
                sent += n
                continue
            peer.read()
            for other in peer.seen:
                if other.ended and not other.taken:
                    other.taken = True
                    other.answer(b"small")
        keep_reading(peer)
    o = start(lab, script=script)
    p = lab.assay(workers=1)
    t = lab.tunnel(p, o.port)
    t.send(f"GET /big HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    time.sleep(1)
    for _ in range(5):
        assert lab.tunnel(p, o.port).get("/small").body == b"small"
    served.set()
    r = wire.Response(t)
    assert r.body == big and not r.cut
    assert len(o.peers) == 1, len(o.peers)


@e2e.slow
@e2e.needs("nginx")
def test_large_bodies(lab):
    """300 MB each way, unchanged."""
    n = lab.nginx(h2=True, extra="location /up/ { dav_methods PUT; client_body_in_file_only on; }")
    piece = os.urandom(1 << 20)
    path = n.root / "big.bin"
    digest = hashlib.sha256()
    with open(path, "wb") as f:
        for i in range(300):
            part = piece[i:] + piece[:i]
            f.write(part)
            digest.update(part)
    (n.root / "up").mkdir()
    p = lab.assay()
    out = lab.dir / "out.bin"
    r = lab.curl(p, f"https://www.test:{n.port}/big.bin", "-o", out)
    assert r.status == 200 and sha_of(out) == digest.hexdigest(), r.errors
    r = lab.curl(p, f"https://www.test:{n.port}/up/x.bin", "-T", path)
    assert r.status == 201, (r.status, r.errors)
    assert sha_of(n.root / "up" / "x.bin") == digest.hexdigest()
    assert ' HTTP/2.0" ' in n.access_log.read_text()


def sha_of(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


# ------------------------------------------------------------- silence, leaving
@e2e.seconds(60)
def test_silence_is_asked_about(lab):
    """A connection that answers no PING is left, and its request repeated."""
    def script(peer):
        peer.request().answer(b"first")
        if peer.number > 0:
            keep_reading(peer)
        st = peer.request()
        peer.update = False             # no word from now on
        keep_reading(peer)
    o = start(lab, script=script)
    p = lab.assay(workers=1, limits={"read": "50s", "first_byte": "50s"})
    t = lab.tunnel(p, o.port, timeout=50)
    assert t.get("/1").body == b"first"
    r = t.get("/2")
    assert r.status == 200 and r.body == b"first", r
    assert o.peers[0].pings == 1 and len(o.peers) == 2, (o.peers[0].pings, len(o.peers))


def test_post_on_an_idle_connection(lab):
    """It shows first that it lives, or another one is made."""
    quiet = threading.Event()

    def script(peer):
        while True:
            st = peer.request()
            if quiet.is_set() and peer.number == 0:
                raise AssertionError("a request on a dead connection")
            st.answer(bytes(st.body) or b"-")
            if quiet.is_set():
                peer.update = False
                keep_reading(peer)
    o = start(lab, script=script)
    p = lab.assay(workers=1)
    post = "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 2\r\n\r\nhi"
    t = lab.tunnel(p, o.port)
    assert t.get().status == 200
    time.sleep(2)
    t.send(post.format(t.host))
    assert wire.Response(t).body == b"hi"
    assert len(o.peers) == 1 and o.peers[0].pings == 1, (len(o.peers), o.peers[0].pings)
    o.peers[0].update = False
    quiet.set()
    time.sleep(2)
    t.send(post.format(t.host))
    assert wire.Response(t).body == b"hi"
    assert len(o.peers) == 2, len(o.peers)


def test_idle_connection_is_closed(lab):
    """In the configured time, with GOAWAY; and one that the origin closes is not used."""
    o = start(lab)
    p = lab.assay(workers=1, limits={"origin_idle": "1s"})
    t = lab.tunnel(p, o.port)
    assert t.get().status == 200
    assert wire.wait_for(lambda: o.peers[0].goaway == (0, 0)), o.peers[0].goaway
    assert wire.wait_for(lambda: o.peers[0].c.ended == "clean"), o.peers[0].c.ended
    assert t.get().status == 200 and len(o.peers) == 2
    o.peers[1].bye(1)
    time.sleep(0.1)
    assert t.get().status == 200 and len(o.peers) == 3
    o.peers[2].c.cut()
    time.sleep(0.1)
    assert t.get().status == 200 and len(o.peers) == 4


def test_many_are_sent_away(lab):
    """GOAWAY in the middle of a burst: each request is answered once."""
    def script(peer):
        n = 0
        while True:
            st = peer.request()
            n += 1
            if n < 4:
                st.answer(st.get(":path").encode())
                continue
            peer.bye(st.id - 2)
            keep_reading(peer)
    o = start(lab, script=script)
    p = lab.assay(workers=1)
    tunnels = [lab.tunnel(p, o.port) for _ in range(12)]
    for i, t in enumerate(tunnels):
        method = ("GET", "POST")[i % 2]
        t.send(f"{method} /{i} HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 0\r\n\r\n")
    for i, t in enumerate(tunnels):
        with lab.sub(i):
            r = wire.Response(t)
            assert r.status == 200 and r.body == f"/{i}".encode(), r


def test_reload_and_drain(lab):
    """After a reload new requests have new connections; what is under way ends as it should."""
    go = threading.Event()

    def reply(st):
        if st.get(":path") == "/slow":
            st.head(200, [("content-length", "6")])
            st.data(b"abc", end=False)
            go.wait(20)
            st.data(b"def")
        else:
            st.answer()
    o = start(lab, reply)
    port = lab.port()
    p = lab.assay(workers=1, port=port, limits={"drain": "5s"})
    t = lab.tunnel(p, o.port)
    t.send(f"GET /slow HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    assert wire.wait_for(lambda: o.requests)
    p.write_conf(lab.conf(port, workers=1, limits={"drain": "5s"}, rules=[{"name": "other", "scan": "none"}]))
    p.reload()
    assert lab.tunnel(p, o.port).get("/b").status == 200
    assert len(o.peers) == 2
    go.set()
    r = wire.Response(t)
    assert r.body == b"abcdef" and not r.cut, r
    assert wire.wait_for(lambda: o.peers[0].c.ended)


def test_client_leaves(lab):
    """A client that goes away resets its stream; the connection serves on."""
    o = start(lab, lambda st: st.answer() if st.get(":path") != "/wait" else None)
    p = lab.assay(workers=1)
    t = lab.tunnel(p, o.port)
    t.send(f"GET /wait HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    assert wire.wait_for(lambda: o.requests)
    t.cut()
    assert wire.wait_for(lambda: o.requests[0].reset == h2origin.CANCEL), o.requests[0].reset
    assert lab.tunnel(p, o.port).get().status == 200
    assert len(o.peers) == 1


def test_clients_that_give_up(lab):
    """So many resets of streams end a connection, for new requests, before the origin does."""
    o = start(lab, lambda st: st.answer() if st.get(":path") != "/wait" else None)
    p = lab.assay(workers=1)
    h = h2wire.peer(lab, p, o.port)
    for i in range(150):
        n = len(o.requests)
        sid = h.request("/wait")
        assert wire.wait_for(lambda: len(o.requests) > n, step=0.002)
        h.reset(sid)
    assert wire.wait_for(lambda: all(st.reset == h2origin.CANCEL for st in o.requests))
    assert h.get().status == 200
    assert len(o.peers) == 2 and len(o.peers[0].seen) >= 100, [len(x.seen) for x in o.peers]
    assert wire.wait_for(lambda: o.peers[0].c.ended)


# ---------------------------------------------------------------- HTTP/1.1 wanted
def test_http2_is_not_offered(lab):
    """To all, or to some, as it is configured."""
    for origin, hosts in (({"http2": False}, {"www.test": 0, "other.test": 0}),
                          ({"exceptions": [{"host": "=other.test", "http2": False}]}, {"www.test": 1, "other.test": 0})):
        p = lab.assay(tls={"origin": {"trust": [lab.trust], **origin}})
        for host, n in hosts.items():
            with lab.sub((origin, host)):
                o = start(lab, h1=h2origin.h1_loop(lambda head, body: ok(b"old")))
                assert lab.tunnel(p, o.port, host).get().status == 200
                assert (len(o.peers), o.olds) == (n, 1 - n)


def test_http11_required(lab):
    """The origin wants HTTP/1.1: the request goes so, whatever it is, and the client's next ones."""
    o = start(lab, lambda st: st.rst(h2origin.HTTP_1_1_REQUIRED), h1=h2origin.h1_loop(lambda head, body: ok(b"old " + body)))
    p = lab.assay(workers=1)
    t = lab.tunnel(p, o.port)
    for _ in range(3):
        t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 2\r\n\r\nhi")
        r = wire.Response(t)
        assert r.status == 200 and r.body == b"old hi", r
    assert len(o.requests) == 1, len(o.requests)


def test_sign_in(lab):
    """NTLM at an origin that offers HTTP/2: per client, over HTTP/1.1."""
    mail = signin.Mail()
    o = start(lab, lambda st: st.answer(b"", [("www-authenticate", "NTLM")], 401) if st.get(":path") != "/open" else st.answer(),
              h1=h2origin.h1_loop(lambda head, body: ok(b"open") if head.start.split()[1] == "/open" else mail(head, body)))
    p = lab.assay(workers=1)
    for user in ("ann", "bob", "ann"):
        t = lab.tunnel(p, o.port)
        assert t.get("/open").status == 200
        r = t.get("/")
        assert r.status == 401, r
        r = t.get("/", fields=f"Authorization: NTLM {signin.token(1)}\r\n")
        assert r.status == 401, r
        r = t.get("/", fields=f"Authorization: NTLM {signin.token(3, user)}\r\n")
        assert r.status == 200 and user in r.text(), r
        r = t.get("/")
        assert r.status == 200 and user in r.text(), r


# -------------------------------------------------------------- as over HTTP/1.1
def test_same_as_over_http1(lab):
    """The same bytes and records, whatever the origin speaks."""
    bodies = {"/empty": b"", "/small": b"abc", "/large": os.urandom(300_000)}

    def h2(st):
        path = st.get(":path")
        if path == "/none":
            st.answer(b"no", status=404)
        elif path == "/304":
            st.head(304, [("etag", '"a"')], end=True)
        elif path == "/204":
            st.head(204, end=True)
        elif path == "/chunked":
            st.head(200, [("content-type", "text/plain")])
            st.data(b"abc", end=False)
            st.data(b"def")
        elif path == "/echo":
            st.answer(bytes(st.body))
        else:
            st.answer(bodies[path], [("x-a", "1"), ("set-cookie", "a=1"), ("set-cookie", "b=2")])

    def h1(head, body):
        path = head.start.split()[1]
        if path == "/none":
            return ok(b"no", status="404 Not Found")
        if path == "/304":
            return b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n'
        if path == "/204":
            return b"HTTP/1.1 204 No Content\r\n\r\n"
        if path == "/chunked":
            return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
        if path == "/echo":
            return ok(body)
        return ok(bodies[path], [("X-A", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    rows = [("GET", p, b"") for p in (*bodies, "/none", "/304", "/204", "/chunked")] + \
        [("HEAD", "/small", b""), ("POST", "/echo", b"hello"), ("PUT", "/echo", os.urandom(100_000)), ("BREW", "/small", b"")]
    seen = []
    for o in (start(lab, h2), start(lab, alpn=["http/1.1"], h1=h2origin.h1_loop(h1))):
        p = lab.assay(workers=1)
        t = lab.tunnel(p, o.port)
        out = []
        for method, path, body in rows:
            t.send(f"{method} {path} HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            r = wire.Response(t, method)
            fields = sorted((n.lower(), v) for n, v in r.head.fields if n.lower() not in ("date", "via"))
            out.append((method, path, r.status, r.framing, fields, r.body, r.cut))
        recs = [x for x in p.access(len(rows)) if x["url.port"] == o.port]
        keys = ("event.action", "http.request.method", "http.response.status_code", "http.request.body.bytes",
                "http.response.body.bytes", "assay.origin.tls.version", "error.code")
        assert recs[0]["assay.origin.tls.next_protocol"] == ("http/1.1" if seen else "h2"), recs[0]
        seen.append((out, sorted(str([e2e.field(x, k) for k in keys]) for x in recs)))
        p.stop()
        (lab.dir / "access.log").unlink()
    for a, b in zip(seen[0][0], seen[1][0]):
        with lab.sub(a[:2]):
            assert a == b, (a[2:5], b[2:5], len(a[5]), len(b[5]))
    assert seen[0][1] == seen[1][1], seen


# ------------------------------------------------------------------------- gRPC
def grpc(*messages):
    return b"".join(b"\0" + len(m).to_bytes(4, "big") + m for m in messages)


def test_grpc(lab):
    """HTTP/2 on both sides: one and one, many and many at a time, trailers alone; deadlines and status pass."""
    def script(peer):
        while True:
            st = peer.request(whole=False)
            if st.get(":path") == "/s/Bad":
                st.head(200, [("content-type", "application/grpc"), ("grpc-status", "5"), ("grpc-message", "no such")], end=True)
                continue
            st.head(200, [("content-type", "application/grpc")])
            n = 0
            while not st.ended or len(st.body) > n:
                if len(st.body) > n:        # each message is answered as it comes
                    st.data(bytes(st.body[n:]), end=False)
                    n = len(st.body)
                elif not st.ended:
                    peer.read()
            st.trailer([("grpc-status", "0"), ("grpc-message", "ok"), ("x-more", "1")])
    o = start(lab, script=script)
    p = lab.assay(workers=1)
    h = h2wire.peer(lab, p, o.port)
    fields = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "5S"), ("grpc-encoding", "identity")]
    sid = h.request("/s/One", "POST", fields, end=False)
    h.data(sid, grpc(b"hi"))
    r = h.wait(sid)
    assert r.status == 200 and bytes(r.body) == grpc(b"hi") and r.ended, r
    assert dict(r.trailers)["grpc-status"] == "0" and dict(r.trailers)["grpc-message"] == "ok", r.trailers
    st = o.requests[0]
    assert st.get("te") == "trailers" and st.get("grpc-timeout") == "5S" and st.get("content-type") == "application/grpc"
    sid = h.request("/s/Chat", "POST", fields, end=False)
    st = h.streams[sid]
    for i in range(5):                      # a word each way at a time
        h.data(sid, grpc(b"word %d" % i), end=False)
        want = grpc(*[b"word %d" % k for k in range(i + 1)])
        h.until(lambda: len(st.body) >= len(want))
        assert bytes(st.body) == want, (i, st)
    h.data(sid, b"")
    r = h.wait(sid)
    assert r.ended and dict(r.trailers)["grpc-status"] == "0", r
    r = h.wait(h.request("/s/Bad", "POST", fields))
    assert r.status == 200 and r.get("grpc-status") == "5" and r.ended and not r.body, r
    assert len(o.peers) == 1


# ------------------------------------------------------------------ in any order
@e2e.seconds(120 + 2 * float(os.environ.get("ORDERS_SECONDS") or 0))
def test_any_order(lab):
    """Clients that leave and origins that misbehave, in an order that a seed says."""
    seed = int(os.environ.get("ORDERS_SEED") or random.randrange(1 << 32))
    print("ORDERS_SEED", seed)
    stop = time.monotonic() + float(os.environ.get("ORDERS_SECONDS") or 10)

    def script(peer):
        dice = random.Random(f"{seed} {peer.number}")
        while True:
            st = peer.request(whole=dice.random() < 0.7)
            what = dice.random()
            if what < 0.5:
                st.answer(b"x" * dice.choice((0, 1, 1000, 100_000)))
            elif what < 0.6:
                st.head(200)
                st.data(b"y" * 5000, end=False)
                st.rst(dice.choice((0, 2, 7, 8, 11, 13)))
            elif what < 0.75:
                st.rst(dice.choice((0, 2, 7, 8, 11, 13)))
            elif what < 0.8:
                peer.bye(max(0, st.id - dice.choice((0, 2, 4))))
            elif what < 0.84:
                peer.c.cut()
                return
            elif what < 0.88:
                peer.settings({h2origin.MAX_STREAMS: dice.choice((0, 1, 5, 100)), h2origin.INITIAL_WINDOW: dice.choice((0, 10, 70000))})
                st.answer(b"z")
            elif what < 0.92:
                st.head(103)
                st.answer(b"hints")
            elif what < 0.95:
                peer.send(dice.randrange(12), dice.randrange(256), dice.choice((0, st.id, st.id + 2)), bytes(dice.randrange(40)))
                st.answer(b"odd")
            # else no answer
    o = start(lab, script=script, settings={h2origin.MAX_STREAMS: 8},
              h1=h2origin.h1_loop(lambda head, body: ok(b"old")))
    p = lab.assay(workers=1, limits={"first_byte": "2s", "read": "2s", "origin_idle": "1s"})
    port = p.port

    def client(i):
        dice = random.Random(f"{seed} client {i}")
        n = 0
        while time.monotonic() < stop:
            t = None
            try:
                t = lab.tunnel(p, o.port, timeout=10)
                for _ in range(dice.randrange(1, 6)):
                    body = b"b" * dice.choice((0, 10, 20_000, 200_000))
                    raw = f"{dice.choice(('GET', 'POST', 'PUT'))} /{i} HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
                    t.send(raw[:dice.choice((len(raw), len(raw), len(raw), dice.randrange(len(raw))))])
                    if dice.random() < 0.15:
                        break
                    r = wire.Response(t)
                    assert r.status in (200, 408, 502, 503, 504) or r.cut, r
                    n += 1
            except (wire.Ended, OSError):
                pass
            if t is not None:
                t.cut()
        return n
    done = [0] * 12
    threads = [threading.Thread(target=lambda i=i: done.__setitem__(i, client(i)), daemon=True) for i in range(12)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        time.sleep(0.5)
        if time.monotonic() < stop and random.Random(f"{seed} {time.monotonic()}").random() < 0.2:
            p.write_conf(lab.conf(port, workers=1, limits={"first_byte": "2s", "read": "2s", "origin_idle": "1s"}))
            p.signal(signal.SIGHUP)
    assert p.alive() and sum(done) > 20, done
    good = start(lab)
    assert lab.tunnel(p, good.port).get().status == 200
    assert wire.wait_for(lambda: p.fds() < 60, 15), p.fds()
