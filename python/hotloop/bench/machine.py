"""What the benchmarks need to know about the machine: CPUs, limits, and who makes the load."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .processes import program

BUILD_COMMAND = "cargo build --release -p hotloop-load --features tls"
# Ten thousand connections on either side, and what else is open.
DESCRIPTORS = 16_384
# The column of a CPU's line in /proc/stat.
STEAL = 8


class LoadGeneratorMissing(Exception):
    """The native program was asked for and is not there."""


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


def stolen_seconds(cpus: Cpus) -> float:
    """The time (float, s) since the start in which the *cpus* ran other machines: proc(5), `steal`.

    Counted in ticks of 10 ms; always 0 where nobody takes any, or says so.
    """
    named = {f"cpu{cpus.measured}", f"cpu{cpus.load}"}
    lines = map(str.split, Path("/proc/stat").read_text(encoding="utf-8").splitlines())
    ticks = sum(int(fields[STEAL]) for fields in lines if fields[0] in named)
    return ticks / os.sysconf("SC_CLK_TCK")


def raise_descriptor_limit() -> int:
    """Raise this process's limit, and so that of its children; return it (int)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS:
        soft = min(hard, DESCRIPTORS) if hard != resource.RLIM_INFINITY else DESCRIPTORS
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


@dataclass(frozen=True)
class Load:
    """What makes the load.

    :ivar command: its first words (tuple of str), which mode and options follow.
    :ivar native: whether it is the compiled program, which has the floor servers too.
    :ivar tls: whether it speaks TLS.
    """

    command: tuple[str, ...]
    native: bool
    tls: bool

    def __str__(self) -> str:
        if self.native:
            return "the native load generator"
        return "a load generator in Python, slower than the native one of the source tree"


def find_load(given: str | None = None) -> Load:
    """The native program at *given* (path), ``$HOTLOOP_LOAD`` or in the checkout; else Python's.

    :param given: a path (str), or ``python`` to do without the native program.
    :raises LoadGeneratorMissing: if there is no program where one was named.
    """
    in_python = Load(tuple(program("load")), native=False, tls=True)
    if given == "python":
        return in_python
    named = given or os.environ.get("HOTLOOP_LOAD")
    path = Path(named) if named else _in_checkout()
    if path is None:
        return in_python
    if not os.access(path, os.X_OK):
        raise LoadGeneratorMissing(
            f"the load generator is not at {path}; build it with: {BUILD_COMMAND}"
        )
    command = str(path.resolve())
    features = subprocess.run([command, "features"], capture_output=True, text=True, check=False)
    tls = features.returncode == 0 and bool(json.loads(features.stdout)["tls"])
    return Load((command,), native=True, tls=tls)


def _in_checkout() -> Path | None:
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / "benches" / "load" / "Cargo.toml").exists():
        return None
    target = Path(os.environ.get("CARGO_TARGET_DIR") or checkout / "target")
    path = target / "release" / "hotloop-load"
    return path if path.exists() else None


def description() -> dict[str, str]:
    """What a page of results begins with: processor, kernel, Python (dict of str)."""
    return {
        "processor": _processor(),
        "cpus": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"CPython {platform.python_version()}"
        if sys.implementation.name == "cpython"
        else sys.version,
        "compiler": platform.python_compiler(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
