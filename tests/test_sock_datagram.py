"""``sock_recvfrom``, ``sock_recvfrom_into`` and ``sock_sendto`` on UDP and Unix datagrams."""

import asyncio
import contextlib
import socket

import pytest


@pytest.fixture
def udp():
    """Two bound non-blocking UDP sockets."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as left,
        socket.socket(type=socket.SOCK_DGRAM) as right,
    ):
        for sock in (left, right):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        yield left, right


def test_datagram_and_address_come_back(loop, udp):
    left, right = udp

    async def main():
        waiting = asyncio.ensure_future(loop.sock_recvfrom(left, 100))
        await asyncio.sleep(0)
        assert await loop.sock_sendto(right, b"datagram", left.getsockname()) == 8
        return await waiting

    assert loop.run_until_complete(main()) == (b"datagram", right.getsockname())


def test_datagrams_stay_apart_and_keep_their_order(loop, udp):
    left, right = udp

    async def main():
        for data in (b"one", b"two", b""):
            await loop.sock_sendto(right, data, left.getsockname())
        return [(await loop.sock_recvfrom(left, 100))[0] for _ in range(3)]

    assert loop.run_until_complete(main()) == [b"one", b"two", b""]


def test_receive_into_a_buffer(loop, udp):
    left, right = udp
    buffer = bytearray(10)

    async def main():
        waiting = asyncio.ensure_future(loop.sock_recvfrom_into(left, buffer))
        await asyncio.sleep(0)
        await loop.sock_sendto(right, memoryview(b"abc"), left.getsockname())
        return await waiting

    assert loop.run_until_complete(main()) == (3, right.getsockname())
    assert buffer[:3] == b"abc"


def test_receive_into_takes_a_number_of_bytes(loop, udp):
    left, right = udp
    buffer = bytearray(b"........")

    async def main():
        await loop.sock_sendto(right, b"abcdef", left.getsockname())
        return await loop.sock_recvfrom_into(left, buffer, 2)

    assert loop.run_until_complete(main()) == (2, right.getsockname())
    assert buffer == b"ab......"


def test_receive_into_more_than_the_buffer_holds_is_refused(loop, udp):
    left, right = udp

    async def main():
        await loop.sock_sendto(right, b"abcdef", left.getsockname())
        await loop.sock_recvfrom_into(left, bytearray(2), 3)

    with pytest.raises(ValueError, match="nbytes is greater than the length of the buffer"):
        loop.run_until_complete(main())


def test_a_cancelled_receive_leaves_the_socket_usable(loop, udp):
    left, right = udp

    async def main():
        waiting = asyncio.ensure_future(loop.sock_recvfrom(left, 100))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await loop.sock_sendto(right, b"later", left.getsockname())
        return await loop.sock_recvfrom(left, 100)

    assert loop.run_until_complete(main())[0] == b"later"


def test_sendto_waits_for_room(loop, tmp_path):
    # A datagram to a Unix socket waits while the receiver's queue is full (unix(7)).
    path = str(tmp_path / "r")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as right:
            right.bind(path)
            left.setblocking(False)
            # Writable events for a datagram socket depend on the peer it is connected to.
            left.connect(path)
            with contextlib.suppress(BlockingIOError):
                while True:
                    left.send(b"filler")

            async def main():
                sending = asyncio.ensure_future(loop.sock_sendto(left, b"last", path))
                await asyncio.sleep(0)
                assert not sending.done()
                while not sending.done():
                    right.recv(10)
                    await asyncio.sleep(0)
                right.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        last = right.recv(10)
                return await sending, last

            assert loop.run_until_complete(main()) == (4, b"last")


def test_too_large_datagram_raises(loop, udp):
    left, right = udp
    with pytest.raises(OSError, match="Message too long"):
        loop.run_until_complete(loop.sock_sendto(left, bytes(100_000), right.getsockname()))


def test_version_6_addresses_have_four_parts(loop):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as left:
        left.bind(("::1", 0))
        left.setblocking(False)

        async def main():
            await loop.sock_sendto(left, b"six", left.getsockname())
            return await loop.sock_recvfrom(left, 10)

        assert loop.run_until_complete(main()) == (b"six", left.getsockname())


def test_unix_datagrams(loop, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as right:
            for name, sock in (("l", left), ("r", right)):
                sock.bind(str(tmp_path / name))
                sock.setblocking(False)

            async def main():
                await loop.sock_sendto(right, b"unix", str(tmp_path / "l"))
                return await loop.sock_recvfrom(left, 10)

            assert loop.run_until_complete(main()) == (b"unix", str(tmp_path / "r"))
