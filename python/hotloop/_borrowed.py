"""Methods that hotloop takes from the running Python's own Unix loop, as they are.

`asyncio.BaseEventLoop` leaves a number of methods to its subclasses. Those that are not hot are not
written again: the functions below work on any loop that has `_add_reader`, `_add_writer`, `sock_*`
and the attributes named here, and being the running version's own they are exact for it.

A name that is missing, or that cannot work outside its class, gives one ImportError.
"""

from asyncio import unix_events
from types import CellType, FunctionType
from typing import Any

#: name -> what it reads of the loop besides `_add_reader` and its relatives
NAMES = {
    # connections
    "create_unix_connection": "sock_connect, _create_connection_transport",
    "create_unix_server": "_unix_server_sockets (3.13)",
    "_accept_connection": "_accept_connection2, _start_serving",
    "_accept_connection2": "_make_socket_transport, _make_ssl_transport",
    "_ensure_fd_no_transport": "_transports",
    "_make_datagram_transport": "_transports",
    "_stop_serving": "_unix_server_sockets (3.13)",
    # subprocesses
    "_child_watcher_callback": "",
    # sendfile
    "_sock_sendfile_native": "(where os.sendfile has been replaced)",
    "_sock_sendfile_native_impl": "",
    "_sock_sendfile_update_filepos": "",
    "_sock_add_cancellation_callback": "",
    # signals
    "add_signal_handler": "_csock, _signal_handlers",
    "remove_signal_handler": "_signal_handlers",
    "_handle_signal": "_signal_handlers",
    "_check_signal": "",
}


def borrow(name: str) -> Any:
    """The function `name` of asyncio's Unix selector loop.

    Raises:
        ImportError: the running Python's asyncio has no such function, or it uses `super()`.
    """
    function = _find(name)
    if function.__code__.co_freevars:
        raise ImportError(_CANNOT.format(name))
    return function


def borrow_for(name: str, owner: type) -> Any:
    """The same, for a function that may use `super()`: there it means what follows `owner`.

    Raises:
        ImportError: the running Python's asyncio has no such function.
    """
    function = _find(name)
    if not function.__code__.co_freevars:
        return function
    if function.__code__.co_freevars != ("__class__",):
        raise ImportError(_CANNOT.format(name))
    closure = (CellType(owner),)
    code, defaults = function.__code__, function.__defaults__
    return FunctionType(code, function.__globals__, name, defaults, closure)


_CANNOT = (
    "hotloop needs asyncio's {}() in a form that this Python does not have; "
    "install a version of hotloop that supports it"
)


def _find(name: str) -> FunctionType:
    if name not in NAMES:
        raise ImportError(f"{name!r} is not in hotloop's table of borrowed methods")
    function = getattr(unix_events._UnixSelectorEventLoop, name, None)
    if not isinstance(function, FunctionType):
        raise ImportError(_CANNOT.format(name))
    return function
