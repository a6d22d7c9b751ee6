# SPDX-License-Identifier: GPL-2.0-or-later
"""What strict verifiers and odd, harmless peers need: identifiers, names,
suites, renegotiation, long chains."""
import concurrent.futures
import contextlib
import datetime
import os
import re
import ssl
import subprocess
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import certs
import lab as e2e
import wire
from lab import seconds
from wire import ok

HOST = "www.test"


def leaf_of(t):
    return x509.load_der_x509_certificate(t.sock.getpeercert(True))


def s_client(lab, p, host, port, *args):
    r = lab.run("openssl", "s_client", "-proxy", f"127.0.0.1:{p.port}", "-connect", f"{host}:{port}", "-servername", host,
                "-showcerts", "-verify_return_error", "-CAfile", p.ca, *args, data=b"")
    text = r.stdout.decode(errors="replace")
    return text, re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.S)


def verify_strictly(lab, p, pems, host):
    """openssl -x509_strict and, where they are installed, certtool and NSS."""
    leaf, rest, whole = lab.dir / "leaf.pem", lab.dir / "rest.pem", lab.dir / "whole.pem"
    leaf.write_text(pems[0] + "\n")
    rest.write_text("\n".join(pems[1:]) + "\n")
    whole.write_text("\n".join(pems) + "\n")
    r = lab.run("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", host, "-CAfile", p.ca,
                *(["-untrusted", rest] if pems[1:] else []), leaf)
    assert r.returncode == 0, r.stdout + r.stderr
    if e2e.shutil.which("certtool"):
        r = lab.run("certtool", "--verify", "--load-ca-certificate", p.ca, "--infile", whole)
        assert r.returncode == 0 and b"Verified. The certificate is trusted" in r.stdout, r.stdout + r.stderr
    if e2e.shutil.which("certutil"):
        db = lab.dir / f"nss-{os.urandom(4).hex()}"
        db.mkdir()
        r = lab.run("certutil", "-d", f"sql:{db}", "-N", "--empty-password")
        adds = [("ca", "C,,", p.ca), ("leaf", ",,", leaf)]
        for i, text in enumerate(pems[1:]):
            (lab.dir / f"mid{i}.pem").write_text(text + "\n")
            adds.append((f"mid{i}", ",,", lab.dir / f"mid{i}.pem"))
        for name, trust, path in adds:
            r = lab.run("certutil", "-d", f"sql:{db}", "-A", "-n", name, "-t", trust, "-i", path)
            assert r.returncode == 0, r.stderr
        r = lab.run("certutil", "-d", f"sql:{db}", "-V", "-n", "leaf", "-u", "V", "-e")
        assert r.returncode == 0, r.stdout + r.stderr


def make_authority(lab, key, ski):
    """An authority whose subject key identifier is any bytes."""
    now = datetime.datetime.utcnow()
    cn = certs.name("Odd Identifier CA")
    b = (x509.CertificateBuilder().subject_name(cn).issuer_name(cn).public_key(key.public_key())
         .serial_number(x509.random_serial_number())
         .not_valid_before(now - certs.DAY).not_valid_after(now + 3000 * certs.DAY)
         .add_extension(x509.BasicConstraints(True, 1), True)
         .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
         .add_extension(x509.SubjectKeyIdentifier(ski), False))
    cert, path = b.sign(key, hashes.SHA256()), lab.dir / "ca.key"
    (lab.dir / "ca.pem").write_bytes(certs.pem(cert))
    path.touch(0o600)
    path.write_bytes(certs.pem(key))
    return cert


def test_authority_key_identifier_is_the_subject_key_identifier(lab):
    """RFC 5280 4.2.1.1, also where it is no hash of the key."""
    o = lab.origin()
    for kind in ("ec", "rsa2048"):
        for n in (1, 8, 20, 32, 65, 200):
            with lab.sub(f"{kind}, {n} bytes"):
                ca = make_authority(lab, certs.new_key(kind), os.urandom(n))
                p = lab.assay()
                _, pems = s_client(lab, p, HOST, o.port)
                assert pems, "no certificate"
                found = [x509.load_pem_x509_certificate(t.encode()) for t in pems]
                above = found[1:] + [ca]
                for below, issuer in zip(found, above):
                    want = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
                    got = below.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
                    assert got.key_identifier == want and got.authority_cert_issuer is None, below
                verify_strictly(lab, p, pems, HOST)
                p.stop()


def test_own_root_may_be_cross_signed(lab):
    """A root made at the first start has path length 1: 0 would forbid one
    authority between it and leaves, as a roll-over needs."""
    o = lab.origin()
    p = lab.assay(ca=None)
    p.ca = next(lab.state().rglob("*.pem"))
    root = x509.load_pem_x509_certificate(p.ca.read_bytes())
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 1
    _, pems = s_client(lab, p, HOST, o.port)
    verify_strictly(lab, p, pems, HOST)


def test_odd_host_names(lab):
    """Underscores and hyphens at any place: such hosts exist and browsers open them."""
    names = ["a_b.test", "_x._y.test", "a_.test", "-a.test", "a-.test", "a--b.test"]
    for n in names:
        lab.hosts[n] = "127.0.0.1"
    lab.hosts["some_thing.wild.test"] = "127.0.0.1"
    o = lab.origin(tls=lab.server_context(HOST, sans=[HOST, *names, "*.wild.test"]))
    p = lab.assay()
    for n in [*names, "some_thing.wild.test"]:
        with lab.sub(n):
            text, pems = s_client(lab, p, n, o.port)
            assert pems and "Verify return code: 0" in text, text[-600:]
            san = x509.load_pem_x509_certificate(pems[0].encode()).extensions.get_extension_for_class(
                x509.SubjectAlternativeName).value
            assert san.get_values_for_type(x509.DNSName) == [n]
            r = lab.curl(p, f"https://{n}:{o.port}/")
            assert r.status == 200, (r.status, r.errors, r.body[:300])
            assert o.conns[-1].sni == n, o.conns[-1].sni
    assert lab.curl(p, f"https://c_d.test:{o.port}/").status != 200
    kept = lab.dir / "session"
    for label, args in {"TLS 1.2": ["-tls1_2"], "a second hello": ["-groups", "P-521:P-256"],
                        "a ticket": ["-sess_out", kept, "-ign_eof"], "resumed": ["-sess_in", kept]}.items():
        with lab.sub(label):
            get = f"GET / HTTP/1.1\r\nHost: a_b.test:{o.port}\r\nConnection: close\r\n\r\n".encode()
            r = lab.run("openssl", "s_client", "-proxy", f"127.0.0.1:{p.port}", "-connect", f"a_b.test:{o.port}",
                        "-servername", "a_b.test", "-CAfile", p.ca, *args, data=get)
            text = r.stdout.decode(errors="replace")
            assert "Verify return code: 0" in text, text[-600:]
            assert ("Reused, TLSv1.3" in text) == (label == "resumed"), text[-900:]


def test_odd_host_names_at_once(lab):
    """Among many others, from many threads at a time."""
    names = [f"a_{i}.test" for i in range(8)] + [f"b{i}.test" for i in range(8)]
    for n in names:
        lab.hosts[n] = "127.0.0.1"
    o = lab.origin(tls=lab.server_context(HOST, sans=names))
    p = lab.assay()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda i: lab.tunnel(p, o.port, names[i % len(names)]).get().status, range(96)))
    assert got == [200] * 96, got


def test_no_markup_of_a_request_in_pages(lab):
    """Whatever a request carries, no page in any form repeats its markup."""
    p = lab.assay()
    mark = "<script>alert(1)</script>"
    heads = {"target": f"GET http://www.test/{mark} HTTP/1.1\r\nHost: www.test\r\n",
             "raw target": f"GET {mark} HTTP/1.1\r\nHost: www.test\r\n",
             "host": f"GET http://{mark}/ HTTP/1.1\r\nHost: {mark}\r\n",
             "host field": f"GET / HTTP/1.1\r\nHost: {mark}\r\n",
             "port": f"GET http://www.test:{mark}/ HTTP/1.1\r\nHost: www.test\r\n",
             "userinfo": f"GET http://{mark}@www.test:1/ HTTP/1.1\r\nHost: www.test\r\n",
             "scheme": f"GET {mark}://www.test/ HTTP/1.1\r\nHost: www.test\r\n",
             "method": f"{mark} http://www.test/ HTTP/1.1\r\nHost: www.test\r\n",
             "version": f"GET http://www.test/ {mark}\r\nHost: www.test\r\n",
             "connect": f"CONNECT {mark}:443 HTTP/1.1\r\nHost: www.test\r\n",
             "field name": f"GET http://www.test:1/ HTTP/1.1\r\nHost: www.test:1\r\n{mark}: x\r\n",
             "length": f"POST http://www.test:1/ HTTP/1.1\r\nHost: www.test:1\r\nContent-Length: {mark}\r\n",
             "coding": f"POST http://www.test:1/ HTTP/1.1\r\nHost: www.test:1\r\nTransfer-Encoding: {mark}\r\n",
             "expect": f"POST http://www.test:1/ HTTP/1.1\r\nHost: www.test:1\r\nExpect: {mark}\r\nContent-Length: 1\r\n",
             "refused": f"GET http://www.test:1/{mark}?{mark} HTTP/1.1\r\nHost: www.test:1\r\n",
             "internal": f"GET http://assay.internal/{mark} HTTP/1.1\r\nHost: assay.internal\r\n"}
    forms = {"html": "Sec-Fetch-Mode: navigate\r\nAccept: text/html\r\n", "json": "Accept: application/json\r\n", "text": ""}
    for name, head in heads.items():
        for form, fields in forms.items():
            with lab.sub(f"{name}, {form}"):
                c = lab.connect(p)
                c.send(head + fields + "Connection: close\r\n\r\n")
                r = wire.Response(c)
                assert r.status >= 400, r
                for bad in (b"<script>", b"alert(1)</"):
                    assert bad not in r.body, r.body


class Changing:
    """A server context that shows a bad certificate while .bad is set."""

    def __init__(self, lab):
        self.good = lab.server_context(HOST)
        self.worse = lab.server_context(HOST, start=certs.past(100), days=30)
        self.bad = False

    def wrap_socket(self, sock, **kw):
        return (self.worse if self.bad else self.good).wrap_socket(sock, **kw)


def untrusting(lab, p, o, session=None, ctx=None):
    """A tunnel whose client takes any certificate, as a user who clicked the
    warning away."""
    if ctx is None:
        ctx = wire.context(p.ca)
        ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
    raw = wire.connect(p.addr)
    lab.on_close(raw.cut)
    raw.send(f"CONNECT {HOST}:{o.port} HTTP/1.1\r\nHost: {HOST}:{o.port}\r\n\r\n")
    assert wire.Response(raw, "CONNECT").status == 200
    return wire.Conn(ctx.wrap_socket(raw.sock, server_hostname=HOST, session=session))


def ask(t, o, path="/", fields=""):
    t.send(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{o.port}\r\n{fields}\r\n")
    return wire.Response(t)


def test_trusted_tunnel_never_uses_an_invalid_origin(lab):
    """on_invalid: untrusted. Whoever was shown a trusted leaf talks to no
    origin that is none: neither to a new connection of its own, nor to one
    that another's tunnel made and left in the pool."""
    tls = Changing(lab)
    o = lab.origin(lambda h, b: ok(b"x", [("Connection", "close")] if "/last" in h.start else []), tls=tls)
    p = lab.assay(tls={"origin": {"trust": [lab.trust], "on_invalid": "untrusted"}}, workers=1)
    a, b = lab.tunnel(p, o.port, HOST), lab.tunnel(p, o.port, HOST)
    assert a.get("/last").status == 200 and b.get("/last").status == 200
    tls.bad = True
    seen = len(o.requests)
    r = a.get("/secret")
    assert r.status == 502 and len(o.requests) == seen, (r, o.requests[-1][0].start)
    warned = untrusting(lab, p, o)      # its connection goes to the pool
    assert ask(warned, o).status == 200
    again = untrusting(lab, p, o)
    assert ask(again, o).status == 200 and len(o.conns) <= 8
    seen = len(o.requests)
    for _ in range(3):
        r = b.get("/secret")
        assert r.status == 502 and len(o.requests) == seen, (r, o.requests[-1][0].start)
    try:
        lab.tunnel(p, o.port, HOST)
        assert False, "a trusted leaf for an invalid origin"
    except ssl.SSLCertVerificationError:
        pass
    tls.bad = False
    assert b.get("/again").status == 200, "the control: a valid one is used again"


def test_reload_to_block_ends_invalid_origins(lab):
    """A tunnel that warned goes by on_invalid of now, as all rules do."""
    tls = Changing(lab)
    o = lab.origin(tls=tls)

    def conf(how):
        return {"tls": {"origin": {"trust": [lab.trust], "on_invalid": how}}, "workers": 1}
    p = lab.assay(**conf("untrusted"))
    tls.bad = True
    t = untrusting(lab, p, o)
    assert ask(t, o).status == 200
    p.reload()
    assert ask(t, o).status == 200, "the control: a reload that changes nothing"
    p.write_conf(lab.conf(p.port, **conf("block")))
    p.reload()
    seen = len(o.requests)
    r = ask(t, o)
    assert r.status == 502 and len(o.requests) == seen, r


def test_trusted_session_does_not_hide_the_warning(lab):
    """A resumed session shows no certificate: a ticket of a trusted tunnel
    opens none that must warn."""
    tls = Changing(lab)
    o = lab.origin(lambda h, b: ok(b"x", [("Connection", "close")]), tls=tls)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with lab.sub(version.name):
            p = lab.assay(tls={"origin": {"trust": [lab.trust], "on_invalid": "untrusted"}}, workers=1)
            tls.bad = False
            ctx = wire.context(p.ca, maximum=version)
            t = untrusting(lab, p, o, ctx=ctx)
            assert ask(t, o).status == 200
            session = t.sock.session
            t.close()
            t = untrusting(lab, p, o, session, ctx)
            assert ask(t, o).status == 200 and t.sock.session_reused, "the control: it resumes"
            session = t.sock.session
            t.close()
            tls.bad = True
            seen = len(o.requests)
            try:
                t = untrusting(lab, p, o, session, ctx)
                assert False, f"no warning, resumed: {t.sock.session_reused}"
            except ssl.SSLCertVerificationError:
                pass
            assert len(o.requests) == seen


def test_clients_that_know_rsa_certificates_only(lab):
    """They get a leaf with an RSA key, made when the first asks and kept;
    all others the EC leaf as before."""
    o = lab.origin()
    rows = {"TLS 1.2, AES-128": ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
            "TLS 1.2, AES-256": ["-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"],
            "TLS 1.2, ChaCha20": ["-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"],
            "TLS 1.2, RSA signatures": ["-tls1_2", "-sigalgs", "RSA+SHA256"],
            "TLS 1.2, no P-256": ["-tls1_2", "-groups", "X25519", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
            "TLS 1.3, RSA signatures": ["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"]}
    for kind in ("ec", "rsa2048"):
        ca, key = certs.make_ca("Lab Proxy CA", certs.new_key(kind))
        (lab.dir / "ca.pem").write_bytes(certs.pem(ca))
        (lab.dir / "ca.key").touch(0o600)
        (lab.dir / "ca.key").write_bytes(certs.pem(key))
        p = lab.assay()
        seen = set()
        for label, args in rows.items():
            with lab.sub(f"{label}, {kind} CA"):
                text, pems = s_client(lab, p, HOST, o.port, *args)
                assert pems and "Verify return code: 0" in text, text[-600:]
                leaf = x509.load_pem_x509_certificate(pems[0].encode())
                assert isinstance(leaf.public_key(), rsa.RSAPublicKey) and leaf.public_key().key_size >= 2048
                seen.add(leaf.serial_number)
                verify_strictly(lab, p, pems, HOST)
        with lab.sub(f"one leaf for all, {kind} CA"):
            assert len(seen) == 1, seen
        for args in ([], ["-tls1_2"]):
            with lab.sub(f"the control {args}, {kind} CA"):
                _, pems = s_client(lab, p, HOST, o.port, *args)
                assert isinstance(x509.load_pem_x509_certificate(pems[0].encode()).public_key(), ec.EllipticCurvePublicKey)
        with lab.sub(f"nothing weak, {kind} CA"):
            for weak in ("ECDHE-RSA-AES128-SHA", "AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256"):
                _, pems = s_client(lab, p, HOST, o.port, "-tls1_2", "-cipher", weak)
                assert not pems, weak
        p.stop()


class Renegotiating:
    """openssl s_server, told over its terminal when to ask for what."""

    def __init__(self, lab, *args):
        self.port = lab.port()
        path = lab.server_context(HOST).cert_path
        self.proc = subprocess.Popen(["openssl", "s_server", "-accept", str(self.port), "-cert", path, "-tls1_2", *args],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
        lab.on_close(self.end)
        lab.wait_port(self.port)
        self.text = b""
        threading.Thread(target=self.read, daemon=True).start()

    def end(self):
        self.proc.kill()
        self.proc.wait()

    def read(self):
        while data := self.proc.stdout.read(65536):
            self.text += data

    def say(self, data):
        self.proc.stdin.write(data)

    def ask(self, word=b"R\n", seconds=30):
        """Send a HelloRequest: R would like a certificate, r not."""
        n = self.text.count(b"SSL_do_handshake ->")
        self.say(word)
        assert wire.wait_for(lambda: self.text.count(b"SSL_do_handshake ->") > n, seconds), self.text[-400:]

    def until(self, word, seconds=30):
        assert wire.wait_for(lambda: word in self.text, seconds), self.text[-400:]


@seconds(120)
def test_origin_renegotiates(lab):
    """Asked for another handshake, with or without a certificate it would
    like: it gets one, and none of the bytes before and after are lost."""
    p = lab.assay()
    for label, word in {"for a certificate": b"R\n", "for nothing": b"r\n"}.items():
        with lab.sub(label):
            s = Renegotiating(lab)
            t = lab.tunnel(p, s.port, HOST)
            t.send(f"GET /one HTTP/1.1\r\nHost: {HOST}:{s.port}\r\n\r\n")
            s.until(b"GET /one")
            s.ask(word)
            s.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\none\n")
            r = wire.Response(t)
            assert r.status == 200 and r.body == b"one\n", r
            t.send(f"GET /two HTTP/1.1\r\nHost: {HOST}:{s.port}\r\n\r\n")
            s.until(b"GET /two")
            s.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntwo\n")
            r = wire.Response(t)
            assert r.status == 200 and r.body == b"two\n", r


@seconds(120)
def test_origin_renegotiates_inside_a_body(lab):
    """While a body comes down, and while one goes up."""
    p = lab.assay()
    s = Renegotiating(lab)
    t = lab.tunnel(p, s.port, HOST)
    t.send(f"GET /down HTTP/1.1\r\nHost: {HOST}:{s.port}\r\n\r\n")
    s.until(b"GET /down")
    s.say(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"a" * 99999 + b"\n")
    head = wire.Head(t.until(b"\r\n\r\n"))
    assert head.start.endswith("200 OK") and t.exact(100000) == b"a" * 99999 + b"\n"
    s.ask()
    s.say(b"b" * 99999 + b"\n" + b"c" * 99999 + b"\n")
    assert t.exact(200000) == b"b" * 99999 + b"\n" + b"c" * 99999 + b"\n"
    t.send(f"POST /up HTTP/1.1\r\nHost: {HOST}:{s.port}\r\nContent-Length: 400000\r\n\r\n" + "x" * 100000)
    s.until(b"POST /up")
    s.ask()
    t.send(b"y" * 300000)
    s.until(b"y" * 300000)
    assert s.text.count(b"x") >= 100000
    s.say(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nup\n")
    assert wire.Response(t).body == b"up\n"


@seconds(120)
def test_origin_renegotiates_for_ever(lab):
    """Two are followed, further ones refused; it ends, not assay."""
    p = lab.assay()
    s = Renegotiating(lab)
    t = lab.tunnel(p, s.port, HOST)
    t.send(f"GET /one HTTP/1.1\r\nHost: {HOST}:{s.port}\r\n\r\n")
    s.until(b"GET /one")
    with contextlib.suppress(OSError, AssertionError):
        for _ in range(12):
            s.ask(b"r\n", 3)
        s.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\none\n")
    r = wire.Response(t)
    assert r.status in (200, 502), r
    o = lab.origin()
    assert lab.tunnel(p, o.port, HOST).get().status == 200


def test_needless_certificates(lab):
    """Chains are bounded by their bytes: a server may send what nobody needs."""
    mid, mid_key = certs.make_ca("Lab Middle", issuer=lab.root.cert, issuer_key=lab.root.key)
    leaf = certs.make_leaf(HOST, mid, mid_key)
    needless = [certs.make_ca(f"Needless {i}")[0] for i in range(40)]
    rows = {"behind": [mid, *needless], "before": [*needless, mid], "between, twice": [*needless[:20], mid, lab.root.cert, mid, *needless[20:]]}
    p = lab.assay()
    for label, chain in rows.items():
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with lab.sub(f"{label}, {version.name}"):
                ctx = lab.server_context(leaf=leaf, chain=chain)
                ctx.maximum_version = version
                o = lab.origin(tls=ctx)
                r = lab.tunnel(p, o.port, HOST).get()
                assert r.status == 200, (r, r.body[:300])
    with lab.sub("without the one that is needed"):
        o = lab.origin(tls=lab.server_context(leaf=leaf, chain=needless))
        r = lab.tunnel(p, o.port, HOST).get()
        assert r.status == 502 and not o.requests, r


def old_context(lab, minimum, maximum, suites, sigalgs=None, host=HOST):
    ctx = lab.server_context(host, weak=True, key=certs.new_key("rsa2048"))
    ctx.minimum_version, ctx.maximum_version = minimum, maximum
    ctx.set_ciphers(suites + ":@SECLEVEL=0")
    return ctx


V10, V11, V12 = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2


def test_origins_that_know_cbc_only(lab):
    """ECDHE with AES-CBC in TLS 1.2, as browsers offer it: last."""
    p = lab.assay()
    for suites, want in {"ECDHE-RSA-AES128-SHA": "AES-128-CBC", "ECDHE-RSA-AES256-SHA": "AES-256-CBC",
                         "ECDHE-RSA-AES256-SHA:ECDHE-RSA-AES128-GCM-SHA256": "AES-128-GCM",
                         "ECDHE-RSA-AES128-SHA:ECDHE-RSA-CHACHA20-POLY1305": "CHACHA20-POLY1305"}.items():
        with lab.sub(suites):
            ctx = old_context(lab, V12, V12, suites)
            ctx.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
            o = lab.origin(tls=ctx)
            n = len(p.access(0))
            assert lab.tunnel(p, o.port, HOST).get().status == 200
            record = [r for r in p.access(n + 1) if r.get("assay.origin.tls.cipher")][-1]
            assert record["assay.origin.tls.cipher"] == want, record
            assert record["assay.origin.tls.version"] == "1.2"


def test_legacy_origins_by_name(lab):
    """What browsers dropped of late is for the hosts that are named."""
    rows = {"TLS 1.0": (V10, V10, "ECDHE-RSA-AES128-SHA"), "TLS 1.1": (V11, V11, "ECDHE-RSA-AES256-SHA"),
            "TLS 1.0, RSA key transport": (V10, V10, "AES128-SHA"), "RSA key transport": (V12, V12, "AES128-SHA"),
            "RSA key transport, GCM": (V12, V12, "AES256-GCM-SHA384"), "CBC by SHA-256": (V12, V12, "ECDHE-RSA-AES128-SHA256")}
    strict = lab.assay()
    exceptions = [{"host": ["=other.test"], "legacy": False}, {"host": [HOST], "legacy": True}]
    p = lab.assay(tls={"origin": {"trust": [lab.trust], "min": "1.3", "exceptions": exceptions}})
    for label, (low, high, suites) in rows.items():
        with lab.sub(label):
            o = lab.origin(tls=old_context(lab, low, high, suites))
            r = lab.tunnel(p, o.port, HOST).get()
            assert r.status == 200, (r, r.body[:300])
            r = lab.tunnel(strict, o.port, HOST).get()
            assert r.status == 502 and len(o.requests) == 1, r
    for label, args in {"SHA-1 signatures": ["-sigalgs", "RSA+SHA1", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0"],
                        "DHE": ["-cipher", "DHE-RSA-AES128-GCM-SHA256"]}.items():
        with lab.sub(label):
            port, path = lab.port(), lab.server_context(HOST, key=certs.new_key("rsa2048")).cert_path
            s = subprocess.Popen(["openssl", "s_server", "-accept", str(port), "-cert", path, "-tls1_2", "-www", "-quiet", *args],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            lab.on_close(lambda s=s: (s.kill(), s.wait()))
            lab.wait_port(port)
            assert lab.tunnel(p, port, HOST).get().status == 200
            assert lab.tunnel(strict, port, HOST).get().status == 502
    with lab.sub("never"):
        o = lab.origin(tls=old_context(lab, V12, V12, "NULL-SHA:NULL-SHA256"))
        assert lab.tunnel(p, o.port, HOST).get().status == 502
    with lab.sub("the certificate is judged as ever"):
        ctx = lab.server_context(HOST, weak=True, key=certs.new_key("rsa2048"), start=certs.past(100), days=30)
        ctx.maximum_version = V11
        assert lab.tunnel(p, lab.origin(tls=ctx).port, HOST).get().status == 502
    with lab.sub("others keep the minimum"):
        ctx = lab.server_context("other.test")
        ctx.maximum_version = V12
        o = lab.origin(tls=ctx)
        assert lab.tunnel(p, o.port, "other.test").get().status == 502
        assert lab.tunnel(strict, o.port, "other.test").get().status == 200


def test_priorities(lab):
    """Wishes are followed, but never below the minimum or without forward secrecy."""
    o = lab.origin()

    def conf(leg, text, **more):
        tls = {"origin": {"trust": [lab.trust]}, "client": {}}
        tls[leg].update({"priority": text}, **more)
        return tls
    for leg in ("client", "origin"):
        for text in ("nonsense", "NONE", "NORMAL:-VERS-ALL:+VERS-TLS1.1", "NORMAL:-KX-ALL:+RSA:-VERS-TLS1.3", "NORMAL:-CIPHER-ALL:+NULL",
                     "@SYSTEM", "@NOBODY", "NORMAL:" + "x" * 900):
            with lab.sub(f"{leg}: {text[:40]}"):
                code, out, _ = lab.check(lab.conf(lab.port(), tls=conf(leg, text)))
                assert code == 1 and f"tls.{leg}.priority" in out, out
    p = lab.assay(tls=conf("client", "LEGACY:+VERS-TLS1.1:+VERS-TLS1.0:+RSA:+3DES-CBC:+SIGN-RSA-SHA1"))
    for args in (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1_2", "-cipher", "AES128-GCM-SHA256"],
                 ["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"]):
        with lab.sub(f"the floor: {args}"):
            _, pems = s_client(lab, p, HOST, o.port, *args)
            assert not pems, args
    with lab.sub("a wish"):
        text, pems = s_client(lab, p, HOST, o.port, "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA")
        assert pems, text[-500:]
    with lab.sub("the minimum"):
        p = lab.assay(tls=conf("client", "NORMAL", min="1.3"))
        assert not s_client(lab, p, HOST, o.port, "-tls1_2")[1] and s_client(lab, p, HOST, o.port, "-tls1_3")[1]
    with lab.sub("towards origins"):
        p = lab.assay(tls=conf("origin", "SECURE256:-CHACHA20-POLY1305"))
        for suites, status in {"ECDHE-RSA-AES256-GCM-SHA384": 200, "ECDHE-RSA-AES128-GCM-SHA256": 502, "AES256-GCM-SHA384": 502}.items():
            got = lab.tunnel(p, lab.origin(tls=old_context(lab, V12, V12, suites)).port, HOST).get().status
            assert got == status, (suites, got)
    with lab.sub("@SYSTEM"):
        policy = lab.dir / "gnutls.conf"
        policy.write_text("[priorities]\nSYSTEM = SECURE128:-VERS-TLS1.2:-AES-128-GCM:-CHACHA20-POLY1305:+VERS-TLS1.1\n")
        p = lab.assay(tls=conf("client", "@SYSTEM"), env={"GNUTLS_SYSTEM_PRIORITY_FILE": str(policy)})
        assert not s_client(lab, p, HOST, o.port, "-tls1_2")[1]
        text, pems = s_client(lab, p, HOST, o.port)
        assert pems and "TLS_AES_256_GCM_SHA384" in text, text[-500:]
