"""Tests of what runs other projects' suites: crashes and tests never reached must be seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import foreign_page
import foreign_run
from foreign_page import Result
from foreign_suite import HERE, NotRun, Suite, load

SAMPLES = """
import asyncio, os
import pytest

def test_passes():
    asyncio.new_event_loop().close()

def test_fails():
    assert False, "on purpose"

def test_skips():
    pytest.skip("because")

def test_crashes():
    if "CRASH" in os.environ:
        os.abort()

def test_last():
    pass
"""


class Sample(Suite):
    """A suite that is a directory of this test, run by this interpreter."""

    directory = Path()  # type: ignore[assignment]
    python = Path(sys.executable)  # type: ignore[assignment]


@pytest.fixture
def sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    (tmp_path / "test_sample.py").write_text(SAMPLES, encoding="utf-8")
    monkeypatch.setattr(foreign_run, "BUILD", tmp_path / "build")
    monkeypatch.setattr(Sample, "directory", tmp_path)
    return Sample("sample", "1", arguments=[], requirements=[])


def outcomes(sample: Suite, only: list[str] | None = None) -> tuple[dict[str, str], str]:
    found = foreign_run.run(sample, ["test_sample.py"], None, "stdlib", only)
    names = {test.partition("::")[2]: outcome.outcome for test, outcome in found.tests.items()}
    return names, found.fault


def test_the_outcome_of_each_test_is_read(sample: Suite) -> None:
    names, fault = outcomes(sample)
    assert fault == ""
    assert names == {
        "test_passes": "passed",
        "test_fails": "failed",
        "test_skips": "skipped",
        "test_crashes": "passed",
        "test_last": "passed",
    }


def test_a_crash_is_laid_to_the_running_test_and_the_rest_is_missing(
    sample: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRASH", "1")
    names, fault = outcomes(sample)
    assert "in test_sample.py::test_crashes" in fault
    assert (names["test_crashes"], names["test_last"]) == ("missing", "missing")


def test_some_tests_can_be_chosen(sample: Suite) -> None:
    names, _ = outcomes(sample, ["test_sample.py::test_last", "test_sample.py::test_no_more"])
    assert names == {"test_last": "passed"}


def test_loops_made_by_the_switch_are_counted(sample: Suite) -> None:
    found = foreign_run.run(sample, ["test_sample.py"], "asyncio", "ours")
    assert found.created == 1


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(NotRun, match="no such suite: nosuch"):
        load(["nosuch"], quick=False)


def test_a_quick_subset_may_be_the_whole() -> None:
    (suite,) = load(["aiohttp"], quick=True)
    assert suite.quick == suite.arguments


def test_the_page_keeps_what_stands_around_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_page, "BUILD", tmp_path / "build")
    not_judged = {"c": "skipped", "d": "failed", "e": "skipped"}
    result = Result(
        "sample",
        "1",
        "3.11.2",
        False,
        "nothing",
        7,
        {"a": "why"},
        {"b": "x"},
        not_judged,
        [],
        1,
        2.0,
    )
    foreign_page.save(result)
    page = tmp_path / "page.md"
    page.write_text("above\n<!-- suites: begin -->\nold\n<!-- suites: end -->\nbelow\n")
    foreign_page.write(page)
    text = page.read_text()
    assert text.startswith("above\n")
    assert text.endswith("\nbelow\n")
    assert "old" not in text
    assert "| sample 1 | 3.11.2 | 7 | 1 | 1 | 1 | 2 | nothing |" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a network")
def test_a_suite_has_a_network_of_its_own() -> None:
    program = (
        "import socket;"
        "print(sorted(name for _, name in socket.if_nameindex()));"
        "print(sorted({row[4][0] for row in socket.getaddrinfo('localhost', 0)}))"
    )
    command = [sys.executable, str(HERE / "foreign_box.py"), sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if "no network of its own" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.stdout.splitlines() == ["['lo']", "['127.0.0.1', '::1']"]
