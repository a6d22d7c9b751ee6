# SPDX-License-Identifier: GPL-2.0-or-later
"""HTTP/2 on both legs: what passes through is what the other side said."""
import threading

import h2origin
import h2wire
import wire
from h2wire import CANCEL, INTERNAL_ERROR, NO_ERROR
from lab import field, pattern, seconds, sha


def both(lab, reply, **conf):
    o = h2origin.start(lab, reply)
    p = lab.assay(**conf)
    return o, p, h2wire.peer(lab, p, o.port)


def frames(data):
    """A gRPC message."""
    return b"\0" + len(data).to_bytes(4, "big") + data


def test_grpc_shapes(lab):
    """One for one, many for one, one for many, many for many, and an answer of trailers alone."""
    def reply(st):
        path = st.get(":path")
        if path == "/only":
            st.head(200, [("content-type", "application/grpc"), ("grpc-status", "12")], end=True)
            return
        st.head(200, [("content-type", "application/grpc")])
        n = 3 if path in ("/1n", "/nn") else 1
        for _ in range(n):
            st.data(frames(bytes(st.body)), end=False)
        st.trailer([("grpc-status", "0"), ("grpc-message", "fine")])
    o, p, h = both(lab, reply)
    for path, up, down in (("/11", 1, 1), ("/n1", 3, 1), ("/1n", 1, 3), ("/nn", 3, 3)):
        with lab.sub(path):
            sid = h.request(path, "POST", [("te", "trailers"), ("content-type", "application/grpc"), ("grpc-timeout", "5S")], end=False)
            for i in range(up):
                h.data(sid, frames(b"x"), end=i == up - 1)
            r = h.wait(sid)
            assert bytes(r.body) == frames(frames(b"x") * up) * down, r
            assert ("grpc-status", "0") in r.trailers and ("grpc-message", "fine") in r.trailers, r.trailers
    r = h.get("/only", "POST", [("te", "trailers"), ("content-type", "application/grpc")], frames(b"x"))
    assert r.status == 200 and r.ended and r.get("grpc-status") == "12", r.fields
    assert all(s.get("te") == "trailers" and s.get("grpc-timeout") in ("5S", None) for s in o.requests)


def test_duplex(lab):
    """Both directions of a call are open at once: each word is answered before the next one comes."""
    def reply_(peer):
        st = peer.request(whole=False)
        st.head(200, [("content-type", "application/grpc")])
        had = 0
        while not st.ended or had < len(st.body):
            peer.until(lambda: len(st.body) > had or st.ended)
            if len(st.body) > had:
                had = len(st.body)
                st.data(b"%d." % had, end=False)
        st.trailer([("grpc-status", "0")])
    o = h2origin.start(lab, script=reply_)
    p = lab.assay()
    h = h2wire.peer(lab, p, o.port)
    sid = h.request("/chat", "POST", [("te", "trailers"), ("content-type", "application/grpc")], end=False)
    st = h.streams[sid]
    want = ""
    for i in range(1, 6):
        h.data(sid, b"word", end=False)
        want += f"{4 * i}."
        assert h.until(lambda: st.text() == want, 10), (st.text(), want)
    h.data(sid, b"", end=True)
    assert h.until(lambda: st.ended) and ("grpc-status", "0") in st.trailers, st


def test_resets(lab):
    """Each side's reset is the other's: a cut answer is INTERNAL_ERROR, a client's CANCEL stops the origin's stream alone."""
    stopped = threading.Event()

    def script(peer):
        while True:
            st = peer.request(whole=False)
            if st.get(":path") == "/cut":
                st.head(200, [("content-length", "100")])
                st.data(b"x" * 50, end=False)
                st.rst(h2origin.INTERNAL_ERROR)
            elif st.get(":path") == "/long":
                st.head(200)
                st.data(b"begin", end=False)
                peer.until(lambda s=st: s.reset is not None)
                stopped.set()
            else:
                st.answer(b"fine")
    o = h2origin.start(lab, script=script)
    p = lab.assay(workers=1)
    h = h2wire.peer(lab, p, o.port)
    r = h.get("/cut")
    assert not r.ended and r.reset == INTERNAL_ERROR, r
    sid = h.request("/long")
    st = h.streams[sid]
    assert h.until(lambda: st.text() == "begin")
    h.reset(sid)
    assert stopped.wait(5), "the origin's stream goes on"
    assert h.get("/").text() == "fine"
    assert [s.reset for s in o.requests if s.get(":path") == "/long"] == [CANCEL]
    recs = {field(x, "url.full").rsplit("/", 1)[1]: field(x, "error.code") for x in p.access(3)}
    assert recs["long"] == "CLIENT_GONE" and recs["cut"].startswith("ORIGIN"), recs


def test_early_answer(lab):
    """An origin that answers before the upload is over: its answer comes whole, then the client is stopped."""
    def script(peer):
        while True:
            st = peer.request(whole=False)
            st.answer(b"too much", status=413)
            st.rst(NO_ERROR)
    o = h2origin.start(lab, script=script)
    p = lab.assay()
    h = h2wire.peer(lab, p, o.port)
    sid = h.request("/up", "POST", end=False)
    h.data(sid, b"x" * 30000, end=False)
    st = h.streams[sid]
    assert h.until(lambda: st.ended) and (st.status, st.text()) == (413, "too much"), st
    assert h.until(lambda: st.reset is not None, 10) and st.reset == NO_ERROR, st
    assert h.is_alive()


@seconds(90)
def test_big_both_ways(lab):
    """100 streams, uploads and downloads of all sizes at once, each whole."""
    def reply(st):
        st.answer(pattern(int(st.get("x-size")), 7) if st.get(":method") == "GET" else sha(bytes(st.body)).encode())
    o, p, h = both(lab, reply, workers=1)
    sizes = [0, 1, 1000, 16384, 70000, 300000] * 16
    got = {h.request(f"/{n}", fields=[("x-size", str(n))]): n for n in sizes[:48]}
    up = {}
    for n in sizes[48:]:
        body = pattern(n, 3)
        sid = h.request("/up", "POST", end=not body)
        if body:
            h.data(sid, body)
        up[sid] = body
    h.wait(*got, *up, seconds=60)
    for sid, n in got.items():
        assert sha(bytes(h.streams[sid].body)) == sha(pattern(n, 7)), h.streams[sid]
    for sid, body in up.items():
        assert h.streams[sid].text() == sha(body), h.streams[sid]


def test_client_goes_in_the_middle(lab):
    """A client with 50 streams goes: their origin connection lives and serves the next."""
    def reply(st):
        if st.get(":path") == "/wait":
            st.head(200)
            st.data(b"x", end=False)
        else:
            st.answer(b"fine")
    o, p, h = both(lab, reply, workers=1)
    for _ in range(50):
        h.request("/wait")
    assert h.until(lambda: all(len(s.body) for s in h.streams.values()), 20)
    h.c.reset()
    assert wire.wait_for(lambda: all(s.reset is not None for s in o.requests) or None, 10), [s.reset for s in o.requests]
    assert h2wire.peer(lab, p, o.port).get("/").text() == "fine"
    assert [field(x, "error.code") for x in p.access(50)[:50]] == ["CLIENT_GONE"] * 50
