"""``sock_sendfile`` and ``sendfile``."""

import asyncio
import io
import os
import socket

import pytest

from helpers import Recorder, drain, fill, same_as_stdlib

CONTENT = bytes(range(256)) * 4096  # 1 MiB: more than a socket's buffer takes


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with open(path, "rb") as file:
        yield file


LARGE = 32 << 20  # more than the buffers of a TCP connection take


@pytest.fixture
def large(tmp_path):
    with open(tmp_path / "large", "w+b") as file:
        file.truncate(LARGE)
        yield file


async def received(loop, sock, count):
    data = bytearray()
    while len(data) < count:
        piece = await loop.sock_recv(sock, 65536)
        assert piece
        data += piece
    return bytes(data)


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, None), (100, None), (0, 1), (7, 500_000), (0, len(CONTENT)), (100, 2 * len(CONTENT))],
)
def test_a_part_of_a_file_arrives_and_the_position_stands_behind_it(
    loop, pair, file, offset, count
):
    left, right = pair
    end = len(CONTENT) if count is None else min(offset + count, len(CONTENT))

    async def main():
        file.seek(3)  # what the position was does not matter
        sending = asyncio.ensure_future(loop.sock_sendfile(left, file, offset, count))
        assert await received(loop, right, end - offset) == CONTENT[offset:end]
        assert await sending == end - offset
        assert file.tell() == end
        with pytest.raises(BlockingIOError):
            right.recv(1)

    loop.run_until_complete(main())


@pytest.mark.parametrize(("offset", "count"), [(0, None), (0, 10), (len(CONTENT), None)])
def test_nothing_to_send(loop, pair, tmp_path, file, offset, count):
    left, _ = pair
    empty = tmp_path / "empty"
    empty.touch()

    async def main():
        if offset:
            assert await loop.sock_sendfile(left, file, offset, count) == 0
        else:
            with open(empty, "rb") as nothing:
                assert await loop.sock_sendfile(left, nothing, offset, count) == 0

    loop.run_until_complete(main())


def test_a_file_that_grows_is_sent_to_its_new_end(loop, pair, tmp_path):
    left, right = pair
    path = tmp_path / "growing"
    path.write_bytes(CONTENT)

    async def main():
        with open(path, "rb") as file:
            sending = asyncio.ensure_future(loop.sock_sendfile(left, file))
            await asyncio.sleep(0)
            with open(path, "ab") as more:
                more.write(b"more")
            data = await received(loop, right, len(CONTENT) + 4)
            assert data == CONTENT + b"more"
            assert await sending == len(data)

    loop.run_until_complete(main())


def test_what_the_kernel_cannot_send_is_read_and_sent(loop, pair):
    left, right = pair

    async def main():
        assert await loop.sock_sendfile(left, io.BytesIO(b"from memory"), 5) == 6
        assert right.recv(100) == b"memory"
        with pytest.raises(asyncio.SendfileNotAvailableError, match="^not a regular file$"):
            await loop.sock_sendfile(left, io.BytesIO(b"from memory"), fallback=False)

    loop.run_until_complete(main())


def test_a_descriptor_that_cannot_be_sent_is_told_before_the_first_byte(loop, pair):
    left, _ = pair
    reading, writing = os.pipe()

    async def main():
        with open(reading, "rb") as pipe, open(writing, "wb"):
            with pytest.raises(asyncio.SendfileNotAvailableError, match="os.sendfile call failed"):
                await loop.sock_sendfile(left, pipe, 0, 10, fallback=False)

    loop.run_until_complete(main())


def test_a_peer_that_goes_away_in_the_middle(loop, pair, file):
    left, right = pair

    async def main():
        sending = asyncio.ensure_future(loop.sock_sendfile(left, file))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        right.close()
        with pytest.raises(ConnectionError):
            await sending
        assert 0 < file.tell() < len(CONTENT)

    loop.run_until_complete(main())


def test_a_cancelled_transfer_stops_and_can_be_followed_by_another(loop, pair, file):
    left, right = pair

    async def main():
        sending = asyncio.ensure_future(loop.sock_sendfile(left, file))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        sent = len(CONTENT)
        left_over = 0
        while True:
            try:
                left_over += len(right.recv(1 << 20))
            except BlockingIOError:
                break
        assert 0 < left_over < sent
        again = asyncio.ensure_future(loop.sock_sendfile(left, file, left_over, 100))
        assert await received(loop, right, 100) == CONTENT[left_over : left_over + 100]
        assert await again == 100

    loop.run_until_complete(main())


@pytest.mark.hotloop_only
def test_a_cancelled_transfer_leaves_the_position_behind_what_was_sent(loop, pair, file):
    left, right = pair

    async def main():
        sending = asyncio.ensure_future(loop.sock_sendfile(left, file))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])
        count = 0
        while count < file.tell():
            count += len(right.recv(1 << 20))
        assert count == file.tell() > 0

    loop.run_until_complete(main())


@pytest.mark.hotloop_only
def test_a_transfer_cancelled_together_with_its_event_leaves_the_position_there(loop, pair, file):
    left, right = pair

    async def main():
        sending = asyncio.ensure_future(loop.sock_sendfile(left, file))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        count = len(drain(right))
        # The event is on the ready queue, or about to be, when the wait is cancelled.
        loop.call_soon(sending.cancel)
        await asyncio.wait([sending])
        count += len(drain(right))
        assert count == file.tell() > 0

    loop.run_until_complete(main())


@pytest.mark.hotloop_only
def test_a_file_closed_in_the_middle_is_not_taken_for_another(loop, pair, file, tmp_path):
    # The stdlib goes on with whatever has the number by then.
    left, right = pair
    other = tmp_path / "other"
    other.write_bytes(b"secret" * 500_000)

    async def main():
        sending = asyncio.ensure_future(loop.sock_sendfile(left, file))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        number = file.fileno()
        file.close()
        with open(other, "rb") as impostor:
            assert impostor.fileno() == number
            data = b""
            while not sending.done():
                try:
                    data += right.recv(1 << 20)
                except BlockingIOError:
                    await asyncio.sleep(0)
            with pytest.raises(ValueError, match="closed file"):
                await sending
        assert b"secret" not in data

    loop.run_until_complete(main())


def test_a_replaced_sendfile_is_called(loop, monkeypatch, pair, file):
    calls = []

    def sendfile(out, source, offset, count):
        calls.append((offset, count))
        return 0

    async def main():
        monkeypatch.setattr(os, "sendfile", sendfile)
        assert await loop.sock_sendfile(pair[0], file, 10, 20) == 0

    loop.run_until_complete(main())
    assert calls == [(10, 20)]


def test_wrong_arguments(loop, pair, file, tmp_path):
    left, _ = pair

    async def main():
        with open(tmp_path / "file") as text:
            with pytest.raises(ValueError, match="binary mode"):
                await loop.sock_sendfile(left, text)
        with pytest.raises(TypeError, match="count must be a positive integer"):
            await loop.sock_sendfile(left, file, 0, "1")
        with pytest.raises(ValueError, match="count must be a positive integer"):
            await loop.sock_sendfile(left, file, 0, 0)
        with pytest.raises(ValueError, match="offset must be a non-negative integer"):
            await loop.sock_sendfile(left, file, -1)
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            with pytest.raises(ValueError, match="only SOCK_STREAM"):
                await loop.sock_sendfile(datagrams, file)

    loop.run_until_complete(main())


def test_a_transport_sends_what_was_written_before_first(loop, link, file):
    async def main():
        async with link() as pair:
            written = b"w" * 500_000
            pair.transport.write(written)
            sent = await loop.sendfile(pair.transport, file, 100, 300_000)
            assert sent == 300_000
            assert file.tell() == 300_100
            pair.transport.write(b"after")
            total = len(written) + sent + 5
            data = await pair.theirs.received(total)
            assert data == written + CONTENT[100:300_100] + b"after"

    loop.run_until_complete(main())


@pytest.mark.parametrize("paused", [False, True])
def test_a_transport_does_not_read_while_it_sends_a_file(loop, link, large, paused):
    async def main():
        async with link() as pair:
            if paused:
                pair.transport.pause_reading()
            pair.theirs.transport.pause_reading()
            sending = asyncio.ensure_future(loop.sendfile(pair.transport, large))
            for _ in range(5):
                await asyncio.sleep(0)
            assert not pair.transport.is_reading()
            pair.theirs.transport.write(b"to be read later")
            for _ in range(5):
                await asyncio.sleep(0)
            assert not pair.ours.data
            pair.theirs.transport.resume_reading()
            assert await sending == LARGE
            assert pair.transport.is_reading() is not paused
            pair.transport.resume_reading() if paused else None
            assert await pair.ours.received(16) == b"to be read later"

    loop.run_until_complete(main())


def test_a_cancelled_sendfile_gives_the_transport_back(loop, link, large):
    async def main():
        async with link() as pair:
            pair.theirs.transport.pause_reading()
            sending = asyncio.ensure_future(loop.sendfile(pair.transport, large))
            for _ in range(5):
                await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert pair.transport.is_reading()
            pair.theirs.transport.write(b"still here")
            assert await pair.ours.received(10) == b"still here"

    loop.run_until_complete(main())


def test_a_transport_that_is_closing_is_refused(loop, link, file):
    async def main():
        async with link() as pair:
            pair.transport.close()
            with pytest.raises(RuntimeError, match="^Transport is closing$"):
                await loop.sendfile(pair.transport, file)

    loop.run_until_complete(main())


def test_a_file_without_a_descriptor_goes_through_the_transport_by_hand(loop, link):
    async def main():
        async with link() as pair:
            assert await loop.sendfile(pair.transport, io.BytesIO(b"0123456789"), 2, 5) == 5
            assert await pair.theirs.received(5) == b"23456"
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await loop.sendfile(pair.transport, io.BytesIO(b"x"), fallback=False)

    loop.run_until_complete(main())


@pytest.mark.parametrize("offset", [0, len(CONTENT), len(CONTENT) + 10])
@pytest.mark.parametrize("count", [None, 10])
def test_the_position_after_a_transfer_is_the_running_versions(loop, file, offset, count):
    def send(loop):
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            right.setblocking(False)
            file.seek(3)
            wanted = min(count or len(CONTENT), max(len(CONTENT) - offset, 0))

            async def main():
                sending = asyncio.ensure_future(loop.sock_sendfile(left, file, offset, count))
                await received(loop, right, wanted)
                return await sending, file.tell()

            return loop.run_until_complete(main())

    same_as_stdlib(loop, send)


def test_a_full_socket_is_waited_for(loop, pair, file):
    left, right = pair

    async def main():
        filled = fill(left)
        sending = asyncio.ensure_future(loop.sock_sendfile(left, file, 0, 1000))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not sending.done()
        data = await received(loop, right, filled + 1000)
        assert data[filled:] == CONTENT[:1000]
        assert await sending == 1000

    loop.run_until_complete(main())


def test_a_protocol_that_only_receives_gets_the_file(loop, link, file):
    async def main():
        async with link(theirs=Recorder) as pair:
            assert await loop.sendfile(pair.transport, file) == len(CONTENT)
            assert await pair.theirs.received(len(CONTENT)) == CONTENT

    loop.run_until_complete(main())
