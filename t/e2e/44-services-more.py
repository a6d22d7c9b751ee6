# SPDX-License-Identifier: GPL-2.0-or-later
"""What an ICAP service is told, asked and shown beyond the message itself."""
import wire
from lab import field, pattern
from wire import ok

BODY = pattern(5000)


def start(lab, script=None, services=None, options=(), reply=None, **conf):
    s = lab.icap(script, extra=options)
    o = lab.origin(reply or (lambda h, b: ok(BODY)))
    p = lab.assay(services={n: dict({"url": s.url()}, **v) for n, v in (services or {"s": {"mode": "resp"}}).items()}, workers=1, **conf)
    return s, o, p


# ---------------------------------------------------------------- headers:
def test_headers_with_variables(lab):
    """Each says what it means, in both modes and on both ways of a request;
    one without a value is left out."""
    headers = {"X-Who": "%{client.ip}", "X-Rule": "r=%{rule}", "X-Ref": "%{reference}", "X-Sni": "%{sni}", "X-Door": "%{listener}",
               "X-User": "%{user}", "X-Fixed": "100%"}
    port = lab.port()
    s, o, p = start(lab, services={"q": {"mode": "req", "headers": headers}, "r": {"mode": "resp", "headers": headers}},
                    port=port, listen=[{"on": f"127.0.0.1:{port}", "name": "office"}], rules=[{"name": "all", "scan": ["q", "r"]}])
    t = lab.tunnel(p, o.port)
    assert t.get("/in").body == BODY
    tunnelled = p.access(1)[0]
    c = wire.connect(p.addr)
    c.send(f"GET http://www.test:{lab.origin(lambda h, b: ok(BODY), tls=None).port}/ HTTP/1.1\r\nHost: x\r\nX-User: mallory\r\n\r\n")
    wire.Response(c)
    plain = p.access(2)[1]
    assert len(s.txs) >= 3, s.txs
    for tx in s.txs:
        inside = tx.request.start.split()[1].startswith("https:")
        record = tunnelled if inside else plain
        h = tx.head
        assert h.get("X-Who") == "127.0.0.1" and h.get("X-Rule") == "r=all" and h.get("X-Door") == "office", h
        assert h.get("X-Ref") == field(record, "event.id"), (h, record)
        assert h.get("X-Sni") == (t.host.rsplit(":", 1)[0] if inside else None), h
        assert not h.has("X-User") and h.get("X-Fixed") == "100%", h


def test_headers_with_unknown_variables(lab):
    for value, good in (("%{client.ip} 5%", True), ("%{client.port}", False), ("%{", False)):
        with lab.sub(value):
            code, text, _ = lab.check({"services": {"s": {"url": "icap://127.0.0.1/x", "mode": "req", "headers": {"X-A": value}}}})
            assert (code == 0) == good, text
            assert good or "is no variable" in text, text
