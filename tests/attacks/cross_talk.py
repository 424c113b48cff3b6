"""Cross-talk: many short connections with a secret each, cancelled and closed at random. A program of its own.

Clients and servers live in one process, so that descriptors are closed and reused as fast as the kernel can. Every
connection sends nothing but its own secret, over and over, and gets it echoed; both ends compare every byte. Besides
them, `add_reader` users close their descriptors without a word, and `sock_*` calls are cancelled while they wait.

    python tests/attacks/cross_talk.py --loop hotloop --seconds 10 --seed 1

prints one line of JSON. A single foreign byte makes the exit status 1.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
import socket
import sys
import time

from attack_program import (
    EXPECTED,
    count_descriptors,
    finish,
    left_since,
    make_loop,
    option_parser,
)

#: Bytes of a secret; a stream is its secret again and again.
LENGTH = 8


class Foreign(Exception):
    """A byte of another connection."""


class Stream:
    """Checks that everything that comes is the secret, at the right offset."""

    def __init__(self, secret: bytes | None) -> None:
        self.secret = secret
        self.head = bytearray()
        self.offset = 0

    def take(self, data: bytes) -> None:
        if self.secret is None:
            self.head += data
            if len(self.head) < LENGTH:
                return
            self.secret, data = bytes(self.head[:LENGTH]), bytes(self.head[LENGTH:])
        start = self.offset % LENGTH
        copies = (start + len(data)) // LENGTH + 1
        if data != (self.secret * copies)[start : start + len(data)]:
            raise Foreign(f"{self.secret!r} got {data[:40]!r} at {self.offset}")
        self.offset += len(data)


class Attack:
    """One run."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int, break_it: bool) -> None:
        self.loop = loop
        self.choose = random.Random(seed)
        self.foreign: list[str] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.errors: collections.Counter[str] = collections.Counter()
        self.break_it = break_it
        self.servers: set[Echo] = set()

    def secret(self) -> bytes:
        return self.choose.randbytes(LENGTH)

    def note(self, error: BaseException) -> None:
        if isinstance(error, Foreign):
            self.foreign.append(str(error))
        self.errors[type(error).__name__] += 1

    async def run(self, seconds: float, workers: int) -> None:
        self.loop.set_exception_handler(self.handle)
        server = await self.loop.create_server(lambda: Echo(self), "127.0.0.1", 0, backlog=512)
        address = server.sockets[0].getsockname()
        ends = time.monotonic() + seconds
        kinds = [self.over_streams, self.over_protocol, self.over_sockets, self.dropped_reader]

        async def worker() -> None:
            while time.monotonic() < ends and not self.foreign:
                kind = self.choose.choice(kinds)
                task = self.loop.create_task(kind(address))
                cancel = None
                if self.choose.random() < 0.3:  # at whatever it awaits then
                    cancel = self.loop.call_later(self.choose.random() * 0.01, task.cancel)
                await asyncio.wait([task])
                if cancel is not None:
                    cancel.cancel()
                self.counts["connections"] += 1
                if task.cancelled():
                    self.counts["cancelled"] += 1
                elif (error := task.exception()) is not None:
                    self.note(error)
                    if not isinstance(error, (*EXPECTED, Foreign)):
                        raise error

        await asyncio.gather(*(worker() for _ in range(workers)))
        server.close()
        while self.servers:  # some are only made now, of connections that waited to be accepted
            for echo in list(self.servers):
                echo.transport.abort()
            await asyncio.sleep(0)

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.note(error)
        else:
            self.errors[str(context["message"])] += 1

    async def over_streams(self, address: tuple[str, int]) -> None:
        opening = asyncio.open_connection(*address)
        reader, writer = await asyncio.wait_for(opening, self.choose.choice([0.002, 5]))
        secret = self.secret()
        stream = Stream(secret)
        try:
            for _ in range(self.choose.randrange(1, 5)):
                copies = self.choose.choice([1, 100, 20_000])
                writer.write(secret * (copies + (stream.offset == 0)))
                while stream.offset < copies * LENGTH:
                    data = await asyncio.wait_for(
                        reader.read(65536), self.choose.choice([0.002, 5])
                    )
                    if not data:
                        return
                    stream.take(data)
                stream.offset %= LENGTH
        finally:
            if self.choose.random() < 0.5:
                writer.transport.abort()
            writer.close()

    async def over_protocol(self, address: tuple[str, int]) -> None:
        secret = self.secret()
        transport, client = await self.loop.create_connection(
            lambda: Client(self, secret), *address
        )
        try:
            transport.writelines([secret] * self.choose.choice([2, 50]))
            if self.choose.random() < 0.3:
                transport.write_eof()
            elif self.choose.random() < 0.3:
                transport.pause_reading()
                transport.write(secret * 1000)
                await asyncio.sleep(0)
                if not transport.is_closing():
                    transport.resume_reading()
            await asyncio.wait([client.lost], timeout=self.choose.choice([0, 0.002]))
        finally:
            self.choose.choice([transport.close, transport.abort])()

    async def over_sockets(self, address: tuple[str, int]) -> None:
        secret = self.secret()
        with socket.socket() as client:
            client.setblocking(False)
            await self.loop.sock_connect(client, address)
            await self.loop.sock_sendall(client, secret * 3)
            stream = Stream(secret)
            while stream.offset < 2 * LENGTH:
                receiving = self.loop.sock_recv(client, 1000)
                data = await asyncio.wait_for(receiving, self.choose.choice([0.002, 5]))
                if not data:
                    return
                stream.take(data)

    async def dropped_reader(self, address: tuple[str, int]) -> None:
        ours, theirs = socket.socketpair()
        secret = self.secret()
        called = []

        def readable() -> None:
            called.append(1)
            with contextlib.suppress(OSError):
                self.check_pair(ours.recv(100), secret)

        self.loop.add_reader(ours.fileno(), readable)
        theirs.send(secret)
        try:
            if self.choose.random() < 0.5:
                await asyncio.sleep(0)
        finally:
            # Gone without `remove_reader`: the number is free for the next connection.
            ours.close()
            theirs.close()
        before = len(called)
        await asyncio.sleep(0)
        self.counts["late calls"] += len(called) - before

    def check_pair(self, data: bytes, secret: bytes) -> None:
        if data and data != secret:
            self.foreign.append(f"a pair got {data[:40]!r}")


class Echo(asyncio.Protocol):
    """The server's end: takes the first bytes as the secret, and sends back what follows."""

    def __init__(self, attack: Attack) -> None:
        self.attack = attack
        self.stream = Stream(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.attack.servers.add(self)

    def data_received(self, data: bytes) -> None:
        known = self.stream.offset
        self.stream.take(data)
        echo = data[len(data) - (self.stream.offset - known) :]
        if self.attack.break_it and self.attack.choose.random() < 0.01:
            self.attack.choose.choice(list(self.attack.servers)).transport.write(echo)
            return
        if self.attack.choose.random() < 0.01:
            self.transport.abort()
        else:
            self.transport.write(echo)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.attack.servers.discard(self)


class Client(asyncio.Protocol):
    """The client's end of a connection without streams."""

    def __init__(self, attack: Attack, secret: bytes) -> None:
        self.attack = attack
        self.stream = Stream(secret)
        self.lost = attack.loop.create_future()

    def data_received(self, data: bytes) -> None:
        try:
            self.stream.take(data)
        except Foreign as error:
            self.attack.note(error)

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self.lost.done():
            self.lost.set_result(None)


def main(argv: list[str]) -> int:
    """Run the attack; return the exit status."""
    parser = option_parser(__doc__, "send a byte to a wrong connection now and then")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--workers", type=int, default=64)
    arguments = parser.parse_args(argv)
    loop = make_loop(arguments.loop)
    before = count_descriptors()
    attack = Attack(loop, arguments.seed, arguments.break_it)
    try:
        loop.run_until_complete(attack.run(arguments.seconds, arguments.workers))
        left = left_since(before, loop)
    finally:
        loop.close()
    result = {
        "loop": arguments.loop,
        "seed": arguments.seed,
        "foreign": attack.foreign[:5],
        "descriptors left": left,
        **attack.counts,
        "errors": dict(attack.errors),
    }
    return finish(result, attack.foreign)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
