"""Streams over real connections: hotloop's own and asyncio's, on TCP, Unix sockets and TLS."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import sys

import pytest

from helpers import address_of, client_tls, server_tls
from tls_peer import Peer

pytestmark = pytest.mark.usefixtures("loop")

LINE = b"x" * 1023 + b"\n"


@pytest.mark.hotloop_only  # asyncio since 3.14
async def test_what_a_client_sends_before_start_tls_is_its_side_of_the_handshake(
    loop, streams, tls_engine
):
    ended = loop.create_future()

    async def handle(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        assert reader._buffer  # the client did not wait for an answer
        await writer.start_tls(server_tls())
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()
        ended.set_result(None)

    server = await streams.start_server(handle, "127.0.0.1", 0)
    async with server:
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, address_of(server))
            peer = Peer(sock, client_tls(), server_hostname="localhost")
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.object.do_handshake()
            await peer.send_raw(b"STARTTLS\n" + peer.outgoing.read())
            await peer.handshake()
            await peer.send(LINE)
            assert await peer.receive(len(LINE)) == LINE
            assert await peer.receive_end() is None
            await peer.send_raw(peer.goodbye())
            await ended


@pytest.fixture(params=["tcp", "unix", "tls"])
def link(request, streams, unix_path):
    """Connects to a server of streams, gives the two ends of the client, and closes everything."""

    @contextlib.asynccontextmanager
    async def connect(handler, **options):
        if request.param == "unix":
            server = await streams.start_unix_server(handler, unix_path, **options)
            client = streams.open_unix_connection(unix_path, **options)
        elif request.param == "tls":
            server = await streams.start_server(
                handler, "127.0.0.1", 0, ssl=server_tls(), **options
            )
            client = streams.open_connection(
                *address_of(server), ssl=client_tls(), server_hostname="localhost", **options
            )
        else:
            server = await streams.start_server(handler, "127.0.0.1", 0, **options)
            client = streams.open_connection(*address_of(server), **options)
        reader, writer = await client
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            server.close()
            await server.wait_closed()

    return connect


# A TLS transport counts what it has not encrypted yet, which is never much.
plain = pytest.mark.parametrize("link", ["tcp", "unix"], indirect=True)


class Served:
    """A client callback that keeps its two ends; the test drives them and closes the writer."""

    def __init__(self):
        self.ends = asyncio.get_running_loop().create_future()

    async def __call__(self, reader, writer):
        self.ends.set_result((reader, writer))

    async def close(self):
        _, writer = await self.ends
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_lines_come_back_from_an_echo_server(link):
    async with link(echo) as (reader, writer):
        for number in range(20):
            line = b"%d" % number + LINE
            writer.write(line[:500])
            writer.write(line[500:])
            await writer.drain()
            assert await reader.readline() == line


async def test_every_way_of_reading_gets_what_was_sent(link):
    async with link(echo) as (reader, writer):
        writer.writelines([b"one\ntwo;", b"three\n", bytearray(b"four\nrest"), b"\n"])
        assert await reader.readline() == b"one\n"
        assert await reader.readuntil(b";") == b"two;"
        assert await reader.readexactly(6) == b"three\n"
        assert await reader.readuntil() == b"four\n"
        assert (await reader.read(3)) == b"res"
        writer.write(b"last\n")
        if writer.can_write_eof():
            writer.write_eof()
            assert await reader.read() == b"t\nlast\n"
            assert reader.at_eof()
        else:
            assert await reader.readexactly(7) == b"t\nlast\n"


async def test_iteration_ends_with_the_stream(link):
    async def send(reader, writer):
        writer.write(b"a\nb\n\nunfinished")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with link(send) as (reader, _):
        assert [line async for line in reader] == [b"a\n", b"b\n", b"\n", b"unfinished"]


async def test_a_reader_above_twice_its_limit_pauses_the_transport_and_resumes_it(link):
    limit, total = 1000, 3_000_000
    served = Served()
    async with link(served, limit=limit) as (reader, writer):
        their_reader, _ = await served.ends
        writer.write(b"z" * total)
        while not their_reader._paused:
            await asyncio.sleep(0)
        assert len(their_reader._buffer) > 2 * limit
        assert not their_reader._transport.is_reading()
        left = total
        while left:
            left -= len(await their_reader.read(limit))
        assert not their_reader._paused
        assert their_reader._transport.is_reading()
        await served.close()
        assert await reader.read() == b""


@plain
async def test_drain_waits_while_the_transport_is_full(link):
    served = Served()
    async with link(served) as (_, writer):
        their_reader, _ = await served.ends
        writer.transport.set_write_buffer_limits(high=1000)
        await writer.drain()
        writer.write(b"d" * 5_000_000)
        drained = asyncio.create_task(writer.drain())
        await asyncio.sleep(0)
        assert not drained.done()
        await their_reader.readexactly(5_000_000)
        await drained
        await served.close()


@plain
async def test_a_cancelled_drain_leaves_the_stream_usable(link):
    served = Served()
    async with link(served) as (_, writer):
        their_reader, _ = await served.ends
        writer.transport.set_write_buffer_limits(high=1000)
        writer.write(b"d" * 5_000_000)
        drained = asyncio.create_task(writer.drain())
        await asyncio.sleep(0)
        drained.cancel()
        with pytest.raises(asyncio.CancelledError):
            await drained
        await their_reader.readexactly(5_000_000)
        await writer.drain()
        await served.close()


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("readline", ()),
        ("readuntil", (b"--",)),
        ("read", (10,)),
        ("read", ()),
        ("readexactly", (3,)),
        ("__anext__", ()),
    ],
)
async def test_a_cancelled_read_takes_nothing(link, method, arguments):
    served = Served()
    async with link(served) as (reader, _):
        _, their_writer = await served.ends
        task = asyncio.ensure_future(getattr(reader, method)(*arguments))
        await asyncio.sleep(0)
        assert reader._waiter is not None
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert reader._waiter is None
        their_writer.write(b"kept\n")
        assert await reader.readline() == b"kept\n"
        await served.close()


async def test_a_timeout_around_a_read_ends_it(link):
    served = Served()
    async with link(served) as (reader, _):
        _, their_writer = await served.ends
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.readline(), 0.001)
        their_writer.write(b"later\n")
        assert await asyncio.wait_for(reader.readline(), 30) == b"later\n"
        await served.close()


async def test_a_reset_connection_raises_in_the_reader_and_in_drain(streams, loop):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        connecting = asyncio.ensure_future(streams.open_connection(*listener.getsockname()))
        peer, _ = await loop.sock_accept(listener)
        reader, writer = await connecting
        waiting = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with pytest.raises(ConnectionResetError):
            await waiting
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        with pytest.raises(ConnectionResetError):
            await writer.drain()
        assert isinstance(reader.exception(), ConnectionResetError)
        writer.close()
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()


async def test_drain_after_close_says_that_the_connection_is_lost(link):
    served = Served()
    async with link(served) as (_, writer):
        writer.close()
        assert writer.is_closing()
        with pytest.raises(ConnectionResetError, match="Connection lost"):
            while True:
                await writer.drain()
        await served.close()


async def test_what_came_before_the_end_is_read_after_it(link):
    served = Served()
    async with link(served) as (reader, _):
        _, their_writer = await served.ends
        their_writer.write(b"half a li")
        await served.close()
        with pytest.raises(asyncio.IncompleteReadError) as error:
            await reader.readuntil(b"\n")
        assert error.value.partial == b"half a li"
        assert await reader.readline() == b""


async def test_a_plain_function_may_be_the_client_callback(link):
    ends = []
    async with link(lambda reader, writer: ends.append((reader, writer))) as (reader, writer):
        writer.write(b"hello\n")
        while not ends:
            await asyncio.sleep(0)
        assert await ends[0][0].readline() == b"hello\n"
        ends[0][1].write(b"bye\n")
        assert await reader.readline() == b"bye\n"
        ends[0][1].close()
        with contextlib.suppress(ConnectionError):
            await ends[0][1].wait_closed()


async def test_start_tls_goes_on_with_the_same_streams(streams):
    finished = asyncio.get_running_loop().create_future()

    async def handler(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.drain()
        await writer.start_tls(server_tls())
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        finished.set_result(None)

    server = await streams.start_server(handler, "127.0.0.1", 0)
    reader, writer = await streams.open_connection(*address_of(server))
    writer.write(b"STARTTLS\n")
    assert await reader.readline() == b"go\n"
    await writer.start_tls(client_tls(), server_hostname="localhost")
    assert writer.get_extra_info("sslcontext") is not None
    writer.write(b"secret\n")
    await writer.drain()
    assert await reader.readline() == b"secret\n"
    await finished
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_an_error_of_the_client_callback_is_reported(streams, errors):
    async def handler(reader, writer):
        try:
            raise LookupError("in the callback")
        finally:
            writer.close()
            await writer.wait_closed()

    server = await streams.start_server(handler, "127.0.0.1", 0)
    reader, writer = await streams.open_connection(*address_of(server))
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    gc.collect()  # the first versions of 3.11 leave it to the task's finalizer
    (context,) = errors.take()
    assert isinstance(context["exception"], LookupError)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="3.11 says nothing")
async def test_a_writer_that_is_forgotten_is_closed_with_a_warning(streams):
    served = Served()
    server = await streams.start_server(served, "127.0.0.1", 0)
    _, writer = await streams.open_connection(*address_of(server))
    with pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
        del writer, _
    reader, _ = await served.ends
    assert await reader.read() == b""
    await served.close()
    server.close()
    await server.wait_closed()
