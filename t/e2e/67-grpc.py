# SPDX-License-Identifier: GPL-2.0-or-later
"""gRPC through assay: a real client and a real server (python3-grpcio) in all
four shapes over HTTP/2 on both legs, with and without scanners; and scripted
peers for what the real ones do not do."""
import base64
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import h2origin
import h2wire
import lab as e2e
from lab import EICAR, TESTDB, field, needs, pattern, seconds

PEER = pathlib.Path(__file__).with_name("grpcpeer.py")
CLAM = {"url": f"clamav:{TESTDB}", "mode": "both"}
NONE = [{"name": "none", "scan": "none"}]
REFERENCE = re.compile(r"reference: ([0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4})")


class Server(e2e.Process):
    def __init__(self, lab):
        self.port = lab.port()
        pem = lab.server_context("www.test", sans=[*e2e.NAMES, "127.0.0.1"]).cert_path
        super().__init__("grpc server", [sys.executable, str(PEER), "server", str(self.port), str(pem)], lab.dir / f"grpc-{self.port}.log")
        lab.on_close(self.stop)
        lab.wait_port(self.port, self)

    def said(self, what, seconds=10):
        stop = time.monotonic() + seconds * e2e.lab_scale()
        while time.monotonic() < stop:
            if what in self.log():
                return True
            time.sleep(0.02)
        return False

    def stop(self, seconds=8):
        self.kill()


class Client:
    """Calls through assay, one connection for all of them."""

    def __init__(self, lab, p, port):
        log = lab.dir / f"grpc-client-{os.urandom(3).hex()}.log"
        self.proc = subprocess.Popen([sys.executable, str(PEER), "client", f"http://127.0.0.1:{p.port}", p.ca, f"www.test:{port}"],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(log, "wb"), text=True)
        lab.on_close(self.stop)

    def start(self, name, *messages, **of):
        self.proc.stdin.write(json.dumps({"name": name, "messages": [base64.b64encode(m).decode() for m in messages], **of}) + "\n")
        self.proc.stdin.flush()

    def result(self):
        line = self.proc.stdout.readline()
        assert line, "the client ended"
        out = json.loads(line)
        out["answers"] = [base64.b64decode(a) for a in out["answers"]]
        return out

    def call(self, name, *messages, **of):
        self.start(name, *messages, **of)
        return self.result()

    def stop(self):
        self.proc.kill()
        self.proc.wait(5)


def parties(lab, **conf):
    s = Server(lab)
    p = lab.assay(**conf)
    return s, p, Client(lab, p, s.port)


def services(lab):
    """Ways to be scanned; the last is not to be."""
    yield "clamav", {"services": {"clam": CLAM}}
    yield "icap", {"services": {"req": {"url": lab.icap().url(), "mode": "req"}, "resp": {"url": lab.icap().url(), "mode": "resp"}}}
    yield "none", {"services": {"clam": CLAM}, "rules": NONE}


@needs("clamav")
@seconds(90)
def test_unary(lab):
    """Small and large, compressed, with a status, with a deadline."""
    s = Server(lab)
    for how, conf in services(lab):
        with lab.sub(how):
            p = lab.assay(**conf)
            c = Client(lab, p, s.port)
            r = c.call("unary", b"hello")
            assert r["code"] == 0 and r["answers"] == [b"hello"], r
            r = c.call("unary", b"m" * (4 << 20), metadata=[["x-size", str(4 << 20)]])
            assert r["code"] == 0 and r["sizes"] == [4 << 20], r
            r = c.call("unary", pattern(100000), gzip=True, metadata=[["x-compress", "1"]])
            assert r["code"] == 0 and r["sizes"] == [100000], r
            r = c.call("unary", b"", metadata=[["x-compress", "1"]])
            assert r["code"] == 0 and r["sizes"] == [0], r
            r = c.call("unary", b"x", metadata=[["x-status", "5"]])
            assert (r["code"], r["text"]) == (5, "no such th\u00ecng"), r
            assert base64.b64decode(r["trailers"]["grpc-status-details-bin"]) == b"\1\2details", r
            r = c.call("unary", b"x", metadata=[["x-sleep", "5"]], timeout=0.5)
            assert r["code"] == 4 and r["seconds"] < 4, r
            left = re.findall(r"left=([\d.]+)", s.log())
            assert left and float(left[-1]) < 1, left
            r = c.call("unary", b"after")
            assert r["answers"] == [b"after"], r
            p.stop()


@needs("clamav")
def test_unary_blocked(lab):
    """A finding in a request, in an answer, in compressed ones; a rule: the
    client gets a code and a reference, and the record has it all."""
    s, p, c = parties(lab, services={"clam": CLAM}, rules=[{"name": "no", "if": {"url": "/t.T/down"}, "access": "block"}])
    for how in ({}, {"gzip": True}):
        r = c.call("unary", EICAR, **how)
        assert r["code"] == 7 and "Eicar" in r["text"] and REFERENCE.search(r["text"]), r
        rec = p.access(1)[-1]
        (lab.dir / "access.log").unlink()
        p.signal(10)
        assert field(rec, "event.id") == REFERENCE.search(r["text"])[1] and field(rec, "assay.verdict") == "blocked", rec
        assert field(rec, "event.action") == "block", rec
    r = c.call("unary", b"clean")
    assert r["answers"] == [b"clean"], r
    r = c.call("down", b"1:0:x")
    assert r["code"] == 7 and "rule: no" in r["text"], r


@needs("clamav")
def test_origin_faults(lab):
    """An origin that is not there, and one that ends early: UNAVAILABLE."""
    p = lab.assay(services={"clam": CLAM})
    port = lab.port()
    r = Client(lab, p, port).call("unary", b"x", timeout=20)
    assert r["code"] == 14, r
    o = h2origin.start(lab, lambda st: st.rst(h2wire.INTERNAL_ERROR))
    r = Client(lab, p, o.port).call("unary", b"x", timeout=20)
    assert r["code"] == 14 and "assay" in r["text"], r
