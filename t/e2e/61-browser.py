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


def run(lab, home, ca, url, *more):
    """A browser with a home and a profile of its own, which trusts that CA."""
    db = home / ".pki" / "nssdb"
    if not db.exists():
        db.mkdir(parents=True)
        for args in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "assay", "-i", ca]):
            r = lab.run("certutil", "-d", f"sql:{db}", *args)
            assert r.returncode == 0, r.stderr
    return lab.run("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                   "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
                   f"--user-data-dir={home}/profile", *more, "--dump-dom", url, seconds=80 * e2e.lab_scale(),
                   env={"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")})


def behind(p):
    return [f"--proxy-server=http://127.0.0.1:{p.port}", "--proxy-bypass-list=<-loopback>"]


def browse(lab, p, url, *more, budget="--virtual-time-budget=8000"):
    """The DOM after the page was loaded."""
    r = run(lab, lab.dir, p.ca, url, *behind(p), *([budget] if budget else []), *more)
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


STREAM_PAGE = b"""<!doctype html><html><head><title>t</title></head><body><img src="/wait"><p id=x></p><p id=y></p><script>
const say = (id, text) => document.getElementById(id).textContent += text;
const es = new EventSource('/events');
let over = 0;
const done = () => { if (++over == 2) fetch('/done'); };
es.onmessage = m => { say('x', 'event ' + m.data + '.'); if (m.data == 2) { es.close(); done(); } };
(async () => {
  const r = await fetch('/model', {method: 'POST', body: '{}', headers: {'Content-Type': 'application/json'}});
  const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let got = ''; !got.includes('data: 2');) {
    const { value, done: ended } = await reader.read();
    if (ended) break;
    got += value;
    say('y', value);
  }
  reader.cancel();
  done();
})();
</script></body></html>"""


@alone
@e2e.slow
@needs("chromium", "certutil", "clamav")
@seconds(180)
def test_event_streams(lab):
    """EventSource, and a model's answer to a POST that is coded whatever was
    asked: each event while the answer goes on."""
    done = threading.Event()

    def reply(head, body):
        path = head.start.split()[1]
        if path == "/":
            return ok(STREAM_PAGE, [("Content-Type", "text/html")])
        if path == "/done":
            done.set()
        if path == "/wait":     # the page is not loaded, and not shown, before
            done.wait(60)
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
    dom = browse(lab, p, f"https://www.test:{o.port}/", budget=None)
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


# A page as applications are today. It is loaded when /wait is, which waits for /done.
APPLICATION = b"""<!doctype html><title>t</title><p id=x>before</p><img src="/wait"><script>
const said = [], say = (what, of) => of.then(r => said.push(what + ' ' + r), e => said.push(what + ' failed: ' + e));
addEventListener('error', e => said.push('error ' + e.message));
addEventListener('unhandledrejection', e => said.push('rejected ' + e.reason));
const text = (url, how) => fetch(url, how).then(r => r.text().then(t => r.status + ' ' + t.length));
const objects = n => Promise.all([...Array(n).keys()].map(i => text('/object' + i))).then(all => [...new Set(all)].join('|'));
const worker = () => new Promise(done => {
  navigator.serviceWorker.addEventListener('controllerchange', done);
  navigator.serviceWorker.register('/worker.js');
}).then(() => Promise.all([text('/made'), text('/fetched')]));
const events = () => new Promise((done, failed) => {
  const es = new EventSource('/events'), got = [];
  es.onmessage = e => { got.push(e.data); if (got.length == 3) { es.close(); done(got); } };
  es.onerror = failed;
});
const socket = () => new Promise((done, failed) => {
  const ws = new WebSocket(location.href.replace(/^http/, 'ws') + 'socket'), got = [];
  ws.binaryType = 'arraybuffer';
  ws.onopen = () => { ws.send('one'); ws.send(new Uint8Array(100000)); ws.send('x'.repeat(300000)); };
  ws.onmessage = e => { got.push(e.data.length || e.data.byteLength); if (got.length == 3) ws.close(3001, 'enough'); };
  ws.onclose = e => done(got + ' ' + e.code + ' ' + e.wasClean);
  ws.onerror = failed;
});
const stream = async () => {
  const r = (await fetch('/chunks')).body.getReader(), sizes = [];
  for (let n = 0; ;) {
    const {done, value} = await r.read();
    if (done) return n;
    n += value.length;
  }
};
const stopped = () => {
  const c = new AbortController(), f = fetch('/events', {signal: c.signal}).then(r => { c.abort(); return r.text(); });
  return f.then(() => 'went on', e => e.name);
};
(async () => {
  await Promise.all([say('objects', objects(200)), say('events', events()), say('socket', socket()), say('stream', stream()),
    say('stopped', stopped()), say('upload', text('/upload', {method: 'POST', body: new Blob([new Uint8Array(500000)])})),
    say('form', (() => { const f = new FormData(); f.append('a', new Blob(['x'.repeat(70000)]), 'a.txt'); return text('/upload', {method: 'PUT', body: f}).then(t => t.split(' ')[0]); })()),
    say('empty', text('/204')), say('redirect', text('/redirect')), say('missing', text('/missing')), say('head', text('/object1', {method: 'HEAD'})),
    say('again', text('/etag').then(() => text('/etag', {cache: 'no-cache'}))), say('part', text('/part', {headers: {Range: 'bytes=0-9'}}))]);
  await say('worker', worker());
  await say('other', text('/object7'));
  document.getElementById('x').textContent = said.sort().join(', ');
  fetch('/done');
})();
</script>"""
WORKER = b"""addEventListener('install', e => skipWaiting());
addEventListener('activate', e => e.waitUntil(clients.claim()));
addEventListener('fetch', e => {
  if (e.request.url.endsWith('/made')) e.respondWith(new Response('made by the worker'));
  if (e.request.url.endsWith('/fetched')) e.respondWith(fetch('/object3'));
});"""


def br(data):
    """A stream of brotli (RFC 7932 9.2) that is not compressed."""
    return ((len(data) - 1) << 4 | 1 << 20).to_bytes(3, "little") + data + b"\x03"


def application(done):
    def chunks(conn):
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n" + ("400\r\n" + "c" * 1024 + "\r\n") * 200 + "0\r\n\r\n")

    def events(conn):
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n")
        for i in range(3):
            conn.send(f"data: {i}\n\n")
            time.sleep(0.2)
        conn.silent(20)
        return "close"

    def reply(head, body):
        path = head.start.split()[1]
        if path.startswith("/object"):
            return ok(br(b"o" * 3000), [("Content-Encoding", "br"), ("Content-Type", "text/plain")])
        if path == "/wait":
            done.wait(60)
        if path == "/done":
            done.set()
        if path == "/etag":
            had = head.get("If-None-Match")
            return ok(b"" if had else b"tagged", [("ETag", '"e"'), ("Cache-Control", "no-cache")], "304 Not Modified" if had else "200 OK", length=not had)
        of = {"/": (APPLICATION, "text/html"), "/worker.js": (WORKER, "text/javascript"), "/upload": (b"%d" % len(body), "text/plain"), "/part": (b"part" * 10, "text/plain")}
        if path in of:
            return ok(of[path][0], [("Content-Type", of[path][1])])
        return {"/chunks": chunks, "/events": events, "/socket": wsock.served(extensions=wsock.DEFLATE)(head, body) if path == "/socket" else None,
                "/204": ok(b"", status="204 No Content", length=False), "/redirect": ok(b"", [("Location", "/object5")], "302 Found"),
                "/missing": ok(b"nothing", status="404 Not Found")}.get(path, ok(b""))
    return reply


@alone
@e2e.slow
@needs("chromium", "certutil", "clamav")
@seconds(300)
def test_like_without(lab):
    """An application says the same of itself, and of errors, through assay, scanned or not, as without it."""
    console = re.compile(r"CONSOLE\S* (.*)")
    said = {}
    for how in ("direct", "unscanned", "scanned"):
        done = threading.Event()
        o = lab.origin(application(done))
        conf = {"services": {"clam": {"url": f"clamav:{e2e.TESTDB}", "mode": "both"}}} if how == "scanned" else {}
        p = lab.assay(**conf) if how != "direct" else None
        r = run(lab, lab.dir / how, p.ca if p else lab.trust, f"https://www.test:{o.port}/", "--enable-logging=stderr",
                *(behind(p) if p else ["--no-proxy-server", "--host-resolver-rules=MAP *.test 127.0.0.1"]))
        dom = r.stdout.decode(errors="replace")
        found = re.search(r"<p id=\"x\">(.*?)</p>", dom)
        assert found and "worker" in found[1], (how, dom[-500:], r.stderr.decode(errors="replace")[-1500:])
        lines = [x for x in console.findall(r.stderr.decode(errors="replace").replace(str(o.port), "PORT")) if "chrome://" not in x]
        said[how] = (found[1], sorted(lines))
        if p:
            recs = p.access(220)
            bad = [x for x in recs if e2e.field(x, "url.domain") == "www.test" and e2e.field(x, "error.code") not in (None, "CLIENT_GONE")]
            assert not bad, bad[:3]
    text = said["direct"][0]
    for want in ("objects 200 3000,", "socket 3,100000,300000 3001 true", "stream 204800", "stopped AbortError", "upload 200 6", "worker 200 18,200 3000", "events 0,1,2"):
        assert want in text, text
    assert "failed" not in text and "error" not in text, text
    assert said["unscanned"] == said["direct"], said
    assert said["scanned"] == said["direct"], said
