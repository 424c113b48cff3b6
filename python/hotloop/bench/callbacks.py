"""Programs that time callbacks: `call_soon`, timers, `call_soon_threadsafe`."""

from __future__ import annotations

import asyncio
import threading

from .local import Prepare, Program, Run, watched

AT_A_TIME = 1000
# Timers that a program sets and cancels before it lets the loop run once.
TIMERS_A_TURN = 100
# Seconds; longer than any measurement, so that none of these timers fires.
LATER = 3600.0


def call_soon(loop: asyncio.AbstractEventLoop) -> Run:
    """A callback schedules itself: one iteration, one handle each."""

    def run(count: int) -> None:
        left = count

        def step() -> None:
            nonlocal left
            left -= 1
            if left:
                loop.call_soon(step)
            else:
                loop.stop()

        loop.call_soon(step)
        loop.run_forever()

    return run


def call_soon_many(loop: asyncio.AbstractEventLoop) -> Run:
    """`AT_A_TIME` callbacks are scheduled, then all of them run in one iteration."""

    def nothing() -> None:
        pass

    def run(count: int) -> None:
        left = count

        def batch() -> None:
            nonlocal left
            if not left:
                loop.stop()
                return
            left -= AT_A_TIME
            for _ in range(AT_A_TIME):
                loop.call_soon(nothing)
            loop.call_soon(batch)

        loop.call_soon(batch)
        loop.run_forever()

    return run


def call_soon_arguments(loop: asyncio.AbstractEventLoop) -> Run:
    """As `call_soon`, with three arguments that the callback passes on."""

    def run(count: int) -> None:
        def step(left: int, one: str, other: None) -> None:
            if left:
                loop.call_soon(step, left - 1, one, other)
            else:
                loop.stop()

        loop.call_soon(step, count - 1, "one", None)
        loop.run_forever()

    return run


def call_later(loop: asyncio.AbstractEventLoop) -> Run:
    """A timer of no delay sets the next one."""

    def run(count: int) -> None:
        left = count

        def step() -> None:
            nonlocal left
            left -= 1
            if left:
                loop.call_later(0, step)
            else:
                loop.stop()

        loop.call_later(0, step)
        loop.run_forever()

    return run


def timers(outstanding: int) -> Prepare:
    """A timer is set and cancelled again while *outstanding* (int) others wait for their time."""

    def prepare(loop: asyncio.AbstractEventLoop) -> Run:
        def nothing() -> None:
            pass

        # Spread, so that a new timer goes into the middle of them.
        held = [
            loop.call_later(LATER + (number * 7919 % outstanding), nothing)
            for number in range(outstanding)
        ]

        def run(count: int) -> None:
            assert len(held) == outstanding
            left = count

            def step() -> None:
                nonlocal left
                for _ in range(TIMERS_A_TURN):
                    loop.call_later(LATER + outstanding / 2, nothing).cancel()
                left -= TIMERS_A_TURN
                if left:
                    loop.call_soon(step)
                else:
                    loop.stop()

            loop.call_soon(step)
            loop.run_forever()

        return run

    return prepare


def threadsafe(loop: asyncio.AbstractEventLoop) -> Run:
    """Another thread posts callbacks as fast as it can; done when all have run."""

    def run(count: int) -> None:
        left = count

        def step() -> None:
            nonlocal left
            left -= 1
            if not left:
                loop.stop()

        def post() -> None:
            for _ in range(count):
                loop.call_soon_threadsafe(step)

        thread = threading.Thread(target=post)
        loop.call_soon(thread.start)
        loop.run_forever()
        thread.join()

    return run


PROGRAMS = {
    "call_soon": Program(call_soon),
    "call_soon_watched": Program(watched(call_soon)),
    "call_soon_many": Program(call_soon_many, AT_A_TIME),
    "call_soon_arguments": Program(call_soon_arguments),
    "call_later": Program(call_later),
    "timers_10k": Program(timers(10_000), TIMERS_A_TURN),
    "timers_200k": Program(timers(200_000), TIMERS_A_TURN),
    "threadsafe": Program(threadsafe),
}
