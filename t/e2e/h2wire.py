# SPDX-License-Identifier: GPL-2.0-or-later
"""An HTTP/2 client, frame by frame: sends exactly what a test tells it and
keeps what came. Only HPACK is somebody else's (python3-hpack)."""
import contextlib
import struct
import threading
import time

import wire
import wsock
from wire import Ended

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
PRIORITY_UPDATE = 16
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = range(4)
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM, HTTP_1_1_REQUIRED = 7, 8, 9, 11, 13
INITIAL_WINDOW, MAX_FRAME = 4, 5


def frame(kind, flags=0, sid=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", sid) + payload


def settings(**kw):
    return b"".join(struct.pack(">HI", k, v) for k, v in kw.get("of", {}).items())


class Stream:
    """What came on one stream."""

    def __init__(self, sid, method):
        self.id, self.method = sid, method
        self.interim, self.fields, self.trailers, self.status = [], [], [], None
        self.body = bytearray()
        self.ended = False      # END_STREAM has come
        self.reset = None       # the code of RST_STREAM
        self.at = {}            # when what came

    def get(self, name):
        return next((v for n, v in self.fields if n == name), None)

    def text(self):
        return bytes(self.body).decode("utf-8", "replace")

    @property
    def whole(self):
        """The answer is there, all of it."""
        return self.ended and self.status is not None

    def __repr__(self):
        return f"<stream {self.id}: {self.status} {len(self.body)} bytes ended={self.ended} reset={self.reset}>"


class Peer:
    """An HTTP/2 client on a connection. window: what each stream may send
    (None: the usual 65535 octets); gives: are windows given back?"""

    def __init__(self, conn, authority, window=1 << 24, gives=True, preface=True, acks=True):
        import hpack
        self.c, self.authority, self.gives, self.acks = conn, authority, gives, acks
        self.enc, self.dec = hpack.Encoder(), hpack.Decoder()
        self.dec.max_allowed_table_size = 1 << 20
        self.dec.max_header_list_size = 1 << 20
        self.streams, self.next, self.goaway, self.pongs, self.frames = {}, 1, None, 0, []
        self.goaways, self.asked = [], []       # asked: PINGs that are not answered
        self.peer = {}          # the other side's settings
        self.window = {0: 65535}        # what we may send
        self.block = None       # a head under way: (stream, flags, bytes)
        if preface:
            of = {} if window is None else {INITIAL_WINDOW: window}
            self.c.send(PREFACE + frame(SETTINGS, 0, 0, settings(of=of)))
            if gives and window:
                self.send(WINDOW, 0, 0, struct.pack(">I", (1 << 30) - 65535))

    # ---------------------------------------------------------------- sending
    def send(self, kind, flags=0, sid=0, payload=b""):
        self.c.send(frame(kind, flags, sid, payload))

    def pseudo(self, method="GET", path="/", authority=None, scheme="https"):
        return [(":method", method), (":scheme", scheme), (":authority", authority or self.authority), (":path", path)]

    def open(self, method="GET"):
        sid, self.next = self.next, self.next + 2
        self.streams[sid] = Stream(sid, method)
        return sid

    def head(self, fields, end=True, method="GET", sid=None):
        """A request as HEADERS; the stream's number."""
        sid = sid or self.open(method)
        self.send(HEADERS, END_HEADERS | (END_STREAM if end else 0), sid, self.enc.encode(fields))
        return sid

    def request(self, path="/", method="GET", fields=(), end=True, **kw):
        return self.head(self.pseudo(method, path, **kw) + list(fields), end, method)

    def room(self, sid):
        return min(self.window[0], self.window.setdefault(sid, self.peer.get(INITIAL_WINDOW, 65535)))

    def data(self, sid, body, end=True, size=16384, seconds=30):
        """DATA, as the other side's windows allow; stops if the stream is reset."""
        view, stop = memoryview(body), time.monotonic() + seconds
        if not body:
            self.send(DATA, END_STREAM if end else 0, sid)
        while len(view):
            while self.room(sid) <= 0:
                if self.streams[sid].reset is not None or self.goaway:
                    return False
                if time.monotonic() > stop:
                    raise Ended(f"no window for {len(view)} octets")
                self.read()
            n = min(len(view), self.room(sid), size)
            self.send(DATA, END_STREAM if end and n == len(view) else 0, sid, bytes(view[:n]))
            self.window[0] -= n
            self.window[sid] -= n
            view = view[n:]
        return True

    def trailers(self, sid, fields):
        self.send(HEADERS, END_HEADERS | END_STREAM, sid, self.enc.encode(fields))

    def reset(self, sid, code=CANCEL):
        self.send(RST, 0, sid, struct.pack(">I", code))

    def update(self, sid, n):
        self.send(WINDOW, 0, sid, struct.pack(">I", n))

    # --------------------------------------------------------------- reading
    def read(self):
        """One frame, and what a client does about it."""
        n = int.from_bytes(self.c.exact(3), "big")
        kind, flags = self.c.exact(2)
        sid = int.from_bytes(self.c.exact(4), "big") & 0x7fffffff
        payload = self.c.exact(n)
        self.frames.append((kind, flags, sid, n))
        if kind == SETTINGS and not flags & ACK:
            self._settings(payload)
        elif kind == PING:
            if flags & ACK:
                self.pongs += 1
            elif self.acks:
                self.send(PING, ACK, 0, payload)
            else:
                self.asked.append(payload)
        elif kind == GOAWAY:
            self.goaway = struct.unpack(">II", payload[:8]) + (payload[8:],)
            self.goaways.append(self.goaway[:2])
        elif kind == WINDOW:
            self.window[sid] = self.window.get(sid, self.peer.get(INITIAL_WINDOW, 65535)) + int.from_bytes(payload, "big")
        elif kind in (HEADERS, CONTINUATION):
            self._head(kind, flags, sid, payload)
        elif sid in self.streams:
            self._stream(kind, flags, self.streams[sid], payload)
        return kind

    def _settings(self, payload):
        had = self.peer.get(INITIAL_WINDOW, 65535)
        for i in range(0, len(payload), 6):
            k, v = struct.unpack(">HI", payload[i:i + 6])
            self.peer[k] = v
        for sid in self.window:
            if sid:
                self.window[sid] += self.peer.get(INITIAL_WINDOW, 65535) - had
        if self.acks:
            self.send(SETTINGS, ACK)

    def _head(self, kind, flags, sid, payload):
        if kind == HEADERS:
            self.block = (flags, payload)
        else:
            self.block = (self.block[0], self.block[1] + payload)
        if not flags & END_HEADERS:
            return
        flags, block = self.block
        fields = [(n.decode() if isinstance(n, bytes) else n, v.decode("latin-1") if isinstance(v, bytes) else v)
                  for n, v in self.dec.decode(block, raw=True)]
        st = self.streams.get(sid)
        if st is None:
            return
        now = time.monotonic()
        if st.status is not None:
            st.trailers = fields
        else:
            status = int(dict(fields)[":status"])
            if status < 200:
                st.interim.append((status, fields))
                st.at.setdefault(status, now)
            else:
                st.status, st.fields = status, fields
                st.at["head"] = now
        if flags & END_STREAM:
            self._end(st)

    def _stream(self, kind, flags, st, payload):
        if kind == DATA:
            st.body += payload
            if payload:
                st.at.setdefault("data", time.monotonic())
            if self.gives and payload:
                self.update(0, len(payload))
                if not flags & END_STREAM:
                    self.update(st.id, len(payload))
            if flags & END_STREAM:
                self._end(st)
        elif kind == RST:
            st.reset = int.from_bytes(payload, "big")
            st.at["reset"] = time.monotonic()

    def _end(self, st):
        st.ended = True
        st.at["end"] = time.monotonic()

    def until(self, what, seconds=20):
        """Read until what() is true; False: the connection ended, or it took too long."""
        stop = time.monotonic() + seconds
        had = self.c.sock.gettimeout()
        try:
            while not what():
                left = stop - time.monotonic()
                if left <= 0:
                    return False
                self.c.sock.settimeout(max(left, 0.01))
                self.read()
            return True
        except Ended:
            return bool(what())
        finally:
            self.c.sock.settimeout(had)

    def wait(self, *sids, seconds=20):
        """These streams to their ends; the first of them."""
        sts = [self.streams[i] for i in sids]
        self.until(lambda: all(s.ended or s.reset is not None for s in sts), seconds)
        return sts[0]

    def get(self, path="/", method="GET", fields=(), body=None, seconds=20, **kw):
        """One request and its answer."""
        sid = self.request(path, method, fields, body is None, **kw)
        if body is not None:
            self.data(sid, body)
        return self.wait(sid, seconds=seconds)

    def is_alive(self, seconds=5):
        """Does it answer a PING?"""
        had = self.pongs
        with contextlib.suppress(Ended):
            self.send(PING, 0, 0, b"are you?")
        return self.until(lambda: self.pongs > had, seconds)

    def is_over(self, seconds=5):
        """The other side ends the connection; what comes before is read."""
        self.until(lambda: False, seconds)
        return self.c.ended is not None

    def close(self):
        self.c.close()

    def cut(self):
        self.c.cut()


def peer(lab, p, port, host="www.test", **kw):
    """A client of HTTP/2 in a tunnel through assay."""
    ctx = lab.client_context(p)
    ctx.set_alpn_protocols(["h2", "http/1.1"])
    t = wire.Tunnel(p.addr, f"{host}:{port}", ctx, timeout=kw.pop("timeout", wire.TIMEOUT), source=kw.pop("source", None))
    lab.on_close(t.cut)
    assert t.sock.selected_alpn_protocol() == "h2", t.sock.selected_alpn_protocol()
    return Peer(t, f"{host}:{port}", **kw)


class Octets:
    """What wsock.Sock needs of a connection, on a stream."""

    def __init__(self, h, sid):
        self.h, self.sid, self.at = h, sid, 0
        self.st = h.streams[sid]

    def send(self, data):
        if not self.h.data(self.sid, data, end=False):
            raise wire.Ended(f"{self.st}")

    def over(self):
        return self.st.ended or self.st.reset is not None

    def exact(self, n):
        self.h.until(lambda: len(self.st.body) - self.at >= n or self.over(), 60)
        if len(self.st.body) - self.at < n:
            raise wire.Ended(f"{len(self.st.body) - self.at} of {n} octets on {self.st}")
        self.at += n
        return bytes(self.st.body[self.at - n:self.at])

    def is_closed(self, seconds=5):
        return self.h.until(self.over, seconds) and self.at == len(self.st.body)

    def close(self):
        self.h.data(self.sid, b"")


def ask_ws(h, path="/chat", fields=(), protocol="websocket", version="13", end=False):
    """An extended CONNECT; the stream's number."""
    return h.head(h.pseudo("CONNECT", path) + [(":protocol", protocol)] + ([("sec-websocket-version", version)] if version else []) +
                  list(fields), end)


def open_ws(h, path="/chat", extensions="", early=b"", fields=()):
    """A WebSocket connection on a stream: (wsock.Sock or None, stream)."""
    sid = ask_ws(h, path, ([("sec-websocket-extensions", extensions)] if extensions else []) + list(fields))
    if early:
        h.data(sid, early, end=False)
    st = h.streams[sid]
    h.until(lambda: st.status is not None or st.reset is not None, 60)
    if st.status != 200:
        return None, st
    return wsock.Sock(Octets(h, sid), "client", st.get("sec-websocket-extensions") or ""), st


class Busy(threading.Thread):
    """Keeps reading a peer in the background."""

    def __init__(self, h):
        super().__init__(daemon=True)
        self.h, self.stop = h, False
        self.start()

    def run(self):
        with contextlib.suppress(Ended, OSError, ValueError):
            while not self.stop:
                self.h.read()
