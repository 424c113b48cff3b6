"""Signals: asyncio's `add_signal_handler`, and a wait that no signal can slip past.

CPython's C-level handler notes a signal and writes its number to the descriptor that
`signal.set_wakeup_fd` named; Python-level handlers run later, in the main thread. While hotloop
runs in the main thread, that descriptor is its own, so that a signal that comes just before the
loop goes to sleep wakes it all the same. asyncio's own loop does this only once a handler was
added. A program that has set a wake-up descriptor of its own keeps it.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
import warnings
from asyncio import events
from typing import TYPE_CHECKING, Any

from ._borrowed import borrow
from ._state import State

_remove_signal_handler = borrow("remove_signal_handler")


class SignalMixin(State):
    """Signal handling for the loop; the borrowed functions use `_csock` and `_signal_handlers`."""

    __slots__ = ()

    if TYPE_CHECKING:
        _signal_handlers: dict[int, events.Handle]
        _ssock: socket.socket | None
        _wakeup_before: int | None
        _wakeup_socket: socket.socket | None

    if not TYPE_CHECKING:
        add_signal_handler = borrow("add_signal_handler")
        _handle_signal = borrow("_handle_signal")
        _check_signal = borrow("_check_signal")

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove the handler of a signal; return whether there was one.

        Raises ValueError and TypeError for what is no signal number; see asyncio's documentation.
        """
        removed: bool = _remove_signal_handler(self, sig)
        if removed and self._wakeup_before is not None and not self._signal_handlers:
            # asyncio has switched the wake-up descriptor off, but the loop still runs.
            signal.set_wakeup_fd(self._csock.fileno(), warn_on_full_buffer=False)
        return removed

    @property
    def _csock(self) -> Any:
        """The sending end of the pair whose other end the loop watches; made when it is needed."""
        if self._wakeup_socket is None:
            self._check_closed()
            self._ssock, self._wakeup_socket = socket.socketpair()
            self._ssock.setblocking(False)
            self._wakeup_socket.setblocking(False)
            self._watch_signal_fd(self._ssock.fileno())
        return self._wakeup_socket

    def _arm_wakeup(self) -> None:
        """Let signals wake the loop, if it is about to run in the main thread."""
        if threading.get_ident() != threading.main_thread().ident:
            return
        ours = self._csock.fileno()
        try:
            before = signal.set_wakeup_fd(ours, warn_on_full_buffer=False)
        except ValueError:
            return  # not the main interpreter: Python delivers no signals here
        if before not in (-1, ours):
            signal.set_wakeup_fd(before)
            return
        self._wakeup_before = before

    def _disarm_wakeup(self) -> None:
        """Put the wake-up descriptor back that was there before the loop ran."""
        before, self._wakeup_before = self._wakeup_before, None
        if before is None:
            return
        # A handler that was added during the run keeps the descriptor in use, as in asyncio.
        signal.set_wakeup_fd(self._csock.fileno() if self._signal_handlers else -1)

    def _close_signals(self) -> None:
        """Remove the handlers, as asyncio's Unix loop does when it is closed."""
        if sys.is_finalizing():
            if self._signal_handlers:
                warnings.warn(
                    f"Closing the loop {self!r} on interpreter shutdown stage, "
                    "skipping signal handlers removal",
                    ResourceWarning,
                    stacklevel=2,
                    source=self,
                )
                self._signal_handlers.clear()
        else:
            for sig in list(self._signal_handlers):
                self.remove_signal_handler(sig)
        if self._wakeup_socket is not None and self._ssock is not None:
            self._watch_signal_fd(-1)
            self._wakeup_socket.close()
            self._ssock.close()
            self._wakeup_socket = self._ssock = None
