# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules that ask for lists: names, URLs and addresses, by file and by folder;
what a reload takes, and what it refuses."""
import json
import re
import time

import lab as e2e
import wire

DEFAULT = {"name": "default", "scan": "none"}


def put(lab, name, text):
    path = lab.dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # At once: somebody may be reading it.
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)
    return str(path)


def plain(lab, p, o, host, path="/"):
    """A plain request through assayd: its status."""
    c = lab.connect(p)
    c.send(f"GET http://{host}:{o.port}{path} HTTP/1.1\r\nHost: {host}:{o.port}\r\nConnection: close\r\n\r\n".encode())
    return wire.Response(c).status


def block_by(*lists):
    return [{"name": "listed", "if": {"in": list(lists)}, "access": "block"}, DEFAULT]


def leaf_of(t):
    return t.sock.getpeercert(True)


def test_names(lab):
    """A name and what is below it, plain and in opened tunnels; the rule is in the record."""
    lab.hosts.update({h: "127.0.0.1" for h in ("bad.test", "x.bad.test", "notbad.test", "only.test", "y.only.test")})
    o, t = lab.origin(tls=None), lab.origin()
    p = lab.assay(lists={"bad": {"file": put(lab, "bad", "# mine\nBad.Test\n=only.test\n")}}, rules=block_by("bad"))
    for host, status in (("bad.test", 403), ("x.bad.test", 403), ("BAD.test", 403), ("notbad.test", 200), ("only.test", 403),
                         ("y.only.test", 200), ("www.test", 200)):
        with lab.sub(host):
            assert plain(lab, p, o, host) == status
    with lab.sub("inside a tunnel"):
        r = lab.curl(p, f"https://bad.test:{t.port}/")
        assert r.status == 403 and b"listed" in r.body, (r.status, r.body[:500])
    assert [x for x in p.access(8) if "listed" in str(x)]
    assert re.search(r"list: bad: 2 entries", p.log()), p.log()


def test_formats(lab):
    """What a line covers is its format's business."""
    names = ("a.test", "x.a.test", "b.test", "x.b.test", "c.test")
    lab.hosts.update({h: "127.0.0.1" for h in names})
    o = lab.origin(tls=None)
    rows = {
        "squid": (".a.test\nb.test\n", {"a.test", "x.a.test", "b.test"}),
        "hosts": ("127.0.0.1 localhost\n0.0.0.0 a.test b.test\n", {"a.test", "b.test"}),
        "adblock": ("! x\n||a.test^\n@@||x.a.test^\n##.ad\n", {"a.test"}),
        "rpz": ("$TTL 1h\na.test CNAME .\n*.b.test CNAME .\n", {"a.test", "x.b.test"}),
    }
    for name, (text, blocked) in rows.items():
        for form in (name, "auto"):
            with lab.sub(f"{name} as {form}"):
                p = lab.assay(lists={"l": {"file": put(lab, f"{name}.list", text), "format": form}}, rules=block_by("l"))
                for host in names:
                    assert plain(lab, p, o, host) == (403 if host in blocked else 200), host
                p.stop()


def test_urls(lab):
    """Paths: only where the URL is known, however it is spelled."""
    o, t = lab.origin(tls=None), lab.origin()
    p = lab.assay(lists={"u": {"file": put(lab, "u", f"www.test/private/area\nhttp://www.test/q?a=1\n")}}, rules=block_by("u"))
    for path, status in (("/private/area", 403), ("/private/area/x", 403), ("/private/area?x", 403), ("/private/areas", 200),
                         ("/private", 200), ("/q?a=1", 403), ("/q", 200), ("/x/../private/area", 403), ("/priv%61te/area", 403),
                         ("//private/area", 403)):
        with lab.sub(path):
            assert plain(lab, p, o, "www.test", path) == status
    tunnel = lab.tunnel(p, t.port)
    assert tunnel.get("/ok").status == 200
    assert tunnel.get("/private/area/1").status == 403


def test_addresses(lab):
    """Networks are asked for the address that the name resolves to."""
    lab.hosts.update({"one.test": "127.0.0.1", "two.test": "127.0.0.2"})
    o = lab.origin(tls=None, host="0.0.0.0")
    p = lab.assay(lists={"n": {"file": put(lab, "n", "127.0.0.2/31\n2001:db8::/32\n"), "format": "cidr"}}, rules=block_by("n"))
    assert plain(lab, p, o, "one.test") == 200
    assert plain(lab, p, o, "two.test") == 403
    assert plain(lab, p, o, "127.0.0.3") == 403
    assert plain(lab, p, o, "127.0.0.1") == 200


def test_exempt(lab):
    """A list that exempts: spliced are its names, not what only claims to be one."""
    lab.hosts["bank.test"] = "127.0.0.1"
    o = lab.origin(tls="bank.test")
    p = lab.assay(lists={"exempt": {"file": put(lab, "exempt", "bank.test\n")}},
                  rules=[{"name": "privacy", "if": {"in": "exempt"}, "tls": "splice"}, DEFAULT])
    t = lab.tunnel(p, o.port, "bank.test", ca=lab.trust)
    assert t.get("/").status == 200    # by the origin's own certificate
    t.close()
    other = lab.origin()
    t = lab.tunnel(p, other.port)
    assert t.get("/").status == 200 and leaf_of(t) != other.tls.leaf
    rec = [r for r in p.access(2) if e2e.field(r, "event.action") == "splice"]
    assert len(rec) == 1 and "privacy" in str(rec[0]), p.access(1)


def test_public_suffix_exempts_nobody(lab):
    path = put(lab, "exempt", "com\nco.uk\nbank.test\n")
    conf = lab.conf(lab.port(), lists={"exempt": {"file": path}},
                    rules=[{"name": "privacy", "if": {"in": ["exempt"]}, "tls": "splice"}, DEFAULT])
    code, out, _ = lab.check(conf)
    assert code == 0 and out.count("public suffix") == 2 and f"{path}:1:" in out, out


def test_folder(lab):
    """UT1: one folder a category, asked for each or together."""
    hosts = ("money.test", "play.test", "free.test")
    lab.hosts.update({h: "127.0.0.1" for h in hosts})
    o = lab.origin(tls=None)
    put(lab, "ut1/bank/domains", "money.test\n")
    put(lab, "ut1/games/domains", "play.test\n")
    put(lab, "ut1/games/urls", "free.test/games\n")
    for asked, blocked in (("ut1", hosts[:2]), ("ut1/games", hosts[1:2]), ("ut1/bank", hosts[:1])):
        with lab.sub(asked):
            p = lab.assay(lists={"ut1": {"dir": str(lab.dir / "ut1")}}, rules=block_by(asked))
            for h in hosts:
                assert plain(lab, p, o, h) == (403 if h in blocked else 200), h
            assert plain(lab, p, o, "free.test", "/games/1") == (200 if asked == "ut1/bank" else 403)
            p.stop()
    for required, is_code in ((False, 0), (True, 1)):
        conf = lab.conf(lab.port(), lists={"ut1": {"dir": str(lab.dir / "ut1"), "required": required}}, rules=block_by("ut1/none"))
        code, out, _ = lab.check(conf)
        assert code == is_code and "no category 'none'" in out, out


def test_status(lab):
    """What is in force, and what of it was not understood."""
    put(lab, "feed", "## Part 1\n0.0.0.0 a.test\n0.0.0.0 b.test\n0.0.0.0\n")
    put(lab, "none", "")
    sock = str(lab.dir / "admin.sock")
    p = lab.assay(lists={"feed": {"file": str(lab.dir / "feed")}, "none": {"file": str(lab.dir / "none")}}, rules=block_by("feed", "none"), admin={"socket": sock})
    r = lab.run(e2e.BUILD / "assayctl", "-s", sock, "--json", "status")
    feed, none = json.loads(r.stdout)["lists"]
    assert (feed["name"], feed["in_force"], feed["format"], feed["entries"], feed["bad_lines"]) == ("feed", True, "hosts", 2, 1), feed
    assert (none["name"], none["in_force"], none["used"]) == ("none", False, True) and "entries" not in none, none
    p.stop()


def test_reload(lab):
    """A list that has changed is taken; one that is refused leaves the old one."""
    lab.hosts.update({"a.test": "127.0.0.1", "b.test": "127.0.0.1"})
    o = lab.origin(tls=None)
    more = "".join(f"{n}.more.test\n" for n in range(300))
    p = lab.assay(lists={"l": {"file": put(lab, "l", "a.test\n" + more)}}, rules=block_by("l"))
    assert (plain(lab, p, o, "a.test"), plain(lab, p, o, "b.test")) == (403, 200)
    put(lab, "l", "a.test\nb.test\n" + more)
    p.reload("in force")
    assert (plain(lab, p, o, "a.test"), plain(lab, p, o, "b.test")) == (403, 403)
    for what, text in (("a page", "<html>\n" * 50), ("nothing", ""), ("shrunk", "a.test\n")):
        with lab.sub(what):
            put(lab, "l", text)
            said = p.reload("in force")
            assert "the one before stays" in said, said
            assert (plain(lab, p, o, "a.test"), plain(lab, p, o, "b.test")) == (403, 403)


def test_missing(lab):
    """Without a list no rule that asks for it matches, whichever way it asks; it
    is said, and where it is required nothing starts."""
    o, t = lab.origin(tls=None), lab.origin()
    nowhere = {"l": {"file": str(lab.dir / "nowhere")}}
    rules = [{"name": "not exempt", "if": {"not": {"in": "l"}}, "tls": "splice", "access": "allow"},
             {"name": "listed", "if": {"in": "l"}, "access": "allow"}, {"name": "rest", "access": "block"}]
    p = lab.assay(lists=nowhere, rules=rules)
    assert "no rule that asks for it matches" in p.log(), p.log()
    assert plain(lab, p, o, "www.test") == 403
    assert lab.curl(p, f"https://www.test:{t.port}/").status == 403
    conf = lab.conf(lab.port(), lists={"l": dict(nowhere["l"], required=True)}, rules=block_by("l"))
    code, out, _ = lab.check(conf)
    assert code == 1 and "nowhere" in out, out


def test_check(lab):
    """Bad lines are named with file and line, and are no reason to refuse; a
    digest is."""
    path = put(lab, "l", "a.test\nnot a name\nb.test\n")
    conf = lab.conf(lab.port(), lists={"l": {"file": path}}, rules=block_by("l"))
    code, out, _ = lab.check(conf)
    assert code == 0 and f"{path}:2:" in out, out
    conf["lists"]["l"].update(sha256="0" * 64, required=True)
    code, out, _ = lab.check(conf)
    assert code == 1 and "SHA-256" in out, out
    conf["lists"]["unused"] = {"file": path}
    conf["lists"]["l"].pop("sha256")
    code, out, _ = lab.check(conf)
    assert code == 0 and "no rule asks for the list 'unused'" in out, out
    conf["rules"] = block_by("unsued")
    code, out, _ = lab.check(conf)
    assert code == 1 and "did you mean 'unused'" in out, out


def test_times(lab):
    """Rules by the time of the week: one that holds now, one that does not for days."""
    o = lab.origin(tls=None)
    far = "Mon Tue Wed Thu Fri Sat Sun".split()[(time.localtime().tm_wday + 3) % 7]
    p = lab.assay(rules=[{"name": "far", "if": {"time": far, "url": "/far"}, "access": "block"},
                         {"name": "now", "if": {"time": "Mon-Sun 00:00-24:00", "url": "/now"}, "access": "block"}, DEFAULT])
    assert plain(lab, p, o, "www.test", "/far") == 200
    assert plain(lab, p, o, "www.test", "/now") == 403


def test_agent(lab):
    """User-Agent: of a request, of CONNECT, and of requests inside."""
    o, t = lab.origin(tls=None), lab.origin()
    p = lab.assay(rules=[{"name": "bots", "if": {"agent": ["^bot/", "crawler"]}, "access": "block"}, DEFAULT])
    for agent, status in (("bot/1", 403), ("Big Crawler", 403), ("robot/1", 200), ("", 200)):
        for url in (f"http://www.test:{o.port}/", f"https://www.test:{t.port}/"):
            with lab.sub(f"{agent} {url}"):
                assert lab.curl(p, url, "-A", agent).status == status
    with lab.sub("inside alone"):
        tunnel = lab.tunnel(p, t.port)
        tunnel.send(f"GET / HTTP/1.1\r\nHost: {tunnel.host}\r\nUser-Agent: bot/2\r\n\r\n")
        assert wire.Response(tunnel).status == 403
