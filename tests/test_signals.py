"""``add_signal_handler`` and ``remove_signal_handler``."""

import asyncio
import os
import signal
import threading

import pytest

from helpers import run_child, run_once, same_as_stdlib


async def coroutine_function():
    """A callback that is refused."""


def test_handler_runs_in_the_loop_with_its_arguments(loop):
    got = []

    def handler(*arguments):
        got.append((arguments, asyncio.get_running_loop() is loop))
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, handler, 1, "two")
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    assert got == [((1, "two"), True)]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True


def test_a_waiting_loop_is_woken_by_a_signal_from_another_thread(loop):
    got = []
    loop.add_signal_handler(signal.SIGUSR1, lambda: (got.append(1), loop.stop()))
    killer = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1))
    loop.call_soon(killer.start)
    loop.run_forever()
    killer.join()
    assert got == [1]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_signal_that_came_before_the_run_is_not_lost(loop):
    got = []
    loop.add_signal_handler(signal.SIGUSR1, lambda: (got.append(1), loop.stop()))
    signal.raise_signal(signal.SIGUSR1)
    assert got == []
    loop.run_forever()
    assert got == [1]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_busy_loop_runs_the_handler(loop):
    got = []

    def busy():
        if not got:
            loop.call_soon(busy)

    loop.add_signal_handler(signal.SIGUSR1, lambda: (got.append(1), loop.stop()))
    loop.call_soon(busy)
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    loop.run_forever()
    assert got == [1]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_two_signals_have_their_own_handlers(loop):
    got = []
    loop.add_signal_handler(signal.SIGUSR1, got.append, 1)
    loop.add_signal_handler(signal.SIGUSR2, lambda: (got.append(2), loop.stop()))
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    loop.call_soon(signal.raise_signal, signal.SIGUSR2)
    loop.run_forever()
    assert got == [1, 2]
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        assert loop.remove_signal_handler(number) is True


def test_a_second_add_replaces_the_handler(loop):
    got = []
    loop.add_signal_handler(signal.SIGUSR1, got.append, "old")
    loop.add_signal_handler(signal.SIGUSR1, lambda: (got.append("new"), loop.stop()))
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    loop.run_forever()
    assert got == ["new"]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_remove_puts_the_default_action_back(loop):
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    interrupt = signal.default_int_handler
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGINT) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is interrupt


def test_close_removes_every_handler(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGUSR2, print)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


def test_the_wakeup_descriptor_is_put_back(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    run_once(loop)
    loop.remove_signal_handler(signal.SIGUSR1)
    run_once(loop)
    assert signal.set_wakeup_fd(-1) == -1


REFUSED = {
    "no integer": ("10", print),
    "a float": (10.0, print),
    "zero": (0, print),
    "negative": (-1, print),
    "too large": (1000, print),
    "SIGKILL": (signal.SIGKILL, print),
    "SIGSTOP": (signal.SIGSTOP, print),
    "coroutine function": (signal.SIGUSR1, coroutine_function),
}


@pytest.mark.parametrize(("number", "callback"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_arguments_are_refused_in_the_words_of_the_stdlib(loop, number, callback):
    def add(tried):
        tried.add_signal_handler(number, callback)

    with pytest.raises((TypeError, ValueError, RuntimeError)):
        add(loop)
    same_as_stdlib(loop, add)


def test_words_for_bad_arguments(loop):
    with pytest.raises(TypeError, match="^sig must be an int, not '10'$"):
        loop.add_signal_handler("10", print)
    with pytest.raises(ValueError, match="^invalid signal number 1000$"):
        loop.add_signal_handler(1000, print)
    with pytest.raises(RuntimeError, match="^sig 9 cannot be caught$"):
        loop.add_signal_handler(9, print)
    with pytest.raises(TypeError, match=r"^coroutines cannot be used with add_signal_handler\(\)$"):
        loop.add_signal_handler(signal.SIGUSR1, coroutine_function)


def test_another_thread_than_the_main_one_is_refused(loop):
    raised = []

    def add():
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except Exception as error:
            raised.append((type(error), str(error)))

    thread = threading.Thread(target=add)
    thread.start()
    thread.join()
    words = "set_wakeup_fd only works in main thread of the main interpreter"
    assert raised == [(RuntimeError, words)]


def test_a_handler_that_raises_is_reported(loop, errors):
    loop.add_signal_handler(signal.SIGUSR1, lambda: 1 / 0)
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    loop.call_soon(loop.add_signal_handler, signal.SIGUSR2, loop.stop)
    loop.call_soon(signal.raise_signal, signal.SIGUSR2)
    loop.run_forever()
    (context,) = errors.take()
    assert isinstance(context["exception"], ZeroDivisionError)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        loop.remove_signal_handler(number)


def test_system_calls_are_restarted_and_no_data_is_lost_under_a_rain_of_signals(loop, pair):
    left, right = pair
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)

    async def main():
        for number in range(200):
            os.kill(os.getpid(), signal.SIGUSR1)
            await loop.sock_sendall(right, b"%d" % (number % 10))
            assert await loop.sock_recv(left, 10) == b"%d" % (number % 10)

    loop.run_until_complete(main())
    run_once(loop)
    assert seen
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_child_process_that_forks_leaves_the_parents_loop_alone():
    source = """
import os
from helpers import new_loop
loop = new_loop()
left, right = __import__("socket").socketpair()
got = []
loop.add_reader(left, lambda: (got.append(left.recv(1)), loop.stop()))
child = os.fork()
if child == 0:
    loop.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
right.send(b"x")
loop.run_forever()
assert got == [b"x"]
loop.remove_reader(left)
loop.close()
left.close()
right.close()
"""
    child = run_child(source)
    assert (child.returncode, child.stderr) == (0, "")
