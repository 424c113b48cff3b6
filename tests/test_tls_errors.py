"""What goes wrong on the wire, and that a program sees of it what asyncio shows."""

import asyncio
import contextlib
import logging
import socket
import ssl

import pytest

from helpers import Recorder, client_tls, server_tls
from tls_peer import client_of, server_of

pytestmark = pytest.mark.usefixtures("tls_engine")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_truncated_stream_ends_like_a_closed_one(loop, version):
    context = server_tls()
    context.maximum_version = version
    client = Recorder()
    async with server_of(client, context) as peer:
        await peer.send(b"all of it?")
        peer.sock.shutdown(socket.SHUT_WR)
        await client.wait("lost")
        assert client.events == ["made", "data", "eof", "lost"]
        assert bytes(client.data) == b"all of it?"
        assert client.error is None


async def test_a_stream_cut_inside_a_record_delivers_what_was_whole(loop):
    client = Recorder()
    async with server_of(client) as peer:
        await peer.send_raw(peer.records(b"whole") + peer.records(b"half")[:-3])
        peer.sock.shutdown(socket.SHUT_WR)
        await client.wait("lost")
        assert bytes(client.data) == b"whole"
        assert client.error is None


async def test_a_reset_is_told_to_the_program(loop):
    client = Recorder()
    async with server_of(client) as peer:
        linger = b"\1\0\0\0\0\0\0\0"  # struct linger: on, 0 seconds
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        peer.sock.close()
        await client.wait("lost")
        assert isinstance(client.error, ConnectionResetError)


async def test_close_notify_and_data_in_one_segment_come_in_their_order(loop):
    server = Recorder()
    async with client_of(server) as peer:
        await peer.handshake()
        await server.wait("made")
        await peer.send_raw(peer.records(b"last") + peer.goodbye())
        await server.wait("eof")
        assert bytes(server.data) == b"last"
        # The goodbye is answered at once, without the program's doing.
        assert await peer.receive_end() is None
        await server.wait("lost")
        assert server.error is None and server.events == ["made", "data", "eof", "lost"]


async def test_staying_open_after_the_end_is_not_possible_and_said_so(loop, caplog):
    server = Recorder(keep_open=True)
    async with client_of(server) as peer:
        await peer.handshake()
        await server.wait("made")
        await peer.send_raw(peer.goodbye())
        await server.wait("lost")
    assert "returning true from eof_received() has no effect when using ssl" in caplog.text


async def test_a_fatal_alert_ends_the_handshake_with_its_name(loop):
    async with handshaking(loop) as (sock, connecting):
        # Fatal, handshake_failure (RFC 8446, section 6).
        await loop.sock_sendall(sock, b"\x15\x03\x03\x00\x02\x02\x28")
        with pytest.raises(ssl.SSLError) as caught:
            await connecting
    assert "HANDSHAKE_FAILURE" in caught.value.reason


async def test_a_stalled_handshake_of_a_client_is_given_up(loop):
    server = Recorder()
    async with client_of(server, ssl_handshake_timeout=0.05) as peer:
        # Half a hello, and nothing more.
        await peer.send_raw(b"\x16\x03\x01\x02\x00\x01")
        assert await loop.sock_recv(peer.sock, 100) == b""
    assert server.events == []


async def test_a_stalled_handshake_is_logged_in_debug_mode_without_a_traceback(
    loop, caplog, errors
):
    loop.set_debug(True)
    caplog.set_level(logging.DEBUG, "asyncio")
    server = Recorder()
    async with client_of(server, ssl_handshake_timeout=0.05) as peer:
        assert await loop.sock_recv(peer.sock, 100) == b""
    records = [it for it in caplog.records if "Fatal error on transport" in it.getMessage()]
    assert [record.exc_info for record in records] == [(None, None, None)]
    (report,) = errors.take()
    assert report["message"] == "Error on transport creation for incoming connection"


async def test_an_error_in_the_middle_of_a_large_write_ends_the_connection(loop):
    client = Recorder()
    async with server_of(client) as peer:
        linger = b"\1\0\0\0\0\0\0\0"
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        while "pause" not in client.events:
            client.transport.write(bytes(20_000_000))
        peer.sock.close()
        await client.wait("lost")
        assert isinstance(client.error, OSError)
        assert client.transport.get_write_buffer_size() == 0


async def test_writes_after_the_loss_are_counted_and_then_warned_of(loop, caplog):
    client = Recorder()
    async with server_of(client) as peer:
        peer.sock.shutdown(socket.SHUT_WR)
        await client.wait("lost")
        for _ in range(8):
            client.transport.write(b"into the void")
    assert "SSL connection is closed" in caplog.text


async def test_an_exception_in_data_received_is_reported_and_ends_the_connection(loop, errors):
    class Failing(Recorder):
        def data_received(self, data):
            raise LookupError(data)

    server = Failing()
    async with client_of(server) as peer:
        await peer.handshake()
        await peer.send(b"boom")
        await server.wait("lost")
        assert isinstance(server.error, LookupError)
    (report,) = errors.take()
    assert report["message"] == "Fatal error on SSL protocol"
    assert isinstance(report["exception"], LookupError)


async def test_an_exception_in_connection_made_is_reported(loop, errors):
    class Failing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise LookupError("made")

    server = Failing()
    async with client_of(server) as peer:
        await peer.handshake()
        await server.wait("lost")
        assert isinstance(server.error, LookupError)
    (report,) = errors.take()
    assert "buffer_updated() call failed" in report["message"]


async def test_wrong_arguments_are_refused_in_the_words_of_asyncio(loop):
    client = Recorder()
    async with server_of(client):
        transport = client.transport
        with pytest.raises(TypeError, match="^data: expecting a bytes-like instance, got str$"):
            transport.write("text")
        with pytest.raises(ValueError, match="must be >= low"):
            transport.set_write_buffer_limits(high=1, low=2)
        with pytest.raises(NotImplementedError):
            transport.write_eof()
        assert transport.can_write_eof() is False
        transport.write(b"")
        for timeout in (0, -1):
            with pytest.raises(ValueError, match="should be a positive number, got"):
                await loop.start_tls(transport, client, client_tls(), ssl_handshake_timeout=timeout)


async def test_a_peer_that_reads_nothing_is_left_behind_after_the_shutdown_time(loop):
    server = Recorder()
    async with client_of(server, ssl_shutdown_timeout=0.05) as peer:
        await peer.handshake()
        await server.wait("made")
        server.transport.write(bytes(10_000_000))
        server.transport.close()
        await server.wait("lost")
        assert isinstance(server.error, TimeoutError)
        assert str(server.error) == "SSL shutdown timed out"


@pytest.mark.hotloop_only  # asyncio since 3.14.10
async def test_a_peer_that_says_goodbye_and_reads_nothing_is_left_behind_as_well(loop):
    server = Recorder()
    async with client_of(server, ssl_shutdown_timeout=0.05) as peer:
        await peer.handshake()
        await server.wait("made")
        server.transport.write(bytes(10_000_000))
        peer.sock.shutdown(socket.SHUT_WR)
        await server.wait("lost")
        assert isinstance(server.error, TimeoutError)


async def test_a_peer_that_goes_on_sending_does_not_hold_up_the_close(loop):
    server = Recorder()
    async with client_of(server, ssl_shutdown_timeout=0.05) as peer:
        await peer.handshake()
        await server.wait("made")

        async def send_on():
            while True:
                await peer.send(bytes(10_000))
                await asyncio.sleep(0)

        sending = asyncio.ensure_future(send_on())
        server.transport.close()
        await server.wait("lost")
        sending.cancel()
        assert isinstance((await asyncio.gather(sending, return_exceptions=True))[0], BaseException)


async def test_abort_in_the_handshake_tells_the_waiter(loop):
    async with handshaking(loop) as (sock, connecting):
        assert (await loop.sock_recv(sock, 1)) == b"\x16"
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


@contextlib.asynccontextmanager
async def handshaking(loop):
    """A connection that has begun its handshake with a bare socket, which is the peer's end, and the task that connects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        connecting = asyncio.ensure_future(
            loop.create_connection(
                Recorder, *listener.getsockname(), ssl=client_tls(), server_hostname="localhost"
            )
        )
        sock, _ = await loop.sock_accept(listener)
        with sock:
            yield sock, connecting
