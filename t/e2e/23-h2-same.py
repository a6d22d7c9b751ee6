# SPDX-License-Identifier: GPL-2.0-or-later
"""The same 400 requests over HTTP/1.1 and over HTTP/2: the same octets at the
origin and at the services, the same answers and records. Twice: the origin
speaks the one, then the other."""
import gzip
import json
import random
import re
import urllib.parse

import h2origin
import h2wire
import wire
from lab import field, pattern, seconds
from wire import Ended

N = 400
SIZES = (0, 0, 1, 7, 999, 1024, 16384, 16385, 65536, 100_000)
LARGE = 1 << 20             # one in thirty
METHODS = ("GET", "GET", "GET", "GET", "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD", "HEAD", "OPTIONS", "PROPFIND", "WEIRD")
STATUSES = (200,) * 12 + (201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 405, 410, 413, 429, 451, 500, 501, 502, 503, 504, 299, 599)
FIELDS = ([("cookie", "a=1"), ("cookie", "b=2; c=3"), ("cookie", "long=" + "x" * 900)], [("accept", "text/html"), ("accept-language", "de, en;q=0.5")],
          [("range", "bytes=1-5")], [("range", "bytes=-500"), ("if-range", '"e"')], [("user-agent", "lab/1.0")], [("accept-encoding", "gzip, br")],
          [("x-one", "1"), ("x-one", "2"), ("x-empty", "")], [("x-long", "y" * 5000)], [("if-none-match", '"a", "b"')],
          [("cache-control", "no-cache"), ("pragma", "no-cache")], [("origin", "https://other.test"), ("referer", "https://other.test/a?b")],
          [("x-high", "\xe9\xff")], [("authorization", "Basic dTpw")], [("expect", "100-continue")], [("priority", "u=1, i")])
NOT_COMPARED = {":status", "connection", "date", "transfer-encoding", "keep-alive", "proxy-connection"}


class Ask:
    """A request, and in its target what the origin answers."""

    def __init__(self, i):
        rng = random.Random(f"no difference {i}")
        self.method = rng.choice(METHODS)
        self.fields = [x for f in rng.sample(FIELDS, rng.choice((0, 1, 1, 2, 4))) for x in f]
        has_body = self.method in ("POST", "PUT", "PATCH", "PROPFIND", "WEIRD") or (self.method == "DELETE" and rng.random() < 0.3)
        self.body = pattern(LARGE if rng.random() < 1 / 30 else rng.choice(SIZES), 3) if has_body else b""
        self.chunked = bool(self.body) and rng.random() < 0.4
        self.trailers = [("x-sum", "abc"), ("x-sum", "d")] if self.chunked and rng.random() < 0.4 else []
        if self.body and rng.random() < 0.2:
            self.body = gzip.compress(self.body, mtime=0)
            self.fields.append(("content-encoding", "gzip"))
        if not self.body:
            self.fields = [f for f in self.fields if f[0] != "expect"]
        size = LARGE if rng.random() < 1 / 30 else rng.choice(SIZES)
        how = {"s": rng.choice(STATUSES), "n": size, "c": rng.choice("llck"), "e": int(rng.random() < 0.2), "h": rng.choice((0, 0, 0, 0, 1, 2)),
               "t": int(rng.random() < 0.3), "k": rng.choice((0, 0, 1, 3)), "y": rng.randrange(4)}
        self.path = f"{rng.choice(('/p', '/open/p', '/x.exe', '/a%20b/'))}{i}?" + urllib.parse.urlencode(how)
        if self.method == "OPTIONS" and rng.random() < 0.3:
            self.path = "*"


class Answer:
    """What the target asks for: head fields, body, trailers, interim heads."""

    def __init__(self, method, path):
        q = dict(x.split("=") for x in path.partition("?")[2].split("&") if x)
        get = {k: int(v) if v.isdigit() else v for k, v in q.items()}
        self.status, size = get.get("s", 200), get.get("n", 5)
        self.framing = get.get("c", "l")
        self.body = pattern(size, 5)
        self.fields = [("content-type", ("text/plain", "text/html; charset=utf-8", "application/octet-stream", "image/png")[get.get("y", 0)]),
                       ("x-own", "yes"), ("etag", '"e"')]
        if get.get("e") and self.body:
            self.body = gzip.compress(self.body, mtime=0)
            self.fields.append(("content-encoding", "gzip"))
        self.fields += [("set-cookie", f"c{i}=1; Secure") for i in range(get.get("k", 0))]
        if self.status == 206:
            self.fields.append(("content-range", f"bytes 0-{max(len(self.body), 1) - 1}/{1 << 30}"))
        if self.status in (301, 302):
            self.fields.append(("location", "/other"))
        if self.status == 401:
            self.fields.append(("www-authenticate", "Basic realm=x"))
        self.bodyless = method == "HEAD" or self.status in (204, 304)
        self.length = [("content-length", str(len(self.body)))] if self.framing == "l" and self.status != 204 else []
        self.trailers = [("x-late", "1"), ("server-timing", "a;dur=1")] if self.framing == "c" and get.get("t") and not self.bodyless else []
        self.hints = [(103, [("link", f"</{i}.css>; rel=preload")]) for i in range(get.get("h", 0))]


# ------------------------------------------------------------------- origins
def lines(fields):
    return "".join(f"{n}: {v}\r\n" for n, v in fields)


def origin_h1(lab, seen):
    def script(conn):
        while conn.buf or conn.fill():
            head, trailers = conn.head(), []
            chunked = head.get("Transfer-Encoding") == "chunked"
            if head.has("Expect"):
                conn.send("HTTP/1.1 100 Continue\r\n\r\n")
            body = conn.chunked(trailers) if chunked else conn.exact(int(head.get("Content-Length") or 0))
            method, path = head.start.split()[:2]
            seen.append((mask(head.raw), body, trailers))
            a = Answer(method, path)
            out = "".join(f"HTTP/1.1 {s} Hints\r\n{lines(f)}\r\n" for s, f in a.hints)
            chunks = a.framing == "c" and not a.bodyless
            out += f"HTTP/1.1 {a.status} So\r\n" + lines(a.fields + a.length)
            out += "Transfer-Encoding: chunked\r\n" if chunks else "Connection: close\r\n" if a.framing == "k" else ""
            conn.send(out + "\r\n")
            if chunks:
                for at in range(0, len(a.body), 50_000):
                    piece = a.body[at:at + 50_000]
                    conn.send(b"%x\r\n%s\r\n" % (len(piece), piece))
                conn.send("0\r\n" + lines(a.trailers) + "\r\n")
            elif not a.bodyless:
                conn.send(a.body)
            if a.framing == "k":
                return
    return lab.server(script, tls=lab.server_context("www.test"))


def origin_h2(lab, seen):
    def reply(st):
        a = Answer(st.get(":method"), st.get(":path"))
        seen.append((st.fields, bytes(st.body), st.trailers))
        for status, fields in a.hints:
            st.head(status, fields)
        st.head(a.status, a.fields + a.length, end=a.bodyless or not (a.body or a.trailers))
        if a.bodyless:
            return
        try:
            if a.body:
                st.data(a.body, end=not a.trailers)
        except Ended:
            assert st.reset is not None     # of what assay refuses; the connection goes on
        else:
            if a.trailers:
                st.trailer(a.trailers)
    return h2origin.start(lab, reply)


# ------------------------------------------------------------------- clients
def joined(fields):
    """Cookies as HTTP/1 has them: one field, where the first crumb is."""
    whole, out = "; ".join(v for n, v in fields if n == "cookie"), []
    for n, v in fields:
        if n != "cookie":
            out.append((n, v))
        elif whole:
            out.append((n, whole))
            whole = ""
    return out


def told(status, body, fields, interim, trailers):
    """What a client saw, without what depends on the version."""
    return (status, mask(body), sorted((n.lower(), mask(v)) for n, v in fields if n.lower() not in NOT_COMPARED),
            [(s, sorted((n.lower(), v) for n, v in f if n != ":status")) for s, f in interim if s != 100], sorted(trailers))


def over_h1(lab, p, port, asks):
    t = None
    for a in asks:
        t = t or lab.tunnel(p, port)
        fields = joined(a.fields)
        if a.chunked:
            fields.append(("transfer-encoding", "chunked"))
        elif a.body or a.method in ("POST", "PUT", "PATCH"):    # RFC 9110 8.6
            fields.append(("content-length", str(len(a.body))))
        fields = [(n if n.startswith("x-") else n.title(), v) for n, v in fields]
        t.send(f"{a.method} {a.path} HTTP/1.1\r\nHost: {t.host}\r\n{lines(fields)}\r\n".encode("latin-1"))
        if a.chunked:
            for at in range(0, len(a.body), 30_000):
                piece = a.body[at:at + 30_000]
                t.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            t.send("0\r\n" + lines(a.trailers) + "\r\n")
        else:
            t.send(a.body)
        r = wire.Response(t, a.method)
        assert not r.cut, (a.method, a.path, r)
        yield told(r.status, r.body, r.head.fields, [(int(h.start.split()[1]), h.fields) for h in r.interim],
                   [tuple(x.lower().split(": ", 1)) for x in r.trailers])
        if "close" in (r.get("Connection") or ""):
            t.close()
            t = None


def over_h2(lab, p, port, asks):
    h = h2wire.peer(lab, p, port)
    for a in asks:
        fields = list(a.fields)
        if a.body and not a.chunked:
            fields.append(("content-length", str(len(a.body))))
        sid = h.request(a.path, a.method, [(n, v.encode("latin-1")) for n, v in fields], end=not a.body)
        if a.body:
            h.data(sid, a.body, end=not a.trailers)
        if a.trailers:
            h.trailers(sid, a.trailers)
        r = h.wait(sid)
        assert r.ended and r.reset in (None, h2wire.NO_ERROR), (a.method, a.path, r)
        yield told(r.status, bytes(r.body), r.fields, r.interim, r.trailers)
        del h.streams[sid]


# ---------------------------------------------------------------- comparison
CHANGES = rb"[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC|(?<=\nDate: )[^\r]+|(?<=\nVia: )[12.]+"


def mask(v):
    """Without what is different each time, or says which version it was."""
    if isinstance(v, bytes):
        return re.sub(CHANGES, b"-", v)
    return re.sub(CHANGES.decode(), "-", v)


def plain(rec):
    """A record without times, ports, references and what says which version it was."""
    flat = json.loads(json.dumps(rec))
    for k in list(flat):
        if k in ("@timestamp", "event.id", "event.duration", "client.port", "http.version", "http.request.bytes", "http.response.bytes",
                 "tls.cipher", "assay.scan") or k.startswith(("assay.ms", "assay.origin.tls")):
            del flat[k]
    return flat


def from_difference(a, b):
    """Both, from shortly before where they differ."""
    a, b = str(a), str(b)
    at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return a[max(0, at - 60):at + 200], b[max(0, at - 60):at + 200]


def same(what, one, two):
    for i, (a, b) in enumerate(zip(one, two)):
        assert a == b, (what, i, [from_difference(x, y) for x, y in zip(a, b) if x != y])
    assert len(one) == len(two), (what, len(one), len(two))


@seconds(240)
def test_no_difference(lab):
    asks = [Ask(i) for i in range(N)]
    for speaks, start in (("h1", origin_h1), ("h2", origin_h2)):
        with lab.sub(f"an origin of {speaks}"):
            at_origin, at_service = [], []

            def script(tx, seen=at_service):
                body = tx.whole()
                seen.append((tx.method, sorted((k, mask(v)) for k, v in tx.raw.items()), body))
                tx.no_change()
            s = lab.icap(script)
            o = start(lab, at_origin)
            rules = [{"name": "no-exe", "if": {"url": r"\.exe"}, "access": "block"}, {"name": "open", "if": {"url": "/open/"}, "scan": "none"},
                     {"name": "default", "scan": ["all"]}]
            p = lab.assay(services={x: {"url": s.url(), "mode": mode, "cache": "off"} for x, mode in (("q", "req"), ("r", "resp"))},
                          scan={"all": ["q", "r"]}, rules=rules, workers=1)
            runs = []
            for client in (over_h1, over_h2):
                answers = list(client(lab, p, o.port, asks))
                runs.append((answers, at_origin[:], at_service[:]))
                at_origin.clear()
                at_service.clear()
            for what, a, b in zip(("the answer", "the origin", "the services"), *runs):
                same(what, a, b)
            assert len(runs[0][1]) > N // 2 and len(runs[0][2]) > N // 2 and len({x[0] for x in runs[0][0]}) > 20
            recs = [r for r in p.access(2 * N * (1 + (speaks == "h2"))) if f":{o.port}" in field(r, "url.full") and field(r, "http.request.method") != "CONNECT"]
            by = [sorted((plain(r) for r in recs if field(r, "http.version") == v), key=lambda r: (field(r, "url.full"), str(r)))
                  for v in ("1.1", "2")]
            same("the records", [[x] for x in by[0]], [[x] for x in by[1]])
            assert len(by[0]) == N, len(by[0])
