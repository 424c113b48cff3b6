"""Event loops by name, so that every benchmark can be run on any of them.

A name is ``asyncio`` or a module with asyncio's ``new_event_loop()``: hotloop, uvloop, rloop, ….
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import importlib.util
import platform
from typing import cast


class LoopNotInstalled(Exception):
    """The module that a loop's name stands for is not in this Python."""


def make_loop(name: str) -> asyncio.AbstractEventLoop:
    """Make a new event loop.

    :param name: ``asyncio`` for the standard library's selector loop, else a module's name (str).
    :raises LoopNotInstalled: if there is no such module, or it makes no loops.
    """
    if name == "asyncio":
        return asyncio.SelectorEventLoop()
    check_installed(name)
    factory = getattr(importlib.import_module(name), "new_event_loop", None)
    if factory is None:
        raise LoopNotInstalled(f"module {name} has no new_event_loop()")
    return cast(asyncio.AbstractEventLoop, factory())


def check_installed(name: str) -> None:
    """Raise `LoopNotInstalled`, with the command that helps, if *name* (str) cannot be imported."""
    if name == "asyncio":
        return
    if not name.isidentifier() or importlib.util.find_spec(name) is None:
        source = "." if name == "hotloop" else name
        raise LoopNotInstalled(
            f"the loop {name!r} is not installed in this Python; try: pip install {source}"
        )


def version_of(name: str) -> str:
    """The version of the loop *name* (str), for the report; Python's own for ``asyncio``."""
    if name == "asyncio":
        return platform.python_version()
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
