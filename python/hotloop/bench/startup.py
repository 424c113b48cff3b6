"""A child process: the time from importing a loop to the end of its first run.

asyncio itself is imported before the clock starts: every program that uses a loop has it. Nothing
else is imported here, so that no loop finds its own imports done.
"""

from __future__ import annotations

import asyncio
import sys
import time


async def nothing() -> None:
    """Do nothing."""


def main() -> None:
    """Print the seconds as JSON; the arguments are ``--loop NAME --cpu NUMBER``."""
    _, _, name, _, cpu = sys.argv
    import os

    os.sched_setaffinity(0, {int(cpu)})
    begun = time.perf_counter()
    if name == "asyncio":
        loop: asyncio.AbstractEventLoop = asyncio.SelectorEventLoop()
    elif name.startswith("aiofastnet"):
        from .loops import make_loop

        begun = time.perf_counter()
        loop = make_loop(name)
    else:
        loop = __import__(name).new_event_loop()
    loop.run_until_complete(nothing())
    seconds = time.perf_counter() - begun
    loop.close()
    print(f'{{"seconds": {seconds!r}}}', flush=True)
