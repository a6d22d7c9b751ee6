# SPDX-License-Identifier: GPL-2.0-or-later
"""Two clients on one HTTP/2 connection to an origin: what one does must not
hurt the other."""
import contextlib
import struct
import threading
import time

import h2origin
import h2wire
import wire
from lab import seconds

ALICE, BOB = "127.0.0.7", "127.0.0.9"


def reader(peers):
    """An origin that never reads an upload to /stuck: its octets stay taken
    off the connection's window."""
    def loop(conn):
        peer = h2origin.Peer(conn, settings={}, update=False)
        peers.append(peer)
        given = {}
        with contextlib.suppress(wire.Ended):
            while True:
                peer.read()
                for st in list(peer.seen):
                    n = len(st.body) - given.get(st.id, 0)
                    if n and st.get(":path") != "/stuck":
                        given[st.id] = len(st.body)
                        peer.send(h2origin.WINDOW, 0, 0, struct.pack(">I", n))
                        if not st.ended:
                            peer.send(h2origin.WINDOW, 0, st.id, struct.pack(">I", n))
                    if st.ended and not st.taken:
                        st.taken = True
                        st.answer(b"%d" % len(st.body))
    return loop


@seconds(60)
def test_upload_that_the_origin_does_not_read(lab):
    """It fills the connection's window; another client's upload arrives."""
    peers = []
    ctx = lab.server_context("www.test")
    ctx.set_alpn_protocols(["h2"])
    o = lab.server(reader(peers), tls=ctx)
    p = lab.assay(workers=1, limits={"read": "30s"})
    b = h2wire.peer(lab, p, o.port, source=BOB)
    assert b.get("/").status == 200
    a = h2wire.peer(lab, p, o.port, source=ALICE)
    s = a.request("/stuck", "POST", end=False)

    def upload():
        with contextlib.suppress(wire.Ended):
            a.data(s, b"x" * 300000)
    threading.Thread(target=upload, daemon=True).start()
    assert wire.wait_for(lambda: any(len(st.body) == 65535 for x in peers for st in x.seen)), "the window is not full"
    for fields in ((), [("content-length", "100000")]):
        r = b.get("/", "POST", fields, body=b"y" * 100000, seconds=10)
        assert r.status == 200 and r.text() == "100000", r
    assert b.get("/").status == 200
    assert len(peers) == 2, [[(st.get(":path"), len(st.body)) for st in x.seen] for x in peers]


def test_uploads_of_one_client_share(lab):
    """The control: all of one client's go over one connection."""
    o = h2origin.start(lab)
    p = lab.assay(workers=1)
    b = h2wire.peer(lab, p, o.port, source=BOB)
    assert b.get("/").status == 200
    sids = [b.request("/", "POST", end=False) for _ in range(5)]
    for s in sids:
        b.data(s, b"z" * 1000)
    b.wait(*sids)
    assert all(b.streams[s].status == 200 for s in sids) and len(o.peers) == 1, (b.streams, o.peers)


@seconds(60)
def test_requests_that_are_taken_back(lab):
    """CVE-2023-44487: an origin that counts resets and ends a connection for
    too many of them must not end the streams of others with it."""
    def reply(st):
        if st.get(":path") != "/never":
            st.answer(b"x")
    o = h2origin.start(lab, reply)
    p = lab.assay(workers=1)
    b = h2wire.peer(lab, p, o.port, source=BOB)
    assert b.get("/").status == 200
    b.request("/never")
    assert wire.wait_for(lambda: len(o.peers[0].seen) == 2)
    a = h2wire.peer(lab, p, o.port, source=ALICE)
    for _ in range(12):
        sids = [a.request("/never") for _ in range(30)]
        time.sleep(0.05)
        for s in sids:
            a.reset(s)
        assert a.is_alive()
    resets = [sum(st.reset is not None for st in x.seen) for x in o.peers]
    assert max(resets) < 200 and len(o.peers) > 1, resets
    assert b.get("/").status == 200


class Late:
    """A TLS context whose handshakes take a while."""

    def __init__(self, ctx):
        self.ctx = ctx

    def wrap_socket(self, sock, **kw):
        time.sleep(0.3)
        return self.ctx.wrap_socket(sock, **kw)


@seconds(60)
def test_queue_of_one_client(lab):
    """Hundreds of requests wait for connections, each of which bears few and
    takes a while: another client's request has its turn among the next."""
    ctx = lab.server_context("www.test")
    ctx.set_alpn_protocols(["h2"])

    def reply(st):
        if st.get(":path") != "/never":
            st.answer(b"fine")
    o = h2origin.Origin(reply, tls=Late(ctx), settings={h2origin.MAX_STREAMS: 10})
    lab.on_close(o.stop)
    p = lab.assay(workers=1)
    b = h2wire.peer(lab, p, o.port, source=BOB)
    assert b.get("/").status == 200
    others = [h2wire.peer(lab, p, o.port, source=ALICE) for _ in range(4)]
    for h in others:
        for _ in range(100):
            h.request("/never")
    assert wire.wait_for(lambda: len(o.requests) > 20)
    n = len(o.peers)
    b = h2wire.peer(lab, p, o.port, source=BOB)
    r = b.get("/", seconds=20)
    assert r.status == 200 and len(o.peers) <= n + 6, (r, n, len(o.peers))
