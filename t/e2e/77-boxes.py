# SPDX-License-Identifier: GPL-2.0-or-later
"""What confines each process, while it works: layers, and what is not in its memory."""

import base64
import pathlib
import re

from cryptography.hazmat.primitives import serialization

import lab as e2e
import wire


def processes(assay):
    """Of this assayd, with all that it has started: pid to name."""
    return {pid: pathlib.Path(f"/proc/{pid}/comm").read_text().strip() for pid in assay.pids()}


def memory(pid):
    """All that is readable of it; the pieces."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            span, perms = line.split()[:2]
            low, high = (int(x, 16) for x in span.split("-"))
            if perms[0] != "r" or "[v" in line:
                continue
            try:
                mem.seek(low)
                yield mem.read(high - low)
            except OSError:
                pass


def holds(pid, octets):
    return any(octets in piece for piece in memory(pid))


def scalar(pem):
    """The private number of an EC key."""
    return serialization.load_pem_private_key(pem, None).private_numbers().private_value.to_bytes(32, "big")


@e2e.needs("root", "clamav")
def test_key_is_in_one_process(lab):
    a = lab.assay()
    o = lab.origin(lambda r, c: wire.Response(body=b"x" * 100000), tls="www.test")
    for i in range(3):
        lab.curl(a, f"https://www.test:{o.port}/{i}")
    pem = (lab.dir / "ca.key").read_bytes()
    number = scalar(pem)
    text = "".join(pem.decode().split("-----")[2].split())
    wanted = {"number": number, "number, reversed": number[::-1], "PEM": text[:40].encode(), "DER": base64.b64decode(text)[20:60]}
    found = {}
    for pid, name in processes(a).items():
        for what, octets in wanted.items():
            with lab.sub(f"{name} {what}"):
                here = holds(pid, octets)
                found[name] = found.get(name, False) or here
                assert not here or name == "assayd: keys", f"{what} of the CA's key is in {name} ({pid})"
    assert found.get("assayd: keys"), f"the search finds it where it is: {found}"


@e2e.needs("clamav")
def test_layers(lab):
    a = lab.assay()
    said = [x for x in a.log().splitlines() if "sandbox:" in x]
    assert any("keys: seccomp, " in x for x in said), said
    for pid, name in processes(a).items():
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        with lab.sub(name):
            if pid == a.pid:
                continue
            assert re.search(r"^NoNewPrivs:\s+1$", status, re.M), "new privileges"
            # What serves starts the scan master, which no list of calls allows.
            assert name == "assayd: serve" or re.search(r"^Seccomp:\s+2$", status, re.M), "no seccomp"
            assert re.search(r"^CapEff:\s+0+$", status, re.M), "capabilities"


def test_off_and_require(lab):
    a = lab.assay(sandbox="off")
    assert "sandbox: keys: off" in a.log(), a.log()
    a.stop()
    a = lab.assay(sandbox="require")
    assert "sandbox: keys: seccomp, landlock" in a.log(), a.log()
