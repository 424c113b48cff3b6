"""Signals in storms, and threads that post while the loop starts, runs, stops and closes. A program of its own.

    python tests/attacks/threads_and_signals.py --loop hotloop --rounds 20 --seed 1

prints one line of JSON; the exit status is 1 if a post, a signal or a child's status was lost, doubled or out of
order. A process that does nothing any more is ended after a minute, with the stacks of its threads.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import random
import signal
import sys
import threading
from collections.abc import Callable

from attack_program import (
    descriptors_left,
    end_if_it_hangs,
    finish,
    make_loop,
    option_parser,
    parse,
)

#: Posts of one thread in a round.
POSTS = 200


class Attack:
    """One run."""

    def __init__(self, loop_name: str, native_tasks: bool, seed: int, lose: bool) -> None:
        self.make = functools.partial(make_loop, loop_name, native_tasks)
        self.choose = random.Random(seed)
        self.lose = lose
        self.faults: list[str] = []
        self.counts: collections.Counter[str] = collections.Counter()

    def run(self, rounds: int) -> None:
        kinds: list[Callable[[], None]] = [
            self.post_while_it_comes_and_goes,
            self.loops_in_several_threads,
            self.children,
            self.interval_timer,
            self.signals_in_other_threads,
        ]
        for number in range(rounds):
            end_if_it_hangs(0)
            kind = kinds[number % len(kinds)]
            kind()
            self.counts[kind.__name__] += 1
            if self.faults:
                break

    def post_while_it_comes_and_goes(self) -> None:
        """Threads post numbers; the loop runs, stops and runs again; then it is closed under them."""
        loop = self.make()
        seen: list[list[int]] = [[] for _ in range(4)]
        accepted = [0] * len(seen)
        closed = threading.Event()

        def post(thread: int) -> None:
            number = 0
            while not closed.is_set() or number < POSTS:
                try:
                    loop.call_soon_threadsafe(seen[thread].append, number)
                except RuntimeError:  # closed
                    break
                number += 1
                if number >= POSTS:
                    break
            accepted[thread] = number

        def hammer() -> None:  # until the loop is closed under it
            while not closed.is_set():
                try:
                    loop.call_soon_threadsafe(int)
                except RuntimeError:
                    break

        threads = [threading.Thread(target=post, args=(each,)) for each in range(len(seen))]
        hammering = threading.Thread(target=hammer)
        for thread in (*threads, hammering):
            thread.start()
        while any(thread.is_alive() for thread in threads):
            loop.call_soon(loop.stop)
            loop.run_forever()
        loop.call_soon(loop.stop)
        loop.run_forever()
        if self.lose:
            seen[0].pop()
        for numbers, count in zip(seen, accepted, strict=True):
            if numbers != list(range(count)):
                self.faults.append(f"posts: {count} accepted, {len(numbers)} seen")
        loop.close()
        closed.set()
        hammering.join()
        try:
            loop.call_soon_threadsafe(int)
            self.faults.append("posts: a closed loop accepts")
        except RuntimeError:
            pass

    def loops_in_several_threads(self) -> None:
        """Each thread has its loop, and all post to all."""
        count = 4
        loops = [self.make() for _ in range(count)]
        got = [0] * count
        ready = threading.Barrier(count)

        async def main(own: int) -> None:
            finished = asyncio.Event()

            def take() -> None:
                got[own] += 1
                if got[own] == count * POSTS:
                    finished.set()

            takes[own] = take
            ready.wait()
            for _ in range(POSTS):
                for other in range(count):
                    loops[other].call_soon_threadsafe(takes[other])
                await asyncio.sleep(0)
            await finished.wait()

        takes: list[Callable[[], None]] = [int] * count
        threads = [
            threading.Thread(target=loops[own].run_until_complete, args=(main(own),))
            for own in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if got != [count * POSTS] * count:
            self.faults.append(f"several loops: {got}")
        for loop in loops:
            loop.close()

    def children(self) -> None:
        """A storm of SIGCHLD: every child's status arrives, its own."""
        loop = self.make()
        asyncio.set_event_loop(loop)

        async def child(status: int) -> None:
            process = await asyncio.create_subprocess_exec("sh", "-c", f"exit {status}")
            if await process.wait() != status:
                self.faults.append(f"children: {process.returncode} instead of {status}")

        async def main() -> None:
            await asyncio.gather(*(child(self.choose.randrange(100)) for _ in range(20)))

        loop.run_until_complete(main())
        asyncio.set_event_loop(None)
        loop.close()

    def interval_timer(self) -> None:
        """SIGALRM every tenth of a millisecond, handled by Python's own handler and then by the loop's."""
        loop = self.make()
        loop.set_debug(False)
        seen: list[int] = []
        plain: list[int] = []

        async def main(handled: list[int]) -> None:
            while len(handled) < 50:
                before = len(seen)
                loop.call_soon(seen.append, before)
                await asyncio.sleep(0)
                await asyncio.sleep(0.0001)

        before = signal.signal(signal.SIGALRM, lambda number, frame: plain.append(number))
        signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
        try:
            loop.run_until_complete(main(plain))
            by_loop: list[int] = []
            loop.add_signal_handler(signal.SIGALRM, by_loop.append, 1)
            loop.run_until_complete(main(by_loop))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
        loop.close()
        signal.signal(signal.SIGALRM, before)
        if seen != list(range(len(seen))):
            self.faults.append("interval timer: callbacks lost or out of order")

    def signals_in_other_threads(self) -> None:
        """The kernel gives the signal to a thread that is not the loop's: the loop wakes all the same."""
        loop = self.make()
        many = 100
        got = 0
        all_came = loop.create_future()
        again = threading.Semaphore(0)

        def handle() -> None:
            nonlocal got
            got += 1
            if got == many:
                all_came.set_result(None)
            again.release()

        def send() -> None:
            for _ in range(many):
                signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
                again.acquire()

        loop.add_signal_handler(signal.SIGUSR1, handle)
        thread = threading.Thread(target=send)
        thread.start()
        loop.run_until_complete(all_came)
        thread.join()
        loop.remove_signal_handler(signal.SIGUSR1)
        loop.close()
        if got != many:
            self.faults.append(f"other threads: {many} signals sent, {got} handled")


def main(argv: list[str]) -> int:
    """Run the attack; return the exit status."""
    parser = option_parser(__doc__, "pretend that a post was lost")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parse(parser, argv)
    with descriptors_left() as left:
        attack = Attack(arguments.loop, arguments.native_tasks, arguments.seed, arguments.break_it)
        attack.run(arguments.rounds)
    return finish(arguments, [*attack.faults, *left], counts=attack.counts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
