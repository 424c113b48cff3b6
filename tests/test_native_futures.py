"""``hotloop.Future``: what CPython's own tests (see ``suites/cpython_tasks.py``) do not ask."""

import asyncio
import contextvars
import gc
import weakref

import pytest

from helpers import run_once

pytestmark = pytest.mark.hotloop_only

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
def future(loop, hotloop):
    return hotloop.Future(loop=loop)


def test_a_loop_that_is_told_to_makes_native_futures(hotloop):
    loop = hotloop.EventLoop(native_tasks=True)
    assert type(loop.create_future()) is hotloop.Future
    loop.close()
    loop = hotloop.EventLoop()
    assert type(loop.create_future()) is asyncio.Future
    loop.close()


def test_callbacks_run_in_order_each_in_its_context(loop, future):
    seen = []
    contexts = [contextvars.copy_context() for _ in range(3)]
    for number, context in enumerate(contexts):
        context.run(variable.set, str(number))
        future.add_done_callback(lambda f: seen.append((f, variable.get())), context=context)
    future.set_result(None)
    assert not seen
    run_once(loop)
    assert seen == [(future, "0"), (future, "1"), (future, "2")]


def test_an_exception_in_a_callback_is_reported_with_its_handle(loop, future, errors):
    def fail(done):
        raise ZeroDivisionError

    future.add_done_callback(fail)
    future.set_result(None)
    run_once(loop)
    (report,) = errors.take()
    assert "fail" in report["message"] and isinstance(report["handle"], asyncio.Handle)


def test_what_waits_can_be_seen_and_removed_as_a_callback(loop, hotloop, future):
    async def wait():
        await future

    task = hotloop.Task(wait(), loop=loop)
    run_once(loop)
    ((wakeup, context),) = future._callbacks
    assert wakeup.__self__ is task
    assert isinstance(context, contextvars.Context)
    assert future.remove_done_callback(wakeup) == 1
    assert future._callbacks is None
    assert task._fut_waiter is future
    task.cancel()
    future.add_done_callback(wakeup, context=context)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_several_tasks_wait_and_are_woken_in_the_order_of_waiting(loop, hotloop, future):
    order = []

    async def wait(number):
        order.append((number, await future))

    tasks = [hotloop.Task(wait(number), loop=loop) for number in range(4)]
    run_once(loop)
    future.add_done_callback(lambda f: order.append("callback"))
    future.set_result("result")
    loop.run_until_complete(asyncio.wait(tasks))
    assert order == [(0, "result"), (1, "result"), (2, "result"), (3, "result"), "callback"]


def test_the_same_exception_is_raised_anew_each_time(loop, hotloop, future):
    async def wait():
        await future

    error = ZeroDivisionError()
    future.set_exception(error)
    for _ in range(3):
        task = hotloop.Task(wait(), loop=loop)
        with pytest.raises(ZeroDivisionError) as caught:
            loop.run_until_complete(task)
        assert caught.value is error
        assert len(caught.traceback) < 12
        error.__traceback__ = None


def test_an_unretrieved_exception_is_reported_and_a_retrieved_one_is_not(loop, hotloop, errors):
    future = hotloop.Future(loop=loop)
    future.set_exception(ZeroDivisionError())
    del future
    (report,) = errors.take()
    assert report["message"] == "Future exception was never retrieved"
    future = hotloop.Future(loop=loop)
    future.set_exception(ZeroDivisionError())
    assert isinstance(future.exception(), ZeroDivisionError)
    del future
    assert not errors.take()


def test_a_report_may_keep_the_future_alive(loop, hotloop, errors):
    for make in (hotloop.Future, type("Sub", (hotloop.Future,), {})):
        future = make(loop=loop)
        future.set_exception(ZeroDivisionError())
        del future
        (report,) = errors.take()
        kept = report["future"]
        assert isinstance(kept.exception(), ZeroDivisionError)
        del report
        gc.collect()
        assert kept.done()


def test_an_exception_handler_that_raises_in_a_finalizer_does_no_harm(loop, hotloop, monkeypatch):
    raised = []
    monkeypatch.setattr("sys.unraisablehook", lambda what: raised.append(what.exc_type))
    loop.call_exception_handler = lambda context: 1 / 0
    future = hotloop.Future(loop=loop)
    future.set_exception(KeyError())
    del future
    assert raised == [ZeroDivisionError]
    del loop.call_exception_handler


def test_a_subclass_may_override_and_extend(loop, hotloop):
    class Sub(hotloop.Future):
        def __init__(self, **options):
            super().__init__(**options)
            self.set_results = 0

        def set_result(self, result):
            self.set_results += 1
            super().set_result(result)

    future = Sub(loop=loop)
    future.set_result(1)
    assert future.set_results == 1 and loop.run_until_complete(future) == 1
    assert repr(future) == "<Sub finished result=1>"


def test_attributes_and_weak_references(future):
    future.own = 1
    assert future.own == 1 and not hasattr(future, "other")
    reference = weakref.ref(future)
    assert reference() is future


@pytest.mark.parametrize("where", ["result", "callback", "attribute", "exception"])
def test_cycles_are_collected(loop, hotloop, where):
    future = hotloop.Future(loop=loop)
    match where:
        case "result":
            future.set_result([future])
        case "callback":
            future.add_done_callback(future.add_done_callback)
        case "attribute":
            future.own = future
        case "exception":
            error = ZeroDivisionError(future)
            future.set_exception(error)
            future.exception()
            del error
    reference = weakref.ref(future)
    del future
    gc.collect()
    assert reference() is None


def test_a_chain_of_a_hundred_thousand_is_freed_without_recursion(loop, hotloop):
    for kind in (hotloop.Future, type("Sub", (hotloop.Future,), {})):
        first = None
        for _ in range(100_000):
            future = kind(loop=loop)
            future.set_result(first)
            first = future
        del first, future


def test_a_future_without_init_refuses_to_work(hotloop):
    future = hotloop.Future.__new__(hotloop.Future)
    with pytest.raises(RuntimeError, match="uninitialized Future object"):
        future.add_done_callback(print)
    with pytest.raises(RuntimeError, match=r"Future object is not initialized\."):
        future.set_result(1)
    with pytest.raises(asyncio.InvalidStateError, match=r"Future object is not initialized\."):
        future.result()


def test_wrong_arguments_are_refused(loop, hotloop, future):
    with pytest.raises(TypeError):
        hotloop.Future(loop)
    with pytest.raises(TypeError):
        hotloop.Future(lop=loop)
    with pytest.raises(TypeError):
        future.add_done_callback()
    with pytest.raises(TypeError, match="invalid exception object"):
        future.set_exception(1)
    with pytest.raises(ValueError, match="_log_traceback can only be set to False"):
        future._log_traceback = True
    with pytest.raises(AttributeError):
        del future._log_traceback


def test_a_callback_that_cannot_be_called_fails_as_on_asyncios_own(loop, hotloop, errors):
    for kind in (asyncio.Future, hotloop.Future):
        future = kind(loop=loop)
        future.add_done_callback(1)
        future.set_result(None)
        run_once(loop)
        (report,) = errors.take()
        assert str(report["exception"]) == "'int' object is not callable"


def test_on_a_closed_loop_a_callback_cannot_be_scheduled(hotloop):
    loop = hotloop.EventLoop()
    future = hotloop.Future(loop=loop)
    future.add_done_callback(print)
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        future.set_result(1)


def test_an_overridden_call_soon_gets_every_callback(hotloop):
    calls = []

    class Loop(hotloop.EventLoop):
        def call_soon(self, callback, *args, context=None):
            calls.append(callback)
            return super().call_soon(callback, *args, context=context)

    async def main(loop):
        future = hotloop.Future(loop=loop)
        loop.call_later(0, future.set_result, "result")
        return await future

    loop = Loop()
    loop.set_task_factory(hotloop.task_factory)
    assert loop.run_until_complete(main(loop)) == "result"
    names = [getattr(callback, "__name__", "") for callback in calls]
    assert names[0] == "task_step" and "task_wakeup" in names
    loop.close()
