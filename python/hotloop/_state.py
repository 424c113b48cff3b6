"""The loop's attributes that are not native, in slots.

A method call on an object whose `__dict__` is empty is what the interpreter specialises best
(`LOAD_ATTR_METHOD_LAZY_DICT`), and `loop.call_soon` is called more often than anything else. So
what `BaseEventLoop.__init__` sets on every loop goes into slots; programs can still set attributes
of their own.
"""

from typing import TYPE_CHECKING

from . import _core

if TYPE_CHECKING:
    import asyncio
    from typing import Any


class State(_core.Loop):
    """Slots for the attributes of `asyncio.BaseEventLoop` on 3.11-3.15 and for our own."""

    __slots__ = (
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_clock_resolution",
        "_core_is_open",
        "_coroutine_origin_tracking_enabled",
        "_coroutine_origin_tracking_saved_depth",
        "_csock",
        "_current_handle",
        "_default_executor",
        "_exception_handler",
        "_executor_shutdown_called",
        "_executor_was_set",
        "_internal_fds",
        "_lookups",
        "_old_agen_hooks",
        "_selector_view",
        "_signal_handlers",
        "_ssock",
        "_transports",
        "_unix_server_sockets",
        "_wakeup_before",
        "slow_callback_duration",
    )


if TYPE_CHECKING:

    class LoopBase(_core.Loop, asyncio.BaseEventLoop):
        """What the loop's mix-ins may use of it; the private names are `BaseEventLoop`'s."""

        _executor_shutdown_called: bool
        _lookups: dict[Any, Any]
        _old_agen_hooks: Any
        _transports: Any

        def _check_closed(self) -> None: ...
        def _check_running(self) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: Any) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: Any) -> None: ...
        def _run_forever_setup(self) -> None: ...
        async def _finished(self, operation: Any) -> Any: ...
        def _run_forever_cleanup(self) -> None: ...
        async def _ensure_resolved(
            self,
            address: Any,
            *,
            family: int = 0,
            type: int = 0,
            proto: int = 0,
            flags: int = 0,
            loop: asyncio.AbstractEventLoop,
        ) -> list[Any]: ...

else:
    #: The base of the loop's mix-ins: for type checkers the loop itself. At run time it is nothing,
    #: so that `_core.Loop` stands before them in the method order, as near to the front as can be:
    #: each call of a native method looks for it there.
    LoopBase = object
