# SPDX-License-Identifier: GPL-2.0-or-later
"""What a proxy has grown by: memory (RssAnon) and temporary files."""
import contextlib
import os

import lab as e2e
import wire

ROOM = 12 << 20         # the allocator's, libraries' and threads' own


def temp_used(p):
    """Bytes in files without a name: spilled, decoded, of libraries."""
    out = 0
    for pid in p.pids():
        try:
            fds = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for f in fds:
            path = f"/proc/{pid}/fd/{f}"
            try:
                if "(deleted)" in os.readlink(path) and not os.readlink(path).startswith("/memfd:"):
                    out += os.stat(path).st_blocks * 512
            except OSError:
                pass
    return out


def clam_folder(p):
    """The private folder of libclamav's files that assayd holds."""
    for pid in p.pids():
        try:
            fds = os.listdir(f"/proc/{pid}/fd")
        except OSError:     # it has ended
            continue
        for fd in fds:
            with contextlib.suppress(OSError):
                name = os.readlink(f"/proc/{pid}/fd/{fd}")
                if os.path.basename(name).startswith("clam-"):
                    return name
    raise AssertionError("no folder of libclamav")


def folder_bytes(folder):
    """What lies in it under a name."""
    out = 0
    for at, _, names in os.walk(folder):
        for n in names:
            with contextlib.suppress(OSError):
                out += os.stat(os.path.join(at, n)).st_blocks * 512
    return out


class Watch:
    """The largest growth of memory and of temporary files while it is open."""

    def __init__(self, p, folder=None):
        self.p, self.rss0, self.rss, self.temp, self.folder = p, p.rss(), 0, 0, folder

    def look(self):
        self.rss = max(self.rss, self.p.rss() - self.rss0)
        self.temp = max(self.temp, temp_used(self.p) + (folder_bytes(self.folder) if self.folder else 0))

    def until(self, what, seconds):
        def both():
            self.look()
            return what()
        return wire.wait_for(both, seconds * e2e.lab_scale())

    def check(self, memory=None, temp=None):
        self.look()
        if memory is not None and not e2e.SANITIZER:
            assert self.rss < memory + ROOM, f"memory grew by {self.rss >> 10} KiB"
        if temp is not None:
            assert self.temp <= temp, f"{self.temp >> 10} KiB of temporary files"
