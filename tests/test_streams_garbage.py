"""Streams leave nothing behind: not when they end, not when they are dropped while something waits."""

from __future__ import annotations

import asyncio
import sys
import tracemalloc
import weakref

import pytest

import helpers
from helpers import address_of, run_once


class Node:
    """Something to hang references on."""


def collected(reference):
    helpers.collect()
    return reference() is None


async def test_a_reader_goes_when_its_connection_is_closed(loop, streams):
    seen = []

    async def handler(reader, writer):
        seen.append(weakref.ref(reader))
        writer.write(await reader.readline())
        writer.close()
        await writer.wait_closed()

    server = await streams.start_server(handler, "127.0.0.1", 0)
    reader, writer = await streams.open_connection(*address_of(server))
    seen += [weakref.ref(reader), weakref.ref(writer), weakref.ref(writer._protocol)]
    writer.write(b"line\n")
    assert await reader.readline() == b"line\n"
    assert await reader.readline() == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    del reader, writer, server
    await asyncio.sleep(0)
    assert all(collected(reference) for reference in seen)


@pytest.mark.parametrize("begun", [False, True])
def test_a_call_in_a_cycle_with_its_reader_is_collected(loop, streams, begun):
    reader = streams.StreamReader(loop=loop)
    reader.call = reader.readline()
    reader.node = Node()
    reference = weakref.ref(reader.node)
    if begun:
        reader.call.send(None)
    else:
        reader.call.close()
    del reader
    assert collected(reference)


def test_a_reader_in_a_cycle_with_what_it_holds_is_collected(loop, streams):
    reader = streams.StreamReader(loop=loop)
    transport = Node()
    transport.reader = reader
    reader.set_transport(transport)
    error = LookupError()
    error.reader = reader
    reader.set_exception(error)
    reference = weakref.ref(transport)
    del reader, transport, error
    assert collected(reference)


def test_a_waiting_call_whose_loop_has_gone_is_dropped_in_silence(loop_factory, streams):
    loop = loop_factory()
    reader = streams.StreamReader(loop=loop)
    task = loop.create_task(reader.readline())
    run_once(loop)
    task._log_destroy_pending = False
    loop.close()
    reference = weakref.ref(reader)
    del reader, task, loop
    assert collected(reference)


async def test_thousands_of_lines_leave_no_memory_behind(loop, streams):
    reader = streams.StreamReader(loop=loop)
    protocol = streams.StreamReaderProtocol(reader, loop=loop)

    async def exchange(count):
        for _ in range(count):
            waiting = asyncio.ensure_future(reader.readline())
            await asyncio.sleep(0)
            protocol.data_received(b"x" * 100)
            protocol.data_received(b"\n")
            assert len(await waiting) == 101
            reader.feed_data(b"there\n")
            await reader.readline()

    await exchange(100)
    helpers.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        await exchange(2000)
        helpers.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 20_000  # one object forgotten per line would be over 60 000


async def test_references_are_balanced_when_calls_end_in_every_way(loop, streams):
    reader = streams.StreamReader(limit=4, loop=loop)
    counted = [reader, None, b"\n"]

    async def rounds(count):
        for _ in range(count):
            reader.feed_data(b"a\nlonger than it may be\n")
            assert await reader.readline() == b"a\n"
            with pytest.raises(ValueError):
                await reader.readline()
            task = asyncio.ensure_future(reader.readexactly(3))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            reader.readline().close()
            task = None

    await rounds(10)
    helpers.collect()
    before = [sys.getrefcount(thing) for thing in counted]
    await rounds(200)
    helpers.collect()
    after = [sys.getrefcount(thing) for thing in counted]
    assert all(abs(one - other) < 50 for one, other in zip(after, before, strict=True))
