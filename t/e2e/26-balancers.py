# SPDX-License-Identifier: GPL-2.0-or-later
"""Balancers in front (listen.proxy_protocol): the client that their header names
is the one for rules, limits, services and records.  Clients are 127.0.0.N."""
import os
import re
import shutil
import socket
import time

import lab as e2e
import wire
from wire import Response, ok

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(source="127.0.0.7", dest="203.0.113.80", tlvs=b"", command=0x21, family=0x11, ports=(8080, 443)):
    kind = socket.AF_INET6 if family == 0x21 else socket.AF_INET
    body = socket.inet_pton(kind, source) + socket.inet_pton(kind, dest) + b"".join(p.to_bytes(2, "big") for p in ports) + tlvs
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2, "big") + body


def tlv(kind, value):
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


def v1(source="127.0.0.7"):
    return f"PROXY TCP4 {source} 203.0.113.80 8080 443\r\n".encode()


def start(lab, nets=("127.0.0.1",), listen=None, **conf):
    o = lab.origin(lambda h, b: ok(b"hello"), tls=None)
    port = lab.port()
    conf.setdefault("clients", ["127.0.0.0/8"])
    return o, lab.assay(port=port, listen=[{"on": f"127.0.0.1:{port}", "proxy_protocol": list(nets), **(listen or {})}], **conf)


def ask(c, o, fields=""):
    c.send(f"GET http://www.test:{o.port}/ HTTP/1.1\r\nHost: www.test:{o.port}\r\n{fields}\r\n".encode())
    return Response(c)


def ends_silently(c, seconds=10):
    """It is closed, and nothing was sent."""
    c.sock.settimeout(seconds * e2e.lab_scale())
    try:
        return c.sock.recv(100) == b""
    except ConnectionResetError:
        return True
    except socket.timeout:
        return False


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1, source_address=("127.0.0.7", 0)).close()
        return True
    except OSError:
        return False


def haproxy(lab, port, send):
    """A real one; .port is its front."""
    front = lab.port()
    conf = lab.dir / f"haproxy-{front}.cfg"
    conf.write_text(f"""defaults
 mode tcp
 timeout connect 5s
 timeout client 30s
 timeout server 30s
 unique-id-format %pid-%ci
listen all
 bind 127.0.0.1:{front}
 bind [::1]:{front}
 server assay 127.0.0.1:{port} {send} check inter 200ms
""")
    p = e2e.Process("haproxy", [shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin"), "-db", "-f", str(conf)],
                    lab.dir / f"haproxy-{front}.log")
    p.port = front
    lab.on_close(p.stop)
    assert wire.wait_for(lambda: p.alive() and listens(front), 20), p.log()
    return p


@e2e.needs("haproxy")
def test_haproxy(lab):
    icap = lab.icap(lambda tx: tx.no_change())
    www = lab.origin(lambda h, b: ok(b"hello"))
    o, p = start(lab, clients=["127.0.0.7", "127.0.0.8", "::1"],
                 services={"s": {"url": icap.url(), "mode": "resp", "cache": "off"}},
                 rules=[{"name": "not8", "if": {"client": ["127.0.0.8"]}, "access": "block"}, {"name": "rest", "scan": ["s"]}])
    seen = 0
    for send in ("send-proxy check-send-proxy", "send-proxy-v2 check-send-proxy", "send-proxy-v2 proxy-v2-options crc32c,unique-id"):
        h = haproxy(lab, p.port, send)
        for client, status in (("127.0.0.7", 200), ("127.0.0.8", 403), ("::1", 200)):
            front = f"[::1]:{h.port}" if client == "::1" else f"127.0.0.1:{h.port}"
            for url in (f"http://www.test:{o.port}/", f"https://www.test:{www.port}/"):
                with lab.sub(f"{send} {client} {url[:5]}"):
                    r = lab.run("curl", "-sS", "-x", f"http://{front}", "--interface", client, "--cacert", p.ca, "-o", "/dev/null",
                                "-w", "%{http_code}", url, env={"no_proxy": "", "HOME": str(lab.dir)})
                    assert r.stdout == str(status).encode(), (r.stdout, r.stderr)
                    seen += 1
                    rec = p.access(seen)[-1]
                    assert rec["client.ip"] == client, rec
                    assert rec["assay.balancer_ip"] == "127.0.0.1", rec
                    assert ("assay.balancer_id" in rec) == ("unique-id" in send), rec
                    if "unique-id" in send:
                        assert client in bytes.fromhex(rec["assay.balancer_id"]).decode(), rec
                    if status == 200:
                        assert icap.txs[-1].head.get("X-Client-IP") == client, icap.txs[-1].head
        h.stop()
    # Its looks whether we live are no errors, though it is no client itself.
    said = [x for x in p.log().splitlines() if "proxy_protocol" in x or "outside 'clients'" in x]
    assert not said, said


def test_who_is_believed(lab):
    o, p = start(lab, nets=["127.0.0.2/31"], clients=["127.0.0.0/8", "2001:db8::/32"])
    rows = [
        ("v1", "127.0.0.2", v1(), "127.0.0.7"),
        ("v2", "127.0.0.3", v2(), "127.0.0.7"),
        ("v2, a family of addresses that is not used here", "127.0.0.3",
         v2("2001:db8::7", "2001:db8::80", family=0x21), "2001:db8::7"),
        ("IPv4 in IPv6", "127.0.0.3", v2("::ffff:127.0.0.7", "::ffff:1.2.3.4", family=0x21), "127.0.0.7"),
        ("UNKNOWN", "127.0.0.2", b"PROXY UNKNOWN\r\n", "127.0.0.2"),
        ("UNSPEC", "127.0.0.2", v2(family=0x11)[:13] + b"\0\0\3abc", "127.0.0.2"),
        ("UDP", "127.0.0.2", v2(family=0x11)[:13] + b"\x12" + v2()[14:], "127.0.0.2"),
        ("LOCAL", "127.0.0.2", v2(command=0x20), "127.0.0.2"),
        ("TLVs", "127.0.0.2", v2(tlvs=tlv(4, b"pad") + tlv(0xe5, b"\xff" * 3000) + tlv(2, b"\xff\"\n<") + tlv(5, b"\0\xab")), "127.0.0.7"),
        ("nobody's balancer", "127.0.0.5", b"", "127.0.0.5"),
    ]
    for i, (name, source, header, client) in enumerate(rows):
        for way in ("whole", "split", "by octets"):
            with lab.sub(f"{name} {way}"):
                c = lab.connect(p, source=source)
                c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if way == "whole":
                    request = f"GET http://www.test:{o.port}/ HTTP/1.1\r\nHost: www.test:{o.port}\r\n\r\n".encode()
                    c.send(header + request)
                    r = Response(c)
                else:
                    step = 1 if way == "by octets" and len(header) < 300 else 7 if len(header) < 300 else 1000
                    for at in range(0, len(header), step):
                        c.send(header[at:at + step])
                        time.sleep(0.0005)
                    r = ask(c, o)
                assert r.status == 200, r
                c.cut()
                rec = p.access(i * 3 + ("whole", "split", "by octets").index(way) + 1)[-1]
                assert rec["client.ip"] == client, rec
                assert rec.get("assay.balancer_ip") == (source if header else None), rec
                if name == "TLVs":
                    assert rec["assay.balancer_id"] == "00ab" and rec["assay.balancer_authority"] == "�\"\n<", rec
    # A header of somebody else is not parsed, and is no request either.
    c = lab.connect(p, source="127.0.0.5")
    c.send(v1("127.0.0.1") + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert Response(c).status == 400


def test_hostile(lab):
    o, p = start(lab, limits={"request": "2s"}, workers=1)
    rows = {"HTTP": b"GET / HTTP/1.1\r\n\r\n", "TLS": b"\x16\x03\x01\0\x05hello", "lone LF": b"PROXY TCP4 127.0.0.7 1.1.1.1 1 2\n",
            "no such family": b"PROXY UDP4 127.0.0.7 1.1.1.1 1 2\r\n", "two blanks": b"PROXY  TCP4 127.0.0.7 1.1.1.1 1 2\r\n",
            "endless line": b"PROXY UNKNOWN " + b"a" * 94, "from nowhere": v1("0.0.0.0"), "from many": v2("224.0.0.1"),
            "command": v2(command=0x22), "version": v2(command=0x31), "family": v2()[:13] + b"\x55" + v2()[14:],
            "short": v2()[:15] + b"\x0b" + v2()[16:], "long": v2()[:14] + b"\x10\x01" + v2()[16:],
            "TLV beyond": v2(tlvs=b"\xe0\0\x09x"), "wrong sum": v2(tlvs=tlv(3, b"1234")), "long id": v2(tlvs=tlv(5, b"x" * 129))}
    for name, octets in rows.items():
        with lab.sub(name):
            c = lab.connect(p, source="127.0.0.1")
            c.send(octets)
            assert ends_silently(c), "it was not closed, or was told something"
    for name, octets in {"nothing": b"", "half": v1()[:20], "half of v2": v2()[:20], "LOCAL and nothing": v2(command=0x20)}.items():
        with lab.sub(name):
            c = lab.connect(p, source="127.0.0.1")
            c.send(octets)
            assert ends_silently(c), "it was not closed in time"
    # It was said, with who it was, and nothing of that became a record.
    assert re.search(r"127\.0\.0\.1 is one of 'proxy_protocol' and sent", p.log()), p.log()
    c = lab.connect(p, source="127.0.0.1")
    c.send(v1())
    assert ask(c, o).status == 200
    assert len(p.access(1)) == 1


def test_limits_by_client(lab):
    """per_client and clients judge who is behind the balancer."""
    o, p = start(lab, clients=["127.0.0.7", "127.0.0.8"], limits={"per_client": 3}, workers=1)
    kept = []
    for client in ("127.0.0.7", "127.0.0.8"):
        for _ in range(3):
            c = lab.connect(p)
            c.send(v1(client))
            assert ask(c, o).status == 200
            kept.append(c)
        c = lab.connect(p)
        c.send(v2(client))
        assert ask(c, o).status == 429
    c = lab.connect(p)
    c.send(v1("127.0.0.9"))
    assert ask(c, o).status == 403
    c = lab.connect(p)
    c.send(b"PROXY UNKNOWN\r\n")
    assert ask(c, o).status == 403, "the balancer itself is no client"
    kept.pop(0).cut()

    def again():
        c = lab.connect(p)
        c.send(v1("127.0.0.7"))
        return ask(c, o).status == 200
    assert wire.wait_for(again)


def test_silent_ones_take_no_place(lab):
    """Who sends no header keeps neither a place nor a descriptor."""
    o, p = start(lab, limits={"clients": 30, "per_client": 30, "request": "1s"}, workers=1)
    before = p.fds()
    held = [lab.connect(p) for _ in range(30)]
    late = lab.connect(p)
    assert ends_silently(late), "limits.clients counts it"
    for c in held:
        assert ends_silently(c)

    def served():
        c = lab.connect(p)
        c.send(v1())
        try:
            return ask(c, o).status == 200
        except (wire.Ended, OSError):
            return False
        finally:
            c.cut()
    assert wire.wait_for(served)
    assert wire.wait_for(lambda: p.fds() <= before + 4), (before, p.fds())


def test_reload_and_drain(lab):
    o, p = start(lab, nets=[])
    c = lab.connect(p)
    assert ask(c, o).status == 200
    conf = lab.conf(p.port, clients=["127.0.0.0/8"], listen=[{"on": f"127.0.0.1:{p.port}", "proxy_protocol": ["127.0.0.1"]}])
    p.write_conf(conf)
    p.reload("in force")

    def asks():
        c = lab.connect(p)
        c.send(v1())
        try:
            return ask(c, o).status == 200
        except (wire.Ended, OSError):
            return False
        finally:
            c.cut()
    assert wire.wait_for(asks, 20)
    half = lab.connect(p)
    half.send(v1()[:10])
    assert wire.wait_for(lambda: p.alive())
    p.stop()  # a half header keeps nobody from ending


def test_check(lab):
    code, text, path = lab.check({"listen": [{"on": ":0", "proxy_protocol": ["self"]}]})
    assert code == 1 and f"{path}:" in text and "'self' is no balancer" in text, text
    code, text, path = lab.check({"listen": [{"on": ":0", "proxy_protocol": ["10.0.0.0/8", "loopback"]}]})
    assert code == 0, text
