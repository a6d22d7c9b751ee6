# SPDX-License-Identifier: GPL-2.0-or-later
"""Found and repaired, says the service: what it hands back is compared with
what it was sent, whatever its size, before anybody gets an octet of it."""
import gzip
import re
import time

import wire
from lab import field, pattern
from wire import Response, ok

REPAIRED = ("X-Infection-Found", "Type=0; Resolution=1; Threat=Lab-Eicar;")
LAST = b"0\r\n\r\n"
NAMED = b"0\r\n%s: %s\r\n\r\n" % (REPAIRED[0].encode(), REPAIRED[1].encode())
SIZES = (5000, 65535, 65536, 65537, 400000)


def give(tx, body, status="200 OK", fields=(REPAIRED,), end=LAST, drop=(b"Content-Length",), pieces=16000, pause=0):
    kind = "res" if tx.method == "RESPMOD" else "req"
    head = b"\r\n".join(s for s in tx.raw[f"{kind}-hdr"].split(b"\r\n") if s.split(b":")[0].title() not in drop)
    tx.answer(status, f"{kind}-hdr=0, {kind}-body={len(head)}", fields, head)
    for i in range(0, len(body), pieces):
        tx.conn.send(b"%x\r\n%s\r\n" % (len(body[i:i + pieces]), body[i:i + pieces]))
        time.sleep(pause)
    tx.conn.send(end)
    return None if end else "close"


def tail(n):
    return b"0; use-original-body=%d\r\n\r\n" % n


def other(body, at):
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1:]


# the message handed back, in every way: always a block
BACK = {
    "whole": lambda tx, b: give(tx, b),
    "with its length": lambda tx, b: give(tx, b, drop=()),
    "small chunks": lambda tx, b: give(tx, b, pieces=700),
    "its begin": lambda tx, b: give(tx, b[:-1]),
    "206, nothing and all": lambda tx, b: give(tx, b"", "206 Part", end=tail(0)),
    "206, half and half": lambda tx, b: give(tx, b[:len(b) // 2], "206 Part", end=tail(len(b) // 2)),
    "206, all and nothing": lambda tx, b: give(tx, b, "206 Part", end=tail(len(b))),
    "cut": lambda tx, b: give(tx, b, end=b""),
    "broken": lambda tx, b: give(tx, b, end=b"-1\r\n"),
    "announced behind it": lambda tx, b: give(tx, b, fields=[("Trailer", "x-infection-found")], end=NAMED),
}
# repaired indeed: what came is what goes on
MADE = {
    "first octet": lambda b: other(b, 0),
    "last octet": lambda b: other(b, len(b) - 1),
    "in the middle": lambda b: other(b, len(b) // 2),
    "more behind it": lambda b: b + b"!",
    "more before it": lambda b: b"!" + b,
    "less before it": lambda b: b[1:],
}


class Service:
    def __init__(self, lab, mode, size, reply=None, **conf):
        self.act, self.body = None, pattern(size)
        self.icap = lab.icap(lambda tx: self.act(tx, tx.whole()), on_options=lambda tx: tx.answer(
            "200 OK", fields=[(n, "204, 206" if n == "Allow" else v) for n, v in wire.OPTIONS]))
        self.got = []
        self.origin = lab.origin(reply or (lambda h, b: (self.got.append(b), ok(b"thanks" if mode == "req" else self.body))[1]))
        self.mode = mode
        conf.setdefault("limits", {"body_memory": "64K"})
        self.assay = lab.assay(services={"s": {"url": self.icap.url(), "mode": mode, "on_error": "bypass", "on_unscanned": "bypass", "timeout": "5s",
                                               **conf.pop("service", {})}}, workers=1, **conf)

    def ask(self, lab):
        t = lab.tunnel(self.assay, self.origin.port)
        if self.mode == "resp":
            return t.get()
        t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {len(self.body)}\r\n\r\n".encode() + self.body)
        return Response(t, "POST")

    def outcome(self, r):
        """What went on: bytes, or None for a block."""
        if self.mode == "req":
            return self.got[-1] if r.status == 200 else None
        return r.body if r.status == 200 and not r.cut else None


def is_blocked(s, r):
    assert r.status == 403 and s.body[:50] not in r.body and not (s.mode == "req" and s.got), r


def test_handed_back_of_any_length(lab):
    for mode in ("resp", "req"):
        for size in SIZES:
            s = Service(lab, mode, size)
            for name, act in BACK.items():
                with lab.sub(f"{mode} {size}: {name}"):
                    s.act = act
                    is_blocked(s, s.ask(lab))
            for r in [r for r in s.assay.access(0) if field(r, "assay.scan")]:
                assert field(r, "assay.verdict") == "blocked" and field(r, "assay.scan")[0]["threat"] == "Lab-Eicar", r
            s.assay.stop()


def test_repaired_of_any_length(lab):
    """The controls: whatever differs somewhere is the repaired message; and
    without a finding what is handed back passes."""
    for mode in ("resp", "req"):
        for size in SIZES:
            s = Service(lab, mode, size)
            for name, make in MADE.items():
                for pieces in (16000, 900):
                    with lab.sub(f"{mode} {size}: {name}, {pieces}"):
                        s.act = lambda tx, b: give(tx, make(b), pieces=pieces)
                        assert s.outcome(s.ask(lab)) == make(s.body)
            more = {"206, a piece left out": (lambda tx, b: give(tx, b[:100], "206 Part", end=tail(101)), lambda b: b[:100] + b[101:]),
                    "206, another begin": (lambda tx, b: give(tx, b"!" * 100, "206 Part", end=tail(100)), lambda b: b"!" * 100 + b[100:]),
                    "announced": (lambda tx, b: give(tx, other(b, 9), fields=[("Trailer", "X-Infection-Found")], end=NAMED), lambda b: other(b, 9)),
                    "announced, nothing found": (lambda tx, b: give(tx, b, fields=[("Trailer", "X-Infection-Found")]), lambda b: b),
                    "nothing found": (lambda tx, b: give(tx, b, fields=()), lambda b: b)}
            for name, (act, make) in more.items():
                with lab.sub(f"{mode} {size}: {name}"):
                    s.act = act
                    assert s.outcome(s.ask(lab)) == make(s.body)
            s.assay.stop()


def test_repaired_streams_once_it_differs(lab):
    """It is not held to its end: what differs early is on its way while the
    service is still sending."""
    s = Service(lab, "resp", 300000)
    seen = []

    def act(tx, b):
        give(tx, other(b, 10), end=b"")
        wire.wait_for(lambda: seen, 10)
        tx.conn.send(LAST)
    s.act = act
    t = lab.tunnel(s.assay, s.origin.port)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    seen.append(t.head())
    assert " 200 " in seen[0].start and t.body(seen[0]) == other(s.body, 10)


def test_handed_back_without_a_body(lab):
    """What is repaired where there is no body is the head: one that says all
    that it said is a block."""
    def head(old, new, found=True):
        return lambda tx: tx.modified(re.sub(old, new, tx.raw["req-hdr"]), None, fields=[REPAIRED] if found else [])
    rows = {"same": (head(b"$^", b""), 403), "one more": (head(b"\r\n\r\n", b"\r\nX-Seen: 1\r\n\r\n"), 403), "other order": (head(b"(X-Bad: x\r\n)(.*?\r\n)(?=\r\n)", b"\\2\\1"), 403),
            "one less": (head(b"X-Bad: x\r\n", b""), 200), "changed": (head(b"X-Bad: x", b"X-Bad: good"), 200), "other target": (head(b"/evil", b"/good"), 200),
            "other method": (head(b"^GET", b"POST"), 200), "nothing found": (head(b"$^", b"", False), 200)}
    act = [None]
    s = lab.icap(lambda tx: act[0](tx))
    o = lab.origin(lambda h, b: ok(b"fine"))
    p = lab.assay(services={"s": {"url": s.url(), "mode": "req", "on_error": "bypass"}})
    for name, (act[0], want) in rows.items():
        with lab.sub(name):
            n = len(o.requests)
            r = lab.tunnel(p, o.port).get("/evil?x", fields="X-Bad: x\r\nTE: trailers\r\nConnection: TE\r\nProxy-Authorization: Basic YTpi\r\nX-Last: y\r\n")
            assert r.status == want and len(o.requests) - n == (want == 200), r


def test_named_behind_what_is_out(lab):
    """A trailer that nobody announced: never a whole message."""
    for mode in ("resp", "req"):
        for size in SIZES:
            with lab.sub(f"{mode} {size}"):
                s = Service(lab, mode, size)
                s.act = lambda tx, b: give(tx, b, fields=(), end=NAMED)
                r = s.ask(lab)
                assert r.status in (403, 502) or r.cut, r
                assert s.body not in s.got
                s.assay.stop()


def test_held_while_it_is_the_same(lab):
    """Trickled meanwhile is the original, as while it is scanned; never the
    whole of it."""
    for download in ("hold", "trickle", "stream"):
        with lab.sub(download):
            s = Service(lab, "resp", 400000, download={"hold": "1s", "rate": "1K"}, rules=[{"name": "r", "scan": ["s"], "download": download}])
            s.act = lambda tx, b: give(tx, b, pieces=20000, pause=0.1)
            r = s.ask(lab)
            assert (r.status == 403 or r.cut) and len(r.body) < 400000, r
            s.assay.stop()


def test_repaired_in_a_chain(lab):
    """What the first made is what the second sees; a block comes before it
    sees anything, and its own finding counts for what it was sent."""
    for name, make, want in (("handed back", lambda b: b, 403), ("repaired", lambda b: other(b, 399999), 200)):
        for place in ("first", "second"):
            with lab.sub(f"{name}, {place}"):
                seen = []
                body = pattern(400000)
                liar = lab.icap(lambda tx: give(tx, make(tx.whole())))
                plain = lab.icap(lambda tx: (seen.append(tx.whole()), give(tx, seen[0][::-1], fields=()))[1])
                o = lab.origin(lambda h, b: ok(body))
                urls = {"a": liar.url(), "b": plain.url()} if place == "first" else {"a": plain.url(), "b": liar.url()}
                p = lab.assay(services={n: {"url": u, "mode": "resp"} for n, u in urls.items()}, scan={"c": ["a", "b"]}, rules=[{"name": "r", "scan": ["c"]}])
                r = lab.tunnel(p, o.port).get()
                assert r.status == want, r
                assert len(seen) == (0 if want == 403 and place == "first" else 1)
                if want == 200:
                    assert r.body == (make(body)[::-1] if place == "first" else make(body[::-1]))
                p.stop()


def test_handed_back_decoded(lab):
    """What a service was sent decoded, or has decoded itself, is the original
    all the same."""
    text = (b"The quick brown fox, %d. " * 20000 % tuple(range(20000)))
    coded = gzip.compress(text, mtime=0)
    for decode in (True, False):
        for name, make, want in (("back", lambda b: b, 403), ("made", lambda b: other(b, 399990), 200)):
            with lab.sub(f"decode {decode}, {name}"):
                s = Service(lab, "resp", 10, lambda h, b: ok(coded, [("Content-Encoding", "gzip")]), service={"decode": decode})
                s.act = lambda tx, b: give(tx, make(text), drop=(b"Content-Length", b"Content-Encoding"))
                r = s.ask(lab)
                assert r.status == want and (want == 403 or r.body == make(text)), r
                s.assay.stop()
    with lab.sub("coded as it was, and not said so"):
        s = Service(lab, "resp", 10, lambda h, b: ok(coded, [("Content-Encoding", "gzip")]))
        s.act = lambda tx, b: give(tx, b, drop=(b"Content-Length", b"Content-Encoding"))
        assert s.ask(lab).status == 403


def recoded(tx, body, coding):
    """200 with that body, said to be coded so."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: {coding}\r\n\r\n"
    tx.modified(head, body, "res", [REPAIRED])


def test_handed_back_coded(lab):
    """In a coding that the service chose nobody sees whether it is the
    original: the finding stands. A name that codes nothing hides nothing."""
    text = b"The quick brown fox. " * 3000
    coded, again, made = gzip.compress(text, mtime=0), gzip.compress(text, 1), other(text, len(text) - 1)
    rows = {
        "coded": (text, lambda tx: recoded(tx, coded, "gzip"), 403),
        "coded twice": (text, lambda tx: recoded(tx, gzip.compress(coded), "gzip, gzip"), 403),
        "coded in a way that we cannot read": (text, lambda tx: recoded(tx, text[::-1], "compress"), 403),
        "coded anew": (coded, lambda tx: recoded(tx, again, "gzip"), 403),
        "as it is, which is said": (text, lambda tx: recoded(tx, text, "identity"), 403),
        "decoded, which is said": (coded, lambda tx: recoded(tx, text, "identity"), 403),
        "made": (text, lambda tx: recoded(tx, made, "identity"), 200),
        "made, decoded": (coded, lambda tx: recoded(tx, made, "identity"), 200),
        "made, no coding": (coded, lambda tx: recoded(tx, made, "utf-8"), 200),
    }
    for decode in (True, False):
        for name, (body, act, want) in rows.items():
            with lab.sub(f"decode {decode}, {name}"):
                fields = [("Content-Encoding", "gzip")] if body is coded else []
                s = Service(lab, "resp", 10, lambda h, b, body=body, fields=fields: ok(body, fields), service={"decode": decode})
                s.act = lambda tx, b, act=act: act(tx)
                r = s.ask(lab)
                assert r.status == want and (want == 403 or r.body == made), r
                s.assay.stop()
    with lab.sub("made of what was decoded for it, under the head that it was sent"):
        s = Service(lab, "resp", 10, lambda h, b: ok(coded, [("Content-Encoding", "gzip")]), service={"decode": True})
        s.act = lambda tx, b: give(tx, made)
        r = s.ask(lab)
        assert r.status == 200 and r.body == made, r


def test_compared_with_a_slow_original(lab):
    """The service is ahead of the sender: nobody is late, nobody spins."""
    body = pattern(200000)

    def reply(h, b):
        def send(c):
            c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + body[:2000])
            for i in range(2000, 200000, 66000):
                time.sleep(1.3)
                c.send(body[i:i + 66000])
        return send
    for name, sent, want in (("back", body, 403), ("made", other(body, 199999), 200)):
        with lab.sub(name):
            s = Service(lab, "resp", 10, reply, service={"timeout": "1s"})
            s.icap.on_tx = lambda tx: give(tx, sent)    # to the preview
            cpu = s.assay.cpu()
            r = s.ask(lab)
            assert r.body == sent if want == 200 else r.status == 403 or r.cut, r
            assert s.assay.cpu() - cpu < 2, "it spins"
            s.assay.stop()
