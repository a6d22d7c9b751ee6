# SPDX-License-Identifier: GPL-2.0-or-later
"""Compressed streams one behind the other: what programs read on is looked at,
in the body itself and in archives, however deep."""
import base64
import bz2
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile
import zlib

from lab import EICAR, TESTDB, field, needs, pattern
from wire import Response, ok

TEXT = b"hello world, " * 50
HASH = b"assay-test-hash-2c91\n"        # a signature of the whole


def gz(data):
    return gzip.compress(data, mtime=0)


def member(data, flags=0, extra=b"", crc=None):
    c = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (b"\x1f\x8b\x08" + bytes([flags]) + b"\0\0\0\0\0\3" + extra + c.compress(data) + c.flush() +
            struct.pack("<II", zlib.crc32(data) if crc is None else crc, len(data)))


def halves(pack, between=b""):
    return pack(HASH[:9]) + between + pack(HASH[9:])


def files(bad, split):
    """What is read on to bad, by Python or by the usual programs."""
    two = bytes([0, 0])
    return {
        "gz": gz(bad),
        "two members": gz(TEXT) + gz(bad),
        "zeros between": gz(TEXT) + bytes(10) + gz(bad),
        "one zero": gz(TEXT) + b"\0" + gz(bad),
        "many zeros": gz(TEXT) + bytes(200000) + gz(bad),
        "zeros, odd head": gz(TEXT) + two + member(bad, 0x80),
        "reserved flags": member(bad, 0x20),
        "second with reserved flags": gz(TEXT) + member(bad, 0x80),
        "wrong head checksum": member(bad, 2, b"xx"),
        "all fields": member(bad, 0x9e, b"\4\0abcdname\0comment\0xx"),
        "second with wrong head checksum": gz(TEXT) + member(bad, 2, b"xx"),
        "behind a wrong checksum": member(TEXT, crc=1) + gz(bad),
        "cut": (gz(TEXT) + two + member(bad))[:-9],
        "bz2": bz2.compress(bad),
        "two bz2": bz2.compress(TEXT) + bz2.compress(bad),
        "empty bz2 first": bz2.compress(b"") + bz2.compress(bad),
        "three bz2": bz2.compress(TEXT) * 2 + bz2.compress(bad),
        "in each other": bz2.compress(b"") + bz2.compress(gz(TEXT) + two + gz(bad)),
        "a zip in it": gz(b"") + two + gz(zipped(gz(TEXT) + two + gz(bad))),
        **({"gz halves": halves(gz, two), "bz2 halves": halves(bz2.compress)} if split else {}),
    }


def zipped(data, name="a.gz"):
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(name, data)
    return b.getvalue()


def tarred(data, name="a.gz"):
    b = io.BytesIO()
    with tarfile.open(fileobj=b, mode="w") as t:
        i = tarfile.TarInfo(name)
        i.size = len(data)
        t.addfile(i, io.BytesIO(data))
    return b.getvalue()


def mailed(data):
    return (b"From: a@b\r\nTo: c@d\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=xx\r\n\r\n--xx\r\n"
            b"Content-Type: application/gzip\r\nContent-Disposition: attachment; filename=a.gz\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
            base64.encodebytes(data) + b"\r\n--xx--\r\n")


IN = {"itself": lambda d: d, "zip": zipped, "tar": tarred, "zip in zip": lambda d: zipped(zipped(d), "a.zip"), "tar.gz": lambda d: gz(tarred(d)),
      "xz": lzma.compress, "mail": mailed}


@needs("clamav")
def test_what_programs_read_on(lab):
    body = [None]
    o = lab.origin(lambda h, b: ok(body[0]))
    p = lab.assay(services={"clam": {"url": f"clamav:{TESTDB}", "mode": "resp", "cache": "off"}}, workers=1)
    for where, pack in IN.items():
        for name, data in files(EICAR, True).items():
            with lab.sub(f"{name} in {where}"):
                body[0] = pack(data)
                r = lab.tunnel(p, o.port).get()
                assert r.status == 403 and body[0] not in r.body, r
    verdicts = [field(r, "assay.verdict") for r in p.access(0) if field(r, "assay.scan")]
    assert set(verdicts) == {"blocked"}, verdicts


@needs("clamav")
def test_clean_ones_pass(lab):
    """The controls: the same files without anything in them, many members as
    bgzip and pbzip2 write them, and bytes that only look like a head."""
    body = [None]
    o = lab.origin(lambda h, b: ok(body[0]))
    p = lab.assay(services={"clam": {"url": f"clamav:{TESTDB}", "mode": "resp", "cache": "off"}}, workers=1)
    rows = files(TEXT, False)
    noise = random.Random(1).randbytes(100000)
    rows.update({"many members": b"".join(gz(pattern(60000, i)) for i in range(60)), "many streams": b"".join(bz2.compress(pattern(60000, i)) for i in range(20)),
                 "zeros at the end": gz(TEXT) + bytes(1000), "junk at the end": gz(TEXT) + b"\x1f\x8b\x08\xff" + noise, "heads in it": gz(noise + b"\x1f\x8b\x08\0" * 9),
                 "bz2 and junk": bz2.compress(TEXT) + b"BZh9\x31\x41\x59\x26\x53\x59" + noise})
    for where in ("itself", "zip", "tar"):
        for name, data in rows.items():
            with lab.sub(f"{name} in {where}"):
                body[0] = IN[where](data)
                r = lab.tunnel(p, o.port).get()
                assert r.status == 200 and r.body == body[0], r


@needs("clamav")
def test_streams_have_limits(lab):
    """A bomb of many streams, and streams in streams, are over a limit; in an
    upload as well."""
    deep = TEXT
    for _ in range(25):
        deep = gz(b"") + b"\0" + gz(deep)
    rows = {"bomb": bz2.compress(b"") + bz2.compress(bytes(30 << 20)), "padded bomb": gz(b"") + b"\0" + gz(bytes(30 << 20)), "deep": deep}
    o = lab.origin()
    p = lab.assay(services={"clam": {"url": f"clamav:{TESTDB}", "mode": "both", "limits": {"scan_size": "20M"}}}, workers=1)
    for name, data in rows.items():
        with lab.sub(name):
            t = lab.tunnel(p, o.port)
            t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
            r = Response(t, "POST")
            assert r.status == 403 and b"limit" in r.body, (r, r.body[:600])
