"""Ten thousand connections that were opened and closed leave nothing: see `many_connections.py`."""

from __future__ import annotations

import pytest

from helpers import run_attack

pytestmark = pytest.mark.hotloop_only


def test_ten_thousand_connections_opened_and_closed_leave_nothing(task_option):
    status, result, errors = run_attack("many_connections", "--connections", 10_000, *task_option)
    assert status == 0, result["faults"]
    assert result["opened"] >= 10_000
    assert not errors


def test_the_attack_sees_a_hundred_bytes_for_each_connection():
    status, result, _ = run_attack("many_connections", "--connections", 2000, "--break-it")
    assert status == 1
    assert any("bytes in use" in fault for fault in result["faults"])
