"""Tasks and futures made, cancelled and dropped in every state: nothing stays behind.

What is counted is what the garbage collector sees and how often shared objects are referred to;
both must be the same after a hundred rounds as after ten.
"""

import asyncio
import contextlib
import gc
import sys

import pytest

import helpers

pytestmark = pytest.mark.hotloop_only


class Failure(Exception):
    pass


async def finish():
    return SHARED


async def fail_after(steps):
    for _ in range(steps):
        await asyncio.sleep(0)
    raise Failure


async def swallow():
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        await asyncio.sleep(0)
        raise Failure from None


async def wait_for(future):
    try:
        return await future
    finally:
        with contextlib.suppress(Failure):
            raise Failure


SHARED = object()


async def round_of_everything(loop, hotloop, kinds):
    """Every state that a task or a future can be dropped in."""
    for make in kinds:
        await make(finish(), loop=loop)
        for steps in range(3):
            with contextlib.suppress(Failure):
                await make(fail_after(steps), loop=loop)
        cancelled = [make(fail_after(5), loop=loop), make(swallow(), loop=loop)]
        unstarted = make(asyncio.sleep(0), loop=loop)
        unstarted.cancel("message")
        await asyncio.sleep(0)
        for task in cancelled:
            task.cancel(SHARED)
        await asyncio.gather(*cancelled, unstarted, return_exceptions=True)
        waiting = [hotloop.Future(loop=loop) for _ in range(5)]
        tasks = [make(wait_for(future), loop=loop) for future in waiting for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].set_result(SHARED)
        waiting[1].set_exception(Failure())
        waiting[2].cancel(SHARED)
        tasks[6].cancel()
        await asyncio.sleep(0)
        waiting[3].cancel()
        waiting[4].set_exception(Failure)
        await asyncio.gather(*tasks, return_exceptions=True)
        dropped = hotloop.Future(loop=loop)
        dropped.add_done_callback(print)
        dropped.own = dropped
        unfinished = make(wait_for(dropped), loop=loop)
        unfinished._log_destroy_pending = False
        await asyncio.sleep(0)
        del dropped, unfinished
        iterator = iter(hotloop.Future(loop=loop))
        next(iterator)
        with contextlib.suppress(Failure):
            iterator.throw(Failure())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hotloop.Future(loop=loop), 0)


def measure(hotloop):
    helpers.collect()
    kinds = (hotloop.Task, hotloop.Future)
    alive = sum(isinstance(thing, kinds) for thing in gc.get_objects())
    counts = [sys.getrefcount(thing) for thing in (SHARED, Failure, *kinds)]
    return alive, counts, len(gc.get_objects())


@pytest.mark.parametrize("native", [False, True])
def test_rounds_of_everything_leave_nothing_behind(hotloop, native):
    loop = hotloop.EventLoop(native_tasks=native)
    subclass = type("Sub", (hotloop.Task,), {})

    async def rounds(count):
        for _ in range(count):
            await round_of_everything(loop, hotloop, (hotloop.Task, subclass, asyncio.Task))

    loop.run_until_complete(rounds(10))
    before = measure(hotloop)
    loop.run_until_complete(rounds(100))
    after = measure(hotloop)
    assert after[0] <= before[0]
    # Free lists of the interpreter and of ours may hold a few types' references more or less.
    assert all(abs(now - then) < 100 for now, then in zip(after[1], before[1], strict=True))
    assert abs(after[2] - before[2]) < 100
    loop.close()


@pytest.mark.slow
def test_memory_stays_flat_over_two_hundred_thousand_tasks(hotloop):
    loop = hotloop.EventLoop(native_tasks=True)

    async def main(count):
        for _ in range(count):
            future = loop.create_future()
            task = loop.create_task(wait_for(future))
            loop.call_soon(future.set_result, SHARED)
            await task

    loop.run_until_complete(main(1000))
    helpers.collect()
    before = _blocks()
    for _ in range(20):
        loop.run_until_complete(main(10_000))
    helpers.collect()
    assert _blocks() - before < 1000
    loop.close()


@pytest.mark.slow
def test_tasks_may_be_dropped_by_the_collector_in_the_middle_of_a_step(hotloop):
    loop = hotloop.EventLoop(native_tasks=True)

    async def main():
        for _ in range(100):
            future = loop.create_future()
            task = loop.create_task(wait_for(future))
            task._log_destroy_pending = False
            await asyncio.sleep(0)
            future.own, task.own = task, future
            del future, task
            helpers.collect()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    loop.run_until_complete(main())
    loop.close()


def _blocks():
    return sys.getallocatedblocks()
