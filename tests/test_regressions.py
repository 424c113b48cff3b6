"""Faults that a review found, each named after what went wrong."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import gc
import os
import socket
import weakref

import pytest

from helpers import Recorder, run_child, run_once


class Node:
    """Something to hang references on."""


async def test_a_transport_that_died_during_sendfile_is_not_entered_again(loop, pair):
    left, _ = pair
    transport, protocol = await loop.create_connection(Recorder, sock=left)
    number = transport.get_extra_info("socket").fileno()
    # What asyncio's _sendfile_native does around the wait, with an abort in the middle.
    del loop._transports[number]
    transport.abort()
    await protocol.wait("lost")
    loop._transports[number] = transport
    reference = weakref.ref(transport)
    del transport
    protocol.transport = None
    await asyncio.sleep(0)
    gc.collect()
    assert reference() is None
    one, other = socket.socketpair()
    with one, other:
        loop.add_reader(one, print)
        assert loop.remove_reader(one)


async def test_sock_recv_does_not_read_from_the_next_owner_of_the_number(loop, pair):
    left, right = pair
    trigger, other = socket.socketpair()
    secret, sender = socket.socketpair()
    number = left.fileno()

    def hostile():
        trigger.recv(1)
        left.close()
        os.dup2(secret.fileno(), number)
        sender.send(b"another connection's")

    with trigger, other, secret, sender:
        loop.add_reader(trigger, hostile)
        waiting = asyncio.ensure_future(loop.sock_recv(left, 100))
        await asyncio.sleep(0)
        other.send(b"x")
        right.send(b"for left")
        with pytest.raises(OSError, match="Bad file descriptor"):
            await waiting
        loop.remove_reader(trigger)
        os.close(number)


def test_arguments_replaced_by_a_list_are_passed(loop):
    got = []
    handle = loop.call_soon(lambda *args: got.append(args), "x")
    handle._args = ["from", "a list"]
    run_once(loop)
    assert got == [("from", "a list")]


def test_a_handle_whose_cancellation_is_undone_is_reported(loop, errors):
    handle = loop.call_soon(int)
    handle.cancel()
    handle._cancelled = False
    run_once(loop)
    (context,) = errors.take()
    assert isinstance(context["exception"], TypeError)


def test_the_context_of_a_posted_handle_can_be_replaced():
    source = """
import contextvars, gc
from helpers import new_loop
loop = new_loop()
def post():
    handle = loop.call_soon_threadsafe(print, "ran")
    handle._context = None
    del handle._context
    handle._context = contextvars.copy_context()
    gc.collect()
    loop.call_soon(loop.stop)
loop.call_soon(post)
loop.run_forever()
gc.collect()
loop.close()
"""
    child = run_child(source)
    assert (child.returncode, child.stdout, child.stderr) == (0, "ran\n", "")


def test_a_long_chain_of_handles_is_freed_without_recursion():
    source = """
from helpers import new_loop
loop = new_loop()
handle = None
for _ in range(300_000):
    handle = loop.call_soon(handle.cancelled if handle else int)
loop.call_soon(loop.stop)
loop.run_forever()
del handle
loop.close()
print("freed")
"""
    child = run_child(source)
    assert (child.returncode, child.stdout, child.stderr) == (0, "freed\n", "")


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("way", ["ran", "cancelled", "popped"])
def test_a_handle_in_a_cycle_is_collected_however_it_left_the_queue(loop, way, debug):
    loop.set_debug(debug)
    references = []

    def make():
        node = Node()
        context = contextvars.copy_context()
        variable = contextvars.ContextVar("variable")
        context.run(variable.set, node)
        node.callback = lambda: node
        node.handle = loop.call_soon(node.callback, context=context)
        references.append(weakref.ref(node))
        if way == "cancelled":
            node.handle.cancel()
        elif way == "popped":
            assert loop._ready.popleft() is node.handle
        loop.call_soon(loop.stop)

    loop.call_soon(make)
    loop.run_forever()
    run_once(loop)
    gc.collect()
    assert references[0]() is None


@pytest.mark.hotloop_only
def test_a_loop_with_a_view_of_its_own_queue_is_collected(loop_factory):
    lost = loop_factory()
    lost.view = lost._ready
    lost.close()
    reference = weakref.ref(lost)
    del lost
    gc.collect()
    assert reference() is None


@pytest.mark.hotloop_only  # the stdlib's transport is half made, and complains when it is freed
def test_a_transport_refused_by_a_closed_loop_leaves_the_socket_to_its_owner(loop_factory, pair):
    left, _ = pair
    closed = loop_factory()
    closed.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        closed._make_socket_transport(left, asyncio.Protocol())
    left.close()
    assert left.fileno() == -1


@pytest.mark.hotloop_only  # the stdlib's loop is left running now and then
def test_an_interrupt_at_any_moment_leaves_the_loop_usable():
    source = """
import gc, random, signal
from helpers import new_loop

gc.disable()  # an interrupt inside a finalizer is reported and goes no further

class Interrupt(KeyboardInterrupt):
    pass

def interrupt(number, frame):
    global fired
    fired = True
    raise Interrupt

loop = new_loop()
before = signal.signal(signal.SIGALRM, interrupt)
interrupted = 0
def attempt():  # a frame of its own: the caller's `try` covers all of it
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 3e-4))
    while not fired:
        loop.call_soon(loop.stop)
        loop.run_forever()

for _ in range(100):
    fired = False
    try:
        attempt()
    except Interrupt:
        interrupted += 1
    assert not loop.is_running()
signal.signal(signal.SIGALRM, before)
assert interrupted == 100, interrupted
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
"""
    child = run_child(source)
    assert (child.returncode, child.stderr) == (0, "")


@pytest.mark.hotloop_only
def test_a_signal_pair_that_is_given_up_while_it_is_read_is_not_read_again(loop):
    class Own(type(loop)):
        seen = 0

        def _handle_signal(self, number):
            self.seen += 1
            self._watch_signal_fd(-1)

    own = Own()
    try:
        own._handle_signals(True)
        own._csock.send(b"\x01" * 256)
        run_once(own)
        assert own.seen == 256
    finally:
        own.close()


def test_what_is_thrown_out_of_the_ready_queue_is_reported_again_to_a_sock_call(loop, pair):
    """As on asyncio, which watches a descriptor until it is served: an emptied queue only delays."""

    def interrupt():
        raise KeyboardInterrupt

    def pop(loop):
        loop._ready.popleft()

    def clear(loop):
        loop._ready.clear()

    def replace(loop):
        loop._ready = collections.deque()

    ours, theirs = pair
    for throw_out in (clear, pop, replace):
        receiving = loop.create_task(loop.sock_recv(ours, 10))
        run_once(loop)
        theirs.send(b"x")
        loop.call_soon(interrupt)  # ends the iteration before what it has found readable is run
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert len(loop._ready) == 1
        throw_out(loop)
        assert not loop._ready
        for _ in range(4):
            run_once(loop)
        assert receiving.done(), throw_out.__name__
        assert receiving.result() == b"x"
