"""The child process of `cpython.py`: lists CPython's asyncio test classes, or runs one of them.

    python cpython_child.py list --out FILE [module ...]
    python cpython_child.py check --out FILE --loop hotloop
    python cpython_child.py run --out FILE --class test_events.HandleTests [--loop hotloop] ...

What happens is written to FILE as JSON lines, because tests may capture or close the standard
streams, and a file, unlike a pipe, cannot be held open by processes that a test leaves behind.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import os
import unittest
import warnings
from pathlib import Path
from typing import Any, TextIO

import switch as loop_switch

#: The package of tests. Another one is named only to test the harness itself.
PACKAGE = os.environ.get("HOTLOOP_SUITE_PACKAGE", "test.test_asyncio")

#: Not for us: other systems, or tests of the stdlib's selector loop by its own private methods.
LEFT_OUT = {
    "test_proactor_events",
    "test_selector_events",
    "test_windows_events",
    "test_windows_utils",
}

#: Some modules run the same tests once per kind of stdlib selector, by classes that define
#: `create_event_loop`. One of them is enough, and is bound to the loop under test.
PER_SELECTOR = {
    "DevPollEventLoopTests",
    "EPollEventLoopTests",
    "KqueueEventLoopTests",
    "PollEventLoopTests",
    "ProactorEventLoopTests",
    "SelectEventLoopTests",
}
BOUND_SELECTOR = "EPollEventLoopTests"


def main() -> None:
    """Does what the command line says; see the module's text."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("list", "check", "run"))
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--out", required=True)
    parser.add_argument("--loop", help="without it the stdlib is left as it is")
    parser.add_argument("--class", dest="class_name")
    parser.add_argument("--test", action="append", default=[], help="only these test ids")
    parser.add_argument("--not-test", action="append", default=[], help="not these test ids")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one test")
    options = parser.parse_args()
    with Path(options.out).open("a", buffering=1, encoding="utf-8") as out:
        if options.command == "list":
            list_classes(options.modules, out)
        elif options.command == "check":
            write(out, event="check", loop_type=type_name(loop_switch.install(options.loop)))
        else:
            run_class(options, out)


def list_classes(modules: list[str], out: TextIO) -> None:
    """Writes a line for each test class of `modules` (all of the package if empty)."""
    try:
        package = importlib.import_module(PACKAGE)
    except ImportError as error:
        write(out, event="no-package", detail=str(error))
        return
    except unittest.SkipTest as error:
        write(out, event="no-package", detail=f"the package skips itself: {error}")
        return
    found = {file.stem for root in package.__path__ for file in Path(root).glob("test_*.py")}
    for unknown in sorted(set(modules) - found):
        write(out, event="no-module", module=unknown, detail="no such module")
    for name in sorted(found - LEFT_OUT if not modules else found & set(modules)):
        try:
            module = importlib.import_module(f"{PACKAGE}.{name}")
        except unittest.SkipTest as error:
            write(out, event="skipped-module", module=name, detail=str(error))
            continue
        except Exception as error:
            write(out, event="no-module", module=name, detail=f"{type(error).__name__}: {error}")
            continue
        for test_class in test_classes(module):
            tests = [test_id(test) for test in load(test_class)]
            if tests:
                write(out, event="class", name=f"{name}.{test_class.__name__}", tests=tests)


def test_classes(module: Any) -> list[type[unittest.TestCase]]:
    """The module's own test classes that are for us, in the order of their definition."""
    classes = []
    for value in vars(module).values():
        if not (isinstance(value, type) and issubclass(value, unittest.TestCase)):
            continue
        if value.__module__ != module.__name__ or value in classes:
            continue
        if value.__name__ in PER_SELECTOR and value.__name__ != BOUND_SELECTOR:
            continue
        classes.append(value)
    return classes


def run_class(options: argparse.Namespace, out: TextIO) -> None:
    """Runs the tests of one class on the loop under test and reports each."""
    switch = loop_switch.install(options.loop) if options.loop else None
    module_name, class_name = options.class_name.split(".")
    test_class = getattr(importlib.import_module(f"{PACKAGE}.{module_name}"), class_name)
    if switch and class_name == BOUND_SELECTOR:
        test_class.create_event_loop = lambda self: switch.new_event_loop()
    suite = unittest.TestSuite(
        test
        for test in load(test_class)
        if test_id(test) not in options.not_test
        and (not options.test or test_id(test) in options.test)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        suite.run(JsonResult(out, switch, options.timeout))
    write(out, event="done", loop_type=type_name(switch))
    # Still armed while the process ends: a thread that is never joined must not go unseen.
    arm(options.timeout)


class JsonResult(unittest.TestResult):
    """Writes the start and the end of every test to a file."""

    def __init__(self, out: TextIO, switch: loop_switch.Switch | None, timeout: float) -> None:
        super().__init__()
        self._out = out
        self._switch = switch
        self._timeout = timeout
        self._made_before = 0
        self._outcome = ""
        self._details: list[str] = []

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._outcome, self._details = "", []
        self._made_before = self._switch.created if self._switch else 0
        write(self._out, event="start", test=test_id(test))
        arm(self._timeout)

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        made = self._switch.created - self._made_before if self._switch else 0
        write(
            self._out,
            event="end",
            test=test_id(test),
            outcome=self._outcome or "passed",
            detail="\n".join(self._details),
            loops=made,
        )

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self._set(test, "failed", self.failures[-1][1])

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self._set(test, "failed", self.errors[-1][1])

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            detail = [text for case, text in self.failures + self.errors if case is subtest][-1]
            self._set(test, "failed", f"{subtest}\n{detail}")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self._set(test, "skipped", reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self._set(test, "skipped", "expected failure")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        self._set(test, "failed", "unexpected success")

    def _set(self, test: object, outcome: str, detail: str) -> None:
        if not isinstance(test, unittest.TestCase):
            # setUpModule, setUpClass and their like are reported outside of any test.
            write(self._out, event="outside", test=str(test), outcome=outcome, detail=detail)
            return
        if self._outcome != "failed":  # a failure is not undone by a later skip
            self._outcome = outcome
        self._details.append(detail)


def load(test_class: type[unittest.TestCase]) -> unittest.TestSuite:
    return unittest.defaultTestLoader.loadTestsFromTestCase(test_class)


def type_name(switch: loop_switch.Switch | None) -> str:
    loop_type = switch.loop_type if switch else loop_switch.STDLIB_LOOP
    return f"{loop_type.__module__}.{loop_type.__qualname__}"


def test_id(test: Any) -> str:
    return str(test.id()).removeprefix(PACKAGE + ".")


def arm(timeout: float) -> None:
    # Fires from a thread of its own, even while the GIL is held: prints every stack and exits.
    faulthandler.dump_traceback_later(timeout, exit=True)


def write(out: TextIO, **fields: Any) -> None:
    out.write(json.dumps(fields) + "\n")


if __name__ == "__main__":
    main()
