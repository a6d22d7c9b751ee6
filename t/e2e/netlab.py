# SPDX-License-Identifier: GPL-2.0-or-later
"""Three network namespaces in a row, for transparent listeners: c, a client;
p, where assayd is a gateway; s, origins.  Addresses are those of documentation,
nothing leaves.  What is made inside a namespace stays there: sockets, programs."""
import contextlib
import ctypes
import os
import pathlib
import shutil
import subprocess

import lab as e2e

CLIENT, CLIENT6 = "192.0.2.2", "2001:db8:1::2"
GATE, GATE6 = "192.0.2.1", "2001:db8:1::1"
ORIGIN, ORIGIN6 = "203.0.113.80", "2001:db8:80::80"
OTHER, OTHER6 = "203.0.113.81", "2001:db8:80::81"   # another origin
CLONE_NEWNET = 0x40000000
NFT = [str(e2e.BUILD / "assayctl"), "recipe", "nft"]
PROBE = """table inet t {
 chain c {
  type filter hook prerouting priority mangle; policy accept;
  socket transparent 1 accept
  fib daddr type local accept
  tcp dport 1 meta mark set 1 tproxy to :1 accept
 }
 chain n {
  type nat hook prerouting priority dstnat; policy accept;
  tcp dport 1 redirect to :2
 }
}
"""
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


def run(*argv, data=None, check=True):
    r = subprocess.run(argv, input=data, capture_output=True, text=True, timeout=60, env=dict(os.environ, PATH=PATH))
    assert not check or r.returncode == 0, f"{argv}: {r.stderr}"
    return r


class Net:
    def __init__(self, lab):
        if not e2e.may_unshare():
            raise e2e.Skip("needs root and namespaces of its own")
        if not shutil.which("nft", path=PATH) or not shutil.which("ip", path=PATH):
            raise e2e.Skip("nft or ip is not installed")
        if subprocess.run(["unshare", "-n", "nft", "-c", "-f", "-"], input=PROBE, text=True, capture_output=True,
                          env=dict(os.environ, PATH=PATH)).returncode:
            raise e2e.Skip("this kernel lacks tproxy, socket, fib or redirect of nftables")
        self.lab, self.routed = lab, False
        self.home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.names = {x: f"as-{os.getpid()}-{x}" for x in "cps"}
        lab.on_close(self.close)
        for n in self.names.values():
            run("ip", "netns", "add", n)
            run("ip", "-n", n, "link", "set", "lo", "up")
        self.veth("c", "c0", "p", "pc")
        self.veth("s", "s0", "p", "ps")
        self.address("c", "c0", f"{CLIENT}/24", f"{CLIENT6}/64")
        self.address("p", "pc", f"{GATE}/24", f"{GATE6}/64")
        self.address("p", "ps", "198.51.100.1/24", "2001:db8:2::1/64")
        self.address("s", "s0", "198.51.100.2/24", "2001:db8:2::2/64", f"{ORIGIN}/32", f"{ORIGIN6}/128", f"{OTHER}/32", f"{OTHER6}/128")
        for x, via, via6 in (("c", GATE, GATE6), ("s", "198.51.100.1", "2001:db8:2::1")):
            self.ip(x, "route", "add", "default", "via", via)
            self.ip(x, "-6", "route", "add", "default", "via", via6)
        self.ip("p", "route", "add", "203.0.113.0/24", "via", "198.51.100.2")
        self.ip("p", "-6", "route", "add", "2001:db8:80::/64", "via", "2001:db8:2::2")
        with self.inside("p"):
            for key in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
                pathlib.Path(f"/proc/sys/net/{key}").write_text("1")

    def close(self):
        for n in self.names.values():
            run("ip", "netns", "del", n, check=False)
        os.close(self.home)

    def ip(self, where, *args):
        run("ip", "-n", self.names[where], *args)

    def veth(self, a, dev_a, b, dev_b):
        run("ip", "link", "add", dev_a, "netns", self.names[a], "type", "veth", "peer", "name", dev_b, "netns", self.names[b])
        self.ip(a, "link", "set", dev_a, "up")
        self.ip(b, "link", "set", dev_b, "up")

    def address(self, where, dev, *addresses):
        for a in addresses:
            self.ip(where, "addr", "add", a, "dev", dev, *(["nodad"] if ":" in a else []))

    @contextlib.contextmanager
    def inside(self, where):
        """This thread makes its sockets and programs there."""
        libc = ctypes.CDLL(None, use_errno=True)
        fd = os.open(f"/run/netns/{self.names[where]}", os.O_RDONLY)
        try:
            assert libc.setns(fd, CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            yield
        finally:
            os.close(fd)
            assert libc.setns(self.home, CLONE_NEWNET) == 0

    def recipe(self, *args):
        """What it prints is loaded as it is."""
        text = run(*NFT, *args).stdout
        with self.inside("p"):
            run("nft", "-f", "-", data=text)
            if "tproxy" in args and not self.routed:
                self.routed = True
                run("sh", "-e", "-c", run(*NFT, "--mode", "tproxy", "--routes").stdout)
        return text

    def nft(self, text):
        with self.inside("p"):
            return run("nft", "-f", "-", data=text)
