"""The extension interface: a third-party loop that overrides each private hook is obeyed everywhere.

`third_party(base)` builds such a loop over any loop class, as the extending documentation describes:
every hook notes that it was called and passes on to ``super()``.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import signal
import socket
import subprocess
import sys
from asyncio import events
from unittest import mock

import pytest

import helpers
from helpers import loop_class

HOOKS = (
    "_accept_connection",
    "_accept_connection2",
    "_add_callback",
    "_add_reader",
    "_add_writer",
    "_call_soon",
    "_make_datagram_transport",
    "_make_read_pipe_transport",
    "_make_socket_transport",
    "_make_ssl_transport",
    "_make_subprocess_transport",
    "_make_write_pipe_transport",
    "_process_events",
    "_remove_reader",
    "_remove_writer",
    "_run_once",
    "_sendfile_native",
    "_sock_sendfile_native",
    "_start_serving",
    "_stop_serving",
    "_timer_handle_cancelled",
    "_write_to_self",
    "call_at",
    "call_exception_handler",
    "call_later",
    "call_soon",
    "call_soon_threadsafe",
    "create_future",
    "create_task",
    "getaddrinfo",
    "run_in_executor",
    "sock_connect",
    "time",
)


def third_party(base, names=HOOKS):
    """A subclass of ``base`` that counts in ``seen`` how often each of the named methods was called."""

    class ThirdParty(base):
        def __init__(self):
            self.seen = {}
            super().__init__()

    def counting(name):
        original = getattr(base, name)

        @functools.wraps(original)
        def method(self, *args, **kwargs):
            self.seen[name] = self.seen.get(name, 0) + 1
            return getattr(super(ThirdParty, self), name)(*args, **kwargs)

        return method

    for name in names:
        setattr(ThirdParty, name, counting(name))
    return ThirdParty


@pytest.fixture
def run_on():
    """Runs a coroutine function on a loop that overrides the named methods; returns what it saw."""

    def run(main, *names):
        loop = third_party(loop_class(), names or HOOKS)()
        try:
            loop.run_until_complete(main())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
        return loop.seen

    return run


async def talk_over_tcp(tls=None):
    """One request and its answer over a server, with streams."""

    async def answer(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server_context, client_context = tls or (None, None)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_context)
    host, port = server.sockets[0].getsockname()[:2]
    named = {"server_hostname": "localhost"} if tls else {}
    reader, writer = await asyncio.open_connection(host, port, ssl=client_context, **named)
    writer.write(b"hello\n")
    assert await reader.readline() == b"HELLO\n"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "name",
    [
        "_accept_connection",
        "_accept_connection2",
        "_add_reader",
        "_remove_reader",
        "_make_socket_transport",
        "_start_serving",
        "_stop_serving",
        "_process_events",
        "_add_callback",
        "_call_soon",
        "_run_once",
        "call_soon",
        "create_future",
        "sock_connect",
    ],
)
def test_an_exchange_over_tcp_goes_through_the_overridden_method(run_on, name):
    assert run_on(talk_over_tcp, name)[name] > 0


def test_an_exchange_over_tcp_works_with_every_method_overridden(run_on):
    seen = run_on(talk_over_tcp)
    # Both ends.
    assert seen["_make_socket_transport"] == 2


def test_a_native_transport_waits_for_its_peer_through_add_writer(run_on):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            transport.write(bytes(4_000_000))
            assert transport.get_write_buffer_size()
            theirs.setblocking(False)
            received = 0
            while received < 4_000_000:
                received += len(await loop.sock_recv(theirs, 1 << 20))
            transport.close()
            assert await loop.sock_recv(theirs, 1) == b""

    seen = run_on(main, "_add_writer", "_remove_writer")
    assert seen["_add_writer"] > 0
    assert seen["_remove_writer"] > 0


def test_tls_goes_through_make_ssl_transport(run_on):
    tls = helpers.server_tls(), helpers.client_tls()
    seen = run_on(lambda: talk_over_tcp(tls), "_make_ssl_transport", "_make_socket_transport")
    assert seen == {"_make_ssl_transport": 2}


def test_an_accepted_tls_connection_goes_through_the_overridden_method(run_on):
    for name in "_accept_connection2", "_make_ssl_transport", "_call_soon", "call_soon":
        tls = helpers.server_tls(), helpers.client_tls()
        assert run_on(lambda tls=tls: talk_over_tcp(tls), name)[name] > 0


def test_datagrams_go_through_make_datagram_transport(run_on):
    async def main():
        loop = asyncio.get_running_loop()
        received = loop.create_future()

        class Receiver(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr):
                received.set_result(data)

        receiver, _ = await loop.create_datagram_endpoint(Receiver, local_addr=("127.0.0.1", 0))
        address = receiver.get_extra_info("sockname")
        sender, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=address
        )
        sender.sendto(b"x")
        assert await received == b"x"
        sender.close()
        receiver.close()
        await asyncio.sleep(0)

    assert run_on(main, "_make_datagram_transport") == {"_make_datagram_transport": 2}


def test_pipes_and_children_go_through_their_methods(run_on):
    async def main():
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "print(input())",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        out, _ = await child.communicate(b"hello\n")
        assert out == b"hello\n"
        assert await child.wait() == 0

    names = (
        "_make_subprocess_transport",
        "_make_read_pipe_transport",
        "_make_write_pipe_transport",
    )
    seen = run_on(main, *names)
    assert seen["_make_subprocess_transport"] == 1
    assert seen["_make_read_pipe_transport"] == 1


def test_a_write_pipe_goes_through_make_write_pipe_transport(run_on):
    async def main():
        loop = asyncio.get_running_loop()
        read, write = os.pipe()
        with open(read, "rb", 0) as reader:
            transport, _ = await loop.connect_write_pipe(
                asyncio.BaseProtocol,
                open(write, "wb", 0),  # noqa: SIM115 - the transport closes it
            )
            transport.write(b"x")
            assert reader.read(1) == b"x"
            transport.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    assert run_on(main, "_make_write_pipe_transport") == {"_make_write_pipe_transport": 1}


def test_sendfile_goes_through_its_native_methods(run_on, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"data")

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs, path.open("rb") as file:
            assert await loop.sock_sendfile(ours, file) == 4
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            assert await loop.sendfile(transport, file) == 4
            assert theirs.recv(8) == b"datadata"
            transport.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    seen = run_on(main, "_sock_sendfile_native", "_sendfile_native")
    assert seen["_sendfile_native"] == 1
    assert seen["_sock_sendfile_native"] >= 1


@pytest.mark.parametrize("name", ["_write_to_self", "_call_soon", "call_soon_threadsafe"])
def test_a_post_from_another_thread_goes_through_the_overridden_method(run_on, name):
    async def main():
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, lambda: 5) == 5

    assert run_on(main, name)[name] > 0


@pytest.mark.parametrize("name", ["call_at", "call_later", "_timer_handle_cancelled", "time"])
def test_a_timeout_goes_through_the_overridden_method(run_on, name):
    async def main():
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(60, print).cancel()

    assert run_on(main, name)[name] > 0


@pytest.mark.parametrize("method", ["sock_recv", "sock_sendall", "sock_accept", "sock_connect"])
def test_sock_methods_wait_through_the_overridden_readers_and_writers(run_on, method):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            accepting = loop.create_task(loop.sock_accept(listener))
            await asyncio.sleep(0)
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, listener.getsockname())
                server, _ = await accepting
                with server:
                    receiving = loop.create_task(loop.sock_recv(server, 10))
                    await asyncio.sleep(0)
                    await loop.sock_sendall(client, b"x")
                    assert await receiving == b"x"

    seen = run_on(main, "_add_reader", "_remove_reader", "_add_writer", "_remove_writer")
    assert seen["_add_reader"] >= 2
    assert seen["_remove_reader"] >= 2


def test_a_sock_call_that_is_cancelled_gives_its_reader_back_through_the_hook(run_on):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:
            receiving = loop.create_task(loop.sock_recv(ours, 10))
            await asyncio.sleep(0)
            receiving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await receiving
            await asyncio.sleep(0)
            assert not loop.remove_reader(ours)

    seen = run_on(main, "_add_reader", "_remove_reader")
    assert seen["_remove_reader"] >= 1


def test_a_method_replaced_on_the_class_is_noticed_while_the_loop_runs(loop):
    class Own(loop_class()):
        pass

    own = Own()
    seen = []

    async def main():
        await asyncio.sleep(0)

        def count(self):
            seen.append(1)
            return super(Own, self).time()

        Own.time = count
        await asyncio.sleep(0.001)
        del Own.time
        await asyncio.sleep(0)
        seen_until_now = len(seen)
        await asyncio.sleep(0.001)
        assert len(seen) == seen_until_now

    try:
        own.run_until_complete(main())
    finally:
        own.close()
    assert seen


def test_a_method_set_on_one_loop_leaves_the_others_alone():
    first, second = helpers.new_loop(), helpers.new_loop()
    try:
        first.time = mock.Mock(return_value=1.0)
        assert second.time() != 1.0
        assert first.call_later(1, print).when() == 2.0
        del first.time
        assert first.time() != 1.0
    finally:
        first.close()
        second.close()


def test_a_loop_takes_attributes_of_every_name(loop):
    setattr(loop, "\udc80", 1)
    assert getattr(loop, "\udc80") == 1
    delattr(loop, "\udc80")


def test_a_replaced_run_of_handles_sees_every_callback(loop, monkeypatch):
    ran = []
    original = events.Handle._run

    def timed(self):
        ran.append(self._callback)
        return original(self)

    def callback():
        pass

    async def main():
        ours, theirs = socket.socketpair()
        with theirs:
            got = asyncio.get_running_loop().create_future()

            class Receiver(asyncio.Protocol):
                def data_received(self, data):
                    got.set_result(data)

            transport, _ = await loop.create_connection(Receiver, sock=ours)
            before = len(ran)
            theirs.send(b"x")
            assert await got == b"x"
            assert len(ran) > before
            transport.close()
            await asyncio.sleep(0)

    loop.call_soon(callback)
    loop.call_later(0, callback)
    with monkeypatch.context() as patch:
        patch.setattr(events.Handle, "_run", timed)
        loop.run_until_complete(asyncio.sleep(0.001))
        loop.run_until_complete(main())
    assert ran.count(callback) == 2
    length = len(ran)
    loop.call_soon(callback)
    helpers.run_once(loop)
    assert len(ran) == length


def test_process_events_gets_keys_as_those_of_a_selector(loop):
    rows = []

    class Own(loop_class()):
        def _process_events(self, event_list):
            rows.extend(event_list)
            super()._process_events(event_list)

    own = Own()
    ours, theirs = socket.socketpair()
    try:
        got = []
        own.add_reader(ours, lambda: got.append(ours.recv(1)))
        theirs.send(b"x")
        helpers.run_once(own)
        assert got == [b"x"]
        [(key, mask)] = [(key, mask) for key, mask in rows if key.fd == ours.fileno()]
        assert mask == 1
        assert key.fileobj is ours
        assert key.events == 1
        reader, writer = key.data
        assert isinstance(reader, asyncio.Handle)
        assert writer is None
        own.remove_reader(ours)
    finally:
        own.close()
        ours.close()
        theirs.close()


def deaf_loop():
    """A loop that drops its events while ``deaf`` is set."""

    class Deaf(loop_class()):
        deaf = True

        def _process_events(self, event_list):
            if not self.deaf:
                super()._process_events(event_list)

    return Deaf()


def test_a_loop_that_drops_its_events_delivers_nothing(loop):
    own = deaf_loop()
    ours, theirs = socket.socketpair()
    try:
        got = []
        own.add_reader(ours, lambda: got.append(ours.recv(1)))
        theirs.send(b"x")
        helpers.run_once(own)
        assert got == []
        own.deaf = False
        helpers.run_once(own)
        assert got == [b"x"]
        own.remove_reader(ours)
    finally:
        own.close()
        ours.close()
        theirs.close()


def test_an_event_that_is_dropped_comes_again_to_a_socket_call(loop):
    own = deaf_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        receiving = own.create_task(own.sock_recv(ours, 10))
        helpers.run_once(own)
        theirs.send(b"x")
        helpers.run_once(own)
        assert not receiving.done()
        own.deaf = False
        for _ in range(4):
            helpers.run_once(own)
        assert receiving.done()
        assert receiving.result() == b"x"
    finally:
        own.close()
        ours.close()
        theirs.close()


def test_an_overridden_transport_method_may_return_a_transport_of_its_own(loop):
    class Wrapped(asyncio.Transport):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def close(self):
            self.inner.close()

        def is_closing(self):
            return self.inner.is_closing()

    class Own(loop_class()):
        def _make_socket_transport(self, *args, **kwargs):
            return Wrapped(super()._make_socket_transport(*args, **kwargs))

    own = Own()
    ours, theirs = socket.socketpair()
    try:
        transport, _ = own.run_until_complete(own.create_connection(asyncio.Protocol, sock=ours))
        assert isinstance(transport, Wrapped)
        transport.close()
        helpers.run_once(own)
    finally:
        own.close()
        theirs.close()


@pytest.mark.hotloop_only  # asyncio's transports close their sockets only then
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
@pytest.mark.parametrize("hook", ["_remove_reader", "_remove_writer"])
def test_a_hook_that_raises_as_a_transport_is_freed_leaves_nothing_of_it(hook, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
    refusing = []

    class Refusing(loop_class()):
        pass

    def method(self, fd):
        if refusing:
            raise ZeroDivisionError
        return getattr(super(Refusing, self), hook)(fd)

    setattr(Refusing, hook, method)
    loop = Refusing()
    ours, theirs = socket.socketpair()
    try:
        fd = ours.fileno()
        transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))
        transport.pause_reading()
        refusing.append(True)
        del transport
        gc.collect()
        refusing.clear()
        assert loop._transports.get(fd) is None
        assert ours.fileno() == -1
    finally:
        loop.close()
        theirs.close()


@pytest.mark.parametrize(
    "name",
    [
        "_sock_sendfile_native_impl",
        "_sock_sendfile_update_filepos",
        "_sock_add_cancellation_callback",
    ],
)
def test_the_steps_of_sendfile_can_be_overridden(run_on, tmp_path, name):
    (tmp_path / "file").write_bytes(b"content")

    async def main():
        loop = asyncio.get_running_loop()
        left, right = socket.socketpair()
        with left, right, open(tmp_path / "file", "rb") as file:
            left.setblocking(False)
            right.setblocking(False)
            assert await loop.sock_sendfile(left, file, fallback=False) == 7
            assert await loop.sock_recv(right, 100) == b"content"

    assert run_on(main, name)[name] >= 1


def test_a_step_of_sendfile_set_on_the_loop_is_called(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    called = []

    async def main():
        loop = asyncio.get_running_loop()
        original = loop._sock_sendfile_update_filepos

        def noted(*args):
            called.append(args)
            original(*args)

        loop._sock_sendfile_update_filepos = noted
        left, right = socket.socketpair()
        with left, right, open(tmp_path / "file", "rb") as file:
            left.setblocking(False)
            await loop.sock_sendfile(left, file, fallback=False)
            assert called[0][0] == file.fileno()

    loop = loop_class()()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


@pytest.mark.parametrize("name", ["_read_from_self", "_process_self_data", "_handle_signal"])
def test_the_steps_of_a_signal_can_be_overridden(run_on, name):
    async def main():
        loop = asyncio.get_running_loop()
        arrived = loop.create_future()
        loop.add_signal_handler(signal.SIGUSR1, arrived.set_result, None)
        os.kill(os.getpid(), signal.SIGUSR1)
        await arrived
        loop.remove_signal_handler(signal.SIGUSR1)

    assert run_on(main, name)[name] >= 1


@pytest.mark.parametrize("name", ["_make_self_pipe", "_close_self_pipe"])
def test_the_making_and_closing_of_the_self_pipe_can_be_overridden(run_on, name):
    async def main():
        assert asyncio.get_running_loop()._internal_fds == 1

    assert run_on(main, name) == {name: 1}
