"""Puts a chosen event loop in place of the default one, for code that knows nothing about it.

Used by the suites in this directory, either by calling `install` inside a child process or, for
suites with a runner of their own, by `site/sitecustomize.py`.

Where the switch is made: `asyncio.new_event_loop()`, `asyncio.run()`, `asyncio.Runner` and
`unittest.IsolatedAsyncioTestCase` all end in the default policy's `_loop_factory` (CPython 3.11 to
3.15), so that one class attribute is replaced. Replacing the functions instead would also defeat
the policies that a test sets on purpose. On a Python without policies the functions are replaced.

Code that names the class (`asyncio.SelectorEventLoop()`, `asyncio.EventLoop()`) gets the chosen
loop too, but only when it passes no argument: with a selector it asks for the stdlib loop itself.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import Any

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

#: The stdlib's own class, taken before anything is replaced.
STDLIB_LOOP: type[asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop


class Switch:
    """What is in place of the default loop, and how often it was used.

    `created` is the number of loops made by the switch since it was installed; `loop_type` is the
    type of the loop under test.
    """

    def __init__(self, factory: LoopFactory) -> None:
        self._factory = factory
        self.created = 0
        probe = factory()
        self.loop_type = type(probe)
        probe.close()

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A new loop under test, counted."""
        loop = self._factory()
        self.created += 1
        return loop


def install(loop: str) -> Switch:
    """Makes every default way of creating a loop return the one that `loop` names.

    Args:
        loop: `str`; `hotloop`, `uvloop`, `asyncio`, or `module:callable` for another factory.

    Raises:
        ImportError: the package of that loop is not installed.
        AttributeError: the module has no such callable.
    """
    switch = Switch(find_factory(loop))
    _replace_factory(switch.new_event_loop)
    _replace_classes(switch)
    return switch


def find_factory(loop: str) -> LoopFactory:
    """The callable that makes the loop named by `loop` (see `install` for names and errors)."""
    if loop == "asyncio":
        return STDLIB_LOOP
    module, _, attribute = loop.partition(":")
    factory: LoopFactory = getattr(importlib.import_module(module), attribute or "new_event_loop")
    return factory


def _replace_factory(factory: LoopFactory) -> None:
    # 3.14 renamed the class; the public name there is a deprecated alias that warns when touched.
    from asyncio import unix_events

    policy: Any = getattr(unix_events, "_UnixDefaultEventLoopPolicy", None)
    if policy is not None and hasattr(policy, "_loop_factory"):
        policy._loop_factory = staticmethod(factory)
        return
    asyncio.new_event_loop = factory
    asyncio.events.new_event_loop = factory


def _replace_classes(switch: Switch) -> None:
    class StandInType(type):
        """Calling without arguments gives the loop under test; all else is as on the class."""

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if cls is stand_in and not args and not kwargs:
                return switch.new_event_loop()
            return (STDLIB_LOOP if cls is stand_in else super().__call__)(*args, **kwargs)

        def __instancecheck__(cls, instance: object) -> bool:
            if cls is stand_in:
                return isinstance(instance, (STDLIB_LOOP, switch.loop_type))
            return super().__instancecheck__(instance)

        def __subclasscheck__(cls, subclass: type) -> bool:
            if cls is stand_in:
                return issubclass(subclass, (STDLIB_LOOP, switch.loop_type))
            return super().__subclasscheck__(subclass)

    stand_in: Any = StandInType(STDLIB_LOOP.__name__, (STDLIB_LOOP,), {})
    for name in ("SelectorEventLoop", "EventLoop"):  # `EventLoop` exists since 3.13
        if getattr(asyncio, name, None) is STDLIB_LOOP:
            setattr(asyncio, name, stand_in)
