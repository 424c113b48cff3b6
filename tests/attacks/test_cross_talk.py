"""No connection ever sees a byte of another one: see `cross_talk.py`, which this runs in processes of its own.

``HOTLOOP_CROSS_TALK_SECONDS`` says how long all of them take together: a minute in `make test`.
"""

from __future__ import annotations

import os

import pytest

from helpers import run_attack

pytestmark = pytest.mark.hotloop_only

#: Where connections were cancelled, among others.
PLACES = [
    *("over_unix: await", "over_protocol: await", "over_streams: reader, writer = await"),
    *(".sock_connect(", ".sock_sendall(", "wait_for(receiving,", "exchange: await"),
]
TLS_PLACES = ["over_tls: await", ".start_tls("]
#: What each run has of its own: an engine of TLS, if one is chosen; options; where it has to cancel.
RUNS = {
    "everything": (None, [], PLACES),
    "native_tasks": (None, ["--native-tasks"], PLACES),
    "tls_direct": ("direct", ["--only", "tls", "--only", "start_tls"], TLS_PLACES),
    "tls_bio": ("bio", ["--only", "tls", "--only", "start_tls", "--native-tasks"], TLS_PLACES),
}
SECONDS = float(os.environ.get("HOTLOOP_CROSS_TALK_SECONDS", "10")) / len(RUNS)


@pytest.mark.parametrize("run", RUNS)
def test_no_connection_sees_a_byte_of_another(attack_seed, attack_seconds, monkeypatch, run):
    engine, options, places = RUNS[run]
    if engine is not None:
        monkeypatch.setenv("HOTLOOP_TLS", engine)
    status, result, errors = run_attack(
        "cross_talk", "--seconds", attack_seconds(SECONDS), "--seed", attack_seed, *options
    )
    assert status == 0, result["faults"]
    assert result["accepted"] > 10
    assert result["cancelled"] > 1
    cancelled_in = " ".join(result["cancelled in"])
    assert [place for place in places if place not in cancelled_in] == []
    assert not errors


@pytest.mark.parametrize("kind", ["protocol", "tls", "start_tls"])
def test_the_attack_sees_a_single_byte_that_goes_astray(attack_seed, kind):
    status, result, _ = run_attack(
        "cross_talk", "--seconds", 20, "--seed", attack_seed, "--only", kind, "--break-it"
    )
    assert status == 1
    assert result["foreign"]
