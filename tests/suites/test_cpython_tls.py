"""CPython's tests of TLS with each of hotloop's engines, judged like the rest of its suite.

`test_cpython.py` runs them with the engine that hotloop chooses by itself.
"""

from __future__ import annotations

import pytest

from test_cpython import LOOP, fail_unless_passed, listed, run_modules

pytestmark = pytest.mark.suite


@pytest.mark.parametrize("engine", ["direct", "bio"])
@pytest.mark.skipif(LOOP != "hotloop", reason="about hotloop's engines")
def test_cpythons_tests_of_tls_pass_with_either_engine(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTLOOP_TLS", engine)
    for result in run_modules(["test_ssl", "test_sslproto"], LOOP, listed()).values():
        fail_unless_passed(result)
