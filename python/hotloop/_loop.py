"""`hotloop.EventLoop`: the native loop in front of `asyncio.BaseEventLoop`.

What is hot is in `_core.Loop` and comes first in the method order; what is not is the running
Python's own code, inherited or borrowed (`_borrowed.py`).
"""

import asyncio
import socket
import sys
import threading
from asyncio import events
from typing import TYPE_CHECKING, Any

from . import _core
from ._borrowed import borrow, borrow_for
from ._core import task_factory
from ._seldom import SeldomMixin
from ._signals import SignalMixin
from ._sockets import SocketMixin
from ._state import State
from ._transports import Transports

if TYPE_CHECKING:
    from ._selector_view import SelectorView


class EventLoop(State, SignalMixin, SocketMixin, SeldomMixin, asyncio.BaseEventLoop):
    """An asyncio event loop in Rust.

    It has every method of the running Python's `asyncio.AbstractEventLoop`, with the signatures,
    exceptions and orders of the stdlib's own loop; see the asyncio documentation for each. It can
    be subclassed: a private hook (`_make_socket_transport`, `_run_once`, `time`, ...) that a
    subclass overrides is called wherever asyncio would call it.

    Arguments:
        native_tasks: True makes futures and tasks of hotloop (`hotloop.Future`, `hotloop.Task`):
            `create_future()` returns the former, and `hotloop.task_factory` is the task factory.
            False leaves both to asyncio.
    """

    if not TYPE_CHECKING:
        create_unix_server = borrow("create_unix_server")
        _accept_connection = borrow("_accept_connection")
        _accept_connection2 = borrow("_accept_connection2")
        _ensure_fd_no_transport = borrow("_ensure_fd_no_transport")
        _make_foreign_datagram_transport = borrow("_make_datagram_transport")
        _sock_sendfile_native_impl = borrow("_sock_sendfile_native_impl")
        _sock_sendfile_update_filepos = borrow("_sock_sendfile_update_filepos")
        _sock_add_cancellation_callback = borrow("_sock_add_cancellation_callback")

    def __init__(self, *, native_tasks: bool = False) -> None:
        # What `close()` looks at, should an interrupt end this method.
        self._core_is_open = False
        self._selector_view: SelectorView | None = None
        self._forget_signals()
        super().__init__()
        if native_tasks:
            self._native_futures = True
            self.set_task_factory(task_factory)
        self._old_agen_hooks = None
        self._executor_was_set = False
        self._lookups: dict[Any, Any] = {}
        self._unix_server_sockets: dict[socket.socket, int] = {}
        self._transports = Transports(self)
        self._core_is_open = True
        try:
            self._make_self_pipe()
        except BaseException:
            self._close_signals()
            self._close_core()  # no half-made loop is left for __del__ to warn about
            raise

    def run_forever(self) -> None:
        """Run until `stop()` is called.

        Raises RuntimeError if the loop is closed, runs already, or another one runs in this
        thread; lets KeyboardInterrupt and SystemExit of a callback through at once.
        """
        self._check_closed()
        self._check_running()
        # From here on the run is ours to undo, wherever an interrupt hits.
        try:
            self._run_forever_setup()
            self._arm_wakeup()
            self._run_until_stopped()
        finally:
            try:
                self._disarm_wakeup()
            finally:
                self._run_forever_cleanup()

    if sys.version_info < (3, 13):

        def _run_forever_setup(self) -> None:
            """What comes before the first iteration; a method of its own from 3.13 on."""
            self._check_closed()
            self._check_running()
            self._set_coroutine_origin_tracking(self._debug)
            self._old_agen_hooks = sys.get_asyncgen_hooks()
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook,
                finalizer=self._asyncgen_finalizer_hook,
            )
            events._set_running_loop(self)

        def _run_forever_cleanup(self) -> None:
            """What comes after the last iteration; a method of its own from 3.13 on."""
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            if self._old_agen_hooks is not None:
                hooks, self._old_agen_hooks = self._old_agen_hooks, None
                sys.set_asyncgen_hooks(*hooks)

    def set_default_executor(self, executor: Any) -> None:
        """Run what goes to the default executor in this one; TypeError if it is no `ThreadPoolExecutor`.

        Look-ups of names go there, too; otherwise the core has threads for them.
        """
        super().set_default_executor(executor)
        self._executor_was_set = True

    def close(self) -> None:
        """Close the loop: pending callbacks are dropped, resources given back.

        Raises RuntimeError if the loop is running. Closing twice does nothing.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if not self.is_closed():
            super().close()
        elif not self._core_is_open:
            return
        # An interrupt in here leaves the rest to the next call.
        self._close_signals()
        self._close_core()
        self._core_is_open = False
        self._selector_view = None

    def _resume_serving(self, protocol_factory: Any, sock: socket.socket, *args: Any) -> None:
        """Accept again after a rest, unless the server was closed meanwhile."""
        if sock.fileno() >= 0:
            self._start_serving(protocol_factory, sock, *args)

    @property
    def _selector(self) -> Any:
        """What the loop watches, as a selector that can be looked at; None once the loop is closed."""
        if self._selector_view is None and self._core_is_open:
            from ._selector_view import SelectorView

            self._selector_view = SelectorView(self)
        return self._selector_view

    @_selector.setter
    def _selector(self, view: Any) -> None:
        self._selector_view = view

    def _process_events(self, event_list: Any) -> None:
        """Put the handles of `(key, mask)` pairs into the ready queue, as a selector loop does."""
        for key, mask in event_list:
            reader, writer = key.data
            if mask & 1 and reader is not None:
                self._add_callback(reader)
            if mask & 2 and writer is not None:
                self._add_callback(writer)


# From 3.13 on this also removes a Unix socket's file, by `os.stat` and `os.unlink` on the loop's thread. Tools
# that find blocking calls (blockbuster, which the tests of aiohttp and anyio use) forgive these two by the
# file and the function that call them: so it is asyncio's own function that does.
if not TYPE_CHECKING:
    EventLoop._stop_serving = borrow_for("_stop_serving", EventLoop)

_core._note_loop_class(EventLoop)
