# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab: starts a proxy under test (ours or a peer) with one common set of options,
so that the bench runs unchanged against assay and against Squid.

    from lab import Options, start
    with start("squid", Options(...)) as proxy: ...   # proxy.port, proxy.ca_cert, proxy.pids()

Run with /usr/bin/python3 (python3-cryptography from Debian).
"""
import contextlib, dataclasses, os, pathlib, shutil, signal, socket, subprocess, sys, tempfile, time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "e2e"))
from certs import make_ca, make_leaf, new_key, pem      # noqa: F401 (one home; peers.py takes them from here)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, host="127.0.0.1", seconds=20, proc=None):
    end = time.time() + seconds
    while time.time() < end:
        if proc is not None and proc.poll() is not None:
            raise RuntimeError(f"process exited with {proc.returncode} before it listened on {port}")
        with contextlib.suppress(OSError):
            socket.create_connection((host, port), 1).close()
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on {host}:{port}")


# ---------------------------------------------------------------- options
@dataclasses.dataclass
class Options:
    """What a bench asks of any proxy. Fields a proxy cannot honour make start() raise."""
    workdir: str = ""                                   # empty: a fresh temporary folder
    mode: str = "explicit"                              # explicit | transparent
    port: int = 0                                       # 0: pick one
    trust: str = ""                                     # PEM file: roots the proxy trusts for origins
    hosts: dict = dataclasses.field(default_factory=dict)   # name -> address (stands in for DNS)
    icap_reqmod: list = dataclasses.field(default_factory=list)   # icap:// URLs, asked in order (a chain)
    icap_respmod: list = dataclasses.field(default_factory=list)
    fail: str = "closed"                                # closed | open: what an ICAP failure does to the flow
    preview: bool = True
    icap_timeout: int = 10                              # seconds for one ICAP transaction's I/O
    icap_info: bool = False                             # tell ICAP services the client's and the origin's address (X-Client-IP, X-Server-IP)
    icap_trust: str = ""                                # PEM file: roots the proxy trusts for icaps:// services
    clamav: str = ""                                    # folder with a signature database, scanned in-process
    splice: list = dataclasses.field(default_factory=list)        # hosts not to intercept
    access_log: bool = False
    workers: int = 1
    dest: str = "lab"                                   # lab: any destination and port (the bench sits on loopback) | shipped: the proxy's own default rules
    header_timeout: int = 0                             # seconds a client gets to finish a request header or handshake; 0: the proxy's default
    idle_timeout: int = 0                               # seconds an idle persistent client connection is kept; 0: the proxy's default
    read_timeout: int = 0                               # seconds without a byte while a body is expected, either side; 0: the proxy's default
    extra: str = ""                                     # text appended to the proxy's own config
    crl: str = ""                                       # PEM file: CRLs the proxy checks origins against
    ca_dir: str = ""                                    # folder whose proxyca.crt/.key are used instead of a new CA
    ca_key_mode: int = 0o600                            # file mode of the CA's private key


class Proxy:
    def __init__(self, kind, opts, proc, ca_cert, logfile):
        self.kind, self.opts, self.proc, self.ca_cert, self.logfile = kind, opts, proc, ca_cert, logfile
        self.port, self.workdir = opts.port, opts.workdir

    def pids(self):
        """The proxy's process ids, children included."""
        out, todo = [], [self.proc.pid]
        while todo:
            p = todo.pop()
            out.append(p)
            with contextlib.suppress(OSError):
                for t in os.listdir(f"/proc/{p}/task"):
                    with open(f"/proc/{p}/task/{t}/children") as f:
                        todo += [int(x) for x in f.read().split()]
        return out

    def cpu_seconds(self):
        total = 0.0
        for p in self.pids():
            with contextlib.suppress(OSError):
                f = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
                total += (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def rss_bytes(self):
        total = 0
        for p in self.pids():
            with contextlib.suppress(OSError):
                for line in open(f"/proc/{p}/smaps_rollup"):
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total

    def log(self):
        return pathlib.Path(self.logfile).read_text(errors="replace") if os.path.exists(self.logfile) else ""

    def stop(self):
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(8)
            except subprocess.TimeoutExpired:
                for p in reversed(self.pids()):
                    with contextlib.suppress(OSError):
                        os.kill(p, signal.SIGKILL)
                self.proc.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def _prepare(opts):
    opts = dataclasses.replace(opts)
    opts.workdir = opts.workdir or tempfile.mkdtemp(prefix="lab-")
    opts.port = opts.port or free_port()
    w = pathlib.Path(opts.workdir)
    w.mkdir(parents=True, exist_ok=True)
    if opts.ca_dir:
        for f in ("proxyca.crt", "proxyca.key"):
            if pathlib.Path(opts.ca_dir).resolve() != w.resolve():
                shutil.copy(pathlib.Path(opts.ca_dir) / f, w / f)
    else:
        ca, key = make_ca("Lab Proxy CA", new_key("rsa2048"))
        (w / "proxyca.crt").write_bytes(pem(ca))
        (w / "proxyca.key").write_bytes(pem(key))
    os.chmod(w / "proxyca.key", opts.ca_key_mode)
    return opts, w


# the destination rules of Debian's squid.conf as it is shipped
SQUID_SHIPPED = ["acl SSL_ports port 443", "acl Safe_ports port 80 21 443 70 210 1025-65535 280 488 591 777",
                 "http_access deny !Safe_ports", "http_access deny CONNECT !SSL_ports", "http_access allow localhost manager",
                 "http_access deny manager", "http_access allow localhost", "http_access deny all"]


def _start_squid(opts):
    opts, w = _prepare(opts)
    if opts.clamav:
        raise NotImplementedError("squid scans only through ICAP")
    db = w / "certdb"
    subprocess.run(["/usr/lib/squid/security_file_certgen", "-c", "-s", str(db), "-M", "16MB"], check=True, capture_output=True)
    (w / "hosts").write_text("".join(f"{ip} {h}\n" for h, ip in opts.hosts.items()) or "127.0.0.1 localhost\n")
    (w / "core").mkdir(exist_ok=True)
    tls = f"generate-host-certificates=on dynamic_cert_mem_cache_size=16MB tls-cert={w}/proxyca.crt tls-key={w}/proxyca.key"
    c = [f"http_port 127.0.0.1:{opts.port} ssl-bump {tls}" if opts.mode == "explicit"
         else f"https_port 127.0.0.1:{opts.port} intercept ssl-bump {tls}\nhttp_port 127.0.0.1:{free_port()}",
         f"sslcrtd_program /usr/lib/squid/security_file_certgen -s {db} -M 16MB", "sslcrtd_children 4 startup=1",
         "acl all_dst dst all", *(["http_access allow all"] if opts.dest == "lab" else SQUID_SHIPPED), "cache deny all", "cache_mem 8 MB",
         f"hosts_file {w}/hosts", f"pid_filename {w}/squid.pid", f"coredump_dir {w}/core", f"cache_log {w}/squid.log",
         f"access_log {'stdio:' + str(w) + '/access.log' if opts.access_log else 'none'}",
         "shutdown_lifetime 0 seconds", "visible_hostname lab", "cache_effective_user proxy", "pinger_enable off",
         f"workers {opts.workers}", "positive_dns_ttl 1 hour", "forward_timeout 10 seconds", "connect_timeout 5 seconds"]
    c.append("http_upgrade_request_protocols websocket allow all")
    c += [f"request_timeout {opts.header_timeout} seconds\nrequest_start_timeout {opts.header_timeout} seconds"] if opts.header_timeout else []
    c += [f"client_idle_pconn_timeout {opts.idle_timeout} seconds"] if opts.idle_timeout else []
    c += [f"read_timeout {opts.read_timeout} seconds"] if opts.read_timeout else []
    if opts.trust:
        c.append(f"tls_outgoing_options cafile={opts.trust} flags=NO_DEFAULT_CA" + (f",VERIFY_CRL_ALL crlfile={opts.crl}" if opts.crl else ""))
    if opts.splice:
        c += [f"acl splice_hosts ssl::server_name {' '.join(opts.splice)}", "ssl_bump splice splice_hosts"]
    c += ["acl step1 at_step SslBump1", "ssl_bump peek step1" if opts.splice else "", "ssl_bump stare all", "ssl_bump bump all"]
    if opts.icap_reqmod or opts.icap_respmod:
        bypass = "on" if opts.fail == "open" else "off"
        c += ["icap_enable on", f"icap_preview_enable {'on' if opts.preview else 'off'}", "icap_persistent_connections on",
              f"icap_io_timeout {opts.icap_timeout} seconds", "icap_connect_timeout 3 seconds", "icap_service_failure_limit -1"]
        c += ["adaptation_send_client_ip on", 'adaptation_meta X-Server-IP "%<a" all'] if opts.icap_info else []
        for kind, vec, urls in (("req", "reqmod_precache", opts.icap_reqmod), ("resp", "respmod_precache", opts.icap_respmod)):
            for i, u in enumerate(urls):
                tls = f" tls-cafile={opts.icap_trust} tls-default-ca=off" if opts.icap_trust and u.startswith("icaps:") else ""
                c.append(f"icap_service {kind}{i} {vec} {u} bypass={bypass}{tls}")
            if urls:
                c += [f"adaptation_service_chain {kind}chain {' '.join(f'{kind}{i}' for i in range(len(urls)))}",
                      f"adaptation_access {kind}chain allow all"]
    (w / "squid.conf").write_text("\n".join(c) + "\n" + opts.extra + "\n")
    # squid drops root: everything it writes belongs to its own user
    subprocess.run(["chown", "-R", "proxy:", str(w)], check=True)
    os.chmod(w, 0o755)
    out = open(w / "squid.out", "wb")
    proc = subprocess.Popen(["squid", "-N" if opts.workers == 1 else "--foreground", "-n", f"lab{opts.port}",
                             "-f", str(w / "squid.conf")], stdout=out, stderr=out)
    wait_port(opts.port, proc=proc)
    return Proxy("squid", opts, proc, str(w / "proxyca.crt"), str(w / "squid.log"))


def assay_conf(opts, w):
    """The assay.conf for a set of options. YAML, written as JSON."""
    import json
    c = {"listen": [{"on": f"127.0.0.1:{opts.port}", "kind": "explicit" if opts.mode == "explicit" else "redirect"}],
         "ca": {"cert": f"{w}/proxyca.crt", "key": f"{w}/proxyca.key"},
         "resolver": {"hosts": f"{w}/hosts"},
         "admin": {"socket": f"{w}/admin.sock", "http": "none"},
         "log": {"access": [{"to": f"{w}/access.log", "format": "json"}] if opts.access_log else []},
         "workers": opts.workers}
    if opts.dest == "lab":
        c["destinations"] = {"allow": ["127.0.0.0/8", "::1/128"], "ports": {"connect": ["1-65535"], "http": ["1-65535"]}}
    origin = {"trust": [opts.trust]} if opts.trust else {}
    if opts.crl:
        origin["crl"] = [opts.crl]
    if origin:
        c["tls"] = {"origin": origin}
    limits = {k: f"{v}s" for k, v in (("request", opts.header_timeout), ("idle", opts.idle_timeout), ("read", opts.read_timeout)) if v}
    if limits:
        c["limits"] = limits
    services, chains = {}, {"upload": [], "download": []}
    for chain, mode, urls in (("upload", "req", opts.icap_reqmod), ("download", "resp", opts.icap_respmod)):
        for i, u in enumerate(urls):
            n = f"{mode}{i}"
            # what is measured is the transaction, not that it was saved
            services[n] = {"url": u, "mode": mode, "cache": "off", "on_error": "bypass" if opts.fail == "open" else "block",
                           "preview": "auto" if opts.preview else "off", "connect_timeout": "3s", "timeout": f"{opts.icap_timeout}s",
                           "identity": "squid" if opts.icap_info else "none"}
            if opts.icap_trust and u.startswith("icaps:"):
                services[n]["tls"] = {"trust": [opts.icap_trust]}
            chains[chain].append(n)
    if opts.clamav:
        services["clam"] = {"url": f"clamav:{opts.clamav}", "mode": "both"}
        for chain in chains.values():
            chain.append("clam")
    chains = {k: v for k, v in chains.items() if v}
    c["services"], c["scan"] = services, chains
    rules = [{"name": "splice", "if": {"host": [f"={h}" for h in opts.splice]}, "tls": "splice"}] if opts.splice else []
    c["rules"] = rules + [{"name": "default", "scan": list(chains) or "none"}]
    return json.dumps(c, indent=1) + "\n" + opts.extra + "\n"


def _start_assay(opts):
    opts, w = _prepare(opts)
    build = pathlib.Path(os.environ.get("ASSAY_BUILD", os.getcwd()))   # the build tree
    (w / "hosts").write_text("".join(f"{ip} {h}\n" for h, ip in opts.hosts.items()) or "127.0.0.1 localhost\n")
    (w / "assay.conf").write_text(assay_conf(opts, w))
    out = open(w / "assayd.log", "wb")
    proc = subprocess.Popen([str(build / "assayd"), "-f", str(w / "assay.conf")], stdout=out, stderr=out,
                            env=dict(os.environ, XDG_STATE_HOME=str(w / "state")))
    try:
        wait_port(opts.port, proc=proc)
    except Exception as e:
        raise RuntimeError(f"{e}: {(w / 'assayd.log').read_text(errors='replace')[-800:]}") from None
    return Proxy("assay", opts, proc, str(w / "proxyca.crt"), str(w / "assayd.log"))


def start(kind, opts):
    return {"squid": _start_squid, "assay": _start_assay}[kind](opts)
