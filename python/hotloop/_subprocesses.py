"""Subprocesses: asyncio's own transport, with a pidfd in the poller that says when the child ends.

pidfd_open(2), Linux 5.3: the descriptor becomes readable when the process ends; nobody else's wait
is disturbed and no thread is needed. Where it is forbidden (some sandboxes), asyncio's watcher with
a thread per child takes its place.
"""

from __future__ import annotations

import functools
import os
import sys
from asyncio import events, unix_events
from asyncio.log import logger
from typing import Any

from ._borrowed import borrow
from ._state import LoopBase

_with_watcher = borrow("_make_subprocess_transport")
_SubprocessTransport: Any = unix_events._UnixSubprocessTransport  # type: ignore[attr-defined]


class SubprocessMixin(LoopBase):
    """`subprocess_exec` and `subprocess_shell` come from `BaseEventLoop` and end here."""

    __slots__ = ()

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
        if _has_watcher_of_the_user():
            return await _with_watcher(
                self, protocol, args, shell, stdin, stdout, stderr, bufsize, extra, **kwargs
            )
        waiter = self.create_future()
        transport = _SubprocessTransport(
            self,
            protocol,
            args,
            shell,
            stdin,
            stdout,
            stderr,
            bufsize,
            waiter=waiter,
            extra=extra,
            **kwargs,
        )
        self._watch_child(transport)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport

    def _watch_child(self, transport: Any) -> None:
        pid = transport.get_pid()
        try:
            pidfd = os.pidfd_open(pid) if self._uses_pidfd() else -1
        except OSError:
            pidfd = -1
        if pidfd < 0:
            self._watcher.add_child_handler(pid, self._child_watcher_callback, transport)
        else:
            self._add_reader(pidfd, self._child_ended, pidfd, pid, transport)

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

    else:

        @property
        def _watcher(self) -> Any:
            return unix_events.ThreadedChildWatcher()

        def _uses_pidfd(self) -> bool:
            return True

    def _child_ended(self, pidfd: int, pid: int, transport: Any) -> None:
        self._remove_reader(pidfd)
        os.close(pidfd)
        try:
            _, status = os.waitpid(pid, 0)
        except ChildProcessError:
            known = transport._proc.returncode
            returncode = 255 if known is None else known
            if known is None:
                logger.warning(
                    "child process pid %d exit status already read:  will report returncode 255",
                    pid,
                )
        else:
            returncode = unix_events.waitstatus_to_exitcode(status)  # type: ignore[attr-defined]
        transport._process_exited(returncode)

    # What a watcher calls: from its own thread up to 3.13, through the loop from 3.14 on.
    _child_watcher_callback = borrow("_child_watcher_callback")


def _has_watcher_of_the_user() -> bool:
    """Whether a child watcher is in force, which takes part in every wait for children (3.11-3.13)."""
    policy = getattr(events, "_event_loop_policy", None)
    return getattr(policy, "_watcher", None) is not None
