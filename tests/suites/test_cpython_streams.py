"""CPython's `test_streams` on hotloop's own streams, judged like the rest of its suite."""

from __future__ import annotations

import faulthandler

import pytest

import cpython
import report
from baseline import Baseline
from processes import Limits
from test_cpython import LOOP

pytestmark = pytest.mark.suite


@pytest.fixture
def results() -> dict[str, cpython.Result]:
    """The results of the suite, which has no time limit here but one for each of its tests."""
    faulthandler.cancel_dump_traceback_later()  # every child has a limit of its own
    try:
        selection = cpython.select(["test_streams"], [], [])
    except cpython.NoSuite:
        pytest.skip("this Python has no test.test_asyncio: the suite is NOT run")
    assert not selection.problems and selection.classes
    return cpython.run(selection, "native_streams:new_event_loop", Baseline(), {}, Limits())


@pytest.mark.skipif(LOOP != "hotloop", reason="about hotloop's own streams")
def test_cpythons_tests_of_streams_pass_with_hotloops_classes(
    results: dict[str, cpython.Result],
) -> None:
    for result in results.values():
        texts = [
            f"FAILED {test}\n{report.shorten(detail, 20)}"
            for test, detail in result.verdict.failed.items()
        ]
        if texts:
            pytest.fail("\n\n".join(texts), pytrace=False)
