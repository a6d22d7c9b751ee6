# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab of one test: a folder, free ports, a real assayd, nginx, c-icap and
scripted peers on loopback, and everything ended and checked at the end.

A test is a function test_x(lab); see t/e2e/README.
"""
import contextlib
import functools
import glob
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import certs
import wire

HERE = pathlib.Path(__file__).resolve().parent
SRC = HERE.parent.parent
BUILD = pathlib.Path(os.environ.get("ASSAY_BUILD") or os.getcwd()).resolve()
ASSAYD = pathlib.Path(os.environ.get("ASSAYD") or BUILD / "assayd").resolve()
TESTDB = SRC / "etc" / "testdb"
SANITIZER = os.environ.get("ASSAY_SANITIZER", "")
# Put together here, so that no scanner takes this file for the test virus.
EICAR = ("X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + "EICAR-STANDARD-" + "ANTIVIRUS-TEST-FILE!$H+H*").encode()
COMPLAINTS = re.compile(rb"ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|"
                        rb"runtime error:|Assertion .* failed|assertion failed|"
                        rb"AddressSanitizer:DEADLYSIGNAL")
NAMES = ("www.test", "other.test", "third.test", "exempt.test", "bad.test", "plain.test")


class Skip(Exception):
    """The test cannot run on this machine."""


def alone(f):
    """The test measures or needs the whole machine: never beside another."""
    f.alone = True
    return f


def slow(f):
    """Left out of the runs with a sanitizer."""
    f.slow = True
    return f


def seconds(n):
    """The test's time limit instead of the runner's."""
    def deco(f):
        f.limit = n
        return f
    return deco


def has_clamav():
    with contextlib.suppress(OSError):
        return "#define HAVE_CLAMAV 1" in (BUILD / "config.h").read_text()
    return False


@functools.cache
def may_unshare():
    """Can this machine give a test a mount and a network namespace?"""
    r = subprocess.run(["unshare", "-n", "-m", "--propagation", "private", "true"], capture_output=True)
    return os.geteuid() == 0 and r.returncode == 0


def needs(*what):
    """Programs, "clamav" (the build has it), "root" (and namespaces)."""
    def deco(f):
        def missing():
            for w in what:
                if w == "clamav":
                    if not has_clamav():
                        return "built without libclamav"
                elif w == "root":
                    if not may_unshare():
                        return "needs root and namespaces of its own"
                elif not shutil.which(w, path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
                    return f"{w} is not installed"
            return None
        f.missing = missing
        return f
    return deco


def sha(data):
    return hashlib.sha256(data).hexdigest()


def field(record, dotted):
    """A member of a log record by its dotted name, nested or flat."""
    if dotted in record:
        return record[dotted]
    here = record
    parts = dotted.split(".")
    for i, p in enumerate(parts):
        if not isinstance(here, dict):
            return None
        rest = ".".join(parts[i:])
        if rest in here:
            return here[rest]
        if p not in here:
            return None
        here = here[p]
    return here


class Process:
    """A program of the lab, ended by its own pid."""

    def __init__(self, name, argv, log, env=None, cwd=None, stdin=subprocess.DEVNULL):
        self.name, self.log_path = name, pathlib.Path(log)
        self.out = open(log, "ab")
        self.proc = subprocess.Popen(argv, stdout=self.out, stderr=self.out, stdin=stdin, cwd=cwd,
                                     env=dict(os.environ, **(env or {})))
        self.pid = self.proc.pid

    def pids(self):
        """This process and its descendants."""
        out, todo = [], [self.pid]
        while todo:
            p = todo.pop()
            out.append(p)
            with contextlib.suppress(OSError):
                for t in os.listdir(f"/proc/{p}/task"):
                    todo += [int(x) for x in pathlib.Path(f"/proc/{p}/task/{t}/children").read_text().split()]
        return out

    def rss(self):
        """Resident bytes of the whole family, unlinked files apart."""
        total = 0
        for p in self.pids():
            with contextlib.suppress(OSError):
                for line in open(f"/proc/{p}/status"):
                    if line.startswith("RssAnon:"):
                        total += int(line.split()[1]) * 1024
        return total

    def fds(self):
        n = 0
        for p in self.pids():
            with contextlib.suppress(OSError):
                n += len(os.listdir(f"/proc/{p}/fd"))
        return n

    def cpu(self):
        total = 0
        for p in self.pids():
            with contextlib.suppress(OSError):
                f = pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()
                total += int(f[11]) + int(f[12])
        return total / os.sysconf("SC_CLK_TCK")

    def log(self):
        with contextlib.suppress(OSError):
            return self.log_path.read_text(errors="replace")
        return ""

    def alive(self):
        return self.proc.poll() is None

    def signal(self, sig):
        self.proc.send_signal(sig)

    def wait(self, seconds=10):
        return self.proc.wait(seconds)

    def kill(self):
        """SIGKILL to the whole family."""
        for p in self.pids():
            with contextlib.suppress(OSError):
                os.kill(p, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.proc.wait(5)

    def stop(self, seconds=8):
        if self.alive():
            self.signal(signal.SIGTERM)
            try:
                self.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()


class Assay(Process):
    """assayd under test."""

    def __init__(self, lab, args, port, ca, **kw):
        self.lab, self.port, self.ca = lab, port, str(ca)
        self.addr = ("127.0.0.1", port)
        self.stopped = False
        self.expect_exit = 0
        super().__init__("assayd", args, lab.dir / f"assayd-{port}.log", **kw)

    def role(self, name):
        """The processes of it that are "assayd: name"."""
        out = []
        for p in self.pids()[1:]:
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{p}/cmdline").read_bytes().split(b"\0")[0] == b"assayd: " + name.encode():
                    out.append(p)
        return out

    def serving(self):
        """The process that serves clients."""
        found = self.role("serve")
        assert len(found) == 1, f"{found} serve:\n{self.log()[-2000:]}"
        return found[0]

    def wait_ready(self, seconds=20):
        end = time.monotonic() + seconds * lab_scale()
        while time.monotonic() < end:
            if not self.alive():
                raise AssertionError(f"assayd ended with {self.proc.returncode} before it was ready:\n{self.log()[-2000:]}")
            if re.search(r"\bready\b", self.log()):
                return self
            time.sleep(0.01)
        raise AssertionError(f"assayd did not say ready:\n{self.log()[-2000:]}")

    def access(self, n=1, seconds=5, path=None):
        """At least n access records, waited for."""
        path = path or self.lab.dir / "access.log"

        def read():
            with contextlib.suppress(OSError):
                lines = path.read_text().splitlines(keepends=True)
                return [json.loads(x) for x in lines if x.endswith("\n")]
            return []
        wire.wait_for(lambda: len(read()) >= n, seconds)
        got = read()
        assert len(got) >= n, f"{len(got)} access records instead of {n}: {got}"
        return got

    def write_conf(self, conf):
        """Replace the configuration file (for a reload)."""
        (self.lab.dir / f"assay-{self.port}.conf").write_text(conf if isinstance(conf, str) else json.dumps(conf, indent=1))

    def reload(self, wait="reload", seconds=8):
        """SIGHUP, and wait for a new log line that has the word."""
        had = len(self.log())
        self.signal(signal.SIGHUP)
        assert wire.wait_for(lambda: wait in self.log()[had:].lower(), seconds * lab_scale()), \
            f"no '{wait}' in the log after SIGHUP: {self.log()[had:]!r}"
        return self.log()[had:]

    def stop(self, seconds=12):
        """SIGTERM; it has to drain, exit 0 and have complained of nothing."""
        if self.stopped:
            return
        self.stopped = True
        was_alive = self.alive()
        if was_alive:
            self.signal(signal.SIGTERM)
            try:
                self.wait(seconds * lab_scale())
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError("assayd did not stop on SIGTERM") from None
        m = COMPLAINTS.search(self.log_path.read_bytes())
        assert not m, f"assayd complained: {m[0]!r}"
        if self.expect_exit is not None:
            assert self.proc.returncode == self.expect_exit, f"assayd exited with {self.proc.returncode}"


def lab_scale():
    """Everything takes longer under a sanitizer."""
    return 4 if SANITIZER else 1


class Lab:
    def __init__(self, folder, root):
        self.dir = pathlib.Path(folder)
        self.root = root                    # certs.Authority that assay trusts
        self.hosts = {n: "127.0.0.1" for n in NAMES}
        self.closers = []                   # called last to first
        self.failures = []                  # of sub()
        self.ports = []
        (self.dir / "root.pem").write_bytes(root.pem())
        self.trust = str(self.dir / "root.pem")

    # ------------------------------------------------------------ helpers
    def port(self):
        """A TCP port for a program. A bound UDP socket of the same number
        keeps every other lab off it; below the ephemeral range, so that no
        outgoing connection takes it."""
        for _ in range(2000):
            n = 12000 + int.from_bytes(os.urandom(2), "big") % 19000
            u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                u.bind(("127.0.0.1", n))
                for fam, any_ in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                    with socket.socket(fam) as t:
                        if fam == socket.AF_INET6:
                            t.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                        t.bind((any_, n))
            except OSError:
                u.close()
                continue
            self.ports.append(u)
            return n
        raise RuntimeError("no free port")

    @contextlib.contextmanager
    def sub(self, label):
        """One row of a table: a failure is kept and the next row runs."""
        try:
            yield
        except (AssertionError, wire.Ended, OSError, ssl.SSLError) as e:
            self.failures.append(f"{label}: {type(e).__name__ if not isinstance(e, AssertionError) else 'assert'}: {e}")

    def on_close(self, f):
        self.closers.append(f)

    def close(self):
        """End everything; the first complaint is raised."""
        first = None
        for f in reversed(self.closers):
            try:
                f()
            except Exception as e:
                first = first or e
        for u in self.ports:
            u.close()
        if self.failures:
            raise AssertionError(f"{len(self.failures)} rows failed:\n    " + "\n    ".join(self.failures))
        if first:
            raise first

    def wait_port(self, port, proc=None, seconds=20, host="127.0.0.1"):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if proc is not None and not proc.alive():
                raise RuntimeError(f"{proc.name} ended: {proc.log()[-1000:]}")
            with contextlib.suppress(OSError):
                socket.create_connection((host, port), 1).close()
                return
            time.sleep(0.02)
        raise TimeoutError(f"nothing listens on {host}:{port}")

    def run(self, *argv, seconds=60, data=None, env=None):
        """A program to its end: CompletedProcess with text in bytes."""
        return subprocess.run([str(a) for a in argv], capture_output=True, input=data, timeout=seconds,
                              stdin=None if data is not None else subprocess.DEVNULL,
                              env=dict(os.environ, **(env or {})))

    # -------------------------------------------------------------- assayd
    def conf(self, port=None, services=None, scan=None, rules=None, **more):
        """The configuration of a test as a dict; more replaces top-level keys."""
        ca, key = self.dir / "ca.pem", self.dir / "ca.key"
        if not ca.exists():
            cert, k = certs.make_ca("Lab Proxy CA")
            ca.write_bytes(certs.pem(cert))
            key.touch(0o600)
            key.write_bytes(certs.pem(k))
        # At once: a reload under way must not read half of it.
        (self.dir / "hosts.new").write_text("127.0.0.1 localhost\n" + "".join(
            f"{ip} {h}\n" for h, ips in self.hosts.items() for ip in ([ips] if isinstance(ips, str) else ips)))
        (self.dir / "hosts.new").replace(self.dir / "hosts")
        c = {"listen": [{"on": f"127.0.0.1:{port}", "kind": "explicit"}],
             "ca": {"cert": str(ca), "key": str(key)},
             # One process less for each test: 33-issuers has it.
             "tls": {"origin": {"trust": [self.trust], "fetch_issuers": False, "revocation": "off"}},
             "resolver": {"hosts": str(self.dir / "hosts")},
             "destinations": {"allow": ["127.0.0.0/8", "::1/128"]},
             "log": {"access": [{"to": str(self.dir / "access.log"), "format": "json"}]},
             "admin": {"socket": "none"},
             "limits": {"drain": "1s"},
             "workers": 2}
        if services is not None:
            c["services"] = services
        if scan is not None:
            c["scan"] = scan
        if services is None and rules is None:
            rules = [{"name": "default", "scan": "none"}]
        if rules is not None:
            c["rules"] = rules
        for k, v in more.items():
            if v is None:
                c.pop(k, None)
            elif k == "limits":
                c[k] = dict(c[k], **v)
            else:
                c[k] = v
        return c

    def small_state(self, size):
        """A mount namespace whose state folder is a tmpfs of that size."""
        return ["unshare", "-m", "--propagation", "private", "sh", "-c",
                f'mount -t tmpfs -o size={size} none "$0" && exec "$@"', str(self.state())]

    def state(self):
        folder = self.dir / "state"
        folder.mkdir(exist_ok=True)
        return folder

    def assay(self, raw=None, args=(), wait=True, state_size=None, env=None, port=None, files=None, group=None, before=(), **conf):
        """Start assayd; keywords go to conf(); raw is a file's text instead;
        files is its limit of descriptors, group the folder of a control group,
        before a command that runs it."""
        port = port or self.port()
        if os.environ.get("E2E_PROXY") == "squid":
            return self._squid(self.conf(port, **conf), port)
        text = raw if raw is not None else json.dumps(self.conf(port, **conf), indent=1)
        path = self.dir / f"assay-{port}.conf"
        path.write_text(text)
        argv = (self.small_state(state_size) if state_size else []) + [str(ASSAYD), "-f", str(path), *args]
        if files:
            argv = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *argv]
        if group:
            argv = ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(group), *argv]
        argv = [*before, *argv]
        p = Assay(self, argv, port, self.dir / "ca.pem", env=dict(self.env(), **(env or {})))
        self.on_close(p.stop)
        if wait:
            p.wait_ready()
        return p

    def env(self):
        return {"STATE_DIRECTORY": str(self.state()), "HOME": str(self.dir),
                "ASAN_OPTIONS": "abort_on_error=0:exitcode=99:detect_leaks=1",
                "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
                "LSAN_OPTIONS": f"suppressions={HERE}/lsan.supp:print_suppressions=0",
                "TSAN_OPTIONS": f"exitcode=99:suppressions={HERE}/tsan.supp"}

    def check(self, conf, *args, name="check.conf"):
        """assayd --check on a text or dict: (exit code, output text, path)."""
        path = self.dir / name
        path.write_text(conf if isinstance(conf, str) else json.dumps(conf, indent=1))
        r = self.run(ASSAYD, "-f", path, "--check", *args, env=self.env())
        return r.returncode, (r.stdout + r.stderr).decode("utf-8", "replace"), path

    def _squid(self, conf, port):
        """The same test against Squid (E2E_PROXY=squid), where it has the
        feature: shows that the test itself is sound."""
        import squidlab
        p = squidlab.start(self, conf, port)
        self.on_close(p.stop)
        self.wait_port(port, p)
        return p

    # --------------------------------------------------------------- peers
    def server_context(self, host="www.test", authority=None, chain=(), leaf=None, weak=False, **kw):
        """A server's TLS context with a leaf for host (leaf: (cert, key)); weak
        lets it offer what nobody should take."""
        cert, key = leaf or (authority or self.root).leaf(host, **kw)
        path = self.dir / f"leaf-{os.urandom(4).hex()}.pem"
        path.write_bytes(certs.pem(key) + certs.pem(cert) + b"".join(certs.pem(c) for c in chain))
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if weak:
            ctx.minimum_version = ssl.TLSVersion.TLSv1
            ctx.set_ciphers("ALL:@SECLEVEL=0")
        ctx.load_cert_chain(path)
        ctx.cert_path, ctx.leaf = path, cert

        def note(sock, name, _):
            sock.sni = name
        ctx.sni_callback = note
        return ctx

    def origin(self, reply=None, tls="www.test", **kw):
        """A scripted origin; tls names the host of its certificate, a context,
        or None for plain HTTP."""
        if isinstance(tls, str):
            tls = self.server_context(tls, sans=[*NAMES, "127.0.0.1", "::1"] if tls == "www.test" else None)
        o = wire.Origin(reply, tls=tls, **kw)
        self.on_close(o.stop)
        return o

    def server(self, script, tls=None, **kw):
        s = wire.Server(script, tls=tls, **kw)
        self.on_close(s.stop)
        return s

    def icap(self, script=None, **kw):
        s = wire.Icap(script, **kw)
        self.on_close(s.stop)
        return s

    def nginx(self, files=(), extra="", http=False, h2=False):
        """A real nginx with TLS (h2: and HTTP/2) for the names of the lab;
        .root is its folder."""
        port = self.port()
        plain = self.port()
        w = self.dir / f"nginx-{port}"
        (w / "www").mkdir(parents=True)
        ctx = self.server_context("www.test", sans=[*NAMES, "127.0.0.1"])
        user = "user root;" if os.geteuid() == 0 else ""
        temp = "\n".join(f"{n}_temp_path {w}/{n};" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (w / "nginx.conf").write_text(f"""{user}
daemon off; master_process off; worker_processes 1; pid {w}/pid; error_log {w}/error.log warn;
events {{ worker_connections 8192; }}
http {{
 {temp}
 access_log {w}/access.log; sendfile on; keepalive_timeout 60; keepalive_requests 1000000; default_type application/octet-stream;
 types {{ text/html html; text/plain txt; }}
 client_max_body_size 0;
 server {{
  listen 127.0.0.1:{port} ssl{" http2" if h2 else ""}; listen 127.0.0.1:{plain};
  ssl_certificate {ctx.cert_path}; ssl_certificate_key {ctx.cert_path};
  ssl_protocols TLSv1.2 TLSv1.3;
  root {w}/www;
  {extra}
 }}
}}
""")
        for path, data in dict(files).items():
            (w / "www" / path).write_bytes(data)
        exe = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
        p = Process("nginx", [exe, "-p", str(w), "-c", str(w / "nginx.conf"), "-e", str(w / "error.log")], w / "nginx.out.log")
        p.port, p.plain, p.root, p.access_log, p.cert = port, plain, w / "www", w / "access.log", ctx.cert_path
        self.on_close(p.stop)
        self.wait_port(port, p)
        return p

    def cicap(self, extra=""):
        """A real c-icap with its echo service; .url is the service."""
        port = self.port()
        w = self.dir / f"c-icap-{port}"
        w.mkdir()
        mods = glob.glob("/usr/lib/*/c_icap") or ["/usr/lib64/c_icap"]
        (w / "c-icap.conf").write_text(f"""PidFile {w}/c-icap.pid
CommandsSocket {w}/c-icap.ctl
Timeout 60
MaxKeepAliveRequests 100
KeepAliveTimeout 60
StartServers 1
MaxServers 1
MinSpareThreads 4
MaxSpareThreads 64
ThreadsPerChild 32
MaxRequestsPerChild 0
Port 127.0.0.1:{port}
ServerAdmin lab
ServerName lab
TmpDir {w}
MaxMemObject 131072
DebugLevel 1
Pipelining on
SupportBuggyClients off
ModulesDir {mods[0]}
ServicesDir {mods[0]}
TemplateDir /usr/share/c_icap/templates/
TemplateDefaultLanguage en
LoadMagicFile /etc/c-icap/c-icap.magic
RemoteProxyUsers off
ServerLog {w}/server.log
Service echo srv_echo.so
{extra}
""")
        p = Process("c-icap", ["c-icap", "-N", "-f", str(w / "c-icap.conf")], w / "c-icap.out.log", cwd=w)
        p.port, p.url = port, f"icap://127.0.0.1:{port}/echo"
        self.on_close(p.stop)
        self.wait_port(port, p)
        return p

    # ------------------------------------------------------------- clients
    def client_context(self, assay, **kw):
        return wire.context(assay.ca, **kw)

    def tunnel(self, assay, port, host="www.test", sni=None, timeout=None, ca=None, source=None, **kw):
        """CONNECT to host:port through assay and TLS in it, trusting assay's
        CA (or the file ca)."""
        t = wire.Tunnel(assay.addr, f"{host}:{port}", wire.context(ca or assay.ca, **kw), sni,
                        timeout=timeout or wire.TIMEOUT * lab_scale(), source=source)
        t.host = f"{host}:{port}"
        self.on_close(t.cut)
        return t

    def connect(self, assay, timeout=None, source=None):
        c = wire.connect(assay.addr, timeout or wire.TIMEOUT * lab_scale(), source)
        self.on_close(c.cut)
        return c

    def curl(self, assay, url, *args, data=None, seconds=120, ca=None):
        """curl through assay: .status .head .body .returncode."""
        head = self.dir / f"curl-{os.urandom(4).hex()}.head"
        r = self.run("curl", "-sS", "-x", f"http://127.0.0.1:{assay.port}", "--cacert", ca or assay.ca,
                     "--suppress-connect-headers", "-D", head, *args, url, data=data, seconds=seconds * lab_scale(),
                     env={"no_proxy": "", "NO_PROXY": "", "HOME": str(self.dir)})
        r.body, r.head, r.status = r.stdout, "", 0
        with contextlib.suppress(OSError):
            r.head = head.read_bytes().decode("latin-1")
            codes = re.findall(r"^HTTP/[\d.]+ (\d{3})", r.head, re.M)
            r.status = int(codes[-1]) if codes else 0
        r.fields = wire.Head(r.head.strip().split("\r\n\r\n")[-1].encode() + b"\r\n\r\n") if r.head else None
        r.errors = r.stderr.decode(errors="replace")
        return r

    def digest_through(self, assay, url, *args, seconds=300):
        """SHA-256 and length of what curl downloads, without keeping it."""
        p = subprocess.Popen(["curl", "-sS", "-x", f"http://127.0.0.1:{assay.port}", "--cacert", assay.ca, *args, url],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                             env=dict(os.environ, no_proxy="", HOME=str(self.dir)))
        killer = threading.Timer(seconds * lab_scale(), p.kill)
        killer.start()
        h, n = hashlib.sha256(), 0
        while True:
            b = p.stdout.read(1 << 20)
            if not b:
                break
            h.update(b)
            n += len(b)
        err = p.stderr.read().decode(errors="replace")
        p.wait()
        killer.cancel()
        assert p.returncode == 0, f"curl {p.returncode}: {err}"
        return h.hexdigest(), n


def pattern(size, seed=1):
    """Bytes that no part repeats soon, the same every time."""
    block = hashlib.shake_256(bytes([seed])).digest(min(size, 1 << 20) or 1)
    out = bytearray()
    n = 0
    while len(out) < size:
        out += n.to_bytes(4, "big") + block
        n += 1
    return bytes(out[:size])
