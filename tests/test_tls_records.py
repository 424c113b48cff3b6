"""Records however they arrive: split, coalesced, with rubbish among them; and how they leave."""

import asyncio
import contextlib
import random
import ssl

import pytest

from helpers import LOOP_NAME, Echo, Recorder, server_tls
from tls_peer import client_of, server_of

pytestmark = pytest.mark.usefixtures("tls_engine")

RECORD = 16 * 1024
# What TLS 1.3 adds to the plain text of a record: its type and AES-GCM's tag.
OVERHEAD = 17


class Buffered(Recorder, asyncio.BufferedProtocol):
    """Receives into a buffer of its own, of ``size`` bytes."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.memory = bytearray(size)

    def get_buffer(self, sizehint):
        assert sizehint >= 0
        return memoryview(self.memory)

    def buffer_updated(self, nbytes):
        Recorder.data_received(self, bytes(self.memory[:nbytes]))


async def test_a_record_may_be_split_at_every_byte(loop):
    server = Recorder()
    async with client_of(server) as peer:
        await peer.handshake()
        message, cut, length = b"split me", 1, 2
        while cut < length:
            record = peer.records(message)
            length = len(record)
            await peer.send_raw(record[:cut])
            await asyncio.sleep(0)
            await peer.send_raw(record[cut:])
            assert await server.received(len(message)) == message
            cut += 1


async def test_many_records_in_one_segment_are_delivered_in_order(loop):
    server = Recorder()
    async with client_of(server) as peer:
        await peer.handshake()
        pieces = [bytes([number]) * (number * 7 % 300 + 1) for number in range(200)]
        await peer.send_raw(b"".join(peer.records(piece) for piece in pieces))
        whole = b"".join(pieces)
        assert await server.received(len(whole)) == whole


@pytest.mark.parametrize("size", [1, 100, RECORD, 256 * 1024])
async def test_a_buffered_protocol_gets_everything_through_a_buffer_of_any_size(loop, size):
    server = Buffered(size)
    async with client_of(server) as peer:
        await peer.handshake()
        message = random.Random(size).randbytes(min(size * 50, 600_000))
        sending = asyncio.ensure_future(peer.send(message))
        assert await server.received(len(message)) == message
        await sending


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("seed", range(4))
async def test_any_cuts_and_sizes_give_the_same_bytes_both_ways(loop, version, seed):
    choose = random.Random(f"{version}{seed}")
    context = server_tls()
    context.maximum_version = version
    server = Echo()
    async with client_of(server, ssl=context) as peer:
        await peer.handshake()
        assert peer.object.version() == version.name.replace("_", ".")
        for _ in range(12):
            parts = [choose.randbytes(choose.choice([1, 100, 1024, RECORD, 40_000]))]
            parts += [
                choose.randbytes(choose.randrange(1, 2000)) for _ in range(choose.randrange(4))
            ]
            stream = b"".join(peer.records(part) for part in parts)
            sending = asyncio.ensure_future(send_in_pieces(peer, stream, choose))
            whole = b"".join(parts)
            assert await peer.receive(len(whole)) == whole
            await sending


async def send_in_pieces(peer, stream, choose):
    while stream:
        cut = choose.choice([1, 4, 5, 6, 1000, 20_000, len(stream)])
        await peer.send_raw(stream[:cut])
        stream = stream[cut:]
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(24))
async def test_rubbish_in_the_stream_ends_the_connection_with_an_ssl_error(loop, seed):
    choose = random.Random(seed)
    server = Recorder()
    async with client_of(server) as peer:
        await peer.handshake()
        await peer.send(b"before")
        assert await server.received(6) == b"before"
        stream = bytearray(peer.records(choose.randbytes(5000)) + peer.records(b"more"))
        # In the header's type or version, or in what is authenticated.
        place = choose.choice([0, 1, choose.randrange(5, len(stream) - 30)])
        stream[place] ^= choose.randrange(1, 256)
        with contextlib.suppress(ConnectionError):  # the end may come before the last pieces
            await send_in_pieces(peer, bytes(stream), choose)
        await server.wait("lost")
        assert isinstance(server.error, ssl.SSLError)
        assert bytes(server.data) == b""


async def test_a_record_of_plain_text_after_the_handshake_is_refused(loop):
    server = Recorder()
    async with client_of(server) as peer:
        await peer.handshake()
        await server.wait("made")
        await peer.send_raw(b"\x17\x03\x03\x00\x05hello")
        await server.wait("lost")
        assert isinstance(server.error, ssl.SSLError)
        assert not server.data


@pytest.mark.parametrize("seed", range(8))
async def test_rubbish_instead_of_a_handshake_is_refused(loop, errors, seed):
    server = Recorder()
    async with client_of(server) as peer:
        await peer.send_raw(random.Random(seed).randbytes(600))
        assert await peer_end(peer) in (b"", ConnectionResetError)
    assert server.events == []


async def peer_end(peer):
    """What is left to read on the plain socket, without alerts; or the exception's type."""
    try:
        while data := await asyncio.get_running_loop().sock_recv(peer.sock, 65536):
            assert data[0] == 21, "only an alert may come"
    except ConnectionResetError as error:
        return type(error)
    return b""


async def record_lengths(peer, count):
    """The lengths of the plain text in the next records, `count` bytes in all."""
    data, lengths = b"", []
    while sum(lengths) < count:
        data += await asyncio.get_running_loop().sock_recv(peer.sock, 1 << 20)
        while len(data) >= 5 and len(data) >= 5 + int.from_bytes(data[3:5], "big"):
            record, data = data[:5], data[5 + int.from_bytes(data[3:5], "big") :]
            lengths.append(int.from_bytes(record[3:], "big") - OVERHEAD)
    assert not data
    return lengths


@pytest.mark.hotloop_only  # asyncio makes a record of each piece
async def test_a_write_leaves_in_full_records_and_small_pieces_share_one(loop):
    client = Recorder()
    async with server_of(client) as peer:
        client.transport.write(bytes(3 * RECORD + 5))
        assert await record_lengths(peer, 3 * RECORD + 5) == [RECORD, RECORD, RECORD, 5]
        client.transport.writelines([b"head", b"", bytearray(100), b"tail"])
        assert await record_lengths(peer, 108) == [108]


async def test_records_that_came_one_by_one_are_delivered_together(loop):
    class Pieces(Recorder):
        lengths = ()

        def data_received(self, data):
            self.lengths += (len(data),)
            super().data_received(data)

    server = Pieces()
    async with client_of(server) as peer:
        await peer.handshake()
        await peer.send(b"x")
        await server.received(1)
        transport = server.transport
        transport.set_read_buffer_limits(high=10_000_000)
        most = (256 * 1024, 256 * 1024, 128 * 1024) if LOOP_NAME == "hotloop" else (40 * RECORD,)
        for count, expected in ((20, (20,)), (40 * RECORD, most)):
            server.lengths = ()
            transport.pause_reading()
            piece = bytes(count // 20)
            records = b"".join(peer.records(piece) for _ in range(20))
            await peer.send_raw(records)
            while transport.get_read_buffer_size() < len(records):
                await asyncio.sleep(0)
            transport.resume_reading()
            await server.received(count)
            assert server.lengths == expected


async def test_small_pieces_of_writelines_arrive_in_order_with_large_ones(loop):
    client = Recorder()
    async with server_of(client) as peer:
        pieces = [b"head", b"", bytearray(b"er"), bytes(40_000), memoryview(b"tail"), b"x" * RECORD]
        client.transport.writelines(pieces)
        whole = b"".join(pieces)
        assert await peer.receive(len(whole)) == whole


async def test_what_was_written_is_sent_though_the_buffer_changes(loop):
    client = Recorder()
    async with server_of(client) as peer:
        data = bytearray(b"a" * 3_000_000)
        client.transport.write(data)
        data[:] = b"b" * len(data)
        client.transport.write(memoryview(data)[:10])
        assert await peer.receive(3_000_010) == b"a" * 3_000_000 + b"b" * 10


async def test_a_write_from_within_data_received_keeps_the_order(loop):
    class Chatty(Recorder):
        def data_received(self, data):
            for byte in data:
                self.transport.write(bytes([byte]))

    server = Chatty()
    async with client_of(server) as peer:
        await peer.handshake()
        await peer.send_raw(peer.records(bytes(range(100))) + peer.records(bytes(range(100, 200))))
        assert await peer.receive(200) == bytes(range(200))
