"""``create_future``, ``create_task`` and the task factory."""

import asyncio
import contextvars
import gc

import pytest

from helpers import run_once

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_create_future_and_create_task(loop):
    async def work():
        return "result"

    future = loop.create_future()
    task = loop.create_task(work(), name="its name")
    assert isinstance(future, asyncio.Future) and isinstance(task, asyncio.Task)
    assert future.get_loop() is task.get_loop() is loop
    assert task.get_name() == "its name"
    assert loop.run_until_complete(task) == "result"


def test_task_factory_is_asked(loop):
    made = []

    def factory(loop, coroutine, **options):
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    assert loop.run_until_complete(asyncio.sleep(0, 1)) == 1
    assert len(made) == 1
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None
    with pytest.raises(TypeError, match="task factory must be a callable or None"):
        loop.set_task_factory(1)


def test_a_task_runs_in_the_context_that_is_given(loop):
    async def read():
        return variable.get()

    context = contextvars.copy_context()
    context.run(variable.set, "given")
    task = loop.create_task(read(), context=context)
    assert loop.run_until_complete(task) == "given"
    assert loop.run_until_complete(loop.create_task(read())) == "unset"


def test_an_exception_that_nobody_asks_for_is_reported(loop, errors):
    async def fail():
        raise ZeroDivisionError

    async def main():
        task = asyncio.ensure_future(fail())
        await asyncio.wait([task])

    loop.run_until_complete(main())
    gc.collect()
    (context,) = errors.take()
    assert context["message"] == "Task exception was never retrieved"
    assert isinstance(context["exception"], ZeroDivisionError)


def test_a_pending_task_that_is_dropped_is_reported(loop, errors):
    loop.create_task(forever(loop))
    run_once(loop)
    run_once(loop)
    gc.collect()
    (context,) = errors.take()
    assert context["message"] == "Task was destroyed but it is pending!"
    # The report brought the task back to life; it is freed for good when nobody refers to it.
    del context
    gc.collect()


async def forever(loop):
    await loop.create_future()
