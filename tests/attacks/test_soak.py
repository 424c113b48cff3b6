"""A mixed load leaves nothing behind: see `soak.py`, run in a process of its own."""

from __future__ import annotations

import pytest

from helpers import run_attack

pytestmark = pytest.mark.hotloop_only


def test_memory_descriptors_tasks_and_threads_stay_flat(attack_seed, attack_seconds, task_option):
    status, result, errors = run_attack(
        "soak", "--seconds", attack_seconds(8), "--seed", attack_seed, *task_option
    )
    assert status == 0, result["faults"]
    counts = result["counts"]
    kinds = ["over_tcp", "over_tls", "over_udp", "over_unix", "timers", "threads", "child"]
    assert [kind for kind in (*kinds, "cancelled") if not counts.get(kind)] == []
    assert not errors


def test_the_soak_sees_a_leak(attack_seed):
    status, result, _ = run_attack("soak", "--seconds", 5, "--seed", attack_seed, "--break-it")
    assert status == 1
    assert any("resident" in fault for fault in result["faults"])
