"""Wrong sockets and wrong arguments for every ``sock_*`` method, in the stdlib's words."""

import asyncio
import errno
import os
import socket
import ssl
import sys

import pytest

from helpers import same_as_stdlib, step

CALLS = {
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 1),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(1)),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 1),
    "sock_recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(1)),
    "sock_sendall": lambda loop, sock: loop.sock_sendall(sock, b"x"),
    "sock_sendto": lambda loop, sock: loop.sock_sendto(sock, b"x", ("127.0.0.1", 9)),
    "sock_connect": lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 9)),
    "sock_accept": lambda loop, sock: loop.sock_accept(sock),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


@every_call
def test_a_blocking_socket_is_refused_in_debug_mode(loop, pair, call):
    loop.set_debug(True)
    pair[0].setblocking(True)
    with pytest.raises(ValueError, match=r"^the socket must be non-blocking$"):
        loop.run_until_complete(call(loop, pair[0]))
    pair[0].settimeout(1)
    with pytest.raises(ValueError, match=r"^the socket must be non-blocking$"):
        loop.run_until_complete(call(loop, pair[0]))


@every_call
def test_a_tls_socket_is_refused(loop, pair, call):
    context = ssl.create_default_context()
    tls = context.wrap_socket(pair[0].dup(), server_hostname="x", do_handshake_on_connect=False)
    with tls, pytest.raises(TypeError, match=r"^Socket cannot be of type SSLSocket$"):
        tls.setblocking(False)
        loop.run_until_complete(call(loop, tls))


@every_call
def test_a_closed_socket_is_refused(loop, call):
    sock = socket.socket()
    sock.setblocking(False)
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        loop.run_until_complete(call(loop, sock))
    same_as_stdlib(loop, lambda tried: step(call(tried, sock)))


@every_call
@pytest.mark.parametrize("bad", [None, 1, "socket"])
def test_what_is_no_socket_is_refused(loop, call, bad):
    with pytest.raises((AttributeError, TypeError, ValueError)):
        loop.run_until_complete(call(loop, bad))
    same_as_stdlib(loop, lambda tried: step(call(tried, bad)))


WRONG_ARGUMENTS = {
    "recv of text": lambda loop, sock: loop.sock_recv(sock, "1"),
    "recv of a negative size": lambda loop, sock: loop.sock_recv(sock, -1),
    "recv_into an int": lambda loop, sock: loop.sock_recv_into(sock, 1),
    "recv_into bytes": lambda loop, sock: loop.sock_recv_into(sock, b"constant"),
    "recvfrom of text": lambda loop, sock: loop.sock_recvfrom(sock, "1"),
    "recvfrom_into bytes": lambda loop, sock: loop.sock_recvfrom_into(sock, b"constant"),
    "sendall of text": lambda loop, sock: loop.sock_sendall(sock, "text"),
    "sendall of None": lambda loop, sock: loop.sock_sendall(sock, None),
    "sendto of text": lambda loop, sock: loop.sock_sendto(sock, "text", "x"),
    "connect to an int": lambda loop, sock: loop.sock_connect(sock, 1),
}


@pytest.mark.parametrize("call", WRONG_ARGUMENTS.values(), ids=WRONG_ARGUMENTS.keys())
def test_wrong_arguments_are_refused_in_the_words_of_the_stdlib(loop, pair, call):
    with pytest.raises((TypeError, ValueError)):
        loop.run_until_complete(call(loop, pair[0]))
    same_as_stdlib(loop, lambda tried: step(call(tried, pair[0])))


def test_a_socket_closed_while_a_receive_waits_does_not_disturb_the_loop(loop):
    left, right = socket.socketpair()
    left.setblocking(False)

    async def main():
        waiting = asyncio.ensure_future(loop.sock_recv(left, 1))
        await asyncio.sleep(0)
        left.close()
        right.close()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return await asyncio.sleep(0, "usable")

    assert loop.run_until_complete(main()) == "usable"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="`__buffer__` is new in 3.12")
@pytest.mark.parametrize("method", ["sock_recv_into", "sock_recvfrom_into"])
def test_a_buffer_that_closes_the_socket_gets_no_bytes_of_another(loop, method):
    """The number of the descriptor is another socket's when the memory is there."""
    ours, theirs = socket.socketpair(type=socket.SOCK_DGRAM)
    other, peer = socket.socketpair()
    with theirs, other, peer:
        ours.setblocking(False)
        number = ours.fileno()

        class Rude:
            def __buffer__(self, flags):
                if ours.fileno() >= 0:
                    ours.close()
                    os.dup2(other.fileno(), number)
                return memoryview(bytearray(100))

        theirs.send(b"ours")
        peer.send(b"secret")
        more = () if method == "sock_recv_into" else (50,)
        try:
            with pytest.raises(OSError) as caught:
                loop.run_until_complete(getattr(loop, method)(ours, Rude(), *more))
        finally:
            os.close(number)
        assert caught.value.errno == errno.EBADF
        assert other.recv(100) == b"secret"
