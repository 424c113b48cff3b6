"""The line echo on streams: asyncio's, and hotloop's own."""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from . import child

# The longest line that a reader takes; the measured ones are much shorter.
LIMIT = 1024 * 1024


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send each line back, and wait until there is room for the next."""
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def standard(tls: ssl.SSLContext | None) -> None:
    """Serve with asyncio's streams, over TLS if there is a context."""
    await _serve(asyncio.start_server, tls)


async def own(loop: str, tls: ssl.SSLContext | None) -> None:
    """Serve with the streams that the loop named *loop* (str) has of its own, if it has."""
    if loop != "hotloop":
        await standard(tls)
        return
    start_server = getattr(importlib.import_module("hotloop"), "start_server", None)
    if start_server is None:
        child.report({"skip": "this hotloop has no streams of its own"})
        return
    await _serve(start_server, tls)


async def _serve(start_server: Callable[..., Awaitable[Any]], tls: ssl.SSLContext | None) -> None:
    server = await start_server(echo, "127.0.0.1", 0, limit=LIMIT, ssl=tls)
    await child.serve_until_asked({"port": server.sockets[0].getsockname()[1]}, server.close)
