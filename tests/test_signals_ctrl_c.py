"""Ctrl-C: leaves a busy and a waiting loop at once, is never lost, and cancels under a runner."""

import pytest

from helpers import LOOP_NAME, run_child

PREAMBLE = """
import asyncio, os, signal, sys, threading
from helpers import new_loop, run_once

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

# A timer of the process interrupts a wait in the kernel, wherever it is.
def interrupt_soon():
    signal.signal(signal.SIGALRM, lambda *received: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, 0.05)

def expect_interrupt(call):
    try:
        call()
    except KeyboardInterrupt:
        return
    raise AssertionError("no KeyboardInterrupt")
"""


def check(source):
    child = run_child(PREAMBLE + source)
    assert (child.returncode, child.stderr) == (0, "")


def test_a_waiting_loop_is_left():
    check("""
loop = new_loop()
loop.call_soon(interrupt_soon)
expect_interrupt(loop.run_forever)
assert not loop.is_running()
loop.close()
""")


def test_a_loop_that_waits_for_a_far_timer_is_left_and_the_timer_is_kept():
    check("""
loop = new_loop()
timer = loop.call_later(3600, print)
loop.call_soon(interrupt_soon)
expect_interrupt(loop.run_forever)
assert not timer.cancelled()
loop.close()
""")


def test_a_busy_loop_is_left():
    check("""
loop = new_loop()
def busy():
    loop.call_soon(busy)
loop.call_soon(busy)
loop.call_soon(interrupt_soon)
expect_interrupt(loop.run_forever)
loop.close()
""")


def test_a_loop_busy_with_steps_of_tasks_is_left():
    check("""
loop = new_loop()
class Again:
    def __await__(self):
        while True:
            yield
async def busy():
    await Again()
# The interrupt may come between two steps or end one of the tasks: those left are pending.
loop.set_exception_handler(lambda loop, context: None)
tasks = [loop.create_task(busy()) for _ in range(3)]
loop.call_soon(interrupt_soon)
expect_interrupt(loop.run_forever)
assert not loop.is_running()
loop.close()
""")


def test_nothing_queued_is_lost():
    check("""
loop = new_loop()
got = []
loop.call_soon(got.append, 1)
loop.call_soon(interrupt)
loop.call_soon(got.append, 2)
expect_interrupt(loop.run_forever)
run_once(loop)
assert got == [1, 2], got
loop.close()
""")


def test_a_loop_with_signal_handlers_is_left_too():
    check("""
loop = new_loop()
loop.add_signal_handler(signal.SIGUSR1, print)
loop.call_soon(interrupt_soon)
expect_interrupt(loop.run_forever)
loop.close()
""")


def test_again_and_again():
    check("""
loop = new_loop()
for _ in range(50):
    loop.call_soon(interrupt)
    expect_interrupt(loop.run_forever)
assert loop.run_until_complete(asyncio.sleep(0, "usable")) == "usable"
loop.close()
""")


def test_a_python_handler_for_the_signal_runs_between_iterations_of_a_waiting_loop():
    check("""
loop = new_loop()
signal.signal(signal.SIGALRM, lambda *received: loop.call_soon_threadsafe(loop.stop))
loop.call_soon(signal.setitimer, signal.ITIMER_REAL, 0.05)
loop.run_forever()
loop.close()
""")


RUN = """
cleaned = []
async def main():
    asyncio.get_running_loop().call_soon({kind})
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        await asyncio.sleep(0)
        cleaned.append(True)
        raise
expect_interrupt(lambda: {run}(main()))
assert cleaned == [True]
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert signal.set_wakeup_fd(-1) == -1
"""


@pytest.mark.parametrize("kind", ["interrupt", "interrupt_soon"])
def test_a_runner_turns_it_into_a_cancellation(kind):
    check(
        """
def run(main):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main)
"""
        + RUN.format(kind=kind, run="run")
    )


@pytest.mark.hotloop_only
@pytest.mark.parametrize("kind", ["interrupt", "interrupt_soon"])
def test_run_turns_it_into_a_cancellation(kind):
    check(f"import {LOOP_NAME}" + RUN.format(kind=kind, run=f"{LOOP_NAME}.run"))


def test_a_task_that_swallows_the_cancellation_is_left_by_the_second_one():
    check("""
async def main():
    loop = asyncio.get_running_loop()
    loop.call_soon(interrupt)
    try:
        await loop.create_future()
    except asyncio.CancelledError:
        pass
    loop.call_soon(interrupt)
    await loop.create_future()

def run():
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())

expect_interrupt(run)
""")
