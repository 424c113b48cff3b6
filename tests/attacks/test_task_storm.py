"""Native tasks leave nothing behind, whatever becomes of them: see `task_storm.py`, run in a process of its own."""

from __future__ import annotations

import pytest

from helpers import run_attack

pytestmark = pytest.mark.hotloop_only


@pytest.mark.parametrize("loop_name", ["hotloop", "asyncio"])
def test_a_storm_of_tasks_leaves_nothing_behind(attack_seed, attack_rounds, loop_name):
    status, result, errors = run_attack(
        "task_storm", "--loop", loop_name, "--count", attack_rounds(20_000), "--seed", attack_seed
    )
    assert status == 0, result["faults"]
    expected = ("object", "Failure", "CancelledError", "forgotten", "bad yields")
    assert all(result["counts"][what] for what in expected)
    assert not errors


def test_the_storm_sees_exceptions_that_are_kept(attack_seed):
    status, result, _ = run_attack(
        "task_storm", "--count", 10_000, "--seed", attack_seed, "--break-it"
    )
    assert status == 1
    assert any("ours grew" in fault for fault in result["faults"])
