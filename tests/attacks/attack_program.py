"""What the attacks that are programs of their own share: options, seed, descriptors, and the line of JSON at the end."""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import os
import random
from pathlib import Path
from typing import Any

#: For `localhost`, with its key.
CERTIFICATE = Path(__file__).resolve().parent.parent / "data" / "localhost.pem"
#: What ends a connection that was cut, and is nobody's mistake.
EXPECTED = (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError)


def option_parser(description: str | None, break_it: str) -> argparse.ArgumentParser:
    """The options that all have, the seed among them; ``break_it`` says what the deliberate fault is."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--loop", default="hotloop", help="hotloop, asyncio or uvloop")
    chosen = random.SystemRandom().getrandbits(32)
    parser.add_argument("--seed", type=int, default=chosen, help="default: a random one")
    parser.add_argument("--break-it", action="store_true", help=break_it)
    return parser


def make_loop(name: str) -> asyncio.AbstractEventLoop:
    """A loop of the module of that name. The caller closes it."""
    return importlib.import_module(name).new_event_loop()  # type: ignore[no-any-return]


def count_descriptors() -> int:
    """How many descriptors are open, the one that lists them included."""
    return len(os.listdir("/proc/self/fd"))


def left_since(before: int, loop: asyncio.AbstractEventLoop | None = None) -> int:
    """How many more descriptors are open than before, when garbage is gone and the loop has run once more."""
    gc.collect()
    if loop is not None:
        loop.run_until_complete(asyncio.sleep(0))
    return count_descriptors() - before


def finish(result: dict[str, Any], failed: object) -> int:
    """Print the result, which is the last line of the output; return the exit status."""
    print(json.dumps(result))
    return 1 if failed else 0
