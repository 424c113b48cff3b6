"""A process without descriptors loses nothing but what it could not open: see `exhaustion.py`."""

from __future__ import annotations

import pytest

from helpers import run_attack

pytestmark = pytest.mark.hotloop_only


def test_storms_of_emfile_leave_a_loop_that_works(attack_seed, attack_seconds, task_option):
    status, result, errors = run_attack(
        "exhaustion", "--seconds", attack_seconds(4), "--seed", attack_seed, *task_option
    )
    assert status == 0, (result["faults"], errors)
    assert result["counts"]["refused"] > 20
    assert result["counts"]["over_streams"] > 20
    assert not errors


def test_the_storm_sees_a_descriptor_that_is_left(attack_seed):
    status, result, _ = run_attack(
        "exhaustion", "--seconds", 3, "--seed", attack_seed, "--break-it"
    )
    assert status == 1
    assert any("descriptors left" in fault for fault in result["faults"])
