# SPDX-License-Identifier: GPL-2.0-or-later
"""OCSP responders are asked for certificates of origins (tls.origin.revocation), through the process that fetches."""
import datetime
import subprocess
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

import certs
import lab as e2e
import wire
from wire import ok

HOST = "bad.test"
DAY = datetime.timedelta(days=1)


def conf(lab, **origin):
    """Rules that scan nothing; origin: of tls.origin."""
    return {"rules": [{"name": "all", "scan": "none"}], "tls": {"origin": dict(trust=[lab.trust], **origin)}}


def works(p, n=1):
    assert wire.wait_for(lambda: p.log().count("sandbox: fetch: ") >= n, 20), p.log()


def access_info(port, path="/"):
    return (x509.AuthorityInformationAccess([x509.AccessDescription(
        AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(f"http://127.0.0.1:{port}{path}"))]), False)


def answer(cert, issuer, signer, key, revoked=False, age=0, chain=()):
    """A response about cert; age: days since it was made, it is valid for two."""
    made = datetime.datetime.utcnow() - age * DAY - datetime.timedelta(minutes=1)
    b = ocsp.OCSPResponseBuilder().add_response(
        cert=cert, issuer=issuer, algorithm=hashes.SHA1(),
        cert_status=ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus.GOOD,
        this_update=made, next_update=made + 2 * DAY,
        revocation_time=made - DAY if revoked else None, revocation_reason=None)
    b = b.responder_id(ocsp.OCSPResponderEncoding.HASH, signer)
    if chain:
        b = b.certificates(list(chain))
    return b.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


class Site:
    """An origin whose leaf names a responder, which says what say() returns."""

    def __init__(self, lab):
        self.say = lambda site: b""
        self.reply = lambda site, request: site.say(site)
        self.asked = []
        self.pages = lab.origin(self._page, tls=None)
        leaf = certs.make_leaf(HOST, lab.root.cert, lab.root.key, extra=[access_info(self.pages.port)])
        self.leaf, self.ca, self.key = leaf[0], lab.root.cert, lab.root.key
        self.origin = lab.origin(lambda r, c: ok(b"hello"), tls=lab.server_context(leaf=leaf, chain=[]))

    def _page(self, head, body):
        self.asked.append(head)
        return ok(self.reply(self, body))

    def says(self, **kw):
        der = answer(self.leaf, self.ca, self.ca, self.key, **kw)
        self.say = lambda site: der


def delegate(site, eku):
    """A responder's certificate of the issuer, and its key."""
    key = certs.new_key()
    now = datetime.datetime.utcnow()
    b = (x509.CertificateBuilder().subject_name(certs.name("Responder")).issuer_name(site.ca.subject)
         .public_key(key.public_key()).serial_number(x509.random_serial_number())
         .not_valid_before(now - DAY).not_valid_after(now + DAY)
         .add_extension(x509.ExtendedKeyUsage([eku]), False)
         # It asks for its own status where the leaf does: nobody follows that.
         .add_extension(*access_info(site.pages.port)))
    return b.sign(site.key, hashes.SHA256()), key


def by_delegate(eku, **kw):
    def set_up(site):
        cert, key = delegate(site, eku)
        der = answer(site.leaf, site.ca, cert, key, chain=[cert], **kw)
        site.say = lambda s: der
    return set_up


def other_serial(site):
    other = certs.make_leaf(HOST, site.ca, site.key)[0]
    der = answer(other, site.ca, site.ca, site.key)
    site.say = lambda s: der


def other_signer(revoked):
    def set_up(site):
        ca, key = certs.make_ca("Lab Root")
        der = answer(site.leaf, site.ca, ca, key, revoked=revoked, chain=[ca])
        site.say = lambda s: der
    return set_up


def says_bytes(b):
    def set_up(site):
        site.say = lambda s: b
    return set_up


OCSP, SERVER = ExtendedKeyUsageOID.OCSP_SIGNING, ExtendedKeyUsageOID.SERVER_AUTH
UNKNOWN = "unknown revocation status"


def test_answers(lab):
    """What each kind of answer does in soft and hard."""
    for label, set_up, soft, hard in (
            ("good", lambda s: s.says(), None, None),
            ("revoked", lambda s: s.says(revoked=True), "was revoked on", "was revoked on"),
            ("by delegate", by_delegate(OCSP), None, None),
            ("revoked by delegate", by_delegate(OCSP, revoked=True), "was revoked on", "was revoked on"),
            ("by no delegate", by_delegate(SERVER), None, "not signed by its issuer"),
            ("revoked by no delegate", by_delegate(SERVER, revoked=True), None, "not signed by its issuer"),
            ("other signer", other_signer(False), None, UNKNOWN),
            ("revoked by other signer", other_signer(True), None, UNKNOWN),
            ("old", lambda s: s.says(age=9), None, "has expired"),
            ("early", lambda s: s.says(age=-1), None, "not valid yet"),
            ("other serial", other_serial, None, "for another certificate"),
            ("junk", says_bytes(b"junk"), None, "is unreadable"),
            ("empty", says_bytes(b""), None, "no OCSP response came"),
            ("4 MB", says_bytes(b"\x30" * (4 << 20)), None, UNKNOWN)):
        for mode, why in (("soft", soft), ("hard", hard)):
            with lab.sub(f"{label}, {mode}"):
                site = Site(lab)
                set_up(site)
                p = lab.assay(**conf(lab, revocation=mode))
                works(p)
                for _ in range(2):
                    r = lab.tunnel(p, site.origin.port, HOST).get()
                    assert r.status == (502 if why else 200), (label, mode, r)
                    said = p.access()[-1].get("error.message", "")
                    assert (why or "") in said, (label, mode, said)
                assert len(site.asked) == 1, (label, mode, len(site.asked))
                assert site.asked[0].start.startswith("POST /")
                assert bool(site.origin.requests) == (not why)
                p.stop()
                (lab.dir / "access.log").unlink()


def test_hangs(lab):
    """A responder that is silent delays who needs it, once, and nobody else."""
    for mode, status in (("soft", 200), ("hard", 502)):
        with lab.sub(mode):
            site, end = Site(lab), threading.Event()

            def hang(s):
                end.wait(60 * e2e.lab_scale())
                return b""
            site.say = hang
            other = lab.origin(lambda r, c: ok(b"other"), tls=lab.server_context(
                leaf=certs.make_leaf(HOST, site.ca, site.key), chain=[]))
            p = lab.assay(**conf(lab, revocation=mode))
            works(p)
            got = []
            t = threading.Thread(target=lambda: got.append(lab.tunnel(p, site.origin.port, HOST).get()))
            t.start()
            try:
                assert wire.wait_for(lambda: site.asked, 20)
                if mode == "soft":
                    assert lab.tunnel(p, other.port, HOST).get().status == 200
                    assert not got, "it waits, and the other did not"
                t.join(60 * e2e.lab_scale())
                assert not t.is_alive() and got and got[0].status == status, got
                # Known for a minute: it is not waited for again.
                assert lab.tunnel(p, site.origin.port, HOST).get().status == status
                assert len(site.asked) == 1
            finally:
                end.set()
            p.stop()
            (lab.dir / "access.log").unlink()


def test_not_asked(lab):
    """Not when it is off, and not where destinations forbid."""
    for label, more in (("off", {"tls": conf(lab, revocation="off")["tls"]}),
                        ("denied", {"destinations": {"allow": ["127.0.0.0/32"]}})):
        with lab.sub(label):
            site = Site(lab)
            site.says(revoked=True)
            p = lab.assay(**dict(conf(lab), **more))
            works(p)
            r = lab.tunnel(p, site.origin.port, HOST).get()
            assert not site.asked, label
            assert r.status == 200 or label == "denied", r
            p.stop()


def test_openssl(lab):
    """What OpenSSL answers to the request that we make."""
    for status, want in (("V", 200), ("R", 502)):
        with lab.sub(status):
            site, d = Site(lab), lab.dir
            (d / "root.pem").write_bytes(certs.pem(site.ca))
            (d / "root.key").write_bytes(certs.pem(site.key))
            (d / "index.txt").write_text("%s\t400101000000Z\t%s\t%X\tunknown\t/CN=x\n" % (
                status, "250101000000Z" if status == "R" else "", site.leaf.serial_number))

            def respond(s, request):
                (d / "request.der").write_bytes(request)
                subprocess.run(["openssl", "ocsp", "-index", d / "index.txt", "-CA", d / "root.pem", "-rsigner", d / "root.pem",
                                "-rkey", d / "root.key", "-reqin", d / "request.der", "-respout", d / "response.der", "-ndays", "1"],
                               check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                return (d / "response.der").read_bytes()
            site.reply = respond
            p = lab.assay(**conf(lab, revocation="hard"))
            works(p)
            r = lab.tunnel(p, site.origin.port, HOST).get()
            assert r.status == want, (r, p.access()[-1])
            assert len(site.asked) == 1
            p.stop()
