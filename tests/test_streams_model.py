"""hotloop's `StreamReader` against asyncio's: the same random events, step by step, with the same outcome."""

from __future__ import annotations

import asyncio
import random
import sys

import pytest

pytestmark = pytest.mark.hotloop_only

ALPHABET = b"ab\n\n;-"
LIMITS = [1, 3, 8, 40]


class Transport:
    """Records pausing and resuming."""

    def __init__(self, trace):
        self.trace = trace

    def pause_reading(self):
        self.trace.append("pause")

    def resume_reading(self):
        self.trace.append("resume")


def chunk(choice):
    return bytes(choice.choices(ALPHABET, k=choice.choice([0, 1, 2, 5, 30])))


def reading(choice):
    """A method of the reader and its arguments."""
    separators = [b"\n", b";", b"\n;", b"--", b"a\nb", b"-;-"]
    calls = [
        ("readline", ()),
        ("readuntil", ()),
        ("readuntil", (choice.choice(separators),)),
        ("read", ()),
        ("read", (choice.choice([-1, 0, 1, 7, 100]),)),
        ("readexactly", (choice.choice([0, 1, 4, 25]),)),
        ("__anext__", ()),
    ]
    if sys.version_info >= (3, 13):
        calls.append(("readuntil", (tuple(choice.sample(separators, 3)),)))
    return choice.choice(calls)


def script(seed):
    """A list of events; the end of the stream, or an error of the connection, comes late if at all."""
    choice = random.Random(seed)
    events = []
    for _ in range(60):
        kind = choice.choices(
            ["feed", "read", "cancel", "turn", "hold", "release", "feed twice"],
            [30, 30, 4, 20, 2, 4, 5],
        )[0]
        if kind == "feed":
            events.append((kind, chunk(choice)))
        elif kind == "feed twice":
            events.append((kind, chunk(choice), chunk(choice)))
        elif kind == "read":
            events.append((kind, *reading(choice)))
        else:
            events.append((kind,))
    end = choice.choice(["eof", "error", "nothing"])
    if end != "nothing":
        events.insert(choice.randrange(40, 60), (end,))
    events += [("read", *reading(choice)) for _ in range(4)]
    return choice.choice(LIMITS), events


async def outcome_of(awaitable):
    try:
        return await awaitable
    except asyncio.IncompleteReadError as error:
        return "incomplete", error.partial, error.expected, str(error)
    except asyncio.LimitOverrunError as error:
        return "overrun", error.consumed, str(error)
    except asyncio.CancelledError:
        return "cancelled"
    except Exception as error:
        context = error.__context__
        return type(error), str(error), type(context), str(context)


async def play(reader_type, limit, events):
    """What the events come to."""
    trace = []
    loop = asyncio.get_running_loop()
    reader = reader_type(limit=limit, loop=loop)
    reader.set_transport(Transport(trace))
    tasks, held, ended = [], [], False

    def feed(data):
        try:
            reader.feed_data(data)
        except AssertionError as error:
            trace.append(str(error))

    for event in events:
        match event:
            case ("feed", data):
                feed(data)
            case ("feed twice", first, second):
                feed(first)
                feed(second)
            case ("read", method, arguments):
                call = getattr(reader, method)(*arguments)
                tasks.append(asyncio.ensure_future(outcome_of(call)))
                await asyncio.sleep(0)
            case ("cancel",):
                if tasks:
                    tasks[-1].cancel()
            case ("turn",):
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            case ("hold",):
                held.append(reader._buffer)
            case ("release",):
                held.clear()
            case ("eof",):
                reader.feed_eof()
                ended = True
            case ("error",):
                reader.set_exception(LookupError("connection"))
        done = [task.result() if task.done() and not task.cancelled() else None for task in tasks]
        waits = reader._waiter is not None
        trace.append((done, reader._paused, reader.at_eof(), waits))
        if held:
            trace.append(bytes(held[-1]))
    trace.append(bytes(reader._buffer))
    if not ended:
        reader.feed_eof()
    for task in tasks:
        if reader._exception is not None:
            task.cancel()
    trace.append(await asyncio.gather(*tasks, return_exceptions=True))
    trace.append(bytes(reader._buffer))
    return [repr(entry) for entry in trace]


@pytest.mark.parametrize("block", range(10))
async def test_random_events_have_the_same_outcome_as_with_asyncio(loop, hotloop, block):
    for seed in range(block * 60, block * 60 + 60):
        limit, events = script(seed)
        expected = await play(asyncio.StreamReader, limit, events)
        found = await play(hotloop.StreamReader, limit, events)
        for number, (ours, theirs) in enumerate(zip(found, expected, strict=False)):
            assert ours == theirs, (seed, number, limit, events)
        assert len(found) == len(expected), seed


@pytest.mark.parametrize("block", range(4))
async def test_random_splits_of_the_same_bytes_give_the_same_lines(loop, hotloop, block):
    choice = random.Random(block)
    for _ in range(50):
        lines = [bytes(choice.choices(b"xyz", k=choice.choice([0, 3, 50]))) for _ in range(20)]
        data = b"\n".join(lines)
        reader = hotloop.StreamReader(limit=64, loop=loop)

        async def collect(reader=reader):
            return [line async for line in reader]

        task = asyncio.ensure_future(collect())
        while data:
            size = choice.choice([1, 2, 7, 200])
            reader.feed_data(data[:size])
            data = data[size:]
            if choice.random() < 0.5:
                await asyncio.sleep(0)
        reader.feed_eof()
        expected = b"\n".join(lines).splitlines(keepends=True)
        assert await task == expected
