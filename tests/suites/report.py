"""Prints what a suite found: the failures, their causes, and the line with the numbers."""

from __future__ import annotations

from collections import Counter

from processes import ClassRun
from verdict import Verdict


def print_report(
    total: Verdict, runs: list[ClassRun], listed: dict[str, str], verbose: bool
) -> None:
    """Prints to standard output; the last line is `N passed, M failed` and nothing else.

    Args:
        total: the judgement on all classes together.
        runs: what happened in each class.
        listed: the reason for each exception.
        verbose: `True` adds whole tracebacks and what was excused, not judged or not bound.
    """
    for test, detail in total.failed.items():
        print(f"FAILED {test}\n{shorten(detail, 400 if verbose else 14)}\n")
    if verbose:
        for run in runs:
            if not run.created:
                print(f"made no loop under test: {run.name}")
        for test in total.excused:
            print(f"exception: {test}: {listed[test]}")
        for test in total.not_judged:
            print(f"not judged, does not pass on the stdlib here: {test}")
    if len(total.failed) > 1:
        print("causes:")
        for cause, count in Counter(map(cause_of, total.failed.values())).most_common(40):
            print(f"  {count:4} x {cause}")
    using = sum(outcome.loops > 0 for run in runs for outcome in run.tests.values())
    tests = sum(len(run.tests) for run in runs)
    types = ", ".join(sorted({run.loop_type for run in runs if run.loop_type})) or "none"
    made = sum(run.created for run in runs)
    print(f"loop under test: {types}; made {made} times, in {using} of {tests} tests")
    print(f"{len(total.excused)} listed exceptions, {len(total.not_judged)} not judged")
    print(f"{len(total.passed)} passed, {len(total.failed)} failed")


def cause_of(detail: str) -> str:
    """The line of a failure's details that tells most, for counting failures by their cause."""
    lines = [line for line in detail.splitlines() if line.strip()]
    for line in lines[:2]:
        if line.startswith("the process "):
            return line
    if lines[0].startswith("missing"):
        return "never reached, because the process ended or the class could not be set up"
    # The first error matters: later ones often come from cleaning up after it. An error's own
    # line is the first one after a traceback that is not indented.
    in_traceback = False
    for line in lines:
        if line.startswith("Traceback "):
            in_traceback = True
        elif in_traceback and not line.startswith((" ", "\t", "|")):
            return line[:140]
    return lines[-1].strip()[:140]


def shorten(text: str, lines: int) -> str:
    """`text`, indented, with the middle left out if it has more than `lines` lines."""
    parts = text.rstrip().splitlines()
    if len(parts) > lines:
        # The first line says what kind of failure it is, the last ones what went wrong.
        parts = [parts[0], "...", *parts[-(lines - 2) :]]
    return "\n".join("    " + part for part in parts)
