# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine of its own, booted by a real systemd (systemd-nspawn): the files of
this one below a layer that is thrown away, a network of its own, nothing
started but what the test starts. It takes a second.
"""
import contextlib
import os
import pathlib
import subprocess

import lab as e2e
import wire

TARGET = """[Unit]
Requires=sysinit.target
After=sysinit.target
AllowIsolate=yes
"""
SCRIPT = """set -e
mount -t tmpfs -o size=512M none "$0"
mkdir "$0/upper" "$0/work" "$0/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$0/upper,workdir=$0/work" "$0/root"
cd "$0/root"
rm -rf etc/systemd/system/*.wants etc/systemd/system/*.service.d
cp -a "$1/." .
exec systemd-nspawn -q -D "$0/root" --machine="$2" --private-network --register=no \
    --keep-unit --link-journal=no --console=pipe \
    --system-call-filter="landlock_create_ruleset landlock_add_rule landlock_restrict_self" --boot systemd.unit=test.target
"""


class Booted(e2e.Process):
    """files: path in the machine -> text, or (path here, mode) to be copied."""

    def __init__(self, lab, files):
        self.lab, self.groups = lab, []
        layer, top = lab.dir / "layer", lab.dir / "machine"
        top.mkdir()
        for path, what in {"/etc/systemd/system/test.target": TARGET, **files}.items():
            at = layer / path.lstrip("/")
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_bytes(what if isinstance(what, bytes) else what.encode())
            at.chmod(0o755 if "bin/" in path else 0o644)
        for d in [layer, *layer.rglob("*")]:    # whatever our umask is
            if d.is_dir():
                d.chmod(0o755)
        lab.on_close(self.stop)
        name = f"assay-test-{os.getpid()}"
        self.own_groups(name)
        super().__init__("systemd", ["unshare", "-m", "--propagation", "private", "sh", "-c", SCRIPT, str(top), str(layer), name],
                         lab.dir / "boot.log")
        if not wire.wait_for(lambda: self.up(), 60 * e2e.lab_scale()):
            raise e2e.Skip(f"systemd does not boot here: {self.log()[-500:]}")
        self.run("ip", "link", "set", "lo", "up")

    def own_groups(self, name):
        """Control groups that its systemd may rule: this process goes there."""
        for h in ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
            g = pathlib.Path(h) / name
            if not (g.parent / "cgroup.procs").exists():
                continue
            try:
                g.mkdir()
                self.groups.append(g)
                (g / "cgroup.procs").write_text(str(os.getpid()))
            except OSError as e:
                raise e2e.Skip(f"no control groups here: {e}") from None

    def init(self):
        """systemd's pid, as it is known here."""
        for p in self.pids():
            with contextlib.suppress(OSError):
                if "\nNSpid:\t" in (s := pathlib.Path(f"/proc/{p}/status").read_text()) \
                        and s.split("\nNSpid:\t")[1].splitlines()[0].split()[-1:] == ["1"]:
                    return p
        return None

    def run(self, *argv):
        """In the machine: CompletedProcess, text."""
        return subprocess.run(["nsenter", "-t", str(self.init()), "-m", "-p", "-n", "-u", "-i", *argv],
                              capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)

    def up(self):
        return self.init() is not None and self.run("systemctl", "is-system-running").stdout.strip() == "running"

    def journal(self, unit):
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit).stdout

    def stop(self, seconds=8):
        if hasattr(self, "proc"):
            self.kill()
        for g in self.groups:
            (g.parent / "cgroup.procs").write_text(str(os.getpid()))
            for d in sorted([g, *(x for x in g.rglob("*") if x.is_dir())], key=lambda x: -len(x.parts)):
                wire.wait_for(lambda: not (d / "cgroup.procs").read_text(), 10)
                d.rmdir()
