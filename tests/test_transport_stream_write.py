"""``write``, ``writelines``, ``write_eof`` and ``sendfile`` on stream transports."""

import asyncio
import logging
import sys
from asyncio.selector_events import _SelectorSocketTransport

import pytest

from helpers import Echo, Recorder, outcome

STDLIB_WRITE = _SelectorSocketTransport.write
BIG = bytes(range(256)) * 32768  # 8 MiB, far more than the kernel takes


@pytest.mark.parametrize(
    "data",
    [b"data", bytearray(b"data"), memoryview(b"data"), memoryview(b"-data-")[1:5]],
    ids=["bytes", "bytearray", "memoryview", "part of a memoryview"],
)
async def test_every_kind_of_buffer(loop, link, data):
    async with link() as pair:
        pair.transport.write(data)
        assert await pair.theirs.received(4) == b"data"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_big_data_arrives_whole(loop, link, kind):
    async with link() as pair:
        pair.transport.write(kind(BIG))
        pair.transport.write(kind(b"the end"))
        assert await pair.theirs.received(len(BIG) + 7) == BIG + b"the end"


async def test_ten_megabytes_come_back_from_an_echo(loop, link):
    data = BIG + BIG[: 2 << 20]
    async with link(theirs=Echo) as pair:
        pair.transport.write(data)
        assert await pair.ours.received(len(data)) == data


async def test_writes_keep_their_order_when_some_must_wait(loop, link):
    async with link() as pair:
        pieces = [b"%07d," % number * 200 for number in range(5000)]
        for piece in pieces:
            pair.transport.write(piece)
        assert await pair.theirs.received(sum(map(len, pieces))) == b"".join(pieces)


@pytest.mark.hotloop_only
async def test_a_bytearray_changed_after_the_write_sends_what_it_held(loop, link):
    # From 3.12 on the stdlib sends the rest from the caller's own buffer.
    async with link() as pair:
        data = bytearray(BIG)
        pair.transport.write(data)
        assert pair.transport.get_write_buffer_size() > 0
        data[:] = bytes(len(data))
        data.clear()
        assert await pair.theirs.received(len(BIG)) == BIG


async def test_nothing_written_is_nothing_sent(loop, link):
    async with link() as pair:
        pair.transport.write(b"")
        pair.transport.writelines([])
        pair.transport.writelines([b"", b""])
        pair.transport.write(b"x")
        assert await pair.theirs.received(1) == b"x"


@pytest.mark.parametrize(
    "lines",
    [
        [b"one", bytearray(b"two"), memoryview(b"three")],
        (b"one", b"two", b"three"),
        [b"", b"one", b"", b"twothree", b""],
    ],
)
async def test_writelines(loop, link, lines):
    async with link() as pair:
        pair.transport.writelines(lines)
        assert await pair.theirs.received(11) == b"onetwothree"


async def test_writelines_takes_an_iterator_and_more_pieces_than_one_call_can_send(loop, link):
    async with link() as pair:
        pair.transport.writelines(b"%d," % number for number in range(5000))
        expected = b"".join(b"%d," % number for number in range(5000))
        assert await pair.theirs.received(len(expected)) == expected


async def test_writelines_of_big_pieces(loop, link):
    async with link() as pair:
        pair.transport.writelines([BIG, b"middle", BIG])
        assert await pair.theirs.received(2 * len(BIG) + 6) == BIG + b"middle" + BIG


@pytest.mark.parametrize("bad", ["text", None, 1, [b"x"], 1.5])
async def test_what_is_no_buffer_is_refused(loop, link, bad):
    async with link() as pair:
        with pytest.raises(TypeError) as caught:
            pair.transport.write(bad)
        # The words differ from version to version.
        assert outcome(lambda: STDLIB_WRITE(None, bad)) == (TypeError, str(caught.value))
        pair.transport.write(b"x")
        assert await pair.theirs.received(1) == b"x"


async def test_write_eof_ends_one_direction_only(loop, link):
    async with link(theirs=lambda: Recorder(keep_open=True)) as pair:
        assert pair.transport.can_write_eof() is True
        pair.transport.write(b"question")
        pair.transport.write_eof()
        await pair.theirs.wait("eof")
        assert bytes(pair.theirs.data) == b"question"
        pair.theirs.transport.write(b"answer")
        assert await pair.ours.received(6) == b"answer"
        assert not pair.transport.is_closing()
        pair.theirs.transport.close()
        await pair.ours.wait("lost")
        assert pair.ours.events == ["made", "data", "eof", "lost"]
        await pair.theirs.wait("lost")
        assert pair.theirs.events == ["made", "data", "eof", "lost"]


async def test_write_eof_waits_for_what_is_queued(loop, link):
    async with link() as pair:
        pair.transport.write(BIG)
        pair.transport.write_eof()
        pair.transport.write_eof()
        await pair.theirs.wait("eof")
        assert bytes(pair.theirs.data) == BIG


async def test_write_after_write_eof_is_refused(loop, link):
    async with link(theirs=lambda: Recorder(keep_open=True)) as pair:
        pair.transport.write_eof()
        with pytest.raises(RuntimeError, match=r"^Cannot call write\(\) after write_eof\(\)$"):
            pair.transport.write(b"x")


async def test_an_end_that_is_not_kept_open_closes_the_transport(loop, link):
    async with link() as pair:
        pair.transport.write_eof()
        await pair.theirs.wait("lost")
        await pair.ours.wait("lost")
        assert pair.theirs.events == ["made", "eof", "lost"]


async def test_write_after_close_is_dropped_and_the_fifth_is_warned_about(loop, link, caplog):
    async with link() as pair:
        pair.transport.close()
        with caplog.at_level(logging.WARNING, "asyncio"):
            for _ in range(4):
                pair.transport.write(b"lost")
            assert caplog.messages == []
            pair.transport.write(b"lost")
            pair.transport.write(b"lost")
        assert caplog.messages == ["socket.send() raised exception."] * 2
        await pair.theirs.wait("lost")
        assert bytes(pair.theirs.data) == b""


async def test_writes_to_a_peer_that_is_gone_never_raise(loop, link):
    async with link() as pair:
        pair.theirs.transport.abort()
        await pair.theirs.wait("lost")
        for _ in range(10):
            pair.transport.write(b"x")
        await pair.ours.wait("lost")
        assert pair.ours.error is None or isinstance(pair.ours.error, OSError)


async def test_a_peer_that_goes_while_data_is_queued(loop, link):
    class Stalled(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async with link(theirs=Stalled) as pair:
        pair.transport.write(BIG)
        pair.theirs.transport.abort()
        await pair.ours.wait("lost")
        assert isinstance(pair.ours.error, (BrokenPipeError, ConnectionResetError))


async def test_sendfile(loop, link, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(BIG)
    with path.open("rb") as file:
        async with link() as pair:
            assert await loop.sendfile(pair.transport, file) == len(BIG)
            assert await pair.theirs.received(len(BIG)) == BIG
            file.seek(0)
            assert await loop.sendfile(pair.transport, file, 10, 20) == 20
            pair.transport.write(b"after")
            assert await pair.theirs.received(25) == BIG[10:30] + b"after"


async def test_sendfile_of_what_is_no_binary_file_is_refused(loop, link, tmp_path):
    path = tmp_path / "file"
    path.write_text("text")
    with path.open() as file:
        async with link() as pair:
            with pytest.raises(ValueError, match="^file should be opened in binary mode$"):
                await loop.sendfile(pair.transport, file)
            pair.transport.close()
            with pytest.raises(RuntimeError, match="^Transport is closing$"):
                await loop.sendfile(pair.transport, file)


async def test_streams_write_and_drain(loop, unix_path):
    async def serve(reader, writer):
        writer.write(await reader.read())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(serve, unix_path)
    async with server:
        reader, writer = await asyncio.open_unix_connection(unix_path)
        writer.writelines([BIG, BIG])
        writer.write_eof()
        assert await reader.read() == BIG + BIG
        writer.close()
        await writer.wait_closed()


async def test_arguments_may_be_given_by_name(loop, link):
    async with link() as pair:
        pair.transport.set_protocol(protocol=pair.transport.get_protocol())
        pair.transport.write(data=b"by ")
        pair.transport.writelines(list_of_data=[b"na", b"me"])
        assert await pair.theirs.received(7) == b"by name"
        with pytest.raises(TypeError):
            pair.transport.write()
        with pytest.raises(TypeError):
            pair.transport.write(b"x", data=b"y")


@pytest.mark.parametrize("nothing", [None, 0, False])
async def test_writelines_of_what_is_false_does_what_the_running_version_does(loop, link, nothing):
    async with link() as pair:
        if sys.version_info < (3, 12):
            with pytest.raises(TypeError):
                pair.transport.writelines(nothing)
        else:
            assert pair.transport.writelines(nothing) is None
        with pytest.raises(TypeError):
            pair.transport.writelines(1)
