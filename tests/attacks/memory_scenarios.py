"""The small pieces of work that `memory_errors.py` runs with each of their allocations refused in turn.

Each is a coroutine function that gets the loop and leaves nothing behind, whatever is refused in it. What is wrong is an
AssertionError; what only waits for something that was refused is stopped by the attack.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

CERTIFICATE = Path(__file__).resolve().parent.parent / "data" / "localhost.pem"


class Echo(asyncio.Protocol):
    """Sends back what comes, and keeps it; ``done`` is settled at the end or when enough has come."""

    def __init__(self, loop: asyncio.AbstractEventLoop, enough: int, answer: bool) -> None:
        self.done = loop.create_future()
        self.lost = loop.create_future()
        self.enough = enough
        self.answer = answer
        self.got = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += len(data)
        if self.answer:
            self.transport.write(data)
        if self.got >= self.enough:
            self.settle()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.data_received(data)

    def error_received(self, exc: OSError) -> None:
        self.settle()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.settle()
        if not self.lost.done():
            self.lost.set_result(None)

    def settle(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def callbacks(loop: asyncio.AbstractEventLoop) -> None:
    context = contextvars.copy_context()
    seen: list[int] = []
    handles = [
        loop.call_soon(seen.append, 1),
        loop.call_soon(seen.append, 2, context=context),
        loop.call_soon_threadsafe(seen.append, 3),
        loop.call_later(0.001, seen.append, 4),
        loop.call_at(loop.time() + 100, seen.append, 5),
    ]
    for handle in handles[1::3]:
        handle.cancel()
    await asyncio.sleep(0.002)
    handles[-1].cancel()
    repr(handles)
    task = loop.create_task(asyncio.sleep(0, 1))
    await asyncio.gather(task, asyncio.wait_for(asyncio.sleep(0), 5))


async def readers(loop: asyncio.AbstractEventLoop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        came = loop.create_future()
        try:
            loop.add_reader(ours, lambda: came.done() or came.set_result(ours.recv(10)))
            loop.add_writer(theirs.fileno(), theirs.send, b"x")
            await came
        finally:
            loop.remove_reader(ours)
            loop.remove_writer(theirs)


async def echo(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.ExitStack() as opened:
        pair = [opened.enter_context(end) for end in socket.socketpair()]
        for end in pair:
            end.setblocking(False)
        size = 100_000
        first, second = Echo(loop, size + 2, False), Echo(loop, size + 2, True)
        for end, protocol in zip(pair, (first, second), strict=True):
            transport, _ = await loop.connect_accepted_socket(lambda p=protocol: p, end)
            opened.callback(transport.abort)
            repr(transport)
        first.transport.write(b"x" * size)
        first.transport.writelines([b"y", bytearray(b"z")])
        await first.done
        first.transport.get_extra_info("peername")
        first.transport.write_eof()
        await second.done


async def servers(loop: asyncio.AbstractEventLoop) -> None:
    server = await loop.create_server(lambda: Echo(loop, 1, True), "127.0.0.1", 0)
    try:
        address = server.sockets[0].getsockname()
        transport, client = await loop.create_connection(lambda: Echo(loop, 1, False), *address)
        try:
            transport.write(b"x")
            await client.done
        finally:
            transport.abort()
    finally:
        server.close()
        await asyncio.sleep(0)


async def datagrams(loop: asyncio.AbstractEventLoop) -> None:
    def made() -> Echo:
        return Echo(loop, 3, False)

    receiver, received = await loop.create_datagram_endpoint(made, local_addr=("127.0.0.1", 0))
    try:
        address = receiver.get_extra_info("sockname")
        sender, _ = await loop.create_datagram_endpoint(made, remote_addr=address)
        try:
            for data in (b"x", bytearray(b"y"), memoryview(b"z")):
                sender.sendto(data)
            await received.done
        finally:
            sender.abort()
    finally:
        receiver.close()


async def sockets(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = opened.enter_context(socket.socket())
        for each in (listener, client):
            each.setblocking(False)
        accepting = loop.create_task(loop.sock_accept(listener))
        try:
            await loop.sock_connect(client, listener.getsockname())
            server = opened.enter_context((await accepting)[0])
        finally:
            accepting.cancel()
        receiving = loop.create_task(loop.sock_recv(server, 100))
        await asyncio.sleep(0)
        await loop.sock_sendall(client, b"one")
        assert await receiving == b"one"
        await loop.sock_sendall(server, b"two")
        assert await loop.sock_recv_into(client, bytearray(10)) == 3


async def pipes(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.ExitStack() as opened:
        read, write = os.pipe()
        opened.callback(os.close, write)
        reading = opened.enter_context(open(read, "rb", 0))
        writing = opened.enter_context(open(os.dup(write), "wb", 0))
        receiver, received = await loop.connect_read_pipe(lambda: Echo(loop, 3, False), reading)
        opened.callback(receiver.close)
        sender, _ = await loop.connect_write_pipe(lambda: Echo(loop, 1, False), writing)
        opened.callback(sender.abort)
        sender.write(b"one")
        await received.done


@functools.cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's, made once."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(CERTIFICATE)
    return server, ssl.create_default_context(cafile=CERTIFICATE)


async def tls(loop: asyncio.AbstractEventLoop) -> None:
    """Handshake, echo and shutdown, over the engine that `HOTLOOP_TLS` names."""
    server_tls, client_tls = contexts()
    with contextlib.ExitStack() as opened:
        ours, theirs = (opened.enter_context(end) for end in socket.socketpair())
        size = 50_000
        first, second = Echo(loop, size + 2, False), Echo(loop, size + 2, True)
        serving = loop.create_task(
            loop.connect_accepted_socket(lambda: second, theirs, ssl=server_tls)
        )
        opened.callback(serving.cancel)
        transport, _ = await loop.create_connection(
            lambda: first, sock=ours, ssl=client_tls, server_hostname="localhost"
        )
        opened.callback(transport.abort)
        opened.callback((await serving)[0].abort)
        repr(transport)
        transport.write(b"x" * size)
        transport.writelines([b"y", bytearray(b"z")])
        await first.done
        assert first.got == size + 2 or first.lost.done()
        assert transport.get_extra_info("ssl_object").version() is not None
        transport.close()
        await first.lost
        await second.lost


async def start_tls(loop: asyncio.AbstractEventLoop) -> None:
    """Two plain connections that become TLS connections."""
    server_tls, client_tls = contexts()
    with contextlib.ExitStack() as opened:
        protocols = Echo(loop, 3, True), Echo(loop, 3, False)
        plain = []
        for end, protocol in zip(socket.socketpair(), protocols, strict=True):
            opened.enter_context(end)
            transport, _ = await loop.connect_accepted_socket(lambda p=protocol: p, end)
            opened.callback(transport.abort)
            plain.append(transport)
        serving = loop.create_task(
            loop.start_tls(plain[0], protocols[0], server_tls, server_side=True)
        )
        opened.callback(serving.cancel)
        upgraded = await loop.start_tls(
            plain[1], protocols[1], client_tls, server_hostname="localhost"
        )
        opened.callback(upgraded.abort)
        protocols[0].transport = await serving
        upgraded.write(b"one")
        await protocols[1].done
        assert protocols[1].got == 3 or protocols[1].lost.done()


async def tasks(loop: asyncio.AbstractEventLoop) -> None:
    """The loop's own tasks and futures; on hotloop's loop the attack makes them native."""

    async def wait_for(future: asyncio.Future[int]) -> int:
        try:
            return await future
        finally:
            await asyncio.sleep(0)

    seen: list[object] = []
    future: asyncio.Future[int] = loop.create_future()
    future.add_done_callback(seen.append)
    waiting = [loop.create_task(wait_for(future), name="waiting") for _ in range(2)]
    waiting.append(loop.create_task(wait_for(loop.create_future())))
    waiting[0].add_done_callback(seen.append, context=contextvars.copy_context())
    await asyncio.sleep(0)
    repr([future, *waiting])
    waiting[2].cancel("no more")
    future.set_result(1)
    assert await asyncio.gather(*waiting[:2]) == [1, 1]
    assert all(each in (future, waiting[0]) for each in seen)
    for ending in (waiting[2], asyncio.shield(waiting[2]), loop.create_task(fail())):
        with contextlib.suppress(asyncio.CancelledError, Failed):
            await ending
            raise AssertionError("it should have failed")
    failed = await asyncio.gather(fail(), fail(), return_exceptions=True)
    if not any(isinstance(each, MemoryError) for each in failed):
        assert list(map(type, failed)) == [Failed, Failed]
    loop.call_soon(future.remove_done_callback, seen.append)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
            group.create_task(fail())
            group.create_task(asyncio.sleep(100))
    except* Failed:
        pass
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.sleep(100), 0.001)
    done, _ = await asyncio.wait(
        [loop.create_task(asyncio.sleep(0)), loop.create_future()],
        return_when=asyncio.FIRST_COMPLETED,
    )
    assert len(done) == 1
    assert waiting[0].get_name() == "waiting" and waiting[0].get_coro() is not None


class Failed(Exception):
    """Raised on purpose."""


async def fail() -> None:
    raise Failed


async def streams(loop: asyncio.AbstractEventLoop) -> None:
    """The streams of the module that the loop is from."""
    module: Any = sys.modules[type(loop).__module__.partition(".")[0]]
    size = 50_000

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.callback(writer.transport.abort)
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.write(b"end")
        writer.close()

    with contextlib.ExitStack() as opened:
        server = await module.start_server(answer, "127.0.0.1", 0)
        opened.callback(server.close)
        address = server.sockets[0].getsockname()
        reader, writer = await module.open_connection(*address)
        opened.callback(writer.transport.abort)
        repr([reader, writer])
        writer.write(b"one\n")
        await writer.drain()
        assert b"one\n".startswith(await reader.readline())  # the other end may be gone
        writer.writelines([b"two", bytearray(b"three\n")])
        assert await reader.readexactly(3) == b"two"
        assert await reader.readuntil(b"\n") == b"three\n"
        writer.write(b"x" * size + b"\n")
        await writer.drain()
        assert len(await reader.readuntil(b"\n")) == size + 1
        writer.write(b"four\nfive\n")
        async for line in reader:
            if line == b"five\n":
                break
        writer.write_eof()
        assert b"end".startswith(await reader.read())
        assert reader.at_eof()
        writer.close()
        await writer.wait_closed()


async def nothing(loop: asyncio.AbstractEventLoop) -> None:
    await asyncio.sleep(0)


SCENARIOS: dict[str, Callable[[asyncio.AbstractEventLoop], Awaitable[None]]] = {
    "lifecycle": nothing,
    "callbacks": callbacks,
    "readers": readers,
    "echo": echo,
    "servers": servers,
    "datagrams": datagrams,
    "sockets": sockets,
    "pipes": pipes,
    "tls-direct": tls,
    "tls-bio": tls,
    "start-tls": start_tls,
    "tasks": tasks,
    "streams": streams,
}
