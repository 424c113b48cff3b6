"""A child process: one program that times itself, on one loop, on one CPU.

A program is made on a loop by a function that prepares what is not measured and returns another,
which does a number of operations. Only public asyncio API, so that every loop can run it; the
garbage collector is left as it is.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from . import child
from .loops import make_loop

Run = Callable[[int], None]
Prepare = Callable[[asyncio.AbstractEventLoop], Run]

# A first count that every loop finishes quickly, to find out how many fill the wanted time.
FIRST_COUNT = 16
# What a calibration must last, as a part of the measured time, to be believed.
CALIBRATED = 0.1


@dataclass(frozen=True)
class Program:
    """What is timed.

    :ivar prepare: makes the function that does the operations, on a loop.
    :ivar granularity: counts of operations are multiples of this (int).
    """

    prepare: Prepare
    granularity: int = 1


def watched(prepare: Prepare) -> Prepare:
    """The program that *prepare* makes, while an idle socket is watched, as in every server.

    A loop that watches nothing needs not ask the kernel in every iteration, and some then do not.
    """

    def prepare_watched(loop: asyncio.AbstractEventLoop) -> Run:
        ends = socket.socketpair()
        loop.add_reader(ends[0].fileno(), ends[0].recv, 1)
        run = prepare(loop)

        def run_watched(count: int) -> None:
            assert ends[0].fileno() >= 0
            run(count)

        return run_watched

    return prepare_watched


def programs() -> dict[str, Program]:
    """Every program by its name (str)."""
    from . import callbacks, clients, pairs, tasks, trees, waiting

    modules = (callbacks, tasks, trees, waiting, pairs, clients)
    every = [module.PROGRAMS for module in modules]
    return {name: program for some in every for name, program in some.items()}


def main() -> None:
    """Print the number of operations a second, and what it was computed from."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", required=True)
    parser.add_argument("--program", required=True)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--count", type=int, help="exactly so many operations, not timed")
    parser.add_argument(
        "--own-tasks", action="store_true", help="those of the loop, if it has some"
    )
    parser.add_argument("--cpu", type=int)
    options = parser.parse_args()
    child.pin(options.cpu)
    program = programs()[options.program]
    loop = make_loop(options.loop, own_tasks=options.own_tasks)
    # As under asyncio.run(): libraries look for the loop before it runs.
    asyncio.set_event_loop(loop)
    with child.skipping_what_is_missing():
        run = program.prepare(loop)
        if options.count is not None:
            run(options.count)
            child.report({"operations": options.count})
        else:
            child.report(measure(program, run, options.seconds))
    loop.close()


def measure(program: Program, run: Run, seconds: float) -> dict[str, float]:
    """Find the count that takes about *seconds* (float), which warms up too, then time it."""
    count = calibrate(program, run, seconds)
    begun_user, begun_system = child.cpu_seconds()
    taken = timed(run, count)
    user, system = child.cpu_seconds()
    user, system = user - begun_user, system - begun_system
    return {
        "per_second": count / taken,
        "operations": count,
        "seconds": taken,
        "cpu_us": (user + system) / count * 1e6,
        "user_us": user / count * 1e6,
        # Below 1 in a program that never waits: another one used our CPU meanwhile.
        "cpu_share": (user + system) / taken,
    }


def calibrate(program: Program, run: Run, seconds: float) -> int:
    """The count of operations (int) that takes about *seconds* (float)."""
    grain = program.granularity
    count = max(FIRST_COUNT, grain)
    while (taken := timed(run, count)) < seconds * CALIBRATED:
        count *= 4
    return max(1, round(count * seconds / taken / grain)) * grain


def timed(run: Run, count: int) -> float:
    """The wall-clock seconds (float) that *count* operations take."""
    begun = time.perf_counter()
    run(count)
    return time.perf_counter() - begun
