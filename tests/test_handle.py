"""Handles and timer handles: their interface, and what happens to a callback's exception."""

import asyncio
import contextvars
import sys
import weakref

import pytest

from helpers import collector_off, run_child, run_once


def fail(*arguments):
    raise ZeroDivisionError("as asked")


def queue_soon(loop, *arguments, **options):
    return loop.call_soon(*arguments, **options)


def queue_threadsafe(loop, *arguments, **options):
    return loop.call_soon_threadsafe(*arguments, **options)


def queue_later(loop, *arguments, **options):
    return loop.call_at(loop.time() - 1, *arguments, **options)


every_queue = pytest.mark.parametrize("queue", [queue_soon, queue_threadsafe, queue_later])


@every_queue
def test_is_an_asyncio_handle(loop, queue):
    assert isinstance(queue(loop, print), asyncio.Handle)


def test_timer_is_an_asyncio_timer_handle(loop):
    assert isinstance(loop.call_later(1, print), asyncio.TimerHandle)
    assert isinstance(loop.call_at(1, print), asyncio.TimerHandle)


@every_queue
def test_cancel_keeps_the_callback_from_running(loop, queue):
    got = []
    handle = queue(loop, got.append, 1)
    assert not handle.cancelled()
    handle.cancel()
    assert handle.cancelled()
    handle.cancel()
    run_once(loop)
    assert got == []


@every_queue
def test_cancel_drops_callback_and_arguments_at_once(loop, queue):
    def callback(argument):
        return argument

    handle = queue(loop, callback, "argument")
    reference = weakref.ref(callback)
    del callback
    with collector_off():
        handle.cancel()
        assert reference() is None


@every_queue
def test_cancel_after_the_run_is_allowed(loop, queue):
    handle = queue(loop, int)
    run_once(loop)
    handle.cancel()
    assert handle.cancelled()


@every_queue
def test_a_callback_may_cancel_its_own_handle(loop, queue):
    got = []
    handle = queue(loop, lambda: handle.cancel() or got.append(1))
    run_once(loop)
    assert got == [1]
    assert handle.cancelled()


@every_queue
def test_fields_that_tools_read(loop, queue):
    context = contextvars.copy_context()
    handle = queue(loop, fail, 1, 2, context=context)
    assert handle._callback is fail
    assert handle._args == (1, 2)
    assert handle._context is context
    assert handle._source_traceback is None
    assert handle._loop is loop
    handle.cancel()
    assert handle._callback is None
    assert handle._args is None


@pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
@every_queue
def test_get_context_gives_the_context_the_callback_runs_in(loop, queue):
    context = contextvars.copy_context()
    handle = queue(loop, print, context=context)
    assert handle.get_context() is context
    handle.cancel()


@every_queue
def test_run_calls_the_callback_at_once_and_reports_its_exception(loop, errors, queue):
    got = []
    handle = queue(loop, lambda: got.append(1) or fail())
    assert handle._run() is None
    assert got == [1]
    (context,) = errors.take()
    assert context["handle"] is handle
    handle.cancel()


@every_queue
def test_weak_references_to_a_handle_work(loop, queue):
    handle = queue(loop, print)
    reference = weakref.ref(handle)
    assert reference() is handle
    handle.cancel()
    del handle
    run_once(loop)
    assert reference() is None


@every_queue
def test_repr_is_that_of_the_stdlib(loop, queue):
    handle = queue(loop, fail, 1)
    if isinstance(handle, asyncio.TimerHandle):
        model = asyncio.TimerHandle(handle.when(), fail, (1,), loop)
    else:
        threadsafe = sys.version_info >= (3, 14) and queue is queue_threadsafe
        kind = asyncio.events._ThreadSafeHandle if threadsafe else asyncio.Handle
        model = kind(fail, (1,), loop)
    assert repr(handle).split("(")[0] == repr(model).split("(")[0]
    assert repr(handle) == repr(model)
    handle.cancel()
    model.cancel()
    assert repr(handle) == repr(model)


@every_queue
def test_an_exception_is_reported_with_the_words_of_the_stdlib(loop, errors, queue):
    handle = queue(loop, fail, 1)
    run_once(loop)
    (context,) = errors.take()
    asyncio.Handle(fail, (1,), loop)._run()
    (model,) = errors.take()
    assert set(context) == set(model) == {"message", "exception", "handle"}
    assert context["message"] == model["message"]
    assert context["message"].startswith("Exception in callback fail(")
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["handle"] is handle


@every_queue
def test_the_rest_of_the_queue_runs_after_an_exception(loop, errors, queue):
    got = []
    queue(loop, fail)
    queue(loop, got.append, 1)
    run_once(loop)
    assert got == [1]
    assert len(errors.take()) == 1


class Unusual(BaseException):
    """Neither an Exception nor one of those that leave the loop."""


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit, Unusual, StopIteration])
@every_queue
def test_every_other_base_exception_is_reported_too(loop, errors, queue, kind):
    def throw():
        raise kind

    queue(loop, throw)
    run_once(loop)
    (context,) = errors.take()
    assert type(context["exception"]) is kind


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@every_queue
def test_leaving_exceptions_leave_run_forever_and_lose_nothing(loop, queue, kind):
    got = []

    def leave():
        raise kind

    queue(loop, got.append, 1)
    queue(loop, leave)
    queue(loop, got.append, 2)
    with pytest.raises(kind):
        loop.run_forever()
    assert got == [1]
    assert not loop.is_running()
    run_once(loop)
    assert got == [1, 2]


def test_an_exception_handler_that_raises_is_reported_and_the_loop_goes_on(loop, caplog):
    def broken(loop, context):
        raise ValueError("handler")

    got = []
    loop.set_exception_handler(broken)
    loop.call_soon(fail)
    loop.call_soon(got.append, 1)
    run_once(loop)
    assert got == [1]
    assert "Unhandled error in exception handler" in caplog.text


def test_the_default_handler_logs_message_and_traceback(loop, caplog):
    loop.set_exception_handler(None)
    loop.call_soon(fail)
    run_once(loop)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("asyncio", "ERROR")
    assert record.message.startswith("Exception in callback fail()")
    assert isinstance(record.exc_info[1], ZeroDivisionError)


def test_system_exit_in_a_callback_is_the_exit_status_of_the_process():
    source = """
import sys
from helpers import new_loop
loop = new_loop()
loop.call_soon(sys.exit, 7)
try:
    loop.run_forever()
finally:
    loop.close()
"""
    child = run_child(source)
    assert (child.returncode, child.stderr) == (7, "")
