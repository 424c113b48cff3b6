"""The long forms end with a verdict, also if an attack hangs: see `long_forms.py`."""

from __future__ import annotations

import sys

import long_forms
import pytest

pytestmark = pytest.mark.hotloop_only


def test_a_round_that_hangs_is_ended_with_its_stack(capfd):
    source = """
import subprocess, time
child = subprocess.Popen(["sleep", "1000"])  # holds the pipe to the end
print("begun", flush=True)
def wait_for_ever():
    time.sleep(1000)
wait_for_ever()
"""
    assert not long_forms.round_passes("hanging", [sys.executable, "-c", source], 2)
    said = capfd.readouterr().out
    assert "hanging: begun" in said
    assert "TAKES TOO LONG" in said
    assert "wait_for_ever" in said


@pytest.mark.parametrize("status", [0, 3])
def test_a_rounds_exit_status_is_the_verdict(capfd, status):
    command = [sys.executable, "-c", f"print('said'); raise SystemExit({status})"]
    assert long_forms.round_passes("short", command, 1000) == (status == 0)
    said = capfd.readouterr().out
    assert "short: said" in said
    assert ("FAILED (exit status 3)" in said) == (status == 3)


def test_the_shares_of_the_attacks_are_the_whole():
    assert sum(share for _, share, _ in long_forms.ATTACKS) == 100
