"""A child process: an asyncio TCP echo server on the loop that the command line names."""

from __future__ import annotations

import argparse
import asyncio
from typing import cast

import child
from loops import make_loop


class Echo(asyncio.Protocol):
    """Sends back what comes. A closed-loop client bounds what can pile up, so nothing else."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what every message needs."""
        # A cast, not a check: not every loop's transports are instances of asyncio.Transport.
        self._write = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        """Send *data* (bytes) back."""
        self._write(data)


def main() -> None:
    """Serve on a free port of 127.0.0.1 until stdin is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", required=True)
    parser.add_argument("--cpu", type=int, required=True)
    options = parser.parse_args()
    child.pin(options.cpu)
    with asyncio.Runner(loop_factory=lambda: make_loop(options.loop)) as runner:
        runner.run(serve())


async def serve() -> None:
    """Report the port, then, at the end, the CPU time between the two."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    child.when_asked_to_end(lambda: loop.call_soon_threadsafe(ended.set))
    begun = child.cpu_seconds()
    child.report({"port": server.sockets[0].getsockname()[1]})
    await ended.wait()
    child.report({"cpu_seconds": child.cpu_seconds() - begun})
    server.close()


if __name__ == "__main__":
    main()
