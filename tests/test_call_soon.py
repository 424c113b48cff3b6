"""``loop.call_soon``: order, the one-iteration rule, arguments, contexts, re-entrancy."""

import asyncio
import contextvars
import gc
import weakref

import pytest

from helpers import collector_off, run_once

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Thing:
    """An object that a weak reference can point at."""

    def method(self):
        return None


def test_callbacks_run_in_the_order_they_were_queued(loop):
    order = []
    for number in range(1000):
        loop.call_soon(order.append, number)
    run_once(loop)
    assert order == list(range(1000))


def test_a_callback_queued_by_a_callback_waits_for_the_next_iteration(loop):
    order = []

    def first():
        order.append("first")
        loop.call_soon(order.append, "second")

    loop.call_soon(first)
    run_once(loop)
    assert order == ["first"]
    run_once(loop)
    assert order == ["first", "second"]


def test_what_was_queued_before_stop_still_runs(loop):
    order = []
    loop.call_soon(order.append, 1)
    loop.call_soon(loop.stop)
    loop.call_soon(order.append, 2)
    loop.run_forever()
    assert order == [1, 2]


def test_a_long_chain_does_not_recurse(loop):
    count = 0

    def again():
        nonlocal count
        count += 1
        if count == 20_000:
            loop.stop()
        else:
            loop.call_soon(again)

    loop.call_soon(again)
    loop.run_forever()
    assert count == 20_000


@pytest.mark.parametrize("arguments", [(), (1,), (1, "two"), tuple(range(20))])
def test_arguments_are_passed_on(loop, arguments):
    got = []
    loop.call_soon(lambda *passed: got.append(passed), *arguments)
    run_once(loop)
    assert got == [arguments]


def test_unknown_keyword_is_refused(loop):
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        loop.call_soon(print, colour="red")


def test_missing_callback_is_refused(loop):
    with pytest.raises(TypeError):
        loop.call_soon()


def test_callback_may_be_given_by_keyword(loop):
    got = []
    loop.call_soon(callback=lambda: got.append(1))
    run_once(loop)
    assert got == [1]


@pytest.mark.parametrize("bad", [1, None, "text"])
def test_a_callback_that_is_not_callable_fails_when_it_runs(loop, errors, bad):
    loop.call_soon(bad)
    run_once(loop)
    (context,) = errors.take()
    assert isinstance(context["exception"], TypeError)
    assert str(context["exception"]) == f"'{type(bad).__name__}' object is not callable"


def test_the_current_context_is_copied_when_the_callback_is_queued(loop):
    got = []

    def probe():
        got.append(variable.get())
        variable.set("changed inside")

    token = variable.set("when queued")
    loop.call_soon(probe)
    variable.set("later")
    run_once(loop)
    assert got == ["when queued"]
    assert variable.get() == "later"
    variable.reset(token)


def test_an_explicit_context_is_used_as_it_is(loop):
    context = contextvars.copy_context()
    context.run(variable.set, "mine")
    got = []

    def probe():
        got.append(variable.get())
        variable.set("changed")

    loop.call_soon(probe, context=context)
    run_once(loop)
    assert got == ["mine"]
    assert context[variable] == "changed"


def test_context_none_means_the_current_context(loop):
    got = []
    contextvars.copy_context().run(
        lambda: (
            variable.set("queued"),
            loop.call_soon(lambda: got.append(variable.get()), context=None),
        )
    )
    run_once(loop)
    assert got == ["queued"]


def test_cancel_by_an_earlier_callback_of_the_same_iteration(loop):
    got = []
    loop.call_soon(lambda: handle.cancel())
    handle = loop.call_soon(got.append, 1)
    run_once(loop)
    assert got == []


def test_queue_survives_a_second_run_from_inside_a_callback(loop):
    got, future = [], loop.create_future()

    def inner():
        with pytest.raises(RuntimeError, match=r"^This event loop is already running$"):
            loop.run_until_complete(future)
        got.append("inner")

    loop.call_soon(inner)
    loop.call_soon(got.append, "after")
    run_once(loop)
    assert got == ["inner", "after"]


@pytest.mark.hotloop_only
def test_run_forever_from_inside_a_callback_disturbs_nothing(loop):
    # CPython 3.12 and 3.13 forget here that the outer run is on.
    got = []

    def inner():
        with pytest.raises(RuntimeError, match=r"^This event loop is already running$"):
            loop.run_forever()
        got.append((loop.is_running(), asyncio.get_running_loop() is loop))

    loop.call_soon(inner)
    run_once(loop)
    assert got == [(True, True)]


def test_a_handle_may_be_run_by_hand_and_then_by_the_loop(loop):
    got = []
    loop.call_soon(got.append, 1)._run()
    assert got == [1]
    run_once(loop)
    assert got == [1, 1]


@pytest.mark.parametrize("queue", ["call_soon", "call_soon_threadsafe"])
def test_nothing_is_kept_after_the_callback_ran(loop, queue):
    with collector_off():
        thing = Thing()
        reference = weakref.ref(thing)
        getattr(loop, queue)(thing.method)
        getattr(loop, queue)(isinstance, thing, Thing)
        del thing
        assert reference() is not None
        run_once(loop)
        assert reference() is None


@pytest.mark.parametrize("queue", ["call_soon", "call_soon_threadsafe"])
def test_close_drops_what_is_still_queued(loop, queue):
    thing = Thing()
    reference = weakref.ref(thing)
    getattr(loop, queue)(thing.method)
    del thing
    loop.close()
    gc.collect()
    assert reference() is None


def test_a_closed_loop_that_its_own_queue_holds_is_collected(loop_factory):
    def make():
        loop = loop_factory()
        loop.call_soon(lambda: loop)
        loop.call_later(1000, lambda: loop)
        loop.close()
        return weakref.ref(loop)

    reference = make()
    gc.collect()
    assert reference() is None


def test_a_closed_loop_takes_nothing(loop):
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        loop.call_soon(print)


def test_sleep_zero_gives_every_other_task_a_turn(loop):
    order = []

    async def turns(name):
        for number in range(3):
            order.append((name, number))
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(turns("a"), turns("b"))

    loop.run_until_complete(main())
    assert order == [(name, number) for number in range(3) for name in "ab"]
