"""The program's own `ssl.SSLObject`: a class or a patch of its methods is obeyed as on asyncio's loop."""

import ssl
import threading

import pytest

from helpers import LOOP_NAME, Recorder, client_tls, run_child
from tls_peer import server_of

pytestmark = pytest.mark.usefixtures("tls_engine")


def noting(calls, base=ssl.SSLObject):
    """A class of SSL objects that puts the names of its calls into `calls`."""

    class Noting(base):
        def read(self, *args):
            calls.append("read")
            return super().read(*args)

        def write(self, data):
            calls.append("write")
            return super().write(data)

    return Noting


async def exchange(client, peer):
    """A message each way."""
    client.transport.write(b"question")
    assert await peer.receive(8) == b"question"
    await peer.send(b"answer")
    assert await client.received(6) == b"answer"


@pytest.mark.parametrize("own", ["read", "write"])
async def test_a_class_of_ssl_objects_with_its_own_read_or_write_is_asked(loop, own):
    calls, client, context = [], Recorder(), client_tls()
    context.sslobject_class = noting(calls)
    delattr(context.sslobject_class, "write" if own == "read" else "read")
    async with server_of(client, ssl=context) as peer:
        await exchange(client, peer)
        assert isinstance(client.transport.get_extra_info("ssl_object"), context.sslobject_class)
    assert set(calls) == {own}


async def test_a_patched_method_of_the_ssl_module_is_called(loop, monkeypatch):
    calls, client = [], Recorder()
    genuine = ssl.SSLObject.read

    def read(self, *args):
        calls.append("read")
        return genuine(self, *args)

    monkeypatch.setattr(ssl.SSLObject, "read", read)
    async with server_of(client) as peer:
        await exchange(client, peer)
    assert calls


async def test_a_method_of_one_object_alone_is_called(loop):
    calls, client, context = [], Recorder(), client_tls()

    class Own(ssl.SSLObject):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name == "_sslobj":  # the object is made
                self.__dict__["write"] = lambda data: (calls.append("write"), self.send(data))[1]

        def send(self, data):
            return super().write(data)

    context.sslobject_class = Own
    async with server_of(client, ssl=context) as peer:
        await exchange(client, peer)
    assert calls


def test_a_patch_from_before_the_first_connection_is_obeyed(tls_engine):
    done = run_child(PATCHED_FIRST, HOTLOOP_TLS=tls_engine if LOOP_NAME == "hotloop" else "")
    assert done.stderr == ""
    assert done.stdout.split() == ["write", "write", "echoed"]  # both ends are here


PATCHED_FIRST = """
import asyncio, ssl
genuine = ssl.SSLObject.write

def write(self, data):
    if data == b"question":
        print("write")
    return genuine(self, data)

ssl.SSLObject.write = write
import hotloop
from helpers import Echo, connected

async def main():
    async with connected("tls", theirs=Echo) as pair:
        pair.transport.write(b"question")
        assert await pair.ours.received(8) == b"question"
        print("echoed")

with asyncio.Runner(loop_factory=hotloop.new_event_loop) as runner:
    runner.run(main())
""".replace(
    "hotloop.new_event_loop", "hotloop.new_event_loop" if LOOP_NAME == "hotloop" else "None"
)


async def test_a_handshake_and_a_shutdown_of_its_own_are_called(loop):
    calls, client, context = [], Recorder(), client_tls()

    class Noting(ssl.SSLObject):
        def do_handshake(self):
            calls.append("do_handshake")
            super().do_handshake()

        def unwrap(self):
            calls.append("unwrap")
            return super().unwrap()

    context.sslobject_class = Noting
    async with server_of(client, ssl=context) as peer:
        await exchange(client, peer)
        client.transport.close()
        assert await peer.receive_end() is None
        await peer.send_raw(peer.goodbye())
        await client.wait("lost")
    assert set(calls) == {"do_handshake", "unwrap"}
    assert calls.count("do_handshake") >= 2


@pytest.mark.parametrize("sends", ["peer", "program"])
async def test_an_exception_of_a_message_callback_in_the_middle_of_data_ends_the_connection(
    loop, errors, sends
):
    client, context = Recorder(), client_tls()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # no messages but the data after the handshake
    failing = []

    def callback(*_):
        if failing:
            raise failing.pop()

    context._msg_callback = callback
    async with server_of(client, ssl=context) as peer:
        failing.append(LookupError("seen"))
        if sends == "peer":
            await peer.send(b"data")
        else:
            client.transport.write(b"data")
        await client.wait("lost")
        assert isinstance(client.error, LookupError)
    (report,) = errors.take()
    assert report["message"] == "Fatal error on SSL protocol"


@pytest.mark.parametrize("size", [1, 100_000])
async def test_methods_that_only_look_may_be_called_in_other_threads(loop, size):
    client = Recorder()
    async with server_of(client) as peer:
        secure = client.transport.get_extra_info("ssl_object")
        stopped = threading.Event()

        def look():
            seen = set()
            while not stopped.is_set():
                seen.add((secure.version(), secure.cipher()[0], secure.pending() >= 0))
            return seen

        # Past the session tickets: in the middle of one OpenSSL has no version, and no cipher, to show.
        await peer.send(b"begin")
        assert await client.received(5) == b"begin"
        looking = loop.run_in_executor(None, look)
        try:
            for _ in range(20):
                client.transport.write(bytes(size))
                assert await peer.receive(size) == bytes(size)
                await peer.send(bytes(size))
                assert await client.received(size) == bytes(size)
        finally:
            stopped.set()
            seen = await looking
        assert len(seen) == 1
