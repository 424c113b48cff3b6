"""What the attacks that are programs of their own share: options, seed, descriptors, and the line of JSON at the end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import faulthandler
import gc
import importlib
import itertools
import json
import os
import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

#: For `localhost`, with its key.
CERTIFICATE = Path(__file__).resolve().parent.parent / "data" / "localhost.pem"
#: What ends a connection that was cut, and is nobody's mistake.
EXPECTED = (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError)
#: Seconds on top of what a program should take, after which it counts as one that hangs.
HANG = 60


def option_parser(description: str | None, break_it: str) -> argparse.ArgumentParser:
    """The options that all have, the seed among them; ``break_it`` says what the deliberate fault is."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--loop", default="hotloop", help="hotloop, asyncio or uvloop")
    chosen = random.SystemRandom().getrandbits(32)
    parser.add_argument(
        "--native-tasks",
        action="store_true",
        help="hotloop's own futures and tasks (not asyncio's)",
    )
    parser.add_argument("--seed", type=int, default=chosen, help="default: a random one")
    parser.add_argument("--break-it", action="store_true", help=break_it)
    return parser


def parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """The options, printed at once with the seed, so that what crashes or hangs can be repeated; a crash shows the stacks."""
    faulthandler.enable()
    arguments = parser.parse_args(argv)
    seed = [] if "--seed" in argv else ["--seed", str(arguments.seed)]
    print(" ".join([parser.prog, *argv, *seed]), flush=True)
    return arguments


def make_loop(name: str, native_tasks: bool = False) -> asyncio.AbstractEventLoop:
    """A loop of the module of that name, with hotloop's own tasks if so wished. The caller closes it."""
    module = importlib.import_module(name)
    if native_tasks:
        return module.EventLoop(native_tasks=True)  # type: ignore[no-any-return]
    return module.new_event_loop()  # type: ignore[no-any-return]


def end_if_it_hangs(seconds: float) -> None:
    """End the process, with the stacks of its threads, if it takes so much longer that it must hang.

    A later call begins anew.
    """
    faulthandler.dump_traceback_later(seconds + HANG, exit=True)


def count_descriptors() -> int:
    """How many descriptors are open, the one that lists them included."""
    return len(os.listdir("/proc/self/fd"))


@contextlib.contextmanager
def descriptors_left(loop: asyncio.AbstractEventLoop | None = None) -> Iterator[list[str]]:
    """A list that gets a fault if more descriptors are open at the end of the block than before, garbage apart.

    The loop, if there is one, is made ready before, runs once more at the end, and is closed then.
    """
    faults: list[str] = []
    try:
        if loop is not None:
            loop.run_until_complete(
                asyncio.sleep(0)
            )  # some open what they need when they first run
        before = count_descriptors()
        yield faults
        gc.collect()
        if loop is not None:
            loop.run_until_complete(asyncio.sleep(0))
        if left := count_descriptors() - before:
            faults.append(f"{left} descriptors left")
    finally:
        if loop is not None:
            loop.close()


def bytes_in_use() -> int:
    """The bytes that the process has from malloc, OpenSSL's among them, and Python's small blocks."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = Mallinfo
    information = mallinfo()
    return information.uordblks + information.hblkhd + 48 * sys.getallocatedblocks()


def finish(arguments: argparse.Namespace, faults: Iterable[str], **seen: Any) -> int:
    """Print what was seen and the first faults, as the last line of the output; return the exit status, 1 if there are any."""
    faulthandler.cancel_dump_traceback_later()
    named = {name: each for name, each in vars(arguments).items() if name in ("loop", "seed")}
    first = list(itertools.islice(faults, 20))
    print(json.dumps({**named, **seen, "faults": first}))
    return 1 if first else 0


class Mallinfo(ctypes.Structure):
    """`struct mallinfo2`, mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]
