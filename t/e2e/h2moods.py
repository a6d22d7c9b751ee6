# SPDX-License-Identifier: GPL-2.0-or-later
"""An HTTP/2 origin that does as each request's target says, for orders.py: its
streams and its connection end, wait and misbehave in ways that are drawn."""
import contextlib
import random
import struct
import threading
import time

import h2orders
import h2origin
from wire import Ended

CODES = (0, 1, 2, 5, 7, 7, 8, 8, 11, 13, 99)


def later(seconds, do):
    def run():
        with contextlib.suppress(Ended, OSError, ValueError):
            do()
    t = threading.Timer(seconds, run)
    t.daemon = True
    t.start()


class Moods:
    def __init__(self, eicar, asked):
        self.eicar, self.asked = eicar, asked

    def __call__(self, peer):
        """All the requests of a connection."""
        h2origin.share(peer)    # what is done later is done in other threads
        peer.dice = dice = random.Random()
        if dice.random() < 0.2:
            peer.settings({h2origin.MAX_STREAMS: dice.choice((0, 1, 3)), h2origin.INITIAL_WINDOW: dice.choice((0, 1, 1000))})
            later(dice.random() * 0.4, lambda: peer.settings({h2origin.MAX_STREAMS: 50, h2origin.INITIAL_WINDOW: 70000}))
        if dice.random() < 0.6:
            peer.settings({h2origin.CONNECT: 1})
        with contextlib.suppress(Ended):
            while True:
                st = peer.request(whole=dice.random() < 0.5)
                self.answer(peer, st)
                if dice.random() < 0.04 and self.disturb(peer, st):
                    return

    def answer(self, peer, st):
        path = st.get(":path") or "/"
        how, n = self.asked(path, "o", "ok"), int(self.asked(path, "n", "0"))
        body = b"" if st.get(":method") == "HEAD" else b"y" * n
        if st.get(":protocol") is not None and how not in ("silent", "rst", "bad", "close", "ntlm"):
            self.socket(peer, st, how)
            return
        do = getattr(self, how, None)
        if do:
            do(peer, st, body)
        else:
            st.answer(body)

    def socket(self, peer, st, how):
        """A WebSocket connection, for a while."""
        st.head(peer.dice.choice((200, 200, 200, 204, 299)), peer.dice.choice(((), [("sec-websocket-accept", "x")], [("content-length", "3")])))
        wait = 0
        for piece in h2orders.socket_frames(peer.dice, False):
            later(wait, lambda piece=piece: st.data(piece, end=False))
            wait += peer.dice.choice((0, 0.02, 0.2))
        how = peer.dice.choice(("end", "end", "rst", "trailer", "nothing"))
        if how == "end":
            later(wait, lambda: st.data(b""))
        elif how == "rst":
            later(wait, lambda: st.rst(peer.dice.choice(CODES)))
        elif how == "trailer":
            later(wait, lambda: st.trailer([("x-t", "1")]))

    # ------------------------------------------------------------- by target
    def ntlm(self, peer, st, body):
        st.answer(b"" if st.get(":method") == "HEAD" else b"who?", [("www-authenticate", peer.dice.choice(("NTLM", "Negotiate", "Basic")))], 401)

    def events(self, peer, st, body):
        st.head(200, [("content-type", "text/event-stream")])
        for i in range(peer.dice.choice((1, 5, 20))):
            later(0.05 * i, lambda: st.data(peer.dice.choice((b"data: x\n\n", b"<script>x")), end=False))
        later(1.1, lambda: st.data(b""))

    def part(self, peer, st, body):
        st.answer(b"" if st.get(":method") == "HEAD" else b"0123456789", [("content-range", "bytes 0-9/20")], 206)

    def chunked(self, peer, st, body):
        st.head(200)
        st.data(body, end=False, size=peer.dice.choice((100, 16384)) if len(body) < 6000 else 16384)
        st.trailer([("x-t", "1"), *peer.dice.choice(((), [("grpc-status", "0")], [("content-length", "3")], [(":status", "200")], [("x-b", "a\r\nb")]))])

    def grpc(self, peer, st, body):
        """An answer in messages, or not; to what has come so far."""
        dice = peer.dice
        if dice.random() < 0.1:         # trailers only
            st.head(200, [("content-type", "application/grpc"), ("grpc-status", dice.choice(("0", "5", "x"))), ("grpc-message", "a%20b")], end=True)
            return
        st.head(dice.choice((200, 200, 200, 503)), [("content-type", "application/grpc"), *dice.choice(([], [], [("grpc-encoding", "gzip")], [("content-encoding", "gzip")]))])
        for _ in range(dice.choice((0, 1, 3, 20))):
            text = dice.choice((body[:3000], body[:20], b"", self.eicar if dice.random() < 0.2 else b"x"))
            out = h2orders.frames(dice, text) if dice.random() < 0.9 else dice.randbytes(20)
            st.data(out, end=False, size=dice.choice((2, 16384)) if len(out) < 200 else 16384)
        if dice.random() < 0.8:
            later(dice.choice((0, 0.05, 0.5)), lambda: st.trailer([("grpc-status", dice.choice(("0", "13"))), ("grpc-message", "m"), ("x-other", "1")]))
        elif dice.random() < 0.5:
            later(dice.choice((0, 0.3)), lambda: dice.choice((lambda: st.data(b""), lambda: st.rst(dice.choice(CODES))))())

    def silent(self, peer, st, body):
        if peer.dice.random() < 0.5:
            later(peer.dice.choice((0.3, 1.2)), lambda: st.rst(peer.dice.choice(CODES)))

    def cut(self, peer, st, body):
        st.head(200, peer.dice.choice(((), [("content-length", str(len(body) + 9))])))
        st.data(body, end=peer.dice.random() < 0.3)
        later(peer.dice.choice((0, 0.05, 0.5)), lambda: st.rst(peer.dice.choice(CODES)))

    def rst(self, peer, st, body):
        st.rst(peer.dice.choice(CODES))

    def half(self, peer, st, body):
        st.head(200)
        st.data(body, end=False)

    def late(self, peer, st, body):
        later(peer.dice.choice((0.01, 0.1, 0.8)), lambda: st.answer(body))

    def early(self, peer, st, body):
        """Answered, and the request is stopped or never read."""
        st.answer(body)
        if not st.ended and peer.dice.random() < 0.7:
            st.rst(peer.dice.choice((0, 0, 8)))

    def interim(self, peer, st, body):
        for _ in range(peer.dice.choice((1, 3, 99, 101))):
            st.head(peer.dice.choice((100, 103, 103, 102, 199)), [("link", "</a>"), ("x", "1")])
        if peer.dice.random() < 0.9:
            st.answer(body)
        else:
            st.head(103, end=True)

    def bad(self, peer, st, body):
        fields = peer.dice.choice((
            [(":status", "101")], [(":status", "99")], [(":status", "200"), (":status", "200")], [("x", "1"), (":status", "200")], [],
            [(":status", "200"), ("content-length", "5"), ("content-length", "6")], [(":status", "200"), ("transfer-encoding", "chunked")],
            [(":status", "200"), ("X-Upper", "1")], [(":status", "200"), ("x", "a\r\nb: c")], [(":status", "204"), ("content-length", "7")],
            [(":status", "304")], [(":status", "204")], [(":status", "200"), (":path", "/")], [(":status", "200"), ("connection", "close")]))
        peer.head(st.id, fields, peer.dice.random() < 0.3)
        st.data(body or b"more", end=peer.dice.random() < 0.5)

    def virus(self, peer, st, body):
        st.answer(b"" if st.get(":method") == "HEAD" else self.eicar)

    def drip(self, peer, st, body):
        st.head(200, [("content-length", str(len(body) + 5))])
        st.data(body, end=False)
        for i in range(5):
            later(0.1 * i, lambda i=i: st.data(b"z", end=i == 4))

    def big(self, peer, st, body):
        st.answer(body)
        peer.bye(st.id)

    def close(self, peer, st, body):
        st.head(200)
        st.data(body)
        peer.c.close()
        raise Ended("closed")

    # ------------------------------------------------------- the connection
    def disturb(self, peer, st):
        """True: it is over."""
        dice = peer.dice
        what = dice.choice(("bye", "bye", "settings", "cut", "odd", "ping", "window", "push", "stop"))
        if what == "bye":
            peer.bye(max(0, st.id - dice.choice((0, 2, 4, 1000))), dice.choice((0, 0, 2, 11)))
            return dice.random() < 0.3
        if what == "settings":
            peer.settings({h2origin.MAX_STREAMS: dice.choice((0, 1, 5, 100)), h2origin.INITIAL_WINDOW: dice.choice((0, 10, 70000, 1 << 31))})
        elif what == "cut":
            peer.c.cut()
            return True
        elif what == "odd":
            peer.send(dice.randrange(12), dice.randrange(256), dice.choice((0, st.id, st.id + 2)), bytes(dice.randrange(40)))
        elif what == "ping":
            for _ in range(dice.choice((1, 150))):
                peer.send(h2origin.PING, 0, 0, b"12345678")
        elif what == "window":
            peer.send(h2origin.WINDOW, 0, dice.choice((0, st.id)), struct.pack(">I", dice.choice((0, 1, 1 << 30, 0x7fffffff))))
        elif what == "push":
            peer.send(h2origin.PUSH, 4, st.id, b"\0\0\0\x02\x88")
        else:                   # reads no more, but stays
            time.sleep(dice.choice((0.3, 1.2)))
        return False
