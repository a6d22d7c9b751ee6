# SPDX-License-Identifier: GPL-2.0-or-later
"""What is refused is recorded in full, whatever rules say about logs, and the
reference that somebody reads leads to the record: every way to refuse."""
import json
import re
import ssl

import wire
import lab as e2e
from lab import EICAR, TESTDB, field, needs
from wire import Response, ok

REFERENCE = re.compile(r"[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}")
HTML = b"<!doctype html><html><body>their own page</body></html>\n"
FOUND = ("X-Infection-Found", "Type=0; Resolution=2; Threat=Lab-Eicar;")


def record_of(p, reference):
    def there():
        return [r for r in p.access(0) if field(r, "event.id") == reference]
    assert wire.wait_for(there, 10 * e2e.lab_scale()), f"{reference} is not in the log: {p.access(0)}"
    assert len(there()) == 1
    return there()[0]


def check(p, answer, status=403, rule=None, path="/x", in_body=True, agent="lab/7"):
    """The answer's reference, in all its places, and its whole record."""
    assert answer.status == status, answer
    assert answer.get("Cache-Control") == "no-store", answer.head
    said = answer.get("Proxy-Status") or ""
    assert said.startswith("assay; error="), said
    in_head, in_page = REFERENCE.findall(said), REFERENCE.findall(answer.text())
    assert in_page if in_body else in_head, (said, answer.text())
    assert len(set(in_head + in_page)) == 1, (in_head, in_page)
    r = record_of(p, (in_head + in_page)[0])
    assert field(r, "event.action") in ("block", "error"), r
    assert path in field(r, "url.full"), r
    assert field(r, "user_agent.original") == agent, r
    if rule:
        assert field(r, "assay.rule.access") == rule, r
    return r


def page(head="Content-Type: text/html", body=HTML, fields=(), status="403 Forbidden"):
    return lambda tx: (tx.whole() if tx.has_body else None, tx.modified(f"HTTP/1.1 {status}\r\n{head}\r\n\r\n", body, "res", fields))[1]


def send(conn, host, path="/x", plain=False, method="GET", body=b"", accept="text/html"):
    target = f"http://{host}{path}" if plain else path
    conn.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lab/7\r\nAccept: {accept}\r\n"
              f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return Response(conn, method)


def both_ways(lab, p, plain, tls, **kw):
    """The answer in plain HTTP and in an opened tunnel."""
    yield "plain", send(lab.connect(p), f"plain.test:{plain.port}", plain=True, **kw)
    t = lab.tunnel(p, tls.port)
    yield "tunnel", send(t, t.host, **kw)


def origins(lab, reply=None):
    reply = reply or (lambda h, b: ok(b"x" * 100, [("Content-Type", "application/x-test"), ("Cache-Control", "max-age=9")]))
    return lab.origin(reply, tls=None), lab.origin(reply)


LOGS = ("none", "minimal", "full")


def test_block_by_rule(lab):
    """By host (CONNECT too), by URL, by the response's type, by address."""
    plain, tls = origins(lab)
    for log in LOGS:
        for name, when in (("host", {"host": ["www.test", "plain.test"]}), ("url", {"url": "/x"}), ("type", {"type": "application/x-test"}),
                           ("dest", {"dest": "127.0.0.0/8"}), ("not", {"not": {"host": "elsewhere.test"}})):
            p = lab.assay(rules=[{"name": "quiet", "log": log}, {"name": "no", "if": when, "access": "block"}, {"name": "rest", "scan": "none"}])
            for way, answer in both_ways(lab, p, plain, tls):
                with lab.sub(f"{log} {name} {way}"):
                    r = check(p, answer, rule="no")
                    assert field(r, "event.action") == "block", r
            p.stop()
            (lab.dir / "access.log").unlink()


def test_quiet_flows_stay_quiet(lab):
    """What is delivered, or fails for another reason, is logged as the rule
    says."""
    plain, tls = origins(lab)
    for log, lines in (("none", 0), ("minimal", 2), ("full", 2)):
        with lab.sub(log):
            p = lab.assay(rules=[{"name": "quiet", "log": log, "scan": "none"}])
            for way, answer in both_ways(lab, p, plain, tls):
                assert answer.status == 200 and answer.get("Cache-Control") == "max-age=9", answer
            p.stop()
            seen = p.access(lines)
            assert len(seen) == lines, seen
            for r in seen:
                assert (field(r, "user_agent.original") == "lab/7") == (log == "full"), r
            if lines:
                (lab.dir / "access.log").unlink()


def test_threat_unscanned_and_failure(lab):
    """What a service found, could not see or failed at, at page: replace."""
    plain, tls = origins(lab)
    rows = {"threat": (page(fields=[FOUND]), 403), "block": (lambda tx: (tx.whole(), tx.block())[1], 403),
            "error": (lambda tx: (tx.whole(), tx.answer("500 Error"))[1], 502), "unscanned": (lambda tx: tx.no_change(), 403)}
    for log in LOGS:
        for name, (script, status) in rows.items():
            s = lab.icap(script)
            p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "page": "replace",
                                           **({"max_body": "9"} if name == "unscanned" else {})}}, rules=[{"name": "quiet", "log": log}])
            for way, answer in both_ways(lab, p, plain, tls):
                with lab.sub(f"{log} {name} {way}"):
                    r = check(p, answer, status)
                    assert field(r, "assay.scan")[0]["service"] == "s", r
            p.stop()
            (lab.dir / "access.log").unlink()


@needs("clamav")
def test_clamav(lab):
    plain, tls = origins(lab, lambda h, b: ok(EICAR if b"/x" in h.raw else b"x"))
    for log in LOGS:
        p = lab.assay(services={"c": {"url": f"clamav:{TESTDB}"}}, rules=[{"name": "quiet", "log": log}])
        for way, answer in both_ways(lab, p, plain, tls):
            with lab.sub(f"{log} {way}"):
                r = check(p, answer)
                assert field(r, "assay.verdict") == "blocked", r
        p.stop()
        (lab.dir / "access.log").unlink()


KEPT = {"found": dict(fields=[FOUND]), "nothing said": {}, "cached": dict(head="Content-Type: text/html\r\nCache-Control: max-age=600\r\nExpires: x"),
        "charset": dict(head="Content-Type: text/html; charset=\"UTF-8\""),
        "length": dict(head=f"Content-Type: text/html\r\nContent-Length: {len(HTML)}"), "503": dict(status="503 Busy")}
# Where nothing may be added, the head has it.
AS_IS = {"text": dict(head="Content-Type: text/plain", body=b"no"), "fragment": dict(body=b"<h1>their own page"), "script": dict(body=b"<html><script>x = '"), "coded": dict(
    head="Content-Type: text/html\r\nContent-Encoding: gzip"), "json": dict(head="Content-Type: application/json", body=b"{}"),
    "utf-16": dict(head="Content-Type: text/html; charset=utf-16", body="</html>".encode("utf-16")), "empty": dict(body=None),
    "digest": dict(head="Content-Type: text/html\r\nContent-Digest: sha-256=:AAAA:")}


def run_kept(lab, mode, log):
    plain, tls = origins(lab)
    act = [None]
    s = lab.icap(lambda tx: act[0](tx))
    p = lab.assay(services={"s": {"url": s.url(), "mode": mode, "timeout": "5s"}}, rules=[{"name": "quiet", "log": log}])
    for name, kw in (KEPT | AS_IS).items():
        act[0] = page(**kw)
        for way, answer in both_ways(lab, p, plain, tls, method="POST", body=b"abc"):
            with lab.sub(f"{mode} {log} {name} {way}"):
                r = check(p, answer, 503 if name == "503" else 403, in_body=name in KEPT)
                assert field(r, "event.action") == "block" and field(r, "assay.scan")[0]["service"] == "s", r
                assert REFERENCE.search(answer.get("Proxy-Status")), answer.head
                body = kw.get("body", HTML) or b""
                assert answer.body.startswith(body) if name in KEPT else answer.body == body, answer.body
                assert answer.cut is None and answer.head.all("Cache-Control") == ["no-store"] and not answer.head.has("Expires")
    # A connection goes on behind it.
    act[0] = page()
    t = lab.tunnel(p, tls.port)
    for _ in range(3):
        check(p, send(t, t.host, method="POST", body=b"abc"))
    act[0] = lambda tx: (tx.whole() if tx.has_body else None, tx.no_change())[1]
    assert send(t, t.host, method="POST", body=b"abc").status == 200


def test_kept_page_of_respmod(lab):
    run_kept(lab, "resp", "none")


def test_kept_page_of_reqmod(lab):
    run_kept(lab, "req", "minimal")


def test_kept_page_byte_by_byte(lab):
    """However the service cuts it."""
    plain, tls = origins(lab)
    for size in (1, 2, 7, 31, 32, 33):
        s = lab.icap(lambda tx, size=size: (tx.whole(), tx.modified("HTTP/1.1 403 No\r\nContent-Type: text/html\r\n\r\n", HTML, "res", chunk=size))[1])
        p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}})
        for way, answer in both_ways(lab, p, plain, tls):
            with lab.sub(f"{size} {way}"):
                check(p, answer)
        p.stop()


def test_answer_of_reqmod_under_any_status(lab):
    """A service that answers by itself keeps the request from the origin."""
    plain, tls = origins(lab)
    for status in ("200 OK", "302 Found", "451 No"):
        s = lab.icap(page("Content-Type: text/html\r\nCache-Control: max-age=60\r\nLocation: http://portal.test/", status=status))
        p = lab.assay(services={"s": {"url": s.url(), "mode": "req"}}, rules=[{"name": "quiet", "log": "none"}])
        for way, answer in both_ways(lab, p, plain, tls, method="POST", body=b"abc"):
            with lab.sub(f"{status} {way}"):
                check(p, answer, int(status[:3]))
        p.stop()


def test_changed_answer_is_no_page(lab):
    """A response that a service has changed stays what it is: also an error of
    the origin's own."""
    plain, tls = origins(lab, lambda h, b: ok(b"gone", [("Content-Type", "text/plain"), ("Cache-Control", "max-age=9")], status="404 Not Found"))
    s = lab.icap(page("Content-Type: text/plain\r\nCache-Control: max-age=9", b"changed", status="404 Not Found"))
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}})
    for way, answer in both_ways(lab, p, plain, tls):
        with lab.sub(way):
            assert answer.status == 404 and answer.body == b"changed" and answer.get("Cache-Control") == "max-age=9", answer
            assert not answer.head.has("Proxy-Status"), answer.head


def test_refused_tunnels(lab):
    """No request came through: the tunnel itself is in the log."""
    _, tls = origins(lab)
    p = lab.assay(rules=[{"name": "quiet", "log": "none"}, {"name": "no", "if": {"host": "www.test"}, "access": "block"},
                         {"name": "rest", "scan": "none"}])
    try:
        lab.tunnel(p, tls.port, ca=lab.trust)        # does not trust the leaf
    except (ssl.SSLError, wire.Ended, OSError):
        pass
    r = p.access(1)[-1]
    assert field(r, "event.action") == "block" and field(r, "assay.rule.access") == "no" and field(r, "event.id"), r
    raw = wire.Tunnel(p.addr, f"other.test:{tls.port}")
    raw.send(b"SSH-2.0-lab\r\n")
    raw.silent(5 * e2e.lab_scale())
    raw.cut()
    r = p.access(2)[-1]
    assert field(r, "error.code") == "CLIENT_NOT_TLS" and "other.test" in json.dumps(r), r
    assert field(r, "event.id") in p.log(), "the line in the log names another reference"


def test_spliced_tunnel_denied_by_a_reload(lab):
    """It ends, and its record says by which rule."""
    _, tls = origins(lab)

    def conf(block):
        return dict(rules=[{"name": "quiet", "tls": "splice", "log": "none"}, *([{"name": "now", "access": "block"}] if block else [])])
    p = lab.assay(**conf(False))
    for _ in range(2):
        t = lab.tunnel(p, tls.port, ca=lab.trust)
        assert send(t, t.host).status == 200
    t.cut()
    p.write_conf(lab.conf(p.port, **conf(True)))
    p.reload()
    r = p.access(1)[0]
    assert field(r, "event.action") == "block" and field(r, "assay.rule.access") == "now", r
    assert f"www.test:{tls.port}" in field(r, "url.full"), r
    assert len(p.access(1)) == 1, "a tunnel that was not refused is recorded"
