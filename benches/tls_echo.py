"""Echo over TLS: a server on the loop under test, a blocking client in a child process.

For comparing loops by instructions or by system calls, not by time alone:

    valgrind --tool=callgrind python benches/tls_echo.py --loop hotloop --messages 2000
    strace -c python benches/tls_echo.py --loop hotloop --messages 2000

What one message costs is the difference of two runs with different numbers of messages, divided
by the difference of the numbers. ``HOTLOOP_TLS=bio`` runs hotloop's other engine.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

CERTIFICATE = Path(__file__).parent.parent / "tests" / "data" / "localhost.pem"


class Echo(asyncio.Protocol):
    """Sends back what it receives."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[attr-defined]


class BufferedEcho(asyncio.BufferedProtocol):
    """The same, receiving into a buffer of its own."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.memory = memoryview(bytearray(256 * 1024))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.memory

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(self.memory[:nbytes])  # type: ignore[attr-defined]


async def serve_streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same with streams, line by line."""
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def serve(options: argparse.Namespace) -> None:
    """Serve until the client process has ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    if options.streams:
        server = await asyncio.start_server(serve_streams, "127.0.0.1", 0, ssl=context)
    else:
        factory = BufferedEcho if options.buffered else Echo
        loop = asyncio.get_running_loop()
        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    # Not through the loop: its child watchers are not what is measured.
    arguments = [str(port), str(options.size), str(options.messages), str(options.connections)]
    client = subprocess.Popen([sys.executable, __file__, "--client", *arguments])
    while client.poll() is None:
        await asyncio.sleep(0.2)
    server.close()
    if client.returncode:
        sys.exit(client.returncode)


def exchange(port: int, size: int, messages: int, connections: int) -> None:
    """The client: ``connections`` times ``messages`` messages there and back."""
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    message = b"m" * (size - 1) + b"\n"
    start = time.perf_counter()
    for _ in range(connections):
        plain = socket.create_connection(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(plain, server_hostname="localhost") as secured:
            for _ in range(messages):
                secured.sendall(message)
                left = size
                while left:
                    left -= len(secured.recv(left))
    seconds = time.perf_counter() - start
    print(f"{connections * messages / seconds:.0f} messages/s", file=sys.stderr)


def main() -> None:
    """Read the command line and run."""
    if sys.argv[1:2] == ["--client"]:
        exchange(*map(int, sys.argv[2:6]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loop", default="hotloop", help="hotloop, asyncio or uvloop")
    parser.add_argument("--size", type=int, default=1024, help="bytes per message")
    parser.add_argument("--messages", type=int, default=2000, help="messages per connection")
    parser.add_argument("--connections", type=int, default=1, help="one after the other")
    parser.add_argument("--buffered", action="store_true", help="serve with a BufferedProtocol")
    parser.add_argument("--streams", action="store_true", help="serve with asyncio's streams")
    options = parser.parse_args()
    loop = importlib.import_module(options.loop).new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(serve(options))
    finally:
        loop.close()


if __name__ == "__main__":
    main()
