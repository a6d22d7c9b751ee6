# SPDX-License-Identifier: GPL-2.0-or-later
"""The client's side of TLS: what is minted, spoken, spliced and refused."""
import datetime
import json
import re
import socket
import ssl
import struct
import time

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import certs
import h2wire
import lab as e2e
import wire
from lab import needs
from wire import Response, ok


def peer_der(t):
    return t.sock.getpeercert(True)


def leaf_of(t):
    return x509.load_der_x509_certificate(peer_der(t))


def save_chain(lab, p, host, port, sni=True):
    """The leaf and the chain that openssl s_client sees."""
    r = lab.run("openssl", "s_client", "-proxy", f"127.0.0.1:{p.port}", "-connect", f"{host}:{port}", "-showcerts",
                *(["-servername", host] if sni else ["-noservername"]), "-CAfile", p.ca, data=b"")
    found = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", r.stdout.decode(errors="replace"), re.S)
    assert found, r.stdout + r.stderr
    (lab.dir / "leaf.pem").write_text(found[0] + "\n")
    (lab.dir / "chain.pem").write_text("\n".join(found[1:]) + "\n")
    return r.stdout.decode(errors="replace")


def test_leaf_is_accepted_strictly(lab):
    o = lab.origin()
    p = lab.assay()
    save_chain(lab, p, "www.test", o.port)
    r = lab.run("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "www.test", "-CAfile", p.ca,
                lab.dir / "leaf.pem")
    assert r.returncode == 0, r.stdout + r.stderr


@needs("certutil")
def test_leaf_is_accepted_by_nss(lab):
    o = lab.origin()
    p = lab.assay()
    save_chain(lab, p, "www.test", o.port)
    db = f"sql:{lab.dir}"
    for args in (["-N", "--empty-password"], ["-A", "-n", "ca", "-t", "C,,", "-i", p.ca], ["-A", "-n", "leaf", "-t", ",,", "-i", lab.dir / "leaf.pem"]):
        r = lab.run("certutil", "-d", db, *args)
        assert r.returncode == 0, r.stderr
    r = lab.run("certutil", "-d", db, "-V", "-n", "leaf", "-u", "V", "-e")
    assert r.returncode == 0, r.stdout + r.stderr


def test_leaf_fields(lab):
    """A fresh EC key, SAN of the proven host, short life, nothing copied."""
    copied = [(x509.TLSFeature([x509.TLSFeatureType.status_request]), False),
              (x509.AuthorityInformationAccess([x509.AccessDescription(
                  x509.oid.AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier("http://127.0.0.1:9/"))]), False)]
    o = lab.origin(tls=lab.server_context("www.test", extra=copied[1:]))
    p = lab.assay()
    t = lab.tunnel(p, o.port)
    c = leaf_of(t)
    ca = x509.load_pem_x509_certificate(open(p.ca, "rb").read())
    ext = {e.oid._name: e for e in c.extensions}
    assert isinstance(c.public_key(), ec.EllipticCurvePublicKey) and c.public_key().key_size == 256
    assert c.signature_hash_algorithm.name in ("sha256", "sha384", "sha512")
    assert c.public_key().public_numbers() != ca.public_key().public_numbers(), "the CA's own key"
    assert ext["subjectAltName"].value.get_values_for_type(x509.DNSName) == ["www.test"]
    assert ext["basicConstraints"].value.ca is False
    ku = ext["keyUsage"]
    assert ku.value.digital_signature and not ku.value.key_cert_sign and ku.critical
    assert list(ext["extendedKeyUsage"].value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert ext["authorityKeyIdentifier"].value.key_identifier == \
        ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert "subjectKeyIdentifier" in ext
    assert not set(ext) & {"authorityInfoAccess", "cRLDistributionPoints", "TLSFeature", "signedCertificateTimestampList"}, list(ext)
    now = datetime.datetime.utcnow()
    assert c.not_valid_before <= now - datetime.timedelta(minutes=1), "no room for a client's skewed clock"
    assert now < c.not_valid_after <= now + datetime.timedelta(days=398)
    assert ca.not_valid_before <= c.not_valid_before and c.not_valid_after <= ca.not_valid_after
    assert c.serial_number.bit_length() >= 48 and c.serial_number.bit_length() <= 159
    assert c.issuer == ca.subject


def test_leaf_days(lab):
    o = lab.origin()
    port = lab.port()
    conf = lab.conf(port)
    conf["ca"]["leaf_days"] = 3
    p = lab.assay(port=port, raw=json.dumps(conf))
    c = leaf_of(lab.tunnel(p, o.port))
    assert c.not_valid_after - datetime.datetime.utcnow() < datetime.timedelta(days=4)


def test_leaf_is_cached(lab):
    """One host, one certificate; another host, another serial."""
    o = lab.origin()
    p = lab.assay()
    seen = {peer_der(lab.tunnel(p, o.port)) for _ in range(6)}
    assert len(seen) == 1, f"{len(seen)} certificates for one host"
    other = leaf_of(lab.tunnel(p, o.port, "other.test"))
    assert other.serial_number != x509.load_der_x509_certificate(seen.pop()).serial_number


def test_leaf_for_an_address(lab):
    """iPAddress, not DNS, and no SNI towards the origin (RFC 6066 3)."""
    o = lab.origin()
    p = lab.assay()
    t = lab.tunnel(p, o.port, "127.0.0.1")
    san = leaf_of(t).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(a) for a in san.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert san.get_values_for_type(x509.DNSName) == []
    assert t.get().status == 200
    assert o.conns[0].sni is None


def test_leaf_for_an_ipv6_address(lab):
    o = lab.origin(host="::1")
    p = lab.assay()
    t = lab.tunnel(p, o.port, "[::1]", sni="::1")
    assert t.get().status == 200


def test_leaf_for_a_long_name(lab):
    """No CN over 64 octets (RFC 5280, ub-common-name)."""
    name = ".".join(["a" * 40, "b" * 40, "test"])
    lab.hosts[name] = "127.0.0.1"
    o = lab.origin(tls=lab.server_context(name))
    p = lab.assay()
    t = lab.tunnel(p, o.port, name)
    c = leaf_of(t)
    assert all(len(a.value) <= 64 for a in c.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    assert t.get().status == 200


def test_name_case_and_dot(lab):
    """SNI is normalised (case), CONNECT names likewise."""
    o = lab.origin()
    p = lab.assay()
    t = lab.tunnel(p, o.port, "WWW.Test", sni="www.TEST")
    r = t.get("/", host=f"www.test:{o.port}")
    assert r.status == 200, r
    assert (o.conns[0].sni or "").lower() == "www.test"


def test_versions(lab):
    """TLS 1.2 and 1.3; nothing older."""
    o = lab.origin()
    p = lab.assay()
    for v in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with lab.sub(v.name):
            t = lab.tunnel(p, o.port, minimum=v, maximum=v)
            assert t.get().status == 200
    for v in ("-tls1", "-tls1_1"):
        with lab.sub(v):
            r = lab.run("openssl", "s_client", "-proxy", f"127.0.0.1:{p.port}", "-connect", f"www.test:{o.port}", v,
                        "-cipher", "ALL:@SECLEVEL=0", data=b"")
            assert b"Cipher is (NONE)" in r.stdout or b"alert" in r.stderr, r.stdout[-500:]


def test_minimum_by_configuration(lab):
    o = lab.origin()
    p = lab.assay(tls={"client": {"min": "1.3"}, "origin": {"trust": [lab.trust]}})
    assert lab.tunnel(p, o.port).get().status == 200
    try:
        lab.tunnel(p, o.port, maximum=ssl.TLSVersion.TLSv1_2)
    except (ssl.SSLError, OSError):
        return
    raise AssertionError("TLS 1.2 was spoken in spite of min 1.3")


def test_ciphers(lab):
    """AEAD with forward secrecy only; weak ones are refused."""
    o = lab.origin()
    p = lab.assay()
    t = lab.tunnel(p, o.port, maximum=ssl.TLSVersion.TLSv1_2)
    name = t.sock.cipher()[0]
    assert name.startswith("ECDHE") and ("GCM" in name or "CHACHA20" in name), name
    for c in ("AES128-SHA", "AES128-GCM-SHA256", "DES-CBC3-SHA", "NULL", "aNULL", "DHE-RSA-AES128-SHA"):
        with lab.sub(c):
            r = lab.run("openssl", "s_client", "-proxy", f"127.0.0.1:{p.port}", "-connect", f"www.test:{o.port}", "-tls1_2",
                        "-cipher", f"{c}:@SECLEVEL=0", data=b"")
            assert b"Cipher is (NONE)" in r.stdout or b"no cipher match" in r.stderr or b"alert" in r.stderr, r.stdout[-300:]


def test_fallback_scsv(lab):
    """RFC 7507: inappropriate_fallback."""
    o = lab.origin()
    p = lab.assay()
    r = lab.run("openssl", "s_client", "-proxy", f"127.0.0.1:{p.port}", "-connect", f"www.test:{o.port}", "-tls1_2", "-fallback_scsv", data=b"")
    assert b"inappropriate fallback" in r.stderr, r.stderr[-300:]


def test_no_renegotiation(lab):
    o = lab.origin()
    p = lab.assay()
    r = lab.run("openssl", "s_client", "-proxy", f"127.0.0.1:{p.port}", "-connect", f"www.test:{o.port}", "-tls1_2", "-CAfile", p.ca,
                "-legacy_renegotiation", data=b"R\nGET / HTTP/1.1\r\n\r\n", seconds=30)
    assert b"RENEGOTIATING" not in r.stdout or b"error" in r.stderr or b"alert" in r.stderr or r.returncode != 0, r.stdout[-500:]
    assert lab.tunnel(p, o.port).get().status == 200


def test_resumption(lab):
    """A session resumes, for its own name only."""
    o = lab.origin()
    p = lab.assay()
    ctx = wire.context(p.ca, maximum=ssl.TLSVersion.TLSv1_2)

    def once(host, session):
        raw = wire.connect(p.addr)
        raw.send(f"CONNECT {host}:{o.port} HTTP/1.1\r\nHost: {host}:{o.port}\r\n\r\n")
        assert Response(raw, "CONNECT").status == 200
        s = ctx.wrap_socket(raw.sock, server_hostname=host, session=session)
        c = wire.Conn(s)
        c.send(f"GET / HTTP/1.1\r\nHost: {host}:{o.port}\r\n\r\n")
        assert Response(c).status == 200
        out = s.session, s.session_reused, x509.load_der_x509_certificate(s.getpeercert(True))
        c.close()
        return out
    session, _, _ = once("www.test", None)
    _, reused, _ = once("www.test", session)
    assert reused, "no resumption"
    for ctx in (ctx, wire.context(p.ca)):
        with lab.sub(f"another name, {ctx.maximum_version.name}"):
            session, _, _ = once("www.test", None)
            _, reused, cert = once("other.test", session)
            assert not reused, "a session was resumed under another name"


def test_alpn(lab):
    """Answered truthfully, in the client's order; who offers nothing that we know, or nothing at all, gets HTTP/1.1."""
    o = lab.origin()
    p = lab.assay()
    for offer, want in ((["h2", "http/1.1"], "h2"), (["http/1.1", "h2"], "http/1.1"), (["http/1.1"], "http/1.1"), (["h2"], "h2"),
                        (["spdy/3"], None), (None, None)):
        with lab.sub(str(offer)):
            ctx = wire.context(p.ca)
            if offer:
                ctx.set_alpn_protocols(offer)
            t = wire.Tunnel(p.addr, f"www.test:{o.port}", ctx)
            assert t.sock.selected_alpn_protocol() == want, t.sock.selected_alpn_protocol()
            t.host = f"www.test:{o.port}"
            if want == "h2":
                assert h2wire.Peer(t, t.host).get().status == 200
            else:
                assert t.get().status == 200


def hello(host, ctx=None):
    """A ClientHello record as OpenSSL makes it."""
    ctx = ctx or ssl.create_default_context()
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_NONE
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    s = ctx.wrap_bio(a, b, server_hostname=host)
    try:
        s.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return b.read(), s, a, b


def finish(conn, s, a, b, first, pause=0, step=0):
    """Send the hello in the given manner and finish the handshake by hand."""
    if step:
        for i in range(0, len(first), step):
            conn.send(first[i:i + step])
            if pause:
                time.sleep(pause)
    else:
        conn.send(first)
    while True:
        try:
            s.do_handshake()
            if b.pending:
                conn.send(b.read())
            return
        except ssl.SSLWantReadError:
            if b.pending:
                conn.send(b.read())
            if not conn.buf and not conn.fill():
                raise wire.Ended("the server ended in the handshake") from None
            a.write(conn.buf)
            conn.buf = b""


def raw_tunnel(lab, p, port, host="www.test"):
    c = lab.connect(p)
    c.send(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n")
    assert Response(c, "CONNECT").status == 200
    return c


def test_hello_in_single_bytes(lab):
    o = lab.origin()
    p = lab.assay()
    first, s, a, b = hello("www.test")
    finish(raw_tunnel(lab, p, o.port), s, a, b, first, step=1)


def test_hello_in_many_records(lab):
    """RFC 8446 5.1: a handshake message may be fragmented at will."""
    o = lab.origin()
    p = lab.assay()
    for size in (1, 7, 100):
        with lab.sub(f"records of {size}"):
            first, s, a, b = hello("www.test")
            body = first[5:]
            split = b"".join(first[:3] + struct.pack(">H", len(body[i:i + size])) + body[i:i + size] for i in range(0, len(body), size))
            finish(raw_tunnel(lab, p, o.port), s, a, b, split)


def test_hello_with_the_connect(lab):
    """Octets behind the CONNECT head are tunnel data, also before our 200."""
    o = lab.origin()
    p = lab.assay()
    first, s, a, b = hello("www.test")
    c = lab.connect(p)
    c.send(f"CONNECT www.test:{o.port} HTTP/1.1\r\nHost: www.test\r\n\r\n".encode() + first[:100])
    assert Response(c, "CONNECT").status == 200
    finish(c, s, a, b, first[100:])


def add_extensions(record, more, suites=b""):
    """Put extensions (and cipher suites) into a ClientHello record."""
    body = bytearray(record[5:])
    at = 4 + 2 + 32
    at += 1 + body[at]
    n = struct.unpack(">H", body[at:at + 2])[0]
    body[at:at + 2] = struct.pack(">H", n + len(suites))
    body[at + 2:at + 2] = suites
    at += 2 + n + len(suites)
    at += 1 + body[at]
    n = struct.unpack(">H", body[at:at + 2])[0]
    body[at:at + 2] = struct.pack(">H", n + len(more))
    body += more
    body[1:4] = struct.pack(">I", len(body) - 4)[1:]
    out = b""
    for i in range(0, len(body), 16000):
        out += record[:3] + struct.pack(">H", len(body[i:i + 16000])) + bytes(body[i:i + 16000])
    return out


def server_first_record(conn):
    """(type, body) of the first TLS record from the server."""
    head = conn.exact(5)
    return head[0], conn.exact(struct.unpack(">H", head[3:])[0])


def test_hello_grease_and_size(lab):
    """GREASE, unknown and encrypted_client_hello extensions, 17 KB: all legal
    (RFC 8701, RFC 9849); never a refusal."""
    o = lab.origin()
    p = lab.assay()

    def ext(kind, data):
        return struct.pack(">HH", kind, len(data)) + data
    rows = {"grease": (ext(0x2a2a, b"") + ext(0xdada, b"\0"), b"\x3a\x3a"),
            "unknown": (ext(0xfe01, b"x" * 500), b""),
            "ech": (ext(0xfe0d, b"\0\0\1\0\1\x42\0\x20" + bytes(32) + b"\0\x90" + bytes(0x90)), b""),
            "17 KB": (ext(0xfe02, b"x" * 16500), b"")}
    for name, (more, suites) in rows.items():
        with lab.sub(name):
            first, _, _, _ = hello("www.test")
            c = raw_tunnel(lab, p, o.port)
            c.send(add_extensions(first, more, suites))
            kind, body = server_first_record(c)
            assert kind == 22 and body[0] == 2, f"no ServerHello but {kind} {body[:20]!r}"
            assert struct.pack(">H", 0xfe0d) not in body, "it answers in encrypted_client_hello"
            c.cut()


def test_no_sni(lab):
    """The CONNECT name decides."""
    o = lab.origin()
    p = lab.assay()
    save_chain(lab, p, "www.test", o.port, sni=False)
    c = x509.load_pem_x509_certificate((lab.dir / "leaf.pem").read_bytes())
    assert c.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName) == ["www.test"]


def test_sni_against_connect(lab):
    """Another SNI than the CONNECT name: refused, or 421, and nothing signed
    that the origin did not prove (http.md 8)."""
    o = lab.origin(tls=lab.server_context("www.test"))
    p = lab.assay()
    ctx = wire.context(p.ca)
    ctx.check_hostname = False
    try:
        t = wire.Tunnel(p.addr, f"www.test:{o.port}", ctx, sni="victim.example")
        names = leaf_of(t).extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        t.send("GET / HTTP/1.1\r\nHost: victim.example\r\n\r\n")
        status = Response(t).status
        assert status in (403, 421, 502), status
        assert names != ["victim.example"] or status in (421, 502), names
    except (ssl.SSLError, OSError, wire.Ended):
        pass
    assert not o.requests


def test_sni_junk(lab):
    """A name that is none is never signed (seen in TLS 1.2, in the clear)."""
    o = lab.origin()
    p = lab.assay()
    ctx = ssl.create_default_context()
    ctx.maximum_version = ssl.TLSVersion.TLSv1_2
    first, _, _, _ = hello("www.test", ctx)
    for junk in (b"www\0test", b"a b.test", b"../x.tst", b"*.w.test", b"w%2etest", b"w..w.tes"):
        with lab.sub(junk):
            assert len(junk) == len(b"www.test")
            c = raw_tunnel(lab, p, o.port)
            c.send(first.replace(b"www.test", junk))
            while not c.silent(1) and not c.ended:
                c.seen, c.buf = c.seen + c.buf, b""
            assert junk not in c.seen, "a certificate for junk"
            c.cut()


def test_address_and_sni(lab):
    """CONNECT to an address: the SNI is the authority (http.md 8)."""
    o = lab.origin()
    p = lab.assay()
    ctx = wire.context(p.ca)
    t = wire.Tunnel(p.addr, f"127.0.0.1:{o.port}", ctx, sni="www.test")
    t.host = f"www.test:{o.port}"
    assert t.get().status == 200
    assert o.conns[0].sni == "www.test"


def test_not_tls_is_refused(lab):
    """What is not TLS in a tunnel is never piped blindly; the log says so."""
    o = lab.server(lambda c: (c.send("220 mail\r\n"), c.rest()))
    p = lab.assay()
    for first in (b"EHLO me\r\n", b"SSH-2.0-x\r\n", b"\x00\x01\x02\x03" * 8, b"\x16\x02\x00\x00\x05hello", b"\x80\x2e\x01\x03\x01" + bytes(40)):
        with lab.sub(first[:10]):
            c = raw_tunnel(lab, p, o.port)
            c.send(first)
            got = c.rest()
            assert b"220 mail" not in got, "the origin's words went through"
    assert not any(c.seen for c in o.conns), "the client's octets reached the origin"
    assert any(e2e.field(r, "event.action") in ("block", "error") for r in p.access(1)), p.access(1)


def test_plain_http_in_a_tunnel(lab):
    """Browsers send ws:// that way: refused or run through the parser, never
    piped."""
    o = lab.origin(tls=None)
    p = lab.assay()
    c = raw_tunnel(lab, p, o.port, "plain.test")
    c.send(f"GET / HTTP/1.1\r\nHost: plain.test:{o.port}\r\nX : 1\r\n\r\n")
    try:
        assert Response(c).status == 400
    except wire.Ended:
        pass
    assert not o.requests


def test_silent_client(lab):
    """A tunnel that says nothing is closed by limits.request."""
    o = lab.origin()
    p = lab.assay(limits={"request": "2s"})
    c = raw_tunnel(lab, p, o.port)
    assert c.is_closed(8 * e2e.lab_scale()), "still open"
    first, _, _, _ = hello("www.test")
    c = raw_tunnel(lab, p, o.port)
    c.send(first[:50])
    try:
        c.sock.settimeout(8 * e2e.lab_scale())
        c.rest()
    except wire.Ended:
        raise AssertionError("half a hello holds the connection") from None


def test_early_data_and_garbage_in_handshake(lab):
    """Junk behind a good hello: an alert or a close, and the next client is
    served."""
    o = lab.origin()
    p = lab.assay()
    first, _, _, _ = hello("www.test")
    for junk in (b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x17\x03\x03\x00\x10" + bytes(16), b"\x15\x03\x03\x00\x02\x02\x28"):
        with lab.sub(junk[:6]):
            c = raw_tunnel(lab, p, o.port)
            c.send(first + junk)
            try:
                c.rest()
            except wire.Ended:
                raise AssertionError("still open") from None
    assert lab.tunnel(p, o.port).get().status == 200


def test_splice(lab):
    """The exempt host shows the origin's own certificate, octet for octet."""
    o = lab.origin()
    p = lab.assay(rules=[{"name": "exempt", "if": {"host": ["exempt.test"]}, "tls": "splice"}, {"name": "default", "scan": "none"}])
    t = lab.tunnel(p, o.port, "exempt.test", ca=lab.trust)
    assert t.get("/x").status == 200
    own = o.tls.leaf
    assert leaf_of(t) == own
    assert lab.tunnel(p, o.port).get().status == 200, "others are opened still"
    t.close()
    rec = [r for r in p.access(2) if e2e.field(r, "event.action") == "splice"]
    assert rec and "exempt" in str(rec[0]), p.access(1)


def test_splice_subdomain_and_exact(lab):
    lab.hosts["sub.exempt.test"] = "127.0.0.1"
    lab.hosts["sub.other.test"] = "127.0.0.1"
    lab.hosts["notexempt.test"] = "127.0.0.1"
    names = ["exempt.test", "sub.exempt.test", "other.test", "sub.other.test", "notexempt.test"]
    o = lab.origin(tls=lab.server_context("exempt.test", sans=names))
    p = lab.assay(rules=[{"name": "a", "if": {"host": ["exempt.test", "=other.test"]}, "tls": "splice"}, {"name": "default", "scan": "none"}])
    own = o.tls.leaf
    (lab.dir / "both.pem").write_bytes(open(lab.trust, "rb").read() + open(p.ca, "rb").read())
    for host, spliced in zip(names, (True, True, True, False, False)):
        with lab.sub(host):
            t = lab.tunnel(p, o.port, host, ca=str(lab.dir / "both.pem"))
            assert (leaf_of(t) == own) == spliced, f"spliced: {leaf_of(t) == own}"


def test_splice_needs_both_names(lab):
    """An SNI alone is the client's claim: no exemption by it, nor by a CONNECT
    name with another SNI."""
    o = lab.origin()
    p = lab.assay(rules=[{"name": "a", "if": {"host": ["exempt.test"]}, "tls": "splice"}, {"name": "default", "scan": "none"}])
    own = o.tls.leaf
    for connect, sni in (("www.test", "exempt.test"), ("exempt.test", "www.test")):
        with lab.sub(f"CONNECT {connect}, SNI {sni}"):
            ctx = ssl.create_default_context()
            ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE
            try:
                t = wire.Tunnel(p.addr, f"{connect}:{o.port}", ctx, sni=sni)
            except (ssl.SSLError, OSError, wire.Ended):
                continue
            assert leaf_of(t) != own, "spliced"


def test_splice_both_ways_large(lab):
    body = e2e.pattern(20 << 20)
    o = lab.origin(lambda h, b: ok(e2e.sha(b)) if b else ok(body))
    p = lab.assay(rules=[{"name": "a", "if": {"host": ["exempt.test"]}, "tls": "splice"}, {"name": "default", "scan": "none"}])
    t = lab.tunnel(p, o.port, "exempt.test", ca=lab.trust)
    assert e2e.sha(t.get().body) == e2e.sha(body)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    assert Response(t).text() == e2e.sha(body)


def test_splice_ends(lab):
    """Either side's end ends the other."""
    closed = []

    def script(conn):
        conn.request()
        conn.send(ok(b"x"))
        conn.rest()
        closed.append(1)
    s = lab.server(script, lab.server_context(sans=list(e2e.NAMES)))
    p = lab.assay(rules=[{"name": "a", "tls": "splice"}])
    t = lab.tunnel(p, s.port, ca=lab.trust)
    assert t.get().status == 200
    t.cut()
    assert wire.wait_for(lambda: closed, 5), "the origin is left open"


def test_splice_dead_origin(lab):
    """A spliced tunnel to nowhere: an error before the 200, or a page in TLS
    of our own."""
    p = lab.assay(rules=[{"name": "a", "tls": "splice"}])
    try:
        t = lab.tunnel(p, lab.port())
    except (ssl.SSLError, OSError):
        return
    r = t.get() if t.connect.status == 200 else t.connect
    assert r.status in (502, 504), r


def test_client_rejects_leaf(lab):
    """A client without our CA: an alert, a log record, no harm."""
    o = lab.origin()
    p = lab.assay()
    r = lab.curl(p, f"https://www.test:{o.port}/", ca=lab.trust)
    assert r.returncode == 60, r.errors
    assert not o.requests
    assert lab.tunnel(p, o.port).get().status == 200


def test_aborted_handshakes(lab):
    """A hundred half handshakes leave nothing behind."""
    o = lab.origin()
    p = lab.assay()
    first, _, _, _ = hello("www.test")
    lab.tunnel(p, o.port).get()
    time.sleep(0.3)
    fds = p.fds()
    for i in range(100):
        c = raw_tunnel(lab, p, o.port)
        c.send(first[:1 + i * 5])
        if i % 2:
            c.reset()
        else:
            c.cut()
    wire.wait_for(lambda: p.fds() <= fds + 8, 10)
    assert p.fds() <= fds + 8, f"{fds} descriptors became {p.fds()}"
    assert lab.tunnel(p, o.port).get().status == 200


def test_half_closed_client(lab):
    """A client that shuts its sending side still gets its answer, or an end;
    never a hang."""
    def reply(head, body):
        time.sleep(0.3)
        return ok(b"late")
    o = lab.origin(reply, tls=None)
    p = lab.assay()
    c = lab.connect(p)
    c.send(f"GET http://plain.test:{o.port}/ HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n")
    c.sock.shutdown(socket.SHUT_WR)
    got = c.rest()
    assert got == b"" or got.endswith(b"late")


def test_foreign_root(lab):
    """Our own CA is never an anchor for origins, even if the store has it."""
    port = lab.port()
    conf = lab.conf(port)
    ca = x509.load_pem_x509_certificate((lab.dir / "ca.pem").read_bytes())
    from cryptography.hazmat.primitives import serialization
    key = serialization.load_pem_private_key((lab.dir / "ca.key").read_bytes(), None)
    o = lab.origin(tls=lab.server_context(leaf=certs.make_leaf("www.test", ca, key)))
    (lab.dir / "root.pem").write_bytes(lab.root.pem() + (lab.dir / "ca.pem").read_bytes())
    p = lab.assay(port=port, raw=json.dumps(conf))
    r = lab.tunnel(p, o.port).get()
    assert r.status == 502 and not o.requests, r
