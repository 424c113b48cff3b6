"""Callbacks out of the handshake and what a server asks for later: server names, shared keys, client certificates."""

import contextlib
import ssl
import sys

import pytest

from helpers import CERTIFICATE, Recorder, address_of, client_tls, server_tls
from tls_peer import client_of, server_of

pytestmark = pytest.mark.usefixtures("tls_engine")

PSK = pytest.mark.skipif(sys.version_info < (3, 13), reason="callbacks for shared keys: 3.13")


async def refused(loop, server_context, client_context):
    """A client's handshake with the server fails; the server goes on."""
    server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=server_context)
    async with server:
        for _ in range(2):
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await loop.create_connection(
                    Recorder, *address_of(server), ssl=client_context, server_hostname="localhost"
                )


async def test_a_server_name_callback_may_refuse_with_an_alert(loop):
    context = server_tls()
    context.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    await refused(loop, context, client_tls())


async def test_a_server_name_callback_of_the_wrong_type_ends_the_handshake(loop, monkeypatch):
    seen = []
    monkeypatch.setattr("sys.unraisablehook", lambda report: seen.append(report.exc_type))
    context = server_tls()
    context.sni_callback = lambda *_: "refused"
    await refused(loop, context, client_tls())
    assert seen == [TypeError] * 2


def shared_keys(answer):
    """Contexts of TLS 1.2 without certificates, whose server answers with `answer(identity)`."""
    contexts = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in contexts:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("PSK")
    server, client = contexts
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.set_psk_client_callback(lambda hint: ("somebody", b"key" + (hint or "").encode()))
    server.set_psk_server_callback(answer, "hint")
    return contexts


@PSK
async def test_a_shared_key_opens_a_connection(loop):
    asked = []

    def answer(identity):
        asked.append(identity)
        return b"keyhint"

    server_context, client_context = shared_keys(answer)
    server = Recorder()
    async with client_of(server, client_context, ssl=server_context) as peer:
        await peer.handshake()
        await peer.send(b"data")
        assert await server.received(4) == b"data"
        assert "PSK" in server.transport.get_extra_info("cipher")[0]
        assert server.transport.get_extra_info("peercert") is None
    assert asked == ["somebody"]


@PSK
async def test_a_shared_key_of_the_client_opens_a_connection(loop):
    server_context, client_context = shared_keys(lambda identity: b"keyhint")
    client = Recorder()
    async with server_of(client, server_context, ssl=client_context) as peer:
        client.transport.write(b"data")
        assert await peer.receive(4) == b"data"


@PSK
@pytest.mark.parametrize("fault", [LookupError, "wrong type"])
async def test_a_callback_for_shared_keys_that_fails_ends_the_handshake(loop, monkeypatch, fault):
    seen = []
    monkeypatch.setattr("sys.unraisablehook", lambda report: seen.append(report.exc_type))

    def answer(identity):
        if fault is LookupError:
            raise LookupError(identity)
        return 5

    await refused(loop, *shared_keys(answer))
    assert seen == [LookupError if fault is LookupError else TypeError] * 2


@pytest.mark.parametrize("answers", [True, False])
async def test_a_server_may_ask_for_a_certificate_after_the_handshake(loop, answers):
    server_context, client_context = server_tls(), client_tls()
    server_context.load_verify_locations(CERTIFICATE)
    server_context.post_handshake_auth = client_context.post_handshake_auth = True
    server_context.verify_mode = ssl.CERT_REQUIRED
    if answers:
        client_context.load_cert_chain(CERTIFICATE)
    # A client that has agreed to it is not asked in the handshake.
    server = Recorder()
    async with client_of(server, client_context, ssl=server_context) as peer:
        await peer.handshake()
        await peer.send(b"in")
        assert await server.received(2) == b"in"
        secure = server.transport.get_extra_info("ssl_object")
        assert not secure.getpeercert()
        secure.verify_client_post_handshake()
        server.transport.write(b"who are you")  # the request leaves with it
        assert await peer.receive(11) == b"who are you"
        with contextlib.suppress(OSError):
            await peer.send(b"me")
        if answers:
            assert await server.received(2) == b"me"
            assert secure.getpeercert()["subject"] == ((("commonName", "localhost"),),)
        else:
            await server.wait("lost")
            assert isinstance(server.error, ssl.SSLError)
            assert server.error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
            assert not server.data
