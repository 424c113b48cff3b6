"""``python -m hotloop bench``: every scenario, on every loop that is installed, in one run."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from .catalogue import BY_NAME, SCENARIOS, Scenario
from .loops import LoopNotInstalled, check_installed, installed, version_of
from .machine import (
    LoadGeneratorMissing,
    choose_cpus,
    description,
    find_load,
    raise_descriptor_limit,
)
from .measurements import FLOOR, Setting, has_floor, measure
from .processes import ChildFailed, Skipped, end_on_sigterm
from .progress import Progress
from .report import as_text, write_page
from .results import Results, UnusableResults

ROUNDS, SECONDS = 3, 0.3
QUICK_ROUNDS, QUICK_SECONDS = 1, 0.15
# Warming up takes so much of a measurement's own time.
WARMUP = 0.4
# What is not a connection: the interpreter's files, epoll, a listener.
OTHER_DESCRIPTORS = 64
# What the frameworks' rows depend on.
PACKAGES = ("uvicorn", "httptools", "aiohttp", "redis")


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print.

    :param words: the command line (list of str) after the word bench; None: the process's.
    :returns: 1 if hotloop, the base or the floor failed in a scenario, 2 if nothing could begin,
        else 0. A target that is not met is no error, nor is a failure of another loop.
    """
    options = arguments(words)
    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:20} {scenario.group}: {scenario.title}")
        return 0
    try:
        results = read(options.read) if options.read else run(options)
    except (LoopNotInstalled, LoadGeneratorMissing, UnusableResults, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    print(as_text(results))
    if options.page:
        write_page(results, Path(options.page))
    ours = ("hotloop", results.base, FLOOR)
    return 1 if any(loop in ours for _, loop in results.failures) else 0


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m hotloop bench",
        description="Compare event loops: ratios, CPU, latency and memory, in one run.",
    )

    def names(text: str) -> list[str]:
        return list(dict.fromkeys(name for name in text.split(",") if name))

    parser.add_argument("--only", type=names, metavar="NAME,…", help="these scenarios (--list)")
    parser.add_argument("--loops", type=names, metavar="NAME,…", help="these loops (all installed)")
    parser.add_argument("--base", help="what ratios are relative to (uvloop, else asyncio)")
    parser.add_argument("--rounds", type=int, help=f"turns of every loop ({ROUNDS})")
    parser.add_argument("--seconds", type=float, help=f"of one measurement ({SECONDS})")
    parser.add_argument("--quick", action="store_true", help="fewer scenarios, one short round")
    parser.add_argument("--json", metavar="FILE", help="write every measurement there, by round")
    parser.add_argument("--add", action="store_true", help="add rounds to what --json FILE has")
    parser.add_argument("--page", metavar="FILE", help="write a Markdown page and its charts")
    parser.add_argument("--read", metavar="FILE", help="show what --json wrote; measure nothing")
    parser.add_argument(
        "--load", metavar="PATH", help="the hotloop-load program, or `python` to do without it"
    )
    parser.add_argument("--list", action="store_true", help="name the scenarios")
    options = parser.parse_args(words)
    if options.rounds is None:
        options.rounds = QUICK_ROUNDS if options.quick else ROUNDS
    if options.seconds is None:
        options.seconds = QUICK_SECONDS if options.quick else SECONDS
    unknown = [name for name in options.only or () if name not in BY_NAME]
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}; --list names them")
    if options.add and not options.json:
        parser.error("--add needs --json FILE, to which the rounds are added")
    if options.rounds < 1 or not 0 < options.seconds <= 20:
        parser.error("--rounds must be positive, --seconds from 0 to 20")
    return options


def read(path: str) -> Results:
    """The results that ``--json`` wrote to *path* (str)."""
    return Results.from_json(Path(path).read_text(encoding="utf-8"))


def run(options: argparse.Namespace) -> Results:
    """Measure what the command line asks for."""
    end_on_sigterm()
    loops = options.loops or installed()
    base = options.base or next((name for name in ("uvloop", "asyncio") if name in loops), loops[0])
    loops = list(dict.fromkeys([*loops, base]))
    for loop in loops:
        check_installed(loop)
    setting = Setting(
        load=find_load(options.load),
        cpus=choose_cpus(),
        seconds=options.seconds,
        warmup=options.seconds * WARMUP,
        connections=raise_descriptor_limit() - OTHER_DESCRIPTORS,
    )
    about = {
        "machine": description(),
        "cpus": asdict(setting.cpus),
        "seconds": options.seconds,
        "load": str(setting.load),
        "packages": packages(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }
    versions = {loop: version_of(loop) for loop in loops}
    if options.add:
        results = read(options.json)
        results.go_on(about, base, versions)
    else:
        results = Results(about, base, versions)

    def keep() -> None:
        if options.json:
            write(results, Path(options.json))

    measure_all(results, chosen(options), loops, options.rounds, setting, keep)
    return results


def write(results: Results, path: Path) -> None:
    """Put *results* into the file *path*, whole or not at all: an earlier one may be all there is."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(results.as_json() + "\n", encoding="utf-8")
    new.replace(path)


def chosen(options: argparse.Namespace) -> list[Scenario]:
    """The scenarios to measure, in the catalogue's order."""
    if options.only:
        return [scenario for scenario in SCENARIOS if scenario.name in options.only]
    return [scenario for scenario in SCENARIOS if scenario.quick or not options.quick]


def measure_all(
    results: Results,
    scenarios: Sequence[Scenario],
    loops: Sequence[str],
    rounds: int,
    setting: Setting,
    keep: Callable[[], None],
) -> None:
    """Measure every scenario on every one of the *loops* (str), in turns, *rounds* (int) times.

    What fails once is not tried again in this run; everything else goes on.

    :param keep: called after every round: a run takes long, and may be ended before its time.
    """
    turns = [
        (scenario, loop)
        for scenario in scenarios
        for loop in [*loops, *([FLOOR] if has_floor(scenario, setting.load) else [])]
    ]
    progress = Progress(len(turns) * rounds)
    for scenario, loop in turns:
        results.try_again(scenario.name, loop)
    first = results.next_round()
    for number in range(first, first + rounds):
        # Every other round goes backwards: no loop always runs on the warmer machine.
        for scenario, loop in turns if number % 2 == 0 else reversed(turns):
            progress.step(f"round {number + 1}: {scenario.name} on {loop}")
            key = (scenario.name, loop)
            if key in results.failures or key in results.skipped:
                continue
            try:
                results.add(*key, number, measure(scenario, loop, setting))
            except ChildFailed as error:
                results.failures[key] = str(error)
            except Skipped as reason:
                results.skipped[key] = str(reason)
        keep()
    progress.clear()


def packages() -> dict[str, str]:
    """The versions (str) of what the frameworks' rows are served with, where installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
