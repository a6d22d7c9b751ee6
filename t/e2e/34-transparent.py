# SPDX-License-Identifier: GPL-2.0-or-later
"""Transparent listeners behind a packet filter, with the rules that assayctl recipe nft
prints, in namespaces: TLS, plain HTTP, neither, and whom a name is believed of."""
import contextlib
import errno
import socket
import ssl
import threading
import time

import lab as e2e
import netlab
import wire
import wsock
from netlab import CLIENT, CLIENT6, GATE, GATE6, ORIGIN, ORIGIN6, OTHER, Net
from wire import Response, ok

PORT = 3129
KINDS = ("redirect", "tproxy")
SERVED = {"clients": ["192.0.2.0/24", "2001:db8:1::/64"], "destinations": {}, "workers": 1}


def each_kind(f):
    """A test for each of both."""
    for kind in KINDS:
        def test(lab, kind=kind):
            f(lab, kind)
        name = f"{f.__name__}_{kind}"
        test.__name__, test.__doc__ = name, f.__doc__
        globals()[name] = test
    return None


def start(lab, kind, rules=None, listen=None, **conf):
    """(net, assayd): a gateway with what the recipe says."""
    net = Net(lab)
    net.recipe("--mode", kind, "--if", "pc")
    with net.inside("p"):
        p = lab.assay(port=PORT, listen=[{"on": f":{PORT}", "kind": kind, "name": "in", **(listen or {})}],
                      rules=rules or [{"name": "default", "scan": "none"}], **{**SERVED, **conf})
    return net, p


def origins(lab, net, plain=None, tls="www.test", names=("www.test",)):
    """The same at IPv4 and IPv6: TLS on 443, plain on 80."""
    out = {}
    ctx = lab.server_context(names[0], sans=list(names)) if tls else None
    with net.inside("s"):
        for a in (ORIGIN, ORIGIN6, OTHER):
            out[a, 80] = lab.origin(plain or (lambda h, b: ok(b"plain " + h.get("Host", "none").encode())), tls=None, host=a, port=80)
            if tls:
                out[a, 443] = lab.origin(lambda h, b: ok(b"tls " + h.get("Host", "none").encode()), tls=ctx, host=a, port=443)
    return out


def connect(lab, net, addr, port, timeout=None):
    with net.inside("c"):
        c = wire.Conn(socket.create_connection((addr, port), timeout or wire.TIMEOUT * e2e.lab_scale()))
    lab.on_close(c.cut)
    return c


def over_tls(lab, net, p, addr, sni="www.test", port=443, ctx=None):
    c = connect(lab, net, addr, port)
    sock = (ctx or wire.context(p.ca)).wrap_socket(c.sock, server_hostname=sni)
    t = wire.Conn(sock)
    lab.on_close(t.cut)
    return t


def unverified():
    c = ssl.create_default_context()
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    return c


def get(c, host="www.test", path="/", target=None, version="1.1", method="GET", fields=""):
    h = f"Host: {host}\r\n" if host else ""
    c.send(f"{method} {target or path} HTTP/{version}\r\n{h}{fields}\r\n".encode())
    return Response(c, method)


def issuer(sock):
    return dict(x[0] for x in sock.getpeercert()["issuer"])["commonName"]


@each_kind
def test_tls_and_plain(lab, kind):
    """IPv4 and IPv6 by both kinds, with real clients."""
    net, p = start(lab, kind)
    origins(lab, net)
    n = 0
    for addr, client in ((ORIGIN, CLIENT), (ORIGIN6, CLIENT6)):
        for url, body, mode in (("https://www.test/", b"tls www.test", "intercepted"), ("http://www.test/x", b"plain www.test", "plain")):
            with lab.sub(f"{kind} {addr} {url}"):
                with net.inside("c"):
                    r = lab.run("curl", "-sS", "--noproxy", "*", "--cacert", p.ca, "--connect-to", f"::[{addr}]:" if ":" in addr else f"::{addr}:", url)
                assert r.stdout == body, (r.stdout, r.stderr)
                n += 1
                rec = p.access(n)[-1]
                assert rec["client.ip"] == client and rec["assay.mode"] == mode and rec["assay.listener"] == "in", rec
                to = f"[{addr}]" if ":" in addr else addr
                assert rec["assay.destination"] == f"{to}:{443 if 'tls' in body.decode() else 80}", rec
                assert rec["server.ip"] == addr and rec["url.full"] == url, rec


def test_by_octets_and_reuse(lab):
    net, p = start(lab, "redirect")
    origins(lab, net)
    # A ClientHello octet by octet, by way of a pair of buffers.
    c = connect(lab, net, ORIGIN, 443)
    c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = wire.context(p.ca).wrap_bio(into, out, server_hostname="www.test")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            for octet in out.read():
                c.send(bytes([octet]))
            c.fill()
            into.write(bytes(c.buf))
            c.buf = b""
    assert tls.getpeercert()["subject"]
    # Requests octet by octet, and many on one connection.
    c = connect(lab, net, ORIGIN, 80)
    c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for octet in b"GET / HTTP/1.1\r\nHost: www.test\r\n\r\n":
        c.send(bytes([octet]))
    assert Response(c).body == b"plain www.test"
    for host in ("www.test", "other.test", "www.test:80"):
        assert get(c, host).body == b"plain " + host.encode()


def test_authority(lab):
    """What a request on a transparent connection may say."""
    net, p = start(lab, "redirect", rules=[{"name": "inner", "if": {"host": ["inner.test"]}, "access": "block"}, {"name": "rest", "scan": "none"}])
    lab.hosts.update({"secret.test": "198.51.100.1"})
    o = origins(lab, net)
    rows = [
        ("no Host, HTTP/1.0", dict(host=None, version="1.0"), 200, b"plain " + ORIGIN.encode()),
        ("no Host", dict(host=None), 400, None),
        ("another port", dict(host="www.test:8080"), 400, None),
        ("absolute", dict(target="http://www.test/x"), 200, b"plain www.test"),
        ("absolute, another", dict(target="http://other.test/x"), 400, None),
        ("absolute, https", dict(target="https://www.test/x"), 400, None),
        ("CONNECT", dict(target="www.test:80", method="CONNECT"), 405, None),
        ("blocked by what it says", dict(host="inner.test"), 403, None),
        ("another's address", dict(host="198.51.100.1"), 200, b"plain 198.51.100.1"),
        ("another's name", dict(host="secret.test"), 200, b"plain secret.test"),
        ("sign-in is not asked", dict(fields="Proxy-Authorization: Basic eDp5\r\nProxy-Connection: close\r\n"), 200, b"plain www.test"),
    ]
    for name, kw, status, body in rows:
        with lab.sub(name):
            c = connect(lab, net, ORIGIN, 80)
            r = get(c, **kw)
            assert r.status == status, r
            assert body is None or r.body == body, r.body
            c.cut()
    assert not any("proxy-" in str(h).lower() for h, _, _ in o[ORIGIN, 80].requests), "fields of the proxy have left"
    # Over TLS: another host than the one that is proven.
    t = over_tls(lab, net, p, ORIGIN)
    assert get(t, "www.test").status == 200
    assert get(t, "other.test").status == 421


def test_whose_name(lab):
    """A name tightens at once; it loosens what the origin proves."""
    net, p = start(lab, "redirect", rules=[
        {"name": "bad", "if": {"host": ["bad.test"]}, "access": "block"},
        {"name": "bank", "if": {"host": ["bank.test"]}, "tls": "splice"},
        {"name": "good", "if": {"host": ["good.test", "bank.test"]}, "access": "allow"},
        {"name": "there", "if": {"dest": [OTHER]}, "access": "allow", "tls": "splice"},
        {"name": "rest", "access": "block"}, {"name": "scan", "scan": "none"}])
    o = origins(lab, net, names=("good.test", "bad.test"))
    own = o[ORIGIN, 443].tls.leaf
    rows = [  # name, address, status over TLS, opened, status over plain HTTP, rule
        ("good.test", ORIGIN, 200, True, 403), ("bad.test", ORIGIN, 403, True, 403), ("www.test", ORIGIN, 403, True, 403),
        ("bank.test", ORIGIN, 502, True, 403), ("good.test", OTHER, 200, False, 200), ("bad.test", OTHER, 403, True, 403),
        ("www.test", OTHER, 200, False, 200)]
    for name, addr, tls, opened, plain in rows:
        with lab.sub(f"{name} {addr}"):
            before = len(o[addr, 443].requests) + len(o[addr, 80].requests)
            t = over_tls(lab, net, p, addr, sni=name, ctx=unverified())
            shown = ssl.DER_cert_to_PEM_cert(t.sock.getpeercert(True))
            assert (shown.encode().split() != e2e.certs.pem(own).split()) == opened, "opened or not"
            r = get(t, name)
            assert r.status == tls, r
            t.cut()
            r = get(connect(lab, net, addr, 80), name)
            assert r.status == plain, r
            assert len(o[addr, 443].requests) + len(o[addr, 80].requests) == before + [tls, plain].count(200), "it has left"


RULES = [{"name": "bank", "if": {"host": ["bank.test"]}, "tls": "splice", "access": "allow"},
         {"name": "free", "if": {"host": ["free.test"]}, "access": "allow", "log": "none"},
         {"name": "open", "if": {"host": ["any.test"]}, "access": "allow"}, {"name": "rest", "access": "block"},
         {"name": "scan", "scan": "none"}]


def is_spliced(t, o, addr):
    own = e2e.certs.pem(o[addr, 443].tls.leaf).split()
    return ssl.DER_cert_to_PEM_cert(t.sock.getpeercert(True)).encode().split() == own


def test_proven_by_dns(lab):
    """A name that leads to the address, among others, gets what rules give it."""
    lab.hosts.update({"bank.test": ["203.0.113.99", ORIGIN, ORIGIN6], "free.test": [ORIGIN], "any.test": [OTHER]})
    for names in ("relaxed", "strict"):
        net, p = start(lab, "redirect", rules=RULES, listen={"names": names})
        o = origins(lab, net, names=("nobody.test",))
        for addr in (ORIGIN, ORIGIN6):
            with lab.sub(f"{names} {addr}"):
                t = over_tls(lab, net, p, addr, sni="bank.test", ctx=unverified())
                assert is_spliced(t, o, addr)
                assert get(t, "bank.test").status == 200
                t.cut()
                assert wire.wait_for(lambda: p.access(1)[-1]["server.ip"] == addr)
                assert p.access(1)[-1]["assay.rule.tls"] == "bank", p.access(1)
                assert get(connect(lab, net, addr, 80), "bank.test").status == 200
        with lab.sub(f"{names} foreign"):
            t = over_tls(lab, net, p, OTHER, sni="bank.test", ctx=unverified())
            assert not is_spliced(t, o, OTHER), "anybody may call his server so"
            assert get(t, "bank.test").status == 502
            t.cut()
            assert wire.wait_for(lambda: "error.code" in p.access(1)[-1])
            assert p.access(1)[-1]["assay.name"] == "unproven", p.access(1)[-1]
            r = get(connect(lab, net, OTHER, 80), "bank.test")
            assert r.status == 403
            assert wire.wait_for(lambda: p.access(1)[-1].get("url.full") == "http://bank.test/" and "assay.name" in p.access(1)[-1])
            had = len(p.access(1))
            assert get(connect(lab, net, ORIGIN, 80), "free.test").status == 200
            r = get(connect(lab, net, OTHER, 80), "free.test")  # of it there is a record
            assert r.status == 403
            rec = p.access(had + 1)
            assert len(rec) == had + 1 and rec[-1]["assay.destination"] == f"{OTHER}:80", rec[had:]
        p.stop()
        net.close()
        lab.closers.remove(net.close)
        (lab.dir / "access.log").unlink()
        p.log_path.unlink()


def test_proven_by_certificate(lab):
    """Addresses vary: the certificate of the server proves it, and is asked for once."""
    lab.hosts["bank.test"] = "203.0.113.99"
    net, p = start(lab, "redirect", rules=RULES)
    ctx = lab.server_context("bank.test")
    false = lab.server_context("bank.test", authority=e2e.certs.Authority("Nobody's CA"))
    with net.inside("s"):
        good = lab.origin(lambda h, b: ok(b"x"), tls=ctx, host=ORIGIN, port=443)
        bad = lab.origin(lambda h, b: ok(b"x"), tls=false, host=OTHER, port=443)
    o = {(ORIGIN, 443): good, (OTHER, 443): bad}
    for i in range(4):
        t = over_tls(lab, net, p, ORIGIN, sni="bank.test", ctx=unverified())
        assert is_spliced(t, o, ORIGIN)
        assert get(t, "bank.test").status == 200
        t.cut()
    assert good.handshakes == 5, f"{good.handshakes} handshakes: four clients and one of ours"
    t = over_tls(lab, net, p, OTHER, sni="bank.test", ctx=unverified())
    assert not is_spliced(t, o, OTHER) and get(t, "bank.test").status == 502
    # A reload asks anew.
    p.write_conf(lab.conf(PORT, listen=[{"on": f":{PORT}", "kind": "redirect", "name": "in"}], rules=RULES, **SERVED))
    p.reload("in force")
    t = over_tls(lab, net, p, ORIGIN, sni="bank.test", ctx=unverified())
    assert is_spliced(t, o, ORIGIN)
    assert wire.wait_for(lambda: good.handshakes == 7), good.handshakes


def test_strict(lab):
    """names: strict: addresses alone prove, and plain HTTP has to."""
    lab.hosts.update({"any.test": [ORIGIN], "bank.test": "203.0.113.99"})
    net, p = start(lab, "redirect", rules=[{"name": "bank", "if": {"host": ["bank.test"]}, "tls": "splice"}, {"name": "scan", "scan": "none"}],
                   listen={"names": "strict"})
    o = origins(lab, net, names=("bank.test", "other.test"))
    t = over_tls(lab, net, p, ORIGIN, sni="bank.test")
    assert issuer(t.sock) == "Lab Proxy CA" and get(t, "bank.test").status == 200
    assert get(connect(lab, net, ORIGIN, 80), "any.test").status == 200
    assert get(connect(lab, net, ORIGIN, 80), ORIGIN).status == 200
    r = get(connect(lab, net, ORIGIN, 80), "other.test")
    assert r.status == 403
    assert get(connect(lab, net, OTHER, 80), "any.test").status == 403
    assert wire.wait_for(lambda: p.access(1)[-1].get("error.code") == "NAME_UNPROVEN"), p.access(1)[-1]
    assert get(over_tls(lab, net, p, ORIGIN, sni="other.test"), "other.test").status == 200, "TLS proves itself"
    assert len(o[OTHER, 80].requests) == 0


def test_changing_addresses_are_no_error(lab):
    """Two hundred requests while the name's addresses change: no 4xx, as there is nothing to compare."""
    net, p = start(lab, "redirect", rules=[{"name": "other", "if": {"host": ["other.test"]}, "access": "block"}, {"name": "scan", "scan": "none"}])
    origins(lab, net)
    for i in range(10):
        lab.hosts["www.test"] = f"198.18.0.{i}"
        p.write_conf(lab.conf(PORT, listen=[{"on": f":{PORT}", "kind": "redirect", "name": "in"}],
                              rules=[{"name": "other", "if": {"host": ["other.test"]}, "access": "block"}, {"name": "scan", "scan": "none"}], **SERVED))
        p.reload("in force")
        t, c = over_tls(lab, net, p, ORIGIN), connect(lab, net, ORIGIN, 80)
        for _ in range(10):
            assert get(t).status == 200 and get(c).status == 200


def test_neither(lab):
    """Other protocols: by rule, whoever speaks first."""
    net = Net(lab)
    net.recipe("--mode", "tproxy", "--if", "pc", "--ports", "80,443,2525")
    with net.inside("p"):
        p = lab.assay(port=PORT, listen=[{"on": f":{PORT}", "kind": "tproxy"}],
                      rules=[{"name": "mail", "if": {"dest": [OTHER]}, "tls": "splice"}, {"name": "rest", "scan": "none"}], **SERVED)

    def script(conn):
        conn.send(b"220 here\r\n")
        line = conn.until(b"\n")
        conn.send(b"250 " + line)
    with net.inside("s"):
        for a in (ORIGIN, OTHER):
            lab.server(script, host=a, port=2525)
    c = connect(lab, net, OTHER, 2525)
    assert c.until(b"\n") == b"220 here\r\n"
    c.send(b"EHLO me\r\n")
    assert c.until(b"\n") == b"250 EHLO me\r\n"
    c.cut()
    rec = p.access(1)[-1]
    assert rec["event.action"] == "splice" and rec["server.ip"] == OTHER and rec["assay.rule.tls"] == "mail", rec
    rows = {"SERVER_FIRST": b"", "PROTOCOL_UNKNOWN": b"EHLO me\r\n", "PROTOCOL_UNKNOWN ": b"SSH-2.0-x y\r\n", "PROTOCOL_UNKNOWN  ": b"\0\1\2\3"}
    for i, (code, octets) in enumerate(rows.items()):
        with lab.sub(code):
            c = connect(lab, net, ORIGIN, 2525)
            if octets:
                c.send(octets)
            assert c.is_closed(20 * e2e.lab_scale())
            rec = p.access(i + 2)[-1]
            assert rec["error.code"] == code.strip() and "http.response.status_code" not in rec, rec
            assert rec["assay.mode"] == "transparent" and rec["assay.destination"] == f"{ORIGIN}:2525", rec


@each_kind
def test_to_the_port_itself(lab, kind):
    """Nobody has redirected: own pages, nothing else, and never a connection to itself."""
    net = Net(lab)
    with net.inside("p"):
        p = lab.assay(port=PORT, listen=[{"on": f":{PORT}", "kind": kind}], **SERVED)
    for filtered in (False, True):
        if filtered:
            net.recipe("--mode", kind, "--if", "pc")
        for gate in (GATE, GATE6):
            with lab.sub(f"{kind} {gate} {filtered}"):
                assert get(connect(lab, net, gate, PORT), "www.test").status == 400
                assert get(connect(lab, net, gate, PORT), gate, target="http://www.test/").status == 400
                assert get(connect(lab, net, gate, PORT), gate, target="www.test:443", method="CONNECT").status == 400
                r = get(connect(lab, net, gate, PORT), "assay.internal")
                assert r.status == 200 and b"assay" in r.body, r
    rec = p.access(1)[0]
    assert rec["error.code"] == "NOT_INTERCEPTED", rec


def fails(lab, net, addr, port):
    """errno of a connection; 0: it was made."""
    try:
        connect(lab, net, addr, port, 15).cut()
    except OSError as e:
        return e.errno or errno.ETIMEDOUT
    return 0


@each_kind
def test_fails_closed(lab, kind):
    net, p = start(lab, kind)
    origins(lab, net)
    assert fails(lab, net, ORIGIN, 80) == 0
    with net.inside("c"):  # QUIC
        for family, addr in ((socket.AF_INET, ORIGIN), (socket.AF_INET6, ORIGIN6)):
            u = socket.socket(family, socket.SOCK_DGRAM)
            u.connect((addr, 443))
            u.settimeout(5)
            u.send(b"x")
            with lab.sub(f"{kind} QUIC {addr}"):
                try:
                    u.recv(10)
                    raise AssertionError("answered")
                except ConnectionRefusedError:
                    pass
    p.stop()
    for when in ("dead", "no rules but the guard"):
        if when != "dead":
            net.nft("delete table inet assay")
        for addr in (ORIGIN, ORIGIN6):
            for port in (80, 443):
                with lab.sub(f"{kind} {when} {addr} {port}"):
                    assert fails(lab, net, addr, port) == errno.ECONNREFUSED
    net.nft("delete table inet assay_guard")
    assert fails(lab, net, ORIGIN, 80) == 0, "it was the guard"
    if kind == "tproxy":
        with net.inside("p"):
            netlab.run("sh", "-e", "-c", netlab.run(*netlab.NFT, "--mode", "tproxy", "--routes", "--remove").stdout)


def test_local(lab):
    """Programs of the gateway itself; assayd's own connections are left out."""
    net = Net(lab)
    lab.dir.chmod(0o755)
    with net.inside("p"):
        p = lab.assay(port=PORT, listen=[{"on": f":{PORT}", "kind": "redirect"}], user="nobody", log={"access": []},
                      state=None, **{**SERVED, "clients": ["any"]})
    origins(lab, net)
    net.recipe("--mode", "local", "--user", "nobody")
    with net.inside("p"):
        for addr in (ORIGIN, ORIGIN6):
            with lab.sub(addr):
                r = lab.run("curl", "-sS", "-v", "--noproxy", "*", "--cacert", p.ca, "--connect-to", f"::[{addr}]:" if ":" in addr else f"::{addr}:",
                            "https://www.test/")
                assert r.stdout == b"tls www.test", r.stderr
                assert b"Lab Proxy CA" in r.stderr, r.stderr


def test_round_in_circles(lab):
    """The exclusion is missing: what assayd sends comes back to it, and ends."""
    net = Net(lab)
    with net.inside("p"):
        p = lab.assay(port=PORT, listen=[{"on": f":{PORT}", "kind": "redirect"}], **{**SERVED, "clients": ["any"]})
    net.recipe("--mode", "local", "--user", "daemon")
    net.recipe("--mode", "redirect", "--if", "pc")
    net.nft("""table inet assay {
 chain output {
  type nat hook output priority -100; policy accept;
  fib daddr type local accept
  tcp dport { 80, 443 } redirect to :3129
 }
}""")
    c = connect(lab, net, ORIGIN, 80)
    r = get(c)
    assert r.status in (502, 504, 508), r
    assert wire.wait_for(lambda: "from this machine itself" in p.log() or len(p.access(1)) > 0)
    for _ in range(3):  # over TLS no field tells it
        with net.inside("c"):
            raw = socket.create_connection((ORIGIN, 443), 5)
        try:
            unverified().wrap_socket(raw, server_hostname="www.test").close()
        except OSError:
            pass
    fds = []

    def calm():
        fds.append(p.fds())
        return len(fds) > 20 and max(fds[-20:]) - min(fds[-20:]) <= 2
    assert wire.wait_for(calm, 30, 0.1), fds


def test_addresses_that_nobody_may_reach(lab):
    net, p = start(lab, "tproxy", destinations={"deny": ["loopback", "link_local", "self", "203.0.113.81", "169.254.169.254"]})
    o = origins(lab, net)
    t = over_tls(lab, net, p, OTHER)
    assert get(t, "www.test").status == 403
    assert get(connect(lab, net, OTHER, 80)).status == 403
    net.ip("s", "addr", "add", "64:ff9b::a9fe:a9fe/128", "dev", "s0", "nodad")
    assert get(connect(lab, net, "64:ff9b::a9fe:a9fe", 80)).status == 403
    assert not o[OTHER, 80].requests and not o[OTHER, 443].requests


def test_ports(lab):
    """TLS on 80 and HTTP on 443 are what they are, and judged as that."""
    net, p = start(lab, "redirect", destinations={"ports": {"connect": [443], "http": [80]}})
    ctx = lab.server_context("www.test")
    with net.inside("s"):
        lab.origin(lambda h, b: ok(b"x"), tls=ctx, host=ORIGIN, port=80)
        lab.origin(lambda h, b: ok(b"x"), tls=None, host=ORIGIN, port=443)
    assert get(over_tls(lab, net, p, ORIGIN, port=80), "www.test:80").status == 403
    assert get(connect(lab, net, ORIGIN, 443)).status == 403
    conf = lab.conf(PORT, listen=[{"on": f":{PORT}", "kind": "redirect", "name": "in"}],
                    **{**SERVED, "destinations": {"ports": {"connect": [80, 443], "http": [80, 443]}}})
    p.write_conf(conf)
    p.reload("in force")
    assert get(over_tls(lab, net, p, ORIGIN, port=80), "www.test:80").status == 200
    assert get(connect(lab, net, ORIGIN, 443), "www.test").status == 200


def test_reload_of_kind(lab):
    """The same address, another kind: what it needs is set on the sockets that stay."""
    net, p = start(lab, "redirect")
    origins(lab, net)
    assert get(connect(lab, net, ORIGIN, 80)).status == 200
    net.nft("delete table inet assay")
    p.write_conf(lab.conf(PORT, listen=[{"on": f":{PORT}", "kind": "tproxy", "name": "in"}], **SERVED))
    p.reload("in force")
    net.recipe("--mode", "tproxy", "--if", "pc")

    def served():
        try:
            return get(connect(lab, net, ORIGIN, 80)).status == 200
        except (OSError, wire.Ended):
            return False
    assert wire.wait_for(served, 15)
    for addr in (ORIGIN, ORIGIN6):
        assert get(over_tls(lab, net, p, addr), "www.test").status == 200


def test_balancer_in_front(lab):
    """A PROXY header says where the client was going, too."""
    net, p = start(lab, "redirect", listen={"proxy_protocol": [CLIENT]}, clients=["10.9.9.9"])
    origins(lab, net)
    c = connect(lab, net, GATE, PORT)
    c.send(f"PROXY TCP4 10.9.9.9 {OTHER} 1234 80\r\n".encode())
    assert get(c).status == 200
    rec = p.access(1)[0]
    assert rec["client.ip"] == "10.9.9.9" and rec["server.ip"] == OTHER and rec["assay.destination"] == f"{OTHER}:80", rec
    for to in ("0.0.0.0 1 80", "224.0.0.1 1 80", "255.255.255.255 1 80", "127.0.0.1 1 80", f"{OTHER} 1 0", f"{OTHER} 0 0"):
        for first in (b"GET / HTTP/1.1\r\nHost: www.test\r\n\r\n", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", b"SSH-2.0-x\r\n"):
            with lab.sub(f"{to} {first[:4]}"):
                c = connect(lab, net, GATE, PORT)
                c.send(f"PROXY TCP4 10.9.9.9 {to}\r\n".encode() + first)
                if first[:3] == b"GET":
                    assert Response(c).status == (400 if to.endswith(" 0") else 403)
                else:
                    assert c.is_closed()
    assert "crash" not in p.log()


@each_kind
def test_balancer_to_the_port_itself(lab, kind):
    """What a header says of where the client was going is judged as what the kernel says:
    who has connected to the listener gets our own pages."""
    net = Net(lab)
    with net.inside("p"):
        p = lab.assay(port=PORT, listen=[{"on": f":{PORT}", "kind": kind, "proxy_protocol": [CLIENT]}], **{**SERVED, "clients": ["10.9.9.9"]})

    def through(to, *args, **more):
        c = connect(lab, net, GATE, PORT)
        c.send(f"PROXY TCP4 10.9.9.9 {to} 1234 {PORT}\r\n".encode())
        return get(c, *args, **more)
    for to in (GATE, "198.51.100.1", "127.0.0.1"):
        with lab.sub(to):
            assert through(to).status == 400
            assert through(to, target="www.test:443", method="CONNECT").status == 400
            r = through(to, "assay.internal")
            assert r.status == 200 and b"assay" in r.body, r
    rec = p.access(1)[0]
    assert rec["error.code"] == "NOT_INTERCEPTED" and rec["client.ip"] == "10.9.9.9", rec


class Balancer:
    """One in namespace s that names its clients; .seen: of each connection, whom it named."""

    def __init__(self, lab, net, at, port, to):
        self.net, self.at, self.port, self.to, self.seen = net, at, port, to, []
        with net.inside("s"):
            self.front = socket.create_server((at, port), backlog=500)
        lab.on_close(self.front.close)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                client, peer = self.front.accept()
            except OSError:
                return
            self.seen.append(peer[0])
            with self.net.inside("s"):
                server = socket.create_connection(self.to)
            server.sendall(f"PROXY TCP4 {peer[0]} {self.at} {peer[1]} {self.port}\r\n".encode())
            for a, b in ((client, server), (server, client)):
                threading.Thread(target=self.pass_on, args=(a, b), daemon=True).start()

    @staticmethod
    def pass_on(a, b):
        try:
            while octets := a.recv(65536):
                b.sendall(octets)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            for s in (a, b):
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)


def test_balancer_in_circles(lab):
    """A client that wants the balancer itself: what assayd sends there comes back to it,
    with an address of this machine for the client, and ends at once."""
    net = Net(lab)
    with net.inside("p"):
        p = lab.assay(port=PORT, listen=[{"on": f"198.51.100.1:{PORT}", "kind": "redirect", "name": "in", "proxy_protocol": ["198.51.100.2"]}],
                      **{**SERVED, "clients": ["any"]})
    for port in (443, 80):
        with lab.sub(str(port)):
            b = Balancer(lab, net, ORIGIN, port, ("198.51.100.1", PORT))
            c = connect(lab, net, ORIGIN, port)
            if port == 443:
                c = wire.Conn(unverified().wrap_socket(c.sock, server_hostname="www.test"))
                lab.on_close(c.cut)
            assert get(c).status in (502, 504)
            assert b.seen[0] == CLIENT and set(b.seen[1:]) == {"198.51.100.1"}, b.seen
            assert len(b.seen) <= 3, b.seen     # an idempotent request may be sent again
    assert "listen: in: a balancer names this machine itself for a client" in p.log(), p.log()


def test_balancer_on_this_machine(lab):
    """Its connections are its clients', and no more from this machine than theirs are.
    Another machine's loopback is not ours."""
    net = Net(lab)
    clients = [f"10.9.9.{1 + i % 3}" for i in range(120)]
    with net.inside("p"):
        p = lab.assay(port=PORT, listen=[{"on": f":{PORT}", "kind": "redirect", "proxy_protocol": ["127.0.0.1", CLIENT]}],
                      **{**SERVED, "clients": ["10.9.9.0/29", "127.0.0.0/8"]})
        held = [wire.Conn(socket.create_connection(("127.0.0.1", PORT))) for _ in clients]
    origins(lab, net)
    for c, client in zip(held, clients):
        lab.on_close(c.cut)
        c.send(f"PROXY TCP4 {client} {OTHER} 1234 80\r\n".encode())
        assert get(c).status == 200
    c = connect(lab, net, GATE, PORT)
    c.send(f"PROXY TCP4 127.0.0.1 {OTHER} 1234 80\r\n".encode())
    assert get(c).status == 200
    with net.inside("p"):
        looks, own = (wire.Conn(socket.create_connection(("127.0.0.1", PORT))) for _ in range(2))
    head = f"PROXY TCP4 127.0.0.1 {OTHER} 1234 80\r\n".encode()
    looks.send(head)
    looks.cut()
    assert "names this machine itself" not in p.log(), p.log()
    own.send(head + b"GET / HTTP/1.1\r\nHost: www.test\r\n\r\n")
    assert own.is_closed()
    own.cut()


def test_it_is_quick(lab):
    """A rule that splices by nothing waits for nobody: no silence of three seconds on the way."""
    net, p = start(lab, "tproxy", workers=3)
    origins(lab, net)
    begin = time.monotonic()
    for _ in range(20):
        assert get(connect(lab, net, ORIGIN, 80)).status == 200
    assert time.monotonic() - begin < 3 * e2e.lab_scale()

def test_recipe(lab):
    """assayctl recipe nft: what it refuses, and that nft takes what it prints."""
    net = Net(lab)
    good = (["--mode", "tproxy", "--if", "pc", "--if", "wlan0.7"], ["--mode", "redirect", "--if", "br-lan", "--ports", "80,443,8443"],
            ["--mode", "local", "--user", "root", "--port", "3130"], ["--mode", "redirect", "--if", "pc", "--fail", "open"])
    for args in good:
        for _ in range(2):  # loading again replaces
            with lab.sub(" ".join(args)):
                text = net.recipe(*args)
                assert ("reject with tcp reset" in text) == ("open" not in args and "local" not in args), text
                assert "udp dport" in text, "QUIC"
    bad = ([], ["--mode", "bridge"], ["--mode", "tproxy"], ["--mode", "tproxy", "--if", 'x" }; flush ruleset'], ["--mode", "local", "--if", "pc"],
           ["--mode", "redirect", "--if", "pc", "--port", "0"], ["--mode", "redirect", "--if", "pc", "--ports", "80,,443"],
           ["--mode", "redirect", "--if", "pc", "--ports", "80 443"], ["--mode", "redirect", "--if", "pc", "--port", "65536"],
           ["--mode", "tproxy", "--if", "pc", "--mark", "x"], ["--mode", "tproxy", "--if", "pc", "--mark", "0x"], ["--mode", "tproxy", "--if", "pc", "--table", "0"], ["--mode", "local", "--user", "a;b"], ["--mode", "redirect", "--routes"],
           ["--mode", "redirect", "--if", "pc", "--fail", "maybe"], ["--mode", "redirect", "--if"], ["--what"])
    for args in bad:
        with lab.sub(" ".join(args)):
            r = netlab.run(*netlab.NFT, *args, check=False)
            assert r.returncode == 2 and r.stderr and not r.stdout, r


def test_scanned(lab):
    """Services see the client and the URL that he means; what they change stays at its address."""
    def script(tx):
        if tx.method == "RESPMOD":
            return tx.block() if b"EICAR" in tx.whole() else tx.no_change()
        line = tx.raw["req-hdr"].split(b"\r\n")[0].split()
        host = b"evil.test" if b"/elsewhere" in line[1] else b"www.test"
        if b"/changed" in line[1] or b"/elsewhere" in line[1]:
            return tx.modified(b"GET http://%s/new HTTP/1.1\r\nHost: %s\r\n\r\n" % (host, host) if b"absolute" in line[1]
                               else b"GET /new HTTP/1.1\r\nHost: %s\r\n\r\n" % host, None, "req")
        return tx.no_change()
    net = Net(lab)
    net.recipe("--mode", "tproxy", "--if", "pc")
    with net.inside("p"):
        icap = lab.icap(script)
        p = lab.assay(port=PORT, listen=[{"on": f":{PORT}", "kind": "tproxy"}],
                      services={"up": {"url": icap.url("up"), "mode": "req"}, "down": {"url": icap.url("down"), "mode": "resp", "cache": "off"}}, **SERVED)
    seen = []
    origins(lab, net, plain=lambda h, b: seen.append(h) or ok(b"EICAR" if "bad" in h.start else b"fine"))
    for path, status in (("/good", 200), ("/bad", 403), ("/changed", 200), ("/changed/absolute", 200), ("/elsewhere", 502), ("/elsewhere/absolute", 502)):
        with lab.sub(path):
            r = get(connect(lab, net, ORIGIN, 80), path=path)
            assert r.status == status, r
            tx = [x for x in icap.txs if x.method == "REQMOD"][-1]
            assert tx.head.get("X-Client-IP") == CLIENT, tx.head
            assert f"http://www.test{path}".encode() in tx.raw["req-hdr"] or b"Host: www.test" in tx.raw["req-hdr"], tx.raw
            if "changed" in path:
                assert "/new" in seen[-1].start, seen[-1]
    r = get(over_tls(lab, net, p, ORIGIN6), path="/good")
    assert r.status == 200
    assert icap.txs[-1].head.get("X-Client-IP") == CLIENT6, icap.txs[-1].head
    t = over_tls(lab, net, p, ORIGIN, sni="assay.internal")  # our own pages, by their name
    assert b"assay" in get(t, "assay.internal").body


def test_websocket(lab):
    net, p = start(lab, "redirect")
    with net.inside("s"):
        lab.origin(wsock.served(), tls=None, host=ORIGIN, port=80)
    s, head = wsock.connect(connect(lab, net, ORIGIN, 80), "www.test")
    s.send("hello")
    assert s.message() == "hello"
    s.close()
    assert s.recv()[0] == "close"


def test_untrusted_origin(lab):
    """on_invalid: untrusted proves no name: what it would get, it does not."""
    net, p = start(lab, "redirect", rules=[{"name": "good", "if": {"host": ["good.test"]}, "access": "allow"},
                                           {"name": "there", "if": {"dest": [OTHER]}, "access": "allow"}, {"name": "rest", "access": "block"}, {"name": "s", "scan": "none"}],
                   tls={"origin": {"trust": [lab.trust], "on_invalid": "untrusted", "fetch_issuers": False, "revocation": "off"}})
    ctx = lab.server_context("good.test", authority=e2e.certs.Authority("Nobody's CA"))
    with net.inside("s"):
        for a in (ORIGIN, OTHER):
            lab.origin(lambda h, b: ok(b"x"), tls=ctx, host=a, port=443)
    t = over_tls(lab, net, p, ORIGIN, sni="good.test", ctx=unverified())
    assert get(t, "good.test").status == 403
    t = over_tls(lab, net, p, OTHER, sni="good.test", ctx=unverified())
    assert get(t, "good.test").status == 200
    try:
        over_tls(lab, net, p, OTHER, sni="good.test")
        raise AssertionError("its leaf does not warn")
    except ssl.SSLCertVerificationError:
        pass


def test_idle_ones_cost_nothing(lab):
    """Many that are led here and say nothing: they end, and nothing of them stays."""
    net, p = start(lab, "redirect", limits={"request": "1s"})
    origins(lab, net)
    assert get(connect(lab, net, ORIGIN, 80)).status == 200
    before = p.fds()
    held = [connect(lab, net, ORIGIN, 443) for _ in range(150)]
    for c in held:
        assert c.is_closed(20 * e2e.lab_scale())
        c.cut()
    assert wire.wait_for(lambda: p.fds() <= before + 4), (before, p.fds())
    assert get(connect(lab, net, ORIGIN, 80)).status == 200
