"""Faults of system calls: each call fails at each of its positions in turn, then all at random from a seed.

Whatever fails, the outcome is a result or an exception of the kind that asyncio gives, nothing hangs, no descriptor
is left, and the same loop then does the same work without a fault. Needs an extension that was built with the feature
``faults``, as ``make develop`` does for tests.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import functools
import gc
import os
import random
import socket
import ssl
import tempfile

import pytest
from attack_program import CERTIFICATE

import helpers
from hotloop import _core

pytestmark = [
    pytest.mark.hotloop_only,
    pytest.mark.skipif(
        not hasattr(_core, "_faults_arm"), reason="this build of hotloop cannot inject faults"
    ),
]

#: What a program may see when the kernel refuses something.
EXPECTED = (OSError, asyncio.IncompleteReadError, ExceptionGroup)
#: Ends an exchange that hangs; no exchange takes a hundredth of it.
LIMIT_SECONDS = 20
BIG = 300_000
#: What ends a TLS connection on any loop if the other end is not watched.
HANDSHAKE_SECONDS = 3
#: The share of the planned faults that must have come about: a run with a fault may make fewer calls than one without.
MOST_OF_THEM = 0.9


@pytest.fixture(autouse=True)
def no_faults():
    """Disarms the plan, whatever happened."""
    _core._faults_disarm()
    yield
    _core._faults_disarm()


class Broken(Exception):
    """The exception handler was called: the exchange cannot be expected to go on."""


async def over_streams(address, server_tls=None, client_tls=None):
    answering = set()

    async def answer(reader, writer):
        # A connection that could not be watched is garbage on any loop, and its task with it.
        answering.add(asyncio.current_task())
        try:
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
        except EXPECTED:
            pass
        finally:
            writer.close()

    # Not serving before it is ours to close, whatever fails.
    named = {"limit": 2 * BIG, "start_serving": False}
    if isinstance(address, str):
        server = await asyncio.start_unix_server(answer, address, **named)
    else:
        server = await asyncio.start_server(answer, *address, **(server_tls or {}), **named)
    writer = None
    try:
        await server.start_serving()
        where = server.sockets[0].getsockname()
        if isinstance(address, str):
            reader, writer = await asyncio.open_unix_connection(where, limit=2 * BIG)
        else:
            tls = {"server_hostname": "localhost", **client_tls} if client_tls else {}
            reader, writer = await asyncio.open_connection(*where, limit=2 * BIG, **tls)
        writer.writelines([b"a", b"b\n"])
        assert await reader.readexactly(3) == b"AB\n"
        writer.write(b"c" * BIG)
        writer.write(b"\n")
        assert len(await reader.readuntil(b"\n")) == BIG + 1
        if writer.can_write_eof():
            writer.write_eof()
            await reader.read()
    finally:
        server.close()
        if writer is not None:
            writer.close()
            with contextlib.suppress(*EXPECTED):
                await writer.wait_closed()
        for task in answering:
            task.cancel()
        if answering:
            await asyncio.wait(answering)


async def over_tls():
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(CERTIFICATE)
    client = ssl.create_default_context(cafile=CERTIFICATE)
    timeout = {"ssl_handshake_timeout": HANDSHAKE_SECONDS}
    await over_streams(("127.0.0.1", 0), {"ssl": server, **timeout}, {"ssl": client, **timeout})


async def over_sockets():
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = opened.enter_context(socket.socket())
        listener.setblocking(False)
        client.setblocking(False)

        async def accept():
            server, _ = await loop.sock_accept(listener)
            return opened.enter_context(server)

        accepting = loop.create_task(accept())
        try:
            await loop.sock_connect(client, listener.getsockname())
            server = await accepting
        finally:
            accepting.cancel()
            await asyncio.wait([accepting])

        async def receive():
            received = 0
            while received < BIG:
                data = await loop.sock_recv(server, 65536)
                assert data
                received += len(data)

        async with asyncio.TaskGroup() as group:
            group.create_task(loop.sock_sendall(client, b"x" * BIG))
            group.create_task(receive())


async def over_files():
    """sendfile(2), and a sleep that epoll cannot measure."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs, tempfile.TemporaryFile() as file:
        ours.setblocking(False)
        theirs.setblocking(False)
        file.write(b"x" * BIG)
        file.flush()

        async def receive():
            received = 0
            while received < BIG:
                count = await loop.sock_recv_into(theirs, bytearray(65536))
                assert count
                received += count

        async with asyncio.TaskGroup() as group:
            group.create_task(receive())
            assert await loop.sock_sendfile(ours, file, 0, None) == BIG
        await asyncio.sleep(0.0003)


async def over_messages():
    """Datagrams by the methods of sockets."""
    loop = asyncio.get_running_loop()
    with (
        socket.socket(type=socket.SOCK_DGRAM) as ours,
        socket.socket(type=socket.SOCK_DGRAM) as theirs,
    ):
        for each in (ours, theirs):
            each.setblocking(False)
            each.bind(("127.0.0.1", 0))
        async with asyncio.TaskGroup() as group:
            receiving = group.create_task(loop.sock_recvfrom(theirs, 100))
            await asyncio.sleep(0)
            await loop.sock_sendto(ours, b"x", theirs.getsockname())
        assert receiving.result() == (b"x", ours.getsockname())
        await loop.sock_sendto(theirs, b"yz", ours.getsockname())
        assert await loop.sock_recvfrom_into(ours, bytearray(10)) == (2, theirs.getsockname())


class Datagrams(asyncio.DatagramProtocol):
    """Puts what arrives, errors included, into a queue."""

    def __init__(self):
        self.received = asyncio.Queue()

    def datagram_received(self, data, addr):
        self.received.put_nowait(data)

    def error_received(self, exc):
        self.received.put_nowait(exc)

    def connection_lost(self, exc):
        self.received.put_nowait(exc)


async def over_datagrams():
    loop = asyncio.get_running_loop()
    receiver, received = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    try:
        address = receiver.get_extra_info("sockname")
        if address is None:  # getsockname(2) was refused
            raise OSError("the receiver has no name")
        sender, sent = await loop.create_datagram_endpoint(Datagrams, remote_addr=address)
        try:
            for _ in range(3):
                sender.sendto(b"x")
            came = 0
            while came < 3:
                waiting = [loop.create_task(side.received.get()) for side in (received, sent)]
                done, late = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in late:
                    task.cancel()
                for got in [task.result() for task in done]:
                    if got != b"x":
                        assert isinstance(got, OSError), got
                        raise got
                    came += 1
        finally:
            sender.close()
    finally:
        receiver.close()


class Piped(asyncio.Protocol):
    """Counts what comes through a pipe; ``ended`` is settled when it is closed."""

    def __init__(self):
        self.count = 0
        self.ended = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.count += len(data)

    def connection_lost(self, exc):
        if not self.ended.done():
            self.ended.set_result(exc)


async def over_pipes():
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as opened:
        read, write = os.pipe()
        reading = opened.enter_context(open(read, "rb", 0))
        writing = opened.enter_context(open(write, "wb", 0))
        receiver, receiving = await loop.connect_read_pipe(Piped, reading)
        try:
            sender, sending = await loop.connect_write_pipe(Piped, writing)
            try:
                sender.write(b"x" * BIG)
                sender.write_eof()
                error = await sending.ended
                if error is not None:
                    raise error
            finally:
                sender.abort()
            error = await receiving.ended
            if error is not None:
                raise error
            assert receiving.count == BIG
        finally:
            receiver.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)


SCENARIOS = {
    "tcp": lambda path: over_streams(("127.0.0.1", 0)),
    "unix": lambda path: over_streams(f"{path}/socket"),
    "tls": lambda path: over_tls(),
    "sockets": lambda path: over_sockets(),
    "files": lambda path: over_files(),
    "messages": lambda path: over_messages(),
    "datagrams": lambda path: over_datagrams(),
    "pipes": lambda path: over_pipes(),
}


def attempt(loop, make):
    """Run one exchange to its end; return what it raised, if anything."""
    failed = loop.create_future()

    def handler(loop, context):
        if not failed.done():
            failed.set_exception(Broken(context["message"]))

    async def main():
        task = loop.create_task(make())
        done, _ = await asyncio.wait(
            [task, failed], timeout=LIMIT_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            task.print_stack()
            raise AssertionError("the exchange hangs")
        task.cancel()
        await asyncio.wait([task])
        await settle()
        # Those of an earlier attempt, too, if the wait for events was refused in it.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for other in others:
                other.cancel()
            await asyncio.wait(others)
            await settle()
        if failed.done():
            return failed.exception()
        failed.cancel()
        return task.exception()

    loop.set_exception_handler(handler)
    running = loop.create_task(main())  # kept by the traceback, if the wait for events is refused
    return loop.run_until_complete(running)


async def settle():
    """What was closed is closed in the next iterations, and what was accepted last gets its task."""
    for _ in range(3):
        await asyncio.sleep(0)


def open_descriptors(loop, expected=None):
    """Count them, when everything that is garbage has been closed.

    If they are to be so many and are not, handshakes that go on are waited for.
    """
    gc.collect()
    helpers.run_once(loop)
    helpers.run_once(loop)
    count = len(os.listdir("/proc/self/fd"))
    if expected in (None, count):
        return count
    loop.run_until_complete(asyncio.sleep(HANDSHAKE_SECONDS))
    return open_descriptors(loop)


def check(loop, make, what):
    """Run with the planned fault, then once more without; the second time must succeed.

    Return what the first raised, and how often it made each call.
    """
    try:
        error = attempt(loop, make)
    except OSError as refused:  # the wait for events itself
        error = refused
    finally:
        seen = _core._faults_seen()
        _core._faults_disarm()
    assert error is None or isinstance(error, (*EXPECTED, Broken)), (what, error)
    again = attempt(loop, make)
    assert again is None, (what, again)
    return error, seen


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_call_may_fail_at_every_position(name, tmp_path):
    loop = helpers.new_loop()

    def make():
        with contextlib.suppress(FileNotFoundError):
            (tmp_path / "socket").unlink()
        return SCENARIOS[name](tmp_path)

    try:
        assert attempt(loop, make) is None
        _core._faults_disarm()
        assert attempt(loop, make) is None
        seen = _core._faults_seen()
        before = open_descriptors(loop)
        tried = came = 0
        for call, count in seen.items():
            errors = [*_core._faults_errors(call), None]
            for position in range(count):
                for error in errors:
                    _core._faults_arm(call, position, error)
                    _, calls = check(loop, make, (call, position, error))
                    tried += 1
                    came += calls[call] > position
        assert tried > 20
        assert came >= MOST_OF_THEM * tried
        assert open_descriptors(loop, before) == before
    finally:
        loop.close()


def test_every_call_that_can_fail_is_made_by_a_scenario(tmp_path):
    loop = helpers.new_loop()
    try:
        made = collections.Counter()
        for name, scenario in SCENARIOS.items():
            _core._faults_disarm()
            assert attempt(loop, functools.partial(scenario, tmp_path)) is None, name
            made += collections.Counter(_core._faults_seen())
    finally:
        loop.close()
    # Those of making a loop have a test of their own.
    assert {call for call in _core._faults_seen() if not made[call]} == {"epoll_create", "eventfd"}


@pytest.mark.parametrize("call", ["epoll_create", "eventfd", "epoll_add"])
def test_a_loop_that_cannot_be_made_leaves_nothing_behind(call):
    before = len(os.listdir("/proc/self/fd"))
    refused = 0
    for error in _core._faults_errors(call):
        _core._faults_arm(call, 0, error)
        with pytest.raises(OSError) as caught:
            helpers.new_loop().close()
        refused += caught.value.errno == error
        _core._faults_disarm()
    assert refused == len(_core._faults_errors(call))
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_check_catches_an_exchange_that_hides_a_fault():
    """The deliberate mistake: a program that answers every refused wait with another kind of error."""
    loop = helpers.new_loop()

    async def mistaken():
        try:
            await over_sockets()
        except ExceptionGroup as error:
            raise LookupError from error
        except OSError as error:
            raise LookupError from error

    try:
        _core._faults_arm("recv", 0, errno.ECONNRESET)
        with pytest.raises(AssertionError):
            check(loop, mistaken, "mistaken")
    finally:
        loop.close()


def test_the_check_catches_a_descriptor_that_is_left_open():
    loop = helpers.new_loop()
    left = []
    try:
        before = open_descriptors(loop)
        left.append(socket.socket())
        assert open_descriptors(loop) != before
    finally:
        left.pop().close()
        loop.close()


def test_a_wait_that_cannot_be_renewed_ends_with_the_error():
    """Found by faults at random: the wait was lost, and nobody ever woke."""
    loop = helpers.new_loop()
    ours, theirs = socket.socketpair()
    try:
        with ours, theirs:
            ours.setblocking(False)
            sending = loop.create_task(loop.sock_sendall(ours, b"x" * 10_000_000))
            helpers.run_once(loop)
            _core._faults_arm("epoll_modify", 0, errno.ENOMEM)
            theirs.recv(1_000_000)
            for _ in range(5):
                helpers.run_once(loop)
            assert sending.done()
            error = sending.exception()
            assert isinstance(error, OSError)
            assert error.errno == errno.ENOMEM
    finally:
        loop.close()


@pytest.mark.parametrize("name", SCENARIOS)
def test_faults_at_random(name, tmp_path, attack_seed, attack_rounds):
    choose = random.Random(attack_seed)
    loop = helpers.new_loop()

    def make():
        with contextlib.suppress(FileNotFoundError):
            (tmp_path / "socket").unlink()
        return SCENARIOS[name](tmp_path)

    try:
        assert attempt(loop, make) is None
        before = open_descriptors(loop)
        failed = 0
        for _ in range(attack_rounds(100)):
            seed = choose.getrandbits(32)
            _core._faults_scatter(seed, choose.choice([1_000, 20_000, 100_000]))
            error, _ = check(loop, make, seed)
            failed += error is not None
        assert failed
        assert open_descriptors(loop, before) == before
    finally:
        loop.close()
