"""Runs other projects' own test suites on the loop under test: `python tests/suites/foreign.py`.

Each suite of foreign.toml is run from its source distribution, in an environment of its own, once
on the stdlib loop and once with the loop under test in its place (`site/sitecustomize.py`). A test
that passes on the stdlib loop has to pass on ours. README.md has the rules, `--help` the options.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
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


def compare(suite: Suite, loop: str, quick: bool, refresh: bool = False) -> Result:
    """Runs a suite on both loops and judges it. What fails is run once more, on both.

    A quick run asks the stdlib loop only about the tests that did not pass on ours.

    Raises:
        NotRun: the suite could not be set up, or its tests do not run on the stdlib loop.
    """
    prepare(suite)
    start = time.monotonic()
    arguments = suite.quick if quick and suite.quick else suite.arguments
    stdlib = {} if quick else _on_stdlib(suite, arguments, refresh)
    between = time.monotonic()
    ours = run(suite, arguments, loop, "ours")
    seconds = {"stdlib": between - start, "ours": time.monotonic() - between}
    if quick:
        doubtful = [test for test, outcome in ours.tests.items() if outcome.outcome != "passed"]
        stdlib = {test: Outcome("passed", "not asked") for test in ours.tests}
        if doubtful:
            stdlib |= run(suite, arguments, None, "stdlib-some", doubtful).tests
        if not stdlib:
            raise NotRun(f"no test was found: {ours.fault}")
    for test in stdlib:
        ours.tests.setdefault(test, Outcome("missing", ours.fault))
    ours.tests = {test: outcome for test, outcome in ours.tests.items() if test in stdlib}
    again = [
        test
        for test, outcome in ours.tests.items()
        if outcome.outcome != "passed" and stdlib[test].outcome == "passed"
    ]
    listed = _exceptions(suite, ours) if loop == "hotloop" else {}
    again = [test for test in again if test not in listed]
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
        not_judged=verdict.not_judged,
        second_try=second_try,
        loops=ours.created,
        seconds=seconds,
    )


def main() -> int:
    """The command line; the result is the exit status."""
    options = _options()
    if options.page:
        foreign_page.write(options.page)
        return 0
    try:
        suites = load(options.suite, options.quick)
    except NotRun as error:
        print(error)
        return 2
    (BUILD / VERSION).mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    failed: dict[str, str] = {}

    def one(suite: Suite) -> None:
        say(f"{suite.name} {suite.version}: begins")
        try:
            result = compare(suite, options.loop, options.quick, options.refresh)
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
    parser.add_argument("--refresh", action="store_true", help="run the stdlib's side again")
    parser.add_argument("--page", type=Path, help="only put what was found into this page's table")
    parser.add_argument("-v", "--verbose", action="store_true")
    return parser.parse_args()


def _on_stdlib(suite: Suite, arguments: list[str], refresh: bool) -> dict[str, Outcome]:
    """How the tests end on the stdlib loop; remembered until the suite or its entry changes."""
    plain = json.dumps([asdict(suite), arguments, sys.version], sort_keys=True)
    digest = hashlib.sha256(plain.encode()).hexdigest()[:12]
    known = BUILD / VERSION / f"{suite.name}-stdlib-{digest}.json"
    if known.exists() and not refresh:
        tests = json.loads(known.read_text(encoding="utf-8"))
        return {test: Outcome(**outcome) for test, outcome in tests.items()}
    found = run(suite, arguments, None, "stdlib")
    if found.fault:
        raise NotRun(f"on the stdlib loop {found.fault}")
    if not any(outcome.outcome == "passed" for outcome in found.tests.values()):
        raise NotRun("no test passes on the stdlib loop")
    tests = {test: asdict(outcome) for test, outcome in found.tests.items()}
    known.write_text(json.dumps(tests), encoding="utf-8")
    return found.tests


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
            for test in result.not_judged:
                print(f"{result.suite}: not judged, does not pass on the stdlib here: {test}")
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
