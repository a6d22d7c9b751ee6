# SPDX-License-Identifier: GPL-2.0-or-later
"""The origin's side of TLS: whatever is wrong with its certificate, the client
gets a 502 page inside its tunnel and the origin not one octet of the request."""
import datetime
import hashlib
import signal
import ssl
import time

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

import certs
import lab as e2e
import wire
from wire import ok

HOST = "bad.test"


def judge(lab, p, o, host=HOST, error="tls_certificate_error", statuses=(502,)):
    """The page, on every request of the connection, and nothing sent."""
    t = lab.tunnel(p, o.port, host)
    t.send(f"POST /secret HTTP/1.1\r\nHost: {t.host}\r\nAccept: text/html\r\nCookie: session=1\r\nContent-Length: 6\r\n\r\nsecret")
    r = wire.Response(t)
    assert r.status in statuses, r
    assert not r.cut and r.body, "the page is not whole"
    status = r.get("Proxy-Status") or ""
    assert "error=" in status and (error is None or error in status), status
    assert "no-store" in (r.get("Cache-Control") or ""), r.head
    assert not o.requests and not any(c.seen for c in o.conns), "the origin got octets of the request"
    if "close" not in (r.get("Connection") or "").lower():
        assert t.get().status in statuses
    assert not o.requests and not any(c.seen for c in o.conns)


def chain(lab, host=HOST, **kw):
    """(leaf pair, chain) under an intermediate with the given faults."""
    inter, key = certs.make_ca("Lab Intermediate", issuer=lab.root.cert, issuer_key=lab.root.key, **kw)
    return dict(leaf=certs.make_leaf(host, inter, key), chain=[inter])


def sha1_leaf(lab):
    """Newer versions of the library will not make one."""
    try:
        return dict(leaf=lab.root.leaf(HOST, sign_hash=hashes.SHA1()))
    except UnsupportedAlgorithm:
        return None


def fault_rows(lab):
    other = certs.Authority("Unknown Root")
    same_name = certs.Authority("Lab Root")
    deep, deep_key = certs.make_ca("Level 1", issuer=lab.root.cert, issuer_key=lab.root.key, path_length=0)
    deeper, deeper_key = certs.make_ca("Level 2", issuer=deep, issuer_key=deep_key)
    key = certs.new_key()
    nc = (x509.CertificateBuilder().subject_name(certs.name("Constrained")).issuer_name(lab.root.cert.subject)
          .public_key(key.public_key()).serial_number(x509.random_serial_number())
          .not_valid_before(certs.past(1)).not_valid_after(certs.past(-100))
          .add_extension(x509.BasicConstraints(True, None), True)
          .add_extension(x509.NameConstraints([x509.DNSName("good.example")], None), True)
          .sign(lab.root.key, hashes.SHA256()))
    unknown = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00"), True)
    rows = {
        "expired": dict(start=certs.past(100), days=30),
        "not yet valid": dict(start=certs.past(-10)),
        "wrong name": dict(sans=["victim.example"]),
        "CN only": dict(sans=[]),
        "parent wildcard": dict(sans=["*.bad.test"]),
        "partial wildcard": dict(sans=["b*.test"]),
        "wildcard behind": dict(sans=["*d.test"]),
        "bare wildcard": dict(sans=["*"]),
        "name as address": dict(sans=["127.0.0.1"]),
        "self-signed": dict(leaf=certs.make_leaf(HOST, None, None)),
        "unknown issuer": dict(leaf=other.leaf(HOST)),
        "unknown issuer, sent along": dict(leaf=other.leaf(HOST), chain=[other.cert]),
        "issuer of the trusted name": dict(leaf=same_name.leaf(HOST)),
        "missing intermediate": dict(leaf=chain(lab)["leaf"]),
        "expired intermediate": chain(lab, days=-0.5),
        "intermediate without CA": chain(lab, ca=False),
        "intermediate without keyCertSign": chain(lab, sign=False),
        "path length": dict(leaf=certs.make_leaf(HOST, deeper, deeper_key), chain=[deeper, deep]),
        "name constraints": dict(leaf=certs.make_leaf(HOST, nc, key), chain=[nc]),
        "client's purpose": dict(usage=ExtendedKeyUsageOID.CLIENT_AUTH),
        "unknown critical extension": dict(extra=[unknown]),
        "RSA 1024": dict(key=certs.new_key("rsa1024")),
        "SHA-1": sha1_leaf(lab),
        "leaf as issuer": dict(leaf=certs.make_leaf(HOST, *lab.root.leaf("issuer.test"))),
    }
    return {name: kw for name, kw in rows.items() if kw is not None}


def test_bad_certificates(lab):
    p = lab.assay()
    for name, kw in fault_rows(lab).items():
        with lab.sub(name):
            o = lab.origin(tls=lab.server_context(HOST, weak=True, **kw))
            judge(lab, p, o)


def test_good_certificates(lab):
    """The counter-proof: what is right is accepted."""
    p_names = ("a.good.test", "xn--n1aae7f7o.test", "good.example.test")
    for n in p_names:
        lab.hosts[n] = "127.0.0.1"
    p = lab.assay()
    one = chain(lab, HOST)
    inter2, key2 = certs.make_ca("Second", issuer=lab.root.cert, issuer_key=lab.root.key)
    third, key3 = certs.make_ca("Third", issuer=inter2, issuer_key=key2)
    rows = {
        "plain": (HOST, {}),
        "intermediate": (HOST, one),
        "two intermediates": (HOST, dict(leaf=certs.make_leaf(HOST, third, key3), chain=[third, inter2])),
        "unordered": (HOST, dict(leaf=certs.make_leaf(HOST, third, key3), chain=[inter2, third])),
        "root sent too": (HOST, dict(chain=[lab.root.cert])),
        "wildcard": ("a.good.test", dict(sans=["*.good.test"])),
        "A-label": ("xn--n1aae7f7o.test", {}),
        "upper case": (HOST, dict(sans=["BAD.Test"])),
        "RSA 2048": (HOST, dict(key=certs.new_key("rsa2048"))),
        "one of many names": (HOST, dict(sans=[f"n{i}.test" for i in range(300)] + [HOST])),
        "no CN match but SAN": (HOST, dict(leaf=lab.root.leaf("something.else", sans=[HOST]))),
    }
    for name, (host, kw) in rows.items():
        with lab.sub(name):
            o = lab.origin(tls=lab.server_context(host, **kw))
            r = lab.tunnel(p, o.port, host).get()
            assert r.status == 200, (r, r.text()[:300])


def test_page_comes_from_our_leaf(lab):
    """The 502 is inside the client's TLS, with a certificate it trusts."""
    o = lab.origin(tls=lab.server_context(HOST, start=certs.past(100), days=30))
    p = lab.assay()
    r = lab.curl(p, f"https://{HOST}:{o.port}/", "-H", "Accept: text/html")
    assert (r.returncode, r.status) == (0, 502), r.errors
    assert "<html" in r.body.decode().lower()


def test_verdict_is_not_shared_by_name(lab):
    """A certificate good for one name is judged anew for another."""
    o = lab.origin(tls=lab.server_context("www.test"))
    p = lab.assay(workers=1)
    assert lab.tunnel(p, o.port, "www.test").get().status == 200
    t = lab.tunnel(p, o.port, "other.test")
    assert t.get().status == 502
    assert lab.tunnel(p, o.port, "www.test").get().status == 200
    assert len(o.requests) == 2


def test_good_after_bad(lab):
    """An origin that mended its certificate is reached at once."""
    p = lab.assay()
    bad = lab.origin(tls=lab.server_context(HOST, start=certs.past(100), days=30))
    assert lab.tunnel(p, bad.port, HOST).get().status == 502
    port = bad.port
    bad.stop()
    good = lab.origin(tls=lab.server_context(HOST), port=port)
    assert wire.wait_for(lambda: lab.tunnel(p, good.port, HOST).get().status == 200, 5)


def test_revoked_by_crl(lab):
    pair = lab.root.leaf(HOST)
    now = datetime.datetime.utcnow()
    crl = (x509.CertificateRevocationListBuilder().issuer_name(lab.root.cert.subject)
           .last_update(now - certs.DAY).next_update(now + 30 * certs.DAY)
           .add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(pair[0].serial_number)
                                    .revocation_date(now - certs.DAY).build())
           .sign(lab.root.key, hashes.SHA256()))
    (lab.dir / "crl.pem").write_bytes(certs.pem(crl))
    p = lab.assay(tls={"origin": {"trust": [lab.trust], "crl": [str(lab.dir / "crl.pem")]}})
    o = lab.origin(tls=lab.server_context(leaf=pair))
    judge(lab, p, o)
    good = lab.origin(tls=lab.server_context(HOST))
    assert lab.tunnel(p, good.port, HOST).get().status == 200


def test_final(lab):
    """on_invalid: untrusted leaves to people what is invalid, but not what was revoked or has a blocked key."""
    fine, gone, own = lab.root.leaf(HOST), lab.root.leaf(HOST), certs.make_leaf(HOST, None, None)
    late = lab.root.leaf(HOST, start=certs.past(100), days=30)
    now = datetime.datetime.utcnow()
    crl = (x509.CertificateRevocationListBuilder().issuer_name(lab.root.cert.subject)
           .last_update(now - certs.DAY).next_update(now + certs.DAY)
           .add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(gone[0].serial_number)
                                    .revocation_date(now - certs.DAY).build()).sign(lab.root.key, hashes.SHA256()))
    (lab.dir / "crl.pem").write_bytes(certs.pem(crl))
    (lab.dir / "blocked.keys").write_text("".join(key_of(x[0]) + "\n" for x in (own,)))
    p = lab.assay(tls={"origin": {"trust": [lab.trust], "on_invalid": "untrusted", "crl": [str(lab.dir / "crl.pem")],
                                  "blocked_keys": [str(lab.dir / "blocked.keys")]}})
    for label, leaf, final in (("fine", fine, None), ("expired", late, False), ("revoked", gone, True), ("self-signed, blocked", own, True)):
        with lab.sub(label):
            o = lab.origin(lambda r, c: ok(b"hello"), tls=lab.server_context(leaf=leaf, chain=[]))
            if final is False:
                try:
                    lab.tunnel(p, o.port, HOST).get()
                    raise AssertionError("no warning")
                except ssl.SSLError as e:
                    assert "verif" in str(e).lower(), e
            else:
                assert lab.tunnel(p, o.port, HOST).get().status == (502 if final else 200)
                assert bool(o.requests) == (not final)


def key_of(cert):
    spki = cert.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def test_blocked_keys(lab):
    """A key that the configuration blocks is in no chain, as a leaf's, an issuer's or a root's; a reload takes others."""
    inter, key = certs.make_ca("Lab Intermediate", issuer=lab.root.cert, issuer_key=lab.root.key)
    leaf = certs.make_leaf(HOST, inter, key)
    o = lab.origin(lambda r, c: ok(b"hello"), tls=lab.server_context(leaf=leaf, chain=[inter]))
    keys = lab.dir / "blocked.keys"
    keys.write_text("# none yet\n")
    p = lab.assay(tls={"origin": {"trust": [lab.trust], "blocked_keys": [str(keys)], "revocation": "off"}})
    t = lab.tunnel(p, o.port, HOST)
    assert t.get().status == 200
    for cert, why in ((leaf[0], "certificate has a key"), (inter, 'issuer "Lab Intermediate" has a key'),
                      (lab.root.cert, 'issuer "Lab Root" has a key')):
        with lab.sub(why):
            keys.write_text(f"# compromised\n{key_of(cert)} somebody's\n")
            p.reload("in force")
            o.requests.clear()
            o.conns.clear()
            judge(lab, p, o)
            assert wire.wait_for(lambda: why in p.access()[-1].get("error.message", ""), 20), p.access()[-1]
    keys.write_text("x\n")
    p.signal(signal.SIGHUP)
    assert wire.wait_for(lambda: "blocked.keys:1: not the SHA-256" in p.log(), 20), p.log()
    o.conns.clear()
    judge(lab, p, o)


def test_issued_late(lab):
    """A root that vouches for what was issued until a day, also where it is trusted twice or is no anchor."""
    other, other_key = certs.make_ca("Other Root")
    cross, _ = certs.make_ca("Lab Root", key=lab.root.key, issuer=other, issuer_key=other_key)
    old, new = certs.make_leaf(HOST, lab.root.cert, lab.root.key, start=certs.past(40)), lab.root.leaf(HOST)
    both = lab.dir / "both.pem"
    both.write_bytes(certs.pem(lab.root.cert) + certs.pem(other))
    (lab.dir / "other.pem").write_bytes(certs.pem(other))
    day = lambda n: (datetime.datetime.utcnow() - n * certs.DAY).strftime("%Y-%m-%d")
    dated = lambda n: {"file": lab.trust, "not_after": day(n)}
    origins = {k: lab.origin(lambda r, c: ok(b"hello"), tls=lab.server_context(leaf=leaf, chain=chain)) for k, leaf, chain in (
        ("old", old, []), ("new", new, []), ("crossed", new, [cross]))}
    for label, trust, good in (
            ("plain", [lab.trust], {"old", "new", "crossed"}), ("dated", [dated(20)], {"old"}), ("twice", [str(both), dated(20)], {"old"}),
            ("all of them", [dated(60)], set()), ("today", [dated(0)], {"old", "new", "crossed"}),
            ("by another root", [str(lab.dir / "other.pem"), dated(20)], {"old"})):
        with lab.sub(label):
            p = lab.assay(tls={"origin": {"trust": trust, "revocation": "off"}})
            for name, o in origins.items():
                status = lab.tunnel(p, o.port, HOST).get().status
                assert status == (200 if name in good else 502), (label, name, status)
                if status == 502:
                    assert wire.wait_for(lambda: "so late" in p.access()[-1].get("error.message", ""), 20), p.access()[-1]
            p.stop()
            (lab.dir / "access.log").unlink()


def test_must_staple(lab):
    """RFC 7633: must-staple without a staple is a hard failure."""
    o = lab.origin(tls=lab.server_context(HOST, extra=[(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)]))
    p = lab.assay(tls={"origin": {"trust": [lab.trust], "revocation": "soft"}})
    judge(lab, p, o)


def test_old_tls(lab):
    """An origin with nothing newer than TLS 1.1."""
    ctx = lab.server_context(HOST, weak=True)
    ctx.maximum_version = ssl.TLSVersion.TLSv1_1
    o = lab.origin(tls=ctx)
    p = lab.assay()
    judge(lab, p, o, error=None)


def test_weak_ciphers(lab):
    p = lab.assay()
    for suite in ("AES128-SHA", "AES256-GCM-SHA384", "NULL-SHA"):
        with lab.sub(suite):
            ctx = lab.server_context(HOST, weak=True, key=certs.new_key("rsa2048"))
            ctx.maximum_version = ssl.TLSVersion.TLSv1_2
            ctx.set_ciphers(suite + ":@SECLEVEL=0")
            o = lab.origin(tls=ctx)
            judge(lab, p, o, error=None)


def test_origin_minimum(lab):
    ctx = lab.server_context(HOST)
    ctx.maximum_version = ssl.TLSVersion.TLSv1_2
    o = lab.origin(tls=ctx)
    p = lab.assay(tls={"origin": {"trust": [lab.trust], "min": "1.3"}})
    judge(lab, p, o, error=None)
    assert lab.tunnel(lab.assay(), o.port, HOST).get().status == 200


def test_client_certificate_demanded(lab):
    """An error in seconds, never a hang."""
    ctx = lab.server_context(HOST)
    ctx.verify_mode = ssl.CERT_REQUIRED
    ctx.load_verify_locations(lab.trust)
    ctx.maximum_version = ssl.TLSVersion.TLSv1_2
    o = lab.origin(tls=ctx)
    p = lab.assay()
    started = time.monotonic()
    judge(lab, p, o, error=None)
    assert time.monotonic() - started < 5 * e2e.lab_scale()


def test_origin_speaks_no_tls(lab):
    rows = {"plain HTTP": lambda c: c.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
            "closes": lambda c: None,
            "resets": lambda c: c.reset(),
            "junk": lambda c: (c.send(bytes(range(256)) * 4), time.sleep(0.2)),
            "alert": lambda c: (c.send(b"\x15\x03\x03\x00\x02\x02\x28"), time.sleep(0.2))}
    p = lab.assay()
    for name, act in rows.items():
        with lab.sub(name):
            s = lab.server(lambda c, act=act: (c.fill(), act(c)))
            s.requests = []
            t = lab.tunnel(p, s.port, HOST)
            r = t.get()
            assert r.status == 502 and r.body and not r.cut, r


def test_origin_silent_in_handshake(lab):
    s = lab.server(lambda c: c.rest(), timeout=60)
    p = lab.assay(limits={"request": "3s"})
    started = time.monotonic()
    r = lab.tunnel(p, s.port, HOST, timeout=40).get()
    assert r.status == 504, r
    assert time.monotonic() - started < 20 * e2e.lab_scale()


def test_renegotiating_and_half_handshake(lab):
    """An origin that ends inside the handshake or right behind it."""
    def after(conn):
        conn.cut()
    p = lab.assay()
    s = lab.server(after, lab.server_context(HOST))
    r = lab.tunnel(p, s.port, HOST).get()
    assert r.status == 502 and r.body, r


def test_large_chain(lab):
    """A chain of megabytes is refused within normal memory."""
    big = certs.make_leaf(HOST, lab.root.cert, lab.root.key, sans=[HOST] + [f"{'x' * 50}{i}.test" for i in range(1500)])
    o = lab.origin(tls=lab.server_context(leaf=big))
    p = lab.assay()
    before = p.rss()
    r = lab.tunnel(p, o.port, HOST).get()
    assert r.status in (200, 502), r
    if not e2e.SANITIZER:
        assert p.rss() - before < 20 << 20


def test_plain_https_url(lab):
    """An https:// target on the plain port goes out over TLS or not at all."""
    o = lab.origin()
    p = lab.assay()
    c = lab.connect(p)
    c.send(f"GET https://www.test:{o.port}/ HTTP/1.1\r\nHost: www.test:{o.port}\r\n\r\n")
    r = wire.Response(c)
    assert r.status in (200, 400, 403, 501), r
    if r.status == 200:
        assert o.handshakes == 1


def test_unsupported_is_said(lab):
    """on_invalid: untrusted either works or is refused by --check."""
    conf = lab.conf(lab.port(), tls={"origin": {"trust": [lab.trust], "on_invalid": "untrusted"}})
    code, out, _ = lab.check(conf)
    if code:
        assert "not supported in this version" in out, out
        return
    o = lab.origin(tls=lab.server_context(HOST, start=certs.past(100), days=30))
    p = lab.assay(tls=conf["tls"])
    try:
        t = lab.tunnel(p, o.port, HOST)
        assert False, f"a leaf that the client trusts: {t.sock.getpeercert()}"
    except ssl.SSLCertVerificationError:
        pass


def test_origin_resumption_is_by_name(lab):
    """Many connections to one name resume or not, but never skip the check:
    the second certificate of the same port is judged."""
    good, bad = lab.server_context(HOST), lab.server_context(HOST, start=certs.past(100), days=30)
    n = [0]

    class Switch:
        """A context that shows a bad certificate from the second time on."""

        def wrap_socket(self, sock, **kw):
            n[0] += 1
            return (good if n[0] == 1 else bad).wrap_socket(sock, **kw)
    o = lab.origin(lambda h, b: ok(b"x", [("Connection", "close")]), tls=Switch())
    p = lab.assay(workers=1)
    assert lab.tunnel(p, o.port, HOST).get().status == 200
    assert lab.tunnel(p, o.port, HOST).get().status == 502
    assert len(o.requests) == 1
