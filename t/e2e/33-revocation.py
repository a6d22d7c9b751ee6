# SPDX-License-Identifier: GPL-2.0-or-later
"""OCSP responders are asked for certificates of origins, and lists are got (tls.origin.revocation), through the process
that fetches."""
import base64
import datetime
import subprocess
import threading
import urllib.parse

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


class Raw(bytes):
    """A whole answer of HTTP."""


class Site:
    """An origin whose leaf names a responder, which says what say() returns."""

    def __init__(self, lab, path="/"):
        self.say = lambda site: b""
        self.reply = lambda site, request: site.say(site)
        self.asked = []
        self.pages = lab.origin(self._page, tls=None)
        leaf = certs.make_leaf(HOST, lab.root.cert, lab.root.key, extra=[access_info(self.pages.port, path)])
        self.leaf, self.ca, self.key = leaf[0], lab.root.cert, lab.root.key
        self.origin = lab.origin(lambda r, c: ok(b"hello"), tls=lab.server_context(leaf=leaf, chain=[]))

    def _page(self, head, body):
        self.asked.append(head)
        if head.start.startswith("GET /"):   # RFC 6960 A.1.1
            body = base64.b64decode(urllib.parse.unquote(head.start.split(" ")[1].rsplit("/", 1)[1]))
        said = self.reply(self, body)
        return said if isinstance(said, Raw) else ok(said)

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
                assert site.asked[0].start.startswith("GET /")
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


def test_hangs_short(lab):
    """What is waited for ends before the origin's own deadline, which says nothing of the origin then."""
    for mode, status in (("soft", 200), ("hard", 502)):
        with lab.sub(mode):
            site, end = Site(lab), threading.Event()

            def hang(s):
                end.wait(60 * e2e.lab_scale())
                return b""
            site.say = hang
            p = lab.assay(limits={"connect": "3s"}, **conf(lab, revocation=mode))
            works(p)
            try:
                assert lab.tunnel(p, site.origin.port, HOST).get().status == status, p.access()
                assert site.asked
                said = p.access()[-1]
                assert mode == "soft" or UNKNOWN in said["error.message"], said
            finally:
                end.set()
            p.stop()
            (lab.dir / "access.log").unlink()


def test_methods(lab):
    """GET where the request fits, POST where it does not or where GET is not known (RFC 5019 5)."""
    for label, path, known, want in (("short", "/", ("GET", "POST"), ["GET"]), ("long", "/" + "x" * 200, ("GET", "POST"), ["POST"]),
                                     ("query", "/?ca=1", ("GET", "POST"), ["POST"]), ("POST only", "/ocsp", ("POST",), ["GET", "POST"]),
                                     ("neither", "/ocsp", (), ["GET", "POST"])):
        with lab.sub(label):
            site = Site(lab, path)
            site.says()
            good = site.say
            site.say = lambda s: good(s) if s.asked[-1].start.split(" ")[0] in known else Raw(
                b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            p = lab.assay(**conf(lab, revocation="hard"))
            works(p)
            assert lab.tunnel(p, site.origin.port, HOST).get().status == (200 if known else 502)
            assert [a.start.split(" ")[0] for a in site.asked] == want, [a.start for a in site.asked]
            assert all(a.start.startswith(("GET " + path, "POST " + path)) for a in site.asked)
            p.stop()


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
            (d / "index.txt").write_text("%s\t400101000000Z\t%s\t%040X\tunknown\t/CN=x\n" % (
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


# Lists.

LIST = "/of.crl"


def list_of(ca, key, revoked=(), age=0, days=2, more=(), digest=hashes.SHA256()):
    """A CRL; age: days since it was made."""
    made = datetime.datetime.utcnow() - age * DAY - datetime.timedelta(minutes=1)
    b = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(made).next_update(made + days * DAY)
    for cert in revoked:
        b = b.add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(cert.serial_number)
                                      .revocation_date(made - DAY).build())
    for ext in more:
        b = b.add_extension(ext, True)
    return b.sign(key, digest).public_bytes(serialization.Encoding.DER)


def points(*urls):
    return (x509.CRLDistributionPoints([x509.DistributionPoint([x509.UniformResourceIdentifier(u)], None, None, None)
                                        for u in urls]), False)


def scope(url=None, users=False, cas=False, reasons=None):
    return x509.IssuingDistributionPoint([x509.UniformResourceIdentifier(url)] if url else None, None, users, cas, reasons,
                                         False, False)


class Listed:
    """An origin whose leaf names a list, which is what say() returns; ocsp: it names a responder, too."""

    def __init__(self, lab, ocsp=False, n=1):
        self.say = lambda site: b""
        self.asked = []
        self.pages = lab.origin(self._page, tls=None)
        self.url = f"http://127.0.0.1:{self.pages.port}{LIST}"
        self.ca, self.key = lab.root.cert, lab.root.key
        extra = [points(self.url)] + ([access_info(self.pages.port)] if ocsp else [])
        pairs = [certs.make_leaf(HOST, self.ca, self.key, extra=extra) for _ in range(n)]
        self.leaf = pairs[0][0]
        self.origins = [lab.origin(lambda r, c: ok(b"hello"), tls=lab.server_context(leaf=x, chain=[])) for x in pairs]

    def _page(self, head, body):
        self.asked.append(head.start.split(" ")[1])
        return ok(self.say(self))


def lists(**kw):
    def set_up(s):
        revoked = [s.leaf] if kw.get("revoked") else [certs.make_leaf(HOST, s.ca, s.key)[0]]
        der = list_of(kw.get("ca", s.ca), kw.get("key", s.key), revoked, kw.get("age", 0),
                      more=[x(s) for x in kw.get("more", ())])
        s.say = lambda s: der
    return set_up


def by_other(revoked):
    def set_up(s):
        ca, key = certs.make_ca("Lab Root")
        lists(ca=ca, key=key, revoked=revoked)(s)
    return set_up


def renamed(s):
    """Another's list under the issuer's name, and its key identifier."""
    der = list_of(s.ca, certs.new_key(), [s.leaf])
    s.say = lambda s: der


def test_lists(lab):
    """What each kind of list does in soft and hard."""
    gone = "was revoked on"
    for label, set_up, soft, hard in (
            ("good", lists(), None, None),
            ("revoked", lists(revoked=True), gone, gone),
            ("its own point", lists(more=[lambda s: scope(s.url)]), None, None),
            ("its own point, revoked", lists(revoked=True, more=[lambda s: scope(s.url, users=True)]), gone, gone),
            ("another point's", lists(more=[lambda s: scope("http://other.test/")]), None, UNKNOWN),
            ("of CAs", lists(more=[lambda s: scope(cas=True)]), None, UNKNOWN),
            ("of users", lists(more=[lambda s: scope(users=True)]), None, None),
            ("of some reasons", lists(more=[lambda s: scope(reasons=frozenset([x509.ReasonFlags.key_compromise]))]), None, UNKNOWN),
            ("indirect", lists(more=[lambda s: x509.IssuingDistributionPoint(None, None, False, False, None, True, False)]), None,
             "indirect CRLs"),
            ("delta", lists(more=[lambda s: x509.DeltaCRLIndicator(1)]), None, "delta CRLs"),
            ("unknown extension", lists(more=[lambda s: x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0")]), None,
             UNKNOWN),
            ("other signer", by_other(False), None, "not signed by its issuer"),
            ("revoked by other signer", by_other(True), None, "not signed by its issuer"),
            ("in its name", renamed, None, "not signed by its issuer"),
            ("old", lists(age=9), None, "not current"),
            ("old, revoked", lists(revoked=True, age=9), None, "not current"),
            ("early", lists(age=-1), None, "not current"),
            ("junk", says_bytes(b"\x30\x03junk"), None, "unreadable CRL"),
            ("empty", says_bytes(b""), None, "no CRL came"),
            ("17 MB", says_bytes(b"\x30" * (17 << 20)), None, UNKNOWN)):
        for mode, why in (("soft", soft), ("hard", hard)):
            with lab.sub(f"{label}, {mode}"):
                site = Listed(lab)
                set_up(site)
                p = lab.assay(**conf(lab, revocation=mode))
                works(p)
                for _ in range(2):
                    r = lab.tunnel(p, site.origins[0].port, HOST).get()
                    assert r.status == (502 if why else 200), (label, mode, r)
                    said = p.access()[-1].get("error.message", "")
                    assert (why or "") in said, (label, mode, said)
                assert site.asked == [LIST], (label, mode, site.asked)
                assert bool(site.origins[0].requests) == (not why)
                p.stop()
                (lab.dir / "access.log").unlink()


def test_one_list(lab):
    """Two certificates of one issuer are on one list: it is got once."""
    site = Listed(lab, n=2)
    lists(revoked=True)(site)
    p = lab.assay(**conf(lab))
    works(p)
    for _ in range(2):
        assert lab.tunnel(p, site.origins[0].port, HOST).get().status == 502
        assert lab.tunnel(p, site.origins[1].port, HOST).get().status == 200
    assert site.asked == [LIST]


def test_list_behind_responder(lab):
    """A list is got where the responder says nothing, and only then."""
    for label, answers in (("silent", False), ("answers", True)):
        with lab.sub(label):
            site = Listed(lab, ocsp=True)
            listed = list_of(site.ca, site.key, [site.leaf])
            der = answer(site.leaf, site.ca, site.ca, site.key) if answers else b""
            site.say = lambda s: listed if s.asked[-1] == LIST else der
            p = lab.assay(**conf(lab))
            works(p)
            assert lab.tunnel(p, site.origins[0].port, HOST).get().status == (200 if answers else 502)
            assert (LIST in site.asked) == (not answers) and len(site.asked) == (1 if answers else 2)
            p.stop()


def intermediate(lab, port):
    """A CA that says to be on the list at port, and its key."""
    key = certs.new_key()
    now = datetime.datetime.utcnow()
    return (x509.CertificateBuilder().subject_name(certs.name("Lab Intermediate")).issuer_name(lab.root.cert.subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY).not_valid_after(now + 9 * DAY)
            .add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(*points(f"http://127.0.0.1:{port}/")).sign(lab.root.key, hashes.SHA256())), key


def test_others_known(lab):
    """The leaf's responder is silent until it is late: what was said of its issuer meanwhile decides."""
    end, said = threading.Event(), []
    silent = lab.origin(lambda r, c: ok(b"") if end.wait(60 * e2e.lab_scale()) else ok(b""), tls=None)
    pages = lab.origin(lambda r, c: ok(said[0]), tls=None)
    inter, key = intermediate(lab, pages.port)
    said.append(list_of(lab.root.cert, lab.root.key, [inter], more=[scope(cas=True)]))
    leaf = certs.make_leaf(HOST, inter, key, extra=[access_info(silent.port)])
    o = lab.origin(lambda r, c: ok(b"hello"), tls=lab.server_context(leaf=leaf, chain=[inter]))
    p = lab.assay(limits={"connect": "3s"}, **conf(lab))
    works(p)
    try:
        assert lab.tunnel(p, o.port, HOST).get().status == 502
        assert 'issuer "Lab Intermediate" was revoked' in p.access()[-1]["error.message"], p.access()[-1]
        assert silent.requests
    finally:
        end.set()


def test_intermediate(lab):
    """An issuer that its own issuer's list names."""
    asked = []
    for label, revoked in (("good", False), ("revoked", True)):
        with lab.sub(label):
            del asked[:]
            said = []

            def page(head, body):
                asked.append(head.start)
                return ok(said[0])
            pages = lab.origin(page, tls=None)
            inter, key = intermediate(lab, pages.port)
            said.append(list_of(lab.root.cert, lab.root.key, [inter] if revoked else [], more=[scope(cas=True)]))
            o = lab.origin(lambda r, c: ok(b"hello"), tls=lab.server_context(leaf=certs.make_leaf(HOST, inter, key), chain=[inter]))
            p = lab.assay(**conf(lab))
            works(p)
            assert lab.tunnel(p, o.port, HOST).get().status == (502 if revoked else 200)
            assert len(asked) == 1
            if revoked:
                assert 'issuer "Lab Intermediate" was revoked' in p.access()[-1]["error.message"]
            p.stop()
            (lab.dir / "access.log").unlink()


def test_openssl_list(lab):
    """A list that OpenSSL makes, with many entries."""
    site, d = Listed(lab), lab.dir
    (d / "root.pem").write_bytes(certs.pem(site.ca))
    (d / "root.key").write_bytes(certs.pem(site.key))
    (d / "ca.cnf").write_text("[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\ndefault_crl_days=3\n"
                              "crl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n")
    (d / "number").write_text("01\n")
    (d / "index.txt").write_text("".join(f"R\t400101000000Z\t250101000000Z\t{n:040X}\tunknown\t/CN=x\n"
                                         for n in [*range(1 << 80, (1 << 80) + 20000), site.leaf.serial_number]))
    subprocess.run(["openssl", "ca", "-config", "ca.cnf", "-gencrl", "-keyfile", "root.key", "-cert", "root.pem", "-out", "crl.pem"],
                   check=True, cwd=d, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    der = x509.load_pem_x509_crl((d / "crl.pem").read_bytes()).public_bytes(serialization.Encoding.DER)
    site.say = lambda s: der
    p = lab.assay(**conf(lab))
    works(p)
    assert lab.tunnel(p, site.origins[0].port, HOST).get().status == 502
    assert "was revoked on 2025-01-01" in p.access()[-1]["error.message"]


def test_list_hangs(lab):
    """A server of lists that is silent delays who needs it, once, and nobody else."""
    for mode, status in (("soft", 200), ("hard", 502)):
        with lab.sub(mode):
            site, end = Listed(lab), threading.Event()

            def hang(s):
                end.wait(60 * e2e.lab_scale())
                return b""
            site.say = hang
            other = lab.origin(lambda r, c: ok(b"other"), tls=lab.server_context(
                leaf=certs.make_leaf(HOST, site.ca, site.key), chain=[]))
            p = lab.assay(**conf(lab, revocation=mode))
            works(p)
            got = []
            t = threading.Thread(target=lambda: got.append(lab.tunnel(p, site.origins[0].port, HOST).get()))
            t.start()
            try:
                assert wire.wait_for(lambda: site.asked, 20)
                if mode == "soft":
                    assert lab.tunnel(p, other.port, HOST).get().status == 200
                    assert not got, "it waits, and the other did not"
                t.join(60 * e2e.lab_scale())
                assert not t.is_alive() and got and got[0].status == status, got
                assert lab.tunnel(p, site.origins[0].port, HOST).get().status == status
                assert len(site.asked) == 1
            finally:
                end.set()
            p.stop()
            (lab.dir / "access.log").unlink()
