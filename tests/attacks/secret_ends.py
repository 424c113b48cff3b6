"""Both ends of connections that carry nothing but a secret of their own, over and over, and compare every byte."""

from __future__ import annotations

import asyncio
import random
import ssl
from typing import Any, Protocol

#: Bytes of a secret; a stream is its secret again and again.
LENGTH = 8
#: How the peer's end of a connection may show in TLS. Any other reason is a byte that does not belong there.
ENDS_OF_TLS = {
    "UNEXPECTED_EOF_WHILE_READING",
    "APPLICATION_DATA_AFTER_CLOSE_NOTIFY",
    "KRB5_S_INIT",  # what OpenSSL 1.1 calls the latter
}


class Foreign(Exception):
    """A byte of another connection."""


def is_foreign(error: BaseException | None) -> bool:
    """Whether an error says that bytes of two connections were mixed, TLS's complaints among them."""
    if isinstance(error, ssl.SSLError):
        return not isinstance(error, ssl.SSLEOFError) and error.reason not in ENDS_OF_TLS
    return isinstance(error, Foreign)


class Attack(Protocol):
    """What the ends need of the attack that they are part of."""

    loop: asyncio.AbstractEventLoop
    choose: random.Random
    break_it: bool
    accepted: int
    servers: set[Echo]
    upgrades: set[asyncio.Task[None]]

    def note(self, error: BaseException) -> None:
        """An error has ended a connection, or a foreign byte was seen."""


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


class Echo(asyncio.Protocol):
    """The server's end: takes the first bytes as the secret, and sends back what follows."""

    transport: Any

    def __init__(self, attack: Attack) -> None:
        self.attack = attack
        self.stream = Stream(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.attack.accepted += 1
        self.attack.servers.add(self)

    def data_received(self, data: bytes) -> None:
        known = self.stream.offset
        try:
            self.stream.take(data)
        except Foreign as error:
            self.attack.note(error)
        self.answer(data[len(data) - (self.stream.offset - known) :])

    def answer(self, echo: bytes) -> None:
        attack = self.attack
        if attack.break_it and attack.choose.random() < 0.1:
            attack.choose.choice(list(attack.servers)).transport.write(echo)
        elif attack.choose.random() < 0.01:
            self.transport.abort()
        else:
            self.transport.write(echo)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.attack.servers.discard(self)
        if exc is not None:
            self.attack.note(exc)


class UpgradingEcho(Echo):
    """Sends the secret back once in plain text; what follows is TLS (`start_tls`)."""

    def __init__(self, attack: Attack, context: ssl.SSLContext) -> None:
        super().__init__(attack)
        self.context = context
        self.state = "plain"
        self.early = b""

    def answer(self, echo: bytes) -> None:
        if self.state == "upgraded":
            super().answer(echo)
        elif self.state == "upgrading":  # the first data comes before `start_tls` has returned
            self.early += echo
        elif self.stream.secret is not None:
            self.state = "upgrading"
            # The peer's handshake is for TLS, which is not there before the task runs.
            self.transport.pause_reading()
            task = self.attack.loop.create_task(self.upgrade(self.stream.secret))
            self.attack.upgrades.add(task)
            task.add_done_callback(self.upgraded)
            if self.attack.choose.random() < 0.1:
                delay = self.attack.choose.random() * 0.01
                self.attack.loop.call_later(delay, task.cancel)

    async def upgrade(self, secret: bytes) -> None:
        loop, plain = self.attack.loop, self.transport
        plain.write(secret)
        upgraded = await loop.start_tls(plain, self, self.context, server_side=True)
        assert upgraded is not None
        self.transport, self.state = upgraded, "upgraded"
        self.answer(self.early)

    def upgraded(self, task: asyncio.Task[None]) -> None:
        self.attack.upgrades.discard(task)
        if not task.cancelled() and task.exception() is None:
            return
        self.transport.abort()
        # Where the handshake fails, nobody calls `connection_lost`; nor does asyncio.
        self.attack.servers.discard(self)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.attack.note(error)


class Client(asyncio.Protocol):
    """The client's end of a connection without streams."""

    def __init__(self, attack: Attack, secret: bytes) -> None:
        self.attack = attack
        self.stream = Stream(secret)
        self.lost = attack.loop.create_future()
        self.wanted = 0
        self.came: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        try:
            self.stream.take(data)
        except Foreign as error:
            self.attack.note(error)
        self.look()

    def look(self) -> None:
        if self.came is not None and not self.came.done() and self.stream.offset >= self.wanted:
            self.came.set_result(None)

    async def received(self, amount: int, timeout: float) -> None:
        """Wait until so many bytes have come since the beginning, or the connection is lost."""
        self.wanted, self.came = amount, self.attack.loop.create_future()
        self.look()
        await asyncio.wait([self.came, self.lost], timeout=timeout, return_when="FIRST_COMPLETED")

    def connection_lost(self, exc: BaseException | None) -> None:
        if exc is not None:
            self.attack.note(exc)
        if not self.lost.done():
            self.lost.set_result(None)
