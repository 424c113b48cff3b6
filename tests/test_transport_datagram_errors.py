"""What goes wrong on a datagram transport, and in which words it is told."""

import socket
import struct
import sys

import pytest

from datagrams import Datagrams, address_of, endpoint, plain_socket
from helpers import LOOP_NAME


@pytest.fixture
def nobody():
    """An address at which nobody listens."""
    with plain_socket() as sock:
        return sock.getsockname()


async def test_a_refused_datagram_is_an_error_of_the_protocol(loop, nobody):
    async with endpoint(remote_addr=nobody) as made:
        made.transport.sendto(b"x")
        await made.wait("error")
        assert isinstance(made.errors[0], ConnectionRefusedError)
        assert made.errors[0].errno == 111
        assert not made.transport.is_closing()
        made.transport.sendto(b"y")
        await made.wait_until(lambda: len(made.errors) == 2)


async def test_a_datagram_refused_before_the_next_one_is_an_error_of_the_protocol(loop, nobody):
    async with endpoint(remote_addr=nobody) as made:
        for _ in range(4):
            made.transport.sendto(b"x")
        assert [type(error) for error in made.errors] == [ConnectionRefusedError] * 2


async def test_a_datagram_that_is_too_long_is_an_error_of_the_protocol(loop):
    async with endpoint() as one, endpoint() as two:
        one.transport.sendto(bytes(70_000), address_of(two))
        assert one.events[-1] == "error"
        assert one.errors[0].errno == 90
        one.transport.sendto(b"short", address_of(two))
        assert await two.received(1) == [b"short"]


async def test_a_path_where_nobody_is_bound_is_an_error_of_the_protocol(loop, unix_path):
    with plain_socket(unix_path.with_name("own")) as own:
        async with endpoint(sock=own) as made:
            made.transport.sendto(b"x", str(unix_path))
            assert [type(error) for error in made.errors] == [FileNotFoundError]


async def test_an_exception_of_error_received_reaches_the_caller_of_sendto(loop):
    class Failing(Datagrams):
        def error_received(self, exc):
            raise LookupError from exc

    async with endpoint(Failing) as one:
        with pytest.raises(LookupError):
            one.transport.sendto(bytes(70_000), address_of(one))
        assert not one.transport.is_closing()


async def test_an_exception_of_error_received_while_receiving_is_reported(loop, nobody, errors):
    class Failing(Datagrams):
        def error_received(self, exc):
            super().error_received(exc)
            raise LookupError("told")

    async with endpoint(Failing, remote_addr=nobody) as made:
        made.transport.sendto(b"x")
        await made.wait("error")
        assert [str(context["exception"]) for context in errors.contexts] == ["told"]
        errors.contexts.clear()
        assert not made.transport.is_closing()


@pytest.mark.parametrize("data", ["text", 7, None, [b"x"], object])
async def test_what_is_not_like_bytes_is_a_type_error(loop, data):
    async with endpoint() as made:
        words = f"data argument must be a bytes-like object, not {type(data).__name__!r}"
        with pytest.raises(TypeError, match=f"^{words}$"):
            made.transport.sendto(data, address_of(made))
        assert not made.transport.is_closing()


async def test_sendto_needs_data_and_knows_its_arguments_by_name(loop):
    async with endpoint() as made:
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'data'"):
            made.transport.sendto()
        with pytest.raises(TypeError):
            made.transport.sendto(b"x", None, None)
        with pytest.raises(TypeError, match="unexpected keyword argument 'address'"):
            made.transport.sendto(b"x", address=address_of(made))
        made.transport.sendto(addr=address_of(made), data=b"x")
        assert await made.received(1) == [b"x"]


@pytest.mark.parametrize(
    "address",
    [None, 7, "127.0.0.1", (), ("127.0.0.1",), ("127.0.0.1", "1"), ("127.0.0.1", -1), (1, 1)],
    ids=repr,
)
async def test_an_address_that_is_none_ends_the_transport_in_the_sockets_words(
    loop, address, errors
):
    with plain_socket() as sock, pytest.raises(Exception) as expected:
        sock.sendto(b"x", address)
    async with endpoint() as made:
        made.transport.sendto(b"x", address)
        assert made.transport.is_closing()
        await made.wait("lost")
        assert type(made.lost_with) is expected.type
        assert str(made.lost_with) == str(expected.value)
        (context,) = errors.contexts
        assert context["message"] == "Fatal write error on datagram transport"
        assert context["exception"] is made.lost_with
        assert context["transport"] is made.transport and context["protocol"] is made
        errors.contexts.clear()


async def test_a_unix_socket_without_a_peer_cannot_send_to_nobody(loop, unix_path, errors):
    with plain_socket(unix_path) as sock:
        async with endpoint(sock=sock) as made:
            made.transport.sendto(b"x")
            await made.wait("lost")
            assert isinstance(made.lost_with, TypeError)
            errors.contexts.clear()


async def test_memory_that_is_not_contiguous_ends_the_transport(loop, errors):
    async with endpoint() as made:
        made.transport.sendto(memoryview(b"abcdef")[::2], address_of(made))
        await made.wait("lost")
        assert isinstance(made.lost_with, BufferError)
        errors.contexts.clear()


async def test_a_connected_transport_counts_what_is_sent_after_the_loss(loop, nobody, caplog):
    async with endpoint(remote_addr=nobody) as made:
        made.transport.abort()
        await made.wait("lost")
        for _ in range(10):
            made.transport.sendto(b"x")
        assert made.transport._conn_lost == 11
        assert [record.message for record in caplog.records] == [
            "socket.send() raised exception."
        ] * 6
        with pytest.raises(ValueError, match="Invalid address"):
            made.transport.sendto(b"x", ("127.0.0.1", 1))


async def test_a_closed_transport_without_an_address_raises(loop):
    async with endpoint() as made:
        address = address_of(made)
        made.transport.abort()
        await made.wait("lost")
        with pytest.raises(AttributeError, match="'NoneType' object has no attribute"):
            made.transport.sendto(b"x", address)


async def test_a_closing_transport_without_an_address_still_sends(loop):
    async with endpoint() as one, endpoint() as two:
        one.transport.close()
        one.transport.sendto(b"x", address_of(two))
        assert await two.received(1) == [b"x"]


async def test_a_fatal_error_of_the_system_is_not_reported(loop, errors):
    async with endpoint() as made:
        error = OSError(5, "broken")
        made.transport._fatal_error(error)
        await made.wait("lost")
        assert made.lost_with is error
        assert not errors.contexts


async def test_error_messages_of_the_network_are_received(loop, nobody):
    """With IP_RECVERR even an unconnected socket hears of what was refused (ip(7))."""
    with plain_socket() as sock:
        sock.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_RECVERR", 11), 1)
        async with endpoint(sock=sock) as made:
            made.transport.sendto(b"x", nobody)
            await made.wait("error")
            assert isinstance(made.errors[0], ConnectionRefusedError)
            drain_errors(sock)


def drain_errors(sock):
    with pytest.raises(BlockingIOError):
        while True:
            sock.recvmsg(100, 1000, socket.MSG_ERRQUEUE)


async def test_a_netlink_socket_works_as_on_asyncio(loop):
    """A family that the native transport does not know is served all the same."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0) as sock:
        sock.setblocking(False)
        sock.bind((0, 0))
        async with endpoint(sock=sock) as made:
            # RTM_GETLINK with NLM_F_REQUEST | NLM_F_DUMP (rtnetlink(7))
            made.transport.sendto(struct.pack("=IHHII4xiII", 32, 18, 0x301, 1, 0, 0, 0, 0), (0, 0))
            await made.wait("datagram")
            assert made.got[0][1] == (0, 0)
            assert struct.unpack_from("=IH", made.data[0])[1] in (2, 3, 16)


@pytest.mark.skipif(
    LOOP_NAME == "asyncio" and sys.version_info < (3, 12), reason="3.11 does not look"
)
async def test_a_descriptor_has_one_transport(loop):
    async with endpoint() as made:
        sock = made.transport._sock
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.create_datagram_endpoint(Datagrams, sock=sock)
