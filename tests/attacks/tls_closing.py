"""TLS connections that end at a random moment: in the handshake, inside a record, in a write, in the shutdown.

Client and server are both on the loop under test, and so is a relay between them that counts bytes: at a chosen one it
closes, resets, half-closes, stalls, puts rubbish in or changes a bit, or the connecting task is cancelled. Meanwhile
either end closes, aborts, floods, pauses or raises at a chosen byte of plain text. A program of its own:

    python tests/attacks/tls_closing.py --loop hotloop --connections 10000 --seed 1

prints one line of JSON. The exit status is 1 if a connection did not end, ended twice, or saw a byte of another one,
or if a descriptor, an SSL object or memory was left.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import gc
import logging
import os
import random
import socket
import ssl
import struct
import sys
import warnings
import weakref
from dataclasses import dataclass
from typing import Any, Self

from attack_program import (
    CERTIFICATE,
    bytes_in_use,
    descriptors_left,
    end_if_it_hangs,
    finish,
    make_loop,
    option_parser,
    parse,
)
from secret_ends import Foreign, Stream

#: Connections that share two contexts; then both are dropped, with the sessions that OpenSSL keeps in them.
BATCH = 100
#: Seconds after which a connection counts as one that never ends; far above all timeouts that are set here.
PATIENCE = 20.0
#: Seconds for the handshake by the cut: of connections that stall, of those that may (by a changed length), of others.
HASTE = {"stall": 0.05, "rubbish": 0.4, "flip": 0.4}
PATIENT = 10.0
#: What memory in use may differ by between the first batches and the last ones, in bytes.
SLACK = 192 * 1024
#: What ends a connection here and is nobody's mistake.
EXPECTED = (OSError, asyncio.TimeoutError)

CUTS = ["none", "close", "reset", "half-close", "stall", "rubbish", "flip", "cancel"]
ACTS = [
    "wait",
    "wait",
    "close",
    "close twice",
    "abort",
    "flood and close",
    "pause and abort",
    "raise",
]


class Boom(Exception):
    """Raised by a protocol on purpose."""


@dataclass
class Plan:
    """What happens to one connection, and at which byte."""

    secret: bytes
    version: ssl.TLSVersion
    cut: str
    #: The end towards which the bytes are counted, and how many pass before the cut; None: counted from `close()` on.
    towards: str
    offset: int
    in_shutdown: bool
    #: By end: what it does after how many bytes of plain text, how much it sends, and whether it has its own buffer.
    acts: dict[str, tuple[str, int]]
    amounts: dict[str, int]
    buffered: dict[str, bool]

    @classmethod
    def chosen(cls, choose: random.Random) -> Plan:
        ends = ("client", "server")
        sizes = [8, 800, 16_384, 100_000, 1_000_000]
        return cls(
            secret=choose.randbytes(8),
            version=choose.choice([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]),
            cut=choose.choice(CUTS),
            towards=choose.choice(ends),
            offset=choose.randrange(choose.choice([40, 1500, 4000, 200_000])),
            in_shutdown=choose.random() < 0.2,
            acts={end: (choose.choice(ACTS), choose.choice([0, 1, 1000, 50_000])) for end in ends},
            amounts={end: choose.choice(sizes) for end in ends},
            buffered={end: choose.random() < 0.3 for end in ends},
        )


class Connection:
    """One connection: its plan, its ends, and the two sides of the relay."""

    def __init__(self, attack: Attack, plan: Plan) -> None:
        self.attack = attack
        self.plan = plan
        self.connecting: asyncio.Task[Any] | None = None
        self.ends: dict[str, End] = {}
        self.sides = {towards: Side(self, towards) for towards in ("client", "server")}

    def closing(self) -> None:
        """One of the ends has begun its shutdown."""
        if self.plan.in_shutdown:
            self.sides[self.plan.towards].left = self.plan.offset % 60

    def cancel(self) -> None:
        if self.connecting is not None and not self.connecting.done():
            self.connecting.cancel()
        elif (client := self.ends["client"]).transport is not None:
            client.transport.abort()

    def give_up(self) -> None:
        """What a program does with a connection on which nothing moves."""
        for end in self.ends.values():
            if end.transport is not None:
                end.close()


class Side(asyncio.Protocol):
    """What the relay receives from one end and passes on towards the other."""

    def __init__(self, connection: Connection, towards: str) -> None:
        plan = connection.plan
        self.connection = connection
        self.towards = towards
        self.left = None if plan.in_shutdown or plan.towards != towards else plan.offset
        self.transport: Any = None
        self.stalled = False

    @property
    def other(self) -> Side:
        return self.connection.sides["server" if self.towards == "client" else "client"]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.connection.attack.sides.add(self)

    def data_received(self, data: bytes) -> None:
        if self.stalled:
            return
        if self.left is None or len(data) < self.left:
            if self.left is not None:
                self.left -= len(data)
            self.pass_on(data)
            return
        head, tail, self.left = data[: self.left], data[self.left :], None
        self.pass_on(head)
        self.cut(tail)

    def pass_on(self, data: bytes) -> None:
        # What leaves here goes out at the other side of the relay.
        if data and not self.other.transport.is_closing():
            self.other.transport.write(data)

    def cut(self, tail: bytes) -> None:
        attack, kind = self.connection.attack, self.connection.plan.cut
        attack.counts[f"cut: {kind}"] += 1
        if kind in ("close", "reset"):
            for side in (self, self.other):
                if kind == "reset" and (sock := side.transport.get_extra_info("socket")):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                side.transport.abort()
        elif kind == "half-close":
            self.other.transport.write_eof()
            self.stalled = True
        elif kind == "stall":
            self.stalled = True
            attack.loop.call_soon(self.connection.give_up)
        elif kind in ("rubbish", "flip"):
            if kind == "rubbish":
                tail = attack.choose.randbytes(attack.choose.choice([1, 5, 300])) + tail
            elif tail:
                tail = bytes([tail[0] ^ 1]) + tail[1:]
            self.pass_on(tail)
            # A length that was changed makes an end wait for a record that nobody sends: for good, if it was the last.
            attack.loop.call_later(HASTE[kind], self.connection.give_up)
        else:
            if kind == "cancel":
                self.connection.cancel()
            self.pass_on(tail)

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: BaseException | None) -> None:
        self.connection.attack.sides.discard(self)
        self.other.transport.close()


class End(asyncio.Protocol):
    """A program's protocol at one end: sends its stream, checks what comes, acts when the plan says so."""

    def __init__(self, attack: Attack, name: str) -> None:
        self.attack = attack
        self.name = name
        self.transport: Any = None
        self.lost = attack.loop.create_future()
        self.closed = False
        self.acted = False

    def belongs_to(self, connection: Connection) -> None:
        plan = connection.plan
        self.connection = connection
        connection.ends[self.name] = self
        self.act, self.act_at = plan.acts[self.name]
        self.amount = plan.amounts[self.name]
        self.expected = plan.amounts["server" if self.name == "client" else "client"]
        self.stream = Stream(plan.secret)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if self.name == "server":
            # Both ports: the system gives one to several connections, if they go to different servers.
            ports = [transport.get_extra_info(name)[1] for name in ("peername", "sockname")]
            self.belongs_to(self.attack.connections[tuple(ports)])
        self.attack.ends.add(self)
        if self.attack.choose.random() < 0.5:
            self.transport.write(self.stream.secret * (self.amount // 8))
        else:
            self.transport.writelines([self.stream.secret] * (self.amount // 8))
        self.look()

    def data_received(self, data: bytes) -> None:
        try:
            self.stream.take(data)
        except Foreign as error:
            self.attack.faults[f"foreign byte: {error}"] += 1
        self.look()

    def look(self) -> None:
        """Act, if it is time; the client closes when it has everything."""
        if not self.acted and self.stream.offset >= self.act_at:
            self.acted = True
            self.do()
        if self.name == "client" and self.stream.offset >= self.expected:
            self.close()

    def do(self) -> None:
        if self.act == "raise":
            raise Boom
        if self.act == "flood and close":
            self.transport.write(self.stream.secret * 200_000)
        if self.act == "pause and abort":
            self.transport.pause_reading()
        if self.act in ("abort", "pause and abort"):
            self.transport.abort()
        elif self.act != "wait":
            self.close()
            if self.act == "close twice":
                self.transport.close()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.connection.closing()
            self.transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.lost.done():
            self.attack.faults["connection_lost called twice"] += 1
            return
        self.lost.set_result(None)
        self.attack.ends.discard(self)
        self.attack.counts[f"lost: {type(exc).__name__}"] += 1
        if exc is not None and not isinstance(exc, (*EXPECTED, Boom)):
            self.attack.faults[f"connection_lost({exc!r})"] += 1
        # All of it without effect.
        self.transport.write(b"too late")
        self.transport.abort()


class BufferedEnd(End, asyncio.BufferedProtocol):
    """The same with a buffer of its own, smaller than a record."""

    def get_buffer(self, sizehint: int) -> memoryview:
        self.memory = bytearray(5000)
        return memoryview(self.memory)

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.memory[:nbytes]))


class Attack:
    """One run."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int, break_it: bool) -> None:
        self.loop = loop
        self.choose = random.Random(seed)
        self.counts: collections.Counter[str] = collections.Counter()
        self.faults: collections.Counter[str] = collections.Counter()
        self.break_it = break_it
        self.kept: list[object] = []
        self.connections: dict[tuple[int, ...], Connection] = {}
        self.sides: set[Side] = set()
        self.ends: set[End] = set()
        self.in_use: list[int] = []

    async def run(self, count: int, workers: int) -> None:
        self.loop.set_exception_handler(self.handle)
        for _ in range(max(3, count // BATCH)):
            end_if_it_hangs(3 * PATIENCE)
            await self.batch(workers)
            await self.last_connection()
            gc.collect()
            self.in_use.append(bytes_in_use())
            if self.faults:
                return
        third = len(self.in_use) // 3
        before, after = min(self.in_use[:third]), min(self.in_use[-third:])
        if after > before + SLACK:
            self.faults[f"memory in use grew from {before} to {after} bytes"] += 1

    async def batch(self, workers: int) -> None:
        """So many connections with contexts of their own, of which nothing may be left."""
        live: weakref.WeakSet[object] = weakref.WeakSet()

        class Counted(ssl.SSLObject):
            def __new__(cls, *args: Any, **named: Any) -> Self:
                made = super().__new__(cls)
                live.add(made)
                return made

        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_context.load_cert_chain(CERTIFICATE)
        client_contexts = {}
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.create_default_context(cafile=str(CERTIFICATE))
            context.maximum_version = version
            client_contexts[version] = context
        contexts = [server_context, *client_contexts.values()]
        for context in contexts:
            context.sslobject_class = Counted
        references = [sys.getrefcount(context) for context in contexts]

        def accepted() -> End:
            return self.choose.choice([End, BufferedEnd])(self, "server")

        servers = {}
        for patience in {*HASTE.values(), PATIENT}:
            servers[patience] = await self.loop.create_server(
                accepted, "127.0.0.1", 0, ssl=server_context, backlog=512,
                ssl_handshake_timeout=patience, ssl_shutdown_timeout=min(patience, 0.5),
            )  # fmt: skip
        addresses = {it: server.sockets[0].getsockname() for it, server in servers.items()}

        left = BATCH

        async def worker() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                plan = Plan.chosen(self.choose)
                patience = HASTE.get(plan.cut, PATIENT)
                connect = functools.partial(
                    self.loop.create_connection,
                    ssl=client_contexts[plan.version],
                    server_hostname="localhost",
                    ssl_handshake_timeout=patience,
                    ssl_shutdown_timeout=min(patience, 0.5),
                )
                await self.one(plan, connect, addresses[patience])

        await asyncio.gather(*(worker() for _ in range(workers)))
        for server in servers.values():
            server.close()
        await self.until(lambda: not self.ends and not self.sides, "connections left open")
        for server in servers.values():
            await server.wait_closed()
        del server, servers, accepted, worker
        self.connections.clear()
        # A server's handshake that has failed ends without a word to any protocol of ours.
        await self.until(lambda: not live, "SSL objects left")
        await self.until(
            lambda: [sys.getrefcount(context) for context in contexts] <= references,
            "references to the contexts left",
        )
        if self.break_it:
            self.kept.clear()

    async def last_connection(self) -> None:
        """One that ends in order: the loop keeps the buffer for records of the last one, if that was aborted, and by
        what it has sent that is of any size up to 512 KiB.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
        accepted = self.loop.create_future()

        class Server(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                transport.close()

            def connection_lost(self, exc: Exception | None) -> None:
                accepted.set_result(None)

        class Client(asyncio.Protocol):
            def __init__(self) -> None:
                self.lost = asyncio.get_running_loop().create_future()

            def connection_lost(self, exc: Exception | None) -> None:
                self.lost.set_result(None)

        async with await self.loop.create_server(Server, "127.0.0.1", 0, ssl=context) as server:
            address = server.sockets[0].getsockname()
            _, client = await self.loop.create_connection(
                Client, *address, ssl=trusting, server_hostname="localhost"
            )
            await client.lost
            await accepted

    async def one(self, plan: Plan, connect: Any, address: tuple[str, int]) -> None:
        """One connection through the relay, up to its end."""
        connection = Connection(self, plan)
        near, far = connection.sides["server"], connection.sides["client"]
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        towards_server = socket.create_connection(address)
        for sock in (client, accepted, towards_server):
            sock.setblocking(False)
        self.connections[towards_server.getsockname()[1], address[1]] = connection
        await self.loop.connect_accepted_socket(lambda: near, accepted)
        await self.loop.connect_accepted_socket(lambda: far, towards_server)
        end = (BufferedEnd if plan.buffered["client"] else End)(self, "client")
        end.belongs_to(connection)
        connecting = self.loop.create_task(connect(lambda: end, sock=client))
        connection.connecting = connecting
        self.counts["connections"] += 1
        if not (await asyncio.wait([connecting], timeout=PATIENCE))[0]:
            self.faults[f"never connected: {plan}"] += 1
        elif connecting.cancelled():
            self.counts["cancelled"] += 1
        elif (error := connecting.exception()) is not None:
            self.counts[f"not connected: {type(error).__name__}"] += 1
            if not isinstance(error, (*EXPECTED, Boom)):
                self.faults[f"not connected: {error!r}"] += 1
        else:
            if self.break_it and self.choose.random() < 0.05:
                self.kept.append(end.transport.get_extra_info("ssl_object"))
            if not (await asyncio.wait([end.lost], timeout=PATIENCE))[0]:
                self.faults[f"never lost: {plan}"] += 1
        connection.connecting = None
        near.transport.abort()
        far.transport.abort()
        client.close()

    async def until(self, condition: Any, fault: str) -> None:
        """Let the loop go on until the condition holds; not for ever."""
        patience = self.loop.time() + (2 if self.break_it else PATIENCE)
        while self.loop.time() < patience:
            gc.collect()
            if condition():
                return
            await asyncio.sleep(0.005)
        self.faults[fault] += 1

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, (*EXPECTED, Boom)):
            self.faults[f"{context['message']}: {error!r}"] += 1


def main(argv: list[str]) -> int:
    """Run the attack; return the exit status."""
    parser = option_parser(__doc__, "keep an SSL object now and then")
    parser.add_argument(
        "--engine", choices=["direct", "bio"], help="hotloop's; default: its choice"
    )
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=25)
    arguments = parse(parser, argv)
    if arguments.engine:
        os.environ["HOTLOOP_TLS"] = arguments.engine
    warnings.simplefilter("error")
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # the relay writes to what was reset
    loop = make_loop(arguments.loop, arguments.native_tasks)
    with descriptors_left(loop) as left:
        attack = Attack(loop, arguments.seed, arguments.break_it)
        sys.unraisablehook = lambda what: attack.faults.update([f"unraisable: {what.exc_value!r}"])
        loop.run_until_complete(attack.run(arguments.connections, arguments.workers))
    in_use = [attack.in_use[0], attack.in_use[-1]]
    seen = {"engine": arguments.engine, "in use": in_use, "counts": attack.counts}
    return finish(arguments, [*attack.faults, *left], **seen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
