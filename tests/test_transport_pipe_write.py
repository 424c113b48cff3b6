"""Pipe transports that write: to pipes, FIFOs, sockets and terminals."""

import asyncio
import contextlib
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
async def writing(pipe, protocol=None):
    """A transport that writes to ``pipe``, and its protocol; aborted at the end."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(lambda: protocol or Recorder(), pipe)
    try:
        yield transport, protocol
    finally:
        if "lost" not in protocol.events:
            if not transport.is_closing():
                transport.abort()
            await protocol.wait("lost")


@pytest.fixture
def pipe():
    """A pipe: a non-blocking file object for reading and one for writing."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    with open(read, "rb", 0) as reader, open(write, "wb", 0) as writer:
        yield reader, writer


async def read_until(loop, reader, count):
    """Read ``count`` bytes from a non-blocking file while the loop runs."""
    data = bytearray()
    while len(data) < count:
        ready = loop.create_future()
        loop.add_reader(reader, lambda ready=ready: ready.done() or ready.set_result(None))
        await ready
        loop.remove_reader(reader)
        data += reader.read(65536) or b""
    return bytes(data)


async def test_what_is_written_arrives(loop, pipe):
    reader, writer = pipe
    async with writing(writer) as (transport, protocol):
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(b"one")
        transport.write(bytearray(b"two"))
        transport.write(memoryview(b"three"))
        transport.writelines([b"four", b"five"])
        transport.write(b"")
        assert transport.get_write_buffer_size() == 0
        assert reader.read(100) == b"onetwothreefourfive"
        transport.close()
        await protocol.wait("lost")
        assert reader.read(1) == b""
    assert writer.closed
    assert protocol.events == ["made", "lost"]
    assert protocol.error is None


async def test_a_big_write_waits_for_the_reader_and_pauses_the_protocol(loop, pipe):
    reader, writer = pipe
    data = os.urandom(1 << 20)
    async with writing(writer) as (transport, protocol):
        transport.write(data)
        assert protocol.events == ["made", "pause"]
        waiting = transport.get_write_buffer_size()
        assert 0 < waiting < len(data)
        assert transport._buffer == data[-waiting:]
        assert await read_until(loop, reader, len(data)) == data
        await protocol.wait("resume")
        assert transport.get_write_buffer_size() == 0
        assert protocol.events == ["made", "pause", "resume"]


async def test_many_pieces_keep_their_order(loop, pipe):
    reader, writer = pipe
    pieces = [os.urandom(1 + 37 * n % 5000) for n in range(200)]
    async with writing(writer) as (transport, _):
        for number, piece in enumerate(pieces):
            kinds = [bytes, bytearray, memoryview]
            transport.write(kinds[number % 3](piece))
        whole = b"".join(pieces)
        assert await read_until(loop, reader, len(whole)) == whole


async def test_what_is_queued_is_written_before_the_pipe_closes(loop, pipe):
    reader, writer = pipe
    data = os.urandom(300_000)
    async with writing(writer) as (transport, protocol):
        transport.write(data)
        transport.close()
        assert transport.is_closing()
        transport.write(b"refused")
        assert await read_until(loop, reader, len(data)) == data
        await protocol.wait("lost")
        assert reader.read(1) == b""
        assert protocol.error is None


async def test_write_eof_closes_the_pipe(loop, pipe):
    reader, writer = pipe
    async with writing(writer) as (transport, protocol):
        assert transport.can_write_eof()
        transport.write(b"last")
        transport.write_eof()
        transport.write_eof()
        await protocol.wait("lost")
    assert reader.read(10) == b"last"
    assert reader.read(10) == b""


async def test_abort_drops_what_is_queued(loop, pipe):
    reader, writer = pipe
    async with writing(writer) as (transport, protocol):
        transport.write(b"x" * 300_000)
        transport.close()
        transport.abort()
        assert transport.get_write_buffer_size() == 0
        await protocol.wait("lost")
        assert protocol.error is None
    assert len(reader.read(1 << 20)) < 300_000


async def test_a_reader_that_goes_away_is_noticed_at_once(loop, pipe):
    reader, writer = pipe
    async with writing(writer) as (_, protocol):
        reader.close()
        await protocol.wait("lost")
        assert protocol.error is None


async def test_a_reader_that_goes_away_with_data_waiting_breaks_the_pipe(loop, pipe):
    reader, writer = pipe
    async with writing(writer) as (transport, protocol):
        transport.write(b"x" * 300_000)
        reader.close()
        await protocol.wait("lost")
        assert type(protocol.error) is BrokenPipeError


async def test_a_write_into_a_broken_pipe_closes_without_a_report(loop, pipe, caplog):
    reader, writer = pipe
    async with writing(writer) as (transport, protocol):
        reader.close()
        transport.write(b"x")
        assert transport.is_closing()
        for _ in range(4):
            transport.write(b"x")
        assert not caplog.records
        transport.write(b"x")
        assert caplog.messages == ["pipe closed by peer or os.write(pipe, data) raised exception."]
        await protocol.wait("lost")
        assert type(protocol.error) is BrokenPipeError
        assert protocol.error.errno is not None
        transport.write(b"x")


async def test_a_socket_is_watched_for_its_peer(loop, pair):
    async with writing(pair[0]) as (transport, protocol):
        transport.write(b"datum")
        assert pair[1].recv(10) == b"datum"
        pair[1].shutdown(socket.SHUT_WR)
        await protocol.wait("lost")
        assert protocol.error is None


async def test_a_terminal_is_not_watched_for_input(loop):
    master, slave = pty.openpty()
    tty.setraw(slave)
    with open(slave, "wb", 0) as file:
        async with writing(file) as (transport, protocol):
            os.write(master, b"typed")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert protocol.events == ["made"]
            transport.write(b"shown")
            assert os.read(master, 10) == b"shown"
    os.close(master)


async def test_a_device_that_the_poller_refuses_can_be_written(loop):
    with open(os.devnull, "wb", 0) as file:
        async with writing(file) as (transport, protocol):
            transport.write(b"x" * 1_000_000)
            assert transport.get_write_buffer_size() == 0
            transport.close()
            await protocol.wait("lost")
            assert protocol.error is None


def test_a_file_is_refused(loop, tmp_path):
    with open(tmp_path / "file", "wb") as file:
        words = r"^Pipe transport is only for pipes, sockets and character devices$"
        with pytest.raises(ValueError, match=words):
            loop.run_until_complete(loop.connect_write_pipe(Recorder, file))
        assert not file.closed


async def test_anything_but_bytes_is_refused(loop, pipe):
    async with writing(pipe[1]) as (transport, _):
        for wrong in ("text", 5, [b"list"], None):
            with pytest.raises(AssertionError) as caught:
                transport.write(wrong)
            assert caught.value.args[0] == repr(wrong)
        with pytest.raises(TypeError):
            transport.write()


async def test_a_bytearray_may_change_after_the_write(loop, pipe):
    reader, writer = pipe
    data = bytearray(os.urandom(300_000))
    expected = bytes(data)
    async with writing(writer) as (transport, _):
        transport.write(data)
        data[:] = bytes(len(data))
        data.append(1)
        assert await read_until(loop, reader, len(expected)) == expected


async def test_the_marks_of_flow_control(loop, pipe):
    reader, writer = pipe
    async with writing(writer) as (transport, protocol):
        assert transport.get_write_buffer_limits() == (16384, 65536)
        transport.set_write_buffer_limits(high=100)
        assert transport.get_write_buffer_limits() == (25, 100)
        with pytest.raises(ValueError, match="must be >="):
            transport.set_write_buffer_limits(high=1, low=2)
        transport.set_write_buffer_limits()
        transport.write(b"x" * 65536)  # the size of a pipe, pipe(7)
        transport.write(b"x" * 1000)
        assert protocol.events == ["made"]
        transport.set_write_buffer_limits(high=10)
        assert protocol.events == ["made", "pause"]
        assert transport._protocol_paused
        await read_until(loop, reader, 66536)
        await protocol.wait("resume")
        assert not transport._protocol_paused


def test_an_exception_of_pause_writing_is_reported(loop, errors, pipe):
    _, writer = pipe

    class Raises(Recorder):
        def pause_writing(self):
            raise ZeroDivisionError

    async def main():
        async with writing(writer, Raises()) as (transport, _):
            transport.write(b"x" * 300_000)

    loop.run_until_complete(main())
    [report] = errors.take()
    assert report["message"] == "protocol.pause_writing() failed"
    assert isinstance(report["exception"], ZeroDivisionError)


@pytest.mark.hotloop_only  # asyncio calls connection_lost twice, and fails the second time
async def test_resume_writing_may_write_and_close(loop, pipe):
    reader, writer = pipe

    class Writes(Recorder):
        def resume_writing(self):
            super().resume_writing()
            self.transport.write(b"more")
            self.transport.close()

    async with writing(writer, Writes()) as (transport, protocol):
        transport.write(b"x" * 300_000)
        data = await read_until(loop, reader, 300_004)
        assert data.endswith(b"xmore")
        await protocol.wait("lost")
        assert protocol.events == ["made", "pause", "resume", "lost"]


async def test_the_transport_can_be_aborted_in_pause_writing(loop, pipe):
    _, writer = pipe

    class Aborts(Recorder):
        def pause_writing(self):
            super().pause_writing()
            self.transport.abort()

    async with writing(writer, Aborts()) as (transport, protocol):
        transport.write(b"x" * 300_000)
        await protocol.wait("lost")
        assert protocol.events == ["made", "pause", "lost"]


@pytest.mark.hotloop_only  # asyncio watches the descriptor after it was closed
async def test_the_transport_can_be_aborted_in_connection_made(loop, pipe):
    _, writer = pipe

    class Aborts(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.abort()

    async with writing(writer, Aborts()) as (_, protocol):
        await protocol.wait("lost")
        assert protocol.events == ["made", "lost"]
        assert not loop._selector.get_map()


@pytest.mark.hotloop_only  # asyncio calls connection_lost twice, and fails the second time
async def test_connection_lost_comes_once_however_often_the_transport_is_aborted(loop, pipe):
    async with writing(pipe[1]) as (transport, protocol):
        transport.abort()
        transport.abort()
        await protocol.wait("lost")
        await asyncio.sleep(0)
        transport.abort()
        await asyncio.sleep(0)
        assert protocol.events == ["made", "lost"]


async def test_information_and_private_names(loop, pipe):
    _, writer = pipe
    async with writing(writer) as (transport, protocol):
        assert transport.get_extra_info("pipe") is writer
        assert transport._pipe is writer
        assert transport._fileno == writer.fileno()
        assert transport._loop is loop
        assert transport._protocol is protocol is transport.get_protocol()
        assert not transport._closing
        assert transport._conn_lost == 0
        assert not transport._buffer
    assert (transport._pipe, transport._loop, transport._protocol) == (None, None, None)


async def test_repr_says_what_the_transport_is_doing(loop, pipe):
    _, writer = pipe
    fd = writer.fileno()
    async with writing(writer) as (transport, _):
        name = type(transport).__name__
        assert repr(transport) == f"<{name} fd={fd} idle bufsize=0>"
        transport.write(b"x" * 65537)  # one more than a pipe holds, pipe(7)
        assert repr(transport) == f"<{name} fd={fd} polling bufsize=1>"
        transport.close()
        assert repr(transport) == f"<{name} closing fd={fd} polling bufsize=1>"
        transport.abort()
    assert repr(transport) == f"<{name} closed fd={fd} closed>"


def test_a_transport_that_is_forgotten_warns_and_closes_its_pipe(loop):
    # A terminal: a pipe is watched, so the loop holds its transport.
    master, slave = pty.openpty()
    file = open(slave, "wb", 0)  # noqa: SIM115
    transport, _ = loop.run_until_complete(loop.connect_write_pipe(asyncio.BaseProtocol, file))
    gone = weakref.ref(transport)
    with pytest.warns(ResourceWarning, match=r"^unclosed transport <.* fd=\d+ idle bufsize=0>$"):
        del transport
        gc.collect()
    assert gone() is None
    assert file.closed
    os.close(master)


async def test_a_closed_transport_is_released_without_the_collector(loop, pipe):
    async with writing(pipe[1]) as (transport, protocol):
        gone = weakref.ref(transport)
        protocol.transport = None
    with collector_off():
        del transport
        await asyncio.sleep(0)
        assert gone() is None


async def test_debug_mode_logs_the_loss(loop, pipe, caplog):
    reader, writer = pipe
    loop.set_debug(True)
    loop.slow_callback_duration = 100
    with caplog.at_level(logging.DEBUG, "asyncio"):
        async with writing(writer) as (transport, protocol):
            reader.close()
            transport.write(b"x")
            await protocol.wait("lost")
    assert "Fatal write error on pipe transport" in caplog.text
    assert "BrokenPipeError" in caplog.text


async def test_streams_work_over_two_pipes(loop):
    read, write = os.pipe()
    reader = asyncio.StreamReader()
    source, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader),
        open(read, "rb", 0),  # noqa: SIM115
    )
    sink, flow = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin,
        open(write, "wb", 0),  # noqa: SIM115
    )
    writer = asyncio.StreamWriter(sink, flow, None, loop)
    sent = os.urandom(1 << 19)

    async def send():
        for start in range(0, len(sent), 9999):
            writer.write(sent[start : start + 9999])
            await writer.drain()
        sink.close()

    sending = asyncio.ensure_future(send())
    assert await reader.read() == sent
    await sending
    source.close()
    await asyncio.sleep(0)
