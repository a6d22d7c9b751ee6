# SPDX-License-Identifier: GPL-2.0-or-later
"""Each client has a share of the descriptors: at 256 of them one address asks
for all it can get, by one kind of thing after the other, and another one is
served all the while. The greedy one gets its pages or a clear 503, and what it
had comes back when it leaves."""
import contextlib
import threading

import lab as e2e
import wire
from lab import pattern, seconds, sha
from wire import Response, ok

HOG, OTHER = "127.0.0.2", "127.0.0.3"
FILES = 256
BIG = pattern(4 << 20)
HELD = pattern(700000)


class Stuck:
    """A proxy with FILES descriptors between a service that waits for the
    gate, an origin that answers all, and a server that never reads."""

    def __init__(self, lab, **conf):
        self.lab, self.gate = lab, threading.Event()

        def script(tx):
            tx.whole()
            if b"/gate" in tx.raw["req-hdr"]:
                self.gate.wait(100)
            tx.no_change()

        def reply(head, body):
            if "/signed" in head.start:
                return ok(b"who", [("WWW-Authenticate", "NTLM")], "401 Unauthorized")
            return ok(BIG if "/big" in head.start else HELD if "/held" in head.start else b"fine")

        def never_reads(conn):
            with contextlib.suppress(OSError, wire.Ended):
                conn.sock.sendall(bytes(16 << 20))
        many = [(n, "1000" if n == "Max-Connections" else v) for n, v in wire.OPTIONS]
        self.icap = lab.icap(script, options=many, timeout=100)
        self.origin = lab.origin(reply, tls=None, timeout=100)
        self.deaf = lab.server(never_reads, timeout=100)
        self.p = lab.assay(
            files=FILES, services={"s": {"url": self.icap.url(), "mode": "resp", "timeout": "100s"}}, scan={"c": ["s"]},
            rules=[{"name": "free", "if": {"host": "exempt.test"}, "tls": "splice"},
                   {"name": "scanned", "if": {"url": "/gate|/held"}, "scan": ["c"], "download": "hold"},
                   {"name": "default", "scan": "none"}],
            limits=dict({"per_client": 1000, "read": "100s", "memory": "1G", "body_memory": "256K"}, **conf))
        self.conns, self.refused = [], []
        self.serves_other()
        self.before = self.p.fds()

    def client(self, source=HOG):
        c = self.lab.connect(self.p, source=source)
        if source == HOG:
            self.conns.append(c)
        return c

    def url(self, path, host="www.test"):
        at = f"{host}:{self.origin.port}"
        return f"GET http://{at}{path} HTTP/1.1\r\nHost: {at}\r\n\r\n"

    def ask(self, path, source=HOG, host="www.test"):
        c = self.client(source)
        c.send(self.url(path, host))
        return c

    def splice(self, source=HOG):
        c = self.client(source)
        at = f"exempt.test:{self.deaf.port}"
        c.send(f"CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n")
        c.answer = Response(c, "CONNECT").status
        if c.answer == 200:
            with contextlib.suppress(wire.Ended):
                c.send(b"hello")        # not TLS
        return c

    def serves_other(self):
        """Somebody else's requests: a plain one, a held one that needs a file
        and a service, a tunnel."""
        for path, want in (("/", b"fine"), ("/held", HELD)):
            c = self.ask(path, OTHER)
            r = Response(c)
            assert r.status == 200 and sha(r.body) == sha(want), (path, r)
            c.close()
        c = self.splice(OTHER)
        assert c.answer == 200
        assert c.exact(1 << 20) == bytes(1 << 20)
        c.reset()

    def leave(self):
        self.gate.set()
        for c in self.conns:
            c.reset()
        assert wire.wait_for(lambda: self.p.fds() <= self.before + 40, 20), (self.p.fds(), self.before)
        c = self.ask("/")
        assert Response(c).status == 200, "its share is not given back"
        c.reset()
        assert "Assertion" not in self.p.log()

    def answers(self, method="GET"):
        """The statuses of what has been answered by now; each refusal is clear."""
        out = []
        for c in self.conns:
            c.sock.settimeout(0.05)
            with contextlib.suppress(wire.Ended, OSError):
                while b"\r\n\r\n" not in c.buf and c.fill():
                    pass
            if c.buf.startswith(b"HTTP/"):
                out.append(int(c.buf[9:12]))
                assert out[-1] != 503 or b"Retry-After" in c.buf, c.buf[:400]
            elif c.ended:
                out.append(0)
        return out


def greedy(lab, one, n=120, **conf):
    """One address does that n times and stays; whether others are served is
    asked all the while."""
    s = Stuck(lab, **conf)
    for i in range(n):
        with contextlib.suppress(wire.Ended, OSError):
            one(s, i)
        if i % 20 == 19:
            s.serves_other()
    s.serves_other()
    got = s.answers()
    assert s.p.fds() < FILES - 16, f"{s.p.fds()} descriptors in use"
    return s, got


@seconds(120)
def test_stuck_splices(lab):
    """Both ways are full: two sockets and two pipes each."""
    def one(s, i):
        c = s.splice()
        if c.answer != 200:
            s.refused.append(c)
            return
        c.sock.settimeout(0.02)
        with contextlib.suppress(OSError):
            c.sock.sendall(bytes(8 << 20))
    s, _ = greedy(lab, one, 80)
    assert s.refused and len(s.refused) < 65, len(s.refused)
    s.leave()


@seconds(120)
def test_connections_that_say_nothing(lab):
    s, got = greedy(lab, lambda s, i: s.client())
    assert 20 <= len(got) < 100 and set(got) == {503}, got
    s.leave()


@seconds(120)
def test_downloads_that_nobody_takes(lab):
    s, got = greedy(lab, lambda s, i: s.ask("/big"))
    assert set(got) == {200, 503} and got.count(200) >= 20, got
    s.leave()


@seconds(150)
def test_bodies_that_a_service_keeps(lab):
    """A client's socket, an origin's, a file and a service's connection each."""
    s, got = greedy(lab, lambda s, i: s.ask("/gate/held"))
    assert set(got) == {503}, got
    s.gate.set()
    assert wire.wait_for(lambda: s.answers().count(200) >= 10, 20 * e2e.lab_scale()), s.answers()
    assert set(s.answers()) == {200, 503}, s.answers()
    s.leave()


@seconds(120)
def test_clients_that_leave_their_answers(lab):
    """The request, half a close: the connection is there until the answer is
    taken."""
    def one(s, i):
        c = s.client()
        c.send(s.url("/big").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))
        c.sock.shutdown(1)
    s, got = greedy(lab, one)
    assert 503 in got, got
    s.leave()


@seconds(120)
def test_sign_ins_that_are_kept(lab):
    names = [f"m{i}.test" for i in range(12)]
    lab.hosts.update({n: "127.0.0.1" for n in names})

    def one(s, i):
        c = s.client()
        for n in names:
            c.send(s.url("/signed", n))
            assert Response(c).status in (401, 503)
    s, _ = greedy(lab, one, 40)
    s.leave()


@seconds(120)
def test_names_by_the_dozen(lab):
    """Idle connections to many origins are kept for whoever comes, and make
    room for those who are there."""
    names = [f"m{i}.test" for i in range(60)]
    lab.hosts.update({n: "127.0.0.1" for n in names})

    def one(s, i):
        c = s.ask("/", host=names[i % 60])
        assert Response(c).status in (200, 503)
    s, _ = greedy(lab, one)
    s.leave()


@seconds(120)
def test_connections_that_do_not_come_about(lab):
    """Origins that do not answer a SYN: many attempts, for the same client."""
    lab.hosts["slow.test"] = "127.0.0.1"
    full = wire.socket.socket()
    full.bind(("127.0.0.9", 0))
    full.listen(0)
    lab.on_close(full.close)
    port = full.getsockname()[1]
    fill = [wire.socket.socket() for _ in range(3)]
    for f in fill:
        f.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            f.connect(("127.0.0.9", port))
        lab.on_close(f.close)

    def one(s, i):
        c = s.client()
        c.send(f"GET http://127.0.0.9:{port}/ HTTP/1.1\r\nHost: 127.0.0.9:{port}\r\n\r\n")
    s, got = greedy(lab, one)
    assert 503 in got, got
    s.leave()


@seconds(120)
def test_the_greedy_one_alone(lab):
    """The control: who is alone uses half of what there is, whatever for."""
    s = Stuck(lab)
    held = [s.ask("/gate/held") for _ in range(15)]
    assert wire.wait_for(lambda: len(s.icap.txs) >= 15 + 1, 20 * e2e.lab_scale()), len(s.icap.txs)
    assert not s.answers()
    s.gate.set()
    for c in held:
        c.sock.settimeout(20 * e2e.lab_scale())
        r = Response(c)
        assert r.status == 200 and sha(r.body) == sha(HELD), r
    s.leave()
