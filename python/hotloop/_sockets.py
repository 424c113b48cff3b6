"""The `sock_*` methods: each tries at once and waits only when the kernel says so.

They are coroutines because asyncio's are: nothing happens before they are awaited, and
`create_task` takes them. The work is the core's `_try_*` methods.
"""

import socket
from asyncio import base_events
from typing import Any

from ._state import LoopBase

_check_ssl_socket: Any = base_events._check_ssl_socket  # type: ignore[attr-defined]
_INET = {socket.AF_INET, socket.AF_INET6} if socket.has_ipv6 else {socket.AF_INET}


class SocketMixin(LoopBase):
    """Working with socket objects directly (asyncio documentation, section of that name)."""

    __slots__ = ()

    def _stop_serving(self, sock: socket.socket) -> None:
        """What asyncio's own, which the loop has, finds when it calls that of its `super()`."""
        self._remove_reader(sock.fileno())
        sock.close()

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive up to `n` bytes from a non-blocking socket; return them, empty at the end.

        Raises OSError as recv(2) does, ValueError for a blocking socket in debug mode, TypeError for
        an SSL socket. As asyncio's; so do all methods below.
        """
        outcome: Any = self._try_recv(sock, n)
        if type(outcome) is bytes:
            return outcome
        try:
            return await outcome  # type: ignore[no-any-return]
        finally:
            outcome._leave(self)
            del outcome  # no cycle from an exception through this frame

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive into a writable bytes-like object; return the number of bytes, 0 at the end.

        Raises what `sock_recv` raises, and TypeError for what is no writable buffer.
        """
        outcome: Any = self._try_recv_into(sock, buf)
        if type(outcome) is int:
            return outcome
        try:
            return await outcome  # type: ignore[no-any-return]
        finally:
            outcome._leave(self)
            del outcome  # no cycle from an exception through this frame

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of up to `bufsize` bytes; return (bytes, address).

        What is longer is cut. Raises what `sock_recv` raises.
        """
        outcome: Any = self._try_recvfrom(sock, bufsize)
        if type(outcome) is tuple:
            return outcome
        try:
            return await outcome  # type: ignore[no-any-return]
        finally:
            outcome._leave(self)
            del outcome  # no cycle from an exception through this frame

    async def sock_recvfrom_into(
        self, sock: socket.socket, buf: Any, nbytes: int = 0
    ) -> tuple[int, Any]:
        """Receive a datagram into a writable bytes-like object; return (number of bytes, address).

        `nbytes` is the most to receive, 0 for as much as there is room. Raises what `sock_recv`
        raises, and ValueError if `nbytes` is more than the room.
        """
        self._check_socket(sock)
        outcome = self._try_recvfrom_into(sock, buf, nbytes or len(buf))
        if type(outcome) is tuple:
            return outcome
        return await self._finished(outcome)  # type: ignore[no-any-return]

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send all of a bytes-like object; return None.

        Raises OSError as send(2) does: then it is not known how much the other side has received.
        TypeError for what is not bytes-like; otherwise as `sock_recv`.
        """
        outcome: Any = self._try_sendall(sock, data)
        if outcome is not None:
            try:
                await outcome
            finally:
                outcome._leave(self)
                del outcome

    async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> int:
        """Send a bytes-like object as a datagram to an address; return the number of bytes.

        The address is as the `socket` module has it for the socket's family. Raises OSError as
        sendto(2) does; otherwise as `sock_recv`.
        """
        outcome = self._try_sendto(sock, data, address)
        if type(outcome) is int:
            return outcome
        return await self._finished(outcome)  # type: ignore[no-any-return]

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket to an address, whose host is looked up if it is a name; return None.

        Raises OSError as connect(2) does, `socket.gaierror` if the name is not known; otherwise as
        `sock_recv`.
        """
        self._check_socket(sock)
        if sock.family in _INET:
            resolved = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = resolved[0][4]
        outcome = self._try_connect(sock, address)
        try:
            if outcome is not None:
                await self._finished(outcome)
        finally:
            outcome = None  # an exception refers to this frame, and the future to the exception

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection on a listening socket; return (non-blocking socket, address).

        Raises OSError as accept(2) does; otherwise as `sock_recv`.
        """
        accepted: Any = self._try_accept(sock)
        if type(accepted) is not tuple:
            accepted = await self._finished(accepted)
        if type(sock) is not socket.socket:
            accepted[0].setblocking(False)  # its own `accept()` made it
        return accepted  # type: ignore[no-any-return]

    async def _finished(self, operation: Any) -> Any:
        """The result of a waiting operation, which does not outlive the wait."""
        try:
            return await operation
        finally:
            operation._leave(self)
            del operation  # no cycle from an exception through this frame

    def _check_socket(self, sock: socket.socket) -> None:
        """What every call looks at first; the core does where there is nothing to find."""
        _check_ssl_socket(sock)
        if self.get_debug() and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
