"""Forks of a process whose loop is in use: the children do what children do, the parent's connections go on.

TCP and TLS connections of the parent echo secrets without a pause. Meanwhile the parent forks, from callbacks, between two runs
of its loop, and from another thread; each child collects garbage, runs a loop of its own or the parent's, closes the parent's loop, or
simply ends as a program ends, finalizers and all. A program of its own:

    python tests/attacks/forks.py --loop hotloop --rounds 100 --seed 1

prints one line of JSON; the exit status is 1 if a child failed, a byte was foreign or a connection of the parent was lost.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import gc
import os
import random
import signal
import ssl
import sys
import threading
import traceback
import warnings
from collections.abc import Callable

from attack_program import (
    CERTIFICATE,
    descriptors_left,
    finish,
    make_loop,
    option_parser,
    parse,
)

HANG = 60


class Leave(SystemExit):
    """Ends a child that was forked in the middle of a run: through `run_until_complete`, as any exit."""


class Echo(asyncio.Protocol):
    """Sends back what comes.

    No streams here: `StreamWriter.__del__` closes its transport, and a child that ends would say goodbye to the peers of
    the parent's TLS connections, on every loop.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Client(asyncio.Protocol):
    """Collects what comes back."""

    def __init__(self) -> None:
        self.got = bytearray()
        self.wanted = 0
        self.came: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    async def exchange(self, secret: bytes) -> bytes:
        self.wanted = len(secret)
        self.came = asyncio.get_running_loop().create_future()
        self.transport.write(secret)
        await asyncio.wait_for(self.came, HANG / 2)
        answer, self.got = bytes(self.got), bytearray()
        return answer

    def data_received(self, data: bytes) -> None:
        self.got += data
        if self.came is not None and len(self.got) >= self.wanted and not self.came.done():
            self.came.set_result(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.came is not None and not self.came.done():
            self.came.set_exception(ConnectionResetError("lost"))


class Attack:
    """One run."""

    def __init__(self, loop_name: str, native_tasks: bool, seed: int, break_it: bool) -> None:
        self.make = functools.partial(make_loop, loop_name, native_tasks)
        self.loop = self.make()
        self.choose = random.Random(seed)
        self.break_it = break_it
        self.faults: list[str] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.servers: list[asyncio.AbstractServer] = []
        self.clients: list[Client] = []
        self.parent = os.getpid()

    def run(self, rounds: int) -> None:
        self.loop.set_exception_handler(self.handle)
        self.loop.run_until_complete(self.open())
        for _ in range(rounds):
            signal.alarm(
                HANG
            )  # not by faulthandler: in a child that ends it waits for its thread, which is the parent's
            kind = self.choose.choice([self.in_callback, self.between_runs, self.in_thread])
            kind()
            self.counts[kind.__name__] += 1
            self.loop.run_until_complete(self.exchange())
            if self.faults:
                break
        self.loop.run_until_complete(self.close())
        self.loop.close()
        signal.alarm(0)

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        if os.getpid() == self.parent:  # a child leaves tasks behind when it ends
            self.faults.append(f"{context['message']}: {context.get('exception')!r}")

    async def open(self) -> None:
        server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server_tls.load_cert_chain(CERTIFICATE)
        client_tls = ssl.create_default_context(cafile=CERTIFICATE)

        for tls, named in (
            (None, {}),
            (server_tls, {"ssl": client_tls, "server_hostname": "localhost"}),
        ):
            server = await self.loop.create_server(Echo, "127.0.0.1", 0, ssl=tls)
            self.servers.append(server)
            for _ in range(3):
                address = server.sockets[0].getsockname()
                _, client = await self.loop.create_connection(Client, *address, **named)
                self.clients.append(client)

    async def exchange(self) -> None:
        """Every connection of the parent echoes a secret of its own."""
        try:
            for client in self.clients:
                secret = self.choose.randbytes(self.choose.choice([10, 50_000]))
                if await client.exchange(secret) != secret:
                    self.faults.append("a foreign byte")
        except (TimeoutError, OSError) as error:
            self.faults.append(f"a connection of the parent was lost: {error!r}")

    async def close(self) -> None:
        for client in self.clients:
            client.transport.close()
        for server in self.servers:
            server.close()
        await asyncio.sleep(0.05)

    def in_callback(self) -> None:
        """The child ends through the parent's `run_until_complete`, or in the callback."""
        children: list[int] = []

        def fork() -> None:
            child = os.fork()
            if child:
                children.append(child)
                return
            signal.alarm(HANG)
            if self.choose.random() < 0.5:
                raise Leave(0)
            asyncio._set_running_loop(None)
            self.behave([self.collect, self.run_another_loop])

        async def main() -> None:
            self.loop.call_soon(fork)
            await self.exchange()

        self.loop.run_until_complete(main())
        for child in children:
            self.wait_for(child)

    def between_runs(self) -> None:
        child = os.fork()
        if not child:
            kinds = [self.collect, self.run_another_loop, self.run_this_loop, self.loop.close]
            self.behave(kinds, may_exit=True)
        self.wait_for(child)

    def in_thread(self) -> None:
        """While the loop runs, or sleeps."""
        children: list[int] = []
        finished = self.loop.create_future()

        def fork() -> None:
            child = os.fork()
            if not child:
                self.behave([self.collect, self.run_another_loop])
            children.append(child)
            self.loop.call_soon_threadsafe(finished.set_result, None)

        async def main() -> None:
            if self.choose.random() < 0.5:
                await self.exchange()
            await finished

        thread = threading.Thread(target=fork)
        thread.start()
        self.loop.run_until_complete(main())
        thread.join()
        for child in children:
            self.wait_for(child)

    def behave(self, kinds: list[Callable[[], None]], may_exit: bool = False) -> None:
        """In the child: do something, and end at once or, in the main thread, as a program does."""
        signal.alarm(HANG)
        status = 1
        try:
            if self.break_it:
                self.clients[0].transport.write(b"foreign")
            kind = self.choose.choice(kinds)
            kind()
            status = 0
            if may_exit and self.choose.random() < 0.5:
                sys.exit(0)
        except Exception:
            traceback.print_exc()
        finally:
            if status or sys.exc_info()[0] is not SystemExit:
                os._exit(status)

    def collect(self) -> None:
        self.clients.clear()
        self.servers.clear()
        gc.collect()

    def run_another_loop(self) -> None:
        loop = self.make()

        async def main() -> int:
            async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(await reader.read(10))
                writer.close()

            server = await asyncio.start_server(echo, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"x")
            data = await reader.read()
            writer.close()
            server.close()
            return len(data)

        assert loop.run_until_complete(main()) == 1
        loop.close()

    def run_this_loop(self) -> None:
        assert self.loop.run_until_complete(asyncio.sleep(0.001, 7)) == 7

    def wait_for(self, child: int) -> None:
        _, status = os.waitpid(child, 0)
        if status:
            self.faults.append(f"a child ended with status {os.waitstatus_to_exitcode(status)}")


def main(argv: list[str]) -> int:
    """Run the attack; return the exit status."""
    parser = option_parser(__doc__, "children write to the connections of the parent")
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parse(parser, argv)
    warnings.simplefilter("ignore")  # of forks with threads (3.12), and of what a child leaves open
    with descriptors_left() as left:
        attack = Attack(arguments.loop, arguments.native_tasks, arguments.seed, arguments.break_it)
        attack.run(arguments.rounds)
    return finish(arguments, [*attack.faults, *left], counts=attack.counts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
