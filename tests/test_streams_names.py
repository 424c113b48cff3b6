"""The names of hotloop's streams, what their objects are, and `install(streams=True)`."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from helpers import address_of, run_child

pytestmark = pytest.mark.hotloop_only

FUNCTIONS = ["open_connection", "start_server", "open_unix_connection", "start_unix_server"]
CLASSES = ["StreamReader", "StreamWriter", "StreamReaderProtocol"]


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_is_a_subclass_of_asyncios_and_has_its_signatures(hotloop, name):
    ours, theirs = getattr(hotloop, name), getattr(asyncio, name)
    assert issubclass(ours, theirs)
    assert ours.__module__ == "hotloop._streams"
    for method in ("readline", "readuntil", "read", "readexactly", "feed_data", "write", "drain"):
        if hasattr(theirs, method):
            found = str(inspect.signature(getattr(ours, method)))
            assert found.replace("/, ", "").replace(", /", "") == str(
                inspect.signature(getattr(theirs, method))
            )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_has_asyncios_signature(hotloop, name):
    ours, theirs = getattr(hotloop, name), getattr(asyncio, name)
    assert inspect.iscoroutinefunction(ours)
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert ours.__doc__ == theirs.__doc__


@pytest.mark.parametrize("factory", ["hotloop", "asyncio"])
def test_both_ends_are_ours_on_any_loop(hotloop, factory):
    async def handler(reader, writer):
        assert type(reader) is hotloop.StreamReader
        assert type(writer) is hotloop.StreamWriter
        assert type(writer.transport.get_protocol()) is hotloop.StreamReaderProtocol
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await hotloop.start_server(handler, "127.0.0.1", 0)
        reader, writer = await hotloop.open_connection(*address_of(server))
        writer.write(b"line\n")
        assert await reader.readline() == b"line\n"
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    loops = {"hotloop": hotloop.new_event_loop, "asyncio": asyncio.SelectorEventLoop}
    with asyncio.Runner(loop_factory=loops[factory]) as runner:
        runner.run(main())


async def test_a_protocol_whose_data_received_is_replaced_is_obeyed(loop, hotloop):
    received = []

    class Watching(hotloop.StreamReaderProtocol):
        def data_received(self, data):
            received.append(data)
            super().data_received(data)

    async def serve(reader, writer):
        protocol = writer.transport.get_protocol()
        original = protocol.data_received
        protocol.data_received = lambda data: (received.append(data), original(data))
        writer.write(b"ready\n")
        assert await reader.readline() == b"to the instance\n"
        writer.close()
        await writer.wait_closed()

    server = await hotloop.start_server(serve, "127.0.0.1", 0)
    reader = hotloop.StreamReader(loop=loop)
    protocol = Watching(reader, loop=loop)
    transport, _ = await loop.create_connection(lambda: protocol, *address_of(server))
    writer = hotloop.StreamWriter(transport, protocol, reader, loop)
    assert await reader.readline() == b"ready\n"
    writer.write(b"to the instance\n")
    assert await reader.read() == b""
    assert received == [b"ready\n", b"to the instance\n"]
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_a_write_that_is_replaced_on_the_transport_is_obeyed(loop, hotloop):
    written = []

    async def serve(reader, writer):
        assert await reader.read() == b""
        writer.close()

    server = await hotloop.start_server(serve, "127.0.0.1", 0)
    _, writer = await hotloop.open_connection(*address_of(server))
    writer.transport.write = written.append
    writer.write(b"never sent")
    assert written == [b"never sent"]
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


def test_what_the_methods_return_is_no_coroutine_of_the_interpreters(loop, hotloop):
    call = hotloop.StreamReader(loop=loop).readline()
    assert asyncio.iscoroutine(call)
    assert not inspect.iscoroutine(call)
    assert not inspect.iscoroutinefunction(hotloop.StreamReader.readline)
    call.close()


def test_installing_with_streams_replaces_asyncios_functions_until_it_is_undone():
    source = """
import asyncio, warnings
before = [getattr(m, n) for m in (asyncio, asyncio.streams) for n in FUNCTIONS]
import hotloop
def install(**options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        hotloop.install(**options)
now = lambda: [getattr(m, n) for m in (asyncio, asyncio.streams) for n in FUNCTIONS]
install()
assert now() == before
install(streams=True)
install(streams=True)
assert now() == [getattr(hotloop, n) for n in FUNCTIONS] * 2
async def main():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert type(reader) is hotloop.StreamReader and type(writer) is hotloop.StreamWriter
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
asyncio.run(main())
hotloop.uninstall_streams()
hotloop.uninstall_streams()
assert now() == before
"""
    child = run_child(f"FUNCTIONS = {FUNCTIONS!r}\n{source}")
    assert (child.returncode, child.stderr) == (0, "")


def test_importing_hotloop_does_not_import_its_streams():
    child = run_child("import hotloop, sys; assert 'hotloop._streams' not in sys.modules")
    assert (child.returncode, child.stderr) == (0, "")
