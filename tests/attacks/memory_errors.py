"""Every allocation of the interpreter fails in turn while a small scenario runs on a loop. A program of its own.

`_testcapi.set_nomemory` (CPython's own tests use it) makes the interpreter's allocators refuse one allocation. (Not several in
a row: asyncio's own loop does not come through that either.) Whatever fails, the scenario ends with a result or with MemoryError; nothing aborts or hangs; and with
memory again the same loop runs, and closes, and no descriptor is left.

    python tests/attacks/memory_errors.py --loop hotloop echo

prints each position before it is tried (in case the process dies of it), and one line of JSON at the end; the exit
status is 1 if an outcome was of another kind.
"""

from __future__ import annotations

import _testcapi
import argparse
import asyncio
import collections
import contextlib
import contextvars
import faulthandler
import gc
import importlib
import json
import os
import socket
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable

#: Seconds after which a scenario whose wake-up was refused is given up by its own loop.
GIVE_UP = 0.2
#: Seconds after which a process that does nothing any more is ended.
HANG = 20
#: Errors that are no answer to a refused allocation.
WRONG = (SystemError, AssertionError)
#: What CPython 3.11 itself makes of a frame that it has no memory for. (A native function that fails without an
#: exception has another text: "... returned NULL without setting an exception".)
INTERPRETERS_OWN = "error return without exception set"


class Echo(asyncio.Protocol):
    """Sends back what comes, and keeps it; ``done`` is settled at the end or when enough has come."""

    def __init__(self, loop: asyncio.AbstractEventLoop, enough: int, answer: bool) -> None:
        self.done = loop.create_future()
        self.enough = enough
        self.answer = answer
        self.got = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.got += len(data)
        if self.answer:
            self.transport.write(data)
        if self.got >= self.enough:
            self.settle()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.data_received(data)

    def error_received(self, exc: OSError) -> None:
        self.settle()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.settle()

    def settle(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def callbacks(loop: asyncio.AbstractEventLoop) -> None:
    context = contextvars.copy_context()
    seen: list[int] = []
    handles = [
        loop.call_soon(seen.append, 1),
        loop.call_soon(seen.append, 2, context=context),
        loop.call_soon_threadsafe(seen.append, 3),
        loop.call_later(0.001, seen.append, 4),
        loop.call_at(loop.time() + 100, seen.append, 5),
    ]
    for handle in handles[1::3]:
        handle.cancel()
    await asyncio.sleep(0.002)
    handles[-1].cancel()
    repr(handles)
    task = loop.create_task(asyncio.sleep(0, 1))
    await asyncio.gather(task, asyncio.wait_for(asyncio.sleep(0), 5))


async def readers(loop: asyncio.AbstractEventLoop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        came = loop.create_future()
        try:
            loop.add_reader(ours, lambda: came.done() or came.set_result(ours.recv(10)))
            loop.add_writer(theirs.fileno(), theirs.send, b"x")
            await came
        finally:
            loop.remove_reader(ours)
            loop.remove_writer(theirs)


async def echo(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.ExitStack() as opened:
        pair = [opened.enter_context(end) for end in socket.socketpair()]
        for end in pair:
            end.setblocking(False)
        size = 100_000
        first, second = Echo(loop, size + 2, False), Echo(loop, size + 2, True)
        for end, protocol in zip(pair, (first, second), strict=True):
            transport, _ = await loop.connect_accepted_socket(lambda p=protocol: p, end)
            opened.callback(transport.abort)
            repr(transport)
        first.transport.write(b"x" * size)
        first.transport.writelines([b"y", bytearray(b"z")])
        await first.done
        first.transport.get_extra_info("peername")
        first.transport.write_eof()
        await second.done


async def servers(loop: asyncio.AbstractEventLoop) -> None:
    server = await loop.create_server(lambda: Echo(loop, 1, True), "127.0.0.1", 0)
    try:
        address = server.sockets[0].getsockname()
        transport, client = await loop.create_connection(lambda: Echo(loop, 1, False), *address)
        try:
            transport.write(b"x")
            await client.done
        finally:
            transport.abort()
    finally:
        server.close()
        await asyncio.sleep(0)


async def datagrams(loop: asyncio.AbstractEventLoop) -> None:
    def made() -> Echo:
        return Echo(loop, 3, False)

    receiver, received = await loop.create_datagram_endpoint(made, local_addr=("127.0.0.1", 0))
    try:
        address = receiver.get_extra_info("sockname")
        sender, _ = await loop.create_datagram_endpoint(made, remote_addr=address)
        try:
            for data in (b"x", bytearray(b"y"), memoryview(b"z")):
                sender.sendto(data)
            await received.done
        finally:
            sender.abort()
    finally:
        receiver.close()


async def sockets(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        client = opened.enter_context(socket.socket())
        for each in (listener, client):
            each.setblocking(False)
        accepting = loop.create_task(loop.sock_accept(listener))
        try:
            await loop.sock_connect(client, listener.getsockname())
            server = opened.enter_context((await accepting)[0])
        finally:
            accepting.cancel()
        receiving = loop.create_task(loop.sock_recv(server, 100))
        await asyncio.sleep(0)
        await loop.sock_sendall(client, b"one")
        assert await receiving == b"one"
        await loop.sock_sendall(server, b"two")
        assert await loop.sock_recv_into(client, bytearray(10)) == 3


async def pipes(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.ExitStack() as opened:
        read, write = os.pipe()
        opened.callback(os.close, write)
        reading = opened.enter_context(open(read, "rb", 0))
        writing = opened.enter_context(open(os.dup(write), "wb", 0))
        receiver, received = await loop.connect_read_pipe(lambda: Echo(loop, 3, False), reading)
        opened.callback(receiver.close)
        sender, _ = await loop.connect_write_pipe(lambda: Echo(loop, 1, False), writing)
        opened.callback(sender.abort)
        sender.write(b"one")
        await received.done


async def nothing(loop: asyncio.AbstractEventLoop) -> None:
    await asyncio.sleep(0)


SCENARIOS: dict[str, Callable[[asyncio.AbstractEventLoop], Awaitable[None]]] = {
    "lifecycle": nothing,
    "callbacks": callbacks,
    "readers": readers,
    "echo": echo,
    "servers": servers,
    "datagrams": datagrams,
    "sockets": sockets,
    "pipes": pipes,
}


class Attack:
    """One scenario, again and again."""

    def __init__(self, loop_name: str, scenario: str) -> None:
        self.make_loop = importlib.import_module(loop_name).new_event_loop
        self.scenario = scenario
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []
        self.reported: list[BaseException] = []
        self.where: object = None
        self.left = 0
        #: Whether the scenario has as many allocations as the plan's position.
        self.reached = False

    def run(self, first: int, last: int | None, step: int) -> None:
        for _ in range(3):  # what is made once is made
            assert self.attempt(None) is None
        before = self.descriptors()
        position, beyond = first, 0
        while beyond < 3 and (last is None or position < last):
            self.reached = False
            plan = (position, position + 1)
            self.where = position
            os.write(1, f"{position}\n".encode())
            faulthandler.dump_traceback_later(HANG, exit=True)
            self.judge(self.attempt(plan))
            if self.attempt(None) is not None:
                self.fault("the same without a fault failed")
            beyond = 0 if self.reached else beyond + 1
            position += step
        faulthandler.cancel_dump_traceback_later()
        # Not a fault: a program that is refused memory between opening and its `with` leaves some on every loop.
        self.left = self.descriptors() - before

    def attempt(self, plan: tuple[int, int] | None) -> BaseException | None:
        """Run the scenario once on a loop of its own; return what it raised."""
        self.reported.clear()
        error: BaseException | None = None
        loop: asyncio.AbstractEventLoop | None = None
        if self.scenario != "lifecycle":
            loop = self.make_loop()
            loop.set_exception_handler(self.handle)
            loop.call_later(GIVE_UP, loop.stop)
        run = SCENARIOS[self.scenario]
        try:
            if plan is not None:
                _testcapi.set_nomemory(*plan)
            if loop is None:
                loop = self.make_loop()
                try:
                    loop.call_soon(loop.stop)  # no wake-up that could be lost
                    loop.run_forever()
                finally:
                    loop.close()
            else:
                loop.run_until_complete(run(loop))
        except BaseException as raised:
            error = raised
        finally:
            self.look_whether_reached(plan)
            _testcapi.remove_mem_hooks()
        try:
            self.finish(loop)
        except BaseException as raised:
            self.fault(f"afterwards: {raised!r}", raised)
        return error

    def look_whether_reached(self, plan: tuple[int, int] | None) -> None:
        """If the refusal is still to come, it comes now."""
        if plan is None:
            return
        try:
            for _ in range(plan[1] + 2):
                object()
        except MemoryError:
            return
        self.reached = True

    def finish(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """With memory again, the loop has to end its tasks, run, and close."""
        if loop is None:
            return
        if not loop.is_closed():
            if loop.is_running() or asyncio._get_running_loop() is not None:
                self.fault("still marked as running")
            loop.set_exception_handler(self.handle)
            for task in asyncio.all_tasks(loop):
                task.cancel()
            for _ in range(3):
                loop.call_soon(loop.stop)
                loop.run_forever()
            if loop.run_until_complete(asyncio.sleep(0, 7)) != 7:
                self.fault("the loop does not run any more")
        loop.close()

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.reported.append(error)

    def judge(self, error: BaseException | None) -> None:
        self.outcomes[type(error).__name__] += 1
        for each in (error, *self.reported):
            if str(each) == INTERPRETERS_OWN:
                continue
            if isinstance(each, WRONG) or type(each).__name__ == "PanicException":
                self.fault(repr(each), each)

    def fault(self, what: str, error: BaseException | None = None) -> None:
        self.faults.append(f"{self.where}: {what}")
        if error is not None:
            traceback.print_exception(error)

    def descriptors(self) -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))


def main(argv: list[str]) -> int:
    """Run the attack; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--loop", default="hotloop", help="hotloop, asyncio or uvloop")
    parser.add_argument("--first", type=int, default=0, help="the first position")
    parser.add_argument("--last", type=int, default=None, help="the position before which to end")
    parser.add_argument("--step", type=int, default=1, help="try every so manieth position")
    parser.add_argument(
        "--break-it", choices=["error", "abort"], help="answer with a wrong error, or abort"
    )
    arguments = parser.parse_args(argv)
    if arguments.break_it:
        SCENARIOS[arguments.scenario] = mistaken(SCENARIOS[arguments.scenario], arguments.break_it)
    warnings.simplefilter("ignore")  # what could not be closed is reported when it is dropped
    sys.unraisablehook = lambda unraisable: None
    attack = Attack(arguments.loop, arguments.scenario)
    attack.run(arguments.first, arguments.last, arguments.step)
    result = {
        "loop": arguments.loop,
        "scenario": arguments.scenario,
        "outcomes": attack.outcomes,
        "descriptors left": attack.left,
        "faults": attack.faults[:5],
    }
    print(json.dumps(result))
    return 1 if attack.faults else 0


def mistaken(
    scenario: Callable[[asyncio.AbstractEventLoop], Awaitable[None]], how: str
) -> Callable[[asyncio.AbstractEventLoop], Awaitable[None]]:
    """The deliberate fault: a program that answers a refused allocation wrongly."""

    async def run(loop: asyncio.AbstractEventLoop) -> None:
        try:
            await scenario(loop)
        except MemoryError:
            _testcapi.remove_mem_hooks()
            if how == "abort":
                os.abort()
            raise SystemError from None

    return run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
