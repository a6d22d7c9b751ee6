# SPDX-License-Identifier: GPL-2.0-or-later
"""README's first configuration exactly as printed, in a world of its own: two
network namespaces (clients, assayd, c-icap | the web), ClamAV's own paths."""
import glob
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess

import certs
import lab as e2e
import wire
from lab import EICAR, field, needs, pattern, seconds, slow

README = e2e.SRC / "README"
SIZE = 300


def first_configuration():
    """The indented YAML behind "A first configuration"."""
    text = README.read_text().split("A first configuration\n", 1)[1]
    block = re.search(r"((?:^    .*\n|^\n)+)", text.split("one exemption:\n", 1)[1], re.M)[1]
    return "".join(line[4:] if line.strip() else line for line in block.splitlines(keepends=True))


def test_readme_configuration_is_checked(lab):
    """It passes --check (its log folder aside, which the package makes)."""
    conf = first_configuration()
    assert "services:" in conf and "splice" in conf, conf
    logs = lab.dir / "log"
    logs.mkdir()
    if not e2e.has_clamav():
        conf = re.sub(r"^  clam: .*\n", "", conf, flags=re.M).replace("[clam]", "[]").replace("[clam, ", "[")
        conf = re.sub(r"^  upload:.*\n", "", conf, flags=re.M).replace("[upload, download]", "[download]")
    code, out, _ = lab.check(conf.replace("/var/log/assay", str(logs)))
    assert code == 0, out


SCRIPT = r"""
set -e
ip link set lo up
ip link add web type veth peer name client
ip link set client netns $WEB_PID
ip addr add 198.51.100.1/24 dev web
ip link set web up
nsenter -t $WEB_PID -n sh -c 'ip link set lo up; ip addr add 198.51.100.2/24 dev client; ip link set client up'
mount --bind $W/hosts /etc/hosts
mount --bind $W/bundle.pem /etc/ssl/certs/ca-certificates.crt
mount -t tmpfs none /var/lib
mount -t tmpfs none /var/log
mkdir /var/lib/assay /var/log/assay
nsenter -t $WEB_PID -n $NGINX -p $W/web -c $W/web/nginx.conf -e $W/nginx.log & web=$!
nsenter -t $WEB_PID -n /usr/bin/python3 $W/sink.py & sink=$!
c-icap -N -f $W/c-icap.conf & icap=$!
env -u STATE_DIRECTORY $ASSAYD -f $W/readme.conf > $W/assayd.log 2>&1 & assay=$!
i=0
while [ $i -lt 300 ] && ! grep -q ready $W/assayd.log; do sleep 0.1; i=$((i+1)); done
for port in 443 8443; do
while [ $i -lt 300 ] && ! curl -sk -o /dev/null https://198.51.100.2:$port/; do sleep 0.1; i=$((i+1)); done
done
cp /var/lib/assay/ca.pem $W/ca.pem
c="curl -sS -m 100 -x http://127.0.0.1:3128 --cacert $W/ca.pem"
$c -o $W/clean -w 'clean %{http_code}\n' https://www.example/clean >> $W/result
$c -o $W/page -w 'eicar %{http_code}\n' https://www.example/eicar.com >> $W/result
$c -o $W/page2 -w 'upload %{http_code}\n' --data-binary @$W/web/www/eicar.com https://www.example:8443/ >> $W/result
$c -o $W/page3 -w 'cleanup %{http_code}\n' --data-binary @$W/web/www/clean https://www.example:8443/ >> $W/result
$c https://www.example/big | sha256sum >> $W/result
$c -o /dev/null -w 'own %{http_code} %{ssl_verify_result}\n' --cacert $W/root.pem https://bank.example/clean >> $W/result
$c -o /dev/null -w 'not ours %{http_code}\n' https://bank.example/clean >> $W/result 2>&1 || true
kill $assay; wait $assay && echo "exit 0" >> $W/result
cp /var/log/assay/access.log $W/access.log
kill $web $sink $icap
"""

SINK = """
import http.server, ssl, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length'])) if 'Content-Length' in self.headers else self.chunks()
        open('{w}/uploads', 'ab').write(body)
        self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers(); self.wfile.write(b'ok')
    def chunks(self):
        out = b''
        while True:
            n = int(self.rfile.readline(), 16)
            out += self.rfile.read(n); self.rfile.readline()
            if n == 0: return out
s = http.server.ThreadingHTTPServer(('198.51.100.2', 8443), H)
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain('{w}/leaf.pem')
s.socket = c.wrap_socket(s.socket, server_side=True)
s.serve_forever()
"""


@slow
@needs("root", "clamav", "c-icap", "nginx", "nsenter", "ip")
@seconds(240)
def test_readme_configuration(lab):
    """Done when (issue): EICAR blocked in an HTTPS download and upload, 300 MB
    unchanged, the exempt host with its own certificate, and the log says who
    decided what."""
    w = lab.dir
    (w / "web" / "www").mkdir(parents=True)
    os.chmod(w, 0o755)
    cert, key = lab.root.leaf("www.example", sans=["www.example", "bank.example"])
    (w / "leaf.pem").write_bytes(certs.pem(key) + certs.pem(cert))
    bundle = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
    (w / "bundle.pem").write_bytes((bundle.read_bytes() if bundle.exists() else b"") + lab.root.pem())
    (w / "hosts").write_text("127.0.0.1 localhost\n198.51.100.2 www.example bank.example\n")
    (w / "readme.conf").write_text(first_configuration())
    (w / "web" / "www" / "eicar.com").write_bytes(EICAR)
    (w / "web" / "www" / "clean").write_bytes(pattern(100000))
    whole = hashlib.sha256()
    with open(w / "web" / "www" / "big", "wb") as f:
        for i in range(SIZE):
            f.write(pattern(1 << 20, i % 250))
            whole.update(pattern(1 << 20, i % 250))
    temp = " ".join(f"{n}_temp_path {w}/web/{n};" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (w / "web" / "nginx.conf").write_text(
        f"user root; daemon off; master_process off; pid {w}/nginx.pid; error_log {w}/nginx.log; events {{}}\n"
        f"http {{ {temp} access_log off; server {{ listen 198.51.100.2:443 ssl; ssl_certificate {w}/leaf.pem; ssl_certificate_key {w}/leaf.pem;"
        f" root {w}/web/www; }} }}\n")
    (w / "sink.py").write_text(SINK.replace("{w}", str(w)))
    mods = glob.glob("/usr/lib/*/c_icap")[0]
    (w / "c-icap.conf").write_text(
        f"PidFile {w}/ci.pid\nCommandsSocket {w}/ci.ctl\nPort 127.0.0.1:1344\nServerAdmin a\nServerName a\nTmpDir {w}\nDebugLevel 1\nStartServers 1\n"
        f"MaxServers 1\nThreadsPerChild 16\nModulesDir {mods}\nServicesDir {mods}\nTemplateDir /usr/share/c_icap/templates/\nTemplateDefaultLanguage en\n"
        f"LoadMagicFile /etc/c-icap/c-icap.magic\nServerLog {w}/ci.log\nService echo srv_echo.so\n")
    web = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    lab.on_close(lambda: (web.kill(), web.wait()))
    def other_ns():
        return os.readlink(f"/proc/{web.pid}/ns/net") != os.readlink("/proc/self/ns/net")
    assert wire.wait_for(other_ns, 5)
    r = lab.run("unshare", "-n", "-m", "--propagation", "private", "sh", "-c", SCRIPT, seconds=230,
                env={"W": str(w), "WEB_PID": str(web.pid), "ASSAYD": str(e2e.ASSAYD), "NGINX": shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")})
    result = (w / "result").read_text() if (w / "result").exists() else ""
    for want in ("clean 200", "eicar 403", "upload 403", "cleanup 200", whole.hexdigest(), "own 200 0", "not ours 000", "exit 0"):
        with lab.sub(want):
            assert want in result, (result, r.stderr.decode()[-1500:])
    with lab.sub("bodies"):
        assert (w / "clean").read_bytes() == pattern(100000)
        assert EICAR not in (w / "page").read_bytes() and EICAR not in (w / "uploads").read_bytes()
        assert (w / "uploads").read_bytes() == pattern(100000)
    with lab.sub("log"):
        recs = [json.loads(x) for x in (w / "access.log").read_text().splitlines()]
        said = {field(x, "url.full"): x for x in recs}
        eicar = said["https://www.example/eicar.com"]
        assert field(eicar, "event.action") == "block" and "clam" in json.dumps(field(eicar, "assay.scan")), eicar
        assert "c_icap" in json.dumps(field(said["https://www.example/clean"], "assay.scan"))
        assert any(field(x, "event.action") == "splice" and "bank" in json.dumps(x) for x in recs)
