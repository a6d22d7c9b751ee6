# SPDX-License-Identifier: GPL-2.0-or-later
"""A server and a client of gRPC (python3-grpcio), each a process of its own;
messages are plain octets.

    grpcpeer.py server PORT PEM
    grpcpeer.py client PROXY CA TARGET      (calls: lines of JSON on stdin, results on stdout)
"""
import base64
import json
import os
import sys
import time


def words(metadata):
    return {k: v for k, v in metadata}


# ---------------------------------------------------------------- server
def unary(request, context):
    """Echo, after what the client's metadata ask for."""
    import grpc
    asked = words(context.invocation_metadata())
    if "x-compress" in asked:
        context.set_compression(grpc.Compression.Gzip)
    time.sleep(float(asked.get("x-sleep", 0)))
    if "x-status" in asked:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\1\2details"),))
        context.abort(grpc.StatusCode(next(c.value for c in grpc.StatusCode if c.value[0] == int(asked["x-status"]))), "no such th\u00ecng")
    if "x-size" in asked:
        return b"m" * int(asked["x-size"])
    return request


def down(request, context):
    """count:pause:begin, so many messages with so many seconds between."""
    count, pause, begin = request.split(b":", 2)
    for i in range(int(count)):
        if not context.is_active():
            return
        yield begin + b" %d" % i
        time.sleep(float(pause))


def up(requests, context):
    """All lengths; an early answer at the message b"enough"."""
    sizes = []
    for r in requests:
        if r == b"enough":
            break
        sizes.append(len(r))
    return json.dumps(sizes).encode()


def both(requests, context):
    """Echo of each as it comes. "hello" comes before any."""
    asked = words(context.invocation_metadata())
    if "x-first" in asked:
        yield b"hello"
    for r in requests:
        yield r[::-1] if "x-reverse" in asked else b"got " + r


def serve(port, pem):
    import threading
    from concurrent import futures

    import grpc
    def handler(call):
        name = call.method.rsplit("/", 1)[1]
        make = {"unary": grpc.unary_unary_rpc_method_handler, "down": grpc.unary_stream_rpc_method_handler,
                "up": grpc.stream_unary_rpc_method_handler, "both": grpc.stream_stream_rpc_method_handler}
        def noted(f):
            def run(request, context):
                gone = threading.Event()
                context.add_callback(gone.set)
                context.add_callback(lambda: print(f"ended {name} {'whole' if context.code() is None else context.code()}", flush=True))
                print(f"began {name} left={context.time_remaining()}", flush=True)
                asked = words(context.invocation_metadata())
                if "x-wait" in asked and not gone.wait(float(asked["x-wait"])):
                    print(f"waited {name} in vain", flush=True)
                if "x-only" in asked:       # trailers are all of the answer
                    context.abort(grpc.StatusCode(next(c.value for c in grpc.StatusCode if c.value[0] == int(asked["x-only"]))), "that was all")
                return f(request, context)
            return run
        return make[name](noted(globals()[name])) if name in make else None

    class Handlers(grpc.GenericRpcHandler):
        def service(self, call):
            return handler(call)
    data = open(pem, "rb").read()
    s = grpc.server(futures.ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1), ("grpc.http2.min_ping_interval_without_data_ms", 10)])
    s.add_generic_rpc_handlers((Handlers(),))
    assert s.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([(data, data)])) == port
    s.start()
    print("ready", flush=True)
    s.wait_for_termination()


# ---------------------------------------------------------------- client
class Call:
    """One line of stdin. name; messages (base64), pause between them; lockstep:
    each waits for the answer to the one before; cancel: after so many answers;
    cancel_after: so many seconds."""

    def __init__(self, channel, of):
        import grpc
        self.of, self.out = of, {"answers": [], "code": 0, "text": ""}
        self.messages = [base64.b64decode(m) for m in of.get("messages", [""])]
        path = "/t.T/" + of["name"]
        make = {"unary": channel.unary_unary, "down": channel.unary_stream, "up": channel.stream_unary, "both": channel.stream_stream}
        self.stub = make[of["name"]](path)
        self.compression = grpc.Compression.Gzip if of.get("gzip") else None
        import threading
        self.turn = threading.Semaphore(0 if of.get("first") else 1)

    def requests(self):
        for m in self.messages:
            if self.of.get("lockstep"):
                self.turn.acquire(timeout=20)
            elif self.of.get("pause"):
                time.sleep(self.of["pause"])
            yield m
        if self.of.get("stays"):
            time.sleep(self.of["stays"])

    def later(self, call):
        """Takes it back after a while, if asked to."""
        import threading
        if self.of.get("cancel_after"):
            threading.Timer(self.of["cancel_after"], call.cancel).start()

    def run(self):
        import grpc
        streams = self.of["name"] in ("up", "both")
        began = time.monotonic()
        try:
            kw = {"timeout": self.of.get("timeout", 30), "compression": self.compression,
                  "metadata": [tuple(m) for m in self.of.get("metadata", [])]}
            argument = self.requests() if streams else self.messages[0]
            if self.of["name"] in ("unary", "up"):
                call = self.stub.future(argument, **kw)
                self.later(call)
                self.out["answers"].append(call.result())
            else:
                call = self.stub(argument, **kw)
                self.later(call)
                for a in call:
                    self.out["answers"].append(a)
                    self.turn.release()
                    if len(self.out["answers"]) == self.of.get("cancel"):
                        call.cancel()
            self.out["code"] = call.code().value[0]
        except grpc.FutureCancelledError:
            self.out["code"] = call.code().value[0]
        except grpc.RpcError as e:
            self.out["code"], self.out["text"] = e.code().value[0], e.details()
            self.out["trailers"] = {k: v if isinstance(v, str) else base64.b64encode(v).decode() for k, v in e.trailing_metadata() or ()}
        self.out["seconds"] = time.monotonic() - began
        self.out["sizes"] = [len(a) for a in self.out["answers"]]
        self.out["answers"] = [base64.b64encode(a[:2000]).decode() for a in self.out["answers"]]
        return self.out


def ask(proxy, ca, target):
    os.environ["https_proxy"] = os.environ["grpc_proxy"] = proxy
    os.environ["no_grpc_proxy"] = os.environ["no_proxy"] = ""
    import grpc
    channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(open(ca, "rb").read()), options=[
        ("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0), ("grpc.keepalive_time_ms", 1000),
        ("grpc.keepalive_timeout_ms", 5000), ("grpc.http2.max_pings_without_data", 0)])
    for line in sys.stdin:
        print(json.dumps(Call(channel, json.loads(line)).run()), flush=True)
    channel.close()


if __name__ == "__main__":
    if sys.argv[1] == "server":
        serve(int(sys.argv[2]), sys.argv[3])
    else:
        ask(*sys.argv[2:])
