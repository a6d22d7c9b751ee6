# SPDX-License-Identifier: GPL-2.0-or-later
"""Scan masters are the supervisor's: a database outlives who serves, two that
serve share it, and in whatever order processes die nothing is left over."""
import contextlib
import os
import pathlib
import shutil
import signal
import tempfile
import threading
import time

import lab as e2e
import wire
from growth import clam_folder
from lab import EICAR, TESTDB, needs, pattern, seconds, sha
from wire import Response, ok

GOOD = pattern(3000)
BUILT = e2e.ASSAYD
# Of a real database's size: what it costs to load.
SIGNATURES = int(os.environ.get("ASSAY_SIGNATURES", "20000"))


def gone(pids):
    return not any(os.path.exists(f"/proc/{x}") for x in pids)


class Lab:
    def __init__(self, lab, db=TESTDB, limits=None, **service):
        self.lab, self.db, self.service, self.limits = lab, db, service, limits or {}
        self.gate = threading.Event()

        def reply(head, body):
            what = head.start.split()[1].lstrip("/").split("?")[0]
            if what == "wait":
                self.gate.wait(100)
            return ok({"good": GOOD, "wait": GOOD, "eicar": EICAR}[what])
        self.o = lab.origin(reply, timeout=120)
        self.p = lab.assay(**self.conf())

    def conf(self, **more):
        clam = dict({"url": f"clamav:{self.db}", "mode": "both", "cache": "off"}, **self.service)
        return dict(services={"clam": clam}, rules=[{"name": "all", "scan": ["clam"]}], limits=self.limits, **more)

    def reload(self, wait, **more):
        self.p.write_conf(self.lab.conf(self.p.port, **self.conf(**more)))
        self.p.reload(wait)

    def get(self, name):
        with contextlib.closing(self.lab.tunnel(self.p, self.o.port, timeout=100)) as t:
            return t.get("/" + name)

    def called(self, name):
        out = []
        for pid in self.p.pids():
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == name:
                    out.append(pid)
        return out

    def masters(self):
        return self.called("assayd: clam")

    def scanners(self):
        return self.called("assayd: scanner"[:15])

    def is_well(self):
        """Within a while: nothing passes that is not good, before and after."""
        def good():
            with contextlib.suppress(wire.Ended, OSError):
                r = self.get("good")
                assert r.status != 200 or sha(r.body) == sha(GOOD), r
                return r.status == 200
        assert wire.wait_for(good, 60 * e2e.lab_scale(), 0.2), self.p.log()[-3000:]
        assert self.get("eicar").status == 403

    def says(self, text, had=0, seconds=60):
        assert wire.wait_for(lambda: text in self.p.log()[had:], seconds * e2e.lab_scale()), self.p.log()[had:]


def large_database(folder, n):
    """Signatures of many kinds that nothing here matches."""
    folder.mkdir()
    for f in pathlib.Path(TESTDB).iterdir():
        shutil.copy(f, folder)
    with (folder / "many.hdb").open("w") as f:
        for i in range(n // 2):
            f.write(f"{sha(b'h%d' % i)[:32]}:{1000 + i % 5000}:Lab.Hash-{i}\n")
    with (folder / "many.ndb").open("w") as f:
        for i in range(n * 11 // 30):
            f.write(f"Lab.Body-{i}:0:*:{sha(b'b%d' % i)[:40]}\n")
    with (folder / "many.ldb").open("w") as f:
        for i in range(n * 4 // 30):
            f.write(f"Lab.Logical-{i};Engine:51-255,Target:0;0&1;{sha(b'l%d' % i)[:32]};{sha(b'm%d' % i)[:32]}\n")
    return folder


@needs("clamav")
@seconds(300)
def test_database_outlives_who_serves(lab):
    """Whatever it dies of, its successor loads nothing, and scans."""
    l = Lab(lab, large_database(lab.dir / "db", SIGNATURES))
    l.is_well()
    masters, took = l.masters(), []
    assert len(masters) == 1, masters
    for sig in (signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT):
        serve, old = l.p.serving(), l.scanners()
        assert old
        dead = time.monotonic()
        os.kill(serve, sig)
        while True:
            try:
                if l.get("good").status == 200:
                    break
            except (wire.Ended, OSError):
                pass
            assert time.monotonic() < dead + 60 * e2e.lab_scale(), l.p.log()[-3000:]
        took.append(time.monotonic() - dead)
        l.is_well()
        assert l.p.serving() != serve and l.masters() == masters
        assert wire.wait_for(lambda: gone(old), 20 * e2e.lab_scale()), "scanners of the dead"
    assert "database reloaded" not in l.p.log()
    print("# answered after", [f"{x * 1000:.0f} ms" for x in took])


@needs("clamav")
@seconds(240)
def test_two_that_serve_share_it(lab):
    """A reload in place, and one in another process while the old one still has
    a flow: one master, and both scan; another database is another master."""
    db = lab.dir / "db"
    shutil.copytree(TESTDB, db)
    l = Lab(lab, db, limits={"drain": "100s"})
    l.is_well()
    masters = l.masters()
    l.reload("generation 2 is in force", log={"issued": []})
    l.is_well()
    assert l.masters() == masters and "database reloaded" not in l.p.log()
    t = lab.tunnel(l.p, l.o.port, timeout=100)
    t.send(f"GET /wait HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    assert wire.wait_for(lambda: any("/wait" in str(r) for r in l.o.requests), 20 * e2e.lab_scale()), l.o.requests
    l.reload("generation 3 is in force", workers=1)
    assert len(l.p.role("serve")) == 2
    l.is_well()
    assert l.masters() == masters
    l.gate.set()
    r = Response(t)
    assert r.status == 200 and sha(r.body) == sha(GOOD), r
    t.close()
    assert wire.wait_for(lambda: len(l.p.role("serve")) == 1, 60 * e2e.lab_scale())
    l.db = TESTDB
    l.reload("generation 4 is in force", workers=1)
    l.is_well()
    assert wire.wait_for(lambda: len(l.masters()) == 1 and l.masters() != masters, 60 * e2e.lab_scale()), l.masters()


@needs("clamav")
@seconds(240)
def test_upgrade(lab):
    """The next program has the masters of the one before, and may lose them."""
    e2e.ASSAYD = lab.dir / "assayd"
    shutil.copy2(BUILT, e2e.ASSAYD)
    l = Lab(lab)
    l.is_well()
    masters = l.masters()
    for n in (2, 3):
        shutil.copy2(BUILT, lab.dir / "assayd.new")
        (lab.dir / "assayd.new").replace(e2e.ASSAYD)
        had = len(l.p.log())
        l.p.signal(signal.SIGUSR2)
        l.says(f"generation {n} is in force", had)
        l.is_well()
        assert wire.wait_for(lambda: len(l.p.role("serve")) == 1, 60 * e2e.lab_scale())
        assert l.masters() == masters, l.p.log()
    os.kill(masters[0], signal.SIGKILL)
    l.says("the scan master was killed")
    l.is_well()
    assert len(l.masters()) == 1 and l.masters() != masters


@needs("clamav")
@seconds(240)
def test_stands_still(lab):
    """A master that does not move is seen, though nobody asks it for anything."""
    l = Lab(lab)
    l.is_well()
    masters = l.masters()
    os.kill(masters[0], signal.SIGSTOP)
    l.says("the scan master does not answer")
    l.is_well()
    assert wire.wait_for(lambda: gone(masters) and len(l.masters()) == 1, 60 * e2e.lab_scale())


@needs("clamav")
@seconds(240)
def test_crashes_are_reported(lab):
    """Of a scanner and of a master, as of who serves; three make a fresh master."""
    l = Lab(lab)
    l.is_well()
    masters = l.masters()
    crash = lab.dir / "state" / "crash"
    for n in range(3):
        pid = l.scanners()[0]
        os.kill(pid, signal.SIGSEGV)
        assert wire.wait_for(lambda: list(crash.glob(f"*-scanner-{pid}")), 30 * e2e.lab_scale()), l.p.log()
        if n == 0:
            text = list(crash.glob(f"*-scanner-{pid}"))[0].read_text()
            assert "signal SIGSEGV sent by process" in text and "thread scanner" in text and "frame " in text, text
        l.is_well()
    l.says("another scan master takes over")
    assert wire.wait_for(lambda: len(l.masters()) == 1 and l.masters() != masters, 60 * e2e.lab_scale()), l.masters()
    pid = l.masters()[0]
    os.kill(pid, signal.SIGSEGV)
    assert wire.wait_for(lambda: list(crash.glob(f"*-clam-{pid}")), 30 * e2e.lab_scale()), l.p.log()
    assert "frame " in list(crash.glob(f"*-clam-{pid}"))[0].read_text()
    l.is_well()


@needs("clamav")
@seconds(300)
def test_nothing_is_left(lab):
    """SIGKILL in any order; the last one may leave within its ten seconds."""
    orders = (("supervisor",), ("serve", "supervisor"), ("supervisor", "serve"), ("master", "supervisor"), ("supervisor", "master"),
              ("scanner", "master", "serve", "supervisor"))
    for order in orders:
        with lab.sub(", ".join(order)):
            l = Lab(lab)
            l.is_well()
            one = {"supervisor": [l.p.pid], "serve": [l.p.serving()], "master": l.masters(), "scanner": l.scanners()}
            family = l.p.pids()
            l.p.expect_exit = -signal.SIGKILL
            for who in order:
                for pid in one[who]:
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
            l.p.proc.wait()
            assert wire.wait_for(lambda: gone(family), 60 * e2e.lab_scale()), [x for x in family if not gone([x])]


@needs("clamav")
@seconds(180)
def test_keys_die_before_they_are_handed_over(lab):
    """A reload whose key holder dies while its database loads waits for the
    holder that follows: in the process that serves, and in one beside it."""
    key, away = lab.dir / "ca.key", lab.dir / "ca.away"
    gate = lab.dir / "gate"
    l = Lab(lab)
    l.is_well()
    for n, more in enumerate(({}, {"workers": 1})):
        db = lab.dir / f"db{n}"
        shutil.copytree(TESTDB, db)
        os.mkfifo(db / "waits.hdb")         # who opens it waits for a writer
        old, first, had = l.p.role("keys"), l.p.serving(), len(l.p.log())
        l.db = db
        l.p.write_conf(lab.conf(l.p.port, **l.conf(**more)))
        l.p.signal(signal.SIGHUP)
        assert wire.wait_for(lambda: len(l.p.role("keys")) == 2 and len(l.masters()) == 2, 20 * e2e.lab_scale()), l.p.log()[had:]
        l.says("sandbox: keys:", had)       # it has its key
        new, = set(l.p.role("keys")) - set(old)
        key.rename(away)                    # so the next one has none for a while
        os.kill(new, signal.SIGKILL)
        l.says("another one is started", had)
        # Who waits gets its end, and who opens it again a file.
        text = f"{sha(b'waits')[:32]}:1000:Lab.Waits\n"
        (db / "waits.hdb").rename(gate)
        (db / "waits.hdb").write_text(text)
        fd = os.open(gate, os.O_RDWR | os.O_NONBLOCK)   # may be that nobody waits yet
        os.write(fd, text.encode())
        os.close(fd)
        time.sleep(1)
        away.rename(key)
        l.says("is in force", had)
        assert "nothing was changed" not in l.p.log()[had:], l.p.log()[had:]
        assert wire.wait_for(lambda: len(l.p.role("serve")) == 1, 20 * e2e.lab_scale()), l.p.role("serve")
        assert (l.p.serving() == first) == (not more), "another process only where it must be"
        l.is_well()
        assert wire.wait_for(lambda: len(l.p.role("keys")) == 1, 20 * e2e.lab_scale()), l.p.role("keys")


@needs("clamav")
@seconds(120)
def test_database_hangs(lab):
    """One that cannot be read is waited for until limits.start; nothing of it
    stays."""
    db = lab.dir / "db"
    db.mkdir()
    os.mkfifo(db / "hangs.hdb")             # who opens it waits for a writer
    l = Lab(lab, limits={"start": f"{int(3 * e2e.lab_scale())}s"})
    l.is_well()
    masters, l.db = l.masters(), db
    l.reload("nothing was changed")
    l.is_well()
    assert wire.wait_for(lambda: l.masters() == masters, 20 * e2e.lab_scale()), l.masters()
    l.db = TESTDB
    l.reload("is in force")
    assert l.masters() == masters
    # What loads when its owner dies ends with him.
    l.db = db
    l.p.write_conf(lab.conf(l.p.port, **l.conf()))
    l.p.signal(signal.SIGHUP)
    assert wire.wait_for(lambda: len(l.masters()) == 2, 20 * e2e.lab_scale())
    family = l.p.pids()
    l.p.expect_exit = -signal.SIGKILL
    l.p.proc.kill()
    l.p.proc.wait()
    assert wire.wait_for(lambda: gone(family), 60 * e2e.lab_scale()), [x for x in family if not gone([x])]


@needs("clamav", "root", "unshare")
@seconds(180)
def test_own_user(lab):
    """Started by root, masters and scanners are assay-scan, if there is one: what
    he cannot read is not loaded, and what one left is removed by the next."""
    uid = 64017
    users = lab.dir / "passwd"
    users.write_text(pathlib.Path("/etc/passwd").read_text() + f"assay-scan:x:{uid}:{uid}::/nonexistent:/usr/sbin/nologin\n")
    e2e.ASSAYD = lab.dir / "assayd"
    e2e.ASSAYD.write_text("#!/bin/sh\nexec unshare -m --propagation private sh -c "
                          f"'mount --bind {users} /etc/passwd && exec {BUILT} \"$@\"' sh \"$@\"\n")
    e2e.ASSAYD.chmod(0o755)
    with tempfile.TemporaryDirectory(prefix="assay-e2e-db-") as folder:
        os.chmod(folder, 0o755)
        db = pathlib.Path(folder) / "db"
        shutil.copytree(TESTDB, db)
        db.chmod(0o755)
        l = Lab(lab, db)
        l.is_well()
        family = l.masters() + l.scanners()
        assert len(family) >= 2
        for pid in family:
            assert f"\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in pathlib.Path(f"/proc/{pid}/status").read_text(), pid
        assert "there is no user assay-scan" not in l.p.log() and "user assay-scan" in l.p.log(), l.p.log()
        left = clam_folder(l.p)
        os.kill(l.masters()[0], signal.SIGKILL)
        l.is_well()
        assert wire.wait_for(lambda: not os.path.exists(left), 20 * e2e.lab_scale()), left
        assert clam_folder(l.p) != left
        db.chmod(0o700)
        l.service = {"limits": {"files": 500}}
        l.reload("nothing was changed")
        l.is_well()
        db.chmod(0o755)
        l.reload("is in force")
        l.is_well()
        left = clam_folder(l.p)
        l.p.stop()
        assert not os.path.exists(left), left
