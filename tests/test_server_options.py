"""Each option of ``create_server`` and ``create_unix_server``, told by the sockets that come of it."""

import asyncio
import contextlib
import errno
import socket
import sys

import pytest

from helpers import Recorder, address_of


def options_of(sock, *names):
    return [bool(sock.getsockopt(level, name)) for level, name in names]


REUSE_ADDRESS = (socket.SOL_SOCKET, socket.SO_REUSEADDR)
REUSE_PORT = (socket.SOL_SOCKET, socket.SO_REUSEPORT)
KEEP_ALIVE = (socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@contextlib.asynccontextmanager
async def serving(loop, *arguments, **options):
    server = await loop.create_server(Recorder, *arguments, **options)
    try:
        yield server
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("options", "reuses_address", "reuses_port"),
    [
        ({}, True, False),
        ({"reuse_address": True}, True, False),
        ({"reuse_address": False}, False, False),
        ({"reuse_port": True}, True, True),
        ({"reuse_address": False, "reuse_port": True}, False, True),
    ],
)
async def test_addresses_and_ports_are_reused_on_request(
    loop, options, reuses_address, reuses_port
):
    async with serving(loop, "127.0.0.1", 0, **options) as server:
        [sock] = server.sockets
        assert options_of(sock, REUSE_ADDRESS, REUSE_PORT) == [reuses_address, reuses_port]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="keep_alive is new in 3.13")
@pytest.mark.parametrize("keep_alive", [None, False, True])
async def test_connections_are_kept_alive_on_request(loop, keep_alive):
    async with serving(loop, "127.0.0.1", 0, keep_alive=keep_alive) as server:
        [sock] = server.sockets
        assert options_of(sock, KEEP_ALIVE) == [bool(keep_alive)]


@pytest.mark.parametrize("backlog", [1, 7, 100, 5000])
async def test_the_backlog_is_that_of_listen(loop, monkeypatch, backlog):
    calls = []

    class Listener(socket.socket):
        def listen(self, number):
            calls.append(number)
            super().listen(number)

    with Listener() as listener:
        listener.bind(("127.0.0.1", 0))
        async with serving(loop, sock=listener, backlog=backlog):
            assert calls == [backlog]


async def test_a_server_that_does_not_start_accepts_nobody_until_it_does(loop):
    async with serving(loop, "127.0.0.1", 0, start_serving=False) as server:
        assert not server.is_serving()
        [sock] = server.sockets
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(client, sock.getsockname())
        await server.start_serving()
        assert server.is_serving()
        transport, protocol = await loop.create_connection(Recorder, *address_of(server))
        transport.abort()
        await protocol.wait("lost")


async def test_hosts_in_a_list_are_each_listened_on_once(loop):
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.1", "::1"]
    async with serving(loop, hosts, 0) as server:
        names = [sock.getsockname()[0] for sock in server.sockets]
        assert sorted(names) == ["127.0.0.1", "127.0.0.2", "::1"]


@pytest.mark.parametrize("host", [None, ""])
async def test_no_host_is_every_interface_of_both_families(loop, host):
    async with serving(loop, host, 0) as server:
        found = {sock.family: sock for sock in server.sockets}
        assert set(found) == {socket.AF_INET, socket.AF_INET6}
        # Otherwise the second of them could not have the same port.
        assert found[socket.AF_INET6].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_a_family_is_kept_to(loop, family):
    async with serving(loop, None, 0, family=family) as server:
        assert [sock.family for sock in server.sockets] == [family]


async def test_a_dual_stack_socket_serves_both_families(loop):
    listener = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    async with serving(loop, sock=listener) as server:
        port = address_of(server)[1]
        for host, peer in [("127.0.0.1", "127.0.0.1"), ("::1", "::1")]:
            transport, protocol = await loop.create_connection(Recorder, host, port)
            assert transport.get_extra_info("peername")[0] == peer
            transport.abort()
            await protocol.wait("lost")


async def test_an_address_in_use_leaves_no_socket_of_the_others(loop):
    async with serving(loop, "127.0.0.1", 0) as server:
        port = address_of(server)[1]
        with pytest.raises(OSError, match="error while attempting to bind") as caught:
            await loop.create_server(Recorder, ["127.0.0.2", "127.0.0.1"], port)
        assert caught.value.errno == errno.EADDRINUSE


async def test_sockets_of_a_closed_server_are_gone(loop):
    async with serving(loop, "127.0.0.1", 0) as server:
        address = address_of(server)
        server.close()
        assert server.sockets == ()
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *address)


@pytest.mark.parametrize("kind", ["text", "bytes"])
async def test_an_abstract_unix_name_leaves_no_file(loop, tmp_path, kind):
    name = f"\0hotloop {tmp_path}"[:100]
    path = name if kind == "text" else name.encode()
    server = await loop.create_unix_server(Recorder, path)
    assert server.sockets[0].getsockname() == name.encode()
    transport, protocol = await loop.create_unix_connection(Recorder, path)
    assert transport.get_extra_info("peername") == name.encode()
    transport.abort()
    await protocol.wait("lost")
    server.close()
    await server.wait_closed()
    assert not list(tmp_path.iterdir())


async def test_a_unix_server_can_start_later(loop, unix_path):
    server = await loop.create_unix_server(Recorder, unix_path, start_serving=False, backlog=5)
    assert not server.is_serving()
    async with server:
        await server.start_serving()
        transport, protocol = await loop.create_unix_connection(Recorder, unix_path)
        transport.abort()
        await protocol.wait("lost")
    await asyncio.sleep(0)
