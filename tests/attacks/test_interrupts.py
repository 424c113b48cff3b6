"""SIGINT at random moments is delivered once and loses no callback: see `interrupts.py`, run in a process of its own."""

from __future__ import annotations

import pytest

from helpers import run_attack

pytestmark = pytest.mark.hotloop_only


def test_interrupts_are_delivered_once_and_lose_nothing(attack_seed, attack_rounds, task_option):
    count = attack_rounds(500)
    status, result, errors = run_attack(
        "interrupts", "--count", count, "--seed", attack_seed, *task_option
    )
    assert status == 0, result["faults"]
    assert result["sent"] == result["handled"] == count
    assert set(result["kinds"]) == {"idle", "busy", "tasks", "sockets", "closing"}
    assert not errors


def test_the_attack_sees_a_callback_that_is_lost(attack_seed):
    status, result, _ = run_attack("interrupts", "--count", 20, "--seed", attack_seed, "--break-it")
    assert status == 1
    assert result["faults"]
