# SPDX-License-Identifier: GPL-2.0-or-later
"""libclamav says clean when its temporary space is full, read-only, gone or
without inodes.  Through assayd nothing of it is delivered as clean, and all is
as before once there is space again."""
import contextlib
import fcntl
import importlib.util
import os
import pathlib
import random
import shutil
import time

import lab as e2e
from growth import clam_folder
from lab import EICAR, TESTDB, needs, pattern, sha
from wire import ok, wait_for

KINDS = ("html", "mail", "pdf", "zip", "gzip", "ole", "7z", "cab", "iso")
CLEAN = pattern(5000)


def containers():
    path = pathlib.Path(__file__).resolve().parent.parent / "unit/containers.py"
    spec = importlib.util.spec_from_file_location("containers", path)
    m = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(m)
    return m


class Lab:
    def __init__(self, lab):
        m, r = containers(), random.Random(9)
        self.lab = lab
        self.bodies = {k: m.FORMATS[k](r.randbytes(3000), r) for k in KINDS}
        self.bodies["plain"] = EICAR
        self.bodies["clean"] = CLEAN
        o = lab.origin(lambda h, b: ok(self.bodies[h.start.split()[1].lstrip("/")]))
        self.p = lab.assay(services={"clam": {"url": f"clamav:{TESTDB}", "mode": "both"}})
        self.folder = clam_folder(self.p)
        self.get = lambda name: lab.tunnel(self.p, o.port).get("/" + name)

    def mount(self, options):
        assert self.lab.run("mount", "-t", "tmpfs", "-o", options, "none", self.folder).returncode == 0
        self.lab.on_close(lambda: self.lab.run("umount", "-l", self.folder))
        self.held = os.open(self.folder, os.O_RDONLY)     # another assayd that cleans up shall see that it is in use
        fcntl.flock(self.held, fcntl.LOCK_EX)

    def umount(self):
        os.close(self.held)
        assert self.lab.run("umount", "-l", self.folder).returncode == 0

    def nothing_passes(self):
        for name in (*KINDS, "plain"):
            with self.lab.sub(name):
                assert self.get(name).status in (403, 503), name

    def all_is_well(self):
        """Within a while: it proves itself first."""
        until = time.time() + 30 * e2e.lab_scale()
        while self.get("clean").status != 200 and time.time() < until:
            time.sleep(.2)
        assert sha(self.get("clean").body) == sha(CLEAN)
        for name in (*KINDS, "plain"):
            with self.lab.sub(name):
                assert self.get(name).status == 403, name


@needs("clamav", "root", "mount")
def test_full(lab):
    l = Lab(lab)
    l.all_is_well()
    l.mount("size=64k")
    hog = open(l.folder + "/hog", "wb", buffering=0)
    try:
        while hog.write(b"x" * 4096):
            pass
    except OSError:
        pass
    l.nothing_passes()
    hog.truncate(0)
    l.all_is_well()
    l.umount()


@needs("clamav", "root", "mount")
def test_read_only(lab):
    l = Lab(lab)
    l.all_is_well()
    l.mount("ro")
    l.nothing_passes()
    l.umount()
    l.all_is_well()


def done(do):
    """A scanner that proves itself has a file of its own for a moment."""
    def attempt():
        with contextlib.suppress(OSError):
            do()
            return True
        return False
    assert wait_for(attempt, 30 * e2e.lab_scale())


@needs("clamav", "root", "mount")
def test_without_inodes(lab):
    l = Lab(lab)
    l.mount("size=1m,nr_inodes=2")
    done(lambda: open(l.folder + "/hog", "wb").close())
    l.nothing_passes()
    os.unlink(l.folder + "/hog")
    l.umount()
    l.all_is_well()


@needs("clamav")
def test_missing_is_made_anew(lab):
    l = Lab(lab)
    shutil.rmtree(l.folder)
    l.all_is_well()


@needs("clamav")
def test_something_else_is_there(lab):
    l = Lab(lab)
    done(lambda: shutil.rmtree(l.folder))
    open(l.folder, "wb").close()
    l.nothing_passes()
    with contextlib.suppress(FileNotFoundError):    # another folder has taken its place
        os.unlink(l.folder)
    l.all_is_well()
