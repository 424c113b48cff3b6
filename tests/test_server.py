"""``create_server`` and the ``Server`` it gives: sockets, starting, closing, options."""

import asyncio
import contextlib
import errno
import gc
import socket
import sys

import pytest

from helpers import Echo, Recorder, address_of


async def exchange(address, data=b"question"):
    """Send ``data`` to an echo server and return the answer."""
    reader, writer = await asyncio.open_connection(*address[:2])
    writer.write(data)
    answer = await reader.readexactly(len(data))
    writer.close()
    await writer.wait_closed()
    return answer


async def test_port_zero_finds_a_free_port(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    async with server:
        assert isinstance(server, asyncio.AbstractServer)
        (sock,) = server.sockets
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert server.get_loop() is loop
        assert address_of(server)[1] > 0
        assert await exchange(address_of(server)) == b"question"
    assert server.sockets == ()
    assert not server.is_serving()


async def test_several_hosts(loop):
    server = await loop.create_server(Echo, ["127.0.0.1", "::1"], 0)
    async with server:
        families = {sock.family for sock in server.sockets}
        assert families == {socket.AF_INET, socket.AF_INET6}
        for sock in server.sockets:
            assert await exchange(sock.getsockname()) == b"question"


async def test_no_host_listens_on_every_interface(loop):
    server = await loop.create_server(Echo, None, 0, family=socket.AF_INET)
    async with server:
        assert address_of(server)[0] == "0.0.0.0"
        assert await exchange(("127.0.0.1", address_of(server)[1])) == b"question"


async def test_a_socket_that_was_made_before(loop):
    sock = socket.create_server(("127.0.0.1", 0))
    server = await loop.create_server(Echo, sock=sock)
    async with server:
        assert sock.gettimeout() == 0
        assert await exchange(sock.getsockname()) == b"question"
    assert sock.fileno() == -1


async def test_reuse_port_lets_two_servers_share_a_port(loop):
    one = await loop.create_server(Echo, "127.0.0.1", 0, reuse_port=True)
    async with one:
        two = await loop.create_server(Echo, *address_of(one), reuse_port=True)
        async with two:
            assert address_of(two) == address_of(one)


async def test_a_port_in_use_names_the_address(loop):
    one = await loop.create_server(Echo, "127.0.0.1", 0)
    async with one:
        address = address_of(one)
        with pytest.raises(OSError) as caught:
            await loop.create_server(Echo, *address)
        assert caught.value.errno == errno.EADDRINUSE
        # From 3.13 on "[errno 98] " stands between the two.
        words = f"error while attempting to bind on address {address!r}: "
        assert caught.value.strerror.startswith(words)
        assert caught.value.strerror.endswith("address already in use")


async def test_start_serving_later(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
    async with server:
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await exchange(address_of(server))
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        assert await exchange(address_of(server)) == b"question"


async def test_serve_forever_until_cancelled(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0, start_serving=False)
    serving = asyncio.ensure_future(server.serve_forever())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert server.is_serving()
    words = f"server {server!r} is already being awaited on serve_forever()"
    with pytest.raises(RuntimeError) as caught:
        await server.serve_forever()
    assert str(caught.value) == words
    assert await exchange(address_of(server)) == b"question"
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not server.is_serving()


async def test_serve_forever_of_a_closed_server_is_refused(loop):
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    server.close()
    with pytest.raises(RuntimeError, match="^server .* is closed$"):
        await server.serve_forever()
    await server.wait_closed()


async def test_close_stops_listening_and_keeps_connections(loop):
    accepted = Recorder()
    server = await loop.create_server(lambda: accepted, "127.0.0.1", 0)
    address = address_of(server)
    transport, client = await loop.create_connection(Recorder, *address)
    await accepted.wait("made")
    server.close()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        await exchange(address)
    transport.write(b"still here")
    assert await accepted.received(10) == b"still here"
    transport.close()
    await accepted.wait("lost")
    await client.wait("lost")
    await server.wait_closed()


@pytest.mark.skipif(sys.version_info < (3, 12, 1), reason="since Python 3.12.1")
async def test_wait_closed_waits_for_the_last_connection(loop):
    accepted = Recorder()
    server = await loop.create_server(lambda: accepted, "127.0.0.1", 0)
    transport, client = await loop.create_connection(Recorder, *address_of(server))
    await accepted.wait("made")
    server.close()
    waiting = asyncio.ensure_future(server.wait_closed())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    transport.close()
    await waiting
    assert "lost" in accepted.events
    await client.wait("lost")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="since Python 3.13")
@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
async def test_clients_can_be_closed_by_the_server(loop, method):
    accepted = Recorder()
    server = await loop.create_server(lambda: accepted, "127.0.0.1", 0)
    _, client = await loop.create_connection(Recorder, *address_of(server))
    await accepted.wait("made")
    server.close()
    getattr(server, method)()
    await accepted.wait("lost")
    await client.wait("lost")
    await server.wait_closed()


async def test_more_connections_than_the_backlog_are_all_served(loop):
    with contextlib.ExitStack() as opened:
        # They wait before it serves: what does not fit into a queue would come again after seconds, or a minute.
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=50))
        address = listener.getsockname()
        clients = [opened.enter_context(socket.create_connection(address)) for _ in range(20)]
        async with await loop.create_server(Echo, sock=listener, backlog=2):
            for client in clients:
                client.setblocking(False)
                await loop.sock_sendall(client, b"question")
                assert await loop.sock_recv(client, 100) == b"question"
                client.close()


def broken_factory():
    raise ZeroDivisionError("factory")


@pytest.mark.hotloop_only
async def test_a_factory_that_raises_closes_the_connection_in_silence(loop, errors):
    # The stdlib leaves the accepted socket to the garbage collector.
    server = await loop.create_server(broken_factory, "127.0.0.1", 0)
    async with server:
        _, client = await loop.create_connection(Recorder, *address_of(server))
        await client.wait("lost")
        assert errors.take() == []


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
async def test_a_factory_that_raises_is_reported_in_debug_mode(loop, errors):
    loop.set_debug(True)
    loop.slow_callback_duration = 1000.0
    server = await loop.create_server(broken_factory, "127.0.0.1", 0)
    async with server:
        _, client = await loop.create_connection(Recorder, *address_of(server))
        await errors.wait("report")
        (context,) = errors.take()
        assert context["message"] == "Error on transport creation for incoming connection"
        assert isinstance(context["exception"], ZeroDivisionError)
        assert set(context) == {"message", "exception"}
        # The stdlib leaves the accepted socket to the garbage collector.
        del context
        gc.collect()
        await client.wait("lost")


async def test_the_factory_is_called_once_for_each_connection(loop):
    made = []

    def factory():
        made.append(Echo())
        return made[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0)
    async with server:
        for _ in range(3):
            await exchange(address_of(server))
        for protocol in made:
            await protocol.wait("lost")
    assert len(made) == 3


REFUSED = {
    "nothing": ({}, ValueError),
    "host and sock": ({"host": "127.0.0.1", "port": 0, "sock": "udp"}, ValueError),
    "a datagram socket": ({"sock": "udp"}, ValueError),
    "ssl is no context": ({"host": "127.0.0.1", "port": 0, "ssl": True}, TypeError),
    "timeout without ssl": (
        {"host": "127.0.0.1", "port": 0, "ssl_handshake_timeout": 1},
        ValueError,
    ),
}


@pytest.mark.parametrize(("options", "kind"), REFUSED.values(), ids=REFUSED.keys())
async def test_wrong_options_are_refused_in_the_words_of_the_stdlib(loop, options, kind):
    def call(tried):
        with contextlib.closing(tried.create_server(Echo, **options)) as coroutine:
            coroutine.send(None)

    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        options = {name: udp if value == "udp" else value for name, value in options.items()}
        model = asyncio.SelectorEventLoop()
        try:
            with pytest.raises(kind) as expected:
                call(model)
        finally:
            model.close()
        with pytest.raises(kind) as caught:
            call(loop)
        assert str(caught.value) == str(expected.value)
