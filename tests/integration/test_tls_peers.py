"""TLS against programs that are not Python: OpenSSL's own client and server, curl, and the tools of nghttp2."""

import asyncio
import contextlib
import ssl

import pytest
import services
from hypercorn.asyncio import serve
from hypercorn.config import Config

from helpers import (
    CERTIFICATE,
    Echo,
    Recorder,
    address_of,
    client_tls,
    listening_socket,
    server_tls,
)

pytestmark = pytest.mark.usefixtures("tls_engine")

BIG = bytes(range(256)) * 4096  # 1 MiB
VERSIONS = {"-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}


@contextlib.asynccontextmanager
async def running(*command, **options):
    """A child process with pipes; ended with the block."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
    process = await asyncio.create_subprocess_exec(*map(str, command), **pipes | options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@pytest.fixture(scope="module")
def openssl():
    return services.find("openssl", "openssl", "/usr/bin") / "openssl"


@pytest.fixture(scope="module")
def curl():
    return services.find("curl", "curl", "/usr/bin") / "curl"


@contextlib.asynccontextmanager
async def s_client(openssl, protocol, *options, context=None):
    """`openssl s_client` connected to `protocol` on a server of the loop under test."""
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol, "127.0.0.1", 0, ssl=context or server_tls()
    )
    host, port = address_of(server)
    known = ("-connect", f"{host}:{port}", "-servername", "localhost", "-CAfile", CERTIFICATE)
    async with server, running(openssl, "s_client", *known, *options) as process:
        yield process
        if protocol.transport is not None:
            protocol.transport.abort()
            await protocol.wait("lost")


@contextlib.asynccontextmanager
async def s_server(openssl, protocol, *options):
    """A client of the loop under test with `protocol`, connected to `openssl s_server`."""
    known = ("-accept", "127.0.0.1:0", "-cert", CERTIFICATE, "-naccept", "1")
    async with running(openssl, "s_server", *known, *options) as process:
        line = b""
        while not line.startswith(b"ACCEPT"):
            line = await process.stdout.readline()
        port = int(line.rpartition(b":")[2])
        await asyncio.get_running_loop().create_connection(
            lambda: protocol, "127.0.0.1", port, ssl=client_tls(), server_hostname="localhost"
        )
        try:
            yield process
        finally:
            protocol.transport.abort()
            await protocol.wait("lost")


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_client_of_openssl_gets_back_what_it_sends(loop, openssl, version):
    echo = Echo()
    async with s_client(openssl, echo, version, "-quiet", "-verify_return_error") as process:
        process.stdin.write(BIG)
        assert await process.stdout.readexactly(len(BIG)) == BIG
        process.kill()  # no goodbye: the end of a stream without one is not an error in asyncio
        await echo.wait("lost")
        assert echo.events[-2:] == ["eof", "lost"] and echo.error is None


@pytest.mark.parametrize("version", VERSIONS)
async def test_big_data_goes_to_the_client_of_openssl(loop, openssl, version):
    server = Recorder()
    async with s_client(openssl, server, version, "-quiet", "-verify_return_error") as process:
        await server.wait("made")
        server.transport.write(BIG)
        assert await process.stdout.readexactly(len(BIG)) == BIG
        process.stdin.write(b"hello\n")
        assert await server.received(6) == b"hello\n"
        assert server.transport.get_extra_info("ssl_object").version() == VERSIONS[version]
        server.transport.close()
        assert await process.stdout.read() == b""
        assert await process.wait() == 0
        await server.wait("lost")
        assert server.error is None


async def test_the_client_of_openssl_sees_the_protocol_that_was_agreed_on(loop, openssl):
    context = server_tls()
    context.set_alpn_protocols(["h2", "http/1.1"])
    server = Recorder()
    async with s_client(openssl, server, "-alpn", "spdy,http/1.1", context=context) as process:
        await process.stdout.readuntil(b"ALPN protocol: http/1.1\n")
        await server.wait("made")
        assert server.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"


async def test_keys_are_changed_when_the_client_of_openssl_asks(loop, openssl):
    """A KeyUpdate (RFC 8446, section 4.6.3) comes between records, and one of them has to be answered."""
    echo = Echo()
    async with s_client(openssl, echo, "-tls1_3") as process:
        await process.stdout.readuntil(b"Early data was not sent\n")
        for command in (b"K\n", b"k\n", b"K\n"):
            process.stdin.write(command)
            await process.stderr.readuntil(b"KEYUPDATE\n")
            process.stdin.write(b"after the update\n")
            await process.stdout.readuntil(b"after the update\n")


async def test_a_renegotiation_that_the_client_of_openssl_asks_for_is_refused(loop, openssl):
    """Since OpenSSL 3.0 a server refuses it with a warning, and the connection goes on."""
    echo = Echo()
    async with s_client(openssl, echo, "-tls1_2") as process:
        await process.stdout.readuntil(b"Extended master secret")
        process.stdin.write(b"R\n")
        await process.stderr.readuntil(b"RENEGOTIATING\n")
        assert b"no renegotiation" in await process.stderr.read()


@pytest.mark.parametrize("command", [b"r\n", b"R\n"], ids=["plain", "with a certificate"])
async def test_a_renegotiation_that_the_server_of_openssl_asks_for_is_served(
    loop, openssl, command
):
    """What is written meanwhile waits for it."""
    client = Recorder()
    async with s_server(openssl, client, "-tls1_2", "-state") as process:
        client.transport.write(b"before\n")
        await process.stdout.readuntil(b"before\n")
        process.stdin.write(command)
        await process.stderr.readuntil(b"SSL_accept:SSLv3/TLS write hello request\n")
        for number in range(20):
            client.transport.write(b"%d" % number * 1000)
        client.transport.write(b"after\n")
        await process.stderr.readuntil(b"SSL_accept:SSLv3/TLS read client hello\n")
        await process.stdout.readuntil(b"19" * 1000 + b"after\n")
        process.stdin.write(b"answer\n")
        assert await client.received(7) == b"answer\n"
        assert client.transport.get_write_buffer_size() == 0


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_session_is_taken_up_again_by_the_client_of_openssl(
    loop, openssl, version, tmp_path
):
    context = server_tls()
    session = tmp_path / "session"
    for option, said in (("-sess_out", b"New, "), ("-sess_in", b"Reused, ")):
        server = Recorder()
        async with s_client(openssl, server, version, option, session, context=context) as process:
            await process.stdout.readuntil(b"\n" + said)
            await server.wait("made")
            server.transport.write(b"ticket first\n")
            await process.stdout.readuntil(b"ticket first\n")
            server.transport.close()
            assert await process.wait() == 0
            await server.wait("lost")


async def test_a_client_of_openssl_without_the_certificate_that_is_asked_for_is_refused(
    loop, openssl
):
    context = server_tls()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(CERTIFICATE)
    server = Recorder()
    async with s_client(openssl, server, "-tls1_2", context=context) as process:
        assert await process.wait() == 1
        assert server.events == []
    server = Recorder()
    options = ("-cert", CERTIFICATE, "-quiet")
    async with s_client(openssl, server, *options, context=context) as process:
        await server.wait("made")
        subject = dict(*server.transport.get_extra_info("peercert")["subject"])
        assert subject["commonName"] == "localhost"


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_server_of_openssl_sends_every_line_back_in_reverse(loop, openssl, version):
    client = Recorder()
    async with s_server(openssl, client, version, "-rev"):
        for number in range(20):
            line = b"%d" % number * 300
            client.transport.writelines([line, b"\n"])
            assert await client.received(len(line) + 1) == line[::-1] + b"\n"


async def test_keys_are_changed_when_the_server_of_openssl_asks(loop, openssl):
    client = Recorder()
    async with s_server(openssl, client, "-tls1_3") as process:
        for command in (b"K\n", b"k\n", b"K\n"):
            # It looks at its input first: the command was obeyed when the line is shown.
            process.stdin.write(command)
            client.transport.write(b"to be shown\n")
            await process.stdout.readuntil(b"to be shown\n")
            process.stdin.write(b"after the update\n")
            assert await client.received(17) == b"after the update\n"


async def test_the_server_of_openssl_says_goodbye(loop, openssl):
    client = Recorder()
    async with s_server(openssl, client) as process:
        process.stdin.write(b"last\n")
        assert await client.received(5) == b"last\n"
        process.stdin.write(b"Q\n")
        await client.wait("lost")
        assert client.events == ["made", "data", "eof", "lost"]
        assert client.error is None


async def application(scope, receive, send):
    """Sends the request's body back, with the version of HTTP in a header."""
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-length", b"%d" % len(body)), (b"x-http", scope["http_version"].encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def hypercorn():
    """Hypercorn, which speaks HTTP/2 to who asks for it, on the loop under test; the port."""
    listener = listening_socket()
    port = listener.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.certfile = config.keyfile = str(CERTIFICATE)
    config.loglevel = "WARNING"
    end = asyncio.Event()
    serving = asyncio.ensure_future(serve(application, config, shutdown_trigger=end.wait))
    try:
        yield port
    finally:
        end.set()
        await serving


@pytest.mark.parametrize(("option", "version"), [("--http2", b"2"), ("--http1.1", b"1.1")])
async def test_curl_agrees_on_a_version_of_http(loop, curl, option, version):
    async with hypercorn() as port:
        url = f"https://localhost:{port}/"
        options = (
            "-sS",
            option,
            "--cacert",
            CERTIFICATE,
            "--data-binary",
            "@-",
            "-D",
            "/dev/stderr",
        )
        async with running(curl, *options, url) as process:
            answer, head = await process.communicate(BIG)
            assert b"HTTP/%s 200" % version in head and b"x-http: " + version in head
            assert answer == BIG
            assert process.returncode == 0


async def test_many_streams_of_http_2_share_connections(loop):
    h2load = services.find("nghttp2-client", "h2load", "/usr/bin") / "h2load"
    async with hypercorn() as port:
        url = f"https://localhost:{port}/"
        async with running(h2load, "-n", 300, "-c", 5, "-m", 20, url) as process:
            report, _ = await process.communicate()
            assert b"Application protocol: h2\n" in report
            assert b"300 succeeded, 0 failed, 0 errored, 0 timeout" in report
