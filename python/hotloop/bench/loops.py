"""Event loops by name, so that every benchmark can be run on any of them.

A name is ``asyncio`` or a module with asyncio's ``new_event_loop()``: hotloop, uvloop, rloop, ….
aiofastnet is transports on top of another loop: ``aiofastnet`` is it over asyncio's,
``aiofastnet+uvloop`` over uvloop's.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Callable, Iterator
from typing import cast

# Those that a table compares, if they are installed, in its order.
KNOWN = (
    "hotloop",
    "asyncio",
    "uvloop",
    "rloop",
    "zloop",
    "blazio",
    "zuvloop",
    "rsloop",
    "aiofastnet",
    "aiofastnet+uvloop",
)

# The build for tests, with every assertion on: nothing that a measurement should be made of.
CHECKED = "checked"

Factory = Callable[[], asyncio.AbstractEventLoop]


class LoopNotInstalled(Exception):
    """The module that a loop's name stands for is not in this Python."""


def make_loop(name: str, *, own_tasks: bool = False) -> asyncio.AbstractEventLoop:
    """Make a new event loop.

    :param name: ``asyncio`` for the standard library's selector loop, else a module's name (str).
    :param own_tasks: whether it makes tasks and futures of its own; only hotloop has some.
    :raises LoopNotInstalled: if there is no such module, or it makes no loops.
    """
    make = factory(name)
    if own_tasks and name == "hotloop":
        return cast(asyncio.AbstractEventLoop, sys.modules[name].EventLoop(native_tasks=True))
    return make()


def factory(name: str) -> Factory:
    """What makes the loops of that *name* (str); raises as `make_loop` does."""
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    check_installed(name)
    top, _, under = name.partition("+")
    module = importlib.import_module(top)
    if top == "aiofastnet":
        on_top_of = factory(under or "asyncio")
        return cast(Factory, module.loop_factory(on_top_of))
    found = getattr(module, "new_event_loop", None)
    if found is None:
        raise LoopNotInstalled(f"module {name} has no new_event_loop()")
    return cast(Factory, found)


def check_installed(name: str) -> None:
    """Raise `LoopNotInstalled`, with the command that helps, if *name* (str) cannot be imported."""
    for module in modules(name):
        if not module.isidentifier() or importlib.util.find_spec(module) is None:
            source = "." if module == "hotloop" else module
            raise LoopNotInstalled(
                f"the loop {module!r} is not installed in this Python; try: pip install {source}"
            )


def installed() -> list[str]:
    """The loops (names, str) of `KNOWN` that this Python has."""
    found = []
    for name in KNOWN:
        try:
            check_installed(name)
        except LoopNotInstalled:
            continue
        found.append(name)
    return found


def version_of(name: str) -> str:
    """The version of the loop *name* (str), for the report; Python's own for ``asyncio``.

    Of hotloop also how it was built: numbers of two builds are two things.
    """
    if name == "asyncio":
        return platform.python_version()
    versions = []
    for module in modules(name):
        try:
            version = importlib.metadata.version(module)
        except importlib.metadata.PackageNotFoundError:
            version = "unknown"
        versions.append(f"{version} ({build()})" if module == "hotloop" else version)
    return "+".join(versions)


def build() -> str:
    """How the installed hotloop was built (str): ``release``, ``profile-guided`` or `CHECKED`."""
    return str(importlib.import_module("hotloop._core").__build__)


def modules(name: str) -> Iterator[str]:
    """Yield the modules (str) that the loop *name* (str) is made of, beside the stdlib's."""
    for part in name.split("+"):
        if part != "asyncio":
            yield part
