# SPDX-License-Identifier: GPL-2.0-or-later
"""A real browser behind assay, trusting its CA through an NSS database."""
import re
import threading
import time
import zlib

import certs
import lab as e2e
import wire
import wsock
from lab import alone, needs, seconds
from wire import ok

PAGE = b"""<!doctype html><html><head><title>t</title><script src="/s.js"></script></head>
<body><p id=x>before</p><img src="/i.svg"></body></html>"""
ANSWERS = {"/": (PAGE, "text/html"), "/s.js": (b"addEventListener('load',()=>{document.getElementById('x').textContent='script ran'})", "text/javascript"),
           "/i.svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>', "image/svg+xml")}


def browse(lab, p, url, *more, budget="--virtual-time-budget=8000"):
    """The DOM after the page was loaded."""
    db = lab.dir / ".pki" / "nssdb"
    if not db.exists():
        db.mkdir(parents=True)
        for args in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "assay", "-i", p.ca]):
            r = lab.run("certutil", "-d", f"sql:{db}", *args)
            assert r.returncode == 0, r.stderr
    r = lab.run("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
                f"--user-data-dir={lab.dir}/profile", f"--proxy-server=http://127.0.0.1:{p.port}", "--proxy-bypass-list=<-loopback>",
                *([budget] if budget else []), *more, "--dump-dom", url, seconds=80 * e2e.lab_scale(),
                env={"HOME": str(lab.dir), "XDG_CONFIG_HOME": str(lab.dir / "config")})
    return r.stdout.decode(errors="replace") + ("" if r.stdout else r.stderr.decode(errors="replace")[-2000:])


def answer(head, body):
    data, kind = ANSWERS.get(head.start.split()[1], (b"", "text/plain"))
    return ok(data, [("Content-Type", kind)])


@alone
@e2e.slow
@needs("chromium", "certutil")
@seconds(180)
def test_page(lab):
    """HTML, script and image over intercepted HTTPS."""
    o = lab.origin(answer)
    p = lab.assay()
    dom = browse(lab, p, f"https://www.test:{o.port}/")
    assert "script ran" in dom, dom[:1500]
    assert {"/", "/s.js", "/i.svg"} <= {h.start.split()[1] for h, _, _ in o.requests}


@alone
@e2e.slow
@needs("chromium", "certutil")
@seconds(180)
def test_block_page(lab):
    """What is blocked shows assay's page, with its reference."""
    o = lab.origin(answer)
    p = lab.assay(rules=[{"name": "no", "if": {"url": "/forbidden"}, "access": "block"}, {"name": "default", "scan": "none"}])
    dom = browse(lab, p, f"https://www.test:{o.port}/forbidden")
    assert re.search(r"[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}", dom), dom[:1500]
    assert not o.requests
    refs = [str(r) for r in p.access(1)]
    ref = re.search(r"[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}", dom)[0]
    assert any(ref in r for r in refs), (ref, refs)


@alone
@e2e.slow
@needs("chromium", "certutil")
@seconds(180)
def test_origin_fault_page(lab):
    """A bad origin is our 502 page, not a browser's error."""
    o = lab.origin(tls=lab.server_context("bad.test", start=certs.past(100), days=30))
    p = lab.assay()
    dom = browse(lab, p, f"https://bad.test:{o.port}/")
    assert re.search(r"[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}", dom), dom[:1500]


@alone
@e2e.slow
@needs("chromium", "certutil", "clamav")
@seconds(180)
def test_eicar_page(lab):
    """The self-test of the internal site ends in the block page."""
    p = lab.assay(services={"clam": {"url": f"clamav:{e2e.TESTDB}", "mode": "both"}})
    dom = browse(lab, p, "http://assay.internal/test/eicar")
    assert re.search(r"[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}", dom), dom[:1500]
    assert e2e.EICAR.decode() not in dom


STREAM_PAGE = b"""<!doctype html><html><head><title>t</title></head><body><p id=x></p><p id=y></p><script>
const say = (id, text) => document.getElementById(id).textContent += text;
const es = new EventSource('/events');
es.onmessage = m => { say('x', 'event ' + m.data + '.'); if (m.data == 2) es.close(); };
(async () => {
  const r = await fetch('/model', {method: 'POST', body: '{}', headers: {'Content-Type': 'application/json'}});
  const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let n = 0; n < 2; n++) say('y', (await reader.read()).value);
  reader.cancel();
})();
</script></body></html>"""


@alone
@e2e.slow
@needs("chromium", "certutil", "clamav")
@seconds(180)
def test_event_streams(lab):
    """EventSource, and a model's answer to a POST that is coded whatever was
    asked: each event while the answer goes on."""
    def reply(head, body):
        path = head.start.split()[1]
        if path == "/":
            return ok(STREAM_PAGE, [("Content-Type", "text/html")])
        if path not in ("/events", "/model"):
            return ok(b"", status="404 Not Found")

        def send(conn):
            z = zlib.compressobj(wbits=31)
            conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n" +
                      ("Content-Encoding: gzip\r\n" if path == "/model" else "") + "\r\n")
            for text in (b"data: 1\n\n", b"data: 2\n\n"):
                data = z.compress(text) + z.flush(zlib.Z_SYNC_FLUSH) if path == "/model" else text
                conn.send(b"%x\r\n%s\r\n" % (len(data), data))
                time.sleep(1)
            conn.silent(30)
            return "close"
        return send
    o = lab.origin(reply)
    p = lab.assay(services={"clam": {"url": f"clamav:{e2e.TESTDB}", "mode": "both"}})
    dom = browse(lab, p, f"https://www.test:{o.port}/")
    assert "event 1.event 2." in dom and "data: 1\n\ndata: 2" in dom, dom[-1500:]
    assert [h.get("Accept-Encoding") for h, _, _ in o.requests if "/events" in h.start] == ["identity"]


MANY = """<!doctype html><html><head><title>t</title></head><body><p id=x></p><script>
(async () => {
  const got = await Promise.all([...Array(200).keys()].map(i => fetch('/o' + i, {method: i % 10 ? 'GET' : 'POST', body: i % 10 ? null : 'x'.repeat(20000)})
    .then(r => r.text().then(t => [r.status, t]))));
  const kinds = performance.getEntriesByType('resource').map(e => e.nextHopProtocol);
  document.getElementById('x').textContent = 'whole ' + got.filter(([s, t], i) => s == 200 && t == (i % 10 ? 'object /o' + i : 'took 20000')).length +
    ' blocked ' + got.filter(([s, t]) => s == 403).length + ' over ' + [...new Set(kinds)].join('+');
})();
</script></body></html>"""


@alone
@e2e.slow
@needs("chromium", "certutil", "clamav")
@seconds(180)
def test_http2(lab):
    """A browser speaks HTTP/2 with assay by default: 200 objects at once, uploads among them and one that is blocked."""
    def reply(head, body):
        path = head.start.split()[1]
        if path == "/":
            return ok(MANY, [("Content-Type", "text/html")])
        return ok(e2e.EICAR if path == "/o77" else b"took %d" % len(body) if body else f"object {path}", [("Content-Type", "text/plain")])
    o = lab.origin(reply)
    p = lab.assay(services={"clam": {"url": f"clamav:{e2e.TESTDB}", "mode": "both"}})
    dom = browse(lab, p, f"https://www.test:{o.port}/")
    assert "whole 199 blocked 1 over h2<" in dom, dom[-1500:]
    recs = [r for r in p.access(200) if "/o" in e2e.field(r, "url.full")]
    assert len(recs) == 200 and {e2e.field(r, "http.version") for r in recs} == {"2"}, len(recs)
    assert len({e2e.field(r, "client.port") for r in recs}) == 1, "more than one connection"


@alone
@e2e.slow
@needs("chromium", "certutil")
@seconds(180)
def test_sign_in_over_http1(lab):
    """A browser that is asked to sign in its connection comes back with HTTP/1.1 by itself (and has no user to ask here)."""
    def reply(head, body):
        if head.start.split()[1] == "/":
            return ok(b"<p>who are you</p>", [("WWW-Authenticate", "NTLM"), ("Content-Type", "text/html")], "401 Unauthorized")
        return ok(b"", status="404 Not Found")
    o = lab.origin(reply)
    p = lab.assay()
    browse(lab, p, f"https://www.test:{o.port}/")
    recs = [(e2e.field(r, "http.version"), e2e.field(r, "http.response.status_code"), e2e.field(r, "error.code")) for r in p.access(2)]
    assert ("2", None, "REQ_HTTP1") in recs and ("1.1", 401, None) in recs, recs


# It is loaded when the image is, which waits for the socket to close.
SOCKET = b"""<!doctype html><title>t</title><p id=x>before</p><img src="/wait"><script>
let said = [], ws = new WebSocket(location.href.replace(/^http/, 'ws') + 'ws');
ws.onopen = () => ws.send('one');
ws.onmessage = e => { said.push(e.data); ws.send(said.length < 2 ? new Blob(['two']) : 'EVIL'); };
ws.onclose = e => { document.getElementById('x').textContent = 'closed ' + e.code + ' after ' + said.map(d => d.size || d); fetch('/closed'); };
</script>"""


@alone
@e2e.slow
@needs("chromium", "certutil")
@seconds(180)
def test_websocket(lab):
    """wss:// and ws://: messages pass scanners, one that is blocked closes it with 1008."""
    icap = lab.icap(lambda tx: tx.block() if tx.method == "REQMOD" and b"EVIL" in tx.whole() else tx.no_change())
    p = lab.assay(services={"dlp": {"url": icap.url(), "mode": "req"}}, rules=[{"scan": ["dlp"]}])
    for scheme in ("https", "http"):
        with lab.sub(scheme):
            closed = threading.Event()

            def reply(head, body, closed=closed):
                target = head.start.split()[1]
                if target == "/ws":
                    return wsock.served(extensions=wsock.DEFLATE)(head, body)
                if target == "/closed":
                    closed.set()
                if target == "/wait":
                    closed.wait(30)
                return ok(SOCKET if target == "/" else b"", [("Content-Type", "text/html")])
            o = lab.origin(reply, tls="www.test" if scheme == "https" else None)
            dom = browse(lab, p, f"{scheme}://www.test:{o.port}/", budget=None)
            assert "closed 1008 after one,3" in dom, dom[:1500]
            r = wire.wait_for(lambda: [r for r in p.access(1) if r.get("assay.websocket.close.code") and r["url.port"] == o.port], 10)
            assert r and r[0]["event.action"] == "block" and r[0]["assay.websocket.request.messages"] == 3, r
