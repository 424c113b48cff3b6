"""Runs a suite's tests once, in one process with a time limit, and reads how each of them ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from foreign_suite import BUILD, HERE, ROOT, VERSION, Suite
from processes import ClassRun, Outcome

#: Seconds between two lines that say how far a suite is.
PROGRESS = 20.0

#: Seconds that one test may take.
TEST_LIMIT = 60

# The third makes every process that a test starts compile what it imports.
_NOT_INHERITED = (
    "HOTLOOP_SUITE_LOOP",
    "PYTHONASYNCIODEBUG",
    "PYTHONDONTWRITEBYTECODE",
    "PYTEST_ADDOPTS",
)


def run(
    suite: Suite,
    arguments: list[str],
    loop: str | None,
    label: str,
    only: list[str] | None = None,
) -> ClassRun:
    """Runs pytest in the suite's directory.

    Args:
        suite: what to run.
        arguments: pytest's.
        loop: as in `switch.install`; `None` is the untouched stdlib.
        label: distinguishes the files in which the run leaves its traces.
        only: the tests to run of those that pytest finds; `None` runs all.
    """
    traces = BUILD / VERSION / "runs"
    traces.mkdir(parents=True, exist_ok=True)
    stem = traces / f"{suite.name}-{label}"
    lines, loops, log, chosen = (
        stem.with_name(f"{stem.name}.{end}") for end in ("jsonl", "loops", "log", "only")
    )
    for path in (lines, loops, chosen):
        path.unlink(missing_ok=True)
    paths = [str(HERE / "site"), str(ROOT / "python")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([*paths, str(suite.directory)] if suite.source else paths),
        "HOTLOOP_FOREIGN_OUT": str(lines),
        "HOTLOOP_FOREIGN_BIND": suite.bind,
        "HOTLOOP_SUITE_REPORT": str(loops),
        "PYTEST_TIMEOUT": str(TEST_LIMIT),  # read by pytest-timeout
        **suite.environment,
    }
    for name in _NOT_INHERITED:
        environment.pop(name, None)
    if loop is not None:
        environment["HOTLOOP_SUITE_LOOP"] = loop
    if only is not None:
        chosen.write_text("\n".join(only), encoding="utf-8")
        environment["HOTLOOP_FOREIGN_ONLY"] = str(chosen)
    plugins = ["-p", "foreign_plugin", "-p", "no:cacheprovider"]
    # Where a suite has no configuration, pytest goes up the tree for one: not up to ours.
    (BUILD / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    options = ["-q", *plugins, "--durations=15", f"--rootdir={suite.directory}"]
    command = [str(suite.python), "-P", "-m", "pytest", *options, *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            # The suite's own interpreter would load sitecustomize.py, and the loop, too early.
            [sys.executable, "-S", "-E", str(HERE / "foreign_box.py"), *command],
            cwd=suite.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status = _wait(process, suite, label, lines)
    return _read(suite.name, lines, loops, status, log)


def _wait(process: subprocess.Popen[bytes], suite: Suite, label: str, lines: Path) -> int | None:
    """The exit status, None for one that ran out of time; says every few seconds how far it is."""
    start = time.monotonic()
    status = None
    try:
        while status is None:
            left = start + suite.minutes * 60 - time.monotonic()
            if left <= 0:
                break
            try:
                status = process.wait(min(left, PROGRESS))
            except subprocess.TimeoutExpired:
                say(f"{suite.name} ({label}): {_progress(lines)}")
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # what the tests left behind
        except ProcessLookupError:
            pass
        process.wait()
    say(f"{suite.name} ({label}): {_progress(lines)}, {time.monotonic() - start:.0f} s")
    return status


def say(text: str) -> None:
    """Prints a line of progress, with the time since the program began."""
    minutes, seconds = divmod(int(time.monotonic() - _START), 60)
    sys.stderr.write(f"[{minutes:2}:{seconds:02}] {text}\n")  # one piece: threads call this
    sys.stderr.flush()


_START = time.monotonic()


def _progress(lines: Path) -> str:
    text = lines.read_text(encoding="utf-8") if lines.exists() else ""
    found = [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]
    total = sum(len(line["tests"]) for line in found if line["event"] == "collected")
    ended = [line["outcome"] for line in found if line["event"] == "end"]
    words = [f"{len(ended)} of {total} tests"]
    words += [f"{ended.count(kind)} {kind}" for kind in ("failed", "skipped") if kind in ended]
    return ", ".join(words)


def _read(name: str, lines: Path, loops: Path, status: int | None, log: Path) -> ClassRun:
    found = ClassRun(name, {})
    running = ""
    done = None
    for text in lines.read_text(encoding="utf-8").splitlines() if lines.exists() else []:
        line = json.loads(text)
        if line["event"] == "collected":
            never = Outcome("missing", "the test was never started")
            found.tests |= dict.fromkeys(line["tests"], never)
        elif line["event"] == "start":
            running = line["test"]
        elif line["event"] == "end":
            running = ""
            found.tests[line["test"]] = Outcome(line["outcome"], line["detail"])
        else:
            done, found.cpu = line["status"], line["cpu"]
    if done is None or done != status:
        end = "ran out of time" if status is None else f"ended with status {status}"
        where = f"in {running}" if running else "after the last test" if done is not None else ""
        found.fault = f"the process {end} {where}; see {log}"
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
