"""A line on stderr that says what is being done."""

from __future__ import annotations

import sys
import time


class Progress:
    """Counts steps; one line that is overwritten on a terminal, a line per step elsewhere.

    :param steps: the number of steps that will be shown (int).
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._terminal = sys.stderr.isatty()
        self._begun = time.monotonic()

    def step(self, text: str) -> None:
        """Begin the next step, described by *text* (str)."""
        self._done += 1
        line = f"[{self._done}/{self._steps}{self._left()}] {text}"
        if self._terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def _left(self) -> str:
        """The time that the rest will take, if it goes on as before; rough, so in minutes."""
        done = self._done - 1
        if done < 5:
            return ""
        seconds = (time.monotonic() - self._begun) / done * (self._steps - done)
        return f", {seconds / 60:.0f} min left" if seconds >= 90 else f", {seconds:.0f} s left"

    def clear(self) -> None:
        """Take the line away, so that the next output begins on an empty one."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
