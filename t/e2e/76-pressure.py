# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens when memory runs short: new clients get 503, then idle
connections close, then the largest body of the client who holds most fails, and
nobody else's. Short is the limit of a control group in which somebody else
takes up what there is; temporary storage is the limit of assay's own."""
import contextlib
import os
import pathlib
import subprocess
import sys
import time

import lab as e2e
import wire
from lab import needs, pattern, seconds, sha
from wire import Response, ok

BIG, SMALL, IDLE, NEW = "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"
M = 1 << 20
LIMIT = 400 * M

# Takes and gives memory as it is told, in MB.
EATER = """
import sys
held = []
for line in sys.stdin:
    n = int(line)
    held = held + [bytearray(b"x" * (1 << 20)) for _ in range(n)] if n > 0 else held[:n] if n else []
    print(len(held), flush=True)
"""


def parent():
    """The folder of our own memory group, and how its files are called; or
    why there is none."""
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if "memory" in names.split(","):
            return pathlib.Path("/sys/fs/cgroup/memory" + path), "memory.limit_in_bytes", "memory.usage_in_bytes"
    top = pathlib.Path("/sys/fs/cgroup" + path)
    return (top, "memory.max", "memory.current") if (top / "cgroup.controllers").exists() else (None, None, None)


def may_group(f):
    """Skip where no control group can be made."""
    def missing():
        top, limit, _ = parent()
        if top is None:
            return "no control group for memory"
        g = top / f"assay-try-{os.getpid()}"
        try:
            g.mkdir()
            there = (g / limit).exists()
            g.rmdir()
        except OSError as e:
            return f"no control group can be made: {e}"
        return None if there else "the control group has no memory limit"
    f.missing = missing
    return f


class Group:
    """A control group with a limit, and somebody in it who eats."""
    def __init__(self, lab):
        top, limit, self.usage = parent()
        self.dir = top / f"assay-{os.getpid()}-{os.urandom(4).hex()}"
        self.dir.mkdir()
        lab.on_close(self.remove)
        (self.dir / limit).write_text(str(LIMIT))
        self.eater = subprocess.Popen(["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self.dir), sys.executable, "-c", EATER],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        lab.on_close(self.end)
        self.eat(1)

    def eat(self, n):
        self.eater.stdin.write(f"{n}\n")
        self.eater.stdin.flush()
        assert self.eater.stdout.readline(), "who ate was killed"

    def used(self):
        used = int((self.dir / self.usage).read_text())
        stat = dict(x.split() for x in (self.dir / "memory.stat").read_text().splitlines())
        names = ("total_inactive_file", "total_active_file") if "total_inactive_file" in stat else ("inactive_file", "active_file")
        return 100 * (used - sum(int(stat[n]) for n in names)) / LIMIT

    def fill(self, percent):
        while (short := int((percent + 0.3 - self.used()) / 100 * LIMIT) // M) > 0:
            self.eat(min(short, 20))

    def end(self):
        self.eater.kill()
        self.eater.wait()

    def remove(self):
        # Who was in it has ended; the kernel takes a moment to see it.
        assert wire.wait_for(self.is_gone, 10), "the control group is still in use"

    def is_gone(self):
        with contextlib.suppress(OSError):
            self.dir.rmdir()
        return not self.dir.exists()


def ask(t, path):
    t.send(f"GET {path} HTTP/1.1\r\nHost: {t.host}\r\n\r\n")


def has_ended(t):
    """Is there an answer, or an end?"""
    t.sock.settimeout(0.01)
    with contextlib.suppress(wire.Ended):       # nothing has come
        if not t.fill():
            return True
    return bool(t.buf)


@may_group
@seconds(120)
def test_the_order(lab):
    """The steps in their order; who holds little, and the smaller bodies of
    who holds most, come through."""
    if e2e.SANITIZER:
        raise e2e.Skip("what is freed stays in the sanitizer's memory")
    bodies = {"/64": pattern(64 * M), "/4": pattern(4 * M), "/1": pattern(M)}
    gate = []

    def script(tx):
        tx.whole()
        wire.wait_for(lambda: gate, 100)
        tx.no_change()
    s = lab.icap(script, timeout=110)
    o = lab.origin(lambda h, b: ok(bodies.get(h.start.split()[1], b"fine")), timeout=110)
    group = Group(lab)
    p = lab.assay(group=group.dir, services={"s": {"url": s.url(), "mode": "resp", "timeout": "110s"}}, scan={"c": ["s"]},
                  rules=[{"name": "idle", "if": {"url": "/idle"}, "scan": "none"}, {"name": "default", "scan": ["c"], "download": "hold"}],
                  limits={"memory": "390M", "body_memory": "128M", "read": "110s", "idle": "110s"})
    idle = lab.tunnel(p, o.port, source=IDLE, timeout=110)
    assert idle.get("/idle").status == 200
    held = {}
    for source, path in ((BIG, "/64"), (BIG, "/4"), (SMALL, "/1")):
        held[path] = lab.tunnel(p, o.port, source=source, timeout=110)
        ask(held[path], path)
        assert wire.wait_for(lambda: len(s.txs) == len(held), 20)
    group.fill(88)
    time.sleep(1)
    assert "limits: memory" not in p.log(), "88 percent is no reason"
    group.fill(91)
    assert wire.wait_for(lambda: "new clients are refused" in p.log(), 10), group.used()
    c = lab.connect(p, source=NEW)
    c.send("GET http://www.test/ HTTP/1.1\r\nHost: www.test\r\n\r\n")
    r = Response(c)
    assert r.status == 503 and b"memory is short" in r.body, r
    assert r.get("Retry-After"), r
    # Who is connected may connect once more.
    assert lab.tunnel(p, o.port, source=IDLE).get("/idle").status == 200
    assert not any(has_ended(t) for t in held.values())
    assert wire.wait_for(lambda: has_ended(idle), 10 * e2e.lab_scale()), p.log()
    assert idle.buf == b""
    assert wire.wait_for(lambda: has_ended(held["/64"]), 20 * e2e.lab_scale()), p.log()
    log = p.log()
    assert log.index("new clients are refused") < log.index("idle connections close") < log.index("the largest bod"), log
    r = Response(held["/64"])
    assert r.status == 503, r
    assert wire.wait_for(lambda: "there is enough again" in p.log(), 10), (group.used(), p.log())
    assert not has_ended(held["/4"]) and not has_ended(held["/1"])
    gate.append(1)
    for path in ("/4", "/1"):
        held[path].sock.settimeout(60)
        assert sha(Response(held[path]).body) == sha(bodies[path]), path
    assert lab.tunnel(p, o.port, source=NEW).get("/idle").status == 200
    assert "MEMORY" in str([x for x in p.access(1) if e2e.field(x, "client.ip") == BIG])


@may_group
@seconds(60)
def test_others_use_it_up(lab):
    """Memory that is not assay's runs short, and no body is large enough to be
    a help: none is given up, and who is connected is served."""
    gate = []

    def script(tx):
        tx.whole()
        wire.wait_for(lambda: gate, 60)
        tx.no_change()
    s = lab.icap(script, timeout=60)
    o = lab.origin(lambda h, b: ok(pattern(200000)), timeout=60)
    group = Group(lab)
    p = lab.assay(group=group.dir, services={"s": {"url": s.url(), "mode": "resp", "timeout": "60s"}}, scan={"c": ["s"]},
                  rules=[{"name": "default", "scan": ["c"], "download": "hold"}], limits={"memory": "100M", "read": "60s"})
    t = lab.tunnel(p, o.port, source=SMALL, timeout=60)
    ask(t, "/held")
    assert wire.wait_for(lambda: s.txs, 10)
    group.fill(97)
    assert wire.wait_for(lambda: "the largest bodies are given up" in p.log(), 15), (group.used(), p.log())
    time.sleep(3)
    assert not has_ended(t)
    gate.append(1)
    t.sock.settimeout(30)
    assert sha(Response(t).body) == sha(pattern(200000))


@seconds(120)
def test_temporary_storage(lab):
    """Many clients hold as much as they may in files: the largest body of the
    one who holds most is given up, and no smaller one."""
    gate, stored = [], []

    def script(tx):
        tx.whole()
        stored.append(tx)
        wire.wait_for(lambda: gate, 100)
        tx.no_change()
    many = [(n, "1000" if n == "Max-Connections" else v) for n, v in wire.OPTIONS]
    s = lab.icap(script, timeout=110, options=many)
    # What the next one may hold, less a little; up to what is too much even if
    # the ends of all are in memory still.
    sizes, left = [], 60 * M
    while left > 60 * M * 0.02:
        sizes.append(min(left // 2 - M // 8, 12 * M))
        left -= sizes[-1]
    bodies = [pattern(n) for n in sizes]
    o = lab.origin(lambda h, b: ok(bodies[int(h.start.split()[1][1:])]), timeout=110)
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "timeout": "110s"}}, scan={"c": ["s"]},
                  rules=[{"name": "default", "scan": ["c"], "download": "hold"}],
                  limits={"temp": "60M", "body_memory": "32K", "read": "110s"})
    held = []
    for i in range(len(sizes)):
        t = lab.tunnel(p, o.port, source=f"127.0.1.{i + 1}", timeout=110)
        ask(t, f"/{i}")
        held.append(t)
        # One after another: what each may hold goes by what is there already.
        assert wire.wait_for(lambda: len(stored) == i + 1 or any(map(has_ended, held)), 30 * e2e.lab_scale())
    assert wire.wait_for(lambda: any(map(has_ended, held)), 30 * e2e.lab_scale()), (sizes, p.log())
    ended = [i for i, t in enumerate(held) if has_ended(t)]
    assert len(ended) == 1 and sizes[ended[0]] >= max(sizes) - M, (sizes, ended)
    r = Response(held[ended[0]])
    assert r.status == 503 and b"temporary" in r.body.lower(), r
    gate.append(1)
    for i, t in enumerate(held):
        if i not in ended:
            t.sock.settimeout(60)
            assert sha(Response(t).body) == sha(bodies[i]), i
