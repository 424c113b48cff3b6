"""Tests of the harness: it must see hangs, crashes, skips and stale exceptions, not hide them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import exceptions
from processes import ClassRun, Limits, NoLoop, Outcome, check_loop, list_classes, run_class
from verdict import judge, unknown_exceptions

SAMPLES = """
import asyncio, os, threading, unittest

class Fine(unittest.TestCase):
    def test_a_named_class(self):
        asyncio.SelectorEventLoop().close()

    def test_b_skip(self):
        self.skipTest("because")

    def test_c_fail(self):
        self.assertIsInstance(asyncio.new_event_loop(), int)

    def test_d_subtest(self):
        with self.subTest("one"):
            self.fail("in a subtest")

class Hanging(unittest.TestCase):
    def test_a(self): pass
    def test_b(self): threading.Event().wait()
    def test_c(self): pass

class Crashing(unittest.TestCase):
    def test_a(self): os.abort()
    def test_b(self): pass

class CrashingAtTheEnd(unittest.TestCase):
    def test_a(self):
        threading.Thread(target=lambda: (threading.main_thread().join(), os.abort())).start()

class EPollEventLoopTests(unittest.TestCase):
    def create_event_loop(self):
        return None

    def test_bound(self):
        self.create_event_loop().close()

class PollEventLoopTests(EPollEventLoopTests):
    pass
"""


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the harness run the test classes above instead of CPython's."""
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "__init__.py").touch()
    (tmp_path / "samples" / "test_samples.py").write_text(SAMPLES, encoding="utf-8")
    monkeypatch.setenv("HOTLOOP_SUITE_PACKAGE", "samples")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def run_sample(name: str, limits: Limits) -> ClassRun:
    classes = {line["name"]: line["tests"] for line in list_classes([])}
    name = f"test_samples.{name}"
    return run_class(name, classes[name], "asyncio", limits)


def outcomes(run: ClassRun) -> list[str]:
    return [outcome.outcome for outcome in run.tests.values()]


@pytest.mark.usefixtures("samples")
def test_outcomes_and_loops_are_reported_per_test() -> None:
    run = run_sample("Fine", Limits())
    assert outcomes(run) == ["passed", "skipped", "failed", "failed"]
    assert [outcome.loops for outcome in run.tests.values()] == [1, 0, 1, 0]
    assert (run.created, run.fault) == (2, "")
    assert "in a subtest" in run.tests["test_samples.Fine.test_d_subtest"].detail


@pytest.mark.slow
@pytest.mark.usefixtures("samples")
def test_hanging_test_is_named_and_the_rest_counts_as_missing() -> None:
    run = run_sample("Hanging", Limits(timeout=2.0))
    assert outcomes(run) == ["passed", "failed", "missing"]
    assert run.fault_test == "test_samples.Hanging.test_b"
    assert run.fault.startswith("the process hung in test_samples.Hanging.test_b")
    assert "in test_b" in run.fault, "the stack is part of the report"


@pytest.mark.slow
@pytest.mark.usefixtures("samples")
def test_keep_going_runs_what_comes_after_a_hang() -> None:
    run = run_sample("Hanging", Limits(timeout=2.0, keep_going=True))
    assert outcomes(run) == ["passed", "failed", "passed"]


@pytest.mark.usefixtures("samples")
def test_crash_is_a_failure_of_the_running_test() -> None:
    run = run_sample("Crashing", Limits())
    assert outcomes(run) == ["failed", "missing"]
    assert "SIGABRT" in run.fault


@pytest.mark.usefixtures("samples")
def test_crash_after_the_last_test_fails_the_class() -> None:
    run = run_sample("CrashingAtTheEnd", Limits())
    assert outcomes(run) == ["passed"]
    verdict = judge(run, {test: Outcome("passed") for test in run.tests}, {})
    assert list(verdict.failed) == ["test_samples.CrashingAtTheEnd <process>"]


@pytest.mark.usefixtures("samples")
def test_one_class_per_selector_is_bound_and_the_others_are_left_out() -> None:
    assert "test_samples.PollEventLoopTests" not in [line["name"] for line in list_classes([])]
    run = run_sample("EPollEventLoopTests", Limits())
    assert (outcomes(run), run.created) == (["passed"], 1)


def test_loop_that_cannot_be_imported_is_an_error() -> None:
    with pytest.raises(NoLoop, match="no_such_loop"):
        check_loop("no_such_loop")


@pytest.mark.parametrize(
    ("stdlib", "ours", "listed", "place"),
    [
        ("passed", "passed", False, "passed"),
        ("passed", "failed", False, "failed"),
        ("passed", "skipped", False, "failed"),
        ("passed", "missing", False, "failed"),
        ("passed", "failed", True, "excused"),
        ("passed", "passed", True, "failed"),
        ("failed", "failed", False, "not_judged"),
        ("skipped", "passed", False, "not_judged"),
    ],
)
def test_judgement(stdlib: str, ours: str, listed: bool, place: str) -> None:
    run = ClassRun("m.C", {"m.C.test": Outcome(ours)})
    verdict = judge(run, {"m.C.test": Outcome(stdlib)}, {"m.C.test": "why"} if listed else {})
    places = [name for name, value in vars(verdict).items() if value]
    assert places == [place]


def test_exception_for_a_test_that_does_not_exist_is_stale() -> None:
    listed = {"m.C.test_gone": "why", "m.Other.test": "why"}
    classes = {"m.C": ["m.C.test"]}
    assert set(unknown_exceptions(listed, classes, complete=False)) == {"m.C.test_gone"}
    assert set(unknown_exceptions(listed, classes, complete=True)) == set(listed)


def test_exceptions_hold_for_the_versions_they_name(tmp_path: Path) -> None:
    path = tmp_path / "exceptions.toml"
    path.write_text(
        '[[exception]]\nreason = "one"\ntests = ["a"]\n'
        '[[exception]]\nreason = "two"\npython = ["3.12"]\ntests = ["b"]\n',
        encoding="utf-8",
    )
    assert exceptions.load(path, (3, 11)) == {"a": "one"}
    assert exceptions.load(path, (3, 12)) == {"a": "one", "b": "two"}


@pytest.mark.parametrize(
    "text",
    [
        '[[exception]]\ntests = ["a"]\n',
        '[[exception]]\nreason = " "\ntests = ["a"]\n',
        '[[exception]]\nreason = "r"\n',
        '[[exception]]\nreason = "r"\ntests = ["a"]\nversion = "3.12"\n',
        '[[exception]]\nreason = "r"\ntests = ["a", "a"]\n',
    ],
)
def test_malformed_exception_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "exceptions.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(exceptions.ExceptionListError):
        exceptions.load(path)


def test_site_switch_reports_the_loops_it_made(tmp_path: Path) -> None:
    report = tmp_path / "report"
    finished = run_with_site("asyncio", report, "import asyncio; asyncio.new_event_loop().close()")
    assert finished.returncode == 0, finished.stderr
    _, loop_type, created = report.read_text(encoding="utf-8").split()
    assert (loop_type.rpartition(".")[2], created) == ("_UnixSelectorEventLoop", "1")


def test_site_switch_ends_a_program_whose_loop_is_missing(tmp_path: Path) -> None:
    finished = run_with_site("no_such_loop", tmp_path / "report", "print('went on')")
    assert finished.returncode == 70
    assert "no_such_loop" in finished.stderr
    assert "went on" not in finished.stdout


def run_with_site(loop: str, report: Path, code: str) -> subprocess.CompletedProcess[str]:
    site = Path(__file__).with_name("site")
    variables = {
        "PYTHONPATH": str(site),
        "HOTLOOP_SUITE_LOOP": loop,
        "HOTLOOP_SUITE_REPORT": str(report),
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
