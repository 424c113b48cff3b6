"""The event-loop policy whose loops are hotloop's, for as long as asyncio has policies.

CPython facts: policies are deprecated in 3.14 (the public names warn when they are looked up, the
private ones do not) and gone in 3.16.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from ._loop import EventLoop

if not hasattr(asyncio.events, "_event_loop_policy"):
    raise RuntimeError(
        "asyncio of this Python has no event-loop policies; "
        "use hotloop.run(main()) or loop_factory=hotloop.EventLoop"
    )

if TYPE_CHECKING or sys.version_info < (3, 14):
    _Base = asyncio.DefaultEventLoopPolicy
else:
    from asyncio.unix_events import _DefaultEventLoopPolicy as _Base


class EventLoopPolicy(_Base):
    """asyncio's default policy with `hotloop.EventLoop` as the loop that it makes.

    Takes no arguments. For `asyncio.set_event_loop_policy()`, which `hotloop.install()` calls; see the
    asyncio documentation, "Policies". Looking it up or making one warns of nothing; setting it gives
    asyncio's own DeprecationWarning on Python 3.14 and later.
    """

    _loop_factory = EventLoop
