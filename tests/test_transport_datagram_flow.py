"""What a datagram transport cannot send at once: order, sizes, limits, pause and resume."""

import asyncio
import collections
import contextlib
import socket
import sys

import pytest

from datagrams import Datagrams, block, endpoint, plain_socket, unix_endpoint
from helpers import LOOP_NAME

HEADER = 8 if sys.version_info >= (3, 13) else 0
# The stdlib of the first 3.13 adds the header's bytes and never takes them away (gh-135444).
pytestmark = pytest.mark.skipif(
    LOOP_NAME == "asyncio"
    and HEADER > 0
    and not hasattr(asyncio.selector_events._SelectorDatagramTransport, "_header_size"),
    reason="the running Python's buffer sizes are wrong",
)


@contextlib.asynccontextmanager
async def blocked(unix_path, protocol=Datagrams):
    """A sender whose next datagrams have to wait, and the socket that must be read before."""
    peer = unix_path.with_name("t")
    with plain_socket(peer) as sock:
        async with unix_endpoint(unix_path, peer, protocol) as sender:
            sender.left = block(sender.transport)
            yield sender, sock


def drain(sock):
    got = []
    with contextlib.suppress(BlockingIOError):
        while True:
            got.append(sock.recv(1 << 18))
    return got


async def test_what_waits_is_sent_in_order_when_there_is_room(loop, unix_path):
    async with blocked(unix_path) as (sender, sock):
        waiting = [b"%d" % number for number in range(100)]
        for data in waiting:
            sender.transport.sendto(data)
        got = []
        while len(got) < sender.left + 1 + len(waiting):
            got += drain(sock)
            await asyncio.sleep(0)
        assert got == [b"filler"] * (sender.left + 1) + waiting
        await sender_is_idle(sender)


async def sender_is_idle(sender):
    while "write=<polling" in repr(sender.transport):
        await asyncio.sleep(0)
    assert sender.transport.get_write_buffer_size() == 0
    assert sender.transport._buffer == collections.deque()


async def test_the_buffer_counts_what_waits(loop, unix_path):
    async with blocked(unix_path, Datagrams) as (sender, _):
        transport = sender.transport
        assert transport.get_write_buffer_size() == len(b"filler") + HEADER
        transport.sendto(bytearray(b"1234"))
        assert transport.get_write_buffer_size() == len(b"filler1234") + 2 * HEADER
        address = transport._address
        assert transport._buffer == collections.deque([(b"filler", address), (b"1234", address)])
        assert f"write=<polling, bufsize={10 + 2 * HEADER}>" in repr(transport)


async def test_what_waits_does_not_change_with_the_object_given(loop, unix_path):
    async with blocked(unix_path) as (sender, sock):
        data = bytearray(b"before")
        sender.transport.sendto(data)
        data[:] = b"after!"
        got = []
        while b"before" not in got:
            got += drain(sock)
            assert b"after!" not in got
            await asyncio.sleep(0)


async def test_the_protocol_pauses_above_the_high_mark_and_resumes_at_the_low_one(loop, unix_path):
    async with blocked(unix_path) as (sender, sock):
        transport = sender.transport
        transport.set_write_buffer_limits(high=1000, low=100)
        assert transport.get_write_buffer_limits() == (100, 1000)
        one = b"x" * (100 - HEADER)
        while transport.get_write_buffer_size() + 100 <= 1000:
            transport.sendto(one)
        assert "paused" not in sender.events
        transport.sendto(one)
        transport.sendto(one)
        assert sender.events == ["made", "paused"]
        while "resumed" not in sender.events:
            drain(sock)
            await asyncio.sleep(0)
        assert transport.get_write_buffer_size() <= 100
        assert sender.events == ["made", "paused", "resumed"]


async def test_lower_limits_pause_at_once(loop, unix_path):
    async with blocked(unix_path) as (sender, _):
        sender.transport.set_write_buffer_limits(high=0)
        assert sender.events == ["made", "paused"]


async def test_wrong_limits(loop, unix_path):
    async with endpoint() as made:
        assert made.transport.get_write_buffer_limits() == (16384, 65536)
        with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\)"):
            made.transport.set_write_buffer_limits(high=1, low=2)


async def test_a_protocol_that_fails_to_pause_is_reported(loop, unix_path, errors):
    class Failing(Datagrams):
        def pause_writing(self):
            raise LookupError("pause")

        def resume_writing(self):
            raise LookupError("resume")

    async with blocked(unix_path, Failing) as (sender, sock):
        sender.transport.set_write_buffer_limits(high=0)
        while sender.transport.get_write_buffer_size():
            drain(sock)
            await asyncio.sleep(0)
        await sender_is_idle(sender)
        messages = [context["message"] for context in errors.contexts]
        assert messages == ["protocol.pause_writing() failed", "protocol.resume_writing() failed"]
        assert all(context["transport"] is sender.transport for context in errors.contexts)
        errors.contexts.clear()
        assert not sender.transport.is_closing()


async def test_close_sends_what_waits_first(loop, unix_path):
    async with blocked(unix_path) as (sender, sock):
        sender.transport.sendto(b"last")
        sender.transport.close()
        assert sender.transport.is_closing()
        got = []
        while "lost" not in sender.events:
            got += drain(sock)
            await asyncio.sleep(0)
        got += drain(sock)
        assert got == [b"filler"] * (sender.left + 1) + [b"last"]
        assert sender.lost_with is None


@pytest.mark.hotloop_only
async def test_abort_after_the_end_does_nothing(loop, unix_path):
    """On asyncio it raises AttributeError, if the transport was closed while something waited."""
    async with blocked(unix_path) as (sender, sock):
        sender.transport.close()
        while "lost" not in sender.events:
            drain(sock)
            await asyncio.sleep(0)
        sender.transport.abort()
        await asyncio.sleep(0)
        assert sender.events == ["made", "lost"]


async def test_more_can_be_sent_while_a_closing_transport_sends_the_rest(loop, unix_path):
    async with blocked(unix_path) as (sender, sock):
        sender.transport.close()
        sender.transport.sendto(b"late")
        got = []
        while "lost" not in sender.events:
            got += drain(sock)
            await asyncio.sleep(0)
        assert (got + drain(sock))[-1] == b"late"


async def test_abort_drops_what_waits(loop, unix_path):
    async with blocked(unix_path) as (sender, sock):
        sender.transport.sendto(b"never sent")
        sender.transport.abort()
        assert sender.transport.get_write_buffer_size() in (0, 16 + 2 * HEADER)
        await sender.wait("lost")
        assert drain(sock) == [b"filler"] * sender.left


async def test_an_error_while_the_rest_is_sent_loses_one_datagram(loop, unix_path):
    async with blocked(unix_path) as (sender, sock):
        sndbuf = sender.transport.get_extra_info("socket").getsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF
        )
        sender.transport.sendto(b"before")
        sender.transport.sendto(bytes(sndbuf + 1))
        sender.transport.sendto(b"after")
        got = []
        while b"after" not in got:
            got += drain(sock)
            await asyncio.sleep(0)
        assert got[-2:] == [b"before", b"after"]
        assert [type(error) for error in sender.errors] == [OSError]
        await sender_is_idle(sender)


async def test_a_backlog_to_several_addresses(loop, unix_path):
    """An unconnected socket: every datagram has its own address, some of which are no address."""
    paths = [unix_path.with_name(name) for name in "abc"]
    with (
        plain_socket(paths[0]) as own,
        plain_socket(paths[1]) as one,
        plain_socket(paths[2]) as two,
    ):
        async with endpoint(sock=own) as sender:
            transport = sender.transport
            to_one, to_two = str(paths[1]), str(paths[2])
            while not transport.get_write_buffer_size():
                transport.sendto(b"filler", to_one)
            for number in range(40):
                transport.sendto(b"%d" % number, to_two if number % 2 else to_one)
            transport.sendto(b"nobody", str(unix_path))
            transport.sendto(b"end", to_two)
            got_one, got_two = [], []
            while b"end" not in got_two:
                got_one += drain(one)
                got_two += drain(two)
                await asyncio.sleep(0)
            assert [data for data in got_one if data != b"filler"] == [
                b"%d" % number for number in range(0, 40, 2)
            ]
            assert got_two == [*(b"%d" % number for number in range(1, 40, 2)), b"end"]
            assert [type(error) for error in sender.errors] == [FileNotFoundError]


async def test_an_address_that_is_none_ends_a_transport_with_a_backlog(loop, unix_path, errors):
    paths = [unix_path.with_name(name) for name in "ab"]
    with plain_socket(paths[0]) as own, plain_socket(paths[1]) as one:
        async with endpoint(sock=own) as sender:
            while not sender.transport.get_write_buffer_size():
                sender.transport.sendto(b"filler", str(paths[1]))
            sender.transport.sendto(b"data", 7)
            while "lost" not in sender.events:
                drain(one)
                await asyncio.sleep(0)
            assert isinstance(sender.lost_with, TypeError)
            # The stdlib's transport reports a second time, about its own writer.
            assert errors.contexts[0]["message"] == "Fatal write error on datagram transport"
            errors.contexts.clear()
