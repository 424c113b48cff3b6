"""A datagram transport's life: made, lost, what it tells about itself, and what it leaves behind."""

import asyncio
import contextvars
import socket
import weakref

import pytest

import helpers
from datagrams import Datagrams, address_of, endpoint, plain_socket
from helpers import new_loop, run_once

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def test_the_callbacks_come_in_order(loop):
    order = []

    class Ordered(Datagrams):
        def connection_made(self, transport):
            super().connection_made(transport)
            order.append("made")

    with plain_socket() as sock, plain_socket() as sender:
        sender.sendto(b"early", sock.getsockname())
        protocol = Ordered()
        waiter = loop.create_future()
        waiter.add_done_callback(lambda _: order.append("waiter"))
        transport = loop._make_datagram_transport(sock, protocol, None, waiter)
        assert order == []
        await protocol.received(1)
        assert order == ["made", "waiter"]
        assert protocol.events == ["made", "datagram"]
        transport.close()
        assert protocol.events == ["made", "datagram"]
        await asyncio.sleep(0)
        assert protocol.events == ["made", "datagram", "lost"]
        assert protocol.lost_with is None


async def test_close_and_abort_may_be_called_again(loop):
    async with endpoint() as made:
        for _ in range(3):
            made.transport.close()
            made.transport.abort()
        await made.wait("lost")
        made.transport.close()
        made.transport.abort()
        await asyncio.sleep(0)
        assert made.events == ["made", "lost"]


async def test_close_inside_connection_made(loop):
    class Brief(Datagrams):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.close()

    async with endpoint(Brief) as made:
        await made.wait("lost")
        assert made.events == ["made", "lost"]


async def test_what_a_transport_is(loop):
    async with endpoint() as made:
        transport = made.transport
        assert isinstance(transport, asyncio.Transport)
        assert isinstance(transport, asyncio.transports._FlowControlMixin)
        assert transport.max_size == 256 * 1024
        assert transport._loop is loop
        assert transport._protocol is transport.get_protocol() is made
        assert transport._sock.fileno() == transport._sock_fd
        assert transport._conn_lost == 0
        assert transport._address is None
        assert transport._server is None
        assert loop._transports[transport._sock_fd] is transport
        assert (transport._closing, transport._paused) == (False, False)
        assert (transport.is_closing(), transport.is_reading()) == (False, True)
        with pytest.raises(NotImplementedError):
            transport.write(b"x")
        transport.pause_reading()
        assert (transport._paused, transport.is_reading()) == (True, False)
        transport.pause_reading()
        transport.close()
        assert (transport._closing, transport.is_closing()) == (True, True)
        await made.wait("lost")
        assert transport._sock is transport._loop is transport._protocol is None


@pytest.mark.hotloop_only
async def test_a_transport_is_a_datagram_transport(loop, hotloop):
    async with endpoint() as made:
        assert isinstance(made.transport, asyncio.DatagramTransport)
        assert type(made.transport) is hotloop._core.DatagramTransport


async def test_extra_information(loop):
    async with endpoint() as one, endpoint(remote_addr=address_of(one)) as two:
        info = two.transport.get_extra_info
        sock = info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert info("socket") is sock
        assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_DGRAM)
        assert info("sockname") == sock.getsockname()
        assert info("peername") == sock.getpeername() == address_of(one)
        assert one.transport.get_extra_info("peername", "default") is None
        assert info("nothing") is None
        assert info("nothing", "default") == "default"
        assert info(name="nothing", default=1) == 1
        assert set(two.transport._extra) == {"socket", "sockname", "peername"}
        two.transport.abort()
        await two.wait("lost")
        assert info("socket").fileno() == -1
        assert info("peername") == address_of(one)


async def test_extra_information_first_asked_for_after_the_end(loop):
    async with endpoint() as made:
        made.transport.abort()
        await made.wait("lost")
        assert made.transport.get_extra_info("socket").fileno() == -1
        assert made.transport.get_extra_info("sockname")[0] == "127.0.0.1"


async def test_extra_information_that_the_caller_gives_is_the_transports_own(loop):
    given = {"peername": "somebody", "more": 1}
    with plain_socket() as sock:
        protocol = Datagrams()
        transport = loop._make_datagram_transport(sock, protocol, extra=given)
        assert transport._extra is given
        assert transport.get_extra_info("more") == 1
        assert given["sockname"] == sock.getsockname()
        assert given["peername"] == "somebody"
        transport.close()
        await protocol.wait("lost")


async def test_repr(loop):
    async with endpoint() as made:
        transport = made.transport
        name, fd = type(transport).__name__, transport._sock_fd
        await asyncio.sleep(0)
        assert repr(transport) == f"<{name} fd={fd} read=polling write=<idle, bufsize=0>>"
        transport.pause_reading()
        assert repr(transport) == f"<{name} fd={fd} read=idle write=<idle, bufsize=0>>"
        transport.close()
        assert repr(transport) == f"<{name} closing fd={fd} read=idle write=<idle, bufsize=0>>"
        await made.wait("lost")
        assert repr(transport) == f"<{name} closed fd={fd}>"


async def test_reading_happens_in_the_context_of_the_creator(loop):
    seen = []

    class Looking(Datagrams):
        def datagram_received(self, data, addr):
            seen.append(variable.get())
            super().datagram_received(data, addr)

    variable.set("creator")
    async with endpoint(Looking) as made:
        variable.set("later")
        made.transport.sendto(b"x", address_of(made))
        await made.received(1)
        made.transport.pause_reading()
        made.transport.resume_reading()
        made.transport.sendto(b"x", address_of(made))
        await made.received(2)
    assert seen == ["creator", "later"]


async def test_debug_mode_tells_of_pauses(loop, caplog):
    loop.set_debug(True)
    caplog.set_level("DEBUG", logger="asyncio")
    async with endpoint() as made:
        made.transport.pause_reading()
        made.transport.resume_reading()
        made.transport.sendto(b"x", address_of(made))
        await made.received(1)
    messages = " ".join(record.message for record in caplog.records)
    assert "pauses reading" in messages and "resumes reading" in messages


async def test_an_overridden_hook_makes_the_transport(loop_factory, loop):
    made = []

    class Loop(type(loop)):
        def _make_datagram_transport(self, sock, protocol, address=None, waiter=None, extra=None):
            transport = super()._make_datagram_transport(sock, protocol, address, waiter, extra)
            made.append(transport)
            return transport

    other = Loop()
    try:
        transport, _ = await asyncio.to_thread(
            other.run_until_complete,
            other.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0)),
        )
        assert made == [transport]
        transport.close()
        await asyncio.to_thread(run_once, other)
    finally:
        other.close()


async def test_a_socket_class_with_its_own_methods_is_obeyed(loop):
    class Counting(socket.socket):
        calls = 0

        def sendto(self, *args):
            type(self).calls += 1
            return super().sendto(*args)

    with Counting(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        async with endpoint(sock=sock) as made:
            made.transport.sendto(b"x", sock.getsockname())
            assert await made.received(1) == [b"x"]
            assert Counting.calls == 1


async def test_a_closed_transport_is_released_with_its_protocol(loop):
    transport, protocol = await loop.create_datagram_endpoint(
        Datagrams, local_addr=("127.0.0.1", 0)
    )
    transport.sendto(b"x", transport.get_extra_info("sockname"))
    await protocol.received(1)
    transport.close()
    await protocol.wait("lost")
    references = [weakref.ref(transport), weakref.ref(protocol)]
    del transport, protocol
    helpers.collect()
    assert [reference() for reference in references] == [None, None]


def test_an_unclosed_transport_warns_and_closes_its_socket():
    loop = new_loop()
    sock = plain_socket()
    loop._make_datagram_transport(sock, Datagrams())
    for _ in range(2):
        run_once(loop)
    with pytest.warns(ResourceWarning, match="unclosed transport <"):
        loop.close()
        helpers.collect()
    assert sock.fileno() == -1


def test_a_cycle_through_a_transport_with_a_backlog_is_collected(unix_path):
    loop = new_loop()
    peer = unix_path.with_name("t")
    with plain_socket(unix_path) as sock, plain_socket(peer) as far:
        sock.connect(str(peer))
        protocol = Datagrams()
        transport = loop._make_datagram_transport(sock, protocol)
        for _ in range(2):
            run_once(loop)
        while not transport.get_write_buffer_size():
            transport.sendto(b"x")
        reference = weakref.ref(protocol)
        with helpers.dropped_unclosed("unclosed transport <"):
            loop.close()
            del loop, transport, protocol
        assert reference() is None
        assert far.recv(1) == b"x"


async def test_the_socket_outlives_a_close_behind_the_transport(loop):
    with plain_socket() as sock:
        async with endpoint(sock=sock) as made:
            if type(made.transport).__module__ == "asyncio.selector_events":
                pytest.skip("the stdlib's transport fails then")
            address = sock.getsockname()
            sock.close()
            made.transport.sendto(b"x", address)
            assert await made.received(1) == [b"x"]
