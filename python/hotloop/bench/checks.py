"""What is wanted beyond the ratios to uvloop: no loop ahead, the floor, flat costs, latencies."""

from __future__ import annotations

from dataclasses import dataclass

from .catalogue import BY_NAME, PER_SECOND, Served, Startup
from .measurements import FLOOR
from .ratios import Ratio, spread
from .results import Results, comparable

LOOP = "hotloop"
# What is within this factor is not told apart: the noise of a quiet machine.
NOISE = 1.05
LATENCY_NOISE = 1.1
# How many times faster the rows are to be with our tasks than with asyncio's, both on our loop.
OWN_TASKS = {"sleep0": 1.25, "task": 1.3, "gather": 1.15, "queue": 1.2}


@dataclass(frozen=True)
class Check:
    """One statement about the results.

    :ivar text: what is compared (str).
    :ivar values: the value over the rounds.
    :ivar limit: what its median may be at most (float).
    """

    text: str
    values: Ratio
    limit: float

    @property
    def found(self) -> float:
        """The median over the rounds (float)."""
        return self.values.median

    @property
    def met(self) -> bool:
        """Whether the median is within its limit."""
        return self.found <= self.limit

    @property
    def doubtful(self) -> bool:
        """Whether some rounds were within the limit and some beyond it."""
        return self.values.least <= self.limit < self.values.greatest


def checks(results: Results) -> list[Check]:
    """The checks for which everything was measured."""
    found = [
        _to_floor(results, "echo", 1.12),
        _to_floor(results, "echo_100k", 1.05),
        _to_floor(results, "udp", 1.0),
        _within(
            results,
            "cost of a timer, 200 k others to 10 k",
            ("timers_10k", "timers_200k"),
            "per_second",
            1.3,
        ),
        _within(
            results,
            "CPU per message, 10 000 connections (10 active) to 10",
            ("echo_idle", "echo"),
            "cpu_us",
            1.15,
        ),
    ]
    found += [_own_tasks(results, name, least) for name, least in OWN_TASKS.items()]
    found += _ahead(results)
    for scenario in results.scenarios():
        if isinstance(scenario, Served):
            found.append(_latency(results, scenario))
    return [check for check in found if check is not None]


def _to_floor(results: Results, name: str, limit: float) -> Check | None:
    """CPU per operation of ours to that of the bare server."""
    scenario = BY_NAME[name]
    compared = results.compare(scenario, FLOOR, LOOP, "cpu_us")
    if compared is None:
        return None
    return Check(f"CPU per operation to the floor's: {scenario.title}", compared, limit)


def _ahead(results: Results) -> list[Check]:
    """Every row on which another loop is ahead of ours; if there is none, how near one comes.

    The start of asyncio's own loop does not count: asyncio is there before the clock starts.
    """
    rows = []
    for scenario in results.scenarios():
        not_compared = (LOOP, "asyncio") if isinstance(scenario, Startup) else (LOOP,)
        for loop in results.loops:
            compared = results.compare(scenario, loop, LOOP)
            if loop not in not_compared and compared is not None:
                rows.append(Check(f"{loop} to {LOOP}: {scenario.title}", compared, NOISE))
    behind = [check for check in rows if not check.met]
    return behind or sorted(rows, key=lambda check: -check.found)[:1]


def _within(
    results: Results, text: str, names: tuple[str, str], metric: str, limit: float
) -> Check | None:
    """The first scenario's value divided by the second's, round by round."""
    one, other = (results.rounds.get((name, LOOP), {}) for name in names)
    values = [
        one[number][metric] / other[number][metric] for number in comparable(metric, one, other)
    ]
    return Check(text, spread(values), limit) if values else None


def _own_tasks(results: Results, name: str, least: float) -> Check | None:
    """The time that an operation takes with our tasks to what it takes with asyncio's."""
    text = f"time with hotloop's tasks to that with asyncio's: {BY_NAME[name].title}"
    return _within(results, text, (name, f"own_{name}"), PER_SECOND, 1 / least)


def _latency(results: Results, scenario: Served) -> Check | None:
    """The 99th percentile of ours to uvloop's."""
    compared = results.compare(scenario, "uvloop", LOOP, "p99_us")
    if compared is None:
        return None
    return Check(f"p99 to uvloop's: {scenario.title}", compared, LATENCY_NOISE)
