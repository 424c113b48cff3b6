"""CPython's own tests of futures and tasks, bound to hotloop's classes.

    python tests/suites/cpython_tasks.py [--loop asyncio|hotloop] [CLASS ...]

The test classes of `test.test_asyncio` that CPython binds to its C and to its Python classes are
bound here to `hotloop.Future` and `hotloop.Task`, alone and mixed with asyncio's own; and those of what
is built on tasks (task groups, timeouts, queues, locks) run on a loop that makes the two. Where a test
fails, the same test is run on the C classes in the same way: one that fails there does not count.
The last line is `N passed, M failed`.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import importlib
import sys
import unittest
import warnings
from asyncio import futures, tasks
from typing import Any

import hotloop
import switch

#: Seconds for one class.
LIMIT = 300.0

#: What is built on tasks and futures: the modules whose tests get loops that make those under test.
BUILT_ON_TASKS = ("test_taskgroups", "test_timeouts", "test_waitfor", "test_queues", "test_locks")


def bound_classes(future: Any, task: Any, task_module: Any) -> dict[str, type[unittest.TestCase]]:
    """The test classes of this Python, bound to one pair of classes.

    Args:
        future: the future class under test.
        task: the task class under test.
        task_module: `test.test_asyncio.test_tasks`, imported anew for each pair.
    """
    base = task_module.test_utils.TestCase
    future_tests = importlib.import_module("test.test_asyncio.test_futures")
    made: dict[str, Any] = {}

    def bind(name: str, *bases: Any, subclasses: bool = False, **attributes: Any) -> None:
        # In this module, so that the tests' names are the same for every pair.
        bound = type(name, (*bases, base), {"__module__": __name__, **attributes})
        made[name] = task_module.add_subclass_tests(bound) if subclasses else bound

    of_tasks = task_module.BaseTaskTests
    both = {"Task": task, "Future": future}
    bind("TaskTests", of_tasks, task_module.SetMethodsTest, **both)
    bind("TaskSubclassTests", of_tasks, subclasses=True, **both)
    for name, other in (("C", futures.Future), ("Py", futures._PyFuture)):
        bind(f"Task{name}FutureTests", of_tasks, Task=task, Future=other)
        bind(f"TaskSubclass{name}FutureTests", of_tasks, subclasses=True, Task=task, Future=other)
    for name, other in (("C", tasks.Task), ("Py", tasks._PyTask)):
        bind(f"{name}TaskFutureTests", of_tasks, Task=other, Future=future)
        bind(f"{name}TaskFutureSubclassTests", of_tasks, subclasses=True, Task=other, Future=future)

    def new_current_task(self: Any, coroutine: Any) -> Any:
        return task(coroutine, loop=self.loop)

    bind(
        "CurrentLoopTests",
        task_module.BaseCurrentLoopTests,
        new_task=new_current_task,
        current_task=staticmethod(asyncio.current_task),
    )
    functions = ("_register_task", "_unregister_task", "_enter_task", "_leave_task")
    bind(
        "IntrospectionTests",
        task_module.BaseTaskIntrospectionTests,
        **{name: staticmethod(getattr(tasks, name)) for name in functions},
    )
    subclass = type("SubFuture", (future,), {})
    for name, kind in (("Future", future), ("SubFuture", subclass)):
        bind(f"{name}Tests", future_tests.BaseFutureTests, cls=kind)
        bind(
            f"{name}DoneCallbackTests",
            future_tests.BaseFutureDoneCallbackTests,
            _new_future=lambda self, kind=kind: kind(loop=self.loop),
        )
    bind(
        "FutureInheritanceTests",
        future_tests.BaseFutureInheritanceTests,
        _get_future_cls=lambda self: future,
    )
    if sys.version_info >= (3, 12):
        eager = importlib.import_module("test.test_asyncio.test_eager_task_factory")
        bind("EagerTaskFactoryTests", eager.EagerTaskFactoryLoopTests, Task=task)
        bind("EagerCountingTests", eager.BaseEagerTaskFactoryTests, Task=task)
        bind("NonEagerCountingTests", eager.BaseNonEagerTaskFactoryTests, Task=task)
    if sys.version_info >= (3, 14):
        graph = importlib.import_module("test.test_asyncio.test_graph")
        graph.asyncio = EitherTask()
        bind(
            "CallGraphTests",
            graph.CallStackTestBase,
            unittest.IsolatedAsyncioTestCase,
            loop_factory=staticmethod(lambda: loop_with_tasks(task)),
        )
    for module in BUILT_ON_TASKS:
        made.update(on_loops_with(future, task, module))
    return made


def on_loops_with(future: Any, task: Any, module: str) -> dict[str, type[unittest.TestCase]]:
    """The test classes of a module, on loops that make these futures and tasks."""

    class Made:
        def _setupAsyncioRunner(self: Any) -> None:
            super()._setupAsyncioRunner()
            loop = self._asyncioRunner.get_loop()
            eager = loop.get_task_factory() is not None

            def make(loop: Any, coroutine: Any, **options: Any) -> Any:
                if eager:
                    options.setdefault("eager_start", True)
                return task(coroutine, loop=loop, **options)

            loop.set_task_factory(make)
            loop.create_future = lambda: future(loop=loop)

    every = vars(importlib.import_module(f"test.test_asyncio.{module}"))
    return {
        name: type(name, (Made, found), {"__module__": __name__})
        for name, found in every.items()
        if isinstance(found, type)
        and issubclass(found, unittest.IsolatedAsyncioTestCase)
        and found is not unittest.IsolatedAsyncioTestCase
    }


class EitherTask:
    """The package asyncio for `test_graph`, which asks whether something is an `asyncio.Task`."""

    Task = (tasks.Task, hotloop.Task)

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)


def loop_with_tasks(task: Any) -> asyncio.AbstractEventLoop:
    """A loop of the kind under test that makes tasks of a class."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(lambda loop, coro, **options: task(coro, loop=loop, **options))
    return loop


def classes_under_test() -> list[str]:
    """The names of all classes."""
    module = importlib.import_module("test.test_asyncio.test_tasks")
    return list(bound_classes(hotloop.Future, hotloop.Task, module))


def run(test_class: type[unittest.TestCase], only: set[str] | None = None) -> unittest.TestResult:
    """Runs the tests of one class, or some of them by the names of their methods."""
    every = unittest.defaultTestLoader.loadTestsFromTestCase(test_class)
    suite = unittest.TestSuite(
        test for test in every if only is None or test.id().rpartition(".")[2] in only
    )
    result = unittest.TestResult()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        suite.run(result)
    return result


def failures(result: unittest.TestResult) -> dict[str, str]:
    """The failed tests by the names of their methods, each with its traceback."""
    return {test.id().rpartition(".")[2]: text for test, text in result.failures + result.errors}


def main() -> int:
    """Run the classes that are named, or all; 0 if nothing fails that passes on asyncio's own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("classes", nargs="*", help="names of test classes")
    parser.add_argument("--loop", default="hotloop", help="the loop that the tests make")
    options = parser.parse_args()
    switch.install(options.loop)
    module = importlib.import_module("test.test_asyncio.test_tasks")
    ours = bound_classes(hotloop.Future, hotloop.Task, module)
    models = bound_classes(futures.Future, tasks.Task, module)
    passed = failed = 0
    for name in options.classes or ours:
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        result = run(ours[name])
        bad = failures(result)
        if bad:
            for excused in failures(run(models[name], set(bad))):
                del bad[excused]
        for test, text in bad.items():
            sys.stdout.write(f"FAILED {name}.{test}\n{text}\n")
        passed += result.testsRun - len(bad) - len(result.skipped)
        failed += len(bad)
    sys.stdout.write(f"{passed} passed, {failed} failed\n")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
