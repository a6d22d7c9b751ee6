# SPDX-License-Identifier: GPL-2.0-or-later
"""Many at once: two thousand connections, reload under load, sixteen flows at
once through every kind of chain."""
import contextlib
import json
import subprocess
import threading
import time

import certs
import lab as e2e
import wire
from lab import alone, needs, pattern, seconds, sha, slow
from wire import ok


def tools(*names):
    """The load generator and its peers (t/bench/perf), built in the build tree."""
    d = e2e.BUILD / "t" / "bench"
    d.mkdir(parents=True, exist_ok=True)
    r = subprocess.run(["make", "-s", "-f", str(e2e.SRC / "t/bench/perf/tools.mk"), f"VPATH={e2e.SRC}/t/bench/perf", *names],
                       cwd=d, capture_output=True, text=True)
    if r.returncode:
        raise e2e.Skip(f"the load generator does not build: {r.stderr[:200]}")
    return d


def load(lab, d, p, port, *args, seconds=120):
    """One run of the load generator: its result as a dict."""
    r = lab.run(d / "load", "--mode", "connect", "--addr", f"127.0.0.1:{p.port}", "--port", port, "--ca", p.ca, *args, seconds=seconds)
    assert r.stdout, r.stderr
    return json.loads(r.stdout.splitlines()[-1])


def perf_origin(lab, d):
    """The load generator's origin: TLS for h0.perf.test ..."""
    port, plain = lab.port(), lab.port()
    (lab.dir / "root.key").write_bytes(certs.pem(lab.root.key))
    o = e2e.Process("origin", [str(d / "origin"), "--addr", "127.0.0.1", "--tls", str(port), "--http", str(plain), "--ca", lab.trust,
                               "--cakey", str(lab.dir / "root.key"), "--hosts", "16"], lab.dir / "origin.log")
    lab.on_close(o.stop)
    lab.wait_port(port, o)
    for i in range(16):
        lab.hosts[f"h{i}.perf.test"] = "127.0.0.1"
    o.port = port
    return o


@alone
@needs("make", "gcc")
@seconds(180)
def test_two_thousand_connections(lab):
    """2000 intercepted connections at once, each with requests, none lost;
    what they took is given back."""
    n = 200 if e2e.SANITIZER else 2000
    d = tools("load", "origin")
    o = perf_origin(lab, d)
    p = lab.assay(limits={"per_client": 10000, "clients": 20000})
    load(lab, d, p, o.port, "--path", "/1k", "--expect", "1k", "--hosts", 1, "-c", 4, "-n", 50)
    time.sleep(0.5)
    fds = p.fds()
    j = load(lab, d, p, o.port, "--path", "/1k", "--expect", "1k", "--hosts", 16, "-c", n, "-n", 3 * n, "--timeout", 100, seconds=170)
    assert j["errors"] == 0 and j["ok"] >= 3 * n, {k: j[k] for k in ("ok", "errors", "error_kinds")}
    assert wire.wait_for(lambda: p.fds() <= fds + n * 2, 5)
    assert load(lab, d, p, o.port, "--path", "/1k", "--expect", "1k", "--hosts", 1, "-c", 1, "-n", 5)["errors"] == 0


@alone
@slow
@needs("make", "gcc")
@seconds(120)
def test_two_thousand_through_scanners(lab):
    """The same through REQMOD and RESPMOD."""
    d = tools("load", "origin", "icapnull")
    o = perf_origin(lab, d)
    port = lab.port()
    null = e2e.Process("icapnull", [str(d / "icapnull"), "--port", str(port)], lab.dir / "icapnull.log")
    lab.on_close(null.stop)
    lab.wait_port(port, null)
    p = lab.assay(services={"q": {"url": f"icap://127.0.0.1:{port}/null-req", "mode": "req"}, "s": {"url": f"icap://127.0.0.1:{port}/null-resp", "mode": "resp"}},
                  limits={"per_client": 10000, "clients": 20000})
    j = load(lab, d, p, o.port, "--path", "/10k", "--expect", "10k", "--hosts", 16, "-c", 2000, "-n", 6000, "--timeout", 100)
    assert j["errors"] == 0 and j["ok"] >= 6000, {k: j[k] for k in ("ok", "errors", "error_kinds")}


def test_connection_limits(lab):
    """limits.per_client and limits.clients: the next is told, the others go on."""
    o = lab.origin()
    p = lab.assay(limits={"per_client": 10})
    held = [lab.tunnel(p, o.port) for _ in range(10)]
    try:
        c = lab.connect(p, 5)
        c.send(f"GET http://plain.test:{o.port}/ HTTP/1.1\r\nHost: plain.test\r\n\r\n")
        assert wire.Response(c).status in (429, 503)
    except (wire.Ended, OSError):
        pass
    assert all(t.get().status == 200 for t in held)
    held[0].close()
    assert wire.wait_for(lambda: try_get(lab, p, o), 5), "the slot is not given back"


def try_get(lab, p, o):
    try:
        return lab.tunnel(p, o.port).get().status == 200
    except (wire.Ended, OSError):
        return False


@seconds(120)
def test_descriptors_run_out(lab):
    """400 connections of 8 clients at 256 descriptors: each gets an answer, 200 or 503, whether
    the origin answers at once or holds all that came through; no service is
    blamed, and afterwards everything is as before."""
    gate = threading.Event()
    o = lab.origin(lambda h, b: (lambda conn: (gate.wait(60) if "/held" in h.start else None, conn.send(ok(b"fine")))[1]), tls=None, timeout=60)
    s = lab.icap(timeout=60)
    p = lab.assay(files=256, services={"s": {"url": s.url(), "mode": "resp"}}, limits={"clients": 20000, "per_client": 20000, "origin_idle": "1s"})
    get = f"GET http://www.test:{o.port}%s HTTP/1.1\r\nHost: www.test:{o.port}\r\n\r\n"

    def fine():
        with contextlib.suppress(wire.Ended, OSError):
            c = lab.connect(p)
            c.send(get % "/")
            r = wire.Response(c)
            c.close()
            return r.status == 200 and r.body == b"fine"
        return False
    assert fine()
    before = p.fds()
    for path in ("/", "/held"):
        gate.clear()
        clients = [wire.connect(p.addr, 60, source=f"127.0.1.{1 + i % 8}") for i in range(400)]
        for c in clients:
            with contextlib.suppress(wire.Ended):
                c.send(get % path)
        threading.Timer(3, gate.set).start()
        got = {}
        for c in clients:
            try:
                r = wire.Response(c)
                key = r.status
                assert r.status != 503 or r.get("Retry-After"), r
            except wire.Ended as e:
                key = str(e)[:60]
            got[key] = got.get(key, 0) + 1
        for c in clients:
            c.cut()
        with lab.sub(path):
            assert set(got) == {200, 503} and got[200] >= 30, got
        assert wire.wait_for(fine, 20 * e2e.lab_scale()), path
    assert wire.wait_for(lambda: p.fds() <= before + 80, 20), (p.fds(), before)     # idle ones to the service stay
    assert " is down" not in p.log()


@seconds(90)
def test_reload_under_load(lab):
    """Twenty generations while eight clients work: no flow fails."""
    body = pattern(50000)
    s = lab.icap(lambda tx: (tx.whole(), tx.no_change())[1])
    o = lab.origin(lambda h, b: ok(body))
    services = {"s": {"url": s.url(), "mode": "resp"}}
    p = lab.assay(services=services)
    stop, bad, good = [], [], [0]

    def client():
        while not stop:
            try:
                t = lab.tunnel(p, o.port)
                for _ in range(10):
                    r = t.get()
                    if r.status != 200 or r.cut or r.body != body:
                        bad.append(repr(r))
                    good[0] += 1
                t.close()
            except Exception as e:
                bad.append(f"{type(e).__name__}: {e}")
    threads = [threading.Thread(target=client) for _ in range(8)]
    for t in threads:
        t.start()
    try:
        for i in range(20):
            p.write_conf(lab.conf(p.port, services=services, rules=[{"name": f"g{i}", "if": {"host": f"h{i}.test"}, "access": "block"}]))
            p.reload()
            time.sleep(0.1)
    finally:
        stop.append(1)
        for t in threads:
            t.join()
    assert not bad, f"{len(bad)} of {good[0]} failed: {bad[:3]}"
    assert good[0] > 20


@seconds(90)
def test_mixed_flows(lab):
    """Sixteen clients at once: down, up, blocked, cut, spliced, through two
    services; every answer is the right one."""
    s = lab.icap(lambda tx: tx.block() if b"BLOCKME" in tx.whole() else tx.no_change())
    e = lab.icap(lambda tx: tx.echo())
    bodies = {i: pattern(1 + i * 37123, i) for i in range(16)}

    def reply(head, body):
        path = head.start.split()[1]
        if body:
            return ok(sha(body))
        if path == "/block":
            return ok(b"BLOCKME" * 100)
        if path == "/cut":
            return lambda conn: (conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nabc"), "close")[1]
        return ok(bodies[int(path[1:])])
    o = lab.origin(reply)
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}, "e": {"url": e.url(), "mode": "resp"}, "q": {"url": e.url(), "mode": "req"}},
                  scan={"up": ["q"], "down": ["s", "e"]},
                  rules=[{"name": "x", "if": {"host": "exempt.test"}, "tls": "splice"}, {"name": "default", "scan": ["up", "down"]}])
    bad = []

    def client(i):
        try:
            for k in range(6):
                spliced = (i + k) % 5 == 0
                t = lab.tunnel(p, o.port, "exempt.test" if spliced else "www.test", ca=lab.trust if spliced else None)
                if t.get(f"/{i}").body != bodies[i]:
                    bad.append(f"{i} down")
                t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {len(bodies[i])}\r\n\r\n".encode() + bodies[i])
                if wire.Response(t).text() != sha(bodies[i]):
                    bad.append(f"{i} up")
                t.close()
                if not spliced:
                    t = lab.tunnel(p, o.port)
                    if t.get("/block").status != 403:
                        bad.append(f"{i} block")
                    t = lab.tunnel(p, o.port)
                    try:
                        r = t.get("/cut")
                        if not r.cut and r.status < 500:
                            bad.append(f"{i} cut: {r}")
                    except wire.Ended:
                        pass
        except Exception as err:
            bad.append(f"{i} {type(err).__name__}: {err}")
    threads = [threading.Thread(target=client, args=(i,)) for i in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not bad, bad[:5]


@alone
@slow
def test_many_hosts(lab):
    """Three hundred names: a leaf each, bounded memory."""
    names = [f"n{i}.test" for i in range(300)]
    for n in names:
        lab.hosts[n] = "127.0.0.1"
    o = lab.origin(tls=lab.server_context("n.test", sans=names))
    p = lab.assay()
    before = p.rss()
    for n in names:
        t = lab.tunnel(p, o.port, n)
        assert t.get().status == 200
        t.close()
    assert p.rss() - before < 40 << 20, p.rss() - before
