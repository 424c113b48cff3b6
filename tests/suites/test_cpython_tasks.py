"""CPython's own tests of futures and tasks on hotloop's classes, one test for each of its classes.

`cpython_tasks.py` binds and runs them, in a process of its own for each class: on asyncio's loop,
where a step goes through `call_soon`, and on hotloop's, where it does not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.suite, pytest.mark.hotloop_only]

CHILD = Path(__file__).with_name("cpython_tasks.py")

try:
    import cpython_tasks

    CLASSES = cpython_tasks.classes_under_test()
except ImportError:
    CLASSES = []


def test_the_tests_of_cpython_are_installed() -> None:
    if not CLASSES and os.environ.get("HOTLOOP_ALLOW_MISSING_SUITE") == "1":
        pytest.skip("this Python has no test.test_asyncio: the suite is NOT run")
    assert CLASSES, "this Python has no test.test_asyncio (libpython3-testsuite)"


@pytest.fixture
def child(class_name: str, loop_name: str) -> subprocess.CompletedProcess[str]:
    """The run of a class; not in the test, which may take less time than a busy machine needs."""
    command = [sys.executable, str(CHILD), "--loop", loop_name, class_name]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)


@pytest.mark.parametrize("loop_name", ["asyncio", "hotloop"])
@pytest.mark.parametrize("class_name", CLASSES)
def test_class_passes_what_it_passes_on_asyncios_own(
    child: subprocess.CompletedProcess[str],
) -> None:
    if child.returncode != 0:
        pytest.fail((child.stdout + child.stderr)[-6000:], pytrace=False)
