# SPDX-License-Identifier: GPL-2.0-or-later
"""Files inside multipart bodies: what a browser or curl uploads, and downloads that have parts.
The test signature knows its file by the whole, as most signatures of real files do."""
import base64
import gzip

import lab as e2e
import wire
from lab import field, needs
from wire import Response, ok

HASHED = b"assay-test-hash-2c91\n"
CLAM = {"url": f"clamav:{e2e.TESTDB}", "mode": "both"}


def start(lab, answer=b"fine", **service):
    o = lab.origin(lambda h, b: answer if answer[:5] == b"HTTP/" else ok(answer))
    return o, lab.assay(services={"clam": dict(CLAM, **service)})


def uploaded(o):
    return b"".join(r[1] for r in o.requests)


def post(t, kind, body):
    t.send(f"POST /up HTTP/1.1\r\nHost: {t.host}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    return Response(t, "POST")


@needs("clamav")
def test_form_of_curl(lab):
    """curl -F, as a browser's form: a clean file arrives byte for byte, the other does not leave."""
    o, p = start(lab)
    good, bad = lab.dir / "good.txt", lab.dir / "bad.bin"
    good.write_bytes(b"hello\n")
    bad.write_bytes(HASHED)
    url = f"https://www.test:{o.port}/up"
    r = lab.curl(p, url, "-F", f"f=@{good}")
    assert r.status == 200 and b"hello\n" in uploaded(o), r
    r = lab.curl(p, url, "-F", f"a=@{good}", "-F", f"f=@{bad}")
    assert r.status == 403 and HASHED not in uploaded(o), r


@needs("clamav")
def test_coded_parts(lab):
    o, p = start(lab)
    t = lab.tunnel(p, o.port)
    for coding, data in (("base64", base64.encodebytes(HASHED)), ("quoted-printable", HASHED.replace(b"-", b"=2D").replace(b"\n", b"=0A"))):
        for kind in ("form-data", "related", "mixed"):
            with lab.sub(f"{kind} {coding}"):
                t = lab.tunnel(p, o.port)
                for content, status in ((data, 403), (base64.encodebytes(b"good"), 200)):
                    body = b"--b\r\nContent-Transfer-Encoding: %s\r\n\r\n%s\r\n--b--\r\n" % (coding.encode(), content)
                    r = post(t, f"multipart/{kind}; boundary=b", body)
                    t = lab.tunnel(p, o.port)
                    assert r.status == status, (r, content)


@needs("clamav")
def test_multipart_download(lab):
    body = b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n%s\r\n--c--\r\n--b--\r\n"
    for content, status in ((HASHED, 403), (b"good", 200)):
        with lab.sub(str(status)):
            raw = body % content
            o, p = start(lab, ok(raw, [("Content-Type", "multipart/related; boundary=b")]))
            assert lab.tunnel(p, o.port).get("/x").status == status


@needs("clamav")
def test_ambiguous_form_is_unscanned(lab):
    """Two receivers would split it differently: unscanned (damaged), and policy decides."""
    body = b"--b\r\n\r\nx\r\n--bc\r\n\r\ny\r\n--b--\r\n"
    for policy, status in (("block", 403), ({"default": "block", "damaged": "bypass"}, 200)):
        with lab.sub(str(status)):
            o, p = start(lab, on_unscanned=policy)
            t = lab.tunnel(p, o.port)
            assert post(t, "multipart/form-data; boundary=b", body).status == status
            assert wire.wait_for(lambda: p.access(1), 5)
            scan = field(p.access(1)[0], "assay.scan")[0]
            assert scan["gap"] == "damaged", scan


# How a file may lie in a body so that some receivers take it out: what the
# type says, the content coding of the request, and the body.
FILE = b"Content-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n%s\r\n"
READINGS = [
    ("the word inside a name", "multipart/form-data; xboundary=a; boundary=b", "", b"--a\r\n" + FILE + b"--a--\r\n"),
    ("a list of boundaries", "multipart/form-data; boundary=a,b", "", b"--a\r\n" + FILE + b"--a--\r\n"),
    ("a blank is of the boundary", "multipart/form-data; boundary= a", "", b"-- a\r\n" + FILE + b"-- a--\r\n"),
    ("a type behind another", "text/plain; multipart/form-data; boundary=a", "", b"--a\r\n" + FILE + b"--a--\r\n"),
    ("delimiter inside a line", "multipart/form-data; boundary=a", "", b"--a\r\n\r\nx--a\r\n" + FILE + b"--a--\r\n"),
    ("delimiter behind a bare CR", "multipart/form-data; boundary=a", "", b"--a\r\n\r\nx\r--a\r\n" + FILE + b"--a--\r\n"),
    ("head that ends later", "multipart/form-data; boundary=a", "", b"--a\r\nA: b\n\nx\r\n" + FILE + b"--a--\r\n"),
    ("file with a delimiter for few", "multipart/form-data; boundary=a", "", b"--a\r\n" + FILE + b"--a-\r\n\r\nx\r\n--a--\r\n"),
    ("coding that ends before", "multipart/form-data; boundary=a", "deflate", b"\x03\x00\r\n--a\r\n" + FILE + b"--a--\r\n"),
    ("coding among other words", "multipart/form-data; boundary=a", "none br", b"--a\r\n\r\nx\r\n--a--\r\n"),
]


@needs("clamav")
def test_no_reading_passes(lab):
    """What any receiver finds in it was looked at, or it does not pass as clean."""
    o, p = start(lab)
    for name, kind, coding, body in READINGS:
        with lab.sub(name):
            t = lab.tunnel(p, o.port)
            body = body.replace(b"%s", HASHED)
            t.send(f"POST /up HTTP/1.1\r\nHost: {t.host}\r\nContent-Type: {kind}\r\n".encode() +
                   (f"Content-Encoding: {coding}\r\n".encode() if coding else b"") +
                   f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert Response(t, "POST").status == 403
    assert not o.requests
    for name, kind, body in (("plain", "multipart/form-data; boundary=a", b"--a\r\n" + FILE + b"--a--\r\n"),
                             ("browser", "multipart/form-data; boundary=----WebKitFormBoundaryX1", b"------WebKitFormBoundaryX1\r\n" + FILE + b"------WebKitFormBoundaryX1--\r\n"),
                             ("quoted", 'multipart/related; type="text/xml"; boundary="a b"; start="<x>"', b"--a b\r\n" + FILE + b"--a b--\r\n"),
                             ("line feeds", "multipart/form-data; boundary=a", b"--a\nA: b\n\n%s\n--a--\n"),
                             ("end of the last line", "multipart/form-data; boundary=a", b"--a\r\n" + FILE + b"--a--\n")):
        with lab.sub(name):
            assert post(lab.tunnel(p, o.port), kind, body.replace(b"%s", b"good\n")).status == 200


def frame(data, flags=0):
    return bytes([flags]) + len(data).to_bytes(4, "big") + data


def text(*pieces):
    """As servers write it: each piece is base64 with an end of its own."""
    return b"".join(base64.b64encode(x) for x in pieces)


@needs("clamav")
def test_messages_of_grpc_web(lab):
    """What a page gets from gRPC-Web is a message, not the body: each is a file of its own, both ways."""
    end = frame(b"grpc-status:0\r\n", 0x80)
    rows = [
        ("application/grpc-web+proto", lambda x: frame(x) + end),
        ("application/grpc-web", lambda x: frame(b"first") + frame(x) + end),
        ("application/grpc-web; charset=utf-8", lambda x: end + frame(x)),
        ("application/grpc-web+proto", lambda x: frame(gzip.compress(x), 1) + end),
        ("application/grpc-web-text", lambda x: text(frame(x) + end)),
        ("application/grpc-web-text+proto", lambda x: text(frame(b"first"), frame(x), end)),
        ("application/grpc-web-text", lambda x: text(frame(gzip.compress(x), 1), end)),
        ("application/grpc", lambda x: frame(x)),
    ]
    for kind, shape in rows:
        for content, status in ((HASHED, 403), (b"good", 200)):
            body = shape(content)
            with lab.sub(f"{kind} {body[:12]} {status}"):
                o, p = start(lab, ok(body, [("Content-Type", kind)]))
                assert lab.tunnel(p, o.port).get("/x").status == status, "download"
                o, p = start(lab)
                assert post(lab.tunnel(p, o.port), kind, body).status == status, "upload"
