# SPDX-License-Identifier: GPL-2.0-or-later
"""Sign-ins that are the connection's, not the request's (NTLM, Negotiate: RFC
4559): such an origin connection is one client's, serves all his requests to
its place, is never pooled, and ends with his."""
import base64
import socket
import threading

import wire
from wire import Response, ok

TYPE2 = base64.b64encode(b"NTLMSSP\0\2\0\0\0challenge").decode()


def token(kind, user=""):
    return base64.b64encode(b"NTLMSSP\0" + bytes([kind, 0, 0, 0]) + user.encode()).decode()


class Mail:
    """An origin whose connections are signed in by three legs: each shows the
    mailbox of whoever signed it in, with no credentials asked again."""

    def __init__(self, scheme="NTLM", close_after=None, drop_at=None):
        self.scheme, self.close_after, self.drop_at = scheme, close_after, drop_at
        self.lock = threading.Lock()
        self.log = []           # (connection, target, what was answered)

    def __call__(self, head, body):
        def answer(conn):
            out = self.leg(conn, head)
            with self.lock:
                self.log.append((conn.number, head.start.split()[1], out[9:12].decode()))
            if self.drop_at == head.start.split()[1]:
                return "close"
            conn.send(out)
            return "close" if self.close_after == head.start.split()[1] else None
        return answer

    def leg(self, conn, head):
        auth = head.get("Authorization") or ""
        raw = base64.b64decode(auth.split(" ")[1]) if auth.startswith(self.scheme + " ") else b""
        if raw[8:9] == b"\1":
            conn.half = True
            return ok(b"type 2", [("WWW-Authenticate", f"{self.scheme} {TYPE2}")], "401 Unauthorized")
        if raw[8:9] == b"\3":
            if not getattr(conn, "half", False):
                return ok(b"wrong password", [("WWW-Authenticate", self.scheme)], "401 Unauthorized")
            conn.user, conn.half = raw[12:].decode(), False
        if getattr(conn, "user", None):
            return ok(f"mailbox of {conn.user}")
        return ok(b"who are you", [("WWW-Authenticate", self.scheme), ("WWW-Authenticate", 'Basic realm="x"')], "401 Unauthorized")


WAYS = ("plain", "opened")


class User:
    """A client connection of somebody, plain or through a tunnel."""

    def __init__(self, lab, p, o, way, name="", host="www.test", conn=None):
        self.name, self.way, self.host = name, way, f"{host}:{o.port}"
        if way == "opened":
            self.c = lab.tunnel(p, o.port, host)
        else:
            self.c = conn or lab.connect(p)

    def get(self, path="/", auth=None, scheme="NTLM", method="GET", more=""):
        target = path if self.way == "opened" else f"http://{self.host}{path}"
        field = f"Authorization: {scheme} {auth}\r\n" if auth else ""
        self.c.send(f"{method} {target} HTTP/1.1\r\nHost: {self.host}\r\n{field}{more}\r\n")
        return Response(self.c, method)

    def legs(self, scheme="NTLM"):
        """The legs one by one, so that those of two users may be mixed."""
        r = self.get("/leg0", scheme=scheme)
        assert r.status == 401 and scheme in r.head.all("WWW-Authenticate"), r.head
        yield
        r = self.get("/leg1", token(1), scheme)
        assert (r.status, r.body) == (401, b"type 2"), r.head
        yield
        r = self.get("/leg2", token(3, self.name), scheme)
        assert (r.status, r.text()) == (200, f"mailbox of {self.name}"), (r.status, r.text())
        yield

    def sign_in(self, scheme="NTLM"):
        for _ in self.legs(scheme):
            pass
        return self


def setup(lab, way, mail=None, **conf):
    mail = mail or Mail()
    o = lab.origin(mail, tls="www.test" if way == "opened" else None)
    return mail, o, lab.assay(workers=1, **conf)


def test_signed_in_connection_is_never_another_clients(lab):
    """What alice has signed in shows bob no mailbox, neither while she is
    there nor when she is gone."""
    for way in WAYS:
        for scheme in ("NTLM", "Negotiate", "Kerberos"):
            with lab.sub(f"{way} {scheme}"):
                _, o, p = setup(lab, way, Mail(scheme))
                alice = User(lab, p, o, way, "alice").sign_in(scheme)
                for _ in range(3):
                    r = User(lab, p, o, way, "bob").get()
                    assert r.status == 401 and b"alice" not in r.body, r.text()
                alice.c.close()
                r = User(lab, p, o, way, "bob").get()
                assert r.status == 401 and b"alice" not in r.body, r.text()


def test_all_requests_of_the_client_ride_the_signed_in_connection(lab):
    for way in WAYS:
        with lab.sub(way):
            mail, o, p = setup(lab, way)
            alice = User(lab, p, o, way, "alice").sign_in()
            for i in range(5):
                r = alice.get(f"/again{i}")
                assert (r.status, r.text()) == (200, "mailbox of alice"), r.text()
            assert len({n for n, _, _ in mail.log}) == 1, mail.log


def test_two_clients_sign_in_interleaved(lab):
    """Each leg answers the one before it on the same connection."""
    for way in WAYS:
        with lab.sub(way):
            _, o, p = setup(lab, way)
            users = [User(lab, p, o, way, n) for n in ("alice", "bob", "carol")]
            for _ in zip(*(u.legs() for u in users)):
                pass
            for u in reversed(users):
                assert u.get().text() == f"mailbox of {u.name}"


def test_credential_without_a_challenge_binds(lab):
    """Who sends NTLM or Negotiate unasked signs in as well."""
    for way in WAYS:
        with lab.sub(way):
            _, o, p = setup(lab, way)
            alice = User(lab, p, o, way, "alice")
            assert alice.get("/1", token(1)).status == 401
            assert alice.get("/2", token(3, "alice")).text() == "mailbox of alice"
            assert User(lab, p, o, way).get().status == 401
            assert alice.get().text() == "mailbox of alice"


def test_persistent_auth_binds(lab):
    """Persistent-Auth: true says it without a challenge that was seen."""
    seen = []

    def reply(head, body):
        def answer(conn):
            seen.append(conn.number)
            conn.send(ok(b"x", [("Persistent-Auth", "true")]))
        return answer
    for way in WAYS:
        with lab.sub(way):
            seen.clear()
            o = lab.origin(reply, tls="www.test" if way == "opened" else None)
            p = lab.assay(workers=1)
            a, b = User(lab, p, o, way), User(lab, p, o, way)
            for u in (a, b, a, b):
                assert u.get().status == 200
            assert seen[0] == seen[2] != seen[1] == seen[3], seen


def test_basic_connections_are_pooled_still(lab):
    """The control: what each request says for itself binds nothing."""
    for way in WAYS:
        with lab.sub(way):
            o = lab.origin(lambda h, b: ok(b"x", [("WWW-Authenticate", 'Basic realm="NTLM, Negotiate"')], "401 Unauthorized"),
                           tls="www.test" if way == "opened" else None)
            p = lab.assay(workers=1)
            for _ in range(4):
                u = User(lab, p, o, way)
                assert u.get("/", "YWxpY2U6eA==", "Basic").status == 401
                u.c.close()
            assert o.accepted == 1, o.accepted


def test_signed_in_connection_ends_with_its_client(lab):
    for way in WAYS:
        with lab.sub(way):
            _, o, p = setup(lab, way)
            alice = User(lab, p, o, way, "alice").sign_in()
            conn = o.requests[-1][2]
            assert conn.sock.fileno() >= 0
            alice.c.close()
            assert wire.wait_for(lambda: conn.sock.fileno() < 0), "the origin's side is open still"


def test_one_plain_client_signs_in_to_several_hosts(lab):
    """Hosts on one client connection: each has its own, and keeps it."""
    mails = [Mail(), Mail("Negotiate")]
    origins = [lab.origin(m, tls=None) for m in mails]
    p = lab.assay(workers=1)
    c = lab.connect(p)
    users = [User(lab, p, o, "plain", n, h, c) for o, n, h in zip(origins, ("alice", "al"), ("www.test", "other.test"))]
    for u, m in zip(users, mails):
        u.sign_in(m.scheme)
    for _ in range(3):
        for u in users:
            assert u.get().text() == f"mailbox of {u.name}"
    assert [len({n for n, _, _ in m.log}) for m in mails] == [1, 1]
    c.close()
    assert wire.wait_for(lambda: all(q[2].sock.fileno() < 0 for o in origins for q in o.requests))


def test_session_based_authentication_is_announced(lab):
    """RFC 4559 6: a plain client is told that the proxy keeps the pairing."""
    _, o, p = setup(lab, "plain")
    r = User(lab, p, o, "plain").get()
    assert r.get("Proxy-Support") == "Session-Based-Authentication", r.head
    assert "proxy-support" in (r.get("Connection") or "").lower(), r.head
    _, o, p = setup(lab, "opened")
    assert not User(lab, p, o, "opened").get().head.has("Proxy-Support")


def test_signed_in_connection_lost_while_idle(lab):
    """It is asked anew, over another connection; nobody is signed in there."""
    for way in WAYS:
        with lab.sub(way):
            _, o, p = setup(lab, way, Mail(close_after="/leg2"))
            alice = User(lab, p, o, way, "alice").sign_in()
            assert wire.wait_for(lambda: o.requests[-1][2].sock.fileno() < 0)
            r = alice.get("/late")
            assert r.status == 401 and b"mailbox" not in r.body, r.text()
            alice.sign_in() if not alice.c.ended else None


def test_signed_in_connection_lost_between_legs(lab):
    """The next leg would be a wrong password elsewhere: the client's connection
    ends, so that it begins anew."""
    for way in WAYS:
        with lab.sub(way):
            mail, o, p = setup(lab, way, Mail(close_after="/leg1"))
            alice = User(lab, p, o, way, "alice")
            legs = alice.legs()
            next(legs), next(legs)
            assert wire.wait_for(lambda: o.requests[-1][2].sock.fileno() < 0)
            try:
                r = alice.get("/leg2", token(3, "alice"))
                assert r.status == 502, r.text()
            except wire.Ended:
                pass
            assert not [x for x in mail.log if x[1] == "/leg2"], "a leg came to a stranger"


def test_lost_under_a_request_with_credentials_is_not_repeated(lab):
    """A leg means its connection; without one an idempotent request may be
    asked again elsewhere, and is nobody's there."""
    for way in WAYS:
        with lab.sub(way):
            mail, o, p = setup(lab, way, Mail(drop_at="/drop"))
            alice = User(lab, p, o, way, "alice").sign_in()
            r = alice.get("/drop", token(3, "alice"))
            assert r.status == 502, r.text()
            assert len([x for x in mail.log if x[1] == "/drop"]) == 1, mail.log
    for way in WAYS:
        with lab.sub(f"{way}, no credentials"):
            mail, o, p = setup(lab, way, Mail(close_after="/leg2"))
            alice = User(lab, p, o, way, "alice").sign_in()
            r = alice.get("/next")
            assert r.status == 401 and b"mailbox" not in r.body, r.text()


def test_reload_closes_signed_in_connections(lab):
    """What an older generation has verified serves no request of a new one."""
    for way in WAYS:
        with lab.sub(way):
            _, o, p = setup(lab, way)
            alice = User(lab, p, o, way, "alice").sign_in()
            conn = o.requests[-1][2]
            p.reload()
            assert wire.wait_for(lambda: conn.sock.fileno() < 0), "still kept"
            assert alice.get().status == 401


def test_kept_sign_ins_are_bounded(lab):
    """A client that is challenged by many origins costs a bounded number of
    connections."""
    seen = set()

    def reply(head, body):
        def answer(conn):
            seen.add(conn)
            conn.send(ok(b"x", [("WWW-Authenticate", "NTLM")], "401 Unauthorized"))
        return answer
    o = lab.origin(reply, tls=None)
    for i in range(40):
        lab.hosts[f"h{i}.test"] = "127.0.0.1"
    p = lab.assay(workers=1)
    c = lab.connect(p)
    for i in range(40):
        assert User(lab, p, o, "plain", host=f"h{i}.test", conn=c).get().status == 401
    assert wire.wait_for(lambda: sum(s.sock.fileno() >= 0 for s in seen) <= 20), \
        sum(s.sock.fileno() >= 0 for s in seen)
    assert sum(isinstance(s.sock, socket.socket) for s in seen) == 40
