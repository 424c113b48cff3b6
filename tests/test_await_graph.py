"""The await graph of Python 3.14: asyncio's introspection sees our tasks, among themselves and with asyncio's."""

import asyncio
import inspect
import io
import sys
import weakref

import pytest

import helpers
from helpers import run_child

pytestmark = [
    pytest.mark.hotloop_only,
    pytest.mark.skipif(sys.version_info < (3, 14), reason="since 3.14"),
]


@pytest.fixture(params=["ours", "asyncio's"])
def inner(request, hotloop):
    """The class of the task that is waited for."""
    return hotloop.Task if request.param == "ours" else asyncio.Task


@pytest.fixture(params=["ours", "asyncio's"])
def outer(request, hotloop):
    """The class of the task that waits."""
    return hotloop.Task if request.param == "ours" else asyncio.Task


async def wait_for_task(task):
    await task


async def wait_with_gather(task):
    await asyncio.gather(task)


async def wait_with_wait(task):
    await asyncio.wait([task])


async def wait_with_shield(task):
    await asyncio.shield(task)


async def wait_with_timeout(task):
    await asyncio.wait_for(task, 1000)


@pytest.mark.parametrize(
    "wait", [wait_for_task, wait_with_gather, wait_with_wait, wait_with_shield, wait_with_timeout]
)
def test_the_graph_of_a_task_has_who_waits_for_it(loop, inner, outer, wait):
    seen = []

    async def work(gate):
        await gate

    def look():
        seen.append(asyncio.capture_call_graph(child))
        gate.set_result(None)

    gate = loop.create_future()
    child = inner(work(gate), loop=loop)
    parent = outer(wait(child), loop=loop)
    loop.call_soon(loop.call_soon, look)  # both tasks have begun by then
    loop.run_until_complete(parent)
    (graph,) = seen
    assert graph.future is child
    assert [entry.frame.f_code.co_name for entry in graph.call_stack] == ["work"]
    assert [waiting.future for waiting in graph.awaited_by] == [parent]
    assert asyncio.capture_call_graph(child).awaited_by == ()


def test_the_graph_of_the_current_task_goes_up_to_the_root(loop, hotloop):
    printed = io.StringIO()

    async def leaf():
        asyncio.print_call_graph(file=printed)

    async def branch():
        async with asyncio.TaskGroup() as group:
            group.create_task(leaf(), name="leaf")

    async def root():
        await asyncio.get_running_loop().create_task(branch(), name="branch")

    loop.set_task_factory(hotloop.task_factory)
    loop.run_until_complete(loop.create_task(root(), name="root"))
    text = printed.getvalue()
    names = [line.partition("name='")[2].partition("'")[0] for line in text.splitlines()]
    assert [name for name in names if name] == ["leaf", "branch", "root"]
    assert "in async" in text and "* Future(" not in text


def test_a_future_knows_the_tasks_that_await_it(loop, hotloop, outer):
    async def wait():
        return await future

    future = hotloop.Future(loop=loop)
    tasks = [outer(wait(), loop=loop) for _ in range(3)]
    helpers.run_once(loop)
    assert future._asyncio_awaited_by == frozenset(tasks)
    graph = asyncio.capture_call_graph(future)
    assert {waiting.future for waiting in graph.awaited_by} == set(tasks)
    assert asyncio.format_call_graph(future).startswith("* Future(id=")
    future.set_result(1)
    assert loop.run_until_complete(asyncio.gather(*tasks)) == [1, 1, 1]
    assert future._asyncio_awaited_by is None


def test_waiters_can_be_added_and_discarded_by_hand(loop, hotloop):
    future, *waiters = (hotloop.Future(loop=loop) for _ in range(4))
    for waiter in (*waiters, waiters[0]):
        asyncio.future_add_to_awaited_by(future, waiter)
    assert future._asyncio_awaited_by == frozenset(waiters)
    for waiter in (waiters[1], waiters[0], future):
        asyncio.future_discard_from_awaited_by(future, waiter)
    assert future._asyncio_awaited_by == frozenset([waiters[2]])
    asyncio.future_discard_from_awaited_by(future, waiters[2])
    assert future._asyncio_awaited_by is None


def test_what_is_no_future_is_passed_over_as_asyncio_does(loop, hotloop):
    ours = hotloop.Future(loop=loop)
    theirs = asyncio.Future(loop=loop)
    for future, waiter in [(ours, 1), (theirs, 1), (1, ours), (1, theirs), (1, 2)]:
        asyncio.future_add_to_awaited_by(future, waiter)
        asyncio.future_discard_from_awaited_by(future, waiter)
    assert ours._asyncio_awaited_by is None and theirs._asyncio_awaited_by is None
    with pytest.raises(TypeError, match="future_add_to_awaited_by"):
        asyncio.future_add_to_awaited_by(ours)
    with pytest.raises(TypeError, match="compatible"):
        asyncio.capture_call_graph(1)


@pytest.mark.parametrize("count", [1, 2])
def test_futures_that_wait_for_each_other_are_collected(loop, hotloop, count):
    futures = [hotloop.Future(loop=loop) for _ in range(3)]
    for future in futures:
        for waiter in futures[:count]:
            asyncio.future_add_to_awaited_by(future, waiter)
    gone = [weakref.ref(future) for future in futures]
    del futures, future, waiter
    helpers.collect()
    assert [reference() for reference in gone] == [None] * 3


def test_asyncio_is_told_when_the_first_of_our_futures_is_made():
    source = """
import asyncio, inspect, hotloop
before = asyncio.future_add_to_awaited_by
assert before.__module__ == "_asyncio"
hotloop.run(asyncio.sleep(0))
assert asyncio.future_add_to_awaited_by is before
loop = hotloop.EventLoop()
future = hotloop.Future(loop=loop)
assert asyncio.future_add_to_awaited_by is not before
assert asyncio.futures.future_add_to_awaited_by is asyncio.future_add_to_awaited_by
assert asyncio.capture_call_graph(future).future is future
loop.close()
"""
    child = run_child(source)
    assert child.returncode == 0, child.stderr


def test_the_functions_have_asyncios_signatures(loop, hotloop):
    hotloop.Future(loop=loop)
    for name in ("future_add_to_awaited_by", "future_discard_from_awaited_by"):
        parameters = list(inspect.signature(getattr(asyncio, name)).parameters.values())
        assert [parameter.name for parameter in parameters] == ["fut", "waiter"]
        assert {parameter.kind for parameter in parameters} == {parameters[0].POSITIONAL_ONLY}
    inspect.signature(asyncio.capture_call_graph)
