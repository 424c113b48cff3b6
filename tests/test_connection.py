"""``create_connection``: names, several addresses, local addresses, failures."""

import asyncio
import errno
import socket

import pytest

from helpers import Echo, Recorder, address_of, listening_socket


async def finish(transport, protocol):
    transport.close()
    await protocol.wait("lost")


async def test_by_name_and_by_number(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    async with server:
        port = address_of(server)[1]
        for host in ("localhost", "127.0.0.1"):
            transport, protocol = await loop.create_connection(Recorder, host, port)
            transport.write(b"x")
            assert await protocol.received(1) == b"x"
            await finish(transport, protocol)


async def test_port_as_text(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    async with server:
        port = str(address_of(server)[1])
        await finish(*await loop.create_connection(Recorder, "127.0.0.1", port))


async def test_local_address_is_used(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    async with server:
        transport, protocol = await loop.create_connection(
            Recorder, *address_of(server), local_addr=("127.0.0.2", 0)
        )
        assert transport.get_extra_info("sockname")[0] == "127.0.0.2"
        await finish(transport, protocol)


async def test_a_socket_that_is_connected_already(loop):
    with listening_socket() as listener:
        sock = socket.create_connection(listener.getsockname())
        transport, protocol = await loop.create_connection(Recorder, sock=sock)
        assert transport.get_extra_info("socket").fileno() == sock.fileno()
        assert sock.gettimeout() == 0
        await finish(transport, protocol)


async def test_happy_eyeballs_fall_back_to_the_address_that_answers(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    async with server:
        transport, protocol = await loop.create_connection(
            Recorder, "localhost", address_of(server)[1], happy_eyeballs_delay=0.01
        )
        assert transport.get_extra_info("peername")[:2] == address_of(server)
        await finish(transport, protocol)


async def test_refused(loop):
    with listening_socket() as gone:
        address = gone.getsockname()
    with pytest.raises(ConnectionRefusedError) as caught:
        await loop.create_connection(Recorder, *address)
    assert caught.value.errno == errno.ECONNREFUSED
    assert f"Connect call failed {address}" in str(caught.value)


async def test_a_name_that_cannot_be_resolved(loop):
    # With this flag nobody is asked: what is no address is an error (getaddrinfo(3)).
    with pytest.raises(socket.gaierror):
        await loop.create_connection(Recorder, "localhost", 80, flags=socket.AI_NUMERICHOST)


async def test_cancelled_while_it_connects_leaves_no_socket_open(loop):
    with listening_socket() as listener:
        connecting = asyncio.ensure_future(
            loop.create_connection(Recorder, *listener.getsockname())
        )
        await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
