# SPDX-License-Identifier: GPL-2.0-or-later
"""An HTTP/2 origin, frame by frame: answers as a test tells it, well or not.
Only HPACK is somebody else's (python3-hpack)."""
import contextlib
import select
import struct
import threading
import time

import wire
import wsock
from wire import Ended

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR = 0, 1, 2
REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM, HTTP_1_1_REQUIRED = 7, 8, 11, 13
MAX_STREAMS, INITIAL_WINDOW, CONNECT = 3, 4, 8


def frame(kind, flags=0, sid=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", sid) + payload


class Stream:
    """A request as it comes."""

    def __init__(self, peer, sid):
        self.peer, self.id = peer, sid
        self.fields, self.trailers = [], None
        self.body = bytearray()
        self.ended, self.reset = False, None
        self.taken = False      # somebody answers it

    def get(self, name):
        return next((v for n, v in self.fields if n == name), None)

    # What a test says.
    def head(self, status=200, fields=(), end=False):
        self.peer.head(self.id, [(":status", str(status)), *fields], end)

    def data(self, body, end=True, size=16384):
        self.peer.data(self, body, end, size)

    def answer(self, body=b"hello\n", fields=(), status=200):
        self.head(status, [("content-length", str(len(body))), *fields], end=not body)
        if body:
            self.data(body)

    def trailer(self, fields):
        self.peer.head(self.id, fields, True)

    def rst(self, code):
        self.peer.send(RST, 0, self.id, struct.pack(">I", code))


class Peer:
    """The origin's end of one connection."""

    def __init__(self, conn, settings=None, update=True, window=None):
        import hpack
        self.c, self.update = conn, update
        self.enc, self.dec = hpack.Encoder(), hpack.Decoder()
        self.dec.max_header_list_size = 1 << 20
        self.streams, self.seen, self.goaway, self.pongs, self.pings = {}, [], None, 0, 0
        self.theirs = {}        # the other side's settings
        self.room = {0: 65535}
        self.over = False       # nobody reads any more
        self.lock = threading.RLock()
        if conn.exact(24) != b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":
            raise Ended("no preface")
        if settings is not None:
            self.settings(settings)

    # ---------------------------------------------------------------- sending
    def settings(self, of):
        self.send(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in of.items()))

    def send(self, kind, flags=0, sid=0, payload=b""):
        with self.lock:
            self.c.send(frame(kind, flags, sid, payload))

    def head(self, sid, fields, end=False):
        with self.lock:
            self.send(HEADERS, END_HEADERS | (END_STREAM if end else 0), sid, self.enc.encode(fields))

    def window(self, sid):
        return min(self.room[0], self.room.setdefault(sid, self.theirs.get(INITIAL_WINDOW, 65535)))

    def data(self, st, body, end=True, size=16384, seconds=60):
        """DATA, as far as the windows allow; reads meanwhile."""
        view, stop = memoryview(body), time.monotonic() + seconds
        if not body:
            self.send(DATA, END_STREAM if end else 0, st.id)
        while len(view):
            while self.window(st.id) <= 0:
                if st.reset is not None or time.monotonic() > stop:
                    raise Ended(f"no window for {len(view)} octets, reset {st.reset}")
                self.read()
            n = min(len(view), self.window(st.id), size)
            with self.lock:
                self.send(DATA, END_STREAM if end and n == len(view) else 0, st.id, bytes(view[:n]))
                self.room[0] -= n
                self.room[st.id] -= n
            view = view[n:]

    def bye(self, last, code=NO_ERROR):
        self.send(GOAWAY, 0, 0, struct.pack(">II", last, code))

    # ---------------------------------------------------------------- reading
    def read(self):
        """One frame, and what a server does about it."""
        n = int.from_bytes(self.c.exact(3), "big")
        kind, flags = self.c.exact(2)
        sid = int.from_bytes(self.c.exact(4), "big") & 0x7fffffff
        payload = self.c.exact(n)
        st = self.streams.get(sid)
        if kind == SETTINGS and not flags & ACK:
            for i in range(0, len(payload), 6):
                k, v = struct.unpack(">HI", payload[i:i + 6])
                self.theirs[k] = v
            self.send(SETTINGS, ACK)
        elif kind == PING:
            if flags & ACK:
                self.pongs += 1
            else:
                self.pings += 1
                if self.update:
                    self.send(PING, ACK, 0, payload)
        elif kind == GOAWAY:
            self.goaway = struct.unpack(">II", payload[:8])
        elif kind == WINDOW:
            with self.lock:
                self.room[sid] = self.room.get(sid, self.theirs.get(INITIAL_WINDOW, 65535)) + int.from_bytes(payload, "big")
        elif kind in (HEADERS, CONTINUATION):
            self._head(kind, flags, sid, payload)
        elif kind == RST and st:
            st.reset = int.from_bytes(payload, "big")
        elif kind == DATA and st:
            st.body += payload
            if payload and self.update:
                self.send(WINDOW, 0, 0, struct.pack(">I", len(payload)))
                if not flags & END_STREAM:
                    self.send(WINDOW, 0, sid, struct.pack(">I", len(payload)))
            st.ended |= bool(flags & END_STREAM)
        return kind

    def _head(self, kind, flags, sid, payload):
        self.block = payload if kind == HEADERS else self.block + payload
        if kind == HEADERS:
            self.last = bool(flags & END_STREAM)
        if not flags & END_HEADERS:
            return
        fields = [(n.decode(), v.decode("latin-1")) for n, v in self.dec.decode(self.block, raw=True)]
        st = self.streams.get(sid)
        if st is None:
            st = self.streams[sid] = Stream(self, sid)
            st.fields = fields
            self.seen.append(st)
        else:
            st.trailers = fields
        st.ended |= self.last

    def request(self, whole=True):
        """The next request nobody has taken."""
        while True:
            for st in self.seen:
                if not st.taken and (st.ended or not whole):
                    st.taken = True
                    return st
            self.read()

    def until(self, what):
        while not what():
            self.read()


class Octets:
    """What wsock.Sock needs of a connection, on a stream: another thread reads
    frames (see at_once)."""

    def __init__(self, st, seconds=20):
        self.st, self.peer, self.at, self.seconds = st, st.peer, 0, seconds

    def over(self):
        return self.st.ended or self.st.reset is not None or self.peer.over

    def wait(self, what):
        if not wire.wait_for(lambda: what() or self.over(), self.seconds):
            raise Ended(f"nothing comes on stream {self.st.id}")
        return what()

    def exact(self, n):
        if not self.wait(lambda: len(self.st.body) - self.at >= n):
            raise Ended(f"{len(self.st.body) - self.at} of {n} octets")
        self.at += n
        return bytes(self.st.body[self.at - n:self.at])

    def fill(self):
        """False: it has ended."""
        got = self.wait(lambda: len(self.st.body) > self.at)
        self.at = len(self.st.body)
        return got

    def send(self, data):
        while data:
            with self.peer.lock:
                n = min(len(data), self.peer.window(self.st.id), 16384)
                if n > 0:
                    self.peer.send(DATA, 0, self.st.id, data[:n])
                    self.peer.room[0] -= n
                    self.peer.room[self.st.id] -= n
                    data = data[n:]
            if n <= 0 and not self.wait(lambda: self.peer.window(self.st.id) > 0):
                raise Ended("no window")
            if self.st.reset is not None or self.peer.over:
                raise Ended("reset")

    def is_closed(self, seconds=5):
        return wire.wait_for(self.over, seconds) and self.at == len(self.st.body)

    def close(self):
        self.peer.send(DATA, END_STREAM, self.st.id)

    def reset(self):
        self.st.rst(INTERNAL_ERROR)


def share(peer):
    """TLS takes one thread at a time: reading waits outside the lock that
    sending takes."""
    conn, fill, close = peer.c, peer.c.fill, peer.c.close

    def filled():
        stop = time.monotonic() + conn.sock.gettimeout()
        try:
            while not conn.sock.pending() and not select.select([conn.sock], [], [], 0.5)[0]:
                if time.monotonic() > stop:
                    raise Ended("silence")
        except ValueError:      # another thread has closed it
            raise Ended("closed") from None
        with peer.lock:
            return fill()

    def closed():
        with peer.lock:
            close()
    conn.fill, conn.close = filled, closed


def at_once(reply):
    """A script: all requests of a connection at the same time, each as soon as
    its head is there, reply(stream) in a thread of its own."""
    def run(peer, st):
        with contextlib.suppress(Ended, OSError):
            reply(st)

    def script(peer):
        share(peer)
        try:
            while True:
                st = peer.request(whole=False)
                threading.Thread(target=run, args=(peer, st), daemon=True).start()
        finally:
            peer.over = True
    return script


def websocket(serve=None, extensions="", protocol="", fields=(), other=None):
    """A reply for at_once(): extended CONNECT is granted and serve(sock) run;
    everything else is other(stream)'s."""
    def reply(st):
        if st.get(":protocol") != "websocket":
            (other or (lambda s: s.answer()))(st)
            return
        agreed = extensions if wsock.DEFLATE in (st.get("sec-websocket-extensions") or "") else ""
        st.head(200, [*([("sec-websocket-extensions", agreed)] if agreed else []),
                      *([("sec-websocket-protocol", protocol)] if protocol else []), *fields])
        conn = Octets(st)
        (serve or wsock.echo)(wsock.Sock(conn, "server", agreed))
        conn.close()
    return reply


class Origin(wire.Server):
    """Answers each request by reply(stream); or runs script(peer) for each
    connection. What agrees on HTTP/1.1 goes to h1(conn). peers, requests."""

    def __init__(self, reply=None, script=None, settings=None, h1=None, **kw):
        self.reply = reply or (lambda st: st.answer())
        self.of, self.h1 = {} if settings is None else settings, h1
        self.run, self.peers, self.olds = script, [], 0
        super().__init__(self._loop, **kw)

    @property
    def requests(self):
        return [st for p in self.peers for st in p.seen]

    def _loop(self, conn):
        if conn.sock.selected_alpn_protocol() != "h2":
            self.olds += 1
            if self.h1 is None:
                raise Ended("not HTTP/2")
            self.h1(conn)
            return
        peer = Peer(conn, settings=self.of)
        peer.number = len(self.peers)
        self.peers.append(peer)
        if self.run:
            self.run(peer)
            return
        with contextlib.suppress(Ended):
            while True:
                self.reply(peer.request())


def h1_loop(reply):
    """An h1 of Origin that answers each request by reply(head, body)."""
    def loop(conn):
        while conn.buf or conn.fill():
            out = reply(*conn.request())
            if callable(out):
                if out(conn) == "close":
                    return
            else:
                conn.send(out)
    return loop


def start(lab, reply=None, host="www.test", alpn=("h2", "http/1.1"), **kw):
    """In the lab, with a certificate for its names."""
    import lab as e2e
    ctx = lab.server_context(host, sans=[*e2e.NAMES, "127.0.0.1"])
    ctx.set_alpn_protocols(list(alpn))
    o = Origin(reply, tls=ctx, **kw)
    lab.on_close(o.stop)
    return o
