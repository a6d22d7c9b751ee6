# SPDX-License-Identifier: GPL-2.0-or-later
"""Orders of events: clients whose bytes are split, joined, cut and delayed as
a seed says, and peers that misbehave as the request asks them to.

One order is one client connection: what is sent, in which pieces, where it
ends and how. It follows from (seed, number) alone, so that any one can be run
again; which others run beside it does not."""
import contextlib
import random
import socket
import ssl
import struct
import threading
import time

import h2orders
import wire
import wsock
from wire import ok

EARLY = 4096                # most bytes of a request sent behind the handshake at once
STEP = 2.5                  # seconds a client waits for the next event


class Cut(Exception):
    """This order ends here."""


class Wire:
    """The client's socket: pieces, delays, and the end that was drawn."""

    def __init__(self, rng, addr, broken):
        self.rng = rng
        self.sock = socket.create_connection(addr, STEP)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if rng.random() < 0.1:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.cut_at = int(rng.expovariate(1 / 600)) if broken else None
        self.cut_how = rng.choice(("fin", "half", "rst", "silence", "close"))
        self.pieces = rng.choice((1, 7, 100, 1400, 1 << 20))
        self.sent = 0
        self.open = True

    def _end(self):
        self.open = False
        how = self.cut_how
        with contextlib.suppress(OSError):
            if how == "half":       # and goes on reading
                self.sock.shutdown(socket.SHUT_WR)
                self.sock.settimeout(self.rng.choice((0.05, 0.3, 1.2)))
                while self.sock.recv(65536):
                    pass
            elif how == "silence":
                time.sleep(self.rng.choice((0.01, 0.2, 1.0)))
            elif how == "fin":
                self.sock.shutdown(socket.SHUT_WR)
                time.sleep(self.rng.choice((0, 0.01)))
            if how == "rst" or self.rng.random() < 0.2:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.close()
        raise Cut(how)

    def _piece(self):
        if self.pieces == 1 << 20:
            return self.pieces
        return max(1, int(self.rng.expovariate(1 / self.pieces)))

    def send(self, data):
        """All of it, or up to the cut. Few pieces: a byte at a time is for
        the first bytes only."""
        at = 0
        for _ in range(12):
            if at >= len(data):
                return
            n = min(self._piece(), len(data) - at)
            if self.cut_at is not None and self.sent + n >= self.cut_at:
                n = self.cut_at - self.sent
                self._put(data[at:at + n])
                self._end()
            self._put(data[at:at + n])
            at += n
            if self.rng.random() < 0.3:
                time.sleep(self.rng.random() * 0.004)
        self._put(data[at:])

    def _put(self, data):
        try:
            self.sock.sendall(data)
        except OSError as e:
            raise Cut(f"sending: {e}") from None
        self.sent += len(data)

    def recv(self):
        try:
            return self.sock.recv(65536)
        except OSError as e:
            raise Cut(f"receiving: {e}") from None

    def leave(self):
        """The order is over: in order, or without a word."""
        with contextlib.suppress(OSError):
            if self.rng.random() < 0.3:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.close()


class Tls:
    """TLS over a Wire by memory buffers, so that its bytes can be sent with
    others, in pieces, or not at all."""

    def __init__(self, wire_, ctx, name):
        self.wire = wire_
        self.inb, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.obj = ctx.wrap_bio(self.inb, self.out, server_hostname=name)

    def hello(self):
        with contextlib.suppress(ssl.SSLWantReadError):
            self.obj.do_handshake()
        return self.out.read()

    def feed(self, data):
        self.inb.write(data)

    def pump(self, do):
        """Run do() until it has what it wants; what it says goes out."""
        while True:
            try:
                r = do()
            except ssl.SSLWantReadError:
                r = None
            except ssl.SSLError as e:
                raise Cut(f"TLS: {e.reason}") from None
            if self.out.pending and r is None:
                self.wire.send(self.out.read())
            if r is not None:
                return r
            got = self.wire.recv()
            if not got:
                raise Cut("end of the stream")
            self.inb.write(got)

    def shake(self):
        self.pump(lambda: (self.obj.do_handshake(), True)[1])

    def send(self, data):
        """What is left of the handshake goes with it."""
        self.obj.write(data)
        self.wire.send(self.out.read())

    def recv(self):
        return self.pump(lambda: self.obj.read(65536))


def until_head(conn, had=b""):
    """A head and what came behind it."""
    while b"\r\n\r\n" not in had:
        got = conn.recv()
        if not got:
            raise Cut("end of the stream")
        had += got
    head, _, rest = had.partition(b"\r\n\r\n")
    return head, rest


def length_of(head):
    return int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)


def read_answers(conn, methods):
    """The answers to requests with these methods, read and dropped; what came
    behind them."""
    had = b""
    for method in methods:
        status = 100
        while status < 200:
            head, had = until_head(conn, had)
            if not head.startswith(b"HTTP/1.1 "):
                raise AssertionError(f"no answer: {head[:100]!r}")
            status = int(head[9:12])
        if method in (b"HEAD", b"CONNECT") or status in (204, 304):
            continue
        if b"transfer-encoding: chunked" in head.lower():
            while b"0\r\n\r\n" not in had:
                got = conn.recv()
                if not got:
                    raise Cut("end inside a body")
                had += got
            had = had.partition(b"0\r\n\r\n")[2]
        else:
            left = length_of(head)
            while len(had) < left:
                got = conn.recv()
                if not got:
                    raise Cut("end inside a body")
                had += got
            had = had[left:]
    return had


def socket_talk(conn, plan):
    """Behind a handshake: frames of all kinds, if the origin switches."""
    head, had = until_head(conn)
    while head[9:12] in (b"100", b"103"):
        head, had = until_head(conn, had)
    if head[9:12] != b"101":
        left = length_of(head) - len(had)
        while left > 0:
            left -= len(conn.recv()) or left
        return
    for piece in plan.frames:
        conn.send(piece)
        if plan.rng.random() < 0.4:
            conn.recv()
    if plan.rng.random() < 0.7:
        while conn.recv():
            pass


ORIGIN = ("ok",) * 5 + ("ntlm", "events", "part", "big", "chunked", "chunked", "silent", "cut", "rst", "half", "late", "early", "interim", "bad", "virus", "drip", "close",
          "grpc", "grpc")
ICAP = ("clean",) * 5 + ("echo", "silent", "cut", "rst", "early", "late", "bad", "block", "cont", "busy", "drip", "stop")
HOSTS = ("www.test",) * 6 + ("other.test", "exempt.test", "silent.example", "late.example", "gone.example", "127.0.0.1")


# Further fields of a request: a sign-in of the connection, a range, a form.
MORE = ("\r\nAuthorization: NTLM TlRMTVNTUAABAAAAB4IIAAAAAAAAAAAAAAAAAAAAAAA=", "\r\nAuthorization: NTLM TlRMTVNTUAADAAAA",
        "\r\nRange: bytes=0-9", "\r\nContent-Type: multipart/form-data; boundary=x", "\r\nConnection: close",
        "\r\nContent-Encoding: gzip", "\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate")


class Plan:
    """What one order does."""

    def __init__(self, seed, number, ports):
        self.rng = rng = random.Random(f"{seed}:{number}")
        self.broken = rng.random() < 0.6
        self.kind = rng.choice(("plain", "plain", "tunnel", "tunnel", "tunnel", "h2", "h2", "h2", "direct", "raw"))
        self.host = rng.choice(HOSTS)
        self.port = ports["plain"] if self.kind == "plain" else ports[rng.choice(("tls", "h2"))]
        self.first = rng.random() < 0.2         # a plain request before CONNECT
        self.early = rng.choice(("wait", "hello", "all"))   # what goes behind CONNECT unasked
        self.n = rng.choice((1, 1, 1, 2, 3))
        self.requests = [self._request(rng) for _ in range(self.n)]
        self.frames = h2orders.socket_frames(rng, True)
        self.piped = rng.random() < 0.3 and not any(b"Upgrade: websocket" in r for r in self.requests)
        self.streams = [self._stream(rng) for _ in range(rng.choice((1, 2, 5, 20, 110)))] if self.kind == "h2" else []

    def _path(self, rng):
        return f"/?o={rng.choice(ORIGIN)}&i={rng.choice(ICAP)}&n={rng.choice((0, 1, 100, 5000, 70000, 400000))}"

    def _stream(self, rng):
        more = rng.choice(("", "", "", *MORE[:4], *MORE[5:])).strip().split("\r\n")
        return rng.choice(("GET", "GET", "HEAD", "POST", "PUT")), self._path(rng), [f.split(": ", 1) for f in more if f]

    def _request(self, rng):
        path = self._path(rng)
        host = f"{self.host}:{self.port}"
        target = path if self.kind in ("tunnel", "h2", "raw") else f"http://{host}{path}"
        if self.kind == "direct":
            target, host = rng.choice(("/", "/test/eicar", "/test/clean", "/ca.pem", "/none")), "assay.internal"
        host += rng.choice(("", "", "", *MORE))
        how = rng.choice(("GET", "GET", "HEAD", "POST", "PUT", "chunked", "expect", "socket"))
        if how == "socket":
            early = b"".join(h2orders.socket_frames(rng, True)[:2]) if rng.random() < 0.3 else b""
            return wsock.opening(host, target, rng.choice(("", wsock.DEFLATE)))[0].encode() + early
        if how in ("GET", "HEAD"):
            return f"{how} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        n = rng.choice((0, 1, 900, 5000, 90000))
        body = rng.randbytes(n)
        method = "PUT" if how == "PUT" else "POST"
        if how == "chunked":
            body = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (body[:n // 2], body[n // 2:]) if c) + b"0\r\n\r\n"
            framing = "Transfer-Encoding: chunked"
        else:
            framing = f"Content-Length: {n}" + ("\r\nExpect: 100-continue" if how == "expect" else "")
        return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n\r\n".encode() + body


def talk(conn, plan):
    if plan.piped:
        conn.send(b"".join(plan.requests))
        read_answers(conn, [r.split(b" ", 1)[0] for r in plan.requests])
        return
    for r in plan.requests:
        conn.send(r)
        if b"Upgrade: websocket" in r:
            socket_talk(conn, plan)
            return
        read_answers(conn, [r.split(b" ", 1)[0]])


def tunnel(w, plan, ctx):
    authority = f"{plan.host}:{plan.port}"
    start = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()
    methods = [b"GET", b"CONNECT"] if plan.first else [b"CONNECT"]
    if plan.first:
        start = b"GET /ca.pem HTTP/1.1\r\nHost: assay.internal\r\n\r\n" + start
    if plan.kind == "raw":          # no TLS, which is refused or spliced
        w.send(start + (plan.requests[0] if plan.early != "wait" else b""))
        read_answers(w, methods)
        w.recv()
        return
    t = Tls(w, ctx.h2 if plan.kind == "h2" else ctx, plan.host)
    hello = t.hello()
    if plan.early == "wait":
        w.send(start)
    else:
        w.send(start + hello)
        hello = b""
    t.feed(read_answers(w, methods))
    if hello:
        w.send(hello)
    if plan.early == "all" and plan.broken:
        w.send(plan.rng.randbytes(plan.rng.choice((1, 5, 60))))     # not TLS
    t.shake()
    if plan.kind == "h2" and t.obj.selected_alpn_protocol() == "h2":
        h2orders.talk(t, plan)
    else:
        talk(t, plan)


def context(ca):
    """For run_one(); .h2 offers HTTP/2."""
    ctx = wire.context(ca)
    ctx.h2 = wire.context(ca)
    ctx.h2.set_alpn_protocols(["h2", "http/1.1"])
    return ctx


def run_one(seed, number, addr, ports, ctx):
    """One order, to its end or its cut; its outcome for statistics, None when
    nobody listens any more."""
    plan = Plan(seed, number, ports)
    w = None
    try:
        w = Wire(plan.rng, addr, plan.broken)
        if plan.kind in ("tunnel", "h2", "raw"):
            tunnel(w, plan, ctx)
        else:
            talk(w, plan)
        return "whole"
    except Cut as e:
        return str(e).split(":")[0]
    except ConnectionRefusedError:
        return None
    except AssertionError as e:
        return f"BUG {number}: {e}"
    except OSError as e:
        return f"socket {e.errno}"
    finally:
        if w is not None:
            w.leave()


# -------------------------------------------------------------------- peers
def asked(target, key, default):
    at = target.find(key + "=")
    return target[at + 2:].split("&")[0].split(" ")[0] if at >= 0 else default


def nap(rng=random):
    time.sleep(rng.choice((0.01, 0.1, 0.9)))


def switched(conn, head, how):
    """The origin's end of a WebSocket connection; nothing says that it is one."""
    accept = wsock.accept(head.get("Sec-WebSocket-Key") or "")
    deflate = wsock.DEFLATE in head.get("Sec-WebSocket-Extensions", "") and random.random() < 0.5
    conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              f"Sec-WebSocket-Accept: {'wrong' if how == 'bad' else accept}\r\n"
              + (f"Sec-WebSocket-Extensions: {wsock.DEFLATE}\r\n" if deflate else "") + "\r\n")
    for piece in h2orders.socket_frames(random, False):
        conn.send(piece)
        if random.random() < 0.3:
            nap()
    if how == "half":
        conn.sock.shutdown(socket.SHUT_WR)
    elif how == "cut":
        conn.reset()
    elif how in ("ok", "late", "chunked"):
        while conn.fill():
            conn.buf = b""


def origin_script(eicar):
    """Do as the request line says."""
    def script(conn):
        while True:
            if not conn.buf and not conn.fill():
                return
            head = conn.head()
            how, n = asked(head.start, "o", "ok"), int(asked(head.start, "n", "0"))
            is_head = head.start.startswith("HEAD")
            if how == "early":          # the answer before the body
                conn.send(ok(b"early"))
                return
            if how == "interim":
                conn.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            if how == "rst":
                conn.reset()
                return
            if head.get("Upgrade") == "websocket" and how not in ("silent", "ntlm", "part", "virus"):
                switched(conn, head, how)
                return
            conn.body(head)
            body = b"" if is_head else (b"y" * n)
            if how == "silent":
                time.sleep(1.2)
                return
            if how == "late":
                nap()
            if how == "close":
                conn.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
                return
            if how == "bad":
                conn.send(random.choice((b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nxxxxx", b"\0\0junk\r\n\r\n",
                                         b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 101 Switching\r\n\r\n")))
                return
            if how in ("cut", "half", "drip") and not is_head:
                conn.send(f"HTTP/1.1 200 OK\r\nContent-Length: {n + 10}\r\n\r\n".encode() + body)
                if how == "half":
                    conn.sock.shutdown(socket.SHUT_WR)
                    nap()
                elif how == "drip":
                    for _ in range(5):
                        time.sleep(0.1)
                        conn.send(b"z")
                return
            if how == "ntlm":
                conn.send(ok(b"who?", [("WWW-Authenticate", random.choice(("NTLM", "NTLM TlRMTVNTUAACAAAA", "Negotiate")))], "401 Unauthorized"))
                if random.random() < 0.3:
                    return
                continue
            if how == "part":
                conn.send(ok(b"0123456789", [("Content-Range", "bytes 0-9/20")], "206 Partial Content"))
                continue
            if how == "events" and not is_head:
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(random.choice((1, 5, 20))):
                    conn.send(random.choice((b"9\r\ndata: x\n\n\r\n", b"9\r\n<script>x\r\n")))
                    time.sleep(0.05)
                conn.send(b"0\r\n\r\n")
                continue
            if how == "chunked" and not is_head:
                conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for at in range(0, len(body), 20000):
                    piece = body[at:at + 20000]
                    conn.send(b"%x\r\n%s\r\n" % (len(piece), piece))
                conn.send(b"0\r\nX-T: 1\r\n\r\n")
                continue
            if how == "virus":
                body = b"" if is_head else eicar
            conn.send(ok(body))
            if how == "big":
                return
    return script


def icap_script(tx):
    """Do as the request line of the message says."""
    how = asked(tx.request.start, "i", "clean")
    if how == "rst":
        tx.conn.reset()
        return "close"
    if how == "early":              # before the body is read
        tx.answer("204 No Modifications")
        return "close"
    if how == "silent":
        time.sleep(1.2)
        return "close"
    if how == "stop":               # reads no more, but stays
        time.sleep(random.choice((0.2, 1.0)))
        return "close"
    if how == "busy":
        tx.answer("503 Overloaded")
        return "close"
    if how == "bad":
        tx.conn.send(random.choice((b"junk\r\n\r\n", b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=9999\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
                                    b"ICAP/1.0 200 OK\r\nEncapsulated: null-body=0\r\n\r\n")))
        return "close"
    if how == "block":
        tx.block()
        return "close"
    if how == "cont":
        for _ in range(3):
            tx.cont()
    tx.whole()
    if how == "late":
        nap()
    if how in ("cut", "drip", "echo") and tx.raw:
        kind = "res" if tx.method == "RESPMOD" else "req"
        body = tx.preview + tx.rest if tx.has_body else None
        raw = tx.raw[f"{kind}-hdr"]
        if how == "cut":
            tx.modified(raw, (body or b"") + b"more", kind, end=False)
            return "close"
        tx.modified(raw, body, kind)
        return None
    tx.no_change()
    return None


class Dns(threading.Thread):
    """A name server of moods: silent.* nothing, late.* after a while, the
    rest does not exist or is nonsense."""

    def __init__(self):
        super().__init__(daemon=True)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                q, peer = self.sock.recvfrom(4096)
                if b"\x06silent" in q:
                    continue
                if b"\x04late" in q:
                    threading.Timer(0.3, self._answer, (q, peer)).start()
                else:
                    self._answer(q, peer)

    def _answer(self, q, peer):
        with contextlib.suppress(OSError):
            if random.random() < 0.2:
                self.sock.sendto(q[:2] + random.randbytes(20), peer)
            self.sock.sendto(q[:2] + b"\x81\x83" + q[4:6] + b"\0\0\0\0\0\0" + q[12:], peer)

    def stop(self):
        self.sock.close()


def run_many(seed, first, count, threads, addr, ports, ca, until):
    """Orders first.. of this seed on so many threads; {outcome: number}."""
    ctx = context(ca)
    lock = threading.Lock()
    state = {"next": first}
    outcomes = {}

    def work():
        while time.monotonic() < until:
            with lock:
                number = state["next"]
                if number >= first + count:
                    return
                state["next"] += 1
            outcome = run_one(seed, number, addr, ports, ctx)
            if outcome is None:
                return
            with lock:
                outcomes[outcome] = outcomes.get(outcome, 0) + 1
    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for t in workers:
        t.start()
    for t in workers:
        t.join()
    return outcomes
