# SPDX-License-Identifier: GPL-2.0-or-later
"""libclamav in processes of its own: what is killed, crashes, stops or hangs
costs its body alone, and nothing of it is called clean."""
import contextlib
import os
import pathlib
import shutil
import signal
import threading
import time

import lab as e2e
import wire
from growth import clam_folder
from lab import EICAR, TESTDB, field, needs, pattern, seconds, sha
from wire import Response, ok

CLAM = {"url": f"clamav:{TESTDB}", "mode": "both"}
GOOD = pattern(3000)


def called(p, name):
    """Processes of assayd's family by what they call themselves."""
    out = []
    for pid in p.pids():
        try:
            if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == name:
                out.append(pid)
        except OSError:
            pass
    return out


def scanners(p):
    return called(p, "assayd: scanner"[:15])


def masters(p):
    return called(p, "assayd: clam")


def ticks(pid):
    try:
        f = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return int(f[11]) + int(f[12])
    except OSError:
        return 0




class Lab:
    def __init__(self, lab, **service):
        self.lab = lab
        self.bodies = {"good": GOOD, "eicar": EICAR, "slow": pattern(60 << 20)}
        o = lab.origin(lambda h, b: ok(self.bodies[h.start.split()[1].lstrip("/").split("?")[0]]), timeout=120)
        self.o = o
        self.p = lab.assay(services={"clam": dict(CLAM, **service)}, rules=[{"name": "all", "scan": ["clam"]}])
        self.get = lambda name: lab.tunnel(self.p, o.port, timeout=100).get("/" + name)

    def begin_slow(self):
        """A body that is being scanned; its tunnel and the scanner that has it."""
        before = {pid: ticks(pid) for pid in scanners(self.p)}
        t = self.lab.tunnel(self.p, self.o.port, timeout=100)
        t.send(f"GET /slow HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
        found = []

        def busy():
            found[:] = [pid for pid in scanners(self.p) if ticks(pid) > before.get(pid, 0) + 10]
            return found
        assert wire.wait_for(busy, 60 * e2e.lab_scale()), "no scanner works"
        return t, found[0]

    def goods(self, n):
        """Bodies of others, at the same time; their answers."""
        out = []

        def one():
            r = self.get("good")
            out.append((r.status, sha(r.body) == sha(GOOD)))
        threads = [threading.Thread(target=one) for _ in range(n)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return out

    def is_well(self):
        """Within a while: who cannot make a scanner waits before it tries again."""
        assert wire.wait_for(lambda: self.get("good").status == 200, 30 * e2e.lab_scale(), 0.2)
        assert self.get("eicar").status == 403


@needs("clamav")
def test_both_ways(lab):
    """process, which is the default, and thread, which says so."""
    for isolation in (None, "process", "thread"):
        with lab.sub(str(isolation)):
            l = Lab(lab, **({"isolation": isolation} if isolation else {}))
            l.is_well()
            assert ("inside this process" in l.p.log()) == (isolation == "thread")
            assert len(masters(l.p)) == (isolation != "thread")


@needs("clamav")
@seconds(240)
def test_scanner_dies(lab):
    """SEGV and KILL beside fifty others."""
    for sig in (signal.SIGSEGV, signal.SIGKILL):
        with lab.sub(sig.name):
            l = Lab(lab)
            l.is_well()
            t, pid = l.begin_slow()
            os.kill(pid, sig)
            got = l.goods(50)
            assert got == [(200, True)] * 50, got
            r = Response(t)
            assert r.status == 403 or r.cut, r
            assert f"scanner crashed: {sig.name[3:]}" in l.p.log(), l.p.log()
            l.is_well()


@needs("clamav")
@seconds(240)
def test_scanner_stops(lab):
    """One that stands still is killed a second behind the deadline."""
    l = Lab(lab, limits={"time": "8s"})
    t, pid = l.begin_slow()
    os.kill(pid, signal.SIGSTOP)
    assert l.goods(10) == [(200, True)] * 10
    r = Response(t)
    assert r.status == 403 or r.cut, r              # it may have begun to trickle
    assert wire.wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 10), "it is there still"
    rec = [r for r in l.p.access(11) if str(field(r, "url.full")).endswith("/slow")][0]
    assert [s for s in field(rec, "assay.scan") if s["mode"] == "resp"][0]["gap"] == "time", rec
    l.is_well()


@needs("clamav")
@seconds(240)
def test_master_dies(lab):
    """Its scanners end with it, another one comes, and bodies that wait have it."""
    for sig in (signal.SIGKILL, signal.SIGSEGV):
        with lab.sub(sig.name):
            l = Lab(lab)
            l.is_well()
            t, _ = l.begin_slow()
            old = scanners(l.p)
            os.kill(masters(l.p)[0], sig)
            got = l.goods(20)
            assert got == [(200, True)] * 20, got
            r = Response(t)
            assert r.status == 403 or r.cut, r
            assert "the scan master was killed" in l.p.log()
            assert wire.wait_for(lambda: not any(os.path.exists(f"/proc/{x}") for x in old), 10)
            l.is_well()


@needs("clamav")
@seconds(240)
def test_many_deaths(lab):
    """Scanners are killed one after another: each good body is found good or
    is refused, the virus never passes, and nothing is left over."""
    l = Lab(lab)
    l.is_well()
    stop = threading.Event()

    def killer():
        while not stop.is_set():
            for pid in scanners(l.p):
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            time.sleep(0.05)
    k = threading.Thread(target=killer)
    k.start()
    try:
        for _ in range(30):
            r = l.get("good")
            assert r.status in (200, 403, 503) and (r.status != 200 or sha(r.body) == sha(GOOD)), r
            assert l.get("eicar").status in (403, 503)
    finally:
        stop.set()
        k.join()
    l.is_well()
    assert wire.wait_for(lambda: len(masters(l.p)) == 1 and len(scanners(l.p)) <= 6, 20)


@needs("clamav")
@seconds(120)
def test_archive_past_its_deadline(lab):
    """What inflates for longer than limits.time ends, and is not clean."""
    l = Lab(lab, limits={"time": "300ms"})
    begun = time.monotonic()
    assert l.get("slow").status == 403
    rec = [r for r in l.p.access(1) if str(field(r, "url.full")).endswith("/slow")][0]
    assert [s for s in field(rec, "assay.scan") if s["mode"] == "resp"][0]["gap"] == "time", rec
    assert time.monotonic() - begun < 60 * e2e.lab_scale()
    assert l.get("good").status == 200


@needs("clamav")
@seconds(120)
def test_database_changes(lab):
    """Another master loads it while the old one serves, and then that one goes."""
    db = lab.dir / "db"
    shutil.copytree(TESTDB, db)
    l = Lab(lab, url=f"clamav:{db}")
    old = masters(l.p)
    stop, bad = threading.Event(), []

    def load():
        while not stop.is_set():
            r = l.get("good")
            if r.status != 200 and not found:
                bad.append(r.status)
    found = []
    ts = [threading.Thread(target=load) for _ in range(4)]
    for t in ts:
        t.start()
    try:
        (db / "more.ndb").write_text(f"Lab.Good:0:*:{GOOD[:40].hex()}\n")

        def seen():
            s = l.get("good").status
            if s == 403:
                found.append(s)
            return s == 403
        assert wire.wait_for(seen, 60 * e2e.lab_scale()), "the new signature is not in force"
    finally:
        stop.set()
        for t in ts:
            t.join()
    assert all(s == 403 for s in bad), bad
    assert wire.wait_for(lambda: len(masters(l.p)) == 1 and masters(l.p) != old, 20 * e2e.lab_scale()), masters(l.p)
    assert "database reloaded" in l.p.log()


@needs("clamav")
def test_nothing_is_left(lab):
    """No process and no folder, once it has ended."""
    l = Lab(lab)
    l.is_well()
    folder, family = clam_folder(l.p), masters(l.p) + scanners(l.p)
    assert os.path.isdir(folder) and len(family) >= 2
    l.p.stop()
    assert wire.wait_for(lambda: not any(os.path.exists(f"/proc/{x}") for x in family), 10)
    assert not os.path.exists(folder)


def names_of(pid):
    names = []
    for x in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            names.append(os.readlink(f"/proc/{pid}/fd/{x}"))
    return names


@needs("clamav")
def test_rights(lab):
    """A scanner has a socket and no files, no new rights, and a filter."""
    l = Lab(lab)
    l.is_well()
    for pid in scanners(l.p):
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status, status
        assert "CapEff:\t0000000000000000" in status, status
        # it proves itself first, with files of its own in the folder
        assert wire.wait_for(lambda: len(names_of(pid)) <= 5, 20 * e2e.lab_scale()), names_of(pid)
        names = names_of(pid)
        assert sum(n.startswith("socket:") for n in names) == 1, names
        assert sum("assay-crash" in n for n in names) == 1, names
