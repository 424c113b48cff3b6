"""The speed marks: ratios to uvloop, measured in one run, next to their targets.

Every measurement is a fresh process pinned to one CPU. The loops take turns within a round, and a
ratio is computed between measurements of the same round, so that a machine that slows down slows
both. See README.md for what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from loops import LoopNotInstalled, check_installed, version_of
from machine import Cpus, LoadGeneratorMissing, choose_cpus, load_generator
from measurements import FLOOR, echo, scheduling
from processes import ChildFailed, end_on_sigterm
from progress import Progress
from ratios import Ratio, ratio, table

# The loop that the targets are relative to; against another base there are none.
TARGET_BASE = "uvloop"

ECHO = "echo"
ECHO_CONNECTIONS = 10
ECHO_BYTES = 1024
ECHO_SECONDS = 1.0


@dataclass(frozen=True)
class Mark:
    """One value that a scenario measures, and the ratio to `TARGET_BASE` that is wanted of it."""

    name: str
    scenario: str
    target: float | None
    unit: str = "op/s"
    higher_is_better: bool = True


MARKS = (
    Mark("call_soon", "call_soon", 3.0),
    Mark("sleep0", "sleep0", 2.0),
    Mark("task", "task", 1.6),
    Mark("future", "future", 2.3),
    Mark("threadsafe", "threadsafe", 2.0),
    Mark("echo", ECHO, 1.0),
    Mark("echo-cpu", ECHO, None, "µs CPU/message", higher_is_better=False),
)
SCENARIOS = tuple(dict.fromkeys(mark.scenario for mark in MARKS))


@dataclass
class Results:
    """A value a round for each (mark, loop); the reason for each (scenario, loop) that failed."""

    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def compare(self, mark: Mark, loop: str, base: str) -> Ratio | None:
        """The ratio of *loop* to *base* (names, str), or None if one was not measured."""
        if any((mark.scenario, name) in self.failures for name in (loop, base)):
            return None
        mine, other = self.values.get((mark.name, loop)), self.values.get((mark.name, base))
        if mine is None or other is None:
            return None
        return ratio(mine, other, higher_is_better=mark.higher_is_better)


def main() -> int:
    """Measure and print; 1 if something could not be measured, 2 if nothing could begin."""
    options = arguments()
    end_on_sigterm()
    loops = list(dict.fromkeys([*options.loops, options.base]))
    try:
        for loop in loops:
            check_installed(loop)
        program = load_generator(options.load) if ECHO in options.only else ""
    except (LoopNotInstalled, LoadGeneratorMissing) as error:
        print(f"marks: {error}", file=sys.stderr)
        return 2
    cpus = choose_cpus()
    results = measure(options.only, loops, options.rounds, program, cpus)
    versions = {loop: version_of(loop) for loop in loops}
    print(heading(options.base, options.rounds, versions, cpus))
    print(summary(results, loops, options.base))
    for (scenario, loop), reason in results.failures.items():
        print(f"\nFAILED {scenario} on {loop}: {reason}", file=sys.stderr)
    if options.json:
        text = as_json(results, loops, options.base, versions, cpus)
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    return 1 if results.failures else 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Speed marks: ratios to a base loop.")

    def names(text: str) -> list[str]:
        return [name for name in text.split(",") if name]

    parser.add_argument("--loops", type=names, default=["hotloop", "uvloop"], metavar="NAME,…")
    parser.add_argument("--base", default="uvloop", help="what ratios are relative to (uvloop)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every loop (5)")
    parser.add_argument(
        "--only", type=names, default=list(SCENARIOS), metavar="NAME,…", help=", ".join(SCENARIOS)
    )
    parser.add_argument("--json", metavar="FILE", help="also write every measurement there")
    parser.add_argument("--load", metavar="PATH", help="the hotloop-load program")
    options = parser.parse_args()
    unknown = sorted(set(options.only) - set(SCENARIOS))
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}; there are: {', '.join(SCENARIOS)}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    return options


def measure(only: list[str], loops: list[str], rounds: int, program: str, cpus: Cpus) -> Results:
    """Run the scenarios *only* (names) on the *loops* (names), *rounds* (int) times.

    What fails once is not tried again; everything else goes on.
    """
    turns = [(scenario, loop) for scenario in SCENARIOS if scenario in only for loop in loops]
    if ECHO in only:
        turns.append((ECHO, FLOOR))
    results = Results()
    progress = Progress(len(turns) * rounds)
    for number in range(rounds):
        # Every other round goes backwards: no loop always runs on the warmer machine.
        for scenario, loop in turns if number % 2 == 0 else reversed(turns):
            progress.step(f"round {number + 1}: {scenario} on {loop}")
            if (scenario, loop) in results.failures:
                continue
            try:
                values = measure_once(scenario, loop, program, cpus)
            except ChildFailed as error:
                results.failures[scenario, loop] = str(error)
                continue
            for name, value in values.items():
                results.values.setdefault((name, loop), []).append(value)
    progress.clear()
    return results


def measure_once(scenario: str, loop: str, program: str, cpus: Cpus) -> dict[str, float]:
    """The values (float, by the mark's name) of one scenario on one loop."""
    if scenario != ECHO:
        return {scenario: scheduling(scenario, loop, cpus)}
    served = echo(
        loop,
        program,
        cpus,
        seconds=ECHO_SECONDS,
        connections=ECHO_CONNECTIONS,
        size=ECHO_BYTES,
    )
    return {"echo": served.per_second, "echo-cpu": served.cpu_us}


def heading(base: str, rounds: int, versions: dict[str, str], cpus: Cpus) -> str:
    """What was compared, on what, and how to read the numbers."""
    named = ", ".join(f"{loop} {version}" for loop, version in versions.items())
    lines = [
        f"CPython {platform.python_version()}; {named}; rounds: {rounds}",
        f"ratio to {base} in the same round: median (min–max), above 1 is better than {base}",
    ]
    if cpus.shared:
        lines.append("one CPU only: the echo's client shares it with the server")
    return "\n".join([*lines, ""])


def summary(results: Results, loops: list[str], base: str) -> str:
    """The table: a row for each mark of each loop but the base."""
    rows = [("mark", "loop", f"ratio to {base}", "target", "", "measured", base, "unit")]
    for mark in MARKS:
        for loop in [*(name for name in loops if name != base), FLOOR]:
            mine = results.values.get((mark.name, loop))
            found = results.compare(mark, loop, base)
            if mine is None and (mark.scenario, loop) not in results.failures:
                continue
            target = mark.target if base == TARGET_BASE and loop != FLOOR else None
            rows.append(
                (
                    mark.name,
                    loop,
                    str(found) if found else "failed",
                    "" if target is None else f"{target:.1f}",
                    "" if target is None else verdict(target, found),
                    amount(mine),
                    amount(results.values.get((mark.name, base))),
                    mark.unit,
                )
            )
    return table(rows, text_columns=(0, 1, 4, 7))


def verdict(target: float, found: Ratio | None) -> str:
    """Whether the median reaches the target; a spread on both sides of it is pointed out."""
    if found is None:
        return "NOT met"
    doubt = " (spread on both sides)" if found.least < target <= found.greatest else ""
    return ("met" if found.median >= target else "NOT met") + doubt


def amount(values: list[float] | None) -> str:
    """The median of *values* (floats) as text of three digits or so."""
    if not values:
        return "-"
    middle = ratio(values, [1.0] * len(values)).median
    return f"{middle:,.0f}" if middle >= 1000 else f"{middle:.2f}"


def as_json(
    results: Results, loops: list[str], base: str, versions: dict[str, str], cpus: Cpus
) -> str:
    """Every measurement and every ratio, as JSON text."""
    marks = []
    for mark in MARKS:
        for loop in [*loops, FLOOR]:
            if (mark.name, loop) in results.values:
                found = results.compare(mark, loop, base)
                marks.append(
                    {
                        "mark": mark.name,
                        "loop": loop,
                        "unit": mark.unit,
                        "target": mark.target,
                        "values": results.values[mark.name, loop],
                        "ratio": asdict(found) if found else None,
                    }
                )
    document = {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": asdict(cpus),
        "loops": versions,
        "base": base,
        "marks": marks,
        "failures": [
            {"scenario": scenario, "loop": loop, "reason": reason}
            for (scenario, loop), reason in results.failures.items()
        ],
    }
    return json.dumps(document, indent=2)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nmarks: interrupted")
