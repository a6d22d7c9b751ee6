# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificate transparency: certificates of public roots have to be in public logs (tls.origin.ct)."""
import base64
import datetime
import hashlib
import json
import struct
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

import certs
import lab as e2e
import wire
from wire import ok

HOST = "bad.test"
SCTS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")


def spki(key):
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


class Log:
    def __init__(self, rsa=False):
        self.key = certs.new_key("rsa2048" if rsa else "ec")
        self.id = hashlib.sha256(spki(self.key)).digest()

    def entry(self, state="usable", **more):
        return {"description": "a log", "log_id": base64.b64encode(self.id).decode(), "key": base64.b64encode(spki(self.key)).decode(),
                "url": "https://log.test/", "mmd": 86400, "state": {state: dict({"timestamp": "2025-01-01T00:00:00Z"}, **more)}}

    def promise(self, tbs, issuer, at=None, key=None):
        at = int(1000 * (at or time.time() - 3600))
        what = struct.pack(">BBQH", 0, 0, at, 1) + hashlib.sha256(spki(issuer)).digest() + struct.pack(">I", len(tbs))[1:] + tbs + b"\0\0"
        key = key or self.key
        is_ec = isinstance(key, ec.EllipticCurvePrivateKey)
        sig = key.sign(what, ec.ECDSA(hashes.SHA256())) if is_ec else key.sign(what, padding.PKCS1v15(), hashes.SHA256())
        return b"\0" + self.id + struct.pack(">Q", at) + b"\0\0" + bytes([4, 3 if is_ec else 1]) + struct.pack(">H", len(sig)) + sig


def vector(b):
    return struct.pack(">H", len(b)) + b


def octets(b):
    n = len(b)
    return b"\x04" + (bytes([n]) if n < 128 else bytes([0x81, n]) if n < 256 else b"\x82" + struct.pack(">H", n)) + b


def leaf(ca, ca_key, scts, days=90):
    """scts(tbs): those that are put into it, in the middle of its extensions."""
    key, serial, start = certs.new_key(), x509.random_serial_number(), datetime.datetime.utcnow().replace(microsecond=0) - certs.DAY

    def build(ext=None):
        b = (x509.CertificateBuilder().subject_name(certs.name(HOST)).issuer_name(ca.subject).public_key(key.public_key())
             .serial_number(serial).not_valid_before(start).not_valid_after(start + days * certs.DAY)
             .add_extension(x509.BasicConstraints(False, None), True))
        if ext is not None:
            b = b.add_extension(x509.UnrecognizedExtension(SCTS, ext), False)
        return b.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), False).sign(ca_key, hashes.SHA256())
    promises = scts(build().tbs_certificate_bytes)
    return build(octets(vector(b"".join(vector(s) for s in promises))) if promises is not None else None), key


def test_demands(lab):
    """What is enough, and what each demand does."""
    a, b, c = Log(), Log(rsa=True), Log()
    old, gone, stranger = Log(), Log(), Log()
    (lab.dir / "logs.json").write_text(json.dumps({"version": "1.2", "operators": [
        {"name": "One", "email": ["x@one.test"], "logs": [a.entry(), c.entry("readonly", final_tree_head={"tree_size": 5}), gone.entry("rejected")]},
        {"name": "Two", "logs": [], "tiled_logs": [b.entry("qualified"), old.entry("retired")]}]}, indent=1))
    ca, key = lab.root.cert, lab.root.key
    now = time.time()
    inter, inter_key = certs.make_ca("Lab Intermediate", issuer=ca, issuer_key=key)
    rows = (
        ("two", lambda t: [a.promise(t, key), b.promise(t, key)], 90, None),
        ("three, long", lambda t: [a.promise(t, key), b.promise(t, key), c.promise(t, key)], 200, None),
        ("two, long", lambda t: [a.promise(t, key), b.promise(t, key)], 200, "2 of 3 SCTs"),
        ("one of an unknown log more", lambda t: [stranger.promise(t, key), a.promise(t, key), b.promise(t, key)], 90, None),
        ("retired, before", lambda t: [a.promise(t, key), old.promise(t, key, at=1700000000)], 90, None),
        ("retired, after", lambda t: [a.promise(t, key), old.promise(t, key)], 90, "1 of 2 SCTs"),
        ("rejected", lambda t: [b.promise(t, key), gone.promise(t, key)], 90, "1 of 2 SCTs"),
        ("none", lambda t: None, 90, "0 of 2 SCTs"), ("empty", lambda t: [], 90, "0 of 2 SCTs"),
        ("one operator", lambda t: [a.promise(t, key), c.promise(t, key)], 90, "2 of 2 SCTs, all of one operator"),
        ("one twice", lambda t: [a.promise(t, key)] * 2, 90, "1 of 2 SCTs"),
        ("of tomorrow", lambda t: [a.promise(t, key), b.promise(t, key, at=now + 86400)], 90, "1 of 2 SCTs"),
        ("another certificate's", lambda t: [a.promise(t, key), b.promise(t + b"x", key)], 90, "1 of 2 SCTs"),
        ("another issuer's", lambda t: [a.promise(t, key), b.promise(t, inter_key)], 90, "1 of 2 SCTs"),
        ("another key's", lambda t: [a.promise(t, key), b.promise(t, key, key=stranger.key)], 90, "1 of 2 SCTs"),
        ("cut", lambda t: [a.promise(t, key), b.promise(t, key)[:-1]], 90, "1 of 2 SCTs"),
        ("junk", lambda t: [b"junk", a.promise(t, key)], 90, "1 of 2 SCTs"))
    origins = [(label, lab.origin(lambda r, c: ok(b"hello"), tls=lab.server_context(leaf=leaf(ca, key, scts, days), chain=[])), why)
               for label, scts, days, why in rows]
    origins.append(("below an intermediate", lab.origin(lambda r, c: ok(b"hello"), tls=lab.server_context(
        leaf=leaf(inter, inter_key, lambda t: [a.promise(t, inter_key), b.promise(t, inter_key)]), chain=[inter])), None))
    for demand, public in (("require", True), ("report", True), ("off", True), ("require", False)):
        p = lab.assay(tls={"origin": {"trust": [{"file": lab.trust, "public": public}], "revocation": "off", "ct": demand,
                                      "ct_logs": str(lab.dir / "logs.json")}})
        asked = public and demand != "off"
        for label, o, why in origins:
            with lab.sub(f"{demand}, {label}, public: {public}"):
                status = lab.tunnel(p, o.port, HOST).get().status
                assert status == (502 if why and asked and demand == "require" else 200), status
                assert wire.wait_for(lambda: f":{o.port}/" in p.access()[-1].get("url.full", ""), 20)
                said = p.access()[-1]
                if asked and why:
                    assert why in said["error.message" if demand == "require" else "assay.origin.ct"], said
                else:
                    assert "assay.origin.ct" not in said, said
        p.stop()
        (lab.dir / "access.log").unlink()


def test_lists(lab):
    """Lists that are none are told."""
    a = Log()
    one = a.entry()
    for label, text, why in (("no JSON", "{", "no JSON"), ("empty", "", "no JSON"), ("another file", '{"a": [1, {"b": {}}]}', "no log"),
                             ("no key", {"operators": [{"logs": [dict(one, key="")]}]}, "without a key"),
                             ("bad key", {"operators": [{"logs": [dict(one, key="AAAA")]}]}, "cannot be read"),
                             ("no base64", {"operators": [{"logs": [dict(one, key="%")]}]}, "not base64"),
                             ("all rejected", {"operators": [{"logs": [a.entry("rejected")]}]}, "no log is in it"),
                             ("retired, when", {"operators": [{"logs": [dict(one, state={"retired": {}})]}]}, "without a timestamp"),
                             ("deep", "[" * 5000 + "]" * 5000, "no JSON"), ("a list", "[]", "no log is in it"),
                             ("good", {"operators": [{"logs": [one]}]}, None)):
        with lab.sub(label):
            (lab.dir / "logs.json").write_text(text if isinstance(text, str) else json.dumps(text))
            code, said, _ = lab.check(lab.conf(port=3128, tls={"origin": {"trust": [lab.trust], "ct": "require", "ct_logs": str(lab.dir / "logs.json")}}))
            assert (code == 0) == (why is None) and (why or "") in said, (code, said)
    code, said, _ = lab.check(lab.conf(port=3128, tls={"origin": {"trust": [lab.trust], "ct": "require"}}))
    assert code == 1 and "needs 'ct_logs'" in said, said
