"""`BufferedProtocol` over TLS: which buffers are taken, and what becomes of a connection that is given another."""

import asyncio

import pytest

from helpers import Recorder
from tls_peer import client_of

pytestmark = pytest.mark.usefixtures("tls_engine")


class Buffered(Recorder, asyncio.BufferedProtocol):
    """Receives into what `give()` returns, 100 bytes of its own to begin with."""

    def __init__(self, give=None):
        super().__init__()
        self.memory = bytearray(100)
        self.give = give or (lambda: self.memory)
        self.hints = []

    def get_buffer(self, sizehint):
        self.hints.append(sizehint)
        return self.give()

    def buffer_updated(self, nbytes):
        self.data_received(bytes(self.memory[:nbytes]))


async def lost_after_data(server, errors):
    """The report about a connection that is lost because of the first data, and its exception."""
    async with client_of(server) as peer:
        await peer.handshake()
        await server.wait("made")
        await peer.send(b"data")
        await server.wait("lost")
        assert not server.data
        assert await peer.receive_end() is not None
    (report,) = errors.take()
    assert report["message"] == "Fatal error on SSL protocol"
    assert report["exception"] is server.error
    return server.error


@pytest.mark.parametrize("size", [1, 7, 100, 1000])
async def test_data_longer_than_the_buffer_comes_in_pieces(loop, size):
    server = Buffered()
    server.memory = bytearray(size)
    async with client_of(server) as peer:
        await peer.handshake()
        message = bytes(range(256)) * 4
        await peer.send(message)
        assert await server.received(1024) == message
    assert all(hint >= 0 for hint in server.hints)


async def test_get_buffer_that_raises_ends_the_connection(loop, errors):
    def fail():
        raise LookupError("no buffer")

    assert isinstance(await lost_after_data(Buffered(fail), errors), LookupError)


async def test_no_buffer_ends_the_connection_in_the_words_of_asyncio(loop, errors):
    error = await lost_after_data(Buffered(lambda: None), errors)
    assert isinstance(error, TypeError)
    assert str(error) == "object of type 'NoneType' has no len()"


async def test_a_buffer_that_is_read_only_ends_the_connection_in_the_words_of_asyncio(loop, errors):
    error = await lost_after_data(Buffered(lambda: bytes(10)), errors)
    assert isinstance(error, TypeError)
    assert str(error) == "read() argument 2 must be read-write bytes-like object, not bytes"


async def test_an_empty_buffer_is_taken_for_the_end(loop):
    server = Buffered(bytearray)
    async with client_of(server) as peer:
        await peer.handshake()
        await server.wait("made")
        await peer.send(b"data")
        await server.wait("lost")
        assert server.events == ["made", "eof", "lost"] and not server.data
        # The data is still there when the shutdown looks for the peer's goodbye.
        assert server.error.reason == "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"


async def test_buffer_updated_that_raises_ends_the_connection(loop, errors):
    class Failing(Buffered):
        def buffer_updated(self, nbytes):
            raise LookupError(nbytes)

    error = await lost_after_data(Failing(), errors)
    assert isinstance(error, LookupError) and error.args == (4,)


async def test_the_methods_are_those_that_the_protocol_had_when_it_was_set(loop):
    server = Buffered()
    async with client_of(server) as peer:
        await peer.handshake()
        await server.wait("made")
        server.get_buffer = server.buffer_updated = None
        await peer.send(b"first")
        assert await server.received(5) == b"first"
        del server.get_buffer, server.buffer_updated
        # Set again, they are looked up again.
        taken = []
        server.buffer_updated = lambda nbytes: (
            taken.append(nbytes),
            Buffered.buffer_updated(server, nbytes),
        )
        server.transport.set_protocol(server)
        await peer.send(b"second")
        assert await server.received(6) == b"second"
        assert taken == [6]


async def test_a_protocol_without_a_buffer_can_follow_one_with_it(loop):
    first, second = Buffered(), Recorder()
    async with client_of(first) as peer:
        await peer.handshake()
        await first.wait("made")
        second.transport = first.transport
        second.events.append("made")
        first.transport.set_protocol(second)
        await peer.send(b"second")
        assert await second.received(6) == b"second"
        first.events.append("lost")
        second.transport.abort()
        await second.wait("lost")
    assert not first.data
