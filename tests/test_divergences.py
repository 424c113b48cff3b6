"""Each row of docs/divergences.md that no other test pins."""

from __future__ import annotations

import asyncio
import heapq
import logging
import signal
import socket
import sys

import pytest

from helpers import Recorder

pytestmark = pytest.mark.hotloop_only


async def test_a_socket_closed_behind_its_transport_stays_open_until_the_transport_lets_go(
    loop, pair
):
    left, right = pair
    protocol = Recorder()
    transport, _ = await loop.create_connection(lambda: protocol, sock=left)
    number = left.fileno()
    left.close()
    assert left.fileno() == number
    with socket.socket() as other:
        assert other.fileno() != number, "the number went to another socket"
    transport.write(b"still ours")
    assert await loop.sock_recv(right, 100) == b"still ours"
    transport.close()
    await protocol.wait("lost")
    assert left.fileno() == -1


async def test_nagle_is_off_for_sockets_of_protocol_zero(loop):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
        client.setblocking(False)
        await loop.sock_connect(client, listener.getsockname())
        accepted, _ = await loop.sock_accept(listener)
        protocol = Recorder()
        transport, _ = await loop.create_connection(lambda: protocol, sock=client)
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        transport.close()
        accepted.close()
        await protocol.wait("lost")


async def test_the_factory_of_an_accepted_connection_runs_outside_any_task(loop):
    seen = loop.create_future()

    def factory():
        seen.set_result(asyncio.current_task())
        return asyncio.Protocol()

    server = await loop.create_server(factory, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()):
        assert await seen is None
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0)


def test_a_running_loop_has_the_wakeup_descriptor(loop):
    seen = []

    def look():
        seen.append(signal.set_wakeup_fd(-1))
        signal.set_wakeup_fd(seen[0])
        loop.stop()

    loop.call_soon(look)
    loop.run_forever()
    assert seen[0] >= 0
    assert signal.set_wakeup_fd(-1) == -1


def test_a_wakeup_descriptor_of_the_program_is_left_alone(loop, pair):
    left, _ = pair
    signal.set_wakeup_fd(left.fileno())
    try:
        loop.call_soon(loop.stop)
        loop.run_forever()
    finally:
        assert signal.set_wakeup_fd(-1) == left.fileno()


def test_the_timers_cannot_be_replaced_by_foreign_ones(loop):
    foreign = asyncio.TimerHandle(1.0, print, (), loop)
    with pytest.raises(TypeError, match=r"takes the timers that loop\.call_at\(\) made"):
        loop._scheduled = [foreign]
    assert len(loop._scheduled) == 0


def test_the_selector_is_a_view_that_says_what_to_use_instead(loop, pair):
    left, _ = pair
    loop.add_reader(left, print)
    assert loop._selector.get_key(left).events == 1
    with pytest.raises(RuntimeError, match=r"use loop\.add_reader\(\)"):
        loop._selector.register(left, 1)
    loop.remove_reader(left)
    with pytest.raises(KeyError):
        loop._selector.get_key(left)


async def test_native_classes_have_names_of_their_own(loop, pair):
    left, _ = pair
    protocol = Recorder()
    transport, _ = await loop.create_connection(lambda: protocol, sock=left)
    assert type(transport).__name__ == "SocketTransport"
    assert type(loop.call_soon(print)).__module__ == "hotloop._core"
    transport.close()
    await protocol.wait("lost")


def test_the_loop_is_no_selector_loop(loop):
    assert isinstance(loop, asyncio.BaseEventLoop)
    assert not isinstance(loop, asyncio.SelectorEventLoop)
    assert loop._internal_fds == 1  # as there


def test_the_debug_flag_is_a_bool(loop):
    loop.set_debug(1)
    assert loop.get_debug() is True
    loop.set_debug("")
    assert loop.get_debug() is False


def test_the_ready_queue_is_a_live_view(loop):
    ready = loop._ready
    handle = loop.call_soon(print)
    assert len(ready) == 1 and ready[0] is handle
    assert ready.popleft() is handle and not loop._ready
    for name in ("rotate", "pop", "insert", "remove", "index", "copy", "__reversed__"):
        assert not hasattr(ready, name)


def test_the_heap_of_timers_is_not_for_heapq(loop):
    timer = loop.call_later(3600, print)
    with pytest.raises(TypeError, match="must be (a )?list"):
        heapq.heappop(loop._scheduled)
    assert list(loop._scheduled) == [timer]
    timer.cancel()


def test_no_frame_stands_between_the_run_and_a_callback(loop):
    files = []

    def look():
        frame = sys._getframe(1)
        while frame is not None:
            files.append(frame.f_code.co_filename.rpartition("/")[2])
            frame = frame.f_back
        loop.stop()

    loop.call_soon(look)
    loop.run_forever()
    assert files[:2] == ["_loop.py", "test_divergences.py"]
    files.clear()

    async def main():
        look()

    loop.run_until_complete(main())
    assert files[:4] == ["test_divergences.py", "_loop.py", "base_events.py", "test_divergences.py"]


@pytest.mark.parametrize(
    "step",
    [
        "recv",
        "recv_into",
        "recvfrom",
        "recvfrom_into",
        "sendall",
        "sendto",
        "connect",
        "connect_cb",
        "accept",
        "read_done",
        "write_done",
    ],
)
def test_the_steps_of_the_socket_methods_are_not_there(loop, step):
    assert not hasattr(loop, f"_sock_{step}")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("stop", (1,)),
        ("time", (1,)),
        ("create_future", (1,)),
        ("add_reader", ()),
        ("sock_sendto", ()),
    ],
)
def test_a_wrong_number_of_arguments_is_a_type_error(loop, name, arguments):
    with pytest.raises(TypeError, match=rf"{name}\(\) (takes|missing)"):
        getattr(loop, name)(*arguments)


def test_a_future_says_who_asked_for_it(loop):
    loop.set_debug(True)
    assert f"created at {__file__}" in repr(loop.create_future())


def test_a_new_loop_logs_no_selector(loop_factory, caplog):
    with caplog.at_level(logging.DEBUG, "asyncio"):
        loop_factory().close()
    assert not caplog.records


def test_our_tasks_and_futures_are_not_asyncios(loop, hotloop):
    future = hotloop.Future(loop=loop)
    task = hotloop.Task(asyncio.sleep(0), loop=loop)
    assert asyncio.isfuture(future) and asyncio.isfuture(task)
    assert not isinstance(future, asyncio.Future) and not isinstance(task, asyncio.Task)
    assert not issubclass(hotloop.Task, asyncio.Future)
    loop.run_until_complete(task)


def test_the_callbacks_of_our_future_are_a_copy(loop, hotloop):
    future = hotloop.Future(loop=loop)
    future.add_done_callback(print)
    future._callbacks.clear()
    assert len(future._callbacks) == 1


def test_our_tasks_are_numbered_by_themselves(loop, hotloop):
    def number(task):
        loop.run_until_complete(task)
        return int(task.get_name().removeprefix("Task-"))

    first = number(hotloop.Task(asyncio.sleep(0), loop=loop))
    for _ in range(3):
        number(asyncio.Task(asyncio.sleep(0), loop=loop))
    assert number(hotloop.Task(asyncio.sleep(0), loop=loop)) == first + 1


@pytest.mark.skipif(sys.version_info < (3, 14), reason="since 3.14")
def test_a_future_of_asyncio_does_not_list_our_tasks(loop, hotloop):
    async def wait(future):
        await future

    async def main():
        future = loop.create_future()
        task = hotloop.Task(wait(future), loop=loop)
        await asyncio.sleep(0)
        assert not future._asyncio_awaited_by
        graph = asyncio.capture_call_graph(future)
        assert [waiter.future for waiter in graph.awaited_by] == [task]
        future.set_result(None)
        await task

    loop.run_until_complete(main())
