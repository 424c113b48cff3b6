"""TLS on the accepting side: who makes the protocol, what a failed handshake leaves, the last bytes."""

import asyncio
import contextlib
import contextvars
import select
import socket
import ssl

import pytest

from helpers import (
    Events,
    Recorder,
    address_of,
    client_tls,
    collect,
    new_loop,
    server_tls,
)

pytestmark = pytest.mark.usefixtures("tls_engine")


class Answer(asyncio.Protocol):
    """Answers the first message and closes, in one callback."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)
        self.transport.close()


async def visit(server, message=b"hello"):
    """Be a client: one message, its answer, the end."""
    reader, writer = await asyncio.open_connection(
        *address_of(server), ssl=client_tls(), server_hostname="localhost"
    )
    writer.write(message)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.hotloop_only
async def test_the_factory_of_an_accepted_connection_runs_outside_any_task(loop):
    seen = []

    def factory():
        seen.append(asyncio.current_task())
        return Answer()

    async with await loop.create_server(factory, "127.0.0.1", 0, ssl=server_tls()) as server:
        assert await visit(server) == b"hello"
    assert seen == [None]


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # of asyncio, as without TLS
async def test_an_error_of_the_factory_closes_the_connection_and_is_not_reported(loop, errors):
    def factory():
        raise ZeroDivisionError

    async with await loop.create_server(factory, "127.0.0.1", 0, ssl=server_tls()) as server:
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await visit(server)
    collect()
    assert errors.take() == []


async def test_an_error_of_connection_made_closes_the_connection(loop, errors):
    made = Events()

    class Refusing(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = made.transport = transport
            made.note("made")
            raise ZeroDivisionError

        def connection_lost(self, exc):
            made.note(type(exc).__name__)

    async with await loop.create_server(Refusing, "127.0.0.1", 0, ssl=server_tls()) as server:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await visit(server)
        await made.wait("ZeroDivisionError")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert made.transport.is_closing()
    assert [type(context["exception"]) for context in errors.take()] == [ZeroDivisionError]


async def test_a_client_that_goes_away_in_the_handshake_leaves_nothing(loop, errors):
    made = Events()

    def factory():
        made.note("factory")
        return Recorder()

    async with await loop.create_server(factory, "127.0.0.1", 0, ssl=server_tls()) as server:
        with socket.create_connection(address_of(server)):
            await made.wait("factory")
    with contextlib.suppress(
        AttributeError
    ):  # nobody is attached any more: 3.12 and later wait for that
        await server.wait_closed()
    collect()
    assert errors.take() == []


def test_a_handshake_that_the_end_of_the_run_interrupts_ends_with_it():
    made = Events()

    def factory():
        made.note("factory")
        return Recorder()

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=server_tls())
        client = socket.create_connection(address_of(server))
        await made.wait("factory")
        server.close()
        return client

    with asyncio.Runner(loop_factory=new_loop) as runner:
        client = runner.run(main())
    with client:
        assert client.recv(1) == b""
    collect()  # a warning of something unclosed would be an error


async def test_the_context_of_the_accept_callback_reaches_the_protocol(loop):
    variable = contextvars.ContextVar("variable", default="not set")
    seen = []

    class Looking(Answer):
        def connection_made(self, transport):
            super().connection_made(transport)
            seen.append(variable.get())

        def data_received(self, data):
            seen.append(variable.get())
            super().data_received(data)

    variable.set("where serving began")
    server = await loop.create_server(Looking, "127.0.0.1", 0, ssl=server_tls())
    variable.set("later")
    async with server:
        await visit(server)
    assert seen == ["where serving began"] * 2


class Looks(Answer):
    """The same; notes whether the first bytes of the answer are on their way before `close()`."""

    def __init__(self, peer):
        self.peer = peer
        self.early = None
        self.made = Events()

    def connection_made(self, transport):
        super().connection_made(transport)
        self.made.note("made")

    def data_received(self, data):
        assert not self.has_come()
        self.transport.write(data)
        self.early = self.has_come()
        self.last_words()

    def last_words(self):
        self.transport.close()
        assert self.has_come()

    def has_come(self):
        readable, _, _ = select.select([self.peer], [], [], 0)
        return bool(readable)


class LooksAndStays(Looks):
    """The same, without an end."""

    def last_words(self):
        pass


async def look(loop, protocol_class):
    """One message to a server of that class; whether its answer was on its way before the callback's end."""
    peer = socket.socket()
    with peer:
        protocol = protocol_class(peer)
        server = await loop.create_server(
            lambda: protocol, "127.0.0.1", 0, ssl=server_tls(), backlog=1
        )
        async with server:
            peer.setblocking(False)
            await loop.sock_connect(peer, address_of(server))
            ours = Recorder()
            transport, _ = await loop.create_connection(
                lambda: ours, sock=peer.dup(), ssl=client_tls(), server_hostname="localhost"
            )
            await protocol.made.wait("made")
            while protocol.has_come():  # the session tickets
                await asyncio.sleep(0)
            transport.write(b"hello")
            assert await ours.received(5) == b"hello"
            protocol.transport.close()
            await ours.wait("lost")
    return protocol.early


@pytest.mark.hotloop_only
async def test_an_answer_waits_for_close_notify_if_the_last_connection_had_both_in_one_callback(
    loop,
):
    await look(loop, LooksAndStays)
    assert await look(loop, Looks) is True
    assert await look(loop, Looks) is False
    assert await look(loop, LooksAndStays) is False  # it left with the end of the callback
    assert await look(loop, LooksAndStays) is True
