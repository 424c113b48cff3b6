"""The child's side of a measurement: pinning, the report line, the end.

A child talks to its parent in JSON lines on stdout, and ends when its stdin is closed. The parent
holds that pipe, so a child never outlives it, however the parent ends.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from collections.abc import Callable
from typing import Any


def pin(cpu: int) -> None:
    """Stay on one CPU (int, its number), as sched_setaffinity(2) describes."""
    os.sched_setaffinity(0, {cpu})


def report(message: dict[str, Any]) -> None:
    """Send one message (dict of JSON values) to the parent."""
    print(json.dumps(message), flush=True)


def cpu_seconds() -> float:
    """User plus system time of this process so far, in seconds, by getrusage(2)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def when_asked_to_end(callback: Callable[[], object]) -> None:
    """Call *callback* (no arguments) in another thread once the parent has closed our stdin.

    The thread is blocked in read(2) the whole time, without the GIL: it costs the loop nothing.
    """

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        callback()

    threading.Thread(target=wait, daemon=True).start()
