"""Storms of EMFILE: everything that opens descriptors, at a limit that leaves room for a few. A program of its own.

The process lowers its own limit of open files (`RLIMIT_NOFILE`) again and again, to a number a little above what is open, while
workers connect, accept, bind, start children, make pipes and loops. What fails must fail with OSError, and what works
must work whole; with room again a connection to the same server succeeds, and no descriptor is left.

    python tests/attacks/exhaustion.py --loop hotloop --seconds 10 --seed 1

prints one line of JSON; the exit status is 1 if anything else was raised or reported, or if anything was left.
"""

from __future__ import annotations

import asyncio
import asyncio.constants
import collections
import errno
import functools
import os
import random
import resource
import socket
import sys
import time
import traceback
from collections.abc import Awaitable, Callable

from attack_program import (
    EXPECTED,
    count_descriptors,
    descriptors_left,
    end_if_it_hangs,
    finish,
    make_loop,
    option_parser,
    parse,
)

HANG = 60
#: Seconds that a server rests after EMFILE: a second in asyncio, which would be most of the storm.
REST = 0.01


class Storm:
    """One run."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Callable[[], asyncio.AbstractEventLoop],
        seed: int,
    ) -> None:
        self.loop = loop
        self.make = make
        self.choose = random.Random(seed)
        self.counts: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []
        self.accepted: set[asyncio.StreamWriter] = set()
        self.most = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def run(self, seconds: float, workers: int) -> None:
        self.loop.set_exception_handler(self.handle)
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        self.address = server.sockets[0].getsockname()
        self.ends = time.monotonic() + seconds
        limiting = self.loop.create_task(self.limit())
        await asyncio.gather(*(self.worker() for _ in range(workers)))
        await limiting
        await asyncio.sleep(2 * REST)  # what the server's rest takes
        await asyncio.wait_for(self.over_streams(), HANG / 2)
        server.close()
        for writer in list(self.accepted):
            writer.transport.abort()
        await asyncio.sleep(2 * REST)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.add(writer)
        try:
            while data := await reader.read(1000):
                writer.write(data)
        except EXPECTED:
            pass
        finally:
            self.accepted.discard(writer)
            writer.close()

    async def limit(self) -> None:
        """Little room most of the time, none sometimes."""
        while time.monotonic() < self.ends:
            # A new descriptor gets the lowest number that is free: so many can be had.
            used = count_descriptors()
            room = self.choose.choice([0, 1, 2, 3, 5, 8, 20])
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + room, self.most[1]))
            await asyncio.sleep(self.choose.random() * 0.01)
            resource.setrlimit(resource.RLIMIT_NOFILE, self.most)
            await asyncio.sleep(self.choose.random() * 0.002)

    async def worker(self) -> None:
        kinds: list[Callable[[], Awaitable[None]]] = [
            self.over_streams,
            self.over_streams,
            self.over_sockets,
            self.servers,
            self.datagrams,
            self.pipes,
            self.child,
            self.another_loop,
        ]
        while time.monotonic() < self.ends and not self.faults:
            kind = self.choose.choice(kinds)
            task = self.loop.create_task(kind())
            await asyncio.wait([task], timeout=HANG / 2)
            name = kind.__name__
            if not task.done():
                task.cancel()
                self.faults.append(f"{name} hangs")
            elif (error := task.exception()) is None:
                self.counts[name] += 1
            else:
                self.note(name, error)

    def note(self, where: str, error: BaseException) -> None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            self.counts["refused"] += 1
        elif isinstance(error, EXPECTED):
            # asyncio's own subprocess code reports the lack of a pipe as a child that is gone.
            self.counts[type(error).__name__] += 1
        else:
            traceback.print_exception(error)
            self.faults.append(f"{where}: {error!r}")

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.note(str(context["message"]), error)
        else:
            self.faults.append(str(context["message"]))

    async def over_streams(self) -> None:
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(b"x" * 100)
            assert await asyncio.wait_for(reader.readexactly(100), 10) == b"x" * 100
        finally:
            writer.close()

    async def over_sockets(self) -> None:
        with socket.socket() as client:
            client.setblocking(False)
            await self.loop.sock_connect(client, self.address)
            await self.loop.sock_sendall(client, b"x")
            await asyncio.wait_for(self.loop.sock_recv(client, 1), 10)

    async def servers(self) -> None:
        server = await self.loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        server.close()

    async def datagrams(self) -> None:
        transport, _ = await self.loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        transport.close()

    async def pipes(self) -> None:
        read, write = os.pipe()
        with open(read, "rb", 0) as reading, open(write, "wb", 0) as writing:
            receiver, _ = await self.loop.connect_read_pipe(asyncio.Protocol, reading)
            sender, _ = await self.loop.connect_write_pipe(asyncio.Protocol, writing)
            sender.abort()
            receiver.close()
            await asyncio.sleep(0)

    async def child(self) -> None:
        process = await asyncio.create_subprocess_exec("true", stdout=asyncio.subprocess.PIPE)
        await asyncio.wait_for(process.communicate(), HANG / 2)

    async def another_loop(self) -> None:
        self.make().close()


def main(argv: list[str]) -> int:
    """Run the storm; return the exit status."""
    parser = option_parser(__doc__, "lose a descriptor when there is none")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--workers", type=int, default=10)
    arguments = parse(parser, argv)
    end_if_it_hangs(arguments.seconds)
    asyncio.constants.ACCEPT_RETRY_DELAY = REST
    make = functools.partial(make_loop, arguments.loop, arguments.native_tasks)
    loop = make()
    asyncio.set_event_loop(loop)  # where child watchers look for it, up to 3.11
    with descriptors_left(loop) as left:
        storm = Storm(loop, make, arguments.seed)
        if arguments.break_it:
            storm.datagrams = forgetful(storm.datagrams)  # type: ignore[method-assign]
        try:
            loop.run_until_complete(storm.run(arguments.seconds, arguments.workers))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, storm.most)
            asyncio.set_event_loop(None)
    return finish(arguments, [*storm.faults, *left], counts=storm.counts)


def forgetful(datagrams: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """The deliberate fault: after EMFILE a descriptor stays open."""

    async def run() -> None:
        spare = os.dup(0)
        try:
            await datagrams()
        except OSError:
            spare = -1
            raise
        finally:
            if spare >= 0:
                os.close(spare)

    run.__name__ = "datagrams"
    return run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
