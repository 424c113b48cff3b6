"""A flood of connections from other processes, and a timer that ticks meanwhile: how late it is. A program of its own.

Two child processes connect and reset as fast as they can. The server accepts and closes; a timer is to tick every
millisecond. What is judged is a count, not a time: how many connections are accepted between two ticks. A loop gives
every iteration its timers, and accepts no more than the server's backlog in one; so a few times that are the bound.

    python tests/attacks/accept_flood.py --loop hotloop --seconds 5

prints one line of JSON with the lateness of the ticks; the exit status is 1 if the timer was starved.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import sys
import warnings
from typing import Any

from attack_program import end_if_it_hangs, finish, make_loop, option_parser, parse

BACKLOG = 100
#: What may be accepted between two ticks.
MOST = 4 * BACKLOG
TICK = 0.001
#: `SO_LINGER`: closing resets, so that the flood does not end for want of ports.
RESET = struct.pack("ii", 1, 0)


class Flood:
    """One run."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.accepted = self.before = self.most = 0
        self.late: list[float] = []
        self.children: list[int] = []

    def tick(self, due: float) -> None:
        """The timer; called early, it would show a negative lateness."""
        self.late.append(self.loop.time() - due)
        self.note()
        due = self.loop.time() + TICK
        self.loop.call_at(due, self.tick, due)

    def note(self) -> None:
        self.most = max(self.most, self.accepted - self.before)
        self.before = self.accepted

    def start(self, address: Any) -> None:
        for _ in range(2):
            with warnings.catch_warnings():
                # 3.12 warns of the watchdog's thread. The child needs nothing that it could hold.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                try:
                    flood(address)
                finally:
                    os._exit(0)
            self.children.append(child)

    async def run(self, seconds: float, starve: bool) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self.start(listener.getsockname())
        flood = self

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                flood.accepted += 1
                transport.abort()  # type: ignore[attr-defined]

        server = None
        if starve:
            listener.setblocking(True)
            self.loop.add_reader(listener, self.accept_many, listener)
        else:
            server = await self.loop.create_server(Accepted, sock=listener, backlog=BACKLOG)
        self.tick(self.loop.time())
        self.late.clear()
        await asyncio.sleep(seconds)
        self.note()
        for child in self.children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        if server is not None:
            server.close()
        else:
            self.loop.remove_reader(listener)
            listener.close()
        await asyncio.sleep(0)

    def accept_many(self, listener: socket.socket) -> None:
        """The deliberate fault: as long as somebody comes, nothing else has its turn."""
        for _ in range(3 * MOST):
            listener.accept()[0].close()
            self.accepted += 1


def flood(address: Any) -> None:
    """In a child: connect and reset, until killed.

    Without waiting: while the server's queue is full, the kernel drops the attempt, and would repeat it after a second.
    """
    while True:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.setblocking(False)
            client.connect_ex(address)


def main(argv: list[str]) -> int:
    """Run the flood; return the exit status."""
    parser = option_parser(__doc__, "accept as long as somebody comes")
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parse(parser, argv)
    end_if_it_hangs(arguments.seconds)
    loop = make_loop(arguments.loop, arguments.native_tasks)
    attack = Flood(loop)
    try:
        loop.run_until_complete(attack.run(arguments.seconds, arguments.break_it))
    finally:
        loop.close()
    late = sorted(attack.late) or [0.0]

    def share(percent: float) -> float:
        return round(late[int((len(late) - 1) * percent / 100)] * 1e3, 2)

    faults = ["too many accepted between two ticks"] if attack.most > MOST else []
    seen = {
        "accepted": attack.accepted,
        "ticks": len(attack.late),
        "most accepted between two ticks": attack.most,
        "milliseconds late": {"half": share(50), "99 %": share(99), "all": share(100)},
    }
    return finish(arguments, faults, **seen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
