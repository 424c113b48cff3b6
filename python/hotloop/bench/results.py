"""What was measured: kept by round, compared within a round, written and read as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from .catalogue import (
    BY_NAME,
    CPU_MICROSECONDS,
    MILLISECONDS,
    MOST_STOLEN,
    PER_SECOND,
    SCENARIOS,
    STOLEN,
    Scenario,
)
from .measurements import FLOOR, Values
from .ratios import Ratio, median, ratio

FORMAT = 1
# The loop that the targets are relative to; against another base there are none.
TARGET_BASE = "uvloop"


# What has to be the same for rounds that were measured at different times.
SAME = ("machine", "cpus", "seconds", "load", "packages")


class UnusableResults(Exception):
    """A file of results that this version cannot read, or that these rounds cannot be added to."""


@dataclass
class Results:
    """Every measurement, and what it was made with.

    :ivar about: machine, versions, options: JSON values by name (str).
    :ivar base: the loop that ratios are relative to (str).
    :ivar loops: every loop (str) with its version (str).
    :ivar rounds: for each scenario and loop, the values of each round by its number (int).
    :ivar failures: the reason (str) for each scenario and loop that failed.
    :ivar skipped: the same for what was left out.
    """

    about: dict[str, Any]
    base: str
    loops: dict[str, str]
    rounds: dict[tuple[str, str], dict[int, Values]] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    skipped: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, scenario: str, loop: str, number: int, values: Values) -> None:
        """Keep the *values* of one scenario on one loop in the round *number* (int)."""
        self.rounds.setdefault((scenario, loop), {})[number] = values

    def next_round(self) -> int:
        """The number (int) of the round that comes after every other."""
        return 1 + max((number for rounds in self.rounds.values() for number in rounds), default=-1)

    def go_on(self, about: dict[str, Any], base: str, loops: dict[str, str]) -> None:
        """Make ready for more rounds, with the arguments of the constructor for them.

        Only values of the same round are compared, so scenarios and loops may be others.

        :raises UnusableResults: if they would be measured with something else.
        """
        names = ", ".join(
            [name for name in SAME if self.about.get(name) != about[name]]
            + (["base"] if self.base != base else [])
            + [loop for loop in loops if self.loops.get(loop, loops[loop]) != loops[loop]]
        )
        if names:
            raise UnusableResults(
                f"these rounds cannot be added to the others, for want of the same {names}"
            )
        self.loops.update(loops)
        first = self.about["date"].partition(" to ")[0]
        self.about["date"] = first if first == about["date"] else f"{first} to {about['date']}"

    def try_again(self, scenario: str, loop: str) -> None:
        """Forget that a scenario failed on a loop, or was left out: it is going to be measured."""
        self.failures.pop((scenario, loop), None)
        self.skipped.pop((scenario, loop), None)

    def how_many_rounds(self) -> str:
        """How many rounds the rows were measured in: a number (str), or the least and the greatest."""
        counts = sorted({len(rounds) for rounds in self.rounds.values()}) or [0]
        return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"

    def scenarios(self) -> list[Scenario]:
        """Those of which something was measured, in the catalogue's order."""
        measured = {name for name, _ in self.rounds}
        return [scenario for scenario in SCENARIOS if scenario.name in measured]

    def columns(self) -> list[str]:
        """The loops (names, str) and, if it was measured, the floor."""
        floor = [FLOOR] if any(loop == FLOOR for _, loop in self.rounds) else []
        return [*self.loops, *floor]

    def median(self, scenario: str, loop: str, metric: str) -> float | None:
        """The median (float) over the rounds of one of the values, None if there is none."""
        rounds = self.rounds.get((scenario, loop), {})
        numbers = comparable(metric, rounds, positive=False)
        values = [rounds[number][metric] for number in numbers]
        return median(values) if values else None

    def compare(
        self, scenario: Scenario, loop: str, base: str, metric: str | None = None
    ) -> Ratio | None:
        """How many times better than *base* (a loop's name, str): above 1 is better.

        :param metric: the name (str) of a value that is better when it is lower, if another one
            than the scenario's own is to be compared.
        """
        name = metric or scenario.metric
        mine = self.rounds.get((scenario.name, loop), {})
        other = self.rounds.get((scenario.name, base), {})
        both = comparable(name, mine, other)
        if not both:
            return None
        return ratio(
            [mine[number][name] for number in both],
            [other[number][name] for number in both],
            higher_is_better=metric is None and scenario.higher_is_better,
        )

    def target(self, scenario: Scenario, loop: str) -> float | None:
        """The ratio (float) that is wanted of that *loop* (str), if one is."""
        return scenario.target if (loop, self.base) == ("hotloop", TARGET_BASE) else None

    def as_json(self) -> str:
        """Everything, as JSON text; `from_json` reads it."""
        rows = []
        for scenario in self.scenarios():
            for loop in self.columns():
                rounds = self.rounds.get((scenario.name, loop))
                if rounds is None:
                    continue
                found = self.compare(scenario, loop, self.base)
                cpu = self.compare(scenario, loop, self.base, "cpu_us")
                rows.append(
                    {
                        "scenario": scenario.name,
                        "loop": loop,
                        "metric": scenario.metric,
                        "target": self.target(scenario, loop),
                        "ratio": asdict(found) if found else None,
                        "cpu_ratio": asdict(cpu) if cpu else None,
                        "rounds": {str(number): values for number, values in rounds.items()},
                    }
                )
        document = {
            "format": FORMAT,
            **self.about,
            "loops": self.loops,
            "base": self.base,
            "results": rows,
            "failures": _listed(self.failures),
            "skipped": _listed(self.skipped),
        }
        return json.dumps(document, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Results:
        """What `as_json` wrote; rows of scenarios that are no more are left out.

        :raises UnusableResults: if it is something else.
        """
        document = json.loads(text)
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            raise UnusableResults("not results of this version's benchmarks")
        results = cls({}, document.pop("base"), document.pop("loops"))
        for row in document.pop("results"):
            if row["scenario"] in BY_NAME:
                key = (row["scenario"], row["loop"])
                results.rounds[key] = {int(at): each for at, each in row["rounds"].items()}
        for name, kept in (("failures", results.failures), ("skipped", results.skipped)):
            kept.update(
                {(one["scenario"], one["loop"]): one["reason"] for one in document.pop(name)}
            )
        results.about = document
        return results


def comparable(metric: str, *measured: dict[int, Values], positive: bool = True) -> list[int]:
    """The rounds (their numbers, int) in which all the *measured* have a value.

    Where there are rounds in which none was disturbed, these only.

    :param positive: whether it has to be above 0, to divide by it.
    """
    both = [
        number
        for number in measured[0]
        if all(metric in one.get(number, {}) for one in measured)
        and not (positive and any(one[number][metric] <= 0 for one in measured))
    ]
    calm = [
        number
        for number in both
        if all(one[number].get(STOLEN, 0) <= MOST_STOLEN for one in measured)
    ]
    return calm or both


def _listed(reasons: dict[tuple[str, str], str]) -> list[dict[str, str]]:
    return [
        {"scenario": scenario, "loop": loop, "reason": reason}
        for (scenario, loop), reason in reasons.items()
    ]


def unit(scenario: Scenario) -> str:
    """What the scenario's value is counted in (str)."""
    units = {PER_SECOND: "op/s", MILLISECONDS: "ms", CPU_MICROSECONDS: "µs of CPU"}
    return units.get(scenario.metric, "bytes")
