# SPDX-License-Identifier: GPL-2.0-or-later
"""URL rules and the spellings of URLs: what an origin may take for the blocked
place is blocked, what it may take for another one is not exempt; in plain
requests and in opened tunnels, first and later ones of a connection."""
import wire
import lab as e2e
from lab import field
from wire import Response, ok

ADMIN = ["/x/../admin", "//admin", "/./admin", "/%2e%2e/admin", "/%61dmin", "/x%2f../admin", "/admin/../admin", "/..;/admin", "/a/%2E./admin?q=1"]
FREE = ["/free/../x", "/free/%2e%2e/x", "/x/../free/y", "//free/y", "/fre%65/y", "/free/..%2fx"]
RULES = [{"name": "secret", "if": {"url": "^https?://[^/]+/admin($|[/?])"}, "access": "block"},
         {"name": "exempt", "if": {"url": "^https?://[^/]+/free/"}, "scan": "none", "log": "none"},
         {"name": "rest", "scan": ["s"]}]


def ways(lab, p, plain, tls):
    """One kept connection each: (name, send a GET for a path)."""
    c = lab.connect(p)
    t = lab.tunnel(p, tls.port)

    def by_plain(path, host=f"plain.test:{plain.port}"):
        c.send(f"GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\n\r\n".encode())
        return Response(c)

    def by_tunnel(path):
        t.send(f"GET {path} HTTP/1.1\r\nHost: {t.host}\r\nAccept: text/html\r\n\r\n".encode())
        return Response(t)
    return [("plain", by_plain), ("tunnel", by_tunnel)]


def recorded(p, answer):
    """The record of the page that somebody reads."""
    text = answer.text()
    assert wire.wait_for(lambda: any(field(r, "event.id") in text for r in p.access(1)), 10 * e2e.lab_scale()), "not in the log"
    return [r for r in p.access(1) if field(r, "event.id") in text][0]


def test_blocked_however_it_is_written(lab):
    plain, tls = lab.origin(lambda h, b: ok(b"x"), tls=None), lab.origin(lambda h, b: ok(b"x"))
    s = lab.icap()
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}}, rules=RULES)
    for name, get in ways(lab, p, plain, tls):
        for path in ("/", "/x/admin", "/administer", "/x%2Fadmin", "/?u=/../admin"):
            with lab.sub(f"{name} {path}"):
                assert get(path).status == 200
        for path in ADMIN:
            with lab.sub(f"{name} {path}"):
                had = len(plain.requests) + len(tls.requests)
                r = get(path)
                assert r.status == 403, r.status
                assert len(plain.requests) + len(tls.requests) == had, "it went to the origin"
                record = recorded(p, r)
                assert path.split("?")[0] in field(record, "url.full"), record
                assert field(record, "assay.rule.access") == "secret"


def test_exempt_only_as_it_is_written(lab):
    plain, tls = lab.origin(lambda h, b: ok(b"x"), tls=None), lab.origin(lambda h, b: ok(b"x"))
    s = lab.icap()
    p = lab.assay(services={"s": {"url": s.url(), "mode": "resp"}}, rules=RULES)
    for name, get in ways(lab, p, plain, tls):
        for path, scanned in [(x, True) for x in ["/y", *FREE]] + [("/free/y", False), ("/free/y/../z", False), ("/free/@a%2Fb", False)]:
            with lab.sub(f"{name} {path}"):
                had = len(s.txs)
                assert get(path).status == 200
                assert (len(s.txs) > had) == scanned


def test_authority_of_every_spelling(lab):
    """Case, a trailing dot and the default port are no way around a host in a
    pattern; what the origin gets is as it was."""
    o = lab.origin(lambda h, b: ok(b"x"), tls=None)
    p = lab.assay(rules=[{"name": "no", "if": {"url": "^http://plain\\.test(:\\d+)?/(?-i)private"}, "access": "block"}])
    for host in ("plain.test", "PLAIN.Test", "plain.test.", "Plain.TEST."):
        for path, status in (("/private", 403), ("/x/../private", 403), ("/x/../public", 200)):
            with lab.sub(host + path):
                c = lab.connect(p)
                c.send(f"GET http://{host}:{o.port}{path} HTTP/1.1\r\nHost: {host}:{o.port}\r\n\r\n".encode())
                assert Response(c).status == status
                if status == 200:
                    assert o.requests[-1][0].start.split()[1] == path, o.requests[-1][0].start
