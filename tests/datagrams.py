"""What the tests of datagram transports share: a recording protocol and endpoints that are closed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from helpers import Events


class Datagrams(Events, asyncio.DatagramProtocol):
    """Notes every callback by name, and keeps the datagrams, the errors and the transport."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []
        self.lost_with: BaseException | None = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.note("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.got.append((data, addr))
        self.note("datagram")

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)
        self.note("error")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost_with = exc
        self.note("lost")

    def pause_writing(self) -> None:
        self.note("paused")

    def resume_writing(self) -> None:
        self.note("resumed")

    async def received(self, count: int) -> list[bytes]:
        """Wait until there are ``count`` datagrams; return what was in all of them."""
        await self.wait_until(lambda: len(self.got) >= count)
        return self.data

    @property
    def data(self) -> list[bytes]:
        return [data for data, _ in self.got]


@contextlib.asynccontextmanager
async def endpoint(protocol: Any = Datagrams, **options: Any) -> AsyncIterator[Any]:
    """A datagram endpoint on a free loopback port, or as ``options`` say; closed at the end."""
    if not options:
        options = {"local_addr": ("127.0.0.1", 0)}
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(protocol, **options)
    try:
        yield made
    finally:
        if "lost" not in made.events:
            transport.abort()
            await made.wait("lost")


@contextlib.asynccontextmanager
async def unix_endpoint(path: Path, peer: Path, protocol: Any = Datagrams) -> AsyncIterator[Any]:
    """An endpoint on a Unix socket at ``path``, connected to the one at ``peer``."""
    names = {"local_addr": str(path), "remote_addr": str(peer)}
    async with endpoint(protocol, family=socket.AF_UNIX, **names) as made:
        yield made


def plain_socket(
    path: Path | str | bytes | None = None, family: int = socket.AF_INET
) -> socket.socket:
    """A non-blocking datagram socket, bound to a Unix path or to a free loopback port."""
    address: Any = str(path) if isinstance(path, Path) else path
    if path is None:
        address = ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0)
    sock = socket.socket(socket.AF_UNIX if path is not None else family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(address)
    return sock


def address_of(protocol: Datagrams) -> Any:
    """The address that others send to."""
    return protocol.transport.get_extra_info("sockname")


def block(transport: Any, data: bytes = b"filler") -> int:
    """Send until the first datagram has to wait in the transport; return how many have left."""
    sent = 0
    while transport.get_write_buffer_size() == 0:
        transport.sendto(data)
        sent += 1
    return sent - 1
