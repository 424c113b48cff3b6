"""A child process: one scheduling scenario, on one loop, on one CPU.

Only public asyncio API, so that every loop can run it; the garbage collector is left as it is.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from collections.abc import Callable

import child
from loops import make_loop

Scenario = Callable[[asyncio.AbstractEventLoop, int], None]

# A first count that every loop finishes quickly, to find out how many fill the wanted time.
FIRST_COUNT = 1000


def call_soon(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A callback schedules itself *count* (int) times."""
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            loop.stop()

    loop.call_soon(step)
    loop.run_forever()


def sleep0(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A task gives way *count* (int) times."""

    async def main() -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    loop.run_until_complete(main())


def task(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A task creates *count* (int) tasks that do nothing, and awaits each."""

    async def nothing() -> None:
        pass

    async def main() -> None:
        for _ in range(count):
            await loop.create_task(nothing())

    loop.run_until_complete(main())


def future(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A task awaits *count* (int) futures, each resolved by a callback."""

    async def main() -> None:
        for _ in range(count):
            waiter = loop.create_future()
            loop.call_soon(waiter.set_result, None)
            await waiter

    loop.run_until_complete(main())


def threadsafe(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """Another thread posts *count* (int) callbacks as fast as it can; done when all have run."""
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if not left:
            loop.stop()

    def post() -> None:
        for _ in range(count):
            loop.call_soon_threadsafe(step)

    thread = threading.Thread(target=post)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario for scenario in (call_soon, sleep0, task, future, threadsafe)
}


def main() -> None:
    """Print the number of operations a second, and what it was computed from."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", required=True)
    parser.add_argument("--scenario", choices=SCENARIOS, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--cpu", type=int, required=True)
    options = parser.parse_args()
    child.pin(options.cpu)
    loop = make_loop(options.loop)
    try:
        scenario = SCENARIOS[options.scenario]
        count = calibrate(loop, scenario, options.seconds)
        cpu_begun = child.cpu_seconds()
        seconds = timed(loop, scenario, count)
        cpu_seconds = child.cpu_seconds() - cpu_begun
    finally:
        loop.close()
    child.report(
        {
            "per_second": count / seconds,
            "operations": count,
            "seconds": seconds,
            # Below 1, another program used our CPU meanwhile: these scenarios never wait.
            "cpu_share": cpu_seconds / seconds,
        }
    )


def calibrate(loop: asyncio.AbstractEventLoop, scenario: Scenario, seconds: float) -> int:
    """The count of operations (int) that takes about *seconds* (float); warms up on the way."""
    count = FIRST_COUNT
    while (taken := timed(loop, scenario, count)) < seconds / 10:
        count *= 4
    return max(1, int(count * seconds / taken))


def timed(loop: asyncio.AbstractEventLoop, scenario: Scenario, count: int) -> float:
    """The wall-clock seconds (float) that *count* operations take."""
    begun = time.perf_counter()
    scenario(loop, count)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
