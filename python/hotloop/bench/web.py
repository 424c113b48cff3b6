"""A child process: a hello world on a web framework, on the loop that the command line names.

The frameworks are imported when they are asked for: neither is needed for the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from . import child

HOST = "127.0.0.1"
BODY = b"Hello, world!"
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", str(len(BODY)).encode())]


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer every request with the same few bytes (ASGI 3.0, HTTP)."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


async def uvicorn() -> None:
    """Serve the ASGI application on uvicorn with httptools."""
    module = importlib.import_module("uvicorn")
    loop = asyncio.get_running_loop()
    config = module.Config(
        application,
        host=HOST,
        # Uvicorn binds it: for a socket made here with protocol number 0 (the default), asyncio
        # would not set TCP_NODELAY, and each answer would wait 40 ms for the delayed ACK.
        port=0,
        http="httptools",
        ws="none",
        loop="none",  # this process has its loop
        lifespan="off",
        access_log=False,
        log_level="warning",
    )

    class Server(module.Server):  # type: ignore[name-defined, misc]
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            # A server that took a loop of its own choice would make every comparison a lie.
            if asyncio.get_running_loop() is not loop:
                raise RuntimeError("uvicorn does not run on the loop that was asked for")
            child.when_asked_to_end(lambda: setattr(self, "should_exit", True))
            child.report({"port": self.servers[0].sockets[0].getsockname()[1]})

    await Server(config).serve()


async def aiohttp() -> None:
    """Serve on aiohttp."""
    web = importlib.import_module("aiohttp.web")

    async def hello(request: Any) -> Any:
        return web.Response(body=BODY, content_type="text/plain")

    made = web.Application()
    made.router.add_get("/", hello)
    runner = web.AppRunner(made, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    await child.serve_until_asked({"port": runner.addresses[0][1]}, runner.cleanup)


PROGRAMS = {"uvicorn": uvicorn, "aiohttp_server": aiohttp}


def main() -> None:
    """Serve on a free port of 127.0.0.1 until stdin is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", choices=PROGRAMS, required=True)
    parser.add_argument("--loop", required=True)
    parser.add_argument("--cpu", type=int)
    options = parser.parse_args()
    child.pin(options.cpu)
    child.run_on(options.loop, PROGRAMS[options.program]())
