"""A child process: uvicorn with httptools and a plain ASGI application, on the named loop."""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

import child
from loops import make_loop

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


class ReportingServer(uvicorn.Server):
    """Tells the parent the port when it serves, and the CPU time used since when it ends."""

    def __init__(self, config: uvicorn.Config, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(config)
        self._loop = loop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then report."""
        await super().startup(sockets)
        # A server that took a loop of its own choice would make every comparison a lie.
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("uvicorn does not run on the loop that was asked for")
        child.when_asked_to_end(lambda: setattr(self, "should_exit", True))
        self._begun = child.cpu_seconds()
        child.report({"port": self.servers[0].sockets[0].getsockname()[1]})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Report, then end as uvicorn does."""
        child.report({"cpu_seconds": child.cpu_seconds() - self._begun})
        await super().shutdown(sockets)


def main() -> None:
    """Serve on a free port of 127.0.0.1 until stdin is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", required=True)
    parser.add_argument("--cpu", type=int, required=True)
    options = parser.parse_args()
    child.pin(options.cpu)
    loop = make_loop(options.loop)
    config = uvicorn.Config(
        application,
        host="127.0.0.1",
        # Uvicorn binds it: for a socket made here with protocol number 0 (the default), asyncio
        # would not set TCP_NODELAY, and each answer would wait 40 ms for the delayed ACK.
        port=0,
        http="httptools",
        ws="none",
        loop="none",  # the Runner below provides it
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(ReportingServer(config, loop).serve())


if __name__ == "__main__":
    main()
