"""A mixed load leaves nothing behind: see `soak.py`, run in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.hotloop_only

PROGRAM = Path(__file__).with_name("soak.py")


def soak(*arguments):
    """Run the program; return its exit status, what it printed last and its errors."""
    done = subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    lines = done.stdout.splitlines()
    assert lines, done.stderr[-2000:]
    assert lines[-1].startswith("{"), done.stderr[-2000:]
    return done.returncode, json.loads(lines[-1]), done.stderr


def test_memory_descriptors_tasks_and_threads_stay_flat(attack_seed, attack_seconds):
    status, result, errors = soak("--seconds", attack_seconds(8), "--seed", attack_seed)
    assert status == 0, result
    counts = result["counts"]
    assert all(
        counts[kind] for kind in ("over_tcp", "over_tls", "over_udp", "over_unix", "threads")
    )
    assert not errors


def test_the_soak_sees_a_leak(attack_seed):
    status, result, _ = soak("--seconds", 5, "--seed", attack_seed, "--break-it")
    assert status == 1
    assert any("resident" in problem for problem in result["problems"])
