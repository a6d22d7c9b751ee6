# SPDX-License-Identifier: GPL-2.0-or-later
"""Adapted messages keep their length, and how they are framed does not depend
on how the service's octets were cut (object stores answer 411 to chunked)."""
import time

import h2wire
import wire
from lab import pattern
from wire import Response, ok

CUTS = {"whole": lambda conn, raw: conn.send(raw),
        "body behind the head": None,       # set by send()
        "pieces": lambda conn, raw: [(conn.send(raw[i:i + 997]), time.sleep(0.0005)) for i in range(0, len(raw), 997)]}


def chunks(body, size=30000):
    return b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + size]), body[i:i + size]) for i in range(0, len(body), size))


def adapted(cut, kind, head, body, end=b"0\r\n\r\n"):
    """A script that answers 200 with these octets, cut like that."""
    def script(tx):
        tx.whole()
        h = (head(tx) if callable(head) else head).encode()
        first = (f'ICAP/1.0 200 OK\r\nISTag: "x"\r\nEncapsulated: {kind}-hdr=0, {kind}-body={len(h)}\r\n\r\n').encode() + h
        rest = chunks(body) + end
        if cut == "body behind the head":
            tx.conn.send(first)
            time.sleep(0.1)
            tx.conn.send(rest[:-len(end)])
            time.sleep(0.1)
            tx.conn.send(end)
        else:
            CUTS[cut](tx.conn, first + rest)
    return script


def put(method, said):
    def head(tx):
        target, host = tx.request.start.split()[1], tx.request.get("Host")
        return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n" + (f"Content-Length: {said}\r\n" if said is not None else "") + "\r\n"
    return head


def request(lab, cut, method, said, body):
    """What the origin gets: its head and body, or None; and the client's status."""
    s = lab.icap(adapted(cut, "req", put(method, said), body))
    o = lab.origin()
    p = lab.assay(services={"s": {"url": s.url(), "mode": "req"}})
    t = lab.tunnel(p, o.port)
    t.send(f"{method} / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 5\r\n\r\nhello" if method != "GET" else
           f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    try:
        status = Response(t).status
    except wire.Ended:
        status = 0
    p.stop()
    return (o.requests[0][:2] if o.requests else None), status


def test_adapted_request_keeps_its_length(lab):
    for n in (11, 5000, 300000):
        for cut in CUTS:
            with lab.sub(f"{n} {cut}"):
                body = pattern(n)
                got, status = request(lab, cut, "PUT", n, body)
                assert status == 200 and got[1] == body, (status, got)
                assert got[0].get("Content-Length") == str(n) and not got[0].has("Transfer-Encoding"), got[0]


def test_small_request_without_a_length_gets_one(lab):
    for cut in CUTS:
        with lab.sub(cut):
            got, status = request(lab, cut, "PUT", None, b"x" * 3000)
            assert status == 200 and got[0].get("Content-Length") == "3000" and got[1] == b"x" * 3000, (status, got)


def test_get_with_an_empty_body_stays_a_get(lab):
    for cut in CUTS:
        for said in (None, 0):
            with lab.sub(f"{cut} {said}"):
                got, status = request(lab, cut, "GET", said, b"")
                assert status == 200 and got[1] == b"", (status, got)
                assert not got[0].has("Content-Length") and not got[0].has("Transfer-Encoding"), got[0]


def test_wrong_length_is_never_whole(lab):
    """Small ones are repaired, large ones visibly broken; never passed on."""
    for said, n in ((5000, 100), (100, 5000), (400000, 300000), (200000, 300000), (300000, 100), (100, 300000)):
        for cut in CUTS:
            with lab.sub(f"request {said} {n} {cut}"):
                body = pattern(n)
                got, status = request(lab, cut, "PUT", said, body)
                assert (got is None and status != 200) or (got[1] == body and status == 200), (status, got and got[0])
                if max(said, n) < 60000:
                    assert status == 200 and got[0].get("Content-Length") == str(n), got and got[0]


def test_adapted_response_keeps_its_length(lab):
    rows = [(n, n) for n in (11, 5000, 300000)] + [(5000, 100), (100, 5000), (400000, 300000), (200000, 300000), (None, 3000), (None, 300000), (None, 0), (0, 0)]
    for said, n in rows:
        for cut in CUTS:
            with lab.sub(f"{said} {n} {cut}"):
                body = pattern(n)
                head = "HTTP/1.1 200 OK\r\n" + (f"Content-Length: {said}\r\n" if said is not None else "") + "\r\n"
                s = lab.icap(adapted(cut, "res", head, body))
                o = lab.origin()
                p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}}, rules=[{"download": "hold"}])
                r = lab.tunnel(p, o.port).get()
                if n == 0:
                    assert (r.status, r.body, r.framing) == (200, b"", "length") and not r.cut, r
                elif said == n or (said is not None and max(said, n) < 60000):
                    assert r.body == body and r.framing == "length" and not r.cut, r
                elif said is None:
                    assert r.body == body and r.framing == "chunked" and not r.cut, r
                else:
                    assert r.cut or r.status >= 500 or r.body == body, r
                p.stop()


def test_empty_upload_is_cut_anywhere(lab):
    """A chunked upload of nothing, its end in the same segment or later."""
    s = lab.icap()
    o = lab.origin()
    p = lab.assay(services={"s": {"url": s.url(), "mode": "req"}})
    for name, pieces in (("at once", [b"0\r\n\r\n"]), ("later", [b"", b"0\r\n\r\n"]), ("in two", [b"0\r\n", b"\r\n"])):
        with lab.sub(name):
            t = lab.tunnel(p, o.port)
            head = f"POST / HTTP/1.1\r\nHost: {t.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            t.send(head + pieces[0])
            for x in pieces[1:]:
                time.sleep(0.1)
                t.send(x)
            assert Response(t).status == 200
    heads = [[f for f in h.fields if f[0].lower() in ("content-length", "transfer-encoding")] for h, b, _ in o.requests]
    assert all(h == heads[0] for h in heads), heads


def test_reqmod_makes_it_head_or_not(lab):
    """The client of HEAD reads no body, whatever was asked of the origin: what
    would come behind the head is no answer of its own (RFC 9112 6.3)."""
    def icap(tx):
        tx.whole()
        to = tx.request.start.split()[1].rpartition("/")[2]
        tx.modified(f"{to} /adapted HTTP/1.1\r\nHost: www.test:{o.port}\r\n\r\n".encode(), None, "req")
    s = lab.icap(icap)
    o = lab.origin(lambda head, body: ok(b"" if head.start.startswith("HEAD") else ok(b"evil")))
    p = lab.assay(services={"s": {"url": s.url(), "mode": "req"}}, scan={"up": ["s"]}, rules=[{"name": "default", "scan": "up"}])
    for method, to, status in (("HEAD", "GET", 502), ("GET", "HEAD", 502), ("HEAD", "HEAD", 200), ("GET", "OPTIONS", 200)):
        with lab.sub(f"{method} becomes {to}"):
            t = lab.tunnel(p, o.port)
            t.send(f"{method} /{to} HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
            r = Response(t, method)
            assert r.status == status, r
            assert t.get("/GET").body == ok(b"evil"), "its next answer"
            h = h2wire.peer(lab, p, o.port)
            r = h.get(f"/{to}", method)
            assert r.status == status and r.ended and bool(r.body) == (method != "HEAD"), r
