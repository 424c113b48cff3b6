"""Waiting ``sock_*`` operations: one after the other, side by side, cancelled, on numbers that change hands."""

import asyncio
import os
import random
import socket

import pytest


def pair_of_sockets():
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    return left, right


async def waiting(coroutine):
    """A task that has begun to wait."""
    task = asyncio.ensure_future(coroutine)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    return task


def test_one_wait_after_the_other(loop, pair):
    left, right = pair

    async def main():
        for number in range(10):
            receiving = await waiting(loop.sock_recv(right, 100))
            left.send(b"%d" % number)
            assert await receiving == b"%d" % number
        # Nothing is left that would be reported.
        left.send(b"unread")
        for _ in range(5):
            await asyncio.sleep(0)
        assert right.recv(100) == b"unread"

    loop.run_until_complete(main())


def test_both_directions_of_a_socket_wait_at_once(loop, pair):
    left, right = pair
    data = bytes(range(256)) * 8192

    async def main():
        sending = await waiting(loop.sock_sendall(left, data))
        receiving = await waiting(loop.sock_recv(left, 100))
        await loop.sock_sendall(right, b"meanwhile")
        assert await receiving == b"meanwhile"
        received = bytearray()
        while len(received) < len(data):
            received += await loop.sock_recv(right, 65536)
        await sending
        assert received == data
        receiving = await waiting(loop.sock_recv(left, 100))
        await loop.sock_sendall(right, b"again")
        assert await receiving == b"again"

    loop.run_until_complete(main())


def test_a_cancelled_wait_does_not_take_what_comes_next(loop, pair):
    left, right = pair

    async def main():
        for number in range(5):
            receiving = await waiting(loop.sock_recv(right, 100))
            if number % 2:
                left.send(b"x")  # cancelled with the event already on its way
            receiving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await receiving
            if number % 2:
                assert await loop.sock_recv(right, 100) == b"x"
        receiving = await waiting(loop.sock_recv(right, 100))
        left.send(b"last")
        assert await receiving == b"last"

    loop.run_until_complete(main())


def test_a_reader_can_be_added_after_a_wait_and_a_wait_can_follow_a_reader(loop, pair):
    left, right = pair

    async def main():
        for _ in range(2):
            receiving = await waiting(loop.sock_recv(right, 100))
            left.send(b"first")
            assert await receiving == b"first"
            calls = []
            loop.add_reader(right, calls.append, "readable")
            left.send(b"second")
            while len(calls) < 3:  # as long as nobody reads
                await asyncio.sleep(0)
            assert loop.remove_reader(right) is True
            assert right.recv(100) == b"second"

    loop.run_until_complete(main())


def test_a_number_that_changed_hands_between_two_waits_is_watched_anew(loop):
    async def main():
        left, right = pair_of_sockets()
        number = right.fileno()
        receiving = await waiting(loop.sock_recv(right, 100))
        left.send(b"first")
        assert await receiving == b"first"
        other_left, other = pair_of_sockets()
        os.dup2(other.fileno(), number)  # `right` is another socket now
        other.close()
        receiving = await waiting(loop.sock_recv(right, 100))
        left.close()
        other_left.send(b"second")
        assert await receiving == b"second"
        other_left.close()
        right.close()

    loop.run_until_complete(main())


def test_a_duplicate_that_outlives_the_socket_disturbs_nobody(loop):
    async def main():
        left, right = pair_of_sockets()
        number = right.fileno()
        receiving = await waiting(loop.sock_recv(right, 100))
        left.send(b"first")
        assert await receiving == b"first"
        duplicate = right.dup()
        right.close()
        new_left, new = pair_of_sockets()
        assert number in (new_left.fileno(), new.fileno())
        left.send(b"for the duplicate")
        for this, other in ((new_left, new), (new, new_left)):
            receiving = await waiting(loop.sock_recv(this, 100))
            other.send(b"mine")
            assert await receiving == b"mine"
        assert duplicate.recv(100) == b"for the duplicate"
        for sock in (left, duplicate, new_left, new):
            sock.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_byte_reaches_another_socket(loop, seed):
    """Sockets that are closed and made anew under the same numbers, waits that are cancelled."""
    choose = random.Random(seed)

    async def talk(name):
        for turn in range(30):
            left, right = pair_of_sockets()
            for _ in range(choose.randrange(4)):
                secret = b"%d.%d.%d" % (name, turn, choose.randrange(1000))
                receiving = asyncio.ensure_future(loop.sock_recv(right, 100))
                for _ in range(choose.randrange(3)):
                    await asyncio.sleep(0)
                if choose.random() < 0.3:
                    receiving.cancel()
                    await asyncio.wait([receiving])
                    receiving = asyncio.ensure_future(loop.sock_recv(right, 100))
                await loop.sock_sendall(left, secret)
                assert await receiving == secret
            left.close()
            right.close()

    async def main():
        await asyncio.gather(*(talk(name) for name in range(20)))

    loop.run_until_complete(main())


@pytest.mark.parametrize("size", [0, 1, 5, 6, 100, 1 << 20])
def test_what_is_received_has_the_length_of_what_came(loop, pair, size):
    left, right = pair
    left.send(b"12345!")
    received = loop.run_until_complete(loop.sock_recv(right, size))
    assert received == b"12345!"[:size]
    assert type(received) is bytes


def test_received_bytes_are_each_their_own(loop, pair):
    left, right = pair

    async def main():
        received = []
        for number in range(20):
            left.send(b"%02d" % number)
            received.append(await loop.sock_recv(right, 65536))
        assert received == [b"%02d" % number for number in range(20)]

    loop.run_until_complete(main())


def test_a_buffer_may_change_its_size_while_somebody_waits_to_receive(loop, pair):
    left, right = pair

    async def main():
        buffer = bytearray(4)
        receiving = await waiting(loop.sock_recv_into(right, buffer))
        buffer += bytes(4)
        left.send(b"12345678")
        assert await receiving == 8
        assert buffer == b"12345678"

    loop.run_until_complete(main())


def test_a_buffer_that_shrinks_while_somebody_waits_for_a_datagram_is_refused(loop):
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    async def main():
        buffer = bytearray(8)
        receiving = await waiting(loop.sock_recvfrom_into(right, buffer, 8))
        del buffer[4:]
        left.send(b"12345678")
        with pytest.raises(ValueError, match="nbytes is greater than the length of the buffer"):
            await receiving
        receiving = loop.sock_recvfrom_into(right, buffer)
        assert (await receiving)[0] == 4
        assert buffer == b"1234"

    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        loop.run_until_complete(main())


def test_sizes_that_cannot_be_are_refused_as_sockets_refuse_them(loop, pair):
    _, right = pair

    async def main(size):
        await loop.sock_recv(right, size)

    for size, error in [(-1, ValueError), (1 << 70, OverflowError), ("1", TypeError)]:
        with pytest.raises(error):
            loop.run_until_complete(main(size))
    with pytest.raises(MemoryError):
        loop.run_until_complete(main(1 << 62))


@pytest.mark.parametrize("method", ["add_reader", "remove_reader", "add_writer", "remove_writer"])
def test_the_descriptor_of_a_transport_is_not_given_away(loop, link, method):
    async def main():
        async with link() as pair:
            fd = pair.transport.get_extra_info("socket").fileno()
            arguments = (print,) if method.startswith("add") else ()
            with pytest.raises(RuntimeError, match="is used by transport"):
                getattr(loop, method)(fd, *arguments)

    loop.run_until_complete(main())


def test_the_descriptor_of_a_transport_written_in_python_is_not_given_away(loop):
    async def main():
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        fd = transport.get_extra_info("socket").fileno()
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(fd, print)
        transport.close()
        await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_an_overridden_check_is_obeyed(loop, monkeypatch, pair):
    calls = []
    left, right = pair

    async def main():
        receiving = await waiting(loop.sock_recv(right, 10))
        left.send(b"x")
        await receiving

    monkeypatch.setattr(loop, "_ensure_fd_no_transport", calls.append)
    loop.run_until_complete(main())
    assert right.fileno() in calls
