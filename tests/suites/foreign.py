"""Runs other projects' own test suites on the loop under test: `python tests/suites/foreign.py`.

Each suite of foreign.toml is run from its source distribution, in an environment of its own, once
on the stdlib loop and once with the loop under test in its place (`site/sitecustomize.py`). A test
that passes on the stdlib loop has to pass on ours. README.md has the rules, `--help` the options.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import exceptions
import report
from processes import ClassRun, Outcome
from verdict import Verdict, judge

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "foreign"
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


@dataclass(frozen=True)
class Suite:
    """One entry of foreign.toml, which says what the fields mean."""

    name: str
    version: str
    arguments: list[str]
    requirements: list[str]
    quick: list[str] | None = None
    bind: str = ""
    source: bool = False
    minutes: float = 10

    @property
    def directory(self) -> Path:
        return BUILD / VERSION / f"{self.name}-{self.version}"

    @property
    def python(self) -> Path:
        return BUILD / VERSION / f"venv-{self.name}" / "bin" / "python"


class NotRun(Exception):
    """A suite that cannot be set up here; the text says why."""


def prepare(suite: Suite) -> None:
    """Fetches the suite's source and makes its environment, once.

    Raises:
        NotRun: the package index does not answer, or something cannot be built here.
    """
    ready = suite.python.parent.parent / f".ready-{suite.version}"
    if ready.exists() and suite.directory.exists():
        return
    shutil.rmtree(suite.python.parent.parent, ignore_errors=True)
    shutil.rmtree(suite.directory, ignore_errors=True)
    sdists = BUILD / "sdists"
    sdists.mkdir(parents=True, exist_ok=True)
    project = f"{suite.name}=={suite.version}"
    if not (sdists / f"{suite.name}-{suite.version}.tar.gz").exists():
        _set_up(
            [
                *(sys.executable, "-m", "pip", "download", "-q", "--no-deps"),
                *("-d", str(sdists), "--no-binary", suite.name, project),
            ]
        )
    with tarfile.open(sdists / f"{suite.name}-{suite.version}.tar.gz") as archive:
        archive.extractall(suite.directory.parent, filter="data")
    if not suite.source:
        # The wheel's compiled package is what programs import; this one would hide it.
        shutil.rmtree(suite.directory / suite.name, ignore_errors=True)
    maker = ROOT / "tools" / "make_venv.py"
    _set_up([sys.executable, str(maker), str(suite.python.parent.parent)])
    wanted = ["pytest", *suite.requirements] + ([] if suite.source else [project])
    _set_up([str(suite.python), "-m", "pip", "install", "-q", *wanted])
    ready.touch()


def run(suite: Suite, arguments: list[str], loop: str | None, label: str) -> ClassRun:
    """Runs pytest in the suite's directory; `loop` is `None` for the untouched stdlib.

    Args:
        suite: what to run.
        arguments: pytest's.
        loop: as in `switch.install`.
        label: distinguishes the files in which the run leaves its traces.
    """
    traces = BUILD / VERSION / "runs"
    traces.mkdir(exist_ok=True)
    stem = traces / f"{suite.name}-{label}"
    lines, loops, log = (stem.with_suffix(end) for end in (".jsonl", ".loops", ".log"))
    for path in (lines, loops):
        path.unlink(missing_ok=True)
    paths = [str(HERE / "site"), str(ROOT / "python")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([*paths, str(suite.directory)] if suite.source else paths),
        "HOTLOOP_FOREIGN_OUT": str(lines),
        "HOTLOOP_FOREIGN_BIND": suite.bind,
        "HOTLOOP_SUITE_REPORT": str(loops),
    }
    environment.pop("HOTLOOP_SUITE_LOOP", None)
    if loop is not None:
        environment["HOTLOOP_SUITE_LOOP"] = loop
    options = [
        "-q",
        "-p",
        "foreign_plugin",
        "-p",
        "no:cacheprovider",
        "--timeout=60",
        "--durations=15",
    ]
    command = [str(suite.python), "-P", "-m", "pytest", *options, *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=suite.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(suite.minutes * 60)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # what the tests left behind
            except ProcessLookupError:
                pass
            process.wait()
    return _read(suite.name, lines, loops, status, log)


def compare(
    suite: Suite, loop: str, quick: bool, refresh: bool = False
) -> tuple[ClassRun, Verdict]:
    """Runs a suite on both loops and judges it. What fails is run once more, on both.

    Raises:
        NotRun: the suite could not be set up, or its tests do not run on the stdlib loop.
    """
    prepare(suite)
    arguments = suite.quick if quick and suite.quick else suite.arguments
    known = suite.directory.parent / f"{suite.name}-{'quick' if quick else 'all'}-stdlib.json"
    if known.exists() and not refresh:
        tests = json.loads(known.read_text(encoding="utf-8"))
        stdlib = {test: Outcome(**outcome) for test, outcome in tests.items()}
    else:
        stdlib = run(suite, arguments, None, "stdlib").tests
        if not any(outcome.outcome == "passed" for outcome in stdlib.values()):
            log = BUILD / VERSION / "runs" / f"{suite.name}-stdlib.log"
            raise NotRun(f"no test passes on the stdlib loop; see {log}")
        plain = {test: asdict(outcome) for test, outcome in stdlib.items()}
        known.write_text(json.dumps(plain), encoding="utf-8")
    ours = run(suite, arguments, loop, "ours")
    for test in stdlib:
        ours.tests.setdefault(test, Outcome("missing", ours.fault))
    ours.tests = {test: outcome for test, outcome in ours.tests.items() if test in stdlib}
    again = [
        test
        for test, outcome in ours.tests.items()
        if outcome.outcome != "passed" and stdlib[test].outcome == "passed"
    ]
    if 0 < len(again) <= 60:
        ours.tests |= run(suite, again, loop, "ours-again").tests
        still = [test for test in again if ours.tests[test].outcome != "passed"]
        if still:
            stdlib |= run(suite, still, None, "stdlib-again").tests
    listed = _exceptions(suite, ours) if loop == "hotloop" else {}
    verdict = judge(ours, stdlib, listed)
    if not ours.created:
        verdict.failed[f"{suite.name} <loop>"] = "no loop under test was made: nothing is proved"
    return ours, verdict


def main() -> int:
    """The command line; the result is the exit status."""
    options = _options()
    suites = [
        Suite(**entry) for entry in tomllib.loads((HERE / "foreign.toml").read_text())["suite"]
    ]
    if options.suite:
        suites = [suite for suite in suites if suite.name in options.suite]
    (BUILD / VERSION).mkdir(parents=True, exist_ok=True)
    total = Verdict()
    runs: list[ClassRun] = []

    def one(suite: Suite) -> str:
        try:
            found, verdict = compare(suite, options.loop, options.quick, options.refresh)
        except NotRun as error:
            total.failed[f"{suite.name} <set-up>"] = str(error)
            return f"{suite.name} {suite.version}: NOT RUN: {error}"
        runs.append(found)
        total.add(verdict)
        return (
            f"{suite.name} {suite.version}: {len(verdict.passed)} passed, "
            f"{len(verdict.failed)} failed, {len(verdict.excused)} listed exceptions, "
            f"{len(verdict.not_judged)} not judged"
        )

    with ThreadPoolExecutor(options.jobs) as pool:
        for line in pool.map(one, suites):
            print(line, file=sys.stderr, flush=True)
    if options.junit:
        _write_junit(options.junit, total)
    listed = dict.fromkeys(total.excused, "see the suite's list")
    report.print_report(total, runs, listed, options.verbose)
    return 1 if total.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Other projects' test suites on another loop.")
    parser.add_argument("--loop", default="hotloop", help="hotloop, uvloop, module:callable")
    parser.add_argument("--suite", action="append", default=[], help="e.g. anyio; repeatable")
    parser.add_argument("--quick", action="store_true", help="the subsets that CI runs")
    parser.add_argument("--jobs", type=int, default=2, help="suites at a time (default 2)")
    parser.add_argument("--junit", type=Path, help="write the counts to this file")
    parser.add_argument("--refresh", action="store_true", help="run the stdlib's side again")
    parser.add_argument("-v", "--verbose", action="store_true")
    return parser.parse_args()


def _read(name: str, lines: Path, loops: Path, status: int | None, log: Path) -> ClassRun:
    found = ClassRun(name, {})
    running = ""
    done = False
    for text in lines.read_text(encoding="utf-8").splitlines() if lines.exists() else []:
        line = json.loads(text)
        if line["event"] == "start":
            running = line["test"]
        elif line["event"] == "end":
            running = ""
            found.tests[line["test"]] = Outcome(line["outcome"], line["detail"])
        else:
            done = True
    if not done:
        end = "ran out of time" if status is None else f"ended with status {status}"
        found.fault = f"the process {end} in {running or 'no test'}; see {log}"
        found.fault_test = running
        if running:
            found.tests[running] = Outcome("missing", found.fault)
    if loops.exists():
        for text in loops.read_text(encoding="utf-8").splitlines():
            _, found.loop_type, count = text.split()
            found.created += int(count)
    elif found.tests:
        found.created = -1  # the process had no end of its own to write the number
    return found


def _exceptions(suite: Suite, run: ClassRun) -> dict[str, str]:
    path = HERE / f"{suite.name}_exceptions.toml"
    if not path.exists():
        return {}
    listed = exceptions.load(path)
    return {test: reason for test, reason in listed.items() if test in run.tests}


def _set_up(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotRun(f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-1500:]}")


def _write_junit(path: Path, total: Verdict) -> None:
    counts = {
        "name": "foreign suites",
        "tests": str(len(total.passed) + len(total.failed)),
        "failures": str(len(total.failed)),
        "errors": "0",
        "skipped": "0",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(ET.Element("testsuite", counts)).write(path)


if __name__ == "__main__":
    sys.exit(main())
