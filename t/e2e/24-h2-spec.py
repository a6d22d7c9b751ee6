# SPDX-License-Identifier: GPL-2.0-or-later
"""What RFC 9113 and RFC 7541 ask of a server, case by case, as h2spec asks it:
each on a connection of its own, as what comes first and behind a request."""
import struct
import time

import h2wire
import wire
from h2wire import (ACK, CANCEL, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, GOAWAY, HEADERS, INITIAL_WINDOW,
                    MAX_FRAME, PADDED, PING, PRIORITY, PROTOCOL_ERROR, PUSH, REFUSED_STREAM, RST, SETTINGS, WINDOW)
from lab import seconds
from wire import ok

STREAM_CLOSED, FRAME_SIZE_ERROR = 5, 6
WITH_PRIORITY = 0x20
WHOLE = END_HEADERS | END_STREAM
MANY = 128                      # streams: more than are announced
CASES = []


def case(section, title):
    def deco(f):
        CASES.append((f"{section}: {title}", f))
        return f
    return deco


# ---------------------------------------------------------------- judgements
def ends(h, *codes):
    """A connection error: GOAWAY with its code, and the end."""
    assert h.is_over(8), "the connection goes on"
    assert h.goaway and h.goaway[1] in codes, f"GOAWAY {h.goaway} instead of {codes}"


def resets(h, sid, *codes):
    """A stream error; the connection goes on."""
    st = h.streams[sid]
    assert h.until(lambda: st.reset is not None or h.goaway, 8), f"{st} goes on"
    assert st.reset in codes, f"{st}, GOAWAY {h.goaway}, instead of {codes}"
    lives(h)


def either(h, sid, *codes):
    """Where the RFC leaves it open whom the error ends."""
    st = h.streams[sid]
    h.until(lambda: st.reset is not None or h.goaway, 8)
    assert (h.goaway[1] if h.goaway else st.reset) in codes, f"{st}, GOAWAY {h.goaway}, instead of {codes}"


def answers(h, sid):
    st = h.wait(sid)
    assert st.whole and st.status == 200 and st.reset is None, st


def lives(h):
    r = h.get("/lives")
    assert r.whole and r.status == 200, (r, h.goaway)


# ------------------------------------------------------------------- helpers
def block(h, fields=None, **kw):
    return h.enc.encode(fields if fields is not None else h.pseudo(**kw))


def raw(h, payload, flags=WHOLE, kind=HEADERS):
    sid = h.open()
    h.send(kind, flags, sid, payload)
    return sid


def post(h, end=False):
    return h.request("/", "POST", end=end)


def closed(h):
    """A stream that was served and is closed on both sides."""
    sid = h.request("/")
    answers(h, sid)
    return sid


def halves(h):
    """A stream whose client's side has ended, and whose answer is not out."""
    return h.request("/slow")


def u32(n):
    return struct.pack(">I", n)


def setting(k, v):
    return struct.pack(">HI", k, v)


# ------------------------------------------------------------- what is served
@case("3.4", "the server's preface is a SETTINGS frame")
def _(h):
    assert h.frames[0][0] == SETTINGS and not h.frames[0][1] & ACK, h.frames[:1]


@case("4.1", "a frame of an unknown type is ignored")
def _(h):
    h.send(0xee, 0, 0, b"\0" * 8)
    h.send(0xee, 0xff, 0, b"")
    lives(h)


@case("4.1", "undefined flags are ignored")
def _(h):
    h.send(PING, 0xfe, 0, b"flagged!")
    assert h.until(lambda: h.pongs > 0, 8)


@case("4.1", "the reserved bit is ignored")
def _(h):
    h.send(PING, 0, 1 << 31, b"reserved")
    assert h.until(lambda: h.pongs > 0, 8)


@case("4.2", "DATA of 2^14 octets is taken")
def _(h):
    sid = post(h)
    h.data(sid, b"x" * 16384, size=16384)
    answers(h, sid)


@case("5.1", "PRIORITY is taken in every state")
def _(h):
    h.send(PRIORITY, 0, h.next + 20, u32(0) + b"\xff")
    sid = halves(h)
    h.send(PRIORITY, 0, sid, u32(0) + b"\0")
    answers(h, sid)
    h.send(PRIORITY, 0, sid, u32(1 << 31) + b"\0")
    lives(h)


@case("5.1", "WINDOW_UPDATE and RST_STREAM behind the end of a request")
def _(h):
    sid = halves(h)
    h.update(sid, 1000)
    answers(h, sid)
    sid = halves(h)
    h.reset(sid)
    lives(h)


@case("5.5", "an unknown frame between HEADERS of a request and its DATA")
def _(h):
    sid = post(h)
    h.send(0xee, 0, sid, b"?")
    h.data(sid, b"x")
    answers(h, sid)


@case("6.1", "DATA with padding, and of padding alone")
def _(h):
    sid = post(h)
    h.send(DATA, PADDED, sid, b"\x06abcd" + bytes(6))
    h.send(DATA, PADDED, sid, b"\x06" + bytes(6))
    h.send(DATA, PADDED | END_STREAM, sid, b"\0")
    answers(h, sid)


@case("6.2", "HEADERS with padding and priority")
def _(h):
    answers(h, raw(h, b"\x06" + block(h) + bytes(6), WHOLE | PADDED))
    answers(h, raw(h, u32(0) + b"\xff" + block(h), WHOLE | WITH_PRIORITY))
    answers(h, raw(h, b"\x03" + u32(1 << 31) + b"\0" + block(h) + bytes(3), WHOLE | PADDED | WITH_PRIORITY))


@case("6.5.2", "an unknown setting is ignored")
def _(h):
    h.send(SETTINGS, 0, 0, setting(0xff, 1))
    lives(h)


@case("6.5.3", "of several values the last one counts")
def _(h):
    h.send(SETTINGS, 0, 0, setting(INITIAL_WINDOW, 100) + setting(INITIAL_WINDOW, 1))
    sid = h.request("/")
    st = h.streams[sid]
    h.until(lambda: st.body)
    assert len(st.body) == 1, st
    h.update(sid, 1000)
    answers(h, sid)


@case("6.5.3", "SETTINGS are acknowledged")
def _(h):
    h.send(SETTINGS, 0, 0, setting(INITIAL_WINDOW, 1 << 20))
    assert h.until(lambda: (SETTINGS, ACK, 0, 0) in h.frames, 8)


@case("6.7", "PING is answered with what it holds, an answer is not")
def _(h):
    h.send(PING, ACK, 0, b"unasked!")
    assert h.is_alive() and h.pongs == 1


@case("6.9.1", "a window of one octet is kept")
def _(h):
    h.send(SETTINGS, 0, 0, setting(INITIAL_WINDOW, 1))
    st = h.streams[h.request("/")]
    h.gives = False
    h.until(lambda: st.body)
    assert h.is_alive() and len(st.body) == 1, st
    for _ in range(6):
        h.update(st.id, 1)
    answers(h, st.id)           # its end needs no window


@case("6.9.2", "a window that grows, and one that was below zero")
def _(h):
    h.gives = False
    h.send(SETTINGS, 0, 0, setting(INITIAL_WINDOW, 3))
    st = h.streams[h.request("/")]
    h.until(lambda: len(st.body) == 3)
    h.send(SETTINGS, 0, 0, setting(INITIAL_WINDOW, 2))
    h.update(st.id, 2)
    h.until(lambda: len(st.body) >= 4)
    assert h.is_alive() and len(st.body) == 4, st
    h.send(SETTINGS, 0, 0, setting(INITIAL_WINDOW, 65535))
    answers(h, st.id)


@case("6.10", "several CONTINUATION frames, and empty ones")
def _(h):
    b = block(h, h.pseudo() + [("x-a", "b")])
    sid = raw(h, b[:1], END_STREAM)
    h.send(CONTINUATION, 0, sid, b[1:3])
    h.send(CONTINUATION, 0, sid, b"")
    h.send(CONTINUATION, END_HEADERS, sid, b[3:])
    answers(h, sid)


@case("7", "unknown codes are like INTERNAL_ERROR")
def _(h):
    sid = halves(h)
    h.reset(sid, 0xff)
    lives(h)


@case("6.8", "what is open is served behind the client's GOAWAY")
def _(h):
    sid = halves(h)
    h.send(GOAWAY, 0, 0, u32(0) + u32(0xff) + b"debug")
    answers(h, sid)


@case("8.1", "GET, HEAD, POST, and POST with trailers")
def _(h):
    answers(h, h.request("/"))
    st = h.get("/", "HEAD")
    assert st.whole and st.status == 200 and not st.body, st
    sid = post(h)
    h.data(sid, b"x", end=False)
    h.trailers(sid, [("x-sum", "1")])
    answers(h, sid)


@case("RFC 7541 6", "every representation of a field")
def _(h):
    authority = h.authority.encode()

    def text(s):
        return bytes([len(s)]) + s
    start = b"\x82\x87\x84\x01" + text(authority)       # :authority without indexing
    for more in (b"", b"\x40" + text(b"x-a") + text(b"b"), b"\0" + text(b"x-a") + text(b"b"), b"\x10" + text(b"x-a") + text(b"b"),
                 b"\x7a" + text(b"ua"), b"\x0f\x2b" + text(b"ua"), b"\x1f\x2b" + text(b"ua"), b"\xbe"):
        answers(h, raw(h, start + more))
    answers(h, raw(h, b"\x20" + start))
    answers(h, raw(h, b"\x20\x3f\xe1\x1f" + start))     # 0, then 4096


# ---------------------------------------------------------- connection errors
@case("4.2", "HEADERS longer than SETTINGS_MAX_FRAME_SIZE")
def _(h):
    raw(h, b"\0" * (h.peer.get(MAX_FRAME, 16384) + 1))
    ends(h, FRAME_SIZE_ERROR)


@case("4.2", "DATA longer than SETTINGS_MAX_FRAME_SIZE")
def _(h):
    sid = post(h)
    h.send(DATA, 0, sid, b"\0" * (h.peer.get(MAX_FRAME, 16384) + 1))
    either(h, sid, FRAME_SIZE_ERROR)


@case("4.3", "a block that cannot be decoded")
def _(h):
    raw(h, b"\x82\x87\x84\x40\x01\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
    ends(h, COMPRESSION_ERROR)


for inside, what in (("PRIORITY", (PRIORITY, 0, 0, u32(0) + b"\0")), ("HEADERS of another stream", (HEADERS, WHOLE, 2, b"\x82")), ("DATA", (DATA, 0, 0, b"x")),
                     ("PING", (PING, 0, None, bytes(8))), ("an unknown frame", (0xee, 0, 0, b"")), ("HEADERS of the same stream", (HEADERS, WHOLE, 0, b"\x82")),
                     ("CONTINUATION of another stream", (CONTINUATION, END_HEADERS, 2, b"\x82")), ("SETTINGS", (SETTINGS, 0, None, b""))):
    @case("4.3, 6.2, 6.10", f"{inside} inside a block")
    def _(h, what=what):
        kind, flags, off, payload = what
        sid = raw(h, block(h), END_STREAM)
        h.send(kind, flags, 0 if off is None else sid + off, payload)
        ends(h, PROTOCOL_ERROR)


for name, kind, payload in (("DATA", DATA, b"x"), ("RST_STREAM", RST, u32(CANCEL)), ("WINDOW_UPDATE", WINDOW, u32(100)), ("CONTINUATION", CONTINUATION, b"\x82")):
    @case("5.1", f"{name} on an idle stream")
    def _(h, kind=kind, payload=payload):
        h.send(kind, END_HEADERS if kind == CONTINUATION else 0, h.next, payload)
        ends(h, PROTOCOL_ERROR, *([STREAM_CLOSED] if kind == DATA else []))


@case("5.1", "DATA behind the end of a request")
def _(h):
    sid = halves(h)
    h.send(DATA, END_STREAM, sid, b"x")
    either(h, sid, STREAM_CLOSED)


@case("5.1", "HEADERS behind the end of a request")
def _(h):
    sid = halves(h)
    h.send(HEADERS, WHOLE, sid, block(h))
    either(h, sid, STREAM_CLOSED)


@case("5.1", "CONTINUATION behind the end of a request")
def _(h):
    sid = halves(h)
    h.send(CONTINUATION, END_HEADERS, sid, block(h))
    ends(h, PROTOCOL_ERROR, STREAM_CLOSED)


for how in ("reset", "served"):
    @case("5.1", f"DATA on a stream that was {how}")
    def _(h, how=how):
        sid = closed(h) if how == "served" else halves(h)
        if how == "reset":
            h.reset(sid)
        h.send(DATA, END_STREAM, sid, b"x")
        h.send(PING, 0, 0, bytes(8))
        h.until(lambda: h.pongs or h.goaway or h.streams[sid].reset is not None)
        # One that it has forgotten is a connection error, one that it has not may be ignored.
        assert not h.goaway or h.goaway[1] == STREAM_CLOSED, h.goaway
        assert h.streams[sid].reset in (None, STREAM_CLOSED), h.streams[sid]

    @case("5.1", f"HEADERS on a stream that was {how}")
    def _(h, how=how):
        sid = closed(h) if how == "served" else halves(h)
        if how == "reset":
            h.reset(sid)
        h.send(HEADERS, WHOLE, sid, block(h))
        either(h, sid, STREAM_CLOSED) if how == "served" else h.until(lambda: h.goaway, 1)
        assert not h.goaway or h.goaway[1] in (STREAM_CLOSED, PROTOCOL_ERROR), h.goaway

    @case("5.1", f"CONTINUATION on a stream that was {how}")
    def _(h, how=how):
        sid = closed(h) if how == "served" else halves(h)
        if how == "reset":
            h.reset(sid)
        h.send(CONTINUATION, END_HEADERS, sid, block(h))
        ends(h, STREAM_CLOSED, PROTOCOL_ERROR)


@case("5.1.1", "an even stream number")
def _(h):
    h.send(HEADERS, WHOLE, h.next + 1, block(h))
    ends(h, PROTOCOL_ERROR)


@case("5.1.1", "a stream number below the last one")
def _(h):
    h.next += 4
    closed(h)
    h.send(HEADERS, WHOLE, h.next - 4, block(h))
    ends(h, PROTOCOL_ERROR, STREAM_CLOSED)


@case("5.1.2", "more streams than are announced")
def _(h):
    assert h.until(lambda: 3 in h.peer) and h.peer[3] < MANY
    sids = [post(h) for _ in range(MANY)]
    over = [h.streams[s] for s in sids[h.peer[3]:]]
    h.until(lambda: h.goaway or all(st.reset is not None for st in over), 8)
    # nghttp2 ends the connection of a client that has acknowledged the limit.
    if h.goaway:
        assert h.goaway[1] == PROTOCOL_ERROR, h.goaway
        return
    assert {st.reset for st in over} == {REFUSED_STREAM}, over
    for s in sids[:h.peer[3]]:
        h.reset(s)
    lives(h)


for title, args, codes in (
        ("6.1: DATA on stream 0", (DATA, 0, 0, b"x"), (PROTOCOL_ERROR,)),
        ("6.2: HEADERS on stream 0", (HEADERS, WHOLE, 0, b"\x82"), (PROTOCOL_ERROR,)),
        ("6.3: PRIORITY on stream 0", (PRIORITY, 0, 0, u32(1) + b"\0"), (PROTOCOL_ERROR,)),
        ("6.4: RST_STREAM on stream 0", (RST, 0, 0, u32(CANCEL)), (PROTOCOL_ERROR,)),
        ("6.5: SETTINGS that are acknowledged with a payload", (SETTINGS, ACK, 0, bytes(6)), (FRAME_SIZE_ERROR,)),
        ("6.5: SETTINGS on a stream", (SETTINGS, 0, 1, b""), (PROTOCOL_ERROR,)),
        ("6.5: SETTINGS of three octets", (SETTINGS, 0, 0, bytes(3)), (FRAME_SIZE_ERROR,)),
        ("6.5.2: ENABLE_PUSH of 2", (SETTINGS, 0, 0, setting(2, 2)), (PROTOCOL_ERROR,)),
        ("6.5.2: INITIAL_WINDOW_SIZE of 2^31", (SETTINGS, 0, 0, setting(INITIAL_WINDOW, 1 << 31)), (FLOW_CONTROL_ERROR,)),
        ("6.5.2: MAX_FRAME_SIZE below 2^14", (SETTINGS, 0, 0, setting(MAX_FRAME, 16383)), (PROTOCOL_ERROR,)),
        ("6.5.2: MAX_FRAME_SIZE of 2^24", (SETTINGS, 0, 0, setting(MAX_FRAME, 1 << 24)), (PROTOCOL_ERROR,)),
        ("RFC 8441 3: ENABLE_CONNECT_PROTOCOL of 2", (SETTINGS, 0, 0, setting(8, 2)), (PROTOCOL_ERROR,)),
        ("6.7: PING on a stream", (PING, 0, 1, bytes(8)), (PROTOCOL_ERROR,)),
        ("6.7: PING of six octets", (PING, 0, 0, bytes(6)), (FRAME_SIZE_ERROR,)),
        ("6.8: GOAWAY on a stream", (GOAWAY, 0, 1, bytes(8)), (PROTOCOL_ERROR,)),
        ("6.8: GOAWAY of seven octets", (GOAWAY, 0, 0, bytes(7)), (FRAME_SIZE_ERROR,)),
        ("6.9: WINDOW_UPDATE of 0", (WINDOW, 0, 0, u32(0)), (PROTOCOL_ERROR,)),
        ("6.9: WINDOW_UPDATE of three octets", (WINDOW, 0, 0, bytes(3)), (FRAME_SIZE_ERROR,)),
        ("6.10: CONTINUATION on stream 0", (CONTINUATION, END_HEADERS, 0, b"\x82"), (PROTOCOL_ERROR,))):
    @case(*title.split(": "))
    def _(h, args=args, codes=codes):
        h.send(*args)
        ends(h, *codes)


for title, kind, payload, codes in (
        ("6.4: RST_STREAM of three octets", RST, bytes(3), (FRAME_SIZE_ERROR,)),
        ("6.1: DATA with more padding than payload", DATA, b"\x07abc", (PROTOCOL_ERROR,)),
        ("8.4: PUSH_PROMISE of a client", PUSH, u32(2) + b"\x82", (PROTOCOL_ERROR,)),
        ("6.10: CONTINUATION behind a whole block", CONTINUATION, b"\x82", (PROTOCOL_ERROR,))):
    @case(*title.split(": "))
    def _(h, kind=kind, payload=payload, codes=codes):
        sid = post(h)
        h.send(kind, {DATA: PADDED, CONTINUATION: END_HEADERS, PUSH: END_HEADERS}.get(kind, 0), sid, payload)
        ends(h, *codes)


@case("6.2", "HEADERS with more padding than payload")
def _(h):
    raw(h, b"\xff" + block(h), WHOLE | PADDED)
    ends(h, PROTOCOL_ERROR)


@case("6.3", "PRIORITY of four octets")
def _(h):
    sid = post(h)
    h.send(PRIORITY, 0, sid, bytes(4))
    either(h, sid, FRAME_SIZE_ERROR)


@case("6.9", "WINDOW_UPDATE of 0 on a stream")
def _(h):
    sid = halves(h)
    h.update(sid, 0)
    either(h, sid, PROTOCOL_ERROR)


@case("6.9.1", "windows beyond 2^31 - 1")
def _(h):
    sid = halves(h)
    h.update(sid, (1 << 31) - 1)
    h.update(sid, (1 << 31) - 1)
    either(h, sid, FLOW_CONTROL_ERROR)


@case("6.9.1", "the connection's window beyond 2^31 - 1")
def _(h):
    h.update(0, (1 << 31) - 1)
    h.update(0, (1 << 31) - 1)
    ends(h, FLOW_CONTROL_ERROR)


@case("6.10", "CONTINUATION behind DATA")
def _(h):
    sid = post(h)
    h.data(sid, b"x", end=False)
    h.send(CONTINUATION, END_HEADERS, sid, block(h))
    ends(h, PROTOCOL_ERROR)


# -------------------------------------------------------------- stream errors
@case("8.1", "a second HEADERS without END_STREAM")
def _(h):
    sid = post(h)
    h.send(HEADERS, END_HEADERS, sid, block(h, [("x-sum", "1")]))
    resets(h, sid, PROTOCOL_ERROR)


def without(h, name):
    return [f for f in h.pseudo() if f[0] != name]


for title, fields in (
        ("8.2.1: a name with capitals", lambda h: h.pseudo() + [("X-A", "b")]),
        ("8.2.1: an empty name", lambda h: h.pseudo() + [("", "b")]),
        ("8.2.1: blanks around a value", lambda h: h.pseudo() + [("x-a", " b")]),
        ("8.2.1: a colon in a name", lambda h: h.pseudo() + [("x:a", "b")]),
        ("8.3: an unknown pseudo field", lambda h: h.pseudo() + [(":test", "ok")]),
        ("8.3: the pseudo field of answers", lambda h: h.pseudo() + [(":status", "200")]),
        ("8.3: a pseudo field behind others", lambda h: [("x-a", "b"), *h.pseudo()]),
        ("8.2.2: a field of the connection", lambda h: h.pseudo() + [("connection", "keep-alive")]),
        ("8.2.2: TE that is not trailers", lambda h: h.pseudo() + [("te", "trailers, deflate")]),
        ("8.3.1: an empty :path", lambda h: h.pseudo(path="")),
        *[(f"8.3.1: no {n}", lambda h, n=n: without(h, n)) for n in (":method", ":scheme", ":path")],
        *[(f"8.3.1: {n} twice", lambda h, n=n: h.pseudo() + [f for f in h.pseudo() if f[0] == n]) for n in (":method", ":scheme", ":path", ":authority")]):
    @case(*title.split(": "))
    def _(h, fields=fields):
        resets(h, raw(h, block(h, fields(h))), PROTOCOL_ERROR)


@case("8.3", "a pseudo field in trailers")
def _(h):
    sid = post(h)
    h.data(sid, b"x", end=False)
    h.trailers(sid, [(":method", "GET")])
    resets(h, sid, PROTOCOL_ERROR)


@case("8.1.1", "Content-Length that is not the length")
def _(h):
    for pieces in ((b"test",), (b"te", b"st")):
        sid = h.request("/", "POST", [("content-length", "1")], end=False)
        for piece in pieces:
            h.data(sid, piece, end=piece is pieces[-1])
        resets(h, sid, PROTOCOL_ERROR)
    sid = h.request("/", "POST", [("content-length", "9")], end=False)
    h.data(sid, b"test")
    resets(h, sid, PROTOCOL_ERROR)


# --------------------------------------------------------------------- HPACK
for title, payload in (
        ("2.3.3: an index beyond the tables", b"\xff\x80\x01"),
        ("2.3.3: a name of an index beyond the tables", b"\x7f\x80\x01\x01a"),
        ("4.2: a size of the table behind a field", b"\x82\x84\x87\x20"),
        ("5.2: padding of a string longer than seven bits", b"\x82\x84\x87\0\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
        ("5.2: padding of a string that is not of ones", b"\x82\x84\x87\0\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
        ("5.2: a string with EOS", b"\x82\x84\x87\0\x85\xf2\xb2\x4a\x84\xff\x87\xff\xff\xff\xfd\x25\x42\x7f"),
        ("6.1: index 0", b"\x80"),
        ("6.3: a table larger than is allowed", b"\x3f\xe1\xff\xff\x07\x82")):
    @case("RFC 7541 " + title.split(": ")[0], title.split(": ")[1])
    def _(h, payload=payload):
        raw(h, payload)
        ends(h, COMPRESSION_ERROR)


# ---------------------------------------------------------------------- tests
def reply(head, body):
    if "/slow" in head.start:
        time.sleep(0.2)
    return ok(b"answer\n")


@seconds(240)
def test_cases(lab):
    o = lab.origin(reply)
    p = lab.assay()
    for first in (True, False):
        for title, f in CASES:
            with lab.sub(f"{title} ({'first' if first else 'later'})"):
                h = h2wire.peer(lab, p, o.port)
                h.until(lambda: h.peer)
                if not first:
                    lives(h)
                h.pongs = 0
                f(h)
                h.cut()
    assert p.alive()


def test_preface(lab):
    """3.4: what does not begin as HTTP/2 does is none."""
    o = lab.origin()
    p = lab.assay()
    for bad in (b"INVALID CONNECTION PREFACE\r\n\r\n", h2wire.PREFACE + h2wire.frame(PING, 0, 0, bytes(8))):
        with lab.sub(repr(bad[:8])):
            h = h2wire.peer(lab, p, o.port, preface=False)
            h.c.send(bad)
            assert h.is_over(8)
            assert not h.goaway or h.goaway[1] == PROTOCOL_ERROR, h.goaway
    assert not o.requests
