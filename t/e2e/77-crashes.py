# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known after the serving process has died: a report without content,
access records of the flows that were in it, the line in the log; that one which
does not move is found; and that its successor serves, whatever is short."""
import contextlib
import ctypes
import os
import pathlib
import re
import resource
import signal
import socket
import stat

import lab as e2e
import wire
from lab import pattern, seconds
from wire import ok

BUSY, OTHER = "127.0.0.2", "127.0.0.3"
SECRET = "c0nfident1al"


def reports(lab):
    return sorted((lab.dir / "state" / "crash").glob("*"))


def serves(lab, p, o, source=OTHER):
    return lab.tunnel(p, o.port, source=source).get("/small").status == 200


def kill(p, number):
    """Send it, and wait for the successor."""
    old, had = p.serving(), p.log().count(" serves, ")
    # To its first thread: the kernel may choose one that has just begun, and has no frame of ours.
    assert ctypes.CDLL(None).tgkill(old, old, int(number)) == 0
    assert wire.wait_for(lambda: p.log().count(" serves, ") > had, 40 * e2e.lab_scale()), p.log()
    assert p.serving() != old


def ask(t, path, extra=""):
    t.send(f"GET {path} HTTP/1.1\r\nHost: {t.host}\r\n{extra}\r\n")


def is_cut(t):
    t.sock.settimeout(5)
    try:
        while t.fill():
            pass
    except wire.Ended:
        return False
    return True


def slow(body, gate):
    """Answers of which the end waits for the gate."""
    def reply(head, b):
        if "/slow" not in head.start:
            return ok(b"fine")

        def send(conn):
            conn.send(ok(body)[:-100])
            wire.wait_for(lambda: gate or conn.ended, 60)
        return send
    return reply


def crash_records(p, n):
    """The records of what was lost, by reference."""
    def lost():
        return [x for x in p.access(0) if e2e.field(x, "error.code") == "PROXY_CRASHED"]
    assert wire.wait_for(lambda: len(lost()) >= n, 10), (n, p.access(0))
    return {e2e.field(x, "event.id"): x for x in lost()}


@seconds(120)
def test_a_fault_under_load(lab):
    """By each signal of a fault: one report, records of what was in it, and
    none of what those flows carried is in the report."""
    gate = []
    o = lab.origin(slow(pattern(300000), gate), timeout=90)
    spliced = lab.origin(slow(pattern(300000), gate), tls=lab.server_context("exempt.test"), timeout=90)
    heads = []

    def take(conn):
        heads.append(conn.head())
        wire.wait_for(lambda: conn.ended, 60)
    sink = lab.server(take, tls=lab.server_context("other.test"), timeout=90)
    p = lab.assay(rules=[{"name": "closed", "if": {"host": "exempt.test"}, "tls": "splice"},
                         {"name": "quiet", "if": {"url": "/slow/quiet"}, "log": "none"},
                         {"name": "default", "scan": "none"}])
    seen = set()
    for n, number in enumerate((signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS, signal.SIGABRT), 1):
        with lab.sub(number.name):
            open_ = [lab.tunnel(p, o.port, source=BUSY, timeout=60) for _ in range(4)]
            for i, t in enumerate(open_):
                ask(t, f"/slow/{SECRET}?{SECRET}" if i else "/slow/quiet", f"Cookie: {SECRET}\r\nAuthorization: Basic {SECRET}\r\n")
                assert t.head().start.endswith("200 OK")
            closed = lab.tunnel(p, spliced.port, "exempt.test", source=BUSY, timeout=60, ca=lab.trust)
            ask(closed, "/slow")
            assert closed.head().start.endswith("200 OK")
            up = lab.tunnel(p, sink.port, "other.test", source=BUSY, timeout=60)
            up.send(f"POST /{SECRET} HTTP/1.1\r\nHost: {up.host}\r\nContent-Length: 100000\r\n\r\n{SECRET * 100}")
            assert wire.wait_for(lambda: len(heads) == n, 10)
            kill(p, number)
            assert all(map(is_cut, [*open_, closed, up]))
            assert serves(lab, p, o)
            files = reports(lab)
            assert len(files) == n, files
            new = next(f for f in files if f not in seen)
            seen.add(new)
            assert stat.S_IMODE(new.stat().st_mode) == 0o600
            text = new.read_text()
            assert f"\nsignal {number.name} sent by process {os.getpid()}\n" in text, text
            assert re.search(r"\nframe assayd\+0x[0-9a-f]+\n", text) and re.search(r"\nmodule assayd 0x[0-9a-f]+ [0-9a-f]{40}\n", text), text
            assert text.endswith("\nend\n") and "\nlog assayd: " in text
            assert SECRET not in text and "127.0.0.2" not in text and "www.test" not in text
            flows = set(re.findall(r"^flow (\S+)", text, re.M))
            # The quiet one is under way, too; the access log does not have it.
            assert len(flows) == 6, text
            lost = crash_records(p, n * 5)
            assert len(lost) == n * 5, lost
            mine = [x for ref, x in lost.items() if ref in flows]
            assert len(mine) == 5, (flows, lost)
            for x in mine:
                assert e2e.field(x, "client.ip") == BUSY and e2e.field(x, "event.action") == "error", x
                assert SECRET not in str(x)
            modes = sorted(e2e.field(x, "assay.mode") for x in mine)
            assert modes == ["intercepted"] * 4 + ["tunnel"], modes
            down = [e2e.field(x, "http.response.body.bytes") for x in mine if e2e.field(x, "http.response.body.bytes")]
            assert len(down) >= 3 and all(d > 100000 for d in down[:3]), down
            assert "crash: serve, process " in p.log() and "6 flows were under way" in p.log()
    gate.append(1)
    # One place, one signature; who was there each time is named.
    assert wire.wait_for(lambda: f"client {BUSY} was present in 3 crashes" in p.log(), 5), p.log()


@seconds(60)
def test_last_words(lab):
    """What it said on stderr is in the log and in the report; a failed
    assertion stands first."""
    o = lab.origin(lambda h, b: ok(b"fine"))
    p = lab.assay()
    failed = "assayd: proxy/flow.c:57: flow_go: Assertion `a == b' failed."
    pathlib.Path(f"/proc/{p.serving()}/fd/2").write_text(f"a library: bad \x1b[31mthing\n{failed}\n")
    assert wire.wait_for(lambda: "a library: bad" in p.log(), 5)
    assert "\x1b" not in p.log()
    kill(p, signal.SIGABRT)
    text = reports(lab)[0].read_text()
    assert text.startswith(f"assertion {failed}\n"), text
    assert "\nsaid a library: bad ?[31mthing\n" in text, text
    assert serves(lab, p, o)
    p.signal(signal.SIGTERM)
    assert p.wait(12) == 0
    p.stopped = True            # the log has an assertion that failed, and shall


@seconds(60)
def test_killed(lab):
    """Nothing can be said by one that is killed: the rest is known."""
    gate = []
    o = lab.origin(slow(pattern(100000), gate), timeout=60)
    p = lab.assay()
    t = lab.tunnel(p, o.port, source=BUSY, timeout=30)
    ask(t, "/slow")
    assert t.head().start.endswith("200 OK")
    kill(p, signal.SIGKILL)
    text = reports(lab)[0].read_text()
    assert "\nfate was killed by signal 9" in text and re.search(r"^flow \S+$", text, re.M), text
    assert len(crash_records(p, 1)) == 1
    gate.append(1)


@seconds(120)
def test_one_that_does_not_move(lab):
    """Stopped, it is found within half a minute, reports where it was, and is
    followed."""
    gate = []
    o = lab.origin(slow(pattern(100000), gate), timeout=90)
    p = lab.assay()
    t = lab.tunnel(p, o.port, source=BUSY, timeout=90)
    ask(t, "/slow")
    assert t.head().start.endswith("200 OK")
    old = p.serving()
    os.kill(old, signal.SIGSTOP)
    assert wire.wait_for(lambda: " serves, " in p.log(), 60), p.log()
    assert p.serving() != old
    assert "has not moved for 20 s: aborted" in p.log()
    text = reports(lab)[0].read_text()
    assert f"\nsignal SIGABRT sent by process {p.proc.pid}\n" in text, text
    assert re.search(r"\nthread worker/\d+ \(\d+\)\n", text) and "\nframe " in text, text
    assert len(crash_records(p, 1)) == 1
    assert serves(lab, p, o)
    gate.append(1)


@seconds(90)
def test_systemd_is_told(lab):
    """The manager hears WATCHDOG=1 while workers move, of a dead process it
    hears no worse, and its variables are not for the children."""
    if "#define HAVE_SYSTEMD 1" not in (e2e.BUILD / "config.h").read_text():
        raise e2e.Skip("built without libsystemd")
    path = str(lab.dir / "notify")
    said = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(0.1)

        def heard(what, n):
            with contextlib.suppress(TimeoutError):
                while True:
                    said.append(s.recv(4096).decode())
            return sum(what in x for x in said) >= n
        o = lab.origin(lambda h, b: ok(b"fine"))
        p = lab.assay(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "4000000"})
        assert wire.wait_for(lambda: heard("READY=1", 1), 10), said
        assert wire.wait_for(lambda: heard("WATCHDOG=1", 2), 30), said
        assert b"WATCHDOG_" not in pathlib.Path(f"/proc/{p.serving()}/environ").read_bytes()
        kill(p, signal.SIGKILL)
        had = sum("WATCHDOG=1" in x for x in said)
        assert wire.wait_for(lambda: heard("WATCHDOG=1", had + 2), 30), said
        # Between two processes there is none that could be stuck.
        while "waiting 8 s" not in p.log():
            assert wire.wait_for(lambda: p.role("serve") or "waiting 8 s" in p.log(), 20)
            for pid in p.role("serve"):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        heard("", 0)
        had = sum("WATCHDOG=1" in x for x in said)
        assert wire.wait_for(lambda: heard("WATCHDOG=1", had + 2) or p.role("serve"), 30), said
        assert sum("WATCHDOG=1" in x for x in said) >= had + 2 and not p.role("serve"), said
        assert wire.wait_for(lambda: p.role("serve"), 30)
        assert sum("READY=1" in x for x in said) == 1, said
        assert wire.wait_for(lambda: p.log().count(" serves, ") >= 2, 20), p.log()
        assert serves(lab, p, o)


@seconds(60)
def test_no_place_for_a_report(lab):
    """A file stands where the folder would be: the log has what it can."""
    o = lab.origin(lambda h, b: ok(b"fine"))
    p = lab.assay()
    (lab.dir / "state" / "crash").write_text("")
    kill(p, signal.SIGSEGV)
    assert re.search(r"crash: serve, process \d+, was killed by signal 11.* at assayd\+0x[0-9a-f]+ \(signature [0-9a-f]{8}\); no report could be kept: ",
                     p.log()), p.log()
    assert serves(lab, p, o)


@seconds(60)
def test_no_descriptors_for_a_successor(lab):
    """What a start takes is short for a moment: it is tried again."""
    o = lab.origin(lambda h, b: ok(b"fine"))
    p = lab.assay()
    old = p.serving()
    was = resource.prlimit(p.proc.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(p.proc.pid, resource.RLIMIT_NOFILE, (5, was[1]))
    os.kill(old, signal.SIGKILL)
    assert wire.wait_for(lambda: "cannot be started" in p.log(), 10), p.log()
    resource.prlimit(p.proc.pid, resource.RLIMIT_NOFILE, was)
    assert wire.wait_for(lambda: " serves, " in p.log(), 20), p.log()
    assert p.alive() and serves(lab, p, o)
