"""Nothing is lost between threads, signals and children: see `threads_and_signals.py`, run in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.hotloop_only

PROGRAM = Path(__file__).with_name("threads_and_signals.py")


def attack(*arguments):
    """Run the program; return its exit status, what it printed and its errors."""
    done = subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr[-2000:]
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_no_post_signal_or_child_is_lost(attack_seed, attack_rounds):
    rounds = attack_rounds(25)
    status, result, errors = attack("--rounds", rounds, "--seed", attack_seed)
    assert status == 0, result
    assert sum(result["counts"].values()) == rounds
    assert not errors


def test_the_attack_sees_a_post_that_is_lost(attack_seed):
    status, result, _ = attack("--rounds", 5, "--seed", attack_seed, "--break-it")
    assert status == 1
    assert result["faults"]
