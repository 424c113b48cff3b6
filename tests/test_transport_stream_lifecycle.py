"""A stream transport's life: made, data, end of stream, lost; each once and in this order."""

import asyncio
import contextvars
import os
import socket
import weakref

import pytest

from helpers import Recorder, collector_off

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def test_callbacks_come_in_order_and_once(loop, link):
    async with link() as pair:
        pair.transport.write(b"hello")
        assert await pair.theirs.received(5) == b"hello"
        pair.transport.close()
        await pair.theirs.wait("lost")
        await pair.ours.wait("lost")
        assert pair.theirs.events == ["made", "data", "eof", "lost"]
        assert pair.ours.events == ["made", "lost"]
        assert pair.ours.error is None and pair.theirs.error is None


async def test_data_sent_by_the_server_first(loop, link):
    class Greeter(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"welcome")
            transport.close()

    async with link(theirs=Greeter) as pair:
        await pair.ours.wait("lost")
        assert bytes(pair.ours.data) == b"welcome"
        assert pair.ours.events == ["made", "data", "eof", "lost"]


async def test_connection_lost_never_comes_from_inside_close(loop, link):
    async with link() as pair:
        pair.transport.close()
        assert pair.ours.events == ["made"]
        assert pair.transport.is_closing()
        await asyncio.sleep(0)
        assert pair.ours.events == ["made", "lost"]


async def test_connection_lost_never_comes_from_inside_abort(loop, link):
    async with link() as pair:
        pair.transport.abort()
        assert pair.ours.events == ["made"]
        assert pair.transport.is_closing()
        await asyncio.sleep(0)
        assert pair.ours.events == ["made", "lost"]
        assert pair.ours.error is None


async def test_close_and_abort_may_be_called_again(loop, link):
    async with link() as pair:
        for _ in range(2):
            pair.transport.close()
            pair.transport.abort()
        await pair.ours.wait("lost")
        pair.transport.close()
        pair.transport.abort()
        await asyncio.sleep(0)
        assert pair.ours.events == ["made", "lost"]


async def test_close_inside_connection_made(loop, link):
    class Brief(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.close()

    async with link(ours=Brief) as pair:
        await pair.ours.wait("lost")
        await pair.theirs.wait("lost")
        assert pair.ours.events == ["made", "lost"]


async def test_close_inside_data_received_stops_the_reading(loop, link):
    class Once(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.close()

    async with link(theirs=Once) as pair:
        pair.transport.write(b"first")
        await pair.theirs.wait("lost")
        assert pair.theirs.events == ["made", "data", "lost"]


async def test_close_sends_what_is_queued_first(loop, link):
    data = bytes(8 << 20)
    async with link() as pair:
        pair.transport.write(data)
        pair.transport.close()
        assert pair.transport.get_write_buffer_size() > 0
        assert len(await pair.theirs.received(len(data))) == len(data)
        await pair.ours.wait("lost")
        assert pair.ours.error is None


async def test_abort_drops_what_is_queued(loop, link):
    async with link() as pair:
        pair.theirs.transport.pause_reading()
        pair.transport.write(bytes(8 << 20))
        assert pair.transport.get_write_buffer_size() > 0
        pair.transport.abort()
        assert pair.transport.get_write_buffer_size() == 0
        await pair.ours.wait("lost")


async def test_the_waiter_wakes_after_connection_made(loop, link):
    async with link() as pair:
        assert pair.ours.events[0] == "made"


async def test_no_data_comes_before_connection_made(loop):
    left, right = socket.socketpair()
    right.send(b"early")
    with right:
        _, protocol = await loop.create_unix_connection(Recorder, sock=left)
        await protocol.wait("data")
        assert protocol.events == ["made", "data"]
        protocol.transport.close()
        await protocol.wait("lost")


async def test_the_descriptor_is_closed_after_connection_lost_and_not_before(loop, link):
    class Checking(Recorder):
        def connection_lost(self, exc):
            os.fstat(number)
            super().connection_lost(exc)

    async with link(ours=Checking) as pair:
        number = pair.transport.get_extra_info("socket").fileno()
        pair.transport.close()
        await pair.ours.wait("lost")
        await asyncio.sleep(0)
        assert pair.transport.get_extra_info("socket").fileno() == -1


async def test_the_transport_drops_its_protocol_when_it_is_over(loop, link):
    async with link() as pair:
        protocol = Recorder()
        transport = pair.transport
        transport.set_protocol(protocol)
        reference = weakref.ref(protocol)
        with collector_off():
            transport.close()
            await protocol.wait("lost")
            del protocol
            await asyncio.sleep(0)
            assert reference() is None
            pair.ours.note("lost")


@pytest.mark.hotloop_only
async def test_a_closed_transport_is_released_without_the_collector(loop):
    # The transports of CPython 3.11 are cycles.
    lost = loop.create_future()

    class Plain(asyncio.Protocol):
        def connection_lost(self, exc):
            lost.set_result(exc)

    left, right = socket.socketpair()
    with collector_off():
        transport, protocol = await loop.create_unix_connection(Plain, sock=left)
        references = weakref.ref(protocol), weakref.ref(transport)
        transport.close()
        del transport, protocol
        await lost
        await asyncio.sleep(0)
        assert [reference() for reference in references] == [None, None]
        right.close()


async def test_callbacks_run_in_the_context_the_transport_was_made_in(loop, link):
    class Probe(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append(variable.get())

        def data_received(self, data):
            seen.append(variable.get())
            super().data_received(data)

    seen = []
    token = variable.set("made in")
    async with link(ours=Probe) as pair:
        variable.set("changed later")
        pair.theirs.transport.write(b"x")
        await pair.ours.wait("data")
    variable.reset(token)
    assert seen == ["made in", "made in"]


async def test_a_hundred_connections_at_once(loop):
    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    async def client(number):
        reader, writer = await asyncio.open_connection(*address)
        for _ in range(3):
            writer.write(b"%09d\n" % number)
            assert await reader.readline() == b"%09d\n" % number
        writer.close()
        await writer.wait_closed()

    server = await loop.create_server(Echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    async with server:
        await asyncio.gather(*(client(number) for number in range(100)))
