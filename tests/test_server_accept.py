"""How servers and ``sock_accept`` take connections."""

import asyncio
import contextlib
import itertools
import socket

import pytest

from helpers import Recorder, address_of, listening_socket


class Counter(asyncio.Protocol):
    """Counts connections, and keeps their transports."""

    def __init__(self, transports):
        self.transports = transports

    def connection_made(self, transport):
        self.transports.append(transport)


@contextlib.contextmanager
def waiting_clients(address, count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address)) for _ in range(count)]


async def closed(server, transports):
    server.close()
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await server.wait_closed()


@pytest.mark.hotloop_only
def test_a_flood_of_connections_does_not_keep_others_from_their_turn(loop):
    async def main():
        taken = []

        def factory():
            taken.append(1)
            return Counter(transports)

        transports = []
        server = await loop.create_server(factory, "127.0.0.1", 0, backlog=1000)
        with waiting_clients(address_of(server), 300):
            turns = [0]
            while len(taken) < 300:
                await asyncio.sleep(0)
                turns.append(len(taken))
            assert max(after - before for before, after in itertools.pairwise(turns)) <= 64
            # Not one at a time either: a flood is met with growing batches.
            assert len(turns) < 30
            while len(transports) < 300:
                await asyncio.sleep(0)
            await closed(server, transports)

    loop.run_until_complete(main())


@pytest.mark.parametrize("backlog", [1, 2, 100])
def test_all_waiting_connections_are_taken_whatever_the_backlog(loop, backlog):
    async def main():
        transports = []
        server = await loop.create_server(
            lambda: Counter(transports), "127.0.0.1", 0, backlog=backlog
        )
        for _ in range(3):
            with waiting_clients(address_of(server), min(backlog, 20)):
                while len(transports) < min(backlog, 20):
                    await asyncio.sleep(0)
            for transport in transports:
                transport.abort()
            transports.clear()
        await closed(server, transports)

    loop.run_until_complete(main())


def test_a_number_that_a_closed_listening_socket_left_to_another_is_not_accepted_from(loop, errors):
    async def main():
        made, opened = [], []
        with listening_socket() as first:
            server = await loop.create_server(lambda: made.append(1) or Recorder(), sock=first)
            number = first.fileno()
            with contextlib.ExitStack() as stack:
                stack.enter_context(socket.create_connection(first.getsockname()))
                # In one iteration: this callback, then the event that the connection waits.
                loop.call_soon(swap, first, opened, stack)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                [second] = opened
                assert second.fileno() == number
                accepted, _ = second.accept()  # still there for its owner
                accepted.close()
            assert made == []
            errors.take()  # asyncio reports the closed descriptor
            with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
                server.close()

    def swap(first, opened, stack):
        first.close()
        second = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        stack.enter_context(socket.create_connection(second.getsockname()))
        opened.append(second)

    loop.run_until_complete(main())


def test_an_accepted_socket_is_like_that_of_the_listener(loop):
    async def main():
        with listening_socket() as listener:
            with socket.create_connection(listener.getsockname()):
                accepted, _ = await loop.sock_accept(listener)
                with accepted:
                    return (
                        type(accepted),
                        accepted.family,
                        accepted.type,
                        accepted.proto == listener.proto,
                        accepted.gettimeout(),
                        accepted.getblocking(),
                        accepted.get_inheritable(),
                    )

    assert loop.run_until_complete(main()) == (
        socket.socket,
        socket.AF_INET,
        socket.SOCK_STREAM,
        True,
        0.0,
        False,
        False,
    )


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def test_unix_sockets_of_both_kinds_are_accepted(loop, unix_path, kind):
    async def main():
        with socket.socket(socket.AF_UNIX, kind) as listener:
            with socket.socket(socket.AF_UNIX, kind) as client:
                listener.bind(str(unix_path))
                listener.listen()
                listener.setblocking(False)
                client.connect(str(unix_path))
                accepted, _ = await loop.sock_accept(listener)
                with accepted:
                    return accepted.family, accepted.type, accepted.proto

    assert loop.run_until_complete(main()) == (socket.AF_UNIX, kind, 0)


@pytest.mark.parametrize("waits", [True, False])
def test_what_a_subclass_accepts_is_made_non_blocking(loop, waits):
    class Listener(socket.socket):
        pass

    async def main():
        with Listener() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            if waits:
                await asyncio.sleep(0)
            with socket.create_connection(listener.getsockname()):
                accepted, _ = await accepting
                with accepted:
                    return accepted.gettimeout()

    assert loop.run_until_complete(main()) == 0


def test_the_socket_of_an_accepted_transport_is_non_blocking(loop):
    async def main():
        transports = []
        server = await loop.create_server(lambda: Counter(transports), "127.0.0.1", 0)
        with waiting_clients(address_of(server), 1):
            while not transports:
                await asyncio.sleep(0)
            sock = transports[0].get_extra_info("socket")
            seen = sock.family, sock.type, sock.gettimeout()
            nodelay = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            await closed(server, transports)
        return seen, nodelay

    assert loop.run_until_complete(main()) == ((socket.AF_INET, socket.SOCK_STREAM, 0.0), 1)


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_connect_accepted_socket(loop, unix_path, family):
    async def main():
        if family == "tcp":
            listener = listening_socket()
        else:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(unix_path))
            listener.listen()
        with listener:
            with socket.socket(listener.family) as client:
                client.connect(listener.getsockname())
                accepted, _ = listener.accept()
            transport, protocol = await loop.connect_accepted_socket(Recorder, accepted)
            await protocol.wait("lost")
            assert protocol.events == ["made", "eof", "lost"]
            assert transport.get_extra_info("sockname") == listener.getsockname()

    loop.run_until_complete(main())


def test_connect_accepted_socket_refuses_datagram_sockets_and_options_without_tls(loop):
    async def main():
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            with pytest.raises(ValueError, match="A Stream Socket was expected"):
                await loop.connect_accepted_socket(Recorder, sock)
        with socket.socket() as sock:
            with pytest.raises(ValueError, match="only meaningful with ssl"):
                await loop.connect_accepted_socket(Recorder, sock, ssl_handshake_timeout=1)

    loop.run_until_complete(main())
