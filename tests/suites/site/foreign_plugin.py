"""A pytest plugin that writes how each test ended as a line of JSON, and binds uvloop's own tests.

Loaded with `-p foreign_plugin` by `foreign_run.py`. A line is written when a test begins and when it
ends, so that a crash shows in which test it was. `HOTLOOP_FOREIGN_OUT` is the file's path;
`HOTLOOP_FOREIGN_ONLY`, if set, that of a file with the tests to run, one on each line.
"""

import gc
import json
import logging
import os
import resource
from pathlib import Path

import pytest

_out = open(os.environ["HOTLOOP_FOREIGN_OUT"], "a", buffering=1, encoding="utf-8")  # noqa: SIM115
_only = os.environ.pop("HOTLOOP_FOREIGN_ONLY", None)
_outcomes: dict = {}
_seconds: dict = {}
_owner = os.getpid()


def pytest_configure() -> None:
    bind = os.environ.get("HOTLOOP_FOREIGN_BIND")
    if bind == "uvloop":
        _bind_uvloop()
    elif bind == "tornado":
        # As its own runner does: its tests fail on records that they do not expect.
        logging.getLogger("tornado.access").setLevel(logging.CRITICAL)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _only is not None:
        chosen = set(Path(_only).read_text(encoding="utf-8").split("\n"))
        left_out = [item for item in items if item.nodeid not in chosen]
        items[:] = [item for item in items if item.nodeid in chosen]
        config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish(session: pytest.Session) -> None:
    _write(event="collected", tests=[item.nodeid for item in session.items])
    # Some suites collect garbage after every test; what is imported by now stays to the end anyway.
    gc.collect()
    gc.freeze()


def pytest_runtest_logstart(nodeid: str) -> None:
    _write(event="start", test=nodeid)
    _outcomes[nodeid] = ("passed", "")


def pytest_runtest_logreport(report: "pytest.TestReport") -> None:
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0) + report.duration
    if report.failed:
        detail = report.longreprtext[-4000:]
        _outcomes[report.nodeid] = ("failed", f"{report.when}: {detail}")
    elif report.skipped and _outcomes.get(report.nodeid, ("", ""))[0] == "passed":
        _outcomes[report.nodeid] = ("skipped", str(report.longrepr)[-500:])


def pytest_runtest_logfinish(nodeid: str) -> None:
    outcome, detail = _outcomes.pop(nodeid, ("passed", ""))
    seconds = round(_seconds.pop(nodeid, 0), 3)
    _write(event="end", test=nodeid, outcome=outcome, detail=detail, seconds=seconds)


def pytest_sessionfinish(exitstatus: int) -> None:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(times.ru_utime + times.ru_stime for times in used)
    _write(event="done", status=int(exitstatus), cpu=cpu)


def pytest_unconfigure() -> None:
    _out.close()


def _write(**line: object) -> None:
    if os.getpid() == _owner:  # a forked child of a test is not the one that runs the tests
        _out.write(json.dumps(line) + "\n")


def _bind_uvloop() -> None:
    """Let the classes that test uvloop's loop test asyncio's default loop, whatever that is."""
    from uvloop import _testbase

    for name in ("implementation", "new_loop", "new_policy"):
        setattr(_testbase.UVTestCase, name, getattr(_testbase.AIOTestCase, name))
