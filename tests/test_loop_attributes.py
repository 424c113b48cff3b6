"""Attributes of the loop that are not public and that libraries read."""

import asyncio
import os
import signal
import threading
from asyncio import base_events

import pytest


def test_the_state_of_a_run_can_be_read(loop):
    seen = []

    def look():
        seen.append((loop._thread_id, loop._stopping))
        loop.stop()
        seen.append((loop._thread_id, loop._stopping))

    assert (loop._thread_id, loop._stopping) == (None, False)
    loop.call_soon(look)
    loop.run_forever()
    this = threading.get_ident()
    assert seen == [(this, False), (this, True)]
    assert (loop._thread_id, loop._stopping) == (None, False)


def test_the_debug_flag_is_what_set_debug_set(loop):
    for flag in (True, False):
        loop.set_debug(flag)
        assert loop._debug is flag


def test_a_closed_loop_says_so(loop_factory):
    loop = loop_factory()
    assert loop._closed is False
    assert loop._check_closed() is None
    loop.close()
    assert loop._closed is True
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop._check_closed()


def test_the_handlers_of_signals_can_be_read(loop):
    assert loop._signal_handlers == {}
    loop.add_signal_handler(signal.SIGUSR1, print, "arrived")
    handle = loop._signal_handlers[signal.SIGUSR1]
    assert isinstance(handle, asyncio.Handle)
    assert (handle._callback, handle._args) == (print, ("arrived",))
    loop.remove_signal_handler(signal.SIGUSR1)
    assert loop._signal_handlers == {}


def test_the_end_of_run_until_complete_is_a_callback_of_the_future(loop):
    async def main():
        (callback, _context), *_ = asyncio.current_task()._callbacks
        return callback

    assert loop.run_until_complete(main()) is base_events._run_until_complete_cb


def test_a_signal_runs_its_handler_through_the_self_pipe(loop):
    seen = []
    handler = loop._handle_signal
    loop._handle_signal = lambda number: (seen.append(number), handler(number))
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    loop.remove_signal_handler(signal.SIGUSR1)
    assert seen == [signal.SIGUSR1]
