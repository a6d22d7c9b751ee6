# SPDX-License-Identifier: GPL-2.0-or-later
"""The command: defaults, --check, --version, signals, reload, exit codes, the
key holder and the authority's files."""
import json
import os
import pathlib
import re
import signal
import socket
import stat
import threading
import time

import certs
import lab as e2e
import wire
from lab import alone, needs
from wire import Response, ok


def test_version_and_help(lab):
    r = lab.run(e2e.ASSAYD, "--version")
    assert r.returncode == 0 and re.search(rb"assay.* \d+\.\d+\.\d+", r.stdout), r
    r = lab.run(e2e.ASSAYD, "--help")
    assert r.returncode == 0 and all(o in r.stdout for o in (b"-f", b"--check", b"--listen", b"--version")), r.stdout


def test_usage(lab):
    for args in (["--nonsense"], ["-f"], ["--listen"], ["stray"]):
        with lab.sub(args):
            r = lab.run(e2e.ASSAYD, *args, env=lab.env(), seconds=10)
            assert r.returncode == 2 and r.stderr, r


def test_missing_file(lab):
    r = lab.run(e2e.ASSAYD, "-f", lab.dir / "none.conf", env=lab.env(), seconds=10)
    assert r.returncode == 1 and b"none.conf" in r.stderr + r.stdout, r


def test_check_good(lab):
    code, out, _ = lab.check(lab.conf(lab.port()))
    assert code == 0, out


def test_check_all_problems(lab):
    """Every problem at once, with file:line:col and a hint."""
    text = ("listen:\n"
            "  - on: \"127.0.0.1:3128\"\n"
            "servces: {}\n"
            "limits:\n"
            "  idle: fast\n"
            "  drain: 5s\n"
            "  drain: 6s\n"
            "workers: [1]\n"
            "tls:\n"
            "  client: { min: \"1.1\" }\n")
    code, out, path = lab.check(text)
    assert code == 1
    for line, word in ((3, "servces"), (5, "idle|fast"), (7, "drain"), (8, "number"), (10, "1\\.1|min")):
        with lab.sub(f"line {line}"):
            assert re.search(rf"{re.escape(str(path))}:{line}:\d+: .*({word})", out), out
    assert re.search(r":3:1: unknown setting 'servces'; did you mean 'services'\?", out), out


def test_check_refusals(lab):
    """What is never accepted and ignored."""
    rows = [
        ("not yaml", "listen: [", "."),
        ("unknown service", "scan: { download: [nobody] }\n", "nobody"),
        ("unknown chain", "rules:\n  - { name: a, scan: [nochain] }\n", "nochain"),
        ("bad url", "services: { a: { url: \"gopher://x\", mode: resp } }\n", "gopher|url"),
        ("bad mode", "services: { a: { url: \"icap://127.0.0.1/x\", mode: sideways } }\n", "sideways|mode"),
        ("bad size", "limits: { header: 64Q }\n", "64Q|header"),
        ("bad network", "clients: [\"10.0.0.0/33\"]\n", "10.0.0.0/33|clients"),
        ("bad pattern", "rules:\n  - { name: a, if: { url: \"(\" }, access: block }\n", "url|pattern|missing"),
        ("tls by url", "rules:\n  - { name: a, if: { url: \"x\" }, tls: splice }\n", "url|tls"),
        ("tls by method", "rules:\n  - { name: a, if: { method: [GET] }, tls: splice }\n", "method|tls"),
        ("shadowed", "rules:\n  - { name: a, access: allow }\n  - { name: b, if: { host: x.test }, access: block }\n", "b"),
        ("not yet", "auth: { method: basic }\n", "not supported in this version"),
        ("listener kind", "listen:\n  - { on: \"127.0.0.1:1\", kind: mirror }\n", "explicit"),
        ("isolation", "services: { c: { url: \"clamav:\", mode: both, isolation: container } }\n", "container|clamav"),
        ("key file missing", "ca: { cert: /nonexistent/a.pem, key: /nonexistent/a.key }\n", "/nonexistent/"),
        ("log folder missing", "log: { access: [{ to: /nonexistent/x.log, format: json }] }\n", "/nonexistent/"),
    ]
    for name, text, word in rows:
        with lab.sub(name):
            code, out, path = lab.check(text)
            assert code == 1, f"accepted: {out}"
            assert re.search(word, out) and str(path) in out, out


def test_check_reads_words_by_schema(lab):
    """`no` is a string where a string is asked for, JSON is valid YAML."""
    code, out, _ = lab.check("rules:\n  - { name: no, if: { host: no.test }, access: block }\n")
    assert code == 0, out
    code, out, _ = lab.check(json.dumps({"limits": {"drain": "5s"}, "clients": ["private"]}))
    assert code == 0, out


def test_bad_conf_does_not_start(lab):
    p = lab.assay(raw="nonsense: 1\n", wait=False)
    assert p.wait(10) == 1
    p.expect_exit = 1
    assert re.search(r":1:1: .*nonsense", p.log()), p.log()


def test_start_lines(lab):
    p = lab.assay()
    wire.wait_for(lambda: "ready" in p.log(), 3)
    words = [w for w in ("ca", "listen", "ready") if re.search(rf"\b{w}\b", p.log())]
    assert words == ["ca", "listen", "ready"], p.log()
    assert str(p.port) in p.log(), "the address it listens on is said"


def test_environment_is_as_it_was(lab):
    """assayd runs as it was started, in the environment it was given; what it
    gains from a larger cache of free blocks is set in the unit."""
    def environ(p):
        with open(f"/proc/{p.pid}/environ", "rb") as f:
            return dict(v.split(b"=", 1) for v in f.read().split(b"\0") if b"=" in v)
    p = lab.assay()
    assert environ(p).get(b"GLIBC_TUNABLES") == os.environb.get(b"GLIBC_TUNABLES")
    assert f"pid {p.pid}" in p.log()
    p = lab.assay(env={"GLIBC_TUNABLES": "glibc.malloc.tcache_count=127"})
    assert environ(p)[b"GLIBC_TUNABLES"] == b"glibc.malloc.tcache_count=127"
    symbols = lab.run("nm", "-D", "--defined-only", e2e.ASSAYD).stdout.split()
    assert not {b"calloc", b"malloc", b"free"} & set(symbols)
    assert "\nEnvironment=GLIBC_TUNABLES=glibc.malloc.tcache_count=127\n" in (e2e.SRC / "etc/assay.service.in").read_text()


def test_listen_option(lab):
    port = lab.port()
    p = lab.assay(args=["--listen", f"127.0.0.1:{port}"])
    lab.wait_port(port, p)


def test_port_in_use(lab):
    s = lab.server(lambda c: None)
    p = lab.assay(wait=False, port=s.port)
    p.expect_exit = 1
    assert p.wait(10) == 1 and str(s.port) in p.log(), p.log()


def test_ipv6_listener(lab):
    port = lab.port()
    p = lab.assay(port=port, listen=[{"on": f"[::1]:{port}", "kind": "explicit"}])
    o = lab.origin(tls=None)
    c = wire.connect(("::1", port))
    c.send(f"GET http://plain.test:{o.port}/ HTTP/1.1\r\nHost: x\r\n\r\n")
    assert Response(c).status == 200
    assert p.alive()


def test_clients_rule(lab):
    """Who may connect: a client outside the list gets a 403 or a close."""
    o = lab.origin(tls=None)
    p = lab.assay(clients=["10.0.0.0/8"])
    c = lab.connect(p)
    try:
        c.send(f"GET http://plain.test:{o.port}/ HTTP/1.1\r\nHost: plain.test\r\n\r\n")
        assert Response(c).status == 403
    except wire.Ended:
        pass
    assert not o.requests


def wait_for_file(path, seconds=10):
    wire.wait_for(path.exists, seconds)
    return path


def test_ca_is_created(lab):
    """EC P-256, key 0600, and the same one on the next start."""
    p = lab.assay(ca=None)
    ca, key = lab.state() / "ca.pem", lab.state() / "ca.key"
    assert ca.exists() and stat.S_IMODE(key.stat().st_mode) == 0o600, list(lab.state().iterdir())
    text = lab.run("openssl", "x509", "-in", ca, "-noout", "-text").stdout.decode()
    assert "CA:TRUE" in text and "prime256v1" in text and "Certificate Sign" in text, text
    assert b"BEGIN" in key.read_bytes()
    first = ca.read_bytes()
    o = lab.origin()
    p.ca = str(ca)
    assert lab.tunnel(p, o.port).get().status == 200
    p.stop()
    lab.assay(ca=None)
    assert ca.read_bytes() == first, "a new CA on every start"


def test_ca_key_readable_by_others_is_refused(lab):
    port = lab.port()
    conf = lab.conf(port)
    os.chmod(lab.dir / "ca.key", 0o644)
    p = lab.assay(port=port, raw=json.dumps(conf), wait=False)
    p.expect_exit = 1
    assert p.wait(10) == 1, "it starts with a key that everybody can read"
    assert "ca.key" in p.log(), p.log()
    code, out, _ = lab.check(conf)
    assert code == 1 and "ca.key" in out, out


def test_ca_key_must_match(lab):
    port = lab.port()
    conf = lab.conf(port)
    (lab.dir / "ca.key").write_bytes(certs.pem(certs.new_key()))
    code, out, _ = lab.check(conf)
    assert code == 1, out


def test_rsa_ca(lab):
    cert, key = certs.make_ca("RSA CA", certs.new_key("rsa2048"))
    port = lab.port()
    conf = lab.conf(port)
    (lab.dir / "ca.pem").write_bytes(certs.pem(cert))
    (lab.dir / "ca.key").write_bytes(certs.pem(key))
    o = lab.origin()
    p = lab.assay(port=port, raw=json.dumps(conf))
    assert lab.tunnel(p, o.port).get().status == 200


def test_key_holder_is_another_process(lab):
    """The key is in a child process alone: the file is open nowhere else and
    its octets are not in the proxy's memory."""
    o = lab.origin()
    p = lab.assay()
    assert lab.tunnel(p, o.port).get().status == 200
    assert len(p.role("keys")) == 1, "no key holder process"
    if e2e.SANITIZER or os.geteuid() != 0:
        return
    from cryptography.hazmat.primitives import serialization
    key = serialization.load_pem_private_key((lab.dir / "ca.key").read_bytes(), None)
    secret = key.private_numbers().private_value.to_bytes(32, "big")
    text = (lab.dir / "ca.key").read_bytes().split(b"\n")[1]
    for pid in p.pids():
        found = memory_has(pid, (secret, secret[::-1], text))
        assert pid in p.role("keys") or not found, "the CA key is in the memory of another process"


def memory_has(pid, needles):
    for line in open(f"/proc/{pid}/maps"):
        m = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
        if not m or "[v" in line:
            continue
        a, b = int(m[1], 16), int(m[2], 16)
        try:
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as f:
                f.seek(a)
                data = b""
                while len(data) < b - a:
                    got = f.read(b - a - len(data))
                    if not got:
                        break
                    data += got
        except OSError:
            continue
        if any(n in data for n in needles):
            return True
    return False


def test_key_holder_dies(lab):
    """Another one is started, and the log says who died, of what and who has
    the key now: each once. One that ends with the proxy, or with
    its configuration, is no news."""
    o = lab.origin()
    p = lab.assay()
    first = lab.tunnel(p, o.port)
    assert first.get().status == 200
    first.close()
    p.reload()
    assert lab.tunnel(p, o.port).get().status == 200
    assert wire.wait_for(lambda: len(p.role("keys")) == 1, 10), p.pids()
    assert "key holder" not in p.log(), p.log()
    holder = p.role("keys")[0]
    os.kill(holder, signal.SIGKILL)
    died = f"assayd: ca: key holder: process {holder} was killed by signal 9 (Killed)"
    assert wire.wait_for(lambda: died in p.log(), 10 * e2e.lab_scale()), p.log()
    for host in ("other.test", "third.test"):
        assert lab.tunnel(p, o.port, host).get().status == 200
    now = p.role("keys")
    assert len(now) == 1 and now[0] != holder, now
    assert p.log().count(f"key holder: process {now[0]} has the key now") == 1, p.log()
    p.stop()
    assert p.log().count("key holder") == 2, p.log()


def test_sigterm_idle(lab):
    p = lab.assay()
    started = time.monotonic()
    family = p.pids()
    p.signal(signal.SIGTERM)
    assert p.wait(10) == 0
    assert time.monotonic() - started < 3 * e2e.lab_scale()
    assert len(family) >= 3
    for pid in family:
        assert not os.path.exists(f"/proc/{pid}"), "a process stays"


def test_sigterm_drains(lab):
    """Flows in progress finish, new connections are refused."""
    def reply(head, body):
        def send(conn):
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
            time.sleep(1.5)
            conn.send(b"67890")
        return send
    o = lab.origin(reply)
    p = lab.assay(limits={"drain": "10s"})
    t = lab.tunnel(p, o.port)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    wire.wait_for(lambda: o.requests, 5)
    p.signal(signal.SIGTERM)
    time.sleep(0.5)
    try:
        wire.connect(p.addr, 2).close()
        refused = False
    except OSError:
        refused = True
    r = Response(t)
    assert r.body == b"1234567890" and not r.cut, r
    assert refused, "it still accepts"
    assert p.wait(10) == 0


def test_sigterm_drain_ends(lab):
    """limits.drain bounds it, and a second SIGTERM stops at once."""
    o = lab.server(lambda c: (c.request(), time.sleep(20)), lab.server_context())
    p = lab.assay(limits={"drain": "2s"})
    t = lab.tunnel(p, o.port)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    time.sleep(0.5)
    started = time.monotonic()
    p.signal(signal.SIGTERM)
    p.wait(8 * e2e.lab_scale())
    assert time.monotonic() - started >= 1.5
    p2 = lab.assay(limits={"drain": "60s"})
    t = lab.tunnel(p2, o.port)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    time.sleep(0.5)
    p2.signal(signal.SIGTERM)
    time.sleep(0.5)
    started = time.monotonic()
    p2.signal(signal.SIGTERM)
    p2.wait(5 * e2e.lab_scale())
    assert time.monotonic() - started < 2 * e2e.lab_scale()


def test_sighup_good(lab):
    """A new generation for new flows."""
    o = lab.origin(tls=None)
    p = lab.assay()
    url = f"http://plain.test:{o.port}/"
    assert lab.curl(p, url).status == 200
    p.write_conf(lab.conf(p.port, rules=[{"name": "no", "if": {"host": "plain.test"}, "access": "block"}, {"name": "default", "scan": "none"}]))
    p.reload()
    assert wire.wait_for(lambda: lab.curl(p, url).status == 403, 5), "the new rule does not hold"
    p.write_conf(lab.conf(p.port))
    p.reload()
    assert wire.wait_for(lambda: lab.curl(p, url).status == 200, 5)


def test_sighup_bad(lab):
    """A bad file changes nothing."""
    o = lab.origin(tls=None)
    p = lab.assay()
    path = lab.dir / f"assay-{p.port}.conf"
    p.write_conf("listen: []\nrulez: 1\n")
    had = len(p.log())
    p.signal(signal.SIGHUP)
    assert wire.wait_for(lambda: re.search(rf"{re.escape(str(path))}:2:1: .*rulez", p.log()[had:]), 5 * e2e.lab_scale()), p.log()[had:]
    for _ in range(3):
        assert lab.curl(p, f"http://plain.test:{o.port}/").status == 200
    assert p.alive()


def test_sighup_keeps_flows(lab):
    """A flow in progress keeps its generation."""
    def reply(head, body):
        def send(conn):
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
            time.sleep(2)
            conn.send(b"67890")
        return send
    o = lab.origin(reply)
    p = lab.assay()
    t = lab.tunnel(p, o.port)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    wire.wait_for(lambda: o.requests, 5)
    p.write_conf(lab.conf(p.port, rules=[{"name": "no", "access": "block"}]))
    p.reload()
    r = Response(t)
    assert r.body == b"1234567890" and not r.cut, r


def test_sigusr1(lab):
    """The access log is opened again."""
    o = lab.origin(tls=None)
    p = lab.assay()
    url = f"http://plain.test:{o.port}/"
    assert lab.curl(p, url).status == 200
    p.access(1)
    old = lab.dir / "access.log.1"
    (lab.dir / "access.log").rename(old)
    p.signal(signal.SIGUSR1)
    wait_for_file(lab.dir / "access.log", 5)
    assert lab.curl(p, url).status == 200
    p.access(1)
    assert len(old.read_text().splitlines()) == 1


@needs("root", "unshare")
def test_defaults(lab):
    """Without any file: 127.0.0.1:3128, [::1]:3128, its own CA in the state
    folder, and it says what it scans with. In a network namespace of its own,
    for the fixed port."""
    log = lab.dir / "defaults.log"
    out = lab.dir / "out"
    script = f"""
ip link set lo up
cd /
env -u STATE_DIRECTORY {e2e.ASSAYD} > {log} 2>&1 &
pid=$!
n=0
while [ $n -lt 200 ] && ! grep -q ready {log}; do sleep 0.1; n=$((n + 1)); done
for h in 127.0.0.1 '[::1]'; do
    curl -sS -m 20 -o /dev/null -w "$h %{{http_code}}\\n" -x http://$h:3128 http://assay.internal/ >> {out} 2>&1
    curl -sS -m 20 -o /dev/null -w "$h %{{http_code}}\\n" -x http://$h:3128 http://assay.internal/test/eicar >> {out} 2>&1
    curl -sS -m 20 -o /dev/null -w "$h %{{http_code}}\\n" -x http://$h:3128 http://127.0.0.1:9/ >> {out} 2>&1
done
ls -l /var/lib/assay >> {out}
kill $pid; wait $pid; echo exit $? >> {out}
"""
    r = lab.run("unshare", "-n", "-m", "--propagation", "private", "sh", "-c",
                'mount -t tmpfs -o size=64m none /var/lib && ' + script, seconds=60 * e2e.lab_scale(),
                env={k: v for k, v in lab.env().items() if k != "STATE_DIRECTORY"})
    text, said = out.read_text(), log.read_text()
    blocked = 403 if e2e.has_clamav() else 200
    for h in ("127.0.0.1", "[::1]"):
        assert f"{h} 200\n{h} {blocked}\n{h} 403\n" in text, (text, said, r.stderr)
    assert re.search(r"-rw-------.* ca\.key", text) and "ca.pem" in text, text
    assert "exit 0" in text, (text, said)
    if e2e.has_clamav():
        assert "test database" in said, said


def test_state_folder_of_a_user(lab):
    """$XDG_STATE_HOME/assay, else ~/.local/state/assay, for other than root."""
    if os.geteuid() == 0:
        raise e2e.Skip("runs as root")
    port = lab.port()
    p = lab.assay(port=port, ca=None, env={"STATE_DIRECTORY": "", "XDG_STATE_HOME": str(lab.dir / "xdg")})
    assert (lab.dir / "xdg" / "assay" / "ca.pem").exists(), p.log()


@alone
def test_idle_costs_nothing(lab):
    """An idle proxy uses no processor time and leaks no descriptors."""
    o = lab.origin()
    p = lab.assay()
    for _ in range(10):
        t = lab.tunnel(p, o.port)
        t.get()
        t.close()
    time.sleep(1)
    fds, cpu = p.fds(), p.cpu()
    time.sleep(3)
    assert p.cpu() - cpu < 0.1 * e2e.lab_scale(), f"{p.cpu() - cpu} s in 3 s"
    for _ in range(50):
        t = lab.tunnel(p, o.port)
        t.get()
        t.close()
    wire.wait_for(lambda: p.fds() <= fds + 4, 5)
    assert p.fds() <= fds + 4, f"{fds} descriptors became {p.fds()}"


def test_long_polls_cost_nothing(lab):
    """Requests whose origins think for long are waited for without looking;
    the answers come all the same."""
    gate = threading.Event()

    def reply(head, body):
        gate.wait(60)
        return ok(b"at last")
    o = lab.origin(reply)
    p = lab.assay(workers=1, limits={"first_byte": "30s"})

    def wakes():
        n = 0
        for status in pathlib.Path(f"/proc/{p.serving()}/task").glob("*/status"):
            n += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status.read_text(), re.M).group(1))
        return n

    def in_2s():
        had = wakes()
        time.sleep(2)
        return wakes() - had
    polls = [lab.tunnel(p, o.port) for _ in range(20)]
    time.sleep(1)
    idle = in_2s()
    for t in polls:
        t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
        time.sleep(0.03)
    assert wire.wait_for(lambda: len(o.requests) == len(polls), 10)
    time.sleep(0.5)
    polling = in_2s()
    gate.set()
    for t in polls:
        r = Response(t)
        assert (r.status, r.body) == (200, b"at last"), r
    assert polling <= idle + 8, f"{polling} wake-ups in 2 s with {len(polls)} polls, {idle} without"


def test_destinations_default(lab):
    """Loopback, link-local (cloud metadata) and itself are denied as shipped,
    by name and by number, for plain requests and for CONNECT; 403, whole."""
    o = lab.origin(tls=None)
    p = lab.assay(destinations=None)
    for url in (f"http://127.0.0.1:{o.port}/", f"http://localhost:{o.port}/", f"http://plain.test:{o.port}/",
                f"http://[::1]:{o.port}/", f"http://[::ffff:127.0.0.1]:{o.port}/", f"http://0.0.0.0:{o.port}/",
                "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/",
                "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://224.0.0.1/",
                f"http://127.0.0.1:{p.port}/"):
        with lab.sub(url):
            r = lab.curl(p, url, "-g", "-m", "20")
            assert r.status == 403 and r.body, (r.status, r.errors)
            assert "error=" in (r.fields.get("Proxy-Status") or ""), r.head
    for host in ("www.test", "127.0.0.1", "169.254.169.254"):
        with lab.sub(f"CONNECT {host}"):
            try:
                t = lab.tunnel(p, o.port, host)
                status = t.get().status if t.connect.status == 200 else t.connect.status
            except wire.Ended as e:
                raise AssertionError(str(e)) from None
            assert status == 403, status
    assert not o.conns, "the origin was connected to"


def test_destinations_any_address(lab):
    """Every address of a name is judged by itself (DNS rebinding)."""
    lab.hosts["two.test"] = ["127.0.0.1", "::1"]
    o = lab.origin(tls=None)
    p = lab.assay(destinations={"deny": ["::1/128"], "allow": ["127.0.0.0/8"]})
    assert lab.curl(p, f"http://two.test:{o.port}/").status == 200


def test_ports(lab):
    """CONNECT to 443 and 1024-65535, plain to 80, 443 and those; never mail."""
    p = lab.assay()
    for url in ("http://plain.test:25/", "http://plain.test:22/", "https://www.test:25/", "https://www.test:80/", "https://www.test:993/"):
        with lab.sub(url):
            r = lab.curl(p, url)
            if r.status == 0:
                assert "403" in r.errors, r.errors
            else:
                assert r.status == 403, r.status


def test_happy_eyeballs(lab):
    """RFC 8305: a name whose first address is dead is reached by the other."""
    lab.hosts["dual.test"] = ["::1", "127.0.0.1"]
    o = lab.origin(tls=None)
    p = lab.assay()
    started = time.monotonic()
    assert lab.curl(p, f"http://dual.test:{o.port}/").status == 200
    assert time.monotonic() - started < 3 * e2e.lab_scale()


def test_ipv6_origin(lab):
    lab.hosts["six.test"] = "::1"
    o = lab.origin(tls=None, host="::1")
    p = lab.assay()
    assert lab.curl(p, f"http://six.test:{o.port}/").status == 200
    assert lab.curl(p, f"http://[::1]:{o.port}/", "-g").status == 200


def test_notify(lab):
    """sd_notify READY=1 where systemd started it."""
    if "#define HAVE_SYSTEMD 1" not in (e2e.BUILD / "config.h").read_text():
        raise e2e.Skip("built without libsystemd")
    path = str(lab.dir / "notify")
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(path)
    s.settimeout(10)
    p = lab.assay(env={"NOTIFY_SOCKET": path})
    assert b"READY=1" in s.recv(4096)
    p.signal(signal.SIGTERM)
    got = b""
    while b"STOPPING=1" not in got:
        got += s.recv(4096)


def test_sample_is_valid(lab):
    """The sample that is installed passes --check."""
    found = [p for p in (e2e.BUILD / "etc" / "assay.conf", e2e.SRC / "etc" / "assay.conf",
                         e2e.BUILD / "etc" / "assay.conf.sample", e2e.SRC / "etc" / "assay.conf.sample") if p.exists()]
    assert found, "there is no sample configuration"
    r = lab.run(e2e.ASSAYD, "-f", found[0], "--check", env=lab.env())
    assert r.returncode == 0, r.stdout + r.stderr


def test_log_injection(lab):
    """What a peer sends cannot forge a log line."""
    o = lab.origin(lambda h, b: ok(b"x"), tls=None)
    p = lab.assay()
    c = lab.connect(p)
    c.send(f"GET http://plain.test:{o.port}/%0a{{\"forged\":1}}?\"\\ HTTP/1.1\r\nHost: plain.test\r\nUser-Agent: a\"b\\c\te\x80\r\n\r\n")
    Response(c)
    assert len(p.access(1)) == 1
    assert pathlib.Path(lab.dir / "access.log").read_bytes().count(b"\n") == 1


def test_restart_after_kill(lab):
    """What a killed daemon left behind (sockets, files) hinders no start."""
    p = lab.assay(admin=None)
    p.expect_exit = None
    p.kill()
    p.stopped = True
    lab.assay(admin=None)


def test_admin_socket_takes_no_others_place(lab):
    """A file where the socket is to be is nobody's to remove."""
    kept = lab.dir / "notes.txt"
    kept.write_text("mine")
    for path in (kept, lab.dir, lab.dir / "none" / "admin.sock"):
        code, text, conf = lab.check({"state": str(lab.dir / "state"), "admin": {"socket": str(path)}})
        assert code == 1 and "admin socket" in text, (path, text)
        r = lab.run(e2e.ASSAYD, "-f", conf, env=lab.env())
        assert r.returncode == 1 and b"admin socket" in r.stderr, (path, r.stderr)
    assert kept.read_text() == "mine"
