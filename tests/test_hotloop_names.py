"""The names of the package ``hotloop`` itself: the loop, ``run``, ``install`` and the policy."""

import asyncio
import warnings

import pytest

from helpers import run_child

pytestmark = pytest.mark.hotloop_only


def test_event_loop_can_be_made_and_run(hotloop):
    loop = hotloop.EventLoop()
    try:
        assert loop.run_until_complete(asyncio.sleep(0, "done")) == "done"
    finally:
        loop.close()


def test_new_event_loop_makes_a_new_one_every_time(hotloop):
    loops = [hotloop.new_event_loop(), hotloop.new_event_loop()]
    assert loops[0] is not loops[1]
    for loop in loops:
        assert type(loop) is hotloop.EventLoop
        loop.close()


def test_run_returns_the_result_on_a_hotloop(hotloop):
    async def main():
        return type(asyncio.get_running_loop())

    assert hotloop.run(main()) is hotloop.EventLoop


def test_run_passes_debug_on(hotloop):
    async def main():
        return asyncio.get_running_loop().get_debug()

    assert hotloop.run(main(), debug=True) is True
    assert hotloop.run(main(), debug=False) is False


def test_run_refuses_what_is_not_a_coroutine_as_asyncio_does(hotloop):
    with pytest.raises((TypeError, ValueError)) as ours:
        hotloop.run(1)
    with pytest.raises((TypeError, ValueError)) as theirs:
        asyncio.run(1)
    assert (type(ours.value), str(ours.value)) == (type(theirs.value), str(theirs.value))


def test_run_inside_a_running_loop_is_refused(hotloop):
    async def main():
        coroutine = asyncio.sleep(0)
        try:
            with pytest.raises(RuntimeError, match="cannot be called"):
                hotloop.run(coroutine)
        finally:
            coroutine.close()

    hotloop.run(main())


def test_run_cancels_tasks_and_closes_the_loop(hotloop):
    kept = []

    async def waiter(loop):
        await loop.create_future()

    async def start():
        loop = asyncio.get_running_loop()
        kept.extend([loop, asyncio.create_task(waiter(loop))])
        await asyncio.sleep(0)

    hotloop.run(start())
    loop, task = kept
    assert loop.is_closed() and task.cancelled()


def test_importing_has_no_side_effect():
    source = """
import asyncio, os, signal, sys, threading
def state():
    return (
        sorted(os.listdir("/proc/self/fd")), threading.active_count(),
        signal.getsignal(signal.SIGINT), signal.set_wakeup_fd(-1), asyncio.new_event_loop,
        asyncio.events._event_loop_policy, asyncio.run, asyncio.open_connection,
    )
before = state()
import hotloop
assert state() == before
"""
    child = run_child(source)
    assert (child.returncode, child.stderr) == (0, "")


def test_install_makes_asyncio_use_hotloop():
    source = """
import asyncio, warnings
import hotloop
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    hotloop.install()
async def main():
    return asyncio.get_running_loop()
assert type(asyncio.run(main())) is hotloop.EventLoop
loop = asyncio.new_event_loop()
assert type(loop) is hotloop.EventLoop
loop.close()
"""
    child = run_child(source)
    assert (child.returncode, child.stderr) == (0, "")


def test_policy_makes_hotloops(hotloop):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        loop = hotloop.EventLoopPolicy().new_event_loop()
    assert type(loop) is hotloop.EventLoop
    loop.close()


def test_making_a_policy_warns_of_nothing():
    source = """
import warnings
warnings.simplefilter("error")
import hotloop
hotloop.EventLoopPolicy()
"""
    child = run_child(source)
    assert (child.returncode, child.stderr) == (0, "")


def test_a_python_without_policies_has_none_here_and_install_says_so():
    source = """
import asyncio, importlib
import hotloop
del asyncio.events._event_loop_policy  # as in 3.16
importlib.reload(hotloop)
assert "EventLoopPolicy" not in hotloop.__all__
assert not hasattr(hotloop, "EventLoopPolicy")
names = {}
exec("from hotloop import *", names)
assert "EventLoop" in names and "EventLoopPolicy" not in names
try:
    hotloop.install()
except RuntimeError as error:
    assert "has no event-loop policies" in str(error)
    assert "hotloop.run(main())" in str(error)
else:
    raise AssertionError("install() did nothing")
hotloop.run(asyncio.sleep(0))
"""
    child = run_child(source)
    assert (child.returncode, child.stderr) == (0, "")


def test_loop_can_be_subclassed(hotloop):
    class Counting(hotloop.EventLoop):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def call_soon(self, callback, *arguments, context=None):
            self.calls += 1
            return super().call_soon(callback, *arguments, context=context)

    loop = Counting()
    try:
        assert loop.run_until_complete(asyncio.sleep(0, "done")) == "done"
        # The task's first step, its second, and the callback that ends the run.
        assert loop.calls >= 3
    finally:
        loop.close()
