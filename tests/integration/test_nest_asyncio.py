"""nest_asyncio: a loop patched so that it can be run inside itself."""

import pytest

from helpers import run_child

pytest.importorskip("nest_asyncio")


def test_a_running_loop_runs_again_inside_itself():
    # In a process of its own: the patch changes asyncio for good.
    source = """
import asyncio, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import nest_asyncio
from helpers import new_loop

loop = new_loop()
asyncio.set_event_loop(loop)
nest_asyncio.apply(loop)

async def inner(number):
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"%d\\n" % number)
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return int(line)

async def echo(reader, writer):
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()
    await writer.wait_closed()

async def outer():
    global server
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        other = asyncio.create_task(asyncio.sleep(0, "done"))
        first = loop.run_until_complete(inner(1))
        again = loop.run_until_complete(asyncio.gather(inner(2), inner(3)))
        return first, again, await other

assert loop.run_until_complete(outer()) == (1, [2, 3], "done")
loop.close()
print("nested")
"""
    child = run_child(source)
    assert child.stdout == "nested\n", child.stderr


def test_asyncio_run_inside_a_task():
    source = """
import asyncio, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import nest_asyncio
from helpers import new_loop

loop = new_loop()
asyncio.set_event_loop(loop)
nest_asyncio.apply(loop)

async def answer(depth):
    await asyncio.sleep(0.001)
    me = asyncio.current_task()
    if depth:
        assert asyncio.run(answer(depth - 1)) == depth - 1
    assert asyncio.current_task() is me
    return depth

assert loop.run_until_complete(answer(3)) == 3
loop.close()
print("nested")
"""
    child = run_child(source)
    assert child.stdout == "nested\n", child.stderr


def test_a_loop_to_which_it_was_not_applied_refuses():
    source = """
import asyncio
from helpers import new_loop

loop = new_loop()

async def main():
    inner = asyncio.sleep(0)
    try:
        loop.run_until_complete(inner)
    except RuntimeError as error:
        print(error)
    finally:
        inner.close()

loop.run_until_complete(main())
loop.close()
"""
    child = run_child(source)
    assert child.stdout == "This event loop is already running\n", child.stderr
