"""Methods that are replaced on the classes of streams, by a test or a tool, are called from then on."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from helpers import address_of


@contextlib.asynccontextmanager
async def connected(streams):
    """Reader and writer of a client, and the writer of its server."""
    accepted = asyncio.get_running_loop().create_future()

    async def serve(reader, writer):
        accepted.set_result(writer)

    server = await streams.start_server(serve, "127.0.0.1", 0)
    reader, writer = await streams.open_connection(*address_of(server))
    other = await accepted
    try:
        yield reader, writer, other
    finally:
        for end in (writer, other):
            end.close()
        for end in (writer, other):
            await end.wait_closed()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("StreamReader", "feed_data"),
        ("StreamReader", "_wakeup_waiter"),
        ("StreamReader", "readuntil"),
        ("StreamReader", "_wait_for_data"),
        ("StreamReaderProtocol", "data_received"),
        ("StreamReaderProtocol", "_drain_helper"),
    ],
)
async def test_a_method_that_is_replaced_on_the_class_is_called(
    loop, streams, monkeypatch, owner, name
):
    calls = []
    owner = getattr(streams, owner)
    original = getattr(owner, name)

    def replaced(self, *arguments):
        calls.append(name)
        return original(self, *arguments)

    async def exchange(line):
        reading = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        other.write(line)
        await other.drain()
        assert await reading == line

    async with connected(streams) as (reader, _, other):
        await exchange(b"before\n")
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, replaced)
            await exchange(b"meanwhile\n")
            assert set(calls) == {name}
        count = len(calls)
        await exchange(b"after\n")
        assert len(calls) == count
