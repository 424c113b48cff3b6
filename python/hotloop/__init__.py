"""hotloop: an asyncio event loop in Rust.

One line switches a program over::

    asyncio.run(main(), loop_factory=hotloop.EventLoop)   # Python 3.12 and later
    hotloop.run(main())                                   # any version

Importing this package changes nothing in asyncio.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from . import _private_names as _private_names  # first: it checks the running Python
from ._core import Future, Task, __version__, _after_fork_in_child, task_factory
from ._loop import EventLoop

if TYPE_CHECKING:
    from asyncio.events import _TaskFactory

    from ._policy import EventLoopPolicy
    from ._streams import (
        StreamReader,
        StreamReaderProtocol,
        StreamWriter,
        open_connection,
        open_unix_connection,
        start_server,
        start_unix_server,
        uninstall_streams,
    )

__all__ = [
    "EventLoop",
    "Future",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "Task",
    "__version__",
    "install",
    "new_event_loop",
    "open_connection",
    "open_unix_connection",
    "run",
    "start_server",
    "start_unix_server",
    "task_factory",
    "uninstall_streams",
]

if sys.version_info >= (3, 12):
    from ._core import _eager_task_factory as eager_task_factory

    __all__ += ["eager_task_factory"]

# asyncio deprecates policies from 3.14 on, and 3.16 has none.
if hasattr(asyncio.events, "_event_loop_policy"):
    __all__ += ["EventLoopPolicy"]

_T = TypeVar("_T")

os.register_at_fork(after_in_child=_after_fork_in_child)


def new_event_loop() -> EventLoop:
    """Return a new `hotloop.EventLoop`, not installed anywhere.

    The caller closes it. Raises OSError if the process has no descriptors left. As
    `asyncio.new_event_loop`.
    """
    return EventLoop()


def run(
    main: Coroutine[Any, Any, _T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    task_factory: "_TaskFactory | None" = None,
) -> _T:
    """Run a coroutine on a new hotloop loop and return its result, as `asyncio.run` does.

    Arguments:
        main: a coroutine object.
        debug: True or False switches debug mode on or off; None leaves asyncio's own default.
        loop_factory: a callable that makes the loop; None means `hotloop.EventLoop`. With it a
            subclass or a configured loop runs.
        task_factory: what `loop.set_task_factory()` takes, for example `hotloop.task_factory`; it
            makes the task of `main` as well. None leaves the loop's own.

    Raises:
        RuntimeError: an event loop runs in this thread already.
        ValueError: `main` is not a coroutine (TypeError on Python 3.14 and later).
        BaseException: whatever `main` raises.

    See the documentation of `asyncio.run` and `asyncio.Runner`, which this function uses.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("hotloop.run() cannot be called from a running event loop")
    factory = EventLoop if loop_factory is None else loop_factory
    with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
        if task_factory is not None:
            runner.get_loop().set_task_factory(task_factory)
        return runner.run(main)


def install(*, streams: bool = False) -> None:
    """Make hotloop the loop of `asyncio.run` and `asyncio.new_event_loop` in this process.

    This sets an event-loop policy. asyncio deprecates policies from 3.14 on and says so when one
    is set; prefer `hotloop.run` or `loop_factory=hotloop.EventLoop`.

    Arguments:
        streams: True also puts hotloop's `open_connection`, `start_server`, `open_unix_connection`
            and `start_unix_server` in place of asyncio's, for programs that cannot change their
            calls. What a module has imported by name before (`from asyncio import start_server`)
            stays asyncio's, and so do the classes. `hotloop.uninstall_streams` undoes it.

    Raises:
        RuntimeError: this Python's asyncio has no policies (3.16 and later).
    """
    from ._policy import EventLoopPolicy

    asyncio.set_event_loop_policy(EventLoopPolicy())
    if streams:
        from ._streams import install_streams

        install_streams()


def __getattr__(name: str) -> Any:
    """Import what not every program uses when it is asked for.

    The policy must wait: asyncio warns about its base class from 3.14 on. The streams may: a program
    that uses none starts sooner.
    """
    if name == "EventLoopPolicy" and name in __all__:
        from ._policy import EventLoopPolicy

        return EventLoopPolicy
    if name in __all__:
        from . import _streams

        globals()[name] = value = getattr(_streams, name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
