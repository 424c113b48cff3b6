"""Protocols that raise, and connections that break."""

import asyncio

import pytest

from helpers import Events, Recorder, listening_socket


class Failing(Recorder):
    """Raises in the callbacks that are named."""

    where: str = ""

    def check(self, name):
        if name == self.where:
            self.note(f"raised in {name}")
            raise ZeroDivisionError(name)

    def connection_made(self, transport):
        super().connection_made(transport)
        self.check("connection_made")

    def data_received(self, data):
        super().data_received(data)
        self.check("data_received")

    def eof_received(self):
        super().eof_received()
        self.check("eof_received")

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.check("connection_lost")


class FailingBuffered(Events, asyncio.BufferedProtocol):
    """A buffered protocol whose callbacks do what the test says."""

    def __init__(self, get_buffer=lambda: bytearray(10), buffer_updated=lambda: None):
        super().__init__()
        self.do_get_buffer, self.do_buffer_updated = get_buffer, buffer_updated
        self.error = None

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def get_buffer(self, sizehint):
        return self.do_get_buffer()

    def buffer_updated(self, nbytes):
        self.do_buffer_updated()

    def connection_lost(self, exc):
        self.error = exc
        self.note("lost")


def failing(name):
    return type("FailingHere", (Failing,), {"where": name})


def check_fatal(context, end, message, kind=ZeroDivisionError):
    """Check the report of a fatal error: its exact keys, its words and its objects."""
    assert set(context) == {"message", "exception", "transport", "protocol"}
    assert context["message"] == message
    assert type(context["exception"]) is kind
    assert context["exception"] is end.error
    assert context["transport"] is end.transport
    assert context["protocol"] is end


@pytest.mark.parametrize("name", ["data_received", "eof_received"])
async def test_a_reading_callback_that_raises_is_fatal(loop, errors, link, name):
    async with link(theirs=failing(name)) as pair:
        pair.transport.write(b"x")
        pair.transport.write_eof()
        await pair.theirs.wait("lost")
        await pair.ours.wait("lost")
        (context,) = errors.take()
        check_fatal(context, pair.theirs, f"Fatal error: protocol.{name}() call failed.")
        assert pair.theirs.events.count("lost") == 1


async def test_connection_made_that_raises_is_reported(loop, errors, link):
    async with link(theirs=failing("connection_made")) as pair:
        pair.transport.write(b"x")
        await pair.theirs.wait("data")
        (context,) = errors.take()
        assert context["message"].startswith("Exception in callback ")
        assert "connection_made" in context["message"]
        assert isinstance(context["exception"], ZeroDivisionError)


async def test_connection_lost_that_raises_is_reported_and_the_socket_closed(loop, errors, link):
    async with link(theirs=failing("connection_lost")) as pair:
        pair.transport.close()
        await pair.theirs.wait("lost")
        await asyncio.sleep(0)
        (context,) = errors.take()
        assert context["message"].startswith("Exception in callback ")
        assert isinstance(context["exception"], ZeroDivisionError)
        assert pair.theirs.transport.get_extra_info("socket").fileno() == -1


def divide():
    return 1 / 0


@pytest.mark.parametrize("name", ["get_buffer", "buffer_updated"])
async def test_a_buffered_callback_that_raises_is_fatal(loop, errors, link, name):
    async with link(theirs=lambda: FailingBuffered(**{name: divide})) as pair:
        pair.transport.write(b"x")
        await pair.theirs.wait("lost")
        (context,) = errors.take()
        check_fatal(context, pair.theirs, f"Fatal error: protocol.{name}() call failed.")


async def test_an_empty_buffer_is_fatal(loop, errors, link):
    async with link(theirs=lambda: FailingBuffered(get_buffer=bytearray)) as pair:
        pair.transport.write(b"x")
        await pair.theirs.wait("lost")
        (context,) = errors.take()
        message = "Fatal error: protocol.get_buffer() call failed."
        check_fatal(context, pair.theirs, message, RuntimeError)
        assert str(context["exception"]) == "get_buffer() returned an empty buffer"


@pytest.mark.parametrize("bad", [b"constant", None, 1, "text"])
async def test_a_buffer_that_cannot_be_written_to_is_fatal(loop, errors, link, bad):
    async with link(theirs=lambda: FailingBuffered(get_buffer=lambda: bad)) as pair:
        pair.transport.write(b"x")
        await pair.theirs.wait("lost")
        (context,) = errors.take()
        assert isinstance(context["exception"], TypeError)
        assert pair.theirs.error is context["exception"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_leaving_exceptions_leave_the_loop_from_data_received(loop, link, kind):
    class Leaving(Recorder):
        def data_received(self, data):
            super().data_received(data)
            raise kind

    manager = link(theirs=Leaving)
    pair = loop.run_until_complete(manager.__aenter__())
    pair.transport.write(b"x")
    with pytest.raises(kind):
        loop.run_forever()
    assert pair.theirs.events == ["made", "data"]
    pair.transport.abort()
    loop.run_until_complete(manager.__aexit__(None, None, None))


async def test_a_reset_by_the_peer_reaches_connection_lost(loop, errors):
    with listening_socket() as listener:
        transport, protocol = await loop.create_connection(Recorder, *listener.getsockname())
        accepted, _ = await loop.sock_accept(listener)
        transport.write(b"unread")
        # Closing with unread data makes TCP send a reset (RFC 2525, section 2.17).
        accepted.close()
        await protocol.wait("lost")
    assert isinstance(protocol.error, ConnectionResetError)
    assert protocol.events == ["made", "lost"]
    assert errors.take() == []


async def test_a_broken_pipe_reaches_connection_lost_without_a_report(loop, errors, pair):
    left, right = pair
    transport, protocol = await loop.create_unix_connection(Recorder, sock=left.dup())
    transport.pause_reading()
    right.close()
    transport.write(b"x")
    await protocol.wait("lost")
    assert isinstance(protocol.error, BrokenPipeError)
    assert errors.take() == []


async def test_waiters_of_streams_see_the_exception(loop):
    async def serve(reader, writer):
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
