"""A child process: a small server on the loop that the command line names, put under load."""

from __future__ import annotations

import argparse
import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

from . import child, streams

HOST = "127.0.0.1"
# So many connections may wait to be accepted: a burst of new ones is not to be refused.
BACKLOG = 2048
CERTIFICATE = Path(__file__).resolve().with_name("localhost.pem")


class Echo(asyncio.Protocol):
    """Sends back what comes. A closed-loop client bounds what can pile up, so nothing else."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what every message needs."""
        # A cast, not a check: not every loop's transports are instances of asyncio.Transport.
        self._write = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        """Send *data* (bytes) back."""
        self._write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """Sends back what comes, out of the buffer that it was received into."""

    def __init__(self) -> None:
        self._view = memoryview(bytearray(64 * 1024))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what every message needs."""
        self._write = cast(asyncio.Transport, transport).write

    def get_buffer(self, sizehint: int) -> memoryview:
        """The same buffer every time: what is written is gone, or copied by the transport."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Send the first *nbytes* (int) back."""
        # A copy: not every loop copies what it could not send at once.
        self._write(bytes(self._view[:nbytes]))


class Once(asyncio.Protocol):
    """Sends the first message back, then closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Send *data* (bytes) back and close."""
        self._transport.write(data)
        self._transport.close()


class Http(asyncio.Protocol):
    """Gives each request, which is known to come in one piece, the same answer."""

    ANSWER = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!"
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what every request needs."""
        self._write = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        """Answer what is a whole request."""
        if data.endswith(b"\r\n\r\n"):
            self._write(self.ANSWER)


class Datagrams(asyncio.DatagramProtocol):
    """Sends each datagram back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what every datagram needs."""
        self._sendto = cast(asyncio.DatagramTransport, transport).sendto

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Send *data* (bytes) to where it came from."""
        self._sendto(data, addr)


Factory = Callable[[], asyncio.BaseProtocol]


async def protocol(factory: Factory, options: argparse.Namespace) -> None:
    """Serve on TCP, on a Unix path, or on TLS, with a protocol of *factory*."""
    loop = asyncio.get_running_loop()
    context = tls_context(options)
    made = cast(Callable[[], asyncio.Protocol], factory)
    if options.unix:
        server = await loop.create_unix_server(made, options.unix, backlog=BACKLOG)
        await child.serve_until_asked({"path": options.unix}, server.close)
        return
    server = await loop.create_server(made, HOST, 0, ssl=context, backlog=BACKLOG)
    await child.serve_until_asked({"port": server.sockets[0].getsockname()[1]}, server.close)


async def datagrams() -> None:
    """Serve on UDP."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Datagrams, (HOST, 0))
    port = transport.get_extra_info("sockname")[1]
    await child.serve_until_asked({"port": port}, transport.close)


async def sock() -> None:
    """Echo by the loop's `sock_accept`, `sock_recv` and `sock_sendall`, a task a connection."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def echo(connection: socket.socket) -> None:
        with connection:
            while data := await loop.sock_recv(connection, 65536):
                await loop.sock_sendall(connection, data)

    async def accept() -> None:
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = loop.create_task(echo(connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    with socket.create_server((HOST, 0), backlog=BACKLOG) as listener:
        listener.setblocking(False)
        accepting = loop.create_task(accept())
        await child.serve_until_asked({"port": listener.getsockname()[1]}, accepting.cancel)


def tls_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    """A server's context with the key that stands beside this file, if TLS is asked for."""
    if not options.tls:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


def program(options: argparse.Namespace) -> Coroutine[Any, Any, None]:
    """The coroutine that the command line names."""
    protocols: dict[str, Factory] = {
        "echo": Echo,
        "buffered": BufferedEcho,
        "once": Once,
        "http": Http,
    }
    if options.program in protocols:
        return protocol(protocols[options.program], options)
    others: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
        "udp": datagrams,
        "sock": sock,
        "streams": lambda: streams.standard(tls_context(options)),
        "own_streams": lambda: streams.own(options.loop, tls_context(options)),
    }
    return others[options.program]()


def main() -> None:
    """Serve on a free port of 127.0.0.1, or on a path, until stdin is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--loop", required=True)
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--unix", metavar="PATH")
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    child.pin(options.cpu)
    child.run_on(options.loop, program(options))
