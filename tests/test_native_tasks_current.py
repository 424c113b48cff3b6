"""Native tasks: code that runs between the steps of tasks sees that none of them is the current one."""

import asyncio
import contextlib
import contextvars
import sys

import pytest

pytestmark = pytest.mark.hotloop_only


@pytest.fixture(params=["asyncio", "hotloop"])
def kind(request, hotloop):
    """The class of the tasks: ours does as asyncio's."""
    return asyncio.Task if request.param == "asyncio" else hotloop.Task


class Foreign:
    """A future of somebody else, which does with its callback what ``take`` does."""

    _asyncio_future_blocking = False

    def __init__(self, loop, take):
        self.loop, self.take = loop, take

    def get_loop(self):
        return self.loop

    def __await__(self):
        self._asyncio_future_blocking = True
        yield self

    def add_done_callback(self, callback, *, context=None):
        self.take(callback)

    def result(self):
        """Nothing."""


async def steps(count=4):
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_task_that_nobody_keeps_is_left_before_its_coroutine_is_closed(loop, kind):
    seen = []

    def report(loop, context):
        seen.append((context["message"], asyncio.current_task(loop)))

    async def forgotten():
        try:
            await Foreign(loop, lambda callback: None)
        finally:
            seen.append(("closed", asyncio.current_task(loop)))

    async def main():
        others = [kind(steps(), loop=loop) for _ in range(2)]
        kind(forgotten(), loop=loop)
        await asyncio.wait([*others, kind(steps(), loop=loop)])

    loop.set_exception_handler(report)
    loop.run_until_complete(kind(main(), loop=loop))
    assert seen == [("Task was destroyed but it is pending!", None), ("closed", None)]


def test_what_a_traceback_held_is_freed_while_no_task_is_the_current_one(loop, kind, hotloop):
    seen = []

    class Noted:
        def __del__(self):
            seen.append(asyncio.current_task(loop))

    error = ZeroDivisionError()

    def raise_again():
        kept = Noted()
        raise error
        return kept

    async def wait(future):
        with pytest.raises(ZeroDivisionError):
            await future

    async def main():
        future = (asyncio.Future if kind is asyncio.Task else hotloop.Future)(loop=loop)
        waiting = kind(wait(future), loop=loop)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        future.set_exception(error)
        with contextlib.suppress(ZeroDivisionError):
            raise_again()
        await asyncio.sleep(
            0
        )  # the next step is that of `waiting`, which gets the error as it was set
        assert seen == [None]
        await waiting

    loop.run_until_complete(kind(main(), loop=loop))


class Result:
    """A value that notes, when it is freed, which task is the current one then."""

    def __init__(self, loop, seen):
        self.loop, self.seen = loop, seen

    def __del__(self):
        self.seen.append(asyncio.current_task(self.loop))


async def give(result):
    return result.pop()


def test_the_result_of_an_awaited_task_is_freed_while_no_task_is_the_current_one(loop, kind):
    seen = []

    async def main():
        await kind(give([Result(loop, seen)]), loop=loop)
        await steps()

    loop.run_until_complete(kind(main(), loop=loop))
    assert seen == [None]


@pytest.mark.parametrize("kept", ["result", "attribute", "message", "context"])
def test_what_an_awaited_future_held_is_freed_while_no_task_is_the_current_one(
    loop, kind, hotloop, kept
):
    seen = []
    variable = contextvars.ContextVar("variable")
    own = asyncio.Future if kind is asyncio.Task else hotloop.Future

    def end(future):
        value = Result(loop, seen)
        if kept == "message":
            future.cancel(value)
        elif kept == "attribute":
            future.value = value
            future.set_result(None)
        else:
            future.set_result(value)

    async def set_variable():
        variable.set(Result(loop, seen))

    def start():
        if kept == "context":
            return kind(set_variable(), loop=loop)
        future = own(loop=loop)
        loop.call_soon(end, future)
        return future

    async def main():
        with contextlib.suppress(asyncio.CancelledError):
            await start()
        await steps()

    loop.run_until_complete(kind(main(), loop=loop))
    assert seen == [None]


def test_a_replaced_method_of_the_loop_is_looked_at_while_no_task_is_the_current_one(hotloop):
    seen = []

    class Own(hotloop.EventLoop):
        pass

    class Noting:
        def __get__(self, instance, owner):
            seen.append(asyncio.current_task(loop) if instance is None else None)
            return hotloop.EventLoop.time.__get__(instance, owner)

    loop = Own()

    async def main():
        Own.time = Noting()
        await steps()

    try:
        loop.run_until_complete(hotloop.Task(main(), loop=loop))
    finally:
        loop.close()
    assert seen and set(seen) == {None}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_a_task_that_starts_eagerly_cannot_be_entered_again(loop, kind):
    refused = []

    def wake_at_once(callback):
        with pytest.raises(RuntimeError, match=r"Cannot enter into task .* while another task"):
            callback(future)
        refused.append(callback)

    future = Foreign(loop, wake_at_once)

    async def wait():
        await future

    async def main():
        task = kind(wait(), loop=loop, eager_start=True)
        (wake,) = refused
        await asyncio.sleep(0)
        assert not task.done()
        loop.call_soon(wake, future)
        await task

    loop.run_until_complete(kind(main(), loop=loop))
