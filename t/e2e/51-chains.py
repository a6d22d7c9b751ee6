# SPDX-License-Identifier: GPL-2.0-or-later
"""Chains and fan-out: steps in order, a group at the same time over one pass
of the bytes, the strongest verdict wins, the first block cancels the rest."""
import threading
import time

import lab as e2e
import wire
from lab import EICAR, TESTDB, field, needs, pattern, sha
from wire import ok

BODY = pattern(200000)


def start(lab, chain, body=BODY, clam=False, mode="resp", rules=None, **icaps):
    """Scripted services by name in the given chain: (origin, assayd, tunnel)."""
    services = {n: {"url": s.url(), "mode": mode, "timeout": "8s", **getattr(s, "options_of", {})} for n, s in icaps.items()}
    if clam:
        services["clam"] = {"url": f"clamav:{TESTDB}", "mode": "both"}
    o = lab.origin(lambda h, b: ok(body))
    p = lab.assay(services=services, scan={"download" if mode == "resp" else "upload": chain},
                  rules=rules or [{"name": "default", "scan": ["download" if mode == "resp" else "upload"]}])
    return o, p, lab.tunnel(p, o.port)


def scans(p):
    rec = [r for r in p.access(1) if field(r, "assay.scan")][-1]
    return {s["service"]: s for s in field(rec, "assay.scan")}, rec


def adds(name):
    """A modifier: adds a field with its name and a letter to the body."""
    def script(tx):
        body = tx.whole()
        tx.modified(tx.raw["res-hdr"].replace(b"\r\n\r\n", b"\r\nX-Step: %s\r\n\r\n" % name), body + name, "res")
    return script


def test_steps_in_order(lab):
    """A modified message flows on to the next step."""
    a, b = lab.icap(adds(b"a")), lab.icap(adds(b"b"))
    o, p, t = start(lab, ["b", "a"], a=a, b=b, body=b"x")
    r = t.get()
    assert r.body == b"xba" and r.head.all("X-Step") == ["b", "a"], r.head
    assert a.txs[0].response.all("X-Step") == ["b"]


def test_group_sees_one_body(lab):
    """Both members get every octet; both clean: the original goes on."""
    got = {}

    def script(name):
        def f(tx):
            got[name] = tx.whole()
            tx.no_change()
        return f
    a, b = lab.icap(script("a")), lab.icap(script("b"))
    o, p, t = start(lab, [["a", "b"]], a=a, b=b)
    assert sha(t.get().body) == sha(BODY)
    assert {n: sha(x) for n, x in got.items()} == {"a": sha(BODY), "b": sha(BODY)}
    s, rec = scans(p)
    assert {n: x["outcome"] for n, x in s.items()} == {"a": "clean", "b": "clean"}, s
    assert len(o.requests) == 1


def test_group_works_at_the_same_time(lab):
    gate = threading.Barrier(2, timeout=5)

    def script(tx):
        gate.wait()             # neither answers before both were asked
        tx.no_change()
    o, p, t = start(lab, [["a", "b"]], a=lab.icap(script), b=lab.icap(script))
    assert sha(t.get().body) == sha(BODY)


def test_slowest_member_decides_when(lab):
    """A fast member does not wait for a slow reader's window to block."""
    def slow(tx):
        tx.cont()
        time.sleep(1)
        tx.read_rest()
        tx.no_change()
    body = pattern(8 << 20)
    got = []

    def fast(tx):
        got.append(sha(tx.whole()))
        tx.no_change()
    o, p, t = start(lab, [["a", "b"]], body=body, a=lab.icap(slow), b=lab.icap(fast))
    assert sha(t.get().body) == sha(body) and got == [sha(body)]


def test_block_wins(lab):
    """Clean and blocked: blocked, in either place of the group."""
    for group in (["good", "evil"], ["evil", "good"]):
        with lab.sub(group):
            o, p, t = start(lab, [group], good=lab.icap(), evil=lab.icap(lambda tx: tx.block("evil says no")))
            r = t.get()
            assert r.status == 403 and b"evil says no" in r.body, r
            s, rec = scans(p)
            assert "block" in field(rec, "assay.verdict") and "block" in s["evil"]["outcome"], rec
            p.stop()


def test_first_block_cancels(lab):
    """The rest of the group is dropped at once."""
    gone = []

    def slow(tx):
        started = time.monotonic()
        tx.conn.silent(6)
        gone.append(time.monotonic() - started)
        return "close"
    s = lab.icap(slow)
    o, p, t = start(lab, [["slow", "evil"]], slow=s, evil=lab.icap(lambda tx: tx.block()))
    started = time.monotonic()
    assert t.get().status == 403
    assert time.monotonic() - started < 3 * e2e.lab_scale(), "it waited for the slow one"
    time.sleep(0.1)
    assert wire.wait_for(lambda: gone or not s.txs, 5) and all(g < 4 for g in gone), gone
    said, _ = scans(p)
    assert said["slow"]["outcome"] == "cancelled", said


def test_block_skips_the_rest_of_the_chain(lab):
    b = lab.icap()
    o, p, t = start(lab, ["a", "b"], a=lab.icap(lambda tx: tx.block()), b=b)
    assert t.get().status == 403
    assert not b.txs


def test_modifier_in_a_group_is_misconfigured(lab):
    """It is a block whatever on_error says, and the log says why; its changes
    reach nobody, and neither does what it did not let through."""
    for on_error in ("block", "bypass"):
        with lab.sub(on_error):
            m = lab.icap(adds(b"m"))
            m.options_of = {"on_error": on_error}
            o, p, t = start(lab, [["m", "good"]], m=m, good=lab.icap())
            r = t.get()
            assert not r.head.has("X-Step"), "a group member modified the message"
            assert r.status == 403 and BODY[:50] not in r.body, r
            s, _ = scans(p)
            assert s["m"]["outcome"] == "blocked" and "stands in a group" in s["m"]["reason"], s
            p.stop()


def test_failure_in_a_group(lab):
    """A failed optional member is skipped, a mandatory one blocks."""
    for on_error in ("block", "bypass"):
        with lab.sub(on_error):
            bad = lab.icap(lambda tx: tx.answer("500 No"))
            bad.options_of = {"on_error": on_error}
            o, p, t = start(lab, [["bad", "good"]], bad=bad, good=lab.icap())
            r = t.get()
            if on_error == "block":
                assert r.status in (502, 503, 504), r
            else:
                assert sha(r.body) == sha(BODY)
            p.stop()


def test_failure_in_a_chain(lab):
    """A failed optional step is skipped, the others run on a whole message."""
    bad = lab.icap(lambda tx: (tx.whole(), "close")[1])
    bad.options_of = {"on_error": "bypass"}
    got = []

    def last(tx):
        got.append(sha(tx.whole()))
        tx.no_change()
    o, p, t = start(lab, ["bad", "last"], bad=bad, last=lab.icap(last))
    assert sha(t.get().body) == sha(BODY) and got == [sha(BODY)]
    s, _ = scans(p)
    assert s["bad"]["outcome"] in ("bypassed", "error") and s["last"]["outcome"] == "clean", s


def test_block_beats_failure(lab):
    """A block by one member and a failure of another: blocked."""
    o, p, t = start(lab, [["bad", "evil"]], bad=lab.icap(lambda tx: tx.answer("500 No")), evil=lab.icap(lambda tx: (time.sleep(0.3), tx.block())[1]))
    assert t.get().status in (403, 502, 503)
    assert BODY[:50] not in open(lab.dir / "access.log", "rb").read()


def test_request_chain_and_group(lab):
    """The same for uploads: blocked means nothing at the origin."""
    seen = []

    def clean(tx):
        seen.append(sha(tx.whole()))
        tx.no_change()
    o, p, t = start(lab, [["a", "b"], "c"], mode="req", a=lab.icap(clean), b=lab.icap(clean), c=lab.icap(lambda tx: tx.block()))
    t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
    assert wire.Response(t).status == 403
    assert seen == [sha(BODY)] * 2 and not o.requests


@needs("clamav")
def test_clam_then_group(lab):
    """[clam, [av_a, av_b]], the chain of the manual."""
    a, b = lab.icap(), lab.icap()
    o, p, t = start(lab, ["clam", ["av_a", "av_b"]], clam=True, av_a=a, av_b=b)
    assert sha(t.get().body) == sha(BODY)
    s, rec = scans(p)
    assert list(s) == ["clam", "av_a", "av_b"] or set(s) == {"clam", "av_a", "av_b"}
    assert field(rec, "assay.verdict") == "clean"


@needs("clamav")
def test_clam_blocks_before_the_group(lab):
    a = lab.icap()
    o, p, t = start(lab, ["clam", ["av_a"]], clam=True, body=EICAR, av_a=a)
    assert t.get().status == 403 and not a.txs


@needs("clamav")
def test_clam_in_a_group(lab):
    o, p, t = start(lab, [["av_a", "clam"]], clam=True, body=EICAR, av_a=lab.icap())
    assert t.get().status == 403


@needs("clamav")
def test_clam_scans_what_a_modifier_made(lab):
    """The next step reads the new message."""
    o, p, t = start(lab, ["m", "clam"], clam=True, body=b"harmless",
                    m=lab.icap(lambda tx: tx.modified("HTTP/1.1 200 OK\r\n\r\n", EICAR)))
    assert t.get().status == 403


def test_rule_chooses_the_chain(lab):
    """scan by host, type and size; none."""
    a, b = lab.icap(), lab.icap()
    o = lab.origin(lambda h, x: ok(b"<p>", [("Content-Type", "text/html" if "/html" in h.start else "image/png")]))
    services = {"a": {"url": a.url(), "mode": "resp"}, "b": {"url": b.url(), "mode": "resp"}}
    p = lab.assay(services=services, scan={"one": ["a"], "two": ["b"]},
                  rules=[{"name": "none", "if": {"host": "other.test"}, "scan": "none"},
                         {"name": "html", "if": {"type": ["text/html"]}, "scan": ["one"]},
                         {"name": "rest", "scan": ["two"]}])
    assert lab.tunnel(p, o.port, "other.test").get("/html").status == 200
    assert not a.txs and not b.txs
    t = lab.tunnel(p, o.port)
    assert t.get("/html").status == 200 and (len(a.txs), len(b.txs)) == (1, 0)
    assert t.get("/png").status == 200 and (len(a.txs), len(b.txs)) == (1, 1)


def test_type_that_is_several(lab):
    """Of several types a browser takes the last: a rule that exempts one of them exempts nothing, one that blocks it blocks."""
    kinds = {"/two": [("Content-Type", "image/png"), ("Content-Type", "text/html")], "/turned": [("Content-Type", "text/html"), ("Content-Type", "image/png")],
             "/list": [("Content-Type", "image/png, text/html")], "/many": [("Content-Type", "image/png" + "".join(f", image/{i}" for i in range(20)) + ", x/y")],
             "/one": [("Content-Type", "image/png; a=b")], "/same": [("Content-Type", "image/png")] * 2, "/bad": [("Content-Type", "image/png"), ("Content-Type", "bad/type")]}
    s = lab.icap(lambda tx: tx.no_change())
    o = lab.origin(lambda h, x: ok(b"<p>", kinds[h.start.split()[1]]))
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}},
                  rules=[{"name": "bad", "if": {"type": ["bad/type"]}, "access": "block"}, {"name": "free", "if": {"type": ["image/*"]}, "scan": "none"}])
    t = lab.tunnel(p, o.port)
    for path, asked in (("/two", 1), ("/turned", 1), ("/list", 1), ("/many", 1), ("/one", 0), ("/same", 0)):
        with lab.sub(path):
            had = len(s.txs)
            assert t.get(path).status == 200
            assert len(s.txs) - had == asked
    assert t.get("/bad").status == 403


def test_default_is_all_services(lab):
    """With no rule: every service by its mode, in the order of the file."""
    order = []

    def script(name):
        return lambda tx: (order.append((name, tx.method)), tx.no_change())[1]
    services = {n: {"url": lab.icap(script(n)).url(), "mode": m} for n, m in (("one", "resp"), ("two", "req"), ("three", "resp"))}
    o = lab.origin()
    p = lab.assay(services=services)
    assert lab.tunnel(p, o.port).get().status == 200
    assert order == [("two", "REQMOD"), ("one", "RESPMOD"), ("three", "RESPMOD")], order


def test_identical_members_of_many(lab):
    """Eight at a time over 4 MB."""
    body = pattern(4 << 20)
    got = []

    def script(tx):
        got.append(sha(tx.whole()))
        tx.no_change()
    icaps = {f"s{i}": lab.icap(script) for i in range(8)}
    o, p, t = start(lab, [list(icaps)], body=body, **icaps)
    assert sha(t.get().body) == sha(body)
    assert got == [sha(body)] * 8
