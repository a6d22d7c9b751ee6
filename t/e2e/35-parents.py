# SPDX-License-Identifier: GPL-2.0-or-later
"""Parent proxies (upstreams): Squid, another assayd, microsocks and scripted
ones, over which plain HTTP, opened and spliced tunnels go."""
import base64
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import threading
import time

import certs
import h2origin
import lab as e2e
import netlab
import wire
import wsock
from wire import Response, ok

BODY = b"hello from the origin"
WAYS = ("plain", "opened", "spliced")


def spool(lab, size=3 << 20):
    return e2e.pattern(size, 7)


def origins(lab, reply=None):
    """A plain one and one with TLS that answer alike."""
    reply = reply or (lambda h, b: ok(BODY))
    return lab.origin(reply, tls=None), lab.origin(reply)


def start(lab, url, rules=None, up=None, **conf):
    """Everything goes through the upstream; www.test is opened, exempt.test spliced."""
    conf.setdefault("workers", 1)
    conf.setdefault("upstreams", {"parent": {"url": url, **(up or {})}})
    return lab.assay(rules=(rules or []) + [{"name": "exempt", "if": {"host": "exempt.test"}, "tls": "splice"},
                                            {"name": "out", "route": "parent"}, {"name": "rest", "scan": "none"}], **conf)


def ask(lab, p, way, plain, tls, *args, path="/", **kw):
    """curl, in one of the ways."""
    if way == "plain":
        return lab.curl(p, f"http://www.test:{plain}{path}", *args, **kw)
    if way == "opened":
        return lab.curl(p, f"https://www.test:{tls}{path}", *args, **kw)
    return lab.curl(p, f"https://exempt.test:{tls}{path}", *args, ca=lab.trust, **kw)


def last(p, n):
    """The youngest of n records: a spliced tunnel's comes when it has ended."""
    return max(p.access(n), key=lambda r: r["@timestamp"])


# ------------------------------------------------------------------- Squid

def squid(lab, user=None, tls=False, deny=None):
    """A real one; .port, .log()."""
    port = lab.port()
    w = lab.dir / f"squid-{port}"
    w.mkdir()
    os.chmod(lab.dir, 0o755)
    auth = ""
    if user:
        helper = w / "helper"
        helper.write_text(f'#!/bin/sh\nwhile read -r u p; do [ "$u:$p" = "{user}" ] && echo OK || echo ERR; done\n')
        helper.chmod(0o755)
        auth = f"auth_param basic program {helper}\nauth_param basic realm lab\nacl known proxy_auth REQUIRED\nhttp_access deny !known\n"
    listen = f"http_port 127.0.0.1:{port}"
    if tls:
        ctx = lab.server_context("parent.test", sans=["parent.test", "127.0.0.1"])
        os.chmod(ctx.cert_path, 0o644)
        listen = f"https_port 127.0.0.1:{port} tls-cert={ctx.cert_path}"
    (w / "hosts").write_text("".join(f"127.0.0.1 {n}\n" for n in e2e.NAMES))
    (w / "squid.conf").write_text(f"""{listen}
{f"http_access deny {deny}" if deny else ""}
{auth}http_access allow all
hosts_file {w}/hosts
access_log stdio:{w}/access.log
cache_log {w}/cache.log
cache deny all
cache_mem 8 MB
pid_filename {w}/pid
coredump_dir {w}
visible_hostname squid.test
shutdown_lifetime 0 seconds
pinger_enable off
via on
netdb_filename none
""")
    for f in ("access.log", "cache.log"):
        (w / f).touch()
        os.chmod(w / f, 0o666)
    os.chmod(w, 0o777)
    exe = shutil.which("squid", path=os.environ["PATH"] + ":/usr/sbin")
    p = e2e.Process("squid", [exe, "-N", "-f", str(w / "squid.conf")], lab.dir / f"squid-{port}.log")
    p.port = port
    p.access_log = w / "access.log"
    lab.on_close(p.stop)
    lab.wait_port(port, p, 60 * e2e.lab_scale())
    return p


def secret(lab, text, name="parent.user"):
    path = lab.dir / name
    path.touch(0o600)
    path.write_text(text)
    return f"file:{path}"


@e2e.needs("squid")
def test_squid(lab):
    plain, tls = origins(lab)
    s = squid(lab, user="amy:secret:1")
    p = start(lab, f"http://127.0.0.1:{s.port}", up={"user": secret(lab, "amy:secret:1\n")})
    for n, way in enumerate(WAYS, 1):
        with lab.sub(way):
            r = ask(lab, p, way, plain.port, tls.port, "--proxy-user", "client:own",
                    *([] if way == "spliced" else ["-H", "Proxy-Connection: keep-alive"]))
            assert r.status == 200 and r.body == BODY, (r.status, r.errors, p.log()[-500:])
            rec = last(p, n)
            assert rec["assay.upstream.name"] == "parent" and rec["assay.rule.route"] == "out", rec
            assert rec["assay.upstream.endpoint"] == f"http://127.0.0.1:{s.port}", rec
            assert rec["assay.upstream.ip"] == "127.0.0.1" and "server.ip" not in rec, rec
    got = [x[0] for x in plain.requests + tls.requests]
    assert len(got) == 3, got
    for h in got:
        assert not h.has("Proxy-Authorization") and not h.has("Proxy-Connection"), h
    assert "squid" in plain.requests[0][0].get("Via") and "assay-" in plain.requests[0][0].get("Via"), plain.requests[0][0]
    assert "squid" not in tls.requests[0][0].get("Via"), tls.requests[0][0]

    def said():
        text = s.access_log.read_text()
        return f"GET http://www.test:{plain.port}/ amy" in text and text.count("amy") >= 3 and "client" not in text and \
            f"CONNECT www.test:{tls.port} amy" in text and f"CONNECT exempt.test:{tls.port} amy" in text
    p.stop()    # it says so at the end of a tunnel
    assert wire.wait_for(said, 10 * e2e.lab_scale()), s.access_log.read_text()


@e2e.needs("squid")
def test_squid_refuses(lab):
    """Its 407 is our fault and nobody's challenge; what it denies is said."""
    plain, tls = origins(lab)
    s = squid(lab, user="amy:secret")
    p = start(lab, f"http://127.0.0.1:{s.port}", up={"user": secret(lab, "amy:wrong")})
    for n, way in enumerate(WAYS, 1):
        with lab.sub(way):
            r = ask(lab, p, way, plain.port, tls.port, "--proxy-user", "amy:secret")
            if way != "spliced":
                assert r.status == 502, (r.status, r.head, r.errors)
                assert not r.fields.has("Proxy-Authenticate"), r.head
            assert last(p, n)["error.code"] == "PARENT_AUTH", last(p, n)
    assert not plain.requests and not tls.requests
    assert "does not take" not in p.log() and "other credentials" in p.log() and "wrong" not in p.log(), p.log()


@e2e.needs("squid")
def test_squid_tls(lab):
    """TLS with the parent, and the origin's inside it; large bodies both ways."""
    big = spool(lab)
    plain, tls = origins(lab, lambda h, b: ok(big) if h.start.startswith("GET") else ok(e2e.sha(b).encode()))
    s = squid(lab, user="amy:secret", tls=True)
    p = start(lab, f"https://127.0.0.1:{s.port}", up={"user": secret(lab, "amy:secret"), "tls": {"trust": [lab.trust]}})
    sent = lab.dir / "sent"
    sent.write_bytes(big)
    n = 0
    for way in WAYS:
        for args, want in (((), e2e.sha(big)), (("-T", str(sent)), None)):
            with lab.sub(f"{way} {args}"):
                n += 1
                r = ask(lab, p, way, plain.port, tls.port, *args)
                assert r.status == 200, (r.status, r.errors, r.body[:300], p.log()[-500:])
                assert (e2e.sha(r.body) == want) if want else (r.body == e2e.sha(big).encode()), len(r.body)
                assert last(p, n)["assay.upstream.endpoint"].startswith("https://"), last(p, n)
    # Whoever it is that answers there, it is not the one that is meant.
    q = start(lab, f"https://127.0.0.1:{s.port}", up={"tls": {"trust": [lab.trust], "name": "other.test"}}, port=lab.port(),
              log={"access": [{"to": str(lab.dir / "q.log"), "format": "json"}]})
    r = ask(lab, q, "opened", plain.port, tls.port)
    assert r.status == 502, r.head
    assert q.access(path=lab.dir / "q.log")[-1]["error.code"] == "PARENT_TLS"


# ------------------------------------------------------- microsocks, SOCKS5

@e2e.needs("microsocks")
def test_microsocks(lab):
    big = spool(lab)
    plain, tls = origins(lab, lambda h, b: ok(big))
    port = lab.port()
    m = e2e.Process("microsocks", [shutil.which("microsocks"), "-i", "127.0.0.1", "-p", str(port), "-u", "amy", "-P", "pass:word"],
                    lab.dir / "microsocks.log")
    lab.on_close(m.stop)
    lab.wait_port(port, m)
    for n, (user, status) in enumerate((("amy:pass:word", 200), ("amy:no", 502), (None, 502)), 1):
        log = lab.dir / f"{n}.log"
        p = start(lab, f"socks5://127.0.0.1:{port}", up={"user": secret(lab, user)} if user else {}, port=lab.port(),
                  log={"access": [{"to": str(log), "format": "json"}]})
        for k, url in enumerate((f"http://127.0.0.1:{plain.port}/", f"https://127.0.0.1:{tls.port}/"), 1):
            with lab.sub(f"{user} {url[:5]}"):
                r = lab.curl(p, url)
                assert r.status == status and (status != 200 or r.body == big), (r.status, len(r.body), r.errors)
                rec = p.access(k, path=log)[-1]
                assert rec["server.ip" if status == 200 else "error.code"] == ("127.0.0.1" if status == 200 else "PARENT_AUTH"), rec
        p.stop()


def socks_server(conn, seen, reply=0, then=None, name=True):
    """One exchange; what the client asked for goes to seen."""
    hello = conn.exact(2)
    conn.exact(hello[1])
    conn.send(b"\x05\x00")
    head = conn.exact(4)
    if head[3] == 3:
        host = conn.exact(conn.exact(1)[0]).decode()
    else:
        host = socket.inet_ntop(*((socket.AF_INET, conn.exact(4)) if head[3] == 1 else (socket.AF_INET6, conn.exact(16))))
    port = int.from_bytes(conn.exact(2), "big")
    seen.append((head[:3], host, port))
    conn.send(bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]))
    if reply == 0:
        (then or (lambda c, port: join(c, socket.create_connection(("127.0.0.1", port)))))(conn, port)


def join(conn, other):
    """Octets both ways until both have ended."""
    import threading

    def move(a, b):
        try:
            while True:
                got = a.recv(65536)
                if not got:
                    break
                b.sendall(got)
        except OSError:
            pass
        try:
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass
    if conn.buf:
        other.sendall(conn.buf)
    conn.sock.settimeout(None)
    t = threading.Thread(target=move, args=(other, conn.sock), daemon=True)
    t.start()
    move(conn.sock, other)
    t.join(20)
    other.close()


def test_socks(lab):
    """It is told names, one octet at a time does as well, and its replies are said."""
    plain, tls = origins(lab)
    seen = []
    s = lab.server(lambda c: socks_server(c, seen, codes.get(len(seen), 0)))
    codes = {}
    p = start(lab, f"socks5://127.0.0.1:{s.port}")
    for n, way in enumerate(WAYS, 1):
        with lab.sub(way):
            r = ask(lab, p, way, plain.port, tls.port)
            assert r.status == 200 and r.body == BODY, (r.status, r.errors)
            assert seen[-1] == (b"\x05\x01\x00", "exempt.test" if way == "spliced" else "www.test",
                                plain.port if way == "plain" else tls.port), seen
    assert plain.requests[0][0].start == "GET / HTTP/1.1", plain.requests
    n = 3
    for code, status, name in ((2, 403, "PARENT_DENIED"), (3, 502, "CONNECT_FAIL"), (4, 502, "CONNECT_FAIL"),
                               (5, 502, "CONNECT_REFUSED"), (6, 504, "CONNECT_TIMEOUT"), (1, 502, "PARENT_STATUS"), (9, 502, "PARENT_STATUS")):
        with lab.sub(f"reply {code}"):
            n += 1
            codes[len(seen)] = code
            r = lab.curl(p, f"https://other.test:{tls.port}/")
            assert r.status == status, (r.status, r.head)
            assert last(p, n)["error.code"] == name, last(p, n)


# ------------------------------------------------------------ another assayd

def test_assay_behind_assay(lab):
    """Each opens what goes through it; they know each other's CA."""
    plain, tls = origins(lab)
    inner = lab.dir / "inner"
    inner.mkdir()
    cert, key = certs.make_ca("Inner CA")
    (inner / "ca.pem").write_bytes(certs.pem(cert))
    (inner / "ca.key").touch(0o600)
    (inner / "ca.key").write_bytes(certs.pem(key))
    ca = {"cert": str(inner / "ca.pem"), "key": str(inner / "ca.key")}
    parent = lab.assay(ca=ca, log={"access": [{"to": str(inner / "log"), "format": "json"}]}, env={"STATE_DIRECTORY": str(inner)})
    p = start(lab, f"http://127.0.0.1:{parent.port}", tls={"origin": {"trust": [str(inner / "ca.pem"), lab.trust], "fetch_issuers": False,
                                                                     "revocation": "off"}})
    for n, way in enumerate(("plain", "opened"), 1):
        with lab.sub(way):
            r = ask(lab, p, way, plain.port, tls.port)
            assert r.status == 200 and r.body == BODY, (r.status, r.errors, r.body[:400])
            assert len(parent.access(n, path=inner / "log")) >= n
    for h, _, _ in plain.requests + tls.requests:
        via = ", ".join(h.all("Via"))
        assert len(set(re.findall(r"assay-[0-9a-f]{8}", via))) == 2, via


def test_loop(lab):
    """Two that send everything to each other: it ends, soon, and is said."""
    plain, tls = origins(lab)
    ports = [lab.port(), lab.port()]
    made = []
    for k in (0, 1):
        w = lab.dir / f"loop{k}"
        w.mkdir()
        cert, key = certs.make_ca(f"Loop CA {k}")
        (w / "ca.pem").write_bytes(certs.pem(cert))
        (w / "ca.key").touch(0o600)
        (w / "ca.key").write_bytes(certs.pem(key))
        made.append(w)
    apps = []
    for k in (0, 1):
        w = made[k]
        a = start(lab, f"http://127.0.0.1:{ports[1 - k]}", port=ports[k], ca={"cert": str(w / "ca.pem"), "key": str(w / "ca.key")},
                  env={"STATE_DIRECTORY": str(w)}, log={"access": [{"to": str(w / "log"), "format": "json"}]},
                  tls={"origin": {"trust": [str(x / "ca.pem") for x in made] + [lab.trust], "fetch_issuers": False, "revocation": "off"}})
        a.ca = str(w / "ca.pem")
        apps.append(a)
    for way in WAYS:
        with lab.sub(way):
            r = ask(lab, apps[0], way, plain.port, tls.port, seconds=20)
            assert r.status in (0, 502, 508) if way == "spliced" else r.status in (502, 508), (r.status, r.head)
    assert not plain.requests and not tls.requests
    seen = apps[0].access(2, path=made[0] / "log") + apps[1].access(2, path=made[1] / "log")
    assert any(x.get("error.code") == "REQ_LOOP" for x in seen), seen
    assert len(seen) < 40, len(seen)


# ------------------------------------------------------------ failing parents

def connect_proxy(conn, answer=b"HTTP/1.1 200 OK\r\n\r\n", seen=None):
    """A proxy of one CONNECT, or of one request that has a whole URL."""
    h = conn.head()
    if seen is not None:
        seen.append(h)
    conn.send(answer)
    if re.search(rb"(^|\n)HTTP/1.[01] 2", answer) and h.start.startswith("CONNECT"):
        join(conn, socket.create_connection(("127.0.0.1", int(re.search(r":(\d+) ", h.start)[1]))))


def dead_port(lab):
    return lab.port()


def test_failover(lab):
    plain, tls = origins(lab)
    for name, first in (("refuses", None), ("503", b"HTTP/1.1 503 No\r\n\r\n"), ("502", b"HTTP/1.1 502 No\r\nContent-Length: 3\r\n\r\nbad"),
                        ("hangs up", b"")):
        bad = lab.server(lambda c, first=first: connect_proxy(c, first)).port if first is not None else dead_port(lab)
        seen = []
        good = lab.server(lambda c, seen=seen: connect_proxy(c, seen=seen))
        log = lab.dir / f"{name[:3]}.log"
        p = start(lab, [f"http://127.0.0.1:{bad}", f"http://127.0.0.1:{good.port}"], port=lab.port(),
                  log={"access": [{"to": str(log), "format": "json"}]})
        for way in ("opened", "spliced"):
            with lab.sub(f"{name} {way}"):
                r = ask(lab, p, way, plain.port, tls.port)
                assert r.status == 200 and r.body == BODY, (r.status, r.errors, r.body[:300])
        assert len(seen) == 2, seen
        assert all(x["assay.upstream.endpoint"].endswith(f":{good.port}") for x in p.access(2, path=log))
        p.stop()


def test_on_error(lab):
    """None is there: a page, or around them; and what it says no to, it does."""
    plain, tls = origins(lab)
    dead = dead_port(lab)
    no = lab.server(lambda c: connect_proxy(c, b"HTTP/1.1 403 Forbidden\r\n\r\n"))
    n = 0
    for url, policy, want in ((dead, "block", 502), (dead, "direct", 200), (no.port, "direct", 502)):
        n += 1
        log = lab.dir / f"{n}.log"
        p = start(lab, f"http://127.0.0.1:{url}", up={"on_error": policy}, port=lab.port(),
                  log={"access": [{"to": str(log), "format": "json"}]})
        for k, way in enumerate(WAYS, 1):
            if url == no.port and way == "plain":
                k -= 1
                continue
            with lab.sub(f"{policy} {want} {way}"):
                r = ask(lab, p, way, plain.port, tls.port)
                if way != "spliced" or want == 200:
                    assert r.status == want, (r.status, r.head, r.errors)
        recs = p.access(2, path=log)
        for r in recs:
            if want == 200:
                assert r["assay.upstream.direct"] is True and r["server.ip"] == "127.0.0.1", r
            else:
                assert r["error.code"] in ("PARENT_CONNECT", "PARENT_DOWN", "PARENT_STATUS"), r
        if url == no.port:
            r = ask(lab, p, "opened", plain.port, tls.port)
            assert "received-status=403" in r.fields.get("Proxy-Status"), r.head
        p.stop()


def test_answers_before_it_is_asked(lab):
    """Whatever a parent says ahead of the question: the flow fails, nothing else."""
    plain, tls = origins(lab)

    def socks(c):
        c.send(b"\5\0\5\0\0\1\0\0\0\0\0\0")

    def connect(c):
        c.send(b"HTTP/1.1 200 x\r\n\r\n")
        c.fill()

    for kind, script in (("socks5", socks), ("http", connect)):
        s = lab.server(script)
        p = start(lab, f"{kind}://127.0.0.1:{s.port}")
        for way in ("opened", "spliced") * 8:
            with contextlib.suppress(wire.Ended, OSError):
                r = ask(lab, p, way, plain.port, tls.port)
                assert way == "spliced" or r.status in (502, 503), (r.status, r.head)
        assert p.alive() and "crash:" not in p.log(), p.log()
        p.stop()


def test_not_around(lab):
    """Only who cannot be reached, or says that it cannot reach the origin, is gone around."""
    plain, tls = origins(lab)

    def socks(reply):
        def serve(c):
            c.exact(c.exact(2)[1])
            c.send(b"\x05\x00")
            c.exact(5)
            if reply is None:
                c.reset()
            else:
                c.send(reply)
        return serve

    def code(n):
        return bytes([5, n, 0, 1, 0, 0, 0, 0, 0, 0])

    def http(answer):
        return lambda c: connect_proxy(c, answer)
    rows = [("socks5", f"reply {n}", socks(code(n)), n in (1, 3, 4, 5, 6)) for n in (*range(1, 10), 255)]
    rows += [("socks5", "version", socks(b"\x04\x01" + bytes(8)), False), ("socks5", "kind", socks(b"\x05\x00\x00\x02" + bytes(6)), False),
             ("socks5", "closes", socks(b""), False), ("socks5", "resets", socks(None), False),
             ("socks5", "no such method", lambda c: (c.exact(3), c.send(b"\x05\x07")), False), ("socks5", "no SOCKS", lambda c: (c.exact(3), c.send(b"SSH-2.0")), True),
             ("http", "closes", http(b""), False)]
    rows += [("http", str(n), http(f"HTTP/1.1 {n} No\r\n\r\n".encode()), n in (502, 503, 504)) for n in (302, 403, 407, 500, 501, 502, 503, 504, 505)]
    serve = []
    s = lab.server(lambda c: serve[0](c))
    for scheme in ("socks5", "http"):
        for others in ([], [f"{scheme}://127.0.0.1:{dead_port(lab)}"]):
            log = lab.dir / f"{scheme}-{len(others)}.log"
            p = start(lab, [f"{scheme}://127.0.0.1:{s.port}"] + others, up={"on_error": "direct"}, port=lab.port(),
                      log={"access": [{"to": str(log), "format": "json"}]})
            n = 0
            for kind, name, how, around in rows:
                if kind != scheme:
                    continue
                with lab.sub(f"{scheme} {name} {len(others)}"):
                    n += 1
                    serve[:] = [how]
                    r = lab.curl(p, f"https://other.test:{tls.port}/")
                    assert (r.status == 200) == around, (r.status, r.head)
                    rec = max(p.access(n, path=log), key=lambda x: x["@timestamp"])
                    assert around or f":{s.port}: " in rec["error.message"], rec
            p.stop()


def test_own_want(lab):
    """No port of ours is left for a parent: that is not its fault, and no reason to go around it."""
    net = netlab.Net(lab)
    seen = []
    with net.inside("s"):
        o = lab.origin(lambda h, b: ok(BODY), host=netlab.ORIGIN, port=443)
        s = lab.server(lambda c: (seen.append(c.head()), c.send(b"HTTP/1.1 200 OK\r\n\r\n"), c.rest()), host=netlab.ORIGIN, port=8080)
    lab.hosts["www.test"] = netlab.ORIGIN
    with net.inside("p"):
        pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("20000 20001")
        p = start(lab, f"http://{netlab.ORIGIN}:8080", up={"on_error": "direct"}, port=3128, listen=[{"on": ":3128"}], clients=["192.0.2.0/24"])
    held = []

    def connect(name):
        with net.inside("c"):
            c = wire.Conn(socket.create_connection((netlab.GATE, 3128), 20))
        held.append(c)
        lab.on_close(c.cut)
        c.send(f"CONNECT {name}.test:443 HTTP/1.1\r\nHost: {name}.test:443\r\n\r\n".encode())
        assert Response(c, "CONNECT").status == 200
        return c
    for k in range(2):      # it has both ports
        connect("exempt").send(b"220 not TLS\r\n")
        assert wire.wait_for(lambda: len(seen) == k + 1, 20 * e2e.lab_scale()), seen
    for k in range(4):
        with net.inside("c"):
            r = lab.run("curl", "-sS", "-x", f"http://{netlab.GATE}:3128", "--cacert", p.ca, "-o", "/dev/null", "-w", "%{http_code}",
                        "https://www.test/", env={"no_proxy": "", "HOME": str(lab.dir)})
        assert r.stdout == b"503", (r.stdout, r.stderr, p.log()[-500:])
    recs = p.access(4)
    assert [x.get("error.code") for x in recs] == ["NO_PORTS"] * 4, recs
    assert not o.requests and len(seen) == 2 and "is down" not in p.log(), (o.requests, seen, p.log())


def test_refused_page(lab):
    """What a parent has refused is said inside the tunnel, opened or not."""
    _, tls = origins(lab)
    no = lab.server(lambda c: connect_proxy(c, b"HTTP/1.1 403 Forbidden\r\n\r\n"))
    p = start(lab, f"http://127.0.0.1:{no.port}")
    for n, host in enumerate(("www.test", "exempt.test"), 1):
        with lab.sub(host):
            r = lab.curl(p, f"https://{host}:{tls.port}/")
            assert r.status == 502 and "received-status=403" in r.fields.get("Proxy-Status"), (r.status, r.head)
            assert last(p, n)["error.code"] == "PARENT_STATUS", last(p, n)


@e2e.slow
def test_slow_around(lab):
    """The way around a parent has its own time, whatever the parent had left."""
    def parent(c):
        time.sleep(9.5)
        connect_proxy(c, b"HTTP/1.1 503 No\r\n\r\n")
    late = lab.server(parent)
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    port = full.getsockname()[1]
    held = [socket.socket() for _ in range(3)]
    for h in held:  # the queue is full: no connection is made before one is taken
        h.setblocking(False)
        h.connect_ex(("127.0.0.1", port))
    p = start(lab, f"http://127.0.0.1:{late.port}", up={"on_error": "direct"},
              destinations={"allow": ["127.0.0.0/8"], "ports": {"connect": ["1024-65535"], "http": ["1024-65535"]}})
    c = lab.connect(p, timeout=60)
    c.send(f"CONNECT www.test:{port} HTTP/1.1\r\nHost: www.test:{port}\r\n\r\n".encode())
    assert Response(c, "CONNECT").status == 200
    c.send(f"GET / HTTP/1.1\r\nHost: www.test:{port}\r\n\r\n".encode())
    assert c.silent(11)
    for h in held:
        h.close()
    full.settimeout(20 * e2e.lab_scale())
    while True:
        o = wire.Conn(full.accept()[0])
        try:
            o.head()
        except Exception:
            continue    # one of those that were held
        o.send(ok(BODY))
        break
    assert Response(c).body == BODY
    full.close()
    assert "crash" not in p.log(), p.log()


def status(lab, p):
    """What the administration socket says of the one upstream."""
    c = socket.socket(socket.AF_UNIX)
    c.connect(str(lab.dir / "admin"))
    text = wire.Conn(c).rest()
    return json.loads(text)["upstreams"][0]


def test_health(lab):
    """Three connects that fail make it down; it comes back by itself."""
    plain, tls = origins(lab)
    port = dead_port(lab)
    p = start(lab, f"http://127.0.0.1:{port}", up={"probe": "200ms"}, admin={"socket": str(lab.dir / "admin")})
    assert status(lab, p)["endpoints"] == [{"endpoint": f"http://127.0.0.1:{port}", "state": "up", "busy": 0}]
    for k in range(4):
        assert ask(lab, p, "opened", plain.port, tls.port).status == 502
    assert wire.wait_for(lambda: "is down" in p.log(), 5), p.log()
    assert last(p, 4)["error.code"] == "PARENT_DOWN", last(p, 4)
    assert status(lab, p)["endpoints"][0]["state"] in ("down", "probed"), status(lab, p)
    s = lab.server(connect_proxy, port=port)
    assert wire.wait_for(lambda: status(lab, p)["endpoints"][0]["state"] == "probed", 20 * e2e.lab_scale()), status(lab, p)
    assert "is up" not in p.log(), p.log()  # before somebody went there
    assert wire.wait_for(lambda: ask(lab, p, "opened", plain.port, tls.port).status == 200, 20 * e2e.lab_scale()), p.log()
    assert wire.wait_for(lambda: "is up" in p.log(), 5), p.log()
    assert s.accepted >= 2


def test_answers(lab):
    """What a parent may say to CONNECT."""
    plain, tls = origins(lab, lambda h, b: ok(BODY, [("Connection", "close")]))
    answer = [b""]
    s = lab.server(lambda c: connect_proxy(c, answer[0]))
    p = start(lab, f"http://127.0.0.1:{s.port}")
    n = 0
    for name, text, status, code in (
            ("length", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n", 200, None),
            ("204", b"HTTP/1.1 204 Fine\r\n\r\n", 200, None),
            ("1.0", b"HTTP/1.0 200\r\n\r\n", 200, None),
            ("interim", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 200, None),
            ("interims", b"HTTP/1.1 100 Continue\r\n\r\n" * 9, 502, "PARENT_PROTOCOL"),
            ("101", b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", 502, "PARENT_PROTOCOL"),
            ("junk", b"SSH-2.0-OpenSSH\r\n\r\n", 502, "PARENT_PROTOCOL"),
            ("large", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2000000, 502, "PARENT_PROTOCOL"),
            ("302", b"HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\n\r\n", 502, "PARENT_STATUS"),
            ("407", b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", 502, "PARENT_AUTH"),
            ("504", b"HTTP/1.1 504 Late\r\n\r\n<script>alert(1)</script>", 502, "PARENT_STATUS")):
        with lab.sub(name):
            n += 1
            answer[0] = text
            r = lab.curl(p, f"https://www.test:{tls.port}/")
            assert r.status == status, (r.status, r.head)
            rec = last(p, n)
            assert rec.get("error.code") == code, rec
            assert status == 200 or (b"script" not in r.body and b"evil" not in r.body and not r.fields.has("Location") and
                                     not r.fields.has("Proxy-Authenticate")), r.body


def test_first_words(lab):
    """What follows the answer at once is the origin's, for a server that speaks first."""
    greeting = b"220 mail.test ESMTP\r\n"

    def smtp(c):
        h = c.head()
        c.send(b"HTTP/1.1 200 OK\r\n\r\n" + greeting)
        c.send(b"250 " + c.until(b"\r\n"))
        return h
    for tls in (None, lab.server_context("parent.test", sans=["127.0.0.1"])):
        s = lab.server(smtp, tls=tls)
        p = start(lab, f"{'https' if tls else 'http'}://127.0.0.1:{s.port}", up={"tls": {"trust": [lab.trust]}} if tls else {}, port=lab.port())
        c = lab.connect(p)
        c.send(b"CONNECT exempt.test:2525 HTTP/1.1\r\nHost: exempt.test:2525\r\n\r\nEHLO me\r\n")
        assert Response(c, "CONNECT").status == 200
        assert c.until(b"\r\n") == greeting and c.until(b"\r\n") == b"250 EHLO me\r\n"
        assert c.is_closed()
        p.stop()


def test_cut(lab):
    """A parent that goes in the middle: what came is not taken for the whole."""
    def half(c):
        h = c.head()
        if h.start.startswith("CONNECT"):
            c.send(b"HTTP/1.1 200 OK\r\n\r\n")
            h = c.head()
        c.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhalf of it")
        time.sleep(0.1)
        c.cut()
    ctx = lab.server_context("parent.test", sans=["127.0.0.1"])
    s = lab.server(half, tls=ctx)
    p = start(lab, f"https://127.0.0.1:{s.port}", up={"tls": {"trust": [lab.trust]}},
              destinations={"allow": ["127.0.0.0/8"], "ports": {"connect": [80, 443, "1024-65535"], "http": [80, "1024-65535"]}})
    c = lab.connect(p)
    c.send(b"GET http://www.test:8080/ HTTP/1.1\r\nHost: www.test:8080\r\n\r\n")
    r = Response(c)
    assert r.cut, r
    c = lab.connect(p)
    c.send(b"CONNECT www.test:8080 HTTP/1.1\r\nHost: www.test:8080\r\n\r\n")
    assert Response(c, "CONNECT").status == 200
    c.send(b"GET / HTTP/1.1\r\nHost: www.test:8080\r\n\r\n")
    r = Response(c)
    assert r.cut, r
    assert wire.wait_for(lambda: sum(x.get("error.code") == "ORIGIN_CUT" for x in p.access(2)) == 2, 5), p.access(2)


def test_cut_spliced(lab):
    """Nobody looks into it: the client sees a cut as one, and an end as an end."""
    block = b"x" * 65536
    row = []

    def talks(c):
        how, gone = row
        c.head()
        c.send(b"HTTP/1.1 200 OK\r\n\r\n220 hello\r\n")
        c.until(b"\r\n")
        if how == "stuck":
            c.sock.settimeout(1)
            try:
                while True:     # until no more is taken
                    c.send(block)
            except wire.Ended:
                c.reset()
        else:
            getattr(c, how)()
        gone.set()
    s = lab.server(talks, tls=lab.server_context("parent.test", sans=["127.0.0.1"]))
    p = start(lab, f"https://127.0.0.1:{s.port}", up={"tls": {"trust": [lab.trust]}})
    for kind, want in (("close", "clean"), ("cut", "reset"), ("reset", "reset"), ("stuck", "reset")):
        with lab.sub(kind):
            gone = threading.Event()
            row[:] = [kind, gone]
            c = lab.connect(p)
            c.send(b"CONNECT exempt.test:2525 HTTP/1.1\r\nHost: exempt.test:2525\r\n\r\nEHLO me\r\n")
            assert Response(c, "CONNECT").status == 200
            assert c.until(b"\r\n") == b"220 hello\r\n"
            assert gone.wait(20 * e2e.lab_scale())
            c.rest()
            assert c.ended == want, c.ended
            c.cut()


# ------------------------------------------------------------------ whereto

def test_denied(lab):
    """Addresses are judged where they are known, whoever connects."""
    seen = []
    s = lab.server(lambda c: connect_proxy(c, b"HTTP/1.1 403 No\r\n\r\n", seen))
    lab.hosts["meta.test"] = "169.254.169.254"
    n = 0
    for resolve in ("parent", "here"):
        log = lab.dir / f"{resolve}.log"
        p = start(lab, f"http://127.0.0.1:{s.port}", up={"resolve": resolve}, port=lab.port(), destinations={},
                  log={"access": [{"to": str(log), "format": "json"}]})
        rows = ["169.254.169.254", "127.0.0.1", "[::1]", "[::ffff:169.254.169.254]", "localhost", "a.localhost", "[fd00:ec2::254]"]
        for host in rows + (["meta.test"] if resolve == "here" else []):
            for scheme in ("http", "https"):
                with lab.sub(f"{resolve} {scheme} {host}"):
                    n += 1
                    r = lab.curl(p, f"{scheme}://{host}:8443/", "-g")
                    assert r.status == 403 and "destination_ip_prohibited" in r.fields.get("Proxy-Status"), (r.status, r.head)
        assert not seen, seen
        p.stop()


def test_resolve_here(lab):
    """The parent is told addresses, one after another until it reaches one."""
    plain, tls = origins(lab)
    lab.hosts["www.test"] = ["127.0.0.9", "127.0.0.1"]
    seen = []

    def parent(c):
        h = c.head()
        seen.append(h.start)
        if "127.0.0.9" in h.start:
            c.send(b"HTTP/1.1 503 No\r\n\r\n")
            return
        c.send(b"HTTP/1.1 200 OK\r\n\r\n")
        join(c, socket.create_connection(("127.0.0.1", tls.port)))
    s = lab.server(parent)
    p = start(lab, f"http://127.0.0.1:{s.port}", up={"resolve": "here"},
              rules=[{"name": "no", "if": {"dest": "127.0.0.77", "port": 1}, "access": "block"}])
    r = ask(lab, p, "opened", plain.port, tls.port)
    assert r.status == 200 and r.body == BODY, (r.status, r.errors)
    assert seen == [f"CONNECT 127.0.0.9:{tls.port} HTTP/1.1", f"CONNECT 127.0.0.1:{tls.port} HTTP/1.1"], seen
    assert last(p, 1)["server.ip"] == "127.0.0.1", last(p, 1)


def test_routes(lab):
    """By rule; and no connection of one way is used for another."""
    plain, tls = origins(lab)
    seen = []
    s = lab.server(lambda c: connect_proxy(c, seen=seen))
    port = lab.port()
    p = lab.assay(port=port, listen=[{"on": f"127.0.0.1:{port}", "name": "near"}, {"on": f"127.0.0.2:{port}", "name": "far"}],
                  clients=["127.0.0.0/8"], upstreams={"parent": {"url": f"http://127.0.0.1:{s.port}"}}, workers=1,
                  rules=[{"name": "straight", "if": {"host": "other.test"}, "route": "direct"},
                         {"name": "far", "if": {"listener": "far"}, "route": "parent"}, {"name": "rest", "scan": "none"}])
    for k, (front, host, through) in enumerate((("127.0.0.1", "www.test", False), ("127.0.0.2", "www.test", True),
                                                ("127.0.0.1", "www.test", False), ("127.0.0.2", "www.test", True),
                                                ("127.0.0.2", "other.test", False)), 1):
        with lab.sub(f"{front} {host}"):
            r = lab.run("curl", "-sS", "-x", f"http://{front}:{port}", "--cacert", p.ca, f"https://{host}:{tls.port}/",
                        env={"no_proxy": "", "HOME": str(lab.dir)})
            assert r.stdout == BODY, (r.stdout, r.stderr)
            rec = last(p, k)
            assert ("assay.upstream.name" in rec) == through, rec
            assert ("server.ip" in rec) != through, rec
    assert len(seen) == 1, seen     # the second one through it was kept


# -------------------------------------------------------------- what it carries

def test_http2(lab):
    """An origin of HTTP/2 behind a parent: one connection for many, verified as ever."""
    seen = []
    o = h2origin.start(lab)
    liar = h2origin.start(lab, host="evil.test")
    s = lab.server(lambda c: connect_proxy(c, seen=seen), tls=lab.server_context("parent.test", sans=["127.0.0.1"]))
    p = start(lab, f"https://127.0.0.1:{s.port}", up={"tls": {"trust": [lab.trust]}, "user": secret(lab, "amy:secret")})
    t = lab.tunnel(p, o.port)
    for k in range(3):
        assert t.get(f"/{k}").body == b"hello\n"
        assert lab.tunnel(p, o.port).get(f"/again{k}").body == b"hello\n"
    assert len(o.peers) == 1 and len(o.requests) == 6 and len(seen) == 1, (o.peers, seen)
    assert not any(st.get("proxy-authorization") for st in o.requests)
    assert last(p, 6)["assay.upstream.name"] == "parent", last(p, 6)
    # The parent's certificate is good; the origin's is another's.
    bad = lab.server(lambda c: c.head(), tls=lab.server_context("evil.test", authority=certs.Authority("Nobody's CA"), sans=["www.test"]))
    r = lab.curl(p, f"https://www.test:{bad.port}/")
    assert r.status == 502 and last(p, 7)["error.code"] == "ORIGIN_CERT", (r.status, last(p, 7))
    liar.stop()


def test_websocket(lab):
    """Opened, with both protocols of origins, and in plain HTTP."""
    seen = []
    s = lab.server(lambda c: connect_proxy(c, seen=seen))
    p = start(lab, f"http://127.0.0.1:{s.port}")
    old = lab.origin(wsock.served())
    new = h2origin.start(lab, script=h2origin.at_once(h2origin.websocket()), settings={h2origin.CONNECT: 1}, timeout=30)
    bare = lab.origin(wsock.served(), tls=None)
    for n, (name, port, opened) in enumerate((("HTTP/1.1", old.port, True), ("HTTP/2", new.port, True), ("plain", bare.port, False)), 1):
        with lab.sub(name):
            if opened:
                c = lab.tunnel(p, port)
                host = c.host
            else:
                host = f"www.test:{port}"
                c = lab.connect(p)
                c.send(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert Response(c, "CONNECT").status == 200
            w, head = wsock.connect(c, host)
            for data in ("hello", b"\0" * 70000):
                w.send(data)
                assert w.message() == data
            w.close(1000)
            assert w.recv()[0] == "close"
            c.close()
            assert len(seen) == n and seen[-1].start == f"CONNECT www.test:{port} HTTP/1.1", seen


def test_scanned(lab):
    """What is scanned is scanned on this way too, and no service sees what only the parent is shown."""
    plain, tls = origins(lab, lambda h, b: ok(b"EVIL" if "evil" in h.start else BODY))
    seen = []

    def look(tx):
        seen.append(tx.head.raw if hasattr(tx.head, "raw") else repr(tx.head))
        seen.append(tx.whole())
        return tx.block() if b"EVIL" in tx.whole() else tx.no_change()
    icap = lab.icap(look)

    def parent(c):
        h = c.head()
        assert h.get("Proxy-Authorization") == wire.basic("amy", "secret"), h
        assert len(h.all("Proxy-Authorization")) == 1, h
        if h.start.startswith("CONNECT"):
            c.send(b"HTTP/1.1 200 OK\r\n\r\n")
            join(c, socket.create_connection(("127.0.0.1", int(re.search(r":(\d+) ", h.start)[1]))))
        else:
            c.send(ok(b"EVIL" if "evil" in h.start else BODY))
    s = lab.server(parent)
    p = start(lab, f"http://127.0.0.1:{s.port}", up={"user": secret(lab, "amy:secret")},
              services={"up": {"url": icap.url(), "mode": "req"}, "down": {"url": icap.url(), "mode": "resp"}},
              rules=[{"name": "all", "if": {"host": "www.test"}, "scan": ["up", "down"]}])
    for way in ("plain", "opened"):
        for path, status in (("/", 200), ("/evil", 403)):
            with lab.sub(f"{way} {path}"):
                r = ask(lab, p, way, plain.port, tls.port, "--proxy-user", "client:own", path=path)
                assert r.status == status, (r.status, r.head, r.body[:200])
    assert seen and not any("amy" in str(x) or "YW15" in str(x) for x in seen), seen


def test_transparent(lab):
    """The parent is asked for the address that the client has dialled, whatever it says."""
    seen = []
    net = netlab.Net(lab)
    net.recipe("--mode", "redirect", "--if", "pc")
    ctx = lab.server_context("www.test", sans=["www.test", "exempt.test"])
    with net.inside("s"):
        lab.origin(lambda h, b: ok(b"plain"), tls=None, host=netlab.ORIGIN, port=80)
        lab.origin(lambda h, b: ok(b"tls"), tls=ctx, host=netlab.ORIGIN, port=443)

    def parent(c):
        h = c.head()
        seen.append(h.start)
        c.send(b"HTTP/1.1 200 OK\r\n\r\n")
        host, port = re.match(r"CONNECT (\S+):(\d+) ", h.start).groups()
        with net.inside("p"):
            o = socket.create_connection((host, int(port)))
        join(c, o)
    with net.inside("p"):
        s = lab.server(parent)
        p = lab.assay(port=3129, listen=[{"on": ":3129", "kind": "redirect"}], clients=["192.0.2.0/24"], workers=1,
                      destinations={"allow": ["127.0.0.0/8"]}, upstreams={"parent": {"url": f"http://127.0.0.1:{s.port}"}},
                      rules=[{"name": "exempt", "if": {"host": "exempt.test", "dest": netlab.ORIGIN}, "tls": "splice"},
                             {"name": "out", "route": "parent"}, {"name": "rest", "scan": "none"}])
    lab.hosts["exempt.test"] = netlab.ORIGIN
    for k, (url, ca, body) in enumerate((("http://www.test/", None, b"plain"), ("https://www.test/", p.ca, b"tls"),
                                         ("https://exempt.test/", lab.trust, b"tls")), 1):
        with lab.sub(url):
            with net.inside("c"):
                r = lab.run("curl", "-sS", "--noproxy", "*", *(["--cacert", ca] if ca else []), "--connect-to", f"::{netlab.ORIGIN}:", url)
            assert r.stdout == body, (r.stdout, r.stderr, seen, p.log()[-500:])
            assert seen[-1] == f"CONNECT {netlab.ORIGIN}:{443 if ca else 80} HTTP/1.1", seen
            rec = last(p, k)
            assert rec["assay.upstream.name"] == "parent" and rec["server.ip"] == netlab.ORIGIN, rec


def test_balance(lab):
    plain, tls = origins(lab)
    seen = [[], []]
    parents = [lab.server(lambda c, k=k: connect_proxy(c, seen=seen[k])) for k in (0, 1)]
    p = start(lab, [f"http://127.0.0.1:{x.port}" for x in parents], up={"balance": "round_robin"}, workers=1,
              log={"access": [{"to": str(lab.dir / "access.log"), "format": "squid"}]})
    for k in range(4):
        r = lab.curl(p, f"https://exempt.test:{tls.port}/", ca=lab.trust)
        assert r.status == 200, r.errors
    assert [len(x) for x in seen] == [2, 2], seen
    assert wire.wait_for(lambda: (lab.dir / "access.log").read_text().count("ROUNDROBIN_PARENT/127.0.0.1") == 4, 5)


def test_reload(lab):
    """Credentials are read anew, and routes change for what comes then."""
    plain, tls = origins(lab)
    seen = []
    s = lab.server(lambda c: connect_proxy(c, seen=seen))
    user = secret(lab, "amy:one")
    p = start(lab, f"http://127.0.0.1:{s.port}", up={"user": user})
    assert ask(lab, p, "opened", plain.port, tls.port).status == 200
    secret(lab, "amy:two")
    p.reload("is in force")
    assert ask(lab, p, "opened", plain.port, tls.port).status == 200
    got = [base64.b64decode(h.get("Proxy-Authorization").split()[1]) for h in seen]
    assert got == [b"amy:one", b"amy:two"], got
    conf = lab.conf(p.port, rules=[{"name": "rest", "scan": "none"}])
    p.write_conf(conf)
    p.reload("is in force")
    assert ask(lab, p, "opened", plain.port, tls.port).status == 200
    assert len(seen) == 2, seen


@e2e.needs("softhsm2-util")
def test_token(lab):
    """The key that a parent is shown is in a token: at the start, and by a reload."""
    plain, tls = origins(lab)
    seen = []
    ctx = lab.server_context("parent.test", sans=["127.0.0.1"])
    ctx.verify_mode = ssl.CERT_REQUIRED
    ctx.load_verify_locations(lab.trust)
    s = lab.server(lambda c: (seen.append(c.sock.getpeercert()["subject"]), connect_proxy(c)), tls=ctx)
    cert, key = lab.root.leaf("assay.test", usage=certs.ExtendedKeyUsageOID.CLIENT_AUTH)
    (lab.dir / "client.pem").write_bytes(certs.pem(cert))
    (lab.dir / "client.p8").write_bytes(certs.pem(key))
    (lab.dir / "tokens").mkdir()
    hsm = lab.dir / "softhsm2.conf"
    hsm.write_text(f"directories.tokendir = {lab.dir}/tokens\n")
    env = {"SOFTHSM2_CONF": str(hsm)}
    for args in (["--init-token", "--free", "--label", "parent", "--so-pin", "1234"],
                 ["--import", str(lab.dir / "client.p8"), "--token", "parent", "--label", "client", "--id", "01"]):
        r = lab.run("softhsm2-util", *args, "--pin", "1234", env=env)
        assert r.returncode == 0, (r.stdout, r.stderr)
    (lab.dir / "client.p8").unlink()
    up = {"tls": {"trust": [lab.trust], "cert": str(lab.dir / "client.pem"),
                  "key": "pkcs11:token=parent;object=client;type=private;pin-value=1234"}}
    url = f"https://127.0.0.1:{s.port}"
    p = start(lab, url, up=up, env=env)
    r = ask(lab, p, "opened", plain.port, tls.port)
    assert r.status == 200 and r.body == BODY, (r.status, r.errors, p.log()[-800:])
    assert "seccomp of a token's module" in p.log(), p.log()
    p.stop()
    p = start(lab, url, port=lab.port(), env=env)
    assert "token's module" not in p.log(), p.log()
    p.write_conf(lab.conf(p.port, upstreams={"parent": {"url": url, **up}}, rules=[{"name": "out", "route": "parent"}]))
    p.reload("is in force")
    assert wire.wait_for(lambda: ask(lab, p, "opened", plain.port, tls.port).status == 200, 20 * e2e.lab_scale()), p.log()
    assert "seccomp of a token's module" in p.log(), p.log()
    assert len(seen) == 2, seen


def test_check(lab):
    """What cannot be meant."""
    port = lab.port()
    bad = secret(lab, "nobody", "bad.user")
    for name, up, rule, want in (
            ("own", {"url": f"http://127.0.0.1:{port}"}, {"route": "x"}, "where assay listens itself"),
            ("local", {"url": f"http://localhost:{port}"}, {"route": "x"}, "where assay listens itself"),
            ("user", {"url": "http://p.test:1", "user": bad}, {"route": "x"}, "name:password"),
            ("url", {"url": "ftp://p.test:1"}, {"route": "x"}, "no address of a proxy"),
            ("port", {"url": "http://p.test"}, {"route": "x"}, "no address of a proxy"),
            ("userinfo", {"url": "http://a:b@p.test:1"}, {"route": "x"}, "write 'user: file:"),
            ("late", {"url": "http://p.test:1"}, {"route": "x", "if": {"url": "x"}}, "'route' cannot be decided by 'url'"),
            ("name", {"url": "http://p.test:1"}, {"route": "y"}, "no upstream or way out has the name"),
            ("tls", {"url": "http://p.test:1", "tls": {"name": "x"}}, {"route": "x"}, "'tls' has no effect")):
        with lab.sub(name):
            code, out, _ = lab.check(lab.conf(port, upstreams={"x": up}, rules=[{"name": "r", **rule}]))
            assert code == 1 and want in out, out
    code, out, _ = lab.check(lab.conf(port, upstreams={"x": {"url": "http://p.test:1"}}, rules=[{"name": "r", "route": "x"}]))
    assert code == 0 and "looks names up itself" in out, out


def test_drain(lab):
    """What goes through TLS with a parent ends with its client, and leaves nothing."""
    plain, tls = origins(lab)
    s = lab.server(connect_proxy, tls=lab.server_context("parent.test", sans=["127.0.0.1"]))
    p = start(lab, f"https://127.0.0.1:{s.port}", up={"tls": {"trust": [lab.trust]}}, workers=1)
    # Pipes that a spliced tunnel has had are kept.
    for way in ("opened", "spliced"):
        r = ask(lab, p, way, plain.port, tls.port)
        assert r.status == 200, r.errors
    ctx = ssl.create_default_context(cafile=lab.trust)
    had = p.fds()
    for k in range(8):
        c = lab.connect(p)
        c.send(f"CONNECT exempt.test:{tls.port} HTTP/1.1\r\nHost: exempt.test:{tls.port}\r\n\r\n".encode())
        assert Response(c, "CONNECT").status == 200
        t = ctx.wrap_socket(c.sock, server_hostname="exempt.test")
        t.sendall(b"GET / HTTP/1.1\r\nHost: exempt.test\r\n\r\n")
        assert t.recv(100).startswith(b"HTTP/1.1 200")
        c = wire.Conn(t)
        (c.reset, c.cut, c.close)[k % 3]()
    assert wire.wait_for(lambda: p.fds() <= had, 20 * e2e.lab_scale()), (p.fds(), had)
