"""What several test files share: the loop under test, recording protocols, connected pairs.

The loop under test is chosen by the environment variable ``HOTLOOP_TEST_LOOP``: ``hotloop``
(the default), ``asyncio`` or ``uvloop``. Running the tests on ``asyncio`` shows that the tests
themselves are right.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOOP_NAME = os.environ.get("HOTLOOP_TEST_LOOP", "hotloop")
DATA = Path(__file__).parent / "data"
CERTIFICATE = DATA / "localhost.pem"


def new_loop() -> asyncio.AbstractEventLoop:
    """Make a loop of the kind under test. The caller closes it."""
    return importlib.import_module(LOOP_NAME).new_event_loop()


def run_once(loop: asyncio.AbstractEventLoop) -> None:
    """Run exactly one iteration of ``loop``."""
    loop.stop()
    loop.run_forever()


def outcome(call: Callable[[], Any]) -> tuple[type, str]:
    """Say how ``call`` ended: the exception's type and words, or the result's type and repr."""
    try:
        result = call()
    except Exception as error:
        return type(error), str(error)
    return type(result), repr(result)


def same_as_stdlib(
    loop: asyncio.AbstractEventLoop, call: Callable[[asyncio.AbstractEventLoop], Any]
) -> None:
    """Assert that ``call(loop)`` ends as it does on the running version's own loop."""
    model = asyncio.SelectorEventLoop()
    try:
        if loop.is_closed():
            model.close()
        model.set_debug(loop.get_debug())
        expected = outcome(lambda: call(model))
    finally:
        model.close()
    assert outcome(lambda: call(loop)) == expected


def step(coroutine: Any) -> None:
    """Run ``coroutine`` up to its first wait, outside any task, and close it."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    finally:
        coroutine.close()


def loop_class() -> Any:
    """The class of the loop under test, to be subclassed."""
    made = new_loop()
    try:
        return type(made)
    finally:
        made.close()


def run_child(source: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``source`` in a fresh interpreter that can import this module, and collect its output."""
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", source, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def run_attack(name: str, *arguments: object) -> tuple[int, Any, str]:
    """Run a program of ``tests/attacks``; return its exit status, the JSON of its last line, its errors."""
    program = Path(__file__).parent / "attacks" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    assert lines and lines[-1].startswith("{"), done.stderr[-20_000:]
    return done.returncode, json.loads(lines[-1]), done.stderr


def collect() -> None:
    """Collect garbage until cycles with finalizers are gone, too: from 3.14 on one pass is not enough."""
    for _ in range(3):
        gc.collect()


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Keep the garbage collector from running: what is freed in the block was freed by its references alone."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def dropped_unclosed(words: str) -> Iterator[list[str]]:
    """Collect what the block drops, which warns of it with ``words``; give the texts of all warnings.

    A recorded warning refers to what it is about. From 3.15 on its weak references end with it, up
    to 3.14 when it was found to be garbage: look at them after the block.
    """
    pytest = importlib.import_module("pytest")
    texts: list[str] = []
    with pytest.warns(ResourceWarning, match=words) as caught:
        yield texts
        collect()
    texts += [str(warning.message) for warning in caught]
    caught.clear()
    collect()


class Events:
    """A list of the names of what happened, on which a coroutine can wait."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self._changed = asyncio.Event()

    def note(self, name: str) -> None:
        self.events.append(name)
        self._changed.set()

    async def wait(self, name: str) -> None:
        await self.wait_until(lambda: name in self.events)

    async def wait_until(self, predicate: Callable[[], object]) -> None:
        while not predicate():
            self._changed.clear()
            await self._changed.wait()


class ErrorLog(Events):
    """An exception handler that keeps the contexts it is given until ``take`` asks for them."""

    def __init__(self) -> None:
        super().__init__()
        self.contexts: list[dict[str, Any]] = []

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.contexts.append(context)
        self.note("report")

    def take(self) -> list[dict[str, Any]]:
        taken, self.contexts = self.contexts, []
        return taken


class Recorder(Events, asyncio.Protocol):
    """A protocol that records its callbacks; ``data`` callbacks in a row count as one event."""

    def __init__(self, keep_open: bool = False) -> None:
        super().__init__()
        self.keep_open = keep_open
        self.data = bytearray()
        self.error: BaseException | None = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("made")

    def data_received(self, data: bytes) -> None:
        self.data += data
        if self.events[-1] == "data":
            self.events.pop()
        self.note("data")

    def eof_received(self) -> bool:
        self.note("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.error = exc
        self.note("lost")

    async def received(self, count: int) -> bytes:
        """Wait until ``count`` bytes have come; return and forget everything received."""
        await self.wait_until(lambda: len(self.data) >= count)
        data = bytes(self.data)
        self.data.clear()
        return data


class Echo(Recorder):
    """Sends back what it receives."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@dataclass
class Pair:
    """Both ends of one connection; ``ours`` is the client's protocol, ``theirs`` the server's."""

    ours: Any
    theirs: Any
    server: asyncio.AbstractServer

    @property
    def transport(self) -> Any:
        return self.ours.transport


@contextlib.asynccontextmanager
async def connected(
    family: str = "tcp",
    ours: Callable[[], Any] = Recorder,
    theirs: Callable[[], Any] = Recorder,
    path: Path | str | None = None,
    host: str = "127.0.0.1",
    **options: Any,
) -> AsyncIterator[Pair]:
    """Connect two protocols through a server of the running loop; close everything at the end.

    ``family`` is ``"tcp"``, ``"unix"`` (with the socket's ``path``) or ``"tls"``; ``options`` go
    to the call that connects.
    """
    loop = asyncio.get_running_loop()
    accepted = theirs()
    if family == "unix":
        server = await loop.create_unix_server(lambda: accepted, path)
        _, client = await loop.create_unix_connection(ours, str(path), **options)
    elif family == "tls":
        server = await loop.create_server(lambda: accepted, host, 0, ssl=server_tls())
        options.update(ssl=client_tls(), server_hostname="localhost")
        _, client = await loop.create_connection(ours, *address_of(server), **options)
    else:
        server = await loop.create_server(lambda: accepted, host, 0)
        _, client = await loop.create_connection(ours, *address_of(server), **options)
    await accepted.wait("made")
    try:
        yield Pair(client, accepted, server)
    finally:
        server.close()
        for end in (client, accepted):
            if "lost" not in end.events:
                end.transport.abort()
        for end in (client, accepted):
            await end.wait("lost")
        await server.wait_closed()


def address_of(server: asyncio.AbstractServer) -> tuple[str, int]:
    """The host and the port of the server's first socket."""
    return server.sockets[0].getsockname()[:2]


def server_tls() -> ssl.SSLContext:
    """A server's context with the test certificate, for ``localhost`` and ``127.0.0.1``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_tls() -> ssl.SSLContext:
    """A client's context that trusts the test certificate alone."""
    return ssl.create_default_context(cafile=CERTIFICATE)


def listening_socket() -> socket.socket:
    """A non-blocking TCP socket that listens on a free loopback port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return listener


def fill(sock: socket.socket) -> int:
    """Write into a non-blocking socket until the kernel takes no more; return the bytes written."""
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            total += sock.send(b"f" * 65536)
    return total


def drain(sock: socket.socket) -> bytes:
    """Receive from a non-blocking socket until there is nothing more now; return what came."""
    pieces = []
    with contextlib.suppress(BlockingIOError):
        while piece := sock.recv(1 << 20):
            pieces.append(piece)
    return b"".join(pieces)
