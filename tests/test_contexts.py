"""Contexts of callbacks: each runs in a copy of the context that was current when it was scheduled (PEP 567)."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref

import pytest

import helpers

variable = contextvars.ContextVar("variable", default=0)


def test_callbacks_do_not_see_what_others_changed(loop):
    seen = []

    def callback(value):
        seen.append(variable.get())
        variable.set(value)

    for value in range(1, 6):
        loop.call_soon(callback, value)
    helpers.run_once(loop)
    assert seen == [0] * 5
    assert variable.get() == 0


def test_a_callback_sees_what_was_current_when_it_was_scheduled(loop):
    seen = []

    def schedule():
        for value in range(5):
            variable.set(value)
            loop.call_soon(lambda: seen.append(variable.get()))
            loop.call_soon(lambda: seen.append(variable.get()))

    contextvars.copy_context().run(schedule)
    helpers.run_once(loop)
    assert seen == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_chain_of_callbacks_carries_its_changes_on(loop):
    seen = []

    def callback():
        seen.append(variable.get())
        variable.set(variable.get() + 1)
        if len(seen) < 5:
            loop.call_soon(callback)
        else:
            loop.stop()

    loop.call_soon(callback)
    loop.run_forever()
    assert seen == [0, 1, 2, 3, 4]


def test_a_change_after_a_callback_was_scheduled_is_not_seen_by_it(loop):
    seen = []

    def outer():
        loop.call_soon(lambda: seen.append(variable.get()))
        variable.set(1)
        loop.call_soon(lambda: seen.append(variable.get()))

    loop.call_soon(outer)
    helpers.run_once(loop)
    helpers.run_once(loop)
    assert seen == [0, 1]


def test_resetting_a_variable_restores_what_later_callbacks_see(loop):
    seen = []

    def outer():
        token = variable.set(1)
        loop.call_soon(lambda: seen.append(variable.get()))
        variable.reset(token)
        loop.call_soon(lambda: seen.append(variable.get()))

    loop.call_soon(outer)
    helpers.run_once(loop)
    helpers.run_once(loop)
    assert seen == [1, 0]


def test_posts_of_a_thread_carry_its_context(loop):
    seen = []

    def post():
        for value in range(3):
            variable.set(value)
            loop.call_soon_threadsafe(lambda: seen.append(variable.get()))
            loop.call_soon_threadsafe(variable.set, 9)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=post)
    thread.start()
    thread.join()
    loop.run_forever()
    assert seen == [0, 1, 2]
    assert variable.get() == 0


def test_the_context_of_a_kept_handle_has_what_its_callback_changed(loop):
    handle = loop.call_soon(variable.set, 5)
    other = loop.call_soon(lambda: None)
    helpers.run_once(loop)
    assert handle._context[variable] == 5
    assert variable not in other._context
    assert handle._context is handle._context
    assert handle._context is not other._context


def test_a_waiting_handle_shows_its_context_and_runs_in_it(loop):
    seen = []
    loop.call_soon(lambda: None)
    handle = loop.call_soon(lambda: seen.append(variable.get()))
    handle._context.run(variable.set, 7)
    del handle
    helpers.run_once(loop)
    assert seen == [7]


@pytest.mark.parametrize("delay", [0, 0.001])
def test_timers_have_contexts_of_their_own(loop, delay):
    seen = []

    def callback(value):
        seen.append(variable.get())
        variable.set(value)
        if value == 4:
            loop.stop()

    for value in range(5):
        timer = loop.call_later(delay, callback, value)
    assert isinstance(timer._context, contextvars.Context)
    loop.run_forever()
    assert seen == [0] * 5


def test_values_of_a_context_are_released_when_the_loop_rests(loop):
    class Value:
        pass

    alive = []

    def schedule():
        value = Value()
        alive.append(weakref.ref(value))
        variable.set(value)
        loop.call_soon(lambda: None)

    contextvars.copy_context().run(schedule)
    helpers.run_once(loop)
    gc.collect()
    assert alive[0]() is None


def test_what_a_callback_puts_into_its_context_is_released_after_it(loop):
    class Value:
        pass

    alive = []

    def callback():
        value = Value()
        alive.append(weakref.ref(value))
        variable.set(value)

    timer = loop.call_later(3600, print)
    loop.call_soon(callback)
    loop.call_soon(lambda: alive.append(alive[0]()))
    helpers.run_once(loop)
    assert alive[1] is None
    timer.cancel()


def test_a_task_made_by_a_callback_inherits_its_context(loop):
    async def main():
        return variable.get()

    def callback():
        variable.set(3)
        tasks.append(loop.create_task(main()))

    tasks = []
    loop.call_soon(callback)
    helpers.run_once(loop)
    assert loop.run_until_complete(tasks[0]) == 3


@pytest.mark.hotloop_only  # asyncio's own loop raises IndexError when a nested run has emptied the queue
def test_callbacks_that_run_the_loop_again_have_contexts_of_their_own():
    loop = helpers.new_loop()
    seen = []

    def inner():
        seen.append(variable.get())
        variable.set(2)

    def outer():
        variable.set(1)
        loop._run_once()
        seen.append(variable.get())

    try:
        loop.call_soon(outer)
        loop.call_soon(inner)
        loop.call_soon(inner)
        asyncio.events._set_running_loop(loop)
        loop._run_once()
    finally:
        asyncio.events._set_running_loop(None)
        loop.close()
    assert seen == [0, 0, 1]


@pytest.mark.hotloop_only
def test_handles_made_in_one_context_share_its_copy(loop):
    for _ in range(1000):
        loop.call_soon(lambda: None)
    contexts = [found for found in gc.get_objects() if type(found) is contextvars.Context]
    assert len(contexts) < 100
    helpers.run_once(loop)


def test_what_a_value_schedules_as_it_is_freed_does_not_wait_for_the_next_event(loop):
    class Value:
        def __del__(self):
            loop.call_soon(loop.stop)

    def schedule():
        variable.set(Value())
        loop.call_soon(lambda: None)

    contextvars.copy_context().run(schedule)
    loop.run_forever()


def test_the_report_of_an_exception_shows_what_the_callback_set(loop):
    seen = []

    def fail():
        variable.set(8)
        raise ZeroDivisionError

    def report(loop, context):
        seen.append(context["handle"]._context[variable])

    loop.set_exception_handler(report)
    loop.call_soon(fail)
    helpers.run_once(loop)
    assert seen == [8]


def test_a_token_of_another_callback_is_refused(loop):
    tokens, raised = [], []

    def keep():
        tokens.append(variable.set(variable.get()))

    def reset():
        try:
            variable.reset(tokens[0])
        except ValueError as error:
            raised.append(type(error))

    contextvars.copy_context().run(
        lambda: (variable.set(4), loop.call_soon(keep), loop.call_soon(reset))
    )
    helpers.run_once(loop)
    assert raised == [ValueError]
