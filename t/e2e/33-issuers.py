# SPDX-License-Identifier: GPL-2.0-or-later
"""Issuers that an origin forgot to send are fetched by a process of assay's own
(tls.origin.fetch_issuers), within what destinations allow."""
import os
import signal
import threading

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import AuthorityInformationAccessOID

import certs
import lab as e2e
import wire
from wire import ok

HOST = "bad.test"


def conf(lab, **origin):
    """The default, unless origin says otherwise."""
    return {"rules": [{"name": "all", "scan": "none"}], "tls": {"origin": dict(trust=[lab.trust], **origin)}}


def forgetful(lab, url, publish=True):
    """An origin that sends its leaf alone, and who publishes its issuer."""
    inter, key = certs.make_ca("Lab Intermediate", issuer=lab.root.cert, issuer_key=lab.root.key)
    der = inter.public_bytes(serialization.Encoding.DER)
    pages = lab.origin(lambda r, c: ok(der if publish else b"x"), tls=None)
    aia = x509.AuthorityInformationAccess([x509.AccessDescription(
        AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(url.format(port=pages.port)))])
    leaf = certs.make_leaf(HOST, inter, key, extra=[(aia, False)])
    return lab.origin(lambda r, c: ok(b"hello"), tls=lab.server_context(leaf=leaf, chain=[])), pages


def fetcher(p):
    """The process that fetches."""
    for pid in p.pids():
        try:
            if open(f"/proc/{pid}/cmdline", "rb").read().startswith(b"assayd: fetch"):
                return pid
        except OSError:
            pass
    return None


def works(p, n=1):
    assert wire.wait_for(lambda: p.log().count("sandbox: fetch: ") >= n, 20), p.log()


def test_fetched_once(lab):
    """The first connection fetches it, others know it."""
    o, pages = forgetful(lab, "http://www.test:{port}/inter.cer")
    p = lab.assay(**conf(lab))
    works(p)
    for _ in range(3):
        r = lab.tunnel(p, o.port, HOST).get()
        assert r.status == 200 and r.body == b"hello", r
    assert len(pages.requests) == 1


def test_hangs(lab):
    """Who is silent is waited for until before the origin's own deadline: the chain is at fault, not the handshake."""
    end = threading.Event()
    silent = lab.origin(lambda r, c: ok(b"x") if end.wait(60 * e2e.lab_scale()) else ok(b"y"), tls=None)
    o, _ = forgetful(lab, f"http://www.test:{silent.port}/inter.cer")
    p = lab.assay(limits={"connect": "3s"}, **conf(lab))
    works(p)
    try:
        r = lab.tunnel(p, o.port, HOST).get()
        assert r.status == 502, r
        assert "it took too long" in p.access()[-1]["error.message"], p.access()[-1]
    finally:
        end.set()


def test_not_fetched(lab):
    """Not from where destinations forbid, not if it is off, and nothing helps that is none."""
    for label, url, publish, more, why in (
            ("denied", "http://127.0.0.9:{port}/", True, {"destinations": {"allow": ["127.0.0.1/32", "::1/128"]}}, "127.0.0.9 is in destinations.deny"),
            ("no certificate", "http://127.0.0.1:{port}/", False, {}, "no certificate"),
            ("off", "http://127.0.0.1:{port}/", True, {"tls": conf(lab, fetch_issuers=False, revocation="off")["tls"]}, "did not send")):
        with lab.sub(label):
            o, pages = forgetful(lab, url, publish)
            p = lab.assay(**dict(conf(lab), **more))
            if label != "off":
                works(p)
            r = lab.tunnel(p, o.port, HOST).get()
            assert r.status == 502, r
            said = p.access()[-1]["error.message"]
            assert why in said, said
            (lab.dir / "access.log").unlink()
            assert not o.requests
            assert (fetcher(p) is None) == (label == "off")
            assert label == "no certificate" or not pages.requests


def test_dies(lab):
    """Its process is killed: another one is there, and nothing else is lost."""
    o, pages = forgetful(lab, "http://127.0.0.1:{port}/")
    p = lab.assay(**conf(lab))
    works(p)
    os.kill(fetcher(p), signal.SIGKILL)
    works(p, 2)
    r = lab.tunnel(p, o.port, HOST).get()
    assert r.status == 200, r
    assert "fetch: process" in p.log() and "was killed by signal 9" in p.log()
    p.reload("in force")
    works(p, 3)
    assert len([1 for x in p.pids() if b"assayd: fetch" in open(f"/proc/{x}/cmdline", "rb").read()]) >= 1


def test_upgraded(lab):
    """Another program in the supervisor's place: one process fetches, none is left behind."""
    o, pages = forgetful(lab, "http://127.0.0.1:{port}/")
    p = lab.assay(**conf(lab))
    works(p)
    p.signal(signal.SIGUSR2)
    assert wire.wait_for(lambda: "generation 2 is in force" in p.log(), 20), p.log()
    works(p, 2)
    assert lab.tunnel(p, o.port, HOST).get().status == 200
    assert wire.wait_for(lambda: len(p.pids()) == 4, 20), p.pids()   # supervisor, serve, keys, fetch
