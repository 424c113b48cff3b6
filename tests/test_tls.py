"""TLS: servers, clients, ``start_tls``, verification, closing."""

import asyncio
import socket
import ssl

import pytest

from helpers import Echo, Recorder, address_of, client_tls, connected, server_tls

pytestmark = pytest.mark.usefixtures("tls_engine")

BIG = bytes(range(256)) * 8192  # 2 MiB


async def test_exchange(loop):
    async with connected("tls", theirs=Echo) as pair:
        pair.transport.write(b"secret")
        assert await pair.ours.received(6) == b"secret"
        pair.transport.writelines([b"one", bytearray(b"two"), memoryview(b"three")])
        assert await pair.ours.received(11) == b"onetwothree"


async def test_big_data_comes_back_whole(loop):
    async with connected("tls", theirs=Echo) as pair:
        pair.transport.write(BIG)
        assert await pair.ours.received(len(BIG)) == BIG


async def test_orderly_close(loop):
    async with connected("tls") as pair:
        pair.transport.write(b"last")
        pair.transport.close()
        assert pair.transport.is_closing()
        await pair.ours.wait("lost")
        await pair.theirs.wait("lost")
        assert pair.theirs.events == ["made", "data", "eof", "lost"]
        assert pair.ours.error is None and pair.theirs.error is None


async def test_abort(loop):
    async with connected("tls") as pair:
        pair.transport.abort()
        await pair.ours.wait("lost")
        await pair.theirs.wait("lost")
        assert pair.ours.error is None


async def test_extra_information(loop):
    async with connected("tls") as pair:
        transport = pair.transport
        assert isinstance(transport.get_extra_info("sslcontext"), ssl.SSLContext)
        assert isinstance(transport.get_extra_info("ssl_object"), ssl.SSLObject)
        names = dict(transport.get_extra_info("peercert")["subjectAltName"])
        assert names["DNS"] == "localhost"
        name, protocol, bits = transport.get_extra_info("cipher")
        assert isinstance(name, str) and protocol.startswith("TLS") and bits >= 128
        assert transport.get_extra_info("compression") is None
        assert transport.get_extra_info("peername") == address_of(pair.server)
        assert isinstance(transport.get_extra_info("socket"), asyncio.trsock.TransportSocket)
        assert pair.theirs.transport.get_extra_info("sslcontext") is not None


async def test_application_protocol_negotiation(loop):
    server_context, client_context = server_tls(), client_tls()
    server_context.set_alpn_protocols(["h2", "http/1.1"])
    client_context.set_alpn_protocols(["http/1.1"])
    server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=server_context)
    async with server:
        reader, writer = await asyncio.open_connection(
            *address_of(server), ssl=client_context, server_hostname="localhost"
        )
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        writer.close()
        await writer.wait_closed()
        assert reader.at_eof()


async def test_streams(loop):
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls())
    async with server:
        reader, writer = await asyncio.open_connection(
            *address_of(server), ssl=client_tls(), server_hostname="localhost"
        )
        writer.write(b"line\n")
        assert await reader.read() == b"LINE\n"
        writer.close()
        await writer.wait_closed()


async def test_a_certificate_that_is_not_trusted_is_refused(loop):
    server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=server_tls())
    async with server:
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            await loop.create_connection(
                Recorder,
                *address_of(server),
                ssl=ssl.create_default_context(),
                server_hostname="localhost",
            )
        # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, verify(1ssl).
        assert caught.value.verify_code == 18


async def test_a_certificate_for_another_name_is_refused(loop):
    server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=server_tls())
    async with server:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await loop.create_connection(
                Recorder, *address_of(server), ssl=client_tls(), server_hostname="example.invalid"
            )


async def test_a_peer_that_does_not_speak_tls(loop):
    async def serve(reader, writer):
        writer.write(b"plain text, not a handshake\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        with pytest.raises(ssl.SSLError):
            await loop.create_connection(
                Recorder, *address_of(server), ssl=client_tls(), server_hostname="localhost"
            )


async def test_a_peer_that_hangs_up_in_the_handshake(loop):
    server = await loop.create_server(Closing, "127.0.0.1", 0)
    async with server:
        with pytest.raises(ConnectionResetError):
            await loop.create_connection(
                Recorder, *address_of(server), ssl=client_tls(), server_hostname="localhost"
            )


class Closing(Recorder):
    """Hangs up as soon as it is connected."""

    def connection_made(self, transport):
        super().connection_made(transport)
        transport.close()


async def test_a_handshake_that_never_answers_times_out(loop):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer than"):
            await loop.create_connection(
                Recorder,
                *silent.getsockname(),
                ssl=client_tls(),
                server_hostname="localhost",
                ssl_handshake_timeout=0.05,
            )


@pytest.mark.parametrize("family", ["tcp", "unix"])
async def test_start_tls_on_both_ends_of_a_connection(loop, family, unix_path):
    async with connected(family, path=unix_path) as pair:
        server_end, client_end = pair.theirs.transport, pair.transport
        secured = await asyncio.gather(
            loop.start_tls(server_end, pair.theirs, server_tls(), server_side=True),
            loop.start_tls(client_end, pair.ours, client_tls(), server_hostname="localhost"),
        )
        pair.theirs.transport, pair.ours.transport = secured
        pair.transport.write(b"secret now")
        assert await pair.theirs.received(10) == b"secret now"
        assert pair.transport.get_extra_info("cipher") is not None


async def test_start_tls_of_a_plain_object_is_refused(loop):
    async with connected() as pair:
        with pytest.raises(TypeError, match="^sslcontext is expected to be an instance of"):
            await loop.start_tls(pair.transport, pair.ours, None)
        with pytest.raises(TypeError, match="is not supported by start_tls"):
            await loop.start_tls(asyncio.Transport(), pair.ours, client_tls())


async def test_flow_control(loop):
    class Stalled(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.pause_reading()

    async with connected("tls", theirs=Stalled) as pair:
        while "pause" not in pair.ours.events:
            pair.transport.write(BIG)
            await asyncio.sleep(0)
        pair.theirs.transport.resume_reading()
        await pair.ours.wait("resume")
