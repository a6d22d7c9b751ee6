# SPDX-License-Identifier: GPL-2.0-or-later
"""HTTP/1 on both legs: what passes, and how it is framed (RFC 9110, 9112)."""
import time

import lab as e2e
import wire
from lab import pattern, sha
from wire import Response, ok


def plain(lab, reply=None, **conf):
    """A plain origin, assayd before it, a client connection, the URL."""
    o = lab.origin(reply, tls=None)
    p = lab.assay(**conf)
    return o, p, lab.connect(p), f"http://plain.test:{o.port}"


def inside(lab, reply=None, tls="www.test", **conf):
    """A TLS origin, assayd before it, a client in its tunnel."""
    o = lab.origin(reply, tls=tls)
    p = lab.assay(**conf)
    return o, p, lab.tunnel(p, o.port)


def test_get_plain(lab):
    o, _, c, url = plain(lab)
    c.send(f"GET {url}/a%20b?q=1&x=%41 HTTP/1.1\r\nHost: ignored.test\r\nX-A: 1\r\n\r\n")
    r = Response(c)
    assert (r.status, r.body) == (200, b"hello\n"), r
    head = o.requests[0][0]
    assert head.start == "GET /a%20b?q=1&x=%41 HTTP/1.1", head
    assert head.all("Host") == [f"plain.test:{o.port}"], "RFC 9112 3.2.2: Host comes from the target"
    assert head.get("X-A") == "1"


def test_get_empty_path(lab):
    o, _, c, url = plain(lab)
    c.send(f"GET {url} HTTP/1.1\r\nHost: plain.test:{o.port}\r\n\r\n")
    assert Response(c).status == 200
    assert o.requests[0][0].start == "GET / HTTP/1.1"
    c.send(f"OPTIONS {url} HTTP/1.1\r\nHost: plain.test:{o.port}\r\n\r\n")
    assert Response(c).status == 200
    assert o.requests[1][0].start == "OPTIONS * HTTP/1.1", o.requests[1][0]     # RFC 9112 3.2.4


def test_post_plain(lab):
    o, _, c, url = plain(lab)
    body = pattern(70000)
    c.send(f"POST {url}/ HTTP/1.1\r\nHost: plain.test\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    assert Response(c).status == 200
    assert sha(o.requests[0][1]) == sha(body)


def test_head_plain(lab):
    o, _, c, url = plain(lab, lambda h, b: ok(fields=[("Content-Length", 12345)], length=False))
    c.send(f"HEAD {url}/ HTTP/1.1\r\nHost: plain.test\r\n\r\n")
    r = Response(c, "HEAD")
    assert r.status == 200 and r.get("Content-Length") == "12345", r.head
    c.send(f"HEAD {url}/2 HTTP/1.1\r\nHost: plain.test\r\n\r\n")
    assert Response(c, "HEAD").status == 200, "the connection goes on in step"


def test_get_inside(lab):
    o, _, t = inside(lab)
    r = t.get("/x?y=z")
    assert (r.status, r.body) == (200, b"hello\n")
    assert o.requests[0][0].start == "GET /x?y=z HTTP/1.1"
    assert o.requests[0][0].all("Host") == [t.host]
    assert t.connect.head.get("Content-Length") is None and t.connect.head.get("Transfer-Encoding") is None


def test_absolute_form_inside(lab):
    o, _, t = inside(lab)
    t.send(f"GET https://{t.host}/abs HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    assert Response(t).status == 200
    assert o.requests[0][0].start == "GET /abs HTTP/1.1"


def test_curl_connect(lab):
    o = lab.origin()
    p = lab.assay()
    r = lab.curl(p, f"https://www.test:{o.port}/")
    assert (r.returncode, r.status, r.body) == (0, 200, b"hello\n"), r.errors


def test_unknown_methods(lab):
    o, _, t = inside(lab)
    for method in ("PROPFIND", "get", "M-SEARCH", "X!#$%&'*+-.^_`|~9"):
        with lab.sub(method):
            t.send(f"{method} / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 3\r\n\r\nabc")
            assert Response(t).status == 200
            assert o.requests[-1][0].start == f"{method} / HTTP/1.1"
            assert o.requests[-1][1] == b"abc"


def test_body_with_any_method(lab):
    o, _, t = inside(lab)
    for method in ("GET", "DELETE", "OPTIONS"):
        with lab.sub(method):
            t.send(f"{method} /m HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 22\r\n\r\nGET /evil HTTP/1.1\r\n\r\n")
            assert Response(t).status == 200
            assert o.requests[-1][1] == b"GET /evil HTTP/1.1\r\n\r\n"
    assert len(o.requests) == 3, "a body became a request"


def test_keep_alive_both_legs(lab):
    o, _, t = inside(lab)
    for i in range(20):
        assert t.get(f"/{i}").status == 200
    assert o.accepted == 1, f"{o.accepted} origin connections for one client"
    assert [h.start.split()[1] for h, _, _ in o.requests] == [f"/{i}" for i in range(20)]


def test_pool_is_shared_by_clients(lab):
    o = lab.origin()
    p = lab.assay(workers=1)
    for _ in range(5):
        t = lab.tunnel(p, o.port)
        assert t.get("/").status == 200
        t.close()
        time.sleep(0.05)
    assert o.accepted == 1, f"{o.accepted} origin connections for five clients in a row"


def test_names_do_not_share_connections(lab):
    """RFC 9110 7.4: the pool key is the name, not the address."""
    o = lab.origin()
    p = lab.assay(workers=1)
    for host in ("www.test", "other.test"):
        t = lab.tunnel(p, o.port, host)
        assert t.get("/").status == 200
        t.close()
    assert o.accepted == 2
    assert {c.sni for c in o.conns} == {"www.test", "other.test"}


def test_pipelining(lab):
    """RFC 9112 9.3.2: answers in order, also when the first is the slowest."""
    def reply(head, body):
        if head.start.split()[1] == "/0":
            time.sleep(0.3)
        return ok(head.start.split()[1])
    o, _, t = inside(lab, reply)
    t.send("".join(f"GET /{i} HTTP/1.1\r\nHost: {t.host}\r\n\r\n" for i in range(8)))
    assert [Response(t).text() for _ in range(8)] == [f"/{i}" for i in range(8)]


def test_pipelining_with_bodies(lab):
    o, _, t = inside(lab, lambda h, b: ok(b))
    t.send(b"".join(b"POST /%d HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab%d\r\n0\r\n\r\n"
                    % (i, t.host.encode(), i) for i in range(5)))
    assert [Response(t).text() for _ in range(5)] == [f"ab{i}" for i in range(5)]


def test_request_in_single_bytes(lab):
    o, _, t = inside(lab)
    for b in f"POST / HTTP/1.1\r\nHost: {t.host}\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\n\r\n":
        t.send(b)
    assert Response(t).status == 200
    assert o.requests[0][1] == b"abc"


def test_answer_in_single_bytes(lab):
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\n ya\r\n0\r\n\r\n"

    def reply(head, body):
        def send(conn):
            for i in range(len(raw)):
                conn.send(raw[i:i + 1])
        return send
    _, _, t = inside(lab, reply)
    assert t.get().body == b"hello ya"
    assert t.get().body == b"hello ya"


def test_empty_lines_before_a_request(lab):
    _, _, c, url = plain(lab)
    c.send(f"\r\n\r\nGET {url}/ HTTP/1.1\r\nHost: plain.test\r\n\r\n")      # RFC 9112 2.2
    assert Response(c).status == 200


def test_chunked_upload(lab):
    o, _, t = inside(lab)
    body = pattern(200000)
    t.send(f"PUT / HTTP/1.1\r\nHost: {t.host}\r\nTransfer-Encoding: Chunked\r\n\r\n")
    for i in range(0, len(body), 7001):
        piece = body[i:i + 7001]
        t.send(b"%X;ext=1;q=\"a b\"\r\n%s\r\n" % (len(piece), piece))
    t.send("0\r\n\r\n")
    assert Response(t).status == 200
    head, got, _ = o.requests[0]
    assert sha(got) == sha(body)
    assert not (head.has("Content-Length") and head.has("Transfer-Encoding"))


def test_chunked_download(lab):
    body = pattern(200000)
    raw = b"".join(b"%x;secret=1\r\n%s\r\n" % (len(body[i:i + 999]), body[i:i + 999]) for i in range(0, len(body), 999))
    _, _, t = inside(lab, lambda h, b: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + raw + b"0\r\n\r\n")
    r = t.get()
    assert sha(r.body) == sha(body), r
    assert not any(b"secret" in c for c in r.chunks), "chunk extensions are hop by hop"
    assert t.get().status == 200


def test_hundred_thousand_chunks(lab):
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100000 + b"0\r\n\r\n"
    _, _, t = inside(lab, lambda h, b: raw)
    assert t.get().body == b"x" * 100000


def test_trailers_of_an_answer(lab):
    _, _, t = inside(lab, lambda h, b: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                     b"2\r\nok\r\n0\r\nX-Sum: 17\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\nHost: evil\r\n"
                     b"Set-Cookie: a=b\r\n\r\n")
    r = t.get(fields="TE: trailers\r\nConnection: TE\r\n")
    assert r.body == b"ok" and not r.cut
    assert "X-Sum: 17" in r.trailers, r.trailers
    assert r.get("X-Sum") is None, "a trailer was merged into the head"
    names = {x.split(":")[0].lower() for x in r.trailers}
    assert not names & {"content-length", "transfer-encoding", "host", "set-cookie"}, r.trailers


def test_trailers_of_a_request(lab):
    o, _, t = inside(lab)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nTransfer-Encoding: chunked\r\n\r\n"
           "2\r\nok\r\n0\r\nX-Sum: 1\r\nContent-Length: 99\r\n\r\n")
    assert Response(t).status == 200
    assert o.requests[0][1] == b"ok"
    assert o.requests[0][0].get("Content-Length") in (None, "2")
    assert t.get().status == 200


def test_expect_100(lab):
    """RFC 9110 10.1.1: the origin's 100 releases the body."""
    got = []

    def script(conn):
        head = conn.head()
        got.append(conn.silent(0.3))
        conn.send("HTTP/1.1 100 Continue\r\n\r\n")
        got.append(conn.body(head))
        conn.send(ok(b"thanks"))
    s = lab.server(script, lab.server_context())
    p = lab.assay()
    t = lab.tunnel(p, s.port)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    interim = t.head()
    assert interim.start.startswith("HTTP/1.1 100"), interim
    t.send("hello")
    assert Response(t).body == b"thanks"
    assert got == [True, b"hello"]


def test_expect_refused(lab):
    """A final answer before any 100: no body is sent; the origin connection
    that waits for one is not used again."""
    conns = []

    def script(conn):
        conns.append(conn)
        while True:
            if not conn.fill():
                return
            head = conn.head()
            if head.has("Expect"):
                conn.send(ok(b"no", status="403 Forbidden"))
            else:
                conn.send(ok(b"fine"))
    s = lab.server(script, lab.server_context())
    p = lab.assay(workers=1)
    t = lab.tunnel(p, s.port)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    r = Response(t)
    assert r.status == 403 and r.body == b"no", r
    t2 = lab.tunnel(p, s.port)
    assert t2.get().body == b"fine"
    assert len(conns) == 2, "a connection in mid-request went back to the pool"


def test_expect_without_origin_support(lab):
    """A client may send the body without waiting."""
    o, _, t = inside(lab)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
    r = Response(t)
    assert r.status == 200 and o.requests[0][1] == b"hello"


def test_expect_unknown(lab):
    o, _, t = inside(lab)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 2\r\nExpect: teapot\r\n\r\nab")
    r = Response(t)
    assert r.status == 417 or (r.status == 200 and o.requests[0][0].get("Expect") == "teapot"), r


def test_interim_answers_pass(lab):
    _, _, t = inside(lab, lambda h, b: b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
                     b"HTTP/1.1 102 Processing\r\n\r\n" + ok(b"done"))
    r = t.get()
    assert [h.start.split()[1] for h in r.interim] == ["103", "102"], r.interim
    assert r.interim[0].get("Link") == "</a>; rel=preload"
    assert r.body == b"done"


def test_no_interim_for_http10(lab):
    _, _, c, url = plain(lab, lambda h, b: b"HTTP/1.1 103 Early Hints\r\n\r\n" + ok(b"done"))
    c.send(f"GET {url}/ HTTP/1.0\r\nHost: plain.test\r\n\r\n")
    r = Response(c)
    assert not r.interim and r.body == b"done"


def test_endless_interim(lab):
    _, _, t = inside(lab, lambda h, b: b"HTTP/1.1 102 Processing\r\n\r\n" * 2000 + ok(b"done"))
    r = t.get()
    assert r.status == 502, r


def test_no_body_answers(lab):
    """HEAD, 204 and 304 have none, whatever the fields say (RFC 9112 6.3)."""
    answers = {"/204": b"HTTP/1.1 204 No Content\r\n\r\n",
               "/304": b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 77\r\n\r\n",
               "/head": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
               "/get": ok(b"x")}
    o, _, t = inside(lab, lambda h, b: answers[h.start.split()[1]])
    r = t.get("/204")
    assert r.status == 204 and r.get("Content-Length") is None and r.get("Transfer-Encoding") is None
    assert t.get("/get").body == b"x"
    r = t.get("/304")
    assert r.status == 304 and r.get("ETag") == '"a"'
    assert t.get("/get").body == b"x"
    assert t.get("/head", method="HEAD").status == 200
    assert t.get("/get").body == b"x"


def test_early_answer_to_an_upload(lab):
    """RFC 9112 9.3: a 413 during the upload reaches the client."""
    def script(conn):
        conn.head()
        conn.exact(10000)
        conn.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 7\r\nConnection: close\r\n\r\ntoo big")
        conn.rest()
    s = lab.server(script, lab.server_context())
    p = lab.assay()
    t = lab.tunnel(p, s.port)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 100000000\r\n\r\n".encode() + bytes(200000))
    r = Response(t)
    assert (r.status, r.body) == (413, b"too big")


def test_early_answer_while_client_never_stops(lab):
    def script(conn):
        conn.head()
        conn.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 7\r\n\r\ntoo big")
        conn.sock.settimeout(3)
        conn.rest()
    s = lab.server(script, lab.server_context())
    p = lab.assay()
    r = lab.curl(p, f"https://www.test:{s.port}/", "-T", "-", "-H", "Expect:", data=bytes(50 << 20))
    assert r.status == 413, (r.returncode, r.errors)


def test_close_delimited(lab):
    """Over TLS whole only with close_notify (RFC 9112 9.8)."""
    def script(conn):
        h = conn.head()
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it")
        if h.start.split()[1] == "/cut":
            conn.cut()
        elif h.start.split()[1] == "/reset":
            time.sleep(0.1)
            conn.reset()
    s = lab.server(script, lab.server_context())
    p = lab.assay()
    t = lab.tunnel(p, s.port)
    r = t.get("/whole")
    assert r.body == b"all of it" and not r.cut, r
    for path in ("/cut", "/reset"):
        with lab.sub(path):
            t = lab.tunnel(p, s.port)
            try:
                r = t.get(path)
            except wire.Ended:
                continue
            assert r.status == 502 or r.cut, f"a cut body looks whole: {r}"


def test_close_delimited_plain(lab):
    s = lab.server(lambda c: (c.head(), c.send("HTTP/1.0 200 OK\r\n\r\nold")), None)
    p = lab.assay()
    c = lab.connect(p)
    c.send(f"GET http://plain.test:{s.port}/ HTTP/1.1\r\nHost: plain.test\r\n\r\n")
    r = Response(c)
    assert r.body == b"old" and not r.cut
    assert r.head.start.startswith("HTTP/1.1 "), "the proxy's own version is sent"


def test_close_is_announced(lab):
    """If framing forces the end, Connection: close says so; else keep-alive."""
    s = lab.server(lambda c: (c.head(), c.send("HTTP/1.1 200 OK\r\n\r\nx")), lab.server_context())
    p = lab.assay()
    t = lab.tunnel(p, s.port)
    r = t.get()
    if r.framing == "close":
        assert "close" in (r.get("Connection") or "").lower()
    else:
        assert t.get().status == 200


def test_http10_client(lab):
    """Never a chunked body to an HTTP/1.0 client (RFC 9112 6.1)."""
    _, _, c, url = plain(lab, lambda h, b: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    c.send(f"GET {url}/ HTTP/1.0\r\n\r\n")
    r = Response(c)
    assert r.body == b"hello" and r.framing in ("close", "length"), r
    assert c.is_closed()


def test_http10_keep_alive(lab):
    _, p, c, url = plain(lab)
    c.send(f"GET {url}/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    r = Response(c)
    assert r.body == b"hello\n"
    if "keep-alive" in (r.get("Connection") or "").lower():
        c.send(f"GET {url}/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert Response(c).status == 200
    else:
        assert c.is_closed()


def test_connection_close(lab):
    o, _, t = inside(lab)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\nConnection: close\r\n\r\n")
    r = Response(t)
    assert r.status == 200 and (r.get("Connection") or "").lower() == "close"
    assert t.is_closed() and t.ended == "clean", f"TLS ended {t.ended}"


def test_hop_by_hop(lab):
    """RFC 9110 7.6.1, 11.7; and what Connection must not take away."""
    o, _, c, url = plain(lab, lambda h, b: ok(b"x", [("Connection", "X-Hop, Keep-Alive"), ("X-Hop", "1"), ("Keep-Alive", "5"),
                                                     ("Proxy-Authenticate", "Basic"), ("Alt-Svc", 'h3=":443"'),
                                                     ("Set-Cookie", "a=1"), ("X-End", "2"), ("Set-Cookie", "b=2")]))
    c.send(f"POST {url}/ HTTP/1.1\r\nHost: plain.test:{o.port}\r\nConnection: keep-alive, X-Mine, Host, Content-Length\r\nX-Mine: 1\r\n"
           "Keep-Alive: 300\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic abc\r\nTE: gzip\r\n"
           "Upgrade: h2c\r\nHTTP2-Settings: AAA\r\nX-Keep: 1\r\nContent-Length: 2\r\n\r\nhi")
    r = Response(c)
    head, body, _ = o.requests[0]
    for gone in ("X-Mine", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Upgrade", "HTTP2-Settings", "TE"):
        with lab.sub(f"request {gone}"):
            assert not head.has(gone), head.raw
    assert head.get("X-Keep") == "1" and body == b"hi" and head.get("Host") == f"plain.test:{o.port}"
    for gone in ("X-Hop", "Keep-Alive", "Proxy-Authenticate", "Alt-Svc"):
        with lab.sub(f"answer {gone}"):
            assert not r.head.has(gone), r.head.raw
    assert r.head.all("Set-Cookie") == ["a=1", "b=2"] and r.get("X-End") == "2"


def test_via(lab):
    o, _, t = inside(lab, lambda h, b: ok(b"x", [("Via", "1.1 up")]))
    r = t.get(fields="Via: 1.0 first\r\n")
    via = ", ".join(o.requests[0][0].all("Via"))
    assert via.startswith("1.0 first, 1.1 "), via
    assert ", ".join(r.head.all("Via")).startswith("1.1 up, 1.1 "), r.head
    # RFC 9110 7.6.3: of an answer it is the origin's version, not the client's
    o, _, t = inside(lab, lambda h, b: b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx")
    assert t.get().head.get("Via").startswith("1.0 "), "Via of an HTTP/1.0 answer"


def test_loop(lab):
    """RFC 9110 7.6.3: our own pseudonym comes back; a target that is our own
    listener ends likewise."""
    o, p, t = inside(lab)
    t.get()
    mine = o.requests[0][0].all("Via")[-1].split(",")[-1].strip()
    r = t.get(fields=f"Via: {mine}\r\n")
    assert r.status in (508, 403), r
    assert len(o.requests) == 1
    c = lab.connect(p)
    c.send(f"GET http://127.0.0.1:{p.port}/ HTTP/1.1\r\nHost: 127.0.0.1:{p.port}\r\n\r\n")
    assert Response(c).status in (400, 403, 404, 508)


def test_field_order_and_octets(lab):
    fields = "b: 2\r\nA: 1\r\na: 3\r\nX-Bytes: \xe9\xff\r\nX-Empty:\r\nCookie: x=1; y=2\r\n"
    o, _, t = inside(lab, lambda h, b: ok(b"", [("Zz", "1"), ("aa", "\xe4"), ("ZZ", "2")]))
    r = t.get(fields=fields)
    got = [(n.lower(), v) for n, v in o.requests[0][0].fields]
    want = [("b", "2"), ("a", "1"), ("a", "3"), ("x-bytes", "\xe9\xff"), ("x-empty", ""), ("cookie", "x=1; y=2")]
    assert [f for f in got if f in want] == want, got
    assert [f[1] for f in r.head.fields if f[0].lower() in ("zz", "aa")] == ["1", "\xe4", "2"]


def test_ranges_and_codings_pass(lab):
    def reply(head, body):
        return ok(b"345", [("Content-Range", "bytes 3-5/10"), ("Content-Encoding", "gzip"), ("ETag", '"q"')], "206 Partial Content")
    o, _, t = inside(lab, reply)
    r = t.get(fields="Range: bytes=3-5\r\nIf-Range: \"q\"\r\nAccept-Encoding: gzip, br\r\n")
    assert r.status == 206 and r.get("Content-Range") == "bytes 3-5/10" and r.get("Content-Encoding") == "gzip"
    assert o.requests[0][0].get("Range") == "bytes=3-5" and o.requests[0][0].get("Accept-Encoding") == "gzip, br"


def test_leftover_octets_poison(lab):
    """RFC 9112 9.2: what comes behind a complete answer is delivered to nobody."""
    n = [0]

    def reply(head, body):
        n[0] += 1
        if n[0] in (1, 3, 5):
            first = {1: b"HTTP/1.1 204 No Content\r\n\r\n", 3: b"HTTP/1.1 304 Not Modified\r\n\r\n", 5: ok(b"five")}[n[0]]
            return first + ok(b"poison")
        return ok(b"clean")
    o = lab.origin(reply)
    p = lab.assay(workers=1)
    for want in (204, 304, 200):
        with lab.sub(f"behind a {want}"):
            t = lab.tunnel(p, o.port)
            assert t.get("/a").status == want
            time.sleep(0.05)
            r = t.get("/b")
            assert r.body == b"clean", r


def test_stale_pooled_connection(lab):
    """An origin that closed its idle connection costs no error; a POST is
    never sent twice."""
    def reply(head, body):
        def send(conn):
            conn.send(ok(b"x"))
            return "close"
        return send
    o = lab.origin(reply)
    p = lab.assay(workers=1)
    t = lab.tunnel(p, o.port)
    for i in range(10):
        assert t.get(f"/{i}").status == 200
        time.sleep(0.02)
    for i in range(10):
        t.send(f"POST /p{i} HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 1\r\n\r\nx")
        assert Response(t).status in (200, 502)
        time.sleep(0.02)
    paths = [h.start.split()[1] for h, _, _ in o.requests]
    assert len(paths) == len(set(paths)), f"sent twice: {paths}"


def test_post_is_not_repeated(lab):
    """The connection dies after the request was sent: 502, and one request."""
    def script(conn):
        head, body = conn.request()
        seen.append(head.start)
        if "/first" in head.start:
            conn.send(ok(b"x"))
            head, body = conn.request()
            seen.append(head.start)
        conn.cut()
    seen = []
    s = lab.server(script, lab.server_context())
    p = lab.assay(workers=1)
    t = lab.tunnel(p, s.port)
    assert t.get("/first").status == 200
    t.send(f"POST /order HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: 1\r\n\r\nx")
    assert Response(t).status == 502
    assert sum("/order" in x for x in seen) == 1, seen


def test_upgrade(lab):
    """101 only for whom asked for that very protocol; h2c is never offered on."""
    def reply(head, body):
        return b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: evil\r\n\r\nraw"
    o, _, t = inside(lab, reply)
    r = t.get()
    assert r.status == 502, r


def test_large_download_and_upload(lab):
    body = pattern(5 << 20)
    o, p, t = inside(lab, lambda h, b: ok(sha(b)) if b else ok(body))
    assert sha(t.get().body) == sha(body)
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    assert Response(t).text() == sha(body)


def test_slow_reader(lab):
    """Back-pressure: a client that does not read holds the origin, not memory."""
    sent = [0]

    def reply(head, body):
        def send(conn):
            conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500000000\r\n\r\n")
            conn.sock.settimeout(2)
            block = bytes(1 << 16)
            try:
                while sent[0] < 500000000:
                    conn.send(block)
                    sent[0] += len(block)
            except wire.Ended:
                pass
            return "close"
        return send
    o = lab.origin(reply)
    p = lab.assay()
    t = lab.tunnel(p, o.port)
    before = p.rss()
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    t.head()
    time.sleep(4)
    assert sent[0] < 64 << 20, f"{sent[0]} bytes were taken from the origin for a client that reads nothing"
    if not e2e.SANITIZER:
        assert p.rss() - before < 32 << 20, f"memory grew by {p.rss() - before}"


def test_date_is_added(lab):
    _, _, t = inside(lab)
    assert t.get().get("Date"), "RFC 9110 6.6.1"


def test_max_forwards(lab):
    o, _, c, url = plain(lab)
    c.send(f"OPTIONS {url}/ HTTP/1.1\r\nHost: plain.test\r\nMax-Forwards: 0\r\n\r\n")
    r = Response(c)
    assert r.status == 200 and not o.requests, "RFC 9110 7.6.2: answered here"
    c.send(f"OPTIONS {url}/ HTTP/1.1\r\nHost: plain.test\r\nMax-Forwards: 5\r\n\r\n")
    assert Response(c).status == 200
    assert o.requests[0][0].get("Max-Forwards") == "4"
