"""Overridden hooks that raise or leave something out: nobody waits for ever, and nothing stays open."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from helpers import Recorder, loop_class


@pytest.fixture
def refusing(errors):
    """A loop whose ``_remove_reader`` raises while ``refusing`` is set."""

    class Refusing(loop_class()):
        refusing = False

        def _remove_reader(self, fd):
            if self.refusing:
                raise ZeroDivisionError
            return super()._remove_reader(fd)

    loop = Refusing()
    loop.set_exception_handler(errors)
    yield loop
    loop.refusing = False
    loop.close()
    assert not errors.contexts


@pytest.mark.hotloop_only  # asyncio forgets the child before it calls the hook
def test_the_end_of_a_child_is_told_though_the_hook_raises(refusing, errors):
    async def main():
        child = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE)
        refusing.refusing = True
        child.kill()
        assert await child.wait() == -9
        refusing.refusing = False

    refusing.run_until_complete(main())
    reports = errors.take()
    assert {type(report["exception"]) for report in reports} == {ZeroDivisionError}


def test_a_wait_for_a_socket_ends_though_the_hook_raises(refusing, errors, pair):
    left, right = pair

    async def main():
        receiving = asyncio.ensure_future(refusing.sock_recv(right, 100))
        await asyncio.sleep(0)
        refusing.refusing = True
        left.send(b"data")
        assert await receiving == b"data"
        await errors.wait("report")
        refusing.refusing = False

    refusing.run_until_complete(main())
    assert {type(report["exception"]) for report in errors.take()} == {ZeroDivisionError}


def test_a_wait_for_a_socket_is_cancelled_though_the_hook_raises(refusing, errors, pair):
    _, right = pair

    async def main():
        receiving = asyncio.ensure_future(refusing.sock_recv(right, 100))
        await asyncio.sleep(0)
        refusing.refusing = True
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        await errors.wait("report")
        refusing.refusing = False

    refusing.run_until_complete(main())
    assert [type(report["exception"]) for report in errors.take()] == [ZeroDivisionError]


@pytest.mark.hotloop_only  # asyncio's transport never ends
def test_a_pipe_that_is_closed_is_closed_though_the_hook_raises(refusing):
    async def main():
        read, write = os.pipe()
        pipe = open(read, "rb", 0)  # noqa: SIM115
        transport, protocol = await refusing.connect_read_pipe(Recorder, pipe)
        await asyncio.sleep(0)
        refusing.refusing = True
        with pytest.raises(ZeroDivisionError):
            transport.close()
        refusing.refusing = False
        await protocol.wait("lost")
        assert pipe.closed
        assert read not in refusing._selector.get_map()
        os.close(write)

    refusing.run_until_complete(main())


@pytest.mark.hotloop_only  # likewise
@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_a_socket_that_is_closed_is_closed_though_the_hook_raises(refusing, end, kind):
    async def main():
        if kind == "stream":
            ours, theirs = socket.socketpair()
            with theirs:
                transport, protocol = await refusing.create_connection(Recorder, sock=ours)
                await check(transport, protocol, ours)
        else:
            ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            ours.bind(("127.0.0.1", 0))
            transport, protocol = await refusing.create_datagram_endpoint(Recorder, sock=ours)
            await asyncio.sleep(0)
            await check(transport, protocol, ours)

    async def check(transport, protocol, sock):
        fd = sock.fileno()
        refusing.refusing = True
        with pytest.raises(ZeroDivisionError):
            getattr(transport, end)()
        refusing.refusing = False
        await protocol.wait("lost")
        assert sock.fileno() == -1
        assert fd not in refusing._selector.get_map()

    refusing.run_until_complete(main())


@pytest.mark.hotloop_only  # asyncio's transport stays in the selector
def test_a_pipe_whose_watch_a_hook_has_left_is_out_of_the_poller_when_it_is_closed(errors):
    class Forgetful(loop_class()):
        forgetful = True

        def _remove_reader(self, fd):
            if self.forgetful:
                self.forgetful = False
                return True
            return super()._remove_reader(fd)

        def _add_reader(self, fd, callback, *args):
            return super()._add_reader(fd, callback, *args)

    loop = Forgetful()
    loop.set_exception_handler(errors)

    async def main():
        read, write = os.pipe()
        transport, protocol = await loop.connect_read_pipe(Recorder, open(read, "rb", 0))  # noqa: SIM115
        await asyncio.sleep(0)
        transport.close()
        await protocol.wait("lost")
        assert read not in loop._selector.get_map()
        os.close(write)

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert not errors.contexts


def test_an_event_that_process_events_leaves_out_comes_again(pair):
    left, right = pair

    class Hesitant(loop_class()):
        left_out = 0

        def _process_events(self, event_list):
            if any(key.fd == right.fileno() for key, _ in event_list) and self.left_out < 3:
                self.left_out += 1
                return
            super()._process_events(event_list)

    loop = Hesitant()

    async def main():
        receiving = asyncio.ensure_future(loop.sock_recv(right, 100))
        await asyncio.sleep(0)
        left.send(b"data")
        assert await receiving == b"data"

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert loop.left_out == 3


def test_an_event_comes_again_though_process_events_is_replaced_during_the_wait(loop, pair):
    left, right = pair
    left_out = []

    async def main():
        receiving = asyncio.ensure_future(loop.sock_recv(right, 100))
        await asyncio.sleep(0)
        process = loop._process_events

        def hesitate(event_list):
            if any(key.fd == right.fileno() for key, _ in event_list):
                left_out.append(event_list)
                loop._process_events = process

        loop._process_events = hesitate
        left.send(b"data")
        assert await receiving == b"data"

    loop.run_until_complete(main())
    assert len(left_out) == 1
