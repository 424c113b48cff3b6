"""What ends a listening socket: `_stop_serving`, which asyncio's `Server` calls.

From 3.13 on it also removes a Unix socket's file, by `os.stat` and `os.unlink` on the loop's thread.
Tools that find blocking calls (blockbuster, which the tests of aiohttp and anyio use) forgive these
two by the file and the function that call them: so it is asyncio's own function that does.
"""

import socket
from typing import TYPE_CHECKING

from ._borrowed import borrow_for
from ._state import LoopBase


class _Sockets(LoopBase):
    """What `super()._stop_serving()` finds."""

    __slots__ = ()

    def _stop_serving(self, sock: socket.socket) -> None:
        self._remove_reader(sock.fileno())
        sock.close()


class ListeningMixin(_Sockets):
    """`_stop_serving` of the running Python's own loop."""

    __slots__ = ()


if not TYPE_CHECKING:
    ListeningMixin._stop_serving = borrow_for("_stop_serving", ListeningMixin)
