"""The event-loop policy whose loops are hotloop's, for as long as asyncio has policies.

CPython facts: policies are deprecated in 3.14 (the public names warn when they are looked up, the
private ones do not) and gone in 3.16.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from ._loop import EventLoop

if TYPE_CHECKING or sys.version_info < (3, 14):
    _Base = asyncio.DefaultEventLoopPolicy
else:
    _Base = getattr(asyncio.events, "_AbstractEventLoopPolicy", None)
    if _Base is not None:
        from asyncio.unix_events import _DefaultEventLoopPolicy as _Base
    else:
        raise RuntimeError(
            "asyncio of this Python has no event-loop policies; "
            "use hotloop.run(main()) or loop_factory=hotloop.EventLoop"
        )


class EventLoopPolicy(_Base):
    """asyncio's default policy with `hotloop.EventLoop` as the loop that it makes."""

    _loop_factory = EventLoop
