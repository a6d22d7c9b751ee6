# SPDX-License-Identifier: GPL-2.0-or-later
"""How connections leave (out:), what origins are told of clients (forwarded:),
and that no answer leads clients around the proxy (Alt-Svc)."""
import os
import pathlib
import re
import socket
import ssl

import h2origin
import lab as e2e
import netlab
import wire
import wsock
from netlab import CLIENT, ORIGIN, ORIGIN6, Net
from wire import Response, ok

POOL, POOL6 = "198.51.100.128/28", "2001:db8:9::/64"


def gateway(lab, out, hosts=(ORIGIN,), rules=None, port=3128, **conf):
    """(net, assayd): clients in one namespace, origins in another."""
    net = Net(lab)
    lab.hosts.update({"www.test": list(hosts), "exempt.test": list(hosts)})
    net.ip("p", "route", "add", "local", POOL, "dev", "lo")
    net.ip("p", "-6", "route", "add", "local", POOL6, "dev", "lo")
    net.ip("s", "-6", "route", "add", POOL6, "via", "2001:db8:2::1")
    for a in ("192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6"):
        net.address("c", "c0", f"{a}/24")
    with net.inside("p"):
        p = lab.assay(port=port, listen=[{"on": f":{port}"}], clients=["192.0.2.0/24", "2001:db8:1::/64"], workers=1, destinations={},
                      out=out, rules=(rules or []) + [{"name": "exempt", "if": {"host": "exempt.test"}, "tls": "splice"},
                                                      {"name": "away", "route": "guests"}, {"name": "rest", "scan": "none"}], **conf)
    return net, p


def origins(lab, net, seen, addrs=(ORIGIN, ORIGIN6)):
    """They tell who has connected."""
    ctx = lab.server_context("www.test", sans=["www.test", "exempt.test"])

    def who(c):
        peer = c.sock.getpeername()[0]
        seen.append(peer)
        while c.buf or c.fill():
            c.request()
            c.send(ok(peer.encode()))
    with net.inside("s"):
        for a in addrs:
            lab.server(who, host=a, port=80)
            lab.server(who, host=a, port=443, tls=ctx)


def ask(lab, net, p, url, source=CLIENT, ca=None):
    with net.inside("c"):
        return lab.run("curl", "-sS", "-g", "--interface", source, "-x", f"http://{netlab.GATE}:3128", "--cacert", ca or p.ca, url,
                       env={"no_proxy": "", "HOME": str(lab.dir)})


def test_addresses(lab):
    """A client has one of the pool, whatever door; the service class is set; a family without is not used."""
    seen = []
    net, p = gateway(lab, {"guests": {"addresses": [POOL, POOL6], "dscp": "af21"}})
    net.nft("table inet q {\n counter four {\n }\n counter six {\n }\n chain o {\n type filter hook output priority filter; policy accept;\n"
            f" ip daddr {ORIGIN} ip dscp af21 counter name four\n ip6 daddr {ORIGIN6} ip6 dscp af21 counter name six\n }}\n}}\n")
    origins(lab, net, seen)
    mine = {}
    n = 0
    for source in (CLIENT, "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6"):
        for url, ca in (("http://www.test/", None), ("https://www.test/", None), ("https://exempt.test/", lab.trust)):
            with lab.sub(f"{source} {url}"):
                r = ask(lab, net, p, url, source, ca)
                got = r.stdout.decode()
                assert re.fullmatch(r"198\.51\.100\.1(2[89]|3\d|4[0-3])", got), (got, r.stderr)
                assert mine.setdefault(source, got) == got, (mine, got)
                n += 1
    assert len(set(mine.values())) > 1, mine
    assert all(x["assay.out.name"] == "guests" and x["assay.rule.route"] == "away" for x in p.access(n)), p.access(n)
    with lab.sub("IPv6"):
        r = ask(lab, net, p, f"http://[{ORIGIN6}]/")
        assert r.stdout.startswith(b"2001:db8:9::"), (r.stdout, r.stderr)
    with net.inside("p"):
        text = netlab.run("nft", "list", "table", "inet", "q").stdout
    assert len(re.findall(r"packets [1-9]", text)) == 2, text


def test_one_family(lab):
    seen = []
    net, p = gateway(lab, {"guests": {"addresses": ["198.51.100.130"]}}, (ORIGIN6, ORIGIN))
    origins(lab, net, seen)
    assert ask(lab, net, p, "http://www.test/").stdout == b"198.51.100.130"
    r = ask(lab, net, p, f"http://[{ORIGIN6}]/")
    assert b"502" in r.stdout or p.access(2)[-1]["http.response.status_code"] == 502, (r.stdout, p.access(2))
    assert seen == ["198.51.100.130"], seen


def test_ports(lab):
    """Two addresses of two ports each are four connections; then it is said."""
    net, p = gateway(lab, {"guests": {"addresses": ["198.51.100.130/31"]}})
    with net.inside("p"):
        pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("20000 20001")
    with net.inside("s"):
        lab.server(lambda c: c.rest(), host=ORIGIN, port=443)
    held = []
    for k in range(6):
        with net.inside("c"):
            c = wire.Conn(socket.create_connection((netlab.GATE, 3128), 20))
        lab.on_close(c.cut)
        c.send(b"CONNECT exempt.test:443 HTTP/1.1\r\nHost: exempt.test:443\r\n\r\n")
        assert Response(c, "CONNECT").status == 200
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = wire.context(p.ca).wrap_bio(into, out, server_hostname="exempt.test")
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            c.send(out.read())
        if k < 4:
            assert c.silent(0.3), k
            held.append(c)
            continue
        while True:     # a page, in a tunnel that is opened for it
            c.fill()
            into.write(bytes(c.buf))
            c.buf = b""
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                c.send(out.read())
        tls.write(b"GET / HTTP/1.1\r\nHost: exempt.test\r\n\r\n")
        c.send(out.read())
        text = b""
        while b"\r\n\r\n" not in text and c.fill():
            into.write(bytes(c.buf))
            c.buf = b""
            try:
                text += tls.read(65536)
            except ssl.SSLWantReadError:
                pass
        assert text.startswith(b"HTTP/1.1 503"), text[:200]
        c.cut()
    assert wire.wait_for(lambda: any(x.get("error.code") == "NO_PORTS" for x in p.access(1)), 5), p.access(1)


def test_nobody_there(lab):
    """A port that only our own connection has is nobody's."""
    net = Net(lab)
    with net.inside("p"):
        pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("20000 20000")
        p = lab.assay(port=3128, listen=[{"on": ":3128"}], clients=["192.0.2.0/24"], workers=1, destinations={"allow": ["127.0.0.0/8"]},
                      rules=[{"name": "rest", "scan": "none"}])
    r = ask(lab, net, p, "http://127.0.0.7:20000/")
    assert p.access(1)[-1]["error.code"] == "CONNECT_REFUSED", (p.access(1), r.stdout, r.stderr)


def caps(pid):
    return int(re.search(r"CapEff:\s*(\w+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1], 16)


def test_mark(lab):
    """Packets have it; who serves has one right more, and only then."""
    seen = []
    net, p = gateway(lab, {"guests": {"mark": "0x10"}})
    net.nft("table inet q {\n counter marked {\n }\n chain o {\n type filter hook output priority filter; policy accept;\n"
            f" ip daddr {ORIGIN} meta mark 0x10 counter name marked\n }}\n}}\n")
    origins(lab, net, seen)
    assert caps(p.serving()) == 1 << 13, hex(caps(p.serving()))
    assert ask(lab, net, p, "https://www.test/").stdout == b"198.51.100.1"
    with net.inside("p"):
        assert re.search(r"packets [1-9]", netlab.run("nft", "list", "table", "inet", "q").stdout)


def test_mark_by_reload(lab):
    """A reload that needs the right takes a process that has it."""
    if os.geteuid() != 0:
        raise e2e.Skip("needs root")
    o = lab.origin(lambda h, b: ok(b"there"), tls=None)
    p = lab.assay(workers=1)
    assert caps(p.serving()) == 0
    p.write_conf(lab.conf(p.port, workers=1, out={"a": {"mark": 7}}, rules=[{"name": "away", "route": "a"}, {"name": "rest", "scan": "none"}]))
    p.reload("is in force")
    assert 1 << 13 in [caps(x) for x in p.role("serve")]
    assert lab.curl(p, f"http://www.test:{o.port}/").body == b"there"


def test_routes_by_reload(lab):
    """A tunnel outlives the routes that were there when it began."""
    o = lab.origin(lambda h, b: ok(b"there"))
    rules = [{"name": "away", "if": {"host": "www.test"}, "route": "b"}, {"name": "rest", "route": "a"}]
    p = lab.assay(workers=1, out={"a": {"dscp": "cs1"}, "b": {"dscp": "cs2"}}, rules=rules)
    t = lab.tunnel(p, o.port)
    assert t.get("/1").body == b"there"
    p.write_conf(lab.conf(p.port, workers=1))
    p.reload("is in force")
    assert t.get("/2").body == b"there"
    assert t.get("/3").body == b"there"
    got = p.access(3)
    assert [x.get("assay.out.name") for x in got] == ["b", None, None], got


def test_forwarded(lab):
    """Nobody inside is named outside unless that is wanted."""
    plain = lab.origin(lambda h, b: ok(b"x"), tls=None)
    old = lab.origin(lambda h, b: ok(b"x"))
    new = h2origin.start(lab)
    sent = ["-H", "X-Forwarded-For: 10.1.2.3", "-H", "Forwarded: for=10.1.2.3;proto=http"]
    for n, (conf, xff, fwd) in enumerate((
            ({}, None, None),
            ({"xff": "add", "forwarded": "add"}, "10.1.2.3, 127.0.0.1", "for=10.1.2.3;proto=http, for=127.0.0.1"),
            ({"xff": "keep"}, "10.1.2.3", None))):
        p = lab.assay(forwarded=conf, port=lab.port())
        for name, url, heads in (("plain", f"http://www.test:{plain.port}/", lambda: plain.requests[-1][0]),
                                 ("h1", f"https://www.test:{old.port}/", lambda: old.requests[-1][0]),
                                 ("h2", f"https://www.test:{new.port}/", lambda: new.requests[-1])):
            with lab.sub(f"{conf} {name}"):
                assert lab.curl(p, url, *sent).status == 200
                h = heads()
                got = (h.get("x-forwarded-for"), h.get("forwarded")) if name == "h2" else (h.get("X-Forwarded-For"), h.get("Forwarded"))
                assert got == (xff, fwd), (got, h)
        p.stop()


ALT = 'h3=":443"; ma=86400, h2="evil.test:443"'


def test_alternatives(lab):
    """No Alt-Svc passes: in heads of all kinds, in trailers, in frames, and from services."""
    def script(peer):
        peer.send(0xa, 0, 0, b"\0\x10https://www.test" + ALT.encode())     # RFC 7838 4
        for _ in range(4):
            st = peer.request()
            peer.send(0xa, 0, st.id, b"\0\0" + ALT.encode())
            st.head(103, [("link", "</a>; rel=preload"), ("alt-svc", ALT)])
            st.head(200, [("alt-svc", ALT), ("trailer", "alt-svc")])
            st.data(b"hello\n", end=False)
            st.trailer([("alt-svc", ALT)])

    def h1(h, b):
        if h.has("Upgrade"):
            return wsock.served(fields=f"Alt-Svc: {ALT}\r\n")(h, b)
        return (b"HTTP/1.1 103 Early\r\nAlt-Svc: " + ALT.encode() + b"\r\nLink: </a>; rel=preload\r\n\r\n"
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nalt-SVC: " + ALT.encode() + b"\r\n\r\n6\r\nhello\n\r\n0\r\nAlt-Svc: " +
                ALT.encode() + b"\r\n\r\n")
    plain, old, new = lab.origin(h1, tls=None), lab.origin(h1), h2origin.start(lab, script=script)

    def add(tx):
        return tx.modified(f"HTTP/1.1 200 OK\r\nAlt-Svc: {ALT}\r\nContent-Type: text/plain\r\n\r\n", b"hello\n")
    for scanned in (False, True):
        icap = lab.icap(add) if scanned else None
        p = lab.assay(port=lab.port(), **({"services": {"s": {"url": icap.url(), "mode": "resp"}}} if scanned else {}))
        for name, url in (("plain", f"http://www.test:{plain.port}/"), ("h1", f"https://www.test:{old.port}/"),
                          ("h2", f"https://www.test:{new.port}/")):
            for http in ("--http1.1", "--http2"):
                with lab.sub(f"{name} {http} {'scanned' if scanned else ''}"):
                    r = lab.run("curl", "-sS", "-v", "--raw", http, "-x", f"http://127.0.0.1:{p.port}", "--cacert", p.ca, url,
                                env={"no_proxy": "", "HOME": str(lab.dir)})
                    assert b"hello" in r.stdout, (r.stdout, r.stderr)
                    assert b"alt-svc" not in (r.stdout + r.stderr).lower() and b"evil" not in r.stdout + r.stderr, r.stderr.decode()
        if not scanned:
            t = lab.tunnel(p, old.port)
            w, head = wsock.connect(t, t.host)
            assert not head.has("Alt-Svc"), head
            w.close(1000)
        p.stop()
