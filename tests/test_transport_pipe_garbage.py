"""Pipe transports that are part of garbage: cycles in every state are found, and the pipe is closed."""

import asyncio
import os
import weakref

import pytest

import helpers
from helpers import Recorder


class Pipe:
    """A file-like object without a finalizer of its own, so that the order of finalizers is ours."""

    def __init__(self, fd):
        self.fd = fd

    def fileno(self):
        return self.fd

    def close(self):
        os.close(self.fd)


def connect(loop, mode, pipe, protocol):
    method = loop.connect_read_pipe if mode == "r" else loop.connect_write_pipe
    loop.run_until_complete(method(lambda: protocol, pipe))
    return protocol.transport


@pytest.mark.parametrize("mode", ["r", "w"])
@pytest.mark.parametrize("loop_closed", [True, False])
def test_a_cycle_with_the_protocol_and_the_pipe_is_collected(loop_factory, mode, loop_closed):
    loop = loop_factory()
    fds = os.pipe()
    ours, other = fds if mode == "r" else reversed(fds)
    pipe, protocol = Pipe(ours), Recorder()
    transport = connect(loop, mode, pipe, protocol)
    pipe.transport = protocol.myself = transport
    if mode == "r":
        transport.pause_reading()
    if loop_closed or mode == "w":
        loop.close()  # the loop holds a transport that it watches
    gone = weakref.ref(transport)
    with helpers.dropped_unclosed("unclosed transport"):
        del pipe, protocol, transport
    assert gone() is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(ours)
    os.close(other)
    loop.close()


def test_a_loop_and_its_transports_are_collected_together(loop_factory):
    loop = loop_factory()
    read, write = os.pipe()
    protocols = Recorder(), Recorder()
    reader = connect(loop, "r", Pipe(read), protocols[0])
    writer = connect(loop, "w", Pipe(write), protocols[1])
    writer.write(b"x" * 300_000)
    reader._loop.attribute = writer
    gone = [weakref.ref(thing) for thing in (loop, reader, writer)]
    with helpers.dropped_unclosed("unclosed") as texts:
        del loop, reader, writer, protocols
    assert [thing() for thing in gone] == [None, None, None]
    assert len([text for text in texts if text.startswith("unclosed transport")]) == 2


async def test_ten_thousand_writes_leave_nothing_behind(loop):
    read, write = os.pipe()
    source, sink = Recorder(), Recorder()
    await loop.connect_read_pipe(lambda: source, Pipe(read))
    await loop.connect_write_pipe(lambda: sink, Pipe(write))
    for _ in range(10_000):
        sink.transport.write(b"0123456789")
    sink.transport.close()
    await source.wait("lost")
    assert bytes(source.data) == b"0123456789" * 10_000
    await sink.wait("lost")
    assert "eof" in source.events
    await asyncio.sleep(0)
