"""Putting work into the queue of a `ThreadPoolExecutor`, for the core's `run_in_executor`.

The facts, from `concurrent/futures/thread.py` of 3.11-3.15: `submit` looks, under the pool's lock
and that of the module, whether the pool is broken or shut down; makes a work item; puts it into
`_work_queue`; and calls `_adjust_thread_count`. A worker calls the item's `run()` (from 3.14 on
with a context of its own); `shutdown(cancel_futures=True)` calls `item.future.cancel()`, a failed
initializer `item.future.set_exception(...)`. The core's calls have these methods.

Imported by the core when an executor is used for the first time.
"""

from __future__ import annotations

import concurrent.futures.thread as thread
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, _base
from typing import Any

_thread: Any = thread
submit = ThreadPoolExecutor.submit
#: Where the pools report what a future's callback raised.
logger = _base.LOGGER


def _enqueue(executor: Any, call: Any) -> bool:
    """Give a call to the pool's threads; False if the pool takes none any more."""
    with executor._shutdown_lock, _thread._global_shutdown_lock:
        if executor._broken or executor._shutdown or _thread._shutdown:
            return False
        executor._work_queue.put(call)
        executor._adjust_thread_count()
        return True


def _known() -> bool:
    """Whether this Python's pools have the parts that are used above."""
    used = {"_shutdown_lock", "_broken", "_shutdown", "_work_queue", "_adjust_thread_count", "put"}
    code = getattr(submit, "__code__", None)
    return (
        code is not None
        and used <= {*code.co_names}
        and hasattr(_thread, "_global_shutdown_lock")
        and hasattr(_thread, "_shutdown")
    )


#: None on a Python whose pools are not known: then asyncio's own way is taken.
enqueue: Callable[[Any, Any], bool] | None = _enqueue if _known() else None
