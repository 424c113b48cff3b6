"""Runs other projects' own test suites on the loop under test: `python tests/suites/foreign.py`.

Each suite of foreign.toml is run from its source distribution, in an environment of its own, with
the loop under test in place of the stdlib's (`site/sitecustomize.py`). A test that passes on the
stdlib loop has to pass on ours: what does not pass is run on the stdlib loop. README.md has the
rules, `--help` the options.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import exceptions
import foreign_page
from foreign_page import Result
from foreign_run import run, say
from foreign_suite import BUILD, HERE, VERSION, NotRun, Suite, load, prepare
from processes import ClassRun, Outcome
from report import shorten
from verdict import judge

#: A suite with more failures than this is not run again: that is no accident.
MOST_TO_REPEAT = 60


def compare(suite: Suite, loop: str, quick: bool) -> Result:
    """Runs a suite on the loop under test, and on the stdlib loop what does not pass there.

    What passes on the stdlib loop only is run once more on both: a test that fails now and then on
    the stdlib loop as well is not held against ours, and one that passes on ours at the second try
    is named.

    Raises:
        NotRun: the suite could not be set up, or pytest finds no test.
    """
    prepare(suite)
    start = time.monotonic()
    arguments = suite.quick if quick and suite.quick else suite.arguments
    ours = run(suite, arguments, loop, "ours")
    if not ours.tests:
        raise NotRun(f"no test was found: {ours.fault}")
    seconds = time.monotonic() - start
    stdlib = {test: Outcome("passed", "not asked") for test in ours.tests}
    listed = _exceptions(suite, ours) if loop == "hotloop" else {}
    doubtful = _not_passed(ours.tests)
    if doubtful:
        stdlib |= run(suite, arguments, None, "stdlib", doubtful).tests
    again = [test for test in doubtful if stdlib[test].outcome == "passed" and test not in listed]
    second_try: list[str] = []
    if 0 < len(again) <= MOST_TO_REPEAT:
        ours.tests |= run(suite, arguments, loop, "ours-again", again).tests
        still = [test for test in again if ours.tests[test].outcome != "passed"]
        second_try = [test for test in again if test not in still]
        if still:
            stdlib |= run(suite, arguments, None, "stdlib-again", still).tests
    verdict = judge(ours, stdlib, listed)
    if not ours.created:
        verdict.failed[f"{suite.name} <loop>"] = "no loop under test was made: nothing is proved"
    return Result(
        suite=suite.name,
        version=suite.version,
        python=".".join(map(str, sys.version_info[:3])),
        quick=quick,
        left_out=suite.left_out,
        passed=len(verdict.passed),
        failed=verdict.failed,
        excused={test: listed[test] for test in verdict.excused},
        not_judged={test: stdlib[test].outcome for test in verdict.not_judged},
        second_try=second_try,
        loops=ours.created,
        seconds=seconds,
        cpu=ours.cpu,
    )


def main() -> int:
    """The command line; the result is the exit status."""
    options = _options()
    if options.page:
        foreign_page.write(options.page)
        return 0
    try:
        suites = load(options.suite, options.quick)
        suites = [replace(one, minutes=one.minutes * options.patience) for one in suites]
    except NotRun as error:
        print(error)
        return 2
    (BUILD / VERSION).mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    failed: dict[str, str] = {}

    def one(suite: Suite) -> None:
        say(f"{suite.name} {suite.version}: begins")
        try:
            result = compare(suite, options.loop, options.quick)
        except NotRun as error:
            failed[f"{suite.name} <set-up>"] = str(error)
            say(f"{suite.name} {suite.version}: NOT RUN: {error}")
            return
        results.append(result)
        if options.loop == "hotloop":
            foreign_page.save(result)
        say(f"{suite.name} {suite.version}: {result.summary()}")

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(one, suites))
    for result in results:
        failed |= {f"{result.suite}: {test}": detail for test, detail in result.failed.items()}
    passed = sum(result.passed for result in results)
    if options.junit:
        _write_junit(options.junit, passed, len(failed))
    _print(results, failed, passed, options.verbose)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Other projects' test suites on another loop.")
    parser.add_argument("--loop", default="hotloop", help="hotloop, uvloop, module:callable")
    parser.add_argument("--suite", action="append", default=[], help="e.g. anyio; repeatable")
    parser.add_argument("--quick", action="store_true", help="only the subsets that CI runs")
    parser.add_argument("--jobs", type=int, default=2, help="suites at a time (default 2)")
    parser.add_argument("--junit", type=Path, help="write the counts to this file")
    parser.add_argument("--patience", type=float, default=1, help="times the suites' limits")
    parser.add_argument("--page", type=Path, help="only put what was found into this page's table")
    parser.add_argument("-v", "--verbose", action="store_true")
    return parser.parse_args()


def _not_passed(tests: dict[str, Outcome]) -> list[str]:
    return [test for test, outcome in tests.items() if outcome.outcome != "passed"]


def _exceptions(suite: Suite, run: ClassRun) -> dict[str, str]:
    path = HERE / f"{suite.name}_exceptions.toml"
    if not path.exists():
        return {}
    listed = exceptions.load(path)
    return {test: reason for test, reason in listed.items() if test in run.tests}


def _print(results: list[Result], failed: dict[str, str], passed: int, verbose: bool) -> None:
    for test, detail in failed.items():
        print(f"FAILED {test}\n{shorten(detail, 400 if verbose else 14)}\n")
    for result in results:
        for test, reason in result.excused.items():
            print(f"{result.suite}: listed exception: {test}: {reason.strip()}")
        for test in result.second_try:
            print(f"{result.suite}: passed at the second try: {test}")
        if verbose:
            for test, outcome in result.not_judged.items():
                print(f"{result.suite}: not judged, {outcome} on the stdlib loop: {test}")
    for result in results:
        print(f"{result.suite} {result.version}: {result.summary()}")
    print(f"{passed} passed, {len(failed)} failed")


def _write_junit(path: Path, passed: int, failed: int) -> None:
    counts = {
        "name": "foreign suites",
        "tests": str(passed + failed),
        "failures": str(failed),
        "errors": "0",
        "skipped": "0",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(ET.Element("testsuite", counts)).write(path)


if __name__ == "__main__":
    sys.exit(main())
