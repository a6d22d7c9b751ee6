# SPDX-License-Identifier: GPL-2.0-or-later
"""Orders of events on a connection of HTTP/2, see orders.py: streams that are
opened, fed, taken back and left alone in an order that the plan's seed makes."""
import struct

import h2wire
import wire
import wsock
from h2wire import END_HEADERS, END_STREAM


class Conn:
    """What h2wire.Peer wants of a connection, over orders.Tls."""

    def __init__(self, tls):
        self.tls, self.buf, self.ended = tls, b"", None
        self.sock = tls.wire.sock

    def send(self, data):
        self.tls.send(data)

    def exact(self, n):
        while len(self.buf) < n:
            got = self.tls.recv()
            if not got:
                raise wire.Ended("end of the stream")
            self.buf += got
        out, self.buf = self.buf[:n], self.buf[n:]
        return out


def pieces(rng):
    body = rng.randbytes(rng.choice((0, 1, 900, 5000, 60000)))
    size = rng.choice((1, 50, 16384))
    return [body[i:i + size] for i in range(0, min(len(body), 40 * size), size)] or [b""]


def frames(rng, body):
    """Messages of gRPC, mostly (5 octets in front of each)."""
    out = b""
    for at in range(0, len(body) or 1, max(1, len(body) // rng.choice((1, 1, 3, 40)))):
        piece = body[at:at + max(1, len(body) // 3)]
        n = len(piece) if rng.random() < 0.95 else rng.choice((0, 1, len(piece) + 1, 1 << 20, 0xffffffff))
        out += struct.pack(">BI", rng.choice((0, 0, 0, 0, 0, 0, 0, 1, 2)), n) + piece
    return out if rng.random() < 0.9 else out[:-1]


def socket_frames(rng, client):
    """What one end of a WebSocket connection says: messages, control frames, and what it may not."""
    out, mask = [], b"abcd" if client else None
    for _ in range(rng.choice((0, 1, 3, 20))):
        text = rng.choice((b"", b"hello", b"\xc3\xa9" * 40, b"\xff", b"x" * 126, b"y" * 70000))
        op = rng.choice((wsock.TEXT, wsock.TEXT, wsock.BINARY, wsock.BINARY, wsock.PING, wsock.PONG))
        if op >= wsock.PING:
            out.append(wsock.frame(op, text[:125], mask=mask))
        elif rng.random() < 0.3:
            out.append(wsock.frame(op, text, fin=False, mask=mask))
            if rng.random() < 0.3:
                out.append(wsock.frame(wsock.PING, b"in it", mask=mask))
            if rng.random() < 0.9:
                out.append(wsock.frame(wsock.CONT, b"end", mask=mask))
        else:
            out.append(wsock.frame(op, text, mask=mask))
    if rng.random() < 0.1:
        out.append(rng.choice((wsock.frame(3, b"odd", mask=mask), wsock.frame(wsock.TEXT, b"z", rsv=4, mask=mask), b"\x82\x7f\xff" + b"\xff" * 7,
                               wsock.frame(wsock.CONT, b"", mask=mask), wsock.frame(wsock.TEXT, b"q", mask=None if client else b"abcd"))))
    if rng.random() < 0.5:
        out.append(wsock.frame(wsock.CLOSE, rng.choice((b"", b"\x03\xe8", b"\x03\xe8bye", b"\x03")), mask=mask))
    return out


class Order:
    def __init__(self, tls, plan, requests):
        self.rng, self.requests = plan.rng, requests
        rng = plan.rng
        self.h = h2wire.Peer(Conn(tls), f"{plan.host}:{plan.port}", window=rng.choice((None, None, 0, 1000, 1 << 24)),
                             gives=rng.random() < 0.8, acks=rng.random() < 0.9)
        self.left = {}          # stream: what of its body is to be sent
        self.trailer = set()

    def open_socket(self, path):
        """An extended CONNECT, and frames that do not wait for its answer."""
        rng, h = self.rng, self.h
        fields = [(":protocol", "websocket"), ("sec-websocket-version", rng.choice(("13", "13", "13", "8")))]
        if rng.random() < 0.3:
            fields.append(("sec-websocket-extensions", wsock.DEFLATE))
        sid = h.head(h.pseudo("CONNECT", path) + fields, end=rng.random() < 0.05, method="CONNECT")
        pieces = [f[i:i + 16384] for f in socket_frames(rng, True) for i in range(0, len(f), 16384)]
        if pieces:
            self.left[sid] = pieces

    def open(self, method, path, more):
        rng, h = self.rng, self.h
        if rng.random() < 0.15:
            self.open_socket(path)
            return
        has_body = method not in ("GET", "HEAD") or rng.random() < 0.1
        fields = [(n.lower(), v) for n, v in more]
        body = pieces(rng) if has_body else []
        if method == "POST" and ("o=grpc" in path or rng.random() < 0.1):
            fields = [("content-type", rng.choice(("application/grpc", "application/grpc+proto", "application/grpc+json"))), ("te", "trailers")]
            fields += rng.choice(([], [("grpc-timeout", rng.choice(("1n", "50m", "1S", "1H", "x")))], [("grpc-encoding", "gzip")]))
            whole = frames(rng, b"".join(body))
            size = rng.choice((3, 900, 16384))
            body = [whole[i:i + size] for i in range(0, min(len(whole), 40 * size), size)]
        if has_body and rng.random() < 0.5:
            fields.append(("content-length", str(sum(map(len, body)) + (rng.choice((-1, 1, 7)) if rng.random() < 0.1 else 0))))
        if has_body and rng.random() < 0.2:
            fields.append(("expect", "100-continue"))
        if rng.random() < 0.05:
            fields.append(rng.choice((("connection", "x"), ("x-a", "b\r\nc"), ("Upper", "x"), ("te", "gzip"), ("transfer-encoding", "chunked"))))
        if rng.random() < 0.1:
            fields.append(("priority", rng.choice(("u=0", "u=7, i", "i", "\x01"))))
        pseudo = h.pseudo(method, path)
        if rng.random() < 0.05:
            pseudo = rng.choice((h.pseudo(method, path, "other.test"), h.pseudo(method, path, scheme="http"), pseudo[:-1],
                                 [(":method", "CONNECT"), (":authority", h.authority)], h.pseudo("CONNECT") + [(":protocol", "websocket")]))
        sid = h.open(method)
        block = h.enc.encode(pseudo + fields)
        flags = END_STREAM if not has_body else 0
        if rng.random() < 0.2 and len(block) > 3:       # in two frames, or never whole
            h.send(h2wire.HEADERS, flags, sid, block[:3])
            if rng.random() < 0.1:
                return
            h.send(h2wire.CONTINUATION, END_HEADERS, sid, block[3:])
        else:
            h.send(h2wire.HEADERS, END_HEADERS | flags, sid, block)
        if has_body:
            self.left[sid] = body

    def feed(self, sid):
        """One piece more of a stream's body, if there is a window for it."""
        h, rng, body = self.h, self.rng, self.left[sid]
        if len(body[0]) > h.room(sid):
            return self.read()
        last = len(body) == 1
        trailer = last and rng.random() < 0.2
        end = last and not trailer and rng.random() < 0.95
        piece = body.pop(0)
        h.send(h2wire.DATA, END_STREAM if end else 0, sid, piece)
        h.window[0] -= len(piece)
        h.window[sid] -= len(piece)
        if trailer:
            h.trailers(sid, [("x-t", "1")])
        if not body:
            del self.left[sid]
        return None

    def disturb(self):
        h, rng = self.h, self.rng
        sid = rng.choice(list(h.streams) or [1])
        what = rng.choice(("rst", "rst", "ping", "settings", "update", "update", "goaway", "priority", "read", "late", "odd"))
        if what == "rst":
            h.reset(sid, rng.choice((0, 5, 8)))
            self.left.pop(sid, None)
        elif what == "ping":
            h.send(h2wire.PING, 0, 0, b"12345678")
        elif what == "settings":
            h.send(h2wire.SETTINGS, 0, 0, h2wire.settings(of={h2wire.INITIAL_WINDOW: rng.choice((0, 1, 70000))}))
        elif what == "update":
            h.update(rng.choice((0, sid)), rng.choice((1, 5000, 1 << 20)))
        elif what == "goaway":
            h.send(h2wire.GOAWAY, 0, 0, struct.pack(">II", 0, rng.choice((0, 2))))
        elif what == "priority":
            h.send(h2wire.PRIORITY_UPDATE, 0, 0, struct.pack(">I", sid) + rng.choice((b"u=1", b"i", b"?")))
        elif what == "late":            # behind its end
            h.send(h2wire.DATA, 0, sid, b"late")
        elif what == "odd" and rng.random() < 0.2:
            h.send(rng.choice((h2wire.PUSH, h2wire.CONTINUATION, 99)), 0, sid, b"\0\0\0\x02odd")
        else:
            self.read()

    def read(self):
        if self.h.streams:
            self.h.read()

    def run(self):
        rng, h = self.rng, self.h
        todo = list(self.requests)
        while todo or self.left:
            if todo and (not self.left or rng.random() < 0.5):
                self.open(*todo.pop(0))
            elif self.left:
                self.feed(rng.choice(list(self.left)))
            if rng.random() < 0.1:
                self.disturb()
        for _ in range(rng.choice((0, 1, 3))):
            self.disturb()
        open_ = [s for s in h.streams.values()]
        while any(not s.ended and s.reset is None for s in open_) and not h.goaway:
            h.read()
            if rng.random() < 0.01:
                self.disturb()
        check(h)


def check(h):
    """Nothing that ended in order is short."""
    for s in h.streams.values():
        n = s.get("content-length")
        if s.ended and n is not None and s.method != "HEAD" and s.status not in (204, 304):
            assert len(s.body) == int(n), f"{s} has {len(s.body)} octets of {n}"


def talk(tls, plan):
    """The plan's requests, each a stream."""
    order = Order(tls, plan, plan.streams)
    try:
        order.run()
    except wire.Ended:
        check(order.h)
