"""A hotloop loop that makes hotloop's tasks and futures: `cpython.py --loop native_loop`."""

from __future__ import annotations

import hotloop


def new_event_loop() -> hotloop.EventLoop:
    return hotloop.EventLoop(native_tasks=True)
