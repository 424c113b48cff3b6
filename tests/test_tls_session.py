"""What a TLS session can do, as the program sees it through the genuine ``ssl.SSLObject``."""

import asyncio
import contextlib
import gc
import shutil
import ssl
import subprocess
import sys
import weakref

import pytest

from helpers import CERTIFICATE, Echo, Recorder, address_of, client_tls, collector_off, server_tls
from tls_peer import client_of, server_of

pytestmark = pytest.mark.usefixtures("tls_engine")

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@contextlib.asynccontextmanager
async def secured(server_context, client_context, theirs=Echo):
    """A server and a client of the loop under test: (client's protocol, server's protocol)."""
    loop = asyncio.get_running_loop()
    accepted, ours = theirs(), Recorder()
    server = await loop.create_server(lambda: accepted, "127.0.0.1", 0, ssl=server_context)
    await loop.create_connection(
        lambda: ours, *address_of(server), ssl=client_context, server_hostname="localhost"
    )
    await accepted.wait("made")  # with TLS 1.3 the client is there first
    try:
        yield ours, accepted
    finally:
        server.close()
        ours.transport.close()
        await ours.wait("lost")
        await accepted.wait("lost")
        await server.wait_closed()


@pytest.mark.parametrize("version", VERSIONS)
async def test_both_versions_exchange_and_say_goodbye(loop, version):
    context = client_tls()
    context.maximum_version = version
    async with secured(server_tls(), context) as (client, server):
        secure = client.transport.get_extra_info("ssl_object")
        assert secure.version() == version.name.replace("_", ".")
        client.transport.write(bytes(100_000))
        assert await client.received(100_000) == bytes(100_000)
    assert client.error is None and server.error is None


async def test_versions_that_do_not_meet_fail_on_both_sides(loop):
    old, new = server_tls(), client_tls()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    new.minimum_version = ssl.TLSVersion.TLSv1_3
    server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=old)
    async with server:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await loop.create_connection(
                Recorder, *address_of(server), ssl=new, server_hostname="localhost"
            )


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_certificate_reaches_the_server(loop, version):
    server_context, client_context = server_tls(), client_tls()
    server_context.maximum_version = version
    server_context.verify_mode = ssl.CERT_REQUIRED
    server_context.load_verify_locations(CERTIFICATE)
    client_context.load_cert_chain(CERTIFICATE)
    async with secured(server_context, client_context) as (client, server):
        client.transport.write(b"hello")
        assert await client.received(5) == b"hello"
        certificate = server.transport.get_extra_info("peercert")
        assert certificate["subject"] == ((("commonName", "localhost"),),)


async def test_a_missing_client_certificate_closes_the_connection(loop):
    context = server_tls()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(CERTIFICATE)
    client = Recorder()
    server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=context)
    async with server:
        # With TLS 1.3 the client's handshake is over before the server has looked.
        with contextlib.suppress(OSError):
            await loop.create_connection(
                lambda: client, *address_of(server), ssl=client_tls(), server_hostname="localhost"
            )
            await client.wait("lost")
    assert not client.data


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_session_can_be_resumed(loop, version):
    server = Echo()
    context = client_tls()
    context.maximum_version = version
    server_context = server_tls()
    async with client_of(server, context, ssl=server_context) as peer:
        await peer.handshake()
        await peer.send(b"1")
        assert await peer.receive(1) == b"1"
        session = peer.object.session
    again = Echo()
    async with client_of(again, context, ssl=server_context) as peer:
        peer.object.session = session
        await peer.handshake()
        assert peer.object.session_reused
        await peer.send(b"2")
        assert await peer.receive(1) == b"2"
        assert again.transport.get_extra_info("ssl_object").session_reused


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_takes_up_the_session_that_its_context_gives(loop, version):
    class Remembering(ssl.SSLContext):
        session = None

        def wrap_bio(self, *args, **named):
            return super().wrap_bio(*args, session=self.session, **named)

    client_context = Remembering(ssl.PROTOCOL_TLS_CLIENT)
    client_context.load_verify_locations(CERTIFICATE)
    client_context.maximum_version = version
    server_context = server_tls()
    for reused in (False, True):
        async with secured(server_context, client_context) as (client, server):
            client.transport.write(b"tickets come first")
            assert await client.received(18) == b"tickets come first"
            for end in (client, server):
                assert end.transport.get_extra_info("ssl_object").session_reused == reused
            client_context.session = client.transport.get_extra_info("ssl_object").session


async def test_a_server_name_callback_may_switch_the_context(loop):
    first, second = server_tls(), server_tls()
    asked = []

    def choose(secure, name, context):
        asked.append(name)
        assert context is first
        secure.context = second

    first.sni_callback = choose
    async with secured(first, client_tls()) as (client, server):
        assert asked == ["localhost"]
        assert server.transport.get_extra_info("ssl_object").context is second
        client.transport.write(b"still works")
        assert await client.received(11) == b"still works"


async def test_a_server_name_callback_that_raises_ends_the_handshake_only(loop, monkeypatch):
    seen = []
    monkeypatch.setattr("sys.unraisablehook", lambda report: seen.append(report.exc_type))

    def fail(secure, name, context):
        raise LookupError(name)

    context = server_tls()
    context.sni_callback = fail
    server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=context)
    async with server:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await loop.create_connection(
                Recorder, *address_of(server), ssl=client_tls(), server_hostname="localhost"
            )
        context.sni_callback = None
        async with secured(context, client_tls()) as (client, _):
            client.transport.write(b"next")
            assert await client.received(4) == b"next"
    assert seen == [LookupError]


@pytest.mark.hotloop_only  # asyncio reports a RuntimeError about its state machine here
async def test_a_server_name_callback_may_abort_the_connection(loop):
    context = server_tls()

    def give_up(secure, name, asked):
        for transport in open_transports(loop):
            transport.abort()

    context.sni_callback = give_up
    server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=context)
    async with server:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await loop.create_connection(
                Recorder, *address_of(server), ssl=client_tls(), server_hostname="localhost"
            )


def open_transports(loop):
    """The stream transports of the loop that have something to do with TLS on the server's side."""
    rows = [reader for _, _, reader, _ in loop._watched() if hasattr(reader, "get_protocol")]
    return [
        row.get_protocol()._app_transport
        for row in rows
        if getattr(row.get_protocol(), "_server_side", False)
    ]


@pytest.mark.hotloop_only  # nested loops need a loop that can be set aside
async def test_a_server_name_callback_may_run_another_loop(loop, loop_factory):
    context = server_tls()
    ran = []

    def nested(secure, name, asked):
        running = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        other = loop_factory()
        try:
            ran.append(other.run_until_complete(asyncio.sleep(0, "ran")))
        finally:
            other.close()
            asyncio._set_running_loop(running)

    context.sni_callback = nested
    async with secured(context, client_tls()) as (client, _):
        client.transport.write(b"fine")
        assert await client.received(4) == b"fine"
    assert ran == ["ran"]


async def test_keys_are_logged(loop, tmp_path):
    context = client_tls()
    context.keylog_filename = str(tmp_path / "keys")
    async with secured(server_tls(), context) as (client, _):
        client.transport.write(b"x")
        assert await client.received(1) == b"x"
    del context
    assert "CLIENT_TRAFFIC_SECRET_0" in (tmp_path / "keys").read_text()


async def test_authentication_after_the_handshake(loop):
    server_context, client_context = server_tls(), client_tls()
    server_context.load_verify_locations(CERTIFICATE)
    server_context.post_handshake_auth = client_context.post_handshake_auth = True
    server_context.verify_mode = ssl.CERT_REQUIRED
    client_context.load_cert_chain(CERTIFICATE)
    client = Recorder()
    # The server asks by hand; the client's answer leaves although it writes nothing itself.
    async with server_of(client, server_context, ssl=client_context) as peer:
        peer.object.verify_client_post_handshake()
        await peer.send(b"who are you")
        assert await client.received(11) == b"who are you"
        client.transport.write(b"me")
        assert await peer.receive(2) == b"me"
        assert peer.object.getpeercert()["subject"] == ((("commonName", "localhost"),),)


async def test_the_ssl_object_outlives_the_connection(loop):
    async with secured(server_tls(), client_tls()) as (client, _):
        secure = client.transport.get_extra_info("ssl_object")
        client.transport.write(b"x")
        assert await client.received(1) == b"x"
    transport = client.transport
    assert transport.get_extra_info("ssl_object") is secure
    del client, transport
    assert secure.cipher() is not None and secure.version().startswith("TLS")
    with pytest.raises(ssl.SSLError):
        secure.write(b"nobody is there")


async def test_the_program_may_decrypt_by_itself_while_delivery_is_paused(loop):
    client = Recorder()
    async with server_of(client) as peer:
        client.transport.pause_reading()
        await peer.send(b"taken by hand")
        secure = client.transport.get_extra_info("ssl_object")
        taken = None
        while taken is None:
            with contextlib.suppress(ssl.SSLWantReadError):
                taken = secure.read(100)
            await asyncio.sleep(0)
        assert taken == b"taken by hand"
        client.transport.resume_reading()
        await peer.send(b"as usual")
        assert await client.received(8) == b"as usual"


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs the program openssl")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_openssl_as_the_client(loop, version):
    class Once(Echo):
        def data_received(self, data):
            super().data_received(data)
            self.transport.close()

    server = await loop.create_server(Once, "127.0.0.1", 0, ssl=server_tls())
    async with server:
        host, port = address_of(server)
        command = ["openssl", "s_client", "-quiet", "-connect", f"{host}:{port}", version]
        command += ["-CAfile", str(CERTIFICATE), "-verify_return_error"]
        done = await loop.run_in_executor(
            None,
            lambda: subprocess.run(
                command, input=b"there", capture_output=True, timeout=20, check=False
            ),
        )
    assert done.stdout == b"there", done.stderr


@pytest.mark.skipif(not shutil.which("curl"), reason="needs the program curl")
async def test_curl_as_the_client(loop):
    class Http(Recorder):
        def data_received(self, data):
            super().data_received(data)
            if b"\r\n\r\n" in self.data:
                self.transport.writelines(
                    [b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n", b"h" * 200_000]
                )
                self.transport.close()

    context = server_tls()
    context.set_alpn_protocols(["http/1.1"])
    server = await loop.create_server(Http, "127.0.0.1", 0, ssl=context)
    async with server:
        port = address_of(server)[1]
        command = ["curl", "-sS", "--cacert", str(CERTIFICATE), "--resolve"]
        command += [f"localhost:{port}:127.0.0.1", f"https://localhost:{port}/"]
        done = await loop.run_in_executor(
            None, lambda: subprocess.run(command, capture_output=True, timeout=20, check=False)
        )
    assert done.stderr == b""
    assert done.stdout == b"h" * 200_000


class Forgetful(asyncio.Protocol):
    """A protocol that does not keep the exception with which its connection was lost."""


# `create_connection` with TLS is the running Python's own.
OWN_CONNECT = pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio's own frames have it")


@pytest.mark.hotloop_only  # asyncio since 3.14.10
@pytest.mark.parametrize("upgrade", [pytest.param(False, marks=OWN_CONNECT), True])
async def test_a_certificate_that_is_refused_leaves_no_cycle(loop, upgrade):
    async def connect(address):
        protocol = Forgetful()
        gone = weakref.ref(protocol)
        # A context that trusts nobody.
        tls = {"server_hostname": "localhost", "ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}
        try:
            if upgrade:
                transport, _ = await loop.create_connection(lambda: protocol, *address)
                await loop.start_tls(transport, protocol, tls.pop("ssl"), **tls)
            else:
                await loop.create_connection(lambda: protocol, *address, **tls)
        except ssl.SSLCertVerificationError:
            return gone
        raise AssertionError("the certificate was accepted")

    server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=server_tls())
    gc.collect()
    with collector_off():
        async with server:
            gone = await connect(address_of(server))
            await asyncio.sleep(0)  # connection_lost
            assert gone() is None
