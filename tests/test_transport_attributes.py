"""Attributes of transports that are not public, and what programs do with them all the same."""

import asyncio
import os
import sys
from collections import deque

import pytest

from datagrams import endpoint, plain_socket
from helpers import Recorder, connected


async def pipes(loop):
    read, write = os.pipe()
    # The transports close the files.
    incoming, _ = await loop.connect_read_pipe(Recorder, open(read, "rb", 0))  # noqa: SIM115
    outgoing, _ = await loop.connect_write_pipe(Recorder, open(write, "wb", 0))  # noqa: SIM115
    return incoming, outgoing


async def test_vars_shows_what_a_program_has_set(loop):
    ends = await pipes(loop)
    async with connected() as pair, endpoint() as made:
        for transport in (pair.transport, made.transport, *ends):
            transport.of_the_program = 5
            assert vars(transport)["of_the_program"] == 5
            del vars(transport)["of_the_program"]
            assert not hasattr(transport, "of_the_program")
    protocols = [end._protocol for end in ends]
    for end, protocol in zip(ends, protocols, strict=True):
        end.close()
        await protocol.wait("lost")


async def test_a_protocol_set_by_its_private_name_gets_the_data(loop, link):
    async with link() as pair:
        server, other = pair.theirs.transport, Recorder()
        other.connection_made(server)
        server._protocol = other
        assert server.get_protocol() is server._protocol is other
        pair.transport.write(b"data")
        try:
            assert await other.received(4) == b"data"
        finally:
            server._protocol = pair.theirs


async def test_the_protocol_of_a_datagram_transport_can_be_set_by_its_private_name(loop):
    with plain_socket() as sender:
        async with endpoint() as made:
            other = type(made)()
            made.transport._protocol = other
            assert made.transport.get_protocol() is other
            sender.sendto(b"data", made.transport.get_extra_info("sockname"))
            assert await other.received(1) == [b"data"]
            made.transport._protocol = made


async def test_the_address_of_a_datagram_transport_can_be_set(loop):
    with plain_socket() as receiver:
        receiver.settimeout(10)
        async with endpoint() as made:
            made.transport._address = receiver.getsockname()
            assert made.transport._address == receiver.getsockname()
            made.transport.sendto(b"data")
            assert receiver.recv(10) == b"data"
            with pytest.raises(ValueError, match="Invalid address: must be None or"):
                made.transport.sendto(b"data", ("127.0.0.1", 9))


async def test_the_protocol_of_a_pipe_can_be_set_by_its_private_name(loop):
    incoming, outgoing = await pipes(loop)
    before, other = incoming._protocol, Recorder()
    other.connection_made(incoming)
    incoming._protocol = other
    outgoing.write(b"data")
    assert await other.received(4) == b"data"
    writer = outgoing._protocol
    outgoing.close()
    await writer.wait("lost")
    await other.wait("lost")
    assert before.events == ["made"]


async def test_the_extra_information_can_be_replaced(loop):
    async with connected() as pair, endpoint() as made:
        for transport in (pair.transport, made.transport):
            transport._extra = {**transport._extra, "of_the_program": 5}
            assert transport.get_extra_info("of_the_program") == 5
            assert transport.get_extra_info("sockname") == transport._extra["sockname"]
            transport._extra = {"peername": "somebody"}
            assert transport.get_extra_info("peername") == "somebody"
            assert transport.get_extra_info("sockname") is None


async def test_the_queue_of_a_stream_has_the_type_of_the_version(loop):
    async with connected() as pair:
        pair.theirs.transport.pause_reading()
        assert len(pair.transport._buffer) == 0
        pair.transport.write(bytes(8 << 20))
        pair.transport.write(b"last")
        waiting = pair.transport._buffer
        if sys.version_info < (3, 12):
            assert type(waiting) is bytearray
        else:
            assert type(waiting) is deque
            assert bytes(waiting[-1]) == b"last"
        size = sum(map(len, waiting)) if type(waiting) is deque else len(waiting)
        assert size == pair.transport.get_write_buffer_size() > 0
        pair.transport.abort()


async def test_the_queue_of_a_write_pipe_is_a_bytearray(loop):
    incoming, outgoing = await pipes(loop)
    incoming.pause_reading()
    outgoing.write(bytes(1 << 20))
    assert type(outgoing._buffer) is bytearray
    assert len(outgoing._buffer) == outgoing.get_write_buffer_size() > 0
    protocols = incoming._protocol, outgoing._protocol
    outgoing.abort()
    incoming.close()
    for protocol in protocols:
        await protocol.wait("lost")


@pytest.mark.parametrize("name", ["_server", "_sock", "_loop", "_buffer"])
async def test_the_private_names_are_there(loop, link, name):
    async with link() as pair:
        assert hasattr(pair.transport, name)
        assert pair.theirs.transport._server is not None
        assert pair.transport._server is None


@pytest.mark.hotloop_only
@pytest.mark.parametrize(
    "name",
    ["_closing", "_paused", "_eof", "_conn_lost", "_buffer", "_server", "_sock", "_loop"],
)
async def test_what_the_core_holds_can_be_read_only(loop, name):
    async with connected() as pair:
        with pytest.raises(AttributeError, match="not writable|can't set|no setter"):
            setattr(pair.transport, name, getattr(pair.transport, name))


@pytest.mark.hotloop_only
async def test_the_queue_is_a_copy(loop):
    async with connected() as pair:
        pair.theirs.transport.pause_reading()
        pair.transport.write(bytes(8 << 20))
        size = pair.transport.get_write_buffer_size()
        pair.transport._buffer.clear()
        assert pair.transport.get_write_buffer_size() == size
        pair.transport.abort()


@pytest.mark.hotloop_only
async def test_the_types_of_transports_have_no_subclasses(loop):
    async with connected() as pair, endpoint() as made:
        for transport in (pair.transport, made.transport):
            with pytest.raises(TypeError, match="not an acceptable base type"):
                type("Mine", (type(transport),), {})


@pytest.mark.hotloop_only
async def test_the_steps_of_asyncios_transport_are_not_there(loop):
    async with connected() as pair:
        for name in (
            "_add_reader",
            "_write_send",
            "_write_sendmsg",
            "_get_sendmsg_buffer",
            "_adjust_leftover_buffer",
            "_read_ready__data_received",
            "_read_ready__get_buffer",
            "_read_ready__on_eof",
        ):
            assert not hasattr(pair.transport, name)
        assert isinstance(pair.transport, asyncio.Transport)
