"""``loop.call_soon_threadsafe``: from many threads, from signal handlers, around ``close``."""

import asyncio
import contextvars
import os
import signal
import threading
import weakref

import pytest

from helpers import loop_class, run_once

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
def start():
    """Start a thread; all are joined at the end of the test."""
    threads = []

    def start(function, *arguments):
        thread = threading.Thread(target=function, args=arguments)
        threads.append(thread)
        thread.start()
        return thread

    yield start
    for thread in threads:
        thread.join()


def test_many_threads_lose_nothing_and_each_keeps_its_order(loop, start):
    got = {number: [] for number in range(8)}
    left = set(got)

    def done(number):
        left.discard(number)
        if not left:
            loop.stop()

    def post(number):
        for value in range(2000):
            loop.call_soon_threadsafe(got[number].append, value)
        loop.call_soon_threadsafe(done, number)

    for number in got:
        start(post, number)
    loop.run_forever()
    assert all(values == list(range(2000)) for values in got.values())


def test_a_waiting_loop_is_woken_every_time(loop, start):
    turns = []

    def ping():
        for number in range(300):
            answered = threading.Event()
            loop.call_soon_threadsafe(lambda n=number, e=answered: (turns.append(n), e.set()))
            answered.wait()
        loop.call_soon_threadsafe(loop.stop)

    start(ping)
    loop.run_forever()
    assert turns == list(range(300))


def test_a_loop_that_waits_for_a_far_timer_is_woken(loop, start):
    timer = loop.call_later(3600, print)
    loop.call_soon(lambda: start(loop.call_soon_threadsafe, loop.stop))
    loop.run_forever()
    assert not timer.cancelled()
    timer.cancel()


def test_posts_made_before_the_loop_runs_are_kept(loop, start):
    got = []
    start(loop.call_soon_threadsafe, got.append, 1).join()
    run_once(loop)
    assert got == [1]


def test_mixed_with_call_soon_on_the_loops_thread_the_order_is_kept(loop):
    order = []

    def queue():
        for number in range(0, 20, 2):
            loop.call_soon(order.append, number)
            loop.call_soon_threadsafe(order.append, number + 1)

    queue()
    run_once(loop)
    loop.call_soon(queue)
    run_once(loop)
    run_once(loop)
    assert order == [*range(20), *range(20)]


def test_one_iteration_rule_holds_for_posts_from_the_loops_thread(loop):
    order = []
    loop.call_soon(lambda: loop.call_soon_threadsafe(order.append, 1))
    run_once(loop)
    assert order == []
    run_once(loop)
    assert order == [1]


def test_handle_can_be_cancelled_before_it_runs(loop, start):
    got, handles = [], []
    start(lambda: handles.append(loop.call_soon_threadsafe(got.append, 1))).join()
    handles[0].cancel()
    run_once(loop)
    assert got == []


def test_context_of_the_posting_thread_is_used(loop, start):
    got = []

    def post():
        variable.set("thread")
        loop.call_soon_threadsafe(lambda: got.append(variable.get()))
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        loop.call_soon_threadsafe(lambda: got.append(variable.get()), context=context)

    start(post).join()
    run_once(loop)
    assert got == ["thread", "given"]


def test_after_close_it_raises(loop, start):
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        loop.call_soon_threadsafe(print)
    caught = []

    def post():
        try:
            loop.call_soon_threadsafe(print)
        except RuntimeError as error:
            caught.append(str(error))

    start(post).join()
    assert caught == ["Event loop is closed"]


def test_an_error_in_a_thread_is_freed_when_the_thread_has_handled_it(start):
    class Refused(Exception):
        pass

    class Refusing(loop_class()):
        def _check_closed(self):
            if threading.current_thread() is not threading.main_thread():
                raise Refused

    loop = Refusing()
    kept = []

    def post():
        try:
            loop.call_soon_threadsafe(print)
        except Refused as error:
            kept.append(weakref.ref(error))

    loop.set_debug(True)
    start(post).join()
    loop.close()
    assert kept[0]() is None


def test_threads_that_post_while_the_loop_is_closed_see_only_the_error_of_a_closed_loop(
    loop_factory, start
):
    for _ in range(20):
        loop, ready, ends = loop_factory(), threading.Barrier(4), []

        def post(loop=loop, ready=ready, ends=ends):
            ready.wait()
            try:
                while True:
                    loop.call_soon_threadsafe(int)
            except RuntimeError as error:
                ends.append(str(error))

        threads = [start(post) for _ in range(3)]
        ready.wait()
        run_once(loop)
        loop.close()
        for thread in threads:
            thread.join()
        assert ends == ["Event loop is closed"] * 3


def test_a_signal_handler_can_wake_the_loop(loop):
    previous = signal.signal(signal.SIGUSR1, lambda *received: loop.call_soon_threadsafe(loop.stop))
    try:
        loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        loop.run_forever()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert not loop.is_running()


def test_debug_mode_allows_it_from_any_thread(loop, start):
    loop.set_debug(True)
    got = []
    loop.call_soon(lambda: start(loop.call_soon_threadsafe, lambda: (got.append(1), loop.stop())))
    loop.run_forever()
    assert got == [1]


def test_run_coroutine_threadsafe_brings_back_result_and_exception(loop, start):
    ends = []

    async def work(value):
        await asyncio.sleep(0)
        return 1 / value

    def post():
        ends.append(asyncio.run_coroutine_threadsafe(work(2), loop).result())
        failure = asyncio.run_coroutine_threadsafe(work(0), loop).exception()
        ends.append(type(failure))
        loop.call_soon_threadsafe(loop.stop)

    loop.call_soon(start, post)
    loop.run_forever()
    assert ends == [0.5, ZeroDivisionError]
