"""CPython's `test_streams` on hotloop's own streams, judged like the rest of its suite."""

from __future__ import annotations

import pytest

from test_cpython import LOOP, fail_unless_passed, run_modules

pytestmark = pytest.mark.suite


@pytest.mark.skipif(LOOP != "hotloop", reason="about hotloop's own streams")
def test_cpythons_tests_of_streams_pass_with_hotloops_classes() -> None:
    results = run_modules(["test_streams"], "native_streams:new_event_loop", {})
    for result in results.values():
        fail_unless_passed(result)
