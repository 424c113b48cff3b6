"""The await graph of Python 3.14: `asyncio.capture_call_graph()` and its relatives, told of our tasks.

CPython's functions know its own futures only: they refuse others, and pass over them when somebody
notes who waits for whom. When the first `hotloop.Future` or `hotloop.Task` of a process is made, the
core calls `install()`, which

- puts the core's functions in the place of `asyncio.future_add_to_awaited_by` and
  `asyncio.future_discard_from_awaited_by`: what is not about our futures they hand on;
- has `asyncio.graph` take our classes where it takes asyncio's.

For futures of asyncio the graph is what it was, with the tasks of ours that wait for them added.
"""

from __future__ import annotations

import asyncio
from asyncio import futures, tasks
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from . import _core

_FUNCTIONS = ("future_add_to_awaited_by", "future_discard_from_awaited_by")

_graph: Any = import_module("asyncio.graph")
_build_graph = _graph._build_graph_for_future

#: The tasks of ours that wait for a future of asyncio in another way than with `await`.
_noted: WeakKeyDictionary[Any, WeakSet[Any]] = WeakKeyDictionary()


def install() -> None:
    """Put all of this in place; does nothing the second time."""
    if _graph._build_graph_for_future is _build_for_both:
        return
    for module in (asyncio, futures):
        for name in _FUNCTIONS:
            setattr(module, name, getattr(_core, f"_{name}"))
    _graph.futures = _Both(futures, Future=_core.Future)
    _graph.tasks = _Both(tasks, Task=_core.Task)
    _graph._build_graph_for_future = _build_for_both


def note(future: Any, waiter: Any) -> None:
    """Note that a task of ours waits for a future of asyncio."""
    _noted.setdefault(future, WeakSet()).add(waiter)


def forget(future: Any, waiter: Any) -> None:
    """Note that it no longer does."""
    waiting = _noted.get(future)
    if waiting is not None:
        waiting.discard(waiter)
        if not waiting:
            del _noted[future]


class _Both:
    """A module as `asyncio.graph` sees it: a class in it stands for asyncio's and ours."""

    def __init__(self, module: ModuleType, **ours: type) -> None:
        self._module = module
        self._ours = ours

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        return found | self._ours[name] if name in self._ours else found


def _build_for_both(future: Any, *, limit: int | None = None) -> Any:
    """The graph of a future, with the tasks of ours that wait for it."""
    built = _build_graph(future, limit=limit)
    if isinstance(future, _core.Future):
        return built
    known = [waiting.future for waiting in built.awaited_by]
    added = []
    for task in _waiting_tasks(future):
        if task not in known:
            known.append(task)
            added.append(_build_for_both(task, limit=limit))
    return replace(built, awaited_by=(*built.awaited_by, *added)) if added else built


def _waiting_tasks(future: Any) -> Iterator[Any]:
    """The tasks of ours that wait for a future of asyncio."""
    for callback, _ in future._callbacks or ():
        owner = getattr(callback, "__self__", None)
        if isinstance(owner, _core.Task) and callback.__name__ == "task_wakeup":
            yield owner
    yield from list(_noted.get(future, ()))
