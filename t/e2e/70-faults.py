# SPDX-License-Identifier: GPL-2.0-or-later
"""Cut, stall, reset, kill, full disk: a fault of one flow is that flow's, is
visible, and frees what it held."""
import contextlib
import hashlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import lab as e2e
import wire
from lab import alone, needs, pattern, seconds, sha, slow
from wire import Response, ok


def survives(lab, p, o):
    """A clean request is served after all that."""
    assert lab.tunnel(p, o.port).get("/fine").status == 200


def test_origin_cut_mid_body(lab):
    """Visibly incomplete in the client's own framing, cut or reset, early or
    late (issue: never a clean end)."""
    def reply(head, body):
        path = head.start.split()[1]
        if path == "/fine":
            return ok(b"fine")
        n, end = int(path.split("/")[1]), path.split("/")[2]

        def send(conn):
            if end.startswith("chunked"):
                conn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (n + 1) + bytes(n))
            else:
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (n + 1) + bytes(n))
            time.sleep(0.05)
            if end.endswith("reset"):
                conn.reset()
            elif end.endswith("cut"):
                conn.cut()
            return "close"
        return send
    o = lab.origin(reply)
    p = lab.assay()
    for n in (0, 1, 1000, 3 << 20):
        for end in ("close", "cut", "reset", "chunked-cut", "chunked-reset"):
            with lab.sub(f"{n} {end}"):
                t = lab.tunnel(p, o.port)
                try:
                    r = t.get(f"/{n}/{end}")
                    assert r.cut or r.status == 502, r
                except wire.Ended:
                    pass
    survives(lab, p, o)


def test_origin_stalls_mid_body(lab):
    """limits.read: the client sees a cut, not a hang."""
    def reply(head, body):
        if "/fine" in head.start:
            return ok(b"fine")
        return lambda conn: (conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"), conn.silent(30), "close")[2]
    o = lab.origin(reply)
    p = lab.assay(limits={"read": "2s"})
    t = lab.tunnel(p, o.port)
    started = time.monotonic()
    try:
        r = t.get("/x")
        assert r.cut or r.status == 504, r
    except wire.Ended:
        pass
    assert time.monotonic() - started < 10 * e2e.lab_scale()
    survives(lab, p, o)


def test_client_stalls_mid_upload(lab):
    """limits.read on the client's leg: the origin's connection is dropped."""
    o = lab.origin()
    p = lab.assay(limits={"read": "2s"})
    t = lab.tunnel(p, o.port)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 100\r\n\r\nabc")
    started = time.monotonic()
    t.sock.settimeout(15 * e2e.lab_scale())
    got = t.rest()
    assert time.monotonic() - started < 12 * e2e.lab_scale()
    assert got == b"" or b" 408 " in got[:20] or b" 400 " in got[:20] or b" 504 " in got[:20], got[:100]
    assert not o.requests
    assert wire.wait_for(lambda: all(c.ended for c in o.conns), 3)


def test_client_gone_mid_download(lab):
    """The origin's connection is freed at once; descriptors return."""
    ended = []

    def reply(head, body):
        if "/fine" in head.start:
            return ok(b"fine")

        def send(conn):
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            started = time.monotonic()
            try:
                while time.monotonic() - started < 15:
                    conn.send(bytes(65536))
            except wire.Ended:
                ended.append(time.monotonic())
            return "close"
        return send
    o = lab.origin(reply)
    p = lab.assay()
    survives(lab, p, o)
    time.sleep(0.2)
    fds = p.fds()
    for how in ("cut", "reset"):
        for _ in range(5):
            t = lab.tunnel(p, o.port)
            t.send(f"GET /big HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
            t.exact(100000)
            getattr(t, how)()
    assert wire.wait_for(lambda: len(ended) == 10, 8 * e2e.lab_scale()), f"{len(ended)} of 10 origins freed"
    assert wire.wait_for(lambda: p.fds() <= fds + 4, 5), f"{fds} descriptors became {p.fds()}"
    survives(lab, p, o)


AHEAD = 40000


def test_client_gone_behind_what_it_sent_ahead(lab):
    """More than is read ahead lies behind its request when a client ends, or in
    an upload that a service does not take when it resets: both are noticed.
    The control: one that stays, with as much, gets its answers."""
    gone, stuck = [], []

    def reply(head, body):
        if "/slow" not in head.start:
            return ok(b"fine")
        return lambda conn: conn.silent(30) or gone.append(conn.ended) or "close"

    def script(tx):
        if b"/up" in tx.raw["req-hdr"]:
            stuck.append(tx)
            tx.conn.sock.settimeout(60)
            gone.append("service" if tx.conn.is_closed(30) else None)
            return "close"
        tx.no_change()
        return None
    o = lab.origin(reply, timeout=60)
    s = lab.icap(script, timeout=60)
    p = lab.assay(services={"s": {"url": s.url(), "mode": "req", "timeout": "60s"}}, rules=[
        {"name": "up", "if": {"url": "/up"}, "scan": ["s"]}, {"name": "default", "scan": "none"}])
    for ways in ("plain", "opened"):
        for name, first, end in (("FIN", "GET {}/slow HTTP/1.1\r\nHost: {}\r\n\r\n", "cut"),
                                 ("RST", "GET {}/slow HTTP/1.1\r\nHost: {}\r\n\r\n", "reset"),
                                 ("RST in an upload", "POST {}/up HTTP/1.1\r\nHost: {}\r\nContent-Length: 3000000\r\n\r\n", "reset")):
            with lab.sub(f"{name}, {ways}"):
                gone.clear()
                stuck.clear()
                before = len(o.requests)
                t = lab.connect(p) if ways == "plain" else lab.tunnel(p, o.port)
                at = f"www.test:{o.port}"
                t.send(first.format(f"https://{at}" if ways == "plain" else "", at))
                again = f"GET https://{at}/ HTTP/1.1\r\nHost: {at}\r\n\r\n"
                t.send(again * (AHEAD // len(again)))
                assert wire.wait_for(lambda: len(o.requests) > before or stuck, 5), "it did not come through"
                time.sleep(0.3)
                getattr(t, end)()
                assert wire.wait_for(lambda: gone, 5 * e2e.lab_scale()) and gone[0], gone
    t = lab.connect(p)
    at = f"www.test:{o.port}"
    one = f"GET https://{at}/fine HTTP/1.1\r\nHost: {at}\r\n\r\n"
    t.send(one * (AHEAD // len(one)))
    t.sock.shutdown(1)
    got = [wire.Response(t).status for _ in range(AHEAD // len(one))]
    assert set(got) == {200}, got
    survives(lab, p, o)


def test_client_gone_before_the_answer(lab):
    """While the origin thinks: its connection is freed."""
    def reply(head, body):
        if "/fine" in head.start:
            return ok(b"fine")
        return lambda conn: ("closed" if not conn.silent(10) else "open") and gone.append(conn.ended) or "close"
    gone = []
    o = lab.origin(reply)
    p = lab.assay()
    t = lab.tunnel(p, o.port)
    t.send(f"GET /slow HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    assert wire.wait_for(lambda: o.requests, 5)
    t.cut()
    assert wire.wait_for(lambda: gone, 5 * e2e.lab_scale()) and gone[0], gone
    survives(lab, p, o)


def test_hundred_faults_leave_nothing(lab):
    """Descriptors and memory return after all kinds of ends."""
    def reply(head, body):
        return lambda conn: (conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(50000)), conn.cut(), "close")[2]
    s = lab.icap(lambda tx: (tx.cont() if not tx.ieof else None, "close")[1])
    o = lab.origin(reply)
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}})

    def one(i):
        t = lab.tunnel(p, o.port)
        t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
        if i % 3 == 0:
            t.reset()
            return
        try:
            Response(t)
        except wire.Ended:
            pass
        t.cut()
    for i in range(20):
        one(i)
    time.sleep(0.5)
    fds, rss = p.fds(), p.rss()
    for i in range(100):
        one(i)
    assert wire.wait_for(lambda: p.fds() <= fds + 6, 6 * e2e.lab_scale()), f"{fds} descriptors became {p.fds()}"
    if not e2e.SANITIZER:
        assert p.rss() - rss < 12 << 20, f"memory grew by {p.rss() - rss}"


@needs("root", "unshare")
def test_disk_full(lab):
    """A state folder of 2 MB: the flow that needs more gets a clear 5xx, and
    nothing else is disturbed."""
    body = pattern(64 << 20)
    s = lab.icap(lambda tx: (tx.whole(), tx.no_change())[1])
    o = lab.origin(lambda h, b: ok(body if "/big" in h.start else b"fine"), timeout=60)
    p = lab.assay(state_size="2m", services={"s": {"url": s.url(), "mode": "resp"}},
                  rules=[{"name": "default", "scan": ["c"], "download": "hold"}], scan={"c": ["s"]})
    small = lab.tunnel(p, o.port)
    for i in range(3):
        with lab.sub(f"round {i}"):
            r = lab.tunnel(p, o.port).get("/big")
            assert 500 <= r.status < 600 and r.body and not r.cut, r
            assert "error=" in (r.get("Proxy-Status") or "")
            assert small.get("/small").body == b"fine"
    recs = [x for x in p.access(4) if e2e.field(x, "http.response.status_code") in (502, 503)]
    assert recs, p.access(1)
    assert "temp: temporary storage is full or failing: " in p.log(), p.log()
    assert not list(lab.state().glob("*spill*"))


def test_temp_limit(lab):
    """limits.temp is kept: a 5xx for the flow beyond it."""
    body = pattern(24 << 20)
    s = lab.icap(lambda tx: (tx.whole(), tx.no_change())[1])
    o = lab.origin(lambda h, b: ok(body if "/big" in h.start else b"fine"), timeout=60)
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}}, scan={"c": ["s"]},
                  rules=[{"name": "default", "scan": ["c"], "download": "hold", "log": "none"}], limits={"temp": "4M"})
    r = lab.tunnel(p, o.port).get("/big")
    assert 500 <= r.status < 600 and r.body and not r.cut, r
    assert e2e.field(p.access(1)[0], "error.code") == "TEMP_LIMIT"      # its page has a reference
    assert lab.tunnel(p, o.port).get("/small").body == b"fine"


def test_spill_file_is_unlinked(lab):
    """A held body beyond memory is on disk, without a name, and gone after."""
    body = pattern(40 << 20)
    gate = []

    def script(tx):
        tx.whole()
        wire.wait_for(lambda: gate, 10)
        tx.no_change()
    s = lab.icap(script)
    o = lab.origin(lambda h, b: ok(body), timeout=60)
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "timeout": "30s"}}, scan={"c": ["s"]},
                  rules=[{"name": "default", "scan": ["c"], "download": "hold"}])
    before = p.rss()
    t = lab.tunnel(p, o.port)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    assert wire.wait_for(lambda: s.txs and s.txs[0].rest, 20 * e2e.lab_scale())

    def deleted():
        out = 0
        for pid in p.pids():
            for f in os.listdir(f"/proc/{pid}/fd"):
                try:
                    if "(deleted)" in os.readlink(f"/proc/{pid}/fd/{f}") and str(lab.state()) in os.readlink(f"/proc/{pid}/fd/{f}"):
                        out += os.stat(f"/proc/{pid}/fd/{f}").st_size
                except OSError:
                    pass
        return out
    assert deleted() > 20 << 20, f"{deleted()} bytes in unlinked files of the state folder"
    if not e2e.SANITIZER:
        assert p.rss() - before < 24 << 20, p.rss() - before
    gate.append(1)
    assert sha(Response(t).body) == sha(body)
    assert wire.wait_for(lambda: deleted() == 0, 5)


def test_icap_killed_during_a_body(lab):
    """SIGKILL of a real c-icap in the middle: a page or a cut, never a clean
    half; the next flow follows on_error."""
    if not e2e.shutil.which("c-icap"):
        raise e2e.Skip("c-icap is not installed")
    body = pattern(2 << 20)

    def reply(head, b):
        def send(conn):
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            conn.send(body[:1 << 20])
            wire.wait_for(lambda: killed, 5)
            conn.send(body[1 << 20:])
        return send
    killed = []
    c = lab.cicap()
    o = lab.origin(reply)
    p = lab.assay(services={"echo": {"url": c.url, "mode": "resp"}})
    t = lab.tunnel(p, o.port)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    time.sleep(0.7)
    c.kill()
    killed.append(1)
    try:
        r = Response(t)
        assert r.cut or r.status in (502, 503), r
        assert not (r.status == 200 and not r.cut)
    except wire.Ended:
        pass
    assert lab.tunnel(p, o.port).get().status in (502, 503)


def test_resolver_is_silent(lab):
    """Name servers that say nothing: 504 or 502 in time, others unharmed."""
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.bind(("127.0.0.1", 0))
    o = lab.origin()
    port = lab.port()
    conf = lab.conf(port)
    conf["resolver"]["servers"] = [f"127.0.0.1:{u.getsockname()[1]}"]
    p = lab.assay(port=port, raw=json.dumps(conf))
    started = time.monotonic()
    r = lab.curl(p, "http://unknown.example/", "-m", "55")
    assert r.status in (502, 504) and r.body, (r.status, r.errors)
    assert time.monotonic() - started < 50
    survives(lab, p, o)
    u.close()


def test_memory_is_bounded_for_many_slow_readers(lab):
    """Fifty clients that read nothing of 10 MB each."""
    body = pattern(10 << 20)
    o = lab.origin(lambda h, b: ok(body if "/big" in h.start else b"fine"), timeout=30)
    p = lab.assay()
    survives(lab, p, o)
    before = p.rss()
    tunnels = []
    for _ in range(50):
        t = lab.tunnel(p, o.port)
        t.send(f"GET /big HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
        tunnels.append(t)
    time.sleep(2)
    if not e2e.SANITIZER:
        assert p.rss() - before < 64 << 20, f"{(p.rss() - before) >> 20} MiB"
    survives(lab, p, o)


def test_stop_with_everything_open(lab):
    """SIGTERM with tunnels idle, uploading, downloading, in a scan: exit 0
    within the drain time, nothing leaked."""
    s = lab.icap(lambda tx: (tx.conn.silent(20), "close")[1])
    o = lab.origin(lambda h, b: (lambda conn: (conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"), conn.silent(20), "close")[2]) if "/slow" in h.start else ok(b"x"))
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "timeout": "30s"}}, scan={"c": ["s"]},
                  rules=[{"name": "scan", "if": {"url": "/scan"}, "scan": ["c"]}, {"name": "sp", "if": {"host": "exempt.test"}, "tls": "splice"},
                         {"name": "default", "scan": "none"}], limits={"drain": "1s"})
    idle = lab.tunnel(p, o.port)
    idle.get()
    for path in ("/slow", "/scan"):
        t = lab.tunnel(p, o.port)
        t.send(f"GET {path} HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    t = lab.tunnel(p, o.port)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 100\r\n\r\nabc")
    t = lab.tunnel(p, o.port, "exempt.test", ca=lab.trust)
    t.get()
    lab.connect(p).send("CONNECT www.test:443 HTTP/1.1\r\n")
    time.sleep(0.5)
    started = time.monotonic()
    p.signal(signal.SIGTERM)
    assert p.wait(8 * e2e.lab_scale()) == 0
    assert time.monotonic() - started < 5 * e2e.lab_scale()


def test_signals(lab):
    """No signal that is not meant for it ends one of its processes."""
    leave = {"SIGKILL", "SIGSTOP", "SIGTERM", "SIGINT", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGCONT",
             "SIGILL", "SIGTRAP", "SIGABRT", "SIGIOT", "SIGBUS", "SIGFPE", "SIGSEGV", "SIGSYS"}
    o = lab.origin()
    p = lab.assay(wait=False)
    p.signal(signal.SIGHUP) if wire.wait_for(lambda: len(p.pids()) > 1, 5, 0.001) else None     # in the middle of the start
    p.wait_ready()
    wire.wait_for(lambda: "reload" in p.log(), 5)
    assert "errors" not in p.log()
    assert wire.wait_for(lambda: len(p.role("keys")) == 1 and len(p.pids()) == 3)
    family = p.pids()
    for s in [*(s for s in signal.Signals if s.name not in leave), *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)]:
        for pid in family[s in (signal.SIGHUP, signal.SIGUSR2):]:
            os.kill(pid, s)
        time.sleep(0.01)
        assert p.alive(), s
    survives(lab, p, o)
    assert p.pids() == family
    p.signal(signal.SIGQUIT)
    assert p.wait(8 * e2e.lab_scale()) == 0


def test_key_holder_dies(lab):
    """It leaves no zombie, asked for anything or not, and nobody notices."""
    o = lab.origin(tls=lab.server_context("www.test", sans=[*e2e.NAMES]))
    p = lab.assay()

    def zombies():
        out = []
        for x in p.pids():
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{x}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                    out.append(x)
        return out
    for name in e2e.NAMES[:2]:
        for pid in p.role("keys"):
            os.kill(pid, signal.SIGKILL)
        assert wire.wait_for(lambda: not zombies(), 10 * e2e.lab_scale()), zombies()
        assert lab.tunnel(p, o.port, name).get().status == 200
        assert wire.wait_for(lambda: len(p.role("keys")) == 1)
    # Older configurations have one as well, while a client goes by them.
    kept = []
    for n in range(3):
        kept.append(lab.tunnel(p, o.port))
        p.reload()
    assert wire.wait_for(lambda: len(p.role("keys")) == 4), p.pids()
    for pid in p.role("keys"):
        os.kill(pid, signal.SIGKILL)
    assert wire.wait_for(lambda: not zombies(), 10 * e2e.lab_scale()), zombies()
    assert lab.tunnel(p, o.port, e2e.NAMES[2]).get().status == 200
    assert all(t.get().status == 200 for t in kept)


@alone
@slow
@needs("make", "gcc")
@seconds(240)
def test_one_gigabyte_flat(lab):
    """1 GB through RESPMOD, read whole and answered 204, and echoed: memory
    grows by at most 16 MB over what 1 MB takes (issue)."""
    tools = e2e.BUILD / "t" / "bench"
    tools.mkdir(parents=True, exist_ok=True)
    subprocess.run(["make", "-s", "-f", str(e2e.SRC / "t/bench/perf/tools.mk"), f"VPATH={e2e.SRC}/t/bench/perf", "icapnull"],
                   cwd=tools, check=True, capture_output=True)
    n = lab.nginx({"one": bytes(1 << 20)})
    with open(n.root / "gig", "wb") as f:
        f.truncate(1 << 30)
    zeros = hashlib.sha256()
    for _ in range(1024):
        zeros.update(bytes(1 << 20))
    port = lab.port()
    null = e2e.Process("icapnull", [str(tools / "icapnull"), "--port", str(port)], lab.dir / "icapnull.log")
    lab.on_close(null.stop)
    lab.wait_port(port, null)
    for service in ("whole", "echonp"):
        with lab.sub(service):
            p = lab.assay(services={"s": {"url": f"icap://127.0.0.1:{port}/{service}", "mode": "resp"}}, workers=1)
            lab.digest_through(p, f"https://www.test:{n.port}/one")
            base, peak, stop = p.rss(), [0], []

            def watch():
                while not stop:
                    peak[0] = max(peak[0], p.rss())
                    time.sleep(0.02)
            th = threading.Thread(target=watch)
            th.start()
            try:
                digest, length = lab.digest_through(p, f"https://www.test:{n.port}/gig")
            finally:
                stop.append(1)
                th.join()
            assert (length, digest) == (1 << 30, zeros.hexdigest())
            assert peak[0] - base < 16 << 20, f"memory grew by {(peak[0] - base) / (1 << 20):.1f} MiB"
            p.stop()
