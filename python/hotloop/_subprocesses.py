"""Subprocesses: asyncio's transport with a pidfd in the poller and fewer steps on the way.

`subprocess.Popen` starts the child, with all that it knows. What comes after is shorter than in
asyncio: no task connects the pipes unless somebody has overridden how a pipe is connected, and the
core fetches the exit status (`event_loop/subprocesses.rs`). Where a sandbox forbids pidfds,
asyncio's watcher with a thread per child takes their place.
"""

from __future__ import annotations

import functools
import signal
import sys
import warnings
from asyncio import base_events, base_subprocess, events, futures, unix_events
from typing import Any

from . import _core
from ._borrowed import borrow
from ._state import LoopBase

_UnixSubprocessTransport: Any = unix_events._UnixSubprocessTransport  # type: ignore[attr-defined]
_ReadProtocol: Any = base_subprocess.ReadSubprocessPipeProto
_WriteProtocol: Any = base_subprocess.WriteSubprocessPipeProto
_set_result: Any = futures._set_result_unless_cancelled  # type: ignore[attr-defined]
_connect_read_pipe = base_events.BaseEventLoop.connect_read_pipe
_connect_write_pipe = base_events.BaseEventLoop.connect_write_pipe


class SubprocessTransport(_UnixSubprocessTransport):  # type: ignore[misc]
    """A child process: the running Python's own transport, connected without a task.

    It is an `asyncio.SubprocessTransport`; the pipes are transports of their own.
    """

    _exit_waiters: list[Any]

    def __init__(self, loop: Any, *args: Any, waiter: Any = None, **kwargs: Any) -> None:
        self._child: Any = None
        self._pipes_connected = False  # an attribute of the class below, too, from 3.14 on
        # The class below would make a task for the pipes; it is given somebody who does not.
        super().__init__(_Starting(loop), *args, waiter=waiter, **kwargs)
        self._loop = loop
        proc = self._proc
        has_pipes = not (proc.stdin is None and proc.stdout is None and proc.stderr is None)
        if has_pipes and (loop.get_debug() or not _connects_plainly(loop)):
            loop.create_task(self._connect_by_the_loop(waiter))
        else:
            self._connect_at_once(waiter)

    def _connect_pipes(self, waiter: Any) -> None:
        """Nothing yet: the class below calls this before the loop is there."""

    async def _connect_by_the_loop(self, waiter: Any) -> None:
        await super()._connect_pipes(waiter)
        self._pipes_connected = self._pending_calls is None

    def _connect_at_once(self, waiter: Any) -> None:
        loop, proc, pipes = self._loop, self._proc, self._pipes
        try:
            if proc.stdin is not None:
                pipes[0] = protocol = _WriteProtocol(self, 0)
                protocol.pipe = loop._make_write_pipe_transport(proc.stdin, protocol)
            for fd, file in (1, proc.stdout), (2, proc.stderr):
                if file is not None:
                    pipes[fd] = protocol = _ReadProtocol(self, fd)
                    protocol.pipe = loop._make_read_pipe_transport(file, protocol)
            # What the pipes and the child report comes after this, by the queue's order.
            loop.call_soon(self._protocol.connection_made, self)
            self._pending_calls = None
            self._pipes_connected = True
            if waiter is not None:
                loop.call_soon(_set_result, waiter, None)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            for fd, file in enumerate((proc.stdin, proc.stdout, proc.stderr)):
                if file is not None and getattr(pipes[fd], "pipe", None) is None:
                    pipes[fd] = None
                    file.close()
            if waiter is not None and not waiter.cancelled():
                waiter.set_exception(error)

    def _process_exited(self, returncode: int) -> None:
        super()._process_exited(returncode)
        if sys.version_info < (3, 14) and not self._pipes_connected:
            # connection_lost never comes for pipes that could not be connected; from 3.14 on asyncio
            # does this itself.
            waiters, self._exit_waiters = self._exit_waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(returncode)

    def send_signal(self, signal_number: int) -> None:
        """Send a signal to the child; nothing happens if it has ended.

        ProcessLookupError if the transport is closed; OSError as pidfd_send_signal(2) says. The
        signal never goes to another process that has the child's number by now.
        """
        self._check_proc()
        if self._child is None:
            if self._returncode is None:
                super().send_signal(signal_number)
            return
        pidfd = self._child.fileno()
        if pidfd >= 0:
            try:
                signal.pidfd_send_signal(pidfd, signal_number)
            except ProcessLookupError:
                pass

    def terminate(self) -> None:
        """Send SIGTERM to the child."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the child."""
        self.send_signal(signal.SIGKILL)


class _Starting:
    """Stands for the loop while the transport's base class starts the child: makes no task."""

    __slots__ = ("_loop",)

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def create_task(self, nothing: None) -> None:
        pass

    def get_debug(self) -> bool:
        return bool(self._loop.get_debug())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


class SubprocessMixin(LoopBase):
    """`subprocess_exec` and `subprocess_shell` come from `BaseEventLoop` and end here."""

    async def _make_subprocess_transport(
        self,
        protocol: Any,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Start a child and connect its pipes."""
        options = (protocol, args, shell, stdin, stdout, stderr, bufsize)
        if not _has_watcher_of_the_user():
            return await self._start_child(options, extra, kwargs, self._watch_or_let_watch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            watcher: Any = events.get_child_watcher()  # type: ignore[attr-defined,unused-ignore]
        with watcher as entered:
            if sys.version_info < (3, 12):
                watcher = entered  # usually itself
            if not watcher.is_active():
                # Before there is a child whose end nobody would notice.
                raise RuntimeError(
                    "asyncio.get_child_watcher() is not activated, "
                    "subprocess support is not installed."
                )
            callback = self._child_watcher_callback
            return await self._start_child(
                options, extra, kwargs, lambda pid, t: watcher.add_child_handler(pid, callback, t)
            )

    async def _start_child(self, options: Any, extra: Any, kwargs: Any, watch: Any) -> Any:
        waiter = self.create_future()
        transport = SubprocessTransport(self, *options, waiter=waiter, extra=extra, **kwargs)
        watch(transport.get_pid(), transport)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport

    def _watch_or_let_watch(self, pid: int, transport: Any) -> None:
        """Wait for a child's end through a pidfd, or in a thread where there are none."""
        try:
            if not self._uses_pidfd():
                raise OSError("pidfds are not to be used")
            transport._child = self._watch_child(pid, transport)
        except OSError:
            self._threaded_watcher().add_child_handler(pid, self._child_watcher_callback, transport)

    if sys.version_info >= (3, 14):

        @functools.cached_property
        def _watcher(self) -> Any:
            """What asyncio's own loop would wait for children with; ours takes part if it is the threads."""
            events: Any = unix_events
            if events.can_use_pidfd():
                return events._PidfdChildWatcher()
            return events._ThreadedChildWatcher()

        def _uses_pidfd(self) -> bool:
            return isinstance(self._watcher, unix_events._PidfdChildWatcher)

        def _threaded_watcher(self) -> Any:
            if self._uses_pidfd():
                return unix_events._ThreadedChildWatcher()  # type: ignore[attr-defined]
            return self._watcher

    else:

        def _uses_pidfd(self) -> bool:
            return True

        def _threaded_watcher(self) -> Any:
            return unix_events.ThreadedChildWatcher()

    # What a watcher calls: from its own thread up to 3.13, through the loop from 3.14 on.
    _child_watcher_callback = borrow("_child_watcher_callback")


def _has_watcher_of_the_user() -> bool:
    """Whether a child watcher is in force, which takes part in every wait for children (3.11-3.13)."""
    policy = getattr(events, "_event_loop_policy", None)
    return getattr(policy, "_watcher", None) is not None


def _connects_plainly(loop: Any) -> bool:
    """Whether nothing of what connects a pipe is overridden, in the loop's class or on the loop."""
    native = _core.Loop
    return (
        getattr(loop.connect_read_pipe, "__func__", None) is _connect_read_pipe
        and getattr(loop.connect_write_pipe, "__func__", None) is _connect_write_pipe
        and loop._make_read_pipe_transport == native._make_read_pipe_transport.__get__(loop)
        and loop._make_write_pipe_transport == native._make_write_pipe_transport.__get__(loop)
    )
