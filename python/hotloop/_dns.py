"""Look-ups: `getaddrinfo` and `getnameinfo`, without a thread where no name is asked for.

asyncio runs each look-up in the default executor. Here a numeric host with a numeric port is
answered at once (the core has the common forms, glibc the others, told by `AI_NUMERICHOST` and
`AI_NUMERICSERV` not to look anything up: getaddrinfo(3)), and look-ups with the same arguments
that are under way at the same time share one call. Debug mode, which logs each call, and a program
that has replaced `socket.getaddrinfo` or `run_in_executor` get what asyncio does.
"""

from __future__ import annotations

import _socket
import asyncio
import copy
import socket
from typing import Any

from ._seldom import next_in_line
from ._state import LoopBase

_NO_LOOKUP = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
#: Flags that the C library answers from what the machine knows of itself.
_LOCAL_FLAGS = (
    _NO_LOOKUP | socket.AI_PASSIVE | socket.AI_ADDRCONFIG | socket.AI_V4MAPPED | socket.AI_ALL
)
_NUMERIC_NAMES = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
_getnameinfo = socket.getnameinfo


class DnsMixin(LoopBase):
    """`loop.getaddrinfo` and `loop.getnameinfo` (asyncio documentation, "DNS")."""

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """What `socket.getaddrinfo` returns for the same arguments, without blocking the loop.

        Raises socket.gaierror and whatever else that function raises.
        """
        if not self._executor_shutdown_called:
            found = self._numeric_addrinfo(host, port, family, type, proto, flags)
            if found is not None:
                return found
            if self._may_shorten_lookups():
                if _is_local(host, flags):
                    try:
                        return socket.getaddrinfo(
                            host, port, family, type, proto, flags | _NO_LOOKUP
                        )
                    except (OSError, ValueError, TypeError, OverflowError):
                        pass  # whatever is wrong, the call as it was made shall say it
                key = (host.__class__, host, port.__class__, port, family, type, proto, flags)
                try:
                    hash(key)
                except TypeError:
                    pass
                else:
                    return await self._joined_lookup(key)
        asked: list[Any] = await next_in_line(self).getaddrinfo(
            host, port, family=family, type=type, proto=proto, flags=flags
        )
        return asked

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """What `socket.getnameinfo` returns for the same arguments, without blocking the loop.

        Raises socket.gaierror and whatever else that function raises.
        """
        if (
            type(flags) is int
            and flags & _NUMERIC_NAMES == _NUMERIC_NAMES
            and socket.getnameinfo is _getnameinfo
            and not self._executor_shutdown_called
            and self._may_shorten_lookups()
        ):
            # The address of `sockaddr` is numeric (anything else is refused), and so is the answer.
            return socket.getnameinfo(sockaddr, flags)
        named: tuple[str, str] = await next_in_line(self).getnameinfo(sockaddr, flags)
        return named

    async def _joined_lookup(self, key: tuple[Any, ...]) -> list[Any]:
        """One call for all who ask the same before it has ended."""
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = _Lookup(self, key)
            self._lookups[key] = lookup
        waiter: asyncio.Future[list[Any]] = self.create_future()
        lookup.waiters.append(waiter)
        try:
            return await waiter
        finally:
            if not (lookup.done or self.is_closed()):
                lookup.waiters.remove(waiter)
                if not lookup.waiters:  # the last one has been cancelled
                    lookup.cancel()


class _Lookup:
    """A call that is under way, and who waits for its result.

    A thread of the core makes it, or one of the default executor: if the program has set one, and
    for what the core leaves to Python.
    """

    __slots__ = ("call", "done", "key", "loop", "number", "waiters")

    def __init__(self, loop: Any, key: tuple[Any, ...]) -> None:
        self.loop, self.key, self.done = loop, key, False
        self.waiters: list[asyncio.Future[list[Any]]] = []
        self.number = None
        _, host, _, port, *numbers = key
        if not loop._executor_was_set:
            self.number = loop._look_up(self.deliver, host, port, *numbers)
        if self.number is None:
            self.call = loop.run_in_executor(None, _look_up, host, port, *numbers)
            self.call.add_done_callback(self._deliver_call)

    def cancel(self) -> None:
        """Nobody waits any more: what did not begin need not."""
        self._forget()
        if self.number is None:
            self.call.cancel()
        else:
            self.loop._forget_lookup(self.number)

    def deliver(self, found: list[Any] | None, error: BaseException | None) -> None:
        """Give each waiter a result, or an exception, of its own."""
        self._forget()
        for index, waiter in enumerate(self.waiters):
            if waiter.done():
                continue
            if error is not None:
                waiter.set_exception(error if index == 0 else _copy_of(error))
            else:
                waiter.set_result(list(found or ()))

    def _deliver_call(self, call: asyncio.Future[list[Any]]) -> None:
        if call.cancelled():
            self._forget()
            for waiter in self.waiters:
                waiter.cancel()
        elif error := call.exception():
            self.deliver(None, error)
        else:
            self.deliver(call.result(), None)

    def _forget(self) -> None:
        self.done = True
        if self.loop._lookups.get(self.key) is self:
            del self.loop._lookups[self.key]


_FAMILIES: dict[int, Any] = {int(member): member for member in socket.AddressFamily}
_KINDS: dict[int, Any] = {int(member): member for member in socket.SocketKind}


def _look_up(*arguments: Any) -> list[Any]:
    """What `socket.getaddrinfo` does; it calls the classes of the two enumerations for each entry."""
    return [
        (_FAMILIES.get(family, family), _KINDS.get(kind, kind), *rest)
        for family, kind, *rest in _socket.getaddrinfo(*arguments)
    ]


def _is_local(host: Any, flags: Any) -> bool:
    """Whether the question may be one that needs no look-up."""
    if not isinstance(flags, int) or flags & ~_LOCAL_FLAGS:
        return False
    if isinstance(host, str):
        return host[:1].isdigit() or ":" in host
    if isinstance(host, bytes):
        return host[:1].isdigit() or b":" in host
    return host is None


def _copy_of(error: BaseException) -> BaseException:
    """Another exception of the same kind, so that tracebacks do not mix."""
    try:
        return copy.copy(error).with_traceback(error.__traceback__)
    except Exception:
        return error
