"""A TLS peer for tests that have to choose every byte: an ``ssl.SSLObject`` over a plain socket.

It runs on the loop under test with ``sock_recv`` and ``sock_sendall``, which know nothing of TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

from helpers import address_of, client_tls, server_tls


class Peer:
    """One end of a TLS connection, made by hand."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, **options: Any) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self.incoming, self.outgoing, **options)

    async def drive(self, operation: Callable[[], Any]) -> Any:
        """Repeat ``operation`` until it wants nothing, moving records to and from the socket."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                result = operation()
            except ssl.SSLWantReadError:
                await self.flush()
                data = await loop.sock_recv(self.sock, 65536)
                if not data:
                    raise EOFError from None
                self.incoming.write(data)
            else:
                await self.flush()
                return result

    async def flush(self) -> None:
        await self.send_raw(self.outgoing.read())

    async def send_raw(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def handshake(self) -> None:
        await self.drive(self.object.do_handshake)

    async def send(self, data: bytes) -> None:
        await self.send_raw(self.records(data))

    def records(self, data: bytes) -> bytes:
        """The records of ``data``, not sent."""
        view = memoryview(data)
        while view:
            view = view[self.object.write(view) :]
        return self.outgoing.read()

    def goodbye(self) -> bytes:
        """The record of close_notify, not sent."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.object.unwrap()
        return self.outgoing.read()

    async def receive(self, count: int) -> bytes:
        """Plain text, exactly ``count`` bytes."""
        data = bytearray()
        while len(data) < count:
            read = functools.partial(self.object.read, count - len(data))
            data += await self.drive(read)
        return bytes(data)

    async def receive_end(self) -> type[BaseException] | None:
        """How the other end stops sending: None after close_notify, or the exception's type."""
        try:
            while await self.drive(lambda: self.object.read(65536)):
                pass
        except ssl.SSLZeroReturnError:
            return None  # close_notify again, after our own
        except (EOFError, OSError) as error:
            return type(error)
        return None


@contextlib.asynccontextmanager
async def client_of(
    protocol: Any, context: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[Peer]:
    """A server of the loop under test with ``protocol``, and a hand-made client of it.

    ``context`` is the client's; ``options`` go to ``create_server``. The handshake is not begun.
    """
    loop = asyncio.get_running_loop()
    options.setdefault("ssl", server_tls())
    server = await loop.create_server(lambda: protocol, "127.0.0.1", 0, **options)
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, address_of(server))
        try:
            yield Peer(sock, context or client_tls(), server_hostname="localhost")
        finally:
            server.close()
            if protocol.transport is not None:
                protocol.transport.abort()
                await protocol.wait("lost")
            await server.wait_closed()


@contextlib.asynccontextmanager
async def server_of(
    protocol: Any, context: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[Peer]:
    """A hand-made server, and a client of the loop under test with ``protocol``, connected."""
    loop = asyncio.get_running_loop()
    options.setdefault("ssl", client_tls())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        connecting = asyncio.ensure_future(
            loop.create_connection(
                lambda: protocol, *listener.getsockname(), server_hostname="localhost", **options
            )
        )
        sock, _ = await loop.sock_accept(listener)
    with sock:
        peer = Peer(sock, context or server_tls(), server_side=True)
        await peer.handshake()
        await connecting
        try:
            yield peer
        finally:
            protocol.transport.abort()
            await protocol.wait("lost")
