"""Signals: asyncio's `add_signal_handler`, and a wait that no signal can slip past.

CPython's C-level handler notes a signal and writes its number to the descriptor that
`signal.set_wakeup_fd` named; Python-level handlers run later, in the main thread. While hotloop
runs in the main thread, that descriptor is its own, so that a signal that comes just before the
loop goes to sleep wakes it all the same. asyncio's own loop does this only once a handler was
added. A program that has set a wake-up descriptor of its own keeps it.
"""

import signal
import socket
import sys
import threading
import warnings
from asyncio import events
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVarTuple

from ._borrowed import borrow
from ._state import LoopBase

_Ts = TypeVarTuple("_Ts")

_add_signal_handler = borrow("add_signal_handler")
_remove_signal_handler = borrow("remove_signal_handler")


class SignalMixin(LoopBase):
    """Signal handling for the loop; the borrowed functions use `_csock` and `_signal_handlers`."""

    __slots__ = ()

    if TYPE_CHECKING:
        _signal_handlers: dict[int, events.Handle]
        _ssock: socket.socket
        _csock: socket.socket
        _internal_fds: int
        _wakeup_before: int | None

        def _handle_signal(self, sig: int) -> None: ...

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

    def _forget_signals(self) -> None:
        """No handlers, no pair of sockets yet."""
        self._signal_handlers = {}
        self._wakeup_before = None
        self._ssock = self._csock = None  # type: ignore[assignment]

    def _make_self_pipe(self) -> None:
        """Make the pair: signals write to one end, the loop watches the other."""
        self._ssock, self._csock = socket.socketpair()
        self._ssock.setblocking(False)
        self._csock.setblocking(False)
        self._internal_fds += 1
        self._watch_signal_fd(self._ssock.fileno())

    def _close_self_pipe(self) -> None:
        """Close the pair, as far as it was made."""
        self._watch_signal_fd(-1)
        for end in (self._ssock, self._csock):
            if end is not None:  # an interrupt ended the making of the loop
                end.close()
        self._internal_fds = 0

    def _read_from_self(self) -> None:
        """Read what the pair brought: `_process_self_data` gets it."""
        self._read_signals()

    def _process_self_data(self, data: bytes) -> None:
        """Handle the signals whose numbers these are; a zero only wakes the loop."""
        for number in data:
            if number:
                self._handle_signal(number)

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
        self._close_self_pipe()
