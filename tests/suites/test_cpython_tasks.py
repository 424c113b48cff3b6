"""CPython's own tests of futures and tasks on hotloop's classes, one test for each of its classes.

`cpython_tasks.py` binds and runs them, in a process of its own for each class: on asyncio's loop,
where a step goes through `call_soon`, and on hotloop's, where it does not.
"""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from processes import JOBS

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


@pytest.fixture(scope="module")
def children(
    request: pytest.FixtureRequest,
) -> dict[tuple[str, str], subprocess.CompletedProcess[str]]:
    """The runs of all classes that were chosen, some at a time, before the first test does."""
    faulthandler.cancel_dump_traceback_later()  # every child has a limit of its own
    chosen = []
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.path == request.path:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            chosen += [(parameters["class_name"], parameters["loop_name"])] if parameters else []
    with ThreadPoolExecutor(JOBS) as pool:
        return dict(zip(chosen, pool.map(run_class, chosen), strict=True))


def run_class(names: tuple[str, str]) -> subprocess.CompletedProcess[str]:
    class_name, loop_name = names
    command = [sys.executable, str(CHILD), "--loop", loop_name, class_name]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)


@pytest.mark.parametrize("loop_name", ["asyncio", "hotloop"])
@pytest.mark.parametrize("class_name", CLASSES)
def test_class_passes_what_it_passes_on_asyncios_own(
    class_name: str,
    loop_name: str,
    children: dict[tuple[str, str], subprocess.CompletedProcess[str]],
) -> None:
    child = children[class_name, loop_name]
    if child.returncode != 0:
        pytest.fail((child.stdout + child.stderr)[-6000:], pytrace=False)
