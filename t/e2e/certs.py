# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificates of the lab: authorities, leaves, and leaves with one fault each.

Used by the end-to-end tests and by the bench (python3-cryptography).
"""
import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


def new_key(kind="ec"):
    """A private key: "ec" is P-256, "rsa2048" says the size."""
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "p192":
        return ec.generate_private_key(ec.SECP192R1())
    return rsa.generate_private_key(65537, int(kind[3:] or 2048))


def name(cn):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Lab"),
                      x509.NameAttribute(NameOID.COMMON_NAME, cn)])


def pem(obj):
    """A certificate or a private key as PEM."""
    if hasattr(obj, "public_bytes"):
        return obj.public_bytes(serialization.Encoding.PEM)
    return obj.private_bytes(serialization.Encoding.PEM,
                             serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def _now():
    return datetime.datetime.utcnow()


def make_ca(cn="Lab Root", key=None, days=3650, issuer=None, issuer_key=None,
            path_length=None, ca=True, sign=True):
    """An authority, self-signed without issuer. ca=False and sign=False make
    an intermediate that must not be one."""
    key = key or new_key()
    now = _now()
    b = (x509.CertificateBuilder().subject_name(name(cn))
         .issuer_name(issuer.subject if issuer else name(cn))
         .public_key(key.public_key())
         .serial_number(x509.random_serial_number())
         .not_valid_before(now - DAY)
         .not_valid_after(now + days * DAY)
         .add_extension(x509.BasicConstraints(ca, path_length if ca else None), True)
         .add_extension(x509.KeyUsage(True, False, False, False, False, sign,
                                      sign, False, False), True)
         .add_extension(x509.SubjectKeyIdentifier.from_public_key(
             key.public_key()), False))
    return b.sign(issuer_key or key, hashes.SHA256()), key


def make_leaf(host, ca, ca_key, key=None, days=90, start=None, sans=None,
              sign_hash=hashes.SHA256(), extra=(), usage=ExtendedKeyUsageOID.SERVER_AUTH):
    """A server's certificate; sans=[] leaves only the CN."""
    key = key or new_key()
    start = start or _now() - datetime.timedelta(hours=1)
    alt = []
    for s in (sans if sans is not None else [host]):
        try:
            alt.append(x509.IPAddress(ipaddress.ip_address(s)))
        except ValueError:
            alt.append(x509.DNSName(s))
    b = (x509.CertificateBuilder().subject_name(name(host[:64]))
         .issuer_name(ca.subject if ca else name(host[:64]))
         .public_key(key.public_key())
         .serial_number(x509.random_serial_number())
         .not_valid_before(start).not_valid_after(start + days * DAY)
         .add_extension(x509.BasicConstraints(False, None), True)
         .add_extension(x509.ExtendedKeyUsage([usage]), False))
    if alt:
        b = b.add_extension(x509.SubjectAlternativeName(alt), False)
    for ext, critical in extra:
        b = b.add_extension(ext, critical)
    return b.sign(ca_key or key, sign_hash), key


def past(days):
    """A start date that many days ago."""
    return _now() - days * DAY


class Authority:
    """A root with its key, and leaves under it."""

    def __init__(self, cn="Lab Root", **kw):
        self.cert, self.key = make_ca(cn, **kw)

    def leaf(self, host, **kw):
        return make_leaf(host, self.cert, self.key, **kw)

    def pem(self):
        return pem(self.cert)
