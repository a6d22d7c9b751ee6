# SPDX-License-Identifier: GPL-2.0-or-later
"""What a service has found is overruled by nothing: no status, no failure, no
policy, no group."""
import wire
from lab import EICAR, TESTDB, field, needs, pattern, sha
from wire import Response, ok

BODY = pattern(5000)
FOUND = ("X-Infection-Found", "Type=0; Resolution=2; Threat=Lab-Eicar;")
REPAIRED = ("X-Infection-Found", "Type=0; Resolution=1; Threat=Lab-Eicar;")
VIOLATION = ("X-Violations-Found", "1\r\n\tfile.exe\r\n\tLab-Eicar\r\n\t7\r\n\t2")


def back(tx, status, fields, end=b"0\r\n\r\n"):
    """The message as it was, under a status and with fields."""
    kind = "res" if tx.method == "RESPMOD" else "req"
    head, body = tx.raw[f"{kind}-hdr"], tx.whole()
    tx.answer(status, f"{kind}-hdr=0, {kind}-body={len(head)}", fields, head + b"%x\r\n%s\r\n" % (len(body), body) + end)


ANSWERS = {
    "204": lambda tx: tx.answer("204 No", fields=[FOUND]),
    "204, repaired": lambda tx: tx.answer("204 No", fields=[REPAIRED]),
    "204 behind the body": lambda tx: (tx.whole(), tx.answer("204 No", None, [("X-Virus-ID", "Lab-Eicar")])),
    "204, folded": lambda tx: tx.answer("204 No", fields=[VIOLATION]),
    "200 null-body": lambda tx: tx.answer("200 OK", fields=[FOUND]),
    "200 null-body, repaired": lambda tx: tx.answer("200 OK", fields=[REPAIRED]),
    "200 without Encapsulated": lambda tx: tx.answer("200 OK", None, [FOUND]),
    "403": lambda tx: tx.answer("403 Forbidden", fields=[("X-Blocked-Reason", "dlp")]),
    "500": lambda tx: tx.answer("500 Error", fields=[FOUND]),
    "503": lambda tx: tx.answer("503 Busy", fields=[FOUND]),
    "299": lambda tx: tx.answer("299 Odd", None, [FOUND]),
    "201, handed back": lambda tx: back(tx, "201 OK", [FOUND]),
    "200, handed back": lambda tx: back(tx, "200 OK", [FOUND]),
    "200, handed back as repaired": lambda tx: back(tx, "200 OK", [REPAIRED]),
    "200, second of two": lambda tx: back(tx, "200 OK", [REPAIRED, FOUND]),
    "200, in a trailer": lambda tx: back(tx, "200 OK", [], b"0\r\n%s: %s\r\n\r\n" % (FOUND[0].encode(), FOUND[1].encode())),
    "200, broken": lambda tx: back(tx, "200 OK", [FOUND], b"-5\r\n"),
    "200, head cut": lambda tx: (tx.answer("200 OK", "res-hdr=0, res-body=90", [FOUND], b"HTTP/1.1 4"), "close")[1],
    "206": lambda tx: tx.answer("206 Part", "res-hdr=0, res-body=19" if tx.method == "RESPMOD" else "req-hdr=0, req-body=18", [FOUND],
                                (b"HTTP/1.1 200 OK\r\n\r\n" if tx.method == "RESPMOD" else b"POST / HTTP/1.1\r\n\r\n") + b"0; use-original-body=0\r\n\r\n"),
}
CLEAN = {
    "204": lambda tx: tx.no_change(),
    "204, says none": lambda tx: tx.answer("204 No", fields=[("X-Virus-ID", "none"), ("X-Violations-Found", "0")]),
    "200, handed back": lambda tx: back(tx, "200 OK", []),
    "500": lambda tx: tx.answer("500 Error"),
}


def fields_206():
    return [(n, "204, 206" if n == "Allow" else v) for n, v in wire.OPTIONS]


def run_rows(lab, mode, rows, check):
    act = [None]
    s = lab.icap(lambda tx: act[0](tx), on_options=lambda tx: tx.answer("200 OK", fields=fields_206()))
    o = lab.origin(lambda h, b: ok(sha(b) if mode == "req" else BODY))
    p = lab.assay(services={"s": {"url": s.url(), "mode": mode, "on_error": "bypass", "on_busy": "bypass", "timeout": "5s"}}, workers=1)
    for name, f in rows.items():
        with lab.sub(f"{mode}: {name}"):
            act[0] = f
            n = len(o.requests)
            t = lab.tunnel(p, o.port)
            if mode == "req":
                t.send(f"POST / HTTP/1.1\r\nHost: {t.host}\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
                check(Response(t, "POST"), len(o.requests) > n)
            else:
                check(t.get(), False)
    return p


def is_blocked(r, at_origin):
    assert r.status == 403 and not r.cut and BODY[:50] not in r.body, r
    assert not at_origin, "the request went to the origin"


def test_finding_counts_on_every_answer(lab):
    for mode in ("resp", "req"):
        p = run_rows(lab, mode, ANSWERS, is_blocked)
        for r in [r for r in p.access(len(ANSWERS), 20) if field(r, "assay.scan")]:
            assert field(r, "event.action") == "block" and field(r, "assay.verdict") == "blocked", r
        p.stop()


def test_no_finding_passes(lab):
    """The controls: the same answers without one, on_error: bypass."""
    def is_good(r, at_origin):
        assert r.status == 200 and (r.body == BODY or r.text() == sha(BODY)), r
    for mode in ("resp", "req"):
        run_rows(lab, mode, CLEAN, is_good).stop()


def test_page_of_the_service_is_kept(lab):
    def check(r, at_origin):
        assert r.status == 403 and r.body == b"by lab" and not at_origin, r
    for mode in ("resp", "req"):
        run_rows(lab, mode, {"page": lambda tx: tx.block("by lab", [FOUND])}, check).stop()


def test_200_without_a_message_is_broken(lab):
    """null-body=0 and no head is no way to say "no change": on_error."""
    for on_error in ("block", "bypass"):
        for mode in ("resp", "req"):
            with lab.sub(f"{mode}, {on_error}"):
                s = lab.icap(lambda tx: tx.answer("200 OK"))
                o = lab.origin(lambda h, b: ok(BODY))
                p = lab.assay(services={"s": {"url": s.url(), "mode": mode, "on_error": on_error}})
                r = lab.tunnel(p, o.port).get()
                if on_error == "bypass":
                    assert r.body == BODY, r
                else:
                    assert r.status == 502 and BODY[:50] not in r.body, r
                p.stop()


def test_trailer_behind_a_long_body_cuts(lab):
    """Named when most of the adapted body is out: never a whole message."""
    def script(tx):
        tx.whole()
        tx.answer("200 OK", "res-hdr=0, res-body=19", (), b"HTTP/1.1 200 OK\r\n\r\n" + b"40000\r\n" + bytes(0x40000) + b"\r\n0\r\nX-Virus-ID: Lab-Eicar\r\n\r\n")
    s = lab.icap(script)
    o = lab.origin(lambda h, b: ok(BODY))
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "on_error": "bypass"}})
    r = lab.tunnel(p, o.port).get()
    assert r.cut or r.status == 403, r


def test_group_member_that_replaces_blocks(lab):
    """In a group a replaced or repaired message is a block, never on_error:
    bypass; a group that leaves it alone passes."""
    def repaired(tx):
        tx.whole()
        tx.modified("HTTP/1.1 200 OK\r\n\r\n", b"repaired", fields=[REPAIRED])
    for name, act, status in (("repaired", repaired, 403), ("replaced", lambda tx: tx.echo(), 403), ("clean", lambda tx: tx.no_change(), 200)):
        with lab.sub(name):
            m, good = lab.icap(act), lab.icap()
            o = lab.origin(lambda h, b: ok(BODY))
            p = lab.assay(services={n: {"url": s.url(), "mode": "resp", "on_error": "bypass", "on_unscanned": "bypass"} for n, s in (("m", m), ("good", good))},
                          scan={"c": [["m", "good"]]}, rules=[{"name": "r", "scan": ["c"]}])
            r = lab.tunnel(p, o.port).get()
            assert r.status == status and (BODY[:50] in r.body) == (status == 200) and b"repaired" not in r.body, r
            p.stop()


# ---------------------------------------------------- larger than max_body
def outcome(p, port):
    def mine():
        return [r for r in p.access(0) if field(r, "assay.scan") and field(r, "url.port") == port]
    assert wire.wait_for(mine, 10)
    return field(mine()[-1], "assay.scan")[-1], field(mine()[-1], "assay.verdict")


def larger(lab, service, body, declared, over):
    """A body of which declared bytes are announced: (response, assayd, port)."""
    def reply(h, b):
        return lambda c: (c.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % declared + body), "close")[1]
    o = lab.origin(reply)
    p = lab.assay(services={"s": dict(service, mode="resp", max_body="10K", over_max=over, timeout="5s") if "icap" in service["url"]
                            else dict(service, max_body="10K", over_max=over)})
    return lab.tunnel(p, o.port).get(), p, o.port


def size_rows(lab, service, infected):
    big = pattern(20000)
    for name, body, declared, over, good in (("whole", big, 20000, "bypass", True), ("whole", big, 20000, "block", False),
                                             ("only declared", big[:100], 20000, "bypass", False),
                                             ("only declared", big[:10240], 20000, "bypass", False),
                                             ("infected", infected + big, 20000 + len(infected), "bypass", False),
                                             ("infected, only declared", infected, 20000, "bypass", False),
                                             ("small", big[:5000], 5000, "bypass", True)):
        with lab.sub(f"{name}, {over}"):
            try:
                r, p, port = larger(lab, service, body, declared, over)
            except wire.Ended:
                assert not good
                continue
            if good:
                assert r.status == 200 and r.body == body and not r.cut, r
                s, verdict = outcome(p, port)
                if declared > 10240:
                    assert s["outcome"] == "bypassed" and s["bytes"] == 10240 and "first 10240 bytes" in s["reason"] and verdict == "unscanned", s
                else:
                    assert s["outcome"] == "clean", s
            else:
                assert body[:50] not in r.body and (r.status in (403, 413, 502)), r
            p.stop()


def test_declared_length_is_no_bypass_icap(lab):
    def script(tx):
        body = tx.whole()
        if tx.response.get("Content-Length"):
            assert int(tx.response.get("Content-Length")) == len(body), tx.response
        tx.answer("204 No", fields=[FOUND] if b"bad" in body else [])
    s = lab.icap(script)
    size_rows(lab, {"url": s.url(), "on_error": "block"}, b"bad")


@needs("clamav")
def test_declared_length_is_no_bypass_clamav(lab):
    size_rows(lab, {"url": f"clamav:{TESTDB}"}, EICAR)


def test_over_max_blocks_by_default(lab):
    s = lab.icap()
    o = lab.origin(lambda h, b: ok(pattern(20000)))
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "max_body": "10K"}})
    assert lab.tunnel(p, o.port).get().status == 403
    assert not s.txs


# --------------------------------------------------------- Transfer-Ignore
def test_transfer_ignore(lab):
    """scan is the default; obey only where URL, Content-Disposition and
    Content-Type agree, and then the record says unscanned, bypassed. Not what
    over_max or on_unscanned says about other gaps."""
    def reply(h, b):
        path = h.start.split()[1]
        return ok(BODY, [("Content-Type", "image/gif")] if path.startswith("/typed") else
                  [("Content-Type", "image/gif"), ("Content-Disposition", "attachment; filename=x.exe")] if path.startswith("/named") else [])
    rows = (("scan", "/typed/x.gif", True), ("obey", "/typed/x.gif", False), ("obey", "/typed/x.exe?.gif", True), ("obey", "/named/x.gif", True), ("obey", "/x.gif", True))
    for how, path, scanned in rows:
        with lab.sub(f"{how} {path}"):
            s = lab.icap(lambda tx: tx.block(), on_options=lambda tx: tx.answer("200 OK", fields=[*wire.OPTIONS, ("Transfer-Ignore", "gif")]))
            o = lab.origin(reply)
            p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", **({} if how == "scan" else {"transfer_ignore": how})}})
            r = lab.tunnel(p, o.port).get(path)
            assert (r.status == 403) == scanned and bool(s.txs) == scanned, r
            if not scanned:
                assert r.body == BODY
                got, verdict = outcome(p, o.port)
                assert got["outcome"] == "bypassed" and "want" in got["reason"] and verdict == "unscanned", got
            p.stop()
