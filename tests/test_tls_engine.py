"""The two engines: which one is chosen, what it says, and that both are what they claim to be."""

import asyncio
import gc
import ssl
import warnings

import pytest

from helpers import CERTIFICATE, Recorder, client_tls, connected, run_child, server_tls
from tls_peer import client_of, server_of

pytestmark = pytest.mark.hotloop_only


@pytest.mark.parametrize("engine", ["direct", "bio"])
async def test_a_connection_says_which_engine_it_has(loop, monkeypatch, engine):
    monkeypatch.setenv("HOTLOOP_TLS", engine)
    async with connected("tls") as pair:
        assert pair.transport.get_extra_info("tls_engine") == engine
        assert pair.theirs.transport.get_extra_info("tls_engine") == engine


async def test_the_direct_engine_is_the_default_here(loop, monkeypatch):
    monkeypatch.delenv("HOTLOOP_TLS", raising=False)
    async with connected("tls") as pair:
        assert pair.transport.get_extra_info("tls_engine") == "direct"


async def test_an_unknown_engine_is_refused(loop, monkeypatch):
    async with connected() as pair:
        monkeypatch.setenv("HOTLOOP_TLS", "fast")
        with pytest.raises(RuntimeError, match="must be 'direct' or 'bio', not 'fast'"):
            await loop.start_tls(
                pair.transport, pair.ours, client_tls(), server_hostname="localhost"
            )


async def test_objects_of_other_kinds_are_driven_by_their_methods(loop, monkeypatch):
    """A context may wrap its objects; what is inside is then not ours to look at."""
    monkeypatch.setenv("HOTLOOP_TLS", "direct")

    class Wrapped:
        def __init__(self, genuine):
            self._genuine = genuine

        def __getattr__(self, name):
            if name == "_sslobj":
                raise AttributeError(name)
            return getattr(self._genuine, name)

    class Context(ssl.SSLContext):
        def wrap_bio(self, *args, **named):
            return Wrapped(super().wrap_bio(*args, **named))

    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERTIFICATE)
    client = Recorder()
    async with server_of(client, ssl=context) as peer:
        assert client.transport.get_extra_info("tls_engine") == "bio"
        await peer.send(b"works")
        assert await client.received(5) == b"works"


async def test_a_subclass_of_the_ssl_object_is_asked_for_handshake_and_shutdown(loop, monkeypatch):
    monkeypatch.setenv("HOTLOOP_TLS", "direct")
    calls = []

    class Noting(ssl.SSLObject):
        def do_handshake(self):
            calls.append("do_handshake")
            super().do_handshake()

        def unwrap(self):
            calls.append("unwrap")
            super().unwrap()

    context = client_tls()
    context.sslobject_class = Noting
    client = Recorder()
    async with server_of(client, ssl=context) as peer:
        assert client.transport.get_extra_info("tls_engine") == "direct"
        assert isinstance(client.transport.get_extra_info("ssl_object"), Noting)
        client.transport.close()
        assert await peer.receive_end() is None
        await peer.send_raw(peer.goodbye())
        await client.wait("lost")
    assert set(calls) == {"do_handshake", "unwrap"}


@pytest.mark.parametrize(
    "version", ["LibreSSL 4.0.0", "OpenSSL 1.1.1 (compatible; AWS-LC 1.40.0)", "BoringSSL"]
)
def test_a_library_that_is_not_openssl_itself_is_left_to_the_objects(version):
    done = run_child(OTHER_LIBRARY, version, HOTLOOP_TLS="")
    assert done.stdout.split() == ["bio", "refused"], done.stderr


OTHER_LIBRARY = """
import os, sys
import _ssl, asyncio, hotloop
from helpers import connected

async def main():
    async with connected("tls") as pair:
        print(pair.transport.get_extra_info("tls_engine"))
    os.environ["HOTLOOP_TLS"] = "direct"
    try:
        async with connected("tls"):
            print("not refused")
    except RuntimeError as error:
        assert "does not allow it" in str(error), error
        print("refused")

_ssl.OPENSSL_VERSION = sys.argv[1]
with asyncio.Runner(loop_factory=hotloop.new_event_loop) as runner:
    runner.run(main())
"""


async def test_an_idle_connection_keeps_no_received_bytes(loop, monkeypatch):
    monkeypatch.setenv("HOTLOOP_TLS", "direct")
    server = Recorder()
    async with client_of(server) as peer:
        await peer.handshake()
        await peer.send(bytes(100_000))
        assert await server.received(100_000) == bytes(100_000)
        protocol = server.transport._ssl_protocol
        assert protocol._incoming.pending == protocol._outgoing.pending == 0
        assert server.transport.get_read_buffer_size() == 0


async def test_connections_share_the_description_of_their_cipher(loop, tls_engine):
    """`SSLObject.cipher()` makes three objects each time: 175 bytes for each connection."""
    async with connected("tls") as first, connected("tls") as second:
        ends = (first.ours, first.theirs, second.ours, second.theirs)
        ciphers = [end.transport.get_extra_info("cipher") for end in ends]
        assert ciphers == [end.transport.get_extra_info("ssl_object").cipher() for end in ends]
        assert all(cipher is ciphers[0] for cipher in ciphers)


async def test_the_answer_of_a_class_with_its_own_cipher_is_what_the_program_gets(loop, tls_engine):
    class Own(ssl.SSLObject):
        def cipher(self):
            return answer

    context = client_tls()
    context.sslobject_class = Own
    for answer in (["a list"], ("with", ["one"]), (), None):
        client = Recorder()
        async with server_of(client, ssl=context):
            assert client.transport.get_extra_info("cipher") is answer


async def test_the_protocol_has_the_attributes_that_libraries_look_at(loop):
    async with connected("tls") as pair:
        protocol = pair.transport._ssl_protocol
        assert isinstance(protocol, asyncio.BufferedProtocol)
        assert isinstance(pair.transport, asyncio.Transport)
        assert protocol._app_transport is protocol._get_app_transport() is pair.transport
        assert protocol._app_protocol is pair.ours
        assert protocol._sslobj is pair.transport.get_extra_info("ssl_object")
        assert protocol._sslcontext is pair.transport.get_extra_info("sslcontext")
        assert protocol._transport.get_extra_info("socket") is not None
        assert protocol._state is asyncio.sslproto.SSLProtocolState.WRAPPED
        assert protocol._server_hostname == "localhost" and not protocol._server_side
        assert protocol._loop is loop is pair.transport._loop
    assert protocol._state is asyncio.sslproto.SSLProtocolState.UNWRAPPED


async def test_a_transport_closed_twice_answers_as_a_closed_one(loop):
    async with connected("tls") as pair:
        transport = pair.transport
        transport.close()
        transport.close()
        assert transport.get_extra_info("cipher") is not None
        await pair.ours.wait("lost")
        transport.close()
        transport.abort()
        transport.write(b"ignored")
        transport.writelines([b"ignored"])
        assert transport.is_closing() and not transport.is_reading()
        assert transport.get_write_buffer_size() == 0
        assert transport.get_protocol() is None
        assert transport.get_extra_info("cipher", "unknown") == "unknown"
        assert transport._ssl_protocol is None


@pytest.mark.parametrize("engine", ["direct", "bio"])
async def test_a_client_that_pauses_at_once_ends_its_handshake(loop, monkeypatch, engine):
    monkeypatch.setenv("HOTLOOP_TLS", engine)

    class Pausing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    # The server's end is told only after the client's last message of the handshake.
    async with connected("tls", ours=Pausing) as pair:
        assert pair.theirs.events == ["made"]


def test_a_transport_that_was_never_closed_warns_in_the_words_of_asyncio(loop):
    protocol = loop._make_tls_protocol(Recorder(), server_tls(), None, True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del protocol
        gc.collect()
    assert [str(warning.message) for warning in caught] == [
        "unclosed transport <asyncio._SSLProtocolTransport object>"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["direct", "bio"])
def test_connections_one_after_the_other_leave_no_memory(engine):
    """Both ends in one process: its size stays what it was after the first fifty."""
    done = run_child(MEMORY, HOTLOOP_TLS=engine)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 4_000_000


MEMORY = """
import asyncio, gc, resource
import hotloop
from helpers import Echo, connected

async def rounds(count):
    for _ in range(count):
        async with connected("tls", theirs=Echo) as pair:
            for size in (1, 1000, 50_000):
                pair.transport.write(bytes(size))
                await pair.ours.received(size)

async def main():
    await rounds(50)
    gc.collect()
    before = size()
    await rounds(150)
    gc.collect()
    print(size() - before)

def size():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

loop = hotloop.new_event_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(main())
loop.close()
"""
