"""`add_signal_handler` and its relatives: asyncio's own, beside the loop's wake-up descriptor (`_signals.py`)."""

import signal
import socket
from asyncio import events
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVarTuple

from ._borrowed import borrow
from ._state import LoopBase

_Ts = TypeVarTuple("_Ts")

_add_signal_handler = borrow("add_signal_handler")
_remove_signal_handler = borrow("remove_signal_handler")


class SignalHandlerMixin(LoopBase):
    """Handlers of signals; the borrowed functions use `_csock` and `_signal_handlers`."""

    if TYPE_CHECKING:
        _signal_handlers: dict[int, events.Handle]
        _csock: socket.socket
        _wakeup_before: int | None

    if not TYPE_CHECKING:
        _handle_signal = borrow("_handle_signal")
        _check_signal = borrow("_check_signal")

    def add_signal_handler(self, sig: int, callback: Callable[[*_Ts], object], *args: *_Ts) -> None:
        """Call `callback(*args)` in the loop when a signal arrives.

        Raises ValueError, TypeError or RuntimeError for a signal that cannot be handled, from
        another thread than the main one, and for coroutines; see asyncio's documentation.
        """
        _add_signal_handler(self, sig, callback, *args)
        self._handle_signals(True)

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove the handler of a signal; return whether there was one.

        Raises ValueError and TypeError for what is no signal number; see asyncio's documentation.
        """
        removed: bool = _remove_signal_handler(self, sig)
        self._handle_signals(bool(self._signal_handlers))
        if removed and self._wakeup_before is not None and not self._signal_handlers:
            # asyncio has switched the wake-up descriptor off, but the loop still runs.
            signal.set_wakeup_fd(self._csock.fileno(), warn_on_full_buffer=False)
        return removed
