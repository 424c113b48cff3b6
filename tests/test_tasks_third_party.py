"""A task of a third party, written from asyncio's own page, on the loop; alone and in company."""

import asyncio

import pytest

from third_party import ThirdPartyTask, task_factory


def test_a_third_partys_task_runs_to_its_result(loop):
    async def work():
        assert asyncio.current_task() is task
        assert task in asyncio.all_tasks()
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        return "result"

    task = ThirdPartyTask(work(), loop=loop)
    assert task in asyncio.all_tasks(loop)
    assert loop.run_until_complete(task) == "result"
    assert not asyncio.all_tasks(loop)
    assert asyncio.current_task(loop) is None


def test_as_the_task_factory_it_carries_whole_programs(loop):
    async def fail():
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def main():
        assert type(asyncio.current_task()) is ThirdPartyTask
        assert await asyncio.gather(*(asyncio.sleep(0, i) for i in range(3))) == [0, 1, 2]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(30), 0.001)
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(30))
                group.create_task(fail())
        queue = asyncio.Queue()
        getter = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        await queue.put(1)
        assert await getter == 1

    loop.set_task_factory(task_factory)
    loop.run_until_complete(main())


def test_it_is_cancelled_while_it_waits_and_before_it_starts(loop):
    async def main():
        waiting = ThirdPartyTask(asyncio.sleep(30), loop=loop)
        await asyncio.sleep(0)
        waiting.cancel("message")
        with pytest.raises(asyncio.CancelledError):
            await waiting
        coroutine = asyncio.sleep(30)
        unstarted = ThirdPartyTask(coroutine, loop=loop)
        unstarted.cancel()
        with pytest.raises(asyncio.CancelledError):
            await unstarted
        assert waiting.cancelled() and unstarted.cancelled()

    loop.run_until_complete(main())


@pytest.mark.hotloop_only
@pytest.mark.parametrize("kinds", ["tbh", "hbt", "bth"])
def test_it_awaits_and_is_awaited_by_the_other_kinds(loop, hotloop, kinds):
    makers = {
        "t": lambda coroutine: ThirdPartyTask(coroutine, loop=loop),
        "b": lambda coroutine: asyncio.Task(coroutine, loop=loop),
        "h": lambda coroutine: hotloop.Task(coroutine, loop=loop),
    }

    async def nested(depth):
        assert asyncio.current_task() in asyncio.all_tasks()
        if depth == len(kinds):
            await asyncio.sleep(0)
            return "bottom"
        return await makers[kinds[depth]](nested(depth + 1))

    assert loop.run_until_complete(nested(0)) == "bottom"
