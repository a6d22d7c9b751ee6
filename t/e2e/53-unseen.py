# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes past every scanner: trailers and interim heads. Where a chain
applies nothing of size passes there."""
import wire
from lab import pattern
from wire import Response, ok

SECRET = "x" * 40


def raw_chunked(*trailers):
    return b"2\r\nok\r\n0\r\n" + "".join(f"{t}\r\n" for t in trailers).encode() + b"\r\n"


TRAILERS = (f"X-Content: {SECRET}", "Grpc-Status: 0", "grpc-message: fine", f"Server-Timing: {'y' * 300}")
ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + raw_chunked(*TRAILERS)


def names(trailers):
    return sorted(x.split(":")[0].lower() for x in trailers)


def new_answer(tx):
    """A service that sends the message back with trailers of its own."""
    body = tx.whole()
    head = tx.raw["res-hdr" if tx.method == "RESPMOD" else "req-hdr"]
    kind = "res" if tx.method == "RESPMOD" else "req"
    tx.answer("200 OK", f"{kind}-hdr=0, {kind}-body={len(head)}", (), head + b"%x\r\n%s\r\n0\r\n" % (len(body), body) +
              f"X-Content: {SECRET}\r\nGrpc-Status: 0\r\n\r\n".encode())


def test_trailers_of_a_scanned_answer(lab):
    o = lab.origin(lambda h, b: ANSWER)
    for name, script, want in (("original", None, ["grpc-message", "grpc-status"]), ("adapted", new_answer, [])):
        for download in ("hold", "stream"):
            with lab.sub(f"{name} {download}"):
                s = lab.icap(script)
                p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}}, rules=[{"download": download}])
                r = lab.tunnel(p, o.port).get(fields="TE: trailers\r\nConnection: TE\r\n")
                got = set(names(r.trailers)) - ({"grpc-status"} if script else set())
                assert r.body == b"ok" and not r.cut and got == set(want), (r, r.trailers)
                p.stop()


def test_trailers_of_an_answer_that_nobody_scans(lab):
    """The control: a chain for requests alone, and none."""
    o = lab.origin(lambda h, b: ANSWER)
    s = lab.icap()
    for services in (None, {"s": {"url": s.url(), "mode": "req"}}):
        p = lab.assay(services=services)
        r = lab.tunnel(p, o.port).get()
        assert r.body == b"ok" and names(r.trailers) == sorted(["grpc-message", "grpc-status", "server-timing", "x-content"]), r.trailers
        p.stop()


def upload(lab, services, script=None):
    got = []

    def serve(conn):
        head = conn.head()
        trailers = []
        got.append((conn.chunked(trailers) if head.has("Transfer-Encoding") else conn.body(head), trailers))
        conn.send(ok(b"thanks"))
    s = lab.server(serve, lab.server_context())
    p = lab.assay(services=services)
    t = lab.tunnel(p, s.port)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + raw_chunked(*TRAILERS))
    assert Response(t).body == b"thanks"
    p.stop()
    assert got[0][0] == b"ok", got
    return names(got[0][1])


def test_trailers_of_a_scanned_request(lab):
    for name, script in (("original", None), ("adapted", new_answer)):
        with lab.sub(name):
            s = lab.icap(script)
            got = set(upload(lab, {"s": {"url": s.url(), "mode": "req"}}))
            assert got <= {"grpc-status"} if script else got == {"grpc-message", "grpc-status"}, got
    with lab.sub("nobody scans it"):
        assert upload(lab, None) == sorted(["grpc-message", "grpc-status", "server-timing", "x-content"])


def test_interim_heads_carry_nothing(lab):
    """Of 1xx only 100, 102 and 103 pass, and only Link of the last."""
    def reply(head, body):
        return (f"HTTP/1.1 104 {SECRET}\r\nX: {SECRET}\r\n\r\nHTTP/1.1 102 {SECRET}\r\nX: {SECRET}\r\n\r\n"
                f"HTTP/1.1 103 {SECRET}\r\nX: {SECRET}\r\nLink: </a>; rel=preload\r\n\r\n"
                f"HTTP/1.1 103 Early Hints\r\nLink: <{'y' * 17000}>\r\n\r\n"
                f"HTTP/1.1 100 {SECRET}\r\nX: {SECRET}\r\n\r\nHTTP/1.1 150 Own\r\n\r\n").encode() + ok(b"done")
    o = lab.origin(reply)
    s = lab.icap()
    for services in (None, {"s": {"url": s.url(), "mode": "resp"}}):
        with lab.sub(f"services {services}"):
            p = lab.assay(services=services)
            r = lab.tunnel(p, o.port).get()
            assert r.body == b"done" and [h.start.split()[1] for h in r.interim] == ["102", "103"], r.interim
            assert all(SECRET.encode() not in h.raw for h in r.interim), r.interim
            assert r.interim[1].get("Link") == "</a>; rel=preload"
            p.stop()
