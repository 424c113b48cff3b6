"""TLS over transports written in Python, which know only the documented methods and may call back at any time."""

import asyncio
import contextlib
import random
from typing import Any

import pytest

from helpers import Recorder, client_tls, server_tls

pytestmark = pytest.mark.usefixtures("tls_engine")


class Foreign(asyncio.Transport):
    """One end of a pair: what is written comes out at ``other`` in a later iteration."""

    _start_tls_compatible = True

    def __init__(self):
        super().__init__()
        self.loop = asyncio.get_running_loop()
        self.other: Any = None
        self.protocol: Any = None
        self.closed = False
        # Called, once, in the middle of the next write, after the data was taken.
        self.in_write = lambda: None
        # What `other` is not given yet, while it is a list.
        self.held_back = None

    def set_protocol(self, protocol):
        self.protocol = protocol

    def get_protocol(self):
        return self.protocol

    def write(self, data):
        if self.held_back is not None:
            self.held_back.append(bytes(data))
        else:
            self.loop.call_soon(self.other.feed, bytes(data))
        then, self.in_write = self.in_write, lambda: None
        then()

    def feed(self, data):
        while data and not self.closed:
            memory = self.protocol.get_buffer(-1)
            count = min(len(memory), len(data))
            memory[:count] = data[:count]
            self.protocol.buffer_updated(count)
            data = data[count:]

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass

    def is_closing(self):
        return self.closed

    def abort(self):
        self._force_close(None)

    close = abort

    def _force_close(self, exc):
        if not self.closed:
            self.closed = True
            self.loop.call_soon(self.protocol.connection_lost, exc)
            self.loop.call_soon(self.other.abort)

    def lose(self):
        """The connection is lost at once: no documented transport does that, but one may."""
        self.closed = True
        self.protocol.connection_lost(None)
        self.loop.call_soon(self.other.abort)


@contextlib.asynccontextmanager
async def over_foreign_transports(context=None):
    """Two protocols over TLS over a pair of these; ``transport.below`` of each is its own end."""
    loop = asyncio.get_running_loop()
    left, right = Foreign(), Foreign()
    left.other, right.other = right, left
    server, client = Recorder(), Recorder()
    server.events.append("made")
    client.events.append("made")
    server.below, client.below = left, right
    server.transport, client.transport = await asyncio.gather(
        loop.start_tls(left, server, server_tls(), server_side=True),
        loop.start_tls(right, client, context or client_tls(), server_hostname="localhost"),
    )
    # What TLS 1.3 sends after the handshake.
    for _ in range(3):
        await asyncio.sleep(0)
    try:
        yield server, client
    finally:
        client.transport.abort()
        await client.wait("lost")
        await server.wait("lost")
        left.other = right.other = None


async def test_start_tls_over_a_foreign_transport(loop):
    async with over_foreign_transports() as (server, client):
        message = random.Random(6).randbytes(900_000)
        client.transport.write(message)
        assert await server.received(len(message)) == message
        server.transport.write(b"answer")
        assert await client.received(6) == b"answer"
        client.transport.close()
        await client.wait("lost")


async def test_the_records_of_one_call_leave_in_one_write(loop):
    async with over_foreign_transports() as (server, client):
        whole = b""
        for write, data in (
            (client.transport.write, bytes(200_000)),
            (client.transport.writelines, [b"head", bytes(100_000), bytearray(b"tail")] * 2),
            (client.transport.write, memoryview(b"small")),
        ):
            client.below.held_back = []
            write(data)
            (records,) = client.below.held_back
            client.below.held_back = None
            loop.call_soon(server.below.feed, records)
            whole += b"".join(data) if isinstance(data, list) else bytes(data)
        assert await server.received(len(whole)) == whole


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("nested", [b"small", bytearray(b"small"), bytes(400_000)])
async def test_what_is_written_in_the_middle_of_a_large_write_comes_after_it(loop, kind, nested):
    async with over_foreign_transports() as (server, client):
        message = random.Random(7).randbytes(900_000)
        client.below.in_write = lambda: client.transport.write(nested)
        client.transport.write(kind(message))
        expected = message + nested + b"last"
        client.transport.write(b"last")
        assert await server.received(len(expected)) == expected
        assert client.transport.get_write_buffer_size() == 0


async def test_a_transport_closed_in_the_middle_of_a_large_write_sends_it_all(loop):
    async with over_foreign_transports() as (server, client):
        message = random.Random(8).randbytes(900_000)
        client.below.in_write = client.transport.close
        client.transport.write(message)
        assert await server.received(len(message)) == message
        await server.wait("eof")
        await client.wait("lost")


async def test_a_connection_lost_in_the_middle_of_a_large_write_ends_it(loop):
    async with over_foreign_transports() as (server, client):
        client.below.in_write = client.below.lose
        client.transport.write(bytes(900_000))
        client.transport.write(b"too late")
        assert client.transport.get_write_buffer_size() == 0
        await client.wait("lost")
        assert client.events.count("lost") == 1
        await server.wait("lost")


@pytest.mark.hotloop_only  # asyncio calls OpenSSL in the middle of another call
@pytest.mark.parametrize("paused", [False, True])
async def test_what_is_received_in_the_middle_of_an_operation_is_read_after_it(loop, paused):
    context = client_tls()
    in_record = []
    # OpenSSL calls it for each record.
    context._msg_callback = lambda *_: in_record and in_record.pop()()
    async with over_foreign_transports(context) as (server, client):
        server.below.held_back = []
        server.transport.write(b"answer")
        (records,) = server.below.held_back
        server.below.held_back = None
        if paused:
            client.transport.pause_reading()
        in_record.append(lambda: client.below.feed(records))
        client.transport.write(b"x")
        assert not in_record
        if paused:
            client.transport.resume_reading()
        assert await client.received(6) == b"answer"
        assert await server.received(1) == b"x"
