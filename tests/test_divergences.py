"""Each row of docs/divergences.md that no other test pins."""

from __future__ import annotations

import asyncio
import signal
import socket

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
