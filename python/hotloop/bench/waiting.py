"""Programs that time what a loop does with the world: descriptors, threads, names, children.

All within one process (but for the children), so that no load generator is needed.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess

from .local import Program, Run
from .tasks import awaiting

MESSAGE = b"x" * 1024


async def executor(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A call that does nothing, in a thread of the default executor."""

    def nothing() -> None:
        pass

    for _ in range(count):
        await loop.run_in_executor(None, nothing)


def add_reader(loop: asyncio.AbstractEventLoop) -> Run:
    """A byte goes to and fro over a socket pair, both ends being watched."""
    left_end, right_end = socket.socketpair()
    left_end.setblocking(False)
    right_end.setblocking(False)

    def run(count: int) -> None:
        left = count

        def at_left() -> None:
            nonlocal left
            left_end.recv(1)
            left -= 1
            if left:
                left_end.send(b".")
            else:
                loop.stop()

        def at_right() -> None:
            right_end.recv(1)
            right_end.send(b".")

        # By number: not every loop takes objects that have one.
        loop.add_reader(left_end.fileno(), at_left)
        loop.add_reader(right_end.fileno(), at_right)
        left_end.send(b".")
        loop.run_forever()
        loop.remove_reader(left_end.fileno())
        loop.remove_reader(right_end.fileno())

    return run


def sock_pair(loop: asyncio.AbstractEventLoop) -> Run:
    """1 KiB by `sock_sendall`, then `sock_recv`, to and fro over a socket pair by two tasks."""
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)

    async def answer(count: int) -> None:
        for _ in range(count):
            await loop.sock_sendall(there, await loop.sock_recv(there, 4096))

    async def main(count: int) -> None:
        answering = loop.create_task(answer(count))
        for _ in range(count):
            await loop.sock_sendall(here, MESSAGE)
            await loop.sock_recv(here, 4096)
        await answering

    return lambda count: loop.run_until_complete(main(count))


async def spawn(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """Start `/bin/true` and wait for its end."""
    for _ in range(count):
        process = await asyncio.create_subprocess_exec(
            "/bin/true", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        if await process.wait() != 0:
            raise RuntimeError("/bin/true failed")


async def resolve_literal(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """`getaddrinfo` of an IPv4 address and a port."""
    for _ in range(count):
        await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)


async def resolve_localhost(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """`getaddrinfo` of localhost and a port."""
    for _ in range(count):
        await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)


def connect(loop: asyncio.AbstractEventLoop) -> Run:
    """Client and server in one process: connect, accept, close, see the end on both sides."""
    closed = 0
    all_closed = asyncio.Event()

    class Ending(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            nonlocal closed
            closed += 1
            all_closed.set()

    class Closing(Ending):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            transport.close()

    # The server closes first: it, and not the client, keeps the port's TIME_WAIT.
    server = loop.run_until_complete(loop.create_server(Closing, "127.0.0.1", 0, backlog=1024))
    host, port = server.sockets[0].getsockname()[:2]

    async def main(count: int) -> None:
        nonlocal closed
        closed = 0
        for done in range(count):
            transport, _ = await loop.create_connection(Ending, host, port)
            while closed < 2 * (done + 1):
                all_closed.clear()
                await all_closed.wait()
            transport.close()

    return lambda count: loop.run_until_complete(main(count))


PROGRAMS = {
    "executor": Program(awaiting(executor)),
    "add_reader": Program(add_reader),
    "sock_pair": Program(sock_pair),
    "spawn": Program(awaiting(spawn)),
    "resolve_literal": Program(awaiting(resolve_literal)),
    "resolve_localhost": Program(awaiting(resolve_localhost)),
    "connect": Program(connect),
}
