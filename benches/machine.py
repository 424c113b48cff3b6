"""What the benchmarks need to know about the machine: its CPUs, and where the native program is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

BUILD_COMMAND = "cargo build --release -p hotloop-load"


class LoadGeneratorMissing(Exception):
    """The native program was not built."""


@dataclass(frozen=True)
class Cpus:
    """The CPU (int, its number) of the program under test, and the one of the load on it."""

    measured: int
    load: int

    @property
    def shared(self) -> bool:
        """Whether both are the same, because this process may use no other."""
        return self.measured == self.load


def choose_cpus() -> Cpus:
    """Take the last CPU that we may use for the measured program and the first for the load.

    The first CPU usually serves the most interrupts, which the load generator bears better.
    """
    allowed = sorted(os.sched_getaffinity(0))
    return Cpus(measured=allowed[-1], load=allowed[0])


def load_generator(given: str | None = None) -> str:
    """The path of ``hotloop-load``: *given* (str), else ``$HOTLOOP_LOAD``, else the checkout's.

    :raises LoadGeneratorMissing: if there is no such program; the message says how to build it.
    """
    checkout = Path(__file__).resolve().parent.parent
    target = Path(os.environ.get("CARGO_TARGET_DIR") or checkout / "target")
    named = given or os.environ.get("HOTLOOP_LOAD")
    path = Path(named) if named else target / "release" / "hotloop-load"
    if not os.access(path, os.X_OK):
        raise LoadGeneratorMissing(
            f"the load generator is not at {path}; build it with: {BUILD_COMMAND}"
        )
    return str(path.resolve())
