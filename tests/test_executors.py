"""``run_in_executor``, ``set_default_executor`` and ``shutdown_default_executor``."""

import asyncio
import concurrent.futures
import contextvars
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers import collector_off, outcome


@pytest.fixture
def pool():
    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool


class Subclass(ThreadPoolExecutor):
    """A pool that is not exactly a ThreadPoolExecutor."""


class Inline(concurrent.futures.Executor):
    """An executor that runs what it is given at once."""

    def submit(self, function, /, *arguments, **options):
        future = concurrent.futures.Future()
        try:
            future.set_result(function(*arguments, **options))
        except BaseException as error:
            future.set_exception(error)
        return future


@pytest.fixture(params=[ThreadPoolExecutor, Subclass, Inline, None], ids=str)
def executor(request):
    """An executor of each kind, and the default one."""
    if request.param is None:
        yield None
        return
    with request.param() as executor:
        yield executor


async def held(loop, pool):
    """Keep the only thread of a pool busy until the returned event is set."""
    begun, release = threading.Event(), threading.Event()

    def wait():
        begun.set()
        release.wait()

    occupied = loop.run_in_executor(pool, wait)
    while not begun.is_set():
        await asyncio.sleep(0)
    return occupied, release


def test_the_result_comes_back(loop, executor):
    async def main():
        first = await loop.run_in_executor(executor, divmod, 7, 2)
        return first, await loop.run_in_executor(executor, lambda: "again")

    assert loop.run_until_complete(main()) == ((3, 1), "again")


def test_the_future_is_one_of_the_loop(loop, executor):
    async def main():
        future = loop.run_in_executor(executor, int)
        assert type(future) is asyncio.Future
        assert future.get_loop() is loop
        return await future

    assert loop.run_until_complete(main()) == 0


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), SystemExit(3), KeyboardInterrupt()])
def test_an_exception_comes_back(loop, executor, error):
    def fail():
        raise error

    async def main():
        with pytest.raises(type(error)) as caught:
            await loop.run_in_executor(executor, fail)
        assert caught.value is error

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (concurrent.futures.CancelledError, asyncio.CancelledError),
        (concurrent.futures.InvalidStateError, asyncio.InvalidStateError),
        (concurrent.futures.TimeoutError, asyncio.TimeoutError),
    ],
)
def test_exceptions_of_concurrent_futures_become_those_of_asyncio(loop, executor, raised, expected):
    def fail():
        raise raised("why")

    async def main():
        with pytest.raises(expected) as caught:
            await loop.run_in_executor(executor, fail)
        assert caught.value.args == ("why",)

    loop.run_until_complete(main())


def takes_stop_iteration(loop):
    """Whether futures of this Python turn a StopIteration into a RuntimeError (3.12.2) or refuse it."""
    future = asyncio.Future(loop=loop)
    try:
        future.set_exception(StopIteration())
    except TypeError:
        return False
    future.exception()
    return True


def test_stop_iteration_does_not_pass(loop, errors, executor):
    def fail():
        raise StopIteration

    async def main():
        future = loop.run_in_executor(executor, fail)
        if takes_stop_iteration(loop):
            with pytest.raises(RuntimeError) as caught:
                await future
            assert isinstance(caught.value.__cause__, StopIteration)
        else:
            await errors.wait("report")
            [report] = errors.take()
            assert isinstance(report["exception"], TypeError)
            assert not future.done()
            future.cancel()

    loop.run_until_complete(main())


def test_a_call_that_has_not_begun_is_cancelled_with_its_future(loop, pool):
    ran = []

    async def main():
        occupied, release = await held(loop, pool)
        future = loop.run_in_executor(pool, ran.append, 1)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        await asyncio.sleep(0)
        release.set()
        await occupied
        await loop.run_in_executor(pool, ran.append, 2)

    loop.run_until_complete(main())
    assert ran == [2]


def test_a_call_that_has_begun_goes_on_though_its_future_is_cancelled(loop, pool):
    async def main():
        occupied, release = await held(loop, pool)
        occupied.cancel()
        with pytest.raises(asyncio.CancelledError):
            await occupied
        release.set()
        await loop.run_in_executor(pool, int)
        assert occupied.cancelled()

    loop.run_until_complete(main())


def test_a_pool_that_cancels_its_calls_cancels_their_futures(loop, pool):
    async def main():
        occupied, release = await held(loop, pool)
        future = loop.run_in_executor(pool, int)
        pool.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(asyncio.CancelledError):
            await future
        release.set()
        await occupied

    loop.run_until_complete(main())


def test_a_future_that_somebody_else_settled_is_reported(loop, errors, pool):
    async def main():
        occupied, release = await held(loop, pool)
        occupied.set_result("mine")
        release.set()
        await errors.wait("report")
        assert await occupied == "mine"
        [report] = errors.take()
        assert type(report["exception"]) is AssertionError

    loop.run_until_complete(main())


def test_a_pool_whose_initializer_fails_breaks_its_calls(loop, caplog):
    def fail():
        raise ValueError

    async def main():
        with ThreadPoolExecutor(max_workers=1, initializer=fail) as pool:
            with pytest.raises(concurrent.futures.BrokenExecutor):
                await loop.run_in_executor(pool, int)
            with pytest.raises(concurrent.futures.BrokenExecutor):
                loop.run_in_executor(pool, int)

    loop.run_until_complete(main())
    assert caplog.records


def test_a_pool_that_is_shut_down_refuses_in_its_own_words(loop, pool):
    pool.shutdown()
    with pytest.raises(RuntimeError, match="^cannot schedule new futures after shutdown$"):
        loop.run_in_executor(pool, int)


def test_a_result_for_a_closed_loop_is_dropped(loop, pool):
    async def main():
        return await held(loop, pool)

    occupied, release = loop.run_until_complete(main())
    loop.close()
    release.set()
    pool.shutdown()
    assert not occupied.done()


def test_a_replaced_submit_is_called(loop, monkeypatch, pool):
    calls = []
    submit = pool.submit

    def record(*arguments):
        calls.append(arguments)
        return submit(*arguments)

    monkeypatch.setattr(pool, "submit", record)
    assert loop.run_until_complete(loop.run_in_executor(pool, abs, -1)) == 1
    assert calls == [(abs, -1)]


def test_an_executor_may_return_a_future_of_asyncio(loop):
    class Foreign(concurrent.futures.Executor):
        def submit(self, function, /, *arguments):
            future = loop.create_future()
            future.set_result("as it is")
            return future

    future = loop.run_in_executor(Foreign(), int)
    assert loop.run_until_complete(future) == "as it is"


def test_an_overridden_call_soon_threadsafe_is_obeyed(loop, monkeypatch, pool):
    calls = []
    original = loop.call_soon_threadsafe

    def record(callback, *arguments, context=None):
        calls.append(callback)
        return original(callback, *arguments, context=context)

    monkeypatch.setattr(loop, "call_soon_threadsafe", record)
    assert loop.run_until_complete(loop.run_in_executor(pool, abs, -1)) == 1
    assert len(calls) == 1


def test_a_call_soon_threadsafe_that_raises_is_logged_and_the_thread_goes_on(
    loop, monkeypatch, pool, caplog
):
    def refuse(callback, *arguments, context=None):
        raise ZeroDivisionError

    async def main():
        before = await loop.run_in_executor(pool, threading.get_ident)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "call_soon_threadsafe", refuse)
            lost = loop.run_in_executor(pool, int)
            while not caplog.records:
                await asyncio.sleep(0)
        assert await loop.run_in_executor(pool, threading.get_ident) == before
        assert not lost.done()
        lost.cancel()

    loop.run_until_complete(main())
    (record,) = caplog.records
    assert record.name == "concurrent.futures" and record.levelname == "ERROR"
    assert record.msg == "exception calling callback for %r"
    assert record.exc_info[0] is ZeroDivisionError


def test_a_call_soon_threadsafe_that_raises_does_not_disturb_the_shutdown_of_a_pool(
    loop, monkeypatch, pool, caplog
):
    def refuse(callback, *arguments, context=None):
        raise ZeroDivisionError

    async def main():
        occupied, release = await held(loop, pool)
        lost = [loop.run_in_executor(pool, int) for _ in range(2)]
        with monkeypatch.context() as patch:
            patch.setattr(loop, "call_soon_threadsafe", refuse)
            pool.shutdown(wait=False, cancel_futures=True)
        release.set()
        await occupied
        for future in lost:
            assert not future.done()
            future.cancel()

    loop.run_until_complete(main())
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError] * 2


def test_the_function_runs_outside_the_callers_context(loop, pool):
    variable = contextvars.ContextVar("variable", default="none")

    async def main():
        variable.set("the caller's")
        return await loop.run_in_executor(pool, variable.get)

    assert loop.run_until_complete(main()) == "none"


def test_callbacks_of_the_future_run_in_the_context_they_were_added_in(loop, pool):
    variable = contextvars.ContextVar("variable")
    seen = []

    async def main():
        variable.set("mine")
        future = loop.run_in_executor(pool, int)
        future.add_done_callback(lambda _: seen.append(variable.get()))
        await future
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert seen == ["mine"]


def test_nothing_keeps_the_function_and_the_result_alive(loop, pool):
    class Thing:
        pass

    async def main():
        thing = Thing()
        result = await loop.run_in_executor(pool, lambda: thing)
        await asyncio.sleep(0)
        await loop.run_in_executor(pool, int)  # the worker has let go of the call before
        return weakref.ref(result)

    with collector_off():
        reference = loop.run_until_complete(main())
        assert reference() is None


def test_wrong_arguments_are_refused_in_the_words_of_asyncio(loop, pool):
    model = asyncio.SelectorEventLoop()
    try:
        for call in (
            lambda loop: loop.run_in_executor(),
            lambda loop: loop.run_in_executor(pool),
            lambda loop: loop.run_in_executor(pool, func=int, other=1),
            lambda loop: loop.run_in_executor("executor", int),
        ):
            assert outcome(lambda: call(loop)) == outcome(lambda: call(model))  # noqa: B023
    finally:
        model.close()


def test_debug_mode_refuses_what_cannot_be_called(loop, pool):
    loop.set_debug(True)
    with pytest.raises(TypeError, match="a callable object was expected by run_in_executor"):
        loop.run_in_executor(pool, "function")

    async def coroutine():
        raise AssertionError

    with pytest.raises(TypeError, match="coroutines cannot be used with run_in_executor"):
        loop.run_in_executor(pool, coroutine)


def test_debug_mode_brings_results_back(loop, pool):
    loop.set_debug(True)
    assert loop.run_until_complete(loop.run_in_executor(pool, abs, -1)) == 1


def test_debug_mode_that_begins_during_a_call(loop, pool):
    async def main():
        occupied, release = await held(loop, pool)
        loop.set_debug(True)
        release.set()
        assert await occupied is None

    loop.run_until_complete(main())


def test_a_closed_loop_refuses(loop, pool):
    loop.close()
    with pytest.raises(RuntimeError, match="^Event loop is closed$"):
        loop.run_in_executor(pool, int)


def test_the_default_executor_is_made_when_it_is_needed_and_kept(loop):
    assert loop._default_executor is None
    loop.run_until_complete(loop.run_in_executor(None, int))
    executor = loop._default_executor
    assert type(executor) is ThreadPoolExecutor
    loop.run_until_complete(loop.run_in_executor(None, int))
    assert loop._default_executor is executor
    assert executor._thread_name_prefix == "asyncio"


def test_the_default_executor_can_be_chosen(loop, pool):
    loop.set_default_executor(pool)
    name = loop.run_until_complete(loop.run_in_executor(None, threading.current_thread)).name
    assert name.startswith("ThreadPoolExecutor")
    with pytest.raises(TypeError, match="^executor must be ThreadPoolExecutor instance$"):
        loop.set_default_executor(Inline())


def test_a_default_executor_that_is_shut_down_refuses(loop):
    async def main():
        await loop.run_in_executor(None, int)
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="^Executor shutdown has been called$"):
            loop.run_in_executor(None, int)

    loop.run_until_complete(main())


def test_the_shutdown_waits_for_what_runs(loop):
    done = []

    async def main():
        begun, release = threading.Event(), threading.Event()

        def work():
            begun.set()
            release.wait()
            done.append(True)

        future = loop.run_in_executor(None, work)
        while not begun.is_set():
            await asyncio.sleep(0)
        loop.call_soon(release.set)
        await loop.shutdown_default_executor()
        assert done == [True]
        await future

    loop.run_until_complete(main())


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="3.12.1 waits without a limit, whatever the timeout"
)
def test_the_shutdown_ends_with_a_warning_after_its_timeout(loop):
    async def main():
        occupied, release = await held(loop, None)
        with pytest.warns(RuntimeWarning, match="did not finishing joining"):
            release_later = loop.call_soon  # the thread is joined only without a timeout
            await loop.shutdown_default_executor(timeout=0.001)
        release_later(release.set)
        await occupied

    loop.run_until_complete(main())


def test_many_calls_at_once_come_back_each_to_its_own(loop):
    async def main():
        calls = [loop.run_in_executor(None, lambda n=n: n) for n in range(500)]
        assert await asyncio.gather(*calls) == list(range(500))

    loop.run_until_complete(main())
