"""anyio and aiohttp over hotloop's own tasks and futures."""

import asyncio
import sys

import aiohttp
import anyio
import anyio.to_thread
import pytest
from aiohttp import web

pytestmark = pytest.mark.hotloop_only


@pytest.fixture
def loop_factory(hotloop):
    return lambda: hotloop.EventLoop(native_tasks=True)


def test_anyio_cancels_times_out_and_uses_threads(hotloop, loop_factory):
    async def main():
        assert type(asyncio.current_task()) is hotloop.Task
        ended = []

        async def child(number):
            try:
                await anyio.sleep(30)
            finally:
                ended.append(number)

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(child, number)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert sorted(ended) == [0, 1, 2]
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.001):
                await anyio.sleep(30)
        send, receive = anyio.create_memory_object_stream[int](1)
        async with send, receive, anyio.create_task_group() as group:
            group.start_soon(send.send, 5)
            assert await receive.receive() == 5
        return await anyio.to_thread.run_sync(lambda: "from a thread")

    result = anyio.run(main, backend_options={"loop_factory": loop_factory})
    assert result == "from a thread"


async def test_aiohttp_serves_and_asks(loop, hotloop):
    async def handle(request):
        # From 3.12 on aiohttp starts an eager task for each connection, of asyncio's own class.
        if sys.version_info < (3, 12):
            assert type(asyncio.current_task()) is hotloop.Task
        await asyncio.sleep(0)
        return web.Response(body=await request.read())

    application = web.Application()
    application.router.add_post("/", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/"

    async def ask(session, number):
        async with session.post(address, data=b"x" * number) as response:
            return len(await response.read())

    try:
        async with aiohttp.ClientSession() as session:
            lengths = await asyncio.gather(*(ask(session, number) for number in range(20)))
        assert lengths == list(range(20))
    finally:
        await runner.cleanup()
