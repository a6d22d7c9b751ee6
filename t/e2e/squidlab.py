# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a test against Squid instead of assayd (E2E_PROXY=squid t/e2e/run ...):
shows that a test of plain proxy behaviour is itself sound. Only what both
have is translated; anything else skips the test."""
import importlib.util
import pathlib
import sys

import lab as e2e

HERE = pathlib.Path(__file__).resolve().parent


def bench_lab():
    spec = importlib.util.spec_from_file_location("bench_lab", HERE.parent / "bench" / "lab.py")
    m = importlib.util.module_from_spec(spec)
    sys.modules["bench_lab"] = m
    spec.loader.exec_module(m)
    return m


class Squid(e2e.Assay):
    def __init__(self, lab, proxy):
        self.lab, self.port, self.ca, self.addr = lab, proxy.port, proxy.ca_cert, ("127.0.0.1", proxy.port)
        self.proxy, self.proc, self.pid, self.name = proxy, proxy.proc, proxy.proc.pid, "squid"
        self.log_path = pathlib.Path(proxy.logfile)

    def stop(self):
        self.proxy.stop()

    def access(self, n=1, seconds=5, path=None):
        raise e2e.Skip("Squid's log is another")


def start(lab, conf, port):
    b = bench_lab()
    req, resp, fail = [], [], "closed"
    for name, s in conf.get("services", {}).items():
        if not s["url"].startswith("icap"):
            raise e2e.Skip("Squid has no scanner inside")
        if s["mode"] in ("req", "both"):
            req.append(s["url"])
        if s["mode"] in ("resp", "both"):
            resp.append(s["url"])
        fail = "open" if s.get("on_error") == "bypass" else fail
    splice = [h.lstrip("=") for r in conf.get("rules", []) if r.get("tls") == "splice" for h in r["if"]["host"]]
    trust = conf.get("tls", {}).get("origin", {}).get("trust", [lab.trust])[0]
    folder = lab.dir / "squid"
    p = b.start("squid", b.Options(workdir=str(folder), port=port, trust=trust, hosts=dict(lab.hosts), icap_reqmod=req,
                                   icap_respmod=resp, fail=fail, splice=splice))
    return Squid(lab, p)
