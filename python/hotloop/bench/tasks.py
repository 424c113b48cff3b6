"""Programs that time tasks, futures and what asyncio builds of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from .local import Prepare, Program, watched

SLEEPERS = 100_000


def awaiting(main: Callable[[asyncio.AbstractEventLoop, int], Awaitable[None]]) -> Prepare:
    """Make a program of a coroutine function that does a count (int) of operations."""

    def prepare(loop: asyncio.AbstractEventLoop) -> Callable[[int], None]:
        return lambda count: loop.run_until_complete(main(loop, count))

    return prepare


async def sleep0(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A task gives way."""
    sleep = asyncio.sleep
    for _ in range(count):
        await sleep(0)


async def nothing() -> None:
    """Do nothing."""


async def task(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A task creates another that does nothing, and awaits it."""
    for _ in range(count):
        await loop.create_task(nothing())


async def gather(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A hundred coroutines that do nothing, gathered."""
    for _ in range(count):
        await asyncio.gather(*[nothing() for _ in range(100)])


async def future(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A task awaits a future that a callback resolves."""
    for _ in range(count):
        waiter = loop.create_future()
        loop.call_soon(waiter.set_result, None)
        await waiter


async def queue(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """Two tasks hand an object to and fro through two queues."""
    there: asyncio.Queue[None] = asyncio.Queue()
    back: asyncio.Queue[None] = asyncio.Queue()

    async def answer() -> None:
        for _ in range(count):
            await there.get()
            back.put_nowait(None)

    answering = loop.create_task(answer())
    for _ in range(count):
        there.put_nowait(None)
        await back.get()
    await answering


async def timeout(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A task gives way under a timeout that is far away."""
    for _ in range(count):
        async with asyncio.timeout(60):
            await asyncio.sleep(0)


async def sleeps(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """`SLEEPERS` tasks sleep at the same time, each a little longer than the one before."""
    for _ in range(count // SLEEPERS):
        tasks = [
            loop.create_task(asyncio.sleep(1e-4 + number * 1e-6)) for number in range(SLEEPERS)
        ]
        await asyncio.wait(tasks)


PROGRAMS = {
    "sleep0": Program(awaiting(sleep0)),
    "sleep0_watched": Program(watched(awaiting(sleep0))),
    "task": Program(awaiting(task)),
    "gather": Program(awaiting(gather)),
    "future": Program(awaiting(future)),
    "queue": Program(awaiting(queue)),
    "timeout": Program(awaiting(timeout)),
    "sleeps": Program(awaiting(sleeps), SLEEPERS),
}
