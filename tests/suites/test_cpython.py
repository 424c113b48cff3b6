"""CPython's `test.test_asyncio` as pytest tests: one for each of its test classes.

`HOTLOOP_TEST_LOOP` names the loop under test (default `hotloop`). On a Python without the package
`test` one test fails and says so; `HOTLOOP_ALLOW_MISSING_SUITE=1` turns that into a skip.
"""

from __future__ import annotations

import faulthandler
import functools
import os

import pytest

import cpython
import exceptions
import report
from baseline import Baseline
from processes import Limits
from verdict import unknown_exceptions

NO_SUITE = """This Python has no test.test_asyncio, so its tests cannot be run on hotloop.
Install it (Debian and Ubuntu: apt-get install libpython3-testsuite), use a Python that has it
(make test PYTHON=...), or go without it: HOTLOOP_ALLOW_MISSING_SUITE=1."""
LOOP = os.environ.get("HOTLOOP_TEST_LOOP", "hotloop")

pytestmark = pytest.mark.suite


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Makes a parameter of each test class."""
    if "class_name" in metafunc.fixturenames:
        selection = whole_suite()
        names = list(selection.classes) if selection else []
        metafunc.parametrize("class_name", names)


@functools.cache
def whole_suite() -> cpython.Selection | None:
    """Everything there is to run, or `None` if this Python has no such suite."""
    try:
        return cpython.select([], [], [])
    except cpython.NoSuite:
        return None


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> dict[str, cpython.Result]:
    """The results of all classes that were chosen for this pytest run.

    All of them run before the first test does, some at a time: a test must not leave threads or
    processes behind for the next one, and one at a time takes much longer.
    """
    # Whatever limit is set for one pytest test does not fit here; every child has its own.
    faulthandler.cancel_dump_traceback_later()
    chosen = set()
    for item in request.session.items:
        if isinstance(item, pytest.Function) and item.path == request.path:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            chosen.add(parameters.get("class_name"))
    suite = whole_suite()
    assert suite is not None
    selection = cpython.Selection({k: v for k, v in suite.classes.items() if k in chosen})
    terminal = request.config.pluginmanager.getplugin("terminalreporter")

    def progress(line: str) -> None:
        if terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(line)

    return cpython.run(selection, LOOP, Baseline(), listed(), Limits(), progress=progress)


def test_suite_is_installed_and_every_module_of_it_loads() -> None:
    suite = whole_suite()
    if suite is None and os.environ.get("HOTLOOP_ALLOW_MISSING_SUITE") == "1":
        pytest.skip("this Python has no test.test_asyncio: the suite is NOT run")
    if suite is None:
        pytest.fail(NO_SUITE, pytrace=False)
    assert not suite.problems
    assert suite.classes


def test_every_listed_exception_names_a_test() -> None:
    suite = whole_suite()
    if suite is None:
        pytest.skip("this Python has no test.test_asyncio: the suite is NOT run")
    assert not unknown_exceptions(listed(), suite.classes, complete=True)


def test_class_passes_what_it_passes_on_the_stdlib(
    class_name: str, results: dict[str, cpython.Result]
) -> None:
    fail_unless_passed(results[class_name])


def fail_unless_passed(result: cpython.Result) -> None:
    """Fail with the tests of the class that failed."""
    failed = result.verdict.failed
    texts = [f"FAILED {test}\n{report.shorten(detail, 20)}" for test, detail in failed.items()]
    if failed:
        pytest.fail("\n\n".join(texts), pytrace=False)


def run_modules(modules: list[str], loop: str, listed: dict[str, str]) -> dict[str, cpython.Result]:
    """The results of some modules of the suite on a loop, with no time limit but one for each of their tests."""
    faulthandler.cancel_dump_traceback_later()  # every child has a limit of its own
    try:
        selection = cpython.select(modules, [], [])
    except cpython.NoSuite:
        pytest.skip("this Python has no test.test_asyncio: the suite is NOT run")
    assert not selection.problems and len(selection.classes) >= len(modules)
    return cpython.run(selection, loop, Baseline(), listed, Limits())


def listed() -> dict[str, str]:
    # The list is about hotloop; another loop is run to judge the harness.
    return exceptions.load(cpython.EXCEPTIONS) if LOOP == "hotloop" else {}
