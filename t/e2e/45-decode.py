# SPDX-License-Identifier: GPL-2.0-or-later
"""decode: a service gets bodies without their content codings; who asked gets
them as they came, or what the service made of them, uncoded."""
import gzip
import os
import subprocess
import threading
import zlib

import wire
from lab import field, needs, pattern, slow
from wire import ok


def gz(data):
    return gzip.compress(data, mtime=0)     # the same each time


def raw_deflate(data):
    c = zlib.compressobj(wbits=-15)
    return c.compress(data) + c.flush()


def tool(*argv):
    def code(data):
        return subprocess.run(argv, input=data, capture_output=True, check=True).stdout
    return code


CODERS = {"gzip": gz, "deflate": zlib.compress, "raw deflate": raw_deflate}
for NAME, ARGV in (("br", ("brotli", "-c", "-")), ("zstd", ("zstd", "-q", "-c"))):
    if any(os.access(os.path.join(d, ARGV[0]), os.X_OK) for d in os.environ.get("PATH", "").split(":")):
        CODERS[NAME] = tool(*ARGV)

SIZES = (0, 1, 1023, 1024, 1025, 65536, 300000)


def text(n):
    return (b"The quick brown fox, %d. " * (n // 20 + 1) % tuple(range(n // 20 + 1)))[:n]


def token(name):
    return "deflate" if name == "raw deflate" else name


def coded(data, name, extra=()):
    return ok(CODERS[name](data), [("Content-Encoding", token(name)), ("Content-Type", "text/plain"), *extra])


def start(lab, script=None, reply=None, service=None, icap=None, mode="resp", **conf):
    s = icap or lab.icap(script)
    o = lab.origin(reply)
    p = lab.assay(services={"s": dict({"url": s.url(), "mode": mode, "decode": True}, **(service or {}))}, workers=1, **conf)
    return s, o, p, lab.tunnel(p, o.port)


def clean(tx):
    tx.seen = tx.whole()
    tx.no_change()


def test_decode_clean(lab):
    """Every coding and size, with and without a preview: the service sees the
    text and a head that says so, the client gets what the origin sent."""
    fields = [("ETag", '"v1"'), ("Digest", "sha-256=abc"), ("Content-MD5", "abc"), ("Repr-Digest", "sha-256=:abc:"), ("Vary", "Accept-Encoding")]
    for preview in ("auto", "off", 0):
        s, o, p, t = start(lab, clean, lambda h, b: coded(text(int(h.start.split()[1].split("/")[2])), h.start.split()[1].split("/")[1].replace("%20", " "), fields),
                           {"preview": preview, "cache": "off"})
        for name in CODERS:
            for n in SIZES:
                with lab.sub(f"{name}, {n}, preview {preview}"):
                    s.txs.clear()
                    r = t.get(f"/{name.replace(' ', '%20')}/{n}")
                    assert r.body == CODERS[name](text(n)) and r.get("Content-Encoding") == token(name), r
                    assert r.get("ETag") == '"v1"' and r.get("Digest") and r.framing == "length", r.head
                    tx = s.txs[0]
                    assert tx.seen == text(n), (len(tx.seen), n)
                    h = tx.response
                    for gone in ("Content-Encoding", "Content-Length", "Digest", "Content-MD5", "Repr-Digest"):
                        assert not h.has(gone), h
                    assert h.get("ETag") == 'W/"v1"' and h.get("Vary") and "206" not in tx.head.get("Allow"), h
        p.stop()


def test_decode_modified(lab):
    """What the service makes of it goes on without a coding."""
    for name in CODERS:
        for n in (10, 200000):
            with lab.sub(f"{name}, {n}"):
                s, o, p, t = start(lab, lambda tx: (tx.whole(), tx.modified(tx.raw["res-hdr"], (tx.preview + tx.rest).upper()))[1],
                                   lambda h, b: coded(text(n), name, [("ETag", '"v1"')]))
                r = t.get()
                assert r.body == text(n).upper() and not r.get("Content-Encoding") and r.get("ETag") != '"v1"', r.head
                p.stop()


def test_decode_upload(lab):
    """The same for requests: the origin gets them as the client sent them."""
    for name in CODERS:
        body = CODERS[name](text(100000))
        for change in (False, True):
            with lab.sub(f"{name}, {change}"):
                s, o, p, t = start(lab, lambda tx: tx.modified(tx.raw["req-hdr"], tx.whole().upper()) if change else clean(tx), lambda h, b: ok(b"thanks"), mode="req")
                t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Encoding: {token(name)}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
                assert wire.Response(t).body == b"thanks"
                head, got, _ = o.requests[0]
                assert got == (text(100000).upper() if change else body) and head.has("Content-Encoding") != change, head
                assert s.txs[0].preview + s.txs[0].rest == text(100000) and not s.txs[0].request.has("Content-Encoding")
                p.stop()


def test_decode_is_asked_for(lab):
    """Without it, and where there is nothing to decode, all is as it was."""
    body = gz(text(5000))
    for name, service, fields, data in (("off", {"decode": False}, [("Content-Encoding", "gzip"), ("ETag", '"a"')], body),
                                        ("plain", {}, [("ETag", '"a"')], text(5000)),
                                        ("identity", {}, [("Content-Encoding", "identity"), ("ETag", '"a"')], text(5000)),
                                        ("none", {}, [("Content-Encoding", "none"), ("ETag", '"a"')], text(5000))):
        with lab.sub(name):
            s, o, p, t = start(lab, clean, lambda h, b: ok(data, fields), service)
            assert t.get().body == data
            h = s.txs[0].response
            assert s.txs[0].seen == data and h.get("ETag") == '"a"' and h.get("Content-Length") == str(len(data)), h
            assert h.get("Content-Encoding") == dict(fields).get("Content-Encoding")
            p.stop()


def bomb(n, coder=gz):
    return coder(b"\0" * n)


GAPS = {
    # body, Content-Encoding, the gap
    "garbage": (b"this is no gzip at all" * 100, "gzip", "coding"),
    "breaks": (gz(pattern(50000))[:30000] + b"\xff" * 5000, "gzip", "coding"),
    "closed": (b"whatever" * 100, "compress", "coding"),
    "too many": (b"whatever" * 100, "gzip, gzip, gzip, gzip, gzip", "coding"),
    "bomb": (bomb(80 << 20), "gzip", "limit"),
    "bomb in a bomb": (gz(bomb(30 << 20)), "gzip, gzip", "limit"),
    "cut": (gz(text(50000))[:-2000], "gzip", None),
    "trailing": (gz(b"one") + gz(b"two") + b"three", "gzip", None),
    "two": (gz(zlib.compress(text(50000))), "deflate, gzip", None),
}


def test_decode_gaps(lab):
    """What cannot be decoded, or not wholly, is unscanned, by its reason; what
    a client cannot make more of either is whole."""
    for name, (body, coding, gap) in GAPS.items():
        for bypass in (False, True):
            with lab.sub(f"{name}, {'bypass' if bypass else 'block'}"):
                (lab.dir / "access.log").unlink(missing_ok=True)
                s, o, p, t = start(lab, clean, lambda h, b: ok(body, [("Content-Encoding", coding)]),
                                   {"on_unscanned": {"default": "block", gap: "bypass"} if bypass and gap else "block", "timeout": "60s"})
                r = t.get()
                scan = field(p.access(1)[0], "assay.scan")[0]
                if gap and not bypass:
                    assert r.status == 403 and scan["outcome"] == "unscanned" and scan["gap"] == gap, (r, scan)
                else:
                    assert r.status == 200 and r.body == body, r
                    assert scan.get("gap") == (gap if gap else None), scan
                if name == "trailing":
                    assert s.txs[0].seen == b"onetwothree", s.txs[0].seen
                if name == "breaks":
                    assert len(s.txs[0].seen) > 29000 and pattern(50000).startswith(s.txs[0].seen[:29000]), "what came before the break"
                p.stop()


PAGE = b"<script>not shown</script>"
NAMED = b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + PAGE + b"\0" + gz(text(500))[10:]    # in the file's name
CHUNKS = b"5;chunk-signature=0aF*\r\nhello\r\n0;chunk-signature=1\r\n\r\n"


def test_decode_of_several_readings(lab):
    """Clients that know no name of a list take nothing off, others the rest of
    it; object stores alone take chunks off, from uploads: no client sees what
    the service did not."""
    for name, mode, body, fields, status, seen in (
            ("gzip, foo", "resp", NAMED, [("Content-Encoding", "gzip, foo")], 403, None),
            ("foo and gzip", "resp", NAMED, [("Content-Encoding", "foo"), ("Content-Encoding", "gzip")], 403, None),
            ("foo", "resp", NAMED, [("Content-Encoding", "foo")], 200, NAMED),
            ("gzip", "resp", NAMED, [("Content-Encoding", "gzip")], 200, text(500)),
            ("identity too", "resp", NAMED, [("Content-Encoding", "gzip, identity")], 200, text(500)),
            ("chunks", "resp", CHUNKS, [("Content-Encoding", "aws-chunked")], 200, CHUNKS),
            ("no chunks", "resp", text(500), [("Content-Encoding", "aws-chunked")], 200, text(500)),
            ("gzip in chunks", "resp", CHUNKS, [("Content-Encoding", "gzip, aws-chunked")], 403, None),
            ("upload", "req", CHUNKS, [("Content-Encoding", "aws-chunked")], 200, b"hello\r\n"),
            ("stream", "req", CHUNKS, [("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")], 200, b"hello\r\n"),
            ("other extension", "req", b"5;x=" + PAGE + CHUNKS[22:], [("Content-Encoding", "aws-chunked")], 403, None),
            ("other signature", "req", CHUNKS.replace(b"aF*", PAGE), [("Content-Encoding", "aws-chunked")], 403, None)):
        with lab.sub(f"{name}, {mode}"):
            s, o, p, t = start(lab, clean, lambda h, b: ok(body, fields) if mode == "resp" else ok(b"thanks"), mode=mode)
            up = body if mode == "req" else b""
            t.send("".join([f"PUT / HTTP/1.1\r\nHost: {t.host}\r\n", *(f"{n}: {v}\r\n" for n, v in fields if up), f"Content-Length: {len(up)}\r\n\r\n"]).encode() + up)
            r = wire.Response(t)
            assert r.status == status, r
            if status == 200:
                assert (r.body if mode == "resp" else o.requests[0][1]) == body and s.txs[0].seen == seen, s.txs[0].seen
            else:
                assert PAGE not in r.body and not (up and o.requests), r.body
            p.stop()


def test_decode_finding_wins(lab):
    """In what comes before the break the service finds something; a message
    made of a part is given to nobody."""
    body = gz(pattern(50000))[:30000] + b"\xff" * 5000
    for name, script in (("finding", lambda tx: (tx.whole(), tx.answer("204 No", fields=[("X-Virus-ID", "Bad")]))),
                         ("modified", lambda tx: (tx.whole(), tx.modified(tx.raw["res-hdr"], b"made of a part")))):
        with lab.sub(name):
            s, o, p, t = start(lab, script, lambda h, b: ok(body, [("Content-Encoding", "gzip")]), {"on_unscanned": "bypass"})
            r = t.get()
            assert r.status == 403 and b"made of a part" not in r.body, r
            p.stop()


def test_decode_again(lab):
    """The connection is lost, or the first server is: decoded anew."""
    body = text(200000)
    lost = []

    def script(tx):
        if "/lose" in tx.request.start and not lost:
            lost.append(1)
            tx.seen = body if tx.wants_preview or tx.read_rest() == body else b""
            return "close"
        tx.seen = tx.whole()
        return tx.no_change()
    gone = lab.port()
    for name in ("kept connection", "kept connection, no preview", "another server", "503"):
        with lab.sub(name):
            lost.clear()
            s = lab.icap(script)
            urls = s.url()
            if name == "another server":
                urls = [f"icap://127.0.0.1:{gone}/scan", s.url()]
            elif name == "503":
                urls = [lab.icap(lambda tx: (tx.whole(), tx.answer("503 Busy"))).url(), s.url()]
            s, o, p, t = start(lab, icap=s, reply=lambda h, b: coded(body, "gzip"), service={"url": urls, "cache": "off", "timeout": "20s", "preview": "off" if "no preview" in name else "auto"})
            for path in ("/a", "/lose" if name.startswith("kept") else "/b", "/c"):
                r = t.get(path)
                assert r.status == 200 and r.body == gz(body), (path, r, r.text())
            assert all(tx.seen == body for tx in s.txs), [len(tx.seen) for tx in s.txs]
            p.stop()


def test_decode_as_it_comes(lab):
    """The service gets what there is, long before the end; a sender that breaks
    off is no whole message; echoed while it comes; in a group."""
    data = pattern(3 << 20)
    body = gz(data)
    go = threading.Event()

    def reply(h, b):
        def send(c):
            c.send(f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:len(body) // 2])
            if "/cut" in h.start:
                return "close"
            assert go.wait(30)
            c.send(body[len(body) // 2:])
            return None
        return send
    seen = []

    def script(tx):
        if tx.wants_preview and not tx.ieof:
            tx.cont()
        first = tx.conn.exact(1000)
        seen.append(first)
        go.set()
        tx.conn.buf = first + tx.conn.buf
        tx.seen = tx.read_rest()
        return tx.no_change()
    with lab.sub("as it comes"):
        s, o, p, t = start(lab, script, reply, {"cache": "off"})
        assert t.get("/x").body == body and s.txs[0].seen == data and seen
        r = lab.tunnel(p, o.port).get("/cut")
        assert r.status != 200 or r.cut, r
        p.stop()
    with lab.sub("echo"):
        s, o, p, t = start(lab, lambda tx: tx.echo(), lambda h, b: ok(body, [("Content-Encoding", "gzip")]))
        r = t.get()
        assert r.body == data and not r.get("Content-Encoding")
        p.stop()
    with lab.sub("group"):
        a, b = lab.icap(clean), lab.icap(clean)
        small = gz(text(5000))
        o = lab.origin(lambda h, _: ok(small, [("Content-Encoding", "gzip")]))
        p = lab.assay(services={"a": {"url": a.url(), "mode": "resp", "decode": True}, "b": {"url": b.url(), "mode": "resp"}},
                      scan={"d": [["a", "b"]]}, rules=[{"name": "r", "scan": ["d"]}], workers=1)
        t = lab.tunnel(p, o.port)
        for _ in range(2):
            assert t.get().body == small
        assert [tx.seen for tx in a.txs] == [text(5000)] and [tx.seen for tx in b.txs] == [small], "known the second time"


def test_decode_max_body(lab):
    """max_body is of what the service is sent."""
    body = gz(text(50000))
    for over, status in (("block", 403), ("bypass", 200)):
        for most, fits in ((20000, False), (60000, True)):
            with lab.sub(f"{over}, {most}"):
                s, o, p, t = start(lab, clean, lambda h, b: ok(body, [("Content-Encoding", "gzip")]), {"max_body": most, "over_max": over})
                r = t.get()
                assert r.status == (200 if fits else status), r
                assert len(s.txs[0].preview + s.txs[0].rest) <= most
                p.stop()


@needs("c-icap")
def test_decode_with_cicap(lab):
    c = lab.cicap()
    bodies = {f"/{n}": coded(text(n), "gzip") for n in SIZES}
    o = lab.origin(lambda h, b: bodies[h.start.split()[1]])
    p = lab.assay(services={"echo": {"url": c.url, "mode": "resp", "decode": True}})
    t = lab.tunnel(p, o.port)
    for n in SIZES:
        with lab.sub(n):
            r = t.get(f"/{n}")
            got = gzip.decompress(r.body) if r.get("Content-Encoding") else r.body
            assert got == text(n), r


@slow
def test_decode_memory(lab):
    """A bomb costs neither memory nor disk: what is decoded goes on at once."""
    s, o, p, t = start(lab, clean, lambda h, b: ok(bomb(60 << 20), [("Content-Encoding", "gzip")]), {"cache": "off"})
    t.get()
    before = p.rss()
    for _ in range(3):
        t.get()
    assert p.rss() - before < 16 << 20, (before, p.rss())


@needs("zstd")
def test_decode_windows_are_counted(lab):
    """The windows of decoders are their client's memory: whoever wants too
    many is refused, and another client is served meanwhile."""
    data = os.urandom(9 << 20)
    body = tool("zstd", "-q", "-c", "--zstd=wlog=23")(data)
    go = threading.Event()

    def reply(h, b):
        def send(c):
            c.send(f"HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:1 << 20])
            assert go.wait(60)
            c.send(body[1 << 20:])
        return ok(b"small") if "/small" in h.start else send
    s, o, p, t = start(lab, clean, reply, {"timeout": "60s", "preview": "off", "cache": "off"}, limits={"memory": "64M", "body_memory": "64K"})
    many = [lab.tunnel(p, o.port, source="127.0.0.2") for _ in range(12)]
    for c in many:
        c.send(f"GET /large HTTP/1.1\r\nHost: {c.host}\r\n\r\n")
    got = {}
    threads = [threading.Thread(target=lambda i=i, c=c: got.setdefault(i, wire.Response(c))) for i, c in enumerate(many)]
    for th in threads:
        th.start()
    assert wire.wait_for(lambda: any(r.status == 503 for r in list(got.values())), 30), "nobody was refused"
    assert t.get("/small").body == b"small"
    go.set()
    for th in threads:
        th.join(60)
    whole = [r for r in got.values() if r.status == 200 and not r.cut]
    assert whole and all(r.body == body for r in whole), got
    assert t.get("/small").body == b"small"
