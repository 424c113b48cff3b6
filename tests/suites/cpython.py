"""Runs CPython's own `test.test_asyncio` on the loop under test: `python tests/suites/cpython.py`.

README.md has the rules, `--help` the options. Each test class runs in a process of its own, once
on the stdlib loop (remembered, see `baseline.py`) and once on ours.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

import exceptions
import report
from baseline import Baseline
from processes import JOBS, ClassRun, Limits, NoLoop, check_loop, list_classes, run_class
from verdict import Verdict, judge, unknown_exceptions

EXCEPTIONS = Path(__file__).with_name("cpython_exceptions.toml")


class NoSuite(Exception):
    """This Python has no `test.test_asyncio` to run."""


@dataclass
class Selection:
    """The tests of each class to run, what could not be listed, and whether that is the suite."""

    classes: dict[str, list[str]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    complete: bool = True


@dataclass
class Result:
    """One class: what happened on the loop under test, and the judgement."""

    run: ClassRun
    verdict: Verdict


def select(modules: list[str], classes: list[str], tests: list[str]) -> Selection:
    """Lists what to run. Empty lists select everything.

    Args:
        modules: names such as `test_events`.
        classes: `HandleTests` or `test_events.HandleTests`.
        tests: `test_name`, `Class.test_name` or `module.Class.test_name`.

    Raises:
        NoSuite: the package is not installed.
    """
    selection = Selection(complete=not (modules or classes or tests))
    for line in list_classes(modules):
        if line["event"] == "no-package":
            raise NoSuite(line["detail"])
        if line["event"] == "no-module":
            selection.problems[line["module"]] = line["detail"]
        elif line["event"] == "skipped-module":
            selection.skipped[line["module"]] = line["detail"]
        elif not classes or _named(line["name"], classes):
            chosen = [test for test in line["tests"] if not tests or _named(test, tests)]
            if chosen:
                selection.classes[line["name"]] = chosen
    return selection


def run(
    selection: Selection,
    loop: str,
    baseline: Baseline,
    listed: dict[str, str],
    limits: Limits,
    jobs: int = JOBS,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Result]:
    """Runs and judges the selected classes, `jobs` processes at a time.

    Args:
        selection: what to run.
        loop: the loop under test, as in `switch.install`.
        baseline: the stdlib's outcomes.
        listed: the reason for each exception; empty for another loop than hotloop.
        limits: the time for one test, in seconds, and what to do after it.
        jobs: processes at a time.
        progress: called with one line for each class that is done.

    Raises:
        NoLoop: the loop under test cannot be made.
    """
    progress(f"loop under test: {check_loop(loop)}")

    def one(name: str) -> Result:
        tests = selection.classes[name]
        stdlib = baseline.outcomes(name, tests, limits)
        class_run = run_class(name, tests, loop, limits)
        return Result(class_run, judge(class_run, stdlib, listed))

    results: dict[str, Result] = {}
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(one, name): name for name in selection.classes}
        try:
            for future in as_completed(futures):
                name = futures[future]
                results[name] = future.result()
                verdict = results[name].verdict
                counts = f"{len(verdict.passed)} passed, {len(verdict.failed)} failed"
                progress(f"[{len(results)}/{len(futures)}] {name}: {counts}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {name: results[name] for name in selection.classes}


def main() -> int:
    """The command line; the result is the exit status."""
    options = _options()
    try:
        selection = select(options.module, options.classes, options.test)
    except NoSuite as error:
        print(f"NOT RUN: this Python has no usable test.test_asyncio ({error}).")
        print("Install it (Debian: the package libpython3-testsuite), or pass --allow-missing.")
        return 0 if options.allow_missing else 2
    if options.list:
        for name, tests in selection.classes.items():
            print(f"{name} ({len(tests)})")
        return 0
    if not selection.classes and not selection.problems:
        print("NOT RUN: nothing is selected by these options.")
        return 2
    listed = exceptions.load(options.exceptions) if options.loop == "hotloop" else {}
    try:
        results = run(
            selection,
            options.loop,
            Baseline(refresh=options.refresh),
            listed,
            Limits(options.timeout, options.keep_going),
            options.jobs,
            lambda line: print(line, file=sys.stderr, flush=True),
        )
    except NoLoop as error:
        print(f"NOT RUN: {error}")
        return 2
    total = Verdict()
    for result in results.values():
        total.add(result.verdict)
    for module, problem in selection.problems.items():
        total.failed[module] = problem
    total.failed |= unknown_exceptions(listed, selection.classes, selection.complete)
    if options.json:
        plain = {name: asdict(result) for name, result in results.items()}
        options.json.write_text(json.dumps(plain, indent=1), encoding="utf-8")
    for module, reason in selection.skipped.items():
        print(f"module skipped: {module}: {reason}")
    report.print_report(total, [result.run for result in results.values()], listed, options.verbose)
    return 1 if total.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPython's test.test_asyncio on another loop.")
    parser.add_argument(
        "--loop", default="hotloop", help="hotloop, uvloop, asyncio, module:callable"
    )
    parser.add_argument(
        "--module", action="append", default=[], help="e.g. test_events; repeatable"
    )
    parser.add_argument(
        "--class", dest="classes", action="append", default=[], help="e.g. HandleTests; repeatable"
    )
    parser.add_argument("--test", action="append", default=[], help="a test's name; repeatable")
    parser.add_argument("--list", action="store_true", help="list the classes, run nothing")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"processes at a time ({JOBS})")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one test")
    parser.add_argument(
        "--keep-going", action="store_true", help="run the rest of a class after a hang or a crash"
    )
    parser.add_argument("--json", type=Path, help="write every outcome to this file")
    parser.add_argument("--refresh", action="store_true", help="run the stdlib's side again")
    parser.add_argument("--exceptions", type=Path, default=EXCEPTIONS, help="another list")
    parser.add_argument(
        "--allow-missing", action="store_true", help="status 0 if this Python has no test suite"
    )
    parser.add_argument("-v", "--verbose", action="store_true")
    return parser.parse_args()


def _named(full: str, wanted: list[str]) -> bool:
    return any(full == name or full.endswith("." + name) for name in wanted)


if __name__ == "__main__":
    sys.exit(main())
