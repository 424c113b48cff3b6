"""Datagram endpoints: exchange over UDP and Unix sockets, sizes, addresses, broadcast, ports."""

import asyncio
import random
import socket
import sys

import pytest

from datagrams import Datagrams, address_of, endpoint, plain_socket, unix_endpoint


class Echo(Datagrams):
    """Answers every datagram."""

    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        self.transport.sendto(data, addr)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("connected", [False, True])
async def test_a_question_is_answered(loop, host, connected):
    async with endpoint(Echo, local_addr=(host, 0)) as server:
        address = address_of(server)
        options = {"remote_addr": address[:2]} if connected else {"local_addr": (host, 0)}
        async with endpoint(**options) as client:
            client.transport.sendto(b"question", None if connected else address)
            assert await client.received(1) == [b"question"]
            assert client.got[0][1] == address
            assert server.got == [(b"question", address_of(client))]


async def test_an_ipv6_address_has_four_parts(loop):
    async with endpoint(local_addr=("::1", 0)) as one, endpoint(local_addr=("::1", 0)) as two:
        host, port, flow, scope = address_of(one)
        two.transport.sendto(b"two parts", (host, port))
        two.transport.sendto(b"four parts", (host, port, flow, scope))
        assert await one.received(2) == [b"two parts", b"four parts"]
        assert {address for _, address in one.got} == {address_of(two)}
        assert len(one.got[0][1]) == 4


async def test_the_scope_of_a_link_local_sender_is_its_interface(loop):
    addresses = []
    with open("/proc/net/if_inet6", encoding="ascii") as table:
        for row in map(str.split, table):
            if row[0].startswith("fe80"):
                packed = bytes.fromhex(row[0])
                addresses.append((socket.inet_ntop(socket.AF_INET6, packed), int(row[1], 16)))
    if not addresses:
        pytest.skip("no interface with a link-local address")
    host, scope = addresses[0]
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0, 0, scope))
        async with endpoint(sock=sock) as one:
            one.transport.sendto(b"to myself", address_of(one))
            await one.received(1)
            assert one.got[0][1] == address_of(one)
            assert one.got[0][1][3] == scope


@pytest.mark.parametrize("size", [0, 1, 64, 1472, 1473, 9000, 65507])
async def test_a_datagram_of_any_size_arrives_whole(loop, size):
    data = random.Random(size).randbytes(size)
    with plain_socket() as sender:
        async with endpoint() as receiver:
            sender.sendto(data, address_of(receiver))
            await receiver.received(1)
            assert receiver.got == [(data, sender.getsockname())]


async def test_a_unix_datagram_larger_than_any_of_udp_arrives_whole(loop, unix_path):
    data = random.Random(1).randbytes(150_000)
    with plain_socket(unix_path) as sock, plain_socket(f"{unix_path}2") as sender:
        async with endpoint(sock=sock) as receiver:
            sender.sendto(data, str(unix_path))
            assert await receiver.received(1) == [data]


async def test_a_unix_datagram_is_cut_to_the_size_of_a_read(loop):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 21)
        if far.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 600_000:
            pytest.skip("net.core.wmem_max is too small for such a datagram")
        near.setblocking(False)
        async with endpoint(sock=near) as receiver:
            far.send(bytes(262_144) + b"beyond")
            far.send(b"next")
            assert await receiver.received(2) == [bytes(262_144), b"next"]


async def test_empty_datagrams_are_delivered(loop):
    with plain_socket() as sender:
        async with endpoint() as receiver:
            for data in (b"", b"", b"x", b""):
                sender.sendto(data, address_of(receiver))
            assert await receiver.received(4) == [b"", b"", b"x", b""]


async def test_empty_datagrams_are_sent_from_python_3_13_on(loop):
    async with endpoint() as receiver, endpoint() as sender:
        for data in (b"", bytearray(), memoryview(b"")):
            sender.transport.sendto(data, address_of(receiver))
        sender.transport.sendto(b"end", address_of(receiver))
        expected = [b"", b"", b""] if sys.version_info >= (3, 13) else []
        assert await receiver.received(len(expected) + 1) == [*expected, b"end"]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, type("Bytes", (bytes,), {})])
async def test_anything_like_bytes_is_sent(loop, kind):
    async with endpoint() as receiver, endpoint() as sender:
        sender.transport.sendto(kind(b"data"), address_of(receiver))
        assert await receiver.received(1) == [b"data"]


@pytest.mark.parametrize("name", ["path", "abstract"])
async def test_unix_addresses(loop, unix_path, name):
    names = (
        (str(unix_path), f"{unix_path}2")
        if name == "path"
        else (b"\0hotloop-%d-a" % id(loop), b"\0hotloop-%d-b" % id(loop))
    )
    with plain_socket(names[0]) as one, plain_socket(names[1]) as two:
        async with endpoint(Echo, sock=one) as server, endpoint(sock=two) as client:
            assert address_of(server) == names[0]
            client.transport.sendto(b"data", names[0])
            await client.received(1)
            assert client.got == [(b"data", names[0])]
            assert server.got == [(b"data", names[1])]


async def test_a_unix_sender_without_a_name_is_none(loop, unix_path):
    with (
        plain_socket(unix_path) as sock,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nobody,
    ):
        async with endpoint(sock=sock) as receiver:
            nobody.sendto(b"data", str(unix_path))
            await receiver.received(1)
            assert receiver.got == [(b"data", None)]


@pytest.mark.hotloop_only
async def test_one_of_a_pair_sends_to_the_other(loop):
    """Asyncio knows a connected socket by the name of its peer, and fails; uvloop sends."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        async with endpoint(sock=near) as made:
            expected = [b"%d" % number for number in range(100)]
            for data in expected:
                made.transport.sendto(data)
            assert made.transport.get_write_buffer_size() > 0
            far.setblocking(False)
            got = [await loop.sock_recv(far, 100) for _ in expected]
            assert got == expected


async def test_a_host_name_is_looked_up_by_the_socket(loop):
    async with endpoint() as receiver, endpoint() as sender:
        sender.transport.sendto(b"data", ("localhost", address_of(receiver)[1]))
        assert await receiver.received(1) == [b"data"]


async def test_a_tuple_used_again_for_another_family_is_read_again(loop):
    with plain_socket(family=socket.AF_INET6) as sock:
        async with endpoint() as receiver, endpoint() as four, endpoint(sock=sock) as six:
            address = address_of(receiver)
            four.transport.sendto(b"1", address)
            six.transport.sendto(b"2", address)  # no address of its family
            four.transport.sendto(b"3", address)
            assert await receiver.received(2) == [b"1", b"3"]
            assert len(six.errors) == 1


async def test_many_senders_are_told_apart(loop):
    senders = [plain_socket() for _ in range(200)]
    try:
        async with endpoint() as receiver:
            for turn in range(2):
                for number, sender in enumerate(senders):
                    sender.sendto(b"%d" % number, address_of(receiver))
                    await receiver.received(turn * len(senders) + number + 1)
            names = [sender.getsockname() for sender in senders]
            assert receiver.got == [(b"%d" % number, names[number]) for number in range(200)] * 2
    finally:
        for sender in senders:
            sender.close()


async def test_broadcast_is_not_connected_and_sends_to_its_address_only(loop):
    async with endpoint() as receiver:
        address = address_of(receiver)
        async with endpoint(remote_addr=address, allow_broadcast=True) as sender:
            sock = sender.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
            assert sender.transport.get_extra_info("peername") is None
            sender.transport.sendto(b"1")
            sender.transport.sendto(b"2", address)
            with pytest.raises(ValueError, match=r"Invalid address: must be None or \('127\."):
                sender.transport.sendto(b"3", ("127.0.0.1", 9))
            assert await receiver.received(2) == [b"1", b"2"]


async def test_two_endpoints_share_a_port(loop):
    async with (
        endpoint(local_addr=("127.0.0.1", 0), reuse_port=True) as one,
        endpoint(local_addr=address_of(one), reuse_port=True) as two,
    ):
        assert address_of(one) == address_of(two)
        senders = [plain_socket() for _ in range(64)]
        try:
            for sender in senders:
                sender.sendto(b"x", address_of(one))
            for other in (one, two):
                other.note("look")
            while len(one.got) + len(two.got) < len(senders):
                await asyncio.sleep(0)
            assert one.got and two.got
        finally:
            for sender in senders:
                sender.close()


@pytest.mark.parametrize("seed", range(4))
async def test_random_exchange_over_unix_sockets_loses_nothing(loop, unix_path, seed):
    numbers = random.Random(seed)
    path, peer = unix_path, unix_path.with_name("t")
    total = 400
    sent = [numbers.randbytes(int(numbers.expovariate(1 / 2000))) + b"." for _ in range(total)]

    class Fickle(Datagrams):
        """Stops reading now and then, and goes on in a later iteration."""

        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if numbers.random() < 0.2:
                self.transport.pause_reading()
                loop.call_soon(self.transport.resume_reading)

    with plain_socket(peer) as sock:
        async with endpoint(Fickle, sock=sock) as receiver:
            async with unix_endpoint(path, peer) as sender:
                for data in sent:
                    sender.transport.sendto(data)
                    if numbers.random() < 0.1:
                        await asyncio.sleep(0)
                    if "paused" in sender.events[-1:]:
                        await sender.wait_until(lambda: sender.events[-1] != "paused")
                assert await receiver.received(total) == sent
                assert not sender.transport._buffer
                assert not sender.errors and not receiver.errors
