"""TLS connections that end at any moment leave nothing: see `tls_closing.py`, run in a process of its own."""

from __future__ import annotations

import pytest

from helpers import run_attack

pytestmark = pytest.mark.hotloop_only


@pytest.mark.parametrize(
    "options",
    [["--engine", "direct"], ["--engine", "bio"], ["--native-tasks"]],
    ids=["direct", "bio", "native_tasks"],
)
def test_connections_closed_at_random_moments_leave_nothing(attack_seed, attack_rounds, options):
    status, result, errors = run_attack(
        "tls_closing", *options, "--connections", attack_rounds(300), "--seed", attack_seed
    )
    assert status == 0, result["faults"]
    counts = result["counts"]
    assert counts["connections"] >= 300
    assert all(counts[f"cut: {kind}"] for kind in ("close", "reset", "rubbish", "cancel"))
    assert not errors


def test_the_attack_sees_an_ssl_object_that_is_kept(attack_seed):
    status, result, _ = run_attack(
        "tls_closing", "--connections", 300, "--seed", attack_seed, "--break-it"
    )  # fmt: skip
    assert status == 1
    assert "SSL objects left" in result["faults"]
