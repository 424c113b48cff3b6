"""Native tasks, futures and streams on a loop that is not ours: what they let go of is freed at once.

PyO3 gives back what it drops only while it knows that the thread is attached to the interpreter, which
no method of a native loop has told it here. The tests run in child processes: in one where a native
loop has run, what was kept is freed now and then.
"""

import json

import pytest

import helpers

pytestmark = pytest.mark.hotloop_only

PROGRAM = """
import asyncio
import contextlib
import gc
import importlib
import json
import sys

import hotloop

loop = importlib.import_module(sys.argv[1]).new_event_loop()


class Mark:
    alive = 0

    def __init__(self):
        Mark.alive += 1

    def __del__(self):
        Mark.alive -= 1


class Failure(Exception):
    pass


async def fail(error=Failure):
    mark = Mark()
    await asyncio.sleep(0)
    raise error


async def wait(future, error):
    mark = Mark()
    try:
        return await future
    except asyncio.CancelledError:
        if error is None:
            return mark
        raise error


async def fails():
    with contextlib.suppress(Failure):
        await hotloop.Task(fail(), loop=loop)


async def interrupted(error):
    task = hotloop.Task(wait(hotloop.Future(loop=loop), error), loop=loop)
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(Failure, asyncio.CancelledError):
        await task


async def failed_future():
    mark = Mark()
    future = hotloop.Future(loop=loop)
    loop.call_soon(future.set_exception, Failure(mark))
    with contextlib.suppress(Failure):
        await future


async def never_retrieved():
    future = hotloop.Future(loop=loop)
    future.set_exception(Failure(Mark()))


async def report_fails():
    def report(loop, context):
        raise Failure(Mark())

    loop.set_exception_handler(report)
    hotloop.Future(loop=loop).set_exception(Failure(Mark()))


async def refused_callback():
    future = hotloop.Future(loop=loop)

    class Refusing:
        def __eq__(self, other):
            raise Failure(Mark())

    future.add_done_callback(Refusing())
    with contextlib.suppress(Failure):
        future.remove_done_callback(Mark())
    future.cancel()


async def bad_yield():
    class Yields:
        def __await__(self):
            yield Mark()

    async def main():
        mark = Mark()
        await Yields()

    with contextlib.suppress(RuntimeError):
        await hotloop.Task(main(), loop=loop)


async def dropped_pending():
    task = hotloop.Task(wait(hotloop.Future(loop=loop), None), loop=loop)
    task._log_destroy_pending = False
    await asyncio.sleep(0)


async def eager():
    if sys.version_info >= (3, 12):
        with contextlib.suppress(Failure):
            await hotloop.Task(fail(), loop=loop, eager_start=True)


async def reader():
    mark = Mark()
    stream = hotloop.StreamReader(loop=loop)
    stream.set_exception(Failure(mark))
    for call in (stream.read(), stream.readline(), stream.readexactly(5)):
        with contextlib.suppress(Failure):
            await call
    stream = hotloop.StreamReader(loop=loop)
    for call in (stream.read, stream.readline, lambda: stream.readexactly(5)):
        task = hotloop.Task(call(), loop=loop)
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    stream.feed_data(b"xx")
    stream.feed_eof()
    with contextlib.suppress(asyncio.IncompleteReadError):
        await stream.readexactly(5)


SCENARIOS = {
    "fails": fails,
    "cancelled": lambda: interrupted(asyncio.CancelledError),
    "cancelled with a failure": lambda: interrupted(Failure),
    "cancelled with a result": lambda: interrupted(None),
    "failed future": failed_future,
    "never retrieved": never_retrieved,
    "a report that fails": report_fails,
    "a comparison that fails": refused_callback,
    "a bad yield": bad_yield,
    "dropped while pending": dropped_pending,
    "eager": eager,
    "reader": reader,
}


async def main(scenario, count):
    for _ in range(count):
        await scenario()
    await asyncio.sleep(0)
    gc.collect()
    gc.collect()
    return Mark.alive, len(gc.get_objects())


loop.set_exception_handler(lambda loop, context: None)
sys.unraisablehook = lambda unraisable: None
measured = {}
for name, scenario in SCENARIOS.items():
    loop.run_until_complete(main(scenario, 20))
    before, after = (loop.run_until_complete(main(scenario, count)) for count in (20, 200))
    measured[name] = [now - then for now, then in zip(after, before)]
print(json.dumps(measured))
"""


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_nothing_stays_behind_on_a_loop_of_somebody_else(name):
    pytest.importorskip(name)
    child = helpers.run_child(PROGRAM, name)
    assert child.returncode == 0, child.stderr
    grown = json.loads(child.stdout)
    # A few objects more or less are free lists and caches; nothing that is marked stays.
    assert len(grown) > 10
    assert not {what: more for what, more in grown.items() if more[0] > 0 or more[1] > 100}
