"""Nothing is lost between threads, signals and children: see `threads_and_signals.py`, run in a process of its own."""

from __future__ import annotations

import pytest

from helpers import run_attack

pytestmark = pytest.mark.hotloop_only


def test_no_post_signal_or_child_is_lost(attack_seed, attack_rounds, task_option):
    rounds = attack_rounds(25)
    status, result, errors = run_attack(
        "threads_and_signals", "--rounds", rounds, "--seed", attack_seed, *task_option
    )
    assert status == 0, result["faults"]
    assert sum(result["counts"].values()) == rounds
    assert len(result["counts"]) == 5
    assert not errors


def test_the_attack_sees_a_post_that_is_lost(attack_seed):
    status, result, _ = run_attack(
        "threads_and_signals", "--rounds", 5, "--seed", attack_seed, "--break-it"
    )
    assert status == 1
    assert result["faults"]
