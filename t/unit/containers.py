#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of every container format that can be made here, each around a file
of which the test database knows the hash, so that it is found only by who
opens the container.  A filler before it moves what the reader needs (headers,
tables, the file) over the boundaries of pages and of chunks.

    containers.py FOLDER SEED [few]
"""
import base64
import binascii
import bz2
import gzip
import io
import lzma
import pathlib
import random
import struct
import sys
import tarfile
import zipfile
import zlib

KNOWN = b"assay-test-hash-2c91\n"
FILLERS = sorted({max(0, n * 4096 - back) for n in (0, 1, 2, 4, 5) for back in (0, 1, 20, 90, 400, 1000)})


def filler(n, r):
    return r.randbytes(n)


def make_zip(fill, r, method=zipfile.ZIP_DEFLATED):
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w") as z:
        z.writestr("filler", fill, zipfile.ZIP_STORED)
        z.writestr("known", KNOWN, method)
    return b.getvalue()


def make_many(r):
    """An ordinary zip of many members; the known one is anywhere in it."""
    n = r.randint(1, 600)
    where = r.randrange(n)
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w") as z:
        for i in range(n):
            if i == where:
                data = KNOWN
            elif r.random() < .7:
                data = r.randbytes(r.randint(0, 400))
            else:
                data = b"text %d " % i * r.randint(1, 50)
            z.writestr("d%d/%s%d.txt" % (i % 7, "n" * r.randint(1, 40), i), data, r.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    return b.getvalue()


def make_tar(fill, r, format=tarfile.USTAR_FORMAT):
    b = io.BytesIO()
    with tarfile.open(fileobj=b, mode="w", format=format) as t:
        for name, data in (("filler", fill), ("known", KNOWN)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return b.getvalue()


def make_gzip(fill, r):
    return gzip.compress(make_tar(fill, r), 1)


def make_bzip2(fill, r):
    return bz2.compress(make_tar(fill, r))


def make_xz(fill, r):
    return lzma.compress(make_tar(fill, r), preset=0)


def make_cpio(fill, r):
    out = b""
    for name, data in ((b"filler", fill), (b"known", KNOWN), (b"TRAILER!!!", b"")):
        out += b"070701" + b"".join(b"%08X" % v for v in (1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
        out += name + b"\0"
        out += b"\0" * (-len(out) % 4) + data
        out += b"\0" * (-len(out) % 4)
    return out


def make_html(fill, r):
    return (b"<!DOCTYPE html><html><head><title>x</title></head><body><!-- " + fill.hex().encode() + b" -->\n<a href=\"data:application/octet-stream;base64," +
            base64.b64encode(KNOWN) + b"\">x</a></body></html>\n")


def make_mail(fill, r):
    def part(name, data):
        return (b"--=_b\r\nContent-Type: application/octet-stream; name=\"%s\"\r\nContent-Transfer-Encoding: base64\r\n"
                b"Content-Disposition: attachment; filename=\"%s\"\r\n\r\n" % (name, name) + base64.encodebytes(data).replace(b"\n", b"\r\n") + b"\r\n")
    return (b"Received: from a by b\r\nFrom: a@example.org\r\nTo: b@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
            b"Content-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n" + part(b"filler", fill) + part(b"known", KNOWN) + b"--=_b--\r\n")


def make_pdf(fill, r):
    out, at = bytearray(b"%PDF-1.4\n"), []
    packed = zlib.compress(KNOWN)
    for i, body in enumerate([
            b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [] /Count 0 >>",
            b"<< /Length %d >>\nstream\n" % len(fill) + fill + b"\nendstream",
            b"<< /Type /EmbeddedFile /Filter /FlateDecode /Length %d >>\nstream\n" % len(packed) + packed + b"\nendstream"], 1):
        at.append(len(out))
        out += b"%d 0 obj\n" % i + body + b"\nendobj\n"
    xref = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(at) + 1) + b"".join(b"%010d 00000 n \n" % a for a in at)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(at) + 1, xref)
    return bytes(out)


def make_cab(fill, r):
    """One folder, MSZIP."""
    data = fill + KNOWN
    blocks = []
    for i in range(0, len(data), 32768):
        c = zlib.compressobj(1, zlib.DEFLATED, -15)
        plain = data[i:i + 32768]
        packed = b"CK" + c.compress(plain) + c.flush()
        blocks.append(struct.pack("<IHH", 0, len(packed), len(plain)) + packed)
    files = b"".join(struct.pack("<IIHHHH", size, at, 0, 0x21, 0, 0x20) + name for name, size, at in
                     ((b"filler\0", len(fill), 0), (b"known\0", len(KNOWN), len(fill))))
    first = 36 + 8
    start = first + len(files)
    body = b"".join(blocks)
    return (b"MSCF" + struct.pack("<IIIIIBBHHHHH", 0, start + len(body), 0, first, 0, 3, 1, 1, 2, 0, 1, 0) +
            struct.pack("<IHH", start, len(blocks), 1) + files + body)


def make_arj(fill, r):
    """Stored members."""
    def header(main, name, size, crc):
        h = struct.pack("<BBBBBBBBIIIIHHH", 30, 11, 1, 0, 0, 0, 2 if main else 0, 0, 0x21 << 16, size, size, crc, 0, 0o644, 0) + name + b"\0\0"
        return b"\x60\xea" + struct.pack("<H", len(h)) + h + struct.pack("<IH", zlib.crc32(h), 0)
    out = header(True, b"x.arj", 0, 0)
    for name, data in ((b"filler", fill), (b"known", KNOWN)):
        out += header(False, name, len(data), zlib.crc32(data)) + data
    return out + b"\x60\xea\0\0"


def make_7z(fill, r):
    """One folder, LZMA, two files."""
    data = fill + KNOWN
    packed = lzma.compress(data, format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16}])

    def number(n):
        for k in range(8):
            if n < 1 << (7 * (k + 1)):
                return bytes([(0xff00 >> k) & 0xff | n >> (8 * k)]) + (n & ((1 << (8 * k)) - 1)).to_bytes(k, "little")
        return b"\xff" + n.to_bytes(8, "little")
    names = b"".join(s.encode("utf-16-le") + b"\0\0" for s in ("filler", "known"))
    head = (b"\x01\x04" + b"\x06" + number(0) + number(1) + b"\x09" + number(len(packed)) + b"\0" +
            b"\x07\x0b" + number(1) + b"\0" + b"\x01\x23\x03\x01\x01\x05\x5d" + struct.pack("<I", 1 << 16) + b"\x0c" + number(len(data)) + b"\0" +
            b"\x08\x0d" + number(2) + b"\x09" + number(len(fill)) + b"\x0a\x01" + struct.pack("<II", zlib.crc32(fill), zlib.crc32(KNOWN)) + b"\0" + b"\0" +
            b"\x05" + number(2) + b"\x11" + number(len(names) + 1) + b"\0" + names + b"\0\0")
    start = struct.pack("<QQI", len(packed), len(head), zlib.crc32(head))
    return b"7z\xbc\xaf\x27\x1c\0\x04" + struct.pack("<I", zlib.crc32(start)) + start + packed + head


def make_iso(fill, r):
    """ISO 9660, a folder of two files."""
    def both(v, n):
        return v.to_bytes(n, "little") + v.to_bytes(n, "big")

    def record(name, sector, size, folder=False):
        n = 33 + len(name) + (1 - len(name) % 2)
        return (bytes([n, 0]) + both(sector, 4) + both(size, 4) + bytes([126, 1, 1, 0, 0, 0, 0, 2 if folder else 0, 0, 0]) + both(1, 2) +
                bytes([len(name)]) + name + b"\0" * (1 - len(name) % 2))

    def pad(b):
        return b + b"\0" * (-len(b) % 2048)
    first = pad(fill)
    known = 19 + len(first) // 2048
    root = pad(record(b"\0", 18, 2048, True) + record(b"\1", 18, 2048, True) + record(b"FILLER.BIN;1", 19, len(fill)) + record(b"KNOWN.BIN;1", known, len(KNOWN)))
    total = known + 1
    pvd = (b"\x01CD001\x01\0" + b" " * 32 + b"X".ljust(32) + b"\0" * 8 + both(total, 4) + b"\0" * 32 + both(1, 2) + both(1, 2) + both(2048, 2) +
           both(10, 4) + b"\0" * 16 + record(b"\0", 18, 2048, True))
    return b"\0" * 32768 + pad(pvd) + pad(b"\xffCD001\x01") + root + first + pad(KNOWN)


def make_ole(fill, r):
    """A compound file: two streams of whole sectors, found by a FAT."""
    fat, body = [0xfffffffd], b""

    def chain(data):
        nonlocal body
        first, n = len(fat), max(1, -(-len(data) // 512))
        fat.extend([*range(first + 1, first + n), 0xfffffffe])
        body += data + b"\0" * (n * 512 - len(data))
        return first

    def entry(name, kind, start, size, left=0xffffffff, right=0xffffffff, child=0xffffffff):
        u = name.encode("utf-16-le") + b"\0\0"
        return (u.ljust(64, b"\0") + struct.pack("<HBBIII", len(u), kind, 1, left, right, child) + b"\0" * 36 + struct.pack("<IQ", start, size))
    inside = gzip.compress(KNOWN, mtime=0).ljust(4096, b"\0")     # no mini stream
    fill = fill.ljust(4096, b"\0")
    a, b = chain(fill), chain(inside)
    d = chain(entry("Root Entry", 5, 0xfffffffe, 0, child=1) + entry("Filler", 2, a, len(fill), right=2) +
              entry("Known", 2, b, len(inside)) + b"\0" * 128)
    fats = 1 + (len(fat) + 1) // 128
    blocks = []
    for i in range(fats - 1):
        blocks.append(len(fat))
        fat.append(0xfffffffd)
    table = struct.pack("<%dI" % len(fat), *fat).ljust(fats * 512, b"\xff")
    where = [0, *blocks]
    head = (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 16 + struct.pack("<HHHHH", 0x3e, 3, 0xfffe, 9, 6) + b"\0" * 6 +
            struct.pack("<IIIIIIIII", 0, fats, d, 0, 4096, 0xfffffffe, 0, 0xfffffffe, 0) +
            struct.pack("<%dI" % len(where), *where)).ljust(512, b"\xff")
    return head + table[:512] + body + table[512:]


def make_tnef(fill, r):
    def attribute(level, kind, data):
        return bytes([level]) + struct.pack("<II", kind, len(data)) + data + struct.pack("<H", sum(data) & 0xffff)
    return (b"\x78\x9f\x3e\x22\1\0" + attribute(1, 0x00089006, b"\0\0\1\0") + attribute(1, 0x00069999, fill) + attribute(2, 0x00069002, b"\1\0" + b"\0" * 12) +
            attribute(2, 0x00018010, b"known\0") + attribute(2, 0x0006800f, KNOWN))


def make_swf(fill, r):
    """Opened, it is looked at whole: a string, not a hash."""
    data = b"\x08\0\0\0\x0c\1\0" + fill + b"assay-test-malware-7f3a"
    return b"CWS\x08" + struct.pack("<I", 8 + len(data)) + zlib.compress(data, 1)


def make_uuencode(fill, r):
    return (b"From: a@example.org\nSubject: x\n\nbegin 644 filler\n" + b"".join(binascii.b2a_uu(fill[i:i + 45]) for i in range(0, len(fill), 45)) +
            b"`\nend\n\nbegin 644 known\n" + binascii.b2a_uu(KNOWN) + b"`\nend\n")


FORMATS = {name[5:]: make for name, make in list(globals().items()) if name.startswith("make_") and name != "make_many"}


def main():
    folder, r = pathlib.Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    few = len(sys.argv) > 3
    for name, make in FORMATS.items():
        for n in (100, 5000) if few else FILLERS:
            (folder / f"{name}-{n}").write_bytes(make(filler(n, r), r))
    for i in range(2 if few else 300):
        (folder / f"many-{i}").write_bytes(make_many(r))


if __name__ == "__main__":
    main()
