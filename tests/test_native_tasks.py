"""``hotloop.Task``: on this loop and on asyncio's; what CPython's own tests do not ask."""

import asyncio
import contextvars
import gc
import io
import sys
import threading
import types
import weakref

import pytest

from helpers import collect, outcome, run_once

pytestmark = pytest.mark.hotloop_only


@pytest.fixture(params=["hotloop", "native", "asyncio"])
def loop_factory(request, hotloop):
    """Also the loops of others, where a step goes through ``call_soon``."""
    return {
        "hotloop": hotloop.EventLoop,
        "native": lambda: hotloop.EventLoop(native_tasks=True),
        "asyncio": asyncio.SelectorEventLoop,
    }[request.param]


def test_steps_take_their_turn_among_callbacks(loop, hotloop):
    order = []

    async def work(name):
        for step in range(3):
            order.append((name, step))
            await asyncio.sleep(0)

    first = hotloop.Task(work("a"), loop=loop)
    loop.call_soon(order.append, "callback")
    second = hotloop.Task(work("b"), loop=loop)
    loop.run_until_complete(asyncio.wait([first, second]))
    assert order[:4] == [("a", 0), "callback", ("b", 0), ("a", 1)]


def test_a_queued_step_can_be_seen_in_the_ready_queue(hotloop):
    loop = hotloop.EventLoop(native_tasks=True)

    async def work():
        await waiter

    waiter = loop.create_future()
    task = loop.create_task(work())
    (handle,) = loop._ready
    assert handle._callback.__self__ is task
    run_once(loop)
    waiter.set_result(None)
    (handle,) = loop._ready
    assert handle._callback.__self__ is task and handle._args == (waiter,)
    asyncio._set_running_loop(loop)  # from 3.14 on a task looks at it
    try:
        handle._run()
    finally:
        asyncio._set_running_loop(None)
    loop._ready.clear()
    assert task.done()
    loop.close()


def test_current_and_all_tasks_of_a_mixed_population(loop, hotloop):
    async def child(kind):
        assert type(asyncio.current_task()) is kind
        assert asyncio.current_task() in asyncio.all_tasks()
        await asyncio.sleep(0)
        assert type(asyncio.current_task()) is kind

    async def main():
        tasks = [
            kind(child(kind), loop=loop) for kind in (asyncio.Task, hotloop.Task) for _ in range(3)
        ]
        assert set(tasks) < asyncio.all_tasks()
        await asyncio.gather(*tasks)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    loop.run_until_complete(hotloop.Task(main(), loop=loop))
    assert not asyncio.all_tasks(loop)
    assert asyncio.current_task(loop) is None


def test_between_steps_no_task_is_the_current_one(loop, hotloop):
    seen = []

    class Noted:
        def __del__(self):
            seen.append(asyncio.current_task(loop))

    def note(*kept):
        seen.append(asyncio.current_task(loop))

    async def work():
        for _ in range(3):
            loop.call_soon(note)
            loop.call_later(0, note, Noted())
            await asyncio.sleep(0)
            await asyncio.sleep(0.0001)

    tasks = [hotloop.Task(work(), loop=loop) for _ in range(3)]
    loop.run_until_complete(asyncio.wait(tasks))
    run_once(loop)
    assert len(seen) == 27 and set(seen) == {None}


def test_waiting_for_each_other_in_every_mixture(loop, hotloop):
    kinds = (asyncio.Task, hotloop.Task)

    async def depth(number):
        if not number:
            await asyncio.sleep(0)
            return ["end"]
        return [number, *(await kinds[number % 2](depth(number - 1), loop=loop))]

    assert loop.run_until_complete(depth(5)) == [5, 4, 3, 2, 1, "end"]


def test_asyncios_tools_work_on_mixed_tasks(loop, hotloop):
    def make(coroutine, number):
        return (asyncio.Task, hotloop.Task)[number % 2](coroutine, loop=loop)

    async def main():
        results = await asyncio.gather(*(make(asyncio.sleep(0, n), n) for n in range(6)))
        assert results == list(range(6))
        done, pending = await asyncio.wait(
            [make(asyncio.sleep(n % 3 and 30, n), n) for n in range(6)],
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert len(done) == 2
        for task in pending:
            task.cancel("enough")
        outcomes = await asyncio.gather(*pending, return_exceptions=True)
        assert [type(error) for error in outcomes] == [asyncio.CancelledError] * 4
        for number in range(2):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(make(asyncio.sleep(30), number), 0.001)
            shielded = make(asyncio.sleep(0.002, "inner"), number)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.0001):
                    await asyncio.shield(shielded)
            assert await shielded == "inner"
        lock, event = asyncio.Lock(), asyncio.Event()

        async def locked():
            async with lock:
                await event.wait()

        tasks = [make(locked(), number) for number in range(4)]
        await asyncio.sleep(0)
        event.set()
        await asyncio.gather(*tasks)

    for kind in (asyncio.Task, hotloop.Task):
        loop.run_until_complete(kind(main(), loop=loop))


def test_a_task_group_cancels_and_reports(loop, hotloop):
    async def fail():
        raise ZeroDivisionError

    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                sleeper = group.create_task(asyncio.sleep(30))
                group.create_task(fail())
        assert isinstance(caught.value.exceptions[0], ZeroDivisionError)
        assert sleeper.cancelled()

    loop.set_task_factory(hotloop.task_factory)
    loop.run_until_complete(main())


def test_cancellation_keeps_its_message_and_its_chain(loop, hotloop):
    async def sleep():
        await asyncio.sleep(30)

    async def main():
        task = hotloop.Task(sleep(), loop=loop)
        await asyncio.sleep(0)
        task.cancel("message")
        with pytest.raises(asyncio.CancelledError, match="message"):
            await task

    loop.run_until_complete(hotloop.Task(main(), loop=loop))


def test_a_coroutine_may_refuse_its_cancellation(loop, hotloop):
    async def stubborn():
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()
            await asyncio.sleep(0)
            return "finished"

    async def main():
        task = hotloop.Task(stubborn(), loop=loop)
        await asyncio.sleep(0)
        assert task.cancel() and task.cancelling() == 1
        assert await task == "finished" and task.cancelling() == 0

    loop.run_until_complete(main())


BAD = {
    "Task got bad yield: 1": lambda loop, future: 1,
    "yield was used instead of yield from in task": lambda loop, future: future,
    "yield was used instead of yield from for generator in task": lambda loop, future: (
        _ for _ in ()
    ),
    "attached to a different loop": lambda loop, future: future,
    "Task cannot await on itself": lambda loop, future: asyncio.current_task(),
}


@pytest.mark.parametrize("words", BAD)
@pytest.mark.parametrize("of", ["asyncio", "hotloop"])
def test_what_cannot_be_awaited_raises_in_the_coroutine(loop, hotloop, words, of):
    other = asyncio.SelectorEventLoop()
    future = {"asyncio": asyncio, "hotloop": hotloop}[of].Future(
        loop=other if "different" in words else loop
    )

    @types.coroutine
    def bad():
        yield BAD[words](loop, future)

    async def main():
        with pytest.raises(RuntimeError, match=words):
            await bad()
        return "alive"

    assert loop.run_until_complete(hotloop.Task(main(), loop=loop)) == "alive"
    other.close()


def test_wrong_arguments_are_refused(loop, hotloop):
    with pytest.raises(TypeError, match="a coroutine was expected, got 1"):
        hotloop.Task(1, loop=loop)
    with pytest.raises(TypeError):
        hotloop.Task(loop=loop)
    coroutine = asyncio.sleep(0)
    with pytest.raises(TypeError):
        hotloop.Task(coroutine, loop)
    with pytest.raises(TypeError):
        hotloop.Task(coroutine, loop=loop, eager=1)
    coroutine.close()


def test_a_coroutine_cannot_be_run_twice(loop, hotloop):
    coroutine = asyncio.sleep(0)
    loop.run_until_complete(hotloop.Task(coroutine, loop=loop))
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        loop.run_until_complete(hotloop.Task(coroutine, loop=loop))


def test_interrupts_leave_the_loop_at_once_and_usable(loop, hotloop):
    async def interrupt(error):
        raise error

    for error in (KeyboardInterrupt, SystemExit):
        task = hotloop.Task(interrupt(error()), loop=loop)
        with pytest.raises(error):
            loop.run_until_complete(task)
        assert isinstance(task.exception(), error)
    assert loop.run_until_complete(asyncio.sleep(0, "usable")) == "usable"


def test_names(loop, hotloop):
    async def name():
        return asyncio.current_task().get_name()

    first, second = (hotloop.Task(name(), loop=loop) for _ in range(2))
    named = hotloop.Task(name(), loop=loop, name=("any", "object"))
    assert first.get_name().startswith("Task-") and first.get_name() != second.get_name()
    first.set_name(5)
    assert loop.run_until_complete(first) == "5"
    assert loop.run_until_complete(named) == "('any', 'object')"
    assert loop.run_until_complete(second) == second.get_name()


def test_the_stack_can_be_asked_for(loop, hotloop):
    async def inner():
        await asyncio.sleep(0)

    task = hotloop.Task(inner(), loop=loop)
    run_once(loop)
    (frame,) = task.get_stack()
    assert frame.f_code.co_name == "inner"
    text = io.StringIO()
    task.print_stack(file=text, limit=1)
    assert "Stack for <Task pending" in text.getvalue()
    with pytest.raises(TypeError):
        task.get_stack(1)
    loop.run_until_complete(task)


def test_a_subclass_may_override_and_extend(loop, hotloop):
    class Sub(hotloop.Task):
        wakings = 0

        def add_done_callback(self, callback, *, context=None):
            Sub.wakings += 1
            super().add_done_callback(callback, context=context)

    async def main():
        task = Sub(asyncio.sleep(0, "result"), loop=loop)
        task.own = 1
        return await task

    assert loop.run_until_complete(hotloop.Task(main(), loop=loop)) == "result"
    assert Sub.wakings == 1


def test_a_pending_task_that_is_dropped_is_reported(loop, hotloop, errors):
    async def forever():
        await loop.create_future()

    task = hotloop.Task(forever(), loop=loop)
    run_once(loop)
    del task
    gc.collect()
    (report,) = errors.take()
    assert report["message"] == "Task was destroyed but it is pending!"
    assert report["task"] not in asyncio.all_tasks(loop)


def test_a_cycle_of_a_task_and_its_future_is_collected(loop, hotloop, errors):
    async def wait(future):
        future.own = future
        await future

    future = hotloop.Future(loop=loop)
    task = hotloop.Task(wait(future), loop=loop)
    task._log_destroy_pending = False
    run_once(loop)
    references = weakref.ref(future), weakref.ref(task)
    del future, task
    gc.collect()
    assert [reference() for reference in references] == [None, None]
    assert not asyncio.all_tasks(loop)


def test_a_chain_of_tasks_that_wait_for_each_other_is_freed_without_recursion(loop, hotloop):
    async def wait(what):
        await what

    future = last = hotloop.Future(loop=loop)
    for _ in range(20_000):
        last = hotloop.Task(wait(last), loop=loop)
        last._log_destroy_pending = False
    run_once(loop)
    del last, future
    gc.collect()
    assert not asyncio.all_tasks(loop)


def test_tasks_of_several_loops_in_several_threads_are_kept_apart(loop_factory, hotloop):
    failures = []

    async def main(loop):
        own = {hotloop.Task(asyncio.sleep(0), loop=loop) for _ in range(20)}
        if asyncio.all_tasks() != own | {asyncio.current_task()}:
            failures.append("tasks of another loop")
        await asyncio.gather(*own)

    def run():
        loop = loop_factory()
        try:
            for _ in range(20):
                loop.run_until_complete(hotloop.Task(main(loop), loop=loop))
        except BaseException as error:
            failures.append(error)
        finally:
            loop.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_task_that_runs_another_loop_is_still_the_current_one(loop, loop_factory, hotloop):
    async def inner():
        return asyncio.current_task()

    async def outer():
        current = asyncio.current_task()
        running = asyncio._get_running_loop()
        other = loop_factory()
        asyncio._set_running_loop(None)
        try:
            task = hotloop.Task(inner(), loop=other)
            assert other.run_until_complete(task) is task
        finally:
            other.close()
            asyncio._set_running_loop(running)
        if sys.version_info < (3, 14):
            assert asyncio.current_task() is current
        await asyncio.sleep(0)

    if sys.version_info < (3, 14):
        loop.run_until_complete(hotloop.Task(outer(), loop=loop))


def test_entering_a_task_while_another_runs_is_refused(loop, hotloop, errors):
    async def other():
        pass

    async def main():
        task = hotloop.Task(other(), loop=loop)
        callback = loop._ready[-1]._callback
        with pytest.raises(RuntimeError, match=r"Cannot enter into task .* while another task"):
            callback()
        own = asyncio.current_task()
        assert own is not None
        await task

    loop.run_until_complete(hotloop.Task(main(), loop=loop))
    assert asyncio.current_task(loop) is None


def test_the_context_is_the_tasks_own(loop, hotloop):
    variable = contextvars.ContextVar("variable", default="outside")

    async def work():
        variable.set("inside")
        await asyncio.sleep(0)
        return variable.get()

    context = contextvars.copy_context()
    task = hotloop.Task(work(), loop=loop, context=context)
    assert loop.run_until_complete(task) == "inside"
    assert variable.get() == "outside" and context[variable] == "inside"


def test_run_takes_a_task_factory(hotloop):
    async def main():
        return type(asyncio.current_task())

    assert hotloop.run(main(), task_factory=hotloop.task_factory) is hotloop.Task
    assert hotloop.run(main()) is asyncio.Task


def test_debug_mode_says_where_a_task_was_made(loop, hotloop):
    async def work():
        pass

    loop.set_debug(True)
    loop.set_task_factory(hotloop.task_factory)
    task = loop.create_task(work())
    assert task._source_traceback
    assert "created at" in repr(task)
    loop.run_until_complete(task)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="eager tasks are new in 3.12")
def test_before_eager_tasks_nothing_starts_eagerly(loop, hotloop):
    assert not hasattr(hotloop, "eager_task_factory")
    coroutine = asyncio.sleep(0)
    with pytest.raises(TypeError, match="cannot start eagerly"):
        hotloop.Task(coroutine, loop=loop, eager_start=True)
    coroutine.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_eager_tasks_run_in_the_constructor(loop, hotloop):
    order = []

    async def child(number):
        order.append(("begin", number))
        assert type(asyncio.current_task()) is hotloop.Task
        if number % 2:
            await asyncio.sleep(0)
        order.append(("end", number))
        return number

    async def main():
        own = asyncio.current_task()
        tasks = [loop.create_task(child(number), name=str(number)) for number in range(2)]
        assert asyncio.current_task() is own
        assert tasks[0].done() and not tasks[1].done()
        assert asyncio.all_tasks() == {own, tasks[1]}
        assert await asyncio.gather(*tasks) == [0, 1]

    loop.set_task_factory(hotloop.eager_task_factory)
    loop.run_until_complete(main())
    assert order == [("begin", 0), ("end", 0), ("begin", 1), ("end", 1)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_an_eager_task_that_fails_or_is_cancelled_in_its_first_step(loop, hotloop):
    async def fail(error):
        raise error

    async def main():
        task = loop.create_task(fail(ZeroDivisionError()))
        with pytest.raises(ZeroDivisionError):
            await task
        task = loop.create_task(fail(asyncio.CancelledError()))
        assert task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    loop.set_task_factory(hotloop.eager_task_factory)
    loop.run_until_complete(main())


@pytest.mark.filterwarnings("ignore:the .type, exc, tb. signature:DeprecationWarning")
def test_throwing_a_class_that_makes_no_exception_is_refused(loop, hotloop):
    class Mistaken(BaseException):
        def __new__(cls, *args):
            return []

    waiting = iter(hotloop.Future(loop=loop))
    next(waiting)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError as error:
        traceback = error.__traceback__
    with pytest.raises(TypeError, match="should have returned an instance of BaseException"):
        waiting.throw(Mistaken, None, traceback)


class LikeContext:
    """Has the method that a handle calls, and is no context."""

    def __init__(self):
        self.own = contextvars.copy_context()
        self.calls = 0

    def run(self, *call):
        self.calls += 1
        return self.own.run(*call)


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="only a context is taken (gh-157301)")
def test_every_step_is_run_by_the_method_of_what_stands_in_for_a_context(loop, hotloop):
    future = hotloop.Future(loop=loop)

    async def work():
        await asyncio.sleep(0)
        return await future

    contexts = [LikeContext(), LikeContext()]
    tasks = [
        kind(work(), loop=loop, context=context)
        for kind, context in zip([hotloop.Task, asyncio.Task], contexts, strict=True)
    ]
    loop.call_later(0, loop.call_soon, future.set_result, 7)
    assert loop.run_until_complete(asyncio.gather(*tasks)) == [7, 7]
    assert contexts[0].calls == contexts[1].calls == 3


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="only a context is taken (gh-157301)")
def test_a_context_that_cannot_run_anything_fails_as_on_asyncios_own(loop, hotloop, errors):
    reports = []
    for kind in (asyncio.Task, hotloop.Task):
        coroutine = asyncio.sleep(0)
        task = kind(coroutine, loop=loop, context=5)
        task._log_destroy_pending = False
        run_once(loop)
        coroutine.close()
        del task, coroutine
        reports.append(
            [(type(report["exception"]), str(report["exception"])) for report in errors.take()]
        )
    assert reports[0] == reports[1]
    assert reports[0][0][0] is AttributeError
    collect()


@pytest.mark.parametrize(
    "call",
    [
        lambda future, task, loop, coroutine: future(loop),
        lambda future, task, loop, coroutine: future(loop, 2),
        lambda future, task, loop, coroutine: future(loop=loop, x=1),
        lambda future, task, loop, coroutine: future(1, loop=loop),
        lambda future, task, loop, coroutine: task(),
        lambda future, task, loop, coroutine: task(coroutine, 2),
        lambda future, task, loop, coroutine: future.__new__(future)._result,
        lambda future, task, loop, coroutine: future.__new__(future)._exception,
        lambda future, task, loop, coroutine: future.__new__(future)._log_traceback,
        lambda future, task, loop, coroutine: future.__new__(future)._state,
        lambda future, task, loop, coroutine: future.__new__(future)._cancel_message,
        lambda future, task, loop, coroutine: future.__new__(future).add_done_callback(len),
        lambda future, task, loop, coroutine: task.__new__(task).add_done_callback(len),
        lambda future, task, loop, coroutine: task.__new__(task).get_stack(),
    ],
)
def test_wrong_arguments_and_objects_without_init_are_refused_as_by_asyncios_own(
    loop, hotloop, call
):
    coroutine = asyncio.sleep(0)
    model = outcome(lambda: call(asyncio.Future, asyncio.Task, loop, coroutine))
    assert outcome(lambda: call(hotloop.Future, hotloop.Task, loop, coroutine)) == model
    coroutine.close()
