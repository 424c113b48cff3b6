"""What differs from one Python to the next: signatures, policies, warnings. Each is the running Python's."""

import asyncio
import inspect
import sys
import threading
import warnings

import pytest

from helpers import Recorder, address_of, new_loop, outcome, run_child, same_as_stdlib

PUBLIC = [
    name
    for name in dir(asyncio.SelectorEventLoop)
    if not name.startswith("_") and callable(getattr(asyncio.SelectorEventLoop, name))
]
SINCE_3_14 = pytest.mark.skipif(sys.version_info < (3, 14), reason="since 3.14")


def parameters(function):
    found = inspect.signature(function).parameters.values()
    return [(parameter.name, parameter.kind, parameter.default) for parameter in found]


@pytest.mark.parametrize("name", PUBLIC)
def test_methods_have_the_signatures_of_the_running_version(loop, name):
    stdlib = asyncio.SelectorEventLoop()
    try:
        assert parameters(getattr(loop, name)) == parameters(getattr(stdlib, name))
    finally:
        stdlib.close()


@pytest.mark.hotloop_only
def test_importing_warns_of_nothing():
    child = run_child("import hotloop; hotloop.new_event_loop().close()")
    assert child.returncode == 0, child.stderr


@pytest.mark.hotloop_only
@pytest.mark.skipif(sys.version_info >= (3, 16), reason="policies are gone in 3.16")
def test_install_puts_the_policy_in_force():
    source = """
import asyncio, sys, warnings, hotloop
if sys.version_info >= (3, 14):
    warnings.filterwarnings("ignore", ".*set_event_loop_policy", DeprecationWarning)
hotloop.install()

async def main():
    return type(asyncio.get_running_loop())

assert asyncio.run(main()) is hotloop.EventLoop
loop = asyncio.new_event_loop()
assert type(loop) is hotloop.EventLoop
loop.close()
"""
    child = run_child(source)
    assert child.returncode == 0, child.stderr


@pytest.mark.hotloop_only
@pytest.mark.skipif(sys.version_info >= (3, 16), reason="policies are gone in 3.16")
def test_the_policy_can_be_subclassed(hotloop):
    class Policy(hotloop.EventLoopPolicy):
        pass

    loop = Policy().new_event_loop()
    assert type(loop) is hotloop.EventLoop
    loop.close()


@pytest.mark.parametrize("keyword", ["name", "context", "eager_start", "unknown"])
def test_create_task_takes_the_keywords_of_the_running_version(loop, keyword):
    def create(loop):
        coroutine = asyncio.sleep(0)
        try:
            task = loop.create_task(coroutine, **{keyword: None})
        finally:
            coroutine.close()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        return type(task).__name__

    stdlib = asyncio.SelectorEventLoop()
    try:
        expected = outcome(lambda: create(stdlib))
    finally:
        stdlib.close()
    # The wrong keyword's error names the function in which it was noticed: not the same in ours.
    kind, words = outcome(lambda: create(loop))
    assert kind is expected[0]
    if kind is TypeError:
        assert f"'{keyword}'" in words
    else:
        assert words == expected[1]


@SINCE_3_14
def test_a_task_can_start_eagerly(loop):
    async def main():
        started = []

        async def child():
            started.append(1)

        task = asyncio.get_running_loop().create_task(child(), eager_start=True)
        assert started == [1] and task.done()

    loop.run_until_complete(main())


@SINCE_3_14
def test_a_task_factory_gets_every_keyword_as_it_was_given(loop):
    got = []

    def factory(loop, coroutine, **keywords):
        got.append(keywords)
        return asyncio.Task(coroutine, loop=loop, name=keywords.get("name"))

    loop.set_task_factory(factory)
    loop.run_until_complete(loop.create_task(asyncio.sleep(0), name="a", anything=1))
    loop.run_until_complete(loop.create_task(asyncio.sleep(0)))
    assert got == [{"name": "a", "anything": 1}, {}]


@SINCE_3_14
def test_cancelling_from_another_thread_waits_for_the_callback_to_end(loop):
    began, cancelled, order = threading.Event(), threading.Event(), []

    def callback():
        began.set()
        # The other thread is inside `cancel()` or about to be there, and cannot come out.
        order.append("still running" if not cancelled.wait(0.05) else "overtaken")

    def other():
        handle = loop.call_soon_threadsafe(callback)
        began.wait()
        handle.cancel()
        cancelled.set()
        order.append("cancelled")
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=other)
    thread.start()
    loop.run_forever()
    thread.join()
    assert order == ["still running", "cancelled"]


@SINCE_3_14
def test_a_callback_may_cancel_the_handle_that_runs_it(loop):
    def callback():
        handle.cancel()
        loop.stop()

    handle = loop.call_soon_threadsafe(callback)
    assert isinstance(handle, asyncio.events._ThreadSafeHandle)
    assert repr(handle).startswith("<")
    loop.run_forever()
    assert handle.cancelled()


async def test_leaving_a_server_closes_it(loop):
    async with await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0) as server:
        assert server.is_serving()
    assert not server.is_serving() and not server.sockets


def test_wait_closed_waits_for_connections_where_the_running_version_does(loop):
    def ends_at_once(loop):
        async def main():
            accepted, ours = Recorder(), Recorder()
            server = await loop.create_server(lambda: accepted, "127.0.0.1", 0)
            await loop.create_connection(lambda: ours, *address_of(server))
            await accepted.wait("made")
            server.close()
            waiting = asyncio.ensure_future(server.wait_closed())
            for _ in range(3):
                await asyncio.sleep(0)
            at_once = waiting.done()
            ours.transport.close()
            await accepted.wait("lost")
            await ours.wait("lost")
            await waiting
            return at_once

        return loop.run_until_complete(main())

    same_as_stdlib(loop, ends_at_once)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="since 3.12")
def test_asyncio_run_takes_the_loop_as_factory():
    async def main():
        return type(asyncio.get_running_loop())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asyncio.run(main(), loop_factory=new_loop).__name__


@SINCE_3_14
def test_a_loop_has_the_child_watcher_of_its_version(loop):
    stdlib = asyncio.SelectorEventLoop()
    try:
        assert type(loop._watcher) is type(stdlib._watcher)
    finally:
        stdlib.close()
