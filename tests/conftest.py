"""Fixtures for all tests: the loop under test, a time limit, and the check for leaks."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import importlib
import inspect
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from helpers import LOOP_NAME, ErrorLog, connected, new_loop


def pytest_configure() -> None:
    """Let Ctrl-C reach the tests, and the programs that they start, whatever started pytest.

    A shell's `&` makes its children ignore SIGINT, and they theirs; tests that send one would wait.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# Far above what any test needs: it ends a test that hangs, it measures nothing. A process that no
# longer runs Python code is ended by pytest's own `faulthandler_timeout`.
# The attacks (tests/attacks) can be told to go on for longer.
TIME_LIMIT_SECONDS = 100 * max(1.0, float(os.environ.get("HOTLOOP_ATTACK_FACTOR", "1")))


class TimeLimit(KeyboardInterrupt):
    """Raised in a test that hangs. A KeyboardInterrupt, because a loop swallows any other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if LOOP_NAME == "hotloop":
        return
    skip = pytest.mark.skip(reason="about hotloop only")
    for item in items:
        if item.get_closest_marker("hotloop_only"):
            item.add_marker(skip)


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function on its fixture ``loop``."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    pyfuncitem.funcargs["loop"].run_until_complete(pyfuncitem.obj(**arguments))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    with _time_limit():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    with _time_limit():
        return (yield)


@pytest.fixture(autouse=True, scope="module")
def what_stays_is_not_searched() -> None:
    """Keep the collections at the end of every test short.

    What is imported by now, and pytest's reports of the modules before, stays to the end anyway.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the test if it leaves a descriptor, thread, child process or temporary file behind."""
    scratch = tmp_path_factory.mktemp("scratch")
    previous, tempfile.tempdir = tempfile.tempdir, str(scratch)
    descriptors, threads, wakeup = _open_descriptors(), set(threading.enumerate()), _wakeup_fd()
    try:
        yield
    finally:
        tempfile.tempdir = previous
    gc.collect()
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
        assert not thread.is_alive(), f"thread left behind: {thread!r}"
    left = _open_descriptors().items() - descriptors.items()
    assert not left, f"descriptors left open: {dict(left)}"
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    assert not list(scratch.iterdir()), "temporary files left behind"
    assert _wakeup_fd() == wakeup, "signal.set_wakeup_fd left changed"
    assert asyncio._get_running_loop() is None, "a loop is still marked as running"


@pytest.fixture
def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes loops of the kind under test; the test closes them."""
    return new_loop


@pytest.fixture
def errors() -> ErrorLog:
    """What ``loop`` reported to its exception handler. A test that expects reports takes them."""
    return ErrorLog()


@pytest.fixture
def loop(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], errors: ErrorLog
) -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of the kind under test, closed at the end; no task and no report may be left."""
    loop = loop_factory()
    loop.set_exception_handler(errors)
    yield loop
    pending: set[Any] = set()
    if not loop.is_closed():
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        pending = asyncio.all_tasks(loop)
        loop.close()
    assert loop.is_closed()
    assert not pending
    gc.collect()
    assert not errors.contexts


@pytest.fixture
def hotloop() -> ModuleType:
    """The module ``hotloop``, for tests with the marker ``hotloop_only``."""
    return importlib.import_module("hotloop")


@pytest.fixture(params=["hotloop", "asyncio"])
def streams(request: pytest.FixtureRequest) -> ModuleType:
    """A module with `StreamReader`, `open_connection` and the rest: hotloop's own, then asyncio's."""
    if request.param == "hotloop" and LOOP_NAME != "hotloop":
        pytest.skip("about hotloop only")
    return importlib.import_module(request.param)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected non-blocking Unix stream sockets."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        yield left, right


@pytest.fixture
def unix_path(tmp_path: Path) -> Path:
    """A free path for a Unix socket, short enough for ``sun_path`` (108 bytes, unix(7))."""
    path = tmp_path / "s"
    assert len(os.fsencode(path)) < 108
    return path


@pytest.fixture(params=["tcp", "unix"])
def link(request: pytest.FixtureRequest, unix_path: Path) -> Callable[..., Any]:
    """``helpers.connected`` over TCP, then over a Unix socket."""
    return functools.partial(connected, request.param, path=unix_path)


@pytest.fixture(params=["direct", "bio"] if LOOP_NAME == "hotloop" else ["its own"])
def tls_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes TLS connections on each of hotloop's engines; other loops have one."""
    if LOOP_NAME == "hotloop":
        monkeypatch.setenv("HOTLOOP_TLS", request.param)
    return str(request.param)


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def expire(signum: int, frame: object) -> None:
        raise TimeLimit

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT_SECONDS)
    try:
        yield
    except TimeLimit as hang:
        raise AssertionError(f"still running after {TIME_LIMIT_SECONDS} s") from hang
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _open_descriptors() -> dict[int, str]:
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        # The descriptor of the listing itself is gone by now.
        with contextlib.suppress(FileNotFoundError):
            descriptors[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return descriptors


def _wakeup_fd() -> int:
    current = signal.set_wakeup_fd(-1)
    if current != -1:
        signal.set_wakeup_fd(current)
    return current
