"""A line on stderr that says what is being done."""

from __future__ import annotations

import sys


class Progress:
    """Counts steps; one line that is overwritten on a terminal, a line per step elsewhere.

    :param steps: the number of steps that will be shown (int).
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._terminal = sys.stderr.isatty()

    def step(self, text: str) -> None:
        """Begin the next step, described by *text* (str)."""
        self._done += 1
        line = f"[{self._done}/{self._steps}] {text}"
        if self._terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away, so that the next output begins on an empty one."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
