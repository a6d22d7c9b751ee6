# SPDX-License-Identifier: GPL-2.0-or-later
"""Endless answers in front of scanners: they pass as they come, as unscanned
(stream); a file that calls itself one gains nothing."""
import threading
import zlib

import wire
from lab import EICAR, TESTDB, field, needs, pattern, seconds
from wire import Response, ok

CLAM = {"url": f"clamav:{TESTDB}", "mode": "resp"}
QUICK = {"stream_wait": "100ms"}


class Endless:
    """An origin whose answer goes on until the test ends: first at once, then
    more after each word()."""

    def __init__(self, lab, kind, first, fields=()):
        self.go, self.more, self.end = threading.Semaphore(0), [], threading.Event()
        head = "HTTP/1.1 200 OK\r\n" + "".join(f"{n}: {v}\r\n" for n, v in [("Content-Type", kind), *fields])

        def reply(h, b):
            def send(conn):
                conn.send(head + "Transfer-Encoding: chunked\r\n\r\n")
                self.chunk(conn, first)
                while self.go.acquire(timeout=30) and not self.end.is_set():
                    self.chunk(conn, self.more.pop(0))
                conn.send(b"0\r\n\r\n")
            return send
        self.o = lab.origin(reply)
        lab.on_close(self.stop)
        self.port = self.o.port

    @staticmethod
    def chunk(conn, data):
        if data:
            conn.send(b"%x\r\n%s\r\n" % (len(data), data))

    def word(self, data):
        self.more.append(data)
        self.go.release()

    def stop(self):
        self.end.set()
        self.go.release()


def ask(lab, p, port, fields=""):
    t = lab.tunnel(p, port)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n{fields}\r\n")
    return t


def octets(t, n):
    """n octets of a chunked body that does not end."""
    out = b""
    while len(out) < n:
        size = int(t.until(b"\r\n"), 16)
        out += t.exact(size)
        t.exact(2)
    return out


def aws(payload):
    prelude = (16 + len(payload)).to_bytes(4, "big") + bytes(4)
    return prelude + zlib.crc32(prelude).to_bytes(4, "big") + payload + b"sums"


KINDS = {"text/event-stream": (b"data: 1\n\n", b"data: 2\n\n"),
         "application/x-ndjson": (b'{"n":1}\n', b'{"n":2}\n'),
         "application/connect+proto": (b"\0\0\0\0\3abc", b"\2\0\0\0\2{}"),
         "application/vnd.amazon.eventstream": (aws(b"abc"), aws(b"d")),
         "application/grpc-web+proto": (b"\0\0\0\0\3abc", b"\x80\0\0\0\1x"),
         "multipart/x-mixed-replace; boundary=b": (b"--b\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8", b"\r\n--b\r\n"),
         "audio/mpeg": (b"\xff\xfb\x90\x00" + pattern(500), pattern(300, 2)),
         "video/x-flv": (b"FLV\1" + pattern(500), pattern(300, 2))}


@needs("clamav")
def test_streams_arrive(lab):
    """By clamav and by ICAP, in every download mode; the record says what."""
    s = lab.icap()
    for kind, (first, second) in KINDS.items():
        for service, mode in ((CLAM, "hold"), ({"url": s.url(), "mode": "resp"}, "trickle")):
            with lab.sub(f"{kind} {service['url'].split(':')[0]}"):
                (lab.dir / "access.log").unlink(missing_ok=True)
                e = Endless(lab, kind, first)
                p = lab.assay(services={"s": service}, rules=[{"download": mode}], download=QUICK)
                t = ask(lab, p, e.port)
                head = t.head()
                assert " 200 " in head.start and head.get("X-Content-Type-Options") == "nosniff", head
                assert octets(t, len(first)) == first
                e.word(second)
                assert octets(t, len(second)) == second
                e.stop()
                assert t.exact(5) == b"0\r\n\r\n"
                rec = p.access(1)[0]
                scan = field(rec, "assay.scan")[0]
                assert field(rec, "assay.verdict") == "unscanned" and scan["gap"] == "stream", rec
                p.stop()


class Coder:
    """A content coding, each piece of which can be decoded at once."""

    def __init__(self, coding):
        self.coding, self.first = coding, True
        self.z = zlib.compressobj(wbits={"gzip": 31, "deflate": 15}.get(coding, 15))

    def __call__(self, data):
        first, self.first = self.first, False
        if self.coding in ("gzip", "deflate"):
            return self.z.compress(data) + self.z.flush(zlib.Z_SYNC_FLUSH)
        if self.coding == "zstd":       # RFC 8878 3.1.1: raw blocks, a window of 2 MB
            return (b"\x28\xb5\x2f\xfd\x00\x58" if first else b"") + (len(data) << 3).to_bytes(3, "little") + data
        # RFC 7932 9.2: meta-blocks that are not compressed, a window of 64 KB
        return ((len(data) - 1) << (3 + first) | 1 << (19 + first)).to_bytes(3, "little") + data


CODINGS = ("gzip", "deflate", "br", "zstd")


@needs("clamav")
def test_coded_streams_arrive(lab):
    """As they come, octet for octet, whatever their coding; services see the
    begin without it."""
    s = lab.icap()
    for coding in CODINGS:
        for service, mode in ((CLAM, "hold"), ({"url": s.url(), "mode": "resp"}, "trickle")):
            with lab.sub(f"{coding} {service['url'].split(':')[0]}"):
                (lab.dir / "access.log").unlink(missing_ok=True)
                s.txs.clear()
                code = Coder(coding)
                first, second, third = code(b"data: 1\n\n"), code(b"data: 2\n\n"), code(b"MZ\x90\0")
                e = Endless(lab, "text/event-stream", first, [("Content-Encoding", coding)])
                p = lab.assay(services={"s": service}, rules=[{"download": mode}], download=QUICK)
                t = ask(lab, p, e.port)
                head = t.head()
                assert " 200 " in head.start and head.get("Content-Encoding") == coding, head
                assert octets(t, len(first)) == first
                e.word(second)
                assert octets(t, len(second)) == second
                e.word(third)
                assert third not in t.rest(), "what is no event passed in a coding"
                rec = p.access(1)[0]
                assert field(rec, "assay.verdict") == "unscanned" and field(rec, "error.code") == "UNSCANNED", rec
                if service is not CLAM:
                    tx = [x for x in s.txs if x.method == "RESPMOD"][-1]
                    assert tx.preview + tx.rest == b"data: 1\n\n" and not tx.response.has("Content-Encoding"), tx.response
                p.stop()


@needs("clamav")
def test_begin_of_coded_streams_is_scanned(lab):
    s = lab.icap(lambda tx: tx.block("no") if b"bad" in tx.whole() else tx.echo())
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}}, download=QUICK)
    for coding in CODINGS:
        for text in (b"data: good\n\n", b"data: bad\n\n"):
            with lab.sub(f"{coding} {text}"):
                coded = Coder(coding)(text)
                t = ask(lab, p, Endless(lab, "text/event-stream", coded, [("Content-Encoding", coding)]).port)
                head = t.head()
                if b"bad" in text:
                    assert " 403 " in head.start, head
                else:
                    assert " 200 " in head.start and octets(t, len(coded)) == coded, head
                t.cut()


@needs("clamav")
def test_coded_files_that_call_themselves_streams(lab):
    """Held: something else inside, two codings, a bomb, octets behind the end."""
    text = b"data: 1\n\n"
    gz = zlib.compressobj(wbits=31)
    ended = gz.compress(text) + gz.flush()
    bomb = Coder("gzip")(b"data: " + b"x" * (40 << 20) + b"\n")
    rows = (("exe", "gzip", Coder("gzip")(b"MZ\x90\0" + pattern(100))), ("two", "gzip, br", Coder("br")(Coder("gzip")(text))),
            ("bomb", "gzip", bomb), ("behind", "gzip", ended + b"MZ\x90\0"), ("unknown", "compress", text), ("broken", "br", text))
    p = lab.assay(services={"s": CLAM}, rules=[{"download": "hold"}], download=QUICK)
    held = [(name, ask(lab, p, Endless(lab, "text/event-stream", data, [("Content-Encoding", coding)]).port)) for name, coding, data in rows]
    for name, t in held:
        with lab.sub(name):
            assert t.silent(1.0 if name == "exe" else 0.1), "something left before the verdict"
            t.cut()


def test_streams_are_asked_for_without_a_coding(lab):
    """Where a chain would have to take it off, and only for what asks for a
    stream."""
    o = lab.origin()
    s = lab.icap()
    rows = (("stream", "text/event-stream", {}, "identity"), ("model", "application/json, text/event-stream", {}, "identity"),
            ("page", "text/html, */*", {}, "gzip, br"), ("no chain", "text/event-stream", {"scan": "none"}, "gzip, br"))
    for name, accept, rule, offered in rows:
        with lab.sub(name):
            p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}}, rules=[dict(rule, name="r", download="hold")])
            Response(ask(lab, p, o.port, f"Accept: {accept}\r\nAccept-Encoding: gzip, br\r\n"))
            assert o.requests[-1][0].get("Accept-Encoding") == offered, o.requests[-1][0]
            p.stop()


@needs("clamav")
def test_short_streams_are_scanned_whole(lab):
    """What ends in the moment of collecting is an answer like any other."""
    bodies = {"/clean": b"data: 1\n\n" * 50, "/eicar": EICAR}

    def reply(h, b):
        body = bodies[h.start.split()[1]]
        return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    o = lab.origin(reply)
    p = lab.assay(services={"s": CLAM})
    r = lab.tunnel(p, o.port).get("/clean")
    assert r.body == bodies["/clean"] and not r.head.has("X-Content-Type-Options"), r
    assert field(p.access(1)[0], "assay.verdict") == "clean"
    r = lab.tunnel(p, o.port).get("/eicar")
    assert r.status == 403 and EICAR not in r.body, r


@needs("clamav")
def test_begin_is_scanned(lab):
    """A finding in what was looked at blocks."""
    e = Endless(lab, "audio/mpeg", b"ID3" + pattern(100))
    s = lab.icap(lambda tx: tx.block("no") if b"ID3" in tx.whole() else tx.no_change())
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}}, download=QUICK)
    t = ask(lab, p, e.port)
    r = Response(t)
    assert r.status == 403 and b"ID3" not in r.body, r
    assert len(s.txs) == 1 and s.txs[0].preview + s.txs[0].rest == b"ID3" + pattern(100)


def test_service_that_sends_back(lab):
    """The begin comes back as a message of the service's own: the same octets
    pass, others do not."""
    for name, script, status in (("same", lambda tx: tx.echo(), 200), ("other", lambda tx: (tx.whole(), tx.modified("HTTP/1.1 200 OK\r\n\r\n", b"data: x\n")), 502)):
        with lab.sub(name):
            e = Endless(lab, "text/event-stream", b"data: 1\n\n")
            s = lab.icap(script)
            p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}}, download=QUICK)
            t = ask(lab, p, e.port)
            head = t.head()
            assert f" {status} " in head.start, head
            if status == 200:
                e.word(b"data: 2\n\n")
                assert octets(t, 18) == b"data: 1\n\ndata: 2\n\n"
            t.cut()
            p.stop()


@needs("clamav")
def test_policies(lab):
    """stream: block, on_unscanned: block, and what is no stream at all."""
    first = b"data: 1\n\n"
    rows = (("rule", {"rules": [{"name": "no-streams", "stream": "block"}]}, CLAM), ("service", {}, dict(CLAM, on_unscanned="block")),
            ("reason", {}, dict(CLAM, on_unscanned={"stream": "block", "default": "bypass"})))
    for name, conf, service in rows:
        with lab.sub(name):
            e = Endless(lab, "text/event-stream", first)
            p = lab.assay(services={"s": service}, download=QUICK, **conf)
            r = Response(ask(lab, p, e.port))
            assert r.status == 403 and first not in r.body, r
            rule = field(p.access(1)[-1], "assay.rule.access")
            assert rule == ("no-streams" if name == "rule" else None), rule
            p.stop()
            (lab.dir / "access.log").unlink()


@needs("clamav")
def test_files_that_call_themselves_streams(lab):
    """Nothing of them leaves before the verdict: another begin, an attachment,
    a page of its own, a coding; a break of the rules later is a cut."""
    rows = (("exe", "text/event-stream", b"MZ\x90\0" + pattern(100), (), ""),
            ("exe as sound", "audio/mpeg", b"MZ\x90\0" + pattern(100), (), ""),
            ("saved", "text/event-stream", b"data: 1\n", (("Content-Disposition", "attachment; filename=a.exe"),), ""),
            ("coded", "text/event-stream", b"data: 1\n", (("Content-Encoding", "gzip"),), ""),
            ("navigated to", "text/event-stream", b"data: 1\n", (), "Sec-Fetch-Mode: navigate\r\n"),
            ("type without streams", "application/octet-stream", b"data: 1\n", (), ""))
    p = lab.assay(services={"s": CLAM}, rules=[{"download": "hold"}], download=QUICK)
    open_ = []
    for name, kind, first, fields, asked in rows:
        e = Endless(lab, kind, first, fields)
        open_.append((name, ask(lab, p, e.port, asked), e))
    for name, t, e in open_:
        with lab.sub(name):
            assert t.silent(1.0 if name == "exe" else 0.1), "something left before the verdict"
            e.word(EICAR)
            e.stop()
            t.cut()
    with lab.sub("later"):
        e = Endless(lab, "text/event-stream", b"data: 1\n\n")
        t = ask(lab, p, e.port)
        t.head()
        assert octets(t, 9) == b"data: 1\n\n"
        e.word(b"MZ\x90\0\3")
        assert b"MZ" not in t.rest()
        rec = [r for r in p.access(1) if field(r, "error.code") == "UNSCANNED"]
        assert rec and field(rec[0], "event.action") == "block", p.access(1)


@needs("clamav")
def test_limits_of_streams(lab):
    """A size ends it; a rate slows it; as fast as a file it is one."""
    with lab.sub("size"):
        e = Endless(lab, "text/event-stream", b"data: 1\n\n")
        p = lab.assay(services={"s": CLAM}, download={"stream_wait": "50ms", "stream_size": "2K"})
        t = ask(lab, p, e.port)
        t.head()
        assert octets(t, 9)
        e.word(b": " + b"x" * 4000 + b"\n")
        assert len(t.rest()) < 3000
        assert wire.wait_for(lambda: any(field(r, "error.code") == "BODY_LIMIT" for r in p.access(1)), 5)
        p.stop()
    with lab.sub("burst"):
        first = b": " + b"x" * 300000 + b"\n"
        e = Endless(lab, "text/event-stream", first)
        p = lab.assay(services={"s": CLAM}, rules=[{"download": "hold"}], download={"stream_wait": "50ms", "stream_rate": "200K"})
        t = ask(lab, p, e.port)
        assert " 200 " in t.head().start and octets(t, len(first)) == first, "a stream with a burst never passes"
        t.cut()
        p.stop()
    with lab.sub("fast"):
        e = Endless(lab, "text/event-stream", b": " + b"x" * 3000000 + b"\n")
        p = lab.assay(services={"s": CLAM}, rules=[{"download": "hold"}], download={"stream_wait": "200ms", "stream_rate": "10K"})
        t = ask(lab, p, e.port)
        assert t.silent(2), "a fast file passed as a stream"
        e.stop()
        assert len(Response(t).body) == 3000003
        assert field(p.access(3)[2], "assay.verdict") == "clean"


@needs("clamav")
@seconds(90)
def test_head_before_the_first_event(lab):
    """An origin that has nothing to say yet: the head goes out after a while,
    the begin is scanned all the same."""
    s = lab.icap(lambda tx: tx.block("no") if b"bad" in tx.whole() else tx.no_change())
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}}, download=QUICK)
    for name, text in (("good", b"data: good\n\n"), ("bad", b"data: bad\n\n")):
        with lab.sub(name):
            e = Endless(lab, "text/event-stream", b"")
            t = ask(lab, p, e.port)
            assert " 200 " in t.head().start
            e.word(text)
            if name == "good":
                assert octets(t, len(text)) == text
            else:
                assert b"bad" not in t.rest()
            t.cut()


@needs("clamav")
def test_silence_between_words(lab):
    """Long silence is what streams are like: as long as before an answer; a
    file has to go on."""
    for name, services in (("scanned", {"s": CLAM}), ("no chain", None)):
        with lab.sub(name):
            p = lab.assay(services=services, download=QUICK, limits={"read": "1s", "first_byte": "4s"})
            e, f = Endless(lab, "text/event-stream", b"data: 1\n\n"), Endless(lab, "text/plain", b"data: 1\n\n")
            t, u = ask(lab, p, e.port), ask(lab, p, f.port)
            assert " 200 " in t.head().start and octets(t, 9)
            assert t.silent(2.5), "ended in a silence"
            e.word(b"data: 2\n\n")
            assert octets(t, 9) == b"data: 2\n\n"
            assert t.is_closed(20), "never ended"
            r = Response(u)
            assert r.status == 504 or r.cut, r
            p.stop()


@needs("clamav")
def test_stream_scan(lab):
    """stream: scan waits for the end, as any body does."""
    e = Endless(lab, "text/event-stream", b"data: 1\n\n")
    p = lab.assay(services={"s": CLAM}, rules=[{"stream": "scan", "download": "hold"}], download=QUICK)
    t = ask(lab, p, e.port)
    assert t.silent(1.0)
    e.stop()
    assert Response(t).body == b"data: 1\n\n"
    assert field(p.access(1)[0], "assay.verdict") == "clean"


def test_stream_without_a_chain(lab):
    e = Endless(lab, "text/event-stream", b"MZ anything\n")
    p = lab.assay()
    t = ask(lab, p, e.port)
    t.head()
    assert octets(t, 12) == b"MZ anything\n"
