"""`reader._waiter`: what a reading call waits for is the future that the loop makes."""

from __future__ import annotations

import asyncio

import pytest

pytestmark = pytest.mark.usefixtures("loop")


@pytest.fixture
def reader(streams, loop):
    return streams.StreamReader(loop=loop)


@pytest.fixture
def waiting(reader):
    """A call that waits, and the future that it waits for."""
    call = reader.readline()
    future = call.send(None)
    yield call, future
    call.close()


async def test_it_is_pending_until_data_comes(reader, waiting, loop):
    _, future = waiting
    assert asyncio.isfuture(future) and reader._waiter is future
    assert future.get_loop() is loop
    assert not future.done() and not future.cancelled()
    for ask in (future.result, future.exception):
        with pytest.raises(asyncio.InvalidStateError):
            ask()
    assert "pending" in repr(future)
    reader.feed_data(b"x")
    assert future.done() and future.result() is None and future.exception() is None
    assert "finished" in repr(future)
    assert not future.cancel()
    with pytest.raises(asyncio.InvalidStateError):
        future.set_result(None)


async def test_a_cancellation_reaches_the_reading_task_with_its_message(reader):
    task = asyncio.ensure_future(reader.readline())
    await asyncio.sleep(0)
    future = reader._waiter
    task.cancel("enough")
    assert future.cancelled() and "cancelled" in repr(future)
    reader.feed_data(b"line\n")  # too late for this task, and kept for the next call
    with pytest.raises(asyncio.CancelledError) as end:
        await task
    assert end.value.args == ("enough",)
    with pytest.raises(asyncio.CancelledError):
        future.result()
    assert await reader.readline() == b"line\n"


async def test_an_exception_set_on_it_is_raised_by_the_call(reader):
    task = asyncio.ensure_future(reader.read(1))
    await asyncio.sleep(0)
    future = reader._waiter
    future.set_exception(LookupError("set"))
    assert isinstance(future.exception(), LookupError)
    with pytest.raises(LookupError, match="set"):
        await task
    assert reader._waiter is None


async def test_it_can_be_awaited_by_others(reader):
    task = asyncio.ensure_future(reader.readline())
    await asyncio.sleep(0)

    async def watch(future):
        return await future

    watcher = asyncio.ensure_future(watch(reader._waiter))
    await asyncio.sleep(0)
    reader.feed_data(b"line\n")
    assert await task == b"line\n"
    assert await watcher is None


async def test_a_python_written_task_can_wait_for_it(reader, loop):
    task = asyncio.tasks._PyTask(reader.readline(), loop=loop)
    await asyncio.sleep(0)
    reader.feed_data(b"line\n")
    assert await task == b"line\n"
    task = asyncio.tasks._PyTask(reader.readline(), loop=loop)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_wait_ends_when_the_task_was_cancelled_before_it_began(reader):
    task = asyncio.ensure_future(reader.readline())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert reader._waiter is None


@pytest.mark.hotloop_only
def test_an_overridden_create_future_makes_what_readers_wait_for(hotloop):
    made = []

    class Loop(hotloop.EventLoop):
        def create_future(self):
            made.append(super().create_future())
            return made[-1]

    async def main():
        reader = hotloop.StreamReader()
        task = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        assert reader._waiter is made[-1]
        reader.feed_data(b"line\n")
        assert await task == b"line\n"

    hotloop.run(main(), loop_factory=Loop)
