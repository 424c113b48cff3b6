"""``sock_recv``, ``sock_recv_into`` and ``sock_sendall`` on connected stream sockets."""

import array
import asyncio
import socket

import pytest

from helpers import fill

BIG = bytes(range(256)) * 16384  # 4 MiB, far above what the kernel buffers


async def receive(loop, sock, count):
    data = bytearray()
    while len(data) < count:
        piece = await loop.sock_recv(sock, 262144)
        assert piece, "the peer closed too early"
        data += piece
    return bytes(data)


@pytest.fixture
def tcp():
    """Two connected non-blocking TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        left = socket.create_connection(listener.getsockname())
        right, _ = listener.accept()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


@pytest.fixture(params=["unix", "tcp"])
def both(request):
    """Two connected non-blocking stream sockets of each family."""
    return request.getfixturevalue("pair" if request.param == "unix" else "tcp")


def test_data_that_is_there_is_received_at_once(loop, both):
    left, right = both
    right.send(b"hello")
    assert loop.run_until_complete(loop.sock_recv(left, 100)) == b"hello"


def test_a_short_buffer_leaves_the_rest_in_the_kernel(loop, both):
    left, right = both
    right.send(b"hello")
    assert loop.run_until_complete(loop.sock_recv(left, 2)) == b"he"
    assert loop.run_until_complete(loop.sock_recv(left, 100)) == b"llo"


def test_receive_waits_for_data(loop, both):
    left, right = both

    async def main():
        waiting = asyncio.ensure_future(loop.sock_recv(left, 100))
        await asyncio.sleep(0)
        assert not waiting.done()
        await loop.sock_sendall(right, b"late")
        return await waiting

    assert loop.run_until_complete(main()) == b"late"


def test_end_of_stream_is_an_empty_result(loop, both):
    left, right = both

    async def main():
        waiting = asyncio.ensure_future(loop.sock_recv(left, 100))
        await asyncio.sleep(0)
        right.shutdown(socket.SHUT_WR)
        return await waiting, await loop.sock_recv(left, 100)

    assert loop.run_until_complete(main()) == (b"", b"")


def test_receive_of_zero_bytes(loop, both):
    left, right = both
    right.send(b"x")
    assert loop.run_until_complete(loop.sock_recv(left, 0)) == b""
    assert loop.run_until_complete(loop.sock_recv(left, 1)) == b"x"


@pytest.mark.parametrize(
    "buffer",
    [bytearray(8), memoryview(bytearray(8)), array.array("b", bytes(8))],
    ids=["bytearray", "memoryview", "array"],
)
def test_receive_into_a_buffer(loop, both, buffer):
    left, right = both

    async def main():
        waiting = asyncio.ensure_future(loop.sock_recv_into(left, buffer))
        await asyncio.sleep(0)
        await loop.sock_sendall(right, b"12345")
        return await waiting

    assert loop.run_until_complete(main()) == 5
    assert bytes(buffer) == b"12345\0\0\0"


def test_receive_into_a_part_of_a_buffer(loop, both):
    left, right = both
    buffer = bytearray(b"........")
    right.send(b"abcdef")
    assert loop.run_until_complete(loop.sock_recv_into(left, memoryview(buffer)[2:5])) == 3
    assert buffer == b"..abc..."


def test_a_buffer_that_cannot_be_written_to_is_refused(loop, both):
    left, right = both
    right.send(b"x")
    with pytest.raises(TypeError):
        loop.run_until_complete(loop.sock_recv_into(left, b"constant"))


def test_sendall_of_big_data_to_a_slow_reader(loop, both):
    left, right = both

    async def main():
        sending = asyncio.ensure_future(loop.sock_sendall(left, BIG))
        got = bytearray()
        while len(got) < len(BIG):
            got += await loop.sock_recv(right, 10_000)
        assert await sending is None
        return bytes(got)

    assert loop.run_until_complete(main()) == BIG


@pytest.mark.parametrize(
    "data",
    [BIG, bytearray(BIG), memoryview(BIG), memoryview(array.array("Q", BIG)).cast("B")],
    ids=["bytes", "bytearray", "memoryview", "memoryview of an array"],
)
def test_sendall_takes_every_kind_of_buffer(loop, pair, data):
    left, right = pair

    async def main():
        sending = asyncio.ensure_future(loop.sock_sendall(left, data))
        got = await receive(loop, right, len(BIG))
        await sending
        return got

    assert loop.run_until_complete(main()) == BIG


def test_sendall_of_nothing(loop, both):
    left, _ = both
    fill(left)
    assert loop.run_until_complete(loop.sock_sendall(left, b"")) is None


def test_receive_and_send_at_the_same_time_on_one_socket(loop, both):
    left, right = both

    async def main():
        return await asyncio.gather(
            loop.sock_sendall(left, BIG),
            receive(loop, left, len(BIG)),
            loop.sock_sendall(right, BIG),
            receive(loop, right, len(BIG)),
        )

    _, one, _, other = loop.run_until_complete(main())
    assert one == other == BIG


def test_a_cancelled_receive_takes_no_data_and_the_socket_stays_usable(loop, both):
    left, right = both

    async def main():
        waiting = asyncio.ensure_future(loop.sock_recv(left, 100))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        await loop.sock_sendall(right, b"later")
        return await loop.sock_recv(left, 100)

    assert loop.run_until_complete(main()) == b"later"


def test_a_receive_cancelled_in_the_moment_the_data_comes(loop, both):
    left, right = both

    async def main():
        waiting = asyncio.ensure_future(loop.sock_recv(left, 100))
        await asyncio.sleep(0)
        right.send(b"kept")
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        return await loop.sock_recv(left, 100)

    assert loop.run_until_complete(main()) == b"kept"


def test_a_cancelled_sendall_leaves_the_socket_usable(loop, both):
    left, right = both

    async def main():
        size = fill(left)
        sending = asyncio.ensure_future(loop.sock_sendall(left, b"never"))
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert sending.cancelled()
        await receive(loop, right, size)
        await loop.sock_sendall(left, b"after")
        return await loop.sock_recv(right, 100)

    assert loop.run_until_complete(main()) == b"after"


def test_a_cancelled_receive_does_not_disturb_a_send_on_the_same_socket(loop, both):
    left, right = both

    async def main():
        size = fill(left)
        sending = asyncio.ensure_future(loop.sock_sendall(left, b"tail"))
        waiting = asyncio.ensure_future(loop.sock_recv(left, 1))
        await asyncio.sleep(0)
        waiting.cancel()
        got = await receive(loop, right, size + 4)
        await sending
        return got[-4:]

    assert loop.run_until_complete(main()) == b"tail"


def test_sending_to_a_peer_that_is_gone_raises(loop, pair):
    left, right = pair
    right.close()
    with pytest.raises(BrokenPipeError):
        loop.run_until_complete(loop.sock_sendall(left, b"x"))


def test_a_peer_that_goes_while_a_send_waits(loop, pair):
    left, right = pair

    async def main():
        sending = asyncio.ensure_future(loop.sock_sendall(left, BIG))
        await asyncio.sleep(0)
        assert not sending.done()
        right.close()
        await sending

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        loop.run_until_complete(main())


def test_a_reset_by_the_peer_raises_in_receive(loop, tcp):
    left, right = tcp

    async def main():
        waiting = asyncio.ensure_future(loop.sock_recv(left, 1))
        await asyncio.sleep(0)
        # Closing with unread data makes TCP send a reset (RFC 2525, section 2.17).
        left.send(b"unread")
        right.close()
        await waiting

    with pytest.raises(ConnectionResetError):
        loop.run_until_complete(main())
