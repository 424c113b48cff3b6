"""``transport.max_size``: how much a transport reads at once, as the program has set it."""

import asyncio
import os

import pytest

from datagrams import address_of as address
from datagrams import endpoint, plain_socket
from helpers import Recorder

DEFAULT = 256 * 1024


class Pieces(Recorder):
    """Keeps the size of each piece."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def data_received(self, data):
        self.sizes.append(len(data))
        super().data_received(data)


async def test_the_class_and_each_transport_have_the_same_size(loop, link):
    async with link() as pair:
        assert type(pair.transport).max_size == pair.transport.max_size == DEFAULT
        pair.transport.max_size = 100
        assert pair.transport.max_size == 100
        assert type(pair.transport).max_size == pair.theirs.transport.max_size == DEFAULT
        del pair.transport.max_size
        assert pair.transport.max_size == DEFAULT
        with pytest.raises(AttributeError, match="max_size"):
            del pair.transport.max_size


async def test_a_stream_is_received_in_pieces_of_that_size(loop, link):
    async with link(theirs=Pieces) as pair:
        pieces, server = pair.theirs, pair.theirs.transport
        server.max_size = 100
        pair.transport.write(bytes(250))
        await pieces.received(250)
        assert pieces.sizes == [100, 100, 50]
        del server.max_size
        pair.transport.write(bytes(250))
        await pieces.received(250)
        assert pieces.sizes[3:] == [250]


async def test_large_pieces_are_of_that_size_as_well(loop, link):
    async with link(theirs=Pieces) as pair:
        pieces, server = pair.theirs, pair.theirs.transport
        server.max_size = 20_000
        server.pause_reading()
        pair.transport.write(bytes(90_000))
        server.resume_reading()
        await pieces.received(90_000)
        assert 20_000 in pieces.sizes
        assert max(pieces.sizes) == 20_000


async def test_the_reader_of_a_stream_is_fed_in_pieces_of_that_size(loop, link):
    async with link() as pair:
        reader = asyncio.StreamReader(loop=loop)
        server = pair.theirs.transport
        server.pause_reading()
        server.set_protocol(asyncio.StreamReaderProtocol(reader, loop=loop))
        server.max_size = 100
        pair.transport.write(bytes(250))
        server.resume_reading()
        assert len(await reader.read(1000)) == 100
        assert len(await reader.readexactly(150)) == 150
        server.set_protocol(pair.theirs)


async def test_a_datagram_is_cut_to_that_size(loop):
    with plain_socket() as sender:
        async with endpoint() as made:
            made.transport.max_size = 4
            sender.sendto(b"0123456789", address(made))
            assert await made.received(1) == [b"0123"]
            del made.transport.max_size
            sender.sendto(b"0123456789", address(made))
            assert await made.received(2) == [b"0123", b"0123456789"]


async def test_a_pipe_is_read_in_pieces_of_that_size(loop):
    read, write = os.pipe()
    pieces = Pieces()
    with open(read, "rb", 0) as reader, open(write, "wb", 0) as writer:
        transport, _ = await loop.connect_read_pipe(lambda: pieces, reader)
        transport.max_size = 100
        writer.write(bytes(250))
        await pieces.received(250)
        assert pieces.sizes == [100, 100, 50]
        transport.close()
        await pieces.wait("lost")


async def test_a_size_above_the_default_reads_everything(loop, link):
    async with link() as pair:
        pair.theirs.transport.max_size = 10 * DEFAULT
        pair.transport.write(bytes(3 * DEFAULT))
        assert len(await pair.theirs.received(3 * DEFAULT)) == 3 * DEFAULT


@pytest.mark.hotloop_only
@pytest.mark.parametrize(
    ("value", "error"), [("many", TypeError), (1.5, TypeError), (None, TypeError), (-1, ValueError)]
)
async def test_what_is_no_size_is_refused_when_it_is_set(loop, link, value, error):
    async with link() as pair:
        with pytest.raises(error):
            pair.transport.max_size = value
        assert pair.transport.max_size == DEFAULT


@pytest.mark.hotloop_only
async def test_a_size_set_on_the_class_changes_no_transport(loop, link, monkeypatch):
    async with link(theirs=Pieces) as pair:
        pieces, server = pair.theirs, pair.theirs.transport
        monkeypatch.setattr(type(server), "max_size", 100)
        pair.transport.write(bytes(250))
        await pieces.received(250)
        assert pieces.sizes == [250]
