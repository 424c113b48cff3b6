"""hotloop's own streams: asyncio's, with what runs for every message in Rust.

`StreamReader`, `StreamWriter` and `StreamReaderProtocol` are subclasses of asyncio's classes of these
names. `_core` comes first in their method order and answers what is hot; the rest is the running
Python's own code, which finds its state in the native attributes. The functions that open streams are
the running Python's own, too, with our classes where they say asyncio's.
"""

from __future__ import annotations

import asyncio
from asyncio import streams
from types import FunctionType
from typing import TYPE_CHECKING, Any

from . import _core

__all__ = [
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "open_connection",
    "open_unix_connection",
    "start_server",
    "start_unix_server",
    "uninstall_streams",
]


class StreamReader(_core.StreamReader, asyncio.StreamReader):
    """The reading end of a stream: `asyncio.StreamReader`, in Rust.

    What its coroutine methods return is an awaitable of our own (`asyncio.iscoroutine()` says yes)
    that ends without suspending when the data is there. A subclass may override any method.

    `limit` is in bytes, 64 KiB unless told; `loop` None means the current one. Raises ValueError for
    a limit that is not positive, and RuntimeError without a loop. See the asyncio documentation.
    """


class StreamWriter(_core.StreamWriter, asyncio.StreamWriter):
    """The writing end of a stream: `asyncio.StreamWriter`, in Rust.

    Made by `open_connection` and `start_server`; by hand with a transport, a protocol, a reader or
    None, and a loop. See the asyncio documentation.
    """


class StreamReaderProtocol(_core.StreamReaderProtocol, asyncio.StreamReaderProtocol):
    """The protocol between a transport and a reader: `asyncio.StreamReaderProtocol`, in Rust.

    A native transport gives it what was received without making a `bytes` object of it.

    Takes a reader; `client_connected_cb`, a function or coroutine function of reader and writer, or
    None; and a loop, None for the current one. See the asyncio documentation.
    """

    if not TYPE_CHECKING:

        def connection_made(self, transport):
            """Give the reader its transport; for a server's connection, call the client callback."""
            _connection_made(self, transport)


def _with_our_classes(function: Any) -> Any:
    """The function of `asyncio.streams`, with our classes under the names of asyncio's.

    Raises:
        ImportError: the running Python has something else there.
    """
    if not isinstance(function, FunctionType) or function.__closure__ is not None:
        raise ImportError(
            f"hotloop needs {function!r} in a form that this Python does not have; "
            "install a version of hotloop that supports it"
        )
    ours = FunctionType(
        function.__code__, _namespace, function.__name__, function.__defaults__, None
    )
    ours.__kwdefaults__ = function.__kwdefaults__
    ours.__doc__ = function.__doc__
    ours.__qualname__ = function.__qualname__
    ours.__module__ = __name__
    return ours


_namespace = {
    **vars(streams),
    "StreamReader": StreamReader,
    "StreamWriter": StreamWriter,
    "StreamReaderProtocol": StreamReaderProtocol,
}

_connection_made = _with_our_classes(asyncio.StreamReaderProtocol.connection_made)

if TYPE_CHECKING:
    from asyncio import open_connection, open_unix_connection, start_server, start_unix_server
else:
    open_connection = _with_our_classes(asyncio.open_connection)
    start_server = _with_our_classes(asyncio.start_server)
    open_unix_connection = _with_our_classes(asyncio.open_unix_connection)
    start_unix_server = _with_our_classes(asyncio.start_unix_server)

_core._register_streams(StreamReader, StreamReaderProtocol)


#: The functions that `install(streams=True)` replaces, and what was there before it.
_FUNCTIONS = ("open_connection", "start_server", "open_unix_connection", "start_unix_server")
_replaced: list[tuple[Any, str, Any]] = []


def install_streams() -> None:
    """Put our functions in place of asyncio's; the part of `hotloop.install` that is about streams."""
    if _replaced:
        return
    for module in (asyncio, streams):
        for name in _FUNCTIONS:
            _replaced.append((module, name, getattr(module, name)))
            setattr(module, name, globals()[name])


def uninstall_streams() -> None:
    """Put asyncio's functions back; does nothing unless `hotloop.install(streams=True)` came before."""
    while _replaced:
        module, name, function = _replaced.pop()
        setattr(module, name, function)
