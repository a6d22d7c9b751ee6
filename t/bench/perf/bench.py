#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Performance bench: any number of proxies side by side, interleaved (A B C, B C A, ...), medians over the rounds.

    bench.py squid assay limit-nginx-stream direct [--scenario 'S1*,S4*'] [--quick] [--rounds 3] [--out result.json]
    bench.py --list

The proxy runs alone on one CPU (--cpus 0,1: the first); load generator, origin, ICAP server and this script share the
second. The chief figure is the proxy's own CPU time per operation (all its processes, from their CPU clocks, ns): it does
not change much with what else the machine does, and one second divided by it is what one core can carry ("cap/core").
Throughput and latency are wall-clock figures: 'noise' is the share of the proxy's / the other CPU that other programs had meanwhile.
core1 near 100% says that load generator and origin, not the proxy, limited the throughput.
"""
import argparse, collections, contextlib, fnmatch, json, os, pathlib, platform, shutil, statistics, subprocess, sys, tempfile, threading, time
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import peers
from peers import lab

HERE = pathlib.Path(__file__).resolve().parent
CPUS = [0, 1]
QUICK = False
MIB = 1 << 20


# ---------------------------------------------------------------- measuring
def cpu_ns(pids):
    out = {}
    for p in pids:
        with contextlib.suppress(OSError):
            out[p] = time.clock_gettime_ns(((~p) << 3) | 2)     # that process's CPU clock
    return out


def cpu_between(a, b):
    return sum(v - a.get(p, 0) for p, v in b.items()) / 1e9


def busy(cpu):
    for line in open("/proc/stat"):
        if line.startswith(f"cpu{cpu} "):
            f = [int(x) for x in line.split()[1:]]
            return (f[0] + f[1] + f[2] + f[5] + f[6] + f[7]) / os.sysconf("SC_CLK_TCK")
    return 0.0


def rss_now(pids):
    n = 0
    for p in pids:
        with contextlib.suppress(OSError):
            n += int(open(f"/proc/{p}/statm").read().split()[1]) * 4096
    return n


class Skip(Exception):
    """The proxy does not offer what the scenario is about."""


class Bench:
    def __init__(self, quiet=0):
        self.quiet = quiet
        self.w = pathlib.Path(tempfile.mkdtemp(prefix="perf-"))
        os.chmod(self.w, 0o755)
        os.sched_setaffinity(0, {CPUS[1]})
        self.origin = peers.Origin(self.w, 40000)
        self.null = peers.icapnull(self.w)
        self._cicap = self._clam = None

    @property
    def cicap(self):
        if self._cicap is None:
            self._cicap = peers.cicap(self.w)
        return self._cicap

    @property
    def clam(self):
        if self._clam is None:
            self._clam = peers.ClamIcap(self.w)
        return self._clam

    def icap(self, server, service):
        s = self.null if server == "null" else self.cicap
        name = {"null": f"icap://127.0.0.1:{s.port}/{service}", "cicap": f"icap://127.0.0.1:{s.port}/{service}"}[server]
        return s, name

    def close(self):
        for b in (self.origin, self.null, self._cicap, self._clam):
            if b:
                b.stop()
        shutil.rmtree(self.w, ignore_errors=True)

    def wait_quiet(self):
        """Wait (at most self.quiet seconds) until other programs leave both CPUs alone."""
        end = time.time() + self.quiet
        while time.time() < end:
            a = [busy(c) for c in CPUS]
            time.sleep(0.5)
            if all(busy(c) - x < 0.08 for c, x in zip(CPUS, a)):
                return

    @contextlib.contextmanager
    def proxy(self, kind, hosts=16, origin="h1", **kw):
        """origin "h2": the origin's address that offers HTTP/2 too; a peer with a fixed origin then asks it in HTTP/2 if it can"""
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {CPUS[0]})
        peers.ORIGIN.update(ip=peers.ORIGIN[origin], alpn="http/1.1" if origin == "h1" else "h2,http/1.1")
        try:
            p = peers.start(kind, lab.Options(trust=str(self.origin.ca), hosts={f"h{i}.perf.test": peers.ORIGIN["ip"] for i in range(hosts)}, **kw))
        finally:
            peers.ORIGIN.update(ip=peers.ORIGIN["h1"], alpn="http/1.1")
            os.sched_setaffinity(0, mine)
        try:
            yield p
        finally:
            p.stop()
            if kind != "direct":
                shutil.rmtree(p.workdir, ignore_errors=True)

    def load_argv(self, p, args, plain=False, ca=None):
        entry = peers.ENTRY[p.kind]
        mode = {("connect", False): "connect", ("direct", False): "direct", ("connect", True): "plain", ("direct", True): "direct-plain"}[(entry, plain)]
        port = getattr(p, "plain_port", p.port) if plain else p.port
        return [str(peers.BIN / "load"), "--mode", mode, "--addr", f"{getattr(p, 'host', '127.0.0.1')}:{port}", "--port", str(peers.ORIGIN["http" if plain else "tls"]),
                "--ca", ca or p.ca_cert] + [str(a) for a in args]

    def load(self, p, args, timeout=120, **kw):
        """One run without measuring."""
        r = subprocess.run(self.load_argv(p, args, **kw), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        return json.loads(r.stdout.splitlines()[-1])

    def measure(self, p, args, warm=True, icap=None, timeout=180, sample=False, **kw):
        if self.quiet:
            self.wait_quiet()
        argv = self.load_argv(p, list(args) + (["--warm"] if warm else []), **kw)
        pr = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        killer = threading.Timer(timeout, pr.kill)
        killer.start()
        peak, stop = [0], threading.Event()
        try:
            if warm:
                ready = pr.stdout.readline().split()
                if not ready or int(ready[2]) >= (int(args[list(args).index("-c") + 1]) if "-c" in args else 1):
                    pr.kill()
                    raise RuntimeError(f"no connection became ready: {ready} {pr.stderr.read()[:200]}")
            pids = p.pids()
            o0, self0 = self.origin.stats(), time.process_time()
            r0 = rss_now(pids)
            c0, i0, b0, b1, t0 = cpu_ns(pids), cpu_ns(icap.pids()) if icap else {}, busy(CPUS[0]), busy(CPUS[1]), time.time()
            if sample:
                def sampler():
                    while not stop.wait(0.02):
                        peak[0] = max(peak[0], rss_now(pids))
                threading.Thread(target=sampler, daemon=True).start()
            if warm:
                pr.stdin.write("go\n")
                pr.stdin.flush()
            line = pr.stdout.readline()
            pids = p.pids()
            c1, i1, B0, B1, t1 = cpu_ns(pids), cpu_ns(icap.pids()) if icap else {}, busy(CPUS[0]), busy(CPUS[1]), time.time()
            r1 = rss_now(pids)
            stop.set()
            o1 = self.origin.stats()
            pr.stdin.close()
            err = pr.stderr.read()
            pr.wait(10)
        finally:
            killer.cancel()
            stop.set()
            with contextlib.suppress(OSError):
                pr.kill()
            pr.wait()
        if not line:
            raise RuntimeError("load generator gave no result: " + err[:200])
        j = json.loads(line)
        wall, cpu = t1 - t0, cpu_between(c0, c1)
        n = max(j["ok"], 1)
        mib = (j["bytes_in"] + j["bytes_out"]) / MIB
        res = dict(ok=j["ok"], errors=j["errors"], kinds=j["error_kinds"], warm_errors=j["warm_errors"], seconds=j["seconds"], req_s=j["req_s"], mib_s=j["mib_s"],
                   cpu_s=cpu, cpu_us=cpu / n * 1e6, cpu_us_mib=cpu / mib * 1e6 if mib > 1 else 0, p50=j["latency_us"]["p50"], p99=j["latency_us"]["p99"], p999=j["latency_us"]["p99.9"],
                   max=j["latency_us"]["max"], hs50=j["handshake_us"]["p50"], hs99=j["handshake_us"]["p99"], handshakes=j["handshakes"], resumed=j["resumed"], reopened=j["reopened"],
                   rss=r1, rss0=r0, peak=max(peak[0], r1), util=cpu / wall, load_busy=(B1 - b1) / wall,
                   noise=0 if p.kind == "direct" else max(0.0, (B0 - b0) - cpu) / wall,
                   origin_conns=(o1["conns"] - o0["conns"] - 1) / n, origin_h2=(o1["h2_requests"] - o0["h2_requests"]) / n,
                   noise1=max(0.0, (B1 - b1) - j["cpu_s"] - (o1["cpu_s"] - o0["cpu_s"]) - cpu_between(i0, i1) - (time.process_time() - self0)) / wall,
                   icap_us=cpu_between(i0, i1) / n * 1e6 if icap else 0,
                   origin_us=(o1["cpu_s"] - o0["cpu_s"]) / n * 1e6, load_us=j["cpu_s"] / n * 1e6, origin_full=(o1["tls_full"] - o0["tls_full"]) / n, origin_resumed=(o1["tls_resumed"] - o0["tls_resumed"]) / n,
                   origin_bad=o1["bad_bodies"] - o0["bad_bodies"], unfinished=j["unfinished"], tls=j["tls"])
        return res


# ---------------------------------------------------------------- scenarios: each returns a result dict or a dict of them by variant
SC = collections.OrderedDict()
SECS = lambda full, quick=1.0: quick if QUICK else full


def scenario(sid, need, title, unit="req"):
    def deco(f):
        SC[sid] = dict(f=f, need=set(need.split()), title=title, unit=unit)
        return f
    return deco


def icap_opts(b, variant):
    """variant -> (options, the ICAP backend)"""
    if variant == "none":
        return {}, None
    if variant == "cicap":
        s, u = b.icap("cicap", "echo")
        return dict(icap_reqmod=[u], icap_respmod=[u]), s
    s = b.null
    if variant.endswith("-req"):
        return dict(icap_reqmod=[b.icap("null", variant)[1]]), s
    if variant.endswith("-resp"):
        return dict(icap_respmod=[b.icap("null", variant)[1]]), s
    return dict(icap_reqmod=[b.icap("null", variant + "-req")[1]], icap_respmod=[b.icap("null", variant + "-resp")[1]]), s


def keepalive(b, kind, variant="none", conns=50, path="1k", plain=False, secs=None):
    o, s = icap_opts(b, variant)
    with b.proxy(kind, **o) as p:
        args = ["--path", "/" + path, "--expect", path, "--hosts", 1, "-c", conns, "--timeout", 20]
        b.load(p, args + ["-n", 1000 if not QUICK else 200], plain=plain)
        return b.measure(p, args + ["-d", secs or SECS(3)], icap=s, plain=plain)


@scenario("S1-keepalive", "bump", "bumped keep-alive, 1 KB GET, 50 connections, no ICAP")
def _(b, kind):
    return keepalive(b, kind)


@scenario("S1b-keepalive-10k", "bump", "bumped keep-alive, 10 KB GET, 50 connections, no ICAP")
def _(b, kind):
    return keepalive(b, kind, path="10k")


@scenario("S1c-keepalive-100k", "bump", "bumped keep-alive, 100 KB GET, 50 connections, no ICAP")
def _(b, kind):
    return keepalive(b, kind, path="100k")


@scenario("S2-icap204", "bump req resp", "as S1 with REQMOD and RESPMOD, 204 in preview (icapnull)")
def _(b, kind):
    return keepalive(b, kind, "null")


@scenario("S2b-icap200", "bump req resp", "as S1 with REQMOD and RESPMOD, 200 with the message echoed, no preview (icapnull)")
def _(b, kind):
    return keepalive(b, kind, "echonp")


@scenario("S3-cicap", "bump req resp", "as S1 with REQMOD and RESPMOD to c-icap's echo service (204 and 200 by turns)")
def _(b, kind):
    return keepalive(b, kind, "cicap")


def newconn(b, kind, resume=False, conns=8, variant="none"):
    o, s = icap_opts(b, variant)
    with b.proxy(kind, **o) as p:
        args = ["--path", "/1k", "--expect", "1k", "--hosts", 1, "-k", 1, "-c", conns, "--timeout", 20] + (["--resume"] if resume else [])
        b.load(p, args + ["-n", 50])
        return b.measure(p, args + ["-d", SECS(4)], warm=False, icap=s)




@scenario("S4-newconn", "bump", "new CONNECT + full TLS handshake for each 1 KB GET, one host (certificate cached), 8 at a time", "conn")
def _(b, kind):
    return newconn(b, kind)


@scenario("S4b-resume", "bump", "as S4, the client offers its last session", "conn")
def _(b, kind):
    return newconn(b, kind, True)


@scenario("S4c-newconn-icap204", "bump req resp", "as S4 with REQMOD and RESPMOD, 204 in preview", "conn")
def _(b, kind):
    return newconn(b, kind, variant="null")


@scenario("S5-mint", "mint", "a host never seen before for each connection (a certificate to mint), 8 at a time", "conn")
def _(b, kind):
    n = 150 if QUICK else 800
    slow = kind in ("mitmdump", "e2guardian")
    n = n // 2 if slow else n
    with b.proxy(kind, hosts=n + 40) as p:
        args = ["--path", "/1k", "--expect", "1k", "-k", 1, "-c", 8, "--timeout", 20]
        b.load(p, args + ["--hosts", 20, "-n", 20])
        return b.measure(p, args + ["--host0", 20, "--hosts", n, "-n", n], warm=False)


def bulk(b, kind, variant="none", up=False, splice=False, conns=4):
    o, s = icap_opts(b, variant)
    size = "20m" if QUICK else "100m"
    n = 4 if QUICK else 16
    kw = {}
    if splice:
        o["splice"] = ["h0.perf.test"]
        kw["ca"] = str(b.origin.ca)
    with b.proxy(kind, **o) as p:
        b.load(p, ["--path", "/1k", "--expect", "1k", "--hosts", 1, "-c", 4, "-n", 40], **kw)
        args = ["--path", "/x", "--body", size] if up else ["--path", "/" + size, "--expect", size]
        return b.measure(p, args + ["--hosts", 1, "-c", conns, "-n", n, "--timeout", 60], warm=False, icap=s, sample=True, **kw)


@scenario("S6-down", "bump", "100 MB downloads, 4 at a time, no ICAP", "mib")
def _(b, kind):
    return bulk(b, kind)


@scenario("S6b-down-204preview", "bump resp", "100 MB downloads, RESPMOD 204 in preview", "mib")
def _(b, kind):
    return bulk(b, kind, "null-resp")


@scenario("S6c-down-whole", "bump resp", "100 MB downloads, RESPMOD sees the whole body, then 204 if the client allows it, else 200 streamed", "mib")
def _(b, kind):
    return bulk(b, kind, "whole-resp")


@scenario("S6d-down-echo", "bump resp", "100 MB downloads, RESPMOD 200, body streamed through the ICAP server and back", "mib")
def _(b, kind):
    return bulk(b, kind, "echonp-resp")




@scenario("S7-up", "bump upload", "100 MB uploads, 4 at a time, no ICAP", "mib")
def _(b, kind):
    return bulk(b, kind, up=True)


@scenario("S7b-up-204preview", "bump upload req", "100 MB uploads, REQMOD 204 in preview", "mib")
def _(b, kind):
    return bulk(b, kind, "null-req", up=True)


@scenario("S7c-up-echo", "bump upload req", "100 MB uploads, REQMOD 200, body streamed through the ICAP server and back", "mib")
def _(b, kind):
    return bulk(b, kind, "echonp-req", up=True)


@scenario("S8-splice", "splice", "100 MB downloads through a tunnel that is not inspected", "mib")
def _(b, kind):
    return bulk(b, kind, splice=True)


IDLE_MAX = {"e2guardian": 500, "mitmdump": 1000}


@scenario("S9-idle", "idle", "memory of idle bumped connections (one request each, then idle), client and origin side", "idle")
def _(b, kind):
    n = min(300 if QUICK else 4000, IDLE_MAX.get(kind, 4000))
    with b.proxy(kind) as p:
        b.load(p, ["--path", "/1k", "--expect", "1k", "--hosts", 1, "-c", 20, "-n", 400])
        time.sleep(0.5)
        before = p.rss_bytes()
        argv = b.load_argv(p, ["--path", "/1k", "--hosts", 16, "-c", n, "-n", n, "--timeout", 60, "--warm", "--opening", 16])
        c0 = cpu_ns(p.pids())
        pr = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        killer = threading.Timer(300, pr.kill)
        killer.start()
        try:
            t0 = time.time()
            ready = pr.stdout.readline().split()
            up, bad, took = int(ready[1]), int(ready[2]), time.time() - t0
            time.sleep(1)
            pids, c1 = p.pids(), cpu_ns(p.pids())
            after, t1 = p.rss_bytes(), time.time()
            time.sleep(0.5 if QUICK else 3)
            idle_cpu = cpu_between(c1, cpu_ns(pids)) / (time.time() - t1)
            line = ""
            pr.stdin.write("go\n")
            pr.stdin.flush()
            line = pr.stdout.readline()
            j = json.loads(line)
        finally:
            killer.cancel()
            pr.kill()
            pr.wait()
        return dict(ok=up, errors=bad + j["errors"], kinds=j["error_kinds"], conns=up, rss=after, rss0=before, per_conn=(after - before) / max(up, 1), open_cpu_us=cpu_between(c0, c1) / max(up, 1) * 1e6,
                    open_seconds=took, idle_cpu=idle_cpu, reopened=j["reopened"], noise=0, seconds=took, req_s=0, cpu_us=0)


RATE = 500


def openloop(b, kind, variant="none"):
    o, s = icap_opts(b, variant)
    with b.proxy(kind, **o) as p:
        args = ["--path", "/1k", "--expect", "1k", "--hosts", 1, "-c", 64, "--timeout", 20]
        b.load(p, args + ["-n", 500])
        return b.measure(p, args + ["-d", SECS(8, 2), "--rate", RATE], icap=s)






@scenario("S11-plain", "plain", "http:// 1 KB GET through the forward proxy, keep-alive, 50 connections")
def _(b, kind):
    return keepalive(b, kind, plain=True)


@scenario("S11b-plain-icap204", "plain req resp", "as S11 with REQMOD and RESPMOD, 204 in preview")
def _(b, kind):
    return keepalive(b, kind, "null", plain=True)


@scenario("S12-sweep", "bump", "1 KB keep-alive GET on 1, 10, 100, 1000, 4000 connections", "sweep")
def _(b, kind):
    out = {}
    for c in (1, 10, 100) if QUICK else (1, 10, 100, 1000, 4000):
        if c > IDLE_MAX.get(kind, 4000):
            continue
        with contextlib.suppress(RuntimeError):
            with b.proxy(kind) as p:
                args = ["--path", "/1k", "--expect", "1k", "--hosts", 1, "-c", c, "--timeout", 30]
                b.load(p, args[:-4] + ["-c", 4, "-n", 100])
                out[str(c)] = b.measure(p, args + ["-d", SECS(3)])
    return out


def sizes(b, kind, variant):
    o, s = icap_opts(b, variant)
    out = {}
    with b.proxy(kind, **o) as p:
        b.load(p, ["--path", "/1k", "--expect", "1k", "--hosts", 1, "-c", 2, "-n", 200])
        base = rss_now(p.pids())
        for z in ("1k", "1m", "10m", "100m") if QUICK else ("1k", "1m", "10m", "100m", "1g"):
            r = b.measure(p, ["--path", "/" + z, "--expect", z, "--hosts", 1, "-c", 1, "-n", 1, "--timeout", 100], warm=False, icap=s, sample=True)
            r["growth"] = r["peak"] - base
            out[z] = r
    return out


def scan(b, kind, path, conns):
    """Squid asks c-icap + clamd; a proxy that scans in-process gets the same signature folder."""
    # without preview: with it, Squid 5.7 stalls on any body over 64 KB that a service asks for in whole (see S6e)
    o, s = (dict(clamav=str(b.clam.db)), None) if kind in peers.SCANS else (dict(icap_respmod=[f"icap://127.0.0.1:{b.clam.port}/avscan"], preview=False), b.clam)
    with b.proxy(kind, **o) as p:
        args = ["--path", "/" + path, "--expect", path, "--hosts", 1, "-c", conns, "--timeout", 30]
        b.load(p, args + ["-n", 50])
        r = b.measure(p, args + ["-d", SECS(4)], icap=s)
        r["cpu_us_all"] = r["cpu_us"] + r["icap_us"]
        return r


@scenario("S10-scan-again", "resp", "the same 1 MB object asked for again and again, scanned by the same signatures (Squid: c-icap and clamd)", "scan")
def _(b, kind):
    return scan(b, kind, "1m", 8)


def offers(b, p, args):
    """Nothing but an attempt tells what a proxy can: no h2 chosen by ALPN, or an upgrade refused, is a scenario skipped; any other failure is one."""
    j = b.load(p, args + ["-c", 1, "-n", 1])
    if set(j["error_kinds"]) & {"no_h2", "no_upgrade"}:
        raise Skip(", ".join(j["error_kinds"]))


def h2(b, kind, path="1k", variant="none", origin="h1"):
    o, s = icap_opts(b, variant)
    with b.proxy(kind, origin=origin, **o) as p:
        args = ["--h2", "--streams", 10, "--path", "/" + path, "--expect", path, "--hosts", 1, "-c", 10, "--timeout", 20]
        offers(b, p, args)
        b.load(p, args + ["-n", 1000 if not QUICK else 200])
        return b.measure(p, args + ["-d", SECS(3)], icap=s)


@scenario("S15-h2-keepalive", "bump", "HTTP/2 from the client: 1 KB GET, 10 connections x 10 streams; the origin speaks HTTP/1 only")
def _(b, kind):
    return h2(b, kind)


@scenario("S15b-h2-both", "bump", "as S15, the origin speaks HTTP/2 too (whether the proxy does to it: origin h2)")
def _(b, kind):
    return h2(b, kind, origin="h2")


@scenario("S15c-h2-100k", "bump", "as S15, 100 KB GET")
def _(b, kind):
    return h2(b, kind, "100k")


@scenario("S15d-h2-icap204", "bump req resp", "as S15 with REQMOD and RESPMOD, 204 in preview")
def _(b, kind):
    return h2(b, kind, variant="null")


PAGE = 20


@scenario("S15e-h2-newconn", "bump", f"as a browser opens a page: a new connection, one 1 KB GET, then {PAGE - 1} at once; 8 pages at a time, one host; figures for the page", "page")
def _(b, kind):
    with b.proxy(kind) as p:
        args = ["--h2", "--streams", PAGE, "-k", PAGE, "--path", "/1k", "--expect", "1k", "--hosts", 1, "-c", 8, "--timeout", 20]
        offers(b, p, args)
        b.load(p, args + ["-n", 50 * PAGE])
        r = b.measure(p, args + ["-d", SECS(4)], warm=False)
        for k in ("cpu_us", "origin_us", "load_us", "icap_us", "origin_full", "origin_resumed", "origin_conns"):
            r[k] *= PAGE
        return dict(r, req_s=r["req_s"] / PAGE)


@scenario("S16-ws", "bump", "WebSocket: 1 KB messages echoed by the origin, 50 connections, one message at a time on each; a message there and back is one", "msg")
def _(b, kind):
    with b.proxy(kind) as p:
        args = ["--ws", "1k", "--path", "/ws", "--hosts", 1, "-c", 50, "--timeout", 20]
        offers(b, p, args)
        b.load(p, args + ["-n", 1000 if not QUICK else 200])
        return b.measure(p, args + ["-d", SECS(3)])




# ---------------------------------------------------------------- running and printing
def med(rs, k):
    v = [r[k] for r in rs if r.get(k) is not None]
    return statistics.median(v) if v else 0


def noise(r):
    """the share of a CPU that other programs had in this run (or in its worst part)"""
    if "noise" in r:
        return max(r["noise"], r.get("noise1", 0) - 0.05)
    return max((noise(x) for x in r.values() if isinstance(x, dict)), default=0)


def merge(rs):
    """median of each number over the rounds"""
    rs = [r for r in rs if r and "failed" not in r]
    if not rs:
        return None
    if all(isinstance(v, dict) and "ok" in v for v in rs[0].values() if isinstance(v, dict)) and "ok" not in rs[0]:
        return {k: merge([r[k] for r in rs if k in r]) for k in rs[0]}
    out = {}
    for k, v in rs[0].items():
        if isinstance(v, (int, float)):
            out[k] = sum(r[k] for r in rs) if k in ("errors", "unfinished", "warm_errors", "origin_bad") else med(rs, k)
            if k in ("cpu_us", "cpu_us_mib", "per_conn"):
                out[k + "_spread"] = [min(r[k] for r in rs), max(r[k] for r in rs)]
        elif k == "kinds":
            c = collections.Counter()
            for r in rs:
                c.update(r[k])
            out[k] = dict(c)
        else:
            out[k] = v
    out["rounds"] = len(rs)
    return out


def show(sid, table):
    sc = SC[sid]
    print(f"\n{sid}: {sc['title']}")
    u = sc["unit"]
    ref = table.get("direct")
    for kind, m in table.items():
        if not m:
            print(f"  {kind:20} failed")
            continue
        if u in ("sweep", "size"):
            for c, r in m.items():
                if u == "sweep":
                    print(f"  {kind:20} {c:>5} conns {r['req_s']:9.0f} req/s  cpu {r['cpu_us']:8.1f} us/req  p50 {r['p50'] / 1e3:8.2f} p99 {r['p99'] / 1e3:8.2f} ms  err {r['errors']} {r['kinds'] or ''} rss {r['rss'] / MIB:.0f} MiB")
                else:
                    print(f"  {kind:20} {c:>5} peak +{r['growth'] / MIB:8.1f} MiB  cpu {r['cpu_us_mib']:8.1f} us/MiB  {r['mib_s']:8.0f} MiB/s err {r['errors']} {r['kinds'] or ''}")
            continue
        if u == "idle":
            print(f"  {kind:20} {m['conns']:5.0f} conns  {m['per_conn'] / 1024:8.1f} KiB/conn  rss {m['rss0'] / MIB:.0f} -> {m['rss'] / MIB:.0f} MiB  open cpu {m['open_cpu_us']:.0f} us/conn  idle cpu {m['idle_cpu'] * 100:.2f}%  err {m['errors']} {m['kinds'] or ''} reopened {m['reopened']:.0f}")
            continue
        add = f" added p50 {(m['p50'] - ref['p50']) / 1e3:.2f} p99 {(m['p99'] - ref['p99']) / 1e3:.2f}" if ref and kind != "direct" else ""
        if u == "scan":
            print(f"  {kind:20} {m['req_s']:7.0f}/s  cpu proxy {m['cpu_us']:8.1f} + ICAP server and clamd {m['icap_us']:8.1f} = {m['cpu_us_all']:8.1f} us/req  p50 {m['p50'] / 1e3:.2f} p99 {m['p99'] / 1e3:.2f} ms  err {m['errors']} {m['kinds'] or ''} noise {m['noise'] * 100:.0f}/{m['noise1'] * 100:.0f}%")
            continue
        if u == "mib":
            cap = 1e6 / m["cpu_us_mib"] if m["cpu_us_mib"] else 0
            print(f"  {kind:20} {m['mib_s']:7.0f} MiB/s  cpu {m['cpu_us_mib']:7.0f} us/MiB  cap/core {cap:6.0f} MiB/s  icap {m['icap_us'] / 100:5.0f}  rss {m['rss0'] / MIB:.0f} peak {m['peak'] / MIB:.0f} MiB  err {m['errors']} {m['kinds'] or ''} noise {m['noise'] * 100:.0f}/{m['noise1'] * 100:.0f}% core1 {m['load_busy'] * 100:.0f}%")
        else:
            cap = 1e6 / m["cpu_us"] if m["cpu_us"] else 0
            print(f"  {kind:20} {m['req_s']:7.0f}/s  cpu {m['cpu_us']:8.1f} us/{u}  cap/core {cap:6.0f}/s  p50 {m['p50'] / 1e3:.2f} p99 {m['p99'] / 1e3:.2f} p99.9 {m['p999'] / 1e3:.2f} ms{add}  "
                  f"{'hs50 %.2f ' % (m['hs50'] / 1e3) if u in ('conn', 'page') else ''}resumed {m['resumed'] / max(m['handshakes'], 1):.2f} origin full/res {m['origin_full']:.2f}/{m['origin_resumed']:.2f} {'origin h2 %.2f ' % m['origin_h2'] if m.get('origin_h2') else ''}"
                  f"err {m['errors']} {m['kinds'] or ''} rss {m['rss'] / MIB:.0f} noise {m['noise'] * 100:.0f}/{m['noise1'] * 100:.0f}% core1 {m['load_busy'] * 100:.0f}%")
    sys.stdout.flush()


def main():
    global QUICK, CPUS
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("proxy", nargs="*")
    ap.add_argument("--scenario", default="*", help="comma-separated globs")
    ap.add_argument("--quick", action="store_true")
    ap.add_argument("--rounds", type=int, default=0)
    ap.add_argument("--out", default="")
    ap.add_argument("--cpus", default="0,1", help="the proxy's, everybody else's")
    ap.add_argument("--quiet", type=float, default=0, help="wait up to this many seconds for idle CPUs before each run, and repeat runs (up to two more) that others disturbed: the least disturbed ones count")
    ap.add_argument("--list", action="store_true")
    a = ap.parse_args()
    if a.list:
        for k, v in SC.items():
            print(f"{k:24} {v['title']}")
        print("proxies:", " ".join(peers.ENTRY))
        return
    QUICK, CPUS = a.quick, [int(x) for x in a.cpus.split(",")]
    rounds = a.rounds or (1 if QUICK else 3)
    peers.BIN.mkdir(parents=True, exist_ok=True)
    subprocess.run(["make", "-s", "-f", str(HERE / "tools.mk"), "VPATH=" + str(HERE), "CFLAGS=-O2 -g -Wall -Wextra -I" + str(HERE)], check=True, cwd=peers.BIN)
    b = Bench(a.quiet)
    result = {"machine": platform.processor() or platform.machine(), "quick": QUICK, "rounds": rounds, "started": time.strftime("%F %T"), "scenarios": {}}
    try:
        for sid, sc in SC.items():
            if not any(fnmatch.fnmatch(sid, g) for g in a.scenario.split(",")):
                continue
            kinds = [k for k in a.proxy if sc["need"] <= peers.CAPS[k]]
            runs, skipped = {k: [] for k in kinds}, {}
            for r in range(rounds + 2 if a.quiet else rounds):
                for k in kinds[r % max(len(kinds), 1):] + kinds[:r % max(len(kinds), 1)]:
                    if k in skipped or sum("failed" in x or noise(x) < 0.2 for x in runs[k]) >= rounds:
                        continue
                    try:
                        runs[k].append(sc["f"](b, k))
                    except Skip as e:
                        skipped[k] = str(e)
                    except Exception as e:      # a peer that cannot do it is a result too
                        runs[k].append({"failed": f"{type(e).__name__}: {e}"[:300]})
                        print(f"  ! {sid} {k}: {runs[k][-1]['failed']}", file=sys.stderr)
            table = {k: merge(sorted(v, key=noise)[:rounds]) for k, v in runs.items() if k not in skipped}
            result["scenarios"][sid] = {"title": sc["title"], "unit": sc["unit"], "median": table, "runs": runs, "skipped": skipped}
            show(sid, table)
            for k, why in skipped.items():
                print(f"  {k:20} skipped: {why}", flush=True)
            if a.out:
                pathlib.Path(a.out).write_text(json.dumps(result, indent=1))
    finally:
        b.close()


if __name__ == "__main__":
    main()
