"""Every allocation of the interpreter fails in turn while a small scenario runs on a loop. A program of its own.

`_testcapi.set_nomemory` (CPython's own tests use it) makes the interpreter's allocators refuse one allocation, or (`--lasting`)
every allocation from one position on until the scenario has ended. Whatever fails, the scenario ends with a result or with
MemoryError; nothing aborts or hangs; and with memory again the same loop runs, and closes.

    python tests/attacks/memory_errors.py --loop hotloop echo

prints one line of JSON; the exit status is 1 if an outcome was of another kind. Each position is tried in a forked process.
"""

from __future__ import annotations

import _testcapi
import argparse
import asyncio
import collections
import contextlib
import faulthandler
import functools
import gc
import importlib
import json
import os
import re
import signal
import sys
import threading
import time
import traceback
import types
import warnings
from collections.abc import Awaitable, Callable

from attack_program import finish
from memory_scenarios import SCENARIOS

#: Seconds after which a scenario whose wake-up was refused is given up by its own loop.
GIVE_UP = 0.2
#: Seconds after which a process that does nothing any more is ended.
HANG = 20
#: Errors that are no answer to a refused allocation.
WRONG = (SystemError, AssertionError)
#: What CPython 3.11 to 3.13 themselves make of a frame that they have no memory for; the second if the function, which is
#: one written in Python, was called from C. (Native functions that fail without an exception are `<built-in ...>`.) And what
#: `SSLObject.getpeercert()` raises: see `interpreter_memory_errors.py`.
INTERPRETERS_OWN = re.compile(
    "error return without exception set|<function .*> returned NULL without setting an exception"
    "|<class 'ssl.SSLError'> returned a result with an exception set"
)


def keep_code_objects() -> list[list[types.CodeType]]:
    """More references to every code object than CPython can lose in this attack: see `interpreter_memory_errors.py`."""
    functions = [each for each in gc.get_objects() if isinstance(each, types.FunctionType)]
    seen: dict[int, types.CodeType] = {}
    todo = [function.__code__ for function in functions]
    while todo:
        code = todo.pop()
        if id(code) not in seen:
            seen[id(code)] = code
            todo += [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return [[code] * 100 for code in seen.values()]


def avoid_interpreters_faults(scenario: str) -> None:
    """Keep CPython from allocating where it does not survive a refusal: see `interpreter_memory_errors.py`."""
    if sys.version_info[:2] == (3, 13):
        # The table of the current tasks, to which `setdefault` adds, has room for a hundred steps.
        current = asyncio.tasks._current_tasks  # type: ignore[attr-defined]
        several = [object() for _ in range(90)]
        current.update(dict.fromkeys(several))
        for each in several:
            del current[each]
    if scenario == "lifecycle":
        # `WeakValueDictionary()` walks over the items of a dict, for which there are freed pairs now.
        several = [(each, None) for each in range(100)]
        del several


class Attack:
    """One scenario, again and again."""

    def __init__(self, loop_name: str, scenario: str) -> None:
        module = importlib.import_module(loop_name)
        self.make_loop = module.new_event_loop
        if scenario == "tasks" and loop_name == "hotloop":
            self.make_loop = functools.partial(module.EventLoop, native_tasks=True)
        self.scenario = scenario
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []
        self.reported: list[BaseException] = []
        self.where: object = None
        #: Which descriptors were left by which positions.
        self.left: dict[str, list[str]] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
        #: Whether the scenario has as many allocations as the plan's position.
        self.reached = False

    def run(self, first: int, last: int | None, step: int, lasting: bool) -> None:
        for _ in range(3):  # what is made once is made
            assert self.attempt(None) is None
        self.kept = keep_code_objects()
        gc.collect()
        gc.freeze()  # each process collects several times
        position, beyond = first, 0
        while beyond < 3 and (last is None or position < last):
            reached = self.in_a_child(position, 0 if lasting else position + 1)
            beyond = 0 if reached else beyond + 1
            position += step

    def in_a_child(self, first: int, last: int) -> bool:
        """Try one plan in a forked process, so that what it spoils is not blamed on the next; whether it got so far."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            self.outcomes.clear()
            self.faults.clear()
            self.left.clear()
            self.one(first, last)
            report = [self.outcomes, self.faults, self.left, self.reached]
            os.write(writing, json.dumps(report).encode())
            os._exit(0)
        os.close(writing)
        with open(reading, "rb") as pipe:
            written = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            self.faults.append(f"{first}: the process ended with status {status}")
            # Above this line is the stack that it has printed in the end.
            print(self.faults[-1], file=sys.stderr, flush=True)
            return True
        outcomes, faults, left, reached = json.loads(written)
        self.outcomes.update(outcomes)
        self.faults += faults
        self.left.update(left)
        return bool(reached)

    def one(self, first: int, last: int) -> None:
        """Try one plan, and the same scenario again without refusals."""
        self.where = first
        before = self.descriptors()
        signal.alarm(HANG)
        error = self.attempt((first, last))
        self.judge(error)
        if last == 0:  # whether anything was refused is seen by the outcome alone
            self.reached = error is not None or bool(self.reported)
        error = None  # its traceback holds what was open
        if self.attempt(None) is not None:
            self.fault("the same without a fault failed")
        signal.alarm(0)
        # Not a fault: a program that is refused memory between opening and its `with` leaves some on every loop.
        if left := self.descriptors() - before:
            self.left[str(first)] = sorted(left)

    def attempt(self, plan: tuple[int, int] | None) -> BaseException | None:
        """Run the scenario once on a loop of its own; return what it raised."""
        self.reported.clear()
        error: BaseException | None = None
        loop: asyncio.AbstractEventLoop | None = None
        giving_up: asyncio.TimerHandle | None = None
        if self.scenario != "lifecycle":
            loop = self.make_loop()
            loop.set_exception_handler(self.handle)
            giving_up = loop.call_later(HANG if plan is None else GIVE_UP, loop.stop)
        run = SCENARIOS[self.scenario]
        self.loop = loop
        helper = None
        if plan is not None and plan[1] == 0:
            helper = threading.Thread(target=self.give_back)
            helper.start()
        avoid_interpreters_faults(self.scenario)
        try:
            if plan is not None:
                _testcapi.set_nomemory(*plan)
            if loop is None:
                self.loop = loop = self.make_loop()
                try:
                    for _ in range(2):  # one of them may be refused
                        loop.call_soon(loop.stop)
                    loop.run_forever()
                finally:
                    loop.close()
            else:
                loop.run_until_complete(run(loop))
        except BaseException as raised:
            error = raised
        finally:
            self.look_whether_reached(plan)
            _testcapi.remove_mem_hooks()
        if helper is not None:
            helper.join()
        try:
            if giving_up is not None:
                giving_up.cancel()  # it would stop the loop that is finished below
            self.finish(loop)
        except BaseException as raised:
            self.fault(f"afterwards: {raised!r}", raised)
        return error

    def give_back(self) -> None:
        """In another thread: there is memory again, and whoever waits for what is lost is told to stop."""
        time.sleep(0.1)
        _testcapi.remove_mem_hooks()
        time.sleep(0.1)
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)

    def look_whether_reached(self, plan: tuple[int, int] | None) -> None:
        """If the refusal is still to come, it comes now."""
        if plan is None or plan[1] == 0:
            return
        try:
            for _ in range(plan[0] + 2):
                object()
        except MemoryError:
            return
        self.reached = True

    def finish(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """With memory again, the loop has to end its tasks, run, and close."""
        if loop is None:
            return
        if not loop.is_closed():
            if loop.is_running() or asyncio._get_running_loop() is not None:
                self.fault("still marked as running")
            loop.set_exception_handler(self.handle)
            for task in asyncio.all_tasks(loop):
                task.cancel()
            for _ in range(3):
                loop.call_soon(loop.stop)
                loop.run_forever()
            if loop.run_until_complete(asyncio.sleep(0, 7)) != 7:
                self.fault("the loop does not run any more")
        loop.close()

    def handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.reported.append(error)

    def judge(self, error: BaseException | None) -> None:
        self.outcomes[type(error).__name__] += 1
        for each in (error, *self.reported):
            if INTERPRETERS_OWN.fullmatch(str(each)):
                continue
            if isinstance(each, WRONG) or type(each).__name__ == "PanicException":
                self.fault(repr(each), each)

    def fault(self, what: str, error: BaseException | None = None) -> None:
        self.faults.append(f"{self.where}: {what}")
        if error is not None:
            traceback.print_exception(error)

    def descriptors(self) -> set[str]:
        """What is open, by name: two sockets never have the same."""
        gc.collect()
        found = set()
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # the descriptor of the listing
                found.add(os.readlink(f"/proc/self/fd/{number}"))
        return found


def main(argv: list[str]) -> int:
    """Run the attack; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--loop", default="hotloop", help="hotloop, asyncio or uvloop")
    parser.add_argument("--first", type=int, default=0, help="the first position")
    parser.add_argument("--last", type=int, default=None, help="the position before which to end")
    parser.add_argument("--step", type=int, default=1, help="try every so manieth position")
    parser.add_argument(
        "--lasting", action="store_true", help="refuse every allocation from the position on"
    )
    parser.add_argument(
        "--show-left", action="store_true", help="print which positions left which descriptors"
    )
    parser.add_argument(
        "--break-it", choices=["error", "abort"], help="answer with a wrong error, or abort"
    )
    arguments = parser.parse_args(argv)
    if arguments.break_it:
        SCENARIOS[arguments.scenario] = mistaken(SCENARIOS[arguments.scenario], arguments.break_it)
    if arguments.scenario.startswith("tls-"):
        os.environ["HOTLOOP_TLS"] = arguments.scenario.removeprefix("tls-")
    warnings.simplefilter("ignore")  # what could not be closed is reported when it is dropped
    sys.unraisablehook = lambda unraisable: None
    faulthandler.enable()  # a process that crashes shows where, its parent which position it was
    # A process that hangs shows where, and ends. Not `dump_traceback_later`: its thread frees what it was started with
    # at any time, also while `set_nomemory` changes the allocators, which no thread survives.
    faulthandler.register(signal.SIGALRM, chain=True)
    attack = Attack(arguments.loop, arguments.scenario)
    attack.run(arguments.first, arguments.last, arguments.step, arguments.lasting)
    if arguments.show_left:
        for position, names in attack.left.items():
            print(position, *names)
    seen = {
        "scenario": arguments.scenario,
        "outcomes": attack.outcomes,
        "descriptors left": len(attack.left),
    }
    return finish(arguments, attack.faults, **seen)


def mistaken(
    scenario: Callable[[asyncio.AbstractEventLoop], Awaitable[None]], how: str
) -> Callable[[asyncio.AbstractEventLoop], Awaitable[None]]:
    """The deliberate fault: a program that answers a refused allocation wrongly."""

    async def run(loop: asyncio.AbstractEventLoop) -> None:
        try:
            await scenario(loop)
        except MemoryError:
            _testcapi.remove_mem_hooks()
            if how == "abort":
                os.abort()
            raise SystemError from None

    return run


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # the counts of references are wrong by now, see `keep_code_objects`
