"""Cross-talk: many short connections with a secret each, cancelled and closed at random. A program of its own.

Clients and servers live in one process, so that descriptors are closed and reused as fast as the kernel can. Every
connection sends nothing but its own secret, over and over, and gets it echoed; both ends compare every byte: over TCP and Unix
sockets, with streams, protocols and `sock_*` calls, in TLS from the beginning and after `start_tls`. Besides them,
`add_reader` users close their descriptors without a word. A third of all is cancelled at whatever it awaits then.

    python tests/attacks/cross_talk.py --loop hotloop --seconds 10 --seed 1

prints one line of JSON: how many were begun, and how many of them the servers saw. A single foreign byte makes the
exit status 1, and so do a descriptor that is left and an error that a connection's end does not explain.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import linecache
import random
import socket
import ssl
import sys
import tempfile
import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from attack_program import (
    CERTIFICATE,
    EXPECTED,
    count_descriptors,
    descriptors_left,
    end_if_it_hangs,
    finish,
    make_loop,
    option_parser,
    parse,
)
from secret_ends import LENGTH, Client, Echo, Stream, UpgradingEcho, is_foreign

#: Seconds after which everything that was closed must be gone.
PATIENCE = 20.0
#: The kinds of connections, and how often each is chosen.
KINDS = {
    "protocol": 25,
    "unix": 25,
    "sockets": 15,
    "dropped_reader": 20,
    "streams": 10,
    "tls": 1,
    "start_tls": 1,
}


#: A socket's buffer for sending (SO_SNDBUF), so that large writes have to wait.
SMALL = 4096
#: Waits, of which one is chosen to be cut: as many as `start_tls` and what comes before it have.
STEPS = 6


class Attack:
    """One run."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seed: int, break_it: bool, directory: str
    ) -> None:
        self.loop = loop
        self.choose = random.Random(seed)
        self.path = f"{directory}/socket"
        self.foreign: list[str] = []
        self.unexpected: list[str] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.errors: collections.Counter[str] = collections.Counter()
        self.cancelled_in: collections.Counter[str] = collections.Counter()
        self.break_it = break_it
        self.accepted = 0
        self.servers: set[Echo] = set()
        self.upgrades: set[asyncio.Task[None]] = set()
        self.server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server_tls.load_cert_chain(CERTIFICATE)
        self.client_tls = ssl.create_default_context(cafile=CERTIFICATE)

    def secret(self) -> bytes:
        return self.choose.randbytes(LENGTH)

    async def cut(self, kind: Coroutine[Any, Any, None]) -> None:
        """One of the connections, cancelled in one of its first waits, which by time alone are not all reached."""
        own = asyncio.current_task()
        assert own is not None
        position = self.choose.randrange(STEPS)
        delay = self.choose.choice([0, 0, self.choose.random() * 0.005])

        def waits(number: int) -> None:
            if number == position:
                self.loop.call_later(delay, self.cancel, own, kind)

        await tell_of_waits(kind, waits)

    def cancel(self, task: asyncio.Task[None], kind: Any = None) -> None:
        """Cancel one of the connections, and note the line of this program in which it waits."""
        if task.done():
            return
        waits = kind or task.get_coro()
        where = "before it begins"
        while waits is not None and (frame := getattr(waits, "cr_frame", None)) is not None:
            waits = waits.cr_await
            if waits is not None and frame.f_code.co_filename == __file__:
                line = linecache.getline(__file__, frame.f_lineno).strip()
                where = f"{frame.f_code.co_name}: {line}"
        self.cancelled_in[where] += 1
        task.cancel()

    def note(self, error: BaseException) -> None:
        if is_foreign(error):
            self.foreign.append(repr(error))
        elif not isinstance(error, EXPECTED):
            self.unexpected.append(repr(error))
        self.errors[type(error).__name__] += 1

    async def run(self, seconds: float, workers: int, kinds: dict[str, int]) -> None:
        self.loop.set_exception_handler(self.handle)
        loop, named = self.loop, {"backlog": 512}
        plain = await loop.create_server(lambda: Echo(self), "127.0.0.1", 0, **named)
        local = await loop.create_unix_server(lambda: Echo(self), self.path, **named)
        tls = await loop.create_server(
            lambda: Echo(self), "127.0.0.1", 0, ssl=self.server_tls, **named
        )
        upgrading = await loop.create_server(
            lambda: UpgradingEcho(self, self.server_tls), "127.0.0.1", 0, **named
        )
        self.plain, self.tls, self.upgrading = (
            server.sockets[0].getsockname() for server in (plain, tls, upgrading)
        )
        ends = time.monotonic() + seconds
        calls: list[Callable[[], Coroutine[Any, Any, None]]] = [
            getattr(self, f"over_{kind}") for kind in kinds
        ]
        weights = list(kinds.values())

        async def worker() -> None:
            while time.monotonic() < ends and not self.foreign and not self.unexpected:
                [kind] = self.choose.choices(calls, weights)
                chance = self.choose.random()
                task = loop.create_task(self.cut(kind()) if chance < 0.15 else kind())
                cancel = None
                if 0.15 <= chance < 0.3:  # at whatever it awaits then
                    cancel = loop.call_later(self.choose.random() * 0.01, self.cancel, task)
                await asyncio.wait([task])
                if cancel is not None:
                    cancel.cancel()
                self.counts["connections"] += 1
                self.counts[kind.__name__] += 1
                if task.cancelled():
                    self.counts["cancelled"] += 1
                elif (error := task.exception()) is not None:
                    self.note(error)

        async def tell() -> None:
            for tenth in range(1, 10):
                await asyncio.sleep(seconds / 10)
                print(f"{tenth * 10} %  {self.accepted} accepted", flush=True)

        telling = loop.create_task(tell())
        await asyncio.gather(*(worker() for _ in range(workers)))
        telling.cancel()
        for server in (plain, local, tls, upgrading):
            server.close()

    async def all_ended(self, descriptors: int) -> None:
        """Abort what the servers have, until nothing more comes: some are only made now, of waiting connections."""
        patience = time.monotonic() + PATIENCE
        while time.monotonic() < patience:
            for echo in list(self.servers):
                echo.transport.abort()
            if not self.servers and not self.upgrades and count_descriptors() <= descriptors:
                return
            await asyncio.sleep(0.001)

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.note(error)
        else:
            self.errors[str(context["message"])] += 1

    async def over_streams(self) -> None:
        opening = asyncio.open_connection(*self.plain)
        reader, writer = await asyncio.wait_for(opening, self.choose.choice([0.002, 5]))
        secret = self.secret()
        stream = Stream(secret)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        try:
            for _ in range(self.choose.randrange(1, 5)):
                copies = self.choose.choice([1, 1, 100, 20_000])
                writer.write(secret * (copies + (stream.offset == 0)))
                await writer.drain()
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

    async def over_protocol(self) -> None:
        secret = self.secret()
        connecting = self.loop.create_connection(lambda: Client(self, secret), *self.plain)
        await self.exchange(*await connecting)

    async def over_unix(self) -> None:
        secret = self.secret()
        connecting = self.loop.create_unix_connection(lambda: Client(self, secret), self.path)
        await self.exchange(*await connecting)

    async def over_tls(self) -> None:
        secret = self.secret()
        connecting = self.loop.create_connection(
            lambda: Client(self, secret),
            *self.tls,
            ssl=self.client_tls,
            server_hostname="localhost",
        )
        await self.exchange(*await connecting)

    async def over_start_tls(self) -> None:
        secret = self.secret()
        plain, client = await self.loop.create_connection(
            lambda: Client(self, secret), *self.upgrading
        )
        try:
            plain.write(secret)
            await client.received(LENGTH, 5)
            if client.lost.done() or client.stream.offset < LENGTH:
                return
            transport = await self.loop.start_tls(
                plain, client, self.client_tls, server_hostname="localhost"
            )
            assert transport is not None
            await self.exchange(transport, client)
        finally:
            plain.abort()

    async def exchange(self, transport: asyncio.Transport, client: Client) -> None:
        secret = client.stream.secret
        assert secret is not None
        try:
            copies = self.choose.choice([2, 2, 50, 2000])
            transport.writelines([secret] * copies)
            if self.choose.random() < 0.2:
                if transport.can_write_eof():
                    transport.write_eof()
            elif self.choose.random() < 0.2:
                transport.pause_reading()
                transport.write(secret * 1000)
                await asyncio.sleep(0)
                if not transport.is_closing():
                    transport.resume_reading()
            timeout = self.choose.choice([0, 0.002, 5])
            await client.received((copies - 1) * LENGTH, timeout)
        finally:
            self.choose.choice([transport.close, transport.abort])()

    async def over_sockets(self) -> None:
        secret = self.secret()
        with socket.socket() as client:
            client.setblocking(False)
            await self.loop.sock_connect(client, self.plain)
            # More than the kernel takes at once, sometimes: then it waits.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
            await self.loop.sock_sendall(client, secret * self.choose.choice([3, 3, 100_000]))
            stream = Stream(secret)
            while stream.offset < 2 * LENGTH:
                receiving = self.loop.sock_recv(client, 1000)
                data = await asyncio.wait_for(receiving, self.choose.choice([0.002, 5]))
                if not data:
                    return
                stream.take(data)

    async def over_dropped_reader(self) -> None:
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


@types.coroutine
def tell_of_waits(
    coroutine: Coroutine[Any, Any, None], tell: Callable[[int], None]
) -> Generator[Any, Any, None]:
    """Await the coroutine, and tell the number of each wait when it begins."""
    resume, sent = coroutine.send, None
    for number in itertools.count():
        try:
            waited = resume(sent)
        except StopIteration:
            return
        tell(number)
        try:
            resume, sent = coroutine.send, (yield waited)
        except BaseException as error:
            resume, sent = coroutine.throw, error


def main(argv: list[str]) -> int:
    """Run the attack; return the exit status."""
    parser = option_parser(__doc__, "send a byte to a wrong connection now and then")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--only", choices=KINDS, action="append", help="of the kinds; repeatable")
    arguments = parse(parser, argv)
    end_if_it_hangs(arguments.seconds + PATIENCE)
    loop = make_loop(arguments.loop, arguments.native_tasks)
    with tempfile.TemporaryDirectory() as directory, descriptors_left(loop) as left:
        before = count_descriptors()
        attack = Attack(loop, arguments.seed, arguments.break_it, directory)
        kinds = {name: KINDS[name] for name in arguments.only or KINDS}
        loop.run_until_complete(attack.run(arguments.seconds, arguments.workers, kinds))
        loop.run_until_complete(attack.all_ended(before))
    faults = [*attack.foreign[:5], *attack.unexpected[:5], *left]
    seen = {"foreign": len(attack.foreign), "accepted": attack.accepted, **attack.counts}
    places = {"errors": attack.errors, "cancelled in": attack.cancelled_in}
    return finish(arguments, faults, **seen, **places)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
