# SPDX-License-Identifier: GPL-2.0-or-later
"""WebSocket peers that send exactly what a test tells them: either end of a
connection, with its masks, fragments and permessage-deflate (RFC 6455, 7692)."""
import base64
import hashlib
import os
import struct
import zlib

from wire import Ended

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
DEFLATE = "permessage-deflate"
TAIL = b"\0\0\xff\xff"


def accept(key):
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def masked(data, key):
    if not key:
        return data
    n = len(data)
    whole = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(n, "big")


def frame(op, payload=b"", fin=True, rsv=0, mask=None, length=None):
    """A frame's octets; length: what its head says, if not the truth; rsv: RSV1 is 4."""
    n = len(payload) if length is None else length
    out = bytes([fin << 7 | rsv << 4 | op])
    bit = 0x80 if mask else 0
    if n < 126:
        out += bytes([bit | n])
    elif n < 1 << 16:
        out += struct.pack(">BH", bit | 126, n)
    else:
        out += struct.pack(">BQ", bit | 127, n)
    return out + (mask or b"") + masked(payload, mask)


def close_payload(code, reason=""):
    return struct.pack(">H", code) + reason.encode()


class Sock:
    """One end of an open connection. What the other end sends is checked as a
    strict receiver does; heard has its frames as they came."""

    def __init__(self, conn, role, extensions=""):
        self.conn, self.role = conn, role
        self.deflate = DEFLATE in extensions
        other = {"client": "server", "server": "client"}[role]
        self.keeps = {r: f"{r}_no_context_takeover" not in extensions for r in (role, other)}
        self.other = other
        self.packer = self.unpacker = None
        self.heard = b""
        self.frames = []        # (op, fin, rsv, payload as it came without mask)

    # sending

    def frame(self, op, payload=b"", **kw):
        kw.setdefault("mask", os.urandom(4) if self.role == "client" else None)
        self.conn.send(frame(op, payload, **kw))

    def pack(self, data):
        """As this end compresses it."""
        if self.packer is None or not self.keeps[self.role]:
            self.packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        out = self.packer.compress(data) + self.packer.flush(zlib.Z_SYNC_FLUSH)
        return out[:-4] or b"\0"

    def send(self, data, frames=1, compress=None, between=()):
        """A message: str is text; in so many frames; between them frames (op, payload)."""
        op = TEXT if isinstance(data, str) else BINARY
        data = data.encode() if isinstance(data, str) else data
        compress = self.deflate if compress is None else compress
        data = self.pack(data) if compress else data
        step = -(-len(data) // frames) if data else 1
        for i in range(frames):
            self.frame(CONT if i else op, data[i * step:(i + 1) * step], fin=i + 1 == frames,
                       rsv=4 if compress and i == 0 else 0)
            if i + 1 < frames:
                for b in between:
                    self.frame(*b)

    def close(self, code=1000, reason=""):
        self.frame(CLOSE, close_payload(code, reason))

    # receiving

    def next_frame(self):
        """(op, fin, rsv, payload), without mask, as it came."""
        raw = self.conn.exact(2)
        fin, rsv, op = raw[0] >> 7, raw[0] >> 4 & 7, raw[0] & 15
        bit, n = raw[1] >> 7, raw[1] & 127
        if n > 125:
            ext = self.conn.exact(2 if n == 126 else 8)
            raw, n = raw + ext, int.from_bytes(ext, "big")
        if bit != (self.other == "client"):
            raise AssertionError(f"a frame of the {self.other} {'has a' if bit else 'has no'} mask")
        key = self.conn.exact(4) if bit else b""
        body = self.conn.exact(n)
        self.heard += raw + key + body
        self.frames.append((op, bool(fin), rsv, masked(body, key)))
        return self.frames[-1]

    def unpack(self, data):
        if self.unpacker is None or not self.keeps[self.other]:
            self.unpacker = zlib.decompressobj(-15)
        return self.unpacker.decompress(data + TAIL)

    def recv(self):
        """The next of: a message (str or bytes), ("ping"|"pong", payload),
        ("close", code, reason). Control frames come out of the middle of one."""
        while True:
            op, fin, rsv, body = self.next_frame()
            if op == CLOSE:
                return ("close", int.from_bytes(body[:2], "big") if body else 1005, body[2:].decode())
            if op in (PING, PONG):
                assert fin and not rsv and len(body) < 126
                return ("ping" if op == PING else "pong", body)
            if op != CONT:
                assert getattr(self, "parts", None) is None, "a message inside another"
                self.parts, self.first = b"", (op, rsv)
            assert rsv in ((0, 4) if op != CONT and self.deflate else (0,)), "a reserved bit"
            self.parts += body
            if fin:
                data, (op, rsv), self.parts = self.parts, self.first, None
                data = self.unpack(data) if rsv else data
                return data.decode() if op == TEXT else data

    def message(self):
        """The next message; pings in front of it are answered."""
        while True:
            got = self.recv()
            if not isinstance(got, tuple):
                return got
            if got[0] == "close":
                raise Ended(f"closed: {got[1:]}")
            if got[0] == "ping":
                self.frame(PONG, got[1])


def opening(host, target="/", extensions="", protocols="", key=None, fields=""):
    """The request; its key."""
    key = key or base64.b64encode(os.urandom(16)).decode()
    return (f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            + (f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else "")
            + (f"Sec-WebSocket-Protocol: {protocols}\r\n" if protocols else "") + fields + "\r\n"), key


def connect(conn, host, target="/", early=b"", **kw):
    """Open one as its client: (Sock or None, head of the answer). early: octets behind the request."""
    request, key = opening(host, target, **kw)
    conn.send(request.encode() + early)
    head = conn.head()
    if " 101" not in head.start:
        return None, head
    assert head.get("Sec-WebSocket-Accept") == accept(key), head
    return Sock(conn, "client", head.get("Sec-WebSocket-Extensions", "")), head


def echo(sock):
    """Send each message back as it was, until Close."""
    while True:
        got = sock.recv()
        if not isinstance(got, tuple):
            sock.send(got)
        elif got[0] == "ping":
            sock.frame(PONG, got[1])
        elif got[0] == "close":
            sock.close(1000 if got[1] == 1005 else got[1])
            return


def served(serve=echo, extensions="", protocol="", fields="", early=b""):
    """A reply for wire.Origin that opens the connection and runs serve(sock).
    extensions: what is agreed to, where permessage-deflate was offered."""
    def reply(head, body):
        def run(conn):
            agreed = extensions if DEFLATE in head.get("Sec-WebSocket-Extensions", "") else ""
            conn.send((f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       f"Sec-WebSocket-Accept: {accept(head.get('Sec-WebSocket-Key', ''))}\r\n"
                       + (f"Sec-WebSocket-Extensions: {agreed}\r\n" if agreed else "")
                       + (f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else "") + fields
                       + "\r\n").encode() + early)
            serve(Sock(conn, "server", agreed))
            return "close"
        return run
    return reply
