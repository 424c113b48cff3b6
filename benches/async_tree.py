"""A child process: the async_tree family of pyperformance, on one loop, with one kind of task.

A tree of coroutines, six children at each node and six levels deep, which a leaf ends with a
sleep (`io`), a look into a cache that sleeps on a miss (`memoization`), or either a sleep or some
arithmetic (`cpu_io_mixed`); `none` ends with nothing. A node waits for its children by
`asyncio.gather`, or by a task group (`--groups`). Written from pyperformance's description of the
workloads, so the numbers are not comparable with those of its own programs.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable

import child
from loops import make_loop

Leaf = Callable[[], Awaitable[None]]

LEVELS = 6
CHILDREN = 6
SLEEP_SECONDS = 0.05
MEMORY_SHARE = 0.9
CPU_SHARE = 0.5
FACTORIAL_OF = 500


async def nothing() -> None:
    """The leaf of `none`."""


async def sleep() -> None:
    """The leaf of `io`: what a request to another machine would be."""
    await asyncio.sleep(SLEEP_SECONDS)


def memoization(generator: random.Random) -> Leaf:
    """A leaf that nine times of ten finds its result in a cache."""
    cache: dict[int, bool] = {}

    async def leaf() -> None:
        # The numbers below 90 are in the cache from their first use on, the others never are.
        number = generator.randrange(100)
        if number < 100 * MEMORY_SHARE:
            if number in cache:
                return
            cache[number] = True
        await sleep()

    return leaf


def cpu_io_mixed(generator: random.Random) -> Leaf:
    """A leaf that computes or sleeps, with equal chances."""

    async def leaf() -> None:
        if generator.random() < CPU_SHARE:
            math.factorial(FACTORIAL_OF)
        else:
            await sleep()

    return leaf


WORKLOADS: dict[str, Callable[[random.Random], Leaf]] = {
    "none": lambda _generator: nothing,
    "io": lambda _generator: sleep,
    "memoization": memoization,
    "cpu_io_mixed": cpu_io_mixed,
}


async def tree_by_gather(leaf: Leaf, levels: int) -> None:
    """One node that gathers its children."""
    if not levels:
        await leaf()
        return
    await asyncio.gather(*(tree_by_gather(leaf, levels - 1) for _ in range(CHILDREN)))


async def tree_by_groups(leaf: Leaf, levels: int) -> None:
    """One node with a task group for its children."""
    if not levels:
        await leaf()
        return
    async with asyncio.TaskGroup() as group:
        for _ in range(CHILDREN):
            group.create_task(tree_by_groups(leaf, levels - 1))


def set_tasks(loop: asyncio.AbstractEventLoop, tasks: str) -> None:
    """Have `loop` make the kind of tasks (str) that is wanted."""
    if tasks == "default":
        return
    import hotloop

    eager = tasks == "hotloop-eager"
    loop.set_task_factory(hotloop.eager_task_factory if eager else hotloop.task_factory)
    if isinstance(loop, hotloop.EventLoop):
        loop._native_futures = True


def main() -> None:
    """Print the number of trees a second, and what it was computed from."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", required=True)
    parser.add_argument("--workload", choices=WORKLOADS, required=True)
    parser.add_argument("--groups", action="store_true")
    parser.add_argument(
        "--tasks", choices=("default", "hotloop", "hotloop-eager"), default="default"
    )
    parser.add_argument("--levels", type=int, default=LEVELS)
    parser.add_argument("--trees", type=int, default=3)
    parser.add_argument("--cpu", type=int, required=True)
    options = parser.parse_args()
    child.pin(options.cpu)
    loop = make_loop(options.loop)
    try:
        set_tasks(loop, options.tasks)
        tree = tree_by_groups if options.groups else tree_by_gather
        leaf = WORKLOADS[options.workload](random.Random(0))
        loop.run_until_complete(tree(leaf, min(options.levels, 2)))
        cpu_begun, begun = child.cpu_seconds(), time.perf_counter()
        for _ in range(options.trees):
            leaf = WORKLOADS[options.workload](random.Random(0))
            loop.run_until_complete(tree(leaf, options.levels))
        seconds, cpu_seconds = time.perf_counter() - begun, child.cpu_seconds() - cpu_begun
    finally:
        loop.close()
    child.report(
        {
            "per_second": options.trees / seconds,
            "operations": options.trees,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
        }
    )


if __name__ == "__main__":
    main()
