"""The child's side of a measurement: pinning, the report line, the end.

A child talks to its parent in JSON lines on stdout, and ends when its stdin is closed. The parent
holds that pipe, so a child never outlives it, however the parent ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from .loops import make_loop


def pin(cpu: int | None) -> None:
    """Stay on one CPU (int, its number), as sched_setaffinity(2) describes; None: on any."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})


def report(message: dict[str, Any]) -> None:
    """Send one message (dict of JSON values) to the parent."""
    print(json.dumps(message), flush=True)


def cpu_seconds() -> tuple[float, float]:
    """User and system time of this process so far, in seconds, by getrusage(2)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime, usage.ru_stime


def when_asked_to_end(callback: Callable[[], object]) -> None:
    """Call *callback* (no arguments) in another thread once the parent has closed our stdin.

    The thread is blocked in read(2) the whole time, without the GIL: it costs the loop nothing.
    """

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        callback()

    threading.Thread(target=wait, daemon=True).start()


def run_on(name: str, main: Coroutine[Any, Any, None]) -> None:
    """Run *main* (coroutine) to its end on a new loop of that name (str), as asyncio.run does."""
    with asyncio.Runner(loop_factory=lambda: make_loop(name)) as runner:
        with skipping_what_is_missing():
            runner.run(main)


@contextlib.contextmanager
def skipping_what_is_missing() -> Iterator[None]:
    """Tell the parent if the loop does not have what the block needs: that is no failure."""
    try:
        yield
    except NotImplementedError as error:
        report({"skip": f"not implemented there {error}".rstrip()})


async def serve_until_asked(
    ready: dict[str, Any], close: Callable[[], Awaitable[object] | object]
) -> None:
    """Tell the parent that the server is *ready* (dict, e.g. its port); wait; *close*.

    :param close: ends the server; what it returns is awaited if it can be.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    when_asked_to_end(lambda: loop.call_soon_threadsafe(ended.set))
    report(ready)
    await ended.wait()
    closing = close()
    if isinstance(closing, Awaitable):
        await closing
