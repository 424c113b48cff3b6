"""No refused allocation aborts, hangs or is answered wrongly: see `memory_errors.py`, run in processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from memory_scenarios import SCENARIOS

pytestmark = pytest.mark.hotloop_only
pytest.importorskip("_testcapi", reason="this Python has no _testcapi to refuse memory with")

PROGRAM = Path(__file__).with_name("memory_errors.py")


def attack(*arguments):
    """Run the program; return its exit status, what it printed last and its errors."""
    done = subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.splitlines()[-1], done.stderr[-3000:]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_allocation_may_be_refused(scenario):
    status, last, errors = attack(scenario)
    assert status == 0, (last, errors)
    outcomes = json.loads(last)["outcomes"]
    assert outcomes["MemoryError"] > 20


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
    status, last, _ = attack("callbacks", "--break-it", mistake, "--first", 40, "--last", 60)
    assert status != 0
    if mistake == "error":
        assert json.loads(last)["faults"]
