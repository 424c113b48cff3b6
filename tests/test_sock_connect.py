"""``sock_connect`` and ``sock_accept``."""

import asyncio
import errno
import socket

import pytest

from helpers import listening_socket


@pytest.fixture
def listener():
    with listening_socket() as sock:
        yield sock


@pytest.fixture
def client():
    with socket.socket() as sock:
        sock.setblocking(False)
        yield sock


def test_connect_and_accept(loop, listener, client):
    async def main():
        accepting = asyncio.ensure_future(loop.sock_accept(listener))
        await asyncio.sleep(0)
        assert await loop.sock_connect(client, listener.getsockname()) is None
        accepted, address = await accepting
        with accepted:
            assert type(accepted) is socket.socket
            assert accepted.gettimeout() == 0
            assert address == client.getsockname()
            await loop.sock_sendall(accepted, b"hello")
            return await loop.sock_recv(client, 100)

    assert loop.run_until_complete(main()) == b"hello"


def test_accept_takes_a_connection_that_already_waits(loop, listener, client):
    async def main():
        await loop.sock_connect(client, listener.getsockname())
        accepted, _ = await loop.sock_accept(listener)
        accepted.close()

    loop.run_until_complete(main())


def test_connect_by_name_asks_for_the_address(loop, listener, client):
    async def main():
        await loop.sock_connect(client, ("localhost", listener.getsockname()[1]))
        return client.getpeername()

    assert loop.run_until_complete(main()) == listener.getsockname()


def test_connect_over_ip_version_6(loop):
    async def main():
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
            with socket.socket(socket.AF_INET6) as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, server.getsockname()[:2])
                return sock.getpeername() == server.getsockname()

    assert loop.run_until_complete(main()) is True


def test_connect_over_unix_sockets(loop, unix_path):
    async def main():
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as sock:
            server.bind(str(unix_path))
            server.listen()
            server.setblocking(False)
            sock.setblocking(False)
            await loop.sock_connect(sock, str(unix_path))
            accepted, _ = await loop.sock_accept(server)
            with accepted:
                await loop.sock_sendall(accepted, b"over unix")
                return await loop.sock_recv(sock, 100)

    assert loop.run_until_complete(main()) == b"over unix"


def test_refused_connection_names_the_address(loop, client):
    with listening_socket() as gone:
        address = gone.getsockname()
    with pytest.raises(ConnectionRefusedError) as caught:
        loop.run_until_complete(loop.sock_connect(client, address))
    assert caught.value.errno == errno.ECONNREFUSED
    assert caught.value.strerror == f"Connect call failed {address}"


def test_unix_socket_that_is_not_there(loop, unix_path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        with pytest.raises(FileNotFoundError):
            loop.run_until_complete(loop.sock_connect(sock, str(unix_path)))


def test_cancelled_accept_takes_no_connection(loop, listener, client):
    async def main():
        accepting = asyncio.ensure_future(loop.sock_accept(listener))
        await asyncio.sleep(0)
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)
        assert accepting.cancelled()
        await loop.sock_connect(client, listener.getsockname())
        accepted, _ = await loop.sock_accept(listener)
        accepted.close()

    loop.run_until_complete(main())


def test_cancelled_connect_leaves_nothing_registered(loop, listener, client):
    async def main():
        connecting = asyncio.ensure_future(loop.sock_connect(client, listener.getsockname()))
        await asyncio.sleep(0)
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        assert loop.remove_writer(client) is False

    loop.run_until_complete(main())


def test_connect_of_a_connected_socket_is_an_error(loop, listener, client):
    client.setblocking(True)
    client.connect(listener.getsockname())
    client.setblocking(False)
    with pytest.raises(OSError) as caught:
        loop.run_until_complete(loop.sock_connect(client, listener.getsockname()))
    assert caught.value.errno == errno.EISCONN


def test_accept_on_a_socket_that_does_not_listen(loop, client):
    with pytest.raises(OSError) as caught:
        loop.run_until_complete(loop.sock_accept(client))
    assert caught.value.errno == errno.EINVAL
