# SPDX-License-Identifier: GPL-2.0-or-later
"""Real c-icap with its echo service: every size comes through unchanged."""
import hashlib

import wire
from lab import needs, pattern, seconds, sha, slow
from wire import Response, ok

SIZES = (0, 1, 1023, 1024, 1025, 65535, 65536, 65537, 5 << 20)


@needs("c-icap")
def test_echo_download(lab):
    bodies = {f"/{n}": pattern(n) for n in SIZES}
    c = lab.cicap()
    o = lab.origin(lambda h, b: ok(bodies[h.start.split()[1]]))
    p = lab.assay(services={"echo": {"url": c.url, "mode": "resp"}})
    t = lab.tunnel(p, o.port)
    for path, body in bodies.items():
        with lab.sub(path):
            assert sha(t.get(path).body) == sha(body)


@needs("c-icap")
def test_echo_download_chunked(lab):
    bodies = {f"/{n}": pattern(n) for n in SIZES}

    def reply(head, body):
        data = bodies[head.start.split()[1]]
        parts = b"".join(b"%x\r\n%s\r\n" % (len(data[i:i + 5000]), data[i:i + 5000]) for i in range(0, len(data), 5000))
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
    c = lab.cicap()
    o = lab.origin(reply)
    p = lab.assay(services={"echo": {"url": c.url, "mode": "resp"}})
    t = lab.tunnel(p, o.port)
    for path, body in bodies.items():
        with lab.sub(path):
            assert sha(t.get(path).body) == sha(body)


@needs("c-icap")
def test_echo_upload(lab):
    c = lab.cicap()
    o = lab.origin(lambda h, b: ok(f"{len(b)} {sha(b)}"))
    p = lab.assay(services={"echo": {"url": c.url, "mode": "req"}})
    for n in SIZES:
        body = pattern(n)
        with lab.sub(n):
            t = lab.tunnel(p, o.port)
            t.send(f"POST /{n} HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {n}\r\n\r\n".encode() + body)
            assert Response(t).text() == f"{n} {sha(body)}"
        with lab.sub(f"{n} chunked"):
            t = lab.tunnel(p, o.port)
            parts = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + 5000]), body[i:i + 5000]) for i in range(0, n, 5000))
            t.send(f"POST /{n} HTTP/1.1\r\nHost: {t.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + parts + b"0\r\n\r\n")
            assert Response(t).text() == f"{n} {sha(body)}"


@needs("c-icap")
def test_echo_both_ways(lab):
    c = lab.cicap()
    o = lab.origin(lambda h, b: ok(b))
    p = lab.assay(services={"q": {"url": c.url, "mode": "req"}, "s": {"url": c.url, "mode": "resp"}})
    for n in (0, 1, 70000):
        with lab.sub(n):
            r = lab.curl(p, f"https://www.test:{o.port}/", "--data-binary", "@-", data=pattern(n))
            assert r.status == 200 and sha(r.body) == sha(pattern(n)), r.errors


@needs("c-icap")
def test_many_flows(lab):
    """More requests than c-icap keeps a connection for."""
    c = lab.cicap()
    o = lab.origin(lambda h, b: ok(pattern(3000)))
    p = lab.assay(services={"echo": {"url": c.url, "mode": "resp"}}, workers=1)
    t = lab.tunnel(p, o.port)
    for i in range(250):
        assert sha(t.get(f"/{i}").body) == sha(pattern(3000)), i


@needs("c-icap")
def test_unknown_service(lab):
    """c-icap's bare 404 line without any field."""
    c = lab.cicap()
    o = lab.origin()
    for on_error, want in (("block", (502, 503)), ("bypass", (200,))):
        with lab.sub(on_error):
            p = lab.assay(services={"x": {"url": c.url.replace("echo", "nothere"), "mode": "resp", "on_error": on_error}})
            assert lab.tunnel(p, o.port).get().status in want


@needs("c-icap")
def test_killed_and_restarted(lab):
    """Down: blocked; back: served within the probe time."""
    c = lab.cicap()
    o = lab.origin()
    p = lab.assay(services={"echo": {"url": c.url, "mode": "resp", "probe": "1s"}})
    assert lab.tunnel(p, o.port).get().status == 200
    c.kill()
    assert lab.tunnel(p, o.port).get().status in (502, 503)
    s = lab.icap(port=c.port)
    assert wire.wait_for(lambda: lab.tunnel(p, o.port).get().status == 200, 8, 0.3)
    assert s.txs


@slow
@needs("c-icap")
@seconds(180)
def test_echo_300_mb(lab):
    """300 MB down through RESPMOD and up through REQMOD, by SHA-256."""
    size = 300 << 20
    block = pattern(1 << 20)
    whole = hashlib.sha256()
    for _ in range(300):
        whole.update(block)
    n = lab.nginx()
    with open(n.root / "big", "wb") as f:
        for _ in range(300):
            f.write(block)
    c = lab.cicap()
    got = []

    def up(conn):
        head = conn.head()
        h, left = hashlib.sha256(), None
        if head.get("Transfer-Encoding"):
            while True:
                k = int(conn.until(b"\r\n").split(b";")[0], 16)
                piece = conn.exact(k)
                conn.exact(2)
                if k == 0:
                    break
                h.update(piece)
        else:
            left = int(head.get("Content-Length"))
            while left > 0:
                if not conn.buf and not conn.fill():
                    raise wire.Ended("short upload")
                h.update(conn.buf[:left])
                left -= len(conn.buf)
                conn.buf = b""
        got.append(h.hexdigest())
        conn.send(ok(b"thanks"))
    s = lab.server(up, lab.server_context(), timeout=120)
    p = lab.assay(services={"q": {"url": c.url, "mode": "req"}, "s": {"url": c.url, "mode": "resp"}})
    digest, length = lab.digest_through(p, f"https://www.test:{n.port}/big")
    assert (length, digest) == (size, whole.hexdigest())
    r = lab.curl(p, f"https://www.test:{s.port}/", "-T", n.root / "big", "-H", "Expect:")
    assert r.body == b"thanks", r.errors
    assert got == [whole.hexdigest()]
