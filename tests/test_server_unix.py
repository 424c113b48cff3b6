"""``create_unix_server`` and ``create_unix_connection``."""

import asyncio
import errno
import os
import socket
import stat
import sys

import pytest

from helpers import Echo, Recorder, connected, same_as_stdlib, step


async def test_exchange(loop, unix_path):
    async with connected("unix", path=unix_path, theirs=Echo) as pair:
        assert stat.S_ISSOCK(os.stat(unix_path).st_mode)
        pair.transport.write(b"question")
        assert await pair.ours.received(8) == b"question"


@pytest.mark.parametrize("kind", [str, os.fsencode, lambda path: path])
async def test_a_path_may_be_text_bytes_or_a_path(loop, unix_path, kind):
    server = await loop.create_unix_server(Echo, kind(unix_path))
    async with server:
        transport, protocol = await loop.create_unix_connection(Recorder, kind(unix_path))
        transport.write(b"x")
        assert await protocol.received(1) == b"x"
        transport.close()
        await protocol.wait("lost")


async def test_an_old_socket_file_is_replaced(loop, unix_path):
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(unix_path))
    async with connected("unix", path=unix_path) as pair:
        pair.transport.write(b"x")
        assert await pair.theirs.received(1) == b"x"


async def test_a_file_that_is_no_socket_is_kept(loop, unix_path):
    unix_path.write_text("precious")
    with pytest.raises(OSError) as caught:
        await loop.create_unix_server(Echo, unix_path)
    assert caught.value.errno == errno.EADDRINUSE
    assert caught.value.strerror == f"Address {str(unix_path)!r} is already in use"
    assert unix_path.read_text() == "precious"


@pytest.mark.skipif(sys.version_info < (3, 13), reason="since Python 3.13")
@pytest.mark.parametrize("cleanup", [True, False])
async def test_the_socket_file_is_removed_on_request(loop, unix_path, cleanup):
    server = await loop.create_unix_server(Echo, unix_path, cleanup_socket=cleanup)
    server.close()
    await server.wait_closed()
    assert unix_path.exists() is not cleanup


@pytest.mark.skipif(sys.version_info < (3, 13), reason="since Python 3.13")
async def test_the_file_is_removed_by_a_function_that_tools_know(loop, unix_path, monkeypatch):
    """Blockbuster forgives blocking calls by the file and the function that make them."""
    callers = []

    def stat(path, original=os.stat):
        code = sys._getframe(1).f_code
        callers.append((code.co_filename.endswith("asyncio/unix_events.py"), code.co_name))
        return original(path)

    server = await loop.create_unix_server(Echo, unix_path)
    monkeypatch.setattr(os, "stat", stat)
    server.close()
    monkeypatch.undo()
    assert callers == [(True, "_stop_serving")]
    await server.wait_closed()


async def test_nobody_listens(loop, unix_path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(unix_path))
        with pytest.raises(ConnectionRefusedError):
            await loop.create_unix_connection(Recorder, str(unix_path))
    with pytest.raises(FileNotFoundError):
        await loop.create_unix_connection(Recorder, str(unix_path) + "no")


async def test_sockets_that_were_made_before(loop, unix_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(unix_path))
    server = await loop.create_unix_server(Echo, sock=listener)
    async with server:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(unix_path))
        transport, protocol = await loop.create_unix_connection(Recorder, sock=sock)
        transport.write(b"x")
        assert await protocol.received(1) == b"x"
        transport.close()
        await protocol.wait("lost")


async def test_connect_accepted_socket(loop, pair):
    left, right = pair
    transport, protocol = await loop.connect_accepted_socket(Echo, left.dup())
    await loop.sock_sendall(right, b"question")
    assert await loop.sock_recv(right, 100) == b"question"
    transport.close()
    await protocol.wait("lost")


CALLS = {
    "server without path": lambda loop: loop.create_unix_server(Echo),
    "server with both": lambda loop: loop.create_unix_server(Echo, "x", sock=object()),
    "server ssl": lambda loop: loop.create_unix_server(Echo, "x", ssl=True),
    "server timeout": lambda loop: loop.create_unix_server(Echo, "x", ssl_handshake_timeout=1),
    "client without path": lambda loop: loop.create_unix_connection(Echo),
    "client with both": lambda loop: loop.create_unix_connection(Echo, "x", sock=object()),
    "client hostname": lambda loop: loop.create_unix_connection(Echo, "x", server_hostname="h"),
    "client without hostname": lambda loop: loop.create_unix_connection(Echo, "x", ssl=True),
    "connection without address": lambda loop: loop.create_connection(Echo),
    "connection hostname": lambda loop: loop.create_connection(Echo, "h", 1, server_hostname="h"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_wrong_arguments_are_refused_in_the_words_of_the_stdlib(loop, call):
    with pytest.raises((TypeError, ValueError)):
        step(call(loop))
    same_as_stdlib(loop, lambda tried: step(call(tried)))


@pytest.mark.parametrize(("family", "kind"), [("AF_INET", "SOCK_DGRAM"), ("AF_UNIX", "SOCK_DGRAM")])
def test_sockets_of_the_wrong_kind_are_refused_in_the_words_of_the_stdlib(loop, family, kind):
    with socket.socket(getattr(socket, family), getattr(socket, kind)) as sock:
        for method in (
            "create_server",
            "create_connection",
            "create_unix_server",
            "create_unix_connection",
            "connect_accepted_socket",
        ):

            def call(tried, method=method):
                arguments = {"sock": sock}
                step(getattr(tried, method)(asyncio.Protocol, **arguments))

            with pytest.raises(ValueError, match="[Ss]ocket"):
                call(loop)
            same_as_stdlib(loop, call)
