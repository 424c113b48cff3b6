"""What `write()` and `writelines()` of a TLS transport take, and what becomes of what they do not."""

import array
import contextlib
import ctypes
import ssl

import pytest

from helpers import Recorder
from tls_peer import client_of, server_of

pytestmark = pytest.mark.usefixtures("tls_engine")


@pytest.mark.parametrize("bad", ["text", "", [], [1, 2]])
async def test_a_wrong_element_of_writelines_ends_the_connection(loop, errors, bad):
    client = Recorder()
    async with server_of(client) as peer:
        client.transport.writelines([b"good", bad, b"more"])
        await client.wait("lost")
        assert isinstance(client.error, TypeError)
        assert str(client.error).startswith("a bytes-like object is required, not ")
        assert await peer.receive_end() is not None  # no part of it came
    (report,) = errors.take()
    assert report["message"] == "Fatal error on SSL protocol"


async def test_an_element_without_a_length_is_refused_at_once_and_fails_later(loop, errors):
    client = Recorder()
    async with server_of(client):
        with pytest.raises(TypeError, match="has no len"):
            client.transport.writelines([b"good", 5])
        assert "lost" not in client.events
        client.transport.write(b"next")
        await client.wait("lost")
        assert isinstance(client.error, TypeError)
    assert len(errors.take()) == 1


async def test_what_an_iterable_gave_before_it_failed_leaves_with_the_next_write(loop):
    def failing():
        yield b"first"
        raise LookupError("no more")

    client = Recorder()
    async with server_of(client) as peer:
        with pytest.raises(LookupError):
            client.transport.writelines(failing())
        client.transport.write(b" second")
        assert await peer.receive(12) == b"first second"


@pytest.mark.parametrize("waiting", [False, True])
async def test_memory_that_is_not_contiguous_ends_the_connection(loop, errors, waiting):
    client = Recorder()
    async with server_of(client):
        if waiting:
            while "pause" not in client.events:
                client.transport.write(bytes(1_000_000))
        client.transport.write(memoryview(bytes(20))[::2])
        await client.wait("lost")
        assert isinstance(client.error, BufferError)
    (report,) = errors.take()
    assert report["message"] == "Fatal error on SSL protocol"


async def test_a_wrong_element_written_in_connection_made_ends_the_connection(loop, errors):
    class Early(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.writelines([b"good", "bad"])

    early = Early()
    async with client_of(early) as peer:
        await peer.handshake()
        await early.wait("lost")
        assert isinstance(early.error, TypeError)
    assert errors.take()[0]["message"] == "Fatal error on SSL protocol"


async def test_other_buffers_are_written_as_their_bytes(loop):
    client = Recorder()
    numbers = array.array("I", range(100))
    async with server_of(client) as peer:
        with pytest.raises(TypeError, match="^data: expecting a bytes-like instance, got array"):
            client.transport.write(numbers)
        client.transport.write(memoryview(numbers))
        client.transport.writelines([numbers, bytearray(b"bytes"), b"", memoryview(b"view")])
        expected = numbers.tobytes() * 2 + b"bytesview"
        assert await peer.receive(len(expected)) == expected


@pytest.mark.hotloop_only  # on asyncio's loop the error is taken for the connection's
async def test_errors_that_others_have_left_in_the_queue_of_openssl_do_not_matter(
    loop, monkeypatch
):
    monkeypatch.setenv("HOTLOOP_TLS", "direct")
    client = Recorder()
    async with server_of(client) as peer:
        for _ in range(3):
            with error_of_others():
                client.transport.write(b"question")
            assert await peer.receive(8) == b"question"
            await peer.send(b"answer")
            with error_of_others():
                assert await client.received(6) == b"answer"
        assert "lost" not in client.events


@contextlib.contextmanager
def error_of_others():
    """An error in the thread's queue (ERR_put_error(3)), as a library leaves it that does not look."""
    openssl = ctypes.CDLL(ssl._ssl.__file__)  # its symbols, and those of what it was linked to
    library, reason = 20, 0x106  # ERR_LIB_SSL
    if hasattr(openssl, "ERR_new"):
        openssl.ERR_new()
        openssl.ERR_set_error(library, reason, None)
    else:  # up to 1.1.1
        openssl.ERR_put_error(library, 0, reason, b"test", 1)
    try:
        yield
    finally:
        openssl.ERR_clear_error()
