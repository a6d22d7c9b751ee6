# SPDX-License-Identifier: GPL-2.0-or-later
"""Byte-exact peers: a connection, an origin, an ICAP server and a client that
send exactly what a test tells them and keep what they received."""
import base64
import contextlib
import re
import socket
import ssl
import struct
import threading
import time

TIMEOUT = 20


class Ended(Exception):
    """The other side closed, reset or said nothing for too long."""


class Head:
    """Start line and fields, as received."""

    def __init__(self, raw):
        self.raw = raw
        lines = raw.decode("latin-1").split("\r\n")
        self.start = lines[0]
        self.fields = []
        for line in lines[1:]:
            if line:
                n, _, v = line.partition(":")
                self.fields.append((n, v.strip(" \t")))

    def all(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]

    def get(self, name, default=None):
        v = self.all(name)
        return v[0] if v else default

    def has(self, name):
        return bool(self.all(name))

    def __repr__(self):
        return repr(self.raw[:400])


class Conn:
    """A connected socket, plain or TLS. Every read is bounded in time."""

    def __init__(self, sock, timeout=TIMEOUT):
        self.sock = sock
        self.buf = b""
        self.seen = b""         # the first bytes received, for messages
        self.ended = None       # "clean", "ragged" (no close_notify), "reset"
        sock.settimeout(timeout)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        if isinstance(data, str):
            data = data.encode("latin-1")
        try:
            self.sock.sendall(data)
        except (OSError, ssl.SSLError) as e:
            raise Ended(f"while sending: {e}") from None

    def fill(self):
        """Read once more; False at the end of the stream."""
        if self.ended:
            return False
        try:
            got = self.sock.recv(262144)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as e:
            self.ended = "clean" if isinstance(e, ssl.SSLZeroReturnError) else "ragged"
            return False
        except (socket.timeout, TimeoutError):
            raise Ended(f"silence for {self.sock.gettimeout()} s; had {self.buf[:200]!r}") from None
        except (OSError, ssl.SSLError) as e:
            self.ended = "ragged" if "EOF" in str(e) else "reset"
            return False
        if not got:
            self.ended = "clean"
            return False
        self.buf += got
        if len(self.seen) < 65536:
            self.seen += got[:65536]
        return True

    def until(self, mark, limit=1 << 20):
        at = self.buf.find(mark)
        while at < 0:
            if len(self.buf) > limit or not self.fill():
                raise Ended(f"end ({self.ended}) before {mark!r}; had {self.buf[:300]!r}")
            at = self.buf.find(mark)
        out, self.buf = self.buf[:at + len(mark)], self.buf[at + len(mark):]
        return out

    def exact(self, n):
        self._gather(n)
        if len(self.buf) < n:
            raise Ended(f"end ({self.ended}) after {len(self.buf)} of {n} bytes")
        out, self.buf = self.buf[:n], self.buf[n:]
        return out

    def _gather(self, n):
        """Read until n bytes are there or the stream ends, without copying them again at each read."""
        pieces, have = [], 0
        try:
            while have + len(self.buf) < n and self.fill():
                if len(self.buf) > 1 << 20:
                    have += len(self.buf)
                    pieces.append(self.buf)
                    self.buf = b""
        finally:
            self.buf = b"".join(pieces + [self.buf])

    def head(self):
        return Head(self.until(b"\r\n\r\n"))

    def rest(self):
        """Everything up to the end of the stream."""
        self._gather(float("inf"))
        out, self.buf = self.buf, b""
        return out

    def chunked(self, trailers=None, sizes=None):
        """A chunked body; the list trailers gets the trailer fields, sizes the
        chunk lines."""
        out = []
        while True:
            line = self.until(b"\r\n", 8192)
            if sizes is not None:
                sizes.append(line[:-2])
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            out.append(self.exact(size))
            if self.exact(2) != b"\r\n":
                raise Ended("no CRLF behind a chunk")
        while True:
            line = self.until(b"\r\n", 65536)
            if line == b"\r\n":
                return b"".join(out)
            if trailers is not None:
                trailers.append(line[:-2].decode("latin-1"))

    def body(self, head):
        """The body of a request, by its framing fields."""
        if (head.get("Transfer-Encoding") or "").lower() == "chunked":
            return self.chunked()
        return self.exact(int(head.get("Content-Length") or 0))

    def request(self):
        """One whole request: (head, body)."""
        h = self.head()
        return h, self.body(h)

    def silent(self, seconds):
        """True if nothing comes and nothing ends for so long."""
        if self.buf:
            return False
        had = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            got = self.sock.recv(65536)
            if got:
                self.buf += got
            else:
                self.ended = "clean"
            return False
        except (socket.timeout, TimeoutError):
            return True
        except OSError:
            self.ended = "reset"
            return False
        finally:
            self.sock.settimeout(had)

    def is_closed(self, seconds=5):
        """True if the other side ends within so long, saying nothing more."""
        had = self.sock.gettimeout()
        self.sock.settimeout(seconds)
        try:
            while self.fill():
                if self.buf:
                    return False
            return True
        except Ended:
            return False
        finally:
            self.sock.settimeout(had)

    def close(self):
        """An orderly end, with close_notify over TLS."""
        if isinstance(self.sock, ssl.SSLSocket):
            with contextlib.suppress(OSError, ssl.SSLError, ValueError):
                self.sock.settimeout(0.5)
                self.sock.unwrap()
        self.cut()

    def cut(self):
        """End the transport without a TLS alert."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self.sock.close()

    def reset(self):
        """End with RST."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with contextlib.suppress(OSError):
            self.sock.close()


class Response:
    """What a client saw: status, head, body, interim heads and how it ended."""

    def __init__(self, conn, method="GET"):
        self.interim, self.trailers, self.chunks = [], [], []
        self.cut = None         # why the body is visibly incomplete
        while True:
            self.head = conn.head()
            m = re.fullmatch(r"HTTP/1\.([01]) (\d{3})( .*)?", self.head.start)
            if not m:
                raise Ended(f"not a status line: {self.head.start!r}")
            self.status = int(m[2])
            if self.status >= 200 or self.status == 101:
                break
            self.interim.append(self.head)
        self.body = b""
        self.framing = "none"
        if method == "HEAD" or self.status in (101, 204, 304) or \
           (method == "CONNECT" and self.status < 300):
            return
        coding, length = self.head.all("Transfer-Encoding"), self.head.all("Content-Length")
        if coding and length:
            raise Ended("both framing fields in an answer")
        try:
            if coding:
                self.framing = "chunked"
                if [c.lower() for c in coding] != ["chunked"]:
                    raise Ended(f"coding {coding}")
                self.body = conn.chunked(self.trailers, self.chunks)
            elif length:
                self.framing = "length"
                if len(set(length)) > 1:
                    raise Ended(f"lengths {length}")
                want = int(length[0])
                self.body = conn.exact(want)
            else:
                self.framing = "close"
                self.body = conn.rest()
                if conn.ended != "clean":
                    self.cut = conn.ended
        except Ended as e:
            self.cut = str(e)

    def get(self, name):
        return self.head.get(name)

    def text(self):
        return self.body.decode("utf-8", "replace")

    def __repr__(self):
        return f"<{self.head.start!r} {self.framing} {len(self.body)} bytes" + \
            (f" cut: {self.cut}>" if self.cut else ">")


class Server:
    """Listens on a port of the kernel's and runs script(conn) for every
    connection, in a thread of its own."""

    def __init__(self, script=None, tls=None, host="127.0.0.1", port=0, timeout=TIMEOUT):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, port), family=family, backlog=2048)
        self.host, self.port = host, self.listener.getsockname()[1]
        self.script, self.tls, self.timeout = script, tls, timeout
        self.conns, self.errors, self.closing = [], [], False
        self.accepted = self.handshakes = 0
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while not self.closing:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.accepted += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        conn = None
        try:
            sock.settimeout(self.timeout)
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
                with self.lock:
                    self.handshakes += 1
            conn = Conn(sock, self.timeout)
            conn.sni = getattr(sock, "sni", None)
            with self.lock:
                self.conns.append(conn)
                conn.number = len(self.conns)
            self.script(conn)
        except (Ended, OSError, ssl.SSLError) as e:
            self.errors.append(f"{type(e).__name__}: {e}")
        except Exception as e:      # a bug of the test: shown with its failure
            self.errors.append(f"SCRIPT {type(e).__name__}: {e}")
        finally:
            if conn is not None:
                conn.close()
            else:
                with contextlib.suppress(OSError):
                    sock.close()

    def stop(self):
        self.closing = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for c in list(self.conns):
            c.cut()


def ok(body=b"", fields=(), status="200 OK", length=True):
    """An answer as bytes."""
    if isinstance(body, str):
        body = body.encode()
    lines = [f"HTTP/1.1 {status}"] + [f"{n}: {v}" for n, v in fields]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Origin(Server):
    """An origin that answers each request with reply(head, body): bytes, or a
    callable that gets the connection. requests lists (head, body, conn)."""

    def __init__(self, reply=None, **kw):
        self.reply = reply or (lambda head, body: ok(b"hello\n"))
        self.requests = []
        super().__init__(self._loop, **kw)

    def _loop(self, conn):
        while True:
            if not conn.buf and not conn.fill():
                return
            head, body = conn.request()
            self.requests.append((head, body, conn))
            out = self.reply(head, body)
            if callable(out):
                if out(conn) == "close":
                    return
            else:
                conn.send(out)


class Transaction:
    """One ICAP request at the scripted server."""

    def __init__(self, conn):
        self.conn = conn
        self.head = conn.head()
        parts = self.head.start.split(" ")
        self.method, self.url = parts[0], parts[1]
        self.encapsulated = []
        self.http = {}          # "req-hdr", "res-hdr" -> Head
        self.raw = {}
        self.preview = self.rest = b""
        self.ieof = False
        self.has_body = False
        self.sizes = []
        if self.method == "OPTIONS":
            return
        for m in re.finditer(r"([a-z-]+)=(\d+)", self.head.get("Encapsulated") or ""):
            self.encapsulated.append((m[1], int(m[2])))
        for (kind, at), (_, end) in zip(self.encapsulated, self.encapsulated[1:]):
            self.raw[kind] = conn.exact(end - at)
            self.http[kind] = Head(self.raw[kind])
        last = self.encapsulated[-1][0] if self.encapsulated else "null-body"
        self.has_body = last in ("req-body", "res-body", "opt-body")
        self.wants_preview = self.head.has("Preview")
        if self.has_body and self.wants_preview:
            self.preview = conn.chunked(sizes=self.sizes)
            self.ieof = b"ieof" in self.sizes[-1]

    @property
    def request(self):
        return self.http.get("req-hdr")

    @property
    def response(self):
        return self.http.get("res-hdr")

    def read_rest(self):
        """The body behind the preview, or the whole body without one."""
        if self.has_body and not self.ieof:
            self.rest = self.conn.chunked(sizes=self.sizes)
        return self.preview + self.rest

    def cont(self):
        self.conn.send("ICAP/1.0 100 Continue\r\n\r\n")

    def whole(self):
        """The whole body, asking for what is behind the preview."""
        if self.has_body and self.wants_preview and not self.ieof:
            self.cont()
        return self.read_rest()

    def answer(self, status, encapsulated="null-body=0", fields=(), rest=b""):
        lines = [f"ICAP/1.0 {status}", 'ISTag: "lab-1"']
        lines += [f"{n}: {v}" for n, v in fields]
        if encapsulated is not None:
            lines.append(f"Encapsulated: {encapsulated}")
        self.conn.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + rest)

    def no_change(self):
        self.answer("204 No Modifications")

    def modified(self, head, body, kind=None, fields=(), chunk=4096, end=True):
        """200 with an HTTP head (str or bytes, with its empty line) and a body
        (None: null-body)."""
        if isinstance(head, str):
            head = head.encode("latin-1")
        kind = kind or ("res" if head.startswith(b"HTTP/") else "req")
        part = f"{kind}-body" if body is not None else "null-body"
        self.answer("200 OK", f"{kind}-hdr=0, {part}={len(head)}", fields, head)
        if body is not None:
            for i in range(0, len(body), chunk):
                piece = body[i:i + chunk]
                self.conn.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            if end:
                self.conn.send(b"0\r\n\r\n")

    def block(self, text="blocked by lab", fields=()):
        """REQMOD or RESPMOD answered with a 403 page."""
        body = text.encode()
        self.modified(f"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n"
                      f"Content-Length: {len(body)}\r\n\r\n", body, "res", fields)

    def echo(self):
        """200 with the same message."""
        body = self.whole() if self.has_body else None
        kind = "res" if self.method == "RESPMOD" else "req"
        self.modified(self.raw[f"{kind}-hdr"], body, kind)


OPTIONS = (("Methods", "REQMOD, RESPMOD"), ("Service", "lab"), ("Options-TTL", "3600"),
           ("Allow", "204"), ("Preview", "1024"), ("Transfer-Preview", "*"),
           ("Max-Connections", "100"))


class Icap(Server):
    """A scripted ICAP server: script(tx) for each REQMOD and RESPMOD;
    OPTIONS is answered from the field list, or by on_options(tx)."""

    def __init__(self, script=None, options=OPTIONS, on_options=None, drop=(), extra=(), connect=False, **kw):
        self.sees_connect = connect     # else the tunnel itself passes unseen
        self.on_tx = script or (lambda tx: tx.no_change())
        self.fields = [f for f in options if f[0] not in drop] + list(extra)
        self.on_options = on_options
        self.options = 0
        self.txs = []
        super().__init__(self._loop, **kw)

    def url(self, path="scan"):
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"icap://{host}:{self.port}/{path}"

    def _loop(self, conn):
        while True:
            if not conn.buf and not conn.fill():
                return
            tx = Transaction(conn)
            if tx.method == "OPTIONS":
                with self.lock:
                    self.options += 1
                if self.on_options:
                    if self.on_options(tx) == "close":
                        return
                else:
                    tx.answer("200 OK", fields=self.fields)
                continue
            if not self.sees_connect and tx.request is not None and tx.request.start.startswith("CONNECT "):
                tx.no_change()
                continue
            with self.lock:
                self.txs.append(tx)
            if self.on_tx(tx) == "close":
                return


# ------------------------------------------------------------------ client
def context(ca, minimum=None, maximum=None, ciphers=None):
    """A verifying TLS context for clients."""
    c = ssl.create_default_context(cafile=ca)
    if minimum:
        c.minimum_version = minimum
    if maximum:
        c.maximum_version = maximum
    if ciphers:
        c.set_ciphers(ciphers)
    return c


def connect(addr, timeout=TIMEOUT, source=None):
    """source: the client's address (127.0.0.x are all this machine's)."""
    return Conn(socket.create_connection(addr, timeout, (source, 0) if source else None), timeout)


class Tunnel(Conn):
    """CONNECT through a proxy, and TLS in it unless ctx is None. .connect is
    the proxy's answer."""

    def __init__(self, addr, authority, ctx=None, sni=None, timeout=TIMEOUT, fields="", source=None):
        raw = connect(addr, timeout, source)
        raw.send(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n")
        self.connect = Response(raw, "CONNECT")
        if self.connect.status != 200:
            super().__init__(raw.sock, timeout)
            return
        sock = raw.sock
        if ctx is not None:
            sock = ctx.wrap_socket(sock, server_hostname=sni or authority.rsplit(":", 1)[0].strip("[]"),
                                   suppress_ragged_eofs=False)
        super().__init__(sock, timeout)

    def get(self, path="/", host=None, fields="", method="GET"):
        self.send(f"{method} {path} HTTP/1.1\r\nHost: {host or self.host}\r\n{fields}\r\n")
        return Response(self, method)


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def wait_for(what, seconds=10, step=0.02):
    """Poll until what() is true; returns its last value."""
    end = time.monotonic() + seconds
    while True:
        v = what()
        if v or time.monotonic() > end:
            return v
        time.sleep(step)
