"""hotloop: an asyncio event loop in Rust.

One line switches a program over::

    asyncio.run(main(), loop_factory=hotloop.EventLoop)   # Python 3.12 and later
    hotloop.run(main())                                   # any version

Importing this package changes nothing in asyncio.
"""

import os
import sys
from asyncio import events as _events
from typing import TYPE_CHECKING, Any

from . import _private_names as _private_names  # first: it checks the running Python
from ._core import Future, Task, __version__, _after_fork_in_child, task_factory
from ._loop import EventLoop
from ._run import install, new_event_loop, run

if TYPE_CHECKING:
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
if hasattr(_events, "_event_loop_policy"):
    __all__ += ["EventLoopPolicy"]

os.register_at_fork(after_in_child=_after_fork_in_child)


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
