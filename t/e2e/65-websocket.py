# SPDX-License-Identifier: GPL-2.0-or-later
"""WebSocket: the scripted peers among themselves and with a real one, so that
a test that fails with assay in between says something of assay."""
import asyncio

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory

import wire
import wsock
from wsock import BINARY, CONT, PING, TEXT

TERMS = [
    "",
    wsock.DEFLATE,
    wsock.DEFLATE + "; server_no_context_takeover",
    wsock.DEFLATE + "; client_no_context_takeover; server_no_context_takeover",
]
MESSAGES = ["hello", "", "h\u00e9llo" * 1000, b"", b"\0\xff" * 40000, "hello", b"x" * 125, b"x" * 126]


def alone(side, terms):
    return f"{side}_no_context_takeover" in terms


def test_peers(lab):
    """Messages of all kinds, and the way back."""
    for terms in TERMS:
        with lab.sub(terms):
            o = lab.origin(wsock.served(extensions=terms), tls=None)
            conn = wire.connect(("127.0.0.1", o.port))
            s, head = wsock.connect(conn, f"127.0.0.1:{o.port}", extensions=terms)
            assert head.get("Sec-WebSocket-Extensions", "") == terms
            for data in MESSAGES:
                s.send(data)
                assert s.message() == data
                s.send(data, frames=3, between=[(PING, b"now")])
                assert [s.recv(), s.recv(), s.recv()] == [("pong", b"now"), ("pong", b"now"), data]
            s.close(4000, "that was it")
            assert s.recv() == ("close", 4000, "")
            assert conn.is_closed()
            conn.close()


def test_real_client(lab):
    """python3-websockets as client."""
    async def talk(port, terms):
        offer = [ClientPerMessageDeflateFactory(alone("server", terms), alone("client", terms))] if terms else None
        async with websockets.connect(f"ws://127.0.0.1:{port}/", extensions=offer, compression=None) as ws:
            for data in MESSAGES:
                await ws.send(data)
                assert await ws.recv() == data
            await ws.send(iter(["in ", "three ", "parts"]))
            assert await ws.recv() == "in three parts"
            await (await ws.ping(b"there?"))

    def serve(sock):
        wsock.echo(sock)
        assert any(rsv for _, _, rsv, _ in sock.frames) == sock.deflate

    for terms in TERMS:
        with lab.sub(terms):
            o = lab.origin(wsock.served(serve, extensions=terms), tls=None)
            asyncio.run(asyncio.wait_for(talk(o.port, terms), 20))


def test_real_server(lab):
    """python3-websockets as server."""
    def client(port, terms):
        conn = wire.connect(("127.0.0.1", port))
        s, _ = wsock.connect(conn, "a", extensions=terms, protocols="other, chat")
        assert s.deflate == bool(terms)
        for data in MESSAGES:
            s.send(data, frames=2)
            assert s.message() == data
        s.close()
        assert s.recv() == ("close", 1000, "")
        conn.close()

    async def echo(ws):
        async for data in ws:
            await ws.send(data)

    async def serve(terms):
        takes = [ServerPerMessageDeflateFactory(alone("server", terms), alone("client", terms))] if terms else None
        async with websockets.serve(echo, "127.0.0.1", 0, extensions=takes, compression=None, subprotocols=["chat"]) as s:
            await asyncio.to_thread(client, s.sockets[0].getsockname()[1], terms)

    for terms in TERMS:
        with lab.sub(terms):
            asyncio.run(asyncio.wait_for(serve(terms), 20))


def test_octets(lab):
    """RFC 6455 5.7, octet by octet."""
    key = bytes.fromhex("37fa213d")
    for got, what in [
        (wsock.frame(TEXT, b"Hello"), "810548656c6c6f"),
        (wsock.frame(TEXT, b"Hello", mask=key), "818537fa213d7f9f4d5158"),
        (wsock.frame(TEXT, b"Hel", fin=False), "010348656c"),
        (wsock.frame(CONT, b"lo"), "80026c6f"),
        (wsock.frame(BINARY, b"x" * 256)[:4], "827e0100"),
        (wsock.frame(BINARY, b"x" * 65536)[:10], "827f0000000000010000"),
        (wsock.frame(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=4), "c107f248cdc9c90700"),
    ]:
        with lab.sub(what):
            assert got.hex() == what
    assert wsock.accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
