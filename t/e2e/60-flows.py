# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole flows, as an administrator and a person see them: rules, pages, logs,
the internal site, held downloads."""
import json
import re
import socket
import time

import lab as e2e
import wire
from lab import EICAR, TESTDB, field, needs, pattern, sha
from wire import Response, ok

REFERENCE = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}\b")
BLOCK = [{"name": "no-exe", "if": {"url": r"\.exe($|\?)"}, "access": "block"}, {"name": "default", "scan": "none"}]


def test_nginx_and_curl(lab):
    """Real ends on both sides: files, ranges, 404, HEAD, keep-alive."""
    body = pattern(300000)
    n = lab.nginx({"a.bin": body, "i.html": b"<p>hi"})
    p = lab.assay()
    base = f"https://www.test:{n.port}"
    assert sha(lab.curl(p, base + "/a.bin").body) == sha(body)
    r = lab.curl(p, base + "/a.bin", "-r", "100-199")
    assert r.status == 206 and r.body == body[100:200]
    assert lab.curl(p, base + "/none").status == 404
    assert lab.curl(p, base + "/a.bin", "-I").fields.get("Content-Length") == "300000"
    assert lab.curl(p, f"http://www.test:{n.plain}/i.html").body == b"<p>hi"
    r = lab.curl(p, base + "/i.html", "-w", "%{num_connects}", base + "/a.bin", "-o", "/dev/null", "-o", "/dev/null")
    assert r.body in (b"10", b"11", b"21"), r.body


def test_block_page_html(lab):
    """For navigations: HTML with the reference, escaped, no script, no fetch."""
    o = lab.origin()
    p = lab.assay(rules=BLOCK)
    t = lab.tunnel(p, o.port)
    for fields in ("Sec-Fetch-Mode: navigate\r\nAccept: */*\r\n", "Accept: text/html,*/*;q=0.8\r\n"):
        with lab.sub(fields):
            r = t.get("/<script>alert(1)</script>\"'.exe".replace("<", "%3C").replace(">", "%3E").replace('"', "%22"), fields=fields)
            page = r.text()
            assert r.status == 403 and "text/html" in r.get("Content-Type") and "utf-8" in r.get("Content-Type").lower(), r.head
            assert r.get("Cache-Control") == "no-store" and "error=http_request_denied" in r.get("Proxy-Status"), r.head
            assert r.get("Proxy-Status").startswith("assay"), r.head
            assert REFERENCE.search(page) and "www.test" in page, page
            assert "<script" not in page.lower() and not re.search(r'(src|href)="https?://(?!assay\.internal)', page), page
            assert re.search(r"<html[^>]* lang=", page)
    assert not o.requests


def test_block_page_json_and_text(lab):
    o = lab.origin()
    p = lab.assay(rules=BLOCK)
    t = lab.tunnel(p, o.port)
    r = t.get("/a.exe", fields="Accept: application/json\r\n")
    assert r.status == 403 and r.get("Content-Type").startswith("application/problem+json"), r.head
    j = json.loads(r.body)
    assert j["status"] == 403 and j["title"] and REFERENCE.search(json.dumps(j)), j
    r = t.get("/a.exe", fields="Accept: */*\r\n")
    assert r.get("Content-Type").startswith("text/plain") and len(r.text().strip().splitlines()) == 3, r.text()
    assert REFERENCE.search(r.text())
    r = t.get("/a.exe", method="HEAD")
    assert r.status == 403 and not t.buf
    assert t.get("/fine").status == 200, "the connection goes on after a block"


def test_block_with_a_body_on_its_way(lab):
    """A page while the client uploads: it arrives, and the next request is in
    step or the connection closed."""
    o = lab.origin()
    p = lab.assay(rules=BLOCK)
    r = lab.curl(p, f"https://www.test:{o.port}/x.exe", "--data-binary", "@-", "-H", "Expect:", data=pattern(3 << 20))
    assert r.status == 403, r.errors
    assert not o.requests


def test_reference_is_the_same_everywhere(lab):
    o = lab.origin()
    p = lab.assay(rules=BLOCK)
    r = lab.tunnel(p, o.port).get("/a.exe")
    ref = REFERENCE.search(r.text())[0]
    recs = [x for x in p.access(1) if field(x, "event.id") == ref]
    assert len(recs) == 1 and field(recs[0], "event.action") == "block", p.access(1)
    assert field(recs[0], "assay.rule.access") == "no-exe" or "no-exe" in json.dumps(recs[0]), recs


def test_access_record(lab):
    """ECS names, one record a flow, queries dropped, no credentials."""
    o = lab.origin(lambda h, b: ok(b"12345", [("Set-Cookie", "sid=secret")]))
    p = lab.assay()
    t = lab.tunnel(p, o.port)
    t.get("/path?token=secret", fields="Cookie: c=secret\r\nAuthorization: Basic secret\r\nUser-Agent: lab/1\r\n")
    t.close()
    rec = [r for r in p.access(1) if field(r, "http.request.method") == "GET"]
    assert len(rec) == 1, p.access(1)
    rec = rec[0]
    assert "secret" not in json.dumps(rec), rec
    for name, want in (("url.full", f"https://www.test:{o.port}/path"), ("http.response.status_code", 200), ("client.ip", "127.0.0.1"),
                       ("event.action", "allow"), ("http.response.body.bytes", 5), ("user_agent.original", "lab/1")):
        with lab.sub(name):
            assert field(rec, name) == want, f"{field(rec, name)!r}"
    for name in ("event.id", "tls.version", "assay.ms.total", "@timestamp"):
        with lab.sub(name):
            assert field(rec, name) is not None, rec


def test_refused_upload_is_counted(lab):
    """The bytes of the request, head and body, also where a page answers."""
    s = lab.icap(lambda tx: (tx.whole(), tx.block("no"))[1])
    o = lab.origin(tls=None)
    p = lab.assay(services={"s": {"url": s.url(), "mode": "req", "page": "replace"}})
    c = lab.connect(p)
    head = f"POST http://plain.test:{o.port}/ HTTP/1.1\r\nHost: plain.test:{o.port}\r\nContent-Length: 5000\r\n\r\n".encode()
    c.send(head + pattern(5000))
    assert Response(c).status == 403
    rec = p.access(1)[0]
    assert field(rec, "http.request.body.bytes") == 5000 and field(rec, "http.request.bytes") == len(head) + 5000, rec


def test_squid_format(lab):
    """Byte-compatible with Squid's native format."""
    o = lab.origin(tls=None)
    log = str(lab.dir / "squid.log")
    rules = [{"name": "no", "if": {"host": "bad.test"}, "access": "block"},
             {"name": "sp", "if": {"host": "exempt.test"}, "tls": "splice"}, {"name": "default", "scan": "none"}]
    p = lab.assay(log={"access": [{"to": log, "format": "squid"}]}, rules=rules)
    tls = lab.origin()
    lab.curl(p, f"http://plain.test:{o.port}/a?q=1")
    lab.curl(p, f"http://bad.test:{o.port}/b")
    lab.tunnel(p, tls.port).get("/c")
    t = lab.tunnel(p, tls.port, "exempt.test", ca=lab.trust)
    t.get("/d")
    t.close()
    lines = lambda: open(log).read().splitlines()       # noqa: E731
    assert wire.wait_for(lambda: len(lines()) >= 4, 5), lines()
    shape = re.compile(r"^\d{10}\.\d{3} +\d+ 127\.0\.0\.1 [A-Z_]+/\d{3} \d+ [A-Z]+ \S+ \S+ [A-Z_]+/\S+ \S+$")
    for line in lines():
        with lab.sub(line):
            assert shape.match(line), line
    text = "\n".join(lines())
    assert re.search(r"TCP_MISS/200 \d+ GET http://plain\.test:\d+/a", text), text
    assert re.search(r"TCP_DENIED/403 \d+ GET http://bad\.test", text), text
    assert re.search(r"TCP_TUNNEL/200 \d+ CONNECT exempt\.test:\d+", text), text
    assert re.search(r"TCP_MISS/200 \d+ GET https://www\.test:\d+/c", text), text


def test_two_logs(lab):
    o = lab.origin(tls=None)
    a, b = str(lab.dir / "a.log"), str(lab.dir / "b.log")
    p = lab.assay(log={"access": [{"to": a, "format": "json"}, {"to": b, "format": "squid"}]})
    lab.curl(p, f"http://plain.test:{o.port}/")
    assert wire.wait_for(lambda: open(a).read() and open(b).read(), 5)


def test_privacy(lab):
    o = lab.origin(tls=None)
    p = lab.assay(log={"access": [{"to": str(lab.dir / "access.log"), "format": "json"}], "privacy": {"query": "keep", "client": "drop"}})
    lab.curl(p, f"http://plain.test:{o.port}/x?q=1")
    rec = p.access(1)[0]
    assert field(rec, "url.full").endswith("/x?q=1") and not field(rec, "client.ip"), rec


def test_log_by_rule(lab):
    """log: none writes nothing, minimal no path."""
    o = lab.origin(tls=None)
    p = lab.assay(rules=[{"name": "quiet", "if": {"host": "other.test"}, "log": "none"},
                         {"name": "short", "if": {"host": "third.test"}, "log": "minimal"}, {"name": "default", "scan": "none"}])
    for host in ("other.test", "third.test", "plain.test"):
        lab.curl(p, f"http://{host}:{o.port}/private/path")
    recs = p.access(2)
    time.sleep(0.3)
    recs = p.access(2)
    assert len(recs) == 2 and "private" not in json.dumps([r for r in recs if "third" in json.dumps(r)]), recs


def test_rules(lab):
    """Conditions: host, port, method, url, client, type, size, not; the first
    that matches and decides wins."""
    o = lab.origin(lambda h, b: ok(b"x" * 5000 if "/big" in h.start else b"x", [("Content-Type", "application/x-msdownload" if "/type" in h.start else "text/plain")]))
    other = lab.origin()
    rules = [{"name": "allow-one", "if": {"url": "/allowed"}, "access": "allow"},
             {"name": "host", "if": {"host": "bad.test"}, "access": "block"},
             {"name": "method", "if": {"method": ["DELETE", "TRACE"]}, "access": "block"},
             {"name": "url", "if": {"url": "/forbidden"}, "access": "block"},
             {"name": "port", "if": {"port": [other.port]}, "access": "block"},
             {"name": "client", "if": {"client": ["10.0.0.0/8"]}, "access": "block"},
             {"name": "type", "if": {"type": ["application/x-msdownload"]}, "access": "block"},
             {"name": "size", "if": {"size": ">4K"}, "access": "block"},
             {"name": "not", "if": {"url": "/only-www", "not": {"host": "www.test"}}, "access": "block"},
             {"name": "default", "scan": "none"}]
    code, out, _ = lab.check(lab.conf(lab.port(), rules=rules))
    if code and "size" in out:      # the syntax of sizes is the manual's
        rules = [r for r in rules if r["name"] != "size"]
    p = lab.assay(rules=rules)
    rows = [("www.test", o, "GET", "/", 200), ("bad.test", o, "GET", "/", 403), ("bad.test", o, "GET", "/allowed", 200),
            ("www.test", o, "DELETE", "/", 403), ("www.test", o, "GET", "/forbidden/x", 403), ("www.test", other, "GET", "/", 403),
            ("www.test", o, "GET", "/type", 403), ("www.test", o, "GET", "/only-www", 200), ("other.test", o, "GET", "/only-www", 403)]
    for host, origin, method, path, want in rows:
        with lab.sub(f"{method} {host} {path}"):
            t = lab.tunnel(p, origin.port, host)
            r = t.get(path, method=method) if t.connect.status == 200 else t.connect
            assert r.status == want, r


def test_block_at_connect(lab):
    """access by host is decided at the ClientHello: the page is inside the
    tunnel and the origin never contacted."""
    o = lab.origin()
    p = lab.assay(rules=[{"name": "no", "if": {"host": "bad.test"}, "access": "block"}, {"name": "default", "scan": "none"}])
    r = lab.curl(p, f"https://bad.test:{o.port}/", "-H", "Accept: text/html")
    assert r.status == 403 and r.body and r.returncode == 0, (r.status, r.errors)
    time.sleep(0.2)
    assert not o.requests


def test_internal_site(lab):
    """http://assay.internal/ through the proxy and on the listener itself."""
    p = lab.assay()
    r = lab.curl(p, "http://assay.internal/", "-H", "Accept: text/html")
    assert r.status == 200 and b"<html" in r.body.lower(), r.body[:200]
    links = re.findall(rb'href="([^"]+)"', r.body)
    pem = open(p.ca, "rb").read()
    found = False
    for link in links:
        url = link.decode()
        if not url.startswith("http"):
            url = "http://assay.internal/" + url.lstrip("/")
        got = lab.curl(p, url)
        assert got.status in (200, 403), (url, got.status)
        found = found or b"BEGIN CERTIFICATE" in got.body and got.body.strip() in pem or \
            "pkix-cert" in (got.fields.get("Content-Type") or "") or "x-x509-ca-cert" in (got.fields.get("Content-Type") or "")
    assert found, f"no CA certificate behind {links}"
    assert b"PRIVATE" not in r.body
    c = lab.connect(p)
    c.send(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{p.port}\r\nAccept: text/html\r\n\r\n")
    r = Response(c)
    assert r.status == 200 and b"<html" in r.body.lower(), r
    assert lab.curl(p, "http://assay.internal/none").status == 404


def test_internal_ca_verifies(lab):
    """The certificate offered there is the one that signs."""
    o = lab.origin()
    p = lab.assay()
    r = lab.curl(p, "http://assay.internal/ca.pem")
    assert r.status == 200 and b"BEGIN CERTIFICATE" in r.body, (r.status, r.body[:100])
    (lab.dir / "got.pem").write_bytes(r.body)
    assert lab.curl(p, f"https://www.test:{o.port}/", ca=str(lab.dir / "got.pem")).status == 200


def test_eicar_self_test(lab):
    """/test/eicar is the test virus: served to see it blocked by a scanner."""
    s = lab.icap(lambda tx: tx.block() if EICAR[:30] in tx.whole() else tx.no_change())
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}})
    assert lab.curl(p, "http://assay.internal/test/eicar").status == 403
    p2 = lab.assay()
    r = lab.curl(p2, "http://assay.internal/test/eicar")
    assert r.status == 200 and r.body.strip() == EICAR, "with no scanner nothing blocks it"


def test_service_page_is_kept(lab):
    """The scanner's own page is shown, with our fields."""
    s = lab.icap(lambda tx: tx.modified("HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: 14\r\n\r\n", b"<h1>their page"))
    o = lab.origin()
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}})
    r = lab.tunnel(p, o.port).get()
    assert r.status == 403 and r.body == b"<h1>their page", r


def held(lab, how, seconds_to_verdict=1.5, body=None, block=False, **conf):
    """A service that reads all and decides late: (assayd, tunnel, body)."""
    body = body or pattern(300000)

    def script(tx):
        tx.whole()
        time.sleep(seconds_to_verdict)
        if block:
            tx.block("late no")
        else:
            tx.no_change()
    s = lab.icap(script)
    o = lab.origin(lambda h, b: ok(body))
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp", "timeout": "30s"}},
                  rules=[{"name": "default", "scan": ["c"], "download": how}], scan={"c": ["s"]}, **conf)
    return p, lab.tunnel(p, o.port), body


def test_hold(lab):
    """Nothing before the verdict; then all."""
    p, t, body = held(lab, "hold")
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    assert t.silent(1), "octets before the verdict"
    assert sha(Response(t).body) == sha(body)


def test_hold_then_block(lab):
    p, t, body = held(lab, "hold", block=True)
    r = t.get()
    assert r.status == 403 and b"late no" in r.body and body[:20] not in r.body


def test_trickle(lab):
    """A little per second keeps the client's patience; a late block is a
    visible cut, never a clean end."""
    down = {"download": {"hold": "500ms", "browser": "trickle", "other": "trickle", "rate": 64}}
    p, t, body = held(lab, "trickle", 4, **down)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    time.sleep(3)
    t.silent(0.1)
    assert 0 < len(t.buf) < 20000, f"{len(t.buf)} octets after three seconds"
    assert sha(Response(t).body) == sha(body)
    p.stop()
    p, t, body = held(lab, "trickle", 4, block=True, **down)
    try:
        r = t.get()
        assert r.cut and len(r.body) < 20000, r
    except wire.Ended:
        pass


def test_stream(lab):
    """All but the last octets; a late block is a visible cut."""
    p, t, body = held(lab, "stream", 2)
    t.send(f"GET / HTTP/1.1\r\nHost: {t.host}\r\n\r\n")
    time.sleep(1.2)
    t.sock.settimeout(0.3)
    try:
        while t.fill():
            pass
    except wire.Ended:
        pass
    t.sock.settimeout(wire.TIMEOUT)
    assert len(t.buf) > 50000, f"{len(t.buf)} octets streamed"
    assert sha(Response(t).body) == sha(body)
    p.stop()
    p, t, body = held(lab, "stream", 1, block=True)
    try:
        r = t.get()
        assert r.cut, f"a blocked body ended cleanly: {r}"
    except wire.Ended:
        pass


def admin(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        return json.loads(s.makefile().read())


def test_status(lab):
    """The admin socket counts what workers, services, keys and processes did;
    in one answer, of all workers."""
    s = lab.icap()
    o = lab.origin(lambda h, b: ok(h.start.encode()))
    p = lab.assay(services={"av": {"url": s.url(), "mode": "resp"}}, rules=[{"name": "all", "scan": ["av"]}], workers=3,
                  admin={"socket": str(lab.dir / "admin.sock")})
    for n in range(6):
        assert lab.tunnel(p, o.port).get(f"/{n}").body == f"GET /{n} HTTP/1.1".encode()
    assert wire.wait_for(lambda: admin(lab.dir / "admin.sock")["keys"]["signed"] >= 1, 10 * e2e.lab_scale())
    a = admin(lab.dir / "admin.sock")
    assert (a["version"], a["pid"], a["generation"], a["flows"] >= 6, a["audit_lost"]) == \
        (a["version"], p.pid, 1, True, 0) and len(a["ca_sha256"]) == 95, a
    av, = a["services"]
    e, = av["endpoints"]
    assert (av["name"], av["type"], av["used"], e["endpoint"], e["state"]) == ("av", "icap", True, s.url().split("/")[2], "up"), av
    assert e["transactions"] == 6 and e["failures"] == 0 and e["options"] >= 1, e
    assert a["workers"] == {"number": 3, "answered": 3}, a
    assert a["processes"]["serve"] == {"pid": p.serving(), "started": 1, "crashed": 0, "ending": 0}, a
    assert a["processes"]["keys"] == {"started": 1, "died": 0} and a["keys"]["refused"] == 0 and a["fetch"]["attached"] in (True, False), a
    assert a["leaves"]["misses"] >= 1 and a["leaves"]["minted"] == a["leaves"]["kept"] >= 1, a
    assert a["verification"]["misses"] >= 1 and a["verification"]["anchors"] >= 1, a
    assert a["resolver"]["queries"] >= 1 and a["resolver"]["hosts"] >= 1, a
    assert 0 < a["memory"]["used_bytes"] + a["memory"]["chunk_bytes"] < a["memory"]["limit_bytes"] and a["temp"]["used_bytes"] == 0, a
    # Who asks and does not take the answer keeps nobody from another one.
    deaf = []
    for _ in range(40):
        c = socket.socket(socket.AF_UNIX)
        c.connect(str(lab.dir / "admin.sock"))
        deaf.append(c)
    assert admin(lab.dir / "admin.sock")["flows"] == a["flows"]
    for c in deaf:
        c.close()


@needs("clamav")
def test_whole_chain_with_real_scanners(lab):
    """c-icap and libclamav over HTTPS: clean both ways, EICAR in neither."""
    if not e2e.shutil.which("c-icap"):
        raise e2e.Skip("c-icap is not installed")
    c = lab.cicap()
    bodies = {"/clean": pattern(500000), "/eicar": EICAR}
    o = lab.origin(lambda h, b: ok(bodies.get(h.start.split()[1], b"got " + sha(b).encode())))
    p = lab.assay(services={"clam": {"url": f"clamav:{TESTDB}", "mode": "both"}, "echo_up": {"url": c.url, "mode": "req"},
                            "echo": {"url": c.url, "mode": "resp"}},
                  scan={"upload": ["clam", "echo_up"], "download": ["clam", "echo"]},
                  rules=[{"name": "default", "scan": ["upload", "download"]}])
    base = f"https://www.test:{o.port}"
    assert sha(lab.curl(p, base + "/clean").body) == sha(bodies["/clean"])
    assert lab.curl(p, base + "/eicar").status == 403
    assert lab.curl(p, base + "/up", "--data-binary", "@-", data=EICAR).status == 403
    r = lab.curl(p, base + "/up", "--data-binary", "@-", data=pattern(500000))
    assert r.body == b"got " + sha(pattern(500000)).encode()
    assert EICAR not in b"".join(b for _, b, _ in o.requests)
