"""``loop.call_later``, ``loop.call_at`` and ``loop.time``: order, deadlines, cancelling."""

import asyncio
import gc
import math
import time
import weakref
from fractions import Fraction

import pytest

from helpers import collector_off, run_once, same_as_stdlib


class Clock:
    """A time that moves only when the test says so."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


def test_time_is_the_monotonic_clock(loop):
    before = time.monotonic()
    now = loop.time()
    assert before <= now <= time.monotonic()


def test_timers_run_in_the_order_of_their_deadlines(loop):
    order = []
    start = loop.time()
    for number in (3, 1, 4, 0, 2):
        loop.call_at(start + number / 1000, order.append, number)
    loop.call_at(start + 5 / 1000, loop.stop)
    loop.run_forever()
    assert order == [0, 1, 2, 3, 4]


def test_timers_with_equal_deadlines_keep_their_order(loop):
    order = []
    deadline = loop.time() - 1
    for number in range(3):
        loop.call_at(deadline, order.append, number)
    run_once(loop)
    assert order == [0, 1, 2]


@pytest.mark.hotloop_only
def test_any_number_of_timers_with_equal_deadlines_keep_their_order(loop):
    order = []
    deadline = loop.time() - 1
    for number in range(1000):
        loop.call_at(deadline, order.append, number)
    run_once(loop)
    assert order == list(range(1000))


@pytest.mark.parametrize("delay", [0.0, 1e-6, 1e-4, 0.0009, 0.001, 0.0015, 0.01])
def test_no_timer_runs_before_its_time(loop, delay):
    # asyncio allows itself the clock's resolution of 1 ns; the rest is rounding of doubles.
    moments = []

    def due():
        moments.append(loop.time())
        loop.stop()

    handle = loop.call_later(delay, due)
    loop.run_forever()
    assert moments[0] >= handle.when() - 1e-8


def test_ready_callbacks_go_first_then_io_then_timers(loop, pair):
    left, right = pair
    order = []
    right.send(b"x")
    loop.add_reader(left, lambda: (order.append("io"), loop.remove_reader(left)))
    loop.call_at(loop.time() - 1, order.append, "timer")
    loop.call_soon(order.append, "soon")
    run_once(loop)
    assert order == ["soon", "io", "timer"]


def test_call_later_zero_runs_after_what_is_already_queued(loop):
    order = []
    loop.call_later(0, order.append, "timer")
    loop.call_soon(order.append, "soon")
    run_once(loop)
    run_once(loop)
    assert order == ["soon", "timer"]


@pytest.mark.parametrize("delay", [-1, -1e300, 0, Fraction(-1, 3), True, -math.inf])
def test_delays_that_are_already_over(loop, delay):
    got = []
    loop.call_later(delay, got.append, 1)
    loop.call_later(0.002, loop.stop)
    if delay is True:
        loop.time = Clock(loop.time() + 2)
    loop.run_forever()
    assert got == [1]


@pytest.mark.parametrize("when", [0, -5, 0.0, Fraction(1, 3), -math.inf])
def test_moments_in_the_past_are_due_at_once(loop, when):
    got = []
    handle = loop.call_at(when, got.append, 1)
    assert handle.when() == when
    run_once(loop)
    assert got == [1]


@pytest.mark.parametrize("when", [math.inf, 1e300, 10**18, Fraction(10**18, 3)])
def test_moments_that_never_come_do_not_disturb_the_loop(loop, when):
    got = []
    handle = loop.call_at(when, got.append, "never")
    assert handle.when() == when
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert got == []
    handle.cancel()


@pytest.mark.parametrize(
    "call",
    [
        lambda loop: loop.call_later(None, print),
        lambda loop: loop.call_at(None, print),
        lambda loop: loop.call_later("1", print),
    ],
    ids=["later None", "at None", "later text"],
)
def test_bad_times_are_refused_in_the_words_of_the_stdlib(loop, call):
    with pytest.raises(TypeError):
        call(loop)
    same_as_stdlib(loop, call)


def test_cancelled_timers_are_released_without_waiting_for_their_time(loop):
    handles = [loop.call_later(3600 + number, print) for number in range(10_000)]
    references = [weakref.ref(handle) for handle in handles]
    kept = loop.call_later(7200, print)
    with collector_off():
        for handle in handles:
            handle.cancel()
        del handles, handle
        run_once(loop)
        assert sum(reference() is not None for reference in references) == 0
    assert not kept.cancelled()
    kept.cancel()


def test_cancelling_some_timers_leaves_the_others_in_order(loop):
    got = []
    start = loop.time() - 10
    handles = [loop.call_at(start + number / 1000, got.append, number) for number in range(1000)]
    for handle in handles[::3] + handles[1::3]:
        handle.cancel()
    run_once(loop)
    assert got == list(range(2, 1000, 3))


def test_a_timer_cancelled_by_another_timer_of_the_same_iteration(loop):
    got = []
    past = loop.time() - 1
    loop.call_at(past, lambda: handle.cancel())
    handle = loop.call_at(past + 0.5, got.append, 1)
    run_once(loop)
    assert got == []


def test_cancelling_a_timer_that_ran_changes_nothing(loop):
    got = []
    past = loop.time() - 1
    handle = loop.call_at(past, got.append, 1)
    run_once(loop)
    handle.cancel()
    loop.call_at(past, got.append, 2)
    run_once(loop)
    assert got == [1, 2]


def test_time_replaced_on_the_instance_moves_the_timers(loop):
    clock = loop.time = Clock()
    got = []
    handle = loop.call_later(60, got.append, 1)
    assert handle.when() == 1060.0
    run_once(loop)
    assert got == []
    loop.call_soon(clock.advance, 59.5)
    run_once(loop)
    run_once(loop)
    assert got == []
    clock.advance(1)
    run_once(loop)
    assert got == [1]


def test_time_replaced_on_a_subclass_moves_the_timers(loop_factory):
    base = loop_factory()
    base.close()
    clock = Clock()

    class Shifted(type(base)):
        def time(self):
            return clock()

    loop = Shifted()
    try:
        got = []
        loop.call_later(60, got.append, 1)
        run_once(loop)
        assert got == []
        clock.advance(61)
        run_once(loop)
        assert got == [1]
    finally:
        loop.close()


def test_clock_that_jumps_while_the_loop_runs(loop):
    clock = loop.time = Clock()

    async def main():
        loop.call_soon(clock.advance, 3600)
        await asyncio.sleep(3600)
        return loop.time()

    assert loop.run_until_complete(main()) == 4600.0


def test_timeouts_and_sleep_use_the_timers(loop):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await loop.create_future()
        return await asyncio.sleep(0.001, "result")

    assert loop.run_until_complete(main()) == "result"


def test_close_drops_timers(loop):
    def callback():
        return None

    reference = weakref.ref(callback)
    loop.call_later(3600, callback)
    del callback
    loop.close()
    gc.collect()
    assert reference() is None


def test_call_at_takes_its_arguments_by_name(loop):
    got = []
    loop.call_at(when=loop.time(), callback=lambda: got.append("both"))
    loop.call_at(loop.time(), callback=lambda: got.append("one"), context=None)
    loop.call_later(delay=0, callback=loop.stop)
    loop.run_forever()
    assert got == ["both", "one"]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((1.0,), {}),
        ((1.0, print), {"when": 2.0}),
        ((1.0, print), {"callback": print}),
        ((1.0, print), {"unknown": 1}),
        ((), {"callback": print}),
    ],
)
def test_wrong_arguments_of_call_at_are_refused_in_the_words_of_the_stdlib(loop, args, kwargs):
    same_as_stdlib(loop, lambda tried: tried.call_at(*args, **kwargs))
    assert len(loop._scheduled) == 0


def test_timers_that_come_due_during_a_callback_go_before_what_the_first_of_them_schedules(loop):
    order = []

    def first():
        order.append("first")
        loop.call_soon(order.append, "scheduled by the first")

    def callback():
        loop.call_later(0, first)
        loop.call_later(0.002, order.append, "second")
        end = loop.time() + 0.004
        while loop.time() < end:
            pass

    loop.call_soon(callback)
    for _ in range(3):
        run_once(loop)
    assert order == ["first", "second", "scheduled by the first"]


@pytest.mark.hotloop_only
def test_a_timer_cancelled_at_once_does_not_stay_where_there_are_many(loop):
    held = [loop.call_later(3600, print) for _ in range(200)]
    run_once(loop)
    kept = loop.call_later(3600, print)
    kept.cancel()
    assert (len(loop._scheduled), loop._timer_cancelled_count) == (201, 1)
    run_once(loop)
    assert (len(loop._scheduled), loop._timer_cancelled_count) == (200, 0)
    assert not kept._scheduled
    for timer in held:
        timer.cancel()


def test_few_cancelled_timers_stay_until_their_turn(loop):
    first = loop.call_later(3600, print)
    loop.call_later(7200, print).cancel()
    run_once(loop)
    assert (len(loop._scheduled), loop._timer_cancelled_count) == (2, 1)
    first.cancel()


def test_a_timer_is_new_whatever_the_one_before_it_was(loop):
    loop.set_debug(True)
    cancelled = loop.call_later(3600, print, 1)
    cancelled.cancel()
    loop.set_debug(False)
    del cancelled
    # The first one may be kept for a while; these take the place of each other.
    for _ in range(3):
        timer = loop.call_later(3600, print, 2)
        assert (timer._cancelled, timer._scheduled, timer._args) == (False, True, (2,))
        assert (timer._repr, timer._source_traceback) == (None, None)
        timer.cancel()
        del timer
        run_once(loop)


@pytest.mark.parametrize("cleared", [True, False])
def test_a_timer_that_was_dropped_in_the_turn_that_set_it_is_collected(loop, cleared):
    class Owner:
        def __call__(self):
            raise AssertionError

    gone = []

    def callback():
        owner = Owner()
        owner.timer = loop.call_later(3600, owner)
        gone.append(weakref.ref(owner))
        if cleared:
            loop._scheduled.clear()
        else:
            loop._scheduled = []
        loop.stop()

    loop.call_soon(callback)
    loop.run_forever()
    gc.collect()
    assert [ref() for ref in gone] == [None]


def test_a_timer_that_is_set_in_the_last_turn_is_garbage_with_its_loop(loop_factory):
    class Owner:
        def __call__(self):
            raise AssertionError

    def callback():
        owner = Owner()
        owner.timer = loop.call_later(3600, owner)
        owner.timer.cancel()
        gone.append(weakref.ref(owner.timer))
        loop.call_later(7200, owner)
        gone.append(weakref.ref(owner))
        loop.stop()

    gone = []
    loop = loop_factory()
    try:
        loop.call_soon(callback)
        loop.run_forever()
    finally:
        loop.close()
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
