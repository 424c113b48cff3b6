"""Programs that exchange messages between two ends in one process, without a load generator.

They are no rows of the catalogue: one process at both ends compares loops badly. Their instructions are
counted (benches/instructions.py in the source tree).
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

from .local import Program, Run

MESSAGE = b"x" * 1024
LINE = MESSAGE[1:] + b"\n"
DATAGRAM = b"x" * 64


def echo_pair(loop: asyncio.AbstractEventLoop) -> Run:
    """1 KiB to and fro between two stream transports over a socket pair, by protocols."""
    left = 0

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.Transport, transport)

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    class Asking(Echo):
        def data_received(self, data: bytes) -> None:
            nonlocal left
            left -= 1
            if left:
                self.transport.write(data)
            else:
                loop.stop()

    async def connect() -> Asking:
        here, there = socket.socketpair()
        await loop.create_connection(Echo, sock=there)
        _, asking = await loop.create_connection(Asking, sock=here)
        return asking

    asking = loop.run_until_complete(connect())

    def run(count: int) -> None:
        nonlocal left
        left = count
        asking.transport.write(MESSAGE)
        loop.run_forever()

    return run


def lines_pair(loop: asyncio.AbstractEventLoop) -> Run:
    """A line of 1 KiB to and fro between asyncio's streams over a socket pair, by two tasks."""

    async def connect() -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        return [await asyncio.open_connection(sock=end) for end in socket.socketpair()]

    (reader, writer), (there_reader, there_writer) = loop.run_until_complete(connect())

    async def answer(count: int) -> None:
        for _ in range(count):
            there_writer.write(await there_reader.readline())
            await there_writer.drain()

    async def main(count: int) -> None:
        answering = loop.create_task(answer(count))
        for _ in range(count):
            writer.write(LINE)
            await writer.drain()
            await reader.readline()
        await answering

    return lambda count: loop.run_until_complete(main(count))


def datagram_pair(loop: asyncio.AbstractEventLoop) -> Run:
    """A datagram to and fro between two UDP transports, by protocols."""
    left = 0

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.DatagramTransport, transport)

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data, addr)

    class Asking(Echo):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            nonlocal left
            left -= 1
            if left:
                self.transport.sendto(data)
            else:
                loop.stop()

    async def connect() -> Asking:
        there, _ = await loop.create_datagram_endpoint(Echo, ("127.0.0.1", 0))
        address = there.get_extra_info("sockname")
        _, asking = await loop.create_datagram_endpoint(Asking, remote_addr=address)
        return asking

    asking = loop.run_until_complete(connect())

    def run(count: int) -> None:
        nonlocal left
        left = count
        asking.transport.sendto(DATAGRAM)
        loop.run_forever()

    return run


PROGRAMS = {
    "echo_pair": Program(echo_pair),
    "lines_pair": Program(lines_pair),
    "datagram_pair": Program(datagram_pair),
}
