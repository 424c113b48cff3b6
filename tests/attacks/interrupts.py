"""SIGINT at random moments in a busy, an idle and a closing loop. A program of its own.

Each round queues numbered callbacks that are C functions (no interrupt can arise inside them), lets the loop run, and
has another thread send one SIGINT after a random delay. The interrupt must arrive, once; then the loop is run again
without one, and every number must have been seen, once, in order.

    python tests/attacks/interrupts.py --loop hotloop --count 10000 --seed 1

prints one line of JSON; the exit status is 1 if anything was lost, doubled or out of order.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import os
import random
import signal
import sys
import threading
import time

from attack_program import (
    count_descriptors,
    descriptors_left,
    end_if_it_hangs,
    finish,
    make_loop,
    option_parser,
    parse,
)


class Attack:
    """One run."""

    def __init__(self, loop_name: str, native_tasks: bool, seed: int, lose: bool) -> None:
        self.make = functools.partial(make_loop, loop_name, native_tasks)
        self.loop = self.make()
        #: On others, an interrupted `close()` cannot be repeated.
        self.may_close = loop_name == "hotloop"
        self.choose = random.Random(seed)
        self.lose = lose
        self.armed = threading.Semaphore(0)
        self.answered = threading.Semaphore(0)
        self.sent = self.handled = 0
        self.faults: list[str] = []
        self.spare: list[asyncio.AbstractEventLoop] = []
        self.kinds: collections.Counter[str] = collections.Counter()

    def send(self, count: int, choose: random.Random) -> None:
        """The other thread, with choices of its own: two that share them do not repeat them."""
        for _ in range(count):
            self.armed.acquire()
            time.sleep(
                choose.random() * 0.0005
            )  # the attack is about the moment, nothing waits for this
            self.sent += 1
            os.kill(os.getpid(), signal.SIGINT)
            self.answered.acquire()

    def interrupted(self, number: int, frame: object) -> None:
        self.handled += 1
        raise KeyboardInterrupt

    def run(self, count: int) -> None:
        signal.signal(signal.SIGINT, self.interrupted)
        # Signals of the process go to this thread.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        thread = threading.Thread(
            target=self.send, args=(count, random.Random(self.choose.random())), daemon=True
        )
        thread.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for number in range(count):
            if number % 100 == 0:
                end_if_it_hangs(0)
            self.round()
            if self.faults:
                break
        self.loop.close()

    def round(self) -> None:
        kind = self.choose.choice(
            ["idle", "busy", "tasks", "sockets", "closing"]
            if self.may_close
            else ["idle", "busy", "tasks", "sockets"]
        )
        self.kinds[kind] += 1
        loop, seen = self.loop, []
        many = 0 if kind == "closing" else self.choose.randrange(1, 40)
        if self.lose:
            many += 1
            seen.append(-1)
        for number in range(many):
            schedule = self.choose.choice([loop.call_soon, loop.call_soon_threadsafe])
            schedule(seen.append, number)
        if kind == "closing":
            descriptors = count_descriptors()
            # More than can be closed before the interrupt comes.
            self.spare = [self.make() for _ in range(20)]
        going = True

        def busy() -> None:
            if going:
                loop.call_soon(busy)

        async def steps() -> None:
            while going:
                await asyncio.sleep(0)

        if kind == "busy":
            loop.call_soon(busy)
        elif kind == "tasks":
            task = loop.create_task(steps())
        elif kind == "sockets":
            loop.call_later(0.0002, busy)
        try:
            self.armed.release()
            if kind == "closing":
                for closing in self.spare:
                    closing.close()
                while True:
                    time.sleep(0)
            loop.run_forever()
            self.faults.append("run_forever() returned")
        except KeyboardInterrupt:
            pass
        going = False
        self.answered.release()
        if kind == "closing":
            for closing in self.spare:
                closing.close()
            self.spare.clear()
            if count_descriptors() != descriptors:
                self.faults.append("closing: descriptors left open")
            return
        if loop.is_running() or asyncio._get_running_loop() is not None:
            self.faults.append(f"{kind}: the loop is still marked as running")
        loop.call_soon(loop.stop)
        loop.run_forever()
        if kind == "tasks":
            # One that the interrupt has ended carries it as its exception.
            task.cancel()
            for _ in range(3):
                loop.call_soon(loop.stop)
                loop.run_forever()
            if not task.done():
                self.faults.append("tasks: a step was lost")
            elif not task.cancelled():
                task.exception()
        if seen != list(range(many)):
            self.faults.append(f"{kind}: {many} callbacks, seen {seen}")
        if self.handled != self.sent:
            self.faults.append(f"{kind}: {self.sent} signals sent, {self.handled} handled")


def main(argv: list[str]) -> int:
    """Run the attack; return the exit status."""
    parser = option_parser(__doc__, "pretend that a callback was lost")
    parser.add_argument("--count", type=int, default=1000)
    arguments = parse(parser, argv)
    with descriptors_left() as left:
        attack = Attack(arguments.loop, arguments.native_tasks, arguments.seed, arguments.break_it)
        attack.run(arguments.count)
    seen = {"sent": attack.sent, "handled": attack.handled, "kinds": attack.kinds}
    return finish(arguments, [*attack.faults, *left], **seen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
