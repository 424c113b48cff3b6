"""What every public method does on a closed loop: what the running version's own loop does."""

import asyncio
import os
import signal
import socket

import pytest

from helpers import same_as_stdlib, step

# Neither a descriptor nor a socket of these is ever used: the loop is closed.
CALLS = {
    "call_soon": lambda loop: loop.call_soon(print),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(print),
    "call_later": lambda loop: loop.call_later(1, print),
    "call_at": lambda loop: loop.call_at(1, print),
    "run_forever": lambda loop: loop.run_forever(),
    "run_in_executor": lambda loop: loop.run_in_executor(None, print),
    "add_reader": lambda loop: loop.add_reader(0, print),
    "add_writer": lambda loop: loop.add_writer(0, print),
    "remove_reader": lambda loop: loop.remove_reader(0),
    "remove_writer": lambda loop: loop.remove_writer(0),
    "remove_signal_handler": lambda loop: loop.remove_signal_handler(signal.SIGUSR1),
    "stop": lambda loop: loop.stop(),
    "close": lambda loop: loop.close(),
    "is_running": lambda loop: loop.is_running(),
    "is_closed": lambda loop: loop.is_closed(),
    "get_debug": lambda loop: loop.get_debug(),
    "set_debug": lambda loop: loop.set_debug(True),
    "get_task_factory": lambda loop: loop.get_task_factory(),
    "call_exception_handler": lambda loop: loop.call_exception_handler({"message": "words"}),
    "create_future": lambda loop: loop.create_future().done(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_plain_method(loop, errors, call):
    loop.close()
    same_as_stdlib(loop, call)
    errors.take()


def test_add_signal_handler(loop):
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        loop.add_signal_handler(signal.SIGUSR1, print)


def test_run_until_complete(loop):
    future = loop.create_future()
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        loop.run_until_complete(future)


def test_create_task(loop):
    loop.close()
    coroutine = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        loop.create_task(coroutine)
    coroutine.close()


SOCKET_CALLS = {
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 1),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(1)),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 1),
    "sock_recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(1)),
    "sock_accept": lambda loop, sock: loop.sock_accept(sock),
}


@pytest.mark.parametrize("call", SOCKET_CALLS.values(), ids=SOCKET_CALLS.keys())
def test_socket_method_that_would_have_to_wait(loop, pair, call):
    loop.close()
    with pytest.raises((RuntimeError, OSError)):
        step(call(loop, pair[0]))
    same_as_stdlib(loop, lambda tried: step(call(tried, pair[0])))


@pytest.mark.parametrize("method", ["create_server", "create_unix_server"])
def test_socket_stays_with_the_caller_when_a_closed_loop_refuses_it(loop, tmp_path, method):
    family = socket.AF_UNIX if "unix" in method else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind(str(tmp_path / "s") if "unix" in method else ("127.0.0.1", 0))
        sock.setblocking(False)
        loop.close()
        with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
            step(getattr(loop, method)(asyncio.Protocol, sock=sock))
        assert os.fstat(sock.fileno())
