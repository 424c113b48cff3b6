"""SIGINT at random moments is delivered once and loses no callback: see `interrupts.py`, run in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.hotloop_only

PROGRAM = Path(__file__).with_name("interrupts.py")


def attack(*arguments):
    """Run the program; return its exit status, what it printed and its errors."""
    done = subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr[-2000:]
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_interrupts_are_delivered_once_and_lose_nothing(attack_seed, attack_rounds):
    count = attack_rounds(500)
    status, result, errors = attack("--count", count, "--seed", attack_seed)
    assert status == 0, result
    assert result["sent"] == result["handled"] == count
    assert not errors


def test_the_attack_sees_a_callback_that_is_lost(attack_seed):
    status, result, _ = attack("--count", 20, "--seed", attack_seed, "--break-it")
    assert status == 1
    assert result["faults"]
