"""Programs that time trees of tasks: the async_tree family of pyperformance.

A tree of coroutines, six children at each node and six levels deep, which a leaf ends with a sleep
(`io`), a look into a cache that sleeps on a miss (`memoization`), or either a sleep or some
arithmetic (`mixed`); `none` ends with nothing. A node waits for its children by `asyncio.gather`
(`tree_…`) or by a task group (`groups_…`). Written from pyperformance's description of the
workloads, so the numbers are not comparable with those of its own programs.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable

from .local import Prepare, Program, Run

Leaf = Callable[[], Awaitable[None]]
Tree = Callable[[Leaf, int], Awaitable[None]]

LEVELS = 6
CHILDREN = 6
LEAVES = CHILDREN**LEVELS
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


def mixed(generator: random.Random) -> Leaf:
    """A leaf that computes or sleeps, with equal chances."""

    async def leaf() -> None:
        if generator.random() < CPU_SHARE:
            math.factorial(FACTORIAL_OF)
        else:
            await sleep()

    return leaf


async def by_gather(leaf: Leaf, levels: int) -> None:
    """One node that gathers its children."""
    if not levels:
        await leaf()
        return
    await asyncio.gather(*(by_gather(leaf, levels - 1) for _ in range(CHILDREN)))


async def by_groups(leaf: Leaf, levels: int) -> None:
    """One node with a task group for its children."""
    if not levels:
        await leaf()
        return
    async with asyncio.TaskGroup() as group:
        for _ in range(CHILDREN):
            group.create_task(by_groups(leaf, levels - 1))


def trees(tree: Tree, make_leaf: Callable[[random.Random], Leaf]) -> Prepare:
    """Make a program that counts the leaves of trees, the same tree again and again."""

    def prepare(loop: asyncio.AbstractEventLoop) -> Run:
        async def main(count: int) -> None:
            for _ in range(count // LEAVES):
                await tree(make_leaf(random.Random(0)), LEVELS)

        return lambda count: loop.run_until_complete(main(count))

    return prepare


LEAF: dict[str, Callable[[random.Random], Leaf]] = {
    "none": lambda _generator: nothing,
    "io": lambda _generator: sleep,
    "memoization": memoization,
    "mixed": mixed,
}
WAYS: dict[str, Tree] = {"tree": by_gather, "groups": by_groups}
PROGRAMS = {
    f"{way}_{workload}": Program(trees(tree, make_leaf), LEAVES)
    for way, tree in WAYS.items()
    for workload, make_leaf in LEAF.items()
}
