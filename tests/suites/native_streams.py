"""hotloop with its own streams in place of asyncio's, for `cpython.py --loop native_streams:new_event_loop`.

Importing this module puts hotloop's classes and functions where CPython's `test_streams` looks for them:
in `asyncio` and in `asyncio.streams`. It is for a process of its own, and undoes nothing.
"""

from __future__ import annotations

import asyncio

import hotloop

#: What `test_streams` uses.
NAMES = (
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "open_connection",
    "open_unix_connection",
    "start_server",
    "start_unix_server",
)

for _name in NAMES:
    setattr(asyncio, _name, getattr(hotloop, _name))
    setattr(asyncio.streams, _name, getattr(hotloop, _name))


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A new loop of hotloop."""
    return hotloop.new_event_loop()
