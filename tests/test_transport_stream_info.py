"""What a stream transport says about itself: extra information, type, repr."""

import asyncio
import socket

import pytest

from helpers import connected

TransportSocket = asyncio.trsock.TransportSocket


async def test_is_an_asyncio_transport(loop, link):
    async with link() as pair:
        for end in (pair.ours, pair.theirs):
            assert isinstance(end.transport, asyncio.Transport)
            assert isinstance(end.transport, asyncio.ReadTransport)
            assert isinstance(end.transport, asyncio.WriteTransport)


async def test_extra_information_of_tcp(loop):
    async with connected() as pair:
        ours, theirs = pair.transport, pair.theirs.transport
        sock = ours.get_extra_info("socket")
        assert type(sock) is TransportSocket
        assert sock.family == socket.AF_INET and sock.type == socket.SOCK_STREAM
        assert sock.gettimeout() == 0
        assert ours.get_extra_info("sockname") == sock.getsockname()
        assert ours.get_extra_info("peername") == sock.getpeername()
        assert ours.get_extra_info("peername") == theirs.get_extra_info("sockname")
        assert theirs.get_extra_info("peername") == ours.get_extra_info("sockname")
        assert type(theirs.get_extra_info("socket")) is TransportSocket


async def test_extra_information_of_unix_sockets(loop, unix_path):
    async with connected("unix", path=unix_path) as pair:
        assert pair.transport.get_extra_info("peername") == str(unix_path)
        assert pair.theirs.transport.get_extra_info("sockname") == str(unix_path)
        assert pair.theirs.transport.get_extra_info("peername") == ""
        assert pair.transport.get_extra_info("socket").family == socket.AF_UNIX


async def test_extra_information_of_ip_version_6(loop):
    async with connected(host="::1") as pair:
        address = pair.server.sockets[0].getsockname()
        assert pair.transport.get_extra_info("peername") == address
        assert pair.theirs.transport.get_extra_info("sockname") == address
        assert len(pair.transport.get_extra_info("sockname")) == 4


@pytest.mark.parametrize("name", ["sslcontext", "ssl_object", "peercert", "cipher", "no such"])
async def test_names_that_are_not_there_give_the_default(loop, link, name):
    async with link() as pair:
        assert pair.transport.get_extra_info(name) is None
        assert pair.transport.get_extra_info(name, "default") == "default"


async def test_socket_options_can_be_set_through_the_transport_socket(loop):
    async with connected() as pair:
        sock = pair.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0


async def test_accepted_sockets_do_not_delay_small_writes(loop):
    async with connected() as pair:
        sock = pair.theirs.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


async def test_addresses_stay_known_after_the_end(loop):
    async with connected() as pair:
        before = {name: pair.transport.get_extra_info(name) for name in ("sockname", "peername")}
        pair.transport.close()
        await pair.ours.wait("lost")
        await asyncio.sleep(0)
        after = {name: pair.transport.get_extra_info(name) for name in ("sockname", "peername")}
        assert before == after and all(before.values())


async def test_repr_says_what_the_transport_does(loop, link):
    async with link() as pair:
        transport = pair.transport
        head = f"<{type(transport).__name__}"
        number = transport.get_extra_info("socket").fileno()
        idle = "write=<idle, bufsize=0>>"
        assert repr(transport) == f"{head} fd={number} read=polling {idle}"
        transport.pause_reading()
        assert repr(transport) == f"{head} fd={number} read=idle {idle}"
        transport.resume_reading()
        pair.theirs.transport.pause_reading()
        transport.write(bytes(8 << 20))
        size = transport.get_write_buffer_size()
        busy = f"write=<polling, bufsize={size}>>"
        assert repr(transport) == f"{head} fd={number} read=polling {busy}"
        transport.close()
        assert repr(transport) == f"{head} closing fd={number} read=idle {busy}"
        transport.abort()
        await pair.ours.wait("lost")
        await asyncio.sleep(0)
        assert repr(transport) == f"{head} closed fd={number}>"


async def test_private_fields_that_older_libraries_read(loop):
    async with connected() as pair:
        transport = pair.transport
        assert transport._loop is loop
        assert transport._protocol is pair.ours
        assert transport._closing is False
        assert transport._sock.fileno() == transport.get_extra_info("socket").fileno()
        assert transport._extra["peername"] == transport.get_extra_info("peername")
        assert transport._start_tls_compatible is True
        assert transport._sendfile_compatible is asyncio.constants._SendfileMode.TRY_NATIVE
        transport.close()
        assert transport._closing is True


async def test_force_close_gives_the_exception_to_the_protocol(loop, link):
    async with link() as pair:
        reason = OSError("reason")
        pair.transport._force_close(reason)
        await pair.ours.wait("lost")
        assert pair.ours.error is reason


async def test_abstract_unix_address(loop):
    # unix(7): a name that begins with a zero byte is not a file.
    name = f"\0hotloop-test-{id(loop)}"
    async with connected("unix", path=name) as pair:
        assert pair.transport.get_extra_info("peername") == name.encode()
        pair.transport.write(b"abstract")
        assert await pair.theirs.received(8) == b"abstract"
