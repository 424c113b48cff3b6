"""`sendfile` and `sock_sendfile`: the system call, driven by the core.

`BaseEventLoop` checks the arguments, and reads and writes by hand where the system call is not to
be had (`fallback`); these are the two hooks in between. The core sends as much as the socket takes,
waits, and sets the file's position when it ends, however it ends.
"""

from __future__ import annotations

import asyncio
import io
import os
from asyncio import unix_events
from typing import Any

from ._borrowed import borrow
from ._state import LoopBase

_unix_events: Any = unix_events
_sock_sendfile_native = borrow("_sock_sendfile_native")
#: What its steps call, and hooks of a subclass as they are.
_hooks_of_asyncio = {
    name: borrow(name)
    for name in (
        "_sock_sendfile_native_impl",
        "_sock_sendfile_update_filepos",
        "_sock_add_cancellation_callback",
    )
}
_sendfile = os.sendfile


class SendfileMixin(LoopBase):
    """What `loop.sendfile` and `loop.sock_sendfile` call; the fallbacks are `BaseEventLoop`'s."""

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        """Send a file through a transport's socket, when all that was written before has left."""
        fd = transp._sock_fd
        del self._transports[fd]
        resume_reading = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        try:
            return await self.sock_sendfile(transp._sock, file, offset, count, fallback=False)
        finally:
            transp._reset_empty_waiter()
            if resume_reading:
                transp.resume_reading()
            self._transports[fd] = transp

    async def _sock_sendfile_native(
        self, sock: Any, file: Any, offset: int, count: int | None
    ) -> int:
        """Send a file through a socket; return the number of bytes.

        Raises asyncio.SendfileNotAvailableError for what is no file that the kernel can send, and
        ConnectionError or another OSError if it fails in the middle.
        """
        if (
            _unix_events.os is not os
            or os.sendfile is not _sendfile
            or any(
                getattr(getattr(self, name), "__func__", None) is not function
                for name, function in _hooks_of_asyncio.items()
            )
        ):
            sent: int = await _sock_sendfile_native(self, sock, file, offset, count)
            return sent
        try:
            fd = file.fileno()
        except (AttributeError, io.UnsupportedOperation) as error:
            raise asyncio.SendfileNotAvailableError("not a regular file") from error
        try:
            size = os.fstat(fd).st_size
        except OSError as error:
            raise asyncio.SendfileNotAvailableError("not a regular file") from error
        if not (count or size):
            return 0
        outcome = self._try_sendfile(sock, file, offset, count or 0, size)
        if type(outcome) is int:
            return outcome
        return await self._finished(outcome)  # type: ignore[no-any-return]
