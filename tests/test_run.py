"""``run_forever``, ``run_until_complete``, ``stop``, ``close`` and what surrounds them."""

import asyncio
import inspect
import sys
import threading

import pytest

from helpers import run_once


def test_stop_before_run_runs_one_iteration(loop):
    order = []
    loop.call_soon(lambda: (order.append(1), loop.call_soon(order.append, 2)))
    loop.stop()
    loop.run_forever()
    assert order == [1]
    loop.stop()
    loop.run_forever()
    assert order == [1, 2]


def test_stop_is_forgotten_after_the_run(loop):
    run_once(loop)
    assert loop.run_until_complete(asyncio.sleep(0.001, "done")) == "done"


def test_state_inside_and_outside_a_run(loop):
    seen = []
    loop.call_soon(lambda: seen.append((loop.is_running(), asyncio.get_running_loop() is loop)))
    assert not loop.is_running()
    run_once(loop)
    assert seen == [(True, True)]
    assert not loop.is_running()
    assert not loop.is_closed()
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_run_until_complete_returns_the_result(loop):
    async def main():
        await asyncio.sleep(0)
        return 42

    assert loop.run_until_complete(main()) == 42


def test_run_until_complete_takes_a_future(loop):
    future = loop.create_future()
    loop.call_soon(future.set_result, "value")
    assert loop.run_until_complete(future) == "value"
    assert loop.run_until_complete(future) == "value"


@pytest.mark.parametrize("kind", [ValueError, asyncio.CancelledError])
def test_run_until_complete_raises_what_the_coroutine_raised(loop, kind):
    async def main():
        raise kind("words")

    with pytest.raises(kind):
        loop.run_until_complete(main())
    assert not loop.is_running()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_leaving_exceptions_of_a_task_leave_and_the_loop_stays_usable(loop, kind):
    async def main():
        raise kind

    with pytest.raises(kind):
        loop.run_until_complete(main())
    assert loop.run_until_complete(asyncio.sleep(0, "usable")) == "usable"


def test_run_until_complete_refuses_what_cannot_be_awaited(loop):
    with pytest.raises(TypeError, match="asyncio.Future, a coroutine or an awaitable is required"):
        loop.run_until_complete(1)


def test_stop_before_the_future_is_done(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match=r"^Event loop stopped before Future completed\.$"):
        loop.run_until_complete(future)
    assert not future._callbacks


def test_future_of_another_loop_is_refused(loop, loop_factory):
    other = loop_factory()
    try:
        with pytest.raises(ValueError, match="^The future belongs to a different loop than"):
            loop.run_until_complete(other.create_future())
    finally:
        other.close()


def test_await_on_a_future_of_another_loop_is_refused(loop, loop_factory):
    other = loop_factory()

    async def main():
        await other.create_future()

    try:
        with pytest.raises(RuntimeError, match="attached to a different loop"):
            loop.run_until_complete(main())
    finally:
        other.close()


def test_another_loop_cannot_run_inside(loop, loop_factory):
    other = loop_factory()

    async def main():
        other.run_forever()

    words = r"^Cannot run the event loop while another loop is running$"
    try:
        with pytest.raises(RuntimeError, match=words):
            loop.run_until_complete(main())
        assert not other.is_running()
    finally:
        other.close()


def test_close_is_refused_while_running(loop):
    async def main():
        loop.close()

    with pytest.raises(RuntimeError, match=r"^Cannot close a running event loop$"):
        loop.run_until_complete(main())
    assert not loop.is_closed()


def test_close_twice_is_allowed(loop):
    loop.close()
    loop.close()
    assert loop.is_closed()


def test_run_in_another_thread(loop):
    results = []

    async def main():
        await asyncio.sleep(0)
        results.append(threading.get_ident())

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    thread.join()
    loop.run_until_complete(main())
    assert results == [thread.ident, threading.get_ident()]


def test_already_running_in_another_thread_is_refused(loop):
    running = threading.Event()
    loop.call_soon(running.set)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        running.wait()
        assert loop.is_running()
        future = loop.create_future()
        with pytest.raises(RuntimeError, match=r"^This event loop is already running$"):
            loop.run_until_complete(future)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def test_repr_says_the_state(loop):
    name = type(loop).__name__
    assert repr(loop) == f"<{name} running=False closed=False debug=False>"
    loop.set_debug(True)
    seen = []
    loop.call_soon(lambda: seen.append(repr(loop)))
    run_once(loop)
    loop.close()
    assert seen == [f"<{name} running=True closed=False debug=True>"]
    assert repr(loop) == f"<{name} running=False closed=True debug=True>"


def test_is_a_base_event_loop(loop):
    assert isinstance(loop, asyncio.BaseEventLoop)
    assert isinstance(loop, asyncio.AbstractEventLoop)


def test_attributes_can_be_set_on_a_loop(loop):
    loop.anything = 1
    assert loop.anything == 1


@pytest.mark.parametrize("bad", [1, "text"])
def test_exception_handler_must_be_callable(loop, bad):
    handler = loop.get_exception_handler()
    with pytest.raises(TypeError, match="^A callable object or None is expected, got"):
        loop.set_exception_handler(bad)
    assert loop.get_exception_handler() is handler


def test_debug_flag_can_be_changed_in_a_running_loop(loop):
    seen = []

    async def main():
        for flag in (True, False, True):
            loop.set_debug(flag)
            await asyncio.sleep(0)
            seen.append((loop.get_debug(), sys.get_coroutine_origin_tracking_depth() > 0))

    before = sys.get_coroutine_origin_tracking_depth()
    loop.run_until_complete(main())
    assert seen == [(True, True), (False, False), (True, True)]
    assert sys.get_coroutine_origin_tracking_depth() == before


def test_runner_runs_on_the_loop(loop_factory):
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        made = runner.get_loop()
        assert runner.run(asyncio.sleep(0, "one")) == "one"
        assert runner.run(asyncio.sleep(0, "two")) == "two"
    assert made.is_closed()


def test_runner_cancels_what_is_left(loop_factory):
    ends = []

    async def forever():
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def main():
        task = asyncio.create_task(forever())
        await asyncio.sleep(0)
        return task

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        task = runner.run(main())
    assert task.cancelled() and ends == ["cancelled"]


def test_every_public_method_of_the_abstract_loop_is_there(loop):
    for name, function in inspect.getmembers(asyncio.AbstractEventLoop, inspect.isfunction):
        if not name.startswith("_"):
            assert getattr(type(loop), name) is not function, name
