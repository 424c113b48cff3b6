"""No connection ever sees a byte of another one: see `cross_talk.py`, which this runs in a process of its own."""

from __future__ import annotations

import pytest

from helpers import run_attack

pytestmark = pytest.mark.hotloop_only


def test_no_connection_sees_a_byte_of_another(attack_seed, attack_seconds):
    status, result, errors = run_attack(
        "cross_talk", "--seconds", attack_seconds(4), "--seed", attack_seed
    )
    assert status == 0, result
    assert result["connections"] > 100
    assert result["cancelled"] > 10
    assert result["descriptors left"] == 0
    assert not errors


def test_the_attack_sees_a_single_byte_that_goes_astray(attack_seed):
    status, result, _ = run_attack(
        "cross_talk", "--seconds", 20, "--seed", attack_seed, "--break-it"
    )
    assert status == 1
    assert result["foreign"]
