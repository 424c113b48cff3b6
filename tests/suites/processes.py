"""Runs one test class in one child process and gathers what it reported, whatever happens to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("cpython_child.py")

#: Seconds that a child gets on top of the limit of its last test, to print its stacks and end.
GRACE = 15.0

#: Processes at a time. The tests wait as long as they compute: so many keep two processors busy.
JOBS = 4

#: How `faulthandler.dump_traceback_later` begins what it prints.
HANG_MARK = "Timeout ("


@dataclass
class Outcome:
    """How one test ended: `outcome` is `passed`, `failed`, `skipped` or `missing`."""

    outcome: str
    detail: str = ""
    loops: int = 0


@dataclass
class ClassRun:
    """One test class, run once.

    `fault` says what became of the process if it did not end well, `fault_test` in which test;
    `outside` holds failures of `setUpClass` and its like; `created` counts loops under test; `cpu`
    is the processor time used, in seconds, where it is known.
    """

    name: str
    tests: dict[str, Outcome]
    loop_type: str = ""
    created: int = 0
    cpu: float = 0
    fault: str = ""
    fault_test: str = ""
    outside: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Limits:
    """Seconds for one test, and whether to go on in a new process after a hang or a crash."""

    timeout: float = 120.0
    keep_going: bool = False


def list_classes(modules: list[str]) -> list[dict[str, Any]]:
    """The child's `list` lines (see `cpython_child.list_classes`) for these modules or all."""
    lines, output, code, _ = _child(["list", *modules], quiet_limit=120.0)
    if code != 0:
        raise RuntimeError(f"listing the test classes failed (exit status {code}):\n{output}")
    return lines


class NoLoop(Exception):
    """The loop under test cannot be made in this environment; the text says why."""


def check_loop(loop: str) -> str:
    """The name of the type that `loop` stands for.

    Raises:
        NoLoop: its package cannot be imported, or it cannot make a loop.
    """
    lines, output, _, _ = _child(["check", "--loop", loop], quiet_limit=60.0)
    if not lines:
        raise NoLoop(f"cannot make the loop {loop!r} with {sys.executable}:\n{_tail(output, 20)}")
    return str(lines[0]["loop_type"])


def run_class(name: str, tests: list[str], loop: str | None, limits: Limits) -> ClassRun:
    """Runs the tests named of class `name` on `loop` (`None`: the stdlib untouched)."""
    run = ClassRun(name, {test: Outcome("missing", "the test was never started") for test in tests})
    left = list(tests)
    while left:
        reached = _run_once(run, left, loop, limits)
        left = [test for test in left if test not in reached]
        if not (limits.keep_going and run.fault and reached):
            break
    return run


def _run_once(run: ClassRun, tests: list[str], loop: str | None, limits: Limits) -> set[str]:
    # Adds to `run` what one process reports; the result is the tests that it began.
    arguments = ["run", "--class", run.name, "--timeout", str(limits.timeout)]
    arguments += ["--loop", loop] if loop else []
    arguments += [word for test in tests for word in ("--test", test)]
    lines, output, code, late = _child(arguments, limits.timeout + GRACE)
    reached = set()
    running = ""
    done = False
    for line in lines:
        event = line.pop("event")
        if event == "start":
            running = line["test"]
            reached.add(running)
        elif event == "end":
            running = ""
            test = line.pop("test")
            run.tests[test] = Outcome(**line)
            run.created += line["loops"]
        elif event == "outside":
            run.outside.append(f"{line['test']} {line['outcome']}: {line['detail']}")
        elif event == "done":
            done = True
            run.loop_type = line["loop_type"]
    run.fault, run.fault_test = "", running
    if not done or code != 0:
        how = "hung" if HANG_MARK in output else "stopped after its limit" if late else "died"
        where = f"in {running}" if running else "after the last test" if done else "between tests"
        run.fault = f"the process {how} {where} ({_status(code)})\n{_tail(output, 60)}"
        if running:
            run.tests[running] = Outcome("failed", run.fault)
    return reached


def _child(arguments: list[str], quiet_limit: float) -> tuple[list[dict[str, Any]], str, int, bool]:
    # Returns the child's JSON lines, what it printed, its exit status, and whether it was killed
    # because it reported nothing for `quiet_limit` seconds.
    with tempfile.TemporaryDirectory(prefix="suite-") as directory:
        report, printed = Path(directory, "report"), Path(directory, "printed")
        scratch = Path(directory, "scratch")
        scratch.mkdir()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHONASYNCIO")}
        command = [sys.executable, "-X", "faulthandler", str(CHILD), *arguments]
        with printed.open("wb") as output:
            child = subprocess.Popen(
                [*command, "--out", str(report)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=scratch,
                env=environment | {"TMPDIR": str(scratch)},
                start_new_session=True,
            )
        try:
            late = not _wait(child, report, quiet_limit)
        finally:
            # Also what the tests left running in the child's process group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        text = report.read_text(encoding="utf-8") if report.exists() else ""
        # The last line is cut off if the process died while writing it.
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]
        output_text = printed.read_text(encoding="utf-8", errors="replace")
        return lines, output_text, child.returncode, late


def _wait(child: subprocess.Popen[bytes], report: Path, quiet_limit: float) -> bool:
    # True when the child ended; False when it reported nothing for `quiet_limit` seconds. The
    # child stops itself before that (`cpython_child.arm`): this is for one that no longer can.
    size = -1
    while True:
        try:
            child.wait(quiet_limit)
            return True
        except subprocess.TimeoutExpired:
            now = report.stat().st_size if report.exists() else 0
            if now == size:
                return False
            size = now


def _status(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _tail(text: str, lines: int) -> str:
    return "\n".join(text.splitlines()[-lines:])
