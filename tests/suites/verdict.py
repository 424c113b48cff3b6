"""Judges what happened on the loop under test against what happened on the stdlib loop.

The rule: a test that passes on the stdlib must pass on ours. Skipping it, not reaching it, and
dying after it are not passing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from processes import ClassRun, Outcome


@dataclass
class Verdict:
    """The judgement on one class, or (added up) on many.

    `failed` maps each failed test to the details; `excused` holds listed exceptions that failed
    as expected, `not_judged` the tests that do not pass on the stdlib here.
    """

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    excused: list[str] = field(default_factory=list)
    not_judged: list[str] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Takes over everything in `other`."""
        self.passed += other.passed
        self.failed |= other.failed
        self.excused += other.excused
        self.not_judged += other.not_judged


def judge(run: ClassRun, stdlib: dict[str, Outcome], exceptions: dict[str, str]) -> Verdict:
    """Compares one class run with the stdlib's outcomes of the same tests."""
    verdict = Verdict()
    for test, ours in run.tests.items():
        if stdlib[test].outcome != "passed":
            verdict.not_judged.append(test)
        elif ours.outcome == "passed":
            if test in exceptions:
                verdict.failed[test] = "passes, but is listed as an exception: remove the entry"
            else:
                verdict.passed.append(test)
        elif test in exceptions:
            verdict.excused.append(test)
        else:
            reasons = [f"{ours.outcome}; the stdlib loop passes here", ours.detail]
            if ours.outcome == "missing":
                reasons += [*run.outside, run.fault]
            verdict.failed[test] = "\n".join(text for text in reasons if text)
    ended = all(ours.outcome != "missing" for ours in run.tests.values())
    if run.fault and not run.fault_test and ended:
        # Every test ended, but the process did not end well: no test carries the blame.
        verdict.failed[f"{run.name} <process>"] = run.fault
    return verdict


def unknown_exceptions(
    exceptions: dict[str, str], classes: dict[str, list[str]], complete: bool
) -> dict[str, str]:
    """Exceptions that name no test of this Python, with what is wrong with each.

    Args:
        exceptions: reason for each listed test.
        classes: the tests of each class that was selected.
        complete: `True` if all classes of the suite are in `classes`; otherwise an exception is
            judged only if its class is there.
    """
    stale = {}
    for test in exceptions:
        name = test.rpartition(".")[0]
        if test not in classes.get(name, []) and (complete or name in classes):
            stale[test] = "is listed as an exception, but this Python has no such test"
    return stale
