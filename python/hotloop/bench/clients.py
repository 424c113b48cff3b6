"""Programs that time a client library; the server is another process, named by ``$BENCH_SERVER``.

The libraries are imported when a program is prepared, so that the others do without them.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import Any

from .local import Program, Run

AT_ONCE = 50
PIPELINE = 10
PIPELINES_AT_ONCE = 8

# Where the server is (host:port); the parent sets it.
SERVER = "BENCH_SERVER"


def aiohttp_client(loop: asyncio.AbstractEventLoop) -> Run:
    """`AT_ONCE` GET requests at the same time over kept connections, by aiohttp's client."""
    aiohttp = importlib.import_module("aiohttp")
    url = f"http://{os.environ[SERVER]}/"

    async def open_session() -> Any:
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE))

    session = loop.run_until_complete(open_session())

    async def get(count: int) -> None:
        for _ in range(count):
            async with session.get(url) as response:
                if response.status != 200 or not await response.read():
                    raise RuntimeError(f"status {response.status}")

    async def main(count: int) -> None:
        await asyncio.gather(*[get(count // AT_ONCE) for _ in range(AT_ONCE)])

    return lambda count: loop.run_until_complete(main(count))


def redis_client(loop: asyncio.AbstractEventLoop) -> Run:
    """GETs in pipelines of `PIPELINE`, `PIPELINES_AT_ONCE` of them at a time, by redis-py."""
    redis = importlib.import_module("redis.asyncio")
    host, _, port = os.environ[SERVER].rpartition(":")

    async def open_client() -> Any:
        client = redis.Redis(host=host, port=int(port))
        await client.set("key", b"v" * 100)
        return client

    client = loop.run_until_complete(open_client())

    async def ask(count: int) -> None:
        async with client.pipeline(transaction=False) as pipeline:
            for _ in range(count // PIPELINE):
                for _ in range(PIPELINE):
                    pipeline.get("key")
                if len(await pipeline.execute()) != PIPELINE:
                    raise RuntimeError("answers are missing")

    async def main(count: int) -> None:
        each = count // PIPELINES_AT_ONCE
        await asyncio.gather(*[ask(each) for _ in range(PIPELINES_AT_ONCE)])

    return lambda count: loop.run_until_complete(main(count))


PROGRAMS = {
    "aiohttp_client": Program(aiohttp_client, AT_ONCE),
    "redis_client": Program(redis_client, PIPELINE * PIPELINES_AT_ONCE),
}
