"""`StreamReader` without a connection: what its methods return, raise and leave, hotloop's and asyncio's."""

from __future__ import annotations

import asyncio
import collections.abc
import inspect
import sys

import pytest

from helpers import outcome

pytestmark = pytest.mark.usefixtures("loop")


class FakeTransport:
    """Counts how often it was paused and resumed."""

    def __init__(self, can_pause=True):
        self.calls = []
        self.can_pause = can_pause

    def pause_reading(self):
        if not self.can_pause:
            raise NotImplementedError
        self.calls.append("pause")

    def resume_reading(self):
        self.calls.append("resume")


@pytest.fixture
def reader(streams, loop):
    return streams.StreamReader(limit=10, loop=loop)


def finish(awaitable):
    """The result of something that must not suspend."""
    with pytest.raises(StopIteration) as end:
        awaitable.send(None)
    return end.value.value


@pytest.mark.parametrize(
    ("call", "result", "left"),
    [
        (lambda reader: reader.readline(), b"a\n", b"bc;de"),
        (lambda reader: reader.readuntil(), b"a\n", b"bc;de"),
        (lambda reader: reader.readuntil(b";"), b"a\nbc;", b"de"),
        (lambda reader: reader.readuntil(separator=b"c;"), b"a\nbc;", b"de"),
        (lambda reader: reader.readuntil(bytearray(b";")), b"a\nbc;", b"de"),
        (lambda reader: reader.read(3), b"a\nb", b"c;de"),
        (lambda reader: reader.read(n=100), b"a\nbc;de", b""),
        (lambda reader: reader.read(0), b"", b"a\nbc;de"),
        (lambda reader: reader.read(True), b"a", b"\nbc;de"),
        (lambda reader: reader.readexactly(4), b"a\nbc", b";de"),
        (lambda reader: reader.readexactly(n=7), b"a\nbc;de", b""),
        (lambda reader: reader.readexactly(0), b"", b"a\nbc;de"),
        (lambda reader: reader.__anext__(), b"a\n", b"bc;de"),
    ],
)
def test_what_is_there_is_returned_without_suspending(reader, call, result, left):
    reader.feed_data(b"a\nbc;de")
    data = finish(call(reader))
    assert type(data) is bytes and data == result
    assert reader._buffer == left


async def test_nothing_happens_before_the_await(reader):
    reader.feed_data(b"one\n")
    early, late = reader.readline(), reader.readline()
    reader.feed_data(b"two\n")
    assert await late == b"one\n"
    assert await early == b"two\n"


def test_a_call_that_is_never_awaited_gives_asyncios_warning(reader):
    with pytest.warns(RuntimeWarning, match="coroutine 'StreamReader.readline' was never awaited"):
        reader.readline()


def test_closing_a_call_that_has_not_begun_is_silent(reader):
    reader.feed_data(b"kept\n")
    call = reader.readline()
    call.close()
    call.close()
    assert reader._buffer == b"kept\n"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        call.send(None)


def test_what_the_methods_return_passes_for_a_coroutine(reader):
    call = reader.readexactly(1)
    assert asyncio.iscoroutine(call)
    assert inspect.isawaitable(call)
    assert isinstance(call, collections.abc.Coroutine)
    assert call.__name__ == "readexactly"
    assert call.__qualname__ == "StreamReader.readexactly"
    assert repr(call).startswith("<coroutine object StreamReader.readexactly at 0x")
    with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
        call.send(1)
    with pytest.raises(LookupError):
        call.throw(LookupError("thrown"))
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        call.send(None)


async def test_a_call_can_be_awaited_once(reader):
    reader.feed_data(b"data")
    call = reader.read(4)
    assert await call == b"data"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        await call


async def test_a_call_that_waits_cannot_be_awaited_by_another(reader, loop):
    call = reader.read(4)
    task = loop.create_task(call)
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="coroutine is being awaited already"):
        await call
    reader.feed_data(b"data")
    assert await task == b"data"


async def test_a_call_that_waits_can_be_closed(reader):
    call = reader.readline()
    future = call.send(None)
    assert asyncio.isfuture(future) and reader._waiter is future
    assert future._asyncio_future_blocking
    call.close()
    assert reader._waiter is None


async def test_a_call_that_waits_and_is_forgotten_waits_no_more(reader):
    call = reader.readline()
    call.send(None)
    assert reader._waiter is not None
    del call
    assert reader._waiter is None


async def test_calls_can_be_gathered_shielded_and_made_tasks(reader):
    first = asyncio.create_task(reader.readexactly(2), name="first")
    await asyncio.sleep(0)
    reader.feed_data(b"abcdef")
    assert await first == b"ab"
    assert await asyncio.gather(reader.readexactly(1), asyncio.shield(reader.readexactly(2))) == [
        b"e",
        b"cd",  # shield() has made its task first
    ]
    assert "first" in repr(first)


@pytest.mark.parametrize("name", ["readline", "readuntil", "read", "readexactly"])
async def test_a_second_call_that_would_wait_is_refused(reader, name):
    task = asyncio.ensure_future(reader.readline())
    await asyncio.sleep(0)
    arguments = (3,) if name == "readexactly" else ()
    shown = "readuntil" if name == "readline" else name
    with pytest.raises(RuntimeError, match=rf"{shown}\(\) called while another coroutine is "):
        await getattr(reader, name)(*arguments)
    reader.feed_eof()
    assert await task == b""


@pytest.mark.parametrize(
    "call",
    [
        lambda reader: reader.read("x"),
        lambda reader: reader.read(1.5),
        lambda reader: reader.read(1, 2),
        lambda reader: reader.readexactly(-1),
        lambda reader: reader.readexactly(),
        lambda reader: reader.readexactly("x"),
        lambda reader: reader.readuntil(b""),
        lambda reader: reader.readuntil("x"),
        lambda reader: reader.readuntil(None),
        lambda reader: reader.readuntil(()),
        lambda reader: reader.readuntil((b"", b"x")),
        lambda reader: reader.readuntil((b"x", "y")),
        lambda reader: reader.readline(1),
        lambda reader: reader.feed_data(),
        lambda reader: reader.feed_data(None),
        lambda reader: reader.feed_data("text"),
        lambda reader: reader.feed_data([1, 300]),
    ],
)
async def test_wrong_arguments_are_refused_in_asyncios_words(streams, loop, call):
    async def end(module):
        reader = module.StreamReader(loop=loop)
        reader.feed_data(b"something")
        try:
            result = call(reader)
            return result if result is None else await result
        except Exception as error:
            return type(error), str(error)

    assert await end(streams) == await end(asyncio)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="tuples of separators came with 3.13")
async def test_the_separator_that_ends_first_wins(reader):
    reader.feed_data(b"a--b-\r\nc")
    assert await reader.readuntil((b"\r\n", b"--")) == b"a--"
    assert await reader.readuntil((b"\r\n", b"\n")) == b"b-\r\n"
    with pytest.raises(asyncio.LimitOverrunError):
        reader.feed_data(b"c" * 20)
        await reader.readuntil((b"xyz", b"w"))


async def test_a_line_above_the_limit_is_thrown_away(reader):
    reader.feed_data(b"0123456789\nok\n")
    assert await reader.readline() == b"0123456789\n"
    reader.feed_data(b"0123456789+\nok\n")
    assert await reader.readline() == b"ok\n"
    with pytest.raises(ValueError, match="Separator is found, but chunk is longer than limit") as e:
        await reader.readline()
    assert isinstance(e.value.__context__, asyncio.LimitOverrunError)
    assert e.value.__context__.consumed == 11
    assert await reader.readline() == b"ok\n"
    reader.feed_data(b"0123456789+")
    with pytest.raises(ValueError, match="Separator is not found, and chunk exceed the limit"):
        await reader.readline()
    assert reader._buffer == b""


async def test_readuntil_above_the_limit_leaves_the_data(reader):
    reader.feed_data(b"0123456789+;")
    with pytest.raises(asyncio.LimitOverrunError) as error:
        await reader.readuntil(b";")
    assert (error.value.consumed, error.value.args) == (
        11,
        ("Separator is found, but chunk is longer than limit",),
    )
    assert await reader.readexactly(12) == b"0123456789+;"


async def test_the_transport_pauses_above_twice_the_limit_and_resumes_at_it(reader):
    transport = FakeTransport()
    reader.set_transport(transport)
    reader.feed_data(b"x" * 20)
    assert transport.calls == []
    reader.feed_data(b"y")
    assert transport.calls == ["pause"]
    reader.feed_data(b"z")
    await reader.readexactly(11)
    assert transport.calls == ["pause"] and reader._paused
    await reader.readexactly(1)
    assert transport.calls == ["pause", "resume"] and not reader._paused


async def test_waiting_for_more_than_the_limit_resumes_the_transport(reader):
    transport = FakeTransport()
    reader.set_transport(transport)
    reader.feed_data(b"x" * 21)
    task = asyncio.ensure_future(reader.readexactly(30))
    await asyncio.sleep(0)
    assert transport.calls == ["pause", "resume"]
    reader.feed_data(b"y" * 9)
    assert transport.calls == ["pause", "resume", "pause"]
    assert len(await task) == 30


async def test_a_transport_that_cannot_pause_is_asked_once(reader):
    transport = FakeTransport(can_pause=False)
    reader.set_transport(transport)
    reader.feed_data(b"x" * 21)
    assert reader._transport is None
    assert not reader._paused
    reader.feed_data(b"x" * 21)
    assert len(await reader.readexactly(42)) == 42


async def test_data_that_came_before_an_exception_is_still_delivered_to_who_waits(reader):
    task = asyncio.ensure_future(reader.readline())
    await asyncio.sleep(0)
    reader.feed_data(b"line\n")
    reader.set_exception(LookupError("later"))
    assert await task == b"line\n"
    for call in (reader.read(1), reader.readline(), reader.readexactly(0), reader.__anext__()):
        with pytest.raises(LookupError, match="later"):
            await call


async def test_the_buffer_can_be_looked_at_and_changed(reader):
    reader.feed_data(b"abc")
    buffer = reader._buffer
    assert type(buffer) is bytearray and reader._buffer is buffer
    buffer += b"def\n"
    reader.feed_data(b"g\n")
    assert buffer == b"abcdef\ng\n"
    assert await reader.readline() == b"abcdef\n"
    assert buffer == b"g\n"
    buffer.clear()
    task = asyncio.ensure_future(reader.read(5))
    await asyncio.sleep(0)
    reader.feed_data(b"h")
    assert await task == b"h"
    del buffer
    reader.feed_data(b"alone")
    assert await reader.readexactly(5) == b"alone"


async def test_feed_data_takes_what_a_bytearray_can_be_extended_by(reader):
    reader.feed_data(memoryview(b"ab"))
    reader.feed_data(bytearray(b"cd"))
    reader.feed_data([101, 102])
    reader.feed_data(data=b"g")
    reader.feed_data(b"")
    assert await reader.read(10) == b"abcdefg"
    reader.feed_eof()
    with pytest.raises(AssertionError, match="feed_data after feed_eof"):
        reader.feed_data(b"")
    assert reader.at_eof()


async def test_a_limit_may_be_any_number(streams, loop):
    reader = streams.StreamReader(limit=float("inf"), loop=loop)
    reader.set_transport(FakeTransport())
    reader.feed_data(b"x" * 1_000_000 + b"\n")
    assert len(await reader.readline()) == 1_000_001
    assert reader._limit == float("inf")
    for wrong in (0, -1):
        assert outcome(lambda wrong=wrong: streams.StreamReader(limit=wrong, loop=loop)) == (
            ValueError,
            "Limit cannot be <= 0",
        )


async def test_a_subclass_that_overrides_a_method_is_obeyed(streams, loop):
    class Upper(streams.StreamReader):
        async def readuntil(self, separator=b"\n"):
            return (await super().readuntil(separator)).upper()

    class Counting(streams.StreamReader):
        fed = 0

        def feed_data(self, data):
            self.fed += len(data)
            super().feed_data(data)

    reader = Upper(loop=loop)
    reader.feed_data(b"line\n")
    assert await reader.readline() == b"LINE\n"
    reader = Counting(loop=loop)
    protocol = streams.StreamReaderProtocol(reader, loop=loop)
    protocol.data_received(b"12345")
    assert reader.fed == 5
    assert await reader.read(9) == b"12345"


async def test_a_method_set_on_the_instance_is_obeyed(reader):
    waited = []

    async def wait_for_data(name):
        waited.append(name)
        reader.feed_data(b"line\n")

    reader._wait_for_data = wait_for_data
    assert await reader.readline() == b"line\n"
    assert waited == ["readuntil"]


async def test_repr_says_what_asyncio_says(streams, loop):
    def described(module):
        reader = module.StreamReader(limit=5, loop=loop)
        texts = [repr(reader)]
        reader.feed_data(b"abc")
        texts.append(repr(reader))
        reader.set_exception(LookupError("x"))
        reader._paused = True
        reader.feed_eof()
        texts.append(repr(reader))
        return texts

    assert described(streams) == described(asyncio)
    assert described(streams)[1] == "<StreamReader 3 bytes limit=5>"
