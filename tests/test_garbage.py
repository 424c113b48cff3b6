"""Cycles through handles, transports and the loop are collected, whatever state they are left in."""

from __future__ import annotations

import contextvars
import gc
import threading
import weakref

import pytest

import helpers
from helpers import Recorder, collector_off, run_once


class Node:
    """Something to hang references on."""

    def method(self, *args):
        """Do nothing."""


def collected(reference: weakref.ref) -> bool:
    helpers.collect()
    return reference() is None


def test_a_handle_that_its_callback_keeps_is_collected_after_it_ran(loop):
    node = Node()
    node.handle = loop.call_soon(node.method)
    reference = weakref.ref(node)
    run_once(loop)
    del node
    assert collected(reference)


def test_a_handle_that_is_made_in_a_running_loop_and_kept_is_collected(loop):
    node = Node()

    def make():
        node.handle = loop.call_soon(node.method)
        loop.call_soon(loop.stop)

    loop.call_soon(make)
    loop.run_forever()
    reference = weakref.ref(node)
    node = make = None  # ruff takes names of a closure for unbound after `del`
    assert collected(reference)


def test_a_cancelled_handle_lets_go_at_once(loop):
    node = Node()
    handle = loop.call_soon(node.method, node)
    reference = weakref.ref(node)
    with collector_off():
        handle.cancel()
        del node
        assert reference() is None


def test_a_timer_that_its_callback_keeps_is_collected_after_it_ran(loop):
    node = Node()
    node.handle = loop.call_later(0, node.method)
    reference = weakref.ref(node)
    loop.call_later(0, loop.stop)
    loop.run_forever()
    del node
    assert collected(reference)


def test_a_handle_posted_by_another_thread_and_kept_is_collected_with_its_context(loop):
    variable = contextvars.ContextVar("variable")
    node = Node()

    def post():
        variable.set(node)
        node.handle = loop.call_soon_threadsafe(node.method)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=post)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    reference = weakref.ref(node)
    assert node.handle._context[variable] is node
    assert gc.is_tracked(node.handle._context)
    node = thread = post = None
    assert collected(reference)


@pytest.mark.parametrize("ran", [False, True])
def test_an_unclosed_loop_with_a_waiting_callback_is_collected(loop_factory, ran):
    lost = loop_factory()
    node = Node()
    node.loop = lost
    if ran:
        lost.call_soon(lambda: lost.call_soon(node.method, node))
        run_once(lost)
    else:
        lost.call_soon(node.method, node)
    node.timer = lost.call_later(1000, node.method)
    reference = weakref.ref(node)
    node = None
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        lost = None
        assert collected(reference)


def test_an_unclosed_loop_with_a_waiting_write_is_collected(loop_factory, pair):
    class Data(bytearray):
        """A buffer with attributes."""

    lost = loop_factory()
    left, _ = pair
    helpers.fill(left)
    data = Data(b"data")
    data.loop = lost
    writing = lost.create_task(lost.sock_sendall(left, data))
    writing._log_destroy_pending = False
    run_once(lost)
    reference = weakref.ref(data)
    data = writing = None
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        lost = None
        assert collected(reference)


@pytest.mark.hotloop_only
@pytest.mark.parametrize("engine", ["direct", "bio"])
def test_a_tls_connection_that_its_ssl_object_keeps_is_collected(loop, monkeypatch, engine):
    monkeypatch.setenv("HOTLOOP_TLS", engine)
    protocol = loop._make_tls_protocol(Recorder(), helpers.server_tls(), None, True)
    protocol._sslobj.kept = protocol
    reference = weakref.ref(protocol)
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        protocol = None
        assert collected(reference)


def test_a_weak_reference_to_a_handle_does_not_see_the_next_one(loop):
    first = loop.call_soon(int)
    gone = weakref.ref(first)
    first.cancel()
    run_once(loop)
    del first
    assert gone() is None
    second = loop.call_soon(int)
    assert gone() is None
    assert weakref.ref(second)() is second
    second.cancel()


def test_an_unclosed_transport_in_a_cycle_with_its_protocol_is_collected(loop, pair):
    left, _ = pair

    async def abandon():
        transport, protocol = await loop.create_connection(Recorder, sock=left)
        transport.pause_reading()
        return weakref.ref(protocol)

    reference = loop.run_until_complete(abandon())
    run_once(loop)
    with helpers.dropped_unclosed("unclosed transport"):
        pass  # it is garbage already
    assert reference() is None
    assert left.fileno() == -1
