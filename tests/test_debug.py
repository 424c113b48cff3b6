"""Debug mode: slow callbacks, wrong threads, bad callbacks, tracebacks, unclosed objects."""

import asyncio
import gc
import logging
import re
import threading
import warnings

import pytest

from helpers import listening_socket, run_child, run_once, same_as_stdlib


@pytest.fixture
def debug_loop(loop):
    loop.set_debug(True)
    # The warning about slow callbacks is for its own tests.
    loop.slow_callback_duration = 1000.0
    return loop


async def coroutine_function():
    """A callback that is refused."""


def call_in_thread(function, *arguments):
    """Call ``function`` in another thread and return what it raised."""
    raised = []

    def target():
        try:
            function(*arguments)
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    return raised


def test_default_of_slow_callback_duration(loop):
    assert loop.slow_callback_duration == 0.1


def test_a_slow_callback_is_named_in_a_warning(debug_loop, caplog):
    debug_loop.slow_callback_duration = 0
    debug_loop.call_soon(isinstance, 1, int)
    with caplog.at_level(logging.WARNING, "asyncio"):
        run_once(debug_loop)
    words = [record.message for record in caplog.records if "isinstance" in record.message]
    assert len(words) == 1
    assert re.fullmatch(r"Executing <Handle isinstance.* took \d+\.\d{3} seconds", words[0])
    assert {(r.name, r.levelname) for r in caplog.records} == {("asyncio", "WARNING")}


def test_a_slow_step_of_a_task_names_the_task(debug_loop, caplog):
    debug_loop.slow_callback_duration = 0
    with caplog.at_level(logging.WARNING, "asyncio"):
        debug_loop.run_until_complete(debug_loop.create_task(asyncio.sleep(0), name="slow one"))
    assert re.search(r"Executing <Task .*name='slow one'.* took \d+\.\d{3} seconds", caplog.text)


def test_fast_callbacks_are_not_named(debug_loop, caplog):
    debug_loop.call_soon(print)
    run_once(debug_loop)
    assert not caplog.records


@pytest.mark.parametrize(
    "call",
    [
        lambda loop: loop.call_soon(print),
        lambda loop: loop.call_later(1, print),
        lambda loop: loop.call_at(1, print),
    ],
    ids=["call_soon", "call_later", "call_at"],
)
def test_calls_from_another_thread_are_refused_while_the_loop_runs(debug_loop, call):
    raised = []
    debug_loop.call_soon(lambda: raised.extend(call_in_thread(call, debug_loop)))
    run_once(debug_loop)
    (error,) = raised
    assert type(error) is RuntimeError
    assert str(error) == (
        "Non-thread-safe operation invoked on an event loop other than the current one"
    )


def test_calls_from_another_thread_are_allowed_while_the_loop_is_stopped(debug_loop):
    got = []
    assert call_in_thread(debug_loop.call_soon, got.append, 1) == []
    run_once(debug_loop)
    assert got == [1]


def test_calls_from_another_thread_are_not_checked_without_debug(loop):
    raised = []
    loop.call_soon(lambda: raised.extend(call_in_thread(loop.call_soon, int)))
    run_once(loop)
    assert raised == []


CHECKED = {
    "call_soon": lambda loop, callback: loop.call_soon(callback),
    "call_soon_threadsafe": lambda loop, callback: loop.call_soon_threadsafe(callback),
    "call_at": lambda loop, callback: loop.call_at(1, callback),
    "call_later": lambda loop, callback: loop.call_later(1, callback),
    "run_in_executor": lambda loop, callback: loop.run_in_executor(None, callback),
}


@pytest.mark.parametrize("call", CHECKED.values(), ids=CHECKED.keys())
def test_bad_callbacks_are_refused_in_the_words_of_the_stdlib(debug_loop, call):
    coroutine = coroutine_function()
    for bad in (1, None, coroutine_function, coroutine):
        with pytest.raises(TypeError):
            call(debug_loop, bad)
        same_as_stdlib(debug_loop, lambda tried, bad=bad: call(tried, bad))
    coroutine.close()


def test_words_for_bad_callbacks(debug_loop):
    with pytest.raises(TypeError, match=r"^coroutines cannot be used with call_soon\(\)$"):
        debug_loop.call_soon(coroutine_function)
    words = r"^a callable object was expected by call_soon\(\), got 1$"
    with pytest.raises(TypeError, match=words):
        debug_loop.call_soon(1)


@pytest.mark.parametrize(
    "queue",
    [
        lambda loop: loop.call_soon(print),
        lambda loop: loop.call_soon_threadsafe(print),
        lambda loop: loop.call_later(1, print),
        lambda loop: loop.call_at(1, print),
    ],
    ids=["call_soon", "call_soon_threadsafe", "call_later", "call_at"],
)
def test_handles_know_where_they_were_made(debug_loop, queue):
    handle = queue(debug_loop)
    last = handle._source_traceback[-1]
    assert (last.filename, last.name) == (__file__, "<lambda>")
    assert "created at" in repr(handle)
    handle.cancel()
    assert "cancelled" in repr(handle) and "print" in repr(handle)


def test_reports_carry_the_place_where_the_callback_was_queued(debug_loop, errors):
    debug_loop.call_soon(lambda: 1 / 0)
    run_once(debug_loop)
    (context,) = errors.take()
    assert set(context) == {"message", "exception", "handle", "source_traceback"}
    assert context["source_traceback"][-1].filename == __file__


def test_futures_and_tasks_know_where_they_were_made(debug_loop):
    future = debug_loop.create_future()
    assert __file__ in [frame.filename for frame in future._source_traceback[-2:]]
    task = debug_loop.create_task(asyncio.sleep(0))
    assert __file__ in [frame.filename for frame in task._source_traceback[-2:]]
    debug_loop.run_until_complete(task)


def test_a_coroutine_that_was_never_awaited_names_its_origin(debug_loop):
    async def main():
        coroutine_function()

    with pytest.warns(RuntimeWarning) as caught:
        debug_loop.run_until_complete(main())
    text = str(caught[0].message)
    assert "coroutine 'coroutine_function' was never awaited" in text
    assert "Coroutine created at (most recent call last)" in text
    assert __file__ in text


def test_an_unclosed_loop_is_reported_and_closed(loop_factory):
    loop = loop_factory()
    words = re.escape(f"unclosed event loop {loop!r}")
    with pytest.warns(ResourceWarning, match=words):
        del loop
        gc.collect()


def test_an_unclosed_transport_is_reported_and_its_socket_closed(loop):
    async def leave_open(listener):
        transport, _ = await loop.create_connection(asyncio.Protocol, *listener.getsockname())
        # A transport that reads is held by the loop.
        transport.pause_reading()
        return repr(transport)

    with listening_socket() as listener:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            words = loop.run_until_complete(leave_open(listener))
            run_once(loop)
            gc.collect()
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(10)
            assert accepted.recv(1) == b""
    kinds = {str(warning.message): warning.category for warning in caught}
    assert kinds[f"unclosed transport {words}"] is ResourceWarning


@pytest.mark.parametrize(("value", "debug"), [("1", "True"), ("", "False")])
def test_environment_switches_debug_mode_on(value, debug):
    source = """
from helpers import new_loop
loop = new_loop()
print(loop.get_debug())
loop.close()
"""
    child = run_child(source, PYTHONASYNCIODEBUG=value, PYTHONDEVMODE="")
    assert (child.stdout, child.stderr) == (f"{debug}\n", "")
