"""Listening sockets: what is asyncio's own, or is called when one rests or ends.

`_stop_serving`, which asyncio's `Server` calls, also removes a Unix socket's file from 3.13 on, by
`os.stat` and `os.unlink` on the loop's thread. Tools that find blocking calls (blockbuster, which
the tests of aiohttp and anyio use) forgive these two by the file and the function that call them:
so it is asyncio's own function that does.
"""

import socket
from typing import TYPE_CHECKING, Any

from ._borrowed import borrow, borrow_for
from ._seldom import SeldomMixin
from ._state import LoopBase


class ServingMixin(LoopBase):
    """Listening sockets, but for what the core does."""

    if not TYPE_CHECKING:
        create_unix_server = borrow("create_unix_server")
        _accept_connection = borrow("_accept_connection")
        _accept_connection2 = borrow("_accept_connection2")
        _stop_serving = borrow_for("_stop_serving", SeldomMixin)

    def _resume_serving(self, protocol_factory: Any, sock: socket.socket, *args: Any) -> None:
        """Accept again after a rest, unless the server was closed meanwhile."""
        if sock.fileno() >= 0:
            self._start_serving(protocol_factory, sock, *args)
