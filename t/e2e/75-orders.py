# SPDX-License-Identifier: GPL-2.0-or-later
"""Orders of events that no assertion and no leak may be reached by.

ORDERS_SECONDS=600 makes the test of random orders as long; ORDERS_SEED=n
repeats a run's orders, ORDERS_ONLY=n runs one of them alone."""
import contextlib
import json
import os
import random
import signal
import socket
import time

import h2moods
import h2origin
import lab as e2e
import orders
import wire
from lab import seconds
from wire import Response, ok

SEED = int(os.environ.get("ORDERS_SEED") or random.randrange(1 << 32))
ONLY = os.environ.get("ORDERS_ONLY")
SECONDS = float(os.environ.get("ORDERS_SECONDS") or (12 if e2e.SANITIZER else 30))
BATCH = 1 << 20             # numbers of a batch
DESCRIPTORS = 24            # may be more than before: kept connections to services
MEMORY = 48 << 20           # what an allocator may keep for the next load


def hello_behind_connect(lab, p, port, host, ca, before=b"", pieces=None):
    """CONNECT and ClientHello in one segment (or in the pieces), then GET."""
    raw = lab.connect(p)
    t = orders.Tls(None, wire.context(ca), host)
    all_ = before + f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode() + t.hello()
    for at in range(0, len(all_), pieces or len(all_)):
        raw.send(all_[at:at + (pieces or len(all_))])
    return raw, t


def finish(raw, t, host, port):
    r = Response(raw, "CONNECT")
    assert r.status == 200, r
    t.wire = raw
    raw.recv = lambda: (raw.fill(), raw.buf, setattr(raw, "buf", b""))[1]
    t.feed(raw.buf)
    raw.buf = b""
    t.shake()
    t.send(f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    return t.recv()


def test_hello_in_the_segment_of_connect(lab):
    """What a client says behind its CONNECT unasked (RFC 9110 9.3.6) is the
    tunnel's, opened or spliced, joined to the head or cut anywhere."""
    o = lab.origin(tls=lab.server_context("www.test", sans=["www.test", "exempt.test"]))
    p = lab.assay(rules=[{"name": "sp", "if": {"host": "exempt.test"}, "tls": "splice"}, {"name": "default", "scan": "none"}])
    for host, ca in (("www.test", p.ca), ("exempt.test", lab.trust)):
        for pieces in (None, 1, 50, 111):
            with lab.sub(f"{host}, pieces of {pieces}"):
                raw, t = hello_behind_connect(lab, p, o.port, host, ca, pieces=pieces)
                assert b"hello\n" in finish(raw, t, host, o.port)
    assert lab.tunnel(p, o.port).get().body == b"hello\n"


def test_connect_behind_a_large_answer(lab):
    """A plain request, CONNECT and ClientHello in one go, and the answer to
    the first is not taken yet when the tunnel opens: nothing is lost."""
    body = b"z" * (6 << 20)
    big = lab.origin(lambda h, b: ok(body), tls=None)
    o = lab.origin(tls=lab.server_context("www.test", sans=["www.test", "exempt.test"]))
    p = lab.assay(rules=[{"name": "sp", "if": {"host": "exempt.test"}, "tls": "splice"}, {"name": "default", "scan": "none"}])
    before = f"GET http://www.test:{big.port}/ HTTP/1.1\r\nHost: www.test:{big.port}\r\n\r\n".encode()
    for host, ca in (("www.test", p.ca), ("exempt.test", lab.trust)):
        with lab.sub(host):
            raw, t = hello_behind_connect(lab, p, o.port, host, ca, before)
            time.sleep(0.3)
            assert Response(raw).body == body
            assert b"hello\n" in finish(raw, t, host, o.port)


def test_stop_while_a_service_is_looked_up(lab):
    """SIGTERM while the name of a service is being asked for: exit 0."""
    dns = orders.Dns()
    lab.on_close(dns.stop)
    o = lab.origin(tls=None)
    p = lab.assay(services={"s": {"url": "icap://silent.example/x", "mode": "resp", "timeout": "20s"}},
                  resolver={"hosts": str(lab.dir / "hosts"), "servers": [f"127.0.0.1:{dns.port}"]}, limits={"drain": "100ms"})
    c = lab.connect(p)
    c.send(f"GET http://www.test:{o.port}/ HTTP/1.1\r\nHost: www.test:{o.port}\r\n\r\n")
    assert wire.wait_for(lambda: o.requests)
    time.sleep(0.2)
    p.signal(signal.SIGTERM)
    assert p.wait(10 * e2e.lab_scale()) == 0


# --------------------------------------------------------------- at random
class Proxy:
    """assayd, all its peers, and what disturbs them."""

    def __init__(self, lab):
        self.lab = lab
        self.dns = orders.Dns()
        lab.on_close(self.dns.stop)
        script = orders.origin_script(e2e.EICAR)
        sans = ["www.test", "other.test", "exempt.test", "127.0.0.1"]
        self.tls = lab.server(script, tls=lab.server_context("www.test", sans=sans), timeout=4)
        self.plain = lab.server(script, timeout=4)
        self.h2 = h2origin.start(lab, script=h2moods.Moods(e2e.EICAR, orders.asked), h1=script, timeout=4)
        self.icap = lab.icap(orders.icap_script, timeout=4)
        self.fine = lab.origin(lambda h, b: ok(b"fine"), tls=lab.server_context("www.test"))
        self.ports = {"tls": self.tls.port, "plain": self.plain.port, "h2": self.h2.port}
        self.start()

    def start(self):
        lab = self.lab
        both = {"url": self.icap.url(), "timeout": "900ms", "connect_timeout": "500ms", "probe": "100ms", "on_error": "bypass"}
        services = {"req": dict(both, mode="req", connect=True), "resp": dict(both, mode="resp"), "other": dict(both, mode="resp", preview="off", decode=True)}
        download = [["resp", "other"], "last"]
        services["last"] = dict(both, mode="resp")
        if e2e.has_clamav():
            services["clam"] = {"url": f"clamav:{e2e.TESTDB}", "mode": "both", "on_unscanned": "bypass"}
            download[0].append("clam")
        self.conf = dict(
            services=services, scan={"up": ["req"], "down": download},
            rules=[{"name": "sp", "if": {"host": "exempt.test"}, "tls": "splice"},
                   {"name": "where", "if": {"dest": ["127.0.0.9/32"]}, "access": "block"},
                   {"name": "there", "if": {"dest": ["127.0.0.8/32"]}, "scan": "none"},
                   {"name": "fine", "if": {"url": f":{self.fine.port}/"}, "scan": "none"},
                   {"name": "default", "scan": ["up", "down"]}],
            resolver={"hosts": str(lab.dir / "hosts"), "servers": [f"127.0.0.1:{self.dns.port}"]},
            download={"hold": "200ms", "other": "trickle", "rate": "10K"}, workers=2,
            limits={"drain": "1s", "request": "1s", "read": "900ms", "first_byte": "900ms", "idle": "700ms", "connect": "600ms", "resolve": "500ms",
                    "origin_idle": "1s", "tunnel": "2s", "body_memory": "64K", "per_client": 2000})
        self.p = lab.assay(**self.conf)

    def clean(self):
        """An ordinary request, plain and in a tunnel."""
        if not self.p.alive():
            raise AssertionError(f"assayd ended with {self.p.proc.returncode} (seed {SEED}): {self.p.log()[-3000:]}")
        for _ in range(3):          # a key holder that was ended just now, a reload
            with contextlib.suppress(wire.Ended, OSError):
                if self.lab.tunnel(self.p, self.fine.port).get().body == b"fine":
                    break
        else:
            raise AssertionError(f"no clean request any more (seed {SEED})")
        c = self.lab.connect(self.p)
        c.send("GET /ca.pem HTTP/1.1\r\nHost: assay.internal\r\n\r\n")
        assert Response(c).status == 200, f"seed {SEED}"
        c.close()

    def disturb(self, rng):
        """Reload, or a key holder that is stopped or killed."""
        what = rng.choice(("reload", "reload", "stop", "kill", "usr1"))
        if what == "reload":
            self.p.write_conf(self.lab.conf(self.p.port, **dict(self.conf, limits=dict(
                self.conf["limits"], idle=rng.choice(("600ms", "800ms"))))))
            self.p.signal(signal.SIGHUP)
        elif what == "usr1":
            self.p.signal(signal.SIGUSR1)
        else:
            for pid in self.p.role("keys"):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGSTOP if what == "stop" else signal.SIGKILL)
                    if what == "stop":
                        time.sleep(rng.random() * 0.5)
                        os.kill(pid, signal.SIGCONT)

    def settle(self, what, limit, seconds=15):
        """Its value once it is within the limit."""
        wire.wait_for(lambda: what() <= limit, seconds * e2e.lab_scale(), 0.1)
        return what()


def batch(proxy, rng, number, until, drain=False):
    """Some processes full of clients, disturbed meanwhile."""
    children = []
    for k in range(3):
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(r)
            got = orders.run_many(SEED, number * BATCH + k * (BATCH // 4), BATCH // 4, 24, proxy.p.addr, proxy.ports, proxy.p.ca, until)
            os.write(w, json.dumps(got).encode())
            os._exit(0)
        os.close(w)
        children.append((pid, r))
    while time.monotonic() < until and proxy.p.alive():
        time.sleep(min(0.3 + rng.random() * 0.7, max(0, until - time.monotonic())))
        if drain:
            proxy.p.signal(signal.SIGTERM)
            break
        if time.monotonic() < until:
            proxy.disturb(rng)
    total = {}
    for pid, r in children:
        with os.fdopen(r) as f:
            got = json.loads(f.read() or "{}")
        os.waitpid(pid, 0)
        for k, v in got.items():
            total[k] = total.get(k, 0) + v
    return total


def add(to, more):
    for k, v in more.items():
        to[k] = to.get(k, 0) + v


@seconds(max(150, SECONDS * 4))
def test_random_orders(lab):
    """Thousands of connections whose events come in an order that a seed
    makes: the process lives, serves a clean request after each batch, gives
    back what they took, and drains in the middle of them."""
    print(f"seed {SEED}", flush=True)
    rng = random.Random(SEED)
    proxy = Proxy(lab)
    proxy.clean()
    if ONLY:
        print(orders.run_one(SEED, int(ONLY), proxy.p.addr, proxy.ports, orders.context(proxy.p.ca)))
        proxy.clean()
        return
    total = {}
    number = 0
    for life in range(2):
        if life > 0:
            proxy.start()
        fds = rss = None
        for _ in range(3):
            add(total, batch(proxy, rng, number, time.monotonic() + SECONDS / 8))
            number += 1
            proxy.clean()
            now = proxy.settle(proxy.p.fds, fds + DESCRIPTORS if fds else 0, 20 if fds else 3)
            assert fds is None or now <= fds + DESCRIPTORS, f"{now} descriptors after {fds} (seed {SEED})"
            mem = proxy.p.rss()
            assert e2e.SANITIZER or rss is None or mem <= rss * 1.5 + MEMORY, f"{mem >> 20} MiB after {rss >> 20} (seed {SEED})"
            fds, rss = fds or now, rss or mem
        add(total, batch(proxy, rng, number, time.monotonic() + SECONDS / 8, drain=True))
        number += 1
        assert proxy.p.wait(15 * e2e.lab_scale()) == 0, f"seed {SEED}"
        proxy.p.stop()
    n = sum(total.values())
    print(f"{n} orders: {total}", flush=True)
    assert n >= (100 if e2e.SANITIZER else 1000) * min(1, SECONDS / 30), f"only {n} orders: {total}"
    bugs = [e for s in (proxy.tls, proxy.plain, proxy.h2, proxy.icap) for e in s.errors if e.startswith("SCRIPT")]
    bugs += [k for k in total if k.startswith("BUG")]
    assert not bugs, bugs[:5]
