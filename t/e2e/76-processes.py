# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes: each of them dies under load, and only what was in it is lost;
whom they run as; what they hand each other."""
import contextlib
import ctypes
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import threading
import time

import certs
import lab as e2e
import wire
from lab import alone, needs, seconds
from wire import ok

BUILT = e2e.ASSAYD
MANY = 2000                     # names, each with a leaf
OTHER_USER = "daemon"           # somebody who is neither root nor whom the key holder becomes


class Crowd:
    """Clients who connect anew for each request, until told to stop: how many
    were answered, were lost inside a process that died, were refused."""

    def __init__(self, lab, p, one, n=4):
        self.lab, self.p, self.one = lab, p, one
        self.answered, self.lost, self.refused, self.wrong = [], 0, 0, []
        self.stop, self.lock = False, threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(n)]
        for t in self.threads:
            t.start()

    def run(self, number):
        n = 0
        while not self.stop:
            n += 1
            begun = time.monotonic()
            try:
                body = self.one(f"{number}-{n}")
            except ConnectionRefusedError:
                self.refused += 1
                time.sleep(0.01)
                continue
            except (wire.Ended, OSError, wire.ssl.SSLError):
                with self.lock:
                    self.lost += 1
                continue
            with self.lock:
                if body == b"whole":
                    self.answered.append((begun, time.monotonic()))
                else:
                    self.wrong.append(body)

    def more(self, n, seconds=20):
        """So many further answers."""
        had = len(self.answered)
        assert wire.wait_for(lambda: self.wrong or len(self.answered) >= had + n, seconds * e2e.lab_scale()) and not self.wrong, \
            f"{self.wrong[:2]}, {len(self.answered) - had} answers, {self.lost} lost:\n{self.p.log()[-3000:]}"

    def first_after(self, dead):
        """When the first was answered who came after that."""
        def found():
            with self.lock:
                return [ended for begun, ended in self.answered if begun > dead]
        assert wire.wait_for(found, 20 * e2e.lab_scale()), self.p.log()[-3000:]
        return min(found())

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join()
        assert not self.wrong, self.wrong[:3]
        assert self.refused == 0, f"{self.refused} were refused a connection"


def plain(lab, p, o):
    def one(name):
        c = wire.connect(p.addr, 20)
        try:
            c.send(f"GET http://plain.test:{o.port}/{name} HTTP/1.1\r\nHost: plain.test:{o.port}\r\nConnection: close\r\n\r\n")
            r = wire.Response(c)
            return r.body if r.status == 200 and not r.cut else f"{r.status} {r.body[:200]}".encode()
        finally:
            c.close()
    return one


def opened(lab, p, o):
    """By a leaf of its own each time: the key holder is asked."""
    def one(name):
        a, b = name.split("-")
        host = f"h{a}-{int(b) % MANY}.many.test:{o.port}"
        t = wire.Tunnel(p.addr, host, wire.context(p.ca), None, timeout=20)
        try:
            r = t.get(host=host)
            return r.body if r.status == 200 else f"{r.status} {r.body[:200]}".encode()
        finally:
            t.close()
    return one


def dead(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    return True


def followed(p, died):
    """Another process serves, and is ready."""
    assert wire.wait_for(lambda: p.role("serve") not in ([], [died]) and
                         f"process {p.role('serve')[0]} serves" in p.log(), 30 * e2e.lab_scale()), p.log()[-3000:]
    return p.serving()


@alone
@seconds(180)
def test_serve_dies(lab):
    """Nobody is refused a connection, only the flows inside are lost, and
    nothing stays behind. The third death in ten seconds is followed a second
    later: who connects meanwhile waits."""
    o = lab.origin(lambda h, b: ok(b"whole"), tls=None)
    p = lab.assay()
    first = p.serving()
    crowd = Crowd(lab, p, plain(lab, p, o))
    crowd.more(50)
    fds = p.fds()
    times = []
    for how in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT):
        lost, pid = crowd.lost, p.serving()
        os.kill(pid, how)
        assert wire.wait_for(lambda: dead(pid), 10, 0.001)
        when = time.monotonic()
        times.append(crowd.first_after(when) - when)
        assert followed(p, pid) != pid
        crowd.more(30)
        assert crowd.lost - lost <= 4, "more than what was under way"
        assert re.search(rf"crash: serve, process {pid}, was killed by signal {how.value}", p.log()), p.log()[-2000:]
    crowd.end()
    print("# ms to the first answer:", *(round(1000 * t) for t in times))
    assert max(times[:2]) < 2 * e2e.lab_scale() and times[2] > 0.9, times
    assert len(p.role("serve")) == 1 and p.serving() != first and len(p.role("keys")) == 1
    assert wire.wait_for(lambda: p.fds() <= fds + 2, 10 * e2e.lab_scale()), f"{fds} descriptors became {p.fds()}"
    assert p.log().count("ready:") == 1


@alone
@seconds(120)
def test_keys_die(lab):
    """Leaves wait for the next key holder; no flow is lost."""
    lab.hosts.update({f"h{i}-{n}.many.test": "127.0.0.1" for i in range(4) for n in range(MANY)})
    o = lab.origin(lambda h, b: ok(b"whole"), tls=lab.server_context("www.test", sans=["*.many.test"]))
    p = lab.assay()
    crowd = Crowd(lab, p, opened(lab, p, o))
    crowd.more(10)
    for _ in range(2):
        pid = p.role("keys")[0]
        os.kill(pid, signal.SIGKILL)
        assert wire.wait_for(lambda: p.role("keys") not in ([], [pid]), 10 * e2e.lab_scale()), p.log()[-2000:]
        crowd.more(5)
    crowd.end()
    assert crowd.lost == 0, p.log()[-3000:]
    assert len(crowd.answered) < 4 * MANY, "each was for a name of its own"


def taken_over(p, message):
    """Said to the key holder on the socket that the serving process has to it."""
    libc = ctypes.CDLL(None, use_errno=True)
    pid, told = p.serving(), 0
    pidfd = os.pidfd_open(pid)
    for n in map(int, os.listdir(f"/proc/{pid}/fd")):
        fd = libc.syscall(438, pidfd, n, 0)     # pidfd_getfd(2)
        with contextlib.suppress(OSError), socket.socket(fileno=fd) as s:
            if s.family == socket.AF_UNIX and s.type & socket.SOCK_SEQPACKET == socket.SOCK_SEQPACKET and \
                    struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0] != 0 and n > 7:
                s.send(message, socket.MSG_DONTWAIT)
                told += 1
    os.close(pidfd)
    return told


@seconds(120)
@needs("root")
def test_issued(lab):
    """What the key holder signed, and what it refused, is recorded by the
    supervisor, in files that can be rotated, also after a reload, an upgrade
    and the holder's death."""
    own_program(lab)
    lab.hosts.update({f"h{i}.many.test": "127.0.0.1" for i in range(20)})
    o = lab.origin(lambda h, b: ok(b"whole"), tls=lab.server_context("www.test", sans=["*.many.test"]))
    log = lab.dir / "issued.log"
    issued = [{"to": str(log)}, {"to": str(lab.dir / "more.log"), "format": "json"}]

    def conf(**more):
        return {"log": {"access": [{"to": str(lab.dir / "access.log"), "format": "json"}], "issued": issued}, **more}

    more = lab.dir / "more.log"

    def hosts(r):
        return r.get("tls.server.x509.alternative_names")

    def records(n, path=more):
        """Once there are n. A signature that came too late for who waited was
        made again, with another serial: that is one here."""
        def read():
            lines = [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []
            return [r for i, r in enumerate(lines) if i == 0 or hosts(r) is None or hosts(r) != hosts(lines[i - 1])]
        assert wire.wait_for(lambda: len(read()) >= n, 20 * e2e.lab_scale()), f"{read()}\n{p.log()[-2000:]}"
        return read()
    p = lab.assay(**conf())

    def visit(n):
        assert lab.tunnel(p, o.port, host=f"h{n}.many.test").get().body == b"whole"
    visit(0)
    visit(0)
    visit(1)
    got = records(2)
    assert [(r["event.action"], hosts(r)) for r in got] == [("issued", ["h0.many.test"]), ("issued", ["h1.many.test"])], got
    assert got[1]["event.sequence"] > got[0]["event.sequence"] == 1, got
    leaf = lab.tunnel(p, o.port, host="h1.many.test").sock.getpeercert(True)
    text = lab.run("openssl", "x509", "-inform", "DER", "-noout", "-serial", "-enddate", "-dateopt", "iso_8601", data=leaf).stdout.decode()

    def recorded():
        """The leaf in use, in both files."""
        lines = more.read_text().splitlines()
        return log.read_text().splitlines() == lines and any(
            r["tls.server.x509.serial_number"] in text and r["tls.server.x509.not_after"][:10] in text for r in map(json.loads, lines))
    assert wire.wait_for(recorded, 20 * e2e.lab_scale()), (text, more.read_text())
    assert got[0]["process.pid"] == p.role("keys")[0]
    # Rotated.
    log.rename(lab.dir / "issued.1")
    p.signal(signal.SIGUSR1)
    assert wire.wait_for(log.exists, 10 * e2e.lab_scale())
    # After the death of the holder, in the next one's count.
    os.kill(p.role("keys")[0], signal.SIGKILL)
    visit(2)
    last = records(3)[2]
    assert last["event.sequence"] == 1 and hosts(last) == ["h2.many.test"], last
    # After an upgrade, and a reload.
    replace_program(lab)
    upgrade(p, "generation 2 is in force")
    visit(3)
    p.write_conf(lab.conf(p.port, **conf(rules=[{"name": "all", "scan": "none"}])))
    p.reload("generation 3 is in force")
    visit(4)
    names = [n for r in records(5) for n in hosts(r)]
    # A signature that comes too late is asked for once more, and both are counted.
    assert list(dict.fromkeys(names)) == [f"h{n}.many.test" for n in range(5)], names
    # Somebody has taken the serving process over.
    assert wire.wait_for(lambda: len(p.role("serve")) == 1, 60)
    assert taken_over(p, b"\0" * 20)
    assert wire.wait_for(lambda: "refused to sign: not a request of a client; who asked is broken, or was taken over" in p.log(),
                         10 * e2e.lab_scale()), p.log()[-2000:]
    alert = records(6)[5]
    assert (alert["event.kind"], alert["event.action"], alert["event.reason"]) == ("alert", "refused", "not a request of a client"), alert
    assert [hosts(r) for r in records(2, lab.dir / "issued.1")][:2] == [["h0.many.test"], ["h1.many.test"]]


@seconds(120)
def test_all_die(lab):
    """Both at once: the key is loaded, and then somebody serves."""
    o = lab.origin(lambda h, b: ok(b"whole"))
    p = lab.assay()
    for n in range(2):
        serve = p.serving()
        for pid in (*p.role("keys"), serve):
            os.kill(pid, signal.SIGKILL)
        followed(p, serve)
        assert lab.tunnel(p, o.port).get().body == b"whole"
    assert wire.wait_for(lambda: len(p.pids()) == 3, 10), p.pids()


@alone
@seconds(180)
def test_crash_loop(lab):
    """Who dies again and again waits longer and longer; in a long wait nobody
    can connect; then it serves on the same address."""
    o = lab.origin(lambda h, b: ok(b"whole"), tls=None)
    p = lab.assay()
    for n in range(6):
        pid = p.serving()
        os.kill(pid, signal.SIGKILL)
        if n < 5:
            followed(p, pid)
    for n in (1, 2, 4, 8):
        assert wire.wait_for(lambda: f"waiting {n} s" in p.log(), 10 * e2e.lab_scale()), p.log()
    assert "waiting 8 s, nobody can connect" in p.log()
    with socket.socket() as s:
        assert s.connect_ex(p.addr) != 0, "it listens while nobody serves"
    assert p.alive()
    followed(p, pid)
    assert lab.curl(p, f"http://plain.test:{o.port}/").body == b"whole"


def test_state_goes_on(lab):
    """The next process has the configuration in force, its generation, the
    logs as they were opened, and the administration socket."""
    o = lab.origin(lambda h, b: ok(b"whole"), tls=None)
    sock = str(lab.dir / "admin.sock")
    p = lab.assay(admin={"socket": sock})

    def status():
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(sock)
            return json.loads(s.makefile().read())
    p.write_conf(lab.conf(p.port, admin={"socket": sock}, rules=[{"name": "no", "if": {"url": "/no$"}, "access": "block"},
                                                                 {"name": "rest", "scan": "none"}]))
    p.reload("generation 2 is in force")
    # A file that is worse, and not loaded: the process that follows knows nothing of it.
    p.write_conf("nonsense: 1\n")
    p.reload("nothing was changed")
    (lab.dir / "access.log").rename(lab.dir / "access.log.1")
    old = p.serving()
    os.kill(old, signal.SIGKILL)
    followed(p, old)
    assert lab.curl(p, f"http://plain.test:{o.port}/no").status == 403
    p.access(1, path=lab.dir / "access.log.1")
    assert status()["generation"] == 2 and status()["pid"] == p.pid
    # What was counted before is counted still.
    s = status()
    assert (s["processes"]["serve"]["pid"], s["processes"]["serve"]["started"], s["processes"]["serve"]["crashed"]) == (p.serving(), 2, 1), s
    assert s["reloads"] == {"in_force": 2, "begun": 2, "taken": 1, "refused": 1, "last_refused": True} and s["processes"]["keys"] == {"started": 2, "died": 0}, s
    p.signal(signal.SIGUSR1)
    assert wire.wait_for((lab.dir / "access.log").exists, 5)
    for n in range(100):        # the new file is in use a moment after it is there
        assert lab.curl(p, f"http://plain.test:{o.port}/").status == 200
        if (lab.dir / "access.log").stat().st_size:
            break
    p.access(1)
    p.write_conf(lab.conf(p.port, admin={"socket": sock}))
    p.reload("generation 3 is in force")
    assert lab.curl(p, f"http://plain.test:{o.port}/no").status == 200
    p.stop()
    assert not os.path.exists(sock)


def test_dies_in_a_reload(lab):
    """Nothing was changed, it is said, and the reload that was asked for
    meanwhile is made."""
    o = lab.origin(lambda h, b: ok(b"whole"), tls=None)
    p = lab.assay()
    p.write_conf(lab.conf(p.port, rules=[{"name": "no", "access": "block"}]))
    old = p.serving()
    os.kill(old, signal.SIGSTOP)
    p.signal(signal.SIGHUP)
    assert wire.wait_for(lambda: len(p.role("keys")) == 2, 10 * e2e.lab_scale())
    time.sleep(0.3)
    os.kill(old, signal.SIGKILL)
    followed(p, old)
    assert "reload: the serving process has died; nothing was changed" in p.log()
    assert wire.wait_for(lambda: len(p.role("keys")) == 1, 10 * e2e.lab_scale()), "the key holder of what was not loaded stays"
    assert lab.curl(p, f"http://plain.test:{o.port}/").status == 200
    p.reload("generation 2 is in force")
    assert lab.curl(p, f"http://plain.test:{o.port}/").status == 403


def test_start_fails(lab):
    """What only the serving process finds ends the start as before: its words,
    status 1, nothing left."""
    p = lab.assay(wait=False, tls={"origin": {"trust": [str(lab.dir / "root.pem")], "crl": [str(lab.dir / "ca.pem")]}})
    assert p.wait(20) == 1
    p.expect_exit = 1
    assert "ca.pem" in p.log() and "ready" not in p.log(), p.log()
    p = lab.assay(wait=False, ca={"cert": str(lab.dir / "root.pem"), "key": str(lab.dir / "ca.key")})
    assert p.wait(20) == 1
    p.expect_exit = 1
    assert "does not belong to this CA" in p.log() and "ready" not in p.log(), p.log()


def test_supervisor_dies(lab):
    """All end, and what is under way may finish."""
    gate = threading.Event()

    def reply(head, body):
        assert gate.wait(20)
        return ok(b"whole")
    o = lab.origin(reply)
    p = lab.assay()
    t = lab.tunnel(p, o.port)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    wire.wait_for(lambda: o.requests, 5)
    family = p.pids()[1:]
    assert len(family) == 2
    p.expect_exit = -signal.SIGKILL
    os.kill(p.pid, signal.SIGKILL)
    p.wait(10)
    assert wire.wait_for(lambda: "the supervisor is gone" in p.log(), 10)
    gate.set()
    assert wire.Response(t).body == b"whole"
    t.close()

    def gone():
        return not any(os.path.exists(f"/proc/{x}") and "\nState:\tZ" not in pathlib.Path(f"/proc/{x}/status").read_text() for x in family)
    assert wire.wait_for(gone, 10 * e2e.lab_scale())


def test_names_all_that_wait(lab):
    """Each setting that needs a restart is named."""
    p = lab.assay()
    p.write_conf(lab.conf(p.port, workers=3, state=str(lab.dir / "other"), sandbox="off"))
    log = p.reload("nothing was changed")
    named = re.search(r"reload: (.*) cannot change while running", log)[1]
    assert sorted(named.split(", ")) == ["'sandbox'", "'state'"], log
    assert not (lab.dir / "other").exists() and wire.wait_for(lambda: len(p.pids()) == 3, 10)


def accepts(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


@alone
@seconds(120)
def test_listeners_come_and_go(lab):
    """A reload adds and removes listeners and workers: another process serves,
    nobody is refused, what is under way in the old one may finish."""
    gate = threading.Event()

    def reply(head, body):
        if head.start.split()[1] == "/slow":
            assert gate.wait(60)
        return ok(b"whole")
    o = lab.origin(reply)
    plain_origin = lab.origin(lambda h, b: ok(b"whole"), tls=None)
    p = lab.assay(limits={"drain": "20s"})
    other, sock = lab.port(), str(lab.dir / "admin.sock")
    listen = [{"on": f"127.0.0.1:{n}", "kind": "explicit"} for n in (p.port, other)]
    crowd = Crowd(lab, p, plain(lab, p, plain_origin))
    crowd.more(20)
    for n, workers in enumerate((3, 1)):
        old = p.serving()
        t = lab.tunnel(p, o.port)
        t.send(f"GET /slow HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
        assert wire.wait_for(lambda: any(h.start.startswith("GET /slow") for h, *_ in o.requests), 10)
        p.write_conf(lab.conf(p.port, listen=listen, workers=workers, limits={"drain": "20s"}, admin={"socket": sock}))
        log = p.reload(f"generation {n + 2} is in force")
        now = [x for x in p.role("serve") if x != old]
        assert len(now) == 1 and f"in process {now[0]}" in log, (now, log)
        assert f"listen: 127.0.0.1:{other}" in log, log
        crowd.more(20)
        assert accepts(other) and os.path.exists(sock)
        gate.set()
        assert wire.Response(t).body == b"whole"
        t.close()
        assert wire.wait_for(lambda: p.role("serve") == now, 25 * e2e.lab_scale()), "the old one stays"
        gate.clear()
        o.requests.clear()
    assert crowd.lost == 0, p.log()[-2000:]
    crowd.end()
    assert wire.wait_for(lambda: len(p.pids()) == 3, 10), p.pids()
    p.write_conf(lab.conf(other, limits={"drain": "20s"}))
    p.reload("generation 4 is in force")
    assert wire.wait_for(lambda: not accepts(p.port), 5)
    assert accepts(other) and wire.wait_for(lambda: len(p.role("serve")) == 1, 10) and not os.path.exists(sock)
    # One that cannot be had changes nothing.
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        p.write_conf(lab.conf(s.getsockname()[1], workers=1))
        assert "Address already in use" in p.reload("nothing was changed")
    assert accepts(other) and wire.wait_for(lambda: len(p.pids()) == 3, 10), p.pids()
    p.port, p.addr = other, ("127.0.0.1", other)
    assert lab.curl(p, f"http://plain.test:{plain_origin.port}/").body == b"whole"


def test_new_process_fails(lab):
    """What the other serving process finds wrong changes nothing."""
    o = lab.origin(lambda h, b: ok(b"whole"))
    p = lab.assay()
    old = p.pids()
    (lab.dir / "bad.pem").write_bytes(b"nothing")
    p.write_conf(lab.conf(p.port, workers=3, tls={"origin": {"trust": [str(lab.dir / "bad.pem")]}}))
    log = p.reload("nothing was changed")
    assert "bad.pem" in log and "the new serving process ended with status 1" in log, log
    assert wire.wait_for(lambda: p.pids() == old, 10), p.pids()
    assert lab.tunnel(p, o.port).get().body == b"whole"
    p.write_conf(lab.conf(p.port, workers=3))
    p.reload("generation 2 is in force")
    assert lab.tunnel(p, o.port).get().body == b"whole"


def test_systemd_hears(lab):
    """RELOADING with the time, READY when it is true, and in the status line
    what is in force, what was refused, what has died."""
    if "#define HAVE_SYSTEMD 1" not in (e2e.BUILD / "config.h").read_text():
        raise e2e.Skip("built without libsystemd")
    path = str(lab.dir / "notify")
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(path)
    s.settimeout(20)

    def hears(what):
        got = b""
        while what not in got:
            got += s.recv(4096) + b"\n"
        return got
    p = lab.assay(env={"NOTIFY_SOCKET": path})
    hears(b"READY=1\nSTATUS=generation 1 is in force; 0 crashes")
    p.signal(signal.SIGHUP)
    got = hears(b"READY=1\nSTATUS=generation 2 is in force; 0 crashes")
    assert re.search(rb"RELOADING=1\nMONOTONIC_USEC=\d+\n", got), got
    p.write_conf("nonsense: 1\n")
    p.signal(signal.SIGHUP)
    hears(b"READY=1\nSTATUS=generation 2 is in force, the last reload was refused; 0 crashes")
    old = p.serving()
    os.kill(old, signal.SIGKILL)
    hears(b"is in force, the last reload was refused; 1 crashes")
    p.write_conf(lab.conf(lab.port(), workers=1, state=str(lab.dir / "x")))
    p.signal(signal.SIGHUP)
    hears(b"the last reload was refused")
    p.write_conf(lab.conf(p.port, workers=1))
    p.signal(signal.SIGHUP)
    hears(b"STATUS=generation 3 is in force; 1 crashes")


def own_program(lab):
    """A copy of assayd that a test may replace."""
    e2e.ASSAYD = lab.dir / "assayd"
    shutil.copy2(BUILT, e2e.ASSAYD)


def replace_program(lab, with_what=None):
    new = lab.dir / "assayd.new"
    if with_what is None:
        shutil.copy2(BUILT, new)
    else:
        new.write_bytes(with_what)
        new.chmod(0o755)
    new.replace(e2e.ASSAYD)
    return e2e.ASSAYD.stat().st_ino


def upgrade(p, wait):
    had = len(p.log())
    p.signal(signal.SIGUSR2)
    assert wire.wait_for(lambda: wait in p.log()[had:], 20 * e2e.lab_scale()), p.log()[had:]
    return p.log()[had:]


@alone
@seconds(180)
def test_upgrade(lab):
    """Under load, again and again: the same process becomes the new program,
    another one serves, and nobody notices; not who has a tunnel, a download,
    or connects."""
    own_program(lab)
    body = e2e.pattern(20 << 20)
    gate = threading.Event()

    def slow(head, _):
        def send(conn):
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:1 << 20])
            assert gate.wait(60)
            conn.send(body[1 << 20:])
        return send
    big = lab.origin(slow)
    o = lab.origin(lambda h, b: ok(b"whole"))
    plain_origin = lab.origin(lambda h, b: ok(b"whole"), tls=None)
    p = lab.assay(limits={"drain": "60s"})
    crowd = Crowd(lab, p, plain(lab, p, plain_origin))
    crowd.more(20)
    t = lab.tunnel(p, big.port)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    assert wire.wait_for(lambda: big.requests, 10)
    for n in range(2):
        inode, old = replace_program(lab), p.serving() if n == 0 else None
        upgrade(p, f"generation {n + 2} is in force")
        assert os.stat(f"/proc/{p.pid}/exe").st_ino == inode, "the supervisor is the old program"
        newest = max(p.role("serve"), key=lambda x: int(pathlib.Path(f"/proc/{x}/stat").read_text().rsplit(")", 1)[1].split()[19]))
        assert newest != old and os.stat(f"/proc/{newest}/exe").st_ino == inode
        crowd.more(20)
    gate.set()
    r = wire.Response(t)
    assert r.body == body and not r.cut, "the download was cut"
    t.close()
    assert wire.wait_for(lambda: len(p.pids()) == 3, 20 * e2e.lab_scale()), p.pids()
    # What was known before is known to the new one.
    old = p.serving()
    os.kill(old, signal.SIGKILL)
    followed(p, old)
    crowd.more(10)
    crowd.end()
    p.write_conf(lab.conf(p.port, rules=[{"name": "no", "access": "block"}]))
    p.reload("generation 4 is in force")
    assert lab.curl(p, f"http://plain.test:{plain_origin.port}/").status == 403
    assert p.log().count("ready:") == 1


@seconds(120)
def test_log_of_one_that_ends(lab):
    """Opened again, too: a record of a flow that takes long goes into the file
    that is there when it ends."""
    gate = threading.Event()

    def reply(head, body):
        assert gate.wait(60)
        return ok(b"whole")
    o = lab.origin(reply, tls=None)
    p = lab.assay(limits={"drain": "60s"})
    c = wire.connect(p.addr, 60)
    c.send(f"GET http://plain.test:{o.port}/slow HTTP/1.1\r\nHost: plain.test:{o.port}\r\nConnection: close\r\n\r\n")
    assert wire.wait_for(lambda: o.requests, 10)
    old = p.serving()
    p.write_conf(lab.conf(p.port, limits={"drain": "60s"}, workers=1))
    p.reload("generation 2 is in force")
    log, put_away = lab.dir / "access.log", lab.dir / "access.log.1"

    def uses(pid, path):
        """The process has it open (its name is looked at, not its number)."""
        return any(os.path.realpath(f"/proc/{pid}/fd/{n}") == str(path.resolve()) for n in os.listdir(f"/proc/{pid}/fd"))
    assert old in p.role("serve") and uses(old, log)
    log.rename(put_away)
    p.signal(signal.SIGUSR1)
    assert wire.wait_for(lambda: log.exists() and uses(old, log) and not uses(old, put_away), 20 * e2e.lab_scale())
    gate.set()
    assert wire.Response(c).body == b"whole"
    c.close()
    r, = p.access(1)
    assert "/slow" in r["url.full"] and "/slow" not in put_away.read_text(), r


@seconds(120)
def test_tickets_go_on(lab):
    """A client resumes with the serving process that follows: in a reload, also
    one that takes another process, after a crash and an upgrade. Not under
    another CA."""
    own_program(lab)
    o = lab.origin(lambda h, b: ok(b"whole"))
    p = lab.assay()

    def visit(ctx, session, status=200):
        raw = wire.connect(p.addr, 20)
        raw.send(f"CONNECT www.test:{o.port} HTTP/1.1\r\nHost: www.test:{o.port}\r\n\r\n")
        assert wire.Response(raw, "CONNECT").status == 200
        s = ctx.wrap_socket(raw.sock, server_hostname="www.test", session=session)
        c = wire.Conn(s)
        c.send(f"GET / HTTP/1.1\r\nHost: www.test:{o.port}\r\n\r\n")
        assert wire.Response(c).status == status
        out = s.session, s.session_reused
        c.close()
        return out

    def reload(**conf):
        p.write_conf(lab.conf(p.port, **conf))
        p.reload("is in force")
        # What has been accepted by the process before is its own.
        assert wire.wait_for(lambda: len(p.role("serve")) == 1, 30 * e2e.lab_scale())

    def crash():
        pid = p.serving()
        os.kill(pid, signal.SIGKILL)
        followed(p, pid)

    def upgraded():
        replace_program(lab)
        upgrade(p, "is in force")
        assert wire.wait_for(lambda: len(p.role("serve")) == 1, 30 * e2e.lab_scale())
    for newest in (wire.ssl.TLSVersion.TLSv1_2, wire.ssl.TLSVersion.TLSv1_3):
        ctx = wire.context(p.ca, maximum=newest)
        session = visit(ctx, None)[0]
        for what, do in (("nothing", lambda: None), ("reload", reload), ("another process", lambda: reload(workers=1)), ("crash", crash),
                         ("upgrade", upgraded), ("reload after that", lambda: reload(workers=2))):
            with lab.sub(f"{newest.name}, {what}"):
                do()
                session, resumed = visit(ctx, session)
                assert resumed, p.log()[-2000:]
    # Rules of now hold for who resumes.
    reload(rules=[{"name": "no", "access": "block"}])
    session, resumed = visit(ctx, session, 403)
    assert resumed
    # Under another CA there is no ticket of the one before.
    cert, key = certs.make_ca("another CA")
    (lab.dir / "other.pem").write_bytes(certs.pem(cert))
    (lab.dir / "other.key").write_bytes(certs.pem(key))
    (lab.dir / "other.key").chmod(0o600)
    reload(ca={"cert": str(lab.dir / "other.pem"), "key": str(lab.dir / "other.key")})
    ctx.load_verify_locations(str(lab.dir / "other.pem"))
    assert visit(ctx, session)[1] is False


def test_upgrade_to_nothing(lab):
    """A program that is broken, or that finds the configuration wrong, is not
    gone over to."""
    own_program(lab)
    o = lab.origin(lambda h, b: ok(b"whole"))
    p = lab.assay()
    family, exe = p.pids(), os.stat(f"/proc/{p.pid}/exe").st_ino
    for what, says in ((b"#!/bin/false\n", "its --check: ended with status 1"), (b"nonsense", "Exec format error")):
        with lab.sub(what):
            replace_program(lab, what)
            assert "nothing was changed" in upgrade(p, says)
    replace_program(lab)
    p.write_conf("nonsense: 1\n")
    assert "nothing was changed" in upgrade(p, "its --check: ended with status 1")
    assert wire.wait_for(lambda: p.pids() == family, 10) and os.stat(f"/proc/{p.pid}/exe").st_ino == exe
    assert lab.tunnel(p, o.port).get().body == b"whole"
    e2e.ASSAYD.unlink()
    upgrade(p, "nothing was changed")
    assert lab.tunnel(p, o.port).get().body == b"whole"


@alone
@seconds(240)
@needs("clamav")
def test_not_ready_in_time(lab):
    """What does not come up within limits.start is ended, what was in force goes
    on, and the next reload is taken: in the process that serves, in one beside
    it, and in an upgrade."""
    own_program(lab)
    gate = threading.Event()

    def reply(head, body):
        assert gate.wait(120)
        return ok(b"whole")
    o = lab.origin(lambda h, b: ok(b"whole"), tls=None)
    slow = lab.origin(reply, tls=None)
    start = {"start": f"{int(5 * e2e.lab_scale())}s", "drain": "60s"}
    # Who opens it for reading waits until somebody writes.
    (lab.dir / "database").mkdir()
    os.mkfifo(lab.dir / "database" / "hangs.hdb")
    hangs = {"clam": {"url": f"clamav:{lab.dir}/database", "mode": "resp", "isolation": "thread"}}
    # In the box of one that may scan itself, so that a reload is tried in it.
    p = lab.assay(limits=start, services=hangs, rules=[{"name": "default", "scan": "none"}])

    def serves():
        assert lab.curl(p, f"http://plain.test:{o.port}/").body == b"whole"

    def refused(signal_, conf, says):
        had = len(p.log())
        p.write_conf(lab.conf(p.port, limits=start, services=hangs, scan={"x": ["clam"]}, rules=[{"name": "all", "scan": ["x"]}],
                              **conf))
        p.signal(signal_)
        assert wire.wait_for(lambda: says in p.log()[had:], 60 * e2e.lab_scale()), p.log()[had:]
        assert "nothing was changed" in p.log()[had:]
        serves()
    first = p.serving()
    refused(signal.SIGHUP, {"workers": 1}, "the new serving process was not ready in time")
    assert wire.wait_for(lambda: len(p.pids()) == 3, 20 * e2e.lab_scale()) and p.serving() == first, p.pids()
    hangs["clam"]["isolation"] = "process"      # the supervisor's scan master
    refused(signal.SIGHUP, {}, "not ready in time")
    assert wire.wait_for(lambda: len(p.pids()) == 3, 20 * e2e.lab_scale()) and p.serving() == first, p.pids()
    hangs["clam"]["isolation"] = "thread"
    refused(signal.SIGUSR2, {}, "its --check: took too long")
    assert wire.wait_for(lambda: len(p.pids()) == 3, 20 * e2e.lab_scale()) and p.serving() == first, p.pids()
    c = wire.connect(p.addr, 60)
    c.send(f"GET http://plain.test:{slow.port}/ HTTP/1.1\r\nHost: plain.test:{slow.port}\r\n\r\n")
    assert wire.wait_for(lambda: slow.requests, 10)
    refused(signal.SIGHUP, {}, "did not answer in time, and is replaced")
    assert wire.wait_for(lambda: re.search(r"serve: process \d+, as .*\n(.*\n)*.*serve: process \d+, as ", p.log()), 20 * e2e.lab_scale())
    gate.set()
    assert wire.Response(c).body == b"whole", "the flow in the process that is stuck"
    c.close()
    p.write_conf(lab.conf(p.port, limits=start, rules=[{"name": "no", "access": "block"}]))
    assert wire.wait_for(lambda: len(p.role("serve")) == 2, 20 * e2e.lab_scale())
    p.reload("is in force")
    assert wire.wait_for(lambda: lab.curl(p, f"http://plain.test:{o.port}/").status == 403, 20 * e2e.lab_scale())
    for pid in p.role("serve"):     # not waited for until its drain is over
        if pid == first:
            os.kill(pid, signal.SIGKILL)
    assert wire.wait_for(lambda: len(p.role("serve")) == 1, 20 * e2e.lab_scale()), p.pids()


def ctl(lab, *argv, **kw):
    r = lab.run(e2e.BUILD / "assayctl", *argv, **kw)
    return r.returncode, r.stdout.decode(), r.stderr.decode()


@seconds(120)
def test_assayctl_check_and_stop(lab):
    """The configuration is looked at without assayd; stop waits for its end."""
    o = lab.origin(lambda h, b: ok(b"x" * 1000))
    sock = str(lab.dir / "admin.sock")
    p = lab.assay(admin={"socket": sock})
    bad = lab.dir / "bad.conf"
    bad.write_text("rules: [{access: blok}]\n")
    code, out, err = ctl(lab, "-f", str(bad), "check")
    assert code == 1 and "bad.conf:1:" in out + err, (code, out, err)
    code, out, err = ctl(lab, "-f", str(lab.dir / f"assay-{p.port}.conf"), "check")
    assert code == 0, (code, out, err)
    assert p.alive() and lab.tunnel(p, o.port).get().status == 200
    assert ctl(lab, "-s", sock, "--json", "stop")[:2] == (0, '{"ok":true}\n')
    assert p.wait(20 * e2e.lab_scale()) == 0
    assert ctl(lab, "-s", sock, "stop")[0] == 3


def test_assayctl(lab):
    """It waits until the configuration is in force, in the process that serves or
    in another, and says what came of it: also when others reload, too."""
    o = lab.origin(lambda h, b: ok(b"whole"), tls=None)
    sock = str(lab.dir / "admin.sock")
    p = lab.assay(admin={"socket": sock})

    def conf(**more):
        p.write_conf(lab.conf(p.port, admin={"socket": sock}, **more))
    file = str(lab.dir / f"assay-{p.port}.conf")
    for n, (how, status, workers) in enumerate([("block", 403, 2), ("allow", 200, 3), ("block", 403, 3), ("allow", 200, 1)], 2):
        conf(rules=[{"name": "all", "access": how, "scan": "none"}], workers=workers)
        assert ctl(lab, "-f", file, "reload") == (0, f"generation {n - 1} -> {n}\n", "")
        # Who was accepted by the process before in that moment is served by it.
        assert wire.wait_for(lambda: lab.curl(p, f"http://plain.test:{o.port}/").status == status, 5 * e2e.lab_scale())
    code, out, err = ctl(lab, "-s", sock, "--json", "reload")
    assert (code, json.loads(out), err) == (0, {"ok": True, "generation": 6}, "")
    # Refused: by the supervisor, by the process that serves, for what waits for a restart.
    for wrong in ({"limits": {"nonsense": 1}}, {"tls": {"origin": {"trust": [file]}}}, {"state": str(lab.dir / "other")}):
        conf(workers=1, **wrong)
        assert ctl(lab, "-s", sock, "reload") == (1, "", "assayctl: the reload was refused, generation 6 is in force; the log says why\n"), wrong
    conf(workers=1)
    # Several at once: each is told of one that began behind it.
    at_once = [subprocess.Popen([e2e.BUILD / "assayctl", "-s", sock, "reload"], stdout=subprocess.PIPE) for _ in range(4)]
    for x in at_once:
        assert x.wait(60) == 0 and b"-> " in x.communicate()[0]
    code, out, err = ctl(lab, "status", env={**os.environ, "ASSAY_SOCKET": sock})
    assert code == 0 and json.loads(out)["reloads"]["refused"] == 3, out
    assert ctl(lab, "-s", str(lab.dir / "none"), "reload")[0] == 3 and ctl(lab, "-s", sock, "relaod")[0] == ctl(lab)[0] == 2


def user_lab(lab):
    """Folders that OTHER_USER may enter; his uid."""
    if os.geteuid() != 0:
        raise e2e.Skip("needs root")
    for d in (lab.dir, lab.dir.parent):
        d.chmod(d.stat().st_mode | 0o055)
    return pwd.getpwnam(OTHER_USER).pw_uid


def test_user(lab):
    """Started by root it serves as somebody else, who gets at his temporary
    folder and at neither key nor configuration; also in a state folder that
    root has used before, and after a crash."""
    uid = user_lab(lab)
    o = lab.origin(lambda h, b: ok(b"whole"))
    state = lab.state()
    state.chmod(0o700)
    (state / "tmp").mkdir(mode=0o700)
    p = lab.assay(user=OTHER_USER, ca=None)
    p.ca = str(state / "ca.pem")
    for again in range(2):
        pid = p.serving()
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
        assert re.search(rf"^Uid:\t{uid}\t{uid}\t{uid}\t{uid}$", text, re.M), text
        assert re.search(r"^Groups:\t *$", text, re.M) and re.search(r"^CapPrm:\t0+$", text, re.M), text
        assert re.search(r"^NoNewPrivs:\t1$", text, re.M), text
        assert lab.tunnel(p, o.port).get().body == b"whole"
        p.access(1 + again)
        if again == 0:
            p.reload("generation 2 is in force")
            os.kill(pid, signal.SIGKILL)
            followed(p, pid)
    assert f"as user {OTHER_USER}" in p.log()
    assert stat.S_IMODE(state.stat().st_mode) == 0o750 and state.stat().st_uid == 0
    assert (state / "tmp").stat().st_uid == uid and stat.S_IMODE((state / "tmp").stat().st_mode) == 0o700
    assert (state / "ca.key").stat().st_uid == 0 and stat.S_IMODE((state / "ca.key").stat().st_mode) == 0o600


def test_user_spills(lab):
    """Bodies find room in files of the serving process's own."""
    user_lab(lab)
    body = e2e.pattern(20 << 20)
    o = lab.origin(lambda h, b: ok(body))
    p = lab.assay(user=OTHER_USER, limits={"body_memory": "64K"})
    r = lab.curl(p, f"https://www.test:{o.port}/")
    assert r.body == body


def test_user_cannot_read(lab):
    """A file that only root may read is opened by the supervisor, for the start
    and for a reload."""
    user_lab(lab)
    o = lab.origin(lambda h, b: ok(b"whole"))
    secret = lab.dir / "trust.pem"
    secret.touch(0o600)
    secret.write_bytes((lab.dir / "root.pem").read_bytes())
    p = lab.assay(user=OTHER_USER, tls={"origin": {"trust": [str(secret)]}})
    pid = p.serving()
    assert lab.tunnel(p, o.port).get().body == b"whole"
    p.reload("generation 2 is in force")
    assert lab.tunnel(p, o.port).get().body == b"whole"
    secret.write_text("no certificate")
    log = p.reload("nothing was changed")
    assert "trust.pem" in log, log
    assert lab.tunnel(p, o.port).get().body == b"whole" and p.serving() == pid


def test_user_unknown(lab):
    code, out, _ = lab.check(lab.conf(lab.port(), user="nobody-of-that-name"))
    assert code == 1 and "there is no user 'nobody-of-that-name'" in out, out
