"""No refused allocation aborts, hangs or is answered wrongly: see `memory_errors.py`, run in processes of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from memory_scenarios import SCENARIOS

from helpers import run_attack

pytestmark = pytest.mark.hotloop_only
pytest.importorskip("_testcapi", reason="this Python has no _testcapi to refuse memory with")

PROGRAM = Path(__file__).with_name("memory_errors.py")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_allocation_may_be_refused(scenario):
    status, result, errors = run_attack("memory_errors", scenario)
    assert status == 0, f"{result}\n{errors}"
    assert result["outcomes"]["MemoryError"] > 20


def test_what_the_attack_steers_around_is_the_interpreters_fault():
    """The program says for the running Python what CPython does not survive by itself."""
    shown = PROGRAM.with_name("interpreter_memory_errors.py")
    done = subprocess.run([sys.executable, shown], capture_output=True, text=True, check=True)
    assert [line.split(":")[0] for line in done.stdout.splitlines()[1:]] == [
        "function",
        "items",
        "setdefault",
        "certificate",
        "handler",
    ]


@pytest.mark.parametrize("mistake", ["error", "abort"])
def test_the_attack_sees_a_wrong_answer(mistake):
    status, result, errors = run_attack(
        "memory_errors", "callbacks", "--break-it", mistake, "--first", 40, "--last", 60
    )
    assert status == 1
    assert result["faults"]
    if mistake == "abort":
        assert "Fatal Python error: Aborted" in errors
        assert 'memory_errors.py", line' in errors
        assert "the process ended with status -6" in errors
