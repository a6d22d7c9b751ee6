# SPDX-License-Identifier: GPL-2.0-or-later
"""Parts of a representation in front of scanners: two halves of a file are
clean each, so no part is ever clean (RFC 9110 14, 15.3.7)."""
import gzip
import re
import time
import zlib

import wire
from lab import EICAR, TESTDB, field, needs, pattern
from wire import Response, ok

CLAM = {"url": f"clamav:{TESTDB}", "mode": "both"}
# brotli of EICAR would need a program; raw deflate and zlib do not
CODED = {"gzip": gzip.compress(EICAR), "deflate": zlib.compress(EICAR)}


def ranged(head, body, whole, fields=()):
    """What an honest origin says to Range: bytes=a-b."""
    m = re.fullmatch(r"bytes=(\d+)-(\d*)", head.get("Range") or "")
    if not m:
        return ok(whole, [("Accept-Ranges", "bytes"), *fields])
    a, b = int(m[1]), int(m[2] or len(whole) - 1)
    return ok(whole[a:b + 1], [("Accept-Ranges", "bytes"), ("Content-Range", f"bytes {a}-{b}/{len(whole)}"), *fields],
              "206 Partial Content")


@needs("clamav")
def test_a_206_that_nobody_asked_for(lab):
    """A plain GET answered with 206: 502, whatever the coding hides; one part
    or several, the whole or not."""
    single, several = EICAR, b"--x\r\nContent-Range: bytes 0-67/68\r\n\r\n" + EICAR + b"\r\n--x--\r\n"
    rows = {f"/{c}": ok(b, [("Content-Encoding", c), ("Content-Range", f"bytes 0-{len(b) - 1}/{len(b)}")], "206 P")
            for c, b in CODED.items()}
    rows["/plain"] = ok(single, [("Content-Range", "bytes 0-67/68")], "206 P")
    rows["/none"] = ok(b"harmless", (), "206 P")
    rows["/several"] = ok(several, [("Content-Type", "multipart/byteranges; boundary=x")], "206 P")
    rows["/delta"] = ok(b"harmless", [("IM", "vcdiff")], "226 IM Used")
    rows["/200"] = ok(b"harmless")
    o = lab.origin(lambda h, b: rows[h.start.split()[1]])
    p = lab.assay(services={"clam": CLAM})
    for path in rows:
        with lab.sub(path):
            r = lab.tunnel(p, o.port).get(path)
            if path == "/200":
                assert (r.status, r.body) == (200, b"harmless"), r
            else:
                assert r.status == 502 and EICAR not in r.body and b"harmless" not in r.body, r
                assert "http_protocol_error" in r.get("Proxy-Status"), r.head


def test_a_206_without_a_chain_passes(lab):
    """The control: nothing is scanned, nothing is judged."""
    o = lab.origin(lambda h, b: ok(b"345", [("Content-Range", "bytes 3-5/10")], "206 Partial Content"))
    p = lab.assay()
    r = lab.tunnel(p, o.port).get()
    assert (r.status, r.body) == (206, b"345"), r


@needs("clamav")
def test_range_does_not_leave(lab):
    """The default where a chain applies: the origin is asked for the whole,
    in a tunnel and outside; Accept-Ranges does not come back."""
    whole = pattern(3000)
    o = lab.origin(lambda h, b: ranged(h, b, whole))
    plain = lab.origin(lambda h, b: ranged(h, b, whole), tls=None)
    p = lab.assay(services={"clam": CLAM})
    fields = 'Range: bytes=100-\r\nIf-Range: "x"\r\nRequest-Range: bytes=100-\r\nA-IM: feed\r\n'
    t = lab.tunnel(p, o.port)
    c = lab.connect(p)
    c.send(f"GET http://plain.test:{plain.port}/ HTTP/1.1\r\nHost: plain.test\r\n{fields}\r\n")
    for name, r, server in (("inside", t.get(fields=fields), o), ("plain", Response(c), plain), ("later", t.get(fields=fields), o)):
        with lab.sub(name):
            assert (r.status, r.body) == (200, whole) and not r.head.has("Accept-Ranges"), r
            head = server.requests[-1][0]
            assert not any(head.has(n) for n in ("Range", "If-Range", "Request-Range", "A-IM")), head


def test_range_leaves_where_nothing_is_scanned(lab):
    whole = pattern(3000)
    o = lab.origin(lambda h, b: ranged(h, b, whole))
    s = lab.icap()
    p = lab.assay(services={"s": {"url": s.url(), "mode": "req"}})
    r = lab.tunnel(p, o.port).get(fields="Range: bytes=100-\r\n")
    assert (r.status, r.body) == (206, whole[100:]) and r.get("Accept-Ranges") == "bytes", r


@needs("clamav")
def test_range_where_the_type_decides(lab):
    """A rule that may scan once the type is known: the whole is asked for."""
    o = lab.origin(lambda h, b: ranged(h, b, EICAR, [("Content-Type", "application/zip")]))
    p = lab.assay(services={"clam": CLAM}, rules=[{"if": {"type": ["application/zip"]}, "scan": ["clam"]}, {"scan": "none"}])
    t = lab.tunnel(p, o.port)
    r = t.get(fields="Range: bytes=30-\r\n")
    assert r.status == 403 and EICAR[30:] not in r.body, r
    assert not o.requests[0][0].has("Range")


@needs("clamav")
def test_whole_206_is_the_whole(lab):
    """An origin that answers 206 with everything: decoded and scanned as any
    other answer."""
    bodies = {"/eicar": EICAR, "/gzip": CODED["gzip"], "/deflate": CODED["deflate"], "/clean": zlib.compress(b"fine" * 99)}

    def reply(head, body):
        path = head.start.split()[1]
        b = bodies[path]
        coding = [] if path == "/eicar" else [("Content-Encoding", "gzip" if path == "/gzip" else "deflate")]
        return ok(b, [("Content-Range", f"bytes 0-{len(b) - 1}/{len(b)}"), *coding], "206 Partial Content")
    o = lab.origin(reply)
    for how in ("strip", "allow"):
        p = lab.assay(services={"clam": CLAM}, rules=[{"range": how}])
        for path, b in bodies.items():
            with lab.sub(f"{how} {path}"):
                r = lab.tunnel(p, o.port).get(path, fields="Range: bytes=0-\r\n")
                if path == "/clean":
                    assert (r.status, r.body) == (206, b), r
                else:
                    assert r.status == 403 and b not in r.body, r
        p.stop()


@needs("clamav")
def test_allowed_parts_are_unscanned(lab):
    """range: allow: 206 answers are unscanned (part), by clamav and by ICAP,
    whose policy decides; the record says it."""
    whole = pattern(200) + EICAR
    s = lab.icap()
    o = lab.origin(lambda h, b: ranged(h, b, whole))
    for service in (CLAM, {"url": s.url(), "mode": "resp"}):
        for policy in ("block", "bypass"):
            with lab.sub(f"{service['url'].split(':')[0]} {policy}"):
                log = lab.dir / "access.log"
                log.unlink(missing_ok=True)
                p = lab.assay(services={"s": dict(service, on_unscanned={"part": policy})}, rules=[{"range": "allow"}])
                r = lab.tunnel(p, o.port).get(fields="Range: bytes=0-99\r\n")
                assert o.requests[-1][0].get("Range") == "bytes=0-99"
                if policy == "block":
                    assert r.status == 403 and whole[:100] not in r.body, r
                else:
                    assert (r.status, r.body) == (206, whole[:100]) and r.get("Accept-Ranges") == "bytes", r
                rec = p.access(1)[0]
                assert field(rec, "assay.verdict") == "unscanned" and "part" in str(field(rec, "assay.scan")), rec
                p.stop()


@needs("clamav")
def test_finding_in_a_part_counts(lab):
    o = lab.origin(lambda h, b: ranged(h, b, EICAR + bytes(100)))
    p = lab.assay(services={"clam": dict(CLAM, on_unscanned="bypass")}, rules=[{"range": "allow"}])
    r = lab.tunnel(p, o.port).get(fields="Range: bytes=0-67\r\n")
    assert r.status == 403 and EICAR not in r.body, r


@needs("clamav")
def test_rest_of_a_blocked_download(lab):
    """A download was trickled, then blocked; the client comes back for the
    rest: the block page, with strip and with allow."""
    whole = pattern(60000) + EICAR
    slow = [True]

    def reply(head, body):
        if head.has("Range") or not slow[0]:
            return ranged(head, body, whole)

        def send(conn):
            conn.send(ok(whole)[:-len(EICAR)])
            time.sleep(2)
            conn.send(EICAR)
        return send
    # a service that finds the end of the file, wherever it lies
    s = lab.icap(lambda tx: tx.block("threat") if EICAR in tx.whole() else tx.no_change())
    o = lab.origin(reply)
    for how in ("strip", "allow"):
        with lab.sub(how):
            slow[0] = True
            p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "on_unscanned": "bypass", "page": "replace"}},
                          rules=[{"range": how, "download": "trickle"}], download={"hold": "1s", "rate": "64K"})
            t = lab.tunnel(p, o.port)
            t.send(f"GET /a HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
            head, body = t.head(), t.rest()
            n = len(body)
            assert " 200 " in head.start and 0 < n < len(whole), (head, n)
            slow[0] = False
            r = lab.tunnel(p, o.port).get("/a?again=1", fields=f"Range: bytes={n}-\r\n")
            assert r.status == 403 and EICAR not in r.body and whole[n:n + 1000] not in r.body, r
            p.stop()


@needs("clamav")
def test_part_of_an_upload(lab):
    """Content-Range in a request: a part that is not the whole is unscanned
    (part) as well; the whole is scanned."""
    o = lab.origin()
    p = lab.assay(services={"clam": CLAM})
    for name, said, body, want in (("part", "bytes 0-9/20", b"0123456789", 403), ("unknown", "bytes 0-9/*", b"0123456789", 403),
                                   ("whole", "bytes 0-9/10", b"0123456789", 200), ("question", "bytes */20", b"", 200)):
        with lab.sub(name):
            t = lab.tunnel(p, o.port)
            t.send(f"PUT / HTTP/1.1\r\nHost: {t.host}\r\nContent-Range: {said}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            assert Response(t).status == want


def test_uploads_that_are_resumed(lab):
    """tus, and the draft of the IETF: what is not the begin or not all is
    unscanned (part); a file in one request is scanned; policy may let parts
    pass."""
    o = lab.origin()
    tus = "Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\n"
    rows = (("create", "POST", tus + "Upload-Length: 10\r\n", b"", 200), ("create with all", "POST", tus + "Upload-Length: 10\r\n", b"0123456789", 200),
            ("create with some", "POST", tus + "Upload-Length: 20\r\n", b"0123456789", 403), ("first", "PATCH", tus + "Upload-Offset: 0\r\n", b"0123456789", 200),
            ("second", "PATCH", tus + "Upload-Offset: 10\r\n", b"0123456789", 403), ("where are we", "HEAD", tus, b"", 200),
            ("all", "POST", "Upload-Complete: ?1\r\n", b"0123456789", 200), ("more to come", "POST", "Upload-Complete: ?0\r\n", b"0123456789", 403))
    for policy in ("block", "bypass"):
        p = lab.assay(services={"clam": dict(CLAM, on_unscanned={"part": policy})})
        for name, method, said, body, want in rows:
            with lab.sub(f"{name} {policy}"):
                t = lab.tunnel(p, o.port)
                t.send(f"{method} / HTTP/1.1\r\nHost: {t.host}\r\n{said}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                assert Response(t, method).status == (want if policy == "block" else 200)
        p.stop()


def test_uploads_in_pieces(lab):
    """Object stores put together what comes in requests of its own: unscanned
    (part), and page and record say why; a rule lets those to one host pass.
    What only looks alike is scanned as ever."""
    o = lab.origin()
    p = lab.assay(services={"clam": CLAM, "pieces": dict(CLAM, on_unscanned={"part": "bypass"})}, scan={"all": ["clam"], "store": ["pieces"]},
                  rules=[{"name": "store", "if": {"host": ["other.test"]}, "scan": ["store"]}, {"name": "rest", "scan": ["all"]}])
    s3, goog = "/b/k?partNumber=2&uploadId=abc", "X-Goog-Upload-Command: upload, finalize\r\nX-Goog-Upload-Offset: "
    rows = (("s3", "PUT", s3, "", 403), ("s3 whole", "PUT", "/b/k", "", 200), ("s3 complete", "POST", "/b/k?uploadId=abc", "", 200),
            ("azure", "PUT", "/c/b?comp=block&blockid=QQ%3D%3D", "", 403), ("like azure", "PUT", "/c/b?comp=x", "", 200),
            ("google", "POST", "/u", goog + "10\r\n", 403), ("google whole", "POST", "/u", goog + "0\r\n", 200))
    for host in ("www.test", "other.test"):
        for name, method, path, said, want in rows:
            with lab.sub(f"{name} {host}"):
                n = len(o.requests)
                t = lab.tunnel(p, o.port, host)
                t.send(f"{method} {path} HTTP/1.1\r\nHost: {t.host}\r\n{said}Content-Length: 10\r\n\r\n0123456789".encode())
                r = Response(t, method)
                assert r.status == (want if host == "www.test" else 200) and (len(o.requests) > n) == (r.status == 200), r
                if r.status == 403:
                    assert b"part of an upload" in r.body, r
    def scans():
        return [field(r, "assay.scan")[0] for r in p.access(0) if field(r, "assay.scan")]
    assert wire.wait_for(lambda: len(scans()) == 2 * len(rows), 20)
    gaps = scans()
    assert sorted(g["outcome"] for g in gaps if g.get("gap") == "part") == ["bypassed"] * 3 + ["unscanned"] * 3, gaps


def test_pieces_that_are_asked_for(lab):
    """Object stores answer partNumber in a query with 206: with range: allow
    it is a part like others, with strip it is one that nobody asked for."""
    o = lab.origin(lambda h, b: ok(b"345", [("Content-Range", "bytes 3-5/10")], "206 Partial Content"))
    for how, part, path, want in (("allow", "bypass", "/k?partNumber=2", 206), ("allow", "block", "/k?partNumber=2", 403), ("allow", "bypass", "/k?partNumber=x", 502),
                                  ("allow", "bypass", "/k", 502), ("strip", "bypass", "/k?partNumber=2", 502)):
        with lab.sub(f"{how}, {part}, {path}"):
            s = lab.icap()
            p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "on_unscanned": {"part": part}}}, rules=[{"range": how}])
            r = lab.tunnel(p, o.port).get(path)
            assert r.status == want and (r.body == b"345") == (want == 206), r
            p.stop()


def test_range_of_another_body(lab):
    """What a service makes of a whole is no longer the range that the head
    says; a part that gets another length is a broken answer."""
    make = [None]
    longer, same = (lambda b: b + b"!"), (lambda b: b[::-1])
    s = lab.icap(lambda tx: tx.modified(tx.raw["req-hdr" if tx.method == "REQMOD" else "res-hdr"].replace(b"Content-Length", b"X-Was" if make[0] is not same else b"Content-Length"), make[0](tx.whole())))
    o = lab.origin(lambda h, b: ok(b"0123456789", [("Content-Range", "bytes 0-9/10")], "206 Partial Content"))
    p = lab.assay(services={m: {"url": s.url(), "mode": m, "on_unscanned": {"part": "bypass"}} for m in ("req", "resp")}, rules=[{"range": "allow"}])
    for name, f, said, want in (("whole, longer", longer, "bytes 0-9/10", None), ("whole, same", same, "bytes 0-9/10", "bytes 0-9/10"), ("whole, huge", lambda b: b * 9999, "bytes 0-9/10", None),
                                ("part, same", same, "bytes 10-19/30", "bytes 10-19/30"), ("part, longer", longer, "bytes 10-19/30", 502), ("none", longer, None, None)):
        with lab.sub(name):
            make[0] = f
            n = len(o.requests)
            t = lab.tunnel(p, o.port)
            t.send(f"PUT / HTTP/1.1\r\nHost: {t.host}\r\n{f'Content-Range: {said}' if said else 'X: y'}\r\nContent-Length: 10\r\nRange: bytes=0-\r\n\r\n0123456789".encode())
            r = Response(t, "PUT")
            has = any(h.split(b":")[0].lower() == b"content-range" for h in r.head.raw.split(b"\r\n"))
            if want == 502:
                assert r.status == 502 and len(o.requests) == n, r
                continue
            head, got = o.requests[-1][:2]
            assert got == f(b"0123456789") and head.get("Content-Range") == want, head
            assert r.body == f(b"0123456789") and r.status == (206 if f is same else 200) and has == (f is same), r


def test_range_is_decided_early(lab):
    """--check refuses a rule that would need the response."""
    code, text, _ = lab.check(lab.conf(1, services={"s": {"url": "icap://127.0.0.1/x", "mode": "resp"}},
                                       rules=[{"if": {"type": ["video/*"]}, "range": "allow"}]))
    assert code == 1 and "'range' cannot be decided by 'type'" in text, text
    code, text, _ = lab.check(lab.conf(1, services={"s": {"url": "icap://127.0.0.1/x", "mode": "resp"}},
                                       rules=[{"if": {"host": ["a.test"]}, "range": "allow"}]))
    assert code == 0, text


def test_codings_that_are_offered(lab):
    """Where a chain looks at responses, origins are offered only what can be
    taken off; else what the client offered."""
    o = lab.origin()
    s = lab.icap()
    asked = "Accept-Encoding: gzip, br;q=0.9, zstd, dcb, dcz, x-own\r\nAvailable-Dictionary: :AAAA:\r\n"
    for mode, want in (("resp", "gzip, br;q=0.9, zstd"), ("req", "gzip, br;q=0.9, zstd, dcb, dcz, x-own")):
        with lab.sub(mode):
            p = lab.assay(services={"s": {"url": s.url(), "mode": mode}})
            assert lab.tunnel(p, o.port).get(fields=asked).status == 200
            head = o.requests[-1][0]
            assert head.get("Accept-Encoding") == want and head.has("Available-Dictionary") == (mode == "req"), head
            assert lab.tunnel(p, o.port).get().status == 200
            assert not o.requests[-1][0].has("Accept-Encoding"), "offered where the client did not"
            p.stop()
