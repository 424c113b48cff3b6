"""Outgoing connections: `create_connection` and `create_unix_connection` for the common arguments.

A numeric address, or a Unix socket's path, and no options: the core makes and connects the
descriptor, and no Python socket is made until somebody asks for it. Everything else (names, TLS, a
socket of the caller, a local address, happy eyeballs), every error that comes at once, and loops
whose hooks are overridden go through the running Python's own methods.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._borrowed import borrow
from ._seldom import next_in_line
from ._state import LoopBase

_create_unix_connection = borrow("create_unix_connection")


async def create_connection(
    self: Any,
    protocol_factory: Callable[[], Any],
    host: Any = None,
    port: Any = None,
    **options: Any,
) -> Any:
    """Connect to a TCP server; return (transport, protocol).

    Takes and raises what `asyncio.AbstractEventLoop.create_connection` of the running Python does.
    """
    if not options or _are_defaults(options, _TCP_OPTIONS):
        dialed = self._dial(host, port)
        if dialed is not None:
            return await _finish(self, protocol_factory, *dialed)
    own = next_in_line(self).create_connection
    return await own(protocol_factory, host, port, **options)


async def create_unix_connection(
    self: Any, protocol_factory: Callable[[], Any], path: Any = None, **options: Any
) -> Any:
    """Connect to a Unix stream socket; return (transport, protocol).

    Takes and raises what `asyncio.AbstractEventLoop.create_unix_connection` of the running Python
    does.
    """
    if path is not None and (not options or _are_defaults(options, _UNIX_OPTIONS)):
        path = os.fspath(path)
        dialed = self._dial_unix(path)
        if dialed is not None:
            return await _finish(self, protocol_factory, *dialed)
    return await _create_unix_connection(self, protocol_factory, path, **options)


async def _finish(self: Any, protocol_factory: Any, dialing: Any, waiting: Any) -> Any:
    """Wait for the connection, then for its transport to be ready."""
    try:
        if waiting is not None:
            await self._finished(waiting)
        protocol = protocol_factory()
        waiter = self.create_future()
        transport = self._dialed(dialing, protocol, waiter)
    except BaseException:
        dialing.close()
        raise
    try:
        await waiter
    except BaseException:
        transport.close()
        waiter = None  # no cycle from the exception through this frame
        raise
    return transport, protocol


_FALSE_OR_ZERO = {"ssl", "family", "proto", "flags", "interleave", "all_errors"}


def _are_defaults(options: dict[str, Any], known: frozenset[str]) -> bool:
    """Whether the options say nothing; False for unknown ones, which asyncio's method refuses."""
    for name in options:  # not `.items()`: CPython does not survive a refused allocation there
        value = options[name]
        if name not in known or not (value is None or (not value and name in _FALSE_OR_ZERO)):
            return False
    return True


def _options_of(method: Any, function: Any) -> frozenset[str]:
    """The keywords of asyncio's method, whose signature ours shows as its own."""
    signature = inspect.signature(method)
    function.__signature__ = signature
    kinds = signature.parameters.items()
    return frozenset(name for name, kind in kinds if kind.kind is kind.KEYWORD_ONLY)


_TCP_OPTIONS = _options_of(asyncio.BaseEventLoop.create_connection, create_connection)
_UNIX_OPTIONS = _options_of(_create_unix_connection, create_unix_connection)


class ConnectionMixin(LoopBase):
    """`loop.create_connection` and its Unix relative (asyncio documentation, "Opening network connections")."""

    if not TYPE_CHECKING:
        create_connection = create_connection
        create_unix_connection = create_unix_connection
