# SPDX-License-Identifier: GPL-2.0-or-later
"""The ICAP client against byte-exact servers (RFC 3507 and its errata)."""
import os
import signal
import socket
import threading
import time

import lab as e2e
import wire
from lab import pattern, sha
from wire import Response, ok

BODY = pattern(5000)
SECRET = b"octets-of-the-origin"


def resp(lab, script=None, body=BODY, reply=None, service=None, icap=None, **kw):
    """An origin that serves body, a scripted RESPMOD service, assayd and a
    tunnel: (icap, origin, assayd, tunnel)."""
    s = icap or lab.icap(script, **kw)
    o = lab.origin(reply or (lambda h, b: ok(body)))
    p = lab.assay(services={"s": dict({"url": s.url(), "mode": "resp", "timeout": "5s"}, **(service or {}))})
    return s, o, p, lab.tunnel(p, o.port)


def req(lab, script=None, reply=None, service=None, **kw):
    """The same for REQMOD; the origin answers with the digest of the body."""
    s = lab.icap(script, **kw)
    o = lab.origin(reply or (lambda h, b: ok(sha(b))))
    p = lab.assay(services={"s": dict({"url": s.url(), "mode": "req", "timeout": "5s"}, **(service or {}))})
    return s, o, p, lab.tunnel(p, o.port)


def post(t, body, path="/", fields=""):
    t.send(f"POST {path} HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body)
    return Response(t, "POST")


def is_page(r):
    """A whole page of our own about a scanner, with no octet of the origin."""
    assert r.status in (502, 503, 504), r
    assert not r.cut and r.body and SECRET not in r.body and BODY[:50] not in r.body, r
    assert "error=" in (r.get("Proxy-Status") or ""), r.head


# --------------------------------------------------------------- requests
def test_respmod_request(lab):
    """What the service is sent, to the letter (3507 4.3, 4.4)."""
    s, o, p, t = resp(lab, reply=lambda h, b: ok(BODY, [("Set-Cookie", "a=1"), ("X-B", "2"), ("Set-Cookie", "c=3"),
                                                        ("Keep-Alive", "5"), ("Connection", "X-Hop"), ("X-Hop", "1")]))
    r = t.get("/p/a?q=1", fields="Proxy-Connection: keep-alive\r\nX-Mine: yes\r\nAuthorization: Basic eDp5\r\n")
    assert r.body == BODY
    tx = s.txs[0]
    assert tx.head.start == f"RESPMOD {s.url()} ICAP/1.0", tx.head
    assert tx.head.get("Host") in (f"127.0.0.1:{s.port}", "127.0.0.1"), tx.head
    assert "204" in (tx.head.get("Allow") or "") and tx.head.get("Preview") == "1024"
    assert not tx.head.has("Transfer-Encoding") and not tx.head.has("Content-Length")
    assert tx.head.get("X-Client-IP") == "127.0.0.1"
    assert [k for k, _ in tx.encapsulated] == ["req-hdr", "res-hdr", "res-body"] and tx.encapsulated[0][1] == 0
    assert tx.raw["req-hdr"].endswith(b"\r\n\r\n") and tx.raw["res-hdr"].endswith(b"\r\n\r\n")
    assert tx.request.start == f"GET https://{t.host}/p/a?q=1 HTTP/1.1", tx.request
    assert tx.request.get("X-Mine") == "yes" and tx.request.get("Authorization") == "Basic eDp5"
    assert tx.request.get("Host") == t.host
    assert tx.response.start == "HTTP/1.1 200 OK"
    assert tx.response.all("Set-Cookie") == ["a=1", "c=3"] and tx.response.get("X-B") == "2"
    for h, names in ((tx.request, ("Proxy-Connection",)), (tx.response, ("Keep-Alive", "Connection", "X-Hop", "Transfer-Encoding"))):
        for n in names:
            assert not h.has(n), h


def test_reqmod_request(lab):
    s, o, p, t = req(lab)
    assert post(t, BODY, "/up?x", "Proxy-Authorization: Basic abc\r\nTE: trailers\r\nX-A: 1\r\n").text() == sha(BODY)
    tx = s.txs[0]
    assert tx.head.start == f"REQMOD {s.url()} ICAP/1.0"
    assert [k for k, _ in tx.encapsulated] == ["req-hdr", "req-body"]
    assert tx.request.start == f"POST https://{t.host}/up?x HTTP/1.1", tx.request
    for n in ("Proxy-Authorization", "TE", "Transfer-Encoding", "Connection"):
        assert not tx.request.has(n), tx.request
    assert tx.preview == BODY[:1024] and not tx.ieof


def test_sign_in_at_a_proxy(lab):
    """Proxy-Authorization of a plain request and of a CONNECT is in REQMOD's
    head alone (RFC 3507 4.4.2); inside a tunnel it is a mistake, and nobody
    gets it.  No origin and no log has it."""
    s = lab.icap(connect=True)
    tls, plain = lab.origin(), lab.origin(tls=None)
    p = lab.assay(services={"q": {"url": s.url("q"), "mode": "req", "connect": True}, "r": {"url": s.url("r"), "mode": "resp"}})
    word = wire.basic("amy", "secret")
    field = f"Proxy-Authorization: {word}\r\n"
    c = wire.connect(p.addr)
    lab.on_close(c.cut)
    c.send(f"GET http://plain.test:{plain.port}/p HTTP/1.1\r\nHost: plain.test:{plain.port}\r\n{field}\r\n")
    assert Response(c, "GET").status == 200
    t = wire.Tunnel(p.addr, f"www.test:{tls.port}", wire.context(p.ca), fields=field)
    lab.on_close(t.cut)
    t.host = f"www.test:{tls.port}"
    assert t.get("/t", fields=field).status == 200
    seen = [tx.head.start.split()[0] + " " + tx.request.start.split()[0] for tx in s.txs]
    assert sorted(seen) == ["REQMOD CONNECT", "REQMOD GET", "REQMOD GET", "RESPMOD GET", "RESPMOD GET"], seen
    for tx in s.txs:
        asked = tx.head.start.startswith("REQMOD") and "https:" not in tx.request.start
        assert tx.head.has("Proxy-Authorization") == asked, tx.head
        assert not tx.request.has("Proxy-Authorization"), tx.request
    for o in (tls, plain):
        assert [h.has("Proxy-Authorization") for h, _, _ in o.requests] == [False], o.requests
    assert word.split()[1] not in str(p.access(2)) + p.log()


def test_plain_url_is_absolute_too(lab):
    s = lab.icap()
    o = lab.origin(tls=None)
    p = lab.assay(services={"s": {"url": s.url(), "mode": "req"}})
    assert lab.curl(p, f"http://plain.test:{o.port}/x").status == 200
    assert s.txs[0].request.start == f"GET http://plain.test:{o.port}/x HTTP/1.1"
    assert s.txs[0].encapsulated[-1][0] == "null-body"


def test_null_body(lab):
    """No body, no chunk octet: HEAD, 204, 304, Content-Length 0, bodyless
    requests; Preview or not."""
    rows = {"/204": b"HTTP/1.1 204 No Content\r\n\r\n", "/304": b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
            "/0": ok(b""), "/head": ok(fields=[("Content-Length", 50)], length=False)}
    s, o, p, t = resp(lab, reply=lambda h, b: rows[h.start.split()[1]])
    for path in rows:
        with lab.sub(path):
            r = t.get(path, method="HEAD" if path == "/head" else "GET")
            assert r.status == int({"/204": 204, "/304": 304}.get(path, 200)), r
            tx = s.txs[-1]
            assert tx.encapsulated[-1][0] == "null-body", tx.encapsulated
            assert not tx.conn.buf, "octets behind a null-body"
    s, o, p, t = req(lab)
    assert t.get().status == 200
    assert s.txs[-1].encapsulated[-1][0] == "null-body" and not s.txs[-1].conn.buf


def test_identity_and_headers(lab):
    s, _, _, t = resp(lab, service={"identity": "none", "headers": {"X-Extra": "one", "X-Subscriber-ID": "42"}})
    assert t.get(fields="X-Client-IP: 6.6.6.6\r\n").status == 200
    tx = s.txs[0]
    assert not tx.head.has("X-Client-IP"), tx.head
    assert tx.head.get("X-Extra") == "one" and tx.head.get("X-Subscriber-ID") == "42"


def test_ipv6_service(lab):
    """Host and request line bracket an IPv6 address (RFC 3986)."""
    s = lab.icap(host="::1")
    o = lab.origin(lambda h, b: ok(BODY))
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}})
    assert lab.tunnel(p, o.port).get().body == BODY
    assert f"icap://[::1]:{s.port}/scan" in s.txs[0].head.start
    assert s.txs[0].head.get("Host", "").startswith("[::1]")


# ---------------------------------------------------------------- OPTIONS
def test_options_are_shared_and_cached(lab):
    def slow_options(tx):
        time.sleep(0.5)
        tx.answer("200 OK", fields=wire.OPTIONS)
    s = lab.icap(on_options=slow_options)
    o = lab.origin(lambda h, b: ok(BODY))
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}}, workers=1)
    tunnels = [lab.tunnel(p, o.port) for _ in range(10)]
    for t in tunnels:
        t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    for t in tunnels:
        assert Response(t).body == BODY
    assert s.options == 1, f"{s.options} OPTIONS for ten flows"
    assert not any(t.get().body != BODY for t in tunnels)
    assert s.options == 1


def test_options_ttl(lab):
    """A TTL of a second means a refresh, never an outage; counted from the
    arrival, whatever Date says."""
    s, o, p, t = resp(lab, drop=("Options-TTL",), extra=[("Options-TTL", "1"), ("Date", "Thu, 01 Jan 1998 00:00:00 GMT")])
    end = time.monotonic() + 4
    while time.monotonic() < end:
        assert t.get().body == BODY
        time.sleep(0.05)
    assert 2 <= s.options <= 12, s.options


def test_options_oddities(lab):
    """Nonsense values count as absent; missing ones have defaults; opt-body is
    read and dropped."""
    def with_body(tx):
        tx.answer("200 OK", "opt-body=0", [("Methods", "RESPMOD"), ("Opt-body-type", "X"), ("Allow", "204")], b"3\r\nabc\r\n0\r\n\r\n")
    rows = {
        "least": dict(options=[("Methods", "RESPMOD")]),
        "nonsense": dict(drop=("Preview", "Options-TTL", "Max-Connections"),
                         extra=[("Preview", "abc"), ("Options-TTL", "-5"), ("Max-Connections", "0")]),
        "opt-body": dict(on_options=with_body),
        "no Encapsulated": dict(on_options=lambda tx: tx.answer("200 OK", None, wire.OPTIONS)),
        "lower case": dict(on_options=lambda tx: tx.conn.send(
            "ICAP/1.0 200\r\nmethods: RESPMOD, REQMOD\r\nistag:\"x\"\r\nallow: 204\r\npreview:0\r\n\r\n")),
        "Preview 0": dict(drop=("Preview",), extra=[("Preview", "0")]),
        "huge preview": dict(drop=("Preview",), extra=[("Preview", "4294967295")]),
        "closes": dict(on_options=lambda tx: (tx.answer("200 OK", fields=[*wire.OPTIONS, ("Connection", "close")]), "close")[1]),
    }
    for name, kw in rows.items():
        with lab.sub(name):
            s, o, p, t = resp(lab, lambda tx: tx.echo(), **kw)
            assert t.get().body == BODY
            assert t.get().body == BODY
            p.stop()


def test_options_fail(lab):
    """No usable answer: the service is down; on_error decides."""
    rows = {"404": lambda tx: tx.answer("404 Not Found"), "500": lambda tx: tx.answer("500 Error"),
            "garbage": lambda tx: tx.conn.send("what?\r\n\r\n"), "closes": lambda tx: "close",
            "http": lambda tx: tx.conn.send("HTTP/1.1 200 OK\r\n\r\n")}
    for name, on in rows.items():
        for on_error in ("block", "bypass"):
            with lab.sub(f"{name}, {on_error}"):
                s, o, p, t = resp(lab, on_options=on, service={"on_error": on_error})
                r = t.get()
                if on_error == "block":
                    is_page(r)
                else:
                    assert r.body == BODY
                assert not s.txs
                p.stop()


def test_options_method_is_missing(lab):
    """A mismatch never silently skips a mandatory service."""
    s, o, p, t = resp(lab, drop=("Methods",), extra=[("Methods", "REQMOD")])
    r = t.get()
    assert s.txs or r.status in (502, 503), r


def test_service_comes_back(lab):
    """Down at the start; up again: served within the probe time."""
    port = lab.port()
    o = lab.origin(lambda h, b: ok(BODY))
    p = lab.assay(services={"s": {"url": f"icap://127.0.0.1:{port}/scan", "mode": "resp", "probe": "1s"}})
    t = lab.tunnel(p, o.port)
    assert t.get().status in (502, 503)
    s = lab.icap(port=port)
    assert wire.wait_for(lambda: lab.tunnel(p, o.port).get().body == BODY, 6 * e2e.lab_scale(), 0.2)
    assert s.txs


# ---------------------------------------------------------------- preview
def preview_row(lab, size, known=True):
    body = pattern(size)
    raw = ok(body) if known else b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (
        b"%x\r\n%s\r\n" % (size, body) if size else b"") + b"0\r\n\r\n"
    return body, raw


def test_preview_sizes(lab):
    """Exactly Preview octets, or all and ieof (3507 4.5); the answer 204."""
    raws = {}
    s, o, p, t = resp(lab, reply=lambda h, b: raws[h.start.split()[1]])
    for size in (1, 1023, 1024, 1025, 65536, 300000):
        for known in (True, False):
            with lab.sub(f"{size} {'known' if known else 'chunked'}"):
                body, raws["/x"] = preview_row(lab, size, known)
                r = t.get("/x")
                assert r.body == body and not r.cut, r
                tx = s.txs[-1]
                assert tx.preview == body[:1024], len(tx.preview)
                if size < 1024 or (size == 1024 and known):
                    assert tx.ieof, tx.sizes
                if size > 1024:
                    assert not tx.ieof


def test_preview_100(lab):
    """The rest begins behind the preview and ends with a plain zero chunk."""
    raws = {}

    def script(tx):
        got[:] = [tx.whole()]
        tx.no_change()
    got = []
    s, o, p, t = resp(lab, script, reply=lambda h, b: raws["/x"])
    for size in (1, 1023, 1024, 1025, 2048, 65535, 65536, 65537, 1 << 20):
        for known in (True, False):
            with lab.sub(f"{size} {'known' if known else 'chunked'}"):
                body, raws["/x"] = preview_row(lab, size, known)
                r = t.get("/x")
                assert sha(r.body) == sha(body), r
                assert sha(got[0]) == sha(body)
                assert s.txs[-1].ieof or b"ieof" not in s.txs[-1].sizes[-1]


def test_preview_of_an_upload(lab):
    def script(tx):
        tx.whole()
        tx.no_change()
    s, o, p, t = req(lab, script)
    for size in (1, 1023, 1024, 1025, 65536, 1 << 20):
        with lab.sub(size):
            assert post(t, pattern(size)).text() == sha(pattern(size))
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + b"800\r\n" + pattern(2048) + b"\r\n0\r\n\r\n")
    assert Response(t).text() == sha(pattern(2048))


def test_preview_off(lab):
    s, o, p, t = resp(lab, lambda tx: (tx.read_rest(), tx.no_change())[1], service={"preview": "off"})
    assert t.get().body == BODY
    assert not s.txs[0].head.has("Preview") and s.txs[0].rest == BODY


def test_preview_bytes(lab):
    """The smaller of ours and the service's."""
    s, o, p, t = resp(lab, service={"preview": 100})
    assert t.get().body == BODY
    assert s.txs[0].head.get("Preview") == "100" and s.txs[0].preview == BODY[:100]


def test_preview_zero(lab):
    s, o, p, t = resp(lab, lambda tx: tx.echo(), drop=("Preview",), extra=[("Preview", "0")])
    assert t.get().body == BODY
    assert s.txs[0].head.get("Preview") == "0" and s.txs[0].preview == b""


def test_hundred_after_ieof(lab):
    """Erratum 5893: ignored."""
    def script(tx):
        tx.cont()
        time.sleep(0.1)
        tx.no_change()
    s, o, p, t = resp(lab, script, body=b"short")
    assert t.get().body == b"short"
    assert t.get().body == b"short"


def test_hundred_too_early(lab):
    """A 100 before the preview is out is remembered."""
    def early(conn):
        while conn.fill() if not conn.buf else True:
            head = conn.head()
            if head.start.startswith("OPTIONS"):
                conn.send("ICAP/1.0 200 OK\r\nISTag: \"a\"\r\nMethods: RESPMOD\r\nPreview: 1024\r\nAllow: 204\r\nEncapsulated: null-body=0\r\n\r\n")
                continue
            conn.send("ICAP/1.0 100 Continue\r\n\r\n")
            n = int(head.get("Encapsulated").rsplit("=", 1)[1])
            conn.exact(n)
            conn.chunked()
            got.append(conn.chunked())
            conn.send("ICAP/1.0 204 No\r\nISTag: \"a\"\r\n\r\n")
    got = []
    s = lab.server(early)
    o = lab.origin(lambda h, b: ok(BODY))
    p = lab.assay(services={"s": {"url": f"icap://127.0.0.1:{s.port}/x", "mode": "resp"}})
    assert lab.tunnel(p, o.port).get().body == BODY
    assert got == [BODY[1024:]]


def test_transfer_ignore(lab):
    """By the extension of the path, never of the query; a hint at most."""
    s, o, p, t = resp(lab, lambda tx: tx.block(), drop=("Transfer-Preview",), extra=[("Transfer-Preview", "*"), ("Transfer-Ignore", "gif")])
    assert t.get("/evil.exe?.gif").status == 403, "an attacker's query switched the service off"


# ----------------------------------------------------------------- answers
def test_204_of_any_size(lab):
    """Allow: 204 outside the preview, for a body beyond any buffer."""
    body = pattern(20 << 20)

    def script(tx):
        tx.whole()
        tx.no_change()
    s, o, p, t = resp(lab, script, body=body)
    assert sha(t.get().body) == sha(body)


def test_204_early(lab):
    """Without preview, before the body was sent whole (Skyhigh): the original
    is delivered and the next flow is in step."""
    body = pattern(3 << 20)

    def script(tx):
        tx.no_change()
        tx.read_rest()
    s, o, p, t = resp(lab, script, body=body, service={"preview": "off"})
    assert sha(t.get().body) == sha(body)
    assert sha(t.get().body) == sha(body)


def test_200_at_the_preview(lab):
    """The adapted message; the rest of the body is not sent."""
    s, o, p, t = resp(lab, lambda tx: tx.modified("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-New: 1\r\n\r\n", b"changed"))
    r = t.get()
    assert r.body == b"changed" and r.get("X-New") == "1" and not r.cut
    assert not s.txs[0].rest
    assert t.get().body == b"changed"


def test_200_behind_the_body(lab):
    def script(tx):
        body = tx.whole()
        tx.modified("HTTP/1.1 200 OK\r\nX-New: 1\r\n\r\n", body[::-1])
    s, o, p, t = resp(lab, script)
    assert t.get().body == BODY[::-1]


def test_201_is_200(lab):
    def script(tx):
        head = b"HTTP/1.1 200 OK\r\n\r\n"
        tx.answer("201 Created", f"res-hdr=0, res-body={len(head)}", (), head + b"3\r\nnew\r\n0\r\n\r\n")
    assert resp(lab, script)[3].get().body == b"new"


def test_echo_full_duplex(lab):
    """A service that answers while it reads: 20 MB, no deadlock."""
    body = pattern(20 << 20)

    def script(tx):
        head = tx.raw["res-hdr"]
        tx.answer("200 OK", f"res-hdr=0, res-body={len(head)}", (), head)
        c = tx.conn
        while True:
            line = c.until(b"\r\n")
            n = int(line.split(b";")[0], 16)
            if n == 0:
                c.exact(2)
                break
            c.send(line + c.exact(n + 2))
        c.send(b"0\r\n\r\n")
    s, o, p, t = resp(lab, script, body=body, service={"preview": "off", "timeout": "20s"})
    assert sha(t.get().body) == sha(body)


def test_200_while_sending(lab):
    """3507 e7: an answer that comes in the middle of the body counts."""
    body = pattern(8 << 20)

    def script(tx):
        tx.conn.exact(100000)
        tx.modified("HTTP/1.1 403 Forbidden\r\n\r\n", b"enough")
        return "close"
    s, o, p, t = resp(lab, script, body=body, service={"preview": "off"})
    r = t.get()
    assert (r.status, r.body) == (403, b"enough") and not r.cut, r


def test_wrong_content_length(lab):
    """A kept old length is the most frequent fault of services: the chunks
    win, or the end is visibly broken; never a wrong length passed on."""
    rows = {"too long": (5000, b"x" * 100), "too short": (10, b"x" * 100), "of an empty body": (5000, b"")}
    for name, (said, body) in rows.items():
        with lab.sub(name):
            s, o, p, t = resp(lab, lambda tx: tx.modified(f"HTTP/1.1 200 OK\r\nContent-Length: {said}\r\n\r\n", body))
            r = t.get()
            assert r.cut or r.status >= 500 or r.body == body, r
            if not r.cut and r.status == 200:
                assert t.get().status == 200, "out of step"
            p.stop()


def test_wrong_length_of_a_request(lab):
    """In REQMOD a wrong length would smuggle requests."""
    evil = b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n"

    def script(tx):
        tx.whole()
        tx.modified(f"POST https://{t.host}/ HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 3\r\nTransfer-Encoding: gzip\r\n\r\n", b"abc" + evil, "req")
    s, o, p, t = req(lab, script)
    r = post(t, b"hello")
    assert len(o.requests) <= 1 and not any("/evil" in h.start for h, _, _ in o.requests)
    if r.status == 200:
        assert o.requests[0][1] == b"abc" + evil


def test_adapted_framing_fields(lab):
    """Hop-by-hop fields of an adapted head are dropped."""
    s, o, p, t = resp(lab, lambda tx: tx.modified("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Z\r\nX-Z: 1\r\nKeep-Alive: 3\r\nX-K: 1\r\n\r\n", b"new"))
    r = t.get()
    assert r.body == b"new" and not r.head.has("X-Z") and not r.head.has("Keep-Alive") and r.get("X-K") == "1"
    assert t.get().body == b"new"


def test_icap_fields_stay_here(lab):
    s, o, p, t = resp(lab, lambda tx: tx.modified("HTTP/1.1 200 OK\r\n\r\n", b"new", fields=[("X-Infection-Found", "Type=0; Resolution=1; Threat=Lab;"), ("X-Secret", "1")]))
    r = t.get()
    assert not r.head.has("X-Secret") and not r.head.has("ISTag") and not r.head.has("X-Infection-Found") and not r.head.has("Encapsulated")


def test_no_body_for_head(lab):
    """Whatever the service encapsulates for HEAD, 204, 304."""
    rows = {"/204": b"HTTP/1.1 204 No Content\r\n\r\n", "/304": b"HTTP/1.1 304 Not Modified\r\n\r\n", "/head": ok(b"", [("X", "1")]), "/get": ok(BODY)}

    def script(tx):
        if "/get" in tx.request.start:
            tx.no_change()
        else:
            tx.modified(tx.response.start + "\r\n\r\n", b"surprise")
    s, o, p, t = resp(lab, script, reply=lambda h, b: rows[h.start.split()[1]])
    for path in ("/204", "/304", "/head"):
        with lab.sub(path):
            t = lab.tunnel(p, o.port)
            t.get(path, method="HEAD" if path == "/head" else "GET")
            assert t.get("/get").body == BODY, "out of step"


def test_null_body_with_length(lab):
    s, o, p, t = resp(lab, lambda tx: tx.modified("HTTP/1.1 200 OK\r\nContent-Length: 77\r\nX-E: 1\r\n\r\n", None))
    r = t.get()
    assert r.status >= 500 or (r.body == b"" and not r.cut) or r.body == BODY, r
    assert t.get().status == r.status


def test_zero_encapsulated_200(lab):
    """c-icap can say 200 with nothing instead of 204: the original or a
    failure, never an empty page."""
    s, o, p, t = resp(lab, lambda tx: tx.answer("200 OK", "res-hdr=0, null-body=0"))
    r = t.get()
    assert r.body == BODY or r.status >= 500, r


def test_body_without_head(lab):
    """res-body=0 alone: the old head and the new body, or a failure; never the
    old body."""
    s, o, p, t = resp(lab, lambda tx: tx.answer("200 OK", "res-body=0", (), b"3\r\nnew\r\n0\r\n\r\n"))
    r = t.get()
    assert r.body == b"new" or r.status >= 500, r


def test_chunk_forms(lab):
    """Upper case, leading zeros, extensions, ieof, trailers: all legal."""
    forms = [b"3\r\nnew\r\n0\r\n\r\n", b"0003\r\nnew\r\n000\r\n\r\n", b"3;a=b;c=\"d;e\"\r\nnew\r\n0; ieof\r\n\r\n",
             b"1\r\nn\r\n2\r\new\r\n0\r\nX-T: 1\r\n\r\n", b"A\r\n0123456789\r\n0\r\n\r\n"]
    n = [0]

    def script(tx):
        head = b"HTTP/1.1 200 OK\r\n\r\n"
        tx.answer("200 OK", f"res-hdr=0, res-body={len(head)}", (), head + forms[n[0]])
    s, o, p, t = resp(lab, script)
    for i, f in enumerate(forms):
        with lab.sub(f):
            n[0] = i
            assert t.get().body == (b"0123456789" if i == 4 else b"new")


def test_answer_in_single_bytes(lab):
    head = b"HTTP/1.1 200 OK\r\nX-Q: 123\r\n\r\n"
    raw = (b"ICAP/1.0 200 OK\r\nISTag: \"x\"\r\nX-Violations-Found: 1\r\n\tfile\r\n  threat\r\n"
           b"Encapsulated: res-hdr=0, res-body=%d\r\n\r\n" % len(head) + head + b"3\r\nnew\r\n0\r\n\r\n")

    def script(tx):
        for i in range(len(raw)):
            tx.conn.send(raw[i:i + 1])
    s, o, p, t = resp(lab, script)
    assert t.get().body == b"new"
    assert t.get().body == b"new"


# ------------------------------------------------------------------ REQMOD
def test_reqmod_response(lab):
    """A response to REQMOD: the request is satisfied, the origin not asked."""
    s, o, p, t = req(lab, lambda tx: tx.block("not you"))
    r = post(t, BODY)
    assert (r.status, r.body) == (403, b"not you")
    assert not o.requests and not any(c.seen for c in o.conns), "the origin got octets"
    t = lab.tunnel(p, o.port)
    assert t.get().status == 403


def test_reqmod_redirect(lab):
    s, o, p, t = req(lab, lambda tx: tx.modified("HTTP/1.1 302 Found\r\nLocation: https://other.test/\r\nContent-Length: 0\r\n\r\n", None))
    r = t.get()
    assert r.status == 302 and r.get("Location") == "https://other.test/" and not o.requests


def test_reqmod_modified(lab):
    """The origin gets the changed head and the changed body."""
    def script(tx):
        body = tx.whole()
        tx.modified(f"PUT https://{t.host}/new?x=1 HTTP/1.1\r\nHost: {t.host}\r\nX-Added: 1\r\nContent-Length: {len(body)}\r\n\r\n", body.upper(), "req")
    s, o, p, t = req(lab, script)
    assert post(t, b"hello world").text() == sha(b"HELLO WORLD")
    head = o.requests[0][0]
    assert head.start == "PUT /new?x=1 HTTP/1.1" and head.get("X-Added") == "1" and head.get("Host") == t.host


def test_reqmod_adds_and_drops_a_body(lab):
    def script(tx):
        if tx.request.start.startswith("GET"):
            tx.modified(f"POST https://{t.host}/ HTTP/1.1\r\nHost: {t.host}\r\n\r\n", b"added", "req")
        else:
            tx.whole()
            tx.modified(f"GET https://{t.host}/dropped HTTP/1.1\r\nHost: {t.host}\r\n\r\n", None, "req")
    s, o, p, t = req(lab, script)
    assert t.get().text() == sha(b"added")
    assert post(t, BODY).text() == sha(b"")
    assert [h.start.split()[0] for h, _, _ in o.requests] == ["POST", "GET"]


def test_reqmod_other_host_inside(lab):
    """In an intercepted flow another host needs a verified connection of its
    own, or is refused; the request never goes to the wrong one."""
    def script(tx):
        tx.modified(f"GET https://other.test:{o.port}/moved HTTP/1.1\r\nHost: other.test:{o.port}\r\n\r\n", None, "req")
    s, o, p, t = req(lab, script)
    r = t.get()
    if r.status == 200:
        assert [c.sni for _, _, c in o.requests] == ["other.test"]
    else:
        assert r.status in (403, 421, 502) and not o.requests, r


def test_reqmod_hostile_request(lab):
    """A service's head is distrusted like any sender's."""
    rows = {"NUL": "GET https://{h}/ HTTP/1.1\r\nHost: {h}\r\nX: a\0b\r\n\r\n",
            "no request line": "HELLO\r\n\r\n",
            "injection": "GET https://{h}/ HTTP/1.1\r\nHost: {h}\nX-Inj: 1\r\n\r\n",
            "two lengths": "GET https://{h}/ HTTP/1.1\r\nHost: {h}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "CONNECT": "CONNECT {h} HTTP/1.1\r\nHost: {h}\r\n\r\n",
            "other scheme": "GET gopher://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n"}
    for name, head in rows.items():
        with lab.sub(name):
            s, o, p, t = req(lab, lambda tx: tx.modified(head.replace("{h}", t.host), None, "req"))
            r = t.get()
            assert r.status >= 400 and not o.requests, (r, o.requests)
            p.stop()


def test_reqmod_expect(lab):
    """A client that waits for 100 while REQMOD wants the body: assay says 100
    itself, or both wait for ever."""
    def script(tx):
        tx.whole()
        tx.no_change()
    s, o, p, t = req(lab, script)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert t.head().start.startswith("HTTP/1.1 100")
    t.send("hello")
    assert Response(t).text() == sha(b"hello")


# ---------------------------------------------------------------- failures
ERRORS = {
    **{f"status {c}": (lambda c: lambda tx: tx.answer(f"{c} No"))(c)
       for c in (302, 400, 404, 405, 408, 418, 500, 501, 502, 505, 551, 558, 299, 206)},
    "bare error line": lambda tx: tx.conn.send("ICAP/1.0 500 Server error\r\n\r\n"),
    "200 without Encapsulated": lambda tx: tx.answer("200 OK", None),
    "HTTP": lambda tx: tx.conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "garbage": lambda tx: tx.conn.send(bytes(range(200)) + b"\r\n\r\n"),
    "ICAP/2.0": lambda tx: tx.conn.send("ICAP/2.0 204 No\r\nISTag: \"x\"\r\n\r\n"),
    "endless 100": lambda tx: tx.conn.send("ICAP/1.0 100 Continue\r\n\r\n" * 500),
    "endless head": lambda tx: tx.conn.send("ICAP/1.0 204 No\r\n" + ("X: " + "y" * 1000 + "\r\n") * 3000 + "\r\n"),
    "closes": lambda tx: "close",
    "half a head": lambda tx: (tx.conn.send("ICAP/1.0 204 No"), "close")[1],
    "descending offsets": lambda tx: tx.answer("200 OK", "res-hdr=19, res-body=0", (), b"HTTP/1.1 200 OK\r\n\r\n3\r\nnew\r\n0\r\n\r\n"),
    "overflowing offset": lambda tx: tx.answer("200 OK", "res-hdr=0, res-body=99999999999999999999", (), b"HTTP/1.1 200 OK\r\n\r\n3\r\nnew\r\n0\r\n\r\n"),
    "negative offset": lambda tx: tx.answer("200 OK", "res-hdr=0, res-body=-5", (), b"HTTP/1.1 200 OK\r\n\r\n3\r\nnew\r\n0\r\n\r\n"),
    "no status line": lambda tx: tx.modified(b"nonsense\r\n\r\n", b"new", "res"),
    "NUL in the head": lambda tx: tx.modified(b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", b"new", "res"),
    "two lengths in the head": lambda tx: tx.modified("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", b"new"),
    "negative length in the head": lambda tx: tx.modified("HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", b"new"),
    "request instead of response": lambda tx: tx.modified("GET / HTTP/1.1\r\nHost: x\r\n\r\n", None, "req"),
}


def run_errors(lab, on_error):
    act = [None]
    s = lab.icap(lambda tx: act[0](tx))
    o = lab.origin(lambda h, b: ok(BODY, [("X-Origin", "1")]))
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "on_error": on_error, "timeout": "3s", "probe": "1s",
                                  "cache": "off"}}, workers=1)
    for name, f in ERRORS.items():
        with lab.sub(name):
            act[0] = lambda tx: tx.no_change()
            t = lab.tunnel(p, o.port)
            n = len(s.txs)
            assert wire.wait_for(lambda: lab.tunnel(p, o.port).get().body == BODY and len(s.txs) > n, 8, 0.1), \
                "the service does not come back after the row before"
            act[0] = f
            n = len(s.txs)
            r = t.get()
            assert len(s.txs) > n, "the service was not asked"
            if on_error == "block":
                is_page(r)
                assert not r.head.has("X-Origin")
            else:
                assert r.status == 200 and r.body == BODY and not r.cut, r


def test_errors_block(lab):
    run_errors(lab, "block")


def test_errors_bypass(lab):
    run_errors(lab, "bypass")


def test_reqmod_errors(lab):
    """on_error: block in REQMOD: nothing reaches the origin."""
    rows = {"500": lambda tx: tx.answer("500 No"), "closes": lambda tx: "close", "garbage": lambda tx: tx.conn.send("?\r\n\r\n")}
    for name, act in rows.items():
        for on_error in ("block", "bypass"):
            with lab.sub(f"{name}, {on_error}"):
                s, o, p, t = req(lab, act, service={"on_error": on_error})
                r = post(t, BODY)
                if on_error == "block":
                    assert r.status in (502, 503, 504) and not o.requests and not any(c.seen for c in o.conns), r
                else:
                    assert r.text() == sha(BODY), r
                p.stop()


def test_fail_open_behind_the_body(lab):
    """Bypass covers every failure before an adapted octet left: also after 100
    and the whole body."""
    body = pattern(3 << 20)

    def script(tx):
        tx.whole()
        return "close"
    s, o, p, t = resp(lab, script, body=body, service={"on_error": "bypass"})
    assert sha(t.get().body) == sha(body)


def adapted_part(tx, reset=False):
    """Half an adapted body, and the end of the connection."""
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    tx.answer("200 OK", f"res-hdr=0, res-body={len(head)}", (), head + b"10000\r\n" + b"adapted " * 8192 + b"\r\n")
    time.sleep(0.3)
    if reset:
        tx.conn.reset()
    return "close"


def test_cut_in_the_adapted_body(lab):
    """Visibly incomplete under either policy; never topped up with original
    octets, never a clean end (icap.md 8)."""
    for on_error in ("block", "bypass"):
        for reset in (False, True):
            with lab.sub(f"{on_error}, reset {reset}"):
                s, o, p, t = resp(lab, lambda tx: adapted_part(tx, reset), body=SECRET * 10000, service={"on_error": on_error})
                try:
                    r = t.get()
                except wire.Ended:
                    continue
                if r.status == 200:
                    mixed = b"adapted" in r.body and SECRET in r.body
                    whole_original = r.body == SECRET * 10000 and on_error == "bypass"
                    assert not mixed, "a half-adapted body"
                    assert r.cut or whole_original, "a cut looks whole"
                else:
                    is_page(r)
                p.stop()


def test_bad_chunks_in_the_adapted_body(lab):
    for raw in (b"-3\r\nnew\r\n0\r\n\r\n", b"0x3\r\nnew\r\n0\r\n\r\n", b"3\r\nnewX\r\n0\r\n\r\n", b"3 3\r\nnew\r\n0\r\n\r\n",
                b"fffffffffffffffff\r\nnew\r\n", b"zz\r\n", b"3\nnew\n0\n\n"):
        with lab.sub(raw):
            def script(tx):
                head = b"HTTP/1.1 200 OK\r\n\r\n"
                tx.answer("200 OK", f"res-hdr=0, res-body={len(head)}", (), head + b"5\r\nfirst\r\n" + raw)
            s, o, p, t = resp(lab, script)
            try:
                r = t.get()
                assert r.cut or r.status >= 500, r
            except wire.Ended:
                pass
            p.stop()


def test_killed_before(lab):
    """Nobody listens: block is a page, bypass the original."""
    for on_error in ("block", "bypass"):
        with lab.sub(on_error):
            o = lab.origin(lambda h, b: ok(BODY))
            p = lab.assay(services={"s": {"url": f"icap://127.0.0.1:{lab.port()}/x", "mode": "resp", "on_error": on_error}})
            r = lab.tunnel(p, o.port).get()
            if on_error == "block":
                is_page(r)
            else:
                assert r.body == BODY


def test_silent_service(lab):
    """timeout is silence: 504 page, or the original."""
    for on_error in ("block", "bypass"):
        with lab.sub(on_error):
            s, o, p, t = resp(lab, lambda tx: (tx.conn.silent(30), "close")[1], service={"on_error": on_error, "timeout": "2s"})
            started = time.monotonic()
            r = t.get()
            took = time.monotonic() - started
            if on_error == "block":
                is_page(r)
                assert r.status == 504, r
            else:
                assert r.body == BODY
            assert 1.5 < took < 8 * e2e.lab_scale(), took
            p.stop()


def test_slow_service_is_no_error(lab):
    """The timeout is without progress: a service may drip for longer."""
    def script(tx):
        body = tx.whole()
        head = b"HTTP/1.1 200 OK\r\n\r\n"
        tx.answer("200 OK", f"res-hdr=0, res-body={len(head)}", (), head)
        for i in range(0, len(body), 1000):
            time.sleep(0.8)
            tx.conn.send(b"%x\r\n%s\r\n" % (len(body[i:i + 1000]), body[i:i + 1000]))
        tx.conn.send(b"0\r\n\r\n")
    s, o, p, t = resp(lab, script, service={"timeout": "2s"})
    assert t.get().body == BODY


def test_mute_connect(lab):
    """connect_timeout: a service whose backlog is full."""
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(0)
    fill = [socket.socket() for _ in range(4)]
    for f in fill:
        f.setblocking(False)
        f.connect_ex(s.getsockname())
    o = lab.origin(lambda h, b: ok(BODY))
    p = lab.assay(services={"s": {"url": f"icap://127.0.0.1:{s.getsockname()[1]}/x", "mode": "resp", "connect_timeout": "1s", "timeout": "2s"}})
    started = time.monotonic()
    is_page(lab.tunnel(p, o.port).get())
    assert time.monotonic() - started < 10 * e2e.lab_scale()
    for f in fill:
        f.close()
    s.close()


def test_busy(lab):
    """ICAP 503 is overload: on_busy decides."""
    for on_busy in ("block", "bypass"):
        with lab.sub(on_busy):
            s, o, p, t = resp(lab, lambda tx: tx.answer("503 Overloaded"), service={"on_busy": on_busy})
            r = t.get()
            if on_busy == "block":
                is_page(r)
                assert r.status == 503, r
            else:
                assert r.body == BODY
            p.stop()


def test_max_connections(lab):
    """The service's limit holds for the whole process; flows wait."""
    state = {"now": 0, "most": 0}
    lock = threading.Lock()

    def script(tx):
        with lock:
            state["now"] += 1
            state["most"] = max(state["most"], state["now"])
        time.sleep(0.15)
        with lock:
            state["now"] -= 1
        tx.no_change()
    s, o, p, t = resp(lab, script, drop=("Max-Connections",), extra=[("Max-Connections", "2")])
    tunnels = [lab.tunnel(p, o.port) for _ in range(12)]
    for t in tunnels:
        t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    for t in tunnels:
        assert Response(t).body == BODY
    assert state["most"] <= 2, f"{state['most']} at a time"
    assert sum(1 for c in s.conns if not c.ended) <= 3


def test_failover(lab):
    """The first address is dead: the second is asked, nobody notices."""
    s = lab.icap()
    o = lab.origin(lambda h, b: ok(BODY))
    p = lab.assay(services={"s": {"url": [f"icap://127.0.0.1:{lab.port()}/scan", s.url()], "mode": "resp", "cache": "off"}})
    t = lab.tunnel(p, o.port)
    for _ in range(5):
        assert t.get().body == BODY
    assert len(s.txs) == 5


def test_round_robin(lab):
    a, b = lab.icap(), lab.icap()
    o = lab.origin(lambda h, x: ok(BODY))
    p = lab.assay(services={"s": {"url": [a.url(), b.url()], "mode": "resp", "balance": "round_robin", "cache": "off"}}, workers=1)
    t = lab.tunnel(p, o.port)
    # the one whose OPTIONS comes later gets nothing until then
    assert wire.wait_for(lambda: t.get().body == BODY and a.txs and b.txs, 10), (len(a.txs), len(b.txs))
    for _ in range(10):
        assert t.get().body == BODY
    assert len(a.txs) >= 3 and len(b.txs) >= 3, (len(a.txs), len(b.txs))


# -------------------------------------------------------------- connections
def test_client_connection_is_kept(lab):
    """An upload that was scanned, or echoed, costs no client connection."""
    for name, script in (("204", lambda tx: (tx.whole(), tx.no_change())[1]), ("echo", lambda tx: tx.echo())):
        with lab.sub(name):
            s, o, p, t = req(lab, script)
            for n in (1, 1024, 1025, 100000, 0, 1024):
                assert post(t, pattern(n)).text() == sha(pattern(n)), n
            p.stop()


def test_connections_are_kept(lab):
    s, o, p, t = resp(lab)
    for _ in range(20):
        assert t.get().body == BODY
    assert s.accepted <= 3, f"{s.accepted} connections for twenty flows in a row"


def test_connection_close(lab):
    """Connection: close is obeyed."""
    def script(tx):
        tx.answer("204 No", fields=[("Connection", "close")])
        tx.conn.silent(0.3)
        return "close"
    s, o, p, t = resp(lab, script, service={"cache": "off"})
    for _ in range(5):
        assert t.get().body == BODY
    assert len({tx.conn for tx in s.txs}) == 5


def test_stray_octets(lab):
    """What comes behind an answer would answer the next request: that
    connection is done."""
    def script(tx):
        head = b"HTTP/1.1 200 OK\r\n\r\n"
        stray = f"ICAP/1.0 200 OK\r\nISTag: \"x\"\r\nEncapsulated: res-hdr=0, res-body={len(head)}\r\n\r\n".encode() + head + b"4\r\nevil\r\n0\r\n\r\n"
        tx.answer("204 No", rest=stray)
    s, o, p, t = resp(lab, script)
    for _ in range(5):
        r = t.get()
        assert r.body == BODY, r
        time.sleep(0.05)


def test_idle_connections_closed_by_the_server(lab):
    """c-icap closes idle connections without a word: no flow fails."""
    def script(tx):
        tx.no_change()
        return "close"
    s, o, p, t = resp(lab, script)
    for i in range(20):
        r = t.get()
        assert r.body == BODY, (i, r)
        time.sleep(0.01 * (i % 3))


def test_race_on_reuse(lab):
    """A kept connection dies with the request in flight and no octet back:
    repeated once on a fresh one."""
    first = []

    def script(tx):
        if tx.conn.number in first:
            return "close"          # the second request of a connection
        first.append(tx.conn.number)
        tx.no_change()
    s, o, p, t = resp(lab, script)
    for i in range(6):
        r = t.get()
        assert r.body == BODY, (i, r)


def test_unasked_408(lab):
    """An unasked 408 on an idle connection: the connection is dropped."""
    def script(tx):
        tx.no_change()
        time.sleep(0.1)
        tx.conn.send("ICAP/1.0 408 Request Timeout\r\n\r\n")
        return "close"
    s, o, p, t = resp(lab, script)
    for i in range(5):
        assert t.get().body == BODY, i
        time.sleep(0.2)


# ------------------------------------------------------ the far ends' faults
def test_origin_cut(lab):
    """The service's body is not ended as if it were whole, and the client sees
    an incomplete message."""
    ends = []

    def script(tx):
        try:
            tx.whole()
            ends.append("whole")
        except wire.Ended:
            ends.append("cut")
            raise
        tx.no_change()
    rows = {"length": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + pattern(50000),
            "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nC350\r\n" + pattern(50000) + b"\r\n"}
    for name, raw in rows.items():
        with lab.sub(name):
            def reply(head, body):
                return lambda conn: (conn.send(raw), "close")[1]
            s, o, p, t = resp(lab, script, reply=reply)
            try:
                r = t.get()
                assert r.cut or r.status == 502, r
            except wire.Ended:
                pass
            wire.wait_for(lambda: ends, 5)
            assert "whole" not in ends, "the service got a clean end of a cut body"
            ends.clear()
            p.stop()


def test_client_cut_in_upload(lab):
    """The client breaks off: neither the service nor the origin gets a whole
    body."""
    ends = []

    def script(tx):
        try:
            tx.whole()
            ends.append("whole")
            tx.no_change()
        except wire.Ended:
            ends.append("cut")
            raise
    s, o, p, t = req(lab, script)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 100000\r\n\r\n".encode() + pattern(5000))
    wire.wait_for(lambda: s.txs or s.conns, 5)
    time.sleep(0.2)
    t.cut()
    wire.wait_for(lambda: ends, 5)
    assert ends == ["cut"], ends
    assert not o.requests


def test_client_gone(lab):
    """The transaction is dropped at once: scanners have few slots."""
    gone = []

    def script(tx):
        started = time.monotonic()
        tx.conn.silent(10)
        gone.append(time.monotonic() - started)
        return "close"
    s, o, p, t = resp(lab, script, service={"timeout": "20s"})
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    assert wire.wait_for(lambda: s.txs, 5)
    t.cut()
    assert wire.wait_for(lambda: gone, 6 * e2e.lab_scale()) and gone[0] < 5, gone


def test_client_gone_at_once(lab):
    """The same where the whole request was there when its connection was taken."""
    go = threading.Event()

    def script(tx):
        assert go.wait(60)
        tx.no_change()
    s = lab.icap(script, connect=True)
    o = lab.origin(lambda h, b: ok(BODY))
    for name, start in (("GET", f"GET http://127.0.0.1:{o.port}/"), ("CONNECT", f"CONNECT www.test:{o.port}")):
        for how in ("close", "reset", "stays"):
            with lab.sub(f"{name}, {how}"):
                go.clear()
                p = lab.assay(services={"s": {"url": s.url(), "mode": "req", "connect": True, "timeout": "60s"}}, workers=1)

                def held():
                    return len(os.listdir(f"/proc/{p.serving()}/fd"))
                before, n = held(), len(s.txs)
                os.kill(p.serving(), signal.SIGSTOP)
                clients = [wire.connect(p.addr) for _ in range(5)]
                for c in clients:
                    c.send(f"{start} HTTP/1.1\r\nHost: www.test\r\n\r\n")
                os.kill(p.serving(), signal.SIGCONT)
                assert wire.wait_for(lambda: len(s.txs) == n + 5, 20)
                assert held() >= before + 9
                if how == "stays":
                    time.sleep(1.5)
                    assert held() >= before + 9, "who waits is served"
                else:
                    for c in clients:
                        c.reset() if how == "reset" else c.cut()
                    assert wire.wait_for(lambda: held() <= before + 2, 20), (before, held())
                go.set()
                for c in clients if how == "stays" else ():
                    assert Response(c, name).status in (200, 502)
                    c.cut()
                p.stop()


def test_max_body(lab):
    """over_max says what a larger body gets; bypass once its begin was
    scanned."""
    for over, size, want in (("bypass", 20000, 200), ("block", 20000, (403, 413, 502)), ("block", 5000, 200)):
        with lab.sub(f"{over} {size}"):
            s, o, p, t = resp(lab, body=pattern(size), service={"max_body": "10K", "over_max": over})
            r = t.get()
            assert r.status == want or (isinstance(want, tuple) and r.status in want), r
            if r.status == 200:
                assert r.body == pattern(size)
            assert bool(s.txs) == (size < 10000 or over == "bypass")
            p.stop()


def test_both_ways(lab):
    """REQMOD and RESPMOD of one flow, two services."""
    a = lab.icap(lambda tx: tx.modified(tx.raw["req-hdr"].replace(b"\r\n\r\n", b"\r\nX-Req: 1\r\n\r\n"), tx.whole() if tx.has_body else None, "req"))
    b = lab.icap(lambda tx: tx.modified(tx.raw["res-hdr"].replace(b"\r\n\r\n", b"\r\nX-Resp: 1\r\n\r\n"), tx.whole(), "res"))
    o = lab.origin(lambda h, x: ok(BODY))
    p = lab.assay(services={"a": {"url": a.url(), "mode": "req"}, "b": {"url": b.url(), "mode": "resp"}})
    r = lab.tunnel(p, o.port).get()
    assert r.body == BODY and r.get("X-Resp") == "1" and o.requests[0][0].get("X-Req") == "1"
    assert b.txs[0].request.get("X-Req") == "1", "RESPMOD tells the request as it was sent"


def test_interim_is_not_vectored(lab):
    s, o, p, t = resp(lab, reply=lambda h, b: b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + ok(BODY))
    r = t.get()
    assert r.body == BODY and len(s.txs) == 1 and " 200 " in s.txs[0].response.start


def test_log_record(lab):
    """Who decided what: service, endpoint, outcome, threat."""
    s, o, p, t = resp(lab, lambda tx: tx.block(fields=[("X-Infection-Found", "Type=0; Resolution=2; Threat=Lab.Virus;")]))
    assert t.get().status == 403
    rec = [r for r in p.access(1) if e2e.field(r, "assay.scan")]
    assert rec, p.access(1)
    scan = e2e.field(rec[0], "assay.scan")[0]
    assert scan["service"] == "s" and str(s.port) in scan["endpoint"] and scan["mode"] == "resp", scan
    assert "block" in str(scan["outcome"]) and scan.get("threat") == "Lab.Virus", scan
    assert scan["ms"] >= 0 and "bytes" in scan
    assert "block" in e2e.field(rec[0], "assay.verdict")
