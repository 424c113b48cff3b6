"""Native tasks by the million: made, failed at every step, cancelled, woken and dropped in every state.

After a warm-up the allocated memory must stay flat, and no exception, task or future may be left. A program of its own:

    python tests/attacks/task_storm.py --loop hotloop --count 3000000

`--loop asyncio` and `--loop uvloop` run hotloop's tasks on loops that are not ours. It prints its seed, a line for
each tenth and one line of JSON at the end; the exit status is 1 if anything grew or ended in a way that it must not.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import gc
import random
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from attack_program import end_if_it_hangs, finish, make_loop, option_parser, parse

import hotloop

#: What the process may gain between the end of the warm-up and the end: the allocator's own steps.
SLACK = {"resident KiB": 16 * 1024, "blocks": 3000, "objects": 1000, "ours": 30}
#: Tasks that are there at the same time, besides those that they start themselves.
BATCH = 250
#: Seconds that a tenth may take before it counts as one that hangs.
PATIENCE = 600


class Failure(Exception):
    """What the coroutines raise."""


class OwnTask(hotloop.Task):
    """A subclass has a dict, a finalizer of the interpreter's, and a slower way through everything."""


class Storm:
    """One run."""

    def __init__(self, seed: int, leak: bool) -> None:
        self.choose = random.Random(seed)
        self.counts: collections.Counter[str] = collections.Counter()
        self.faults: collections.Counter[str] = collections.Counter()
        self.leak = leak
        self.leaked: list[object] = []
        self.made = 0

    async def run(self, count: int) -> dict[str, object]:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(self.handle)
        rows = []
        for tenth in range(1, 11):
            end_if_it_hangs(PATIENCE)
            while self.made < count * tenth // 10:
                await self.batch()
            await asyncio.sleep(0)
            for _ in range(3):
                gc.collect()
            rows.append(self.measure())
            print(f"{tenth * 10:3} %  {rows[-1]}", flush=True)
        self.compare(rows[2:5], rows[7:])
        if asyncio.all_tasks() != {asyncio.current_task()}:
            self.faults["asyncio knows tasks that have ended"] += 1
        return {"first": rows[2], "last": rows[-1]}

    def measure(self) -> dict[str, int]:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        objects = gc.get_objects()
        kinds = (Failure, asyncio.CancelledError, hotloop.Future)
        return {
            "resident KiB": int(fields["VmRSS"].split()[0]),
            "blocks": sys.getallocatedblocks(),
            "objects": len(objects),
            "ours": sum(isinstance(thing, kinds) for thing in objects),
        }

    def compare(self, early: list[dict[str, int]], late: list[dict[str, int]]) -> None:
        for name, slack in SLACK.items():
            # The least of each part: what comes and goes with the work is not growth.
            before, after = (min(row[name] for row in part) for part in (early, late))
            if after > before + slack:
                self.faults[f"{name} grew from {before} to {after}"] += 1

    async def batch(self) -> None:
        """Some tasks at once; all but the forgotten ones are waited for."""
        tasks = []
        for _ in range(BATCH):
            chance = self.choose.random()
            if chance < 0.05:
                self.forget(self.make(self.wait_for_ever()))
                continue
            steps = self.choose.randrange(6)
            task = self.make(self.life(steps, self.choose.randrange(8)))
            if chance < 0.1:
                task.cancel("before the first step")
            elif chance < 0.3:
                self.later(self.choose.randrange(6), task.cancel, steps)
            tasks.append(task)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            self.counts[type(outcome).__name__] += 1
            if isinstance(outcome, BaseException) and not isinstance(
                outcome, Failure | asyncio.CancelledError
            ):
                self.faults[f"a task ended with {outcome!r}"] += 1
            if self.leak and isinstance(outcome, Failure):
                self.leaked.append(outcome)

    def make(self, coroutine: Coroutine[Any, Any, object]) -> Any:
        self.made += 1
        chance = self.choose.random()
        if chance < 0.1:
            return OwnTask(coroutine, loop=self.loop)
        if chance < 0.2 and sys.version_info >= (3, 12):
            return hotloop.Task(coroutine, loop=self.loop, eager_start=True)
        return hotloop.Task(coroutine, loop=self.loop)

    def forget(self, task: Any) -> None:
        """Nobody will ever step it again: it is for the collector, or freed at once."""
        self.counts["forgotten"] += 1
        task._log_destroy_pending = False
        if isinstance(task, OwnTask):
            task.own = task

    def later(self, iterations: int, callback: Callable[..., object], *args: object) -> None:
        if iterations:
            self.loop.call_soon(self.later, iterations - 1, callback, *args)
        else:
            callback(*args)

    async def life(self, steps: int, failing: int) -> object:
        """A few waits of every kind, and an exception at one of the steps, or none."""
        for step in range(steps):
            if step == failing:
                raise Failure(step)
            try:
                await self.wait()
            except (Failure, asyncio.CancelledError) as error:
                answer = self.choose.randrange(6)
                if answer == 0:
                    raise
                if answer == 1:
                    raise Failure(step) from error
                if answer == 2:
                    return error
        if steps == failing:
            raise Failure(steps)
        return object()

    async def wait(self) -> None:
        choice = self.choose.randrange(10)
        if choice < 3:
            await asyncio.sleep(0)
        elif choice < 8:
            await self.future_that_ends(choice)
        elif choice == 8:
            await self.make(self.life(1, self.choose.randrange(3)))
        else:
            await self.bad_yield()

    def future_that_ends(self, how: int) -> asyncio.Future[object]:
        future: Any = hotloop.Future(loop=self.loop)
        endings: list[tuple[Any, ...]] = [
            (future.set_result, object()),
            (future.set_exception, Failure("of a future")),
            (future.set_exception, Failure),
            (future.cancel, object()),
            (future.set_result, None),
        ]
        self.loop.call_soon(self.end, future, endings[how - 3])
        return future

    def end(self, future: Any, ending: tuple[Any, ...]) -> None:
        if not future.done():  # its task may have been cancelled, and it with it
            ending[0](*ending[1:])

    async def bad_yield(self) -> None:
        class Yields:
            def __await__(self) -> Any:
                yield object()

        try:
            await Yields()
        except RuntimeError:
            self.counts["bad yields"] += 1

    async def wait_for_ever(self) -> None:
        try:
            await hotloop.Future(loop=self.loop)
        except asyncio.CancelledError:
            self.faults["a forgotten task was cancelled"] += 1
            raise

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), Failure):
            self.counts["never retrieved"] += 1
        else:
            self.faults[f"{context['message']}: {context.get('exception')!r}"] += 1


def main(argv: list[str]) -> int:
    """Run the storm; return the exit status."""
    parser = option_parser(__doc__, "keep every exception")
    parser.add_argument("--count", type=int, default=100_000, help="tasks to make")
    arguments = parse(parser, argv)
    storm = Storm(arguments.seed, arguments.break_it)
    make = functools.partial(make_loop, arguments.loop, arguments.native_tasks)
    with asyncio.Runner(loop_factory=make) as runner:
        measures = runner.run(storm.run(arguments.count))
    return finish(arguments, storm.faults, tasks=storm.made, counts=storm.counts, **measures)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
