# SPDX-License-Identifier: GPL-2.0-or-later
"""libclamav inside, with the test database: what is found, what could not be
scanned, and that neither is ever called clean."""
import gzip
import io
import os
import shutil
import signal
import socket
import time
import zipfile
import zlib

import lab as e2e
import wire
from lab import EICAR, TESTDB, field, needs, pattern, seconds, sha, slow
from wire import Response, ok

CLAM = {"url": f"clamav:{TESTDB}", "mode": "both"}


def zipped(data, name="a.com", depth=1):
    for _ in range(depth):
        b = io.BytesIO()
        with zipfile.ZipFile(b, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr(name, data)
        data, name = b.getvalue(), "a.zip"
    return data


def start(lab, bodies, **service):
    """An origin with /name -> bytes (or an answer), assayd with clam."""
    def reply(head, body):
        b = bodies.get(head.start.split()[1].lstrip("/"), b"")
        return b if b[:5] == b"HTTP/" else ok(b)
    o = lab.origin(reply)
    p = lab.assay(services={"clam": dict(CLAM, **service)})
    return o, p, lab.tunnel(p, o.port)


def is_blocked(r, origin_bytes=EICAR):
    assert r.status == 403 and not r.cut and r.body, r
    assert origin_bytes not in r.body and EICAR not in r.body, "the threat is in the page"
    assert "error=" in (r.get("Proxy-Status") or ""), r.head


def record(p, path):
    """The access record of a request by its path."""
    def find():
        return [r for r in p.access(1) if str(field(r, "url.full") or "").endswith(path)]
    assert wire.wait_for(find, 5), p.access(1)
    return find()[0]


def scanned(rec, mode="resp"):
    """What clam said in the response's (request's) chain."""
    return [s for s in field(rec, "assay.scan") if s["service"] == "clam" and s["mode"] == mode][0]


@needs("clamav")
def test_download_is_blocked(lab):
    o, p, t = start(lab, {"eicar.com": EICAR})
    is_blocked(t.get("/eicar.com"))
    rec = record(p, "/eicar.com")
    assert field(rec, "event.action") == "block" and field(rec, "http.response.status_code") == 403, rec
    assert "block" in field(rec, "assay.verdict"), rec
    scan = scanned(rec)
    assert scan["service"] == "clam" and scan["mode"] == "resp" and "eicar" in scan["threat"].lower(), scan


@needs("clamav")
def test_clean_passes(lab):
    bodies = {f"{n}": pattern(n) for n in (0, 1, 4095, 65536, 3 << 20)}
    o, p, t = start(lab, bodies)
    for name, body in bodies.items():
        with lab.sub(name):
            assert sha(t.get("/" + name).body) == sha(body)
    scan = scanned(record(p, "/65536"))
    assert scan["outcome"] == "clean" and scan["bytes"] == 65536, scan


@needs("clamav")
def test_upload_is_blocked(lab):
    """Nothing of it reaches the origin."""
    o, p, t = start(lab, {})
    for name, fields, raw in (("length", f"Content-Length: {len(EICAR)}", EICAR),
                              ("chunked", "Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(EICAR), EICAR))):
        with lab.sub(name):
            t = lab.tunnel(p, o.port)
            t.send(f"POST /up HTTP/1.1\r\nHost: {t.host}\r\n{fields}\r\n\r\n".encode() + raw)
            is_blocked(Response(t))
            assert not o.requests and not any(EICAR[:20] in c.seen for c in o.conns)


@needs("clamav")
def test_clean_upload_passes(lab):
    body = pattern(2 << 20)
    o, p, t = start(lab, {})
    t.send(f"PUT /up HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    assert Response(t).status == 200
    assert sha(o.requests[0][1]) == sha(body)


@needs("clamav")
def test_plain_http_too(lab):
    o = lab.origin(lambda h, b: ok(EICAR), tls=None)
    p = lab.assay(services={"clam": CLAM})
    assert lab.curl(p, f"http://plain.test:{o.port}/e").status == 403


@needs("clamav")
def test_packed(lab):
    """Archives, and bodies behind a Content-Encoding."""
    def coded(coding, data):
        return ok(data, [("Content-Encoding", coding)])
    raw = zlib.compressobj(wbits=-15)
    bodies = {
        "zip": zipped(EICAR), "zip in zip in zip": zipped(EICAR, depth=3), "gzip file": gzip.compress(EICAR),
        "coding gzip": coded("gzip", gzip.compress(EICAR)), "coding x-gzip": coded("x-gzip", gzip.compress(EICAR)),
        "coding deflate": coded("deflate", zlib.compress(EICAR)), "coding raw deflate": coded("deflate", raw.compress(EICAR) + raw.flush()),
        "coding gzip of a zip": coded("gzip", gzip.compress(zipped(EICAR))),
        "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(b"1\r\n%c\r\n" % c for c in EICAR) + b"0\r\n\r\n",
    }
    o, p, t = start(lab, {k.replace(" ", "_"): v for k, v in bodies.items()})
    for name in bodies:
        with lab.sub(name):
            is_blocked(t.get("/" + name.replace(" ", "_")))


@needs("clamav")
def test_deflate_that_is_read_in_two_ways(lab):
    """Stored data for whoever takes the first octets for a wrapper (RFC 1950), for others a block of it and what is packed behind."""
    def both(data):
        c = zlib.compressobj(9, zlib.DEFLATED, -15)
        return b"\x78\x9c\x01\x63\xfe\x9c\x01" + b"x" * 410 + c.compress(data) + c.flush()
    assert zlib.decompress(both(EICAR), -15).endswith(EICAR)
    assert EICAR not in zlib.decompressobj().decompress(both(EICAR))
    coding = [("Content-Encoding", "deflate")]
    o, p, t = start(lab, {"bad": ok(both(EICAR), coding), "good": ok(both(b"good"), coding)})
    assert t.get("/good").status == 200
    is_blocked(t.get("/bad"))


@needs("clamav")
def test_heads_of_gzip(lab):
    """Browsers, and programs that open files, look neither at the checksum of the head nor at reserved flags: what libclamav does not open for them is not clean."""
    def packed(flags, extra, data):
        c = zlib.compressobj(9, zlib.DEFLATED, -15)
        end = zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
        return b"\x1f\x8b\x08" + bytes([flags]) + b"\0\0\0\0\2\3" + extra + c.compress(data) + c.flush() + end
    right = (zlib.crc32(b"\x1f\x8b\x08\x02\0\0\0\0\2\3") & 0xffff).to_bytes(2, "little")
    name = b"n" * 5000 + b"\0"
    bad = {"plain": packed(0, b"", EICAR), "wrong checksum": packed(2, b"ab", EICAR), "checksum": packed(2, right, EICAR), "name": packed(8, name, EICAR),
           "wrong trailer": packed(0, b"", EICAR)[:-8] + b"12345678", **{f"flag {f:x}": packed(f, b"", EICAR) for f in (0x20, 0x40, 0x80)}}
    good = {"clean": packed(0, b"", b"good"), "clean checksum": packed(2, right, b"good"), "clean name": packed(8, name, b"good"),
            "clean and more": packed(0, b"", b"good") + b"more"}
    for way, fields in (("coding", [("Content-Encoding", "gzip")]), ("file", [])):
        o, p, t = start(lab, {k.replace(" ", "_"): ok(v, fields) for k, v in {**bad, **good}.items()})
        for k in bad:
            with lab.sub(f"{way} {k}"):
                is_blocked(t.get("/" + k.replace(" ", "_")))
        for k, v in good.items():
            with lab.sub(f"{way} {k}"):
                assert t.get("/" + k.replace(" ", "_")).body == v


@needs("clamav")
def test_packed_clean(lab):
    """A clean coded body arrives as it was sent, coding and all."""
    data = gzip.compress(pattern(100000))
    o, p, t = start(lab, {"g": ok(data, [("Content-Encoding", "gzip")])})
    r = t.get("/g")
    assert r.body == data and r.get("Content-Encoding") == "gzip"


@needs("clamav")
def test_packed_upload(lab):
    o, p, t = start(lab, {})
    body = gzip.compress(EICAR)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    is_blocked(Response(t))
    assert not o.requests


def encrypted_zip(lab):
    """An archive with a password, by whatever the machine has."""
    (lab.dir / "a.txt").write_text("harmless\n" * 20)
    if shutil.which("zip"):
        r = lab.run("zip", "-j", "-P", "secret", lab.dir / "e.zip", lab.dir / "a.txt")
        assert r.returncode == 0, r.stderr
        return (lab.dir / "e.zip").read_bytes()
    # set the encryption bit of an ordinary archive, in both headers
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w") as z:
        z.writestr("a.txt", os.urandom(200))
    data = bytearray(b.getvalue())
    data[6] |= 1
    central = data.index(b"PK\x01\x02")
    data[central + 8] |= 1
    return bytes(data)


@needs("clamav")
def test_encrypted(lab):
    """Unscanned with a reason, never clean: on_unscanned decides."""
    z = encrypted_zip(lab)
    for on, want in (("block", 403), ("bypass", 200)):
        with lab.sub(on):
            o, p, t = start(lab, {"e.zip": z}, on_unscanned=on)
            r = t.get("/e.zip")
            assert r.status == want, r
            rec = record(p, "/e.zip")
            scan = scanned(rec)
            assert scan["outcome"] != "clean" and "encrypted" in str(scan), scan
            assert field(rec, "assay.verdict") != "clean"
            if want == 200:
                assert r.body == z
            p.stop()


@needs("clamav")
def test_limits_exceeded(lab):
    """scan_size, files and recursion: unscanned, not clean."""
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as z:
        for i in range(50):
            z.writestr(f"{i}.txt", f"harmless {i}" * 10)
    rows = {"size": ({"scan_size": "64K"}, pattern(200000)), "files": ({"files": 10}, many.getvalue()),
            "recursion": ({"recursion": 3}, zipped(b"harmless", depth=6))}
    for name, (limits, body) in rows.items():
        with lab.sub(name):
            o, p, t = start(lab, {"x": body}, limits=limits)
            r = t.get("/x")
            assert r.status == 403, r
            scan = scanned(record(p, "/x"))
            assert scan["outcome"] != "clean", scan
            p.stop()


@needs("clamav")
def test_bomb(lab):
    """A gzip of zeros: bounded time and memory, and not clean."""
    bomb = gzip.compress(bytes(200 << 20), 9)
    o, p, t = start(lab, {"b": ok(bomb, [("Content-Encoding", "gzip")])}, limits={"scan_size": "20M", "time": "20s"})
    before = p.rss()
    started = time.monotonic()
    r = t.get("/b")
    assert r.status == 403, r
    assert time.monotonic() - started < 30 * e2e.lab_scale()
    if not e2e.SANITIZER:
        assert p.rss() - before < 150 << 20, p.rss() - before


@needs("clamav")
def test_max_body(lab):
    """A larger body: over_max says block or bypass, and the log that it was
    not scanned whole."""
    for over, want in (("block", (403, 413)), ("bypass", (200,))):
        with lab.sub(over):
            o, p, t = start(lab, {"big": pattern(200000)}, max_body="100K", over_max=over)
            assert t.get("/big").status in want
            assert "clean" != field(record(p, "/big"), "assay.verdict")
            p.stop()


@needs("clamav")
def test_undecodable(lab):
    """A coding that says gzip and is not, or a registered one we cannot open: unscanned at
    least, never clean without a look. A name that is no coding (snappy, none) changes nothing for a
    receiver: the bytes as they are were looked at."""
    coded = lambda data, coding: ok(data, [("Content-Encoding", coding)])
    chunks = b"44;chunk-signature=0a\r\n" + EICAR + b"\r\n0;chunk-signature=0b\r\n\r\n"
    o, p, t = start(lab, {"bad": coded(b"not gzip" + EICAR, "gzip"), "closed": coded(b"??" * 50, "compress"),
                          "none": coded(b"??" * 50, "snappy"), "found": coded(EICAR, "snappy"), "aws": coded(chunks, "aws-chunked"), "stored": coded(b"no chunks", "aws-chunked"),
                          "early": coded(zlib.compress(pattern(5000))[:-3], "deflate")})
    for name, status, outcome, gap in (("bad", 403, "blocked", None), ("closed", 403, "unscanned", "coding"), ("none", 200, "clean", None),
                                       ("found", 403, "blocked", None), ("aws", 403, "blocked", None), ("stored", 200, "clean", None), ("early", 200, "clean", None)):
        with lab.sub(name):
            r = t.get("/" + name)
            scan = scanned(record(p, "/" + name))
            assert (r.status, scan["outcome"], scan.get("gap")) == (status, outcome, gap), (r, scan)


@needs("clamav")
def test_cut_download_is_not_clean(lab):
    """A body that the origin cut is not scanned clean and not delivered as
    whole."""
    def reply(head, body):
        return lambda conn: (conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + pattern(50000)), "close")[1]
    o = lab.origin(reply)
    p = lab.assay(services={"clam": CLAM})
    t = lab.tunnel(p, o.port)
    try:
        r = t.get("/cut")
        assert r.cut or r.status == 502, r
    except wire.Ended:
        pass
    assert field(record(p, "/cut"), "assay.verdict") != "clean"


@needs("clamav")
def test_held_until_the_verdict(lab):
    """hold: not one octet of a body leaves before its verdict."""
    body = pattern(1 << 20) + EICAR + pattern(1 << 20)
    o, p, t = start(lab, {"x": zipped(body)})
    r = t.get("/x")
    is_blocked(r)
    assert body[:100] not in r.body


@needs("clamav")
def test_eicar_behind_text(lab):
    o, p, t = start(lab, {"mail": b"From: a\r\n\r\n" + b"text " * 1000 + EICAR})
    r = t.get("/mail")
    scan = scanned(record(p, "/mail"))
    assert r.status == 403 or scan["outcome"] == "clean"    # the signature says where it matches
    assert scan["bytes"] > 5000


@needs("clamav")
def test_self_test(lab):
    """http://assay.internal/test/eicar through the proxy is blocked."""
    p = lab.assay(services={"clam": CLAM})
    r = lab.curl(p, "http://assay.internal/test/eicar")
    assert r.status == 403 and EICAR not in r.body, r.status


@needs("clamav")
def test_database_reload(lab):
    """A changed database is taken without stopping scans."""
    db = lab.dir / "db"
    shutil.copytree(TESTDB, db)
    marker = b"assay-lab-marker-" + b"0123456789"
    bodies = {"m": b"x" * 100 + marker + b"y" * 100}
    o = lab.origin(lambda h, b: ok(bodies["m"]))
    p = lab.assay(services={"clam": {"url": f"clamav:{db}", "mode": "both"}})
    t = lab.tunnel(p, o.port)
    assert t.get("/m").status == 200
    (db / "extra.ndb").write_text(f"Lab.Marker:0:*:{marker.hex()}\n")
    bad = 0

    def blocked():
        nonlocal bad
        r = t.get("/m")
        bad += r.status not in (200, 403)
        return r.status == 403
    p.signal(signal.SIGHUP)
    assert wire.wait_for(blocked, 40 * e2e.lab_scale(), 0.2), "the new signature is not in force"
    assert not bad, "scans failed during the reload"


@needs("clamav")
def test_database_broken(lab):
    """No engine at the start: --check and the start say so; a broken reload
    keeps the old engine."""
    db = lab.dir / "db"
    db.mkdir()
    code, out, _ = lab.check(lab.conf(lab.port(), services={"clam": {"url": f"clamav:{db}", "mode": "both"}}))
    assert code == 1 and str(db) in out, out
    shutil.copytree(TESTDB, lab.dir / "db2")
    o = lab.origin(lambda h, b: ok(EICAR))
    p = lab.assay(services={"clam": {"url": f"clamav:{lab.dir}/db2", "mode": "both"}})
    t = lab.tunnel(p, o.port)
    assert t.get().status == 403
    for f in (lab.dir / "db2").iterdir():
        f.write_bytes(b"broken\n")
    p.signal(signal.SIGHUP)
    time.sleep(2)
    assert p.alive() and lab.tunnel(p, o.port).get().status == 403


@needs("clamav")
def test_many_at_once(lab):
    """Scans queue on the job pool; other flows do not wait for them."""
    bodies = {"slow": zipped(pattern(8 << 20)), "eicar": EICAR, "small": b"tiny"}
    o, p, t = start(lab, bodies, threads=1)
    tunnels = [lab.tunnel(p, o.port) for _ in range(6)]
    for x in tunnels:
        x.send(f"GET /slow HTTP/1.1\r\nHost: {x.host}\r\n\r\n")
    for x in tunnels:
        r = Response(x)
        assert r.status in (200, 403) and not r.cut, r
    is_blocked(t.get("/eicar"))


@needs("clamav")
def test_temporary_space_has_a_limit(lab):
    """20 KB that become 20 MB in libclamav's files are counted against limits.temp."""
    bodies = {"large": zipped(bytes(20 << 20)), "small": zipped(bytes(20 << 10))}
    o = lab.origin(lambda h, b: ok(bodies[h.start.split()[1].lstrip("/")]))
    for temp, status in (("1M", 403), ("20G", 200)):
        with lab.sub(temp):
            p = lab.assay(services={"clam": CLAM}, limits={"temp": temp})
            assert lab.tunnel(p, o.port).get("/small").status == 200
            assert lab.tunnel(p, o.port).get("/large").status == status
    p = lab.assay(services={"clam": dict(CLAM, on_unscanned={"default": "bypass", "limit": "block"})}, limits={"temp": "1M"})
    assert lab.tunnel(p, o.port).get("/large").status == 403
    assert scanned(record(p, "/large"))["gap"] == "limit"
    code, text, path = lab.check({"services": {"clam": CLAM}, "limits": {"temp": "0"}})
    assert code == 1 and "'temp' is too small" in text, text


@needs("clamav")
@seconds(120)
def test_one_client_does_not_delay_another(lab):
    """Eight slow archives of one: another's verdict does not stand behind them."""
    bodies = {"/slow": zipped(bytes(25 << 20)), "/small": zipped(pattern(1000))}
    o = lab.origin(lambda h, b: ok(bodies[h.start.split()[1]]), tls=None)
    p = lab.assay(services={"clam": dict(CLAM, threads=1)})

    def ask(source, path):
        c = wire.Conn(socket.create_connection(p.addr, source_address=(source, 0)), wire.TIMEOUT * 4 * e2e.lab_scale())
        lab.on_close(c.cut)
        c.send(f"GET http://plain.test:{o.port}{path} HTTP/1.1\r\nHost: plain.test:{o.port}\r\n\r\n")
        return c
    begun = time.monotonic()
    slow = [ask("127.0.0.1", "/slow") for _ in range(8)]
    wire.wait_for(lambda: len(o.requests) >= 8, 10)
    time.sleep(0.2)
    other = ask("127.0.0.2", "/small")
    assert Response(other).status == 200
    mine = time.monotonic() - begun
    for c in slow:
        assert Response(c).status == 200
    assert mine < (time.monotonic() - begun) * 0.6, "it waited behind the other client's"


@needs("clamav")
def test_client_gone_during_scan(lab):
    bodies = {"slow": zipped(pattern(8 << 20)), "eicar": EICAR}
    o, p, t = start(lab, bodies)
    for _ in range(5):
        x = lab.tunnel(p, o.port)
        x.send(f"GET /slow HTTP/1.1\r\nHost: {x.host}\r\n\r\n")
        time.sleep(0.05)
        x.reset()
    is_blocked(t.get("/eicar"))


@needs("clamav")
def test_stop_during_scan(lab):
    """SIGTERM while a scan runs: an orderly end."""
    bodies = {"slow": zipped(pattern(16 << 20))}
    o, p, t = start(lab, bodies)
    t.send(f"GET /slow HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    wire.wait_for(lambda: o.requests, 5)
    time.sleep(0.2)
    p.stop(30)


@slow
@needs("clamav")
@seconds(120)
def test_large_body_is_scanned_on_disk(lab):
    """80 MB are scanned; memory does not grow with them."""
    n = lab.nginx()
    with open(n.root / "big", "wb") as f:
        for i in range(80):
            f.write(pattern(1 << 20, i))
    p = lab.assay(services={"clam": dict(CLAM, max_body="200M", limits={"scan_size": "400M"})})
    want = sha((n.root / "big").read_bytes())
    before = p.rss()
    digest, length = lab.digest_through(p, f"https://www.test:{n.port}/big")
    assert (length, digest) == (80 << 20, want)
    assert p.rss() - before < 40 << 20, p.rss() - before
    assert field(record(p, "/big"), "assay.verdict") == "clean"
