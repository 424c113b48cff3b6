"""A task of a third party in plain Python, as asyncio's page about extending it describes one.

It uses nothing of asyncio but what that page offers (`_register_task`, `_unregister_task`,
`_enter_task`, `_leave_task`), the future protocol, and the public methods of a loop.
"""

from __future__ import annotations

import asyncio
import contextvars
from asyncio import tasks
from collections.abc import Coroutine
from typing import Any


class ThirdPartyTask(asyncio.Future[Any]):
    """Runs a coroutine: a future that is done when the coroutine is."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        *,
        loop: asyncio.AbstractEventLoop,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> None:
        super().__init__(loop=loop)
        self._coroutine = coroutine
        self._name = name or f"third-{id(self)}"
        self._own_context = contextvars.copy_context() if context is None else context
        self._waits_for: Any = None
        self._cancel_requested = False
        self._message: Any = None
        loop.call_soon(self._step, context=self._own_context)
        tasks._register_task(self)

    def get_name(self) -> str:
        return self._name

    def set_name(self, name: object) -> None:
        self._name = str(name)

    def get_coro(self) -> Coroutine[Any, Any, Any]:
        return self._coroutine

    def cancel(self, msg: Any = None) -> bool:
        if self.done():
            return False
        if self._waits_for is not None and self._waits_for.cancel(msg=msg):
            return True
        self._cancel_requested, self._message = True, msg
        return True

    def cancelling(self) -> int:
        return int(self._cancel_requested)

    def uncancel(self) -> int:
        self._cancel_requested = False
        return 0

    def _step(self, error: BaseException | None = None) -> None:
        if self._cancel_requested:
            self._cancel_requested = False
            error = (
                asyncio.CancelledError()
                if self._message is None
                else asyncio.CancelledError(self._message)
            )
        self._waits_for = None
        loop = self.get_loop()
        tasks._enter_task(loop, self)
        try:
            if error is None:
                wanted = self._coroutine.send(None)
            else:
                wanted = self._coroutine.throw(error)
        except StopIteration as stop:
            tasks._unregister_task(self)
            self.set_result(stop.value)
        except asyncio.CancelledError:
            tasks._unregister_task(self)
            super().cancel()
        except (KeyboardInterrupt, SystemExit) as end:
            tasks._unregister_task(self)
            self.set_exception(end)
            raise
        except BaseException as failure:
            tasks._unregister_task(self)
            self.set_exception(failure)
        else:
            self._wait_for(wanted)
        finally:
            tasks._leave_task(loop, self)

    def _wait_for(self, wanted: Any) -> None:
        if wanted is None:
            self.get_loop().call_soon(self._step, context=self._own_context)
        else:
            assert wanted._asyncio_future_blocking
            wanted._asyncio_future_blocking = False
            wanted.add_done_callback(self._wake, context=self._own_context)
            self._waits_for = wanted

    def _wake(self, future: Any) -> None:
        try:
            future.result()
        except BaseException as error:
            self._step(error)
        else:
            self._step()


def task_factory(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
) -> ThirdPartyTask:
    """For `loop.set_task_factory()`."""
    options.pop("eager_start", None)
    return ThirdPartyTask(coroutine, loop=loop, **options)
