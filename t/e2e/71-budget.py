# SPDX-License-Identifier: GPL-2.0-or-later
"""What peers can make grow is counted against limits.memory and limits.temp,
with a share for each client: one address that hogs is refused, with a clear
fault, and another one is served meanwhile. Memory is VmRSS, temporary files
are what the process has open without a name."""
import os
import time
import zlib

import lab as e2e
import wire
from growth import Watch, temp_used
from lab import needs, pattern, seconds, sha
from wire import Response, ok

HOG, OTHER = "127.0.0.2", "127.0.0.3"
M = 1 << 20


def other_is_served(lab, p, o, path="/small", want=b"fine"):
    """The control: somebody else's ordinary request."""
    r = lab.tunnel(p, o.port, source=OTHER).get(path)
    assert r.status == 200 and sha(r.body) == sha(want), (r, len(r.body or b""))


def ask(t, path):
    t.send(f"GET {path} HTTP/1.1\r\nHost: {t.host}\r\n\r\n")


def ended(t):
    """The answer if it is complete or cut, else None."""
    t.sock.settimeout(0.01)
    try:
        if not t.fill():
            return True
    except wire.Ended:
        pass
    return t.buf.startswith(b"HTTP/1.1 5")


def refused(lab, p, code, n=50):
    """Records that say so, each with the hog's address."""
    recs = [x for x in p.access(1) if e2e.field(x, "http.response.status_code") == 503]
    return [x for x in recs if code in str(x)]


@seconds(120)
def test_held_bodies_share_limits_temp(lab):
    """One client's held bodies take half of limits.temp at most; his newest
    one fails, and another client's held body passes meanwhile."""
    big, mid = pattern(7 * M), pattern(3 * M)
    gate = []

    def script(tx):
        if b"/hog" in tx.raw["req-hdr"]:
            tx.whole()
            wire.wait_for(lambda: gate, 90)
        else:
            tx.whole()
        tx.no_change()
    s = lab.icap(script, timeout=100)
    o = lab.origin(lambda h, b: ok(big if "/hog" in h.start else mid), timeout=100)
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "timeout": "100s"}}, scan={"c": ["s"]},
                  rules=[{"name": "default", "scan": ["c"], "download": "hold"}], limits={"temp": "20M", "read": "100s"})
    w = Watch(p)
    hogs = []
    for i in range(4):
        t = lab.tunnel(p, o.port, source=HOG, timeout=100)
        ask(t, f"/hog{i}")
        hogs.append(t)
        # The first is held whole before the next one comes.
        assert i > 0 or w.until(lambda: w.temp > 5 * M, 30), w.temp
    assert w.until(lambda: sum(bool(ended(t)) for t in hogs) >= 3, 40), [t.buf[:60] for t in hogs]
    for _ in range(3):
        other_is_served(lab, p, o, "/mid", mid)
        w.look()
    w.check(temp=14 * M)
    assert not ended(hogs[0]), "the first body, held before, must stay"
    gate.append(1)
    hogs[0].sock.settimeout(60 * e2e.lab_scale())
    assert sha(Response(hogs[0]).body) == sha(big)
    for t in hogs[1:]:
        r = Response(t)
        assert r.status == 503 and b"temporary" in r.body.lower(), r
        assert "error=" in r.get("Proxy-Status")
    assert wire.wait_for(lambda: temp_used(p) == 0, 10)
    # ... and what was given back can be used again.
    assert lab.tunnel(p, o.port, source=HOG).get("/hog").status == 200


def interim(head):
    """Many large interim heads, the final one later or never."""
    def send(conn):
        one = b"HTTP/1.1 103 Early Hints\r\n" + b"".join(b"Link: </%d%s>; rel=preload\r\n" % (i, b"x" * 1000) for i in range(100)) + b"\r\n"
        for _ in range(90):
            conn.send(one)
        wire.wait_for(lambda: "/wait" not in head.start or conn.ended, 3)
        conn.send(ok(b"after"))
    return send


@seconds(90)
def test_interim_heads_leave_no_memory(lab):
    """90 interim heads of 100 KB each: one at a time is kept, whether the
    client takes them or not."""
    o = lab.origin(lambda h, b: interim(h) if "/103" in h.start else ok(b"fine"), timeout=60)
    p = lab.assay(limits={"memory": "16M"})
    other_is_served(lab, p, o)
    w = Watch(p)
    readers = [lab.tunnel(p, o.port, source=HOG, timeout=60) for _ in range(4)]
    stuck = [lab.tunnel(p, o.port, source=HOG, timeout=60) for _ in range(8)]
    for t in readers + stuck:
        ask(t, "/103")
    done = []
    for t in readers:
        while True:
            r = Response(t)
            w.look()
            if r.status >= 200:
                break
        done.append(r)
    assert all(r.status == 200 and r.body == b"after" for r in done), done
    w.until(lambda: False, 2)
    other_is_served(lab, p, o)
    w.check(memory=8 * M)


@seconds(90)
def test_unfinished_heads_are_counted(lab):
    """150 heads of 60 KB that never end, from one address: the latest get a
    503 or the end, and others their answer."""
    o = lab.origin(lambda h, b: ok(b"fine"))
    p = lab.assay(limits={"memory": "16M", "per_client": 1000, "request": "60s"})
    other_is_served(lab, p, o)
    w = Watch(p)
    conns = []
    head = f"GET http://www.test:{o.port}/ HTTP/1.1\r\nHost: www.test:{o.port}\r\n".encode()
    head += b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(58))
    for _ in range(150):
        try:
            c = lab.connect(p, source=HOG)
            for at in range(0, len(head), 8000):
                c.send(head[at:at + 8000])
            conns.append(c)
        except (wire.Ended, OSError):
            pass
        w.look()
    answers = [c for c in conns if ended(c)]
    assert answers, "nothing was refused"
    assert len(conns) > 20, "far too much was refused"
    assert any(c.buf.startswith(b"HTTP/1.1 503 ") for c in answers)
    other_is_served(lab, p, o)
    w.check(memory=16 * M)


@seconds(90)
def test_connections_are_counted(lab):
    """An address whose connections use up its share of limits.memory is told
    so; others connect."""
    o = lab.origin(lambda h, b: ok(b"fine"))
    p = lab.assay(limits={"memory": "16M", "per_client": 1000})
    other_is_served(lab, p, o)
    conns, told = [], []
    for _ in range(400):
        c = lab.connect(p, 10, source=HOG)
        conns.append(c)
        if len(conns) > 200 and ended(c):
            told.append(c)
            break
    assert told, "400 connections of one address in 16 MB"
    assert told[0].buf.startswith(b"HTTP/1.1 503 ") and b"memory" in told[0].rest(), told[0].buf[:200]
    other_is_served(lab, p, o)
    for c in conns:
        c.cut()
    assert wire.wait_for(lambda: served(lab, p, o), 10), "the memory is not given back"


def served(lab, p, o):
    try:
        return lab.tunnel(p, o.port, source=HOG).get("/small").status == 200
    except (wire.Ended, OSError):
        return False


@seconds(120)
def test_stuck_readers_are_counted(lab):
    """120 downloads that nobody takes, and uploads that an origin does not
    take: memory stays within limits.memory, others are served."""
    body = pattern(4 * M)

    def reply(head, b):
        return ok(body if "/big" in head.start else b"fine")
    o = lab.origin(reply, timeout=60)
    p = lab.assay(limits={"memory": "16M", "per_client": 1000})
    other_is_served(lab, p, o)
    w = Watch(p)
    for _ in range(120):
        t = lab.tunnel(p, o.port, source=HOG, timeout=60)
        if t.connect.status == 200:
            ask(t, "/big")
        w.look()
    w.until(lambda: False, 3)
    for _ in range(3):
        other_is_served(lab, p, o)
    w.check(memory=16 * M)
    other_is_served(lab, p, o, "/big", body)


@seconds(120)
def test_held_bodies_share_limits_memory(lab):
    """130 bodies of 250 KB held at once in memory of 16 MB: the window of each
    shrinks, the rest lies in files, nothing is lost."""
    body = pattern(250000)
    gate = []

    def script(tx):
        tx.whole()
        if b"/held" in tx.raw["req-hdr"]:
            wire.wait_for(lambda: gate, 60)
        tx.no_change()
    many = [(n, "1000" if n == "Max-Connections" else v) for n, v in wire.OPTIONS]
    s = lab.icap(script, timeout=100, options=many)
    o = lab.origin(lambda h, b: ok(body), timeout=100)
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "timeout": "100s"}}, scan={"c": ["s"]},
                  rules=[{"name": "default", "scan": ["c"], "download": "hold"}], limits={"memory": "16M", "read": "100s"})
    other_is_served(lab, p, o, "/x", body)
    w = Watch(p)
    held = []
    for i in range(130):
        t = lab.tunnel(p, o.port, source=HOG, timeout=100)
        ask(t, f"/held{i}")
        held.append(t)
    assert w.until(lambda: len(s.txs) >= 130, 60), len(s.txs)
    for _ in range(3):
        other_is_served(lab, p, o, "/x", body)
    w.check(memory=16 * M)
    gate.append(1)
    for t in held:
        r = Response(t)
        assert r.status == 200 and sha(r.body) == sha(body), r


@needs("clamav")
@seconds(120)
def test_decoded_output_is_counted(lab):
    """A body of 92 KB that decodes to 94 MB takes its client's share of
    limits.temp and no more; it is not clean, and others' coded bodies are."""
    bomb = zlib.compress(bytes(94 * M), 9)
    plain = pattern(2 * M)
    coded = zlib.compress(plain, 1)

    def reply(head, b):
        out = bomb if "/bomb" in head.start else coded
        return ok(out, [("Content-Encoding", "deflate"), ("Content-Type", "application/octet-stream")])
    o = lab.origin(reply, timeout=60)
    p = lab.assay(services={"clam": {"url": "clamav:"}}, limits={"temp": "24M"})
    w = Watch(p)
    free = os.statvfs("/dev/shm")
    free = free.f_bavail * free.f_bsize
    lost = 0
    tunnels = [lab.tunnel(p, o.port, source=HOG, timeout=60) for _ in range(4)]
    for t in tunnels:
        ask(t, "/bomb")

    def done():
        nonlocal lost
        v = os.statvfs("/dev/shm")
        lost = max(lost, free - v.f_bavail * v.f_bsize)
        return all(t.buf or ended(t) for t in tunnels)
    assert w.until(done, 60)
    other = lab.tunnel(p, o.port, source=OTHER, timeout=60).get("/coded")
    assert other.status == 200 and other.body == coded, other
    w.check(temp=16 * M)
    for t in tunnels:
        r = Response(t)
        assert r.status == 403 or r.status >= 500, r
    assert wire.wait_for(lambda: temp_used(p) == 0, 10)


@seconds(90)
def test_unfinished_hellos_are_counted(lab):
    """150 ClientHellos of 60 KB that never end, in pieces of every size: the
    latest end, and others open their tunnels."""
    o = lab.origin(lambda h, b: ok(b"fine"))
    p = lab.assay(limits={"memory": "16M", "per_client": 1000, "request": "60s"})
    other_is_served(lab, p, o)
    w = Watch(p)
    body = b"\x01\x00\xff\xf0\x03\x03" + bytes(64000)
    records = b"".join(b"\x16\x03\x01" + len(body[i:i + 16000]).to_bytes(2, "big") + body[i:i + 16000] for i in range(0, len(body), 16000))
    conns = []
    for n in range(150):
        try:
            t = wire.Tunnel(p.addr, f"www.test:{o.port}", source=HOG)
            if t.connect.status == 200:
                for at in range(0, 60000, 9000):
                    t.send(records[at:at + 9000])
                conns.append(t)
        except (wire.Ended, OSError):
            pass
        w.look()
    assert len(conns) > 20, "far too much was refused"
    assert any(ended(t) for t in conns) or len(conns) < 150, "nothing was refused"
    other_is_served(lab, p, o)
    w.check(memory=16 * M)
    for t in conns:
        t.cut()


@seconds(60)
def test_hello_byte_by_byte(lab):
    """A ClientHello in segments of one byte costs about its size."""
    o = lab.origin(lambda h, b: ok(b"fine"))
    p = lab.assay(limits={"request": "60s"})
    other_is_served(lab, p, o)
    tunnels = [wire.Tunnel(p.addr, f"www.test:{o.port}", source=HOG) for _ in range(20)]
    body = b"\x01\x00\xff\xf0\x03\x03" + bytes(16000)
    w = Watch(p)
    for c in b"\x16\x03\x01\x3e\x80" + body[:12000]:
        for t in tunnels:
            t.send(bytes([c]))
    w.look()
    other_is_served(lab, p, o)
    if not e2e.SANITIZER:
        assert w.rss < 5 * M, f"memory grew by {w.rss >> 10} KiB"
    for t in tunnels:
        t.cut()


@seconds(90)
def test_kept_sign_ins_are_counted(lab):
    """Origin connections that clients have signed in are kept for them: each
    is memory of its client, and what fills half his share ends, oldest first."""
    names = [f"m{i}.test" for i in range(16)]
    lab.hosts.update({n: "127.0.0.1" for n in names})
    o = lab.origin(lambda h, b: ok(b"who", [("WWW-Authenticate", "NTLM")], "401 Unauthorized") if h.get("Host").startswith("m") else ok(b"fine"),
                   tls=lab.server_context("www.test", sans=[*names, "www.test"]), timeout=90)
    p = lab.assay(limits={"memory": "16M"}, workers=1)
    other_is_served(lab, p, o)
    descriptors = p.fds()
    for _ in range(40):
        c = lab.connect(p, source=HOG)
        for n in names:
            c.send(f"GET https://{n}:{o.port}/ HTTP/1.1\r\nHost: {n}:{o.port}\r\n\r\n")
            assert Response(c).status == 401
    # Half of a share of 8 MiB: 256 of 16 KiB, less what the first clients take.
    assert wire.wait_for(lambda: p.fds() - descriptors < 40 + 256, 15), p.fds() - descriptors
    other_is_served(lab, p, o)


@seconds(90)
def test_answers_without_a_body_wait_for_their_reader(lab):
    """A client that asks and asks and takes no answer is not read any more,
    though its answers are heads alone; one that does gets them all."""
    o = lab.origin(lambda h, b: ok(b"fine"))
    p = lab.assay(limits={"memory": "16M"}, rules=[{"name": "no", "if": {"url": "/no"}, "access": "block"}, {"name": "default", "scan": "none"}])
    other_is_served(lab, p, o)
    for name, line, fields in (("OPTIONS", "OPTIONS /", "Max-Forwards: 0\r\n"), ("HEAD", "HEAD /no", "")):
        for way in ("plain", "opened"):
            with lab.sub(f"{name}, {way}"):
                w = Watch(p)
                t = lab.connect(p, source=HOG) if way == "plain" else lab.tunnel(p, o.port, source=HOG)
                target = line if way == "opened" else line.replace(" ", f" http://www.test:{o.port}", 1)
                one = f"{target} HTTP/1.1\r\nHost: www.test:{o.port}\r\n{fields}\r\n".encode()
                t.send(one * 100)
                got = [t.head() for _ in range(100)]
                assert all(h.start.split()[1] in ("200", "403") for h in got), got[0]
                t.sock.settimeout(3 * e2e.lab_scale())
                sent = 0
                try:
                    while sent < 48 * M:
                        t.sock.sendall(one * 2000)
                        sent += 2000 * len(one)
                    assert False, "it is read for ever"
                except TimeoutError:
                    pass
                w.check(memory=2 * M)
                other_is_served(lab, p, o)
                t.reset()


@seconds(90)
def test_a_claimed_name_holds_up_nobody(lab):
    """Tunnels to an address whose server is stuck, with the name of another
    origin in their ClientHello: who asks for that origin is not queued behind
    them."""
    o = lab.origin(lambda h, b: ok(b"fine"))
    stuck = lab.server(lambda conn: wire.wait_for(lambda: conn.ended, 60), host="127.0.0.9", port=o.port, timeout=60)
    p = lab.assay(workers=1, limits={"connect": "40s"})
    lab.tunnel(p, o.port, "other.test").get()
    hogs = []
    for _ in range(40):
        t = lab.connect(p, source=HOG)
        t.send(f"CONNECT 127.0.0.9:{o.port} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert Response(t, "CONNECT").status == 200
        hogs.append(wire.context(p.ca).wrap_socket(t.sock, server_hostname="www.test"))
    assert wire.wait_for(lambda: stuck.accepted >= 16, 10 * e2e.lab_scale())
    since = time.monotonic()
    other_is_served(lab, p, o)
    assert time.monotonic() - since < 20, "it waited for the connections of others"
