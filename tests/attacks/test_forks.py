"""A fork leaves the parent's connections alone, whatever the child does: see `forks.py`."""

from __future__ import annotations

import pytest

from helpers import run_attack

pytestmark = pytest.mark.hotloop_only


def test_the_parents_connections_survive_every_child(attack_seed, attack_rounds, task_option):
    rounds = attack_rounds(40)
    status, result, errors = run_attack(
        "forks", "--rounds", rounds, "--seed", attack_seed, *task_option
    )
    assert status == 0, (result["faults"], errors)
    assert sum(result["counts"].values()) == rounds
    assert set(result["counts"]) == {"in_callback", "between_runs", "in_thread"}
    assert not errors


def test_the_attack_sees_a_child_that_writes_to_the_parents_connection(attack_seed):
    status, result, _ = run_attack("forks", "--rounds", 40, "--seed", attack_seed, "--break-it")
    assert status == 1
    assert result["faults"]
