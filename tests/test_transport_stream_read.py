"""Reading: ``pause_reading``, ``resume_reading``, ``set_protocol``, ``BufferedProtocol``."""

import asyncio
import socket
import struct

import pytest

from helpers import Events, Recorder

BIG = bytes(range(256)) * 8192  # 2 MiB


class Buffered(Events, asyncio.BufferedProtocol):
    """Receives into one buffer of its own."""

    def __init__(self, size=65536):
        super().__init__()
        self.buffer = bytearray(size)
        self.data = bytearray()
        self.hints = []
        self.error = None

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def get_buffer(self, sizehint):
        self.hints.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data += self.buffer[:nbytes]
        self.note("data")

    def eof_received(self):
        self.note("eof")

    def connection_lost(self, exc):
        self.error = exc
        self.note("lost")


async def flush(pair):
    """Wait until everything that the client sent so far has reached the server's kernel side.

    On loopback ``send`` puts the data into the peer's queue before it returns.
    """
    assert pair.transport.get_write_buffer_size() == 0
    for _ in range(3):
        await asyncio.sleep(0)


async def test_nothing_is_read_while_paused(loop, link):
    async with link() as pair:
        server = pair.theirs.transport
        assert server.is_reading() is True
        server.pause_reading()
        assert server.is_reading() is False
        pair.transport.write(b"later")
        await flush(pair)
        assert pair.theirs.events == ["made"]
        server.resume_reading()
        assert server.is_reading() is True
        assert await pair.theirs.received(5) == b"later"


async def test_pause_and_resume_may_be_repeated(loop, link):
    async with link() as pair:
        server = pair.theirs.transport
        for _ in range(2):
            server.pause_reading()
        for _ in range(2):
            server.resume_reading()
        pair.transport.write(b"x")
        assert await pair.theirs.received(1) == b"x"


async def test_pause_and_resume_on_a_closed_transport_do_nothing(loop, link):
    async with link() as pair:
        pair.transport.close()
        pair.transport.pause_reading()
        pair.transport.resume_reading()
        assert pair.transport.is_reading() is False
        await pair.ours.wait("lost")
        pair.transport.pause_reading()
        pair.transport.resume_reading()
        assert pair.transport.is_reading() is False


async def test_the_end_is_not_noticed_while_paused(loop, link):
    async with link() as pair:
        pair.theirs.transport.pause_reading()
        pair.transport.write(b"last")
        pair.transport.write_eof()
        await flush(pair)
        assert pair.theirs.events == ["made"]
        pair.theirs.transport.resume_reading()
        await pair.theirs.wait("lost")
        assert pair.theirs.events == ["made", "data", "eof", "lost"]


async def test_pause_in_data_received_takes_effect_at_once(loop, link):
    class OneByOne(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.pause_reading()

    async with link(theirs=OneByOne) as pair:
        for letter in (b"a", b"b", b"c"):
            pair.transport.write(letter)
            assert await pair.theirs.received(1) == letter
            pair.transport.write(b"!")
            await flush(pair)
            assert bytes(pair.theirs.data) == b""
            pair.theirs.transport.resume_reading()
            assert await pair.theirs.received(1) == b"!"
            pair.theirs.transport.resume_reading()


async def test_pause_in_connection_made_is_kept(loop, link):
    class Paused(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async with link(theirs=Paused) as pair:
        pair.transport.write(b"x")
        await flush(pair)
        assert pair.theirs.events == ["made"]
        pair.theirs.transport.resume_reading()
        assert await pair.theirs.received(1) == b"x"


async def test_received_data_is_bytes(loop, link):
    kinds = set()

    class Kinds(Recorder):
        def data_received(self, data):
            kinds.add(type(data))
            super().data_received(data)

    async with link(theirs=Kinds) as pair:
        pair.transport.write(b"x")
        await pair.theirs.received(1)
        pair.transport.write(BIG)
        await pair.theirs.received(len(BIG))
    assert kinds == {bytes}


async def test_set_protocol_sends_later_data_elsewhere(loop, link):
    async with link() as pair:
        server = pair.theirs.transport
        assert server.get_protocol() is pair.theirs
        pair.transport.write(b"first")
        assert await pair.theirs.received(5) == b"first"
        second = Recorder()
        second.note("set")
        server.set_protocol(second)
        assert server.get_protocol() is second
        pair.transport.write(b"second")
        assert await second.received(6) == b"second"
        pair.transport.write_eof()
        await second.wait("lost")
        assert second.events == ["set", "data", "eof", "lost"]
        assert pair.theirs.events == ["made", "data"]
        pair.theirs.note("lost")


async def test_buffered_protocol_receives_into_its_buffer(loop, link):
    async with link(theirs=Buffered) as pair:
        pair.transport.write(BIG)
        await pair.theirs.wait_until(lambda: len(pair.theirs.data) == len(BIG))
        assert pair.theirs.data == BIG
        assert set(pair.theirs.hints) == {-1}
        pair.transport.write_eof()
        await pair.theirs.wait("lost")
        assert pair.theirs.events[-2:] == ["eof", "lost"]
        assert pair.theirs.error is None


async def test_buffered_protocol_with_a_tiny_buffer(loop, link):
    async with link(theirs=lambda: Buffered(3)) as pair:
        pair.transport.write(b"0123456789")
        await pair.theirs.wait_until(lambda: len(pair.theirs.data) == 10)
        assert pair.theirs.data == b"0123456789"
        assert pair.theirs.events == ["made", *["data"] * 4]


async def test_switch_to_a_buffered_protocol_and_back(loop, link):
    async with link() as pair:
        server, buffered = pair.theirs.transport, Buffered()
        server.set_protocol(buffered)
        pair.transport.write(b"buffered")
        await buffered.wait_until(lambda: len(buffered.data) == 8)
        server.set_protocol(pair.theirs)
        pair.transport.write(b"plain")
        assert await pair.theirs.received(5) == b"plain"
        assert buffered.data == b"buffered"


async def test_switch_from_inside_a_callback(loop, link):
    class First(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.set_protocol(second)

    second = Buffered()
    async with link(theirs=First) as pair:
        pair.transport.write(b"one")
        await pair.theirs.received(3)
        pair.transport.write(b"two")
        await second.wait("data")
        assert second.data == b"two"
        pair.theirs.transport.set_protocol(pair.theirs)


async def test_method_replaced_on_the_protocol_is_used_after_set_protocol(loop, link):
    got = []
    async with link() as pair:
        fresh = Recorder()
        fresh.note("set")
        fresh.data_received = lambda data: (got.append(data), fresh.note("own"))
        pair.theirs.transport.set_protocol(fresh)
        pair.transport.write(b"x")
        await fresh.wait("own")
        pair.theirs.transport.set_protocol(pair.theirs)
    assert got == [b"x"]


@pytest.mark.parametrize("kind", [memoryview, bytearray])
async def test_buffers_of_both_kinds_are_taken(loop, link, kind):
    class Views(Buffered):
        def get_buffer(self, sizehint):
            return kind(self.buffer) if kind is memoryview else self.buffer

    async with link(theirs=Views) as pair:
        pair.transport.write(b"data")
        await pair.theirs.wait_until(lambda: len(pair.theirs.data) == 4)
        assert pair.theirs.data == b"data"


@pytest.mark.parametrize("left", [b"", b"little"])
async def test_large_and_small_reads_and_the_end_follow_each_other(loop, link, left):
    # What a read brings decides how the next one is made.
    async with link() as pair:
        for size in (len(BIG), 3, 300_000, 40_000, 1):
            pair.transport.write(BIG[:size])
            assert await pair.theirs.received(size) == BIG[:size]
        pair.transport.write(BIG + left)
        pair.transport.write_eof()
        assert await pair.theirs.received(len(BIG + left)) == BIG + left
        await pair.theirs.wait("lost")
        assert (pair.theirs.error, pair.theirs.events[-2:]) == (None, ["eof", "lost"])


async def test_what_large_reads_bring_is_cut_to_its_length_and_stays_as_it_is(loop, link):
    class Keeping(Recorder):
        def __init__(self):
            super().__init__()
            self.pieces = []

        def data_received(self, data):
            assert type(data) is bytes
            self.pieces.append(data)
            super().data_received(data)

    async with link(theirs=Keeping) as pair:
        for _ in range(3):
            pair.transport.write(BIG)
            await pair.theirs.received(len(BIG))
        assert b"".join(pair.theirs.pieces) == 3 * BIG
        assert max(map(len, pair.theirs.pieces)) <= 256 * 1024


async def test_an_abort_by_the_peer_after_large_reads_is_reported(loop, link):
    async with link() as pair:
        pair.transport.write(BIG)
        await pair.theirs.received(len(BIG))
        await flush(pair)
        sock = pair.transport.get_extra_info("socket")
        if sock.family == socket.AF_UNIX:
            pair.transport.abort()
            await pair.theirs.wait("lost")
            assert pair.theirs.error is None
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        pair.transport.abort()
        await pair.theirs.wait("lost")
        assert isinstance(pair.theirs.error, ConnectionResetError)


async def test_a_stream_reader_may_follow_a_protocol_that_made_large_reads(loop, link):
    async with link() as pair:
        pair.transport.write(BIG)
        await pair.theirs.received(len(BIG))
        reader = asyncio.StreamReader(limit=len(BIG))
        pair.theirs.transport.set_protocol(asyncio.StreamReaderProtocol(reader))
        pair.transport.write(BIG)
        assert await reader.readexactly(len(BIG)) == BIG
        pair.theirs.transport.set_protocol(pair.theirs)
