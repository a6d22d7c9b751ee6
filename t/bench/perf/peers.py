# SPDX-License-Identifier: GPL-2.0-or-later
"""Proxies under test besides those that lab.py starts, and the backends of the bench (origin, ICAP servers).

A peer here is the same lab.Proxy object; two more things are told about each kind:
  ENTRY[kind]   "connect": an explicit proxy (CONNECT, absolute http:// URLs)
                "direct":  TLS at once to a port whose origin is fixed (transparent or reverse peers)
  CAPS[kind]    what the bench may ask of it, see bench.py
"""
import contextlib, json, os, pathlib, shutil, socket, subprocess, sys, time, urllib.request
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import lab

HERE = pathlib.Path(__file__).resolve().parent
BIN = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "/tmp")) / "assay-bench"     # shared/ may be read-only: programs are built here
# set by Origin(): where the host names lead and the fixed-origin peers connect to; "ip" is one of "h1" and "h2", "alpn" what peers offer it
ORIGIN = {"ip": "", "tls": 443, "http": 80, "h1": "", "h2": "", "alpn": "http/1.1"}

ENTRY, CAPS, NOTE = {}, {}, {}
SCANS = {"assay"}                       # kinds that honour Options.clamav
STARTERS = {}
FULL = {"bump", "mint", "plain", "splice", "req", "resp", "upload", "idle", "workers"}
for k in ("squid", "assay"):
    ENTRY[k], CAPS[k] = "connect", FULL


def peer(kind, entry, caps, note=""):
    def deco(f):
        ENTRY[kind], CAPS[kind], NOTE[kind], STARTERS[kind] = entry, set(caps.split()), note, f
        return f
    return deco


def start(kind, opts):
    return STARTERS[kind](opts) if kind in STARTERS else lab.start(kind, opts)


def _spawn(kind, opts, w, argv, hosts=None, env=None, wait=True):
    out = open(w / "out.log", "wb")
    if hosts:       # a private /etc/hosts stands in for DNS, seen by this process alone
        (w / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{ip} {h}\n" for h, ip in hosts.items()))
        argv = ["unshare", "-m", "--propagation", "private", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(w / "hosts")] + argv
    proc = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=dict(os.environ, **(env or {})), cwd=w)
    if wait:
        lab.wait_port(opts.port, proc=proc)
    return lab.Proxy(kind, opts, proc, str(w / "proxyca.crt"), str(w / "out.log"))


def _both(w, name="both.pem"):
    (w / name).write_bytes((w / "proxyca.key").read_bytes() + (w / "proxyca.crt").read_bytes())
    return w / name


def _leaf(w, host="*.perf.test"):
    """A fixed certificate under the proxy's CA, for the peers that mint none."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    ca = x509.load_pem_x509_certificate((w / "proxyca.crt").read_bytes())
    key = serialization.load_pem_private_key((w / "proxyca.key").read_bytes(), None)
    c, k = lab.make_leaf(host, ca, key)
    (w / "leaf.pem").write_bytes(lab.pem(k) + lab.pem(c))
    (w / "leaf.crt").write_bytes(lab.pem(c))
    (w / "leaf.key").write_bytes(lab.pem(k))
    return w / "leaf.pem"


def _squid_bump(kind, rule):
    """lab.py's Squid with another ssl_bump rule, everything else the same."""
    def f(opts):
        p = lab.start("squid", opts)
        p.stop()
        conf = pathlib.Path(p.workdir, "squid.conf")
        lines = [l for l in conf.read_text().splitlines() if not l.startswith("ssl_bump ")]
        conf.write_text("\n".join(lines) + f"\n{rule}\n")
        out = open(p.logfile + ".out", "wb")
        p.proc = subprocess.Popen(["squid", "-N", "-n", f"lab{p.port}", "-f", str(conf)], stdout=out, stderr=out)
        lab.wait_port(p.port, proc=p.proc)
        p.kind = kind
        return p
    peer(kind, "connect", "bump mint plain req resp upload idle", f"Squid with '{rule}'")(f)


_squid_bump("squid-serverfirst", "ssl_bump server-first all")   # the old rule: certificate mimicked and cached in memory, no step 2
_squid_bump("squid-clientfirst", "ssl_bump bump all")           # at step 1: the client's handshake before any word with the origin


@peer("mitmdump", "connect", "bump mint plain upload idle", "mitmproxy 8.1.1, Python; bodies over 64 KB are streamed; offers h2 where the origin speaks it")
def _mitmdump(opts):
    opts, w = lab._prepare(opts)
    conf = w / "conf"
    conf.mkdir()
    shutil.copy(_both(w), conf / "mitmproxy-ca.pem")
    argv = ["mitmdump", "-q", "--listen-host", "127.0.0.1", "-p", str(opts.port), "--set", f"confdir={conf}", "--set", "flow_detail=0",
            "--set", "stream_large_bodies=64k"]
    if opts.trust:
        argv += ["--set", f"ssl_verify_upstream_trusted_ca={opts.trust}"]
    return _spawn("mitmdump", opts, w, argv, opts.hosts)


@peer("sslsplit", "direct", "bump mint upload idle", "sslsplit 0.5.5 https mode; does not verify origin certificates")
def _sslsplit(opts):
    opts, w = lab._prepare(opts)
    for f in ("proxyca.key", "proxyca.crt"):
        os.chmod(w / f, 0o644)
    os.chmod(w, 0o755)
    return _spawn("sslsplit", opts, w, ["sslsplit", "-k", str(w / "proxyca.key"), "-c", str(w / "proxyca.crt"), "-u", "root", "-Z",
                                        "https", "127.0.0.1", str(opts.port), ORIGIN["ip"], str(ORIGIN["tls"])])


def _haproxy(opts, kind, front, back, mode, reuse="never"):
    opts, w = lab._prepare(opts)
    trust = opts.trust
    _leaf(w)
    (w / "h.cfg").write_text(f"""global
    nbthread {opts.workers}
    maxconn 9000
    ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
    mode {mode}
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    option http-keep-alive
    http-reuse {reuse}
frontend f
    bind 127.0.0.1:{opts.port} {front.format(w=w)}
    default_backend b
backend b
    server o {ORIGIN['ip']}:{ORIGIN['tls']} {back.format(trust=trust, alpn=ORIGIN['alpn'])}
""".replace(f"    option http-keep-alive\n    http-reuse {reuse}\n", "" if mode == "tcp" else f"    option http-keep-alive\n    http-reuse {reuse}\n"))
    _both(w, "ca-both.pem")
    return _spawn(kind, opts, w, ["haproxy", "-db", "-f", str(w / "h.cfg")])


@peer("haproxy", "direct", "bump mint upload idle workers", "HAProxy 2.6: SNI minting (generate-certificates), HTTP parsing, fixed origin")
def _haproxy_mint(opts):
    return _haproxy(opts, "haproxy", "ssl crt {w}/leaf.pem generate-certificates ca-sign-file {w}/ca-both.pem alpn h2,http/1.1",
                    "ssl verify required ca-file {trust} sni ssl_fc_sni alpn {alpn}", "http")


@peer("haproxy-pool", "direct", "bump mint upload idle workers", "as haproxy, but clients share origin connections (http-reuse always): without it, each of an h2 client's streams wants one of its own")
def _haproxy_pool(opts):
    return _haproxy(opts, "haproxy-pool", "ssl crt {w}/leaf.pem generate-certificates ca-sign-file {w}/ca-both.pem alpn h2,http/1.1",
                    "ssl verify required ca-file {trust} sni ssl_fc_sni alpn {alpn}", "http", "always")


@peer("limit-haproxy-tcp", "direct", "bump upload idle", "limit: HAProxy 2.6 TLS to TLS, no HTTP, fixed certificate")
def _haproxy_tcp(opts):
    return _haproxy(opts, "limit-haproxy-tcp", "ssl crt {w}/leaf.pem", "ssl verify required ca-file {trust} sni ssl_fc_sni", "tcp")


def _nginx(opts, kind, body):
    opts, w = lab._prepare(opts)
    _leaf(w)
    (w / "n.conf").write_text(f"""daemon off;
worker_processes {opts.workers};
worker_rlimit_nofile 20000;
pid {w}/n.pid;
error_log {w}/err.log;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
user root;
events {{ worker_connections 18000; }}
""" + body.format(w=w, port=opts.port, tls=f"{ORIGIN['ip']}:{ORIGIN['tls']}", trust=opts.trust))
    return _spawn(kind, opts, w, ["nginx", "-p", str(w), "-c", str(w / "n.conf"), "-e", str(w / "err.log")])


@peer("limit-nginx-stream", "direct", "bump upload idle", "limit: nginx 1.22 stream TLS to TLS, no HTTP, fixed certificate")
def _nginx_stream(opts):
    return _nginx(opts, "limit-nginx-stream", """stream {{
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {w}/leaf.crt; ssl_certificate_key {w}/leaf.key; ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:s:10m;
        proxy_pass {tls}; proxy_ssl on; proxy_ssl_verify on; proxy_ssl_trusted_certificate {trust};
        proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_name h0.perf.test; proxy_ssl_server_name on; proxy_buffer_size 64k; proxy_timeout 300s;
    }}
}}
""")


@peer("nginx-http", "direct", "bump upload workers", "nginx 1.22 reverse proxy TLS to TLS with HTTP parsing, fixed certificate; HTTP/1 to the origin")
def _nginx_http(opts):
    return _nginx(opts, "nginx-http", """http {{
    access_log off; client_max_body_size 0; keepalive_requests 1000000; keepalive_timeout 300s;
    map $http_upgrade $up {{ default upgrade; '' ''; }}
    upstream o {{ server {tls}; keepalive 512; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port} ssl http2; http2_max_concurrent_streams 128;
        ssl_certificate {w}/leaf.crt; ssl_certificate_key {w}/leaf.key; ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:s:10m;
        location / {{
            proxy_pass https://o; proxy_http_version 1.1; proxy_set_header Connection $up; proxy_set_header Upgrade $http_upgrade; proxy_set_header Host $http_host;
            proxy_ssl_verify on; proxy_ssl_trusted_certificate {trust}; proxy_ssl_name $ssl_server_name; proxy_ssl_server_name on;
            proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_request_buffering off; proxy_max_temp_file_size 0;
        }}
    }}
}}
""")


@peer("ats", "direct", "bump mint upload idle plain", "Traffic Server 9.2 with the certifier plugin (mints by SNI) as a transparent forward proxy")
def _ats(opts):
    opts, w = lab._prepare(opts)
    for d in ("etc", "var", "run", "log", "cache", "certs"):
        (w / d).mkdir(exist_ok=True)
    e = w / "etc"
    shutil.copytree("/etc/trafficserver/body_factory", e / "body_factory", dirs_exist_ok=True)
    for f in ("ip_allow.yaml", "logging.yaml", "sni.yaml", "strategies.yaml", "storage.config", "cache.config", "hosting.config", "parent.config",
              "socks.config", "splitdns.config", "volume.config"):
        if os.path.exists(f"/etc/trafficserver/{f}"):
            shutil.copy(f"/etc/trafficserver/{f}", e / f)
    (e / "ip_allow.yaml").write_text("ip_allow:\n  - apply: in\n    ip_addrs: 0/0\n    action: allow\n    methods: ALL\n")
    (e / "storage.config").write_text("")
    _leaf(w)
    (e / "ssl_multicert.config").write_text(f"dest_ip=* ssl_cert_name={w}/leaf.pem\n")
    (w / "serial").write_text("1000\n")
    (e / "plugin.config").write_text(f"certifier.so --store={w}/certs --max=20000 --sign-cert={w}/proxyca.crt --sign-key={w}/proxyca.key --sign-serial={w}/serial\n")
    (e / "remap.config").write_text(f"regex_map https://(.*)/ https://{ORIGIN['ip']}/\nregex_map http://(.*)/ http://{ORIGIN['ip']}/\nregex_map wss://(.*)/ wss://{ORIGIN['ip']}/\n")
    plain = lab.free_port()
    recs = {"proxy.config.http.server_ports": ("STRING", f"{opts.port}:ssl:ip-in=127.0.0.1 {plain}:ip-in=127.0.0.1"),
            "proxy.config.http.cache.http": ("INT", 0), "proxy.config.url_remap.remap_required": ("INT", 0),
            "proxy.config.url_remap.pristine_host_hdr": ("INT", 1), "proxy.config.reverse_proxy.enabled": ("INT", 1),
            "proxy.config.exec_thread.autoconfig": ("INT", 0), "proxy.config.exec_thread.limit": ("INT", 1),
            "proxy.config.accept_threads": ("INT", 0), "proxy.config.task_threads": ("INT", 1), "proxy.config.cache.threads_per_disk": ("INT", 1),
            "proxy.config.ssl.client.verify.server.policy": ("STRING", "ENFORCED"), "proxy.config.ssl.client.verify.server.properties": ("STRING", "ALL"),
            "proxy.config.ssl.client.CA.cert.path": ("STRING", str(pathlib.Path(opts.trust).parent)), "proxy.config.ssl.client.CA.cert.filename": ("STRING", pathlib.Path(opts.trust).name),
            "proxy.config.dns.search_default_domains": ("INT", 0), "proxy.config.hostdb.host_file.path": ("STRING", str(w / "hosts")),
            "proxy.config.hostdb.host_file.interval": ("INT", 1), "proxy.config.dns.nameservers": ("STRING", "127.0.0.1:9"),
            "proxy.config.log.logging_enabled": ("INT", 0), "proxy.config.http.insert_response_via_str": ("INT", 0), "proxy.config.http.connect_ports": ("STRING", "*"),
            "proxy.config.http.server_session_sharing.match": ("STRING", "both"), "proxy.config.net.connections_throttle": ("INT", 15000),
            "proxy.config.http.keep_alive_no_activity_timeout_in": ("INT", 300), "proxy.config.http.attach_server_session_to_client": ("INT", 0),
            "proxy.config.admin.user_id": ("STRING", "#-1"),
            "proxy.config.bin_path": ("STRING", "/usr/bin"), "proxy.config.plugin.plugin_dir": ("STRING", "/usr/lib/trafficserver/modules"),
            "proxy.config.diags.output.error": ("STRING", "E")}
    (e / "records.config").write_text("".join(f"CONFIG {k} {v[0]} {v[1]}\n" for k, v in recs.items()))
    (w / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{ip} {h}\n" for h, ip in opts.hosts.items()))
    (w / "runroot.yaml").write_text(f"prefix: {w}\nexec_prefix: /usr\nbindir: /usr/bin\nsbindir: /usr/sbin\nsysconfdir: {e}\ndatadir: {w}/cache\nincludedir: /usr/include\nlibdir: /usr/lib\nlibexecdir: /usr/lib/trafficserver/modules\nlocalstatedir: {w}/var\nruntimedir: {w}/run\nlogdir: {w}/log\ncachedir: {w}/cache\n")
    p = _spawn("ats", opts, w, ["/usr/bin/traffic_server", f"--run-root={w}/runroot.yaml"])
    p.plain_port = plain
    return p


@peer("nghttpx", "direct", "bump upload workers", "nghttpx 1.52 (nghttp2's own proxy), fixed certificate and origin, which it asks in one protocol only: ORIGIN['alpn']")
def _nghttpx(opts):
    opts, w = lab._prepare(opts)
    _leaf(w)
    proto = ";proto=h2" if ORIGIN["alpn"].startswith("h2") else ""
    return _spawn("nghttpx", opts, w, ["nghttpx", "--conf=/dev/null", f"--frontend=127.0.0.1,{opts.port}", f"--backend={ORIGIN['ip']},{ORIGIN['tls']};;tls;sni=h0.perf.test{proto}",
                                       f"--workers={opts.workers}", f"--cacert={opts.trust}", "--no-via", "--no-server-rewrite", "--no-ocsp", "--log-level=ERROR", "--errorlog-file=/dev/stderr",
                                       "--frontend-http2-window-size=1M", "--backend-http2-window-size=1M", "--backend-http2-connection-window-size=16M",
                                       "--backend-connections-per-host=8", str(w / "leaf.key"), str(w / "leaf.crt")])


@peer("e2guardian", "connect", "bump mint plain upload idle", "e2guardian 5.3.5 with sslmitm, content filters at their defaults; a thread per connection")
def _e2guardian(opts):
    opts, w = lab._prepare(opts)
    shutil.copytree("/etc/e2guardian", w / "e2", dirs_exist_ok=True)
    for d in ("certs", "log", "trust"):
        (w / d).mkdir(exist_ok=True)
    subprocess.run(["openssl", "genrsa", "-out", str(w / "cert.key"), "2048"], check=True, capture_output=True)
    if opts.trust:
        shutil.copy(opts.trust, w / "trust" / "root.pem")
        subprocess.run(["openssl", "rehash", str(w / "trust")], check=True, capture_output=True)
    g = (w / "e2" / "e2guardian.conf").read_text().replace("/etc/e2guardian", str(w / "e2"))
    drop = ("filterip", "filterports", "enablessl", "cacertificatepath", "caprivatekeypath", "certprivatekeypath", "generatedcertpath", "nodaemon", "nologger",
            "loglevel", "httpworkers", "checkip", "transparenthttpsport", "loglocation", "statlocation", "pidfilename", "daemonuser", "daemongroup", "sslcertificatepath", "generatedcertstart", "generatedcertend", "proxytimeout", "pcontimeout")
    keep = [l for l in g.splitlines() if not l.split("=")[0].strip() in drop]
    keep += ["filterip = 127.0.0.1", f"filterports = {opts.port}", "enablessl = on", f"cacertificatepath = '{w}/proxyca.crt'", f"caprivatekeypath = '{w}/proxyca.key'",
             f"certprivatekeypath = '{w}/cert.key'", f"generatedcertpath = '{w}/certs/'", "nodaemon = on", "nologger = on", "loglevel = 0", "httpworkers = 1200", "checkip = 127.0.0.1",
             f"loglocation = '{w}/log/access.log'", f"pidfilename = '{w}/e2.pid'", "daemonuser = 'root'", "daemongroup = 'root'", f"sslcertificatepath = '{w}/trust'", "proxytimeout = 60", "pcontimeout = 60",
             "generatedcertstart = 1700000000", "generatedcertend = 1990000000"]   # its built-in dates have passed
    (w / "e2" / "e2guardian.conf").write_text("\n".join(keep) + "\n")
    f1 = (w / "e2" / "e2guardianf1.conf").read_text().replace("/etc/e2guardian", str(w / "e2")).replace("sslmitm = off", "sslmitm = on")
    (w / "e2" / "e2guardianf1.conf").write_text(f1)
    for f in (w / "e2").rglob("*"):
        if f.is_file() and f.suffix in ("", ".conf", ".story", ".dat"):
            t = f.read_bytes()
            if b"/etc/e2guardian" in t:
                f.write_bytes(t.replace(b"/etc/e2guardian", str(w / "e2").encode()))
    return _spawn("e2guardian", opts, w, ["e2guardian", "-N", "-c", str(w / "e2" / "e2guardian.conf")], opts.hosts)


class Direct:
    """No proxy: the load generator talks to the origin."""
    kind = "direct"

    def __init__(self, opts):
        self.opts, self.port, self.ca_cert, self.plain_port, self.host = opts, ORIGIN["tls"], opts.trust, ORIGIN["http"], ORIGIN["ip"]

    def pids(self):
        return []

    def rss_bytes(self):
        return 0

    def stop(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *x):
        pass


peer("direct", "direct", "bump mint plain splice upload", "no proxy")(Direct)


# ---------------------------------------------------------------- backends
class Backend:
    def __init__(self, argv, port, log, cwd=None, host="127.0.0.1"):
        self.out = open(log, "wb")
        self.proc = subprocess.Popen(argv, stdout=self.out, stderr=self.out, stdin=subprocess.DEVNULL, cwd=cwd)
        lab.wait_port(port, host, proc=self.proc)
        self.port = port

    pids = lab.Proxy.pids
    rss_bytes = lab.Proxy.rss_bytes

    def stop(self):
        if self.proc.poll() is None:
            self.proc.terminate()
            try:
                self.proc.wait(5)
            except subprocess.TimeoutExpired:
                for p in reversed(self.pids()):
                    with contextlib.suppress(OSError):
                        os.kill(p, 9)
                self.proc.wait()


class Origin(Backend):
    def __init__(self, w, hosts):
        ca, key = lab.make_ca("Perf Origin Root")
        self.ca = w / "originca.pem"
        self.ca.write_bytes(lab.pem(ca))
        (w / "originca.key").write_bytes(lab.pem(key))
        os.chmod(w, 0o755)
        # an address of its own, so that the ports are 443 and 80 (e2guardian inspects no other port) for any number of benches at a time
        for n in range(1, 250):
            with socket.socket() as a, socket.socket() as b, socket.socket() as c, contextlib.suppress(OSError):
                a.bind((f"127.0.77.{n}", 443)), b.bind((f"127.0.77.{n}", 80)), c.bind((f"127.0.78.{n}", 443))
                ORIGIN["ip"] = ORIGIN["h1"] = f"127.0.77.{n}"
                ORIGIN["h2"] = f"127.0.78.{n}"
                break
        super().__init__([str(BIN / "origin"), "--addr", ORIGIN["h1"], "--addr2", ORIGIN["h2"], "--tls", str(ORIGIN["tls"]), "--http", str(ORIGIN["http"]), "--ca", str(self.ca), "--cakey", str(w / "originca.key"),
                          "--hosts", str(hosts)], ORIGIN["tls"], w / "origin.log", host=ORIGIN["h1"])

    def stats(self):
        return json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{ORIGIN['h1']}:{ORIGIN['http']}/stats", timeout=10))


def icapnull(w):
    p = lab.free_port()
    return Backend([str(BIN / "icapnull"), "--port", str(p)], p, w / "icapnull.log")


def cicap(w, modules=""):
    """c-icap with its echo service (and, by modules, more), no access log, enough threads that no request waits."""
    p = lab.free_port()
    (w / "c-icap.conf").write_text(f"""PidFile {w}/c-icap.pid
CommandsSocket {w}/c-icap.ctl
Timeout 300
MaxKeepAliveRequests -1
KeepAliveTimeout 600
StartServers 1
MaxServers 2
MinSpareThreads 10
MaxSpareThreads 1300
ThreadsPerChild 1200
MaxRequestsPerChild 0
Port 127.0.0.1:{p}
ServerAdmin lab
ServerName lab
TmpDir {w}
MaxMemObject 1048576
DebugLevel 1
Pipelining on
SupportBuggyClients off
ModulesDir /usr/lib/x86_64-linux-gnu/c_icap
ServicesDir /usr/lib/x86_64-linux-gnu/c_icap
TemplateDir /usr/share/c_icap/templates/
TemplateDefaultLanguage en
LoadMagicFile /etc/c-icap/c-icap.magic
RemoteProxyUsers off
ServerLog {w}/c-icap-server.log
Service echo srv_echo.so
{modules}
""")
    return Backend(["c-icap", "-N", "-f", str(w / "c-icap.conf")], p, w / "c-icap.out", cwd=w)


def clam_db(w, signatures=20000):
    """A made-up signature database: random 24-byte body signatures, and EICAR. (No real database can be had offline.)"""
    import random
    d = w / "clamdb"
    d.mkdir(exist_ok=True)
    r = random.Random(7)
    lines = [f"Perf.Sig.{i}:0:*:{r.randbytes(24).hex()}" for i in range(signatures)]
    lines.append("Eicar-Test:0:*:" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE".hex())
    (d / "perf.ndb").write_text("\n".join(lines) + "\n")
    os.chmod(d, 0o755), os.chmod(d / "perf.ndb", 0o644)
    return d


class ClamIcap:
    """c-icap's virus_scan service (Debian: libc-icap-mod-virus-scan) with clamd: what scans for Squid."""
    def __init__(self, w):
        self.db, self.dir = clam_db(w), w / "scan"
        self.dir.mkdir(exist_ok=True)
        os.chmod(self.dir, 0o777)
        (self.dir / "clamd.conf").write_text(f"""LocalSocket {self.dir}/clamd.sock
DatabaseDirectory {self.db}
TemporaryDirectory {self.dir}
Foreground yes
MaxThreads 8
MaxQueue 400
User root
MaxFileSize 200M
MaxScanSize 200M
StreamMaxLength 200M
LogFile {self.dir}/clamd.log
""")
        self.out = open(self.dir / "clamd.out", "wb")
        self.clamd = subprocess.Popen(["clamd", "-c", str(self.dir / "clamd.conf")], stdout=self.out, stderr=self.out, stdin=subprocess.DEVNULL)
        for _ in range(200):
            if (self.dir / "clamd.sock").exists() or self.clamd.poll() is not None:
                break
            time.sleep(0.1)
        self.icap = cicap(self.dir, f"""Module common clamd_mod.so
clamd_mod.ClamdSocket {self.dir}/clamd.sock
Service antivirus_module virus_scan.so
ServiceAlias avscan virus_scan?allow204=on&sizelimit=off&mode=simple
virus_scan.ScanFileTypes TEXT DATA EXECUTABLE ARCHIVE GIF JPEG MSOFFICE
virus_scan.SendPercentData 5
virus_scan.StartSendPercentDataAfter 2M
virus_scan.MaxObjectSize 200M
virus_scan.DefaultEngine clamd
""")
        self.port = self.icap.port

    def pids(self):
        return self.icap.pids() + [self.clamd.pid]

    def stop(self):
        self.icap.stop()
        self.clamd.terminate()
        try:
            self.clamd.wait(5)
        except subprocess.TimeoutExpired:
            self.clamd.kill()
            self.clamd.wait()
