"""CPython's tests of TLS with each of hotloop's engines, judged like the rest of its suite.

`test_cpython.py` runs them with the engine that hotloop chooses by itself.
"""

from __future__ import annotations

import faulthandler

import pytest

import cpython
import report
from baseline import Baseline
from processes import Limits
from test_cpython import LOOP, listed

pytestmark = pytest.mark.suite


@pytest.fixture(params=["direct", "bio"])
def results(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> dict[str, cpython.Result]:
    """The results of the two modules, which have no time limit here but one for each of their tests."""
    faulthandler.cancel_dump_traceback_later()  # every child has a limit of its own
    monkeypatch.setenv("HOTLOOP_TLS", request.param)
    try:
        selection = cpython.select(["test_ssl", "test_sslproto"], [], [])
    except cpython.NoSuite:
        pytest.skip("this Python has no test.test_asyncio: the suite is NOT run")
    assert not selection.problems and len(selection.classes) >= 2
    return cpython.run(selection, LOOP, Baseline(), listed(), Limits())


@pytest.mark.skipif(LOOP != "hotloop", reason="about hotloop's engines")
def test_cpythons_tests_of_tls_pass_with_either_engine(results: dict[str, cpython.Result]) -> None:
    for result in results.values():
        texts = [
            f"FAILED {test}\n{report.shorten(detail, 20)}"
            for test, detail in result.verdict.failed.items()
        ]
        if texts:
            pytest.fail("\n\n".join(texts), pytrace=False)
