"""Ten thousand connections that are opened, used and closed leave nothing. A program of its own.

    python tests/attacks/many_connections.py --loop hotloop --connections 10000

opens them a few hundred at a time, over TCP and a Unix socket, with protocols and with streams; the first batches are the warm-up.
Then descriptors, tasks, the objects that the collector knows, and the bytes in use must be what they were. Prints one line of JSON;
the exit status is 1 if anything is left.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import sys
import tempfile
from collections.abc import Awaitable, Callable

from attack_program import (
    bytes_in_use,
    count_descriptors,
    descriptors_left,
    end_if_it_hangs,
    finish,
    make_loop,
    option_parser,
    parse,
)

#: Connections that are open at the same time, and batches that are the warm-up.
BATCH, WARM_UP = 250, 8
#: What the bytes in use may differ by: fewer than seven for each of ten thousand connections.
SLACK = 64 * 1024
#: How many objects may come and go with the program's own bookkeeping.
SLACK_OBJECTS = 20


class Sink(asyncio.Protocol):
    """Sends back what comes, and tells when its connection has ended."""

    def __init__(self, open_ends: collections.Counter[str]) -> None:
        self.open_ends = open_ends

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.open_ends["server"] += 1

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.open_ends["server"] -= 1


class Client(asyncio.Protocol):
    """Waits for an answer, and for the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answered = loop.create_future()
        self.lost = loop.create_future()

    def data_received(self, data: bytes) -> None:
        self.answered.set_result(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.lost.set_result(exc)


class Attack:
    """One run."""

    def __init__(self, loop: asyncio.AbstractEventLoop, directory: str, break_it: bool) -> None:
        self.loop = loop
        self.path = f"{directory}/socket"
        self.break_it = break_it
        self.kept: list[object] = []
        self.open_ends: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []
        self.opened = 0

    async def run(self, count: int) -> None:
        self.loop.set_exception_handler(self.handle)

        def end() -> Sink:
            return Sink(self.open_ends)

        # All of a batch fit into the backlog: the kernel drops what does not, and tries it again a second later.
        tcp = await self.loop.create_server(end, "127.0.0.1", 0, backlog=BATCH)
        unix = await self.loop.create_unix_server(end, self.path, backlog=BATCH)
        self.address = tcp.sockets[0].getsockname()
        for _ in range(WARM_UP):
            await self.batch()
        before = self.measure()
        opened = self.opened
        while self.opened - opened < count and not self.faults:
            await self.batch()
        after = self.measure()
        for name, slack in (
            ("descriptors", 0),
            ("tasks", 0),
            ("objects", SLACK_OBJECTS),
            ("bytes in use", SLACK),
        ):
            if after[name] > before[name] + slack:
                self.faults.append(f"{name} grew from {before[name]} to {after[name]}")
        self.before, self.after = before, after
        tcp.close()
        unix.close()

    def measure(self) -> dict[str, int]:
        for _ in range(3):
            gc.collect()
        return {
            "descriptors": count_descriptors(),
            "tasks": len(asyncio.all_tasks()),
            "objects": len(gc.get_objects()),
            "bytes in use": bytes_in_use(),
        }

    async def batch(self) -> None:
        kinds: list[Callable[[], Awaitable[None]]] = [self.protocol, self.unix, self.streams]
        await asyncio.gather(*(kinds[number % len(kinds)]() for number in range(BATCH)))
        self.opened += BATCH
        if self.break_it:
            self.kept.append(bytearray(100 * BATCH))
        while self.open_ends["server"]:  # the server's ends are lost a moment later
            await asyncio.sleep(0)

    async def protocol(self) -> None:
        connecting = self.loop.create_connection(lambda: Client(self.loop), *self.address)
        await self.exchange(*await connecting)

    async def unix(self) -> None:
        connecting = self.loop.create_unix_connection(lambda: Client(self.loop), self.path)
        await self.exchange(*await connecting)

    async def exchange(self, transport: asyncio.Transport, client: Client) -> None:
        transport.write(b"x")
        assert await client.answered == b"x"
        transport.close()
        assert await client.lost is None

    async def streams(self) -> None:
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(b"line\n")
        assert await reader.readline() == b"line\n"
        writer.close()
        await writer.wait_closed()

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self.faults.append(f"{context['message']}: {context.get('exception')!r}")


def main(argv: list[str]) -> int:
    """Run the attack; return the exit status."""
    parser = option_parser(__doc__, "keep a hundred bytes for each connection")
    parser.add_argument("--connections", type=int, default=10_000)
    arguments = parse(parser, argv)
    end_if_it_hangs(arguments.connections / 100)
    loop = make_loop(arguments.loop, arguments.native_tasks)
    with tempfile.TemporaryDirectory() as directory, descriptors_left(loop) as left:
        attack = Attack(loop, directory, arguments.break_it)
        loop.run_until_complete(attack.run(arguments.connections))
    seen = {"opened": attack.opened, "before": attack.before, "after": attack.after}
    return finish(arguments, [*attack.faults, *left], **seen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
