# SPDX-License-Identifier: GPL-2.0-or-later
"""gRPC through assay: a real client and a real server (python3-grpcio) in all
four shapes over HTTP/2 on both legs, with and without scanners; and scripted
peers for what the real ones do not do."""
import base64
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import h2origin
import h2wire
import lab as e2e
from lab import EICAR, TESTDB, field, needs, pattern, seconds

PEER = pathlib.Path(__file__).with_name("grpcpeer.py")
CLAM = {"url": f"clamav:{TESTDB}", "mode": "both"}
NONE = [{"name": "none", "scan": "none"}]
REFERENCE = re.compile(r"reference: ([0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4})")


class Server(e2e.Process):
    def __init__(self, lab):
        self.port = lab.port()
        pem = lab.server_context("www.test", sans=[*e2e.NAMES, "127.0.0.1"]).cert_path
        super().__init__("grpc server", [sys.executable, str(PEER), "server", str(self.port), str(pem)], lab.dir / f"grpc-{self.port}.log")
        lab.on_close(self.stop)
        lab.wait_port(self.port, self)

    def said(self, what, seconds=10, since=0):
        stop = time.monotonic() + seconds * e2e.lab_scale()
        while time.monotonic() < stop:
            if what in self.log()[since:]:
                return True
            time.sleep(0.02)
        return False

    def stop(self, seconds=8):
        self.kill()


class Client:
    """Calls through assay, one connection for all of them."""

    def __init__(self, lab, p, port):
        log = lab.dir / f"grpc-client-{os.urandom(3).hex()}.log"
        self.proc = subprocess.Popen([sys.executable, str(PEER), "client", f"http://127.0.0.1:{p.port}", p.ca, f"www.test:{port}"],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(log, "wb"), text=True)
        lab.on_close(self.stop)

    def start(self, name, *messages, **of):
        self.proc.stdin.write(json.dumps({"name": name, "messages": [base64.b64encode(m).decode() for m in messages], **of}) + "\n")
        self.proc.stdin.flush()

    def result(self):
        line = self.proc.stdout.readline()
        assert line, "the client ended"
        out = json.loads(line)
        out["answers"] = [base64.b64decode(a) for a in out["answers"]]
        return out

    def call(self, name, *messages, **of):
        self.start(name, *messages, **of)
        return self.result()

    def stop(self):
        self.proc.kill()
        self.proc.wait(5)


def parties(lab, **conf):
    s = Server(lab)
    p = lab.assay(**conf)
    return s, p, Client(lab, p, s.port)


def services(lab):
    """Ways to be scanned; the last is not to be."""
    yield "clamav", {"services": {"clam": CLAM}}
    yield "icap", {"services": {"req": {"url": lab.icap().url(), "mode": "req"}, "resp": {"url": lab.icap().url(), "mode": "resp"}}}
    yield "none", {"services": {"clam": CLAM}, "rules": NONE}


@needs("clamav")
@seconds(90)
def test_unary(lab):
    """Small and large, compressed, with a status, with a deadline."""
    s = Server(lab)
    for how, conf in services(lab):
        with lab.sub(how):
            p = lab.assay(**conf)
            c = Client(lab, p, s.port)
            r = c.call("unary", b"hello")
            assert r["code"] == 0 and r["answers"] == [b"hello"], r
            r = c.call("unary", b"m" * (4 << 20), metadata=[["x-size", str(4 << 20)]])
            assert r["code"] == 0 and r["sizes"] == [4 << 20], r
            r = c.call("unary", pattern(100000), gzip=True, metadata=[["x-compress", "1"]])
            assert r["code"] == 0 and r["sizes"] == [100000], r
            r = c.call("unary", b"", metadata=[["x-compress", "1"]])
            assert r["code"] == 0 and r["sizes"] == [0], r
            r = c.call("unary", b"x", metadata=[["x-status", "5"]])
            assert (r["code"], r["text"]) == (5, "no such th\u00ecng"), r
            assert base64.b64decode(r["trailers"]["grpc-status-details-bin"]) == b"\1\2details", r
            r = c.call("unary", b"x", metadata=[["x-sleep", "5"]], timeout=0.5)
            assert r["code"] == 4 and r["seconds"] < 4, r
            left = re.findall(r"left=([\d.]+)", s.log())
            assert left and float(left[-1]) < 1, left
            r = c.call("unary", b"after")
            assert r["answers"] == [b"after"], r
            p.stop()


@needs("clamav")
def test_unary_blocked(lab):
    """A finding in a request, in an answer, in compressed ones; a rule: the
    client gets a code and a reference, and the record has it all."""
    s, p, c = parties(lab, services={"clam": CLAM}, rules=[{"name": "no", "if": {"url": "/t.T/down"}, "access": "block"}])
    for n, how in enumerate(({}, {"gzip": True}), 1):
        r = c.call("unary", EICAR, **how)
        assert r["code"] == 7 and "Eicar" in r["text"] and REFERENCE.search(r["text"]), r
        rec = p.access(n)[n - 1]
        assert field(rec, "event.id") == REFERENCE.search(r["text"])[1] and field(rec, "assay.verdict") == "blocked", rec
        assert field(rec, "event.action") == "block", rec
    r = c.call("unary", b"clean")
    assert r["answers"] == [b"clean"], r
    r = c.call("down", b"1:0:x")
    assert r["code"] == 7 and "rule: no" in r["text"], r


@needs("clamav")
def test_origin_faults(lab):
    """An origin that is not there, and one that ends early: UNAVAILABLE."""
    p = lab.assay(services={"clam": CLAM})
    port = lab.port()
    r = Client(lab, p, port).call("unary", b"x", timeout=20)
    assert r["code"] == 14, r
    o = h2origin.start(lab, lambda st: st.rst(h2wire.INTERNAL_ERROR))
    r = Client(lab, p, o.port).call("unary", b"x", timeout=20)
    assert r["code"] == 14 and "assay" in r["text"], r


@needs("clamav")
@seconds(120)
def test_streams(lab):
    """Each shape, in lock step where nobody could go on if something waited for an end."""
    s = Server(lab)
    for how, conf in services(lab):
        with lab.sub(how):
            p = lab.assay(**conf)
            c = Client(lab, p, s.port)
            r = c.call("both", *[b"%d" % i for i in range(20)], lockstep=True)
            assert r["code"] == 0 and r["answers"] == [b"got %d" % i for i in range(20)] and r["seconds"] < 10, r
            r = c.call("both", b"a", b"b", lockstep=True, first=True, metadata=[["x-first", "1"]])
            assert r["answers"] == [b"hello", b"got a", b"got b"], r
            r = c.call("both", *[pattern(50000, i) for i in range(4)], lockstep=True, gzip=True)
            assert r["code"] == 0 and r["sizes"] == [50004] * 4, r
            r = c.call("down", b"5:0.2:word")
            assert r["code"] == 0 and r["answers"] == [b"word %d" % i for i in range(5)], r
            r = c.call("down", b"2000:0:" + b"w" * 2000)
            assert r["code"] == 0 and len(r["sizes"]) == 2000, (r["code"], r["text"])
            r = c.call("up", b"a", b"bb", b"", b"m" * (1 << 20), pause=0.05)
            assert r["code"] == 0 and r["answers"] == [b"[1, 2, 0, 1048576]"], r
            r = c.call("up", b"a", b"enough", b"rest", stays=3)
            assert r["code"] == 0 and r["answers"] == [b"[1]"] and r["seconds"] < 3, r
            r = c.call("both", timeout=3, stays=2)
            assert r["code"] == 0 and not r["answers"][1:], r
            r = c.call("down", b"1000:0.05:x", cancel=3)
            assert r["code"] == 1 and s.said("ended down"), r
            r = c.call("down", b"1000:0.05:x", timeout=1)
            assert r["code"] == 4 and r["seconds"] < 4 and len(r["answers"]) > 5, r
            p.stop()


@needs("clamav")
@seconds(120)
def test_ends_of_each_shape(lab):
    """Each of the four shapes as the C core does it: whole, an answer of
    trailers alone, a deadline, and taken back, which its server hears."""
    s = Server(lab)
    whole = {"unary": [b"x"], "down": [b"x 0", b"x 1"], "up": [b"[1, 2]"], "both": [b"got x", b"got yy"]}
    for how, conf in services(lab):
        p = lab.assay(**conf)
        c = Client(lab, p, s.port)
        for shape, answers in whole.items():
            with lab.sub(f"{how} {shape}"):
                say = {"unary": [b"x"], "down": [b"2:0:x"]}.get(shape, [b"x", b"yy"])
                r = c.call(shape, *say)
                assert (r["code"], r["answers"]) == (0, answers), r
                r = c.call(shape, *say, metadata=[["x-only", "9"]])
                assert (r["code"], r["text"], r["answers"]) == (9, "that was all", []), r
                had = len(s.log())
                r = c.call(shape, *say, metadata=[["x-wait", "20"]], timeout=0.7)
                assert r["code"] == 4 and r["seconds"] < 10 and not r["answers"], r
                assert s.said(f"ended {shape} ", since=had), s.log()[had:]
                had = len(s.log())
                r = c.call(shape, *say, metadata=[["x-wait", "20"]], cancel_after=0.7)
                assert r["code"] == 1 and r["seconds"] < 10 and not r["answers"], r
                assert s.said(f"ended {shape} ", since=had), s.log()[had:]
                r = c.call(shape, *say)
                assert (r["code"], r["answers"]) == (0, answers), r
        p.stop()
    assert "in vain" not in s.log(), s.log()


@needs("clamav")
@seconds(60)
def test_streams_blocked(lab):
    """A finding ends the call with a code and a reference behind what was
    clean, whoever sent it; and the record has all of it."""
    s, p, c = parties(lab, services={"clam": CLAM})
    for n, (name, messages, of, answers) in enumerate((
            ("both", (b"a", b"b", EICAR, b"c"), {"lockstep": True}, [b"got a", b"got b"]),
            ("both", (b"a", EICAR[::-1], b"c"), {"lockstep": True, "metadata": [["x-reverse", "1"]]}, [b"a"]),
            ("both", (EICAR * 3,), {"gzip": True, "lockstep": True}, []),
            ("up", (b"a", b"b" * 100000, EICAR), {"pause": 0.05}, []),
            ("down", (b"1:0:" + EICAR,), {}, []),
            ("unary", (EICAR,), {}, [])), 1):
        with lab.sub(f"{name} {of}"):
            r = c.call(name, *messages, **of)
            assert r["answers"] == answers and r["code"] == 7 and "Eicar" in r["text"], r
            assert name in ("down", "unary") or s.said(f"ended {name}"), s.log()
            rec = p.access(n)[n - 1]
            assert field(rec, "event.id") == REFERENCE.search(r["text"])[1], (rec, r)
            assert field(rec, "assay.verdict") == "blocked" and field(rec, "event.action") == "block", rec
            assert any(x["outcome"] == "blocked" and x["threat"] for x in field(rec, "assay.scan")), rec
    r = c.call("both", b"a", b"b", lockstep=True)
    assert r["code"] == 0 and len(r["answers"]) == 2, r


# ------------------------------------------------------------ scripted peers
CALL = [("content-type", "application/grpc"), ("te", "trailers")]
OK = [("content-type", "application/grpc")]
DONE = [("grpc-status", "0")]


def message(data, flags=0):
    return bytes([flags]) + len(data).to_bytes(4, "big") + data


def begin(h, fields=()):
    return h.request("/t.T/x", "POST", CALL + list(fields), end=False)


def code(st):
    """grpc-status, of the answer or behind it."""
    return next((v for n, v in [*st.trailers, *st.fields] if n == "grpc-status"), None)


def until(what, seconds=10):
    """Another thread's doing."""
    stop = time.monotonic() + seconds * e2e.lab_scale()
    while not what() and time.monotonic() < stop:
        time.sleep(0.01)
    assert what()


def scripted(lab, script, **conf):
    o = h2origin.start(lab, script=script)
    p = lab.assay(**({"services": {"clam": CLAM}} | conf))
    return p, o, h2wire.peer(lab, p, o.port)


@needs("clamav")
def test_odd_frames(lab):
    """What calls itself gRPC and is not passes no octet of what is wrong."""
    got = []

    def script(peer):
        while True:
            st = peer.request(whole=False)
            got.append(st)
            peer.until(lambda: st.ended or st.reset is not None)
    p, o, h = scripted(lab, script)
    for what in (b"MZ" + bytes(100), message(b"x", 2), message(b"x", 1), message(b"x") + b"\0\0", message(b"x")[:-1], b"\0\0\0\0"):
        with lab.sub(what[:8].hex()):
            sid = begin(h)
            h.data(sid, what)
            h.wait(sid)
            assert code(h.streams[sid]) not in (None, "0"), h.streams[sid]
            head = message(b"x") if what.startswith(message(b"x")) else b""
            assert all(bytes(st.body) in (b"", head) for st in got), [bytes(st.body) for st in got]
    unseen = [field(r, "assay.verdict") for r in p.access(6) if field(r, "error.code") == "UNSCANNED"]
    assert unseen and set(unseen) == {"unscanned"}, unseen
    sid = begin(h)
    h.data(sid, message(b"x"))
    until(lambda: got and bytes(got[-1].body) == message(b"x"))


@needs("clamav")
def test_held(lab):
    """A message passes when it is whole and was looked at, octet by octet or
    many at once; who cancels meanwhile cancels at the origin."""
    seen = []

    def script(peer):
        while True:
            st = peer.request(whole=False)
            seen.append(st)
            st.head(200, OK)
            peer.until(lambda: st.ended or st.reset is not None)
            if st.ended:
                st.trailer(DONE)
    p, o, h = scripted(lab, script)
    sid = begin(h)
    h.until(lambda: h.streams[sid].status == 200)       # at once, though nothing was sent
    whole = message(b"one") + message(b"") + message(b"two")
    for i in range(len(whole)):
        h.data(sid, whole[i:i + 1], end=False)
        time.sleep(0.01)
    until(lambda: bytes(seen[0].body) == whole)
    h.data(sid, message(b"half")[:7], end=False)
    h.data(sid, b"", end=False)
    assert h.is_alive() and bytes(seen[0].body) == whole
    h.reset(sid)
    until(lambda: seen[0].reset is not None)
    many = b"".join(message(b"%d" % i) for i in range(3000))
    sid = begin(h)
    h.data(sid, many)
    h.wait(sid)
    assert code(h.streams[sid]) == "0" and bytes(seen[1].body) == many, (len(seen[1].body), h.streams[sid])


@needs("clamav")
def test_early(lab):
    """An answer that comes, or ends, while the client still sends; trailers
    alone; an origin that stops inside."""
    def script(peer):
        while True:
            st = peer.request(whole=False)
            how = next(v for n, v in st.fields if n == "x-how")
            if how == "only":
                st.head(200, OK + [("grpc-status", "9"), ("grpc-message", "no")], end=True)
            elif how == "trailers":
                st.head(200, OK)
                st.data(message(b"x"), end=False)
                st.trailer([("grpc-status", "8"), ("x-other", "y"), ("grpc-status-details-bin", "AAAA")])
            elif how == "html":
                st.head(502, [("content-type", "text/html")])
                st.data(b"<p>bad")
            else:
                st.head(200, OK)
                st.data(message(b"x") + (b"\0\0" if how == "inside" else b""), end=False)
                st.rst(h2wire.INTERNAL_ERROR)
    for conf in ({}, {"rules": NONE}):
        p, o, h = scripted(lab, script, **conf)
        for how, status, body in (("only", "9", b""), ("trailers", "8", message(b"x")), ("html", None, b"<p>bad"), ("cut", "14", message(b"x")), ("inside", "14", message(b"x"))):
            with lab.sub(f"{how} {conf}"):
                sid = begin(h, [("x-how", how)])
                h.data(sid, message(b"first"), end=False)
                h.wait(sid)
                st = h.streams[sid]
                if conf and how in ("cut", "inside"):
                    assert st.reset is not None, st
                    continue
                assert code(st) == status and bytes(st.body) == body, (st, st.trailers, st.fields, bytes(st.body))
                assert how != "trailers" or ("grpc-status-details-bin", "AAAA") in st.trailers, st.trailers
                assert how != "trailers" or (("x-other", "y") in st.trailers) == bool(conf), st.trailers
        assert h.is_alive()
        p.stop()


@needs("clamav")
def test_encodings(lab):
    """Encodings that are not known are not offered, and what comes in one is
    unscanned (coding)."""
    heads = []

    def script(peer):
        while True:
            st = peer.request()
            heads.append(st)
            st.head(200, [*OK, ("grpc-encoding", "snappy"), ("grpc-accept-encoding", "snappy,gzip")])
            st.data(message(b"x", 1), end=False)
            st.trailer(DONE)
    for policy, status in (("block", "7"), ("bypass", "0")):
        p, o, h = scripted(lab, script, services={"clam": CLAM | {"on_unscanned": policy}})
        sid = begin(h, [("grpc-accept-encoding", "snappy,gzip, identity")])
        h.data(sid, message(b"x"))
        h.wait(sid)
        st = h.streams[sid]
        assert heads[-1].get("grpc-accept-encoding") == "gzip,identity" and st.get("grpc-accept-encoding") == "gzip", (heads[-1].fields, st.fields)
        assert code(st) == status, (st, st.trailers, st.fields)
        rec = p.access(1)[0]
        assert field(rec, "assay.scan")[-1]["gap"] == "coding", rec
        p.stop()


@needs("clamav")
def test_rules(lab):
    """stream: block refuses calls that would be scanned; scan waits for the
    end of each body, as for a file."""
    s = Server(lab)
    p = lab.assay(services={"clam": CLAM}, rules=[{"name": "b", "if": {"url": "/up"}, "stream": "block"}, {"name": "s", "stream": "scan"}])
    c = Client(lab, p, s.port)
    r = c.call("up", b"a")
    assert r["code"] == 7 and "rule: b" in r["text"], r
    r = c.call("both", b"a", b"b")
    assert r["answers"] == [b"got a", b"got b"], r
    r = c.call("both", b"a", EICAR)
    assert r["code"] == 7 and not r["answers"], r
    r = c.call("both", b"a", b"b", lockstep=True, timeout=1)
    assert r["code"] == 4 and not r["answers"], r


def test_icap(lab):
    """A service sees each message alone, without its encoding; sends it back
    as it was, changes it, refuses it."""
    s = Server(lab)
    seen, how = [], {}

    def script(tx):
        if not tx.has_body:
            return tx.no_change()
        data = tx.whole()
        seen.append((tx.method, data, tx.http["req-hdr"].start.split()[1], (tx.response or tx.request).get("Content-Type")))
        if how.get(tx.method) and b"bad" in data:
            return how[tx.method](tx, data)
        return tx.no_change()

    def echo(tx, data):
        kind = "res" if tx.method == "RESPMOD" else "req"
        tx.modified(tx.raw[f"{kind}-hdr"], data, kind)

    def change(tx, data):
        echo(tx, data + b"!")
    service = lab.icap(script)
    up, down = ({"url": service.url(), "mode": m, "cache": "off"} for m in ("req", "resp"))
    p = lab.assay(services={"up": up, "down": down})
    c = Client(lab, p, s.port)
    r = c.call("both", b"a" * 40, b"b" * 50, lockstep=True, gzip=True)
    assert r["code"] == 0 and len(r["answers"]) == 2, r
    url = f"https://www.test:{s.port}/t.T/both"
    kind = "application/octet-stream"
    assert seen == [("REQMOD", b"a" * 40, url, kind), ("RESPMOD", b"got " + b"a" * 40, url, kind),
                    ("REQMOD", b"b" * 50, url, kind), ("RESPMOD", b"got " + b"b" * 50, url, kind)], seen
    for n, (method, f, code, answers) in enumerate((("REQMOD", echo, 0, 3), ("RESPMOD", echo, 0, 3), ("REQMOD", change, 7, 1),
                                                   ("RESPMOD", change, 7, 1), ("REQMOD", lambda tx, _: tx.block(), 7, 1),
                                                   ("RESPMOD", lambda tx, _: tx.block(), 7, 1),
                                                   ("REQMOD", lambda tx, _: tx.answer("500 No"), 14, 1)), 2):
        with lab.sub(f"{method} {n}"):
            how.clear()
            how[method] = f
            r = c.call("both", b"a", b"bad", b"c", lockstep=True)
            assert r["code"] == code and len(r["answers"]) == answers, r
            rec = p.access(n)[n - 1]
            assert (field(rec, "event.action") == "allow") == (code == 0), rec
            sums = [x for x in field(rec, "assay.scan") if "messages" in x]
            assert code != 0 or sorted((x["mode"], x["messages"]) for x in sums) in ([("req", 3), ("resp", 3)], [("req", 1), ("req", 2), ("resp", 3)], [("req", 3), ("resp", 1), ("resp", 2)]), sums


@needs("clamav")
def test_icap_heads(lab):
    """The head of a call is asked about before an origin hears of it, without
    a message: changed, refused, answered, with something added."""
    heads, how = [], []

    def script(tx):
        return how[-1](tx) if not tx.has_body and how else tx.no_change()

    def adds(body=None):
        def f(tx):
            head = tx.raw["req-hdr"].replace(b"POST ", b"POST ", 1)
            lines = [x for x in head.split(b"\r\n") if not x.lower().startswith(b"te:")]
            tx.modified(b"\r\n".join(lines[:1] + [b"X-Added: yes"] + lines[1:]), body, "req")
        return f

    def origin(peer):
        while True:
            st = peer.request()
            heads.append(st)
            st.head(200, OK)
            st.data(message(b"x"), end=False)
            st.trailer(DONE)
    service = lab.icap(script)
    p, o, h = scripted(lab, origin, services={"req": {"url": service.url(), "mode": "req"}})
    for f, status, reached in ((None, "0", True), (adds(), "0", True), (lambda tx: tx.block(), "7", False), (adds(b"more"), "14", False),
                               (lambda tx: tx.answer("500 No"), "14", False)):
        with lab.sub(f"{status} {reached}"):
            del heads[:], how[:]
            if f:
                how.append(f)
            sid = begin(h, [("x-mine", "1")])
            h.data(sid, message(b"first"))
            h.wait(sid)
            assert code(h.streams[sid]) == status, (h.streams[sid], h.streams[sid].fields)
            assert bool(heads) == reached, heads
            assert not reached or (heads[0].get("te") == "trailers" and bytes(heads[0].body) == message(b"first")), heads[0].fields
            assert (reached and heads[0].get("x-added") == "yes") == (how and reached and True or False), heads


@needs("clamav")
@seconds(60)
def test_clocks(lab):
    """One way may be silent for as long as the other is not; silence both
    ways ends a call."""
    s = Server(lab)
    for how, conf in services(lab):
        with lab.sub(how):
            p = lab.assay(limits={"read": "1s", "first_byte": "3s"}, **conf)
            c = Client(lab, p, s.port)
            r = c.call("down", b"9:0.5:x")
            assert r["code"] == 0 and len(r["answers"]) == 9, r
            r = c.call("up", *[b"m"] * 9, pause=0.5)
            assert r["code"] == 0 and json.loads(r["answers"][0]) == [1] * 9, r
            r = c.call("both", b"a", stays=15)
            assert r["code"] != 0 and 2.5 < r["seconds"] < 10, r
            p.stop()


@needs("clamav")
@seconds(60)
def test_pressure(lab):
    """A client that does not read stops the origin, and one that leaves while
    a service looks leaves nothing behind."""
    sent = [0]

    def script(peer):
        st = peer.request(whole=False)
        st.head(200, OK)
        for _ in range(3000):
            st.data(message(pattern(10000)), end=False)
            sent[0] += 10005
        peer.until(lambda: st.reset is not None)
    p, o, _ = scripted(lab, script)
    h = h2wire.peer(lab, p, o.port, window=65535, gives=False)
    sid = begin(h)
    h.data(sid, message(b"x"), end=False)
    h.until(lambda: len(h.streams[sid].body) == 65535)
    last = -1
    while sent[0] != last:
        last = sent[0]
        time.sleep(0.5)
    assert sent[0] < 4 << 20, sent
    h.reset(sid)
    assert h.is_alive()
    slow = lab.icap(lambda tx: (tx.has_body and tx.whole(), time.sleep(0.6), tx.no_change())[2])
    p, o, h = scripted(lab, lambda peer: peer.until(lambda: False), services={"req": {"url": slow.url(), "mode": "req"}})
    for stop in ("reset", "cut"):
        sid = begin(h)
        h.data(sid, message(pattern(100)), end=False)
        until(lambda: any(tx.has_body for tx in slow.txs))
        h.reset(sid) if stop == "reset" else h.cut()
        time.sleep(1)
    assert p.alive() and len(p.access(3)) == 3


@needs("clamav")
def test_refused(lab):
    """A call that no origin has looked at goes out again, scanned as it was."""
    seen = []

    def script(peer):
        while True:
            st = peer.request()
            seen.append(bytes(st.body))
            if len(seen) == 1:
                st.rst(h2wire.REFUSED_STREAM)
                continue
            st.head(200, OK)
            st.data(message(b"x"), end=False)
            st.trailer(DONE)
    p, o, h = scripted(lab, script)
    call = message(b"one") + message(b"two")
    sid = begin(h)
    h.data(sid, call)
    h.wait(sid)
    st = h.streams[sid]
    assert code(st) == "0" and seen == [call, call], (seen, st, st.fields, st.trailers)
