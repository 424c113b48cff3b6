"""asyncio's own `StreamReader` behind a transport: what is set or patched on it is obeyed at any time."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from helpers import address_of

pytestmark = pytest.mark.usefixtures("loop")


@contextlib.asynccontextmanager
async def connected_streams(reader_type=asyncio.StreamReader, limit=2**16):
    """Connects; gives reader and writer of the client, and the writer of the server."""
    loop = asyncio.get_running_loop()
    accepted = loop.create_future()

    async def serve(reader, writer):
        accepted.set_result(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader = reader_type(limit=limit, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, *address_of(server))
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    other = await accepted
    try:
        yield reader, writer, other
    finally:
        for end in (writer, other):
            end.close()
        for end in (writer, other):
            # What closed the connection is raised here; the tests look at the report of it.
            with contextlib.suppress(ConnectionError, AssertionError, BufferError):
                await end.wait_closed()
        server.close()
        await server.wait_closed()


async def exchange(reader, other, line):
    other.write(line)
    return await reader.readline()


async def test_lines_of_every_size_arrive(loop):
    async with connected_streams() as (reader, _, other):
        for size in (0, 1, 1000, 50_000):
            line = b"x" * size + b"\n"
            assert await exchange(reader, other, line) == line


async def test_a_method_of_the_class_that_is_patched_while_connected_is_called(loop, monkeypatch):
    seen = []
    async with connected_streams() as (reader, _, other):
        assert await exchange(reader, other, b"1\n") == b"1\n"
        for owner, name in [
            (asyncio.StreamReader, "feed_data"),
            (asyncio.StreamReaderProtocol, "data_received"),
        ]:
            original = getattr(owner, name)

            def patched(self, data, original=original, name=name):
                seen.append((name, bytes(data)))
                return original(self, data)

            with monkeypatch.context() as patch:
                patch.setattr(owner, name, patched)
                assert await exchange(reader, other, b"2\n") == b"2\n"
            assert await exchange(reader, other, b"3\n") == b"3\n"
    assert seen == [("feed_data", b"2\n"), ("data_received", b"2\n")]


async def test_a_method_that_is_set_on_the_object_while_connected_is_called(loop):
    seen = []
    async with connected_streams() as (reader, writer, other):
        assert await exchange(reader, other, b"1\n") == b"1\n"
        feed = reader.feed_data
        reader.feed_data = lambda data: (seen.append("feed"), feed(data))
        assert await exchange(reader, other, b"2\n") == b"2\n"
        del reader.feed_data
        wake = reader._wakeup_waiter
        reader._wakeup_waiter = lambda: (seen.append("wake"), wake())
        assert await exchange(reader, other, b"3\n") == b"3\n"
        del reader._wakeup_waiter
        protocol = writer.transport.get_protocol()
        receive = protocol.data_received
        protocol.data_received = lambda data: (seen.append("receive"), receive(data))
        assert await exchange(reader, other, b"4\n") == b"4\n"
        del protocol.data_received
        assert await exchange(reader, other, b"5\n") == b"5\n"
    assert seen == ["feed", "wake", "receive"]


async def test_a_subclass_of_the_reader_is_fed_by_its_method(loop):
    class Reader(asyncio.StreamReader):
        fed = 0

        def feed_data(self, data):
            self.fed += len(data)
            super().feed_data(data)

    async with connected_streams(Reader) as (reader, _, other):
        assert await exchange(reader, other, b"line\n") == b"line\n"
        assert reader.fed == 5


async def test_flow_control_pauses_and_resumes(loop):
    async with connected_streams(limit=100) as (reader, writer, other):
        other.write(b"z" * 1_000_000)
        while not reader._paused:
            await asyncio.sleep(0)
        assert not writer.transport.is_reading()
        assert len(await reader.readexactly(1_000_000)) == 1_000_000
        assert writer.transport.is_reading()


async def test_data_after_feed_eof_closes_the_transport_with_asyncios_report(loop, errors):
    async with connected_streams() as (reader, writer, other):
        reader.feed_eof()
        other.write(b"late")
        await errors.wait_until(lambda: errors.contexts)
        (context,) = errors.take()
        assert str(context["exception"]) == "feed_data after feed_eof"
        assert context["message"] == "Fatal error: protocol.data_received() call failed."
        assert writer.is_closing()


async def test_a_buffer_that_is_exported_is_reported_as_asyncio_reports_it(loop, errors):
    async with connected_streams() as (reader, writer, other):
        with memoryview(reader._buffer):
            other.write(b"data")
            await errors.wait_until(lambda: errors.contexts)
        (context,) = errors.take()
        assert isinstance(context["exception"], BufferError)
        assert writer.is_closing()


async def test_a_limit_that_is_no_int_is_compared_as_python_does(loop):
    async with connected_streams(limit=float("inf")) as (reader, _, other):
        other.write(b"z" * 500_000 + b"\n")
        assert len(await reader.readline()) == 500_001
