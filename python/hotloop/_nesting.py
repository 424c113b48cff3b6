"""Running a loop inside itself, for programs that have asked for it with nest_asyncio.

`nest_asyncio.apply()` replaces methods of the loop's class by its own copy of asyncio's iteration,
which works on asyncio's queues: the selector, a list of timers, a deque of handles. Ours are native.
But before it does so it asks whether the loop has an attribute `_nest_patched`; the loop answers
yes, and from then on allows by itself what the patch would have: `run_until_complete()` while it
runs. What nest_asyncio does to asyncio as a whole (`asyncio.run`, tasks in Python) it does as ever.
"""

import threading
from asyncio import ensure_future, tasks
from typing import TYPE_CHECKING, Any

from ._seldom import SeldomMixin, next_in_line
from ._state import LoopBase


class NestingMixin(LoopBase):
    """What nest_asyncio asks the loop for."""

    if TYPE_CHECKING:
        _nesting: bool

    @property
    def _nest_patched(self) -> bool:
        """nest_asyncio looks for this before it patches a loop; see the module's text."""
        self._nesting = True
        SeldomMixin.run_until_complete = run_until_complete  # type: ignore[method-assign]
        return True


def run_until_complete(self: Any, future: Any) -> Any:
    """Run until the future or coroutine is done; return its result or raise its exception.

    Raises RuntimeError if the loop is closed, is stopped before the future is done, or runs
    already (unless nest_asyncio was applied to it).
    """
    if self._thread_id != threading.get_ident() or not getattr(self, "_nesting", False):
        return next_in_line(self).run_until_complete(future)
    self._check_closed()
    task = ensure_future(future, loop=self)
    if task is not future:
        task._log_destroy_pending = False
    # Tasks written in Python note themselves here, those in C elsewhere from 3.14 on.
    current: Any = tasks._current_tasks  # type: ignore[attr-defined]
    outer_in_python = current.pop(self, None)
    outer = tasks.current_task(self)
    if outer is not None:
        tasks._leave_task(self, outer)
    try:
        while not task.done():
            self._run_once()
            if self._stopping:
                break
    finally:
        if outer is not None:
            tasks._enter_task(self, outer)
        if outer_in_python is not None:
            current[self] = outer_in_python
    if not task.done():
        raise RuntimeError("Event loop stopped before Future completed.")
    return task.result()
