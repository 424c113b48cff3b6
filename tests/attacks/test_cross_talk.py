"""No connection ever sees a byte of another one: see `cross_talk.py`, which this runs in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.hotloop_only

PROGRAM = Path(__file__).with_name("cross_talk.py")


def attack(*arguments):
    """Run the program; return its exit status and what it printed."""
    done = subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr[-2000:]
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_no_connection_sees_a_byte_of_another(attack_seed, attack_seconds):
    status, result, errors = attack("--seconds", attack_seconds(4), "--seed", attack_seed)
    assert status == 0, result
    assert result["connections"] > 100
    assert result["cancelled"] > 10
    assert result["descriptors left"] == 0
    assert not errors


def test_the_attack_sees_a_single_byte_that_goes_astray(attack_seed):
    status, result, _ = attack("--seconds", 20, "--seed", attack_seed, "--break-it")
    assert status == 1
    assert result["foreign"]
