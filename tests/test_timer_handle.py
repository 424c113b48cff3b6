"""``TimerHandle``: the moment, the order, equality and hash."""

import asyncio
import operator

import pytest


@pytest.fixture
def timers(loop):
    made = [loop.call_at(when, print) for when in (2e9, 1e9, 1e9)]
    yield made
    for timer in made:
        timer.cancel()


def test_when_is_what_was_asked_for(loop):
    handle = loop.call_at(12.5, print)
    assert handle.when() == 12.5
    handle.cancel()
    assert handle.when() == 12.5


def test_when_of_call_later_is_now_plus_the_delay(loop):
    before = loop.time()
    handle = loop.call_later(100, print)
    assert before + 100 <= handle.when() <= loop.time() + 100
    handle.cancel()


def test_order_is_that_of_the_moments(timers):
    late, early, same = timers
    assert early < late
    assert late > early
    assert early <= same <= late
    assert late >= same >= early
    assert sorted(timers)[-1] is late


def test_equality_compares_moment_callback_arguments_and_state(loop, timers):
    late, early, same = timers
    assert early == same
    assert early != late
    other = loop.call_at(1e9, print, "argument")
    assert early != other
    other.cancel()
    assert hash(early) == hash(same) == hash(1e9)
    same.cancel()
    assert early != same


def test_comparison_with_other_types(loop, timers):
    soon = loop.call_soon(int)
    assert timers[0] != 1
    assert timers[0] != soon
    for compare in (operator.lt, operator.le, operator.gt, operator.ge):
        with pytest.raises(TypeError, match="not supported between instances of"):
            compare(timers[0], 1)
    soon.cancel()


def test_comparison_with_a_timer_handle_of_the_stdlib(loop, timers):
    model = asyncio.TimerHandle(1.5e9, print, (), loop)
    assert timers[1] < model < timers[0]


def test_scheduled_mark_is_set_while_the_timer_waits(loop):
    got = []
    handle = loop.call_at(loop.time() - 1, got.append, 1)
    assert handle._scheduled is True
    loop.stop()
    loop.run_forever()
    assert got == [1]
    assert handle._scheduled is False
