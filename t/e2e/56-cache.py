# SPDX-License-Identifier: GPL-2.0-or-later
"""The verdict cache: what a scanner has found clean is not scanned again, as
long as nothing has changed that the answer depends on.  And the clocks of
scans, which stand while the message's own sender is waited for."""
import hashlib
import os
import shutil
import socket
import ssl
import time

import lab as e2e
import wire
from lab import EICAR, field, pattern
from wire import Response, ok

BODY = pattern(50000)


def whole(tx):
    tx.whole()
    tx.no_change()


def start(lab, script=whole, reply=None, service=None, icap=None, **conf):
    s = icap or lab.icap(script)
    o = lab.origin(reply or (lambda h, b: ok(BODY, [("Content-Type", "text/plain")])))
    p = lab.assay(services={"s": dict({"url": s.url(), "mode": "resp"}, **(service or {}))}, workers=conf.pop("workers", 1), **conf)
    t = lab.tunnel(p, o.port)
    return s, o, p, t


def outcomes(p, n):
    """Of each scan of a response in n records, in the order of the flows."""
    return [x["outcome"] for r in p.access(n) for x in field(r, "assay.scan") or [] if x["mode"] == "resp"]


def test_icap_answer_is_known(lab):
    s, o, p, t = start(lab)
    for _ in range(5):
        assert t.get("/x").body == BODY
    assert len(s.txs) == 1, "asked again"
    assert outcomes(p, 5) == ["clean"] + ["cached"] * 4
    r = p.access(5)[-1]
    assert field(r, "assay.verdict") == "clean" and field(r, "assay.scan")[0]["bytes"] == len(BODY)


def test_icap_answer_depends_on(lab):
    """One row for each thing of which another answer might come."""
    reply = {"/": ok(BODY, [("Content-Type", "text/plain")])}
    s, o, p, t = start(lab, reply=lambda h, b: reply.get(h.start.split()[1].split("?")[0], reply["/"]))
    assert t.get("/").body == BODY

    def asks(get):
        n = len(s.txs)
        assert get().status in (200, 404)
        return len(s.txs) - n
    reply["/type"] = ok(BODY, [("Content-Type", "text/html")])
    reply["/status"] = ok(BODY, [("Content-Type", "text/plain")], "404 Not Found")
    for path in ("/type", "/status"):
        reply["/"], other = reply[path], reply["/"]
        with lab.sub(path):
            assert asks(lambda: t.get("/")) == 1
        reply["/"] = other
    with lab.sub("control"):
        assert asks(lambda: t.get("/")) == 0
    with lab.sub("address"):
        assert asks(lambda: t.get("/other")) == 1 and asks(lambda: t.get("/?q")) == 1
    with lab.sub("method"):
        assert asks(lambda: t.get("/", method="POST")) == 1
    with lab.sub("body"):
        reply["/"] = ok(BODY[:-1] + b"!", [("Content-Type", "text/plain")])
        assert asks(lambda: t.get("/")) == 1
        assert asks(lambda: t.get("/")) == 0


def from_address(lab, p, o, source):
    raw = socket.create_connection(p.addr, 20, source_address=(source, 0))
    c = wire.Conn(raw)
    c.send(f"CONNECT www.test:{o.port} HTTP/1.1\r\nHost: x\r\n\r\n")
    assert Response(c, "CONNECT").status == 200
    t = wire.Conn(wire.context(p.ca).wrap_socket(raw, server_hostname="www.test"))
    t.send(f"GET / HTTP/1.1\r\nHost: www.test:{o.port}\r\n\r\n")
    return Response(t)


def test_icap_who_asks(lab):
    """A service that is told who asks may have rules by user: what one may
    have is not believed for another, unless the service is said to be shared,
    or is told nobody."""
    for service, asked in (({}, 2), ({"cache": "shared"}, 1), ({"identity": "none"}, 1), ({"cache": "off"}, 4),
                           ({"headers": {"X-Who": "%{client.ip}"}, "identity": "none"}, 4)):
        with lab.sub(service):
            s, o, p, t = start(lab, service=service)
            for source in ("127.0.0.2", "127.0.0.3") * 2:
                assert from_address(lab, p, o, source).body == BODY
            assert len(s.txs) == asked, len(s.txs)


def test_icap_istag(lab):
    """New signatures: everything is asked again."""
    tag = ["one"]

    def answer(tx):
        tx.whole()
        tx.conn.send(f'ICAP/1.0 204 No\r\nISTag: "{tag[0]}"\r\nEncapsulated: null-body=0\r\n\r\n')
    s, o, p, t = start(lab, answer)
    for path in ("/a", "/b", "/a", "/b"):
        assert t.get(path).body == BODY
    assert len(s.txs) == 2
    tag[0] = "two"
    assert t.get("/news").body == BODY      # that is how it becomes known
    for path in ("/a", "/b", "/a", "/b"):
        assert t.get(path).body == BODY
    assert len(s.txs) == 5, len(s.txs)


def test_icap_without_istag(lab):
    """Who does not say when his signatures change is always asked."""
    def answer(tx):
        tx.whole()
        tx.conn.send("ICAP/1.0 204 No\r\nEncapsulated: null-body=0\r\n\r\n")

    def options(tx):
        tx.conn.send("ICAP/1.0 200 OK\r\nMethods: RESPMOD\r\nAllow: 204\r\nPreview: 1024\r\nEncapsulated: null-body=0\r\n\r\n")
    s = lab.icap(answer, on_options=options)
    s, o, p, t = start(lab, icap=s)
    for _ in range(3):
        assert t.get().body == BODY
    assert len(s.txs) == 3


def test_icap_may_forbid_it(lab):
    for f in (("Cache-Control", "no-store"), ("Pragma", "no-cache"), ("Expires", "0")):
        with lab.sub(f):
            s, o, p, t = start(lab, lambda tx: (tx.whole(), tx.answer("204 No", fields=[f])))
            for _ in range(3):
                assert t.get().body == BODY
            assert len(s.txs) == 3


def test_icap_only_204(lab):
    """A message handed back, a page, a finding, a failure: asked each time."""
    rows = {"echo": lambda tx: tx.echo(), "block": lambda tx: (tx.whole(), tx.block()),
            "found": lambda tx: (tx.whole(), tx.answer("204 No", fields=[("X-Infection-Found", "Type=0; Resolution=1; Threat=X;")])),
            "500": lambda tx: (tx.whole(), tx.answer("500 No"))}
    for name, script in rows.items():
        with lab.sub(name):
            s, o, p, t = start(lab, script, service={"on_error": "bypass"})
            for _ in range(3):
                t.get()
            assert len(s.txs) == 3 and "cached" not in outcomes(p, 3)


def test_icap_service_that_is_down(lab):
    """Its state cannot be known: on_error, not memory."""
    s, o, p, t = start(lab, service={"probe": "100s"})
    assert t.get().body == BODY and t.get().body == BODY and len(s.txs) == 1
    s.stop()
    assert t.get("/other").status in (502, 503, 504)
    r = t.get("/other")
    assert r.status in (502, 503, 504), r
    r = lab.tunnel(p, o.port).get()
    assert r.status in (502, 503, 504), r


def test_requests_are_always_asked(lab):
    """A service for requests looks at all of a request."""
    s = lab.icap(whole)
    o = lab.origin()
    p = lab.assay(services={"s": {"url": s.url(), "mode": "req"}}, workers=1)
    t = lab.tunnel(p, o.port)
    for _ in range(3):
        t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
        assert Response(t).status == 200
    assert len(s.txs) == 3


def test_a_part_and_a_cut_are_not_known(lab):
    state = {"cut": True}

    def reply(h, b):
        if state["cut"]:
            return lambda conn: (conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(BODY) + 1) + BODY), "close")[1]
        return ok(BODY)
    s, o, p, t = start(lab, reply=reply)
    r = t.get()
    assert r.status != 200 or r.cut
    state["cut"] = False
    n = len(s.txs)
    for _ in range(2):
        assert lab.tunnel(p, o.port).get().body == BODY
    assert len(s.txs) == n + 1


def test_slow_body_is_scanned_as_it_comes(lab):
    """A body that takes its time is not held for the digest: the service has
    it from the first byte on."""
    began = []

    def reply(h, b):
        def slow(conn):
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + BODY[:20000])
            wire.wait_for(lambda: began, 15)
            conn.send(BODY[20000:40000])
        return slow

    def script(tx):
        began.append(tx)
        whole(tx)
    s, o, p, t = start(lab, script, reply=reply)
    assert t.get().body == BODY[:40000]
    assert began


def test_workers_share_it(lab):
    s, o, p, _ = start(lab, workers=3)
    for _ in range(12):
        assert lab.tunnel(p, o.port).get().body == BODY
    # a worker that has not spoken with the service yet does not know its state
    assert len(s.txs) <= 3, len(s.txs)


def test_reload_keeps_what_is_true(lab):
    """Unchanged settings: still known. Another service address: asked."""
    s, o, p, t = start(lab)
    other = lab.icap(whole)
    assert t.get().body == BODY and t.get().body == BODY and len(s.txs) == 1
    p.write_conf(lab.conf(p.port, services={"s": {"url": other.url("scan"), "mode": "resp"}}, workers=1))
    p.reload()
    assert t.get().body == BODY and t.get().body == BODY
    assert len(other.txs) == 1 and len(s.txs) == 1


def test_cache_of_no_size(lab):
    s, o, p, t = start(lab, limits={"verdict_cache": 0})
    for _ in range(3):
        assert t.get().body == BODY
    assert len(s.txs) == 3


def clam(lab, reply, db=None, **service):
    db = db or e2e.TESTDB
    o = lab.origin(reply)
    p = lab.assay(services={"clam": dict({"url": f"clamav:{db}", "mode": "both"}, **service)}, workers=1)
    return o, p, lab.tunnel(p, o.port)


@e2e.needs("clamav")
def test_clamav_answer_is_known(lab):
    """The same file, wherever it comes from and whoever asks, up and down."""
    o, p, t = clam(lab, lambda h, b: ok(BODY))
    for path in ("/a", "/b", "/c?d"):
        assert t.get(path).body == BODY
    assert lab.tunnel(p, o.port, "other.test").get().body == BODY
    assert outcomes(p, 4) == ["clean", "cached", "cached", "cached"]
    for _ in range(2):
        t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
        assert Response(t).body == BODY
    got = [[(x["mode"], x["outcome"]) for x in field(r, "assay.scan")] for r in p.access(6)[4:]]
    assert got == [[("req", "clean"), ("resp", "cached")], [("req", "cached"), ("resp", "cached")]], got


@e2e.needs("clamav")
def test_clamav_finds_each_time(lab):
    body = {"b": EICAR}
    o, p, t = clam(lab, lambda h, b: ok(body["b"]))
    for _ in range(3):
        assert lab.tunnel(p, o.port).get().status == 403
    body["b"] = BODY
    for _ in range(2):
        assert lab.tunnel(p, o.port).get().status == 200
    body["b"] = EICAR
    assert lab.tunnel(p, o.port).get().status == 403


@e2e.needs("clamav")
def test_clamav_new_database(lab):
    """What was clean for the old signatures is looked at with the new ones."""
    db = lab.dir / "db"
    shutil.copytree(e2e.TESTDB, db)
    o, p, t = clam(lab, lambda h, b: ok(BODY), db)
    for _ in range(3):
        assert t.get().body == BODY
    assert outcomes(p, 3) == ["clean", "cached", "cached"]
    new = db / "new.hdb"
    (db / "tmp").write_text(f"{hashlib.md5(BODY).hexdigest()}:{len(BODY)}:Lab.New.Signature\n")
    os.rename(db / "tmp", new)
    assert wire.wait_for(lambda: "reloaded" in p.log(), 40 * e2e.lab_scale()), p.log()
    r = lab.tunnel(p, o.port).get()
    assert r.status == 403 and b"Lab.New.Signature" in r.body, r


@e2e.needs("clamav")
def test_clamav_codings(lab):
    """The same bytes with another coding are another file."""
    state = {"f": []}
    o, p, t = clam(lab, lambda h, b: ok(BODY, state["f"]), on_unscanned="bypass")
    assert t.get().status == 200 and t.get().status == 200
    state["f"] = [("Content-Encoding", "gzip")]
    assert t.get().status == 200
    state["f"] = []
    assert t.get().status == 200
    assert outcomes(p, 4) == ["clean", "cached", "bypassed", "cached"], outcomes(p, 4)


@e2e.needs("clamav")
def test_scan_time_is_without_the_origin(lab):
    """An origin that is slow costs no scan time; tenths of milliseconds."""
    def reply(h, b):
        def slow(conn):
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + BODY[:20000])
            time.sleep(2)
            conn.send(BODY[20000:40000])
        return slow
    s = lab.icap(whole)
    o = lab.origin(reply)
    for service in ({"url": f"clamav:{e2e.TESTDB}", "mode": "resp"}, {"url": s.url(), "mode": "resp"}):
        with lab.sub(service["url"]):
            p = lab.assay(services={"s": service}, workers=1)
            assert lab.tunnel(p, o.port).get().body == BODY[:40000]
            r = p.access(1)[-1]
            assert field(r, "assay.ms.total") >= 2000
            for ms in (field(r, "assay.ms.scan"), field(r, "assay.scan")[0]["ms"]):
                assert isinstance(ms, float) and 0 <= ms < 1500, ms
            (lab.dir / "access.log").unlink()


def test_scan_time_is_of_the_service(lab):
    """The control: a service that is slow has a long time."""
    s, o, p, t = start(lab, lambda tx: (tx.whole(), time.sleep(1), tx.no_change()))
    assert t.get().body == BODY
    r = p.access(1)[0]
    assert field(r, "assay.scan")[0]["ms"] >= 1000 and field(r, "assay.ms.scan") >= 1000
