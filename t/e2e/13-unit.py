# SPDX-License-Identifier: GPL-2.0-or-later
"""The packaged unit: how much of the machine it leaves to assayd, and that
assayd works in what it leaves, under a real systemd."""
import errno
import json
import re

import lab as e2e
import wire
from booted import Booted
from lab import needs, seconds, slow

UNIT = e2e.BUILD / "etc" / "assay.service"
# drop-in (None: the unit alone) -> exposure at most, as systemd-analyze counts
EXPOSURE = {None: 1.4, "low-ports.conf": 1.6, "own-users.conf": 2.5}
# What base/sandbox calls; the unit's filter must not refuse them.
SANDBOX = ("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp")


def unit(command=None):
    """The unit's text; command: what it runs instead of the installed assayd."""
    text = UNIT.read_text()
    return re.sub(r"(?m)^(Exec\w+=)\S*/assay(d|ctl)", rf"\1{command}\2", text) if command else text


@needs("systemd-analyze")
def test_exposure(lab):
    """What systemd-analyze calls exposure does not grow."""
    for drop_in, most in EXPOSURE.items():
        with lab.sub(str(drop_in)):
            folder = lab.dir / (drop_in or "unit")
            folder.mkdir()
            text = unit()
            if drop_in:
                text += (e2e.SRC / "etc" / drop_in).read_text()
            (folder / "assay.service").write_text(text)
            r = lab.run("systemd-analyze", "--no-pager", "--offline=yes", "security", folder / "assay.service")
            m = re.search(rb"Overall exposure level for assay.service: ([0-9.]+)", r.stdout)
            assert m, r
            assert float(m[1]) <= most, f"{m[1]} instead of {most}:\n{r.stdout.decode()}"


@needs("systemd-analyze")
def test_understood(lab):
    """systemd knows every line of it, this systemd and the oldest that is served (252)."""
    (lab.dir / "assay.service").write_text(unit(str(e2e.ASSAYD)[:-1]))
    r = lab.run("systemd-analyze", "--man=no", "verify", lab.dir / "assay.service")
    said = [x for x in r.stderr.decode().splitlines() if "assay.service" in x]
    assert r.returncode == 0 and not said, r


CONF = {"services": {"clam": {"url": "clamav:/usr/share/assay/testdb", "mode": "both"}},
        "scan": {"download": ["clam"]}, "rules": [{"name": "default", "scan": ["download"]}], "workers": 2,
        "log": {"access": [{"to": "/var/log/assay/access.log", "format": "json"}]}}
# As assayd runs: are the calls of its sandboxes refused?
PROBE = f"""#!/usr/bin/python3
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
numbers = {{"landlock_create_ruleset": 444, "landlock_add_rule": 445, "landlock_restrict_self": 446, "seccomp": None}}
import platform
numbers["seccomp"] = 317 if platform.machine() == "x86_64" else 277
print("probe", json.dumps({{n: (libc.syscall(numbers[n], -1, 0, 0, 0), ctypes.get_errno())[1] for n in {SANDBOX!r}}}))
"""


def installed(**more):
    """What a machine has on which assay is installed; more: other files."""
    return {"/opt/bin/assayd": e2e.ASSAYD.read_bytes(), "/opt/bin/assayctl": (e2e.BUILD / "assayctl").read_bytes(), "/usr/bin/probe": PROBE, "/etc/assay/assay.conf": json.dumps(CONF),
             "/usr/lib/sysusers.d/assay.conf": (e2e.SRC / "etc/sysusers/assay.conf").read_text(),
             "/etc/systemd/system/assay.service": re.sub(r"(?m)^(Exec\w+=/opt/bin/assay(d|ctl))", r"\1 -f /etc/assay/assay.conf",
                                                         unit("/opt/bin/assay")),
             "/etc/systemd/system/assay.service.d/probe.conf": "[Service]\nExecStartPost=/usr/bin/probe\n", **more,
             **{f"/usr/share/assay/testdb/{p.name}": p.read_bytes() for p in e2e.TESTDB.iterdir()}}


@slow
@needs("root", "systemd-nspawn", "clamav")
def test_started(lab):
    """Started, used, reloaded and stopped by systemd."""
    m = Booted(lab, installed())
    r = m.run("systemctl", "start", "assay")
    log = m.journal("assay")
    assert r.returncode == 0 and "ready" in log, r.stderr + log
    refused = json.loads(re.search(r"^probe (.*)", log, re.M)[1])
    assert set(refused) == set(SANDBOX) and 1 not in refused.values(), f"refused by the unit's filter (EPERM): {refused}"
    assert wire.wait_for(lambda: "sandbox: fetch: seccomp" in m.journal("assay"), 60), m.journal("assay")
    boxes = re.findall(r"sandbox.*?: seccomp(?:, landlock \d)?", log)
    assert len(boxes) >= 2 and ("landlock" in boxes[0] or refused["landlock_create_ruleset"] == errno.EOPNOTSUPP), log
    r = m.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-x", "http://127.0.0.1:3128", "http://assay.internal/test/eicar")
    assert r.stdout == "403", r
    r = m.run("systemctl", "reload", "assay")
    assert r.returncode == 0 and "generation 2 is in force" in m.journal("assay"), r
    # A reload that is refused fails, and what was in force goes on.
    m.run("sh", "-c", "echo 'nonsense: 1' >/etc/assay/assay.conf")
    r = m.run("systemctl", "reload", "assay")
    assert r.returncode != 0 and "unknown setting 'nonsense'" in m.journal("assay"), r
    shown = m.run("systemctl", "show", "-p", "ActiveState", "-p", "StatusText", "assay").stdout
    assert "ActiveState=active" in shown and "generation 2 is in force, the last reload was refused" in shown, shown
    r = m.run("systemctl", "stop", "assay")
    assert r.returncode == 0 and "Result=success" in m.run("systemctl", "show", "-p", "Result", "assay").stdout, m.journal("assay")
    assert '"THREAT"' in m.run("cat", "/var/log/assay/access.log").stdout


def users(m):
    """Of each process of the unit: its name and who it is."""
    pids = m.run("sh", "-c", "cat /sys/fs/cgroup/system.slice/assay.service/cgroup.procs "
                 "/sys/fs/cgroup/systemd/system.slice/assay.service/cgroup.procs 2>/dev/null").stdout.split()
    found = {}
    for line in m.run("ps", "-o", "user:32=,args=", "-p", ",".join(pids)).stdout.splitlines():
        user, args = line.split(None, 1)
        found.setdefault(re.sub(r"^/\S+/", "", args).split(" -")[0].strip().removesuffix(" prefer"), set()).add(user)
    return found


@slow
@needs("root", "systemd-nspawn", "clamav")
def test_own_users(lab):
    """With the drop-in each process has a user of its own; what was made before,
    as user assay, is used on."""
    drop_in = (e2e.SRC / "etc/own-users.conf").read_text()
    m = Booted(lab, installed(**{"/root/own-users.conf": drop_in}))
    assert m.run("systemctl", "start", "assay").returncode == 0, m.journal("assay")
    made = m.run("cat", "/var/lib/assay/ca.pem").stdout
    assert made.startswith("-----BEGIN") and m.run("systemctl", "stop", "assay").returncode == 0
    m.run("cp", "/root/own-users.conf", "/etc/systemd/system/assay.service.d/")
    m.run("systemctl", "daemon-reload")
    r = m.run("systemctl", "start", "assay")
    assert r.returncode == 0, r.stderr + m.journal("assay")
    assert m.run("cat", "/var/lib/assay/ca.pem").stdout == made, "another CA"
    for n in (2, 3):
        r = m.run("systemctl", "reload", "assay")
        assert r.returncode == 0 and f"generation {n} is in force" in m.journal("assay"), r.stderr + m.journal("assay")
    r = m.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-x", "http://127.0.0.1:3128", "http://assay.internal/test/eicar")
    assert r.stdout == "403", r
    who = users(m)
    assert who["assayd"] == {"root"} and who["assayd: serve"] == {"assay"} and who["assayd: keys"] == {"assay-key"}, who
    r = m.run("systemctl", "stop", "assay")
    assert r.returncode == 0 and "Result=success" in m.run("systemctl", "show", "-p", "Result", "assay").stdout, m.journal("assay")


def ask(m):
    return m.run("curl", "-s", "-o", "/dev/null", "-m", "60", "-w", "%{http_code}", "-x", "http://127.0.0.1:3128",
                 "http://assay.internal/test/eicar")


def code(m):
    return ask(m).stdout


def main_pid(m):
    return int(m.run("systemctl", "show", "-p", "MainPID", "--value", "assay").stdout)


@slow
@seconds(180)
@needs("root", "systemd-nspawn", "clamav")
def test_supervisor_dies(lab):
    """Killed, assayd is started again by systemd, which has kept the listening
    sockets: who connects meanwhile waits. A listener that is there no more is
    nobody's to wait on."""
    m = Booted(lab, installed())
    assert m.run("systemctl", "start", "assay").returncode == 0, m.journal("assay")
    pid = main_pid(m)
    for conf in (CONF, {**CONF, "workers": 1, "listen": [{"on": "127.0.0.1:3128"}]}):
        m.run("sh", "-c", f"cat >/etc/assay/assay.conf <<'EOF'\n{json.dumps(conf)}\nEOF\n")
        assert m.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "assay").returncode == 0
        # What the process that dies with it had accepted is lost; who comes then is not refused.
        answers = iter(lambda: (r := ask(m)).returncode != 7 and r.stdout, "403")
        assert all(answers), "refused: " + m.journal("assay")
        # The answer may be of one that was about to end: then who follows is not there yet.
        assert wire.wait_for(lambda: main_pid(m) not in (0, pid) and m.run("systemctl", "is-active", "assay").returncode == 0,
                             30 * e2e.lab_scale()), m.journal("assay")
        answers = iter(lambda: (r := ask(m)).returncode != 7 and r.stdout, "403")
        assert all(answers), "refused: " + m.journal("assay")
        pid = main_pid(m)
    listens = m.run("sh", "-c", "grep -h ' 0A ' /proc/net/tcp /proc/net/tcp6").stdout.splitlines()
    assert len(listens) == 1, listens
    # Stopped by somebody, it listens no more, and neither does systemd.
    assert m.run("systemctl", "stop", "assay").returncode == 0 and code(m) == "000"


@slow
@seconds(180)
@needs("root", "systemd-nspawn", "clamav")
def test_sockets(lab):
    """Listening sockets of a socket unit are used; those that are missing, or
    belong to nothing, are named."""
    m = Booted(lab, installed(**{"/etc/systemd/system/assay.socket": (e2e.SRC / "etc/assay.socket").read_text()}))
    assert m.run("systemctl", "start", "assay.socket").returncode == 0
    assert main_pid(m) == 0 and code(m) == "403" and main_pid(m) > 0, m.journal("assay")
    assert m.run("systemctl", "start", "assay").returncode == 0     # what has been started is awaited
    assert m.run("systemctl", "reload", "assay").returncode == 0, m.journal("assay")
    m.run("sh", "-c", f"cat >/etc/assay/assay.conf <<'EOF'\n{json.dumps({**CONF, 'workers': 3})}\nEOF\n")
    assert m.run("systemctl", "reload", "assay").returncode == 0 and code(m) == "403", m.journal("assay")
    # The same sockets: nobody else can have them, and they outlive the service.
    assert m.run("systemctl", "kill", "--kill-whom=main", "--signal=USR2", "assay").returncode == 0
    assert wire.wait_for(lambda: "generation 4 is in force" in m.journal("assay"), 60 * e2e.lab_scale()), m.journal("assay")
    assert code(m) == "403" and m.run("systemctl", "restart", "assay").returncode == 0 and code(m) == "403", m.journal("assay")
    for n, (listen, says) in enumerate([
            ([{"on": "127.0.0.1:3128"}], "socket 'assay.socket' is for [::1]:3128, where nothing of 'listen' is"),
            ([{"on": "127.0.0.1:3128"}, {"on": "[::1]:3128"}, {"on": "127.0.0.2:3128", "name": "office"}],
             "there is no socket for 127.0.0.2:3128 (listener 'office') among those that were handed over")]):
        m.run("sh", "-c", f"cat >/etc/assay/assay.conf <<'EOF'\n{json.dumps({**CONF, 'listen': listen})}\nEOF\n")
        m.run("systemctl", "stop", "assay")
        m.run("systemctl", "reset-failed", "assay", "assay.socket")
        assert m.run("systemctl", "start", "assay").returncode != 0 and says in m.journal("assay"), m.journal("assay")
