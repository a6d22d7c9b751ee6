# SPDX-License-Identifier: GPL-2.0-or-later
"""What confines each process, while it works: layers, and what is not in its memory."""

import base64
import ctypes
import errno
import os
import pathlib
import re
import signal
import socket
import struct

from cryptography.hazmat.primitives import serialization

import certs
import inject
import lab as e2e
import wire


def processes(assay):
    """Of this assayd, with all that it has started: pid to name."""
    return {pid: pathlib.Path(f"/proc/{pid}/comm").read_text().strip() for pid in assay.pids()}


def memory(pid):
    """All that is readable of it; the pieces."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            span, perms = line.split()[:2]
            low, high = (int(x, 16) for x in span.split("-"))
            if perms[0] != "r" or "[v" in line:
                continue
            if e2e.SANITIZER and high - low > 1 << 30:
                continue        # its shadow of everything: no content
            try:
                mem.seek(low)
                yield mem.read(high - low)
            except OSError:
                pass


def holds(pid, octets):
    return any(octets in piece for piece in memory(pid))


def scalar(pem):
    """The private number of an EC key."""
    return serialization.load_pem_private_key(pem, None).private_numbers().private_value.to_bytes(32, "big")


@e2e.needs("root", "clamav")
def test_key_is_in_one_process(lab):
    a = lab.assay()
    o = lab.origin(lambda h, b: wire.ok(b"x" * 100000))
    for i in range(3):
        assert lab.curl(a, f"https://www.test:{o.port}/{i}").status == 200
    pem = (lab.dir / "ca.key").read_bytes()
    number = scalar(pem)
    text = "".join(pem.decode().split("-----")[2].split())
    wanted = {"number": number, "number, reversed": number[::-1], "PEM": text[:40].encode(), "DER": base64.b64decode(text)[20:60]}
    found = {}
    for pid, name in processes(a).items():
        for what, octets in wanted.items():
            with lab.sub(f"{name} {what}"):
                here = holds(pid, octets)
                found[name] = found.get(name, False) or here
                assert not here or name == "assayd: keys", f"{what} of the CA's key is in {name} ({pid})"
    assert found.get("assayd: keys"), f"the search finds it where it is: {found}"


@e2e.needs("clamav")
def test_layers(lab):
    a = lab.assay()
    said = [x for x in a.log().splitlines() if "sandbox:" in x]
    assert any("keys: seccomp, " in x for x in said), said
    for pid, name in processes(a).items():
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        with lab.sub(name):
            if pid == a.pid:
                continue
            assert re.search(r"^NoNewPrivs:\s+1$", status, re.M), "new privileges"
            assert re.search(r"^Seccomp:\s+2$", status, re.M), "no seccomp"
            assert re.search(r"^CapEff:\s+0+$", status, re.M), "capabilities"


def test_off_and_require(lab):
    a = lab.assay(sandbox="off")
    assert "sandbox: keys: off" in a.log(), a.log()
    a.stop()
    a = lab.assay(sandbox="require")
    assert "sandbox: keys: seccomp, landlock" in a.log(), a.log()


def landlock():
    """The kernel's ABI; 0: none."""
    return max(0, ctypes.CDLL(None).syscall(444, None, 0, 1))


def test_what_is_missing_is_said(lab):
    """A kernel without Landlock: said by each process, and no start with "require"."""
    without = [os.sys.executable, str(pathlib.Path(__file__).with_name("without.py")), "444"]
    a = lab.assay(before=without, services={})
    for name in "keys", "serve":
        assert f"sandbox: {name}: seccomp, no landlock (Function not implemented)" in a.log(), a.log()
    a = lab.assay(before=without, services={}, sandbox="require", wait=False)
    assert a.wait(20) == 1 and "landlock: Function not implemented" in a.log(), a.log()
    a.expect_exit = 1


def test_serve_says_what_holds(lab):
    """By what the configuration takes."""
    for services, said in (({}, "seccomp, landlock"),
                           ({"clam": {"url": f"clamav:{e2e.TESTDB}", "isolation": "thread"}}, "seccomp of libclamav, landlock"),
                           ({"clam": {"url": f"clamav:{e2e.TESTDB}"}}, "seccomp, landlock")):
        if services and not e2e.has_clamav():
            continue
        a = lab.assay(services=services)
        assert f"sandbox: serve: {said}" in a.log() or (not landlock() and "no landlock" in a.log()), a.log()
        a.stop()


O_CREAT, O_RDWR = os.O_CREAT, os.O_RDWR
OPENAT, SOCKET, CONNECT, BIND, CLONE, FORK, EXECVE, KILL, PTRACE, READV, CLOSE, MMAP, TGKILL, RENAME = 257, 41, 42, 49, 56, 57, 59, 62, 101, 310, 3, 9, 234, 82
HERE = -100


def sockaddr(port):
    return struct.pack("<H", socket.AF_INET) + struct.pack(">H", port) + socket.inet_aton("127.0.0.1") + bytes(8)


@e2e.seconds(120)
def test_serve_taken_over(lab):
    """Code of somebody else in the process that serves: it goes on serving, what it
    tries is refused, and what only an attack does ends it, with a report."""
    if not inject.POSSIBLE or e2e.SANITIZER:
        return
    o = lab.origin(tls=None)
    a = lab.assay(services={})
    state, keys, pid = lab.dir / "state", a.role("keys")[0], a.serving()

    def name(p):
        return str(p).encode()
    with inject.Taken(pid) as p:
        # That the calls are made at all:
        fd = p.call(OPENAT, HERE, name(state / "tmp" / "mine"), O_RDWR | O_CREAT, 0o600)
        assert fd >= 0 and p.call(CLOSE, fd) == 0, fd
        fd = p.call(SOCKET, socket.AF_INET, socket.SOCK_STREAM, 0)
        assert fd >= 0 and p.call(CONNECT, fd, sockaddr(o.port), 16) == 0
        p.call(CLOSE, fd)
        if landlock():
            (lab.dir / "other").write_text("not yours")
            for path in ("/etc/passwd", lab.dir / "ca.key", lab.dir / "other", f"/proc/{a.pid}/mem", f"/proc/{keys}/environ",
                         f"/proc/{keys}/mem", state / "tmp" / ".." / ".." / "other"):
                with lab.sub(f"open {path}"):
                    assert p.call(OPENAT, HERE, name(path), os.O_RDONLY, 0) in (-errno.EACCES, -errno.EPERM)
            with lab.sub("a file elsewhere"):
                assert p.call(OPENAT, HERE, name(lab.dir / "made"), O_RDWR | O_CREAT, 0o600) == -errno.EACCES
            with lab.sub("a file moved away"):
                assert p.call(RENAME, name(lab.dir / "other"), name(state / "tmp" / "other")) in (-errno.EACCES, -errno.EXDEV)
        if landlock() >= 4:
            fd = p.call(SOCKET, socket.AF_INET, socket.SOCK_STREAM, 0)
            assert p.call(BIND, fd, sockaddr(0), 16) == -errno.EACCES
            p.call(CLOSE, fd)
        for what, result in (("a Unix socket", p.call(SOCKET, socket.AF_UNIX, socket.SOCK_STREAM, 0)),
                             ("clone", p.call(CLONE, int(signal.SIGCHLD), 0, 0, 0, 0)),
                             ("code", p.call(MMAP, 0, 4096, 7, 0x22, -1, 0)),
                             ("a signal", p.call(TGKILL, keys, keys, int(signal.SIGKILL)))):
            with lab.sub(what):
                assert result < 0, result
    assert lab.curl(a, f"http://plain.test:{o.port}/").status == 200 and a.serving() == pid
    for n, (what, call) in enumerate({"execve": (EXECVE, b"/bin/true", 0, 0), "ptrace": (PTRACE, 16, keys, 0, 0), "fork": (FORK,),
                                      "kill": (KILL, keys, int(signal.SIGKILL)), "process_vm_readv": (READV, keys, 0, 0, 0, 0, 0)}.items(), 1):
        with lab.sub(what):
            pid = a.serving()
            try:
                with inject.Taken(pid) as p:
                    raise AssertionError(f"{what}: {p.call(*call)}")
            except inject.Fault as f:
                assert f.args[0] == signal.SIGSYS
            files = state / "crash"
            assert wire.wait_for(lambda: files.is_dir() and len(list(files.iterdir())) == n, 20 * e2e.lab_scale())  # noqa: B023
            newest = max(files.iterdir(), key=lambda x: x.stat().st_mtime_ns)
            assert f"signal SIGSYS code 1\ncall {call[0]}\n" in newest.read_text(), newest.read_text()
            assert wire.wait_for(lambda: a.log().count(" serves, ") == n, 60 * e2e.lab_scale()), a.log()  # noqa: B023
            assert lab.curl(a, f"http://plain.test:{o.port}/").status == 200
    assert a.role("keys") == [keys]


@e2e.seconds(60)
def test_reload_in_its_box(lab):
    """A reload reads files that the process that serves cannot open by name: new
    ones, in the place of old ones, for root alone. What its box does not let it
    do at all is for another process."""
    def begin(ctx=None):
        return lab.origin(tls=ctx or "www.test")
    o, other = begin(), certs.Authority("Another Root")
    own = begin(lab.server_context("other.test", authority=other))
    a = lab.assay(services={}, limits={"drain": "20s"})
    first, hidden = a.serving(), lab.dir / "hidden"
    hidden.mkdir(0o700)
    number = 1

    def reload(**more):
        nonlocal number
        number += 1
        a.write_conf(lab.conf(a.port, **dict({"services": {}, "limits": {"drain": "20s"}}, **more)))
        a.reload(wait=f"generation {number} is in force")

    def trusts(o, host):
        return lab.tunnel(a, o.port, host).get("/").status == 200
    t = lab.tunnel(a, o.port)
    assert t.get("/").status == 200
    with lab.sub("hosts, in place of another"):
        reload()
        assert trusts(o, "www.test") and lab.tunnel(a, own.port, "other.test").get("/").status == 502
    with lab.sub("roots, where nobody looks"):
        (hidden / "more.pem").write_bytes(other.pem())
        (hidden / "more.pem").chmod(0o600)
        reload(tls={"origin": {"trust": [lab.trust, str(hidden / "more.pem")], "fetch_issuers": False}})
        assert trusts(own, "other.test")
    with lab.sub("roots, in place of others"):
        (hidden / "new.pem").write_bytes(lab.root.pem())
        (hidden / "new.pem").rename(hidden / "more.pem")
        reload(tls={"origin": {"trust": [str(hidden / "more.pem")], "fetch_issuers": False}})
        assert trusts(o, "www.test") and lab.tunnel(a, own.port, "other.test").get("/").status == 502
    with lab.sub("what is not there"):
        (hidden / "more.pem").rename(hidden / "gone.pem")
        a.reload(wait="nothing was changed")
        assert f"{hidden}/more.pem" in a.log()
        (hidden / "gone.pem").rename(hidden / "more.pem")
    assert a.serving() == first and "takes over: " not in a.log(), a.log()
    assert t.get("/").status == 200
    if e2e.has_clamav():
        reload(services={"clam": {"url": f"clamav:{e2e.TESTDB}", "isolation": "thread"}})
        assert "takes over: what it may do" in a.log(), a.log()
