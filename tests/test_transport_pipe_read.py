"""Pipe transports that read: from pipes, FIFOs, sockets and terminals."""

import asyncio
import contextlib
import contextvars
import gc
import logging
import os
import pty
import socket
import tty
import weakref

import pytest

from helpers import Recorder, collector_off


@contextlib.asynccontextmanager
async def reading(pipe, protocol=None):
    """A transport that reads from ``pipe``, and its protocol; closed at the end."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_read_pipe(lambda: protocol or Recorder(), pipe)
    try:
        yield transport, protocol
    finally:
        transport.close()
        await protocol.wait("lost")


@pytest.fixture
def pipe():
    """A pipe: a file object for reading and the descriptor for writing."""
    read, write = os.pipe()
    with open(read, "rb", 0) as reader, open(write, "wb", 0) as writer:
        yield reader, writer


async def test_what_is_written_is_received_and_the_end_is_told(loop, pipe):
    reader, writer = pipe
    async with reading(reader) as (transport, protocol):
        assert isinstance(transport, asyncio.ReadTransport)
        assert not isinstance(transport, asyncio.WriteTransport)
        writer.write(b"one")
        assert await protocol.received(3) == b"one"
        writer.write(b"two")
        assert await protocol.received(3) == b"two"
        writer.close()
        await protocol.wait("lost")
        assert protocol.events == ["made", "data", "eof", "lost"]
        assert protocol.error is None
    assert reader.closed


async def test_the_loop_is_told_of_the_connection_before_any_data(loop, pipe):
    reader, writer = pipe
    writer.write(b"early")
    async with reading(reader) as (transport, protocol):
        assert protocol.events == ["made"]
        assert await protocol.received(5) == b"early"
        assert protocol.events == ["made", "data"]
        assert transport.get_protocol() is protocol


async def test_a_fifo_can_be_read(loop, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0)  # noqa: SIM115
    writer = open(path, "wb", 0)  # noqa: SIM115
    with writer:
        async with reading(reader) as (_, protocol):
            writer.write(b"through a name")
            assert await protocol.received(14) == b"through a name"


async def test_a_socket_can_be_read(loop, pair):
    async with reading(pair[0]) as (_, protocol):
        pair[1].send(b"datum")
        assert await protocol.received(5) == b"datum"
        pair[1].shutdown(socket.SHUT_WR)
        await protocol.wait("lost")
        assert protocol.events[-2:] == ["eof", "lost"]


async def test_a_terminal_whose_other_side_is_gone_is_lost_without_a_report(loop):
    master, slave = pty.openpty()
    tty.setraw(slave)
    with open(master, "rb", 0) as file:
        async with reading(file) as (_, protocol):
            os.write(slave, b"line\n")
            assert await protocol.received(5) == b"line\n"
            os.close(slave)
            await protocol.wait("lost")
            assert isinstance(protocol.error, OSError)  # EIO, tty_ioctl(4)
            assert "eof" not in protocol.events


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_file_is_refused(loop, tmp_path, kind):
    path = tmp_path
    if kind == "file":
        path = tmp_path / "file"
        path.touch()
    fd = os.open(path, os.O_RDONLY)

    class Directory:
        def fileno(self):
            return fd

    try:
        with pytest.raises(ValueError, match=r"^Pipe transport is for pipes/sockets only\.$"):
            loop.run_until_complete(loop.connect_read_pipe(Recorder, Directory()))
        assert os.get_blocking(fd)
    finally:
        os.close(fd)


def test_a_device_that_the_poller_refuses_is_reported_and_stays_open(loop, errors):
    async def main():
        with open(os.devnull, "rb", 0) as file:
            async with reading(file) as (transport, protocol):
                await errors.wait("report")
                assert not transport.is_closing()
                assert protocol.events == ["made"]

    loop.run_until_complete(main())
    [report] = errors.take()
    assert isinstance(report["exception"], PermissionError)


async def test_reading_can_be_paused_and_resumed(loop, pipe):
    reader, writer = pipe
    async with reading(reader) as (transport, protocol):
        assert transport.is_reading()
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        writer.write(b"waits")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not protocol.data
        transport.resume_reading()
        transport.resume_reading()
        assert await protocol.received(5) == b"waits"


async def test_pausing_in_connection_made_keeps_data_away(loop, pipe):
    reader, writer = pipe
    writer.write(b"waits")

    class Pauses(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async with reading(reader, Pauses()) as (transport, protocol):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert protocol.events == ["made"]
        transport.resume_reading()
        assert await protocol.received(5) == b"waits"


async def test_data_is_not_delivered_after_close(loop, pipe):
    reader, writer = pipe
    async with reading(reader) as (transport, protocol):
        writer.write(b"too late")
        transport.close()
        assert transport.is_closing()
        assert not reader.closed, "connection_lost comes first"
        await protocol.wait("lost")
        assert protocol.events == ["made", "lost"]
    transport.close()
    transport.pause_reading()
    transport.resume_reading()


async def test_the_transport_can_be_closed_in_data_received(loop, pipe):
    reader, writer = pipe

    class Closes(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.close()

    writer.write(b"x" * 10)
    async with reading(reader, Closes()) as (_, protocol):
        await protocol.wait("lost")
        assert protocol.events == ["made", "data", "lost"]


async def test_the_transport_can_be_closed_in_eof_received(loop, pipe):
    reader, writer = pipe

    class Closes(Recorder):
        def eof_received(self):
            super().eof_received()
            self.transport.close()

    writer.close()
    async with reading(reader, Closes()) as (_, protocol):
        await protocol.wait("lost")
        await asyncio.sleep(0)
        assert protocol.events == ["made", "eof", "lost"]


def test_an_exception_of_data_received_is_reported_and_reading_goes_on(loop, errors, pipe):
    reader, writer = pipe

    class Raises(Recorder):
        def data_received(self, data):
            super().data_received(data)
            if data == b"bad":
                raise ZeroDivisionError

    async def main():
        async with reading(reader, Raises()) as (_, protocol):
            writer.write(b"bad")
            await errors.wait("report")
            protocol.data.clear()
            writer.write(b"good")
            assert await protocol.received(4) == b"good"

    loop.run_until_complete(main())
    [report] = errors.take()
    assert isinstance(report["exception"], ZeroDivisionError)
    assert report["message"].startswith("Exception in callback ")
    assert "_read_ready()" in report["message"]


def test_an_error_of_the_system_is_reported_and_closes(loop, errors, pipe):
    # Reading from a descriptor that is open for writing only.
    _, writer = pipe

    async def main():
        async with reading(writer) as (transport, protocol):
            transport._read_ready()
            await protocol.wait("lost")
            assert isinstance(protocol.error, OSError)
            return transport, protocol

    transport, protocol = loop.run_until_complete(main())
    [report] = errors.take()
    assert report["message"] == "Fatal read error on pipe transport"
    assert report["exception"] is protocol.error
    assert report["transport"] is transport and report["protocol"] is protocol


async def test_a_new_protocol_gets_what_comes_from_then_on(loop, pipe):
    reader, writer = pipe
    async with reading(reader) as (transport, first):
        writer.write(b"first")
        await first.received(5)
        second = Recorder()
        second.note("made")
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        writer.write(b"second")
        assert await second.received(6) == b"second"
        transport.close()
        await second.wait("lost")
        first.note("lost")


async def test_callbacks_run_in_the_context_in_which_the_pipe_was_connected(loop, pipe):
    reader, writer = pipe
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []

    class Looks(Recorder):
        def data_received(self, data):
            seen.append(variable.get())
            super().data_received(data)

    variable.set("connected")
    async with reading(reader, Looks()) as (_, protocol):
        variable.set("later")
        writer.write(b"x")
        await protocol.received(1)
    assert seen == ["connected"]


async def test_information_and_private_names(loop, pipe):
    reader, _ = pipe
    async with reading(reader) as (transport, protocol):
        assert transport.get_extra_info("pipe") is reader
        assert transport.get_extra_info("no such", 5) == 5
        assert transport._pipe is reader
        assert transport._fileno == reader.fileno()
        assert transport._loop is loop
        assert transport._protocol is protocol
        assert (transport._closing, transport._paused) == (False, False)
        transport.close()
        assert transport._closing
    assert (transport._pipe, transport._loop, transport._protocol) == (None, None, None)


async def test_repr_says_what_the_transport_is_doing(loop, pipe):
    reader, _ = pipe
    fd = reader.fileno()
    async with reading(reader) as (transport, _):
        name = type(transport).__name__
        assert repr(transport) == f"<{name} fd={fd} polling>"
        transport.pause_reading()
        assert repr(transport) == f"<{name} fd={fd} idle>"
        transport.close()
        assert repr(transport) == f"<{name} closing fd={fd} idle>"
    assert repr(transport) == f"<{name} closed fd={fd} closed>"


def test_a_transport_that_is_forgotten_warns_and_closes_its_pipe(loop, pipe):
    reader, _ = pipe
    transport, _ = loop.run_until_complete(loop.connect_read_pipe(asyncio.Protocol, reader))
    transport.pause_reading()
    gone = weakref.ref(transport)
    with pytest.warns(ResourceWarning, match=r"^unclosed transport <.* fd=\d+ idle>$"):
        del transport
        gc.collect()
    assert gone() is None
    assert reader.closed


async def test_a_closed_transport_is_released_without_the_collector(loop, pipe):
    reader, _ = pipe
    async with reading(reader) as (transport, protocol):
        gone = weakref.ref(transport)
        protocol.transport = None
    with collector_off():
        del transport
        await asyncio.sleep(0)
        assert gone() is None


async def test_debug_mode_logs(loop, pipe, caplog):
    reader, writer = pipe
    loop.set_debug(True)
    loop.slow_callback_duration = 100
    with caplog.at_level(logging.DEBUG, "asyncio"):
        async with reading(reader) as (transport, protocol):
            transport.pause_reading()
            transport.resume_reading()
            writer.close()
            await protocol.wait("lost")
    text = caplog.text
    for words in ("pauses reading", "resumes reading", "was closed by peer", "Read pipe"):
        assert words in text


async def test_cancelling_the_connect_closes_the_pipe(loop, pipe):
    reader, _ = pipe
    protocol = Recorder()
    task = asyncio.ensure_future(loop.connect_read_pipe(lambda: protocol, reader))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await protocol.wait("lost")
    assert reader.closed


def test_a_loop_that_is_closed_under_a_transport_closes_its_pipe(loop_factory, pipe):
    reader, _ = pipe
    loop = loop_factory()
    transport, _ = loop.run_until_complete(loop.connect_read_pipe(asyncio.Protocol, reader))
    loop.close()
    assert "open" in repr(transport)
    with pytest.warns(ResourceWarning, match=r"^unclosed transport <.* fd=\d+ open>$"):
        del transport
        gc.collect()
    assert reader.closed
