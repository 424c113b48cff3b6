"""The demo: the same ASGI application under uvicorn on several loops, compared in one small table.

Needs no second terminal: servers and load run as child processes, on ports that are free.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
from dataclasses import replace
from pathlib import Path

from hotloop.bench.catalogue import BY_NAME, PER_SECOND, Served
from hotloop.bench.loops import LoopNotInstalled, check_installed, version_of
from hotloop.bench.machine import Cpus, LoadGeneratorMissing, choose_cpus, find_load
from hotloop.bench.measurements import Setting, Values, served
from hotloop.bench.processes import ChildFailed, end_on_sigterm
from hotloop.bench.progress import Progress
from hotloop.bench.ratios import median, ratio, table

WARMUP_SECONDS = 0.3


def main() -> int:
    """Serve, measure, print; 1 if a server failed, 2 if nothing could begin."""
    options = arguments()
    end_on_sigterm()
    try:
        for loop in options.loops:
            check_installed(loop)
        load = find_load(options.load)
        uvicorn, httptools = (package_version(name) for name in ("uvicorn", "httptools"))
    except (LoopNotInstalled, LoadGeneratorMissing, PackageMissing) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    setting = Setting(load, choose_cpus(), options.seconds, WARMUP_SECONDS, options.connections)
    print(
        f"Hello world, plain ASGI, on uvicorn {uvicorn} with httptools {httptools}, "
        f"CPython {platform.python_version()}.\n"
        f"{options.connections} keep-alive connections, each loop {options.rounds} × "
        f"{options.seconds:g} s, in turns, every server a fresh process.\n",
        flush=True,
    )
    try:
        results = measure(options, setting)
    except ChildFailed as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    print(summary(results, setting.cpus))
    if options.json:
        Path(options.json).write_text(json.dumps(results) + "\n", encoding="utf-8")
    return 0


class PackageMissing(Exception):
    """A package that the demo serves with is not installed."""


def package_version(name: str) -> str:
    """The installed version of the package *name* (str).

    :raises PackageMissing: with the command that installs it.
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        needed = Path(__file__).resolve().parent / "requirements.txt"
        raise PackageMissing(f"{name} is not installed; try: pip install -r {needed}") from None


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="A web server on several event loops.")
    parser.add_argument(
        "--loops",
        type=lambda text: list(dict.fromkeys(text.split(","))),
        default=["hotloop", "asyncio", "uvloop"],
        metavar="NAME,…",
    )
    parser.add_argument("--rounds", type=int, default=2, help="turns of every loop (2)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of load in a turn (3)")
    parser.add_argument("--connections", type=int, default=50, help="held open (50)")
    parser.add_argument("--json", metavar="FILE", help="also write every measurement there")
    parser.add_argument("--load", metavar="PATH", help="the hotloop-load program")
    options = parser.parse_args()
    if options.rounds < 1 or options.connections < 1 or not 0 < options.seconds <= 30:
        parser.error("--rounds and --connections must be positive, --seconds from 0 to 30")
    return options


def measure(options: argparse.Namespace, setting: Setting) -> dict[str, list[Values]]:
    """Every loop in turn, every other round backwards; the results by loop's name."""
    row = BY_NAME["uvicorn"]
    assert isinstance(row, Served)
    scenario = replace(row, connections=options.connections)
    results: dict[str, list[Values]] = {loop: [] for loop in options.loops}
    progress = Progress(len(results) * options.rounds)
    for number in range(options.rounds):
        for loop in results if number % 2 == 0 else reversed(results):
            progress.step(f"uvicorn on {loop} ({options.seconds:g} s)")
            results[loop].append(served(scenario, loop, setting))
    progress.clear()
    return results


def summary(results: dict[str, list[Values]], cpus: Cpus) -> str:
    """The table (str): medians over the rounds, ratios of requests/s within a round."""
    rates = {loop: [one[PER_SECOND] for one in each] for loop, each in results.items()}
    bases = [name for name in ("asyncio", "uvloop") if name in results]
    titles = ["loop", "requests/s", "p50 ms", "p99 ms", "CPU µs/request"]
    rows = [titles + [f"vs {base}" for base in bases]]
    for loop, each in results.items():
        row = [
            f"{loop} {version_of(loop)}",
            f"{median(rates[loop]):,.0f}",
            f"{median([one['p50_us'] for one in each]) / 1e3:.2f}",
            f"{median([one['p99_us'] for one in each]) / 1e3:.2f}",
            f"{median([one['cpu_us'] for one in each]):.1f}",
        ]
        compared = ["1" if base == loop else str(ratio(rates[loop], rates[base])) for base in bases]
        rows.append(row + compared)
    notes = [
        "vs: ratio of requests/s in the same round, median (min–max).",
        "CPU: user and system time of the server.",
    ]
    if cpus.shared:
        notes.append("One CPU only: the load shares it with the server, which evens ratios out.")
    return "\n".join([table(rows), "", *notes])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\ndemo: interrupted")
